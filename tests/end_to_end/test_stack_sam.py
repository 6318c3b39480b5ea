"""The real `sam build` and `sam deploy`, against the emulator."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from local.stack.emulator import ROOT, Emulator
from local.stack.environment import child_environment
from local.stack.template import read_template

pytestmark = pytest.mark.slow

SAM = ROOT / ".venv-sam" / "bin" / "sam"
STACK_NAME = "vonage-usage-reports-local"
NAMED_QUERY = "AWS::Athena::NamedQuery"


def python313() -> Path | None:
    """Return a python3.13 that runs. A shim of pyenv may be on PATH and fail."""
    on_path = shutil.which("python3.13")
    installed = (Path.home() / ".pyenv" / "versions").glob("3.13*/bin/python3.13")
    for candidate in [*([Path(on_path)] if on_path else []), *installed]:
        if subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def sam(tree: Path, python: Path, *arguments: str, **variables: str) -> str:
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    environment = child_environment({**pip, "SAM_CLI_TELEMETRY": "0", **variables})
    environment["PATH"] = f"{python.parent}:{environment['PATH']}"
    result = subprocess.run(
        [SAM, *arguments, "--config-env", "local"],
        cwd=tree,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


@pytest.mark.skipif(not SAM.exists(), reason="the SAM CLI is not installed: run make sam")
@pytest.mark.skipif(
    python313() is None,
    reason="python3.13 is neither on PATH nor under pyenv, and sam build needs it",
)
def test_sam_builds_and_deploys_the_template_twice(tmp_path: Path) -> None:
    python = python313()
    assert python is not None
    tree = tmp_path / "tree"
    for name in ("functions", "layers"):
        shutil.copytree(ROOT / name, tree / name)
    for name in ("template.yaml", "samconfig.toml"):
        shutil.copy(ROOT / name, tree)
    sam(tree, python, "build")
    built = tree / ".aws-sam" / "build"
    assert (built / "SharedLayer" / "python" / "vonage_reports" / "vonage" / "client.py").exists()
    assert (built / "SharedLayer" / "python" / "requests").is_dir()
    assert (built / "DatasetLayer" / "python" / "vonage_dataset" / "convert_report.py").exists()
    assert (built / "DatasetLayer" / "python" / "pyarrow").is_dir()
    # Lambda limits a function together with its layers.
    parts = ("ConvertReportFunction", "SharedLayer", "DatasetLayer")
    files = (path for part in parts for path in (built / part).rglob("*") if path.is_file())
    assert sum(path.stat().st_size for path in files) < 250 * 2**20

    # The emulator has no named queries; cfn-lint checks them.
    template = read_template(built / "template.yaml")
    resources = template["Resources"]
    for name in [name for name in resources if resources[name]["Type"] == NAMED_QUERY]:
        del resources[name]
    (built / "template.yaml").write_text(json.dumps(template))

    with Emulator(tmp_path / "emulator") as emulator:
        endpoint = {"AWS_ENDPOINT_URL": emulator.url, "AWS_CA_BUNDLE": str(emulator.ca_bundle)}
        sam(tree, python, "deploy", **endpoint)
        sam(tree, python, "deploy", **endpoint)
        cloudformation = emulator.client("cloudformation")
        stack = cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
        assert stack["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE")
        described = cloudformation.describe_stack_resources(StackName=STACK_NAME)
        deployed = {each["LogicalResourceId"] for each in described["StackResources"]}
        # A layer version's name ends in the digest of its content. The stack has no email address.
        emails = {"AlarmEmailSubscription", "ProblemEmailSubscription"}
        others = {"SharedLayer", "DatasetLayer", *emails}
        assert set(template["Resources"]) - others <= deployed
        outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
        always = {name for name, each in template["Outputs"].items() if "Condition" not in each}
        assert outputs.keys() == always
        function = emulator.client("lambda").get_function_configuration(
            FunctionName=outputs["SubmitReportsFunctionName"]
        )
        assert function["Runtime"] == "python3.13"
        machine = emulator.client("stepfunctions").describe_state_machine(
            stateMachineArn=outputs["StateMachineArn"]
        )
        assert "${" not in json.dumps(machine["definition"])
