"""One pass: follow the request, settle, plan, submit, register, monitor, close periods.

A pass reads the definitions and the calendar once, for all its steps that need them. Backfills read
the calendar again, because planning may record changed delays.

A pass reads the ledger's open partition before it settles. Reading is most of the cost of a pass
with thousands of open reports, so the next steps read again only if this invocation wrote meanwhile
(`Ledger.reread`): steps change versions and slots, and writes that rely on an earlier read fail.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from vonage_reports.aws.ledger_items import Calendar, OpenWork, UnreadableItem
from vonage_reports.domain.definitions import warnings_of
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.removal import removals_of
from vonage_reports.domain.report import State
from vonage_reports.domain.settings import Settings
from vonage_reports.submit_reports.backfills import plan_backfills
from vonage_reports.submit_reports.close_periods import close_periods
from vonage_reports.submit_reports.context import Invocation, Services, StepResult
from vonage_reports.submit_reports.execute import collect_errors
from vonage_reports.submit_reports.follow_subaccounts import follow_subaccounts
from vonage_reports.submit_reports.monitor import monitor
from vonage_reports.submit_reports.plan import announce_refusals, clear_resolved_refusals, plan
from vonage_reports.submit_reports.read_definitions import LoadedDefinitions
from vonage_reports.submit_reports.register import register_waiting
from vonage_reports.submit_reports.relabel import relabel
from vonage_reports.submit_reports.removed import follow_removals
from vonage_reports.submit_reports.requests import (
    OperatorRequest,
    Request,
    RequestContext,
    ScheduledRun,
    Sweep,
)
from vonage_reports.submit_reports.settle import settle
from vonage_reports.submit_reports.submit import submit
from vonage_reports.submit_reports.take_over import finish_take_over, taken_over_definitions

logger = Logger(service="submit_reports", child=True)


@dataclass(frozen=True)
class PassResult:
    """The function's answer, with the errors whose texts are in `faults`."""

    answer: dict[str, Any]
    errors: list[Exception]


def reconcile(
    request: Request,
    services: Services,
    settings: Settings,
    invocation: Invocation,
    *,
    clock: Callable[[], datetime],
) -> PassResult:
    """Make one pass. An error that stops a step does not stop the next step.

    Raises:
        InvalidRequest: the operator has to change the event. Nothing was written.
        ClientError, BotoCoreError: carrying out the request or reading the ledger failed.
    """
    planned = StepResult()
    if isinstance(request, OperatorRequest):
        planned = request.carry_out(RequestContext(services, settings, invocation, clock()))
    work = services.ledger.open_work()
    settled = settle(work, services, invocation, clock=clock)
    calendar, loaded = _load(
        services,
        work,
        invocation,
        planned.errors,
        is_scheduled=isinstance(request, ScheduledRun),
        now=clock(),
    )
    if isinstance(request, ScheduledRun):
        at = request.scheduled_time
        planned.add(
            _attempt(
                lambda: _plan_calendar(
                    at, loaded, services, invocation, calendar=calendar, work=work, now=clock()
                )
            )
        )
    elif isinstance(loaded, ClientError | BotoCoreError) and (
        calendar is None or _has_planned(work)
    ):
        planned.errors.append(loaded)
    removals = removals_of(work.announced_at)
    if calendar is not None and not isinstance(loaded, Exception):
        with collect_errors(planned.errors):
            removals = follow_removals(
                work,
                loaded,
                calendar,
                services,
                invocation=invocation,
                result=planned,
                now=clock(),
            )
        with collect_errors(planned.errors):
            finish_take_over(loaded, work, services)
    if work.backfills:
        limit = settings.max_billed_records
        planned.add(
            _attempt(
                lambda: plan_backfills(
                    services,
                    invocation,
                    max_billed_records=limit,
                    clock=clock,
                    removals=removals,
                )
            )
        )
    if work.relabellings:
        planned.add(_attempt(lambda: relabel(work, services, invocation, clock=clock)))

    def submit_reports() -> StepResult:
        nonlocal work
        work = services.ledger.reread(work)
        return submit(
            services,
            invocation,
            clock=clock,
            work=work,
            removals=removals,
            cap=settings.max_billed_records_month,
        )

    submitted = _attempt(submit_reports)
    registered = _register(request, work, services, invocation, clock=clock)
    errors = [*settled.errors, *planned.errors, *submitted.errors, *registered.errors]
    waiting = 0
    with collect_errors(errors):
        left = services.ledger.reread(work)
        states = [report.state for report in left.reports]
        waiting = states.count(State.PLANNED) + states.count(State.SUBMITTING)
        if isinstance(request, Sweep):
            overdue_after = timedelta(hours=settings.overdue_hours)
            known = calendar or services.ledger.calendar()
            with collect_errors(errors):
                monitor(
                    left,
                    loaded,
                    known,
                    removals,
                    services,
                    overdue_after=overdue_after,
                    now=clock(),
                )
            close_periods(
                left,
                loaded,
                known,
                services,
                invocation,
                length=settings.period_length,
                overdue_after=overdue_after,
                errors=errors,
                now=clock(),
            )
    if work.unreadable:
        errors.append(UnreadableItem(*work.unreadable))
    answer = {
        "settled": [*planned.ended, *settled.report_ids],
        "planned": planned.report_ids,
        "submitted": submitted.report_ids,
        "held": submitted.held,
        "refused": [refusal.to_dict() for refusal in planned.refusals],
        "waiting": waiting,
        "faults": [str(error) for error in errors],
    }
    return PassResult(answer, errors)


