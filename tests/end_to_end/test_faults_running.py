"""Faults after a report was submitted: what was paid for is delivered, the rest is announced."""

from typing import Any

import pytest

from local.stack.deployment import InvocationFailed
from tests.end_to_end.faults import Case, kill_functions, refused
from vonage_reports.domain.report import State


@pytest.fixture(scope="module")
def simulator_settings() -> dict[str, Any]:
    return {"rows_per_day": 50}


def test_a_report_that_fails_twice_is_delivered_the_third_time(case: Case) -> None:
    case.simulator.fault("create", "outcome", request_status="FAILED", times=2)
    (report,) = case.all_delivered(case.collect(), bought=3)
    assert report.attempt == 3
    assert case.told() == ["report.failed", "report.failed", "report.delivered"]


def test_a_report_that_fails_three_times_waits_for_its_event(case: Case) -> None:
    case.simulator.fault("create", "outcome", request_status="FAILED", times=3)
    planned = case.collect()
    (report,) = case.stack.until_ended(planned).values()
    assert (report.state, report.attempt) == (State.FAILED, 3)
    last = [body for _, body in case.stack.notifications()][-1]
    assert case.stack.stack.submit(last["run_again"])["planned"] == planned
    case.stack.until(lambda: case.only() is None, "the end of the fourth attempt")
    (again,) = case.all_delivered(planned, bought=4)
    assert again.attempt == 4


def test_what_s3_refuses_for_a_while_is_stored_later_without_buying_it_again(case: Case) -> None:
    with refused(case, "StoreReportFunctionRole", "s3:PutObject"):
        planned = case.collect()
        case.stack.until(lambda: case.open().resumes > 0, "a run that gave up")
    (report,) = case.all_delivered(planned)
    assert (report.attempt, report.run > 1) == (1, True)


def test_what_the_catalogue_refuses_for_a_while_is_made_again_from_the_archive(case: Case) -> None:
    with refused(case, "ConvertReportFunctionRole", "glue:CreatePartition"):
        planned = case.collect()
        case.stack.until(lambda: case.open().resumes > 0, "a run that gave up")
        definition = case.open().definition
        # The dataset is there, and nobody is told of it.
        assert len(case.stack.objects(f"data/product=VERIFY-V2/definition={definition}/")) == 1
        assert not case.stack.objects(f"manifests/{definition}/")
    (report,) = case.all_delivered(planned)
    assert (report.attempt, report.run > 1) == (1, True)
    assert case.told() == ["report.delivered"]
    assert len(case.stack.objects(f"data/product=VERIFY-V2/definition={definition}/")) == 1


def test_a_failure_that_cannot_be_announced_is_announced_later(case: Case) -> None:
    case.simulator.fault("create", "outcome", request_status="EXPLODED")
    with refused(case, "SubmitReportsFunctionRole", "sns:Publish"):
        planned = case.collect()
        # Sweeps, until one says what it cannot do.
        with pytest.raises(InvocationFailed, match="Publish"):
            case.stack.until(lambda: case.only() is None, "an end that must not come")
    (report,) = case.stack.until_ended(planned).values()
    assert report.state is State.FAILED
    assert case.told() == ["report.failed"]


def test_a_delivery_that_cannot_be_announced_is_announced_later(case: Case) -> None:
    sns = case.stack.emulator.client("sns")
    topic = case.stack.stack.outputs["TopicArn"]
    sns.delete_topic(TopicArn=topic)
    planned = case.collect()
    case.stack.until(lambda: case.open().resumes > 0, "a run that gave up")
    assert sns.create_topic(Name=topic.rsplit(":", 1)[1])["TopicArn"] == topic
    case.stack.stack.subscribe_queue("notifications-of-tests")
    (report,) = case.all_delivered(planned)
    assert report.attempt == 1
    assert "report.delivered" in case.told()


def test_a_run_that_a_person_aborts_goes_on_in_a_new_one(case: Case) -> None:
    case.simulator.settings(seconds_per_report=4.0)
    (planned,) = case.collect()
    case.simulator.settings(seconds_per_report=0.5)
    report = case.open()
    machine = case.stack.stack.outputs["StateMachineArn"].replace("stateMachine", "execution")
    case.stack.emulator.client("stepfunctions").stop_execution(
        executionArn=f"{machine}:{report.execution_name}"
    )
    (delivered,) = case.all_delivered([planned])
    assert (delivered.attempt, delivered.run > 1) == (1, True)


def test_too_many_requests_at_every_step_are_obeyed(case: Case) -> None:
    for operation in ("create", "get", "download", "list"):
        case.simulator.fault(operation, "status", status=429, retry_after=1)
    case.all_delivered(case.collect(2))


def test_functions_that_are_killed_at_work_are_run_again(case: Case) -> None:
    case.simulator.settings(seconds_per_report=2.0)
    planned = case.collect(3)
    case.simulator.settings(seconds_per_report=0.5)
    assert kill_functions(case) > 0
    case.all_delivered(planned)
