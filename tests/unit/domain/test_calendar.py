from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.reports import DAILY
from vonage_reports.domain import windows
from vonage_reports.domain.calendar import (
    Delays,
    due_at,
    due_reports,
    due_windows,
    is_too_late,
    last_due_revision,
    report_for_window,
    where_finals_begin,
)
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.report import Priority, Report, Revision, State
from vonage_reports.domain.traffic_profile import TrafficProfile
from vonage_reports.domain.windows import Window, WindowLength, windows_ending_after

HOURLY = replace(DAILY, window=WindowLength.HOUR, delay_days=(0,))
SUNDAY_NIGHT = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)


def due(
    definition: ReportDefinition, cursor: str | None, at: datetime, delay_index: int = 0
) -> list[str]:
    """Return the starts of the due windows, as `2026-11-18T00`."""
    since = None if cursor is None else datetime.fromisoformat(cursor).replace(tzinfo=UTC)
    return [
        f"{window.start:%Y-%m-%dT%H}" for window in due_windows(definition, delay_index, since, at)
    ]


@pytest.mark.parametrize(
    ("length", "start"),
    [
        (WindowLength.DAY, "2026-11-18T00"),
        (WindowLength.WEEK, "2026-11-09T00"),
        (WindowLength.MONTH, "2026-10-01T00"),
        (WindowLength.HOUR, "2026-11-19T01"),
    ],
)
def test_first_run_finds_only_the_newest_window(length: WindowLength, start: str) -> None:
    # By default, a window is collected 72 hours after its end.
    assert due(replace(DAILY, window=length), None, SUNDAY_NIGHT) == [start]


def test_daily_window_is_due_once() -> None:
    assert due(DAILY, "2026-11-18T00:00", SUNDAY_NIGHT) == ["2026-11-18T00"]
    assert due(DAILY, "2026-11-19T00:00", SUNDAY_NIGHT) == []


def test_schedule_missed_for_three_days_is_caught_up() -> None:
    assert due(DAILY, "2026-11-16T00:00", SUNDAY_NIGHT) == [
        "2026-11-16T00",
        "2026-11-17T00",
        "2026-11-18T00",
    ]


def test_window_is_due_at_the_end_of_its_delay() -> None:
    midnight = datetime(2026, 11, 22, tzinfo=UTC)

    assert due(DAILY, "2026-11-18T00:00", midnight) == ["2026-11-18T00"]
    assert due(DAILY, "2026-11-18T00:00", midnight - timedelta(seconds=1)) == []


def test_hour_is_due_one_hour_after_its_end_at_the_earliest() -> None:
    three = datetime(2026, 11, 22, 3, tzinfo=UTC)

    assert due(HOURLY, None, three) == ["2026-11-22T01"]
    assert due(HOURLY, None, three - timedelta(seconds=1)) == ["2026-11-22T00"]
    assert due(HOURLY, "2026-11-22T01:00", three) == ["2026-11-22T01"]


def test_hour_of_video_is_due_three_hours_after_its_end() -> None:
    video = replace(HOURLY, product="VIDEO-API")
    five = datetime(2026, 11, 22, 5, tzinfo=UTC)
    hour = Window(five - timedelta(hours=4), five - timedelta(hours=3), "UTC")

    assert due(video, None, five) == ["2026-11-22T01"]
    assert due(video, None, five - timedelta(seconds=1)) == ["2026-11-22T00"]
    assert last_due_revision(video, hour, five - timedelta(seconds=1)) is None
    assert due_at(hour, 0, "VIDEO-API") == five
    assert due(replace(video, delay_days=(1,)), None, five) == ["2026-11-21T04"]


def test_day_without_delay_is_due_when_it_ends() -> None:
    undelayed = replace(DAILY, delay_days=(0,))

    assert due(undelayed, None, datetime(2026, 11, 22, tzinfo=UTC)) == ["2026-11-21T00"]


def test_each_revision_is_due_after_its_own_delay() -> None:
    twice = replace(DAILY, delay_days=(0, 3))

    assert due(twice, None, SUNDAY_NIGHT, delay_index=0) == ["2026-11-21T00"]
    assert due(twice, None, SUNDAY_NIGHT, delay_index=1) == ["2026-11-18T00"]


