"""Check before resubmitting: find the report that an unanswered POST created."""

from collections.abc import Sequence
from datetime import timedelta

from vonage_reports.domain.decisions import Found, LookupResult, NoMatch, Unclear
from vonage_reports.domain.errors import (
    RateLimited,
    ReportExpired,
    VonageRejected,
    VonageUnavailable,
)
from vonage_reports.domain.report import Report, RequestStatus
from vonage_reports.submit_reports.context import Services
from vonage_reports.vonage.answers import ReportList, ReportRequest
from vonage_reports.vonage.comparison import Match, compare

_CLOCK_DIFFERENCE = timedelta(seconds=60)
"""Vonage's clock is usually not further behind ours."""

CLOCK_ERROR = timedelta(hours=1)
"""A wrong clock at Vonage may be this far behind ours. An entry that is early by up to this much
may be our report."""


def find_request(report: Report, services: Services) -> tuple[LookupResult, list[str]]:
    """Look a SUBMITTING report up at Vonage; return the result and the ids of duplicates.

    A report whose POST was refused before is looked up from the first refused POST on.

    The oldest live match is the report. Further matches are duplicates, which were billed too. If
    it is unclear whether an entry matches, the result is Unclear, and the operator decides. A list
    that is not complete proves no absence, but its matches count.
    """
    # Vonage does not document which list has a sub-account's reports: its own, or the key's.
    accounts = sorted({report.account_id, services.vonage.api_key})
    lists = [_list(account_id, services) for account_id in accounts]
    listed = [
        (each, match)
        for some in lists
        if isinstance(some, ReportList)
        for each in some.reports
        if (match := _match(each, report)) is not Match.OTHER
    ]
    # By request_id, because a report may be in both lists.
    same = {
        each.request_id: each
        for each, match in listed
        if match is Match.SAME and each.request_id and _is_unclaimed(each, services)
    }
    if same:
        dead = (RequestStatus.FAILED, RequestStatus.ABORTED)
        first, *others = sorted(
            same, key=lambda name: (same[name].request_status in dead, same[name].receive_time)
        )
        return Found(first), others
    alike = next((each for each, _ in listed if _is_unclaimed(each, services)), None)
    if alike is not None:
        name = alike.request_id
        text = f"Vonage's list has {name or 'an unreadable entry'}, which may be this report"
        return Unclear(text, name or None), []
    return _absence(lists), []


def _is_unclaimed(listed: ReportRequest, services: Services) -> bool:
    # An entry without a readable id cannot be claimed.
    return not listed.request_id or services.ledger.report_served_by(listed.request_id) is None


def _list(account_id: str, services: Services) -> ReportList | Unclear | NoMatch:
    """Return Vonage's list of an account, or the result of a look-up without a list."""
    try:
        return services.vonage.list_reports(account_id)
    except (RateLimited, VonageUnavailable):
        return NoMatch.NOT_NOW
    except ReportExpired as error:
        return Unclear(f"Vonage's list of reports is gone: {error}")
    except VonageRejected as error:
        if error.is_about_access:
            return NoMatch.DENIED
        return Unclear(f"Vonage's list of reports cannot be read: {error}")


def _absence(lists: Sequence[ReportList | Unclear | NoMatch]) -> Unclear | NoMatch:
    """Return the result of a look-up without a match: only complete lists prove an absence."""
    for later in (NoMatch.DENIED, NoMatch.NOT_NOW):
        if later in lists:
            return later
    for some in lists:
        if isinstance(some, Unclear):
            return some
    is_complete = all(isinstance(some, ReportList) and some.is_complete for some in lists)
    return NoMatch.ABSENT if is_complete else NoMatch.NOT_NOW


def _match(listed: ReportRequest, report: Report) -> Match:
    assert report.submitted_at is not None
    received, sent = listed.receive_time, report.refused_since or report.submitted_at
    match = compare(listed, report)
    if received is None:
        return Match.OTHER if match is Match.OTHER else Match.UNCLEAR
    if received < sent - CLOCK_ERROR:
        return Match.OTHER
    if match is Match.SAME and received < sent - _CLOCK_DIFFERENCE:
        return Match.UNCLEAR
    return match
