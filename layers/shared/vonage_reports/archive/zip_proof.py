"""Proves that a ZIP archive is whole and intact while its bytes stream by.

The numbers in brackets are sections of PKWARE's APPNOTE.TXT 6.3.10,
https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT. An archive consists of [4.3.6]

    local header, data, data descriptor        for each member
    central directory header                   for each member
    ZIP64 end record, ZIP64 locator            only if a value needs 64 bits
    end record, comment

`ArchiveProof` walks an archive once, forwards. Vonage's archives give the sizes of a member only
after its data, in the data descriptor, so the walk finds the end of the data from Deflate itself.
Stored data has no end of its own. Then the walk needs the sizes from the central directory, and
proves them like every other number.

All headers, descriptors and directory entries must agree with the content. So a reader that starts
from the central directory finds the same members as a reader that streams.

Fields without meaning for the content may have any value: times, attributes, versions (made by, and
needed up to 6.3), the number of disks in the ZIP64 locator (0 or 1), comments, extra fields other
than ZIP64's, and the padding bits of Deflate.
"""

import hashlib
import struct
import zlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from vonage_reports.domain.errors import ArchiveCorrupt
from vonage_reports.domain.objects import Archive, Member


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits that no honest archive reaches. Vonage sends at most 1 GB, about 7 million rows.

    `content_bytes`, the uncompressed size of all members, allows 9 kB for each of these rows.
    `ratio` is checked only after one member, or all members together, have exceeded `ratio_from`
    bytes. SMS records shrink by a factor of 5. Rows with the same long message and different random
    ids shrink by a factor of at most 90 (measured for messages of 300 to 30,000 characters). The
    factor of a ZIP bomb is up to 1,032.
    """

    members: int = 1_000
    name_bytes: int = 1_024
    content_bytes: int = 64 * 2**30
    ratio: int = 200
    ratio_from: int = 64 * 2**20


class Decompressor(Protocol):
    """The part of `zlib.decompressobj` that is used here."""

    @property
    def eof(self) -> bool:
        """Whether the last block of the data has ended."""

    @property
    def unused_data(self) -> bytes:
        """The input after that block."""

    @property
    def unconsumed_tail(self) -> bytes:
        """The input that was not read yet because the output was full."""

    def decompress(self, data: bytes | memoryview, /, max_length: int) -> bytes:
        """Inflate to at most `max_length` bytes."""


class Deflate(Protocol):
    """A module that inflates like `zlib`, such as `isal.isal_zlib`, which is about twice as fast.

    Unlike zlib, isal accepts incomplete Huffman codes, which no compressor writes. Its output is
    still checked by size and CRC-32.
    """

    @property
    def error(self) -> Any:  # noqa: ANN401 - a class; isal's stubs say an instance
        """The error for invalid Deflate data."""

    def decompressobj(self, wbits: int) -> Decompressor:
        """Return a decompressor. A `wbits` of -15 means raw Deflate data."""

    def crc32(self, data: bytes | memoryview, value: int, /) -> int:
        """Continue the checksum `value` over `data`."""


# The signatures [4.3.7 to 4.3.16].
_LOCAL = b"PK\x03\x04"
_DESCRIPTOR = b"PK\x07\x08"
_CENTRAL = b"PK\x01\x02"
_ZIP64_END = b"PK\x06\x06"
_ZIP64_LOCATOR = b"PK\x06\x07"
_END = b"PK\x05\x06"

# The layout after each signature; `x` skips a byte without meaning for the content.
_LOCAL_LAYOUT = struct.Struct("<BxHH4x3L2H")
_DESCRIPTOR_LAYOUT = struct.Struct("<3L")
_DESCRIPTOR64_LAYOUT = struct.Struct("<L2Q")
_CENTRAL_LAYOUT = struct.Struct("<2xBxHH4x3L4H6xL")
_ZIP64_END_LAYOUT = struct.Struct("<Q4x2L4Q")
_ZIP64_LOCATOR_LAYOUT = struct.Struct("<LQL")
_END_LAYOUT = struct.Struct("<4H2LH")
_ZIP64_LOCATOR_SIZE = len(_ZIP64_LOCATOR) + _ZIP64_LOCATOR_LAYOUT.size
_SMALLEST_ARCHIVE = len(_END) + _END_LAYOUT.size

# If all bits of a field are set, the ZIP64 record has the value [4.4.1.4].
_FULL16 = 0xFFFF
_FULL32 = 0xFFFF_FFFF
_FULL_DIRECTORY = (_FULL16, _FULL16, _FULL16, _FULL16, _FULL32, _FULL32)

_NEWEST_VERSION = 63  # [4.4.3.2]; flags and method show unsupported features
_STORED, _DEFLATED = 0, 8  # [4.4.5]
_HAS_DESCRIPTOR = 1 << 3  # this flag and those that follow: [4.4.4]
_UTF8 = 1 << 11
_REFUSED_FLAGS = {
    1 << 0: "it is encrypted",
    1 << 5: "it is a patch to other data",
    1 << 6: "it is encrypted (strong encryption)",
    1 << 13: "its header is masked (central directory encryption)",
}

_SEVERAL_DISKS = "it belongs to an archive of several disks"

_ZIP64_FIELD = 0x0001  # [4.5.3]
_UNICODE_PATH_FIELD = 0x7075  # [4.6.9]

_RAW_DEFLATE = -15  # no header, the largest window
# Both pieces fit the processor's cache. The output piece bounds the memory, because an input piece
# can grow by a factor of 1,032. Below 128 kB, the C library reuses the memory of the last piece.
# Above 128 kB, the kernel maps and zeroes each piece anew, which takes as long as inflating
# (measured: 7.7 s for 1 GB at 512 kB, instead of 4.1 s).
_INPUT_PIECE = 64 * 2**10
_OUTPUT_PIECE = 120 * 2**10


class _Content(NamedTuple):
    """The checksum and sizes of a member's data, as measured or as declared in a header."""

    crc32: int
    compressed: int
    bytes: int


