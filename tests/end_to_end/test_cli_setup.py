"""The set-up verbs of `vonage-reports` against the deployed stack, as processes.

The tests share one stack and keep their order, as an operator sets a stack up: a later test finds
the secret, the settings and the definitions that an earlier one wrote.
"""

import io
import json
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from local.stack.deployment import STACK_NAME
from tests.end_to_end.conftest import UNLIMITED, LocalStack
from tests.support.cli import Ended, run_program, stack_environment
from tests.support.schemas import document_of
from tests.support.terminal import Answer, run_on_terminal
from vonage_reports.domain.objects import DEFINITIONS_KEY
from vonage_reports_cli.main import main

pytestmark = pytest.mark.slow

VERIFY = {"name": "verify", "product": "VERIFY-V2"}
VOICE = {"name": "voice", "product": "VOICE-CALL"}
WRONG = json.dumps({"api_key": "abcd1234", "api_secret": "wrong-secret"})
NO_KEY = json.dumps({"api_secret": "wrong-secret"})


@pytest.fixture(scope="module")
def simulator_settings() -> dict[str, Any]:
    return {"rows_per_day": 20}


@pytest.fixture(scope="module")
def requests_per_second() -> int:
    return UNLIMITED


class _Piped(io.TextIOWrapper):
    """Standard input that is a pipe."""

    def __init__(self, text: str) -> None:
        super().__init__(io.BytesIO(text.encode()))


