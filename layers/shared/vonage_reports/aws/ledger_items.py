"""The items of the ledger: reports, backfills and cursors in DynamoDB's types."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from http import HTTPStatus
from typing import Any, TypeVar

from vonage_reports.domain.backfill import Backfill
from vonage_reports.domain.calendar import Delays, Relabelling
from vonage_reports.domain.catalogue import PARTITION_KEYS, Registration
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.pace import learnt_pace
from vonage_reports.domain.periods import periods_of
from vonage_reports.domain.report import Priority, Report, Revision, State, definition_of
from vonage_reports.domain.settings import PeriodLength
from vonage_reports.domain.subaccounts import Interval, Subaccounts
from vonage_reports.domain.traffic_profile import TrafficProfile
from vonage_reports.domain.windows import Window, format_instant, parse_instant

OF_FINISHED_REPORTS = (
    *("report_id", "definition", "product", "account_id", "include_subaccounts", "filters"),
    *("window", "revision", "priority", "planned_at", "delay_index", "delay_days", "state"),
    *("root", "leaves", "backfill", "rows", "error", "reason", "failures", "withdrawn_at"),
    *("receipts", "relabelled", "rescued", "accept", "request_id", "submitted_at"),
    "denied_since",
)
"""The attributes that a Query of many finished reports reads."""

OF_PERIODS = (
    *("report_id", "definition", "product", "account_id", "include_subaccounts", "filters"),
    *("window", "revision", "priority", "planned_at", "delay_days", "state", "version"),
    *("root", "rows", "delivered_from", "withdrawn_at"),
    *("backfill", "tokens", "attempts_before"),
)
"""The attributes of a finished report from which a period is judged.

The other attributes, such as the input of a run, are most of an item.
"""

_FIELDS = frozenset(each.name for each in fields(Report))

_TIMES = frozenset(
    {
        *("planned_at", "not_before", "look_after", "submitted_at", "refused_since"),
        *("denied_since", "absent_since", "withdrawn_at", "slot_until"),
    }
)


@dataclass(frozen=True)
class StoppedPlanning:
    """The calendar's planning has stopped: since when, and at which definition it goes on."""

    since: datetime
    definition: str


@dataclass(frozen=True)
class BlockedPeriod:
    """The last examination of a period that was not complete.

    `mark` is the period's mark at that time, `at` the time, and `reason` names the blockers.
    """

    mark: str
    at: datetime
    reason: str


@dataclass(frozen=True)
class OpenWork:
    """All unfinished work.

    `slots` maps a slot to the report_id of its holder. `slots_until` maps a slot that a withdrawn
    report left taken to its end. `unreadable` has the sort keys of the items that this code cannot
    read. Never change these items. `announced_at` has the times of those announced causes whose
    time counts.
    """

    reports: tuple[Report, ...]
    slots: Mapping[int, str]
    announced: frozenset[str]
    paused_until: datetime | None = None
    unreadable: tuple[str, ...] = ()
    backfills: tuple[Backfill, ...] = ()
    slots_until: Mapping[int, datetime] = field(default_factory=dict)
    relabellings: tuple[Relabelling, ...] = ()
    planning_stopped: StoppedPlanning | None = None
    announced_at: Mapping[str, datetime] = field(default_factory=dict)
    registrations: tuple[Registration, ...] = ()
    marks: Mapping[str, str] = field(default_factory=dict)
    """The periods that changed since they were announced as complete, by label. Each has the last
    change."""
    blocked: Mapping[str, BlockedPeriod] = field(default_factory=dict)
    writes_before: int = field(default=0, compare=False)
    """How many writes the ledger had made when it read this work."""


