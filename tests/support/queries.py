"""The saved queries on a copy of the bucket."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vonage_reports_cli.sql.dataset import Folder, open_dataset
from vonage_reports_cli.sql.named_queries import named_queries


def run_named_query(
    folder: Path, name: str, parameters: Mapping[str, str], *, invoice: Path | None = None
) -> list[dict[str, Any]]:
    """Run a saved query with these parameters; return its rows as dicts."""
    sql = named_queries()[name].render(parameters)
    with open_dataset(Folder(folder), invoice=invoice) as connection:
        found = connection.execute(sql)
        names = [each[0] for each in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
