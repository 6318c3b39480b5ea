"""`retry`: mend everything that failed, each report by its own way."""

from dataclasses import replace
from datetime import UTC, datetime

from vonage_reports_cli.acting import Action, Refused, Step, carry_out, cost, total
from vonage_reports_cli.errors import Exit
from vonage_reports_cli.estimate import count
from vonage_reports_cli.previews import step_for
from vonage_reports_cli.session import Session, verb
from vonage_reports_cli.status.problems import Problem
from vonage_reports_cli.status.sources import content_of
from vonage_reports_cli.status.summary import status_of


@verb(
    acts=True,
    help="Retry everything that failed, each report in its own way: convert stored archives again, "
    "which is free, or collect a window again, which Vonage bills.",
)
def retry(session: Session) -> Exit:
    """List the failed reports, ask, and send the event of each."""
    stack = session.deployed
    content = content_of(stack.ledger, stack.definitions.read(), as_of=datetime.now(UTC))
    failed = [each for each in status_of(content).problems if each.kind == "failed"]
    steps = [_step(session, each) for each in failed]
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


def _step(session: Session, problem: Problem) -> Step:
    """Return the event of a problem. A report that would fail again needs a person."""
    if problem.event is None:
        name = problem.report_id or problem.definition
        reason = f"{name} would fail again, so look into it first: {problem.reason}"
        return Refused(name, reason, Exit.ATTENTION)
    step = step_for(session.deployed, problem.event)
    if isinstance(step, Refused):
        return step
    name, window, *more = step.preview
    return replace(step, preview=[name, window, f"  failed: {problem.reason}", *more])
