"""The problems that need the operator: windows that are not delivered, and warnings.

Like `model`, it uses no clock and no AWS.
"""

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from vonage_reports.aws.ledger_items import UnreadableItem
from vonage_reports.domain.acceptance import advised, in_order
from vonage_reports.domain.backfill import Backfill, Progress, oldest_date
from vonage_reports.domain.calendar import due_reports
from vonage_reports.domain.commands import PROGRAM, command_for
from vonage_reports.domain.definitions import warnings_of
from vonage_reports.domain.metrics import of_open_work
from vonage_reports.domain.notifications import (
    backfill_event,
    fails_again,
    recollect,
    reconvert,
    withdraw_windows,
)
from vonage_reports.domain.overdue import undelivered
from vonage_reports.domain.removal import (
    DEFINITION_REMOVED,
    pair_of,
    removals_of,
    withdrawn_at,
)
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.spend import CAPPED
from vonage_reports.domain.waits import DENIED_FOR
from vonage_reports.domain.windows import Window, format_instant
from vonage_reports_cli.status.model import (
    AccountReports,
    Content,
    DefinitionHistory,
    MissingWindow,
)

TOO_LONG = 3
"""`RunTooLongAlarm` goes off at this multiple of a report's allowed time."""

_LATE = timedelta(days=1)
"""A window that is due for this long is listed, even before its alarm goes off."""

_SCHEDULE = timedelta(hours=25)
"""The schedule runs once a day; a delay of one more hour deserves no warning."""

_ARCHIVE_ERRORS = frozenset({"ArchiveCorrupt", "InvalidRequest", "ReportExpired"})
"""Errors of a report whose archive is wrong or missing."""

_RECENTLY = timedelta(days=14)
"""A stopped backfill is listed for this long."""


@dataclass(frozen=True)
class Problem:
    """Adjacent windows of one account that are not delivered, and the event that fetches them.

    `kind` is held, failed, removed (not listed any more), refused (Vonage refuses the account or
    the product), late (open for too long, or due and not planned) or missing. `event` is None if no
    event helps or if the operator must investigate or choose first; `reason` then says why.
    `choices` are the events of which the operator chooses one. `hold` is the number of the hold
    that the operator must resolve.
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
    choices: Sequence[Mapping[str, Any]] = ()
    hold: int | None = None

    def commands(self, stack: str | None) -> list[str]:
        """Return the commands that mend the problem. Of several, only one is right."""
        if self.hold is not None and self.report_id is not None:
            return resolving(self.report_id, self.hold, stack=stack)
        commands = [command_for(each, stack=stack) for each in self.events]
        return [each for each in commands if each]

    @property
    def events(self) -> Sequence[Mapping[str, Any]]:
        """The event that mends the problem, or those of which the operator chooses one."""
        return self.choices if self.event is None else [self.event]

    def to_dict(self, stack: str | None = None) -> dict[str, object]:
        """Return the JSON form, with the commands for a stack."""
        return {
            **{name: getattr(self, name) for name in ("kind", "definition", "account_id")},
            "start": format_instant(self.start),
            "end": format_instant(self.end),
            **{name: getattr(self, name) for name in ("windows", "report_id", "reason", "event")},
            "commands": self.commands(stack),
        }


def resolving(report_id: str, hold: int, *, stack: str | None) -> list[str]:
    """Return the commands that resolve a hold: Vonage has the report, or does not have it."""
    target = ["--stack", stack] if stack else []
    resolve = [PROGRAM, *target, "resolve", report_id]
    return [
        shlex.join([*resolve, *found, "--hold", str(hold)])
        for found in (["--found", "REQUEST_ID"], ["--not-there"])
    ]


def problems_of(
    history: DefinitionHistory, account: AccountReports, missing: Sequence[MissingWindow]
) -> list[Problem]:
    """List the problems of an account: held, failed, waiting, late and missing windows."""
    return [
        *(_held(history, report) for report in account.held),
        *(each for report in account.failed for each in _failed(history, account, report)),
        *_refused(history, account),
        *_unlisted(history, account.account_id),
        *_late(history, account.account_id),
        *_gaps(history, account, missing),
    ]


def warnings_about(content: Content, histories: Iterable[DefinitionHistory]) -> Iterator[str]:
    """Yield sentences on delays, doubtful definitions and stopped backfills."""
    yield from warnings_of(content.definitions)
    yield from _delays(content)
    yield from _removed(content)
    unplanned = []
    for history in histories:
        yield from _rescued_cells(history)
        yield from _accepted(history)
        if not history.was_planned:
            unplanned.append(history.name)
    if unplanned:
        yield f"nothing planned yet for {', '.join(unplanned)}"
    capped = [each for each in content.work.reports if each.error == CAPPED]
    if capped:
        first = capped[0]
        yield (
            f"reports wait for MaxBilledRecordsMonth: {len(capped):,}, such as "
            f"{first.definition} {first.window.first_date}, because {first.reason}"
        )
    for backfill in content.backfills:
        is_recent = backfill.begun_at > content.as_of - _RECENTLY
        if backfill.progress is Progress.STOPPED and is_recent:
            of = backfill.definition
            since = removals_of(content.work.announced_at).of(of.name, of.account_ids)
            yield why_stopped(backfill, at=content.as_of, is_listed=since is None)


def why_stopped(backfill: Backfill, *, at: datetime, is_listed: bool = True) -> str:
    """Say why a backfill stopped, and the action that helps.

    `is_listed`: whether its definition and accounts are in the report definitions.
    """
    definition = backfill.definition
    oldest = oldest_date(definition.product, definition.time_zone, at)
    left = backfill.total - backfill.seen_to
    window, _ = next(backfill.left(), (None, None))
    if window is None:
        left, reason = 0, "the rules of its time zone have changed; send it again"
    elif not is_listed:
        reason = "it is not in the report definitions any more; list it, and send it again"
    elif window.first_date < oldest:
        reason = f"Vonage has {definition.product} records only since {oldest}"
    else:
        reason = (
            "it would bill more records than the setting MaxBilledRecords; send it again with "
            "--confirm-cost"
        )
    return (
        f"backfill {backfill.name} stopped with {left:,} of {backfill.total:,} windows left: "
        f"{reason}"
    )


def _held(history: DefinitionHistory, report: Report) -> Problem:
    reason = (
        f"{report.reason}; look for the report in Vonage's dashboard first. If it is there, adopt "
        "it. Only if it is not there, create it, which Vonage bills"
    )
    return replace(_problem("held", history, report, reason=reason), hold=report.holds)


def _failed(
    history: DefinitionHistory, account: AccountReports, report: Report
) -> Iterator[Problem]:
    """Yield a failed window, or its failed parts if it was split."""
    # The reason names the parts. Other failed parts belong to an earlier split of the window.
    parts = [
        part
        for part in account.failed_parts.get(report.report_id, ())
        if part.report_id in (report.reason or "")
    ]
    for each in parts or (report,):
        ways = ways_to_mend(each)
        reason = f"{each.error}: {each.reason}"
        if len(ways) > 1:
            problem = _problem("failed", history, each, reason=f"{reason} {CHOICE}")
            yield replace(problem, choices=ways)
        else:
            event = next(iter(ways), None)
            yield _problem("failed", history, each, reason=reason, event=event)


CHOICE = (
    "The first command delivers the window as it is, for free and on the record. The second one "
    "collects the window again, and Vonage bills it"
)
"""Explains the commands for a window whose rows do not add up to Vonage's count."""


