"""Imperfect reports of Vonage, from the request to `billing`, or to the announced refusal."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from local.simulator.imperfections import IMPERFECTIONS
from local.simulator.products import PRODUCTS
from local.simulator.records import Query, Stream, Window, rows_of
from tests.end_to_end.conftest import UNLIMITED, LocalStack
from tests.support.queries import run_named_query
from vonage_dataset.tables import TABLES
from vonage_reports.domain.report import State

pytestmark = pytest.mark.slow

ROWS_PER_DAY = 60
DAY = datetime(2026, 11, 18, tzinfo=UTC)
SCHEDULED = "2026-11-22T02:15:00Z"
MONTH = {
    "Since": "DATE '2026-11-01'",
    "Until": "DATE '2026-12-01'",
    "AccountCurrency": "EUR",
}
WRONG_COUNT = "count_as_text with one more"


@dataclass(frozen=True)
class Case:
    """An imperfection, and the product whose report has it.

    Attributes:
        error: The announced error of a report that is not delivered, and a part of its message.
        rows: How many rows are delivered for each direction.
    """

    product: str
    direction: str = ""
    error: tuple[str, str] | None = None
    rows: int = ROWS_PER_DAY

    def records(self) -> list[Mapping[str, str]]:
        """Return the records that the simulator generates for the day, newest first."""
        product = PRODUCTS[self.product]
        directions = [self.direction] if self.direction else product.directions
        window = Window.between(DAY, DAY + timedelta(days=1))
        columns = product.columns_for(self.direction, frozenset())
        query = Query(
            hours=window.hours_newest_first(),
            window=window,
            rows_per_day=self.rows,
            columns=columns,
        )
        streams = [Stream(1, self.product, "abcd1234", each) for each in directions]
        return [dict(zip(columns, cells, strict=True)) for *_, cells in rows_of(streams, query)]

    def cost(self, record: Mapping[str, str]) -> Decimal:
        """Return a record's cost."""
        return sum((Decimal(record[name] or 0) for name in TABLES[self.product].prices), Decimal(0))


CASES = {
    "times_without_offset": Case("SMS", "outbound"),
    "header_in_capitals": Case("SMS", "inbound"),
    "same_id_twice": Case("MESSAGES", "outbound"),
    "record_twice": Case("IN-APP-VOICE"),
    "null_words": Case("MESSAGES", "inbound"),
    "price_with_18_places": Case("VOICE-CALL"),
    "nul_in_cells": Case("CONVERSATION-EVENT"),
    "no_members": Case("ASR", rows=0),
    "stored_with_descriptor": Case("VOICE-TTS"),
    "macosx": Case("WEBSOCKET-CALL"),
    "readme": Case("AMD"),
    "count_as_text": Case("VERIFY-V2"),
    "link_as_array": Case("VERIFY-API"),
    "text_after_closing_quote": Case(
        "NUMBER-INSIGHT", error=("RowsUnreadable", "line 2: text behind a closing quote")
    ),
    "stray_quotes": Case("CONVERSATION-MESSAGE", error=("RowsUnreadable", "line 2: ")),
    "semicolons": Case("VIDEO-API", error=("RowsUnreadable", "header")),
    WRONG_COUNT: Case("NETWORK-API-EVENT", error=("RowsMismatch", "61")),
}
DELIVERED = [name for name, case in CASES.items() if case.error is None]
REFUSED = [name for name, case in CASES.items() if case.error is not None]


@dataclass
class Sums:
    """The records and the cost of a product."""

    records: int = 0
    cost: Decimal = Decimal(0)

    def add(self, records: int, cost: Decimal | int) -> None:
        """Add records, and their cost."""
        self.records += records
        self.cost += cost


@dataclass(frozen=True)
class Outcome:
    """The states, manifests and notifications by imperfection, and a copy of the bucket."""

    states: dict[str, State]
    manifests: dict[str, dict[str, Any]]
    announced: dict[str, dict[str, Any]]
    archives: dict[str, int]
    folder: Path

    def ask(self, name: str) -> list[dict[str, Any]]:
        """Run a named query over the month."""
        return run_named_query(self.folder, name, MONTH)


