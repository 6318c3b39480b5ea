"""`collect`: request the reports that are due now, as the schedule would."""

from datetime import UTC, datetime

import click

from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.windows import format_instant
from vonage_reports.submit_reports.requests import ScheduledRun, parse_event
from vonage_reports_cli.acting import Action, carry_out
from vonage_reports_cli.definitions import checked, known_api_key
from vonage_reports_cli.errors import BadInput, Exit
from vonage_reports_cli.estimate import Total, due, late, lines_of
from vonage_reports_cli.outlook import described, left_out
from vonage_reports_cli.session import Session, verb


@verb(acts=True, help="Request the reports that are due now. Vonage bills their records.")
@click.option(
    "--at",
    metavar="TIME",
    help="Request the reports that were due at this time, such as 2026-11-22T02:15:00Z.",
)
def collect(session: Session, at: str | None) -> Exit:
    """Preview the due reports and their cost, ask, and send the schedule's event."""
    now = datetime.now(UTC)
    time = format_instant(now) if at is None else at
    event = {"scheduled_time": time}
    try:
        request = parse_event(event)
    except InvalidRequest as error:
        raise BadInput(f"--at {str(error).partition(': ')[2]}") from error
    assert isinstance(request, ScheduledRun)
    action = Action(event, _preview(session, request.scheduled_time, now))
    return carry_out(session, [action], question="Request them now? Vonage bills it. [y/N]")


def _preview(session: Session, at: datetime, now: datetime) -> list[str]:
    stack = session.deployed
    written = stack.definitions.read()
    work, calendar = stack.ledger.open_work(), stack.ledger.calendar()
    found = checked(written, work, calendar, api_key=known_api_key(written, calendar))
    lines = lines_of(due(found.definitions, calendar, work, at=at, now=now))
    price, refused = stack.price, found.refusals
    return [
        *described(lines, price),
        *(f"refused: {each.definition}, {each.field}: {each.reason}" for each in refused),
        *left_out(late(found.definitions, calendar, at=at, now=now)),
        f"in all {Total.of(lines).words(price)}" if lines else "no report is due",
    ]
