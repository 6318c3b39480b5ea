"""The simulator's archives have the byte layout observed in real archives."""

import hashlib
import io
import struct
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from local.simulator.archives import ArchiveWriter

CREATED = datetime(2026, 11, 23, 4, 5, 6, tzinfo=UTC)
CONTENT = b'"account_id","id"\n' + b'"abcd1234","0"\n' * 5000


def write(
    path: Path, members: dict[str, bytes], *, stored: bool = False, zip64: bool = False
) -> ArchiveWriter:
    with ArchiveWriter(path, created=CREATED, stored=stored, zip64=zip64) as archive:
        for name, content in members.items():
            with archive.member(name) as member:
                for start in range(0, len(content), 1000):
                    member.write(content[start : start + 1000])
    return archive


def test_sizes_and_crc_follow_the_data(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write(path, {"report.csv": CONTENT})
    data = path.read_bytes()
    fields = struct.unpack("<4s5H3L2H", data[:30])
    signature, version, flags, method, time, date, crc, compressed, size, name, extra = fields
    assert signature == b"PK\x03\x04"
    assert (version, flags, method) == (20, 0x0808, 8)
    assert (crc, compressed, size, extra) == (0, 0, 0, 0)
    assert (time, date) == (4 << 11 | 5 << 5 | 3, 46 << 9 | 11 << 5 | 23)
    with zipfile.ZipFile(path) as archive:
        (info,) = archive.infolist()
    descriptor = 30 + name + info.compress_size
    assert struct.unpack("<4s3L", data[descriptor : descriptor + 16]) == (
        b"PK\x07\x08",
        info.CRC,
        info.compress_size,
        len(CONTENT),
    )
    assert data[descriptor + 16 :].startswith(b"PK\x01\x02")


@pytest.mark.parametrize("zip64", [False, True])
@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_zip_reader_reads_every_member(
    tmp_path: Path, *, stored: bool, zip64: bool, count: int
) -> None:
    members = {f"report_{n}.csv": CONTENT * n for n in range(count)}
    written = write(tmp_path / "a.zip", members, stored=stored, zip64=zip64)
    data = (tmp_path / "a.zip").read_bytes()
    assert written.bytes == len(data)
    assert written.sha256 == hashlib.sha256(data).hexdigest()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {info.filename: archive.read(info) for info in archive.infolist()} == members
        for info in archive.infolist():
            assert info.flag_bits == 0x0808
            assert info.compress_type == (zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)
            assert info.date_time == (2026, 11, 23, 4, 5, 6)
            assert info.extract_version == (45 if zip64 else 20)
    assert (b"PK\x06\x06" in data) is zip64
