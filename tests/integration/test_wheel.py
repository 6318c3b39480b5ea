"""The program as an operator installs it: from its wheel, outside the checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from vonage_reports import __version__

pytestmark = pytest.mark.slow

PACKAGES = ("vonage_reports_cli", "vonage_reports", "vonage_dataset")
SECONDS = 120


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command without the developer's settings, so that it finds no checkout."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={"PATH": os.defpath, "HOME": str(folder), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index")
    built = run(*pip, "--wheel-dir", folder, ROOT, folder=folder)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel alone into an empty environment; return its folder of programs.

    The dependencies are those of this environment. A folder that a .pth file names is on the path
    behind the environment's own, and its own .pth files, such as an editable install's, are not
    read.
    """
    folder = tmp_path_factory.mktemp("environment")
    made = run(sys.executable, "-m", "venv", "--without-pip", folder, folder=folder)
    assert made.returncode == 0, made.stderr
    programs = folder / "bin"
    pip = (sys.executable, "-m", "pip", "--python", programs / "python", "install")
    done = run(*pip, "--no-deps", "--no-index", wheel, folder=folder)
    assert done.returncode == 0, done.stderr
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return programs


def test_wheel_holds_the_program_and_both_packages_only(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}

    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_installed_program_runs_the_installed_code(installed: Path, tmp_path: Path) -> None:
    paths = ", ".join(f"{name}.__path__[0]" for name in PACKAGES)
    code = f"import {', '.join(PACKAGES)}; print({paths}, sep='\\n')"
    done = run(installed / "python", "-c", code, folder=tmp_path)

    assert done.returncode == 0, done.stderr
    for path in done.stdout.splitlines():
        assert Path(path).is_relative_to(installed.parent)


def test_installed_program_shows_version_and_help(installed: Path, tmp_path: Path) -> None:
    version = run(installed / "vonage-reports", "--version", folder=tmp_path)
    helped = run(installed / "vonage-reports", "--help", folder=tmp_path)

    assert (version.returncode, version.stdout) == (0, f"vonage-reports {__version__}\n")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "Set up:" in helped.stdout


def test_every_verb_of_the_installed_program_loads(installed: Path, tmp_path: Path) -> None:
    code = (
        "import click; from vonage_reports_cli.main import VERBS, Verbs; verbs = Verbs()\n"
        "for section in VERBS.values():\n"
        "    for name in section: assert verbs.get_command(click.Context(verbs), name), name"
    )
    done = run(installed / "python", "-c", code, folder=tmp_path)

    assert done.returncode == 0, done.stderr


def test_installed_program_checks_definitions(installed: Path, tmp_path: Path) -> None:
    file = tmp_path / "definitions.json"
    check = (installed / "vonage-reports", "definitions", "check", file)

    file.write_text(json.dumps([{"name": "verify", "product": "VERIFY-V2"}]))
    right = run(*check, folder=tmp_path)
    file.write_text(json.dumps([{"name": "sms", "product": "SMS"}]))
    wrong = run(*check, folder=tmp_path)

    assert (right.returncode, right.stdout) == (0, f"{file}: 1 definition, all valid\n")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.splitlines()[-1] == (
        'vonage-reports: sms, filters.direction: SMS needs a direction; write "inbound" or '
        '"outbound"'
    )
