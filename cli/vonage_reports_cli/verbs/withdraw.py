"""`withdraw`: end open and failed reports that are not needed any more."""

import click

from vonage_reports_cli.acting import Action, carry_out
from vonage_reports_cli.errors import Exit
from vonage_reports_cli.estimate import count
from vonage_reports_cli.pasted import names
from vonage_reports_cli.previews import step_for
from vonage_reports_cli.session import Session, verb


@verb(
    acts=True,
    help="End open and failed reports. Then only `recollect` collects their windows, and an "
    "earlier delivery stays. This is free, but Vonage bills what it has finished.",
)
@click.argument("report_ids", nargs=-1, required=True, metavar="ID...")
def withdraw(session: Session, report_ids: tuple[str, ...]) -> Exit:
    """Preview the reports and the consequences, ask, and send a withdraw event for each."""
    steps = [
        step_for(session.deployed, {"withdraw": {"report_id": each}}) for each in names(report_ids)
    ]
    number = sum(isinstance(each, Action) for each in steps)
    return carry_out(
        session,
        steps,
        effect="Ends these reports. Then only `recollect` collects their windows. This is free:",
        question=f"Withdraw {count(number, 'report')}? [y/N]",
    )
