"""The download against real servers: whole, broken in every way, and redirected."""

import io
import ssl
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

import pytest
import requests
import urllib3

from local.simulator.process import Simulator
from tests.integration.conftest import (
    API_KEY,
    API_SECRET,
    SHORT,
    Bytes,
    Connect,
    Keys,
    Serve,
    answer,
    basic,
    chunked,
    problem,
    without_length,
)
from vonage_reports.domain.errors import (
    RateLimited,
    ReportExpired,
    VonageRejected,
    VonageReportsError,
    VonageUnavailable,
)
from vonage_reports.domain.windows import Window
from vonage_reports.vonage.client import USER_AGENT, VonageClient
from vonage_reports.vonage.pacing import Pacer

ARCHIVE = Random(1).randbytes(100_003)
FILE = "aaaaaaaa-bbbb-cccc-dddd-0123456789ab"
PATH = f"/v3/media/{FILE}"
WHOLE = answer(body=ARCHIVE, content_type="application/octet-stream")
HEAD = len(WHOLE.data) - len(ARCHIVE)


def read(client: VonageClient, size: int = 10_000) -> bytes:
    with client.download(FILE, size) as chunks:
        return b"".join(chunks)


# Whole files


@pytest.mark.parametrize("size", [1, 7, 4096, 65536, len(ARCHIVE) - 1, len(ARCHIVE), 1 << 20])
@pytest.mark.parametrize(
    "said",
    [WHOLE, without_length(ARCHIVE), chunked(ARCHIVE, 1000), chunked(ARCHIVE, 70_000)],
    ids=["length", "no length", "small pieces", "large pieces"],
)
def test_bytes_are_exact_for_any_framing_and_chunk_size(
    said: Bytes, size: int, serve: Serve, connect: Connect
) -> None:
    content = ARCHIVE if size > 1 else ARCHIVE[:2000]
    if size == 1:
        said = answer(body=content) if said is WHOLE else chunked(content, 100)
    server = serve(said)
    with connect(server.url).download(FILE, size) as chunks:
        read = list(chunks)
    assert b"".join(read) == content
    assert max(len(chunk) for chunk in read) <= size
    assert all(read), "no chunk is empty"


def test_archive_is_requested_by_id_with_credentials(serve: Serve, connect: Connect) -> None:
    server = serve(WHOLE)
    read(connect(server.url))
    (request,) = server.requests
    assert (request.method, request.target) == ("GET", PATH)
    assert request.headers["authorization"] == basic(API_KEY, API_SECRET)


def test_content_encoding_is_never_decoded(serve: Serve, connect: Connect) -> None:
    server = serve(answer(body=ARCHIVE, Content_Encoding="gzip"))
    assert read(connect(server.url)) == ARCHIVE


def test_chunk_arrives_before_the_rest_of_the_body(serve: Serve, connect: Connect) -> None:
    """The caller can stop only between two chunks, so a slow server must not delay a chunk."""
    server = serve(WHOLE.cut(HEAD + 10, "stall"))
    with connect(server.url).download(FILE, 10_000) as chunks:
        assert next(chunks) == ARCHIVE[:10]


def test_empty_body_has_no_chunk(serve: Serve, connect: Connect) -> None:
    server = serve(answer())
    assert read(connect(server.url)) == b""


@pytest.mark.parametrize("odd", ["a/b", "a?b", "a#b", "a b", "%2e%2e", "../../v2/reports", "ü"])
def test_odd_characters_in_a_file_id_are_quoted(odd: str, serve: Serve, connect: Connect) -> None:
    server = serve(WHOLE)
    with connect(server.url).download(odd, 10_000):
        pass
    (request,) = server.requests
    assert request.target.startswith("/v3/media/")
    assert request.target.count("/") == 3


