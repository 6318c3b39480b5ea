"""`events`: the events that submit_reports failed to handle, in the stack's dead-letter queue."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import click

from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.printable import printable
from vonage_reports.submit_reports.requests import parse_event
from vonage_reports_cli.acting import Action, Refused, Step, carry_out, cost, own_faults, total
from vonage_reports_cli.errors import Attention, Exit
from vonage_reports_cli.estimate import count
from vonage_reports_cli.previews import step_for
from vonage_reports_cli.session import Session, verb
from vonage_reports_cli.stack import DeployedStack

_HIDDEN_SECONDS = 900
"""How long a command keeps the events from other readers. It gives back what it does not delete."""

_AT_ONCE = 10
"""Amazon SQS's limit of messages in one request."""

events = click.Group(
    "events",
    help="The events that submit_reports failed to handle: the stack's dead-letter queue.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@dataclass(frozen=True)
class Undelivered:
    """A message of the queue: the event, when it failed, and why.

    `payload` is None if the message is no event. `request_id` is the invocation that failed, which
    may have carried out a recollection.
    """

    receipt: str
    at: datetime
    body: str
    payload: Mapping[str, Any] | None
    error: str
    request_id: str | None

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> "Undelivered":
        """Read a message of Lambda, or one of EventBridge, which has the error in attributes."""
        attributes = {
            name: value.get("StringValue", "")
            for name, value in message.get("MessageAttributes", {}).items()
        }
        sent = message.get("Attributes", {}).get("SentTimestamp", "0")
        at = datetime.fromtimestamp(int(sent) / 1000, UTC)
        body = message["Body"]
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        record = document if isinstance(document, dict) else {}
        payload = record.get("requestPayload", record)
        context = record.get("requestContext") or {}
        return cls(
            receipt=message["ReceiptHandle"],
            at=_instant(record.get("timestamp")) or at,
            body=body,
            payload=payload if isinstance(payload, dict) and payload else None,
            error=_error(record, attributes),
            request_id=context.get("requestId") if isinstance(context, dict) else None,
        )

    @property
    def is_wake_up(self) -> bool:
        """Whether the event is a sweep, or the end of a run. One sweep makes up for all."""
        payload = self.payload or {}
        return payload.get("source") == "aws.states" or payload == {"sweep": True}

    @property
    def event(self) -> str:
        """The event as JSON on one line; the message itself if it is no event."""
        if self.payload is None:
            return self.body
        is_end = self.payload.get("source") == "aws.states"
        return "the end of a run" if is_end else json.dumps(self.payload)

    def to_send(self) -> Mapping[str, Any]:
        """Return the event to send again. A recollection keeps the id of its invocation."""
        if self.request_id is None:
            return self.payload or {}
        context = {"requestId": self.request_id}
        return {"requestContext": context, "requestPayload": self.payload}


def _instant(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if isinstance(text, str) else None
    except ValueError:
        return None


def _error(record: Mapping[str, Any], attributes: Mapping[str, str]) -> str:
    answer = record.get("responsePayload")
    if isinstance(answer, dict) and answer.get("errorMessage"):
        return f"{answer.get('errorType', 'Error')}: {answer['errorMessage']}"
    context = record.get("requestContext")
    if isinstance(context, dict) and context.get("condition"):
        return str(context["condition"])
    said = [attributes[name] for name in ("ERROR_CODE", "ERROR_MESSAGE") if name in attributes]
    return ": ".join(said) or "no reason given"


@dataclass
class _Queue:
    """The messages that one command has received, and not deleted yet."""

    client: Any
    url: str
    received: list[Undelivered]

    def delete(self, messages: Sequence[Undelivered]) -> None:
        """Delete messages from the queue."""
        for some in _batches(messages):
            entries = [
                {"Id": str(number), "ReceiptHandle": each.receipt}
                for number, each in enumerate(some)
            ]
            answer = self.client.delete_message_batch(QueueUrl=self.url, Entries=entries)
            kept = {int(each["Id"]) for each in answer.get("Failed", ())}
            deleted = [each for number, each in enumerate(some) if number not in kept]
            self.received = [each for each in self.received if each not in deleted]
            if kept:
                raise Attention(
                    f"SQS did not delete {count(len(kept), 'event')}; run the command again"
                )

    def give_back(self) -> None:
        """Let other readers see the messages again."""
        for some in _batches(self.received):
            entries = [
                {"Id": str(number), "ReceiptHandle": each.receipt, "VisibilityTimeout": 0}
                for number, each in enumerate(some)
            ]
            self.client.change_message_visibility_batch(QueueUrl=self.url, Entries=entries)


def _batches(messages: Sequence[Undelivered]) -> Iterator[Sequence[Undelivered]]:
    return (messages[at : at + _AT_ONCE] for at in range(0, len(messages), _AT_ONCE))


@contextmanager
def _received(stack: DeployedStack) -> Iterator[_Queue]:
    """Receive all messages, the oldest first. At the end, give back those that are left."""
    queue = _Queue(stack.client("sqs"), stack.outputs["UndeliveredEventsQueueUrl"], [])
    try:
        while messages := queue.client.receive_message(
            QueueUrl=queue.url,
            MaxNumberOfMessages=_AT_ONCE,
            VisibilityTimeout=_HIDDEN_SECONDS,
            # A request that waits asks all of the queue's servers.
            WaitTimeSeconds=1,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["SentTimestamp"],
        ).get("Messages"):
            queue.received += map(Undelivered.of, messages)
        queue.received.sort(key=lambda each: each.at)
        yield queue
    finally:
        queue.give_back()


@verb(name="list", help="Show each event with its time and its error.")
def list_(session: Session) -> None:
    """Print the events, and leave them in the queue."""
    screen, stack = session.screen, session.deployed
    with _received(stack) as queue:
        found = list(queue.received)
    screen.say(printable(stack.source))
    if not found:
        screen.say("No event is undelivered.")
    for (event, error), group in groupby(found, key=lambda each: (each.event, each.error)):
        times = list(group)
        many = f" ({len(times):,} times since)" if len(times) > 1 else ""
        screen.say(
            f"{_time(times[0])}{many}  {printable(event)}",
            f"  {printable(error)}",
        )
    if session.as_json:
        screen.document(
            {
                "source": stack.source,
                "events": [
                    {
                        "at": f"{each.at:%Y-%m-%dT%H:%M:%SZ}",
                        "event": each.payload,
                        "error": each.error,
                    }
                    for each in found
                ],
            }
        )


@verb(
    name="replay",
    acts=True,
    help="Send each event again, and delete those that succeed. A recollection that was carried "
    "out already buys nothing. One sweep stands for all sweeps and ends of runs.",
)
def replay(session: Session) -> Exit:
    """Preview the events and their cost, ask, and send them."""
    stack = session.deployed
    with _received(stack) as queue:
        groups = list(_groups(queue.received))
        found = [_step(stack, group) for group in groups]
        served = iter(
            (step, group) for step, group in zip(found, groups, strict=True) if not _stays(step)
        )

        def send(action: Action) -> Mapping[str, Any]:
            # First, so that the next action gets the next messages even if this one fails.
            step, messages = next(served)
            answer = {} if isinstance(step, Refused) else _answer_to(stack, action)
            if not own_faults(action, answer):
                queue.delete(messages)
            return answer

        steps = [_to_carry_out(*each) for each in zip(found, groups, strict=True)]
        number = sum(isinstance(each, Action) for each in steps)
        price = cost(stack, total(steps))
        return carry_out(
            session,
            steps or [_NOTHING],
            effect="Sends these events again, and deletes each one that succeeds:",
            question=f"Vonage is going to bill {price}. Send {count(number, 'event')}? [y/N]",
            send=send,
            following="events list" if number < len(steps) else "status",
        )


_NOTHING = Refused("events", "no event is undelivered", Exit.DONE)

_IS_DONE = "was followed before"
"""The words of submit_reports about a recollection that was carried out already."""


def _answer_to(stack: DeployedStack, action: Action) -> Mapping[str, Any]:
    """Send an event. A recollection that was carried out already is no fault."""
    answer = stack.send(action.event)
    return {**answer, "faults": [each for each in answer.get("faults", ()) if _IS_DONE not in each]}


def _groups(messages: Sequence[Undelivered]) -> Iterator[Sequence[Undelivered]]:
    """Yield each event's message alone, and last all wake-ups together."""
    yield from ([each] for each in messages if not each.is_wake_up)
    wake_ups = [each for each in messages if each.is_wake_up]
    if wake_ups:
        yield wake_ups


def _to_carry_out(step: Step, messages: Sequence[Undelivered]) -> Step:
    """Return an action for messages that are only deleted, because nothing is left to do."""
    if isinstance(step, Action) or _stays(step):
        return step
    preview = [_heading(messages), f"  {step.reason}"]
    done = f"{_time(messages[0])}: was carried out already"
    return Action(_to_send(messages), preview, records=0, done=done)


def _stays(step: Step) -> bool:
    """Whether the messages of a step stay in the queue, because the event would be refused."""
    return isinstance(step, Refused) and step.code is not Exit.DONE


def _heading(messages: Sequence[Undelivered]) -> str:
    first = messages[0]
    more = f" and {len(messages) - 1:,} more" if len(messages) > 1 else ""
    return f"{_time(first)}{more}: {first.error}"


def _time(message: Undelivered) -> str:
    return f"{message.at:%Y-%m-%d %H:%M:%S} UTC"


def _to_send(messages: Sequence[Undelivered]) -> Mapping[str, Any]:
    return {"sweep": True} if messages[0].is_wake_up else messages[0].to_send()


def _step(stack: DeployedStack, messages: Sequence[Undelivered]) -> Step:
    first = messages[0]
    stays = f"the event of {_time(first)} stays in the queue"
    try:
        parse_event(first.payload)
    except InvalidRequest as error:
        return Refused(first.event[:200], f"{stays}, because submit_reports refuses it: {error}")
    event = {"sweep": True} if first.is_wake_up else dict(first.payload or {})
    value = event.get("recollect")
    if isinstance(value, Mapping) and "token" not in value and first.request_id is not None:
        event = {"recollect": {**value, "token": first.request_id}}
    step = step_for(stack, event)
    if isinstance(step, Refused):
        is_done = step.code is Exit.DONE
        return step if is_done else replace(step, reason=f"{stays}: {step.reason}")
    return replace(
        step, event=_to_send(messages), preview=[_heading(messages), *_indented(step.preview)]
    )


def _indented(lines: Sequence[str]) -> Iterator[str]:
    return (f"  {each}" for each in lines)


@verb(name="purge", acts=True, help="Delete the events without sending them.")
def purge(session: Session) -> Exit:
    """Show the events, ask, and delete exactly these."""
    with _received(session.deployed) as queue:
        found = list(queue.received)
        remaining = iter(found)

        def delete(_action: Action) -> Mapping[str, Any]:
            queue.delete([next(remaining)])
            return {}

        steps = [
            Action(
                each.payload or {},
                [_heading([each]), f"  {each.event}"],
                records=0,
                # One line for all of them.
                done=f"{count(len(found), 'event')} deleted" if each is found[-1] else "",
            )
            for each in found
        ]
        return carry_out(
            session,
            steps or [_NOTHING],
            effect="Deletes these events without sending them. This is free:",
            question=f"Delete {count(len(found), 'event')}? [y/N]",
            send=delete,
            following="status",
        )


events.add_command(list_)
events.add_command(replay)
events.add_command(purge)
