"""The workflow's state Convert Report: converts stored archives to the dataset and a manifest."""

import os
from datetime import UTC, datetime
from functools import cache
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from vonage_dataset.convert_report import convert_report
from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.error_messages import named_resources
from vonage_reports.aws.glue import ONE_TRY, Catalogue
from vonage_reports.domain import mail
from vonage_reports.domain.run_input import RunInput
from vonage_reports.domain.settings import Settings

logger = Logger(service="convert_report")


@logger.inject_lambda_context
@named_resources(os.environ)
def lambda_handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Return `{"rows", "notification"}`.

    The event has `report` (the workflow's input) and `receipts` (the keys of all receipts).
    """
    run_input = RunInput.from_input(event["report"])
    settings = Settings.from_environment(os.environ)
    logger.append_keys(**run_input.log_keys)
    notification = convert_report(
        run_input,
        event["receipts"],
        bucket=_bucket(),
        catalogue=_catalogue() if settings.catalogue == "on" else None,
        settings=settings,
        clock=_now,
    )
    logger.info("converted", extra={"rows": notification["rows"]})
    # The workflow publishes it.
    mail_of = {
        "subject": mail.subject(notification),
        "message": mail.message(notification, stack=os.environ["STACK_NAME"]),
    }
    return {"rows": notification["rows"], "notification": notification, "mail": mail_of}


@cache
def _bucket() -> Bucket:
    """Return the bucket, which a warm function caches."""
    return Bucket(boto3.client("s3"), os.environ["BUCKET_NAME"])


@cache
def _catalogue() -> Catalogue:
    return Catalogue(
        lambda: boto3.client("glue", config=ONE_TRY),
        os.environ["DATABASE_NAME"],
        warn=logger.warning,
    )


def _now() -> datetime:
    return datetime.now(UTC)
