import re
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
import yaml

from local.stack.template import read_template
from tests.chaos.workflow import Call, Steps, Wait, Workflow
from tests.support.paths import ROOT
from vonage_reports.domain import errors, waits
from vonage_reports.domain.report import Entry, RequestStatus

TEXT = (ROOT / "functions" / "report_workflow.asl.yaml").read_text()
WORKFLOW = yaml.safe_load(TEXT)
STATES: dict[str, dict[str, Any]] = WORKFLOW["States"]
TEMPLATE = read_template(ROOT / "template.yaml")
STATE_MACHINE = TEMPLATE["Resources"]["ReportWorkflow"]["Properties"]
SUBSTITUTIONS: dict[str, Any] = STATE_MACHINE["DefinitionSubstitutions"]

# https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html and
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-stepfunctions.html
LAMBDA_ERRORS = {
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
    "Lambda.Unknown",
    "Sandbox.Timedout",
    "Runtime.ExitError",
}
STATES_ERRORS = {"States.TaskFailed", "States.Timeout"}
OUR_ERRORS = {
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.VonageReportsError)
}

TASKS = {name: state for name, state in STATES.items() if state["Type"] == "Task"}
LAMBDA_TASKS = {name: state for name, state in TASKS.items() if "lambda" in state["Resource"]}
CHOICES = {name: state for name, state in STATES.items() if state["Type"] == "Choice"}

every_task = pytest.mark.parametrize("name", TASKS)
every_lambda_task = pytest.mark.parametrize("name", LAMBDA_TASKS)
every_choice = pytest.mark.parametrize("name", CHOICES)


def successors(state: dict[str, Any]) -> set[str]:
    routes = [state, *state.get("Choices", []), *state.get("Catch", [])]
    return {route["Next"] for route in routes if "Next" in route} | {
        state[key] for key in ("Default",) if key in state
    }


def retried(state: dict[str, Any]) -> list[str]:
    return [name for retrier in state["Retry"] for name in retrier["ErrorEquals"]]


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


def test_the_workflow_is_written_in_jsonata() -> None:
    assert WORKFLOW["QueryLanguage"] == "JSONata"
    only_in_jsonpath = {"Parameters", "ResultSelector", "ResultPath", "InputPath", "OutputPath"}
    for name, state in STATES.items():
        assert not only_in_jsonpath & set(state), name
        assert not any(key.endswith(".$") for key in state), name


def test_the_workflow_has_no_yaml_anchors() -> None:
    # CloudFormation, and `sam deploy` with it, refuses anchors and aliases.
    events = list(yaml.parse(TEXT))

    assert not [event for event in events if isinstance(event, yaml.AliasEvent)]
    assert not [event for event in events if getattr(event, "anchor", None)]


def test_every_state_can_be_reached_and_leads_to_an_end() -> None:
    reached, ahead = set(), [WORKFLOW["StartAt"]]
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead += successors(STATES[name])
    assert reached == set(STATES)

    leads_to_an_end = {
        name
        for name, state in STATES.items()
        if state["Type"] in ("Succeed", "Fail") or state.get("End")
    }
    for _ in STATES:
        leads_to_an_end |= {
            name for name, state in STATES.items() if successors(state) & leads_to_an_end
        }
    assert leads_to_an_end == set(STATES)


@every_choice
def test_a_choice_is_a_question_with_an_answer_for_every_case(name: str) -> None:
    assert name.endswith("?")
    assert CHOICES[name]["Default"] in STATES


@every_lambda_task
def test_what_lambda_itself_raises_is_tried_again(name: str) -> None:
    assert set(retried(LAMBDA_TASKS[name])) >= LAMBDA_ERRORS | STATES_ERRORS
    for retrier in LAMBDA_TASKS[name]["Retry"]:
        if LAMBDA_ERRORS & set(retrier["ErrorEquals"]):
            assert retrier["MaxAttempts"] > 0
            assert retrier["BackoffRate"] > 1


