"""Virtual time: a queue of events, and invocations that take turns at their calls.

An invocation is a thread that stops at each call to the outside. There time passes, other
invocations go on, and it may be killed. One thread runs at a time, so a run is deterministic.
"""

import heapq
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count

import time_machine


class Killed(BaseException):
    """Raised inside an invocation when its process dies. Product code must not catch it."""


class VirtualTime:
    """Run events in the order of their times. Every clock shows `now`."""

    def __init__(self, start: datetime) -> None:
        self.now = start
        self.current: Invocation | None = None
        self._events: list[tuple[datetime, int, Callable[[], None]]] = []
        self._numbers = count()
        self._alive: dict[int, Invocation] = {}
        # The handlers read the wall clock, and run unchanged.
        self._travel = time_machine.travel(start, tick=False)
        self._wall = self._travel.start()

    def at(self, when: datetime, event: Callable[[], None]) -> None:
        """Schedule `event` at a time, or now if the time has passed."""
        heapq.heappush(self._events, (max(when, self.now), next(self._numbers), event))

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        """Schedule `event` so many seconds from now."""
        self.at(self.now + timedelta(seconds=seconds), event)

    def step(self) -> bool:
        """Run the next event; return False if there is none."""
        if not self._events:
            return False
        when, _, event = heapq.heappop(self._events)
        if when > self.now:
            # Not move_to, which sets the time zone of the process at each event.
            self._wall.shift(when - self.now)
            self.now = when
        event()
        return True

    def seconds(self) -> float:
        """Return the time of a monotonic clock."""
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
        """Start an invocation. Call `then` at its end, killed or not."""
        invocation = Invocation(
            self, number, program, lifetime=lifetime, dies_at_call=dies_at_call, then=then
        )
        self._alive[number] = invocation
        invocation.go_on()

    def remove(self, invocation: "Invocation") -> None:
        """Remove an invocation from the living."""
        del self._alive[invocation.number]

    def close(self) -> None:
        """End all invocations, and restore the wall clock."""
        self._events.clear()
        for invocation in list(self._alive.values()):
            invocation.abandon()
        self._travel.stop()


class Invocation:
    """One invocation of a function: `result` or `error`, or neither if it was killed."""

    def __init__(
        self,
        virtual_time: VirtualTime,
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
        self._virtual_time = virtual_time
        self._deadline = virtual_time.now + timedelta(seconds=lifetime)
        self._dies_at_call = dies_at_call
        self._then = then
        self._turn, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._is_over = False
        self._thread = threading.Thread(target=self._run, args=(program,), daemon=True)
        self._thread.start()

    def is_here(self) -> bool:
        """Whether the caller is the invocation's thread, rather than one that it started."""
        return threading.current_thread() is self._thread

    def seconds_left(self) -> float:
        """Return the remaining time of the function."""
        return (self._deadline - self._virtual_time.now).total_seconds()

    def spend(self, seconds: float) -> None:
        """Let time pass at a call, then continue. Raises Killed."""
        if self.killed:
            raise Killed
        self.calls += 1
        if self._dies_at_call is not None and self.calls >= self._dies_at_call:
            self.killed = True
            raise Killed
        end = self._virtual_time.now + timedelta(seconds=seconds)
        self._virtual_time.at(min(end, self._deadline), self.go_on)
        self._back.release()
        self._turn.acquire()
        if self._virtual_time.now >= self._deadline:
            self.killed = self.timed_out = True
        if self.killed:
            raise Killed

    def go_on(self) -> None:
        """Run the thread until it spends time or ends. Called by VirtualTime."""
        self._virtual_time.current = self
        self._turn.release()
        self._back.acquire()
        self._virtual_time.current = None
        if self._is_over:
            self._thread.join()
            self._virtual_time.remove(self)
            if self.crash is not None:
                raise self.crash
            self._then(self)

    def abandon(self) -> None:
        """End the thread at once."""
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
        except Exception as error:  # noqa: BLE001 - any error of a function is its answer
            self.error = error
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self.crash = error
        finally:
            self._is_over = True
            self._back.release()
