"""The final windows of a period, and the flaws of the others, from manifests and ledger.

Pure but for `read_completeness`.
"""

import json
import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from enum import StrEnum
from itertools import chain, takewhile
from typing import Any
from zoneinfo import ZoneInfo

from vonage_dataset.tables import TABLES
from vonage_reports.aws.ledger_items import Calendar, OpenWork, UnreadableItem
from vonage_reports.domain.backfill import oldest_date
from vonage_reports.domain.calendar import due_at
from vonage_reports.domain.commands import command_for
from vonage_reports.domain.definitions import Refusal, ReportDefinition, change_of
from vonage_reports.domain.notifications import backfill_event
from vonage_reports.domain.periods import LocalPeriod
from vonage_reports.domain.removal import listing_of, pair_of
from vonage_reports.domain.report import Report, Revision, State
from vonage_reports.domain.settings import PeriodLength
from vonage_reports.domain.subaccounts import ALWAYS
from vonage_reports.domain.windows import (
    Window,
    WindowLength,
    tiled,
    windows_ending_after,
)
from vonage_reports_cli.deliveries import Stray, losses_of, strays_of, touches
from vonage_reports_cli.objects import (
    Objects,
    by_product,
    expires_before,
    manifests_in,
    product_of,
)
from vonage_reports_cli.period import Period
from vonage_reports_cli.session import Session
from vonage_reports_cli.stack import DeployedStack
from vonage_reports_cli.status.model import THE_API_KEY
from vonage_reports_cli.status.sources import loaded_definitions

_MOST_RANGES = 4
_NUMBER = re.compile(r"[1-9][0-9]*\.json")
_NARROWEST = 11
"""The least width of the column of flaws."""


class Flaw(StrEnum):
    """The reasons for an incomplete period, worst first."""

    LOST = "lost"
    """Delivered, but the bucket lacks its manifest or its dataset."""
    WITHOUT_MANIFEST = "without manifest"
    """The bucket has a dataset that no manifest names. Its rows are visible, and unproved."""
    FAILED = "failed"
    HELD = "held"
    MISSING = "missing"
    WITHDRAWN = "withdrawn"
    """The report was withdrawn. Only a recollection collects the window."""
    EXPIRED = "expired"
    """Delivered, but so long ago that the bucket's lifecycle has deleted the dataset."""
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
    backfill_from: date | None = None
    """The first date that a backfill can collect. None if it can collect no window."""
    is_closed: bool = False
    """Whether the account is a closed or suspended sub-account, which a backfill has to name."""
    report_ids: tuple[str, ...] = ()
    """The withdrawn reports of the windows."""

    @property
    def event(self) -> dict[str, Any] | None:
        """The event that collects missing windows. It skips those that are delivered."""
        if self.flaw is not Flaw.MISSING or self.backfill_from is None:
            return None
        windows = [each for each in self.windows if each.first_date >= self.backfill_from]
        if not windows:
            return None
        account_id = self.account_id if self.is_closed else None
        return backfill_event(self.definition, windows[0], windows[-1], account_id=account_id)

    def command(self, stack: str | None) -> str | None:
        """Return the command that collects the windows, or None if there is none."""
        if self.event is not None:
            return command_for(self.event, stack=stack)
        if not self.report_ids:
            return None
        first, *others = self.report_ids
        command = command_for({"recollect": {"report_id": first}}, stack=stack)
        return command and shlex.join([*shlex.split(command), *others])

    @property
    def ranges(self) -> list[str]:
        """The windows' first dates. Adjacent windows are one range."""
        return [self._range(each) for each in self.runs]

    @property
    def runs(self) -> list[list[Window]]:
        """The windows. Adjacent ones are together."""
        found: list[list[Window]] = []
        for window in self.windows:
            if found and found[-1][-1].end == window.start:
                found[-1].append(window)
            else:
                found.append([window])
        return found

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
        dates = dict.fromkeys((first.first_date, last.last_date))
        return " to ".join(map(str, dates))

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "definition": self.definition,
            "account_id": self.account_id,
            "flaw": self.flaw,
            "event": self.event,
            "report_ids": list(self.report_ids),
            "windows": [
                {"start": each["start"], "end": each["end"]}
                for each in (window.to_dict() for window in self.windows)
            ],
        }


