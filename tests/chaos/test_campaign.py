"""The campaign itself: twenty seeds keep every promise, and a run is the same each time.

Classes of five seeds: pytest-xdist gives a class to one worker.
"""

import pytest

from tests.chaos.campaign import campaign
from tests.chaos.invariants import broken


class Promises:
    def test_every_promise_is_kept(self, seed: int) -> None:
        with campaign(seed) as it:
            said = broken(it.run())
        assert said == [], f"again: make chaos SEED={seed}"


@pytest.mark.parametrize("seed", range(1, 6))
class TestSeedsOneToFive(Promises):
    pass


@pytest.mark.parametrize("seed", range(6, 11))
class TestSeedsSixToTen(Promises):
    pass


@pytest.mark.parametrize("seed", range(11, 16))
class TestSeedsElevenToFifteen(Promises):
    pass


@pytest.mark.parametrize("seed", range(16, 21))
class TestSeedsSixteenToTwenty(Promises):
    pass


def test_a_seed_is_the_same_run_each_time() -> None:
    traces = []
    for _ in range(2):
        with campaign(11) as it:
            traces.append(it.run().trace)
    assert traces[0] == traces[1]
