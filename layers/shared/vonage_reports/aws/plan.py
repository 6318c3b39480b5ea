"""Plan: put every window that became due into the ledger."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from vonage_reports.aws.edges import Edges
from vonage_reports.domain import notifications
from vonage_reports.domain.calendar import due_windows, planned_report
from vonage_reports.domain.definitions import Refusal, ReportDefinition
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.reports import State
from vonage_reports.domain.windows import format_instant

_CLOCK_DIFFERENCE = timedelta(minutes=5)
"""By which the schedule's clock may be ahead of the function's."""


def plan(
    definitions: Sequence[ReportDefinition], edges: Edges, *, at: datetime, now: datetime
) -> list[str]:
    """Plan the windows that are due at `at` (the schedule's time); return the new report_ids.

    Windows are put first, the cursor moves after: a run that dies in between is made good by the
    next, which finds its windows there already.

    Raises InvalidRequest for a time in the future, whose windows have not ended.
    """
    if at > now + _CLOCK_DIFFERENCE:
        raise InvalidRequest(f"scheduled_time {format_instant(at)} is in the future")
    calendar = edges.ledger.calendar()
    planned = []
    for definition in definitions:
        for account_id in definition.account_ids:
            volume = calendar.volumes.get((definition.name, account_id))
            for delay_index in range(len(definition.delay_days)):
                cursor = calendar.cursors.get((definition.name, account_id, delay_index))
                window = None
                for window in due_windows(definition, delay_index, cursor, at):
                    report = planned_report(
                        definition,
                        account_id,
                        delay_index,
                        window,
                        rows_per_hour=volume,
                        now=now,
                    )
                    if edges.ledger.plan(report):
                        planned.append(report.report_id)
                if window is not None:
                    edges.ledger.move_cursor(definition.name, account_id, delay_index, window.end)
    return planned


def plan_again(report_id: str, token: str, edges: Edges, *, now: datetime) -> list[str]:
    """Plan a report again that has come to its end; return it, or nothing to do.

    There is nothing to do while the report is unfinished, and for a token that was followed
    before. Raises InvalidRequest for a report that the ledger does not know.
    """
    finished = edges.ledger.finished_report(report_id)
    if finished is None:
        if any(each.report_id == report_id for each in edges.ledger.open_reports()):
            return []
        raise InvalidRequest(f"recollect: there is no report {report_id}")
    if token in finished.tokens:
        return []
    planned = replace(
        finished,
        state=State.PLANNED,
        planned_at=now,
        not_before=None,
        request_id=None,
        attempts_before=finished.attempt,
        tokens=(*finished.tokens, token),
        rows=None,
        error=None,
        reason=None,
    )
    return [report_id] if edges.ledger.reopen(finished, planned) else []


def announce_refusals(refusals: Sequence[Refusal], noted: frozenset[str], edges: Edges) -> None:
    """Announce each refusal once, and again when it comes back after it was mended."""
    causes = {f"refused#{each.definition}#{each.field}#{each.reason}": each for each in refusals}
    for cause, refusal in causes.items():
        if cause not in noted:
            edges.topic.announce(notifications.refused(refusal))
            edges.ledger.note(cause)
    for cause in noted:
        if cause.startswith("refused#") and cause not in causes:
            edges.ledger.forget(cause)
