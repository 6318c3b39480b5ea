"""Streams an archive into S3. The archive is proved on the way, and visible only once it is proved.

The caller's thread reads and hashes the bytes, a second thread inflates and sums them, and others
upload one part each. Nearly all of the work runs in C, without the GIL. The threads share buffers
of one part each, so memory does not grow with the archive.
"""

import base64
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from isal import isal_zlib

from vonage_reports.archive.zip_proof import ArchiveProof
from vonage_reports.domain.errors import VonageUnavailable
from vonage_reports.domain.objects import Archive

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 8 * 1024 * 1024
"""S3 allows 10,000 parts, which is 80 GB. Vonage's archives have at most 1 GB."""

PARTS_IN_FLIGHT = 4
"""Uploads that run in parallel with the download."""

_BUFFERS = PARTS_IN_FLIGHT + 2
"""One more buffer is being filled, and one waits for its proof or its upload."""

CHUNK_BYTES = 64 * 1024
"""The size of a read. From 128 kB on, the kernel would map and zero the memory of each chunk."""

_PIECE_BYTES = 1024 * 1024
"""The size of a piece for the hash and for the prover's thread. With smaller pieces, the threads
would exchange the GIL more often."""

TIME_TO_STOP = 150.0
"""Seconds that a stop may take: a stalled download shows after 30 seconds, and S3 gets three
attempts of 30 seconds for the parts in flight."""

S3_CONFIG = Config(
    connect_timeout=5,
    read_timeout=30,
    retries={"mode": "standard", "total_max_attempts": 3},
    s3={"payload_signing_enabled": False},
)
"""The configuration of the client for `upload_archive`. TLS protects the bytes in transit, and S3
checks them against the CRC32 in the signed headers. By default, botocore would also sign a SHA-256
of each part, which takes as long as the upload itself."""

_DONE_BEFORE = {
    "PreconditionFailed",  # by another run
    "NoSuchUpload",  # by this run: the answer to the completion was lost, and botocore retried it
}
_CONTENT_TYPE = "application/zip"


def upload_archive(
    client: "S3Client", bucket: str, key: str, chunks: Iterator[bytes]
) -> Archive | None:
    """Prove the archive in `chunks` and store it; return None if `key` already has an object.

    S3 verifies the CRC32 of every part, computed from the proved bytes. The object becomes visible
    only after the proof is complete, and no upload stays open after an error.

    None means that another run, or a retry after a lost answer, completed the upload: prove the
    stored object with `prove_stored_archive`.

    Raises ArchiveCorrupt, the errors of `chunks`, and botocore's errors.
    """
    proof = ArchiveProof(deflate=isal_zlib)
    with ThreadPoolExecutor(1) as prover:
        parts = _parts(chunks, proof, prover)
        first = next(parts, _Part(bytearray()))
        second = next(parts, None)
        try:
            if second is None:
                # The archive fits one part, as most do: one request instead of three.
                first.wait()
                archive = proof.finish()
                body = first.body
                client.put_object(
                    Bucket=bucket,
                    Key=key,
                    Body=body,  # type: ignore[arg-type]  # a bytearray, which botocore takes
                    ContentType=_CONTENT_TYPE,
                    ChecksumCRC32=_crc32(body),
                    IfNoneMatch="*",
                )
                return archive
            with _Upload(client, bucket, key) as upload:
                for part in chain((first, second), parts):
                    upload.add(part)
                part.wait()
                archive = proof.finish()
                upload.complete()
                return archive
        except ClientError as error:
            if error.response["Error"]["Code"] in _DONE_BEFORE:
                return None
            raise


def until_deadline(chunks: Iterator[bytes], seconds_left: Callable[[], float]) -> Iterator[bytes]:
    """Yield chunks while `seconds_left` leaves enough time for a clean stop.

    Raises VonageUnavailable, which the workflow retries: the next download may be faster.
    """
    for chunk in chunks:
        if seconds_left() < TIME_TO_STOP:
            raise VonageUnavailable("the download did not end within the function's time limit")
        yield chunk


def prove_stored_archive(client: "S3Client", bucket: str, key: str) -> Archive:
    """Prove an archive that is stored in S3. Raises ArchiveCorrupt."""
    proof = ArchiveProof(deflate=isal_zlib)
    # Not `with body`: that would return the raw stream, without botocore's check of the length.
    with closing(client.get_object(Bucket=bucket, Key=key)["Body"]) as body:
        while chunk := body.read(CHUNK_BYTES):
            proof.update(chunk)
    return proof.finish()


