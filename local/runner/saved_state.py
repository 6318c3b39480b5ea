"""What outlives a run against a server that bills: the ledger, and what was bought with it.

The emulator forgets everything when it stops. If the ledger were forgotten as well, the next run
would buy the same windows again.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, ParamValidationError

from local.output.delivery import Delivery
from local.runner.folders import require_writable
from local.runner.options import BadInput
from local.stack.deployment import Stack
from local.stack.emulator import Emulator
from vonage_reports.domain.report import State

_REFUSALS = ("VonageRejected", "VonageUnreachable")


class SavedState:
    """The folder of one server and API key.

    `ledger.json` holds the table's items, `objects.json` the metadata of the objects, whose
    content is under `out/`.
    """

    def __init__(self, folder: Path) -> None:
        self.out = folder / "out"
        self._folder = folder
        self._written: dict[str, str] = {}

    def require_usable(self) -> None:
        """Find out before anything is started whether it can be read and written.

        Raises BadInput, and leaves the files as they are.
        """
        require_writable(self._folder)
        self._items()
        self._metadata()

    def restore(
        self,
        emulator: Emulator,
        stack: Stack,
        delivery: Delivery,
        event: Mapping[str, Any] | None = None,
    ) -> None:
        """Put everything back, but for archives that neither `event` nor an open window needs.

        The others stay on the disk. What a person has moved away since is not missed. Raises
        BadInput for a garbled ledger.
        """
        dynamodb = emulator.client("dynamodb")
        items = self._items()
        for item in items:
            try:
                dynamodb.put_item(TableName=stack.outputs["TableName"], Item=_tried_at_once(item))
            except (ClientError, ParamValidationError) as error:
                raise self._garbled("ledger.json") from error
        at_rest = _finished(items) - _needed(items, event or {})
        for key, metadata in self._metadata().items():
            is_archive = key.startswith("archives/") and key.endswith(".zip")
            if not (is_archive and at_rest & set(key.split("/"))) and (self.out / key).exists():
                delivery.upload(key, metadata)

    def save(self, items: Sequence[Mapping[str, Any]], delivery: Delivery) -> None:
        """Write down what is there now: `items` of the ledger, as `Stack.ledger_items`."""
        self._write("ledger.json", items)
        now = {key: dict(stored.metadata) for key, stored in delivery.objects.items()}
        self._write("objects.json", {**self._metadata(), **now})

    def _items(self) -> list[dict[str, Any]]:
        items = self._read("ledger.json", [])
        if not isinstance(items, list) or not all(map(_is_item, items)):
            raise self._garbled("ledger.json")
        return items

    def _metadata(self) -> dict[str, dict[str, str]]:
        metadata = self._read("objects.json", {})
        if not isinstance(metadata, dict):
            raise self._garbled("objects.json")
        return metadata

    def _read(self, name: str, default: object) -> object:
        path = self._folder / name
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            return default
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise self._garbled(name) from error

    def _garbled(self, name: str) -> BadInput:
        return BadInput(
            f"{self._folder / name} is garbled, and knows what was paid for: put a copy in its "
            "place; without it everything is bought again"
        )

    def _write(self, name: str, value: object) -> None:
        text = json.dumps(value, indent=1)
        if self._written.get(name) == text:
            return
        partial = self._folder / f"{name}.partial"
        partial.write_text(text)
        partial.replace(self._folder / name)
        self._written[name] = text


def _is_item(item: object) -> bool:
    keys = (item.get("pk"), item.get("sk")) if isinstance(item, dict) else ()
    return bool(keys) and all(isinstance(key, dict) and "S" in key for key in keys)


def _finished(items: Sequence[Mapping[str, Any]]) -> set[str]:
    return {item["sk"]["S"] for item in items if item["pk"]["S"].startswith("finished#")}


def _needed(items: Sequence[Mapping[str, Any]], event: Mapping[str, Any]) -> set[str]:
    """The reports whose archives a run may read: of what is open or asked for, with its parts."""
    roots = {
        item["sk"]["S"].removeprefix("report#"): item.get("root", {}).get("S")
        for item in items
        if "state" in item
    }
    asked = [event.get(kind) for kind in ("reconvert", "recollect")]
    named = {each.get("report_id") for each in asked if isinstance(each, dict)}
    needed = (roots.keys() - _finished(items)) | (roots.keys() & named)
    needed |= {root for name in needed if (root := roots[name]) is not None}
    return needed | {name for name, root in roots.items() if root in needed}


def _tried_at_once(item: dict[str, Any]) -> dict[str, Any]:
    """Let a report that Vonage refused wait no longer: a person started this run, after all."""
    is_refused = (
        item.get("state") == {"S": State.PLANNED.value}
        and item.get("error", {}).get("S") in _REFUSALS
    )
    if not is_refused:
        return item
    return {name: value for name, value in item.items() if name != "not_before"}