def ways_to_mend(report: Report) -> list[Mapping[str, Any]]:
    """Return the event that mends a failed report, or several of which the operator chooses one.

    Return none if the report would fail again.
    """
    if fails_again(report.error, report.reason):
        return []
    accept = advised(report.reason)
    if report.error == "RowsMismatch" and accept:
        # Neither an imperfection nor a purchase is the operator's wish unless the operator says so.
        return [reconvert(report.report_id, accept), recollect(report.report_id, report.failures)]
    # To convert a stored archive again costs nothing.
    is_stored = report.error == "RowsUnreadable" or (
        bool(report.receipts) and report.error not in _ARCHIVE_ERRORS
    )
    if is_stored:
        return [reconvert(report.report_id, accept)]
    return [recollect(report.report_id, report.failures)]


def _waits(report: Report) -> bool:
    """Whether a report waits to be listed again, or for access."""
    is_waiting = report.error == DEFINITION_REMOVED or report.denied_since is not None
    return report.state is State.PLANNED and is_waiting


def _unlisted(history: DefinitionHistory, account_id: str) -> Iterator[Problem]:
    """Yield the account's planned reports that wait to be listed again."""
    for report in history.open_reports:
        if report.account_id == account_id and _waits(report) and not _is_refused(report):
            reason = f"{report.reason}. The command ends it now"
            event = {"withdraw": {"report_id": report.root or report.report_id}}
            yield _problem("removed", history, report, reason=reason, event=event)


def _is_refused(report: Report) -> bool:
    """Whether Vonage refuses the account or the product of a report that waits or failed."""
    if report.denied_since is None:
        return False
    if report.state is State.FAILED:
        return report.error == "VonageRejected"
    return report.state is State.PLANNED and report.error != DEFINITION_REMOVED


