"""A session whose connections hang up when the head of an answer takes too long."""

import socket
from collections.abc import Mapping
from contextlib import suppress
from threading import Timer

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.response import HTTPResponse


def session_with_deadline(seconds: float) -> requests.Session:
    """Return a session that waits at most `seconds` for the whole head of an answer.

    A read time-out counts from one byte to the next, so a server may drip a head for ever.
    """
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(seconds))
    return session


class _Http(HTTPConnection):
    seconds: float
    has_hung_up = False

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as in urllib3
        timer = Timer(self.seconds, self._hang_up)
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse()
        finally:
            timer.cancel()
        if self.has_hung_up:
            # http.client takes the end of the stream as the end of the head.
            response.close()
            raise TimeoutError(f"no whole head of an answer after {self.seconds:g} seconds")
        return response

    def _hang_up(self) -> None:
        self.has_hung_up = True
        # TLS inside TLS has the socket one level down.
        end = getattr(self.sock, "socket", self.sock)
        with suppress(OSError, TypeError):
            # Not the method of SSLSocket, after which a read returns encrypted bytes.
            socket.socket.shutdown(end, socket.SHUT_RDWR)


class _Https(_Http, HTTPSConnection):
    pass


class _Adapter(HTTPAdapter):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._classes: Mapping[str, type[_Http]] = {
            "http": type("_Http", (_Http,), {"seconds": seconds}),
            "https": type("_Https", (_Https,), {"seconds": seconds}),
        }

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str | None,  # noqa: FBT001 - the base class's signature
        proxies: Mapping[str, str] | None = None,
        cert: tuple[str, str] | str | None = None,
    ) -> HTTPConnectionPool:
        pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
        assert isinstance(pool, HTTPConnectionPool)
        pool.ConnectionCls = self._classes[pool.scheme or ""]
        return pool
