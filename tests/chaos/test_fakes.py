"""The fakes of DynamoDB and S3 answer as moto does, and the interpreter works as documented."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from tests.chaos.dynamodb import ConditionsFailed, Table
from tests.chaos.s3 import Objects, Refused
from tests.chaos.workflow import Call, StateError, Wait, Workflow
from tests.integration.conftest import answer_of_aws, instead_of, refusal_of_aws
from tests.support.ledger_table import create_ledger_table

KEYS = [{"pk": {"S": "open"}, "sk": {"S": f"report#{n}"}} for n in range(4)]
CONDITIONS: list[dict[str, Any]] = [
    {},
    {"ConditionExpression": "attribute_not_exists(pk)"},
    {
        "ConditionExpression": "#attribute = :value",
        "ExpressionAttributeNames": {"#attribute": "version"},
        "ExpressionAttributeValues": {":value": {"N": "2"}},
    },
    {
        "ConditionExpression": "attribute_not_exists(pk) OR #end < :end",
        "ExpressionAttributeNames": {"#end": "end"},
        "ExpressionAttributeValues": {":end": {"S": "2026-11-22"}},
    },
    {
        "ConditionExpression": "attribute_not_exists(pk) OR #end <= :end",
        "ExpressionAttributeNames": {"#end": "end"},
        "ExpressionAttributeValues": {":end": {"S": "2026-11-22"}},
    },
]


def transaction(random: Random) -> dict[str, Any]:
    items = []
    for key in random.sample(KEYS, random.randrange(1, 4)):
        more = random.choice(CONDITIONS)
        end = random.choice(["2026-11-21", "2026-11-22", "2026-11-23"])
        item = {**key, "version": {"N": random.choice("123")}, "end": {"S": end}}
        checks = {"TableName": "ledger", "Key": key, **CONDITIONS[1]}
        counts = {
            "UpdateExpression": "ADD records :records, requests :requests",
            "ExpressionAttributeValues": {
                ":records": {"N": random.choice("057")}, ":requests": {"N": "1"},
            },
        }  # fmt: skip
        items.append(
            random.choice(
                [
                    {"Put": {"TableName": "ledger", "Item": item, **more}},
                    {"Delete": {"TableName": "ledger", "Key": key, **more}},
                    {"ConditionCheck": checks},
                    {"Update": {"TableName": "ledger", "Key": key, **counts}},
                ]
            )
        )
    return {"TransactItems": items}


def outcome_of(call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    try:
        call(*arguments, **more)
    except ConditionsFailed as failed:
        return [each["Code"] for each in failed.reasons]
    except ClientError as error:
        return [each["Code"] for each in error.response["CancellationReasons"]]
    return None


@mock_aws
def test_transactions_end_as_in_moto() -> None:
    client = boto3.client("dynamodb", "eu-west-1")
    create_ledger_table(client, "ledger")
    table, random = Table(), Random(1)
    ends = []
    for _ in range(60):
        request = transaction(random)
        ends.append(outcome_of(table.answer, "TransactWriteItems", request))
        assert ends[-1] == outcome_of(client.transact_write_items, **request)
    query: Any = {
        "KeyConditionExpression": "#n0 = :v0 AND #n1 BETWEEN :v1 AND :v2",
        "ExpressionAttributeNames": {"#n0": "pk", "#n1": "sk"},
        "ExpressionAttributeValues": {
            ":v0": {"S": "open"}, ":v1": {"S": "report#1"}, ":v2": {"S": "report#2"},
        },
    }  # fmt: skip
    found = client.query(TableName="ledger", **query)
    assert table.answer("Query", query)["Items"] == found["Items"]
    newest = {**query, "ScanIndexForward": False, "Limit": 1}
    first = client.query(TableName="ledger", **newest)
    answer = table.answer("Query", newest)
    assert answer["Items"] == first["Items"]
    assert answer.get("LastEvaluatedKey") == first.get("LastEvaluatedKey")
    assert len({json.dumps(each) for each in ends}) > 5, "too few kinds of ends"


def a_client(objects: Objects) -> Any:
    """Return an S3 client whose bucket is the fake."""
    client = boto3.client("s3", "eu-west-1")

    def answer(model: Any, params: Any, **_: Any) -> Any:
        try:
            return answer_of_aws(200, objects.answer(model.name, params))
        except Refused as refused:
            return refusal_of_aws(refused.status, refused.code)

    for name in ("PutObject", "CopyObject", "GetObject", "HeadObject"):
        instead_of(client, name, answer)
    for name in ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"):
        instead_of(client, name, answer)
    instead_of(client, "AbortMultipartUpload", answer)
    return client


def answers_of(client: Any) -> list[Any]:
    """Return the answers of a bucket to a series of calls."""
    answers: list[Any] = []

    def call(operation: str, **arguments: Any) -> Any:
        try:
            answer = getattr(client, operation)(Bucket="reports", **arguments)
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            answers.append((operation, status, error.response["Error"]["Code"]))
            return {}
        body = answer["Body"].read() if "Body" in answer else None
        answers.append((operation, body, answer.get("Metadata")))
        return answer

    call("get_object", Key="a/b c")
    call("head_object", Key="a/b c")
    etag = call("put_object", Key="a/b c", Body=b"one", IfNoneMatch="*", Metadata={"run": "1"})
    source = {"Bucket": "reports", "Key": "a/b c"}
    call("copy_object", Key="copy", CopySource=source, CopySourceIfMatch=etag["ETag"])
    call("copy_object", Key="copy", CopySource={**source, "Key": "absent"})
    call("get_object", Key="copy")
    call("put_object", Key="a/b c", Body=b"two", IfNoneMatch="*")
    call("put_object", Key="a/b c", Body=b"three", IfMatch=etag["ETag"])
    call("put_object", Key="a/b c", Body=b"four", IfMatch=etag["ETag"])
    call("put_object", Key="absent", Body=b"four", IfMatch=etag["ETag"])
    call("head_object", Key="a/b c")
    call("get_object", Key="a/b c", Range="bytes=1-2")
    call("get_object", Key="a/b c", Range="bytes=9-10")
    upload = call("create_multipart_upload", Key="large")["UploadId"]
    part = call("upload_part", Key="large", UploadId=upload, PartNumber=1, Body=b"x")
    call("get_object", Key="large")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    call("complete_multipart_upload", Key="large", UploadId=upload, MultipartUpload=parts)
    call("get_object", Key="large")
    call("abort_multipart_upload", Key="large", UploadId=upload)
    return answers


@mock_aws
def test_objects_behave_as_in_moto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    client = boto3.client("s3", "eu-west-1")
    client.create_bucket(
        Bucket="reports", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    assert answers_of(a_client(Objects())) == answers_of(client)


def a_workflow(**task: Any) -> Workflow:
    return Workflow(
        {
            "QueryLanguage": "JSONata",
            "TimeoutSeconds": 60,
            "StartAt": "Ask",
            "States": {
                "Ask": {
                    "Type": "Task",
                    "Resource": "ask",
                    "Arguments": {},
                    "Output": "{% $states.result %}",
                    "Next": "Done",
                    **task,
                },
                "Done": {"Type": "Succeed", "Output": "{% $states.input %}"},
            },
        }
    )


def test_first_matching_retrier_decides_about_a_task() -> None:
    retry = [
        {"ErrorEquals": ["Final"], "MaxAttempts": 0},
        {
            "ErrorEquals": ["States.TaskFailed"],
            "IntervalSeconds": 20,
            "MaxDelaySeconds": 50,
            "MaxAttempts": 3,
        },
    ]
    steps = a_workflow(Retry=retry).steps({}, started="", random=Random(1))
    assert next(steps) == Call("ask", {})
    for seconds in (20, 40, 50):
        assert steps.throw(StateError("Passing", "")) == Wait(seconds)
        assert steps.send(None) == Call("ask", {})
    with pytest.raises(StateError, match="Passing"):
        steps.throw(StateError("Passing", ""))

    steps = a_workflow(Retry=retry).steps({}, started="", random=Random(1))
    next(steps)
    with pytest.raises(StateError, match="Final"):
        steps.throw(StateError("Final", ""))


def test_unsupported_field_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="Ask"):
        a_workflow(HeartbeatSeconds=5)


def test_expression_without_a_result_fails_the_execution() -> None:
    steps = a_workflow(Retry=[], Output="{% $states.result.absent %}").steps(
        {}, started="", random=Random(1)
    )
    next(steps)
    with pytest.raises(StateError, match="QueryEvaluationError"):
        steps.send({"present": None})
