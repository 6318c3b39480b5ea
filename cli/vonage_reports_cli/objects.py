"""The delivered objects: the bucket of a stack, or the copy of a bucket in a folder."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from vonage_reports.aws.bucket import Bucket
from vonage_reports.domain.report import Revision
from vonage_reports.domain.windows import Window
from vonage_reports_cli.errors import CommandError
from vonage_reports_cli.period import Period
from vonage_reports_cli.session import Session
from vonage_reports_cli.stack import DeployedStack

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_FOLDERS_BEFORE_THE_DATE = {"data/": 3, "manifests/": 2, "archives/": 2, "unreadable/": 3}
"""How many folders precede the date in the keys of a prefix."""

_DATE = re.compile(r"/(?:date=(\d{4})-(\d\d)-(\d\d)|(\d{4})/(\d\d)/(\d\d))/")
_CONNECTIONS = 16
_CHUNK_BYTES = 2**20


class Objects(Protocol):
    """The delivered objects."""

    def keys(self, prefix: str, period: Period | None = None) -> list[str]:
        """Return the keys under a prefix, sorted.

        With a period, return only the keys of windows that may have records of the period.
        """

    def read_json(self, key: str) -> dict[str, Any] | None:
        """Return a JSON object, or None without one."""

    def file(self, key: str) -> AbstractContextManager[Path]:
        """Return a context with the path of a file with an object's bytes.

        The context raises FileNotFoundError without the object, and NotReadable.
        """


class NotReadable(Exception):
    """S3 has an object that cannot be read now, such as a cold archive."""


def objects_of(session: Session) -> Objects:
    """Return the objects of the command's target."""
    target = session.target
    if isinstance(target, DeployedStack):
        return StackObjects(target.bucket)
    return FolderObjects(target.out)


_EXPIRY_SETTINGS = {
    "archives/": "ArchiveExpiryDays",
    "data/": "DatasetExpiryDays",
    "unreadable/": "DatasetExpiryDays",
}


def expires_before(session: Session) -> Mapping[str, datetime]:
    """Return the ends of the windows whose objects may have expired, by prefix of their keys."""
    target = session.target
    if not isinstance(target, DeployedStack):
        return {}
    days = {
        prefix: int(target.parameters.get(name, "0")) for prefix, name in _EXPIRY_SETTINGS.items()
    }
    now = datetime.now(UTC)
    return {prefix: now - timedelta(days=number) for prefix, number in days.items() if number}


def manifests_in(objects: Objects, period: Period | None = None) -> list[dict[str, Any]]:
    """Read the manifests in parallel, because they are many and small.

    Raises CommandError for a manifest that lacks a field.
    """
    keys = [key for key in objects.keys("manifests/", period) if key.endswith(".json")]
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        found = list(zip(keys, pool.map(objects.read_json, keys), strict=True))
    for key, manifest in found:
        fault = None if manifest is None else manifest_fault(manifest)
        if fault is not None:
            raise CommandError(
                f"{key} is no manifest: {fault}; `verify` names every damaged object"
            )
    return [manifest for _, manifest in found if manifest is not None]


def manifest_fault(manifest: Mapping[str, Any]) -> str | None:
    """Return the first fault of the fields that identify a manifest's window, or None."""
    for name, is_right in _NEEDED_FIELDS.items():
        try:
            fits = is_right(manifest[name])
        except (KeyError, TypeError, ValueError, AttributeError):
            fits = False
        if not fits:
            return f"its {name} is missing or unreadable"
    return None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_interval(window: Window) -> bool:
    return window.start < window.end and window.first_date is not None


def _is_dataset(value: Mapping[str, object] | None) -> bool:
    return value is None or (isinstance(value["key"], str) and isinstance(value["rows"], int))


_NEEDED_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("report_id", "definition", "product", "account_id"), _is_text),
    "revision": lambda value: value in list(Revision),
    "window": lambda value: _is_interval(Window.from_dict(value)),
    "rows": lambda value: isinstance(value, int),
    "dataset": _is_dataset,
}


def date_of(key: str) -> date | None:
    """Return the first date of a key's window, or None for a key without one."""
    found = _DATE.search(key)
    if found is None:
        return None
    try:
        return date(*(int(each) for each in found.groups() if each is not None))
    except ValueError:
        return None


