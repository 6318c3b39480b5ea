"""A CSV file as batches of cells, in constant memory, and never with fewer rows than it has.

pyarrow's reader is the fast way. It takes no record that is longer than a block and no byte that is
not UTF-8, and its errors quote the row. Where it gives up, Python's own reader goes on from the row
that it had reached: either it can read what follows, or it knows the line. Both take the same for a
record:

- fields are separated by commas; records end with LF, CR LF or with the file;
- a field in double quotes may hold anything, a quote in it is doubled; a quote in a field that
  does not begin with one is text;
- a CR that no LF follows is text in quotes, and an error outside of them;
- a line without anything is no record, except in a file of one column: there it is an empty cell;
- every record has as many fields as the header.
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
"""A longer record is an error: a message has some kilobytes, and memory has an end."""

BLOCK_BYTES = 2**20
"""What pyarrow parses at once; it reads up to 32 of them ahead."""

_SLOW_BATCH_ROWS = 1_000
_SLOW_BATCH_BYTES = 4 * 2**20
_READ_BYTES = 64 * 2**10
_LINE_END = b"\n"
_UTF8_BOM = b"\xef\xbb\xbf"
# Any byte is a character of Latin-1, so that csv, which wants text, lets all of them pass.
_ANY_BYTES = "latin-1"
# One more record behind the last, all of its cells this. Both readers take a quote that is never
# closed for a cell that goes on to the end of the file, over all rows in it: then the last record
# is another one.
_SENTINEL = "-"


@dataclass(frozen=True)
class Rows:
    """What a CSV file has: the names in its header, none where there is no record at all.

    `header_line` is where the header begins, counted from 1.
    `batches` can be read once: a column for each name, in their order, of strings, or of bytes
    where they may not be UTF-8. Empty cells are null.
    Reading raises RowsUnreadable, and what reading the member raises.
    """

    header: tuple[str, ...]
    header_line: int
    batches: Iterator[pa.RecordBatch]


def read_rows(member: CsvMember, *, block_bytes: int = BLOCK_BYTES) -> Rows:
    """Open a CSV file and read its header.

    Raises RowsUnreadable, and what reading the member raises.
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
            pass  # without a word of it: it quotes the row
        else:
            return
    with closing(_CsvFile(member)) as again:
        yield from again.batches(skip=done)


def _fast_batches(file: "_CsvFile", block_bytes: int) -> Iterator[pa.RecordBatch]:
    """Yield all batches, as far as pyarrow can be trusted, and then raise its ArrowInvalid."""
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
        # One batch is held back: the sentinel is at the end of the last.
        held: pa.RecordBatch | None = None
        for batch in reader:
            if blocks.has_lone_cr:
                raise pa.ArrowInvalid("a CR without an LF may be taken for the end of a line")
            if held is not None and batch.num_rows:
                yield held
            held = batch if batch.num_rows else held
    if held is None or {column[-1].as_py() for column in held.columns} != {_SENTINEL}:
        raise pa.ArrowInvalid("the last record is not the one behind the last")
    if blocks.quotes % 2 or blocks.has_lone_cr:
        # At the end of a block a quote that is open may count as closed (seen in release 26).
        raise pa.ArrowInvalid("a quote may never be closed, or as above")
    yield held.slice(0, held.num_rows - 1)


class _Blocks:
    """A file as pyarrow is to see it, because it drops what may be in a cell (seen in release 26).

    An LF at the start of a block it takes for the rest of a CR LF at a line's end: no block ends
    with a CR. A byte order mark at the start it takes for the file's: it gets one of its own.
    """

    closed = False

    def __init__(self, file: Reader) -> None:
        self._file = file
        self._held = _UTF8_BOM
        self.quotes = 0
        """How many there were so far."""
        self.has_lone_cr = False
        """Whether there was a CR that no LF followed: pyarrow takes it for a line's end."""

    def readable(self) -> bool:
        return True

    def read(self, size: int) -> bytes:
        """Return `size` bytes or one less. Behind the last CR there is still the sentinel."""
        block = self._held + self._file.read(size - len(self._held))
        self.quotes += block.count(b'"')
        self._held = b"\r" if block.endswith(b"\r") and len(block) > 1 else b""
        block = block.removesuffix(self._held)
        if b"\r" in block:  # nearly always not, and to look is quicker than to count
            self.has_lone_cr |= block.count(b"\r") > block.count(b"\r\n")
        return block

    def close(self) -> None:
        """Leave the file open: it is not pyarrow's."""


class _Ended(io.RawIOBase):
    """A stream with something more behind its end."""

    def __init__(self, stream: io.RawIOBase) -> None:
        self._stream = stream
        self._ending: bytes | None = None
        self._in_a_line = False

    def readable(self) -> bool:
        return True

    def end_with(self, line: bytes, *, now: bool) -> None:
        """Put `line` behind the end, on a line of its own; `now`: the end has been reached."""
        self._ending = line
        self._in_a_line = self._in_a_line and not now

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: any buffer; io gives this one
        count = self._stream.readinto(buffer) or 0
        if count:
            self._in_a_line = bytes(buffer[count - 1 : count]) != _LINE_END
        elif self._ending:
            if self._in_a_line:
                self._ending, self._in_a_line = _LINE_END + self._ending, False
            piece = self._ending[: len(buffer)]
            buffer[: len(piece)] = piece
            self._ending = self._ending[len(piece) :]
            count = len(piece)
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


class _CsvFile:
    """A CSV file, opened and read up to the end of its header; Python's way to read on.

    `buffer` is what follows the header, and the sentinel.
    """

    def __init__(self, member: CsvMember) -> None:
        self._name = member.name
        self._ended = _Ended(member.open())
        self.buffer = io.BufferedReader(self._ended, _READ_BYTES)
        self._line = 1  # where the record begins that is being read
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
        """Yield the records after the first `skip` ones."""
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
                # A quote that is never closed would make all rows a part of the name.
                raise self._unreadable(line, "a name in the header goes over several lines")
            ending = ",".join([_SENTINEL] * len(header)).encode() + _LINE_END
            self._ended.end_with(ending, now=self._at_end)
            self.header_line = line
            return header
        return ()

    def _whole_records(self) -> Iterator[list[str]]:
        """Yield the records that have as many fields as the header, or raise."""
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
        csv.field_size_limit(RECORD_BYTES)  # it has no other limit than one for the process
        reader = csv.reader(self._lines())
        while True:
            self._line = reader.line_num + 1
            self._record_bytes = 0
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error:  # there is no other one within the limits
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
        return RowsUnreadable(f"{self._name}, line {line:,}: {reason}.")
