"""The items of the ledger: reports, backfills and cursors in DynamoDB's types."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from vonage_reports.domain.backfill import Backfill
from vonage_reports.domain.report import Priority, Report, Revision, State, definition_of
from vonage_reports.domain.traffic_profile import TrafficProfile
from vonage_reports.domain.windows import Window

OF_FINISHED_REPORTS = (
    *("report_id", "definition", "product", "account_id", "include_subaccounts", "filters"),
    *("window", "revision", "priority", "planned_at", "delay_index", "delay_days", "state"),
    *("root", "leaves", "backfill", "rows", "error", "reason", "failures", "withdrawn_at"),
    "receipts",
)
"""The attributes that a Query of many finished reports reads."""

_TIMES = frozenset(
    {
        *("planned_at", "not_before", "look_after", "submitted_at", "refused_since"),
        *("denied_since", "absent_since", "withdrawn_at", "slot_until"),
    }
)


@dataclass(frozen=True)
class OpenWork:
    """All unfinished work.

    `slots` maps a slot to the report_id of its holder. `slots_until` maps a slot that a withdrawn
    report left taken to its end. `unreadable` names the reports and backfills that another version
    of this code wrote. Never change these items. `announced_at` has the times of those announced
    causes whose time counts.
    """

    reports: tuple[Report, ...]
    slots: Mapping[int, str]
    announced: frozenset[str]
    paused_until: datetime | None = None
    unreadable: tuple[str, ...] = ()
    backfills: tuple[Backfill, ...] = ()
    slots_until: Mapping[int, datetime] = field(default_factory=dict)
    announced_at: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class Calendar:
    """The planned part of the calendar, and recent volumes.

    Attributes:
        cursors: The end of planned windows, by definition, account and days of delay.
        volumes: Rows per hour, by definition and account.
        collects: The fields that each definition may never change, as text.
        profiles: The distribution of rows over a window, by definition and account.
    """

    cursors: Mapping[tuple[str, str, int], datetime]
    volumes: Mapping[tuple[str, str], float]
    collects: Mapping[str, str]
    profiles: Mapping[tuple[str, str], TrafficProfile] = field(default_factory=dict)


def open_work_of(items: Iterable[Mapping[str, Any]]) -> OpenWork:
    """Read the open partition."""
    reports, slots, announced, unreadable, backfills = [], {}, set(), [], []
    slots_until, announced_at = {}, {}
    paused_until = None
    for item in items:
        kind, _, name = str(item["sk"]).partition("#")
        if kind in ("report", "backfill"):
            try:
                if kind == "report":
                    reports.append(report_of(item))
                else:
                    backfills.append(backfill_of(item))
            except (KeyError, TypeError, ValueError):
                unreadable.append(name)
        elif kind == "slot":
            slots[int(name)] = str(item["report_id"])
            if "until" in item:
                slots_until[int(name)] = datetime.fromisoformat(str(item["until"]))
        elif kind == "pause":
            paused_until = datetime.fromisoformat(str(item["until"]))
        elif kind == "notice":
            announced.add(name)
            if "at" in item:
                announced_at[name] = datetime.fromisoformat(str(item["at"]))
    return OpenWork(
        tuple(reports),
        slots,
        frozenset(announced),
        paused_until,
        tuple(unreadable),
        tuple(backfills),
        slots_until,
        announced_at,
    )


def calendar_of(items: Iterable[Mapping[str, Any]]) -> Calendar:
    """Read the calendar's partition."""
    cursors, volumes, collects, profiles = {}, {}, {}, {}
    for item in items:
        kind, name, *rest = str(item["sk"]).split("#")
        if kind == "cursor":
            cursors[name, rest[0], int(rest[1])] = datetime.fromisoformat(str(item["end"]))
        elif kind == "volume":
            volumes[name, rest[0]] = float(str(item["rows_per_hour"]))
            if "profile" in item:
                profiles[name, rest[0]] = TrafficProfile.from_json(str(item["profile"]))
        else:
            collects[name] = str(item["collects"])
    return Calendar(cursors, volumes, collects, profiles)


def backfill_of(item: Mapping[str, Any]) -> Backfill:
    """Read a backfill's item."""
    return Backfill.from_json(item["backfill"])


def open_key(report_id: str) -> dict[str, str]:
    """Return the key of an unfinished report."""
    return {"pk": "open", "sk": f"report#{report_id}"}


def finished_key(report_id: str) -> dict[str, str]:
    """Return the key of a finished report."""
    return {"pk": f"finished#{definition_of(report_id)}", "sk": report_id}


def slot_key(slot: int) -> dict[str, str]:
    """Return the key of a slot."""
    return {"pk": "open", "sk": f"slot#{slot}"}


def request_key(request_id: str) -> dict[str, str]:
    """Return the key of the claim on a Vonage request."""
    return {"pk": f"request#{request_id}", "sk": "request"}


def open_item(report: Report) -> dict[str, Any]:
    """Return the item of an unfinished report."""
    return {**open_key(report.report_id), **_attributes(report)}


def finished_item(report: Report) -> dict[str, Any]:
    """Return the item of a finished report."""
    return {**finished_key(report.report_id), **_attributes(report)}


def _attributes(report: Report) -> dict[str, Any]:
    """Return a report's attributes in DynamoDB's types, without those that are None."""
    item: dict[str, Any] = {}
    for each in fields(report):
        value = getattr(report, each.name)
        if isinstance(value, datetime):
            value = value.astimezone(UTC).isoformat()
        elif isinstance(value, Window):
            value = value.to_dict()
        elif isinstance(value, TrafficProfile):
            value = value.to_json()
        elif isinstance(value, Enum):
            value = value.value
        elif each.name == "filters":
            # Store numbers as text, because DynamoDB would return decimals.
            value = json.dumps(value, sort_keys=True)
        elif isinstance(value, tuple):
            value = list(value)
        if value is not None:
            item[each.name] = value
    return item


def report_of(item: Mapping[str, Any]) -> Report:
    """Read a report's item."""
    values: dict[str, Any] = {}
    for each in fields(Report):
        if each.name not in item:
            continue
        value = item[each.name]
        if each.name in _TIMES:
            value = datetime.fromisoformat(str(value))
        elif isinstance(value, Decimal):
            value = int(value)
        values[each.name] = value
    values["filters"] = json.loads(values["filters"])
    for name in ("tokens", "receipts", "delivered_from"):
        values[name] = tuple(values.get(name, ()))
    if "profile" in values:
        values["profile"] = TrafficProfile.from_json(values["profile"])
    values["window"] = Window.from_dict(values["window"])
    values["revision"] = Revision(values["revision"])
    values["priority"] = Priority(values["priority"])
    values["state"] = State(values["state"])
    return Report(**values)
