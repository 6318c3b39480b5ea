"""The small objects of the bucket: receipts and manifests."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class Bucket:
    """Reads and writes JSON objects of one bucket."""

    def __init__(self, client: "S3Client", name: str) -> None:
        self.client = client
        self.name = name

    def exists(self, key: str) -> bool:
        """Whether there is an object at `key`."""
        try:
            self.client.head_object(Bucket=self.name, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != HTTPStatus.NOT_FOUND:
                raise
            return False
        return True

    def read_json(self, key: str) -> dict[str, Any] | None:
        """Return the JSON object at `key`, None if there is nothing."""
        try:
            body = self.client.get_object(Bucket=self.name, Key=key)["Body"]
        except self.client.exceptions.NoSuchKey:
            return None
        with body:
            value: dict[str, Any] = json.load(body)
        return value

    def write_json(self, key: str, value: Mapping[str, Any]) -> None:
        """Write a JSON object, indented for the person who opens it."""
        self.client.put_object(
            Bucket=self.name,
            Key=key,
            Body=json.dumps(value, indent=2).encode(),
            ContentType="application/json",
        )
