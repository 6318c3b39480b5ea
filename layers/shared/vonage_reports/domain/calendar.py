"""Which windows of a report definition are due."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, takewhile

from vonage_reports.domain.definitions import ReportDefinition
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
    """Yield, oldest first, the windows that became due since `cursor`, up to the instant `at`.

    Without a cursor it is the latest due window alone: a first run buys no history.
    """
    due_by = at - _delay(definition, delay_index)
    if cursor is None:
        yield latest_window_ending_by(due_by, definition.window, definition.time_zone)
        return
    windows = windows_ending_after(cursor, definition.window, definition.time_zone)
    yield from takewhile(lambda window: window.end <= due_by, windows)


def last_due_revision(definition: ReportDefinition, window: Window, at: datetime) -> int | None:
    """Return the index of the last revision of `window` that is due at `at`, None if none is."""
    due = [
        index
        for index in range(len(definition.delay_days))
        if window.end <= at - _delay(definition, index)
    ]
    return due[-1] if due else None


def due_at(window: Window, delay_days: int) -> datetime:
    """Return when a window is due that is collected so many days after its end."""
    # Of all windows only an hour, or half of one, is that short.
    least = HOUR if window.hours <= 1 else timedelta()
    return window.end + max(timedelta(days=delay_days), least)


def _delay(definition: ReportDefinition, delay_index: int) -> timedelta:
    delay = timedelta(days=definition.delay_days[delay_index])
    return max(delay, HOUR) if definition.window is WindowLength.HOUR else delay


CATCH_UP = timedelta(days=7)
"""A schedule that did not fire is made good this far back; what is older is not bought unasked."""


def is_too_late(
    definition: ReportDefinition, delay_index: int, window: Window, at: datetime
) -> bool:
    """Whether a window became due so long before `at` that a person has to ask for it."""
    return window.end + _delay(definition, delay_index) < at - CATCH_UP


@dataclass(frozen=True)
class Due:
    """What became due of one account and one entry of `delay_days`, oldest first.

    `late` are windows that a person has to ask for, `reports` are those of the windows after them.
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
) -> Iterator[Due]:
    """Yield what became due of a definition up to the instant `at`, whether it is there or not.

    `cursors`, the end of what is planned, are by definition, account and days of delay; `volumes`,
    rows per hour, and `profiles`, where they lie, by definition and account.
    """
    for account_id in definition.account_ids:
        for delay_index, delay_days in enumerate(definition.delay_days):
            since = _planned_to(definition, account_id, delay_index, cursors)
            windows = list(due_windows(definition, delay_index, since, at))
            # What is seen for the first time is never late: it is where collecting begins.
            late = [
                each
                for each in windows
                if since is not None and is_too_late(definition, delay_index, each, at)
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
    """Yield the next window that the calendar will plan, if it is due, and since when it is.

    One of each account and revision. What was never planned is due from `defined_at` on, when it
    came to be among the definitions.
    """
    for account_id in definition.account_ids:
        for delay_index, delay_days in enumerate(definition.delay_days):
            planned_to = _planned_to(definition, account_id, delay_index, cursors)
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
    """Yield account, and the end of what is planned, for final revisions without a cursor.

    It is to be noted before anything is planned: the cursor of another delay goes on, and the
    final takes its place from where that stands. So would it where a first run broke off between
    the two, and never be due.
    """
    index = len(definition.delay_days) - 1
    for account_id in definition.account_ids:
        if (definition.name, account_id, definition.delay_days[index]) not in cursors:
            since = _planned_to(definition, account_id, index, cursors)
            yield account_id, since or next(due_windows(definition, index, None, at)).start


def _planned_to(
    definition: ReportDefinition,
    account_id: str,
    delay_index: int,
    cursors: Mapping[tuple[str, str, int], datetime],
) -> datetime | None:
    """Return up to where a revision is planned, None at first sight.

    A final revision with another delay than before goes on where the one before it ended: a
    window is neither left out nor bought as final twice. With a delay that was left and comes
    back, a revision goes on behind what a longer one has collected meanwhile.
    """
    own = definition.delay_days[delay_index]
    is_final = delay_index == len(definition.delay_days) - 1
    ends = [
        (days, end)
        for (name, account, days), end in cursors.items()
        # An account is the same in capitals.
        if (name, account.lower()) == (definition.name, account_id.lower())
    ]
    if own in dict(ends):
        return max(end for days, end in ends if days >= own)
    return max(ends)[1] if is_final and ends else None


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
    """Make the report of a window that became due; the last of `delay_days` is the final one."""
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
