"""A report as a person finds it in Vonage's dashboard."""

from vonage_reports.domain.report import Report
from vonage_reports.domain.windows import format_instant


def sought(report: Report) -> str:
    """Describe the report that a person looks for in Vonage's dashboard, and when it was requested.

    Quote no filter but the direction, because its value may be a phone number.
    """
    direction = report.filters.get("direction")
    product = f"{report.product} {direction}" if isinstance(direction, str) else report.product
    window = report.window
    dates = f"{format_instant(window.start)} to {format_instant(window.end)}"
    sent = report.submitted_at
    when = "" if sent is None else f", requested at {format_instant(sent)}"
    return f"{product} of account {report.account_id}, {dates}{when}"
