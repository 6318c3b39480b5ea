"""The Reports API of Vonage over HTTP: create, get, list, cancel, download.

No AWS in here, no retries (they belong to the workflow), and no waiting but the pace of requests.
Facts about the API come from its OpenAPI text 3.1.4, or 2.1.17 where that is said.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import requests
from requests.auth import HTTPBasicAuth

from vonage_reports import __version__
from vonage_reports.domain.errors import (
    InvalidRequest,
    SubmissionUnknown,
    VonageRejected,
    VonageUnavailable,
    VonageUnreachable,
)
from vonage_reports.domain.report import RequestStatus
from vonage_reports.domain.windows import Window, format_instant
from vonage_reports.vonage.answers import (
    ReportRequest,
    json_object,
    objects_in,
    problem_of,
    problem_type,
    raise_for_status,
    report_request,
    request_id_of,
    status_and_problem,
    transport_errors,
)
from vonage_reports.vonage.pacing import Pacer

USER_AGENT = f"vonage-usage-reports/{__version__}"

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0
"""Seconds between two bytes of an answer; a generated file starts at once."""

HTTP_TIMEOUT = CONNECT_TIMEOUT + READ_TIMEOUT
"""Seconds after which a request that got no answer is given up."""

_JSON = {"Accept": "application/json"}
# Compressed on the way it would not be the archive.
_AS_IT_IS = {"Accept": "application/octet-stream", "Accept-Encoding": "identity"}
_MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Credentials:
    """What Vonage's Basic authentication takes; `source` names where to mend them.

    The secret never shows in a repr.
    """

    api_key: str
    api_secret: str
    source: str = "the credentials"

    def __repr__(self) -> str:
        return f"Credentials(api_key={self.api_key!r})"


class VonageClient:
    """Calls to one Vonage account.

    `credentials` is called with False for the ones at hand, and with True for fresh ones, once,
    after Vonage refused those (401): a secret may have been rotated. `on_refusal` hears of every
    429 and 403, and of a 401 with fresh credentials too.
    Raises InvalidRequest where `base_url` is neither https nor on loopback.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Callable[[bool], Credentials],
        *,
        pacer: Pacer,
        on_refusal: Callable[[int], None] = lambda _status: None,
        session: requests.Session | None = None,
        timeout: tuple[float, float] = (CONNECT_TIMEOUT, READ_TIMEOUT),
    ) -> None:
        self._base_url = require_safe_url(base_url).rstrip("/")
        self._credentials = credentials
        self._pacer = pacer
        self._on_refusal = on_refusal
        self._timeout = timeout
        self._session = session or requests.Session()
        self._session.headers["User-Agent"] = USER_AGENT

    @property
    def api_key(self) -> str:
        """The key in use, which is also the id of the account it belongs to."""
        return self._credentials(False).api_key  # noqa: FBT003 - a callable's type names no keywords

    def require_credentials(self) -> None:
        """Read the credentials. Raises InvalidRequest where they cannot be used."""
        self._credentials(False)  # noqa: FBT003 - a callable's type names no keywords

    def create_report(
        self,
        *,
        product: str,
        account_id: str,
        window: Window,
        include_subaccounts: bool,
        filters: Mapping[str, Any],
    ) -> str:
        """Ask Vonage to generate a report, which it bills (POST /v2/reports); its request_id.

        `date_start` is inclusive and `date_end` exclusive at Vonage, as the window is.
        Vonage knows no idempotency key: every call that arrives makes, and bills, a report.

        Raises:
            RateLimited, VonageRejected, ReportExpired, VonageUnreachable: nothing was created.
            SubmissionUnknown: it may have been; the cause is chained.
        """
        body = {
            **filters,
            "product": product,
            "account_id": account_id,
            "date_start": format_instant(window.start),
            "date_end": format_instant(window.end),
            "include_subaccounts": include_subaccounts,
        }
        try:
            return request_id_of(self._json("POST", "/v2/reports", body=body))
        except VonageUnreachable:
            raise
        except VonageUnavailable as error:
            raise SubmissionUnknown(f"Vonage may have taken the report: {error}") from error

    def get_report(self, request_id: str) -> ReportRequest:
        """Ask how a report stands (GET /v2/reports/{request_id}).

        One of Vonage's pages shows the list form for this call; the report is taken out of it.

        Raises:
            ReportExpired: Vonage does not know it; it forgets reports after 4 days.
            RateLimited, VonageRejected, VonageUnavailable.
        """
        answer = self._json("GET", f"/v2/reports/{_path_segment(request_id)}")
        if "reports" in answer:
            for report in objects_in(answer["reports"]):
                if report.get("request_id") == request_id:
                    return report_request(report)
            raise VonageUnavailable("Vonage answered with a list that the report is not in")
        return report_request(answer)

    def list_reports(self, account_id: str) -> Sequence[ReportRequest]:
        """List the account's reports of the last days, of every status (GET /v2/reports).

        Deprecated and absent from 3.1.4, documented until 2.2.2; reports older than 4 days are
        not in it. What `date_from` means is not documented, so it is not sent.

        Raises:
            ReportExpired: the list itself is gone (404).
            RateLimited, VonageRejected, VonageUnavailable.
        """
        query = {"account_id": account_id, "status": ",".join(RequestStatus)}
        answer = self._json("GET", "/v2/reports", query=query)
        listed = answer.get("reports")
        count = answer.get("items_count")
        if (
            not isinstance(listed, list)
            or objects_in(listed) != listed
            or (isinstance(count, int) and count > len(listed))
        ):
            # What cannot be read whole does not prove that a report is absent.
            raise VonageUnavailable("Vonage answered without a readable list of reports")
        return [report_request(each) for each in listed]

    def cancel_report(self, request_id: str) -> bool:
        """Stop a report (DELETE /v2/reports/{request_id}); False: it had ended already (409).

        Raises:
            ReportExpired: Vonage does not know it.
            RateLimited, VonageRejected, VonageUnavailable.
        """
        try:
            self._json("DELETE", f"/v2/reports/{_path_segment(request_id)}")
        except VonageRejected as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            return False
        return True

    @contextmanager
    def download(self, file_id: str, chunk_bytes: int) -> Iterator[Iterator[bytes]]:
        """Open the archive of a report (GET /v3/media/{file_id}); it is there for 72 hours.

        Gives chunks of at most `chunk_bytes`. A body shorter than its Content-Length is an error,
        one of no known length may end anywhere: only the archive itself proves that it is whole.

        The URL is made from the file's id: a link that Vonage sends is never followed. Within the
        host a redirect is; to another host only over https, and without credentials.

        Raises, also while the chunks are read:
            ReportExpired: the file is not there (404).
            VonageUnavailable: cut, stalled, or shorter than announced.
            RateLimited, VonageRejected.
        """
        url = f"{self._base_url}/v3/media/{_path_segment(file_id)}"
        response = self._send("GET", url, headers=_AS_IT_IS, stream=True)
        for _ in range(_MAX_REDIRECTS):
            if response.status_code not in _REDIRECTS:
                break
            response = self._redirected(response)
        with response:
            raise_for_status(response)
            if response.status_code != HTTPStatus.OK:
                raise VonageUnavailable(
                    f"{status_and_problem(response, {})}: not with a whole file"
                )
            yield _chunks(response, chunk_bytes)

    def _redirected(self, response: requests.Response) -> requests.Response:
        with response, transport_errors():
            target = urljoin(response.url, response.headers.get("Location", ""))
            within_the_host = _origin(target) == _origin(self._base_url)
        if within_the_host:
            return self._send("GET", target, headers=_AS_IT_IS, stream=True)
        if urlsplit(target).scheme != "https":
            raise VonageRejected(
                "Vonage redirected the download to another host without https: refused",
                status=response.status_code,
            )
        self._pacer.wait()
        with transport_errors():
            return self._session.get(
                target,
                # Nothing, and not what a .netrc may have for that host.
                auth=lambda request: request,
                headers=_AS_IT_IS,
                timeout=self._timeout,
                stream=True,
                allow_redirects=False,
            )

    def _json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        response = self._send(method, self._base_url + path, headers=_JSON, query=query, body=body)
        with response:
            raise_for_status(response)
            return json_object(response)

    def _send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        stream: bool = False,
    ) -> requests.Response:
        for fresh in (False, True):
            credentials = self._credentials(fresh)
            self._pacer.wait()
            # A connection that is kept goes stale while Lambda freezes the function, and a request
            # that is sent on it, perhaps a POST, is lost: each one has a connection of its own.
            self._session.close()
            with transport_errors():
                response = self._session.request(
                    method,
                    url,
                    params=query,
                    json=body,
                    # As bytes: text would have to be Latin-1.
                    auth=HTTPBasicAuth(
                        credentials.api_key.encode(), credentials.api_secret.encode()
                    ),
                    headers=headers,
                    timeout=self._timeout,
                    stream=stream,
                    allow_redirects=False,
                )
            if response.status_code in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.FORBIDDEN):
                self._on_refusal(response.status_code)
            if response.status_code != HTTPStatus.UNAUTHORIZED:
                return response
            if not fresh:
                response.close()
        self._on_refusal(response.status_code)
        with response:
            problem = problem_of(response)
            raise VonageRejected(
                f"{status_and_problem(response, problem)} (check the API key and secret in "
                f"{credentials.source}, and that the product is enabled for the account)",
                status=response.status_code,
                problem=problem_type(problem),
            )


