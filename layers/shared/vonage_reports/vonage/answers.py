"""Checks and parses the answers of Vonage: statuses, problems, reports."""

import json
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from traceback import walk_tb
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
from vonage_reports.domain.printable import printable
from vonage_reports.domain.report import RequestStatus
from vonage_reports.domain.subaccounts import SubaccountList
from vonage_reports.domain.windows import parse_instant

# Nine digits and more are a phone number, or an id of a messenger's user; fewer are a count. Groups
# and percent-encoding do not hide a number. The first alternative keeps UUIDs and times.
_NUMBER = re.compile(
    r"""(?ix)
    (?P<kept> (?<![0-9a-f]) [0-9a-f]{8} (?:-[0-9a-f]{4}){3} -[0-9a-f]{12}
        | (?<!\d) (?:19|20)\d\d-[01]\d-[0-3]\d (?!\d)
          (?: (?:T|[ ]) \d\d:\d\d[\d:.]* (?:Z|[+-]\d\d:?\d\d)? )? )
    | (?:\+|%2B)? (?:\d|%3\d)
      (?: (?:[\s().\-/\u2010-\u2015] | %(?:20|28|29|2D|2E|2F)){0,3} (?:\d|%3\d) ){8,}
    """
)
_ADDRESS = re.compile(r"""[^\s"'<>(),;:\[\]{}|=&?/\\@]{1,128}(?:@|%40)[\w.%-]{1,255}""")
_LONGEST_QUOTE = 700
"""Characters of Vonage's words in an error, whose whole text has at most 1,000."""
_MOST_PARAMETERS = 20
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ACCOUNT_ID = re.compile(r"[A-Za-z0-9]{1,40}")
_LONGEST_TEXT = 100
_MOST_ITEMS = 10**15
_COUNT = re.compile(r"\s*(\d{1,15})(?:\.0{1,15})?\s*", re.ASCII)
_LONGEST_RETRY_AFTER = 86_400
_LONGEST_PROBLEM = 64 * 1024  # bytes; a longer body is no problem+json, perhaps a whole archive
_PIECE = 64 * 1024
_GZIP_OR_ZLIB = 47  # zlib's `wbits`


@dataclass(frozen=True)
class ReportRequest:
    """One report as Vonage describes it. A field that is missing or unreadable is None.

    `request_id` is "" if it is unreadable, in a list only. `items_count_text` is Vonage's text of a
    count that is present but unreadable. `echo` is the whole answer, with the
    request's parameters as sent. So its `status` is a filter; the state of the report is
    `request_status`.
    """

    request_id: str
    request_status: str | None
    product: str | None
    account_id: str | None
    include_subaccounts: bool | None
    date_start: datetime | None
    date_end: datetime | None
    receive_time: datetime | None
    items_count: int | None
    file_id: str | None
    echo: Mapping[str, Any]
    items_count_text: str | None = None

    @property
    def state(self) -> RequestStatus:
        """The state of the report.

        Raises:
            ReportFailed: Vonage's documents do not have this status.
            VonageUnavailable: the answer has no readable status.
        """
        if self.request_status is None:
            raise VonageUnavailable(
                f"Vonage answered about {self.request_id} without a readable request_status",
                is_unusable_answer=True,
            )
        return RequestStatus.parse(self.request_status)


@dataclass(frozen=True)
class ReportList:
    """Vonage's list of reports. Only a complete list proves that a report is absent."""

    reports: Sequence[ReportRequest]
    is_complete: bool


MOST_SUBACCOUNTS = 2_000
"""How many sub-accounts a list may have. Each is a report for each window of a definition."""


class Deadline:
    """The end of the time for a whole answer: a server may send a byte now and then for ever."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._end = clock() + seconds

    def check(self) -> None:
        """Raise VonageUnavailable after the deadline."""
        if self._clock() > self._end:
            raise VonageUnavailable(
                f"Vonage's answer was not complete after {self._seconds:g} seconds"
            )


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
    """Whether the connection was never complete: no TCP, no proxy, no TLS, no trust.

    Then nothing was sent. An error that does not show this counts as later.
    """
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.InvalidURL):
        return True
    return any(
        isinstance(each, urllib3.exceptions.NewConnectionError) or _is_raised_by_connect(each)
        for each in _wrapped(error)
    )


def _wrapped(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors that requests and urllib3 wrapped into it."""
    yield error
    # Not `__context__`: an earlier request's error may be there.
    inner = (*error.args, getattr(error, "reason", None), error.__cause__)
    for each in inner:
        if isinstance(each, BaseException) and each is not error:
            yield from _wrapped(each)


def _is_raised_by_connect(error: BaseException) -> bool:
    # urllib3 has the same error classes for a handshake and for a read after the request.
    return any(
        frame.f_code.co_name == "connect" and frame.f_globals["__name__"] == "urllib3.connection"
        for frame, _ in walk_tb(error.__traceback__)
    )


