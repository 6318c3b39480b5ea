"""Turns CSV files into one Parquet file: exact, row by row, streaming.

Every cell of the CSV is in the file, in its column or in `_rescued`; nothing is rounded, guessed or
left out, and the rows keep their order.
"""

import hashlib
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Context, Decimal
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vonage_dataset.csv_rows import BLOCK_BYTES, Rows, read_rows
from vonage_dataset.tables import (
    COLLECTED_AT,
    CURRENCY,
    RESCUED,
    REVISION,
    SCHEMA_VERSION,
    SCHEMA_VERSION_KEY,
    TABLES,
    Column,
    Table,
    Type,
    table_as_it_comes,
)
from vonage_dataset.zip_members import CsvMember
from vonage_reports.domain.errors import RowsUnreadable

ROW_GROUP_ROWS = 131_072
ROW_GROUP_BYTES = 64 * 2**20
"""A row group is in memory until one of the two is reached; long messages reach this one."""

_ARROW_TYPES = {
    Type.TEXT: pa.string(),
    Type.MONEY: pa.decimal128(18, 8),
    Type.INTEGER: pa.int64(),
    Type.BOOLEAN: pa.bool_(),
    Type.TIMESTAMP: pa.timestamp("us", "UTC"),
    Type.RESCUED: pa.map_(pa.string(), pa.string()),
}
# What pyarrow casts takes more than this, which may as well be codes: 0x10 for 16, 007 for 7, 1 for
# true. A price in any notation (1E-7, .5, +1) is that number.
_PRICE = re.compile(rb"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,9})?")
_INTEGER = re.compile(rb"0|-?[1-9]\d{0,18}")
_TIME = re.compile(
    rb"\d{4}-\d{2}-\d{2}[T ]([01]\d|2[0-3])(:\d{2}(:\d{2}(\.\d{1,6})?)?)?"
    rb"(Z|[+-]\d{2}(:?\d{2})?)"
)
_INTEGERS = range(-(2**63), 2**63)
# Microseconds: from the year 1 to the end of 9999, beyond which readers have no time.
_INSTANTS = range(-62_135_596_800 * 10**6, 253_402_300_800 * 10**6)
# Ids that no two records, or few of them, share: a dictionary of them is lost time.
_NEARLY_UNIQUE = {"id", "message_id", "call_id", "request_id", "leg_id", "trace_id"}
_MONEY = Context(prec=60)
_LAST_PLACE = Decimal("1e-8")
_WHOLE_DIGITS = 10
# Of a price with more places pyarrow reads a power of ten that it does not have: 1e-999999999 ends
# the process (seen in release 26).
_PLAIN_BYTES = 38


@dataclass(frozen=True, slots=True)
class Total:
    """What the rows of one currency cost together.

    `total_price` is exact. `currency` is None where neither the row nor the definition names one.
    Rows whose price is empty, or was rescued, are `rows_without_price`.
    """

    currency: str | None
    total_price: Decimal
    rows: int
    rows_without_price: int

    def to_dict(self) -> dict[str, str | int | None]:
        """Write it as the manifest does: the price as a plain decimal, without zeros at its end."""
        return {
            "currency": self.currency,
            "total_price": f"{self.total_price.normalize(_MONEY):f}",
            "rows": self.rows,
            "rows_without_price": self.rows_without_price,
        }


@dataclass(frozen=True, slots=True)
class Collection:
    """What is true of all rows of a window, and not said in them.

    Attributes:
        revision: `final` or `preliminary`.
        collected_at: When Vonage received the request, None where nobody knows.
        currency: What an empty currency means, None where nobody knows.
    """

    revision: str | None = None
    collected_at: datetime | None = None
    currency: str | None = None


