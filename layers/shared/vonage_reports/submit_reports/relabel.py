"""Relabel: make preliminary revisions final after a definition's delays were shortened.

Nothing is collected again: a run converts the stored archives once more.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from enum import Enum

from vonage_reports.aws.ledger import VersionConflict
from vonage_reports.aws.ledger_items import OpenWork
from vonage_reports.domain.calendar import Relabelling
from vonage_reports.domain.decisions import is_leased
from vonage_reports.domain.lifecycle import Convert
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.report import Report, State, report_ids_from
from vonage_reports.submit_reports.context import Invocation, Services, StepResult
from vonage_reports.submit_reports.execute import collect_errors, execute

AT_ONCE = 20
"""How many relabelled reports are converted side by side. More could crowd out other functions."""

_EXAMINED_AT_ONCE = 200
"""How many finished reports a pass reads for each relabelling."""

_MARKED_AT_ONCE = 50
"""How many open reports a pass looks at for each relabelling."""


def relabel(
    work: OpenWork, services: Services, invocation: Invocation, *, clock: Callable[[], datetime]
) -> StepResult:
    """Advance each relabelling, the newest windows first. Only errors are in the result.

    An open preliminary report is collected as the final revision. If its run was started before,
    `settle` converts it once more. A report waits while a later revision of its window is open,
    because a final that was planned before the change is collected as planned.
    """
    result = StepResult()
    room = AT_ONCE - sum(
        each.relabelled and each.state is State.CONVERTING for each in work.reports
    )
    for relabelling in work.relabellings:
        with collect_errors(result.errors):
            concerned = filter(relabelling.concerns, work.reports)
            is_done = _mark(concerned, services, invocation, now=clock())
            room = _convert(
                relabelling, services, invocation, waits=not is_done, room=room, now=clock()
            )
    return result


def _mark(
    reports: Iterable[Report], services: Services, invocation: Invocation, *, now: datetime
) -> bool:
    """Make open reports final. Return False if one of them has to wait."""
    is_done = True
    for count, report in enumerate(reports):
        if count >= _MARKED_AT_ONCE or not invocation.has_time_to_settle():
            return False
        # The invocation that holds a lease has to write the answer to its POST.
        if is_leased(report, now) and report.state is not State.HELD:
            is_done = False
            continue
        follows = _follows(report, _of_windows([report], services))
        is_done = is_done and follows is not _Later.OPEN
        if follows is None:
            try:
                services.ledger.write(report, report.as_final())
            except VersionConflict:
                is_done = False
    return is_done


def _convert(
    relabelling: Relabelling,
    services: Services,
    invocation: Invocation,
    *,
    waits: bool,
    room: int,
    now: datetime,
) -> int:
    """Convert the next delivered reports as final. Return how many more runs may be started."""
    name = relabelling.definition
    again = relabelling.again or waits
    page, before, has_more = services.ledger.finished_before(
        name, relabelling.before, limit=_EXAMINED_AT_ONCE
    )
    concerned = [
        report
        for report in page
        if report.state is State.DELIVERED and relabelling.concerns(report)
    ]
    known = _of_windows(concerned, services)
    for report in concerned:
        if room <= 0 or not invocation.has_time_to_settle():
            before, has_more = report.report_id, True
            break
        follows = _follows(report, known)
        if follows is None:
            receipts = report.receipts or (receipt_key(report),)
            final = Convert(receipts, report.profile, relabels=True, accept=report.accept)
            try:
                execute(report, final, services, now=now)
            except VersionConflict:
                again = True
            room -= 1
        again = again or follows is _Later.OPEN
    after = replace(relabelling, before=before, again=again)
    if not has_more:
        after = replace(after, before=report_ids_from(name, relabelling.until), again=False)
    if has_more or again:
        services.ledger.advance_relabelling(relabelling, after)
    else:
        services.ledger.advance_relabelling(relabelling, None)
    return room


class _Later(Enum):
    """The later revision of a preliminary report's window."""

    OPEN = "it may be delivered"
    DELIVERED = "it is delivered"


def _of_windows(reports: Sequence[Report], services: Services) -> Sequence[Report]:
    """Read the ledger's reports of the windows of these reports, which have one definition."""
    if not reports:
        return ()
    start = min(report.window.start for report in reports)
    end = max(report.window.end for report in reports)
    return services.ledger.reports_between(reports[0].definition, start, end)[0]


def _follows(report: Report, known: Sequence[Report]) -> _Later | None:
    """Return the later revision's progress, or None if none is delivered or open."""
    later = [
        other
        for other in known
        if (other.account_id.lower(), other.window) == (report.account_id.lower(), report.window)
        and other.delay_days > report.delay_days
    ]
    if any(other.is_at_end and other.rows is not None for other in later):
        return _Later.DELIVERED
    return _Later.OPEN if any(not other.is_at_end for other in later) else None