def raise_for_status(response: requests.Response, deadline: Deadline) -> None:
    """Raise the error for a status outside 200 to 299.

    Raises:
        VonageUnavailable: 5xx, 408.
        RateLimited: 429.
        ReportExpired: 404, 410.
        VonageRejected: any other status.
    """
    status = response.status_code
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return
    problem = problem_of(response, deadline)
    invalid = [
        (cleaned(_word(each.get("name"))), cleaned(_word(each.get("reason"))))
        for each in objects_in(problem.get("invalid_parameters"))[:_MOST_PARAMETERS]
    ]
    text = status_and_problem(response, problem)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
        raise VonageUnavailable(text)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise RateLimited(text, retry_after=_seconds(response.headers.get("Retry-After", "")))
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise ReportExpired(text)
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
    """Return the status, and the words of the problem+json if there is one."""
    said = ", ".join(word for key in ("title", "detail") if (word := _word(problem.get(key))))
    for each in objects_in(problem.get("invalid_parameters")):
        said += f"; {_word(each.get('name'))}: {_word(each.get('reason'))}"
    text = f"Vonage answered {response.status_code} to {response.request.method}"
    return f"{text}: {cleaned(said.removeprefix('; '))}" if said else text


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""


def cleaned(text: str) -> str:
    """Return Vonage's words without personal data and control characters, at a limited length.

    A refusal may quote a filter, and is stored and announced.
    """
    text = _ADDRESS.sub("(address)", text)
    text = _NUMBER.sub(lambda found: found["kept"] or "(number)", text)
    text = printable(text)
    return text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 3] + "..."


def problem_type(problem: Mapping[str, Any]) -> str:
    """Return the last part of a problem's type, such as "unprovisioned"."""
    return cleaned(_word(problem.get("type")).rpartition("#")[2])


def has_title(problem: Mapping[str, Any]) -> bool:
    """Whether the problem has a title, as every refusal by Vonage has."""
    return isinstance(problem.get("title"), str)


def problem_of(response: requests.Response, deadline: Deadline) -> dict[str, Any]:
    """Return the problem+json, {} if there is none. Consumes the body of a stream."""
    try:
        content = body_of(response, _LONGEST_PROBLEM, deadline)
    except VonageUnavailable:
        return {}
    return _parsed(content) or {}


def json_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object of a body. Raises VonageUnavailable for anything else."""
    answer = _parsed(content)
    if answer is None:
        raise VonageUnavailable("Vonage answered without a JSON object", is_unusable_answer=True)
    return answer


def body_of(response: requests.Response, limit: int, deadline: Deadline) -> bytes:
    """Read the body of a streamed response and undo gzip or deflate.

    Memory stays within `limit`, however far the body inflates.

    Raises VonageUnavailable: the body is cut, late, damaged, or has more than `limit` bytes.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    inflate = zlib.decompressobj(_GZIP_OR_ZLIB) if encoding in _ENCODINGS else None
    content = bytearray()
    with transport_errors():
        # `read1`, not `read`: `read` waits for the whole piece, past the deadline.
        while piece := response.raw.read1(_PIECE, decode_content=False):
            deadline.check()
            try:
                content += inflate.decompress(piece, limit + 1) if inflate else piece
            except zlib.error as error:
                raise VonageUnavailable(f"Vonage sent damaged {encoding}") from error
            if len(content) > limit:
                raise VonageUnavailable(
                    f"Vonage's answer has more than {limit} bytes", is_unusable_answer=True
                )
    if not content and not _is_framed(response):
        raise VonageUnavailable("Vonage sent no complete answer: no body, and no length of it")
    return bytes(content)


def _is_framed(response: requests.Response) -> bool:
    """Whether the head says where the body ends. A head that was cut does not, and looks whole."""
    head = response.headers
    return response.status_code == HTTPStatus.NO_CONTENT or bool(
        {"Content-Length", "Transfer-Encoding"} & {*map(str.title, head)}
    )


_ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})