@dataclass(frozen=True)
class Calendar:
    """The planned part of the calendar, and recent volumes.

    Attributes:
        cursors: The end of planned windows, by definition, account and days of delay.
        volumes: Rows per hour, by definition and account.
        collects: The fields that each definition may never change, as text.
        profiles: The distribution of rows over a window, by definition and account.
        unreadable: The sort keys of the items that this code cannot read.
        delays: The delays of each definition as last planned. Absent for a definition that only an
            earlier version of this code planned.
        subaccounts: Vonage's lists of sub-accounts, by primary account in lower case.
        paces: How many seconds Vonage takes for a million rows, by definition and account. None, or
            absent, with too few large reports.
    """

    cursors: Mapping[tuple[str, str, int], datetime]
    volumes: Mapping[tuple[str, str], float]
    collects: Mapping[str, str]
    profiles: Mapping[tuple[str, str], TrafficProfile] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    delays: Mapping[str, Delays] = field(default_factory=dict)
    subaccounts: Mapping[str, Subaccounts] = field(default_factory=dict)
    paces: Mapping[tuple[str, str], int | None] = field(default_factory=dict)

    @property
    def latest_subaccounts(self) -> Subaccounts | None:
        """The list for which Vonage was asked last, which is that of the present API key."""
        lists = self.subaccounts.values()
        return max(lists, key=lambda each: each.tried_at, default=None)

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
    found = _OpenItems()
    for item in items:
        try:
            found.add(item)
        except (UnreadableItem, *_MALFORMED):
            found.unreadable.append(_name(item))
    return OpenWork(
        tuple(found.reports),
        found.slots,
        frozenset(found.announced),
        found.paused_until,
        tuple(found.unreadable),
        tuple(found.backfills),
        found.slots_until,
        tuple(found.relabellings),
        found.planning_stopped,
        found.announced_at,
        tuple(found.registrations),
        found.marks,
        found.blocked,
    )


@dataclass
class _OpenItems:
    reports: list[Report] = field(default_factory=list)
    slots: dict[int, str] = field(default_factory=dict)
    announced: set[str] = field(default_factory=set)
    paused_until: datetime | None = None
    unreadable: list[str] = field(default_factory=list)
    backfills: list[Backfill] = field(default_factory=list)
    slots_until: dict[int, datetime] = field(default_factory=dict)
    relabellings: list[Relabelling] = field(default_factory=list)
    planning_stopped: StoppedPlanning | None = None
    announced_at: dict[str, datetime] = field(default_factory=dict)
    registrations: list[Registration] = field(default_factory=list)
    marks: dict[str, str] = field(default_factory=dict)
    blocked: dict[str, BlockedPeriod] = field(default_factory=dict)

    def add(self, item: Mapping[str, Any]) -> None:
        """Read an item. Ignore kinds that only a later version of this code knows."""
        kind, _, name = str(item["sk"]).partition("#")
        match kind:
            case "report":
                self.reports.append(report_of(item))
            case "backfill":
                self.backfills.append(backfill_of(item))
            case "relabelling":
                self.relabellings.append(relabelling_of_item(item))
            case "catalogue":
                self.registrations.append(registration_of_item(item))
            case _:
                self._add_state(kind, name, item)

    def _add_state(self, kind: str, name: str, item: Mapping[str, Any]) -> None:
        """Read an item about the stack as a whole."""
        match kind:
            case "notice":
                self._add_notice(name, item)
            case "mark":
                self.marks[name] = str(item["change"])
            case "blocked":
                at, reason = _instant(item["at"]), str(item["reason"])
                self.blocked[name] = BlockedPeriod(str(item["mark"]), at, reason)
            case "pause":
                self.paused_until = _instant(item["until"])
            case "planning":
                since = _instant(item["since"])
                self.planning_stopped = StoppedPlanning(since, str(item["definition"]))
            case "slot":
                self._add_slot(int(name), item)

    def _add_notice(self, cause: str, item: Mapping[str, Any]) -> None:
        self.announced.add(cause)
        if "at" in item:
            self.announced_at[cause] = _instant(item["at"])

    def _add_slot(self, slot: int, item: Mapping[str, Any]) -> None:
        # The slot is taken, even if the rest of the item is unreadable.
        self.slots[slot] = str(item.get("report_id"))
        if "until" in item:
            self.slots_until[slot] = _instant(item["until"])


