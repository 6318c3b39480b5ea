"""`estimate`: what the schedule is going to request, before Vonage bills it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vonage_reports.domain.printable import printable
from vonage_reports_cli.errors import Exit
from vonage_reports_cli.estimate import Line, Price, Total, count
from vonage_reports_cli.files import read_definitions
from vonage_reports_cli.outlook import Outlook, outlook_of
from vonage_reports_cli.session import Session, verb
from vonage_reports_cli.stack import DeployedStack

if TYPE_CHECKING:
    from rich.table import Table

_MOST_DAYS = 366


@verb(help="Show what the schedule is going to request, and what it costs.")
@click.option(
    "--definitions",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Estimate these report definitions instead of the stack's. - is standard input.",
)
@click.option(
    "--days",
    type=click.IntRange(1, _MOST_DAYS),
    default=30,
    show_default=True,
    help="Also estimate so many days.",
)
def estimate(session: Session, file: Path | None, days: int) -> int | None:
    """Print the reports of the next schedule, and those of a number of days."""
    target = session.target
    if file is not None:
        written = read_definitions(file)
    elif isinstance(target, DeployedStack):
        written = target.definitions.read()
    else:
        written = target.ledger.definitions
    outlook = outlook_of(target, written, days=days)
    refused = list(outlook.refused_lines())
    if refused and file is not None:
        for line in refused:
            session.screen.complain(line)
        return Exit.BAD_INPUT
    if session.as_json:
        session.screen.document({"source": target.source, **outlook.to_dict()})
    else:
        session.screen.say(printable(target.source))
        _show(session, outlook)
    return Exit.ATTENTION if refused else None


def _show(session: Session, outlook: Outlook) -> None:
    screen, price = session.screen, outlook.price
    schedule = outlook.schedule
    screen.say(f"next schedule: {printable(outlook.when)}")
    if schedule is not None and not schedule.is_on:
        screen.say(
            "The schedule is paused, so nothing of this is requested before `resume`.",
            style="yellow",
        )
    if outlook.period:
        accounts = {each.account_id for each in outlook.period}
        screen.say(*(printable(f"account: {each}") for each in accounts if len(accounts) == 1), "")
        screen.show(_table(outlook))
    if price is None and outlook.period and isinstance(session.target, DeployedStack):
        screen.note("Set the price of a record to see money: settings set PricePerRecord")
    screen.say(
        "",
        f"next schedule: {Total.of(outlook.next).words(price)}",
        f"{outlook.days} days: {Total.of(outlook.period).words(price)}",
    )
    if outlook.open:
        screen.say(f"open already, with or without the schedule: {count(outlook.open, 'report')}")
    screen.say(*outlook.late_lines())
    screen.say(*outlook.refused_lines(), style="red")
    screen.say(*(printable(f"warning: {each}") for each in outlook.checked.warnings))


def _table(outlook: Outlook) -> "Table":
    from rich.table import Table  # noqa: PLC0415 - slow to load
    from rich.text import Text  # noqa: PLC0415 - slow to load

    next_of = {(each.definition, each.account_id): each for each in outlook.next}
    accounts = {each.account_id for each in outlook.period}
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("definition", no_wrap=True)
    if len(accounts) > 1:
        table.add_column("account", no_wrap=True)
    for heading in ("next schedule", "records", f"{outlook.days} days", "records"):
        table.add_column(heading, justify="right")
    if outlook.price is not None:
        table.add_column(outlook.price.currency, justify="right")
    for line in outlook.period:
        first = next_of.get((line.definition, line.account_id))
        cells = [
            f"{first.reports:,}" if first else "",
            _records(first.records) if first else "",
            f"{line.reports:,}",
            _records(line.records),
        ]
        if outlook.price is not None:
            cells.append(_cost(line, outlook.price))
        names = [line.definition, line.account_id][: min(len(accounts), 2)]
        # As Text: rich must not read text from elsewhere as markup.
        table.add_row(*(Text(printable(name)) for name in names), *cells)
    return table


def _records(records: int | None) -> str:
    return "unknown" if records is None else f"{records:,}"


def _cost(line: Line, price: Price) -> str:
    return "unknown" if line.records is None else f"{price.amount * line.records:,.2f}"
