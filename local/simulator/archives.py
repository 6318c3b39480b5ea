"""Write ZIP archives in one pass, with the byte layout of Vonage's archives.

Observed in real archives: deflate, general flags 0x0808 (bit 3: sizes and CRC only in a data
descriptor after the data; bit 11: UTF-8 names), version 20, no extra field, no comment, entry
time in UTC. `zipfile` clears bit 11 for an ASCII name, so this module writes the bytes itself.
Layout: APPNOTE.TXT 6.3.x, sections 4.3.7 to 4.3.16.
"""

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

FLAGS = 0x0808
_VERSION, _VERSION_ZIP64 = 20, 45
_STORED, _DEFLATED = 0, 8
_MAX_32 = 0xFFFFFFFF
_ZIP64_EXTRA = 0x0001
# A higher level would hardly help, because records consist mostly of random identifiers.
_COMPRESSION_LEVEL = 1


@dataclass(frozen=True)
class _Member:
    name: bytes
    offset: int
    crc: int
    compressed: int
    size: int
    zip64: bool


class ArchiveWriter:
    """Write one archive to a new file. `bytes` and `sha256` are final when the file is closed."""

    def __init__(self, path: Path, *, created: datetime, stored: bool, zip64: bool) -> None:
        self._file: BinaryIO = path.open("xb")
        self._digest = hashlib.sha256()
        self._method = _STORED if stored else _DEFLATED
        self._zip64 = zip64
        self._dos_time = created.hour << 11 | created.minute << 5 | created.second // 2
        self._dos_date = (created.year - 1980) << 9 | created.month << 5 | created.day
        self._members: list[_Member] = []
        self.bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._write_central_directory()
        self._file.close()

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes written so far, in hex."""
        return self._digest.hexdigest()

    @contextmanager
    def member(self, name: str) -> Iterator["MemberWriter"]:
        """Add one file to the archive. Finish the file before adding the next."""
        encoded = name.encode()
        offset = self.bytes
        version, extra = _VERSION, b""
        if self._zip64:
            version, extra = _VERSION_ZIP64, struct.pack("<HHQQ", _ZIP64_EXTRA, 16, 0, 0)
        self._write(
            struct.pack(
                "<4s5H3L2H",
                b"PK\x03\x04",
                version,
                FLAGS,
                self._method,
                self._dos_time,
                self._dos_date,
                0,
                _MAX_32 if self._zip64 else 0,
                _MAX_32 if self._zip64 else 0,
                len(encoded),
                len(extra),
            )
            + encoded
            + extra
        )
        start = self.bytes
        content = MemberWriter(self._write, compressed=self._method == _DEFLATED)
        yield content
        content.finish()
        compressed = self.bytes - start
        zip64 = self._zip64 or max(compressed, content.bytes) >= _MAX_32
        layout = "<4sLQQ" if zip64 else "<4sLLL"
        self._write(
            struct.pack(layout, b"PK\x07\x08", content.crc, compressed, content.bytes),
        )
        self._members.append(
            _Member(encoded, offset, content.crc, compressed, content.bytes, zip64)
        )

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.bytes += len(data)

    def _write_central_directory(self) -> None:
        start = self.bytes
        for member in self._members:
            self._write_central_header(member)
        size = self.bytes - start
        count = len(self._members)
        zip64 = start >= _MAX_32 or any(member.zip64 for member in self._members)
        if zip64:
            end = self.bytes
            version = _VERSION_ZIP64
            self._write(
                struct.pack(
                    "<4sQ2H2L4Q",
                    b"PK\x06\x06",
                    44,
                    version,
                    version,
                    0,
                    0,
                    count,
                    count,
                    size,
                    start,
                )
            )
            self._write(struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1))
        offset = _MAX_32 if zip64 else start
        self._write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, size, offset, 0))

    def _write_central_header(self, member: _Member) -> None:
        version, extra = _VERSION, b""
        compressed, size, offset = member.compressed, member.size, member.offset
        if member.zip64 or offset >= _MAX_32:
            version = _VERSION_ZIP64
            extra = struct.pack("<HHQQQ", _ZIP64_EXTRA, 24, size, compressed, offset)
            compressed = size = offset = _MAX_32
        self._write(
            struct.pack(
                "<4s6H3L5H2L",
                b"PK\x01\x02",
                version,
                version,
                FLAGS,
                self._method,
                self._dos_time,
                self._dos_date,
                member.crc,
                compressed,
                size,
                len(member.name),
                len(extra),
                0,
                0,
                0,
                0,
                offset,
            )
            + member.name
            + extra
        )


class MemberWriter:
    """Write the content of one member; `crc` and `bytes` cover the content so far."""

    def __init__(self, write: Callable[[bytes], None], *, compressed: bool) -> None:
        self._write = write
        self._deflate = (
            zlib.compressobj(_COMPRESSION_LEVEL, wbits=-zlib.MAX_WBITS) if compressed else None
        )
        self.crc = 0
        self.bytes = 0

    def write(self, data: bytes) -> None:
        """Append to the content."""
        self.crc = zlib.crc32(data, self.crc)
        self.bytes += len(data)
        self._write(self._deflate.compress(data) if self._deflate else data)

    def finish(self) -> None:
        """Flush the compressor."""
        if self._deflate:
            self._write(self._deflate.flush())
