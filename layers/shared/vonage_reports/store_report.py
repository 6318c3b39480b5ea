"""Stores one report in the bucket: the archive, then its receipt."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.cloudwatch import Metrics
from vonage_reports.aws.multipart_upload import (
    CHUNK_BYTES,
    prove_stored_archive,
    store_refused_archive,
    until_deadline,
    upload_archive,
    upload_unproved,
)
from vonage_reports.domain import objects
from vonage_reports.domain.errors import ArchiveCorrupt
from vonage_reports.domain.metrics import of_archive
from vonage_reports.domain.objects import Archive, archive_key, receipt_key, refused_key
from vonage_reports.domain.run_input import RunInput
from vonage_reports.domain.windows import format_instant
from vonage_reports.vonage.client import VonageClient


def store_report(
    run_input: RunInput,
    download: Mapping[str, Any],
    *,
    vonage: VonageClient,
    bucket: Bucket,
    metrics: Metrics,
    clock: Callable[[], datetime],
    seconds_left: Callable[[], float],
) -> dict[str, Any]:
    """Store a report's archive in the bucket; return its receipt.

    `download` comes from check_report: file_id (None if Vonage made no file), items_count, the
    times submitted and ready, and items_count_text if Vonage's count cannot be read. Idempotent: a
    repeated run uses the stored receipt or archive, and downloads nothing again.

    Raises:
        ArchiveCorrupt, ReportExpired, RateLimited, VonageRejected.
        VonageUnavailable: also if the download does not end within `seconds_left`.
    """
    receipt = bucket.read_json(receipt_key(run_input))
    if receipt is None:
        archive = _store_archive(run_input, download["file_id"], vonage, bucket, seconds_left)
        receipt = objects.receipt(
            run_input,
            archive,
            items_count=download["items_count"],
            items_count_text=download.get("items_count_text"),
            times={
                "submitted": download["submitted"],
                "ready": download["ready"],
                "stored": format_instant(clock()),
            },
        )
        bucket.write_json(receipt_key(run_input), receipt)
        metrics.emit(of_archive(run_input.product, receipt), **run_input.log_keys)
    return receipt


def _store_archive(
    run_input: RunInput,
    file_id: str | None,
    vonage: VonageClient,
    bucket: Bucket,
    seconds_left: Callable[[], float],
) -> Archive | None:
    if file_id is None:
        return None
    key = archive_key(run_input)
    if not bucket.exists(key):
        try:
            with vonage.download(file_id, CHUNK_BYTES) as chunks:
                archive = upload_archive(
                    bucket.client, bucket.name, key, until_deadline(chunks, seconds_left)
                )
        except ArchiveCorrupt:
            return _store_refused(run_input, file_id, vonage, bucket, seconds_left)
        if archive is not None:
            return archive
    # The archive of a run that died before it wrote the receipt.
    return prove_stored_archive(bucket.client, bucket.name, key)


def _store_refused(
    run_input: RunInput,
    file_id: str,
    vonage: VonageClient,
    bucket: Bucket,
    seconds_left: Callable[[], float],
) -> Archive:
    """Download a refused archive once more, which is free, and keep its bytes.

    If the bytes are an archive that only its directory proves, store the archive.
    """
    refused = refused_key(run_input)
    with vonage.download(file_id, CHUNK_BYTES) as chunks:
        upload_unproved(bucket.client, bucket.name, refused, until_deadline(chunks, seconds_left))
    try:
        return store_refused_archive(bucket.client, bucket.name, refused, archive_key(run_input))
    except ArchiveCorrupt as error:
        raise ArchiveCorrupt(
            f"{error} The bytes are kept for 30 days as {refused}: ask Vonage why the file of "
            f"request {run_input.request_id} is not whole"
        ) from None
