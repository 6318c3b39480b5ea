import io
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
import requests
import urllib3
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vonage_reports.domain.report import report_id
from vonage_reports.domain.windows import (
    HOUR,
    Window,
    WindowLength,
    format_instant,
    halves,
    latest_window_ending_by,
    parse_instant,
    windows_ending_after,
    windows_within,
)
from vonage_reports.vonage.client import Credentials, VonageClient
from vonage_reports.vonage.pacing import Pacer

SMALLEST = timedelta(microseconds=1)
NOON = datetime(2026, 11, 18, 12, tzinfo=UTC)

# Offsets of a quarter hour, shifts of half an hour, shifts at midnight, a date that was skipped.
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
# Since 2000 these zones moved by 2 or 3 hours at once, according to the tz database.
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
recent = st.datetimes(datetime(2000, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
instants = recent | st.datetimes(datetime(1850, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
dates_skipped_in_apia = st.datetimes(
    datetime(2011, 12, 27),  # noqa: DTZ001 - hypothesis adds the zone
    datetime(2012, 1, 3),  # noqa: DTZ001 - hypothesis adds the zone
    timezones=st.just(UTC),
)
over_windows = given(time_zone=zones, length=lengths, instant=instants | dates_skipped_in_apia)
unhurried = settings(deadline=None)


def instant_of(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def window_at(instant: datetime, length: WindowLength, time_zone: str) -> Window:
    return next(windows_ending_after(instant, length, time_zone))


def day(text: str, time_zone: str) -> Window:
    """Return the window of a local date."""
    noon = datetime.combine(date.fromisoformat(text), datetime.min.time(), ZoneInfo(time_zone))
    return window_at(noon + timedelta(hours=12), WindowLength.DAY, time_zone)


def local_date(instant: datetime, time_zone: str) -> date:
    return instant.astimezone(ZoneInfo(time_zone)).date()


@unhurried
@over_windows
@example(
    time_zone="America/Toronto",
    length=WindowLength.DAY,
    instant=datetime(1919, 3, 31, 4, 45, tzinfo=UTC),
)
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
def test_latest_ended_window_precedes_the_current_window(
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
def test_every_instant_of_a_window_finds_the_same_window(
    time_zone: str, length: WindowLength, instant: datetime, share: float
) -> None:
    window = window_at(instant, length, time_zone)

    elsewhere = window.start + share * (window.end - window.start)

    assert window_at(min(elsewhere, window.end - SMALLEST), length, time_zone) == window


@unhurried
@over_windows
@example(  # Toronto's clock went from 23:30 to 00:30, over the midnight.
    time_zone="America/Toronto",
    length=WindowLength.DAY,
    instant=datetime(1919, 3, 31, 4, 45, tzinfo=UTC),
)
def test_window_begins_with_its_local_date(
    time_zone: str, length: WindowLength, instant: datetime
) -> None:
    if length is WindowLength.HOUR:
        length = WindowLength.DAY
    window = window_at(instant, length, time_zone)

    assert window.first_date == local_date(window.start, time_zone)
    assert local_date(window.start - SMALLEST, time_zone) < window.first_date


@unhurried
@over_windows
def test_weeks_begin_on_monday_and_months_on_the_first(
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
@given(time_zone=zones, instant=recent)
def test_day_has_23_to_25_hours(time_zone: str, instant: datetime) -> None:
    window = window_at(instant, WindowLength.DAY, time_zone)

    allowed = {23, 23.5, 24, 24.5, 25}
    if time_zone in LEAPING_ZONES:
        allowed |= {21, 22, 26, 27}
    assert window.hours in allowed


@unhurried
@given(time_zone=zones, instant=instants | dates_skipped_in_apia)
def test_hours_tile_their_day(time_zone: str, instant: datetime) -> None:
    whole = window_at(instant, WindowLength.DAY, time_zone)

    hours = []
    for window in windows_ending_after(whole.start, WindowLength.HOUR, time_zone):
        if window.start >= whole.end:
            break
        hours.append(window)

    assert (hours[0].start, hours[-1].end) == (whole.start, whole.end)
    assert {window.hours for window in hours[:-1]} == {1}
    # Lord Howe's clock moves by half an hour. Clocks set by the sun were moved by seconds.
    assert 0 < hours[-1].hours <= 1


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
def test_length_of_a_day_follows_its_clock(time_zone: str, local: str, hours: float) -> None:
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
        # 00:00 occurred twice: the date began at the first.
        ("America/Havana", "2026-11-01", "2026-11-01T04:00:00Z"),
    ],
)
def test_day_begins_at_local_midnight(time_zone: str, local: str, start: str) -> None:
    assert day(local, time_zone).start == instant_of(start)


@pytest.mark.parametrize("time_zone", WITHOUT_DECEMBER_30)
def test_skipped_date_makes_no_window(time_zone: str) -> None:
    start = instant_of("2011-12-29T00:00:00Z")
    windows = list(islice(windows_ending_after(start, WindowLength.DAY, time_zone), 4))

    assert [window.first_date.isoformat() for window in windows] == [
        "2011-12-28",
        "2011-12-29",
        "2011-12-31",
        "2012-01-01",
    ]
    assert {window.hours for window in windows} == {24}


def test_month_and_week_with_skipped_date_lack_a_day() -> None:
    december = window_at(instant_of("2011-12-15T00:00:00Z"), WindowLength.MONTH, "Pacific/Apia")
    week = window_at(instant_of("2011-12-28T00:00:00Z"), WindowLength.WEEK, "Pacific/Apia")

    assert december.hours == 30 * 24
    assert week.hours == 6 * 24


@pytest.mark.parametrize("length", WindowLength)
def test_end_does_not_belong_to_the_window(length: WindowLength) -> None:
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
def test_windows_around_a_wednesday_noon(length: WindowLength, start: str, end: str) -> None:
    window = window_at(instant_of("2026-11-18T12:34:56Z"), length, "UTC")

    assert window == Window(instant_of(start), instant_of(end), "UTC")


@given(time_zone=zones, length=lengths, instant=instants)
@unhurried
def test_window_dict_round_trip(time_zone: str, length: WindowLength, instant: datetime) -> None:
    window = window_at(instant, length, time_zone)

    assert Window.from_dict(window.to_dict()) == window


def test_window_dict_is_utc_with_the_time_zone() -> None:
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
def test_instant_is_parsed_in_vonages_and_awss_forms(text: str) -> None:
    assert parse_instant(text) == datetime(2020, 6, 4, 10, 53, 32, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2020-06-04T10:53:32", "2020-06-04", "soon", ""])
def test_time_without_offset_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"offset|isoformat"):
        parse_instant(text)


@given(instants.map(lambda instant: instant.replace(microsecond=0)), zones)
def test_instant_is_formatted_the_same_in_every_zone(instant: datetime, time_zone: str) -> None:
    text = format_instant(instant.astimezone(ZoneInfo(time_zone)))

    assert text == format_instant(instant)
    assert parse_instant(text) == instant


dates = st.dates(date(1850, 1, 1), date(2200, 1, 1)) | st.dates(date(2011, 12, 1), date(2012, 2, 1))


@unhurried
@given(
    time_zone=zones,
    length=lengths,
    start=dates,
    days=st.integers(0, 100),
)
def test_windows_within_dates_are_whole_and_tile_the_range(
    time_zone: str, length: WindowLength, start: date, days: int
) -> None:
    end = start + timedelta(days=days)
    first, last = (day_boundary(each, time_zone) for each in (start, end))
    windows = windows_within(start, end, length, time_zone)

    assert all(one.end == following.start for one, following in pairwise(windows))
    assert all(first <= window.start < window.end <= last for window in windows)
    # The remainder at either end is less than a window.
    before = latest_window_ending_by(windows[0].start if windows else last, length, time_zone)
    after = window_at(windows[-1].end if windows else last, length, time_zone)
    assert before.start < first
    assert after.end > last
    if length in (WindowLength.HOUR, WindowLength.DAY):
        assert sum((window.end - window.start for window in windows), timedelta()) == last - first


def day_boundary(day: date, time_zone: str) -> datetime:
    """Return the first instant of a local date, to the second, by an independent binary search."""
    low = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=50)
    high = low + timedelta(hours=100)
    while high - low > timedelta(seconds=1):
        middle = (low + (high - low) / 2).replace(microsecond=0)
        low, high = (low, middle) if local_date(middle, time_zone) >= day else (middle, high)
    return high


@pytest.mark.parametrize(
    ("length", "start", "end", "firsts"),
    [
        (WindowLength.DAY, "2026-02-27", "2026-03-02", ["2026-02-27", "2026-02-28", "2026-03-01"]),
        (WindowLength.WEEK, "2026-11-09", "2026-11-23", ["2026-11-09", "2026-11-16"]),
        (WindowLength.WEEK, "2026-11-10", "2026-11-22", []),
        (WindowLength.WEEK, "2026-11-10", "2026-11-24", ["2026-11-16"]),
        (WindowLength.MONTH, "2025-12-01", "2026-02-01", ["2025-12-01", "2026-01-01"]),
        (WindowLength.MONTH, "2025-12-02", "2026-02-28", ["2026-01-01"]),
        (WindowLength.DAY, "2026-03-02", "2026-03-02", []),
        (WindowLength.DAY, "2026-03-02", "2026-03-01", []),
    ],
)
def test_windows_within_dates_come_oldest_first(
    length: WindowLength, start: str, end: str, firsts: list[str]
) -> None:
    windows = windows_within(
        date.fromisoformat(start), date.fromisoformat(end), length, "Europe/London"
    )

    assert [window.first_date.isoformat() for window in windows] == firsts


@settings(deadline=None, max_examples=20)
@given(
    time_zone=st.sampled_from(
        ["Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York", "Pacific/Apia"]
    ),
    year=st.integers(1970, 2060),
)
@example(time_zone="Pacific/Apia", year=2011)
@example(time_zone="Asia/Kathmandu", year=1986)  # It went from +05:30 to +05:45.
def test_hours_of_a_year_tile_it_and_have_distinct_ids(time_zone: str, year: int) -> None:
    start, end = date(year, 1, 1), date(year + 1, 1, 1)
    hours = windows_within(start, end, WindowLength.HOUR, time_zone)

    assert hours[0].start == day_boundary(start, time_zone)
    assert hours[-1].end == day_boundary(end, time_zone)
    assert all(one.end == following.start for one, following in pairwise(hours))
    shorter = [window for window in hours if window.hours != 1]
    assert all(0 < window.hours < 1 for window in shorter)
    assert all(local_date(window.end, time_zone) > window.first_date for window in shorter)
    assert len({identified(window) for window in hours}) == len(hours)


@pytest.mark.parametrize(
    ("time_zone", "year", "whole", "parts"),
    [
        ("Asia/Kathmandu", 2026, 8760, []),
        ("America/New_York", 2026, 8760, []),
        ("America/New_York", 2028, 8784, []),
        # One day of 23.5 hours and one of 24.5.
        ("Australia/Lord_Howe", 2026, 8759, [0.5, 0.5]),
        # Without December 30.
        ("Pacific/Apia", 2011, 8736, []),
    ],
)
def test_number_of_hours_in_a_year_follows_its_clock(
    time_zone: str, year: int, whole: int, parts: list[float]
) -> None:
    hours = windows_within(date(year, 1, 1), date(year + 1, 1, 1), WindowLength.HOUR, time_zone)

    lengths_in_hours = [window.hours for window in hours]
    assert lengths_in_hours.count(1) == whole
    assert [each for each in lengths_in_hours if each != 1] == parts


def test_day_of_23_and_a_half_hours_ends_with_half_an_hour() -> None:
    hours = windows_within(
        date(2026, 10, 4), date(2026, 10, 6), WindowLength.HOUR, "Australia/Lord_Howe"
    )
    before, half, following = hours[22:25]

    assert before.end == half.start == instant_of("2026-10-04T12:30:00Z")
    assert half.end == following.start == instant_of("2026-10-04T13:00:00Z")
    assert following.hours == 1


def identified(
    window: Window, account_id: str = "abcd1234", delay_index: int = 0, split_path: str = ""
) -> str:
    return report_id(
        definition="sms-outbound",
        account_id=account_id,
        window=window,
        delay_index=delay_index,
        split_path=split_path,
    )


@unhurried
@given(time_zone=zones, length=lengths, start=dates)
def test_each_window_account_revision_and_part_has_its_own_id(
    time_zone: str, length: WindowLength, start: date
) -> None:
    windows = windows_within(start, start + timedelta(days=70), length, time_zone)[:40]

    ids = [
        identified(window, account_id, delay_index, split_path)
        for window in windows
        for account_id in ("abcd1234", "efgh5678")
        for delay_index in (0, 1)
        for split_path in ("", "0", "1", "01")
    ]

    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("length", "local", "time_zone", "part", "golden"),
    [
        (
            WindowLength.HOUR,
            "2026-10-04",
            "Australia/Lord_Howe",
            ("abcd1234", 0, ""),
            "sms-outbound-20261003T1330Z-15f2f2d978d8",
        ),
        (
            WindowLength.DAY,
            "2026-03-29",
            "Europe/London",
            ("abcd1234", 1, ""),
            "sms-outbound-20260329T0000Z-c45042d86a2a",
        ),
        (
            WindowLength.DAY,
            "2011-12-31",
            "Pacific/Apia",
            ("abcd1234", 0, "01"),
            "sms-outbound-20111230T1000Z-28a5e014b924",
        ),
        (
            WindowLength.WEEK,
            "2026-11-16",
            "Asia/Kathmandu",
            ("EFGH5678", 0, ""),
            "sms-outbound-20261115T1815Z-3fccb909439a",
        ),
        (
            WindowLength.MONTH,
            "2026-11-01",
            "America/New_York",
            ("abcd1234", 2, "1"),
            "sms-outbound-20261101T0400Z-fbeb2429aa07",
        ),
    ],
)
def test_id_of_a_window_never_changes(
    length: WindowLength, local: str, time_zone: str, part: tuple[str, int, str], golden: str
) -> None:
    # If an id changed, every window paid for so far would be bought again.
    start = date.fromisoformat(local)
    window = windows_within(start, start + timedelta(days=31), length, time_zone)[0]

    assert identified(window, *part) == golden


@pytest.mark.parametrize("length", list(WindowLength))
def test_most_days_is_the_largest_number_of_days(length: WindowLength) -> None:
    windows = windows_within(date(2023, 12, 1), date(2025, 2, 1), length, "Europe/London")

    days = [
        (local_date(window.end - SMALLEST, "Europe/London") - window.first_date).days + 1
        for window in windows
    ]
    assert max(days) == length.most_days


hours_long = st.floats(2, 31 * 24 + 2).map(lambda hours: round(hours * 3600))


@given(instants.map(lambda instant: instant.replace(microsecond=0)), hours_long, zones)
def test_halves_tile_their_window_and_are_cut_near_the_middle(
    start: datetime, seconds: int, time_zone: str
) -> None:
    window = Window(start, start + timedelta(seconds=seconds), time_zone)

    one, other = halves(window)

    assert (one.start, other.end) == (window.start, window.end)
    assert one.end == other.start
    assert one.time_zone == other.time_zone == time_zone
    assert min(one.hours, other.hours) >= 1
    assert one.hours.is_integer()
    assert abs(one.hours - other.hours) <= 1


@pytest.mark.parametrize(
    ("hours", "cut"),
    [(2, 1), (2.5, 1), (3, 2), (3.5, 2), (23, 12), (23.5, 12), (24, 12), (24.5, 12), (25, 13)],
)
def test_window_is_cut_at_a_whole_hour(hours: float, cut: int) -> None:
    window = Window(NOON, NOON + hours * HOUR, "UTC")

    assert window.can_be_halved
    assert [half.hours for half in halves(window)] == [cut, hours - cut]


@pytest.mark.parametrize("length", [timedelta(minutes=30), HOUR, 2 * HOUR - timedelta(seconds=1)])
def test_window_below_two_hours_is_not_halved(length: timedelta) -> None:
    window = Window(NOON, NOON + length, "UTC")

    assert not window.can_be_halved
    with pytest.raises(ValueError, match="cannot be halved"):
        halves(window)


def smallest_parts(window: Window) -> Iterator[Window]:
    if not window.can_be_halved:
        yield window
        return
    for half in halves(window):
        yield from smallest_parts(half)


@unhurried
@given(time_zone=zones, length=lengths, instant=instants)
def test_smallest_parts_tile_their_window(
    time_zone: str, length: WindowLength, instant: datetime
) -> None:
    window = window_at(instant, length, time_zone)

    parts = list(smallest_parts(window))

    assert all(window.hours < 2 for window in parts)
    assert (parts[0].start, parts[-1].end) == (window.start, window.end)
    assert all(one.end == following.start for one, following in pairwise(parts))


class Recorder(requests.Session):
    """A session that accepts every report and records the request."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[str, object] = {}

    def request(self, *_: object, **said: Any) -> requests.Response:
        self.sent = said["json"]
        response = requests.Response()
        response.status_code = 200
        body = b'{"request_id": "ri3p58f-6c5506b7-f16a-44dc-af06-756bbf467488"}'
        response.raw = urllib3.HTTPResponse(io.BytesIO(body), preload_content=False)
        return response


@unhurried
@given(time_zone=zones, length=lengths, instant=instants)
def test_request_sends_the_exclusive_end(
    time_zone: str, length: WindowLength, instant: datetime
) -> None:
    window = window_at(instant, length, time_zone)
    recorder = Recorder()
    vonage = VonageClient(
        "https://api.nexmo.com",
        lambda _: Credentials("abcd1234", "secret"),
        pacer=Pacer(0),
        session=recorder,
    )

    vonage.create_report(
        product="SMS",
        account_id="abcd1234",
        window=window,
        include_subaccounts=False,
        filters={"direction": "outbound"},
    )

    dates_sent = [str(recorder.sent[name]) for name in ("date_start", "date_end")]
    assert [datetime.fromisoformat(each) for each in dates_sent] == [window.start, window.end]
    following = window_at(window.end, length, time_zone)
    assert dates_sent[1] == format_instant(following.start)
