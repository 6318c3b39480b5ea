"""The status as text: the problems first, then a table of definitions and the backfills."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time
from itertools import islice
from zoneinfo import ZoneInfo

from vonage_reports.domain.commands import PROGRAM
from vonage_reports.domain.printable import printable
from vonage_reports_cli.definitions import told
from vonage_reports_cli.progress_bar import bar_of, drawn
from vonage_reports_cli.screen import Screen
from vonage_reports_cli.status.model import Row, Standing
from vonage_reports_cli.status.problems import Problem
from vonage_reports_cli.status.summary import KINDS, Status
from vonage_reports_cli.tables import Column, show_table

_MOST_SHOWN = 10
_HEADINGS = {
    "held": "held: not requested again before you decide",
    "failed": "failed",
    "removed": "removed: not in the report definitions any more, and waiting",
    "refused": "refused: Vonage refuses the account or the product",
    "late": "late: due for more than a day, or too long at Vonage",
    "missing": "missing",
}


@dataclass(frozen=True)
class Target:
    """Where the commands of a status go: a stack, or `make run`.

    `is_kept`: the next `make run` goes on with this ledger. The simulator's ledger begins anew.
    """

    stack: str | None = None
    is_local: bool = False
    is_kept: bool = True

    def commands(self, problem: Problem) -> list[str]:
        """Return the commands that mend a problem."""
        if not self.is_local:
            return problem.commands(self.stack)
        events = problem.events if self.is_kept else []
        return [
            f"make run EVENT=event.json   with {json.dumps(each)} in event.json" for each in events
        ]


def show_status(
    status: Status, source: str, screen: Screen, target: Target, *, definition: str | None = None
) -> None:
    """Print the status. `source` names the ledger.

    `definition` is the only one of the status, whose latest reports are printed, or None.
    """
    screen.say(printable(source))
    if status.since is not None:
        screen.say(
            f"Windows since {status.since} and all open reports. --since DATE shows more windows."
        )
    if status.attention:
        screen.say(f"Look at: {', '.join(status.attention)}.", style="red")
    else:
        screen.say("No problems.", style="green")
    _show_refusals(screen, status, target)
    for kind in KINDS:
        of_kind = [each for each in status.problems if each.kind == kind]
        _section(screen, _HEADINGS[kind], of_kind, target)
    _show_stack(screen, status, target)
    _list(screen, "periods that are not complete", [each.sentence for each in status.periods])
    _list(screen, "warnings", status.warnings)
    screen.say("")
    if status.rows:
        show_table(screen, _columns(status.rows))
    else:
        screen.say("No report definition has been collected.")
    if definition is not None and status.latest:
        _show_latest(screen, status)
    if status.backfills:
        screen.say("")
        screen.show(drawn(bar_of(*each) for each in status.backfills))


def _list(screen: Screen, heading: str, lines: Sequence[str]) -> None:
    if lines:
        screen.say("", heading, *(f"  {printable(line)}" for line in lines))


def _show_refusals(screen: Screen, status: Status, target: Target) -> None:
    if status.refusals:
        screen.say("", "refused definitions: not collected before you correct them", style="red")
        for each in status.refusals:
            screen.say(f"  {printable(told(each))}", style="red")
        if not target.is_local:
            screen.say(f"    {printable(_command('definitions edit', target))}")


def _show_stack(screen: Screen, status: Status, target: Target) -> None:
    """Print the problems of the stack itself."""
    if status.unregistered:
        reason = printable(status.unregistered.reason)
        screen.say("", "not in the catalogue", f"  {reason}")
        if not target.is_local:
            screen.say(f"    {printable(status.unregistered.command(target.stack))}")
    if status.unheard:
        screen.say("", "no alarm has a reader", f"  {printable(status.unheard.reason)}")
        screen.say(f"    {printable(status.unheard.command)}")
    if status.is_paused:
        screen.say("", "the schedule is paused: no schedule requests due windows before `resume`")
        screen.say(f"    {printable(_command('resume', target))}")


def _command(verb: str, target: Target) -> str:
    stack = ["--stack", target.stack] if target.stack else []
    return shlex.join([PROGRAM, *stack, *verb.split()])


def _show_latest(screen: Screen, status: Status) -> None:
    screen.say("", "latest windows; `show REPORT_ID` tells the life of one")
    starts = [
        each.window.start.astimezone(ZoneInfo(each.window.time_zone)) for each in status.latest
    ]
    # Whole days need no time.
    form = "%Y-%m-%d" if all(each.time() == time() for each in starts) else "%Y-%m-%d %H:%M"
    show_table(
        screen,
        [
            Column("report_id", [each.report_id for each in status.latest]),
            Column("window", [f"{each:{form}}" for each in starts]),
            Column("account", [each.account_id for each in status.latest]),
            Column("revision", [each.revision for each in status.latest]),
            Column("state", [each.state for each in status.latest]),
        ],
    )


def _columns(rows: Sequence[Row]) -> list[Column]:
    def counts(name: str, style: str = "") -> Column:
        values = [getattr(row, name) for row in rows]
        cells = [f"{value:,}" if value else "" for value in values]
        return Column(name.replace("_", " "), cells, is_number=True, style=style)

    return [
        Column("definition", [_marked(row) for row in rows]),
        Column("account", [row.account_id for row in rows]),
        Column("windows", [f"{row.length}, {row.time_zone}" for row in rows]),
        Column("last delivered", [_last(row) for row in rows]),
        counts("delivered"),
        *(counts(name) for name in ("in_flight", "waiting")),
        *(counts(name, "red") for name in ("held", "failed", "missing")),
    ]


def _marked(row: Row) -> str:
    """Return the definition's name, marked if the definition is not collected."""
    mark = "" if row.standing is Standing.COLLECTED else f" ({row.standing})"
    return f"{row.definition}{mark}"


def _last(row: Row) -> str:
    last = row.last_delivered
    return "" if last is None else f"{last.window.first_date}, {last.revision}"


def _section(screen: Screen, heading: str, problems: Sequence[Problem], target: Target) -> None:
    if not problems:
        return
    screen.say("", heading)
    for problem in islice(problems, _MOST_SHOWN):
        many = f" ({problem.windows:,} windows)" if problem.windows > 1 else ""
        reason = f": {problem.reason}" if problem.reason else ""
        names = f"{problem.definition}, {problem.account_id}, {problem.dates}{many}"
        screen.say(printable(f"  {names}{reason}"))
        commands = target.commands(problem)
        if commands or problem.report_id is not None:
            for line in commands or [str(problem.report_id)]:
                screen.say(printable(f"    {line}"))
    if len(problems) > _MOST_SHOWN:
        screen.say(f"  and {len(problems) - _MOST_SHOWN:,} more; --json has all")
