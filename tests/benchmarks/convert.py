"""convert: conversion of an archive to the dataset, compared with other engines.

Each variant runs in its own process, pinned to one core, on simulated SMS records. It inflates the
archive, parses the CSV, casts the columns, writes Parquet (zstd) and sums the prices by currency.
`bare` is our engine with text columns and no sums. The other variants follow their documentation;
none keeps values that do not fit their type.
"""

import importlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from local.simulator.products import PRODUCTS
from local.simulator.rendering import Rendering
from local.simulator.settings import Settings
from local.simulator.validation import ReportRequest
from tests.support.paths import ROOT
from vonage_dataset.zip_members import CsvMember, csv_members
from vonage_reports.domain.objects import Member

# Rows of the archive, and the number of rounds.
ROUNDS = {1_000_000: 3, 7_000_000: 1}
OF_BARE, MOST_MEMORY_MB = 0.9, 400
"""The goals."""
ROW_GROUP_ROWS = 131_072
MONEY, INTEGERS = ["total_price"], ["latency"]
TIMES = ["date_received", "date_finalized"]


class FileSource:
    """An archive on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = path.stat().st_size

    @contextmanager
    def open(self, start: int, _length: int) -> Iterator[BinaryIO]:
        """Read from `start`; the reader stops by itself."""
        with self._path.open("rb") as file:
            file.seek(start)
            yield file


def members_of(archive: Path) -> list[CsvMember]:
    """Open the archive as convert_report does."""
    with zipfile.ZipFile(archive) as entries:
        receipt = [
            Member(entry.filename, entry.file_size, f"{entry.CRC:08x}")
            for entry in entries.infolist()
        ]
    return csv_members(FileSource(archive), receipt)


def columns_of(archive: Path) -> list[str]:
    """Return the column names of a simulated archive."""
    with closing(members_of(archive)[0].open()) as content:
        return [name.strip('"') for name in content.readline().decode().strip().split(",")]


def run_ours(archive: Path, target: Path) -> None:
    """Convert as convert_report does."""
    from vonage_dataset.parquet import convert  # noqa: PLC0415 - each variant has its own imports

    convert(members_of(archive), product="SMS", target=target)


def run_bare(archive: Path, target: Path) -> None:
    """Write every column as text."""
    import pyarrow as pa  # noqa: PLC0415 - a variant loads only its own libraries

    _stream_with_pyarrow(
        archive, target, dict.fromkeys(columns_of(archive), pa.string()), sums=False
    )


def run_pyarrow(archive: Path, target: Path) -> None:
    """Let the reader cast the columns; it raises at the first cell that does not fit."""
    import pyarrow as pa  # noqa: PLC0415 - a variant loads only its own libraries

    types = dict.fromkeys(columns_of(archive), pa.string())
    types |= dict.fromkeys(TIMES, pa.timestamp("us", "UTC"))
    types |= dict.fromkeys(MONEY, pa.decimal128(18, 8)) | dict.fromkeys(INTEGERS, pa.int64())
    _stream_with_pyarrow(archive, target, types, sums=True)


def _stream_with_pyarrow(archive: Path, target: Path, types: dict[str, Any], *, sums: bool) -> None:
    import pyarrow as pa  # noqa: PLC0415 - a variant loads only its own libraries
    import pyarrow.parquet as pq  # noqa: PLC0415 - a variant loads only its own libraries
    from pyarrow import csv  # noqa: PLC0415 - a variant loads only its own libraries

    totals: dict[str | None, Decimal] = {}
    (member,) = members_of(archive)
    reader = csv.open_csv(
        member.open(),
        read_options=csv.ReadOptions(use_threads=False),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=types, null_values=[""], strings_can_be_null=True
        ),
    )
    with pq.ParquetWriter(target, reader.schema, compression="zstd") as writer:
        pending: list[Any] = []
        for batch in reader:
            pending.append(batch)
            if sum(each.num_rows for each in pending) >= ROW_GROUP_ROWS:
                _write(writer, pa.Table.from_batches(pending), totals if sums else None)
                pending = []
        if pending:
            _write(writer, pa.Table.from_batches(pending), totals if sums else None)


def _write(writer: Any, rows: Any, totals: dict[str | None, Decimal] | None) -> None:
    writer.write_table(rows, row_group_size=rows.num_rows)
    if totals is not None:
        groups = rows.group_by("currency", use_threads=False).aggregate([("total_price", "sum")])
        for group in groups.to_pylist():
            totals[group["currency"]] = (
                totals.get(group["currency"], Decimal(0)) + group["total_price_sum"]
            )


def run_duckdb(archive: Path, target: Path) -> None:
    """Run COPY through a FIFO, with one thread and bounded memory."""
    import duckdb  # noqa: PLC0415 - a variant loads only its own libraries

    fifo = target.with_suffix(".fifo")
    os.mkfifo(fifo)
    (member,) = members_of(archive)

    def feed() -> None:
        with member.open() as content, fifo.open("wb") as pipe:
            shutil.copyfileobj(content, pipe, 2**20)

    threading.Thread(target=feed, daemon=True).start()
    columns = columns_of(archive)
    types = (
        dict.fromkeys(columns, "VARCHAR")
        | dict.fromkeys(TIMES, "TIMESTAMPTZ")
        | dict.fromkeys(MONEY, "DECIMAL(18,8)")
        | dict.fromkeys(INTEGERS, "BIGINT")
    )
    database = duckdb.connect()
    database.execute("SET threads = 1; SET memory_limit = '256MB'; SET TimeZone = 'UTC'")
    database.execute(
        f"COPY (FROM read_csv('{fifo}', header = true, auto_detect = false, delim = ',', "
        f"""quote = '"', escape = '"', columns = {types})) """
        f"TO '{target}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS})"
    )
    database.execute(f"SELECT currency, sum(total_price) FROM '{target}' GROUP BY 1").fetchall()


def run_polars(archive: Path, target: Path) -> None:
    """Sink a lazy frame. Polars reads files, so the CSV is unpacked first."""
    import polars as pl  # noqa: PLC0415 - a variant loads only its own libraries

    (member,) = members_of(archive)
    unpacked = target.with_suffix(".csv")
    with member.open() as content, unpacked.open("wb") as file:
        shutil.copyfileobj(content, file, 2**20)
    text = pl.scan_csv(unpacked, infer_schema=False)
    text.with_columns(
        *(pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%:z", time_unit="us") for name in TIMES),
        *(pl.col(name).cast(pl.Decimal(18, 8)) for name in MONEY),
        *(pl.col(name).cast(pl.Int64) for name in INTEGERS),
    ).sink_parquet(target, compression="zstd", row_group_size=ROW_GROUP_ROWS)
    pl.scan_parquet(target).group_by("currency").agg(pl.col("total_price").sum()).collect()
    unpacked.unlink()


def run_pandas(archive: Path, target: Path) -> None:
    """Read in chunks. pandas has no decimals, so pyarrow's are used."""
    import pandas as pd  # noqa: PLC0415 - a variant loads only its own libraries
    import pyarrow as pa  # noqa: PLC0415 - a variant loads only its own libraries
    import pyarrow.parquet as pq  # noqa: PLC0415 - a variant loads only its own libraries

    (member,) = members_of(archive)
    writer: pq.ParquetWriter | None = None
    with member.open() as content:
        chunks = pd.read_csv(
            content, dtype=str, keep_default_na=False, na_values=[""], chunksize=ROW_GROUP_ROWS
        )
        for chunk in chunks:
            for name in TIMES:
                chunk[name] = pd.to_datetime(chunk[name], utc=True)
            for name in MONEY:
                chunk[name] = chunk[name].astype(pd.ArrowDtype(pa.decimal128(18, 8)))
            for name in INTEGERS:
                chunk[name] = chunk[name].astype(pd.ArrowDtype(pa.int64()))
            chunk.groupby("currency", dropna=False)["total_price"].sum()
            if writer is None:
                schema = pa.Schema.from_pandas(chunk, preserve_index=False)
                writer = pq.ParquetWriter(target, schema, compression="zstd")
            writer.write_table(pa.Table.from_pandas(chunk, schema, preserve_index=False))
    if writer is not None:
        writer.close()


