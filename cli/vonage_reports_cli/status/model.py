"""The ledger as `status` shows it: definitions, accounts, their windows, and backfills.

Pure: it uses the domain and the content of the ledger, but no clock and no AWS.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from functools import cached_property
from heapq import nlargest
from itertools import takewhile
from zoneinfo import ZoneInfo

from vonage_reports.aws.ledger_items import Calendar, OpenWork
from vonage_reports.domain.backfill import Backfill, Progress, oldest_date
from vonage_reports.domain.definitions import Refusal, ReportDefinition, change_of
from vonage_reports.domain.removal import listing_of
from vonage_reports.domain.report import Report, Revision, State
from vonage_reports.domain.subaccounts import ALWAYS
from vonage_reports.domain.windows import Window, WindowLength, tiled, windows_ending_after

THE_API_KEY = "(the API key)"
"""Shown as the account of a definition without account_ids. The real account is the API key, which
only the secret holds."""

_IN_FLIGHT = frozenset({State.SUBMITTING, State.SUBMITTED, State.SPLIT, State.CONVERTING})
_UNCOLLECTED = frozenset({State.CANCELLED, State.SUPERSEDED})
_LATEST = 10
"""How many reports of a definition a status names, besides those with problems."""

_COUNTS = ("delivered", "in_flight", "waiting", "held", "failed", "missing")


@dataclass(frozen=True)
class Content:
    """Ledger and definitions at the instant `as_of`; finished reports by definition name.

    `spans` has the finished reports' span of each definition. Without one, `finished` has all that
    Vonage has records for.
    """

    as_of: datetime
    definitions: Sequence[ReportDefinition]
    refusals: Sequence[Refusal]
    work: OpenWork
    calendar: Calendar
    finished: Mapping[str, Sequence[Report]]
    ended_backfills: Sequence[Backfill] = ()
    unreadable: Sequence[str] = ()
    """The ledger's items that this code cannot read."""
    spans: Mapping[str, "Span"] = field(default_factory=dict)
    since: date | None = None
    """The first date of every span, in the time zone of its definition."""
    pending: str | None = None
    """The change of the definitions by the next pass of submit_reports."""

    @property
    def backfills(self) -> tuple[Backfill, ...]:
        """The running backfills, then the ended ones that do not run again."""
        running = {each.name for each in self.work.backfills}
        ended = (each for each in self.ended_backfills if each.name not in running)
        return (*self.work.backfills, *ended)


@dataclass(frozen=True)
class Span:
    """The time that a status covers: from the `start` of a window on.

    `collected_before` has the accounts with windows before `start`, in lower case. Their missing
    windows count from `start` on, and those of other accounts from their first window on.
    """

    start: datetime
    collected_before: frozenset[str] = frozenset()


class Standing(StrEnum):
    """Whether a definition and its account are collected, and if not, why."""

    COLLECTED = "collected"
    REMOVED = "removed"
    """The definition or the account is not in the report definitions any more."""
    REFUSED = "refused"
    """The report definitions have it, or may have it, but submit_reports refuses them."""


@dataclass(frozen=True)
class Delivered:
    """The newest delivered window of an account."""

    window: Window
    revision: Revision
    rows: int | None

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {**self.window.to_dict(), "revision": self.revision, "rows": self.rows}


@dataclass(frozen=True)
class Row:
    """One definition and account, with the number of windows in each state.

    A delivered window that is collected again counts in `delivered` too, because its delivery
    stays. Parts of split windows count only in `held`, the reports that the operator must resolve.
    """

    definition: str
    account_id: str
    length: WindowLength
    time_zone: str
    standing: Standing
    last_delivered: Delivered | None
    delivered: int
    in_flight: int
    waiting: int
    held: int
    failed: int
    missing: int

    @property
    def is_collected(self) -> bool:
        """Whether the schedule collects the definition and the account."""
        return self.standing is Standing.COLLECTED

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        last = self.last_delivered
        return {
            "definition": self.definition,
            "account_id": self.account_id,
            "window": self.length,
            "time_zone": self.time_zone,
            "standing": self.standing,
            "last_delivered": None if last is None else last.to_dict(),
            **{name: getattr(self, name) for name in _COUNTS},
        }


