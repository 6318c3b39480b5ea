"""Vonage without a network: calls the simulator where requests would open a connection."""

import base64
import io
import json
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from datetime import timedelta
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import requests
import urllib3
from requests.adapters import HTTPAdapter

from local.simulator.answers import Answer
from local.simulator.api import Request, answer_to, operation_of
from local.simulator.clock import Clock
from local.simulator.delivery import altered
from local.simulator.faults import Fault
from local.simulator.reports import Report
from local.simulator.settings import Settings
from local.simulator.simulation import Account, Simulation
from tests.chaos.answers import DrippingBody, Strange, StrangeAnswers, documents_of_others
from tests.chaos.callbacks import Callbacks
from tests.chaos.fault_plan import FaultPlan
from tests.chaos.refusals import Refusal
from tests.chaos.virtual_time import VirtualTime

READ_TIMEOUT = 30.0
HOST = "api.nexmo.com"


class AtOnce(Executor):
    """Run each task before `submit` returns, so that an archive is ready at once."""

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(function(*args, **kwargs))
        return future


class Vonage:
    """An account at Vonage, and the network to it."""

    def __init__(
        self,
        account: Account,
        settings: Settings,
        folder: Path,
        *,
        virtual_time: VirtualTime,
        fault_plan: FaultPlan,
        random: Random,
        strange: StrangeAnswers,
        clock_error: timedelta = timedelta(),
        another: Account | None = None,
    ) -> None:
        def simulation(of: Account) -> Simulation:
            return Simulation(
                of,
                settings,
                folder,
                new_clock=lambda: Clock(virtual_time.seconds, virtual_time.now + clock_error),
                new_id=lambda: UUID(int=random.getrandbits(128), version=4),
                renderers=AtOnce(),
            )

        self.simulation = simulation(account)
        self.clock_error = clock_error
        """How far Vonage's clock is ahead of ours."""
        self.refusals: list[Refusal] = []
        self.not_found: dict[str, int] = {}
        """How often Vonage answered 404 for a request or its file, by request_id."""
        self.followed: list[str] = []
        """Requests to another host that must not be sent there."""
        self.callbacks: Callbacks | None = None
        self._another = None if another is None else simulation(another)
        self._strange = strange
        self._virtual_time = virtual_time
        self._fault_plan = fault_plan
        self._random = random

    @property
    def reports(self) -> dict[str, Report]:
        """Every report at Vonage, also that of the other account, by request_id."""
        another = {} if self._another is None else self._another.world.reports
        return {**self.simulation.world.reports, **another}

    @property
    def max_in_flight(self) -> int:
        """The largest number of reports in flight under one key."""
        worlds = [each.world for each in (self.simulation, self._another) if each is not None]
        return max(each.max_in_flight for each in worlds)

    def records_of_requests(self, month: str) -> list[int]:
        """Return the records of each ended request that Vonage received in a UTC month."""
        bill = self.simulation.world.bill.records_by_report
        clock = self.simulation.world.clock
        return [
            bill[name]
            for name, each in self.reports.items()
            if name in bill and f"{clock.at(each.received):%Y-%m}" == month
        ]

    def send(
        self, adapter: HTTPAdapter, request: requests.PreparedRequest, **_: Any
    ) -> requests.Response:
        """Answer a request in place of HTTPAdapter.send."""
        invocation = self._virtual_time.current
        assert invocation is not None
        assert request.url is not None
        invocation.spend(self._random.uniform(0.25, 0.8))
        url = urllib3.util.parse_url(request.url)
        headers = Message()
        for name, value in request.headers.items():
            headers[name] = str(value)
        body = request.body or b""
        arrived = Request(
            str(request.method),
            url.request_uri,
            headers,
            body if isinstance(body, bytes) else body.encode(),
        )
        if url.host != HOST:
            return adapter.build_response(request, _response(self._elsewhere(request, url), None))
        operation, run_input = operation_of(arrived.method, arrived.path)
        assert operation is not None
        fault = self._fault_plan.over_vonage(operation, self._virtual_time.now)
        if fault is not None and fault.fault == "unreachable":
            raise requests.ConnectionError(
                urllib3.exceptions.MaxRetryError(
                    None,  # type: ignore[arg-type]  # no pool
                    request.url,
                    urllib3.exceptions.NewConnectionError(None, "refused"),  # type: ignore[arg-type]  # no connection
                )
            )
        simulation = self._of_key(headers["Authorization"])
        strange: Strange | None = None
        met: Fault | None = None
        seen = self._refused(operation, run_input, arrived)
        if seen is None:
            answer, met = self._answered(simulation, operation, arrived, fault)
            seen = altered(answer, met) if met else answer
            if seen is not None and seen is answer:
                strange = self._strange_form(operation, run_input, seen)
        if seen is not None and seen.status == HTTPStatus.NOT_FOUND:
            self._count_not_found(operation, run_input)
        invocation.spend(READ_TIMEOUT if met and "hang" in met.fault else 0.1)
        if seen is None:
            if met and "hang" in met.fault:
                raise requests.ReadTimeout("read timed out")
            raise requests.ConnectionError(urllib3.exceptions.ProtocolError("reset"))
        if strange is None:
            return adapter.build_response(request, _response(seen, met))
        drip = strange.seconds_per_read
        spend = (lambda: invocation.spend(drip)) if drip else None
        return adapter.build_response(request, _response(strange.answer, None, spend))

    def _answered(
        self, simulation: Simulation, operation: str, arrived: Request, fault: Fault | None
    ) -> tuple[Answer, Fault | None]:
        faults = [fault]
        if self.callbacks is not None and operation == "create":
            faults.append(self.callbacks.fault())
        simulation.world.faults.pending = [each for each in faults if each is not None]
        answer = answer_to(simulation, arrived)
        if self.callbacks is not None and operation == "create":
            self.callbacks.created()
        return answer

    def _of_key(self, authorization: str) -> Simulation:
        key = base64.b64decode(authorization.partition(" ")[2]).partition(b":")[0].decode()
        if self._another is not None and key == self._another.account.api_key:
            return self._another
        return self.simulation

    def _elsewhere(self, request: requests.PreparedRequest, url: urllib3.util.Url) -> Answer:
        """Answer for another host, to which a download was redirected."""
        if "Authorization" in request.headers or url.scheme != "https":
            self.followed.append(f"{request.method} {request.url}")
        report = self._of_file((url.path or "").rpartition("/")[2])
        now = self.simulation.world.clock.elapsed()
        if report is None or report.rendered is None or not report.has_file(now):
            return Answer(status=404, content_type="text/plain")
        return Answer(
            status=200, content_type="application/octet-stream", file=report.rendered.path
        )

    def _of_file(self, file_id: str) -> Report | None:
        return next((each for each in self.reports.values() if each.file_id == file_id), None)

    def _refused(self, operation: str, subject: str, arrived: Request) -> Answer | None:
        if not self.refusals:
            return None
        account_id = product = ""
        if operation == "create":
            body = json.loads(arrived.body)
            account_id, product = body["account_id"], body["product"]
        elif operation == "list":
            (account_id,) = parse_qs(urlsplit(arrived.target).query)["account_id"]
        else:
            report = self.reports.get(subject) or self._of_file(subject)
            if report is not None:
                account_id = report.request.account_id
        now = self._virtual_time.now
        hits = (each for each in self.refusals if each.hits(operation, account_id, product, now))
        return next((each.answer for each in hits), None)

    def _strange_form(self, operation: str, subject: str, answer: Answer) -> Strange | None:
        world = self.simulation.world
        return self._strange.of(
            operation,
            answer,
            subject=subject,
            others=lambda: documents_of_others(world.reports, subject, world.clock),
            now=self._virtual_time.now,
        )

    def _count_not_found(self, operation: str, run_input: str) -> None:
        report = self._of_file(run_input)
        name = run_input if report is None else report.request_id
        if operation in ("get", "download"):
            self.not_found[name] = self.not_found.get(name, 0) + 1


