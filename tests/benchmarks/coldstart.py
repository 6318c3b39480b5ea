"""Cold start: the import time of each handler in a fresh interpreter.

The table shows the ratio to `import boto3, requests`, measured in turn in the same run.
"""

import statistics
import subprocess
import sys

from tests.support.paths import ROOT

RUNS = 15
BASELINE = "import boto3, requests"
GOALS = {"check_report": 1.3, "store_report": 1.3}


def seconds_to_import(statement: str) -> float:
    """Return the seconds that an import takes in a fresh interpreter."""
    program = (
        f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def statement_for(function: str) -> str:
    """Return the import of a handler, with the path that Lambda sets."""
    layers = [str(ROOT / "layers" / name) for name in ("shared", "dataset")]
    path = [str(ROOT / "functions" / function), *layers]
    return f"import sys; sys.path[:0] = {path!r}; import app"


def measure() -> list[dict[str, object]]:
    """Return a row for each handler: medians in ms, and the median of the paired ratios."""
    functions = sorted(each.parent.name for each in (ROOT / "functions").glob("*/app.py"))
    statements = {name: statement_for(name) for name in functions}
    for statement in (BASELINE, *statements.values()):
        seconds_to_import(statement)  # the first run writes the bytecode
    baseline: list[float] = []
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(RUNS):
        baseline.append(seconds_to_import(BASELINE))
        for name, statement in statements.items():
            seconds[name].append(seconds_to_import(statement))
    return [
        {
            "function": name,
            "import_ms": round(statistics.median(times) * 1000, 1),
            "baseline_ms": round(statistics.median(baseline) * 1000, 1),
            "ratio": round(
                statistics.median(
                    mine / other for mine, other in zip(times, baseline, strict=True)
                ),
                3,
            ),
            "goal": GOALS.get(name),
        }
        for name, times in seconds.items()
    ]


def main() -> list[dict[str, object]]:
    """Print the table and return its rows."""
    rows = measure()
    print(f"cold start, median of {RUNS} paired runs; baseline: {BASELINE}")
    print(f"{'function':<16}{'import ms':>10}{'baseline ms':>13}{'ratio':>8}{'goal':>7}")
    for row in rows:
        goal = row["goal"] or "-"
        print(
            f"{row['function']:<16}{row['import_ms']:>10}{row['baseline_ms']:>13}"
            f"{row['ratio']:>8}{goal:>7}"
        )
    return rows
