"""Submit: look up lost requests, then give free slots to planned reports."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus

from aws_lambda_powertools import Logger

from vonage_reports.aws.ledger import SlotTaken
from vonage_reports.aws.ledger_items import OpenWork
from vonage_reports.domain import notifications, waits
from vonage_reports.domain.decisions import (
    Decision,
    LookupResult,
    NoMatch,
    Stay,
    after_lookup,
    after_post,
    before_post,
    is_unacknowledged,
    past_the_list,
)
from vonage_reports.domain.errors import (
    RateLimited,
    ReportExpired,
    SubmissionUnknown,
    VonageRejected,
    VonageReportsError,
    VonageUnavailable,
    VonageUnreachable,
)
from vonage_reports.domain.lifecycle import Fail, PutBack, TakeSlot, apply
from vonage_reports.domain.report import Report, RequestStatus, State
from vonage_reports.domain.slots import SLOTS, slots_needed, submission_order
from vonage_reports.submit_reports.context import Invocation, Services, StepResult
from vonage_reports.submit_reports.execute import announce_once, collect_errors, execute
from vonage_reports.submit_reports.lost_requests import find_request

logger = Logger(service="submit_reports", child=True)


def submit(
    services: Services, invocation: Invocation, *, clock: Callable[[], datetime]
) -> StepResult:
    """Look up the requests of unanswered POSTs. Then submit due reports while slots are free.

    Raises InvalidRequest if the secret cannot be used. Then nothing was sent.
    """
    result = StepResult()
    work = services.ledger.open_work()
    lost = [report for report in work.reports if is_unacknowledged(report, clock())]
    if (lost or submission_order(work.reports, clock())) and not _is_paused(work, clock()):
        # Take no slot and no lease without usable credentials.
        services.vonage.require_credentials()
        for report in lost:
            if invocation.has_time_for_a_request():
                with collect_errors(result.errors):
                    _find(report, services, invocation, result, now=clock())
        if lost:
            work = services.ledger.open_work()
        work, queue = _cleared(work, services, result, clock)
        _submit_planned(work, queue, services, invocation, result, clock=clock)
    return result


def _cleared(
    work: OpenWork, services: Services, result: StepResult, clock: Callable[[], datetime]
) -> tuple[OpenWork, list[Report]]:
    """Split and supersede reports before their POST. Return the open work and the queue.

    Repeats until nothing changes, because a half may be too large itself.
    """
    while True:
        whole = {report.report_id: report for report in work.reports}
        queue, has_moved = [], False
        for report in submission_order(work.reports, clock()):
            leaves = whole.get(report.root or "", report).leaves
            decision = before_post(report, leaves=leaves, later=_later(report, whole, services))
            if decision is None:
                queue.append(report)
            elif not isinstance(decision, Stay):
                with collect_errors(result.errors):
                    execute(report, decision, services, now=clock())
                    has_moved = True
        if not has_moved:
            return work, queue
        work = services.ledger.open_work()


def _later(report: Report, open_reports: Mapping[str, Report], services: Services) -> State | None:
    """Return the state of the window's later revision. If there are several, DELIVERED wins."""
    if report.is_half:
        return None
    found = [
        later.state
        for name in report.later_revisions
        if (later := open_reports.get(name) or services.ledger.finished_report(name))
    ]
    if State.DELIVERED in found:
        return State.DELIVERED
    return found[-1] if found else None


def _submit_planned(
    work: OpenWork,
    queue: Sequence[Report],
    services: Services,
    invocation: Invocation,
    result: StepResult,
    *,
    clock: Callable[[], datetime],
) -> None:
    free = [slot for slot in SLOTS if slot not in work.slots]
    if not queue or not free or _is_paused(work, clock()):
        return
    try:
        room = len(free) - _others_at_work(work, services)
    except RateLimited as error:
        services.ledger.pause(clock() + timedelta(seconds=waits.after_429(error)))
        return
    for report in queue:
        least = slots_needed(report)
        if room < least or not invocation.has_time_for_a_request():
            continue
        go_on, seen_free = True, len(free)
        with collect_errors(result.errors):
            owned = _take_slot(report, free, services, invocation, least=least, now=clock())
            if owned is not None:
                go_on = _send(owned, work, services, result, now=clock())
        # Also subtract the slots that another invocation took meanwhile.
        room -= seen_free - len(free)
        if not go_on:
            break


def _is_paused(work: OpenWork, now: datetime) -> bool:
    return work.paused_until is not None and work.paused_until > now


def _others_at_work(work: OpenWork, services: Services) -> int:
    """Count the live reports of other tools that Vonage's list shows for this key.

    Best effort: the list is deprecated, and another tool may send its POST a moment later.

    Raises RateLimited after a 429, because Vonage would throttle the next POST too.
    """
    try:
        listed = services.vonage.list_reports(services.vonage.api_key)
    except RateLimited:
        raise
    except (VonageRejected, VonageUnavailable, ReportExpired):
        return 0
    ours = {report.request_id for report in work.reports}
    return sum(
        each.request_status in (RequestStatus.PENDING, RequestStatus.PROCESSING)
        and each.request_id not in ours
        and services.ledger.report_served_by(each.request_id) is None
        for each in listed.reports
    )


