"""The windows of each definition and account: no gap, no overlap, and one manifest each."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

from vonage_reports.domain.report import Revision
from vonage_reports.domain.windows import Window, parse_instant
from vonage_reports_cli.objects import date_of
from vonage_reports_cli.period import Period
from vonage_reports_cli.proof.model import Account, Delivery, Difference, is_in

_Account = tuple[str, str]
"""A definition and an account."""


def shape_of(
    read: Sequence[Delivery], keys: Iterable[str], period: Period | None
) -> Iterator[Difference]:
    """Yield the doubled manifests, the gaps and the overlaps of each definition and account.

    `read` has the manifests of the period and around it, `keys` those of all time. Before the first
    window and after the last one of all time there is no gap. Only the ledger knows the windows
    that are due there.
    """
    by_account: dict[_Account, list[Delivery]] = defaultdict(list)
    for each in read:
        by_account[each.manifest["definition"], each.manifest["account_id"]].append(each)
    days = _days(keys)
    for of in sorted(days.keys() | by_account.keys()):
        yield from _doubled(of, by_account[of], period)
        windows = {each.window for each in by_account[of]}
        bounds = _around(days[of], period)
        for start, end, reason in _breaks([*windows, *bounds]):
            broken = Window(start, end, "UTC")
            if is_in(broken, period):
                shown = _within(broken, period)
                yield Difference(*of, shown.interval, None, reason)


def accounts_of(deliveries: Iterable[Delivery]) -> list[Account]:
    """Return the windows of each definition and account."""
    windows: dict[_Account, dict[Window, bool]] = defaultdict(dict)
    for each in deliveries:
        is_final = each.manifest["revision"] == Revision.FINAL
        found = windows[each.manifest["definition"], each.manifest["account_id"]]
        found[each.window] = found.get(each.window, False) or is_final
    return [
        Account(
            *of,
            sorted(found, key=lambda each: each.start),
            sorted((each for each in found if not found[each]), key=lambda each: each.start),
        )
        for of, found in sorted(windows.items())
    ]


def _doubled(
    of: _Account, deliveries: Sequence[Delivery], period: Period | None
) -> Iterator[Difference]:
    seen: dict[Window, str] = {}
    for each in deliveries:
        if each.manifest["revision"] != Revision.FINAL or not is_in(each.window, period):
            continue
        if each.window in seen:
            reason = f"the window has another final manifest, {seen[each.window]}"
            yield Difference(*of, each.window.interval, each.key, reason)
        seen[each.window] = each.key


def _breaks(windows: Iterable[Window]) -> Iterator[tuple[datetime, datetime, str]]:
    """Yield the gaps and the overlaps of windows, each with a sentence."""
    covered: datetime | None = None
    for window in sorted(windows, key=lambda each: (each.start, each.end)):
        if covered is not None and covered < window.start:
            yield covered, window.start, "no window is delivered here, but before and after"
        elif covered is not None and window.start < covered:
            yield window.start, covered, "two windows overlap here"
        covered = max(window.end, covered or window.end)


def _days(keys: Iterable[str]) -> Mapping[_Account, list[date]]:
    """Return the dates of the manifests of each definition and account."""
    found: dict[_Account, list[date]] = defaultdict(list)
    for key in keys:
        day = date_of(key)
        if day is not None:
            _, definition, account_id, *_ = key.split("/")
            found[definition, account_id].append(day)
    return found


def _around(days: Iterable[date], period: Period | None) -> Iterator[Window]:
    """Yield an empty window at the edge of the read manifests, if there are others beyond it."""
    if period is None:
        return
    first, last = period.window_dates
    dates = list(days)
    # A time zone's window of that date may begin half a day earlier or later. An edge lies a month
    # away from the period, so half a day decides nothing.
    for edge, is_beyond in ((first, min(dates) < first), (last, max(dates) > last)):
        if is_beyond:
            at = datetime(edge.year, edge.month, edge.day, tzinfo=UTC)
            yield Window(at, at, "UTC")


def _within(window: Window, period: Period | None) -> Window:
    """Return the part of a gap that is in the period."""
    if period is None:
        return window
    return replace(window, start=max(window.start, period.start), end=min(window.end, period.end))


def without_manifest(
    datasets: Sequence[str], read: Sequence[Delivery], period: Period | None
) -> Iterator[Difference]:
    """Yield the dataset files that no manifest names. Readers see their rows, unproved."""
    named = {each.manifest["dataset"]["key"] for each in read if each.manifest["dataset"]}
    for key in datasets:
        if key in named or not _is_dataset_in(key, period):
            continue
        parts = dict(part.partition("=")[::2] for part in key.split("/") if "=" in part)
        yield Difference(
            parts.get("definition", ""),
            parts.get("account", ""),
            parts.get("date", ""),
            key,
            "no manifest names this dataset, whose rows are visible; send reconvert for its window",
        )


def _is_dataset_in(key: str, period: Period | None) -> bool:
    start, _, end = key.rsplit("/", 1)[-1].removesuffix(".parquet").partition("_")
    try:
        window = Window(parse_instant(start), parse_instant(end), "UTC")
    except ValueError:
        day = date_of(key)
        return period is None or day is None or period.since <= day < period.until
    return is_in(window, period)