@pytest.mark.parametrize("dots", [".", ".."])
def test_file_id_of_dots_changes_no_path(dots: str, serve: Serve, connect: Connect) -> None:
    server = serve(WHOLE)
    try:
        with connect(server.url).download(dots, 10_000):
            pass
    except VonageReportsError:
        pass
    assert [r.target for r in server.requests if not r.target.startswith("/v3/media/.")] == []


def test_download_left_early_closes_its_connection(serve: Serve, connect: Connect) -> None:
    server = serve(WHOLE.cut(HEAD + 50_000, "stall"), WHOLE)
    client = connect(server.url)
    with client.download(FILE, 1000) as chunks:
        next(chunks)
    # This server accepts one connection at a time.
    assert read(client) == ARCHIVE


# Broken files


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("at", [0, 1, 999, 50_000, len(ARCHIVE) - 1])
@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_cut_raises_while_chunks_are_read(
    at: int, then: str, size: int, serve: Serve, connect: Connect
) -> None:
    server = serve(WHOLE.cut(HEAD + at, then))
    read: list[bytes] = []
    with connect(server.url).download(FILE, size) as chunks, pytest.raises(VonageUnavailable):
        read.extend(chunks)
    assert ARCHIVE[:at].startswith(b"".join(read))


@pytest.mark.parametrize("at", [0, 10, HEAD - 2])
@pytest.mark.parametrize("then", ["close", "reset"])
def test_cut_before_the_body_raises(at: int, then: str, serve: Serve, connect: Connect) -> None:
    server = serve(WHOLE.cut(at, then))
    with pytest.raises(VonageUnavailable):
        read(connect(server.url))


@pytest.mark.parametrize("at", [0, 1, 50_000])
def test_stall_raises_while_chunks_are_read(at: int, serve: Serve, connect: Connect) -> None:
    server = serve(WHOLE.cut(HEAD + at, "stall"))
    client = connect(server.url, patience=SHORT)
    with client.download(FILE, 1000) as chunks, pytest.raises(VonageUnavailable, match="Timeout"):
        for _ in chunks:
            pass


@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_body_shorter_than_its_length_raises(size: int, serve: Serve, connect: Connect) -> None:
    server = serve(answer(body=ARCHIVE, length=len(ARCHIVE) + 1))
    with pytest.raises(VonageUnavailable):
        read(connect(server.url), size)


def test_body_longer_than_its_length_ends_with_its_length(serve: Serve, connect: Connect) -> None:
    server = serve(answer(body=ARCHIVE, length=50_000))
    assert read(connect(server.url)) == ARCHIVE[:50_000]


@pytest.mark.parametrize("size", [100, 1 << 20])
@pytest.mark.parametrize("lost", [5, 6, 7, 8, 50, 5000])
def test_missing_last_chunk_raises(lost: int, size: int, serve: Serve, connect: Connect) -> None:
    server = serve(chunked(ARCHIVE, 1000).cut(-lost))
    with pytest.raises(VonageUnavailable):
        read(connect(server.url), size)


def test_chunk_without_a_size_raises(serve: Serve, connect: Connect) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server = serve(Bytes(head + b"5\r\nabcde\r\nxyz\r\nabc\r\n0\r\n\r\n"))
    with pytest.raises(VonageUnavailable):
        read(connect(server.url))


@pytest.mark.parametrize("how", ["truncated_with_length", "not_whole_chunked", "longer"])
def test_broken_body_of_the_simulator_raises(
    how: str, simulator: Simulator, connect: Connect
) -> None:
    simulator.fault("download", "body", how=how)
    client, file_id = at_simulator(simulator, connect)
    with client.download(file_id, 1000) as chunks:
        if how == "longer":  # its length is right: only the archive's own proof fails
            assert b"".join(chunks).endswith(b"\0")
            return
        with pytest.raises(VonageUnavailable):
            for _ in chunks:
                pass