@dataclass(frozen=True)
class Announced:
    """The last number with which the stack wrote a month or a day as complete.

    `is_changed`: a sweep has still to announce the number, or to check a later change.
    """

    label: str
    number: int
    is_changed: bool

    @property
    def sentence(self) -> str:
        """Name the number."""
        # A sweep may end between the object and its announcement, and the next one announces it.
        more = (
            " Its announcement, or the check of a later change, is still to come."
            if self.is_changed
            else ""
        )
        return f"{self.label} is written as complete: number {self.number}.{more}"

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"period": self.label, "number": self.number, "is_changed": self.is_changed}


@dataclass(frozen=True)
class Completeness:
    """How many windows a period has, and those that are not delivered and final."""

    period: Period
    windows: int
    incomplete: Sequence[Incomplete]
    refusals: Sequence[Refusal] = ()
    without_table: Sequence[str] = ()
    """The definitions of products whose records have no table, so that `usage` lacks them."""
    unreadable: Sequence[str] = ()
    """The ledger's items that this code cannot read. Each may be a window of the period."""
    cautions: Sequence[str] = ()
    """Accepted losses, and removed accounts, of windows that are delivered and final."""
    datasets: frozenset[str] = frozenset()
    """The keys of the datasets that were seen."""
    announced: Announced | None = None

    @property
    def is_complete(self) -> bool:
        """Whether every window is delivered and final, and every definition is collected."""
        flaws = (self.incomplete, self.refusals, self.without_table, self.unreadable)
        return not any(flaws) and self.windows > 0

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
        width = max([_NARROWEST, *(len(each.flaw) for each in self.incomplete)])
        return [
            head,
            *(
                f"  {each.flaw:<{width}}  "
                f"{', '.join(filter(None, (each.definition, each.account_id)))}: "
                f"{_shown(each.ranges)}"
                for each in self.incomplete
            ),
            *(
                f"  {'refused':<{width}}  {each.definition}, {each.field}: {each.reason}"
                for each in self.refusals
            ),
            *(
                f"  {'no table':<{width}}  {name}: the product is unknown, so these lines lack it"
                for name in self.without_table
            ),
            *(f"  {'unreadable':<{width}}  {UnreadableItem(name)}" for name in self.unreadable),
        ]

    def commands(self, stack: str | None) -> list[str]:
        """Return the commands that collect missing and withdrawn windows, each once."""
        found = (each.command(stack) for each in self.incomplete)
        return list(dict.fromkeys(command for command in found if command is not None))

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "is_complete": self.is_complete,
            "windows": self.windows,
            "final": self.final,
            "announced": None if self.announced is None else self.announced.to_dict(),
            "incomplete": [each.to_dict() for each in self.incomplete],
            "refused": [each.to_dict() for each in self.refusals],
            "without_table": list(self.without_table),
            "unreadable": list(self.unreadable),
            "cautions": list(self.cautions),
        }


def _shown(ranges: Sequence[str]) -> str:
    more = len(ranges) - _MOST_RANGES
    return ", ".join([*ranges[:_MOST_RANGES], *([f"and {more:,} more"] if more > 0 else [])])


@dataclass(frozen=True)
class Collected:
    """The ledger and the definitions at an instant. `reports` are of whole windows or parts.

    `datasets_expire_before`: the datasets of windows that end before it may have expired.
    """

    as_of: datetime
    definitions: Sequence[ReportDefinition]
    refusals: Sequence[Refusal]
    calendar: Calendar
    reports: Sequence[Report]
    datasets_expire_before: datetime | None = None
    unreadable: Sequence[str] = ()
    """The ledger's items that this code cannot read. Each may be a window of the period."""


