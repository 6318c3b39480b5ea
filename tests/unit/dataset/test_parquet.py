"""The Parquet file: schema, determinism, totals, and our own columns."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from tests.support.cells import MINUTE, converted
from tests.support.csvs import member
from vonage_dataset.cells import Collection
from vonage_dataset.parquet import Total, convert


def test_file_names_its_schema_version() -> None:
    _, table = converted(b"id\n1\n")

    assert table.schema.metadata[b"vonage_usage_reports.schema_version"] == b"2"


def test_another_engine_reads_the_same_types_and_values(tmp_path: Path) -> None:
    header = "id,date_received,latency,total_price,currency,new"
    content = f"{header}\n007,{MINUTE}.5+0000,12,0.1,EUR,x\n".encode()
    convert([member(content)], product="SMS", target=tmp_path / "a.parquet")

    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    read = database.read_parquet(str(tmp_path / "a.parquet")).project(
        "id, date_received::VARCHAR, latency, concatenated, total_price, _rescued, "
        "typeof(date_received), typeof(latency), typeof(concatenated), typeof(total_price)"
    )

    assert read.fetchall() == [
        ("007", "2026-11-20 23:59:59.5+00", 12, None, Decimal("0.1"), {"new": "x"},
         "TIMESTAMP WITH TIME ZONE", "BIGINT", "BOOLEAN", "DECIMAL(18,8)")
    ]  # fmt: skip


def test_same_rows_make_the_same_file() -> None:
    content = b"id,total_price\n1,0.5\n"

    assert converted(content)[0].sha256 == converted(content)[0].sha256


# Totals


def total(currency: str | None, price: str, rows: int, **more: object) -> dict[str, object]:
    """Return a total in the manifest, without rows that lack their price, and without times."""
    counts = {"rows_without_price": 0, "rows_with_rescued_price": 0, "rows_without_time": rows}
    return {"currency": currency, "total_price": price, "rows": rows, **counts, **more}


def test_totals_are_exact_and_by_currency() -> None:
    rows = (
        b"USD,9999999999.99999999\nEUR,0.1\nEUR,0.2\n,0.00000001\nEUR,\nUSD,9999999999.99999999\n"
    )

    dataset, _ = converted(b"currency,total_price\n" + rows)

    assert [total.to_dict() for total in dataset.totals] == [
        total(None, "0.00000001", 1),
        total("EUR", "0.3", 3, rows_without_price=1),
        total("USD", "19999999999.99999998", 2),
    ]


def test_rows_without_a_readable_time_are_counted() -> None:
    rows = b"EUR,1,2026-11-19T10:00:00Z,\nEUR,1,,\nEUR,1,x,\nEUR,1,,2026-11-19T10:00:00Z\n"

    header = b"currency,total_price,date_received,date_finalized\n"
    dataset, _ = converted(header + rows, product="SMS")

    assert [each.rows_without_time for each in dataset.totals] == [2]


def test_empty_currency_is_the_definitions() -> None:
    content = b"currency,total_price\n,1.10\nEUR,2.20\n"

    dataset, table = converted(content, collection=Collection(currency="EUR"))

    assert [total.to_dict() for total in dataset.totals] == [total("EUR", "3.3", 2)]
    assert table["_currency"].to_pylist() == ["EUR", "EUR"]
    # Vonage's own column stays unchanged.
    assert table["currency"].to_pylist() == [None, "EUR"]


def test_product_without_a_price_has_no_currency() -> None:
    _, table = converted(b"id\n1\n", product="VOICE-FAILED", collection=Collection(currency="EUR"))

    assert table["_currency"].to_pylist() == [None]


def test_unknown_product_without_currency_has_the_definitions() -> None:
    dataset, table = converted(
        b"id,total_price\n1,0.5\n", product="NEW", collection=Collection(currency="EUR")
    )

    assert table["_currency"].to_pylist() == ["EUR"]
    assert dataset.totals == (Total("EUR", Decimal("0.5"), 1, 0, rows_without_time=1),)


def test_every_row_names_its_collection() -> None:
    at = datetime(2026, 11, 23, 2, 15, 59, tzinfo=UTC)

    start = datetime(2026, 11, 20, 13, tzinfo=UTC)
    collection = Collection("preliminary", at, window_start=start)
    _, table = converted(b"id\n1\n", b"id\n2\n", collection=collection)

    assert table["_revision"].to_pylist() == ["preliminary"] * 2
    assert table["_collected_at"].to_pylist() == [at] * 2
    assert table["_window_start"].to_pylist() == [start] * 2


@pytest.mark.parametrize("product", ["SMS", "NEW"])
def test_column_of_vonage_named_like_ours_is_rescued(product: str) -> None:
    content = b"id,_currency,_revision,total_price\n1,GBP,x,0.5\n"

    dataset, table = converted(content, product=product, collection=Collection("final"))

    assert table["_currency"].to_pylist() == [None]
    assert table["_revision"].to_pylist() == ["final"]
    assert dict(table["_rescued"][0].as_py()) == {"_currency": "GBP", "_revision": "x"}
    assert dataset.totals == (Total(None, Decimal("0.5"), 1, 0, rows_without_time=1),)


def test_whole_amount_is_written_without_an_exponent() -> None:
    dataset, _ = converted(b"total_price\n500\n500\n")

    assert dataset.totals[0].to_dict()["total_price"] == "1000"


def test_verification_costs_its_fee_and_its_messages() -> None:
    # The messages' price has parts of its own, which are not added.
    header = b"id,price,estimated_price,sms_price,tts_price\n"
    rows = b"1,0.05,0.12,0.08,0.04\n2,0.05,0,0,0\n3,0.05,,,\n4,,,,\n5,,0.3,,\n6,0.05,1e-9,,\n"

    dataset, _ = converted(header + rows, product="VERIFY-API")

    assert [each.to_dict() for each in dataset.totals] == [
        total(
            None, "0.62", 6, rows_without_price=4, rows_with_rescued_price=1,
            parts={"price": "0.2", "estimated_price": "0.42"},
        )
    ]  # fmt: skip


def test_estimate_of_messages_is_not_added() -> None:
    dataset, _ = converted(b"id,estimated_price,total_price\n1,9,0.5\n", product="MESSAGES")

    assert dataset.totals == (Total(None, Decimal("0.5"), 1, 0, rows_without_time=1),)


def test_total_tells_empty_prices_from_rescued_ones() -> None:
    rows = b"1,\n2,0.060000000000000005\n3,0.01\n"

    dataset, _ = converted(b"id,total_price\n" + rows, b"id,total_price,new\n4,,x\n")

    assert dataset.totals == (Total(None, Decimal("0.01"), 4, 3, 1, rows_without_time=4),)


def test_products_without_a_price_have_no_totals() -> None:
    dataset, _ = converted(b"id,status\n1,BUSY\n", product="VOICE-FAILED")

    assert (dataset.rows, dataset.totals) == (1, ())
