"""Watch: how things stand, told to the alarms by every sweep."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from botocore.exceptions import BotoCoreError, ClientError

from vonage_reports.aws.ledger_items import Calendar, OpenWork
from vonage_reports.domain import notifications
from vonage_reports.domain.definitions import Refusal, ReportDefinition, change_of
from vonage_reports.domain.metrics import expires_soon, of_open_work
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.overdue import Undelivered, undelivered, unplanned
from vonage_reports.domain.report import Report
from vonage_reports.domain.windows import HOUR
from vonage_reports.submit_reports.context import Services
from vonage_reports.submit_reports.plan import announce_refusals

_OVERDUE = "overdue#"


@dataclass(frozen=True)
class LoadedDefinitions:
    """The report definitions that can be carried out, the others, and when they last changed."""

    definitions: Sequence[ReportDefinition]
    refused: Sequence[Refusal]
    at: datetime


def monitor(
    defined: LoadedDefinitions | None,
    services: Services,
    *,
    overdue_after: timedelta,
    now: datetime,
) -> None:
    """Emit the gauges, and announce, once for each definition, what is refused and what is overdue.

    Where the definitions cannot be read (`defined` is None), nobody knows what is due: those gauges
    are left out then, and an alarm takes the silence for what it is.
    """
    work = services.ledger.open_work()
    expiring = [
        report
        for report in work.reports
        if expires_soon(report, now) and not _is_stored(report, services)
    ]
    gauges = of_open_work(work.reports, slots=len(work.slots), expiring=len(expiring), now=now)
    if defined is None:
        services.metrics.emit(gauges)
        return
    calendar = services.ledger.calendar()
    changed = [change_of(each, calendar.collects.get(each.name)) for each in defined.definitions]
    refused = [*defined.refused, *filter(None, changed)]
    late = _undelivered(work, defined, calendar, now=now)
    hours = max(((now - each.since) / HOUR for each in late), default=0)
    of_definitions = {
        "OldestUndeliveredHours": max(hours, 0),
        "DefinitionsRefused": len(refused),
    }
    services.metrics.emit({**gauges, **of_definitions})
    announce_refusals(refused, work.announced, services)
    _announce([each for each in late if now - each.since >= overdue_after], work, services)


def _is_stored(report: Report, services: Services) -> bool:
    """Whether the archive is in the bucket: the run that stored it may be at work still.

    A bucket that cannot be asked may be what keeps the archive from being stored.
    """
    try:
        return services.bucket.exists(receipt_key(report))
    except (ClientError, BotoCoreError):
        return False


def _undelivered(
    work: OpenWork, defined: LoadedDefinitions, calendar: Calendar, *, now: datetime
) -> list[Undelivered]:
    never_planned = unplanned(
        defined.definitions,
        cursors=calendar.cursors,
        collects=calendar.collects,
        defined_at=defined.at,
        now=now,
    )
    return [*undelivered(work.reports), *never_planned]


def _announce(overdue: Sequence[Undelivered], work: OpenWork, services: Services) -> None:
    """Say of each definition what is overdue longest; once, until nothing of it is any more."""
    youngest_first = sorted(overdue, key=lambda each: each.since, reverse=True)
    oldest = {_OVERDUE + each.report.definition: each for each in youngest_first}
    for cause, each in oldest.items():
        if cause not in work.announced:
            body = notifications.overdue(each.report, since=each.since, is_planned=each.is_planned)
            services.topic.announce(body)
            services.ledger.mark_announced(cause)
    for cause in work.announced:
        if cause.startswith(_OVERDUE) and cause not in oldest:
            services.ledger.clear_announced(cause)
