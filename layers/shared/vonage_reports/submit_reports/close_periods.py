"""Close periods: announce each period that is complete, once for each change of it.

A finished report marks its periods, in the transaction that finishes it. A sweep looks only at
marked periods. Most of them are open by what the sweep knows already: the open reports, the
backfills and the cursors. Only for the others it reads the finished reports, and then the manifests
that it has not read before. The ledger keeps what was read, so that the next sweep goes on.

The object is written first, then the notification is sent, then the ledger is written. After a
crash in between, the next sweep announces the object that is there.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.ledger_items import BlockedPeriod, Calendar, OpenWork, UnreadableItem
from vonage_reports.domain import notifications
from vonage_reports.domain.definitions import Refusal, change_of
from vonage_reports.domain.objects import manifest_key
from vonage_reports.domain.periods import (
    Examination,
    LocalPeriod,
    Unfinished,
    blocker,
    changes,
    collecting_of,
    complete,
    entry_of,
    examine,
    sentence,
)
from vonage_reports.domain.removal import Removed, pair_of, removals_of, removed_lately
from vonage_reports.domain.report import Report
from vonage_reports.domain.settings import PeriodLength
from vonage_reports.submit_reports.context import Invocation, Services
from vonage_reports.submit_reports.execute import collect_errors
from vonage_reports.submit_reports.read_definitions import LoadedDefinitions

_SECONDS = 60.0
"""How long one sweep closes periods. The next sweep goes on."""

_SPARE = 60.0
"""How many seconds are left to the invocation, after its other work, when this step stops."""

_AGAIN_AFTER = timedelta(hours=1)
"""How long a period that is not complete is not examined again, unless it changes."""

_AT_ONCE = 10
"""How many manifests are read side by side. A client of S3 has as many connections."""

_BATCH = 100
"""How many manifests are read before their facts are recorded."""

_MOST_DELETED = 20
"""How many marks of days one sweep deletes after a change of the setting."""

_MOST_BYTES = 50_000
"""The size of an item with facts of manifests. DynamoDB takes 400 kB."""


@dataclass(frozen=True)
class _Sweep:
    """The facts of one sweep, which stops when the invocation has only `until` seconds left."""

    services: Services
    invocation: Invocation
    definitions: LoadedDefinitions
    calendar: Calendar
    refusals: Sequence[Refusal]
    removed: Sequence[Removed]
    length: PeriodLength
    overdue_after: timedelta
    until: float
    now: datetime

    @property
    def has_time(self) -> bool:
        """Whether there is time for one more batch."""
        return self.invocation.seconds_left() > self.until

    @property
    def has_spare_time(self) -> bool:
        """Whether an examination may go on. It cannot be resumed, so it may take longer."""
        return self.invocation.seconds_left() > _SPARE

    def unfinished(self, work: OpenWork) -> Unfinished:
        """Return the blockers that the open work and the calendar show."""
        return Unfinished(
            reports=work.reports,
            backfills=work.backfills,
            definitions=self.definitions.definitions,
            refusals=self.refusals,
            cursors=self.calendar.cursors,
            delays=self.calendar.delays,
            collects=self.calendar.collects,
            removed=self.removed,
            length=self.length,
            now=self.now,
        )


def close_periods(
    work: OpenWork,
    loaded: LoadedDefinitions | Exception,
    calendar: Calendar,
    services: Services,
    invocation: Invocation,
    *,
    length: PeriodLength,
    overdue_after: timedelta,
    errors: list[Exception],
    now: datetime,
) -> None:
    """Announce the marked periods that are complete, the oldest first, while there is time.

    Deletes marks of days that were written while the setting was `day`. Marks of months stay: they
    are few, and their months are announced once the setting is `month` again.

    Appends the errors of single periods to `errors`. Announces once that a period is not complete
    `overdue_after` after its last window was due.

    Does nothing while the definitions or a part of the ledger cannot be read: then it is unknown
    which windows a period has.
    """
    marked = [LocalPeriod.parse(label) for label in work.marks]
    others = [period for period in marked if period.length is not length]
    days = [period for period in others if period.length is PeriodLength.DAY]
    for other in days[:_MOST_DELETED]:
        with collect_errors(errors):
            services.ledger.clear_mark(other.label, work.marks[other.label])
    periods = [period for period in marked if period.length is length]
    if not periods or isinstance(loaded, Exception) or not loaded.is_readable:
        return
    if work.unreadable or calendar.unreadable:
        return
    changed = (change_of(each, calendar.collects.get(each.name)) for each in loaded.definitions)
    sweep = _Sweep(
        services,
        invocation,
        loaded,
        calendar,
        [*loaded.refusals, *filter(None, changed)],
        _removed(work, loaded, calendar, now),
        length,
        overdue_after,
        until=max(invocation.seconds_left() - _SECONDS, _SPARE),
        now=now,
    )
    unfinished = sweep.unfinished(work)
    for period in sorted(periods):
        with collect_errors(errors):
            blockers = unfinished.of(period)
            reason = sentence(blockers) if blockers else _follow(period, work, sweep)
            # The operator may ask for a window after its due time. Such a window is not overdue.
            if reason and not (blockers and all(each.is_asked_for for each in blockers)):
                due = unfinished.last_due(period)
                _announce_overdue(period, due, reason, work, sweep)


def _removed(
    work: OpenWork, loaded: LoadedDefinitions, calendar: Calendar, now: datetime
) -> list[Removed]:
    """Return the accounts that are not listed any more, and may be listed again.

    If the listed names are unknown, a refusal says so.
    """
    if loaded.listing is None:
        return []
    announced = removals_of(work.announced_at).since
    planned = (pair_of(name, account_id) for name, account_id, _ in calendar.cursors)
    # An error may have stopped the announcement of a removal. The removal then began just now.
    since = {pair: announced.get(pair, now) for pair in loaded.listing.removed(planned)}
    return removed_lately(calendar.cursors, since, now)


def _follow(period: LocalPeriod, work: OpenWork, sweep: _Sweep) -> str:
    """Close a period without open work, and return why it is not complete, if it is not."""
    ledger, mark = sweep.services.ledger, work.marks[period.label]
    before = work.blocked.get(period.label)
    is_known = before is not None and before.mark == mark
    if before is not None and is_known and sweep.now < before.at + _AGAIN_AFTER:
        return before.reason
    if not sweep.has_time:
        return ""
    examination = _examined(period, work, sweep)
    if examination is None:
        return ""
    facts = {} if examination.blockers else _facts(period, examination, sweep)
    if examination.blockers:
        reason = sentence(examination.blockers)
        ledger.record_blocked(period.label, BlockedPeriod(mark, sweep.now, reason))
        return reason
    if facts is not None:
        _close(period, examination, facts, work, sweep)
    return ""


def _examined(period: LocalPeriod, work: OpenWork, sweep: _Sweep) -> Examination | None:
    """Read the finished reports of a period, which has no open ones.

    Return None if the time is up. Raises UnreadableItem.
    """
    ledger, found = sweep.services.ledger, Examination()
    unreadable: list[str] = []
    for each in collecting_of(
        sweep.definitions.definitions, sweep.calendar.collects, sweep.removed
    ):
        if not sweep.has_spare_time:
            return None
        start, end = period.interval(each.time_zone)
        name = each.name

        def collected_before(
            accounts: Collection[str], name: str = name, start: datetime = start
        ) -> set[str]:
            waiting = {
                report.account_id.lower()
                for report in work.reports
                if report.definition == name and report.window.start < start
            }
            return waiting | ledger.collected_before(name, start, accounts)

        # A window that touches the period begins at most its own length before it.
        longest = timedelta(days=each.length.most_days + 1)
        reports = ledger.finished_between(name, start - longest, end, unreadable)
        examine(each, period, reports, collected_before=collected_before, into=found)
    if unreadable:
        raise UnreadableItem(*unreadable)
    return found


def _facts(
    period: LocalPeriod, examination: Examination, sweep: _Sweep
) -> Mapping[str, Mapping[str, Any]] | None:
    """Return the facts of the members' manifests, or None if the next sweep has to go on.

    Adds a blocker for each member without a readable manifest, which only the operator can restore.

    A manifest changes only with its report, so facts count for one version of the report. Reads at
    least one batch, so that each sweep makes progress.
    """
    ledger = sweep.services.ledger
    known = ledger.manifest_facts(period.label)
    facts: dict[str, Mapping[str, Any]] = {}
    unread = []
    for report in examination.members:
        entry = known.get(report.report_id)
        if entry is not None and entry["version"] == report.version:
            facts[report.report_id] = entry
        else:
            unread.append(report)
    for first in range(0, len(unread), _BATCH):
        if first and not sweep.has_time:
            return None
        batch = unread[first : first + _BATCH]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = list(pool.map(partial(_entry, sweep.services.bucket), batch))
        for report, entry in zip(batch, found, strict=True):
            if entry is None:
                examination.blockers.append(blocker(report, "its manifest is missing or damaged"))
            else:
                facts[report.report_id] = entry
        for kept in _sized([each for each in found if each is not None]):
            ledger.record_manifest_facts(period.label, kept)
    return facts


def _entry(bucket: Bucket, report: Report) -> dict[str, Any] | None:
    """Return the facts of a report's manifest, or None if it is missing or damaged."""
    try:
        manifest, version_id = bucket.read_version(manifest_key(report))
        return None if manifest is None else entry_of(report, manifest, version_id)
    except ValueError:
        return None


