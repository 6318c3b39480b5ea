"""store_report, with real downloads from a scripted server and moto's S3."""

import gzip
import hashlib
import importlib.util
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain, repeat
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from mypy_boto3_s3 import S3Client

from tests.integration.conftest import (
    API_KEY,
    API_SECRET,
    BUCKET,
    REGION,
    Bytes,
    Connect,
    ScriptedServer,
    Serve,
    an_archive,
    an_archive_of,
    answer,
    calls_to,
    chunked,
    instead_of,
    keys_in,
    open_uploads_in,
    refusal_of_aws,
    without_length,
)
from tests.support.paths import ROOT
from tests.support.run_input import NOW, REPORT_ID, RUN_INPUT
from tests.support.zips import STORED, File, Parts
from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.cloudwatch import Metrics
from vonage_reports.aws.multipart_upload import PART_BYTES, TIME_TO_STOP
from vonage_reports.domain.errors import (
    ArchiveCorrupt,
    RateLimited,
    ReportExpired,
    VonageRejected,
    VonageReportsError,
    VonageUnavailable,
)
from vonage_reports.domain.run_input import RunInput
from vonage_reports.store_report import store_report
from vonage_reports.vonage.client import VonageClient

CSV = b'"id","to"\n"1","447700900000"\n"2","447700900001"\n'
ARCHIVE = an_archive(CSV)
WHOLE = answer(body=ARCHIVE, content_type="application/octet-stream")
DOWNLOAD = {
    "file_id": "file-1",
    "items_count": 2,
    "submitted": "2026-11-22T02:16:00Z",
    "ready": "2026-11-22T02:19:00Z",
}
FOLDER = f"sms-outbound/abcd1234/2026/11/21/{REPORT_ID}"
ZIP = f"archives/{FOLDER}/request-1.zip"
RECEIPT = f"archives/{FOLDER}/request-1.json"
REFUSED = f"refused/{FOLDER}/request-1.zip"


@dataclass
class Store:
    """Stores reports from a server whose answers the test scripts."""

    s3: S3Client
    server: ScriptedServer
    vonage: VonageClient
    now: datetime = NOW
    seconds_left: Iterator[float] = field(default_factory=lambda: repeat(900.0))

    def __call__(
        self, run_input: RunInput = RUN_INPUT, download: dict[str, Any] = DOWNLOAD
    ) -> dict[str, Any]:
        return store_report(
            run_input,
            download,
            vonage=self.vonage,
            bucket=Bucket(self.s3, BUCKET),
            metrics=Metrics("stack-of-tests"),
            clock=lambda: self.now,
            seconds_left=lambda: next(self.seconds_left),
        )

    def script(self, *answers: Bytes) -> None:
        self.server.answers = iter(answers)

    def read(self, key: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.content(key))
        return document

    def content(self, key: str) -> bytes:
        return self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    def delete(self, key: str) -> None:
        self.s3.delete_object(Bucket=BUCKET, Key=key)


@pytest.fixture
def store(s3: S3Client, serve: Serve, connect: Connect) -> Store:
    server = serve(WHOLE)
    return Store(s3, server, connect(server.url))


# The archive and its receipt


def test_archive_is_written_before_its_receipt(store: Store) -> None:
    calls = calls_to(store.s3)
    store()
    written = [call.key for call in calls if call.operation == "PutObject"]
    assert written == [ZIP, RECEIPT]
    assert sorted(keys_in(store.s3)) == sorted(written)


def test_archive_is_stored_unchanged(store: Store) -> None:
    store()
    assert store.content(ZIP) == ARCHIVE
    assert [request.target for request in store.server.requests] == ["/v3/media/file-1"]


def test_large_archive_is_stored_unchanged(store: Store) -> None:
    archive = an_archive_of(2 * PART_BYTES + 4711)
    store.script(answer(body=archive))
    receipt = store()
    assert store.content(ZIP) == archive
    assert receipt["archive"]["bytes"] == len(archive)
    assert open_uploads_in(store.s3) == []


