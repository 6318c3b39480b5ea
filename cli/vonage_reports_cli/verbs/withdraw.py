"""`withdraw`: end open and failed reports that are not needed any more."""

from datetime import date
from typing import Any

import click

from vonage_reports_cli.acting import Action, Step, carry_out
from vonage_reports_cli.dates import Date, require_order
from vonage_reports_cli.errors import BadInput, Exit
from vonage_reports_cli.estimate import count
from vonage_reports_cli.pasted import name, names
from vonage_reports_cli.previews import step_for
from vonage_reports_cli.session import Session, verb


@verb(
    acts=True,
    help="End open and failed reports. Name the reports, or name a DEFINITION, one account and a "
    "range of dates. Afterwards, only `recollect` collects their windows. Earlier deliveries stay. "
    "The command is free, but Vonage bills the reports that it has finished.",
)
@click.argument("reports", nargs=-1, required=True, metavar="ID... | DEFINITION")
@click.option("--account", metavar="ACCOUNT", help="The account of the DEFINITION.")
@click.option("--from", "start", type=Date(), help="The local date of the first window.")
@click.option("--until", "end", type=Date(), help="The local date after the last window.")
def withdraw(
    session: Session,
    reports: tuple[str, ...],
    account: str | None,
    start: date | None,
    end: date | None,
) -> Exit:
    """Preview the reports and the consequences, ask, and send the events."""
    events = _events(reports, account, start, end)
    steps: list[Step] = [step_for(session.deployed, each) for each in events]
    number = sum(isinstance(each, Action) for each in steps)
    these = count(number, "report") if account is None else "all of these reports"
    return carry_out(
        session,
        steps,
        effect="Ends these reports. Then only `recollect` collects their windows. This is free:",
        question=f"Withdraw {these}? [y/N]",
    )


def _events(
    reports: tuple[str, ...], account: str | None, start: date | None, end: date | None
) -> list[dict[str, Any]]:
    """Return one event for a range of dates, or one for each report_id. Raises BadInput."""
    if account is None and start is None and end is None:
        return [{"withdraw": {"report_id": each}} for each in names(reports)]
    if account is None or start is None or end is None or len(names(reports)) != 1:
        raise BadInput(
            "name the reports, or one DEFINITION with --account, --from and --until; `status` "
            "prints the command"
        )
    require_order(start, end)
    of_account = {"definition": name(reports[0]), "account_id": name(account)}
    return [{"withdraw_windows": {**of_account, "start": str(start), "end": str(end)}}]
