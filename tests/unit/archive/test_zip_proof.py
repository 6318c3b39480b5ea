import hashlib
import io
import random
import struct
import tracemalloc
import zipfile
import zlib
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import isal_zlib

from tests.support.zips import (
    DEFLATED,
    DESCRIPTOR_FLAG,
    STORED,
    UTF8_FLAG,
    File,
    OneWay,
    Parts,
    deflated,
    files,
    names,
    written_by_zipfile,
)
from vonage_reports.archive.zip_proof import ArchiveProof, Deflate, Limits
from vonage_reports.domain.errors import ArchiveCorrupt
from vonage_reports.domain.objects import Archive, Member

CHUNKS = (1, 7, 65536, 10**9)
DEFLATES = pytest.mark.parametrize("deflate", [zlib, isal_zlib], ids=["zlib", "isal"])
SMALL = Parts(files=(File(), File(name=b"b/", content=b"", method=STORED, flags=0)), comment=b"hi")


def prove(
    archive: bytes, *, chunk: int = 10**9, deflate: Deflate = zlib, limits: Limits | None = None
) -> Archive:
    proof = ArchiveProof(deflate=deflate, limits=limits)
    for start in range(0, len(archive), chunk):
        proof.update(memoryview(archive)[start : start + chunk])
    return proof.finish()


def refusal(archive: bytes, *, limits: Limits | None = None) -> str:
    """Return the reason of the refusal, the same for all chunks and implementations."""
    reasons = set()
    for deflate in (zlib, isal_zlib):
        for chunk in CHUNKS:
            with pytest.raises(ArchiveCorrupt) as refused:
                prove(archive, chunk=chunk, deflate=deflate, limits=limits)
            reasons.add(str(refused.value))
    (reason,) = reasons
    return reason


