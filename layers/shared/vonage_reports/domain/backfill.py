"""Backfills: the windows of a definition in a range of dates, collected because a person asked."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from functools import cached_property, lru_cache
from itertools import dropwhile
from typing import Any
from zoneinfo import ZoneInfo

from vonage_reports.domain.calendar import last_due_revision
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.products import oldest_start
from vonage_reports.domain.windows import HOUR, Window, WindowLength, windows_within


class Progress(StrEnum):
    """How far a backfill is; but for RUNNING it plans nothing more."""

    RUNNING = "RUNNING"
    PLANNED = "PLANNED"
    """Every window was planned; the last ones may still be under way."""
    CANCELLED = "CANCELLED"
    STOPPED = "STOPPED"
    """It would be billed for more than was confirmed, or has come to what Vonage has deleted."""


@dataclass(frozen=True)
class Backfill:
    """The windows from `start` up to, and without, `end`, local dates of the definition's zone.

    The definition is kept as it was when the backfill began: it takes weeks, perhaps.
    """

    definition: ReportDefinition
    start: date
    end: date
    begun_at: datetime
    confirmed: bool = False
    """A person knows that it may be billed for more than the limit."""
    progress: Progress = Progress.RUNNING
    seen_to: int = 0
    """So many of `pieces` were planned or skipped."""
    skipped: int = 0
    """So many were there already, or on their way."""
    version: int = 0

    @property
    def name(self) -> str:
        """What a person cancels it by, and what keeps it from running twice at once."""
        return f"{self.definition.name}-{self.start:%Y%m%d}-{self.end:%Y%m%d}"

    @property
    def is_over(self) -> bool:
        """Whether it plans nothing more."""
        return self.progress is not Progress.RUNNING

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """The windows that are due, newest first."""
        length, zone = self.definition.window, self.definition.time_zone
        return tuple(
            dropwhile(
                lambda window: last_due_revision(self.definition, window, self.begun_at) is None,
                _newest_first(self.start, self.end, length, zone),
            )
        )

    @property
    def total(self) -> int:
        """How many reports it consists of: one for each window and account."""
        return len(self.windows) * len(self.definition.account_ids)

    def left(self) -> Iterator[tuple[Window, str]]:
        """Yield window and account of the reports that are left to plan, newest first."""
        accounts = self.definition.account_ids
        for number in range(self.seen_to, self.total):
            yield self.windows[number // len(accounts)], accounts[number % len(accounts)]

    def hours_left(self) -> dict[str, float]:
        """How many hours the windows that are left cover, of each account that has any left."""
        accounts = self.definition.account_ids
        seen_to_by_all, by_some = divmod(self.seen_to, len(accounts))
        first_left = {
            account_id: seen_to_by_all + (number < by_some)
            for number, account_id in enumerate(accounts)
        }
        # The windows tile their range: from the newest end to the oldest start.
        return {
            account_id: (self.windows[first].end - self.windows[-1].start) / HOUR
            for account_id, first in first_left.items()
            if first < len(self.windows)
        }

    def after(self, *, skipped: int = 0, planned: int = 0) -> "Backfill":
        """Return it as it is when so many more of its reports were seen to."""
        seen_to = self.seen_to + skipped + planned
        return replace(
            self,
            seen_to=seen_to,
            skipped=self.skipped + skipped,
            progress=Progress.PLANNED if seen_to >= self.total else self.progress,
        )

    def to_json(self) -> str:
        """The form of the ledger."""
        value = {
            **{name: getattr(self, name) for name in _COUNTS},
            "definition": {
                **asdict(self.definition),
                "account_ids": list(self.definition.account_ids),
                "delay_days": list(self.definition.delay_days),
            },
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "begun_at": self.begun_at.isoformat(),
        }
        return json.dumps(value, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Backfill":
        """Read what `to_json` wrote."""
        value: Mapping[str, Any] = json.loads(text)
        definition = value["definition"]
        return cls(
            definition=ReportDefinition(
                **{
                    **definition,
                    "account_ids": tuple(definition["account_ids"]),
                    "window": WindowLength(definition["window"]),
                    "delay_days": tuple(definition["delay_days"]),
                }
            ),
            start=date.fromisoformat(value["start"]),
            end=date.fromisoformat(value["end"]),
            begun_at=datetime.fromisoformat(value["begun_at"]),
            **{**{name: value[name] for name in _COUNTS}, "progress": Progress(value["progress"])},
        )


def checked_backfill(
    definition: ReportDefinition, start: date, end: date, *, confirmed: bool, now: datetime
) -> Backfill:
    """Make a backfill of the windows between two local dates, `end` exclusive.

    Raises InvalidRequest for a range that holds no window that could be collected now.
    """
    whose = f"backfill of {definition.name}"
    if end <= start:
        raise InvalidRequest(f"{whose}: end {end} is not after start {start}")
    if end > now.astimezone(ZoneInfo(definition.time_zone)).date():
        raise InvalidRequest(f"{whose}: end {end} is in the future; the day of end is not included")
    oldest = oldest_date(definition.product, definition.time_zone, now)
    if start < oldest:
        raise InvalidRequest(
            f"{whose}: start {start}: Vonage has {definition.product} records from {oldest} on"
        )
    backfill = Backfill(definition, start, end, begun_at=now, confirmed=confirmed)
    if not backfill.windows:
        raise InvalidRequest(
            f"{whose}: no {definition.window} that is due lies whole between start and end"
        )
    return backfill


def oldest_date(product: str, time_zone: str, now: datetime) -> date:
    """Return the first local date of which Vonage has all records of a product."""
    kept_from = oldest_start(product, now).astimezone(ZoneInfo(time_zone))
    # Of the date on which it begins in the middle a part is gone.
    return kept_from.date() + timedelta(days=kept_from.time() > time.min)


_COUNTS = ("confirmed", "progress", "seen_to", "skipped", "version")


def expected_records(backfill: Backfill, volumes: Mapping[tuple[str, str], float]) -> int:
    """Return how many records the reports that are left are expected to hold, and to be billed.

    `volumes` are rows per hour by definition and account. An account without history counts for
    nothing: they are at least so many.
    """
    name = backfill.definition.name
    return round(
        sum(hours * volumes.get((name, each), 0) for each, hours in backfill.hours_left().items())
    )


@lru_cache(maxsize=8)
def _newest_first(
    start: date, end: date, length: WindowLength, time_zone: str
) -> tuple[Window, ...]:
    """Return the windows of a range, once: 13 months have 9,500 hours, and each step asks."""
    return tuple(reversed(windows_within(start, end, length, time_zone)))
