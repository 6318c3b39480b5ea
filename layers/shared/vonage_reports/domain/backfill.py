"""Backfills: the windows of a definition in a range of dates, collected because a person asked."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

from vonage_reports.domain.calendar import last_due_revision
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.products import oldest_start
from vonage_reports.domain.windows import Window, WindowLength, windows_within


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
        whole = windows_within(
            self.start, self.end, self.definition.window, self.definition.time_zone
        )
        return tuple(
            window
            for window in reversed(whole)
            if last_due_revision(self.definition, window, self.begun_at) is not None
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

    def hours_left(self) -> float:
        """How many hours the windows that are left cover, over all accounts."""
        return sum(window.hours for window, _ in self.left())

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
    zone = ZoneInfo(definition.time_zone)
    if end > now.astimezone(zone).date():
        raise InvalidRequest(f"{whose}: end {end} is in the future; the day of end is not included")
    oldest = oldest_start(definition.product, now).astimezone(zone).date()
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


_COUNTS = ("confirmed", "progress", "seen_to", "skipped", "version")


def expected_records(backfill: Backfill, volumes: Mapping[tuple[str, str], float]) -> int | None:
    """Return how many records the reports that are left are expected to hold, and to be billed.

    `volumes` are rows per hour by definition and account. None: an account has no history yet.
    """
    records = 0.0
    for window, account_id in backfill.left():
        rows_per_hour = volumes.get((backfill.definition.name, account_id))
        if rows_per_hour is None:
            return None
        records += rows_per_hour * window.hours
    return round(records)
