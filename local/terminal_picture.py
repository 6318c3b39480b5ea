"""Draws commands and their output on a terminal as an SVG file, such as the README's.

After `make run`:

    .venv/bin/python -m local.terminal_picture docs/images/result.svg "status" "verify"

Each argument is the rest of a command line of `vonage-reports --local`.
"""

import fcntl
import io
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COLUMNS, LINES = 96, 100

_ERASED = re.compile(r"[^\n]*\n(?:\x1b\[\?25h)?\r\x1b\[1A\x1b\[2K")
"""A progress bar that is erased at its end."""

_PROGRAM = "vonage-reports --local"

# The format of rich, without its fonts from elsewhere.
_FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<title>Commands of vonage-reports and their output, after make run</title>
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, monospace;
font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def output_of(arguments: list[str]) -> str:
    """Run the program on a terminal, and return its output with colours. Raises OSError."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    command = [sys.executable, "-m", "vonage_reports_cli", "--local", *arguments]
    # The command is the running interpreter and the developer's own arguments, without a shell.
    process = subprocess.Popen(  # noqa: S603
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    found = b""
    try:
        while block := os.read(ours, 65536):
            found += block
    except OSError:
        # Linux reports the end of a terminal as an error.
        pass
    finally:
        os.close(ours)
    process.wait()
    text = found.decode().replace("\r\n", "\n").rstrip("\n")
    return _ERASED.sub("", text)


def picture(commands: list[str]) -> str:
    """Return the SVG of commands with their output."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="256"
    )
    for number, command in enumerate(commands):
        if number:
            console.print()
        console.print(Text(f"$ {_PROGRAM} {command}", style="bold"))
        console.print(Text.from_ansi(output_of(shlex.split(command))), soft_wrap=True)
    svg = console.export_svg(
        title="make run", theme=MONOKAI, code_format=_FORMAT, unique_id="picture"
    )
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def main(arguments: list[str]) -> int:
    """Write the picture. Return the exit code."""
    if len(arguments) <= 1:
        print("Name a file and one command or more, such as: result.svg status", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(picture(arguments[1:]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
