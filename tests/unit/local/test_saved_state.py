import json
from pathlib import Path
from typing import Any, cast

import pytest
from botocore.exceptions import ParamValidationError

from local.output.delivery import Delivery
from local.runner.saved_state import SavedState
from local.stack.deployment import Stack
from local.stack.emulator import Emulator
from tests.support.unsafe_text import BAD_KEYS
from vonage_reports_cli.errors import BadInput

ITEM = '{"pk": {"S": "open"}, "sk": {"S": "report#x"}, "state": {"S": "PLANNED"}'


class FakeEmulator:
    """A DynamoDB that refuses items with an attribute `odd`."""

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


class FakeDelivery:
    """Records the keys of uploaded objects."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def upload(self, key: str, _metadata: dict[str, str]) -> None:
        self.keys.append(key)


def restored(saved_state: SavedState) -> list[dict[str, Any]]:
    emulator = FakeEmulator()
    saved_state.restore(
        cast("Emulator", emulator), cast("Stack", FakeStack()), cast("Delivery", None)
    )
    return emulator.items


@pytest.mark.parametrize("name", ["ledger.json", "objects.json"])
@pytest.mark.parametrize("garbage", ["", "{", "null", "7", '["x"]', '[{"pk": 1}]', "\udcff"])
def test_corrupt_file_is_named_and_not_overwritten(tmp_path: Path, name: str, garbage: str) -> None:
    path = tmp_path / name
    path.write_text(garbage, errors="surrogateescape")
    before = path.read_bytes()
    with pytest.raises(BadInput, match=rf"^{path} is corrupt: restore this record of paid reports"):
        SavedState(tmp_path).require_usable()
    assert path.read_bytes() == before


@pytest.mark.parametrize("key", BAD_KEYS)
def test_saved_key_outside_the_folder_is_corrupt(tmp_path: Path, key: str) -> None:
    (tmp_path / "objects.json").write_text(json.dumps({"archives/sms/x.zip": {}, key: {}}))
    with pytest.raises(BadInput, match=r"objects\.json is corrupt"):
        SavedState(tmp_path).require_usable()


def test_item_that_dynamodb_refuses_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_text(f'[{ITEM}, "odd": 1}}]')
    saved_state = SavedState(tmp_path)
    saved_state.require_usable()
    with pytest.raises(BadInput, match=r"ledger\.json is corrupt"):
        restored(saved_state)


def test_new_folder_is_usable(tmp_path: Path) -> None:
    saved_state = SavedState(tmp_path / "new")
    saved_state.require_usable()
    assert restored(saved_state) == []


@pytest.mark.parametrize(
    ("error", "times"),
    [("VonageRejected", []), ("VonageUnreachable", []), ("RateLimited", ["not_before"])],
)
def test_restore_ends_the_delay_of_refused_reports(
    tmp_path: Path, error: str, times: list[str]
) -> None:
    later = '"not_before": {"S": "2026-11-22T02:30:00+00:00"}'
    (tmp_path / "ledger.json").write_text(f'[{ITEM}, {later}, "error": {{"S": "{error}"}}}}]')
    (item,) = restored(SavedState(tmp_path))
    assert [name for name in item if name == "not_before"] == times


DAY, PARTS = "sms-20261118T0000Z-aaaaaaaaaaaa", ("sms-20261118T0000Z-0", "sms-20261118T1200Z-1")
OTHER = "sms-20261117T0000Z-bbbbbbbbbbbb"


def a_report(name: str, state: str, root: str | None = None) -> dict[str, Any]:
    is_open = state in ("SPLIT", "SUBMITTED")
    return {
        "pk": {"S": "open" if is_open else "finished#sms"},
        "sk": {"S": f"report#{name}" if is_open else name},
        "state": {"S": state},
        **({"root": {"S": root}} if root else {}),
    }


@pytest.mark.parametrize(
    ("state", "event", "archives"),
    [
        ("DELIVERED", None, set()),
        ("DELIVERED", {"scheduled_time": "2026-11-22T02:15:00Z"}, set()),
        ("DELIVERED", {"reconvert": {"report_id": DAY}}, set(PARTS)),
        ("DELIVERED", {"recollect": {"report_id": PARTS[0]}}, set(PARTS)),
        ("DELIVERED", {"reconvert": {"report_id": OTHER}}, {OTHER}),
        ("DELIVERED", {"reconvert": "nonsense"}, set()),
        ("SPLIT", None, set(PARTS)),
    ],
)
def test_restore_uploads_only_the_archives_that_a_run_may_read(
    tmp_path: Path, state: str, event: dict[str, Any] | None, archives: set[str]
) -> None:
    items = [
        a_report(DAY, state),
        *(a_report(part, "STORED", root=DAY) for part in PARTS),
        a_report(OTHER, "DELIVERED"),
    ]
    (tmp_path / "ledger.json").write_text(json.dumps(items))
    keys = {name: f"archives/sms/abcd1234/2026/11/18/{name}/r.zip" for name in (*PARTS, OTHER)}
    metadata: dict[str, dict[str, str]] = {}
    for key in [*keys.values(), "manifests/sms.json"]:
        metadata[key] = {}
        (tmp_path / "out" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / key).touch()
    (tmp_path / "objects.json").write_text(json.dumps(metadata))
    delivery = FakeDelivery()
    SavedState(tmp_path).restore(
        cast("Emulator", FakeEmulator()),
        cast("Stack", FakeStack()),
        cast("Delivery", delivery),
        event,
    )
    assert set(delivery.keys) == {"manifests/sms.json", *(keys[name] for name in archives)}