def test_error_of_the_caller_is_not_vonages(serve: Serve, connect: Connect) -> None:
    server = serve(WHOLE)
    client = connect(server.url)
    trouble = OSError("S3 hung up")

    def give_up_after_one() -> None:
        with client.download(FILE, 1000) as chunks:
            next(chunks)
            raise trouble

    with pytest.raises(OSError, match="S3 hung up") as raised:
        give_up_after_one()
    assert raised.value is trouble


def test_error_between_two_chunks_is_not_vonages(serve: Serve, connect: Connect) -> None:
    def pass_on(chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            yield chunk
            raise ConnectionResetError("S3 hung up")

    server = serve(WHOLE)
    with (
        pytest.raises(ConnectionResetError, match="S3 hung up"),
        connect(server.url).download(FILE, 1000) as chunks,
    ):
        b"".join(pass_on(chunks))


# Refusals


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (answer(404), ReportExpired),
        (problem(404, "Not found", "File not found or download link expired"), ReportExpired),
        (answer(403), VonageRejected),
        (answer(400, b"{}"), VonageRejected),
        (answer(429, Retry_After="3"), RateLimited),
        (answer(500), VonageUnavailable),
        (answer(503, b"<html>", content_type="text/html"), VonageUnavailable),
        (problem(500, "Internal", "error").cut(-3), VonageUnavailable),
    ],
)
def test_refusal_raises_before_any_chunk(
    said: Bytes, error: type[VonageReportsError], serve: Serve, connect: Connect
) -> None:
    server = serve(said)
    with pytest.raises(error), connect(server.url).download(FILE, 1000):
        pytest.fail("it was opened")


@pytest.mark.parametrize("status", [201, 202, 204, 206])
def test_partial_file_is_not_read(status: int, serve: Serve, connect: Connect) -> None:
    server = serve(answer(status, b"" if status == 204 else b"PK"))
    with pytest.raises(VonageReportsError), connect(server.url).download(FILE, 1000):
        pytest.fail("it was opened")


@pytest.mark.parametrize("status", [206, 500])
def test_file_with_an_error_status_is_not_read_into_memory(
    status: int, serve: Serve, connect: Connect
) -> None:
    server = serve(answer(status, bytes(20_000_000)))
    client = connect(server.url)
    tracemalloc.start()
    try:
        with pytest.raises(VonageUnavailable), client.download(FILE, 1000):
            pytest.fail("it was opened")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_file_is_expired_after_72_hours(simulator: Simulator, connect: Connect) -> None:
    client, file_id = at_simulator(simulator, connect)
    simulator.advance(72 * 3600 + 60)
    with pytest.raises(ReportExpired), client.download(file_id, 1000):
        pytest.fail("it was opened")


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/elsewhere?x=1", "../../elsewhere?x=1"])
def test_redirect_within_the_host_keeps_credentials(
    status: int, location: str, serve: Serve, connect: Connect
) -> None:
    server = serve(answer(status, Location=location), WHOLE)
    assert read(connect(server.url)) == ARCHIVE
    first, second = server.requests
    assert (first.target, second.target) == (PATH, "/elsewhere?x=1")
    for request in (first, second):
        assert request.headers["authorization"] == basic(API_KEY, API_SECRET)
        assert request.headers["user-agent"] == USER_AGENT


def test_redirect_to_the_hosts_own_url_keeps_credentials(serve: Serve, connect: Connect) -> None:
    server = serve()
    server.answers = iter([answer(302, Location=f"{server.url}/elsewhere"), WHOLE])
    assert read(connect(server.url)) == ARCHIVE
    assert "authorization" in server.requests[1].headers


class Nexmo(requests.adapters.HTTPAdapter):
    """Replaces a server on port 443, which tests cannot bind: redirects, then returns a file."""

    def __init__(self, location: str) -> None:
        super().__init__()
        self.requests: list[requests.PreparedRequest] = []
        self.answers = iter([(302, {"Location": location}, b""), (200, {}, b"PK")])

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        self.requests.append(request)
        status, headers, body = next(self.answers)
        said = urllib3.HTTPResponse(io.BytesIO(body), headers, status, preload_content=False)
        return self.build_response(request, said)