def contents_by_zipfile(archive: bytes) -> list[tuple[str, bytes]] | None:
    """Return the members that zipfile reads; None if it finds an error."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as reader:
            if reader.testzip() is not None:
                return None
            return [(entry.filename, reader.read(entry)) for entry in reader.infolist()]
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError):
        return None
    except (RuntimeError, OSError, struct.error):  # encrypted, seeks before the start, cut
        return None


def described(contents: list[tuple[str, bytes]]) -> tuple[Member, ...]:
    return tuple(Member(name, len(data), f"{zlib.crc32(data):08x}") for name, data in contents)


# Accepted archives


@DEFLATES
@given(
    files=files,
    method=st.sampled_from([DEFLATED, STORED]),
    seekable=st.booleans(),
    zip64=st.booleans(),
    comment=st.binary(max_size=20).filter(lambda comment: b"PK\5\6" not in comment),
    chunk=st.sampled_from(CHUNKS),
)
@settings(max_examples=60, deadline=None)
def test_zipfiles_archives_are_proven_in_any_chunks(
    *,
    deflate: Deflate,
    files: dict[str, bytes],
    method: int,
    seekable: bool,
    zip64: bool,
    comment: bytes,
    chunk: int,
) -> None:
    if not seekable and method == STORED:
        files = dict.fromkeys(files, b"")  # only empty files can be streamed as stored
    archive = written_by_zipfile(
        files, method=method, seekable=seekable, zip64=zip64, comment=comment
    )
    assert prove(archive, chunk=chunk, deflate=deflate) == Archive(
        bytes=len(archive),
        sha256=hashlib.sha256(archive).hexdigest(),
        members=described(list(files.items())),
    )


@DEFLATES
@given(
    contents=files,
    methods=st.lists(st.sampled_from([DEFLATED, STORED]), min_size=4, max_size=4),
    shape=st.fixed_dictionaries(
        {"signature": st.booleans(), "wide": st.booleans(), "wide_entry": st.booleans()}
    ),
    zip64=st.booleans(),
    chunk=st.sampled_from(CHUNKS),
)
@settings(max_examples=60, deadline=None)
def test_descriptors_of_every_form_are_proven(
    *,
    deflate: Deflate,
    contents: dict[str, bytes],
    methods: list[int],
    shape: dict[str, Any],
    zip64: bool,
    chunk: int,
) -> None:
    members = tuple(
        File(
            name=name.encode(),
            content=content,
            method=method,
            flags=UTF8_FLAG | (DESCRIPTOR_FLAG if method == DEFLATED else 0),
            **shape,
        )
        for (name, content), method in zip(contents.items(), methods, strict=False)
    )
    archive = Parts(files=members, zip64=zip64).build()
    assert contents_by_zipfile(archive) == list(contents.items())
    proven = prove(archive, chunk=chunk, deflate=deflate)
    assert proven.members == described(list(contents.items()))


@pytest.mark.parametrize("flags", [DESCRIPTOR_FLAG | UTF8_FLAG, DESCRIPTOR_FLAG])
def test_unicode_path_that_repeats_the_name_is_proven(flags: int) -> None:
    name = "é.csv"
    raw = name.encode("utf-8" if flags & UTF8_FLAG else "cp437")
    extra = a_unicode_path(raw, name)
    archive = Parts(files=(File(name=raw, flags=flags, extra=extra, entry_extra=extra),)).build()

    assert prove(archive, chunk=7).members == described([(name, File().content)])


@pytest.mark.parametrize("signature", [True, False])
@pytest.mark.parametrize("wide", [True, False])
def test_stored_data_is_proven_with_the_sizes_of_the_directory(
    *, signature: bool, wide: bool
) -> None:
    stored = File(method=STORED, signature=signature, wide=wide)
    archive = Parts(files=(stored, File(name=b"b.csv"))).build()
    sizes = [len(stored.content), 1]  # Deflate needs no size
    expected = described([("report.csv", stored.content), ("b.csv", File().content)])

    proof = ArchiveProof(sizes=sizes)
    proof.update(archive)
    assert proof.finish().members == expected
    for wrong in (0, sizes[0] - 1, sizes[0] + 1, len(archive)):
        proof = ArchiveProof(sizes=[wrong, 1])
        with suppress(ArchiveCorrupt):
            proof.update(archive)
        with pytest.raises(ArchiveCorrupt):
            proof.finish()


def a_unicode_path(raw: bytes, name: str) -> bytes:
    content = b"\1" + struct.pack("<L", zlib.crc32(raw)) + name.encode()
    return an_extra_field(0x7075, content)


def an_extra_field(field: int, content: bytes) -> bytes:
    return struct.pack("<2H", field, len(content)) + content


@DEFLATES
@given(
    contents=st.dictionaries(names, st.binary(max_size=300), max_size=3),
    level=st.integers(0, 9),
    strategy=st.sampled_from([zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY]),
    blocks=st.integers(1, 4),
    shape=st.fixed_dictionaries(
        {
            "flags": st.sampled_from([0, 2, 4, 6]).map(  # the compression effort
                lambda effort: effort | UTF8_FLAG | DESCRIPTOR_FLAG
            ),
            "signature": st.booleans(),
            "wide": st.booleans(),
            "wide_entry": st.booleans(),
            "header": st.fixed_dictionaries({"version": st.sampled_from([10, 20, 45])}),
            "extra": st.builds(an_extra_field, st.just(0x5455), st.binary(max_size=13)),
            "entry_extra": st.builds(an_extra_field, st.just(0x7875), st.binary(max_size=11)),
            "entry_comment": st.binary(max_size=20).filter(lambda comment: b"PK" not in comment),
        }
    ),
    chunk=st.sampled_from(CHUNKS),
)
@settings(max_examples=100, deadline=None)
def test_every_variant_of_honest_writers_is_proven(
    *,
    deflate: Deflate,
    contents: dict[str, bytes],
    level: int,
    strategy: int,
    blocks: int,
    shape: dict[str, Any],
    chunk: int,
) -> None:
    def deflated_in_blocks(content: bytes) -> bytes:
        deflater = zlib.compressobj(level, wbits=-15, strategy=strategy)
        size = len(content) // blocks + 1
        pieces = (content[at : at + size] for at in range(0, len(content), size))
        flushed = (deflater.compress(each) + deflater.flush(zlib.Z_FULL_FLUSH) for each in pieces)
        return b"".join(flushed) + deflater.flush()

    members = tuple(
        File(name=name.encode(), content=content, raw=deflated_in_blocks(content), **shape)
        for name, content in contents.items()
    )
    archive = Parts(files=members).build()
    assert contents_by_zipfile(archive) == list(contents.items())
    proven = prove(archive, chunk=chunk, deflate=deflate)
    assert proven.members == described(list(contents.items()))


def test_archive_like_vonages_is_proven() -> None:
    # Flags 0x0808, version 20, nothing but zeros in the header, no extra field, no comment.
    content = b'"account_id","id"\n' + b'"abcd1234","aaaaaaaa-0000"\n' * 1000
    name = "report_SMS_abcd1234_20261122.csv"
    archive = Parts(files=(File(name=name.encode(), content=content),)).build()
    assert archive[6:8] == b"\x08\x08"
    assert archive[14:26] == bytes(12)
    assert prove(archive).members == described([(name, content)])


@pytest.mark.parametrize("zip64", [False, True])
def test_archive_without_members_is_proven(*, zip64: bool) -> None:
    archive = Parts(files=(), zip64=zip64).build()
    assert prove(archive, chunk=1).members == ()


def test_descriptor_whose_crc_equals_its_signature_is_proven() -> None:
    content = b"roww\xfcJQ"
    assert zlib.crc32(content).to_bytes(4, "little") == b"PK\7\x08"
    for signature in (False, True):
        archive = Parts(files=(File(content=content, signature=signature), File(name=b"b"))).build()
        assert prove(archive, chunk=1).members[0].crc32 == "08074b50"


def test_member_over_4_gb_may_have_unannounced_64_bit_descriptor() -> None:
    # Java and .NET write no ZIP64 field in the local header, because they learn the size too late.
    # Announced 64-bit descriptors are proven above.
    block = bytes(2**24)
    deflater = zlib.compressobj(wbits=-15)
    deflated_block = deflater.compress(block) + deflater.flush(zlib.Z_FULL_FLUSH)
    crc32 = 0
    for _ in range(256):
        crc32 = isal_zlib.crc32(block, crc32)
    file = File(
        raw=deflated_block * 256 + deflated(b""),
        content_truth={"crc32": crc32, "bytes": 2**32},
        wide_descriptor=True,
        wide_entry=True,
    )
    archive = Parts(files=(file,)).build()
    proven = prove(archive, chunk=2**20, deflate=isal_zlib, limits=Limits(ratio=2000))
    assert proven.members == (Member("report.csv", 2**32, f"{crc32:08x}"),)


def test_name_without_utf8_flag_is_read_in_code_page_437() -> None:
    archive = Parts(files=(File(name=b"caf\x82.csv", flags=DESCRIPTOR_FLAG),)).build()
    assert prove(archive).members[0].name == "café.csv"


def test_longest_name_and_newest_version_are_proven() -> None:
    archive = Parts(files=(File(name=b"n" * 1024, header={"version": 63}),)).build()
    assert prove(archive).members[0].name == "n" * 1024


def test_header_with_sizes_may_have_a_descriptor() -> None:
    file = File(method=STORED)
    archive = Parts(files=(replace(file, header=file.truth),)).build()
    assert prove(archive).members == described([("report.csv", file.content)])


def test_zip_within_a_zip_is_only_content() -> None:
    inner = SMALL.build()
    for file in (File(content=inner), File(content=inner, method=STORED, flags=0)):
        assert prove(Parts(files=(file,)).build(), chunk=7).members[0].bytes == len(inner)


def test_caller_may_reuse_the_buffer_of_a_chunk() -> None:
    archive = Parts(files=(File(content=random.Random(1).randbytes(5000)),)).build()
    buffer = bytearray(100)
    proof = ArchiveProof(deflate=isal_zlib)
    for start in range(0, len(archive), 100):
        part = archive[start : start + 100]
        buffer[:] = part  # raises BufferError if a view of the buffer is still held
        proof.update(memoryview(buffer))
    assert proof.finish().sha256 == hashlib.sha256(archive).hexdigest()


# Damage


@DEFLATES
@pytest.mark.parametrize("chunk", [1, 10**9])
def test_archive_cut_at_any_byte_is_refused(deflate: Deflate, chunk: int) -> None:
    archive = SMALL.but(zip64=True).build()
    for length in range(len(archive)):
        with pytest.raises(ArchiveCorrupt):
            prove(archive[:length], chunk=chunk, deflate=deflate)


def meaningless(archive: bytes) -> set[int]:
    """Return the offsets of bytes without meaning for the content: see the module's docstring."""
    found: set[int] = set()
    for signature, spans in {
        b"PK\3\4": [(4, 6), (10, 14)],  # version needed, time and date
        b"PK\1\2": [(4, 8), (12, 16), (36, 42)],  # versions, time and date, attributes
        b"PK\6\6": [(12, 16)],  # versions
        b"PK\6\7": [(16, 17)],  # the number of disks, which some writers set to 0
    }.items():
        start = archive.find(signature)
        while start >= 0:
            found.update(*(range(start + first, start + end) for first, end in spans))
            start = archive.find(signature, start + 1)
    return found | set(range(len(archive) - len(SMALL.comment), len(archive)))


