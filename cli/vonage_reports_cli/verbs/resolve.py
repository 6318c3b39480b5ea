"""`resolve`: say whether Vonage has the request of a held report."""

from typing import Any

import click

from vonage_reports.domain.report import State
from vonage_reports_cli.acting import carry_out, cost, known_report, total
from vonage_reports_cli.errors import BadInput, Exit
from vonage_reports_cli.pasted import name
from vonage_reports_cli.previews import step_for
from vonage_reports_cli.session import Session, verb


@verb(
    acts=True,
    help="Answer a held report, after a look into Vonage's dashboard. --found goes on with that "
    "request, and is free. --not-there requests the window again, and Vonage bills it.",
)
@click.argument("report_id", metavar="ID")
@click.option("--found", metavar="REQUEST_ID", help="The request that the dashboard shows.")
@click.option("--not-there", is_flag=True, help="The dashboard has no such request.")
@click.option(
    "--hold",
    type=click.IntRange(min=1),
    metavar="N",
    help="Answer the n-th hold alone, as its notification has it. Default: the present one.",
)
def resolve(
    session: Session, report_id: str, found: str | None, *, not_there: bool, hold: int | None
) -> Exit:
    """Preview the consequence, ask, and send the resolution."""
    if (found is None) != not_there:
        raise BadInput("resolve takes either --found REQUEST_ID or --not-there")
    if found is not None and not found.strip(" ."):
        raise BadInput("--found takes the request_id that Vonage's dashboard shows")
    report_id = name(report_id)
    found = None if found is None else name(found)
    stack = session.deployed
    report = known_report(stack, report_id)
    value: dict[str, Any] = {"report_id": report_id, "request_id": found}
    if hold is not None:
        value["hold"] = hold
    elif report.state is State.HELD:
        # The answer to this preview must not answer a later hold.
        value["hold"] = report.holds
    step = step_for(stack, {"resolve": value})
    if found is not None:
        question = f"Go on with request {found}? [y/N]"
    else:
        price = cost(stack, total([step]))
        question = f"Vonage is going to bill {price}. Is the request surely absent there? [y/N]"
    return carry_out(session, [step], question=question)
