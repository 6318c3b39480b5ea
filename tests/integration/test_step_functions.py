"""The runs of the workflow, at Step Functions as moto has it, which never ends one by itself.

What moto does not answer, a stub does that is checked against AWS's own model of the service.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from mypy_boto3_stepfunctions import SFNClient

from tests.support.reports import make_report
from vonage_reports.aws.step_functions import Executions
from vonage_reports.domain.decisions import Execution, ExecutionStatus
from vonage_reports.domain.report import Entry, State, report_id
from vonage_reports.domain.run_input import execution_input
from vonage_reports.domain.windows import Window

MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)
WINDOW = Window(MIDNIGHT, MIDNIGHT + timedelta(days=1), "UTC")
REPORT = make_report(window=WINDOW, state=State.SUBMITTED, attempt=1, request_id="request-1", run=1)
RUN_1 = replace(REPORT, execution_input=execution_input(REPORT, Entry.CHECK))
MACHINE = "arn:aws:states:eu-west-1:123456789012:stateMachine:report-workflow"
RUN_1_ARN = f"arn:aws:states:eu-west-1:123456789012:execution:report-workflow:{REPORT.report_id}-r1"


@pytest.fixture
def client(aws: None, aws_session: boto3.Session) -> Iterator[SFNClient]:  # noqa: ARG001 - aws: first
    client = aws_session.client("stepfunctions")
    yield client
    client.close()


@pytest.fixture
def executions(client: SFNClient) -> Executions:
    machine = client.create_state_machine(
        name="report-workflow",
        definition='{"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}',
        roleArn="arn:aws:iam::123456789012:role/workflow",
    )
    assert machine["stateMachineArn"] == MACHINE
    return Executions(client, machine["stateMachineArn"])


def started(client: SFNClient) -> list[tuple[str, str]]:
    """Every execution: its name and its input."""
    arns = [
        each["executionArn"]
        for each in client.list_executions(stateMachineArn=MACHINE)["executions"]
    ]
    found = [client.describe_execution(executionArn=arn) for arn in arns]
    return [(each["name"], each["input"]) for each in found]


def described(client: SFNClient, status: str, **more: str) -> Execution:
    answer = {
        "executionArn": RUN_1_ARN,
        "stateMachineArn": MACHINE,
        "status": status,
        "startDate": MIDNIGHT,
        **more,
    }
    with Stubber(client) as stub:
        stub.add_response("describe_execution", answer, {"executionArn": RUN_1_ARN})
        run = Executions(client, MACHINE).describe(RUN_1)
        stub.assert_no_pending_responses()
    return run


# Start


def test_a_run_has_the_reports_name_and_the_stored_input_to_the_byte(
    executions: Executions, client: SFNClient
) -> None:
    executions.start(RUN_1)
    assert started(client) == [(RUN_1.execution_name, RUN_1.execution_input)]


def test_a_run_is_where_its_arn_says(executions: Executions, client: SFNClient) -> None:
    executions.start(RUN_1)
    assert executions.arn(RUN_1) == RUN_1_ARN
    assert client.describe_execution(executionArn=RUN_1_ARN)["name"] == RUN_1.execution_name


def test_a_run_that_is_started_twice_exists_once(executions: Executions, client: SFNClient) -> None:
    executions.start(RUN_1)
    executions.start(RUN_1)
    assert len(started(client)) == 1


@pytest.mark.parametrize("ended", [True, False])
def test_a_name_that_is_taken_was_started_before(
    ended: bool,  # noqa: FBT001 - a parameter of the test
    executions: Executions,
    client: SFNClient,
) -> None:
    executions.start(RUN_1)
    if ended:
        client.stop_execution(executionArn=RUN_1_ARN)
    else:
        with pytest.raises(client.exceptions.ExecutionAlreadyExists):
            client.start_execution(
                stateMachineArn=MACHINE, name=RUN_1.execution_name, input='{"another": 1}'
            )
    before = started(client)
    executions.start(RUN_1 if ended else replace(RUN_1, execution_input='{"another": 1}'))
    assert started(client) == before


def test_another_run_of_the_report_is_another_execution(
    executions: Executions, client: SFNClient
) -> None:
    executions.start(RUN_1)
    executions.start(replace(RUN_1, run=2))
    assert {name for name, _ in started(client)} == {
        f"{REPORT.report_id}-r1",
        f"{REPORT.report_id}-r2",
    }


def test_a_run_that_cannot_be_started_is_an_error(client: SFNClient) -> None:
    with pytest.raises(ClientError, match="StateMachineDoesNotExist"):
        Executions(client, MACHINE).start(RUN_1)


def test_the_longest_name_of_a_report_is_still_one_of_an_execution(
    executions: Executions, client: SFNClient
) -> None:
    longest = report_id(
        definition="a" * 30, account_id="abcd1234", window=WINDOW, delay_index=89, split_path="0101"
    )
    executions.start(replace(RUN_1, report_id=longest, run=99_999))
    assert len(started(client)) == 1


# Describe


def test_a_run_that_nobody_started_is_missing(executions: Executions) -> None:
    assert executions.describe(RUN_1) == Execution(ExecutionStatus.MISSING)


def test_a_run_that_was_started_is_running(executions: Executions) -> None:
    executions.start(RUN_1)
    assert executions.describe(RUN_1) == Execution(ExecutionStatus.RUNNING)
    assert executions.describe(replace(RUN_1, run=2)) == Execution(ExecutionStatus.MISSING)


def test_a_run_that_was_stopped_has_failed_as_aborted(
    executions: Executions, client: SFNClient
) -> None:
    executions.start(RUN_1)
    client.stop_execution(executionArn=RUN_1_ARN)
    run = executions.describe(RUN_1)
    assert (run.status, run.error) == (ExecutionStatus.FAILED, "ABORTED")


@pytest.mark.parametrize("status", ["RUNNING", "PENDING_REDRIVE"])
def test_a_run_that_may_still_end_well_is_running(status: str, client: SFNClient) -> None:
    assert described(client, status) == Execution(ExecutionStatus.RUNNING)


@pytest.mark.parametrize("rows", [0, 7_000_000])
def test_a_run_that_succeeded_says_how_many_rows(rows: int, client: SFNClient) -> None:
    output = json.dumps({"rows": rows, "stored": True})
    assert described(client, "SUCCEEDED", output=output) == Execution(
        ExecutionStatus.SUCCEEDED, rows=rows
    )


def test_a_run_that_succeeded_may_not_know_its_rows(client: SFNClient) -> None:
    assert described(client, "SUCCEEDED", output='{"rows": null}') == Execution(
        ExecutionStatus.SUCCEEDED
    )


def test_lambdas_cause_becomes_its_message(client: SFNClient) -> None:
    cause = {
        "errorMessage": "Vonage ended the report as FAILED",
        "errorType": "ReportFailed",
        "requestId": "0e1c…",
        "stackTrace": ['  File "/var/task/app.py", line 38\n'],
    }
    run = described(client, "FAILED", error="ReportFailed", cause=json.dumps(cause))
    assert run == Execution(
        ExecutionStatus.FAILED, error="ReportFailed", reason=str(cause["errorMessage"])
    )


@pytest.mark.parametrize("status", ["TIMED_OUT", "ABORTED", "FAILED"])
def test_a_run_without_an_error_is_named_by_its_status(status: str, client: SFNClient) -> None:
    assert described(client, status) == Execution(ExecutionStatus.FAILED, error=status, reason=None)


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        ("The state machine was stopped by a person", "The state machine was stopped by a person"),
        ('{"error": "no message"}', '{"error": "no message"}'),
        ('{"errorMessage": ""}', '{"errorMessage": ""}'),
        ('{"errorMessage": "cut off he', '{"errorMessage": "cut off he'),
        ('["a", "b"]', '["a", "b"]'),
        ('"a text"', '"a text"'),
        ("17", "17"),
        ("", None),
    ],
)
def test_another_cause_is_kept_as_it_is(cause: str, reason: str | None, client: SFNClient) -> None:
    run = described(client, "FAILED", error="States.Runtime", cause=cause)
    assert run == Execution(ExecutionStatus.FAILED, error="States.Runtime", reason=reason)
