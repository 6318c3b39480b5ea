"""The way of every verb that changes something: preview, question, events, result."""

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from botocore.exceptions import ClientError

from vonage_reports.aws.ledger_items import UnreadableItem
from vonage_reports.domain.commands import PROGRAM, verb_of
from vonage_reports.domain.printable import printable
from vonage_reports.domain.report import Report
from vonage_reports.domain.windows import format_instant
from vonage_reports_cli.access import explained
from vonage_reports_cli.errors import Attention, BadInput, CommandError, Exit, NoAccess
from vonage_reports_cli.estimate import cost_of, count, words
from vonage_reports_cli.screen import Screen
from vonage_reports_cli.session import Session
from vonage_reports_cli.stack import DeployedStack

FREE = "This is free: Vonage is asked for nothing."

_MOST_SHOWN = 50
"""How many actions a preview shows. --json has all."""


@dataclass(frozen=True)
class Action:
    """One event for submit_reports, and the lines of its preview: its subject and its cost.

    `records` is how many records Vonage is expected to bill for it: 0 if it is free, None if
    unknown. `done` replaces the line after a success. If it is empty, there is no line. `reports`
    are the report_ids of an event that names no report but a range of them.
    """

    event: Mapping[str, Any]
    preview: Sequence[str]
    records: int | None = None
    done: str | None = None
    reports: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """The key of the event, such as `recollect`, also of an event that was undelivered."""
        return next(iter(self._payload), "")

    @property
    def value(self) -> object:
        """The value of the event's key."""
        return self._payload.get(self.key)

    @property
    def report_id(self) -> str | None:
        """The report that the event names, if any."""
        return self.value.get("report_id") if isinstance(self.value, Mapping) else None

    @property
    def subject(self) -> str:
        """The subject of the event, such as a report_id."""
        value = self.value if isinstance(self.value, Mapping) else {}
        if self.reports:
            return f"{value['definition']}, {value['account_id']}"
        return self.report_id or value.get("backfill") or self.key

    @property
    def _payload(self) -> Mapping[str, Any]:
        payload = self.event.get("requestPayload", self.event)
        return payload if isinstance(payload, Mapping) else {}


@dataclass(frozen=True)
class Refused:
    """A subject of the command, such as a report_id, for which no event is sent, and the reason.

    The code is DONE if there is nothing to do.
    """

    subject: str
    reason: str
    code: Exit = Exit.BAD_INPUT


Step = Action | Refused
Send = Callable[[Action], Mapping[str, Any]]


@dataclass
class _Outcome:
    """The answers so far, and the worst exit code."""

    code: Exit
    answers: list[dict[str, Any]] = field(default_factory=list)
    sent: int = 0
    knows_pause: bool = False
    paused_until: datetime | None = None


def carry_out(
    session: Session,
    steps: Sequence[Step],
    *,
    question: str,
    effect: str | None = None,
    send: Send | None = None,
    following: str | None = None,
) -> Exit:
    """Show the effect and the actions, ask, and send the events in order.

    A refused step and a refused event do not stop the others. Their sentences are on standard
    error, and the exit code is the worst of all. With --json, print one document.

    Args:
        session: The command.
        steps: The actions and the refusals of the command, in order.
        question: The question, with its answers `[y/N]`.
        effect: One sentence on the effect of all actions.
        send: Sends the event of an action, by default to submit_reports. Returns the answer.
        following: The arguments of the next command, by default `show` or `status`.
    """
    screen, stack = session.screen, session.deployed
    actions = [each for each in steps if isinstance(each, Action)]
    refused = [each for each in steps if isinstance(each, Refused)]
    screen.say(printable(stack.source))
    _preview(screen, actions, effect)
    if len(actions) > 1 and total(actions) != 0:
        screen.say(f"In all, this is going to bill {cost(stack, total(actions))}.")
    outcome = _Outcome(_refuse(screen, refused))
    if actions and not session.dry_run:
        screen.confirm(question, yes=session.yes)
        _send_all(session, actions, send or (lambda each: stack.send(each.event)), outcome)
    command = shlex.join([PROGRAM, "--stack", stack.name, *(following or _next(actions)).split()])
    if outcome.sent:
        screen.note(printable(f"Next: {command}"))
    if screen.as_json:
        screen.document(
            {
                "source": stack.source,
                "dry_run": session.dry_run,
                **cost_of(total(actions), stack.price),
                "actions": [
                    {
                        "event": each.event,
                        "preview": list(each.preview),
                        **cost_of(each.records, stack.price),
                    }
                    for each in actions
                ],
                "refused": [
                    {"subject": each.subject, "reason": each.reason, "exit_code": each.code}
                    for each in refused
                ],
                "answers": outcome.answers,
                "next": command if outcome.sent else None,
            }
        )
    return outcome.code


