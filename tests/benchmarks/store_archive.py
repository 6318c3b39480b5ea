"""An archive of any size with simulated records, deflated with Java's default level.

One block of records is repeated. Deflate looks back only 32 kB, so each copy takes as long to
inflate as the first. As in Vonage's archives, the flags are set and the sizes follow the data;
beyond 4 GB of CSV they have 64 bits.
"""

import struct
import zlib
from pathlib import Path

from isal import isal_zlib

from local.simulator.products import PRODUCTS
from local.simulator.records import Query, Stream, Window, rows_of

ROWS = 150_000
COLUMNS = PRODUCTS["SMS"].columns_for("outbound", frozenset())
NAME = b"report_SMS_abcd1234_20261122.csv"
FLAGS, DEFLATED, VERSION = 0x0808, 8, 45
FIRST_HOUR = 494_000  # since the epoch: in 2026


def block() -> bytes:
    """Return records as whole lines of CSV."""
    hours = range(FIRST_HOUR + 23, FIRST_HOUR - 1, -1)
    query = Query(
        hours=hours,
        window=Window(FIRST_HOUR * 3600, (FIRST_HOUR + 24) * 3600),
        rows_per_day=ROWS,
        columns=COLUMNS,
    )
    rows = rows_of([Stream(1, "SMS", "abcd1234", "outbound")], query)
    return "".join('"' + '","'.join(values) + '"\n' for *_, values in rows).encode()


def write_archive(path: Path, size: int) -> None:
    """Write an archive of about `size` bytes."""
    content = block()
    deflater = zlib.compressobj(6, wbits=-15)
    deflated = deflater.compress(content) + deflater.flush(zlib.Z_FULL_FLUSH)
    last = deflater.flush()
    copies = max(1, round(size / len(deflated)))
    crc32 = 0
    for _ in range(copies):
        crc32 = isal_zlib.crc32(content, crc32)
    sizes = (copies * len(deflated) + len(last), copies * len(content))
    with path.open("wb") as archive:
        extra = struct.pack("<2H2Q", 1, 16, 0, 0)
        fixed = (VERSION, FLAGS, DEFLATED, 0, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF)
        archive.write(struct.pack("<4s5H3L2H", b"PK\3\4", *fixed, len(NAME), len(extra)))
        archive.write(NAME + extra)
        for _ in range(copies):
            archive.write(deflated)
        archive.write(last + struct.pack("<4sL2Q", b"PK\7\x08", crc32, *sizes))
        start = archive.tell()
        extra = struct.pack("<2H2Q", 1, 16, sizes[1], sizes[0])
        entry = (VERSION, VERSION, FLAGS, DEFLATED, 0, 0, crc32, 0xFFFFFFFF, 0xFFFFFFFF)
        lengths = (len(NAME), len(extra), 0, 0, 0, 0, 0)
        archive.write(struct.pack("<4s6H3L5H2L", b"PK\1\2", *entry, *lengths))
        archive.write(NAME + extra)
        directory = archive.tell() - start
        archive.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, directory, start, 0))
