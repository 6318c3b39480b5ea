"""`collect`: request the reports that are due now, as the schedule would."""

from datetime import UTC, datetime

import click

from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.windows import format_instant
from vonage_reports.submit_reports.requests import parse_event
from vonage_reports_cli.acting import carry_out, cost, total
from vonage_reports_cli.errors import BadInput, Exit
from vonage_reports_cli.previews import step_for
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
        parse_event(event)
    except InvalidRequest as error:
        raise BadInput(f"--at {str(error).partition(': ')[2]}") from error
    step = step_for(session.deployed, event)
    price = cost(session.deployed, total([step]))
    return carry_out(
        session,
        [step],
        question=f"Vonage is going to bill {price}. Request the reports now? [y/N]",
    )
