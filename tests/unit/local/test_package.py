import io
import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml

from local.stack.emulator import ROOT
from local.stack.environment import child_environment
from local.stack.package import (
    CALLBACK_SECONDS,
    CODE_PROPERTY,
    FUNCTION,
    NAMED_QUERY,
    Package,
)
from local.stack.template import read_template


@pytest.fixture(scope="module")
def package() -> Package:
    return Package(ROOT, bucket="artifacts", environment={"WAIT_SCALE": "0.01", "ODD": "a 'b'"})


def test_short_tags_become_long_forms(tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(
        "[!Ref A, !GetAtt A.B.C, !Sub 'x${A}', !If [C, 1, !Ref 'AWS::NoValue'], !Condition D]"
    )
    assert read_template(template) == [  # type: ignore[comparison-overlap]  # JSON
        {"Ref": "A"},
        {"Fn::GetAtt": ["A", "B.C"]},
        {"Fn::Sub": "x${A}"},
        {"Fn::If": ["C", 1, {"Ref": "AWS::NoValue"}]},
        {"Condition": "D"},
    ]


def test_only_code_and_runtime_differ_from_the_template(package: Package) -> None:
    original = read_template(ROOT / "template.yaml")
    # The emulator does not support named queries, and the stack runs without them.
    original["Resources"] = {
        name: resource
        for name, resource in original["Resources"].items()
        if resource["Type"] != NAMED_QUERY
    }
    for name, resource in original["Resources"].items():
        if resource["Type"] in CODE_PROPERTY:
            adapted = package.template["Resources"][name]["Properties"]
            for changed in ("Runtime", CODE_PROPERTY[resource["Type"]]):
                adapted.pop(changed, None)
                resource["Properties"].pop(changed, None)
    assert package.template == original


def artifact(package: Package, name: str) -> bytes:
    """Return the only artifact of a resource, whose key starts with the resource's name."""
    (content,) = (each for key, each in package.artifacts.items() if key.startswith(f"{name}-"))
    return content


def test_every_function_has_an_executable_bootstrap() -> None:
    package = Package(ROOT, bucket="artifacts", environment={})
    functions = [
        name for name, each in package.template["Resources"].items() if each["Type"] == FUNCTION
    ]
    assert functions
    for name in functions:
        with zipfile.ZipFile(io.BytesIO(artifact(package, name))) as archive:
            assert archive.getinfo("bootstrap").external_attr >> 16 & 0o111
            assert "app.py" in archive.namelist()


def test_bootstrap_exports_the_environment_and_the_layers(package: Package, tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(artifact(package, "CheckReportFunction"))) as archive:
        script = archive.read("bootstrap").decode()
    shown = tmp_path / "bootstrap"
    shown.write_text(script.replace("exec ", "env # "))
    printed = subprocess.run(
        ["sh", shown],
        env={"PATH": os.environ["PATH"], "LOG_LEVEL": "WARNING"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert "WAIT_SCALE=0.01" in printed
    assert "ODD=a 'b'" in printed
    assert f"PYTHONPATH={ROOT}/layers/shared:{ROOT}/layers/dataset" in printed
    assert not any(line.startswith("LOG_LEVEL") for line in printed)


def test_equal_code_gives_equal_bytes(package: Package) -> None:
    again = Package(ROOT, bucket="artifacts", environment={"WAIT_SCALE": "0.01", "ODD": "a 'b'"})
    assert again.artifacts == package.artifacts


def test_workflow_keeps_its_states_and_message_attributes(package: Package) -> None:
    definition = json.loads(artifact(package, "ReportWorkflow"))
    announce = definition["States"]["Announce Report"]["Arguments"]
    assert definition["StartAt"] in definition["States"]
    assert announce["MessageAttributes.entry.1.Name"] == "event"
    assert announce["MessageAttributes.entry.1.Value.DataType"] == "String"


def test_copy_of_the_workflow_differs_in_two_places(package: Package) -> None:
    copy = json.loads(artifact(package, "ReportWorkflow"))
    original = yaml.safe_load((ROOT / "functions/report_workflow.asl.yaml").read_text())
    # Of the wait for a callback, only the time-out: the emulator takes a number there.
    waits = [each["States"]["Wait For Callback"] for each in (copy, original)]
    assert [wait.pop("TimeoutSeconds") for wait in waits] == [
        CALLBACK_SECONDS,
        "{% $wait_seconds %}",
    ]
    assert waits[0] == waits[1]
    for definition in (copy, original):
        arguments = definition["States"]["Announce Report"]["Arguments"]
        for name in [each for each in arguments if each.startswith("MessageAttributes")]:
            del arguments[name]
    assert copy == original


def test_child_process_gets_no_real_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREAL")
    monkeypatch.setenv("VONAGE_API_SECRET", "real")
    monkeypatch.setenv("NO_PROXY", "intranet")
    environment = child_environment({"MORE": "1"})
    assert "AWS_PROFILE" not in environment
    assert "VONAGE_API_SECRET" not in environment
    assert environment["AWS_ACCESS_KEY_ID"] == "test"
    assert environment["NO_PROXY"] == "127.0.0.1,localhost,intranet"
    assert environment["MORE"] == "1"
