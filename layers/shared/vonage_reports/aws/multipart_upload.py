"""Streams an archive into S3 and proves it on the way. The object appears only after the proof.

The caller's thread reads and hashes the bytes. A second thread inflates them and computes their
CRC-32. Other threads upload one part each. Nearly all of the work runs in C, without the GIL. The
threads share a fixed number of buffers, so memory does not grow with the archive.
"""

import base64
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from isal import isal_zlib

from vonage_reports.archive.zip_directory import compressed_sizes
from vonage_reports.archive.zip_proof import ArchiveProof
from vonage_reports.domain.errors import ArchiveCorrupt, VonageUnavailable
from vonage_reports.domain.objects import Archive

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 5 * 1024 * 1024
"""The size of a part: the smallest that S3 allows, because the last parts are uploaded after the
end of the download. S3 allows 10,000 parts, or 52 GB; Vonage's archives have at most 1 GB."""

PARTS_IN_FLIGHT = 4
"""How many parts are uploaded in parallel with the download. At 50 MB/s for each connection, four
keep up with a link of 90 MB/s while S3 answers within 120 ms."""

_BUFFERS = PARTS_IN_FLIGHT + 2
"""One buffer for each upload, one to fill, and one that waits for its proof or upload."""

CHUNK_BYTES = 64 * 1024
"""How many bytes one read returns. From 128 kB on, the kernel would zero each chunk's memory."""

_PIECE_BYTES = 1024 * 1024
"""How many bytes the hash and the prover's thread take at a time. With smaller pieces, the threads
would exchange the GIL more often."""

TIME_TO_STOP = 150.0
"""How many seconds a clean stop may take. A stalled download times out after 30 seconds. Then the
parts in flight get three attempts of 30 seconds."""

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
    "PreconditionFailed",  # another run stored the object
    "NoSuchUpload",  # this run stored the object: the answer was lost, and botocore retried
}
_CONTENT_TYPE = "application/zip"


def upload_archive(
    client: "S3Client", bucket: str, key: str, chunks: Iterator[bytes]
) -> Archive | None:
    """Prove the archive in `chunks` and store it, or return None if `key` has an object already.

    S3 verifies the CRC32 of every part, computed from the proved bytes. The object becomes visible
    only after the proof is complete, and no upload stays open after an error.

    None means that another run, or a retry after a lost answer, completed the upload. Then prove
    the stored object with `prove_stored_archive`.

    Raises ArchiveCorrupt, the errors of `chunks`, and botocore's errors.
    """
    proof = ArchiveProof(deflate=isal_zlib)
    try:
        _upload(client, bucket, key, chunks, proof, is_new=True)
    except ClientError as error:
        if error.response["Error"]["Code"] in _DONE_BEFORE:
            return None
        raise
    return proof.finish()


def upload_unproved(client: "S3Client", bucket: str, key: str, chunks: Iterator[bytes]) -> None:
    """Store any bytes, in place of what `key` has. Raises the errors of `chunks` and botocore's."""
    try:
        _upload(client, bucket, key, chunks, _NoProof(), is_new=False)
    except ClientError as error:
        if error.response["Error"]["Code"] not in _DONE_BEFORE:
            raise


def _upload(
    client: "S3Client",
    bucket: str,
    key: str,
    chunks: Iterator[bytes],
    proof: "ArchiveProof | _NoProof",
    *,
    is_new: bool,
) -> None:
    """Store the bytes once `proof` is finished. `is_new`: only if `key` has no object."""
    condition: Any = {"IfNoneMatch": "*"} if is_new else {}
    with ThreadPoolExecutor(1) as prover:
        parts = _parts(chunks, proof, prover)
        first = next(parts, _Part(bytearray()))
        second = next(parts, None)
        if second is None:
            # Like most archives, this one fits one part, so one request replaces three.
            first.wait()
            proof.finish()
            body = first.body
            client.put_object(
                Bucket=bucket,
                Key=key,
                # The stubs lack bytearray, which botocore takes. As bytes, the part would be in
                # memory twice.
                Body=body,  # type: ignore[arg-type]
                ContentType=_CONTENT_TYPE,
                ChecksumCRC32=_crc32(body),
                **condition,
            )
            return
        with _Upload(client, bucket, key) as upload:
            for part in chain((first, second), parts):
                upload.add(part)
            part.wait()
            proof.finish()
            upload.complete(condition)


def until_deadline(chunks: Iterator[bytes], seconds_left: Callable[[], float]) -> Iterator[bytes]:
    """Yield chunks while `seconds_left` leaves enough time for a clean stop.

    Raises VonageUnavailable, which the workflow retries, because the next download may be faster.
    """
    for chunk in chunks:
        if seconds_left() < TIME_TO_STOP:
            raise VonageUnavailable("the download did not end within the function's time limit")
        yield chunk


def prove_stored_archive(client: "S3Client", bucket: str, key: str) -> Archive:
    """Prove an archive that is stored in S3. Raises ArchiveCorrupt."""
    return _prove(client, bucket, key)[0]


def store_refused_archive(client: "S3Client", bucket: str, refused_key: str, key: str) -> Archive:
    """Prove an archive that was uploaded unproved, and copy it to `key`, unless an object is there.

    Raises ArchiveCorrupt.
    """
    archive, etag = _prove(client, bucket, refused_key)
    try:
        client.copy_object(
            Bucket=bucket,
            Key=key,
            CopySource={"Bucket": bucket, "Key": refused_key},
            CopySourceIfMatch=etag,
            ChecksumAlgorithm="CRC32",
            IfNoneMatch="*",
        )
    except ClientError as error:
        if error.response["Error"]["Code"] not in _DONE_BEFORE:
            raise
        # Another run stored the archive meanwhile, or replaced the refused bytes.
        return prove_stored_archive(client, bucket, key)
    return archive


