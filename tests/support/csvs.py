"""CSV files as members of an archive."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vonage_dataset.zip_members import CsvMember


class Content(io.RawIOBase):
    """Bytes that come in pieces of at most `piece`."""

    def __init__(self, content: bytes, piece: int) -> None:
        self._stream = io.BytesIO(content)
        self._piece = piece

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: any buffer; io gives this one
        data = self._stream.read(min(len(buffer), self._piece))
        buffer[: len(data)] = data
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
