"""The campaign itself: twenty seeds keep every promise, and a run is the same each time.

They are of the quick ones. Classes of five: pytest-xdist gives a class to one worker.
"""

import pytest

from tests.chaos.campaign import campaign
from tests.chaos.invariants import broken


class Promises:
    def test_every_promise_is_kept(self, seed: int) -> None:
        with campaign(seed) as it:
            said = broken(it.run())
        assert said == [], f"again: make chaos SEED={seed}"


@pytest.mark.parametrize("seed", range(11, 16))
class TestSeedsFrom11(Promises):
    pass


@pytest.mark.parametrize("seed", range(16, 21))
class TestSeedsFrom16(Promises):
    pass


@pytest.mark.parametrize("seed", range(21, 26))
class TestSeedsFrom21(Promises):
    pass


@pytest.mark.parametrize("seed", range(33, 38))
class TestSeedsFrom33(Promises):
    pass


def test_a_seed_is_the_same_run_each_time() -> None:
    traces = []
    for _ in range(2):
        with campaign(11) as it:
            traces.append(it.run().trace)
    assert traces[0] == traces[1]
