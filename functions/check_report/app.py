"""The workflow's state Check Report: asks Vonage whether a report is ready."""

import os
from datetime import UTC, datetime
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from vonage_reports.aws.error_messages import named_resources
from vonage_reports.check_report import check_report
from vonage_reports.connect import vonage_client
from vonage_reports.domain import waits
from vonage_reports.domain.errors import RateLimited
from vonage_reports.domain.run_input import RunInput
from vonage_reports.domain.windows import parse_instant
from vonage_reports.vonage.client import VonageClient
from vonage_reports.vonage.comparison import require_answer_to

logger = Logger(service="check_report")


@logger.inject_lambda_context
@named_resources(os.environ)
def lambda_handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Return `{"ready", "wait_seconds", "download"}`.

    The event has `report` (the workflow's input) and `started` (the start of the run). After a 429,
    return a wait and `throttled`, so that no callback ends this wait; raise only for faults.
    """
    run_input = RunInput.from_input(event["report"])
    assert run_input.request_id is not None  # a run without a request begins at Convert Report
    logger.append_keys(**run_input.log_keys)
    try:
        answer = require_answer_to(run_input, _vonage().get_report(run_input.request_id))
    except RateLimited as error:
        wait = waits.after_429(error)
        logger.warning("throttled", extra={"wait_seconds": wait})
        return {"ready": False, "wait_seconds": wait, "download": None, "throttled": True}
    result = check_report(
        answer,
        started=parse_instant(event["started"]),
        now=datetime.now(UTC),
    )
    logger.info("checked", extra={"request_status": answer.request_status, **result})
    return result


@cache
def _vonage() -> VonageClient:
    """Return the Vonage client, which a warm function caches."""
    return vonage_client(os.environ)
