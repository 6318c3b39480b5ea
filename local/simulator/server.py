"""The HTTP side: routes, credentials, rate limit, faults, one thread per connection.

Of the API it serves what asynchronous reports need. The synchronous GET /v2/reports/records and
the info and deletion of media are not there; a callback_url is accepted and never called.
"""

import base64
import re
import socketserver
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event
from urllib.parse import urlsplit

from . import control
from .answers import Answer, Problem, not_found, too_many_requests, wrong_credentials
from .delivery import NOT_DONE, altered, send, send_with_fault
from .faults import BEFORE_ACTING, Fault, Hit
from .simulation import Simulation

HOST = "127.0.0.1"

_ROUTES = tuple(
    (method, re.compile(path), operation)
    for method, path, operation in (
        ("POST", r"/v2/reports/?", "create"),
        ("GET", r"/v2/reports/?", "list"),
        ("GET", r"/v2/reports/([^/]+)", "get"),
        ("DELETE", r"/v2/reports/([^/]+)", "cancel"),
        ("GET", r"/v3/media/([^/]+)", "download"),
    )
)


class Server(ThreadingHTTPServer):
    """Serves one simulation on the loopback interface."""

    request_queue_size = 128

    def __init__(self, simulation: Simulation, port: int) -> None:
        self.simulation = simulation
        self.stopping = Event()
        super().__init__((HOST, port), _Handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.server_port}"

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the host's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing about clients that hang up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # passed through


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def version_string(self) -> str:
        return "VonageSimulator"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Log nothing: /control/state counts."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        simulation = self.server.simulation
        if path.startswith(control.PREFIX):
            with simulation.lock:
                answer = control.handle(simulation, self.command, path, body)
            send(self, answer)
            return
        with simulation.lock:
            answer, fault = self._answer(path, body)
            seen = altered(answer, fault) if fault else answer
            if seen:
                simulation.world.traffic.by_status[str(int(seen.status))] += 1
        if fault:
            send_with_fault(self, seen, fault, self.server.stopping)
        else:
            send(self, answer)

    def _answer(self, path: str, body: bytes) -> tuple[Answer, Fault | None]:
        """Do what is asked, and say what shall go wrong on the way back."""
        simulation = self.server.simulation
        operation, subject = _route(self.command, path)
        simulation.world.traffic.arrived(operation, self.path, self.headers)
        try:
            self._check_credentials()
            self._check_rate()
            if operation is None:
                raise not_found()
            hit = simulation.world.faults.take(
                operation, simulation.facts(operation, subject, body)
            )
        except Problem as problem:
            return problem.answer(), None
        if hit.answer and hit.answer.fault in BEFORE_ACTING:
            return NOT_DONE, hit.answer
        try:
            return self._act(operation, subject, body, hit), hit.answer
        except Problem as problem:
            return problem.answer(), hit.answer

    def _act(self, operation: str, subject: str, body: bytes, hit: Hit) -> Answer:
        simulation = self.server.simulation
        match operation:
            case "create":
                return simulation.create(body, hit.report)
            case "list":
                return simulation.list(urlsplit(self.path).query, hit.report)
            case "get" if hit.answer and hit.answer.fault == "list_form":
                return simulation.get_in_list_form(subject, hit.report)
            case "get":
                return simulation.get(subject, hit.report)
            case "cancel":
                return simulation.cancel(subject)
            case _:
                return simulation.download(subject)

    def _check_credentials(self) -> None:
        simulation = self.server.simulation
        account = simulation.account
        secrets = simulation.world.settings.secrets or (account.api_secret,)
        scheme, _, encoded = self.headers.get("Authorization", "").partition(" ")
        try:
            given = base64.b64decode(encoded, validate=True)
        except ValueError:
            given = b""
        valid = {f"{account.api_key}:{secret}".encode() for secret in secrets}
        if scheme != "Basic" or given not in valid:
            raise wrong_credentials()

    def _check_rate(self) -> None:
        simulation = self.server.simulation
        settings = simulation.world.settings
        if not simulation.world.traffic.admit(settings.requests_per_second):
            reset = simulation.world.clock.now().timestamp() + settings.retry_after
            raise too_many_requests(
                retry_after=settings.retry_after,
                limit=settings.requests_per_second,
                reset_ms=int(reset * 1000),
            )


def _route(method: str, path: str) -> tuple[str | None, str]:
    for route_method, pattern, operation in _ROUTES:
        if method == route_method and (match := pattern.fullmatch(path)):
            return operation, match[1] if match.groups() else ""
    return None, ""
