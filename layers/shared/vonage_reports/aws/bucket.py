"""The small objects of the bucket: receipts and manifests."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.objects import Precedence

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

_JSON = "application/json"

_CHANGED = ("NoSuchKey", "ConditionalRequestConflict", "PreconditionFailed")
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
        body = json.dumps(value, indent=2).encode()
        self.client.put_object(Bucket=self.name, Key=key, Body=body, ContentType=_JSON)

    def precedence(self, key: str) -> Precedence | None:
        """Return the precedence of the object at `key`, None if there is nothing."""
        found = self._head(key)
        return found and Precedence.from_metadata(found["Metadata"])

    def replace_json(
        self, key: str, value: Mapping[str, Any], precedence: Precedence
    ) -> str | None:
        """Write a JSON object unless one of greater precedence is there, as `replace` does.

        On one line: Athena reads JSON line by line.
        """
        return self.replace(key, json.dumps(value).encode(), precedence, content_type=_JSON)

    def replace(
        self, key: str, body: bytes | IO[bytes], precedence: Precedence, *, content_type: str
    ) -> str | None:
        """Write an object unless one of greater precedence is there; return its version's id.

        It is put over the one that was seen, on condition that nobody else replaced that one.
        None: one of greater precedence was there.
        """
        while True:
            found = self._head(key)
            if found and Precedence.from_metadata(found["Metadata"]) > precedence:
                return None
            unmoved: Any = {"IfMatch": found["ETag"]} if found else {"IfNoneMatch": "*"}
            if not isinstance(body, bytes):
                body.seek(0)
            try:
                answer = self.client.put_object(
                    Bucket=self.name,
                    Key=key,
                    Body=body,
                    ContentType=content_type,
                    Metadata=precedence.to_metadata(),
                    **unmoved,
                )
            except ClientError as error:
                if error.response["Error"]["Code"] not in _CHANGED:
                    raise
            else:
                return answer.get("VersionId", "null")

    @contextmanager
    def open(self, key: str, start: int, length: int) -> Iterator["StreamingBody"]:
        """Stream `length` bytes of an object, from `start` on.

        Raises InvalidRequest where there is none: only a person can bring it back.
        """
        try:
            body = self.client.get_object(
                Bucket=self.name, Key=key, Range=f"bytes={start}-{start + length - 1}"
            )["Body"]
        except self.client.exceptions.NoSuchKey as error:
            raise InvalidRequest(
                f"{key} is not there: restore its version, or collect the window again"
            ) from error
        with body:
            yield body

    def _head(self, key: str) -> "HeadObjectOutputTypeDef | None":
        try:
            return self.client.head_object(Bucket=self.name, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != HTTPStatus.NOT_FOUND:
                raise
            return None
