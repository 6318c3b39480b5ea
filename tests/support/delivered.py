"""A folder like the output of `make run`: the real converter writes the dataset from rows."""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.csvs import member, written
from vonage_dataset.cells import Collection
from vonage_dataset.parquet import Dataset, convert
from vonage_reports.domain.objects import (
    Archive,
    Member,
    archive_key,
    dataset_key,
    manifest,
    manifest_key,
    receipt,
    receipt_key,
)
from vonage_reports.domain.report import Entry, report_id
from vonage_reports.domain.run_input import RunInput
from vonage_reports.domain.windows import Window, format_instant

NAME = "report.csv"


class Delivered:
    """A folder of deliveries. Each call of `deliver` adds one window, with its archive."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._requests = 0

    def deliver(
        self,
        product: str,
        rows: Sequence[Mapping[str, str]],
        *,
        definition: str,
        day: str = "2026-11-19",
        days: int = 1,
        revision: str = "final",
        account: str = "abcd1234",
        currency: str | None = None,
        collected_at: datetime = datetime(2026, 11, 23, 2, 15, tzinfo=UTC),
    ) -> Dataset:
        """Convert the rows of a window; write its archive, receipt, dataset and manifest."""
        names = sorted({name for row in rows for name in row})
        csv = written([names, *([row.get(name, "") for name in names] for row in rows)])
        run_input = self._run_input(
            product, definition=definition, account=account, day=day, days=days, revision=revision
        )
        of_archive = self._store(run_input, csv, len(rows), collected_at)
        key = dataset_key(run_input)
        file = self.root / key
        file.parent.mkdir(parents=True, exist_ok=True)
        dataset = convert(
            [member(csv)],
            product=product,
            target=file,
            collection=Collection(revision, collected_at, currency, run_input.window.start),
            accepts_missing_columns=True,
        )
        content: dict[str, Any] = {
            "rows": dataset.rows,
            "columns": [{"name": each.name, "type": each.type.value} for each in dataset.columns],
            "schema_changed": False,
            "dataset": {
                "bucket": "reports", "key": key, "version_id": "null", "bytes": dataset.bytes,
                "sha256": dataset.sha256, "rows": dataset.rows,
                "rescued_cells": dataset.rescued_cells,
            },
            "totals": [total.to_dict() for total in dataset.totals],
            "rescued": dict(dataset.rescued),
            "row_check": "equal",
            "catalogue": "registered",
            "accepted": [{"name": "missing_columns", "rows": dataset.rows_without_columns}]
            if dataset.rows_without_columns
            else [],
        }  # fmt: skip
        self._write(
            manifest_key(run_input),
            manifest(
                run_input, [of_archive], content, bucket="reports",
                delivered=format_instant(collected_at + timedelta(minutes=5)),
            ),
        )  # fmt: skip
        return dataset

    def _run_input(
        self,
        product: str,
        *,
        definition: str,
        account: str,
        day: str,
        days: int,
        revision: str,
    ) -> RunInput:
        start = datetime.fromisoformat(f"{day}T00:00:00+00:00")
        window = Window(start, start + timedelta(days=days), "UTC")
        is_final = revision == "final"
        self._requests += 1
        return RunInput(
            report_id=report_id(
                definition=definition, account_id=account, window=window, delay_index=int(is_final)
            ),
            request_id=f"00000000-0000-4000-8000-{self._requests:012d}",
            attempt=1,
            run=1,
            entry=Entry.CHECK,
            definition=definition,
            product=product,
            account_id=account,
            include_subaccounts=False,
            filters={},
            window=window,
            revision=revision,
            delay_days=3 if is_final else 0,
            planned=None,
        )

    def _store(
        self, run_input: RunInput, csv: bytes, rows: int, collected_at: datetime
    ) -> dict[str, Any]:
        """Write the archive and its receipt; return the receipt."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(NAME, csv)
        path = self.root / archive_key(run_input)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed.getvalue())
        time = format_instant(collected_at)
        made = receipt(
            run_input,
            Archive(
                len(packed.getvalue()),
                hashlib.sha256(packed.getvalue()).hexdigest(),
                (Member(NAME, len(csv), f"{zlib.crc32(csv):08x}"),),
            ),
            items_count=rows,
            times={"submitted": time, "ready": time, "stored": time},
        )
        self._write(receipt_key(run_input), made)
        return made

    def _write(self, key: str, value: Mapping[str, Any]) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
