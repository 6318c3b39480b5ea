"""Makes the manifest of a window from the receipts of its archives."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from vonage_reports.aws.bucket import Bucket
from vonage_reports.domain import objects
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.objects import Precedence, Subject
from vonage_reports.domain.reports import Entry
from vonage_reports.domain.windows import format_instant


def convert_report(
    subject: Subject,
    receipt_keys: Sequence[str],
    *,
    bucket: Bucket,
    clock: Callable[[], datetime],
) -> dict[str, Any]:
    """Write the manifest and return the notification that says so.

    `receipt_keys` are the archives of the window, oldest first: several where it was split. Run
    again, it does all of it again, and nothing is different; a run that only announces takes the
    manifest that is there. What a later revision or collection wrote is left alone.

    Raises InvalidRequest where a receipt is missing.
    """
    if subject.entry is Entry.ANNOUNCE:
        manifest = bucket.read_json(subject.manifest_key)
        if manifest is not None:
            return objects.delivered_notification(manifest, manifest_key=subject.manifest_key)
    receipts = [_receipt(bucket, key) for key in receipt_keys]
    manifest = objects.manifest(
        subject, receipts, bucket=bucket.name, delivered=format_instant(clock())
    )
    bucket.replace_json(subject.manifest_key, manifest, Precedence.of(subject, receipts))
    return objects.delivered_notification(manifest, manifest_key=subject.manifest_key)


def _receipt(bucket: Bucket, key: str) -> dict[str, Any]:
    receipt = bucket.read_json(key)
    if receipt is None:
        raise InvalidRequest(f"{key} is not there: begin the run with a check")
    return receipt
