"""The verbs that look, as processes, at the ledger of a last run."""

import os
import pty
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from local.stack.environment import INHERITED
from tests.support.cli import run_program
from tests.support.last_run import save_run
from tests.support.paths import ROOT
from tests.support.reports import DAILY, DAY, make_report
from tests.support.schemas import document_of
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.report import State

DELIVERED = make_report(
    state=State.DELIVERED, include_subaccounts=True, rows=10, attempt=1, request_id="r1"
)
FAILED = make_report(
    state=State.FAILED, account_id="efgh5678", error="ReportFailed", reason="three times"
)
DEFINITION: ReportDefinition = replace(
    DAILY,
    account_ids=("abcd1234", "efgh5678"),
    # As submit_reports reads a definition without this filter.
    filters={"direction": "outbound", "include_message": False},
)


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run with one delivered and one failed report."""
    folder = tmp_path_factory.mktemp("failed")
    return save_run(folder, definitions=[DEFINITION], reports=[DELIVERED, FAILED])


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of the simulator that delivered everything."""
    folder = tmp_path_factory.mktemp("sound")
    return save_run(folder, definitions=[DEFINITION], reports=[DELIVERED], is_simulated=True)


def test_status_names_source_span_and_problems_first(failed: Path) -> None:
    ended = run_program("--local", "status", folder=failed)

    assert (ended.code, ended.err) == (0, "")
    source, span, verdict, *_ = ended.out.splitlines()
    assert source == "the last make run, as of 2026-12-05 00:00:00 UTC"
    assert span.startswith("Windows since 2026-10-31 and all open reports.")
    assert verdict == "Look at: 1 failed."
    assert ended.out.index("ReportFailed: three times") < ended.out.index("last delivered")


def test_status_of_simulated_records_says_so(sound: Path) -> None:
    ended = run_program("status", "--local", folder=sound)

    assert ended.out.startswith("SIMULATED: the last make run, as of ")
    assert "No problems." in ended.out


def test_check_ends_with_1_only_if_something_asks_for_a_person(failed: Path, sound: Path) -> None:
    check = ("--local", "status", "--check", "--quiet")

    alarmed, silent = run_program(*check, folder=failed), run_program(*check, folder=sound)

    assert (alarmed.code, silent.code) == (1, 0)
    assert "1 failed" in alarmed.out
    # A healthy check sends no mail from cron.
    assert (silent.out, silent.err) == ("", "")


def test_status_as_json_fits_its_schema(failed: Path) -> None:
    ended = run_program("--local", "status", "--json", folder=failed)

    document = document_of("status", ended.out)
    assert document["attention"] == ["1 failed"]
    assert document["since"] == "2026-10-31"
    assert [(each["kind"], each["report_id"]) for each in document["problems"]] == [
        ("failed", FAILED.report_id)
    ]


def test_status_since_a_later_date_counts_fewer_windows(failed: Path) -> None:
    day_after = str(DAY.end.date())
    ended = run_program("--local", "status", "--json", "--since", day_after, folder=failed)

    document = document_of("status", ended.out)
    assert document["attention"] == []
    assert {each["delivered"] for each in document["definitions"]} == {0}


def test_status_of_one_definition_leaves_out_others(tmp_path: Path) -> None:
    other = replace(DAILY, name="verify", product="VERIFY-V2", filters={})
    failed = make_report(definition="verify", product="VERIFY-V2", state=State.FAILED)
    save_run(tmp_path, definitions=[DEFINITION, other], reports=[DELIVERED, failed])

    ended = run_program("--local", "status", "sms-outbound", "--check", folder=tmp_path)

    assert ended.code == 0
    assert "verify" not in ended.out


def test_status_of_one_definition_names_its_reports(failed: Path) -> None:
    one = run_program("--local", "status", "sms-outbound", folder=failed)
    all_ = run_program("--local", "status", folder=failed)
    document = document_of("status", run_program("--local", "status", "--json", folder=failed).out)

    assert DELIVERED.report_id in one.out
    assert DELIVERED.report_id not in all_.out
    assert {each["report_id"] for each in document["latest"]} == {
        DELIVERED.report_id,
        FAILED.report_id,
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["status", "--since", "yesterday"], "--since takes a date such as 2026-11-01"),
        (["status", "--since", "9999-01-01"], "--since 9999-01-01 is in the future"),
        (["status", "--watch"], "--watch needs a terminal"),
        (["status", "nope"], "there is no definition 'nope'; the definitions are sms-outbound"),
        (["show", "nope"], "has no report 'nope'"),
        (["show"], "Missing argument 'REPORT_ID'"),
        (["doctor"], "doctor needs a stack on AWS"),
        (["logs"], "logs needs a stack on AWS"),
        (["logs", "--since", "1x"], "--since takes a span such as 30m, 1h or 2d"),
        (["logs", "--report", "x"], "--report takes a report_id"),
        (["logs", "--follow", "--json"], "--follow prints lines without end"),
        (
            ["logs", "sumbit"],
            "'sumbit' is not one of 'submit', 'check', 'store', 'convert', 'callback'",
        ),
    ],
)
def test_wrong_input_is_one_sentence(arguments: list[str], sentence: str, failed: Path) -> None:
    ended = run_program("--local", *arguments, folder=failed)

    assert (ended.code, ended.out) == (2, "")
    assert sentence in ended.err
    assert len(ended.err.splitlines()) == 1


def test_show_prints_the_life_of_a_report(failed: Path) -> None:
    ended = run_program("--local", "show", FAILED.report_id, folder=failed)

    assert (ended.code, ended.err) == (0, "")
    assert "FAILED" in ended.out
    assert "ReportFailed: three times" in ended.out
    # The program sends no event to a run on this machine.
    assert ended.out.endswith("What to do: Remove the cause.\n")


@pytest.mark.parametrize("report", [DELIVERED, FAILED])
def test_show_as_json_fits_its_schema(report: object, failed: Path) -> None:
    assert isinstance(report, type(DELIVERED))

    ended = run_program("--local", "show", "--json", report.report_id, folder=failed)

    document = document_of("show", ended.out)
    assert (document["state"], document["rows"]) == (report.state, report.rows)


def test_watch_draws_until_interrupted(failed: Path) -> None:
    terminal, program = pty.openpty()
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    path = os.pathsep.join(str(ROOT / each) for each in ("cli", "layers/shared", "layers/dataset"))
    process = subprocess.Popen(
        [sys.executable, "-m", "vonage_reports_cli", "--local", "status", "--watch"],
        cwd=failed,
        env={**inherited, "PYTHONPATH": path, "TERM": "xterm", "COLUMNS": "80"},
        stdin=program,
        stdout=program,
        stderr=program,
        start_new_session=True,
    )
    os.close(program)
    try:
        shown = b""
        while b"Ctrl-C ends it." not in shown:
            shown += os.read(terminal, 4096)
        process.send_signal(signal.SIGINT)
        code = process.wait(30)
    finally:
        process.kill()
        os.close(terminal)
    assert code == 130
    assert b"the last make run, as of " in shown
