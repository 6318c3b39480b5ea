"""The terminal of a command.

Standard output has the result, standard error everything else. With `as_json`, standard output is
one JSON document and nothing else.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, TextIO

from vonage_reports.domain.printable import printable, printable_lines
from vonage_reports_cli.errors import BadInput, Declined

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

_WIDE = 200
"""Width in columns if the output is no terminal: lines in a file are not folded."""


def discard(stream: TextIO) -> None:
    """Drop the unwritten rest of a stream, so that Python does not complain at exit."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, stream.fileno())
    os.close(devnull)


class Screen:
    """Prints with control characters as escapes, without folding lines that can be copied."""

    def __init__(
        self, *, as_json: bool = False, quiet: bool = False, no_color: bool = False
    ) -> None:
        self.as_json = as_json
        self._quiet = quiet
        self._no_color = no_color or bool(os.environ.get("NO_COLOR"))
        self.is_cut = False
        """Whether the reader of standard output, such as `head`, has closed the pipe."""

    @cached_property
    def console(self) -> "Console":
        """The console of standard output."""
        return self._console(stderr=False)

    @cached_property
    def _errors(self) -> "Console":
        return self._console(stderr=True)

    def _console(self, *, stderr: bool) -> "Console":
        # Here, because rich takes as long to load as the rest of the help.
        from rich.console import Console  # noqa: PLC0415

        screen = self

        class CuttableConsole(Console):
            """Goes on without a reader, because a verb that acts must finish what it began."""

            def on_broken_pipe(self) -> None:
                """Drop the output. rich would end the program."""
                screen.cut(sys.stderr if stderr else sys.stdout)

        # With emoji, rich would replace parts of an ARN, such as :secret:.
        console = CuttableConsole(emoji=False, stderr=stderr, no_color=self._no_color or None)
        if not console.is_terminal:
            console.width = _WIDE
        return console

    def cut(self, stream: TextIO) -> None:
        """Go on without the reader of a stream, which has closed the pipe."""
        self.is_cut = self.is_cut or stream is sys.stdout
        discard(stream)

    def say(self, *lines: str, style: str | None = None) -> None:
        """Print lines of the result. Pass text from elsewhere through `printable` first."""
        if not self.as_json:
            for line in lines:
                self._print(self.console, line, style)

    def note(self, *lines: str) -> None:
        """Print lines beside the result, on standard error, unless --quiet."""
        if not self._quiet:
            for line in lines:
                self._print(self._errors, line, None)

    def show(self, renderable: "RenderableType") -> None:
        """Print a table or progress bars of rich."""
        if not self.as_json:
            self.console.print(renderable)

    def show_lines(self, *lines: "Text") -> None:
        """Print lines of several styles, never folded. Pass the text through `printable` first."""
        if not self.as_json:
            for line in lines:
                self.console.print(line, highlight=False, soft_wrap=True)

    def document(self, value: Mapping[str, object] | Sequence[object]) -> None:
        """Print the JSON document of a command that was called with --json."""
        try:
            print(printable_lines(json.dumps(value, indent=1, default=str)), flush=True)
        except BrokenPipeError:
            self.cut(sys.stdout)

    def complain(self, sentence: str, *more: str) -> None:
        """Print an error as one line on standard error, and more lines of it below."""
        for line in (f"vonage-reports: {sentence}", *more):
            # Without a reader of its errors, a command still ends with its exit code.
            with suppress(OSError):
                print(printable(line), file=sys.stderr, flush=True)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask the operator. Raises Declined, and BadInput without a terminal and without --yes."""
        if not yes and self._answer(question) not in ("y", "yes"):
            raise Declined("nothing was changed")

    def choose(self, question: str, *, yes: bool) -> bool:
        """Ask a question whose answer is yes by default, also with --yes.

        Raises BadInput without a terminal and without --yes.
        """
        return yes or self._answer(question) in ("", "y", "yes")

    def _answer(self, question: str) -> str:
        if self.as_json:
            raise BadInput("--json cannot ask: add --yes, or --dry-run for the preview alone")
        if not sys.stdin.isatty():
            raise BadInput("add --yes: without a terminal, the question gets no answer")
        self._errors.print(printable(question), markup=False, highlight=False, end=" ")
        try:
            return input().strip().lower()
        except EOFError:
            return "no"

    def _print(self, console: "Console", line: str, style: str | None) -> None:
        console.print(
            printable_lines(line), style=style, markup=False, highlight=False, soft_wrap=True
        )