class Operator:
    """An operator of the stack: the program, the stack's state, and a folder for files."""

    def __init__(self, running: LocalStack, folder: Path) -> None:
        self.running = running
        self.folder = folder
        self.environment = stack_environment(running.emulator, STACK_NAME)

    def process(self, *arguments: str, typed: str | None = None) -> Ended:
        return run_program(
            *arguments, folder=self.folder, environment=self.environment, typed=typed
        )

    def run(self, *arguments: str, typed: str | None = None, **variables: str) -> Ended:
        """Run the program in this process, which is faster, and without a terminal."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name, value in {**self.environment, **variables}.items():
                patch.setenv(name, value)
            patch.setattr("sys.stdin", _Piped(typed or ""))
            patch.setattr("tempfile.tempdir", str(self.folder))
            code = main(arguments)
        return Ended(code, out.getvalue(), err.getvalue())

    def document(self, verb: str, *arguments: str, typed: str | None = None) -> dict[str, Any]:
        """Run a verb with --json; return its document, which fits its schema."""
        ended = self.run(*verb.split("-"), *arguments, "--json", typed=typed)
        document = document_of(verb, ended.out)
        assert document["source"].startswith(f"SIMULATED: stack {STACK_NAME}, account ")
        return document

    def on_terminal(self, *arguments: str, answers: list[tuple[str, Answer]]) -> Ended:
        return run_on_terminal(
            *arguments, answers=answers, folder=self.folder, environment=self.environment
        )

    def file(self, *definitions: Mapping[str, Any]) -> str:
        path = self.folder / "definitions.json"
        path.write_text(json.dumps(definitions))
        return str(path)

    def live(self) -> Any:
        return json.loads(self.running.stack.definitions())

    def schedule(self, name: str = "Calendar") -> str:
        """Return the state of a schedule, as EventBridge Scheduler has it."""
        return self.running.stack.state_of_schedule(f"SubmitReportsFunction{name}Schedule")

    def set_schedule(self, state: str, name: str = "Calendar") -> None:
        self.running.stack.set_schedule(f"SubmitReportsFunction{name}Schedule", state)

    def parameter(self, name: str) -> str:
        cloudformation = self.running.emulator.client("cloudformation")
        (stack,) = cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"]
        values = {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]}
        return str(values[name])

    def secret(self) -> Mapping[str, str]:
        answer = self.running.emulator.client("secretsmanager").get_secret_value(
            SecretId=self.running.stack.outputs["SecretArn"]
        )
        value: Mapping[str, str] = json.loads(answer["SecretString"])
        return value


@pytest.fixture
def operator(local_stack: LocalStack, tmp_path: Path) -> Operator:
    return Operator(local_stack, tmp_path)


def empty_secret(operator: Operator) -> None:
    operator.running.emulator.client("secretsmanager").put_secret_value(
        SecretId=operator.running.stack.outputs["SecretArn"], SecretString="{}"
    )


@pytest.mark.parametrize(
    ("typed", "code", "sentence"),
    [
        (WRONG, 4, "Vonage answered 401"),
        (NO_KEY, 2, "standard input does not hold api_key and api_secret"),
        ("wrong-secret", 2, "standard input does not hold api_key and api_secret"),
        ("", 2, "standard input does not hold api_key and api_secret"),
    ],
)
def test_wrong_credentials_are_neither_written_nor_shown(
    typed: str, code: int, sentence: str, operator: Operator
) -> None:
    before = operator.secret()

    ended = operator.run("secret", "put", "--yes", typed=typed)

    assert (ended.code, ended.out) == (code, "")
    assert sentence in ended.err
    assert len(ended.err.splitlines()) == 1
    assert "wrong-secret" not in ended.err
    assert operator.secret() == before


@pytest.mark.parametrize("typed", [WRONG, NO_KEY])
def test_traceback_omits_the_secret(typed: str, operator: Operator) -> None:
    ended = operator.process("secret", "put", "--yes", "--debug", typed=typed)

    assert "Traceback" in ended.err
    assert "wrong-secret" not in ended.err


def test_first_night_is_shown_before_it_is_bought(operator: Operator) -> None:
    simulator = operator.running.simulator
    empty_secret(operator)
    operator.set_schedule("ENABLED")
    operator.set_schedule("ENABLED", "Sweep")

    ended = operator.on_terminal(
        "secret",
        "put",
        answers=[
            ("Vonage API key: ", simulator.api_key),
            ("Vonage API secret (not shown): ", simulator.api_secret),
            ("Write the secret? [y/N] ", "y"),
            ("Does the schedule stay on? [Y/n] ", "n"),
        ],
    )

    assert ended.code == 0, ended.out
    assert "This stack has never collected. Next schedule: " in ended.out
    assert f"verify: VERIFY-V2 of {simulator.api_key}, " in ended.out
    assert "in all 9 reports, an unknown number of records" in ended.out
    assert simulator.api_secret not in ended.out
    assert operator.secret()["api_secret"] == simulator.api_secret
    # Open reports are finished while the calendar is paused.
    assert (operator.schedule(), operator.schedule("Sweep")) == ("DISABLED", "ENABLED")
    assert operator.parameter("ScheduleState") == "DISABLED"
    operator.set_schedule("DISABLED", "Sweep")


def test_no_writes_no_secret(operator: Operator) -> None:
    simulator = operator.running.simulator
    empty_secret(operator)

    ended = operator.on_terminal(
        "secret",
        "put",
        answers=[
            ("Vonage API key: ", simulator.api_key),
            ("Vonage API secret (not shown): ", simulator.api_secret),
            ("Write the secret? [y/N] ", "n"),
        ],
    )

    assert ended.code == 3, ended.out
    assert operator.secret() == {}


def test_secret_of_a_pipeline_is_written_and_checked(operator: Operator) -> None:
    simulator = operator.running.simulator
    empty_secret(operator)
    pair = {"api_key": simulator.api_key, "api_secret": simulator.api_secret}

    missing = operator.run("secret", "check")
    unasked = operator.process("secret", "put", typed=json.dumps(pair))
    preview = operator.document("secret-put", "--dry-run", typed=json.dumps(pair))
    assert operator.secret() == {}
    written = operator.document("secret-put", "--yes", typed=json.dumps(pair))
    checked = operator.document("secret-check")

    assert (missing.code, unasked.code) == (1, 2)
    assert f"vonage-reports --stack {STACK_NAME} secret put" in missing.err
    assert "add --yes" in unasked.err
    assert (preview["written"], written["written"]) == (False, True)
    assert written["outlook"]["next"]["total"]["reports"] == 9
    assert operator.secret() == pair
    assert checked["api_key"] == simulator.api_key


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (401, 4, "Vonage answered 401"),
        (403, 4, "Vonage answered 403"),
        (404, 4, "has no list of reports"),
        (429, 4, "try again later"),
        (503, 4, "Vonage cannot be reached"),
    ],
)
def test_check_says_why_vonage_does_not_accept(
    status: int, code: int, sentence: str, operator: Operator
) -> None:
    simulator = operator.running.simulator
    simulator.fault("list", "status", status=status, times=2)

    ended = operator.run("secret", "check")

    simulator.clear_faults()
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (code, "", 1)
    assert sentence in ended.err


def test_secret_is_written_while_vonage_is_down(operator: Operator) -> None:
    simulator = operator.running.simulator
    pair = json.dumps({"api_key": simulator.api_key, "api_secret": simulator.api_secret})
    empty_secret(operator)
    simulator.fault("list", "status", status=503, times=2)

    document = operator.document("secret-put", "--yes", typed=pair)

    simulator.clear_faults()
    assert (document["is_accepted"], document["written"]) == (None, True)
    assert operator.secret()["api_key"] == simulator.api_key


def test_paused_schedule_is_resumed_after_a_preview(operator: Operator) -> None:
    operator.set_schedule("ENABLED", "Sweep")
    operator.run("pause", "--yes")
    assert operator.schedule() == "DISABLED"

    preview = operator.document("resume", "--dry-run")
    same = operator.document("settings-set", "ScheduleState", "ENABLED", "--dry-run")
    asked = operator.on_terminal("resume", answers=[("[y/N] ", "no")])
    assert (operator.schedule(), asked.code) == ("DISABLED", 3)
    resumed = operator.document("resume", "--yes")
    assert (operator.schedule(), operator.parameter("ScheduleState")) == ("ENABLED", "ENABLED")
    paused = operator.document("pause", "--yes")
    again = operator.document("pause", "--yes")

    assert preview["outlook"]["next"]["total"]["reports"] == 9
    assert same["outlook"]["next"]["total"] == preview["outlook"]["next"]["total"]
    assert (preview["changed"], resumed["changed"]) == (False, True)
    assert (paused["changed"], again["changed"]) == (True, False)
    assert (operator.schedule(), operator.schedule("Sweep")) == ("DISABLED", "ENABLED")
    operator.set_schedule("DISABLED", "Sweep")


def test_schedule_changed_beside_the_template_is_paused_and_resumed(operator: Operator) -> None:
    operator.run("resume", "--yes")
    operator.set_schedule("DISABLED")
    resumed = operator.run("resume", "--yes")
    assert (resumed.code, operator.schedule()) == (0, "ENABLED")

    operator.run("pause", "--yes")
    operator.set_schedule("ENABLED")
    paused = operator.run("pause", "--yes")
    assert (paused.code, operator.schedule()) == (0, "DISABLED")


def test_deployment_keeps_the_pause(operator: Operator) -> None:
    operator.run("pause", "--yes")
    cloudformation = operator.running.emulator.client("cloudformation")
    template = cloudformation.get_template(StackName=STACK_NAME, TemplateStage="Original")
    body = {**template["TemplateBody"], "Description": "A later version."}
    (stack,) = cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"]
    artifacts = operator.running.emulator.client("s3")
    artifacts.create_bucket(
        Bucket="later-version", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    artifacts.put_object(Bucket="later-version", Key="template", Body=json.dumps(body))
    # As sam deploy does for parameters that parameter_overrides do not name.
    cloudformation.update_stack(
        StackName=STACK_NAME,
        TemplateURL=f"{operator.running.emulator.url}/later-version/template",
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        Parameters=[
            {"ParameterKey": each["ParameterKey"], "UsePreviousValue": True}
            for each in stack["Parameters"]
        ],
    )
    waiter = cloudformation.get_waiter("stack_update_complete")
    waiter.wait(StackName=STACK_NAME, WaiterConfig={"Delay": 1})

    assert (operator.schedule(), operator.parameter("ScheduleState")) == ("DISABLED", "DISABLED")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("scheduleState", "ENABLED", "did you mean ScheduleState?"),
        ("Price", "1", "the template has no such setting"),
        ("ScheduleState", "off", "ScheduleState takes ENABLED or DISABLED, not 'off'"),
        ("OverdueHours", "0", "OverdueHours takes a whole number of at least 1, not '0'"),
        ("OverdueHours", "soon", "OverdueHours takes a whole number of at least 1, not 'soon'"),
        ("PricePerRecord", "0,0004", "such as 0.0004 EUR"),
        ("ReportDefinitions", "[]", "`definitions put` writes them"),
        ("Architecture", "arm64", "sam build and sam deploy"),
    ],
)
def test_unfit_setting_is_one_sentence(
    name: str, value: str, sentence: str, operator: Operator
) -> None:
    ended = operator.run("settings", "set", name, value, "--yes")

    assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1)
    assert sentence in ended.err


def test_deletion_is_named_before_the_question(operator: Operator) -> None:
    preview = operator.run("settings", "set", "ArchiveExpiryDays", "100", "--dry-run")
    document = operator.document("settings-set", "ArchiveExpiryDays", "100", "--dry-run")
    too_early = operator.run("settings", "set", "ArchiveExpiryDays", "30", "--yes")

    (told,) = document["consequences"]
    assert document["outlook"] is None
    assert f"  {told}" in preview.out.splitlines()
    assert "deletes each archive 100 days after" in told
    assert (too_early.code, too_early.out) == (2, "")
    assert "must be greater than ArchiveColdDays 90" in too_early.err
    assert operator.parameter("ArchiveExpiryDays") == "0"


def test_setting_is_shown_before_and_after(operator: Operator) -> None:
    price = ("PricePerRecord", "0.0004 EUR")

    preview = operator.run("settings", "set", *price, "--dry-run")
    assert operator.parameter("PricePerRecord") == ""
    changed = operator.document("settings-set", *price, "--yes")
    again = operator.document("settings-set", *price, "--yes")
    (shown,) = operator.document("settings-get", "PricePerRecord")["settings"]
    overview = operator.process("settings", "get")

    assert "  PricePerRecord: empty -> 0.0004 EUR" in preview.out.splitlines()
    assert (changed["before"], changed["after"], changed["changed"]) == ("", "0.0004 EUR", True)
    assert again["changed"] is False
    assert (shown["value"], shown["default"]) == ("0.0004 EUR", "")
    lines = [" ".join(line.split()) for line in overview.out.splitlines()]
    assert "PricePerRecord 0.0004 EUR (default: empty)" in lines


def test_template_definitions_count_until_there_is_an_object(operator: Operator) -> None:
    shown = operator.process("definitions", "get")
    document = operator.document("definitions-get")

    assert len(json.loads(shown.out)) == 9
    assert "counts, with the template's definitions" in shown.err
    assert (document["is_object"], document["version_id"]) == (False, None)
    assert operator.document("definitions-history")["versions"] == []


def test_mistyped_definition_is_never_written(operator: Operator) -> None:
    file = operator.file({**VERIFY, "delays": [0]}, {"name": "sms", "product": "SMS"})

    for verb in (("check", file), ("put", file, "--yes")):
        ended = operator.process("definitions", *verb)
        assert ended.code == 2
        assert [line.split(":")[1] for line in ended.err.splitlines()] == [
            " verify, delays",
            " sms, filters.direction",
        ]
    assert operator.document("definitions-check", file)["refused"][1]["definition"] == "sms"
    refused = operator.document("definitions-put", file, "--yes")
    assert [each["definition"] for each in refused["refused"]] == ["verify", "sms"]
    assert refused["written"] is False
    assert operator.document("definitions-get")["is_object"] is False


def test_definitions_are_shown_asked_about_and_written(operator: Operator) -> None:
    file = operator.file({**VERIFY, "delay_days": [0, 3]}, VOICE)

    preview = operator.run("definitions", "put", file, "--dry-run")
    unasked = operator.process("definitions", "put", file)
    declined = operator.on_terminal("definitions", "put", file, answers=[("[y/N] ", "")])
    assert (preview.code, unasked.code, declined.code) == (0, 2, 3)
    assert len(operator.live()) == 9
    first = operator.document("definitions-put", file, "--if-version", "none", "--yes")
    same = operator.document("definitions-put", file, "--yes")

    lines = preview.out.splitlines()
    assert "  changed  verify: delay_days [3] -> [0, 3]" in lines
    assert "  removed  verify-legacy: VERIFY-API, each day" in lines
    assert "  added    voice: VOICE-CALL, each day" in lines
    assert '  +  "delay_days": [0, 3]' in lines
    before = "(before: 9 reports, an unknown number of records)"
    assert f"  next schedule: 3 reports, an unknown number of records {before}" in lines
    assert (first["written"], same["written"]) == (True, False)
    assert same["version_id"] == first["version_id"]
    assert [each["name"] for each in operator.live()] == ["verify", "voice"]


def test_definitions_that_changed_meanwhile_are_kept(operator: Operator) -> None:
    version = operator.document("definitions-get")["version_id"]
    file = operator.file(VERIFY)
    operator.running.stack.set_definitions(json.dumps([VERIFY, VOICE, {**VOICE, "name": "x"}]))

    ended = operator.run("definitions", "put", file, "--if-version", version, "--yes")

    assert (ended.code, ended.out) == (1, "")
    assert "so nothing was written" in ended.err
    assert len(operator.live()) == 3


def test_write_during_the_question_is_kept(operator: Operator) -> None:
    other = [VERIFY, VOICE]

    def another_operator_writes() -> str:
        operator.running.stack.set_definitions(json.dumps(other))
        return "y"

    ended = operator.on_terminal(
        "definitions",
        "put",
        operator.file(VERIFY),
        answers=[("Write these definitions? [y/N] ", another_operator_writes)],
    )

    assert ended.code == 1, ended.out
    assert "changed the report definitions meanwhile" in ended.out
    assert operator.live() == other


def test_edit_takes_the_way_of_put(operator: Operator) -> None:
    operator.running.stack.set_definitions(json.dumps([VERIFY, VOICE]))
    same = operator.run("definitions", "edit", EDITOR="true")
    wrong = operator.run("definitions", "edit", EDITOR="sed -i s/VOICE-CALL/SMS/")
    failed = operator.run("definitions", "edit", EDITOR="false")
    alone = operator.run("definitions", "edit", EDITOR="", VISUAL="")
    kept = sorted(operator.folder.glob("report-definitions-*.json"))
    right = operator.run("definitions", "edit", "--yes", EDITOR="sed -i s/VOICE-CALL/VOICE-FAILED/")

    assert (same.code, same.out.splitlines()[-1]) == (0, "Nothing was changed.")
    assert (wrong.code, failed.code, alone.code) == (2, 2, 2)
    assert "definitions edit needs a terminal, or the command of an editor" in alone.err
    assert "voice, filters.direction: SMS needs a direction" in wrong.err
    for ended in (wrong, failed):
        assert any(f"Your text is kept in {path}" in ended.err for path in kept)
    assert (right.code, operator.live()[1]["product"]) == (0, "VOICE-FAILED")
    assert sorted(operator.folder.glob("report-definitions-*.json")) == kept


def test_each_version_of_the_definitions_can_be_put_again(operator: Operator) -> None:
    operator.run("definitions", "put", operator.file(VERIFY), "--yes")
    operator.run("definitions", "put", operator.file(VERIFY, VOICE), "--yes")
    newest, before, *_ = operator.document("definitions-history")["versions"]

    text = operator.run("definitions", "get", "--version-id", before["version_id"]).out
    unknown = operator.run("definitions", "get", "--version-id", "none-such")
    put = operator.run("definitions", "put", "-", "--yes", typed=text)
    same = operator.run("definitions", "diff", "-", typed=text)
    other = operator.run("definitions", "diff", operator.file(VERIFY, VOICE))

    assert [each["definitions"] for each in (newest, before)] == [2, 1]
    assert (newest["is_current"], before["is_current"]) == (True, False)
    assert (unknown.code, put.code) == (2, 0)
    assert operator.live() == [VERIFY]
    assert (same.code, other.code) == (0, 1)
    assert "  added    voice: VOICE-CALL, each day" in other.out.splitlines()
    changes = operator.document("definitions-diff", operator.file(VERIFY, VOICE))["changes"]
    assert [(each["kind"], each["name"]) for each in changes] == [("added", "voice")]


def test_due_reports_are_shown_asked_for_and_requested_once(operator: Operator) -> None:
    operator.running.stack.set_definitions(json.dumps([VERIFY, VOICE]))

    preview = operator.document("collect", "--dry-run")
    declined = operator.on_terminal("collect", answers=[("[y/N] ", "n")])
    assert (declined.code, operator.running.states()) == (3, {})
    first = operator.document("collect", "--yes")
    planned = first["answers"][0]["answer"]["planned"]
    operator.running.until_finished(planned)
    again = operator.document("collect", "--yes")

    assert preview["actions"][0]["preview"][-1] == "in all 2 reports, an unknown number of records"
    assert preview["answers"] == []
    assert len(planned) == 2
    assert again["actions"][0]["preview"] == ["no report is due"]
    assert again["answers"][0]["answer"]["planned"] == []
    assert len(operator.running.simulator.state()["reports"]) == 2


def test_wrong_time_of_a_collection_is_one_sentence(operator: Operator) -> None:
    ended = operator.run("collect", "--at", "yesterday", "--yes")

    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "vonage-reports: --at takes a time with its offset from UTC, such as 2026-11-22T02:15:00Z, "
        'not "yesterday"\n'
    )


def test_estimate_has_the_history_and_the_price(operator: Operator) -> None:
    shown = operator.process("estimate", "--days", "7")
    document = operator.document("estimate", "--days", "7")
    more = operator.document(
        "estimate", "--definitions", operator.file(VERIFY, {**VOICE, "name": "new"})
    )
    wrong = operator.run("estimate", "--definitions", operator.file({"name": "x"}))

    verify, voice = document["period"]["lines"]
    assert (verify["definition"], verify["account_id"]) == ("verify", "abcd1234")
    assert 0 < verify["expected_billed_records"] < 7 * 200
    total = document["period"]["total"]
    records = verify["expected_billed_records"] + voice["expected_billed_records"]
    assert (total["expected_billed_records"], total["currency"]) == (records, "EUR")
    assert float(total["expected_cost"]) == pytest.approx(records * 0.0004)
    assert document["schedule"] == {
        "expression": "cron(15 2 * * ? *)",
        "time_zone": "UTC",
        "is_on": False,
    }
    assert "The schedule is paused" in shown.out
    assert f"7 days: {total['reports']} reports, about {records:,} records (" in shown.out
    assert [each["expected_billed_records"] is None for each in more["period"]["lines"]] == [
        False,
        True,
    ]
    assert (wrong.code, wrong.out) == (2, "")
    assert "x, product: missing" in wrong.err


def test_collected_definition_keeps_its_product(operator: Operator) -> None:
    file = operator.file(VERIFY, {**VOICE, "product": "VOICE-FAILED"})

    ended = operator.run("definitions", "put", file, "--yes")

    assert (ended.code, ended.out) == (2, "")
    assert "voice, product: changed under the same name" in ended.err


def test_list_without_a_collected_name_needs_a_second_yes(operator: Operator) -> None:
    file = operator.file({**VOICE, "name": "another"})
    put = ("definitions", "put", file)

    unasked = operator.run(*put, "--yes")
    once = operator.on_terminal(*put, answers=[("Does it replace them all? [y/N] ", "n")])
    assert (unasked.code, once.code) == (2, 3)
    assert "add --replace-all" in unasked.err
    assert [each["name"] for each in operator.live()] == ["verify", "voice"]
    twice = operator.on_terminal(
        *put, answers=[("replace them all? [y/N] ", "y"), ("definitions? [y/N] ", "y")]
    )

    assert twice.code == 0, twice.out
    head = operator.running.emulator.client("s3").head_object(
        Bucket=operator.running.stack.outputs["BucketName"], Key=DEFINITIONS_KEY
    )
    assert head["Metadata"] == {"replace-all": "true"}
    assert operator.running.sweep()["refused"] == []
    # The next list shares a name with the ledger again.
    back = operator.run("definitions", "put", operator.file(VERIFY, VOICE), "--yes")
    assert back.code == 0, back.err


def test_secret_of_another_account_is_announced(operator: Operator) -> None:
    simulator = operator.running.simulator
    pair = json.dumps({"api_key": "wxyz9876", "api_secret": simulator.api_secret})
    key = json.dumps({"api_key": simulator.api_key, "api_secret": simulator.api_secret})

    refused = operator.run("secret", "put", "--dry-run", typed=pair)
    same = operator.run("secret", "put", "--yes", typed=key)

    assert refused.code == 4
    assert (same.code, same.out.count("\n")) == (0, 3)
