"""Plan: put every window that became due into the ledger."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum

from vonage_reports.aws.ledger import Change, VersionConflict
from vonage_reports.domain import notifications
from vonage_reports.domain.calendar import Due, due_reports, where_finals_begin
from vonage_reports.domain.definitions import Refusal, ReportDefinition, change_of
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.lifecycle import Plan, Replan, apply
from vonage_reports.domain.products import oldest_start
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.windows import Window, format_instant
from vonage_reports.submit_reports.context import Services, StepResult
from vonage_reports.submit_reports.execute import collect_errors

_CLOCK_DIFFERENCE = timedelta(minutes=5)
"""By which the schedule's clock may be ahead of the function's."""


def plan(
    definitions: Sequence[ReportDefinition],
    services: Services,
    *,
    at: datetime,
    now: datetime,
    announced: frozenset[str] = frozenset(),
) -> StepResult:
    """Plan the windows that are due at `at`, the schedule's time; return them and the refusals.

    Refused are definitions that collect something else than before, and windows that are too late.
    `announced` are the refusals that were announced before. One definition's error does not stop
    the others.

    Write windows before the cursor: if an invocation dies in between, the next one finds its
    windows planned and catches up.

    Raises InvalidRequest for a time in the future, whose windows have not ended, and for a time
    whose records Vonage has deleted.
    """
    _require_records(at, now)
    calendar = services.ledger.calendar()
    result = StepResult()
    for definition in definitions:
        changed = change_of(definition, calendar.collects.get(definition.name))
        if changed is not None:
            result.refusals.append(changed)
            with collect_errors(result.errors):
                announce_refusals([changed], announced, services)
            continue
        with collect_errors(result.errors):
            if definition.name not in calendar.collects:
                services.ledger.record_collects(definition)
            final = definition.delay_days[-1]
            for account_id, begin in where_finals_begin(definition, calendar.cursors, at):
                services.ledger.move_cursor(definition.name, account_id, final, begin)
            for due in due_reports(
                definition,
                cursors=calendar.cursors,
                volumes=calendar.volumes,
                profiles=calendar.profiles,
                at=at,
                now=now,
            ):
                _plan_due(definition, due, result, services, announced=announced)
    return result


def _plan_due(
    definition: ReportDefinition,
    due: Due,
    result: StepResult,
    services: Services,
    *,
    announced: frozenset[str],
) -> None:
    if due.late:
        late = _too_late(definition, due.late)
        result.refusals.append(late)
        # Said before the cursor moves past them: no later run would find them late.
        announce_refusals([late], announced, services)
    seen_to = due.late[-1:]
    for report in due.reports:
        planned = _plan_one(report, services)
        if planned is PlanOutcome.NOT_NOW:
            break
        if planned is PlanOutcome.NEW:
            result.report_ids.append(report.report_id)
        seen_to = (report.window,)
    for window in seen_to:
        services.ledger.move_cursor(definition.name, due.account_id, due.delay_days, window.end)


class PlanOutcome(Enum):
    """What became of a report that was to be planned."""

    NEW = "it is planned"
    THERE = "it is there already"
    NOT_NOW = "an earlier revision that bears its name is still under way"


MISSING = frozenset({State.FAILED, State.CANCELLED, State.SUPERSEDED})
"""The ends at which a window was not delivered."""


_LEFT_TO_THE_CALENDAR = frozenset({State.CANCELLED})
"""A window that a backfill had first is the calendar's again when the backfill is cancelled."""


def _plan_one(report: Report, services: Services) -> PlanOutcome:
    window = report.window
    known = services.ledger.reports_between(report.definition, window.start, window.end)
    change = plan_change(report, known, again=_LEFT_TO_THE_CALENDAR)
    if isinstance(change, PlanOutcome):
        return change
    try:
        services.ledger.write(*change)
    except VersionConflict:
        # Somebody else planned it; or did not, and the next run does.
        return (
            PlanOutcome.THERE if services.ledger.report(report.report_id) else PlanOutcome.NOT_NOW
        )
    return PlanOutcome.NEW


