"""The saved state of a server that bills: the ledger and the delivered objects.

The emulator keeps no state on disk. Without the saved ledger, the next run would buy the same
windows again.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, ParamValidationError

from local.output.delivery import Delivery
from local.runner.folders import file_of, require_writable
from local.stack.deployment import Stack
from local.stack.emulator import Emulator
from vonage_reports.domain.objects import DEFINITIONS_KEY
from vonage_reports.domain.report import State
from vonage_reports_cli.errors import BadInput

_REFUSALS = ("VonageRejected", "VonageUnreachable")


class SavedState:
    """The folder of one server and API key.

    `ledger.json` holds the table's items. `objects.json` holds the metadata of the objects, and
    `out/` holds their content.
    """

    def __init__(self, folder: Path) -> None:
        self.out = folder / "out"
        self._folder = folder
        self._written: dict[str, str] = {}

    def require_usable(self) -> None:
        """Check that the folder is readable and writable and has valid files. Raises BadInput."""
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
        """Restore the ledger and the objects.

        Restore only the archives that `event` or an open window needs. Skip the objects whose file
        the operator has moved away. Raises BadInput for a corrupt ledger.
        """
        dynamodb = emulator.client("dynamodb")
        items = self._items()
        for item in items:
            try:
                dynamodb.put_item(TableName=stack.outputs["TableName"], Item=_without_delay(item))
            except (ClientError, ParamValidationError) as error:
                raise self._corrupt("ledger.json") from error
        unneeded = _finished(items) - _needed(items, event or {})
        for key, metadata in self._metadata().items():
            is_archive = key.startswith("archives/") and key.endswith(".zip")
            is_unneeded = is_archive and unneeded & set(key.split("/"))
            # The options of this run choose the definitions.
            if key != DEFINITIONS_KEY and not is_unneeded and file_of(self.out, key).exists():
                delivery.upload(key, metadata)

    def save(self, items: Sequence[Mapping[str, Any]], delivery: Delivery) -> None:
        """Save the `items` of `Stack.ledger_items` and the metadata of the copied objects."""
        self._write("ledger.json", items)
        copied = {key: dict(stored.metadata) for key, stored in delivery.objects.items()}
        self._write("objects.json", {**self._metadata(), **copied})

    def _items(self) -> list[dict[str, Any]]:
        items = self._read("ledger.json", [])
        if not isinstance(items, list) or not all(map(_is_item, items)):
            raise self._corrupt("ledger.json")
        return items

    def _metadata(self) -> dict[str, dict[str, str]]:
        metadata = self._read("objects.json", {})
        if not isinstance(metadata, dict):
            raise self._corrupt("objects.json")
        try:
            for key in metadata:
                file_of(self.out, key)
        except BadInput as error:
            raise self._corrupt("objects.json") from error
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
            raise self._corrupt(name) from error

    def _corrupt(self, name: str) -> BadInput:
        return BadInput(
            f"{self._folder / name} is corrupt: restore this record of paid reports from a backup. "
            "Without the record, the next run buys the reports again."
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
    """Return the reports whose archives a run may read.

    These are the open reports, the reports that the event names, and their parts and windows.
    """
    roots = {
        item["sk"]["S"].removeprefix("report#"): item.get("root", {}).get("S")
        for item in items
        if "state" in item
    }
    requests = [event.get(kind) for kind in ("reconvert", "recollect")]
    named = {each.get("report_id") for each in requests if isinstance(each, dict)}
    needed = (roots.keys() - _finished(items)) | (roots.keys() & named)
    needed |= {root for name in needed if (root := roots[name]) is not None}
    return needed | {name for name, root in roots.items() if root in needed}


def _without_delay(item: dict[str, Any]) -> dict[str, Any]:
    """End the delay of a refused report, because the operator may have removed the cause."""
    is_refused = (
        item.get("state") == {"S": State.PLANNED.value}
        and item.get("error", {}).get("S") in _REFUSALS
    )
    if not is_refused:
        return item
    return {name: value for name, value in item.items() if name != "not_before"}
