"""Deployments: two stacks side by side, and a new version with reports in flight."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local.simulator.process import Simulator
from local.stack.deployment import DeploymentFailed, InvocationFailed, deploy
from local.stack.emulator import ROOT
from tests.end_to_end.conftest import WAIT_SCALE, LocalStack, copy_of_the_tree
from tests.support.alarms import alarms_of_stack, metrics_in
from tests.support.waiting import wait_until
from vonage_reports.domain.metrics import ALARMING_GAUGES
from vonage_reports.domain.objects import DEFINITIONS_KEY
from vonage_reports.domain.report import State

if TYPE_CHECKING:
    from local.stack.deployment import Stack

pytestmark = pytest.mark.slow

MISMATCH = "Runtime.ImportModuleError"
"""The error of Lambda's Python runtime if an import of code and layer does not fit."""
LAYER = "layers/shared/vonage_reports"
SECOND = "vonage-usage-reports-second"
EVERYTHING_OFF = {
    "WorkflowLog": "off",
    "DetailedMetrics": "off",
    "UsageDashboard": "off",
    "Catalogue": "off",
}
LEFT_OUT = {"WorkflowLogs", "Dashboard", "UsageDatabase", "CatalogueWaitingAlarm"}
SCHEDULED = {"scheduled_time": "2026-11-23T02:15:00Z"}
IMPORTED = {
    "ReportsBucket": ("AWS::S3::Bucket", "BucketName"),
    "LedgerTable": ("AWS::DynamoDB::Table", "TableName"),
}


@pytest.fixture(scope="module")
def simulator_settings() -> dict[str, Any]:
    return {"rows_per_day": 50}


@pytest.fixture(scope="module")
def second_stack(
    local_stack: LocalStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalStack]:
    """Deploy a second stack for another API key, in the same account and region.

    It has everything optional off, and sends its alarms to the first stack's topic too.
    """
    topic = local_stack.stack.outputs["AlarmTopicArn"]
    folder = tmp_path_factory.mktemp("second")
    with Simulator(api_key="wxyz9876", seconds_per_report=0.5, rows_per_day=50) as simulator:
        stack = deploy(
            local_stack.emulator,
            folder,
            vonage_base_url=simulator.url,
            wait_scale=WAIT_SCALE,
            parameters={**EVERYTHING_OFF, "AlarmTopicArn": topic},
            name=SECOND,
        )
        stack.set_credentials(simulator.api_key, simulator.api_secret)
        yield LocalStack(local_stack.emulator, stack, simulator, queue="notifications-of-second")


def physical_ids(local_stack: LocalStack) -> dict[tuple[str, str], str]:
    """Return the logical ids of a stack's resources, by type and name."""
    described = local_stack.emulator.client("cloudformation").describe_stack_resources(
        StackName=local_stack.stack.name
    )["StackResources"]
    return {
        (each["ResourceType"], each["PhysicalResourceId"]): each["LogicalResourceId"]
        for each in described
        # A table's name is unique within its database, and the stack has its own database.
        if each["ResourceType"] != "AWS::Glue::Table"
    }


def test_two_stacks_share_no_resource(local_stack: LocalStack, second_stack: LocalStack) -> None:
    first, second = physical_ids(local_stack), physical_ids(second_stack)
    assert set(first.values()) - set(second.values()) == LEFT_OUT
    assert set(second.values()) <= set(first.values())
    assert {key: name for key, name in first.items() if key in second} == {}
    of_first, of_second = (
        {value for name, value in each.stack.outputs.items() if name != "Version"}
        for each in (local_stack, second_stack)
    )
    assert of_first.isdisjoint(of_second)


FIRST = {"calls": "VOICE-CALL"}
PRODUCTS = {**FIRST, "speech": "ASR"}


def definitions_of(products: dict[str, str]) -> str:
    return json.dumps([{"name": name, "product": each} for name, each in products.items()])