def calendar_of(items: Iterable[Mapping[str, Any]]) -> Calendar:
    """Read the calendar's partition."""
    cursors, volumes, collects, profiles, paces = {}, {}, {}, {}, {}
    delays, unreadable, subaccounts = {}, [], {}
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
                fixed = str(item["collects"])
                json.loads(fixed).items()
                collects[name] = fixed
                if "delays" in item:
                    delays[name] = _delays_of(json.loads(str(item["delays"])))
            elif kind == "pace":
                name, account_id = rest
                paces[name, account_id] = learnt_pace(paces_of(item))
            elif kind == "subaccounts":
                (primary,) = rest
                subaccounts[primary] = subaccounts_of_item(item)
        except _MALFORMED:
            unreadable.append(_name(item))
    return Calendar(
        *(cursors, volumes, collects, profiles, tuple(unreadable), delays, subaccounts, paces)
    )


def pace_key(report: Report) -> dict[str, str]:
    """Return the key of the last paces of a report's definition and account."""
    return {"pk": "calendar", "sk": f"pace#{report.definition}#{report.account_id}"}


def paces_of(item: Mapping[str, Any]) -> tuple[int, ...]:
    """Read the last paces, oldest first.

    An item that is absent or malformed has none. The next report replaces it.
    """
    try:
        return tuple(int(str(each)) for each in item["paces"])
    except _MALFORMED:
        return ()


def _instant(value: object) -> datetime:
    """Read an instant. Raises ValueError without an offset: it could not be compared."""
    return parse_instant(str(value))


def _delays_of(value: Mapping[str, str | None]) -> Delays:
    return {int(days): None if at is None else _instant(at) for days, at in value.items()}


def subaccounts_item(of: Subaccounts) -> dict[str, Any]:
    """Return the item of Vonage's list of sub-accounts, without attributes that are None."""
    item = {
        "pk": "calendar",
        "sk": f"subaccounts#{of.primary.lower()}",
        "primary": of.primary,
        "tried_at": format_instant(of.tried_at),
        "read_at": _text(of.read_at),
        "failing_since": _text(of.failing_since),
        "not_before": _text(of.not_before),
        "reason": of.reason,
        "is_expired": of.is_expired,
        # As text, because thousands of attributes take longer to read.
        "accounts": None
        if of.accounts is None
        else json.dumps(
            {
                name: [[_text(since), _text(until)] for since, until in intervals]
                for name, intervals in of.accounts.items()
            }
        ),
    }
    return {name: value for name, value in item.items() if value is not None}


def _text(at: datetime | None) -> str | None:
    return None if at is None else format_instant(at)


def subaccounts_of_item(item: Mapping[str, Any]) -> Subaccounts:
    """Read the item of Vonage's list of sub-accounts."""
    accounts = None
    if "accounts" in item:
        accounts = {
            str(name): _intervals(intervals)
            for name, intervals in json.loads(str(item["accounts"])).items()
        }
    return Subaccounts(
        primary=str(item["primary"]),
        tried_at=_instant(item["tried_at"]),
        accounts=accounts,
        read_at=_at(item.get("read_at")),
        failing_since=_at(item.get("failing_since")),
        not_before=_at(item.get("not_before")),
        reason=str(item["reason"]),
        is_expired=bool(item["is_expired"]),
    )


def _intervals(value: Sequence[Sequence[object]]) -> Sequence[Interval]:
    *_, (_, _) = value  # An account has one at least.
    return tuple((_at(since), _at(until)) for since, until in value)


def _at(value: object) -> datetime | None:
    return None if value is None else _instant(value)


def collects_item(definition: ReportDefinition, delays: Delays) -> dict[str, Any]:
    """Return the item of the fields that never change, and of the delays that a run saw."""
    seen = {str(days): at and at.astimezone(UTC).isoformat() for days, at in delays.items()}
    return {
        "pk": "calendar",
        "sk": f"collects#{definition.name}",
        "collects": definition.collects,
        "delays": json.dumps(seen),
    }


