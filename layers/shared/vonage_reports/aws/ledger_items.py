"""The items of the ledger: reports, backfills and cursors in DynamoDB's types."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, TypeVar

from vonage_reports.domain.backfill import Backfill
from vonage_reports.domain.report import Priority, Report, Revision, State, definition_of
from vonage_reports.domain.traffic_profile import TrafficProfile
from vonage_reports.domain.windows import Window, parse_instant

OF_FINISHED_REPORTS = (
    *("report_id", "definition", "product", "account_id", "include_subaccounts", "filters"),
    *("window", "revision", "priority", "planned_at", "delay_index", "delay_days", "state"),
    *("root", "leaves", "backfill", "rows", "error", "reason", "failures", "withdrawn_at"),
    *("receipts", "rescued"),
)
"""The attributes that a Query of many finished reports reads."""

_TIMES = frozenset(
    {
        *("planned_at", "not_before", "look_after", "submitted_at", "refused_since"),
        *("absent_since", "withdrawn_at", "slot_until"),
    }
)


@dataclass(frozen=True)
class OpenWork:
    """All unfinished work.

    `slots` maps a slot to the report_id of its holder. `slots_until` maps a slot that a withdrawn
    report left taken to its end. `unreadable` has the sort keys of the items that this code cannot
    read. Never change these items.
    """

    reports: tuple[Report, ...]
    slots: Mapping[int, str]
    announced: frozenset[str]
    paused_until: datetime | None = None
    unreadable: tuple[str, ...] = ()
    backfills: tuple[Backfill, ...] = ()
    slots_until: Mapping[int, datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class Calendar:
    """The planned part of the calendar, and recent volumes.

    Attributes:
        cursors: The end of planned windows, by definition, account and days of delay.
        volumes: Rows per hour, by definition and account.
        collects: The fields that each definition may never change, as text.
        profiles: The distribution of rows over a window, by definition and account.
        unreadable: The sort keys of the items that this code cannot read.
    """

    cursors: Mapping[tuple[str, str, int], datetime]
    volumes: Mapping[tuple[str, str], float]
    collects: Mapping[str, str]
    profiles: Mapping[tuple[str, str], TrafficProfile] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()

    def require_readable(self, definition: str) -> None:
        """Raise UnreadableItem if a definition's cursor, or its fixed fields, cannot be read.

        Without them, the calendar would skip windows, or collect windows twice.
        """
        begins = (f"cursor#{definition}#", f"collects#{definition}#")
        names = [name for name in self.unreadable if f"{name}#".startswith(begins)]
        if names:
            raise UnreadableItem(*names)


_MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class UnreadableItem(Exception):
    """This code cannot read an item of the ledger, which it therefore never changes."""

    def __init__(self, *names: str) -> None:
        super().__init__(
            f"the ledger has items that cannot be read: {', '.join(names)}. Probably another "
            "version of the code wrote them: deploy that version"
        )


_Read = TypeVar("_Read")


def readable(
    items: Iterable[Mapping[str, Any]],
    read: Callable[[Mapping[str, Any]], _Read],
    unreadable: list[str],
) -> Iterator[_Read]:
    """Yield the items as `read` returns them. Append the names of unreadable items."""
    for item in items:
        try:
            yield read(item)
        except UnreadableItem:
            unreadable.append(_name(item))


def _name(item: Mapping[str, Any]) -> str:
    # A query of finished reports reads no sort key, which is the report_id there.
    return str(item.get("sk") or item.get("report_id"))


def open_work_of(items: Iterable[Mapping[str, Any]]) -> OpenWork:
    """Read the open partition."""
    reports, slots, announced, unreadable, backfills = [], {}, set(), [], []
    slots_until = {}
    paused_until = None
    for item in items:
        kind, _, name = str(item["sk"]).partition("#")
        try:
            if kind == "report":
                reports.append(report_of(item))
            elif kind == "backfill":
                backfills.append(backfill_of(item))
            elif kind == "slot":
                # The slot is taken, whatever else the item says.
                slots[int(name)] = str(item.get("report_id"))
                if "until" in item:
                    slots_until[int(name)] = _instant(item["until"])
            elif kind == "pause":
                paused_until = _instant(item["until"])
            elif kind == "notice":
                announced.add(name)
        except (UnreadableItem, *_MALFORMED):
            unreadable.append(_name(item))
    return OpenWork(
        tuple(reports),
        slots,
        frozenset(announced),
        paused_until,
        tuple(unreadable),
        tuple(backfills),
        slots_until,
    )


def calendar_of(items: Iterable[Mapping[str, Any]]) -> Calendar:
    """Read the calendar's partition."""
    cursors, volumes, collects, profiles = {}, {}, {}, {}
    unreadable = []
    for item in items:
        kind, *rest = str(item["sk"]).split("#")
        try:
            if kind == "cursor":
                name, account_id, delay_days = rest
                cursors[name, account_id, int(delay_days)] = _instant(item["end"])
            elif kind == "volume":
                name, account_id = rest
                volumes[name, account_id] = float(str(item["rows_per_hour"]))
                if "profile" in item:
                    profiles[name, account_id] = TrafficProfile.from_json(str(item["profile"]))
            elif kind == "collects":
                (name,) = rest
                collects[name] = str(item["collects"])
                json.loads(collects[name]).items()
        except _MALFORMED:
            unreadable.append(_name(item))
    return Calendar(cursors, volumes, collects, profiles, tuple(unreadable))


def _instant(value: object) -> datetime:
    """Read an instant. Raises ValueError without an offset: it could not be compared."""
    return parse_instant(str(value))


def backfill_of(item: Mapping[str, Any]) -> Backfill:
    """Read a backfill's item. Raises UnreadableItem."""
    try:
        return Backfill.from_json(item["backfill"])
    except _MALFORMED:
        raise UnreadableItem(_name(item)) from None


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
    """Read a report's item. Raises UnreadableItem."""
    try:
        return _report_of(item)
    except _MALFORMED:
        raise UnreadableItem(_name(item)) from None


def _report_of(item: Mapping[str, Any]) -> Report:
    values: dict[str, Any] = {}
    for each in fields(Report):
        if each.name not in item:
            continue
        value = item[each.name]
        if each.name in _TIMES:
            value = _instant(value)
        elif isinstance(value, Decimal):
            value = int(value)
        values[each.name] = value
    values["filters"] = json.loads(values["filters"])
    for name in ("tokens", "receipts", "delivered_from"):
        values[name] = tuple(values.get(name, ()))
    if "rescued" in values:
        values["rescued"] = {name: int(count) for name, count in values["rescued"].items()}
    if "profile" in values:
        values["profile"] = TrafficProfile.from_json(values["profile"])
    values["window"] = Window.from_dict(values["window"])
    values["revision"] = Revision(values["revision"])
    values["priority"] = Priority(values["priority"])
    values["state"] = State(values["state"])
    return Report(**values)
