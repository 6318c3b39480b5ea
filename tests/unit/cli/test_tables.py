from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from vonage_reports_cli.screen import Screen
from vonage_reports_cli.tables import Column, show_table

NAME = st.text("abcdefghij-", min_size=1, max_size=30)


def shown(*columns: Column, width: int | None = None) -> list[str]:
    """Return the lines of a table, on a terminal of this width, or without a terminal."""
    file = StringIO()
    screen = Screen(no_color=True)
    screen.console = Console(
        file=file,
        width=width or 40,
        force_terminal=width is not None,
        no_color=True,
        # Without escape sequences.
        _environ={"TERM": "dumb"},
    )
    show_table(screen, columns)
    return file.getvalue().splitlines()


def test_table_has_aligned_columns_without_trailing_blanks() -> None:
    names = Column("name", ["a", "long-name"])
    numbers = Column("rows", ["1,000", "2"], is_number=True)

    assert shown(names, numbers) == [
        "name        rows",
        "a          1,000",
        "long-name      2",
    ]


def test_row_alone_keeps_every_column_that_has_text() -> None:
    assert shown(Column("name", ["a"]), Column("zone", ["UTC"]), Column("held", [""])) == [
        "name  zone",
        "a     UTC",
    ]


def test_wide_characters_are_aligned() -> None:
    assert shown(Column("name", ["日本", "ab"]), Column("n", ["1", "2"])) == [
        "name  n",
        "日本  1",
        "ab    2",
    ]


@pytest.mark.parametrize("width", [80, 120])
@given(st.lists(st.tuples(NAME, NAME, NAME, NAME), min_size=1, max_size=5))
def test_no_name_is_broken_on_a_terminal(width: int, rows: list[tuple[str, str, str, str]]) -> None:
    columns = [Column(f"c{n}", cells) for n, cells in enumerate(zip(*rows, strict=True))]

    lines = shown(*columns, width=width)

    assert max(map(len, lines)) <= width
    words = {word for line in lines for word in line.split()}
    assert words >= {name for row in rows for name in row}


def test_without_a_terminal_no_line_is_folded() -> None:
    columns = [Column(f"c{n}", ["x" * 30, "y" * 30]) for n in range(9)]

    header, first, second = shown(*columns)

    assert (first, second) == ("  ".join(["x" * 30] * 9), "  ".join(["y" * 30] * 9))
    assert header.split() == [f"c{n}" for n in range(9)]
