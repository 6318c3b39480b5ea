"""When a day is complete, by rules of the campaign's own. It shares no code with the product's."""

import io
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq

from tests.chaos.s3 import Objects, read_json
from vonage_dataset.tables import TABLES
from vonage_reports.domain.report import Report, Revision, State
from vonage_reports.domain.windows import Window

Pair = tuple[str, str]
"""A definition, and an account in lower case."""


def key_of(day: str, number: int) -> str:
    """Return the key of a day's object."""
    return f"periods/{day[:4]}/{day[5:]}/{number}.json"


def day_of(key: str) -> str:
    """Reverse `key_of`, without the number."""
    _, year, rest, _ = key.split("/")
    return f"{year}-{rest}"


def last_number(objects: Objects, day: str) -> int:
    """Return the largest number of a day's objects, or 0."""
    number = 0
    while key_of(day, number + 1) in objects.versions:
        number += 1
    return number


def days_of(reports: Sequence[Report]) -> set[str]:
    """Return the local days that the delivered windows touch."""
    found = set()
    for report in reports:
        if report.state is State.DELIVERED and not report.is_half:
            zone = ZoneInfo(report.window.time_zone)
            day = report.window.start.astimezone(zone).date()
            while _midnight(day, zone) < report.window.end:
                found.add(f"{day}")
                day += timedelta(days=1)
    return found


def waits_for(day: str, reports: Sequence[Report], listed: Collection[Pair]) -> str | None:
    """Return why a day is not complete, or None if it is."""
    of_pair: defaultdict[Pair, defaultdict[Window, list[Report]]]
    of_pair = defaultdict(lambda: defaultdict(list))
    for report in reports:
        if not report.is_half and not _is_no_collection(report):
            pair = report.definition, report.account_id.lower()
            of_pair[pair][report.window].append(report)
    for pair, windows in of_pair.items():
        ordered = sorted(windows, key=lambda window: window.start)
        zone = ZoneInfo(ordered[0].time_zone)
        start = _midnight(date.fromisoformat(day), zone)
        end = _midnight(date.fromisoformat(day) + timedelta(days=1), zone)
        covered_to = max(start, ordered[0].start)
        for window in ordered:
            if not (window.start < end and window.end > start):
                continue
            if window.start > covered_to and pair in listed:
                return f"{pair} has no window at {covered_to}"
            covered_to = max(covered_to, window.end)
            latest = max(windows[window], key=lambda each: each.delay_days)
            if any(not each.is_at_end for each in windows[window]) or not _is_final(latest):
                return f"{latest.report_id} is {latest.state}, {latest.revision}"
        if pair in listed and ordered[0].start < end and covered_to < end:
            return f"{pair} has no window at {covered_to}"
    return None


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _is_no_collection(report: Report) -> bool:
    """Whether a report was cancelled with its backfill, before it was requested."""
    was_delivered = report.rows is not None or report.delivered_from
    return report.state is State.CANCELLED and report.withdrawn_at is None and not was_delivered


def _is_final(latest: Report) -> bool:
    is_delivered = latest.state is State.DELIVERED and latest.revision is Revision.FINAL
    return is_delivered or latest.state is State.CANCELLED


def untrue(value: Mapping[str, Any], objects: Objects) -> Iterator[str]:
    """Yield what is wrong in a day's last object: versions and totals, against the bucket."""
    sums: defaultdict[tuple[str, str, str | None], list[Any]]
    sums = defaultdict(lambda: [0, Decimal(0)])
    rows: defaultdict[str, int] = defaultdict(int)
    name = f"number {value['number']} of {value['period']}"
    for each in value["manifests"]:
        versions = objects.versions.get(each["key"])
        if versions is None or versions[-1].number != each["version_id"]:
            yield f"{name}: {each['key']} has the version {versions and versions[-1].number}"
            continue
        manifest = read_json(objects, each["key"])
        if manifest["dataset"] is None:
            yield f"{name}: {each['key']} has no dataset"
            continue
        rows[manifest["definition"]] += _rows(manifest, objects, sums)
    for each in value["definitions"]:
        counted = rows[each["definition"]]
        if each["rows"] != counted:
            yield f"{name}: {each['rows']} rows of {each['definition']}, not {counted}"
        for total in each["totals"]:
            found = sums.pop((each["definition"], total["account_id"], total["currency"]), [0, 0])
            if [total["rows"], Decimal(total["total_price"])] != found:
                yield f"{name}: {total} of {each['definition']}, not {found}"
    if sums:
        yield f"{name}: no totals of {dict(sums)}"


def _rows(manifest: Mapping[str, Any], objects: Objects, sums: Mapping[Any, list[Any]]) -> int:
    """Add a dataset's prices to `sums`, and return its rows."""
    table = pq.read_table(io.BytesIO(objects.body(manifest["dataset"]["key"])))
    prices = TABLES[manifest["product"]].prices
    for row in table.select(["_currency", *prices]).to_pylist() if prices else ():
        found = sums[manifest["definition"], manifest["account_id"], row["_currency"]]
        found[0] += 1
        found[1] += sum((row[price] or Decimal(0) for price in prices), Decimal(0))
    return int(table.num_rows)
