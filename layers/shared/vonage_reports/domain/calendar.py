"""The due windows of a report definition, and their reports."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from types import MappingProxyType

from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.products import hour_settles, oldest_start
from vonage_reports.domain.report import Priority, Report, Revision, report_id, report_ids_from
from vonage_reports.domain.subaccounts import ALWAYS, Span
from vonage_reports.domain.traffic_profile import TrafficProfile
from vonage_reports.domain.windows import (
    Window,
    WindowLength,
    latest_window_ending_by,
    windows_after,
    windows_ending_after,
)

Delays = Mapping[int, datetime | None]
"""The `delay_days` of a definition as the calendar last planned it, in their order.

Each has the time of the first run that saw it, or None if the definition began with it.
"""


def due_windows(
    definition: ReportDefinition,
    delay_index: int,
    cursor: datetime | None,
    at: datetime,
    planned: Sequence[Window] = (),
    *,
    span: Span = ALWAYS,
) -> Iterator[Window]:
    """Yield, oldest first, the windows after `cursor` that are due at the instant `at`.

    Without a cursor, yield only the latest due window, because a first run buys no history.
    `planned` are the account's windows in the ledger, perhaps planned by earlier rules of the zone.
    `span` is the time in which the account is collected.
    """
    due_by = at - _delay(definition, delay_index)
    if cursor is None:
        latest = latest_window_ending_by(due_by, definition.window, definition.time_zone)
        yield from filter(span.has, [latest])
        return
    until = span.until
    windows = takewhile(
        lambda window: window.end <= due_by and (until is None or window.start < until),
        windows_after(cursor, definition.window, definition.time_zone, planned),
    )
    yield from filter(span.has, windows)


def last_due_revision(definition: ReportDefinition, window: Window, at: datetime) -> int | None:
    """Return the index of the last revision of `window` that is due at `at`, or None."""
    due = [
        index
        for index in range(len(definition.delay_days))
        if window.end <= at - _delay(definition, index)
    ]
    return due[-1] if due else None


def due_at(window: Window, delay_days: int, product: str) -> datetime:
    """Return when a window is due, `delay_days` after its end."""
    # Some hourly windows last only half an hour.
    least = hour_settles(product) if window.hours <= 1 else timedelta()
    return window.end + max(timedelta(days=delay_days), least)


def _delay(definition: ReportDefinition, delay_index: int) -> timedelta:
    delay = timedelta(days=definition.delay_days[delay_index])
    is_hourly = definition.window is WindowLength.HOUR
    return max(delay, hour_settles(definition.product)) if is_hourly else delay


CATCH_UP = timedelta(days=7)
"""How far back missed windows are caught up. Only the operator can request older windows."""


def is_too_late(
    definition: ReportDefinition,
    delay_index: int,
    window: Window,
    at: datetime,
    *,
    not_before: datetime | None = None,
) -> bool:
    """Whether a window is too old for the calendar, so that only the operator can request it.

    Lateness counts from the time when the window became due, or from `not_before` if that is later.
    """
    due = window.end + _delay(definition, delay_index)
    return max(due, not_before or due) < at - CATCH_UP


@dataclass(frozen=True)
class Due:
    """The due windows of one account and one entry of `delay_days`, oldest first.

    Only the operator can request the windows in `late`. `reports` are for the windows after them.
    """

    account_id: str
    delay_days: int
    late: tuple[Window, ...]
    reports: tuple[Report, ...]


def due_reports(
    definition: ReportDefinition,
    *,
    cursors: Mapping[tuple[str, str, int], datetime],
    volumes: Mapping[tuple[str, str], float],
    profiles: Mapping[tuple[str, str], TrafficProfile],
    at: datetime,
    now: datetime,
    paces: Mapping[tuple[str, str], int | None] = MappingProxyType({}),
    delays: Delays | None = None,
    planned: Mapping[str, Sequence[Window]] = MappingProxyType({}),
    stopped_since: datetime | None = None,
) -> Iterator[Due]:
    """Yield a definition's windows that are due at the instant `at`.

    Some windows may be in the ledger already. `cursors` are the ends of the planned windows, by
    definition, account and days of delay. `volumes` (rows per hour), `profiles` (the
    distribution of the rows) and `paces` are by definition and account. `delays` are those that an
    earlier run saw. `planned` are the windows in the ledger, by account in lower case.

    If planning has been stopped since `stopped_since`, lateness counts from that time, but windows
    whose records Vonage has deleted are late.
    """
    seen = seen_delays(definition, delays, at)
    ends = _Ends(definition, cursors, delays)
    counted_from = at if stopped_since is None else min(at, stopped_since)
    kept_from = None if stopped_since is None else oldest_start(definition.product, now)
    for account_id in definition.account_ids:
        for delay_index, delay_days in enumerate(definition.delay_days):
            since = ends.planned_to(account_id, delay_index)
            known = planned.get(account_id.lower(), ())
            span = definition.span_of(account_id)
            windows = list(due_windows(definition, delay_index, since, at, known, span=span))
            changed_at = seen[delay_days]
            # A definition without a cursor has no late windows, because collecting begins with the
            # latest window.
            late = [
                each
                for each in windows
                if since is not None
                and (
                    is_too_late(definition, delay_index, each, counted_from, not_before=changed_at)
                    or (kept_from is not None and each.start < kept_from)
                )
            ]
            reports = (
                report_for_window(
                    definition,
                    account_id,
                    delay_index,
                    window,
                    rows_per_hour=volumes.get((definition.name, account_id)),
                    pace=paces.get((definition.name, account_id)),
                    profile=profiles.get((definition.name, account_id)),
                    now=now,
                )
                for window in windows[len(late) :]
            )
            yield Due(account_id, delay_days, tuple(late), tuple(reports))


def next_unplanned(
    definition: ReportDefinition,
    *,
    cursors: Mapping[tuple[str, str, int], datetime],
    defined_at: datetime,
    now: datetime,
    delays: Delays | None = None,
) -> Iterator[tuple[Report, datetime]]:
    """Yield the next window of each account and revision, if due, and the time it became due.

    A revision that was never planned is due since `defined_at`, when its definition was added or
    its delay was changed. `delays` are those that an earlier run saw.
    """
    seen = seen_delays(definition, delays, defined_at)
    ends = _Ends(definition, cursors, delays)
    for account_id in definition.account_ids:
        for delay_index, delay_days in enumerate(definition.delay_days):
            planned_to = ends.planned_to(account_id, delay_index)
            at = defined_at if planned_to is None else now
            span = definition.span_of(account_id)
            windows = due_windows(definition, delay_index, planned_to, at, span=span)
            window = next(windows, None)
            if window and planned_to and _is_within_a_window(definition, planned_to):
                # New rules of the zone cut this window, unless an earlier revision has a longer
                # window there, which only the ledger knows. The next one is due a little later.
                window = next(windows, None)
            if window is not None:
                due = due_at(window, delay_days, definition.product)
                since = defined_at if planned_to is None else max(due, seen[delay_days] or due)
                yield (
                    report_for_window(
                        definition, account_id, delay_index, window, rows_per_hour=None, now=now
                    ),
                    since,
                )


def _is_within_a_window(definition: ReportDefinition, instant: datetime) -> bool:
    windows = windows_ending_after(instant, definition.window, definition.time_zone)
    return next(windows).start < instant


def first_unplanned(
    definition: ReportDefinition,
    cursors: Mapping[tuple[str, str, int], datetime],
    delays: Delays | None,
) -> datetime | None:
    """Return the oldest cursor of a definition, or None if it was never planned."""
    by_account = _Ends(definition, cursors, delays)
    ends = (
        (definition.span_of(account_id).until, by_account.planned_to(account_id, index))
        for account_id in definition.account_ids
        for index in range(len(definition.delay_days))
    )
    # An account that is gone, and planned to its end, is not planned any more.
    left = (end for until, end in ends if end is not None and (until is None or end < until))
    return min(left, default=None)


def finals_planned_to(
    definition: ReportDefinition,
    cursors: Mapping[tuple[str, str, int], datetime],
    delays: Delays | None,
    at: datetime,
) -> Iterator[tuple[str, datetime]]:
    """Yield each account, and the end of its windows that are planned as final.

    An account that was never planned has the start of the first window that a run at the instant
    `at` plans. It is left out if that run plans none.

    `cursors` are those of the definition. `delays` are those that an earlier run saw.
    """
    ends = _Ends(definition, cursors, delays)
    final = len(definition.delay_days) - 1
    for account_id in definition.account_ids:
        planned_to = ends.planned_to(account_id, final)
        if planned_to is None:
            span = definition.span_of(account_id)
            first = next(due_windows(definition, final, None, at, span=span), None)
            planned_to = None if first is None else first.start
        if planned_to is not None:
            yield account_id, planned_to


def seen_delays(definition: ReportDefinition, before: Delays | None, at: datetime) -> Delays:
    """Return the delays of a definition that a run at the instant `at` sees.

    Without `before`, an earlier version of this code planned the definition, or none did.
    """
    if before is None:
        return dict.fromkeys(definition.delay_days)
    final = definition.delay_days[-1]
    seen = {days: before.get(days, at) for days in definition.delay_days}
    return seen if final == max(before) else {**seen, final: at}


def where_finals_begin(
    definition: ReportDefinition,
    cursors: Mapping[tuple[str, str, int], datetime],
    at: datetime,
    delays: Delays | None = None,
) -> Iterator[tuple[str, int, datetime]]:
    """Yield the account, the delay and the first cursor of each final revision without a cursor.

    A sub-account that is new since the definition was planned has a first cursor for each delay.

    A delay that is final again, after another delay was, gets a new cursor too. `delays` are those
    that an earlier run saw.

    Store these cursors before planning. A final revision without a cursor starts at the cursor of
    another delay, which planning advances. If an invocation planned first and died before it stored
    these cursors, the windows that it planned would never be collected as final.
    """
    index = len(definition.delay_days) - 1
    final = definition.delay_days[index]
    ends = _Ends(definition, cursors, delays)
    for account_id in definition.account_ids:
        begin = ends.begin_of(account_id)
        if begin is not None:
            yield from ((account_id, days, begin) for days in definition.delay_days)
            continue
        is_new = (definition.name, account_id, final) not in cursors
        if is_new or (delays is not None and max(delays) < final):
            since = ends.planned_to(account_id, index)
            yield account_id, final, since or next(due_windows(definition, index, None, at)).start


@dataclass(frozen=True)
class Relabelling:
    """A definition's preliminary deliveries that are final since its delays were shortened.

    Final is each preliminary revision that was collected `delay_days` after its window, or later,
    and that no later revision follows. Windows that end after `until` are planned as final. A later
    change of the definition does not concern this work.
    """

    definition: str
    delay_days: int
    until: datetime
    before: str
    """The finished reports up to this report_id are still to examine, the largest first."""
    again: bool = False
    """Whether a report could not be decided yet, so that all are examined once more."""

    def concerns(self, report: Report) -> bool:
        """Whether a report is final now, unless a later revision follows."""
        return (
            report.definition == self.definition
            and not report.is_half
            and report.revision is Revision.PRELIMINARY
            and report.delay_days >= self.delay_days
            and report.window.end <= self.until
        )


def relabelling_of(
    definition: ReportDefinition,
    cursors: Mapping[tuple[str, str, int], datetime],
    delays: Delays | None,
) -> Relabelling | None:
    """Return the relabelling that a change of the definition's delays needs, or None.

    Call it once a run sees the change. `delays` are those that an earlier run saw. Without them,
    the cursors of longer delays show that the definition may have been shortened before.
    """
    final = definition.delay_days[-1]
    ends = [(days, end) for (name, _, days), end in cursors.items() if name == definition.name]
    if delays is None:
        is_shortened = any(days > final for days, _ in ends)
    else:
        is_shortened = any(days >= final for days in sorted(delays)[:-1])
    until = max((end for days, end in ends if days >= final), default=None)
    if not is_shortened or until is None:
        return None
    return Relabelling(definition.name, final, until, report_ids_from(definition.name, until))


def present_revision(report: Report, delays: Delays | None) -> Report:
    """Return a report as its definition would plan it now: perhaps as the final revision."""
    if delays is None or report.revision is Revision.FINAL or report.delay_days < max(delays):
        return report
    return report.as_final()


def by_definition(
    cursors: Mapping[tuple[str, str, int], datetime],
) -> Mapping[str, Mapping[tuple[str, str, int], datetime]]:
    """Group cursors by the name of their definition, so that planning reads each cursor once."""
    grouped: dict[str, dict[tuple[str, str, int], datetime]] = defaultdict(dict)
    for key, end in cursors.items():
        grouped[key[0]][key] = end
    return grouped


def _ends(
    definition: ReportDefinition, cursors: Mapping[tuple[str, str, int], datetime]
) -> Mapping[str, Mapping[int, datetime]]:
    """Return the ends of a definition's planned windows, by account in lower case and by delay."""
    ends: dict[str, dict[int, datetime]] = defaultdict(dict)
    for (name, account_id, days), end in cursors.items():
        if name == definition.name:
            # Account ids are case-insensitive.
            of_account = ends[account_id.lower()]
            of_account[days] = max(end, of_account.get(days, end))
    return ends


