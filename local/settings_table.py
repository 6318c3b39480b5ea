"""The tables of settings in docs/settings.md, from the template and from domain/settings.py."""

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from local.stack.emulator import ROOT
from local.stack.template import read_template
from vonage_reports.domain.settings import Settings

_SHOWN_DEFAULT = 60
"""A longer default stands in the template only."""


def template_settings() -> Iterator[str]:
    """Yield a table for each group of the template's parameters, in the template's order."""
    template = read_template(ROOT / "template.yaml")
    variables = _variables(template["Resources"])
    interface = template["Metadata"]["AWS::CloudFormation::Interface"]
    for group in interface["ParameterGroups"]:
        yield f"### {group['Label']['default']}"
        yield ""
        yield "| setting | default | meaning |"
        yield "|---|---|---|"
        for name in group["Parameters"]:
            yield _row(name, template["Parameters"][name], variables.get(name))
        yield ""


def _row(name: str, parameter: Mapping[str, Any], variable: str | None) -> str:
    default = str(parameter["Default"])
    shown = f"`{default}`" if default else "empty"
    if len(default) > _SHOWN_DEFAULT:
        shown = "in the template"
    meaning = " ".join(str(parameter["Description"]).split())
    if "AllowedValues" in parameter:
        allowed = ", ".join(f"`{each}`" for each in parameter["AllowedValues"])
        meaning += f" Values: {allowed}."
    if variable:
        meaning += f" Environment: `{variable}`."
    return f"| `{name}` | {shown} | {meaning} |"


def _variables(resources: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment variable that passes each parameter to a function."""
    return {
        value["Ref"]: name
        for resource in resources.values()
        if resource["Type"] == "AWS::Serverless::Function"
        for name, value in resource["Properties"]["Environment"]["Variables"].items()
        if name in _documented() and isinstance(value, Mapping) and "Ref" in value
    }


def environment_settings() -> Iterator[str]:
    """Yield the table of the variables that the template does not set from a parameter."""
    template = read_template(ROOT / "template.yaml")
    passed = set(_variables(template["Resources"]).values())
    yield "| variable | default | meaning |"
    yield "|---|---|---|"
    defaults = {each.name.upper(): each.default for each in fields(Settings)}
    for name, meaning in _documented().items():
        if name not in passed:
            default = defaults[name]
            shown = "none" if default is None else f"`{default:g}`"
            yield f"| `{name}` | {shown} | {meaning[:1].upper()}{meaning[1:]} |"


def _documented() -> dict[str, str]:
    """Return the text below each field of Settings, by the name of its variable."""
    texts = re.findall(r'"""`([A-Z_]+)`: (.*?)"""', inspect.getsource(Settings), re.DOTALL)
    return {name: " ".join(text.split()) for name, text in texts}
