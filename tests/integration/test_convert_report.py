"""convert_report, with archives and receipts in moto's S3, and moto's Glue."""

import hashlib
import io
import json
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import boto3
import pyarrow.parquet as pq
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from mypy_boto3_glue import GlueClient
from mypy_boto3_s3 import S3Client

from tests.integration.conftest import BUCKET, an_archive, instead_of, keys_in, refusal_of_aws
from tests.support.contracts import check, check_notification
from tests.support.csvs import written
from tests.support.run_input import DAY, MIDNIGHT, NOW, REPORT_ID, RUN_INPUT
from tests.support.zips import DEFLATED, written_by_zipfile
from vonage_dataset.convert_report import convert_report
from vonage_dataset.tables import OURS, TABLES
from vonage_reports.archive.zip_proof import ArchiveProof
from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.glue import CONNECT_SECONDS, ONE_TRY, READ_SECONDS, Catalogue, storage
from vonage_reports.domain import notifications, objects
from vonage_reports.domain.acceptance import Acceptable, advised
from vonage_reports.domain.errors import (
    ArchiveCorrupt,
    InvalidRequest,
    RowsMismatch,
    RowsUnreadable,
    VonageReportsError,
)
from vonage_reports.domain.objects import Precedence, archive_key, manifest_key, receipt_key
from vonage_reports.domain.report import Entry
from vonage_reports.domain.run_input import RunInput
from vonage_reports.domain.settings import Settings
from vonage_reports.domain.windows import Window

PRELIMINARY = replace(
    RUN_INPUT,
    report_id="sms-outbound-20261120T1300Z-ba9876543210",
    request_id="request-0",
    revision="preliminary",
    delay_days=0,
)
LATER = replace(RUN_INPUT, request_id="request-2", attempt=2, run=2)
TIMES = {
    "submitted": "2026-11-22T02:16:00Z",
    "ready": "2026-11-22T02:19:00Z",
    "stored": "2026-11-22T02:20:00Z",
}
LATER_TIMES = {**TIMES, "submitted": "2026-11-23T02:16:00Z"}
MANIFEST = f"manifests/sms-outbound/abcd1234/2026/11/21/{REPORT_ID}.json"
DATASET = (
    "data/product=SMS/definition=sms-outbound/account=abcd1234/date=2026-11-21/"
    "20261120T130000Z_20261121T130000Z.parquet"
)
UNREADABLE = DATASET.replace("data/", "unreadable/").replace(".parquet", ".csv")
DATABASE = "vonage_usage_reports"
PRICED = {"rows_without_price": 0, "rows_with_rescued_price": 0, "rows_without_time": 0}
HEADER = ["id", "to", "total_price", "currency", "date_received"]
TIME = "2026-11-20T23:59:59+00:00"
ROWS = [
    ["1", "447700900000", "0.0058", "", TIME],
    ["2", "447700900001", "0.12345678", "EUR", TIME],
]


def csv_of(rows: Sequence[Sequence[str]] = ROWS, header: Sequence[str] = HEADER) -> bytes:
    return written([header, *rows])


def numbered(*ids: int) -> bytes:
    """Return a CSV with these ids only."""
    return csv_of([[str(each), "", "", "", ""] for each in ids])


@dataclass
class Convert:
    """Converts reports whose archives and receipts the test stores in the bucket."""

    s3: S3Client
    glue: GlueClient
    now: datetime = NOW
    settings: Settings = field(default_factory=Settings)
    has_catalogue: bool = True
    warnings: list[str] = field(default_factory=list)

    def __call__(self, run_input: RunInput = RUN_INPUT, *receipts: str) -> dict[str, Any]:
        body = convert_report(
            run_input,
            receipts or (receipt_key(run_input),),
            bucket=Bucket(self.s3, BUCKET),
            catalogue=Catalogue(lambda: self.glue, DATABASE, warn=self.warnings.append)
            if self.has_catalogue
            else None,
            settings=self.settings,
            clock=lambda: self.now,
        )
        check_notification(body)
        check("manifest", json.loads(self.read(body["manifest"])))
        return body

    def stored(
        self,
        run_input: RunInput = RUN_INPUT,
        content: bytes | None = None,
        *,
        file: bool = True,
        archive: bytes = b"",
        items_count: int | None = 2,
        items_count_text: str | None = None,
        times: Mapping[str, str | None] = TIMES,
    ) -> str:
        """Store an archive and its receipt as store_report does; return the receipt's key."""
        proof = ArchiveProof()
        if file:
            archive = archive or an_archive(csv_of() if content is None else content)
            proof.update(archive)
            self.s3.put_object(Bucket=BUCKET, Key=archive_key(run_input), Body=archive)
        receipt = objects.receipt(
            run_input,
            proof.finish() if file else None,
            items_count=items_count,
            items_count_text=items_count_text,
            times=times,
        )
        check("receipt", receipt)
        Bucket(self.s3, BUCKET).write_json(receipt_key(run_input), receipt)
        return receipt_key(run_input)

    def delivered(self, run_input: RunInput, content: bytes, rows: int, **stored: Any) -> None:
        """Store and convert a report."""
        self.stored(run_input, content, items_count=rows, **stored)
        self(run_input)

    def read(self, key: str) -> bytes:
        return self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def manifest(self, run_input: RunInput = RUN_INPUT) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.read(manifest_key(run_input)))
        return document

    def ids(self) -> list[str]:
        """Return the ids that a reader of `data/` sees, in the order of the files."""
        return [
            row["id"]
            for key in self.made("data/")
            for row in pq.read_table(io.BytesIO(self.read(key))).to_pylist()
        ]

    def made(self, *prefixes: str) -> list[str]:
        """Return the keys under the prefixes, by default all that convert_report writes."""
        prefixes = prefixes or ("data/", "manifests/", "headers/")
        return [key for key in keys_in(self.s3) if key.startswith(prefixes)]

    def partitions(self) -> list[list[str]]:
        found = self.glue.get_partitions(DatabaseName=DATABASE, TableName="sms")["Partitions"]
        return [each["Values"] for each in found]

    def refuse_once(self, key: str) -> None:
        """Make S3 refuse the next write of a key."""
        refusals = iter([refusal_of_aws(403, "AccessDenied")])

        def refuse(params: dict[str, Any], **_: object) -> object:
            return next(refusals, None) if unquote(params["url_path"]) == f"/{key}" else None

        instead_of(self.s3, "PutObject", refuse)