def _preview(screen: Screen, actions: Sequence[Action], effect: str | None) -> None:
    if effect is not None and actions:
        screen.say(printable(effect))
    for action in actions[:_MOST_SHOWN]:
        screen.say(*(f"  {printable(line)}" for line in action.preview))
    if len(actions) > _MOST_SHOWN:
        screen.say(f"  and {len(actions) - _MOST_SHOWN:,} more; --json has all")


def _refuse(screen: Screen, refused: Iterable[Refused]) -> Exit:
    """Print why nothing is done for some subjects, and return the worst exit code."""
    code = Exit.DONE
    for each in refused:
        if each.code is Exit.DONE:
            screen.say(printable(f"  {each.reason}"))
        else:
            screen.complain(each.reason)
        code = max(code, each.code)
    return code


def _send_all(session: Session, actions: Sequence[Action], send: Send, outcome: _Outcome) -> None:
    try:
        _send_each(session, actions, send, outcome)
    except KeyboardInterrupt:
        _explain_interruption(session.screen, actions, done=len(outcome.answers))
        raise


def _send_each(session: Session, actions: Sequence[Action], send: Send, outcome: _Outcome) -> None:
    screen = session.screen
    for number, action in enumerate(actions):
        try:
            answer = send(action)
        except Exception as error:
            known = error if isinstance(error, CommandError) else explained(error)
            if known is None:
                raise
            screen.complain(str(known))
            outcome.answers.append({"event": action.event, "error": str(known)})
            outcome.code = max(outcome.code, known.code)
            if isinstance(known, NoAccess):
                # The others would fail in the same way.
                _explain_stop(screen, error, action, left=len(actions) - number - 1)
                return
            continue
        outcome.answers.append({"event": action.event, "answer": answer})
        outcome.sent += 1
        _tell(session, action, answer, outcome)


def _explain_interruption(screen: Screen, actions: Sequence[Action], *, done: int) -> None:
    """Say which events were sent when the operator interrupted the command."""
    names = [each.subject for each in actions]
    parts = [("Sent", names[:done]), ("Perhaps carried out", names[done : done + 1])]
    parts += [("Not sent", names[done + 1 :])]
    said = "".join(f" {what}: {', '.join(some)}." for what, some in parts if some)
    if any(each.key == "recollect" for each in actions[: done + 1]):
        said += (
            " The same command buys nothing twice. With --again, the same command buys the sent "
            "ones once more."
        )
    screen.complain(f"interrupted.{said}")


def _explain_stop(screen: Screen, error: Exception, action: Action, *, left: int) -> None:
    if not _is_refusal(error):
        again = ", except with --again" if action.key == "recollect" else ""
        screen.complain(
            "the event may have been carried out all the same; the same command again buys "
            f"nothing twice{again}"
        )
    if left:
        screen.complain(f"{left:,} more events were not sent")


