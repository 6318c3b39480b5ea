"""The subscriptions of the alarms.

Neither the emulator nor moto leaves a subscription unconfirmed, so botocore's stub answers here.
"""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from vonage_reports_cli.status.hearing import Subscriptions, subscriptions_of, why_unheard

PENDING = (
    "the subscription of the alarms is not confirmed. Open the link in its e-mail. SNS deletes the "
    "subscription after 48 h. Then subscribe again"
)
TOPIC = "arn:aws:sns:eu-west-1:123456789012:alarms"


class Stack:
    """A stack whose SNS gives the stubbed answers."""

    def __init__(self) -> None:
        self.outputs = {"AlarmTopicArn": TOPIC}
        session = boto3.Session("testing", "testing", region_name="eu-west-1")
        self.sns = session.client("sns")

    def client(self, service: str) -> Any:
        assert service == "sns"
        return self.sns


@pytest.fixture
def stack() -> Iterator[Any]:
    made = Stack()
    yield made
    made.sns.close()


def answer(stub: Stubber, *arns: str, token: str | None = None, following: str = "") -> None:
    """Add a page of subscriptions. `token` asks for the page, `following` for the one after it."""
    subscriptions = [
        {
            "SubscriptionArn": arn,
            "Owner": "123456789012",
            "Protocol": "email",
            "Endpoint": "operator@example.com",
            "TopicArn": TOPIC,
        }
        for arn in arns
    ]
    page: dict[str, Any] = {"Subscriptions": subscriptions}
    if following:
        page["NextToken"] = following
    asked = {"TopicArn": TOPIC, **({"NextToken": token} if token else {})}
    stub.add_response("list_subscriptions_by_topic", page, asked)


def test_subscriptions_of_all_pages_are_counted(stack: Any) -> None:
    with Stubber(stack.sns) as stub:
        answer(stub, f"{TOPIC}:1", "PendingConfirmation", following="2")
        answer(stub, f"{TOPIC}:2", "Deleted", token="2")

        assert subscriptions_of(stack, TOPIC) == Subscriptions(2, ("email",))


def test_stack_of_an_earlier_template_has_no_alarms(stack: Any) -> None:
    stack.outputs = {}

    unheard = why_unheard(stack)

    assert unheard is not None
    assert unheard.reason == "the stack has no topic of alarms. Deploy this version"


@pytest.mark.parametrize("arns", [[f"{TOPIC}:1"], ["PendingConfirmation", f"{TOPIC}:1"]])
def test_one_confirmed_subscription_is_enough(arns: list[str], stack: Any) -> None:
    with Stubber(stack.sns) as stub:
        answer(stub, *arns)

        assert why_unheard(stack) is None


@pytest.mark.parametrize(
    ("arns", "reason"),
    [
        ([], "the topic of the alarms has no subscription"),
        (["Deleted"], "the topic of the alarms has no subscription"),
        (["PendingConfirmation"], PENDING),
    ],
)
def test_without_a_confirmed_subscription_nobody_hears(
    arns: list[str], reason: str, stack: Any
) -> None:
    with Stubber(stack.sns) as stub:
        answer(stub, *arns)

        unheard = why_unheard(stack)

    assert unheard is not None
    assert unheard.reason == reason
    assert unheard.command.startswith(f"aws sns subscribe --topic-arn {TOPIC} --protocol email")