@pytest.fixture
def glue(aws: None, aws_session: boto3.Session) -> Iterator[GlueClient]:  # noqa: ARG001 - aws: first
    client = aws_session.client("glue")
    client.create_database(DatabaseInput={"Name": DATABASE})
    client.create_table(
        DatabaseName=DATABASE,
        TableInput={
            "Name": "sms",
            "PartitionKeys": [{"Name": name} for name in ("definition", "account", "date")],
        },
    )
    yield client
    client.close()


@pytest.fixture
def convert(
    s3: S3Client, glue: GlueClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Convert]:
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield Convert(s3, glue)
    # A warm function keeps its /tmp, so every conversion must clean up.
    assert list(tmp_path.iterdir()) == []


# The delivery


def test_manifest_describes_the_delivery(convert: Convert) -> None:
    convert.stored()
    convert()
    manifest = convert.manifest()
    (archive,) = manifest.pop("archives")
    content = convert.read(archive_key(RUN_INPUT))
    assert archive["key"] == archive_key(RUN_INPUT)
    assert (archive["bucket"], archive["bytes"]) == (BUCKET, len(content))
    assert archive["sha256"] == hashlib.sha256(content).hexdigest()
    assert (archive["request_id"], archive["items_count"]) == ("request-1", 2)
    columns = manifest.pop("columns")
    assert columns[0] == {"name": "account_id", "type": "string"}
    assert {"name": "total_price", "type": "decimal(18,8)"} in columns
    assert columns[-1] == {"name": "_rescued", "type": "map<string,string>"}
    dataset = convert.read(DATASET)
    assert manifest == {
        "schema_version": 1,
        "report_id": REPORT_ID,
        "definition": "sms-outbound",
        "product": "SMS",
        "account_id": "abcd1234",
        "include_subaccounts": False,
        "filters": {"direction": "outbound", "include_message": False},
        "window": {
            "start": "2026-11-20T13:00:00Z",
            "end": "2026-11-21T13:00:00Z",
            "time_zone": "Pacific/Auckland",
        },
        "revision": "final",
        "relabelled": False,
        "attempt": 1,
        "rows": 2,
        "schema_changed": False,
        "dataset": {
            "bucket": BUCKET,
            "key": DATASET,
            "version_id": convert.s3.head_object(Bucket=BUCKET, Key=DATASET)["VersionId"],
            "bytes": len(dataset),
            "sha256": hashlib.sha256(dataset).hexdigest(),
            "rows": 2,
            "rescued_cells": 0,
        },
        "totals": [
            {"currency": None, "total_price": "0.0058", "rows": 1, **PRICED},
            {"currency": "EUR", "total_price": "0.12345678", "rows": 1, **PRICED},
        ],
        "rescued": {},
        "row_check": "equal",
        "accepted": [],
        "other_members": [],
        "catalogue": "registered",
        "times": {
            "planned": "2026-11-22T02:15:00Z",
            "submitted": "2026-11-22T02:16:00Z",
            "ready": "2026-11-22T02:19:00Z",
            "stored": "2026-11-22T02:20:00Z",
            "delivered": "2026-11-22T02:20:00Z",
        },
    }


def test_dataset_has_the_rows_of_vonage(convert: Convert) -> None:
    convert.stored()
    convert()
    rows = pq.read_table(io.BytesIO(convert.read(DATASET))).to_pylist()
    assert [(row["id"], row["to"], row["total_price"], row["currency"]) for row in rows] == [
        ("1", "447700900000", Decimal("0.0058"), None),
        ("2", "447700900001", Decimal("0.12345678"), "EUR"),
    ]


def test_notification_has_keys_and_totals(convert: Convert) -> None:
    convert.stored()
    notification = convert()
    assert notification["event"] == "report.delivered"
    assert (notification["report_id"], notification["attempt"]) == (REPORT_ID, 1)
    assert notification["rows"] == 2
    assert notification["bytes"] == len(convert.read(archive_key(RUN_INPUT)))
    assert (notification["manifest"], notification["archives"]) == (
        MANIFEST,
        [archive_key(RUN_INPUT)],
    )
    assert notification["dataset"] == DATASET
    assert notification["totals"] == convert.manifest()["totals"]
    assert notification["schema_changed"] is False


def test_empty_currency_is_the_definitions_else_the_accounts(convert: Convert) -> None:
    convert.settings = Settings(account_currency="USD")
    convert.stored()
    assert [total["currency"] for total in convert()["totals"]] == ["EUR", "USD"]
    (total,) = convert(replace(RUN_INPUT, currency="EUR"))["totals"]
    assert (total["currency"], total["total_price"], total["rows"]) == ("EUR", "0.12925678", 2)
    rows = pq.read_table(io.BytesIO(convert.read(DATASET))).to_pylist()
    assert [(row["currency"], row["_currency"]) for row in rows] == [(None, "EUR"), ("EUR", "EUR")]


