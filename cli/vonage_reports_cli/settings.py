"""The settings of a stack: the parameters of its template."""

import difflib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from vonage_reports_cli.errors import Attention, BadInput

if TYPE_CHECKING:
    from vonage_reports_cli.session import Session
    from vonage_reports_cli.stack import DeployedStack

SCHEDULE_STATE = "ScheduleState"

_ELSEWHERE = {
    "ReportDefinitions": "the definitions: `definitions put` writes them",
    "Architecture": "the processor that the code was built for: change it with sam build and "
    "sam deploy",
}
"""The parameters that an update without a new template must not change."""

_SHORTEST_POLL, _LONGEST_POLL = 0.25, 5.0
"""Seconds. CloudFormation sends no notification."""

_LONGEST_UPDATE = 1_800


@dataclass(frozen=True)
class Setting:
    """A parameter of the template, with its constraints as the template has them."""

    name: str
    value: str
    declared: Mapping[str, Any]

    @property
    def default(self) -> str | None:
        """The template's default, None without one."""
        found = self.declared.get("Default")
        return None if found is None else str(found)

    @property
    def description(self) -> str:
        """The template's description."""
        return str(self.declared.get("Description", ""))

    def require(self, value: str) -> None:
        """Raise BadInput if the constraints of this template refuse a value.

        CloudFormation checks the others too, but later.
        """
        problem = self._problem(value)
        if problem is not None:
            raise BadInput(f"{self.name} {problem}, not {value!r}")

    def _problem(self, value: str) -> str | None:
        allowed = self.declared.get("AllowedValues")
        if allowed is not None and value not in map(str, allowed):
            return f"takes {' or '.join(map(str, allowed))}"
        if self.declared.get("Type") == "Number":
            least = self.declared.get("MinValue")
            is_number = re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value) is not None
            if not is_number or (least is not None and float(value) < float(least)):
                return "takes a number" + ("" if least is None else f" of at least {least}")
        pattern = self.declared.get("AllowedPattern")
        if pattern is not None and not re.fullmatch(pattern, value):
            return f"takes text that fits {pattern}: {self.description}"
        return None


class _Loader(yaml.SafeLoader):
    """Reads a template. The functions of CloudFormation, such as !Ref, become None."""


_Loader.add_multi_constructor("!", lambda _loader, _suffix, _node: None)


def settings_of(stack: "DeployedStack") -> dict[str, Setting]:
    """Read the parameters of the stack's template, with the values of the stack."""
    body: Any = stack.client("cloudformation").get_template(
        StackName=stack.name, TemplateStage="Original"
    )["TemplateBody"]
    # botocore parses a template that is JSON.
    template = yaml.load(body, _Loader) if isinstance(body, str) else body  # noqa: S506 - a SafeLoader
    declared: Mapping[str, Mapping[str, Any]] = template.get("Parameters", {})
    return {
        name: Setting(name, stack.parameters.get(name, str(each.get("Default", ""))), each)
        for name, each in declared.items()
    }


def named(settings: Mapping[str, Setting], name: str) -> Setting:
    """Return a setting by its name in the template. Raises BadInput."""
    if name in settings:
        return settings[name]
    by_lower = {each.lower(): each for each in settings}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    hint = f"; did you mean {by_lower[close[0]]}?" if close else "; `settings get` lists them"
    raise BadInput(f"{name}: the template has no such setting{hint}")


def require_settable(setting: Setting, value: str) -> None:
    """Raise BadInput if a setting cannot be set, or not to this value."""
    if setting.name in _ELSEWHERE:
        raise BadInput(f"{setting.name} holds {_ELSEWHERE[setting.name]}")
    setting.require(value)


def update(session: "Session", values: Mapping[str, str]) -> None:
    """Update parameters of the stack, with its template and all other values, and wait.

    Raises Attention if CloudFormation refuses the update or takes it back.
    """
    stack, note = session.deployed, session.screen.note
    cloudformation = stack.client("cloudformation")
    cloudformation.update_stack(
        StackName=stack.name,
        UsePreviousTemplate=True,
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        Parameters=[
            {"ParameterKey": name, "ParameterValue": values[name]}
            if name in values
            else {"ParameterKey": name, "UsePreviousValue": True}
            for name in {*stack.parameters, *values}
        ],
    )
    note(f"CloudFormation updates the stack {stack.name}.")
    deadline, pause = time.monotonic() + _LONGEST_UPDATE, _SHORTEST_POLL
    while (status := _status(cloudformation, stack.name)).endswith("_IN_PROGRESS"):
        if time.monotonic() > deadline:
            raise Attention(
                f"the stack {stack.name} is still {status}; CloudFormation goes on without this "
                "program"
            )
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_POLL)
    if status != "UPDATE_COMPLETE":
        raise Attention(f"the update ended in {status}: {_cause(cloudformation, stack.name)}")
    stack.forget()


def _status(cloudformation: Any, name: str) -> str:  # noqa: ANN401 - boto3's client
    return str(cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])


def _cause(cloudformation: Any, name: str) -> str:  # noqa: ANN401 - boto3's client
    """Return the first failure of the last update, which caused the others."""
    events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    cause = "CloudFormation's console shows why"
    for event in events:
        reason = event.get("ResourceStatusReason")
        if event["ResourceStatus"].endswith("_FAILED") and reason:
            cause = f"{event['LogicalResourceId']}: {reason}"
        if event["LogicalResourceId"] == name and event["ResourceStatus"] == "UPDATE_IN_PROGRESS":
            break
    return cause
