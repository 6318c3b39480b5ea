"""The days that a bill, an invoice or a proof covers."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from vonage_reports_cli.errors import BadInput

SLACK = timedelta(days=32)
"""How far from its records' days a window may begin: a month and the offset of a time zone."""

_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")
_LAST_YEAR = 9998


@dataclass(frozen=True)
class Period:
    """The days from `since` on, before `until`, in UTC as the records' times are."""

    since: date
    until: date

    @property
    def start(self) -> datetime:
        """The first instant."""
        return datetime.combine(self.since, time(), UTC)

    @property
    def end(self) -> datetime:
        """The first instant after the period."""
        return datetime.combine(self.until, time(), UTC)

    @property
    def label(self) -> str:
        """The first and the last day."""
        return f"{self.since} to {self.until - timedelta(days=1)} (UTC)"

    @property
    def window_dates(self) -> tuple[date, date]:
        """The first and the last date on which a window with records of the period may begin."""
        return self.since - SLACK, self.until + SLACK

    def months(self) -> Iterator[date]:
        """Yield the first day of each month of `window_dates`."""
        day, last = self.window_dates
        while day <= last:
            day = day.replace(day=1)
            yield day
            day += timedelta(days=31)

    def to_dict(self) -> dict[str, str]:
        """Return the JSON form; `until` is exclusive."""
        return {"from": self.since.isoformat(), "until": self.until.isoformat()}


def month_of(text: str) -> Period:
    """Read a month such as 2026-11. Raises BadInput."""
    found = _MONTH.fullmatch(text)
    if not found or not 0 < int(found[1]) <= _LAST_YEAR:
        raise BadInput(f"--month is {text!r}; use a month like 2026-11")
    first = date(int(found[1]), int(found[2]), 1)
    return Period(first, (first + timedelta(days=31)).replace(day=1))


def period_of(month: str | None, since: str | None, until: str | None) -> Period:
    """Read `--month`, or `--from` and `--until`. Raises BadInput."""
    if month is not None:
        if since is not None or until is not None:
            raise BadInput("give --month, or --from and --until, not both")
        return month_of(month)
    if since is None or until is None:
        raise BadInput("name the period: --month 2026-11, or --from and --until")
    period = Period(date_of("--from", since), date_of("--until", until))
    if period.since >= period.until:
        raise BadInput(
            f"--from {since} is not before --until {until}, the first day after the period"
        )
    return period


def date_of(option: str, text: str) -> date:
    """Read the date of an option. Raises BadInput."""
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"{option} is {text!r}; use a date like 2026-11-01") from error
    if not 1 < day.year <= _LAST_YEAR:
        raise BadInput(f"{option} is {text!r}; use a date like 2026-11-01")
    return day
