"""A folder in which `make run` has ended: its saved ledger, beside the copy of its bucket."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from boto3.dynamodb.types import TypeSerializer

from vonage_reports.aws.ledger_items import (
    collects_item,
    finished_item,
    open_item,
    request_key,
)
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.report import Report
from vonage_reports.submit_reports.read_definitions import parse_definitions
from vonage_reports_cli.status.sources import LastRun

AS_OF = datetime(2026, 12, 5, tzinfo=UTC)


def save_run(
    root: Path,
    *,
    definitions: Sequence[ReportDefinition] = (),
    planned: Sequence[ReportDefinition] | None = None,
    reports: Sequence[Report] = (),
    is_simulated: bool = False,
    as_of: datetime = AS_OF,
) -> Path:
    """Save a ledger with these definitions and reports; return `root`.

    `planned` are the definitions as submit_reports planned them first, if they differ.
    """
    text = _text(definitions)
    # submit_reports plans what it has read, with every default. A refused one was planned before.
    first = definitions if planned is None else planned
    read = {each.name: each for each in parse_definitions(_text(first), api_key="abcd1234")[0]}
    collected = [read.get(each.name, each) for each in first]
    items: list[dict[str, Any]] = [
        *(collects_item(each, dict.fromkeys(each.delay_days)) for each in collected),
        *(finished_item(each) if each.is_at_end else open_item(each) for each in reports),
        *(
            {**request_key(each.request_id), "report_id": each.report_id}
            for each in reports
            if each.request_id is not None
        ),
    ]
    serialize = TypeSerializer().serialize
    (root / ".local").mkdir(parents=True, exist_ok=True)
    LastRun(root / ".local").write(
        [{name: serialize(value) for name, value in item.items()} for item in items],
        source="the last make run",
        is_simulated=is_simulated,
        definitions=text,
        as_of=as_of,
    )
    return root


def _text(definitions: Sequence[ReportDefinition]) -> str:
    entries = [
        {
            "name": each.name,
            "product": each.product,
            "account_ids": list(each.account_ids),
            "filters": dict(each.filters),
            "window": each.window,
            "time_zone": each.time_zone,
            "delay_days": list(each.delay_days),
        }
        for each in definitions
    ]
    return json.dumps(entries)