def plan_change(
    report: Report, known: Iterable[Report], *, again: frozenset[State] = frozenset()
) -> Change | PlanOutcome:
    """Return what is to be written to plan a report, or why nothing is.

    `known` are reports of the ledger, those of this window and account among them. A window that
    came to one of the ends `again` is planned once more. So is one that was collected sooner after
    its end: a definition whose `delay_days` changed gives the same report_id to another revision,
    and to one revision another report_id.
    """
    revisions = [
        each
        for each in known
        if (each.account_id.lower(), each.window) == (report.account_id.lower(), report.window)
    ]
    before = next((each for each in revisions if each.report_id == report.report_id), None)
    for other in revisions:
        is_as_late = other.delay_days >= report.delay_days
        if other is not before and is_as_late and not _ended_as(MISSING, other):
            return PlanOutcome.THERE
    if before is None:
        return None, apply(None, Plan(report), now=report.planned_at)
    is_later = before.delay_days < report.delay_days
    is_left = before.state in (State.PLANNED, State.SPLIT)
    if is_left and before.backfill and report.backfill is None:
        # The calendar's turn has come before the backfill's: nobody can cancel it any more.
        return before, replace(before, priority=report.priority, backfill=None)
    if not before.is_at_end:
        return PlanOutcome.NOT_NOW if is_later else PlanOutcome.THERE
    if not is_later and not _ended_as(again, before):
        return PlanOutcome.THERE
    return before, replace(
        apply(before, Replan(), now=report.planned_at),
        priority=report.priority,
        backfill=report.backfill,
        revision=report.revision,
        delay_days=report.delay_days,
        revisions=report.revisions,
        expected_rows=report.expected_rows,
        profile=report.profile,
        max_records=report.max_records,
        currency=report.currency,
    )


def _ended_as(ends: frozenset[State], report: Report) -> bool:
    """Whether a report came to one of these ends; not one that was only to be converted again.

    That failed, and what is delivered stays: its rows are known.
    """
    return report.state in ends and report.rows is None


def _require_records(at: datetime, now: datetime) -> None:
    if at > now + _CLOCK_DIFFERENCE:
        raise InvalidRequest(f"scheduled_time {format_instant(at)} is in the future")
    if at < oldest_start("", now):
        raise InvalidRequest(
            f"scheduled_time {format_instant(at)}: Vonage keeps records for 13 months"
        )


def require_unchanged(definition: ReportDefinition, services: Services) -> None:
    """Raise InvalidRequest where a definition collects something else than before."""
    collected = services.ledger.calendar().collects.get(definition.name)
    changed = change_of(definition, collected)
    if changed is not None:
        raise InvalidRequest(f"{changed.definition}, {changed.field}: {changed.reason}")


def _too_late(definition: ReportDefinition, late: Sequence[Window]) -> Refusal:
    return Refusal(
        definition.name,
        "window",
        f"{len(late)} windows from {late[0].first_date} to {late[-1].first_date} became due more "
        "than 7 days ago and are not collected by themselves",
    )


def announce_refusals(
    refusals: Sequence[Refusal], announced: frozenset[str], services: Services
) -> None:
    """Announce each refusal that was not announced before."""
    for cause, refusal in {_cause(each): each for each in refusals}.items():
        if cause not in announced:
            services.topic.announce(notifications.refused(refusal))
            services.ledger.mark_announced(cause)


def clear_resolved_refusals(
    refusals: Sequence[Refusal], announced: frozenset[str], services: Services
) -> None:
    """Forget the refusals that came no more, so that they are announced when they come back."""
    causes = {_cause(each) for each in refusals}
    for cause in sorted(announced):
        if cause.startswith("refused#") and cause not in causes:
            services.ledger.clear_announced(cause)


def _cause(refusal: Refusal) -> str:
    """Name a refusal shortly, whatever it says: a key of DynamoDB has 1,024 bytes at most."""
    text = json.dumps(refusal.to_dict(), sort_keys=True)
    return f"refused#{hashlib.sha256(text.encode()).hexdigest()[:16]}"
