"""The upload against moto's S3: only proved archives become visible."""

import base64
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from threading import Event
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, IncompleteReadError
from botocore.response import StreamingBody
from mypy_boto3_s3 import S3Client

from local.stack.emulator import Emulator
from tests.integration.conftest import (
    BUCKET,
    Bytes,
    Request,
    ScriptedServer,
    Serve,
    an_archive,
    an_archive_of,
    answer,
    answer_of_aws,
    calls_to,
    instead_of,
    keys_in,
    open_uploads_in,
    refusal_of_aws,
)
from vonage_reports.aws.multipart_upload import (
    PART_BYTES,
    S3_CONFIG,
    TIME_TO_STOP,
    prove_stored_archive,
    upload_archive,
)
from vonage_reports.domain.errors import ArchiveCorrupt, VonageUnavailable
from vonage_reports.domain.objects import Archive
from vonage_reports.vonage.client import READ_TIMEOUT

KEY = "archives/sms-outbound/abcd1234/2026/11/21/report/request.zip"
CSV = b'"id","to"\n' + b'"1","447700900000"\n' * 1000
SMALL = an_archive(CSV)
MIB = 1024 * 1024


@cache
def large() -> bytes:
    """Return an archive of three parts, of incompressible data."""
    return an_archive(an_archive_of(2 * PART_BYTES + 123_457))


def in_chunks(data: bytes, size: int = MIB) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def upload(s3: S3Client, chunks: Iterator[bytes]) -> Archive | None:
    return upload_archive(s3, BUCKET, KEY, chunks)


def stored(s3: S3Client) -> bytes:
    return s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read()


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def refuse(s3: S3Client, operation: str, status: int, code: str, part: int | None = None) -> None:
    """Make S3 refuse an operation, or the upload of one part."""

    def refused(params: dict[str, Any], **_: object) -> object:
        if part is None or params["query_string"]["partNumber"] == part:
            return refusal_of_aws(status, code)
        return None

    instead_of(s3, operation, refused)


def complete_only_where_nothing_is(s3: S3Client) -> None:
    """Check If-None-Match when an upload is completed, as S3 does and moto does not."""

    def check(params: dict[str, Any], **_: object) -> object:
        headers = {name.lower(): value for name, value in params["headers"].items()}
        if headers.get("if-none-match") == "*" and KEY in keys_in(s3):
            return refusal_of_aws(412, "PreconditionFailed")
        return None

    instead_of(s3, "CompleteMultipartUpload", check)


# Whole archives


@pytest.mark.parametrize("size", [1, 7, 1000, MIB])
def test_small_archive_is_one_request(size: int, s3: S3Client) -> None:
    calls = calls_to(s3)
    archive = upload(s3, in_chunks(SMALL, size))
    assert [call.operation for call in calls] == ["PutObject"]
    assert stored(s3) == SMALL
    assert archive is not None
    assert archive.bytes == len(SMALL)
    ((name, content, _),) = [(m.name, m.bytes, m.crc32) for m in archive.members]
    assert (name, content) == ("report_SMS_abcd1234_20261122.csv", len(CSV))


def test_archive_has_its_content_type(s3: S3Client) -> None:
    for data in (SMALL, large()):
        s3.delete_object(Bucket=BUCKET, Key=KEY)
        upload(s3, in_chunks(data))
        assert s3.head_object(Bucket=BUCKET, Key=KEY)["ContentType"] == "application/zip"


@pytest.mark.parametrize("size", [65_537, MIB, 3 * MIB, PART_BYTES, 20 * MIB, 100 * MIB])
def test_large_archive_is_exact_for_any_chunks(size: int, s3: S3Client) -> None:
    calls = calls_to(s3)
    archive = upload(s3, in_chunks(large(), size))
    assert sorted(call.operation for call in calls) == [
        "CompleteMultipartUpload",
        "CreateMultipartUpload",
        *["UploadPart"] * 3,
    ]
    assert stored(s3) == large()
    assert archive is not None
    assert archive.bytes == len(large())
    assert open_uploads_in(s3) == []