@dataclass(frozen=True)
class Dataset:
    """A Parquet file that was written, and what is in it.

    Attributes:
        rows: As the parser counted them.
        columns: Of the file, in order; ours are the last.
        headers: The headers of the CSV files, each once, in the order seen.
        rescued: How many cells `_rescued` has, by name.
        totals: One for each currency, by its name; none for products without a price.
        bytes: Of the file.
        sha256: Of the file, hexadecimal.
    """

    rows: int
    columns: tuple[Column, ...]
    headers: tuple[tuple[str, ...], ...]
    rescued: Mapping[str, int]
    totals: tuple[Total, ...]
    bytes: int
    sha256: str

    @property
    def rescued_cells(self) -> int:
        """How many cells are in `_rescued`: without a column, or not fit for theirs."""
        return sum(self.rescued.values())


def convert(
    members: Iterable[CsvMember],
    *,
    product: str,
    target: Path,
    collection: Collection | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Dataset:
    """Write the rows of all members, in their order, to the Parquet file `target`.

    What Vonage sent stays as it is; what `collection` adds to it has columns of its own. Memory
    does not grow with the rows. Without a row the file has the columns all the same.

    Raises:
        RowsUnreadable: Some row cannot be read. There is no dataset then; what `target` has is
            worthless.
        ArchiveCorrupt: A member is not what it was when it was stored.
    """
    rows = 0
    headers: list[tuple[str, ...]] = []
    rescued: Counter[str] = Counter()
    totals = _Totals()
    with (
        target.open("wb") as file,
        _HashedFile(file) as hashed,
        _DatasetWriter(hashed, product, totals) as writer,
    ):
        for member in members:
            read = read_rows(member, block_bytes=block_bytes)
            if read.header and read.header not in headers:
                headers.append(read.header)
            table = writer.table_for(read.header)
            layout = _Layout.of(read, table, collection or Collection(), member)
            for batch in read.batches:
                fitted, without_column = layout.fit(batch)
                rescued.update(without_column)
                rows += batch.num_rows
                writer.write(fitted)
    return Dataset(
        rows=rows,
        columns=writer.table_for(()).all_columns,
        headers=tuple(headers),
        rescued=dict(rescued),
        totals=totals.sums(),
        bytes=hashed.bytes,
        sha256=hashed.sha256.hexdigest(),
    )


@dataclass(frozen=True)
class _Layout:
    """Where the columns of a table are in a CSV file, and what of the file has no column."""

    table: Table
    schema: pa.Schema
    collection: Collection
    positions: Mapping[str, int]
    others: Mapping[str, int]

    @classmethod
    def of(cls, rows: Rows, table: Table, collection: Collection, member: CsvMember) -> "_Layout":
        keys = _keys(rows.header)
        positions = {key: position for position, key in enumerate(keys)}
        if len(positions) < len(keys):
            raise RowsUnreadable(
                f"{member.name}, line {rows.header_line}: names in the header cannot be told apart."
            )
        known = {column.name for column in table.columns}
        return cls(
            table=table,
            schema=arrow_schema(table),
            collection=collection,
            positions={key: position for key, position in positions.items() if key in known},
            others={key: position for key, position in positions.items() if key not in known},
        )

    def fit(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        """Give the cells their columns and types, and say how many were rescued, by name."""
        rescued: dict[str, pa.Array] = {}
        columns: dict[str, pa.Array] = {}
        for column in self.table.columns:
            position = self.positions.get(column.name)
            if position is None:
                columns[column.name] = pa.nulls(batch.num_rows, _ARROW_TYPES[column.type])
                continue
            cells = batch.column(position)
            columns[column.name], misfits = _fit(cells, column.type)
            if misfits is not None:
                rescued[column.name] = misfits
        for key, position in self.others.items():
            cells = batch.column(position)
            if cells.null_count < len(cells):
                rescued[key] = _readable(cells)
        columns |= {
            CURRENCY.name: self._currencies(columns, batch.num_rows),
            REVISION.name: _repeated(self.collection.revision, REVISION, batch.num_rows),
            COLLECTED_AT.name: _repeated(
                self.collection.collected_at, COLLECTED_AT, batch.num_rows
            ),
            RESCUED.name: _rescued_column(rescued, batch.num_rows),
        }
        counts = {key: len(cells) - cells.null_count for key, cells in rescued.items()}
        arrays = [columns[name] for name in self.schema.names]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema), counts

    def _currencies(self, columns: Mapping[str, pa.Array], rows: int) -> pa.Array:
        """Return the currency of each price; null where nobody names one, or there is no price."""
        if self.table.price is None:
            return _repeated(None, CURRENCY, rows)
        default = _repeated(self.collection.currency, CURRENCY, rows)
        return pc.coalesce(columns["currency"], default) if "currency" in columns else default


def _keys(header: tuple[str, ...]) -> list[str]:
    """Name each column; one without a name of its own by its place, counted from 1.

    Which of two columns of one name is the true one cannot be known: neither has its name.
    """
    counts = Counter(header)
    return [
        name if name and counts[name] == 1 else f"{name}#{place}"
        for place, name in enumerate(header, start=1)
    ]


def _fit(cells: pa.Array, column_type: Type) -> tuple[pa.Array, pa.Array | None]:
    """Return the cells as that type, null where one does not fit, and the text of those, if any.

    pyarrow's cast rounds and cuts nothing; what it takes too much is seen when it is written again.
    Where one cell does not fit, each is read alone: what is said of it depends on no other.
    """
    arrow_type = _ARROW_TYPES[column_type]
    if cells.type == arrow_type:
        return cells, None
    if column_type is not Type.MONEY or _is_plain(cells):
        try:
            texts = cells.cast(pa.string())
            fitted = texts.cast(arrow_type)
            if _is_sound(fitted, texts, column_type):
                return fitted, None
        except pa.ArrowInvalid:
            pass
    read = _READ[column_type]
    fitted = pa.array(
        [cell and read(cell) for cell in cells.cast(pa.binary()).to_pylist()], arrow_type
    )
    misfits = pc.if_else(pc.and_(fitted.is_null(), cells.is_valid()), cells, None)
    return fitted, _readable(misfits)


def _is_plain(cells: pa.Array) -> bool:
    """Whether all prices are short and without an exponent, so that pyarrow may read them."""
    longest = pc.max(pc.binary_length(cells)).as_py() or 0
    characters = cells.buffers()[2]  # of all cells, one after the other
    has_exponent = characters is not None and b"e" in characters.to_pybytes().lower()
    return longest <= _PLAIN_BYTES and not has_exponent


def _is_sound(fitted: pa.Array, texts: pa.Array, column_type: Type) -> bool:
    """Whether integers and booleans, written again, are what they were made of; times readable."""
    if column_type is Type.TIMESTAMP:
        ends = pc.min_max(fitted)
        return all(end.value in _INSTANTS for end in ends.values() if end.is_valid)
    if column_type is Type.BOOLEAN:
        texts = pc.ascii_lower(texts)
    elif column_type is not Type.INTEGER:
        return True
    same: bool = pc.all(pc.equal(fitted.cast(pa.string()), texts), min_count=0).as_py()
    return same


def _decoded(cell: bytes) -> str | None:
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return None


def _price(cell: bytes) -> Decimal | None:
    if not _PRICE.fullmatch(cell):
        return None
    price = Decimal(cell.decode())
    if price and price.adjusted() >= _WHOLE_DIGITS:
        return None
    fitted = price.quantize(_LAST_PLACE, context=_MONEY) if price else Decimal(0)
    return fitted if fitted == price else None


def _integer(cell: bytes) -> int | None:
    if not _INTEGER.fullmatch(cell):
        return None
    number = int(cell)
    return number if number in _INTEGERS else None


def _boolean(cell: bytes) -> bool | None:
    return {b"true": True, b"false": False}.get(cell.lower())


def _instant(cell: bytes) -> datetime | None:
    try:
        return (
            datetime.fromisoformat(cell.decode()).astimezone(UTC) if _TIME.fullmatch(cell) else None
        )
    except (ValueError, OverflowError):
        return None


_READ: Mapping[Type, Callable[[bytes], object]] = {
    Type.TEXT: _decoded,
    Type.MONEY: _price,
    Type.INTEGER: _integer,
    Type.BOOLEAN: _boolean,
    Type.TIMESTAMP: _instant,
}


def _repeated(value: object, column: Column, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, _ARROW_TYPES[column.type]), rows)