@every_task
def test_every_task_is_tried_again_when_it_fails_for_a_reason_nobody_thought_of(name: str) -> None:
    [last] = TASKS[name]["Retry"][-1:]

    assert "States.TaskFailed" in last["ErrorEquals"]
    assert last["MaxAttempts"] > 0


@every_task
def test_every_error_that_is_retried_exists(name: str) -> None:
    assert set(retried(TASKS[name])) <= LAMBDA_ERRORS | STATES_ERRORS | OUR_ERRORS


@every_task
def test_no_error_stands_behind_one_that_takes_it_first(name: str) -> None:
    named = retried(TASKS[name])
    assert len(named) == len(set(named))

    # States.TaskFailed takes everything but States.Timeout.
    [last] = TASKS[name]["Retry"][-1:]
    earlier = [each for retrier in TASKS[name]["Retry"][:-1] for each in retrier["ErrorEquals"]]
    assert "States.TaskFailed" not in earlier
    assert set(last["ErrorEquals"]) <= STATES_ERRORS | {"VonageUnavailable"}


@every_lambda_task
@pytest.mark.parametrize("error", ["VonageRejected", "InvalidRequest", "ReportFailed"])
def test_what_trying_again_cannot_mend_is_not_tried_again(name: str, error: str) -> None:
    [attempts] = [
        retrier["MaxAttempts"]
        for retrier in LAMBDA_TASKS[name]["Retry"]
        if error in retrier["ErrorEquals"]
    ]

    assert attempts == 0


@pytest.mark.parametrize("error", ["ArchiveCorrupt", "VonageUnavailable"])
def test_a_download_that_broke_is_tried_again_for_longer_than_a_disturbance_lasts(
    error: str,
) -> None:
    """It was paid for, and ArchiveCorrupt ends the report: a web page in its place may pass."""
    [retrier] = [each for each in STATES["Store Report"]["Retry"] if error in each["ErrorEquals"]]
    waits = [
        min(
            retrier["IntervalSeconds"] * retrier["BackoffRate"] ** number,
            retrier.get("MaxDelaySeconds", 86_400),
        )
        for number in range(retrier["MaxAttempts"])
    ]

    assert sum(waits) >= 20 * 60


@pytest.mark.parametrize(
    ("name", "error"), [("Check Report", "RowsMismatch"), ("Store Report", "ReportExpired")]
)
def test_a_link_or_a_file_that_comes_a_moment_later_is_waited_for(name: str, error: str) -> None:
    """A run that ends with the first of them gives up what was paid for."""
    [retrier] = [each for each in STATES[name]["Retry"] if error in each["ErrorEquals"]]

    assert retrier["MaxAttempts"] * retrier["IntervalSeconds"] >= 2 * 60


@pytest.mark.parametrize("error", ["ArchiveCorrupt", "RowsMismatch", "RowsUnreadable"])
def test_what_is_wrong_with_an_archive_is_wrong_with_it_again(error: str) -> None:
    [attempts] = [
        retrier["MaxAttempts"]
        for retrier in STATES["Convert Report"]["Retry"]
        if error in retrier["ErrorEquals"]
    ]

    assert attempts == 0


def test_a_report_is_announced_when_it_is_converted_and_a_part_never() -> None:
    into_announce = {
        name for name, state in STATES.items() if "Announce Report" in successors(state)
    }
    (part,) = [
        choice["Next"]
        for choice in STATES["Report Stored?"]["Choices"]
        if "$report.announce" not in choice["Condition"]
    ]

    assert into_announce == {"Convert Report"}
    assert STATES[part]["Type"] == "Succeed"


@every_lambda_task
def test_vonage_is_not_asked_about_a_report_more_often_than_every_20_seconds(name: str) -> None:
    for retrier in LAMBDA_TASKS[name]["Retry"]:
        asks_vonage = not LAMBDA_ERRORS & set(retrier["ErrorEquals"])
        if asks_vonage and retrier["MaxAttempts"]:
            assert retrier["IntervalSeconds"] >= 20


