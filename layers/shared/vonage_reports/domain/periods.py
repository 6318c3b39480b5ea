"""Periods: a month or a day, local to each definition, and the rules by which one is complete.

docs/finance.md explains the rules, and docs/objects.md the object of a complete period.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Context, Decimal
from functools import lru_cache
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo

from vonage_reports.domain.backfill import Backfill
from vonage_reports.domain.calendar import Delays, by_definition, due_at, finals_planned_to
from vonage_reports.domain.definitions import Refusal, ReportDefinition
from vonage_reports.domain.objects import SCHEMA_VERSION, manifest_key
from vonage_reports.domain.removal import DEFINITION_REMOVED, Removed, is_name, withdrawn_at
from vonage_reports.domain.report import Report, Revision, State
from vonage_reports.domain.settings import PeriodLength
from vonage_reports.domain.spend import CAPPED
from vonage_reports.domain.subaccounts import ALWAYS, Span
from vonage_reports.domain.windows import (
    SECOND,
    Window,
    WindowLength,
    format_instant,
    local_interval,
    tiled,
    windows_ending_after,
)

_EXACT = Context(prec=60)

_MOST_NAMED = 3
_DAY = timedelta(days=1)


@dataclass(frozen=True, order=True)
class LocalPeriod:
    """The local dates from `start` to `end` (exclusive): a month or a day in each time zone."""

    start: date
    end: date

    @classmethod
    def of(cls, day: date, length: PeriodLength) -> "LocalPeriod":
        """Return the period of a local date."""
        if length is PeriodLength.DAY:
            return cls(day, day + _DAY)
        first = day.replace(day=1)
        return cls(first, (first + timedelta(days=31)).replace(day=1))

    @classmethod
    def parse(cls, label: str) -> "LocalPeriod":
        """Reverse `label`. Raises ValueError."""
        try:
            return cls.of(date.fromisoformat(label), PeriodLength.DAY)
        except ValueError:
            return cls.of(date.fromisoformat(f"{label}-01"), PeriodLength.MONTH)

    @property
    def length(self) -> PeriodLength:
        """Whether this is a month or a day."""
        return PeriodLength.DAY if self.end - self.start == _DAY else PeriodLength.MONTH

    @property
    def label(self) -> str:
        """The month (2026-11) or the day (2026-11-05)."""
        return f"{self.start:%Y-%m}" if self.length is PeriodLength.MONTH else f"{self.start}"

    def interval(self, time_zone: str) -> tuple[datetime, datetime]:
        """Return the first instant of the period, and the first one after it."""
        return _interval(self, time_zone)

    def touches(self, window: Window) -> bool:
        """Whether a window has time of the period."""
        start, end = self.interval(window.time_zone)
        return window.start < end and window.end > start

    @property
    def prefix(self) -> str:
        """The beginning of the keys of the period's objects."""
        return f"periods/{self.label.replace('-', '/', 1)}/"

    def key(self, number: int) -> str:
        """Return the key of the object that says that the period is complete."""
        return f"{self.prefix}{number}.json"


@lru_cache(maxsize=4096)
def _interval(period: LocalPeriod, time_zone: str) -> tuple[datetime, datetime]:
    return local_interval(period.start, period.end, time_zone)


def periods_of(window: Window, length: PeriodLength) -> list[LocalPeriod]:
    """Return the periods that a window touches, in order."""
    if length is PeriodLength.NONE:
        return []
    zone = ZoneInfo(window.time_zone)
    found = [LocalPeriod.of(window.start.astimezone(zone).date(), length)]
    while found[-1].end <= window.last_date:
        found.append(LocalPeriod.of(found[-1].end, length))
    return found