@pytest.mark.parametrize("own", ["api.nexmo.com", "api.nexmo.com:443", "API.nexmo.com:443"])
def test_host_is_the_same_with_and_without_its_port(own: str) -> None:
    nexmo = Nexmo(f"https://{own}/elsewhere")
    with requests.Session() as session:
        session.mount("https://", nexmo)
        client = VonageClient("https://api.nexmo.com", Keys(), pacer=Pacer(0), session=session)
        assert read(client) == b"PK"
    assert [request.headers["authorization"] for request in nexmo.requests] == [
        basic(API_KEY, API_SECRET)
    ] * 2


def test_host_name_is_case_insensitive(serve: Serve, connect: Connect) -> None:
    server = serve(answer(302, Location="/elsewhere"), WHOLE)
    assert read(connect(f"http://LocalHost:{server.port}")) == ARCHIVE


def test_rotated_credentials_are_used_after_a_redirect(serve: Serve, connect: Connect) -> None:
    keys = Keys([(API_KEY, "old"), (API_KEY, API_SECRET)])
    server = serve(answer(302, Location="/elsewhere"), answer(401), WHOLE)
    assert read(connect(server.url, keys)) == ARCHIVE
    assert server.requests[-1].headers["authorization"] == basic(API_KEY, API_SECRET)


def test_redirect_to_another_https_host_sends_no_credentials(
    serve: Serve, connect: Connect, tls: ssl.SSLContext
) -> None:
    other = serve(WHOLE, tls=tls)
    server = serve(answer(302, Location=f"{other.url}/archive?signature=x"))
    assert read(connect(server.url)) == ARCHIVE
    (request,) = other.requests
    assert request.target == "/archive?signature=x"
    assert "authorization" not in request.headers
    assert "cookie" not in request.headers
    assert request.headers["user-agent"] == USER_AGENT


