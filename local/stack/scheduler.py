"""What EventBridge Scheduler would do: sends an event to submit_reports, and sweeps after it."""

import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from local.stack.deployment import InvocationFailed, Stack

_SWEEP_SECONDS = 300
"""The rate of the template's schedule."""

_SHORTEST_SWEEP_SECONDS = 1.0
_FAILURES_IN_A_ROW = 3

_REPETITIONS = 2
"""What Lambda's asynchronous invocation does by default, and the template asks for."""


def sweep_seconds(wait_scale: float) -> float:
    """Return how far sweeps are apart when every wait is scaled."""
    return max(_SWEEP_SECONDS * wait_scale, _SHORTEST_SWEEP_SECONDS)


class Scheduler:
    """One invocation at a time, in a thread of its own. `say` prints a line.

    The workflow's ends wake submit_reports besides, through the template's EventBridge rule.
    """

    def __init__(
        self,
        stack: Stack,
        event: Mapping[str, Any],
        *,
        sweep_seconds: float,
        say: Callable[[str], None],
    ) -> None:
        self._stack = stack
        self._say = say
        self._sweep = stack.schedule_event("SubmitReportsFunctionSweep")
        self._interval = sweep_seconds
        self._next_sweep = 0.0
        self._failures = 0
        self._thread = ThreadPoolExecutor(1)
        self._running: Future[dict[str, Any]] | None = self._thread.submit(
            send, event, stack, say=say
        )
        self.answer: dict[str, Any] | None = None
        """What submit_reports answered to the event; None until it has."""

    @property
    def is_idle(self) -> bool:
        """Whether no invocation is under way that was not taken note of."""
        return self._running is None

    def tick(self) -> None:
        """Take the answer of an invocation that ended, and start the next when it is due.

        Raises InvocationFailed when the event failed, or several sweeps in a row.
        """
        if self._running is not None and self._running.done():
            ended, self._running = self._running, None
            self._take(ended)
        if self._running is None and time.monotonic() >= self._next_sweep:
            self._running = self._thread.submit(self._stack.submit, self._sweep)

    def finish(self, seconds: float) -> None:
        """Wait for the invocation under way, so that the ledger has what it was told."""
        if self._running is not None and not self._running.done():
            self._say("waiting for the invocation under way")
            wait([self._running], timeout=seconds)

    def stop(self) -> None:
        """Start no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _take(self, ended: Future[dict[str, Any]]) -> None:
        if self.answer is None:
            self.answer = ended.result()
            # What the event could not submit may go on as soon as it answered.
            self._next_sweep = 0.0
            return
        self._next_sweep = time.monotonic() + self._interval
        try:
            ended.result()
        except InvocationFailed as error:
            self._failures += 1
            if self._failures == _FAILURES_IN_A_ROW:
                raise
            self._say(f"a sweep failed, the next one follows: {error}")
        else:
            self._failures = 0


def send(event: Mapping[str, Any], stack: Stack, *, say: Callable[[str], None]) -> dict[str, Any]:
    """Send an event, and again when it fails, as Lambda does with a schedule's event.

    The first invocation of all failed once in 34 starts of the emulator, and never in 60 that were
    made to find out why.
    """
    event = _safe_to_repeat(event)
    for _ in range(_REPETITIONS):
        try:
            return stack.submit(event)
        except InvocationFailed as error:
            if error.kind == "InvalidRequest":
                raise
            say(f"the event failed and is sent again: {error}")
    return stack.submit(event)


def _safe_to_repeat(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give a recollection the token that makes it one, however often it is sent.

    Without one it would be the invocation's id, which Lambda keeps when it repeats an event.
    """
    asked = event.get("recollect")
    if not isinstance(asked, dict) or asked.get("token") is not None:
        return event
    return {**event, "recollect": {**asked, "token": str(uuid.uuid4())}}
