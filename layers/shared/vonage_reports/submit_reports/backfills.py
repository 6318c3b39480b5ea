"""Backfills: begin and cancel them, and plan their windows as slots become free."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from vonage_reports.aws.ledger import Change, VersionConflict
from vonage_reports.aws.ledger_items import Calendar, OpenWork
from vonage_reports.domain import notifications
from vonage_reports.domain.backfill import Backfill, Progress, expected_records
from vonage_reports.domain.calendar import (
    last_due_revision,
    present_revision,
    report_for_window,
)
from vonage_reports.domain.definitions import Refusal
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.lifecycle import Withdraw, apply
from vonage_reports.domain.products import billed_records, oldest_start
from vonage_reports.domain.removal import NONE_REMOVED, Removals
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.slots import is_backlogged, room_for_backfills
from vonage_reports.domain.windows import Window, tiled
from vonage_reports.submit_reports.context import Invocation, Services, StepResult
from vonage_reports.submit_reports.execute import collect_errors
from vonage_reports.submit_reports.plan import MISSING, PlanOutcome, plan_change
from vonage_reports.submit_reports.split_windows import parts_of

_AT_ONCE = 300
"""How many reports one query reads. A large number, so that delivered windows are skipped fast."""


def begin(backfill: Backfill, services: Services, *, max_billed_records: int) -> None:
    """Write a backfill into the ledger, unless it is running already.

    Raises InvalidRequest if an unconfirmed backfill's expected billed records exceed the limit.
    """
    records = expected_records(backfill, services.ledger.calendar().volumes)
    if records > max_billed_records and not backfill.confirmed:
        raise InvalidRequest(f"backfill: {_too_expensive(records, max_billed_records)}")
    services.ledger.record_collects(backfill.definition)
    running = {each.name: each for each in services.ledger.open_work().backfills}.get(backfill.name)
    if running is None:
        with suppress(VersionConflict):
            services.ledger.write_all([], (None, backfill))
    elif backfill.confirmed and not running.confirmed:
        services.ledger.write_all([], (running, replace(running, confirmed=True)))


def cancel(name: str, services: Services, *, now: datetime) -> None:
    """Stop a backfill, and withdraw its reports that were not requested yet.

    A split window is withdrawn, with all its parts, only if no part was requested. A second cancel,
    or a cancel after the last window was planned, withdraws the remaining reports.

    Raises InvalidRequest for an unknown backfill.
    """
    work = _ended(name, services)
    errors: list[Exception] = []
    for report in work.reports:
        if report.backfill == name and not report.is_half:
            with collect_errors(errors):
                _withdraw(report, services, now=now)
    for error in errors:
        raise error


def _withdraw(report: Report, services: Services, *, now: datetime) -> None:
    """Withdraw a window, unless it or one of its parts was requested."""
    parts: list[Report] = []
    if report.state is State.SPLIT:
        parts = parts_of(report, services.ledger, now=now) or []
    asked_for = parts or [report]
    if all(
        each.state is State.PLANNED and each.attempt == each.attempts_before for each in asked_for
    ):
        withdrawn = [(each, apply(each, Withdraw(), now=now)) for each in (report, *parts)]
        services.ledger.write_all(withdrawn)


def _ended(name: str, services: Services) -> OpenWork:
    """End a backfill and return the open work afterwards."""
    while True:
        work = services.ledger.open_work()
        running = {each.name: each for each in work.backfills}
        if name not in running and _is_over(name, services):
            return work
        if name not in running:
            names = ", ".join(running) or "none"
            raise InvalidRequest(f"cancel: there is no backfill {name}. Running backfills: {names}")
        cancelled = replace(running[name], progress=Progress.CANCELLED)
        # Until the write succeeds, another invocation may plan more windows of the backfill.
        with suppress(VersionConflict):
            services.ledger.write_all([], (running[name], cancelled))
            return services.ledger.open_work()


def _is_over(name: str, services: Services) -> bool:
    return any(each.name == name for each in services.ledger.ended_backfills([]))


def plan_backfills(
    services: Services,
    invocation: Invocation,
    *,
    max_billed_records: int,
    clock: Callable[[], datetime],
    removals: Removals = NONE_REMOVED,
) -> StepResult:
    """Plan as many windows of running backfills as slots are free. Return the reports.

    The newest window of all backfills comes first. A backfill of a removed definition or account
    waits.
    """
    work = services.ledger.open_work()
    reports = removals.without_waiting(work.reports)
    room = room_for_backfills(reports, in_use=len(work.slots), now=clock())
    result = StepResult()
    calendar = services.ledger.calendar()
    running = {each.name: each for each in work.backfills}
    for name, backfill in list(running.items()):
        reason = _reason_to_stop(backfill, calendar, max_billed_records, now=clock())
        if reason is not None:
            stop(backfill, reason, services)
        of = backfill.definition
        is_waiting = removals.of(of.name, of.account_ids) is not None
        if reason is not None or is_waiting or is_backlogged(name, work.reports, clock()):
            del running[name]
    while room > 0 and running and invocation.has_time_to_settle():
        backfill = max(running.values(), key=lambda each: (next(each.left())[0].end, each.name))
        try:
            after, report = _advance(backfill, calendar, services, invocation, clock=clock)
        except VersionConflict:
            # Another invocation plans this backfill.
            del running[backfill.name]
            continue
        if report is not None:
            result.report_ids.append(report.report_id)
            room -= 1
        running[backfill.name] = after
        if after.is_over or report is None:
            del running[backfill.name]
    return result


def _advance(
    backfill: Backfill,
    calendar: Calendar,
    services: Services,
    invocation: Invocation,
    *,
    clock: Callable[[], datetime],
) -> tuple[Backfill, Report | None]:
    """Plan the next missing window. Return the backfill afterwards and the planned report.

    The report is None if no window is left or the time is up.

    Raises VersionConflict if another invocation was faster.
    """
    skipped = 0
    for missing in _left(backfill, calendar, services, now=clock()):
        if not invocation.has_time_to_settle():
            break
        if not missing:
            skipped += 1
            continue
        report, change = missing[-1]
        after = backfill.after(skipped=skipped, planned=int(len(missing) == 1))
        services.ledger.write_all([change], (backfill, after))
        return replace(after, version=backfill.version + 1), report
    after = backfill.after(skipped=skipped)
    services.ledger.write_all([], (backfill, after))
    return replace(after, version=backfill.version + 1), None


def _left(
    backfill: Backfill, calendar: Calendar, services: Services, *, now: datetime
) -> Iterator[list[tuple[Report, Change]]]:
    """Yield, newest first, the missing reports of each window and account, and their changes.

    There is none if the window is delivered or under way. There are several, oldest first, if the
    ledger has windows that earlier rules of the time zone cut.
    """
    left = backfill.left()
    length = timedelta(days=backfill.definition.window.most_days + 1)
    while some := list(islice(left, _AT_ONCE)):
        (newest, _), (oldest, _) = some[0], some[-1]
        regular = {window for window, _ in some}
        known: dict[str, dict[Window, list[Report]]] = {}
        reports, unreadable = services.ledger.reports_between(
            backfill.definition.name, oldest.start - length, newest.end
        )
        for each in reports:
            known.setdefault(each.account_id, {}).setdefault(each.window, []).append(each)
        irregular = {
            account_id: [window for window in there if window not in regular]
            for account_id, there in known.items()
        }
        for window, account_id in some:
            there = known.get(account_id, {})
            planned = [*irregular.get(account_id, ())]
            planned += [each.window for each in there.get(window, ())[:1]]
            changes = (
                _change(backfill, each, account_id, calendar, there.get(each, ()), now=now)
                for each in tiled([window], planned)
            )
            yield [
                change
                for change in changes
                if change is not None and change[0].report_id not in unreadable
            ]


def _change(
    backfill: Backfill,
    window: Window,
    account_id: str,
    calendar: Calendar,
    known: Sequence[Report],
    *,
    now: datetime,
) -> tuple[Report, Change] | None:
    """Return the report of a window with the change that plans it; None: it is not missing."""
    report = _report(backfill, window, account_id, calendar, now=now)
    if report is None:
        return None
    change = plan_change(report, known, again=MISSING)
    return None if isinstance(change, PlanOutcome) else (report, change)


def _report(
    backfill: Backfill,
    window: Window,
    account_id: str,
    calendar: Calendar,
    *,
    now: datetime,
) -> Report | None:
    definition = backfill.definition
    delay_index = last_due_revision(definition, window, max(now, backfill.begun_at))
    if delay_index is None:
        # Earlier rules of the time zone cut this window: it ends after the backfill's last one.
        return None
    report = report_for_window(
        definition,
        account_id,
        delay_index,
        window,
        rows_per_hour=calendar.volumes.get((definition.name, account_id)),
        pace=calendar.paces.get((definition.name, account_id)),
        profile=calendar.profiles.get((definition.name, account_id)),
        now=now,
        backfill=backfill.name,
    )
    return present_revision(report, calendar.delays.get(definition.name))


def _reason_to_stop(
    backfill: Backfill, calendar: Calendar, max_billed_records: int, *, now: datetime
) -> str | None:
    """Return why a backfill has to stop, or None if it may continue."""
    records = expected_records(backfill, calendar.volumes)
    if records > max_billed_records and not backfill.confirmed:
        return f"{_too_expensive(records, max_billed_records)}. Delivered windows will be skipped"
    window, _ = next(backfill.left(), (None, None))
    product = backfill.definition.product
    if window is None:
        return "it has no windows left, because the time zone's rules have changed"
    if window.start < oldest_start(product, now):
        return f"Vonage has deleted the {product} records of its windows up to {window.first_date}"
    return None


def stop(backfill: Backfill, reason: str, services: Services) -> None:
    """Announce that a backfill has to stop, then end it."""
    sentence = f"the backfill {backfill.name} is stopped: {reason}"
    refusal = Refusal(backfill.definition.name, "backfill", sentence)
    services.topic.announce(notifications.refused(refusal))
    with suppress(VersionConflict):
        services.ledger.write_all([], (backfill, replace(backfill, progress=Progress.STOPPED)))


def _too_expensive(records: int, limit: int) -> str:
    return (
        f"about {records:,} records are expected to be billed, more than the setting "
        f'MaxBilledRecords ({limit:,}). To accept that, send the event again with "confirm": true'
    )


def outlook(backfill: Backfill, services: Services) -> dict[str, Any]:
    """Return the effect of a backfill, without writing anything.

    `windows` are ISO 8601 intervals, newest first. `reports` is the number of reports to request,
    and `skipped` the number of reports delivered or under way. `expected_rows` is null if an
    account has no history.
    """
    calendar = services.ledger.calendar()
    skipped, reports, records = 0, 0, 0.0
    known = True
    for missing in _left(backfill, calendar, services, now=backfill.begun_at):
        skipped += not missing
        reports += len(missing)
        for report, _ in missing:
            known = known and report.expected_rows is not None
            records += report.expected_rows or 0
    rows = round(records) if known else None
    return {
        "backfill": backfill.name,
        "windows": [window.interval for window in backfill.windows],
        "reports": reports,
        "skipped": skipped,
        "expected_rows": rows,
        "expected_billed_records": billed_records(backfill.definition.product, rows),
    }
