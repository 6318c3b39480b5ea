"""The template's SQL, run on a dataset small enough to add up by hand."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from local.simulator.products import PRODUCTS
from local.stack.package import NAMED_QUERY
from local.stack.template import read_template
from tests.support.delivered import Delivered
from tests.support.paths import ROOT
from tests.support.queries import run_named_query
from vonage_dataset.tables import TABLES, Type
from vonage_reports.domain.catalogue import table_name
from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.sql.dataset import Folder, open_dataset
from vonage_reports_cli.sql.named_queries import named_queries, values_of
from vonage_reports_cli.sql.usage_view import usage, usage_with_copies

RESOURCES: dict[str, Any] = read_template(ROOT / "template.yaml")["Resources"]
NOVEMBER = {"Since": "DATE '2026-11-01'", "Until": "DATE '2026-12-01'"}


@pytest.fixture
def out(tmp_path: Path) -> Delivered:
    return Delivered(tmp_path / "out")


def rows(out: Delivered, sql: str, *, invoice: Path | None = None) -> list[tuple[Any, ...]]:
    with open_dataset(Folder(out.root), invoice=invoice) as connection:
        return connection.execute(sql).fetchall()


def ask(
    out: Delivered, name: str, *, invoice: Path | None = None, **parameters: str
) -> list[dict[str, Any]]:
    """Run a named query; return its rows as dicts."""
    return run_named_query(out.root, name, {**NOVEMBER, **parameters}, invoice=invoice)


def texts(found: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the values as texts, with every digit."""
    return [
        tuple(f"{each:f}" if isinstance(each, Decimal) else str(each) for each in row.values())
        for row in found
    ]


def sms(id_: str, **cells: str) -> dict[str, str]:
    return {
        "account_id": "abcd1234",
        "id": id_,
        "date_received": "2026-11-19T10:00:00+0000",
        "country": "GB",
        "status": "delivered",
        "currency": "",
        **cells,
    }


def message(id_: str, **cells: str) -> dict[str, str]:
    return sms(id_, currency="EUR", **cells)


@pytest.mark.parametrize("product", [each for each in TABLES if each != "REPORTS-USAGE"])
def test_usage_dates_each_product_by_its_window_column(out: Delivered, product: str) -> None:
    times = {c.name for c in TABLES[product].columns if c.type is Type.TIMESTAMP}
    cells = dict.fromkeys(times, "2026-01-01T00:00:00Z")
    known_time = PRODUCTS[product].date_column if product in PRODUCTS else "date_received"
    cells |= {known_time: "2026-11-19T23:59:59+00:00", "id": "r1"}
    cells |= {"account_id": "sub12345", "status": "ok", "duration": "7", "currency": "EUR"}
    cells |= {TABLES[product].price or "total_price": "0.12345678"}
    known = {column.name for column in TABLES[product].columns}
    row = {name: text for name, text in cells.items() if name in known}
    out.deliver(product, [row], definition="x")

    [found] = rows(
        out,
        "SELECT product, CAST(occurred_at AS varchar), record_id, account_id, cost, currency, "
        'status, duration, definition, account, "date" FROM usage',
    )

    price = None if TABLES[product].price is None else Decimal("0.12345678")
    assert found == (
        product, "2026-11-19 23:59:59", "r1", "sub12345", price, row.get("currency"),
        row.get("status"), 7 if "duration" in row else None, "x", "abcd1234", date(2026, 11, 19),
    )  # fmt: skip


@pytest.mark.parametrize("resource", ["UsageView", "UsageWithCopiesView"])
def test_catalogue_columns_match_the_view(out: Delivered, resource: str) -> None:
    out.deliver("SMS", [sms("r1")], definition="x")
    table = RESOURCES[resource]["Properties"]["TableInput"]
    described = rows(out, f"SELECT * FROM (DESCRIBE SELECT * FROM {table['Name']})")
    is_so = {name: kind for name, kind, *_ in described}
    hive = {each["Name"]: each["Type"] for each in table["StorageDescriptor"]["Columns"]}
    view = table["ViewOriginalText"]["Fn::Sub"][1]["View"]["Fn::Base64"]["Fn::Sub"]
    trino = {each["name"]: each["type"] for each in json.loads(view)["columns"]}

    of_hive = {"string": "VARCHAR", "timestamp": "TIMESTAMP", "bigint": "BIGINT"}
    of_trino = {"varchar": "VARCHAR", "timestamp(3)": "TIMESTAMP", "bigint": "BIGINT"}
    both = {"decimal(18,8)": "DECIMAL(18,8)", "decimal(19,8)": "DECIMAL(19,8)", "date": "DATE",
            "boolean": "BOOLEAN"}  # fmt: skip
    assert list(hive) == list(trino) == list(is_so)
    assert {name: (of_hive | both)[kind] for name, kind in hive.items()} == is_so
    assert {name: (of_trino | both)[kind] for name, kind in trino.items()} == is_so


