"""Withdraw: end open or failed reports that the operator no longer wants."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from vonage_reports.aws.ledger import Ledger, VersionConflict
from vonage_reports.aws.ledger_items import UnreadableItem
from vonage_reports.domain.decisions import Execution, ExecutionStatus, Stay
from vonage_reports.domain.errors import (
    InvalidRequest,
    RateLimited,
    ReportExpired,
    ReportFailed,
    VonageRejected,
    VonageUnavailable,
)
from vonage_reports.domain.lifecycle import GiveUp
from vonage_reports.domain.report import Report, RequestStatus, State
from vonage_reports.domain.waits import DEADLINE
from vonage_reports.domain.windows import Window
from vonage_reports.submit_reports.context import Invocation, Services, StepResult
from vonage_reports.submit_reports.execute import collect_errors, execute
from vonage_reports.submit_reports.spend_cap import stored_records
from vonage_reports.submit_reports.split_windows import parts_of

_DELIVERED = "Vonage had finished it before, and it is delivered as ever"
_NOT_YET = (
    "Vonage has not stopped it yet. Each sweep asks again, until its run has ended. If the run "
    "fetches the report first, it is delivered as ever"
)


def withdraw(report_id: str, services: Services, *, now: datetime) -> StepResult:
    """End an open or failed report, which is CANCELLED then, or say why it is not ended now.

    A report that Vonage had finished already is delivered as ever. A withdrawn report is not
    withdrawn again.

    Raises InvalidRequest, having written nothing, for an unknown report, a part of a window, a
    report that is finished without a failure, and archives that are stored already.
    """
    report = services.ledger.report(report_id)
    if report is None:
        raise InvalidRequest(f"withdraw: the ledger has no report {report_id}")
    if report.is_half:
        raise InvalidRequest(f"withdraw: {report_id} is a part. Withdraw its window: {report.root}")
    if report.state is State.CANCELLED and report.withdrawn_at is not None:
        return StepResult()
    _require_unfinished(report, services, now=now)
    result = StepResult()
    _withdraw(report, services, result, now=now)
    return result


def _withdraw(report: Report, services: Services, result: StepResult, *, now: datetime) -> None:
    """End a report, or append to the result why it is not ended."""
    try:
        after, reason = end(report, services, now=now)
    except VersionConflict:
        raise InvalidRequest(
            f"withdraw: another invocation changed {report.report_id} at the same time. Send the "
            "event again"
        ) from None
    if after.is_at_end:
        result.ended.append(report.report_id)
    else:
        error = InvalidRequest(f"withdraw: {report.report_id} is not ended: {reason}")
        result.errors.append(error)


def withdraw_windows(
    definition: str,
    account_id: str,
    dates: tuple[date, date],
    services: Services,
    invocation: Invocation,
    *,
    now: datetime,
) -> StepResult:
    """End all open and failed reports of one account whose windows begin in a range of dates.

    The reports that are not ended now do not stop the others. Each has an error in the result, and
    so have the reports that cannot be read.

    Raises InvalidRequest, having written nothing, as `withdrawable` does.
    """
    found, unreadable = withdrawable(definition, account_id, dates, services.ledger)
    result = StepResult()
    if unreadable:
        result.errors.append(InvalidRequest(f"withdraw: {unreadable}"))
    for number, report in enumerate(found):
        if not invocation.has_time_to_settle():
            left = f"Reports of {definition}, {account_id} that are left: {len(found) - number:,}"
            result.errors.append(
                InvalidRequest(
                    f"withdraw: the invocation ran out of time. {left}. Send the event again"
                )
            )
            break
        errors: list[Exception] = []
        with collect_errors(errors):
            _require_unfinished(report, services, now=now)
            _withdraw(report, services, result, now=now)
        result.errors += [_named(report, error) for error in errors]
    return result


def _named(report: Report, error: Exception) -> InvalidRequest:
    """Return an error, also one of AWS, as the reason why a report is not ended."""
    if isinstance(error, InvalidRequest):
        return error
    return InvalidRequest(f"withdraw: {report.report_id} is not ended: {error}")


_EARLIEST, _LATEST = date(2000, 1, 1), date(9998, 12, 31)
"""The dates that every time zone has, and that a report_id writes with four digits."""


def withdrawable(
    definition: str, account_id: str, dates: tuple[date, date], ledger: Ledger
) -> tuple[list[Report], UnreadableItem | None]:
    """Return the reports of an account that `withdraw_windows` ends, oldest first.

    Their windows begin at the first date or later, and before the second date. The dates are local
    to the definition. Leaves out what is stored and about to be delivered, and a failed revision
    whose window has a later delivery. Also returns the error that names the unreadable reports of
    these windows, which may be of another account.

    Raises InvalidRequest for an unknown definition, an account that has neither a cursor nor a
    report, and dates that are no range.
    """
    start, end = dates
    if end <= start:
        raise InvalidRequest(
            f"withdraw: end {end} is not after start {start}; write a later end (exclusive)"
        )
    if start < _EARLIEST or end > _LATEST:
        raise InvalidRequest(
            f"withdraw: {start} to {end} is out of range; write dates from {_EARLIEST} to {_LATEST}"
        )
    calendar = ledger.calendar()
    collects = calendar.collects
    if definition not in collects:
        names = ", ".join(sorted(collects)) or "no definition"
        raise InvalidRequest(
            f"withdraw: the ledger has no definition {definition}. It has: {names}"
        )
    zone = ZoneInfo(json.loads(collects[definition])["time_zone"])
    first, last = (datetime.combine(day, time(), zone).astimezone(UTC) for day in dates)
    reports, unreadable = ledger.reports_between(definition, first, last)
    own = [each for each in reports if each.account_id.lower() == account_id.lower()]
    planned = {account.lower() for name, account, _ in calendar.cursors if name == definition}
    if not own and not unreadable and account_id.lower() not in planned:
        raise InvalidRequest(
            f"withdraw: the calendar never planned {account_id} of {definition}, and no window "
            "between these dates has a report of it. Correct the account"
        )
    delivered: dict[Window, int] = {}
    for each in own:
        if each.state is State.DELIVERED:
            delivered[each.window] = max(each.delay_days, delivered.get(each.window, 0))
    found = [
        each
        for each in own
        if (not each.is_at_end and each.state is not State.CONVERTING)
        or (each.state is State.FAILED and delivered.get(each.window, -1) < each.delay_days)
    ]
    found.sort(key=lambda each: (each.window.start, each.delay_days))
    return found, UnreadableItem(*sorted(unreadable)) if unreadable else None


def _require_unfinished(report: Report, services: Services, *, now: datetime) -> None:
    if report.is_at_end and report.state is not State.FAILED:
        raise InvalidRequest(f"withdraw: {report.report_id} is {report.state}, which is finished")
    stored = report.state is State.CONVERTING
    if report.state is State.SPLIT:
        parts = parts_of(report, services.ledger, now=now) or []
        stored = bool(parts) and all(part.state is State.STORED for part in parts)
    if stored:
        raise InvalidRequest(
            f"withdraw: the archives of {report.report_id} are stored, and Vonage is asked for "
            "nothing more. Let the conversion finish"
        )


def end(report: Report, services: Services, *, now: datetime) -> tuple[Report, str]:
    """End a withdrawn report as far as possible now; return it, and why it is still open.

    Mark a report that Vonage has before Vonage is asked to stop it: if this invocation dies in
    between, the next sweep goes on.

    Raises VersionConflict if another invocation was faster.
    """
    if report.state in (State.SUBMITTED, State.SPLIT) and report.withdrawn_at is None:
        report = services.ledger.write(report, replace(report, withdrawn_at=now))
    if report.state is State.SUBMITTED:
        execution = services.executions.describe(report)
        if execution.status is ExecutionStatus.SUCCEEDED:
            return report, _DELIVERED
        decision, records = cancelled(report, execution, services, now=now)
        if decision is None or isinstance(decision, Stay):
            return report, _NOT_YET if decision else _DELIVERED
        return execute(report, decision, services, now=now, records=records), ""
    if report.state is State.SPLIT:
        # Finished parts stay as they are: their archives are paid for.
        parts = [
            part if part.is_at_end else end(part, services, now=now)[0]
            for part in parts_of(report, services.ledger, now=now) or []
        ]
        if not all(part.is_at_end for part in parts):
            return report, _NOT_YET
    return execute(report, GiveUp(_slot_until(report, services, now=now)), services, now=now), ""


def cancelled(
    report: Report, execution: Execution, services: Services, *, now: datetime
) -> tuple[GiveUp | Stay | None, int | None]:
    """Ask Vonage to stop a withdrawn report (DELETE), and decide for it.

    None: Vonage had finished the report with a file, which is delivered as ever. A part of a window
    is never delivered alone. Also returns the count of the records of a report that had ended.

    Unless Vonage has stopped the report, its run may still deliver it, so wait for the run's end.
    """
    is_running = execution.status is ExecutionStatus.RUNNING and not report.is_half
    later = Stay() if is_running else GiveUp(_slot_until(report, services, now=now))
    try:
        if services.vonage.cancel_report(report.request_id or ""):
            return GiveUp(), None
        ended, records = _had_ended(report, services)
        return (GiveUp() if report.is_half else ended), records
    except (RateLimited, VonageUnavailable):
        is_over = report.withdrawn_at is not None and now - report.withdrawn_at > DEADLINE
        return (later, stored_records(report, services)) if is_over else (Stay(), None)
    except (ReportExpired, VonageRejected):
        return later, stored_records(report, services)


def _had_ended(report: Report, services: Services) -> tuple[GiveUp | None, int | None]:
    """Decide for a report that had ended before the DELETE (409). Return its records too."""
    try:
        answer = services.vonage.get_report(report.request_id or "")
        at_vonage = answer.state
    except (ReportExpired, ReportFailed):
        return GiveUp(), stored_records(report, services)
    except RateLimited:
        raise
    except VonageRejected:
        return None, None
    # Another invocation, or this one before it died, may have stopped the report.
    ended = None if at_vonage is RequestStatus.SUCCESS else GiveUp()
    return ended, answer.items_count


def _slot_until(report: Report, services: Services, *, now: datetime) -> datetime | None:
    """Return the time at which Vonage has surely ended its work on a report that is withdrawn now.

    None: the report has no slot.
    """
    if report.slot is None:
        return None
    if report.state is State.HELD and report.look_after is not None:
        return report.look_after
    return services.waits.held_slot_until(now, report.submitted_at)
