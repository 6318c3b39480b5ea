"""Delivers a window from its stored archives: writes the dataset, then the manifest."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from vonage_dataset.cells import Collection
from vonage_dataset.csv_rows import UnreadableRows
from vonage_dataset.parquet import Dataset, convert
from vonage_dataset.tables import TABLES
from vonage_dataset.zip_members import CsvMember, csv_members, names_to_read
from vonage_reports.archive.zip_directory import Reader
from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.glue import Catalogue
from vonage_reports.domain import notifications, objects
from vonage_reports.domain.acceptance import Acceptable, advice
from vonage_reports.domain.catalogue import CatalogueState
from vonage_reports.domain.errors import InvalidRequest, RowsMismatch, RowsUnreadable
from vonage_reports.domain.objects import (
    Member,
    Precedence,
    dataset_key,
    headers_key,
    manifest_key,
    partition,
    unreadable_key,
)
from vonage_reports.domain.report import Entry
from vonage_reports.domain.run_input import RunInput
from vonage_reports.domain.settings import Settings
from vonage_reports.domain.windows import format_instant, parse_instant

_CSV = "text/csv"


def convert_report(
    run_input: RunInput,
    receipt_keys: Sequence[str],
    *,
    bucket: Bucket,
    catalogue: Catalogue | None,
    settings: Settings,
    clock: Callable[[], datetime],
) -> dict[str, Any]:
    """Write a window's dataset and manifest. Return the `report.delivered` notification.

    Unreadable text that the operator accepts is written between the two.

    `receipt_keys` are the keys of the archives' receipts, oldest first, one for each archive.
    Idempotent: a repeated run writes the same objects. A run that only announces reads the
    manifest.

    `catalogue` is None if the stack has none. The partition is registered before the manifest, and
    no delivery waits for it: if Glue refuses, the manifest says `pending`.

    Never replaces newer data. If a later revision has already written the Parquet file, this run
    keeps that file, and its own manifest names no dataset. If a later collection of this report has
    already written the manifest, return the notification of that collection, because readers see
    the later data.

    A relabelled report was delivered as preliminary and is final now. If one of its archives is not
    in the bucket any more, only its manifest is written again.

    Raises:
        RowsMismatch, RowsUnreadable, ArchiveCorrupt: before anything is written.
        InvalidRequest: a receipt is missing.
    """
    if run_input.entry is Entry.ANNOUNCE and (delivered := _from_manifest(run_input, bucket)):
        return delivered
    if run_input.relabelled and not _is_stored(receipt_keys, bucket):
        _relabel_manifest(run_input, bucket, delivered=format_instant(clock()))
        if delivered := _from_manifest(run_input, bucket):
            return delivered
    receipts = [_receipt(bucket, key) for key in receipt_keys]
    if run_input.relabelled and _was_different(run_input, bucket):
        # The setting accepted the rows when the window was delivered, so accept them again.
        settings = replace(settings, row_check="warn")
    precedence = Precedence.of(run_input, receipts)
    with (
        TemporaryDirectory() as scratch,
        (Path(scratch) / "unreadable.csv").open("w+b") as unreadable_file,
        _advice(run_input),
    ):
        file = Path(scratch) / "dataset.parquet"
        unreadable = UnreadableRows(unreadable_file)
        dataset = convert(
            [member for receipt in receipts for member in _members(receipt, bucket)],
            product=run_input.product,
            target=file,
            collection=Collection(
                run_input.revision,
                parse_instant(precedence.received) if precedence.received else None,
                run_input.currency or settings.account_currency,
                run_input.window.start,
            ),
            accepts_missing_columns=Acceptable.MISSING_COLUMNS in run_input.accept,
            unreadable=unreadable if Acceptable.UNREADABLE_ROWS in run_input.accept else None,
        )
        row_check = _row_check(run_input, dataset.rows, unreadable.count, receipts, settings)
        with file.open("rb") as body:
            version_id = bucket.replace(
                dataset_key(run_input),
                body,
                precedence,
                content_type="application/vnd.apache.parquet",
            )
        kept = None
        if version_id is not None:
            kept = _replace_unreadable(run_input, unreadable, unreadable_file, precedence, bucket)
    state = _register(run_input, dataset, catalogue, bucket)
    headers = _headers(run_input, dataset, bucket)
    content = {
        "rows": dataset.rows,
        "columns": [{"name": column.name, "type": column.type.value} for column in dataset.columns],
        "schema_changed": headers is not None
        and headers["before"] not in (None, headers["headers"]),
        "dataset": version_id and _described(run_input, dataset, bucket.name, version_id),
        "totals": [total.to_dict() for total in dataset.totals],
        "rescued": dict(dataset.rescued),
        "row_check": row_check,
        "accepted": _accepted(run_input, dataset, unreadable, kept, receipts),
        "other_members": _other_members(receipts),
        "catalogue": state,
    }
    manifest = objects.manifest(
        run_input, receipts, content, bucket=bucket.name, delivered=format_instant(clock())
    )
    written = bucket.replace_json(manifest_key(run_input), manifest, precedence)
    if written is None and (delivered := _from_manifest(run_input, bucket)):
        return delivered
    if headers is not None:
        # Write the headers after the manifest, so that a repeated run reports the same change.
        bucket.write_json(headers_key(run_input), headers)
    return notifications.delivered(manifest, manifest_key=manifest_key(run_input))


def _from_manifest(run_input: RunInput, bucket: Bucket) -> dict[str, Any] | None:
    """Return the notification of a delivered report, or None without a manifest."""
    manifest = bucket.read_json(manifest_key(run_input))
    return manifest and notifications.delivered(manifest, manifest_key=manifest_key(run_input))


def _is_stored(receipt_keys: Sequence[str], bucket: Bucket) -> bool:
    """Whether the bucket still has every receipt and its archive."""
    receipts = map(bucket.read_json, receipt_keys)
    return all(
        receipt is not None
        and (receipt["archive"] is None or bucket.exists(receipt["archive"]["key"]))
        for receipt in receipts
    )


def _relabel_manifest(run_input: RunInput, bucket: Bucket, *, delivered: str) -> None:
    """Make a delivery final in its manifest, if there is one. The dataset stays as it is."""
    key = manifest_key(run_input)
    precedence = bucket.precedence(key)
    manifest = bucket.read_json(key)
    if precedence is not None and manifest is not None:
        manifest |= {"revision": run_input.revision, "relabelled": True}
        manifest["times"] |= {"delivered": delivered}
        bucket.replace_json(key, manifest, replace(precedence, run=run_input.run))


def _receipt(bucket: Bucket, key: str) -> dict[str, Any]:
    receipt = bucket.read_json(key)
    if receipt is None:
        raise InvalidRequest(
            f"{key} is missing: restore its version and send reconvert, or send recollect (billed)"
        )
    return receipt


@dataclass(frozen=True)
class _StoredArchive:
    """An archive in the bucket, as `vonage_dataset.zip_members` reads it."""

    bucket: Bucket
    key: str
    size: int

    def open(self, start: int, length: int) -> AbstractContextManager[Reader]:
        return self.bucket.open(self.key, start, length)


def _members(receipt: Mapping[str, Any], bucket: Bucket) -> list[CsvMember]:
    archive = receipt["archive"]
    if archive is None:
        return []
    source = _StoredArchive(bucket, archive["key"], archive["bytes"])
    return csv_members(source, [Member(**member) for member in archive["members"]])


def _other_members(receipts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the archives' members that are no CSV files, without folders."""
    others = []
    for archive in (each["archive"] for each in receipts if each["archive"] is not None):
        members = [Member(**member) for member in archive["members"]]
        read = names_to_read(members)
        others += [
            each.name for each in members if each.name not in read and not each.name.endswith("/")
        ]
    return others


