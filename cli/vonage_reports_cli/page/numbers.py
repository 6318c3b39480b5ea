"""The numbers of the page: the period, the totals, and the charts."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any

import pycountry

from vonage_reports_cli.page.chart import Chart, Kind, Series, Value
from vonage_reports_cli.page.words import aligned, exact, records_in_words
from vonage_reports_cli.period import Period

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MOST_COUNTRIES = 15
_MOST_STATUSES = 6
"""How many statuses are shown per product."""

_MOST_PRODUCTS = 8
_MOST_CURRENCIES = 4
_MOST_COLUMNS = 62
"""A longer period has one column per month, or per year."""

_NAME_LENGTHS = {"day": 10, "month": 7, "year": 4}
"""How much of an ISO date names a column."""

_OTHERS = "other products"
_NO_CURRENCY = "account's currency"
_NO_COUNTRY = "none given"
_BUCKETS_MS = (500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000)
"""The limits between the classes of latency."""

_BUCKETS = ("below 0.5 s", "0.5 to 1 s", "1 to 2 s", "2 to 5 s", "5 to 10 s", "10 to 30 s",
            "30 to 60 s", "60 s or more")  # fmt: skip

_GOOD = frozenset(
    {"delivered", "read", "completed", "success", "answered", "ok", "200", "released"}
)
_BAD = frozenset({
    "failed", "rejected", "undeliverable", "expired", "error", "busy", "timeout", "deleted",
    "cancelled",
})  # fmt: skip
_SHADES = (("good", 5), ("other", 4), ("bad", 6))
"""Colours of the style sheet for success, for other statuses, and for failure."""

_CURRENCY = f"coalesce(currency, '{_NO_CURRENCY.replace(chr(39), chr(39) * 2)}')"


@dataclass(frozen=True)
class Total:
    """The records and the exact cost of a product, or of all products, in one currency.

    Without a price, `cost` is None and `currency` empty.
    """

    product: str
    currency: str
    records: int
    cost: Decimal | None


@dataclass(frozen=True)
class Numbers:
    """The numbers of the page. `first` and `last` are None without a record."""

    records: int
    preliminary: int
    first: date | None
    last: date | None
    totals: Sequence[Total]
    charts: Sequence[Chart]


def numbers_of(connection: "DuckDBPyConnection", month: Period | None) -> Numbers:
    """Read the numbers of a dataset, or of one of its months, from the view `usage`."""
    # Only the columns of the charts, so that the page holds no phone number.
    # The condition has no text but two dates.
    connection.execute(
        "CREATE TABLE records AS "  # noqa: S608
        "SELECT product, occurred_at, country, status, cost, currency, latency, revision "
        f"FROM usage WHERE {_within(month)}"
    )
    [(first, last, records, preliminary)] = _rows(
        connection,
        "SELECT CAST(min(occurred_at) AS date), CAST(max(occurred_at) AS date), count(*), "
        "count(*) FILTER (WHERE revision = 'preliminary') FROM records",
    )
    charts = (
        *_by_time(connection),
        *_by_country(connection),
        *_statuses(connection),
        *_latencies(connection),
    )
    return Numbers(records, preliminary, first, last, list(_totals(connection)), charts)


def _within(month: Period | None) -> str:
    if month is None:
        return "true"
    return f"occurred_at >= DATE '{month.since}' AND occurred_at < DATE '{month.until}'"


def _totals(connection: "DuckDBPyConnection") -> Iterator[Total]:
    rows = _rows(
        connection,
        # The only inserted text is a constant.
        f"SELECT product, CASE WHEN count(cost) > 0 THEN {_CURRENCY} ELSE '' END, count(*), "  # noqa: S608
        "sum(cost) FROM records GROUP BY product, currency ORDER BY 4 DESC NULLS LAST, 1",
    )
    of_products = [Total(*row) for row in rows]
    yield from of_products
    for currency in dict.fromkeys(each.currency for each in of_products if each.currency):
        same = [each for each in of_products if each.currency == currency]
        if len(same) > 1:
            costs = (each.cost or Decimal(0) for each in same)
            yield Total(
                "all products", currency, sum(each.records for each in same), sum(costs, Decimal(0))
            )


def _by_time(connection: "DuckDBPyConnection") -> Iterator[Chart]:
    for currency, costs in _costs(connection, "CAST(occurred_at AS date)"):
        known = [day for _, day in costs]
        unit, labels = _time_axis(min(known), max(known))
        named: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        for (product, day), cost in costs.items():
            named[product, day.isoformat()[: _NAME_LENGTHS[unit]]] += cost
        yield _cost_chart(connection, Kind.COLUMNS, unit, currency, costs=named, labels=labels)


def _time_axis(first: date, last: date) -> tuple[str, dict[str, str]]:
    """Return the unit of a period's columns, and their labels by name, without a gap."""
    days = (last - first).days + 1
    months = range(12 * first.year + first.month - 1, 12 * last.year + last.month)
    if days <= _MOST_COLUMNS:
        dates = [first + timedelta(number) for number in range(days)]
        return "day", {each.isoformat(): f"{each.day} {each:%b}" for each in dates}
    if len(months) <= _MOST_COLUMNS:
        dates = [date(each // 12, each % 12 + 1, 1) for each in months]
        return "month", {each.isoformat()[:7]: f"{each:%b %Y}" for each in dates}
    # Only a garbled time leads here, because Vonage keeps records for some months.
    return "year", {f"{year:04}": f"{year:04}" for year in range(first.year, last.year + 1)}


def _by_country(connection: "DuckDBPyConnection") -> Iterator[Chart]:
    for currency, costs in _costs(
        connection,
        f"coalesce(country, '{_NO_COUNTRY}')",
        # Products without countries would form one long bar.
        where="product IN (SELECT product FROM records WHERE country IS NOT NULL)",
    ):
        sums: dict[str, Decimal] = defaultdict(Decimal)
        for (_, country), cost in costs.items():
            sums[country] += cost
        costly = (country for country, cost in sums.items() if cost)
        ranked = sorted(costly, key=lambda country: (-sums[country], country))
        shown, others = ranked[:_MOST_COUNTRIES], ranked[_MOST_COUNTRIES:]
        rest = f"{len(others)} others"
        merged: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        for (product, country), cost in costs.items():
            if sums[country]:
                merged[product, _country(country) if country in shown else rest] += cost
        names = [*map(_country, shown), *([rest] if others else [])]
        if names:
            labels = dict(zip(names, names, strict=True))
            yield _cost_chart(
                connection, Kind.BARS, "country", currency, costs=merged, labels=labels
            )


def _cost_chart(
    connection: "DuckDBPyConnection",
    kind: Kind,
    heading: str,
    currency: str,
    *,
    costs: Mapping[tuple[str, str], Decimal],
    labels: Mapping[str, str],
) -> Chart:
    sums = {
        category: sum((cost for (_, of), cost in costs.items() if of == category), Decimal(0))
        for category in labels
    }
    highest = max(sums, key=lambda category: sums[category])
    texts = dict(zip(costs, aligned(costs.values()), strict=True))
    series = [
        Series(
            product,
            colour,
            {
                category: Value(cost, texts[of, category])
                for (of, category), cost in costs.items()
                if of == product
            },
        )
        for product, colour in _coloured(connection)
    ]
    return Chart(
        kind,
        f"Cost by {heading}, {currency}",
        heading,
        currency,
        f"One bar for each {heading}, cut by product. The highest is {highest} with "
        f"{exact(sums[highest])} {currency}.",
        list(labels),
        [each for each in series if each.values],
        labels,
        dict(zip(sums, aligned(sums.values()), strict=True)),
    )


def _statuses(connection: "DuckDBPyConnection") -> Iterator[Chart]:
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for product, status, number in _rows(
        connection,
        "SELECT product, status, count(*) FROM records WHERE status IS NOT NULL "
        "GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2",
    ):
        of_product = counts[product]
        name = status if len(of_product) < _MOST_STATUSES else "other"
        of_product[name] = of_product.get(name, 0) + number
    statuses = sorted(
        {status for each in counts.values() for status in each},
        key=lambda status: (
            _class_of(status),
            -sum(each.get(status, 0) for each in counts.values()),
            status,
        ),
    )
    numbers = (count(), count(), count())
    colours = {}
    for status in statuses:
        shade, shades = _SHADES[_class_of(status)]
        colours[status] = f"{shade}{next(numbers[_class_of(status)]) % shades}"
    yield from _share_charts("Delivery status", "status", colours, counts)


def _latencies(connection: "DuckDBPyConnection") -> Iterator[Chart]:
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    bucket = " + ".join(f"CAST(latency >= {limit} AS integer)" for limit in _BUCKETS_MS)
    for product, number, records in _rows(
        connection,
        # The only inserted texts are the numbers of a constant.
        f"SELECT product, {bucket}, count(*) FROM records WHERE latency >= 0 "  # noqa: S608
        "GROUP BY 1, 2 ORDER BY 1, 2",
    ):
        counts[product][_BUCKETS[number]] = records
    colours = {name: f"step{number}" for number, name in enumerate(_BUCKETS)}
    yield from _share_charts("Latency", "latency", colours, counts)


def _share_charts(
    title: str,
    heading: str,
    colours: Mapping[str, str],
    counts: Mapping[str, Mapping[str, int]],
) -> Iterator[Chart]:
    """Yield the chart of the shares of each product, or of the only product."""
    if not counts:
        return
    shares = {
        product: {name: _share(number, sum(of.values())) for name, number in of.items()}
        for product, of in sorted(counts.items())
    }
    used = [name for name in colours if any(name in of for of in shares.values())]
    if len(shares) == 1:
        # One bar would have nothing beside it, so each class gets its own.
        [(product, of)] = shares.items()
        yield Chart(
            Kind.BARS,
            f"{title} of {product}, share of records",
            heading,
            "% of the records",
            f"One bar for each {heading}.",
            used,
            [Series(product, "c0", of)],
            {name: name for name in used},
            {name: of[name].text for name in used},
        )
        return
    yield Chart(
        Kind.SHARES,
        f"{title}, share of records",
        "product",
        "% of the product's records",
        f"One bar for each product, cut by {heading}.",
        list(shares),
        [
            Series(name, colours[name], {p: of[name] for p, of in shares.items() if name in of})
            for name in used
        ],
        {product: product for product in shares},
        {product: records_in_words(sum(of.values())) for product, of in counts.items()},
    )


def _share(number: int, total: int) -> Value:
    share = (Decimal(100 * number) / total).quantize(Decimal("0.01"))
    return Value(share, f"{share} % ({number:,})")


def _costs(
    connection: "DuckDBPyConnection", key: str, *, where: str = "true"
) -> Iterable[tuple[str, dict[tuple[str, Any], Decimal]]]:
    """Return the costs by product and `key` for each currency. Merge the cheapest products."""
    by_currency: dict[str, dict[tuple[str, Any], Decimal]] = defaultdict(dict)
    names = dict(_coloured(connection))
    for currency, product, value, cost in _rows(
        connection,
        # `key` and `where` are literals of this module, and the others are constants.
        f"SELECT {_CURRENCY}, product, {key}, sum(cost) FROM records "  # noqa: S608
        f"WHERE cost IS NOT NULL AND occurred_at IS NOT NULL AND {where} AND {_CURRENCY} IN "
        f"(SELECT {_CURRENCY} FROM records WHERE cost IS NOT NULL GROUP BY 1 "
        f"ORDER BY count(*) DESC, 1 LIMIT {_MOST_CURRENCIES}) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    ):
        costs = by_currency[currency]
        name = product if product in names else _OTHERS
        costs[name, value] = costs.get((name, value), Decimal(0)) + cost
    return by_currency.items()


def _coloured(connection: "DuckDBPyConnection") -> list[tuple[str, str]]:
    """Return the most expensive products with their colours, which all charts share."""
    ranked = _rows(
        connection, "SELECT product FROM records GROUP BY 1 ORDER BY sum(cost) DESC NULLS LAST, 1"
    )
    names = [product for (product,) in ranked]
    shown = names if len(names) <= _MOST_PRODUCTS else names[: _MOST_PRODUCTS - 1]
    return [*((name, f"c{number}") for number, name in enumerate(shown)), (_OTHERS, "other0")]


def _country(code: str) -> str:
    found = pycountry.countries.get(alpha_2=code)
    if found is None:
        return code
    return f"{code} {getattr(found, 'common_name', found.name)}"


def _class_of(status: str) -> int:
    """Return 0 for success, 2 for failure, and 1 for any other status."""
    word = status.lower()
    return 0 if word in _GOOD else 2 if word in _BAD else 1


def _rows(connection: "DuckDBPyConnection", sql: str) -> list[tuple[Any, ...]]:
    return connection.execute(sql).fetchall()
