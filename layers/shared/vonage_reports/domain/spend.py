"""The cap on the records that Vonage bills in a month: the months, and the room below the cap.

The ledger counts the records of each request once, in the UTC month in which the request was sent.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from vonage_reports.domain.products import FREE
from vonage_reports.domain.report import Report, State

CAPPED = "SpendCapped"
"""The error of a PLANNED report that waits for the cap."""

SHARE_OF_BACKFILLS = 0.8
"""Backfills wait from this share of the cap on, so that the calendar has the rest."""


@dataclass(frozen=True)
class Spending:
    """The records of one request, and the month to which they count."""

    month: str
    records: int


@dataclass(frozen=True)
class Budget:
    """The records that one month's cap leaves for requests. A cap of 0 is no cap.

    `used` has the counted records, and the expected records of the requests in flight.
    """

    month: str
    cap: int
    used: int = 0

    def limit(self, *, is_backfill: bool) -> int:
        """Return the most records that may be used before a report has to wait."""
        return int(self.cap * SHARE_OF_BACKFILLS) if is_backfill else self.cap

    def left(self, *, is_backfill: bool) -> int | None:
        """Return how many records are left, or None without a cap."""
        return max(0, self.limit(is_backfill=is_backfill) - self.used) if self.cap else None

    def refusal(self, report: Report) -> str | None:
        """Return why a report has to wait for the cap, or None if it may be requested.

        A report whose rows are unknown counts for nothing. It waits only once the cap is used up.
        """
        if not self.cap or report.product in FREE:
            return None
        is_backfill = report.backfill is not None
        limit = self.limit(is_backfill=is_backfill)
        expected = report.expected_rows or 0
        if self.used + expected <= limit and self.used < limit:
            return None
        share = f"{SHARE_OF_BACKFILLS:.0%} of " if is_backfill else ""
        says = (
            f"{self.used:,} records of {self.month} are billed or expected, this report would add "
            f"about {expected:,}, and {share}MaxBilledRecordsMonth is {limit:,}"
        )
        if expected > limit:
            return f"{says}. No month has room for it: raise the setting, or withdraw the report"
        return f"{says}. It goes on next month (UTC), or once you raise the setting"

    def plus(self, report: Report) -> "Budget":
        """Return the budget after a request for a report."""
        expected = 0 if report.product in FREE else report.expected_rows or 0
        return replace(self, used=self.used + expected)


def month_of(at: datetime) -> str:
    """Return the UTC month of an instant, such as `2026-11`."""
    return f"{at.astimezone(UTC):%Y-%m}"


def spending_of(report: Report, records: int | None) -> Spending | None:
    """Return what a report's present request adds to its month.

    None if Vonage gave no count, does not bill the product, or the request is counted already.
    """
    is_counted = report.request_id is None or report.counted == report.request_id
    if records is None or is_counted or report.submitted_at is None or report.product in FREE:
        return None
    return Spending(month_of(report.submitted_at), records)


def expected_in_flight(reports: Iterable[Report], month: str) -> int:
    """Return the expected records of the month's requests that are not counted yet.

    A request may be at Vonage as soon as its slot is taken. A held report may have one without a
    slot.
    """
    return sum(
        report.expected_rows or 0
        for report in reports
        if (report.slot is not None or report.state is State.HELD)
        and report.submitted_at is not None
        and month_of(report.submitted_at) == month
        and (report.request_id is None or report.counted != report.request_id)
        and report.product not in FREE
    )
