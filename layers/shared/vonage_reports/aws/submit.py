"""Submit: give the free slots to the planned reports, look for those whose POST got no answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from http import HTTPStatus

from vonage_reports.aws.edges import Edges
from vonage_reports.aws.ledger import SLOTS, OpenWork, Outrun, RequestServesAnother, SlotTaken
from vonage_reports.client import HTTP_TIMEOUT, ReportRequest
from vonage_reports.domain import notifications, waits
from vonage_reports.domain.errors import (
    InvalidRequest,
    RateLimited,
    ReportExpired,
    SubmissionUnknown,
    VonageRejected,
    VonageUnavailable,
)
from vonage_reports.domain.reports import (
    Entry,
    Priority,
    Report,
    RequestStatus,
    State,
    execution_input,
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


def submit(edges: Edges, invocation: Invocation, *, clock: Callable[[], datetime]) -> Submitted:
    """Look for reports whose POST had no answer; then submit what is due, while slots are free."""
    work = edges.ledger.open_work()
    done = Submitted()
    for report in work.reports:
        if _is_lost(report, clock()) and invocation.has_time_for_a_request():
            try:
                _look_before_paying(report, edges, invocation, done, now=clock())
            except Outrun:
                continue
    work = edges.ledger.open_work()
    taken = set(work.slots)
    for report in _queue(work.reports, clock()):
        if not invocation.has_time_for_a_request():
            break
        owned = _take_slot(report, taken, edges, invocation, now=clock())
        if owned is None:
            continue
        try:
            if not _send(owned, work, edges, done, now=clock()):
                break
        except (Outrun, RequestServesAnother):
            # The lease was over, and another invocation looked for the report in the meantime.
            continue
    open_before = [each for each in work.reports if each.state in (State.PLANNED, State.SUBMITTING)]
    done.waiting = len(open_before) - sum(each.report_id in done.submitted for each in open_before)
    return done


def _queue(reports: Sequence[Report], now: datetime) -> list[Report]:
    """Return what may be submitted, first come first: the calendar by age, a backfill by youth."""
    due = [
        report
        for report in reports
        if report.state is State.PLANNED and (report.not_before or now) <= now
    ]

    def rank(report: Report) -> tuple[int, float, str]:
        start = report.window.start.timestamp()
        newest_first = report.priority is Priority.BACKFILL
        return report.priority, -start if newest_first else start, report.report_id

    return sorted(due, key=rank)


def _take_slot(
    report: Report, taken: set[int], edges: Edges, invocation: Invocation, *, now: datetime
) -> Report | None:
    """Turn a PLANNED report into a SUBMITTING one that holds a slot; None where it cannot be."""
    while free := [slot for slot in SLOTS if slot not in taken]:
        if report.priority is Priority.BACKFILL and len(free) == 1:
            # The last slot is the calendar's.
            return None
        slot = free[0]
        taken.add(slot)
        owned = replace(
            report,
            state=State.SUBMITTING,
            slot=slot,
            owner=invocation.owner,
            look_after=invocation.over_by(now, edges.wait_scale),
            submitted_at=now,
            absent_since=None,
            not_before=None,
        )
        try:
            return edges.ledger.write(report, owned)
        except SlotTaken:
            continue
        except Outrun:
            taken.discard(slot)
            return None
    return None


def _send(report: Report, work: OpenWork, edges: Edges, done: Submitted, *, now: datetime) -> bool:
    """Send the POST and note its outcome. False: Vonage wants no more of them now."""
    try:
        request_id = edges.vonage.create_report(
            product=report.product,
            account_id=report.account_id,
            window=report.window,
            include_subaccounts=report.include_subaccounts,
            filters=report.filters,
        )
    except SubmissionUnknown:
        # It stays SUBMITTING, and is looked for after `look_after`.
        return True
    except RateLimited as error:
        wait = edges.wait_scale * waits.RATE_LIMIT_WAIT
        if error.retry_after is not None:
            # Vonage's own word is not scaled.
            wait = timedelta(seconds=error.retry_after)
        _put_back(report, error, edges, not_before=now + wait)
        return False
    except VonageRejected as error:
        if error.status not in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            _fail(report, error, edges)
            return True
        _announce_refusal(report, error, work, edges)
        _put_back(report, error, edges, not_before=now + edges.wait_scale * waits.REFUSED_WAIT)
        return not _concerns_every_report(error)
    except ReportExpired as error:
        # 404 to a POST: not Vonage's API, or no more.
        _fail(report, error, edges)
        return True
    for cause in _causes(report) & work.notices:
        edges.ledger.forget(cause)
    _adopt(report, request_id, edges)
    done.submitted.append(report.report_id)
    return True


def _put_back(report: Report, error: VonageRejected, edges: Edges, *, not_before: datetime) -> None:
    """Plan a report again that Vonage did not take: nothing was billed, no attempt counts."""
    planned = replace(
        report,
        state=State.PLANNED,
        slot=None,
        not_before=not_before,
        look_after=None,
        error=type(error).__name__,
        reason=str(error),
    )
    edges.ledger.write(report, planned)


def _adopt(report: Report, request_id: str, edges: Edges) -> None:
    """Note which request of Vonage's is the report's, and start its run."""
    submitted = replace(
        report,
        state=State.SUBMITTED,
        request_id=request_id,
        attempt=report.attempt + 1,
        run=report.run + 1,
        resumes=0,
        look_after=None,
        absent_since=None,
        error=None,
        reason=None,
    )
    submitted = replace(submitted, execution_input=execution_input(submitted, Entry.CHECK))
    edges.executions.start(edges.ledger.write(report, submitted))


def _fail(report: Report, error: VonageRejected | ReportExpired, edges: Edges) -> None:
    edges.topic.announce(
        notifications.problem(
            "report.failed",
            report,
            error=type(error).__name__,
            reason=f"definition {report.definition}: {error}",
            execution=None,
            run_again={"recollect": {"report_id": report.report_id}},
        )
    )
    failed = replace(
        report,
        state=State.FAILED,
        slot=None,
        error=type(error).__name__,
        reason=str(error),
    )
    edges.ledger.write(report, failed)


_EVERY_REPORT = "rejected#credentials"


def _concerns_every_report(error: VonageRejected) -> bool:
    """Whether a refusal is about the key; 403 is about an account, a 401 may be about a product."""
    return error.status == HTTPStatus.UNAUTHORIZED and error.problem != "unprovisioned"


def _cause(report: Report, error: VonageRejected) -> str:
    if _concerns_every_report(error):
        return _EVERY_REPORT
    return f"rejected#{error.status}#{report.account_id}#{report.product}"


def _causes(report: Report) -> frozenset[str]:
    """Return the causes that a report that Vonage took proves to be gone."""
    about = f"{report.account_id}#{report.product}"
    return frozenset({_EVERY_REPORT, f"rejected#401#{about}", f"rejected#403#{about}"})


def _announce_refusal(report: Report, error: VonageRejected, work: OpenWork, edges: Edges) -> None:
    cause = _cause(report, error)
    if cause in work.notices or not edges.ledger.note(cause):
        return
    edges.topic.announce(
        notifications.problem(
            "report.failed",
            report,
            error="VonageRejected",
            reason=f"{error}; it is tried again every 15 minutes",
            execution=None,
            run_again=None,
        )
    )


def _is_lost(report: Report, now: datetime) -> bool:
    return (
        report.state is State.SUBMITTING
        and report.look_after is not None
        and report.look_after <= now
    )


def _look_before_paying(
    report: Report, edges: Edges, invocation: Invocation, done: Submitted, *, now: datetime
) -> None:
    """Look in Vonage's list for a report whose POST got no answer, before sending it again."""
    submitted_at = _submitted_at(report)
    report = edges.ledger.write(
        report,
        replace(
            report, owner=invocation.owner, look_after=invocation.over_by(now, edges.wait_scale)
        ),
    )
    try:
        listed = edges.vonage.list_reports(
            report.account_id, since=submitted_at - timedelta(days=1)
        )
    except (RateLimited, VonageUnavailable):
        return
    except (VonageRejected, ReportExpired) as error:
        if getattr(error, "status", None) in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return
        _hold(report, f"Vonage's list of reports cannot be read: {error}", edges, done)
        return
    found = [each for each in listed if _is_ours(each, report)]
    found = [each for each in found if edges.ledger.report_served_by(each.request_id) is None]
    dead = (RequestStatus.FAILED, RequestStatus.ABORTED)
    found.sort(key=lambda each: (each.request_status in dead, each.receive_time))
    if found:
        try:
            _adopt(report, found[0].request_id, edges)
        except RequestServesAnother:
            return
        done.submitted.append(report.report_id)
    elif now - submitted_at > waits.LOOK_UNTIL:
        _hold(report, "Vonage's list reaches back too little to tell", edges, done)
    elif report.absent_since is None:
        again = now + edges.wait_scale * waits.LOOK_AGAIN
        edges.ledger.write(report, replace(report, absent_since=now, look_after=again))
    else:
        planned = replace(report, state=State.PLANNED, slot=None, look_after=None)
        edges.ledger.write(report, planned)


