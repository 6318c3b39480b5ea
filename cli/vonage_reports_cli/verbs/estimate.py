"""`estimate`: what the schedule is going to request, before Vonage bills it."""

from pathlib import Path

import click

from vonage_reports.domain.printable import printable
from vonage_reports_cli.errors import Exit
from vonage_reports_cli.estimate import Line, Price, Total, count
from vonage_reports_cli.files import read_definitions
from vonage_reports_cli.outlook import Outlook, outlook_of
from vonage_reports_cli.session import Session, verb
from vonage_reports_cli.stack import DeployedStack
from vonage_reports_cli.tables import Column, show_table

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
    metavar="N",
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
        screen.say("")
        show_table(screen, _columns(outlook))
    if price is None and outlook.period and isinstance(session.target, DeployedStack):
        screen.note("Set the price of a record to see money: settings set PricePerRecord")
    screen.say(
        "",
        f"next schedule: {Total.of(outlook.next).words(price)}",
        f"{count(outlook.days, 'day')}: {Total.of(outlook.period).words(price)}",
    )
    if outlook.open:
        screen.say(f"open already, with or without the schedule: {count(outlook.open, 'report')}")
    screen.say(*outlook.late_lines())
    screen.say(*outlook.refused_lines(), style="red")
    screen.say(*(printable(f"warning: {each}") for each in outlook.checked.warnings))


def _columns(outlook: Outlook) -> list[Column]:
    """Return a row for each definition and account."""
    lines, price = outlook.period, outlook.price
    next_of = {(each.definition, each.account_id): each for each in outlook.next}
    first = [next_of.get((each.definition, each.account_id)) for each in lines]
    period = f"{outlook.days}-day"
    numbers = {
        "next reports": [f"{each.reports:,}" if each else "" for each in first],
        "next records": [_records(each.records) if each else "" for each in first],
        f"{period} reports": [f"{each.reports:,}" for each in lines],
        f"{period} records": [_records(each.records) for each in lines],
    }
    if price is not None:
        numbers[f"{period} {price.currency}"] = [_cost(each, price) for each in lines]
    return [
        Column("definition", [each.definition for each in lines]),
        Column("account", [each.account_id for each in lines]),
        *(Column(heading, cells, is_number=True) for heading, cells in numbers.items()),
    ]


def _records(records: int | None) -> str:
    return "unknown" if records is None else f"{records:,}"


def _cost(line: Line, price: Price) -> str:
    return "unknown" if line.records is None else f"{price.amount * line.records:,.2f}"
