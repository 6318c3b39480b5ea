"""Ways to copy an archive from Vonage to S3, compared: the cost of a verification, and of ours.

    make bench PART=store                       100 MB: 4 minutes
    make bench PART=store SIZES="100 1000"      1 GB as well: 20 minutes
    RUNS=5 VARIANTS="limit ours" SETTINGS=lambda    fewer or more of each

Each transfer runs in its own process. A round measures every variant once, in turn. Ratios are
taken within a round, so that the machine's load affects both sides alike. The table shows medians
over RUNS rounds, and the quartiles of the ratios. A goal between the quartiles is reached.
"""

import json
import os
import platform
import ssl
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import trustme

from tests.benchmarks.store_archive import write_archive
from tests.benchmarks.store_servers import SETTINGS
from tests.benchmarks.store_variants import VARIANTS

SIZES = [int(size) for size in os.environ.get("SIZES", "100").split()]
RUNS = int(os.environ.get("RUNS", "5"))
CHOSEN = os.environ.get("VARIANTS", "").split() or [v for v in VARIANTS if v != "idle"]
CHOSEN_SETTINGS = os.environ.get("SETTINGS", "").split() or list(SETTINGS)
SLOWEST = 600  # seconds that a transfer may take

Row = dict[str, Any]


@dataclass(frozen=True)
class Cores:
    """The cores of each side, separated by commas; empty means all cores."""

    client: str
    servers: str


def cores_for(setting: str) -> Cores:
    """Separate the client's cores from the servers', as far as there are enough."""
    if not hasattr(os, "sched_getaffinity"):
        return Cores("", "")
    cores = [str(core) for core in sorted(os.sched_getaffinity(0))]
    clients = 1 if setting == "lambda" else 2
    # In "open" the client may use two cores; on a machine of two, all processes share them.
    return Cores(",".join(cores[:clients]), ",".join(cores[clients:]))


