"""`recollect`: collect windows again. Vonage bills them again."""

from typing import Any

import click

from vonage_reports.domain.report import Report, State, failure_token
from vonage_reports_cli.acting import Action, Refused, Step, carry_out, cost, known_report, total
from vonage_reports_cli.errors import Attention, BadInput, Exit
from vonage_reports_cli.estimate import count
from vonage_reports_cli.pasted import names
from vonage_reports_cli.previews import step_for
from vonage_reports_cli.session import Session, verb


@verb(
    acts=True,
    help="Collect windows again. Vonage bills them again. "
    "The same command again buys nothing more, except with --again.",
)
@click.argument("report_ids", nargs=-1, required=True, metavar="ID...")
@click.option(
    "--again", is_flag=True, help="Also a delivered window that was collected again before."
)
def recollect(session: Session, report_ids: tuple[str, ...], *, again: bool) -> Exit:
    """Preview the windows and their cost, ask, and send a recollect event for each."""
    steps = [_step(session, each, again=again) for each in names(report_ids)]
    number = sum(isinstance(each, Action) for each in steps)
    price = cost(session.deployed, total(steps))
    return carry_out(
        session,
        steps,
        effect="Requests these windows again. Their new archives take the place of the old ones:",
        question=f"Vonage is going to bill {price}. Collect {count(number, 'window')} again? [y/N]",
    )


def _step(session: Session, name: str, *, again: bool) -> Step:
    stack = session.deployed
    try:
        report = known_report(stack, name)
    except (BadInput, Attention) as error:
        return Refused(name, str(error), error.code)
    whole = report if report.root is None else stack.ledger.report(report.root)
    is_delivered = whole is not None and whole.state is State.DELIVERED
    if is_delivered and report.tokens and not again:
        return Refused(
            name,
            f"{name} was collected again before, and is delivered. To buy it once more, add "
            "--again",
        )
    event: dict[str, Any] = {"report_id": name, "token": _token(report)}
    if is_delivered:
        event["confirm"] = True
    return step_for(stack, {"recollect": event})


def _token(report: Report) -> str:
    """Return a token that two operators share, so that they collect a window once.

    After that recollection, the report has another token.
    """
    if report.state is State.FAILED:
        return failure_token(report.failures)
    return f"operator-{len(report.tokens) + 1}"
