"""One window: its archives against receipts and manifest, its dataset against both.

Memory does not grow with the size of an archive, which is a file, read in pieces.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from isal import isal_zlib

from vonage_dataset.cells import Collection as Facts
from vonage_dataset.csv_rows import UnreadableRows
from vonage_dataset.parquet import convert
from vonage_dataset.tables import CURRENCY, TABLES
from vonage_dataset.zip_members import csv_members
from vonage_reports.archive.zip_directory import Reader, compressed_sizes
from vonage_reports.archive.zip_proof import ArchiveProof
from vonage_reports.domain.acceptance import Acceptable
from vonage_reports.domain.errors import ArchiveCorrupt, RowsUnreadable
from vonage_reports.domain.objects import Archive, Member
from vonage_reports_cli.errors import CommandError
from vonage_reports_cli.money import EXACT, plain, total
from vonage_reports_cli.objects import NotReadable, Objects
from vonage_reports_cli.proof.model import Delivery, Difference, Proof

_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class _Totals:
    """Rows and exact prices of one currency."""

    rows: int = 0
    price: Decimal = Decimal(0)

    def plus(self, other: "_Totals") -> "_Totals":
        return _Totals(self.rows + other.rows, EXACT.add(self.price, other.price))


@dataclass(frozen=True)
class _File:
    """A file that `vonage_dataset.zip_members` reads in ranges."""

    path: Path

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def open(self, start: int, length: int) -> AbstractContextManager[Reader]:
        return _range(self.path, start, length)


@contextmanager
def _range(path: Path, start: int, length: int) -> Iterator[Reader]:
    with path.open("rb") as file:
        file.seek(start)
        yield _Range(file, length)


class _Range:
    """At most `length` bytes of a file."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        self._file = file
        self._left = length

    def read(self, size: int, /) -> bytes:
        data: bytes = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data


