"""`make chaos`: many seeds on every core; one that breaks a promise says how to run it again."""

import multiprocessing
import os
import sys

from tests.chaos.seeds import of_seed


def main() -> int:
    """Run SEED, or SEEDS of them from FIRST on."""
    single = os.environ.get("SEED")
    first = int(single or os.environ.get("FIRST") or 1)
    count = 1 if single else int(os.environ.get("SEEDS") or 200)
    seeds = range(first, first + count)
    failed = []
    with multiprocessing.get_context("fork").Pool(min(count, os.cpu_count() or 1)) as pool:
        for seed, said, line in pool.imap(of_seed, seeds):
            print(f"seed {seed}: {line}", flush=True)
            for sentence in said:
                print(f"    {sentence}", flush=True)
            if said:
                failed.append(seed)
                print(f"    again: make chaos SEED={seed}", flush=True)
    print(f"{count} seeds, {len(failed)} broke a promise: {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
