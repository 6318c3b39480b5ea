"""What a person sees of a run: a live table in a terminal, plain lines anywhere else."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from local.delivery import Delivery
from local.options import is_yes
from local.progress import Line
from vonage_reports.domain.reports import State

_STYLES = {
    State.DELIVERED: "green",
    State.FAILED: "bold red",
    State.HELD: "bold red",
    State.SUBMITTED: "cyan",
}
_REFRESHES_PER_SECOND = 8
_MOST_SENTENCES = 10


class Display:
    """Prints to the standard output, with the seconds since it was made where that helps."""

    def __init__(self) -> None:
        # An ARN has parts like :secret:, which rich would draw.
        self._console = Console(emoji=False)
        self._began = time.monotonic()

    def print(self, text: str) -> None:
        """Print text as it is, never folded: keys and paths can be copied."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print what happened, and when."""
        self.print(f"{time.monotonic() - self._began:6.1f} s  {text}")

    def complain(self, text: str) -> None:
        """Print what a person has to mend."""
        self._console.print(
            f"make run: {text}", style="red", markup=False, highlight=False, soft_wrap=True
        )

    def show(self, news: Iterable[Line]) -> None:
        """Say what changed; in a terminal the live table shows it."""
        if not self._console.is_terminal:
            for line in news:
                self.say(_sentence(line))

    @contextmanager
    def live(self, lines: Callable[[], Sequence[Line]]) -> Iterator[None]:
        """In a terminal, show a table of the present `lines` below everything that is said."""
        if not self._console.is_terminal:
            yield
            return
        with Live(
            console=self._console,
            get_renderable=lambda: live_table(lines()),
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
        ):
            yield

    def typed_yes(self) -> bool | None:
        """Ask whether to go on; None where there is nobody to ask."""
        if not sys.stdin.isatty():
            return None
        try:
            answer = self._console.input("Type yes to go on: ").strip()
        except EOFError:
            answer = ""
        if is_yes(answer):
            return True
        self.print(f"That was {answer!r}, which is no yes." if answer else "That was no yes.")
        return False


def summary(lines: Sequence[Line], delivery: Delivery) -> str:
    """What came, how much, and below each report its keys: a line each, which is never folded."""
    rows = []
    for line in lines:
        parts = [line.state.value]
        if line.rows is not None:
            parts.append(f"{_rows(line)} rows")
        if line.bytes:
            parts.append(_size(line.bytes))
        manifest = delivery.manifest_key(line.report_id)
        keys = [*delivery.archive_keys(line.report_id), *([manifest] if manifest else [])]
        rows += [line.report_id, f"  {', '.join(parts)}", *(f"  {key}" for key in keys)]
    return "\n".join([*rows, ""])


def merged(refused: Sequence[str], troubles: Sequence[tuple[str, str]], *, rest: str) -> list[str]:
    """Return the sentences at the end: what several reports have in common is said once.

    `troubles` are names and sentences of reports; `rest` says where those are that are too many.
    """
    names: dict[str, list[str]] = {}
    for name, sentence in troubles:
        names.setdefault(sentence, []).append(name)
    of_reports = [
        (f"{each[0]}: {sentence}" if len(each) == 1 else f"{len(each)} reports: {sentence}")
        for sentence, each in names.items()
    ]
    sentences = list(dict.fromkeys([*refused, *of_reports]))
    if len(sentences) <= _MOST_SENTENCES:
        return sentences
    more = f"and {len(sentences) - _MOST_SENTENCES} more: {rest}"
    return [*sentences[:_MOST_SENTENCES], more]


def live_table(lines: Sequence[Line]) -> Group:
    """The lines as a table, and below it why some of them are not further."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    # Where it is narrow, the report's id gives way.
    table.add_column("report", overflow="ellipsis")
    table.add_column("state", no_wrap=True)
    for column in ("elapsed", "rows", "size"):
        table.add_column(column, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(
            line.report_id, _state(line), f"{line.seconds:.1f} s", _rows(line), _size(line.bytes)
        )
    troubles = [(line.name, line.trouble) for line in lines if line.trouble is not None]
    # As Text: what a server answered is no markup.
    sentences = [Text(each) for each in merged([], troubles, rest="see the end of the run")]
    return Group(table, *sentences)


def _sentence(line: Line) -> str:
    parts = [f"{line.state.value:<10}  {line.report_id}"]
    if line.is_delivered:
        parts.append(f"{_rows(line)} rows, {_size(line.bytes)}")
    if line.trouble:
        parts.append(line.trouble)
    return "  ".join(parts)


def _state(line: Line) -> str:
    style = _STYLES.get(line.state)
    return f"[{style}]{line.state.value}[/{style}]" if style else line.state.value


def _rows(line: Line) -> str:
    return "" if line.rows is None else f"{line.rows:,}"


def _size(size: int) -> str:
    if not size:
        return ""
    for factor, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size} B"
