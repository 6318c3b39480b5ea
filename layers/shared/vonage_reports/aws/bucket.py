"""The small objects of the bucket: receipts and manifests."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from vonage_reports.domain.objects import Precedence

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

_JSON = "application/json"

_CHANGED = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED)
"""S3's answers to a conditional write of an object that is, or just becomes, another."""


class Bucket:
    """Reads and writes JSON objects of one bucket."""

    def __init__(self, client: "S3Client", name: str) -> None:
        self.client = client
        self.name = name

    def exists(self, key: str) -> bool:
        """Whether there is an object at `key`."""
        return self._head(key) is not None

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
        self.client.put_object(Bucket=self.name, Key=key, Body=_json(value), ContentType=_JSON)

    def precedence(self, key: str) -> Precedence | None:
        """Return the precedence of the object at `key`, None if there is nothing."""
        found = self._head(key)
        return found and Precedence.from_metadata(found["Metadata"])

    def replace_json(self, key: str, value: Mapping[str, Any], precedence: Precedence) -> bool:
        """Write a JSON object unless one of greater precedence is there; False: one was."""
        return self.replace(key, _json(value), precedence, content_type=_JSON)

    def replace(
        self, key: str, body: bytes | IO[bytes], precedence: Precedence, *, content_type: str
    ) -> bool:
        """Write an object unless one of greater precedence is there; False: one was.

        It is put over the one that was seen, on condition that nobody else replaced that one.
        """
        while True:
            found = self._head(key)
            if found and Precedence.from_metadata(found["Metadata"]) > precedence:
                return False
            unmoved: Any = {"IfMatch": found["ETag"]} if found else {"IfNoneMatch": "*"}
            try:
                self.client.put_object(
                    Bucket=self.name,
                    Key=key,
                    Body=body,
                    ContentType=content_type,
                    Metadata=precedence.to_metadata(),
                    **unmoved,
                )
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] not in _CHANGED:
                    raise
            else:
                return True

    def _head(self, key: str) -> "HeadObjectOutputTypeDef | None":
        try:
            return self.client.head_object(Bucket=self.name, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != HTTPStatus.NOT_FOUND:
                raise
            return None


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=2).encode()