@pytest.mark.parametrize(
    ("size", "parts"),
    [
        (PART_BYTES - 1, 0),
        (PART_BYTES, 0),
        (PART_BYTES + 1, 2),
        (2 * PART_BYTES, 2),
        (2 * PART_BYTES + 1, 3),
        (6 * PART_BYTES + 1, 7),  # more parts than in flight
    ],
)
def test_parts_have_the_sizes_that_s3_requires(size: int, parts: int, s3: S3Client) -> None:
    data = an_archive_of(size)
    calls = calls_to(s3)
    assert upload(s3, in_chunks(data)) is not None
    sizes = [len(call.body) for call in calls if call.operation == "UploadPart"]
    assert len(sizes) == parts
    assert sorted(sizes, reverse=True)[: parts - 1] == [PART_BYTES] * max(parts - 1, 0)
    assert stored(s3) == data


def test_every_part_has_zlibs_checksum(s3: S3Client) -> None:
    calls = calls_to(s3)
    upload(s3, in_chunks(large()))
    parts = [call for call in calls if call.operation == "UploadPart"]
    assert len(parts) == 3
    for part in parts:
        assert part.headers["x-amz-checksum-crc32"] == crc32(part.body)
    (created,) = [call for call in calls if call.operation == "CreateMultipartUpload"]
    assert created.headers["x-amz-checksum-algorithm"] == "CRC32"
    (completed,) = [call for call in calls if call.operation == "CompleteMultipartUpload"]
    for part in parts:
        assert crc32(part.body).encode() in completed.body


def test_small_archive_has_a_checksum(s3: S3Client) -> None:
    calls = calls_to(s3)
    upload(s3, in_chunks(SMALL))
    assert calls[0].headers["x-amz-checksum-crc32"] == crc32(SMALL)


@pytest.mark.parametrize("data", [lambda: SMALL, large], ids=["small", "large"])
def test_archive_is_written_only_if_its_key_is_free(
    data: Callable[[], bytes], s3: S3Client
) -> None:
    calls = calls_to(s3)
    upload(s3, in_chunks(data()))
    last = [call for call in calls if call.operation != "UploadPart"][-1]
    assert last.headers["if-none-match"] == "*"


def test_nothing_is_visible_before_the_last_byte_is_proved(s3: S3Client) -> None:
    seen: list[str] = []

    def watched() -> Iterator[bytes]:
        for chunk in in_chunks(large()):
            seen.extend(keys_in(s3))
            yield chunk
        seen.extend(keys_in(s3))

    upload(s3, watched())
    assert seen == []
    assert keys_in(s3) == [KEY]


class SlowS3:
    """Reads the first part once the download has ended, or has stalled."""

    def __init__(self) -> None:
        self.parts: dict[int, bytes] = {}
        self.all_was_read = Event()

    def create_multipart_upload(self, **_: object) -> dict[str, str]:
        return {"UploadId": "7"}

    def upload_part(self, **given: Any) -> dict[str, str]:
        if given["PartNumber"] == 1:
            self.all_was_read.wait(0.3)
        self.parts[given["PartNumber"]] = bytes(given["Body"])
        return {"ETag": "0"}

    def complete_multipart_upload(self, **_: object) -> None:
        pass


def test_download_waits_for_the_part_whose_buffer_it_reuses() -> None:
    """An overwritten buffer would be sent, after its proof, with a valid checksum."""
    slow: Any = SlowS3()
    data = an_archive_of(6 * PART_BYTES + 1)

    def chunks() -> Iterator[bytes]:
        yield from in_chunks(data)
        slow.all_was_read.set()

    upload(slow, chunks())
    assert b"".join(slow.parts[number] for number in sorted(slow.parts)) == data


# Broken archives