@pytest.mark.parametrize("submitted", ["2026-11-22T02:16:00Z", None])
def test_every_row_names_its_collection(submitted: str | None, convert: Convert) -> None:
    convert.stored(PRELIMINARY, times={**TIMES, "submitted": submitted, "ready": submitted})
    convert(PRELIMINARY)
    rows = pq.read_table(io.BytesIO(convert.read(DATASET))).to_pylist()
    at = datetime(2026, 11, 22, 2, 16, tzinfo=UTC) if submitted else None
    assert [row["_window_start"] for row in rows] == [PRELIMINARY.window.start] * 2
    assert [(row["_revision"], row["_collected_at"]) for row in rows] == [("preliminary", at)] * 2


def test_rescued_price_is_counted_as_missing(convert: Convert) -> None:
    convert.stored(content=csv_of([*ROWS, ["3", "", "0.123456789", "EUR", TIME]]), items_count=3)
    notification = convert()
    assert convert.manifest()["dataset"]["rescued_cells"] == 1
    assert convert.manifest()["rescued"] == notification["rescued"] == {"total_price": 1}
    (_, total) = notification["totals"]
    assert total == {
        "currency": "EUR",
        "total_price": "0.12345678",
        "rows": 2,
        "rows_without_price": 1,
        "rows_with_rescued_price": 1,
        "rows_without_time": 0,
    }


def test_rescued_times_are_told_and_other_cells_counted(convert: Convert) -> None:
    header = ["id", "date_received", "total_price", "currency", "latency", "new"]
    rows = [
        ["1", "2026-11-19 10:00:00", "0.1", "unreadable", "12 ms", "x"],
        ["2", "2026-11-19T10:00:00Z", "0.1", "", "12", ""],
    ]
    convert.stored(content=csv_of(rows, header).replace(b"unreadable", b"\x80"))
    told = {"date_received": 1, "currency": 1}
    assert convert()["rescued"] == told
    assert convert.manifest()["rescued"] == {**told, "latency": 1, "new": 1}


def test_bucket_without_versioning_has_the_version_null(convert: Convert) -> None:
    convert.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})
    convert.stored()
    convert()
    assert convert.manifest()["dataset"]["version_id"] == "null"


# Split windows


def halves(convert: Convert, contents: Sequence[bytes], rows: int) -> list[str]:
    """Store the parts of the window, oldest first; return the keys of the receipts."""
    length = DAY / len(contents)
    return [
        convert.stored(
            replace(
                RUN_INPUT,
                report_id=f"{REPORT_ID[:-1]}{number}",
                request_id=f"request-of-part-{number}",
                window=Window(
                    MIDNIGHT + number * length, MIDNIGHT + (number + 1) * length, "Pacific/Auckland"
                ),
            ),
            content,
            items_count=rows,
        )
        for number, content in enumerate(contents)
    ]


ROOT = replace(RUN_INPUT, request_id=None, entry=Entry.CONVERT)


def test_archives_of_a_split_window_are_one_delivery(convert: Convert) -> None:
    receipts = halves(convert, [numbered(1, 2), numbered(4, 3), numbered(6, 5)], 2)
    notification = convert(ROOT, *receipts)
    assert (notification["rows"], notification["dataset"]) == (6, DATASET)
    assert notification["bytes"] == sum(
        len(convert.read(key)) for key in convert.made("archives/") if key.endswith(".zip")
    )
    assert [each["request_id"] for each in convert.manifest()["archives"]] == [
        "request-of-part-0",
        "request-of-part-1",
        "request-of-part-2",
    ]
    assert convert.ids() == ["1", "2", "4", "3", "6", "5"]
    assert convert.made("data/") == [DATASET]


def test_window_split_and_whole_again_has_each_record_once(convert: Convert) -> None:
    convert.delivered(RUN_INPUT, numbered(1, 2, 3), 3)
    receipts = halves(convert, [numbered(1, 2), numbered(3, 4)], 2)
    convert(replace(ROOT, attempt=2, run=2), *receipts)
    assert convert.ids() == ["1", "2", "3", "4"]
    whole = replace(LATER, request_id="request-3", attempt=3, run=3)
    convert.delivered(whole, numbered(4, 3, 2, 1, 5), 5, times=LATER_TIMES)
    assert convert.ids() == ["4", "3", "2", "1", "5"]
    assert convert.made("data/") == [DATASET]


# Empty reports


@pytest.mark.parametrize("items", [0, None])
@pytest.mark.parametrize("content", [None, b"", csv_of([])], ids=["no file", "empty", "header"])
def test_report_without_rows_is_a_delivery_of_zero_rows(
    items: int | None, content: bytes | None, convert: Convert
) -> None:
    convert.delivered(PRELIMINARY, numbered(1, 2), 2)
    convert.stored(content=content, file=content is not None, items_count=items)
    notification = convert()
    assert (notification["rows"], notification["totals"]) == (0, [])
    assert notification["dataset"] == DATASET
    manifest = convert.manifest()
    assert (manifest["rows"], manifest["dataset"]["rows"]) == (0, 0)
    assert len(manifest["archives"]) == (content is not None)
    assert convert.ids() == []
    assert pq.read_schema(io.BytesIO(convert.read(DATASET))).names[-1] == "_rescued"


