"""Converting a report: from the receipts in the bucket, S3 as moto has it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from mypy_boto3_s3 import S3Client

from tests.integration.conftest import BUCKET, instead_of, keys_in, refusal_of_aws
from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.convert import convert_report
from vonage_reports.domain import objects
from vonage_reports.domain.archive import Archive, Member
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.objects import Precedence, Subject
from vonage_reports.domain.reports import Entry
from vonage_reports.domain.windows import Window

NOW = datetime(2026, 11, 22, 2, 20, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 20, 13, tzinfo=UTC)  # in Auckland
REPORT_ID = "sms-outbound-20261120T1300Z-0123456789ab"
SUBJECT = Subject(
    report_id=REPORT_ID,
    request_id="request-1",
    attempt=1,
    run=1,
    entry=Entry.CHECK,
    definition="sms-outbound",
    product="SMS",
    account_id="abcd1234",
    include_subaccounts=False,
    filters={"direction": "outbound", "include_message": False},
    window=Window(MIDNIGHT, MIDNIGHT + timedelta(days=1), "Pacific/Auckland"),
    revision="final",
    delay_days=3,
    planned="2026-11-22T02:15:00Z",
)
ARCHIVE = Archive(
    bytes=1234, sha256="9f86d081", members=(Member("report_SMS_abcd1234.csv", 5678, "d87f7e0c"),)
)
TIMES = {
    "submitted": "2026-11-22T02:16:00Z",
    "ready": "2026-11-22T02:19:00Z",
    "stored": "2026-11-22T02:20:00Z",
}
MANIFEST = f"manifests/sms-outbound/abcd1234/2026/11/21/{REPORT_ID}.json"


@dataclass
class Convert:
    """Converts reports whose receipts the test puts into the bucket."""

    s3: S3Client
    now: datetime = NOW

    def __call__(self, subject: Subject = SUBJECT, *receipts: str) -> dict[str, Any]:
        bucket = Bucket(self.s3, BUCKET)
        keys = receipts or (subject.receipt_key,)
        return convert_report(subject, keys, bucket=bucket, clock=lambda: self.now)

    def stored(
        self,
        subject: Subject = SUBJECT,
        archive: Archive | None = ARCHIVE,
        *,
        items_count: int | None = 2,
        times: Mapping[str, str | None] = TIMES,
    ) -> str:
        """Leave the receipt that store_report would; return its key."""
        receipt = objects.receipt(subject, archive, items_count=items_count, times=times)
        Bucket(self.s3, BUCKET).write_json(subject.receipt_key, receipt)
        return subject.receipt_key

    def manifest(self) -> dict[str, Any]:
        body = self.s3.get_object(Bucket=BUCKET, Key=MANIFEST)["Body"].read()
        document: dict[str, Any] = json.loads(body)
        return document


@pytest.fixture
def convert(s3: S3Client) -> Convert:
    return Convert(s3)


def test_the_manifest_says_what_was_delivered(convert: Convert) -> None:
    convert.stored()
    convert()
    manifest = convert.manifest()
    (archive,) = manifest.pop("archives")
    assert archive == {
        "bucket": BUCKET,
        "key": SUBJECT.archive_key,
        "bytes": 1234,
        "sha256": "9f86d081",
        "members": [{"name": "report_SMS_abcd1234.csv", "bytes": 5678, "crc32": "d87f7e0c"}],
        "request_id": "request-1",
        "items_count": 2,
    }
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
        "attempt": 1,
        "rows": 2,
        "columns": [],
        "schema_changed": False,
        "dataset": None,
        "totals": [],
        "row_check": "impossible",
        "times": {
            "planned": "2026-11-22T02:15:00Z",
            "submitted": "2026-11-22T02:16:00Z",
            "ready": "2026-11-22T02:19:00Z",
            "stored": "2026-11-22T02:20:00Z",
            "delivered": "2026-11-22T02:20:00Z",
        },
    }


def test_the_notification_says_where_it_is(convert: Convert) -> None:
    convert.stored()
    notification = convert()
    assert notification["event"] == "report.delivered"
    assert (notification["report_id"], notification["attempt"]) == (REPORT_ID, 1)
    assert (notification["rows"], notification["bytes"]) == (2, 1234)
    assert (notification["manifest"], notification["archives"]) == (MANIFEST, [SUBJECT.archive_key])
    assert notification["dataset"] is None


def test_the_archives_of_a_window_that_was_split_are_one_delivery(convert: Convert) -> None:
    halves = [
        replace(SUBJECT, report_id=f"{REPORT_ID[:-1]}{number}", request_id=f"request-{number}")
        for number in (2, 3)
    ]
    receipts = [
        convert.stored(half, items_count=half_rows)
        for half, half_rows in zip(halves, (40, 2), strict=True)
    ]
    notification = convert(replace(SUBJECT, request_id=None, entry=Entry.CONVERT), *receipts)
    assert (notification["rows"], notification["bytes"]) == (42, 2468)
    assert convert.manifest()["rows"] == 42
    assert [each["request_id"] for each in convert.manifest()["archives"]] == [
        "request-2",
        "request-3",
    ]


def test_a_second_run_says_the_same(convert: Convert) -> None:
    convert.stored()
    first = convert()
    manifest = convert.manifest()
    convert.now += timedelta(hours=1)
    assert convert(replace(SUBJECT, run=2)) == first
    again = convert.manifest()
    assert again["times"].pop("delivered") > manifest["times"].pop("delivered")
    assert again == manifest


def test_a_run_that_only_announces_takes_the_manifest_that_is_there(convert: Convert) -> None:
    receipt = convert.stored()
    first = convert()
    convert.s3.delete_object(Bucket=BUCKET, Key=receipt)
    assert convert(replace(SUBJECT, run=2, entry=Entry.ANNOUNCE)) == first


def test_a_run_that_should_only_announce_makes_the_manifest_that_is_missing(
    convert: Convert,
) -> None:
    convert.stored()
    convert(replace(SUBJECT, entry=Entry.ANNOUNCE))
    assert convert.manifest()["rows"] == 2


def test_a_run_that_goes_on_from_a_receipt_that_is_not_there_is_refused(convert: Convert) -> None:
    with pytest.raises(InvalidRequest, match="begin the run with a check"):
        convert()
    assert keys_in(convert.s3) == []


@pytest.mark.parametrize("items", [0, None])
def test_a_report_without_a_file_is_an_empty_delivery(items: int | None, convert: Convert) -> None:
    convert.stored(archive=None, items_count=items)
    notification = convert()
    assert (notification["rows"], notification["bytes"], notification["archives"]) == (0, 0, [])
    assert (convert.manifest()["rows"], convert.manifest()["archives"]) == (0, [])


# Who comes last does not win


def test_a_later_collection_takes_the_place_of_the_earlier_ones_manifest(convert: Convert) -> None:
    convert.stored()
    convert()
    later = replace(SUBJECT, request_id="request-2", attempt=2, run=2)
    convert.stored(later, items_count=3, times={**TIMES, "submitted": "2026-11-23T02:16:00Z"})
    assert convert(later)["attempt"] == 2
    assert convert.manifest()["archives"][0]["request_id"] == "request-2"


def test_a_forgotten_run_does_not_take_the_place_of_a_later_collection(convert: Convert) -> None:
    later = replace(SUBJECT, request_id="request-2", attempt=2, run=2)
    convert.stored(later, items_count=3, times={**TIMES, "submitted": "2026-11-23T02:16:00Z"})
    convert(later)
    convert.stored()
    convert()
    assert convert.manifest()["attempt"] == 2


def test_of_two_that_write_at_once_the_later_collection_wins(convert: Convert) -> None:
    convert.stored()
    bucket = Bucket(convert.s3, BUCKET)
    greater = Precedence(3, "2026-11-23T02:16:00Z", 2, 2)
    meanwhile = iter([refusal_of_aws(412, "PreconditionFailed")])

    def be_first(**_: object) -> object:
        answer = next(meanwhile, None)
        if answer is not None:
            assert bucket.replace_json(MANIFEST, {"rows": 99}, greater)
        return answer

    instead_of(convert.s3, "PutObject", be_first)
    convert()
    assert convert.manifest() == {"rows": 99}
    assert bucket.precedence(MANIFEST) == greater


def test_what_s3_refuses_is_not_taken_for_a_delivery(convert: Convert) -> None:
    convert.stored()
    instead_of(convert.s3, "PutObject", lambda **_: refusal_of_aws(403, "AccessDenied"))
    with pytest.raises(ClientError):
        convert()
    assert MANIFEST not in keys_in(convert.s3)
