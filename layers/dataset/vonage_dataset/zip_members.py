"""Streams the members of a stored archive, with ranged reads.

The archive was proved when it was stored, but each member is checked again when it is read. At the
end of a member, its size and CRC-32 must equal those in the receipt.
"""

import io
import struct
import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from isal import isal_zlib

from vonage_reports.archive.zip_directory import Reader, Source, read_directory
from vonage_reports.domain.errors import ArchiveCorrupt, RowsUnreadable
from vonage_reports.domain.objects import Member

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


@dataclass(frozen=True, slots=True)
class CsvMember:
    """A CSV file. Each call of `open` starts at its first byte."""

    name: str
    open: Callable[[], io.RawIOBase]


_RESTORE = (
    "Restore the archive's first version in the bucket and send reconvert, or send recollect."
)
STORED = (
    "The archive is stored: send reconvert once the converter can read it, or recollect (billed) "
    "to request a new report."
)
"""The operator's ways to mend unreadable rows, for the text of an error."""

_MOST_NAMES = 5
_COMPRESSED_PIECE = 64 * 2**10
_CONTENT_PIECE = 512 * 2**10  # fits the processor's cache, and bounds the inflated size
_NOT_DEFLATE: Any = isal_zlib.error  # isal's stubs declare an instance, not the class
_RAW_DEFLATE = -15
_LOCAL_HEADER = struct.Struct("<26x2H")  # APPNOTE.TXT 4.3.7: lengths of the name and extra field


def names_to_read(members: Sequence[Member]) -> list[str]:
    """Return the names of the members that are CSV files, in order.

    A CSV file ends in `.csv`, in any case, and is no file of macOS's (`__MACOSX/`). A sole file
    counts as one under any name.
    """
    names = [each.name for each in members if not each.name.endswith("/")]
    if len(names) == 1:
        return names
    return [
        name
        for name in names
        if name.lower().endswith(".csv") and "__MACOSX" not in name.split("/")[:-1]
    ]


def csv_members(source: Source, receipt: Sequence[Member]) -> list[CsvMember]:
    """List the CSV files of an archive in order. An archive without members has none.

    `receipt` holds the members that the archive's receipt names.

    Raises:
        ArchiveCorrupt: the archive does not match its receipt. Reading a member also raises this
            error, if the member's content does not match.
        RowsUnreadable: the archive has members, but no CSV file.
    """
    try:
        entries, end = read_directory(source)
    except zipfile.BadZipFile as error:
        raise ArchiveCorrupt(f"The stored archive is corrupt: {error}. {_RESTORE}") from error
    found = [Member(each.filename, each.file_size, f"{each.CRC:08x}") for each in entries]
    if found != list(receipt):
        raise ArchiveCorrupt(f"The stored archive's members differ from its receipt. {_RESTORE}")
    names = names_to_read(receipt)
    if receipt and not names:
        listed = ", ".join(each.name for each in receipt[:_MOST_NAMES])
        raise RowsUnreadable(
            f"None of the archive's {len(receipt):,} members ends in .csv: {listed}. {STORED}"
        )
    ends = [*(each.header_offset for each in entries[1:]), end]
    return [
        CsvMember(entry.filename, partial(_open, source, entry, end))
        for entry, end in zip(entries, ends, strict=False)  # without members, `end` is left
        if entry.filename in names
    ]


def _open(source: Source, entry: zipfile.ZipInfo, end: int) -> io.RawIOBase:
    return _Stream(_content(source, entry, end))


class _Stream(io.RawIOBase):
    """Presents a generator of pieces as a file. Pieces may be empty."""

    def __init__(self, pieces: Generator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer)
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        taken = self._rest[: len(target)]
        target[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)

    def close(self) -> None:
        if not self.closed:
            self._pieces.close()
        super().close()


def _content(source: Source, entry: zipfile.ZipInfo, end: int) -> Generator[bytes]:
    """Yield the content of one member. Raises ArchiveCorrupt if it is not intact."""
    crc32 = length = 0
    with source.open(entry.header_offset, end - entry.header_offset) as stream:
        try:
            for piece in _inflated(stream, entry):
                crc32 = isal_zlib.crc32(piece, crc32)
                length += len(piece)
                yield piece
        except _NOT_DEFLATE:
            raise _corrupt(entry, "the data is not valid Deflate data") from None
    if (length, crc32) != (entry.file_size, entry.CRC):
        raise _corrupt(entry, "size or CRC-32 differ from the receipt")


def _inflated(stream: Reader, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    header = _LOCAL_HEADER.unpack(b"".join(_pieces(stream, _LOCAL_HEADER.size, entry)))
    for _ in _pieces(stream, sum(header), entry):  # the name and the extra field
        pass
    data = _pieces(stream, entry.compress_size, entry)
    if entry.compress_type == zipfile.ZIP_STORED:
        yield from data
        return
    inflater = isal_zlib.decompressobj(_RAW_DEFLATE)
    for piece in data:
        rest, pending = piece, True
        while pending:
            output = inflater.decompress(rest, _CONTENT_PIECE)
            yield output
            rest = inflater.unconsumed_tail
            pending = not inflater.eof and (bool(rest) or len(output) == _CONTENT_PIECE)


def _pieces(stream: Reader, length: int, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    while length:
        piece = stream.read(min(length, _COMPRESSED_PIECE))
        if not piece:
            raise _corrupt(entry, "the member ends early")
        length -= len(piece)
        yield piece


def _corrupt(entry: zipfile.ZipInfo, reason: str) -> ArchiveCorrupt:
    return ArchiveCorrupt(
        f"The stored archive is corrupt in {entry.filename}: {reason}. {_RESTORE}"
    )
