"""All dependencies are locked, and every skipped check has a reason."""

import re
from pathlib import Path

import pytest

from local.stack.emulator import ROOT

LOCKED = sorted(
    path.relative_to(ROOT)
    for pattern in (
        "requirements/*.txt",
        "layers/*/requirements.txt",
        "functions/*/requirements.txt",
    )
    for path in ROOT.glob(pattern)
)


def test_every_dependency_group_is_locked() -> None:
    locked = re.findall(r"-o (\S+)", (ROOT / "Makefile").read_text())

    assert sorted(map(Path, locked)) == LOCKED


@pytest.mark.parametrize("path", LOCKED, ids=str)
def test_locked_dependency_has_one_version_and_hashes(path: Path) -> None:
    # Drop the comments, and join lines that end in a backslash.
    text = re.sub(r"(?m)^ *#.*\n", "", (ROOT / path).read_text()).replace("\\\n", "")
    entries = text.splitlines()

    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9-]+(\[[a-z0-9, -]+\])?==[^ ]+ ", entry), entry
        assert re.search(r" --hash=sha256:[0-9a-f]{64}", entry), entry


def test_skipped_template_check_has_a_reason() -> None:
    skipped = [line for line in (ROOT / ".checkov.yaml").read_text().splitlines() if "CKV" in line]

    assert skipped
    assert [line for line in skipped if not re.search(r"\w  # \w{2}", line)] == []
    # The template itself skips no check.
    template = (ROOT / "template.yaml").read_text()
    assert not re.search("checkov|cfn-lint|cfn_nag", template)
