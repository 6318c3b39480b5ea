"""The campaign: nineteen seeds keep every promise, and a seed is the same run each time."""

import pytest

from tests.chaos.campaign import campaign
from tests.chaos.invariants import broken

# Quick ones. 106 has held and failed reports, 129 a failed one, 17 and 37 a withdrawn one.
# 11 and 30 follow sub-accounts, of which the list is out, one is new and one is suspended.
# In 22, 24 and 25, Vonage calls back.
# 86, 97 and 129 have relabelled ones, 17, 22, 34 and 37 a wrong key.
SEEDS = (3, 7, 11, 17, 22, 24, 25, 27, 28, 30, 33, 34, 35, 37, 86, 97, 106, 129, 155)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_every_promise_is_kept(seed: int) -> None:
    with campaign(seed) as running:
        sentences = broken(running.run())
    assert sentences == [], f"run it again: make chaos SEED={seed}"


def test_seed_is_the_same_run_each_time() -> None:
    traces = []
    for _ in range(2):
        with campaign(11) as running:
            traces.append(running.run().trace)
    assert traces[0] == traces[1]
