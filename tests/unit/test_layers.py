"""The shared layer has the SDK in one version, with the services that the functions call."""

import re
from importlib.metadata import version

from local.stack.template import read_template
from tests.support.layers import RULES, SDK, called_services, locked_sdk
from tests.support.paths import ROOT


def test_shared_layer_locks_the_sdk_that_the_tests_use() -> None:
    assert locked_sdk() == {name: version(name) for name in SDK}


def test_layer_keeps_the_services_that_the_functions_call() -> None:
    (kept,) = re.findall(r"^SERVICES := (.*)$", RULES, re.MULTILINE)
    assert set(kept.split()) == called_services() | {"sso", "sso-oidc", "sts"}


def test_layer_can_be_built_for_each_architecture() -> None:
    template = read_template(ROOT / "template.yaml")
    architectures = template["Parameters"]["Architecture"]["AllowedValues"]
    context = template["Resources"]["SharedLayer"]["Metadata"]["ContextPath"]["Fn::Sub"]
    for architecture in architectures:
        folder = ROOT / context.replace("${Architecture}", architecture)
        assert "include" in (folder / "Makefile").read_text()
