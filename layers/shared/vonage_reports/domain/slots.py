"""The slots: their number, the order in which reports take them, and the share of backfills."""

from collections.abc import Collection, Iterable
from datetime import datetime

from vonage_reports.domain.report import Priority, Report, State
from vonage_reports.domain.spend import CAPPED

SLOTS = range(1, 6)
"""The numbers of the slots. Vonage documented 5 concurrent reports per API key until 2019."""

LEFT_TO_THE_CALENDAR = 1
"""How many slots stay free of backfills, so that daily reports need not wait."""


def may_be_submitted(report: Report, now: datetime) -> bool:
    """Whether a report can be submitted as soon as a slot is free."""
    return report.state is State.PLANNED and (report.not_before or now) <= now


def submission_order(reports: Iterable[Report], now: datetime) -> list[Report]:
    """Return the reports that may be submitted, the next one first.

    Reports that Vonage refused before come last: they must not keep the others from the slots.
    Calendar reports come before reports of backfills. Within each group, halves come before whole
    windows. Then calendar reports start with the oldest window, and reports of backfills start
    with the newest.
    """

    def rank(report: Report) -> tuple[bool, int, int, float, str]:
        start = report.window.start.timestamp()
        of_backfill = report.backfill is not None
        group = Priority.BACKFILL if of_backfill else Priority.CALENDAR
        is_refused = report.refused_since is not None
        age = -start if of_backfill else start
        return is_refused, group, report.priority, age, report.report_id

    return sorted((each for each in reports if may_be_submitted(each, now)), key=rank)


def slots_needed(report: Report) -> int:
    """Return how many slots must be free before a report may take a slot."""
    return 1 if report.backfill is None else 1 + LEFT_TO_THE_CALENDAR


def room_for_backfills(reports: Iterable[Report], *, in_use: int, now: datetime) -> int:
    """Return how many reports of backfills may be planned now. `in_use` slots are taken.

    Leaves a slot for every report that can be submitted now, but none for a report that Vonage
    refused before, or that waits for the month's cap.
    """
    waiting = sum(
        may_be_submitted(report, now) and report.refused_since is None and report.error != CAPPED
        for report in reports
    )
    return len(SLOTS) - in_use - LEFT_TO_THE_CALENDAR - waiting


def is_backlogged(name: str, reports: Collection[Report], now: datetime) -> bool:
    """Whether too many reports of the backfill `name` were put back to plan more of them now."""
    put_back = sum(
        report.backfill == name
        and report.state is State.PLANNED
        and not may_be_submitted(report, now)
        for report in reports
    )
    return put_back >= len(SLOTS) - LEFT_TO_THE_CALENDAR
