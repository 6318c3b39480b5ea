import re
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
import yaml

from local.stack.template import read_template
from tests.chaos.workflow import Call, StateError, Steps, Wait, Workflow
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
    "Lambda.ClientExecutionTimeoutException",
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

WAIT_FOR_CALLBACK = STATES["Wait For Callback"]
WORK = {name: state for name, state in TASKS.items() if state is not WAIT_FOR_CALLBACK}

every_task = pytest.mark.parametrize("name", WORK)
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


def test_workflow_is_written_in_jsonata() -> None:
    assert WORKFLOW["QueryLanguage"] == "JSONata"
    only_in_jsonpath = {"Parameters", "ResultSelector", "ResultPath", "InputPath", "OutputPath"}
    for name, state in STATES.items():
        assert not only_in_jsonpath & set(state), name
        assert not any(key.endswith(".$") for key in state), name


def test_workflow_has_no_yaml_anchors() -> None:
    # CloudFormation refuses anchors and aliases, and so does `sam deploy`.
    events = list(yaml.parse(TEXT))

    assert not [event for event in events if isinstance(event, yaml.AliasEvent)]
    assert not [event for event in events if getattr(event, "anchor", None)]


def test_every_state_is_reachable_and_leads_to_an_end() -> None:
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
def test_choice_is_a_question_with_a_default(name: str) -> None:
    assert name.endswith("?")
    assert CHOICES[name]["Default"] in STATES


@every_lambda_task
def test_errors_of_lambda_itself_are_retried(name: str) -> None:
    assert set(retried(LAMBDA_TASKS[name])) >= LAMBDA_ERRORS | STATES_ERRORS
    for retrier in LAMBDA_TASKS[name]["Retry"]:
        if LAMBDA_ERRORS & set(retrier["ErrorEquals"]):
            assert retrier["MaxAttempts"] > 0
            assert retrier["BackoffRate"] > 1


@every_task
def test_every_task_retries_unknown_errors(name: str) -> None:
    [last] = TASKS[name]["Retry"][-1:]

    assert "States.TaskFailed" in last["ErrorEquals"]
    assert last["MaxAttempts"] > 0


@every_task
def test_every_retried_error_exists(name: str) -> None:
    assert set(retried(TASKS[name])) <= LAMBDA_ERRORS | STATES_ERRORS | OUR_ERRORS


@every_task
def test_no_retrier_hides_a_later_one(name: str) -> None:
    named = retried(TASKS[name])
    assert len(named) == len(set(named))

    # States.TaskFailed matches every error but States.Timeout.
    [last] = TASKS[name]["Retry"][-1:]
    earlier = [each for retrier in TASKS[name]["Retry"][:-1] for each in retrier["ErrorEquals"]]
    assert "States.TaskFailed" not in earlier
    assert set(last["ErrorEquals"]) <= STATES_ERRORS | {"VonageUnavailable"}


@every_lambda_task
@pytest.mark.parametrize("error", ["VonageRejected", "InvalidRequest", "ReportFailed"])
def test_permanent_errors_are_not_retried(name: str, error: str) -> None:
    [attempts] = [
        retrier["MaxAttempts"]
        for retrier in LAMBDA_TASKS[name]["Retry"]
        if error in retrier["ErrorEquals"]
    ]

    assert attempts == 0


@pytest.mark.parametrize("error", ["ArchiveCorrupt", "VonageUnavailable"])
def test_broken_downloads_are_retried_for_20_minutes(
    error: str,
) -> None:
    """The archive is paid for, and a web page in its place may pass within minutes."""
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
def test_late_links_and_files_are_waited_for(name: str, error: str) -> None:
    """A run that fails at once would give up a paid report."""
    [retrier] = [each for each in STATES[name]["Retry"] if error in each["ErrorEquals"]]

    assert retrier["MaxAttempts"] * retrier["IntervalSeconds"] >= 2 * 60


@pytest.mark.parametrize("error", ["ArchiveCorrupt", "RowsMismatch", "RowsUnreadable"])
def test_faults_of_stored_archives_are_not_retried(error: str) -> None:
    [attempts] = [
        retrier["MaxAttempts"]
        for retrier in STATES["Convert Report"]["Retry"]
        if error in retrier["ErrorEquals"]
    ]

    assert attempts == 0


def test_only_converted_reports_are_announced() -> None:
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
def test_polls_are_at_least_20_seconds_apart(name: str) -> None:
    for retrier in LAMBDA_TASKS[name]["Retry"]:
        asks_vonage = not LAMBDA_ERRORS & set(retrier["ErrorEquals"])
        if asks_vonage and retrier["MaxAttempts"]:
            assert retrier["IntervalSeconds"] >= 20


@pytest.mark.parametrize("status", [status.value for status in RequestStatus])
def test_workflow_names_no_status_of_vonage(status: str) -> None:
    assert not re.search(rf"\b{status}\b", TEXT)


def test_template_sets_exactly_the_used_substitutions() -> None:
    used = re.findall(r"\$\{(\w+)\}", TEXT)

    assert set(used) == set(SUBSTITUTIONS)


