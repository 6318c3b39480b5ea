import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from local.emulator import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
PLACEHOLDERS = {"file.json", ".local/last-run.json"}

FAKE_PYTHON = """#!/bin/sh
echo $$ > pid
exec sleep 60
"""


def test_every_file_that_the_makefile_names_is_there() -> None:
    named = set(re.findall(r"[\w./-]+\.(?:json|toml|txt|yaml|py)\b", MAKEFILE)) - PLACEHOLDERS
    # The ends of requirements-%.txt and layers/*/requirements.txt.
    named = {name for name in named if not name.startswith(("-", "/"))}
    assert "events/backfill.json" in named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def make(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    shutil.copy(ROOT / "Makefile", folder)
    return subprocess.Popen(
        ["make", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_a_python_that_is_not_there_is_said_not_to_be(tmp_path: Path) -> None:
    process = make(tmp_path, ".venv/bin/python", "PYTHON=nonsense")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "nonsense is not there" in output


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_signal_to_make_reaches_the_run(tmp_path: Path) -> None:
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    (tmp_path / "requirements-local.txt").touch()
    (tmp_path / ".venv" / "installed-local").touch()
    process = make(tmp_path, "run")
    deadline = time.monotonic() + 20
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pid = int((tmp_path / "pid").read_text())
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert not is_running(pid)
