"""The promises that must hold at any time, checked while a seed runs."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.chaos.periods import day_of, waits_for
from vonage_reports.domain.calendar import due_at
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.slots import SLOTS

OVERDUE_HOURS = 30
ITEM_BYTES = 8_000
FACTS_BYTES = 70_000
"""The size of an item with facts of manifests."""
SLOT_KEPT = timedelta(hours=50)
"""The longest time that a slot may stay with a report that nothing works on: 48 h after the POST,
and the time until a sweep."""

_MOST_SENTENCES = 5
_DAILY = timedelta(hours=26)
_WITH_SLOT = (State.SUBMITTING, State.HELD, State.SUBMITTED)

Key = tuple[str, ...]


def calls_allowed(at_work: int, unregistered: int = 0, periods: int = 0) -> int:
    """Return how many calls a sweep may make, by its reports under way. Waiting ones cost none.

    A delivery that waits for the catalogue costs a read of its manifest, a registration and a
    write. A changed period costs the reading of its windows and manifests.
    """
    return 120 + 15 * at_work + 3 * unregistered + 25 * periods


@dataclass
class Watch:
    """The sentences of promises that were broken on the way."""

    broken: list[str] = field(default_factory=list)
    most_calls: float = 0
    """The largest share of the allowed calls that a sweep made."""
    most_bytes: int = 0

    def add(self, sentence: str) -> None:
        """Record a broken promise, but not each time that it is seen."""
        if len(self.broken) < _MOST_SENTENCES:
            self.broken.append(sentence)

    def slots(
        self, reports: list[Report], slots: Mapping[int, Mapping[str, Any]], now: datetime
    ) -> None:
        """Check that each slot has a holder that gives it back, or an end."""
        holders = {each.report_id: each for each in reports}
        for slot, item in slots.items():
            name = item["report_id"]
            if "until" in item:
                if datetime.fromisoformat(str(item["until"])) > now + SLOT_KEPT:
                    self.add(f"slot {slot} of {name} is left taken until {item['until']}")
                continue
            holder = holders.get(str(name))
            if holder is None or holder.slot != slot or holder.state not in _WITH_SLOT:
                state = holder and holder.state.value
                self.add(f"slot {slot} is held without an end: {name} is {state}")
            elif holder.state is State.HELD and (
                holder.look_after is None or holder.look_after > now + SLOT_KEPT
            ):
                self.add(f"slot {slot} is held without an end: {name} waits for the operator")

    def cap(self, counted: int, cap: int, sizes: Sequence[int]) -> None:
        """Check that a month exceeds its cap only by the five requests in flight.

        `sizes` are the records of the month's requests.
        """
        most = cap + sum(sorted(sizes)[-len(SLOTS) :])
        if counted > most:
            self.add(f"{counted} records are counted, but the cap {cap} allows {most}")

    def ends(self, reports: list[Report], refusal: Callable[[Report], str | None]) -> None:
        """Check that each open report has an event that ends it, or ends by itself.

        `refusal` returns why a withdrawal is refused; None if it is not. A conversion ends by
        itself, after a limited number of runs.
        """
        for report in reports:
            why = None if report.is_half else refusal(report)
            if why is not None and report.state not in (State.CONVERTING, State.SPLIT):
                self.add(f"no event ends {report.report_id}, which is {report.state}: {why}")

    def sweep(
        self, calls: int, at_work: int, waiting: int, unregistered: int = 0, periods: int = 0
    ) -> None:
        """Check the number of calls of a sweep."""
        allowed = calls_allowed(at_work, unregistered, periods)
        self.most_calls = max(self.most_calls, calls / allowed)
        if calls > allowed:
            self.add(
                f"a sweep made {calls} calls with {at_work} reports under way, {waiting} waiting, "
                f"{periods} changed periods"
            )

    def period(self, key: str, reports: list[Report], listed: Collection[tuple[str, str]]) -> None:
        """Check that a period is complete when its object is written."""
        reason = waits_for(day_of(key), reports, listed)
        if reason is not None:
            self.add(f"{key} is written too early: {reason}")

    def items(self, items: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
        """Check the bytes of the ledger's items."""
        for key, item in items.items():
            size = len(json.dumps(item))
            self.most_bytes = max(self.most_bytes, size)
            most = FACTS_BYTES if key[0].startswith("period#") else ITEM_BYTES
            if size > most:
                self.add(f"the item {key} has {size} bytes")

    def overdue(
        self,
        reports: list[Report],
        told: Sequence[tuple[datetime, Mapping[str, Any]]],
        *,
        listed: Callable[[Report], bool],
        is_done: bool,
        now: datetime,
    ) -> None:
        """Check that each overdue window was told, after a sweep that ended well (`is_done`)."""
        if not is_done:
            return
        last = {_key(each): at for at, each in told if each["event"] == "report.overdue"}
        for report in reports:
            if not is_overdue(report, now) or not listed(report):
                continue
            at = last.get(_key({"definition": report.definition, "account_id": report.account_id}))
            if at is None:
                self.add(
                    f"{report.report_id} is overdue ({report.state}) at {now}, and not announced"
                )
            elif at < now - _DAILY:
                self.add(f"{report.report_id} is overdue, and was not told again since {at}")


def is_overdue(report: Report, now: datetime) -> bool:
    """Whether an open report's window is overdue, by the words of docs/metrics.md."""
    if report.is_half or report.state is State.HELD or report.rows is not None:
        return False
    since = max(due_at(report.window, report.delay_days, report.product), report.planned_at)
    return report.withdrawn_at is None and now - since > timedelta(hours=OVERDUE_HOURS)


def _key(names: Mapping[str, Any]) -> Key:
    return names["definition"], names["account_id"]
