"""The subscriptions of a stack's topics: whether a notification has a reader."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vonage_reports_cli.stack import DeployedStack

_PENDING = "PendingConfirmation"
"""SNS gives this in place of an ARN until the subscriber confirms."""

_ENDED = "Deleted"

CONFIRMED_WITHIN_HOURS = 48
"""SNS deletes a subscription without a confirmation.

Source: https://docs.aws.amazon.com/sns/latest/dg/sns-delete-subscription-topic.html
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


def why_unheard(stack: "DeployedStack") -> Unheard | None:
    """Return why an alarm of a stack has no reader, or None if a subscription is confirmed.

    Raises botocore's errors.
    """
    topic = stack.outputs.get("AlarmTopicArn")
    if topic is None:
        return Unheard("the stack has no topic of alarms. Deploy this version", "sam deploy")
    found = subscriptions_of(stack, topic)
    if found.confirmed:
        return None
    if found.pending:
        reason = (
            "the subscription of the alarms is not confirmed. Open the link in its e-mail. SNS "
            f"deletes the subscription after {CONFIRMED_WITHIN_HOURS} h. Then subscribe again"
        )
    else:
        reason = "the topic of the alarms has no subscription"
    return Unheard(reason, subscribing(topic))


def subscribing(topic: str) -> str:
    """Return the command that subscribes an e-mail address."""
    return f"aws sns subscribe --topic-arn {topic} --protocol email --notification-endpoint ADDRESS"
