"""Waiting for a state that another process reaches."""

import time
from collections.abc import Callable


def wait_until(is_so: Callable[[], object], *, within: float = 30.0, every: float = 0.01) -> None:
    """Return once `is_so`; fail after `within` seconds."""
    deadline = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < deadline, f"not within {within:.0f} s"
        # The other process tells the test nothing. The pause leaves the processor to it.
        time.sleep(every)
