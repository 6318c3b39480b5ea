"""Runs every benchmark, prints its table and keeps the rows in out/bench.json."""

import json
from pathlib import Path

from tests.benchmarks import coldstart, convert, ledger

OUT = Path(__file__).parents[2] / "out"

rows = {"coldstart": coldstart.main(), "ledger": ledger.main(), "convert": convert.main()}
OUT.mkdir(exist_ok=True)
(OUT / "bench.json").write_text(json.dumps(rows, indent=2) + "\n")
