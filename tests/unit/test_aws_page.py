"""docs/aws.md names each behaviour of AWS that functions, workflow and template use."""

import ast
import re
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
import yaml
from botocore import xform_name
from botocore.model import ListShape, OperationModel, StructureShape

from tests.support.expanded import expanded_resources
from tests.support.paths import ROOT
from vonage_reports.domain import errors

PAGE = (ROOT / "docs" / "aws.md").read_text()
ROWS = [
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| behaviour |")
]
NAMED = {name for behaviour, *_ in ROWS for name in re.findall(r"`([^`]+)`", behaviour)}
WAYS = ("real", "emulator", "moto", "own", "template", "reading", "DuckDB", "botocore", "`doctor`")

MODULES = [
    ast.parse(path.read_text())
    for folder in ("functions", "layers")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
WORKFLOW: dict[str, Any] = yaml.safe_load(
    (ROOT / "functions" / "report_workflow.asl.yaml").read_text()
)

# These parameters name a resource or have its content, and rely on no behaviour.
OBVIOUS = {
    *("Bucket", "Key", "Body", "ContentType", "CopySource", "UploadId"),
    *("TableName", "Item", "SecretId", "Name", "DatabaseName", "TopicArn"),
    *("name", "input", "stateMachineArn", "executionArn"),
}


def calls() -> Iterator[ast.Call]:
    for module in MODULES:
        for node in ast.walk(module):
            if isinstance(node, ast.Call):
                yield node


def operations() -> dict[str, OperationModel]:
    """Return the operations of the services that the code has clients of, by boto3's method."""
    session = botocore.session.get_session()
    services = {
        call.args[0].value
        for call in calls()
        if ast.unparse(call.func) in ("boto3.client", "boto3.resource")
        and isinstance(call.args[0], ast.Constant)
    }
    assert len(services) > 5
    models = [session.get_service_model(str(service)) for service in services]
    return {
        xform_name(name): model.operation_model(name)
        for model in models
        for name in model.operation_names
    }


OPERATIONS = operations()
CALLED = {
    call.func.attr
    for call in calls()
    if isinstance(call.func, ast.Attribute) and call.func.attr in OPERATIONS
}


def parameters() -> set[str]:
    """Return the parameters of the called operations that the code gives."""
    known = {
        name
        for method in CALLED
        if (shape := OPERATIONS[method].input_shape) is not None
        for name in shape.members
    }
    written = {
        name.value
        for module in MODULES
        for node in ast.walk(module)
        if isinstance(node, ast.Dict)
        for name in node.keys
        if isinstance(name, ast.Constant)
    }
    given = {keyword.arg for call in calls() for keyword in call.keywords}
    return {str(name) for name in (written | given) & known} - OBVIOUS


def parts_of_transactions() -> set[str]:
    """Return the parts of transactions, with their parameters and the verbs of their updates."""
    known = set()
    for method in CALLED & {"transact_write_items", "transact_get_items"}:
        given = OPERATIONS[method].input_shape
        assert given is not None
        listed = given.members["TransactItems"]
        assert isinstance(listed, ListShape)
        assert isinstance(listed.member, StructureShape)
        for kind, shape in listed.member.members.items():
            assert isinstance(shape, StructureShape)
            known |= {kind, *shape.members}
    written = {
        (name.value, each.value if isinstance(each, ast.Constant) else None)
        for module in MODULES
        for node in ast.walk(module)
        if isinstance(node, ast.Dict)
        for name, each in zip(node.keys, node.values, strict=True)
        if isinstance(name, ast.Constant)
    }
    verbs = {
        verb
        for name, each in written
        if name == "UpdateExpression"
        for verb in re.findall(r"\b[A-Z]+\b", str(each))
    }
    return ({str(name) for name, _ in written} & known) | verbs


def words_of(value: Any) -> Iterator[str]:
    """Yield the names of fields and of errors in a part of the workflow."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from each if name == "ErrorEquals" else words_of(each)
    elif isinstance(value, list):
        for each in value:
            yield from words_of(each)


def test_page_names_every_operation_that_the_functions_call() -> None:
    assert len(CALLED) > 20
    assert {OPERATIONS[method].name for method in CALLED} - NAMED == set()


def test_page_names_no_operation_that_no_function_calls() -> None:
    known = {model.name for model in OPERATIONS.values()}
    assert NAMED & known - {OPERATIONS[method].name for method in CALLED} == set()


def test_page_names_every_parameter_with_a_behaviour() -> None:
    assert {"IfMatch", "IfNoneMatch", "ConsistentRead", "ChecksumCRC32"} <= parameters()
    assert parameters() - NAMED == set()


def test_page_names_every_part_of_a_transaction() -> None:
    parts = parts_of_transactions() - OBVIOUS
    assert {"Update", "UpdateExpression", "ADD", "ConditionExpression"} <= parts
    assert parts - NAMED == set()


def test_page_names_exactly_the_resource_types_of_the_template() -> None:
    types = {each["Type"] for each in expanded_resources().values()}
    assert types == {name for name in NAMED if name.startswith("AWS::")}


def test_page_names_everything_that_the_workflow_uses() -> None:
    states = WORKFLOW["States"].values()
    retriers = [word for state in states for word in words_of(state.get("Retry", []))]
    services = ("Lambda.", "States.", "Sandbox.", "Runtime.")
    used = {
        *(state["Type"] for state in states),
        *(word for word in retriers if word.startswith(services) or word[0].isupper()),
        *re.findall(r"\$states\.\w+", str(WORKFLOW)),
        *(state["Resource"].partition(":states:::")[2] for state in states if "Resource" in state),
        WORKFLOW["QueryLanguage"],
        "TimeoutSeconds",
    }
    assert len(used) > 25
    # The errors of our own code are no behaviour of AWS.
    assert (
        used - {name for name in vars(errors) if name[0].isupper()} - {"Comment"} - NAMED == set()
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_row_has_a_page_of_aws_and_a_way_of_testing(row: list[str]) -> None:
    _, page, tested = row
    assert re.match(r"\[[^]]+\]\(https://docs\.aws\.amazon\.com/[\w./#-]+\)", page)
    assert any(way in tested for way in WAYS)
