"""`vonage-reports` on a terminal, as an operator who types answers sees it."""

import os
import pty
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.support.cli import Ended, program_environment

Answer = str | Callable[[], str]

_SECONDS = 60.0
_POLL_SECONDS = 0.1


def run_on_terminal(
    *arguments: str,
    answers: Sequence[tuple[str, Answer]],
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run the program on a terminal of its own, of 80 columns, and type the answers.

    `answers` are pairs: once the first text is shown, type the second, and Enter. A function is
    called at that moment, and returns the text to type. The result has both outputs in `out`, as
    the terminal shows them, with the echo of the input.
    """
    variables = {**program_environment(environment), "COLUMNS": "80", "TERM": "dumb"}
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder or Path.cwd())
        command = [sys.executable, "-m", "vonage_reports_cli", *arguments]
        # The command is the running interpreter and the arguments of a test, without a shell.
        os.execve(sys.executable, command, variables)  # noqa: S606
    try:
        shown = _converse(terminal, list(answers))
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return Ended(os.waitstatus_to_exitcode(status), shown, "")


def _converse(terminal: int, answers: list[tuple[str, Answer]]) -> str:
    """Read until the program ends; type each answer when its question is shown."""
    shown, asked_from = "", 0
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], _POLL_SECONDS)[0]:
            continue
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # Linux's end of a terminal
            piece = b""
        if not piece:
            assert not answers, f"never asked: {answers}; shown: {shown}"
            return shown.replace("\r\n", "\n")
        shown += piece.decode()
        if answers and answers[0][0] in shown[asked_from:]:
            asked_from = len(shown)
            answer = answers.pop(0)[1]
            os.write(terminal, f"{answer if isinstance(answer, str) else answer()}\n".encode())
    raise AssertionError(f"the program did not end; waiting for {answers}; shown: {shown}")
