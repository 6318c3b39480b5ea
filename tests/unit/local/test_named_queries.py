"""The template's SQL, run on a dataset small enough to add up by hand."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from local.runner.options import BadInput
from local.simulator.products import PRODUCTS
from local.sql.dataset import Folder, open_dataset
from local.sql.named_queries import TEMPLATE, named_queries, values_from
from local.stack.package import NAMED_QUERY
from local.stack.template import read_template
from tests.support.delivered import Delivered
from vonage_dataset.glue import table_name
from vonage_dataset.tables import TABLES, Type

RESOURCES: dict[str, Any] = read_template(TEMPLATE)["Resources"]
NOVEMBER = {"SINCE": "2026-11-01", "UNTIL": "2026-12-01"}


@pytest.fixture
def out(tmp_path: Path) -> Delivered:
    return Delivered(tmp_path / "out")


def rows(out: Delivered, sql: str, *, invoice: Path | None = None) -> list[tuple[Any, ...]]:
    with open_dataset(Folder(out.root), invoice=invoice) as connection:
        return connection.execute(sql).fetchall()


def ask(
    out: Delivered, name: str, *, invoice: Path | None = None, **variables: str
) -> list[dict[str, Any]]:
    """Run a named query; return its rows as dicts."""
    sql = named_queries()[name].render(values_from({**NOVEMBER, **variables}, query=name))
    with open_dataset(Folder(out.root), invoice=invoice) as connection:
        found = connection.execute(sql)
        names = [each[0] for each in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


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


@pytest.mark.parametrize("product", TABLES)
def test_usage_dates_each_product_by_its_window_column(out: Delivered, product: str) -> None:
    times = {c.name for c in TABLES[product].columns if c.type is Type.TIMESTAMP}
    cells = dict.fromkeys(times, "2026-01-01T00:00:00Z")
    cells |= {PRODUCTS[product].date_column: "2026-11-19T23:59:59+00:00", "id": "r1"}
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


def test_catalogue_columns_match_the_view(out: Delivered) -> None:
    out.deliver("SMS", [sms("r1")], definition="x")
    is_so = {
        name: kind for name, kind, *_ in rows(out, "SELECT * FROM (DESCRIBE SELECT * FROM usage)")
    }
    table = RESOURCES["UsageView"]["Properties"]["TableInput"]
    hive = {each["Name"]: each["Type"] for each in table["StorageDescriptor"]["Columns"]}
    view = table["ViewOriginalText"]["Fn::Sub"][1]["View"]["Fn::Base64"]["Fn::Sub"]
    trino = {each["name"]: each["type"] for each in json.loads(view)["columns"]}

    of_hive = {"string": "VARCHAR", "timestamp": "TIMESTAMP", "bigint": "BIGINT"}
    of_trino = {"varchar": "VARCHAR", "timestamp(3)": "TIMESTAMP", "bigint": "BIGINT"}
    both = {"decimal(18,8)": "DECIMAL(18,8)", "date": "DATE"}
    assert list(hive) == list(trino) == list(is_so)
    assert {name: (of_hive | both)[kind] for name, kind in hive.items()} == is_so
    assert {name: (of_trino | both)[kind] for name, kind in trino.items()} == is_so


def test_named_queries_describe_their_columns(out: Delivered) -> None:
    out.deliver("SMS", [sms("r1")], definition="x")
    for name, query in named_queries().items():
        said = " ".join(line for line in query.text.splitlines() if line.startswith("--"))
        for column in ask(out, name)[0]:
            assert column in said or column in ("product", "country", "currency", "account_id")


def test_query_names_come_from_their_logical_ids() -> None:
    in_template = {name for name, each in RESOURCES.items() if each["Type"] == NAMED_QUERY}

    assert {f"{name.title()}Query" for name in named_queries()} == in_template
    assert set(named_queries()) == {"billing", "reconciliation", "customers"}


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

    found = ask(out, "billing", MARK_UP="0.1505", ACCOUNT_CURRENCY="EUR")

    assert texts(found) == [
        ("2026-11-01", "aaaa1111", "shop", "SMS", "GB", "EUR", "3", "None",
         "0.12345679", "0.142037036895", "1", "0"),
        ("2026-11-01", "aaaa1111", "None", "VOICE-CALL", "NA", "USD", "2", "122",
         "1.00000000", "1.150500000000", "0", "0"),
        ("2026-11-01", "bbbb2222", "None", "SMS", "GB", "EUR", "1", "None",
         "9999999999.99999999", "11504999999.999999988495", "0", "0"),
    ]  # fmt: skip


def test_currency_of_record_precedes_definition_and_parameter(
    out: Delivered, tmp_path: Path
) -> None:
    out.deliver("SMS", [sms("r1", total_price="1")], definition="x", currency="USD")
    out.deliver("SMS", [sms("r2", total_price="2")], definition="y")
    out.deliver("MESSAGES", [message("m", total_price="4")], definition="z", currency="USD")
    bill = invoice(tmp_path, "2026-11,SMS,GB,USD,1", "2026-11,SMS,GB,GBP,2")

    asked = {name: ask(out, name, ACCOUNT_CURRENCY="GBP") for name in ("billing", "customers")}
    compared = ask(out, "reconciliation", invoice=bill, ACCOUNT_CURRENCY="GBP")

    for found in asked.values():
        assert {(each["product"], each["currency"]): each["cost"] for each in found} == {
            ("SMS", "USD"): 1, ("SMS", "GBP"): 2, ("MESSAGES", "EUR"): 4,
        }  # fmt: skip
    assert {each["currency"]: each["difference"] for each in compared} == {
        "USD": 0, "GBP": 0, "EUR": -4,
    }  # fmt: skip
    assert rows(out, "SELECT DISTINCT currency FROM sms") == [(None,)]


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

    found = ask(out, "billing", PERIOD="day")

    assert [str(each["period"]) for each in found] == ["2026-11-01", "2026-11-30"]


def test_billing_by_day_uses_midnight_utc(out: Delivered) -> None:
    times = ["2026-11-18T23:59:59Z", "2026-11-19T00:00:00Z", "2026-11-20T23:59:59Z",
             "2026-11-21T00:00:00Z"]  # fmt: skip
    records = [sms(f"r{n}", date_received=time) for n, time in enumerate(times)]
    out.deliver("SMS", records, definition="x")

    found = ask(out, "billing", PERIOD="day", SINCE="2026-11-19", UNTIL="2026-11-21")

    assert [(str(each["period"]), each["records"]) for each in found] == [
        ("2026-11-19", 1),
        ("2026-11-20", 1),
    ]
    # Without ACCOUNT_CURRENCY the currency is unknown.
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

    found = ask(out, "reconciliation", invoice=bill, ACCOUNT_CURRENCY="EUR")

    assert texts(found) == [
        ("2026-11", "MESSAGES", "", "EUR", "1.50000000", "1.50000000", "0.00000000", "1", "0", "0"),
        ("2026-11", "MESSAGES", "NA", "EUR", "None", "None", "0.00000000", "1", "1", "0"),
        ("2026-11", "SMS", "GB", "EUR", "0.30000001", "0.30000000", "-0.00000001", "2", "0", "0"),
        ("2026-11", "VERIFY-V2", "DE", "EUR", "None", "-3.00000000", "-3.00000000", "0", "0", "0"),
    ]


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


@pytest.mark.parametrize("variable", ["SINCE", "UNTIL"])
def test_reconciliation_refuses_part_of_a_month(variable: str) -> None:
    with pytest.raises(BadInput, match=f"^{variable} is '2026-11-15', .* whole months"):
        values_from({variable: "2026-11-15"}, query="reconciliation")


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

    found = ask(out, "customers", ACCOUNT_CURRENCY="EUR")

    assert texts(found) == [
        ("Example Ltd", "SMS", "EUR", "2", "1", "0.30000000", "2026-11-19 10:00:00"),
        ("None", "SMS", "EUR", "1", "1", "0.40000000", "2026-11-19 10:00:00"),
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
    ("variable", "value"),
    [
        ("SINCE", "2026-13-01"),
        ("UNTIL", "tomorrow"),
        ("PERIOD", "week"),
        ("MARK_UP", "15 %"),
        ("MARK_UP", "0.12345"),
        ("ACCOUNT_CURRENCY", "' OR 1=1 --"),
    ],
)
def test_invalid_parameter_is_named(variable: str, value: str) -> None:
    with pytest.raises(BadInput, match=f"^{variable} is "):
        values_from({variable: value}, query="billing")


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

    with pytest.raises(BadInput, match=f"^INVOICE={bill}: line 3 "):
        rows(out, "SELECT 1", invoice=bill)


def test_invoice_with_other_columns_is_refused(out: Delivered, tmp_path: Path) -> None:
    out.deliver("SMS", [sms("r1")], definition="x")
    bill = tmp_path / "invoice.csv"
    bill.write_text("product,month,country,currency,amount\n")

    with pytest.raises(BadInput, match="month,product,country,currency,amount"):
        rows(out, "SELECT 1", invoice=bill)
