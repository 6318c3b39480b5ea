"""Send answers, intact or altered by a fault."""

import os
import socket
import struct
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event
from typing import BinaryIO

from .answers import Answer, json_answer
from .faults import Fault

# Takes the place of an answer when a fault prevents the operation. It is never sent.
NOT_DONE = Answer(status=0, content_type="")

_PIECE = 256 * 1024
_HTML = Answer(
    status=200,
    content_type="text/html; charset=utf-8",
    body=b"<!DOCTYPE html><html><body><h1>We'll be right back</h1></body></html>\n",
)
_NOT_AN_ARCHIVE = {
    "html": _HTML,
    # The specification lists this JSON answer of the media endpoint without explanation.
    "json": json_answer({"message": "Download initiated successfully"}),
    "empty": Answer(status=200, content_type="application/octet-stream"),
}


def send(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
    """Send an answer unaltered."""
    if answer.file is None:
        _send_head(handler, answer, len(answer.body))
        handler.wfile.write(answer.body)
        return
    with answer.file.open("rb") as file:
        _send_head(handler, answer, _size(file))
        handler.connection.sendfile(file)


def altered(answer: Answer, fault: Fault) -> Answer | None:  # noqa: PLR0911 - a table of cases
    """Return the answer as the fault alters it, or None if the client gets no answer."""
    match fault.fault:
        case "cut" | "accept_then_cut" | "hang" | "accept_then_hang":
            return None
        case "status" | "accept_then_status":
            return _status(fault)
        case "not_json":
            return _HTML
        case "malformed_json":
            return replace(answer, body=answer.body[: len(answer.body) // 2])
        case "redirect":
            location = fault.text("location", "https://media.example.com/archive.zip")
            return Answer(status=302, content_type="text/plain", headers={"Location": location})
        case "body":
            return _NOT_AN_ARCHIVE.get(fault.text("how", ""), answer)
        case _:
            return answer


def send_with_fault(
    handler: BaseHTTPRequestHandler, answer: Answer | None, fault: Fault, stopping: Event
) -> None:
    """Send an altered answer, or let the connection hang, break or close, as the fault says."""
    if answer is None:
        hangs = fault.fault.endswith("hang")
        if hangs:
            stopping.wait(fault.number("seconds", 3600))
        cut(handler, reset=not hangs and bool(fault.parameters.get("reset", True)))
    elif answer.file and fault.fault in {"body", "stall"}:
        _send_broken(handler, answer, answer.file, fault, stopping)
    else:
        send(handler, answer)


def cut(handler: BaseHTTPRequestHandler, *, reset: bool) -> None:
    """Close the connection without an answer, with RST if `reset`, else with FIN."""
    handler.close_connection = True
    if reset:
        linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        # close() alone would wait for the handler's streams, which share the socket.
        os.close(handler.connection.detach())


def _status(fault: Fault) -> Answer:
    headers = {"X-Request-Id": str(uuid.uuid4())}
    if "retry_after" in fault.parameters:
        headers["Retry-After"] = str(int(fault.number("retry_after", 0)))
    return Answer(
        status=int(fault.number("status", 500)),
        content_type=fault.text("content_type", "application/problem+json"),
        body=fault.text(
            "body", '{"type": "about:blank", "title": "Simulated fault", "instance": "fault"}'
        ).encode(),
        headers=headers,
    )


def _send_broken(
    handler: BaseHTTPRequestHandler, answer: Answer, path: Path, fault: Fault, stopping: Event
) -> None:
    with path.open("rb") as file:
        size = _size(file)
        n = int(fault.number("n", size // 2))
        match fault.text("how", "stall"):
            case "stall":
                _send_head(handler, answer, size)
                _write(handler, _pieces(file, n))
                stopping.wait(fault.number("seconds", 3600))
                _write(handler, _pieces(file, size - n))
            case "truncated_with_length":
                _send_head(handler, answer, size)
                _write(handler, _pieces(file, n))
                cut(handler, reset=False)
            case "short_no_error":
                _send_head(handler, answer, n)
                _write(handler, _pieces(file, n))
            case "longer":
                _send_head(handler, answer, size + n)
                _write(handler, _pieces(file, size))
                handler.wfile.write(b"\0" * n)
            case "corrupt_byte_at":
                _send_head(handler, answer, size)
                _write(handler, _pieces(file, n))
                handler.wfile.write(bytes(byte ^ 0xFF for byte in file.read(1)))
                _write(handler, _pieces(file, size))
            case "no_length":
                _send_head(handler, answer, None)
                _write(handler, _pieces(file, size))
            case "chunked":
                _send_head(handler, answer, None, chunked=True)
                _write(handler, _chunks(_pieces(file, size)))
                handler.wfile.write(b"0\r\n\r\n")
            case "not_whole_chunked":
                _send_head(handler, answer, None, chunked=True)
                _write(handler, _chunks(_pieces(file, n)))
                cut(handler, reset=False)


def _send_head(
    handler: BaseHTTPRequestHandler, answer: Answer, length: int | None, *, chunked: bool = False
) -> None:
    handler.send_response(answer.status)
    handler.send_header("Content-Type", answer.content_type)
    for name, value in answer.headers.items():
        handler.send_header(name, value)
    if chunked:
        handler.send_header("Transfer-Encoding", "chunked")
    elif length is None:
        handler.send_header("Connection", "close")  # BaseHTTPRequestHandler then closes it
    else:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _pieces(file: BinaryIO, count: int) -> Iterator[bytes]:
    """Yield up to `count` bytes from the file's current position."""
    while count > 0 and (piece := file.read(min(count, _PIECE))):
        count -= len(piece)
        yield piece


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)


def _write(handler: BaseHTTPRequestHandler, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        handler.wfile.write(piece)
