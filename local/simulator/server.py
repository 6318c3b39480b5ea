"""The HTTP server: one thread per connection, and answers altered by faults."""

import socketserver
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from urllib.parse import urlsplit

from . import callbacks, control
from .api import Request, answer_to
from .delivery import altered, send, send_with_fault
from .simulation import Simulation

HOST = "127.0.0.1"
_CALLBACK_SECONDS = 0.02  # the longest delay of a callback that is due


class Server(ThreadingHTTPServer):
    """Serve one simulation on the loopback interface."""

    request_queue_size = 128

    def __init__(self, simulation: Simulation, port: int) -> None:
        self.simulation = simulation
        self.stopping = Event()
        super().__init__((HOST, port), _Handler)
        # One call after another, as the function takes them.
        Thread(target=self._call_back, daemon=True).start()

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://{HOST}:{self.server_port}"

    def server_bind(self) -> None:
        """Bind without HTTPServer's lookup of the host name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def _call_back(self) -> None:
        """Make the callbacks that are due, until the server stops."""
        while not self.stopping.wait(_CALLBACK_SECONDS):
            with self.simulation.lock:
                settings = self.simulation.world.settings
                due = self.simulation.take_callbacks() if settings.callbacks_to else []
            for callback in due:
                status = callbacks.send(callback, settings.callbacks_to, settings.callbacks_trust)
                with self.simulation.lock:
                    self.simulation.called(callback, status)

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing when a client hangs up."""
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
        """Log nothing: /control/state counts the requests."""

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
            request = Request(self.command, self.path, self.headers, body)
            answer, fault = answer_to(simulation, request)
            seen = altered(answer, fault) if fault else answer
            if seen:
                simulation.world.traffic.by_status[str(int(seen.status))] += 1
        if fault:
            send_with_fault(self, seen, fault, self.server.stopping)
        else:
            send(self, answer)
