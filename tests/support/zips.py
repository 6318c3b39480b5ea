"""ZIP archives for tests: some by Python's zipfile, and some that no honest writer produces.

`Parts` holds the parts of an archive, so that a test can spoil one part only.
"""

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

from hypothesis import strategies as st
from typing_extensions import Buffer

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
DESCRIPTOR_FLAG, UTF8_FLAG = 0x0008, 0x0800

names = (
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\\:/"), min_size=1)
    .map(lambda name: name[:40])
    .filter(lambda name: name != "..")
)
contents = st.one_of(
    st.binary(max_size=300),
    st.tuples(st.binary(min_size=1, max_size=8), st.integers(1, 20_000)).map(lambda t: t[0] * t[1]),
)
files = st.dictionaries(names, contents, max_size=4)


class OneWay(io.RawIOBase):
    """A stream that cannot seek: zipfile then writes data descriptors."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:
        self.written += data
        return len(memoryview(data))


def written_by_zipfile(
    files: dict[str, bytes], *, method: int, seekable: bool, zip64: bool, comment: bytes = b""
) -> bytes:
    target = io.BytesIO() if seekable else OneWay()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in files.items():
            with archive.open(name, "w", force_zip64=zip64) as file:
                file.write(content)
        archive.comment = comment
    return target.getvalue() if isinstance(target, io.BytesIO) else bytes(target.written)


def deflated(content: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(content) + deflater.flush()


@dataclass(frozen=True, kw_only=True)
class File:
    """A member, consistent by default. `header` and `entry` replace single fields."""

    name: bytes = b"report.csv"
    content: bytes = b'"id"\n"1"\n' * 9
    method: int = DEFLATED
    flags: int = DESCRIPTOR_FLAG | UTF8_FLAG
    signature: bool = True
    wide: bool = False  # a ZIP64 field in the local header
    wide_descriptor: bool | None = None  # 64 bits; None: like `wide`
    wide_entry: bool = False  # all values in the central directory in 64 bits
    extra: bytes = b""
    entry_extra: bytes = b""
    entry_comment: bytes = b""
    header: dict[str, int] = field(default_factory=dict)
    entry: dict[str, int | bytes] = field(default_factory=dict)
    descriptor: bytes | None = None
    raw: bytes | None = None
    content_truth: dict[str, int] = field(default_factory=dict)  # if `raw` differs from `content`

    @cached_property
    def data(self) -> bytes:
        if self.raw is not None:
            return self.raw
        return deflated(self.content) if self.method == DEFLATED else self.content

    @cached_property
    def truth(self) -> dict[str, int]:
        return {
            "crc32": zlib.crc32(self.content),
            "compressed": len(self.data),
            "bytes": len(self.content),
        } | self.content_truth

    def local(self) -> bytes:
        behind = self.flags & DESCRIPTOR_FLAG
        values = dict.fromkeys(self.truth, 0) if behind else self.truth
        extra = self.extra
        if self.wide:
            extra += struct.pack("<2H2Q", 1, 16, values["bytes"], values["compressed"])
            values = {**values, "bytes": 0xFFFFFFFF, "compressed": 0xFFFFFFFF}
        values = {"version": 20, "flags": self.flags, "method": self.method, **values}
        values |= self.header
        layout = "<4s3H4x3L2H"
        fixed = struct.pack(layout, b"PK\3\4", *values.values(), len(self.name), len(extra))
        return fixed + self.name + extra

    def behind(self) -> bytes:
        if self.descriptor is not None:
            return self.descriptor
        if not self.flags & DESCRIPTOR_FLAG:
            return b""
        wide = self.wide if self.wide_descriptor is None else self.wide_descriptor
        packed = struct.pack("<L2Q" if wide else "<3L", *self.truth.values())
        return b"PK\7\x08" * self.signature + packed

    def central(self, offset: int) -> bytes:
        values: dict[str, Any] = {
            "version": 20,
            "flags": self.flags,
            "method": self.method,
            **self.truth,
        }
        values |= {"disk": 0, "offset": offset, "name": self.name} | self.entry
        name = values.pop("name")
        extra = self.entry_extra
        if self.wide_entry:
            extra += struct.pack("<2H", 1, 28)
            extra += struct.pack("<3Q", values["bytes"], values["compressed"], values["offset"])
            extra += struct.pack("<L", values["disk"])
            values |= dict.fromkeys(("bytes", "compressed", "offset"), 0xFFFFFFFF)
            values["disk"] = 0xFFFF
        disk, offset = values.pop("disk"), values.pop("offset")
        lengths = (len(name), len(extra), len(self.entry_comment))
        packed: bytes = struct.pack(
            "<4s2x3H4x3L4H6xL", b"PK\1\2", *values.values(), *lengths, disk, offset
        )
        return b"".join((packed, name, extra, self.entry_comment))


@dataclass(frozen=True, kw_only=True)
class Parts:
    files: tuple[File, ...] = (File(),)
    zip64: bool = False
    comment: bytes = b""
    gap: bytes = b""  # between the last member and the central directory
    entries: tuple[bytes, ...] | None = None
    end: dict[str, int] = field(default_factory=dict)
    zip64_end: dict[str, int] = field(default_factory=dict)
    trailer: bytes = b""

    def but(self, **changes: object) -> Self:
        return replace(self, **changes)  # type: ignore[arg-type]  # any fields, by name

    def build(self) -> bytes:
        archive = bytearray()
        entries = []
        for file in self.files:
            entries.append(file.central(len(archive)))
            archive += file.local() + file.data + file.behind()
        archive += self.gap
        offset = len(archive)
        directory = b"".join(entries if self.entries is None else self.entries)
        archive += directory
        truth = {"disk": 0, "directory_disk": 0, "here": len(entries), "all": len(entries)}
        truth |= {"bytes": len(directory), "offset": offset}
        if self.zip64:
            where = len(archive)
            record = {"size": 44, **truth, "locator_disk": 0, "where": where, "disks": 1}
            record |= self.zip64_end
            archive += struct.pack(
                "<4sQ4x2L4Q4sLQL",
                b"PK\6\6",
                *list(record.values())[:7],
                b"PK\6\7",
                *list(record.values())[7:],
            )
            truth = dict.fromkeys(truth, 0xFFFF) | {"bytes": 0xFFFFFFFF, "offset": 0xFFFFFFFF}
        truth = {**truth, "comment_length": len(self.comment)} | self.end
        archive += struct.pack("<4s4H2LH", b"PK\5\6", *truth.values())
        return bytes(archive + self.comment + self.trailer)
