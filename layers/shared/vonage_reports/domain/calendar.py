"""The due windows of a report definition, and their reports."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, takewhile

from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.products import oldest_start
from vonage_reports.domain.report import Priority, Report, Revision, report_id
from vonage_reports.domain.traffic_profile import TrafficProfile
from vonage_reports.domain.windows import (
    HOUR,
    Window,
    WindowLength,
    latest_window_ending_by,
    windows_ending_after,
)


def due_windows(
    definition: ReportDefinition, delay_index: int, cursor: datetime | None, at: datetime
) -> Iterator[Window]:
    """Yield, oldest first, the windows after `cursor` that are due at the instant `at`.

    Without a cursor, yield only the latest due window, because a first run buys no history.
    """
    due_by = at - _delay(definition, delay_index)
    if cursor is None:
        yield latest_window_ending_by(due_by, definition.window, definition.time_zone)
        return
    windows = windows_ending_after(cursor, definition.window, definition.time_zone)
    yield from takewhile(lambda window: window.end <= due_by, windows)


def last_due_revision(definition: ReportDefinition, window: Window, at: datetime) -> int | None:
    """Return the index of the last revision of `window` that is due at `at`, or None."""
    due = [
        index
        for index in range(len(definition.delay_days))
        if window.end <= at - _delay(definition, index)
    ]
    return due[-1] if due else None


def due_at(window: Window, delay_days: int) -> datetime:
    """Return when a window is due, `delay_days` after its end."""
    # Hourly windows wait at least an hour. Some hourly windows last only half an hour.
    least = HOUR if window.hours <= 1 else timedelta()
    return window.end + max(timedelta(days=delay_days), least)


def _delay(definition: ReportDefinition, delay_index: int) -> timedelta:
    delay = timedelta(days=definition.delay_days[delay_index])
    return max(delay, HOUR) if definition.window is WindowLength.HOUR else delay


CATCH_UP = timedelta(days=7)
"""How far back missed windows are caught up. Only the operator can request older windows."""


def is_too_late(
    definition: ReportDefinition, delay_index: int, window: Window, at: datetime
) -> bool:
    """Whether a window is too old for the calendar, so that only the operator can request it."""
    return window.end + _delay(definition, delay_index) < at - CATCH_UP


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
    stopped_since: datetime | None = None,
) -> Iterator[Due]:
    """Yield a definition's windows that are due at the instant `at`.

    Some windows may be in the ledger already. `cursors` are the ends of the planned windows, by
    definition, account and days of delay. `volumes` (rows per hour) and `profiles` (the
    distribution of the rows) are by definition and account.

    If planning has been stopped since `stopped_since`, lateness counts from that time, but windows
    whose records Vonage has deleted are late.
    """
    ends = _ends(definition, cursors)
    counted_from = at if stopped_since is None else min(at, stopped_since)
    kept_from = None if stopped_since is None else oldest_start(definition.product, now)
    for account_id in definition.account_ids:
        for delay_index, delay_days in enumerate(definition.delay_days):
            since = _planned_to(definition, account_id, delay_index, ends)
            windows = list(due_windows(definition, delay_index, since, at))
            # A definition without a cursor has no late windows, because collecting begins with the
            # latest window.
            late = [
                each
                for each in windows
                if since is not None
                and (
                    is_too_late(definition, delay_index, each, counted_from)
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
) -> Iterator[tuple[Report, datetime]]:
    """Yield the next window of each account and revision, if due, and the time it became due.

    A revision that was never planned is due since `defined_at`, when its definition was added.
    """
    ends = _ends(definition, cursors)
    for account_id in definition.account_ids:
        for delay_index, delay_days in enumerate(definition.delay_days):
            planned_to = _planned_to(definition, account_id, delay_index, ends)
            at = defined_at if planned_to is None else now
            for window in islice(due_windows(definition, delay_index, planned_to, at), 1):
                since = defined_at if planned_to is None else due_at(window, delay_days)
                yield (
                    report_for_window(
                        definition, account_id, delay_index, window, rows_per_hour=None, now=now
                    ),
                    since,
                )


def where_finals_begin(
    definition: ReportDefinition,
    cursors: Mapping[tuple[str, str, int], datetime],
    at: datetime,
) -> Iterator[tuple[str, datetime]]:
    """Yield the account and the first cursor of each final revision without a cursor.

    Store these cursors before planning. A final revision without a cursor starts at the cursor of
    another delay, which planning advances. If an invocation planned first and died before it stored
    these cursors, the windows that it planned would never be collected as final.
    """
    index = len(definition.delay_days) - 1
    ends = _ends(definition, cursors)
    for account_id in definition.account_ids:
        if (definition.name, account_id, definition.delay_days[index]) not in cursors:
            since = _planned_to(definition, account_id, index, ends)
            yield account_id, since or next(due_windows(definition, index, None, at)).start


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


def _planned_to(
    definition: ReportDefinition,
    account_id: str,
    delay_index: int,
    ends_of: Mapping[str, Mapping[int, datetime]],
) -> datetime | None:
    """Return the end of a revision's planned windows, or None for a new revision.

    A final revision with a changed delay continues where the previous delay ended, so no window is
    left out or bought as final twice. A revision with a restored delay continues after the windows
    that were collected with a longer delay meanwhile.
    """
    own = definition.delay_days[delay_index]
    is_final = delay_index == len(definition.delay_days) - 1
    ends = ends_of.get(account_id.lower(), {})
    if own in ends:
        return max(end for days, end in ends.items() if days >= own)
    return ends[max(ends)] if is_final and ends else None


def report_for_window(
    definition: ReportDefinition,
    account_id: str,
    delay_index: int,
    window: Window,
    *,
    rows_per_hour: float | None,
    now: datetime,
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
        profile=profile and profile.scaled(expected_rows or 0),
        max_records=definition.max_records,
        currency=definition.currency,
        backfill=backfill,
    )