class _Ends:
    """The ends of a definition's planned windows, by account and by delay."""

    def __init__(
        self,
        definition: ReportDefinition,
        cursors: Mapping[tuple[str, str, int], datetime],
        delays: Delays | None,
    ) -> None:
        self._definition = definition
        self._delays = delays
        self._ends = _ends(definition, cursors)
        self._has_begun = any(each.lower() in self._ends for each in definition.account_ids)

    def planned_to(self, account_id: str, delay_index: int) -> datetime | None:
        """Return the end of a revision's planned windows, or None for a new revision."""
        of = self._definition
        planned_to = _planned_to(of, account_id, delay_index, self._ends, self._delays)
        return self.begin_of(account_id) if planned_to is None else planned_to

    def begin_of(self, account_id: str) -> datetime | None:
        """Return the start of the first window of a sub-account that is new, or None.

        None also for a definition that is new itself, which begins with the latest due window.
        """
        span = self._definition.span_of(account_id)
        is_planned = account_id.lower() in self._ends
        if span.since is None or not span.is_new or is_planned or not self._has_begun:
            return None
        return _start_at(self._definition, span.since)


def _start_at(definition: ReportDefinition, instant: datetime) -> datetime:
    """Return the start of the window that contains an instant."""
    return next(windows_ending_after(instant, definition.window, definition.time_zone)).start