def read_completeness(
    session: Session,
    objects: Objects,
    period: Period,
    *,
    counts: Callable[[str], bool] = lambda _product: True,
) -> Completeness:
    """Read the target's ledger and manifests, and return the completeness of the period.

    Only the products that `counts` accepts make it incomplete.
    """
    target = session.target
    if isinstance(target, DeployedStack):
        ledger: Any = target.ledger
        definitions: Any = target.definitions
        as_of = datetime.now(UTC)
    else:
        ledger = target.ledger
        definitions, as_of = ledger.definitions, ledger.as_of
    # Read open work first: a report that finishes meanwhile is then read twice, not missed.
    work: OpenWork = ledger.open_work()
    calendar: Calendar = ledger.calendar()
    loaded, _ = loaded_definitions(definitions, work, calendar)
    first = datetime.combine(period.window_dates[0], datetime.min.time(), UTC)
    unreadable = [*work.unreadable, *calendar.unreadable]
    reports = {report.report_id: report for report in work.reports}
    for name in calendar.collects:
        for report in ledger.finished_reports(name, since=first, unreadable=unreadable):
            reports[report.report_id] = report
    # List the datasets first: the manifest of a window is written after its dataset.
    datasets = _datasets_in(objects, period)
    manifests = manifests_in(objects, period)
    named = {each["dataset"]["key"] for each in manifests if each["dataset"] is not None}
    if not named <= datasets:
        # A window may have been delivered between the two reads.
        datasets |= named & _datasets_in(objects, period)
    collected = Collected(
        as_of,
        loaded.definitions,
        loaded.refusals,
        calendar,
        tuple(reports.values()),
        datasets_expire_before=expires_before(session).get("data/"),
        unreadable=unreadable,
    )
    found = completeness_of(period, collected, manifests, datasets=datasets, counts=counts)
    return replace(found, announced=_announced(period, objects, work))


def _announced(period: Period, objects: Objects, work: OpenWork) -> Announced | None:
    """Return the last number of a month or a day, or None for other periods and without one.

    The days of a bill are in UTC, and those of the number in each definition's own zone. So the
    number says which announcement a bill follows, and the windows say what the bill has.
    """
    for length in (PeriodLength.MONTH, PeriodLength.DAY):
        local = LocalPeriod.of(period.since, length)
        if (local.start, local.end) == (period.since, period.until):
            names = (key.rpartition("/")[2] for key in objects.keys(local.prefix))
            numbers = [int(name.removesuffix(".json")) for name in names if _NUMBER.fullmatch(name)]
            if numbers:
                return Announced(local.label, max(numbers), local.label in work.marks)
    return None


def _datasets_in(objects: Objects, period: Period) -> set[str]:
    by = by_product(objects.keys("data/", period))
    return {key for keys in by.values() for key in keys}


def completeness_of(
    period: Period,
    collected: Collected,
    manifests: Iterable[Mapping[str, Any]],
    *,
    datasets: Iterable[str],
    counts: Callable[[str], bool] = lambda _product: True,
) -> Completeness:
    """Compare the windows of a period with the manifests.

    A listed definition has windows in the whole period, whenever it was added: the records of days
    before are no part of the bill. A removed definition has those that were planned or delivered,
    and those between them. `datasets` has the keys of the bucket's datasets. Only the products that
    `counts` accepts make the period incomplete.
    """
    manifests = list(manifests)
    by_name: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for manifest in manifests:
        if counts(manifest["product"]):
            by_name[manifest["definition"]].append(manifest)
    reports: dict[str, list[Report]] = defaultdict(list)
    for report in collected.reports:
        reports[report.definition].append(report)
    definitions = {each.name: each for each in collected.definitions}
    there = frozenset(datasets)
    strays: dict[str, list[Stray]] = defaultdict(list)
    for stray in strays_of(
        {key for key in there if counts(product_of(key) or "")}, manifests, period
    ):
        strays[stray.definition].append(stray)
    refusals = [
        each
        for each in refusals_of(collected.definitions, collected.refusals, collected.calendar)
        if counts(_first_product(each.definition, collected.calendar))
    ]
    windows = 0
    incomplete: list[Incomplete] = []
    without_table = []
    removed: list[str] = []
    listing = listing_of(collected.definitions, collected.refusals)
    known = sorted({*collected.calendar.collects, *by_name, *strays})
    for name in dict.fromkeys((*definitions, *known)):
        history = _History(
            name,
            definitions.get(name),
            collected,
            reports=reports[name],
            manifests=by_name[name],
            strays=strays[name],
        )
        if not counts(history.product):
            continue
        found = list(history.windows(period))
        windows += sum(len(each) for _, each in found)
        if found and history.product not in TABLES:
            without_table.append(name)
        for account_id, each in found:
            incomplete += history.flaws(account_id, each, there)
            # A list without readable names tells nothing of removals.
            if listing is not None and not listing.has(pair_of(name, account_id)):
                removed += history.end(account_id, period)
    order = list(Flaw)
    return Completeness(
        period,
        windows,
        sorted(incomplete, key=lambda each: order.index(each.flaw)),
        refusals,
        without_table,
        collected.unreadable,
        [*removed, *losses_of(chain.from_iterable(by_name.values()), period)],
        there,
    )


