"""The subscriptions of the topics: whether an alarm or a notification has a reader."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from vonage_reports_cli.stack import DeployedStack

_PENDING = "PendingConfirmation"
"""SNS gives this in place of an ARN until the subscriber confirms."""

_ENDED = "Deleted"

_MISSING = frozenset({"NotFound", "NotFoundException"})
_DENIED = frozenset({"AuthorizationError", "AuthorizationErrorException", "AccessDenied"})

CONFIRMED_WITHIN_HOURS = 48
"""SNS deletes a subscription without a confirmation.

Source: https://aws.amazon.com/about-aws/whats-new/2023/05/amazon-sns-automatic-deletion-unconfirmed-subscriptions/
"""


@dataclass(frozen=True)
class Subscriptions:
    """How many subscriptions of a topic are confirmed, and how many wait for it, by protocol."""

    confirmed: int
    pending: tuple[str, ...]


@dataclass(frozen=True)
class Unheard:
    """The reason why no alarm has a reader, and the command that mends it."""

    reason: str
    command: str

    def to_dict(self) -> dict[str, str]:
        """Return the JSON form."""
        return {"reason": self.reason, "command": self.command}


class NoTopic(Exception):
    """The topic of the setting AlarmTopicArn does not exist."""


def subscriptions_of(stack: "DeployedStack", topic_arn: str) -> Subscriptions:
    """Read the subscriptions of a topic. Raises botocore's errors."""
    pages = stack.client("sns").get_paginator("list_subscriptions_by_topic")
    found = [
        each
        for page in pages.paginate(TopicArn=topic_arn)
        for each in page["Subscriptions"]
        if each["SubscriptionArn"] != _ENDED
    ]
    pending = [each["Protocol"] for each in found if each["SubscriptionArn"] == _PENDING]
    return Subscriptions(len(found) - len(pending), tuple(pending))


def operators_topic(stack: "DeployedStack") -> str | None:
    """Return the setting AlarmTopicArn: the operator's own topic, to which each alarm goes too."""
    return stack.parameters.get("AlarmTopicArn") or None


def subscriptions_of_operators_topic(stack: "DeployedStack", topic: str) -> Subscriptions | None:
    """Read the subscriptions of the operator's topic, None if this role may not list them.

    The topic of another account usually allows CloudWatch to publish, and no more. Raises NoTopic
    and botocore's errors.
    """
    try:
        return subscriptions_of(stack, topic)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code")
        if code in _MISSING:
            raise NoTopic(
                f"the topic {topic} of the setting AlarmTopicArn does not exist, so no alarm "
                "reaches it"
            ) from error
        if code in _DENIED:
            return None
        raise


def why_unheard(stack: "DeployedStack") -> Unheard | None:
    """Return why an alarm of a stack has no reader, or None if it has one.

    If this role may not list the subscriptions of the operator's topic, this counts as a reader:
    the operator chose the topic. Raises botocore's errors.
    """
    topic = stack.outputs.get("AlarmTopicArn")
    if topic is None:
        return Unheard("the stack has no topic of alarms. Deploy this version", "sam deploy")
    found = subscriptions_of(stack, topic)
    if found.confirmed:
        return None
    beside = ""
    if (yours := operators_topic(stack)) is not None:
        try:
            of_yours = subscriptions_of_operators_topic(stack, yours)
        except NoTopic as error:
            beside = f". Also, {error}"
        else:
            if of_yours is None or of_yours.confirmed:
                return None
            beside = f". The topic {yours} of the setting AlarmTopicArn has none either"
    if found.pending:
        reason = (
            "the subscription of the alarms is not confirmed. Confirm it with the token in the "
            f"link of its e-mail. SNS deletes the subscription after {CONFIRMED_WITHIN_HOURS} h. "
            "Then subscribe again"
        )
        return Unheard(reason + beside, confirming(topic))
    reason = "the topic of the alarms has no confirmed subscription"
    return Unheard(reason + beside, subscribing(topic))


def subscribing(topic: str) -> str:
    """Return the command that subscribes an e-mail address."""
    return f"aws sns subscribe --topic-arn {topic} --protocol email --notification-endpoint ADDRESS"


def confirming(topic: str) -> str:
    """Return the command that confirms a subscription, so that no link in a mail can end it.

    Source: https://docs.aws.amazon.com/sns/latest/api/API_ConfirmSubscription.html
    """
    return (
        f"aws sns confirm-subscription --topic-arn {topic} --token TOKEN "
        "--authenticate-on-unsubscribe true"
    )
