"""A month with every imperfection that costs money: all sums agree, and each is counted once.

The month is read again from the CSV files that the simulator served, with Python's csv and decimal.
Nothing that is expected comes from the code under test.
"""

import csv
import io
import json
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.end_to_end.conftest import UNLIMITED, LocalStack
from tests.support.cells import as_money, as_timestamp
from tests.support.queries import run_named_query
from vonage_reports.domain.report import Report, State
from vonage_reports_cli.sql.dataset import Folder, open_dataset

pytestmark = pytest.mark.slow

SCHEDULED = "2026-11-04T02:15:00Z"
ASKED = {
    "Since": "DATE '2026-10-01'",
    "Until": "DATE '2026-11-01'",
    "AccountCurrency": "EUR",
}
ACCOUNT = "abcd1234"
NEVER_SETTLED = 1e6
"""Hours of settling. An eighth of the records has no final status, however late the test runs."""
IMPERFECT = ("times_without_offset", "price_with_18_places", "record_twice")

PRICES = {
    "SMS": ("total_price",),
    "MESSAGES": ("total_price",),
    "VERIFY-API": ("price", "estimated_price"),
    "AMD": ("total_price",),
}
TIMES = {
    "SMS": ("date_received", "date_finalized"),
    "MESSAGES": ("date_received", "date_finalized"),
    "VERIFY-API": ("date_received", "date_finalized", "first_event_date", "last_event_date"),
    "AMD": ("start_time", "end_time"),
}
DEFINITIONS: Mapping[str, Mapping[str, Any]] = {
    "sms": {"product": "SMS", "filters": {"direction": "outbound"}},
    "messages": {"product": "MESSAGES", "filters": {"direction": "outbound"}},
    "verify": {"product": "VERIFY-API", "currency": "USD"},
    "amd": {"product": "AMD"},
    # Copies of every SMS, as imperfect as the first ones.
    "again-sms": {
        "product": "SMS",
        "filters": {"direction": "outbound", "show_concatenated": True},
    },
    # Copies of a part of the messages. They are perfect and settled.
    "again-messages": {
        "product": "MESSAGES",
        "filters": {"direction": "outbound", "provider": "sms"},
    },
}
FIRST = ("sms", "messages", "verify", "amd")
COPIES = ("again-sms", "again-messages")
"""The definitions in the order of their collection. `again-` is first in the alphabet too, which
decides between two files that were collected in the same second."""


@dataclass(frozen=True)
class Served:
    """A row of a CSV file that the simulator served."""

    definition: str
    cells: Mapping[str, str]

    @property
    def product(self) -> str:
        return str(DEFINITIONS[self.definition]["product"])

    @cached_property
    def prices(self) -> dict[str, Decimal | None]:
        """The prices that a decimal(18,8) holds, by column."""
        return {name: as_money(self.cells[name]) for name in PRICES[self.product]}

    @property
    def cost(self) -> Decimal | None:
        known = [price for price in self.prices.values() if price is not None]
        return sum(known, Decimal(0)) if known else None

    @property
    def has_rescued_price(self) -> bool:
        return any(self.cells[name] and price is None for name, price in self.prices.items())

    @property
    def is_without_price(self) -> bool:
        return self.has_rescued_price or next(iter(self.prices.values())) is None

    @cached_property
    def time(self) -> datetime | None:
        read = (as_timestamp(self.cells[name]) for name in TIMES[self.product])
        return next((time for time in read if time is not None), None)

    @property
    def currency(self) -> str | None:
        return self.cells["currency"] or DEFINITIONS[self.definition].get("currency")

    @property
    def line(self) -> tuple[str, str, str]:
        """The product, country and currency of the line in an invoice."""
        return self.product, self.cells.get("country", ""), self.currency or "EUR"

    @property
    def record(self) -> tuple[str, str]:
        """The identity of the record."""
        return self.product, self.cells["id"]

    def rescued(self) -> Iterator[str]:
        """Yield the columns whose text is no price or time."""
        for name, text in self.cells.items():
            if "price" in name and text and as_money(text) is None:
                yield name
            if re.search("(^|_)(date|time)(_|$)", name) and text and as_timestamp(text) is None:
                yield name