def _planned_to(
    definition: ReportDefinition,
    account_id: str,
    delay_index: int,
    ends_of: Mapping[str, Mapping[int, datetime]],
    delays: Delays | None,
) -> datetime | None:
    """Return the end of a revision's planned windows, or None for a new revision.

    A final revision with a changed delay continues where the previous delay ended, so no window is
    left out or bought as final twice. If the delay was shortened, some of the windows that follow
    may have a revision that is final now, and need no other. A revision with a restored delay
    continues after the windows that were collected with a longer delay meanwhile.
    """
    own = definition.delay_days[delay_index]
    is_final = delay_index == len(definition.delay_days) - 1
    ends = ends_of.get(account_id.lower(), {})
    former = max(delays) if is_final and delays else own
    finals = [end for days, end in ends.items() if days == former or days >= max(own, former)]
    if finals and (own in ends or former != own):
        return max(finals)
    return ends[max(ends)] if is_final and ends else None


def report_for_window(
    definition: ReportDefinition,
    account_id: str,
    delay_index: int,
    window: Window,
    *,
    rows_per_hour: float | None,
    now: datetime,
    pace: int | None = None,
    profile: TrafficProfile | None = None,
    backfill: str | None = None,
) -> Report:
    """Return the report of a due window. The last entry of `delay_days` is the final revision."""
    final = delay_index == len(definition.delay_days) - 1
    expected_rows = None if rows_per_hour is None else round(rows_per_hour * window.hours)
    return Report(
        report_id=report_id(
            definition=definition.name,
            account_id=account_id,
            window=window,
            delay_index=delay_index,
        ),
        definition=definition.name,
        product=definition.product,
        account_id=account_id,
        include_subaccounts=definition.include_subaccounts,
        filters=definition.filters,
        window=window,
        revision=Revision.FINAL if final else Revision.PRELIMINARY,
        priority=Priority.CALENDAR if backfill is None else Priority.BACKFILL,
        planned_at=now,
        delay_index=delay_index,
        delay_days=definition.delay_days[delay_index],
        revisions=len(definition.delay_days),
        expected_rows=expected_rows,
        pace=pace,
        profile=profile and profile.scaled(expected_rows or 0),
        max_records=definition.max_records,
        currency=definition.currency,
        backfill=backfill,
    )
