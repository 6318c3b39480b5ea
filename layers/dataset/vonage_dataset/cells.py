"""Turns the text of CSV cells into the typed columns of a product's table.

Every cell of the CSV ends up in its column or in `_rescued`. No value is rounded, guessed or
dropped, and the rows keep their order.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Context, Decimal
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc

from vonage_dataset.csv_rows import Rows, unreadable
from vonage_dataset.tables import (
    COLLECTED_AT,
    CURRENCY,
    RESCUED,
    REVISION,
    SCHEMA_VERSION,
    SCHEMA_VERSION_KEY,
    WINDOW_START,
    Column,
    Table,
    Type,
    column_name,
)
from vonage_dataset.zip_members import CsvMember
from vonage_reports.domain.acceptance import Acceptable
from vonage_reports.domain.errors import RowsUnreadable

_TEXT = pa.string()
_ARROW_TYPES = {
    Type.TEXT: _TEXT,
    Type.MONEY: pa.decimal128(18, 8),
    Type.INTEGER: pa.int64(),
    Type.BOOLEAN: pa.bool_(),
    Type.TIMESTAMP: pa.timestamp("us", "UTC"),
    Type.RESCUED: pa.map_(pa.string(), pa.string()),
}
# Stricter than pyarrow's casts, which read 0x10 as 16, 007 as 7 and 1 as true. Such cells may be
# codes. A price may have any notation, such as 1E-7, .5 or +1.
_PRICE = re.compile(rb"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,9})?")
_INTEGER = re.compile(rb"0|-?[1-9]\d{0,18}")
_TIME = re.compile(
    rb"(\d{4})-(\d{1,2})-(\d{1,2})"
    rb"([T ]([01]\d|2[0-3])(:\d{2}(:\d{2}(\.\d{1,6})?)?)?(Z|[+-]\d{2}(:?\d{2})?))"
)
_INTEGERS = range(-(2**63), 2**63)
# Microseconds from the year 1 to the end of 9999. Readers support no other times.
_INSTANTS = range(-62_135_596_800 * 10**6, 253_402_300_800 * 10**6)
EXACT = Context(prec=60)
_LAST_PLACE = Decimal("1e-8")
_WHOLE_DIGITS = 10
_LOOKS_LIKE_A_NAME = re.compile(r"(?!.*\d{4})[^\W\d]\w{0,39}")
_MOST_SHOWN = 8
# For a longer price, pyarrow reads beyond the end of its table of powers of ten. The price
# 1e-999999999 crashes the process (seen in release 26).
_PLAIN_BYTES = 38


@dataclass(frozen=True, slots=True)
class Collection:
    """Facts about all rows of a window that the rows themselves do not contain.

    Attributes:
        revision: `final` or `preliminary`.
        collected_at: When Vonage received the request; None if unknown.
        currency: The currency of rows that name none; None if unknown.
        window_start: The start of the window; None if unknown.
    """

    revision: str | None = None
    collected_at: datetime | None = None
    currency: str | None = None
    window_start: datetime | None = None


def arrow_schema(table: Table) -> pa.Schema:
    """Return the Parquet schema of a table."""
    return pa.schema(
        [(column.name, _ARROW_TYPES[column.type]) for column in table.all_columns],
        metadata={SCHEMA_VERSION_KEY: str(SCHEMA_VERSION)},
    )


@dataclass(frozen=True)
class Layout:
    """Maps the fields of a CSV file to the columns of a table.

    `positions` are the fields with a column, `others` the fields without one. `ambiguous` and
    `missing` are the reasons, if any, to refuse the rows.
    """

    table: Table
    schema: pa.Schema
    collection: Collection
    positions: Mapping[str, int]
    others: Mapping[str, int]
    ambiguous: RowsUnreadable | None
    missing: RowsUnreadable | None

    @classmethod
    def of(cls, rows: Rows, table: Table, collection: Collection, member: CsvMember) -> "Layout":
        """Find the columns of `table` in the header of `rows`."""
        known = {column.name for column in table.columns}
        columns = [column_name(name) for name in rows.header]
        positions = {name: place for place, name in enumerate(columns) if name in known}
        # A field without a name is known by its place.
        others = {
            name if column else f"#{place + 1}": place
            for place, (name, column) in enumerate(zip(rows.header, columns, strict=True))
            if column not in known
        }
        ambiguous, missing = (
            None
            if reason is None
            else unreadable(member.name, rows.header_line, reason, acceptable)
            for reason, acceptable in (
                (_ambiguous(columns, len(positions) + len(others)), None),
                (_missing(rows.header, columns, table), Acceptable.MISSING_COLUMNS),
            )
        )
        return cls(
            table=table,
            schema=arrow_schema(table),
            collection=collection,
            positions=positions,
            others=others,
            ambiguous=ambiguous,
            missing=missing,
        )

    def fit(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        """Return the batch in the table's schema, and how many cells of each name were rescued."""
        rescued: dict[str, pa.Array] = {}
        columns: dict[str, pa.Array] = {}
        for column in self.table.columns:
            position = self.positions.get(column.name)
            if position is None:
                columns[column.name] = pa.nulls(batch.num_rows, _ARROW_TYPES[column.type])
                continue
            cells = batch.column(position)
            if column.type is Type.TEXT and cells.type == _TEXT:
                columns[column.name] = cells
                continue
            columns[column.name], misfits = _fit(cells, column.type)
            if misfits is not None:
                rescued[column.name] = misfits
        for key, position in self.others.items():
            cells = batch.column(position)
            if cells.null_count < len(cells):
                rescued[key] = _readable(cells)
        columns |= {
            CURRENCY.name: self._currencies(columns, rescued, batch.num_rows),
            REVISION.name: _repeated(self.collection.revision, REVISION, batch.num_rows),
            COLLECTED_AT.name: _repeated(
                self.collection.collected_at, COLLECTED_AT, batch.num_rows
            ),
            WINDOW_START.name: _repeated(
                self.collection.window_start, WINDOW_START, batch.num_rows
            ),
            RESCUED.name: _rescued_column(rescued, batch.num_rows),
        }
        counts = {key: len(cells) - cells.null_count for key, cells in rescued.items()}
        arrays = [columns[name] for name in self.schema.names]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema), counts

    def _currencies(
        self, columns: Mapping[str, pa.Array], rescued: Mapping[str, pa.Array], rows: int
    ) -> pa.Array:
        """Return the currency of each price. Without a price or a currency, the value is null.

        The collection's currency stands for an empty cell. An unreadable one names another.
        """
        if self.table.price is None:
            return _repeated(None, CURRENCY, rows)
        default = _repeated(self.collection.currency, CURRENCY, rows)
        if "currency" not in columns:
            return default
        if (unreadable := rescued.get("currency")) is not None:
            default = pc.if_else(unreadable.is_valid(), pa.scalar(None, pa.string()), default)
        return pc.coalesce(columns["currency"], default)


