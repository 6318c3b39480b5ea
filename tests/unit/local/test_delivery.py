import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import pytest
from botocore.response import StreamingBody
from hypothesis import given
from hypothesis import strategies as st

from local.output.delivery import Delivery
from local.stack.deployment import Stack
from local.stack.emulator import Emulator
from tests.support.unsafe_text import ANY_TEXT, BAD_KEYS

GOOD = "archives/sms/abcd1234/2026/11/18/sms-1/r-1.zip"


class FakeEmulator:
    """A bucket with these objects, and a queue without messages."""

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self._objects = objects
        self.requested: list[str] = []

    def client(self, _service: str) -> "FakeEmulator":
        return self

    def get_paginator(self, _operation: str) -> "FakeEmulator":
        return self

    def paginate(self, **request: str) -> Iterator[dict[str, Any]]:
        assert request == {"Bucket": "bucket"}
        yield {"Contents": [{"Key": key, "ETag": "1"} for key in self._objects]}

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803 - boto3's
        assert Bucket == "bucket"
        self.requested.append(Key)
        content = self._objects[Key]
        body = StreamingBody(BytesIO(content), len(content))
        return {"Body": body, "ETag": "1", "ContentLength": len(content)}

    def receive_message(self, **_: object) -> dict[str, Any]:
        return {}


class FakeStack:
    def __init__(self) -> None:
        self.outputs = {"BucketName": "bucket"}

    def subscribe_queue(self, name: str) -> str:
        return name


def delivered(
    folder: Path, *keys: str, announce: Callable[[Iterable[str]], None] = lambda _: None
) -> tuple[Delivery, FakeEmulator]:
    """Copy objects with these keys twice, as two updates do."""
    emulator = FakeEmulator(dict.fromkeys(keys, b"content of an object"))
    delivery = Delivery(
        cast("Emulator", emulator), cast("Stack", FakeStack()), folder, announce=announce
    )
    delivery.update()
    delivery.update()
    return delivery, emulator


def files_under(folder: Path, root: Path | None = None) -> set[str]:
    """Return the files of a folder, as paths from `root` or from the folder itself."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(root or folder)) for path in files}


def test_object_is_copied_once_under_its_key(tmp_path: Path) -> None:
    delivery, emulator = delivered(tmp_path / "out", GOOD)

    assert files_under(tmp_path) == {f"out/{GOOD}", "out/notifications.jsonl"}
    assert emulator.requested == [GOOD]
    assert delivery.archive_bytes("sms-1") == 20
    assert delivery.refusals == []


def test_file_is_announced_once_before_it_is_written(tmp_path: Path) -> None:
    announced: list[tuple[str, bool]] = []

    def announce(names: Iterable[str]) -> None:
        announced.extend((name, (tmp_path / name).exists()) for name in names)

    delivered(tmp_path, GOOD, announce=announce)

    assert announced == [(GOOD, False)]


def test_first_manifest_is_the_first_delivery(tmp_path: Path) -> None:
    assert not delivered(tmp_path, GOOD, "headers/sms/abcd1234.json")[0].has_delivered
    assert delivered(tmp_path, "manifests/sms/abcd1234/x.json")[0].has_delivered


def test_full_disk_leaves_no_partial_file(tmp_path: Path) -> None:
    folder = tmp_path / "archives" / "x"
    folder.mkdir(parents=True)
    (folder / ".partial").symlink_to("/dev/full")

    with pytest.raises(OSError, match="No space left"):
        delivered(tmp_path, "archives/x/a.zip")

    assert list(folder.iterdir()) == []


def a_deep_folder(root: Path) -> Path:
    """Return a folder so deep that a key which leaves it still ends inside `root`."""
    return root.joinpath(*"abcdefgh", "out")


# An absolute key could overwrite a file of the machine if the check failed.
@pytest.mark.parametrize("key", [key for key in BAD_KEYS if not key.startswith("/")])
def test_bad_key_writes_nothing_and_delays_no_other_object(tmp_path: Path, key: str) -> None:
    folder = a_deep_folder(tmp_path)
    delivery, emulator = delivered(folder, key, GOOD)

    assert files_under(tmp_path) == files_under(folder, tmp_path)
    assert files_under(folder) == {GOOD, "notifications.jsonl"}
    assert emulator.requested == [GOOD]
    assert list(delivery.objects) == [GOOD]
    (refusal,) = delivery.refusals
    assert "names no file inside" in refusal


def test_absolute_key_writes_nothing(tmp_path: Path) -> None:
    delivery, _ = delivered(tmp_path / "out", f"{tmp_path}/elsewhere")

    assert files_under(tmp_path) == {"out/notifications.jsonl"}
    assert len(delivery.refusals) == 1


@pytest.mark.parametrize("key", [f"{GOOD}/x.zip", f"{GOOD}/x/y.zip", "archives/sms"])
def test_key_where_a_file_or_folder_is_already_is_refused(tmp_path: Path, key: str) -> None:
    delivery, _ = delivered(tmp_path / "out", GOOD, key)

    assert files_under(tmp_path) == {f"out/{GOOD}", "out/notifications.jsonl"}
    (refusal,) = delivery.refusals
    assert json.dumps(key)[1:-1] in refusal


PARTS = st.lists(ANY_TEXT.map(lambda text: text.replace("/", "")) | st.just(".."), max_size=6)


@given(keys=st.sets(PARTS.map(lambda parts: "/".join(["archives", *parts])), max_size=3))
def test_no_key_writes_outside_the_folder(
    tmp_path_factory: pytest.TempPathFactory, keys: set[str]
) -> None:
    root = tmp_path_factory.mktemp("root")
    folder = a_deep_folder(root)
    delivery, _ = delivered(folder, *keys)

    assert files_under(root) == files_under(folder, root)
    assert files_under(folder) == {"notifications.jsonl", *delivery.objects}
    assert len(delivery.objects) + len(delivery.refusals) == len(keys)