def spoiled(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


BROKEN: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "html": lambda: b"<!DOCTYPE html><html><body>We'll be right back</body></html>",
    "json": lambda: b'{"message": "Download initiated successfully"}',
    "zeros": lambda: b"\0" * 100_000,
    "small, cut after one byte": lambda: SMALL[:1],
    "small, cut in the middle": lambda: SMALL[: len(SMALL) // 2],
    "small, cut before its last byte": lambda: SMALL[:-1],
    "small, a byte too many": lambda: SMALL + b"\0",
    "small, twice": lambda: SMALL + SMALL,
    "small, a byte spoiled": lambda: spoiled(SMALL, 80),
    "large, html follows": lambda: large() + b"<html>" * 10,
    "large, zeros for megabytes": lambda: b"PK\3\4" + b"\0" * (2 * PART_BYTES),
    "large, cut in its first part": lambda: large()[: PART_BYTES - 5],
    "large, cut between two parts": lambda: large()[:PART_BYTES],
    "large, cut at the second part's end": lambda: large()[: 2 * PART_BYTES],
    "large, cut in its last part": lambda: large()[: 2 * PART_BYTES + 5],
    "large, cut before its last byte": lambda: large()[:-1],
    "large, a byte spoiled in the first part": lambda: spoiled(large(), 5000),
    "large, a byte spoiled in the last part": lambda: spoiled(large(), len(large()) - 90_000),
    "large, its directory spoiled": lambda: spoiled(large(), len(large()) - 30),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_broken_archive_leaves_no_object_and_no_upload(
    data: Callable[[], bytes], s3: S3Client
) -> None:
    with pytest.raises(ArchiveCorrupt):
        upload(s3, in_chunks(data()))
    assert keys_in(s3) == []
    assert open_uploads_in(s3) == []


@pytest.mark.parametrize("after", [0, 1, 5, 6, 9, 10])
def test_error_of_the_download_is_raised_and_leaves_nothing(after: int, s3: S3Client) -> None:
    trouble = VonageUnavailable("cut")

    def cut() -> Iterator[bytes]:
        for number, chunk in enumerate(in_chunks(large())):
            if number == after:
                raise trouble
            yield chunk

    with pytest.raises(VonageUnavailable) as raised:
        upload(s3, cut())
    assert raised.value is trouble
    assert keys_in(s3) == []
    assert open_uploads_in(s3) == []


def test_upload_is_aborted_after_its_last_part_has_ended(s3: S3Client) -> None:
    """A part that arrives after the abort costs money until the lifecycle rule deletes it."""
    order: list[str] = []
    given_up = Event()

    def hold(**_: object) -> None:
        given_up.wait(10)

    def cut() -> Iterator[bytes]:
        yield from in_chunks(large()[:-1])
        given_up.set()

    instead_of(s3, "UploadPart", hold)
    instead_of(s3, "AbortMultipartUpload", lambda **_: order.append("abort"))
    s3.meta.events.register("after-call.s3.UploadPart", lambda **_: order.append("part"))
    with pytest.raises(ArchiveCorrupt):
        upload(s3, cut())
    assert order == ["part", "part", "part", "abort"]
    assert open_uploads_in(s3) == []


# Existing objects


@pytest.mark.parametrize("data", [lambda: SMALL, large], ids=["small", "large"])
def test_existing_object_stays_unchanged(data: Callable[[], bytes], s3: S3Client) -> None:
    complete_only_where_nothing_is(s3)
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=b"the first")
    assert upload(s3, in_chunks(data())) is None
    assert stored(s3) == b"the first"
    assert open_uploads_in(s3) == []


@pytest.mark.parametrize("data", [SMALL[:-1], b"", b"<html>"])
def test_broken_archive_raises_beside_an_existing_object(data: bytes, s3: S3Client) -> None:
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=b"the first")
    with pytest.raises(ArchiveCorrupt):
        upload(s3, in_chunks(data))
    assert stored(s3) == b"the first"


# Refusals of S3


@pytest.mark.parametrize("part", [1, 2, 3])
def test_refused_part_aborts_the_upload(part: int, s3: S3Client) -> None:
    refuse(s3, "UploadPart", 503, "SlowDown", part)
    with pytest.raises(ClientError, match="SlowDown"):
        upload(s3, in_chunks(large()))
    assert keys_in(s3) == []
    assert open_uploads_in(s3) == []


@pytest.mark.parametrize(
    ("operation", "data"),
    [("PutObject", lambda: SMALL), ("CreateMultipartUpload", large)],
)
def test_refused_upload_raises(operation: str, data: Callable[[], bytes], s3: S3Client) -> None:
    refuse(s3, operation, 403, "AccessDenied")
    with pytest.raises(ClientError, match="AccessDenied"):
        upload(s3, in_chunks(data()))
    assert keys_in(s3) == []


