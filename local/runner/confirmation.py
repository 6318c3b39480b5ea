"""The plan of a run, shown to the operator before Vonage bills anything."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from local.stack.deployment import Stack
from vonage_reports.aws.ledger import Ledger
from vonage_reports.aws.ledger_items import Calendar
from vonage_reports.domain.backfill import Backfill, expected_records
from vonage_reports.domain.products import billed_records
from vonage_reports.domain.report import Report
from vonage_reports.domain.windows import format_instant, parse_instant
from vonage_reports.submit_reports.read_definitions import parse_definitions
from vonage_reports.submit_reports.requests import BackfillRequest, Recollection, parse_event
from vonage_reports_cli.estimate import due

_BILLED = ("backfill", "recollect")
"""The events that cost money. Both accept `dry_run`."""


def plan_of(
    event: Mapping[str, Any], stack: Stack, ledger: Ledger, *, api_key: str, now: datetime
) -> list[str]:
    """Describe the open work and the reports that `event` would plan, one per line.

    Sends no request to Vonage. Raises InvocationFailed if submit_reports refuses the event.
    """
    work = ledger.open_work()
    calendar = ledger.calendar()
    lines = [f"resume {_describe_report(report)}" for report in work.reports if not report.is_half]
    lines += [f"resume {_describe_backfill(backfill, calendar)}" for backfill in work.backfills]
    request = parse_event(dict(event))
    if "scheduled_time" in event:
        at = parse_instant(event["scheduled_time"])
        definitions, _ = parse_definitions(
            stack.definitions(),
            api_key=api_key,
            subaccounts=calendar.latest_subaccounts,
            established=calendar.collects,
        )
        reports = due(definitions, calendar, work, at=at, now=now)
        lines += [f"request {_describe_report(report)}" for report in reports]
        lines += [
            f"request the same for each sub-account of {api_key}, which Vonage is asked for: "
            f"{each.name}"
            for each in definitions
            if each.followed is not None and not each.followed.is_known
        ]
    elif isinstance(request, BackfillRequest | Recollection):
        lines.append(f"request {describe_dry_run(stack.submit(as_dry_run(event)))}")
    else:
        lines.append(f"send the event {json.dumps(event)}")
    return lines


def as_dry_run(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the operator's event as a dry run, which writes nothing."""
    return {
        name: {**value, "dry_run": True} if name in _BILLED else value
        for name, value in event.items()
    }


def describe_dry_run(answer: Mapping[str, Any]) -> str:
    """Describe the answer to a dry run in one line."""
    outlook = answer["dry_run"]
    name = f"the backfill {outlook['backfill']}" if "backfill" in outlook else outlook["report_id"]
    newest, oldest = outlook["windows"][0], outlook["windows"][-1]
    interval = f"{oldest.split('/')[0]} to {newest.split('/')[1]}"
    reports, skipped = outlook["reports"], outlook["skipped"]
    parts = [
        f"{name}: {reports:,} {'report' if reports == 1 else 'reports'}, {interval}",
        f"already delivered or under way: {skipped:,}" if skipped else "",
        f"records: {_number(outlook['expected_billed_records'])}",
    ]
    return ", ".join(filter(None, parts))


def _describe_report(report: Report) -> str:
    window = f"{format_instant(report.window.start)} to {format_instant(report.window.end)}"
    records = billed_records(report.product, report.expected_rows)
    return (
        f"{report.definition}: {report.product} of {report.account_id}, {window}, "
        f"{report.revision.value}, records: {_number(records)}"
    )


def _describe_backfill(backfill: Backfill, calendar: Calendar) -> str:
    records = _number(expected_records(backfill, calendar.volumes) or None)
    left = backfill.total - backfill.seen_to
    return (
        f"the backfill {backfill.name}: {left:,} of {backfill.total:,} reports left, "
        f"records: {records}"
    )


def _number(records: int | None) -> str:
    return "unknown" if records is None else f"about {records:,}"
