"""Vonage's call when a report ends: lets the report's run ask Vonage at once.

Anyone may call the function's URL, so a call is only a hint. The function has no secret, no ledger
and no bucket. It never reads the body.
"""

import os
from functools import cache
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError

from vonage_reports.aws.waiting_runs import TWO_TRIES, WaitingRuns
from vonage_reports.domain.callbacks import digest_of

logger = Logger(service="receive_callback")


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Answer 204 to every call, so that a caller learns nothing.

    The event is that of a Lambda function URL. If AWS refuses a call, the run polls at its usual
    time.
    """
    callback = digest_of(str(event.get("rawPath", "")).removeprefix("/"))
    if callback is not None:
        try:
            if _waiting_runs().wake(callback):
                logger.info("woke a run", extra={"callback": callback})
        except (ClientError, BotoCoreError) as error:
            logger.warning("the run was not woken", extra={"error": str(error)})
    return {"statusCode": 204}


@cache
def _waiting_runs() -> WaitingRuns:
    """Return the table of waiting runs, which a warm function caches."""
    return WaitingRuns(
        boto3.client("dynamodb", config=TWO_TRIES),
        os.environ["CALLBACK_TABLE_NAME"],
        boto3.client("stepfunctions", config=TWO_TRIES),
    )
