"""samconfig.toml: the environments of the stack."""

import json
import re
import subprocess
import tomllib
from typing import Any

import pytest

from local.stack.template import read_template
from tests.support.paths import ROOT

CONFIG: dict[str, Any] = tomllib.loads((ROOT / "samconfig.toml").read_text())
PARAMETERS: dict[str, Any] = read_template(ROOT / "template.yaml")["Parameters"]
ENVIRONMENTS = ("local", "dev", "prod")
SAM_PYTHON = ROOT / ".venv-sam" / "bin" / "python"

every_environment = pytest.mark.parametrize("name", ENVIRONMENTS)


def overrides(name: str, command: str) -> dict[str, str]:
    """Return the template's parameters that an environment sets for a command."""
    entries = CONFIG[name][command]["parameters"].get("parameter_overrides", [])
    return dict(entry.split("=", 1) for entry in entries)


def takes(parameter: dict[str, Any], value: str) -> bool:
    """Return whether CloudFormation accepts a value for a parameter."""
    if "AllowedValues" in parameter:
        return value in map(str, parameter["AllowedValues"])
    if parameter["Type"] == "Number":
        return float(value) >= int(parameter.get("MinValue", 0))
    return re.fullmatch(parameter.get("AllowedPattern", ".*"), value) is not None


def test_there_is_no_default_environment() -> None:
    # A default would update a stack without the parameters of its environment.
    assert CONFIG.keys() == {"version", "default", *ENVIRONMENTS}
    assert CONFIG["default"].keys() == {"validate"}


@every_environment
def test_environments_set_parameters_to_accepted_values(name: str) -> None:
    for command in ("build", "deploy"):
        for parameter, value in overrides(name, command).items():
            assert takes(PARAMETERS[parameter], value), (command, parameter)
    # The functions run on the processor that they are built for.
    assert overrides(name, "build").get("Architecture") == overrides(name, "deploy").get(
        "Architecture"
    )


def test_each_environment_has_its_own_glue_safe_stack_name() -> None:
    names = [CONFIG[name]["global"]["parameters"]["stack_name"] for name in ENVIRONMENTS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z0-9-]*", name) for name in names)


def test_only_production_has_a_schedule_and_confirms_changes() -> None:
    assert overrides("dev", "deploy")["ScheduleState"] == "DISABLED"
    # Uncollected windows raise no alarm there.
    assert int(overrides("dev", "deploy")["OverdueHours"]) >= 24 * 365
    assert "ScheduleState" not in overrides("prod", "deploy")
    assert PARAMETERS["ScheduleState"]["Default"] == "ENABLED"
    confirmed = {
        name for name in ENVIRONMENTS if CONFIG[name]["deploy"]["parameters"]["confirm_changeset"]
    }
    assert confirmed == {"prod"}


@pytest.mark.skipif(not SAM_PYTHON.exists(), reason="the SAM CLI is not installed: make sam")
def test_every_entry_is_an_option_of_the_sam_cli() -> None:
    # The SAM CLI ignores unknown entries silently.
    code = """
import importlib, json
modules = {"build": "build.command", "deploy": "deploy.command", "validate": "validate.validate"}
options = {name: importlib.import_module(f"samcli.commands.{module}").cli.params
           for name, module in modules.items()}
print(json.dumps({name: [option.name for option in known] for name, known in options.items()}))
"""
    done = subprocess.run([SAM_PYTHON, "-c", code], capture_output=True, text=True, check=True)
    options = json.loads(done.stdout)
    for name in ("default", *ENVIRONMENTS):
        for command, entries in CONFIG[name].items():
            known = options["deploy" if command == "global" else command]
            assert set(entries["parameters"]) <= set(known), (name, command)
