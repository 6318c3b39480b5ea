"""Backfills: a definition's windows in a range of dates, collected on the operator's request."""

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
from vonage_reports.domain.products import FREE, oldest_start
from vonage_reports.domain.windows import HOUR, Window, WindowLength, windows_within


class Progress(StrEnum):
    """The progress of a backfill. Only a RUNNING backfill plans reports."""

    RUNNING = "RUNNING"
    PLANNED = "PLANNED"
    """Every window was planned. The last reports may still be under way."""
    CANCELLED = "CANCELLED"
    STOPPED = "STOPPED"
    """The cost of the backfill needs a confirmation, or Vonage deleted the next records."""


@dataclass(frozen=True)
class Backfill:
    """The windows from `start` to `end` (exclusive), both local dates in the definition's zone.

    A backfill may take weeks, so it keeps the definition as it was at the beginning.
    """

    definition: ReportDefinition
    start: date
    end: date
    begun_at: datetime
    account_id: str | None = None
    """The only account, if the operator named one."""
    confirmed: bool = False
    """Whether the operator accepted more billed records than the limit."""
    progress: Progress = Progress.RUNNING
    seen_to: int = 0
    """How many reports were planned or skipped so far."""
    skipped: int = 0
    """How many reports were skipped because they were delivered or under way."""
    version: int = 0

    @property
    def name(self) -> str:
        """The name in a `cancel` event. Two backfills of the same range cannot run at once."""
        name = f"{self.definition.name}-{self.start:%Y%m%d}-{self.end:%Y%m%d}"
        return name if self.account_id is None else f"{name}.{self.account_id}"

    @property
    def is_over(self) -> bool:
        """Whether the backfill plans no more reports."""
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
        """How many reports the backfill has, one for each window and account."""
        return len(self.windows) * len(self.definition.account_ids)

    def left(self) -> Iterator[tuple[Window, str]]:
        """Yield the window and account of each report still to plan, newest first."""
        accounts = self.definition.account_ids
        for number in range(self.seen_to, self.total):
            yield self.windows[number // len(accounts)], accounts[number % len(accounts)]

    def hours_left(self) -> dict[str, float]:
        """Return, by account, how many hours are left to plan. Omits accounts without windows."""
        accounts = self.definition.account_ids
        seen_to_by_all, by_some = divmod(self.seen_to, len(accounts))
        first_left = {
            account_id: seen_to_by_all + (number < by_some)
            for number, account_id in enumerate(accounts)
        }
        # The windows have no gaps, so count from the newest end to the oldest start.
        return {
            account_id: (self.windows[first].end - self.windows[-1].start) / HOUR
            for account_id, first in first_left.items()
            if first < len(self.windows)
        }

    def after(self, *, skipped: int = 0, planned: int = 0) -> "Backfill":
        """Return the backfill with `skipped` and `planned` added to its progress."""
        seen_to = self.seen_to + skipped + planned
        return replace(
            self,
            seen_to=seen_to,
            skipped=self.skipped + skipped,
            progress=Progress.PLANNED if seen_to >= self.total else self.progress,
        )

    def to_json(self) -> str:
        """Return the JSON for the ledger."""
        fields_of_definition = asdict(self.definition)
        # A backfill has a fixed list of accounts.
        del fields_of_definition["followed"]
        value = {
            **{name: getattr(self, name) for name in _COUNTS},
            "definition": {
                **fields_of_definition,
                "account_ids": list(self.definition.account_ids),
                "delay_days": list(self.definition.delay_days),
            },
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "begun_at": self.begun_at.isoformat(),
            "account_id": self.account_id,
        }
        return json.dumps(value, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Backfill":
        """Reverse `to_json`."""
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
            # An earlier version named no account.
            account_id=value.get("account_id"),
            **{**{name: value[name] for name in _COUNTS}, "progress": Progress(value["progress"])},
        )


def checked_backfill(
    definition: ReportDefinition,
    start: date,
    end: date,
    *,
    confirmed: bool,
    now: datetime,
    account_id: str | None = None,
) -> Backfill:
    """Return a backfill of the windows between two local dates; `end` is exclusive.

    `account_id` is its only account, perhaps a sub-account that is closed or suspended. Without
    it, the backfill has the accounts that are collected now.

    Raises InvalidRequest if the range has a window that cannot be collected now, or no due window,
    and for an account that the definition never collected.
    """
    prefix = f"backfill of {definition.name}"
    if end <= start:
        raise InvalidRequest(
            f"{prefix}: end {end} is not after start {start}; write a later end (exclusive)"
        )
    today = now.astimezone(ZoneInfo(definition.time_zone)).date()
    if end > today:
        raise InvalidRequest(
            f"{prefix}: end {end} is in the future; write {today} (exclusive) or earlier"
        )
    oldest = oldest_date(definition.product, definition.time_zone, now)
    if start < oldest:
        raise InvalidRequest(
            f"{prefix}: start {start} is too early; write {oldest} or later. "
            f"Vonage has no older {definition.product} records"
        )
    if account_id is None:
        accounts = [each for each in definition.account_ids if not definition.has_closed(each)]
    else:
        account_id = _spelled(definition, account_id)
        accounts = [account_id]
    fixed = replace(definition, account_ids=tuple(accounts), followed=None)
    backfill = Backfill(fixed, start, end, begun_at=now, account_id=account_id, confirmed=confirmed)
    if not backfill.windows:
        raise InvalidRequest(
            f"{prefix}: {start} to {end} has no whole {definition.window} due; write earlier dates"
        )
    return backfill


def _spelled(definition: ReportDefinition, account_id: str) -> str:
    """Return an account as the ledger spells it. Raises InvalidRequest for one of others."""
    followed = definition.followed
    known = (*definition.account_ids, *(followed.known if followed is not None else ()))
    found = {each.lower(): each for each in reversed(known)}.get(account_id.lower())
    if found is not None:
        return found
    prefix = f"backfill of {definition.name}: {account_id}"
    raise InvalidRequest(
        f"{prefix} is not an account of this definition. Add the account to account_ids"
        if followed is None
        else f"{prefix} was never on Vonage's list of sub-accounts. Name the account in "
        "account_ids of a definition"
    )


def closed_accounts(backfill: Backfill, definition: ReportDefinition) -> list[str]:
    """Return the closed accounts that the backfill leaves out.

    Include an account only if Vonage listed it in a window of the backfill.
    """
    if backfill.account_id is not None or definition.followed is None:
        return []
    return [
        each
        for each in definition.followed.known
        if definition.has_closed(each)
        and any(definition.span_of(each).has(window) for window in backfill.windows)
    ]


def oldest_date(product: str, time_zone: str, now: datetime) -> date:
    """Return the first local date for which Vonage has all records of a product."""
    kept_from = oldest_start(product, now).astimezone(ZoneInfo(time_zone))
    # If retention begins within a local date, records of that date are missing.
    return kept_from.date() + timedelta(days=kept_from.time() > time.min)


_COUNTS = ("confirmed", "progress", "seen_to", "skipped", "version")


def expected_records(backfill: Backfill, volumes: Mapping[tuple[str, str], float]) -> int:
    """Return how many records we expect Vonage to bill for the reports left to plan.

    `volumes` are rows per hour by definition and account. An account without history counts as 0,
    so the result is a lower bound. The records of a free product count as 0 too.
    """
    if backfill.definition.product in FREE:
        return 0
    name = backfill.definition.name
    return round(
        sum(hours * volumes.get((name, each), 0) for each, hours in backfill.hours_left().items())
    )


@lru_cache(maxsize=8)
def _newest_first(
    start: date, end: date, length: WindowLength, time_zone: str
) -> tuple[Window, ...]:
    """Return a range's windows. Cached for speed: 13 months have 9,500 hourly windows."""
    return tuple(reversed(windows_within(start, end, length, time_zone)))
