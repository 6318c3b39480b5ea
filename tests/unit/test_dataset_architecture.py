"""The layer of the dataset stands on the domain, and knows neither AWS nor HTTP."""

import ast
import sys
from pathlib import Path

import pytest

MODULES = sorted((Path(__file__).parents[2] / "layers/dataset/vonage_dataset").glob("*.py"))


def imports(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    return plain | {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_module_of_the_dataset_knows_the_domain_and_its_engine_alone(path: Path) -> None:
    foreign = {each for each in imports(path) if each.split(".")[0] not in sys.stdlib_module_names}

    assert {
        each
        for each in foreign
        if not each.startswith(("vonage_dataset", "vonage_reports.domain", "pyarrow", "isal"))
    } == set()
    assert ast.get_docstring(ast.parse(path.read_text()))
