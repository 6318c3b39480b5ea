"""The progress of many reports: as a bar, and in words."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vonage_reports.domain.printable import printable
from vonage_reports_cli.status.model import Advance

_WIDTH = 30
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


@dataclass(frozen=True)
class Bar:
    """A bar for `finished` of `total` windows. `words` describes the same progress."""

    name: str
    finished: int
    total: int
    words: str


def bar_of(advance: Advance, seconds: float | None) -> Bar:
    """Return the bar of a backfill. `seconds` is the estimated time left, or None."""
    parts = [f"{advance.over:,} of {advance.total:,} windows"]
    if advance.skipped:
        parts.append(f"{advance.skipped:,} skipped")
    if seconds is not None and advance.is_running:
        parts.append(f"{duration(seconds)} left")
    return Bar(f"backfill {printable(advance.name)}", advance.over, advance.total, ", ".join(parts))


def drawn(bars: Iterable[Bar]) -> Table:
    """Return the bars, one below the other."""
    grid = Table.grid(padding=(0, 2))
    for bar in bars:
        # As Text, because rich must not read a name from elsewhere as markup.
        line = ProgressBar(max(bar.total, 1), bar.finished, width=_WIDTH)
        grid.add_row(Text(bar.name), line, Text(bar.words))
    return grid


def duration(seconds: float) -> str:
    """Return an approximate duration in one unit."""
    for unit, name in ((_DAY, "days"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * unit:
            return f"about {seconds / unit:.0f} {name}"
    return f"about {seconds:.0f} s"