# The row check


@pytest.mark.parametrize("counted", [0, 1, 3])
def test_different_row_count_is_no_delivery(counted: int, convert: Convert) -> None:
    convert.stored(items_count=counted)
    with pytest.raises(RowsMismatch, match=f"2 rows, and Vonage counted {counted}"):
        convert()
    assert convert.made() == []
    assert convert.partitions() == []
    assert archive_key(RUN_INPUT) in keys_in(convert.s3)


def test_row_check_warn_records_the_difference_in_the_manifest(convert: Convert) -> None:
    convert.settings = Settings(row_check="warn")
    convert.stored(items_count=3)
    assert convert()["rows"] == 2
    assert convert.manifest()["row_check"] == "different"


def test_row_check_is_impossible_without_vonages_count(convert: Convert) -> None:
    convert.stored(items_count=None)
    notification = convert()
    assert (notification["rows"], notification["row_check"]) == (2, "impossible")
    assert convert.manifest()["row_check"] == "impossible"


def test_unreadable_count_is_no_missing_count(convert: Convert) -> None:
    convert.stored(items_count=None, items_count_text="about 2")
    with pytest.raises(RowsMismatch, match="2 rows, and items_count is unreadable: 'about 2'"):
        convert()
    assert convert.made() == []
    convert.settings = Settings(row_check="warn")
    assert convert()["row_check"] == "different"


def test_row_check_sums_the_parts_of_a_split_window(convert: Convert) -> None:
    receipts = halves(convert, [numbered(1, 2, 3), numbered(4)], 2)
    assert convert(ROOT, *receipts)["rows"] == 4
    assert convert.manifest()["row_check"] == "equal"


# Accepted imperfections


def accepting(*names: Acceptable) -> RunInput:
    return replace(RUN_INPUT, run=2, accept=names)


def accepted_by(convert: Convert, *names: Acceptable) -> list[dict[str, Any]]:
    """Convert and return the list in the notification, which equals that of the manifest."""
    accepted: list[dict[str, Any]] = convert(accepting(*names))["accepted"]
    assert convert.manifest()["accepted"] == accepted
    return accepted


@pytest.mark.parametrize(
    ("counted", "rows", "row_check"), [(3, 1, "different"), (1, 1, "different"), (2, 0, "equal")]
)
def test_accepted_row_count_is_told(
    counted: int, rows: int, row_check: str, convert: Convert
) -> None:
    convert.stored(items_count=counted)
    assert accepted_by(convert, Acceptable.ROW_COUNT) == [{"name": "row_count", "rows": rows}]
    assert convert.manifest()["row_check"] == row_check


def test_accepted_unreadable_count_has_no_number(convert: Convert) -> None:
    convert.stored(items_count=None, items_count_text="about 2")
    assert accepted_by(convert, Acceptable.ROW_COUNT) == [{"name": "row_count", "rows": None}]
    assert convert.manifest()["row_check"] == "different"


def test_accepted_missing_columns_are_told(convert: Convert) -> None:
    convert.stored(content=csv_of([["1", "x"], ["2", ""]], ["id", "cost"]))
    assert accepted_by(convert, Acceptable.MISSING_COLUMNS) == [
        {"name": "missing_columns", "rows": 2}
    ]
    assert convert.manifest()["rescued"] == {"cost": 1}
    (total,) = convert.manifest()["totals"]
    assert (total["rows_without_price"], total["total_price"]) == (2, "0")


BAD = b'"3","447700900002"x,"1","EUR",""\n"4","","",\n'
"""Two records in a row that cannot be read, which count as one."""


def with_bad_rows(*, row: Sequence[str] = ROWS[1]) -> bytes:
    return written([HEADER, ROWS[0]]) + BAD + written([row])


def test_unreadable_rows_are_kept_beside_the_dataset(convert: Convert) -> None:
    convert.stored(content=with_bad_rows(), items_count=3)
    (accepted,) = accepted_by(convert, Acceptable.UNREADABLE_ROWS)
    version_id = convert.s3.head_object(Bucket=BUCKET, Key=UNREADABLE)["VersionId"]
    assert convert.read(UNREADABLE) == BAD
    assert accepted == {
        "name": "unreadable_rows",
        "rows": 1,
        "key": UNREADABLE,
        "version_id": version_id,
        "bytes": len(BAD),
        "sha256": hashlib.sha256(BAD).hexdigest(),
    }
    assert convert.ids() == ["1", "2"]
    assert (convert.manifest()["rows"], convert.manifest()["row_check"]) == (2, "different")


@pytest.mark.parametrize("counted", [2, 4])
def test_unreadable_rows_must_add_up(counted: int, convert: Convert) -> None:
    convert.stored(content=with_bad_rows(), items_count=counted)
    with pytest.raises(RowsMismatch, match=r"3 rows \(1 unreadable\), and") as caught:
        convert(accepting(Acceptable.UNREADABLE_ROWS))
    assert convert.made("data/", "unreadable/", "manifests/") == []
    both = advised(str(caught.value))
    assert both == (Acceptable.ROW_COUNT, Acceptable.UNREADABLE_ROWS)
    assert [each["rows"] for each in accepted_by(convert, *both)] == [1, 1]


def test_unreadable_rows_of_all_archives_are_in_one_object(convert: Convert) -> None:
    receipts = halves(convert, [with_bad_rows(), with_bad_rows()], 3)
    convert(replace(ROOT, accept=(Acceptable.UNREADABLE_ROWS,)), *receipts)
    (accepted,) = convert.manifest(ROOT)["accepted"]
    assert (accepted["rows"], convert.read(accepted["key"])) == (2, BAD * 2)


