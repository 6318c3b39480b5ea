"""Settles what ended, plans what is due, submits what fits. EventBridge-triggered."""

import os
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError

from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.cloudwatch import Metrics
from vonage_reports.aws.error_messages import named_resources
from vonage_reports.aws.ledger import Ledger
from vonage_reports.aws.sns import Topic
from vonage_reports.aws.step_functions import Executions
from vonage_reports.connect import vonage_client
from vonage_reports.domain.backfill import Backfill, checked_backfill
from vonage_reports.domain.definitions import Refusal, ReportDefinition, warnings_of
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.settings import Settings
from vonage_reports.domain.waits import Waits
from vonage_reports.submit_reports import backfills, reprocess
from vonage_reports.submit_reports.context import Invocation, Services
from vonage_reports.submit_reports.execute import collect_errors
from vonage_reports.submit_reports.monitor import LoadedDefinitions, monitor
from vonage_reports.submit_reports.plan import (
    PlanResult,
    announce_refusals,
    clear_resolved_refusals,
    plan,
    require_unchanged,
)
from vonage_reports.submit_reports.requests import (
    EVERY_DEFINITION,
    BackfillRequest,
    Cancellation,
    Recollection,
    Reconversion,
    Request,
    Resolution,
    ScheduledRun,
    Sweep,
    definition_named,
    is_dry_run,
    parse_definitions,
    parse_event,
)
from vonage_reports.submit_reports.settle import settle
from vonage_reports.submit_reports.submit import SubmitResult, resolve, submit

if TYPE_CHECKING:
    from mypy_boto3_ssm.type_defs import ParameterTypeDef

logger = Logger(service="submit_reports")


