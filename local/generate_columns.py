"""Writes the columns of every product's table into docs/columns.md, from vonage_dataset.tables.

`make fmt` runs this module.
"""

import textwrap
from collections.abc import Iterator

from local.stack.emulator import ROOT
from vonage_dataset.tables import TABLES, Table, Type
from vonage_reports.domain.catalogue import PARTITION_KEYS, table_name

PAGE = ROOT / "docs" / "columns.md"
BEGIN = "<!-- generated from vonage_dataset/tables.py by `make fmt` -->\n"
END = "<!-- end of the generated part -->\n"
_WIDTH = 100


def with_columns(page: str) -> str:
    """Return the page with a new generated part."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n".join(_generated()) + "\n" + END + after


def _generated() -> Iterator[str]:
    for product, table in TABLES.items():
        cost, time = " + ".join(f"`{each}`" for each in table.prices) or "none", table.time
        yield f"### {product}"
        yield ""
        yield f"Table `{table_name(product)}`. Cost: {cost}. Vonage selects by `{time}`."
        yield ""
        yield "```"
        columns = textwrap.wrap(", ".join(_columns(table)), _WIDTH, break_on_hyphens=False)
        yield from (line.replace("\0", " ") for line in columns)
        yield "```"
        yield ""
    keys = ", ".join(f"`{name}` ({type_})" for name, type_ in PARTITION_KEYS.items())
    yield f"Every table also has the columns of ours, and of the object's key: {keys}."


def _columns(table: Table) -> Iterator[str]:
    # Lines can break at spaces, so a NUL keeps a name and its type on one line.
    for column in table.columns:
        kind = "" if column.type is Type.TEXT else f"\0{column.type.value}"
        yield f"{column.name}{kind}"


def main() -> None:
    """Write the page."""
    PAGE.write_text(with_columns(PAGE.read_text()))


if __name__ == "__main__":
    main()