class WindowProof:
    """The proof of one manifest."""

    def __init__(
        self,
        objects: Objects,
        delivery: Delivery,
        engine: duckdb.DuckDBPyConnection,
        *,
        expires_before: Mapping[str, datetime],
    ) -> None:
        self._engine = engine
        self._objects = objects
        self._manifest = delivery.manifest
        self._delivery = delivery
        self._expires_before = expires_before
        self._proof = Proof()

    def prove(self) -> Proof:
        """Prove the archives, then the dataset against them and against the manifest."""
        try:
            self._prove()
        except KeyError as error:
            self._differs(self._delivery.key, f"the manifest has no {error}; send reconvert")
        except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
            self._differs(
                self._delivery.key,
                f"the manifest or a receipt has a value that is none of ours: {error}; send "
                "reconvert",
            )
        return self._proof

    def _prove(self) -> None:
        with ExitStack() as files, TemporaryDirectory() as scratch:
            found = [
                (archive, self._archive(archive, files)) for archive in self._manifest["archives"]
            ]
            if all(path is not None for _, path in found):
                paths = [(archive, path) for archive, path in found if path is not None]
                self._rows(paths, Path(scratch))
        if self._delivery.is_newest:
            self._dataset()

    def _differs(self, key: str | None, reason: str) -> None:
        self._proof.differences.append(self._difference(key, reason))

    def _difference(self, key: str | None, reason: str) -> Difference:
        manifest = self._manifest
        return Difference(
            manifest["definition"],
            manifest["account_id"],
            self._delivery.window.interval,
            key,
            reason,
        )

    def _file(self, key: str, files: ExitStack) -> Path | None:
        """Return a file with an object's bytes; note the object if it cannot be read."""
        try:
            return files.enter_context(self._objects.file(key))
        except FileNotFoundError:
            if self._may_be_expired(key):
                self._proof.unproved.append(self._difference(key, "expired"))
            else:
                self._differs(key, "the object is missing; restore its version")
        except NotReadable as error:
            self._proof.unproved.append(self._difference(key, str(error)))
        return None

    def _may_be_expired(self, key: str) -> bool:
        return any(
            key.startswith(prefix) and self._delivery.window.end < before
            for prefix, before in self._expires_before.items()
        )

    def _archive(self, said: Mapping[str, Any], files: ExitStack) -> Path | None:
        """Prove an archive against its receipt and its manifest. Return it if it is intact."""
        key = said["key"]
        path = self._file(key, files)
        if path is None:
            return None
        differences = len(self._proof.differences)
        self._receipt(key, said)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 != said["sha256"]:
            self._differs(key, f"its SHA-256 is {sha256}, and the manifest's is {said['sha256']}")
        try:
            archive = _proved(path)
        except ArchiveCorrupt as error:
            self._differs(key, str(error))
            return None
        members = tuple(Member(**member) for member in said["members"])
        if (archive.bytes, archive.members) != (said["bytes"], members):
            self._differs(key, "its size or its members differ from the manifest")
            return None
        if sha256 != said["sha256"]:
            return None
        if len(self._proof.differences) == differences:
            self._proof.archives += 1
            self._proof.bytes += archive.bytes
        return path

    def _receipt(self, key: str, said: Mapping[str, Any]) -> None:
        receipt_key = f"{key.removesuffix('.zip')}.json"
        try:
            receipt = self._objects.read_json(receipt_key)
        except CommandError as error:
            self._differs(receipt_key, str(error))
            return
        if receipt is None:
            self._differs(receipt_key, "the receipt is missing; restore its version")
            return
        facts = {"request_id": receipt.get("request_id"), "items_count": receipt.get("items_count")}
        if {**(receipt.get("archive") or {}), **facts} != {
            name: value for name, value in said.items() if name != "bucket"
        }:
            self._differs(receipt_key, "the receipt and the manifest describe different archives")

    def _rows(self, archives: Sequence[tuple[Mapping[str, Any], Path]], scratch: Path) -> None:
        """Read the archives' CSV files again, and compare their rows and totals."""
        manifest = self._manifest
        differences = len(self._proof.differences)
        accepted = {each["name"] for each in manifest.get("accepted", ())}
        with (scratch / "unreadable.csv").open("w+b") as file:
            unreadable = UnreadableRows(file)
            try:
                dataset = convert(
                    [
                        member
                        for archive, path in archives
                        for member in csv_members(
                            _File(path), [Member(**each) for each in archive["members"]]
                        )
                    ],
                    product=manifest["product"],
                    target=scratch / "dataset.parquet",
                    collection=Facts(manifest["revision"], None, None, self._delivery.window.start),
                    # An earlier version needed fewer columns. The totals tell if one lacks.
                    accepts_missing_columns=True,
                    unreadable=unreadable if Acceptable.UNREADABLE_ROWS in accepted else None,
                )
            except (ArchiveCorrupt, RowsUnreadable) as error:
                self._differs(self._delivery.key, f"the archives' rows are unreadable: {error}")
                return
        if dataset.rows != manifest["rows"]:
            self._differs(
                self._delivery.key,
                f"the archives have {dataset.rows:,} rows, and the manifest says "
                f"{manifest['rows']:,}",
            )
        counted = [each["items_count"] for each in manifest["archives"]]
        if (
            manifest.get("row_check") == "equal"
            and None not in counted
            and sum(counted) != dataset.rows
        ):
            self._differs(
                self._delivery.key,
                f"the archives have {dataset.rows:,} rows, and Vonage counted {sum(counted):,}",
            )
        found = {each.currency: _Totals(each.rows, each.total_price) for each in dataset.totals}
        if self._said() not in _with_currency(found, self._said()):
            self._differs(
                self._delivery.key,
                f"the archives' prices add up to {_shown(found)}, and the manifest's totals are "
                f"{_shown(self._said())}",
            )
        if self._delivery.is_newest and len(self._proof.differences) == differences:
            self._proof.rows += dataset.rows

    def _said(self) -> dict[str | None, _Totals]:
        """Return the totals of the manifest."""
        return {
            each["currency"]: _Totals(each["rows"], Decimal(each["total_price"]))
            for each in self._manifest["totals"]
        }

    def _dataset(self) -> None:
        """Compare the dataset with the manifest: bytes, SHA-256, rows and totals."""
        said = self._manifest["dataset"]
        if said is None:
            self._differs(
                self._delivery.key, "the window's newest manifest names no dataset; send reconvert"
            )
            return
        key = said["key"]
        differences = len(self._proof.differences)
        with ExitStack() as files:
            path = self._file(key, files)
            if path is None:
                return
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            if (path.stat().st_size, sha256) != (said["bytes"], said["sha256"]):
                self._differs(
                    key, f"its SHA-256 is {sha256}, and the manifest's is {said['sha256']}"
                )
            try:
                rows, found = _of_parquet(path, self._manifest["product"], self._engine)
            except (pa.ArrowException, duckdb.Error, OSError) as error:
                self._differs(key, f"the file is no Parquet file: {str(error).splitlines()[0]}")
                return
        if not rows == said["rows"] == self._manifest["rows"]:
            self._differs(
                key,
                f"the dataset has {rows:,} rows, and the manifest says {said['rows']:,} of "
                f"{self._manifest['rows']:,}",
            )
        if found != self._said():
            self._differs(
                key,
                f"the dataset's prices add up to {_shown(found)}, and the manifest's totals are "
                f"{_shown(self._said())}",
            )
        if len(self._proof.differences) > differences:
            return
        self._proof.datasets += 1
        self._proof.totals = {currency: each.price for currency, each in found.items()}


