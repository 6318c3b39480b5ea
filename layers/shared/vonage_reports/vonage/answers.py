"""Checks and parses the answers of Vonage: statuses, problems, reports."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from vonage_reports.domain.errors import (
    RateLimited,
    ReportExpired,
    VonageRejected,
    VonageUnavailable,
    VonageUnreachable,
)
from vonage_reports.domain.report import RequestStatus
from vonage_reports.domain.windows import parse_instant

# Shorter runs of digits are counts. E.164 numbers have at most 15 digits. In an id, letters or
# hyphens surround the digits.
_PHONE_NUMBER = re.compile(r"(?<![\w-])\+?\d{9,15}(?![\w-])")
_LONGEST_RETRY_AFTER = 86_400
_LONGEST_PROBLEM = 64 * 1024  # bytes; a longer body is no problem+json, perhaps a whole archive


@dataclass(frozen=True)
class ReportRequest:
    """One report as Vonage describes it. A field that the answer lacks is None.

    `echo` is the whole answer, with the request's parameters as sent. So its `status` is a filter;
    the state of the report is `request_status`.
    """

    request_id: str
    request_status: object
    product: str | None
    account_id: str | None
    include_subaccounts: bool
    date_start: datetime | None
    date_end: datetime | None
    receive_time: datetime | None
    items_count: int | None
    file_id: str | None
    echo: Mapping[str, Any]

    @property
    def state(self) -> RequestStatus:
        """The state of the report. Raises ReportFailed for an unknown status."""
        return RequestStatus.parse(self.request_status)


@contextmanager
def transport_errors() -> Iterator[None]:
    """Translate the errors of requests and urllib3 into ours.

    requests raises ValueError for a redirect to an invalid URL.
    """
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        # Only the name: the text of the error may contain the URL and more.
        name = type(error).__name__
        if _never_connected(error):
            raise VonageUnreachable(f"Vonage cannot be reached: {name}") from error
        raise VonageUnavailable(f"Vonage sent no complete answer: {name}") from error


def _never_connected(error: Exception) -> bool:
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.InvalidURL):
        return True
    # The error of requests contains urllib3's error, which contains the reason.
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(reason, urllib3.exceptions.NewConnectionError)


def raise_for_status(response: requests.Response) -> None:
    """Raise the error for a status outside 200 to 299.

    Raises:
        VonageUnavailable: 5xx, 408.
        RateLimited: 429.
        ReportExpired: 404.
        VonageRejected: any other status.
    """
    status = response.status_code
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return
    problem = problem_of(response)
    text = status_and_problem(response, problem)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
        raise VonageUnavailable(text)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise RateLimited(text, retry_after=_seconds(response.headers.get("Retry-After", "")))
    if status == HTTPStatus.NOT_FOUND:
        raise ReportExpired(text)
    invalid = [
        (str(each.get("name", "")), _without_numbers(str(each.get("reason", ""))))
        for each in objects_in(problem.get("invalid_parameters"))
    ]
    text += "".join(f"; {name}: {reason}" for name, reason in invalid)
    if status == HTTPStatus.FORBIDDEN:
        text += " (check at Vonage that the account may use the product and has credit)"
    raise VonageRejected(
        text,
        status=status,
        problem=problem_type(problem),
        has_title=has_title(problem),
        invalid_parameters=invalid,
    )


def _seconds(text: str) -> int | None:
    """Read a Retry-After in seconds, capped at a day: a longer wait is no rate limit."""
    if not text.isdecimal():
        return None
    return (
        _LONGEST_RETRY_AFTER if len(text) > len("86400") else min(int(text), _LONGEST_RETRY_AFTER)
    )


def status_and_problem(response: requests.Response, problem: Mapping[str, Any]) -> str:
    """Return the status, and the title and detail of the problem+json if there is one."""
    parts = (str(problem[key]) for key in ("title", "detail") if problem.get(key))
    said = _without_numbers(", ".join(parts))
    text = f"Vonage answered {response.status_code} to {response.request.method}"
    return f"{text}: {said}" if said else text


def _without_numbers(text: str) -> str:
    """Replace possible phone numbers: a refusal may quote a filter, and is announced."""
    return _PHONE_NUMBER.sub("(number)", text)


def problem_type(problem: Mapping[str, Any]) -> str:
    """Return the last part of a problem's type, such as "unprovisioned"."""
    return str(problem.get("type", "")).rpartition("#")[2]


def has_title(problem: Mapping[str, Any]) -> bool:
    """Whether the problem has a title, as every refusal by Vonage has."""
    return isinstance(problem.get("title"), str)


def problem_of(response: requests.Response) -> dict[str, Any]:
    """Return the problem+json, {} if there is none. Consumes the body of a stream."""
    content = b""
    try:
        with transport_errors():
            for piece in response.iter_content(_LONGEST_PROBLEM):
                content += piece
                if len(content) > _LONGEST_PROBLEM:
                    break
    except VonageUnavailable:
        return {}
    return _parsed(content) or {}


def json_object(response: requests.Response) -> dict[str, Any]:
    """Return the JSON object of a response. Raises VonageUnavailable for anything else."""
    with transport_errors():
        content = response.content
    answer = _parsed(content)
    if answer is None:
        raise VonageUnavailable(f"Vonage answered {response.status_code} without a JSON object")
    return answer


def _parsed(content: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def request_id_of(answer: Mapping[str, Any]) -> str:
    """Return the id unchanged: a UUID, with or without a prefix such as `ri3p58f-`."""
    request_id = answer.get("request_id")
    if not isinstance(request_id, str) or not request_id:
        raise VonageUnavailable("Vonage answered without a request_id")
    return request_id


def report_request(answer: Mapping[str, Any]) -> ReportRequest:
    """Parse one report of an answer. Raises VonageUnavailable without a request_id."""
    items = answer.get("items_count")
    return ReportRequest(
        request_id=request_id_of(answer),
        request_status=answer.get("request_status"),
        product=answer.get("product"),
        account_id=answer.get("account_id"),
        # Vonage's examples also have booleans as strings.
        include_subaccounts=str(answer.get("include_subaccounts")).lower() == "true",
        date_start=_instant(answer.get("date_start")),
        date_end=_instant(answer.get("date_end")),
        receive_time=_instant(answer.get("receive_time")),
        items_count=items if type(items) is int else None,
        file_id=_file_id(answer),
        echo=answer,
    )


def _file_id(answer: Mapping[str, Any]) -> str | None:
    """Return the last segment of the download link's path. No other part of the link is used."""
    links = answer.get("_links")
    link = links.get("download_report") if isinstance(links, dict) else None
    href = link.get("href") if isinstance(link, dict) else None
    if not isinstance(href, str):
        return None
    try:
        path = urlsplit(href).path
    except ValueError:
        return None
    return path.rstrip("/").rpartition("/")[2] or None


def _instant(value: object) -> datetime | None:
    try:
        return parse_instant(str(value))
    except (ValueError, OverflowError):
        return None


def objects_in(value: object) -> list[dict[str, Any]]:
    """Return the JSON objects in a list, without other values; [] if `value` is no list."""
    if not isinstance(value, list):
        return []
    return [each for each in value if isinstance(each, dict)]
