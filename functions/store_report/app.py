"""The workflow's state Store Report: streams an archive into S3 and proves it on the way."""

import os
from datetime import UTC, datetime
from functools import cache
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.cloudwatch import Metrics
from vonage_reports.aws.error_messages import named_resources
from vonage_reports.aws.multipart_upload import S3_CONFIG
from vonage_reports.connect import vonage_client
from vonage_reports.domain import waits
from vonage_reports.domain.errors import RateLimited
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.run_input import RunInput
from vonage_reports.domain.settings import Settings
from vonage_reports.store_report import store_report
from vonage_reports.vonage.client import VonageClient

logger = Logger(service="store_report")


@logger.inject_lambda_context
@named_resources(os.environ)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return `{"stored", "wait_seconds", "rows", "receipt"}`; `receipt` is a key in the bucket.

    The event has `report` (the workflow's input) and `download` (from check_report). After a 429,
    return a wait; raise only for faults.
    """
    run_input = RunInput.from_input(event["report"])
    logger.append_keys(**run_input.log_keys)
    try:
        receipt = store_report(
            run_input,
            event["download"],
            vonage=_vonage(),
            bucket=_bucket(),
            metrics=_metrics(),
            clock=_now,
            seconds_left=lambda: context.get_remaining_time_in_millis() / 1000,
        )
    except RateLimited as error:
        wait = waits.after_429(error)
        logger.warning("throttled", extra={"wait_seconds": wait})
        return {"stored": False, "wait_seconds": wait, "rows": None, "receipt": None}
    archive, rows = receipt["archive"], receipt["items_count"]
    logger.info("stored", extra={"rows": rows, "bytes": archive["bytes"] if archive else 0})
    return {
        "stored": True,
        "wait_seconds": 0,
        "rows": rows,
        "receipt": receipt_key(run_input),
    }


@cache
def _vonage() -> VonageClient:
    """Return the Vonage client, which a warm function caches."""
    return vonage_client(os.environ)


@cache
def _bucket() -> Bucket:
    return Bucket(boto3.client("s3", config=S3_CONFIG), os.environ["BUCKET_NAME"])


def _metrics() -> Metrics:
    settings = Settings.from_environment(os.environ)
    return Metrics(os.environ["STACK_NAME"], is_detailed=settings.detailed_metrics)


def _now() -> datetime:
    return datetime.now(UTC)
