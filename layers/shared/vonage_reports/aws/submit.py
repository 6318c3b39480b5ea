"""Submit: give the free slots to the planned reports, having looked for those that got lost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from vonage_reports.aws.edges import Edges
from vonage_reports.aws.ledger import SLOTS, OpenWork, RequestServesAnother, SlotTaken
from vonage_reports.aws.look import look
from vonage_reports.aws.moves import carry_out, isolated
from vonage_reports.client import HTTP_TIMEOUT
from vonage_reports.domain import notifications, waits
from vonage_reports.domain.errors import (
    InvalidRequest,
    RateLimited,
    VonageRejected,
    VonageReportsError,
)
from vonage_reports.domain.reports import Priority, Report, RequestStatus, State
from vonage_reports.domain.transitions import (
    after_look,
    after_post,
    is_lost,
    may_be_submitted,
    resolved,
    taken,
)


@dataclass(frozen=True)
class Invocation:
    """The invocation that submits: its name, and how many seconds it has left."""

    owner: str
    seconds_left: Callable[[], float]

    def has_time_for_a_request(self) -> bool:
        """Whether a request, and the one that follows a 401, can still be answered."""
        return self.seconds_left() > 2 * HTTP_TIMEOUT

    def over_by(self, now: datetime, scale: float) -> datetime:
        """When this invocation, and its last request, are over for sure: its lease ends."""
        lifetime = timedelta(seconds=self.seconds_left() + HTTP_TIMEOUT)
        return now + max(scale * (lifetime + waits.LOOK_MARGIN), waits.SHORTEST_LEASE)


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
    """Look for reports whose POST had no answer; then submit what is due, while slots are free."""
    done = Submitted()
    for report in edges.ledger.open_work().reports:
        if is_lost(report, clock()) and invocation.has_time_for_a_request():
            with isolated(done.faults):
                _find(report, edges, invocation, done, now=clock())
    work = edges.ledger.open_work()
    queue = _queue(work.reports, clock())
    free = [slot for slot in SLOTS if slot not in work.slots]
    room = len(free) - _others_at_work(work, edges) if queue and free else 0
    for report in queue:
        # A backfill leaves the last slot to the calendar.
        least = 2 if report.priority is Priority.BACKFILL else 1
        if room < least or not invocation.has_time_for_a_request():
            continue
        go_on = True
        with isolated(done.faults):
            owned = _take_slot(report, free, edges, invocation, now=clock())
            if owned is not None:
                room -= 1
                go_on = _send(owned, work, edges, done, now=clock())
        if not go_on:
            break
    done.waiting = sum(
        report.state in (State.PLANNED, State.SUBMITTING) and report.report_id not in done.submitted
        for report in work.reports
    )
    return done


def _queue(reports: Sequence[Report], now: datetime) -> list[Report]:
    """Return what may be submitted, first come first: the calendar by age, a backfill by youth."""

    def rank(report: Report) -> tuple[int, float, str]:
        start = report.window.start.timestamp()
        newest_first = report.priority is Priority.BACKFILL
        return report.priority, -start if newest_first else start, report.report_id

    return sorted((each for each in reports if may_be_submitted(each, now)), key=rank)


def _others_at_work(work: OpenWork, edges: Edges) -> int:
    """Count the reports of other tools that Vonage works on for this key, as far as it says so.

    At best effort: the list is deprecated, and another tool may send its POST a moment later.
    """
    try:
        listed = edges.vonage.list_reports(edges.vonage.api_key, since=None)
    except VonageReportsError:
        return 0
    ours = {report.request_id for report in work.reports}
    return sum(
        each.request_status in (RequestStatus.PENDING, RequestStatus.PROCESSING)
        and each.request_id not in ours
        and edges.ledger.report_served_by(each.request_id) is None
        for each in listed
    )


def _take_slot(
    report: Report, free: list[int], edges: Edges, invocation: Invocation, *, now: datetime
) -> Report | None:
    """Turn a PLANNED report into a SUBMITTING one that holds a slot; None: none was free."""
    while free:
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
    except VonageReportsError as error:
        answer = error
    if isinstance(answer, VonageRejected) and answer.may_heal:
        _announce_once(report, answer, work, edges)
    carry_out(report, after_post(answer, now=now, scale=edges.wait_scale), edges, now=now)
    if isinstance(answer, str):
        done.submitted.append(report.report_id)
        for cause in notifications.causes_gone_with(report) & work.notices:
            edges.ledger.forget(cause)
    return not isinstance(answer, RateLimited) and not (
        isinstance(answer, VonageRejected) and answer.concerns_every_report
    )


def _announce_once(report: Report, error: VonageRejected, work: OpenWork, edges: Edges) -> None:
    """Announce what only a person can mend: once for each cause, until it is gone."""
    cause = notifications.cause(report, error)
    if cause not in work.notices:
        reason = f"{error}; it is tried again every 15 minutes"
        edges.topic.announce(
            notifications.failed(
                report, error="VonageRejected", reason=reason, execution=None, run_again=None
            )
        )
        edges.ledger.note(cause)


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


def resolve(
    reports: Sequence[Report],
    report_id: str,
    request_id: str | None,
    edges: Edges,
    *,
    now: datetime,
) -> None:
    """Do what a person says about a HELD report: adopt that request, or (None) create one.

    Raises InvalidRequest for a report that is not held, or a request that serves another one.
    """
    held = {each.report_id: each for each in reports if each.state is State.HELD}
    if report_id not in held:
        raise InvalidRequest(f"resolve: {report_id} is not held")
    try:
        carry_out(held[report_id], resolved(request_id, now=now), edges, now=now)
    except RequestServesAnother:
        raise InvalidRequest(f"resolve: {request_id} serves another report") from None
