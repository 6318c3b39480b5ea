"""The runs of the workflow against moto's Step Functions, which never ends one by itself.

Where moto has no answer, a stub answers, checked against AWS's own model of the service.
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
    """Return the name and the input of every execution."""
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


# Starting


def test_run_has_the_reports_name_and_byte_identical_input(
    executions: Executions, client: SFNClient
) -> None:
    executions.start(RUN_1)
    assert started(client) == [(RUN_1.execution_name, RUN_1.execution_input)]


def test_run_has_the_expected_arn(executions: Executions, client: SFNClient) -> None:
    executions.start(RUN_1)
    assert executions.arn(RUN_1) == RUN_1_ARN
    assert client.describe_execution(executionArn=RUN_1_ARN)["name"] == RUN_1.execution_name


def test_run_started_twice_exists_once(executions: Executions, client: SFNClient) -> None:
    executions.start(RUN_1)
    executions.start(RUN_1)
    assert len(started(client)) == 1


@pytest.mark.parametrize("ended", [True, False])
def test_taken_name_counts_as_started(
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


def test_another_run_is_another_execution(executions: Executions, client: SFNClient) -> None:
    executions.start(RUN_1)
    executions.start(replace(RUN_1, run=2))
    assert {name for name, _ in started(client)} == {
        f"{REPORT.report_id}-r1",
        f"{REPORT.report_id}-r2",
    }


def test_run_that_cannot_start_raises(client: SFNClient) -> None:
    with pytest.raises(ClientError, match="StateMachineDoesNotExist"):
        Executions(client, MACHINE).start(RUN_1)


def test_longest_report_id_is_a_valid_execution_name(
    executions: Executions, client: SFNClient
) -> None:
    longest = report_id(
        definition="a" * 30, account_id="abcd1234", window=WINDOW, delay_index=89, split_path="0101"
    )
    executions.start(replace(RUN_1, report_id=longest, run=99_999))
    assert len(started(client)) == 1


# Describing


def test_run_that_never_started_is_missing(executions: Executions) -> None:
    assert executions.describe(RUN_1) == Execution(ExecutionStatus.MISSING)


def test_started_run_is_running(executions: Executions) -> None:
    executions.start(RUN_1)
    assert executions.describe(RUN_1) == Execution(ExecutionStatus.RUNNING)
    assert executions.describe(replace(RUN_1, run=2)) == Execution(ExecutionStatus.MISSING)


def test_stopped_run_has_failed_as_aborted(executions: Executions, client: SFNClient) -> None:
    executions.start(RUN_1)
    client.stop_execution(executionArn=RUN_1_ARN)
    run = executions.describe(RUN_1)
    assert (run.status, run.error) == (ExecutionStatus.FAILED, "ABORTED")


@pytest.mark.parametrize("status", ["RUNNING", "PENDING_REDRIVE"])
def test_run_that_may_still_succeed_is_running(status: str, client: SFNClient) -> None:
    assert described(client, status) == Execution(ExecutionStatus.RUNNING)


def test_succeeded_run_has_its_rescued_cells(client: SFNClient) -> None:
    rescued = {"total_price": 2}
    output = json.dumps({"rows": 3, "notification": {"rows": 3, "rescued": rescued}})
    assert described(client, "SUCCEEDED", output=output) == Execution(
        ExecutionStatus.SUCCEEDED, rows=3, rescued=rescued
    )


@pytest.mark.parametrize("state", ["registered", "pending", "off"])
def test_succeeded_run_tells_a_pending_registration(state: str, client: SFNClient) -> None:
    output = json.dumps({"rows": 3, "notification": {"rows": 3, "catalogue": state}})
    assert described(client, "SUCCEEDED", output=output) == Execution(
        ExecutionStatus.SUCCEEDED, rows=3, is_unregistered=state == "pending"
    )


@pytest.mark.parametrize("rows", [0, 7_000_000])
def test_succeeded_run_has_its_rows(rows: int, client: SFNClient) -> None:
    output = json.dumps({"rows": rows, "stored": True})
    assert described(client, "SUCCEEDED", output=output) == Execution(
        ExecutionStatus.SUCCEEDED, rows=rows
    )


def test_succeeded_run_may_have_no_row_count(client: SFNClient) -> None:
    assert described(client, "SUCCEEDED", output='{"rows": null}') == Execution(
        ExecutionStatus.SUCCEEDED
    )


def test_reason_is_the_message_in_lambdas_cause(client: SFNClient) -> None:
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
def test_run_without_an_error_has_its_status_as_error(status: str, client: SFNClient) -> None:
    assert described(client, status) == Execution(ExecutionStatus.FAILED, error=status, reason=None)


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        ("Stopped by the operator", "Stopped by the operator"),
        ('{"error": "no message"}', '{"error": "no message"}'),
        ('{"errorMessage": ""}', '{"errorMessage": ""}'),
        ('{"errorMessage": "cut off he', '{"errorMessage": "cut off he'),
        ('["a", "b"]', '["a", "b"]'),
        ('"a text"', '"a text"'),
        ("17", "17"),
        ("", None),
    ],
)
def test_other_cause_stays_unchanged(cause: str, reason: str | None, client: SFNClient) -> None:
    run = described(client, "FAILED", error="States.Runtime", cause=cause)
    assert run == Execution(ExecutionStatus.FAILED, error="States.Runtime", reason=reason)
