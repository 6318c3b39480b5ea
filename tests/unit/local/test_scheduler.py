from collections.abc import Mapping
from typing import Any, cast

import pytest

from local.stack.deployment import InvocationFailed, Stack
from local.stack.scheduler import Scheduler

ANSWER = {"planned": ["a"]}
BROKEN = InvocationFailed({"errorType": "Runtime.ExitError", "errorMessage": "exit"})
INVALID = InvocationFailed({"errorType": "InvalidRequest", "errorMessage": "the event's x: no"})


class FakeStack:
    """Answers with the given outcomes in turn, and repeats the last one."""

    def __init__(self, *outcomes: Mapping[str, Any] | InvocationFailed) -> None:
        self.outcomes = list(outcomes)
        self.sent: list[Mapping[str, Any]] = []

    def schedule_event(self, _logical_id: str) -> dict[str, Any]:
        return {"sweep": True}

    def submit(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        self.sent.append(event)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, InvocationFailed):
            raise outcome
        return outcome


def scheduler(stack: FakeStack, event: Mapping[str, Any], said: list[str]) -> Scheduler:
    return Scheduler(cast("Stack", stack), event, sweep_seconds=0, say=said.append)


def tick_until_answered(each: Scheduler) -> None:
    while each.answer is None:
        each.finish(5)
        each.tick()
    each.stop()


def test_failed_event_is_retried_and_the_retry_is_printed() -> None:
    said: list[str] = []
    stack = FakeStack(BROKEN, BROKEN, ANSWER)
    each = scheduler(stack, {"scheduled_time": "t"}, said)
    tick_until_answered(each)
    assert each.answer == ANSWER
    assert stack.sent[:3] == [{"scheduled_time": "t"}] * 3
    assert len([line for line in said if "Runtime.ExitError" in line]) == 2


def test_invalid_event_is_not_retried() -> None:
    stack = FakeStack(INVALID)
    with pytest.raises(InvocationFailed, match=r"^the event's x: no$"):
        tick_until_answered(scheduler(stack, {"x": 1}, []))
    assert stack.sent == [{"x": 1}]


def test_retried_recollection_keeps_its_token() -> None:
    stack = FakeStack(BROKEN, ANSWER)
    tick_until_answered(scheduler(stack, {"recollect": {"report_id": "r"}}, []))
    first, second = (sent["recollect"] for sent in stack.sent[:2])
    assert first["report_id"] == "r"
    assert first["token"] == second["token"] != ""


def test_malformed_recollection_is_sent_unchanged() -> None:
    stack = FakeStack(INVALID)
    with pytest.raises(InvocationFailed):
        tick_until_answered(scheduler(stack, {"recollect": "x"}, []))
    assert stack.sent == [{"recollect": "x"}]


def tick_for_ever(each: Scheduler) -> None:
    while True:
        each.finish(5)
        each.tick()


def test_third_failed_sweep_in_a_row_ends_the_run() -> None:
    stack = FakeStack(ANSWER, BROKEN)
    each = scheduler(stack, {"scheduled_time": "t"}, [])
    with pytest.raises(InvocationFailed, match=r"Runtime\.ExitError"):
        tick_for_ever(each)
    each.stop()
    assert stack.sent == [{"scheduled_time": "t"}, *[{"sweep": True}] * 3]
