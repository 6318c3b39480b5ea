"""Which windows of a period are delivered and final, and which are not, from manifests and ledger.

Pure but for `read_completeness`.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo

from vonage_dataset.tables import TABLES
from vonage_reports.aws.ledger_items import Calendar, OpenWork
from vonage_reports.domain.calendar import due_at
from vonage_reports.domain.commands import command_for
from vonage_reports.domain.definitions import Refusal, ReportDefinition
from vonage_reports.domain.report import Report, Revision, State
from vonage_reports.domain.windows import (
    SECOND,
    Window,
    WindowLength,
    tiled,
    windows_ending_after,
)
from vonage_reports.submit_reports.read_definitions import accepted_definitions
from vonage_reports_cli.objects import Objects, by_product, manifests_in
from vonage_reports_cli.period import Period
from vonage_reports_cli.session import Session
from vonage_reports_cli.stack import DeployedStack
from vonage_reports_cli.status.model import THE_API_KEY

_MOST_RANGES = 4


class Flaw(StrEnum):
    """What keeps a window out of a complete period, worst first."""

    LOST = "lost"
    """Delivered, but the bucket lacks its manifest or its dataset."""
    FAILED = "failed"
    HELD = "held"
    MISSING = "missing"
    PRELIMINARY = "preliminary"
    """Only a preliminary revision is delivered: its prices may still change."""
    UNDER_WAY = "under way"
    NOT_DUE = "not due"
    """The window has not ended, or is collected later."""


@dataclass(frozen=True)
class Incomplete:
    """The windows of one definition and account that have the same flaw, oldest first."""

    definition: str
    account_id: str
    flaw: Flaw
    windows: tuple[Window, ...]
    length: WindowLength | None
    is_scheduled: bool = False
    """Whether the schedule collects the account, so that a backfill can."""

    @property
    def event(self) -> dict[str, Any] | None:
        """The event that collects missing windows. It skips those that are delivered."""
        if self.flaw is not Flaw.MISSING or not self.is_scheduled:
            return None
        first, last = self.windows[0], self.windows[-1]
        return {
            "backfill": {
                "definition": self.definition,
                "start": first.first_date.isoformat(),
                "end": (_last_date(last) + timedelta(days=1)).isoformat(),
            }
        }

    @property
    def ranges(self) -> list[str]:
        """The windows' first dates. Adjacent windows are one range."""
        found: list[list[Window]] = []
        for window in self.windows:
            if found and found[-1][-1].end == window.start:
                found[-1].append(window)
            else:
                found.append([window])
        return [self._range(each) for each in found]

    def _range(self, windows: Sequence[Window]) -> str:
        first, last = windows[0], windows[-1]
        if self.length is WindowLength.HOUR:
            zone = ZoneInfo(first.time_zone)
            begin, end = (at.astimezone(zone) for at in (first.start, last.end))
            return f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}"
        if self.length in (WindowLength.WEEK, WindowLength.MONTH):
            label = "week" if self.length is WindowLength.WEEK else "month"
            more = f" to {last.first_date}" if len(windows) > 1 else ""
            return f"{label} of {first.first_date}{more}"
        dates = dict.fromkeys((first.first_date, _last_date(last)))
        return " to ".join(map(str, dates))

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "definition": self.definition,
            "account_id": self.account_id,
            "flaw": self.flaw,
            "event": self.event,
            "windows": [
                {"start": each["start"], "end": each["end"]}
                for each in (window.to_dict() for window in self.windows)
            ],
        }


def _last_date(window: Window) -> date:
    return (window.end.astimezone(ZoneInfo(window.time_zone)) - SECOND).date()


