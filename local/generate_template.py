"""Generate the Glue tables in template.yaml from the converter's schema.

`make fmt` runs this module: `python -m local.generate_template`.
"""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local.stack.emulator import ROOT
from vonage_dataset.glue import PARTITION_KEYS, storage, table_location, table_name
from vonage_dataset.tables import TABLES

BEGIN = "  # >>> tables, made by `make fmt` from layers/dataset/vonage_dataset/tables.py\n"
END = "  # <<< tables\n"
_WIDTH = 100


def with_tables(template: str) -> str:
    """Return the template with the generated tables between the lines BEGIN and END."""
    before, _, rest = template.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "".join([before, BEGIN, *map(_table, TABLES), END, after])


def _table(product: str) -> str:
    name = table_name(product)
    described: dict[str, Any] = dict(storage(product, table_location(product, "${ReportsBucket}")))
    location, columns = described.pop("Location"), described.pop("Columns")
    keys = [{"Name": key, "Type": type_} for key, type_ in PARTITION_KEYS.items()]
    return "".join(
        line + "\n"
        for line in (
            f"  {name.title().replace('_', '')}Table:",
            "    Type: AWS::Glue::Table",
            "    Properties:",
            "      CatalogId: !Ref AWS::AccountId",
            "      DatabaseName: !Ref UsageDatabase",
            "      TableInput:",
            f"        Name: {name}",
            "        TableType: EXTERNAL_TABLE",
            '        Parameters: { classification: parquet, EXTERNAL: "TRUE" }',
            *_flow("        PartitionKeys: ", keys),
            "        StorageDescriptor:",
            f"          Location: !Sub {location}",
            *(f"          {key}: {_written(value)}" for key, value in described.items()),
            *_flow("          Columns: ", columns),
        )
    )


def _written(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return a mapping or a text as one line of YAML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key}: {_written(each)}" for key, each in value.items()) + " }"
    plain = not set(value) & set("<>,:")
    return str(value) if plain else json.dumps(value)


def _flow(start: str, values: list[dict[str, str]]) -> Iterator[str]:
    """Return a list as few lines of YAML, folded between items only."""
    # textwrap must not fold at a space within an item.
    items = ", ".join(_written(value).replace(" ", "\0") for value in values)
    indent = " " * (len(start) - len(start.lstrip()) + 2)
    lines = textwrap.wrap(
        f"{start}[{items}]", _WIDTH, subsequent_indent=indent, break_on_hyphens=False
    )
    return (line.replace("\0", " ") for line in lines)


def main(path: Path = ROOT / "template.yaml") -> None:
    """Write the tables into the template file."""
    path.write_text(with_tables(path.read_text()))


if __name__ == "__main__":
    main()