@dataclass(frozen=True)
class Advance:
    """The progress of a backfill in reports, one for each window and account.

    `over` counts finished and `skipped` reports. A backfill skips a report that the ledger has
    already. `under_way` counts open reports.
    """

    name: str
    progress: Progress
    total: int
    over: int
    skipped: int
    under_way: int

    @property
    def collected(self) -> int:
        """Reports finished since the backfill began."""
        return self.over - self.skipped

    @property
    def is_running(self) -> bool:
        """Whether the backfill still plans reports, or has open ones."""
        return self.progress is Progress.RUNNING or self.under_way > 0

    def seconds_left(self, seconds: float, *, collected_before: int = 0) -> float | None:
        """Estimate the time left at the pace of the last `seconds`, None without progress."""
        collected = self.collected - collected_before
        return (self.total - self.over) * seconds / collected if collected > 0 else None


def advance_of(backfill: Backfill, open_reports: Iterable[Report]) -> Advance:
    """Return the progress of a backfill; `open_reports` may include reports of others."""
    under_way = sum(
        report.backfill == backfill.name and not report.is_half for report in open_reports
    )
    return Advance(
        name=backfill.name,
        progress=backfill.progress,
        total=backfill.total,
        over=max(backfill.seen_to - under_way, 0),
        skipped=backfill.skipped,
        under_way=under_way,
    )


@dataclass(frozen=True)
class AccountReports:
    """The reports of one definition and account.

    `windows` has the reports of whole windows by their start; `failed_parts` has the failed parts
    of split windows by the report_id of the whole.
    """

    account_id: str
    windows: Mapping[datetime, Sequence[Report]]
    held_parts: Sequence[Report]
    failed_parts: Mapping[str, Sequence[Report]]

    @cached_property
    def whole(self) -> list[Report]:
        """The reports of whole windows."""
        return [report for reports in self.windows.values() for report in reports]

    @property
    def held(self) -> list[Report]:
        """The reports that the operator must resolve, parts included."""
        return [report for report in self.whole if report.state is State.HELD] + [*self.held_parts]

    @cached_property
    def failed(self) -> list[Report]:
        """The failed reports of whole windows, oldest first.

        A failed report is left out once the same or a later revision of its window is delivered.
        """
        failed = [
            report
            for report in self.whole
            if report.state is State.FAILED
            and not any(
                other.state is State.DELIVERED and other.delay_days >= report.delay_days
                for other in self.windows[report.window.start]
            )
        ]
        return sorted(failed, key=lambda each: each.window.start)

    @cached_property
    def delivered(self) -> list[Report]:
        """The last revision of each delivered window, oldest first."""
        by_window = {
            start: [report for report in reports if report.state is State.DELIVERED]
            for start, reports in sorted(self.windows.items())
        }
        return [
            max(reports, key=lambda each: each.delay_days)
            for reports in by_window.values()
            if reports
        ]


@dataclass(frozen=True)
class MissingWindow:
    """A window that is missing, the reason if known, and the obstacle to a backfill if any."""

    window: Window
    reason: str | None
    why_no_backfill: str | None


