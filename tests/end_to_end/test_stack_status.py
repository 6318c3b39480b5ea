"""`vonage-reports status`, `show`, `logs` and `doctor` on a deployed stack, each as a process."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from local.stack.deployment import STACK_NAME
from tests.end_to_end.conftest import UNLIMITED, LocalStack
from tests.end_to_end.faults import WRONG_SECRET
from tests.support.cli import Ended, run_program, stack_environment
from tests.support.schemas import document_of
from vonage_reports.domain.report import State
from vonage_reports_cli.schedule import LOGICAL_ID

pytestmark = pytest.mark.slow

DEFINITIONS: list[dict[str, Any]] = [
    {"name": "verify", "product": "VERIFY-V2"},
    {"name": "sms", "product": "SMS", "filters": {"direction": "inbound"}},
]
MISTYPED = {"name": "sms-out", "product": "SMS", "filtres": {"direction": "outbound"}}


def backfill(start: str, end: str, name: str = "verify") -> dict[str, Any]:
    return {"backfill": {"definition": name, "start": start, "end": end}}


@pytest.fixture(scope="module")
def simulator_settings() -> dict[str, Any]:
    return {"rows_per_day": 10}


@pytest.fixture(scope="module")
def requests_per_second() -> int:
    return UNLIMITED


def run(local_stack: LocalStack, *arguments: str, **environment: str) -> Ended:
    """Run the program on the stack."""
    variables = stack_environment(local_stack.emulator, STACK_NAME)
    return run_program(*arguments, environment={**variables, **environment})


def collect(local_stack: LocalStack, start: str, end: str, name: str = "verify") -> None:
    local_stack.stack.submit(backfill(start, end, name))
    local_stack.until(
        lambda: not local_stack.ledger.open_work().backfills and not local_stack.states(),
        "the end of the backfill",
    )


@pytest.fixture(scope="module", autouse=True)
def collected(local_stack: LocalStack) -> LocalStack:
    """Collect two days, then nothing on three days, then a day."""
    local_stack.stack.set_definitions(json.dumps(DEFINITIONS))
    for start, end in (("2026-10-01", "2026-10-03"), ("2026-10-06", "2026-10-07")):
        collect(local_stack, start, end)
    local_stack.until(lambda: periods_are_examined(local_stack), "the reason of each open period")
    return local_stack


def periods_are_examined(local_stack: LocalStack) -> bool:
    """Say whether a sweep has examined each changed period since its last change.

    An event that the emulator delivers late finds nothing to write from then on.
    """
    work = local_stack.ledger.open_work()
    examined = {label: blocked.mark for label, blocked in work.blocked.items()}
    return examined == work.marks


def test_gap_is_shown_with_the_command_that_closes_it(local_stack: LocalStack) -> None:
    before = local_stack.stack.ledger_items()

    ended = run(local_stack, "status", "--json", "--since", "2026-10-01")

    assert (ended.code, ended.err) == (0, "")
    document = document_of("status", ended.out)
    verify, sms = document["definitions"]
    assert (verify["account_id"], verify["delivered"], verify["missing"]) == ("abcd1234", 3, 3)
    assert verify["last_delivered"]["start"] == "2026-10-06T00:00:00Z"
    assert (sms["account_id"], sms["last_delivered"]) == ("(the API key)", None)
    (gap,) = document["problems"]
    assert gap["event"] == backfill("2026-10-03", "2026-10-06")
    assert gap["commands"] == [
        f"vonage-reports --stack {STACK_NAME} backfill verify --from 2026-10-03 --until 2026-10-06"
    ]
    # A part of the gap: the days before it belong to the same account.
    later = document_of("status", run(local_stack, "status", "--json", "--since", "2026-10-04").out)
    assert [each["start"] for each in later["problems"]] == ["2026-10-04T00:00:00Z"]
    assert local_stack.stack.ledger_items() == before

    collect(local_stack, "2026-10-03", "2026-10-06")
    closed = run(local_stack, "status", "--json", "--since", "2026-10-01")
    assert document_of("status", closed.out)["problems"] == []


def test_mistyped_definition_stands_as_refused(local_stack: LocalStack) -> None:
    local_stack.stack.set_definitions(json.dumps([*DEFINITIONS, MISTYPED]))

    ended = run(local_stack, "status", "--check")

    local_stack.stack.set_definitions(json.dumps(DEFINITIONS))
    assert ended.code == 1
    _, _, _, _, heading, sentence, command, *_ = ended.out.splitlines()
    assert heading.startswith("refused definitions")
    assert sentence.startswith("  sms-out, filtres: no such field; the fields are name, ")
    assert command == f"    vonage-reports --stack {STACK_NAME} definitions edit"
    assert "removed" not in ended.out


def test_check_fails_until_an_alarm_reaches_somebody(local_stack: LocalStack) -> None:
    check = ("status", "--check", "--quiet", "--since", "2026-11-01")
    local_stack.stack.set_schedule(LOGICAL_ID, "ENABLED")
    topic = local_stack.stack.outputs["AlarmTopicArn"]

    unheard = run(local_stack, *check)
    # The emulator confirms a subscription at once.
    subscription = local_stack.emulator.client("sns").subscribe(
        TopicArn=topic, Protocol="email", Endpoint="operator@example.com"
    )
    heard = run(local_stack, *check)
    local_stack.stack.set_schedule(LOGICAL_ID, "DISABLED")
    paused = run(local_stack, *check)

    local_stack.emulator.client("sns").unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
    assert unheard.code == 1
    assert "the topic of the alarms has no confirmed subscription" in unheard.out
    assert f"aws sns subscribe --topic-arn {topic}" in unheard.out
    assert (heard.code, heard.out, heard.err) == (0, "", "")
    assert (paused.code, paused.err) == (1, "")
    assert "Look at: the schedule is paused." in paused.out
    assert f"    vonage-reports --stack {STACK_NAME} resume" in paused.out.splitlines()


def test_unknown_stack_is_one_sentence(local_stack: LocalStack) -> None:
    for words in (["status"], ["show", "x"], ["logs"], ["doctor"]):
        ended = run(local_stack, "--stack", "absent", *words)

        assert (ended.code, ended.out) == (2, ""), words
        assert ended.err.startswith("vonage-reports: there is no stack 'absent' in eu-west-1")
        assert len(ended.err.splitlines()) == 1


def test_refused_access_ends_with_4(local_stack: LocalStack) -> None:
    for words in (["status"], ["show", "x"], ["logs"], ["doctor"]):
        ended = run(local_stack, *words, AWS_ACCESS_KEY_ID="nobody")

        assert (ended.code, ended.out) == (4, ""), words
        assert "AWS refuses" in ended.err
        assert len(ended.err.splitlines()) == 1


def test_failed_report_is_shown_with_its_requests_and_its_log(local_stack: LocalStack) -> None:
    local_stack.simulator.fault("create", "outcome", request_status="FAILED", seconds=0, times=3)
    collect(local_stack, "2026-11-01", "2026-11-02")
    (failed,) = [
        item["report_id"]["S"]
        for item in local_stack.stack.ledger_items()
        if item.get("state") == {"S": State.FAILED}
    ]

    shown = run(local_stack, "show", failed)
    document = document_of("show", run(local_stack, "show", "--json", failed).out)
    logged = run(local_stack, "logs", "--report", failed)
    lines = document_of("logs", run(local_stack, "logs", "submit", "--json").out)["lines"]

    command = f"vonage-reports --stack {STACK_NAME} recollect {failed}"
    assert (shown.code, shown.err) == (0, "")
    assert "FAILED after 3 requests, 1 failure" in shown.out
    assert shown.out.endswith(f"\n  {command}\n")
    assert document["commands"] == [command]
    assert document["run"]["execution"].endswith(f":{failed}-r{document['run']['number']}")
    assert document["run"]["state"].startswith("failed, timed out or aborted: ReportFailed")
    assert document["attempt"] == len(document["requests"]) + document["requests_without_receipt"]
    _, *of_report = logged.out.splitlines()
    assert all(failed in line for line in of_report)
    # Lambda's own line about the error of check_report names no report.
    assert {line.split()[3] for line in of_report} == {"submit"}
    assert f"show {failed} has the error" in logged.err
    assert of_report == sorted(of_report, key=lambda line: line[:19])
    assert {line["function"] for line in lines} == {"submit"}
    assert "submit_reports is done" in {line["message"] for line in lines}


def test_delivered_report_is_shown_with_its_bill(local_stack: LocalStack) -> None:
    delivered = next(
        item["report_id"]["S"]
        for item in local_stack.stack.ledger_items()
        if item.get("state") == {"S": State.DELIVERED}
    )

    document = document_of("show", run(local_stack, "show", "--json", delivered).out)

    assert (document["billed_records"], document["rows"]) == (10, 10)
    assert None not in document["times"].values()
    assert document["run"]["state"] == "succeeded"
    logged = run(local_stack, "logs", "--report", delivered)
    _, *lines = logged.out.splitlines()
    assert {line.split()[3] for line in lines} == {"submit", "check", "store", "convert"}


@contextmanager
def broken_secret(local_stack: LocalStack, value: str) -> Iterator[None]:
    """Replace the value of the secret meanwhile."""
    secrets = local_stack.emulator.client("secretsmanager")
    arn = local_stack.stack.outputs["SecretArn"]
    secrets.put_secret_value(SecretId=arn, SecretString=value)
    yield
    local_stack.stack.set_credentials(
        local_stack.simulator.api_key, local_stack.simulator.api_secret
    )


def checks(local_stack: LocalStack) -> tuple[dict[str, dict[str, Any]], Ended]:
    ended = run(local_stack, "doctor", "--json")
    document = document_of("doctor", ended.out)
    return {each["check"]: each for each in document["checks"]}, ended


def test_doctor_names_each_fault_with_its_command(local_stack: LocalStack) -> None:
    stores = local_stack.stack.physical_id("StoreReportFunction")
    configure = local_stack.emulator.client("lambda").update_function_configuration
    logging = {"LogFormat": "JSON", "LogGroup": local_stack.stack.physical_id("StoreReportLogs")}

    before, _ = checks(local_stack)
    configure(FunctionName=stores, LoggingConfig={**logging, "ApplicationLogLevel": "WARN"})
    after, ended = checks(local_stack)
    configure(FunctionName=stores, LoggingConfig=logging)

    sound = {name for name, each in before.items() if each["verdict"] == "OK"}
    assert sound >= {"stack", "versions", "functions", "roles", "secret", "definitions", "metrics"}
    assert before["definitions"]["sentence"] == "2 accepted"
    assert before["versions"]["sentence"].startswith("program and stack are ")
    # The tests send the events of the schedules themselves.
    assert before["schedule"]["command"] == f"vonage-reports --stack {STACK_NAME} resume"
    assert before["sweep"]["verdict"] == "problem"
    assert after["metrics"]["command"] == (
        f"aws lambda update-function-configuration --function-name {stores} --logging-config "
        f"LogFormat=JSON,ApplicationLogLevel=INFO,LogGroup={logging['LogGroup']}"
    )
    assert ended.code == 1


def test_vonage_without_an_answer_leaves_the_secret_unknown(local_stack: LocalStack) -> None:
    local_stack.simulator.fault("list", "status", status=503)

    found, _ = checks(local_stack)

    assert found["secret"]["verdict"] == "unknown"
    assert "503" in found["secret"]["sentence"]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (json.dumps({"api_key": "abcd1234", "api_secret": WRONG_SECRET}), "which Vonage refuses"),
        ("{}", "does not hold api_key and api_secret"),
        (WRONG_SECRET, "does not hold api_key and api_secret"),
    ],
)
def test_doctor_asks_vonage_about_the_secret(
    value: str, sentence: str, local_stack: LocalStack
) -> None:
    billed = len(local_stack.simulator.state()["reports"])
    with broken_secret(local_stack, value):
        found, ended = checks(local_stack)

    assert (found["secret"]["verdict"], ended.code) == ("problem", 1)
    assert sentence in found["secret"]["sentence"]
    assert found["secret"]["command"] == f"vonage-reports --stack {STACK_NAME} secret put"
    assert WRONG_SECRET not in ended.out + ended.err
    assert len(local_stack.simulator.state()["reports"]) == billed
