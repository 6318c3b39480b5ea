"""The terminal output of a run: a live table on a terminal, plain lines anywhere else."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from rich.console import Console, Group
from rich.live import Live

from local.output.table import live_table, report_line
from local.runner.options import is_yes
from local.runner.progress import Line, Progress
from vonage_reports.domain.printable import printable_lines

_REFRESHES_PER_SECOND = 8
_STEPS = 10
"""How many times a progress bar is printed if there is no terminal."""


class Display:
    """Prints to the standard output, with control characters as escapes.

    Line breaks are kept. Pass a text from elsewhere through `printable` before adding it to a line.
    """

    def __init__(self) -> None:
        # With emoji, rich would replace parts of an ARN, such as :secret:.
        self._console = Console(emoji=False)
        self._began = time.monotonic()
        self._said: set[str] = set()
        self._shown = Group()

    @property
    def seconds(self) -> float:
        """The seconds since the run began."""
        return time.monotonic() - self._began

    def print(self, text: str) -> None:
        """Print text without folding, so that keys and paths can be copied."""
        self._print(text)

    def say(self, text: str) -> None:
        """Print an event of the run, with the seconds since its start."""
        self.print(f"{self.seconds:6.1f} s  {text}")

    def error(self, text: str) -> None:
        """Print a problem that the operator has to solve."""
        self._print(f"make run: {text}", style="red")

    def show(self, news: Iterable[Line], progress: Progress) -> None:
        """Update the live table. Without a terminal, print the changes instead.

        For many reports, print only the progress, and each problem once. The reason of a refusal is
        left out, because the run ends with it, once for all its reports.
        """
        if self._console.is_terminal:
            # Build the table here, because the thread that draws must not read changing reports.
            self._shown = live_table(progress.lines, progress.progress_bars)
            return
        for each in news:
            line = each if each.refusal is None else replace(each, refusal="not requested")
            if line.backfill is None and not progress.is_crowded:
                self.say(report_line(line))
            elif line.is_settled and line.trouble:
                self._say_once(line.trouble, report_line(line))
        for bar in progress.progress_bars:
            step = _STEPS * bar.finished // max(bar.total, 1)
            self._say_once(f"{bar.name} {step}", f"{bar.name}: {bar.words}")

    def _print(self, text: str, style: str | None = None) -> None:
        self._console.print(
            printable_lines(text), style=style, markup=False, highlight=False, soft_wrap=True
        )

    def _say_once(self, key: str, text: str) -> None:
        if key not in self._said:
            self._said.add(key)
            self.say(text)

    @contextmanager
    def live(self) -> Iterator[None]:
        """On a terminal, keep the live table below all other output."""
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

    def ask_to_continue(self) -> bool | None:
        """Ask the operator whether to continue. Return None without a terminal."""
        if not sys.stdin.isatty():
            return None
        try:
            answer = self._console.input("Type yes to continue: ").strip()
        except EOFError:
            answer = ""
        if is_yes(answer):
            return True
        self.print(f"The answer was {answer!r}, not yes." if answer else "The answer was not yes.")
        return False