VARIANTS: dict[str, Callable[[Path, Path], None]] = {
    "ours": run_ours,
    "bare": run_bare,
    "pyarrow": run_pyarrow,
    "polars": run_polars,
    "duckdb": run_duckdb,
    "pandas": run_pandas,
}
# Imported before a variant's clock starts; another benchmark measures cold starts.
_PYARROW = ("pyarrow.csv", "pyarrow.parquet")
IMPORTS = {
    "ours": ("vonage_dataset.parquet",),
    "bare": _PYARROW,
    "pyarrow": _PYARROW,
    "polars": ("polars",),
    "duckdb": ("duckdb",),
    "pandas": ("pandas", *_PYARROW),
}


class _NoPandas:
    """Hides pandas, which Lambda lacks; pyarrow would import it at the first value."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


def run_here(variant: str, archive: Path) -> dict[str, float]:
    """Run one variant in this process and return its measurements."""
    if variant != "pandas":
        sys.meta_path.insert(0, _NoPandas())
    for module in IMPORTS[variant]:
        importlib.import_module(module)
    with TemporaryDirectory() as folder:
        target = Path(folder) / "a.parquet"
        start, cpu_start = time.perf_counter(), time.process_time()
        VARIANTS[variant](archive, target)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
        return {
            "seconds": seconds,
            "cpu_seconds": cpu,
            "peak_rss_mb": _peak_rss_mb(),
            "bytes": target.stat().st_size,
        }


def _peak_rss_mb() -> float:
    """Return the peak memory of this process; getrusage would include the parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1000
    raise OSError("/proc/self/status has no line VmHWM")


