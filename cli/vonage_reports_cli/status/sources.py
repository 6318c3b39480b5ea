"""The ledgers that the program reads: the last run's, saved in `.local/`, or a stack's on AWS."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from boto3.dynamodb.types import TypeDeserializer

from vonage_reports.aws.definitions_source import DefinitionsSource, WrittenDefinitions
from vonage_reports.aws.ledger_items import (
    Calendar,
    OpenWork,
    backfill_of,
    calendar_of,
    finished_key,
    open_key,
    open_work_of,
    readable,
    report_of,
    request_key,
)
from vonage_reports.domain.backfill import Backfill
from vonage_reports.domain.definitions import Refusal
from vonage_reports.domain.products import oldest_start
from vonage_reports.domain.report import Report, report_ids_from
from vonage_reports.domain.windows import WindowLength, windows_ending_after
from vonage_reports.submit_reports.read_definitions import (
    LoadedDefinitions,
    accepted_definitions,
)
from vonage_reports.submit_reports.take_over import Version, pending_take_over
from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.status.model import THE_API_KEY, Content, Span

_UNSAVED = frozenset({"execution_input", "tokens"})
"""Attributes that only a running stack needs; they make up most of an item."""

_LOOK_BACK = 100
"""How many reports before a span are read, to find the accounts that were collected before it."""


class ReadableLedger(Protocol):
    """The reads that the status needs, as `Ledger` and `SavedLedger` provide them."""

    def open_work(self) -> OpenWork:
        """Read the open reports and backfills."""

    def calendar(self) -> Calendar:
        """Read the cursors, the volumes, and the first settings of each definition."""

    def ended_backfills(self, unreadable: list[str]) -> tuple[Backfill, ...]:
        """Read the backfills that plan no more windows."""

    def finished_reports(
        self, definition: str, *, since: datetime, unreadable: list[str]
    ) -> Iterable[Report]:
        """Read the finished reports whose window starts at `since` or later."""

    def finished_before(
        self, definition: str, before: str, *, limit: int
    ) -> tuple[list[Report], str, bool]:
        """Read at most `limit` finished reports up to the report_id `before`, largest first."""


def content_of(
    ledger: ReadableLedger,
    definitions: WrittenDefinitions | DefinitionsSource,
    *,
    as_of: datetime,
    since: date | None = None,
) -> Content:
    """Read a ledger; `definitions` are the stack's.

    Finished reports go back to the window with the local date `since`, and at most as far as
    Vonage's records; older windows could not be collected.
    """
    # Read open work first: a report that finishes meanwhile is then read twice, not missed.
    work = ledger.open_work()
    calendar = ledger.calendar()
    loaded, pending = loaded_definitions(definitions, work, calendar)
    unreadable = [*work.unreadable, *calendar.unreadable]
    finished, spans = {}, {}
    for name, text in calendar.collects.items():
        collects = json.loads(text)
        oldest = oldest_start(collects["product"], as_of)
        start = oldest if since is None else max(oldest, _first_start(collects, since))
        if start > oldest:
            before = report_ids_from(name, start)
            earlier, _, _ = ledger.finished_before(name, before, limit=_LOOK_BACK)
            known = frozenset(each.account_id.lower() for each in earlier)
            spans[name] = Span(start, known)
        finished[name] = tuple(ledger.finished_reports(name, since=start, unreadable=unreadable))
    return Content(
        as_of=as_of,
        definitions=loaded.definitions,
        refusals=loaded.refusals,
        work=work,
        calendar=calendar,
        finished=finished,
        ended_backfills=ledger.ended_backfills(unreadable),
        unreadable=unreadable,
        spans=spans,
        since=since,
        pending=pending,
    )


def _first_start(collects: Mapping[str, Any], since: date) -> datetime:
    """Return the start of the definition's window that has the beginning of a local date."""
    midnight = datetime.combine(since, time(), ZoneInfo(collects["time_zone"]))
    length = WindowLength(collects["window"])
    return next(windows_ending_after(midnight, length, collects["time_zone"])).start


def loaded_definitions(
    definitions: WrittenDefinitions | DefinitionsSource, work: OpenWork, calendar: Calendar
) -> tuple[LoadedDefinitions, str | None]:
    """Read the definitions as the next pass of submit_reports will, and say what it changes."""
    pending = None
    if isinstance(definitions, DefinitionsSource):
        found = pending_take_over(definitions, work, calendar)
        written = definitions.read()
        if isinstance(found, Refusal):
            return LoadedDefinitions([], [found], written.changed_at), None
        if isinstance(found, Version):
            pending = (
                f"the next pass of submit_reports writes version {found.number} of the parameter "
                f"{definitions.parameter.name} as {definitions.uri}, and collects by it from then "
                "on. This status shows that version"
            )
            place = f"version {found.number} of the parameter"
            written = WrittenDefinitions(found.text, written.changed_at, place)
    else:
        written = definitions
    return accepted_definitions(written, work, calendar, api_key=THE_API_KEY), pending


