"""Faults after a report was submitted: the report is delivered, or its failure is announced."""

import io
import json
import zipfile
from dataclasses import asdict
from typing import Any

import pytest

from local.stack.deployment import InvocationFailed
from tests.end_to_end.faults import Case, kill_functions, refused
from tests.support.zips import DEFLATED, written_by_zipfile
from vonage_reports.archive.zip_proof import ArchiveProof
from vonage_reports.domain.objects import archive_key, receipt_key
from vonage_reports.domain.report import State


def test_report_that_fails_twice_is_delivered_on_attempt_three(case: Case) -> None:
    case.simulator.fault("create", "outcome", request_status="FAILED", times=2)
    (report,) = case.all_delivered(case.collect(), created=3)
    assert report.attempt == 3
    assert case.events() == ["report.failed", "report.failed", "report.delivered"]


def test_report_that_fails_three_times_waits_for_the_operator(case: Case) -> None:
    case.simulator.fault("create", "outcome", request_status="FAILED", times=3)
    planned = case.collect()
    (report,) = case.stack.until_finished(planned).values()
    assert (report.state, report.attempt) == (State.FAILED, 3)
    last = [body for _, body in case.stack.notifications()][-1]
    assert case.stack.stack.submit(last["run_again"])["planned"] == planned
    case.stack.until(lambda: case.find_open() is None, "the end of the fourth attempt")
    (again,) = case.all_delivered(planned, created=4)
    assert again.attempt == 4


def test_refusal_by_s3_is_retried_without_a_new_request(case: Case) -> None:
    with refused(case, "StoreReportFunctionRole", "s3:PutObject"):
        planned = case.collect()
        case.stack.until(lambda: case.open().resumes > 0, "a failed run")
    (report,) = case.all_delivered(planned)
    assert (report.attempt, report.run > 1) == (1, True)


def test_failure_is_announced_after_sns_recovers(case: Case) -> None:
    case.simulator.fault("create", "outcome", request_status="EXPLODED")
    with refused(case, "SubmitReportsFunctionRole", "sns:Publish"):
        planned = case.collect()
        # Send sweeps until one fails.
        with pytest.raises(InvocationFailed, match="Publish"):
            case.stack.until(lambda: case.find_open() is None, "an end before its announcement")
    (report,) = case.stack.until_finished(planned).values()
    assert report.state is State.FAILED
    assert case.events() == ["report.failed"]


def test_delivery_is_announced_after_sns_recovers(case: Case) -> None:
    sns = case.stack.emulator.client("sns")
    topic = case.stack.stack.outputs["TopicArn"]
    sns.delete_topic(TopicArn=topic)
    planned = case.collect()
    case.stack.until(lambda: case.open().resumes > 0, "a failed run")
    name, queue = topic.rsplit(":", 1)[1], topic.replace(":sns:", ":sqs:").rsplit(":", 1)[0]
    assert sns.create_topic(Name=name)["TopicArn"] == topic
    # At once, because the run may announce between the two calls.
    sns.subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=f"{queue}:notifications-of-tests",
        Attributes={"RawMessageDelivery": "true"},
    )
    (report,) = case.all_delivered(planned)
    assert report.attempt == 1
    assert "report.delivered" in case.events()


def test_spoiled_archive_is_delivered_by_its_failures_events(case: Case) -> None:
    (report,) = case.all_delivered(case.collect())
    (_, delivered) = case.stack.notifications()[-1]
    s3, bucket = case.stack.emulator.client("s3"), case.stack.stack.outputs["BucketName"]
    key, receipt = (
        archive_key(report),
        json.loads(case.stack.objects("archives/")[receipt_key(report)]),
    )
    with zipfile.ZipFile(io.BytesIO(case.stack.objects("archives/")[key])) as archive:
        (name,) = archive.namelist()
        content = archive.read(name) + b'"x"y\n'
    spoiled = written_by_zipfile({name: content}, method=DEFLATED, seekable=False, zip64=False)
    proof = ArchiveProof()
    proof.update(spoiled)
    s3.put_object(Bucket=bucket, Key=key, Body=spoiled)
    spoiled_receipt = {**receipt, "archive": {**asdict(proof.finish()), "key": key}}
    s3.put_object(Bucket=bucket, Key=receipt_key(report), Body=json.dumps(spoiled_receipt))
    said: list[str] = []
    event: Any = {"reconvert": {"report_id": report.report_id}}
    while event:
        case.stack.stack.submit(event)
        case.stack.until(lambda: case.find_open() is None, "the end of the conversion")
        ((_, body),) = case.stack.notifications()
        event = body.get("run_again")
        said.append(body.get("error") or body["event"])
    assert said == ["RowsUnreadable", "RowsMismatch", "report.delivered"]
    assert (body["rows"], body["row_check"]) == (delivered["rows"], "different")
    row_count, unreadable = body["accepted"]
    assert (row_count["rows"], unreadable["rows"]) == (1, 1)
    assert case.stack.objects("unreadable/")[unreadable["key"]] == b'"x"y\n'
    assert case.created() == 1


def test_aborted_run_is_resumed_in_a_new_run(case: Case) -> None:
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


@pytest.mark.slow
def test_status_429_at_every_step_is_obeyed(case: Case) -> None:
    for operation in ("create", "get", "download", "list"):
        case.simulator.fault(operation, "status", status=429, retry_after=1)
    case.all_delivered(case.collect(2))


def test_killed_functions_are_run_again(case: Case) -> None:
    case.simulator.settings(seconds_per_report=2.0)
    planned = case.collect(3)
    case.simulator.settings(seconds_per_report=0.5)
    assert kill_functions(case) > 0
    case.all_delivered(planned)