def _refused(history: DefinitionHistory, account: AccountReports) -> Iterator[Problem]:
    """Yield the account's reports that Vonage refuses, with the command that ends them.

    Group adjacent reports if one command ends all of them and no other report.
    """
    account_id = account.account_id
    waiting = [each for each in history.open_reports if each.account_id == account_id]
    refused = {
        each.root or each.report_id: each
        for each in (*account.failed, *waiting)
        if _is_refused(each)
    }
    failed = {each.report_id for each in account.failed}
    whole = [each for each in account.whole if not each.is_at_end or each.report_id in failed]
    whole.sort(key=lambda each: (each.window.start, each.delay_days))
    for is_refused, some in groupby(whole, key=lambda each: each.report_id in refused):
        if not is_refused:
            continue
        group = [refused[each.report_id] for each in some]
        event = withdraw_windows(history.name, account_id, group[0].window, group[-1].window)
        dates = event["withdraw_windows"]
        is_alone = not any(
            each.report_id not in refused
            and dates["start"] <= each.window.first_date.isoformat() < dates["end"]
            for each in whole
        )
        if len(group) > 1 and is_alone:
            yield _refused_together(history, group, event)
        else:
            yield from (_refused_alone(history, each) for each in group)


_ACCESS = "Give the API key access to the account and the product"


def _refused_alone(history: DefinitionHistory, report: Report) -> Problem:
    left = DENIED_FOR
    if report.denied_since is not None:
        left = max(report.denied_since + DENIED_FOR - history.as_of, timedelta())
    fails = "It failed" if report.is_at_end else f"It fails in {left / timedelta(days=1):.1f} days"
    reason = f"{report.reason}. {fails}. {_ACCESS}, or end the report with the command"
    event = {"withdraw": {"report_id": report.root or report.report_id}}
    return _problem("refused", history, report, reason=reason, event=event)


def _refused_together(
    history: DefinitionHistory, group: Sequence[Report], event: Mapping[str, Any]
) -> Problem:
    first, last = group[0], group[-1]
    failed = sum(each.is_at_end for each in group)
    reason = (
        f"{last.reason}. {failed:,} of {len(group):,} reports failed, and the others fail after "
        f"{DENIED_FOR.days} days of refusals. {_ACCESS}, or end all of them with the command"
    )
    return replace(
        _problem("refused", history, first, reason=reason, event=event),
        end=last.window.end,
        dates=f"{history.label(first.window)} to {history.label(last.window)}",
        windows=len({each.window for each in group}),
        report_id=None,
    )


def _late(history: DefinitionHistory, account_id: str) -> Iterator[Problem]:
    """Yield the account's open reports that are due for long, or too long at Vonage.

    Leave out reports that wait to be listed again, or for access: `_unlisted` and `_refused` list
    them.
    """
    for report in history.open_reports:
        if report.account_id != account_id or _waits(report):
            continue
        delays = [
            f"due since {format_instant(each.since)}"
            for each in undelivered([report])
            if history.as_of - each.since >= _LATE
        ]
        gauges = of_open_work([report], slots=0, expiring=0, now=history.as_of)
        if gauges["LongestRunRatio"] >= TOO_LONG and report.submitted_at is not None:
            delays.append(f"at Vonage since {format_instant(report.submitted_at)}")
        if delays:
            reason = ", ".join([report.state, *delays])
            if report.reason:
                reason += f": {report.reason}"
            yield _problem("late", history, report, reason=reason)


def _problem(
    kind: str,
    history: DefinitionHistory,
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
        dates=history.label(report.window) + part,
        windows=1,
        report_id=report.report_id,
        reason=reason,
        event=event,
    )


def _gaps(
    history: DefinitionHistory, account: AccountReports, missing: Sequence[MissingWindow]
) -> Iterator[Problem]:
    """Yield the missing windows, adjacent ones together with one backfill."""
    for group in _adjacent(missing):
        first, last = group[0].window, group[-1].window
        why_not = group[0].why_no_backfill
        dates = history.label(first)
        if len(group) > 1:
            dates += f" to {history.label(last)}"
        named = account.account_id if history.has_closed(account.account_id) else None
        yield Problem(
            kind="missing",
            definition=history.name,
            account_id=account.account_id,
            start=first.start,
            end=last.end,
            dates=dates,
            windows=len(group),
            reason="; ".join(filter(None, [group[0].reason, why_not])) or None,
            event=None if why_not else backfill_event(history.name, first, last, account_id=named),
        )


def _adjacent(missing: Iterable[MissingWindow]) -> Iterator[list[MissingWindow]]:
    """Group consecutive windows, and windows of one date, because a backfill takes dates."""
    group: list[MissingWindow] = []
    for each in missing:
        if group:
            last = group[-1]
            is_next = (
                each.window.start == last.window.end
                or each.window.first_date <= last.window.last_date
            )
            is_alike = replace(each, window=last.window) == last
            if not (is_next and is_alike):
                yield group
                group = []
        group.append(each)
    if group:
        yield group


