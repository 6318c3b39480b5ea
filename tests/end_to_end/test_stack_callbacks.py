"""Vonage's call at the end of a report, on one stack with `Callback` on for all tests."""

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from local.simulator.callbacks import Callback, send
from local.stack.package import CALLBACK_SECONDS
from tests.end_to_end.conftest import TEN_TIMES_FASTER, LocalStack
from tests.end_to_end.permissions import idle
from tests.support.waiting import wait_until
from vonage_reports.domain.callbacks import digest_of
from vonage_reports.domain.report import Report, State

GOAL = timedelta(seconds=3)
"""From ready at Vonage to seen, beyond the callback's own delay."""
POLL = timedelta(seconds=CALLBACK_SECONDS + 3)
"""From ready to seen without a callback: a whole wait of the emulator, and the poll."""


@pytest.fixture(scope="module")
def requests_per_second() -> int:
    return TEN_TIMES_FASTER


@pytest.fixture(scope="module")
def parameters() -> dict[str, str]:
    return {"Callback": "function-url"}


@pytest.fixture(scope="module")
def calling_stack(local_stack: LocalStack) -> LocalStack:
    """The stack of the module, whose URL gets the simulator's calls."""
    local_stack.simulator.settings(
        callbacks_to=address(local_stack), callbacks_trust=str(local_stack.emulator.ca_bundle)
    )
    # The first invocation of a function in a fresh process takes a second.
    call(local_stack, secrets.token_hex(16))
    return local_stack


def address(stack: LocalStack) -> str:
    return urlsplit(stack.emulator.url).netloc


def url(stack: LocalStack) -> str:
    """Return the URL of the function."""
    answer = stack.emulator.client("lambda").get_function_url_config(
        FunctionName=stack.stack.physical_id("ReceiveCallbackFunction")
    )
    return str(answer["FunctionUrl"])


def call(stack: LocalStack, path: str, body: bytes = b"{}") -> int | None:
    """Call a path of the URL without credentials. Return the status."""
    made = Callback("", url(stack) + path, body)
    return send(made, address(stack), str(stack.emulator.ca_bundle))


_NAMES = iter(f"calls-{number}" for number in range(100))


def submit(stack: LocalStack, *, lasts: float, **fault: object) -> Report:
    """Let Vonage take a report that lasts so long, and whose callback has this fault."""
    name = next(_NAMES)
    stack.simulator.clear_faults()
    stack.simulator.fault("create", "outcome", request_status="SUCCESS", seconds=lasts)
    if fault:
        stack.simulator.fault("create", "callback", **fault)
    definition = {
        "name": name,
        "product": "SMS",
        "filters": {"direction": "outbound"},
        "delay_days": [0],
    }
    stack.stack.set_definitions(json.dumps([definition]))
    stack.scheduled()
    (report,) = [each for each in stack.ledger.open_reports() if each.definition == name]
    assert report.state is State.SUBMITTED
    return report


def path_of(stack: LocalStack, report: Report) -> str:
    (sent,) = [
        each["request"]["callback_url"]
        for each in stack.simulator.state()["reports"]
        if each["request_id"] == report.request_id
    ]
    return str(sent).removeprefix(url(stack))


def delivered(stack: LocalStack, report: Report) -> Report:
    finished = stack.until_finished([report.report_id])[report.report_id]
    assert finished.state is State.DELIVERED
    assert (finished.attempt, finished.run) == (1, 1)
    return finished


def ended(stack: LocalStack, report: Report) -> datetime:
    """Return when Vonage had the report ready."""
    (at_vonage,) = [
        each
        for each in stack.simulator.state()["reports"]
        if each["request_id"] == report.request_id
    ]
    return datetime.fromisoformat(at_vonage["end_time"])


def called(stack: LocalStack, report: Report) -> list[datetime]:
    calls = stack.simulator.state()["callbacks"]
    of_report = [each for each in calls if each["request_id"] == report.request_id]
    assert {each["status"] for each in of_report} <= {204}
    return [datetime.fromisoformat(each["at"]) for each in of_report]


def events(stack: LocalStack, report: Report) -> list[Mapping[str, Any]]:
    return stack.histories()[report.execution_name]


def entered(history: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, datetime]]:
    """Yield the name and the time of each state that a run entered."""
    for event in history:
        if event["type"].endswith("StateEntered"):
            yield event["stateEnteredEventDetails"]["name"], event["timestamp"]