@pytest.mark.parametrize(
    ("name", "sql"), [("UsageView", usage()), ("UsageWithCopiesView", usage_with_copies())]
)
def test_view_is_the_one_of_the_catalogue(name: str, sql: str) -> None:
    table = RESOURCES[name]["Properties"]["TableInput"]
    view = table["ViewOriginalText"]["Fn::Sub"][1]["View"]["Fn::Base64"]["Fn::Sub"]

    assert json.loads(view)["originalSql"].strip() == sql


def test_named_queries_describe_their_columns(out: Delivered) -> None:
    out.deliver("SMS", [sms("r1")], definition="x")
    out.deliver("REPORTS-USAGE", [sms("r1")], definition="y")
    for name, query in named_queries().items():
        said = " ".join(line for line in query.text.splitlines() if line.startswith("--"))
        for column in ask(out, name)[0]:
            assert column in said or column in ("product", "country", "currency", "account_id")


def test_query_names_come_from_their_logical_ids() -> None:
    in_template = {name for name, each in RESOURCES.items() if each["Type"] == NAMED_QUERY}

    assert {f"{name.title().replace('_', '')}Query" for name in named_queries()} == in_template
    assert set(named_queries()) == {"billing", "reconciliation", "customers", "reports_bill"}


def test_queries_run_with_the_templates_values(out: Delivered) -> None:
    out.deliver("SMS", [sms("r1")], definition="x")
    for query in named_queries().values():
        assert isinstance(rows(out, query.render({})), list)


@pytest.mark.parametrize("first_name", ["a", "z"])
def test_copy_collected_last_counts(out: Delivered, first_name: str) -> None:
    call = {"id": "c1", "date_start": "2026-11-19T10:00:00Z", "total_price": "9"}
    later = datetime(2026, 11, 23, 2, 16, tzinfo=UTC)
    out.deliver("VOICE-CALL", [call, {**call, "id": "c2"}], definition=first_name)
    out.deliver(
        "VOICE-CALL", [{**call, "total_price": "0.05"}],
        definition="m", account="efgh5678", collected_at=later,
    )  # fmt: skip

    found = rows(out, "SELECT record_id, definition, cost FROM usage ORDER BY record_id")

    assert found == [("c1", "m", Decimal("0.05")), ("c2", first_name, Decimal(9))]


def test_record_in_two_adjacent_windows_counts_once(out: Delivered) -> None:
    at_the_edge = sms("r1", date_received="2026-11-20T00:00:00Z", total_price="1")
    for day in ("2026-11-19", "2026-11-20"):
        out.deliver("SMS", [at_the_edge], definition="x", day=day)

    assert rows(out, "SELECT count(*), sum(cost) FROM usage") == [(1, Decimal(1))]


def test_rows_of_one_file_all_count(out: Delivered) -> None:
    out.deliver("SMS", [sms("r1", total_price="0.01"), sms("r1", total_price="0.02")],
                definition="x")  # fmt: skip

    assert rows(out, "SELECT count(*), sum(cost) FROM usage") == [(2, Decimal("0.03"))]


@pytest.mark.parametrize("three_is_later", [True, False])
def test_copies_of_the_file_collected_last_all_count(
    out: Delivered, *, three_is_later: bool
) -> None:
    earlier, later = (datetime(2026, 11, day, 2, 15, tzinfo=UTC) for day in (23, 24))
    for name, copies, is_later in (("a", 3, three_is_later), ("b", 2, not three_is_later)):
        # The file collected last counts, even if it has no prices yet.
        records = [sms("r1", total_price="" if is_later else "1")] * copies
        out.deliver("SMS", records, definition=name, collected_at=later if is_later else earlier)

    found = rows(out, "SELECT definition, count(*), count(cost) FROM usage GROUP BY 1")

    assert found == [("a", 3, 0) if three_is_later else ("b", 2, 0)]


