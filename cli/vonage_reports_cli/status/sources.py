"""The ledgers that the program reads: the last run's, saved in `.local/`, or a stack's on AWS."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from boto3.dynamodb.types import TypeDeserializer

from vonage_reports.aws.definitions_source import WrittenDefinitions
from vonage_reports.aws.ledger_items import (
    Calendar,
    OpenWork,
    backfill_of,
    calendar_of,
    open_work_of,
    readable,
    report_of,
)
from vonage_reports.domain.backfill import Backfill
from vonage_reports.domain.products import oldest_start
from vonage_reports.domain.report import Report
from vonage_reports.submit_reports.read_definitions import accepted_definitions
from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.status.model import THE_API_KEY, Content

_UNSAVED = frozenset({"execution_input", "receipts", "tokens"})
"""Attributes that only a running stack needs; they make up most of an item."""


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


def content_of(
    ledger: ReadableLedger, definitions: WrittenDefinitions, *, as_of: datetime
) -> Content:
    """Read a ledger; `definitions` are the stack's.

    Finished reports go back as far as Vonage's records; older windows could not be collected.
    """
    # Read open work first: a report that finishes meanwhile is then read twice, not missed.
    work = ledger.open_work()
    calendar = ledger.calendar()
    loaded = accepted_definitions(definitions, work, calendar, api_key=THE_API_KEY)
    products = {name: json.loads(text)["product"] for name, text in calendar.collects.items()}
    unreadable = [*work.unreadable, *calendar.unreadable]
    return Content(
        as_of=as_of,
        definitions=loaded.definitions,
        refusals=loaded.refusals,
        work=work,
        calendar=calendar,
        finished={
            name: tuple(
                ledger.finished_reports(
                    name, since=oldest_start(product, as_of), unreadable=unreadable
                )
            )
            for name, product in products.items()
        },
        ended_backfills=ledger.ended_backfills(unreadable),
        unreadable=unreadable,
    )


@dataclass(frozen=True)
class SavedLedger:
    """The ledger of a run, as saved.

    `source` names the run. `is_simulated`: the simulator made the records.
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
        reports = readable(self._partition(f"finished#{definition}"), report_of, unreadable)
        return (report for report in reports if report.window.start >= since)

    def _partition(self, pk: str) -> Iterator[Mapping[str, Any]]:
        return (item for item in self.items if item["pk"] == pk)


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
        plain = TypeDeserializer().deserialize
        as_of = datetime.fromisoformat(document["as_of"])
        return SavedLedger(
            as_of=as_of,
            source=document["source"],
            # A file of an earlier version does not say it.
            is_simulated=bool(document.get("is_simulated", True)),
            definitions=WrittenDefinitions(
                document["definitions"], as_of, "the run", replaces_all=True
            ),
            items=[
                {name: plain(value) for name, value in item.items()} for item in document["items"]
            ],
        )
