"""The npm packages of `tests/package.json`, installed when a test first needs them."""

import fcntl
import shutil
import subprocess
from pathlib import Path

from tests.support.paths import ROOT

TESTS = ROOT / "tests"
MODULES = TESTS / "node_modules"
IS_THERE = shutil.which("npm") is not None


def installed() -> Path:
    """Install the packages unless they are up to date, and return their folder."""
    lock = TESTS / "package-lock.json"
    # A test on another xdist worker may be installing them.
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = MODULES / ".package-lock.json"
        if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
            subprocess.run(command, cwd=TESTS, check=True, timeout=300)
    return MODULES
