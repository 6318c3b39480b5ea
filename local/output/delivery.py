"""Copies the delivered objects and the notifications from the emulator to a folder."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from local.runner.folders import file_of
from local.stack.deployment import Stack
from local.stack.emulator import Emulator
from vonage_reports_cli.errors import BadInput

NOTIFICATIONS = "notifications.jsonl"
_MANIFESTS = "manifests/"


@dataclass(frozen=True)
class StoredObject:
    """A copied object of the bucket. `metadata` is its user-defined metadata."""

    etag: str
    bytes: int
    metadata: Mapping[str, str]


class Delivery:
    """A folder that mirrors the bucket's keys, with the notifications beside them.

    An object is not copied if its key names no file inside the folder. `refusals` says why.
    `announce` is called with the path of each file before the file is written. `has_delivered`
    becomes true with the first copied manifest.
    """

    def __init__(
        self,
        emulator: Emulator,
        stack: Stack,
        folder: Path,
        *,
        announce: Callable[[Iterable[str]], None] = lambda _: None,
    ) -> None:
        self._s3 = emulator.client("s3")
        self._sqs = emulator.client("sqs")
        self._bucket = stack.outputs["BucketName"]
        self._queue = stack.subscribe_queue("notifications-of-make-run")
        self.folder = folder
        self.has_delivered = False
        self._announce = announce
        self.objects: dict[str, StoredObject] = {}
        self._archives: dict[str, list[str]] = {}
        self._manifests: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self.notifications: list[dict[str, Any]] = []

    def update(self) -> None:
        """Copy the new objects of the bucket, and receive the new notifications."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / NOTIFICATIONS).touch()
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket)
        for page in pages:
            for found in page.get("Contents", []):
                self._copy(found["Key"], found["ETag"])
        self._receive()

    def upload(self, key: str, metadata: Mapping[str, str]) -> None:
        """Upload a file of the folder to the bucket. Raises BadInput for a bad key."""
        source = file_of(self.folder, key)
        with source.open("rb") as file:
            answer = self._s3.put_object(
                Bucket=self._bucket, Key=key, Body=file, Metadata=dict(metadata)
            )
        self._add(key, StoredObject(answer["ETag"], source.stat().st_size, metadata))

    @property
    def refusals(self) -> list[str]:
        """One sentence for each object that was not copied."""
        return list(self._refused.values())

    def manifest_key(self, report_id: str) -> str | None:
        """Return the key of a report's manifest, or None before the report's delivery."""
        return self._manifests.get(report_id)

    def archive_keys(self, report_id: str) -> list[str]:
        """Return the keys of a report's archives."""
        return self._archives.get(report_id, [])

    def dataset_files(self) -> list[Path]:
        """Return the dataset files that this run's notifications name, each once."""
        keys = {each["dataset"] for each in self.notifications if each.get("dataset")}
        return [self.folder / key for key in sorted(keys) if key in self.objects]

    def archive_bytes(self, report_id: str) -> int:
        """Return the total size of a report's archives, in bytes."""
        return sum(self.objects[key].bytes for key in self.archive_keys(report_id))

    def _copy(self, key: str, etag: str) -> None:
        if key in self._refused or (key in self.objects and self.objects[key].etag == etag):
            return
        try:
            target = self._target(key)
        except BadInput as error:
            self._refused[key] = f"an object was not copied: {error}"
            return
        # A fixed name, because a prefix could make a long name too long.
        partial = target.with_name(".partial")
        found = self._s3.get_object(Bucket=self._bucket, Key=key)
        if key not in self.objects:
            self._announce([key])
        try:
            with partial.open("wb") as file:
                for chunk in found["Body"].iter_chunks(1024 * 1024):
                    file.write(chunk)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        self.has_delivered = self.has_delivered or key.startswith(_MANIFESTS)
        stored = StoredObject(found["ETag"], found["ContentLength"], found.get("Metadata", {}))
        self._add(key, stored)

    def _target(self, key: str) -> Path:
        """Return the file for an object, in an existing folder. Raises BadInput."""
        target = file_of(self.folder, key)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            is_free = not target.is_dir()
        except (FileExistsError, NotADirectoryError):
            is_free = False
        if not is_free:
            raise BadInput(
                f"{key!r} cannot be saved inside {self.folder}: another key needs the same path"
            )
        return target

    def _add(self, key: str, stored: StoredObject) -> None:
        if key not in self.objects:
            path = PurePosixPath(key)
            if key.startswith(_MANIFESTS):
                self._manifests[path.stem] = key
            elif key.startswith("archives/") and path.suffix == ".zip":
                self._archives.setdefault(path.parent.name, []).append(key)
        self.objects[key] = stored

    def _receive(self) -> None:
        while True:
            answer = self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10)
            messages = answer.get("Messages", [])
            if not messages:
                return
            with (self.folder / NOTIFICATIONS).open("a") as file:
                for message in messages:
                    notification = json.loads(message["Body"])
                    self.notifications.append(notification)
                    file.write(json.dumps(notification) + "\n")
            for message in messages:
                self._sqs.delete_message(
                    QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"]
                )
