"""The cap on the month's billed records: how much is left, and the reports that wait for it."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from vonage_reports.aws.ledger import Change, Ledger, VersionConflict
from vonage_reports.aws.ledger_items import OpenWork
from vonage_reports.domain import notifications
from vonage_reports.domain.report import Report
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
    """Return the budget of the present month. `reports` are the open ones."""
    month = month_of(now)
    if not cap:
        return Budget(month, 0)
    return Budget(month, cap, ledger.counted_records(month) + expected_in_flight(reports, month))


def records_left(ledger: Ledger, *, cap: int, now: datetime) -> int | None:
    """Return how many records may still be billed this month, or None without a cap."""
    if not cap:
        return None
    return budget_of(ledger.open_reports(), ledger, cap=cap, now=now).left


def announce_cap(capped: Capped, work: OpenWork, services: Services) -> None:
    """Announce the cap once for each month and cap, and give the reports that wait the reason.

    A report that need not wait any more loses the reason.
    """
    cause = notifications.cause_of_cap(capped.budget)
    if capped.reports and cause not in work.announced:
        services.topic.announce(notifications.spend_capped(capped.budget, len(capped.reports)))
        services.ledger.mark_announced(cause)
    for each in work.announced:
        if each.startswith(notifications.CAP) and each != cause:
            services.ledger.clear_announced(each)
    changes: list[Change] = [
        *(
            (report, replace(report, error=CAPPED, reason=reason))
            for report, reason in capped.reports
            if report.error != CAPPED
        ),
        *(
            (report, replace(report, error=None, reason=None))
            for report in work.reports
            if report.error == CAPPED and capped.budget.refusal(report) is None
        ),
    ]
    for before, after in changes[:_MOST_NOTED]:
        with suppress(VersionConflict):
            services.ledger.write(before, after)