@pytest.mark.parametrize("other", [{"definition": "b"}, {"account": "b"}, {"day": "2026-11-20"}])
def test_copies_collected_at_once_are_those_of_one_file(
    out: Delivered, other: dict[str, str]
) -> None:
    first = {"definition": "a", "account": "a", "day": "2026-11-19"}
    for each, copies in ((first, 3), (first | other, 2)):
        out.deliver(
            "SMS", [sms("r1", total_price="1")] * copies,
            definition=each["definition"], account=each["account"], day=each["day"],
        )  # fmt: skip

    assert rows(out, "SELECT count(*), sum(cost) FROM usage") == [(3, Decimal(3))]


def test_records_without_id_all_count(out: Delivered) -> None:
    out.deliver("SMS", [sms(""), sms("")], definition="x")

    assert rows(out, "SELECT count(*) FROM usage") == [(2,)]


def test_same_id_in_two_products_is_two_records(out: Delivered) -> None:
    out.deliver("SMS", [sms("r1")], definition="x")
    out.deliver("MESSAGES", [message("r1")], definition="y")

    assert rows(out, "SELECT count(*) FROM usage") == [(2,)]


def test_billing_sums_exactly_and_adds_mark_up(out: Delivered) -> None:
    of_a = {"account_id": "aaaa1111", "client_ref": "shop"}
    records = [
        sms("r1", total_price="0.12345678", **of_a),
        sms("r2", total_price="0.00000001", date_received="2026-11-20T10:00:00Z", **of_a),
        sms("r3", total_price="", **of_a),
        sms("r4", total_price="9999999999.99999999", account_id="bbbb2222"),
    ]
    out.deliver("SMS", records, definition="all")
    out.deliver("SMS", records[:2], definition="again")
    out.deliver("VOICE-CALL", [
        {"account_id": "aaaa1111", "id": f"c{n}", "date_start": "2026-11-19T10:00:00Z",
         "duration": "61", "total_price": "0.5", "currency": "USD", "country": "NA"}
        for n in (1, 2)
    ], definition="calls")  # fmt: skip

    found = ask(out, "billing", MarkUp="0.1505", AccountCurrency="EUR")

    assert texts(found) == [
        ("2026-11-01", "aaaa1111", "shop", "SMS", "GB", "None", "EUR", "3", "None",
         "0.12345679", "0.142037036895", "None", "None", "1", "0", "0", "0"),
        ("2026-11-01", "aaaa1111", "None", "VOICE-CALL", "NA", "None", "USD", "2", "122",
         "1.00000000", "1.150500000000", "None", "None", "0", "0", "0", "0"),
        ("2026-11-01", "bbbb2222", "None", "SMS", "GB", "None", "EUR", "1", "None",
         "9999999999.99999999", "11504999999.999999988495", "None", "None", "0", "0", "0", "0"),
    ]  # fmt: skip


def test_currency_of_record_precedes_definition_and_parameter(
    out: Delivered, tmp_path: Path
) -> None:
    out.deliver("SMS", [sms("r1", total_price="1")], definition="x", currency="USD")
    out.deliver("SMS", [sms("r2", total_price="2")], definition="y")
    out.deliver("MESSAGES", [message("m", total_price="4")], definition="z", currency="USD")
    bill = invoice(tmp_path, "2026-11,SMS,GB,USD,1", "2026-11,SMS,GB,GBP,2")

    asked = {name: ask(out, name, AccountCurrency="GBP") for name in ("billing", "customers")}
    compared = ask(out, "reconciliation", invoice=bill, AccountCurrency="GBP")

    for found in asked.values():
        assert {(each["product"], each["currency"]): each["cost"] for each in found} == {
            ("SMS", "USD"): 1, ("SMS", "GBP"): 2, ("MESSAGES", "EUR"): 4,
        }  # fmt: skip
    assert {each["currency"]: each["difference"] for each in compared} == {
        "USD": 0, "GBP": 0, "EUR": -4,
    }  # fmt: skip
    assert rows(out, "SELECT DISTINCT currency FROM sms") == [(None,)]


