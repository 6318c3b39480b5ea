"""The SNS topic for notifications of failures. The workflow itself announces deliveries."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vonage_reports.domain import mail, notifications

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


class Topic:
    """Publishes notifications of a stack to one topic."""

    def __init__(self, client: "SNSClient", topic_arn: str, *, stack: str) -> None:
        self._client = client
        self._topic_arn = topic_arn
        self._stack = stack

    def announce(self, body: Mapping[str, Any]) -> None:
        """Publish a notification, with its filterable fields as message attributes."""
        self._client.publish(
            TopicArn=self._topic_arn,
            Subject=mail.subject(body),
            Message=mail.message(body, stack=self._stack),
            MessageStructure="json",
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in notifications.attributes(body).items()
            },
        )
