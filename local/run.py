"""The command behind `make run`: `python -m local.run`.

`local.runner.runner` does the work. Its import is slow, so this module handles Ctrl-C meanwhile.
"""

import os
import signal
import sys

INTERRUPTED = 130

_INTERRUPTED_TEXT = "Interrupted. Nothing is left running."


def main() -> int:
    """Run, and return the exit code."""
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
    sys.exit(main())
