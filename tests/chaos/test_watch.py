"""Each promise that must hold at any time is seen when it is broken."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.chaos import watch
from tests.chaos.watch import Watch
from tests.support.reports import make_report
from vonage_reports.domain.report import Report, Revision, State

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
LATE = NOW - timedelta(hours=watch.OVERDUE_HOURS, minutes=1)


def held(**changed: Any) -> Report:
    return replace(make_report(), state=State.HELD, slot=1, **changed)


@pytest.mark.parametrize(
    ("report", "item", "is_kept"),
    [
        (held(look_after=NOW + timedelta(hours=24)), {}, True),
        (held(look_after=None), {}, False),
        (held(look_after=NOW + timedelta(hours=60)), {}, False),
        (replace(make_report(), state=State.SUBMITTED, slot=1), {}, True),
        (replace(make_report(), state=State.SUBMITTED, slot=2), {}, False),
        (replace(make_report(), state=State.PLANNED, slot=1), {}, False),
        (None, {}, False),
        (None, {"until": (NOW + timedelta(hours=48)).isoformat()}, True),
        (None, {"until": (NOW + timedelta(hours=60)).isoformat()}, False),
    ],
)
def test_slot_without_an_end_is_seen(
    report: Report | None, item: dict[str, str], *, is_kept: bool
) -> None:
    seen = Watch()
    reports = [] if report is None else [report]
    seen.slots(reports, {1: {"report_id": make_report().report_id, **item}}, NOW)
    assert (seen.broken == []) is is_kept


def test_month_far_above_its_cap_is_seen() -> None:
    seen = Watch()
    seen.cap(40 + 5 * 60, 40, [60] * 9)
    assert seen.broken == []
    seen.cap(40 + 5 * 60 + 1, 40, [60] * 9)
    assert len(seen.broken) == 1


def test_report_that_no_event_ends_is_seen() -> None:
    seen = Watch()
    seen.ends([replace(make_report(), state=State.CONVERTING)], lambda _: "refused")
    seen.ends([make_report()], lambda _: None)
    assert seen.broken == []
    seen.ends([make_report()], lambda _: "refused")
    assert ["no event ends" in each for each in seen.broken] == [True]


def test_large_items_and_long_sweeps_are_seen() -> None:
    seen = Watch()
    seen.sweep(watch.calls_allowed(3), 3, 2)
    seen.items({("open", "report#a"): {"reason": "x" * 1_000}})
    assert seen.broken == []
    seen.sweep(watch.calls_allowed(3) + 1, 3, 2)
    seen.items({("open", "report#a"): {"reason": "x" * watch.ITEM_BYTES}})
    assert len(seen.broken) == 2


def test_period_that_is_written_too_early_is_seen() -> None:
    delivered = replace(make_report(), state=State.DELIVERED, rows=1)
    key, listed = "periods/2026/11-21/1.json", {(delivered.definition, delivered.account_id)}

    def broken(*reports: Report) -> list[str]:
        seen = Watch()
        seen.period(key, list(reports), listed)
        return seen.broken

    assert broken(delivered) == []
    assert broken(replace(delivered, state=State.SUBMITTED))
    assert broken(replace(delivered, state=State.FAILED))
    assert broken(replace(delivered, revision=Revision.PRELIMINARY))
    start, end = delivered.window.start, delivered.window.end
    half = replace(delivered.window, end=start + (end - start) / 2)
    assert broken(replace(delivered, window=half)), "a gap at the end"


def test_overdue_window_that_was_not_told_is_seen() -> None:
    report = replace(make_report(), planned_at=LATE)
    told = {
        "event": "report.overdue",
        "definition": report.definition,
        "account_id": report.account_id,
    }

    def broken(at: datetime, **changed: Any) -> list[str]:
        seen = Watch()
        messages = [(at, {**told, **changed})]
        seen.overdue([report], messages, listed=lambda _: True, is_done=True, now=NOW)
        return seen.broken

    assert broken(NOW) == []
    assert broken(NOW, event="report.failed")
    assert broken(NOW, definition="another")
    assert broken(NOW, account_id="another1")
    assert broken(NOW - timedelta(days=2))