# Files of an earlier version


def make_old(file: Path) -> None:
    """Rewrite a file with the schema of version 1: new types are text, and a column is absent."""
    new = pq.read_table(file)
    old = new.drop_columns(["_window_start"])
    for name in ("is_charged", "if_fraud_check", "queue_duration"):
        if name in old.column_names:
            place = old.column_names.index(name)
            texts = pc.utf8_upper(old[name].cast(pa.string()))
            old = old.set_column(place, name, texts)
    pq.write_table(old, file)


@pytest.mark.parametrize("with_new_file", [True, False])
@pytest.mark.parametrize(
    ("product", "name", "text", "value"),
    [
        ("REPORTS-USAGE", "is_charged", "TRUE", True),
        ("VERIFY-V2", "if_fraud_check", "false", False),
        ("SMS-TRAFFIC-CONTROL", "queue_duration", "12", 12),
    ],
)
def test_older_file_is_read_beside_a_new_one(
    out: Delivered, product: str, name: str, text: str, value: object, *, with_new_file: bool
) -> None:
    out.deliver(product, [{"id": "old", name: text}], definition="x", day="2026-11-18")
    make_old(next(out.root.rglob("*.parquet")))
    if with_new_file:
        out.deliver(product, [{"id": "new", name: text}], definition="x", day="2026-11-19")

    found = rows(out, f"SELECT id, {name} FROM {table_name(product)} ORDER BY id")
    times = rows(out, "SELECT record_id, CAST(occurred_at AS varchar) FROM usage ORDER BY 1")

    assert found == [("new", value), ("old", value)][not with_new_file :]
    if product == "REPORTS-USAGE":
        assert times == []
        return
    # An older file has the window's date, but not its first instant.
    assert (
        times
        == [("new", "2026-11-19 00:00:00"), ("old", "2026-11-18 00:00:00")][not with_new_file :]
    )


# Imperfect records


def test_record_without_readable_time_counts_in_its_window(out: Delivered, tmp_path: Path) -> None:
    records = [
        sms("r1", date_received="2026-11-30 10:00:00", total_price="0.0333"),
        sms("r2", date_received="", date_finalized="unreadable", total_price="0.0333"),
        sms("r3", date_received="", date_finalized="2026-11-30T11:00:00Z", total_price="1"),
    ]
    out.deliver("SMS", records, definition="x", day="2026-11-30", currency="EUR")
    out.deliver("SMS", records[:1], definition="y", day="2026-11-30", currency="EUR")
    bill = invoice(tmp_path, "2026-11,SMS,GB,EUR,1.0666")

    found = rows(
        out,
        "SELECT record_id, CAST(occurred_at AS varchar), time_is_assumed FROM usage ORDER BY 1",
    )
    [billed], [compared], [of_customer] = (
        ask(out, "billing"), ask(out, "reconciliation", invoice=bill), ask(out, "customers"),
    )  # fmt: skip

    assert found == [
        ("r1", "2026-11-30 00:00:00", True),
        ("r2", "2026-11-30 00:00:00", True),
        ("r3", "2026-11-30 11:00:00", False),
    ]
    for each in (billed, compared, of_customer):
        assert (each["records"], each["records_without_time"]) == (3, 2)
    assert (billed["cost"], compared["difference"]) == (Decimal("1.0666"), 0)


@pytest.mark.parametrize("day", ["2026-11-01", "2026-11-19"])
def test_copies_without_a_time_count_once_in_windows_of_any_start(out: Delivered, day: str) -> None:
    record = sms("r1", date_received="2026-11-19 10:00:00", total_price="1")
    out.deliver("SMS", [record], definition="by-month", day="2026-11-01")
    out.deliver("SMS", [record], definition="another", day=day)

    assert rows(out, "SELECT count(*), sum(cost) FROM usage") == [(1, Decimal(1))]
    assert [each["records_without_time"] for each in ask(out, "billing")] == [1]