def _take_slot(
    report: Report,
    free: list[int],
    services: Services,
    invocation: Invocation,
    *,
    least: int,
    now: datetime,
) -> Report | None:
    """Take a slot for a PLANNED report, or return None if fewer than `least` slots are free."""
    while len(free) >= least:
        lease_until = invocation.lease_end(now, services.waits)
        transition = TakeSlot(free.pop(0), invocation.owner, lease_until)
        try:
            return services.ledger.write(report, apply(report, transition, now=now))
        except SlotTaken:
            continue
    return None


def _send(
    report: Report, work: OpenWork, services: Services, result: StepResult, *, now: datetime
) -> bool:
    """Send the POST and write its outcome. Return False to stop further POSTs in this pass."""
    if report.refused_since is not None:
        if _is_decided(report, work, services, result, now=now):
            return True
        # The lists have shown that no earlier POST created a report.
        report = replace(report, refused_since=None)
    answer: str | VonageReportsError
    try:
        answer = services.vonage.create_report(
            product=report.product,
            account_id=report.account_id,
            window=report.window,
            include_subaccounts=report.include_subaccounts,
            filters=report.filters,
        )
    except (SubmissionUnknown, VonageRejected, VonageUnreachable) as error:
        answer = error
    else:
        # If the next write fails, this line still records the paid request.
        known = {"report_id": report.report_id, "definition": report.definition}
        logger.info("created", extra={**known, "request_id": answer})
    decision = after_post(answer, now=now, waits=services.waits)
    if isinstance(answer, RateLimited) and isinstance(decision, PutBack):
        services.ledger.pause(decision.not_before)
    if isinstance(decision, Fail):
        # Free the slot before the announcement, which may fail.
        later = now + services.waits.refused
        put_back = PutBack(later, decision.error, decision.reason, refused=True)
        report = execute(report, put_back, services, now=now)
    execute(report, decision, services, now=now)
    is_refused = isinstance(decision, PutBack) and not isinstance(answer, RateLimited)
    if is_refused and isinstance(answer, VonageReportsError):
        # Announce last. If the announcement fails, the slot is free already, and the next refusal
        # is announced.
        announce_once(report, answer, work.announced, services)
    if isinstance(answer, str):
        result.report_ids.append(report.report_id)
        for cause in sorted(notifications.causes_disproved_by(report) & work.announced):
            services.ledger.clear_announced(cause)
    every_report = isinstance(answer, VonageRejected) and answer.concerns_every_report
    return not every_report and not isinstance(answer, RateLimited | VonageUnreachable)


def _find(
    report: Report, services: Services, invocation: Invocation, result: StepResult, *, now: datetime
) -> None:
    """Lease a report whose POST got no answer, and look the report up at Vonage."""
    lease_until = invocation.lease_end(now, services.waits)
    report = services.ledger.write(
        report, replace(report, owner=invocation.owner, look_after=lease_until)
    )
    # Check the time limit first, so that a report is held in time even if every look-up fails.
    decision: Decision | None = past_the_list(report, now=now, waits=services.waits)
    if decision is None:
        decision = after_lookup(report, _look_up(report, services), now=now, waits=services.waits)
    _write_look_up(report, decision, services, result, now=now)


def _is_decided(
    report: Report, work: OpenWork, services: Services, result: StepResult, *, now: datetime
) -> bool:
    """Look a refused report up; False if Vonage's lists prove that it does not exist.

    A gateway may refuse a request that Vonage has taken.
    """
    too_late = past_the_list(report, now=now, waits=services.waits)
    if too_late is not None:
        _write_look_up(report, too_late, services, result, now=now)
        return True
    seen = _look_up(report, services)
    if seen is NoMatch.ABSENT:
        return False
    if seen in (NoMatch.NOT_NOW, NoMatch.DENIED):
        put_back = PutBack(now + services.waits.refused, report.error, report.reason)
        execute(report, put_back, services, now=now)
        if seen is NoMatch.DENIED and notifications.EVERY_REPORT not in work.announced:
            # The first announcement of the refusal may have failed.
            refusal = VonageRejected(report.reason or "", status=HTTPStatus.FORBIDDEN)
            announce_once(report, refusal, work.announced, services)
    else:
        decision = after_lookup(report, seen, now=now, waits=services.waits)
        _write_look_up(report, decision, services, result, now=now)
    return True


def _look_up(report: Report, services: Services) -> LookupResult:
    seen, duplicates = find_request(report, services)
    for request_id in duplicates:
        services.topic.announce(notifications.duplicate(report, request_id))
    return seen


def _write_look_up(
    report: Report, decision: Decision, services: Services, result: StepResult, *, now: datetime
) -> None:
    report = execute(report, decision, services, now=now)
    if report.state is State.SUBMITTED:
        result.report_ids.append(report.report_id)
    if report.state is State.HELD:
        result.held.append(report.report_id)
