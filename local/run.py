"""`python -m local.run`, the command behind `make run`.

The work is `local.job`'s: importing that takes a while, in which Ctrl-C has to be understood.
"""

import signal
import sys

_INTERRUPTED = 130


def main() -> int:
    """Run, and return the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        from local.job import run  # noqa: PLC0415 - not before the handlers

        return run()
    except KeyboardInterrupt:
        print("Interrupted: everything that was started is stopped.")
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
