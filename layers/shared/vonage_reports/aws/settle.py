"""Settle: what became of the reports that have a run."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from vonage_reports.aws.edges import Edges
from vonage_reports.aws.ledger import Outrun
from vonage_reports.domain import notifications, waits
from vonage_reports.domain.errors import (
    RateLimited,
    ReportExpired,
    ReportFailed,
    VonageRejected,
    VonageUnavailable,
)
from vonage_reports.domain.objects import Subject
from vonage_reports.domain.reports import Report, State, execution_input
from vonage_reports.domain.transitions import (
    Again,
    AtVonage,
    Cancel,
    Deliver,
    Fail,
    Gone,
    Move,
    Resume,
    Run,
    Start,
    Stay,
    Unreadable,
    decide,
    needs_vonage,
)


def settle(reports: Sequence[Report], edges: Edges, *, now: datetime) -> list[str]:
    """Move every SUBMITTED report as far as it can go now; return those that came to their end.

    Level-triggered: it goes by what Step Functions and Vonage say now, never by an event.
    """
    ended = []
    for report in reports:
        if report.state is not State.SUBMITTED or (report.look_after or now) > now:
            continue
        try:
            moved = _settle(report, edges, now=now)
        except Outrun:
            # Another submit_reports saw the same, and did it.
            continue
        if moved.state.is_end:
            ended.append(report.report_id)
    return ended


def _settle(report: Report, edges: Edges, *, now: datetime) -> Report:
    run = edges.executions.describe(report)
    at_vonage: AtVonage | None = None
    stored = False
    if needs_vonage(run):
        at_vonage = _at_vonage(report, edges)
        stored = edges.bucket.exists(_subject(report).receipt_key)
    move = decide(report, run, at_vonage, stored=stored, now=now, scale=edges.wait_scale)
    if isinstance(move, Cancel):
        move = _cancel(report, run, move, edges, now=now)
    return _carry_out(report, move, edges, now=now)


def _at_vonage(report: Report, edges: Edges) -> AtVonage:
    try:
        return edges.vonage.get_report(_request_id(report)).request_status
    except ReportExpired:
        return Gone.GONE
    except ReportFailed:
        return Unreadable.UNKNOWN_STATUS
    except (RateLimited, VonageRejected, VonageUnavailable):
        return Unreadable.UNAVAILABLE


def _cancel(report: Report, run: Run, move: Cancel, edges: Edges, *, now: datetime) -> Move:
    try:
        if edges.vonage.cancel_report(_request_id(report)):
            return move.then
    except ReportExpired:
        return move.then
    except (RateLimited, VonageRejected, VonageUnavailable):
        return Stay()
    # It had ended by itself in the meantime: perhaps well.
    at_vonage = _at_vonage(report, edges)
    again = decide(report, run, at_vonage, stored=False, now=now, scale=edges.wait_scale)
    return again.then if isinstance(again, Cancel) else again


def _carry_out(report: Report, move: Move, edges: Edges, *, now: datetime) -> Report:
    match move:
        case Start():
            edges.executions.start(report)
            return report
        case Deliver(rows):
            return edges.ledger.write(
                report, replace(report, state=State.DELIVERED, slot=None, rows=rows)
            )
        case Resume(entry, not_before, frees_slot):
            resumed = replace(
                report,
                run=report.run + 1,
                resumes=report.resumes + 1,
                not_before=not_before,
                slot=None if frees_slot else report.slot,
            )
            resumed = replace(resumed, execution_input=execution_input(resumed, entry))
            return edges.ledger.write(report, resumed)
        case Again(not_before, error, reason):
            again = f"{reason}; it is asked for, and billed, again"
            report = _announce(report, error, again, None, edges, now=now)
            return edges.ledger.write(
                report,
                replace(
                    report,
                    state=State.PLANNED,
                    slot=None,
                    request_id=None,
                    not_before=not_before,
                    resumes=0,
                    error=error,
                    reason=reason,
                ),
            )
        case Fail(error, reason):
            run_again = {"recollect": {"report_id": report.report_id}}
            report = _announce(report, error, reason, run_again, edges, now=now)
            return edges.ledger.write(
                report,
                replace(report, state=State.FAILED, slot=None, error=error, reason=reason),
            )
    return report


def _announce(
    report: Report, error: str, reason: str, run_again: object, edges: Edges, *, now: datetime
) -> Report:
    """Say what is written next; return the report as it is then to be written over.

    A lease keeps other invocations from saying it too. Whoever dies in between leaves the state
    as it was: it is said again when the lease is over, never not at all.
    """
    lease = max(edges.wait_scale * waits.ANNOUNCE_LEASE, waits.SHORTEST_LEASE)
    report = edges.ledger.write(report, replace(report, look_after=now + lease))
    edges.topic.announce(
        notifications.problem(
            "report.failed",
            report,
            error=error,
            reason=reason,
            execution=edges.executions.arn(report),
            run_again=run_again,
        )
    )
    return replace(report, look_after=None)


def _subject(report: Report) -> Subject:
    return Subject(
        report_id=report.report_id,
        request_id=_request_id(report),
        attempt=report.attempt,
        definition=report.definition,
        product=report.product,
        account_id=report.account_id,
        include_subaccounts=report.include_subaccounts,
        filters=report.filters,
        window=report.window,
        revision=report.revision,
        planned=None,
    )


def _request_id(report: Report) -> str:
    assert report.request_id is not None
    return report.request_id
