import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from local.audit import PIP_AUDIT, PROBE, main

KNOWN = '{"vulnerabilities": [{"id": "PYSEC-2018-28"}]}'


class Answer(BaseHTTPRequestHandler):
    """Answers a probe with the server's `status` and `body`."""

    server: "Source"

    def do_GET(self) -> None:
        assert self.path == f"/pypi/{PROBE}/json"
        body = self.server.body.encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Source(ThreadingHTTPServer):
    status = 200
    body = KNOWN

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def source() -> Iterator[Source]:
    with Source(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def pip_audit(*, ends_with: int) -> tuple[str, ...]:
    """Return a pip-audit that prints its arguments and ends."""
    program = f"import sys; print(*sys.argv[1:]); sys.exit({ends_with})"
    return (sys.executable, "-c", program)


@pytest.mark.parametrize("code", [0, 1, 70])
def test_end_of_pip_audit_passes_through(
    source: Source, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["a.txt", "b.txt"], source=source.url, pip_audit=pip_audit(ends_with=code)) == code
    assert capfd.readouterr().out == "-r a.txt -r b.txt\n"


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (404, "", "answers 404"),
        (503, "", "answers 503"),
        (200, '{"info": {}}', "names no vulnerability"),
        (200, '{"vulnerabilities": []}', "names no vulnerability"),
        (200, "<html>", "names no vulnerability"),
        (200, "[]", "names no vulnerability"),
    ],
)
def test_source_without_advisories_is_unchecked(
    source: Source, status: int, body: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    source.status, source.body = status, body
    assert main(["a.txt"], source=source.url, pip_audit=pip_audit(ends_with=1)) == 0
    printed = capfd.readouterr().out
    assert printed.startswith("unchecked: ")
    assert reason in printed
    assert "a.txt" not in printed


def test_unreachable_source_is_unchecked(capfd: pytest.CaptureFixture[str]) -> None:
    with Source(("127.0.0.1", 0), Answer) as closed:
        url = closed.url
    assert main(["a.txt"], source=url, pip_audit=pip_audit(ends_with=1)) == 0
    assert capfd.readouterr().out.startswith(f"unchecked: {url} cannot be reached (Connection")


def test_audit_fails_without_pip_audit(source: Source) -> None:
    # The environment of the tests has no pip-audit.
    assert main(["a.txt"], source=source.url, pip_audit=PIP_AUDIT) == 1
