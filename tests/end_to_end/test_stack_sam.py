"""The real `sam build` and `sam deploy`, against the emulator."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from local.stack.emulator import ROOT, Emulator
from local.stack.environment import child_environment
from local.stack.package import FUNCTION
from local.stack.template import read_template
from tests.support.layers import called_services, locked_sdk

pytestmark = pytest.mark.slow

SAM = ROOT / ".venv-sam" / "bin" / "sam"
STACK_NAME = "vonage-usage-reports-local"
NAMED_QUERY = "AWS::Athena::NamedQuery"

# Lambda refuses a function that is larger than 250 MB together with its layers.
UNZIPPED_LIMIT = 230 * 2**20

# Python's flag for bytecode that is valid whatever the date and the hash of its source.
UNCHECKED_HASH = 0b01

# Uses the SDK of a layer alone. The arguments are the layer's folder and the services.
USE_SDK = """
import importlib.util, json, sys

sys.path.insert(0, sys.argv[1])
import boto3, botocore, s3transfer

clients = {name: boto3.client(name, region_name="eu-west-1") for name in sys.argv[2:]}
table = boto3.resource("dynamodb", region_name="eu-west-1").Table("ledger")
put = clients["s3"].meta.service_model.operation_model("PutObject")
china = boto3.client("s3", region_name="cn-north-1")
print(json.dumps({
    "versions": {each.__name__: each.__version__ for each in (boto3, botocore, s3transfer)},
    "files": [each.__file__ for each in (boto3, botocore, s3transfer)],
    "services": sorted(clients),
    "put_object": sorted(put.input_shape.members),
    "china": china.meta.endpoint_url,
    "magic": importlib.util.MAGIC_NUMBER.hex(),
}))
"""


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


def check_sizes(built: Path) -> None:
    template = read_template(built / "template.yaml")
    shared = template["Globals"]["Function"]["Layers"]
    for name, resource in template["Resources"].items():
        if resource["Type"] == FUNCTION:
            layers = [each["Ref"] for each in [*shared, *resource["Properties"].get("Layers", [])]]
            files = (path for part in (name, *layers) for path in (built / part).rglob("*"))
            size = sum(path.stat().st_size for path in files if path.is_file())
            print(f"{name} and {', '.join(layers)}: {size / 2**20:.1f} MB unzipped")
            assert 2**20 < size < UNZIPPED_LIMIT


def check_sdk(layer: Path, python: Path) -> str:
    """Check the SDK in the layer. Return the first bytes of bytecode that Lambda's Python takes."""
    command = [str(python), "-I", "-S", "-c", USE_SDK, str(layer), *called_services()]
    used = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert used["versions"] == locked_sdk()
    assert all(file.startswith(f"{layer}/") for file in used["files"])
    assert set(used["services"]) == called_services()
    assert "IfMatch" in used["put_object"]
    assert used["china"] == "https://s3.cn-north-1.amazonaws.com.cn"
    return str(used["magic"])


def check_bytecode(folder: Path, magic: str, *, at_least: int) -> None:
    """Lambda's Python must accept each module's bytecode, or would compile it at a cold start."""
    modules = list(folder.rglob("*.py"))
    assert len(modules) >= at_least
    for module in modules:
        bytecode = module.parent / "__pycache__" / f"{module.stem}.cpython-313.pyc"
        header = bytecode.read_bytes()[:8]
        assert header[:4].hex() == magic
        assert int.from_bytes(header[4:], "little") == UNCHECKED_HASH, module


NEEDS_PYTHON = pytest.mark.skipif(
    python313() is None,
    reason="python3.13 is neither on PATH nor under pyenv, and sam build needs it",
)


# `make test` installs the SAM CLI before. A run of pytest alone may come without it.
@pytest.mark.skipif(not SAM.exists(), reason="the SAM CLI is not installed: run make sam")
@NEEDS_PYTHON
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
    check_sizes(built)
    magic = check_sdk(built / "SharedLayer" / "python", python)
    check_bytecode(built / "SharedLayer", magic, at_least=500)
    function = built / "SubmitReportsFunction"
    assert {"app.py", "pydantic", "pydantic_core"} <= {each.name for each in function.iterdir()}
    check_bytecode(function, magic, at_least=100)

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
        # A layer version's name ends in the digest of its content. The stack has no email address,
        # no cap and no callback.
        absent = {"AlarmEmailSubscription", "ProblemEmailSubscription", "SpendCappedAlarm"}
        of_callback = {
            name
            for name, each in template["Resources"].items()
            if each.get("Condition") == "HasCallback"
        }
        assert of_callback.isdisjoint(deployed)
        others = {"SharedLayer", "DatasetLayer", *absent}
        assert set(template["Resources"]) - others - of_callback <= deployed
        outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
        # Without a price, the stack has no output of it.
        assert outputs.keys() == template["Outputs"].keys() - {"PricePerRecord"}
        configuration = emulator.client("lambda").get_function_configuration(
            FunctionName=outputs["SubmitReportsFunctionName"]
        )
        assert configuration["Runtime"] == "python3.13"
        machine = emulator.client("stepfunctions").describe_state_machine(
            stateMachineArn=outputs["StateMachineArn"]
        )
        assert "${" not in json.dumps(machine["definition"])


@NEEDS_PYTHON
def test_shared_layer_is_built_for_arm64_on_any_machine(tmp_path: Path) -> None:
    python = python313()
    assert python is not None
    source, artifacts = tmp_path / "shared", tmp_path / "artifacts"
    shutil.copytree(ROOT / "layers" / "shared", source)
    subprocess.run(
        ["make", "--silent", "--makefile", "build/arm64/Makefile", "build-SharedLayer"],
        cwd=source,
        env={
            **os.environ,
            "ARTIFACTS_DIR": str(artifacts),
            "PATH": f"{python.parent}:{os.environ['PATH']}",
        },
        check=True,
        timeout=300,
    )
    libraries = list(artifacts.rglob("*.so"))
    assert libraries
    assert [each for each in libraries if "-aarch64-" not in each.name] == []
