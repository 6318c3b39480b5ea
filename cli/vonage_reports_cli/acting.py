"""The way of every verb that changes something: preview, question, events, result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vonage_reports.domain.printable import printable
from vonage_reports_cli.errors import BadInput, CommandError, Exit
from vonage_reports_cli.session import Session


@dataclass(frozen=True)
class Action:
    """One event for submit_reports, and the lines of its preview: its effect and its cost."""

    event: Mapping[str, Any]
    preview: Sequence[str]


def carry_out(session: Session, actions: Sequence[Action], *, question: str) -> Exit:
    """Show the actions, ask, and send their events in order.

    An event that submit_reports refuses does not stop the others. Its sentence is printed, and the
    exit code is BAD_INPUT. With --json, print one document with the actions and the answers.
    """
    screen, stack = session.screen, session.deployed
    screen.say(stack.source)
    for action in actions:
        screen.say(*(f"  {printable(line)}" for line in action.preview))
    answers: list[dict[str, Any]] = []
    code = Exit.DONE
    if not session.dry_run:
        screen.confirm(question, yes=session.yes)
        for action in actions:
            try:
                answer = stack.send(action.event)
            except CommandError as error:
                screen.complain(str(error))
                answers.append({"event": action.event, "error": str(error)})
                code = max(code, error.code)
                continue
            faults = answer.get("faults", [])
            for fault in faults:
                screen.complain(fault)
            code = max(code, Exit.BAD_INPUT if faults else Exit.DONE)
            answers.append({"event": action.event, "answer": answer})
            screen.say(*map(printable, _result(answer)))
    if screen.as_json:
        screen.document(
            {
                "source": stack.source,
                "dry_run": session.dry_run,
                "actions": [
                    {"event": each.event, "preview": list(each.preview)} for each in actions
                ],
                "answers": answers,
            }
        )
    return code


def _result(answer: Mapping[str, Any]) -> list[str]:
    """Describe the answer of submit_reports in lines."""
    lines = [
        f"{verb}: {', '.join(answer[name])}"
        for name, verb in (
            ("planned", "planned"),
            ("submitted", "requested from Vonage"),
            ("settled", "settled"),
            ("held", "held"),
        )
        if answer.get(name)
    ]
    lines += [
        f"refused: {each['definition']}, {each['field']}: {each['reason']}"
        for each in answer.get("refused", [])
    ]
    return lines or ["done"]


def known_report(session: Session, report_id: str) -> Any:  # noqa: ANN401 - a Report; its import is slow
    """Return a report of the ledger. Raises BadInput for an unknown one."""
    report = session.deployed.ledger.report(report_id)
    if report is None:
        raise BadInput(
            f"{report_id}: the stack {session.deployed.name} has no such report; `status` and the "
            "notifications name reports"
        )
    return report
