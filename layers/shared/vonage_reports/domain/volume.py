"""Whether a window has as many rows as those of the same weekday had."""

from collections.abc import Iterator, Sequence
from datetime import UTC, timedelta
from statistics import median
from zoneinfo import ZoneInfo

from vonage_reports.domain.report import Report, report_id
from vonage_reports.domain.windows import Window

WEEKS = 8
"""So far back: two months are enough for a median, and near enough for what grows."""

LEAST_HISTORY = 3
"""Below three nobody knows what is usual."""

NEGLIGIBLE_ROWS = 100
"""Added on both sides: ten rows after one are no anomaly."""

_A_WEEK_WITH_ANY_CLOCK = timedelta(days=8)


def alike_before(window: Window) -> Iterator[Window]:
    """Yield the windows that are comparable, the nearest first.

    The same weekday and local time in the weeks before; for a month, the months before.
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
    """Return by which factor `rows` are more, or fewer, than the median of `history`.

    1 is as usual. None: there is too little history to tell.
    """
    if len(history) < LEAST_HISTORY:
        return None
    usual = median(history)
    more, fewer = max(rows, usual), min(rows, usual)
    return (more + NEGLIGIBLE_ROWS) / (fewer + NEGLIGIBLE_ROWS)
