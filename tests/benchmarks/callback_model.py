"""The time from ready at Vonage to seen with a callback, by the workflow's own definition.

The callback comes at once, after a delay, or never. A report without a call is polled.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from random import Random
from statistics import mean
from typing import Any

from tests.chaos.workflow import Call, StateError, Wait, Workflow
from tests.support.paths import ROOT

DELAYS: tuple[float | None, ...] = (0, 5, 60, None)
"""The seconds from the end of a report to its callback. None: there is none."""

ENDS_WAIT = 1.5
"""The seconds from the call to the end of the wait: a cold start, and three calls of AWS."""

GOAL = 3
"""The most seconds from ready to seen, beyond the callback's own delay."""

_EVENTS = {"Choice": 2, "Wait": 2, "Task": 5}
_EVENTS_OF_A_TOKEN = 6
"""A task with a token has one event more: TaskSubmitted."""


@cache
def _workflow() -> Workflow:
    return Workflow.of_file(ROOT / "functions" / "report_workflow.asl.yaml", {})


@dataclass(frozen=True)
class Seen:
    """How late a report was seen ready, in seconds, its polls, and the run's history events."""

    late: float
    polls: int
    events: int


def seen(
    first_wait: int,
    ready: float,
    *,
    delay: float | None,
    next_wait: Callable[[float], float],
    check: float,
) -> Seen:
    """Run a report that is ready after so many seconds, until a check sees it.

    `next_wait` gives the wait after an age. A check takes `check` seconds.
    """
    value = {"entry": "check", "first_wait": first_wait, "callback": "0f", "announce": True}
    states: list[str] = []
    steps = _workflow().steps(
        value, started="2026-11-22T02:15:00Z", random=Random(1), entered=states.append
    )
    age, polls, tokens = 0.0, 0, 0
    call = None if delay is None else ready + delay
    step: Wait | Call = next(steps)
    while True:
        if isinstance(step, Wait):
            age += step.seconds
            step = steps.send(None)
        elif step.token is not None:
            tokens += 1
            if call is not None and age <= call < age + step.timeout:
                age = call + ENDS_WAIT
                step = steps.send({})
            else:
                age += step.timeout
                step = steps.throw(StateError("States.Timeout", "no call"))
        else:
            age, polls = age + check, polls + 1
            if age >= ready:
                events = 1 + sum(_EVENTS[each] for each in states)
                return Seen(age - ready, polls, events + tokens * (_EVENTS_OF_A_TOKEN - 5))
            wait = {"ready": False, "wait_seconds": next_wait(age), "download": None}
            step = steps.send({"Payload": wait})


def measure(
    world: str,
    rows: int,
    times: Iterable[float],
    *,
    first_wait: int,
    next_wait: Callable[[float], float],
    check: float,
) -> Iterator[dict[str, Any]]:
    """Yield a row for each delay of the callback."""
    ready = list(times)
    for delay in DELAYS:
        found = [
            seen(first_wait, each, delay=delay, next_wait=next_wait, check=check) for each in ready
        ]
        yield {
            "world": world,
            "rows": rows,
            "delay": delay,
            "mean": mean(each.late for each in found),
            "longest": max(each.late for each in found),
            "polls": mean(each.polls for each in found),
        }


def report(rows: Iterable[dict[str, Any]], *, endless: Seen) -> None:
    """Print the table, and a line for each goal that was missed.

    `endless` is a run of 48 hours that no call ends.
    """
    print("\nwith a callback: seconds from ready at Vonage to seen, and polls of a report")
    print(f"{'world':<7}{'rows':>12}{'call after':>12}{'mean':>10}{'longest':>10}{'polls':>8}")
    for row in rows:
        delay = "never" if row["delay"] is None else f"{row['delay']} s"
        print(
            f"{row['world']:<7}{row['rows']:>12,}{delay:>12}{row['mean']:>10.1f}"
            f"{row['longest']:>10.1f}{row['polls']:>8.1f}"
        )
        if row["delay"] is not None and row["longest"] - row["delay"] > GOAL:
            print(f"MISSED {row['rows']:,} rows, a call after {delay}: {row['longest']:.1f} s")
    print(f"48 hours without a call: {endless.polls} polls, {endless.events:,} history events")
