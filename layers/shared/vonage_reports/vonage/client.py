"""The Reports API of Vonage over HTTP: create, get, list, cancel, download.

And one call of the Subaccounts API, on the same host and with the same credentials.

Uses no AWS and retries nothing: retries belong to the workflow. Waits only to pace requests.
The source of facts about the API is its OpenAPI text 3.1.4, unless another version is named.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from itertools import chain
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import requests
from requests.auth import HTTPBasicAuth

from vonage_reports import __version__
from vonage_reports.domain.errors import (
    InvalidRequest,
    ReportExpired,
    SubmissionUnknown,
    VonageRejected,
    VonageUnavailable,
    VonageUnreachable,
)
from vonage_reports.domain.report import RequestStatus
from vonage_reports.domain.subaccounts import SubaccountList
from vonage_reports.domain.windows import Window, format_instant
from vonage_reports.vonage.answers import (
    Deadline,
    ReportList,
    ReportRequest,
    body_of,
    has_title,
    json_object,
    problem_of,
    problem_type,
    raise_for_status,
    report_list,
    report_request,
    request_id_of,
    status_and_problem,
    subaccount_list,
    transport_errors,
)
from vonage_reports.vonage.pacing import Pacer
from vonage_reports.vonage.transport import session_with_deadline

USER_AGENT = f"vonage-usage-reports/{__version__}"

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0
"""Seconds between two bytes of an answer. The download of a generated file starts at once."""

HTTP_TIMEOUT = CONNECT_TIMEOUT + READ_TIMEOUT
"""Seconds after which a request without an answer is abandoned.

