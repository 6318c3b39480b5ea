"""Cold start: the import time of each handler in a fresh interpreter.

The first table shows the ratio to `import boto3, requests`, measured in turn in the same run. The
second table compares places for the SDK, by CPU time. Modules without bytecode are compiled each
time, as in a layer, which is mounted read-only.
"""

import statistics
import subprocess
import sys

from tests.support.paths import ROOT

RUNS = 15
BASELINE = "import boto3, requests"
GOALS = {"check_report": 1.3, "store_report": 1.3}

# By place of the SDK, a pattern of the modules that have no bytecode there. Lambda's runtime has
# bytecode; of ours, `sam build` compiles the shared layer and submit_reports with its packages.
# pyarrow imports numpy if it finds it, but no layer has numpy.
BEFORE = "runtime"
WITHOUT_BYTECODE = {
    BEFORE: r"/functions/|/layers/"
    r"|/site-packages/(?!(boto3|botocore|s3transfer|dateutil|jmespath|numpy)/|six\.py)",
    "layer, not compiled": "/functions/|/layers/|/site-packages/(?!numpy/)",
    "layer, compiled": r"/functions/|/layers/dataset/"
    r"|/site-packages/(pyarrow|pydantic|pydantic_core|annotated_types|typing_inspection)/",
    "the function too": r"/functions/(?!submit_reports/)|/layers/dataset/|/site-packages/pyarrow/",
}
USE_SDK = 'import boto3; boto3.client("s3", region_name="eu-west-1")'

# Hides the bytecode of modules.
_HIDE = """
import importlib._bootstrap_external as loader, re, time
find = loader.cache_from_source
def cache_from_source(path, *arguments, **named):
    if re.search({pattern!r}, path):
        # By this error, importlib knows that a module has no bytecode, and writes none.
        raise NotImplementedError
    return find(path, *arguments, **named)
loader.cache_from_source = cache_from_source
start = time.process_time()
{statement}
print(time.process_time() - start)
"""


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


def cpu_seconds(statement: str, pattern: str) -> float:
    """Return the CPU seconds of an import, if modules that match the pattern have no bytecode."""
    program = _HIDE.format(pattern=pattern, statement=statement)
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def measure_sdk() -> list[dict[str, object]]:
    """Return a row for each handler: CPU ms by place of the SDK, with the ratio to the runtime."""
    rows: list[dict[str, object]] = []
    for function in sorted(each.parent.name for each in (ROOT / "functions").glob("*/app.py")):
        statement = f"{statement_for(function)}; {USE_SDK}"
        seconds: dict[str, list[float]] = {place: [] for place in WITHOUT_BYTECODE}
        for _ in range(RUNS):
            for place, pattern in WITHOUT_BYTECODE.items():
                seconds[place].append(cpu_seconds(statement, pattern))
        row: dict[str, object] = {"function": function}
        for place, times in seconds.items():
            ratios = [mine / other for mine, other in zip(times, seconds[BEFORE], strict=True)]
            row[place] = round(statistics.median(times) * 1000)
            row[f"{place}, ratio"] = round(statistics.median(ratios), 2)
        rows.append(row)
    return rows


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
    places = measure_sdk()
    print(f"\nimport and a client of S3, CPU ms by place of the SDK, median of {RUNS} paired runs")
    print(f"{'function':<16}" + "".join(f"{place:>28}" for place in WITHOUT_BYTECODE))
    for row in places:
        cells = (f"{row[place]} ({row[f'{place}, ratio']})" for place in WITHOUT_BYTECODE)
        print(f"{row['function']:<16}" + "".join(f"{cell:>28}" for cell in cells))
    return [*rows, *places]
