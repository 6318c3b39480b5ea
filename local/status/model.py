"""How things stand in a ledger: what is delivered, what is under way, what is missing and why.

Pure: it knows the domain and what was read from the ledger, and neither a clock nor AWS.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo

from vonage_reports.aws.ledger_items import Calendar, OpenWork
from vonage_reports.domain.backfill import Backfill, Progress, oldest_date
from vonage_reports.domain.calendar import due_reports
from vonage_reports.domain.definitions import Refusal, ReportDefinition, change_of, warnings_of
from vonage_reports.domain.metrics import of_open_work
from vonage_reports.domain.overdue import undelivered
from vonage_reports.domain.report import Report, Revision, State
from vonage_reports.domain.windows import (
    SECOND,
    Window,
    WindowLength,
    format_instant,
    windows_ending_after,
)

THE_API_KEY = "(the API key)"
"""The account of a definition that names none: to know the key would take the secret."""

_IN_FLIGHT = frozenset({State.SUBMITTING, State.SUBMITTED, State.SPLIT, State.CONVERTING})
_NOT_THERE = frozenset({State.CANCELLED, State.SUPERSEDED})

_SCHEDULE = timedelta(hours=25)
"""The schedule comes once a day; an hour more is not yet worth a warning."""

_LATE = timedelta(days=1)
"""A window that is due for so long and not delivered is named, before its alarm goes off."""

TOO_LONG = 3
"""The multiple of the time that a report may take of which `RunTooLongAlarm` goes off."""

_RECENTLY = timedelta(days=14)
"""How long somebody is reminded of a backfill that was stopped."""

_ONLY_PRELIMINARY = "only the preliminary revision is there"


@dataclass(frozen=True)
class Content:
    """What is known at the instant `as_of`; `finished` are reports at their end by definition."""

    as_of: datetime
    definitions: Sequence[ReportDefinition]
    refusals: Sequence[Refusal]
    work: OpenWork
    calendar: Calendar
    finished: Mapping[str, Sequence[Report]]
    ended_backfills: Sequence[Backfill] = ()


@dataclass(frozen=True)
class Delivered:
    """The newest window that is delivered."""

    window: Window
    revision: Revision
    rows: int | None

    def to_dict(self) -> dict[str, object]:
        """The form of the JSON."""
        return {**self.window.to_dict(), "revision": self.revision, "rows": self.rows}


@dataclass(frozen=True)
class Row:
    """One definition and account: how many windows are in which state, parts not counted.

    `held` counts what a person has to resolve, a part of a window as well. `is_collected` is False
    where the definitions do not have it any more.
    """

    definition: str
    account_id: str
    length: WindowLength
    time_zone: str
    is_collected: bool
    last_delivered: Delivered | None
    delivered: int
    in_flight: int
    waiting: int
    held: int
    failed: int
    missing: int

    def to_dict(self) -> dict[str, object]:
        """The form of the JSON."""
        last = self.last_delivered
        return {
            "definition": self.definition,
            "account_id": self.account_id,
            "window": self.length,
            "time_zone": self.time_zone,
            "is_collected": self.is_collected,
            "last_delivered": None if last is None else last.to_dict(),
            **{name: getattr(self, name) for name in _COUNTS},
        }


_COUNTS = ("delivered", "in_flight", "waiting", "held", "failed", "missing")


@dataclass(frozen=True)
class Problem:
    """Neighbouring windows of an account that are not delivered, and the event that fetches them.

    `kind` is held, failed, late (under way for long) or missing. `event` is None where none could,
    or where a person has to find something out first: then `reason` says why.
    """

    kind: str
    definition: str
    account_id: str
    start: datetime
    end: datetime
    dates: str
    windows: int
    report_id: str | None = None
    reason: str | None = None
    event: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, object]:
        """The form of the JSON."""
        return {
            **{name: getattr(self, name) for name in ("kind", "definition", "account_id")},
            "start": format_instant(self.start),
            "end": format_instant(self.end),
            **{name: getattr(self, name) for name in ("windows", "report_id", "reason", "event")},
        }


@dataclass(frozen=True)
class Advance:
    """How far a backfill is, in reports: one for each window and account.

    Those that are `over` came to an end, or are `skipped`, because they were there already.
    """

    name: str
    progress: Progress
    total: int
    over: int
    skipped: int
    under_way: int

    @property
    def collected(self) -> int:
        """How many came to an end since it began."""
        return self.over - self.skipped

    @property
    def is_running(self) -> bool:
        """Whether anything is still to come of it."""
        return self.progress is Progress.RUNNING or self.under_way > 0

    def seconds_left(self, seconds: float, *, collected_before: int = 0) -> float | None:
        """Estimate when it is over, if it goes on as in the last `seconds`; None: nobody knows."""
        collected = self.collected - collected_before
        return (self.total - self.over) * seconds / collected if collected > 0 else None


@dataclass(frozen=True)
class Status:
    """How things stand at an instant."""

    as_of: datetime
    rows: Sequence[Row]
    problems: Sequence[Problem]
    backfills: Sequence[tuple[Advance, float | None]]
    """With each the seconds that it is expected to take from then on."""
    warnings: Sequence[str]

    def to_dict(self) -> dict[str, object]:
        """The form of the JSON."""
        return {
            "as_of": format_instant(self.as_of),
            "definitions": [row.to_dict() for row in self.rows],
            "problems": [problem.to_dict() for problem in self.problems],
            "backfills": [
                {
                    "backfill": advance.name,
                    "windows": advance.total,
                    "over": advance.over,
                    "skipped": advance.skipped,
                    "under_way": advance.under_way,
                    "seconds_left": None if seconds is None else round(seconds),
                }
                for advance, seconds in self.backfills
            ],
            "warnings": list(self.warnings),
        }


def status_of(content: Content) -> Status:
    """Say how things stand."""
    rows: list[Row] = []
    problems: list[Problem] = []
    warnings = [
        *(f"{each.definition}, {each.field}: {each.reason}" for each in content.refusals),
        *warnings_of(content.definitions),
        *_troubles(content),
    ]
    unplanned: list[str] = []
    for subject in _subjects(content):
        for account in subject.accounts:
            row, of_account = _account_status(subject, account)
            rows.append(row)
            problems += of_account
        warnings += subject.warnings(content)
        if not subject.reports:
            unplanned.append(subject.name)
    if unplanned:
        warnings.append(f"nothing was planned yet of {', '.join(unplanned)}")
    begun = {backfill.name: backfill.begun_at for backfill in _backfills(content)}
    advances = [advance_of(each, content.work.reports) for each in _backfills(content)]
    running = [
        (each, each.seconds_left((content.as_of - begun[each.name]).total_seconds()))
        for each in advances
        if each.is_running
    ]
    warnings += [
        why_stopped(each, at=content.as_of)
        for each in _backfills(content)
        if each.progress is Progress.STOPPED and each.begun_at > content.as_of - _RECENTLY
    ]
    return Status(content.as_of, rows, problems, running, warnings)


def advance_of(backfill: Backfill, open_reports: Iterable[Report]) -> Advance:
    """Say how far a backfill is, from it and from what is open."""
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


def why_stopped(backfill: Backfill, *, at: datetime) -> str:
    """Say why a backfill was stopped, and what a person can do."""
    definition = backfill.definition
    kept_from = oldest_date(definition.product, definition.time_zone, at)
    left = backfill.total - backfill.seen_to
    window, _ = next(backfill.left(), (None, None))
    if window is None:
        left, reason = 0, "the rules of its time zone have changed: send it again"
    elif window.first_date < kept_from:
        reason = f"Vonage has {definition.product} records from {kept_from} on"
    else:
        reason = 'it would cost more than MAX_BILLED_RECORDS; "confirm": true lets it'
    return (
        f"the backfill {backfill.name} was stopped with {left:,} of "
        f"{backfill.total:,} windows left: {reason}"
    )


def _backfills(content: Content) -> tuple[Backfill, ...]:
    running = {each.name for each in content.work.backfills}
    ended = (each for each in content.ended_backfills if each.name not in running)
    return (*content.work.backfills, *ended)


@dataclass(frozen=True)
class _Account:
    """The reports of one account: whole windows by their start, and parts that need a person."""

    account_id: str
    windows: Mapping[datetime, Sequence[Report]]
    held_parts: Sequence[Report]
    failed_parts: Mapping[str, Sequence[Report]]
    """By the report_id of the whole."""


@dataclass(frozen=True)
class _Subject:
    """What is collected under one name; `definition` is None where it was removed since."""

    name: str
    product: str
    length: WindowLength
    time_zone: str
    definition: ReportDefinition | None
    change: Refusal | None
    reports: Sequence[Report]
    cursors: Mapping[tuple[str, int], datetime]
    to_come: frozenset[tuple[datetime, str]]
    """Starts and accounts of the windows that a running backfill is going to plan."""
    as_of: datetime = field(repr=False)

    @cached_property
    def accounts(self) -> list[_Account]:
        """The accounts of the definition, and those that the ledger knows besides."""
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
        named = () if self.definition is None else self.definition.account_ids
        if THE_API_KEY in named and known:
            named = tuple(each for each in named if each != THE_API_KEY)
        return [
            _Account(account, windows.get(account, {}), held_parts[account], failed_parts[account])
            for account in (*named, *sorted(known - set(named)))
        ]

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """All windows from the first one to the last one that the ledger knows, oldest first."""
        whole = [report.window for report in self.reports if report.root is None]
        if not whole:
            return ()
        first = min(window.start for window in whole)
        last = max(window.end for window in whole)
        windows = windows_ending_after(first, self.length, self.time_zone)
        return tuple(takewhile(lambda window: window.end <= last, windows))

    @cached_property
    def under_way(self) -> list[Report]:
        """What is open, parts as well, but for what a person has to resolve; oldest first."""
        left = (each for each in self.reports if not each.is_at_end)
        by_start = sorted(left, key=lambda each: each.window.start)
        return [each for each in by_start if each.state is not State.HELD]

    @cached_property
    def kept_from(self) -> date:
        """The first date that a backfill may begin with."""
        return oldest_date(self.product, self.time_zone, self.as_of)

    def why_no_backfill(self, account_id: str, window: Window) -> str | None:
        """Say why a backfill would not collect a window of an account; None: it would."""
        if window.first_date < self.kept_from:
            return f"Vonage has {self.product} records from {self.kept_from} on"
        if self.definition is None:
            return f"{self.name} is not among the definitions any more"
        if self.change is not None:
            return f"{self.change.field}: {self.change.reason}"
        names = self.definition.account_ids
        if account_id not in names and THE_API_KEY not in names:
            return f"{account_id} is not among the account_ids of {self.name} any more"
        return None

    def lacks_final(self, account_id: str, window: Window) -> bool:
        """Whether the calendar went past a window's final revision."""
        if self.definition is None:
            return False
        cursor = self.cursors.get((account_id, self.definition.delay_days[-1]))
        return cursor is not None and window.end <= cursor

    def warnings(self, content: Content) -> Iterator[str]:
        """Yield what somebody should know about the calendar of this definition."""
        if self.definition is None:
            return
        if self.change is not None:
            yield f"{self.name}, {self.change.field}: {self.change.reason}"
            return
        for due in due_reports(
            self.definition,
            cursors=content.calendar.cursors,
            volumes={},
            profiles={},
            at=self.as_of,
            now=self.as_of,
        ):
            delay = timedelta(days=due.delay_days)
            overdue = [
                window
                for window in (*due.late, *(report.window for report in due.reports))
                if (due.account_id, due.delay_days) in self.cursors
                and window.end + delay < self.as_of - _SCHEDULE
            ]
            if overdue:
                yield (
                    f"{self.name}, {due.account_id}: {len(overdue):,} windows are due and not "
                    f"planned, from {self.label(overdue[0])} on: does the schedule come?"
                )

    def label(self, window: Window) -> str:
        """Name a window by its local date, and an hour by its local time."""
        if self.length is WindowLength.HOUR:
            return f"{window.start.astimezone(ZoneInfo(self.time_zone)):%Y-%m-%d %H:%M}"
        return window.first_date.isoformat()


