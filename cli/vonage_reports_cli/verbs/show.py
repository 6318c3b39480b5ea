"""`show`: the life of one report."""

from dataclasses import replace
from datetime import UTC, datetime

import click

from vonage_reports.aws.ledger_items import UnreadableItem
from vonage_reports.aws.step_functions import Executions
from vonage_reports.domain.decisions import ExecutionStatus
from vonage_reports.domain.report import Report
from vonage_reports_cli.errors import Attention, BadInput
from vonage_reports_cli.last_run import LastRunTarget
from vonage_reports_cli.objects import Objects, objects_of
from vonage_reports_cli.pasted import name
from vonage_reports_cli.session import Session, verb
from vonage_reports_cli.show.life import Life, Run, advice_on, life_of
from vonage_reports_cli.show.text import show_life
from vonage_reports_cli.stack import DeployedStack


@verb(
    help="Show the life of one report, and the command that helps. `status DEFINITION`, the "
    "notifications and the manifests name reports."
)
@click.argument("report_id")
def show(session: Session, report_id: str) -> None:
    """Print the life of a report."""
    report_id = name(report_id)
    target, objects = session.target, objects_of(session)
    if isinstance(target, DeployedStack):
        life = _of_a_stack(target, objects, report_id)
        advice = advice_on(life, stack=target.name)
    else:
        life = _of_the_last_run(target, objects, report_id)
        advice = advice_on(life, stack=None).without_commands
    if session.as_json:
        session.screen.document({"source": target.source, **life.to_dict(advice)})
    else:
        place = "" if isinstance(target, DeployedStack) else f"{target.out}/"
        show_life(life, advice, target.source, session.screen, place=place)


def _of_a_stack(stack: DeployedStack, objects: Objects, report_id: str) -> Life:
    try:
        report = _known(stack.ledger.report(report_id), report_id, stack.label)
    except UnreadableItem as error:
        raise Attention(str(error)) from error
    executions = Executions(stack.client("stepfunctions"), stack.outputs["StateMachineArn"])
    run = None
    if report.run:
        found = executions.describe(report)
        state = found.status.value
        if found.status is ExecutionStatus.MISSING:
            state = "Step Functions does not have it; it keeps runs for 90 days"
        elif found.error:
            state += f": {found.error}: {found.reason}"
        run = Run(report.run, executions.arn(report), state)
    now = datetime.now(UTC)
    life = life_of(report, stack.ledger, objects, run=run, now=now)
    return life if stack.price is None else replace(life, cost=stack.price.of(life.billed_records))


def _of_the_last_run(target: LastRunTarget, objects: Objects, report_id: str) -> Life:
    saved = target.ledger
    report = _known(saved.report(report_id), report_id, target.label)
    run = Run(report.run, report.execution_name) if report.run else None
    return life_of(report, saved, objects, run=run, now=saved.as_of)


def _known(report: Report | None, report_id: str, label: str) -> Report:
    if report is None:
        raise BadInput(
            f"{label} has no report {report_id!r}; status DEFINITION, the notifications and "
            "the manifests name reports"
        )
    return report