@dataclass(frozen=True)
class DefinitionHistory:
    """Everything that the ledger has under one definition name.

    Product, window length and time zone are the first that were collected. `definition` is None
    if it was removed or, with `is_refused`, refused. `to_come` has the starts and accounts of
    windows that a running backfill is going to plan. `span` limits the windows.
    """

    name: str
    product: str
    length: WindowLength
    time_zone: str
    definition: ReportDefinition | None
    change: Refusal | None
    reports: Sequence[Report]
    cursors: Mapping[tuple[str, int], datetime]
    to_come: frozenset[tuple[datetime, str]]
    is_refused: bool
    span: Span | None
    as_of: datetime = field(repr=False)

    @cached_property
    def accounts(self) -> list[AccountReports]:
        """The definition's accounts, then other accounts that the ledger has."""
        windows: dict[str, dict[datetime, list[Report]]] = defaultdict(lambda: defaultdict(list))
        held_parts: dict[str, list[Report]] = defaultdict(list)
        failed_parts: dict[str, dict[str, list[Report]]] = defaultdict(lambda: defaultdict(list))
        for report in self.reports:
            if report.root is None:
                windows[report.account_id][report.window.start].append(report)
            elif report.state is State.HELD:
                held_parts[report.account_id].append(report)
            elif report.state is State.FAILED:
                failed_parts[report.account_id][report.root].append(report)
        known = {*windows, *held_parts, *(account for account, _ in self.cursors)}
        named = self._account_ids
        if THE_API_KEY in named and known:
            named = tuple(each for each in named if each != THE_API_KEY)
        return [
            AccountReports(
                account, windows.get(account, {}), held_parts[account], failed_parts[account]
            )
            for account in (*named, *sorted(known - set(named)))
        ]

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """All windows of the span from the ledger's first to its last, oldest first.

        The time zone's present rules cut them, and the ledger's own windows may differ.
        """
        starts = [report.window.start for report in self.reports if report.root is None]
        if not starts:
            return ()
        first, last = min(starts), max(starts)
        if self.span is not None:
            is_known = bool(self.span.collected_before)
            first = self.span.start if is_known else max(first, self.span.start)
        windows = windows_ending_after(first, self.length, self.time_zone)
        return tuple(takewhile(lambda window: window.start <= last, windows))

    @cached_property
    def open_reports(self) -> list[Report]:
        """The open reports, parts included, without the held ones; oldest first."""
        is_open = (
            report
            for report in self.reports
            if not report.is_at_end and report.state is not State.HELD
        )
        return sorted(is_open, key=lambda each: each.window.start)

    @property
    def was_planned(self) -> bool:
        """Whether a window was ever planned, also one before the span."""
        earlier = self.span is not None and bool(self.span.collected_before)
        return bool(self.reports or self.cursors) or earlier

    @property
    def latest(self) -> list[Report]:
        """The reports of the latest windows, newest first, without the parts of split windows."""
        whole = (each for each in self.reports if each.root is None)
        order = nlargest(_LATEST, whole, key=lambda each: (each.window.start, each.report_id))
        return list(order)

    @property
    def scheduled_accounts(self) -> Sequence[str]:
        """The accounts that the schedule plans. The account that it planned last is the API key."""
        if THE_API_KEY not in self._account_ids or not self.cursors:
            return self._account_ids
        account_id, _ = max(self.cursors, key=lambda each: (self.cursors[each], each))
        return (account_id,)

    @cached_property
    def oldest_date(self) -> date:
        """The first date that a backfill can collect."""
        return oldest_date(self.product, self.time_zone, self.as_of)

    def row(self, account: AccountReports, missing: Sequence[MissingWindow]) -> Row:
        """Count the windows of an account."""
        states = Counter(report.state for report in account.whole)
        delivered = [report for report in account.whole if is_delivered(report)]
        newest = max(delivered, key=lambda each: (each.window.end, each.delay_days), default=None)
        return Row(
            definition=self.name,
            account_id=account.account_id,
            length=self.length,
            time_zone=self.time_zone,
            standing=self.standing_of(account.account_id),
            last_delivered=None if newest is None else _delivered(newest),
            delivered=len({report.window.start for report in delivered}),
            in_flight=sum(states[state] for state in _IN_FLIGHT),
            waiting=states[State.PLANNED],
            held=len(account.held),
            failed=len({report.window.start for report in account.failed}),
            missing=len(missing),
        )

    def standing_of(self, account_id: str) -> Standing:
        """Return whether an account of the definition is collected."""
        if self.is_refused or self.change is not None:
            return Standing.REFUSED
        is_over = not self._is_listed(account_id) or self.has_closed(account_id)
        return Standing.REMOVED if is_over else Standing.COLLECTED

    def missing(self, account: AccountReports) -> list[MissingWindow]:
        """List the account's windows that are neither delivered nor open nor failed.

        The list covers the account's first to last window in the span, and omits `to_come` and
        withdrawn windows. It includes a window whose final revision the calendar skipped.
        """
        return [
            MissingWindow(window, reason, self._why_no_backfill(account.account_id, window))
            for window, reason in self._missing(account)
        ]

    def label(self, window: Window) -> str:
        """Name a window by its local date, or an hour by its local time."""
        if self.length is WindowLength.HOUR:
            return f"{window.start.astimezone(ZoneInfo(self.time_zone)):%Y-%m-%d %H:%M}"
        return window.first_date.isoformat()

    def _missing(self, account: AccountReports) -> Iterator[tuple[Window, str | None]]:
        if not account.windows:
            return
        first, last = min(account.windows), max(account.windows)
        if self.span is not None:
            is_known = account.account_id.lower() in self.span.collected_before
            first = self.span.start if is_known else max(first, self.span.start)
        # A closed account has no later window. Its cursor shows how far its windows were planned.
        planned_to = max(
            (
                end
                for (account_id, _), end in self.cursors.items()
                if account_id == account.account_id and self.has_closed(account_id)
            ),
            default=first,
        )
        planned = [report.window for report in account.whole]
        of = self.definition
        collected_in = ALWAYS if of is None else of.span_of(account.account_id)
        for window in tiled(self.windows, planned):
            if window.start < first or (window.start > last and window.end > planned_to):
                continue
            if window.start not in account.windows and not collected_in.has(window):
                # Vonage did not list the sub-account then.
                continue
            if (window.start, account.account_id) in self.to_come:
                continue
            reports = account.windows.get(window.start, ())
            latest = max(reports, key=lambda report: report.delay_days, default=None)
            if latest is not None and latest.state is State.CANCELLED and latest.withdrawn_at:
                continue
            collected = [
                report
                for report in reports
                if report.state not in _UNCOLLECTED or is_delivered(report)
            ]
            if not collected:
                yield window, "cancelled" if reports else None
            elif all(
                is_delivered(report) and report.revision is Revision.PRELIMINARY
                for report in collected
            ) and self._skipped_final(account.account_id, window, collected):
                yield window, "only the preliminary revision is delivered"

    def _skipped_final(self, account_id: str, window: Window, collected: Sequence[Report]) -> bool:
        """Return whether the calendar's cursor has passed the window's final revision.

        A revision that is final since the delays were shortened is about to become final.
        """
        if self.definition is None:
            return False
        final = self.definition.delay_days[-1]
        if any(report.delay_days >= final for report in collected):
            return False
        cursor = self.cursors.get((account_id, final))
        return cursor is not None and window.end <= cursor

    def _why_no_backfill(self, account_id: str, window: Window) -> str | None:
        if window.first_date < self.oldest_date:
            return f"Vonage has {self.product} records only since {self.oldest_date}"
        if self.is_refused:
            return f"{self.name} is refused; correct the report definitions first"
        if self.definition is None:
            return f"{self.name} was removed from the definitions"
        if self.change is not None:
            return f"{self.change.field}: {self.change.reason}"
        return self._why_uncollected(self.definition, account_id)

    def _why_uncollected(self, definition: ReportDefinition, account_id: str) -> str | None:
        if self._is_listed(account_id) or self.has_closed(account_id):
            return None
        if definition.followed is not None:
            return f"Vonage does not list {account_id}; name it in account_ids of a definition"
        return f"{account_id} was removed from the accounts of {self.name}; list it again first"

    @property
    def _account_ids(self) -> Sequence[str]:
        return () if self.definition is None else self.definition.account_ids

    def has_closed(self, account_id: str) -> bool:
        """Whether an account is a closed or suspended sub-account, which a backfill has to name."""
        return self.definition is not None and self.definition.has_closed(account_id)

    def _is_listed(self, account_id: str) -> bool:
        return account_id in self._account_ids or THE_API_KEY in self._account_ids


