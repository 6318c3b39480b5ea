"""The dataset in DuckDB: a view for each product, two of all products, and two more tables.

Names, columns and types are the same as in Athena, so a query has the same answer in both.
"""

import csv
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa
from pyarrow import dataset
from pyarrow.fs import FileSystem, S3FileSystem

from vonage_dataset.cells import arrow_schema
from vonage_dataset.tables import TABLES, Table, Type
from vonage_reports.domain.catalogue import PARTITION_KEYS, table_name
from vonage_reports_cli.errors import BadInput, NoAccess
from vonage_reports_cli.objects import FolderObjects, StackObjects, by_product, manifests_in
from vonage_reports_cli.period import Period
from vonage_reports_cli.session import Session
from vonage_reports_cli.sql.usage_view import usage, usage_with_copies
from vonage_reports_cli.stack import DeployedStack

INVOICE_COLUMNS = ("month", "product", "country", "currency", "amount")

_MANIFEST_COLUMNS = {
    "report_id": "VARCHAR",
    "definition": "VARCHAR",
    "product": "VARCHAR",
    "account_id": "VARCHAR",
    "window": 'STRUCT("start" VARCHAR, "end" VARCHAR, time_zone VARCHAR)',
    "revision": "VARCHAR",
    "rows": "BIGINT",
    "dataset": 'STRUCT("key" VARCHAR, "rows" BIGINT)',
}
_PARTITION_TYPES = {"string": pa.string(), "date": pa.date32()}
_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
# The digits of a decimal(18,8). DuckDB would round away any further digits.
_AMOUNT = re.compile(r"-?[0-9]{1,10}(\.[0-9]{1,8})?")


class Source(Protocol):
    """The storage of a dataset."""

    def relation(self, product: str, connection: duckdb.DuckDBPyConnection) -> str | None:
        """Return a relation with a product's rows, or None if the product has no rows."""

    def manifests(self) -> Sequence[Mapping[str, Any]]:
        """Return the content of the manifests."""

    def datasets(self) -> list[str]:
        """Return the keys of the files."""


class Folder:
    """A copy of the bucket on this machine. Raises BadInput if the copy has no dataset.

    With a period, only the files that may have records of the period are read.
    """

    def __init__(self, root: Path, period: Period | None = None) -> None:
        if next((root / "data").rglob("*.parquet"), None) is None:
            raise BadInput(f"{root.name}/ has no dataset yet; `make run` delivers one")
        self._root = root
        self._objects = FolderObjects(root)
        self._period = period
        self._keys = by_product(self._objects.keys("data/", period))

    def relation(self, product: str, _connection: duckdb.DuckDBPyConnection) -> str | None:
        """Read the product's files. The partition keys stay text."""
        if product not in self._keys:
            return None
        names = ", ".join(_quoted(str(self._root / key)) for key in self._keys[product])
        return (
            f"read_parquet([{names}], union_by_name = true, hive_partitioning = true, "
            "hive_types_autocast = false)"
        )

    def datasets(self) -> list[str]:
        """Return the keys of the files."""
        return [key for keys in self._keys.values() for key in keys]

    def manifests(self) -> list[dict[str, Any]]:
        """Read the manifests."""
        return manifests_in(self._objects, self._period)


class StackBucket:
    """The bucket of a deployed stack, read with the caller's AWS credentials.

    pyarrow reads S3, because DuckDB would have to download an extension for S3. With a period, only
    the files that may have records of the period are listed and read. Raises botocore's errors.
    """

    def __init__(self, stack: DeployedStack, period: Period | None = None) -> None:
        found = stack.session.get_credentials()
        if found is None:
            raise NoAccess("no AWS credentials: log in, or name a profile with --profile")
        credentials = found.get_frozen_credentials()
        self._bucket = stack.bucket.name
        self._objects = StackObjects(stack.bucket)
        self._period = period
        self._keys = by_product(self._objects.keys("data/", period))
        self._files = S3FileSystem(
            access_key=credentials.access_key,
            secret_key=credentials.secret_key,
            session_token=credentials.token,
            region=stack.region,
            # boto3 reads the same variables.
            endpoint_override=os.environ.get("AWS_ENDPOINT_URL"),
            tls_ca_file_path=os.environ.get("AWS_CA_BUNDLE"),
        )

    def relation(self, product: str, connection: duckdb.DuckDBPyConnection) -> str | None:
        """Register the product's files as a pyarrow dataset, which reads only the needed data."""
        if product not in self._keys:
            return None
        paths = [f"{self._bucket}/{key}" for key in self._keys[product]]
        found = files_of(product, paths, self._files)
        name = f"files_of_{table_name(product)}"
        connection.register(name, found)
        return name

    def datasets(self) -> list[str]:
        """Return the keys of the files."""
        return [key for keys in self._keys.values() for key in keys]

    def manifests(self) -> list[dict[str, Any]]:
        """Read the manifests."""
        return manifests_in(self._objects, self._period)


