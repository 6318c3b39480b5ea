"""Runs the benchmarks, prints their tables and saves the rows in out/bench.json.

`PART=store` runs only one benchmark; the file keeps the other benchmarks' rows.
"""

import json
import os
from collections.abc import Callable

from tests.benchmarks import cli, coldstart, convert, delivery, latency, ledger, queries, store
from tests.support.paths import ROOT

OUT = ROOT / "out"
FILE = OUT / "bench.json"
PARTS: dict[str, Callable[[], object]] = {
    "cli": cli.main,
    "coldstart": coldstart.main,
    "delivery": delivery.main,
    "latency": latency.main,
    "ledger": ledger.main,
    "convert": convert.main,
    "queries": queries.main,
    "store": lambda: store.main(OUT),
}

OUT.mkdir(exist_ok=True)
rows = json.loads(FILE.read_text()) if FILE.exists() else {}
for part in os.environ.get("PART", "").split() or PARTS:
    rows[part] = PARTS[part]()
    FILE.write_text(json.dumps(rows, indent=2) + "\n")