@dataclass(frozen=True)
class Counts:
    """Records, their cost, and the imperfect ones among them."""

    records: int
    cost: Decimal
    without_price: int
    with_rescued_price: int
    without_time: int

    @classmethod
    def of(cls, rows: Sequence[Served]) -> "Counts":
        """Count the rows of CSV files."""
        return cls(
            len(rows),
            sum((row.cost for row in rows if row.cost is not None), Decimal(0)),
            sum(row.is_without_price for row in rows),
            sum(row.has_rescued_price for row in rows),
            sum(row.time is None for row in rows),
        )

    @classmethod
    def among(cls, found: Iterable[Mapping[str, Any]], cost: str) -> "Counts":
        """Add up the rows of a query."""
        rows = list(found)
        return cls(
            sum(row["records"] for row in rows),
            sum((row[cost] or Decimal(0) for row in rows), Decimal(0)),
            sum(row["records_without_price"] for row in rows),
            sum(row["records_with_rescued_price"] for row in rows),
            sum(row["records_without_time"] for row in rows),
        )


@dataclass(frozen=True)
class Month:
    """The month as the simulator served it, and as the stack delivered it."""

    served: dict[str, list[Served]]
    manifests: dict[str, dict[str, Any]]
    announced: list[dict[str, Any]]
    periods: list[dict[str, Any]]
    told: list[dict[str, Any]]
    metrics: list[dict[str, Any]]
    warnings: list[str]
    folder: Path

    @cached_property
    def counted(self) -> list[Served]:
        """The rows that count: of two files with a record, those of the file collected last."""
        by_file: dict[tuple[str, str], dict[str, list[Served]]]
        by_file = defaultdict(lambda: defaultdict(list))
        for name in (*FIRST, *COPIES):
            for row in self.served[name]:
                by_file[row.record][name].append(row)
        return [row for files in by_file.values() for row in list(files.values())[-1]]

    @cached_property
    def superseded(self) -> list[Served]:
        """The rows that do not count, because a later file has their records."""
        counted = {id(row) for row in self.counted}
        return [row for rows in self.served.values() for row in rows if id(row) not in counted]

    def ask(self, name: str, *, invoice: Path | None = None) -> list[dict[str, Any]]:
        """Run a named query over the month."""
        return run_named_query(self.folder, name, ASKED, invoice=invoice)

    def usage(self, sql: str) -> list[dict[str, Any]]:
        """Run SQL on the view `usage`."""
        with open_dataset(Folder(self.folder)) as connection:
            found = connection.execute(sql)
            names = [each[0] for each in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@pytest.fixture(scope="module")
def simulator_settings() -> dict[str, Any]:
    return {"rows_per_day": 20, "seconds_per_report": 0.1}


@pytest.fixture(scope="module")
def requests_per_second() -> int:
    return UNLIMITED


def served_by(local_stack: LocalStack, request_id: str, definition: str) -> list[Served]:
    """Download a report's archive from the simulator, and read its only CSV file."""
    simulator = local_stack.simulator
    [file_id] = [
        each["file_id"] for each in simulator.state()["reports"] if each["request_id"] == request_id
    ]
    answer = requests.get(
        f"{simulator.url}/v3/media/{file_id}",
        auth=(simulator.api_key, simulator.api_secret),
        timeout=30,
    )
    answer.raise_for_status()
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        [name] = archive.namelist()
        text = archive.read(name).decode()
    return [Served(definition, cells) for cells in csv.DictReader(io.StringIO(text, newline=""))]


@pytest.fixture(scope="module")
def month(local_stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Month:
    """Collect October, then once more all SMS, then once more a part of the messages."""
    collected: list[str] = []
    for names, settings in (
        (FIRST, {"imperfect": IMPERFECT, "settling_hours": NEVER_SETTLED}),
        (COPIES[:1], {}),
        (COPIES[1:], {"imperfect": (), "settling_hours": 0}),
    ):
        local_stack.simulator.settings(**settings)
        collected += names
        entries = [{"name": name, "window": "month", **DEFINITIONS[name]} for name in collected]
        local_stack.stack.set_definitions(json.dumps(entries))
        planned = local_stack.scheduled(SCHEDULED)["planned"]
        assert len(planned) == len(names)
        local_stack.until_finished(planned)
        local_stack.sweep()
    folder = tmp_path_factory.mktemp("out")
    local_stack.copy_dataset(folder)
    manifests = [json.loads(each.read_text()) for each in folder.glob("manifests/**/*.json")]
    status = local_stack.program("status", "--json", "--since", "2026-10-01")
    assert (status.code, status.err) == (0, "")
    return Month(
        served={
            each["definition"]: served_by(
                local_stack, each["archives"][0]["request_id"], each["definition"]
            )
            for each in manifests
        },
        manifests={each["definition"]: each for each in manifests},
        announced=[body for _, body in local_stack.notifications()],
        periods=[json.loads(each) for each in local_stack.objects("periods/2026/10/").values()],
        told=local_stack.periods,
        metrics=list(metrics_in(local_stack.log_text())),
        warnings=json.loads(status.out)["warnings"],
        folder=folder,
    )


def metrics_in(log_text: str) -> Iterator[dict[str, Any]]:
    """Yield the lines of a log that hold metrics of one definition."""
    for line in log_text.splitlines():
        if '"CloudWatchMetrics"' in line and '"definition"' in line:
            yield json.loads(line)


# The month is as imperfect as it should be. Otherwise, the other tests would prove less.

PARTS = ("price", "estimated_price", "sms_price", "tts_price")
HAS: Mapping[str, Callable[[Served], bool]] = {
    "a rescued price": lambda row: row.has_rescued_price,
    "a rescued price beside another": lambda row: row.has_rescued_price and row.cost is not None,
    "no price yet": lambda row: row.product == "MESSAGES" and not row.cells["total_price"],
    "no end yet": lambda row: row.cells.get("date_finalized") == "",
    "a time without offset": lambda row: row.time is None,
    "a fee, messages and a call": lambda row: (
        row.product == "VERIFY-API"
        and all(Decimal(row.cells[name] or 0) > 0 for name in PARTS)
        and Decimal(row.cells["sms_price"]) + Decimal(row.cells["tts_price"])
        == Decimal(row.cells["estimated_price"])
    ),
    "a service as its account": lambda row: row.cells["account_id"] == "nexmo-vapi-us-east-1",
    "no currency": lambda row: row.currency is None,
}


@pytest.mark.parametrize("imperfect", HAS)
def test_month_has_each_imperfection(imperfect: str, month: Month) -> None:
    assert any(map(HAS[imperfect], month.counted))


def test_month_has_copies_within_and_between_files(month: Month) -> None:
    in_file = [
        name
        for name, rows in month.served.items()
        if max(Counter(row.record for row in rows).values()) == 2
    ]
    assert in_file == [name for name in month.served if name != "again-messages"]
    by_definition = Counter(row.definition for row in month.superseded)
    assert by_definition["sms"] == len(month.served["sms"])
    assert 0 < by_definition["messages"] < len(month.served["messages"])
    # The copies of messages cost something else, so it matters which of them count.
    of_messages = [row for row in month.superseded if row.definition == "messages"]
    assert Counts.of(of_messages).cost != Counts.of(month.served["again-messages"]).cost


# Each window: its manifest, notification, metric and status


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_manifest_counts_what_vonage_served(definition: str, month: Month) -> None:
    rows, manifest = month.served[definition], month.manifests[definition]
    by_currency = defaultdict[str | None, list[Served]](list)
    for row in rows:
        by_currency[row.currency].append(row)
    rescued = Counter(name for row in rows for name in row.rescued())

    assert (manifest["rows"], manifest["row_check"]) == (len(rows), "equal")
    assert manifest["rescued"] == rescued
    assert manifest["dataset"]["rescued_cells"] == rescued.total()
    assert {
        total["currency"]: (
            total["rows"],
            Decimal(total["total_price"]),
            total["rows_without_price"],
            total["rows_with_rescued_price"],
        )
        for total in manifest["totals"]
    } == {
        currency: (counts.records, counts.cost, counts.without_price, counts.with_rescued_price)
        for currency, counts in ((each, Counts.of(by_currency[each])) for each in by_currency)
    }


def test_total_of_verifications_names_fee_and_messages(month: Month) -> None:
    [total] = month.manifests["verify"]["totals"]

    assert {name: Decimal(text) for name, text in total["parts"].items()} == {
        name: sum(row.prices[name] or 0 for row in month.served["verify"])
        for name in ("price", "estimated_price")
    }


def test_each_window_is_announced_once_with_its_imperfections(month: Month) -> None:
    assert Counter(body["definition"] for body in month.announced) == dict.fromkeys(DEFINITIONS, 1)
    for body in month.announced:
        manifest = month.manifests[body["definition"]]
        assert (body["event"], body["revision"]) == ("report.delivered", "final")
        for name in ("rows", "row_check", "totals", "rescued"):
            assert body[name] == manifest[name]


def test_month_is_announced_as_complete_with_the_sums_of_its_rows(month: Month) -> None:
    numbers = [each["number"] for each in month.periods]
    assert sorted(numbers) == [each["number"] for each in month.told] == [1, 2, 3]
    last = max(month.periods, key=lambda each: each["number"])
    assert {each["definition"] for each in last["definitions"]} == set(DEFINITIONS)
    for each in last["definitions"]:
        assert (each["windows"], each["crosses_the_edge"]) == (1, False)
        assert totals_of(each) == sums_of(month.served[each["definition"]])


Sums = dict[str | None, tuple[int, Decimal, int, int]]
"""Records, cost, and the records without price and without time, by currency."""


def totals_of(definition: Mapping[str, Any]) -> Sums:
    """Return the totals of a definition in the object of a period."""
    assert definition["rows"] == sum(total["rows"] for total in definition["totals"])
    return {
        total["currency"]: (
            total["rows"],
            Decimal(total["total_price"]),
            total["rows_without_price"],
            total["records_without_time"],
        )
        for total in definition["totals"]
    }


def sums_of(rows: Iterable[Served]) -> Sums:
    """Return the sums of rows that the simulator served, without the currency of the account."""
    by_currency = defaultdict(list)
    for row in rows:
        by_currency[row.currency].append(row)
    counts = {name: Counts.of(of_currency) for name, of_currency in by_currency.items()}
    return {
        name: (each.records, each.cost, each.without_price, each.without_time)
        for name, each in counts.items()
    }


# The end of a month, in three time zones

SYDNEY: Mapping[str, Any] = {
    "name": "in-sydney", "product": "SMS", "filters": {"direction": "outbound"},
    "time_zone": "Australia/Sydney", "delay_days": [0],
}  # fmt: skip
LONDON: Mapping[str, Any] = {
    "name": "in-london", "product": "AMD", "time_zone": "Europe/London", "delay_days": [0],
}  # fmt: skip
NEW_YORK: Mapping[str, Any] = {
    "name": "in-new-york", "product": "MESSAGES", "filters": {"direction": "outbound"},
    "window": "week", "time_zone": "America/New_York", "delay_days": [0],
}  # fmt: skip
RUNS = (
    ("2026-02-28T02:15:00Z", (SYDNEY, NEW_YORK), 2),
    ("2026-03-01T06:15:00Z", (SYDNEY, NEW_YORK, LONDON), 2),
    ("2026-03-02T06:15:00Z", (SYDNEY, NEW_YORK, LONDON), 3),
)
"""The schedules around the end of February, with the definitions and the number of windows."""


@pytest.mark.usefixtures("month")
def test_month_with_a_failed_and_a_recollected_window_is_announced_twice(
    local_stack: LocalStack,
) -> None:
    stack = local_stack.stack
    local_stack.periods.clear()
    local_stack.simulator.fault("create", "items_count", delta=1, product="AMD")
    reports: dict[str, Report] = {}
    for scheduled, definitions, count in RUNS:
        stack.set_definitions(json.dumps(definitions))
        planned = local_stack.scheduled(scheduled)["planned"]
        assert len(planned) == count
        reports |= local_stack.until_finished(planned)
    local_stack.sweep()
    local_stack.notifications()
    [failed] = [name for name, each in reports.items() if each.state is State.FAILED]
    assert failed.startswith("in-london-20260228")
    assert local_stack.periods == [], "a failed window keeps February open"

    def announced(number: int) -> dict[str, Any]:
        def is_told() -> bool:
            local_stack.notifications()
            return len(local_stack.periods) >= number

        local_stack.until(is_told, f"number {number} of February")
        local_stack.sweep()
        local_stack.notifications()
        assert [each["number"] for each in local_stack.periods] == list(range(1, number + 1))
        [body] = local_stack.objects(f"periods/2026/02/{number}.json").values()
        value: dict[str, Any] = json.loads(body)
        assert local_stack.periods[-1]["definitions"] == value["definitions"]
        return value

    stack.submit({"reconvert": {"report_id": failed, "accept": ["row_count"]}})
    first = announced(1)
    [again] = [name for name in reports if name.startswith("in-sydney-20260227")]
    stack.submit({"recollect": {"report_id": again, "confirm": True}})
    second = announced(2)

    assert second["changed"] == [again]
    assert sorted(first["changed"]) == sorted(each["report_id"] for each in first["manifests"])
    of_each = {each["definition"]: each for each in second["definitions"]}
    windows = {name: (each["windows"], each["crosses_the_edge"]) for name, each in of_each.items()}
    assert windows == {
        "in-sydney": (2, False), "in-new-york": (2, True), "in-london": (1, False),
    }  # fmt: skip
    ends = {name: each["not_collected"][0]["end"] for name, each in of_each.items()}
    assert ends == {
        "in-sydney": "2026-02-26T13:00:00Z",
        "in-new-york": "2026-02-16T05:00:00Z",
        "in-london": "2026-02-28T00:00:00Z",
    }
    served: defaultdict[str, list[Served]] = defaultdict(list)
    for manifest in second["manifests"]:
        [body] = local_stack.objects(manifest["key"]).values()
        [archive] = json.loads(body)["archives"]
        name, product = manifest["definition"], json.loads(body)["product"]
        served[name] += served_by(local_stack, archive["request_id"], _FIRST_OF[product])
    assert {name: totals_of(each) for name, each in of_each.items()} == {
        name: sums_of(rows) for name, rows in served.items()
    }


_FIRST_OF = {each["product"]: name for name, each in [*DEFINITIONS.items()][::-1]}
"""A definition of each product, whose rows have its columns."""


def test_metric_counts_each_rescued_cell_once(month: Month) -> None:
    found = Counter[str]()
    for line in month.metrics:
        for cells in line.get("RescuedCells", []):
            found[line["definition"]] += int(cells)

    # A Counter takes a missing number as 0, and counters of 0 are not sent.
    assert found == Counter(
        {name: sum(len(list(row.rescued())) for row in rows) for name, rows in month.served.items()}
    )


def test_status_names_the_rescued_cells(month: Month) -> None:
    said = [each for each in month.warnings if "_rescued" in each]

    expected = []
    for name in DEFINITIONS:
        cells = Counter(name for row in month.served[name] for name in row.rescued())
        if cells:
            counts = ", ".join(f"{cells[column]} of {column}" for column in sorted(cells))
            expected.append(
                f"{name}, {ACCOUNT}: cells in _rescued, because they do not fit: {counts}; "
                "in 1 window, the last on 2026-10-01"
            )
    assert said == expected


def test_status_names_the_definitions_with_copies(month: Month) -> None:
    said = [each.partition(", billed twice")[0] for each in month.warnings if "shares" in each]

    assert said == [
        "again-sms, name: shares records with sms",
        "again-messages, name: shares records with messages",
    ]


# The month: the view and the saved queries


def test_manifests_usage_billing_and_reconciliation_agree(month: Month, tmp_path: Path) -> None:
    by_line = defaultdict[tuple[str, str, str], list[Served]](list)
    for row in month.counted:
        by_line[row.line].append(row)
    bill = tmp_path / "invoice.csv"
    lines = [f"2026-10,{','.join(line)},{Counts.of(rows).cost:f}" for line, rows in by_line.items()]
    bill.write_text("\n".join(["month,product,country,currency,amount", *lines, ""]))
    billed, compared = month.ask("billing"), month.ask("reconciliation", invoice=bill)
    in_manifests = sum(
        Decimal(total["total_price"])
        for manifest in month.manifests.values()
        for total in manifest["totals"]
    )
    expected = Counts.of(month.counted)

    [found] = month.usage(
        "SELECT count(*) AS records, sum(cost) AS cost,"
        " count(*) FILTER (WHERE cost_is_incomplete) AS records_without_price,"
        " count(*) FILTER (WHERE price_is_rescued) AS records_with_rescued_price,"
        " count(*) FILTER (WHERE time_is_assumed) AS records_without_time FROM usage"
    )

    assert expected.cost > 0
    assert in_manifests - Counts.of(month.superseded).cost == expected.cost
    assert Counts.among([found], "cost") == expected
    assert Counts.among(billed, "cost") == expected
    assert Counts.among(compared, "our_total") == expected
    assert {each["difference"] for each in compared} == {0}
    assert {(each["product"], each["country"], each["currency"]) for each in compared} == set(
        by_line
    )


@pytest.mark.parametrize("definition", ["verify", "amd", *COPIES])
def test_manifest_of_last_copies_equals_its_part_of_usage(definition: str, month: Month) -> None:
    manifest = month.manifests[definition]

    [found] = month.usage(
        "SELECT count(*) AS records, sum(cost) AS cost FROM usage"
        f" WHERE definition = '{definition}'"
    )

    assert found["records"] == manifest["rows"]
    assert found["cost"] == sum(Decimal(each["total_price"]) for each in manifest["totals"])


@pytest.mark.parametrize("query", ["billing", "customers"])
def test_each_product_and_currency_has_its_sums(query: str, month: Month) -> None:
    rows_of = defaultdict[tuple[str, str], list[Served]](list)
    for row in month.counted:
        rows_of[row.product, row.currency or "EUR"].append(row)
    found = defaultdict[tuple[str, str], list[Any]](lambda: [0, Decimal(0), 0])
    for each in month.ask(query):
        sums = found[each["product"], each["currency"]]
        for place, name in enumerate(("records", "cost", "records_without_time")):
            sums[place] += each[name] or 0

    assert found == {
        group: [counts.records, counts.cost, counts.without_time]
        for group, counts in ((each, Counts.of(rows)) for each, rows in rows_of.items())
    }


def test_customer_pays_for_a_services_records(month: Month) -> None:
    of_service = [row for row in month.counted if row.cells["account_id"] != ACCOUNT]
    assert Counts.of(of_service).cost > 0

    assert {each["account_id"] for each in month.ask("billing")} == {ACCOUNT}
    [of_amd] = [each for each in month.ask("billing") if each["product"] == "AMD"]
    assert of_amd["records"] == len(month.served["amd"])


def test_verification_is_billed_in_two_parts(month: Month) -> None:
    billed = [each for each in month.ask("billing") if each["product"] == "VERIFY-API"]

    for column, name in (("fee", "price"), ("messages_and_calls", "estimated_price")):
        assert sum(each[column] or 0 for each in billed) == sum(
            row.prices[name] or 0 for row in month.served["verify"]
        )