@every_lambda_task
def test_step_has_one_name_everywhere(name: str) -> None:
    logical_id = name.replace(" ", "") + "Function"
    folder = name.lower().replace(" ", "_")

    assert STATES[name]["Arguments"]["FunctionName"] == f"${{{logical_id}Arn}}"
    assert SUBSTITUTIONS[f"{logical_id}Arn"] == {"Fn::GetAtt": [logical_id, "Arn"]}
    function = TEMPLATE["Resources"][logical_id]["Properties"]
    assert function["CodeUri"] == f"functions/{folder}"
    assert (ROOT / "functions" / folder / "app.py").is_file()
    assert (ROOT / "events" / f"{folder}.json").is_file()


def test_run_starts_at_every_entry_of_submit_reports() -> None:
    conditions = " ".join(choice["Condition"] for choice in STATES[WORKFLOW["StartAt"]]["Choices"])

    assert set(re.findall(r"'(\w+)'", conditions)) == {entry.value for entry in Entry}


def test_waits_take_their_seconds_from_the_functions() -> None:
    # The tested code computes the waits: the functions, and one expression at the start.
    for state in STATES.values():
        if state["Type"] == "Wait":
            assert state["Seconds"] == "{% $wait_seconds %}"


def a_run(expected_rows: int | None, **more: object) -> Steps:
    """Return the steps of a run; the test answers the calls of the run."""
    workflow = Workflow.of_file(ROOT / "functions" / "report_workflow.asl.yaml", {})
    value = {"entry": "check", "expected_rows": expected_rows, "announce": True, **more}
    return workflow.steps(value, started="2026-11-22T02:16:00Z", random=Random(1))


def waited(call: Wait | Call) -> Any:
    assert isinstance(call, Call)
    return call.arguments["Payload"]["waited_seconds"]


@every_lambda_task
def test_task_ends_a_minute_after_its_function(name: str) -> None:
    """Otherwise a lost answer of Lambda holds the run, and its slot, for 72 hours."""
    function = TEMPLATE["Resources"][name.replace(" ", "") + "Function"]["Properties"]

    assert STATES[name]["TimeoutSeconds"] == function["Timeout"] + 60


def test_announcement_has_a_time_limit() -> None:
    assert STATES["Announce Report"]["TimeoutSeconds"] == 60


ANSWERS: dict[str, dict[str, Any]] = {
    "Check Report": {"ready": True, "wait_seconds": 0, "download": {"file_id": "f"}},
    "Store Report": {"stored": True, "wait_seconds": 0, "rows": 1, "receipt": "r.json"},
    "Convert Report": {
        "rows": 1,
        "mail": {"subject": "s", "message": "{}"},
        "notification": dict.fromkeys(
            ("event", "definition", "product", "account_id", "revision"), "x"
        ),
    },
}


def run_at(name: str) -> tuple[Steps, Wait | Call]:
    """Return a run that is at its task `name`, and the call of the task."""
    run = a_run(None)
    next(run)
    call = run.send(None)
    for earlier, answer in ANSWERS.items():
        if earlier == name:
            break
        call = run.send({"Payload": answer})
    return run, call


def waits_until_it_fails(name: str, error: str) -> list[float]:
    """Return the waits of a task that always ends with this error."""
    run, call = run_at(name)
    paused: list[float] = []
    while True:
        try:
            pause = run.throw(StateError(error, "again"))
        except StateError as failure:
            if failure.name != error:
                raise
            return paused
        assert isinstance(pause, Wait)
        paused.append(pause.seconds)
        assert run.send(None) == call


@every_task
def test_task_without_an_answer_is_repeated_with_the_same_input(name: str) -> None:
    assert isinstance(run_at(name)[1], Call)
    assert len(waits_until_it_fails(name, "States.Timeout")) >= 6


def test_lost_answers_do_not_use_up_the_time_of_a_run() -> None:
    """Vonage may generate for 48 hours. Then every try of every task may lose its answer."""
    lost = 0.0
    for name, task in WORK.items():
        paused = waits_until_it_fails(name, "States.Timeout")
        lost += sum(paused) + (len(paused) + 1) * task["TimeoutSeconds"]

    assert waits.DEADLINE.total_seconds() + lost < WORKFLOW["TimeoutSeconds"]


@every_lambda_task
@pytest.mark.parametrize(
    "error",
    [
        # The first three are names of Lambda's runtime client (awslambdaric, FaultException).
        "Runtime.ImportModuleError",
        "Runtime.HandlerNotFound",
        "Runtime.UserCodeSyntaxError",
        "ImportError",
        "ModuleNotFoundError",
        "AttributeError",
        "TypeError",
    ],
)
def test_task_outlasts_a_deployment_in_which_code_and_layer_differ(name: str, error: str) -> None:
    assert sum(waits_until_it_fails(name, error)) >= 15 * 60


def test_no_arn_names_a_partition() -> None:
    # AWS has other partitions: aws-cn and aws-us-gov.
    for text in (TEXT, (ROOT / "template.yaml").read_text()):
        assert "arn:aws:" not in text


