"""Settle: advance reports by the state of their runs and their state at Vonage."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from vonage_reports.aws.ledger_items import OpenWork
from vonage_reports.domain.decisions import (
    AtVonage,
    Cancel,
    Decision,
    Execution,
    ExecutionStatus,
    Gone,
    Stay,
    Unreadable,
    decide,
    is_leased,
    needs_vonage,
    while_held,
    while_split,
)
from vonage_reports.domain.errors import (
    RateLimited,
    ReportExpired,
    ReportFailed,
    VonageRejected,
    VonageUnavailable,
)
from vonage_reports.domain.lifecycle import Fail, GiveUp, Resubmit, Split, Store, Withdraw
from vonage_reports.domain.objects import manifest_key, receipt_key
from vonage_reports.domain.report import Entry, Report, State
from vonage_reports.domain.run_input import became_final
from vonage_reports.submit_reports.context import Invocation, Services, StepResult
from vonage_reports.submit_reports.execute import announce_once, collect_errors, execute
from vonage_reports.submit_reports.spend_cap import stored_records
from vonage_reports.submit_reports.split_windows import have_parts_open, parts_of
from vonage_reports.submit_reports.withdraw import cancelled, end
from vonage_reports.vonage.comparison import require_answer_to

_SWEEP = timedelta(minutes=5)
_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

_Item = TypeVar("_Item")


def settle(
    work: OpenWork, services: Services, invocation: Invocation, *, clock: Callable[[], datetime]
) -> StepResult:
    """Advance every report as far as possible while there is time. Return the finished reports.

    Level-triggered: decide by the current state at Step Functions and Vonage, never by an event.
    An error of one report does not stop the other reports.
    """
    result = StepResult()
    for slot, until in work.slots_until.items():
        if until <= clock():
            with collect_errors(result.errors):
                services.ledger.free_slot(slot, until)
    whole = {report.report_id: report for report in work.reports if not report.is_half}
    still_open = {report.report_id for report in work.reports}
    for report in rotated(work.reports, clock()):
        if not invocation.has_time_to_settle():
            break
        with collect_errors(result.errors):
            root = whole.get(report.root or report.report_id, report)
            settled = _settle(report, root.leaves, work.announced, services, now=clock())
            if settled.is_at_end:
                result.report_ids.append(report.report_id)
                still_open.discard(report.report_id)
    for report in work.reports:
        # Settle split windows last, after the loop above has written the states of their parts.
        if report.state is not State.SPLIT or not invocation.has_time_to_settle():
            continue
        # While every part is open, do not read the parts: many split windows may wait.
        if report.withdrawn_at is not None or not have_parts_open(report, still_open, now=clock()):
            with collect_errors(result.errors):
                if _settle_split(report, services, now=clock()).is_at_end:
                    result.report_ids.append(report.report_id)
    return result


def rotated(items: Sequence[_Item], now: datetime) -> Sequence[_Item]:
    """Rotate items by time, so that those that take long or fail do not always come first."""
    first = (now - _LONG_AGO) // _SWEEP % max(1, len(items))
    return (*items[first:], *items[:first])


def _settle(
    report: Report, leaves: int, announced: frozenset[str], services: Services, *, now: datetime
) -> Report:
    if report.state is State.HELD:
        return execute(report, while_held(report, now=now), services, now=now)
    if report.state not in (State.SUBMITTED, State.CONVERTING) or is_leased(report, now):
        return report
    execution = services.executions.describe(report)
    is_withdrawn = report.withdrawn_at is not None
    if is_withdrawn and execution.status is not ExecutionStatus.SUCCEEDED:
        ending, counted = cancelled(report, execution, services, now=now)
        if ending is not None:
            return execute(report, ending, services, now=now, records=counted)
    at_vonage: AtVonage | None = None
    # A run that succeeded has counted the rows. The parts of a split window count with their own
    # requests.
    entry, records = Entry.CHECK, execution.rows if report.state is State.SUBMITTED else None
    if execution.status is ExecutionStatus.FAILED:
        if needs_vonage(report, execution):
            at_vonage, records = _at_vonage(report, announced, services)
        entry = _entry(report, services)
    decision = decide(
        report, execution, at_vonage, entry=entry, leaves=leaves, now=now, waits=services.waits
    )
    if is_withdrawn and isinstance(decision, Cancel | Resubmit | Split):
        decision = GiveUp()
    if isinstance(decision, Cancel):
        decision, at_vonage, records = _cancel(
            report, execution, decision, announced, services, leaves=leaves, now=now
        )
    is_forgotten = at_vonage is Gone.GONE and isinstance(decision, Fail | Resubmit | Store)
    if is_forgotten:
        # Vonage billed the request, and does not tell any more how many records it had.
        records = stored_records(report, services)
    return execute(report, decision, services, now=now, records=records)


def _settle_split(report: Report, services: Services, *, now: datetime) -> Report:
    """Convert a split window once every part is stored. If a part has failed, fail the window."""
    # Read the window before its parts, so that a decision from stale parts fails the version check.
    root = services.ledger.report(report.report_id)
    if root is None or root.state is not State.SPLIT or is_leased(root, now):
        return report
    if root.withdrawn_at is not None:
        return end(root, services, now=now)[0]
    parts = parts_of(root, services.ledger, now=now)
    if parts is None:
        return root
    if any(part.state is State.FAILED for part in parts):
        # The window has failed, so do not pay for parts that were not requested yet.
        parts = [
            execute(part, Withdraw(), services, now=now) if part.state is State.PLANNED else part
            for part in parts
        ]
    return execute(root, while_split(parts), services, now=now)


def _entry(report: Report, services: Services) -> Entry:
    """Return where a new run begins, so that it skips the steps that are done."""
    written = services.bucket.precedence(manifest_key(report))
    is_present = written and written.run >= report.run - report.resumes
    if is_present and not report.is_half and not became_final(report):
        # The manifest was written by a run of the present attempt or conversion.
        return Entry.ANNOUNCE
    is_stored = report.receipts or services.bucket.exists(receipt_key(report))
    return Entry.CONVERT if is_stored else Entry.CHECK


def _at_vonage(
    report: Report, announced: frozenset[str], services: Services
) -> tuple[AtVonage, int | None]:
    """Return a report's state at Vonage. If it has ended, return Vonage's count of records too."""
    try:
        answer = require_answer_to(report, services.vonage.get_report(_request_id(report)))
        state = answer.state
    except ReportExpired:
        return Gone.GONE, None
    except ReportFailed:
        return Unreadable.UNKNOWN_STATUS, None
    except RateLimited:
        return Unreadable.UNAVAILABLE, None
    except VonageUnavailable as error:
        # Another report's answer, or none at all with a status of success, may come for good.
        is_for_good = error.is_unusable_answer
        return (Unreadable.REFUSED if is_for_good else Unreadable.NO_ANSWER), None
    except VonageRejected as error:
        # With all slots taken, no POST is sent, and only this GET shows that the key is refused.
        announce_once(report, error, announced, services)
        # If the API key is refused, every report waits until the operator changes the secret.
        is_of_key = error.concerns_every_report
        return (Unreadable.UNAVAILABLE if is_of_key else Unreadable.REFUSED), None
    return state, answer.items_count if state.is_terminal else None


def _cancel(
    report: Report,
    execution: Execution,
    cancel: Cancel,
    announced: frozenset[str],
    services: Services,
    *,
    leaves: int,
    now: datetime,
) -> tuple[Decision, AtVonage | None, int | None]:
    """Stop a report at Vonage, and decide for it.

    Return its state after that too, None if it is stopped or unknown, and Vonage's count of its
    records.
    """
    try:
        if services.vonage.cancel_report(_request_id(report)):
            return cancel.then, None, None
    except ReportExpired:
        return cancel.then, Gone.GONE, None
    except (RateLimited, VonageRejected, VonageUnavailable):
        return Stay(), None, None
    # The report had ended before the DELETE, perhaps with a file.
    at_vonage, records = _at_vonage(report, announced, services)
    again = decide(
        report,
        execution,
        at_vonage,
        entry=Entry.CHECK,
        leaves=leaves,
        now=now,
        waits=services.waits,
    )
    return again.then if isinstance(again, Cancel) else again, at_vonage, records


def _request_id(report: Report) -> str:
    assert report.request_id is not None
    return report.request_id