@dataclass(frozen=True, order=True)
class Blocker:
    """A reason for which a period is not complete."""

    definition: str
    since: date | None
    """The first date that is concerned. None: all dates are."""
    reason: str
    account_id: str = ""
    until: date | None = None
    """The first date that is not concerned any more, or None."""
    is_asked_for: bool = False
    """Whether the operator asked for the window, so that it may be late."""

    def __str__(self) -> str:
        """Name the definition, the date and the reason."""
        names = [self.definition, self.account_id, "" if self.since is None else f"{self.since}"]
        return f"{' '.join(filter(None, names))} ({self.reason})"


def sentence(blockers: Sequence[Blocker]) -> str:
    """Name the first blockers, and count the others."""
    named = [f"{each}" for each in blockers[:_MOST_NAMED]]
    more = len(blockers) - len(named)
    return "; ".join([*named, *([f"and {more:,} more"] if more else [])])


def final_days(period: LocalPeriod, blockers: Iterable[Blocker]) -> int:
    """Count the days of a period that no blocker concerns."""
    days = set(range(period.start.toordinal(), period.end.toordinal()))
    for each in blockers:
        since, until = each.since or period.start, each.until or period.end
        days.difference_update(range(since.toordinal(), until.toordinal()))
    return len(days)


class Unfinished:
    """The blockers that the open reports, the backfills and the cursors show.

    `delays` are those that an earlier run saw, by definition. `refusals` are of definitions that
    are not collected, so that the windows that they miss are unknown. A definition that is not in
    the ledger's `collects` was never planned, so its refusal hides no window. `removed` are the
    accounts that may be missing from the report definitions by mistake.
    """

    def __init__(
        self,
        *,
        reports: Iterable[Report],
        backfills: Sequence[Backfill],
        definitions: Sequence[ReportDefinition],
        refusals: Sequence[Refusal],
        cursors: Mapping[tuple[str, str, int], datetime],
        delays: Mapping[str, Delays],
        collects: Mapping[str, str],
        removed: Sequence[Removed],
        length: PeriodLength,
        now: datetime,
    ) -> None:
        self._backfills = backfills
        self._refusals = [
            each for each in refusals if each.definition in collects or not is_name(each.definition)
        ]
        self._definitions = definitions
        self._open: dict[LocalPeriod, list[Report]] = defaultdict(list)
        for report in reports:
            if not report.is_half:
                for period in periods_of(report.window, length):
                    self._open[period].append(report)
        self._planned_to: dict[str, list[tuple[datetime, str, str, str]]] = defaultdict(list)
        cursors_of = by_definition(cursors)
        for each in definitions:
            own, seen = cursors_of.get(each.name, {}), delays.get(each.name)
            for account_id, planned_to in finals_planned_to(each, own, seen, now):
                until = each.span_of(account_id).until
                if until is not None and planned_to >= until:
                    # Vonage does not list the sub-account any more, and its last window is planned.
                    continue
                self._planned_to[each.time_zone].append(
                    (planned_to, each.name, account_id, "not planned yet")
                )
        for gone in removed:
            name, account_id = gone.definition, gone.account_id
            if name in collects:
                planned_to = _final_planned_to(gone, cursors_of[name], delays.get(name))
                self._planned_to[json.loads(collects[name])["time_zone"]].append(
                    (planned_to, name, account_id, _reason_of(gone))
                )
        for found in self._planned_to.values():
            found.sort()

    def of(self, period: LocalPeriod) -> list[Blocker]:
        """Return the blockers of a period, in order."""
        return sorted(self._of(period), key=lambda each: (each.since or date.min, each.definition))

    def _of(self, period: LocalPeriod) -> Iterator[Blocker]:
        for refusal in self._refusals:
            yield Blocker(refusal.definition, None, f"{refusal.field} is refused")
        for report in self._open.get(period, ()):
            yield blocker(report, _why_open(report))
        yield from self._unlisted(period)
        for backfill in self._backfills:
            if backfill.start < period.end and backfill.end > period.start:
                since = max(backfill.start, period.start)
                name, end = backfill.definition.name, backfill.end
                yield Blocker(name, since, "a backfill is running", until=end, is_asked_for=True)
        yield from self._unplanned(period)

    def _unlisted(self, period: LocalPeriod) -> Iterator[Blocker]:
        """Yield the definitions whose list of sub-accounts is older than the period's end.

        A later list may have an account that had records in the period.
        """
        for each in self._definitions:
            if each.followed is not None:
                read_at = each.followed.read_at
                _, end = period.interval(each.time_zone)
                if read_at is None:
                    yield Blocker(each.name, None, "the list of sub-accounts is not read yet")
                elif read_at < end:
                    day = read_at.astimezone(ZoneInfo(each.time_zone)).date()
                    reason = f"the list of sub-accounts is of {format_instant(read_at)}"
                    yield Blocker(each.name, max(day, period.start), reason)

    def _unplanned(self, period: LocalPeriod) -> Iterator[Blocker]:
        for time_zone, planned in self._planned_to.items():
            _, end = period.interval(time_zone)
            for planned_to, name, account_id, reason in planned:
                if planned_to >= end:
                    break
                since = planned_to.astimezone(ZoneInfo(time_zone)).date()
                yield Blocker(name, since, reason, account_id)

    def last_due(self, period: LocalPeriod) -> datetime | None:
        """Return when the last window of the period is due, or None if nothing is collected."""
        known = {name for each in self._planned_to.values() for _, name, *_ in each}
        found = (_last_due(each, period) for each in self._definitions if each.name in known)
        return max(found, default=None)