@pytest.mark.parametrize(
    ("rows", "seconds"), [(None, 20), (10_000, 20), (1_000_000, 420), (7_000_000, 1800)]
)
def test_first_wait_depends_on_the_expected_rows(rows: int | None, seconds: int) -> None:
    assert next(a_run(rows)) == Wait(seconds)


def test_later_waits_come_from_the_functions() -> None:
    run = a_run(None)
    next(run)
    assert waited(run.send(None)) == 20
    answer: dict[str, Any] = {"ready": False, "wait_seconds": 45, "download": None}
    assert run.send({"Payload": answer}) == Wait(45)
    assert waited(run.send(None)) == 45
    run.send({"Payload": {"ready": True, "wait_seconds": 0, "download": {"file_id": "f"}}})
    throttled = {"stored": False, "wait_seconds": 90, "rows": None, "receipt": None}
    assert run.send({"Payload": throttled}) == Wait(90)


# The callback

NOT_READY: dict[str, Any] = {"ready": False, "wait_seconds": 45, "download": None}
CALLBACK = "0f" * 32


def waiting_run() -> tuple[Steps, Call]:
    """Return a run that waits for its callback, and the call that puts its task token."""
    run = a_run(1_000_000, first_wait=420, callback=CALLBACK)
    call = next(run)
    assert isinstance(call, Call)
    return run, call


def asks_vonage(step: Wait | Call) -> bool:
    return isinstance(step, Call) and "Payload" in step.arguments


def test_callback_is_waited_for_until_the_next_poll() -> None:
    _, call = waiting_run()

    assert call.timeout == 420
    item = call.arguments["Item"]
    assert item["callback"] == {"S": CALLBACK}
    assert item["task_token"] == {"S": call.token}
    assert item["expires"] == {"N": "1795572960"}  # 72 hours after the start


@pytest.mark.parametrize("callback", [None, {}])
def test_run_without_a_callback_waits_as_ever(callback: object) -> None:
    more = {} if callback == {} else {"callback": callback}
    run = a_run(None, **more)

    assert next(run) == Wait(20)
    assert asks_vonage(run.send(None))


@pytest.mark.parametrize(("callback", "more"), [(None, 0), (CALLBACK, 1)])
def test_choice_about_the_callback_costs_other_runs_nothing(
    callback: str | None, more: int
) -> None:
    workflow = Workflow.of_file(ROOT / "functions" / "report_workflow.asl.yaml", {})
    value = {"entry": "check", "first_wait": 20, "callback": callback, "announce": True}
    entered: list[str] = []
    run = workflow.steps(
        value, started="2026-11-22T02:16:00Z", random=Random(1), entered=entered.append
    )
    next(run)
    waits = [*["Choice"] * (1 + more), "Task" if callback else "Wait"]
    assert entered == waits
    step = run.send(None) if callback is None else run.throw(StateError("States.Timeout", ""))
    assert asks_vonage(step)
    run.send({"Payload": NOT_READY})
    assert entered == [*waits, "Task", *waits]


def test_callback_ends_one_wait() -> None:
    run, _ = waiting_run()

    assert asks_vonage(run.send({}))
    # Vonage or a stranger called before the end. From now on, the run polls as without a callback.
    assert run.send({"Payload": NOT_READY}) == Wait(45)


def test_time_out_of_the_callback_asks_vonage_and_waits_again() -> None:
    run, _ = waiting_run()

    assert asks_vonage(run.throw(StateError("States.Timeout", "no call")))
    again = run.send({"Payload": NOT_READY})
    assert isinstance(again, Call)
    assert again.timeout == 45
    assert again.arguments["Item"]["callback"] == {"S": CALLBACK}


def test_no_callback_ends_the_wait_that_vonage_asked_for() -> None:
    run, _ = waiting_run()
    run.throw(StateError("States.Timeout", "no call"))

    assert run.send({"Payload": {**NOT_READY, "throttled": True}}) == Wait(45)


def test_run_without_its_table_waits_as_without_a_callback() -> None:
    run, _ = waiting_run()

    failure = StateError("DynamoDb.ResourceNotFoundException", "the table is gone")
    assert run.throw(failure) == Wait(420)
    assert asks_vonage(run.send(None))


def test_wait_for_the_callback_is_not_retried() -> None:
    assert "Retry" not in WAIT_FOR_CALLBACK
    caught = {each["Next"]: each["ErrorEquals"] for each in WAIT_FOR_CALLBACK["Catch"]}
    assert caught == {
        "Check Report": ["States.Timeout"],
        "Wait For Report": ["States.TaskFailed"],
    }


def test_run_times_out_when_vonage_drops_the_file() -> None:
    assert WORKFLOW["TimeoutSeconds"] == waits.FILE_KEPT.total_seconds()


def test_every_expression_is_closed() -> None:
    for text in strings(WORKFLOW):
        assert text.startswith("{%") == text.endswith("%}")


def test_announcement_has_the_filter_attributes() -> None:
    attributes = STATES["Announce Report"]["Arguments"]["MessageAttributes"]

    assert set(attributes) == {"event", "definition", "product", "account_id", "revision"}
