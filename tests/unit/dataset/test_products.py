"""Every product of the simulator is converted, and compared cell by cell."""

import csv
import io
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest

from local.simulator.products import PRODUCTS
from local.simulator.rendering import Rendering
from local.simulator.settings import Settings
from local.simulator.validation import ReportRequest
from tests.support.cells import expected, read_back
from tests.support.csvs import FileSource
from vonage_dataset.parquet import convert
from vonage_dataset.zip_members import csv_members
from vonage_reports.archive.zip_proof import ArchiveProof
from vonage_reports.domain.objects import Archive

DAY = datetime(2026, 11, 20, tzinfo=UTC)
CASES = [(name, way) for name, product in PRODUCTS.items() for way in product.directions]


def rendered(product: str, direction: str, path: Path) -> Archive:
    request = ReportRequest(
        product=PRODUCTS[product],
        account_id="abcd1234",
        start=DAY,
        end=DAY + timedelta(days=1),
        include_subaccounts=False,
        direction=direction,
        filters={},
        switches_on=frozenset(PRODUCTS[product].switches),
        echo={},
        sent={},
    )
    settings = Settings(rows_per_day=300, zip_members=2, inserted_column="brand_new", crlf=True)
    Rendering(
        request=request,
        settings=settings,
        accounts=["abcd1234"],
        created=DAY + timedelta(days=3),
        max_rows=1_000,
        empty=None,
    ).run(path, Event())
    proof = ArchiveProof()
    proof.update(path.read_bytes())
    return proof.finish()


@pytest.mark.parametrize(("product", "direction"), CASES)
def test_dataset_has_every_cell_of_the_archive(
    product: str, direction: str, tmp_path: Path
) -> None:
    archive = rendered(product, direction, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as files:
        texts = [files.read(name).decode() for name in files.namelist()]
    records = [list(csv.reader(io.StringIO(text, newline=""))) for text in texts]

    members = csv_members(FileSource(tmp_path / "a.zip"), archive.members)
    dataset = convert(members, product=product, target=tmp_path / "a.parquet")

    rows = [expected(product, header, cells) for header, *of_file in records for cells in of_file]
    assert len(rows) == dataset.rows >= 300
    assert read_back(tmp_path / "a.parquet") == rows
    assert set(dataset.rescued) <= {"brand_new"}