A whole answer that is no download has as long. A read that begins just before may take
`READ_TIMEOUT` longer, so a request takes less than twice this time.
"""

_MOST_BYTES = 1_000_000
_MOST_BYTES_OF_A_LIST = 8_000_000
"""About 10,000 reports."""

# A small compressed body may inflate to gigabytes.
_JSON = {"Accept": "application/json", "Accept-Encoding": "identity"}
# With a content encoding, the bytes would not be those of the archive.
_AS_IT_IS = {"Accept": "application/octet-stream", "Accept-Encoding": "identity"}
_GZIP = frozenset({"gzip", "x-gzip"})
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_ONLY = 31  # zlib's `wbits`
_LONGEST_FILE = 8 * 2**30
"""The limit of a file after gzip was undone. Vonage sends at most 1 GB."""
_MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Credentials:
    """Credentials for Basic authentication. `source` tells the operator where to correct them.

    The repr never shows the secret.
    """

    api_key: str
    api_secret: str
    source: str = "the credentials"

    def __repr__(self) -> str:
        return f"Credentials(api_key={self.api_key!r})"


class VonageClient:
    """Calls the Reports API for one Vonage account.

    `credentials(False)` returns the cached credentials. After a 401, the client calls
    `credentials(True)` for fresh ones and tries once more, because the secret may have been
    rotated. The client calls `on_refusal` for every 429, every 403, and a 401 with fresh
    credentials.

    Raises InvalidRequest if `base_url` is neither https nor on loopback.
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
        answer_timeout: float = HTTP_TIMEOUT,
    ) -> None:
        self._base_url = require_safe_url(base_url).rstrip("/")
        self._credentials = credentials
        self._pacer = pacer
        self._on_refusal = on_refusal
        self._timeout = timeout
        self._answer_timeout = answer_timeout
        self._session = session or session_with_deadline(answer_timeout)
        self._session.headers["User-Agent"] = USER_AGENT

    @property
    def api_key(self) -> str:
        """The API key in use, which is also the id of its account."""
        return self._credentials(False).api_key  # noqa: FBT003 - a callable's type names no keywords

    def require_credentials(self) -> None:
        """Read the credentials. Raises InvalidRequest if they are unusable."""
        self._credentials(False)  # noqa: FBT003 - a callable's type names no keywords

    def create_report(
        self,
        *,
        product: str,
        account_id: str,
        window: Window,
        include_subaccounts: bool,
        filters: Mapping[str, Any],
        callback_url: str | None = None,
    ) -> str:
        """Create a report, which Vonage bills (POST /v2/reports); return its request_id.

        Like the window, `date_start` is inclusive and `date_end` exclusive. Vonage has no
        idempotency key: every call that arrives creates, and bills, a report. When the report ends,
        Vonage sends its status to `callback_url` (POST).

        Raises:
            RateLimited, VonageRejected, VonageUnreachable: no report was created.
            SubmissionUnknown: Vonage may have created the report; the cause is chained. Any answer
                that is neither a request_id nor the proof of a refusal leads here.
        """
        body = {
            **filters,
            "product": product,
            "account_id": account_id,
            "date_start": format_instant(window.start),
            "date_end": format_instant(window.end),
            "include_subaccounts": include_subaccounts,
        }
        if callback_url is not None:
            body["callback_url"] = callback_url
        try:
            return request_id_of(self._json("POST", "/v2/reports", body=body))
        except (VonageUnavailable, VonageRejected, ReportExpired) as error:
            is_proof = isinstance(error, VonageRejected) and error.proves_refusal
            if is_proof or isinstance(error, VonageUnreachable):
                raise
            raise SubmissionUnknown(f"Vonage may have created the report: {error}") from error

    def get_report(self, request_id: str) -> ReportRequest:
        """Return a report's status (GET /v2/reports/{request_id}).

        One of Vonage's pages shows a list as the answer; then the report is picked from the list.

        Raises:
            ReportExpired: Vonage does not know the report; it deletes reports after 4 days.
            RateLimited, VonageRejected, VonageUnavailable.
        """
        answer = self._json("GET", f"/v2/reports/{_path_segment(request_id)}")
        shown = report_list(answer).reports if "reports" in answer else [report_request(answer)]
        for report in shown:
            if report.request_id == request_id:
                return report
        raise VonageUnavailable(
            f"Vonage answered about {shown[0].request_id or 'no readable request_id'}, and was "
            f"asked about {request_id}"
            if shown
            else f"Vonage answered with a list without report {request_id}",
            is_unusable_answer=True,
        )

    def list_reports(self, account_id: str) -> ReportList:
        """List the account's reports of the last 4 days, of every status (GET /v2/reports).

        The list is deprecated: documented until 2.2.2, and absent from 3.1.4. The meaning of
        `date_from` is undocumented, so it is not sent. A link to a next page is not followed.

        Raises:
            ReportExpired: Vonage removed the list (404, 410).
            VonageUnavailable: also for an answer without a list.
            RateLimited, VonageRejected.
        """
        query = {"account_id": account_id, "status": ",".join(RequestStatus)}
        limit = _MOST_BYTES_OF_A_LIST
        return report_list(self._json("GET", "/v2/reports", query=query, limit=limit))

    def list_subaccounts(self, account_id: str) -> SubaccountList:
        """List the sub-accounts of a primary account (GET /accounts/{api_key}/subaccounts).

        Raises:
            VonageRejected: also for a 404, with which Vonage answers a key that is unknown to it.
            VonageUnavailable: also for a list that is not whole.
            RateLimited.
        """
        path = f"/accounts/{_path_segment(account_id)}/subaccounts"
        try:
            answer = self._json("GET", path, limit=_MOST_BYTES_OF_A_LIST)
        except ReportExpired as error:
            raise VonageRejected(str(error), status=HTTPStatus.NOT_FOUND) from error
        return subaccount_list(answer, account_id)

    def cancel_report(self, request_id: str) -> bool:
        """Cancel a report (DELETE /v2/reports/{request_id}); False if it had ended before (409).

        A success may have no body.

        Raises:
            ReportExpired: Vonage does not know the report.
            RateLimited, VonageRejected, VonageUnavailable.
        """
        try:
            body = self._body("DELETE", f"/v2/reports/{_path_segment(request_id)}")
        except VonageRejected as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            return False
        if body.strip() and json_object(body).get("request_id", request_id) != request_id:
            raise VonageUnavailable(
                f"Vonage answered the DELETE of {request_id} with another report"
            )
        return True

    @contextmanager
    def download(self, file_id: str, chunk_bytes: int) -> Iterator[Iterator[bytes]]:
        """Open the archive of a report (GET /v3/media/{file_id}), which Vonage keeps for 72 hours.

        Yields chunks of at most `chunk_bytes`. A body shorter than its Content-Length raises. A
        body of unknown length may end anywhere: only the archive itself proves that it is whole.
        A gateway's gzip around the archive is undone, if the answer states it.

        The URL is built from the file's id; a link from Vonage is never followed. The client
        follows redirects within the host. To another host it follows them only over https, and
        sends no credentials.

        Raises, also while the chunks are read:
            ReportExpired: the file does not exist (404).
            VonageUnavailable: the body is cut, stalled, or shorter than announced.
            RateLimited, VonageRejected.
        """
        url = f"{self._base_url}/v3/media/{_path_segment(file_id)}"
        deadline = Deadline(self._answer_timeout)
        response = self._send("GET", url, deadline, headers=_AS_IT_IS)
        for _ in range(_MAX_REDIRECTS):
            if response.status_code not in _REDIRECTS:
                break
            response = self._redirected(response, deadline)
        with response:
            raise_for_status(response, deadline)
            if response.status_code != HTTPStatus.OK:
                raise VonageUnavailable(
                    f"{status_and_problem(response, {})}, which is not a whole file"
                )
            chunks = _chunks(response, chunk_bytes)
            is_gzip = response.headers.get("Content-Encoding", "").strip().lower() in _GZIP
            yield _gunzipped(chunks, chunk_bytes) if is_gzip else chunks

    def _redirected(self, response: requests.Response, deadline: Deadline) -> requests.Response:
        with response, transport_errors():
            target = urljoin(response.url, response.headers.get("Location", ""))
            within_the_host = _origin(target) == _origin(self._base_url)
        if within_the_host:
            return self._send("GET", target, deadline, headers=_AS_IT_IS)
        if urlsplit(target).scheme != "https":
            raise VonageRejected(
                "Vonage redirected the download to another host without https, which is refused",
                status=response.status_code,
            )
        self._pacer.wait()
        with transport_errors():
            return self._session.get(
                target,
                # No credentials, not even those of a .netrc for that host.
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
        limit: int = _MOST_BYTES,
    ) -> dict[str, Any]:
        return json_object(self._body(method, path, query=query, body=body, limit=limit))

    def _body(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        limit: int = _MOST_BYTES,
    ) -> bytes:
        deadline, url = Deadline(self._answer_timeout), self._base_url + path
        with self._send(method, url, deadline, headers=_JSON, query=query, body=body) as response:
            raise_for_status(response, deadline)
            return body_of(response, limit, deadline)

    def _send(
        self,
        method: str,
        url: str,
        deadline: Deadline,
        *,
        headers: Mapping[str, str],
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> requests.Response:
        """Return the response with its body unread, so that the caller bounds the body."""
        for fresh in (False, True):
            credentials = self._credentials(fresh)
            self._pacer.wait()
            # A new connection for each request: a kept one goes stale while Lambda freezes the
            # function, and the next request on it, perhaps a POST, would be lost.
            self._session.close()
            with transport_errors():
                response = self._session.request(
                    method,
                    url,
                    params=query,
                    json=body,
                    # Bytes, because requests encodes text as Latin-1.
                    auth=HTTPBasicAuth(
                        credentials.api_key.encode(), credentials.api_secret.encode()
                    ),
                    headers=headers,
                    timeout=self._timeout,
                    stream=True,
                    allow_redirects=False,
                )
            if response.status_code in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.FORBIDDEN):
                self._on_refusal(response.status_code)
            if response.status_code != HTTPStatus.UNAUTHORIZED:
                return response
            with response:
                problem = problem_of(response, deadline)
            if method == "POST" and not has_title(problem):
                # Vonage may have taken the POST: never send it twice.
                break
        self._on_refusal(response.status_code)
        raise VonageRejected(
            f"{status_and_problem(response, problem)} (check the API key and secret in "
            f"{credentials.source}, and that the product is enabled for the account)",
            status=response.status_code,
            problem=problem_type(problem),
            has_title=has_title(problem),
        )


