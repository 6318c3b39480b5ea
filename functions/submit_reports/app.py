"""Settles what ended, plans what is due, submits what fits. EventBridge-triggered."""

import os
from datetime import UTC, datetime
from functools import cache
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.credentials import cached_credentials
from vonage_reports.aws.edges import Edges
from vonage_reports.aws.executions import Executions
from vonage_reports.aws.invocation import Invocation
from vonage_reports.aws.ledger import Ledger
from vonage_reports.aws.moves import isolated
from vonage_reports.aws.plan import announce_refusals, plan, plan_again
from vonage_reports.aws.settle import settle
from vonage_reports.aws.submit import resolve, submit
from vonage_reports.aws.topic import Topic
from vonage_reports.client import VonageClient
from vonage_reports.domain.definitions import Refusal
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.pacing import Pacer
from vonage_reports.domain.settings import Settings
from vonage_reports.inputs import (
    Recollection,
    Resolution,
    ScheduledRun,
    parse_definitions,
    parse_event,
)

logger = Logger(service="submit_reports")


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Do what is due now, whatever the trigger; the README's table of events says what each adds.

    Raises InvalidRequest for an event that a person has to mend; then nothing was changed.
    """
    asked = parse_event(event)
    edges = _edges()
    now = _now()
    invocation = Invocation(
        context.aws_request_id, lambda: context.get_remaining_time_in_millis() / 1000
    )
    work = edges.ledger.open_work()
    if isinstance(asked, Resolution):
        resolve(work.reports, asked.report_id, asked.request_id, edges, now=now)
    settled, faults = settle(work, edges, invocation, clock=_now)
    planned: list[str] = []
    refused: list[Refusal] = []
    if isinstance(asked, ScheduledRun):
        definitions, refused = parse_definitions(_definitions(), api_key=edges.vonage.api_key)
        planned, late = plan(definitions, edges, at=asked.scheduled_time, now=now)
        refused += late
        with isolated(faults):
            announce_refusals(refused, work.notices, edges)
    if isinstance(asked, Recollection):
        token = asked.token or context.aws_request_id
        planned = plan_again(asked.report_id, token, edges, now=now)
    done = submit(edges, invocation, clock=_now)
    answer = {
        "settled": settled,
        "planned": planned,
        "submitted": done.submitted,
        "held": done.held,
        "refused": [refusal.to_dict() for refusal in refused],
        "waiting": done.waiting,
    }
    logger.info("submit_reports is done", extra=answer)
    if work.unreadable:
        names = ", ".join(work.unreadable)
        faults.append(InvalidRequest(f"the ledger has reports of another version: {names}"))
    for fault in (*faults, *done.faults):
        # All that could be done is done; whoever retries or counts this invocation shall know.
        raise fault
    return answer


def _definitions() -> str:
    """Read the definitions anew in each run: they change without a deployment."""
    name = os.environ["DEFINITIONS_PARAMETER"]
    return boto3.client("ssm").get_parameter(Name=name)["Parameter"]["Value"]


@cache
def _edges() -> Edges:
    """Make what a warm function keeps."""
    settings = Settings.from_environment(os.environ)
    credentials = cached_credentials(
        boto3.client("secretsmanager"), os.environ["VONAGE_SECRET_ARN"]
    )
    return Edges(
        ledger=Ledger(boto3.resource("dynamodb").Table(os.environ["TABLE_NAME"])),
        vonage=VonageClient(
            os.environ["VONAGE_BASE_URL"], credentials, pacer=Pacer.from_settings(settings)
        ),
        executions=Executions(boto3.client("stepfunctions"), os.environ["STATE_MACHINE_ARN"]),
        topic=Topic(boto3.client("sns"), os.environ["TOPIC_ARN"]),
        bucket=Bucket(boto3.client("s3"), os.environ["BUCKET_NAME"]),
        wait_scale=settings.wait_scale,
    )


def _now() -> datetime:
    return datetime.now(UTC)
