"""Runs a Python module that ends, with all it started, as soon as its starter is gone.

    python -m local.stack.watchdog MODULE [ARGUMENT ...]

The starter holds the other end of a pipe that is our standard input. However the starter ends,
SIGKILL included, the system closes that end, and the whole process group is killed. Works wherever
there are process groups; nothing has to be polled, and no process id is kept that could be reused.
"""

import os
import runpy
import signal
import sys
import threading


def main() -> None:
    """Run the module that the command line names."""
    if os.getpgrp() != os.getpid():
        sys.exit("local.stack.watchdog must be started as the leader of its own process group")
    threading.Thread(target=_end_with_starter, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _end_with_starter() -> None:
    while os.read(0, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main()