def test_last_delay_makes_the_final_revision() -> None:
    def revision(delay_days: tuple[int, ...], delay_index: int) -> Revision:
        definition = replace(DAILY, delay_days=delay_days)
        return planned(definition, delay_index=delay_index).revision

    assert [revision((0, 3, 30), index) for index in range(3)] == [
        Revision.PRELIMINARY,
        Revision.PRELIMINARY,
        Revision.FINAL,
    ]
    assert revision((3,), 0) is Revision.FINAL


WINDOW = Window(
    datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 3, 29, 23, tzinfo=UTC), "Europe/London"
)


def planned(
    definition: ReportDefinition,
    *,
    delay_index: int = 0,
    rows_per_hour: float | None = None,
    profile: TrafficProfile | None = None,
    backfill: str | None = None,
) -> Report:
    return report_for_window(
        definition,
        "abcd1234",
        delay_index,
        WINDOW,
        rows_per_hour=rows_per_hour,
        now=SUNDAY_NIGHT,
        profile=profile,
        backfill=backfill,
    )


def test_planned_report_copies_its_definition() -> None:
    report = planned(DAILY)

    assert report.state is State.PLANNED
    assert report.priority is Priority.CALENDAR
    assert (report.attempt, report.run, report.slot, report.request_id) == (0, 0, None, None)
    assert (report.definition, report.product) == ("sms-outbound", "SMS")
    assert (report.account_id, report.include_subaccounts) == ("abcd1234", True)
    assert (report.filters, report.currency) == ({"direction": "outbound"}, "EUR")
    assert (report.window, report.planned_at) == (WINDOW, SUNDAY_NIGHT)


def test_revisions_of_one_window_are_different_reports() -> None:
    twice = replace(DAILY, delay_days=(0, 3))

    assert planned(twice, delay_index=0).report_id != planned(twice, delay_index=1).report_id


def test_expected_rows_follow_the_windows_length() -> None:
    assert planned(DAILY, rows_per_hour=100).expected_rows == 2300
    assert planned(DAILY, rows_per_hour=None).expected_rows is None


def test_report_knows_its_revision_and_later_revisions() -> None:
    thrice = replace(DAILY, delay_days=(0, 3, 30), max_records=5)

    report = planned(thrice, delay_index=1)

    assert (report.delay_index, report.delay_days, report.revisions) == (1, 3, 3)
    assert report.max_records == 5
    assert report.later_revisions == (planned(thrice, delay_index=2).report_id,)


def test_profile_is_scaled_to_the_expected_rows() -> None:
    evening = TrafficProfile(((12, 10), (11, 90)))

    report = planned(DAILY, rows_per_hour=100, profile=evening)

    assert report.profile == TrafficProfile(((12, 230), (11, 2070)))
    assert planned(DAILY, rows_per_hour=100).profile is None


def test_backfill_changes_only_the_priority() -> None:
    backfilled = planned(DAILY, backfill="sms-outbound-20260301-20260401")

    assert backfilled.priority is Priority.BACKFILL
    assert replace(backfilled, priority=Priority.CALENDAR, backfill=None) == planned(DAILY)


@pytest.mark.parametrize(
    ("days", "index"),
    [(-1, None), (0, 0), (2.99, 0), (3, 1), (29, 1), (30, 2), (400, 2)],
)
def test_window_is_collected_as_its_last_due_revision(days: float, index: int | None) -> None:
    thrice = replace(DAILY, delay_days=(0, 3, 30))

    assert last_due_revision(thrice, WINDOW, WINDOW.end + timedelta(days=days)) == index


def test_no_revision_of_an_hour_is_due_within_an_hour() -> None:
    hour = replace(WINDOW, end=WINDOW.start + timedelta(hours=1))
    an_hour_later = hour.end + timedelta(hours=1)

    assert last_due_revision(HOURLY, hour, an_hour_later) == 0
    assert last_due_revision(HOURLY, hour, an_hour_later - timedelta(seconds=1)) is None


@pytest.mark.parametrize(
    ("definition", "delay"),
    [(DAILY, timedelta(days=3)), (HOURLY, timedelta(hours=1))],
    ids=["days", "hours"],
)
def test_window_due_over_a_week_ago_is_too_late(
    definition: ReportDefinition, delay: timedelta
) -> None:
    [window] = due_windows(definition, 0, None, SUNDAY_NIGHT)
    week_after_due = window.end + delay + timedelta(days=7)

    assert not is_too_late(definition, 0, window, week_after_due)
    assert is_too_late(definition, 0, window, week_after_due + timedelta(seconds=1))


