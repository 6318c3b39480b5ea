"""The status as text: a table of definitions, then the backfills, problems and warnings."""

from collections.abc import Iterable, Sequence
from itertools import islice

from rich.table import Table
from rich.text import Text

from vonage_reports.domain.commands import command_for
from vonage_reports.domain.printable import printable
from vonage_reports_cli.progress_bar import bar_of, drawn
from vonage_reports_cli.screen import Screen
from vonage_reports_cli.status.model import Row
from vonage_reports_cli.status.problems import Problem
from vonage_reports_cli.status.summary import Status

_MOST_SHOWN = 10
_HEADINGS = {
    "held": "held: not resubmitted before you decide",
    "failed": "failed",
    "removed": "removed: not in the report definitions any more, and waiting",
    "refused": "refused: Vonage refuses the account or the product",
    "late": "late: due for more than a day, or too long at Vonage",
    "missing": "missing",
}


def show_status(status: Status, source: str, screen: Screen, *, stack: str | None = None) -> None:
    """Print the status. `source` names the ledger; `stack` goes into the commands."""
    screen.say(printable(source), "")
    if status.rows:
        screen.show(_table(status.rows))
    else:
        screen.say("There are no report definitions.")
    if status.backfills:
        screen.say("")
        screen.show(drawn(bar_of(*each) for each in status.backfills))
    for kind, heading in _HEADINGS.items():
        of_kind = [each for each in status.problems if each.kind == kind]
        _section(screen, heading, of_kind, stack=stack)
    if status.warnings:
        screen.say("", "warnings")
        screen.say(*(f"  {printable(warning)}" for warning in status.warnings))


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


def _section(
    screen: Screen, heading: str, problems: Sequence[Problem], *, stack: str | None
) -> None:
    if not problems:
        return
    screen.say("", heading)
    for problem in islice(problems, _MOST_SHOWN):
        many = f" ({problem.windows:,} windows)" if problem.windows > 1 else ""
        reason = f": {problem.reason}" if problem.reason else ""
        names = f"{problem.definition}, {problem.account_id}, {problem.dates}{many}"
        screen.say(printable(f"  {names}{reason}"))
        command = problem.event and command_for(problem.event, stack=stack)
        if command or problem.report_id is not None:
            screen.say(printable(f"    {command or problem.report_id}"))
    if len(problems) > _MOST_SHOWN:
        screen.say(f"  and {len(problems) - _MOST_SHOWN:,} more; --json has all")