@pytest.mark.parametrize("code", ["InternalError", "ConditionalRequestConflict", "EntityTooSmall"])
def test_refused_completion_aborts_the_upload(code: str, s3: S3Client) -> None:
    refuse(s3, "CompleteMultipartUpload", 409, code)
    with pytest.raises(ClientError, match=code):
        upload(s3, in_chunks(large()))
    assert keys_in(s3) == []
    assert open_uploads_in(s3) == []


def test_missing_bucket_raises(s3: S3Client) -> None:
    for data in (SMALL, large()):
        with pytest.raises(ClientError, match="NoSuchBucket"):
            upload_archive(s3, "another", KEY, in_chunks(data))


def test_failed_abort_does_not_hide_the_original_error(s3: S3Client) -> None:
    """The lifecycle rule deletes the parts; the workflow's Retry needs the original error."""
    refuse(s3, "AbortMultipartUpload", 503, "SlowDown")
    with pytest.raises(ArchiveCorrupt):
        upload(s3, in_chunks(large()[:-1]))


# S3 over a real socket

BEGUN = answer(body=b"<r><UploadId>7</UploadId></r>")
TAKEN = answer(ETag='"0"')
COMPLETED = answer(body=b"<r><ETag>0</ETag></r>")
LOST = Bytes()


def refused(status: int, code: str) -> Bytes:
    return answer(status, f"<Error><Code>{code}</Code></Error>".encode())


@dataclass
class ScriptedS3:
    """Answers each kind of request as the test scripts it, then as S3 would."""

    server: ScriptedServer
    parts: list[Bytes] = field(default_factory=list)
    completions: list[Bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server.answers = iter(self._answer, None)

    def _answer(self) -> Bytes:
        request = self.server.requests[-1]
        if request.method == "PUT":
            return self.parts.pop(0) if self.parts else TAKEN
        if request.method == "DELETE":
            return answer(204)
        if request.target.endswith("uploads"):
            return BEGUN
        return self.completions.pop(0) if self.completions else COMPLETED

    def asked(self, method: str, target: str) -> list[Request]:
        return [
            each for each in self.server.requests if each.method == method and target in each.target
        ]

    def upload(self, session: boto3.Session) -> Archive | None:
        client = session.client("s3", endpoint_url=self.server.url, config=S3_CONFIG)
        with closing(client):
            return upload(client, in_chunks(large()))


@pytest.fixture
def scripted_s3(serve: Serve) -> ScriptedS3:
    return ScriptedS3(serve())


def test_parts_arrive_exact_and_with_checksums(
    scripted_s3: ScriptedS3, aws_session: boto3.Session
) -> None:
    assert scripted_s3.upload(aws_session) is not None
    parts = scripted_s3.asked("PUT", "partNumber=")
    parts.sort(key=lambda part: part.target)
    assert b"".join(part.body for part in parts) == large()
    for part in parts:
        assert part.headers["x-amz-checksum-crc32"] == crc32(part.body)
        assert "x-amz-checksum-crc32" in part.headers["authorization"]
    assert scripted_s3.asked("DELETE", "uploadId=7") == []


@pytest.mark.parametrize("broken", [refused(500, "InternalError"), LOST, Bytes(then="reset")])
def test_lost_part_is_sent_again(
    broken: Bytes, scripted_s3: ScriptedS3, aws_session: boto3.Session
) -> None:
    scripted_s3.parts = [broken]
    assert scripted_s3.upload(aws_session) is not None
    assert len(scripted_s3.asked("PUT", "partNumber=")) == 4


@pytest.mark.parametrize(
    ("broken", "error"),
    [(refused(400, "BadDigest"), ClientError), (refused(403, "AccessDenied"), ClientError)],
)
def test_rejected_part_aborts_before_the_completion(
    broken: Bytes, error: type[Exception], scripted_s3: ScriptedS3, aws_session: boto3.Session
) -> None:
    scripted_s3.parts = [broken]
    with pytest.raises(error):
        scripted_s3.upload(aws_session)
    assert scripted_s3.asked("POST", "uploadId=7") == []
    assert len(scripted_s3.asked("DELETE", "uploadId=7")) == 1


@pytest.mark.parametrize(
    "again",
    [refused(412, "PreconditionFailed"), refused(404, "NoSuchUpload")],
    ids=["there already", "no such upload"],
)
def test_lost_answer_to_the_completion_returns_none(
    again: Bytes, scripted_s3: ScriptedS3, aws_session: boto3.Session
) -> None:
    scripted_s3.completions = [LOST, again]
    assert scripted_s3.upload(aws_session) is None


def test_completion_that_fails_with_status_200_is_retried(
    scripted_s3: ScriptedS3, aws_session: boto3.Session
) -> None:
    """S3 may answer 200 before it completes the upload, with the error in the body."""
    scripted_s3.completions = [refused(200, "InternalError")]
    assert scripted_s3.upload(aws_session) is not None
    assert len(scripted_s3.asked("POST", "uploadId=7")) == 2


def test_time_to_stop_covers_stalls_of_download_and_s3() -> None:
    config: Any = S3_CONFIG
    stall_of_s3 = config.retries["total_max_attempts"] * (
        config.connect_timeout + config.read_timeout
    )
    assert READ_TIMEOUT + stall_of_s3 < TIME_TO_STOP


def test_completion_that_fails_for_good_aborts_the_upload(
    scripted_s3: ScriptedS3, aws_session: boto3.Session
) -> None:
    scripted_s3.completions = [refused(409, "ConditionalRequestConflict")]
    with pytest.raises(ClientError, match="ConditionalRequestConflict"):
        scripted_s3.upload(aws_session)
    assert len(scripted_s3.asked("DELETE", "uploadId=7")) == 1


# Checksums, compared by the emulator of the local stack: moto does not compare them


@pytest.fixture(scope="module")
def comparing_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Client]:
    with Emulator(tmp_path_factory.mktemp("emulator")) as emulator:
        client = emulator.client("s3")
        client.create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        yield client


