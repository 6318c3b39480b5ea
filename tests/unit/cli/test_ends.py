"""How a command ends if its output, its options or AWS are not as they should be."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    InvalidRegionError,
    NoCredentialsError,
    NoRegionError,
    UnauthorizedSSOTokenError,
)

from tests.support.cli import program_environment, run_program
from tests.support.last_run import save_run
from tests.support.reports import DAILY, make_report
from vonage_reports.domain.report import State
from vonage_reports_cli.access import explained
from vonage_reports_cli.errors import BadInput, Exit, NoAccess

DELIVERED = make_report(state=State.DELIVERED, rows=10, attempt=1, request_id="r1")
FAILED = make_report(
    state=State.FAILED, account_id="efgh5678", error="ReportFailed", reason="three times"
)


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("failed")
    return save_run(folder, definitions=[DAILY], reports=[DELIVERED, FAILED])


def run(
    *arguments: str, folder: Path, stdout: int, module: str = "vonage_reports_cli"
) -> tuple[int, str]:
    """Run the program with this standard output; return its exit code and its errors."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=program_environment(None),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--local", "status"), 0),
        (("--local", "status", "--check"), 1),
        (("--local", "status", "--check", "--json"), 1),
        (("--help",), 0),
        (("completion", "bash"), 0),
        (("definitions", "schema"), 0),
    ],
)
def test_reader_that_closes_the_pipe_changes_no_exit_code(
    arguments: tuple[str, ...], code: int, failed: Path
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = run(*arguments, folder=failed, stdout=writing)
    finally:
        os.close(writing)

    assert ended == (code, "")


def test_verb_that_acts_goes_on_without_a_reader(tmp_path: Path) -> None:
    # A verb prints between its events, and must send them all.
    (tmp_path / "verb.py").write_text(
        "from pathlib import Path\n"
        "from vonage_reports_cli.screen import Screen\n"
        "screen = Screen()\n"
        "screen.say('first')\n"
        "screen.say('second')\n"
        "Path('finished').write_text(str(screen.is_cut))\n"
    )
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = run(folder=tmp_path, stdout=writing, module="verb")
    finally:
        os.close(writing)

    assert ended == (0, "")
    assert (tmp_path / "finished").read_text() == "True"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize(
    "arguments",
    [("--local", "status"), ("--local", "status", "--json"), ("--help",), ("completion", "bash")],
)
def test_full_disk_is_one_sentence(arguments: tuple[str, ...], failed: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = run(*arguments, folder=failed, stdout=full.fileno())

    assert ended == (
        2,
        "vonage-reports: the output cannot be written: No space left on device\n",
    )


def test_closed_standard_output_is_one_sentence(failed: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m vonage_reports_cli --local status >&-"],
        cwd=failed,
        env=program_environment(None),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (2, "vonage-reports: standard output is closed\n")


@pytest.mark.parametrize("option", ["--stack", "--profile", "--region"])
@pytest.mark.parametrize("value", ["", " "])
def test_empty_name_of_a_target_is_refused(option: str, value: str) -> None:
    # An empty name would take the first stack, or fall back on another setting.
    ended = run_program(option, value, "status", environment={"VONAGE_REPORTS_STACK": "prod"})

    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"vonage-reports: {option} needs a name, not an empty text\n"


def test_option_at_a_wrong_place_is_explained() -> None:
    before = run_program("--check", "status")
    value = run_program("settings", "set", "PricePerRecord", "-1 EUR")

    assert (before.code, value.code) == (2, 2)
    assert before.err.endswith(" Options of a verb go after the verb.\n")
    assert value.err.endswith(" A value that begins with - goes after --.\n")


def refusal(code: str, status: int = 400) -> ClientError:
    answer: Any = {
        "Error": {"Code": code, "Message": "The service said so."},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, "GetItem")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (refusal("Throttling"), "AWS answered Throttling to GetItem: The service said so. Try"),
        (refusal("SlowDown", 503), "Try again in a minute."),
        (refusal("InternalFailure", 500), "Try again in a minute."),
        (refusal("ServiceUnavailable", 503), "Try again in a minute."),
        (refusal("ExpiredToken"), "The service said so. Log in again."),
        (refusal("AccessDenied", 403), "AWS refuses GetItem: The service said so."),
        (UnauthorizedSSOTokenError(), "Log in, or name a profile"),
        (NoCredentialsError(), "AWS credentials: Unable to locate credentials. Log in, or name a"),
    ],
)
def test_aws_that_cannot_be_used_now_is_no_access(error: Exception, sentence: str) -> None:
    found = explained(error)

    assert isinstance(found, NoAccess)
    assert sentence in str(found)
    assert ".." not in str(found)
    assert ".," not in str(found)


def test_region_that_is_none_is_bad_input() -> None:
    found = explained(InvalidRegionError(region_name="eu west"))

    assert isinstance(found, BadInput)
    assert str(found).startswith("--region takes an AWS region such as eu-west-1: ")


def test_missing_region_is_bad_input() -> None:
    found = explained(NoRegionError())

    assert isinstance(found, BadInput)
    assert str(found) == "name an AWS region with --region or AWS_DEFAULT_REGION"


@pytest.mark.parametrize(
    ("environment", "code", "sentence"),
    [
        ({}, 2, "name an AWS region with --region or AWS_DEFAULT_REGION"),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, 4, "AWS credentials: Unable to locate credentials."),
    ],
)
def test_computer_without_an_aws_configuration_gets_one_sentence(
    environment: dict[str, str], code: int, sentence: str
) -> None:
    ended = run_program("--stack", "prod", "status", environment=environment)

    assert (ended.code, ended.out, len(ended.err.splitlines())) == (code, "", 1)
    assert ended.err.startswith(f"vonage-reports: {sentence}")


def test_help_says_what_an_operator_needs() -> None:
    ended = run_program("--help", environment={"COLUMNS": "80"})

    words = " ".join(ended.out.split())
    assert "The options of a verb go after the verb." in words
    assert "`status DEFINITION`, the notifications and the manifests name reports." in words
    assert "DEFINITION-FROM-UNTIL" in words
    for code in Exit:
        assert re.search(rf"^  {int(code)} +\w", ended.out, re.MULTILINE)
    assert "convert again, for free, or collect again, billed" in words
    assert max(map(len, ended.out.splitlines())) <= 80