class _LocalHeader(NamedTuple):  # [4.3.7]
    version: int
    flags: int
    method: int
    crc32: int
    compressed: int
    bytes: int
    name_length: int
    extra_length: int


class _CentralHeader(NamedTuple):  # [4.3.12]
    version: int
    flags: int
    method: int
    crc32: int
    compressed: int
    bytes: int
    name_length: int
    extra_length: int
    comment_length: int
    disk: int
    offset: int


class _Seen(NamedTuple):
    """A member of the archive, as the central directory must describe it."""

    name: bytes
    flags: int
    method: int
    crc32: int
    compressed: int
    bytes: int
    offset: int


class _Directory(NamedTuple):
    """The central directory, as the end records describe it [4.3.14, 4.3.16]."""

    disk: int
    directory_disk: int
    entries_on_this_disk: int
    entries: int
    bytes: int
    offset: int


class _Stream:
    """The bytes of the current chunk. Methods wait for the next chunk with a bare `yield`."""

    def __init__(self) -> None:
        self.offset = 0  # the position of the next byte in the archive
        self._chunk = memoryview(b"")
        self._position = 0

    def give(self, chunk: memoryview) -> None:
        self._chunk, self._position = chunk, 0

    def some(self, at_most: int) -> Generator[None, None, memoryview]:
        """Return 1 to `at_most` bytes, as a view that is valid until the next `yield`."""
        while self._position == len(self._chunk):
            yield
        piece = self._chunk[self._position : self._position + at_most]
        self._move(len(piece))
        return piece

    def take(self, count: int) -> Generator[None, None, bytes]:
        taken = bytearray()
        while len(taken) < count:
            taken += yield from self.some(count - len(taken))
        return bytes(taken)

    def put_back(self, count: int) -> None:
        """Unread the last `count` bytes of the last piece."""
        self._move(-count)

    def _move(self, count: int) -> None:
        self._position += count
        self.offset += count


def _unicode_path(name: bytes, flags: int) -> bytes:
    """Return the Unicode path field that repeats a name: version, CRC-32, UTF-8 [4.6.9]."""
    text = name if flags & _UTF8 else name.decode("cp437").encode()
    return b"\x01" + struct.pack("<L", zlib.crc32(name)) + text


