"""A client of the simulator's API, which sees what its faults do."""

import base64
import http.client
import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from local.simulator.process import Simulator
from tests.support.waiting import wait_until

ACCOUNT = "abcd1234"
SMS = {"product": "SMS", "account_id": ACCOUNT, "direction": "outbound"}


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document


class Client:
    """A client with one connection per request, so a cut never affects the next request."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        credentials = f"{simulator.api_key}:{simulator.api_secret}".encode()
        self._headers = {
            "Authorization": f"Basic {base64.b64encode(credentials).decode()}",
            "User-Agent": "tests",
        }

    def request(
        self, method: str, path: str, body: Mapping[str, object] | None = None, timeout: float = 30
    ) -> Reply:
        address = urlsplit(self.simulator.url).netloc
        with closing(http.client.HTTPConnection(address, timeout=timeout)) as connection:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, self._headers)
            with closing(connection.getresponse()) as response:
                return Reply(response.status, response.headers, response.read())

    def create(self, **changes: object) -> Reply:
        return self.request("POST", "/v2/reports", {**SMS, **changes})

    def get(self, request_id: str) -> Reply:
        return self.request("GET", f"/v2/reports/{request_id}")

    def finished(self, **changes: object) -> dict[str, Any]:
        request_id = self.create(**changes).json()["request_id"]
        self.simulator.advance(10)
        return self.wait(request_id)

    def wait(self, request_id: str) -> dict[str, Any]:
        at_work = {"PENDING", "PROCESSING"}
        wait_until(lambda: self.known(request_id)["request_status"] not in at_work, every=0.002)
        return self.known(request_id)

    def known(self, request_id: str) -> dict[str, Any]:
        """Return the report from the control endpoint, which meets no fault."""
        reports = {report["request_id"]: report for report in self.reports()}
        return reports[request_id]

    def reports(self) -> list[dict[str, Any]]:
        reports: list[dict[str, Any]] = self.simulator.state()["reports"]
        return reports

    def download(self, report: dict[str, Any], timeout: float = 30) -> Reply:
        return self.request("GET", f"/v3/media/{report['file_id']}", timeout=timeout)
