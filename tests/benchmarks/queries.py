"""Queries on many objects: the files that a query on one month opens, and its CPU seconds.

- A saved query and a bill on November, beside 3,000 and 100,000 objects of 1,000 days. Each object
  has the records of one definition and day.
- The same bill on the same records, after a compaction to one file for each day, or to one file.

Only the files that a query on November may open are readable, so a query that opens another file
fails. The files lie on the local disk: on S3, each file takes two requests or more.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vonage_dataset.cells import arrow_schema
from vonage_dataset.tables import TABLES
from vonage_reports_cli.bill import read_groups
from vonage_reports_cli.period import Period, month_of
from vonage_reports_cli.sql.dataset import Folder, open_dataset
from vonage_reports_cli.sql.named_queries import named_queries, values_of

DAYS = 1_000
DEFINITIONS = (3, 100)
RECORDS = 30
"""The records of a file."""

FIRST_DATE = date(2024, 4, 9)
NOVEMBER = month_of("2026-11")


def main() -> list[dict[str, Any]]:
    """Print a table of files and CPU seconds, and return its rows."""
    rows = []
    for definitions in DEFINITIONS:
        with TemporaryDirectory() as folder:
            root = Path(folder)
            dates = list(_fill(root, definitions))
            objects = f"{definitions * DAYS:,} objects"
            rows += [
                _measured(objects, "saved query", root, NOVEMBER),
                _measured(objects, "bill", root, NOVEMBER),
            ]
            for name, groups in (
                ("one file a day", [[each] for each in dates]),
                ("one file", [dates]),
            ):
                _compact(root, groups)
                rows.append(_measured(f"{objects}, {name}", "bill", root, NOVEMBER))
    print(f"{'':<36}{'':<14}{'files':>8}{'records':>10}{'open':>8}{'query':>8}")
    for row in rows:
        print("{objects:<36}{query:<14}{files:>8,}{records:>10,}{open:>8.2f}{seconds:>8.2f}"
              .format_map(row))  # fmt: skip
    return rows


def _fill(root: Path, definitions: int) -> Iterator[date]:
    """Write the objects, and yield the dates of the readable ones."""
    oldest, newest = NOVEMBER.window_dates
    for number in range(DAYS):
        day = FIRST_DATE + timedelta(days=number)
        is_read = oldest <= day <= newest
        for definition in range(definitions):
            file = root / _key(f"d{definition}", day)
            file.parent.mkdir(parents=True)
            if is_read:
                _write(file, definition, day)
            else:
                file.write_bytes(b"never opened")
        if is_read:
            yield day


def _key(definition: str, day: date) -> str:
    return f"data/product=SMS/definition={definition}/account=abcd1234/date={day}/x.parquet"


def _write(file: Path, definition: int, day: date) -> None:
    at = datetime.combine(day, datetime.min.time())
    row = {"date_received": at, "_window_start": at, "_collected_at": at, "total_price": 1,
           "account_id": "abcd1234", "_currency": "EUR", "_revision": "final"}  # fmt: skip
    rows = [{"id": f"{definition}-{day}-{number}", **row} for number in range(RECORDS)]
    pq.write_table(pa.Table.from_pylist(rows, arrow_schema(TABLES["SMS"])), file)


def _compact(root: Path, groups: Sequence[Sequence[date]]) -> None:
    """Put the readable files of each group of dates into one file."""
    for dates in groups:
        files = [file for day in dates for file in root.glob(_key("*", day))]
        table = pa.concat_tables(pq.read_table(file, partitioning=None) for file in files)
        for file in files:
            file.unlink()
        target = root / _key("compacted", dates[0])
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, target)


def _measured(objects: str, query: str, root: Path, period: Period) -> dict[str, Any]:
    begin = process_time()
    source = Folder(root, period)
    with open_dataset(source, with_manifests=False) as connection:
        opened = process_time()
        if query == "bill":
            groups = read_groups(connection, period, ["account"], currency=None)
            records = sum(each.records for each in groups)
        else:
            saved = named_queries()["billing"]
            sql = saved.render(values_of("billing", since="2026-11-01", until="2026-12-01"))
            found = connection.execute(sql)
            place = [each[0] for each in found.description or ()].index("records")
            records = sum(row[place] for row in found.fetchall())
        done = process_time()
        [(_, plan)] = connection.execute("EXPLAIN ANALYZE SELECT max(cost) FROM usage").fetchall()
        [files] = re.findall(r"Total Files Read: (\d+)", plan)
    return {"objects": objects, "query": query, "files": int(files), "records": records,
            "open": opened - begin, "seconds": done - opened}  # fmt: skip
