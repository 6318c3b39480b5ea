import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from local.stack.emulator import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
PLACEHOLDERS = {"file.json", ".local/last-run.json"}

FAKE_PYTHON = """#!/bin/sh
echo $$ > pid
exec sleep 60
"""


def test_every_file_named_in_the_makefile_exists() -> None:
    named = set(re.findall(r"[\w./-]+\.(?:json|toml|txt|yaml|py)\b", MAKEFILE)) - PLACEHOLDERS
    # These are ends of requirements/%.txt and layers/*/requirements.txt.
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


def test_missing_python_is_named(tmp_path: Path) -> None:
    process = make(tmp_path, ".venv/bin/python", "PYTHON=nonsense")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "nonsense is not found" in output


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def installed(folder: Path, script: str) -> None:
    """Make a script the Python of a complete virtual environment."""
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(script)
    python.chmod(0o755)
    (folder / "requirements").mkdir()
    (folder / "requirements" / "local.txt").touch()
    (folder / ".venv" / "installed-local").touch()


@pytest.mark.parametrize(("verb", "name"), [("query", "SQL"), ("run", "VONAGE_API_SECRET")])
def test_make_expands_no_dollar_sign(tmp_path: Path, verb: str, name: str) -> None:
    installed(tmp_path, f"#!/bin/sh\nprintenv {name}\n")
    typed = """'$HOME' "$.a" $$ $(PATH) #"""
    output, _ = make(tmp_path, verb, f"{name}={typed}").communicate(timeout=30)
    assert output == f"{typed}\n"


def test_signal_to_make_reaches_the_run(tmp_path: Path) -> None:
    installed(tmp_path, FAKE_PYTHON)
    process = make(tmp_path, "run")
    deadline = time.monotonic() + 20
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pid = int((tmp_path / "pid").read_text())
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert not is_running(pid)
