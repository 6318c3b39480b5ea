"""`verify` on a folder like the bucket: what is right is proved, and each change is found."""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.delivered import Delivered
from tests.support.last_run import save_run
from tests.support.schemas import document_of
from vonage_reports_cli.main import main
from vonage_reports_cli.objects import FolderObjects, NotReadable
from vonage_reports_cli.period import month_of
from vonage_reports_cli.proof.prove import prove

DAYS = ("2026-11-18", "2026-11-19", "2026-11-20")


def sms(id_: str, charge: str = "0.5", **cells: str) -> dict[str, str]:
    return {
        "account_id": "abcd1234", "id": id_, "date_received": "2026-11-19T10:00:00Z",
        "country": "GB", "total_price": charge, "currency": "", **cells,
    }  # fmt: skip


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Delivered:
    """Return three windows of two accounts."""
    monkeypatch.chdir(save_run(tmp_path))
    monkeypatch.delenv("VONAGE_REPORTS_STACK", raising=False)
    delivered = Delivered(tmp_path / "out")
    for day in DAYS:
        delivered.deliver("SMS", [sms(day), sms("x", "")], definition="sms", day=day,
                          currency="EUR")  # fmt: skip
        delivered.deliver("VERIFY-API", [
            sms(day, price="0.05", estimated_price="0.12", currency="GBP")
        ], definition="verify", day=day, account="efgh5678")  # fmt: skip
    return delivered


def verified(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code = main(["--local", "verify", *arguments, "--json"])
    output = capsys.readouterr()
    assert code in (0, 1), output.err
    found = document_of("verify", output.out)
    is_empty = bool(arguments) and not found["windows"]
    assert code == (1 if found["differences"] or is_empty else 0)
    return found


def only(out: Delivered, pattern: str) -> Path:
    [path] = out.root.glob(pattern)
    return path


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


ARCHIVE = "archives/sms/abcd1234/2026/11/19/*/*.zip"
RECEIPT = "archives/sms/abcd1234/2026/11/19/*/*.json"
MANIFEST = "manifests/sms/abcd1234/2026/11/19/*.json"
DATASET = "data/product=SMS/definition=sms/account=abcd1234/date=2026-11-19/*.parquet"


def test_intact_deliveries_are_proved(out: Delivered, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [path.stat().st_size for path in out.root.glob("archives/**/*.zip")]

    assert main(["--local", "verify"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "the last make run, as of 2026-12-05 00:00:00 UTC",
        (
            f"6 windows of all time. Proved: 6 archives ({sum(sizes) / 1e6:.1f} MB) with 9 rows, "
            "and 6 datasets."
        ),
        "Total of the proved datasets 1.5 EUR",
        "Total of the proved datasets 0.51 GBP",
        (
            "The sums are of whole windows. A record that several definitions collect counts in "
            "each."
        ),
        "Nothing differs.",
    ]
    found = verified(capsys, "--month", "2026-11")
    assert (found["bytes"], found["differences"], found["unproved"]) == (sum(sizes), [], [])
    assert found["period"] == {"from": "2026-11-01", "until": "2026-12-01"}


@pytest.mark.usefixtures("out")
def test_month_without_windows_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--local", "verify", "--month", "2026-08"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "No window is delivered here."


@pytest.mark.usefixtures("out")
def test_days_of_the_month_without_windows_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--local", "verify", "--month", "2026-11"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-4:] == [
        (
            "Windows of a part of the month only. `status` and `bill` know whether the rest is "
            "missing:"
        ),
        "  sms, abcd1234: 2026-11-18 to 2026-11-20",
        "  verify, efgh5678: 2026-11-18 to 2026-11-20",
        "Nothing differs.",
    ]


def test_windows_without_a_final_manifest_are_listed(
    out: Delivered, capsys: pytest.CaptureFixture[str]
) -> None:
    for day in ("2026-11-21", "2026-11-22", "2026-11-23"):
        out.deliver("SMS", [sms(day)], definition="sms", day=day, revision="preliminary")
    out.deliver("SMS", [sms("2026-11-22")], definition="sms", day="2026-11-22")

    assert main(["--local", "verify"]) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "Without a final manifest, so that prices may still change:",
        "  sms, abcd1234: 2026-11-21, 2026-11-23",
        "Nothing differs, but 2 of 9 windows are not final.",
    ]
    assert verified(capsys)["preliminary"] == [
        {
            "definition": "sms",
            "account_id": "abcd1234",
            "windows": [
                {"start": "2026-11-21T00:00:00Z", "end": "2026-11-22T00:00:00Z"},
                {"start": "2026-11-23T00:00:00Z", "end": "2026-11-24T00:00:00Z"},
            ],
        }
    ]


def test_sums_have_only_what_was_proved(out: Delivered, capsys: pytest.CaptureFixture[str]) -> None:
    edit(only(out, MANIFEST), lambda value: value["totals"][0].update(total_price="0.51"))
    for path in out.root.glob("archives/verify/**/*.zip"):
        path.unlink()

    found = verified(capsys)

    assert (found["windows"], found["archives"], found["datasets"]) == (6, 3, 5)
    # The rows of the archives whose totals differ are not proved.
    assert found["rows"] == 4
    assert found["totals"] == [
        {"currency": "EUR", "total_price": "1"}, {"currency": "GBP", "total_price": "0.51"},
    ]  # fmt: skip


def change_row(out: Delivered) -> None:
    path = only(out, ARCHIVE)
    with zipfile.ZipFile(path) as archive:
        [name] = archive.namelist()
        content = archive.read(name)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content.replace(b'"0.5"', b'"0.6"'))