def _was_different(run_input: RunInput, bucket: Bucket) -> bool:
    """Whether the setting let the window be delivered with other rows than Vonage counted."""
    manifest = bucket.read_json(manifest_key(run_input))
    return (
        manifest is not None
        and manifest["row_check"] == "different"
        # An operator accepts a difference for one conversion, and never by the setting.
        and not manifest.get("accepted")
    )


@contextmanager
def _advice(run_input: RunInput) -> Iterator[None]:
    """Add to an error the event that accepts its cause, and all that was accepted already."""
    try:
        yield
    except RowsUnreadable as error:
        if error.acceptable is None:
            raise
        sentence = advice([*run_input.accept, error.acceptable])
        raise RowsUnreadable(f"{error} {sentence}") from None


def _row_check(
    run_input: RunInput,
    readable: int,
    unreadable_rows: int,
    receipts: Sequence[Mapping[str, Any]],
    settings: Settings,
) -> str:
    """Compare the number of all rows with Vonage's count. Raises RowsMismatch.

    A dataset that lacks unreadable rows is different, though the number of all rows is right.
    """
    rows = readable + unreadable_rows
    counted = objects.counted_by_vonage(receipts)
    unreadable = objects.unreadable_counts(receipts)
    if counted is None and not unreadable:
        return "impossible"
    if rows == counted:
        return "different" if unreadable_rows else "equal"
    if settings.row_check == "enforce" and Acceptable.ROW_COUNT not in run_input.accept:
        said = (
            f"items_count is unreadable: {', '.join(map(repr, unreadable))}"
            if unreadable
            else f"Vonage counted {counted:,}"
        )
        of_these = f" ({unreadable_rows:,} unreadable)" if unreadable_rows else ""
        raise RowsMismatch(
            f"the archives have {rows:,} rows{of_these}, and {said}. The archives are stored. Ask "
            "Vonage which is right, or send recollect (billed). "
            f"{advice([*run_input.accept, Acceptable.ROW_COUNT])}"
        )
    return "different"


