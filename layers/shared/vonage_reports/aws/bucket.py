"""S3: conditional writes, JSON objects, ranged reads."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
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
"""S3's error codes for a conditional write if another writer changed the object."""


_EXISTS = "PreconditionFailed"
"""S3's error code for a write with `If-None-Match: *` if there is an object."""


@dataclass(frozen=True)
class Found:
    """An object: its bytes, its metadata and the time of its last change."""

    body: bytes
    metadata: Mapping[str, str]
    changed_at: datetime


class Bucket:
    """Reads and writes the objects of one bucket."""

    def __init__(self, client: "S3Client", name: str) -> None:
        self.client = client
        self.name = name

    def exists(self, key: str) -> bool:
        """Whether the bucket has an object at `key`."""
        return self._head(key) is not None

    def read_json(self, key: str) -> dict[str, Any] | None:
        """Return the JSON object at `key`, or None without one."""
        return self.read_version(key)[0]

    def read_version(self, key: str) -> tuple[dict[str, Any] | None, str]:
        """Return the JSON object at `key` and its version id, or None without an object."""
        try:
            answer = self.client.get_object(Bucket=self.name, Key=key)
        except self.client.exceptions.NoSuchKey:
            return None, ""
        with answer["Body"] as body:
            value: dict[str, Any] = json.load(body)
        return value, answer.get("VersionId", "null")

    def read(self, key: str, *, most: int) -> Found | None:
        """Return the object at `key`, or None without one. Of a larger one, read `most` bytes."""
        # GET, not HEAD: a HEAD answers 404 for a missing bucket too.
        try:
            answer = self.client.get_object(Bucket=self.name, Key=key)
        except self.client.exceptions.NoSuchKey:
            return None
        body = answer["Body"]
        # `as body` would give the raw stream. botocore checks the length only of a whole body.
        with body:
            content = body.read(most) if answer["ContentLength"] > most else body.read()
        return Found(content, answer["Metadata"], answer["LastModified"])

    def create(self, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
        """Write a JSON object with metadata, unless there is an object at `key`.

        Return whether it was written.
        """
        try:
            self.client.put_object(
                Bucket=self.name,
                Key=key,
                Body=body,
                ContentType=_JSON,
                Metadata=metadata,
                IfNoneMatch="*",
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != _EXISTS:
                raise
            return False
        return True

    def write_json(self, key: str, value: Mapping[str, Any]) -> None:
        """Write a JSON object, indented for human readers."""
        body = json.dumps(value, indent=2).encode()
        self.client.put_object(Bucket=self.name, Key=key, Body=body, ContentType=_JSON)

    def precedence(self, key: str) -> Precedence | None:
        """Return the precedence of the object at `key`, or None without an object."""
        found = self._head(key)
        return found and Precedence.from_metadata(found["Metadata"])

    def replace_json(
        self, key: str, value: Mapping[str, Any], precedence: Precedence
    ) -> str | None:
        """Write a JSON object as `replace` does, on one line for Athena."""
        return self.replace(key, json.dumps(value).encode(), precedence, content_type=_JSON)

    def replace(
        self, key: str, body: bytes | IO[bytes], precedence: Precedence, *, content_type: str
    ) -> str | None:
        """Write an object, unless its key has an object of greater precedence.

        Return the new version id, or None if nothing was written. The write is conditional on the
        ETag that was compared. If another writer changed the object meanwhile, compare again.
        """
        while True:
            found = self._head(key)
            if found and Precedence.from_metadata(found["Metadata"]) > precedence:
                return None
            unchanged: Any = {"IfMatch": found["ETag"]} if found else {"IfNoneMatch": "*"}
            if not isinstance(body, bytes):
                body.seek(0)
            try:
                answer = self.client.put_object(
                    Bucket=self.name,
                    Key=key,
                    Body=body,
                    ContentType=content_type,
                    Metadata=precedence.to_metadata(),
                    **unchanged,
                )
            except ClientError as error:
                if error.response["Error"]["Code"] not in _CHANGED:
                    raise
            else:
                return answer.get("VersionId", "null")

    @contextmanager
    def open(self, key: str, start: int, length: int) -> Iterator["StreamingBody"]:
        """Stream `length` bytes of an object from offset `start`.

        Raises InvalidRequest if the object is missing, because only the operator can restore it.
        """
        try:
            body = self.client.get_object(
                Bucket=self.name, Key=key, Range=f"bytes={start}-{start + length - 1}"
            )["Body"]
        except self.client.exceptions.NoSuchKey as error:
            raise InvalidRequest(
                f"{key} is missing: restore its version and send reconvert, or send recollect "
                "(billed)"
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
