"""Run SQL on the delivered dataset: `python -m local.sql`, the command behind `make query`."""

import csv
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import duckdb
from rich.cells import cell_len

from local.runner.options import BadInput
from local.sql.dataset import Folder, StackBucket, open_dataset
from local.sql.named_queries import named_queries, values_from
from vonage_reports.domain.printable import printable, without_formula

ROOT = Path(__file__).parents[2]
OUT = ROOT / "out"
MOST_ROWS = 1000
"""How many rows are printed at most. CSV=file.csv writes all rows."""


def main() -> int:
    """Run the query that the environment names, and return the exit code."""
    try:
        return answer(os.environ, OUT)
    except BrokenPipeError:
        # A reader such as `head` has closed the pipe. Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def answer(environment: Mapping[str, str], out: Path) -> int:
    """Print the answer to the environment's query on `out`. Return 0, or 2 for bad input."""
    given = {name: value for name, value in environment.items() if value}
    try:
        sql = _sql(given)
        is_exact = _is_exact(given)
        invoice = Path(given["INVOICE"]) if "INVOICE" in given else None
        source = StackBucket(given["STACK"]) if "STACK" in given else Folder(out)
        with_manifests = "manifests" in sql.lower()
        with open_dataset(source, with_manifests=with_manifests, invoice=invoice) as connection:
            _run(connection, sql, given.get("CSV"), is_exact=is_exact)
    except BadInput as error:
        return _complain(str(error))
    except duckdb.Error as error:
        # The lines below the first one show the place in the SQL.
        return _complain(str(error).split("\n")[0])
    return 0


def _complain(sentence: str) -> int:
    print(f"make query: {printable(sentence)}", file=sys.stderr)
    return 2


def _sql(given: Mapping[str, str]) -> str:
    named = named_queries()
    asked = [name for name in ("SQL", "FILE", "NAMED") if name in given]
    if len(asked) != 1:
        raise BadInput(
            "give one of SQL='SELECT ...', FILE=query.sql and NAMED=query; "
            f"the named queries are {', '.join(named)}"
        )
    if asked == ["SQL"]:
        return given["SQL"]
    if asked == ["FILE"]:
        try:
            return Path(given["FILE"]).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"FILE={given['FILE']} cannot be read: {error}") from error
    name = given["NAMED"]
    if name not in named:
        raise BadInput(f"NAMED={name} is unknown; the named queries are {', '.join(named)}")
    if name == "reconciliation" and "INVOICE" not in given:
        raise BadInput("NAMED=reconciliation needs an invoice; add INVOICE=file.csv")
    return named[name].render(values_from(given, query=name))


def _is_exact(given: Mapping[str, str]) -> bool:
    """Return whether the CSV file gets all text unchanged. Raises BadInput."""
    text = given.get("CSV_TEXT")
    if text not in (None, "exact"):
        raise BadInput(f"CSV_TEXT is {text!r}; use exact, or leave it out")
    return text is not None


def _run(
    connection: duckdb.DuckDBPyConnection, sql: str, target: str | None, *, is_exact: bool
) -> None:
    found = connection.execute(sql)
    columns = [each[0] for each in found.description or ()]
    if target is not None:
        _write_csv(target, columns, found.fetchall(), is_exact=is_exact)
        return
    rows = found.fetchmany(MOST_ROWS + 1)
    print_rows(columns, rows[:MOST_ROWS])
    if len(rows) > MOST_ROWS:
        print(f"These are the first {MOST_ROWS:,} rows. CSV=file.csv writes all.")
    elif not rows:
        print("No rows.")


def _write_csv(
    target: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, is_exact: bool
) -> None:
    cell = _text if is_exact else _harmless
    try:
        with Path(target).open("w", newline="") as file:
            csv.writer(file).writerows(map(cell, row) for row in (columns, *rows))
    except OSError as error:
        raise BadInput(f"CSV={target} cannot be written: {error.strerror}") from error
    print(f"Wrote {len(rows):,} rows to {printable(target)}.")


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print each row on one line, never folded or cut. Control characters become escapes."""
    lines = [[printable(_text(value)) for value in row] for row in (columns, *rows)]
    for place in range(len(columns)):
        width = max(cell_len(line[place]) for line in lines)
        is_number = any(_is_number(row[place]) for row in rows)
        for line in lines:
            space = " " * (width - cell_len(line[place]))
            line[place] = space + line[place] if is_number else line[place] + space
    for line in lines:
        print("  ".join(line).rstrip())


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, Decimal))


def _harmless(value: object) -> str:
    """Return a cell's text in a form that no spreadsheet evaluates."""
    return _text(value) if _is_number(value) else without_formula(_text(value))


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return str(value)


if __name__ == "__main__":
    sys.exit(main())