def test_rescued_price_is_told_from_an_empty_one(out: Delivered, tmp_path: Path) -> None:
    prices = ["0.060000000000000005", "0.01", ""]
    records = [sms(f"r{n}", total_price=price) for n, price in enumerate(prices)]
    out.deliver("SMS", records, definition="x", currency="EUR")
    bill = invoice(tmp_path, "2026-11,SMS,GB,EUR,0.01")

    for [found] in (ask(out, "billing"), ask(out, "reconciliation", invoice=bill)):
        assert (found["records_without_price"], found["records_with_rescued_price"]) == (2, 1)
    assert rows(
        out, "SELECT cost, cost_is_incomplete, price_is_rescued FROM usage ORDER BY record_id"
    ) == [(None, True, True), (Decimal("0.01"), False, False), (None, True, False)]


def test_verification_costs_its_fee_and_its_messages(out: Delivered, tmp_path: Path) -> None:
    def verification(id_: str, price: str, estimated_price: str, model: str) -> dict[str, str]:
        return sms(id_, price=price, estimated_price=estimated_price, sms_price=estimated_price,
                   pricing_model=model)  # fmt: skip

    records = [
        verification("r1", "0.05", "0.12", "1"),
        verification("r2", "0.05", "0", "0"),
        verification("r3", "0.05", "", "0"),
        verification("r4", "", "0.3", "1"),
        verification("r5", "9999999999.99999999", "9999999999.99999999", "2"),
    ]
    out.deliver("VERIFY-API", records, definition="x", currency="EUR")
    bill = invoice(tmp_path, "2026-11,VERIFY-API,GB,EUR,0.57")

    billed = ask(out, "billing")

    assert [
        tuple(str(each[name]) for name in ("pricing_model", "cost", "fee", "messages_and_calls",
                                           "records_without_price"))
        for each in billed
    ] == [
        ("0", "0.10000000", "0.10000000", "0E-8", "1"),
        ("1", "0.47000000", "0.05000000", "0.42000000", "1"),
        ("2", "19999999999.99999998", "9999999999.99999999", "9999999999.99999999", "0"),
    ]  # fmt: skip
    [compared] = ask(out, "reconciliation", invoice=bill)
    assert compared["our_total"] == Decimal("20000000000.56999998")


def test_estimate_of_messages_is_no_part_of_the_cost(out: Delivered) -> None:
    record = message("m1", estimated_price="9", total_price="0.5", pricing_model="PMP")
    out.deliver("MESSAGES", [record], definition="x")

    assert rows(out, "SELECT pricing_model, cost, fee, messages_and_calls FROM usage") == [
        ("PMP", Decimal("0.5"), None, None)
    ]


@pytest.mark.parametrize(
    ("product", "account_id", "owner"),
    [
        ("AMD", "nexmo-vapi-us-east-1", "aaaa1111"),
        ("CONVERSATION-MESSAGE", "nexmo-cs-us-west-2", "aaaa1111"),
        ("AMD", "bbbb2222", "bbbb2222"),
        ("SMS", "a-b", "a-b"),
    ],
)
def test_service_stands_for_the_account_of_its_window(
    out: Delivered, product: str, account_id: str, owner: str
) -> None:
    out.deliver(product, [sms("r1", account_id=account_id)], definition="x", account="aaaa1111")

    assert rows(out, "SELECT account_id FROM usage") == [(owner,)]


def test_own_reports_are_no_usage_and_no_customers_cost(out: Delivered, tmp_path: Path) -> None:
    out.deliver("REPORTS-USAGE", [sms("r1", total_price="1", currency="EUR")], definition="x")
    bill = invoice(tmp_path, "2026-11,REPORTS-USAGE,,EUR,1", "2026-11,SMS,,EUR,0")

    assert rows(out, "SELECT id FROM reports_usage") == [("r1",)]
    assert rows(out, "SELECT record_id FROM usage") == []
    assert ask(out, "billing") == ask(out, "customers") == []
    assert [each["product"] for each in ask(out, "reconciliation", invoice=bill)] == ["SMS"]


