"""The source and the sink of the benchmark `store`: Vonage's media server and S3, over TLS.

Both do as little as possible, so that the benchmark measures the client: no framework, one thread
per connection, reused buffers. Each runs in its own process.

    python -m tests.benchmarks.store_servers source|sink CERTIFICATE SETTING [ARCHIVE]

A server prints its port, and ends with its standard input. The sink compares each body with its
checksum, discards the body and counts the bytes; `/stored` returns the count.
"""

import base64
import os
import socket
import ssl
import sys
import threading
import time
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

from isal import isal_zlib

PIECE = 1024 * 1024
HEAD_BYTES = 64 * 1024
# Small, so that throttling reaches the other end of a connection at once.
SOCKET_BUFFER = 256 * 1024


@dataclass(frozen=True)
class Setting:
    """The servers' limits; rates are in bytes per second, None means no throttling."""

    source_rate: float | None = None
    sink_rate: float | None = None
    sink_latency: float = 0.0


SETTINGS = {
    "open": Setting(),
    # A Lambda has about 75 MB/s each way; S3 needs some tens of milliseconds for a request.
    "lambda": Setting(source_rate=90e6, sink_rate=50e6, sink_latency=0.060),
}


class Pace:
    """Limits a stream of bytes to a rate."""

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._due = time.perf_counter()

    def passed(self, count: int) -> None:
        """Sleep until these bytes are due."""
        if self.rate is None:
            return
        # A slow reader does not catch up with a burst.
        self._due = max(self._due, time.perf_counter() - 0.01) + count / self.rate
        if (early := self._due - time.perf_counter()) > 0:
            time.sleep(early)


@dataclass(frozen=True)
class Head:
    method: str
    target: str
    headers: dict[str, str]


class Connection:
    """Reads the requests of one connection in turn."""

    def __init__(self, stream: ssl.SSLSocket) -> None:
        self.stream = stream
        self._buffer = memoryview(bytearray(HEAD_BYTES))
        self._start = self._end = 0

    def head(self) -> Head | None:
        """Return the head of the next request, or None after the last."""
        while (at := bytes(self._buffer[self._start : self._end]).find(b"\r\n\r\n")) < 0:
            rest = self._end - self._start
            self._buffer[:rest] = self._buffer[self._start : self._end]
            self._start, self._end = 0, rest
            received = self.stream.recv_into(self._buffer[rest:])
            if not received:
                return None
            self._end += received
        lines = bytes(self._buffer[self._start : self._start + at]).decode("latin-1").split("\r\n")
        self._start += at + 4
        method, target, _ = lines[0].split(" ")
        pairs = (line.partition(":") for line in lines[1:])
        return Head(method, target, {name.lower(): value.strip() for name, _, value in pairs})

    def body(self, length: int, pace: Pace, crc32: int = 0) -> int:
        """Read `length` bytes and return the continued CRC-32."""
        while length:
            if self._start == self._end:
                self._start, self._end = 0, self.stream.recv_into(self._buffer)
                if not self._end:
                    raise ConnectionError
            piece = self._buffer[self._start : min(self._end, self._start + length)]
            self._start += len(piece)
            length -= len(piece)
            crc32 = isal_zlib.crc32(piece, crc32)
            if pace.rate:
                pace.passed(len(piece))
        return crc32

    def chunked_body(self, pace: Pace) -> int:
        """Read a chunked body and return its length."""
        size = 0
        while length := int(self._line(), 16):
            self.body(length, pace)
            self._line()
            size += length
        while self._line() != b"\r\n":
            pass
        return size

    def _line(self) -> bytes:
        line = bytearray()
        while not line.endswith(b"\r\n"):
            self.body(1, Pace(None))
            line.append(self._buffer[self._start - 1])
        return bytes(line)

    def answer(self, status: str, body: bytes = b"", **headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.stream.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


class Source:
    """Answers every request with the archive."""

    def __init__(self, setting: Setting, archive: Path) -> None:
        self._rate = setting.source_rate
        with archive.open("rb") as file:
            self._content = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))

    def exchange(self, connection: Connection, head: Head) -> None:
        del head
        lines = f"HTTP/1.1 200 OK\r\nContent-Length: {len(self._content)}\r\n\r\n"
        connection.stream.sendall(lines.encode())
        pace = Pace(self._rate)
        size = PIECE if self._rate is None else PIECE // 8
        for at in range(0, len(self._content), size):
            piece = self._content[at : at + size]
            connection.stream.sendall(piece)
            pace.passed(len(piece))


class Sink:
    """S3, as far as uploads need it."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._stored = 0

    def exchange(self, connection: Connection, head: Head) -> None:
        if head.headers.get("expect") == "100-continue":
            connection.stream.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        pace = Pace(self._setting.sink_rate)
        if head.headers.get("transfer-encoding") == "chunked":
            crc32, size = 0, connection.chunked_body(pace)
        else:
            size = int(head.headers.get("content-length", 0))
            crc32 = connection.body(size, pace)
        if head.target == "/stored":
            connection.answer("200 OK", str(self._stored).encode())
            self._stored = 0
            return
        time.sleep(self._setting.sink_latency)
        claimed = head.headers.get("x-amz-checksum-crc32")
        if claimed and head.method == "PUT" and base64.b64decode(claimed) != crc32.to_bytes(4):
            connection.answer("400 Bad Request", b"<Error><Code>BadDigest</Code></Error>")
        elif head.method == "PUT":
            # A trailing checksum frames the body; this header has the size without the frame.
            self._stored += int(head.headers.get("x-amz-decoded-content-length", size))
            connection.answer("200 OK", ETag='"0"')
        elif head.method == "POST" and head.target.endswith("uploads"):
            body = b"<InitiateMultipartUploadResult><UploadId>1</UploadId>"
            connection.answer("200 OK", body + b"</InitiateMultipartUploadResult>")
        elif head.method == "POST":
            body = b"<CompleteMultipartUploadResult><ETag>0</ETag></CompleteMultipartUploadResult>"
            connection.answer("200 OK", body)
        elif head.method == "HEAD":
            connection.answer("404 Not Found")
        else:
            connection.answer("404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>")


def serve(server: Source | Sink, context: ssl.SSLContext, listener: socket.socket) -> None:
    def converse(plain: socket.socket) -> None:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with context.wrap_socket(plain, server_side=True) as stream:
                connection = Connection(stream)
                while head := connection.head():
                    server.exchange(connection, head)
        except OSError:
            return  # a client may hang up at any time

    while True:
        threading.Thread(target=converse, args=(listener.accept()[0],), daemon=True).start()


def keep_to(cores: str) -> None:
    """Restrict this process to some cores, separated by commas; empty means all cores."""
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})


def main(kind: str, certificate: str, setting: str, *archive: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    keep_to(os.environ.get("CORES", ""))
    limits = SETTINGS[setting]
    server = Source(limits, Path(archive[0])) if kind == "source" else Sink(limits)
    listener = socket.socket()
    if limits != Setting():
        for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            listener.setsockopt(socket.SOL_SOCKET, buffer, SOCKET_BUFFER)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=serve, args=(server, context, listener), daemon=True).start()
    sys.stdin.read()
    os._exit(0)  # does not wait for the threads of open connections


if __name__ == "__main__":
    main(*sys.argv[1:])
