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

_CLOCK_ERROR = timedelta(hours=1)
"""Vonage's clock may be this far behind ours, if it is wrong: such an entry may be our report."""


def find_request(report: Report, services: Services) -> tuple[LookupResult, list[str]]:
    """Look a SUBMITTING report up at Vonage; return the result and the ids of duplicates.

    The oldest live match is the report. Further matches are duplicates, which were billed too. An
    entry that may or may not match is neither adopted nor taken as an absence. A list that is not
    complete proves no absence, but its matches count.
    """
    # Vonage does not document which list has a sub-account's reports: its own, or the key's.
    accounts = sorted({report.account_id, services.vonage.api_key})
    lists = [_list(account_id, services) for account_id in accounts]
    # By request_id, because a report may be in both lists. An unreadable id names no report.
    listed = {
        (each.request_id or f"entry {number} of list {index}"): each
        for index, some in enumerate(lists)
        if isinstance(some, ReportList)
        for number, each in enumerate(some.reports)
    }
    likeness = {name: _match(each, report) for name, each in listed.items()}
    unclaimed = [
        each
        for name, each in listed.items()
        if likeness[name] is not Match.OTHER
        and not (each.request_id and services.ledger.report_served_by(each.request_id))
    ]
    same = [each for each in unclaimed if likeness.get(each.request_id) is Match.SAME]
    if same:
        dead = (RequestStatus.FAILED, RequestStatus.ABORTED)
        same.sort(key=lambda each: (each.request_status in dead, each.receive_time))
        first, *others = (each.request_id for each in same)
        return Found(first), others
    if unclaimed:
        name = unclaimed[0].request_id
        text = f"Vonage's list has {name or 'an unreadable entry'}, which may be this report"
        return Unclear(text, name or None), []
    return _absence(lists), []


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
            return NoMatch.NOT_NOW
        return Unclear(f"Vonage's list of reports cannot be read: {error}")


def _absence(lists: Sequence[ReportList | Unclear | NoMatch]) -> Unclear | NoMatch:
    """Return the result of a look-up without a match: only complete lists prove an absence."""
    if any(some is NoMatch.NOT_NOW for some in lists):
        return NoMatch.NOT_NOW
    for some in lists:
        if isinstance(some, Unclear):
            return some
    is_complete = all(isinstance(some, ReportList) and some.is_complete for some in lists)
    return NoMatch.ABSENT if is_complete else NoMatch.NOT_NOW


def _match(listed: ReportRequest, report: Report) -> Match:
    assert report.submitted_at is not None
    received = listed.receive_time
    match = compare(listed, report)
    if received is None:
        return Match.OTHER if match is Match.OTHER else Match.UNCLEAR
    if received < report.submitted_at - _CLOCK_ERROR:
        return Match.OTHER
    if match is Match.SAME and received < report.submitted_at - _CLOCK_DIFFERENCE:
        return Match.UNCLEAR
    return match
