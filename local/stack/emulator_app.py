"""MiniStack's application, as hypercorn serves it, with the last lines of each function's log.

MiniStack takes an invocation for one that logged nothing if no line of it came within 50 ms of its
answer (seen in release 1.5.33). On a busy machine lines come later than that, and would be lost.
"""

from functools import partialmethod

from ministack.app import app
from ministack.core.lambda_runtime import Worker

__all__ = ["app"]

# Seconds. All our functions log, so nobody waits for a first line that does not come.
Worker._drain_stderr_bounded = partialmethod(  # noqa: SLF001 - it has no setting
    Worker._drain_stderr_bounded,  # noqa: SLF001 - as above
    first_line_wait=2,
    idle_confirm=0.02,
    hard_cap=3,
)