def _of_period(keys: Iterable[str], period: Period | None) -> list[str]:
    if period is None:
        return sorted(keys)
    first, last = period.window_dates
    dated = ((key, date_of(key)) for key in keys)
    return sorted(key for key, day in dated if day is None or first <= day <= last)


class FolderObjects:
    """The objects in a folder, whose paths are the keys."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def keys(self, prefix: str, period: Period | None = None) -> list[str]:
        """Return the keys under a prefix, sorted."""
        found = (self._root / prefix).rglob("*")
        keys = (path.relative_to(self._root).as_posix() for path in found if path.is_file())
        return _of_period(keys, period)

    def read_json(self, key: str) -> dict[str, Any] | None:
        """Return a JSON object, or None without one."""
        try:
            return _json(key, (self._root / key).read_bytes())
        except FileNotFoundError:
            return None

    @contextmanager
    def file(self, key: str) -> Iterator[Path]:
        """Yield the object's own file."""
        path = self._root / key
        if not path.is_file():
            raise FileNotFoundError(key)
        yield path


class StackObjects:
    """The objects of a stack's bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._s3: S3Client = bucket.client

    def keys(self, prefix: str, period: Period | None = None) -> list[str]:
        """Return the keys under a prefix, sorted. List only the months of the period."""
        if period is None:
            return sorted(self._list(prefix))
        folders = [prefix]
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            for _ in range(_FOLDERS_BEFORE_THE_DATE[prefix]):
                folders = [each for found in pool.map(self._folders, folders) for each in found]
            form = "date=%Y-%m" if "=" in "".join(folders) else "%Y/%m/"
            months = [
                f"{folder}{month.strftime(form)}" for folder in folders for month in period.months()
            ]
            keys = [key for found in pool.map(self._list, months) for key in found]
        return _of_period(keys, period)

    def read_json(self, key: str) -> dict[str, Any] | None:
        """Return a JSON object, or None without one."""
        try:
            body = self._s3.get_object(Bucket=self._bucket.name, Key=key)["Body"]
        except self._s3.exceptions.NoSuchKey:
            return None
        with body:
            return _json(key, body.read())

    @contextmanager
    def file(self, key: str) -> Iterator[Path]:
        """Download an object to a file, which is deleted afterwards."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "object"
            self._download(key, path)
            yield path

    def _download(self, key: str, path: Path) -> None:
        try:
            answer = self._s3.get_object(Bucket=self._bucket.name, Key=key)
        except self._s3.exceptions.NoSuchKey as error:
            raise FileNotFoundError(key) from error
        except self._s3.exceptions.InvalidObjectState as error:
            raise NotReadable(f"{key} is cold; restore it in S3 first") from error
        with path.open("wb") as file:
            for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
                file.write(chunk)

    def _folders(self, prefix: str) -> list[str]:
        return [
            each["Prefix"]
            for page in self._pages(Prefix=prefix, Delimiter="/")
            for each in page.get("CommonPrefixes", [])
        ]

    def _list(self, prefix: str) -> list[str]:
        return [
            each["Key"] for page in self._pages(Prefix=prefix) for each in page.get("Contents", [])
        ]

    def _pages(self, **asked: str) -> Iterator[Mapping[str, Any]]:
        lists: Any = self._s3.get_paginator("list_objects_v2")
        yield from lists.paginate(Bucket=self._bucket.name, **asked)


def _json(key: str, body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise CommandError(f"{key} is no JSON: {error}; restore its last version") from error
    if not isinstance(value, dict):
        raise CommandError(f"{key} is no JSON object; restore its last version")
    return value


def product_of(key: str) -> str | None:
    """Return the product of a key under data/."""
    found = re.match(r"data/product=([^/]+)/", key)
    return found[1] if found else None


def by_product(keys: Sequence[str]) -> dict[str, list[str]]:
    """Group the keys of dataset files by product."""
    grouped: dict[str, list[str]] = {}
    for key in keys:
        product = product_of(key)
        if product is not None and key.endswith(".parquet"):
            grouped.setdefault(product, []).append(key)
    return grouped
