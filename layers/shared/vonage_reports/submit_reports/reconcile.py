"""One pass of the control loop: follow the request, settle, plan, submit, monitor.

A pass reads the ledger's open partition before it settles, before it submits and at its end; once
more for running backfills, for lost requests and for split windows. Each step needs the writes of
the steps before it: if it used versions and slots that were read earlier, its own writes would
fail.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from aws_lambda_powertools import Logger

from vonage_reports.domain.definitions import warnings_of
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.report import State
from vonage_reports.domain.settings import Settings
from vonage_reports.submit_reports.backfills import plan_backfills
from vonage_reports.submit_reports.context import Invocation, Services, StepResult
from vonage_reports.submit_reports.execute import collect_errors
from vonage_reports.submit_reports.monitor import monitor
from vonage_reports.submit_reports.plan import announce_refusals, clear_resolved_refusals, plan
from vonage_reports.submit_reports.read_definitions import load_definitions
from vonage_reports.submit_reports.requests import (
    OperatorRequest,
    Request,
    RequestContext,
    ScheduledRun,
    Sweep,
)
from vonage_reports.submit_reports.settle import settle
from vonage_reports.submit_reports.submit import submit

logger = Logger(service="submit_reports", child=True)


@dataclass(frozen=True)
class PassResult:
    """The function's answer, and the errors behind its `faults`."""

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
    """Make one pass. An error that stops a step does not stop the next one.

    Raises InvalidRequest, having written nothing, if the operator has to change the event;
    botocore's errors if the request cannot be carried out or the ledger cannot be read.
    """
    planned = StepResult()
    if isinstance(request, OperatorRequest):
        planned = request.carry_out(RequestContext(services, settings, invocation.owner, clock()))
    work = services.ledger.open_work()
    settled = settle(work, services, invocation, clock=clock)
    if isinstance(request, ScheduledRun):
        at = request.scheduled_time
        planned.add(_attempt(lambda: _plan_calendar(at, work.announced, services, now=clock())))
    if work.backfills:
        limit = settings.max_billed_records
        planned.add(
            _attempt(
                lambda: plan_backfills(services, invocation, max_billed_records=limit, clock=clock)
            )
        )
    submitted = _attempt(lambda: submit(services, invocation, clock=clock))
    errors = [*settled.errors, *planned.errors, *submitted.errors]
    waiting = 0
    with collect_errors(errors):
        left = services.ledger.open_work()
        states = [report.state for report in left.reports]
        waiting = states.count(State.PLANNED) + states.count(State.SUBMITTING)
        if isinstance(request, Sweep):
            overdue_after = timedelta(hours=settings.overdue_hours)
            monitor(left, services, overdue_after=overdue_after, now=clock())
    if work.unreadable:
        names = ", ".join(work.unreadable)
        message = f"the ledger has entries of another version: {names}; deploy that version"
        errors.append(InvalidRequest(message))
    answer = {
        "settled": settled.report_ids,
        "planned": planned.report_ids,
        "submitted": submitted.report_ids,
        "held": submitted.held,
        "refused": [refusal.to_dict() for refusal in planned.refusals],
        "waiting": waiting,
        "faults": [str(error) for error in errors],
    }
    return PassResult(answer, errors)


def _attempt(step: Callable[[], StepResult]) -> StepResult:
    """Return the result of a step, or a result with the error that stopped it."""
    stopped = StepResult()
    with collect_errors(stopped.errors):
        return step()
    return stopped


def _plan_calendar(
    at: datetime, announced: frozenset[str], services: Services, *, now: datetime
) -> StepResult:
    """Plan the windows of the current definitions that are due at `at`; announce the refusals."""
    loaded = load_definitions(services)
    for warning in warnings_of(loaded.definitions):
        logger.warning(warning)
    result = StepResult(refusals=list(loaded.refusals))
    with collect_errors(result.errors):
        announce_refusals(loaded.refusals, announced, services)
    result.add(plan(loaded.definitions, services, announced=announced, at=at, now=now))
    with collect_errors(result.errors):
        clear_resolved_refusals(result.refusals, announced, services)
    return result
