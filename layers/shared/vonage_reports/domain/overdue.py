"""Which windows are due and not delivered, and since when."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from vonage_reports.domain.calendar import due_at, next_unplanned
from vonage_reports.domain.definitions import ReportDefinition, change_of
from vonage_reports.domain.report import Report, State

PLANNED_WITHIN = timedelta(days=1)
"""So late the calendar may come to a window that is due: it comes once a day."""


@dataclass(frozen=True)
class Undelivered:
    """A window that is due and not delivered, as its report is, or would be, planned."""

    report: Report
    since: datetime
    is_planned: bool = True


def undelivered(reports: Iterable[Report]) -> Iterator[Undelivered]:
    """Yield what is in the ledger and not at its end, but for what waits for nobody.

    Left out: HELD, which a person has to resolve and which has an alarm of its own; parts of a
    window, which counts as a whole; a window that was delivered and is only converted again.
    What a person asked for is due from then on, not since its window ended. Nor is what was planned
    long after it was due: the latest month of a definition that is new, what the calendar missed.
    While it was not planned it was late enough; from then on it has the time of any other window.
    """
    for report in reports:
        if report.is_half or report.state is State.HELD or report.rows is not None:
            continue
        due = max(due_at(report.window, report.delay_days), report.planned_at - PLANNED_WITHIN)
        yield Undelivered(report, report.planned_at if report.is_asked_for else due)


def unplanned(
    definitions: Sequence[ReportDefinition],
    *,
    cursors: Mapping[tuple[str, str, int], datetime],
    collects: Mapping[str, str],
    defined_at: datetime,
    now: datetime,
) -> Iterator[Undelivered]:
    """Yield what became due and was never planned: of each account and revision the oldest window.

    It shows that the calendar itself stands still. A definition that is there no more has no
    windows; one that collects something else than before is refused, which is announced.
    `defined_at` is when the definitions were last changed: from then on a window of one that was
    never planned is overdue, for its first run plans the latest.
    """
    for definition in definitions:
        if change_of(definition, collects.get(definition.name)) is None:
            for report, since in next_unplanned(
                definition, cursors=cursors, defined_at=defined_at, now=now
            ):
                yield Undelivered(report, since, is_planned=False)