def _subjects(content: Content) -> Iterator[_Subject]:
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
    for name in (*definitions, *sorted(collects.keys() - definitions.keys())):
        definition = definitions.get(name)
        collected = collects.get(name) or (definition.collects if definition else "")
        what = json.loads(collected)
        # Who came to its end between two reads is in both: the later read knows.
        known = {report.report_id: report for report in open_reports[name]}
        known.update((report.report_id, report) for report in content.finished.get(name, ()))
        yield _Subject(
            name=name,
            product=what["product"],
            length=WindowLength(what["window"]),
            time_zone=what["time_zone"],
            definition=definition,
            change=None if definition is None else change_of(definition, collects.get(name)),
            reports=tuple(known.values()),
            cursors={
                (account, days): end
                for (of, account, days), end in content.calendar.cursors.items()
                if of == name
            },
            to_come=frozenset(to_come[name]),
            as_of=content.as_of,
        )


@dataclass(frozen=True)
class _Missing:
    """A window that is not there, why, and why a backfill would not bring it, if that is known."""

    window: Window
    reason: str | None
    why_no_backfill: str | None


def _account_status(subject: _Subject, account: _Account) -> tuple[Row, list[Problem]]:
    whole = [report for reports in account.windows.values() for report in reports]
    states = Counter(report.state for report in whole)
    held = [report for report in whole if report.state is State.HELD] + list(account.held_parts)
    failed = [
        report
        for report in whole
        if report.state is State.FAILED
        and not _is_overtaken(report, account.windows[report.window.start])
    ]
    missing = [
        _Missing(window, reason, subject.why_no_backfill(account.account_id, window))
        for window, reason in _missing(subject, account)
    ]
    delivered = [report for report in whole if report.state is State.DELIVERED]
    newest = max(delivered, key=lambda each: (each.window.end, each.delay_days), default=None)
    named = () if subject.definition is None else subject.definition.account_ids
    row = Row(
        definition=subject.name,
        account_id=account.account_id,
        length=subject.length,
        time_zone=subject.time_zone,
        is_collected=account.account_id in named or THE_API_KEY in named,
        last_delivered=None if newest is None else _delivered(newest),
        delivered=len({report.window.start for report in delivered}),
        in_flight=sum(states[state] for state in _IN_FLIGHT),
        waiting=states[State.PLANNED],
        held=len(held),
        failed=len({report.window.start for report in failed}),
        missing=len(missing),
    )
    in_order = sorted(failed, key=lambda each: each.window.start)
    problems = [
        *(_held(subject, report) for report in held),
        *(each for report in in_order for each in _failed(subject, account, report)),
        *_late(subject, account.account_id),
        *_gaps(subject, account, missing),
    ]
    return row, problems


