import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.paths import ROOT
from vonage_reports.domain.settings import Settings
from vonage_reports.vonage.pacing import Pacer

LAYER = ROOT / "layers" / "shared"

# Multiples of 1/1024 s are exact as floats, so the assertions need no tolerance.
ticks = st.integers(0, 2048).map(lambda count: count / 1024)


class Clock:
    """A clock that only `sleep` advances."""

    def __init__(self, now: float = 0, *, oversleeps: list[float] | None = None) -> None:
        self.now = now
        self._oversleeps = oversleeps or []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds + (self._oversleeps.pop() if self._oversleeps else 0)


def passages(pacer: Pacer, clock: Clock, pauses: list[float]) -> list[float]:
    """Return the times at which the pacer admits callers that pause before each call."""
    times = []
    for pause in pauses:
        clock.now += pause
        pacer.wait()
        times.append(clock.now)
    return times


def by_itself(clock: Clock, _: Path) -> Pacer:
    return Pacer(0.25, clock=clock, sleep=clock.sleep)


def with_a_file(clock: Clock, folder: Path) -> Pacer:
    return Pacer(0.25, file=folder / "pace", clock=clock, sleep=clock.sleep)


either_way = pytest.mark.parametrize("make", [by_itself, with_a_file])


@either_way
def test_first_request_does_not_wait(make: Callable[[Clock, Path], Pacer], tmp_path: Path) -> None:
    clock = Clock(now=1000)

    assert passages(make(clock, tmp_path), clock, [0]) == [1000]


@either_way
def test_request_waits_for_the_rest_of_the_interval(
    make: Callable[[Clock, Path], Pacer], tmp_path: Path
) -> None:
    clock = Clock()

    assert passages(make(clock, tmp_path), clock, [0, 0, 0.125, 5, 0]) == [0, 0.25, 0.5, 5.5, 5.75]


def test_sleep_that_ends_early_is_continued(tmp_path: Path) -> None:
    clock = Clock(oversleeps=[-0.125, -0.0625])

    assert passages(with_a_file(clock, tmp_path), clock, [0, 0]) == [0, 0.25]


@given(st.lists(ticks, max_size=40), st.lists(ticks, max_size=10))
def test_default_pace_stays_below_five_requests_per_second(
    pauses: list[float], oversleeps: list[float]
) -> None:
    clock = Clock(oversleeps=oversleeps)
    pacer = Pacer(Settings().request_interval, clock=clock, sleep=clock.sleep)

    times = passages(pacer, clock, pauses)

    for start in times:
        assert len([time for time in times if start <= time < start + 1]) < 5


def test_pacers_with_one_file_share_one_pace(tmp_path: Path) -> None:
    clock = Clock()
    pacers = [with_a_file(clock, tmp_path) for _ in range(3)]
    times = []
    for pacer in pacers * 2:
        pacer.wait()
        times.append(clock.now)

    assert times == [0, 0.25, 0.5, 0.75, 1, 1.25]


def test_file_from_before_a_restart_delays_no_request(tmp_path: Path) -> None:
    # The monotonic clock restarts with the machine: the time in the file is days ahead.
    before = Clock(now=1_000_000)
    with_a_file(before, tmp_path).wait()
    after = Clock(now=10)

    with_a_file(after, tmp_path).wait()

    assert after.now <= 10.25


PROCESS = """
import sys, time
from pathlib import Path
from vonage_reports.vonage.pacing import Pacer

read = []
def clock():
    read.append(time.monotonic())
    return read[-1]

pacer = Pacer(float(sys.argv[1]), file=Path(sys.argv[2]), clock=clock)
for _ in range(int(sys.argv[3])):
    pacer.wait()
    print(repr(read[-1]))
"""


def test_processes_with_one_file_share_one_pace(tmp_path: Path) -> None:
    interval, each = 0.02, 8
    command = [sys.executable, "-c", PROCESS, str(interval), str(tmp_path / "pace"), str(each)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(LAYER)})
        for _ in range(4)
    ]
    said = [process.communicate(timeout=30)[0] for process in processes]

    assert [process.returncode for process in processes] == [0] * 4
    times = sorted(float(line) for text in said for line in text.splitlines())
    assert len(times) == 4 * each
    assert min(later - earlier for earlier, later in pairwise(times)) >= interval * 0.999999
