"""Stores one report in the bucket: the archive, then its receipt."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.cloudwatch import Metrics
from vonage_reports.aws.multipart_upload import (
    CHUNK_BYTES,
    prove_stored_archive,
    until_deadline,
    upload_archive,
)
from vonage_reports.domain import objects
from vonage_reports.domain.metrics import of_archive
from vonage_reports.domain.objects import Archive, archive_key, receipt_key
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
        with vonage.download(file_id, CHUNK_BYTES) as chunks:
            archive = upload_archive(
                bucket.client, bucket.name, key, until_deadline(chunks, seconds_left)
            )
        if archive is not None:
            return archive
    # The archive of a run that died before it wrote the receipt.
    return prove_stored_archive(bucket.client, bucket.name, key)
