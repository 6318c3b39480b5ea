"""The metrics: their names and units, and what each is made from.

A gauge says how things stand when a sweep looks; everything else is said once, when it happened.
The alarms and the dashboard of `template.yaml` read them; the README has them in one table.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

from vonage_reports.domain import waits
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.windows import HOUR, parse_instant

NAMESPACE = "VonageUsageReports"

UNITS: Mapping[str, str] = {
    # Gauges of each sweep
    "OldestUndeliveredHours": "None",
    "DefinitionsRefused": "Count",
    "ReportsHeld": "Count",
    "ReportsWaiting": "Count",
    "SlotsInUse": "Count",
    "ArchivesExpiring": "Count",
    "LongestRunRatio": "None",
    # What the ledger has written
    "ReportsRequested": "Count",
    "ReportsBoughtAgain": "Count",
    "ReportsFailed": "Count",
    "Deliveries": "Count",
    "RowsDelivered": "Count",
    "HoursToDelivery": "None",
    "VolumeDeviation": "None",
    # What an archive cost, once it is stored
    "BilledRecords": "Count",
    "GenerationSeconds": "Seconds",
    # What Vonage refused
    "RequestsThrottled": "Count",
    "RequestsRefused": "Count",
}
"""The unit of each metric, in CloudWatch's words; it has none for hours and ratios.

Hours, because the threshold of their alarm is a parameter that a person sets in hours.
"""

_UNBILLED = "REPORTS-USAGE"
"""The one product that Vonage does not bill (its knowledge base, article 4408147718036)."""


def of_transition(before: Report, after: Report, *, now: datetime) -> dict[str, float]:
    """Return what a report's move from one state to another adds to the metrics, by name.

    Of a window that was split each part is asked for, and the window as a whole is delivered or
    fails. A conversion of what was delivered before is no delivery.
    """
    if before.state is after.state:
        return {}
    if after.state is State.SUBMITTED:
        is_repeated = after.attempt - after.attempts_before > 1
        return {"ReportsRequested": 1, "ReportsBoughtAgain": float(is_repeated)}
    if after.state is State.FAILED and not after.is_half:
        return {"ReportsFailed": 1}
    if after.state is State.DELIVERED and before.rows is None:
        found: dict[str, float] = {"Deliveries": 1, "RowsDelivered": after.rows or 0}
        if not after.is_asked_for:
            found["HoursToDelivery"] = (now - after.window.end) / HOUR
        return found
    return {}


def of_open_work(
    reports: Collection[Report], *, slots: int, expiring: int, now: datetime
) -> dict[str, float]:
    """Return the gauges of what is open: `slots` are in use, `expiring` archives soon gone."""
    states = [report.state for report in reports]
    return {
        "ReportsHeld": states.count(State.HELD),
        "ReportsWaiting": states.count(State.PLANNED),
        "SlotsInUse": slots,
        "ArchivesExpiring": expiring,
        "LongestRunRatio": max((_run_ratio(each, now) for each in reports), default=0),
    }


def _run_ratio(report: Report, now: datetime) -> float:
    """Return how often over a report has taken the time that it may take from POST to delivery.

    Resumed runs count as one: Vonage has the report all that time.
    """
    if report.state is not State.SUBMITTED or report.submitted_at is None:
        return 0
    rows = report.max_records if report.expected_rows is None else report.expected_rows
    return (now - report.submitted_at) / (waits.BESIDE_GENERATION + rows * waits.SLOWEST_RECORD)


def expires_soon(report: Report, now: datetime) -> bool:
    """Whether Vonage may delete a report's file soon, as far as the ledger knows not stored.

    Counted from the POST: when Vonage was done with it the ledger does not know.
    """
    return (
        report.state is State.SUBMITTED
        and not report.receipts
        and report.submitted_at is not None
        and now >= report.submitted_at + waits.FILE_KEPT - waits.EXPIRES_SOON
    )


def of_archive(product: str, receipt: Mapping[str, Any]) -> dict[str, float]:
    """Return what the archive of a receipt adds; nothing where Vonage did not count its records."""
    records, times = receipt["items_count"], receipt["times"]
    if records is None:
        return {}
    found: dict[str, float] = {"BilledRecords": 0 if product == _UNBILLED else records}
    if times["submitted"] is not None:
        generated = parse_instant(times["ready"]) - parse_instant(times["submitted"])
        found["GenerationSeconds"] = generated.total_seconds()
    return found


def of_refusal(status: int) -> dict[str, float]:
    """Return what an answer of Vonage that wants no such request adds: 429, or 401 and 403."""
    is_throttled = status == HTTPStatus.TOO_MANY_REQUESTS
    return {"RequestsThrottled" if is_throttled else "RequestsRefused": 1}
