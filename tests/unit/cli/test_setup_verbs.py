"""The set-up verbs without a stack: on files, and on what the last `make run` left."""

import io
import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.cli import program_environment
from tests.support.schemas import document_of
from vonage_reports.submit_reports.read_definitions import parse_definitions
from vonage_reports_cli.main import main
from vonage_reports_cli.status.sources import LastRun

VERIFY = {"name": "verify", "product": "VERIFY-V2"}
SMS = {"name": "sms", "product": "SMS", "filters": {"direction": "inbound"}}
NO_DIRECTION = 'SMS needs a direction; write "inbound" or "outbound"'


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, without the developer's stack."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VONAGE_REPORTS_STACK", raising=False)
    return tmp_path


def file(*definitions: object) -> str:
    Path("definitions.json").write_text(json.dumps(definitions))
    return "definitions.json"


def item(kind: str, **attributes: str) -> Mapping[str, Any]:
    return {"pk": {"S": "calendar"}, "sk": {"S": kind}} | {
        name: {"S": value} for name, value in attributes.items()
    }


def last_run(*definitions: object, rows_per_hour: int | None = None) -> None:
    """Leave the ledger of a run that has planned `verify` until four days ago."""
    end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=4)
    ((verify,), _) = parse_definitions(json.dumps([VERIFY]), api_key="abcd1234")
    delays = json.dumps({"3": None})
    items = [
        item("cursor#verify#abcd1234#3", end=end.isoformat()),
        item("collects#verify", collects=verify.collects, delays=delays),
    ]
    if rows_per_hour is not None:
        items.append(item("volume#verify#abcd1234", rows_per_hour=str(rows_per_hour)))
    Path(".local").mkdir()
    LastRun(Path(".local")).write(
        items,
        source="the last make run, against http://127.0.0.1:1",
        is_simulated=True,
        definitions=json.dumps(definitions),
        as_of=datetime.now(UTC),
    )


