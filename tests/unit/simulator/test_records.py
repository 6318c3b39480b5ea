"""The simulator's synthetic records: deterministic, splittable, fictional, in the API's columns."""

import math
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from local.simulator.countries import COUNTRIES, OWN_NUMBERS
from local.simulator.products import PRODUCTS, Direction, Product
from local.simulator.records import Query, Row, Stream, Window, rows_in_hour, rows_of
from local.simulator.values import knows
from tests.support.paths import ROOT

DAY = datetime(2026, 3, 29, tzinfo=UTC)
DIGEST = ROOT.parent / "shared" / "spec" / "reports-3.1.4.digest.yml"

needs_digest = pytest.mark.skipif(not DIGEST.exists(), reason="needs the OpenAPI digest")
every_stream = pytest.mark.parametrize(
    ("product", "direction"),
    [(product, direction) for product in PRODUCTS.values() for direction in product.directions],
    ids=lambda value: getattr(value, "name", value),
)


def rows_between(
    start: datetime,
    end: datetime,
    *,
    product: str = "SMS",
    directions: tuple[str, ...] = ("outbound",),
    accounts: tuple[str, ...] = ("abcd1234",),
    rows_per_day: int = 500,
    seed: int = 1,
    filters: dict[str, str] | None = None,
    as_of: datetime | None = None,
) -> list[Row]:
    window = Window.between(start, end)
    definition = PRODUCTS[product]
    query = Query(
        hours=window.hours_newest_first(),
        window=window,
        rows_per_day=rows_per_day,
        columns=definition.columns_for(directions[0], frozenset(definition.switches)),
        filters=filters or {},
        as_of=as_of.timestamp() if as_of else math.inf,
    )
    streams = [Stream(seed, product, account, d) for account in accounts for d in directions]
    return list(rows_of(streams, query))


def records_of(
    product: Product, direction: str, *, rows_per_day: int = 500
) -> list[dict[str, str]]:
    columns = product.columns_for(direction, frozenset(product.switches))
    rows = rows_between(
        DAY,
        DAY + timedelta(days=1),
        product=product.name,
        directions=(direction,),
        rows_per_day=rows_per_day,
    )
    return [dict(zip(columns, row[4], strict=True)) for row in rows]


def test_same_request_returns_same_records() -> None:
    assert rows_between(DAY, DAY + timedelta(days=1)) == rows_between(DAY, DAY + timedelta(days=1))


def test_another_seed_returns_other_records() -> None:
    end = DAY + timedelta(hours=2)
    ids = {row[4][0] + row[4][1] for row in rows_between(DAY, end)}
    assert ids.isdisjoint(row[4][0] + row[4][1] for row in rows_between(DAY, end, seed=2))


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 2 * 86_400), max_size=4), micros=st.integers(0, 999_999))
def test_parts_of_a_window_add_up_to_the_whole(cuts: list[int], micros: int) -> None:
    end = DAY + timedelta(days=2)
    instants = [DAY + timedelta(seconds=cut, microseconds=micros) for cut in sorted(cuts)]
    boundaries = [DAY, *(instant for instant in instants if instant < end), end]
    parts = [rows_between(*pair, rows_per_day=150) for pair in pairwise(boundaries)]
    whole = rows_between(DAY, end, rows_per_day=150)
    assert [row for part in reversed(parts) for row in part] == whole


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(0, 86_400))
def test_parts_add_up_for_merged_streams(cut: int) -> None:
    middle, end = DAY + timedelta(seconds=cut), DAY + timedelta(days=1)
    directions, accounts = ("outbound", "inbound"), ("abcd1234", "sub00001")

    def rows(start: datetime, stop: datetime) -> list[Row]:
        return rows_between(
            start,
            stop,
            product="VOICE-CALL",
            directions=directions,
            accounts=accounts,
            rows_per_day=150,
        )

    assert rows(middle, end) + rows(DAY, middle) == rows(DAY, end)


def test_rows_are_newest_first_in_half_open_window() -> None:
    start, end = DAY + timedelta(minutes=59), DAY + timedelta(hours=1, seconds=1)
    # At this volume every second has a record.
    times = [row[0] for row in rows_between(start, end, rows_per_day=2_000_000)]
    assert times == sorted(times, reverse=True)
    assert (times[-1], times[0]) == (start.timestamp(), end.timestamp() - 1)


@given(rows_per_day=st.integers(0, 10_000_000), day=st.integers(0, 30_000))
def test_hours_add_up_to_rows_per_day(rows_per_day: int, day: int) -> None:
    assert sum(rows_in_hour(rows_per_day, day * 24 + h) for h in range(24)) == rows_per_day


def test_noon_is_busier_than_night() -> None:
    assert rows_in_hour(3000, 12) > 10 * rows_in_hour(3000, 3)


@pytest.mark.parametrize(
    ("name", "text"), [("status", "failed"), ("country", "NA"), ("network", "23415")]
)
def test_filter_selects_from_the_same_records(name: str, text: str) -> None:
    end = DAY + timedelta(days=4)
    column = PRODUCTS["SMS"].columns.index(name)
    everything = rows_between(DAY, end)
    selected = rows_between(DAY, end, filters={name: text})
    assert selected
    assert selected == [row for row in everything if row[4][column] == text]