@pytest.fixture(scope="module")
def in_flight(local_stack: LocalStack) -> list[str]:
    """Submit a report that Vonage generates for an hour of its clock, and one for two hours."""
    planned = []
    for hours, products in ((1, FIRST), (2, PRODUCTS)):
        local_stack.stack.set_definitions(definitions_of(products))
        local_stack.simulator.settings(seconds_per_report=hours * 3600)
        planned += local_stack.scheduled()["planned"]
    assert len(planned) == len(PRODUCTS)
    return planned


def test_second_stack_delivers_beside_the_first(
    local_stack: LocalStack, in_flight: list[str], second_stack: LocalStack
) -> None:
    second_stack.stack.set_definitions(json.dumps([{"name": "theirs", "product": "VERIFY-V2"}]))
    (report,) = second_stack.until_finished(second_stack.scheduled()["planned"]).values()
    key = second_stack.simulator.api_key
    assert (report.state, report.account_id) == (State.DELIVERED, key)
    ((_, body),) = second_stack.notifications()
    assert (body["report_id"], body["catalogue"]) == (report.report_id, "off")
    assert not any("glue:" in each.action for each in second_stack.allowed())
    assert len(second_stack.objects(f"archives/theirs/{key}/")) == 2
    assert local_stack.notifications() == []
    assert list(local_stack.objects("")) == [DEFINITIONS_KEY]
    assert local_stack.states() == dict.fromkeys(in_flight, State.SUBMITTED)
    assert local_stack.undelivered() == second_stack.undelivered() == []


def test_stack_with_everything_off_keeps_its_alarms(
    local_stack: LocalStack, second_stack: LocalStack
) -> None:
    second_stack.sweep()
    sent = metrics_in(second_stack.log_text())
    of_stack = frozenset({("stack", SECOND)})
    assert {each.series[2] for each in sent} == {of_stack}
    gauges = {*ALARMING_GAUGES} - {"CatalogueWaiting"}
    assert {each.name for each in sent} & {*ALARMING_GAUGES, "Deliveries"} == {
        *gauges,
        "Deliveries",
    }
    topics = [each.stack.outputs["AlarmTopicArn"] for each in (second_stack, local_stack)]
    cloudwatch = local_stack.emulator.client("cloudwatch")
    alarms = cloudwatch.describe_alarms(MaxRecords=100)["MetricAlarms"]
    of_second = [each for each in alarms if each["AlarmName"].startswith(SECOND)]
    assert len(of_second) == len(alarms_of_stack(EVERYTHING_OFF)) > 10
    for alarm in of_second:
        assert alarm["AlarmActions"] == topics
        assert alarm["OKActions"] in ([], topics)


def changed_values(stack: "Stack", local_stack: LocalStack) -> dict[str, Any]:
    """Return the two values that the next deployment changes."""
    function = local_stack.emulator.client("lambda").get_function_configuration(
        FunctionName=stack.physical_id("CheckReportFunction")
    )
    machine = local_stack.emulator.client("stepfunctions").describe_state_machine(
        stateMachineArn=stack.outputs["StateMachineArn"]
    )
    return {
        "memory": function["MemorySize"],
        "start": json.loads(machine["definition"])["StartAt"],
    }


LATE_SECONDS = 3
TIME_LIMIT = LATE_SECONDS - 1
"""The time limit of a task in the next version, in seconds. A started function needs less."""
LATE = """
import contextlib
import pathlib
import time

_in_time = lambda_handler


def lambda_handler(event, context):
    # The test writes the file to make one invocation late.
    with contextlib.suppress(FileNotFoundError):
        pathlib.Path({late!r}).unlink()
        # Only a function that works for longer than its task may shows the time limit.
        time.sleep({seconds})
    return _in_time(event, context)
"""
REFUSALS = 3
NEEDS_NEW_LAYER = """
_without_layer = lambda_handler


def lambda_handler(event, context):
    try:
        import vonage_reports.for_check_report
    except ModuleNotFoundError:
        # The new layer comes after a few invocations.
        with pathlib.Path({refused!r}).open("a") as refused:
            if refused.write("x") and refused.tell() >= {refusals}:
                pathlib.Path({layer!r}, "for_check_report.py").touch()
        raise
    return _without_layer(event, context)
"""


