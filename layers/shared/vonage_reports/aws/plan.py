"""Plan: put every window that became due into the ledger."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from vonage_reports.aws.edges import Edges
from vonage_reports.aws.ledger import Cursor
from vonage_reports.domain import notifications
from vonage_reports.domain.calendar import due_windows, is_too_late, planned_report
from vonage_reports.domain.definitions import Refusal, ReportDefinition
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.reports import State
from vonage_reports.domain.windows import Window, format_instant

_CLOCK_DIFFERENCE = timedelta(minutes=5)
"""By which the schedule's clock may be ahead of the function's."""

_RETENTION = timedelta(days=396)
"""Vonage keeps records for 13 months (its technical details)."""


def plan(
    definitions: Sequence[ReportDefinition], edges: Edges, *, at: datetime, now: datetime
) -> tuple[list[str], list[Refusal]]:
    """Plan the windows that are due at `at` (the schedule's time).

    Returns the new report_ids, and the definitions of which something was left out: those that
    collect something else than before under the same name, and windows that are too late.
    Windows are put first, the cursor moves after: a run that dies in between is made good by the
    next, which finds its windows there already.

    Raises InvalidRequest for a time in the future, whose windows have not ended, and for one of
    which Vonage keeps no records.
    """
    _require_records(at, now)
    calendar = edges.ledger.calendar()
    planned: list[str] = []
    left_out: list[Refusal] = []
    for definition in definitions:
        for account_id in definition.account_ids:
            for delay_index in range(len(definition.delay_days)):
                cursor = calendar.cursors.get((definition.name, account_id, delay_index))
                if cursor is not None and cursor.collects != definition.collects:
                    left_out.append(_changed(definition, cursor))
                    continue
                since = cursor.end if cursor else None
                windows = list(due_windows(definition, delay_index, since, at))
                late = [each for each in windows if is_too_late(definition, delay_index, each, at)]
                if late:
                    left_out.append(_too_late(definition, late))
                for window in windows[len(late) :]:
                    report = planned_report(
                        definition,
                        account_id,
                        delay_index,
                        window,
                        rows_per_hour=calendar.volumes.get((definition.name, account_id)),
                        now=now,
                    )
                    if edges.ledger.plan(report):
                        planned.append(report.report_id)
                if windows:
                    cursor = Cursor(windows[-1].end, definition.collects)
                    edges.ledger.move_cursor(definition.name, account_id, delay_index, cursor)
    return planned, left_out


def _require_records(at: datetime, now: datetime) -> None:
    if at > now + _CLOCK_DIFFERENCE:
        raise InvalidRequest(f"scheduled_time {format_instant(at)} is in the future")
    if at < now - _RETENTION:
        raise InvalidRequest(f"scheduled_time {at}: Vonage keeps records for 13 months")


def _changed(definition: ReportDefinition, cursor: Cursor) -> Refusal:
    before, now = json.loads(cursor.collects), json.loads(definition.collects)
    field = next(name for name in now if before.get(name) != now[name])
    return Refusal(definition.name, field, "it collects something else now: give it a new name")


def _too_late(definition: ReportDefinition, late: Sequence[Window]) -> Refusal:
    return Refusal(
        definition.name,
        "window",
        f"{len(late)} windows from {late[0].first_date} to {late[-1].first_date} became due more "
        "than 7 days ago and are not collected by themselves",
    )


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
    causes = {_cause(each): each for each in refusals}
    for cause, refusal in causes.items():
        if cause not in noted:
            edges.topic.announce(notifications.refused(refusal))
            edges.ledger.note(cause)
    for cause in noted:
        if cause.startswith("refused#") and cause not in causes:
            edges.ledger.forget(cause)


def _cause(refusal: Refusal) -> str:
    """Name a refusal shortly, whatever it says: a key of DynamoDB has 1,024 bytes at most."""
    text = json.dumps(refusal.to_dict(), sort_keys=True)
    return f"refused#{hashlib.sha256(text.encode()).hexdigest()[:16]}"
