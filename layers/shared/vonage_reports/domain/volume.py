"""Whether a window has as many rows as those of the same weekday had."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from zoneinfo import ZoneInfo

from vonage_reports.domain.windows import HOUR, Window

WEEKS = 8
"""So far back: two months are enough for a median, and near enough for what grows."""

LEAST_HISTORY = 3
"""Below three nobody knows what is usual."""

NEGLIGIBLE_ROWS = 100
"""Added on both sides: ten rows after one are no anomaly."""

_LONGER_THAN_A_WEEK = 8 * 24 * HOUR


def alike_before(window: Window) -> Iterator[datetime]:
    """Yield when the windows began that are comparable, the nearest first.

    The same weekday and local time in the weeks before; for a month, the months before.
    """
    zone = ZoneInfo(window.time_zone)
    start = window.start.astimezone(zone)
    for _ in range(WEEKS):
        if window.end - window.start < _LONGER_THAN_A_WEEK:
            start -= timedelta(days=7)
        else:
            start = (start - timedelta(days=1)).replace(day=1)
        yield start.astimezone(UTC)


def deviation(rows: int, history: Sequence[int]) -> float | None:
    """Return by which factor `rows` are more, or fewer, than the median of `history`.

    1 is as usual. None: there is too little history to tell.
    """
    if len(history) < LEAST_HISTORY:
        return None
    usual = median(history)
    more, fewer = max(rows, usual), min(rows, usual)
    return (more + NEGLIGIBLE_ROWS) / (fewer + NEGLIGIBLE_ROWS)
