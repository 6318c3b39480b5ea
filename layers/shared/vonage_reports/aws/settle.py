"""Settle: what became of the reports that have a run, or that a person has to resolve."""

from collections.abc import Callable
from datetime import datetime

from vonage_reports.aws.edges import Edges
from vonage_reports.aws.invocation import Invocation
from vonage_reports.aws.ledger import OpenWork
from vonage_reports.aws.moves import announce_once, carry_out, isolated
from vonage_reports.domain.errors import (
    RateLimited,
    ReportExpired,
    ReportFailed,
    VonageRejected,
    VonageUnavailable,
)
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.reports import Report, State
from vonage_reports.domain.transitions import (
    AtVonage,
    Cancel,
    Gone,
    Move,
    Run,
    Stay,
    Unreadable,
    decide,
    is_leased,
    needs_vonage,
    while_held,
)


def settle(
    work: OpenWork, edges: Edges, invocation: Invocation, *, clock: Callable[[], datetime]
) -> tuple[list[str], list[Exception]]:
    """Move every report as far as it can go now, as long as there is time.

    Level-triggered: it goes by what Step Functions and Vonage say now, never by an event.
    Returns the reports that came to their end, and what went wrong: one report's trouble does
    not stop the others.
    """
    ended: list[str] = []
    faults: list[Exception] = []
    for report in work.reports:
        if not invocation.has_time_to_settle():
            break
        with isolated(faults):
            if _settle(report, work.notices, edges, now=clock()).state.is_end:
                ended.append(report.report_id)
    return ended, faults


def _settle(report: Report, noted: frozenset[str], edges: Edges, *, now: datetime) -> Report:
    if report.state is State.HELD:
        return carry_out(report, while_held(report, now=now), edges, now=now)
    if report.state is not State.SUBMITTED or is_leased(report, now):
        return report
    run = edges.executions.describe(report)
    at_vonage: AtVonage | None = None
    stored = False
    if needs_vonage(run):
        at_vonage = _at_vonage(report, noted, edges)
        stored = edges.bucket.exists(receipt_key(report))
    move = decide(report, run, at_vonage, stored=stored, now=now, scale=edges.wait_scale)
    if isinstance(move, Cancel):
        move = _cancel(report, run, move, noted, edges, now=now)
    return carry_out(report, move, edges, now=now)


def _at_vonage(report: Report, noted: frozenset[str], edges: Edges) -> AtVonage:
    try:
        return edges.vonage.get_report(_request_id(report)).state
    except ReportExpired:
        return Gone.GONE
    except ReportFailed:
        return Unreadable.UNKNOWN_STATUS
    except (RateLimited, VonageUnavailable):
        return Unreadable.UNAVAILABLE
    except VonageRejected as error:
        # Reports in flight hold all slots: no POST would ever show that the key is refused.
        announce_once(report, error, noted, edges)
        return Unreadable.UNAVAILABLE


def _cancel(
    report: Report,
    run: Run,
    move: Cancel,
    noted: frozenset[str],
    edges: Edges,
    *,
    now: datetime,
) -> Move:
    try:
        if edges.vonage.cancel_report(_request_id(report)):
            return move.then
    except ReportExpired:
        return move.then
    except (RateLimited, VonageRejected, VonageUnavailable):
        return Stay()
    # It had ended by itself in the meantime: perhaps well.
    at_vonage = _at_vonage(report, noted, edges)
    again = decide(report, run, at_vonage, stored=False, now=now, scale=edges.wait_scale)
    return again.then if isinstance(again, Cancel) else again


def _request_id(report: Report) -> str:
    assert report.request_id is not None
    return report.request_id
