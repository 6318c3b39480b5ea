"""Reads the central directory of a ZIP archive that can be read in ranges."""

import io
import struct
import zipfile
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# The directory of an archive with one member is 150 bytes long.
_PIECE = 64 * 2**10
_MOST_BYTES = 256 * 2**20
"""More than the headers of all members that a proof allows."""


class Reader(Protocol):
    """A stream of bytes, such as the body of a response from S3."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes. At the end, return b""."""


class Source(Protocol):
    """An archive that can be read in ranges."""

    @property
    def size(self) -> int:
        """The length in bytes."""

    def open(self, start: int, length: int) -> AbstractContextManager[Reader]:
        """Stream `length` bytes from offset `start`."""


def read_directory(source: Source) -> tuple[list[zipfile.ZipInfo], int]:
    """Return the entries of the directory, and its offset.

    Raises zipfile.BadZipFile, and the errors of `source`.
    """
    try:
        with zipfile.ZipFile(io.BufferedReader(_Ranges(source), _PIECE)) as archive:
            return archive.infolist(), archive.start_dir
    except zipfile.BadZipFile as error:
        if isinstance(error.__context__, OSError):
            # A read timeout of S3, from botocore, says nothing about the archive.
            raise error.__context__ from None
        raise
    # zipfile takes the fields of a false directory as they are: a newer version
    # (NotImplementedError), a date or an offset that cannot be (ValueError, OverflowError), a field
    # that is cut (struct.error), a size beyond the memory (MemoryError).
    except (NotImplementedError, ValueError, struct.error, MemoryError, OverflowError) as error:
        raise zipfile.BadZipFile(f"{type(error).__name__} in its directory") from error


def compressed_sizes(source: Source) -> list[int]:
    """Return the compressed sizes of the members in order, as the directory declares them.

    Return [] for a directory that cannot be read. Raises the errors of `source`.
    """
    try:
        return [entry.compress_size for entry in read_directory(source)[0]]
    except zipfile.BadZipFile:
        return []


class _Ranges(io.RawIOBase):
    """Presents a source to `zipfile` as a seekable file."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._position = 0
        self._read = 0

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
            raise OSError("seek before the start")
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer)
        length = min(len(target), self._source.size - self._position)
        if length <= 0:
            return 0
        self._read += length
        if self._read > _MOST_BYTES:
            raise zipfile.BadZipFile("its directory is too large")
        with self._source.open(self._position, length) as stream:
            data = stream.read(length)
        target[: len(data)] = data
        self._position += len(data)
        return len(data)