def test_later_conversion_without_unreadable_rows_empties_the_object(convert: Convert) -> None:
    convert.stored(content=with_bad_rows(), items_count=3)
    accepted_by(convert, Acceptable.UNREADABLE_ROWS)
    convert.delivered(LATER, csv_of(), 2, times=LATER_TIMES)
    assert convert.manifest()["accepted"] == []
    assert convert.read(UNREADABLE) == b""
    # A late run of the earlier collection does not bring the rows back.
    convert(accepting(Acceptable.UNREADABLE_ROWS))
    assert convert.read(UNREADABLE) == b""


def test_unreadable_rows_of_a_conversion_overtaken_are_not_left(convert: Convert) -> None:
    convert.stored(content=with_bad_rows(), items_count=3)
    convert.stored(LATER, csv_of(), times=LATER_TIMES)
    calls = iter([lambda: convert(LATER)])

    def overtake(params: dict[str, Any], **_: object) -> None:
        if unquote(params["url_path"]) == f"/{UNREADABLE}":
            next(calls, lambda: None)()

    instead_of(convert.s3, "PutObject", overtake)
    convert(accepting(Acceptable.UNREADABLE_ROWS))
    assert convert.ids() == ["1", "2"]
    assert convert.read(UNREADABLE) == b""


def test_accepted_imperfection_that_is_none_concerns_no_rows(convert: Convert) -> None:
    convert.stored()
    assert accepted_by(convert, *Acceptable) == [
        {"name": each.value, "rows": 0} for each in Acceptable
    ]
    assert convert.made("unreadable/") == []
    assert convert.manifest()["row_check"] == "equal"


def test_failure_names_all_that_has_to_be_accepted(convert: Convert) -> None:
    convert.stored(content=csv_of([["1"]], ["id"]), items_count=3)
    with pytest.raises(RowsUnreadable) as caught:
        convert()
    assert advised(str(caught.value)) == (Acceptable.MISSING_COLUMNS,)
    with pytest.raises(RowsMismatch) as mismatch:
        convert(accepting(*advised(str(caught.value))))
    both = (Acceptable.ROW_COUNT, Acceptable.MISSING_COLUMNS)
    assert advised(str(mismatch.value)) == both
    assert convert.made() == []
    assert [each["rows"] for each in accepted_by(convert, *both)] == [2, 1]


def test_failure_that_nothing_accepted_would_mend_has_no_advice(convert: Convert) -> None:
    convert.stored(content=b"id,ID,total_price,date_received\n1,2,,\n")
    with pytest.raises(RowsUnreadable) as caught:
        convert()
    assert advised(str(caught.value)) == ()


# Members of archives


def zipped(**files: bytes) -> bytes:
    return written_by_zipfile(files, method=DEFLATED, seekable=False, zip64=False)


@pytest.mark.parametrize("items_count", [0, None])
def test_archive_without_members_is_an_empty_report(
    items_count: int | None, convert: Convert
) -> None:
    convert.stored(archive=zipped(), items_count=items_count)
    assert convert()["rows"] == 0
    assert convert.manifest()["other_members"] == []


def test_members_that_are_no_csv_are_listed_and_not_read(convert: Convert) -> None:
    others = {"__MACOSX/._report.csv": b"\0\5\xff\r", "README.txt": b"Terms apply\nSee site\n"}
    convert.stored(archive=zipped(**{"report.CSV": csv_of()}, **others))
    assert convert()["rows"] == 2
    assert convert.manifest()["other_members"] == list(others)


# Unreadable archives

BROKEN: list[tuple[bytes, type[VonageReportsError], str]] = [
    (b"id,to\n1,447700900000\n2\n", RowsUnreadable, r"\.csv, line 3: 1 field"),
    (b'id,to\n1,"447700900000\n', RowsUnreadable, r"\.csv, line 2: a quote"),
]


@pytest.mark.parametrize(("content", "error", "sentence"), BROKEN)
def test_unreadable_row_writes_nothing_and_names_the_line(
    content: bytes, error: type[VonageReportsError], sentence: str, convert: Convert
) -> None:
    convert.stored(content=content)
    with pytest.raises(error, match=sentence):
        convert()
    assert convert.made() == []


def test_archive_that_differs_from_its_receipt_is_no_delivery(convert: Convert) -> None:
    convert.stored()
    other = an_archive(csv_of(list(reversed(ROWS))))
    convert.s3.put_object(Bucket=BUCKET, Key=archive_key(RUN_INPUT), Body=other)
    with pytest.raises(ArchiveCorrupt):
        convert()
    assert convert.made() == []


def test_unreadable_row_keeps_the_earlier_revisions_dataset(convert: Convert) -> None:
    convert.delivered(PRELIMINARY, numbered(1, 2), 2)
    convert.stored(content=b"id,to\n1\n")
    with pytest.raises(RowsUnreadable):
        convert()
    assert convert.ids() == ["1", "2"]


def test_missing_receipt_is_named_with_the_remedy(convert: Convert) -> None:
    with pytest.raises(
        InvalidRequest, match=f"^{receipt_key(RUN_INPUT)} is missing: restore .* reconvert"
    ):
        convert()
    assert keys_in(convert.s3) == []


