"""The converter on small CSVs, and the expected cells by Python's own csv, decimal and datetime."""

import hashlib
import io
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.csvs import member
from vonage_dataset.parquet import Dataset, convert
from vonage_dataset.tables import OURS, RESCUED, TABLES, Type

MINUTE = "2026-11-20T23:59:59"
OUR_NAMES = [column.name for column in OURS]


def converted(*contents: bytes, product: str = "SMS", **options: Any) -> tuple[Dataset, pa.Table]:
    """Convert CSVs. They need not have the product's price and time, unless a test says so."""
    piece = options.pop("piece", 65_536)
    options = {"accepts_missing_columns": True} | options
    with TemporaryDirectory() as folder:
        target = Path(folder) / "a.parquet"
        members = [member(content, piece=piece) for content in contents]
        dataset = convert(members, product=product, target=target, **options)
        file = target.read_bytes()
    assert dataset.bytes == len(file)
    assert dataset.sha256 == hashlib.sha256(file).hexdigest()
    return dataset, pq.read_table(io.BytesIO(file), use_threads=False)


def read_back(path: Path) -> list[dict[str, Any]]:
    """Return the cells of each row that are not NULL."""
    return filled(pq.read_table(path))


def rows_of(*contents: bytes, product: str = "SMS", **options: Any) -> list[dict[str, Any]]:
    return filled(converted(*contents, product=product, **options)[1])


def filled(table: pa.Table) -> list[dict[str, Any]]:
    """Return Vonage's cells that are not NULL, and `_rescued`."""
    table = table.drop_columns([name for name in OUR_NAMES if name != RESCUED.name])
    return [
        {
            name: dict(cell) if name == "_rescued" else cell
            for name, cell in row.items()
            if cell is not None
        }
        for row in table.to_pylist()
    ]


# The expected cells, by Python's own csv, decimal and datetime


def as_money(text: str) -> Decimal | None:
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?", text, re.ASCII):
        return None
    value = Decimal(text)
    fits = abs(value) < 10**10 and value == round(value, 8)
    return value if fits else None


def as_integer(text: str) -> int | None:
    if not re.fullmatch(r"0|-?[1-9]\d*", text, re.ASCII) or abs(int(text)) >= 2**63:
        return None
    return int(text)


def as_boolean(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.lower())


def as_timestamp(text: str) -> datetime | None:
    text = re.sub(r"-(\d)(?=[-T ])", r"-0\1", text, count=2)
    shape = r"\d{4}-\d\d-\d\d[T ]\d\d(:\d\d(:\d\d(\.\d{1,6})?)?)?(Z|[+-]\d\d(:?\d\d)?)"
    if not re.fullmatch(shape, text, re.ASCII):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


READ: dict[Type, Callable[[str], Any]] = {
    Type.MONEY: as_money,
    Type.INTEGER: as_integer,
    Type.BOOLEAN: as_boolean,
    Type.TIMESTAMP: as_timestamp,
    Type.TEXT: str,
}


def expected(product: str, header: Sequence[str], cells: Sequence[str]) -> dict[str, Any]:
    types = {column.name: column.type for column in TABLES[product].columns}
    row: dict[str, Any] = {}
    rescued = {}
    for name, text in zip(header, cells, strict=True):
        value = READ[types[name]](text) if name in types else None
        if text and value is None:
            rescued[name] = text
        elif text:
            row[name] = value
    return row | ({"_rescued": rescued} if rescued else {})
