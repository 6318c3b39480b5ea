"""A fake of the S3 features that the code uses.

They are conditional writes, versions, checksums and multipart uploads, which are invisible until
completed. The fake refuses everything else. moto takes 3 ms per call; test_fakes.py compares both.
"""

import base64
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import unquote

from botocore.response import StreamingBody


class Refused(Exception):
    """A refusal by S3: the HTTP status and the code."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


@dataclass(frozen=True)
class Version:
    """One version of an object."""

    body: bytes
    metadata: Mapping[str, str]
    number: str

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.body, usedforsecurity=False).hexdigest()}"'


@dataclass
class Upload:
    """An open multipart upload."""

    key: str
    parts: dict[int, bytes] = field(default_factory=dict)


class Objects:
    """The object versions and the open uploads of one bucket."""

    def __init__(self) -> None:
        self.versions: dict[str, list[Version]] = {}
        self.uploads: dict[str, Upload] = {}
        self._numbers = count(1)

    @property
    def keys(self) -> list[str]:
        return sorted(self.versions)

    def body(self, key: str) -> bytes:
        """Return the newest version's bytes."""
        return self.versions[key][-1].body

    def answer(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Execute one operation, as botocore is about to send it. Raises Refused."""
        key = unquote(params["url_path"].partition("?")[0]).lstrip("/")
        headers = {name.lower(): value for name, value in params["headers"].items()}
        return _OPERATIONS[operation](self, key, headers, params)

    def _head(self, key: str, _: Mapping[str, Any], __: Mapping[str, Any]) -> dict[str, Any]:
        if key not in self.versions:
            raise Refused(404, "404")
        return self._described(key)

    def _described(self, key: str) -> dict[str, Any]:
        newest = self.versions[key][-1]
        return {
            "ETag": newest.etag,
            "Metadata": dict(newest.metadata),
            "VersionId": newest.number,
            "ContentLength": len(newest.body),
        }

    def _get(self, key: str, headers: Mapping[str, Any], _: Mapping[str, Any]) -> dict[str, Any]:
        if key not in self.versions:
            raise Refused(404, "NoSuchKey")
        body = self.body(key)
        if "range" in headers:
            first, last = headers["range"].removeprefix("bytes=").split("-")
            if int(first) >= len(body):
                raise Refused(416, "InvalidRange")
            body = body[int(first) : int(last) + 1]
        stream = StreamingBody(io.BytesIO(body), len(body))
        return {**self._described(key), "Body": stream, "ContentLength": len(body)}

    def _put(
        self, key: str, headers: Mapping[str, Any], params: Mapping[str, Any]
    ) -> dict[str, Any]:
        body = _checked(params, headers)
        self._require(key, headers)
        metadata = {
            name.removeprefix("x-amz-meta-"): value
            for name, value in headers.items()
            if name.startswith("x-amz-meta-")
        }
        return self.add(key, body, metadata)

    def _require(self, key: str, headers: Mapping[str, Any]) -> None:
        existing = self.versions.get(key)
        if headers.get("if-none-match") == "*" and existing:
            raise Refused(412, "PreconditionFailed")
        if "if-match" in headers:
            if not existing:
                raise Refused(404, "NoSuchKey")
            if existing[-1].etag != headers["if-match"]:
                raise Refused(412, "PreconditionFailed")

    def add(self, key: str, body: bytes, metadata: Mapping[str, str]) -> dict[str, Any]:
        """Write a version of an object."""
        version = Version(body, metadata, f"v{next(self._numbers)}")
        self.versions.setdefault(key, []).append(version)
        return {"ETag": version.etag, "VersionId": version.number}

    def _copy(self, key: str, headers: Mapping[str, Any], _: Mapping[str, Any]) -> dict[str, Any]:
        source = unquote(headers["x-amz-copy-source"]).lstrip("/").partition("/")[2]
        if source not in self.versions:
            raise Refused(404, "NoSuchKey")
        copied = self.versions[source][-1]
        if headers.get("x-amz-copy-source-if-match", copied.etag) != copied.etag:
            raise Refused(412, "PreconditionFailed")
        self._require(key, headers)
        return {"CopyObjectResult": self.add(key, copied.body, copied.metadata)}

    def _create(self, key: str, _: Mapping[str, Any], __: Mapping[str, Any]) -> dict[str, Any]:
        name = f"u{next(self._numbers)}"
        self.uploads[name] = Upload(key)
        return {"UploadId": name}

    def _upload(self, key: str, params: Mapping[str, Any]) -> Upload:
        upload = self.uploads.get(params["query_string"]["uploadId"])
        if upload is None or upload.key != key:
            raise Refused(404, "NoSuchUpload")
        return upload

    def _part(
        self, key: str, headers: Mapping[str, Any], params: Mapping[str, Any]
    ) -> dict[str, Any]:
        body = _checked(params, headers)
        self._upload(key, params).parts[int(params["query_string"]["partNumber"])] = body
        return {"ETag": f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'}

    def _complete(
        self, key: str, headers: Mapping[str, Any], params: Mapping[str, Any]
    ) -> dict[str, Any]:
        upload = self._upload(key, params)
        self._require(key, headers)
        body = b"".join(upload.parts[number] for number in sorted(upload.parts))
        del self.uploads[params["query_string"]["uploadId"]]
        return self.add(key, body, {})

    def _abort(self, key: str, _: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
        self._upload(key, params)
        del self.uploads[params["query_string"]["uploadId"]]
        return {}


_Operation = Callable[[Objects, str, Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]
_OPERATIONS: Mapping[str, _Operation] = {
    "HeadObject": Objects._head,
    "GetObject": Objects._get,
    "PutObject": Objects._put,
    "CopyObject": Objects._copy,
    "CreateMultipartUpload": Objects._create,
    "UploadPart": Objects._part,
    "CompleteMultipartUpload": Objects._complete,
    "AbortMultipartUpload": Objects._abort,
}


def _checked(params: Mapping[str, Any], headers: Mapping[str, Any]) -> bytes:
    body = params["body"]
    data = body.read() if hasattr(body, "read") else bytes(body)
    declared = headers.get("x-amz-checksum-crc32")
    if declared is not None and base64.b64decode(declared) != zlib.crc32(data).to_bytes(4):
        raise Refused(400, "BadDigest")
    return data


def read_json(objects: Objects, key: str) -> dict[str, Any]:
    """Return the JSON of an object."""
    value: dict[str, Any] = json.loads(objects.body(key))
    return value
