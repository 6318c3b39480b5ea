"""The cap on the month's billed records: how much is left, and the reports that wait for it."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice

from vonage_reports.aws.ledger import Change, Ledger, VersionConflict
from vonage_reports.aws.ledger_items import OpenWork
from vonage_reports.domain import notifications
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.report import Report
from vonage_reports.domain.slots import submission_order
from vonage_reports.domain.spend import CAPPED, Budget, expected_in_flight, month_of
from vonage_reports.submit_reports.context import Services

_MOST_NOTED = 20
"""How many waiting reports get the reason in one pass. Each is one write."""


@dataclass
class Capped:
    """The reports that may not be requested this month, each with the reason.

    `budget` includes the reports that this pass is about to request.
    """

    budget: Budget
    reports: list[tuple[Report, str]] = field(default_factory=list)


def budget_of(reports: Iterable[Report], ledger: Ledger, *, cap: int, now: datetime) -> Budget:
    """Return the budget of the present month. `reports` are the open ones, as just read.

    Read the counter after each reading of the reports. A request that ends in between then counts
    twice for a moment. In the other order, it would not count at all.
    """
    month = month_of(now)
    if not cap:
        return Budget(month, 0)
    return Budget(month, cap, ledger.counted_records(month) + expected_in_flight(reports, month))


def records_left(ledger: Ledger, *, cap: int, is_backfill: bool, now: datetime) -> int | None:
    """Return how many records may still be billed this month, or None without a cap."""
    if not cap:
        return None
    budget = budget_of(ledger.open_reports(), ledger, cap=cap, now=now)
    return budget.left(is_backfill=is_backfill)


def stored_records(report: Report, services: Services) -> int | None:
    """Return the records of a billed request that Vonage no longer shows.

    Use the count in the receipt. Without a receipt, or if Vonage gave no count, use the expected
    records. Return None if the report has none.
    """
    stored = services.bucket.read_json(receipt_key(report))
    count: int | None = None if stored is None else stored["items_count"]
    return report.expected_rows if count is None else count


def release_capped(work: OpenWork, services: Services, *, cap: int, now: datetime) -> None:
    """Take the reason from reports that need not wait any more. Forget former caps and months."""
    waiting = [each for each in work.reports if each.error == CAPPED]
    causes = [each for each in work.announced if each.startswith(notifications.CAP)]
    if not waiting and not causes:
        return
    budget = budget_of(work.reports, services.ledger, cap=cap, now=now)
    released = []
    for each in submission_order(waiting, now):
        if budget.refusal(each) is None:
            released.append(each)
            budget = budget.plus(each)
    _write(((each, replace(each, error=None, reason=None)) for each in released), services)
    for cause in sorted({*causes} - {notifications.cause_of_cap(budget)}):
        services.ledger.clear_announced(cause)


def announce_cap(capped: Capped, work: OpenWork, services: Services) -> None:
    """Give the reports that wait the reason. Announce the cap once for each month and cap."""
    month = capped.budget.month
    _write(
        (
            (report, replace(report, error=CAPPED, reason=reason))
            for report, reason in capped.reports
            if report.error != CAPPED or month not in (report.reason or "")
            # A refusal by Vonage is the more important reason.
            if report.refused_since is None and report.denied_since is None
        ),
        services,
    )
    cause = notifications.cause_of_cap(capped.budget)
    if capped.reports and cause not in work.announced:
        services.topic.announce(notifications.spend_capped(capped.budget, len(capped.reports)))
        services.ledger.mark_announced(cause)


def _write(changes: Iterable[Change], services: Services) -> None:
    for before, after in islice(changes, _MOST_NOTED):
        with suppress(VersionConflict):
            services.ledger.write(before, after)
