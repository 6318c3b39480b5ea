"""`python -m local.run`, the command behind `make run`.

`local.runner.runner` does the work. Importing it takes a while, and Ctrl-C must work meanwhile.
"""

import os
import signal
import sys

INTERRUPTED = 130

_SENTENCE = "Interrupted: everything that was started is stopped."


def main() -> int:
    """Run, and return the exit code."""
    _on_interruption(_end_at_once)
    from local.runner.runner import run  # noqa: PLC0415 - not before somebody listens to Ctrl-C

    try:
        _on_interruption(signal.default_int_handler)
        return run()
    except KeyboardInterrupt:
        print(_SENTENCE)
        return INTERRUPTED


def _on_interruption(handler: "signal._HANDLER") -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def _end_at_once(*_: object) -> None:
    # No exception: one within an import may come out as another, or as a traceback.
    os.write(sys.stdout.fileno(), f"{_SENTENCE}\n".encode())
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
