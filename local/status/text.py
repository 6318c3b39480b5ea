"""The status as text: a table of definitions, then the backfills, problems and warnings."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC
from itertools import islice

from rich.console import Console
from rich.table import Table
from rich.text import Text

from local.output.progress_bar import bar_of, drawn
from local.status.model import Row
from local.status.problems import Problem
from local.status.summary import Status
from vonage_reports.domain.printable import printable

_WIDE = 200
"""Width in columns if the output is no terminal: lines in a file are not folded."""

_MOST_SHOWN = 10
_HEADINGS = {
    "held": "held: not resubmitted before you decide",
    "failed": "failed",
    "removed": "removed: not in the report definitions any more, and waiting",
    "refused": "refused: Vonage refuses the account or the product",
    "late": "late: due for more than a day, or too long at Vonage",
    "missing": "missing",
}


def show_status(status: Status, source: str, console: Console | None = None) -> None:
    """Print the status; `source` names the ledger."""
    console = console or Console(emoji=False)
    if not console.is_terminal:
        console.width = _WIDE
    _say(console, f"{source}, as of {status.as_of.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC", "")
    if status.rows:
        console.print(_table(status.rows))
    else:
        _say(console, "There are no report definitions.")
    if status.backfills:
        console.print()
        console.print(drawn(bar_of(*each) for each in status.backfills))
    for kind, heading in _HEADINGS.items():
        _section(console, heading, [each for each in status.problems if each.kind == kind])
    if status.warnings:
        _say(console, "", "warnings")
        _say(console, *(f"  {warning}" for warning in status.warnings))


def _table(rows: Iterable[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("definition", "account", "windows"):
        table.add_column(column, overflow="fold")
    table.add_column("last delivered", no_wrap=True)
    for column in ("delivered", "in flight", "waiting", "held", "failed", "missing"):
        table.add_column(column, justify="right")
    for row in rows:
        last = row.last_delivered
        names = (
            row.definition if row.is_collected else f"{row.definition} (removed)",
            row.account_id,
            f"{row.length}, {row.time_zone}",
        )
        table.add_row(
            # As Text: rich must not read text from elsewhere as markup.
            *(Text(printable(name)) for name in names),
            "" if last is None else f"{last.window.first_date}, {last.revision}",
            f"{row.delivered:,}",
            *(_count(count) for count in (row.in_flight, row.waiting)),
            *(_count(count, "red") for count in (row.held, row.failed, row.missing)),
        )
    return table


def _count(count: int, style: str = "") -> Text:
    return Text(f"{count:,}" if count else "", style=style)


def _section(console: Console, heading: str, problems: Sequence[Problem]) -> None:
    if not problems:
        return
    _say(console, "", heading)
    for problem in islice(problems, _MOST_SHOWN):
        many = f" ({problem.windows:,} windows)" if problem.windows > 1 else ""
        reason = f": {problem.reason}" if problem.reason else ""
        _say(
            console,
            f"  {problem.definition}, {problem.account_id}, {problem.dates}{many}{reason}",
        )
        if problem.event is not None:
            _say(console, f"    {json.dumps(problem.event)}")
        elif problem.report_id is not None:
            _say(console, f"    {problem.report_id}")
    if len(problems) > _MOST_SHOWN:
        _say(console, f"  and {len(problems) - _MOST_SHOWN:,} more; `make status JSON=1` has all")


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