def test_another_host_gets_no_credentials_from_a_netrc(
    serve: Serve,
    connect: Connect,
    tls: ssl.SSLContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password something\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    other = serve(WHOLE, tls=tls)
    server = serve(answer(302, Location=other.url))
    read(connect(server.url))
    assert "authorization" not in other.requests[0].headers
    assert server.requests[0].headers["authorization"] == basic(API_KEY, API_SECRET)


def test_credentials_in_a_redirects_url_are_not_sent(
    serve: Serve, connect: Connect, tls: ssl.SSLContext
) -> None:
    other = serve(WHOLE, tls=tls)
    url = other.url.replace("https://", f"https://{API_KEY}:{API_SECRET}@")
    server = serve(answer(302, Location=url))
    read(connect(server.url))
    assert "authorization" not in other.requests[0].headers


def test_another_https_host_may_redirect_within_itself(
    serve: Serve, connect: Connect, tls: ssl.SSLContext
) -> None:
    other = serve(answer(302, Location="/further"), WHOLE, tls=tls)
    server = serve(answer(302, Location=other.url))
    assert read(connect(server.url)) == ARCHIVE
    assert [request.target for request in other.requests] == ["/", "/further"]
    assert all("authorization" not in request.headers for request in other.requests)


def test_redirect_to_an_untrusted_https_host_raises(
    serve: Serve, connect: Connect, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    other = serve(WHOLE, tls=tls)
    server = serve(answer(302, Location=other.url))
    with pytest.raises(VonageUnavailable):
        read(connect(server.url))
    assert other.requests == []


@pytest.mark.parametrize("keep", [Keys, lambda: Keys([(API_KEY, "old"), (API_KEY, "new")])])
def test_redirect_to_another_http_host_is_refused(
    keep: Callable[[], Keys], serve: Serve, connect: Connect
) -> None:
    other = serve(WHOLE)
    server = serve(answer(302, Location=f"{other.url}{PATH}"))
    with pytest.raises(VonageRejected, match="without https"):
        read(connect(server.url, keep()))
    assert other.requests == []


def test_ambiguous_host_in_a_redirect_gets_no_credentials(serve: Serve, connect: Connect) -> None:
    """urllib3 ends the host at a backslash; urllib.parse begins it after the last @."""
    other = serve(WHOLE)
    server = serve()
    own = f"127.0.0.1:{server.port}"
    server.answers = iter([answer(302, Location=f"{other.url}\\@{own}/x"), WHOLE])
    with pytest.raises(VonageRejected, match="without https"):
        read(connect(server.url))
    assert other.requests == []


def test_redirect_from_https_to_http_is_refused(
    serve: Serve, connect: Connect, tls: ssl.SSLContext
) -> None:
    other = serve(WHOLE)
    server = serve(answer(302, Location=f"http://localhost:{other.port}{PATH}"), tls=tls)
    with pytest.raises(VonageRejected):
        read(connect(server.url))
    assert other.requests == []


@pytest.mark.parametrize(
    "location",
    ["ftp://localhost/x", "file:///etc/passwd", "http://[evil", "https://[evil/x", "//[", "http:"],
)
def test_redirect_to_no_https_url_is_refused(location: str, serve: Serve, connect: Connect) -> None:
    server = serve(answer(302, Location=location))
    with pytest.raises(VonageReportsError):
        read(connect(server.url))


def test_circular_redirects_raise(serve: Serve, connect: Connect) -> None:
    server = serve()
    server.answers = cycle([answer(302, Location="/a"), answer(302, Location="/b")])
    with pytest.raises(VonageReportsError):
        read(connect(server.url))
    assert len(server.requests) < 10


def test_redirect_without_a_target_raises(serve: Serve, connect: Connect) -> None:
    server = serve()
    server.answers = cycle([answer(302)])
    with pytest.raises(VonageReportsError):
        read(connect(server.url))
    assert len(server.requests) < 10


def test_plain_http_redirect_of_the_simulator_is_refused(
    simulator: Simulator, connect: Connect
) -> None:
    simulator.fault("download", "redirect", location="http://media.example.com/archive.zip")
    client, file_id = at_simulator(simulator, connect)
    with pytest.raises(VonageRejected):
        client.download(file_id, 1000).__enter__()


# The simulator's archives


def test_simulators_archive_is_whole(simulator: Simulator, connect: Connect) -> None:
    client, file_id = at_simulator(simulator, connect)
    with client.download(file_id, 777) as chunks:
        archive = zipfile.ZipFile(io.BytesIO(b"".join(chunks)))
    with archive:
        assert archive.testzip() is None


@pytest.mark.parametrize("how", ["no_length", "chunked"])
def test_simulators_archive_is_the_same_without_a_length(
    how: str, simulator: Simulator, connect: Connect
) -> None:
    client, file_id = at_simulator(simulator, connect)
    with client.download(file_id, 777) as chunks:
        plain = b"".join(chunks)
    simulator.fault("download", "body", how=how)
    with client.download(file_id, 777) as chunks:
        assert b"".join(chunks) == plain


def at_simulator(simulator: Simulator, connect: Connect) -> tuple[VonageClient, str]:
    """Return a client of the simulator, and the file id of a report that is ready there."""
    client = connect(simulator.url, Keys([(simulator.api_key, simulator.api_secret)]))
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    request_id = client.create_report(
        product="SMS",
        account_id=simulator.api_key,
        window=Window(today - timedelta(days=5), today - timedelta(days=4), "UTC"),
        include_subaccounts=False,
        filters={"direction": "outbound"},
    )
    while not (report := client.get_report(request_id)).state.is_terminal:
        pass
    assert report.file_id is not None
    return client, report.file_id