@dataclass(frozen=True)
class Completeness:
    """How many windows a period has, and those that are not delivered and final."""

    period: Period
    windows: int
    incomplete: Sequence[Incomplete]
    refusals: Sequence[Refusal] = ()
    without_table: Sequence[str] = ()
    """The definitions of products whose records have no table, so that `usage` lacks them."""

    @property
    def is_complete(self) -> bool:
        """Whether every window is delivered and final, and every definition is collected."""
        return not (self.incomplete or self.refusals or self.without_table) and self.windows > 0

    @property
    def final(self) -> int:
        """How many windows are delivered and final."""
        return self.windows - sum(len(each.windows) for each in self.incomplete)

    def lines(self) -> list[str]:
        """Describe the completeness in lines; the first one sums it up."""
        if self.windows == 0:
            head = f"{self.period.label}: no definition has a window here."
        elif self.is_complete:
            head = f"{self.period.label} is complete: all {self.windows:,} windows are final."
        else:
            head = (
                f"{self.period.label} is incomplete: {self.final:,} of {self.windows:,} windows "
                "are delivered and final."
            )
        return [
            head,
            *(
                f"  {each.flaw:<11}  {each.definition}, {each.account_id}: {_shown(each.ranges)}"
                for each in self.incomplete
            ),
            *(
                f"  {'refused':<11}  {each.definition}, {each.field}: {each.reason}"
                for each in self.refusals
            ),
            *(
                f"  {'no table':<11}  {name}: the product is unknown, so these lines lack it"
                for name in self.without_table
            ),
        ]

    def commands(self, stack: str | None) -> list[str]:
        """Return the commands that collect missing windows, one for each definition."""
        events = [each.event for each in self.incomplete if each.event is not None]
        found = (command_for(event, stack=stack) for event in events)
        return list(dict.fromkeys(command for command in found if command is not None))

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "is_complete": self.is_complete,
            "windows": self.windows,
            "final": self.final,
            "incomplete": [each.to_dict() for each in self.incomplete],
            "refused": [each.to_dict() for each in self.refusals],
            "without_table": list(self.without_table),
        }


def _shown(ranges: Sequence[str]) -> str:
    more = len(ranges) - _MOST_RANGES
    return ", ".join([*ranges[:_MOST_RANGES], *([f"and {more:,} more"] if more > 0 else [])])


@dataclass(frozen=True)
class Collected:
    """The ledger and the definitions at an instant. `reports` are of whole windows or parts."""

    as_of: datetime
    definitions: Sequence[ReportDefinition]
    refusals: Sequence[Refusal]
    calendar: Calendar
    reports: Sequence[Report]


def read_completeness(session: Session, objects: Objects, period: Period) -> Completeness:
    """Read the target's ledger and manifests, and return the completeness of the period."""
    target = session.target
    if isinstance(target, DeployedStack):
        ledger: Any = target.ledger
        definitions, as_of = target.definitions.read(), datetime.now(UTC)
    else:
        ledger = target.ledger
        definitions, as_of = ledger.definitions, ledger.as_of
    # Read open work first: a report that finishes meanwhile is then read twice, not missed.
    work: OpenWork = ledger.open_work()
    calendar: Calendar = ledger.calendar()
    loaded = accepted_definitions(definitions, work, calendar, api_key=THE_API_KEY)
    first = datetime.combine(period.window_dates[0], datetime.min.time(), UTC)
    unreadable: list[str] = []
    reports = {report.report_id: report for report in work.reports}
    for name in calendar.collects:
        for report in ledger.finished_reports(name, since=first, unreadable=unreadable):
            reports[report.report_id] = report
    # List the datasets first: the manifest of a window is written after its dataset.
    datasets = [key for keys in by_product(objects.keys("data/", period)).values() for key in keys]
    return completeness_of(
        period,
        Collected(as_of, loaded.definitions, loaded.refusals, calendar, tuple(reports.values())),
        manifests_in(objects, period),
        datasets=datasets,
    )


def completeness_of(
    period: Period,
    collected: Collected,
    manifests: Iterable[Mapping[str, Any]],
    *,
    datasets: Iterable[str],
) -> Completeness:
    """Compare the windows of a period with the manifests.

    A listed definition has windows in the whole period, whenever it was added: the records of days
    before are no part of the bill. A removed definition has those that were planned or delivered,
    and those between them. `datasets` has the keys of the bucket's datasets.
    """
    by_name: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for manifest in manifests:
        by_name[manifest["definition"]].append(manifest)
    reports: dict[str, list[Report]] = defaultdict(list)
    for report in collected.reports:
        reports[report.definition].append(report)
    definitions = {each.name: each for each in collected.definitions}
    there = frozenset(datasets)
    windows = 0
    incomplete: list[Incomplete] = []
    without_table = []
    names = dict.fromkeys((*definitions, *sorted({*collected.calendar.collects, *by_name})))
    for name in names:
        history = _History(name, definitions.get(name), collected, reports[name], by_name[name])
        found = list(history.windows(period))
        windows += sum(len(each) for _, each in found)
        if found and history.product not in TABLES:
            without_table.append(name)
        for account_id, each in found:
            incomplete += history.flaws(account_id, each, there)
    order = list(Flaw)
    return Completeness(
        period,
        windows,
        sorted(incomplete, key=lambda each: order.index(each.flaw)),
        collected.refusals,
        without_table,
    )