@dataclass(frozen=True)
class NextVersion:
    """The deployed next version, and what went wrong before it was complete."""

    stack: "Stack"
    folder: Path
    failures: Counter[tuple[str, str]]

    def make_late(self, function: str) -> None:
        """Make the next invocation of a function take longer than its task may."""
        (self.folder / f"{function} is late").touch()


def write_next_version(tree: Path) -> None:
    """Change the tree as a new version does: workflow, settings, code and layer."""
    template, workflow = tree / "template.yaml", tree / "functions/report_workflow.asl.yaml"
    template.write_text(template.read_text().replace("MemorySize: 256", "MemorySize: 320"))
    text = workflow.read_text().replace("Where To Begin?", "Where To Start?")
    limits = re.compile(r"(TimeoutSeconds:) (150|960)\b")
    workflow.write_text(limits.sub(rf"\1 {TIME_LIMIT}", text))
    for function in ("check_report", "store_report", "convert_report"):
        late = str(tree.parent / f"{function} is late")
        append_code(tree, function, LATE.format(late=late, seconds=LATE_SECONDS))
    code = NEEDS_NEW_LAYER.format(
        refused=str(tree.parent / "refused"), refusals=REFUSALS, layer=str(tree / LAYER)
    )
    append_code(tree, "check_report", code)
    append_code(tree, "submit_reports", "\nimport vonage_reports.for_submit_reports\n")


def append_code(tree: Path, function: str, code: str) -> None:
    with (tree / "functions" / function / "app.py").open("a") as app:
        app.write(code)


def failures_of(local_stack: LocalStack) -> Counter[tuple[str, str]]:
    """Count the failed invocations of all runs by state and error."""
    failures: Counter[tuple[str, str]] = Counter()
    for events in local_stack.histories().values():
        state = ""
        for event in events:
            if "stateEnteredEventDetails" in event:
                state = event["stateEnteredEventDetails"]["name"]
            elif "taskFailedEventDetails" in event:
                failed = event["taskFailedEventDetails"]
                # The emulator names the error of a failed start in the cause only.
                error = MISMATCH if MISMATCH in failed["cause"] else failed["error"]
                failures[state, error] += 1
    return failures


@pytest.fixture(scope="module")
def next_version(
    local_stack: LocalStack, in_flight: list[str], tmp_path_factory: pytest.TempPathFactory
) -> NextVersion:
    """Deploy a new version with reports in flight, in the steps that AWS may take.

    First new code meets the old layer, in submit_reports and check_report. Then old code meets a
    new layer, in store_report.
    """
    assert local_stack.states() == dict.fromkeys(in_flight, State.SUBMITTED)
    folder = tmp_path_factory.mktemp("next")
    tree = copy_of_the_tree(folder)
    write_next_version(tree)
    layer = tree / LAYER
    (layer / "store_report.py").rename(layer / "stored_report.py")
    stack = deploy(
        local_stack.emulator,
        folder,
        vonage_base_url=local_stack.simulator.url,
        wait_scale=WAIT_SCALE,
        root=tree,
    )
    with pytest.raises(InvocationFailed, match=MISMATCH):
        local_stack.sweep()
    (layer / "for_submit_reports.py").touch()
    # Without sweeps, which fail while submit_reports does.
    wait_until((layer / "for_check_report.py").exists, within=60)
    local_stack.simulator.advance(3600)
    # The emulator would kill other starts of the function, so only one report gets here.
    wait_until(lambda: failures_of(local_stack)["Store Report", MISMATCH] > 0, within=60)
    (layer / "stored_report.py").rename(layer / "store_report.py")
    local_stack.simulator.advance(3600)
    local_stack.until_finished(in_flight)
    return NextVersion(stack, folder, failures_of(local_stack))


