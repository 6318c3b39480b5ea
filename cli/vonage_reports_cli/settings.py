"""The settings of a stack: the parameters of its template."""

import difflib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

import yaml

from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.vonage.client import require_safe_url
from vonage_reports_cli.errors import Attention, BadInput
from vonage_reports_cli.schedule import problem_of_expression

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

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
        pattern = self.declared.get("AllowedPattern")
        if pattern is not None and not re.fullmatch(pattern, value):
            raise BadInput(f"{self.name} does not take {value!r}. {self.description}")

    @property
    def _is_whole(self) -> bool:
        """Whether the number must be whole: the template names no fraction of it."""
        named = (self.declared.get("Default", 0), self.declared.get("MinValue", 0))
        return all(float(each).is_integer() for each in named)

    def _problem(self, value: str) -> str | None:
        allowed = self.declared.get("AllowedValues")
        if allowed is not None and value not in map(str, allowed):
            return f"takes {' or '.join(map(str, allowed))}"
        if self.declared.get("Type") == "Number":
            least = self.declared.get("MinValue")
            form = r"-?[0-9]{1,9}" if self._is_whole else r"-?[0-9]{1,9}(\.[0-9]{1,9})?"
            is_number = re.fullmatch(form, value) is not None
            if not is_number or (least is not None and float(value) < float(least)):
                kind = "a whole number" if self._is_whole else "a number"
                return f"takes {kind}" + ("" if least is None else f" of at least {least}")
        if self.name == "ScheduleExpression":
            return problem_of_expression(value)
        if self.name == "ScheduleTimeZone":
            return _problem_of_time_zone(value)
        return None


def _problem_of_time_zone(value: str) -> str | None:
    zones = available_timezones()
    if value in zones:
        return None
    close = difflib.get_close_matches(value, zones, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"takes an IANA time zone such as Europe/London{hint}"


class _Loader(yaml.SafeLoader):
    """Reads a template. The functions of CloudFormation, such as !Ref, become None."""


_Loader.add_multi_constructor("!", lambda _loader, _suffix, _node: None)


def settings_of(stack: "DeployedStack") -> dict[str, Setting]:
    """Read the parameters of the stack's template, with the values of the stack."""
    body: Any = stack.client("cloudformation").get_template(
        StackName=stack.name, TemplateStage="Original"
    )["TemplateBody"]
    return settings_in(body, stack.parameters)


def settings_in(body: str | Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Setting]:
    """Return the parameters of a template with these values or the defaults.

    `body` is YAML, or the content of a template in JSON, which botocore has parsed.
    """
    template = _Loader(body).get_single_data() if isinstance(body, str) else body
    declared: Mapping[str, Mapping[str, Any]] = template.get("Parameters", {})
    return {
        name: Setting(name, values.get(name, str(each.get("Default", ""))), each)
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


def require_settable(settings: Mapping[str, Setting], setting: Setting, value: str) -> None:
    """Raise BadInput if a setting cannot be set, or not to this value beside the others."""
    if setting.name in _ELSEWHERE:
        raise BadInput(f"{setting.name} holds {_ELSEWHERE[setting.name]}")
    setting.require(value)
    if setting.name == "VonageBaseUrl":
        try:
            require_safe_url(value)
        except InvalidRequest:
            raise BadInput(
                f"VonageBaseUrl does not take {value!r}, because the API secret goes there: set an "
                "https URL, or http on a loopback address"
            ) from None
    values = {**{name: each.value for name, each in settings.items()}, setting.name: value}
    if setting.name in _RETENTION and (problem := _problem_of_retention(values)):
        raise BadInput(f"{setting.name} {value}: {problem}")


def require_topic_beside(stack: "DeployedStack", setting: Setting, value: str) -> None:
    """Raise BadInput if AlarmTopicArn names the stack's own topic, or a topic of another region.

    The output of this name is the stack's own topic. CloudWatch refuses another region, but later.
    """
    if setting.name != "AlarmTopicArn" or not value:
        return
    if value == stack.outputs.get(setting.name):
        raise BadInput(
            f"AlarmTopicArn {value}: this is the stack's own topic, to which the alarms go anyway; "
            "name another topic"
        )
    region = value.split(":")[3]
    if region != stack.region:
        raise BadInput(
            f"AlarmTopicArn {value}: the topic is in {region}, and the alarms are in "
            f"{stack.region}; name a topic of their region"
        )


_RETENTION = frozenset({"ArchiveColdDays", "ArchiveColdClass", "ArchiveExpiryDays"})
"""The settings that S3 takes only together, because they are one lifecycle of the archives."""

_LEAST_COLD_DAYS = 30
"""S3 moves no object to STANDARD_IA earlier.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/lifecycle-transition-general-considerations.html
"""


def _problem_of_retention(values: Mapping[str, str]) -> str | None:
    cold, expiry = int(values["ArchiveColdDays"]), int(values["ArchiveExpiryDays"])
    if 0 < expiry <= cold:
        return (
            f"ArchiveExpiryDays {expiry} must be greater than ArchiveColdDays {cold}, or 0, which "
            "deletes no archive"
        )
    if 0 < cold < _LEAST_COLD_DAYS and values["ArchiveColdClass"] == "STANDARD_IA":
        return f"STANDARD_IA needs ArchiveColdDays of at least {_LEAST_COLD_DAYS}, or 0"
    return None


_DELETIONS = {
    "ArchiveExpiryDays": "S3 deletes each archive {} days after its collection, also archives that "
    "are stored already. Vonage billed them, `reconvert` and `verify` need them, and `settings` "
    "does not bring them back",
    "DatasetExpiryDays": "S3 deletes each file of the dataset {} days after its conversion, also "
    "files that are stored already. `bill`, `reconcile` and `query` then lack these records",
    "OldVersionDays": "S3 deletes replaced and deleted objects after {} days, also those that it "
    "still keeps",
    "LogRetentionDays": "CloudWatch deletes logs after {} days, also those that it still keeps",
}
"""The deletions that a setting brings about, by its name."""


def consequences(setting: Setting, value: str) -> list[str]:
    """Name what an update deletes for good or makes public, or where it sends the API secret."""
    if setting.name == "VonageBaseUrl" and value != setting.value:
        return [f"Every request goes to {value} then, with the API key and the API secret."]
    if setting.name == "WorkflowLog" and (setting.value, value) == ("on", "off"):
        return ["CloudFormation deletes the log group of the workflow, with the errors in it."]
    if setting.name == "Callback" and value != setting.value:
        if value == "off":
            deleted = (
                "the public URL, its function, the table of waiting runs, and the function's logs"
            )
            return [f"CloudFormation deletes {deleted}."]
        return ["The stack gets a public URL, which anyone may call: docs/security.md."]
    if setting.name not in _DELETIONS or value in ("0", setting.value):
        return []
    is_earlier = setting.value in ("", "0") or int(value) < int(setting.value)
    return [f"{_DELETIONS[setting.name].format(value)}."] if is_earlier else []


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


def _status(cloudformation: "CloudFormationClient", name: str) -> str:
    return str(cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])


def _cause(cloudformation: "CloudFormationClient", name: str) -> str:
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