def polls(stack: LocalStack, report: Report) -> list[datetime]:
    """Return when each poll of the run was answered."""
    return [
        event["timestamp"]
        for event in events(stack, report)
        if event["type"] == "TaskSucceeded"
        and "wait_seconds" in event["taskSucceededEventDetails"]["output"]
        and "download" in event["taskSucceededEventDetails"]["output"]
    ]


def waits(stack: LocalStack, report: Report) -> list[str]:
    return [name for name, _ in entered(events(stack, report)) if name.startswith("Wait For")]


def until_waiting(stack: LocalStack, report: Report) -> None:
    """Wait until the run has put its task token."""
    wait_until(lambda: item(stack, report))


def item(stack: LocalStack, report: Report) -> dict[str, Any] | None:
    found: dict[str, Any] = stack.emulator.client("dynamodb").get_item(
        TableName=stack.stack.physical_id("CallbackTable"),
        Key={"callback": {"S": report.callback}},
        ConsistentRead=True,
    )
    return found.get("Item")


def test_ready_report_is_seen_within_three_seconds(calling_stack: LocalStack) -> None:
    # The functions of the first run start cold.
    delivered(calling_stack, submit(calling_stack, lasts=1))
    late = []
    for _ in range(3):
        report = submit(calling_stack, lasts=1.5)
        delivered(calling_stack, report)
        (seen,) = polls(calling_stack, report)
        late.append(seen - ended(calling_stack, report))
        assert waits(calling_stack, report) == ["Wait For Callback"]
        assert item(calling_stack, report) is None
    print("ready to seen with a callback:", *(f"{each.total_seconds():.2f} s" for each in late))
    assert max(late) < GOAL


def test_delayed_call_is_seen_within_three_seconds(calling_stack: LocalStack) -> None:
    report = submit(calling_stack, lasts=0.5, calls=1, seconds=2)
    delivered(calling_stack, report)

    (at,) = called(calling_stack, report)
    *_, seen = polls(calling_stack, report)
    assert at - ended(calling_stack, report) >= timedelta(seconds=2)
    assert seen - at < GOAL


def test_report_without_a_call_is_polled_at_the_time_out(calling_stack: LocalStack) -> None:
    report = submit(calling_stack, lasts=CALLBACK_SECONDS + 1, calls=0)
    delivered(calling_stack, report)

    assert called(calling_stack, report) == []
    # Each time-out leads to a poll, and to the next wait for the call.
    assert waits(calling_stack, report) == ["Wait For Callback"] * 2
    *_, seen = polls(calling_stack, report)
    assert seen - ended(calling_stack, report) < POLL


def test_three_calls_cause_one_poll(calling_stack: LocalStack) -> None:
    report = submit(calling_stack, lasts=1, calls=3)
    delivered(calling_stack, report)

    wait_until(lambda: len(called(calling_stack, report)) >= 3, within=10)
    assert len(polls(calling_stack, report)) == 1


def test_call_before_the_run_waits_costs_one_wait(calling_stack: LocalStack) -> None:
    report = submit(calling_stack, lasts=1, early=True)
    delivered(calling_stack, report)

    assert len(called(calling_stack, report)) == 1
    *_, seen = polls(calling_stack, report)
    assert seen - ended(calling_stack, report) < POLL
    assert len(polls(calling_stack, report)) == 1


def test_call_before_the_end_causes_one_early_poll(calling_stack: LocalStack) -> None:
    report = submit(calling_stack, lasts=4, calls=0)
    until_waiting(calling_stack, report)
    path = path_of(calling_stack, report)
    assert [call(calling_stack, path) for _ in range(3)] == [204] * 3
    delivered(calling_stack, report)

    # The path is used up. The run polls as without a callback from then on.
    first, *others = waits(calling_stack, report)
    assert first == "Wait For Callback"
    assert others
    assert set(others) == {"Wait For Report"}


def test_call_after_the_end_of_the_run_does_nothing(calling_stack: LocalStack) -> None:
    report = submit(calling_stack, lasts=CALLBACK_SECONDS - 1, calls=0)
    delivered(calling_stack, report)
    stale = item(calling_stack, report)
    before = events(calling_stack, report)

    assert call(calling_stack, path_of(calling_stack, report)) == 204
    assert stale is not None
    assert events(calling_stack, report) == before
    assert item(calling_stack, report) == stale, "the item expires by itself"


