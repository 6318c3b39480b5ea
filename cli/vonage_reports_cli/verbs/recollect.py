"""`recollect`: collect windows again. Vonage bills them again."""

import click

from vonage_reports.domain.report import Report, State, failure_token
from vonage_reports_cli.acting import Action, carry_out, known_report
from vonage_reports_cli.errors import Exit
from vonage_reports_cli.session import Session, verb

_ONCE = "operator"
"""The token of a recollection of a delivered window, so that a repeated command buys nothing."""


@verb(acts=True, help="Collect windows again. Vonage bills them again.")
@click.argument("report_ids", nargs=-1, required=True, metavar="ID...")
@click.option(
    "--again", is_flag=True, help="Also a window that was collected again by this command before."
)
def recollect(session: Session, report_ids: tuple[str, ...], *, again: bool) -> Exit:
    """Preview the windows and their cost, ask, and send a recollect event for each."""
    reports = [known_report(session, each) for each in dict.fromkeys(report_ids)]
    actions = [_action(session, report, again=again) for report in reports]
    return carry_out(session, actions, question="Collect again? Vonage bills it. [y/N]")


def _action(session: Session, report: Report, *, again: bool) -> Action:
    event = {
        "report_id": report.report_id,
        "token": _token(report, again=again),
        "confirm": report.state is State.DELIVERED,
    }
    outlook = session.deployed.send(
        {"recollect": {"report_id": report.report_id, "dry_run": True}}
    )["dry_run"]
    records = outlook["expected_billed_records"]
    window = f"{report.product} of {report.account_id}, {report.window.first_date}"
    cost = "an unknown number of records" if records is None else f"about {records:,} records"
    return Action(
        {"recollect": event},
        [
            f"{report.report_id}: {window}, {report.state.value} after {report.attempt} requests",
            f"  Vonage is going to bill {cost}",
        ],
    )


def _token(report: Report, *, again: bool) -> str:
    """Return a token that two operators share, so that they collect a window once."""
    if report.state is State.FAILED:
        return failure_token(report.failures)
    return f"{_ONCE}-{report.attempt}" if again else _ONCE
