"""The SNS topic for notifications of failures. The workflow itself announces deliveries."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vonage_reports.domain import notifications

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


class Topic:
    """Publishes notifications to one topic."""

    def __init__(self, client: "SNSClient", topic_arn: str) -> None:
        self._client = client
        self._topic_arn = topic_arn

    def announce(self, body: Mapping[str, Any]) -> None:
        """Publish a notification, with its filterable fields as message attributes."""
        self._client.publish(
            TopicArn=self._topic_arn,
            Message=notifications.text(body),
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in notifications.attributes(body).items()
            },
        )
