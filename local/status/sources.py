"""Where `make status` looks: what the last run left in `.local/`, or a stack deployed to AWS.

Nothing is written. Of AWS it takes cloudformation:DescribeStacks, ssm:GetParameter and
dynamodb:Query.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import boto3
from boto3.dynamodb.types import TypeDeserializer
from botocore.config import Config
from botocore.exceptions import NoRegionError

from local.runner.options import BadInput
from local.status.model import THE_API_KEY, Content
from vonage_reports.aws.ledger import Ledger
from vonage_reports.aws.ledger_items import (
    Calendar,
    OpenWork,
    backfill_of,
    calendar_of,
    open_work_of,
    report_of,
)
from vonage_reports.domain.backfill import Backfill
from vonage_reports.domain.products import oldest_start
from vonage_reports.domain.report import Report
from vonage_reports.submit_reports.read_definitions import parse_definitions

_CONNECT_SECONDS = 10

_NOT_KEPT = frozenset({"execution_input", "receipts", "tokens"})
"""What only a run needs, and is most of an item."""


class ReadableLedger(Protocol):
    """What is read of a ledger, wherever it is: `Ledger` has it."""

    def open_work(self) -> OpenWork:
        """Read everything that is open."""

    def calendar(self) -> Calendar:
        """Read the cursors, the volumes and what is collected."""

    def ended_backfills(self) -> tuple[Backfill, ...]:
        """Read the backfills that have no windows left to plan."""

    def finished_reports(self, definition: str, *, since: datetime) -> Iterable[Report]:
        """Read the reports at their end whose window begins at `since` or later."""


def content_of(ledger: ReadableLedger, definitions: str, *, as_of: datetime) -> Content:
    """Read what there is to know; `definitions` is the parameter's text.

    It goes as far back as Vonage keeps records: what is older could not be fetched any more.
    """
    accepted, refused = parse_definitions(definitions, api_key=THE_API_KEY)
    # What is open first: who comes to its end in the meantime is seen twice, never not at all.
    work = ledger.open_work()
    calendar = ledger.calendar()
    products = {name: json.loads(text)["product"] for name, text in calendar.collects.items()}
    return Content(
        as_of=as_of,
        definitions=accepted,
        refusals=refused,
        work=work,
        calendar=calendar,
        finished={
            name: tuple(ledger.finished_reports(name, since=oldest_start(product, as_of)))
            for name, product in products.items()
        },
        ended_backfills=ledger.ended_backfills(),
    )


@dataclass(frozen=True)
class SavedLedger:
    """The ledger of a run as it was written down; `source` says of which."""

    as_of: datetime
    source: str
    definitions: str
    items: Sequence[Mapping[str, Any]]

    def open_work(self) -> OpenWork:
        """Read everything that is open."""
        return open_work_of(self._partition("open"))

    def calendar(self) -> Calendar:
        """Read the cursors, the volumes and what is collected."""
        return calendar_of(self._partition("calendar"))

    def ended_backfills(self) -> tuple[Backfill, ...]:
        """Read the backfills that have no windows left to plan."""
        return tuple(backfill_of(item) for item in self._partition("backfills"))

    def finished_reports(self, definition: str, *, since: datetime) -> Iterator[Report]:
        """Read the reports at their end whose window begins at `since` or later."""
        reports = (report_of(item) for item in self._partition(f"finished#{definition}"))
        return (report for report in reports if report.window.start >= since)

    def _partition(self, pk: str) -> Iterator[Mapping[str, Any]]:
        return (item for item in self.items if item["pk"] == pk)


class LastRun:
    """The file in `.local/` that says how things stood, and when."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "last-run.json"

    def write(
        self, items: Iterable[Mapping[str, Any]], *, source: str, definitions: str, as_of: datetime
    ) -> None:
        """Write down the ledger's items, as DynamoDB's client gives them."""
        kept = [
            {name: value for name, value in item.items() if name not in _NOT_KEPT} for item in items
        ]
        document = {
            "as_of": as_of.isoformat(),
            "source": source,
            "definitions": definitions,
            "items": kept,
        }
        partial = self._path.with_name(f"{self._path.name}.partial")
        partial.write_text(json.dumps(document))
        partial.replace(self._path)

    def read(self) -> SavedLedger:
        """Read it. Raises BadInput where nothing was run yet."""
        try:
            document = json.loads(self._path.read_text())
        except FileNotFoundError as error:
            raise BadInput(
                "nothing was run here yet: make run, or name a deployed stack with STACK="
            ) from error
        except (OSError, ValueError) as error:
            raise BadInput(f"{self._path} cannot be read: {error}") from error
        plain = TypeDeserializer().deserialize
        return SavedLedger(
            as_of=datetime.fromisoformat(document["as_of"]),
            source=document["source"],
            definitions=document["definitions"],
            items=[
                {name: plain(value) for name, value in item.items()} for item in document["items"]
            ],
        )


def deployed(stack_name: str) -> tuple[Ledger, str]:
    """Return the ledger and the definitions of a stack, as the AWS SDK finds region and account.

    Raises BadInput for a stack of another template; botocore's errors.
    """
    session = boto3.Session()
    if not session.region_name:
        # An empty one would become part of a host's name.
        raise NoRegionError
    config = Config(connect_timeout=_CONNECT_SECONDS, retries={"mode": "standard"})
    cloudformation = session.client("cloudformation", config=config)
    stack = cloudformation.describe_stacks(StackName=stack_name)["Stacks"][0]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}
    if not {"TableName", "DefinitionsParameterName"} <= outputs.keys():
        raise BadInput(f"STACK={stack_name} has no ledger: it is a stack of another template")
    parameter = session.client("ssm", config=config).get_parameter(
        Name=outputs["DefinitionsParameterName"]
    )
    table = session.resource("dynamodb", config=config).Table(outputs["TableName"])
    return Ledger(table), parameter["Parameter"]["Value"]
