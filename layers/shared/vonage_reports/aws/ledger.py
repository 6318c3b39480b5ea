"""The ledger: one DynamoDB table, of which submit_reports is the only writer.

======================  ==============================  ======================================
pk                      sk                              item
======================  ==============================  ======================================
open                    report#<report_id>              an unfinished report
open                    slot#<1 to 5>                   the holder of a slot; absent: free. With
                                                        `until`, a withdrawn report left it taken
open                    notice#<cause>                  an announced cause, and the time `at`
open                    pause#                          the end of a pause after a 429
open                    planning#                       since when planning has been stopped, and
                                                        the definition at which it goes on
open                    backfill#<name>                 a backfill with windows left to plan
open                    relabelling#<definition>#<delay days>  deliveries that a change made final
open                    catalogue#<report_id>           a delivery whose partition is not registered
open                    mark#<period>                   the last change of a period, until it is
                                                        announced as complete
open                    blocked#<period>                why a changed period was not complete
open                    closing#<period>                until when an invocation announces a period
finished#<definition>   <report_id>                     a finished report
request#<request_id>    request                         the report of a Vonage request
backfills               <name>                          a backfill without windows left to plan
periods                 <period>                        the number that was announced last
period#<period>         <report_id>#<version>           facts of manifests that were read already
calendar                cursor#<definition>#<account>#<delay days>     the end of planned windows
calendar                volume#<definition>#<account>   rows per hour of the newest delivered window
calendar                pace#<definition>#<account>     how fast Vonage generated the last reports
calendar                collects#<definition>           the fields of a definition that never
                                                        change, and its delays as last planned
spend                   <yyyy-mm>                       the requests of a UTC month, and the records
                                                        that Vonage counted in them
calendar                subaccounts#<primary account>   Vonage's last good list of sub-accounts, and
                                                        the result of the last request for it
======================  ==============================  ======================================

All open work is one partition, so reads do not grow with the number of finished reports.
Every write of a report is conditional on its version, so one of two concurrent writers wins.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.conditions import ConditionBase, Key

from vonage_reports.aws.ledger_items import (
    OF_FINISHED_REPORTS,
    OF_PERIODS,
    READ,
    BlockedPeriod,
    Calendar,
    OpenWork,
    StoppedPlanning,
    backfill_of,
    blocked_key,
    calendar_of,
    closing_key,
    collects_item,
    finished_item,
    finished_key,
    mark_key,
    marks_of,
    open_item,
    open_key,
    open_work_of,
    pace_key,
    paces_of,
    read_items,
    readable,
    registration_item,
    registration_key,
    relabelling_item,
    relabelling_key,
    report_of,
    request_key,
    slot_key,
    subaccounts_item,
)
from vonage_reports.domain.backfill import Backfill
from vonage_reports.domain.calendar import Delays, Relabelling
from vonage_reports.domain.catalogue import Registration
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.pace import remembered
from vonage_reports.domain.periods import was_collected
from vonage_reports.domain.report import Report, State, report_ids_from
from vonage_reports.domain.settings import PeriodLength
from vonage_reports.domain.spend import Spending
from vonage_reports.domain.subaccounts import Subaccounts
from vonage_reports.domain.windows import format_instant

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

    _Write = tuple[TransactWriteItemTypeDef, type[Exception]]

Change = tuple[Report | None, Report]
"""A report as read (None for a new report), and the report to write."""

_ALWAYS: Mapping[str, Any] = {}
_IF_ABSENT: Mapping[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}

_CONDITION = frozenset({"ConditionalCheckFailed"})
_LOST = _CONDITION | {"TransactionConflict"}
"""The codes of a write that lost to another invocation. A later pass settles the report again."""

_READS = _WRITES = 5
"""How often a transaction is tried that meets another one."""

_PAGE = 1_000

_MOST_KEYS = 100
"""The limit of a BatchGetItem."""

_PLANNING: Mapping[str, str] = {"pk": "open", "sk": "planning#"}


class VersionConflict(Exception):
    """Another invocation changed the report since it was read."""


class SlotTaken(Exception):
    """Another invocation took the slot since it was read as free."""


class RequestAlreadyClaimed(Exception):
    """The Vonage request already belongs to another report."""


class Ledger:
    """Reads and writes the table."""

    def __init__(self, table: "Table", *, periods: PeriodLength = PeriodLength.MONTH) -> None:
        self._table = table
        self._periods = periods
        self._name = table.name
        # A resource's client accepts Python's types, as the table does.
        self._client = table.meta.client
        self._written = 0

    def open_work(self) -> OpenWork:
        """Read all open work."""
        writes_before = self._written
        return replace(open_work_of(self._partition("open")), writes_before=writes_before)

    def reread(self, work: OpenWork) -> OpenWork:
        """Read the open work again, if this invocation wrote anything since it read `work`.

        Changes by other invocations may be missing. Writes that rely on them fail.
        """
        return work if work.writes_before == self._written else self.open_work()

    def open_reports(self) -> tuple[Report, ...]:
        """Read the unfinished reports."""
        return self.open_work().reports

    def report(self, report_id: str) -> Report | None:
        """Return a report, open or finished, or None for an unknown report_id.

        Raises UnreadableItem for a report that this code cannot read.
        """
        keys = (open_key(report_id), finished_key(report_id))
        # Read in one transaction, because between two reads the report could change partitions.
        for attempt in range(_READS):
            try:
                answer = self._client.transact_get_items(
                    TransactItems=[{"Get": {"TableName": self._name, "Key": key}} for key in keys]
                )
            except self._client.exceptions.TransactionCanceledException:
                # Another transaction is writing the report. It ends within milliseconds.
                if attempt == _READS - 1:
                    raise
            else:
                found = (each["Item"] for each in answer["Responses"] if each.get("Item"))
                return next((report_of(item) for item in found), None)
        raise AssertionError("the last attempt raises")

    def finished_report(self, report_id: str) -> Report | None:
        """Return a finished report, or None if the report is open or unknown.

        Raises UnreadableItem for a report that this code cannot read.
        """
        item = self._table.get_item(Key=finished_key(report_id), ConsistentRead=True).get("Item")
        return report_of(item) if item else None

    def reports_between(
        self, definition: str, start: datetime, end: datetime
    ) -> tuple[list[Report], frozenset[str]]:
        """Read a definition's reports whose windows start in [`start`, `end`).

        Includes every account and revision, open or finished, but no parts of split windows. Also
        returns the report_ids of unreadable items, parts included.
        """
        bounds = [f"{definition}-{at:%Y%m%dT%H%MZ}" for at in (start, end)]
        # Read open reports first. Otherwise, a report that finishes in between would be missed.
        items = [
            *self._partition("open", *(f"report#{bound}" for bound in bounds)),
            *self._partition(f"finished#{definition}", *bounds),
        ]
        unreadable: list[str] = []
        reports = [
            report
            for report in readable(items, report_of, unreadable)
            # The range of a definition "sms" can include reports of a definition "sms-2026-a".
            if report.definition == definition and not report.is_half
        ]
        return reports, frozenset(name.removeprefix("report#") for name in unreadable)

    def delivered_rows(self, report_ids: Iterable[str]) -> list[int]:
        """Return the row counts of the delivered reports among `report_ids`.

        Best effort: skips unreadable reports, and those that DynamoDB's first answer leaves out.
        """
        keys = [finished_key(report_id) for report_id in report_ids]
        answer = self._client.batch_get_item(RequestItems={self._name: {"Keys": keys}})
        return [
            report.rows
            for report in readable(answer["Responses"].get(self._name, []), report_of, [])
            if report.state is State.DELIVERED and report.rows is not None
        ]

    def report_served_by(self, request_id: str) -> str | None:
        """Return the report_id of a Vonage request, or None if the request is not ours."""
        key = request_key(request_id)
        item = self._table.get_item(Key=key, ConsistentRead=True).get("Item")
        return str(item["report_id"]) if item else None

    def reports_served_by(self, request_ids: Iterable[str]) -> dict[str, str]:
        """Return the report_id of each Vonage request that is ours, by its request_id."""
        wanted = list(dict.fromkeys(request_ids))
        found: dict[str, str] = {}
        for first in range(0, len(wanted), _MOST_KEYS):
            names = wanted[first : first + _MOST_KEYS]
            left: Any = {self._name: {"Keys": [request_key(each) for each in names]}}
            while left:
                answer = self._client.batch_get_item(RequestItems=left)
                for item in answer["Responses"].get(self._name, []):
                    request_id = str(item["pk"]).removeprefix("request#")
                    found[request_id] = str(item["report_id"])
                left = answer.get("UnprocessedKeys")
        return found

    def calendar(self) -> Calendar:
        """Read the calendar's partition: cursors, volumes and collected definitions."""
        return calendar_of(self._partition("calendar"))

    def ended_backfills(self, unreadable: list[str]) -> tuple[Backfill, ...]:
        """Read the backfills without windows left to plan.

        Appends the names of unreadable items to `unreadable`.
        """
        return tuple(readable(self._partition("backfills"), backfill_of, unreadable))

    def finished_reports(
        self, definition: str, *, since: datetime, unreadable: list[str]
    ) -> Iterator[Report]:
        """Yield the finished reports whose window begins at `since` or later, oldest first.

        The reports have only the fields in OF_FINISHED_REPORTS. Appends the report_ids of
        unreadable reports to `unreadable`. The Query is eventually consistent. It costs half a read
        unit for each 4 kB of the full items, although it returns only some fields.
        """
        after = report_ids_from(definition, since)
        query = {
            "KeyConditionExpression": Key("pk").eq(f"finished#{definition}") & Key("sk").gte(after),
            **_only(OF_FINISHED_REPORTS),
        }
        yield from readable(self._items(query), report_of, unreadable)

    def finished_before(
        self, definition: str, before: str, *, limit: int
    ) -> tuple[list[Report], str, bool]:
        """Read at most `limit` finished reports up to the report_id `before`, largest first.

        Return the readable ones, the smallest report_id, and whether there are more.
        """
        bounds = Key("sk").between(f"{definition}-", before)
        page = self._table.query(
            KeyConditionExpression=Key("pk").eq(f"finished#{definition}") & bounds,
            ScanIndexForward=False,
            ConsistentRead=True,
            Limit=limit,
        )
        last = str(page["Items"][-1]["sk"]) if page["Items"] else before
        return [*readable(page["Items"], report_of, [])], last, "LastEvaluatedKey" in page

    def finished_between(
        self, definition: str, start: datetime, end: datetime, unreadable: list[str]
    ) -> Iterator[Report]:
        """Yield a definition's finished reports whose windows start in [`start`, `end`).

        The reports have only the fields in OF_PERIODS. Leaves out parts of split windows. Appends
        the report_ids of unreadable items, parts included, to `unreadable`.
        """
        bounds = (report_ids_from(definition, at) for at in (start, end))
        items = self._items(_of_periods(definition, *bounds))
        return (each for each in readable(items, report_of, unreadable) if not each.is_half)

    def collected_before(
        self, definition: str, before: datetime, account_ids: Collection[str]
    ) -> set[str]:
        """Return the accounts that have finished reports of windows that start before `before`.

        `account_ids`, and the result, are in lower case. Reads the newest reports first, a page at
        a time, and stops at the last account. An account without such reports costs a read of all.
        """
        missing = set(account_ids)
        query = _of_periods(definition, f"{definition}-", report_ids_from(definition, before))
        items = self._items({**query, "ScanIndexForward": False, "Limit": _PAGE})
        for report in readable(items, report_of, []):
            if was_collected(report):
                missing.discard(report.account_id.lower())
            if not missing:
                break
        return {*account_ids} - missing

    def period_number(self, label: str) -> int:
        """Return the number with which a period was announced last, or 0."""
        item = self._table.get_item(Key=_period_key(label), ConsistentRead=True).get("Item")
        return int(str(item["number"])) if item else 0

    def period_numbers(self) -> dict[str, int]:
        """Return the last number of each period that was announced, by label."""
        return {str(item["sk"]): int(item["number"]) for item in self._partition("periods")}

    def record_period(self, label: str, number: int, at: datetime) -> None:
        """Record that a period was announced with the number after its last one.

        Writes nothing if another invocation has recorded it.
        """
        item = {**_period_key(label), "number": number, "at": at.astimezone(UTC).isoformat()}
        was_last = _IF_ABSENT if number == 1 else _still("number", number - 1)
        self._transact(self._put(item, was_last), refusals=_LOST)

    def record_blocked(self, label: str, blocked: BlockedPeriod) -> None:
        """Record that a period was examined and is not complete."""
        at = blocked.at.astimezone(UTC).isoformat()
        item = {**blocked_key(label), "mark": blocked.mark, "at": at, "reason": blocked.reason}
        self._transact(self._put(item), refusals=_LOST)

    def lease_period(self, label: str, change: str, now: datetime, until: datetime) -> bool:
        """Take the right to announce a period until a time. Return False if it is taken.

        Also return False if the period changed since `change`, or was announced since.
        """
        unchanged: Any = {
            "TableName": self._name,
            "Key": mark_key(label),
            **_still("change", change),
        }
        lease = {**closing_key(label), "until": until.astimezone(UTC).isoformat()}
        is_over = _forwards("until", now.astimezone(UTC).isoformat())
        writes: list[Any] = [{"ConditionCheck": unchanged}, self._put(lease, is_over)]
        return not any(self._transact(*writes, refusals=_LOST))

    def clear_mark(self, label: str, change: str) -> None:
        """Delete the mark of a period, unless the period changed again since `change`.

        With it goes the right to announce the period.
        """
        unchanged = _still("change", change)
        writes = [
            self._delete(mark_key(label), unchanged),
            self._delete(blocked_key(label), _ALWAYS),
            self._delete(closing_key(label), _ALWAYS),
        ]
        self._transact(*writes, refusals=_LOST)

    def manifest_facts(self, label: str) -> dict[str, dict[str, Any]]:
        """Return the recorded facts of a period's manifests, the newest of each report."""
        found: dict[str, dict[str, Any]] = {}
        for item in self._partition(f"period#{label}"):
            for each in json.loads(str(item["facts"])):
                name = str(each["report_id"])
                if name not in found or found[name]["version"] <= each["version"]:
                    found[name] = each
        return found

    def record_manifest_facts(self, label: str, facts: Sequence[Mapping[str, Any]]) -> None:
        """Record facts of manifests, so that no later sweep reads them."""
        first = facts[0]
        key = {"pk": f"period#{label}", "sk": f"{first['report_id']}#{first['version']}"}
        item = {**key, "facts": json.dumps(facts, separators=(",", ":"))}
        self._transact(self._put(item), refusals=_LOST)

    def record_collects(self, definition: ReportDefinition) -> None:
        """Record the fields that a definition may never change, when the definition is new.

        Raises botocore's error for a TransactionConflict, because the other write may fail too.
        """
        item = collects_item(definition, dict.fromkeys(definition.delay_days))
        self._transact(self._put(item, _IF_ABSENT))

    def record_delays(
        self,
        definition: ReportDefinition,
        delays: Delays,
        relabelling: Relabelling | None,
        *,
        collected: str,
    ) -> None:
        """Record the changed delays of a definition, with the relabelling that they need.

        `collected` is the first value of the definition's `collects`, which stays.

        Raises VersionConflict if another invocation records them at the same time.
        """
        item = {**collects_item(definition, delays), "collects": collected}
        writes = [self._put(item, _still("collects", collected))]
        if relabelling is not None:
            writes.append(self._put(relabelling_item(relabelling)))
        if any(self._transact(*writes, refusals=_LOST)):
            raise VersionConflict(f"another invocation changed {definition.name}")

    def advance_relabelling(self, old: Relabelling, new: Relabelling | None) -> None:
        """Write the progress of a relabelling, or delete it (None).

        Writes nothing if it changed since it was read.
        """
        unmoved = _still("before", old.before)
        if new is None:
            write = self._delete(relabelling_key(old), unmoved)
        else:
            write = self._put(relabelling_item(new), unmoved)
        self._transact(write, refusals=_LOST)

    def write_subaccounts(self, old: Subaccounts | None, new: Subaccounts) -> None:
        """Write Vonage's list of sub-accounts, as it is after a request to Vonage.

        Raises VersionConflict if another invocation wrote it since it was read.
        """
        unmoved = _IF_ABSENT if old is None else _still("tried_at", format_instant(old.tried_at))
        if any(self._transact(self._put(subaccounts_item(new), unmoved), refusals=_LOST)):
            raise VersionConflict("another invocation wrote the list of sub-accounts")

    def move_cursor(self, definition: str, account_id: str, delay_days: int, to: datetime) -> None:
        """Record that all windows that end by `to` are planned.

        A cursor never moves back. If another invocation moved the cursor further, write nothing.

        Raises botocore's error for a TransactionConflict, because the other write may fail too.
        Without its first cursor, a definition would begin at a later window.
        """
        end = to.astimezone(UTC).isoformat()
        item = {
            "pk": "calendar",
            "sk": f"cursor#{definition}#{account_id}#{delay_days}",
            "end": end,
        }
        self._transact(self._put(item, _forwards("end", end)))

    def counted_records(self, month: str) -> int:
        """Return how many records the requests of a UTC month have, as far as they are known."""
        key = {"pk": "spend", "sk": month}
        item = self._table.get_item(Key=key, ConsistentRead=True).get("Item")
        return int(str(item["records"])) if item else 0

    def write(
        self,
        old: Report | None,
        new: Report,
        registration: Registration | None = None,
        *,
        spending: Spending | None = None,
    ) -> Report:
        """Write one change and return the report as written. See `write_all`."""
        return self.write_all([(old, new)], registration=registration, spending=spending)[0]

    def write_all(
        self,
        changes: Sequence[Change],
        backfill: tuple[Backfill | None, Backfill] | None = None,
        registration: Registration | None = None,
        *,
        spending: Spending | None = None,
    ) -> list[Report]:
        """Write changes of reports in one transaction. Return the reports as written.

        Takes a slot that only the new report has, frees a slot that only the old report has (or
        leaves it taken until `slot_until`), and claims a new request_id. A report that finishes
        leaves the open partition; a report that is planned again returns to it. The transaction
        marks the periods of finished windows. It includes the backfill that plans the reports, the
        registration that a delivery lacks, and the records of a request that it counts.

        Raises VersionConflict, SlotTaken or RequestAlreadyClaimed, without having written.
        """
        written = [
            replace(new, version=0 if old is None else old.version + 1) for old, new in changes
        ]
        writes = [
            write
            for (old, _), new in zip(changes, written, strict=True)
            for write in self._writes(old, new)
        ]
        if backfill is not None:
            writes += self._writes_of_backfill(*backfill)
        if registration is not None:
            writes.append((self._put(registration_item(registration)), VersionConflict))
        shared = [self._put(mark) for mark in marks_of(written, self._periods)]
        if spending is not None:
            shared.append(self._add(spending))
        refusals = self._transact_with_shared([write for write, _ in writes], shared)
        for refusal, (_, error) in zip(refusals, writes, strict=True):
            if refusal is not None:
                names = ", ".join(new.report_id for new in written)
                raise error(f"{names}: {refusal}")
        for report in written:
            if report.state is State.DELIVERED and report.rows is not None:
                self._note_volume(report, report.rows)
        return written

    def _transact_with_shared(
        self,
        writes: "Sequence[TransactWriteItemTypeDef]",
        shared: "Sequence[TransactWriteItemTypeDef]",
    ) -> tuple[str | None, ...]:
        """Write with the writes of items that many reports share. Return the refusals of `writes`.

        Reports that finish at the same time mark the same periods and count in the same month. So
        if only shared items conflict, the transaction is repeated at once.
        """
        for attempt in range(_WRITES):
            refusals = self._transact(*writes, *shared, refusals=_LOST)
            if any(refusals[: len(writes)]) or not any(refusals):
                break
            if attempt == _WRITES - 1:
                raise VersionConflict("other invocations write the same periods or the same month")
        return refusals[: len(writes)]

    def _writes(self, old: Report | None, new: Report) -> "Iterator[_Write]":
        """Yield the writes of one change, each with the error to raise if DynamoDB refuses it."""
        unmoved = _IF_ABSENT if old is None else _still("version", old.version)
        was_open = old is not None and not old.is_at_end
        if old is None:
            absent: Any = {
                "TableName": self._name,
                "Key": finished_key(new.report_id),
                **_IF_ABSENT,
            }
            yield {"ConditionCheck": absent}, VersionConflict
            yield self._put(open_item(new), _IF_ABSENT), VersionConflict
        elif was_open and new.is_at_end:
            yield self._delete(open_key(old.report_id), unmoved), VersionConflict
            yield self._put(finished_item(new)), VersionConflict
        elif was_open:
            yield self._put(open_item(new), unmoved), VersionConflict
        elif new.is_at_end:
            yield self._put(finished_item(new), unmoved), VersionConflict
        else:
            yield self._delete(finished_key(old.report_id), unmoved), VersionConflict
            yield self._put(open_item(new), _IF_ABSENT), VersionConflict
        held = None if old is None else old.slot
        if held != new.slot:
            if new.slot is not None:
                holder = {**slot_key(new.slot), "report_id": new.report_id}
                yield self._put(holder, _IF_ABSENT), SlotTaken
            if held is not None:
                still_held = _still("report_id", new.report_id)
                if new.slot_until is None:
                    yield self._delete(slot_key(held), still_held), VersionConflict
                else:
                    yield self._put(_left_slot(held, new), still_held), VersionConflict
        if new.request_id is not None and (old is None or new.request_id != old.request_id):
            claim = {**request_key(new.request_id), "report_id": new.report_id}
            ours_or_nobodys = {
                "ConditionExpression": "attribute_not_exists(pk) OR report_id = :report_id",
                "ExpressionAttributeValues": {":report_id": new.report_id},
            }
            yield self._put(claim, ours_or_nobodys), RequestAlreadyClaimed

    def _note_volume(self, report: Report, rows: int) -> None:
        """Record the rows per hour of the newest delivered window, to estimate later windows."""
        end = report.window.end.astimezone(UTC).isoformat()
        item = {
            "pk": "calendar",
            "sk": f"volume#{report.definition}#{report.account_id}",
            "end": end,
            "rows_per_hour": Decimal(str(round(rows / report.window.hours, 3))),
            **({"profile": report.profile.to_json()} if report.profile else {}),
        }
        # A lost write loses only an estimate, because the delivery is already written.
        self._transact(self._put(item, _forwards("end", end)), refusals=_LOST)

    def note_pace(self, report: Report, pace: int) -> None:
        """Record a pace, in seconds for a million rows, to choose later first waits.

        Best effort: if two invocations do so at the same time, one pace is lost.
        """
        key = pace_key(report)
        item = self._table.get_item(Key=key, ConsistentRead=True).get("Item", {})
        paces = remembered(paces_of(item), pace)
        self._transact(self._put({**key, "paces": list(paces)}), refusals=_LOST)

    def _writes_of_backfill(self, old: Backfill | None, new: Backfill) -> "Iterator[_Write]":
        unmoved = _IF_ABSENT if old is None else _still("version", old.version)
        new = replace(new, version=0 if old is None else old.version + 1)
        item = {"backfill": new.to_json(), "version": new.version}
        key = {"pk": "open", "sk": f"backfill#{new.name}"}
        if new.is_over:
            yield self._delete(key, unmoved), VersionConflict
            yield self._put({"pk": "backfills", "sk": new.name, **item}), VersionConflict
        else:
            yield self._put({**key, **item}, unmoved), VersionConflict

    def forget_registration(self, registration: Registration) -> None:
        """Delete the item of a delivery that waits for the catalogue no more."""
        self._delete_now(registration_key(registration.report_id))

    def free_slot(self, slot: int, until: datetime) -> None:
        """Free the slot that a withdrawn report reserved until the time `until`."""
        still_left = _still("until", until.astimezone(UTC).isoformat())
        self._transact(self._delete(slot_key(slot), still_left), refusals=_LOST)

    def pause(self, until: datetime) -> None:
        """Record that Vonage wants no more requests with this key before `until`.

        A longer pause stays in effect.
        """
        end = until.astimezone(UTC).isoformat()
        item = {"pk": "open", "sk": "pause#", "until": end}
        self._transact(self._put(item, _forwards("until", end)), refusals=_LOST)

    def stop_planning(self, stopped: StoppedPlanning) -> None:
        """Record that the calendar's planning has stopped."""
        since = stopped.since.astimezone(UTC).isoformat()
        item = {**_PLANNING, "since": since, "definition": stopped.definition}
        self._transact(self._put(item), refusals=_LOST)

    def resume_planning(self) -> None:
        """Delete the record that the calendar's planning has stopped."""
        self._delete_now(_PLANNING)

    def mark_announced(
        self, cause: str, at: datetime | None = None, *, again: bool = False
    ) -> bool:
        """Record that `cause` was announced. Return False if the record existed already.

        `again` replaces the time `at` of an existing record.
        """
        item = {"pk": "open", "sk": f"notice#{cause}"}
        if at is not None:
            item["at"] = at.astimezone(UTC).isoformat()
        return not any(self._transact(self._put(item, _ALWAYS if again else _IF_ABSENT)))

    def clear_announced(self, cause: str) -> None:
        """Delete the record of `cause`, so that a recurrence is announced."""
        self._delete_now({"pk": "open", "sk": f"notice#{cause}"})

    def _delete_now(self, key: Mapping[str, str]) -> None:
        self._written += 1
        self._table.delete_item(Key=key)

    def _partition(self, pk: str, *bounds: str) -> list[dict[str, Any]]:
        """Read the items of a partition. `bounds` are the first and last sort key."""
        condition: ConditionBase = Key("pk").eq(pk)
        if bounds:
            condition &= Key("sk").between(*bounds)
        return list(self._items({"KeyConditionExpression": condition, "ConsistentRead": True}))

    def _items(self, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
        start: dict[str, Any] = {}
        while True:
            page = self._query({**query, **start})
            # An older botocore emits no such event. Then it has read the items itself.
            yield from page.get(READ, page["Items"])
            if "LastEvaluatedKey" not in page:
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _query(self, request: dict[str, Any]) -> Mapping[str, Any]:
        """Query the table. `READ` has the items, if botocore let `read_items` read them."""
        events, event = self._client.meta.events, "before-parse.dynamodb.Query"
        # Only for this request, because the client's other users expect the items elsewhere.
        events.register(event, read_items)
        try:
            return self._table.query(**request)
        finally:
            events.unregister(event, read_items)

    def _put(
        self, item: Mapping[str, Any], condition: Mapping[str, Any] = _ALWAYS
    ) -> "TransactWriteItemTypeDef":
        put: Any = {"TableName": self._name, "Item": item, **condition}
        return {"Put": put}

    def _add(self, spending: Spending) -> "TransactWriteItemTypeDef":
        update: Any = {
            "TableName": self._name,
            "Key": {"pk": "spend", "sk": spending.month},
            "UpdateExpression": "ADD records :records, requests :requests",
            "ExpressionAttributeValues": {":records": spending.records, ":requests": 1},
        }
        return {"Update": update}

    def _delete(
        self, key: Mapping[str, str], condition: Mapping[str, Any]
    ) -> "TransactWriteItemTypeDef":
        delete: Any = {"TableName": self._name, "Key": key, **condition}
        return {"Delete": delete}

    def _transact(
        self, *writes: "TransactWriteItemTypeDef", refusals: frozenset[str] = _CONDITION
    ) -> tuple[str | None, ...]:
        """Write everything or nothing. For each write, return the code of its refusal, or None.

        Raises botocore's error for a code outside `refusals`. After a TransactionConflict, for
        example, it is unknown whether the other transaction succeeded.

        botocore sends an idempotency token, so its own retries are safe.
        """
        self._written += 1
        try:
            self._client.transact_write_items(TransactItems=list(writes))
        except self._client.exceptions.TransactionCanceledException as error:
            codes = [reason.get("Code") for reason in error.response["CancellationReasons"]]
            if not set(codes) <= {*refusals, "None", None}:
                raise
            return tuple(code if code in refusals else None for code in codes)
        return (None,) * len(writes)


def _only(attributes: Sequence[str]) -> dict[str, Any]:
    """Return the part of a Query that reads some attributes."""
    names = {f"#{number}": name for number, name in enumerate(attributes)}
    return {"ProjectionExpression": ", ".join(names), "ExpressionAttributeNames": names}


def _of_periods(definition: str, first: str, last: str) -> dict[str, Any]:
    """Return the Query of finished reports between two report_ids, as a period needs them."""
    return {
        "KeyConditionExpression": Key("pk").eq(f"finished#{definition}")
        & Key("sk").between(first, last),
        "ConsistentRead": True,
        **_only(OF_PERIODS),
    }


def _period_key(label: str) -> dict[str, str]:
    return {"pk": "periods", "sk": label}


def _left_slot(slot: int, report: Report) -> dict[str, Any]:
    assert report.slot_until is not None
    until = report.slot_until.astimezone(UTC).isoformat()
    return {**slot_key(slot), "report_id": report.report_id, "until": until}


def _still(attribute: str, value: str | int) -> Mapping[str, Any]:
    """Return the condition that an attribute still has the value that was read."""
    return {
        "ConditionExpression": "#attribute = :value",
        "ExpressionAttributeNames": {"#attribute": attribute},
        "ExpressionAttributeValues": {":value": value},
    }


def _forwards(attribute: str, instant: str) -> Mapping[str, Any]:
    """Return the condition that the stored instant is absent, or not later than `instant`."""
    return {
        "ConditionExpression": "attribute_not_exists(pk) OR #attribute <= :instant",
        "ExpressionAttributeNames": {"#attribute": attribute},
        "ExpressionAttributeValues": {":instant": instant},
    }