def _replace_unreadable(
    run_input: RunInput,
    unreadable: UnreadableRows,
    file: BinaryIO,
    precedence: Precedence,
    bucket: Bucket,
) -> str | None:
    """Write the unreadable text beside the dataset. Return its version; None if there is none.

    Overwrites the text of an earlier conversion, with an empty object if there is no text now.
    Otherwise, a reader would add its rows to a dataset that has them.
    """
    key = unreadable_key(run_input)
    if not unreadable.count and not bucket.exists(key):
        return None
    version_id = bucket.replace(key, file, precedence, content_type=_CSV)
    if bucket.precedence(dataset_key(run_input)) != precedence:
        # A later conversion wrote its dataset meanwhile, and may not have seen this object.
        bucket.replace(key, b"", precedence, content_type=_CSV)
        return None
    return version_id if unreadable.count else None


def _accepted(
    run_input: RunInput,
    dataset: Dataset,
    unreadable: UnreadableRows,
    version_id: str | None,
    receipts: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Return each imperfection that the operator accepted, and the number of rows it concerns.

    The number is None if Vonage's count, with which the rows would be compared, is unknown. For
    unreadable rows, `version_id` is that of their object; None without one.
    """
    counted = objects.counted_by_vonage(receipts)
    found = dataset.rows + unreadable.count
    rows = {
        Acceptable.ROW_COUNT: None if counted is None else abs(counted - found),
        Acceptable.UNREADABLE_ROWS: unreadable.count,
        Acceptable.MISSING_COLUMNS: dataset.rows_without_columns,
    }
    accepted: list[dict[str, Any]] = [
        {"name": each.value, "rows": rows[each]} for each in run_input.accept
    ]
    for each in accepted:
        if each["name"] == Acceptable.UNREADABLE_ROWS and version_id is not None:
            each["key"] = unreadable_key(run_input)
            each["version_id"] = version_id
            each["bytes"] = unreadable.bytes
            each["sha256"] = unreadable.sha256.hexdigest()
    return accepted


def _register(
    run_input: RunInput, dataset: Dataset, catalogue: Catalogue | None, bucket: Bucket
) -> CatalogueState:
    """Register the window's partition, once."""
    if catalogue is None or run_input.product not in TABLES:
        return CatalogueState.OFF
    is_registered = catalogue.register(
        run_input.product,
        partition(run_input),
        [(column.name, column.type.value) for column in dataset.columns],
        bucket=bucket.name,
    )
    return CatalogueState.REGISTERED if is_registered else CatalogueState.PENDING


def _headers(run_input: RunInput, dataset: Dataset, bucket: Bucket) -> dict[str, Any] | None:
    """Return the headers object to write for a definition, or None if nothing changes.

    `headers` are the headers of the newest window, and `before` the headers of the window before.
    Nothing changes for a window without a file or for an older window, such as a backfill's.
    """
    if not dataset.headers:
        return None
    headers = [list(header) for header in dataset.headers]
    known = bucket.read_json(headers_key(run_input))
    before = None
    if known is not None:
        newest = parse_instant(known["window"]["start"])
        if newest > run_input.window.start:
            return None
        before = known["before"] if newest == run_input.window.start else known["headers"]
    return {"window": run_input.window.to_dict(), "headers": headers, "before": before}


def _described(
    run_input: RunInput, dataset: Dataset, bucket: str, version_id: str
) -> dict[str, Any]:
    return {
        "bucket": bucket,
        "key": dataset_key(run_input),
        "version_id": version_id,
        "bytes": dataset.bytes,
        "sha256": dataset.sha256,
        "rows": dataset.rows,
        "rescued_cells": dataset.rescued_cells,
    }