def _proved(path: Path) -> Archive:
    """Prove an archive, with the sizes in its directory if it needs them. Raises ArchiveCorrupt."""
    try:
        return _proved_forwards(path, ())
    except ArchiveCorrupt:
        sizes = compressed_sizes(_File(path))
        if not sizes:
            raise
        return _proved_forwards(path, sizes)


def _proved_forwards(path: Path, sizes: Sequence[int]) -> Archive:
    proof = ArchiveProof(deflate=isal_zlib, sizes=sizes)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            proof.update(chunk)
    return proof.finish()


def _with_currency(
    found: Mapping[str | None, _Totals], said: Collection[str | None]
) -> Iterator[dict[str | None, _Totals]]:
    """Yield totals of an archive as its manifest may have them.

    Records without a currency have the definition's or the account's, which no archive names.
    """
    yield dict(found)
    for currency in said:
        if None in found and currency is not None:
            others: dict[str | None, _Totals] = {
                name: each for name, each in found.items() if name is not None
            }
            had = others.get(currency, _Totals())
            yield {**others, currency: had.plus(found[None])}


def _of_parquet(
    path: Path, product: str, engine: duckdb.DuckDBPyConnection
) -> tuple[int, dict[str | None, _Totals]]:
    """Return the number of rows of a dataset, and its totals as in a manifest."""
    with pq.ParquetFile(path) as file:
        rows, names = file.metadata.num_rows, set(file.schema_arrow.names)
    table = TABLES.get(product)
    prices = table.prices if table else tuple({"total_price"} & names)
    if not prices or not rows:
        return rows, {}
    sums = ", ".join(f"coalesce(sum({name}), 0)" for name in prices)
    # A connection takes 17 ms to open, and a cursor of one less than 1 ms.
    with engine.cursor() as cursor:
        found = cursor.execute(
            # The only inserted texts are names of columns of our own tables.
            f"SELECT {CURRENCY.name}, count(*), {sums} "  # noqa: S608
            "FROM read_parquet(?) GROUP BY 1",
            [str(path)],
        ).fetchall()
    return rows, {currency: _Totals(count, total(amounts)) for currency, count, *amounts in found}


def _shown(totals: Mapping[str | None, _Totals]) -> str:
    return (
        ", ".join(
            f"{plain(each.price)} {currency or '(no currency)'} in {each.rows:,} rows"
            for currency, each in sorted(totals.items(), key=lambda item: item[0] or "")
        )
        or "nothing"
    )
