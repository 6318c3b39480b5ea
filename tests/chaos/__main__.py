"""`make chaos`: many seeds on every core. A seed that breaks a promise prints its command."""

import multiprocessing
import os
import sys

from tests.chaos.seeds import run_seed


def main() -> int:
    """Run SEED, or SEEDS seeds from FIRST on."""
    single = os.environ.get("SEED")
    first = int(single or os.environ.get("FIRST") or 1)
    count = 1 if single else int(os.environ.get("SEEDS") or 200)
    seeds = range(first, first + count)
    failed = []
    with multiprocessing.get_context("fork").Pool(min(count, os.cpu_count() or 1)) as pool:
        for seed, sentences, line in pool.imap(run_seed, seeds):
            print(f"seed {seed}: {line}", flush=True)
            for sentence in sentences:
                print(f"    {sentence}", flush=True)
            if sentences:
                failed.append(seed)
                print(f"    run it again: make chaos SEED={seed}", flush=True)
    print(f"{count} seeds, {len(failed)} broke a promise: {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