def test_receipt_describes_the_proved_archive(store: Store) -> None:
    store()
    receipt = store.read(RECEIPT)
    assert (receipt["report_id"], receipt["request_id"]) == (REPORT_ID, "request-1")
    assert receipt["items_count"] == 2
    assert "items_count_text" not in receipt
    assert receipt["archive"] == {
        "key": ZIP,
        "bytes": len(ARCHIVE),
        "sha256": hashlib.sha256(ARCHIVE).hexdigest(),
        "members": [
            {
                "name": "report_SMS_abcd1234_20261122.csv",
                "bytes": len(CSV),
                "crc32": f"{zlib.crc32(CSV):08x}",
            }
        ],
    }
    assert receipt["times"] == {
        "submitted": DOWNLOAD["submitted"],
        "ready": DOWNLOAD["ready"],
        "stored": "2026-11-22T02:20:00Z",
    }


def test_unreadable_count_is_kept_as_text(store: Store) -> None:
    receipt = store(download={**DOWNLOAD, "items_count": None, "items_count_text": "about 2"})

    assert (receipt["items_count"], receipt["items_count_text"]) == (None, "about 2")


GZIPPED = gzip.compress(ARCHIVE)


@pytest.mark.parametrize("stated", ["gzip", "x-gzip", " GZIP"])
@pytest.mark.parametrize("body", [ARCHIVE, GZIPPED], ids=["plain", "gzip"])
def test_stated_gzip_around_the_archive_is_undone(body: bytes, stated: str, store: Store) -> None:
    store.script(answer(body=body, Content_Encoding=stated))
    store()
    assert store.content(ZIP) == ARCHIVE


@pytest.mark.parametrize(
    "body",
    [GZIPPED[:-1], GZIPPED + b"x", GZIPPED[:40] + b"\xff" * 40, gzip.compress(bytes(9_000_000))],
    ids=["cut", "followed", "damaged", "no archive"],
)
def test_damaged_gzip_stores_nothing(body: bytes, store: Store) -> None:
    store.script(answer(body=body, Content_Encoding="gzip"))
    with pytest.raises((VonageUnavailable, ArchiveCorrupt)):
        store()
    assert set(keys_in(store.s3)) <= {REFUSED}


# Repeated runs


def test_second_run_returns_the_receipt_without_a_download(store: Store) -> None:
    first = store()
    calls = calls_to(store.s3)
    store.now += timedelta(hours=1)
    assert store() == first
    assert len(store.server.requests) == 1
    assert {call.operation for call in calls} == {"GetObject"}


def test_archive_without_a_receipt_is_proved_from_s3(store: Store) -> None:
    store()
    receipt = store.read(RECEIPT)
    store.delete(RECEIPT)
    calls = calls_to(store.s3)
    store()
    assert len(store.server.requests) == 1
    assert [call.key for call in calls if call.operation == "PutObject"] == [RECEIPT]
    assert store.read(RECEIPT) == receipt


def test_archive_stored_by_another_run_is_proved(store: Store) -> None:
    meanwhile = iter([ARCHIVE])

    def be_first(**_: object) -> None:
        for archive in meanwhile:
            store.put(ZIP, archive)

    instead_of(store.s3, "PutObject", be_first)
    store()
    assert store.read(RECEIPT)["archive"]["sha256"] == hashlib.sha256(ARCHIVE).hexdigest()


def test_broken_object_at_the_archives_key_is_refused(store: Store) -> None:
    store.put(ZIP, ARCHIVE[:-1])
    with pytest.raises(ArchiveCorrupt):
        store()
    assert keys_in(store.s3) == [ZIP]


# Empty reports


@pytest.mark.parametrize("items", [0, None])
def test_report_without_a_file_has_a_receipt_without_an_archive(
    items: int | None, store: Store
) -> None:
    receipt = store(download={**DOWNLOAD, "file_id": None, "items_count": items})
    assert receipt["archive"] is None
    assert store.server.requests == []
    assert keys_in(store.s3) == [RECEIPT]
    assert store.read(RECEIPT) == receipt


# Archives that are refused while they stream by