def require_safe_url(url: str) -> str:
    """Return `url`, if credentials may be sent there. Raises InvalidRequest otherwise."""
    try:
        parts = urlsplit(url)
        safe = parts.scheme == "https" or (
            parts.scheme == "http" and _is_loopback(parts.hostname or "")
        )
    except ValueError:
        safe = False
    if not safe or not parts.hostname:
        raise InvalidRequest(f"VONAGE_BASE_URL is {url!r}: it must be https, or http on loopback")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _path_segment(opaque_id: str) -> str:
    """Return an id as one segment of a path. Raises InvalidRequest for one that would leave it."""
    if not opaque_id.strip("."):
        raise InvalidRequest(f"{opaque_id!r} is no id of Vonage's")
    return quote(opaque_id, safe="")


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    # As it is written, and not the host that this parser finds in it: urllib3's may find another.
    host = parts.netloc.lower()
    return parts.scheme, host.removesuffix(":443") if parts.scheme == "https" else host


def _chunks(response: requests.Response, size: int) -> Iterator[bytes]:
    with transport_errors():
        # `raw` and not `iter_content`: the archive's bytes as they are, whatever the encoding.
        # `read1` and not `read`, which waits until `size` bytes have come: from a server that
        # sends one now and then that takes longer than the caller has.
        while chunk := response.raw.read1(size, decode_content=False):
            yield chunk
