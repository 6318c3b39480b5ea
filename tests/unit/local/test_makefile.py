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


def make(folder: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Start make in a folder with this Makefile. `variables` are those of the environment."""
    shutil.copy(ROOT / "Makefile", folder)
    return subprocess.Popen(
        ["make", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **variables},
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


def test_make_expands_no_dollar_sign(tmp_path: Path) -> None:
    installed(tmp_path, "#!/bin/sh\nprintenv VONAGE_API_SECRET\n")
    typed = """'$HOME' "$.a" $$ $(PATH) #"""
    output, _ = make(tmp_path, "run", f"VONAGE_API_SECRET={typed}").communicate(timeout=30)
    assert output == f"{typed}\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "EVNT=x"], "make run has no variable EVNT. Its variables are VONAGE_API_KEY "),
        (["run", "SEED=1"], "make run has no variable SEED."),
        (["run", "HELP=1"], "make run has no variable HELP."),
        (["run", "HELP"], "make has no command HELP. make help lists the commands."),
        (["run", "help"], "make help describes every command. Start it alone."),
        (["runn"], "make has no command runn."),
        (["status", "stack=prod"], "make status is now .venv/bin/vonage-reports --local status,"),
        (["query", "SINC=2026"], "make query is now .venv/bin/vonage-reports --local query,"),
    ],
)
def test_mistyped_command_line_is_one_sentence_and_starts_nothing(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    installed(tmp_path, "#!/bin/sh\necho started\n")
    process = make(tmp_path, *arguments)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert sentence in output
    assert len(output.splitlines()) == 1


def test_help_of_make_starts_nothing(tmp_path: Path) -> None:
    installed(tmp_path, "#!/bin/sh\necho started\n")
    for arguments in (["run", "--help"], ["help"]):
        output, _ = make(tmp_path, *arguments).communicate(timeout=30)
        assert "started" not in output


def test_known_variables_and_any_of_the_environment_are_passed_on(tmp_path: Path) -> None:
    installed(tmp_path, "#!/bin/sh\nprintenv EVENT KEYS EVNT VONAGE_BASE_URL\n")
    process = make(
        tmp_path, "run", "EVENT=x.json", "KEYS=1", EVNT="own", VONAGE_BASE_URL="https://example.com"
    )
    output, _ = process.communicate(timeout=30)
    assert output.splitlines() == ["x.json", "1", "own", "https://example.com"]


def test_variables_that_the_makefile_accepts_are_in_its_help() -> None:
    known = re.findall(r"^\w+_KNOWS := ((?:.*\\\n)*.*)", MAKEFILE, re.MULTILINE)
    names = {name for each in known for name in each.replace("\\", "").split()}
    shown = "\n".join(re.findall(r"^\t@echo '(.*)'", MAKEFILE, re.MULTILINE))
    assert "EVENT" in names
    assert [name for name in sorted(names) if f"{name}=" not in shown] == []


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
