"""What is said over SNS when something did not go as it should.

`report.delivered` is made from the manifest (`objects`) and published by the workflow.
"""

import json
from collections.abc import Mapping
from typing import Any

from vonage_reports.domain.definitions import Refusal
from vonage_reports.domain.reports import Report

FILTERABLE = ("event", "definition", "product", "account_id", "revision")
"""The fields that are message attributes as well, for subscriptions' filter policies."""


def problem(
    event: str, report: Report, *, error: str, reason: str, execution: str | None, run_again: object
) -> dict[str, Any]:
    """Make the body of `report.failed` or `report.held`.

    `run_again` is the event for submit_reports that would set it right, None where it will be
    tried again without anybody's help; `execution` is an ARN.
    """
    return {
        "event": event,
        "report_id": report.report_id,
        "attempt": report.attempt,
        "definition": report.definition,
        "product": report.product,
        "account_id": report.account_id,
        "revision": report.revision,
        "window": report.window.to_dict(),
        "error": error,
        "message": reason,
        "execution": execution,
        "run_again": run_again,
    }


def refused(refusal: Refusal) -> dict[str, Any]:
    """Make the body of `definition.refused`."""
    return {
        "event": "definition.refused",
        "definition": refusal.definition,
        "field": refusal.field,
        "error": "InvalidRequest",
        "message": f"{refusal.definition}, {refusal.field}: {refusal.reason}",
    }


def attributes(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the message attributes of a notification's body, name to value."""
    return {name: str(body[name]) for name in FILTERABLE if body.get(name)}


def text(body: Mapping[str, Any]) -> str:
    """Return the message's text."""
    return json.dumps(body, sort_keys=True)
