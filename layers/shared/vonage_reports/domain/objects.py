"""The objects in the bucket: their keys and the JSON beside and above the archives.

A reader outside relies on both (README, "What lands in S3").
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vonage_reports.domain.archive import Archive
from vonage_reports.domain.reports import Entry, Report
from vonage_reports.domain.windows import Window

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Subject:
    """The report that a run is about, as the workflow's input names it."""

    report_id: str
    request_id: str | None
    """None where there was no request: the window was split before it was asked for."""
    attempt: int
    run: int
    entry: Entry
    definition: str
    product: str
    account_id: str
    include_subaccounts: bool
    filters: Mapping[str, Any]
    window: Window
    revision: str
    delay_days: int
    """How long after its end the window was collected: the rank of its revision."""
    planned: str | None
    currency: str | None = None
    """What an empty currency means, as the definition says."""

    @classmethod
    def from_input(cls, value: Mapping[str, Any]) -> "Subject":
        """Read the workflow's input. Raises KeyError, naming what is missing."""
        definition = value["definition"]
        return cls(
            report_id=value["report_id"],
            request_id=value["request_id"],
            attempt=value["attempt"],
            run=value["run"],
            entry=Entry(value["entry"]),
            definition=definition["name"],
            product=definition["product"],
            account_id=definition["account_id"],
            include_subaccounts=definition["include_subaccounts"],
            filters=definition["filters"],
            window=Window.from_dict(value["window"]),
            revision=value["revision"],
            delay_days=value["delay_days"],
            planned=value.get("planned"),
            currency=definition.get("currency"),
        )

    @property
    def execution_name(self) -> str:
        """The name of the run, as the ledger gives it."""
        return f"{self.report_id}-r{self.run}"

    @property
    def archive_key(self) -> str:
        """Where the archive is, exactly as Vonage sent it."""
        return f"{_archive_folder(self)}/{self.request_id}.zip"

    @property
    def receipt_key(self) -> str:
        """Where the proof of the archive is."""
        return f"{_archive_folder(self)}/{self.request_id}.json"

    @property
    def manifest_key(self) -> str:
        """Where it says that the window is delivered."""
        return manifest_key(self)

    @property
    def dataset_key(self) -> str:
        """Where the rows of the window are, whatever was asked for to get them."""
        window = self.window
        folder = "/".join(f"{name}={value}" for name, value in self.partition.items())
        return (
            f"data/product={self.product}/{folder}"
            f"/{window.start:%Y%m%dT%H%M%SZ}_{window.end:%Y%m%dT%H%M%SZ}.parquet"
        )

    @property
    def partition(self) -> dict[str, str]:
        """The columns that the dataset's key adds to its rows, besides the product."""
        return {
            "definition": self.definition,
            "account": self.account_id,
            "date": f"{self.window.first_date}",
        }


def receipt_key(report: Report) -> str:
    """Return the key of the receipt that the present attempt of a report leaves."""
    return f"{_archive_folder(report)}/{report.request_id}.json"


def manifest_key(of: Subject | Report) -> str:
    """Return the key of the manifest, which says that the window is delivered."""
    return f"manifests/{_folder(of)}/{of.report_id}.json"


@dataclass(frozen=True, order=True)
class Precedence:
    """Which of two that would write one object wins: the greater, whoever comes last.

    It stands in the object's metadata. A late preliminary revision does not take the place of the
    final one, nor a forgotten run that of a later collection.
    """

    delay_days: int
    received: str
    """When Vonage received the request, ISO 8601 in UTC; empty where nobody knows."""
    attempt: int
    run: int

    @classmethod
    def of(cls, subject: Subject, receipts: Sequence[Mapping[str, Any]]) -> "Precedence":
        """Return the precedence of what is made from these receipts."""
        times = [each["times"] for each in receipts]
        received = max((each["submitted"] or each["ready"] or "" for each in times), default="")
        return cls(subject.delay_days, received, subject.attempt, subject.run)

    def to_metadata(self) -> dict[str, str]:
        """The form of an object's metadata."""
        return {
            "delay-days": str(self.delay_days),
            "received": self.received,
            "attempt": str(self.attempt),
            "run": str(self.run),
        }

    @classmethod
    def from_metadata(cls, value: Mapping[str, str]) -> "Precedence":
        """Read what `to_metadata` wrote; an object that somebody else put there precedes none."""
        return cls(
            int(value.get("delay-days", -1)),
            value.get("received", ""),
            int(value.get("attempt", 0)),
            int(value.get("run", 0)),
        )