def test_file_alone_is_checked_without_a_stack(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["definitions", "check", file(VERIFY, SMS)]) == 0
    shown = capsys.readouterr()
    assert shown.out == "definitions.json: 2 definitions, all valid\n"
    assert "--stack or --local" in shown.err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[{", "the report definitions are not valid JSON"),
        ("{}", "the report definitions must be a list, in [ ]"),
        ('[{"name": "sms", "product": "SMS"}]', f"sms, filters.direction: {NO_DIRECTION}"),
        ('[{"product": "ASR"}]', "(entry 1), name: missing"),
        ('[{"name": "x", "name": "y", "product": "ASR"}]', "y, name: given twice"),
        ('["x"]', "(entry 1): must be an object, in { }"),
        ("\xff", "the report definitions are not text in UTF-8"),
    ],
)
def test_each_refused_definition_is_named(
    text: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("d.json").write_bytes(text.encode("latin-1"))

    assert main(["definitions", "check", "d.json"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[-1].startswith(f"vonage-reports: {sentence}")


def test_editor_s_byte_order_mark_is_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    Path("d.json").write_text(json.dumps([VERIFY]), encoding="utf-8-sig")

    assert main(["definitions", "check", "d.json"]) == 0
    assert "1 definition, all valid" in capsys.readouterr().out


def test_doubtful_definition_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["definitions", "check", file({**VERIFY, "product": "VERIFY-V3"})]) == 0
    assert "warning: verify, product: VERIFY-V3 is not documented" in capsys.readouterr().out


def test_absent_file_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["definitions", "check", "absent.json"]) == 2
    assert capsys.readouterr().err == (
        "vonage-reports: absent.json cannot be read: No such file or directory\n"
    )


def test_file_is_checked_against_the_last_run(capsys: pytest.CaptureFixture[str]) -> None:
    last_run(VERIFY)

    assert main(["definitions", "check", file({**VERIFY, "window": "hour"}), "--local"]) == 2
    shown = capsys.readouterr()
    assert shown.out.startswith("SIMULATED: the last make run")
    assert "verify, window: changed under the same name" in shown.err
    assert main(["definitions", "check", file(SMS), "--local", "--json"]) == 0
    assert document_of("definitions-check", capsys.readouterr().out)["replaces_all"] is True


def test_definitions_of_the_last_run_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    last_run(VERIFY, {"name": "sms", "product": "SMS"})

    assert main(["definitions", "check", "--local"]) == 1
    assert f"sms, filters.direction: {NO_DIRECTION}" in capsys.readouterr().err


def test_last_run_is_estimated(capsys: pytest.CaptureFixture[str]) -> None:
    last_run(VERIFY, SMS, rows_per_hour=10)

    assert main(["--local", "estimate", "--days", "7", "--json"]) == 0
    document = document_of("estimate", capsys.readouterr().out)
    verify, sms = document["period"]["lines"]
    assert document["source"].startswith("SIMULATED: the last make run")
    assert document["schedule"] is None
    assert (verify["reports"], verify["expected_billed_records"]) == (8, 8 * 240)
    # The ledger has the account of definitions without account_ids.
    assert (sms["account_id"], sms["expected_billed_records"]) == ("abcd1234", None)
    assert main(["--local", "estimate", "--days", "7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "next schedule: now"
    assert lines[-1] == "7 days: 16 reports, about 1,920 records and an unknown number of records"


def test_one_day_is_estimated(capsys: pytest.CaptureFixture[str]) -> None:
    last_run(VERIFY, rows_per_hour=10)

    assert main(["--local", "estimate", "--days", "1"]) == 0
    assert any(line.startswith("1 day: ") for line in capsys.readouterr().out.splitlines())


def test_estimate_of_a_refused_file_is_no_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    last_run(VERIFY)

    assert main(["--local", "estimate", "--definitions", file()]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "definitions.json has an empty list" in shown.err


def test_estimate_names_windows_that_only_a_backfill_collects(
    capsys: pytest.CaptureFixture[str],
) -> None:
    last_run(VERIFY)
    text = Path(".local/last-run.json").read_text()
    saved = json.loads(text)
    (cursor,) = (each for each in saved["items"] if each["sk"]["S"].startswith("cursor"))
    old = datetime.fromisoformat(cursor["end"]["S"]) - timedelta(days=20)
    Path(".local/last-run.json").write_text(text.replace(cursor["end"]["S"], old.isoformat()))

    assert main(["--local", "estimate"]) == 0
    assert "only `vonage-reports backfill " in capsys.readouterr().out


@pytest.mark.parametrize(
    "verb",
    [
        ("collect",),
        ("definitions", "diff", "-"),
        ("definitions", "edit"),
        ("definitions", "get"),
        ("definitions", "history"),
        ("definitions", "put", "-"),
        ("pause",),
        ("resume",),
        ("secret", "check"),
        ("secret", "put"),
        ("settings", "get"),
        ("settings", "set", "PricePerRecord", "1 EUR"),
    ],
)
def test_verb_needs_a_stack(
    verb: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    last_run(VERIFY)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main([*verb, "--local"]) == 2
    local = capsys.readouterr().err
    assert main([*verb]) == 2
    none = capsys.readouterr().err

    name = " ".join(verb[: 2 if verb[0] in ("definitions", "secret", "settings") else 1])
    assert local == (
        f"vonage-reports: {name} needs a stack on AWS; on this machine, make run EVENT=... sends "
        "an event\n"
    )
    assert none.startswith("vonage-reports: name a stack with --stack NAME")


def schema(capsys: pytest.CaptureFixture[str]) -> jsonschema.Draft202012Validator:
    assert main(["definitions", "schema"]) == 0
    found = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


@pytest.mark.parametrize(
    "entry",
    [
        VERIFY,
        {**VERIFY, "product": "VERIFY-V9"},
        {**VERIFY, "account_ids": None, "currency": None},
        {**VERIFY, "account_ids": ["abcd1234"], "include_subaccounts": True},
        {**SMS, "filters": {"direction": "inbound", "include_message": False}},
        {**VERIFY, "window": "week", "time_zone": "Europe/London", "delay_days": [0, 3]},
        {**VERIFY, "max_records": 1, "currency": "EUR"},
    ],
)
def test_schema_takes_what_the_stack_takes(
    entry: Mapping[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    _, refused = parse_definitions(json.dumps([entry]), api_key="abcd1234")
    assert refused == []
    assert schema(capsys).is_valid([entry])


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "verify"},
        {"product": "VERIFY-V2"},
        {**VERIFY, "name": "Verify"},
        {**VERIFY, "product": "verify"},
        {**VERIFY, "windows": "day"},
        {**VERIFY, "window": "year"},
        {**VERIFY, "account_ids": []},
        {**VERIFY, "filters": {"to": ["x"]}},
        {**VERIFY, "filters": {"a b": "x"}},
        {**VERIFY, "delay_days": []},
        {**VERIFY, "delay_days": [-1]},
        {**VERIFY, "max_records": 0},
        {**VERIFY, "currency": "euro"},
    ],
)
def test_schema_refuses_what_the_stack_refuses(
    entry: Mapping[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    _, refused = parse_definitions(json.dumps([entry]), api_key="abcd1234")
    assert len(refused) == 1
    assert not schema(capsys).is_valid([entry])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_names_the_program(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    assert "_VONAGE_REPORTS_COMPLETE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("vonage-reports def", ["definitions"]),
        ("vonage-reports definitions p", ["put"]),
        ("vonage-reports settings ", ["get", "set"]),
        ("vonage-reports completion f", ["fish"]),
        ("vonage-reports estimate --da", ["--days"]),
    ],
)
def test_words_are_completed(words: str, completions: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vonage_reports_cli"],
        env=program_environment(
            {
                "_VONAGE_REPORTS_COMPLETE": "bash_complete",
                "COMP_WORDS": words,
                "COMP_CWORD": str(words.count(" ")),
            }
        ),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == completions


def test_mistyped_shell_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "ksh"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
