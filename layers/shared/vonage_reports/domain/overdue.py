"""The windows that are due and not delivered, and since when.

`monitor` announces a window after the setting OVERDUE_HOURS.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from vonage_reports.domain.calendar import due_at, next_unplanned
from vonage_reports.domain.definitions import ReportDefinition, change_of
from vonage_reports.domain.report import Report, State

PLANNED_WITHIN = timedelta(days=1)
"""The calendar plans once a day, so it may plan a due window this late."""


@dataclass(frozen=True)
class Undelivered:
    """A due window without a delivery, and its report as planned or still to be planned."""

    report: Report
    since: datetime
    is_planned: bool = True


def undelivered(reports: Iterable[Report]) -> Iterator[Undelivered]:
    """Yield the undelivered windows of the open reports.

    A window that the operator requested is due from the request on. A window planned late (the
    latest month of a new definition, a missed window) counts as due one day before it was planned,
    so it gets the usual grace period.

    Excludes HELD reports, which have their own alarm and wait for the operator; parts, because the
    window counts as a whole; and delivered windows that are only converted again.
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
    """Yield the oldest window of each account and revision that is due but was never planned.

    Such a window shows that the calendar has stopped. A removed definition has no windows. A
    definition that collects something else than before is refused, and the refusal is announced.
    `defined_at` is when the definitions last changed. The first run of a new definition plans its
    latest window, so that window counts as overdue from `defined_at` on.
    """
    for definition in definitions:
        if change_of(definition, collects.get(definition.name)) is None:
            for report, since in next_unplanned(
                definition, cursors=cursors, defined_at=defined_at, now=now
            ):
                yield Undelivered(report, since, is_planned=False)