def set_sha_everywhere(out: Delivered) -> None:
    """Change a row of the archive, and describe the false archive in receipt and manifest."""
    change_row(out)
    path = only(out, ARCHIVE)
    with zipfile.ZipFile(path) as archive:
        content = archive.read(archive.namelist()[0])
    facts = {
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "members": [{"name": "report.csv", "bytes": len(content),
                     "crc32": f"{zlib.crc32(content):08x}"}],
    }  # fmt: skip
    edit(only(out, RECEIPT), lambda value: value["archive"].update(facts))
    edit(only(out, MANIFEST), lambda value: value["archives"][0].update(facts))


CHANGES: dict[str, tuple[Callable[[Delivered], object], str, str]] = {
    "byte of an archive": (
        lambda out: flip(only(out, ARCHIVE), 60), ".zip", "its SHA-256 is ",
    ),
    "time in a header": (
        lambda out: flip(only(out, ARCHIVE), 10), ".zip", "its SHA-256 is ",
    ),
    "row of an archive": (change_row, ".zip", "its SHA-256 is "),
    "row and its checksums": (
        set_sha_everywhere, "manifests/", "the archives' prices add up to 0.6 (no currency) in 2",
    ),
    "absent archive": (
        lambda out: only(out, ARCHIVE).unlink(), ".zip", "the object is missing",
    ),
    "absent receipt": (
        lambda out: only(out, RECEIPT).unlink(), ".json", "the receipt is missing",
    ),
    "garbled receipt": (
        lambda out: only(out, RECEIPT).write_text("{"), ".json", " is no JSON: ",
    ),
    "count in the receipt": (
        lambda out: edit(only(out, RECEIPT), lambda value: value.update(items_count=3)), ".json",
        "the receipt and the manifest describe different archives",
    ),
    "rows in the manifest": (
        lambda out: edit(only(out, MANIFEST), lambda value: value.update(rows=3)), "manifests/",
        "the archives have 2 rows, and the manifest says 3",
    ),
    "total in the manifest": (
        lambda out: edit(
            only(out, MANIFEST), lambda value: value["totals"][0].update(total_price="0.51")
        ),
        "manifests/", "the archives' prices add up to 0.5 (no currency) in 2 rows, and the",
    ),
    "byte of a dataset": (
        lambda out: flip(only(out, DATASET), 100), ".parquet", "its SHA-256 is ",
    ),
    "absent dataset": (
        lambda out: only(out, DATASET).unlink(), ".parquet", "the object is missing",
    ),
    "dataset that is none": (
        lambda out: only(out, DATASET).write_bytes(b"nothing"), ".parquet",
        "the file is no Parquet file: ",
    ),
    "absent manifest": (
        lambda out: only(out, MANIFEST).unlink(), ".parquet",
        "no manifest names this dataset, whose rows are visible",
    ),
    "field of the manifest": (
        lambda out: edit(only(out, MANIFEST), lambda value: value.pop("totals")), "manifests/",
        "the manifest has no 'totals'; send reconvert",
    ),
    "definition of the manifest": (
        lambda out: edit(only(out, MANIFEST), lambda value: value.pop("definition")), "manifests/",
        "the manifest cannot be used: its definition is missing or unreadable; restore its last",
    ),
    "times of the manifest": (
        lambda out: edit(only(out, MANIFEST), lambda value: value.pop("times")), "manifests/",
        "the manifest cannot be used: its times is missing or unreadable; restore its last",
    ),
    "member of the manifest": (
        lambda out: edit(only(out, MANIFEST), lambda value: value["archives"][0].update(members=3)),
        "manifests/", "the manifest or a receipt has a value that is none of ours: ",
    ),
    "archive of the receipt": (
        lambda out: edit(only(out, RECEIPT), lambda value: value.update(archive=3)),
        "manifests/", "the manifest or a receipt has a value that is none of ours: ",
    ),
    "garbled manifest": (
        lambda out: only(out, MANIFEST).write_text("[]"), "manifests/",
        "the manifest cannot be used: ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_is_found(
    out: Delivered, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    do, key, reason = CHANGES[change]
    do(out)

    for arguments in ((), ("--month", "2026-11")):
        found = verified(capsys, *arguments)
        reasons = [
            each["reason"] for each in found["differences"] if each["key"] and key in each["key"]
        ]
        assert any(reason in each for each in reasons), found["differences"]
        assert {each["definition"] for each in found["differences"]} == {"sms"}


def test_difference_is_printed_with_its_object(
    out: Delivered, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(only(out, ARCHIVE), 60)

    assert main(["--local", "verify"]) == 1
    lines = capsys.readouterr().out.splitlines()
    key = only(out, ARCHIVE).relative_to(out.root)
    assert "6 windows of all time. Proved: 5 archives" in lines[1]
    assert lines[5] == "2 differences:"
    assert lines[6] == "  sms, abcd1234, 2026-11-19T00:00:00Z/2026-11-20T00:00:00Z"
    assert lines[7].startswith(f"    {key}: its SHA-256 is ")
    assert lines[9].startswith(f"    {key}: ")


# The shape of what was delivered


def gaps(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (each["definition"], each["window"], each["reason"])
        for each in found["differences"]
        if each["key"] is None
    ]


HOLE = "no window is delivered here, but before and after"


def test_gap_between_windows_is_found(out: Delivered, capsys: pytest.CaptureFixture[str]) -> None:
    out.deliver("SMS", [], definition="sms", day="2026-11-23")

    for arguments in ((), ("--month", "2026-11")):
        assert gaps(verified(capsys, *arguments)) == [
            ("sms", "2026-11-21T00:00:00Z/2026-11-23T00:00:00Z", HOLE)
        ]
    assert gaps(verified(capsys, "--month", "2026-12")) == []


def test_month_between_two_others_is_a_gap(
    out: Delivered, capsys: pytest.CaptureFixture[str]
) -> None:
    out.deliver("SMS", [], definition="old", day="2026-06-30")
    out.deliver("SMS", [], definition="old", day="2026-12-31")

    found = verified(capsys, "--month", "2026-09")

    assert gaps(found) == [("old", "2026-09-01T00:00:00Z/2026-10-01T00:00:00Z", HOLE)]
    assert gaps(verified(capsys, "--month", "2026-06")) == []


def test_manifest_under_the_key_of_another_report_is_found(
    out: Delivered, capsys: pytest.CaptureFixture[str]
) -> None:
    path = only(out, MANIFEST)
    path.write_text(json.dumps({**json.loads(path.read_text()), "definition": "another"}))

    found = verified(capsys, "--month", "2026-11")

    reason = "its definition is not that of its key"
    assert any(reason in each["reason"] for each in found["differences"])


def test_overlapping_windows_are_found(out: Delivered, capsys: pytest.CaptureFixture[str]) -> None:
    out.deliver("SMS", [], definition="sms", day="2026-11-20", days=2)

    assert gaps(verified(capsys)) == [
        ("sms", "2026-11-20T00:00:00Z/2026-11-21T00:00:00Z", "two windows overlap here")
    ]


def test_second_final_manifest_of_a_window_is_found(
    out: Delivered, capsys: pytest.CaptureFixture[str]
) -> None:
    first = only(out, MANIFEST)
    second = first.with_name("sms-20261119T0000Z-000000000000.json")
    second.write_text(json.dumps({**json.loads(first.read_text()), "report_id": second.stem}))

    reasons = [each["reason"] for each in verified(capsys)["differences"]]

    assert any(each.startswith("the window has another final manifest") for each in reasons)


def test_newest_revision_is_compared_with_the_dataset(
    out: Delivered, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver = partial(out.deliver, "SMS", definition="m", day="2026-11-19")
    early = datetime(2026, 11, 20, tzinfo=UTC)
    deliver([sms("a")], revision="preliminary", collected_at=early)
    deliver([sms("a"), sms("b")])

    found = verified(capsys)

    assert found["differences"] == []
    assert (found["windows"], found["rows"]) == (7, 11)


@pytest.mark.parametrize("product", ["VOICE-FAILED", "NEW-API", "MESSAGES"])
def test_every_kind_of_product_is_proved(
    out: Delivered, capsys: pytest.CaptureFixture[str], product: str
) -> None:
    rows = [
        {"id": "1", "total_price": "0.060000000000000005", "currency": "EUR", "date_received": ""},
        {"id": "2", "total_price": "1", "currency": "USD", "date_received": "soon"},
        {"id": "3", "total_price": "", "currency": "", "date_received": ""},
    ]
    out.deliver(product, rows, definition="x", currency="EUR")
    out.deliver(product, [], definition="x", day="2026-11-20")

    assert verified(capsys)["differences"] == []


# Archives that cannot be proved


class _ColdObjects(FolderObjects):
    """A bucket whose archives are cold."""

    def file(self, key: str) -> Any:
        if key.startswith("archives/"):
            raise NotReadable(f"{key} is cold; restore it in S3 first")
        return super().file(key)


def test_cold_archives_are_not_proved(out: Delivered) -> None:
    proof = prove(_ColdObjects(out.root), month_of("2026-11"))

    assert (len(proof.unproved), proof.differences, proof.archives) == (6, [], 0)
    assert proof.unproved[0].reason.endswith(" is cold; restore it in S3 first")


def test_expired_archive_is_not_proved(out: Delivered) -> None:
    only(out, ARCHIVE).unlink()
    objects = FolderObjects(out.root)

    expired = prove(objects, None, expires_before={"archives/": datetime(2026, 11, 21, tzinfo=UTC)})
    kept = prove(objects, None, expires_before={"archives/": datetime(2026, 11, 19, tzinfo=UTC)})

    assert ([each.reason for each in expired.unproved], expired.differences) == (["expired"], [])
    assert (kept.unproved, len(kept.differences)) == ([], 1)


def test_expired_dataset_is_not_proved(out: Delivered) -> None:
    only(out, DATASET).unlink()
    objects = FolderObjects(out.root)

    expired = prove(objects, None, expires_before={"data/": datetime(2026, 11, 21, tzinfo=UTC)})
    kept = prove(objects, None, expires_before={"archives/": datetime(2026, 11, 21, tzinfo=UTC)})

    assert ([each.reason for each in expired.unproved], expired.differences) == (["expired"], [])
    assert (kept.unproved, len(kept.differences)) == ([], 1)


@pytest.mark.usefixtures("out")
def test_wrong_month_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--local", "verify", "--month", "November"]) == 2
    assert capsys.readouterr().err == (
        "vonage-reports: --month is 'November'; use a month like 2026-11\n"
    )