def _readable(cells: pa.Array) -> pa.Array:
    r"""Return the cells as text; a byte that is not UTF-8 is written \xNN."""
    try:
        return cells.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array(
            [
                None if cell is None else cell.decode(errors="backslashreplace")
                for cell in cells.to_pylist()
            ],
            pa.string(),
        )


def _rescued_column(rescued: Mapping[str, pa.Array], rows: int) -> pa.Array:
    """Make the maps of a batch from what was rescued of each column; null where nothing was."""
    map_type = _ARROW_TYPES[Type.RESCUED]
    if not rescued:
        return pa.nulls(rows, map_type)
    places = [pc.indices_nonzero(cells.is_valid()) for cells in rescued.values()]
    of_cells = pa.concat_arrays(places)
    order = pc.sort_indices(of_cells)  # stable: within a row the names stay in their order
    names = [pa.repeat(name, len(each)) for name, each in zip(rescued, places, strict=True)]
    keys = pa.concat_arrays(names).take(order)
    values = pa.concat_arrays([cells.drop_null() for cells in rescued.values()]).take(order)
    cells_in_row = Counter(of_cells.to_pylist())
    offsets = [0, *accumulate(cells_in_row[row] for row in range(rows))]
    empty = [row not in cells_in_row for row in range(rows)]
    return pa.MapArray.from_arrays(
        pa.array(offsets, pa.int32()), keys, values, mask=pa.array(empty)
    )


