"""A bill: what the records of a period cost, in lines, with a mark-up and rounded."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import duckdb

from vonage_dataset.tables import TABLES
from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.money import EXACT, rounded, total
from vonage_reports_cli.period import Period

KEYS = {
    "account": "account_id",
    "client_ref": "client_ref",
    "product": "product",
    "country": "country",
    "day": "CAST(occurred_at AS date)",
}
"""What the lines of a bill may be grouped by, and its SQL."""

OWN_REPORTS = "REPORTS-USAGE"
"""The product of the operator's own reports, for which no customer pays."""

UNPRICED = tuple(name for name, table in TABLES.items() if table.price is None)
"""The products whose records have no price: they are free, or billed as another product."""


@dataclass(frozen=True)
class Group:
    """The records of one combination of keys and of one currency.

    `cost` is exact, and lacks the records in `without_price`. `without_time` were counted at the
    start of their window. The price of `preliminary` ones may still change.
    """

    key: tuple[object, ...]
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
        """What the rounding of the lines adds."""
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
    without: Sequence[str],
) -> list[Group]:
    """Read the records of a period, sorted by their keys. `currency` is that of those without one.

    Leave out the products in `without`.
    """
    columns = ", ".join(KEYS[key] for key in by)
    groups = ", ".join(str(place) for place in range(1, len(by) + 2))
    products = ", ".join("?" for _ in without)
    sql = (
        f"SELECT {columns}, coalesce(currency, ?) AS currency, count(*), sum(duration), "  # noqa: S608 - the columns are constants
        "coalesce(sum(cost), 0), count(cost), "
        "count(*) FILTER (WHERE cost_is_incomplete), count(*) FILTER (WHERE price_is_rescued), "
        "count(*) FILTER (WHERE time_is_assumed), count(*) FILTER (WHERE revision = 'preliminary') "
        f"FROM usage WHERE occurred_at >= ? AND occurred_at < ? AND product NOT IN ({products}) "
        f"GROUP BY {groups} ORDER BY {groups}"
    )
    found = connection.execute(sql, [currency, period.since, period.until, *without]).fetchall()
    keys = len(by)
    return [
        Group(row[:keys], row[keys], row[keys + 1], _whole(row[keys + 2]), *row[keys + 3 :])
        for row in found
    ]


def _whole(seconds: object) -> int | None:
    return None if seconds is None else int(str(seconds))


def require_currency(groups: Sequence[Group]) -> None:
    """Raise BadInput for priced records without a currency, which no total could have.

    The first key of a group is its product.
    """
    without = [each for each in groups if each.currency is None and each.with_price]
    if without:
        products = ", ".join(dict.fromkeys(str(each.key[0]) for each in without))
        raise BadInput(
            f"{sum(each.with_price for each in without):,} of the priced records have no currency "
            f"({products}); add --currency EUR, or the currency of your account at Vonage"
        )


def lines_of(groups: Sequence[Group], *, mark_up: Decimal, rounding: int | None) -> Iterator[Line]:
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


def cautions_of(by_product: Sequence[Group]) -> list[str]:
    """Name the records that a bill has in part only, by product. The key of a group is a product.

    Each is a sentence.
    """
    sentences = []
    for group in by_product:
        (product,) = group.key
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


def count_unpriced(connection: duckdb.DuckDBPyConnection, period: Period) -> list[tuple[str, int]]:
    """Count the records of the products without prices."""
    products = ", ".join("?" for _ in UNPRICED)
    found = connection.execute(
        "SELECT product, count(*) FROM usage WHERE occurred_at >= ? AND occurred_at < ? "  # noqa: S608 - only placeholders are added
        f"AND product IN ({products}) GROUP BY 1 ORDER BY 1",
        [period.since, period.until, *UNPRICED],
    )
    return [(str(product), int(records)) for product, records in found.fetchall()]