def _ambiguous(columns: Sequence[str], keys: int) -> str | None:
    """Return the reason if two fields are one column, or have one of the `keys` in `_rescued`."""
    counts = Counter(filter(None, columns))
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated or keys < len(columns):
        return f"names in the header are ambiguous: {_shown(repeated)}"
    return None


def _missing(header: Sequence[str], columns: Sequence[str], table: Table) -> str | None:
    """Return the reason if a header has none of the product's columns, or lacks a needed one.

    Needed are each column that is a part of the cost, its currency, and the time.
    """
    known = {column.name for column in table.columns}
    if known.isdisjoint(columns):
        return f"the header has none of the product's columns, but {_shown(header)}"
    currency = ["currency"] if table.price is not None and "currency" in known else []
    needed = [*table.prices, *currency, *([table.time] if table.time is not None else [])]
    missing = [name for name in needed if name not in columns]
    if not missing:
        return None
    others = [name for name, column in zip(header, columns, strict=True) if column not in known]
    return f"the header has no {' and no '.join(missing)}; its unknown names: {_shown(others)}"


def _shown(names: Sequence[str]) -> str:
    """List names for an operator. Show no text that may be a cell, of a file without a header."""
    # Another separator than the comma joins the names.
    words = [word.strip() for name in names for word in re.split(r"[;|\t]", name)]
    shown = list(filter(_LOOKS_LIKE_A_NAME.fullmatch, words))[:_MOST_SHOWN]
    rest = len(words) - len(shown)
    return ", ".join([*shown, *([f"{rest} more"] if rest else [])]) or "none"


