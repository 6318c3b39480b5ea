"""One seed, run and checked."""

import os
import time

from tests.chaos.campaign import campaign
from tests.chaos.invariants import broken


def run_seed(seed: int) -> tuple[int, list[str], str]:
    """Run one seed; return its number, its broken promises, and a line on the run."""
    began = time.process_time()
    try:
        with campaign(seed) as it:
            outcome = it.run()
            sentences = broken(outcome)
            bought = len(outcome.vonage.reports)
            line = (
                f"{outcome.invocations} invocations, {len(outcome.reports)} reports, "
                f"{bought} bought, {it.watch.most_calls:.2f} of the calls, "
                f"{it.watch.most_bytes} bytes, trace {outcome.trace[:12]}"
            )
    except Exception as error:
        sentences, line = [f"{type(error).__name__}: {error}"], "an error ended the run"
        if os.environ.get("SEED"):
            raise
    seconds = time.process_time() - began
    return seed, sentences, f"{line}, {seconds:.1f} s"