@pytest.mark.parametrize("status", [status.value for status in RequestStatus])
def test_no_word_of_vonages_is_in_the_workflow(status: str) -> None:
    assert not re.search(rf"\b{status}\b", TEXT)


def test_the_template_fills_in_what_the_workflow_leaves_open_and_nothing_else() -> None:
    used = re.findall(r"\$\{(\w+)\}", TEXT)

    assert set(used) == set(SUBSTITUTIONS)


@every_lambda_task
def test_a_step_has_one_name_everywhere(name: str) -> None:
    logical_id = name.replace(" ", "") + "Function"
    folder = name.lower().replace(" ", "_")

    assert STATES[name]["Arguments"]["FunctionName"] == f"${{{logical_id}Arn}}"
    assert SUBSTITUTIONS[f"{logical_id}Arn"] == {"Fn::GetAtt": [logical_id, "Arn"]}
    function = TEMPLATE["Resources"][logical_id]["Properties"]
    assert function["CodeUri"] == f"functions/{folder}"
    assert (ROOT / "functions" / folder / "app.py").is_file()
    assert (ROOT / "events" / f"{folder}.json").is_file()


def test_a_run_begins_wherever_submit_reports_may_send_it() -> None:
    conditions = " ".join(choice["Condition"] for choice in STATES[WORKFLOW["StartAt"]]["Choices"])

    assert set(re.findall(r"'(\w+)'", conditions)) == {entry.value for entry in Entry}


def test_no_wait_of_the_workflow_is_a_number_of_its_own() -> None:
    # How long to wait is computed where it is tested: in the functions, and once at the start.
    for state in STATES.values():
        if state["Type"] == "Wait":
            assert state["Seconds"] == "{% $wait_seconds %}"


def a_run(expected_rows: int | None) -> Steps:
    """What a run does from its start; the one who asks answers its calls."""
    workflow = Workflow.of_file(ROOT / "functions" / "report_workflow.asl.yaml", {})
    value = {"entry": "check", "expected_rows": expected_rows, "announce": True}
    return workflow.steps(value, started="2026-11-22T02:16:00Z", random=Random(1))


def waited(call: Wait | Call) -> Any:
    assert isinstance(call, Call)
    return call.arguments["Payload"]["waited_seconds"]


@pytest.mark.parametrize(
    ("rows", "seconds"), [(None, 20), (10_000, 20), (1_000_000, 420), (7_000_000, 1800)]
)
def test_the_first_wait_is_as_long_as_vonage_takes_for_the_rows(
    rows: int | None, seconds: int
) -> None:
    assert next(a_run(rows)) == Wait(seconds)


def test_every_later_wait_is_as_long_as_the_functions_say() -> None:
    run = a_run(None)
    next(run)
    assert waited(run.send(None)) == 20
    answer: dict[str, Any] = {"ready": False, "wait_seconds": 45, "download": None}
    assert run.send({"Payload": answer}) == Wait(45)
    assert waited(run.send(None)) == 45
    run.send({"Payload": {"ready": True, "wait_seconds": 0, "download": {"file_id": "f"}}})
    throttled = {"stored": False, "wait_seconds": 90, "rows": None, "receipt": None}
    assert run.send({"Payload": throttled}) == Wait(90)


def test_a_run_lasts_as_long_as_vonage_keeps_the_file() -> None:
    assert WORKFLOW["TimeoutSeconds"] == waits.FILE_KEPT.total_seconds()


def test_every_expression_is_closed() -> None:
    for text in strings(WORKFLOW):
        assert text.startswith("{%") == text.endswith("%}")


def test_a_delivery_is_published_with_what_subscribers_filter_by() -> None:
    attributes = STATES["Announce Report"]["Arguments"]["MessageAttributes"]

    assert set(attributes) == {"event", "definition", "product", "account_id", "revision"}
