"""Files of the repository that have to agree with each other."""

import re
import tomllib

import pytest

import vonage_reports
from local.stack.template import read_template
from tests.conftest import INDEPENDENT
from tests.support.paths import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")


def test_version_has_one_home() -> None:
    assert PROJECT["dynamic"] == ["version"]
    assert "version" not in PROJECT


def test_newest_release_of_the_changelog_is_the_version() -> None:
    releases = re.findall(r"^## \[(\d[^\]]*)\]", CHANGELOG, re.MULTILINE)
    assert releases[0] == vonage_reports.__version__


def test_stack_says_the_version() -> None:
    template = read_template(ROOT / "template.yaml")
    assert template["Outputs"]["Version"]["Value"] == vonage_reports.__version__


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_in_documents_are_targets_of_the_makefile(document: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    # A released version keeps the commands that it had.
    text = (ROOT / document).read_text().partition("\n## [0.")[0]
    named = re.findall(r"`(?:\w+=\S+ )?make ([a-z]+)", text)
    assert named
    assert set(named) <= targets


def test_help_names_every_command() -> None:
    (commands,) = re.findall(r"^COMMANDS := (.*)$", MAKEFILE, re.MULTILINE)
    named = re.findall(r"^\t@echo 'make ([a-z]+)", MAKEFILE, re.MULTILINE)
    assert set(named) == set(commands.split()) - {"help", "sam"}


def test_paths_in_the_guide_for_contributors_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:[\w*.-]+/)+[\w*.-]*|[\w.-]+\.(?:md|toml|yaml))`", text)
    assert "tests/end_to_end/" in named
    assert [name for name in named if not any(ROOT.glob(name))] == []


def test_modules_that_are_spread_over_workers_exist() -> None:
    assert [name for name in INDEPENDENT if not (ROOT / name).exists()] == []


def test_test_modules_import_no_test_module() -> None:
    importing = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"^\s*(from|import) tests\.(\w+\.)+test_", path.read_text(), re.MULTILINE)
    ]
    assert importing == []