def _is_ours(listed: ReportRequest, report: Report) -> bool:
    """Whether a report of the account's list is the one that we asked for."""
    return (
        listed.product == report.product
        and listed.account_id == report.account_id
        and listed.include_subaccounts == report.include_subaccounts
        and listed.date_start == report.window.start
        and listed.date_end == report.window.end
        and listed.receive_time is not None
        and listed.receive_time >= _submitted_at(report) - timedelta(seconds=60)
        and all(_alike(listed.echo.get(name), value) for name, value in report.filters.items())
    )


def _submitted_at(report: Report) -> datetime:
    assert report.submitted_at is not None
    return report.submitted_at


def _alike(echoed: object, sent: object) -> bool:
    """Compare as text: Vonage gives booleans back as booleans or as strings."""
    return str(echoed).lower() == str(sent).lower()


def _hold(report: Report, reason: str, edges: Edges, done: Submitted) -> None:
    edges.topic.announce(
        notifications.problem(
            "report.held",
            report,
            error="SubmissionUnknown",
            reason=f"{reason}. Look in Vonage's dashboard whether it has the report: resolve with "
            "its request_id, or with null to create it.",
            execution=None,
            run_again={"resolve": {"report_id": report.report_id, "request_id": None}},
        )
    )
    edges.ledger.write(
        report, replace(report, state=State.HELD, error="SubmissionUnknown", reason=reason)
    )
    done.held.append(report.report_id)


def resolve(
    reports: Sequence[Report], report_id: str, request_id: str | None, edges: Edges
) -> None:
    """Do what a person says about a HELD report: adopt that request, or (None) create one.

    Raises InvalidRequest for a report that is not held, or a request that serves another one.
    """
    held = {each.report_id: each for each in reports if each.state is State.HELD}
    if report_id not in held:
        raise InvalidRequest(f"resolve: {report_id} is not held")
    report = held[report_id]
    try:
        if request_id is None:
            edges.ledger.write(report, replace(report, state=State.PLANNED, slot=None))
        else:
            _adopt(report, request_id, edges)
    except RequestServesAnother:
        raise InvalidRequest(f"resolve: {request_id} serves another report") from None
