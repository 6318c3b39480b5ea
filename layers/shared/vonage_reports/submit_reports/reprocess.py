"""What a person wants done once more: a window collected, or its archives converted."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from vonage_reports.aws.ledger import Change, VersionConflict
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.lifecycle import Convert, Reopen, Replan, apply
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.report import Priority, Report, State
from vonage_reports.submit_reports.context import Services
from vonage_reports.submit_reports.execute import execute
from vonage_reports.submit_reports.split_windows import is_part_of, parts_of

Currencies = Mapping[str, str | None]
"""By the name of a definition, what it says of currency now; a window was planned with another."""

_AS_PLANNED: Currencies = {}


def recollect(
    report_id: str,
    token: str,
    services: Services,
    *,
    now: datetime,
    currencies: Currencies = _AS_PLANNED,
) -> list[str]:
    """Plan a report again that has come to its end; return it, or nothing to do.

    There is nothing to do while the report, or the window that it is a part of, is unfinished,
    and for a token that was followed before. A part of a window that was split is collected
    alone, and the window is made anew of it and of the parts that are there. Raises
    InvalidRequest for a report that nobody knows, and for what is a part no more.
    """
    report = _known(report_id, "recollect", services, currencies)
    if not report.is_at_end or token in report.tokens:
        return []
    if report.state is State.SPLIT:
        parts = parts_of(report, services.ledger, now=now) or []
        if not all(part.is_at_end for part in parts):
            return []
    planned = apply(report, Replan(token), now=now)
    changes: list[Change] = [(report, planned)]
    if report.root is None:
        changes = [(report, replace(planned, priority=Priority.CALENDAR, backfill=None))]
    else:
        root = _known(report.root, "recollect", services, currencies)
        if not root.is_at_end and root.state is not State.SPLIT:
            return []
        changes.append((root, _with_one_part_for(report, root, services, now=now)))
        # Without it they were not worth their price. Its own parts it takes the place of.
        changes += [
            (part, apply(part, Replan(), now=now))
            for part in parts_of(root, services.ledger, now=now) or []
            if part.state is State.CANCELLED and not part.split_path.startswith(report.split_path)
        ]
    try:
        services.ledger.write_all(changes)
    except VersionConflict:
        return []
    return [report_id]


def _with_one_part_for(part: Report, root: Report, services: Services, *, now: datetime) -> Report:
    """Return a window that was split as it is while a part of it is collected again.

    Raises InvalidRequest where the window is not made of that part any more.
    """
    if not is_part_of(part, root, services.ledger, now=now):
        name = root.report_id
        raise InvalidRequest(
            f"recollect: {part.report_id} is no part any more of {name}: name that one"
        )
    further = 0
    if part.state is State.SPLIT:
        further = len(parts_of(part, services.ledger, now=now) or [part]) - 1
    leaves = root.leaves - further
    if root.is_at_end:
        return apply(root, Reopen(leaves), now=now)
    return replace(root, leaves=leaves)


def reconvert(
    report_id: str, services: Services, *, now: datetime, currencies: Currencies = _AS_PLANNED
) -> list[str]:
    """Start a run that makes a window anew from its archives; return it, or nothing to do.

    There is nothing to do while the report is unfinished. Where the last collection has no archive,
    it is made of those that it was delivered from before. Raises InvalidRequest for a report that
    nobody knows, for a part of a window, and where no archive was stored.
    """
    report = _known(report_id, "reconvert", services, currencies)
    if not report.is_at_end:
        return []
    if report.is_half:
        raise InvalidRequest(f"reconvert: {report_id} is a part of {report.root}: name that one")
    if report.request_id is None and not (report.receipts or report.delivered_from):
        raise InvalidRequest(f"reconvert: {report_id} was never asked for: collect it first")
    receipts = report.receipts or (receipt_key(report),)
    missing = _missing(receipts, services)
    if missing and report.delivered_from and not _missing(report.delivered_from, services):
        receipts, missing = report.delivered_from, None
    if missing:
        raise InvalidRequest(f"reconvert: {missing} is not there: collect the window again")
    try:
        execute(report, Convert(receipts, report.profile), services, now=now)
    except VersionConflict:
        return []
    return [report_id]


def _missing(receipts: Sequence[str], services: Services) -> str | None:
    # Read, where a look would do: S3 says "not there" of an object in a bucket that is not.
    return next((key for key in receipts if services.bucket.read_json(key) is None), None)


def outlook(report_id: str, services: Services) -> dict[str, Any]:
    """Return what collecting a report again would do, in the words of a backfill's outlook."""
    report = _known(report_id, "recollect", services)
    volumes = services.ledger.calendar().volumes
    rows_per_hour = volumes.get((report.definition, report.account_id))
    expected = None if rows_per_hour is None else round(rows_per_hour * report.window.hours)
    rows = expected if report.rows is None else report.rows
    return {
        "report_id": report_id,
        "windows": [report.window.interval],
        "reports": int(report.is_at_end),
        "skipped": int(not report.is_at_end),
        "expected_rows": rows if report.is_at_end else 0,
        "expected_billed_records": rows if report.is_at_end else 0,
    }


def _known(
    report_id: str, event: str, services: Services, currencies: Currencies = _AS_PLANNED
) -> Report:
    """Return a report of the ledger, in the currency of now.

    Raises InvalidRequest where it has none of that name.
    """
    report = services.ledger.report(report_id)
    if report is None:
        raise InvalidRequest(f"{event}: there is no report {report_id}")
    return replace(report, currency=currencies.get(report.definition, report.currency))
