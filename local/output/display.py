"""What a person sees of a run: a live table in a terminal, plain lines anywhere else."""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from local.output.delivery import Delivery
from local.output.progress_bar import Bar, drawn
from local.runner.options import is_yes
from local.runner.progress import MOST_SHOWN, Line, Progress
from vonage_reports.domain.report import State

_STYLES = {
    State.DELIVERED: "green",
    State.FAILED: "bold red",
    State.HELD: "bold red",
    State.SUBMITTED: "cyan",
}
_REFRESHES_PER_SECOND = 8
_STEPS = 10
"""So often a bar is said where none can be drawn."""

_MOST_SENTENCES = 10


class Display:
    """Prints to the standard output, with the seconds since it was made where that helps."""

    def __init__(self) -> None:
        # An ARN has parts like :secret:, which rich would draw.
        self._console = Console(emoji=False)
        self._began = time.monotonic()
        self._said: set[str] = set()
        self._shown = Group()

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

    def show(self, news: Iterable[Line], progress: Progress) -> None:
        """Say what changed; in a terminal the live table shows it.

        Of many reports it is said how far they are, and once what hinders them.
        """
        if self._console.is_terminal:
            # Made here: the thread that draws it must not see the reports while they change.
            self._shown = live_table(progress.lines, progress.bars)
            return
        for line in news:
            if line.backfill is None and not progress.is_crowded:
                self.say(_sentence(line))
            elif line.is_settled and line.trouble:
                self._say_once(line.trouble, _sentence(line))
        for bar in progress.bars:
            step = _STEPS * bar.over // max(bar.total, 1)
            self._say_once(f"{bar.name} {step}", f"{bar.name}: {bar.words}")

    def _say_once(self, what: str, text: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self.say(text)

    @contextmanager
    def live(self) -> Iterator[None]:
        """In a terminal, keep what `show` was given last below everything that is said."""
        if not self._console.is_terminal:
            yield
            return
        with Live(
            console=self._console,
            get_renderable=lambda: self._shown,
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
    """What came, how much, and below each window its keys: a line each, which is never folded.

    Of many windows it is told what they are together, for each definition and account.
    """
    windows = [line for line in lines if line.root is None]
    if len(windows) > MOST_SHOWN:
        in_order = sorted(windows, key=_whose)
        return "\n".join(_together(list(each)) for _, each in groupby(in_order, _whose)) + "\n"
    parts: dict[str | None, list[str]] = {}
    for line in lines:
        parts.setdefault(line.root or line.report_id, []).append(line.report_id)
    rows = []
    for line in windows:
        said = [line.state.value]
        if line.rows is not None:
            said.append(f"{_rows(line)} rows")
        if line.bytes:
            said.append(_size(line.bytes))
        manifest = delivery.manifest_key(line.report_id)
        archives = [key for each in parts[line.report_id] for key in delivery.archive_keys(each)]
        keys = [*archives, *([manifest] if manifest else [])]
        rows += [line.report_id, f"  {', '.join(said)}", *(f"  {key}" for key in keys)]
    return "\n".join([*rows, ""])


def _whose(line: Line) -> tuple[str, str]:
    return line.definition, line.account_id


def _together(lines: Sequence[Line]) -> str:
    """Say in one line what windows of one definition and account have come to."""
    counts = Counter(line.state.value for line in lines)
    parts = [f"{count:,} {state}" for state, count in counts.most_common()]
    parts.append(f"{sum(line.rows or 0 for line in lines):,} rows")
    parts.append(_size(sum(line.bytes for line in lines)))
    days = sorted(line.first_date for line in lines)
    whose = ", ".join(_whose(lines[0]))
    return f"{whose}, {days[0]} to {days[-1]}: {', '.join(filter(None, parts))}"


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


def live_table(lines: Sequence[Line], bars: Sequence[Bar] = ()) -> Group:
    """The lines as a table, and below it why some of them are not further.

    Where there are many, those that wait and those that are done are in the bars only.
    """
    shown = lines
    if len(lines) > MOST_SHOWN:
        moving = [line for line in lines if not line.is_at_end and line.state is not State.PLANNED]
        shown = moving[:MOST_SHOWN]
    table = Table(box=None, pad_edge=False, header_style="bold")
    # Where it is narrow, the report's id gives way.
    table.add_column("report", overflow="ellipsis")
    table.add_column("state", no_wrap=True)
    for column in ("elapsed", "rows", "size"):
        table.add_column(column, justify="right", no_wrap=True)
    for line in shown:
        table.add_row(
            line.label, _state(line), f"{line.seconds:.1f} s", _rows(line), _size(line.bytes)
        )
    troubles = [(line.name, line.trouble) for line in lines if line.trouble is not None]
    # As Text: what a server answered is no markup.
    sentences = [Text(each) for each in merged([], troubles, rest="see the end of the run")]
    return Group(*([table] if shown else []), *([drawn(bars)] if bars else []), *sentences)


def _sentence(line: Line) -> str:
    parts = [f"{line.state.value:<10}  {line.label}"]
    if line.state is State.DELIVERED:
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