def arrow_schema(table: Table) -> pa.Schema:
    """Return the columns of a table as its Parquet files have them."""
    return pa.schema(
        [(column.name, _ARROW_TYPES[column.type]) for column in table.all_columns],
        metadata={SCHEMA_VERSION_KEY: str(SCHEMA_VERSION)},
    )


class _Totals:
    """Adds up the prices by currency."""

    def __init__(self) -> None:
        self._by_currency: dict[str | None, Total] = {}

    def add(self, rows: pa.Table, price: str | None) -> None:
        if price is None:
            return
        sums = rows.group_by(CURRENCY.name, use_threads=False).aggregate(
            [(price, "sum"), (price, "count"), ([], "count_all")]
        )
        for group in sums.to_pylist():
            self._add(
                group[CURRENCY.name],
                group[f"{price}_sum"] or Decimal(0),
                group["count_all"],
                group["count_all"] - group[f"{price}_count"],
            )

    def _add(self, currency: str | None, price: Decimal, rows: int, without: int) -> None:
        had = self._by_currency.get(currency, Total(currency, Decimal(0), 0, 0))
        self._by_currency[currency] = Total(
            currency,
            _MONEY.add(had.total_price, price),
            had.rows + rows,
            had.rows_without_price + without,
        )

    def sums(self) -> tuple[Total, ...]:
        return tuple(sorted(self._by_currency.values(), key=lambda total: total.currency or ""))


class _DatasetWriter:
    """Writes batches as row groups. The first header decides the columns of an unknown product."""

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
        """Return the table; that of an unknown product has the columns of the first header."""
        if self._table is not None:
            return self._table
        counts = Counter(header)
        table = table_as_it_comes(tuple(name for name in header if counts[name] == 1 and name))
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
        self._totals.add(rows, self.table_for(()).price)
        self._opened().write_table(rows, row_group_size=self._rows)
        self._batches, self._rows, self._bytes = [], 0, 0

    def _opened(self) -> pq.ParquetWriter:
        if self._writer is None:
            table = self.table_for(())
            self._writer = pq.ParquetWriter(
                self._file,
                arrow_schema(table),
                compression="zstd",
                # Readers take the type of a decimal, and INT64 is the quick form of it.
                store_decimal_as_integer=True,
                use_dictionary=[
                    column.name
                    for column in table.all_columns
                    if column.name not in _NEARLY_UNIQUE and column is not RESCUED
                ],
            )
        return self._writer


class _HashedFile(io.RawIOBase):
    """A file that is written from its start to its end, and hashed on the way."""

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
