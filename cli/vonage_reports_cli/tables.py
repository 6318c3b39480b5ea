"""Tables that fit the terminal: no name is broken, and no cell is cut."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from vonage_reports.domain.printable import printable
from vonage_reports_cli.screen import Screen

_GAP = "  "


@dataclass(frozen=True)
class Column:
    """A column: its heading, and one text per row. `style` is the style of every cell."""

    heading: str
    cells: Sequence[str]
    is_number: bool = False
    style: str = ""

    @property
    def width(self) -> int:
        """The width in columns of the terminal."""
        return max(map(cell_len, (self.heading, *self.cells)))

    def padded(self, text: str) -> str:
        """Return a text in the width of the column."""
        blank = " " * (self.width - cell_len(text))
        return blank + text if self.is_number else text + blank


def show_table(screen: Screen, columns: Sequence[Column]) -> None:
    """Print columns of equal length, of which the first names the row.

    Leaves out empty columns. Names the text of a column above the table if it is the same in every
    row. If the table is wider than the terminal, each row takes several lines.
    """
    safe = [
        Column(each.heading, [printable(cell) for cell in each.cells], each.is_number, each.style)
        for each in columns
    ]
    name, others = safe[0], [each for each in safe[1:] if any(each.cells)]
    rows = len(name.cells)
    alike = [each for each in others if rows > 1 and len(set(each.cells)) == 1]
    shown = [name, *(each for each in others if each not in alike)]
    limit = screen.console.width if screen.console.is_terminal else None
    same = [("Every row:", ""), *((f"{each.heading}: {each.cells[0]}", "") for each in alike)]
    if alike:
        screen.show_lines(*_packed(same, limit))
    width = sum(each.width for each in shown) + len(_GAP) * (len(shown) - 1)
    is_narrow = limit is not None and width > limit
    screen.show_lines(*(_records(shown, limit) if is_narrow else _lines(shown)))


def _lines(columns: Sequence[Column]) -> Iterator[Text]:
    yield _joined([(each.padded(each.heading), "bold") for each in columns])
    for number in range(len(columns[0].cells)):
        yield _joined([(each.padded(each.cells[number]), each.style) for each in columns])


def _records(columns: Sequence[Column], limit: int | None) -> Iterator[Text]:
    """Yield each row as a line with its name, and lines of headings and cells."""
    name, *others = columns
    for number, title in enumerate(name.cells):
        yield Text(title, style="bold")
        told = [each for each in others if each.cells[number]]
        parts = [(f"{each.heading}: {each.cells[number]}", each.style) for each in told]
        if parts:
            yield from _packed([("", ""), *parts], limit)


def _packed(parts: Sequence[tuple[str, str]], limit: int | None) -> Iterator[Text]:
    """Yield lines of at most `limit` columns, if each part fits. Later lines are indented."""
    line = [parts[0]]
    for part in parts[1:]:
        if limit is not None and len(line) > 1 and _joined([*line, part]).cell_len > limit:
            yield _joined(line)
            line = [("", "")]
        line.append(part)
    yield _joined(line)


def _joined(parts: Sequence[tuple[str, str]]) -> Text:
    line = Text()
    for number, (text, style) in enumerate(parts):
        line.append(_GAP if number else "")
        line.append(text, style=style)
    line.rstrip()
    return line
