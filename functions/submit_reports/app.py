"""Settles what ended, plans what is due, submits what fits. EventBridge-triggered."""

import os
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError

from vonage_reports.aws import again, backfill
from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.credentials import cached_credentials
from vonage_reports.aws.edges import Edges
from vonage_reports.aws.executions import Executions
from vonage_reports.aws.invocation import Invocation
from vonage_reports.aws.ledger import Ledger
from vonage_reports.aws.metrics import Metrics
from vonage_reports.aws.moves import isolated
from vonage_reports.aws.plan import (
    Calendared,
    announce_refusals,
    forget_mended,
    plan,
    require_unchanged,
)
from vonage_reports.aws.resources import named_resources
from vonage_reports.aws.settle import settle
from vonage_reports.aws.submit import Submitted, resolve, submit
from vonage_reports.aws.topic import Topic
from vonage_reports.aws.watch import Defined, watch
from vonage_reports.client import VonageClient
from vonage_reports.domain.backfill import Backfill, checked_backfill
from vonage_reports.domain.definitions import Refusal, ReportDefinition, warnings_of
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.metrics import of_refusal
from vonage_reports.domain.pacing import Pacer
from vonage_reports.domain.settings import Settings
from vonage_reports.inputs import (
    EVERY_DEFINITION,
    Asked,
    BackfillRequest,
    Cancellation,
    Recollection,
    Reconversion,
    Resolution,
    ScheduledRun,
    Sweep,
    definition_named,
    is_dry_run,
    parse_definitions,
    parse_event,
)

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
    settings, edges = _settings(), _edges()
    if is_dry_run(asked):
        return _outlook(asked, edges)
    invocation = Invocation(
        context.aws_request_id, lambda: context.get_remaining_time_in_millis() / 1000
    )
    planned = _follow(asked, edges, settings, token=context.aws_request_id)
    work = edges.ledger.open_work()
    settled, faults = settle(work, edges, invocation, clock=_now)
    refused: list[Refusal] = []
    if isinstance(asked, ScheduledRun):
        # Without definitions nothing new is planned; what is open goes on all the same.
        with isolated(faults):
            due = _plan_calendar(asked, edges, work.notices)
            planned += due.planned
            refused += due.left_out
            faults += due.faults
    if work.backfills or isinstance(asked, BackfillRequest):
        with isolated(faults):
            planned += backfill.plan_backfills(
                edges, invocation, max_billed_records=settings.max_billed_records, clock=_now
            )
    done = Submitted()
    with isolated(faults):
        done = submit(edges, invocation, clock=_now)
    if isinstance(asked, Sweep):
        with isolated(faults):
            _watch(edges, settings)
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


def _follow(asked: Asked, edges: Edges, settings: Settings, *, token: str) -> list[str]:
    """Do what a person asks for, first of all; return what is planned by that."""
    now = _now()
    match asked:
        case Resolution():
            resolve(asked.report_id, asked.request_id, edges, now=now)
        case Recollection():
            return again.recollect(
                asked.report_id, asked.token or token, edges, now=now, currencies=_currencies()
            )
        case Reconversion():
            again.reconvert(asked.report_id, edges, now=now, currencies=_currencies())
        case BackfillRequest():
            limit = settings.max_billed_records
            backfill.begin(_backfill(asked, edges), edges, max_billed_records=limit)
        case Cancellation():
            backfill.cancel(asked.backfill, edges, now=now)
    return []


def _plan_calendar(asked: ScheduledRun, edges: Edges, noted: frozenset[str]) -> Calendared:
    """Plan what is due of the definitions as they are now; what is left out is announced."""
    definitions, refused = _definitions(edges)
    for warning in warnings_of(definitions):
        logger.warning(warning)
    faults: list[Exception] = []
    with isolated(faults):
        announce_refusals(refused, noted, edges)
    due = plan(definitions, edges, noted=noted, at=asked.scheduled_time, now=_now())
    left_out = [*refused, *due.left_out]
    with isolated(faults):
        forget_mended(left_out, noted, edges)
    return Calendared(due.planned, left_out, [*faults, *due.faults])


def _outlook(asked: BackfillRequest | Recollection, edges: Edges) -> dict[str, Any]:
    """Say what an event would do; nothing is written."""
    if isinstance(asked, Recollection):
        return {"dry_run": again.outlook(asked.report_id, edges)}
    return {"dry_run": backfill.outlook(_backfill(asked, edges), edges)}


def _watch(edges: Edges, settings: Settings) -> None:
    """Tell the alarms how things stand. No other part of a sweep needs the definitions."""
    try:
        defined: Defined | None = _defined(edges)
    except (ClientError, BotoCoreError, InvalidRequest) as error:
        # Said in a log only: a sweep that fails is tried again, and changes nothing about it.
        logger.warning("nobody can tell what is overdue", extra={"reason": str(error)})
        defined = None
    watch(defined, edges, overdue_after=timedelta(hours=settings.overdue_hours), now=_now())


def _defined(edges: Edges) -> Defined:
    parameter = _parameter()
    definitions, refused = parse_definitions(parameter["Value"], api_key=edges.vonage.api_key)
    for refusal in refused:
        if refusal.definition == EVERY_DEFINITION:
            raise InvalidRequest(refusal.reason)
    return Defined(definitions, refused, parameter["LastModifiedDate"])


def _backfill(asked: BackfillRequest, edges: Edges) -> Backfill:
    definition = definition_named(asked.definition, *_definitions(edges))
    require_unchanged(definition, edges)
    return checked_backfill(definition, asked.start, asked.end, confirmed=asked.confirm, now=_now())


def _definitions(edges: Edges) -> tuple[list[ReportDefinition], list[Refusal]]:
    """Read the definitions anew in each run: they change without a deployment."""
    return parse_definitions(_parameter()["Value"], api_key=edges.vonage.api_key)


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
def _edges() -> Edges:
    """Make what a warm function keeps."""
    credentials = cached_credentials(
        boto3.client("secretsmanager"), os.environ["VONAGE_SECRET_ARN"]
    )
    metrics = Metrics(os.environ["STACK_NAME"])
    return Edges(
        ledger=Ledger(boto3.resource("dynamodb").Table(os.environ["TABLE_NAME"])),
        vonage=VonageClient(
            os.environ["VONAGE_BASE_URL"],
            credentials,
            pacer=Pacer.from_settings(_settings()),
            on_refusal=lambda status: metrics.emit(of_refusal(status)),
        ),
        executions=Executions(boto3.client("stepfunctions"), os.environ["STATE_MACHINE_ARN"]),
        topic=Topic(boto3.client("sns"), os.environ["TOPIC_ARN"]),
        bucket=Bucket(boto3.client("s3"), os.environ["BUCKET_NAME"]),
        metrics=metrics,
        wait_scale=_settings().wait_scale,
    )


def _now() -> datetime:
    return datetime.now(UTC)