def files_of(product: str, paths: Sequence[str], filesystem: FileSystem) -> dataset.Dataset:
    """Return a product's files as a dataset, which opens a file when a query reads it.

    A condition on `date` decides the files that a query reads, because `date` has its type here.
    """
    parts = pa.schema([(name, _PARTITION_TYPES[kind]) for name, kind in PARTITION_KEYS.items()])
    return dataset.dataset(
        paths,
        schema=pa.unify_schemas([arrow_schema(TABLES[product]), parts]),
        format="parquet",
        filesystem=filesystem,
        partitioning=dataset.partitioning(parts, flavor="hive"),
    )


def source_of(session: Session, period: Period | None = None) -> Source:
    """Return the dataset of the command's target. Raises BadInput."""
    target = session.target
    if isinstance(target, DeployedStack):
        return StackBucket(target, period)
    return Folder(target.out, period)


def open_dataset(
    source: Source, *, with_manifests: bool = True, invoice: Path | None = None
) -> duckdb.DuckDBPyConnection:
    """Return a connection with the tables and views of Athena.

    Without `with_manifests`, the table `manifests` stays empty. On S3, filling the table takes one
    request per manifest. Raises BadInput if the invoice cannot be read.
    """
    connection = duckdb.connect()
    # Stored times are UTC. By default, a cast would convert them to the machine's time zone.
    connection.execute("SET TimeZone = 'UTC'")
    # DuckDB would fetch an extension, over plain http, when SQL first uses it.
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET autoload_known_extensions = false")
    for product, table in TABLES.items():
        relation = source.relation(product, connection)
        there = _names_in(relation, connection)
        # A file of an earlier version may lack a column, or have text in a column of another type.
        select = ", ".join(
            f"CAST({_name(name) if name in there else 'NULL'} AS {kind}) AS {_name(name)}"
            for name, kind in _columns(table).items()
        )
        rows = "WHERE false" if relation is None else f"FROM {relation}"
        connection.execute(f"CREATE VIEW {table_name(product)} AS SELECT {select} {rows}")
    connection.execute(f"CREATE VIEW usage_with_copies AS {usage_with_copies()}")
    connection.execute(f"CREATE VIEW usage AS {usage()}")
    _create_manifests(connection, source.manifests() if with_manifests else ())
    _create_invoice(connection, [] if invoice is None else _invoice_lines(invoice))
    return connection


def _names_in(relation: str | None, connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Return the names of a relation's columns."""
    if relation is None:
        return set()
    return {name for name, *_ in connection.execute(f"DESCRIBE FROM {relation}").fetchall()}


def _columns(table: Table) -> dict[str, str]:
    """Return the columns' types. DuckDB understands Hive's type names, except for maps."""
    columns = {
        each.name: "MAP(VARCHAR, VARCHAR)" if each.type is Type.RESCUED else each.type.value
        for each in table.all_columns
    }
    return columns | PARTITION_KEYS


def _name(text: str) -> str:
    return f'"{text}"'


def _create_manifests(
    connection: duckdb.DuckDBPyConnection, manifests: Iterable[Mapping[str, Any]]
) -> None:
    columns = ", ".join(f'"{name}" {kind}' for name, kind in _MANIFEST_COLUMNS.items())
    rows = [[_manifest_value(each, name) for name in _MANIFEST_COLUMNS] for each in manifests]
    _create_table(connection, "manifests", columns, rows)


def _manifest_value(manifest: Mapping[str, Any], name: str) -> object:
    value = manifest[name]
    if name == "dataset" and value is not None:
        return {"key": value["key"], "rows": value["rows"]}
    return value


def _create_invoice(connection: duckdb.DuckDBPyConnection, lines: list[list[str]]) -> None:
    columns = ", ".join(f"{name} VARCHAR" for name in INVOICE_COLUMNS)
    _create_table(connection, "invoice", columns, lines)


def _create_table(
    connection: duckdb.DuckDBPyConnection, name: str, columns: str, rows: Sequence[Sequence[object]]
) -> None:
    connection.execute(f"CREATE TABLE {name} ({columns})")
    if rows:
        marks = ", ".join("?" for _ in rows[0])
        connection.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)  # noqa: S608 - `name` is one of two constants


def _invoice_lines(path: Path) -> list[list[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *lines = list(csv.reader(file, strict=True)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path} cannot be read: {error}") from error
    if header != list(INVOICE_COLUMNS):
        raise BadInput(f"{path}: the first line must be {','.join(INVOICE_COLUMNS)}")
    for number, line in enumerate(lines, start=2):
        if line and not (len(line) == len(header) and _is_line(*line)):
            raise BadInput(f"{path}: line {number} must look like 2026-11,SMS,GB,EUR,1234.56")
    return [line for line in lines if line]


def _is_line(month: str, _product: str, _country: str, _currency: str, amount: str) -> bool:
    return bool(_MONTH.fullmatch(month) and _AMOUNT.fullmatch(amount))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
