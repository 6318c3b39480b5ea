"""Rows and cost by product and country, read from the files of the dataset."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vonage_dataset.tables import CURRENCY, TABLES, table_as_it_comes
from vonage_reports.domain.printable import printable

_MOST_COUNTRIES = 5
"""How many countries are shown per product and currency. The others share one line."""

_COUNTRY = ("country", "country_code")


@dataclass(frozen=True)
class Cost:
    """The exact cost of a product's records in one country.

    `country` is empty if the records name no country. `currency` is empty if Vonage names no
    currency. `price` is None if the product has no price per record.
    """

    product: str
    country: str
    currency: str
    rows: int
    price: Decimal | None


def costs_of(files: Iterable[Path]) -> list[Cost]:
    """Add up the files of a dataset. The path of each file names its product."""
    sums: dict[tuple[str, str, str], tuple[int, Decimal | None]] = {}
    for file in files:
        for cost in _costs_of_file(file):
            key = (cost.product, cost.country, cost.currency)
            rows, price = sums.get(key, (0, None))
            sums[key] = (rows + cost.rows, _sum([price, cost.price]))
    return [Cost(*key, *sums[key]) for key in sums]


def cost_table(costs: Iterable[Cost]) -> str:
    """Return a table of costs to four places, the highest first. Without costs, return ""."""
    cells = [("product", "country", "rows", "cost", "")]
    in_order = sorted(
        costs, key=lambda each: (each.product, each.currency, -(each.price or 0), -each.rows)
    )
    for _, group in groupby(in_order, key=lambda each: (each.product, each.currency)):
        cells += [_cells(cost) for cost in _shortened(list(group))]
    if len(cells) == 1:
        return ""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        f"{product:<{widths[0]}}  {country:<{widths[1]}}  {rows:>{widths[2]}}  "
        f"{price:>{widths[3]}} {currency}".rstrip()
        for product, country, rows, price, currency in cells
    )


def _costs_of_file(file: Path) -> Iterator[Cost]:
    product = next(
        part.removeprefix("product=") for part in file.parts if part.startswith("product=")
    )
    with pq.ParquetFile(file) as opened:
        names = tuple(opened.schema_arrow.names)
        prices = (TABLES.get(product) or table_as_it_comes(names)).prices
        keys = [name for name in (*_COUNTRY, CURRENCY.name) if name in names]
        for batch in opened.iter_batches(columns=[*keys, *prices]):
            of_batch = pa.Table.from_batches([batch])
            sums = [([], "count_all"), *((price, "sum") for price in prices)]
            for group in of_batch.group_by(keys).aggregate(sums).to_pylist():
                yield Cost(
                    product,
                    next((group[name] or "" for name in _COUNTRY if name in keys), ""),
                    group[CURRENCY.name] or "",
                    group["count_all"],
                    sum((group[f"{price}_sum"] or Decimal(0) for price in prices), Decimal(0))
                    if prices
                    else None,
                )


def _shortened(costs: Sequence[Cost]) -> list[Cost]:
    """Merge the countries beyond the first five into one."""
    if len(costs) <= _MOST_COUNTRIES + 1:
        return list(costs)
    shown, others = costs[:_MOST_COUNTRIES], costs[_MOST_COUNTRIES:]
    together = Cost(
        others[0].product,
        f"{len(others)} others",
        others[0].currency,
        sum(each.rows for each in others),
        _sum([each.price for each in others]),
    )
    return [*shown, together]


def _sum(prices: Sequence[Decimal | None]) -> Decimal | None:
    known = [price for price in prices if price is not None]
    return sum(known, Decimal(0)) if known else None


def _cells(cost: Cost) -> tuple[str, str, str, str, str]:
    price = "" if cost.price is None else f"{cost.price:,.4f}"
    product, country, currency = map(printable, (cost.product, cost.country, cost.currency))
    return product, country or "-", f"{cost.rows:,}", price, currency