@dataclass(frozen=True)
class SavedLedger:
    """The ledger of a run, as saved.

    `source` names the run. `is_simulated`: the simulator made the records. `items` have the form of
    DynamoDB's client; only those that are needed are read.
    """

    as_of: datetime
    source: str
    definitions: WrittenDefinitions
    is_simulated: bool
    items: Sequence[Mapping[str, Any]]

    def open_work(self) -> OpenWork:
        """Read the open reports and backfills."""
        return open_work_of(self._partition("open"))

    def calendar(self) -> Calendar:
        """Read the cursors, the volumes, and the first settings of each definition."""
        return calendar_of(self._partition("calendar"))

    def ended_backfills(self, unreadable: list[str]) -> tuple[Backfill, ...]:
        """Read the backfills that plan no more windows."""
        return tuple(readable(self._partition("backfills"), backfill_of, unreadable))

    def finished_reports(
        self, definition: str, *, since: datetime, unreadable: list[str]
    ) -> Iterator[Report]:
        """Read the finished reports whose window starts at `since` or later."""
        after = report_ids_from(definition, since)
        items = self._partition(f"finished#{definition}", lambda sk: sk >= after)
        return readable(items, report_of, unreadable)

    def finished_before(
        self, definition: str, before: str, *, limit: int
    ) -> tuple[list[Report], str, bool]:
        """Read at most `limit` finished reports up to the report_id `before`, largest first."""
        pk = f"finished#{definition}"
        sks = sorted((sk for sk in self._sort_keys(pk) if sk <= before), reverse=True)
        wanted = frozenset(sks[:limit])
        found = [*readable(self._partition(pk, wanted.__contains__), report_of, [])]
        found.sort(key=lambda each: each.report_id, reverse=True)
        return found, sks[:limit][-1] if sks else before, len(sks) > limit

    def report(self, report_id: str) -> Report | None:
        """Return a report, open or finished, or None. Raises UnreadableItem."""
        found = (
            report_of(item)
            for key in (open_key(report_id), finished_key(report_id))
            for item in self._partition(key["pk"], key["sk"].__eq__)
        )
        return next(found, None)

    def reports_served_by(self, request_ids: Iterable[str]) -> dict[str, str]:
        """Return the report_id of each Vonage request that is ours, by its request_id."""
        return {
            request_id: str(item["report_id"])
            for request_id in request_ids
            for item in self._partition(request_key(request_id)["pk"])
        }

    def _partition(
        self, pk: str, has: Callable[[str], bool] = lambda _sk: True
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the items of a partition whose sort keys `has` accepts."""
        plain = TypeDeserializer().deserialize
        for item in self._by_partition.get(pk, ()):
            if has(item["sk"]["S"]):
                yield {name: plain(value) for name, value in item.items()}

    def _sort_keys(self, pk: str) -> Iterator[str]:
        return (item["sk"]["S"] for item in self._by_partition.get(pk, ()))

    @cached_property
    def _by_partition(self) -> Mapping[str, list[Mapping[str, Any]]]:
        found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for item in self.items:
            found[item["pk"]["S"]].append(item)
        return found


class LastRun:
    """The file in `.local/` with the ledger of the last run."""

    NAME = "last-run.json"

    def __init__(self, folder: Path) -> None:
        self._path = folder / self.NAME

    def write(
        self,
        items: Iterable[Mapping[str, Any]],
        *,
        source: str,
        is_simulated: bool,
        definitions: str,
        as_of: datetime,
    ) -> None:
        """Save the ledger's items, which have the form of DynamoDB's client."""
        saved = [
            {name: value for name, value in item.items() if name not in _UNSAVED} for item in items
        ]
        document = {
            "as_of": as_of.isoformat(),
            "source": source,
            "is_simulated": is_simulated,
            "definitions": definitions,
            "items": saved,
        }
        partial = self._path.with_name(f"{self._path.name}.partial")
        partial.write_text(json.dumps(document))
        partial.replace(self._path)

    def read(self) -> SavedLedger:
        """Read the saved ledger. Raises BadInput if there is none, or if it is garbled."""
        try:
            document = json.loads(self._path.read_text())
        except FileNotFoundError as error:
            raise BadInput(
                "no run on this machine yet; start `make run`, or name a stack on AWS with --stack"
            ) from error
        except (OSError, ValueError) as error:
            raise BadInput(
                f"{self._path} cannot be read: {error}; the next `make run` replaces it"
            ) from error
        as_of = datetime.fromisoformat(document["as_of"])
        return SavedLedger(
            as_of=as_of,
            source=document["source"],
            # A file of an earlier version does not say it.
            is_simulated=bool(document.get("is_simulated", True)),
            definitions=WrittenDefinitions(
                document["definitions"], as_of, "the run", replaces_all=True
            ),
            items=document["items"],
        )
