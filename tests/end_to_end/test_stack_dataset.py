"""The dataset on the deployed stack: every product, the catalogue, and the order of revisions."""

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from local.simulator.products import PRODUCTS, Direction
from local.simulator.records import Query, Stream, Window, rows_of
from tests.end_to_end.conftest import UNLIMITED, LocalStack
from tests.support.cells import expected, filled
from vonage_dataset.tables import TABLES, Type
from vonage_reports.domain.objects import dataset_key, manifest_key, receipt_key
from vonage_reports.domain.report import State
from vonage_reports.domain.run_input import RunInput
from vonage_reports.domain.windows import format_instant

pytestmark = pytest.mark.slow

ROWS_PER_DAY = 60
FIRST_DAY = datetime(2026, 11, 17, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND_DAY = FIRST_DAY + DAY
INSERTED = "brand_new"
CHANGED = ("sms-outbound", "messages-inbound", "verify-api")
"""Collected again a day later, after Vonage has inserted a column in the middle."""

IN_DUCKDB = {
    Type.TEXT: "VARCHAR",
    Type.MONEY: "DECIMAL(18,8)",
    Type.INTEGER: "BIGINT",
    Type.BOOLEAN: "BOOLEAN",
    Type.TIMESTAMP: "TIMESTAMP WITH TIME ZONE",
    Type.RESCUED: "MAP(VARCHAR, VARCHAR)",
}


def definitions() -> Iterator[dict[str, Any]]:
    """Yield one definition per product and required direction, with every switch on."""
    for product in PRODUCTS.values():
        switches = dict.fromkeys(product.switches, True)
        if product.direction is not Direction.REQUIRED:
            yield {"name": product.name.lower(), "product": product.name, "filters": switches}
            continue
        for direction in product.directions:
            yield {
                "name": f"{product.name.lower()}-{direction}",
                "product": product.name,
                "filters": {"direction": direction, **switches},
            }


DEFINITIONS = {each["name"]: each for each in definitions()}


def generated(definition: Mapping[str, Any], day: datetime, inserted: str = "") -> list[Any]:
    """Return the records that the simulator generates for a day, typed."""
    product, filters = PRODUCTS[definition["product"]], definition["filters"]
    direction = filters.get("direction", "")
    columns = product.columns_for(direction, frozenset(product.switches))
    if inserted:
        columns = (*columns[: len(columns) // 2], inserted, *columns[len(columns) // 2 :])
    window = Window.between(day, day + DAY)
    rows = rows_of(
        [
            Stream(1, product.name, "abcd1234", each)
            for each in ([direction] if direction else product.directions)
        ],
        Query(
            hours=window.hours_newest_first(),
            window=window,
            rows_per_day=ROWS_PER_DAY,
            columns=columns,
        ),
    )
    return [expected(product.name, columns, cells) for *_, cells in rows]


@pytest.fixture(scope="module")
def simulator_settings() -> dict[str, Any]:
    return {"rows_per_day": ROWS_PER_DAY, "seconds_per_report": 0.1}


@pytest.fixture(scope="module")
def requests_per_second() -> int:
    return UNLIMITED


@dataclass(frozen=True)
class Collected:
    """Two days of the stack; on the second, some reports have one more column."""

    data: dict[str, bytes]
    manifests: list[dict[str, Any]]
    notifications: list[dict[str, Any]]

    def rows(self, definition: str, day: datetime) -> list[dict[str, Any]]:
        """Return the rows of a day, in file order."""
        [content] = [
            content
            for key, content in self.data.items()
            if f"/definition={definition}/" in key and f"/date={day:%Y-%m-%d}/" in key
        ]
        return filled(pq.read_table(io.BytesIO(content)))


@pytest.fixture(scope="module")
def collected(local_stack: LocalStack) -> Collected:
    local_stack.stack.set_definitions(json.dumps(list(DEFINITIONS.values())))
    local_stack.until_finished(
        local_stack.scheduled(f"{FIRST_DAY + 4 * DAY:%Y-%m-%d}T02:15:00Z")["planned"]
    )
    local_stack.simulator.settings(inserted_column=INSERTED)
    local_stack.stack.set_definitions(json.dumps([DEFINITIONS[name] for name in CHANGED]))
    local_stack.until_finished(
        local_stack.scheduled(f"{FIRST_DAY + 5 * DAY:%Y-%m-%d}T02:15:00Z")["planned"]
    )
    local_stack.simulator.settings(inserted_column="")
    return Collected(
        data=local_stack.objects("data/"),
        manifests=[json.loads(each) for each in local_stack.objects("manifests/").values()],
        notifications=[body for _, body in local_stack.notifications()],
    )


# Every product


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_dataset_equals_the_generated_records_cell_by_cell(
    definition: str, collected: Collected
) -> None:
    records = generated(DEFINITIONS[definition], FIRST_DAY)

    assert len(records) >= ROWS_PER_DAY
    assert collected.rows(definition, FIRST_DAY) == records


def test_all_products_are_collected_and_nothing_is_rescued(collected: Collected) -> None:
    first = [
        each
        for each in collected.manifests
        if each["window"]["start"] == f"{FIRST_DAY:%Y-%m-%dT%H:%M:%SZ}"
    ]

    assert {each["product"] for each in first} == set(PRODUCTS)
    assert [each["dataset"]["rescued_cells"] for each in first] == [0] * len(DEFINITIONS)
    assert {each["row_check"] for each in first} == {"equal"}


def test_records_contain_the_hardest_characters(collected: Collected) -> None:
    # Otherwise the tests above would also pass with a reader that splits at commas.
    bodies = "".join(
        row.get("message_body", "")
        for definition in ("sms-outbound", "messages-outbound")
        for row in collected.rows(definition, FIRST_DAY)
    )

    assert {'"', ",", "\n"} <= set(bodies)
    assert any(ord(character) > 0xFFFF for character in bodies)


@pytest.mark.parametrize("definition", CHANGED)
def test_new_column_in_the_middle_shifts_no_other(definition: str, collected: Collected) -> None:
    records = generated(DEFINITIONS[definition], SECOND_DAY, INSERTED)

    assert collected.rows(definition, SECOND_DAY) == records
    assert all(INSERTED in record["_rescued"] for record in records)
    changed = {
        each["window"]["start"]: each["schema_changed"]
        for each in collected.notifications
        if each["definition"] == definition
    }
    assert changed == {format_instant(FIRST_DAY): False, format_instant(SECOND_DAY): True}


# The catalogue


@dataclass(frozen=True)
class Table:
    """A table of the catalogue: its columns, and the location and values of each partition."""

    columns: dict[str, str]
    keys: dict[str, str]
    partitions: dict[str, list[str]]


@pytest.fixture(scope="module")
def catalogue(local_stack: LocalStack, collected: Collected) -> dict[str, Table]:
    """Return the tables of the stack's database, from the emulator's Glue."""
    assert collected.data
    glue = local_stack.emulator.client("glue")
    database = local_stack.stack.outputs["DatabaseName"]
    tables = {}
    for table in glue.get_tables(DatabaseName=database)["TableList"]:
        pages = glue.get_paginator("get_partitions").paginate(
            DatabaseName=database, TableName=table["Name"]
        )
        tables[table["Name"]] = Table(
            {each["Name"]: each["Type"] for each in table["StorageDescriptor"]["Columns"]},
            {each["Name"]: each["Type"] for each in table["PartitionKeys"]},
            {
                part["StorageDescriptor"]["Location"]: part["Values"]
                for page in pages
                for part in page["Partitions"]
            },
        )
    return tables


def rows_in_duckdb(
    table: Table, local_stack: LocalStack, collected: Collected, folder: Path
) -> duckdb.DuckDBPyConnection:
    """Load the files of the table's partitions into a table `t` of its types."""
    in_duckdb = {kind.value: name for kind, name in IN_DUCKDB.items()} | {"date": "DATE"}
    types = {name: in_duckdb[of_glue] for name, of_glue in {**table.columns, **table.keys}.items()}
    connection = duckdb.connect()
    columns = ", ".join(f'"{name}" {kind}' for name, kind in types.items())
    connection.execute(f"CREATE TABLE t ({columns})")
    bucket = f"s3://{local_stack.stack.outputs['BucketName']}/"
    for number, (location, values) in enumerate(table.partitions.items()):
        assert location.startswith(bucket)
        for key, content in collected.data.items():
            if key.startswith(location.removeprefix(bucket)):
                file = folder / f"{number}-{key.rpartition('/')[2]}"
                file.write_bytes(content)
                described = connection.execute(f"DESCRIBE SELECT * FROM '{file}'").fetchall()
                assert {each[0]: each[1] for each in described} == {
                    name: types[name] for name in table.columns
                }
                of_keys = ", ".join(
                    f"'{value}' AS {name}" for name, value in zip(table.keys, values, strict=True)
                )
                connection.execute(f"INSERT INTO t BY NAME SELECT *, {of_keys} FROM '{file}'")
    return connection


def test_catalogue_has_a_table_for_each_product(catalogue: dict[str, Table]) -> None:
    others = {"usage", "usage_with_copies", "manifests", "invoice"}
    products = {product.lower().replace("-", "_") for product in TABLES}
    assert set(catalogue) == products | others


@pytest.mark.parametrize("product", PRODUCTS)
def test_reader_of_the_catalogue_finds_every_row(
    product: str,
    catalogue: dict[str, Table],
    local_stack: LocalStack,
    collected: Collected,
    tmp_path: Path,
) -> None:
    table = catalogue[product.lower().replace("-", "_")]
    delivered = [each for each in collected.manifests if each["product"] == product]

    with rows_in_duckdb(table, local_stack, collected, tmp_path) as connection:
        found = connection.execute(
            "SELECT definition, account, date, count(*) FROM t GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        assert [(name, account, str(day), rows) for name, account, day, rows in found] == sorted(
            (each["definition"], each["account_id"], each["window"]["start"][:10], each["rows"])
            for each in delivered
        )
        if TABLES[product].price:
            sums = ", ".join(f"sum({price})" for price in TABLES[product].prices)
            cost = sum(connection.execute(f"SELECT {sums} FROM t").fetchall()[0])
            totals = [total for each in delivered for total in each["totals"]]
            assert str(cost.normalize()) == str(
                sum((Decimal(each["total_price"]) for each in totals), Decimal(0)).normalize()
            )


def test_days_with_different_headers_share_one_table(
    catalogue: dict[str, Table],
    local_stack: LocalStack,
    collected: Collected,
    tmp_path: Path,
) -> None:
    with rows_in_duckdb(catalogue["verify_api"], local_stack, collected, tmp_path) as connection:
        found = connection.execute(
            f"SELECT date, count(*), count(id), count(_rescued['{INSERTED}'])"
            " FROM t GROUP BY date ORDER BY date"
        ).fetchall()
    assert [(rows, ids, inserted) for _, rows, ids, inserted in found] == [
        (ROWS_PER_DAY, ROWS_PER_DAY, 0),
        (ROWS_PER_DAY, ROWS_PER_DAY, ROWS_PER_DAY),
    ]


# The order of revisions


@pytest.fixture(scope="module")
def three_revisions(local_stack: LocalStack, collected: Collected) -> list[dict[str, Any]]:
    """Return convert_report's events for one day: preliminary, final and collected again.

    Each revision costs more than the previous one: the preliminary one is not settled, as at Vonage
    for 72 hours, and the last one has more records.
    """
    assert collected.data
    definition = {"name": "moving", "product": "VERIFY-V2", "delay_days": [0, 3]}
    local_stack.stack.set_definitions(json.dumps([definition]))
    day = FIRST_DAY.date()
    planned: list[str] = []
    # Years of settling, because the simulator's clock shows today.
    for settling_hours, later in ((1e6, 1), (72.0, 4)):
        local_stack.simulator.settings(rows_per_day=40, settling_hours=settling_hours)
        answer = local_stack.scheduled(f"{day + later * DAY}T02:15:00Z")
        local_stack.until_finished(answer["planned"])
        planned += [each for each in answer["planned"] if f"-{day:%Y%m%d}T" in each]
    local_stack.simulator.settings(rows_per_day=50)
    local_stack.stack.submit({"recollect": {"report_id": planned[-1], "confirm": True}})
    local_stack.until(lambda: not local_stack.ledger.open_reports(), "the second collection")
    local_stack.simulator.settings(rows_per_day=ROWS_PER_DAY)
    final = local_stack.ledger.finished_report(planned[-1])
    assert final is not None
    assert (final.state, final.attempt, len(set(planned))) == (State.DELIVERED, 2, 2)
    inputs = []
    client = local_stack.emulator.client("stepfunctions")
    machine = local_stack.stack.outputs["StateMachineArn"]
    for execution in client.list_executions(stateMachineArn=machine)["executions"]:
        if execution["name"].startswith(tuple(planned)):
            arn = execution["executionArn"]
            report = json.loads(client.describe_execution(executionArn=arn)["input"])
            inputs.append(
                {"report": report, "receipts": [receipt_key(RunInput.from_input(report))]}
            )
    return sorted(inputs, key=lambda each: (each["report"]["delay_days"], each["report"]["run"]))


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_readers_see_the_newest_revision_in_any_order(
    order: tuple[int, ...], local_stack: LocalStack, three_revisions: list[dict[str, Any]]
) -> None:
    s3 = local_stack.emulator.client("s3")
    invoke = local_stack.emulator.client("lambda").invoke
    run_inputs = [RunInput.from_input(each["report"]) for each in three_revisions]
    key = dataset_key(run_inputs[0])
    bucket = local_stack.stack.outputs["BucketName"]
    for made in (key, *(manifest_key(run_input) for run_input in run_inputs)):
        s3.delete_object(Bucket=bucket, Key=made)
    costs: dict[int, str] = {}
    for count, which in enumerate(order, start=1):
        answer = invoke(
            FunctionName=local_stack.stack.physical_id("ConvertReportFunction"),
            Payload=json.dumps(three_revisions[which]).encode(),
        )
        announced = json.load(answer["Payload"])["notification"]
        newest = max(order[:count])
        # The last two are attempts of one report: convert_report announces the newer one.
        seen = newest if which == 1 else which
        assert announced["revision"] == ("preliminary", "final", "final")[seen]
        assert announced["rows"] == (40, 40, 50)[seen]
        assert announced["dataset"] == (key if seen == newest else None)
        costs[seen] = announced["totals"][0]["total_price"]
        body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        rows = pq.read_table(io.BytesIO(body)).to_pylist()
        assert {row["_revision"] for row in rows} == {("preliminary", "final", "final")[newest]}
        assert sum(row["total_price"] for row in rows) == Decimal(costs[newest])
    assert list(local_stack.objects(key.rpartition("/")[0])) == [key]
    assert Decimal(costs[0]) < Decimal(costs[2])