def test_reports_bill_adds_up_each_request_once(out: Delivered) -> None:
    def listed(id_: str, **cells: str) -> dict[str, str]:
        return {
            "id": id_, "date_received": "2026-11-19T10:00:00Z", "acc": "abcd1234",
            "requested_product": "SMS", "items_written": "10", "total_price": "0.0040",
            "currency": "EUR", "is_charged": "TRUE", **cells,
        }  # fmt: skip

    listing = [
        listed("a"),
        listed("b", items_written="5", total_price=""),
        listed("c", is_charged="FALSE", requested_product="REPORTS-USAGE", total_price="0"),
        listed("d", acc="efgh5678", items_written="7"),
        listed("e", date_received="2026-10-31T23:59:59Z"),
    ]
    for definition in ("reports-usage", "again"):
        out.deliver("REPORTS-USAGE", listing, definition=definition)

    november = "2026-11-01"
    assert texts(ask(out, "reports_bill")) == [
        (november, "abcd1234", "REPORTS-USAGE", "EUR", "1", "10", "0", "None", "0"),
        (november, "abcd1234", "SMS", "EUR", "2", "15", "15", "0.00400000", "1"),
        (november, "efgh5678", "SMS", "EUR", "1", "7", "7", "0.00400000", "0"),
    ]


def test_imperfect_month_adds_up_to_the_last_digit(out: Delivered, tmp_path: Path) -> None:
    copy = sms("r1", total_price="0.03330000")
    deliver = partial(out.deliver, day="2026-11-01", currency="EUR")
    datasets = [
        deliver("SMS", [
            copy,
            sms("r2", total_price="0.01"),
            sms("r2", total_price="0.02"),  # a copy inside the file
            sms("r3", total_price="0.060000000000000005"),
            sms("r4", total_price="0.03330001", date_received="2026-11-19 10:00:00"),
            sms("r5", total_price="", status=""),
        ], definition="all"),
        deliver("VERIFY-API", [
            sms("v1", price="0.05", estimated_price="0.12", sms_price="0.08", tts_price="0.04")
        ], definition="verify"),
        deliver("AMD", [
            {"id": "a1", "account_id": "nexmo-vapi-us-east-1", "total_price": "0.002",
             "start_time": "2026-11-9 11:24:05+00:00"},
        ], definition="amd"),
    ]  # fmt: skip
    later = datetime(2026, 12, 4, tzinfo=UTC)
    deliver("SMS", [copy], definition="again", collected_at=later)
    in_manifests = sum(each.total_price for dataset in datasets for each in dataset.totals)
    bill = invoice(tmp_path, "2026-11,SMS,GB,EUR,0.09660001", "2026-11,VERIFY-API,GB,EUR,0.17",
                   "2026-11,AMD,,EUR,0.002")  # fmt: skip

    billed, compared = ask(out, "billing"), ask(out, "reconciliation", invoice=bill)

    assert in_manifests == Decimal("0.26860001")
    assert rows(out, "SELECT sum(cost), count(*) FROM usage") == [(in_manifests, 8)]
    assert {each["account_id"] for each in billed} == {"abcd1234"}
    for found, cost in ((billed, "cost"), (compared, "our_total")):
        assert sum(each[cost] for each in found) == in_manifests
        assert [
            sum(each[f"records_{imperfect}"] for each in found)
            for imperfect in ("without_price", "with_rescued_price", "without_time")
        ] == [2, 1, 1]
    assert {each["difference"] for each in compared} == {0}
    assert [dataset.rescued for dataset in datasets] == [
        {"date_received": 1, "total_price": 1}, {}, {},
    ]  # fmt: skip


def test_billing_counts_preliminary_records(out: Delivered) -> None:
    out.deliver("SMS", [sms("r1"), sms("r2")], definition="x", revision="preliminary")
    out.deliver("SMS", [sms("r3")], definition="y")

    assert [(each["records"], each["preliminary_records"]) for each in ask(out, "billing")] == [
        (3, 2)
    ]


def test_billing_by_day_splits_monthly_windows(out: Delivered) -> None:
    times = ["2026-11-01T00:00:00Z", "2026-11-30T23:59:59Z"]
    records = [sms(f"r{n}", date_received=time) for n, time in enumerate(times)]
    out.deliver("SMS", records, definition="monthly", day="2026-11-01")

    found = ask(out, "billing", Period="day")

    assert [str(each["period"]) for each in found] == ["2026-11-01", "2026-11-30"]


