"""`out/` is replaced by a delivery only, and keeps the operator's files."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from local.output.delivery import Delivery
from local.runner.results import Results
from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.last_run import DeliveringRun, OutRecord

FIRST = DeliveringRun("the first run", is_simulated=True)
SECOND = DeliveringRun("the second run", is_simulated=False)
MANIFEST = "manifests/sms/x.json"


class Root:
    """A folder with `.local/` and `out/`, and the runs in it."""

    def __init__(self, folder: Path) -> None:
        self.out = folder / "out"
        self.state = folder / ".local"
        self.state.mkdir()
        self.saved = self.state / "api.nexmo.com-0123" / "out"

    def run(self, run: DeliveringRun, *names: str, is_real: bool = False) -> Results:
        """Let a run write these files; a manifest is a delivery."""
        results = Results(self.out, self.state, self.saved if is_real else None)
        results.require_replaceable()
        results.begin()
        delivery = SimpleNamespace(folder=results.folder, objects={}, has_delivered=False)
        for name in names:
            results.announce([name])
            path = delivery.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(run.source)
            delivery.objects[name] = name
            delivery.has_delivered = delivery.has_delivered or name.startswith("manifests/")
            results.take(cast("Delivery", delivery), run)
        results.conclude(cast("Delivery", delivery), run)
        return results

    def files(self) -> dict[str, str]:
        """Return the text of each file below `out/`."""
        files = (path for path in self.out.rglob("*") if path.is_file())
        return {path.relative_to(self.out).as_posix(): path.read_text() for path in files}


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def test_first_delivery_replaces_the_earlier_run(root: Root) -> None:
    root.run(FIRST, "archives/a.zip", MANIFEST, "data/product=SMS/old.parquet", "usage.html")

    results = root.run(SECOND, "archives/a.zip", "archives/b.zip", MANIFEST, "headers/sms.json")

    assert results.are_taken
    assert root.files() == dict.fromkeys(
        ("archives/a.zip", "archives/b.zip", MANIFEST, "headers/sms.json"), SECOND.source
    )
    # The old file's folders are gone too.
    assert not (root.out / "data").exists()
    assert OutRecord(root.state).run() == SECOND
    assert not (root.state / "undelivered").exists()


def test_run_without_a_delivery_leaves_the_earlier_results(root: Root) -> None:
    root.run(FIRST, "archives/a.zip", MANIFEST)

    results = root.run(SECOND, "refused/a.zip", "notifications.jsonl")

    assert not results.are_taken
    assert root.files() == dict.fromkeys(("archives/a.zip", MANIFEST), FIRST.source)
    assert OutRecord(root.state).run() == FIRST
    assert (results.folder / "refused" / "a.zip").exists()
    # The next run deletes it.
    root.run(SECOND, MANIFEST)
    assert list(root.files()) == [MANIFEST]


def test_first_run_shows_its_files_also_without_a_delivery(root: Root) -> None:
    assert root.run(FIRST, "refused/a.zip", "notifications.jsonl").are_taken
    assert set(root.files()) == {"refused/a.zip", "notifications.jsonl"}


def test_own_files_of_the_operator_survive(root: Root) -> None:
    root.run(FIRST, "archives/a.zip", MANIFEST)
    for name in ("notes.txt", "archives/mine.zip", "data/mine/x.parquet"):
        (root.out / name).parent.mkdir(parents=True, exist_ok=True)
        (root.out / name).write_text("mine")

    root.run(SECOND, MANIFEST)

    assert root.files() == {
        "notes.txt": "mine", "archives/mine.zip": "mine", "data/mine/x.parquet": "mine",
        MANIFEST: SECOND.source,
    }  # fmt: skip


def test_files_of_a_killed_run_are_replaced(root: Root) -> None:
    results = Results(root.out, root.state, None)
    delivery = cast("Delivery", SimpleNamespace(folder=results.folder, has_delivered=True))
    results.folder.mkdir()
    results.take(delivery, FIRST)
    results.announce(["archives/a.zip", "archives/never-written.zip"])
    (root.out / "archives").mkdir()
    (root.out / "archives" / "a.zip").touch()
    with (root.state / OutRecord.NAME).open("a") as file:
        file.write('"archives/half-of-a-li')

    root.run(SECOND, MANIFEST)

    assert list(root.files()) == [MANIFEST]


def test_results_of_an_earlier_version_are_replaced(root: Root) -> None:
    for name in ("data/product=SMS/x.parquet", MANIFEST, "usage.html", "notes.txt"):
        (root.out / name).parent.mkdir(parents=True, exist_ok=True)
        (root.out / name).touch()

    root.run(SECOND, MANIFEST)

    assert root.files() == {"notes.txt": "", MANIFEST: SECOND.source}


def test_results_of_a_server_that_bills_are_linked_and_never_deleted(root: Root) -> None:
    root.run(FIRST, MANIFEST)

    root.run(SECOND, MANIFEST, is_real=True)

    assert root.out.is_symlink()
    assert root.out.resolve() == root.saved
    (root.saved / "notes.txt").write_text("mine")
    root.run(FIRST, "archives/a.zip", MANIFEST)
    assert not root.out.is_symlink()
    assert list(root.files()) == ["archives/a.zip", MANIFEST]
    assert sorted(each.name for each in root.saved.iterdir()) == ["manifests", "notes.txt"]


@pytest.mark.parametrize("own", ["notes.txt", "manifests/sms/empty"])
def test_link_never_takes_the_place_of_own_files(root: Root, own: str) -> None:
    root.run(FIRST, MANIFEST)
    if own.endswith("empty"):
        (root.out / own).mkdir()
    else:
        (root.out / own).touch()

    with pytest.raises(BadInput, match=rf"^out/{own} is your own: move it away, because out/ is"):
        root.run(SECOND, MANIFEST, is_real=True)

    assert (root.out / own).exists()
    assert MANIFEST in root.files()


def test_real_run_without_a_delivery_leaves_out_unchanged(root: Root) -> None:
    root.run(FIRST, MANIFEST)

    root.run(SECOND, "refused/a.zip", is_real=True)

    assert root.files() == {MANIFEST: FIRST.source}


def test_file_named_out_is_refused_and_unchanged(root: Root) -> None:
    root.out.write_text("mine")
    with pytest.raises(BadInput, match=rf"^{root.out} is not a folder"):
        Results(root.out, root.state, None).require_replaceable()
    assert root.out.read_text() == "mine"


def test_path_that_cannot_be_written_is_named(root: Root) -> None:
    (root.out / "manifests").mkdir(parents=True)
    (root.out / "manifests" / "sms").touch()
    (root.state / OutRecord.NAME).write_text("{}\n")
    with pytest.raises(BadInput, match=rf"^cannot write {root.out}/manifests/sms"):
        root.run(FIRST, MANIFEST)


def test_garbled_record_is_named(root: Root) -> None:
    (root.state / OutRecord.NAME).write_text("{\n")
    with pytest.raises(BadInput, match=r"out\.jsonl is garbled: delete it"):
        root.run(FIRST, MANIFEST)
