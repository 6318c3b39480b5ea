"""Callbacks: POST the status of a report to its `callback_url` when the report ends.

Vonage documents no signature, retries or time-out. The simulator has neither of the first two.
"""

import http.client
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

_TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class Callback:
    """One call."""

    request_id: str
    url: str
    body: bytes


def send(callback: Callback, address: str, certificates: str) -> int | None:
    """Send a call to `address` (host:port) instead of the host in its URL. Return the status.

    `certificates` is the file of the authorities that https trusts. None: there was no answer.
    """
    url = urlsplit(callback.url)
    host, _, port = address.rpartition(":")
    name = url.hostname or ""
    connection = http.client.HTTPConnection(name, timeout=_TIMEOUT_SECONDS)
    try:
        stream = socket.create_connection((host, int(port)), timeout=_TIMEOUT_SECONDS)
        if url.scheme == "https":
            trusted = ssl.create_default_context(cafile=certificates or None)
            stream = trusted.wrap_socket(stream, server_hostname=name)
        connection.sock = stream
        headers = {"Content-Type": "application/json", "User-Agent": "VonageSimulator"}
        connection.request("POST", url.path or "/", body=callback.body, headers=headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
