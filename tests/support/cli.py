"""`vonage-reports` as a process, as an operator runs it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local.stack.emulator import Emulator
from local.stack.environment import INHERITED
from tests.support.paths import ROOT

_CODE = ("cli", "layers/shared", "layers/dataset")
_SECONDS = 120


@dataclass(frozen=True)
class Ended:
    """An ended command: its exit code and its output."""

    code: int
    out: str
    err: str


def run_program(
    *arguments: str,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    typed: str | None = None,
) -> Ended:
    """Run the program in `folder`, without the developer's AWS settings, and without a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "vonage_reports_cli", *arguments],
        cwd=folder,
        env=program_environment(environment),
        input=typed,
        stdin=None if typed is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def program_environment(environment: Mapping[str, str] | None) -> dict[str, str]:
    """Return the variables of the program: some of this process, and those of a test."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {
        **inherited,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONPATH": os.pathsep.join(str(ROOT / each) for each in _CODE),
        **(environment or {}),
    }


def stack_environment(emulator: Emulator, stack: str) -> dict[str, str]:
    """Return the variables with which the program finds a stack on the emulator."""
    return {
        "AWS_ENDPOINT_URL": emulator.url,
        "AWS_CA_BUNDLE": str(emulator.ca_bundle),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "VONAGE_REPORTS_STACK": stack,
    }
