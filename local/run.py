"""The command behind `make run`: `python -m local.run`.

`local.runner.runner` does the work. Its import is slow, so this module handles Ctrl-C meanwhile.
"""

import os
import signal
import sys
from collections.abc import Sequence

INTERRUPTED = 130
DONE, BAD_INPUT = 0, 2

_HELP = "make run has variables instead of arguments; make help lists them"

_INTERRUPTED_TEXT = "Interrupted. Nothing is left running."


def main(arguments: Sequence[str]) -> int:
    """Run, and return the exit code. With an argument, only print how to run."""
    if arguments:
        is_help = set(arguments) <= {"-h", "--help"}
        print(_HELP if is_help else f"make run: {arguments[0]!r} is an argument: {_HELP}")
        return DONE if is_help else BAD_INPUT
    _handle_interruptions(_exit_at_once)
    from local.runner.runner import run  # noqa: PLC0415 - Ctrl-C must be handled before it

    try:
        _handle_interruptions(signal.default_int_handler)
        return run()
    except KeyboardInterrupt:
        print(_INTERRUPTED_TEXT)
        return INTERRUPTED


def _handle_interruptions(handler: "signal._HANDLER") -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def _exit_at_once(*_: object) -> None:
    # An import may replace an exception with another, or print a traceback.
    os.write(sys.stdout.fileno(), f"{_INTERRUPTED_TEXT}\n".encode())
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
