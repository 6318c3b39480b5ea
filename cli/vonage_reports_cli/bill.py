"""A bill: what the records of a period cost, in lines, with a mark-up and rounded."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

import duckdb
import pyarrow as pa

from vonage_dataset.tables import TABLES
from vonage_reports.domain.catalogue import table_name
from vonage_reports.domain.products import OWN_REPORTS
from vonage_reports_cli.deliveries import parts_of, touches, window_of
from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.money import EXACT, rounded, total
from vonage_reports_cli.objects import by_product
from vonage_reports_cli.period import Period

Key = TypeVar("Key", bound=Hashable)

KEYS = {
    "account": "account_id",
    "client_ref": "client_ref",
    "product": "product",
    "country": "country",
    "day": "CAST(occurred_at AS date)",
}
"""The keys by which a bill groups its lines, with their SQL."""

UNPRICED = tuple(name for name, table in TABLES.items() if table.price is None)
"""The products whose records have no price: they are free, or billed as another product."""


@dataclass(frozen=True)
class Group:
    """The records of one combination of keys, of one product and of one currency.

    `cost` is exact, and lacks the records in `without_price`. `without_time` were counted at the
    start of their window. The price of `preliminary` ones may still change.
    """

    key: tuple[object, ...]
    product: str
    currency: str | None
    records: int
    seconds: int | None
    cost: Decimal
    with_price: int
    without_price: int
    with_rescued_price: int
    without_time: int
    preliminary: int


@dataclass(frozen=True)
class Line:
    """A group with its amount: the cost with the mark-up, `exact` and rounded."""

    group: Group
    exact: Decimal
    amount: Decimal


@dataclass(frozen=True)
class Total:
    """The lines of one currency. `difference` is the sum of the rounded lines less `exact`."""

    currency: str | None
    records: int
    amount: Decimal
    exact: Decimal

    @property
    def difference(self) -> Decimal:
        """The sum that the rounding of the lines adds."""
        return EXACT.subtract(self.amount, self.exact)


def keys_of(text: str) -> list[str]:
    """Read the keys of `--by`. Raises BadInput."""
    keys = [each.strip() for each in text.split(",")]
    for key in keys:
        if key not in KEYS:
            raise BadInput(f"--by has {key!r}; use {', '.join(KEYS)}, separated by commas")
    return list(dict.fromkeys(keys))


def read_groups(
    connection: duckdb.DuckDBPyConnection,
    period: Period,
    by: Sequence[str],
    *,
    currency: str | None,
) -> list[Group]:
    """Read the records of a period in one scan, sorted by their keys, products and currencies.

    `currency` is that of the records without one.
    """
    columns = ", ".join(KEYS[key] for key in by)
    places = ", ".join(str(place) for place in range(1, len(by) + 3))
    sql = (
        # The only inserted texts are columns, which are constants.
        f"SELECT {columns}, product, coalesce(currency, ?), count(*), sum(duration), "  # noqa: S608
        "coalesce(sum(cost), 0), count(cost), "
        "count(*) FILTER (WHERE cost_is_incomplete), count(*) FILTER (WHERE price_is_rescued), "
        "count(*) FILTER (WHERE time_is_assumed), count(*) FILTER (WHERE revision = 'preliminary') "
        "FROM usage WHERE occurred_at >= ? AND occurred_at < ? "
        f"GROUP BY {places} ORDER BY {places}"
    )
    found = connection.execute(sql, [currency, period.since, period.until]).fetchall()
    keys = len(by)
    return [Group(row[:keys], *row[keys:]) for row in found]


def read_outside(
    connection: duckdb.DuckDBPyConnection, period: Period, datasets: Iterable[str]
) -> list[str]:
    """Count the records of the period's windows that are dated elsewhere, by product.

    Such a time is neither in the record's window nor in the period, so the record is in no line.
    Each product is a sentence. `datasets` has the keys of the files.
    """
    sentences = []
    for product, keys in sorted(by_product(list(datasets)).items()):
        table = TABLES.get(product)
        if table is None or product in (OWN_REPORTS, *UNPRICED):
            continue
        connection.register("spans", _spans(keys, period))
        time = f"coalesce({', '.join(table.times)})"
        # A record without an id is no copy of another. Several definitions may collect the others.
        is_counted = "id IS NULL" if "id" in {each.name for each in table.all_columns} else "true"
        distinct = "count(DISTINCT id)" if is_counted != "true" else "0"
        [(count,)] = connection.execute(
            # The only inserted texts are names of our own tables and columns.
            f"SELECT {distinct} + count(*) FILTER (WHERE {is_counted}) "  # noqa: S608
            f"FROM {table_name(product)} "
            'JOIN spans USING (definition, account, "date") '
            f'WHERE ({time} < spans."start" OR {time} >= spans."end") '
            f"AND ({time} < ? OR {time} >= ?)",
            [period.since, period.until],
        ).fetchall()
        if count:
            sentences.append(
                f"{product}: a time outside both window and period in {count:,} of these windows' "
                "records, so that no line has them."
            )
    return sentences


def _spans(keys: Iterable[str], period: Period) -> pa.Table:
    """Return the time of the windows of each definition, account and date."""
    spans: dict[tuple[str, str, str], tuple[datetime, datetime]] = {}
    for key in keys:
        window = window_of(key)
        if window is not None and touches(window, period):
            parts = parts_of(key)
            of = (parts.get("definition", ""), parts.get("account", ""), parts.get("date", ""))
            start, end = spans.get(of, (window.start, window.end))
            spans[of] = (min(start, window.start), max(end, window.end))
    rows = [
        (*of, *(each.replace(tzinfo=None) for each in between)) for of, between in spans.items()
    ]
    types = (pa.string(), pa.string(), pa.string(), pa.timestamp("us"), pa.timestamp("us"))
    names = ("definition", "account", "date", "start", "end")
    schema = pa.schema(list(zip(names, types, strict=True)))
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema)


def joined(groups: Iterable[Group], key: Callable[[Group], Key]) -> list[Group]:
    """Join the groups that have the same `key`, in the order of the first of each."""
    found: dict[Key, Group] = {}
    for group in groups:
        had = found.get(key(group))
        found[key(group)] = group if had is None else _sum(had, group)
    return list(found.values())


def _sum(one: Group, other: Group) -> Group:
    counts = {
        name: getattr(one, name) + getattr(other, name)
        for name in (
            *("records", "with_price", "without_price", "with_rescued_price"),
            *("without_time", "preliminary"),
        )
    }
    seconds = [each.seconds for each in (one, other) if each.seconds is not None]
    return replace(
        one,
        **counts,
        cost=EXACT.add(one.cost, other.cost),
        seconds=sum(seconds) if seconds else None,
    )


def require_currency(groups: Sequence[Group]) -> None:
    """Raise BadInput for priced records without a currency, which no total could have."""
    without = [each for each in groups if each.currency is None and each.with_price]
    if without:
        products = ", ".join(dict.fromkeys(each.product for each in without))
        raise BadInput(
            f"{sum(each.with_price for each in without):,} of the priced records have no currency "
            f"({products}); add --currency EUR, or the currency of your account at Vonage"
        )


def lines_of(groups: Iterable[Group], *, mark_up: Decimal, rounding: int | None) -> Iterator[Line]:
    """Yield a line for each group."""
    factor = 1 + mark_up
    for group in groups:
        exact = EXACT.multiply(group.cost, factor)
        yield Line(group, exact, rounded(exact, group.currency, rounding))


def totals_of(lines: Sequence[Line]) -> list[Total]:
    """Add up the lines of each currency."""
    by_currency: dict[str | None, list[Line]] = defaultdict(list)
    for line in lines:
        by_currency[line.group.currency].append(line)
    return [
        Total(
            currency,
            sum(each.group.records for each in found),
            total(each.amount for each in found),
            total(each.exact for each in found),
        )
        for currency, found in sorted(by_currency.items(), key=lambda each: each[0] or "")
    ]


def cautions_of(groups: Iterable[Group]) -> list[str]:
    """Name the records that a bill has in part only, by product. Each is a sentence."""
    sentences = []
    for group in joined(groups, lambda each: each.product):
        product = group.product
        of_all = f"of {group.records:,} records"
        if group.without_price:
            rescued = (
                f" ({group.with_rescued_price:,} with a price that does not fit its type)"
                if group.with_rescued_price
                else ""
            )
            sentences.append(
                f"{product}: no price, or only a part of it, in {group.without_price:,} {of_all}"
                f"{rescued}."
            )
        if group.without_time:
            sentences.append(
                f"{product}: no readable time in {group.without_time:,} {of_all}, which count at "
                "the start of their window."
            )
        if group.preliminary:
            sentences.append(
                f"{product}: preliminary prices, which may still change, in "
                f"{group.preliminary:,} {of_all}."
            )
    return sentences


def unpriced_of(groups: Iterable[Group]) -> list[str]:
    """Name the products without prices, which are in no line. Each is a sentence."""
    return [
        f"{group.product}: no price in {group.records:,} of its records, which Vonage bills as "
        "another product, or not at all."
        for group in joined(groups, lambda each: each.product)
        if group.product in UNPRICED
    ]
