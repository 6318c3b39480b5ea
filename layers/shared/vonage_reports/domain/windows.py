"""Windows: half-open intervals of instants, cut at local midnights of an IANA time zone."""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


class WindowLength(StrEnum):
    """The length of a report definition's windows. A week is an ISO week.

    Hours have 3,600 s and are counted from local midnight. If a clock moves by half an hour
    (Australia/Lord_Howe), the last half hour of that day is a window of its own.
    """

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    @property
    def most_days(self) -> int:
        """How many local days a window touches at most."""
        return {"hour": 1, "day": 1, "week": 7, "month": 31}[self]


@dataclass(frozen=True)
class Window:
    """The instants from `start` (inclusive) to `end` (exclusive). Both are aware and in UTC."""

    start: datetime
    end: datetime
    time_zone: str
    dated: date | None = field(default=None, compare=False)
    """The first date of a planned window, which is in the keys of its objects. It stays the same if
    the time zone's rules change."""

    @property
    def first_date(self) -> date:
        """The date of `start` in the window's own time zone."""
        return self.dated or self.start.astimezone(ZoneInfo(self.time_zone)).date()

    @property
    def last_date(self) -> date:
        """The date of the last second in the window's own time zone."""
        return (self.end - SECOND).astimezone(ZoneInfo(self.time_zone)).date()

    @property
    def hours(self) -> float:
        """The length in hours of 3,600 s. A local day has 23 to 25 hours."""
        return (self.end - self.start) / HOUR

    @property
    def can_be_halved(self) -> bool:
        """Whether both halves would have at least an hour."""
        return self.end - self.start >= 2 * HOUR

    @property
    def interval(self) -> str:
        """The ISO 8601 interval, `2026-11-21T00:00:00Z/2026-11-22T00:00:00Z`."""
        return f"{format_instant(self.start)}/{format_instant(self.end)}"

    def to_dict(self) -> dict[str, str]:
        """Return the window as in the manifest and the notifications."""
        return {
            "start": format_instant(self.start),
            "end": format_instant(self.end),
            "time_zone": self.time_zone,
        }

    def to_dated_dict(self) -> dict[str, str]:
        """Return the window as in the ledger and the workflow's input."""
        return {**self.to_dict(), "date": self.first_date.isoformat()}

    @classmethod
    def from_dict(cls, value: Mapping[str, str]) -> "Window":
        """Reverse `to_dict` or `to_dated_dict`. Version 0.1 wrote no date."""
        return cls(
            parse_instant(value["start"]),
            parse_instant(value["end"]),
            value["time_zone"],
            date.fromisoformat(value["date"]) if "date" in value else None,
        )


