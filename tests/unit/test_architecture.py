"""The import block is the architecture: functions -> aws -> client -> domain -> nothing of ours."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layers" / "shared"
DATASET_LAYER = ROOT / "layers" / "dataset"
PACKAGE = LAYER / "vonage_reports"
FUNCTIONS = sorted((ROOT / "functions").glob("*/app.py"))
MODULES = sorted(PACKAGE.rglob("*.py"))
OURS = "vonage_reports"
AWS = {"boto3", "botocore", "aws_lambda_powertools", "moto", "s3transfer", "mypy_boto3_s3"}


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it; `from a import b` gives both."""
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
    return tops - {OURS} - sys.stdlib_module_names


def within(*packages: str) -> tuple[str, ...]:
    return tuple(f"{OURS}.{package}" for package in packages)


def outside(names: set[str], allowed: tuple[str, ...]) -> set[str]:
    return {
        name
        for name in names
        if not any(name == each or name.startswith(f"{each}.") for each in allowed)
    }


every_module = pytest.mark.parametrize("path", MODULES, ids=label)
every_domain_module = pytest.mark.parametrize(
    "path", sorted((PACKAGE / "domain").glob("*.py")), ids=label
)
every_edge = pytest.mark.parametrize("path", sorted((PACKAGE / "aws").glob("*.py")), ids=label)
every_function = pytest.mark.parametrize("path", FUNCTIONS, ids=label)


def test_the_layers_are_where_this_test_looks_for_them() -> None:
    assert {path.parent.name for path in FUNCTIONS} >= {
        "submit_reports",
        "check_report",
        "store_report",
        "convert_report",
    }
    assert {label(path.parent) for path in MODULES} == {
        "layers/shared/vonage_reports",
        "layers/shared/vonage_reports/aws",
        "layers/shared/vonage_reports/domain",
    }


@every_domain_module
def test_the_domain_knows_the_standard_library_and_itself(path: Path) -> None:
    assert foreign_imports(path) == set()
    assert outside(package_imports(path), within("domain")) == set()


def test_the_client_speaks_http_and_knows_no_aws() -> None:
    client = PACKAGE / "client.py"

    assert foreign_imports(client) == {"requests", "urllib3"}
    assert outside(package_imports(client), within("domain")) == set()


@pytest.mark.parametrize("name", ["readiness.py", "inputs.py"])
def test_what_stands_beside_the_client_knows_no_aws_service(name: str) -> None:
    path = PACKAGE / name

    # Powertools' parser is pydantic with a name.
    assert foreign_imports(path) & AWS <= {"aws_lambda_powertools"}
    assert outside(package_imports(path), within("domain", "client")) == set()


@every_edge
def test_the_edges_know_the_client_and_the_domain_and_never_what_people_write(path: Path) -> None:
    assert outside(package_imports(path), within("aws", "client", "domain")) == set()


@every_module
def test_nothing_in_the_package_knows_a_function_or_the_local_stack(path: Path) -> None:
    assert not {"app", "functions", "local", "tests"} & {
        each.split(".")[0] for each in imports(path)
    }


@every_function
def test_functions_do_not_know_each_other(path: Path) -> None:
    assert not {"app", "functions", "local", "tests"} & {
        each.split(".")[0] for each in imports(path)
    }


def test_only_submit_reports_reads_what_people_write() -> None:
    readers = [
        label(path) for path in (*FUNCTIONS, *MODULES) if f"{OURS}.inputs" in package_imports(path)
    ]

    assert readers == ["functions/submit_reports/app.py"]


def test_only_convert_report_knows_the_dataset() -> None:
    knowing = [
        label(path)
        for path in (*FUNCTIONS, *MODULES)
        if "vonage_dataset" in {each.split(".")[0] for each in imports(path)}
    ]

    assert knowing == ["functions/convert_report/app.py"]


@pytest.mark.parametrize("path", [*FUNCTIONS, *MODULES], ids=label)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", [*FUNCTIONS, *MODULES], ids=label)
def test_what_is_required_of_the_environment_is_never_asked_for_politely(path: Path) -> None:
    # os.environ["NAME"] names what is missing; a default would hide it.
    for node in ast.walk(ast.parse(path.read_text())):
        name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)
        assert name != "getenv"
        if isinstance(node, ast.Attribute) and node.attr in ("get", "setdefault", "pop"):
            assert ast.unparse(node.value) != "os.environ"


@every_function
def test_a_function_reads_its_environment_when_it_is_called(path: Path) -> None:
    module = ast.parse(path.read_text())
    at_import = [node for node in module.body if not isinstance(node, ast.FunctionDef)]

    assert "os.environ" not in "\n".join(ast.unparse(node) for node in at_import)


def modules_after_import(path: Path) -> set[str]:
    """What a cold start of a function loads: the names in sys.modules."""
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
        for name in ("check_report", "store_report", "convert_report", "submit_reports")
    }


@pytest.mark.parametrize("function", ["check_report", "store_report", "convert_report"])
@pytest.mark.parametrize("module", ["pydantic", "aws_xray_sdk", "moto", f"{OURS}.inputs"])
def test_a_cold_start_waits_for_nothing_that_is_not_used(
    loaded: dict[str, set[str]], function: str, module: str
) -> None:
    assert module not in loaded[function]


@pytest.mark.parametrize("function", ["check_report", "store_report", "submit_reports"])
@pytest.mark.parametrize("module", ["pyarrow", "vonage_dataset"])
def test_the_others_start_without_what_makes_the_dataset(
    loaded: dict[str, set[str]], function: str, module: str
) -> None:
    assert module in loaded["convert_report"]
    assert module not in loaded[function]


def test_convert_report_starts_without_what_asks_vonage(loaded: dict[str, set[str]]) -> None:
    assert not {f"{OURS}.client", "requests"} & loaded["convert_report"]


@pytest.mark.parametrize(
    "module", ["isal", f"{OURS}.aws.upload", f"{OURS}.aws.ledger", f"{OURS}.domain.archive"]
)
def test_check_report_starts_without_what_stores_an_archive(
    loaded: dict[str, set[str]], module: str
) -> None:
    assert module not in loaded["check_report"]


def test_store_report_inflates_with_the_fast_library(loaded: dict[str, set[str]]) -> None:
    assert "isal" in loaded["store_report"]
