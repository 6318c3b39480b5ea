"""Submit: look up lost requests, then give free slots to planned reports."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus

from aws_lambda_powertools import Logger

from vonage_reports.aws.ledger import SlotTaken
from vonage_reports.aws.ledger_items import OpenWork
from vonage_reports.domain import notifications, waits
from vonage_reports.domain.callbacks import digest_of, draw_path
from vonage_reports.domain.decisions import (
    Decision,
    LookupResult,
    NoMatch,
    after_denial,
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
from vonage_reports.domain.lifecycle import Fail, PutBack, Split, TakeSlot, apply
from vonage_reports.domain.removal import NONE_REMOVED, Removals
from vonage_reports.domain.report import Report, RequestStatus, State
from vonage_reports.domain.slots import SLOTS, slots_needed, submission_order
from vonage_reports.domain.spend import CAPPED, Budget
from vonage_reports.domain.waits import DEADLINE, LIST_RELIABLE_FOR, REPORT_KEPT
from vonage_reports.submit_reports.context import Invocation, Services, StepResult
from vonage_reports.submit_reports.execute import announce_once, collect_errors, execute
from vonage_reports.submit_reports.lost_requests import find_request
from vonage_reports.submit_reports.spend_cap import (
    Capped,
    announce_cap,
    budget_of,
    release_capped,
)

logger = Logger(service="submit_reports", child=True)


def submit(
    services: Services,
    invocation: Invocation,
    *,
    clock: Callable[[], datetime],
    work: OpenWork | None = None,
    removals: Removals = NONE_REMOVED,
    cap: int = 0,
) -> StepResult:
    """Look up the requests of unanswered POSTs. Then submit due reports while slots are free.

    `work` is the open work, if the caller has read it. Reports of removed definitions and accounts
    wait. So do reports that `cap`, the most records to be billed in a month, does not allow.

    Raises InvalidRequest if the secret cannot be used. Then nothing was sent.
    """
    result = StepResult()
    work = _listed(work or services.ledger.open_work(), removals)
    lost = [report for report in work.reports if is_unacknowledged(report, clock())]
    if (lost or submission_order(work.reports, clock())) and not _is_paused(work, clock()):
        # Take no slot and no lease without usable credentials.
        services.vonage.require_credentials()
        for report in lost:
            if invocation.has_time_for_a_request():
                with collect_errors(result.errors):
                    _find(report, services, invocation, result, now=clock())
        with collect_errors(result.errors):
            release_capped(work, services, cap=cap, now=clock())
        work = _listed(services.ledger.reread(work), removals)
        _submit_planned(work, services, invocation, result, clock=clock, removals=removals, cap=cap)
    return result


def _listed(work: OpenWork, removals: Removals) -> OpenWork:
    """Return the open work without the reports that wait to be listed again."""
    return replace(work, reports=removals.without_waiting(work.reports))


def _cleared(
    work: OpenWork,
    services: Services,
    invocation: Invocation,
    result: StepResult,
    *,
    others: int,
    clock: Callable[[], datetime],
    removals: Removals,
    cap: int,
) -> tuple[OpenWork, list[Report], Capped]:
    """Split and supersede reports before their POST. Return open work, queue and capped reports.

    The queue has only as many reports as there is room for, because each may cost a read of a later
    revision. `others` reports of other tools take slots too. Reads the open work again after a
    split, because a half may be too large itself.
    """
    while True:
        capped = Capped(budget_of(work.reports, services.ledger, cap=cap, now=clock()))
        whole = {report.report_id: report for report in work.reports}
        room = len(_free_slots(work)) - others
        queue: list[Report] = []
        has_split = False
        for report in _unblocked(work, clock()):
            if room <= len(queue) or not invocation.has_time_for_a_request():
                break
            if room - len(queue) < slots_needed(report):
                continue
            # A refused POST may have created a report. The stack looks the report up with any cap.
            refusal = capped.budget.refusal(report) if report.refused_since is None else None
            if refusal is not None and report.error == CAPPED:
                capped.reports.append((report, refusal))
                continue
            with collect_errors(result.errors):
                leaves = whole.get(report.root or "", report).leaves
                decision = before_post(report, leaves=leaves, later=_later(report, services))
                if decision is None and refusal is not None:
                    capped.reports.append((report, refusal))
                elif decision is None:
                    queue.append(report)
                    capped.budget = capped.budget.plus(report)
                else:
                    execute(report, decision, services, now=clock())
                    has_split |= isinstance(decision, Split)
        if not has_split:
            return work, queue, capped
        work = _listed(services.ledger.open_work(), removals)


def _unblocked(work: OpenWork, now: datetime) -> list[Report]:
    """Return the reports that may be submitted, the next one first.

    A preliminary revision waits while a later revision of its window is open.
    """
    names = {report.report_id for report in work.reports}
    return [
        report
        for report in submission_order(work.reports, now)
        if report.is_half or names.isdisjoint(report.later_revisions)
    ]


def _later(report: Report, services: Services) -> State | None:
    """Return the state of the window's later revision. If there are several, DELIVERED wins."""
    if report.is_half:
        return None
    names = report.later_revisions
    found = [later.state for each in names if (later := services.ledger.finished_report(each))]
    if State.DELIVERED in found:
        return State.DELIVERED
    return found[-1] if found else None