def test_deleted_archive_is_named_with_the_remedy(convert: Convert) -> None:
    convert.stored()
    convert.s3.delete_object(Bucket=BUCKET, Key=archive_key(RUN_INPUT))
    with pytest.raises(
        InvalidRequest, match=f"^{archive_key(RUN_INPUT)} is missing: restore .* reconvert"
    ):
        convert()
    assert convert.made() == []


# Repeated runs


def test_second_run_returns_the_same_notification(convert: Convert) -> None:
    convert.stored()
    first = convert()
    manifest = convert.manifest()
    convert.now += timedelta(hours=1)
    assert convert(replace(RUN_INPUT, run=2)) == first
    again = convert.manifest()
    assert again["times"].pop("delivered") > manifest["times"].pop("delivered")
    assert again["dataset"].pop("version_id") != manifest["dataset"].pop("version_id")
    assert again == manifest


@pytest.mark.parametrize("key", [DATASET, MANIFEST, "headers/sms-outbound/abcd1234.json"])
def test_next_run_completes_one_that_died_at_any_write(key: str, convert: Convert) -> None:
    convert.stored()
    convert.refuse_once(key)
    with pytest.raises(ClientError):
        convert()
    assert (MANIFEST in convert.made()) == key.startswith("headers/")
    assert (DATASET in convert.made()) == (key != DATASET)
    notification = convert(replace(RUN_INPUT, run=2))
    assert (notification["rows"], convert.ids()) == (2, ["1", "2"])
    dataset = convert.manifest()["dataset"]
    assert dataset["sha256"] == hashlib.sha256(convert.read(DATASET)).hexdigest()
    assert dataset["version_id"] == convert.s3.head_object(Bucket=BUCKET, Key=DATASET)["VersionId"]


def test_announcing_run_reads_the_manifest(convert: Convert) -> None:
    receipt = convert.stored()
    first = convert()
    convert.s3.delete_object(Bucket=BUCKET, Key=receipt)
    assert convert(replace(RUN_INPUT, run=2, entry=Entry.ANNOUNCE)) == first


def test_announcing_run_writes_a_missing_manifest(
    convert: Convert,
) -> None:
    convert.stored()
    convert(replace(RUN_INPUT, entry=Entry.ANNOUNCE))
    assert convert.manifest()["rows"] == 2


# Precedence


def test_later_collection_replaces_an_earlier_one(convert: Convert) -> None:
    convert.delivered(RUN_INPUT, numbered(1, 2), 2)
    convert.delivered(LATER, numbered(1, 2, 3), 3, times=LATER_TIMES)
    assert convert.manifest()["attempt"] == 2
    assert convert.manifest()["archives"][0]["request_id"] == "request-2"
    assert convert.ids() == ["1", "2", "3"]


def test_stale_run_writes_nothing_and_announces_the_newer(convert: Convert) -> None:
    convert.delivered(LATER, numbered(1, 2, 3), 3, times=LATER_TIMES)
    convert.stored(RUN_INPUT, csv_of([[*ROWS[0], "x"]], [*HEADER, "new"]), items_count=1)
    told = convert(RUN_INPUT)
    manifest = convert.manifest()
    assert told == notifications.delivered(manifest, manifest_key=MANIFEST)
    assert (told["attempt"], told["rows"], told["dataset"]) == (2, 3, DATASET)
    assert manifest["archives"][0]["request_id"] == "request-2"
    assert convert.ids() == ["1", "2", "3"]
    # The header of the stale collection does not count for the next day either.
    assert not changed(convert, 1, *HEADER)


def test_final_revision_replaces_the_preliminary_one(convert: Convert) -> None:
    convert.delivered(PRELIMINARY, numbered(1), 1)
    convert.delivered(RUN_INPUT, numbered(1, 2), 2)
    assert convert.ids() == ["1", "2"]
    assert convert.made("data/") == [DATASET]
    assert convert.manifest(PRELIMINARY)["revision"] == "preliminary"


def test_late_preliminary_keeps_the_finals_dataset_and_has_none(
    convert: Convert,
) -> None:
    convert.delivered(RUN_INPUT, numbered(1, 2), 2)
    # Collected after the final revision: the revision decides, not the time.
    convert.stored(PRELIMINARY, numbered(1), items_count=1, times=LATER_TIMES)
    notification = convert(PRELIMINARY)
    assert (notification["rows"], notification["dataset"]) == (1, None)
    assert convert.manifest(PRELIMINARY)["dataset"] is None
    assert convert.ids() == ["1", "2"]
    assert convert.manifest()["dataset"]["rows"] == 2


def test_later_collection_wins_a_concurrent_write(convert: Convert) -> None:
    convert.stored()
    convert.stored(LATER, numbered(1, 2, 3), items_count=3, times=LATER_TIMES)
    meanwhile = iter([refusal_of_aws(412, "PreconditionFailed")])
    told = []

    def be_first(**_: object) -> object:
        answer = next(meanwhile, None)
        if answer is not None:
            told.append(convert(LATER))
        return answer

    instead_of(convert.s3, "PutObject", be_first)
    # The same notification twice, and always of the stored manifest.
    assert [convert()] == told
    assert convert.ids() == ["1", "2", "3"]
    assert convert.manifest()["attempt"] == 2


def test_refused_write_of_s3_is_no_delivery(convert: Convert) -> None:
    convert.stored()
    instead_of(convert.s3, "PutObject", lambda **_: refusal_of_aws(403, "AccessDenied"))
    with pytest.raises(ClientError):
        convert()
    assert convert.made() == []


# Changes of the header