def test_deployment_in_flight_loses_nothing(
    local_stack: LocalStack, in_flight: list[str], next_version: NextVersion
) -> None:
    assert changed_values(next_version.stack, local_stack) == {
        "memory": 320,
        "start": "Where To Start?",
    }
    assert next_version.stack.outputs == local_stack.stack.outputs
    assert next_version.stack.definitions() == definitions_of(PRODUCTS)
    reports = local_stack.until_finished(in_flight)
    for report in reports.values():
        assert (report.state, report.attempt, report.run) == (State.DELIVERED, 1, 1)
    delivered = [body["report_id"] for _, body in local_stack.notifications()]
    assert sorted(delivered) == sorted(in_flight)
    assert len(local_stack.simulator.state()["reports"]) == len(in_flight)
    assert local_stack.undelivered() == []

    print("failed invocations:", dict(next_version.failures))
    assert next_version.failures["Check Report", "ModuleNotFoundError"] >= REFUSALS
    assert next_version.failures["Store Report", MISMATCH] > 0
    # A task is tried seven times at most; otherwise its run would have failed.
    assert next_version.failures.total() <= 7 * 2 * len(in_flight)
    # A run keeps its version of the workflow; the next run has the new version.
    for report in reports.values():
        assert "Where To Begin?" in states_of(local_stack, report.execution_name)
    local_stack.stack.submit({"reconvert": {"report_id": in_flight[0]}})
    local_stack.until(lambda: not local_stack.ledger.open_reports(), "the conversion")
    again = local_stack.ledger.finished_report(in_flight[0])
    assert again is not None
    assert "Where To Start?" in states_of(local_stack, again.execution_name)


LATE_TASKS = ("Check Report", "Store Report", "Convert Report")


def test_late_task_times_out_and_is_repeated(
    local_stack: LocalStack, next_version: NextVersion
) -> None:
    before = failures_of(local_stack)
    local_stack.simulator.settings(seconds_per_report=0.5)
    local_stack.stack.set_definitions(definitions_of({"late": "VERIFY-V2", **PRODUCTS}))
    for name in LATE_TASKS:
        next_version.make_late(name.lower().replace(" ", "_"))

    (report,) = local_stack.until_finished(local_stack.scheduled()["planned"]).values()

    assert (report.state, report.attempt, report.run) == (State.DELIVERED, 1, 1)
    late = failures_of(local_stack) - before
    assert {state for state, error in late if error == "States.Timeout"} == set(LATE_TASKS)
    announced = [body["report_id"] for _, body in local_stack.notifications()]
    assert announced.count(report.report_id) == 1
    assert len(local_stack.simulator.state()["reports"]) == len(PRODUCTS) + 1


def states_of(local_stack: LocalStack, execution_name: str) -> list[str]:
    """Return the states that a run entered, in order."""
    return [
        event["stateEnteredEventDetails"]["name"]
        for event in local_stack.histories()[execution_name]
        if "stateEnteredEventDetails" in event
    ]


def change_tags(local_stack: LocalStack, _tmp_path: Path) -> None:
    """Update the stack with one more tag, as `sam deploy --tags` does."""
    cloudformation = local_stack.emulator.client("cloudformation")
    (stack,) = cloudformation.describe_stacks(StackName=local_stack.stack.name)["Stacks"]
    cloudformation.update_stack(
        StackName=local_stack.stack.name,
        UsePreviousTemplate=True,
        Parameters=[
            {"ParameterKey": each["ParameterKey"], "UsePreviousValue": True}
            for each in stack["Parameters"]
        ],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        Tags=[{"Key": "team", "Value": "billing"}],
    )
    cloudformation.get_waiter("stack_update_complete").wait(
        StackName=local_stack.stack.name, WaiterConfig={"Delay": 1}
    )


def change_description(local_stack: LocalStack, tmp_path: Path, *, more: str = "") -> None:
    """Deploy another description of the parameter, and `more` resources."""
    tree = copy_of_the_tree(tmp_path)
    template = tree / "template.yaml"
    text = template.read_text().replace("as a JSON list.", f"as a JSON list, {tmp_path.name}.")
    template.write_text(text.replace("\nResources:\n", f"\nResources:\n{more}"))
    deploy(
        local_stack.emulator,
        tmp_path,
        vonage_base_url=local_stack.simulator.url,
        wait_scale=WAIT_SCALE,
        root=tree,
    )


