from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vonage_reports.domain.windows import (
    Window,
    WindowLength,
    format_instant,
    latest_window_ending_by,
    parse_instant,
    windows_ending_after,
)

SMALLEST = timedelta(microseconds=1)

# Offsets of a quarter hour, shifts of half an hour, shifts at midnight, a date that never was.
ODD_ZONES = (
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/New_York",
    "America/St_Johns",
    "Pacific/Apia",
    "Africa/Cairo",
    "America/Havana",
    "Asia/Beirut",
    "America/Sao_Paulo",
)
# Since 2000 these moved by 2 or 3 hours at once: of the tz database, not of this code.
LEAPING_ZONES = {
    "America/Bahia_Banderas",
    "America/Indiana/Winamac",
    "Antarctica/Casey",
    "Antarctica/Davis",
    "Antarctica/Troll",
    "Antarctica/Vostok",
    "Asia/Chita",
    "Asia/Magadan",
    "Europe/Simferopol",
}
WITHOUT_DECEMBER_30 = ("Pacific/Apia", "Pacific/Fakaofo")

# Not names of the tz database: the machine's own zone, and a placeholder.
ALL_ZONES = sorted(available_timezones() - {"localtime", "Factory"})

zones = st.sampled_from(ODD_ZONES) | st.sampled_from(ALL_ZONES)
lengths = st.sampled_from(WindowLength)
instants = st.datetimes(datetime(2000, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
dates_skipped_in_apia = st.datetimes(
    datetime(2011, 12, 27),  # noqa: DTZ001
    datetime(2012, 1, 3),  # noqa: DTZ001
    timezones=st.just(UTC),
)
over_windows = given(time_zone=zones, length=lengths, instant=instants | dates_skipped_in_apia)
unhurried = settings(deadline=None)


def instant_of(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def window_at(instant: datetime, length: WindowLength, time_zone: str) -> Window:
    return next(windows_ending_after(instant, length, time_zone))


def day(text: str, time_zone: str) -> Window:
    """The window of the local date that noon is in."""
    noon = datetime.combine(date.fromisoformat(text), datetime.min.time(), ZoneInfo(time_zone))
    return window_at(noon + timedelta(hours=12), WindowLength.DAY, time_zone)


def local_date(instant: datetime, time_zone: str) -> date:
    return instant.astimezone(ZoneInfo(time_zone)).date()


@unhurried
@over_windows
def test_windows_tile_time(time_zone: str, length: WindowLength, instant: datetime) -> None:
    windows = list(islice(windows_ending_after(instant, length, time_zone), 30))

    assert windows[0].start <= instant < windows[0].end
    assert all(one.end == following.start for one, following in pairwise(windows))
    assert all(window.start < window.end for window in windows)


@unhurried
@over_windows
@example(  # The last second of the longest day, week and month that London has.
    time_zone="Europe/London",
    length=WindowLength.DAY,
    instant=datetime(2026, 10, 25, 23, 59, 59, tzinfo=UTC),
)
@example(
    time_zone="Europe/London",
    length=WindowLength.WEEK,
    instant=datetime(2026, 10, 25, 23, 59, 59, tzinfo=UTC),
)
@example(
    time_zone="Europe/London",
    length=WindowLength.MONTH,
    instant=datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC),
)
def test_the_newest_window_that_ended_is_the_one_before_the_one_that_runs(
    time_zone: str, length: WindowLength, instant: datetime
) -> None:
    latest = latest_window_ending_by(instant, length, time_zone)
    following = window_at(latest.end, length, time_zone)

    assert latest.end <= instant < following.end
    assert following.start == latest.end


@unhurried
@given(
    time_zone=zones,
    length=lengths,
    instant=instants | dates_skipped_in_apia,
    share=st.floats(0, 1, exclude_max=True),
)
@example(  # St. John's went back over midnight at 00:01, so this date begins twice.
    time_zone="America/St_Johns",
    length=WindowLength.DAY,
    instant=datetime(2010, 11, 7, 2, 30, tzinfo=UTC),
    share=0.01,
)
def test_a_window_is_the_same_from_wherever_it_is_found(
    time_zone: str, length: WindowLength, instant: datetime, share: float
) -> None:
    window = window_at(instant, length, time_zone)

    elsewhere = window.start + share * (window.end - window.start)

    assert window_at(min(elsewhere, window.end - SMALLEST), length, time_zone) == window


@unhurried
@over_windows
def test_a_window_begins_with_the_first_instant_of_a_local_date(
    time_zone: str, length: WindowLength, instant: datetime
) -> None:
    if length is WindowLength.HOUR:
        length = WindowLength.DAY
    window = window_at(instant, length, time_zone)

    assert window.first_date == local_date(window.start, time_zone)
    assert local_date(window.start - SMALLEST, time_zone) < window.first_date


@unhurried
@over_windows
def test_weeks_begin_on_monday_and_months_on_their_first(
    time_zone: str, length: WindowLength, instant: datetime
) -> None:
    window = window_at(instant, length, time_zone)
    following = window_at(window.end, length, time_zone)

    if length is WindowLength.WEEK:
        assert window.first_date.isoweekday() == 1
        assert following.first_date - window.first_date == timedelta(days=7)
    if length is WindowLength.MONTH:
        assert window.first_date.day == 1
        assert (following.first_date - window.first_date).days in (28, 29, 30, 31)


@unhurried
@given(time_zone=zones, instant=instants)
def test_a_day_has_23_to_25_hours(time_zone: str, instant: datetime) -> None:
    window = window_at(instant, WindowLength.DAY, time_zone)

    allowed = {23, 23.5, 24, 24.5, 25}
    if time_zone in LEAPING_ZONES:
        allowed |= {21, 22, 26, 27}
    assert window.hours in allowed


@unhurried
@given(time_zone=zones, instant=instants | dates_skipped_in_apia)
def test_the_hours_of_a_day_tile_it(time_zone: str, instant: datetime) -> None:
    whole = window_at(instant, WindowLength.DAY, time_zone)

    hours = []
    for window in windows_ending_after(whole.start, WindowLength.HOUR, time_zone):
        if window.start >= whole.end:
            break
        hours.append(window)

    assert (hours[0].start, hours[-1].end) == (whole.start, whole.end)
    assert {window.hours for window in hours[:-1]} == {1}
    # Lord Howe's clock moves by half an hour.
    assert hours[-1].hours in (0.5, 1)


@pytest.mark.parametrize(
    ("time_zone", "local", "hours"),
    [
        ("UTC", "2026-03-29", 24),
        ("Asia/Kathmandu", "2026-03-29", 24),
        ("Europe/London", "2026-03-29", 23),
        ("Europe/London", "2026-10-25", 25),
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("America/Caracas", "2007-12-09", 24.5),
        ("America/Caracas", "2016-05-01", 23.5),
        ("Asia/Pyongyang", "2015-08-14", 24.5),
        ("Asia/Pyongyang", "2018-05-04", 23.5),
        ("Antarctica/Troll", "2026-03-29", 22),
        # At midnight: the date begins at 01:00, or has 23:00 to 24:00 twice.
        ("Africa/Cairo", "2024-04-26", 23),
        ("Africa/Cairo", "2024-10-31", 25),
        ("America/Havana", "2026-03-08", 23),
        ("America/Havana", "2026-11-01", 25),
        ("Asia/Beirut", "2024-03-31", 23),
        ("America/Sao_Paulo", "2018-11-04", 23),
        ("America/Sao_Paulo", "2018-02-17", 25),
    ],
)
def test_a_day_is_as_long_as_its_clock_made_it(time_zone: str, local: str, hours: float) -> None:
    window = day(local, time_zone)

    assert window.first_date == date.fromisoformat(local)
    assert window.hours == hours


@pytest.mark.parametrize(
    ("time_zone", "local", "start"),
    [
        ("UTC", "2026-11-21", "2026-11-21T00:00:00Z"),
        ("Europe/London", "2026-07-01", "2026-06-30T23:00:00Z"),
        ("America/New_York", "2026-07-01", "2026-07-01T04:00:00Z"),
        ("America/New_York", "2026-12-01", "2026-12-01T05:00:00Z"),
        ("Asia/Kathmandu", "2026-07-01", "2026-06-30T18:15:00Z"),
        ("Australia/Lord_Howe", "2026-07-01", "2026-06-30T13:30:00Z"),
        # 00:00 was skipped: the date began at 01:00.
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"),
        ("Asia/Beirut", "2024-03-31", "2024-03-30T22:00:00Z"),
        # 00:00 came twice: the date began at the first.
        ("America/Havana", "2026-11-01", "2026-11-01T04:00:00Z"),
    ],
)
def test_a_day_begins_at_local_midnight(time_zone: str, local: str, start: str) -> None:
    assert day(local, time_zone).start == instant_of(start)


@pytest.mark.parametrize("time_zone", WITHOUT_DECEMBER_30)
def test_a_date_that_a_zone_skipped_makes_no_window(time_zone: str) -> None:
    start = instant_of("2011-12-29T00:00:00Z")
    windows = list(islice(windows_ending_after(start, WindowLength.DAY, time_zone), 4))

    assert [window.first_date.isoformat() for window in windows] == [
        "2011-12-28",
        "2011-12-29",
        "2011-12-31",
        "2012-01-01",
    ]
    assert {window.hours for window in windows} == {24}


def test_the_month_and_the_week_around_a_skipped_date_lack_a_day() -> None:
    december = window_at(instant_of("2011-12-15T00:00:00Z"), WindowLength.MONTH, "Pacific/Apia")
    week = window_at(instant_of("2011-12-28T00:00:00Z"), WindowLength.WEEK, "Pacific/Apia")

    assert december.hours == 30 * 24
    assert week.hours == 6 * 24


@pytest.mark.parametrize("length", WindowLength)
def test_the_end_does_not_belong_to_a_window(length: WindowLength) -> None:
    window = window_at(instant_of("2026-11-18T12:34:56Z"), length, "Europe/London")

    assert window_at(window.start, length, "Europe/London") == window
    assert window_at(window.end - SMALLEST, length, "Europe/London") == window
    assert window_at(window.end, length, "Europe/London").start == window.end
    assert latest_window_ending_by(window.end, length, "Europe/London") == window
    assert latest_window_ending_by(window.end - SMALLEST, length, "Europe/London") != window


@pytest.mark.parametrize(
    ("length", "start", "end"),
    [
        (WindowLength.HOUR, "2026-11-18T12:00:00Z", "2026-11-18T13:00:00Z"),
        (WindowLength.DAY, "2026-11-18T00:00:00Z", "2026-11-19T00:00:00Z"),
        (WindowLength.WEEK, "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"),
        (WindowLength.MONTH, "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
    ],
)
def test_the_windows_around_a_wednesday_noon(length: WindowLength, start: str, end: str) -> None:
    window = window_at(instant_of("2026-11-18T12:34:56Z"), length, "UTC")

    assert window == Window(instant_of(start), instant_of(end), "UTC")


@given(time_zone=zones, length=lengths, instant=instants)
@unhurried
def test_a_window_survives_being_written_and_read(
    time_zone: str, length: WindowLength, instant: datetime
) -> None:
    window = window_at(instant, length, time_zone)

    assert Window.from_dict(window.to_dict()) == window


def test_a_window_is_written_as_utc_with_its_zone_beside_it() -> None:
    assert day("2026-07-01", "Europe/London").to_dict() == {
        "start": "2026-06-30T23:00:00Z",
        "end": "2026-07-01T23:00:00Z",
        "time_zone": "Europe/London",
    }


@pytest.mark.parametrize(
    "text",
    [
        "2020-06-04T10:53:32Z",
        "2020-06-04T10:53:32+0000",
        "2020-06-04T10:53:32+00:00",
        "2020-06-04T12:53:32+02:00",
        "2020-06-04T10:53:32.000Z",
    ],
)
def test_an_instant_is_read_in_every_form_that_vonage_and_aws_write(text: str) -> None:
    assert parse_instant(text) == datetime(2020, 6, 4, 10, 53, 32, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2020-06-04T10:53:32", "2020-06-04", "soon", ""])
def test_a_time_without_an_offset_is_no_instant(text: str) -> None:
    with pytest.raises(ValueError, match=r"offset|isoformat"):
        parse_instant(text)


@given(instants.map(lambda instant: instant.replace(microsecond=0)), zones)
def test_an_instant_is_written_the_same_in_every_zone(instant: datetime, time_zone: str) -> None:
    text = format_instant(instant.astimezone(ZoneInfo(time_zone)))

    assert text == format_instant(instant)
    assert parse_instant(text) == instant
