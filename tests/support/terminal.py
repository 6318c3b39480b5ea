"""`vonage-reports` on a terminal, with an operator who answers its questions."""

import os
import pty
import subprocess
import sys
from collections.abc import Mapping, Sequence

from tests.support.cli import Ended, program_environment

_SECONDS = 120
_QUESTION = b"[y/N]"


def run_on_terminal(
    *arguments: str, answers: Sequence[str], environment: Mapping[str, str]
) -> Ended:
    """Run the program on a pseudo-terminal, and answer its questions in order.

    `out` has everything that the terminal shows.
    """
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "vonage_reports_cli", *arguments],
        env={**program_environment(environment), "TERM": "dumb", "COLUMNS": "80"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    shown, left = b"", list(answers)
    try:
        while chunk := _read(controller):
            shown += chunk
            if left and shown.count(_QUESTION) > len(answers) - len(left):
                os.write(controller, f"{left.pop(0)}\n".encode())
        code = process.wait(_SECONDS)
    finally:
        process.kill()
        os.close(controller)
    assert left == [], f"not asked for {left}: {shown!r}"
    return Ended(code, shown.decode(), "")


def _read(controller: int) -> bytes:
    try:
        return os.read(controller, 65536)
    except OSError:
        # Linux answers EIO once the program has closed the terminal.
        return b""
