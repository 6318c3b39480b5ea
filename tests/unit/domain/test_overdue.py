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


def waiting_since(*reports: Report) -> list[datetime]:
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
def test_what_the_calendar_wants_waits_since_it_was_due_wherever_it_is(state: State) -> None:
    assert waiting_since(replace(PLANNED, state=state)) == [DUE]


def test_a_held_report_waits_for_a_person_and_has_an_alarm_of_its_own() -> None:
    assert waiting_since(replace(PLANNED, state=State.HELD)) == []


def test_the_parts_of_a_window_count_as_the_window() -> None:
    split = replace(PLANNED, state=State.SPLIT)
    assert waiting_since(split, *halves_of(split, now=NOW)) == [DUE]


def test_what_was_delivered_before_is_not_undelivered_while_it_is_converted_again() -> None:
    assert waiting_since(replace(PLANNED, state=State.CONVERTING, rows=0)) == []


def test_what_a_person_asks_for_waits_since_then() -> None:
    old = replace(PLANNED, attempt=1, state=State.DELIVERED, rows=7)
    assert waiting_since(replace(PLANNED, backfill="all")) == [PLANNED.planned_at]
    assert waiting_since(apply(old, Replan("once more"), now=NOW)) == [NOW]
    # The window that a part is collected again of.
    assert waiting_since(apply(old, Replan(), now=NOW)) == [NOW]


def test_a_window_that_a_cancelled_backfill_left_to_the_calendar_is_due_as_ever() -> None:
    cancelled = replace(PLANNED, state=State.CANCELLED)
    assert waiting_since(apply(cancelled, Replan(), now=DUE + DAY)) == [DUE]


def test_the_first_month_of_a_new_definition_is_not_late_as_soon_as_it_is_planned() -> None:
    monthly = replace(DAILY, window=WindowLength.MONTH)
    (month,) = due_windows(monthly, 0, None, NOW)
    report = report_for_window(monthly, "abcd1234", 0, month, rows_per_hour=None, now=NOW)
    assert waiting_since(report) == [NOW - DAY]


def test_an_hour_is_due_an_hour_after_its_end_at_the_earliest() -> None:
    hourly = replace(DAILY, window=WindowLength.HOUR, delay_days=(0,))
    window = Window(NOW - 3 * HOUR, NOW - 2 * HOUR, "UTC")
    report = report_for_window(hourly, "abcd1234", 0, window, rows_per_hour=None, now=NOW)
    assert waiting_since(report) == [NOW - HOUR]


def test_a_calendar_that_stands_still_is_as_late_as_its_oldest_window() -> None:
    assert unplanned_since(DAILY, cursor=WINDOW.start) == [DUE]
    assert unplanned_since(DAILY, cursor=WINDOW.start - 5 * DAY) == [DUE - 5 * DAY]
    assert unplanned_since(DAILY, cursor=WINDOW.end + DAY) == []


def test_a_definition_that_was_never_planned_is_late_since_it_is_there() -> None:
    # Whatever the length of its windows: its first run plans the latest one.
    for length in WindowLength:
        new = replace(DAILY, name="new", window=length)
        assert unplanned_since(new, defined_at=NOW - 31 * HOUR) == [NOW - 31 * HOUR]


def test_an_account_that_is_new_is_late_since_it_is_there() -> None:
    both = replace(DAILY, account_ids=("abcd1234", "subacct1"))
    assert unplanned_since(both, cursor=WINDOW.end + DAY) == [DEFINED]


def test_another_delay_goes_on_where_the_one_before_ended() -> None:
    # The window of the 19th ended on the 20th at midnight.
    sooner = replace(DAILY, delay_days=(1,))
    assert unplanned_since(sooner, cursor=WINDOW.end) == [WINDOW.end + 2 * DAY]


def test_what_is_there_no_more_or_is_refused_has_no_windows() -> None:
    changed = replace(DAILY, filters={"direction": "inbound"})
    assert unplanned_since(cursor=WINDOW.start - 9 * DAY) == []
    assert unplanned_since(changed, cursor=WINDOW.start - 9 * DAY) == []


def planned_by(*runs: datetime) -> list[Window]:
    """What the calendar planned in these runs, oldest first."""
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
def test_it_is_late_since_a_run_would_have_had_something_to_plan(
    times: list[datetime], now: datetime, hours_ago: int
) -> None:
    runs = sorted(times)
    planned = planned_by(*runs)
    late = unplanned_since(DAILY, cursor=planned[-1].end if planned else None, now=now)

    earlier = max([now - hours_ago * HOUR, DEFINED, *runs])

    assert (planned_by(*runs, earlier) != planned) is bool(late and late[0] <= earlier)
