"""Virtual time: a queue of events, and invocations that take turns at their calls.

An invocation is a thread that stops at each call that leaves it: time passes, others go on, and it
may be killed there. One thread runs at a time, so that a run is as deterministic as its events.
"""

import heapq
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count

import time_machine


class Killed(BaseException):
    """What an invocation sees when its process dies: nothing of ours may catch it."""


class VirtualTime:
    """Runs events in the order of their times; `now` is what every clock says."""

    def __init__(self, start: datetime) -> None:
        self.now = start
        self.current: Invocation | None = None
        self._events: list[tuple[datetime, int, Callable[[], None]]] = []
        self._numbers = count()
        self._alive: dict[int, Invocation] = {}
        # The handlers ask the wall for the time, and they are driven whole.
        self._travel = time_machine.travel(start, tick=False)
        self._wall = self._travel.start()

    def at(self, when: datetime, event: Callable[[], None]) -> None:
        """Let `event` happen at a time, or now where that is past."""
        heapq.heappush(self._events, (max(when, self.now), next(self._numbers), event))

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        """Let `event` happen so much later."""
        self.at(self.now + timedelta(seconds=seconds), event)

    def step(self) -> bool:
        """Let the next event happen; False: there is none."""
        if not self._events:
            return False
        when, _, event = heapq.heappop(self._events)
        if when > self.now:
            # Not move_to: that sets the time zone of the process anew, for each event.
            self._wall.shift(when - self.now)
            self.now = when
        event()
        return True

    def seconds(self) -> float:
        """A monotonic clock."""
        return self.now.timestamp()

    def invoke(
        self,
        number: int,
        program: Callable[["Invocation"], object],
        *,
        lifetime: float,
        dies_at_call: int | None,
        then: Callable[["Invocation"], None],
    ) -> None:
        """Begin an invocation; `then` is called at its end, however it comes."""
        invocation = Invocation(
            self, number, program, lifetime=lifetime, dies_at_call=dies_at_call, then=then
        )
        self._alive[number] = invocation
        invocation.go_on()

    def ended(self, invocation: "Invocation") -> None:
        """Forget an invocation."""
        del self._alive[invocation.number]

    def close(self) -> None:
        """End what is under way, and give the wall its clock back."""
        self._events.clear()
        for invocation in list(self._alive.values()):
            invocation.abandon()
        self._travel.stop()


class Invocation:
    """One invocation of a function: `result`, `error`, or neither where it was killed."""

    def __init__(
        self,
        loop: VirtualTime,
        number: int,
        program: Callable[["Invocation"], object],
        *,
        lifetime: float,
        dies_at_call: int | None,
        then: Callable[["Invocation"], None],
    ) -> None:
        self.number = number
        self.calls = 0
        self.result: object = None
        self.error: Exception | None = None
        self.crash: BaseException | None = None
        self.killed = False
        self.timed_out = False
        self._loop = loop
        self._deadline = loop.now + timedelta(seconds=lifetime)
        self._dies_at_call = dies_at_call
        self._then = then
        self._turn, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._is_over = False
        self._thread = threading.Thread(target=self._run, args=(program,), daemon=True)
        self._thread.start()

    def is_here(self) -> bool:
        """Whether this is the thread that takes turns, and none that it started."""
        return threading.current_thread() is self._thread

    def seconds_left(self) -> float:
        """What Lambda says is left of the function's time."""
        return (self._deadline - self._loop.now).total_seconds()

    def spend(self, seconds: float) -> None:
        """Let time pass at a call; go on when it is over, or die."""
        if self.killed:
            raise Killed
        self.calls += 1
        if self._dies_at_call is not None and self.calls >= self._dies_at_call:
            self.killed = True
            raise Killed
        end = self._loop.now + timedelta(seconds=seconds)
        self._loop.at(min(end, self._deadline), self.go_on)
        self._back.release()
        self._turn.acquire()
        if self._loop.now >= self._deadline:
            self.killed = self.timed_out = True
        if self.killed:
            raise Killed

    def go_on(self) -> None:
        """Let the thread run until it spends time, or ends; called by the loop."""
        self._loop.current = self
        self._turn.release()
        self._back.acquire()
        self._loop.current = None
        if self._is_over:
            self._thread.join()
            self._loop.ended(self)
            if self.crash is not None:
                raise self.crash
            self._then(self)

    def abandon(self) -> None:
        """End the thread, whatever it was about to do."""
        self.killed = True
        while not self._is_over:
            self._turn.release()
            self._back.acquire()
        self._thread.join()

    def _run(self, program: Callable[["Invocation"], object]) -> None:
        self._turn.acquire()
        try:
            if not self.killed:
                self.result = program(self)
        except Killed:
            pass
        except Exception as error:  # noqa: BLE001 - whatever a function raises is its answer
            self.error = error
        except BaseException as error:  # noqa: BLE001 - handed to the thread of the loop
            self.crash = error
        finally:
            self._is_over = True
            self._back.release()