def _final_planned_to(
    gone: Removed, cursors: Mapping[tuple[str, str, int], datetime], delays: Delays | None
) -> datetime:
    """Return the end of a removed account's windows that are planned as final."""
    account_id = gone.account_id.lower()
    ends = {days: end for (_, each, days), end in cursors.items() if each.lower() == account_id}
    final = max(delays) if delays else max(ends)
    return ends.get(final, min(ends.values()))


def _reason_of(gone: Removed) -> str:
    return (
        f"not in the report definitions since {gone.since:%Y-%m-%d}, counts as removed from "
        f"{withdrawn_at(gone.since):%Y-%m-%d} on"
    )


def _why_open(report: Report) -> str:
    """Return why a window is open, as far as its report shows it."""
    if report.state is State.PLANNED and report.error == CAPPED:
        return "waits for MaxBilledRecordsMonth"
    if report.state is State.PLANNED and report.error == DEFINITION_REMOVED:
        return "not in the report definitions"
    if report.state is State.PLANNED and report.denied_since is not None:
        return "Vonage refuses the account or the product"
    return report.state


def _last_due(definition: ReportDefinition, period: LocalPeriod) -> datetime:
    _, end = period.interval(definition.time_zone)
    windows = windows_ending_after(end - SECOND, definition.window, definition.time_zone)
    return due_at(next(windows), definition.delay_days[-1], definition.product)


def blocker(report: Report, reason: str) -> Blocker:
    """Return the blocker that a report is."""
    return Blocker(
        report.definition,
        report.window.first_date,
        reason,
        report.account_id,
        until=report.window.last_date + _DAY,
        is_asked_for=report.is_asked_for,
    )


@dataclass(frozen=True)
class Collecting:
    """How a definition collects. `accounts` are those that are listed, perhaps none.

    `span_of` returns the time in which an account is collected.
    """

    name: str
    product: str
    length: WindowLength
    time_zone: str
    accounts: Sequence[str] = ()
    span_of: Callable[[str], Span] = lambda _: ALWAYS


