"""Run a Python module, and kill its process group when the starter ends.

    python -m local.stack.watchdog MODULE [ARGUMENT ...]

Our standard input is a pipe from the starter. When the starter ends, even by SIGKILL, the system
closes the pipe, and this module kills the whole process group. The pipe needs no polling and no
process id, which the system could reuse. This works wherever process groups exist.
"""

import os
import runpy
import signal
import sys
import threading


def main() -> None:
    """Run the module named on the command line."""
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
