"""CSV files as members of an archive."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vonage_dataset.zip_members import CsvMember

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Content(io.RawIOBase):
    """Bytes that come in pieces of at most `piece`."""

    def __init__(self, content: bytes, piece: int) -> None:
        self._stream = io.BytesIO(content)
        self._piece = piece

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer)
        data = self._stream.read(min(len(target), self._piece))
        target[: len(data)] = data
        return len(data)


def member(content: bytes, *, name: str = "report.csv", piece: int = 65_536) -> CsvMember:
    return CsvMember(name, lambda: Content(content, piece))


def written(
    rows: Sequence[Sequence[str]], *, line_end: str = "\n", quote_all: bool = True
) -> bytes:
    """Write a CSV. csv.writer would not quote a lone CR, which then looks like a line end."""
    text = "".join(
        ",".join(quoted(cell, always=quote_all or row == [""]) for cell in row) + line_end
        for row in rows
    )
    return text.encode()


def quoted(cell: str, *, always: bool) -> str:
    return '"' + cell.replace('"', '""') + '"' if always or re.search('[",\r\n]', cell) else cell


_OUTSIDE = ("start", "plain", "closed")
_KINDS = {b'"': "quote", b",": "comma", b"\n": "end", b"\r\n": "end", b"\r": "cr"}
_REFUSED = {("quote", "plain"), ("text", "closed"), *(("cr", each) for each in _OUTSIDE)}


def strict_records(content: bytes) -> list[list[bytes]] | None:
    """Read a CSV character by character, by the rules of vonage_dataset.csv_rows.

    Return the records, [] for an empty line, or None if the CSV breaks a rule. The number of fields
    is not checked.
    """
    content = content.removeprefix(b"\xef\xbb\xbf")
    content += b"" if content.endswith(b"\n") else b"\n"
    records: list[list[bytes]] = [[]]
    cell, state = b"", "start"
    for text in re.findall(rb"\r\n|[\s\S]", content):
        kind = _KINDS.get(text, "text")
        if (kind, state) in _REFUSED:
            return None
        if kind == "quote":
            cell += text if state == "closed" else b""
            state = "closed" if state == "quoted" else "quoted"
        elif kind == "text" or state == "quoted":
            cell += text
            state = "quoted" if state == "quoted" else "plain"
        else:
            if kind == "comma" or records[-1] or state != "start":
                records[-1].append(cell)
            records += [[]] if kind == "end" else []
            cell, state = b"", "start"
    return None if state == "quoted" else records[:-1]


def separated(content: bytes, width: int) -> list[list[bytes] | bytes]:
    """Separate the content behind a header into records, empty lines and unreadable texts.

    Try each line as the start of a record. Empty lines are [] outside of unreadable texts.
    """
    lines = re.findall(rb"[^\n]*\n|[^\n]+", content)
    parts: list[list[bytes] | bytes] = []
    while lines:
        last = parts[-1] if parts else None
        length, record = _first_record(lines)
        record = [b""] if record == [] and width == 1 else record
        is_skipped = record == [] and not isinstance(last, bytes)
        if record is not None and (len(record) == width or is_skipped):
            parts.append(record)
            lines = lines[length:]
        elif isinstance(last, bytes):
            parts[-1] = last + lines.pop(0)
        else:
            parts.append(lines.pop(0))
    return parts


def _first_record(lines: Sequence[bytes]) -> tuple[int, list[bytes] | None]:
    for length in range(1, len(lines) + 1):
        # The mark in front is dropped, and so no mark of the record.
        found = strict_records(b"\xef\xbb\xbf" + b"".join(lines[:length]))
        if found is not None:
            return length, found[0]
    return 0, None


@dataclass
class FileSource:
    """An archive on disk, read like one in S3. `ranges` records the ranged reads."""

    path: Path
    ranges: list[tuple[int, int]] = field(default_factory=list)

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    @contextmanager
    def open(self, start: int, length: int) -> Iterator[io.BytesIO]:
        self.ranges.append((start, length))
        with self.path.open("rb") as file:
            file.seek(start)
            yield io.BytesIO(file.read(length))
