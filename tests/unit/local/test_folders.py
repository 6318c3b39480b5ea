from pathlib import Path

import pytest

from local.runner import folders
from local.runner.options import BadInput


def test_one_run_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    with (
        folders.work_alone(tmp_path / ".local"),
        pytest.raises(BadInput, match="another make run is at work in this folder"),
        folders.work_alone(tmp_path / ".local"),
    ):
        pass
    with folders.work_alone(tmp_path / ".local"):
        pass


def test_what_a_killed_run_left_is_removed_and_what_was_paid_for_is_not(tmp_path: Path) -> None:
    (tmp_path / "run-abc" / "tmp").mkdir(parents=True)
    (tmp_path / "api.nexmo.com-0123").mkdir()
    with folders.work_alone(tmp_path):
        assert sorted(each.name for each in tmp_path.iterdir()) == ["api.nexmo.com-0123", "lock"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / ".local").touch()
    with (
        pytest.raises(BadInput, match=rf"^{tmp_path}/\.local cannot be written: "),
        folders.work_alone(tmp_path / ".local"),
    ):
        pass


def test_a_file_in_the_place_of_out_is_refused_and_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    with pytest.raises(BadInput, match=rf"^{out} is no folder"):
        folders.require_replaceable(out)
    assert out.read_text() == "mine"


def test_out_is_untouched_until_it_is_replaced(tmp_path: Path) -> None:
    out, kept = tmp_path / "out", tmp_path / ".local" / "host" / "out"
    out.mkdir()
    (out / "old").touch()
    folders.require_replaceable(out)
    assert [each.name for each in out.iterdir()] == ["old"]
    folders.replace(out, kept)
    assert out.resolve() == kept
    (kept / "bought").touch()
    folders.require_replaceable(out)
    folders.replace(out, None)
    assert not out.is_symlink()
    assert list(out.iterdir()) == []
    assert (kept / "bought").exists()
