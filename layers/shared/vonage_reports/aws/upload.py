"""Streams an archive into S3: proved while it passes, visible only once it is proved."""

import base64
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Self

from botocore.exceptions import BotoCoreError, ClientError
from isal import isal_zlib

from vonage_reports.domain.archive import Archive, ArchiveProof

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 8 * 1024 * 1024
"""S3 takes up to 10,000 parts: 80 GB, where Vonage's archives have 1 GB at most."""

PARTS_IN_FLIGHT = 4
"""Uploads that run beside the download; each holds one part in memory."""

CHUNK_BYTES = 1024 * 1024

_CONTENT_TYPE = "application/zip"


def upload_archive(
    client: "S3Client", bucket: str, key: str, chunks: Iterator[bytes]
) -> Archive | None:
    """Store the archive that `chunks` make up, if it proves whole; None: `key` exists already.

    S3 verifies the CRC32 of every part, taken from the bytes that were proved. Nothing is visible
    before the proof is complete, and no upload stays open after an error.

    Raises ArchiveCorrupt, whatever `chunks` raises, and botocore's errors.
    """
    proof = ArchiveProof(deflate=isal_zlib)
    parts = _parts(proof, chunks)
    first = next(parts, b"")
    second = next(parts, None)
    try:
        if second is None:
            # It fits one part, as most do: one request instead of three.
            archive = proof.finish()
            client.put_object(
                Bucket=bucket,
                Key=key,
                Body=first,
                ContentType=_CONTENT_TYPE,
                ChecksumCRC32=_crc32(first),
                IfNoneMatch="*",
            )
            return archive
        with _Upload(client, bucket, key) as upload:
            upload.add(first)
            upload.add(second)
            for part in parts:
                upload.add(part)
            archive = proof.finish()
            upload.complete()
            return archive
    except ClientError as error:
        if error.response["Error"]["Code"] == "PreconditionFailed":
            return None
        raise


def prove_stored_archive(client: "S3Client", bucket: str, key: str) -> Archive:
    """Prove an archive that is in S3 already. Raises ArchiveCorrupt."""
    proof = ArchiveProof(deflate=isal_zlib)
    # Not `with body`: that would give the stream below, without botocore's check of its length.
    with closing(client.get_object(Bucket=bucket, Key=key)["Body"]) as body:
        while chunk := body.read(CHUNK_BYTES):
            proof.update(chunk)
    return proof.finish()


def _parts(proof: ArchiveProof, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Gather chunks into parts of PART_BYTES, the last one shorter, proving each byte once."""
    part = bytearray()
    for chunk in chunks:
        proof.update(chunk)
        part += chunk
        while len(part) >= PART_BYTES:
            yield bytes(part[:PART_BYTES])
            del part[:PART_BYTES]
    if part:
        yield bytes(part)


class _Upload:
    """A multipart upload: parts go out in parallel; leaving it incomplete aborts it."""

    def __init__(self, client: "S3Client", bucket: str, key: str) -> None:
        self._client = client
        self._bucket = bucket
        self._key = key
        self._id = ""
        self._done: list[CompletedPartTypeDef] = []
        self._in_flight: deque[Future[CompletedPartTypeDef]] = deque()
        self._pool = ThreadPoolExecutor(PARTS_IN_FLIGHT)
        self._completed = False

    def __enter__(self) -> Self:
        self._id = self._client.create_multipart_upload(
            Bucket=self._bucket,
            Key=self._key,
            ContentType=_CONTENT_TYPE,
            ChecksumAlgorithm="CRC32",
        )["UploadId"]
        return self

    def __exit__(self, *_: object) -> None:
        # Completing is said aloud (`complete`): an error on the way out never publishes.
        self._pool.shutdown(cancel_futures=True)
        if not self._completed:
            # The error on its way out says more than a failing abort; the bucket's lifecycle
            # drops what is left.
            with suppress(ClientError, BotoCoreError):
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=self._key, UploadId=self._id
                )

    def add(self, part: bytes) -> None:
        """Send a part; wait for the oldest one where enough are on their way."""
        number = len(self._done) + len(self._in_flight) + 1
        self._in_flight.append(self._pool.submit(self._send, number, part))
        while len(self._in_flight) > PARTS_IN_FLIGHT:
            self._done.append(self._in_flight.popleft().result())

    def complete(self) -> None:
        """Make the object visible, if there is none at its key."""
        self._done += [future.result() for future in self._in_flight]
        self._in_flight.clear()
        self._client.complete_multipart_upload(
            Bucket=self._bucket,
            Key=self._key,
            UploadId=self._id,
            MultipartUpload={"Parts": self._done},
            IfNoneMatch="*",
        )
        self._completed = True

    def _send(self, number: int, part: bytes) -> "CompletedPartTypeDef":
        checksum = _crc32(part)
        answer = self._client.upload_part(
            Bucket=self._bucket,
            Key=self._key,
            UploadId=self._id,
            PartNumber=number,
            Body=part,
            ChecksumCRC32=checksum,
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": checksum}


def _crc32(data: bytes) -> str:
    """Return the CRC-32 as S3 takes it: base64 of four bytes, big-endian."""
    return base64.b64encode(isal_zlib.crc32(data).to_bytes(4)).decode()
