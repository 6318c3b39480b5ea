"""The objects in the bucket: their keys, and the JSON of receipts and manifests.

Downstream jobs rely on both: docs/objects.md explains them, docs/schemas/ has their JSON Schemas.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vonage_reports.domain.report import Report
from vonage_reports.domain.run_input import RunInput

SCHEMA_VERSION = 1

DEFINITIONS_KEY = "definitions/report-definitions.json"
"""The key of the operator's report definitions, of which the bucket keeps every version."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive, with its uncompressed size and its CRC-32 as 8 hexadecimal digits."""

    name: str
    bytes: int
    crc32: str


@dataclass(frozen=True, slots=True)
class Archive:
    """A verified archive, with its size, its SHA-256 in hexadecimal, and its members in order."""

    bytes: int
    sha256: str
    members: tuple[Member, ...]


def archive_key(of: RunInput | Report) -> str:
    """Return the key of the archive that the present attempt stores, exactly as Vonage sent it."""
    return f"{_archive_folder(of)}/{of.request_id}.zip"


def receipt_key(of: RunInput | Report) -> str:
    """Return the key of the receipt that the present attempt stores beside its archive."""
    return f"{_archive_folder(of)}/{of.request_id}.json"


REFUSED = "refused/"
"""The prefix of the bytes of refused archives. A lifecycle rule deletes them after 30 days."""


def refused_key(of: RunInput | Report) -> str:
    """Return the key of the bytes that are no whole archive."""
    return f"{REFUSED}{_folder(of)}/{of.report_id}/{of.request_id}.zip"


def dataset_key(of: RunInput | Report) -> str:
    """Return the key of the window's dataset, which is one object even for several reports."""
    return f"data/{_of_window(of)}.parquet"


def unreadable_key(of: RunInput | Report) -> str:
    """Return the key of the accepted text of the window that the dataset lacks."""
    return f"unreadable/{_of_window(of)}.csv"


def _of_window(of: RunInput | Report) -> str:
    window = of.window
    folder = "/".join(f"{name}={value}" for name, value in partition(of).items())
    return (
        f"product={of.product}/{folder}/{window.start:%Y%m%dT%H%M%SZ}_{window.end:%Y%m%dT%H%M%SZ}"
    )


def partition(of: RunInput | Report) -> dict[str, str]:
    """Return the partition columns in the dataset's key, without the product."""
    return {
        "definition": of.definition,
        "account": of.account_id,
        "date": f"{of.window.first_date}",
    }


def headers_key(of: RunInput | Report) -> str:
    """Return the key of the last CSV header of a definition and account."""
    return f"headers/{of.definition}/{of.account_id}.json"


def manifest_key(of: RunInput | Report) -> str:
    """Return the key of the manifest. A window with a manifest is delivered."""
    return f"manifests/{_folder(of)}/{of.report_id}.json"


@dataclass(frozen=True, order=True)
class Precedence:
    """The rank of an object's content, stored in its metadata.

    Content never overwrites content of a higher rank. So a late preliminary revision cannot
    overwrite the final revision, and an old run cannot overwrite a later collection.
    """

    delay_days: int
    received: str
    """When Vonage received the request (ISO 8601 in UTC). Empty if unknown."""
    attempt: int
    run: int

    @classmethod
    def of(cls, run_input: RunInput, receipts: Sequence[Mapping[str, Any]]) -> "Precedence":
        """Return the precedence of content made from these receipts."""
        times = [each["times"] for each in receipts]
        received = max((each["submitted"] or each["ready"] or "" for each in times), default="")
        return cls(run_input.delay_days, received, run_input.attempt, run_input.run)

    def to_metadata(self) -> dict[str, str]:
        """Return the precedence as object metadata."""
        return {
            "delay-days": str(self.delay_days),
            "received": self.received,
            "attempt": str(self.attempt),
            "run": str(self.run),
        }

    @classmethod
    def from_metadata(cls, value: Mapping[str, str]) -> "Precedence":
        """Read object metadata. Another writer's object, without a precedence, ranks lowest."""
        return cls(
            int(value.get("delay-days", -1)),
            value.get("received", ""),
            int(value.get("attempt", 0)),
            int(value.get("run", 0)),
        )


def _archive_folder(of: RunInput | Report) -> str:
    return f"archives/{_folder(of)}/{of.report_id}"


def _folder(of: RunInput | Report) -> str:
    return f"{of.definition}/{of.account_id}/{of.window.first_date:%Y/%m/%d}"


def receipt(
    run_input: RunInput,
    archive: Archive | None,
    *,
    items_count: int | None,
    items_count_text: str | None = None,
    times: Mapping[str, str | None],
) -> dict[str, Any]:
    """Make the receipt of a report. `archive` is None if Vonage made no file.

    `items_count_text` is Vonage's count as sent, if it cannot be read.
    """
    unreadable = {} if items_count_text is None else {"items_count_text": items_count_text}
    return {
        "schema_version": SCHEMA_VERSION,
        "report_id": run_input.report_id,
        "request_id": run_input.request_id,
        "archive": None
        if archive is None
        else {
            "key": archive_key(run_input),
            "bytes": archive.bytes,
            "sha256": archive.sha256,
            "members": [asdict(member) for member in archive.members],
        },
        "items_count": items_count,
        **unreadable,
        "times": dict(times),
    }


def manifest(
    run_input: RunInput,
    receipts: Sequence[Mapping[str, Any]],
    content: Mapping[str, Any],
    *,
    bucket: str,
    delivered: str,
) -> dict[str, Any]:
    """Make the manifest of a window from the receipts of its archives.

    `content` describes the rows: rows, columns, schema_changed, dataset, totals, rescued,
    row_check, accepted, other_members, catalogue.
    """
    times = {
        "submitted": _time(receipts, "submitted", min),
        "ready": _time(receipts, "ready", max),
        "stored": _time(receipts, "stored", max),
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "report_id": run_input.report_id,
        "definition": run_input.definition,
        "product": run_input.product,
        "account_id": run_input.account_id,
        "include_subaccounts": run_input.include_subaccounts,
        "filters": dict(run_input.filters),
        "window": run_input.window.to_dict(),
        "revision": run_input.revision,
        "relabelled": run_input.relabelled,
        "attempt": run_input.attempt,
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
        "rescued": content["rescued"],
        "row_check": content["row_check"],
        "accepted": content.get("accepted", []),
        "other_members": content.get("other_members", []),
        "catalogue": content["catalogue"],
        "times": {"planned": run_input.planned, **times, "delivered": delivered},
    }


def _time(
    receipts: Sequence[Mapping[str, Any]], name: str, of: Callable[[Iterable[str]], str]
) -> str | None:
    times = [each["times"][name] for each in receipts if each["times"][name] is not None]
    return of(times) if times else None


def counted_by_vonage(receipts: Sequence[Mapping[str, Any]]) -> int | None:
    """Return how many rows Vonage counted, or None if one of the files has no count."""
    counts = [each["items_count"] if each["archive"] else 0 for each in receipts]
    return None if None in counts else sum(counts)


def unreadable_counts(receipts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return Vonage's counts that cannot be read, as Vonage sent them."""
    return [
        each["items_count_text"]
        for each in receipts
        if each["archive"] and "items_count_text" in each
    ]
