"""Look before you pay: find in Vonage's list what a POST without an answer made."""

from datetime import timedelta

from vonage_reports.aws.edges import Edges
from vonage_reports.client import ReportRequest
from vonage_reports.domain.errors import (
    RateLimited,
    ReportExpired,
    VonageRejected,
    VonageUnavailable,
)
from vonage_reports.domain.products import EVERY_FILTER
from vonage_reports.domain.reports import Report, RequestStatus
from vonage_reports.domain.transitions import Found, Look, NoList, Seen

_CLOCK_DIFFERENCE = timedelta(seconds=60)
"""By which Vonage's clock may be behind ours."""


def look(report: Report, edges: Edges) -> tuple[Seen, list[str]]:
    """Look for the report of a SUBMITTING one; return what is seen, and further ids that match.

    Of several the oldest that is alive is taken: the others were made, and billed, by somebody.
    """
    assert report.submitted_at is not None
    since = report.submitted_at - _CLOCK_DIFFERENCE
    try:
        listed = edges.vonage.list_reports(report.account_id, since=since)
    except (RateLimited, VonageUnavailable):
        return Look.NOT_NOW, []
    except ReportExpired as error:
        return NoList(f"Vonage's list of reports is gone: {error}"), []
    except VonageRejected as error:
        if error.may_heal:
            return Look.NOT_NOW, []
        return NoList(f"Vonage's list of reports cannot be read: {error}"), []
    ours = [
        each
        for each in listed
        if _is_what_was_sent(each, report)
        and each.receive_time is not None
        and each.receive_time >= since
        and edges.ledger.report_served_by(each.request_id) is None
    ]
    if not ours:
        return Look.ABSENT, []
    dead = (RequestStatus.FAILED, RequestStatus.ABORTED)
    ours.sort(key=lambda each: (each.request_status in dead, each.receive_time))
    first, *others = (each.request_id for each in ours)
    return Found(first), others


def _is_what_was_sent(listed: ReportRequest, report: Report) -> bool:
    """Whether product, account, window and filters are ours, and no filter more.

    Vonage answers with the filters that it was sent, and may add those at their default.
    """
    return (
        listed.product == report.product
        and listed.account_id == report.account_id
        and listed.include_subaccounts == report.include_subaccounts
        and listed.date_start == report.window.start
        and listed.date_end == report.window.end
        and all(
            _as_text(listed.echo.get(name)) == _as_text(report.filters.get(name))
            for name in EVERY_FILTER | report.filters.keys()
        )
    )


def _as_text(value: object) -> str:
    """Make values comparable: booleans come back as booleans or as strings, false as nothing."""
    text = "" if value is None else str(value).lower()
    return "" if text == "false" else text