IN_THE_WAY = """
  Refused:
    Type: AWS::SSM::Parameter
    DependsOn: DefinitionsParameter
    Properties: { Name: /in-the-way, Type: String, Value: new }
"""


def roll_back(local_stack: LocalStack, tmp_path: Path) -> None:
    """Fail a deployment that has changed the parameter already."""
    ssm = local_stack.emulator.client("ssm")
    ssm.put_parameter(Name="/in-the-way", Value="old", Type="String", Overwrite=True)
    with pytest.raises(DeploymentFailed, match="UPDATE_ROLLBACK_COMPLETE"):
        change_description(local_stack, tmp_path, more=IN_THE_WAY)


@pytest.mark.parametrize("update", [change_tags, change_description, roll_back])
def test_deployment_that_writes_the_parameter_keeps_the_definitions(
    update: Callable[[LocalStack, Path], None],
    local_stack: LocalStack,
    next_version: NextVersion,
    tmp_path: Path,
) -> None:
    assert next_version.failures
    ssm = local_stack.emulator.client("ssm")
    name = local_stack.stack.outputs["DefinitionsParameterName"]
    of_template = ssm.get_parameter(Name=f"{name}-of-template")["Parameter"]["Value"]
    ssm.put_parameter(Name=name, Value="[]", Overwrite=True)
    objects = local_stack.objects(DEFINITIONS_KEY)

    update(local_stack, tmp_path)

    # Like CloudFormation, the emulator wrote the template's value.
    assert ssm.get_parameter(Name=name)["Parameter"]["Value"] == of_template
    assert local_stack.objects(DEFINITIONS_KEY) == objects
    # The template's definitions would be planned, and the operator's would be missed.
    answer = local_stack.scheduled()
    assert (answer["planned"], answer["refused"]) == ([], [])


def test_removed_stack_is_recreated_over_its_retained_data(
    local_stack: LocalStack, second_stack: LocalStack, tmp_path: Path
) -> None:
    left, definitions = second_stack.stack.outputs, second_stack.stack.definitions()
    objects = second_stack.objects("")
    assert objects
    cloudformation = local_stack.emulator.client("cloudformation")
    cloudformation.delete_stack(StackName=SECOND)
    cloudformation.get_waiter("stack_delete_complete").wait(
        StackName=SECOND, WaiterConfig={"Delay": 1}
    )
    (kept,) = re.findall(
        r"cat > kept\.json <<'END'\n(.*?)\nEND\n",
        (ROOT / "docs" / "deploy.md").read_text(),
        re.DOTALL,
    )
    cloudformation.create_change_set(
        StackName=SECOND,
        ChangeSetName="kept",
        ChangeSetType="IMPORT",
        TemplateBody=kept,
        ResourcesToImport=[
            {
                "ResourceType": kind,
                "LogicalResourceId": logical_id,
                "ResourceIdentifier": {output: left[output]},
            }
            for logical_id, (kind, output) in IMPORTED.items()
        ],
    )
    cloudformation.execute_change_set(StackName=SECOND, ChangeSetName="kept")
    cloudformation.get_waiter("stack_import_complete").wait(
        StackName=SECOND, WaiterConfig={"Delay": 1}
    )
    again = deploy(
        local_stack.emulator,
        tmp_path,
        vonage_base_url=second_stack.simulator.url,
        wait_scale=WAIT_SCALE,
        name=SECOND,
    )

    assert [again.outputs[name] for _, name in IMPORTED.values()] == [
        left[name] for _, name in IMPORTED.values()
    ]
    again.set_credentials(second_stack.simulator.api_key, second_stack.simulator.api_secret)
    again.set_definitions(definitions)
    assert again.submit(SCHEDULED)["planned"] == []
    assert second_stack.objects("") == objects