def _first_product(definition: str, calendar: Calendar) -> str:
    """Return the product that a definition collected first, or "" for an unknown one."""
    return str(json.loads(calendar.collects.get(definition, "{}")).get("product", ""))


def refusals_of(
    definitions: Sequence[ReportDefinition], refusals: Sequence[Refusal], calendar: Calendar
) -> list[Refusal]:
    """Return the refusals, and those of definitions that were changed under the same name."""
    changes = (change_of(each, calendar.collects.get(each.name)) for each in definitions)
    return [*refusals, *(each for each in changes if each is not None)]


class _History:
    """The windows of one definition: those of its calendar, of the ledger and of the manifests.

    Accounts are compared in lower case, as the planning compares them. `windows` spells them as
    they are listed.
    """

    def __init__(
        self,
        name: str,
        definition: ReportDefinition | None,
        collected: Collected,
        *,
        reports: Sequence[Report],
        manifests: Sequence[Mapping[str, Any]],
        strays: Sequence[Stray],
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
        products = (first.get("product"), *(each["product"] for each in manifests),
                    *(each.product for each in strays))  # fmt: skip
        self.product = next(filter(None, products), "")
        self._expire_before = collected.datasets_expire_before
        first_collects = collected.calendar.collects.get(name)
        self._is_planned = definition is not None and change_of(definition, first_collects) is None
        self._parts = [each for each in reports if each.is_half]
        self._reports: dict[tuple[str, datetime], list[Report]] = defaultdict(list)
        self._manifests: dict[tuple[str, datetime], list[Mapping[str, Any]]] = defaultdict(list)
        self._known: dict[str, set[Window]] = defaultdict(set)
        self._spelled: dict[str, str] = {}
        for report in reports:
            if not report.is_half:
                account = self._account(report.account_id)
                self._reports[account, report.window.start].append(report)
                self._known[account].add(report.window)
        for manifest in manifests:
            window = Window.from_dict(manifest["window"])
            account = self._account(manifest["account_id"])
            self._manifests[account, window.start].append(manifest)
            self._known[account].add(window)
        self._strays: dict[str, list[Window]] = defaultdict(list)
        for stray in strays:
            if stray.window is not None:
                window = replace(stray.window, time_zone=self._time_zone)
                self._strays[self._account(stray.account_id)].append(window)
        self._listed = {each.lower(): each for each in self._accounts()}
        self._spelled |= self._listed

    def _account(self, account_id: str) -> str:
        """Return an account in lower case, and keep its spelling."""
        self._spelled.setdefault(account_id.lower(), account_id)
        return account_id.lower()

    def windows(self, period: Period) -> Iterator[tuple[str, list[Window]]]:
        """Yield each account with its windows that have time of the period, oldest first."""
        for account in dict.fromkeys((*self._listed, *sorted({*self._known, *self._strays}))):
            account_id = self._spelled[account]
            known = sorted(
                (each for each in self._known.get(account, ()) if touches(each, period)),
                key=lambda each: each.start,
            )
            if account in self._listed and self._length is not None:
                cut = takewhile(
                    lambda each: each.start < period.end,
                    windows_ending_after(period.start, self._length, self._time_zone),
                )
                span = ALWAYS if self._definition is None else self._definition.span_of(account_id)
                there_already = set(known)
                found = [
                    each for each in tiled(cut, known) if each in there_already or span.has(each)
                ]
            else:
                found = list(_without_gaps(known))
            there = {(each.start, each.end) for each in found}
            found += [each for each in self._strays.get(account, ())
                      if (each.start, each.end) not in there]  # fmt: skip
            found.sort(key=lambda each: (each.start, each.end))
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
        of = self._definition
        is_closed = of is not None and of.has_closed(account_id)
        can_backfill = self._is_planned and (is_closed or account_id.lower() in self._listed)
        oldest = oldest_date(self.product, self._time_zone, self._as_of) if can_backfill else None
        for flaw, each in flawed.items():
            withdrawn = self._withdrawn(account_id, each) if flaw is Flaw.WITHDRAWN else ()
            yield Incomplete(
                self._name,
                account_id,
                flaw,
                tuple(each),
                self._length,
                oldest,
                is_closed=is_closed,
                report_ids=tuple(withdrawn),
            )

    def end(self, account_id: str, period: Period) -> Iterator[str]:
        """Yield a sentence if the last window of a removed account is before the period's end."""
        known = self._known.get(account_id.lower())
        if not known or account_id.lower() in self._listed:
            return
        last = max(known, key=lambda each: each.end)
        if last.end < period.end:
            yield (
                f"{self._name}, {account_id}: not in the report definitions any more; the last "
                f"window is of {last.last_date}, and later usage is not collected."
            )

    def _withdrawn(self, account_id: str, windows: Sequence[Window]) -> Iterator[str]:
        """Yield the last revision of each withdrawn window."""
        for window in windows:
            yield max(
                self._reports[account_id.lower(), window.start], key=lambda each: each.delay_days
            ).report_id

    def _accounts(self) -> Sequence[str]:
        """Return the accounts that the schedule collects. The one planned last is the API key."""
        if self._definition is None:
            return ()
        named = self._definition.account_ids
        if THE_API_KEY not in named:
            return named
        if self._cursors:
            return (max(self._cursors, key=lambda each: (self._cursors[each], each))[0],)
        return [self._spelled[each] for each in sorted(self._known)] or named

    def _flaw(self, account_id: str, window: Window, datasets: frozenset[str]) -> Flaw | None:
        account = account_id.lower()
        manifests = self._manifests.get((account, window.start), ())
        keys = {each["dataset"]["key"] for each in manifests if each["dataset"] is not None}
        reports = self._reports.get((account, window.start), ())
        is_open = any(not each.is_at_end for each in reports)
        strays = {(each.start, each.end) for each in self._strays.get(account, ())}
        if not is_open and (window.start, window.end) in strays:
            return Flaw.WITHOUT_MANIFEST
        if not keys <= datasets:
            is_old = self._expire_before is not None and window.end < self._expire_before
            return Flaw.EXPIRED if is_old else Flaw.LOST
        if any(each["revision"] == Revision.FINAL for each in manifests):
            return None
        states = {each.state for each in self._with_parts(reports)}
        latest = max(reports, key=lambda each: each.delay_days, default=None)
        found = {
            Flaw.HELD: State.HELD in states,
            Flaw.FAILED: State.FAILED in states,
            Flaw.PRELIMINARY: bool(manifests),
            Flaw.LOST: State.DELIVERED in states,
            Flaw.UNDER_WAY: is_open,
            Flaw.WITHDRAWN: latest is not None
            and latest.state is State.CANCELLED
            and latest.withdrawn_at is not None,
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


def _without_gaps(known: Sequence[Window]) -> Iterator[Window]:
    """Yield windows, and one window for each gap between them."""
    for place, window in enumerate(known):
        if place and known[place - 1].end < window.start:
            yield Window(known[place - 1].end, window.start, window.time_zone)
        yield window
