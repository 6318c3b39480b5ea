"""What is said over SNS when something did not go as it should.

`report.delivered` is made from the manifest (`objects`) and published by the workflow.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vonage_reports.domain.definitions import Refusal
from vonage_reports.domain.errors import VonageRejected, VonageReportsError
from vonage_reports.domain.report import Report
from vonage_reports.domain.windows import format_instant

FILTERABLE = ("event", "definition", "product", "account_id", "revision")
"""The fields that are message attributes as well, for subscriptions' filter policies."""

EVERY_REPORT = "every-report"
"""The notice that no report can be submitted: the key is refused, or Vonage out of reach."""


def delivered(manifest: Mapping[str, Any], *, manifest_key: str) -> dict[str, Any]:
    """Make the body of `report.delivered` from a manifest; the workflow publishes it."""
    return {
        "event": "report.delivered",
        "report_id": manifest["report_id"],
        "attempt": manifest["attempt"],
        "definition": manifest["definition"],
        "product": manifest["product"],
        "account_id": manifest["account_id"],
        "revision": manifest["revision"],
        "window": manifest["window"],
        "rows": manifest["rows"],
        "bytes": sum(archive["bytes"] for archive in manifest["archives"]),
        "totals": manifest["totals"],
        "schema_changed": manifest["schema_changed"],
        "manifest": manifest_key,
        "archives": [archive["key"] for archive in manifest["archives"]],
        "dataset": manifest["dataset"] and manifest["dataset"]["key"],
    }


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


def held(report: Report, *, reason: str, request_id: str | None) -> dict[str, Any]:
    """Make the body of `report.held`; `request_id` is what may be the report at Vonage.

    The event that creates it is in the message alone: sent unread, it might buy it twice.
    """
    named = {"resolve": {"report_id": report.report_id, "request_id": request_id}}
    create = {"resolve": {"report_id": report.report_id, "request_id": None}}
    return _problem(
        "report.held",
        report,
        "SubmissionUnknown",
        f"{reason}. Look in Vonage's dashboard whether it has the report. If so, resolve it with "
        "that request_id; only if not, create it, which is billed: "
        f"{json.dumps(create)}",
        run_again=named if request_id is not None else None,
    )


def overdue(report: Report, *, since: datetime, is_planned: bool) -> dict[str, Any]:
    """Make the body of `report.overdue`: due for long, and neither delivered nor given up."""
    state = f"it is {report.state}" if is_planned else "the calendar has not planned it yet"
    reason = f"due since {format_instant(since)} and not delivered: {state}"
    if report.reason:
        reason += f", because {report.reason}"
    return _problem("report.overdue", report, "Overdue", reason)


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


def cause(report: Report, error: VonageReportsError) -> str:
    """Name what an error is about, to announce it once: all reports, or an account's product."""
    if not isinstance(error, VonageRejected) or error.concerns_every_report:
        return EVERY_REPORT
    return f"rejected#{report.account_id}#{report.product}"


def causes_gone_with(report: Report) -> frozenset[str]:
    """Return the causes that a report that Vonage took proves to be gone."""
    return frozenset({EVERY_REPORT, f"rejected#{report.account_id}#{report.product}"})
