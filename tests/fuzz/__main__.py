"""Coverage-guided search for an archive or a CSV that is read wrongly.

    make fuzz SECONDS=60        for each of the targets

The target `bytes` mutates the small archives of the corpus beside this file. `parts` builds
archives and corrupts their parts, as a unit test does. Every input must get a verdict, the same for
any size of chunks. No archive may be accepted that Python's zipfile refuses or reads differently.

`csv` gives the same CSV to both readers of vonage_dataset.csv_rows and to a reader for tests, which
goes character by character. All three must read the same cells, or refuse the CSV.

A failing input is written to out/fuzz and named.
"""

import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from isal import isal_zlib

from tests.support.paths import ROOT

try:
    import atheris
except ImportError:
    sys.exit("atheris has no wheel for this Python or machine, so nothing was fuzzed")

CORPUS = Path(__file__).parent / "corpus"
OUT = ROOT / "out" / "fuzz"
SECONDS = int(os.environ.get("SECONDS", "60"))
END = time.monotonic() + SECONDS
LONGEST = 4096
HANGS_AFTER = 10
MEMORY_MB = 1024

INSTRUMENTED = ["vonage_reports.archive.zip_proof", "vonage_dataset.csv_rows"]
with atheris.instrument_imports(include=INSTRUMENTED):
    from tests.unit.archive import test_zip_proof
    from tests.unit.dataset import test_csv_rows
    from vonage_reports.archive.zip_proof import Deflate
    from vonage_reports.domain.errors import ArchiveCorrupt
    from vonage_reports.domain.objects import Archive


def verdict(archive: bytes, chunk: int, deflate: Deflate) -> Archive | str:
    """Return the verified archive, or the reason of the refusal."""
    try:
        return test_zip_proof.prove(archive, chunk=chunk, deflate=deflate)
    except ArchiveCorrupt as error:
        return str(error)


def judge(archive: bytes) -> None:
    verdicts = {chunk: verdict(archive, chunk, isal_zlib) for chunk in (1, 7, LONGEST)}
    assert len(set(verdicts.values())) == 1, verdicts
    proven = verdicts[LONGEST]
    if isinstance(proven, str) or "not valid Deflate" in str(verdict(archive, LONGEST, zlib)):
        return  # refused, or the one known difference between isal and zlib, which zipfile uses
    read = test_zip_proof.contents_by_zipfile(archive)
    assert read is not None, "zipfile refuses the archive"
    assert proven.members == test_zip_proof.described(read)


@given(st.data())
def judge_spoiled(data: st.DataObject) -> None:
    spoil: Any = test_zip_proof.test_accepted_archives_read_the_same_in_zipfile
    spoil.hypothesis.inner_test(isal_zlib, data)


def judge_csv(data: bytes) -> None:
    """Judge a CSV. The first byte gives the size of a block and the number of columns."""
    if time.monotonic() > END:
        # libFuzzer's exit waits for pyarrow's threads, which may wait for the GIL (seen in 26).
        os._exit(0)
    if data:
        columns, block = 1 + data[0] % 3, 8 + data[0] // 3
        test_csv_rows.judge(b",".join([b"x", b"y", b"z"][:columns]) + b"\n" + data[1:], block)
        test_csv_rows.judge_leniently(columns, data[1:], block)


TARGETS: dict[str, Callable[[bytes], object]] = {
    "bytes": judge,
    "parts": judge_spoiled.hypothesis.fuzz_one_input,  # type: ignore[attr-defined]  # set by given
    "csv": judge_csv,
}


def fuzz(target: str, found: str) -> None:
    """Run one target; libFuzzer ends the process."""
    limits = {
        "max_total_time": SECONDS + (HANGS_AFTER if target == "csv" else 0),
        # The model of a CSV tries each line as a record's start: its time grows with the cube.
        "max_len": 512 if target == "csv" else LONGEST,
        "timeout": HANGS_AFTER,
        "rss_limit_mb": MEMORY_MB,
        "len_control": 0,
        "verbosity": 0,
        "artifact_prefix": f"{OUT}/{target}-",
    }
    options = [f"-{name}={value}" for name, value in limits.items()]
    if target == "parts":
        (Path(found) / "seed").write_bytes(bytes(LONGEST // 4))  # choices, not an archive
    if target == "csv":
        (Path(found) / "seed").write_bytes(b'a"1","x ""y"", z"\r\n\n2,\0\n"3","\r\n"\n')
    corpus = [str(CORPUS)] if target == "bytes" else []
    atheris.Setup([sys.argv[0], *options, found, *corpus], TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    if sys.argv[1:]:
        fuzz(*sys.argv[1:])
    for name in TARGETS:
        with TemporaryDirectory() as folder:
            subprocess.run([sys.executable, "-m", "tests.fuzz", name, folder], check=True)
