"""`backfill` and `cancel`: collect a definition's history, and stop that."""

import sys
from collections.abc import Mapping
from datetime import date
from typing import Any

import click

from vonage_reports_cli.acting import Action, carry_out, cost, total
from vonage_reports_cli.dates import Date, require_order
from vonage_reports_cli.errors import BadInput, Exit
from vonage_reports_cli.pasted import name
from vonage_reports_cli.previews import step_for
from vonage_reports_cli.session import Session, verb

_CONFIRM = '"confirm": true'
"""The end of the refusal of a backfill that is too expensive without a confirmation."""


@verb(
    acts=True,
    help="Collect a definition's windows between two dates, newest first. Vonage bills them, but "
    "windows that are delivered or under way are left out. The same command again changes nothing.",
)
@click.argument("definition")
@click.option("--from", "start", type=Date(), required=True, help="The first local date.")
@click.option(
    "--until", "end", type=Date(), required=True, help="The local date after the last one."
)
@click.option(
    "--account",
    "account_id",
    metavar="ACCOUNT",
    help="Collect this account only. It may be a closed or suspended sub-account. Without this "
    "option, the backfill collects the accounts that the definition collects now.",
)
@click.option(
    "--confirm-cost",
    is_flag=True,
    help="Also bill more records than the setting MaxBilledRecords. Without this option and "
    "without --yes, a second question asks for it.",
)
def backfill(
    session: Session,
    definition: str,
    start: date,
    end: date,
    *,
    account_id: str | None,
    confirm_cost: bool,
) -> Exit:
    """Preview the windows and their cost, ask, and send the backfill."""
    require_order(start, end)
    event: dict[str, Any] = {"definition": definition, "start": str(start), "end": str(end)}
    if account_id is not None:
        event["account_id"] = name(account_id)
    if confirm_cost:
        event["confirm"] = True
    step = step_for(session.deployed, {"backfill": event})
    price = cost(session.deployed, total([step]))
    return carry_out(
        session,
        [step],
        question=f"Vonage is going to bill {price}. Begin the backfill? [y/N]",
        send=lambda action: _send(session, action),
        following="status",
    )


def _send(session: Session, action: Action) -> Mapping[str, Any]:
    """Send a backfill. If it is too expensive without a confirmation, ask for that."""
    stack = session.deployed
    try:
        return stack.send(action.event)
    except BadInput as error:
        if _CONFIRM not in str(error):
            raise
        why = str(error).partition(" To accept that")[0].rstrip(".")
        if session.yes or not sys.stdin.isatty():
            raise BadInput(f"{why}. To bill that all the same, add --confirm-cost") from error
    session.screen.note(why)
    session.screen.confirm("Bill that all the same? [y/N]", yes=False)
    return stack.send({"backfill": {**action.event["backfill"], "confirm": True}})


@verb(
    acts=True,
    help="Stop a backfill. Reports in flight are finished; nothing more is requested. This is "
    "free.",
)
@click.argument("backfill", metavar="BACKFILL")
def cancel(session: Session, backfill: str) -> Exit:
    """Preview the windows that stay uncollected, ask, and send the cancellation."""
    return carry_out(
        session,
        [step_for(session.deployed, {"cancel": {"backfill": name(backfill)}})],
        question="Cancel this backfill? [y/N]",
        following="status",
    )