def _parsed(content: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def request_id_of(answer: Mapping[str, Any]) -> str:
    """Return the id unchanged: a UUID, with or without a prefix such as `ri3p58f-`.

    Raises VonageUnavailable for an unreadable id.
    """
    request_id = _id(answer.get("request_id"))
    if request_id is None:
        raise VonageUnavailable(
            "Vonage answered without a readable request_id", is_unusable_answer=True
        )
    return request_id


def report_request(answer: Mapping[str, Any]) -> ReportRequest:
    """Parse one report of an answer. Every field is checked here."""
    count = _count_in_any_form(answer.get("items_count"))
    return ReportRequest(
        request_id=_id(answer.get("request_id")) or "",
        request_status=_status(answer.get("request_status")),
        product=_text(answer.get("product")),
        account_id=_text(answer.get("account_id")),
        include_subaccounts=_flag(answer.get("include_subaccounts")),
        date_start=_instant(answer.get("date_start")),
        date_end=_instant(answer.get("date_end")),
        receive_time=_instant(answer.get("receive_time")),
        items_count=count,
        file_id=_file_id(answer),
        echo=answer,
        items_count_text=_unreadable(answer.get("items_count")) if count is None else None,
    )


def report_list(answer: Mapping[str, Any]) -> ReportList:
    """Parse a list of reports. An unreadable entry stays, as a report without readable fields.

    Raises VonageUnavailable for an answer without a list.
    """
    listed = answer.get("reports")
    if not isinstance(listed, list):
        raise VonageUnavailable(
            "Vonage answered without a readable list of reports", is_unusable_answer=True
        )
    count = _count(answer.get("items_count"))
    links = answer.get("_links")
    has_next = isinstance(links, dict) and bool(links.get("next"))
    return ReportList(
        [report_request(each if isinstance(each, dict) else {}) for each in listed],
        is_complete=count is not None and count <= len(listed) and not has_next,
    )


def subaccount_list(answer: Mapping[str, Any], primary: str) -> SubaccountList:
    """Parse the list of the sub-accounts of the account `primary`.

    Source: the OpenAPI text 1.0.8 of the Subaccounts API, which has no pages and promises no field.
    Half a list would leave accounts out without a word, so every entry has to be readable.

    Raises VonageUnavailable for a list that is not whole.
    """
    embedded = answer.get("_embedded")
    found = embedded if isinstance(embedded, dict) else {}
    owner, entries = found.get("primary_account"), found.get("subaccounts")
    key = owner.get("api_key") if isinstance(owner, dict) else None
    if not isinstance(entries, list) or not isinstance(key, str):
        raise _not_whole("it has no readable primary account and sub-accounts")
    if key.lower() != primary.lower():
        raise _not_whole("it is about another primary account")
    links = answer.get("_links")
    if isinstance(links, dict) and links.get("next"):
        raise _not_whole("it has more than one page")
    if len(entries) > MOST_SUBACCOUNTS:
        raise _not_whole(
            f"it has {len(entries):,} sub-accounts, and at most {MOST_SUBACCOUNTS:,} are possible. "
            "List the accounts in account_ids, in several definitions or stacks"
        )
    created: dict[str, datetime | None] = {}
    seen = {primary.lower()}
    for number, entry in enumerate(entries, 1):
        each = entry if isinstance(entry, dict) else {}
        api_key, suspended = each.get("api_key"), each.get("suspended")
        if not isinstance(api_key, str) or not _ACCOUNT_ID.fullmatch(api_key):
            raise _not_whole(f"its entry {number} has no readable api_key")
        if not isinstance(suspended, bool):
            raise _not_whole(f"its entry {number}, {api_key}, is neither suspended nor active")
        if api_key.lower() in seen:
            raise _not_whole(f"it has the account {api_key} twice")
        seen.add(api_key.lower())
        if not suspended:
            created[api_key] = _instant(each.get("created_at"))
    return SubaccountList(primary, created)


def _not_whole(reason: str) -> VonageUnavailable:
    return VonageUnavailable(
        f"Vonage's list of sub-accounts cannot be used: {reason}", is_unusable_answer=True
    )


def _id(value: object) -> str | None:
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT else None


def _flag(value: object) -> bool | None:
    # Vonage's examples also have booleans as strings.
    word = value.lower() if isinstance(value, str) else value
    return word if isinstance(word, bool) else {"true": True, "false": False}.get(_text(word) or "")


def _status(value: object) -> str | None:
    text = _text(value)
    if text is None:
        return None
    word = text.strip().upper()
    return word if word in tuple(RequestStatus) else cleaned(text)


def _count(value: object) -> int | None:
    # A boolean is an int too.
    return value if type(value) is int and 0 <= value <= _MOST_ITEMS else None


def _count_in_any_form(value: object) -> int | None:
    """Read a number of records, also as a text or with a fraction of zero: "3" and 3.0 are 3."""
    if isinstance(value, str):
        digits = _COUNT.fullmatch(value)
        value = int(digits[1]) if digits else None
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    return _count(value)


def _unreadable(value: object) -> str | None:
    """Return the text of a value that could not be read, None for a missing value or null."""
    if value is None:
        return None
    text = cleaned(value if isinstance(value, str) else json.dumps(value))
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 3] + "..."


def _file_id(answer: Mapping[str, Any]) -> str | None:
    """Return the last segment of the download link's path. No other part of the link is used.

    HAL allows a list of links. The first link is the link (draft-kelly-json-hal-11, 4.1.1).
    """
    links = answer.get("_links")
    link = links.get("download_report") if isinstance(links, dict) else None
    if isinstance(link, list):
        link = link[0] if link else None
    href = link.get("href") if isinstance(link, dict) else None
    if not isinstance(href, str):
        return None
    try:
        path = urlsplit(href).path
    except ValueError:
        return None
    return _id(path.rstrip("/").rpartition("/")[2])


def _instant(value: object) -> datetime | None:
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        return None
    try:
        return parse_instant(value)
    except (ValueError, OverflowError):
        return None


def objects_in(value: object) -> list[dict[str, Any]]:
    """Return the JSON objects in a list, without other values; [] if `value` is no list."""
    if not isinstance(value, list):
        return []
    return [each for each in value if isinstance(each, dict)]