def _delivered(report: Report) -> Delivered:
    return Delivered(report.window, report.revision, report.rows)


def _is_overtaken(report: Report, of_the_window: Iterable[Report]) -> bool:
    """Whether a later revision of the window is delivered, or the same under another index."""
    return any(
        other.state is State.DELIVERED and other.delay_days >= report.delay_days
        for other in of_the_window
    )


def _missing(subject: _Subject, account: _Account) -> Iterator[tuple[Window, str | None]]:
    """Yield the windows that are neither there nor under way nor failed, with a reason if known."""
    if not account.windows:
        return
    first, last = min(account.windows), max(account.windows)
    for window in subject.windows:
        if not first <= window.start <= last:
            continue
        if (window.start, account.account_id) in subject.to_come:
            continue
        reports = account.windows.get(window.start, ())
        there = [report for report in reports if report.state not in _NOT_THERE]
        if not there:
            yield window, "cancelled" if reports else None
        elif all(
            report.state is State.DELIVERED and report.revision is Revision.PRELIMINARY
            for report in there
        ) and subject.lacks_final(account.account_id, window):
            yield window, _ONLY_PRELIMINARY


def _held(subject: _Subject, report: Report) -> Problem:
    return _problem(
        "held",
        subject,
        report,
        reason=f"{report.reason}; look in Vonage's dashboard first, then send events/resolve.json",
    )