def _removed(content: Content) -> Iterator[str]:
    """Yield the definitions and accounts that are not listed any more, while reports wait."""
    removals = removals_of(content.work.announced_at)
    waiting = Counter(
        pair_of(report.definition, report.account_id)
        for report in removals.waiting(content.work.reports)
    )
    for pair, count in sorted(waiting.items()):
        name, account_id = pair
        since = removals.since[pair]
        yield (
            f"{name}, {account_id}: not in the report definitions since {since:%Y-%m-%d}. "
            f"{count:,} report{'s are' if count > 1 else ' is'} withdrawn on "
            f"{withdrawn_at(since):%Y-%m-%d %H:%M} UTC; to collect them, list the definition "
            "and the account again"
        )


def _delays(content: Content) -> Iterator[str]:
    """Yield each reason that delays open reports, once for each definition."""
    work = content.work
    if work.paused_until is not None and work.paused_until > content.as_of:
        yield f"Vonage asked to pause all requests until {format_instant(work.paused_until)}"
    if work.planning_stopped is not None:
        stopped = work.planning_stopped
        yield (
            f"planning has been stopped since {format_instant(stopped.since)}: too many reports "
            "were open, or the time was over. The next scheduled run goes on at "
            f"{stopped.definition}"
        )
    waiting = Counter(
        (report.definition, report.reason)
        for report in work.reports
        if report.reason is not None
        and report.state is not State.HELD
        and report.error != DEFINITION_REMOVED
    )
    for (definition, reason), count in waiting.items():
        yield f"{definition}: retrying {count:,} report{'s' if count > 1 else ''}: {reason}"
    if content.unreadable:
        yield str(UnreadableItem(*content.unreadable))


def _rescued_cells(history: DefinitionHistory) -> Iterator[str]:
    """Yield the price and time columns of each account that have cells of another form."""
    for account in history.accounts:
        windows = [report for report in account.delivered if report.rescued]
        if not windows:
            continue
        counts: Counter[str] = Counter()
        for report in windows:
            counts.update(report.rescued)
        cells = ", ".join(f"{count:,} of {name}" for name, count in sorted(counts.items()))
        yield (
            f"{history.name}, {account.account_id}: cells in _rescued, because they do not fit: "
            f"{cells}; in {len(windows):,} {'window' if len(windows) == 1 else 'windows'}, the "
            f"last on {history.label(windows[-1].window)}"
        )


def _accepted(history: DefinitionHistory) -> Iterator[str]:
    """Yield the imperfections that the operator accepted in each account's last deliveries."""
    for account in history.accounts:
        windows = [report for report in account.delivered if report.accept]
        if windows:
            names = ", ".join(in_order(name for report in windows for name in report.accept))
            count = f"{len(windows):,} {'window' if len(windows) == 1 else 'windows'}"
            yield (
                f"{history.name}, {account.account_id}: delivered with {names} accepted: {count}, "
                f"the last on {history.label(windows[-1].window)}; see accepted in the manifest"
            )


def unplanned(history: DefinitionHistory, content: Content) -> Iterator[Problem]:
    """Yield the windows of each account that the schedule should have planned by now."""
    definition, stopped = history.definition, content.work.planning_stopped
    if definition is None or history.change is not None:
        return
    advice = (
        "check that the schedule is enabled: doctor"
        if stopped is None
        else "planning has stopped, and the next scheduled run goes on"
    )
    found: dict[str, dict[datetime, Window]] = defaultdict(dict)
    for due in due_reports(
        replace(definition, account_ids=history.scheduled_accounts),
        cursors=content.calendar.cursors,
        volumes={},
        profiles={},
        at=content.as_of,
        now=content.as_of,
        stopped_since=None if stopped is None else stopped.since,
        delays=content.calendar.delays.get(history.name),
    ):
        if (due.account_id, due.delay_days) in history.cursors:
            latest_end = content.as_of - _SCHEDULE - timedelta(days=due.delay_days)
            found[due.account_id].update(
                (window.start, window)
                for window in (*due.late, *(report.window for report in due.reports))
                if window.end < latest_end
            )
    for account_id, windows in found.items():
        if windows:
            first, last = windows[min(windows)], windows[max(windows)]
            yield Problem(
                kind="late",
                definition=history.name,
                account_id=account_id,
                start=first.start,
                end=last.end,
                dates=history.label(first)
                + (f" to {history.label(last)}" if first != last else ""),
                windows=len(windows),
                reason=f"due and not planned; {advice}",
                event={"scheduled_time": format_instant(content.as_of)},
            )
