"""The simulator calls the `callback_url` of a report, as its faults say."""

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from local.simulator.process import Simulator
from tests.integration.conftest import Bytes, ScriptedServer, Serve, answer
from tests.support.simulator import Client
from tests.support.waiting import wait_until

HOST = "x1y2.lambda-url.eu-west-1.on.aws"
NO_CONTENT = Bytes(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")


@pytest.fixture(scope="module")
def process() -> Iterator[Simulator]:
    with Simulator(rows_per_day=10, requests_per_second=0, seconds_per_report=3600) as simulator:
        yield simulator


@pytest.fixture
def client(process: Simulator) -> Client:
    process.reset()
    return Client(process)


@pytest.fixture
def receiver(client: Client, serve: Serve) -> ScriptedServer:
    """A server that gets every callback."""
    server = serve(*[NO_CONTENT] * 5)
    client.simulator.settings(callbacks_to=urlsplit(server.url).netloc)
    return server


def created(client: Client, scheme: str = "http") -> str:
    reply = client.create(callback_url=f"{scheme}://{HOST}/path")
    return str(reply.json()["request_id"])


def called(client: Client, count: int) -> list[dict[str, Any]]:
    """Wait for so many callbacks, and return them."""
    wait_until(lambda: len(client.simulator.state()["callbacks"]) >= count, within=10)
    calls = client.simulator.state()["callbacks"]
    assert len(calls) == count
    return list(calls)


def test_report_calls_once_at_its_end_with_its_status(
    client: Client, receiver: ScriptedServer
) -> None:
    request_id = created(client)
    assert client.simulator.state()["callbacks"] == []
    client.simulator.advance(3600)

    (call,) = called(client, 1)
    assert (call["request_id"], call["status"]) == (request_id, 204)
    assert call["at"] >= client.known(request_id)["end_time"]
    (request,) = receiver.requests
    assert (request.method, request.target, request.headers["host"]) == ("POST", "/path", HOST)
    assert request.json == client.get(request_id).json()


def test_report_without_a_url_gets_no_callback(client: Client, receiver: ScriptedServer) -> None:
    client.create()
    created(client)
    client.simulator.advance(3600)

    called(client, 1)
    assert len(receiver.requests) == 1


def test_simulator_without_an_address_makes_no_callback(client: Client) -> None:
    request_id = created(client)
    client.simulator.advance(3600)
    client.wait(request_id)

    assert client.simulator.state()["callbacks"] == []


@pytest.mark.parametrize("count", [0, 1, 3])
def test_fault_sets_the_number_of_calls(
    client: Client, receiver: ScriptedServer, count: int
) -> None:
    client.simulator.fault("create", "callback", calls=count)
    created(client)
    client.simulator.advance(3600)
    last = created(client)
    client.simulator.advance(3600)

    calls = called(client, count + 1)
    assert calls[-1]["request_id"] == last
    assert len(receiver.requests) == count + 1


def test_call_can_be_late(client: Client, receiver: ScriptedServer) -> None:
    client.simulator.fault("create", "callback", seconds=60)
    request_id = created(client)
    client.simulator.advance(3600)
    client.wait(request_id)
    assert receiver.requests == []
    client.simulator.advance(60)

    called(client, 1)


def test_call_can_be_early(client: Client, receiver: ScriptedServer) -> None:
    client.simulator.fault("create", "callback", early=True)
    request_id = created(client)

    called(client, 1)
    assert client.known(request_id)["request_status"] == "PENDING"
    assert receiver.requests[0].json["request_status"] == "PENDING"


@pytest.mark.parametrize("outcome", ["FAILED", "TRUNCATED"])
def test_every_end_calls(client: Client, receiver: ScriptedServer, outcome: str) -> None:
    client.simulator.fault("create", "outcome", request_status=outcome, seconds=0)
    created(client)

    called(client, 1)
    assert receiver.requests[0].json["request_status"] == outcome


def test_call_over_https_checks_the_certificate(
    client: Client, serve: Serve, tls: ssl.SSLContext, certificate: Path
) -> None:
    server = serve(answer(204), answer(204), tls=tls)
    address = f"127.0.0.1:{server.port}"
    client.simulator.settings(callbacks_to=address, callbacks_trust=str(certificate))
    client.simulator.fault("create", "outcome", request_status="FAILED", seconds=0)
    client.create(callback_url="https://localhost/path")
    called(client, 1)
    client.simulator.fault("create", "outcome", request_status="FAILED", seconds=0)
    client.create(callback_url=f"https://{HOST}/path")

    assert [call["status"] for call in called(client, 2)] == [204, None]
    assert [json.loads(request.body)["request_status"] for request in server.requests] == ["FAILED"]
