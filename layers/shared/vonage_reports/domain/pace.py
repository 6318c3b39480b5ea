"""The pace of a definition: how many seconds Vonage takes for a million of its rows.

It is learnt from the polls that saw the last reports ready. A poll sees the end late, so a learnt
pace is a little slower than Vonage's. The first poll comes a little before the learnt end. So it
finds a faster pace within a few reports.
"""

from collections.abc import Sequence

from vonage_reports.domain.report import Report
from vonage_reports.domain.waits import SHORTEST_POLL, SLOWEST_RECORD
from vonage_reports.domain.windows import parse_instant

REMEMBERED = 5
"""How many of the last paces are remembered. The fastest of them counts, because an outage or a
queue at Vonage only delays reports."""

LEAST = 3
"""How many paces must be known. One late report then never delays the first poll."""

EARLY = 0.9
"""The first poll comes after this share of the remembered pace."""

LEAST_ROWS = 100_000
"""A report with fewer rows teaches no pace: the time that does not depend on its rows weighs too
much."""

FASTEST, SLOWEST = 60, round(SLOWEST_RECORD.total_seconds() * 1_000_000)
"""The bounds of a pace. Vonage never documented a slower one."""


def teaches_pace(report: Report) -> bool:
    """Whether a stored report may teach a pace: its only run has polled its only request."""
    is_large = report.rows is not None and report.rows >= LEAST_ROWS
    return is_large and not report.resumes and not report.unheard


def observed_pace(report: Report, ready: object) -> int | None:
    """Return the pace of a report, or None if the report teaches none.

    `ready` is the time in its receipt: when a poll saw the report ready. Like `submitted_at`, it is
    by our clock, because Vonage's clock may differ.
    """
    if report.submitted_at is None or not report.rows:
        return None
    try:
        seconds = (parse_instant(str(ready)) - report.submitted_at).total_seconds()
    except (ValueError, OverflowError):
        return None
    # Only a callback causes a sooner poll. Otherwise, the time is an error.
    return None if seconds < SHORTEST_POLL else _bounded(seconds * 1_000_000 / report.rows)


def remembered(before: Sequence[int], pace: int) -> tuple[int, ...]:
    """Return the paces to remember after another one, oldest first."""
    return (*before, pace)[-REMEMBERED:]


def learnt_pace(paces: Sequence[int]) -> int | None:
    """Return the pace by which to poll first, or None if too few are known."""
    return None if len(paces) < LEAST else _bounded(EARLY * min(paces))


def _bounded(pace: float) -> int:
    return round(min(max(pace, FASTEST), SLOWEST))
