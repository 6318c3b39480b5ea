"""The API's answers before sending, and the API's errors as problem+json.

Sources: OpenAPI 3.1.4 (401, invalid_parameters, headers of 429) and 2.1.17 (the other bodies).
"Unathorized" and "crendentials" are Vonage's spelling.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

ERRORS = "https://developer.vonage.com/api-errors"
REPORTS_ERRORS = f"{ERRORS}/reports"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A status, headers, and a body: either bytes in memory or a file to stream."""

    status: int
    content_type: str
    body: bytes = b""
    file: Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class InvalidParameter:
    """One entry of `invalid_parameters`."""

    name: str
    reason: str


class Problem(Exception):
    """An error answer of the API."""

    def __init__(
        self,
        status: HTTPStatus,
        type_: str,
        title: str,
        detail: str,
        *,
        invalid_parameters: tuple[InvalidParameter, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(title)
        self.status = status
        self.document: dict[str, object] = {"type": type_, "title": title, "detail": detail}
        if invalid_parameters:
            self.document["invalid_parameters"] = [vars(entry) for entry in invalid_parameters]
        self.headers = dict(headers or {})

    def answer(self) -> Answer:
        """Build the answer, with a new `instance` and X-Request-Id."""
        instance = uuid.uuid4()
        return Answer(
            status=self.status,
            content_type="application/problem+json",
            body=json.dumps({**self.document, "instance": instance.hex}).encode(),
            headers={"X-Request-Id": str(instance), **self.headers},
        )


def json_answer(document: object, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    """Build an answer with a JSON body."""
    return Answer(
        status=status, content_type="application/json", body=json.dumps(document).encode()
    )


def malformed_json() -> Problem:
    """400: the body is not a JSON object."""
    return Problem(
        HTTPStatus.BAD_REQUEST,
        f"{ERRORS}#invalid-json",
        "Malformed JSON",
        "Malformed JSON payload.",
    )


def invalid_request_parameters(*entries: InvalidParameter) -> Problem:
    """400: the list's query is invalid."""
    return Problem(
        HTTPStatus.BAD_REQUEST,
        f"{REPORTS_ERRORS}#invalid-request-parameters",
        "Invalid request parameter",
        "Invalid request parameter.",
        invalid_parameters=entries,
    )


def wrong_credentials() -> Problem:
    """401: the Basic credentials are missing or wrong."""
    return Problem(
        HTTPStatus.UNAUTHORIZED,
        f"{ERRORS}/#unathorized",
        "You did not provide correct credentials.",
        "Check that you're using the correct credentials, and that your account has this "
        "feature enabled",
    )


def unprovisioned() -> Problem:
    """401: the product is not enabled for the account."""
    return Problem(
        HTTPStatus.UNAUTHORIZED,
        f"{ERRORS}/#unprovisioned",
        "The crendentials provided do not have access to the requested product",
        "Check your API key is correct and has been whitelisted",
    )


def forbidden() -> Problem:
    """403: the account belongs to another customer."""
    return Problem(
        HTTPStatus.FORBIDDEN,
        f"{ERRORS}#forbidden",
        "Forbidden",
        "User not authorized to query the requested data.",
    )


def subaccounts_not_provisioned(api_key: str) -> Problem:
    """403: the primary account may not use the Subaccounts API."""
    return Problem(
        HTTPStatus.FORBIDDEN,
        f"{ERRORS}#unprovisioned",
        "Authorisation error",
        f"Account {api_key} is not provisioned to access Subaccount Provisioning API",
    )


def unknown_account(api_key: str) -> Problem:
    """404: the Subaccounts API does not know the primary account, or it is another customer's."""
    return Problem(
        HTTPStatus.NOT_FOUND,
        f"{ERRORS}#invalid-api-key",
        "Invalid API Key",
        f"API key '{api_key}' does not exist, or you do not have access",
    )


def unknown_report(request_id: str) -> Problem:
    """404: the report never existed, or is older than 4 days."""
    return Problem(
        HTTPStatus.NOT_FOUND,
        f"{ERRORS}#not-found",
        "Invalid report ID",
        f"Report {request_id} does not exist, or you do not have access.",
    )


def unknown_file() -> Problem:
    """404: the archive never existed, or is older than 72 hours."""
    return Problem(
        HTTPStatus.NOT_FOUND,
        f"{ERRORS}#not-found",
        "Not found",
        "File not found or download link expired",
    )


def not_found() -> Problem:
    """404: the API has no such path or method."""
    return Problem(HTTPStatus.NOT_FOUND, f"{ERRORS}#not-found", "Not found", "Not found.")


def already_terminated() -> Problem:
    """409: the report has already ended and cannot be deleted."""
    return Problem(
        HTTPStatus.CONFLICT,
        f"{REPORTS_ERRORS}#invalid-abort-operation",
        "Invalid Abort Operation",
        "The job is already in a terminated state such as `SUCCESS`, `TRUNCATED`, `FAILED` or "
        "`ABORTED`.",
    )


def unprocessable(*entries: InvalidParameter) -> Problem:
    """422: the body has invalid values."""
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"{REPORTS_ERRORS}#invalid-request-parameters",
        "Unprocessable entity",
        "The request contains invalid parameters.",
        invalid_parameters=entries,
    )


def invalid_filter(product: str, names: tuple[str, ...]) -> Problem:
    """422: the product does not support these parameters."""
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"{REPORTS_ERRORS}#invalid-filter",
        "Invalid filter",
        f"When using product {product}, the following parameters are not supported: "
        f"[{', '.join(names)}]",
        invalid_parameters=tuple(
            InvalidParameter(name, f"Not supported for product {product}") for name in names
        ),
    )


def too_many_requests(*, retry_after: int, limit: int, reset_ms: int) -> Problem:
    """429. X-RateLimit-Reset is in milliseconds, as in the specification's example."""
    return Problem(
        HTTPStatus.TOO_MANY_REQUESTS,
        f"{ERRORS}#throttled",
        "Rate Limit Hit",
        "Please wait, then retry your request",
        headers={
            "Retry-After": str(retry_after),
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(reset_ms),
        },
    )