def _register(
    request: Request,
    work: OpenWork,
    services: Services,
    invocation: Invocation,
    *,
    clock: Callable[[], datetime],
) -> StepResult:
    """Register what waits for the catalogue, if the pass is a sweep: the next one is near."""
    if not isinstance(request, Sweep):
        return StepResult()
    return _attempt(lambda: register_waiting(work, services, invocation, clock=clock))


def _attempt(step: Callable[[], StepResult]) -> StepResult:
    """Return the result of a step. If an error stops the step, the result has only the error."""
    stopped = StepResult()
    with collect_errors(stopped.errors):
        return step()
    return stopped


def _load(
    services: Services,
    work: OpenWork,
    invocation: Invocation,
    errors: list[Exception],
    *,
    is_scheduled: bool,
    now: datetime,
) -> tuple[Calendar | None, LoadedDefinitions | Exception]:
    """Read calendar and definitions once for all steps of the pass, or return the error.

    Append the error that leaves the list of sub-accounts as it was.
    """
    calendar = None
    try:
        calendar = services.ledger.calendar()
        loaded = taken_over_definitions(services, work, calendar)
    except (ClientError, BotoCoreError, InvalidRequest) as error:
        return calendar, error
    with collect_errors(errors):
        return follow_subaccounts(
            loaded, work, calendar, services, invocation, is_scheduled=is_scheduled, now=now
        )
    return calendar, loaded


def _has_planned(work: OpenWork) -> bool:
    return any(report.state is State.PLANNED for report in work.reports)


def _plan_calendar(
    at: datetime,
    loaded: LoadedDefinitions | Exception,
    services: Services,
    invocation: Invocation,
    *,
    calendar: Calendar | None,
    work: OpenWork,
    now: datetime,
) -> StepResult:
    """Plan the current definitions' windows that are due at `at`, and announce the refusals."""
    if isinstance(loaded, Exception):
        raise loaded
    for warning in warnings_of(loaded.definitions):
        logger.warning(warning)
    result = StepResult(refusals=list(loaded.refusals))
    with collect_errors(result.errors):
        announce_refusals(loaded.refusals, work.announced, services)
    # Reports of removed definitions wait, and must not stop the planning of the others.
    listed = removals_of(work.announced_at).without_waiting(work.reports)
    work = replace(work, reports=tuple(listed))
    result.add(
        plan(
            loaded.definitions,
            services,
            at=at,
            now=now,
            work=work,
            invocation=invocation,
            calendar=calendar,
        )
    )
    with collect_errors(result.errors):
        clear_resolved_refusals(result.refusals, work.announced, services)
    return result