def collecting_of(
    definitions: Sequence[ReportDefinition],
    collects: Mapping[str, str],
    removed: Sequence[Removed],
) -> Iterator[Collecting]:
    """Yield the listed definitions, and the others that were planned. `collects` is the ledger's.

    The definitions are unchanged since they were planned first. The accounts in `removed` count as
    listed, because they may be missing from the report definitions by mistake.
    """
    missed: dict[str, list[str]] = defaultdict(list)
    for gone in removed:
        missed[gone.definition].append(gone.account_id)
    for each in definitions:
        accounts = (*each.account_ids, *missed[each.name])
        yield Collecting(
            each.name, each.product, each.window, each.time_zone, accounts, each.span_of
        )
    for name in sorted(collects.keys() - {each.name for each in definitions}):
        fixed = json.loads(collects[name])
        length = WindowLength(fixed["window"])
        yield Collecting(name, fixed["product"], length, fixed["time_zone"], missed[name])


@dataclass(frozen=True)
class AccountPart:
    """One account of a definition in a period.

    Attributes:
        account_id: The account.
        windows: Its windows from the first collected one on, oldest first.
        members: The reports whose manifests count.
        withdrawn: The reports that the operator withdrew. Some have an earlier delivery.
        not_collected: The times of the period without a window, oldest first. For a listed
            account, the time before its first window. For another one, all windows that it lacks.
    """

    account_id: str
    windows: tuple[Window, ...]
    members: tuple[Report, ...]
    withdrawn: tuple[Report, ...]
    not_collected: tuple[tuple[datetime, datetime], ...] = ()


@dataclass
class Examination:
    """The parts of a period by definition, and the blockers that its finished reports show."""

    parts: list[tuple[Collecting, list[AccountPart]]] = field(default_factory=list)
    blockers: list[Blocker] = field(default_factory=list)

    @property
    def members(self) -> list[Report]:
        """The reports whose manifests count, by definition, account and window."""
        return [each for _, accounts in self.parts for part in accounts for each in part.members]


_Known = Mapping[Window, Sequence[Report]]


def examine(
    collecting: Collecting,
    period: LocalPeriod,
    reports: Iterable[Report],
    *,
    collected_before: Callable[[Collection[str]], Collection[str]],
    into: Examination,
) -> None:
    """Add a definition's finished reports that touch a period to an examination.

    A listed account has every window of the period from its first one on. `collected_before`
    returns the accounts among some, in lower case, that have reports before the period. A window
    that such an account lacks at the beginning of the period is a gap.

    No backfill can collect a window of an account that is not listed. So such an account has the
    windows that were collected, and the examination names the time that it lacks.
    """
    known = _by_account(reports, period)
    listed = {each.lower(): each for each in collecting.accounts}
    named = {**{each: _account_id(found) for each, found in known.items()}, **listed}
    begin, end = period.interval(collecting.time_zone)
    cut = list(
        takewhile(
            lambda window: window.start < end,
            windows_ending_after(begin, collecting.length, collecting.time_zone),
        )
    )
    windows: dict[str, list[Window]] = {}
    lacking: dict[str, list[Window]] = {}
    for account_id in named:
        found = known.get(account_id, {})
        since = min(map(_start, [*cut[:1], *found]), default=None)
        span = collecting.span_of(account_id)
        every = [
            window
            for window in tiled(cut, found, since=since)
            if window in found or span.has(window)
        ]
        if account_id in listed and cut:
            windows[account_id] = every
        else:
            windows[account_id] = sorted(found, key=_start)
            lacking[account_id] = [window for window in every if window not in found]
    late = {each for each, its in windows.items() if its and its[0] not in known.get(each, {})}
    begun = collected_before(late) if late else ()
    accounts = []
    for account_id, every in windows.items():
        found = known.get(account_id, {})
        first = begin if account_id in begun else min(map(_start, found), default=None)
        # The first window may begin before the period.
        its = [each for each in every if first is not None and each.end > first]
        if its:
            lacks = account_id in late and account_id not in begun
            head = [(every[0].start, its[0].start)] if lacks else []
            gaps = [*head, *((each.start, each.end) for each in lacking.get(account_id, ()))]
            not_collected = _joined(gaps, begin, end)
            part, blockers = _part(
                collecting, named[account_id], its, found, not_collected=not_collected
            )
            accounts.append(part)
            into.blockers += blockers
    if accounts:
        into.parts.append((collecting, accounts))


