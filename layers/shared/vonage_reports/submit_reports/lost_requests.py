"""Check before resubmitting: find the report that an unanswered POST created."""

from datetime import timedelta
from enum import Enum

from vonage_reports.domain.decisions import Found, LookupResult, NoMatch, Unclear
from vonage_reports.domain.errors import (
    RateLimited,
    ReportExpired,
    VonageRejected,
    VonageUnavailable,
)
from vonage_reports.domain.products import EVERY_FILTER
from vonage_reports.domain.report import Report, RequestStatus
from vonage_reports.submit_reports.context import Services
from vonage_reports.vonage.answers import ReportRequest

_CLOCK_DIFFERENCE = timedelta(seconds=60)
"""Vonage's clock is usually not further behind ours."""

_CLOCK_ERROR = timedelta(hours=1)
"""A wrong clock at Vonage may be this far behind ours. An entry that is early by up to this much
may be our report."""


def find_request(report: Report, services: Services) -> tuple[LookupResult, list[str]]:
    """Look a SUBMITTING report up at Vonage; return the result and the ids of duplicates.

    A report whose POST was refused before is looked up from the first refused POST on.

    The oldest live match is the report. Further matches are duplicates, which were billed too. If
    it is unclear whether an entry matches, the result is Unclear, and the operator decides.
    """
    listed = _listed(report, services)
    if not isinstance(listed, dict):
        return listed, []
    likeness = {
        each.request_id: _match(each, report)
        for each in listed.values()
        if services.ledger.report_served_by(each.request_id) is None
    }
    same = [listed[name] for name, how in likeness.items() if how is Match.SAME]
    alike = [name for name, how in likeness.items() if how is Match.UNCLEAR]
    if same:
        dead = (RequestStatus.FAILED, RequestStatus.ABORTED)
        same.sort(key=lambda each: (each.request_status in dead, each.receive_time))
        first, *others = (each.request_id for each in same)
        return Found(first), others
    if alike:
        return Unclear(f"Vonage's list has {alike[0]}, which may be this report", alike[0]), []
    return NoMatch.ABSENT, []


def _listed(report: Report, services: Services) -> dict[str, ReportRequest] | LookupResult:
    """Return Vonage's lists by request_id, or the result of a look-up without usable lists."""
    try:
        # Vonage does not document which list has a sub-account's reports: its own, or the key's.
        accounts = {report.account_id, services.vonage.api_key}
        return {
            each.request_id: each
            for account_id in sorted(accounts)
            for each in services.vonage.list_reports(account_id)
        }
    except (RateLimited, VonageUnavailable):
        return NoMatch.NOT_NOW
    except ReportExpired as error:
        return Unclear(f"Vonage's list of reports is gone: {error}")
    except VonageRejected as error:
        if error.is_about_access:
            return NoMatch.NOT_NOW
        return Unclear(f"Vonage's list of reports cannot be read: {error}")


class Match(Enum):
    """The result of comparing a listed report with ours."""

    SAME = "every field agrees"
    UNCLEAR = "every readable field agrees"
    OTHER = "a field that both have differs"


def is_another(listed: ReportRequest, report: Report) -> bool:
    """Whether a field of a report at Vonage contradicts ours."""
    return any(said and sent and said != sent for said, sent in _said_and_sent(listed, report))


def _said_and_sent(listed: ReportRequest, report: Report) -> list[tuple[object, object]]:
    return [
        (listed.product, report.product),
        (listed.account_id and listed.account_id.lower(), report.account_id.lower()),
        (listed.date_start, report.window.start),
        (listed.date_end, report.window.end),
        *(
            (_as_text(listed.echo.get(name)), _as_text(sent))
            for name, sent in report.filters.items()
        ),
    ]


def _match(listed: ReportRequest, report: Report) -> Match:
    assert report.submitted_at is not None
    received, sent = listed.receive_time, report.refused_since or report.submitted_at
    if is_another(listed, report) or (received is not None and received < sent - _CLOCK_ERROR):
        return Match.OTHER
    unsent = EVERY_FILTER - report.filters.keys()
    alike = (
        all(said == sent for said, sent in _said_and_sent(listed, report))
        and received is not None
        and received >= sent - _CLOCK_DIFFERENCE
        and listed.include_subaccounts == report.include_subaccounts
        and not any(_as_text(listed.echo.get(name)) for name in unsent)
    )
    return Match.SAME if alike else Match.UNCLEAR


def _as_text(value: object) -> str:
    """Return a comparable text. Vonage echoes booleans as such or as text, and drops false."""
    text = "" if value is None else str(value).lower().removeprefix("+")
    return "" if text == "false" else text