STREAMED = Parts(files=(File(name=b"report.csv", content=CSV, method=STORED),)).build()
LARGE = Parts(files=(File(content=CSV * (PART_BYTES // 20), method=STORED),)).build()


@pytest.mark.parametrize("archive", [STREAMED, LARGE], ids=["small", "large"])
def test_archive_that_its_directory_proves_is_stored(archive: bytes, store: Store) -> None:
    store.script(answer(body=archive), answer(body=archive))
    receipt = store()
    assert store.content(ZIP) == archive
    assert receipt["archive"]["sha256"] == hashlib.sha256(archive).hexdigest()
    assert (receipt["archive"]["key"], len(receipt["archive"]["members"])) == (ZIP, 1)
    assert open_uploads_in(store.s3) == []
    store.delete(RECEIPT)
    assert store() == receipt
    assert len(store.server.requests) == 2


def test_temporary_fault_is_over_at_the_second_download(store: Store) -> None:
    store.script(answer(body=b"<html>", content_type="text/html"), WHOLE)
    store()
    assert store.content(ZIP) == ARCHIVE


def test_refused_bytes_are_kept_and_named(store: Store) -> None:
    broken = STREAMED[:40] + b"!" + STREAMED[41:]
    store.script(*[answer(body=broken)] * 4)
    for _ in range(2):
        with pytest.raises(ArchiveCorrupt, match=REFUSED) as caught:
            store()
    assert keys_in(store.s3) == [REFUSED]
    assert store.content(REFUSED) == broken
    assert "recollect" not in str(caught.value)


def test_archive_that_another_run_stored_meanwhile_is_kept(store: Store) -> None:
    def be_first(**_: object) -> object:
        store.put(ZIP, ARCHIVE)
        return refusal_of_aws(412, "PreconditionFailed")

    instead_of(store.s3, "CopyObject", be_first)
    store.script(answer(body=STREAMED), answer(body=STREAMED))
    assert store()["archive"]["sha256"] == hashlib.sha256(ARCHIVE).hexdigest()


def test_archive_is_copied_only_as_it_was_proved(store: Store) -> None:
    calls = calls_to(store.s3)
    store.script(answer(body=STREAMED), answer(body=STREAMED))
    store()
    assert [call.key for call in calls if call.operation == "CopyObject"] == [ZIP]


# Faults

FAULTS: list[tuple[Bytes, type[VonageReportsError]]] = [
    (answer(body=b""), ArchiveCorrupt),
    (answer(body=b"<html>hello</html>", content_type="text/html"), ArchiveCorrupt),
    (answer(body=b'{"message": "Download initiated successfully"}'), ArchiveCorrupt),
    (answer(body=ARCHIVE[:-1]), ArchiveCorrupt),
    (answer(body=ARCHIVE + b"\0"), ArchiveCorrupt),
    (answer(body=ARCHIVE, length=len(ARCHIVE) - 1), ArchiveCorrupt),
    (answer(body=ARCHIVE, length=len(ARCHIVE) + 1), VonageUnavailable),
    (without_length(ARCHIVE[:-1]), ArchiveCorrupt),
    (chunked(ARCHIVE, 100, last=False), VonageUnavailable),
    (chunked(ARCHIVE[:-1], 100), ArchiveCorrupt),
    (WHOLE.cut(-1), VonageUnavailable),
    (WHOLE.cut(-len(ARCHIVE), "reset"), VonageUnavailable),
    (Bytes(then="reset"), VonageUnavailable),
    (answer(404), ReportExpired),
    (answer(403), VonageRejected),
    (answer(416), VonageRejected),
    (answer(206, ARCHIVE), VonageUnavailable),
    (answer(302, Location="http://media.example.com/archive.zip"), VonageRejected),
    (answer(429, Retry_After="7"), RateLimited),
    (answer(500), VonageUnavailable),
]


@pytest.mark.parametrize(("said", "error"), FAULTS)
def test_fault_leaves_nothing_and_the_next_run_stores(
    said: Bytes, error: type[VonageReportsError], store: Store
) -> None:
    # A refused archive is downloaded twice in a run.
    runs = 2 if error is ArchiveCorrupt else 1
    store.script(*[said] * runs, WHOLE)
    with pytest.raises(error):
        store()
    assert keys_in(store.s3) == [REFUSED] * (runs - 1)
    assert open_uploads_in(store.s3) == []
    assert store()["items_count"] == 2
    assert len(store.server.requests) == runs + 1


@pytest.mark.parametrize("whole", [WHOLE, without_length(ARCHIVE)], ids=["length", "no length"])
def test_archive_cut_at_any_byte_is_never_stored(whole: Bytes, store: Store) -> None:
    lengths = range(len(whole.data) - len(ARCHIVE), len(whole.data))
    for length in lengths:
        store.script(*[whole.cut(length)] * 2)
        with pytest.raises((VonageUnavailable, ArchiveCorrupt)):
            store()
    assert set(keys_in(store.s3)) <= {REFUSED}
    store.script(whole)
    store()
    assert store.content(ZIP) == ARCHIVE


@pytest.mark.parametrize("chunks_in_time", [0, 1, 100, 160])
def test_download_past_the_deadline_stops_and_can_be_retried(
    chunks_in_time: int, store: Store
) -> None:
    archive = an_archive_of(2 * PART_BYTES + 4711)
    store.script(answer(body=archive), answer(body=archive))
    before_deadline = repeat(TIME_TO_STOP + 1, chunks_in_time)
    store.seconds_left = chain(before_deadline, [TIME_TO_STOP - 1], repeat(900.0))
    with pytest.raises(VonageUnavailable, match="within the function's time"):
        store()
    assert keys_in(store.s3) == []
    assert open_uploads_in(store.s3) == []
    store()
    assert store.content(ZIP) == archive


@pytest.mark.parametrize("key", [ZIP, RECEIPT])
def test_next_run_resumes_after_a_refusal_of_s3(key: str, store: Store) -> None:
    store.script(WHOLE, WHOLE)
    refusals = iter([refusal_of_aws(403, "AccessDenied")])

    def refuse(params: dict[str, Any], **_: object) -> object:
        return next(refusals, None) if params["url_path"] == f"/{key}" else None

    instead_of(store.s3, "PutObject", refuse)
    with pytest.raises(ClientError):
        store()
    assert RECEIPT not in keys_in(store.s3)
    assert store()["items_count"] == 2
    assert len(store.server.requests) == (2 if key == ZIP else 1)


@pytest.mark.parametrize("read", [lambda b: b.read_json("a/b"), lambda b: b.exists("a/b")])
def test_unreadable_bucket_is_not_an_empty_one(
    read: Callable[[Bucket], object], s3: S3Client
) -> None:
    assert not read(Bucket(s3, BUCKET))
    for operation in ("GetObject", "HeadObject"):
        instead_of(s3, operation, lambda **_: refusal_of_aws(403, "AccessDenied"))
    with pytest.raises(ClientError):
        read(Bucket(s3, BUCKET))


# The handler


@dataclass
class Context:
    """Lambda's context of an invocation."""

    milliseconds_left: int
    function_name: str = "store_report"
    memory_limit_in_mb: int = 1769
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:store_report"
    aws_request_id: str = "request-of-the-test"

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds_left


def test_handler_waits_after_a_429_and_stops_before_the_deadline(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    secret = boto3.client("secretsmanager").create_secret(
        Name="vonage",
        SecretString=json.dumps({"api_key": API_KEY, "api_secret": API_SECRET}),
    )
    monkeypatch.setenv("VONAGE_SECRET_ARN", secret["ARN"])
    monkeypatch.setenv("VONAGE_BASE_URL", store.server.url)
    monkeypatch.setenv("BUCKET_NAME", BUCKET)
    monkeypatch.setenv("REQUEST_INTERVAL", "0")
    monkeypatch.setenv("STACK_NAME", "stack-of-tests")
    path = ROOT / "functions/store_report/app.py"
    spec = importlib.util.spec_from_file_location("store_report_app", path)
    assert spec is not None
    assert spec.loader is not None
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    event = json.loads((ROOT / "events/store_report.json").read_text())
    store.script(answer(429, Retry_After="700"), WHOLE)
    assert app.lambda_handler(event, Context(milliseconds_left=900_000)) == {
        "stored": False,
        "wait_seconds": 700,
        "rows": None,
        "receipt": None,
    }
    # One millisecond too few for a clean stop. Read as seconds, it would be more than a day.
    too_late = round(TIME_TO_STOP * 1000) - 1
    with pytest.raises(VonageUnavailable, match="within the function's time"):
        app.lambda_handler(event, Context(milliseconds_left=too_late))
    assert keys_in(store.s3) == []
