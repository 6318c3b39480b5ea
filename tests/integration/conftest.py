"""Fixtures of the integration tests: scripted servers, a client, and AWS simulated by moto."""

import base64
import contextlib
import io
import json
import select
import socket
import ssl
import struct
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Protocol, Self

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from moto import mock_aws
from mypy_boto3_s3 import S3Client

from local.simulator.process import Simulator
from tests.support.handlers import Handler, load_handler, set_environment
from tests.support.stack import Stack, a_stack
from vonage_reports.vonage.client import Credentials, VonageClient
from vonage_reports.vonage.pacing import Pacer
from vonage_reports.vonage.transport import session_with_deadline

API_KEY = "abcd1234"
API_SECRET = "5ecret-of-the-tests"
SOURCE = "the secret arn:aws:secretsmanager:eu-west-1:123456789012:secret:vonage-AbCdEf"
REGION = "eu-west-1"
BUCKET = "reports"

SHORT = 0.2
"""Seconds that a client under test waits for a byte that the server withholds."""


def basic(key: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode()


@dataclass(frozen=True)
class Request:
    """A request as received; the names of its headers are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        document: dict[str, object] = json.loads(self.body)
        return document


@dataclass(frozen=True)
class Bytes:
    """The raw bytes of an answer, and how the connection then ends."""

    data: bytes = b""
    then: str = "close"  # or "reset" (RST); until the client hangs up: "stall", or "drip" a byte

    def cut(self, at: int, then: str = "close") -> "Bytes":
        return Bytes(self.data[:at], then)


def answer(
    status: int = 200,
    body: bytes = b"",
    *,
    content_type: str = "application/json",
    length: int | None = None,
    **headers: str,
) -> Bytes:
    """Return a whole answer; `length` replaces the body's own, headers have `_` for `-`."""
    lines = [
        f"HTTP/1.1 {status} Said",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body) if length is None else length}",
        "Connection: close",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return Bytes("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def json_answer(document: object, status: int = 200) -> Bytes:
    return answer(status, json.dumps(document).encode())


def problem(status: int, title: str, detail: str, **more: object) -> Bytes:
    document = {"type": "https://example.com/errors", "title": title, "detail": detail, **more}
    body = json.dumps(document).encode()
    return answer(status, body, content_type="application/problem+json")


def without_length(body: bytes) -> Bytes:
    return Bytes(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)


def chunked(body: bytes, size: int, *, last: bool = True) -> Bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    coded = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return Bytes(head + coded + (b"0\r\n\r\n" if last else b""))


class ScriptedServer:
    """Answers one request per connection with the next scripted answer, and records requests."""

    def __init__(self, answers: Iterable[Bytes], tls: ssl.SSLContext | None) -> None:
        self.requests: list[Request] = []
        self.answers = iter(answers)
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        host = "http://127.0.0.1" if tls is None else "https://localhost"
        self.url = f"{host}:{self.port}"
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.close()
        self._thread.join()
        self._stopped.close()
        self._listener.close()

    def _serve(self) -> None:
        while self._stopped not in select.select([self._listener, self._stopped], [], [])[0]:
            connection, _ = self._listener.accept()
            # A client may hang up at any time; the next client is served all the same.
            with contextlib.suppress(OSError), connection:
                if self._tls is None:
                    self._exchange(connection)
                else:
                    with self._tls.wrap_socket(connection, server_side=True) as secured:
                        self._exchange(secured)

    def _exchange(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            method, target, _ = stream.readline().decode("latin-1").split(" ")
            headers = {}
            while line := stream.readline().decode("latin-1").strip():
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            if headers.get("expect") == "100-continue":
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = stream.read(int(headers.get("content-length", 0)))
            self.requests.append(Request(method, target, headers, body))
            scripted = next(self.answers, answer(500, b"no further answer is scripted"))
            connection.sendall(scripted.data)
            if scripted.then == "stall":
                self._until_hung_up(connection)
            while scripted.then == "drip" and not select.select([self._stopped], [], [], 0.01)[0]:
                connection.sendall(b" ")
        if scripted.then == "reset":
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif self._tls is None:
            # Without this shutdown, unread bytes would turn the end into a reset.
            connection.shutdown(socket.SHUT_WR)
            self._until_hung_up(connection)

    def _until_hung_up(self, connection: socket.socket) -> None:
        while self._stopped not in select.select([connection, self._stopped], [], [])[0]:
            if not connection.recv(4096):
                return


class Serve(Protocol):
    def __call__(self, *answers: Bytes, tls: ssl.SSLContext | None = None) -> ScriptedServer: ...


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that stop with the test."""
    with contextlib.ExitStack() as servers:

        def start(*answers: Bytes, tls: ssl.SSLContext | None = None) -> ScriptedServer:
            return servers.enter_context(ScriptedServer(answers, tls))

        yield start


@dataclass
class Keys:
    """Gives a client credentials, one pair after the other, and records how it asked for them."""

    pairs: list[tuple[str, str]] = field(default_factory=lambda: [(API_KEY, API_SECRET)])
    asked: list[bool] = field(default_factory=list)

    def __call__(self, fresh: bool) -> Credentials:  # noqa: FBT001 - the client's contract
        self.asked.append(fresh)
        key, secret = self.pairs[min(self.asked.count(True), len(self.pairs) - 1)]
        return Credentials(key, secret, SOURCE)


class Connect(Protocol):
    def __call__(
        self,
        url: str,
        credentials: Callable[[bool], Credentials] | None = None,
        *,
        patience: float = 10,
        answer_timeout: float = 60,
    ) -> VonageClient: ...


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Return clients that wait `patience` seconds for a byte and disconnect with the test."""
    with contextlib.ExitStack() as sessions:

        def client(
            url: str,
            credentials: Callable[[bool], Credentials] | None = None,
            *,
            patience: float = 10,
            answer_timeout: float = 60,
        ) -> VonageClient:
            return VonageClient(
                url,
                credentials or Keys(),
                pacer=Pacer(0),
                session=sessions.enter_context(session_with_deadline(answer_timeout)),
                timeout=(patience, patience),
                answer_timeout=answer_timeout,
            )

        yield client


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a certificate for `localhost` and its key, which no client trusts by default."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file


@pytest.fixture
def tls(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """TLS for servers that the clients of this test trust."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture(scope="session")
def simulator_process() -> Iterator[Simulator]:
    with Simulator(rows_per_day=50, requests_per_second=0, seconds_per_report=0) as simulator:
        yield simulator


@pytest.fixture
def simulator(simulator_process: Simulator) -> Simulator:
    simulator_process.reset()
    return simulator_process


@pytest.fixture(scope="session")
def slow_simulator() -> Iterator[Simulator]:
    """A simulator that works on a report for an hour, unless the test sets another time."""
    with Simulator(
        accounts=("subacct1", "subacct2"),
        seconds_per_report=3600,
        requests_per_second=0,
        rows_per_day=24,
    ) as simulator:
        yield simulator


@pytest.fixture
def stack(slow_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    with a_stack(slow_simulator, monkeypatch) as stack:
        yield stack


@pytest.fixture
def handler(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Handler:
    """The handler of submit_reports, with the environment of `stack`."""
    set_environment(stack, monkeypatch)
    return Handler(load_handler("submit_reports"))


@pytest.fixture
def aws() -> Iterator[None]:
    with mock_aws():
        yield


@pytest.fixture(scope="session")
def aws_session() -> boto3.Session:
    """One session for all clients, because it reads the services' models once."""
    return boto3.Session("key", "secret", region_name=REGION)


@pytest.fixture
def s3(aws: None, aws_session: boto3.Session) -> Iterator[S3Client]:  # noqa: ARG001 - aws: first
    client = aws_session.client("s3")
    client.create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    client.meta.events.register_first("before-call.s3", as_moto_takes_it)
    yield client
    client.close()


def as_moto_takes_it(params: dict[str, Any], **_: object) -> None:
    """Turn a bytearray into bytes: HTTP accepts a bytearray, moto does not."""
    if isinstance(params["body"], bytearray):
        params["body"] = bytes(params["body"])


def an_archive(content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a ZIP archive with one CSV file."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method, compresslevel=1) as file:
        file.writestr("report_SMS_abcd1234_20261122.csv", content)
    return archive.getvalue()


def an_archive_of(size: int) -> bytes:
    """Return a ZIP archive of `size` bytes, which do not compress."""
    overhead = len(an_archive(b"", zipfile.ZIP_STORED))
    return an_archive(Random(size).randbytes(size - overhead), zipfile.ZIP_STORED)


@dataclass(frozen=True)
class Call:
    """A call to S3 as it was sent."""

    operation: str
    key: str
    headers: dict[str, str]
    body: bytes


def calls_to(s3: S3Client) -> list[Call]:
    """Return a list that records each call from now on."""
    seen: list[Call] = []

    def see(model: Any, params: dict[str, Any], **_: object) -> None:
        body = params["body"]
        if isinstance(body, io.BytesIO):
            body = body.getvalue()
        seen.append(
            Call(
                model.name,
                params["url_path"].removeprefix("/"),
                {name.lower(): value for name, value in params["headers"].items()},
                body if isinstance(body, bytes) else b"",
            )
        )

    s3.meta.events.register("before-call.s3", see)
    return seen


def instead_of(client: Any, operation: str, handler: Callable[..., object]) -> None:
    """Send each call of an operation to `handler`, which may return an answer or raise."""
    service = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register(f"before-call.{service}.{operation}", handler)


def answer_of_aws(status: int, document: dict[str, Any]) -> tuple[AWSResponse, dict[str, Any]]:
    """Return an answer in botocore's form."""
    headers: Any = {}
    metadata = {"HTTPStatusCode": status}
    return AWSResponse("", status, headers, None), {"ResponseMetadata": metadata, **document}


def refusal_of_aws(status: int, code: str, **more: object) -> tuple[AWSResponse, dict[str, Any]]:
    return answer_of_aws(status, {"Error": {"Code": code, "Message": code}, **more})


def keys_in(s3: S3Client) -> list[str]:
    return [each["Key"] for each in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def open_uploads_in(s3: S3Client) -> list[str]:
    uploads = s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    return [each["Key"] for each in uploads]