def test_checksums_match_those_of_s3(comparing_s3: S3Client) -> None:
    for key, data in (("small", SMALL), ("large", large())):
        assert upload_archive(comparing_s3, BUCKET, key, in_chunks(data)) is not None
        assert comparing_s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == data


@pytest.mark.parametrize("part", [None, 1, 2, 3])
def test_bytes_changed_in_transit_are_never_stored(
    part: int | None, comparing_s3: S3Client
) -> None:
    def spoil(params: dict[str, Any], **_: object) -> None:
        if params["query_string"].get("partNumber") == part:
            params["body"] = spoiled(params["body"], 100)

    event = "before-call.s3.PutObject" if part is None else "before-call.s3.UploadPart"
    comparing_s3.meta.events.register(event, spoil)
    try:
        with pytest.raises(ClientError, match="BadDigest"):
            upload_archive(
                comparing_s3, BUCKET, "spoiled", in_chunks(SMALL if part is None else large())
            )
    finally:
        comparing_s3.meta.events.unregister(event, spoil)
    assert comparing_s3.list_objects_v2(Bucket=BUCKET, Prefix="spoiled")["KeyCount"] == 0
    assert comparing_s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []


# Stored archives


@pytest.mark.parametrize("data", [lambda: SMALL, large], ids=["small", "large"])
def test_stored_archive_proves_to_be_the_same(data: Callable[[], bytes], s3: S3Client) -> None:
    archive = upload(s3, in_chunks(data()))
    assert prove_stored_archive(s3, BUCKET, KEY) == archive


@pytest.mark.parametrize("data", [b"", b"<html>", SMALL[:-1], spoiled(SMALL, 80)])
def test_broken_stored_archive_is_refused(data: bytes, s3: S3Client) -> None:
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=data)
    with pytest.raises(ArchiveCorrupt):
        prove_stored_archive(s3, BUCKET, KEY)


def test_missing_archive_raises(s3: S3Client) -> None:
    with pytest.raises(ClientError, match="NoSuchKey"):
        prove_stored_archive(s3, BUCKET, KEY)


def test_cut_answer_of_s3_is_not_archive_corrupt(s3: S3Client) -> None:
    """The stored archive was proved. ArchiveCorrupt would end its report; S3's error does not."""

    def cut(**_: object) -> object:
        body = StreamingBody(BytesIO(SMALL[:-10]), content_length=len(SMALL))
        return answer_of_aws(200, {"Body": body})

    instead_of(s3, "GetObject", cut)
    with pytest.raises(IncompleteReadError):
        prove_stored_archive(s3, BUCKET, KEY)