def _free_slots(work: OpenWork) -> list[int]:
    return [slot for slot in SLOTS if slot not in work.slots]


def _submit_planned(
    work: OpenWork,
    services: Services,
    invocation: Invocation,
    result: StepResult,
    *,
    clock: Callable[[], datetime],
    removals: Removals,
    cap: int,
) -> None:
    if not _free_slots(work) or _is_paused(work, clock()) or not _unblocked(work, clock()):
        return
    try:
        others = _others_at_work(work, services)
    except RateLimited as error:
        services.ledger.pause(clock() + timedelta(seconds=waits.after_429(error)))
        return
    work, queue, capped = _cleared(
        work,
        services,
        invocation,
        result,
        others=others or 0,
        clock=clock,
        removals=removals,
        cap=cap,
    )
    budget = budget_of(work.reports, services.ledger, cap=cap, now=clock())
    free = _free_slots(work)
    room, is_list_refused = len(free) - (others or 0), others is None
    for report in queue:
        least = slots_needed(report)
        if room < least or not invocation.has_time_for_a_request():
            continue
        go_on, seen_free = True, len(free)
        with collect_errors(result.errors):
            path = draw_path(services.random_bytes) if _has_callbacks(work, services) else None
            owned = _take_slot(
                report, free, services, invocation, path=path, least=least, now=clock()
            )
            if owned is not None:
                go_on = _send(
                    owned,
                    work,
                    services,
                    result,
                    path=path,
                    budget=budget,
                    is_list_refused=is_list_refused,
                    now=clock(),
                )
                budget = budget.plus(report)
        # Also subtract the slots that another invocation took meanwhile.
        room -= seen_free - len(free)
        if not go_on:
            break
    with collect_errors(result.errors):
        announce_cap(capped, work, services)


def _is_paused(work: OpenWork, now: datetime) -> bool:
    return work.paused_until is not None and work.paused_until > now


def _others_at_work(work: OpenWork, services: Services) -> int | None:
    """Count the live reports of other tools that Vonage's list shows for this key.

    None: Vonage refuses this key the list of its own account.

    Best effort: the list is deprecated, and another tool may send its POST a moment later.

    Raises RateLimited after a 429, because Vonage would throttle the next POST too.
    """
    try:
        listed = services.vonage.list_reports(services.vonage.api_key)
    except RateLimited:
        raise
    except VonageRejected as error:
        return None if error.is_about_access else 0
    except (VonageUnavailable, ReportExpired):
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
    path: str | None,
    least: int,
    now: datetime,
) -> Report | None:
    """Take a slot for a PLANNED report, or return None if fewer than `least` slots are free.

    Record the SHA-256 of the callback's `path` before the POST: if this invocation then dies, a
    later one adopts the report, and the callback still counts.
    """
    callback = None if path is None else digest_of(path)
    while len(free) >= least:
        lease_until = invocation.lease_end(now, services.waits)
        transition = TakeSlot(free.pop(0), invocation.owner, lease_until, callback)
        try:
            return services.ledger.write(report, apply(report, transition, now=now))
        except SlotTaken:
            continue
    return None


def _send(
    report: Report,
    work: OpenWork,
    services: Services,
    result: StepResult,
    *,
    path: str | None,
    budget: Budget,
    is_list_refused: bool,
    now: datetime,
) -> bool:
    """Send the POST and write its outcome. Return False to stop further POSTs in this pass.

    `is_list_refused`: Vonage refuses the API key the list of its own account. `path` is the path of
    the callback. `budget` is the budget before this report.
    """
    # If the key works, a refusal is about this report's account or product.
    may_be_the_key = is_list_refused and not _is_taken_since(report, work, result)
    if report.refused_since is not None:
        if _is_decided(report, work, services, result, may_be_the_key=may_be_the_key, now=now):
            return True
        refusal = budget.refusal(report)
        if refusal is not None:
            put_back = PutBack(now + services.waits.refused, report.error, refusal)
            execute(report, put_back, services, now=now)
            return True
        # The lists have shown that no earlier POST created a report.
        report = replace(report, refused_since=None)
    answer = _post(report, services, path)
    if isinstance(answer, VonageRejected) and answer.refuses_callback and path is not None:
        _give_up_callbacks(report, answer, services, now=now)
        return False
    if isinstance(answer, VonageRejected) and answer.is_about_access:
        answer.seems_of_the_key = may_be_the_key
    decision = _after_post(report, answer, services, now=now)
    if isinstance(answer, RateLimited) and isinstance(decision, PutBack):
        services.ledger.pause(decision.not_before)
    if isinstance(decision, Fail):
        _fail(report, decision, services, now=now)
    else:
        execute(report, decision, services, now=now)
    return _conclude(report, answer, decision, work=work, services=services, result=result)


