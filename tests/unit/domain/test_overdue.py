from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.reports import DAILY
from vonage_reports.domain.calendar import due_windows, report_for_window
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.lifecycle import Replan, apply
from vonage_reports.domain.overdue import undelivered, unplanned
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.splitting import halves_of
from vonage_reports.domain.windows import HOUR, Window, WindowLength

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
DAY = timedelta(days=1)
WINDOW = Window(datetime(2026, 11, 18, tzinfo=UTC), datetime(2026, 11, 19, tzinfo=UTC), "UTC")
DUE = datetime(2026, 11, 22, tzinfo=UTC)  # three days after the window's end
PLANNED = report_for_window(DAILY, "abcd1234", 0, WINDOW, rows_per_hour=None, now=DUE + 2 * HOUR)
DEFINED = datetime(2026, 11, 1, 12, tzinfo=UTC)


def undelivered_since(*reports: Report) -> list[datetime]:
    return [each.since for each in undelivered(reports)]


def unplanned_since(
    *definitions: ReportDefinition,
    cursor: datetime | None = None,
    defined_at: datetime = DEFINED,
    now: datetime = NOW,
) -> list[datetime]:
    found = unplanned(
        definitions,
        cursors={} if cursor is None else {("sms-outbound", "abcd1234", 3): cursor},
        collects={"sms-outbound": DAILY.collects},
        defined_at=defined_at,
        now=now,
    )
    return [each.since for each in found]


@pytest.mark.parametrize(
    "state",
    [
        State.PLANNED,
        State.SUBMITTING,
        State.SUBMITTED,
        State.SPLIT,
        State.CONVERTING,
    ],
)
def test_open_report_is_late_since_its_window_was_due(state: State) -> None:
    assert undelivered_since(replace(PLANNED, state=state)) == [DUE]


def test_held_report_is_excluded() -> None:
    assert undelivered_since(replace(PLANNED, state=State.HELD)) == []


def test_parts_of_a_window_count_as_one_window() -> None:
    split = replace(PLANNED, state=State.SPLIT)
    assert undelivered_since(split, *halves_of(split, now=NOW)) == [DUE]


def test_reconversion_is_not_undelivered() -> None:
    assert undelivered_since(replace(PLANNED, state=State.CONVERTING, rows=0)) == []


def test_requested_window_is_late_since_the_request() -> None:
    old = replace(PLANNED, attempt=1, state=State.DELIVERED, rows=7)
    assert undelivered_since(replace(PLANNED, backfill="all")) == [PLANNED.planned_at]
    assert undelivered_since(apply(old, Replan("once more"), now=NOW)) == [NOW]
    # The window of a part that is collected again.
    assert undelivered_since(apply(old, Replan(), now=NOW)) == [NOW]


def test_window_of_cancelled_backfill_keeps_its_due_time() -> None:
    cancelled = replace(PLANNED, state=State.CANCELLED)
    assert undelivered_since(apply(cancelled, Replan(), now=DUE + DAY)) == [DUE]


def test_first_month_of_new_definition_gets_grace_period() -> None:
    monthly = replace(DAILY, window=WindowLength.MONTH)
    (month,) = due_windows(monthly, 0, None, NOW)
    report = report_for_window(monthly, "abcd1234", 0, month, rows_per_hour=None, now=NOW)
    assert undelivered_since(report) == [NOW - DAY]


def test_hour_is_due_one_hour_after_its_end_at_the_earliest() -> None:
    hourly = replace(DAILY, window=WindowLength.HOUR, delay_days=(0,))
    window = Window(NOW - 3 * HOUR, NOW - 2 * HOUR, "UTC")
    report = report_for_window(hourly, "abcd1234", 0, window, rows_per_hour=None, now=NOW)
    assert undelivered_since(report) == [NOW - HOUR]


def test_stopped_calendar_is_as_late_as_its_oldest_window() -> None:
    assert unplanned_since(DAILY, cursor=WINDOW.start) == [DUE]
    assert unplanned_since(DAILY, cursor=WINDOW.start - 5 * DAY) == [DUE - 5 * DAY]
    assert unplanned_since(DAILY, cursor=WINDOW.end + DAY) == []


def test_new_definition_is_late_since_it_was_added() -> None:
    # For every window length: the first run plans the latest window.
    for length in WindowLength:
        new = replace(DAILY, name="new", window=length)
        assert unplanned_since(new, defined_at=NOW - 31 * HOUR) == [NOW - 31 * HOUR]


def test_new_account_is_late_since_it_was_added() -> None:
    both = replace(DAILY, account_ids=("abcd1234", "subacct1"))
    assert unplanned_since(both, cursor=WINDOW.end + DAY) == [DEFINED]


def test_changed_delay_continues_where_the_last_delay_ended() -> None:
    # The window of the 19th ended on the 20th at midnight.
    sooner = replace(DAILY, delay_days=(1,))
    assert unplanned_since(sooner, cursor=WINDOW.end) == [WINDOW.end + 2 * DAY]


def test_window_due_by_a_shorter_delay_is_late_since_the_change() -> None:
    was = replace(DAILY, delay_days=(30,))
    cursors = {(DAILY.name, "abcd1234", 30): WINDOW.end - 27 * DAY}
    delays = {DAILY.name: dict.fromkeys(was.delay_days)}

    late = unplanned(
        [DAILY], cursors=cursors, collects={}, defined_at=DEFINED, now=NOW, delays=delays
    )

    assert [each.since for each in late] == [DEFINED]


def test_removed_or_refused_definition_has_no_windows() -> None:
    changed = replace(DAILY, filters={"direction": "inbound"})
    assert unplanned_since(cursor=WINDOW.start - 9 * DAY) == []
    assert unplanned_since(changed, cursor=WINDOW.start - 9 * DAY) == []


def planned_by(*runs: datetime) -> list[Window]:
    """Return the windows that the calendar planned in these runs, oldest first."""
    planned: list[Window] = []
    for at in runs:
        cursor = planned[-1].end if planned else None
        planned += due_windows(DAILY, 0, cursor, at)
    return planned


@given(
    st.lists(st.integers(0, 24 * 20).map(lambda hours: DEFINED + hours * HOUR), max_size=4),
    st.integers(24 * 20, 24 * 30).map(lambda hours: DEFINED + hours * HOUR),
    st.integers(0, 24 * 10),
)
def test_unplanned_since_the_first_run_with_work(
    times: list[datetime], now: datetime, hours_ago: int
) -> None:
    runs = sorted(times)
    planned = planned_by(*runs)
    late = unplanned_since(DAILY, cursor=planned[-1].end if planned else None, now=now)

    earlier = max([now - hours_ago * HOUR, DEFINED, *runs])

    assert (planned_by(*runs, earlier) != planned) is bool(late and late[0] <= earlier)
