"""Reads a CSV file as batches of cells, in constant memory, and never drops a row.

pyarrow's reader is the fast path. It rejects a record longer than a block and a byte that is not
UTF-8, and its errors quote the row. When pyarrow fails, Python's csv reader continues from the row
that pyarrow reached. The csv reader either reads the rest, or names the line of the error. Both
readers follow the same rules:

- Commas separate fields. A record ends with LF, CR LF or the end of the file.
- A field in double quotes may contain anything; a quote inside it is doubled. In a field that does
  not begin with a quote, quotes are text.
- A CR without an LF is text inside quotes, and an error outside.
- An empty line is skipped, except in a file with one column, where it is an empty cell.
- Every record has as many fields as the header.
"""

import csv
import io
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa
from pyarrow import csv as arrow_csv

from vonage_dataset.zip_members import CsvMember, Reader
from vonage_reports.domain.errors import RowsUnreadable

RECORD_BYTES = 16 * 2**20
"""The size limit of a record, to bound memory. Messages have a few kB."""

BLOCK_BYTES = 2**20
"""The size of a block for pyarrow, which reads up to 32 blocks ahead."""

_SLOW_BATCH_ROWS = 1_000
_SLOW_BATCH_BYTES = 4 * 2**20
_READ_BYTES = 64 * 2**10
_LINE_END = b"\n"
_UTF8_BOM = b"\xef\xbb\xbf"
# csv reads text only. In Latin-1, every byte is a character.
_ANY_BYTES = "latin-1"
# We append a record of such cells to the file. An unclosed quote makes both readers take all the
# rows up to the end of the file as one cell. Then the last record is not the sentinel.
_SENTINEL = "-"


@dataclass(frozen=True)
class Rows:
    """An opened CSV file.

    Attributes:
        header: The names in the header; empty if the file has no record.
        header_line: The line on which the header begins, from 1.
        batches: The rows, to be read once. One column per name, in order. A column has strings, or
            bytes if they may not be UTF-8. Empty cells are null. Reading raises RowsUnreadable, and
            the errors of reading the member.
    """

    header: tuple[str, ...]
    header_line: int
    batches: Iterator[pa.RecordBatch]


def read_rows(member: CsvMember, *, block_bytes: int = BLOCK_BYTES) -> Rows:
    """Open a CSV file and read its header.

    Raises RowsUnreadable, and the errors of reading the member.
    """
    file = _CsvFile(member)
    return Rows(file.header, file.header_line, _batches(member, file, block_bytes))


def _batches(member: CsvMember, file: "_CsvFile", block_bytes: int) -> Iterator[pa.RecordBatch]:
    done = 0
    with closing(file):
        if not file.header:
            return
        try:
            for batch in _fast_batches(file, block_bytes):
                done += batch.num_rows
                yield batch
        except pa.ArrowInvalid:
            pass  # never log or chain this error, because its text quotes the row
        else:
            return
    with closing(_CsvFile(member)) as again:
        yield from again.batches(skip=done)


def _fast_batches(file: "_CsvFile", block_bytes: int) -> Iterator[pa.RecordBatch]:
    """Yield batches while pyarrow can be trusted, then raise ArrowInvalid."""
    names = [str(position) for position in range(len(file.header))]
    blocks = _Blocks(file.buffer)
    with arrow_csv.open_csv(
        blocks,
        read_options=arrow_csv.ReadOptions(
            use_threads=False, block_size=block_bytes, column_names=names
        ),
        parse_options=arrow_csv.ParseOptions(
            newlines_in_values=True, ignore_empty_lines=len(names) > 1
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
        ),
    ) as reader:
        # Hold one batch back, because the last one ends with the sentinel.
        held: pa.RecordBatch | None = None
        for batch in reader:
            if blocks.is_ambiguous:
                raise pa.ArrowInvalid("a CR without an LF, or a NUL")
            if held is not None and batch.num_rows:
                yield held
            held = batch if batch.num_rows else held
    if held is None or {column[-1].as_py() for column in held.columns} != {_SENTINEL}:
        raise pa.ArrowInvalid("the last record is not the sentinel")
    if blocks.quotes % 2 or blocks.is_ambiguous:
        # At the end of a block, pyarrow may take an open quote for a closed one (seen in release
        # 26).
        raise pa.ArrowInvalid("a quote may be unclosed, or as above")
    yield held.slice(0, held.num_rows - 1)


