"""Streams CSV files into one Parquet file, and computes its totals and checksum on the way."""

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vonage_dataset.cells import EXACT, Collection, Layout, arrow_schema
from vonage_dataset.csv_rows import BLOCK_BYTES, UnreadableRows, read_rows
from vonage_dataset.tables import (
    CURRENCY,
    RESCUED,
    TABLES,
    Column,
    Table,
    Type,
    column_name,
    table_as_it_comes,
)
from vonage_dataset.zip_members import CsvMember
from vonage_reports.domain.errors import RowsUnreadable

ROW_GROUP_ROWS = 131_072
ROW_GROUP_BYTES = 64 * 2**20
"""The size limit of a row group in memory. Long messages reach it before ROW_GROUP_ROWS."""

# Few records share such a value, so a dictionary would cost time and save no space. Vonage sorts
# the records by time, and sorted times need less space without a dictionary.
_NEARLY_UNIQUE = {
    "id", "message_id", "call_id", "request_id", "leg_id", "trace_id", "client_ref", "date_received"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Total:
    """The exact total price of the rows of one currency.

    Attributes:
        currency: None if no currency is given by the row, the definition or ACCOUNT_CURRENCY.
        total_price: The sum of the prices.
        rows: How many rows have this currency.
        rows_without_price: The rows whose price is empty or was rescued.
        rows_with_rescued_price: Those of them that have a price, which did not fit its type.
        rows_without_time: The rows without a time, because each is empty or was rescued.
        parts: The sum of each price column, if several columns make up the price.
    """

    currency: str | None
    total_price: Decimal
    rows: int
    rows_without_price: int
    rows_with_rescued_price: int = 0
    rows_without_time: int = 0
    parts: Mapping[str, Decimal] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the form in the manifest, with prices as decimals without trailing zeros."""
        return {
            "currency": self.currency,
            "total_price": _decimal(self.total_price),
            "rows": self.rows,
            "rows_without_price": self.rows_without_price,
            "rows_with_rescued_price": self.rows_with_rescued_price,
            "rows_without_time": self.rows_without_time,
            **(
                {"parts": {name: _decimal(price) for name, price in self.parts.items()}}
                if self.parts
                else {}
            ),
        }


def _decimal(price: Decimal) -> str:
    return f"{price.normalize(EXACT):f}"


@dataclass(frozen=True)
class Dataset:
    """A written Parquet file.

    Attributes:
        rows: How many rows the parser counted.
        columns: The columns in order, our own last.
        headers: The distinct headers of the CSV files, in the order of the files.
        rescued: How many cells of each name are in `_rescued`.
        totals: One per currency, sorted by currency; empty for products without a price.
        bytes: The size of the file.
        sha256: The checksum of the file, hexadecimal.
        rows_without_columns: The rows of files whose header lacks a column that the rows need.
    """

    rows: int
    columns: tuple[Column, ...]
    headers: tuple[tuple[str, ...], ...]
    rescued: Mapping[str, int]
    totals: tuple[Total, ...]
    bytes: int
    sha256: str
    rows_without_columns: int = 0

    @property
    def rescued_cells(self) -> int:
        """How many cells are in `_rescued`, because they have no column or do not fit its type."""
        return sum(self.rescued.values())


def convert(
    members: Iterable[CsvMember],
    *,
    product: str,
    target: Path,
    collection: Collection | None = None,
    accepts_missing_columns: bool = False,
    unreadable: UnreadableRows | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Dataset:
    """Write the rows of all members, in order, to the Parquet file `target`.

    Vonage's cells stay unchanged. The facts in `collection` have their own columns. Memory does not
    grow with the number of rows. A file without rows still has all columns.

    `accepts_missing_columns`: whether a header may lack the price, the time or every column of a
    product in TABLES. `unreadable` takes the text that cannot be read as rows, if it is accepted.

    Raises:
        RowsUnreadable: a row cannot be read, or the header of a member with rows cannot be right;
            discard `target`.
        ArchiveCorrupt: a member changed since it was stored.
    """
    rows = rows_without_columns = 0
    headers: list[tuple[str, ...]] = []
    rescued: Counter[str] = Counter()
    totals = _Totals()
    with (
        target.open("wb") as file,
        _HashedFile(file) as hashed,
        _DatasetWriter(hashed, product, totals) as writer,
    ):
        for member in members:
            with _intact(member):
                read = read_rows(member, block_bytes=block_bytes, unreadable=unreadable)
                if read.header and read.header not in headers:
                    headers.append(read.header)
                table = writer.table_for(read.header)
                layout = Layout.of(read, table, collection or Collection(), member)
                missing = layout.missing if product in TABLES else None
                refusal = layout.ambiguous or (None if accepts_missing_columns else missing)
                for batch in read.batches:
                    if refusal is not None and batch.num_rows:
                        raise refusal
                    fitted, without_column = layout.fit(batch)
                    rescued.update(without_column)
                    rows += batch.num_rows
                    rows_without_columns += 0 if missing is None else batch.num_rows
                    writer.write(fitted)
    return Dataset(
        rows=rows,
        columns=writer.table_for(()).all_columns,
        headers=tuple(headers),
        rescued=dict(rescued),
        totals=totals.sums(),
        bytes=hashed.bytes,
        sha256=hashed.sha256.hexdigest(),
        rows_without_columns=rows_without_columns,
    )


@contextmanager
def _intact(member: CsvMember) -> Iterator[None]:
    """Read an unreadable member to its end: if the member changed, that is the error."""
    try:
        yield
    except RowsUnreadable:
        with member.open() as content:
            while content.read(BLOCK_BYTES):
                pass
        raise


class _Totals:
    """Adds up the prices by currency."""

    def __init__(self) -> None:
        self._by_currency: dict[str | None, Total] = {}

    def add(self, rows: pa.Table, table: Table) -> None:
        if table.price is None:
            return
        rescued = without = _has_rescued(rows[RESCUED.name], table.prices)
        for name in table.prices:
            # An empty part is an unknown one. Vonage writes 0 where a pricing model has no part.
            without = pc.or_(without, rows[name].is_null())
        timeless = pa.repeat(value=True, size=rows.num_rows)
        for name in table.times:
            timeless = pc.and_(timeless, rows[name].is_null())
        counted = (
            rows.select([CURRENCY.name, *table.prices])
            .append_column("rescued", rescued)
            .append_column("without", without)
            .append_column("timeless", timeless)
        )
        sums = counted.group_by(CURRENCY.name, use_threads=False).aggregate(
            [
                *((name, "sum") for name in (*table.prices, "rescued", "without", "timeless")),
                ([], "count_all"),
            ]
        )
        for group in sums.to_pylist():
            parts = {name: group[f"{name}_sum"] or Decimal(0) for name in table.prices}
            self._add(
                Total(
                    group[CURRENCY.name],
                    _sum(parts.values()),
                    group["count_all"],
                    group["without_sum"],
                    group["rescued_sum"],
                    group["timeless_sum"],
                    parts if table.added_prices else {},
                )
            )

    def _add(self, more: Total) -> None:
        had = self._by_currency.get(more.currency, Total(more.currency, Decimal(0), 0, 0))
        self._by_currency[more.currency] = Total(
            more.currency,
            _sum([had.total_price, more.total_price]),
            had.rows + more.rows,
            had.rows_without_price + more.rows_without_price,
            had.rows_with_rescued_price + more.rows_with_rescued_price,
            had.rows_without_time + more.rows_without_time,
            {
                name: _sum([had.parts.get(name, Decimal(0)), price])
                for name, price in more.parts.items()
            },
        )

    def sums(self) -> tuple[Total, ...]:
        return tuple(sorted(self._by_currency.values(), key=lambda total: total.currency or ""))


def _has_rescued(rescued: pa.ChunkedArray, names: Iterable[str]) -> pa.ChunkedArray | pa.Array:
    """Return for each row whether one of these cells is in `_rescued`."""
    found = pa.repeat(value=False, size=len(rescued))
    if rescued.null_count < len(rescued):
        for name in names:
            found = pc.or_(found, pc.map_lookup(rescued, name, "first").is_valid())
    return found


def _sum(prices: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for price in prices:
        total = EXACT.add(total, price)
    return total


class _DatasetWriter:
    """Collects batches into row groups and writes them."""

    def __init__(self, file: "_HashedFile", product: str, totals: _Totals) -> None:
        self._file = file
        self._totals = totals
        self._table = TABLES.get(product)
        self._writer: pq.ParquetWriter | None = None
        self._batches: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._write_row_group()
            self._opened().close()
        elif self._writer is not None:
            with suppress(Exception):
                self._writer.close()

    def table_for(self, header: tuple[str, ...]) -> Table:
        """Return the product's table. The first header gives the columns of an unknown product."""
        if self._table is not None:
            return self._table
        names = dict.fromkeys(map(column_name, header))
        table = table_as_it_comes(tuple(filter(None, names)))
        if header:
            self._table = table
        return table

    def write(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.get_total_buffer_size()
        if self._rows >= ROW_GROUP_ROWS or self._bytes >= ROW_GROUP_BYTES:
            self._write_row_group()

    def _write_row_group(self) -> None:
        if not self._rows:
            return
        rows = pa.Table.from_batches(self._batches)
        self._totals.add(rows, self.table_for(()))
        self._opened().write_table(rows, row_group_size=self._rows)
        self._batches, self._rows, self._bytes = [], 0, 0

    def _opened(self) -> pq.ParquetWriter:
        if self._writer is None:
            table = self.table_for(())
            self._writer = pq.ParquetWriter(
                self._file,
                arrow_schema(table),
                compression="zstd",
                # Decimals are stored fastest as INT64. Readers still see decimals.
                store_decimal_as_integer=True,
                use_dictionary=[
                    column.name
                    for column in table.all_columns
                    if column.name not in _NEARLY_UNIQUE and column is not RESCUED
                ],
                # The smallest and the largest text of many rows exclude no row group from a query.
                write_statistics=[
                    column.name for column in table.all_columns if column.type is not Type.TEXT
                ],
            )
        return self._writer


class _HashedFile(io.RawIOBase):
    """A file that is written sequentially and hashed on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.bytes = 0
        self.sha256 = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # typeshed: any buffer; pyarrow gives bytes
        self.sha256.update(data)
        written = self._file.write(data)
        self.bytes += written
        return written

    def tell(self) -> int:
        return self.bytes
