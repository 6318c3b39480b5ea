"""Reads a CSV file as batches of cells, in constant memory, and never drops a row.

pyarrow's reader is the fast path. It rejects a record longer than a block and a byte that is not
UTF-8, and its errors quote the row. When pyarrow fails, Python's csv reader continues from the row
that pyarrow reached. The csv reader either reads the rest, or names the line of the error. Both
readers follow the same rules:

- Commas separate fields. A record ends with LF, CR LF or the end of the file.
- A field in double quotes may contain anything; a quote inside it is doubled. Only a comma or the
  end of the record follows the closing quote. A field that does not begin with a quote has none.
- A CR without an LF is text inside quotes, and an error outside.
- An empty line is skipped, except in a file with one column, where it is an empty cell.
- Every record has as many fields as the header.

pyarrow and csv accept a quote in any other place, and then change the cell or join records. So this
module checks each quote itself, in front of pyarrow and behind csv.

If the operator accepts unreadable rows, the records that follow these rules are read, and the rest
is kept byte for byte. The unreadable text begins with the record that breaks a rule, and ends
before the next line with which a whole record begins. A record that spans lines is whole too.
"""

import csv
import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from vonage_dataset.zip_members import STORED, CsvMember
from vonage_reports.domain.acceptance import Acceptable
from vonage_reports.domain.errors import RowsUnreadable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

RECORD_BYTES = 16 * 2**20
"""The size limit of a record, to bound memory. Messages have a few kB."""

BLOCK_BYTES = 2 * 2**20
"""The size of a block for pyarrow. Smaller blocks cost more calls. Larger ones leave the
processor's cache."""

MOST_COLUMNS = 4_096
"""The limit of names in a header, to bound memory. Vonage's records have at most 30."""

_SLOW_BATCH_ROWS = 1_000
_SLOW_BATCH_BYTES = 4 * 2**20
_READ_BYTES = 64 * 2**10
_LINE_END = b"\n"
_UTF8_BOM = b"\xef\xbb\xbf"
# csv reads text only. In Latin-1, every byte is a character.
_ANY_BYTES = "latin-1"
# We append a record of such cells to the file. If the last record of a reader is another one, the
# reader dropped rows.
_SENTINEL = "-"
_LONE_CR = "a CR alone, outside of quotes"
_CELL = r'(?:"(?:[^"]++|"")*+"|[^",\r\n]*+)'
_RECORD = re.compile(rf"{_CELL}(?:,{_CELL})*+")
# A line of a record, with a group if the record ends. Without it, a cell goes on in the next line.
_CELLS = rf'(?:{_CELL},)*+(?:{_CELL}(\r?\n)|"(?:[^"]++|"")*+)'
_LINE = re.compile(_CELLS)
_LINE_IN_A_CELL = re.compile(rf'(?:[^"]++|"")*+(?:"(?:,{_CELLS}|(\r?\n)))?')


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


class _LineReader(Protocol):
    def readline(self, size: int, /) -> bytes: ...


