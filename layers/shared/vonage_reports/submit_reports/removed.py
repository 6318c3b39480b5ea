"""Removed definitions: announce them, let their reports wait, and withdraw the reports."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice

from vonage_reports.aws.ledger_items import Calendar, OpenWork
from vonage_reports.domain import notifications
from vonage_reports.domain.errors import (
    RateLimited,
    ReportExpired,
    VonageRejected,
    VonageUnavailable,
)
from vonage_reports.domain.removal import (
    DEFINITION_REMOVED,
    Removals,
    cause_of,
    reason_to_wait,
    removals_of,
    withdrawn_at,
)
from vonage_reports.domain.report import Report, State
from vonage_reports.submit_reports.backfills import stop
from vonage_reports.submit_reports.context import Invocation, Services, StepResult
from vonage_reports.submit_reports.execute import collect_errors
from vonage_reports.submit_reports.read_definitions import LoadedDefinitions, known_pairs
from vonage_reports.submit_reports.withdraw import end

_AT_ONCE = 100
"""How many reports one pass changes at most, because a removed definition may have thousands."""

_LATELY = timedelta(days=1)


def follow_removals(
    work: OpenWork,
    loaded: LoadedDefinitions,
    calendar: Calendar,
    services: Services,
    *,
    invocation: Invocation,
    result: StepResult,
    now: datetime,
) -> Removals:
    """Announce the removed definitions and accounts, and return them.

    The reports of a removed definition or account wait. After 7 days they are withdrawn. When the
    name is listed again, they go on.

    While the listed definitions are unknown, announce and withdraw nothing, and let no further
    report wait. A report that waits already goes on waiting, because the operator removed its name
    before.
    """
    announced = removals_of(work.announced_at)
    if loaded.listing is None:
        return announced
    known = known_pairs(work, calendar)
    removed = loaded.listing.removed(known)
    for pair in removed:
        if pair not in announced.since:
            with collect_errors(result.errors):
                name, account_id = pair[0], known[pair]
                services.topic.announce(notifications.removed(name, account_id, since=now))
                services.ledger.mark_announced(cause_of(pair), now)
    for pair in sorted(announced.since.keys() - set(removed)):
        with collect_errors(result.errors):
            services.ledger.clear_announced(cause_of(pair))
    removals = Removals({pair: announced.since.get(pair, now) for pair in removed})
    for before, after in islice(_changes(work, removals), _AT_ONCE):
        if invocation.has_time_to_settle():
            with collect_errors(result.errors):
                services.ledger.write(before, after)
    with collect_errors(result.errors):
        _withdraw(work, removals, services, invocation, result, now=now)
    return removals


def _changes(work: OpenWork, removals: Removals) -> Iterator[tuple[Report, Report]]:
    """Yield the reports whose reason to wait has changed, as they are and as they should be."""
    waiting = removals.waiting(work.reports)
    for report in waiting:
        reason = reason_to_wait(report, removals.since_of(report))
        if report.reason != reason:
            yield report, replace(report, error=DEFINITION_REMOVED, reason=reason)
    ids = {report.report_id for report in waiting}
    for report in work.reports:
        is_marked = report.state is State.PLANNED and report.error == DEFINITION_REMOVED
        if is_marked and report.report_id not in ids:
            yield report, replace(report, error=None, reason=None)


def _withdraw(
    work: OpenWork,
    removals: Removals,
    services: Services,
    invocation: Invocation,
    result: StepResult,
    *,
    now: datetime,
) -> None:
    """Withdraw the reports and stop the backfills that have waited for 7 days.

    With a wrong API key, the account of most definitions is another one. So this waits until
    Vonage accepts the key.
    """
    over = Removals({pair: at for pair, at in removals.since.items() if withdrawn_at(at) <= now})
    reports = list(_ending(work.reports, over))
    backfills = [
        backfill
        for backfill in work.backfills
        if over.of(backfill.definition.name, backfill.definition.account_ids) is not None
    ]
    if not (reports or backfills) or not _is_key_accepted(work, services, now=now):
        return
    for report in islice(reports, _AT_ONCE):
        if invocation.has_time_to_settle():
            with collect_errors(result.errors):
                ended, _ = end(report, services, now=now)
                if ended.is_at_end:
                    result.ended.append(report.report_id)
    for backfill in backfills:
        with collect_errors(result.errors):
            reason = (
                f"{backfill.definition.name}, or an account of it, is not in the report "
                "definitions any more. List it again, and send the backfill again"
            )
            stop(backfill, reason, services)


def _ending(reports: tuple[Report, ...], over: Removals) -> Iterator[Report]:
    """Yield the whole windows to withdraw. A split window is one if all its open parts wait."""
    waiting = over.waiting(reports)
    yield from (report for report in waiting if not report.is_half)
    ids = {report.report_id for report in waiting}
    split = {report.root for report in waiting if report.root}
    busy = {report.root for report in reports if report.root and report.report_id not in ids}
    yield from (report for report in reports if report.report_id in split - busy)


def _is_key_accepted(work: OpenWork, services: Services, *, now: datetime) -> bool:
    """Whether Vonage took a POST with the API key lately, or shows the list of its account."""
    if any(
        report.request_id is not None
        and report.submitted_at is not None
        and report.submitted_at > now - _LATELY
        for report in work.reports
    ):
        return True
    api_key = services.vonage.api_key
    try:
        services.vonage.list_reports(api_key)
    except (RateLimited, VonageUnavailable):
        return False
    except VonageRejected as error:
        return not error.is_about_access
    except ReportExpired:
        pass
    # After a 401, the client reads the secret again. The next pass then finds another account.
    return services.vonage.api_key == api_key
