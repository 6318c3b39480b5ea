"""Rows of an answer: as lines of a terminal, as a CSV file, as values of JSON."""

import csv
import errno
import io
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from math import isfinite
from pathlib import Path

from rich.cells import cell_len

from vonage_reports.domain.printable import printable, without_formula
from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.files import file_to_write

Row = Sequence[object]


def lines_of(
    columns: Sequence[str], rows: Sequence[Row], *, right: Collection[str] = ()
) -> list[str]:
    """Return the header and each row as one line, never cut. Control characters become escapes.

    Numbers and the columns in `right` are aligned right.
    """
    lines = [[printable(text_of(value)) for value in row] for row in (columns, *rows)]
    for place in range(len(columns)):
        width = max(cell_len(line[place]) for line in lines)
        is_number = columns[place] in right or any(_is_number(row[place]) for row in rows)
        for line in lines:
            space = " " * (width - cell_len(line[place]))
            line[place] = space + line[place] if is_number else line[place] + space
    return ["  ".join(line).rstrip() for line in lines]


def split_common(
    columns: Sequence[str], rows: Sequence[Row], *, of: Sequence[str]
) -> tuple[dict[str, object], list[str], list[list[object]]]:
    """Take the columns among `of` out of the rows that say the same in every row.

    Return their values, the other columns, and the other cells. A single row stays as it is.
    """
    common = {
        name: rows[0][place]
        for place, name in enumerate(columns)
        if name in of and len(rows) > 1 and len({row[place] for row in rows}) == 1
    }
    kept = [place for place, name in enumerate(columns) if name not in common]
    return common, [columns[each] for each in kept], [[row[each] for each in kept] for row in rows]


def text_of(value: object) -> str:
    """Return a cell's text, with every digit of a decimal."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return str(value)


def json_value(value: object) -> object:
    """Return a cell as JSON has it. Decimals and times are text, so that no digit is lost."""
    if isinstance(value, float) and not isfinite(value):
        return str(value)  # JSON has no such number
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): json_value(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(each) for each in value]
    return text_of(value)


def target_of(text: str, *, inputs: Iterable[Path]) -> Path:
    """Return the file of --csv. Raises BadInput for a folder, and for a file that is an input."""
    path = file_to_write("--csv", text)
    for each in inputs:
        for output in (path, _beside(path)):
            if output.exists() and each.exists() and output.samefile(each):
                raise BadInput(
                    f"--csv {path} would write over {each}, which the command reads; name another "
                    "file"
                )
    return path


def write_csv(
    path: Path,
    columns: Sequence[str],
    rows: Sequence[Row],
    facts: Mapping[str, object],
    *,
    is_exact: bool = False,
) -> None:
    """Write the rows, and the facts about them as JSON into `<path>.json` beside it.

    A cell that a spreadsheet might evaluate gets an apostrophe, unless `is_exact`. Raises BadInput
    if a file cannot be written, and leaves an earlier file as it is then.
    """
    cell = text_of if is_exact else _harmless
    text = io.StringIO(newline="")
    csv.writer(text).writerows(map(cell, row) for row in (columns, *rows))
    try:
        _write(path, text.getvalue())
        if not _is_device(path):
            _write(_beside(path), json.dumps(facts, indent=1) + "\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadInput(f"--csv {path} cannot be written: {reason}") from error


def _beside(path: Path) -> Path:
    # `with_name` would refuse a folder such as ".".
    return path.parent / f"{path.name}.json"


def _is_device(path: Path) -> bool:
    """Tell whether a path is a device such as /dev/stdout, which may also be a file's."""
    return path.parts[:2] in (("/", "dev"), ("/", "proc")) or (
        path.exists() and not path.is_file() and not path.is_dir()
    )


def _write(path: Path, text: str) -> None:
    """Write a file as a whole, or not at all. A link stays a link, and the permissions stay."""
    content = text.encode("utf-8", errors="surrogatepass")
    if _is_device(path):
        path.write_bytes(content)
        return
    path = path.resolve()
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    partial = path.with_name(f".{path.name}.partial")
    try:
        if path.exists():
            path.open("ab").close()  # raises if the file is read-only
        partial.write_bytes(content)
        if path.exists():
            partial.chmod(path.stat().st_mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def written(path: Path, rows: int) -> str:
    """Return the sentence about a written file."""
    noun = "row" if rows == 1 else "rows"
    return f"Wrote {rows:,} {noun} to {printable(str(path))}."


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def _harmless(value: object) -> str:
    """Return a cell's text in a form that no spreadsheet evaluates."""
    return text_of(value) if _is_number(value) else without_formula(text_of(value))
