"""The checks of `doctor` on a stack. Each gives one finding, and changes nothing."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from vonage_reports import __version__
from vonage_reports.aws.secrets import cached_credentials
from vonage_reports.domain.commands import PROGRAM
from vonage_reports.domain.definitions import change_of
from vonage_reports.domain.errors import (
    InvalidRequest,
    RateLimited,
    ReportExpired,
    VonageRejected,
    VonageUnavailable,
)
from vonage_reports.vonage.client import Credentials, VonageClient
from vonage_reports.vonage.pacing import Pacer
from vonage_reports_cli.access import explained
from vonage_reports_cli.errors import Exit, NoAccess
from vonage_reports_cli.schedule import GROUP
from vonage_reports_cli.schedule import LOGICAL_ID as CALENDAR
from vonage_reports_cli.stack import DeployedStack
from vonage_reports_cli.status.hearing import (
    CONFIRMED_WITHIN_HOURS,
    NoTopic,
    Subscriptions,
    confirming,
    operators_topic,
    subscribing,
    subscriptions_of,
    subscriptions_of_operators_topic,
)
from vonage_reports_cli.status.sources import loaded_definitions

FUNCTIONS = (
    *("SubmitReportsFunction", "CheckReportFunction"),
    *("StoreReportFunction", "ConvertReportFunction"),
)
_SWEEP = "SubmitReportsFunctionSweepSchedule"

_DROPS_METRICS = frozenset({"WARN", "WARNING", "ERROR", "FATAL", "CRITICAL"})
"""Above INFO. A line of metrics has no level, and Lambda treats it as INFO."""

_MOST_NAMES = 100
"""How many names CloudWatch takes at once."""


class Verdict(StrEnum):
    """The result of a check."""

    OK = "OK"
    PROBLEM = "problem"
    UNKNOWN = "unknown"
    """AWS or Vonage refused the look, or did not answer."""


def exit_of(verdicts: Iterable[Verdict]) -> Exit:
    """Return the exit code: of a problem, else of a look that was refused."""
    found = set(verdicts)
    if Verdict.PROBLEM in found:
        return Exit.ATTENTION
    return Exit.NO_ACCESS if Verdict.UNKNOWN in found else Exit.DONE


@dataclass(frozen=True)
class Finding:
    """The result of one check, and the command that mends a problem."""

    check: str
    verdict: Verdict
    sentence: str
    command: str | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        names = ("check", "verdict", "sentence", "command")
        return {name: getattr(self, name) for name in names}


class Fault(Exception):
    """A check found a problem, or could not look."""

    def __init__(
        self, sentence: str, command: str | None = None, verdict: Verdict = Verdict.PROBLEM
    ) -> None:
        super().__init__(sentence)
        self.command = command
        self.verdict = verdict


def same_version(deployed: str | None) -> str:
    """Describe the version of a stack. Raises Fault if the program has another one."""
    if deployed is None:
        return f"the program is {__version__}, and the stack does not say its version"
    if deployed != __version__:
        raise Fault(
            f"the program is {__version__}, and the stack is {deployed}. Deploy again, or install "
            "the program of the stack's version",
            "sam build && sam deploy",
        )
    return f"program and stack are {__version__}"


class Doctor:
    """Runs the checks on a stack, in the order in which they are mended."""

    def __init__(self, stack: DeployedStack) -> None:
        self._stack = stack

    def findings(self) -> Iterator[Finding]:
        """Yield a finding for each check. Raises botocore's errors if the stack is unreadable."""
        # Without its outputs, no check can begin.
        _ = self._stack.outputs
        checks: Mapping[str, Callable[[], str]] = {
            "stack": self._deployment,
            "versions": self._versions,
            "functions": self._functions,
            "roles": self._roles,
            "secret": self._secret,
            "definitions": self._definitions,
            "schedule": self._schedule,
            "sweep": self._sweep,
            "alarms": self._alarms,
            "alarm subscriptions": self._alarm_subscriptions,
            "notifications": self._notifications,
            "metrics": self._metrics,
            "undelivered events": self._undelivered_events,
        }
        for name, check in checks.items():
            yield self._finding(name, check)

    def _finding(self, name: str, check: Callable[[], str]) -> Finding:
        try:
            return Finding(name, Verdict.OK, check())
        except Fault as fault:
            return Finding(name, fault.verdict, str(fault), fault.command)
        except (ClientError, BotoCoreError) as error:
            known = explained(error)
            verdict = Verdict.UNKNOWN if isinstance(known, NoAccess) else Verdict.PROBLEM
            return Finding(name, verdict, str(known or error))
        except KeyError as error:
            sentence = f"the stack has no {error}, so another version of the template made it"
            return Finding(name, Verdict.PROBLEM, sentence)

    def _command(self, *words: str) -> str:
        return " ".join([PROGRAM, "--stack", self._stack.name, *words])

    @cached_property
    def _resources(self) -> Sequence[Mapping[str, Any]]:
        pages = self._stack.client("cloudformation").get_paginator("list_stack_resources")
        return [
            each
            for page in pages.paginate(StackName=self._stack.name)
            for each in page["StackResourceSummaries"]
        ]

    def _ids(self, kind: str) -> dict[str, str]:
        """Return the physical ids of the resources of a type, by logical id."""
        return {
            each["LogicalResourceId"]: each["PhysicalResourceId"]
            for each in self._resources
            if each["ResourceType"] == kind
        }

    @cached_property
    def _configurations(self) -> dict[str, Mapping[str, Any]]:
        client, names = self._stack.client("lambda"), self._ids("AWS::Lambda::Function")
        return {
            each: client.get_function_configuration(FunctionName=names[each]) for each in FUNCTIONS
        }

    def _deployment(self) -> str:
        status = str(self._stack.description["StackStatus"])
        if status.endswith("_IN_PROGRESS"):
            raise Fault(f"CloudFormation is changing the stack: {status}", None, Verdict.UNKNOWN)
        if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"):
            raise Fault(
                f"the last deployment failed: {status}",
                f"aws cloudformation describe-stack-events --stack-name {self._stack.name}",
            )
        return status

    def _versions(self) -> str:
        return same_version(self._stack.outputs.get("Version"))

    def _functions(self) -> str:
        for name, each in self._configurations.items():
            states = (each.get("State", "Active"), each.get("LastUpdateStatus", "Successful"))
            if states[0] not in ("Active", "Inactive") or states[1] == "Failed":
                reason = each.get("StateReason") or each.get("LastUpdateStatusReason") or ""
                raise Fault(f"{name} is {states[0]}, its last update {states[1]}: {reason}")
        self._stack.client("lambda").invoke(
            FunctionName=self._stack.outputs["SubmitReportsFunctionName"], InvocationType="DryRun"
        )
        return f"{len(self._configurations)} functions are ready, and you may invoke submit_reports"

    def _roles(self) -> str:
        iam, names = self._stack.client("iam"), self._ids("AWS::IAM::Role")
        for logical_id, name in names.items():
            try:
                iam.get_role(RoleName=name)
            except iam.exceptions.NoSuchEntityException:
                raise Fault(f"the role {name} ({logical_id}) is gone. Deploy again") from None
        return f"{len(names)} roles exist"

    def _secret(self) -> str:
        put = self._command("secret", "put")
        arn = self._stack.outputs["SecretArn"]
        read = cached_credentials(self._stack.client("secretsmanager"), arn)
        try:
            # The type of `read`, a Callable, has no name for its argument.
            credentials = read(True)  # noqa: FBT003
        except InvalidRequest as error:
            # The sentence names a command of AWS's CLI. The program has its own.
            raise Fault(str(error).partition(". Write it with")[0], put) from error
        return self._ask_vonage(credentials, put)

    def _ask_vonage(self, credentials: Credentials, put: str) -> str:
        """Ask for the list of reports, which Vonage does not bill."""
        variables = self._configurations["SubmitReportsFunction"]["Environment"]["Variables"]
        base_url = variables["VONAGE_BASE_URL"]
        said = f"has an API key ({credentials.api_key})"
        try:
            client = VonageClient(base_url, lambda _fresh: credentials, pacer=Pacer(0))
            client.list_reports(credentials.api_key)
        except (RateLimited, VonageUnavailable) as error:
            raise Fault(f"{said}, but {base_url}: {error}", None, Verdict.UNKNOWN) from error
        except ReportExpired:
            return f"{said}. {base_url} has no list of reports any more, which would prove the key"
        except VonageRejected as error:
            raise Fault(f"{said}, which Vonage refuses: {error}", put) from error
        except InvalidRequest as error:
            raise Fault(str(error)) from error
        return f"{said}, which {base_url} accepts"

    def _definitions(self) -> str:
        work, calendar = self._stack.ledger.open_work(), self._stack.ledger.calendar()
        loaded, pending = loaded_definitions(self._stack.definitions, work, calendar)
        changes = (change_of(each, calendar.collects.get(each.name)) for each in loaded.definitions)
        refused = [*loaded.refusals, *filter(None, changes)]
        if refused:
            first = f"{refused[0].definition}, {refused[0].field}: {refused[0].reason}"
            others = ", ".join(each.definition for each in refused[1:])
            more = f". Also refused: {others}" if others else ""
            raise Fault(f"refused: {first}{more}", self._command("definitions", "edit"))
        if not loaded.definitions:
            raise Fault("there is no definition", self._command("definitions", "edit"))
        note = f". {pending[0].upper()}{pending[1:]}" if pending else ""
        return f"{len(loaded.definitions):,} accepted{note}"

    def _schedule(self) -> str:
        return self._enabled(
            CALENDAR, "no window is planned", self._command("resume"), with_expression=True
        )

    def _sweep(self) -> str:
        return self._enabled(_SWEEP, "no report goes on", None)

    def _enabled(
        self, logical_id: str, effect: str, command: str | None, *, with_expression: bool = False
    ) -> str:
        name = self._ids("AWS::Scheduler::Schedule")[logical_id]
        group = self._ids("AWS::Scheduler::ScheduleGroup")[GROUP]
        schedule = self._stack.client("scheduler").get_schedule(Name=name, GroupName=group)
        if schedule["State"] != "ENABLED":
            how = "" if command else ". Enable it in the console of EventBridge Scheduler"
            raise Fault(f"{name} is {schedule['State']}: {effect}{how}", command)
        zone = schedule.get("ScheduleExpressionTimezone", "UTC")
        when = f", {schedule['ScheduleExpression']} {zone}" if with_expression else ""
        return f"enabled{when}"

    def _alarms(self) -> str:
        client = self._stack.client("cloudwatch")
        names = list(self._ids("AWS::CloudWatch::Alarm").values())
        alarms = [
            each
            for at in range(0, len(names), _MOST_NAMES)
            for each in client.describe_alarms(AlarmNames=names[at : at + _MOST_NAMES])[
                "MetricAlarms"
            ]
        ]
        silent = [each["AlarmName"] for each in alarms if not each.get("ActionsEnabled", True)]
        if silent:
            raise Fault(
                f"{len(silent)} alarms are silent, because their actions are off",
                f"aws cloudwatch enable-alarm-actions --alarm-names {' '.join(silent)}",
            )
        ringing = [each["AlarmName"] for each in alarms if each["StateValue"] == "ALARM"]
        if ringing:
            raise Fault(f"in alarm: {', '.join(ringing)}", self._command("status"))
        return f"{len(alarms)} alarms, none in alarm"

    def _alarm_subscriptions(self) -> str:
        topic, yours = self._stack.outputs["AlarmTopicArn"], operators_topic(self._stack)
        if yours is None:
            return self._heard(topic, "no alarm has a reader")
        of_yours = self._operators_topic(yours)
        own = subscriptions_of(self._stack, topic)
        if own.pending:
            return self._heard(topic, "no alarm has a reader")
        confirmed = f"{own.confirmed} confirmed of the stack's own topic"
        if of_yours is None:
            sentence = f"{confirmed}. You may not list those of {yours}"
            if own.confirmed:
                return sentence
            raise Fault(sentence, None, Verdict.UNKNOWN)
        sentence = f"{confirmed}, {of_yours.confirmed} of {yours}"
        if not own.confirmed + of_yours.confirmed:
            raise Fault(f"{sentence}: no alarm has a reader", subscribing(yours))
        return sentence

    def _operators_topic(self, topic: str) -> Subscriptions | None:
        try:
            return subscriptions_of_operators_topic(self._stack, topic)
        except NoTopic as error:
            raise Fault(
                str(error), self._command("settings", "set", "AlarmTopicArn", "ARN")
            ) from error

    def _notifications(self) -> str:
        return self._heard(self._stack.outputs["TopicArn"], "no announcement has a reader")

    def _heard(self, topic: str, effect: str) -> str:
        found = subscriptions_of(self._stack, topic)
        if found.pending:
            raise Fault(
                f"{len(found.pending)} of {found.confirmed + len(found.pending)} subscriptions "
                f"wait for a confirmation ({', '.join(found.pending)}). Confirm each with the "
                f"token in its message's link. SNS deletes them after {CONFIRMED_WITHIN_HOURS} h",
                confirming(topic),
            )
        if not found.confirmed:
            raise Fault(f"{topic} has no subscription: {effect}", subscribing(topic))
        return f"{found.confirmed} confirmed"

    def _metrics(self) -> str:
        for logical_id, each in self._configurations.items():
            name = each["FunctionName"]
            logging = each.get("LoggingConfig", {})
            level = str(logging.get("ApplicationLogLevel") or "INFO").upper()
            if level in _DROPS_METRICS:
                raise Fault(
                    f"{logical_id} drops its metrics, which the alarms read: its "
                    f"ApplicationLogLevel is {level}",
                    f"aws lambda update-function-configuration --function-name {name} "
                    f"--logging-config LogFormat=JSON,ApplicationLogLevel=INFO,"
                    f"LogGroup={self._log_group(logical_id)}",
                )
            variables = each.get("Environment", {}).get("Variables", {})
            for variable in ("POWERTOOLS_LOG_LEVEL", "LOG_LEVEL"):
                if str(variables.get(variable, "")).upper() in _DROPS_METRICS:
                    raise Fault(
                        f"{logical_id} hides its log, which `logs` reads: remove {variable} "
                        f"({variables[variable]}) from its environment"
                    )
            if str(variables.get("POWERTOOLS_METRICS_DISABLED", "")).lower() in ("true", "1"):
                raise Fault(
                    f"{logical_id} writes no metrics, which the alarms read: remove "
                    "POWERTOOLS_METRICS_DISABLED from its environment"
                )
        return "no function drops the metrics that the alarms read"

    def _log_group(self, function: str) -> str:
        return self._ids("AWS::Logs::LogGroup")[f"{function.removesuffix('Function')}Logs"]

    def _undelivered_events(self) -> str:
        answer = self._stack.client("sqs").get_queue_attributes(
            QueueUrl=self._stack.outputs["UndeliveredEventsQueueUrl"],
            AttributeNames=["ApproximateNumberOfMessages"],
        )
        count = int(answer["Attributes"]["ApproximateNumberOfMessages"])
        if count:
            raise Fault(
                f"submit_reports could not handle {count:,} events",
                self._command("events", "list"),
            )
        return "none"