class _History:
    """The windows of one definition: those of its calendar, of the ledger and of the manifests."""

    def __init__(
        self,
        name: str,
        definition: ReportDefinition | None,
        collected: Collected,
        reports: Sequence[Report],
        manifests: Sequence[Mapping[str, Any]],
    ) -> None:
        self._name = name
        self._definition = definition
        self._as_of = collected.as_of
        self._cursors = {
            (account, days): end
            for (of, account, days), end in collected.calendar.cursors.items()
            if of == name
        }
        first = json.loads(
            collected.calendar.collects.get(name) or (definition.collects if definition else "{}")
        )
        self._length = WindowLength(first["window"]) if first else None
        self._time_zone = first.get("time_zone", "UTC")
        self.product = first.get("product") or (manifests[0]["product"] if manifests else "")
        self._parts = [each for each in reports if each.is_half]
        self._reports: dict[tuple[str, datetime], list[Report]] = defaultdict(list)
        self._manifests: dict[tuple[str, datetime], list[Mapping[str, Any]]] = defaultdict(list)
        self._known: dict[str, set[Window]] = defaultdict(set)
        for report in reports:
            if not report.is_half:
                self._reports[report.account_id, report.window.start].append(report)
                self._known[report.account_id].add(report.window)
        for manifest in manifests:
            window = Window.from_dict(manifest["window"])
            self._manifests[manifest["account_id"], window.start].append(manifest)
            self._known[manifest["account_id"]].add(window)

    def windows(self, period: Period) -> Iterator[tuple[str, list[Window]]]:
        """Yield each account with its windows that have time of the period, oldest first."""
        listed = self._listed()
        for account_id in dict.fromkeys((*listed, *sorted(self._known))):
            known = sorted(
                (each for each in self._known[account_id] if _touches(each, period)),
                key=lambda each: each.start,
            )
            if account_id in listed and self._length is not None:
                cut = takewhile(
                    lambda each: each.start < period.end,
                    windows_ending_after(period.start, self._length, self._time_zone),
                )
                found = list(tiled(cut, known))
            else:
                found = list(_without_gaps(known))
            if found:
                yield account_id, found

    def flaws(
        self, account_id: str, windows: Sequence[Window], datasets: frozenset[str]
    ) -> Iterator[Incomplete]:
        """Yield the account's windows that are not delivered and final, by flaw."""
        flawed: dict[Flaw, list[Window]] = defaultdict(list)
        for window in windows:
            flaw = self._flaw(account_id, window, datasets)
            if flaw is not None:
                flawed[flaw].append(window)
        for flaw, each in flawed.items():
            is_scheduled = account_id in self._listed()
            yield Incomplete(
                self._name, account_id, flaw, tuple(each), self._length, is_scheduled=is_scheduled
            )

    def _listed(self) -> Sequence[str]:
        """Return the accounts that the schedule collects. The one planned last is the API key."""
        if self._definition is None:
            return ()
        named = self._definition.account_ids
        if THE_API_KEY not in named:
            return named
        if self._cursors:
            return (max(self._cursors, key=lambda each: (self._cursors[each], each))[0],)
        return sorted(self._known) or named

    def _flaw(self, account_id: str, window: Window, datasets: frozenset[str]) -> Flaw | None:
        manifests = self._manifests.get((account_id, window.start), ())
        keys = {each["dataset"]["key"] for each in manifests if each["dataset"] is not None}
        if not keys <= datasets:
            return Flaw.LOST
        if any(each["revision"] == Revision.FINAL for each in manifests):
            return None
        reports = self._reports.get((account_id, window.start), ())
        states = {each.state for each in self._with_parts(reports)}
        found = {
            Flaw.HELD: State.HELD in states,
            Flaw.FAILED: State.FAILED in states,
            Flaw.PRELIMINARY: bool(manifests),
            Flaw.LOST: State.DELIVERED in states,
            Flaw.UNDER_WAY: any(not each.is_at_end for each in reports),
            Flaw.NOT_DUE: self._is_not_due(window),
        }
        return next((flaw for flaw, is_so in found.items() if is_so), Flaw.MISSING)

    def _with_parts(self, reports: Sequence[Report]) -> Iterator[Report]:
        """Yield the reports of a window, and the parts that a split one waits for."""
        yield from reports
        split = {each.report_id for each in reports if each.state is State.SPLIT}
        yield from (each for each in self._parts if each.root in split)

    def _is_not_due(self, window: Window) -> bool:
        delays = () if self._definition is None else self._definition.delay_days
        return due_at(window, max(delays, default=0), self.product) > self._as_of


def _touches(window: Window, period: Period) -> bool:
    return window.start < period.end and window.end > period.start


def _without_gaps(known: Sequence[Window]) -> Iterator[Window]:
    """Yield windows, and one window for each gap between them."""
    for place, window in enumerate(known):
        if place and known[place - 1].end < window.start:
            yield Window(known[place - 1].end, window.start, window.time_zone)
        yield window