def test_billing_by_day_uses_midnight_utc(out: Delivered) -> None:
    times = ["2026-11-18T23:59:59Z", "2026-11-19T00:00:00Z", "2026-11-20T23:59:59Z",
             "2026-11-21T00:00:00Z"]  # fmt: skip
    records = [sms(f"r{n}", date_received=time) for n, time in enumerate(times)]
    out.deliver("SMS", records, definition="x")

    found = ask(out, "billing", Period="day", Since="DATE '2026-11-19'", Until="DATE '2026-11-21'")

    assert [(str(each["period"]), each["records"]) for each in found] == [
        ("2026-11-19", 1),
        ("2026-11-20", 1),
    ]
    # Without AccountCurrency the currency is unknown.
    assert {each["currency"] for each in found} == {None}


def invoice(folder: Path, *lines: str) -> Path:
    path = folder / "invoice.csv"
    path.write_text("\n".join(["month,product,country,currency,amount", *lines, ""]))
    return path


def test_reconciliation_compares_lines_of_both_sides(out: Delivered, tmp_path: Path) -> None:
    records = [sms("r1", total_price="0.1"), sms("r2", total_price="0.20000001")]
    out.deliver("SMS", records, definition="all")
    out.deliver("SMS", records, definition="again")
    out.deliver("MESSAGES", [message("m1", total_price="1.5", country="")], definition="m")
    out.deliver("MESSAGES", [message("m2", total_price="", country="NA")], definition="n")
    out.deliver("VOICE-FAILED", [{"id": "f", "date_start": "2026-11-19T10:00:00Z"}], definition="f")
    bill = invoice(
        tmp_path,
        "2026-11,SMS,GB,EUR,0.25",
        "2026-11,SMS,GB,EUR,0.05",  # an invoice may have two lines for one group
        "2026-11,MESSAGES,,EUR,1.5",
        "2026-11,VERIFY-V2,DE,EUR,-3",
        "2026-10,SMS,GB,EUR,77",
    )

    found = ask(out, "reconciliation", invoice=bill, AccountCurrency="EUR")

    assert texts(found) == [
        ("2026-11", "MESSAGES", "", "EUR", "1.50000000", "1.50000000", "0.00000000", "1", "0", "0",
         "0", "0"),
        ("2026-11", "MESSAGES", "NA", "EUR", "None", "None", "0.00000000", "1", "1", "0", "0", "0"),
        ("2026-11", "SMS", "GB", "EUR", "0.30000001", "0.30000000", "-0.00000001", "2", "0",
         "0", "0", "0"),
        ("2026-11", "VERIFY-V2", "DE", "EUR", "None", "-3.00000000", "-3.00000000", "0", "0",
         "0", "0", "0"),
    ]  # fmt: skip


@pytest.mark.parametrize("until", ["2026-11-02", "2026-11-20", "2026-12-01"])
def test_reconciliation_compares_whole_months(out: Delivered, tmp_path: Path, until: str) -> None:
    times = ["2026-10-31T23:59:59Z", "2026-11-01T00:00:00Z", "2026-11-30T23:59:59Z",
             "2026-12-01T00:00:00Z"]  # fmt: skip
    records = [sms(f"r{n}", date_received=t, total_price="1") for n, t in enumerate(times)]
    out.deliver("SMS", records, definition="x")
    bill = invoice(tmp_path, *(f"2026-{month},SMS,GB,EUR,2" for month in (10, 11, 12)))
    # Athena's users may edit the dates.
    sql = named_queries()["reconciliation"].render(
        {"Since": "DATE '2026-11-01'", "Until": f"DATE '{until}'", "AccountCurrency": "EUR"}
    )

    [line] = rows(out, sql, invoice=bill)

    month, _, _, _, our_total, invoiced, difference, *_ = line
    assert (month, our_total, invoiced, difference) == ("2026-11", 2, 2, 0)


@pytest.mark.parametrize("option", ["since", "until"])
def test_reconciliation_refuses_part_of_a_month(option: str) -> None:
    with pytest.raises(BadInput, match=f"^--{option} is '2026-11-15', .* whole months"):
        values_of("reconciliation", **{option: "2026-11-15"})


