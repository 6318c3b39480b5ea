"""Rows and cost by product and country, from files written by the converter."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from hypothesis import given

from local.output.costs import Cost, cost_table, costs_of
from tests.support.csvs import member, written
from tests.support.unsafe_text import ANY_TEXT, unsafe_in
from vonage_dataset.cells import Collection
from vonage_dataset.parquet import convert


def file_of(folder: Path, product: str, *rows: Sequence[str], currency: str = "") -> Path:
    """Convert a CSV whose first row is its header."""
    target = folder / f"product={product}" / f"{len(list(folder.rglob('*')))}.parquet"
    target.parent.mkdir(exist_ok=True)
    collection = Collection(currency=currency or None)
    convert(
        [member(written(rows))],
        product=product,
        target=target,
        collection=collection,
        accepts_missing_columns=True,
    )
    return target


def test_prices_add_up_exactly_by_product_country_and_currency(tmp_path: Path) -> None:
    header = ["country", "total_price", "currency"]
    files = [
        file_of(tmp_path, "SMS", header, ["NA", "0.00000001", ""], ["GB", "0.1", ""]),
        file_of(tmp_path, "SMS", header, ["NA", "9999999999.99999999", ""], ["GB", "", "EUR"]),
        file_of(tmp_path, "VERIFY-API", ["country", "price", "estimated_price"],
                ["GB", "0.05", "0.3"], ["", "0.05", ""]),
        file_of(tmp_path, "VERIFY-API", ["country", "price"], ["GB", "0.01"], currency="EUR"),
        file_of(tmp_path, "VOICE-FAILED", ["country", "status"], ["GB", "failed"]),
        file_of(tmp_path, "NETWORK-API-EVENT", ["country_code", "total_price"], ["SE", "1"]),
        file_of(tmp_path, "ASR", ["total_price"], ["2"]),
        file_of(tmp_path, "SMS-TRAFFIC-CONTROL", ["id"], ["1"], ["2"]),
        file_of(tmp_path, "BRAND-NEW", ["total_price"], ["3"], ["4"]),
    ]  # fmt: skip

    assert set(costs_of(files)) == {
        Cost("SMS", "NA", "", 2, Decimal(10_000_000_000)),
        Cost("SMS", "GB", "", 1, Decimal("0.1")),
        Cost("SMS", "GB", "EUR", 1, Decimal(0)),
        Cost("VERIFY-API", "GB", "", 1, Decimal("0.35")),
        Cost("VERIFY-API", "GB", "EUR", 1, Decimal("0.01")),
        Cost("VERIFY-API", "", "", 1, Decimal("0.05")),
        Cost("VOICE-FAILED", "GB", "", 1, None),
        Cost("NETWORK-API-EVENT", "SE", "", 1, Decimal(1)),
        Cost("ASR", "", "", 1, Decimal(2)),
        Cost("SMS-TRAFFIC-CONTROL", "", "", 2, None),
        Cost("BRAND-NEW", "", "", 2, Decimal(7)),
    }


def test_unknown_product_uses_its_own_columns(tmp_path: Path) -> None:
    file = file_of(tmp_path, "BRAND-NEW", ["id", "country", "total_price"], ["1", "GB", "0.5"])

    assert costs_of([file]) == [Cost("BRAND-NEW", "GB", "", 1, Decimal("0.5"))]


def test_table_shows_expensive_countries_and_merges_the_others() -> None:
    codes = ["AU", "CA", "DE", "FR", "GB", "IE", "SE"]
    costs = [Cost("SMS", code, "EUR", 1000, Decimal(price)) for price, code in enumerate(codes)]

    assert cost_table([*costs, Cost("VOICE-FAILED", "", "", 3, None)]).splitlines() == [
        "product       country    rows    cost",
        "SMS           SE        1,000  6.0000 EUR",
        "SMS           IE        1,000  5.0000 EUR",
        "SMS           GB        1,000  4.0000 EUR",
        "SMS           FR        1,000  3.0000 EUR",
        "SMS           DE        1,000  2.0000 EUR",
        "SMS           2 others  2,000  1.0000 EUR",
        "VOICE-FAILED  -             3",
    ]


def test_no_rows_give_no_table(tmp_path: Path) -> None:
    files = [file_of(tmp_path, product, ["id"]) for product in ("SMS", "SMS-TRAFFIC-CONTROL")]

    assert cost_table(costs_of(files)) == ""


@given(ANY_TEXT)
def test_no_text_leaves_its_line_in_the_table(text: str) -> None:
    table = cost_table([Cost(text, text, text, 1, Decimal(1))])

    assert table.count("\n") == 1
    assert not unsafe_in(table)