@dataclass
class _Part:
    """A buffer, with the number of bytes filled, the number given to the proof, and its readers."""

    buffer: bytearray
    filled: int = 0
    proved: int = 0
    readers: "list[Future[Any]]" = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Whether the buffer is full."""
        return self.filled == len(self.buffer)

    @property
    def body(self) -> bytearray:
        """The filled bytes, as a bytearray.

        botocore sends a bytearray in one piece, though its stubs do not allow one. It would send
        bytes in small pieces.
        """
        return self.buffer if self.is_full else self.buffer[: self.filled]

    def fill(self, data: memoryview) -> memoryview:
        """Copy as much of `data` as fits; return the rest."""
        taken = min(len(self.buffer) - self.filled, len(data))
        memoryview(self.buffer)[self.filled : self.filled + taken] = data[:taken]
        self.filled += taken
        return data[taken:]

    def prove(self, proof: ArchiveProof, prover: ThreadPoolExecutor) -> None:
        """Prove the bytes filled since the last call in the prover's thread; hash them here."""
        piece = memoryview(self.buffer)[self.proved : self.filled]
        self.proved = self.filled
        self.readers.append(prover.submit(proof.walk, piece))
        proof.hash(piece)

    def wait(self) -> None:
        """Wait until no task reads the buffer. Raises the tasks' errors."""
        for reader in self.readers:
            reader.result()


def _parts(
    chunks: Iterator[bytes], proof: ArchiveProof, prover: ThreadPoolExecutor
) -> Iterator[_Part]:
    """Collect chunks into parts of PART_BYTES, the last one shorter; prove each byte once.

    A buffer is reused once its readers are done, so slow readers throttle the download
    (back-pressure).
    """
    in_use: deque[_Part] = deque()

    def new_part() -> _Part:
        if len(in_use) < _BUFFERS:
            return _Part(bytearray(PART_BYTES))
        oldest = in_use.popleft()
        oldest.wait()
        return _Part(oldest.buffer)

    part = None
    for chunk in chunks:
        rest = memoryview(chunk)
        while rest:
            if part is None:
                part = new_part()
                in_use.append(part)
            rest = part.fill(rest)
            if part.is_full or part.filled - part.proved >= _PIECE_BYTES:
                part.prove(proof, prover)
            if part.is_full:
                yield part
                part = None
    if part is not None:
        part.prove(proof, prover)
        yield part


class _Upload:
    """A multipart upload of parallel parts. Leaving the context without `complete` aborts it."""

    def __init__(self, client: "S3Client", bucket: str, key: str) -> None:
        self._client = client
        self._bucket = bucket
        self._key = key
        self._sent: list[Future[CompletedPartTypeDef]] = []
        self._pool = ThreadPoolExecutor(PARTS_IN_FLIGHT)
        self._id = self._pool.submit(self._create)  # in parallel with the download
        self._completed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Only `complete` publishes the object, never an exit with an error.
        self._pool.shutdown(cancel_futures=True)
        if not self._completed and not self._id.cancelled():
            # The original error matters more than a failed abort, whose parts the bucket's
            # lifecycle rule deletes.
            with suppress(ClientError, BotoCoreError):
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=self._key, UploadId=self._id.result()
                )

    def add(self, part: _Part) -> None:
        """Upload a part in the background."""
        sent = self._pool.submit(self._send, len(self._sent) + 1, part)
        self._sent.append(sent)
        part.readers.append(sent)

    def complete(self) -> None:
        """Make the object visible, unless its key already has one."""
        self._client.complete_multipart_upload(
            Bucket=self._bucket,
            Key=self._key,
            UploadId=self._id.result(),
            MultipartUpload={"Parts": [sent.result() for sent in self._sent]},
            IfNoneMatch="*",
        )
        self._completed = True

    def _create(self) -> str:
        return self._client.create_multipart_upload(
            Bucket=self._bucket,
            Key=self._key,
            ContentType=_CONTENT_TYPE,
            # Not ChecksumType="FULL_OBJECT": S3 already checks each part and the list of their
            # checksums. A checksum of the whole object was never tried against AWS.
            ChecksumAlgorithm="CRC32",
        )["UploadId"]

    def _send(self, number: int, part: _Part) -> "CompletedPartTypeDef":
        body = part.body
        checksum = _crc32(body)
        answer = self._client.upload_part(
            Bucket=self._bucket,
            Key=self._key,
            UploadId=self._id.result(),
            PartNumber=number,
            Body=body,  # type: ignore[arg-type]  # a bytearray, which botocore takes
            ChecksumCRC32=checksum,
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": checksum}


def _crc32(data: bytearray) -> str:
    """Return the CRC-32 in S3's form: four bytes, big-endian, in base64."""
    return base64.b64encode(isal_zlib.crc32(data).to_bytes(4)).decode()