def _prove(client: "S3Client", bucket: str, key: str) -> tuple[Archive, str]:
    """Prove a stored archive, with the sizes in its directory if it needs them; return its ETag."""
    try:
        return _proved_forwards(client, bucket, key, sizes=())
    except ArchiveCorrupt:
        sizes = compressed_sizes(_Stored.of(client, bucket, key))
        if not sizes:
            raise
        return _proved_forwards(client, bucket, key, sizes=sizes)


def _proved_forwards(
    client: "S3Client", bucket: str, key: str, *, sizes: Sequence[int]
) -> tuple[Archive, str]:
    proof = ArchiveProof(deflate=isal_zlib, sizes=sizes)
    answer = client.get_object(Bucket=bucket, Key=key)
    # `with body` would return the raw stream, without botocore's check of the length.
    with closing(answer["Body"]) as body:
        while chunk := body.read(CHUNK_BYTES):
            proof.update(chunk)
    return proof.finish(), answer["ETag"]


@dataclass(frozen=True)
class _Stored:
    """An object, to be read in ranges."""

    client: "S3Client"
    bucket: str
    key: str
    size: int

    @classmethod
    def of(cls, client: "S3Client", bucket: str, key: str) -> Self:
        size = client.head_object(Bucket=bucket, Key=key)["ContentLength"]
        return cls(client, bucket, key, size)

    def open(self, start: int, length: int) -> "closing[StreamingBody]":
        wanted = f"bytes={start}-{start + length - 1}"
        return closing(
            self.client.get_object(Bucket=self.bucket, Key=self.key, Range=wanted)["Body"]
        )


class _NoProof:
    """Accepts any bytes, in the place of an ArchiveProof."""

    def hash(self, chunk: bytes | memoryview) -> None:
        """Accept a chunk."""

    def walk(self, chunk: bytes | memoryview) -> None:
        """Accept a chunk."""

    def finish(self) -> None:
        """Accept the end."""


@dataclass
class _Part:
    """A buffer, its readers, and how many of its bytes are filled and how many are proved."""

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

        botocore sends a bytearray in one piece, although its stubs do not allow a bytearray. It
        sends `bytes` in small pieces.
        """
        return self.buffer if self.is_full else self.buffer[: self.filled]

    def fill(self, data: memoryview) -> memoryview:
        """Copy as much of `data` as fits. Return the rest."""
        taken = min(len(self.buffer) - self.filled, len(data))
        memoryview(self.buffer)[self.filled : self.filled + taken] = data[:taken]
        self.filled += taken
        return data[taken:]

    def prove(self, proof: "ArchiveProof | _NoProof", prover: ThreadPoolExecutor) -> None:
        """Hash the bytes filled since the last call, and prove them in the prover's thread."""
        piece = memoryview(self.buffer)[self.proved : self.filled]
        self.proved = self.filled
        self.readers.append(prover.submit(proof.walk, piece))
        proof.hash(piece)

    def wait(self) -> None:
        """Wait until no task reads the buffer. Raises the tasks' errors."""
        for reader in self.readers:
            reader.result()


def _parts(
    chunks: Iterator[bytes], proof: "ArchiveProof | _NoProof", prover: ThreadPoolExecutor
) -> Iterator[_Part]:
    """Collect chunks into parts of PART_BYTES, and prove each byte once. The last part is shorter.

    A buffer is reused only after its readers are done, so slow readers slow the download down
    (backpressure).
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
    """A multipart upload of parallel parts. The end of the context aborts an incomplete upload."""

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
        # Only `complete` makes the object visible. After an error, the object must not appear.
        self._pool.shutdown(cancel_futures=True)
        if not self._completed and not self._id.cancelled():
            # Keep the original error if the abort fails. The bucket's lifecycle rule deletes the
            # parts later.
            with suppress(ClientError, BotoCoreError):
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=self._key, UploadId=self._id.result()
                )

    def add(self, part: _Part) -> None:
        """Upload a part in the background."""
        sent = self._pool.submit(self._send, len(self._sent) + 1, part)
        self._sent.append(sent)
        part.readers.append(sent)

    def complete(self, condition: Mapping[str, Any]) -> None:
        """Make the object visible under a condition of S3, {} for none."""
        self._client.complete_multipart_upload(
            Bucket=self._bucket,
            Key=self._key,
            UploadId=self._id.result(),
            MultipartUpload={"Parts": [sent.result() for sent in self._sent]},
            **condition,
        )
        self._completed = True

    def _create(self) -> str:
        return self._client.create_multipart_upload(
            Bucket=self._bucket,
            Key=self._key,
            ContentType=_CONTENT_TYPE,
            # S3 checks each part, and the list of the parts' checksums. ChecksumType="FULL_OBJECT"
            # is not needed, and was never tried against AWS.
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
            # The stubs lack bytearray, which botocore takes. As bytes, the part would be in
            # memory twice.
            Body=body,  # type: ignore[arg-type]
            ChecksumCRC32=checksum,
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": checksum}


def _crc32(data: bytearray) -> str:
    """Return the CRC-32 in S3's form: four bytes, big-endian, in base64."""
    return base64.b64encode(isal_zlib.crc32(data).to_bytes(4)).decode()
