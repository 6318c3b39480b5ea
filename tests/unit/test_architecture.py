"""Imports follow the architecture: functions -> steps -> aws -> vonage, archive -> domain."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.support.paths import ROOT

LAYER = ROOT / "layers" / "shared"
DATASET_LAYER = ROOT / "layers" / "dataset"
PACKAGE = LAYER / "vonage_reports"
PROGRAM = sorted((ROOT / "cli").rglob("*.py"))
FUNCTIONS = sorted((ROOT / "functions").glob("*/app.py"))
MODULES = sorted(PACKAGE.rglob("*.py"))
OURS = "vonage_reports"


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, at any depth; `from a import b` yields both."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            module = node.module or ""
            yield module
            yield from (
                f"{module}.{alias.name}" for alias in node.names if is_module(module, alias.name)
            )


def is_module(module: str, name: str) -> bool:
    place = LAYER.joinpath(*module.split("."))
    return (place / f"{name}.py").exists() or (place / name).is_dir()


def package_imports(path: Path) -> set[str]:
    return {each for each in imports(path) if each.split(".")[0] == OURS and each != OURS}


def foreign_imports(path: Path) -> set[str]:
    tops = {each.split(".")[0] for each in imports(path)}
    # `_typeshed` has types of the standard library, for type checkers only.
    return tops - {OURS, "_typeshed"} - sys.stdlib_module_names


def within(*packages: str) -> tuple[str, ...]:
    return tuple(f"{OURS}.{package}" for package in packages)


def outside(names: set[str], allowed: tuple[str, ...]) -> set[str]:
    return {
        name
        for name in names
        if not any(name == each or name.startswith(f"{each}.") for each in allowed)
    }


every_module = pytest.mark.parametrize("path", MODULES, ids=label)
every_function = pytest.mark.parametrize("path", FUNCTIONS, ids=label)

# Each package may import itself and the packages below it, which are named here.
BELOW = {
    "": ("aws", "vonage", "archive", "domain"),
    "submit_reports": ("aws", "vonage", "domain"),
    "aws": ("vonage", "archive", "domain"),
    "vonage": ("domain",),
    "archive": ("domain",),
    "domain": (),
}
LIBRARIES = {
    "": {"aws_lambda_powertools", "boto3"},
    "submit_reports": {"aws_lambda_powertools", "botocore", "pydantic"},
    "aws": {"aws_lambda_powertools", "boto3", "botocore", "isal", "mypy_boto3"},
    "vonage": {"requests", "urllib3"},
    "archive": set(),
    "domain": set(),
}


def package_of(path: Path) -> str:
    folder = path.parent.relative_to(PACKAGE)
    return "" if folder == Path() else str(folder)


def test_every_function_and_package_is_checked() -> None:
    assert {path.parent.name for path in FUNCTIONS} == {
        "submit_reports",
        "check_report",
        "store_report",
        "convert_report",
        "receive_callback",
    }
    assert {package_of(path) for path in MODULES} == set(BELOW)


@every_module
def test_imports_run_downwards(path: Path) -> None:
    package = package_of(path)
    allowed = within(*BELOW[package], *([package] if package else []))

    assert outside(package_imports(path), allowed) == set()


@every_module
def test_each_package_uses_only_its_own_libraries(path: Path) -> None:
    foreign = {re.sub("^mypy_boto3_.*", "mypy_boto3", each) for each in foreign_imports(path)}

    assert foreign <= LIBRARIES[package_of(path)]


def test_imports_have_no_cycle() -> None:
    graph = {module_name(path): package_imports(path) for path in MODULES}
    order = TopologicalSorter(graph)

    order.prepare()  # raises CycleError, which names the cycle


def module_name(path: Path) -> str:
    parts = path.relative_to(LAYER).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@every_module
def test_package_imports_no_function_and_no_local_stack(path: Path) -> None:
    assert not {"app", "functions", "local", "tests", "vonage_reports_cli"} & {
        each.split(".")[0] for each in imports(path)
    }


@every_function
def test_functions_do_not_import_each_other(path: Path) -> None:
    assert not {"app", "functions", "local", "tests", "vonage_reports_cli"} & {
        each.split(".")[0] for each in imports(path)
    }


DEPENDENCIES = {
    re.split("[<>=]", each)[0]
    for each in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
}
THE_PROGRAMS_LIBRARIES = {
    module
    for module, distributions in packages_distributions().items()
    if DEPENDENCIES & {each.lower() for each in distributions}
} | {
    "botocore",  # of boto3
    "mypy_boto3",  # for type checkers only
}


@pytest.mark.parametrize("path", PROGRAM, ids=label)
def test_program_imports_the_layers_and_its_libraries(path: Path) -> None:
    foreign = {re.sub("^mypy_boto3_.*", "mypy_boto3", each) for each in foreign_imports(path)}

    assert foreign <= {*THE_PROGRAMS_LIBRARIES, "vonage_dataset", "vonage_reports_cli"}


def test_dataset_layer_imports_no_program() -> None:
    for path in DATASET_LAYER.rglob("*.py"):
        assert "vonage_reports_cli" not in {each.split(".")[0] for each in imports(path)}


def test_only_submit_reports_loads_its_package() -> None:
    importers = [
        label(path)
        for path in (*FUNCTIONS, *MODULES)
        if any(each.startswith(f"{OURS}.submit_reports") for each in package_imports(path))
        and package_of_any(path) != "submit_reports"
    ]

    assert importers == ["functions/submit_reports/app.py"]


def package_of_any(path: Path) -> str:
    return package_of(path) if path.is_relative_to(PACKAGE) else ""


def test_only_convert_report_imports_the_dataset() -> None:
    importers = [
        label(path)
        for path in (*FUNCTIONS, *MODULES)
        if "vonage_dataset" in {each.split(".")[0] for each in imports(path)}
    ]

    assert importers == ["functions/convert_report/app.py"]


@pytest.mark.parametrize("path", [*FUNCTIONS, *MODULES], ids=label)
def test_every_module_has_a_docstring(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", [*FUNCTIONS, *MODULES], ids=label)
def test_required_environment_variables_have_no_default(path: Path) -> None:
    # os.environ["NAME"] names the missing variable; a default would hide the mistake.
    for node in ast.walk(ast.parse(path.read_text())):
        name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)
        assert name != "getenv"
        if isinstance(node, ast.Attribute) and node.attr in ("get", "setdefault", "pop"):
            assert ast.unparse(node.value) != "os.environ"


@every_function
def test_environment_is_read_inside_the_handler(path: Path) -> None:
    module = ast.parse(path.read_text())
    at_import = [node for node in module.body if not isinstance(node, ast.FunctionDef)]

    assert "os.environ" not in "\n".join(ast.unparse(node) for node in at_import)


def modules_after_import(path: Path) -> set[str]:
    """Return the names in sys.modules after a cold start of a function."""
    code = "import sys, app; print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            "PYTHONPATH": f"{path.parent}:{LAYER}:{DATASET_LAYER}",
            "AWS_DEFAULT_REGION": "eu-west-1",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    return {
        name: modules_after_import(ROOT / "functions" / name / "app.py")
        for name in sorted({path.parent.name for path in FUNCTIONS})
    }


@pytest.mark.parametrize(
    "function", ["check_report", "store_report", "convert_report", "receive_callback"]
)
@pytest.mark.parametrize("module", ["pydantic", "aws_xray_sdk", "moto", f"{OURS}.submit_reports"])
def test_cold_start_loads_no_unused_module(
    loaded: dict[str, set[str]], function: str, module: str
) -> None:
    assert module not in loaded[function]


@pytest.mark.parametrize(
    "function", ["check_report", "store_report", "submit_reports", "receive_callback"]
)
@pytest.mark.parametrize("module", ["pyarrow", "vonage_dataset"])
def test_only_convert_report_loads_the_dataset_libraries(
    loaded: dict[str, set[str]], function: str, module: str
) -> None:
    assert module in loaded["convert_report"]
    assert module not in loaded[function]


@pytest.mark.parametrize("function", ["convert_report", "receive_callback"])
def test_functions_start_without_the_unused_vonage_client(
    loaded: dict[str, set[str]], function: str
) -> None:
    assert not {f"{OURS}.vonage.client", "requests"} & loaded[function]


def test_receive_callback_loads_neither_ledger_nor_bucket_nor_secret(
    loaded: dict[str, set[str]],
) -> None:
    assert {each for each in loaded["receive_callback"] if each.startswith(f"{OURS}.")} == {
        *(f"{OURS}.aws", f"{OURS}.aws.waiting_runs", f"{OURS}.domain", f"{OURS}.domain.callbacks")
    }


@pytest.mark.parametrize(
    "module",
    ["isal", f"{OURS}.aws.multipart_upload", f"{OURS}.aws.ledger", f"{OURS}.archive.zip_proof"],
)
def test_check_report_starts_without_the_upload_modules(
    loaded: dict[str, set[str]], module: str
) -> None:
    assert module not in loaded["check_report"]


def test_store_report_inflates_with_isal(loaded: dict[str, set[str]]) -> None:
    assert "isal" in loaded["store_report"]


@pytest.mark.parametrize("path", [*FUNCTIONS, *MODULES], ids=label)
def test_only_the_transition_table_writes_a_state(path: Path) -> None:
    if path.name == "lifecycle.py":
        return
    writes = [
        keyword
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("replace", "Report")
        for keyword in node.keywords
        if keyword.arg == "state"
    ]

    assert writes == []
