"""Deployments: two stacks side by side, and a new version with a report in flight."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local.simulator.process import Simulator
from local.stack.deployment import DeploymentFailed, deploy
from local.stack.emulator import ROOT
from tests.end_to_end.conftest import WAIT_SCALE, LocalStack, copy_of_the_tree
from vonage_reports.domain.objects import DEFINITIONS_KEY
from vonage_reports.domain.report import State

if TYPE_CHECKING:
    from local.stack.deployment import Stack

pytestmark = pytest.mark.slow

SECOND = "vonage-usage-reports-second"
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

    It is as Lake Formation leaves it: without a catalogue.
    """
    folder = tmp_path_factory.mktemp("second")
    with Simulator(api_key="wxyz9876", seconds_per_report=0.5, rows_per_day=50) as simulator:
        stack = deploy(
            local_stack.emulator,
            folder,
            vonage_base_url=simulator.url,
            wait_scale=WAIT_SCALE,
            name=SECOND,
            settings={"Catalogue": "off"},
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
    assert set(first.values()) - set(second.values()) == {"UsageDatabase"}
    assert set(second.values()) <= set(first.values())
    assert {key: name for key, name in first.items() if key in second} == {}
    of_first, of_second = (
        {value for name, value in each.stack.outputs.items() if name != "Version"}
        for each in (local_stack, second_stack)
    )
    assert of_first.isdisjoint(of_second)


@pytest.fixture(scope="module")
def in_flight(local_stack: LocalStack) -> str:
    """Submit a report that Vonage generates until its clock is advanced."""
    local_stack.stack.set_definitions(json.dumps([{"name": "mine", "product": "VOICE-CALL"}]))
    local_stack.simulator.settings(seconds_per_report=3600)
    [report_id] = local_stack.scheduled()["planned"]
    return str(report_id)


def test_second_stack_delivers_beside_the_first(
    local_stack: LocalStack, in_flight: str, second_stack: LocalStack
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
    assert local_stack.states() == {in_flight: State.SUBMITTED}
    assert local_stack.undelivered() == second_stack.undelivered() == []


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


def test_deployment_in_flight_loses_nothing(
    local_stack: LocalStack, in_flight: str, tmp_path: Path
) -> None:
    before = local_stack.stack
    set_by_the_operator = before.definitions()
    tree = copy_of_the_tree(tmp_path)
    template, workflow = tree / "template.yaml", tree / "functions/report_workflow.asl.yaml"
    template.write_text(template.read_text().replace("MemorySize: 256", "MemorySize: 320"))
    workflow.write_text(workflow.read_text().replace("Where To Begin?", "Where To Start?"))
    after = deploy(
        local_stack.emulator,
        tmp_path,
        vonage_base_url=local_stack.simulator.url,
        wait_scale=WAIT_SCALE,
        root=tree,
    )

    assert changed_values(after, local_stack) == {"memory": 320, "start": "Where To Start?"}
    assert after.outputs == before.outputs
    assert after.definitions() == set_by_the_operator
    assert local_stack.states() == {in_flight: State.SUBMITTED}
    local_stack.simulator.advance(3600)
    (report,) = local_stack.until_finished([in_flight]).values()
    assert (report.state, report.attempt, report.run) == (State.DELIVERED, 1, 1)
    assert [body["report_id"] for _, body in local_stack.notifications()] == [in_flight]
    assert len(local_stack.simulator.state()["reports"]) == 1
    # A run keeps its version of the workflow; the next run has the new version.
    assert "Where To Begin?" in states_of(local_stack, report.execution_name)
    local_stack.stack.submit({"reconvert": {"report_id": in_flight}})
    local_stack.until(lambda: not local_stack.ledger.open_reports(), "the conversion")
    again = local_stack.ledger.finished_report(in_flight)
    assert again is not None
    assert "Where To Start?" in states_of(local_stack, again.execution_name)


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
    in_flight: str,
    tmp_path: Path,
) -> None:
    local_stack.until(lambda: in_flight not in local_stack.states(), "the end of the report")
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