@pytest.mark.parametrize(
    ("product", "changing"),
    [
        ("SMS", {"status", "error_code", "error_code_description", "date_finalized", "latency",
                 "total_price"}),
        ("MESSAGES", {"status", "error_code", "date_finalized", "latency", "total_price"}),
        ("VERIFY-API", {"status", "date_finalized", "price"}),
        ("VERIFY-V2", {"status", "total_price"}),
        ("VOICE-CALL", set()),
    ],
)  # fmt: skip
def test_only_statuses_and_prices_change_for_72_hours(product: str, changing: set[str]) -> None:
    direction = PRODUCTS[product].directions[0]
    columns = PRODUCTS[product].columns_for(direction, frozenset(PRODUCTS[product].switches))
    end = DAY + timedelta(days=1)

    def rows_at(as_of: datetime | None) -> list[Row]:
        return rows_between(DAY, end, product=product, directions=(direction,), as_of=as_of, seed=2)

    early, late = rows_at(end), rows_at(None)

    changes = {
        name
        for before, after in zip(early, late, strict=True)
        for name, a, b in zip(columns, before[4], after[4], strict=True)
        if a != b
    }
    assert changes == changing
    assert [row[:4] for row in early] == [row[:4] for row in late]
    assert rows_at(end + timedelta(hours=72)) == late


def test_filter_uses_status_at_request_time() -> None:
    end = DAY + timedelta(days=1)
    status = PRODUCTS["SMS"].columns.index("status")
    everything = rows_between(DAY, end, as_of=end)

    selected = rows_between(DAY, end, as_of=end, filters={"status": "submitted"})

    assert selected
    assert selected == [row for row in everything if row[4][status] == "submitted"]


@every_stream
def test_every_product_has_a_value_for_every_column(product: Product, direction: str) -> None:
    columns = product.columns_for(direction, frozenset(product.switches))
    assert [column for column in columns if not knows(column)] == []
    assert product.date_column in columns
    assert set(product.filters) - set(product.columns) <= {"status"}


@every_stream
def test_ids_dates_and_prices_are_well_formed(product: Product, direction: str) -> None:
    records = records_of(product, direction)
    assert len({record["id"] for record in records}) == len(records) == 500
    for record in records:
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", record["id"])
        assert record.get("currency") in {product.currency, None}
        for column, value in record.items():
            if column == product.date_column:
                instant = datetime.strptime(value, "%Y-%m-%dT%H:%M:%S%z")
                assert DAY <= instant < DAY + timedelta(days=1)
                assert value.endswith("+00:00")
            if column.endswith("price") and value:
                assert Decimal(value) >= 0


def test_prices_vary_in_scale() -> None:
    prices = [record["total_price"] for record in records_of(PRODUCTS["MESSAGES"], "outbound")]
    assert len({len(price.partition(".")[2]) for price in prices}) > 2


@every_stream
def test_every_phone_number_is_fictional(product: Product, direction: str) -> None:
    ranges = [country.numbers for country in COUNTRIES] + [OWN_NUMBERS]
    for record in records_of(product, direction):
        for column in ("from", "to", "number", "msisdn"):
            value = record.get(column, "")
            if value.isdigit():
                assert any(r.first <= int(value) <= r.last for r in ranges), (column, value)


def test_country_network_and_number_match() -> None:
    by_code = {country.code: country for country in COUNTRIES}
    records = records_of(PRODUCTS["SMS"], "outbound", rows_per_day=3000)
    assert {record["country"] for record in records} == set(by_code)
    for record in records:
        country = by_code[record["country"]]
        assert record["country_name"] == country.name
        assert (record["network"], record["network_name"]) in {
            (network.code, network.name) for network in country.networks
        }
        assert country.numbers.first <= int(record["to"]) <= country.numbers.last


def test_bodies_contain_characters_hard_for_csv_parsers() -> None:
    text = "".join(record["message_body"] for record in records_of(PRODUCTS["SMS"], "outbound"))
    assert all(part in text for part in ('"', ",", "\n", "\r\n", "🎉"))


@needs_digest
def test_products_columns_and_filters_match_specification() -> None:
    digest = yaml.safe_load(DIGEST.read_text())
    assert set(PRODUCTS) == set(digest["products"])
    parameters = digest["async_request"]["per_product"]
    empty_currency = digest["formats"]["currency_always_empty"]
    for name, product in PRODUCTS.items():
        for direction in product.directions:
            key = f"{name} {direction}" if f"{name} {direction}" in digest["records"] else name
            columns = [column.split(" ")[0] for column in digest["records"][key]]
            assert list(product.columns_for(direction, frozenset(product.switches))) == columns
            assert (product.currency == "") == (key in empty_currency)
        expected = dict(parameters[name])
        direction_rule = expected.pop("direction", None)
        rule = {None: Direction.REFUSED, "optional": Direction.OPTIONAL}
        assert product.direction is rule.get(direction_rule, Direction.REQUIRED)
        booleans = {key for key, value in expected.items() if value == "bool"}
        assert set(product.switches) == booleans
        assert set(product.filters) == set(expected) - booleans
        for key, allowed in product.filters.items():
            assert list(allowed) == (expected[key] if isinstance(expected[key], list) else [])


def test_country_shares_add_up_and_codes_are_unique() -> None:
    assert sum(country.share for country in COUNTRIES) == 256
    assert max(Counter(country.code for country in COUNTRIES).values()) == 1