class ArchiveProof:
    """Verifies a ZIP given in chunks. `finish()` returns the verified archive, or raises.

    `update` and `finish` raise ArchiveCorrupt at the first error and on every later call. The
    result does not depend on the size of the chunks. The proof holds one header (64 kB), one piece
    of output (120 kB) and a short record of each member in memory.

    `update` calls `hash` and `walk`. Two threads may call `hash` and `walk` instead, each for all
    chunks in order. Both methods release the GIL.
    """

    def __init__(
        self,
        *,
        deflate: Deflate = zlib,
        limits: Limits | None = None,
        sizes: Sequence[int] = (),
    ) -> None:
        """Begin a proof. `sizes` are the compressed sizes of the members, if they are known."""
        self._deflate = deflate
        self._limits = limits or Limits()
        self._sizes = sizes
        self._stream = _Stream()
        self._sha256 = hashlib.sha256()
        self._hashed = 0
        self._bytes = 0
        self._compressed_bytes = 0
        self._content_bytes = 0
        self._members: list[Member] = []
        self._seen: list[_Seen] = []
        self._part = ""  # the part of the archive that the walk is in
        self._refused: str | None = None
        self._whole = False
        self._walk = self._walk_archive()
        next(self._walk)

    def update(self, chunk: bytes | memoryview) -> None:
        """Verify the next chunk, and leave its buffer to the caller. Chunks of 1 MB are fast."""
        self.hash(chunk)
        self.walk(chunk)

    def hash(self, chunk: bytes | memoryview) -> None:
        """Add the chunk to the SHA-256 only."""
        self._sha256.update(chunk)
        self._hashed += len(chunk)

    def walk(self, chunk: bytes | memoryview) -> None:
        """Verify the chunk without adding it to the SHA-256."""
        if self._refused is not None:
            raise ArchiveCorrupt(self._refused)
        self._bytes += len(chunk)
        self._stream.give(memoryview(chunk))
        try:
            next(self._walk)
        except ArchiveCorrupt as error:
            self._refused = str(error)
            raise
        finally:
            self._stream.give(memoryview(b""))

    def finish(self) -> Archive:
        """Return the verified archive, after the last chunk. Raises ArchiveCorrupt."""
        if self._refused is None and not self._whole:
            self._refused = self._cut_off()
        if self._refused is not None:
            raise ArchiveCorrupt(self._refused)
        if self._hashed != self._bytes:
            raise ValueError(f"{self._hashed} bytes were hashed and {self._bytes} walked")
        return Archive(self._bytes, self._sha256.hexdigest(), tuple(self._members))

    def _walk_archive(self) -> Generator[None, None, None]:
        """Walk the whole archive. Yield when more bytes are needed."""
        signature = yield from self._signature()
        if signature not in (_LOCAL, _END, _ZIP64_END):
            raise self._corrupt("it does not begin as a ZIP archive does")
        while signature == _LOCAL:
            yield from self._member()
            signature = yield from self._signature()

        start = self._stream.offset - len(signature)
        entry = b""
        for number, seen in enumerate(self._seen, start=1):
            if signature != _CENTRAL:
                raise self._corrupt(f"entry {number} of the central directory is missing here")
            entry = yield from self._central_entry(number, seen)
            signature = yield from self._signature()
        size = self._stream.offset - len(signature) - start
        count = len(self._seen)
        directory = _Directory(0, 0, count, count, size, start)

        has_zip64 = signature == _ZIP64_END
        if has_zip64:
            yield from self._zip64_end(directory)
            signature = yield from self._signature()
        elif entry[-_ZIP64_LOCATOR_SIZE:].startswith(_ZIP64_LOCATOR):
            # A reader that starts at the end would follow the locator to another directory.
            raise self._corrupt("a ZIP64 locator is hidden in the entry before it")
        if signature != _END:
            raise self._corrupt("the end record of the archive is missing here")
        yield from self._end(directory, has_zip64=has_zip64)

        self._whole = True
        self._at("the end")
        yield from self._stream.some(1)
        raise self._corrupt("more bytes follow")

    def _signature(self) -> Generator[None, None, bytes]:
        self._at("the start of a record")
        return (yield from self._stream.take(len(_LOCAL)))

    def _member(self) -> Generator[None, None, None]:
        """Read a local header, the data and the data descriptor [4.3.7 to 4.3.9]."""
        number = len(self._seen) + 1
        offset = self._stream.offset - len(_LOCAL)
        self._at(f"the local header of member {number}", offset)
        if number > self._limits.members:
            raise self._corrupt(f"more than {self._limits.members} members")
        header = _LocalHeader._make(
            _LOCAL_LAYOUT.unpack((yield from self._stream.take(_LOCAL_LAYOUT.size)))
        )
        self._check_readable(header)
        raw_name = yield from self._stream.take(header.name_length)
        name = self._checked_name(raw_name, header.flags)
        extra = yield from self._stream.take(header.extra_length)
        wide = self._zip64_field(extra, raw_name, header.flags)
        said = self._said_by(header, wide)
        size = said.compressed
        if header.flags & _HAS_DESCRIPTOR and number <= len(self._sizes):
            size = size or self._sizes[number - 1]

        self._at(f"the data of member {number}, {name!r}")
        if header.method == _DEFLATED:
            proven = yield from self._inflate()
        else:
            proven = yield from self._copy(size)
        self._compressed_bytes += proven.compressed
        self._content_bytes += proven.bytes

        if header.flags & _HAS_DESCRIPTOR:
            self._at(f"the data descriptor of member {number}, {name!r}")
            described = yield from self._descriptor(proven, has_zip64=wide is not None)
            if header.method == _STORED and not size and described != proven:
                # Only the central directory has the size, and it comes after the data.
                raise self._corrupt("the data is stored (not deflated) and its size is not known")
            self._compare(described, proven)
            # The local header has zeros [4.4.4] or the true values.
            said = _Content._make(claim or truth for claim, truth in zip(said, proven, strict=True))
        self._at(f"the local header of member {number}, {name!r}", offset)
        self._compare(said, proven)
        self._seen.append(_Seen(raw_name, header.flags, header.method, *proven, offset))
        self._members.append(Member(name, proven.bytes, f"{proven.crc32:08x}"))

    def _check_readable(self, header: _LocalHeader | _CentralHeader) -> None:
        if header.version > _NEWEST_VERSION:
            raise self._corrupt(f"version {header.version} of the ZIP format is not known")
        for flag, reason in _REFUSED_FLAGS.items():
            if header.flags & flag:
                raise self._corrupt(reason)
        if header.method not in (_STORED, _DEFLATED):
            raise self._corrupt(f"compression method {header.method} is not Deflate (8) or none")
        if header.name_length > self._limits.name_bytes:
            raise self._corrupt(f"its name is longer than {self._limits.name_bytes} bytes")

    def _checked_name(self, raw: bytes, flags: int) -> str:
        """Decode a name [4.4.17, D.1]. Refuse a name that some systems cannot unpack safely."""
        try:
            name = raw.decode("utf-8" if flags & _UTF8 else "cp437")
        except UnicodeDecodeError:
            raise self._corrupt("its name is not UTF-8") from None
        if not name:
            raise self._corrupt("its name is empty")
        if "\0" in name:
            raise self._corrupt("its name has a NUL in it")
        if "\\" in name:
            raise self._corrupt("its name has a backslash in it")
        if name.startswith("/") or name[1:2] == ":":
            raise self._corrupt("its name is an absolute path")
        if ".." in name.split("/"):
            raise self._corrupt("its name leads out of its folder ('..')")
        if any(name == member.name for member in self._members):
            raise self._corrupt("an earlier member has the same name")
        return name

    def _zip64_field(self, extra: bytes, name: bytes, flags: int) -> bytes | None:
        """Return the content of the ZIP64 field among the extra fields [4.5.1, 4.5.3].

        Refuse a Unicode path field [4.6.9], unless it repeats `name`.
        """
        found: bytes | None = None
        position = 0
        while position + 4 <= len(extra):  # a writer may align with up to 3 bytes of padding
            field, length = struct.unpack_from("<2H", extra, position)
            position += 4 + length
            if position > len(extra):
                raise self._corrupt(f"the extra field {field:#06x} is longer than its space")
            content = extra[position - length : position]
            if field == _UNICODE_PATH_FIELD and content != _unicode_path(name, flags):
                raise self._corrupt("an extra field gives a second name")
            if field == _ZIP64_FIELD:
                if found is not None:
                    raise self._corrupt("there are two ZIP64 extra fields")
                found = content
        return found

    def _said_by(self, header: _LocalHeader, wide: bytes | None) -> _Content:
        """Return the sizes in a local header. Its ZIP64 field always has both sizes [4.5.3]."""
        compressed, size = header.compressed, header.bytes
        if wide is not None:
            if len(wide) < struct.calcsize("<2Q"):
                raise self._corrupt("its ZIP64 extra field is too short")
            wide_size, wide_compressed = struct.unpack_from("<2Q", wide)
            compressed = wide_compressed if compressed == _FULL32 else compressed
            size = wide_size if size == _FULL32 else size
        return _Content(header.crc32, compressed, size)

    def _inflate(self) -> Generator[None, None, _Content]:
        """Inflate up to the end of Deflate's last block.

        Pieces end at multiples of _INPUT_PIECE, however the chunks are cut, and each piece is
        inflated completely. So the ratio is always checked at the same places, and the bytes after
        the data are in the last piece.
        """
        inflater = self._deflate.decompressobj(_RAW_DEFLATE)
        crc32 = compressed = size = 0
        while not inflater.eof:
            piece: bytes | memoryview
            piece = yield from self._stream.some(_INPUT_PIECE - compressed % _INPUT_PIECE)
            compressed += len(piece)
            pending = True
            while pending:
                try:
                    output = inflater.decompress(piece, _OUTPUT_PIECE)
                except self._deflate.error:
                    raise self._corrupt("it is not valid Deflate data") from None
                crc32 = self._deflate.crc32(output, crc32)
                size += len(output)
                self._check_content_bytes(size)
                piece = inflater.unconsumed_tail
                pending = not inflater.eof and (bool(piece) or len(output) == _OUTPUT_PIECE)
            if compressed % _INPUT_PIECE == 0:
                self._check_ratio(compressed, size)
        self._stream.put_back(len(inflater.unused_data))
        compressed -= len(inflater.unused_data)
        self._check_ratio(compressed, size)
        return _Content(crc32, compressed, size)

    def _copy(self, size: int) -> Generator[None, None, _Content]:
        self._check_content_bytes(size)
        crc32, missing = 0, size
        while missing:
            piece = yield from self._stream.some(missing)
            crc32 = self._deflate.crc32(piece, crc32)
            missing -= len(piece)
            del piece  # release the caller's memory before waiting for more
        return _Content(crc32, size, size)

    def _check_content_bytes(self, of_this_member: int) -> None:
        if self._content_bytes + of_this_member > self._limits.content_bytes:
            raise self._corrupt(f"more than {self._limits.content_bytes:,} bytes uncompressed")

    def _check_ratio(self, compressed: int, size: int) -> None:
        limits = self._limits
        if size > limits.ratio_from and size > limits.ratio * compressed:
            raise self._corrupt(f"it is compressed more than {limits.ratio} times")
        # A thousand members just below `ratio_from` would be a bomb too.
        compressed += self._compressed_bytes
        size += self._content_bytes
        if size > limits.ratio_from and size > limits.ratio * compressed:
            raise self._corrupt(f"the members so far are compressed more than {limits.ratio} times")

    def _descriptor(self, proven: _Content, *, has_zip64: bool) -> Generator[None, None, _Content]:
        """Read a data descriptor. Its signature is optional [4.3.9.3].

        Its sizes have 64 bits if the local header has a ZIP64 field [4.3.9.2], or if 32 bits are
        too few. In the second case, Java and .NET write 64 bits without a ZIP64 field.
        """
        layout = _DESCRIPTOR_LAYOUT
        if has_zip64 or max(proven.compressed, proven.bytes) >= _FULL32:
            layout = _DESCRIPTOR64_LAYOUT
        raw = yield from self._stream.take(layout.size)
        if raw.startswith(_DESCRIPTOR) and layout.unpack(raw) != proven:  # a CRC may equal it
            raw = raw[len(_DESCRIPTOR) :] + (yield from self._stream.take(len(_DESCRIPTOR)))
        return _Content._make(layout.unpack(raw))

    def _central_entry(self, number: int, seen: _Seen) -> Generator[None, None, bytes]:
        """Read an entry of the central directory [4.3.12] and return its bytes."""
        self._at(f"entry {number} of the central directory", self._stream.offset - len(_CENTRAL))
        fixed = yield from self._stream.take(_CENTRAL_LAYOUT.size)
        header = _CentralHeader._make(_CENTRAL_LAYOUT.unpack(fixed))
        self._check_readable(header)
        name = yield from self._stream.take(header.name_length)
        extra = yield from self._stream.take(header.extra_length)
        comment = yield from self._stream.take(header.comment_length)

        # The ZIP64 field has only the values whose fields are full, in this order [4.5.3].
        wide = self._zip64_field(extra, name, header.flags)
        values = {"bytes": header.bytes, "compressed": header.compressed, "offset": header.offset}
        disk = header.disk
        if wide is not None:
            full = [field for field, value in values.items() if value == _FULL32]
            layout = struct.Struct(f"<{len(full)}Q" + "L" * (disk == _FULL16))
            if len(wide) < layout.size:
                raise self._corrupt("its ZIP64 extra field is too short")
            found = layout.unpack_from(wide)
            values.update(zip(full, found, strict=False))
            disk = found[-1] if disk == _FULL16 else disk
        if disk:
            raise self._corrupt(_SEVERAL_DISKS)
        self._compare(_Seen(name, header.flags, header.method, header.crc32, **values), seen)
        return _CENTRAL + fixed + name + extra + comment

    def _zip64_end(self, directory: _Directory) -> Generator[None, None, None]:
        """Read the ZIP64 end record [4.3.14] and the locator that points to it [4.3.15]."""
        offset = self._stream.offset - len(_ZIP64_END)
        self._at("the ZIP64 end record", offset)
        size, *said = _ZIP64_END_LAYOUT.unpack(
            (yield from self._stream.take(_ZIP64_END_LAYOUT.size))
        )
        # The size excludes the signature and itself [4.3.14.1].
        self._compare_one("its size", size, _ZIP64_END_LAYOUT.size - struct.calcsize("<Q"))
        self._compare_directory(_Directory._make(said), directory)

        if (yield from self._signature()) != _ZIP64_LOCATOR:
            raise self._corrupt("the ZIP64 locator is missing here")
        disk, said_offset, disks = _ZIP64_LOCATOR_LAYOUT.unpack(
            (yield from self._stream.take(_ZIP64_LOCATOR_LAYOUT.size))
        )
        if disk or disks > 1:  # some writers write 0 disks, others 1
            raise self._corrupt(_SEVERAL_DISKS)
        self._compare_one("offset of the ZIP64 end record", said_offset, offset)

    def _end(self, directory: _Directory, *, has_zip64: bool) -> Generator[None, None, None]:
        """Read the end record and the archive's comment [4.3.16]."""
        self._at("the end record", self._stream.offset - len(_END))
        record = yield from self._stream.take(_END_LAYOUT.size)
        *said, comment_length = _END_LAYOUT.unpack(record)
        if has_zip64:
            values = zip(said, _FULL_DIRECTORY, directory, strict=True)
            said = [truth if claim == full else claim for claim, full, truth in values]
        self._compare_directory(_Directory._make(said), directory)
        comment = yield from self._stream.take(comment_length)
        if comment and _END in record + comment:
            # A reader that starts at the end would take this record for the real one.
            raise self._corrupt("another end record is hidden in the archive's comment")

    def _compare_directory(self, said: _Directory, directory: _Directory) -> None:
        if said.disk or said.directory_disk:
            raise self._corrupt(_SEVERAL_DISKS)
        self._compare(said, directory)

    def _compare(self, said: _Content | _Seen | _Directory, true: tuple[object, ...]) -> None:
        for field, claim, truth in zip(said._fields, said, true, strict=True):
            self._compare_one(field, claim, truth)

    def _compare_one(self, field: str, said: object, true: object) -> None:
        if said != true:
            raise self._corrupt(f"{field} is declared as {said!r} but is {true!r}")

    def _at(self, part: str, offset: int | None = None) -> None:
        """Remember the position of the walk, for the text of an error."""
        at = self._stream.offset if offset is None else offset
        self._part = f"{part} (byte {at:,})"

    def _corrupt(self, reason: str) -> ArchiveCorrupt:
        return ArchiveCorrupt(f"The archive is corrupt at {self._part}: {reason}.")

    def _cut_off(self) -> str:
        if not self._bytes:
            return "The archive is corrupt: it is empty, 0 bytes."
        if self._bytes < _SMALLEST_ARCHIVE:
            return f"The archive is corrupt: {self._bytes} bytes are too few for a ZIP archive."
        return f"The archive is cut off at {self._part}: it ends after {self._bytes:,} bytes."
