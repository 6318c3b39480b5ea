"""What outlives a run against a server that bills: the ledger, and what was bought with it.

The emulator forgets everything when it stops. If the ledger were forgotten as well, the next run
would buy the same windows again.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local.delivery import Delivery
from local.deployment import Stack
from local.emulator import Emulator
from local.options import BadInput


class KeptState:
    """The folder of one server and API key.

    `ledger.json` holds the table's items, `objects.json` the metadata of the objects, whose
    content is under `out/`.
    """

    def __init__(self, folder: Path) -> None:
        self.out = folder / "out"
        self._folder = folder
        self._written: dict[str, str] = {}

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second run away: with two copies of the ledger windows would be bought twice."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BadInput("another `make run` is at work with this server and key") from error
            yield

    def restore(self, emulator: Emulator, stack: Stack, delivery: Delivery) -> None:
        """Put everything back, but for archives of finished reports: they stay on the disk.

        What a person has moved away since is not missed.
        """
        dynamodb = emulator.client("dynamodb")
        items = self._read("ledger.json", [])
        for item in items:
            dynamodb.put_item(TableName=stack.outputs["TableName"], Item=item)
        finished = {item["sk"]["S"] for item in items if item["pk"]["S"].startswith("finished#")}
        for key, metadata in self._read("objects.json", {}).items():
            is_archive = key.startswith("archives/") and key.endswith(".zip")
            of_a_finished_report = is_archive and finished & set(key.split("/"))
            if not of_a_finished_report and (self.out / key).exists():
                delivery.upload(key, metadata)

    def save(self, emulator: Emulator, stack: Stack, delivery: Delivery) -> None:
        """Write down what is there now."""
        scan = emulator.client("dynamodb").get_paginator("scan")
        pages = scan.paginate(TableName=stack.outputs["TableName"], ConsistentRead=True)
        self._write("ledger.json", [item for page in pages for item in page["Items"]])
        now = {key: dict(stored.metadata) for key, stored in delivery.objects.items()}
        self._write("objects.json", {**self._read("objects.json", {}), **now})

    def _read(self, name: str, default: Any) -> Any:  # noqa: ANN401 - JSON
        path = self._folder / name
        return json.loads(path.read_text()) if path.exists() else default

    def _write(self, name: str, value: object) -> None:
        text = json.dumps(value, indent=1)
        if self._written.get(name) == text:
            return
        partial = self._folder / f"{name}.partial"
        partial.write_text(text)
        partial.replace(self._folder / name)
        self._written[name] = text
