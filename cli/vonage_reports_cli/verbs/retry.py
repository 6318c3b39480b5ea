"""`retry`: mend everything that failed, each report by its own way."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import click

from vonage_reports.domain.acceptance import Acceptable, advised
from vonage_reports.domain.commands import command_for
from vonage_reports.domain.notifications import recollect, reconvert
from vonage_reports.domain.products import billed_records
from vonage_reports.domain.report import Report
from vonage_reports_cli.acting import Action, Refused, Step, carry_out, cost, total
from vonage_reports_cli.errors import Exit
from vonage_reports_cli.estimate import count
from vonage_reports_cli.previews import step_for
from vonage_reports_cli.session import Session, verb
from vonage_reports_cli.stack import DeployedStack
from vonage_reports_cli.status.problems import Problem
from vonage_reports_cli.status.sources import content_of
from vonage_reports_cli.status.summary import status_of
from vonage_reports_cli.verbs.reconvert import accepted_names


@verb(
    acts=True,
    help="Retry everything that failed, each report in its own way: convert stored archives again, "
    "which is free, or collect a window again, which Vonage bills. It buys no window that could be "
    "delivered as it is for free, but names both ways.",
)
@click.option(
    "--accept",
    metavar="NAMES",
    default="",
    help="Deliver such windows with these imperfections, on the record: row_count, "
    "unreadable_rows, missing_columns; separated by commas.",
)
def retry(session: Session, accept: str) -> Exit:
    """List the failed reports, ask, and send the event of each."""
    accepted, stack = accepted_names(accept), session.deployed
    content = content_of(stack.ledger, stack.definitions.read(), as_of=datetime.now(UTC))
    failed = [each for each in status_of(content).problems if each.kind == "failed"]
    steps = [_step(session, each, accepted) for each in failed]
    number = sum(isinstance(each, Action) for each in steps)
    if not failed:
        steps = [Refused("retry", "nothing failed", Exit.DONE)]
    price = cost(stack, total(steps))
    return carry_out(
        session,
        steps,
        effect="Mends these failed reports:",
        question=f"Vonage is going to bill {price}. Mend {count(number, 'report')}? [y/N]",
        following="status",
    )


def _step(session: Session, problem: Problem, accepted: Collection[Acceptable]) -> Step:
    """Return the event of a problem. A report that would fail again needs a person.

    So does a window whose rows do not add up to Vonage's count: only a person decides to deliver it
    as it is, or to buy it again.
    """
    stack, event = session.deployed, problem.event
    report = stack.ledger.report(problem.report_id or "")
    imperfect = () if report is None else advised(report.reason)
    if report is not None and report.error == "RowsMismatch" and imperfect:
        event = reconvert(report.report_id, imperfect)
        if not set(imperfect) <= set(accepted):
            return Refused(report.report_id, _choice(stack, report, event), Exit.ATTENTION)
    if event is None:
        name = problem.report_id or problem.definition
        reason = f"{name} would fail again, so look into it first: {problem.reason}"
        return Refused(name, reason, Exit.ATTENTION)
    step = step_for(stack, event)
    if isinstance(step, Refused):
        return step
    name, window, *more = step.preview
    return replace(step, preview=[name, window, f"  failed: {problem.reason}", *more])


def _choice(stack: DeployedStack, report: Report, free: Mapping[str, Any]) -> str:
    """Name both ways to mend a window whose rows do not add up to Vonage's count."""
    name = report.report_id
    buy = recollect(name, report.failures)
    records = billed_records(report.product, report.expected_rows)
    return (
        f"{name} needs your choice: {command_for(free, stack=stack.name)} delivers it as it is, "
        f"for free and on the record; {command_for(buy, stack=stack.name)} collects it again, and "
        f"Vonage bills {cost(stack, records)} ({report.error}: {report.reason})"
    )
