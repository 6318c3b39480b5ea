"""The topic's subscribers get the JSON, and those by mail a text."""

import json
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.sns.models import sns_backends

from tests.support.reports import make_report
from vonage_reports.aws.sns import Topic
from vonage_reports.domain import notifications
from vonage_reports.domain.lifecycle import Fail

REGION = "eu-west-1"
BODY = notifications.failed(
    make_report(), Fail("RowsMismatch", "1 row differs", is_stored=True), execution=None
)


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Publish one notification. Return the bodies of a raw and an ordinary queue, and the mail."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        sns, sqs = boto3.client("sns"), boto3.client("sqs")
        topic = sns.create_topic(Name="reports")["TopicArn"]
        queues = {}
        for name in ("raw", "ordinary"):
            queues[name] = sqs.create_queue(QueueName=name)["QueueUrl"]
            arn = sqs.get_queue_attributes(QueueUrl=queues[name], AttributeNames=["QueueArn"])
            sns.subscribe(
                TopicArn=topic,
                Protocol="sqs",
                Endpoint=arn["Attributes"]["QueueArn"],
                Attributes={"RawMessageDelivery": "true"} if name == "raw" else {},
            )
        Topic(sns, topic, stack="prod").announce(BODY)
        bodies: dict[str, Any] = {
            name: json.loads(sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"])
            for name, url in queues.items()
        }
        ((_, published, subject, *_),) = (
            sns_backends[DEFAULT_ACCOUNT_ID][REGION].topics[topic].sent_notifications
        )
        return {**bodies, "subject": subject, "mail": json.loads(published)["email"]}


def test_machines_get_the_json_alone(received: dict[str, Any]) -> None:
    assert received["raw"] == BODY
    assert json.loads(received["ordinary"]["Message"]) == BODY
    assert received["ordinary"]["Subject"] == received["subject"]


def test_mail_has_sentence_command_and_json(received: dict[str, Any]) -> None:
    assert received["subject"] == "[failed] sms-outbound 2026-11-21: 1 row differs"
    sentence, _, step, command, *_ = received["mail"].splitlines()
    assert sentence == "Stack prod: sms-outbound, 2026-11-21: 1 row differs."
    assert step == "To mend it, run the command. This costs nothing."
    assert command == f"  vonage-reports --stack prod reconvert {BODY['report_id']}"
    assert json.loads(received["mail"][received["mail"].index("{") :]) == BODY
