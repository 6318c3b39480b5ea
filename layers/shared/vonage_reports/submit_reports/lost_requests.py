"""Look before you pay: find in Vonage's list what a POST without an answer made."""

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
"""By which Vonage's clock may be behind ours."""


def find_request(report: Report, services: Services) -> tuple[LookupResult, list[str]]:
    """Look for the report of a SUBMITTING one; return what is seen, and further ids that match.

    Of several the oldest that is alive is taken: the others were made, and billed, by somebody.
    What resembles the report and cannot be told from it is neither taken nor taken for absent.
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
    """Return the reports that Vonage lists, by request_id, or why there are none to go by."""
    try:
        # Whether a sub-account's reports stand in its own list or in that of the key that made
        # them is not documented.
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
    """How a listed report compares with the one that was sent."""

    SAME = "alike in everything"
    UNCLEAR = "alike as far as can be read"
    OTHER = "different in something that both of them say"


def is_another(listed: ReportRequest, report: Report) -> bool:
    """Whether something that Vonage says of a report is not what was asked for in ours."""
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
    early = report.submitted_at - _CLOCK_DIFFERENCE
    if is_another(listed, report) or (
        listed.receive_time is not None and listed.receive_time < early
    ):
        return Match.OTHER
    unsent = EVERY_FILTER - report.filters.keys()
    alike = (
        all(said == sent for said, sent in _said_and_sent(listed, report))
        and listed.receive_time is not None
        and listed.include_subaccounts == report.include_subaccounts
        and not any(_as_text(listed.echo.get(name)) for name in unsent)
    )
    return Match.SAME if alike else Match.UNCLEAR


def _as_text(value: object) -> str:
    """Make values comparable: booleans come back as booleans or as strings, false as nothing."""
    text = "" if value is None else str(value).lower().removeprefix("+")
    return "" if text == "false" else text
