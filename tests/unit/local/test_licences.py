import json
from email.message import Message
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest

from local.licences import ROOT, Rules, licence_of, locked_npm, locked_python, main

RULES = Rules(frozenset({"MIT", "Apache-2.0"}), {})
OSI = "License :: OSI Approved"


@pytest.mark.parametrize(
    "expression",
    [
        "MIT",
        "GPL-3.0-only OR MIT",
        "GPL-3.0-only OR MIT AND Apache-2.0",
        "MIT AND (GPL-3.0-only OR Apache-2.0)",
    ],
)
def test_expression_is_allowed_by_its_parts(expression: str) -> None:
    assert RULES.allows(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "GPL-3.0-only",
        "unknown",
        "",
        "GPL-3.0-only AND MIT",
        "(MIT OR Apache-2.0) AND GPL-3.0-only",
        "MIT AND (GPL-3.0-only OR (GPL-2.0-only AND MIT))",
        "MIT WITH own-exception",
    ],
)
def test_expression_is_refused_by_its_parts(expression: str) -> None:
    assert not RULES.allows(expression)


class Metadata(Message):
    """A package's metadata, as importlib.metadata reads it."""

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            name.lower().replace("-", "_"): value for name, value in self.items()
        }
        return {**found, "classifier": self.get_all("Classifier", [])}


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ([("License-Expression", "MIT OR Apache-2.0"), ("License", "GPL")], "MIT OR Apache-2.0"),
        ([("License", "Apache License 2.0")], "Apache-2.0"),
        ([("License", "Dual License"), ("Classifier", f"{OSI} :: MIT License")], "MIT"),
        ([("License", "UNKNOWN"), ("Classifier", f"{OSI} :: MIT License")], "MIT"),
        (
            [("Classifier", f"{OSI} :: MIT License"), ("Classifier", f"{OSI} :: New License")],
            "MIT AND New License",
        ),
        ([("Classifier", OSI)], "unknown"),
        ([("License", "Permission is granted\nto everybody")], "unknown"),
        ([], "unknown"),
    ],
)
def test_licence_comes_from_the_metadata(fields: list[tuple[str, str]], licence: str) -> None:
    package = Metadata()
    for name, value in fields:
        package[name] = value
    assert licence_of(package) == licence


def test_every_locked_entry_is_listed() -> None:
    names = {(each.name, each.file) for each in locked_python(ROOT)}
    assert ("boto3", "layers/shared/requirements.txt") in names
    assert ("boto3-stubs", "requirements/dev.txt") in names  # locked with extras
    assert ("pip-audit", "requirements/security.txt") in names
    assert "asl-validator" in {package.name for package, _ in locked_npm(ROOT)}
    for file in ROOT.glob("layers/*/requirements.txt"):
        entries = sum("==" in line for line in file.read_text().splitlines())
        here = str(file.relative_to(ROOT))
        assert sum(each.file == here for each in locked_python(ROOT)) == entries


def test_shipped_packages_have_allowed_licences() -> None:
    rules = Rules.of_project(ROOT)
    shipped = [each for each in locked_python(ROOT) if not each.file.startswith("requirements/")]
    assert len(shipped) > 10
    for package in shipped:
        assert rules.allows(licence_of(metadata(package.name))), package


def a_project(folder: Path, *, npm: str, python: str = "MIT") -> None:
    """Write a project with two locked packages and a virtual environment."""
    rules = '[tool.licences]\nallow = ["MIT"]\n[tool.licences.stated]\n'
    (folder / "pyproject.toml").write_text(rules)
    locks = folder / "requirements"
    locks.mkdir()
    (locks / "dev.txt").write_text("Some.Name==1.0 \\\n    --hash=sha256:00\n")
    (folder / "tests").mkdir()
    lock = {"packages": {"": {}, "node_modules/a": {"version": "2.0.0", "license": npm}}}
    (folder / "tests" / "package-lock.json").write_text(json.dumps(lock))
    info = folder / ".venv" / "lib" / "python3" / "site-packages" / "some_name-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Name: some-name\nVersion: 1.0\nLicense: {python}\n")


def test_licences_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_project(tmp_path, npm="MIT")
    assert main([".venv"], tmp_path) == 0
    assert capsys.readouterr().out == "MIT: 2\n  a, some-name\n"


def test_refused_licence_names_package_and_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_project(tmp_path, npm="GPL-3.0-only", python="Own")
    assert main([".venv"], tmp_path) == 1
    printed = capsys.readouterr().out
    assert "refused: a 2.0.0 (tests/package-lock.json): GPL-3.0-only\n" in printed
    assert "refused: some-name 1.0 (requirements/dev.txt): Own\n" in printed


def test_package_that_is_not_installed_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_project(tmp_path, npm="MIT")
    assert main([], tmp_path) == 1
    assert "refused: some-name 1.0 (requirements/dev.txt): not installed" in capsys.readouterr().out


def test_list_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    main([".venv"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 20
    assert [line for line in lines if len(line) > 80] == []
