"""The workflow, checked by npm's asl-validator: SAM and cfn-lint do not open its file."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support import npm
from tests.support.paths import ROOT

WORKFLOW = ROOT / "functions" / "report_workflow.asl.yaml"

pytestmark = pytest.mark.skipif(
    not npm.IS_THERE, reason="npm is not on PATH: the workflow is not validated"
)


@pytest.fixture(scope="module")
def asl_validator() -> Path:
    return npm.installed() / ".bin" / "asl-validator"


def validate(program: Path, definition: Path) -> subprocess.CompletedProcess[str]:
    command = [str(program), "--yaml-path", str(definition)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def substituted(text: str) -> str:
    """Return a definition as CloudFormation fills it in, in a partition that is not `aws`."""
    return re.sub(
        r"\$\{(\w+)\}",
        lambda found: "aws-cn" if found[1] == "Partition" else "arn:aws-cn:service:::name",
        text,
    )


def test_workflow_is_valid(asl_validator: Path, tmp_path: Path) -> None:
    definition = tmp_path / "workflow.asl.yaml"
    definition.write_text(substituted(WORKFLOW.read_text()))
    result = validate(asl_validator, definition)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("Next: Report Ready?", "Next: Report Redy?"),
        ("{% $wait_seconds %}", "{% $wait_seconds + %}"),
    ],
)
def test_validator_finds_an_error(
    asl_validator: Path, tmp_path: Path, right: str, wrong: str
) -> None:
    definition = tmp_path / "workflow.asl.yaml"
    text = WORKFLOW.read_text()
    assert right in text
    definition.write_text(substituted(text.replace(right, wrong)))
    assert validate(asl_validator, definition).returncode != 0