class UnreadableRows:
    """Collects the unreadable text of CSV files, byte for byte and in order.

    Attributes:
        count: The number of texts. Each counts as one row, though it may be several.
        bytes: Their size.
        sha256: Their checksum.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = self.bytes = 0
        self.sha256 = hashlib.sha256()

    def begin(self) -> None:
        """Begin another text."""
        self.count += 1

    def write(self, line: bytes) -> None:
        """Add a line to the text."""
        self._file.write(line)
        self.bytes += len(line)
        self.sha256.update(line)


def read_rows(
    member: CsvMember, *, block_bytes: int = BLOCK_BYTES, unreadable: UnreadableRows | None = None
) -> Rows:
    """Open a CSV file and read its header.

    Text that cannot be read as rows goes to `unreadable`. If it is None, or if the header cannot be
    read, raise RowsUnreadable. Also raises the errors of reading the member.
    """
    file = _CsvFile(member)
    return Rows(file.header, file.header_line, _batches(member, file, block_bytes, unreadable))


def _batches(
    member: CsvMember, file: "_CsvFile", block_bytes: int, unreadable: UnreadableRows | None
) -> Iterator[pa.RecordBatch]:
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
    with closing(_CsvFile(member, has_sentinel=unreadable is None)) as again:
        records = (
            again.whole_records()
            if unreadable is None
            else _readable_records(again.buffer, len(again.header), unreadable)
        )
        yield from again.batches(islice(records, done, None))


def _fast_batches(file: "_CsvFile", block_bytes: int) -> Iterator[pa.RecordBatch]:
    """Yield batches while pyarrow can be trusted, then raise ArrowInvalid."""
    names = [str(position) for position in range(len(file.header))]
    blocks = _Blocks(file.buffer)
    with arrow_csv.open_csv(
        blocks,
        read_options=arrow_csv.ReadOptions(
            use_threads=False, block_size=block_bytes, column_names=names
        ),
        # A block ends with a record, so pyarrow need not look for its end: any LF may be in a cell.
        parse_options=arrow_csv.ParseOptions(
            newlines_in_values=False, ignore_empty_lines=len(names) > 1
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
            if blocks.is_refused:
                raise pa.ArrowInvalid("a quote or a CR in the wrong place, or a NUL")
            if held is not None and batch.num_rows:
                yield held
            held = batch if batch.num_rows else held
    if held is None or {column[-1].as_py() for column in held.columns} != {_SENTINEL}:
        raise pa.ArrowInvalid("the last record is not the sentinel")
    yield held.slice(0, held.num_rows - 1)


class _Blocks:
    """Feeds whole records to pyarrow, as long as pyarrow and Python read the same cells.

    pyarrow drops a byte order mark at the start of the file (seen in release 26). The mark may
    belong to a cell, so we add another mark before it.
    """

    closed = False

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._mark = _UTF8_BOM
        # One buffer for all blocks: the kernel would map and zero the memory of each new one.
        self._buffer = bytearray()
        self._rest = 0  # how many bytes of the next block are in the buffer
        self.is_refused = False
        """Whether the file goes on, but the next record is left to Python's reader."""

    def readable(self) -> bool:
        return True

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, which end with a record. Return b"" at the end."""
        if self.is_refused:
            return b""
        if not self._buffer:
            self._buffer = bytearray(-(-size // _WORD) * _WORD)
        buffer = self._buffer
        last = max(size - len(self._mark), self._rest + 1)
        with memoryview(buffer) as view:
            length = self._rest + self._file.readinto(view[self._rest : last])
            end = _end_of_records(buffer, length)
            self.is_refused = length > 0 and not end
            block = b"".join((self._mark, view[:end]))
            self._rest = length - end
            buffer[: self._rest] = bytes(view[end:length])
        self._mark = b""
        return block if end else b""

    def close(self) -> None:
        """Leave the file open, because the caller closes it."""


def _end_of_records(buffer: bytearray, length: int) -> int:
    """Return the end of the last whole record in the first `length` bytes of the buffer.

    The buffer begins with a record. Return 0 if no record is whole, or if pyarrow may read other
    cells than Python: after a quote in the wrong place, after a CR without an LF, which pyarrow
    takes for a line end, or after a NUL, which may hide a quote from pyarrow (seen in release 26).
    """
    if buffer.find(b"\0", 0, length) >= 0:
        return 0
    end = buffer.rfind(_LINE_END, 0, length) + 1
    if buffer.find(b'"', 0, length) >= 0:
        quoted = _quoted_bytes(buffer, length)
        if quoted is None:
            return 0
        while end and quoted[end - 1].as_py():
            end = buffer.rfind(_LINE_END, 0, end - 1) + 1
    # A CR is rare, and one search is faster than two counts.
    if buffer.find(b"\r", 0, end) >= 0:
        is_alone = buffer.count(b"\r", 0, end) > buffer.count(b"\r\n", 0, end)
        return 0 if is_alone else end
    return end


_WORD = 64
_QUOTE, _COMMA = (pa.scalar(ord(character), pa.uint8()) for character in '",')
_AFTER_A_CELL = pa.array(b"\r\n", pa.uint8())
_SHIFTS = [pa.scalar(1 << power, pa.uint64()) for power in range(6)]
_ZERO, _ONE, _LAST_BIT = (pa.scalar(value, pa.uint64()) for value in (0, 1, _WORD - 1))


def _quoted_bytes(buffer: bytearray, length: int) -> pa.Array | None:
    """Tell for each byte whether it is in quotes. Return None if a quote is in the wrong place.

    A byte is in quotes if an odd number of quotes precedes it. So an opening quote counts as in
    quotes, and a closing one does not. A doubled quote is a closing quote and an opening one.
    """
    padded = -(-length // _WORD) * _WORD
    buffer[length:padded] = _LINE_END * (padded - length)
    characters = _array(pa.uint8(), padded, pa.py_buffer(buffer))
    quotes = pc.equal(characters, _QUOTE)
    quoted = _array(pa.bool_(), padded, _odd_so_far(quotes))
    # Beside a quote there is a comma, a quote or, for one cell of a record only, a line end.
    usual = pc.or_(quotes, pc.equal(characters, _COMMA))
    opening, closing = pc.and_(quotes, quoted), pc.and_not(quotes, quoted)
    before = characters[:-1].filter(pc.and_not(opening[1:], usual[:-1]))
    after = characters[1:].filter(pc.and_not(closing[:-1], usual[1:]))
    is_strict = before.to_pylist().count(ord(_LINE_END)) == len(before) and (
        pc.all(pc.is_in(after, _AFTER_A_CELL), min_count=0).as_py()
    )
    return quoted if is_strict else None


def _odd_so_far(bits: pa.Array) -> pa.Buffer:
    """Return the bits that tell whether an odd number of `bits` is set up to and with each bit.

    Each step doubles the distance, as in Langdale and Lemire, "Parsing Gigabytes of JSON per
    Second", VLDB Journal 28 (2019), 3.1.1.
    """
    words = _array(pa.uint64(), len(bits) // _WORD, bits.buffers()[1])
    for shift in _SHIFTS:
        words = pc.bit_wise_xor(words, pc.shift_left(words, shift))
    odd = pc.shift_right(words, _LAST_BIT)
    odd_before = pc.bit_wise_and(pc.subtract(pc.cumulative_sum(odd), odd), _ONE)
    return pc.bit_wise_xor(words, pc.subtract(_ZERO, odd_before)).buffers()[1]


def _array(kind: pa.DataType, length: int, values: pa.Buffer) -> pa.Array:
    return pa.Array.from_buffers(kind, length, [None, values])


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

    def readinto(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer)
        count = self._stream.readinto(target) or 0
        if count:
            self._in_a_line = bytes(target[count - 1 : count]) != _LINE_END
        elif self._appended:
            if self._in_a_line:
                self._appended, self._in_a_line = _LINE_END + self._appended, False
            piece = self._appended[: len(target)]
            target[: len(piece)] = piece
            self._appended = self._appended[len(piece) :]
            count = len(piece)
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


class _CsvFile:
    """An open CSV file whose header was read. Reads the rows with Python's csv.

    `buffer` has the bytes after the header, then the sentinel, if it `has_sentinel`.
    """

    def __init__(self, member: CsvMember, *, has_sentinel: bool = True) -> None:
        self._has_sentinel = has_sentinel
        self._name = member.name
        self._stream = _Appendable(member.open())
        self.buffer = io.BufferedReader(self._stream, _READ_BYTES)
        self._line = 1  # the first line of the current record
        self._record: list[str] = []  # the lines of the current record
        self._record_bytes = 0
        self._at_end = False
        self._records = self._read_records()
        self.header_line = 1
        self.header: tuple[str, ...] = ()
        try:
            self.header = self._read_header()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.buffer.close()

    def batches(self, records: Iterator[list[str]]) -> Iterator[pa.RecordBatch]:
        """Yield records of this file as batches."""
        cells: list[list[str]] = []
        size = 0
        for record in records:
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
            if len(names) > MOST_COLUMNS:
                raise self._unreadable(line, f"more than {MOST_COLUMNS:,} columns")
            try:
                header = tuple(name.encode(_ANY_BYTES).decode() for name in names)
            except UnicodeDecodeError:
                raise self._unreadable(line, "a name in the header is not UTF-8") from None
            if any("\n" in name for name in header):
                raise self._unreadable(line, "a name in the header spans several lines")
            ending = ",".join([_SENTINEL] * len(header)).encode() + _LINE_END
            if self._has_sentinel:
                self._stream.append(ending, at_end=self._at_end)
            self.header_line = line
            return header
        return ()

    def whole_records(self) -> Iterator[list[str]]:
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
            raise self._unreadable(held[0], "the rows end early")

    def _read_records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each record and the number of its first line."""
        csv.field_size_limit(RECORD_BYTES)  # csv's only limit is for the whole process
        reader = csv.reader(self._lines())
        while True:
            self._line = reader.line_num + 1
            self._record, self._record_bytes = [], 0
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error:  # within the limits, csv has no other error
                raise self._unreadable(self._line, _LONE_CR) from None
            if fault := _fault("".join(self._record)):
                raise self._unreadable(self._line, fault)
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
            self._record.append(line.decode(_ANY_BYTES))
            yield self._record[-1]

    def _batch(self, records: list[list[str]]) -> pa.RecordBatch:
        return pa.record_batch(
            [
                pa.array([cell.encode(_ANY_BYTES) or None for cell in column], pa.binary())
                for column in zip(*records, strict=True)
            ],
            names=[str(position) for position in range(len(self.header))],
        )

    def _unreadable(self, line: int, reason: str) -> RowsUnreadable:
        acceptable = Acceptable.UNREADABLE_ROWS if self.header else None
        return unreadable(self._name, line, reason, acceptable)


