"""The slots: how many reports may be in flight, their order, and the share of backfills."""

from collections.abc import Collection, Iterable
from datetime import datetime

from vonage_reports.domain.report import Priority, Report, State

SLOTS = range(1, 6)
"""Vonage documented a limit of 5 concurrent reports per API key until 2019."""

LEFT_TO_THE_CALENDAR = 1
"""Slots that reports of backfills never take, so that daily reports need not wait for them."""


def may_be_submitted(report: Report, now: datetime) -> bool:
    """Whether a report can be submitted as soon as a slot is free."""
    return report.state is State.PLANNED and (report.not_before or now) <= now


def submission_order(reports: Iterable[Report], now: datetime) -> list[Report]:
    """Return the reports that may be submitted, the next one first.

    Calendar reports come before those of backfills. Within each group, halves come before whole
    windows. Then calendar reports start with the oldest window, and reports of backfills start with
    the newest.
    """

    def rank(report: Report) -> tuple[int, int, float, str]:
        start = report.window.start.timestamp()
        of_backfill = report.backfill is not None
        group = Priority.BACKFILL if of_backfill else Priority.CALENDAR
        return group, report.priority, -start if of_backfill else start, report.report_id

    return sorted((each for each in reports if may_be_submitted(each, now)), key=rank)


def slots_needed(report: Report) -> int:
    """Return how many slots must be free before a report may take one."""
    return 1 if report.backfill is None else 1 + LEFT_TO_THE_CALENDAR


def room_for_backfills(reports: Iterable[Report], *, in_use: int, now: datetime) -> int:
    """Return how many reports of backfills may be planned now, with `in_use` slots taken.

    Every report that could take a slot keeps its place. A report that Vonage refuses for now does
    not count.
    """
    waiting = sum(may_be_submitted(report, now) for report in reports)
    return len(SLOTS) - in_use - LEFT_TO_THE_CALENDAR - waiting


def is_backlogged(name: str, reports: Collection[Report], now: datetime) -> bool:
    """Whether the backfill `name` must plan no more reports for now: too many were put back."""
    put_back = sum(
        report.backfill == name
        and report.state is State.PLANNED
        and not may_be_submitted(report, now)
        for report in reports
    )
    return put_back >= len(SLOTS) - LEFT_TO_THE_CALENDAR
