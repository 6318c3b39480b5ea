"""The verbs of `vonage-reports` that act, as processes against a deployed stack."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from local.stack.deployment import STACK_NAME
from tests.end_to_end.faults import Case
from tests.support.cli import Ended, run_program, stack_environment
from tests.support.terminal import run_on_terminal
from vonage_reports.domain.report import Report, State

pytestmark = pytest.mark.slow

Program = Callable[..., Ended]


@pytest.fixture
def environment(case: Case) -> dict[str, str]:
    return stack_environment(case.stack.emulator, STACK_NAME)


@pytest.fixture
def program(environment: dict[str, str]) -> Program:
    return lambda *arguments: run_program(*arguments, environment=environment)


def collected(case: Case) -> Report:
    """Return a delivered window of this test."""
    (name,) = case.collect()
    (report,) = case.all_delivered([name])
    return report


def held(case: Case) -> Report:
    """Return a window of this test that Vonage took without an answer."""
    case.simulator.fault("create", "accept_then_cut")
    case.simulator.fault("list", "status", status=404, times=None)
    case.collect()
    case.stack.until(lambda: case.state() is State.HELD, "a held report")
    return case.open()


def test_pasted_recollect_is_billed_once(case: Case, program: Program) -> None:
    name = collected(case).report_id
    # Its window stays unfinished until the second command has ended.
    case.simulator.fault("create", "outcome", request_status="SUCCESS", seconds=3600)

    first, second = (program("recollect", name, "--yes") for _ in range(2))
    assert (first.code, second.code) == (0, 2)
    assert "billed so far: no records, in 1 request" in first.out
    assert "SUBMITTED, which is unfinished" in second.err
    assert program("withdraw", name, "--yes").code == 0
    assert program("recollect", name, "--yes").code == 0
    case.stack.until_finished([name])
    third = program("recollect", name, "--yes")

    assert third.code == 2
    assert "add --again" in third.err
    assert case.created() == 3
    assert third.err.count("\n") == 1


def test_backfill_is_previewed_and_completed(case: Case, program: Program) -> None:
    (definition,) = case.definitions()
    name = definition["name"]
    arguments = ["backfill", name, "--from", "2026-10-01", "--until", "2026-10-04"]

    preview = program(*arguments, "--dry-run", "--json")
    nothing_yet = case.created()
    unanswered = program(*arguments)
    begun = program(*arguments, "--yes")
    case.stack.until(lambda: not case.stack.ledger.open_work().backfills, "the plan")
    case.stack.until(lambda: case.find_open() is None, "the deliveries")
    again = program(*arguments, "--yes")

    (action,) = json.loads(preview.out)["actions"]
    assert action["preview"][0].startswith(f"backfill {name}-20261001-20261004: 3 windows")
    assert (preview.code, nothing_yet, unanswered.code, begun.code) == (0, 0, 2, 0)
    assert "add --yes" in unanswered.err
    assert f"Next: vonage-reports --stack {STACK_NAME} status" in begun.err
    assert (again.code, "all of its 3 windows are delivered" in again.out) == (0, True)
    case.at_rest(created=3)


def test_terminal_asks_before_a_held_report_is_resolved(
    case: Case, environment: dict[str, str]
) -> None:
    report = held(case)
    request_id = case.simulator.state()["reports"][-1]["request_id"]
    arguments = ["resolve", report.report_id, "--found", request_id]

    declined = run_on_terminal(*arguments, answers=[("[y/N] ", "n")], environment=environment)
    after_no = case.state()
    accepted = run_on_terminal(*arguments, answers=[("[y/N] ", "y")], environment=environment)

    assert (declined.code, after_no) == (3, State.HELD)
    assert "nothing was changed" in declined.out
    assert accepted.code == 0
    assert f"{report.report_id}: answered" in accepted.out
    case.all_delivered([report.report_id])


def test_retry_collects_what_failed(case: Case, program: Program) -> None:
    case.simulator.fault("create", "outcome", request_status="FAILED", times=3)
    (name,) = case.collect()
    (report,) = case.stack.until_finished([name]).values()
    assert report.state is State.FAILED

    shown = program("retry", "--dry-run")
    retried = program("retry", "--yes")

    assert (shown.code, retried.code) == (0, 0)
    assert f"  {name}\n" in shown.out
    assert "failed: ReportFailed: " in shown.out
    assert "in 3 requests" in shown.out
    case.all_delivered([name], created=4)
    assert "nothing failed" in program("retry").out


def test_undelivered_event_is_replayed(case: Case, program: Program) -> None:
    name = collected(case).report_id
    record: dict[str, Any] = {
        "timestamp": "2026-11-22T02:18:13.123Z",
        "requestContext": {"requestId": "of-its-first-invocation"},
        "requestPayload": {"reconvert": {"report_id": name}},
        "responsePayload": {"errorType": "ResourceUnusable", "errorMessage": "no table"},
    }
    sqs = case.stack.emulator.client("sqs")
    url = case.stack.stack.outputs["UndeliveredEventsQueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(record))

    listed = program("events", "list")
    replayed = program("events", "replay", "--yes")

    assert (listed.code, replayed.code) == (0, 0)
    assert "2026-11-22 02:18:13 UTC" in listed.out
    assert "ResourceUnusable: no table" in listed.out
    assert f"{name}: converts its stored archives again" in replayed.out
    assert "No event is undelivered." in program("events", "list").out
    case.stack.until_finished([name])
    case.at_rest(created=1)


def test_wrong_input_is_one_sentence(program: Program) -> None:
    for arguments, code, says in (
        (["--stack", "absent", "sweep", "--yes"], 2, "there is no stack 'absent'"),
        (["recollect", "absent", "--yes"], 2, "has no such report"),
        (["recollect"], 2, "Missing argument 'ID...'"),
        (["backfill", "absent", "--from", "2026-10-01", "--until", "2026-10-02"], 2, "absent"),
        (["--local", "sweep", "--yes"], 2, "make run EVENT="),
        (["events", "replay", "--no"], 2, "No such option"),
    ):
        ended = program(*arguments)
        assert (ended.code, says in ended.err) == (code, True), ended
        assert len(ended.err.splitlines()) == 1