class Link:
    """A source and a sink of one setting, and the transfers between them."""

    def __init__(self, setting: str, archive: Path, folder: Path, stack: ExitStack) -> None:
        self._setting = setting
        self._archive = archive
        self._cores = cores_for(setting)
        self._environment = {
            **os.environ,
            "REQUESTS_CA_BUNDLE": str(folder / "ca.pem"),
            "AWS_CA_BUNDLE": str(folder / "ca.pem"),
        }
        self._trust = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        self._ends = [
            stack.enter_context(self._server(kind, folder)) for kind in ("source", "sink")
        ]

    def transfer(self, variant: str) -> dict[str, float]:
        """Run one variant once. Raises RuntimeError unless all bytes arrived."""
        done = subprocess.run(
            [*self._module("store_variants"), variant, self._setting, *self._ends, self._archive],
            env=self._environment | {"CORES": self._cores.client},
            check=True,
            stdout=subprocess.PIPE,
            timeout=SLOWEST,
        )
        stored = self._stored()
        expected = 0 if variant in ("inflate_only", "idle") else self._archive.stat().st_size
        if stored != expected:
            raise RuntimeError(f"{variant} stored {stored} bytes of {expected}")
        figures: dict[str, float] = json.loads(done.stdout)
        return figures

    def _stored(self) -> int:
        with urllib.request.urlopen(f"{self._ends[1]}/stored", context=self._trust) as answer:
            return int(answer.read())

    @contextmanager
    def _server(self, kind: str, folder: Path) -> Iterator[str]:
        certificate = folder / "server.pem"
        with subprocess.Popen(
            [*self._module("store_servers"), kind, certificate, self._setting, self._archive],
            env=self._environment | {"CORES": self._cores.servers},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as server:
            assert server.stdin
            assert server.stdout
            yield f"https://localhost:{server.stdout.readline().strip()}"
            server.stdin.close()

    @staticmethod
    def _module(name: str) -> list[str]:
        return [sys.executable, "-m", f"tests.benchmarks.{name}"]


@dataclass(frozen=True)
class Result:
    """The measurements of one variant, size and setting, by round."""

    variant: str
    setting: str
    size_mb: int
    megabytes: float
    rounds: list[dict[str, float]]

    def median(self, figure: str) -> float:
        return statistics.median(each[figure] for each in self.rounds)

    def times_as_fast_as(self, other: "Result") -> tuple[float, float, float]:
        """Return the lower quartile, the median and the upper quartile of the paired ratios."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        ratios = [theirs["seconds"] / mine["seconds"] for mine, theirs in pairs]
        if len(ratios) == 1:
            return ratios[0], ratios[0], ratios[0]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return low, middle, high

    def row(self) -> Row:
        return {
            "variant": self.variant,
            "setting": self.setting,
            "size_mb": self.size_mb,
            "mb_per_s": round(self.megabytes / self.median("seconds"), 1),
            "cpu_s_per_gb": round(self.median("cpu_seconds") / self.megabytes * 1000, 2),
            "rss_mb": round(self.median("rss_mb"), 1),
        }


Results = dict[tuple[str, str, int], Result]


def measure(folder: Path) -> Results:
    """Measure every variant; keys are variant, setting and size."""
    results: Results = {}
    for size in SIZES:
        archive = folder / f"{size}.zip"
        write_archive(archive, size * 10**6)
        megabytes = archive.stat().st_size / 1e6
        for setting in CHOSEN_SETTINGS:
            rounds = []
            with ExitStack() as stack:
                link = Link(setting, archive, folder, stack)
                idle = link.transfer("idle")  # the first run also writes the bytecode
                for number in range(1, RUNS + 1):
                    print(f"store: {size} MB, {setting}, {number} of {RUNS}", file=sys.stderr)
                    rounds.append({each: link.transfer(each) for each in CHOSEN} | {"idle": idle})
            for variant in (*CHOSEN, "idle"):
                of_variant = [each[variant] for each in rounds]
                results[variant, setting, size] = Result(
                    variant, setting, size, megabytes, of_variant
                )
        archive.unlink()
    return results


def spread(ratios: tuple[float, float, float]) -> str:
    low, middle, high = ratios
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def print_table(results: Results) -> None:
    print(f"{'variant':<16}{'MB/s':>8}{'of the limit':>21}{'CPU s/GB':>10}{'peak RSS MB':>13}")
    for size in SIZES:
        for setting in CHOSEN_SETTINGS:
            idle = results["idle", setting, size].median("rss_mb")
            print(f"-- {setting}, {size} MB; an idle handler uses {idle:.0f} MB")
            for variant in CHOSEN:
                result = results[variant, setting, size]
                limit = results.get(("limit", setting, size))
                ratio = spread(result.times_as_fast_as(limit)) if limit else "-"
                row = result.row()
                print(
                    f"{variant:<16}{row['mb_per_s']:>8}{ratio:>21}"
                    f"{row['cpu_s_per_gb']:>10}{row['rss_mb']:>13}"
                )


GOALS = [
    ("lambda", "upload_fileobj", 1.0),
    ("open", "stream_unzip", 2.2),
    ("open", "tmp_unzip", 2.0),
    ("open", "inflate_only", 0.9),
]
OF_THE_LINK = {100: 0.93, 1000: 0.97}
"""The goals of the lambda link by size in MB: at the end of a small archive, S3's answers weigh
more."""

RSS_OVER_IDLE = 110


def print_goals(results: Results) -> None:
    """Print the result of every goal that was measured."""

    def show(figure: str, value: str, goal: str, *, reached: bool) -> None:
        print(f"{'reached' if reached else 'MISSED':<8} {figure}: {value} (goal: {goal})")

    for size in SIZES:
        of_size = [("lambda", "limit", OF_THE_LINK.get(size, 0)), *GOALS]
        for setting, other, goal in of_size:
            ours = results.get(("ours", setting, size))
            theirs = results.get((other, setting, size))
            if ours and theirs:
                ratios = ours.times_as_fast_as(theirs)
                figure = f"{setting}, {size} MB: ours / {other}"
                show(figure, spread(ratios), f">= {goal}", reached=ratios[2] >= goal)
    for setting in CHOSEN_SETTINGS:
        if "ours" not in CHOSEN:
            continue
        for size in SIZES:
            over = results["ours", setting, size].median("rss_mb")
            over -= results["idle", setting, size].median("rss_mb")
            figure = f"{setting}, {size} MB: MB of memory above an idle handler"
            show(figure, f"{over:.0f}", f"<= {RSS_OVER_IDLE}", reached=over <= RSS_OVER_IDLE)
        if len(SIZES) > 1:
            small, large = (results["ours", setting, size] for size in (SIZES[0], SIZES[-1]))
            sizes = f"{setting}: {SIZES[-1]} MB / {SIZES[0]} MB"
            memory = large.median("rss_mb") / small.median("rss_mb")
            show(f"{sizes}, peak RSS", f"{memory:.2f}", "<= 1.1", reached=memory <= 1.1)
            speed = large.row()["mb_per_s"] / small.row()["mb_per_s"]
            show(f"{sizes}, MB/s", f"{speed:.2f}", ">= 0.9", reached=speed >= 0.9)


def plot(rows: list[Row], path: Path) -> None:
    """Draw throughput and memory of the largest size."""
    mpl.use("Agg")
    figures = {"mb_per_s": "MB/s of archive", "rss_mb": "peak RSS, MB"}
    chart, axes = plt.subplots(
        len(CHOSEN_SETTINGS), 2, figsize=(11, 3.2 * len(CHOSEN_SETTINGS)), squeeze=False
    )
    for line, setting in zip(axes, CHOSEN_SETTINGS, strict=True):
        shown = [row for row in rows if (row["setting"], row["size_mb"]) == (setting, SIZES[-1])][
            ::-1
        ]
        for axis, (figure, label) in zip(line, figures.items(), strict=True):
            colors = ["tab:green" if row["variant"] == "ours" else "tab:gray" for row in shown]
            bars = axis.barh(
                [row["variant"] for row in shown], [row[figure] for row in shown], color=colors
            )
            axis.bar_label(bars, padding=3)
            axis.margins(x=0.15)
            axis.set_xlabel(label)
            axis.set_title(f"{setting}, {SIZES[-1]} MB")
    chart.tight_layout()
    chart.savefig(path, dpi=120)


def machine() -> str:
    """Describe this machine."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return f"{os.cpu_count()} x {model}, {platform.system()}, Python {platform.python_version()}"


def main(out: Path) -> list[Row]:
    """Print the tables, draw the chart and return the rows."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        certificate = authority.issue_cert("localhost")
        certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
        results = measure(folder)
    print(f"store, median of {RUNS} paired runs; {machine()}")
    print_table(results)
    print_goals(results)
    rows = [result.row() for result in results.values() if result.variant != "idle"]
    plot(rows, out / "bench.png")
    return rows
