"""MiniStack's application for hypercorn, patched to wait longer for each function's log.

MiniStack 1.5.33 drops the log of an invocation if no line arrives within 50 ms of the answer. On a
busy machine the lines arrive later.
"""

from functools import partialmethod

from ministack.app import app
from ministack.core.lambda_runtime import Worker

__all__ = ["app"]

# In seconds. All our functions write logs, so the long wait for a first line never runs out.
Worker._drain_stderr_bounded = partialmethod(  # noqa: SLF001 - there is no setting
    Worker._drain_stderr_bounded,  # noqa: SLF001 - as above
    first_line_wait=2,
    idle_confirm=0.02,
    hard_cap=3,
)
