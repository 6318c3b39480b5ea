"""Compares a report as Vonage describes it with the report that was asked for."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Protocol

from vonage_reports.domain.errors import VonageUnavailable
from vonage_reports.domain.products import EVERY_FILTER
from vonage_reports.domain.windows import Window
from vonage_reports.vonage.answers import ReportRequest


class Asked(Protocol):
    """The parameters of a POST: a report of the ledger, or the input of a run."""

    @property
    def product(self) -> str: ...  # noqa: D102 - as Report
    @property
    def account_id(self) -> str: ...  # noqa: D102 - as Report
    @property
    def include_subaccounts(self) -> bool: ...  # noqa: D102 - as Report
    @property
    def filters(self) -> Mapping[str, Any]: ...  # noqa: D102 - as Report
    @property
    def window(self) -> Window: ...  # noqa: D102 - as Report


class Match(Enum):
    """The result of comparing a report at Vonage with ours."""

    SAME = "every field agrees"
    UNCLEAR = "every readable field agrees"
    OTHER = "a readable field differs"


def compare(answer: ReportRequest, asked: Asked) -> Match:
    """Compare the parameters. A field that is missing or unreadable contradicts nothing."""
    pairs = [
        (_folded(answer.product), _folded(asked.product)),
        (_folded(answer.account_id), _folded(asked.account_id)),
        (answer.date_start, asked.window.start),
        (answer.date_end, asked.window.end),
        (_subaccounts(answer, sent=asked.include_subaccounts), asked.include_subaccounts),
        *(_filter(answer.echo.get(name), sent) for name, sent in asked.filters.items()),
    ]
    if any(said is not None and said != sent for said, sent in pairs):
        return Match.OTHER
    unsent = EVERY_FILTER - asked.filters.keys()
    is_whole = all(said is not None for said, _ in pairs) and not any(
        _is_set(answer.echo.get(name)) for name in unsent
    )
    return Match.SAME if is_whole else Match.UNCLEAR


def require_answer_to(asked: Asked, answer: ReportRequest) -> ReportRequest:
    """Return the answer to a GET. Raises VonageUnavailable if it describes another report."""
    if compare(answer, asked) is Match.OTHER:
        raise VonageUnavailable(
            f"Vonage answered about {answer.request_id} with other parameters than were asked for",
            is_unusable_answer=True,
        )
    return answer


def _folded(text: str | None) -> str | None:
    return None if text is None else text.lower()


_FALSE = frozenset({"false"})


def _subaccounts(answer: ReportRequest, *, sent: bool) -> bool | None:
    is_dropped = not sent and answer.echo.get("include_subaccounts") is None
    return False if is_dropped else answer.include_subaccounts


def _filter(said: object, sent: object) -> tuple[object, object]:
    """Return two comparable values: as Vonage says the filter, and as sent. None: unreadable.

    Vonage echoes booleans as such or as text, and drops false.
    """
    ours = _as_set(sent) or _FALSE
    return (ours if said is None and ours == _FALSE else _as_set(said)), ours


def _as_set(value: object) -> frozenset[str] | None:
    """Return the values of a filter, which may be a list with commas; None if unreadable."""
    if not isinstance(value, str | int | float):
        return None
    parts = (part.strip().removeprefix("+") for part in str(value).lower().split(","))
    return frozenset(part for part in parts if part) or None


def _is_set(value: object) -> bool:
    # A value that cannot be read may be a filter.
    return value is not None and value != "" and _as_set(value) != _FALSE
