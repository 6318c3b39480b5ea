"""Submit: give the free slots to the planned reports, having looked for those that got lost."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from aws_lambda_powertools import Logger

from vonage_reports.aws.edges import Edges
from vonage_reports.aws.invocation import Invocation
from vonage_reports.aws.ledger import SLOTS, OpenWork, RequestServesAnother, SlotTaken
from vonage_reports.aws.look import is_another, look
from vonage_reports.aws.moves import announce_once, carry_out, isolated
from vonage_reports.domain import notifications, waits
from vonage_reports.domain.errors import (
    InvalidRequest,
    RateLimited,
    ReportExpired,
    SubmissionUnknown,
    VonageRejected,
    VonageReportsError,
    VonageUnavailable,
    VonageUnreachable,
)
from vonage_reports.domain.reports import Priority, Report, RequestStatus, State
from vonage_reports.domain.transitions import (
    Fail,
    PutBack,
    Stay,
    after_look,
    after_post,
    before_post,
    is_lost,
    may_be_submitted,
    resolved,
    taken,
)

logger = Logger(service="submit_reports", child=True)


@dataclass
class Submitted:
    """What a run submitted, and holds because nobody knows whether Vonage took it."""

    submitted: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    waiting: int = 0
    """Reports for which Vonage has not taken a request yet."""
    faults: list[Exception] = field(default_factory=list)
    """What AWS refused; the reports that it concerns are found again by the next run."""


def submit(edges: Edges, invocation: Invocation, *, clock: Callable[[], datetime]) -> Submitted:
    """Look for reports whose POST had no answer; then submit what is due, while slots are free.

    Raises InvalidRequest where the secret cannot be used: then nothing was sent.
    """
    done = Submitted()
    work = edges.ledger.open_work()
    lost = [report for report in work.reports if is_lost(report, clock())]
    if (lost or _queue(work.reports, clock())) and not _is_paused(work, clock()):
        # First of all: without usable credentials nothing may be begun.
        edges.vonage.require_credentials()
        for report in lost:
            if invocation.has_time_for_a_request():
                with isolated(done.faults):
                    _find(report, edges, invocation, done, now=clock())
        work, queue = _cleared(edges, done, clock)
        _submit_planned(work, queue, edges, invocation, done, clock=clock)
    done.waiting = sum(
        report.state in (State.PLANNED, State.SUBMITTING) and report.report_id not in done.submitted
        for report in work.reports
    )
    return done


def _cleared(
    edges: Edges, done: Submitted, clock: Callable[[], datetime]
) -> tuple[OpenWork, list[Report]]:
    """Move what is not to be asked for as it stands; return the open work and what is left of it.

    A split makes halves, which may be too large themselves: so it looks again.
    """
    while True:
        work = edges.ledger.open_work()
        whole = {report.report_id: report for report in work.reports}
        queue, has_moved = [], False
        for report in _queue(work.reports, clock()):
            leaves = whole.get(report.root or "", report).leaves
            move = before_post(report, leaves=leaves, later=_later(report, whole, edges))
            if move is None:
                queue.append(report)
            elif not isinstance(move, Stay):
                with isolated(done.faults):
                    carry_out(report, move, edges, now=clock())
                    has_moved = True
        if not has_moved:
            return work, queue


def _later(report: Report, open_reports: Mapping[str, Report], edges: Edges) -> State | None:
    """Return the state of the window's later revision, the one that is furthest of several."""
    if report.is_half:
        return None
    found = [
        later.state
        for name in report.later_revisions
        if (later := open_reports.get(name) or edges.ledger.finished_report(name))
    ]
    if State.DELIVERED in found:
        return State.DELIVERED
    return found[-1] if found else None


def _submit_planned(
    work: OpenWork,
    queue: Sequence[Report],
    edges: Edges,
    invocation: Invocation,
    done: Submitted,
    *,
    clock: Callable[[], datetime],
) -> None:
    free = [slot for slot in SLOTS if slot not in work.slots]
    if not queue or not free or _is_paused(work, clock()):
        return
    try:
        room = len(free) - _others_at_work(work, edges)
    except RateLimited as error:
        edges.ledger.pause(clock() + timedelta(seconds=waits.after_429(error)))
        return
    for report in queue:
        # A backfill leaves the last slot to the calendar.
        least = 2 if report.backfill is not None else 1
        if room < least or not invocation.has_time_for_a_request():
            continue
        go_on, seen_free = True, len(free)
        with isolated(done.faults):
            owned = _take_slot(report, free, edges, invocation, least=least, now=clock())
            if owned is not None:
                go_on = _send(owned, work, edges, done, now=clock())
        # What somebody else took meanwhile is gone as well.
        room -= seen_free - len(free)
        if not go_on:
            break


def _is_paused(work: OpenWork, now: datetime) -> bool:
    return work.paused_until is not None and work.paused_until > now


def _queue(reports: Iterable[Report], now: datetime) -> list[Report]:
    """Return what may be submitted, first come first: the calendar by age, a backfill by youth.

    Halves come before what is whole, those of a backfill after the calendar all the same.
    """

    def rank(report: Report) -> tuple[int, int, float, str]:
        start = report.window.start.timestamp()
        of_backfill = report.backfill is not None
        whose = Priority.BACKFILL if of_backfill else Priority.CALENDAR
        return whose, report.priority, -start if of_backfill else start, report.report_id

    return sorted((each for each in reports if may_be_submitted(each, now)), key=rank)


