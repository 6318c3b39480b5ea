"""The members of a stored archive as streams, read in ranges from wherever it is.

The archive was proven when it was stored. What leaves here is proven once more, because it is not
the same read: each member against the receipt's size and CRC-32, at its end.
"""

import io
import struct
import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from isal import isal_zlib

from vonage_reports.domain.errors import ArchiveCorrupt
from vonage_reports.domain.objects import Member


class Reader(Protocol):
    """A stream of bytes, such as the body of an answer from S3."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end."""


class Source(Protocol):
    """An archive that can be read in ranges."""

    @property
    def size(self) -> int:
        """Its length in bytes."""

    def open(self, start: int, length: int) -> AbstractContextManager[Reader]:
        """Stream `length` bytes from `start` on."""


@dataclass(frozen=True, slots=True)
class CsvMember:
    """A CSV file that can be opened any number of times, each time from its first byte."""

    name: str
    open: Callable[[], io.RawIOBase]


# The directory of an archive with one member is 150 bytes long.
_DIRECTORY_PIECE = 64 * 2**10
_COMPRESSED_PIECE = 64 * 2**10
_CONTENT_PIECE = 512 * 2**10  # stays in the processor's cache, and bounds what a piece becomes
_NOT_DEFLATE: Any = isal_zlib.error  # its stubs say an instance of it
_RAW_DEFLATE = -15
_LOCAL_HEADER = struct.Struct("<26x2H")  # APPNOTE.TXT 4.3.7: the lengths of what follows it


def csv_members(source: Source, receipt: Sequence[Member]) -> list[CsvMember]:
    """List the files of an archive, in its order; folders are none.

    `receipt` is what the archive's receipt says of them.

    Raises:
        ArchiveCorrupt: It is not the archive that the receipt is about. Reading a member raises
            the same where its content is not.
    """
    try:
        with zipfile.ZipFile(io.BufferedReader(_Ranges(source), _DIRECTORY_PIECE)) as archive:
            entries, end = archive.infolist(), archive.start_dir
    except zipfile.BadZipFile as error:
        if isinstance(error.__context__, OSError):
            # A time-out of S3 is one, as botocore raises it: no word about the archive.
            raise error.__context__ from None
        raise ArchiveCorrupt(f"The stored archive is corrupt: {error}.") from error
    found = [Member(each.filename, each.file_size, f"{each.CRC:08x}") for each in entries]
    if found != list(receipt):
        raise ArchiveCorrupt("The stored archive has other members than its receipt says.")
    ends = [*(each.header_offset for each in entries[1:]), end]
    return [
        CsvMember(entry.filename, partial(_open, source, entry, end))
        for entry, end in zip(entries, ends, strict=True)
        if not entry.is_dir()
    ]


class _Ranges(io.RawIOBase):
    """A source as the file that `zipfile` seeks in."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}
        self._position = base[whence] + offset
        if self._position < 0:
            raise OSError("a seek to before the start")
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: any buffer; io gives this one
        length = min(len(buffer), self._source.size - self._position)
        if length <= 0:
            return 0
        with self._source.open(self._position, length) as stream:
            data = stream.read(length)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _open(source: Source, entry: zipfile.ZipInfo, end: int) -> io.RawIOBase:
    return _Stream(_content(source, entry, end))


class _Stream(io.RawIOBase):
    """Pieces that are made as they are read, as a file. They may be empty."""

    def __init__(self, pieces: Generator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: any buffer; io gives this one
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        taken = self._rest[: len(buffer)]
        buffer[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)

    def close(self) -> None:
        if not self.closed:
            self._pieces.close()
        super().close()


def _content(source: Source, entry: zipfile.ZipInfo, end: int) -> Generator[bytes]:
    """Yield the content of one member, and raise at its end what is wrong with it."""
    crc32 = length = 0
    with source.open(entry.header_offset, end - entry.header_offset) as stream:
        try:
            for piece in _inflated(stream, entry):
                crc32 = isal_zlib.crc32(piece, crc32)
                length += len(piece)
                yield piece
        except _NOT_DEFLATE:
            raise _corrupt(entry, "its data is not Deflate's") from None
    if (length, crc32) != (entry.file_size, entry.CRC):
        raise _corrupt(entry, "its size or CRC-32 is not the one in the receipt")


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
            raise _corrupt(entry, "it ends early")
        length -= len(piece)
        yield piece


def _corrupt(entry: zipfile.ZipInfo, reason: str) -> ArchiveCorrupt:
    return ArchiveCorrupt(f"The stored archive is corrupt in {entry.filename}: {reason}.")
