"""One pass of the control loop: follow the request, settle, plan, submit, monitor.

A pass reads the ledger's open partition before settling, before submitting and at the end. A pass
reads once more for each of these: backfills in progress, lost requests, split windows. Steps change
versions and slots, so the writes of a step that relied on an earlier read would fail.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from aws_lambda_powertools import Logger

from vonage_reports.aws.ledger_items import UnreadableItem
from vonage_reports.domain.definitions import warnings_of
from vonage_reports.domain.report import State
from vonage_reports.domain.settings import Settings
from vonage_reports.submit_reports.backfills import plan_backfills
from vonage_reports.submit_reports.context import Invocation, Services, StepResult
from vonage_reports.submit_reports.execute import collect_errors
from vonage_reports.submit_reports.monitor import monitor
from vonage_reports.submit_reports.plan import announce_refusals, clear_resolved_refusals, plan
from vonage_reports.submit_reports.read_definitions import load_definitions
from vonage_reports.submit_reports.relabel import relabel
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
    if work.relabellings:
        planned.add(_attempt(lambda: relabel(work, services, invocation, clock=clock)))
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


def _attempt(step: Callable[[], StepResult]) -> StepResult:
    """Return the result of a step. If an error stops the step, the result has only the error."""
    stopped = StepResult()
    with collect_errors(stopped.errors):
        return step()
    return stopped


def _plan_calendar(
    at: datetime, announced: frozenset[str], services: Services, *, now: datetime
) -> StepResult:
    """Plan the current definitions' windows that are due at `at`, and announce the refusals."""
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