def _others_at_work(work: OpenWork, edges: Edges) -> int:
    """Count the reports of other tools that Vonage works on for this key, as far as it says so.

    At best effort: the list is deprecated, and another tool may send its POST a moment later.
    Raises RateLimited, which is about the POST that would follow as well.
    """
    try:
        listed = edges.vonage.list_reports(edges.vonage.api_key)
    except RateLimited:
        raise
    except (VonageRejected, VonageUnavailable, ReportExpired):
        return 0
    ours = {report.request_id for report in work.reports}
    return sum(
        each.request_status in (RequestStatus.PENDING, RequestStatus.PROCESSING)
        and each.request_id not in ours
        and edges.ledger.report_served_by(each.request_id) is None
        for each in listed
    )


def _take_slot(
    report: Report,
    free: list[int],
    edges: Edges,
    invocation: Invocation,
    *,
    least: int,
    now: datetime,
) -> Report | None:
    """Turn a PLANNED report into a SUBMITTING one that holds a slot; None: none was free for it.

    `least` slots have to be free.
    """
    while len(free) >= least:
        owned = taken(
            report,
            slot=free.pop(0),
            owner=invocation.owner,
            lease_until=invocation.over_by(now, edges.wait_scale),
            now=now,
        )
        try:
            return edges.ledger.write(report, owned)
        except SlotTaken:
            continue
    return None


def _send(report: Report, work: OpenWork, edges: Edges, done: Submitted, *, now: datetime) -> bool:
    """Send the POST and note its outcome. False: Vonage wants no more of them now."""
    answer: str | VonageReportsError
    try:
        answer = edges.vonage.create_report(
            product=report.product,
            account_id=report.account_id,
            window=report.window,
            include_subaccounts=report.include_subaccounts,
            filters=report.filters,
        )
    except (SubmissionUnknown, VonageRejected, VonageUnreachable, ReportExpired) as error:
        answer = error
    else:
        # Should what follows fail, this line still says what was paid for.
        known = {"report_id": report.report_id, "definition": report.definition}
        logger.info("created", extra={**known, "request_id": answer})
    move = after_post(answer, now=now, scale=edges.wait_scale)
    if isinstance(answer, RateLimited) and isinstance(move, PutBack):
        edges.ledger.pause(move.not_before)
    if isinstance(move, Fail):
        # Put back before it is announced: see below.
        later = now + edges.wait_scale * waits.REFUSED_WAIT
        report = carry_out(report, PutBack(later, move.error, move.reason), edges, now=now)
    carry_out(report, move, edges, now=now)
    is_refused = isinstance(move, PutBack) and not isinstance(answer, RateLimited)
    if is_refused and isinstance(answer, VonageReportsError):
        # Last: what cannot be announced now, the next refusal announces. Until then it holds no
        # slot, and nobody looks for a POST that had an answer.
        announce_once(report, answer, work.notices, edges)
    if isinstance(answer, str):
        done.submitted.append(report.report_id)
        for cause in sorted(notifications.causes_gone_with(report) & work.notices):
            edges.ledger.forget(cause)
    every_report = isinstance(answer, VonageRejected) and answer.concerns_every_report
    return not every_report and not isinstance(answer, RateLimited | VonageUnreachable)


def _find(
    report: Report, edges: Edges, invocation: Invocation, done: Submitted, *, now: datetime
) -> None:
    """Take a lost report over and look in Vonage's list what became of its POST."""
    lease_until = invocation.over_by(now, edges.wait_scale)
    report = edges.ledger.write(
        report, replace(report, owner=invocation.owner, look_after=lease_until)
    )
    seen, others = look(report, edges)
    for request_id in others:
        edges.topic.announce(notifications.made_by_somebody(report, request_id))
    move = after_look(report, seen, now=now, scale=edges.wait_scale)
    moved = carry_out(report, move, edges, now=now)
    if moved.state is State.SUBMITTED:
        done.submitted.append(report.report_id)
    if moved.state is State.HELD:
        done.held.append(report.report_id)


def resolve(report_id: str, request_id: str | None, edges: Edges, *, now: datetime) -> None:
    """Do what a person says about a HELD report: adopt that request, or (None) create one.

    Raises InvalidRequest for a report that is not held, and for a request that Vonage does not
    have, that asks for something else, or that serves another report. Then nothing was written.
    """
    report = edges.ledger.report(report_id)
    if report is None or report.state is not State.HELD:
        raise InvalidRequest(f"resolve: {report_id} is not held")
    if request_id is not None:
        try:
            at_vonage = edges.vonage.get_report(request_id)
        except ReportExpired as error:
            raise InvalidRequest(f"resolve: Vonage has no {request_id}: {error}") from error
        if is_another(at_vonage, report):
            raise InvalidRequest(f"resolve: {request_id} is another report's")
    try:
        carry_out(report, resolved(request_id, now=now), edges, now=now)
    except RequestServesAnother:
        raise InvalidRequest(f"resolve: {request_id} serves another report") from None
