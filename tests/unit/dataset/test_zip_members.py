"""Members of a stored archive are read with ranged reads, and checked again."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from local.simulator.archives import ArchiveWriter
from tests.support.csvs import FileSource
from tests.support.zips import DEFLATED, STORED, written_by_zipfile
from vonage_dataset.parquet import convert
from vonage_dataset.zip_members import csv_members
from vonage_reports.archive.zip_proof import ArchiveProof
from vonage_reports.domain.errors import ArchiveCorrupt, RowsUnreadable
from vonage_reports.domain.objects import Archive

CSV = b'"id","total_price"\n' + b"".join(b'"%d","0.01"\n' % n for n in range(100_000))
CONTENTS = {"one.csv": CSV, "two.csv": b'"id"\n', "three.csv": b"", "four.csv": CSV[:-1]}


def write_as_vonage_does(path: Path, *, zip64: bool) -> None:
    created = datetime(2026, 11, 23, tzinfo=UTC)
    with ArchiveWriter(path, created=created, stored=False, zip64=zip64) as archive:
        for name, content in CONTENTS.items():
            with archive.member(name) as member:
                member.write(content)


def store(path: Path, *, stored: bool = False, zip64: bool = False) -> Archive:
    if stored:  # unlike Vonage, but accepted
        path.write_bytes(written_by_zipfile(CONTENTS, method=STORED, seekable=True, zip64=zip64))
    else:
        write_as_vonage_does(path, zip64=zip64)
    proof = ArchiveProof()
    proof.update(path.read_bytes())
    return proof.finish()


@pytest.mark.parametrize("zip64", [False, True])
@pytest.mark.parametrize("stored", [False, True])
def test_member_is_whole_each_time_it_is_opened(
    tmp_path: Path, *, stored: bool, zip64: bool
) -> None:
    receipt = store(tmp_path / "a.zip", stored=stored, zip64=zip64)

    members = csv_members(FileSource(tmp_path / "a.zip"), receipt.members)

    for _ in range(2):
        assert {each.name: each.open().read() for each in members} == CONTENTS


def test_member_is_read_as_one_range(tmp_path: Path) -> None:
    receipt = store(tmp_path / "a.zip")
    source = FileSource(tmp_path / "a.zip")
    members = csv_members(source, receipt.members)
    source.ranges.clear()

    for each in members:
        each.open().read()

    assert len(source.ranges) == len(members)
    starts, lengths = zip(*source.ranges, strict=True)
    assert sum(lengths) < receipt.bytes
    assert sorted(starts) == list(starts)


def members_of(path: Path, names: list[str]) -> list[str]:
    """Return the names of the members that are read."""
    archive = written_by_zipfile(
        dict.fromkeys(names, b"id\n1\n"), method=DEFLATED, seekable=False, zip64=False
    )
    path.write_bytes(archive)
    proof = ArchiveProof()
    proof.update(archive)
    return [each.name for each in csv_members(FileSource(path), proof.finish().members)]


@pytest.mark.parametrize(
    ("names", "read"),
    [
        ([], []),
        (["report.csv", "__MACOSX/._report.csv"], ["report.csv"]),
        (["a/", "a/__MACOSX/b.csv", "a/B.CSV", "c.csv"], ["a/B.CSV", "c.csv"]),
        (["README.txt", "report.Csv"], ["report.Csv"]),
        (["report"], ["report"]),
        (["a/", "a/report.txt"], ["a/report.txt"]),
    ],
)
def test_csv_files_and_a_sole_file_are_read(
    tmp_path: Path, names: list[str], read: list[str]
) -> None:
    assert members_of(tmp_path / "a.zip", names) == read


@pytest.mark.parametrize("names", [["a/"], ["README.txt", "__MACOSX/._report.csv"]])
def test_archive_with_members_but_no_csv_is_unreadable(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(RowsUnreadable, match=names[0]):
        members_of(tmp_path / "a.zip", names)


def test_archive_with_other_members_than_its_receipt_is_refused(tmp_path: Path) -> None:
    receipt = store(tmp_path / "a.zip")
    other = replace(receipt.members[0], crc32="00000000")

    with pytest.raises(ArchiveCorrupt, match="members differ from its receipt"):
        csv_members(FileSource(tmp_path / "a.zip"), [other, *receipt.members[1:]])


def test_replaced_archive_is_refused(tmp_path: Path) -> None:
    receipt = store(tmp_path / "a.zip")
    (tmp_path / "a.zip").write_bytes(b"<html>")

    with pytest.raises(ArchiveCorrupt):
        csv_members(FileSource(tmp_path / "a.zip"), receipt.members)


def test_timeout_of_s3_is_not_archive_corrupt(tmp_path: Path) -> None:
    receipt = store(tmp_path / "a.zip")

    class TimesOut(FileSource):
        answered = 0

        def open(self, start: int, length: int) -> Any:
            if len(self.ranges) == self.answered:
                raise ReadTimeoutError(endpoint_url="https://s3")
            return super().open(start, length)

    for answered in range(2):
        source = TimesOut(tmp_path / "a.zip")
        source.answered = answered
        with pytest.raises(ReadTimeoutError):
            csv_members(source, receipt.members)[0].open().read()


@pytest.mark.parametrize("place", [60, 5_000, 200_000])
@pytest.mark.parametrize("stored", [False, True])
def test_flipped_bit_makes_no_dataset(tmp_path: Path, *, stored: bool, place: int) -> None:
    receipt = store(tmp_path / "a.zip", stored=stored)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[place] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    members = csv_members(FileSource(tmp_path / "a.zip"), receipt.members)

    with pytest.raises(ArchiveCorrupt, match=r"one\.csv"):
        convert(
            members,
            product="SMS",
            target=tmp_path / "a.parquet",
            accepts_missing_columns=True,
        )
