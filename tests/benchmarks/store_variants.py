"""Copy an archive from the source to the sink once, in one of several ways.

    python -m tests.benchmarks.store_variants VARIANT SETTING SOURCE_URL SINK_URL ARCHIVE

Prints `{"seconds", "cpu_seconds", "rss_mb"}` as JSON. The clock runs from the request to the last
answer. Imports and set-up before the request count only in the peak of the resident memory.
"""

import io
import json
import multiprocessing
import os
import queue
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.benchmarks.store_servers import keep_to
from tests.support.paths import ROOT

BUCKET, KEY = "reports", "archives/report.zip"
PART_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024

Transfer = Callable[[], object]


def s3_client(sink: str, config: Any = None) -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=sink,
        region_name="eu-west-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=config,
    )


def raw_body(source: str) -> Any:
    import requests

    response = requests.get(f"{source}/archive", stream=True, timeout=60)
    response.raise_for_status()
    return response.raw


def read_head(stream: ssl.SSLSocket) -> None:
    read = b""
    while not read.endswith(b"\r\n\r\n"):
        read += stream.recv(1)
    assert b" 200 " in read, read


def limit(setting: str, source: str, sink: str, archive: Path) -> Transfer:
    """Use only sockets and buffers, with as many parallel uploads as the setting needs."""
    size = archive.stat().st_size
    context = ssl.create_default_context(cafile=os.environ["REQUESTS_CA_BUNDLE"])
    uploads = 1 if setting == "open" else 4
    pieces = [min(CHUNK_BYTES, size - at) for at in range(0, size, CHUNK_BYTES)]
    free: queue.Queue[memoryview] = queue.Queue()
    for _ in range(4 * uploads):
        free.put(memoryview(bytearray(CHUNK_BYTES)))
    filled: list[queue.Queue[memoryview]] = [queue.Queue() for _ in range(uploads)]

    def connect(url: str) -> ssl.SSLSocket:
        host, port = urlsplit(url).hostname, urlsplit(url).port
        return context.wrap_socket(socket.create_connection((host, port)), server_hostname=host)

    def upload(number: int) -> None:
        share = pieces[number::uploads]  # round robin
        with connect(sink) as stream:
            start = f"PUT /{BUCKET}/{number} HTTP/1.1\r\nContent-Length: {sum(share)}\r\n\r\n"
            stream.sendall(start.encode())
            for length in share:
                piece = filled[number].get()
                stream.sendall(piece[:length])
                free.put(piece)
            read_head(stream)

    def transfer() -> None:
        with ThreadPoolExecutor(uploads) as pool, connect(source) as stream:
            answers = [pool.submit(upload, number) for number in range(uploads)]
            stream.sendall(b"GET /archive HTTP/1.1\r\n\r\n")
            read_head(stream)
            for number, length in enumerate(pieces):
                piece, at = free.get(), 0
                while at < length:
                    at += stream.recv_into(piece[at:length])
                filled[number % uploads].put(piece)
            for answer in answers:
                answer.result()

    return transfer


def upload_fileobj(setting: str, source: str, sink: str, archive: Path) -> Transfer:
    del setting, archive
    client = s3_client(sink)
    return lambda: client.upload_fileobj(raw_body(source), BUCKET, KEY)


def smart_open(setting: str, source: str, sink: str, archive: Path) -> Transfer:
    del setting, archive
    import smart_open as library

    client = s3_client(sink)

    def transfer() -> None:
        target = library.open(f"s3://{BUCKET}/{KEY}", "wb", transport_params={"client": client})
        with target:
            shutil.copyfileobj(raw_body(source), target, CHUNK_BYTES)

    return transfer


def tmp_unzip(setting: str, source: str, sink: str, archive: Path) -> Transfer:
    del setting, archive
    client = s3_client(sink)

    def transfer() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "archive.zip"
            with path.open("wb") as file:
                shutil.copyfileobj(raw_body(source), file, CHUNK_BYTES)
            subprocess.run(["unzip", "-tqq", path], check=True)
            client.upload_file(str(path), BUCKET, KEY)

    return transfer


