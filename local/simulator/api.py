"""The API without its HTTP server: routes, credentials, rate limit and faults.

It serves only the endpoints that asynchronous reports need. The synchronous GET
/v2/reports/records is missing, and so are the info and the deletion of media. The server calls a
callback_url. Of the Subaccounts API, it serves the list.
"""

import base64
import re
from dataclasses import dataclass
from email.message import Message
from urllib.parse import urlsplit

from .answers import Answer, Problem, not_found, too_many_requests, wrong_credentials
from .delivery import NOT_DONE
from .faults import BEFORE_ACTING, Fault, Hit
from .simulation import Simulation

_ROUTES = tuple(
    (method, re.compile(path), operation)
    for method, path, operation in (
        ("POST", r"/v2/reports/?", "create"),
        ("GET", r"/v2/reports/?", "list"),
        ("GET", r"/v2/reports/([^/]+)", "get"),
        ("DELETE", r"/v2/reports/([^/]+)", "cancel"),
        ("GET", r"/v3/media/([^/]+)", "download"),
        ("GET", r"/accounts/([^/]+)/subaccounts", "subaccounts"),
    )
)


@dataclass(frozen=True)
class Request:
    """A request as received; `target` is the path with its query."""

    method: str
    target: str
    headers: Message
    body: bytes

    @property
    def path(self) -> str:
        """The path without its query."""
        return urlsplit(self.target).path


def answer_to(simulation: Simulation, request: Request) -> tuple[Answer, Fault | None]:
    """Serve a request. Return the answer, and the fault to apply when the answer is sent.

    The caller holds the simulation's lock.
    """
    operation, subject = operation_of(request.method, request.path)
    simulation.world.traffic.arrived(operation, request.target, request.headers)
    try:
        _check_credentials(simulation, request)
        _check_rate(simulation)
        if operation is None:
            raise not_found()
        hit = simulation.world.faults.take(
            operation, simulation.facts(operation, subject, request.body)
        )
    except Problem as problem:
        return problem.answer(), None
    if hit.answer and hit.answer.fault in BEFORE_ACTING:
        return NOT_DONE, hit.answer
    try:
        return _act(simulation, operation, subject, request, hit), hit.answer
    except Problem as problem:
        return problem.answer(), hit.answer


def operation_of(method: str, path: str) -> tuple[str | None, str]:
    """Return the operation, and the id of its report or file. An unknown operation is None."""
    for route_method, pattern, operation in _ROUTES:
        if method == route_method and (match := pattern.fullmatch(path)):
            return operation, match[1] if match.groups() else ""
    return None, ""


def _act(
    simulation: Simulation, operation: str, subject: str, request: Request, hit: Hit
) -> Answer:
    match operation:
        case "create":
            return simulation.create(request.body, hit.report)
        case "list":
            return simulation.list(urlsplit(request.target).query, hit.report)
        case "get":
            is_in_list_form = hit.answer and hit.answer.fault == "list_form"
            get = simulation.get_in_list_form if is_in_list_form else simulation.get
            return get(subject, hit.report)
        case "cancel":
            return simulation.cancel(subject)
        case "subaccounts":
            return simulation.subaccounts(subject, hit.report)
        case _:
            return simulation.download(subject)


def _check_credentials(simulation: Simulation, request: Request) -> None:
    account = simulation.account
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    try:
        given = base64.b64decode(encoded, validate=True)
    except ValueError:
        given = b""
    secrets = simulation.world.settings.secrets or (account.api_secret,)
    valid = {f"{account.api_key}:{secret}".encode() for secret in secrets}
    if scheme != "Basic" or given not in valid:
        raise wrong_credentials()


def _check_rate(simulation: Simulation) -> None:
    settings = simulation.world.settings
    if not simulation.world.traffic.admit(settings.requests_per_second):
        reset = simulation.world.clock.now().timestamp() + settings.retry_after
        raise too_many_requests(
            retry_after=settings.retry_after,
            limit=settings.requests_per_second,
            reset_ms=int(reset * 1000),
        )
