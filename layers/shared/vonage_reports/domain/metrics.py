"""The names, units and values of the metrics.

Each sweep measures the gauges. Every other metric is counted once, at its event. The alarms and the
dashboard of `template.yaml` read the metrics. docs/metrics.md lists the metrics.

CloudWatch bills a metric for each hour in which it has a value. So counters of 0 are not sent.
Gauges of 0 are, because they end an alarm.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

from vonage_reports.domain import waits
from vonage_reports.domain.products import FREE
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.spend import CAPPED
from vonage_reports.domain.windows import HOUR, parse_instant

NAMESPACE = "VonageUsageReports"

ALARMING_GAUGES = (
    *("OldestUndeliveredHours", "DefinitionsRefused", "ReportsHeld"),
    *("ArchivesExpiring", "LongestRunRatio", "CatalogueWaiting"),
)
"""The gauges that an alarm reads. Every sweep sends them, also 0.

Only CatalogueWaiting depends on a setting. Without a catalogue there is neither gauge nor alarm.
"""

CHARTED_GAUGES = ("ReportsWaiting", "SlotsInUse")
"""The gauges that only a chart shows."""

UNITS: Mapping[str, str] = {
    # Gauges of each sweep
    "OldestUndeliveredHours": "None",
    "DefinitionsRefused": "Count",
    "ReportsHeld": "Count",
    "ReportsWaiting": "Count",
    "SlotsInUse": "Count",
    "ArchivesExpiring": "Count",
    "LongestRunRatio": "None",
    "CatalogueWaiting": "Count",
    # Counted in each sweep
    "ReportsCapped": "Count",
    # Transitions in the ledger
    "ReportsRequested": "Count",
    "ReportsBoughtAgain": "Count",
    "ReportsFailed": "Count",
    "Deliveries": "Count",
    "RowsDelivered": "Count",
    "HoursToDelivery": "None",
    "VolumeDeviation": "None",
    "RescuedCells": "Count",
    # The cost of each stored archive
    "BilledRecords": "Count",
    "GenerationSeconds": "Seconds",
    # Refusals by Vonage
    "RequestsThrottled": "Count",
    "RequestsRefused": "Count",
}
"""The unit of each metric, in CloudWatch's terms. CloudWatch has no unit for hours and ratios.

Ages are in hours, because the operator sets the alarm's threshold in hours.
"""


def worth_sending(values: Mapping[str, float], *, is_detailed: bool) -> dict[str, float]:
    """Return the values that CloudWatch gets: no counter of 0, and charted gauges only in detail.

    An alarm on a counter treats missing data as 0, so it does not need the 0.
    """
    return {
        name: value
        for name, value in values.items()
        if name in ALARMING_GAUGES or (is_detailed if name in CHARTED_GAUGES else value != 0)
    }


def of_transition(before: Report, after: Report, *, now: datetime) -> dict[str, float]:
    """Return the values that a report's transition adds to the metrics, by name.

    Each part of a split window counts as requested. Only the whole window counts as delivered or
    failed. A repeated conversion of a delivered window does not count as a delivery. Its rescued
    cells count if they are not those of before.
    """
    if before.state is after.state:
        return {}
    if after.state is State.SUBMITTED:
        is_repeated = after.attempt - after.attempts_before > 1
        return {"ReportsRequested": 1, "ReportsBoughtAgain": float(is_repeated)}
    if after.state is State.FAILED and not after.is_half:
        return {"ReportsFailed": 1}
    found: dict[str, float] = {}
    if after.state is State.DELIVERED and (before.rows is None or before.rescued != after.rescued):
        found["RescuedCells"] = sum((after.rescued or {}).values())
    if after.state is State.DELIVERED and before.rows is None:
        found |= {"Deliveries": 1, "RowsDelivered": after.rows or 0}
        if not after.is_asked_for:
            found["HoursToDelivery"] = (now - after.window.end) / HOUR
    return found


def of_open_work(
    reports: Collection[Report], *, slots: int, expiring: int, now: datetime
) -> dict[str, float]:
    """Return the gauges of the open reports. `slots` are in use; `expiring` files expire soon."""
    states = [report.state for report in reports]
    return {
        "ReportsHeld": states.count(State.HELD),
        "ReportsWaiting": states.count(State.PLANNED),
        "ReportsCapped": sum(each.error == CAPPED for each in reports),
        "SlotsInUse": slots,
        "ArchivesExpiring": expiring,
        "LongestRunRatio": max((_run_ratio(each, now) for each in reports), default=0),
    }


def _run_ratio(report: Report, now: datetime) -> float:
    """Return the time since a report's POST as a multiple of its allowed time until delivery.

    Resumed runs count as one run, because Vonage has the report all the time.
    """
    if report.state is not State.SUBMITTED or report.submitted_at is None:
        return 0
    rows = report.max_records if report.expected_rows is None else report.expected_rows
    return (now - report.submitted_at) / (waits.BESIDE_GENERATION + rows * waits.SLOWEST_RECORD)


def expires_soon(report: Report, now: datetime) -> bool:
    """Whether Vonage may soon delete a report's file before it is stored.

    The time counts from the POST, because the ledger does not know when Vonage made the file.
    """
    return (
        report.state is State.SUBMITTED
        and not report.receipts
        and report.submitted_at is not None
        and now >= report.submitted_at + waits.FILE_KEPT - waits.EXPIRES_SOON
    )


def of_archive(product: str, receipt: Mapping[str, Any]) -> dict[str, float]:
    """Return the values that a receipt's archive adds, if Vonage counted the records."""
    records, times = receipt["items_count"], receipt["times"]
    if records is None:
        return {}
    found: dict[str, float] = {"BilledRecords": 0 if product in FREE else records}
    if times["submitted"] is not None:
        generated = parse_instant(times["ready"]) - parse_instant(times["submitted"])
        found["GenerationSeconds"] = generated.total_seconds()
    return found


def of_refusal(status: int) -> dict[str, float]:
    """Return the value that Vonage's refusal adds: throttled (429) or refused (401, 403)."""
    is_throttled = status == HTTPStatus.TOO_MANY_REQUESTS
    return {"RequestsThrottled" if is_throttled else "RequestsRefused": 1}
