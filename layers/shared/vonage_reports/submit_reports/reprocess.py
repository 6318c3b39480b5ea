"""The operator's requests to collect a window again, or to convert its archives again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from vonage_reports.aws.ledger import Change, RequestAlreadyClaimed, VersionConflict
from vonage_reports.domain.acceptance import in_order
from vonage_reports.domain.calendar import present_revision
from vonage_reports.domain.decisions import resolved
from vonage_reports.domain.errors import InvalidRequest, ReportExpired
from vonage_reports.domain.lifecycle import Convert, Reopen, Replan, apply
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.products import billed_records
from vonage_reports.domain.report import (
    Priority,
    Report,
    Revision,
    State,
    failure_token,
    is_failure_token,
)
from vonage_reports.domain.windows import format_instant
from vonage_reports.submit_reports.context import Services, StepResult
from vonage_reports.submit_reports.execute import execute
from vonage_reports.submit_reports.lost_requests import CLOCK_ERROR
from vonage_reports.submit_reports.split_windows import is_part_of, parts_of
from vonage_reports.vonage.answers import ReportRequest
from vonage_reports.vonage.comparison import Match, compare

Currencies = Mapping[str, str | None]
"""The present currency of each definition, by name. Windows were planned with an earlier one."""

_AS_PLANNED: Currencies = {}


def recollect(
    report_id: str,
    token: str,
    services: Services,
    *,
    now: datetime,
    currencies: Currencies = _AS_PLANNED,
    confirmed: bool = False,
) -> StepResult:
    """Plan a finished report again and return its report_id, or the reason to do nothing.

    There is nothing to do while the report or its whole window is unfinished, or if the token was
    followed before. The token of a failure is followed only while that failure is the last one. A
    part of a split window is collected alone, and the window is then converted again from all its
    parts.

    Raises InvalidRequest, having written nothing, for an unknown report, for a part that its window
    no longer has, for a revision whose later one is delivered, and for a delivered window without
    confirmation.
    """
    report = _known(report_id, "recollect", services, currencies)
    idle = _why_idle(report, token)
    if idle is not None:
        return _nothing(idle)
    _require_latest(report, services)
    if report.state is State.SPLIT:
        parts = parts_of(report, services.ledger, now=now) or []
        if not all(part.is_at_end for part in parts):
            return _nothing(f"{report_id} is unfinished: a part of it is not collected yet")
    root = None if report.root is None else _known(report.root, "recollect", services, currencies)
    window = root or report
    if window.state is State.DELIVERED and not confirmed:
        raise InvalidRequest(
            f"recollect: the window of {report_id} is delivered, and Vonage bills it again. To "
            'collect it all the same, send the event again with "confirm": true'
        )
    planned = apply(_as_planned_now(report, services), Replan(token), now=now)
    changes: list[Change] = [(report, planned)]
    if root is None:
        changes = [(report, replace(planned, priority=Priority.CALENDAR, backfill=None))]
    else:
        if not root.is_at_end and root.state is not State.SPLIT:
            return _nothing(f"its window {root.report_id} is {root.state}, which is unfinished")
        if root.state is State.SPLIT and root.withdrawn_at is not None:
            return _nothing(f"its window {root.report_id} is being withdrawn")
        changes.append((root, _with_one_part_for(report, root, services, now=now)))
        # These parts were cancelled because this one failed: plan them again, except its own
        # parts, which it replaces.
        changes += [
            (part, apply(part, Replan(is_wanted=True), now=now))
            for part in parts_of(root, services.ledger, now=now) or []
            if part.state is State.CANCELLED and not part.split_path.startswith(report.split_path)
        ]
    try:
        services.ledger.write_all(changes)
    except VersionConflict:
        return _nothing(f"another invocation changed {report_id} at the same time")
    return StepResult([report_id])


def _nothing(reason: str) -> StepResult:
    return StepResult(errors=[InvalidRequest(f"recollect: nothing was done: {reason}")])


def _why_idle(report: Report, token: str) -> str | None:
    """Return the reason why a recollect event is not followed; None: it is."""
    if token in report.tokens:
        return f"token {token} was followed before for {report.report_id}"
    if not report.is_at_end:
        return f"{report.report_id} is {report.state}, which is unfinished"
    is_current = report.state is State.FAILED and token == failure_token(report.failures)
    if is_failure_token(token) and not is_current:
        return (
            f"token {token} answers an earlier failure of {report.report_id}, which is "
            f"{report.state} after {report.failures} failures"
        )
    return None


def _require_latest(report: Report, services: Services) -> None:
    """Raise InvalidRequest for a revision that would be superseded instead of collected."""
    for name in report.later_revisions:
        later = services.ledger.finished_report(name)
        if later is not None and later.state is State.DELIVERED and not report.is_half:
            raise InvalidRequest(
                f"recollect: {report.report_id} is {report.revision}, and a later revision of its "
                f"window is delivered. To collect the window again, recollect {name}"
            )


def _with_one_part_for(part: Report, root: Report, services: Services, *, now: datetime) -> Report:
    """Return a split window as it is while one of its parts is collected again.

    Raises InvalidRequest if the window no longer has that part.
    """
    if not is_part_of(part, root, services.ledger, now=now):
        raise InvalidRequest(
            f"recollect: {part.report_id} is no longer a part of its window. "
            f"Collect the window: {root.report_id}"
        )
    further = 0
    if part.state is State.SPLIT:
        further = len(parts_of(part, services.ledger, now=now) or [part]) - 1
    leaves = root.leaves - further
    if root.is_at_end:
        return apply(root, Reopen(leaves), now=now)
    return replace(root, leaves=leaves, is_wanted=True)


def reconvert(
    report_id: str,
    services: Services,
    *,
    now: datetime,
    currencies: Currencies = _AS_PLANNED,
    accept: Iterable[str] = (),
) -> list[str]:
    """Convert a window's archives again and return its report_id; [] if it is unfinished.

    If the last collection stored no archive, the archives of the last delivery are converted.
    `accept` names the imperfections that this conversion may have, and no later one.

    Raises InvalidRequest for an unknown report, for a part of a window, and without archives.
    """
    report = _known(report_id, "reconvert", services, currencies)
    if not report.is_at_end:
        return []
    if report.is_half:
        raise InvalidRequest(
            f"reconvert: {report_id} is a part. Reconvert its window: {report.root}"
        )
    if report.request_id is None and not (report.receipts or report.delivered_from):
        raise InvalidRequest(f"reconvert: {report_id} was never requested. Collect it first")
    receipts = report.receipts or (receipt_key(report),)
    missing = _missing(receipts, services)
    if missing and report.delivered_from and not _missing(report.delivered_from, services):
        receipts, missing = report.delivered_from, None
    if missing:
        raise InvalidRequest(f"reconvert: the bucket has no {missing}. Collect the window again")
    relabels = _as_planned_now(report, services).revision is not report.revision
    again = Convert(receipts, report.profile, relabels, in_order(accept))
    try:
        execute(report, again, services, now=now)
    except VersionConflict:
        return []
    return [report_id]


def _as_planned_now(report: Report, services: Services) -> Report:
    """Return a preliminary report as final if the definition's delays were shortened meanwhile.

    If a later revision is planned, that one is final.
    """
    if report.revision is Revision.FINAL or any(
        map(services.ledger.report, report.later_revisions)
    ):
        return report
    return present_revision(report, services.ledger.calendar().delays.get(report.definition))


def _missing(receipts: Sequence[str], services: Services) -> str | None:
    # GET, not HEAD: a HEAD answers 404 for a missing bucket too.
    return next((key for key in receipts if services.bucket.read_json(key) is None), None)


def resolve(
    report_id: str,
    request_id: str | None,
    services: Services,
    *,
    now: datetime,
    hold: int | None = None,
) -> None:
    """Resolve a HELD report: adopt the request, or plan the report again (None).

    Raises InvalidRequest, having written nothing, if the report is not held, or held for another
    time than the `hold`-th, or if Vonage does not have the request, or has it with other
    parameters, or if it belongs to another report or to an earlier collection of this one.
    """
    report = services.ledger.report(report_id)
    if report is None or report.state is not State.HELD:
        raise InvalidRequest(f"resolve: {report_id} is not held")
    if hold is not None and hold != report.holds:
        raise InvalidRequest(
            f"resolve: hold {hold} of {report_id} is over. The report is held again: answer its "
            f"last notification, hold {report.holds}"
        )
    if request_id is not None:
        try:
            at_vonage = services.vonage.get_report(request_id)
        except ReportExpired as error:
            raise InvalidRequest(f"resolve: Vonage has no request {request_id}: {error}") from error
        if compare(at_vonage, report) is Match.OTHER:
            raise InvalidRequest(
                f"resolve: {request_id} has other parameters than {report_id} at Vonage"
            )
        _require_present(at_vonage, report, services)
    try:
        execute(report, resolved(request_id, now=now), services, now=now)
    except VersionConflict:
        raise InvalidRequest(
            f"resolve: another invocation changed {report_id} at the same time. Send the event "
            "again"
        ) from None
    except RequestAlreadyClaimed:
        raise InvalidRequest(
            f"resolve: {request_id} belongs to another report. Find the report of {report_id}"
        ) from None


def _require_present(at_vonage: ReportRequest, report: Report, services: Services) -> None:
    """Raise InvalidRequest for a request of an earlier collection of the report.

    Its parameters are the same. If it was adopted, the paid request of the present collection would
    be lost.
    """
    request_id = at_vonage.request_id
    if request_id == report.request_id:
        return
    # A POST of this collection that got no answer was perhaps repeated.
    first = report.planned_at if report.unheard else report.submitted_at
    sent = report.refused_since or first
    when = "" if sent is None else f" The held request was sent at {format_instant(sent)}"
    if services.ledger.report_served_by(request_id) == report.report_id:
        raise InvalidRequest(
            f"resolve: {request_id} is an earlier request of {report.report_id}, not the held one."
            f"{when}"
        )
    received = at_vonage.receive_time
    if received is not None and sent is not None and received < sent - CLOCK_ERROR:
        raise InvalidRequest(
            f"resolve: Vonage received {request_id} at {format_instant(received)}, before "
            f"{report.report_id} was requested at {format_instant(sent)}. Find the later request"
        )


def outlook(report_id: str, services: Services) -> dict[str, Any]:
    """Return the effect of collecting a report again, in the form of a backfill's dry run."""
    report = _known(report_id, "recollect", services)
    _require_latest(report, services)
    volumes = services.ledger.calendar().volumes
    rows_per_hour = volumes.get((report.definition, report.account_id))
    expected = None if rows_per_hour is None else round(rows_per_hour * report.window.hours)
    rows = (expected if report.rows is None else report.rows) if report.is_at_end else 0
    return {
        "report_id": report_id,
        "windows": [report.window.interval],
        "reports": int(report.is_at_end),
        "skipped": int(not report.is_at_end),
        "expected_rows": rows,
        "expected_billed_records": billed_records(report.product, rows),
    }


def _known(
    report_id: str, event: str, services: Services, currencies: Currencies = _AS_PLANNED
) -> Report:
    """Return a report of the ledger with its definition's present currency.

    Raises InvalidRequest for an unknown report_id.
    """
    report = services.ledger.report(report_id)
    if report is None:
        raise InvalidRequest(f"{event}: the ledger has no report {report_id}")
    return replace(report, currency=currencies.get(report.definition, report.currency))