def _readable_records(
    file: _LineReader, width: int, unreadable: UnreadableRows
) -> Iterator[list[str]]:
    """Yield the records with `width` cells. The rest of the file goes to `unreadable`.

    A record that fails gives back its lines but the first. No line is given back twice: a record
    spans lines only from one with an odd number of quotes to the next such line.
    """
    csv.field_size_limit(RECORD_BYTES)
    ahead: list[bytes] = []  # the lines that were given back, the next one last
    is_readable = True
    while True:
        lines, record = _next_record(file, ahead)
        if not lines:
            return
        if record == [] and width == 1:
            record = [""]
        elif record == [] and is_readable:
            continue
        if record is not None and len(record) == width:
            is_readable = True
            yield record
            continue
        if is_readable:
            unreadable.begin()
            is_readable = False
        line, *others = lines
        ahead.extend(reversed(others))
        unreadable.write(line)
        while line and not line.endswith(_LINE_END):  # a line that is longer than a record may be
            line = file.readline(RECORD_BYTES)
            unreadable.write(line)


def _next_record(file: _LineReader, ahead: list[bytes]) -> tuple[list[bytes], list[str] | None]:
    """Read lines until they are a record or break a rule, first those `ahead`.

    Return the lines, none at the end, and the cells; None if they break a rule.
    """
    lines: list[bytes] = []
    texts: list[str] = []
    size = 0
    pattern = _LINE
    while line := ahead.pop() if ahead else file.readline(RECORD_BYTES):
        lines.append(line)
        text = line.decode(_ANY_BYTES)
        texts.append(text if line.endswith(_LINE_END) else f"{text}\n")
        size += len(line)
        found = pattern.fullmatch(texts[-1])
        if found is None or size >= RECORD_BYTES:
            return lines, None
        if found.lastindex is not None:
            return lines, next(csv.reader(texts))
        pattern = _LINE_IN_A_CELL
    return lines, None


def _fault(record: str) -> str | None:
    """Return the fault of a record that csv accepts, or None."""
    if record.endswith("\r\r\n"):
        return _LONE_CR
    if '"' not in record:
        return None
    found = _RECORD.match(record)
    end = found.end() if found else 0
    if not record[end:].rstrip("\r\n"):
        return None
    if end and record[end - 1] == '"':
        return "text behind a closing quote"
    if not end or record[end - 1] == ",":
        return "a quote in this record is never closed"
    return "a quote inside a cell that does not begin with a quote"


def unreadable(
    member: str, line: int, reason: str, acceptable: Acceptable | None
) -> RowsUnreadable:
    """Return the error for a line. Quote no cell, because a cell may be a phone number."""
    return RowsUnreadable(f"{member}, line {line:,}: {reason}. {STORED}", acceptable=acceptable)
