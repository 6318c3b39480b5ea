"""The errors of this project.

::

    VonageReportsError
    ├── VonageUnavailable       try again: timeouts, cut connections, 5xx
    │   └── VonageUnreachable   the same, and surely nothing was sent
    ├── VonageRejected          a 3xx or 4xx: trying the same again changes nothing
    │   └── RateLimited         429: try again after `retry_after`
    ├── SubmissionUnknown       a POST that Vonage may or may not have taken
    ├── ReportFailed            Vonage ended the report without a file
    ├── ReportTruncated         the report was cut short for its size
    ├── ReportExpired           Vonage deleted the report or its file
    ├── ArchiveCorrupt          the bytes are not the whole archive
    ├── RowsMismatch            the rows do not add up to `items_count`
    ├── RowsUnreadable          a row of a proven archive cannot be read
    ├── ResourceUnusable        AWS refuses a resource of the stack, or its name is not set
    ├── IllegalTransition       the report's state does not allow the transition
    └── InvalidRequest          an event or a definition that the operator must correct

The class names are a contract: the workflow's Retry and the notifications name them.
"""

from collections.abc import Sequence
from http import HTTPStatus

from vonage_reports.domain.acceptance import Acceptable

_REFUSALS = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)


class VonageReportsError(Exception):
    """Every error that this project raises on purpose. Its text is a sentence for the operator."""


class VonageUnavailable(VonageReportsError):
    """Vonage did not answer, or answered with 5xx, or the answer is not from its API.

    `is_unusable_answer`: an answer with a status of success that is none to this request.
    """

    def __init__(self, message: str, *, is_unusable_answer: bool = False) -> None:
        super().__init__(message)
        self.is_unusable_answer = is_unusable_answer


class VonageUnreachable(VonageUnavailable):
    """No connection to Vonage was complete (TCP, proxy, TLS): nothing can have arrived there."""


class VonageRejected(VonageReportsError):
    """Vonage, or a gateway before it, answered 3xx or 4xx.

    `status` is the HTTP status, `problem` the last part of the problem's type, such as
    "unprovisioned", and `invalid_parameters` the `(name, reason)` pairs of a 400 or 422.
    `has_title` is true for a JSON object with a `title`, as Vonage writes its refusals.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        problem: str = "",
        has_title: bool = False,
        invalid_parameters: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem
        self.has_title = has_title
        self.invalid_parameters = tuple(invalid_parameters)
        self.seems_of_the_key = False

    @property
    def proves_refusal(self) -> bool:
        """Whether the answer to a POST proves that Vonage created no report.

        A gateway may answer 3xx or 4xx after Vonage took the POST.
        """
        return self.has_title and self.status in _REFUSALS

    @property
    def is_final(self) -> bool:
        """Whether the request itself is wrong (400, 422): no retry can succeed."""
        return self.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)

    @property
    def refuses_callback(self) -> bool:
        """Whether the URL that Vonage is to call is wrong, perhaps beside other parameters."""
        return self.is_final and any(name == "callback_url" for name, _ in self.invalid_parameters)

    @property
    def is_about_access(self) -> bool:
        """Whether the secret, or the account's permissions at Vonage, have to change."""
        return self.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)

    @property
    def refuses_the_key(self) -> bool:
        """Whether the API key is refused; a 403 is about an account, a 401 may be about a product.

        Source: the OpenAPI text 3.1.4, whose second 401 has the problem type `unprovisioned`.
        """
        return self.status == HTTPStatus.UNAUTHORIZED and self.problem != "unprovisioned"

    @property
    def concerns_every_report(self) -> bool:
        """Whether the refusal stops every submission.

        A refusal `seems_of_the_key` if Vonage refuses the list of the key's own account too.
        """
        return self.refuses_the_key or self.seems_of_the_key


class RateLimited(VonageRejected):
    """Vonage answered 429. `retry_after` is in seconds, None where Vonage named none."""

    def __init__(self, message: str, *, retry_after: int | None) -> None:
        super().__init__(message, status=429)
        self.retry_after = retry_after

    @property
    def proves_refusal(self) -> bool:
        """A 429 proves that no report was created, with or without a body."""
        return True


class SubmissionUnknown(VonageReportsError):
    """A report may or may not have been created: check before resubmitting."""


class ReportFailed(VonageReportsError):
    """Vonage ended the report as FAILED or ABORTED, or with an unknown status."""


class ReportTruncated(VonageReportsError):
    """Vonage generated only a part of the window, because of its size limit."""


class ReportExpired(VonageReportsError):
    """The report (4 days) or its file (72 hours) is no longer at Vonage."""


class ArchiveCorrupt(VonageReportsError):
    """The download is not a whole and intact ZIP archive."""


class RowsMismatch(VonageReportsError):
    """The archive's rows differ from the number that Vonage gave, or have no archive."""


class RowsUnreadable(VonageReportsError):
    """A CSV in a proven archive cannot be read as rows. Another download would be the same bytes.

    The text names the member and the line but quotes no row: rows contain phone numbers.
    `acceptable`: the imperfection that the operator may accept; None if that would not help.
    """

    def __init__(self, message: str, *, acceptable: Acceptable | None = None) -> None:
        super().__init__(message)
        self.acceptable = acceptable


class ResourceUnusable(VonageReportsError):
    """A resource of the stack is missing or unusable, or no environment variable names it.

    The text names the resource and its setting. The cause may pass, so the work is tried again.
    """


class IllegalTransition(VonageReportsError):
    """The transition table does not have this transition from the report's state."""


class InvalidRequest(VonageReportsError):
    """An event or a report definition that cannot be carried out as it stands."""