def _is_refusal(error: Exception) -> bool:
    """Whether AWS refused the event. After an error of its own, AWS may have taken the event."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return 0 < status < HTTPStatus.INTERNAL_SERVER_ERROR
    return isinstance(error, CommandError)


def _tell(session: Session, action: Action, answer: Mapping[str, Any], outcome: _Outcome) -> None:
    """Print the answer of submit_reports to one event."""
    screen = session.screen
    own = own_faults(action, answer)
    for fault in own:
        screen.complain(_in_words(action, fault))
        outcome.code = max(outcome.code, code_of_fault(action))
    if not own or action.reports:
        screen.say(*map(printable, _result(session.deployed, action, answer, outcome)))
    for fault in answer.get("faults", ()):
        if fault not in own:
            screen.note(printable(f"beside this, of another report: {fault}"))


def own_faults(action: Action, answer: Mapping[str, Any]) -> list[str]:
    """Return the reasons why submit_reports did nothing for an event.

    An answer has the errors of other reports too, because each event settles and submits.
    """
    faults: list[str] = answer.get("faults", [])
    return [each for each in faults if each.startswith(f"{verb_of(action.key)}: ")]


def code_of_fault(action: Action) -> Exit:
    """Return the exit code of an event that did nothing.

    A report that cannot be withdrawn now is no wrong input: it is delivered, or ends later.
    """
    return Exit.ATTENTION if verb_of(action.key) == "withdraw" else Exit.BAD_INPUT


_SAID: Mapping[str, str] = {
    "reconvert": "converts its stored archives again",
    "resolve": "answered",
    "withdraw": "ended as CANCELLED",
    "cancel": "cancelled",
}
"""The sentence after the success of each event."""


_OPERATORS_TOKEN = re.compile(r"token operator-\d+ was followed before")


def _in_words(action: Action, fault: str) -> str:
    """Return a refusal of submit_reports, without the token that operators never see."""
    if action.key == "recollect" and _OPERATORS_TOKEN.search(fault):
        return f"{action.report_id}: another operator has just collected it again"
    return fault


def _result(
    stack: DeployedStack, action: Action, answer: Mapping[str, Any], outcome: _Outcome
) -> list[str]:
    """Describe the answer of submit_reports in lines."""
    name = action.report_id
    if action.done is not None:
        return [action.done] if action.done else []
    if name is not None and name in answer.get("submitted", ()):
        return [f"{name}: requested from Vonage"]
    if name is not None and name in answer.get("planned", ()):
        return [f"{name}: planned, {_why_it_waits(stack, name, outcome)}"]
    said = _SAID.get(action.key)
    if action.reports:
        said = f"{count(len(_ended(action, answer)), 'report')} {_SAID['withdraw']}"
    if said is not None:
        return [f"{action.subject}: {said}"]
    lines = [
        f"{what}: {', '.join(answer[field_])}"
        for field_, what in (
            ("planned", "planned"),
            ("submitted", "requested from Vonage"),
            ("settled", "settled"),
            ("held", "held"),
        )
        if answer.get(field_)
    ]
    lines += [
        f"refused: {each['definition']}, {each['field']}: {each['reason']}"
        for each in answer.get("refused", [])
    ]
    waiting = answer.get("waiting", 0)
    if not lines and waiting:
        wait = "waits" if waiting == 1 else "wait"
        return [f"nothing was settled or requested; {count(waiting, 'report')} {wait}"]
    return lines or ["done"]


def _ended(action: Action, answer: Mapping[str, Any]) -> list[str]:
    """Return the reports of an action that it ended, without those that Vonage delivers."""
    faults = " ".join(own_faults(action, answer))
    return [
        each for each in answer.get("settled", ()) if each in action.reports and each not in faults
    ]


def _why_it_waits(stack: DeployedStack, name: str, outcome: _Outcome) -> str:
    """Say why a planned report was not requested at once."""
    now = datetime.now(UTC)
    report = stack.ledger.report(name)
    if report is not None and report.not_before is not None and report.not_before > now:
        return f"waits at least until {format_instant(report.not_before)}: {report.reason}"
    if not outcome.knows_pause:
        outcome.knows_pause = True
        outcome.paused_until = stack.ledger.open_work().paused_until
    if outcome.paused_until is not None and outcome.paused_until > now:
        return (
            f"waits until {format_instant(outcome.paused_until)}: Vonage asked to pause all "
            "requests"
        )
    return "waits for a free slot"


def _next(actions: Sequence[Action]) -> str:
    names = {each.report_id for each in actions}
    (name,) = names if len(names) == 1 else (None,)
    return "status" if name is None else f"show {name}"


def known_report(stack: DeployedStack, name: str) -> Report:
    """Return a report of the ledger. Raises BadInput for an unknown one.

    Raises Attention if this code cannot read the report's item.
    """
    try:
        report = stack.ledger.report(name)
    except UnreadableItem as error:
        raise Attention(str(error)) from error
    if report is None:
        raise BadInput(
            f"{name}: the stack {stack.name} has no such report; `status` and the notifications "
            "name reports"
        )
    return report


def cost(stack: DeployedStack, records: int | None) -> str:
    """Describe records that Vonage bills, with their cost if the stack knows a price."""
    return words(records, stack.price)


def total(actions: Iterable[Step]) -> int | None:
    """Return how many records Vonage is expected to bill for all actions, None if unknown."""
    records = [each.records for each in actions if isinstance(each, Action)]
    known = [each for each in records if each is not None]
    return sum(known) if len(known) == len(records) else None