def _joined(
    times: Iterable[tuple[datetime, datetime]], begin: datetime, end: datetime
) -> tuple[tuple[datetime, datetime], ...]:
    """Join times that meet, oldest first, and cut them to the time from `begin` to `end`."""
    joined: list[tuple[datetime, datetime]] = []
    for each in times:
        start, until = max(each[0], begin), min(each[1], end)
        if joined and joined[-1][1] == start:
            start = joined.pop()[0]
        if start < until:
            joined.append((start, until))
    return tuple(joined)


def _by_account(
    reports: Iterable[Report], period: LocalPeriod
) -> dict[str, dict[Window, list[Report]]]:
    known: dict[str, dict[Window, list[Report]]] = defaultdict(lambda: defaultdict(list))
    for report in reports:
        if not report.is_half and period.touches(report.window) and was_collected(report):
            known[report.account_id.lower()][report.window].append(report)
    return known


def _account_id(known: _Known) -> str:
    return next(iter(known.values()))[0].account_id


def _start(window: Window) -> datetime:
    return window.start


def was_collected(report: Report) -> bool:
    """Whether a report shows that its window is collected. A cancelled backfill collects none."""
    is_cancelled = report.state is State.CANCELLED and report.withdrawn_at is None
    return not is_cancelled or _is_delivered(report)


def _is_delivered(report: Report) -> bool:
    """Whether the window was delivered by this report, perhaps before a later collection."""
    return report.rows is not None or bool(report.delivered_from)


def _part(
    collecting: Collecting,
    account_id: str,
    windows: Sequence[Window],
    known: _Known,
    *,
    not_collected: tuple[tuple[datetime, datetime], ...],
) -> tuple[AccountPart, list[Blocker]]:
    members, withdrawn, blockers = [], [], []
    for window in windows:
        reports = known.get(window, ())
        latest = max(reports, key=lambda each: each.delay_days, default=None)
        if latest is None:
            since, until = window.first_date, window.last_date + _DAY
            blockers.append(Blocker(collecting.name, since, "missing", account_id, until))
        elif latest.state is State.CANCELLED:
            withdrawn.append(latest)
            delivered = filter(_is_delivered, reports)
            # The bucket still has the rows of an earlier delivery.
            members += sorted(delivered, key=lambda each: each.delay_days)[-1:]
        elif latest.state is not State.DELIVERED:
            blockers.append(blocker(latest, _why_open(latest)))
        elif latest.revision is not Revision.FINAL:
            blockers.append(blocker(latest, "only the preliminary revision is delivered"))
        else:
            members.append(latest)
    part = AccountPart(account_id, tuple(windows), tuple(members), tuple(withdrawn), not_collected)
    return part, blockers


def entry_of(report: Report, manifest: Mapping[str, Any], version_id: str) -> dict[str, Any]:
    """Return the facts of a manifest that a period needs, and the version of its report.

    Raises ValueError for a damaged manifest.
    """
    try:
        totals = [
            {
                "currency": each["currency"],
                "total_price": f"{Decimal(each['total_price']):f}",
                **{name: int(each[name]) for name in _COUNTS},
                **{name: int(each[name]) for name in _LATER_COUNTS if name in each},
            }
            for each in manifest["totals"]
        ]
        return {
            "report_id": report.report_id,
            "version": report.version,
            "version_id": version_id,
            "revision": manifest["revision"],
            "rows": int(manifest["rows"]),
            "totals": totals,
        }
    except (ArithmeticError, LookupError, TypeError) as error:
        raise ValueError(f"the manifest of {report.report_id} is damaged: {error!r}") from error


_COUNTS = ("rows", "rows_without_price")

_LATER_COUNTS = ("rows_without_time",)
"""Counts that manifests of earlier versions do not have."""