FORGED = (secrets.token_hex(16), "", "favicon.ico", "../../etc/passwd", "%00", "a" * 4000)


def test_forged_paths_wake_no_run(calling_stack: LocalStack) -> None:
    report = submit(calling_stack, lasts=CALLBACK_SECONDS - 2, calls=0)
    until_waiting(calling_stack, report)
    token = item(calling_stack, report)

    assert [call(calling_stack, path) for path in FORGED] == [204] * len(FORGED)
    delivered(calling_stack, report)
    # The wait ended with its time-out, and its item expires.
    assert waits(calling_stack, report) == ["Wait For Callback"]
    assert item(calling_stack, report) == token


def test_huge_body_is_a_call_like_any_other(calling_stack: LocalStack) -> None:
    report = submit(calling_stack, lasts=2, calls=0)
    until_waiting(calling_stack, report)

    # AWS takes 6 MB, and refuses more before the function.
    assert call(calling_stack, path_of(calling_stack, report), b"{" * 5_000_000) == 204
    assert item(calling_stack, report) is None
    delivered(calling_stack, report)
    assert len(waits(calling_stack, report)) > 1


def test_resumed_run_expects_no_call(calling_stack: LocalStack) -> None:
    report = submit(calling_stack, lasts=1.5)
    path = path_of(calling_stack, report)
    calling_stack.emulator.client("stepfunctions").stop_execution(
        executionArn=calling_stack.stack.outputs["StateMachineArn"].replace(
            ":stateMachine:", ":execution:"
        )
        + f":{report.execution_name}"
    )
    resumed = calling_stack.until_finished([report.report_id])[report.report_id]

    # The new run expects no call, because the path may have been used.
    assert (resumed.state, resumed.run) == (State.DELIVERED, 2)
    history = calling_stack.histories()[resumed.execution_name]
    assert "Wait For Callback" not in dict(entered(history))
    assert call(calling_stack, path) == 204


def test_paths_stay_with_vonage(calling_stack: LocalStack) -> None:
    report = submit(calling_stack, lasts=1)
    delivered(calling_stack, report)
    paths = [
        str(each["request"]["callback_url"]).rpartition("/")[2]
        for each in calling_stack.simulator.state()["reports"]
    ]
    assert paths
    assert digest_of(paths[-1]) == report.callback
    kept = "\n".join(
        [
            *map(str, calling_stack.stack.ledger_items()),
            *(str(lines) for lines in calling_stack.stack.logs().values()),
            *map(str, calling_stack.histories().values()),
            *(body.decode() for body in calling_stack.objects("", ".json").values()),
        ]
    )
    assert str(report.callback) in kept
    assert not [path for path in paths if path in kept]


def test_program_shows_the_log_of_the_function(calling_stack: LocalStack) -> None:
    ended = calling_stack.program("logs", "callback")

    assert ended.code == 0, ended.err
    assert "woke a run" in ended.out


def test_function_needs_every_permission_of_its_role(calling_stack: LocalStack) -> None:
    name = "ReceiveCallbackFunction"
    allowed = {each for each in calling_stack.allowed() if each.function == name}

    assert len(allowed) == 3
    assert idle(calling_stack.used(), allowed) == []


def test_runs_go_on_while_the_setting_changes(calling_stack: LocalStack) -> None:
    def set_callback(value: str) -> None:
        ended = calling_stack.program("settings", "set", "Callback", value, "--yes")
        assert ended.code == 0, ended.err

    waiting = submit(calling_stack, lasts=CALLBACK_SECONDS + 4, calls=0)
    until_waiting(calling_stack, waiting)
    set_callback("off")
    begun_without = submit(calling_stack, lasts=1)
    delivered(calling_stack, begun_without)
    assert begun_without.callback is None
    assert set(waits(calling_stack, begun_without)) == {"Wait For Report"}
    delivered(calling_stack, waiting)
    # The table is gone, so the next wait was one without a callback.
    assert waits(calling_stack, waiting)[:3] == [
        *["Wait For Callback"] * 2,
        "Wait For Report",
    ]
    set_callback("function-url")
    begun_with = submit(calling_stack, lasts=1.5)
    delivered(calling_stack, begun_with)
    assert waits(calling_stack, begun_with) == ["Wait For Callback"]