def of_day(day: int, *header: str) -> tuple[RunInput, bytes]:
    """Return a window `day` days after the first, and a CSV with a header and no rows."""
    window = Window(MIDNIGHT + day * DAY, MIDNIGHT + (day + 1) * DAY, "Pacific/Auckland")
    report_id = f"sms-outbound-{window.start:%Y%m%dT%H%MZ}-0123456789ab"
    request_id = f"request-of-day-{day}"
    return replace(RUN_INPUT, report_id=report_id, request_id=request_id, window=window), written(
        [header]
    )


def changed(convert: Convert, day: int, *header: str) -> bool:
    """Whether the delivery of a day announces a change of the header."""
    run_input, content = of_day(day, *header)
    convert.stored(run_input, content, items_count=0)
    notification = convert(run_input)
    assert notification["schema_changed"] == convert.manifest(run_input)["schema_changed"]
    return bool(notification["schema_changed"])


def test_first_header_and_the_same_header_are_no_change(
    convert: Convert,
) -> None:
    assert not changed(convert, 1, "id", "to")
    assert not changed(convert, 2, "id", "to")


@pytest.mark.parametrize("header", [("id",), ("id", "provider", "to"), ("to", "id")])
def test_new_header_is_announced_once(header: Sequence[str], convert: Convert) -> None:
    changed(convert, 1, "id", "to")
    assert changed(convert, 2, *header)
    assert not changed(convert, 3, *header)


def test_older_window_announces_and_records_no_header(convert: Convert) -> None:
    changed(convert, 2, "id", "to")
    assert not changed(convert, 1, "id")
    assert not changed(convert, 3, "id", "to")


def test_reconverted_window_announces_its_header_again(convert: Convert) -> None:
    changed(convert, 1, "id", "to")
    assert changed(convert, 2, "id")
    assert changed(convert, 2, "id")
    assert not changed(convert, 3, "id")


def test_next_run_announces_the_header_after_a_crash(
    convert: Convert,
) -> None:
    changed(convert, 1, "id", "to")
    convert.refuse_once(manifest_key(of_day(2)[0]))
    with pytest.raises(ClientError):
        changed(convert, 2, "id")
    assert changed(convert, 2, "id")


def test_window_without_a_file_is_no_change_of_header(convert: Convert) -> None:
    changed(convert, 1, "id", "to")
    run_input, _ = of_day(2)
    convert.stored(run_input, file=False, items_count=0)
    assert convert(run_input)["schema_changed"] is False
    assert changed(convert, 3, "id")


def test_accounts_of_a_definition_have_separate_headers(convert: Convert) -> None:
    changed(convert, 1, "id", "to")
    run_input, content = of_day(2, "id")
    other = replace(run_input, account_id="ef567890")
    convert.stored(other, content, items_count=0)
    assert convert(other)["schema_changed"] is False


# The catalogue


def test_delivery_is_a_partition_of_its_products_table(convert: Convert) -> None:
    convert.stored()
    convert()
    values = ["sms-outbound", "abcd1234", "2026-11-21"]
    partition = convert.glue.get_partition(
        DatabaseName=DATABASE, TableName="sms", PartitionValues=values
    )["Partition"]
    folder = DATASET.rpartition("/")[0]
    columns = [(each.name, each.type.value) for each in TABLES["SMS"].all_columns]
    assert partition["StorageDescriptor"] == storage(f"s3://{BUCKET}/{folder}/", columns)


def test_existing_partition_stays_unchanged(convert: Convert) -> None:
    convert.stored()
    convert()
    convert(replace(RUN_INPUT, run=2))
    assert convert.partitions() == [["sms-outbound", "abcd1234", "2026-11-21"]]


def test_partition_is_registered_before_the_manifest_is_written(convert: Convert) -> None:
    convert.stored()
    made: list[list[str]] = []
    instead_of(convert.glue, "CreatePartition", lambda **_: made.append(convert.made()))
    convert()
    assert made == [[DATASET]]
    assert convert.manifest()["catalogue"] == "registered"


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "AccessDeniedException"), (400, "ThrottlingException"), (500, "InternalService")],
)
def test_refusal_by_glue_hinders_no_delivery(status: int, code: str, convert: Convert) -> None:
    convert.stored()
    calls = []

    def refuse(**_: object) -> object:
        calls.append(code)
        return refusal_of_aws(status, code)

    instead_of(convert.glue, "CreatePartition", refuse)
    assert convert()["catalogue"] == convert.manifest()["catalogue"] == "pending"
    assert len(calls) == 1
    (warning,) = convert.warnings
    assert f"AWS refused CreatePartition with {code}" in warning
    assert ("Lake Formation" in warning) == (code == "AccessDeniedException")


def test_announcing_run_repeats_the_pending_registration(convert: Convert) -> None:
    convert.stored()
    instead_of(convert.glue, "CreatePartition", lambda **_: refusal_of_aws(400, "Throttling"))
    convert()
    written = convert.read(MANIFEST)
    assert convert(replace(RUN_INPUT, run=2, entry=Entry.ANNOUNCE))["catalogue"] == "pending"
    assert convert.read(MANIFEST) == written


def test_stack_without_catalogue_asks_glue_for_nothing(convert: Convert) -> None:
    convert.stored()
    convert.has_catalogue = False
    instead_of(convert.glue, "CreatePartition", lambda **_: pytest.fail("it is off"))
    assert convert()["catalogue"] == convert.manifest()["catalogue"] == "off"


