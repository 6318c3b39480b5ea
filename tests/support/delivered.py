"""A folder like the output of `make run`: the real converter writes the dataset from rows."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from tests.support.csvs import member, written
from vonage_dataset.cells import Collection
from vonage_dataset.parquet import Dataset, convert


class Delivered:
    """A folder of deliveries. Each call of `deliver` adds one window."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def deliver(
        self,
        product: str,
        rows: Sequence[Mapping[str, str]],
        *,
        definition: str,
        day: str = "2026-11-19",
        revision: str = "final",
        account: str = "abcd1234",
        currency: str | None = None,
        collected_at: datetime = datetime(2026, 11, 23, 2, 15, tzinfo=UTC),
    ) -> Dataset:
        """Convert the rows of a window, and write its manifest."""
        names = sorted({name for row in rows for name in row})
        cells = [names, *([row.get(name, "") for name in names] for row in rows)]
        key = (
            f"data/product={product}/definition={definition}/account={account}/date={day}"
            f"/{day.replace('-', '')}T000000Z.parquet"
        )
        file = self.root / key
        file.parent.mkdir(parents=True, exist_ok=True)
        dataset = convert(
            [member(written(cells))],
            product=product,
            target=file,
            collection=Collection(
                revision, collected_at, currency, datetime.fromisoformat(f"{day}T00:00:00Z")
            ),
            accepts_missing_columns=True,
        )
        following = date.fromisoformat(day) + timedelta(days=1)
        manifest = {
            "report_id": f"{definition}-{day}-{revision}",
            "definition": definition,
            "product": product,
            "account_id": account,
            "window": {
                "start": f"{day}T00:00:00Z",
                "end": f"{following}T00:00:00Z",
                "time_zone": "UTC",
            },
            "revision": revision,
            "rows": dataset.rows,
            "dataset": {"bucket": "reports", "key": key, "rows": dataset.rows},
        }
        place = self.root / "manifests" / definition / f"{manifest['report_id']}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(manifest))
        return dataset