def _failed(subject: _Subject, account: _Account, report: Report) -> Iterator[Problem]:
    """Yield what has to be collected again: of a window that was split, the parts that failed."""
    # Its sentence names the part: of another time, when it was split otherwise, there may be more.
    parts = [
        part
        for part in account.failed_parts.get(report.report_id, ())
        if part.report_id in (report.reason or "")
    ]
    for each in parts or (report,):
        reason = f"{each.error}: {each.reason}"
        if each.error == "ReportTruncated":
            # Collected again it would be cut short again.
            yield _problem("failed", subject, each, reason=reason)
        else:
            # What cannot be read is in the bucket: to read it again is free.
            kind = "reconvert" if each.error == "RowsUnreadable" else "recollect"
            event = {kind: {"report_id": each.report_id}}
            yield _problem("failed", subject, each, reason=reason, event=event)


def _late(subject: _Subject, account_id: str) -> Iterator[Problem]:
    """Yield what is due for long, or takes Vonage long, and why, as far as the ledger knows."""
    for report in subject.under_way:
        if report.account_id != account_id:
            continue
        said = [
            f"due since {format_instant(each.since)}"
            for each in undelivered([report])
            if subject.as_of - each.since >= _LATE
        ]
        gauges = of_open_work([report], slots=0, expiring=0, now=subject.as_of)
        if gauges["LongestRunRatio"] >= TOO_LONG and report.submitted_at is not None:
            said.append(f"asked for at {format_instant(report.submitted_at)}")
        if said:
            reason = ", ".join([report.state, *said])
            if report.reason:
                reason += f": {report.reason}"
            yield _problem("late", subject, report, reason=reason)


