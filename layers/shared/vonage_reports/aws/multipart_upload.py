"""Streams an archive into S3: proved while it passes, visible only once it is proved.

The caller's thread takes the bytes off the wire and hashes them, a second one inflates and sums
them, and others send them on, a part each. Nearly all of that is done in C, outside the
interpreter's lock. They share buffers of one part each: memory does not grow with the archive.
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
"""S3 takes up to 10,000 parts: 80 GB, where Vonage's archives have 1 GB at most."""

PARTS_IN_FLIGHT = 4
"""Uploads that run beside the download."""

_BUFFERS = PARTS_IN_FLIGHT + 2
"""One more is being filled, and one waits for its proof or its upload."""

CHUNK_BYTES = 64 * 1024
"""What is read at once. From 128 kB on, the kernel would map and zero the memory of each chunk."""

_PIECE_BYTES = 1024 * 1024
"""What is hashed, and given to the thread of the proof, at once: with smaller pieces the threads
would hand the interpreter's lock to each other more often."""

TIME_TO_STOP = 150.0
"""Seconds that stopping may take: a stall of the download shows after 30, and S3 is tried three
times for 30 with the parts on their way."""

S3_CONFIG = Config(
    connect_timeout=5,
    read_timeout=30,
    retries={"mode": "standard", "total_max_attempts": 3},
    s3={"payload_signing_enabled": False},
)
"""For the client that `upload_archive` is given. TLS protects the bytes on the way, and S3 compares
them with the CRC32 in the signed headers; botocore would sign a SHA-256 of each part as well, which
takes as long as sending it."""

_DONE_BEFORE = {
    "PreconditionFailed",  # by another run
    "NoSuchUpload",  # by this one, if the answer to the completion was lost and it was tried again
}
_CONTENT_TYPE = "application/zip"


def upload_archive(
    client: "S3Client", bucket: str, key: str, chunks: Iterator[bytes]
) -> Archive | None:
    """Store the archive that `chunks` make up, if it proves whole; None: see what `key` holds.

    S3 verifies the CRC32 of every part, taken from the bytes that were proved. Nothing is visible
    before the proof is complete, and no upload stays open after an error. None is returned where
    something else, or an answer that was lost, completed the upload before: that is to be proved.

    Raises ArchiveCorrupt, whatever `chunks` raises, and botocore's errors.
    """
    proof = ArchiveProof(deflate=isal_zlib)
    with ThreadPoolExecutor(1) as prover:
        parts = _parts(chunks, proof, prover)
        first = next(parts, _Part(bytearray()))
        second = next(parts, None)
        try:
            if second is None:
                # It fits one part, as most do: one request instead of three.
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
    """Pass chunks on while `seconds_left` of the function's time are enough to stop cleanly.

    Raises VonageUnavailable, which the workflow retries: the next download may be faster.
    """
    for chunk in chunks:
        if seconds_left() < TIME_TO_STOP:
            raise VonageUnavailable("the download did not end within the function's time")
        yield chunk


def prove_stored_archive(client: "S3Client", bucket: str, key: str) -> Archive:
    """Prove an archive that is in S3 already. Raises ArchiveCorrupt."""
    proof = ArchiveProof(deflate=isal_zlib)
    # Not `with body`: that would give the stream below, without botocore's check of its length.
    with closing(client.get_object(Bucket=bucket, Key=key)["Body"]) as body:
        while chunk := body.read(CHUNK_BYTES):
            proof.update(chunk)
    return proof.finish()


@dataclass
class _Part:
    """A buffer, how much of it is filled and under proof, and the work that still reads it."""

    buffer: bytearray
    filled: int = 0
    proved: int = 0
    readers: "list[Future[Any]]" = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Whether there is no room left."""
        return self.filled == len(self.buffer)

    @property
    def body(self) -> bytearray:
        """What is filled, as a bytearray.

        botocore takes it, which its stubs do not know, and sends it as it is. Bytes it would send
        in small pieces.
        """
        return self.buffer if self.is_full else self.buffer[: self.filled]

    def fill(self, data: memoryview) -> memoryview:
        """Take what there is room for, and return the rest."""
        taken = min(len(self.buffer) - self.filled, len(data))
        memoryview(self.buffer)[self.filled : self.filled + taken] = data[:taken]
        self.filled += taken
        return data[taken:]

    def prove(self, proof: ArchiveProof, prover: ThreadPoolExecutor) -> None:
        """Let the proof go on over what was filled since, and hash it meanwhile."""
        piece = memoryview(self.buffer)[self.proved : self.filled]
        self.proved = self.filled
        self.readers.append(prover.submit(proof.walk, piece))
        proof.hash(piece)

    def wait(self) -> None:
        """Wait until nobody reads it any more. Raises what they raised."""
        for reader in self.readers:
            reader.result()


def _parts(
    chunks: Iterator[bytes], proof: ArchiveProof, prover: ThreadPoolExecutor
) -> Iterator[_Part]:
    """Gather chunks into parts of PART_BYTES, the last one shorter, proving each byte once.

    A buffer is used again when its readers are done: they hold the download back.
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
    """A multipart upload: parts go out in parallel; leaving it incomplete aborts it."""

    def __init__(self, client: "S3Client", bucket: str, key: str) -> None:
        self._client = client
        self._bucket = bucket
        self._key = key
        self._sent: list[Future[CompletedPartTypeDef]] = []
        self._pool = ThreadPoolExecutor(PARTS_IN_FLIGHT)
        self._id = self._pool.submit(self._create)  # the download need not wait for it
        self._completed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Completing is said aloud (`complete`): an error on the way out never publishes.
        self._pool.shutdown(cancel_futures=True)
        if not self._completed and not self._id.cancelled():
            # The error on its way out says more than a failing abort; the bucket's lifecycle
            # drops what is left.
            with suppress(ClientError, BotoCoreError):
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=self._key, UploadId=self._id.result()
                )

    def add(self, part: _Part) -> None:
        """Send a part."""
        sent = self._pool.submit(self._send, len(self._sent) + 1, part)
        self._sent.append(sent)
        part.readers.append(sent)

    def complete(self) -> None:
        """Make the object visible, if there is none at its key."""
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
            # And not ChecksumType="FULL_OBJECT": S3 compares each part, and the list of all their
            # checksums, already; what it would do with one for the whole cannot be tried here.
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
    """Return the CRC-32 as S3 takes it: base64 of four bytes, big-endian."""
    return base64.b64encode(isal_zlib.crc32(data).to_bytes(4)).decode()