class _StalledBody(io.BytesIO):
    """A body that stalls in the middle."""

    def read1(self, size: int | None = -1, /) -> bytes:
        data = super().read1(size)
        if not data:
            raise TimeoutError("timed out")
        return data


def _response(
    answer: Answer, fault: Fault | None, spend: Callable[[], None] | None = None
) -> urllib3.HTTPResponse:
    body = answer.body if answer.file is None else answer.file.read_bytes()
    length, stream = len(body), io.BytesIO(body)
    if spend is not None:
        stream = DrippingBody(body, spend)
    if fault is not None and answer.file is not None:
        half = length // 2
        match fault.parameters.get("how", fault.fault):
            case "truncated_with_length":
                stream = io.BytesIO(body[:half])
            case "short_no_error":
                length, stream = half, io.BytesIO(body[:half])
            case "longer":
                length, stream = length + half, io.BytesIO(body + bytes(half))
            case "corrupt_byte_at":
                corrupt = bytes([body[half] ^ 0xFF])
                stream = io.BytesIO(body[:half] + corrupt + body[half + 1 :])
            case "stall":
                stream = _StalledBody(body[:half])
    return urllib3.HTTPResponse(
        stream,
        {
            "Content-Type": answer.content_type,
            "Content-Length": str(length),
            **answer.headers,
        },
        int(answer.status),
        preload_content=False,
    )


def with_secret(account: Account, secret: str) -> Account:
    """Return the account with another secret."""
    return replace(account, api_secret=secret)