def _problem(
    kind: str,
    subject: _Subject,
    report: Report,
    *,
    reason: str,
    event: Mapping[str, Any] | None = None,
) -> Problem:
    part = f", a part of {report.window.hours:g} h" if report.is_half else ""
    return Problem(
        kind=kind,
        definition=report.definition,
        account_id=report.account_id,
        start=report.window.start,
        end=report.window.end,
        dates=subject.label(report.window) + part,
        windows=1,
        report_id=report.report_id,
        reason=reason,
        event=event,
    )


def _gaps(subject: _Subject, account: _Account, missing: Sequence[_Missing]) -> Iterator[Problem]:
    """Yield the missing windows, neighbours together, each with one backfill."""
    for group in _neighbours(missing):
        first, last = group[0].window, group[-1].window
        why_not = group[0].why_no_backfill
        dates = subject.label(first)
        if len(group) > 1:
            dates += f" to {subject.label(last)}"
        backfill = {
            "definition": subject.name,
            "start": str(first.first_date),
            "end": str(_day_after(last)),
        }
        yield Problem(
            kind="missing",
            definition=subject.name,
            account_id=account.account_id,
            start=first.start,
            end=last.end,
            dates=dates,
            windows=len(group),
            reason="; ".join(filter(None, [group[0].reason, why_not])) or None,
            event=None if why_not else {"backfill": backfill},
        )


def _neighbours(missing: Iterable[_Missing]) -> Iterator[list[_Missing]]:
    """Group windows that follow one another, or that lie on one date: a backfill takes dates."""
    group: list[_Missing] = []
    for each in missing:
        if group:
            last = group[-1]
            is_next = each.window.start == last.window.end or each.window.first_date < _day_after(
                last.window
            )
            is_alike = replace(each, window=last.window) == last
            if not (is_next and is_alike):
                yield group
                group = []
        group.append(each)
    if group:
        yield group


def _day_after(window: Window) -> date:
    """Return the local date after a window's last one: the `end` of a backfill."""
    last = (window.end - SECOND).astimezone(ZoneInfo(window.time_zone)).date()
    return last + timedelta(days=1)


def _troubles(content: Content) -> Iterator[str]:
    """Yield what keeps open reports from going on, each sentence once."""
    work = content.work
    if work.paused_until is not None and work.paused_until > content.as_of:
        yield f"Vonage wants no requests before {format_instant(work.paused_until)}"
    waiting = Counter(
        (report.definition, report.reason)
        for report in work.reports
        if report.reason is not None and report.state is not State.HELD
    )
    for (definition, reason), count in waiting.items():
        reports = f"{count:,} reports are" if count > 1 else "a report is"
        yield f"{definition}: {reports} tried again: {reason}"
    if work.unreadable:
        names = ", ".join(work.unreadable)
        yield f"the ledger has entries of another version: {names}"


def local_time(instant: datetime) -> str:
    """Show an instant to a person, to the second."""
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