def _conclude(
    report: Report,
    answer: str | VonageReportsError,
    decision: Decision,
    *,
    work: OpenWork,
    services: Services,
    result: StepResult,
) -> bool:
    """Announce the outcome of a POST, once it is written. Return False to stop further POSTs."""
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


def _post(report: Report, services: Services, path: str | None) -> str | VonageReportsError:
    """Send the POST. Return the request_id or the error."""
    callback_url = None if path is None else f"{services.callback_url}{path}"
    try:
        request_id = services.vonage.create_report(
            product=report.product,
            account_id=report.account_id,
            window=report.window,
            include_subaccounts=report.include_subaccounts,
            filters=report.filters,
            callback_url=callback_url,
        )
    except (SubmissionUnknown, VonageRejected, VonageUnreachable) as error:
        return error
    # If the next write fails, this line still records the paid request.
    known = {"report_id": report.report_id, "definition": report.definition}
    logger.info("created", extra={**known, "request_id": request_id})
    return request_id


def _has_callbacks(work: OpenWork, services: Services) -> bool:
    """Whether requests name a URL to call: there is one, and Vonage has not refused it."""
    url = services.callback_url
    return url is not None and notifications.cause_of_callback(url) not in work.announced


def _give_up_callbacks(
    report: Report, refusal: VonageRejected, services: Services, *, now: datetime
) -> None:
    """Put a report back whose URL Vonage refused. The next pass sends it without the URL."""
    # Vonage names the parameter that it refused, so it has created nothing.
    execute(report, PutBack(now, type(refusal).__name__, str(refusal)), services, now=now)
    logger.warning("Vonage refuses the callback URL", extra={"reason": str(refusal)})
    # Mark first, because the reports must go on even if the announcement fails.
    if services.ledger.mark_announced(notifications.cause_of_callback(services.callback_url or "")):
        services.topic.announce(notifications.callback_refused(report, refusal))


def _after_post(
    report: Report, answer: str | VonageReportsError, services: Services, *, now: datetime
) -> Decision:
    """Decide about a report after its POST. Fail it if Vonage refused its account for 7 days."""
    decision = after_post(answer, now=now, waits=services.waits)
    is_denied = isinstance(decision, PutBack) and decision.denied
    return (is_denied and after_denial(report, now=now, reason=str(answer))) or decision


def _fail(report: Report, failure: Fail, services: Services, *, now: datetime) -> None:
    """Fail a report that Vonage refused. Free the slot before the announcement, which may fail."""
    later = now + services.waits.refused
    put_back = PutBack(later, failure.error, failure.reason, refused=True)
    execute(execute(report, put_back, services, now=now), failure, services, now=now)


def _is_taken_since(report: Report, work: OpenWork, result: StepResult) -> bool:
    """Whether Vonage took a POST with this key since it refused the report's account first."""
    since = report.denied_since or report.submitted_at
    return bool(result.report_ids) or any(
        each.request_id is not None
        and each.submitted_at is not None
        and since is not None
        and each.submitted_at > since
        for each in work.reports
    )


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
    report: Report,
    work: OpenWork,
    services: Services,
    result: StepResult,
    *,
    may_be_the_key: bool,
    now: datetime,
) -> bool:
    """Look a refused report up; False if Vonage has no report of the refused POST.

    A gateway may refuse a request that Vonage has taken. Complete lists prove that there is none,
    for three days. After six days, Vonage has deleted a report of that POST. In between, the report
    waits, without a slot. If Vonage refuses the account for seven days, the report fails.
    """
    assert report.refused_since is not None
    age = now - report.refused_since
    failure = None if may_be_the_key else after_denial(report, now=now)
    if failure is not None and age > LIST_RELIABLE_FOR:
        # The list shows nothing so old, and another refused POST would show nothing new.
        _fail(report, failure, services, now=now)
        return True
    seen = _look_up(report, services)
    if isinstance(seen, NoMatch):
        is_absent = seen is NoMatch.ABSENT and age <= LIST_RELIABLE_FOR
        if is_absent or age > DEADLINE + REPORT_KEPT:
            return False
        if seen is NoMatch.DENIED and failure is not None:
            _fail(report, failure, services, now=now)
            return True
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
