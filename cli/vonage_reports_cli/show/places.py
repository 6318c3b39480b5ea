"""Where a life is read: the bucket of a stack, or the folder of the last run."""

import json
from pathlib import Path
from typing import Any

from vonage_reports.aws.bucket import Bucket


class BucketObjects:
    """The objects of a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def keys(self, prefix: str) -> list[str]:
        """Return the keys with a prefix. Raises botocore's errors."""
        pages = self._bucket.client.get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self._bucket.name, Prefix=prefix)
        return [each["Key"] for page in found for each in page.get("Contents", [])]

    def read_json(self, key: str) -> dict[str, Any] | None:
        """Return the JSON object at `key`, or None without one."""
        return self._bucket.read_json(key)


class FolderObjects:
    """The files of a folder with the bucket's keys."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def keys(self, prefix: str) -> list[str]:
        """Return the keys below a prefix that ends with a slash."""
        files = (each for each in (self._root / prefix).glob("**/*") if each.is_file())
        return sorted(each.relative_to(self._root).as_posix() for each in files)

    def read_json(self, key: str) -> dict[str, Any] | None:
        """Return the JSON object at `key`, or None without one."""
        try:
            value: dict[str, Any] = json.loads((self._root / key).read_text())
        except FileNotFoundError:
            return None
        return value