@DEFLATES
@pytest.mark.parametrize("zip64", [False, True])
def test_changed_byte_is_refused_or_has_no_meaning(*, deflate: Deflate, zip64: bool) -> None:
    archive = SMALL.but(zip64=zip64).build()
    data = archive.find(b"report.csv") + len(b"report.csv")
    may_differ = meaningless(archive) | {data + len(SMALL.files[0].data) - 1}  # padding bits
    proven = prove(archive)
    for position in range(len(archive)):
        for mask in (0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF):
            changed = bytearray(archive)
            changed[position] ^= mask
            try:
                still = prove(bytes(changed), deflate=deflate)
            except ArchiveCorrupt:
                continue
            assert position in may_differ, (position, mask)
            assert still.members == proven.members
            assert still.sha256 != proven.sha256
            assert contents_by_zipfile(bytes(changed)) == contents_by_zipfile(archive)


@DEFLATES
@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_accepted_archives_read_the_same_in_zipfile(deflate: Deflate, data: st.DataObject) -> None:
    contents = data.draw(st.dictionaries(names, st.binary(max_size=40), max_size=3))
    pick = data.draw
    archive = bytearray(
        Parts(
            files=tuple(
                File(
                    name=name.encode(),
                    content=content,
                    wide=pick(st.booleans()),
                    wide_entry=pick(st.booleans()),
                )
                for name, content in contents.items()
            ),
            zip64=pick(st.booleans()),
            comment=pick(st.binary(max_size=30)),
        ).build()
    )
    for _ in range(pick(st.integers(0, 3))):
        start = pick(st.integers(0, len(archive)))
        length = pick(st.integers(0, 8))
        tokens = [b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\7\x08", b"\0" * 4]
        tokens += [b"\xff" * 4, b"\1\0\x10\0"]
        archive[start : start + length] = pick(st.sampled_from(tokens) | st.binary(max_size=8))
    damaged = bytes(archive)
    try:
        proven = prove(damaged, chunk=pick(st.sampled_from(CHUNKS)), deflate=deflate)
    except ArchiveCorrupt:
        return
    by_zipfile = contents_by_zipfile(damaged)
    assert by_zipfile is not None
    assert proven.members == described(by_zipfile)


@given(st.binary(max_size=200), st.sampled_from([b"", b"PK\3\4", b"PK\5\6", b"PK\6\6"]))
@settings(deadline=None)
def test_random_bytes_are_refused(body: bytes, start: bytes) -> None:
    with pytest.raises(ArchiveCorrupt):
        prove(start + body, chunk=7)


@pytest.mark.parametrize(
    "body",
    [b"<!DOCTYPE html><p>447700900123", b'{"title": "447700900123 not found"}', b"\xff\xfe" * 30],
    ids=["html", "json", "binary"],
)
def test_refusal_of_a_non_zip_body_does_not_quote_it(body: bytes) -> None:
    assert refusal(body) == (
        "The archive is corrupt at the start of a record (byte 0): "
        "it does not begin as a ZIP archive does."
    )


def test_empty_body_is_refused_as_empty() -> None:
    assert refusal(b"") == "The archive is corrupt: it is empty, 0 bytes."


def test_body_of_a_few_bytes_is_refused_as_too_short() -> None:
    assert refusal(b"{}") == "The archive is corrupt: 2 bytes are too few for a ZIP archive."


def test_refusal_of_a_cut_archive_names_the_place() -> None:
    archive = Parts().build()
    assert refusal(archive[:45]) == (
        "The archive is cut off at the data of member 1, 'report.csv' (byte 40): "
        "it ends after 45 bytes."
    )


def test_hash_and_walk_may_run_at_different_paces() -> None:
    archive = SMALL.build()
    proof = ArchiveProof()
    proof.hash(archive[:10])
    proof.hash(archive[10:])
    for start in range(0, len(archive), 7):
        proof.walk(archive[start : start + 7])
    assert proof.finish() == prove(archive)


def test_bytes_walked_but_not_hashed_prove_nothing() -> None:
    proof = ArchiveProof()
    proof.walk(SMALL.build())
    with pytest.raises(ValueError, match="0 bytes were hashed"):
        proof.finish()


def test_refused_archive_stays_refused() -> None:
    proof = ArchiveProof()
    with pytest.raises(ArchiveCorrupt) as first:
        proof.update(b"<html>")
    for again in (lambda: proof.update(SMALL.build()), proof.finish, proof.finish):
        with pytest.raises(ArchiveCorrupt) as refused:
            again()
        assert str(refused.value) == str(first.value)


def test_cut_archive_stays_refused_when_the_rest_arrives() -> None:
    archive = SMALL.build()
    proof = ArchiveProof()
    proof.update(archive[:50])
    with pytest.raises(ArchiveCorrupt):
        proof.finish()
    with pytest.raises(ArchiveCorrupt):
        proof.update(archive[50:])


def test_incomplete_huffman_code_fails_in_zlib_and_passes_in_isal() -> None:
    # The only known difference between the two. The CRC proves the bytes that isal read.
    data = bytes.fromhex(
        "05c1010d00000082b02a8c66d83f847e85d596b3b0ad6d5a960d1d6b209159515b93a8966424cb864539075ad5"
        "0c00963574a2031a6ac4c0f2"
    )
    content = isal_zlib.decompress(data, wbits=-15)
    archive = one(raw=data, content=content)
    for chunk in CHUNKS:
        proven = prove(archive, chunk=chunk, deflate=isal_zlib)
        assert proven.members == described([("report.csv", content)])
        with pytest.raises(ArchiveCorrupt, match="it is not valid Deflate data"):
            prove(archive, chunk=chunk, deflate=zlib)


# Inconsistent archives, by name

FILE = File()
ENTRY = FILE.central(0)
DESCRIPTOR_AT = len(FILE.local()) + len(FILE.data)
DIRECTORY_AT = DESCRIPTOR_AT + len(FILE.behind())
END_AT = DIRECTORY_AT + len(ENTRY)
WHOLE = END_AT + 22
ZIP64_LOCATOR = b"PK\6\7" + bytes(16)


def one(**changes: Any) -> bytes:
    return Parts(files=(File(**changes),)).build()


INCONSISTENT = {
    "a CRC that is not the data's": (
        one(descriptor=FILE.behind()[:4] + bytes(4) + FILE.behind()[8:]),
        f"descriptor of member 1, 'report.csv' (byte {DESCRIPTOR_AT}): crc32 is declared as 0",
    ),
    "a size that is not the data's": (
        one(flags=UTF8_FLAG, header={"bytes": 80}),
        "the local header of member 1, 'report.csv' (byte 0): bytes is declared as 80 but is 81",
    ),
    "a compressed size that is not the data's": (
        one(flags=UTF8_FLAG, header={"compressed": 7}),
        f"compressed is declared as 7 but is {len(FILE.data)}",
    ),
    "a header that claims other sizes than the descriptor": (
        one(header={"bytes": 82}),
        "bytes is declared as 82 but is 81",
    ),
    "data that is not Deflate": (one(raw=b"\xff" * 40), "it is not valid Deflate data"),
    "another name in the central directory": (
        one(entry={"name": b"another.csv"}),
        f"1 of the central directory (byte {DIRECTORY_AT}): name is declared as b'another.csv'",
    ),
    "another method in the central directory": (
        one(entry={"method": STORED}),
        "method is declared",
    ),
    "other flags in the central directory": (one(entry={"flags": UTF8_FLAG}), "flags is declared"),
    "another CRC in the central directory": (one(entry={"crc32": 7}), "crc32 is declared as 7"),
    "another size in the central directory": (one(entry={"bytes": 7}), "bytes is declared as 7"),
    "another offset in the central directory": (
        one(entry={"offset": 7}),
        "offset is declared as 7",
    ),
    "another size in the central directory's ZIP64 field": (
        one(wide_entry=True, entry={"bytes": 7}),
        "bytes is declared as 7",
    ),
    "two entries for one member": (
        Parts(entries=(ENTRY, ENTRY)).build(),
        "the end record of the archive is missing here",
    ),
    "no entry for a member": (
        Parts(entries=()).build(),
        "entry 1 of the central directory is missing here",
    ),
    "members that overlap": (
        Parts(files=(FILE, File(name=b"b")), entries=(ENTRY, File(name=b"b").central(0))).build(),
        f"offset is declared as 0 but is {DIRECTORY_AT}",
    ),
    "two members of one name": (
        Parts(files=(FILE, FILE)).build(),
        "an earlier member has the same name",
    ),
    "bytes between the members and the directory": (
        Parts(gap=b"surprise").build(),
        f"(byte {DIRECTORY_AT}): entry 1 of the central directory is missing here",
    ),
    "bytes before the first member": (b"MZ" + SMALL.build(), "does not begin as a ZIP archive"),
    "bytes behind the end": (
        Parts(trailer=b"\0").build(),
        f"the end (byte {WHOLE}): more bytes follow",
    ),
    "an archive behind the archive": (SMALL.build() * 2, "more bytes follow"),
    "a comment that is shorter than said": (
        Parts(end={"comment_length": 9}).build(),
        f"cut off at the end record (byte {END_AT}): it ends after {WHOLE} bytes",
    ),
    "a comment with an end record in it": (
        Parts(comment=Parts(files=()).build()).build(),
        "another end record is hidden in the archive's comment",
    ),
    "a ZIP64 locator in a member's comment": (
        one(entry_comment=bytes(56) + ZIP64_LOCATOR),
        "a ZIP64 locator is hidden in the entry before it",
    ),
    "a wrong number of entries": (Parts(end={"all": 2}).build(), "entries is declared as 2 but"),
    "a wrong size of the directory": (Parts(end={"bytes": 9}).build(), "bytes is declared as 9"),
    "a wrong offset of the directory": (
        Parts(end={"offset": 0}).build(),
        "offset is declared as 0",
    ),
    "a full field without a ZIP64 record": (
        Parts(end={"all": 0xFFFF}).build(),
        "entries is declared as 65535 but is 1",
    ),
    "a wrong number of entries in the ZIP64 record": (
        Parts(zip64=True, zip64_end={"all": 2}).build(),
        f"the ZIP64 end record (byte {END_AT}): entries is declared as 2 but is 1",
    ),
    "a ZIP64 record that is longer than it is": (
        Parts(zip64=True, zip64_end={"size": 45}).build(),
        "its size is declared as 45 but is 44",
    ),
    "a ZIP64 locator that points elsewhere": (
        Parts(zip64=True, zip64_end={"where": 1}).build(),
        "offset of the ZIP64 end record is declared as 1",
    ),
    "a ZIP64 record without its locator": (
        Parts(zip64=True).build().replace(b"PK\6\7", b"PK\5\6"),
        "the ZIP64 locator is missing here",
    ),
    "a part of several disks": (
        Parts(end={"disk": 1}).build(),
        "it belongs to an archive of several disks",
    ),
    "a part of several disks, in 64 bits": (
        Parts(zip64=True, zip64_end={"disks": 2}).build(),
        "it belongs to an archive of several disks",
    ),
    "a member on another disk": (one(entry={"disk": 1}), "an archive of several disks"),
    "a member on another disk, in 64 bits": (
        one(wide_entry=True, entry={"disk": 1}),
        "an archive of several disks",
    ),
    "an encrypted member": (one(flags=UTF8_FLAG | 0x0009), "it is encrypted."),
    "a strongly encrypted member": (one(flags=0x0848), "it is encrypted (strong encryption)"),
    "patched data": (one(flags=0x0828), "it is a patch to other data"),
    "a masked header": (one(flags=0x2808), "its header is masked"),
    "a method other than Deflate": (one(method=14), "compression method 14 is not Deflate (8)"),
    "a version that does not exist": (one(header={"version": 64}), "version 64 of the ZIP format"),
    "a stored member of unknown size": (
        one(method=STORED),
        "the data is stored (not deflated) and its size is not known",
    ),
    "an extra field longer than its space": (
        one(extra=b"\x99\x99\xff\x00"),
        "the extra field 0x9999 is longer than its space",
    ),
    "a ZIP64 field that is too short": (one(extra=b"\1\0\4\0abcd"), "ZIP64 extra field is too"),
    "a ZIP64 field in the directory that is too short": (
        one(entry={"bytes": 0xFFFFFFFF}, entry_extra=b"\1\0\4\0abcd"),
        "its ZIP64 extra field is too short",
    ),
    "two ZIP64 fields": (
        one(extra=(b"\1\0\x10\0" + bytes(16)) * 2),
        "there are two ZIP64 extra fields",
    ),
    "a second name": (one(extra=b"\x75\x70\1\0a"), "an extra field gives a second name"),
    "a second name of the same length": (
        one(extra=a_unicode_path(b"report.csv", "report.exe")),
        "an extra field gives a second name",
    ),
    "an empty name": (one(name=b""), "its name is empty"),
    "a name with a NUL": (one(name=b"a.csv\0.exe"), "its name has a NUL in it"),
    "an absolute name": (one(name=b"/etc/passwd"), "its name is an absolute path"),
    "an absolute name with a drive": (one(name=b"C:evil"), "its name is an absolute path"),
    "a name with a backslash": (one(name=b"..\\evil"), "its name has a backslash in it"),
    "a name that climbs": (one(name=b"a/../../b"), "its name leads out of its folder ('..')"),
    "a name of 64 kB": (one(name=b"n" * 65535), "its name is longer than 1024 bytes"),
    "a name that is not UTF-8": (one(name=b"\xff"), "its name is not UTF-8"),
}


@pytest.mark.parametrize(("archive", "reason"), INCONSISTENT.values(), ids=INCONSISTENT)
def test_inconsistent_archive_is_refused_with_the_reason(archive: bytes, reason: str) -> None:
    assert reason in refusal(archive)


def test_stored_member_streamed_by_python_is_refused() -> None:
    target = OneWay()
    with zipfile.ZipFile(target, "w", STORED) as archive:
        archive.writestr("folder/", b"")
        archive.writestr("report.csv", b"12345678901234567890")
    assert "member 2, 'report.csv'" in refusal(bytes(target.written))


def test_error_never_shows_the_content_of_a_member() -> None:
    for archive in (one(raw=b"447700900123"), one(content=b"447700900123", entry={"crc32": 7})):
        assert "447700900123" not in refusal(archive)


# Limits


def test_bomb_is_refused_long_before_its_end() -> None:
    # Deflate that can be repeated: 10 blocks of 16 MiB.
    deflater = zlib.compressobj(wbits=-15)
    block = deflater.compress(bytes(2**24)) + deflater.flush(zlib.Z_FULL_FLUSH)
    bomb = block * 10
    assert len(bomb) > 2**17
    for deflate in (zlib, isal_zlib):
        proof = ArchiveProof(deflate=deflate)
        proof.update(File().local())
        with pytest.raises(ArchiveCorrupt, match="it is compressed more than 200 times"):
            proof.update(bomb[: 2**17])


def test_ratio_limit_does_not_depend_on_chunks() -> None:
    noise = random.Random(7).randbytes
    steady = one(content=b"".join(noise(4_000) + bytes(40_000) for _ in range(40)))
    dense_at_first = one(content=bytes(3_000_000) + noise(300_000))
    for archive, refused, accepted in ((steady, 9, 12), (dense_at_first, 20, 60)):
        limits = Limits(ratio=refused, ratio_from=100_000)
        reason = f"it is compressed more than {refused} times"
        assert reason in refusal(archive, limits=limits)
        assert prove(archive, limits=replace(limits, ratio=accepted)).members


def test_many_short_members_together_are_refused_as_a_bomb() -> None:
    files = tuple(File(name=b"%d.csv" % each, content=bytes(50_000)) for each in range(4))
    archive = Parts(files=files).build()
    assert prove(archive, limits=Limits(ratio_from=200_000)).members
    reason = "member 4, '3.csv' (byte 383): the members so far are compressed more than 200 times"
    assert reason in refusal(archive, limits=Limits(ratio_from=190_000))


def test_short_member_may_have_any_ratio() -> None:
    assert prove(one(content=bytes(10 * 2**20))).members[0].bytes == 10 * 2**20


def test_member_longer_than_the_limit_is_refused() -> None:
    limits = Limits(content_bytes=1000)
    assert prove(one(content=b"x" * 1000), limits=limits).members
    assert "more than 1,000 bytes" in refusal(one(content=b"x" * 1001), limits=limits)
    stored = one(content=b"x" * 1001, method=STORED, flags=0)
    assert "more than 1,000 bytes" in refusal(stored, limits=limits)


def test_members_together_longer_than_the_limit_are_refused() -> None:
    archive = Parts(files=(File(content=b"x" * 600), File(name=b"b", content=b"x" * 600))).build()
    reason = refusal(archive, limits=Limits(content_bytes=1000))
    assert "the data of member 2, 'b'" in reason
    assert "more than 1,000 bytes uncompressed" in reason


def test_more_members_than_the_limit_are_refused() -> None:
    members = tuple(File(name=b"%d" % number, content=b"") for number in range(11))
    assert len(prove(Parts(files=members[:10]).build(), limits=Limits(members=10)).members) == 10
    reason = refusal(Parts(files=members).build(), limits=Limits(members=10))
    assert "the local header of member 11 (byte" in reason
    assert reason.endswith("more than 10 members.")


@DEFLATES
def test_memory_does_not_grow_with_the_archive(deflate: Deflate) -> None:
    # tracemalloc sees Python's allocations: the outputs, the tails and the headers.
    rows = random.Random(1).randbytes(2**11).hex().encode() * 256  # 1 MiB

    def peak(megabytes: int) -> int:
        archive = one(content=rows * megabytes)
        tracemalloc.start()
        try:
            prove(archive, chunk=2**20, deflate=deflate)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    large = peak(60)
    assert large < 1.1 * peak(20)
    assert large < 2**20