class Pipe(io.RawIOBase):
    """A stream of bytes from one thread to another."""

    def __init__(self) -> None:
        self._chunks: queue.Queue[bytes] = queue.Queue(8)
        self._rest = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def put(self, chunk: bytes) -> None:
        self._chunks.put(chunk)

    def readinto(self, buffer: Any) -> int:
        if not self._rest and not self._ended:
            self._rest = self._chunks.get()
            self._ended = not self._rest
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def stream_unzip(setting: str, source: str, sink: str, archive: Path) -> Transfer:
    del setting, archive
    from stream_unzip import stream_unzip as members_of

    client = s3_client(sink)

    def transfer() -> None:
        pipe = Pipe()
        reader = io.BufferedReader(pipe, CHUNK_BYTES)
        upload = threading.Thread(target=client.upload_fileobj, args=(reader, BUCKET, KEY))
        upload.start()
        body = raw_body(source)

        def chunks() -> Iterator[bytes]:
            while chunk := body.read(CHUNK_BYTES):
                pipe.put(chunk)
                yield chunk

        for _name, _size, content in members_of(chunks(), chunk_size=CHUNK_BYTES):
            for _ in content:
                pass
        pipe.put(b"")
        upload.join()

    return transfer


def inflate_only(setting: str, source: str, sink: str, archive: Path) -> Transfer:
    """Inflate the only member and compute its CRC-32: the upper bound of every verification."""
    del setting, source, sink
    from isal import isal_zlib

    piece, output_bytes = 64 * 1024, 120 * 1024
    buffer = memoryview(bytearray(piece))

    def transfer() -> None:
        with archive.open("rb", buffering=0) as file:
            file.seek(30 + 32 + 20)  # the local header, a name, a ZIP64 field
            inflater = isal_zlib.decompressobj(-15)
            crc32 = 0
            while not inflater.eof:
                pending: Any = buffer[: file.readinto(buffer)]
                more = True
                while more:
                    output = inflater.decompress(pending, output_bytes)
                    crc32 = isal_zlib.crc32(output, crc32)
                    pending = inflater.unconsumed_tail
                    more = not inflater.eof and (bool(pending) or len(output) == output_bytes)

    return transfer


def two_processes(setting: str, source: str, sink: str, archive: Path) -> Transfer:
    """Run `inflate_only` and `upload_fileobj` in two processes: the upper bound of these cores.

    The two share no interpreter, never wait for each other, and compute no SHA-256.
    """
    inflate = inflate_only(setting, source, sink, archive)
    upload = upload_fileobj(setting, source, sink, archive)

    def transfer() -> None:
        proof = multiprocessing.get_context("fork").Process(target=inflate)
        proof.start()
        upload()
        proof.join()

    return transfer


def idle(setting: str, source: str, sink: str, archive: Path) -> Transfer:
    """Load the handler as Lambda does before its first event."""
    del setting, archive
    sys.path.insert(0, str(ROOT / "functions" / "store_report"))
    app = import_module("app")
    from vonage_reports.vonage.client import Credentials, VonageClient
    from vonage_reports.vonage.pacing import Pacer

    clients = (
        s3_client(sink),
        VonageClient(source, lambda _: Credentials("k", "s"), pacer=Pacer(0)),
    )
    return lambda: (app, clients)


def ours(setting: str, source: str, sink: str, archive: Path) -> Transfer:
    idle(setting, source, sink, archive)
    from vonage_reports.aws.multipart_upload import CHUNK_BYTES, S3_CONFIG, upload_archive
    from vonage_reports.vonage.client import Credentials, VonageClient
    from vonage_reports.vonage.pacing import Pacer

    client = s3_client(sink, S3_CONFIG)
    vonage = VonageClient(source, lambda _: Credentials("k", "s"), pacer=Pacer(0))

    def transfer() -> None:
        with vonage.download("archive", CHUNK_BYTES) as chunks:
            proven = upload_archive(client, BUCKET, KEY, chunks)
        assert proven is not None
        assert proven.bytes == archive.stat().st_size

    return transfer


VARIANTS = {
    each.__name__: each
    for each in (
        limit, upload_fileobj, smart_open, tmp_unzip, stream_unzip, inflate_only, two_processes,
        ours, idle
    )
}  # fmt: skip


def cpu_seconds() -> float:
    usages = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, usages))


def peak_rss() -> int:
    """Return the peak of this process's resident memory, in bytes."""
    status = Path("/proc/self/status")
    if not status.exists():  # macOS
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Not ru_maxrss: on Linux it begins with the parent's.
    (peak,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return int(peak.split()[1]) * 1024


def main(variant: str, setting: str, source: str, sink: str, archive: str) -> None:
    keep_to(os.environ.get("CORES", ""))
    transfer = VARIANTS[variant](setting, source, sink, Path(archive))
    cpu, start = cpu_seconds(), time.perf_counter()
    transfer()
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "rss_mb": peak_rss() / 1e6}))


if __name__ == "__main__":
    main(*sys.argv[1:])
