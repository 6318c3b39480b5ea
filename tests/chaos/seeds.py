"""One seed from its beginning to its verdict."""

import os
import time

from tests.chaos.campaign import campaign
from tests.chaos.invariants import broken


def of_seed(seed: int) -> tuple[int, list[str], str]:
    """Run one seed; return what it broke, and what it was, in a line."""
    began = time.process_time()
    try:
        with campaign(seed) as it:
            outcome = it.run()
            said = broken(outcome)
            bought = len(outcome.vonage.simulation.world.reports)
            line = (
                f"{outcome.invocations} invocations, {len(outcome.reports)} reports, "
                f"{bought} bought, trace {outcome.trace[:12]}"
            )
    except Exception as error:
        said, line = [f"{type(error).__name__}: {error}"], "it broke off"
        if os.environ.get("SEED"):
            raise
    seconds = time.process_time() - began
    return seed, said, f"{line}, {seconds:.1f} s"