def _fit(cells: pa.Array, column_type: Type) -> tuple[pa.Array, pa.Array | None]:
    """Cast the cells to a type. Return the values, and the text of the cells that do not fit.

    Cells that do not fit are null in the first array. The second array is None if all cells fit.

    pyarrow's cast never rounds or truncates, but accepts too much. To detect that, write the values
    back as text and compare. If one cell does not fit, Python reads each cell on its own, so that a
    result never depends on other cells.
    """
    arrow_type = _ARROW_TYPES[column_type]
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
    if fitted.null_count == cells.null_count:
        return fitted, None
    misfits = pc.if_else(pc.and_(fitted.is_null(), cells.is_valid()), cells, None)
    return fitted, _readable(misfits)


def _is_plain(cells: pa.Array) -> bool:
    """Whether all prices are short and without an exponent, so that pyarrow may read them."""
    longest = pc.max(pc.binary_length(cells)).as_py() or 0
    characters = cells.buffers()[2]  # the text of all cells, concatenated
    has_exponent = characters is not None and b"e" in characters.to_pybytes().lower()
    return longest <= _PLAIN_BYTES and not has_exponent


def _is_sound(fitted: pa.Array, texts: pa.Array, column_type: Type) -> bool:
    """Whether times are in range, and integers and booleans, written as text, are unchanged."""
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
    fitted = price.quantize(_LAST_PLACE, context=EXACT) if price else Decimal(0)
    return fitted if fitted == price else None


def _integer(cell: bytes) -> int | None:
    if not _INTEGER.fullmatch(cell):
        return None
    number = int(cell)
    return number if number in _INTEGERS else None


def _boolean(cell: bytes) -> bool | None:
    return {b"true": True, b"false": False}.get(cell.lower())


def _instant(cell: bytes) -> datetime | None:
    """Read a time with an offset. Months and days may have one digit (OpenAPI text, AMD)."""
    found = _TIME.fullmatch(cell)
    if found is None:
        return None
    year, month, day, rest = (found[group].decode() for group in range(1, 5))
    try:
        return datetime.fromisoformat(f"{year}-{month:0>2}-{day:0>2}{rest}").astimezone(UTC)
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
    r"""Return the cells as text, with \xNN for each byte that is not UTF-8."""
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
    """Return the `_rescued` maps of a batch. Rows without rescued cells have null."""
    map_type = _ARROW_TYPES[Type.RESCUED]
    if not rescued:
        return pa.nulls(rows, map_type)
    places = [pc.indices_nonzero(cells.is_valid()) for cells in rescued.values()]
    of_cells = pa.concat_arrays(places)
    order = pc.sort_indices(of_cells)  # stable: a row's names keep their order
    names = [pa.repeat(name, len(each)) for name, each in zip(rescued, places, strict=True)]
    keys = pa.concat_arrays(names).take(order)
    values = pa.concat_arrays([cells.drop_null() for cells in rescued.values()]).take(order)
    cells_in_row = Counter(of_cells.to_pylist())
    offsets = [0, *accumulate(cells_in_row[row] for row in range(rows))]
    empty = [row not in cells_in_row for row in range(rows)]
    return pa.MapArray.from_arrays(
        pa.array(offsets, pa.int32()), keys, values, mask=pa.array(empty)
    )
