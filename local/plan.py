"""What an event is going to ask Vonage for, said before anything is billed."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from local.deployment import Stack
from vonage_reports.aws.ledger import Ledger
from vonage_reports.domain.calendar import due_windows, is_too_late, planned_report
from vonage_reports.domain.reports import Report
from vonage_reports.domain.windows import format_instant, parse_instant
from vonage_reports.inputs import parse_definitions


def plan_of(
    event: Mapping[str, Any], stack: Stack, ledger: Ledger, *, api_key: str, now: datetime
) -> list[str]:
    """Say line by line what `event` would plan, and what is open already.

    Nothing is asked of Vonage for it.
    """
    lines = [f"goes on with {_described(report)}" for report in ledger.open_reports()]
    if "scheduled_time" in event:
        due = _due(event["scheduled_time"], stack, ledger, api_key=api_key, now=now)
        lines += [f"asks for {_described(report)}" for report in due]
    else:
        # A dry run would say more, but submit_reports also submits what is open: not before a yes.
        lines.append(f"sends the event {json.dumps(event)}")
    return lines


def _due(
    scheduled_time: str, stack: Stack, ledger: Ledger, *, api_key: str, now: datetime
) -> list[Report]:
    definitions, _ = parse_definitions(stack.definitions(), api_key=api_key)
    calendar = ledger.calendar()
    at = parse_instant(scheduled_time)
    return [
        planned_report(
            definition,
            account_id,
            delay_index,
            window,
            rows_per_hour=calendar.volumes.get((definition.name, account_id)),
            now=now,
        )
        for definition in definitions
        for account_id in definition.account_ids
        for delay_index, delay_days in enumerate(definition.delay_days)
        for cursor in [calendar.cursors.get((definition.name, account_id, delay_days))]
        for window in due_windows(definition, delay_index, cursor, at)
        if not is_too_late(definition, delay_index, window, at)
    ]


def _described(report: Report) -> str:
    window = f"{format_instant(report.window.start)} to {format_instant(report.window.end)}"
    rows = "unknown" if report.expected_rows is None else f"about {report.expected_rows:,}"
    return (
        f"{report.definition}: {report.product} of {report.account_id}, {window}, "
        f"{report.revision.value}, records: {rows}"
    )