def relabelling_key(relabelling: Relabelling) -> dict[str, str]:
    """Return the key of a relabelling."""
    name = f"{relabelling.definition}#{relabelling.delay_days}"
    return {"pk": "open", "sk": f"relabelling#{name}"}


def relabelling_item(relabelling: Relabelling) -> dict[str, Any]:
    """Return the item of a relabelling."""
    until = relabelling.until.astimezone(UTC).isoformat()
    return {**relabelling_key(relabelling), **asdict(relabelling), "until": until}


def relabelling_of_item(item: Mapping[str, Any]) -> Relabelling:
    """Read a relabelling's item."""
    return Relabelling(
        definition=str(item["definition"]),
        delay_days=int(str(item["delay_days"])),
        until=_instant(item["until"]),
        before=str(item["before"]),
        again=bool(item["again"]),
    )


def registration_key(report_id: str) -> dict[str, str]:
    """Return the key of a delivery that waits for the catalogue."""
    return {"pk": "open", "sk": f"catalogue#{report_id}"}


def registration_item(registration: Registration) -> dict[str, Any]:
    """Return the item of a delivery that waits for the catalogue."""
    since = registration.since.astimezone(UTC).isoformat()
    return {**registration_key(registration.report_id), **asdict(registration), "since": since}


def registration_of_item(item: Mapping[str, Any]) -> Registration:
    """Read the item of a delivery that waits for the catalogue."""
    return Registration(
        report_id=str(item["report_id"]),
        product=str(item["product"]),
        partition={name: str(item["partition"][name]) for name in PARTITION_KEYS},
        manifest=str(item["manifest"]),
        since=_instant(item["since"]),
    )


def mark_key(label: str) -> dict[str, str]:
    """Return the key of the mark of a period that changed."""
    return {"pk": "open", "sk": f"mark#{label}"}


def marks_of(changes: Iterable[Report], length: PeriodLength) -> list[dict[str, Any]]:
    """Return the items that mark the periods of whole windows that came to an end.

    Each has the change: the report and its version, which no other change has.
    """
    marks = {
        period.label: f"{report.report_id}#{report.version}"
        for report in changes
        if report.is_at_end and not report.is_half
        for period in periods_of(report.window, length)
    }
    return [{**mark_key(label), "change": change} for label, change in marks.items()]


def closing_key(label: str) -> dict[str, str]:
    """Return the key of an invocation's right to announce a period."""
    return {"pk": "open", "sk": f"closing#{label}"}


def blocked_key(label: str) -> dict[str, str]:
    """Return the key of the last examination of a period."""
    return {"pk": "open", "sk": f"blocked#{label}"}


def read_items(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object
) -> None:
    """Read the items of a Query's answer, as a handler of botocore's event `before-parse`.

    botocore and boto3 read 5,000 reports in a second of CPU time, this function in a third of that.
    It moves the items to `READ`, so that they find none.
    """
    if response_dict["status_code"] == HTTPStatus.OK and READ not in customized_response_dict:
        answer = json.loads(response_dict["body"])
        items = answer.pop("Items", [])
        customized_response_dict[READ] = [
            {name: _plain(value) for name, value in item.items()} for item in items
        ]
        response_dict["body"] = json.dumps({**answer, "Items": []}).encode()


READ = "ItemsRead"
"""The key of the items that `read_items` has read."""


def _plain(value: Mapping[str, Any]) -> object:
    """Return a value of DynamoDB's wire format in Python's types, a whole number as int."""
    ((kind, content),) = value.items()
    if kind == "N":
        return int(content) if content.isdigit() else Decimal(content)
    if kind == "L":
        return [_plain(each) for each in content]
    if kind == "M":
        return {name: _plain(each) for name, each in content.items()}
    return None if kind == "NULL" else content


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
            value = value.to_dated_dict()
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
    for name, value in item.items():
        if name in _TIMES:
            values[name] = _instant(value)
        elif name in _FIELDS:
            values[name] = int(value) if isinstance(value, Decimal) else value
    values["filters"] = json.loads(values["filters"])
    for name in ("tokens", "receipts", "delivered_from", "accept"):
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