def _sized(facts: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Group facts into items. Facts that fill an item alone are read again by each sweep."""
    groups: list[list[Mapping[str, Any]]] = [[]]
    size = 0
    for each in facts:
        own = len(json.dumps(each))
        if own > _MOST_BYTES:
            continue
        if size + own > _MOST_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(each)
        size += own
    return [group for group in groups if group]


def _close(
    period: LocalPeriod,
    examination: Examination,
    facts: Mapping[str, Mapping[str, Any]],
    work: OpenWork,
    sweep: _Sweep,
) -> None:
    """Announce a period that is complete, unless nothing changed since its last number."""
    services, label = sweep.services, period.label
    mark, now = work.marks[label], sweep.now
    # The end of a run and the schedule may start two sweeps at once.
    if not services.ledger.lease_period(label, mark, now, now + services.waits.announce_lease):
        return
    number = services.ledger.period_number(label)
    last = services.bucket.read_json(period.key(number)) if number else None
    changed = changes(examination, facts, last)
    if not changed:
        services.ledger.clear_mark(label, mark)
        _forget_overdue(label, work, services)
        return
    present = services.ledger.open_work()
    if present.marks.get(label) != mark or sweep.unfinished(present).of(period):
        # A report began or ended meanwhile, so the examination may mix two times.
        return
    key = period.key(number + 1)
    value = complete(period, number + 1, examination, facts, changed)
    is_ours = services.bucket.create(key, json.dumps(value).encode(), {})
    # An earlier sweep may have died before it announced this number.
    announced = value if is_ours else services.bucket.read_json(key)
    if announced is None:
        return
    services.topic.announce(notifications.period_complete(announced, key=key))
    services.ledger.record_period(label, number + 1, sweep.now)
    if is_ours:
        services.ledger.clear_mark(label, mark)
    _forget_overdue(label, work, services)


def _forget_overdue(label: str, work: OpenWork, services: Services) -> None:
    """Let the next change of a period wait from its own time on."""
    for cause in (notifications.waits(label), notifications.told_overdue(label)):
        if cause in work.announced:
            services.ledger.clear_announced(cause)


def _announce_overdue(
    period: LocalPeriod, due: datetime | None, reason: str, work: OpenWork, sweep: _Sweep
) -> None:
    """Announce once that a period has not been complete for too long after its last window."""
    if due is None or sweep.now < due:
        return
    ledger, label = sweep.services.ledger, period.label
    waits, told = notifications.waits(label), notifications.told_overdue(label)
    since = work.announced_at.get(waits)
    if since is None:
        ledger.mark_announced(waits, sweep.now)
    elif told not in work.announced and sweep.now - since >= sweep.overdue_after:
        sweep.services.topic.announce(notifications.period_overdue(label, reason, since=since))
        ledger.mark_announced(told, sweep.now)