def format_instant(instant: datetime) -> str:
    """Return ISO 8601 in UTC with `Z`, to the second: `2026-11-21T00:00:00Z`."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_instant(text: str) -> datetime:
    """Read an ISO 8601 time with an offset (`Z`, `+00:00`, `+0000`) as an instant in UTC.

    Raises ValueError if the text is no time or has no offset.
    """
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC")
    return instant.astimezone(UTC)


def windows_ending_after(
    instant: datetime, length: WindowLength, time_zone: str
) -> Iterator[Window]:
    """Yield, oldest first and without end, the windows whose end is after `instant`.

    The windows have no gaps and no overlaps. A local date that a zone skipped (2011-12-30 in
    Pacific/Apia) has no window.
    """
    zone = ZoneInfo(time_zone)
    first = _first_date_of_period(instant.astimezone(zone).date(), length)
    boundaries = (
        boundary
        for day, following in pairwise(_period_starts(first, length))
        for boundary in _boundaries(day, following, length, zone)
    )
    for start, end in pairwise(boundaries):
        if start < end and end > instant:
            yield Window(start, end, time_zone)


def windows_after(
    cursor: datetime, length: WindowLength, time_zone: str, planned: Iterable[Window] = ()
) -> Iterator[Window]:
    """Yield, oldest first and without end, the windows that follow `cursor` without a gap.

    A later version of a zone's rules may move a local midnight of windows that are planned
    already. So a window that would begin before `cursor` begins at `cursor`, and the windows in
    `planned` stay as they are.
    """
    return tiled(windows_ending_after(cursor, length, time_zone), planned, since=cursor)


def tiled(
    windows: Iterable[Window], planned: Iterable[Window], *, since: datetime | None = None
) -> Iterator[Window]:
    """Yield windows that cover the time of `windows`, from `since` on, without an overlap.

    The windows in `planned` that begin in that time are yielded as they are: they were cut by the
    rules of their time. The time around them is cut as in `windows`, which are oldest first.
    """
    waiting = deque(sorted(set(planned), key=lambda window: (window.start, window.end)))
    covered_to = since
    for window in windows:
        covered_to = max(covered_to or window.start, window.start)
        since = since or window.start
        while waiting and waiting[0].start < window.end:
            known = waiting.popleft()
            if known.start > covered_to:
                yield replace(window, start=covered_to, end=known.start)
            if known.start >= since:
                yield known
            covered_to = max(covered_to, known.end)
        if covered_to < window.end:
            yield replace(window, start=covered_to)
            covered_to = window.end


def latest_window_ending_by(instant: datetime, length: WindowLength, time_zone: str) -> Window:
    """Return the newest window whose end is not after `instant`."""
    # Any period of two window lengths contains the end of a window, even if a day has more than 24
    # hours.
    back = timedelta(days=2 * length.most_days + 1)
    latest = None
    for window in windows_ending_after(instant - back, length, time_zone):
        if window.end > instant:
            break
        latest = window
    assert latest is not None
    return latest


def windows_within(start: date, end: date, length: WindowLength, time_zone: str) -> list[Window]:
    """Return, oldest first, the whole windows between two local dates; `end` is exclusive.

    Leaves out windows that lie only partly between the dates. The last windows may be in the
    future.
    """
    first, last = local_interval(start, end, time_zone)
    windows = windows_ending_after(first, length, time_zone)
    ended = takewhile(lambda window: window.end <= last, windows)
    return [window for window in ended if window.start >= first]


def local_interval(start: date, end: date, time_zone: str) -> tuple[datetime, datetime]:
    """Return the first instants of two local dates, in UTC."""
    zone = ZoneInfo(time_zone)
    return _midnight(start, zone), _midnight(end, zone)


def halves(window: Window) -> tuple[Window, Window]:
    """Cut a window near its middle, a whole number of hours after its start.

    If the number of hours is odd, the first half has one hour more. Raises ValueError if a half
    would be shorter than an hour (see `can_be_halved`).
    """
    if not window.can_be_halved:
        raise ValueError(f"a window of {window.hours:g} h cannot be halved")
    middle = window.start + (window.end - window.start + HOUR) // (2 * HOUR) * HOUR
    younger = replace(window, start=middle, dated=None)
    return replace(window, end=middle), younger


def _boundaries(
    day: date, following: date, length: WindowLength, zone: ZoneInfo
) -> Iterator[datetime]:
    """Yield the starts of one period's windows. For hourly windows, yield every hour of the day."""
    start = _midnight(day, zone)
    yield start
    if length is WindowLength.HOUR:
        end = _midnight(following, zone)
        while (start := start + HOUR) < end:
            yield start


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the first instant of `day`, or of the next existing date if the zone skipped `day`."""
    midnight, on_new_time = (
        datetime.combine(day, time(fold=fold), zone).astimezone(UTC) for fold in (0, 1)
    )
    # The two instants are equal unless 00:00 occurs twice or never. If twice, the first counts. If
    # never, the clock was put forward between the two instants, perhaps at 23:30.
    seconds = range(max(0, (midnight - on_new_time) // SECOND))
    if not seconds:
        return midnight
    return on_new_time + SECOND * bisect_left(
        seconds, day, key=lambda count: (on_new_time + count * SECOND).astimezone(zone).date()
    )


def _first_date_of_period(day: date, length: WindowLength) -> date:
    if length is WindowLength.MONTH:
        return day.replace(day=1)
    if length is WindowLength.WEEK:
        return day - timedelta(days=day.weekday())
    return day


def _period_starts(day: date, length: WindowLength) -> Iterator[date]:
    while True:
        yield day
        if length is WindowLength.MONTH:
            day = (day + timedelta(days=31)).replace(day=1)
        else:
            day += timedelta(days=7 if length is WindowLength.WEEK else 1)