def test_silent_glue_is_waited_for_once_and_below_ten_seconds(convert: Convert) -> None:
    assert 2 * CONNECT_SECONDS + READ_SECONDS < 10
    convert.stored()
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        convert.glue = boto3.Session("key", "secret", region_name="eu-west-1").client(
            "glue",
            endpoint_url=f"http://{host}:{port}",
            config=ONE_TRY.merge(Config(read_timeout=0.2)),
        )
        assert convert()["catalogue"] == "pending"
        server.settimeout(0.1)
        server.accept()[0].close()
        with pytest.raises(TimeoutError):
            server.accept()
    (warning,) = convert.warnings
    assert warning.startswith("the call to AWS failed: Read timeout")


def test_unknown_product_is_delivered_without_the_catalogue(
    convert: Convert,
) -> None:
    run_input = replace(RUN_INPUT, product="BRAND-NEW")
    convert.stored(run_input)
    instead_of(convert.glue, "CreatePartition", lambda **_: pytest.fail("it has no table"))
    notification = convert(run_input)
    assert notification["catalogue"] == "off"
    assert notification["dataset"] == DATASET.replace("SMS", "BRAND-NEW")
    names = [column["name"] for column in convert.manifest()["columns"]]
    assert names == [*HEADER, *(column.name for column in OURS)]


def test_missing_bucket_is_no_missing_object(s3: S3Client) -> None:
    bucket = Bucket(s3, BUCKET)
    instead_of(s3, "PutObject", lambda **_: refusal_of_aws(404, "NoSuchBucket"))
    with pytest.raises(ClientError, match="NoSuchBucket"):
        bucket.replace_json("manifests/one.json", {}, Precedence(3, "", 1, 1))


RELABELLED = replace(PRELIMINARY, run=2, entry=Entry.CONVERT, revision="final", relabelled=True)


def revisions_seen(convert: Convert) -> list[tuple[str, datetime]]:
    """Return each row's revision and time of collection, as a reader of `data/` sees them."""
    return [
        (row["_revision"], row["_collected_at"])
        for key in convert.made("data/")
        for row in pq.read_table(io.BytesIO(convert.read(key))).to_pylist()
    ]


def test_relabelled_delivery_is_converted_from_its_archive(convert: Convert) -> None:
    convert.delivered(PRELIMINARY, csv_of(), 2)
    before = revisions_seen(convert)

    notification = convert(RELABELLED)

    manifest = convert.manifest(RELABELLED)
    assert (manifest["revision"], manifest["relabelled"], manifest["rows"]) == ("final", True, 2)
    assert (notification["event"], notification["revision"]) == ("report.delivered", "final")
    # The records were collected when they were.
    assert revisions_seen(convert) == [("final", collected_at) for _, collected_at in before]
    dataset = convert.s3.head_object(Bucket=BUCKET, Key=notification["dataset"])
    assert manifest["dataset"]["version_id"] == dataset.get("VersionId", "null")
    assert dataset["Metadata"]["run"] == "2"


def test_relabelled_delivery_keeps_rows_that_were_accepted_before(convert: Convert) -> None:
    convert.settings = Settings(row_check="warn")
    convert.delivered(PRELIMINARY, csv_of(), 3)
    convert.settings = Settings(row_check="enforce")

    convert(RELABELLED)

    manifest = convert.manifest(RELABELLED)
    assert (manifest["revision"], manifest["row_check"]) == ("final", "different")


def test_operator_accepts_a_difference_again_for_each_conversion(convert: Convert) -> None:
    convert.delivered(replace(PRELIMINARY, accept=(Acceptable.ROW_COUNT,)), csv_of(), 3)

    with pytest.raises(RowsMismatch):
        convert(RELABELLED)
    convert(replace(RELABELLED, accept=(Acceptable.ROW_COUNT,)))

    assert convert.manifest(RELABELLED)["accepted"] == [{"name": "row_count", "rows": 1}]


@pytest.mark.parametrize("gone", [archive_key, receipt_key], ids=["archive", "receipt"])
def test_relabelled_delivery_without_archive_is_final_by_its_manifest(
    convert: Convert, gone: Callable[[RunInput], str]
) -> None:
    convert.delivered(PRELIMINARY, csv_of(), 2)
    before, seen = convert.manifest(PRELIMINARY), revisions_seen(convert)
    convert.s3.delete_object(Bucket=BUCKET, Key=gone(PRELIMINARY))
    convert.now += timedelta(days=1)

    for _ in range(2):
        notification = convert(RELABELLED)

        assert convert.manifest(RELABELLED) == {
            **before,
            "revision": "final",
            "relabelled": True,
            "times": {**before["times"], "delivered": convert.now.strftime("%Y-%m-%dT%H:%M:%SZ")},
        }
        assert (notification["revision"], notification["rows"]) == ("final", 2)
    assert revisions_seen(convert) == seen


def test_relabelling_never_replaces_a_later_collection(convert: Convert) -> None:
    convert.delivered(PRELIMINARY, csv_of(), 2)
    later = replace(PRELIMINARY, revision="final", attempt=2, run=3, request_id="request-9")
    convert.delivered(later, numbered(7), 1, times=LATER_TIMES)
    convert.s3.delete_object(Bucket=BUCKET, Key=archive_key(PRELIMINARY))

    assert convert(RELABELLED)["rows"] == 1

    assert convert.ids() == ["7"]
    assert convert.manifest(RELABELLED)["relabelled"] is False


def test_relabelled_delivery_that_is_gone_asks_for_the_operator(convert: Convert) -> None:
    with pytest.raises(InvalidRequest, match="restore its version"):
        convert(RELABELLED)
