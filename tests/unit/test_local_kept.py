from pathlib import Path
from typing import Any, cast

import pytest
from botocore.exceptions import ParamValidationError

from local.delivery import Delivery
from local.deployment import Stack
from local.emulator import Emulator
from local.kept import KeptState
from local.options import BadInput

ITEM = '{"pk": {"S": "open"}, "sk": {"S": "report#x"}, "state": {"S": "PLANNED"}'


class FakeEmulator:
    """A DynamoDB that takes items, but for those with `odd` in them."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []

    def client(self, _service: str) -> "FakeEmulator":
        return self

    def put_item(self, *, TableName: str, Item: dict[str, Any]) -> None:  # noqa: N803 - boto3's
        if "odd" in Item:
            raise ParamValidationError(report=TableName)
        self.items.append(Item)


class FakeStack:
    def __init__(self) -> None:
        self.outputs = {"TableName": "table"}


def restored(kept: KeptState) -> list[dict[str, Any]]:
    emulator = FakeEmulator()
    kept.restore(cast("Emulator", emulator), cast("Stack", FakeStack()), cast("Delivery", None))
    return emulator.items


@pytest.mark.parametrize("name", ["ledger.json", "objects.json"])
@pytest.mark.parametrize("garbage", ["", "{", "null", "7", '["x"]', '[{"pk": 1}]', "\udcff"])
def test_garbage_is_named_and_not_overwritten(tmp_path: Path, name: str, garbage: str) -> None:
    path = tmp_path / name
    path.write_text(garbage, errors="surrogateescape")
    before = path.read_bytes()
    with pytest.raises(BadInput, match=rf"^{path} is garbled, and knows what was paid for"):
        KeptState(tmp_path).require_usable()
    assert path.read_bytes() == before


def test_an_item_that_is_none_of_dynamodbs_is_garbage_as_well(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_text(f'[{ITEM}, "odd": 1}}]')
    kept = KeptState(tmp_path)
    kept.require_usable()
    with pytest.raises(BadInput, match=r"ledger\.json is garbled"):
        restored(kept)


def test_a_new_folder_is_usable(tmp_path: Path) -> None:
    kept = KeptState(tmp_path / "new")
    kept.require_usable()
    assert restored(kept) == []


@pytest.mark.parametrize(
    ("error", "times"),
    [("VonageRejected", []), ("VonageUnreachable", []), ("RateLimited", ["not_before"])],
)
def test_a_run_tries_at_once_what_was_refused_in_an_earlier_one(
    tmp_path: Path, error: str, times: list[str]
) -> None:
    later = '"not_before": {"S": "2026-11-22T02:30:00+00:00"}'
    (tmp_path / "ledger.json").write_text(f'[{ITEM}, {later}, "error": {{"S": "{error}"}}}}]')
    (item,) = restored(KeptState(tmp_path))
    assert [name for name in item if name == "not_before"] == times
