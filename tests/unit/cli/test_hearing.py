"""The subscriptions of the alarms.

Neither the emulator nor moto leaves a subscription unconfirmed, so botocore's stub answers here.
"""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from vonage_reports_cli.checks import Doctor, Verdict
from vonage_reports_cli.status.hearing import (
    Subscriptions,
    Unheard,
    subscriptions_of,
    why_unheard,
)

PENDING = (
    "the subscription of the alarms is not confirmed. Confirm it with the token in the link of its "
    "e-mail. SNS deletes the subscription after 48 h. Then subscribe again"
)
WAITING = (
    "1 of 2 subscriptions wait for a confirmation (email). Confirm each with the token in its "
    "message's link. SNS deletes them after 48 h"
)
NONE = "the topic of the alarms has no confirmed subscription"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:alarms"
YOURS = "arn:aws:sns:eu-west-1:210987654321:pager"
NONE_OF_YOURS = f". The topic {YOURS} of the setting AlarmTopicArn has none either"
GONE = f"the topic {YOURS} of the setting AlarmTopicArn does not exist, so no alarm reaches it"
NOT_LISTED = f"{{}} confirmed of the stack's own topic. You may not list those of {YOURS}"
SET = "vonage-reports --stack usage settings set AlarmTopicArn ARN"
SUBSCRIBE = (
    f"aws sns subscribe --topic-arn {TOPIC} --protocol email --notification-endpoint ADDRESS"
)
CONFIRM = (
    f"aws sns confirm-subscription --topic-arn {TOPIC} --token TOKEN "
    "--authenticate-on-unsubscribe true"
)


class Stack:
    """A stack whose SNS gives the stubbed answers."""

    def __init__(self) -> None:
        self.name = "usage"
        self.outputs = {"AlarmTopicArn": TOPIC}
        self.parameters = {"AlarmTopicArn": ""}
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


def answer(
    stub: Stubber,
    *arns: str,
    token: str | None = None,
    following: str = "",
    topic: str = TOPIC,
) -> None:
    """Add a page of subscriptions. `token` asks for the page, `following` for the one after it."""
    subscriptions = [
        {
            "SubscriptionArn": arn,
            "Owner": "123456789012",
            "Protocol": "email",
            "Endpoint": "operator@example.com",
            "TopicArn": topic,
        }
        for arn in arns
    ]
    page: dict[str, Any] = {"Subscriptions": subscriptions}
    if following:
        page["NextToken"] = following
    asked = {"TopicArn": topic, **({"NextToken": token} if token else {})}
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
    ("arns", "reason", "command"),
    [
        ([], NONE, SUBSCRIBE),
        (["Deleted"], NONE, SUBSCRIBE),
        (["PendingConfirmation"], PENDING, CONFIRM),
    ],
)
def test_without_a_confirmed_subscription_no_alarm_is_heard(
    arns: list[str], reason: str, command: str, stack: Any
) -> None:
    with Stubber(stack.sns) as stub:
        answer(stub, *arns)

        assert why_unheard(stack) == Unheard(reason, command)


# The operator's own topic


def answer_of_yours(stub: Stubber, arns: list[str] | str) -> None:
    """Add the answer about the operator's topic: its subscriptions, or the code of an error."""
    if isinstance(arns, str):
        stub.add_client_error(
            "list_subscriptions_by_topic", arns, expected_params={"TopicArn": YOURS}
        )
    else:
        answer(stub, *arns, topic=YOURS)


@pytest.mark.parametrize(
    ("own", "yours", "reason", "command"),
    [
        ([], [f"{YOURS}:1"], None, None),
        (["PendingConfirmation"], [f"{YOURS}:1"], None, None),
        # Another account allows CloudWatch to publish, and no look.
        ([], "AuthorizationError", None, None),
        ([], [], NONE + NONE_OF_YOURS, SUBSCRIBE),
        ([], ["Deleted"], NONE + NONE_OF_YOURS, SUBSCRIBE),
        (["PendingConfirmation"], ["PendingConfirmation"], PENDING + NONE_OF_YOURS, CONFIRM),
        ([], "NotFound", f"{NONE}. Also, {GONE}", SUBSCRIBE),
    ],
)
def test_topic_of_the_operator_is_heard_too(
    own: list[str], yours: list[str] | str, reason: str | None, command: str | None, stack: Any
) -> None:
    stack.parameters = {"AlarmTopicArn": YOURS}
    with Stubber(stack.sns) as stub:
        answer(stub, *own)
        answer_of_yours(stub, yours)

        unheard = why_unheard(stack)
        stub.assert_no_pending_responses()

    found = (None, None) if unheard is None else (unheard.reason, unheard.command)
    assert found == (reason, command)


def test_throttled_look_at_the_operators_topic_is_no_finding(stack: Any) -> None:
    stack.parameters = {"AlarmTopicArn": YOURS}
    with Stubber(stack.sns) as stub:
        answer(stub)
        answer_of_yours(stub, "Throttled")

        with pytest.raises(ClientError, match="Throttled"):
            why_unheard(stack)


def finding_of(stack: Any) -> tuple[Verdict, str, str | None]:
    """Return the finding of `doctor` about the subscriptions of the alarms."""
    doctor = Doctor(stack)
    found = doctor._finding("alarm subscriptions", doctor._alarm_subscriptions)
    return found.verdict, found.sentence, found.command


@pytest.mark.parametrize(
    ("own", "verdict", "sentence", "command"),
    [
        ([f"{TOPIC}:1"], Verdict.OK, "1 confirmed", None),
        (
            [f"{TOPIC}:1", "PendingConfirmation"],
            Verdict.PROBLEM,
            WAITING,
            CONFIRM,
        ),
        (
            ["Deleted"],
            Verdict.PROBLEM,
            f"{TOPIC} has no subscription: no alarm has a reader",
            SUBSCRIBE,
        ),
    ],
)
def test_doctor_names_the_subscriptions_of_the_alarms(
    own: list[str], verdict: Verdict, sentence: str, command: str | None, stack: Any
) -> None:
    with Stubber(stack.sns) as stub:
        answer(stub, *own)

        assert finding_of(stack) == (verdict, sentence, command)


@pytest.mark.parametrize(
    ("own", "yours", "finding"),
    [
        (
            [],
            [f"{YOURS}:1"],
            (Verdict.OK, f"0 confirmed of the stack's own topic, 1 of {YOURS}", None),
        ),
        ([f"{TOPIC}:1"], "AuthorizationError", (Verdict.OK, NOT_LISTED.format(1), None)),
        ([], "AuthorizationError", (Verdict.UNKNOWN, NOT_LISTED.format(0), None)),
        (
            [],
            [],
            (
                Verdict.PROBLEM,
                f"0 confirmed of the stack's own topic, 0 of {YOURS}: no alarm has a reader",
                SUBSCRIBE.replace(TOPIC, YOURS),
            ),
        ),
        (None, "NotFound", (Verdict.PROBLEM, GONE, SET)),
    ],
)
def test_doctor_looks_at_the_topic_of_the_operator(
    own: list[str] | None,
    yours: list[str] | str,
    finding: tuple[Verdict, str, str | None],
    stack: Any,
) -> None:
    stack.parameters = {"AlarmTopicArn": YOURS}
    with Stubber(stack.sns) as stub:
        answer_of_yours(stub, yours)
        if own is not None:
            answer(stub, *own)

        assert finding_of(stack) == finding
        stub.assert_no_pending_responses()