@logger.inject_lambda_context
@named_resources(os.environ)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Do what is due now, whatever the trigger; the README's table of events says what each adds.

    Raises InvalidRequest for an event that a person has to mend; then nothing was changed.
    """
    asked = parse_event(event)
    settings, services = _settings(), _services()
    if is_dry_run(asked):
        return _outlook(asked, services)
    invocation = Invocation(
        context.aws_request_id, lambda: context.get_remaining_time_in_millis() / 1000
    )
    planned = _follow(asked, services, settings, token=context.aws_request_id)
    work = services.ledger.open_work()
    settled, faults = settle(work, services, invocation, clock=_now)
    refused: list[Refusal] = []
    if isinstance(asked, ScheduledRun):
        # Without definitions nothing new is planned; what is open goes on all the same.
        with collect_errors(faults):
            due = _plan_calendar(asked, services, work.announced)
            planned += due.planned
            refused += due.left_out
            faults += due.faults
    if work.backfills or isinstance(asked, BackfillRequest):
        with collect_errors(faults):
            planned += backfills.plan_backfills(
                services, invocation, max_billed_records=settings.max_billed_records, clock=_now
            )
    done = SubmitResult()
    with collect_errors(faults):
        done = submit(services, invocation, clock=_now)
    if isinstance(asked, Sweep):
        with collect_errors(faults):
            _watch(services, settings)
    answer = {
        "settled": settled,
        "planned": planned,
        "submitted": done.submitted,
        "held": done.held,
        "refused": [refusal.to_dict() for refusal in refused],
        "waiting": done.waiting,
    }
    faults += done.faults
    if work.unreadable:
        names = ", ".join(work.unreadable)
        faults.append(InvalidRequest(f"the ledger has entries of another version: {names}"))
    answer["faults"] = [str(fault) for fault in faults]
    logger.info("submit_reports is done", extra=answer)
    if isinstance(asked, ScheduledRun | Sweep):
        for fault in faults:
            # All that could be done is done; whoever retries or counts this invocation shall know.
            raise fault
    # What a person asked for is done: failing, it would be sent, and perhaps billed, again. What
    # went wrong beside it the next sweep raises.
    return answer


def _follow(asked: Request, services: Services, settings: Settings, *, token: str) -> list[str]:
    """Do what a person asks for, first of all; return what is planned by that."""
    now = _now()
    match asked:
        case Resolution():
            resolve(asked.report_id, asked.request_id, services, now=now)
        case Recollection():
            return reprocess.recollect(
                asked.report_id, asked.token or token, services, now=now, currencies=_currencies()
            )
        case Reconversion():
            reprocess.reconvert(asked.report_id, services, now=now, currencies=_currencies())
        case BackfillRequest():
            limit = settings.max_billed_records
            backfills.begin(_backfill(asked, services), services, max_billed_records=limit)
        case Cancellation():
            backfills.cancel(asked.backfill, services, now=now)
    return []


def _plan_calendar(
    asked: ScheduledRun, services: Services, announced: frozenset[str]
) -> PlanResult:
    """Plan what is due of the definitions as they are now; what is left out is announced."""
    definitions, refused = _definitions(services)
    for warning in warnings_of(definitions):
        logger.warning(warning)
    faults: list[Exception] = []
    with collect_errors(faults):
        announce_refusals(refused, announced, services)
    due = plan(definitions, services, announced=announced, at=asked.scheduled_time, now=_now())
    left_out = [*refused, *due.left_out]
    with collect_errors(faults):
        clear_resolved_refusals(left_out, announced, services)
    return PlanResult(due.planned, left_out, [*faults, *due.faults])


def _outlook(asked: BackfillRequest | Recollection, services: Services) -> dict[str, Any]:
    """Say what an event would do; nothing is written."""
    if isinstance(asked, Recollection):
        return {"dry_run": reprocess.outlook(asked.report_id, services)}
    return {"dry_run": backfills.outlook(_backfill(asked, services), services)}


def _watch(services: Services, settings: Settings) -> None:
    """Tell the alarms how things stand. No other part of a sweep needs the definitions."""
    try:
        defined: LoadedDefinitions | None = _defined(services)
    except (ClientError, BotoCoreError, InvalidRequest) as error:
        # Said in a log only: a sweep that fails is tried again, and changes nothing about it.
        logger.warning("nobody can tell what is overdue", extra={"reason": str(error)})
        defined = None
    monitor(defined, services, overdue_after=timedelta(hours=settings.overdue_hours), now=_now())


def _defined(services: Services) -> LoadedDefinitions:
    parameter = _parameter()
    definitions, refused = parse_definitions(parameter["Value"], api_key=services.vonage.api_key)
    for refusal in refused:
        if refusal.definition == EVERY_DEFINITION:
            raise InvalidRequest(refusal.reason)
    return LoadedDefinitions(definitions, refused, parameter["LastModifiedDate"])


def _backfill(asked: BackfillRequest, services: Services) -> Backfill:
    definition = definition_named(asked.definition, *_definitions(services))
    require_unchanged(definition, services)
    return checked_backfill(definition, asked.start, asked.end, confirmed=asked.confirm, now=_now())


def _definitions(services: Services) -> tuple[list[ReportDefinition], list[Refusal]]:
    """Read the definitions anew in each run: they change without a deployment."""
    return parse_definitions(_parameter()["Value"], api_key=services.vonage.api_key)


def _currencies() -> dict[str, str | None]:
    """Read what the definitions say of currency; whose account they are about does not matter."""
    definitions, _ = parse_definitions(_parameter()["Value"], api_key="")
    return {each.name: each.currency for each in definitions}


def _parameter() -> "ParameterTypeDef":
    name = os.environ["DEFINITIONS_PARAMETER"]
    return boto3.client("ssm").get_parameter(Name=name)["Parameter"]


def _settings() -> Settings:
    return Settings.from_environment(os.environ)


@cache
def _services() -> Services:
    """Make what a warm function keeps."""
    return Services(
        ledger=Ledger(boto3.resource("dynamodb").Table(os.environ["TABLE_NAME"])),
        vonage=vonage_client(os.environ),
        executions=Executions(boto3.client("stepfunctions"), os.environ["STATE_MACHINE_ARN"]),
        topic=Topic(boto3.client("sns"), os.environ["TOPIC_ARN"]),
        bucket=Bucket(boto3.client("s3"), os.environ["BUCKET_NAME"]),
        metrics=Metrics(os.environ["STACK_NAME"]),
        waits=Waits(_settings().wait_scale),
    )


def _now() -> datetime:
    return datetime.now(UTC)
