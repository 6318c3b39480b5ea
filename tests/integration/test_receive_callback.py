"""The function behind the public URL: it answers 204 to anything, and wakes one run at most.

DynamoDB is moto's. A stub answers for Step Functions, checked against AWS's model of the service.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws
from mypy_boto3_dynamodb import DynamoDBClient
from mypy_boto3_stepfunctions import SFNClient

from tests.integration.conftest import answer_of_aws, refusal_of_aws
from tests.support.handlers import Context, load_handler
from vonage_reports.aws.waiting_runs import WaitingRuns
from vonage_reports.domain.callbacks import digest_of

PATH = "0f" * 16
DIGEST = digest_of(PATH)
TABLE = "callbacks"


@dataclass
class Receiver:
    """The waiting runs of a test, and the stub of Step Functions."""

    runs: WaitingRuns
    dynamodb: DynamoDBClient
    stub: Stubber

    def put(self, token: str) -> None:
        """Put an item, as the workflow does when a run begins to wait."""
        item = {"callback": {"S": str(DIGEST)}, "task_token": {"S": token}}
        self.dynamodb.put_item(TableName=TABLE, Item=item)

    def items(self) -> list[dict[str, Any]]:
        return list(self.dynamodb.scan(TableName=TABLE)["Items"])

    def expect(self, token: str, error: str | None = None) -> None:
        """Let Step Functions take a token, or refuse it."""
        if error is None:
            self.stub.add_response("send_task_success", {}, {"taskToken": token, "output": "{}"})
        else:
            self.stub.add_client_error("send_task_success", error)


@pytest.fixture
def receiver(aws_session: boto3.Session) -> Iterator[Receiver]:
    with mock_aws():
        dynamodb = aws_session.client("dynamodb")
        step_functions: SFNClient = aws_session.client("stepfunctions")
        dynamodb.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "callback", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "callback", "KeyType": "HASH"}],
        )
        with Stubber(step_functions) as stub:
            yield Receiver(WaitingRuns(dynamodb, TABLE, step_functions), dynamodb, stub)
        stub.assert_no_pending_responses()
    dynamodb.close()
    step_functions.close()


def test_first_call_wakes_the_run_and_the_others_do_nothing(receiver: Receiver) -> None:
    receiver.put("token-1")
    receiver.expect("token-1")

    assert [receiver.runs.wake(str(DIGEST)) for _ in range(3)] == [True, False, False]
    assert receiver.items() == []


def test_forged_path_wakes_no_run(receiver: Receiver) -> None:
    receiver.put("token-1")

    assert receiver.runs.wake(str(digest_of("f0" * 16))) is False
    assert len(receiver.items()) == 1


@pytest.mark.parametrize("error", ["TaskTimedOut", "TaskDoesNotExist", "InvalidToken"])
def test_late_call_leaves_the_item_to_the_next_wait(receiver: Receiver, error: str) -> None:
    receiver.put("token-1")
    receiver.expect("token-1", error)
    assert receiver.runs.wake(str(DIGEST)) is False

    receiver.put("token-2")
    receiver.expect("token-2")
    assert receiver.runs.wake(str(DIGEST)) is True


def event(path: str, **more: Any) -> dict[str, Any]:
    """Return the event of a function URL, without what the function does not read."""
    return {"version": "2.0", "rawPath": path, "requestContext": {}, **more}


class Unreadable(dict[str, Any]):
    """An event whose body must not be read."""

    def __getitem__(self, name: str) -> Any:
        assert name != "body"
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        assert name != "body"
        return super().get(name, default)


ANYTHING = [
    event(f"/{PATH}"),
    event("/"),
    event(""),
    event("/favicon.ico"),
    event(f"/{PATH}/{PATH}"),
    event(f"/{PATH.upper()}"),
    event(f"/{PATH}", body="x" * 6_000_000),
    event(f"/{PATH}", body="{" * 100_000, isBase64Encoded=True),
    {},
    {"rawPath": None},
]


def invoke(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, answer: Any
) -> tuple[dict[str, Any], list[str]]:
    """Invoke the handler; Step Functions gives `answer`. Return the result and the tokens sent."""
    sent: list[str] = []

    def send(params: dict[str, Any], **_: object) -> Any:
        sent.append(json.loads(params["body"])["taskToken"])
        return answer

    session = boto3.Session("key", "secret", region_name="eu-west-1")
    session.events.register("before-call.sfn.SendTaskSuccess", send)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", session)
    monkeypatch.setenv("CALLBACK_TABLE_NAME", TABLE)
    handler = load_handler("receive_callback")
    return handler(Unreadable(given), Context("request-1", "receive_callback")), sent


@pytest.mark.parametrize("given", ANYTHING, ids=lambda given: str(given)[:60])
def test_every_call_gets_the_same_answer(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    receiver.put("token-1")

    answer, sent = invoke(given, monkeypatch, answer_of_aws(200, {}))
    assert answer == {"statusCode": 204}
    assert sent == (["token-1"] if given.get("rawPath") == f"/{PATH}" else [])


@pytest.mark.parametrize("code", ["AccessDeniedException", "ThrottlingException"])
def test_refusal_of_aws_is_logged_without_the_path(
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: str,
) -> None:
    receiver.put("token-1")

    answer, sent = invoke(event(f"/{PATH}"), monkeypatch, refusal_of_aws(400, code))
    assert answer == {"statusCode": 204}
    assert sent == ["token-1"]
    assert len(receiver.items()) == 1
    (record,) = caplog.records
    logged = str(vars(record))
    assert code in logged
    assert PATH not in logged
    assert "token-1" not in logged
