"""Comparison of a window's rows with earlier windows of the same weekday."""

from collections.abc import Iterator, Sequence
from datetime import UTC, timedelta
from statistics import median
from zoneinfo import ZoneInfo

from vonage_reports.domain.report import Report, report_id
from vonage_reports.domain.windows import Window

WEEKS = 8
"""Two months are long enough for a median, and short enough to follow growth."""

LEAST_HISTORY = 3
"""Fewer windows show no usual number of rows."""

NEGLIGIBLE_ROWS = 100
"""Rows added to both numbers before the comparison, so that ten rows after one row are no
anomaly."""

_A_WEEK_WITH_ANY_CLOCK = timedelta(days=8)


def alike_before(window: Window) -> Iterator[Window]:
    """Yield the comparable windows, nearest first.

    The same weekday and local time in the previous weeks; for a month, the previous months.
    """
    zone = ZoneInfo(window.time_zone)
    start, end = window.start.astimezone(zone), window.end.astimezone(zone)
    is_month = window.end - window.start > _A_WEEK_WITH_ANY_CLOCK
    for _ in range(WEEKS):
        if is_month:
            start, end = (start - timedelta(days=1)).replace(day=1), start
        else:
            start, end = start - timedelta(days=7), end - timedelta(days=7)
        yield Window(start.astimezone(UTC), end.astimezone(UTC), window.time_zone)


def reports_before(report: Report) -> list[str]:
    """Return the report_ids of the windows that a report's rows are compared with."""
    return [
        report_id(
            definition=report.definition,
            account_id=report.account_id,
            window=window,
            delay_index=report.delay_index,
        )
        for window in alike_before(report.window)
    ]


def deviation(rows: int, history: Sequence[int]) -> float | None:
    """Return the factor by which `rows` exceed, or fall below, the median of `history`.

    1 means as usual. None means too little history.
    """
    if len(history) < LEAST_HISTORY:
        return None
    usual = median(history)
    more, fewer = max(rows, usual), min(rows, usual)
    return (more + NEGLIGIBLE_ROWS) / (fewer + NEGLIGIBLE_ROWS)