def require_safe_url(url: str) -> str:
    """Return `url` if credentials may be sent there. Raises InvalidRequest otherwise."""
    try:
        parts = urlsplit(url)
        safe = parts.scheme == "https" or (
            parts.scheme == "http" and _is_loopback(parts.hostname or "")
        )
    except ValueError:
        safe = False
    if not safe or not parts.hostname:
        raise InvalidRequest(f"VONAGE_BASE_URL is {url!r}: set an https URL, or http on loopback")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _path_segment(opaque_id: str) -> str:
    """Return an id as one path segment. Raises InvalidRequest for dots, which change the path."""
    if not opaque_id.strip("."):
        raise InvalidRequest(f"{opaque_id!r} is not an id of Vonage")
    return quote(opaque_id, safe="")


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    # The whole netloc, because urllib3 may parse another host out of it than urlsplit does.
    host = parts.netloc.lower()
    return parts.scheme, host.removesuffix(":443") if parts.scheme == "https" else host


def _gunzipped(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Undo gzip, in chunks of at most `size` bytes. A body that is no gzip stays as it is.

    Raises VonageUnavailable: the gzip is damaged, cut or followed by other bytes, or the file is
    larger than `_LONGEST_FILE`.
    """
    head = b""
    while len(head) < len(_GZIP_MAGIC) and (chunk := next(chunks, b"")):
        head += chunk
    if not head.startswith(_GZIP_MAGIC):
        yield from chain([head] if head else [], chunks)
        return
    inflater, length = zlib.decompressobj(_GZIP_ONLY), 0
    for chunk in chain([head], chunks):
        rest, is_pending = chunk, True
        while is_pending:
            try:
                output = inflater.decompress(rest, size)
            except zlib.error:
                raise VonageUnavailable("Vonage sent damaged gzip") from None
            length += len(output)
            if inflater.unused_data or length > _LONGEST_FILE:
                raise VonageUnavailable("Vonage sent gzip with other bytes behind it, or too many")
            yield output
            rest = inflater.unconsumed_tail
            is_pending = not inflater.eof and (bool(rest) or len(output) == size)
    if not inflater.eof:
        raise VonageUnavailable("Vonage sent gzip that was cut")


def _chunks(response: requests.Response, size: int) -> Iterator[bytes]:
    with transport_errors():
        # `raw`, not `iter_content`: never decode a content encoding of the archive's bytes.
        # `read1`, not `read`: `read` waits for `size` bytes, which takes longer than the caller's
        # deadline if the server sends only a byte now and then.
        while chunk := response.raw.read1(size, decode_content=False):
            yield chunk