def _archive_folder(of: Subject | Report) -> str:
    return f"archives/{_folder(of)}/{of.report_id}"


def _folder(of: Subject | Report) -> str:
    return f"{of.definition}/{of.account_id}/{of.window.first_date:%Y/%m/%d}"


def receipt(
    subject: Subject,
    archive: Archive | None,
    *,
    items_count: int | None,
    times: Mapping[str, str | None],
) -> dict[str, Any]:
    """Make the receipt: what was stored, proved. `archive` is None where Vonage made no file."""
    return {
        "schema_version": SCHEMA_VERSION,
        "report_id": subject.report_id,
        "request_id": subject.request_id,
        "archive": None
        if archive is None
        else {
            "key": subject.archive_key,
            "bytes": archive.bytes,
            "sha256": archive.sha256,
            "members": [asdict(member) for member in archive.members],
        },
        "items_count": items_count,
        "times": dict(times),
    }


def manifest(
    subject: Subject,
    receipts: Sequence[Mapping[str, Any]],
    content: Mapping[str, Any],
    *,
    bucket: str,
    delivered: str,
) -> dict[str, Any]:
    """Make the manifest of a window from the receipts of its archives.

    `content` is what is in them: rows, columns, schema_changed, dataset, totals, row_check.
    """
    times = {
        "submitted": _time(receipts, "submitted", min),
        "ready": _time(receipts, "ready", max),
        "stored": _time(receipts, "stored", max),
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "report_id": subject.report_id,
        "definition": subject.definition,
        "product": subject.product,
        "account_id": subject.account_id,
        "include_subaccounts": subject.include_subaccounts,
        "filters": dict(subject.filters),
        "window": subject.window.to_dict(),
        "revision": subject.revision,
        "attempt": subject.attempt,
        "rows": content["rows"],
        "columns": content["columns"],
        "schema_changed": content["schema_changed"],
        "archives": [
            {
                "bucket": bucket,
                **each["archive"],
                "request_id": each["request_id"],
                "items_count": each["items_count"],
            }
            for each in receipts
            if each["archive"] is not None
        ],
        "dataset": content["dataset"],
        "totals": content["totals"],
        "row_check": content["row_check"],
        "times": {"planned": subject.planned, **times, "delivered": delivered},
    }


def _time(
    receipts: Sequence[Mapping[str, Any]], name: str, of: Callable[[Iterable[str]], str]
) -> str | None:
    times = [each["times"][name] for each in receipts if each["times"][name] is not None]
    return of(times) if times else None


def counted_by_vonage(receipts: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the rows that Vonage counted; None where there is a file of which it did not say."""
    counts = [each["items_count"] if each["archive"] else 0 for each in receipts]
    return None if None in counts else sum(counts)


def delivered_notification(manifest: Mapping[str, Any], *, manifest_key: str) -> dict[str, Any]:
    """Say what a manifest says, as the body of the notification `report.delivered`."""
    return {
        "event": "report.delivered",
        "report_id": manifest["report_id"],
        "attempt": manifest["attempt"],
        "definition": manifest["definition"],
        "product": manifest["product"],
        "account_id": manifest["account_id"],
        "revision": manifest["revision"],
        "window": manifest["window"],
        "rows": manifest["rows"],
        "bytes": sum(archive["bytes"] for archive in manifest["archives"]),
        "totals": manifest["totals"],
        "schema_changed": manifest["schema_changed"],
        "manifest": manifest_key,
        "archives": [archive["key"] for archive in manifest["archives"]],
        "dataset": manifest["dataset"] and manifest["dataset"]["key"],
    }