def test_reconciliation_counts_days_of_preliminary_month(out: Delivered) -> None:
    days = ("03", "03", "17")
    records = [sms(f"r{n}", date_received=f"2026-11-{day}T10:00:00Z") for n, day in enumerate(days)]
    out.deliver("SMS", records, definition="x", day="2026-11-01", revision="preliminary")

    assert [each["preliminary_days"] for each in ask(out, "reconciliation")] == [2]


def test_reconciliation_counts_days_without_final_window(out: Delivered) -> None:
    for day, revisions in ((18, ["final"]), (19, ["preliminary", "final"]), (20, ["preliminary"])):
        for revision in revisions:
            record = sms(f"r{day}", date_received=f"2026-11-{day}T10:00:00Z", total_price="1")
            out.deliver("SMS", [record], definition="x", day=f"2026-11-{day}", revision=revision)
    # The preliminary window of x on this date must not count for y.
    out.deliver(
        "MESSAGES",
        [message("m", date_received="2026-11-20T10:00:00Z")],
        definition="y",
        day="2026-11-20",
    )

    found = ask(out, "reconciliation")

    assert {each["product"]: each["preliminary_days"] for each in found} == {
        "SMS": 1, "MESSAGES": 0,
    }  # fmt: skip


def test_customers_joins_usage_with_own_data(out: Delivered) -> None:
    records = [
        sms("r1", total_price="0.1"),
        sms("r2", total_price="0.2", status="failed"),
        sms("r3", total_price="0.4", account_id="unknown1"),
    ]
    out.deliver("SMS", records, definition="x")
    out.deliver("SMS", records, definition="y")

    found = ask(out, "customers", AccountCurrency="EUR")

    assert texts(found) == [
        ("Example Ltd", "SMS", "EUR", "2", "1", "0.30000000", "0", "2026-11-19 10:00:00"),
        ("None", "SMS", "EUR", "1", "1", "0.40000000", "0", "2026-11-19 10:00:00"),
    ]


def test_undelivered_product_is_an_empty_table(
    out: Delivered,
) -> None:
    out.deliver("SMS", [sms("r1")], definition="x")
    with open_dataset(Folder(out.root)) as connection:
        for product, table in TABLES.items():
            if product != "SMS":
                found = connection.execute(f"FROM {table_name(product)}")
                names = [each[0] for each in found.description or ()]
                expected = [*(c.name for c in table.all_columns), "definition", "account", "date"]
                assert (names, found.fetchall()) == (expected, [])


def test_numeric_partition_keys_stay_text(out: Delivered) -> None:
    out.deliver("SMS", [sms("r1")], definition="007", account="00001234")

    assert rows(out, 'SELECT definition, account, "date" FROM sms') == [
        ("007", "00001234", date(2026, 11, 19))
    ]


@pytest.mark.parametrize(
    ("option", "value"),
    [("since", "2026-13-01"), ("until", "tomorrow"), ("currency", "' OR 1=1 --")],
)
def test_invalid_parameter_is_named(option: str, value: str) -> None:
    with pytest.raises(BadInput, match=f"^--{option} is "):
        values_of("billing", **{option: value})


def test_valid_parameters_are_sql() -> None:
    found = values_of("billing", since="2026-11-01", until="2026-12-01", currency="EUR")

    assert found == {**NOVEMBER, "AccountCurrency": "EUR"}


@pytest.mark.parametrize(
    "line",
    [
        "2026-11,SMS,GB,EUR",
        '2026-11,SMS,GB,EUR,"1,234.50"',
        "2026-11,SMS,GB,EUR,0.123456789",
        "November,SMS,GB,EUR,1",
    ],
)
def test_invalid_invoice_line_is_refused(out: Delivered, tmp_path: Path, line: str) -> None:
    out.deliver("SMS", [sms("r1")], definition="x")
    bill = invoice(tmp_path, "2026-11,SMS,GB,EUR,1", line)

    with pytest.raises(BadInput, match=f"^{bill}: line 3 "):
        rows(out, "SELECT 1", invoice=bill)


def test_invoice_with_other_columns_is_refused(out: Delivered, tmp_path: Path) -> None:
    out.deliver("SMS", [sms("r1")], definition="x")
    bill = tmp_path / "invoice.csv"
    bill.write_text("product,month,country,currency,amount\n")

    with pytest.raises(BadInput, match="month,product,country,currency,amount"):
        rows(out, "SELECT 1", invoice=bill)
