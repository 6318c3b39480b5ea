"""Makes one pass of the control loop. Triggered by EventBridge, Scheduler and the operator."""

import os
from datetime import UTC, datetime
from functools import cache
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.cloudwatch import Metrics
from vonage_reports.aws.definitions_source import DefinitionsSource
from vonage_reports.aws.error_messages import named_resources
from vonage_reports.aws.glue import ONE_TRY, Catalogue
from vonage_reports.aws.ledger import Ledger
from vonage_reports.aws.sns import Topic
from vonage_reports.aws.ssm import DefinitionsParameter
from vonage_reports.aws.step_functions import Executions
from vonage_reports.connect import vonage_client
from vonage_reports.domain.settings import Settings
from vonage_reports.domain.waits import Waits
from vonage_reports.submit_reports.context import Invocation, Services
from vonage_reports.submit_reports.reconcile import reconcile
from vonage_reports.submit_reports.requests import (
    OperatorRequest,
    RequestContext,
    is_dry_run,
    parse_event,
)

logger = Logger(service="submit_reports")


@logger.inject_lambda_context
@named_resources(os.environ)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Make one pass. docs/events.md lists the effect of each event.

    Raises InvalidRequest if the operator has to change the event. Then nothing was written.
    """
    request = parse_event(event)
    settings, services = Settings.from_environment(os.environ), _services()
    invocation = Invocation(
        context.aws_request_id, lambda: context.get_remaining_time_in_millis() / 1000
    )
    if is_dry_run(request):
        return {"dry_run": request.outlook(RequestContext(services, settings, invocation, _now()))}
    result = reconcile(request, services, settings, invocation, clock=_now)
    logger.info("submit_reports is done", extra=result.answer)
    if result.errors and not isinstance(request, OperatorRequest):
        # Raise the error last, after all other work. Then Lambda retries, and the metric Errors
        # counts it.
        raise result.errors[0]
    # The operator's request was carried out. If this invocation failed now, the operator would
    # send the request again, perhaps at a cost. Errors that persist fail the next sweep.
    return result.answer


@cache
def _services() -> Services:
    """Return the services, which a warm function caches."""
    settings = Settings.from_environment(os.environ)
    bucket = Bucket(boto3.client("s3"), os.environ["BUCKET_NAME"])
    parameter = DefinitionsParameter(boto3.client("ssm"), os.environ["DEFINITIONS_PARAMETER"])
    return Services(
        ledger=Ledger(
            boto3.resource("dynamodb").Table(os.environ["TABLE_NAME"]),
            periods=settings.period_length,
        ),
        definitions=DefinitionsSource(bucket, parameter),
        vonage=vonage_client(os.environ),
        executions=Executions(boto3.client("stepfunctions"), os.environ["STATE_MACHINE_ARN"]),
        topic=Topic(boto3.client("sns"), os.environ["TOPIC_ARN"], stack=os.environ["STACK_NAME"]),
        bucket=bucket,
        metrics=Metrics(os.environ["STACK_NAME"], is_detailed=settings.detailed_metrics),
        waits=Waits(settings.wait_scale),
        catalogue=_catalogue() if settings.catalogue == "on" else None,
        # The URL of a function ends with a slash.
        callback_url=os.environ["CALLBACK_URL"] if settings.callback == "function-url" else None,
    )


@cache
def _catalogue() -> Catalogue:
    # Glue's client takes long to make, and few passes register a partition.
    return Catalogue(
        lambda: boto3.client("glue", config=ONE_TRY),
        os.environ["DATABASE_NAME"],
        warn=logger.warning,
    )


def _now() -> datetime:
    return datetime.now(UTC)
