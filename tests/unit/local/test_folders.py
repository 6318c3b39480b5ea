from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.runner import folders
from tests.support.unsafe_text import ANY_TEXT, BAD_KEYS
from vonage_reports_cli.errors import BadInput


def test_only_one_run_uses_a_folder_at_a_time(tmp_path: Path) -> None:
    with (
        folders.lock(tmp_path / ".local"),
        pytest.raises(BadInput, match="another make run is using this folder"),
        folders.lock(tmp_path / ".local"),
    ):
        pass
    with folders.lock(tmp_path / ".local"):
        pass


def test_lock_deletes_leftovers_of_a_killed_run_but_no_saved_state(tmp_path: Path) -> None:
    (tmp_path / "run-abc" / "tmp").mkdir(parents=True)
    (tmp_path / "api.nexmo.com-0123").mkdir()
    with folders.lock(tmp_path):
        assert sorted(each.name for each in tmp_path.iterdir()) == ["api.nexmo.com-0123", "lock"]


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / ".local").touch()
    with (
        pytest.raises(BadInput, match=rf"^cannot write {tmp_path}/\.local: "),
        folders.lock(tmp_path / ".local"),
    ):
        pass


@pytest.mark.parametrize("key", BAD_KEYS)
def test_key_that_names_no_file_inside_the_folder_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(BadInput, match="names no file inside") as caught:
        folders.file_of(tmp_path, key)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("key", ["archives/sms/..x/a.zip", "manifests/\x1b.json", "é" * 127])
def test_unusual_key_names_its_own_file(tmp_path: Path, key: str) -> None:
    file = folders.file_of(tmp_path, key)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()

    assert str(file.relative_to(tmp_path)) == key


@given(st.lists(ANY_TEXT | st.sampled_from(["..", ".", "", "x" * 300])).map("/".join))
def test_no_key_leaves_the_folder(key: str) -> None:
    folder = Path("/nowhere/out")
    try:
        file = folders.file_of(folder, key)
    except BadInput:
        return
    assert file.resolve().relative_to(folder) == Path(key)
    # Different keys never share a file.
    assert str(file) == f"{folder}/{key}"