@pytest.fixture(scope="module")
def simulator_settings() -> dict[str, Any]:
    return {"rows_per_day": ROWS_PER_DAY, "seconds_per_report": 0.1}


@pytest.fixture(scope="module")
def requests_per_second() -> int:
    return UNLIMITED


@pytest.fixture(scope="module")
def outcome(local_stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Collect one window of each case."""
    definitions = []
    for number, (name, case) in enumerate(CASES.items()):
        match = {
            "product": case.product,
            **({"direction": case.direction} if case.direction else {}),
        }
        local_stack.simulator.fault("create", "imperfect", how=name.partition(" ")[0], **match)
        filters = {"direction": case.direction} if case.direction else {}
        definitions.append({"name": f"d{number}", "product": case.product, "filters": filters})
    wrong = CASES[WRONG_COUNT].product
    local_stack.simulator.fault("create", "items_count", delta=1, product=wrong)
    local_stack.stack.set_definitions(json.dumps(definitions))
    reports = local_stack.until_finished(local_stack.scheduled(SCHEDULED)["planned"])
    names = {f"d{number}": name for number, name in enumerate(CASES)}
    folder = tmp_path_factory.mktemp("out")
    local_stack.copy_dataset(folder)
    manifests = [json.loads(each.read_text()) for each in folder.glob("manifests/**/*.json")]
    return Outcome(
        states={names[each.definition]: each.state for each in reports.values()},
        manifests={names[each["definition"]]: each for each in manifests},
        announced={names[body["definition"]]: body for _, body in local_stack.notifications()},
        archives=Counter(
            names[key.split("/")[1]] for key in local_stack.objects("archives/", ".zip")
        ),
        folder=folder,
    )


def test_every_imperfection_has_a_case() -> None:
    assert set(IMPERFECTIONS) == {name.partition(" ")[0] for name in CASES}


@pytest.mark.parametrize("name", DELIVERED)
def test_readable_report_is_delivered_whole(name: str, outcome: Outcome) -> None:
    assert outcome.states[name] is State.DELIVERED
    manifest = outcome.manifests[name]
    assert manifest["rows"] == len(CASES[name].records())
    assert manifest["row_check"] == "equal"
    assert outcome.announced[name]["event"] == "report.delivered"


@pytest.mark.parametrize("name", REFUSED)
def test_unreadable_report_fails_and_keeps_its_archive(name: str, outcome: Outcome) -> None:
    error = CASES[name].error
    assert error is not None
    assert outcome.states[name] is State.FAILED
    body = outcome.announced[name]
    assert (body["event"], body["error"]) == ("report.failed", error[0])
    assert error[1] in body["message"]
    assert name not in outcome.manifests
    assert outcome.archives[name] == 1


def test_billing_has_every_record_and_digit(outcome: Outcome) -> None:
    expected, found = defaultdict[str, Sums](Sums), defaultdict[str, Sums](Sums)
    for name in DELIVERED:
        case, records = CASES[name], CASES[name].records()
        if name == "record_twice":
            records[3] = records[2]
        # A price that does not fit is in no sum, and is counted.
        priced = records[1:] if name == "price_with_18_places" else records
        if records:
            expected[case.product].add(len(records), sum(map(case.cost, priced)))
    for row in outcome.ask("billing"):
        found[row["product"]].add(row["records"], row["cost"] or 0)

    assert found == expected


def test_manifests_add_up_to_billing(outcome: Outcome) -> None:
    billed = sum(row["cost"] or 0 for row in outcome.ask("billing"))

    assert billed > 0
    assert billed == sum(
        Decimal(total["total_price"])
        for manifest in outcome.manifests.values()
        for total in manifest["totals"]
    )


def test_each_imperfection_is_counted_once(outcome: Outcome) -> None:
    counts = Counter[tuple[str, str]]()
    for row in outcome.ask("billing"):
        for name in ("records_without_time", "records_with_rescued_price"):
            counts[row["product"], name] += row[name]

    assert +counts == {("SMS", "records_without_time"): 2,
                       ("VOICE-CALL", "records_with_rescued_price"): 1}  # fmt: skip
