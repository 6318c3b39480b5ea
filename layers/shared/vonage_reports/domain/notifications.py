"""What is said over SNS when something did not go as it should.

`report.delivered` is made from the manifest (`objects`) and published by the workflow.
"""

import json
from collections.abc import Mapping
from typing import Any

from vonage_reports.domain.definitions import Refusal
from vonage_reports.domain.errors import VonageRejected
from vonage_reports.domain.reports import Report

FILTERABLE = ("event", "definition", "product", "account_id", "revision")
"""The fields that are message attributes as well, for subscriptions' filter policies."""

THE_KEY = "rejected#credentials"
"""The notice that the API key and secret are refused: nothing goes on until they are mended."""


def failed(
    report: Report, *, error: str, reason: str, execution: str | None, run_again: object
) -> dict[str, Any]:
    """Make the body of `report.failed`.

    `run_again` is the event for submit_reports that would set it right, None where it will be
    tried again without anybody's help; `execution` is an ARN.
    """
    return _problem(
        "report.failed", report, error, reason, execution=execution, run_again=run_again
    )


def held(report: Report, *, reason: str) -> dict[str, Any]:
    """Make the body of `report.held`."""
    return _problem(
        "report.held",
        report,
        "SubmissionUnknown",
        f"{reason}. Look in Vonage's dashboard whether it has the report: resolve with its "
        "request_id, or with null to create it",
        run_again={"resolve": {"report_id": report.report_id, "request_id": None}},
    )


def made_by_somebody(report: Report, request_id: str) -> dict[str, Any]:
    """Make the body of `report.failed` for a second report at Vonage, alike in every respect."""
    reason = f"Vonage has {request_id} as well, for the same window: somebody was billed for it"
    return _problem("report.failed", report, "SubmissionUnknown", reason)


def _problem(
    event: str,
    report: Report,
    error: str,
    reason: str,
    *,
    execution: str | None = None,
    run_again: object = None,
) -> dict[str, Any]:
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
        "message": f"{report.definition}, {report.window.first_date}: {reason}",
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


def cause(report: Report, error: VonageRejected) -> str:
    """Name what a refusal is about, to announce it once: the key, or a product of an account."""
    if error.concerns_every_report:
        return THE_KEY
    return f"rejected#{error.status}#{report.account_id}#{report.product}"


def causes_gone_with(report: Report) -> frozenset[str]:
    """Return the causes that a report that Vonage took proves to be gone."""
    about = f"{report.account_id}#{report.product}"
    return frozenset({THE_KEY, f"rejected#401#{about}", f"rejected#403#{about}"})
