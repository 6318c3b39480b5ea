"""Monitor: emit the gauges, and announce refused definitions and overdue windows."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from vonage_reports.aws.ledger_items import Calendar, OpenWork, UnreadableItem
from vonage_reports.domain import notifications
from vonage_reports.domain.definitions import change_of
from vonage_reports.domain.metrics import expires_soon, of_open_work
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.overdue import Undelivered, undelivered, unplanned
from vonage_reports.domain.removal import Pair, Removals, pair_of
from vonage_reports.domain.report import Report
from vonage_reports.domain.windows import HOUR
from vonage_reports.submit_reports.context import Services
from vonage_reports.submit_reports.plan import announce_refusals
from vonage_reports.submit_reports.read_definitions import LoadedDefinitions

logger = Logger(service="submit_reports", child=True)

_OVERDUE = "overdue#"

_AGAIN_AFTER = timedelta(days=1)
"""How long an overdue account is not announced again."""


def monitor(
    work: OpenWork,
    definitions: LoadedDefinitions | Exception,
    calendar: Calendar,
    removals: Removals,
    services: Services,
    *,
    overdue_after: timedelta,
    now: datetime,
) -> None:
    """Emit the gauges. Announce refusals, and the overdue windows of each account daily.

    The reports of removed definitions are not overdue: `definition.removed` announced their end.

    If the definitions cannot be read, the due windows are unknown. Then the gauges that depend on
    due windows are left out, and an alarm treats the missing data as a breach.

    Raises UnreadableItem at the end if the calendar has items that cannot be read.
    """
    expiring = [
        report
        for report in work.reports
        if expires_soon(report, now) and not _is_stored(report, services)
    ]
    gauges = of_open_work(work.reports, slots=len(work.slots), expiring=len(expiring), now=now)
    if services.catalogue is not None:
        # Without a catalogue there is no alarm, and CloudWatch would bill a 0 too.
        gauges["CatalogueWaiting"] = len(work.registrations)
    loaded = _readable(definitions)
    if loaded is None:
        refused = () if isinstance(definitions, Exception) else definitions.refusals
        counted = {"DefinitionsRefused": len(refused)} if refused else {}
        services.metrics.emit({**gauges, **counted})
        announce_refusals(refused, work.announced, services)
        return
    changed = [change_of(each, calendar.collects.get(each.name)) for each in loaded.definitions]
    refusals = [*loaded.refusals, *filter(None, changed)]
    late = _undelivered(work, loaded, calendar, removals, now=now)
    hours = max(((now - each.since) / HOUR for each in late), default=0)
    of_definitions = {
        "OldestUndeliveredHours": max(hours, 0),
        "DefinitionsRefused": len(refusals),
    }
    services.metrics.emit({**gauges, **of_definitions})
    announce_refusals(refusals, work.announced, services)
    overdue = [each for each in late if now - each.since >= overdue_after]
    _announce(overdue, work, services, now=now)
    if calendar.unreadable:
        raise UnreadableItem(*calendar.unreadable)


def _is_stored(report: Report, services: Services) -> bool:
    """Whether the archive is in the bucket. The run that stored it may still be at work.

    False if S3 refuses to answer, because S3 may refuse the run's upload too.
    """
    try:
        return services.bucket.exists(receipt_key(report))
    except (ClientError, BotoCoreError):
        return False


def _readable(loaded: LoadedDefinitions | Exception) -> LoadedDefinitions | None:
    """Return the definitions, or None if the definitions or the secret cannot be read."""
    if isinstance(loaded, Exception):
        reason = str(loaded)
    elif loaded.is_readable:
        return loaded
    else:
        reason = loaded.refusals[0].reason
    # Only warn. A failed sweep would be retried, and the retry would fail for the same cause.
    logger.warning("overdue windows are unknown", extra={"reason": reason})
    return None


def _undelivered(
    work: OpenWork,
    loaded: LoadedDefinitions,
    calendar: Calendar,
    removals: Removals,
    *,
    now: datetime,
) -> list[Undelivered]:
    waiting = removals.waiting(work.reports)
    ids = {name for report in waiting for name in (report.report_id, report.root)}
    going_on = [report for report in work.reports if report.report_id not in ids]
    never_planned = unplanned(
        loaded.definitions,
        cursors=calendar.cursors,
        collects=calendar.collects,
        delays=calendar.delays,
        defined_at=loaded.changed_at,
        now=now,
    )
    return [*undelivered(going_on), *never_planned]


def _announce(
    overdue: Sequence[Undelivered], work: OpenWork, services: Services, *, now: datetime
) -> None:
    """Announce the oldest overdue window of each definition and account, once a day."""
    youngest_first = sorted(overdue, key=lambda each: each.since, reverse=True)
    oldest = {_OVERDUE + "#".join(_pair(each)): each for each in youngest_first}
    for cause, each in oldest.items():
        told = work.announced_at.get(cause)
        if told is None or now - told >= _AGAIN_AFTER:
            body = notifications.overdue(each.report, since=each.since, is_planned=each.is_planned)
            services.topic.announce(body)
            services.ledger.mark_announced(cause, now, again=True)
    for cause in work.announced:
        if cause.startswith(_OVERDUE) and cause not in oldest:
            services.ledger.clear_announced(cause)


def _pair(late: Undelivered) -> Pair:
    return pair_of(late.report.definition, late.report.account_id)
