"""The campaign: twenty seeds keep every promise, and a seed is the same run each time."""

import pytest

from tests.chaos.campaign import campaign
from tests.chaos.invariants import broken

# Quick ones. Seed 1 has held reports, 3 and 34 have a failed one, 393 has an aborted upload.
SEEDS = (1, 3, *range(12, 26), 33, 34, 37, 393)


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
