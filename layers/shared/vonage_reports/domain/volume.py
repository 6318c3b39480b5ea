"""Compares a window's rows with earlier windows of the same weekday."""

from collections.abc import Iterator, Sequence
from datetime import UTC, timedelta
from statistics import median
from zoneinfo import ZoneInfo

from vonage_reports.domain.report import Report, report_id
from vonage_reports.domain.windows import Window

WEEKS = 8
"""How many weeks to look back: enough for a median, and few enough to follow growth."""

LEAST_HISTORY = 3
"""How many windows are needed at least. Fewer windows do not show the usual number of rows."""

NEGLIGIBLE_ROWS = 100
"""How many rows are added to both numbers before the comparison. So ten rows, after one row in
earlier windows, are no anomaly."""

_A_WEEK_WITH_ANY_CLOCK = timedelta(days=8)


def alike_before(window: Window) -> Iterator[Window]:
    """Yield the comparable windows, nearest first.

    They have the same weekday and local time in the previous weeks. For a month, they are the
    previous months.
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
    """Return the report_ids of the windows to compare a report's rows with."""
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
    """Return the factor, at least 1, between `rows` and the median of `history`.

    1 means the usual number of rows. None means too little history.
    """
    if len(history) < LEAST_HISTORY:
        return None
    usual = median(history)
    more, fewer = max(rows, usual), min(rows, usual)
    return (more + NEGLIGIBLE_ROWS) / (fewer + NEGLIGIBLE_ROWS)