def run_apart(variant: str, archive: Path) -> dict[str, float]:
    """Run one variant in a fresh process on one core."""
    done = subprocess.run(
        [sys.executable, "-m", __name__, variant, str(archive)],
        env=os.environ | {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def make_archive(rows: int, path: Path) -> int:
    """Render a day of SMS records and return the size of its CSV in bytes."""
    day = datetime(2026, 11, 20, tzinfo=UTC)
    request = ReportRequest(
        product=PRODUCTS["SMS"],
        account_id="abcd1234",
        start=day,
        end=day + timedelta(days=1),
        include_subaccounts=False,
        direction="outbound",
        filters={},
        switches_on=frozenset(),
        echo={},
        sent={},
    )
    Rendering(
        request=request,
        settings=Settings(rows_per_day=rows),
        accounts=["abcd1234"],
        created=day + timedelta(days=4),
        max_rows=rows,
        empty=None,
    ).run(path, threading.Event())
    with zipfile.ZipFile(path) as archive:
        return archive.infolist()[0].file_size


def measure() -> list[dict[str, Any]]:
    """Return a row for each variant and size: medians over interleaved rounds."""
    rows = []
    with TemporaryDirectory() as folder:
        for count, rounds in ROUNDS.items():
            archive = Path(folder) / f"{count}.zip"
            csv_bytes = make_archive(count, archive)
            runs: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
            for _ in range(rounds):
                for variant, measured in runs.items():
                    measured.append(run_apart(variant, archive))
            rows += [
                _row(
                    variant,
                    count,
                    runs,
                    csv_bytes=csv_bytes,
                    zip_bytes=archive.stat().st_size,
                )
                for variant in VARIANTS
            ]
    return rows


def _row(
    variant: str,
    count: int,
    runs: dict[str, list[dict[str, float]]],
    *,
    csv_bytes: int,
    zip_bytes: int,
) -> dict[str, Any]:
    mine, bare = runs[variant], runs["bare"]
    seconds = statistics.median(each["seconds"] for each in mine)
    ratios = (b["cpu_seconds"] / a["cpu_seconds"] for a, b in zip(mine, bare, strict=True))
    return {
        "variant": variant,
        "rows": count,
        "rows_per_second": round(count / seconds),
        "csv_mb_per_second": round(csv_bytes / seconds / 1e6, 1),
        "zip_mb_per_second": round(zip_bytes / seconds / 1e6, 1),
        "cpu_seconds": round(statistics.median(each["cpu_seconds"] for each in mine), 2),
        "of_bare": round(statistics.median(ratios), 2),
        "peak_rss_mb": round(max(each["peak_rss_mb"] for each in mine)),
        "parquet_of_zip": round(mine[0]["bytes"] / zip_bytes, 3),
    }


def main() -> list[dict[str, Any]]:
    """Print the table and return its rows."""
    rows = measure()
    print("convert: SMS archive to Parquet on one core; of bare: the engine alone, by CPU time")
    print(
        f"{'variant':<9}{'rows':>10}{'rows/s':>10}{'CSV MB/s':>10}{'ZIP MB/s':>10}"
        f"{'CPU s':>8}{'of bare':>9}{'RSS MB':>8}{'Parquet/ZIP':>13}"
    )
    for row in rows:
        print(
            f"{row['variant']:<9}{row['rows']:>10,}{row['rows_per_second']:>10,}"
            f"{row['csv_mb_per_second']:>10}{row['zip_mb_per_second']:>10}{row['cpu_seconds']:>8}"
            f"{row['of_bare']:>9}{row['peak_rss_mb']:>8}{row['parquet_of_zip']:>13}"
        )
    for each in missed([row for row in rows if row["variant"] == "ours"]):
        print(f"MISSED {each}")
    return rows


def missed(ours: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a sentence for each goal that was missed."""
    for row in ours:
        if row["of_bare"] < OF_BARE:
            yield f"{row['rows']:,} rows: {row['of_bare']} of bare, goal {OF_BARE}"
    memory = [row["peak_rss_mb"] for row in ours]
    if max(memory) > min(MOST_MEMORY_MB, 1.1 * min(memory)):
        yield f"peak RSS {memory} MB, goal {MOST_MEMORY_MB} and flat within 10 %"


if __name__ == "__main__":
    # One core for all threads, including the readers': a Lambda of 1,769 MB has one core.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(json.dumps(run_here(sys.argv[1], Path(sys.argv[2]))))