def is_delivered(report: Report) -> bool:
    """Whether a report's window is delivered, also while or after it was collected again."""
    return report.state is State.DELIVERED or bool(report.delivered_from)


def _delivered(report: Report) -> Delivered:
    return Delivered(report.window, report.revision, report.rows)


def histories_of(content: Content) -> Iterator[DefinitionHistory]:
    """Yield the histories of the current definitions, then those of removed ones."""
    definitions = {each.name: each for each in content.definitions}
    open_reports: dict[str, list[Report]] = defaultdict(list)
    for report in content.work.reports:
        open_reports[report.definition].append(report)
    collects = content.calendar.collects
    to_come: dict[str, set[tuple[datetime, str]]] = defaultdict(set)
    for backfill in content.work.backfills:
        to_come[backfill.definition.name].update(
            (window.start, account) for window, account in backfill.left()
        )
    listing = listing_of(content.definitions, content.refusals)
    refused = {each.definition for each in content.refusals}
    for name in (*definitions, *sorted(collects.keys() - definitions.keys())):
        definition = definitions.get(name)
        first = json.loads(collects.get(name) or (definition.collects if definition else ""))
        # A report that finished between the two reads is in both; the later read counts.
        reports = {report.report_id: report for report in open_reports[name]}
        reports.update((report.report_id, report) for report in content.finished.get(name, ()))
        yield DefinitionHistory(
            name=name,
            product=first["product"],
            length=WindowLength(first["window"]),
            time_zone=first["time_zone"],
            definition=definition,
            change=None if definition is None else change_of(definition, collects.get(name)),
            reports=tuple(reports.values()),
            cursors={
                (account, days): end
                for (of, account, days), end in content.calendar.cursors.items()
                if of == name
            },
            to_come=frozenset(to_come[name]),
            # A refused entry without a readable name may be any definition.
            is_refused=definition is None
            and (name in refused or (listing is None and bool(refused))),
            span=content.spans.get(name),
            as_of=content.as_of,
        )