definitions = st.builds(
    lambda length, zone, delay: replace(DAILY, window=length, time_zone=zone, delay_days=(delay,)),
    st.sampled_from(WindowLength),
    st.sampled_from(["UTC", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Havana"]),
    st.integers(0, 5),
)
instants = st.datetimes(datetime(2000, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


@settings(deadline=None)
@given(definitions, instants)
def test_no_window_is_due_before_its_delay_is_over(
    definition: ReportDefinition, at: datetime
) -> None:
    [window] = due_windows(definition, 0, None, at)

    assert window.end + timedelta(days=definition.delay_days[0]) <= at
    if definition.window is WindowLength.HOUR:
        assert window.end + timedelta(hours=1) <= at


@settings(deadline=None)
@given(definitions, instants)
def test_last_due_revision_agrees_with_the_first_run(
    definition: ReportDefinition, at: datetime
) -> None:
    [window] = due_windows(definition, 0, None, at)
    following = next(windows_ending_after(window.end, definition.window, definition.time_zone))

    assert last_due_revision(definition, window, at) == 0
    assert last_due_revision(definition, following, at) is None


@settings(deadline=None)
@given(definitions, instants, st.lists(st.integers(0, 5 * 24 * 60), max_size=4))
def test_each_window_is_due_once_at_any_run_frequency(
    definition: ReportDefinition, at: datetime, pauses: list[int]
) -> None:
    cursor: datetime | None = None
    seen: list[Window] = []
    for pause in [0, *pauses]:
        at += timedelta(minutes=pause)
        for window in due_windows(definition, 0, cursor, at):
            seen.append(window)
            cursor = window.end

    assert [window.start for window in seen[1:]] == [window.end for window in seen[:-1]]
    # None is missing at the end: a first run now would find the same newest window.
    assert seen[-1:] == list(due_windows(definition, 0, None, at))


@pytest.mark.parametrize(
    ("delay_days", "index", "ends", "starts"),
    [
        # The delay was three days, then five, and is three again.
        ((3,), 0, {3: "2026-10-01", 5: "2026-11-17"}, [17, 18]),
        # A preliminary revision was removed from the definition and is restored.
        ((0, 3), 0, {0: "2026-10-01", 3: "2026-11-19"}, [19, 20, 21]),
    ],
    ids=["final", "preliminary"],
)
def test_restored_delay_continues_after_a_longer_delay(
    delay_days: tuple[int, ...], index: int, ends: dict[int, str], starts: list[int]
) -> None:
    definition = replace(DAILY, delay_days=delay_days)
    cursors = {
        (DAILY.name, "abcd1234", days): datetime.fromisoformat(end).replace(tzinfo=UTC)
        for days, end in ends.items()
    }

    due = list(
        due_reports(
            definition, cursors=cursors, volumes={}, profiles={}, at=SUNDAY_NIGHT, now=SUNDAY_NIGHT
        )
    )[index]

    assert due.late == (), "these windows were collected with another delay"
    assert [report.window.start.day for report in due.reports] == starts


@pytest.mark.parametrize(
    ("stopped_days_ago", "late", "planned"),
    [(None, 93, 7), (1, 92, 8), (60, 33, 67), (600, 0, 100)],
)
def test_lateness_counts_from_the_time_when_planning_stopped(
    stopped_days_ago: int | None, late: int, planned: int
) -> None:
    cursors = {(DAILY.name, "abcd1234", 3): datetime(2026, 8, 11, tzinfo=UTC)}
    at = SUNDAY_NIGHT
    since = None if stopped_days_ago is None else at - timedelta(days=stopped_days_ago)
    (due,) = due_reports(
        DAILY, cursors=cursors, volumes={}, profiles={}, at=at, now=at, stopped_since=since
    )
    assert (len(due.late), len(due.reports)) == (late, planned)


def test_windows_deleted_at_vonage_are_late_although_planning_had_stopped() -> None:
    cursors = {(DAILY.name, "abcd1234", 3): datetime(2025, 1, 1, tzinfo=UTC)}
    (due,) = due_reports(
        DAILY,
        cursors=cursors,
        volumes={},
        profiles={},
        at=SUNDAY_NIGHT,
        now=SUNDAY_NIGHT,
        stopped_since=datetime(2025, 1, 2, tzinfo=UTC),
    )
    assert due.reports[0].window.start == datetime(2025, 10, 22, tzinfo=UTC)


def test_account_in_capitals_keeps_its_cursor() -> None:
    shouted = replace(DAILY, account_ids=("ABCD1234",))
    cursors = {(DAILY.name, "abcd1234", 3): datetime(2026, 11, 19, tzinfo=UTC)}

    (due,) = due_reports(
        shouted, cursors=cursors, volumes={}, profiles={}, at=SUNDAY_NIGHT, now=SUNDAY_NIGHT
    )

    assert due.reports == ()


def test_first_window_is_never_late() -> None:
    # October became due 12 days before. The limit of a week holds only after a first collection.
    monthly = replace(DAILY, window=WindowLength.MONTH)
    at = datetime(2026, 11, 15, 2, 15, tzinfo=UTC)

    (due,) = due_reports(monthly, cursors={}, volumes={}, profiles={}, at=at, now=at)

    assert due.late == ()
    assert [report.window.first_date for report in due.reports] == [date(2026, 10, 1)]


def test_lateness_counts_from_the_change_of_the_delay() -> None:
    sooner = replace(DAILY, delay_days=(3,))
    # With a delay of 30 days, the windows of a month were planned up to October 20.
    cursors = {(DAILY.name, "abcd1234", 30): datetime(2026, 10, 20, tzinfo=UTC)}

    def late(at: datetime, delays: Delays) -> int:
        (due,) = due_reports(
            sooner, cursors=cursors, volumes={}, profiles={}, at=at, now=at, delays=delays
        )
        return len(due.late)

    assert late(SUNDAY_NIGHT, {30: None}) == 0
    assert late(SUNDAY_NIGHT + timedelta(days=7), {3: SUNDAY_NIGHT}) == 0
    # Seven days after the change, the calendar has missed them.
    assert late(SUNDAY_NIGHT + timedelta(days=8), {3: SUNDAY_NIGHT}) == 31


offsets = st.integers(-56, 56).map(lambda quarters: timedelta(minutes=15 * quarters))


@settings(deadline=None)
@given(
    st.sampled_from(WindowLength),
    instants,
    st.lists(st.tuples(offsets, st.integers(0, 48)), min_size=1, max_size=8),
)
@example(
    WindowLength.DAY,
    SUNDAY_NIGHT,
    [(timedelta(), 0), (timedelta(), 24), (timedelta(hours=-1), 24), (timedelta(hours=-1), 72)],
)
def test_windows_tile_time_when_local_midnight_moves(
    length: WindowLength, first: datetime, runs: Sequence[tuple[timedelta, int]]
) -> None:
    definition = replace(DAILY, window=length, time_zone="Europe/London", delay_days=(0, 3))
    cursors: dict[tuple[str, str, int], datetime] = {}
    planned: dict[int, list[Window]] = defaultdict(list)
    at = first
    for offset, hours in runs:
        at += length.most_days * timedelta(hours=hours)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(windows, "ZoneInfo", lambda _, offset=offset: timezone(offset))
            for account_id, _, begin in where_finals_begin(definition, cursors, at):
                cursors[definition.name, account_id, 3] = begin
            for due in due_reports(
                definition,
                cursors=cursors,
                volumes={},
                profiles={},
                at=at,
                now=at,
                planned={"abcd1234": [each for known in planned.values() for each in known]},
            ):
                new = [*due.late, *(report.window for report in due.reports)]
                planned[due.delay_days] += [Window.from_dict(each.to_dated_dict()) for each in new]
                for window in new:
                    assert window.end + timedelta(days=due.delay_days) <= at
                    cursors[definition.name, "abcd1234", due.delay_days] = window.end
    for each in planned.values():
        assert all(one.end == following.start for one, following in pairwise(each))
    # The final revision has the same windows and dates, so it takes the place of the preliminary.
    preliminary, final = (
        {(each, each.first_date) for each in planned[days] if each.start >= planned[0][0].start}
        for days in (0, 3)
    )
    assert final <= preliminary