def changes(
    examination: Examination,
    entries: Mapping[str, Mapping[str, Any]],
    last: Mapping[str, Any] | None,
) -> list[str]:
    """Return the report_ids that differ from the last object of the period, in order.

    `entries` are the facts of the members' manifests, by report_id.
    """
    now = {
        name: entries[name]["version_id"]
        for name in (each.report_id for each in examination.members)
    }
    before = (
        {}
        if last is None
        else {each["report_id"]: each["version_id"] for each in last["manifests"]}
    )
    changed = {name for name, _ in now.items() ^ before.items()}
    gone = (
        set()
        if last is None
        else {name for each in last["definitions"] for name in each["withdrawn"]}
    )
    return sorted(changed | (gone ^ _withdrawn(examination)))


def _withdrawn(examination: Examination) -> set[str]:
    return {
        report.report_id
        for _, accounts in examination.parts
        for part in accounts
        for report in part.withdrawn
    }


def complete(
    period: LocalPeriod,
    number: int,
    examination: Examination,
    entries: Mapping[str, Mapping[str, Any]],
    changed: Sequence[str],
) -> dict[str, Any]:
    """Make the object of a complete period. The same manifests make the same object."""
    return {
        "schema_version": SCHEMA_VERSION,
        "period": period.label,
        "from": period.start.isoformat(),
        "until": period.end.isoformat(),
        "number": number,
        "changed": list(changed),
        "definitions": [
            _definition(period, collecting, accounts, entries)
            for collecting, accounts in examination.parts
        ],
        "manifests": [
            _manifest(report, entries[report.report_id]) for report in examination.members
        ],
    }


def _definition(
    period: LocalPeriod,
    collecting: Collecting,
    accounts: Sequence[AccountPart],
    entries: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    start, end = period.interval(collecting.time_zone)
    windows = [window for part in accounts for window in part.windows]
    rows = sum(entries[report.report_id]["rows"] for part in accounts for report in part.members)
    return {
        "definition": collecting.name,
        "product": collecting.product,
        "time_zone": collecting.time_zone,
        "start": format_instant(start),
        "end": format_instant(end),
        "accounts": [part.account_id for part in accounts],
        "windows": len(windows),
        "rows": rows,
        "first_window": format_instant(min(map(_start, windows))),
        "crosses_the_edge": any(each.start < start or each.end > end for each in windows),
        "not_collected": [
            {
                "account_id": part.account_id,
                "start": format_instant(start),
                "end": format_instant(end),
            }
            for part in accounts
            for start, end in part.not_collected
        ],
        "withdrawn": [report.report_id for part in accounts for report in part.withdrawn],
        "totals": [total for part in accounts for total in _totals(part, entries)],
    }


def _totals(
    part: AccountPart, entries: Mapping[str, Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield the exact total of each currency. Unknown is the number of rows without a time."""
    by_currency: dict[str | None, list[Mapping[str, Any]]] = defaultdict(list)
    for report in part.members:
        for total in entries[report.report_id]["totals"]:
            by_currency[total["currency"]].append(total)
    for currency, found in sorted(by_currency.items(), key=lambda each: each[0] or ""):
        price = Decimal(0)
        for each in found:
            price = _EXACT.add(price, Decimal(each["total_price"]))
        without_time = [each.get("rows_without_time") for each in found]
        yield {
            "account_id": part.account_id,
            "currency": currency,
            "total_price": f"{price.normalize(_EXACT):f}",
            "rows": sum(each["rows"] for each in found),
            "rows_without_price": sum(each["rows_without_price"] for each in found),
            "records_without_time": (
                None if None in without_time else sum(each or 0 for each in without_time)
            ),
        }


def _manifest(report: Report, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "report_id": report.report_id,
        "definition": report.definition,
        "account_id": report.account_id,
        "window": report.window.to_dict(),
        "revision": entry["revision"],
        "rows": entry["rows"],
        "key": manifest_key(report),
        "version_id": entry["version_id"],
    }
