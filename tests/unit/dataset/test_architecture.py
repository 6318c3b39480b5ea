"""Imports of the dataset layer: the converter uses the domain and pyarrow, one module uses AWS."""

import ast
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

AT_THE_EDGE = {"convert_report.py"}
MODULES = sorted((ROOT / "layers/dataset/vonage_dataset").glob("*.py"))


def imports(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    return plain | {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_module_imports_the_domain_and_its_engine_alone(path: Path) -> None:
    allowed = [
        "vonage_dataset",
        "vonage_reports.archive",
        "vonage_reports.domain",
        "pyarrow",
        "isal",
    ]
    if path.name in AT_THE_EDGE:
        allowed = [
            "vonage_dataset",
            "vonage_reports.archive",
            "vonage_reports.domain",
            "vonage_reports.aws",
        ]
    # `_typeshed` has types of the standard library, for type checkers only.
    standard = {*sys.stdlib_module_names, "_typeshed"}
    foreign = {each for each in imports(path) if each.split(".")[0] not in standard}

    assert {each for each in foreign if not each.startswith(tuple(allowed))} == set()
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_converter_imports_no_aws_module() -> None:
    for path in MODULES:
        if path.name not in AT_THE_EDGE:
            assert "vonage_dataset.convert_report" not in imports(path)
