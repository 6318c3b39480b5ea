"""Faults while a report is submitted: it is requested once, or held for the operator."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from local.stack.deployment import InvocationFailed
from tests.end_to_end.faults import SCHEDULED, Case, kill_functions, refused
from tests.support.paths import ROOT
from vonage_reports.domain.report import State

EVENTS = ROOT / "events"


@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "accept_then_hang", "seconds": 8},
        {"fault": "accept_then_status", "status": 500},
        {"fault": "accept_then_cut"},
        {"fault": "malformed_json"},
        {"fault": "cut"},
    ],
    ids=lambda fault: fault["fault"],
)
def test_post_without_an_answer_is_looked_up(case: Case, fault: dict[str, Any]) -> None:
    case.simulator.fault("create", **fault)
    case.definitions()
    with ThreadPoolExecutor(1) as pool:
        # Another invocation waits for the lease of the one that hangs.
        first = pool.submit(case.stack.scheduled, SCHEDULED)
        case.stack.until(lambda: case.find_open() is not None, "the plan")
        planned = [report.report_id for report in case.stack.ledger.open_reports()]
        (report,) = case.all_delivered(planned)
        first.result()
    assert report.attempt == 1


@pytest.mark.parametrize("fault", ["hang", "accept_then_hang"])
def test_killed_sender_leaves_its_post_to_the_next_invocation(case: Case, fault: str) -> None:
    case.simulator.fault("create", fault, seconds=3600)
    case.definitions()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(case.stack.scheduled, SCHEDULED)
        case.stack.until(lambda: case.simulator.state()["faults"] == [], "the POST", within=20)
        report = case.open()
        assert report.state is State.SUBMITTING
        assert kill_functions(case) > 0
        assert first.exception() is not None
    case.all_delivered([report.report_id])


def test_run_that_failed_to_start_is_started_later(case: Case) -> None:
    case.definitions()
    with (
        refused(case, "SubmitReportsFunctionRole", "states:StartExecution"),
        pytest.raises(InvocationFailed, match="StartExecution"),
    ):
        case.stack.scheduled(SCHEDULED)
    report = case.open()
    case.all_delivered([report.report_id])


def test_report_is_held_without_a_list_until_resolved(case: Case) -> None:
    case.simulator.fault("create", "accept_then_cut")
    case.simulator.fault("list", "status", status=404, times=None)
    (planned,) = case.collect()
    case.stack.until(lambda: case.state() is State.HELD, "a held report")
    [(_, held)] = case.stack.notifications()
    assert held["event"] == "report.held"
    request_id = case.simulator.state()["reports"][-1]["request_id"]
    event = {"resolve": {"report_id": held["report_id"], "request_id": request_id}}
    case.stack.stack.submit(event)
    case.all_delivered([planned])


def test_duplicate_schedules_request_nothing_twice(case: Case) -> None:
    case.definitions(3)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: _tried(case.stack.scheduled, SCHEDULED), range(4)))
    planned = [report_id for answer in answers for report_id in answer["planned"]]
    assert len(set(planned)) == len(planned) == 3
    case.all_delivered(planned)


def _tried(send: Callable[[str], dict[str, Any]], time: str) -> dict[str, Any]:
    """Send an event as its schedule does: again after a transaction conflict."""
    try:
        return send(time)
    except InvocationFailed as error:
        if "TransactionConflict" not in str(error):
            raise
        return send(time)


def test_run_events_may_arrive_twice_late_or_never(case: Case) -> None:
    rule = case.stack.stack.physical_id("SubmitReportsFunctionRunEnded")
    events = case.stack.emulator.client("events")
    events.disable_rule(Name=rule)
    try:
        planned = case.collect(6)
        wake_up = json.loads((EVENTS / "run_ended.json").read_text())
        for _ in range(3):
            case.stack.stack.submit(wake_up)
        case.all_delivered(planned)
    finally:
        events.enable_rule(Name=rule)


def test_slots_taken_by_another_tool_are_waited_for(case: Case) -> None:
    case.simulator.jobs(5, 3)
    planned = case.collect(2)
    assert case.created() == 0
    case.all_delivered(planned)