class _Blocks:
    """Feeds a file to pyarrow so that pyarrow drops no byte of a cell (seen in release 26).

    pyarrow takes an LF at the start of a block for the second half of a CR LF, so no block ends
    with a CR. pyarrow also drops a byte order mark at the start of the file. The mark may belong to
    a cell, so we add another mark before it.
    """

    closed = False

    def __init__(self, file: Reader) -> None:
        self._file = file
        self._held = _UTF8_BOM
        self.quotes = 0
        """How many quotes were read so far."""
        self.is_ambiguous = False
        """Whether pyarrow may read other cells than Python: after a CR without an LF, which pyarrow
        takes for a line end, or after a NUL, which may hide a quote from pyarrow."""

    def readable(self) -> bool:
        return True

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes. The sentinel follows the last CR, so no CR stays held back."""
        block = self._held + self._file.read(size - len(self._held))
        self.quotes += block.count(b'"')
        self._held = b"\r" if block.endswith(b"\r") and len(block) > 1 else b""
        block = block.removesuffix(self._held)
        if b"\r" in block:  # a CR is rare, and one search is faster than two counts
            self.is_ambiguous |= block.count(b"\r") > block.count(b"\r\n")
        self.is_ambiguous |= b"\0" in block
        return block

    def close(self) -> None:
        """Leave the file open, because the caller closes it."""


class _Appendable(io.RawIOBase):
    """A stream to which a line can be appended."""

    def __init__(self, stream: io.RawIOBase) -> None:
        self._stream = stream
        self._appended: bytes | None = None
        self._in_a_line = False

    def readable(self) -> bool:
        return True

    def append(self, line: bytes, *, at_end: bool) -> None:
        """Append `line` on a line of its own. `at_end`: whether the stream was read to its end."""
        self._appended = line
        self._in_a_line = self._in_a_line and not at_end

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: any buffer; io gives this one
        count = self._stream.readinto(buffer) or 0
        if count:
            self._in_a_line = bytes(buffer[count - 1 : count]) != _LINE_END
        elif self._appended:
            if self._in_a_line:
                self._appended, self._in_a_line = _LINE_END + self._appended, False
            piece = self._appended[: len(buffer)]
            buffer[: len(piece)] = piece
            self._appended = self._appended[len(piece) :]
            count = len(piece)
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


class _CsvFile:
    """An open CSV file whose header was read. Reads the rows with Python's csv.

    `buffer` has the bytes after the header, then the sentinel.
    """

    def __init__(self, member: CsvMember) -> None:
        self._name = member.name
        self._stream = _Appendable(member.open())
        self.buffer = io.BufferedReader(self._stream, _READ_BYTES)
        self._line = 1  # the first line of the current record
        self._record_bytes = 0
        self._at_end = False
        self._records = self._read_records()
        self.header_line = 1
        try:
            self.header = self._read_header()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.buffer.close()

    def batches(self, *, skip: int) -> Iterator[pa.RecordBatch]:
        """Yield all records after the first `skip`."""
        cells: list[list[str]] = []
        size = 0
        for record in islice(self._whole_records(), skip, None):
            cells.append(record)
            size += sum(map(len, record))
            if len(cells) == _SLOW_BATCH_ROWS or size >= _SLOW_BATCH_BYTES:
                yield self._batch(cells)
                cells, size = [], 0
        if cells:
            yield self._batch(cells)

    def _read_header(self) -> tuple[str, ...]:
        for line, names in self._records:
            if not names:
                continue
            try:
                header = tuple(name.encode(_ANY_BYTES).decode() for name in names)
            except UnicodeDecodeError:
                raise self._unreadable(line, "a name in the header is not UTF-8") from None
            if any("\n" in name for name in header):
                # An unclosed quote would make all rows a part of the name.
                raise self._unreadable(line, "a name in the header spans several lines")
            ending = ",".join([_SENTINEL] * len(header)).encode() + _LINE_END
            self._stream.append(ending, at_end=self._at_end)
            self.header_line = line
            return header
        return ()

    def _whole_records(self) -> Iterator[list[str]]:
        """Yield the records. Raises RowsUnreadable for a wrong number of fields."""
        width = len(self.header)
        held: tuple[int, list[str]] | None = None
        for line, read in self._records:
            record = read or ([""] if width == 1 else [])
            if not record:
                continue
            if held is not None:
                if len(held[1]) != width:
                    fields = "1 field" if len(held[1]) == 1 else f"{len(held[1])} fields"
                    reason = f"{fields} where the header has {width}"
                    raise self._unreadable(held[0], reason)
                yield held[1]
            held = line, record
        if held is not None and held[1] != [_SENTINEL] * width:
            raise self._unreadable(held[0], "a quote in this record is never closed")

    def _read_records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each record and the number of its first line."""
        csv.field_size_limit(RECORD_BYTES)  # csv's only limit is for the whole process
        reader = csv.reader(self._lines())
        while True:
            self._line = reader.line_num + 1
            self._record_bytes = 0
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error:  # within the limits, csv has no other error
                raise self._unreadable(self._line, "a CR alone, outside of quotes") from None
            yield self._line, record

    def _lines(self) -> Iterator[str]:
        first = True
        while line := self.buffer.readline(RECORD_BYTES):
            self._record_bytes += len(line)
            if self._record_bytes >= RECORD_BYTES:
                reason = f"the record is longer than {RECORD_BYTES // 2**20} MiB"
                raise self._unreadable(self._line, reason)
            if not line.endswith(_LINE_END):
                self._at_end = True
            if first:
                line, first = line.removeprefix(_UTF8_BOM), False
            yield line.decode(_ANY_BYTES)

    def _batch(self, records: list[list[str]]) -> pa.RecordBatch:
        return pa.record_batch(
            [
                pa.array([cell.encode(_ANY_BYTES) or None for cell in column], pa.binary())
                for column in zip(*records, strict=True)
            ],
            names=[str(position) for position in range(len(self.header))],
        )

    def _unreadable(self, line: int, reason: str) -> RowsUnreadable:
        return unreadable(self._name, line, reason)


def unreadable(member: str, line: int, reason: str) -> RowsUnreadable:
    """Return the error for a line. Quote no cell, because a cell may be a phone number."""
    return RowsUnreadable(
        f"{member}, line {line:,}: {reason}. The archive is stored: send reconvert once the "
        "converter can read it, or recollect (billed) to request a new report."
    )
