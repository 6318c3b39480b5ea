"""The windows that are due but not delivered.

`monitor` announces such a window after the hours in the setting OVERDUE_HOURS.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from vonage_reports.domain.calendar import Delays, by_definition, due_at, next_unplanned
from vonage_reports.domain.definitions import ReportDefinition, change_of
from vonage_reports.domain.report import Report, State

PLANNED_WITHIN = timedelta(days=1)
"""How late a due window may be planned, because the calendar plans once a day."""


@dataclass(frozen=True)
class Undelivered:
    """A due window without a delivery, and its report, planned or not."""

    report: Report
    since: datetime
    is_planned: bool = True


def undelivered(reports: Iterable[Report]) -> Iterator[Undelivered]:
    """Yield the undelivered windows of the open reports.

    A window that the operator requested is due since the request. Some windows are planned late,
    for example a missed window, or the latest month of a new definition. Such a window counts as
    due one day before it was planned, so it gets the usual grace period.

    Excludes HELD reports, because they have their own alarm and wait for the operator. Excludes
    parts, because the whole window counts, and delivered windows that are converted again.
    """
    for report in reports:
        if report.is_half or report.state is State.HELD or report.rows is not None:
            continue
        due = max(
            due_at(report.window, report.delay_days, report.product),
            report.planned_at - PLANNED_WITHIN,
        )
        yield Undelivered(report, report.planned_at if report.is_asked_for else due)


def unplanned(
    definitions: Sequence[ReportDefinition],
    *,
    cursors: Mapping[tuple[str, str, int], datetime],
    collects: Mapping[str, str],
    defined_at: datetime,
    now: datetime,
    delays: Mapping[str, Delays] = MappingProxyType({}),
) -> Iterator[Undelivered]:
    """Yield the oldest window of each account and revision that is due but was never planned.

    Such a window shows that the calendar has stopped. Removed definitions have no windows. Changed
    definitions are left out, because their refusal is announced. `defined_at` is the time of the
    last change of the definitions. A new definition's latest window counts as due since
    `defined_at`, because its first run plans that window. So does a window that became due by a
    change of `delay_days`, until a run has seen the change.
    """
    cursors_of = by_definition(cursors)
    for definition in definitions:
        if change_of(definition, collects.get(definition.name)) is None:
            seen = delays.get(definition.name)
            for report, since in next_unplanned(
                definition,
                cursors=cursors_of.get(definition.name, {}),
                defined_at=defined_at,
                now=now,
                delays=seen,
            ):
                yield Undelivered(report, since, is_planned=False)
