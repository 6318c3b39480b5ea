"""The order of submission, and the room for backfills."""

from dataclasses import replace
from datetime import UTC, datetime

from tests.support.reports import make_report
from vonage_reports.domain.report import Priority, Report
from vonage_reports.domain.slots import room_for_backfills, submission_order

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)


def a_report(name: str, *, of_backfill: bool = False, refused: bool = False) -> Report:
    priority = Priority.BACKFILL if of_backfill else Priority.CALENDAR
    return replace(
        make_report(definition=name, priority=priority),
        backfill="history" if of_backfill else None,
        refused_since=NOW if refused else None,
    )


def test_refused_reports_are_submitted_after_all_others() -> None:
    reports = [
        a_report("refused", refused=True),
        a_report("refused-old", of_backfill=True, refused=True),
        a_report("old", of_backfill=True),
        a_report("new"),
    ]
    order = [each.definition for each in submission_order(reports, NOW)]
    assert order == ["new", "old", "refused", "refused-old"]


def test_refused_reports_take_no_room_from_backfills() -> None:
    refused = [a_report(f"refused-{number}", refused=True) for number in range(9)]
    assert room_for_backfills(refused, in_use=0, now=NOW) == 4
    assert room_for_backfills([*refused, a_report("new")], in_use=0, now=NOW) == 3
