"""Datasets without a manifest, and accepted losses, from manifests and the keys of datasets.

Pure.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from vonage_reports.domain.acceptance import Acceptable
from vonage_reports.domain.report import Revision
from vonage_reports.domain.windows import Window, parse_instant
from vonage_reports_cli.objects import date_of, product_of
from vonage_reports_cli.period import Period

Manifest = Mapping[str, Any]

_MOST_NAMED = 3


@dataclass(frozen=True)
class Stray:
    """A dataset that no manifest names. Readers see its rows.

    `window` is None for a key without a date. `definition` is the whole key if it names none.
    """

    key: str
    product: str
    definition: str
    account_id: str
    window: Window | None


def strays_of(
    datasets: Iterable[str], manifests: Iterable[Manifest], period: Period | None
) -> Iterator[Stray]:
    """Yield the datasets of the period, or all, that no manifest names.

    `datasets` are keys, and `manifests` all those of the same time.
    """
    named = {each["dataset"]["key"] for each in manifests if each["dataset"] is not None}
    for key in sorted(set(datasets) - named):
        window = window_of(key)
        if window is None and period is not None:
            window = Window(period.start, period.end, "UTC")
        if window is None or period is None or touches(window, period):
            parts = parts_of(key)
            yield Stray(
                key,
                product_of(key) or "",
                parts.get("definition", key),
                parts.get("account", ""),
                window,
            )


def touches(window: Window, period: Period) -> bool:
    """Whether a window has time of a period."""
    return window.start < period.end and window.end > period.start


def parts_of(key: str) -> dict[str, str]:
    """Return the partition keys of a dataset's key."""
    return dict(part.partition("=")[::2] for part in key.split("/") if "=" in part)


def window_of(key: str) -> Window | None:
    """Return the window of a dataset's key, or its whole date, or None without a date."""
    start, _, end = key.rsplit("/", 1)[-1].removesuffix(".parquet").partition("_")
    try:
        return Window(parse_instant(start), parse_instant(end), "UTC")
    except ValueError:
        day = date_of(key)
    if day is None:
        return None
    midnight = datetime.combine(day, time(), UTC)
    return Window(midnight, midnight + timedelta(days=1), "UTC")


def losses_of(manifests: Iterable[Manifest], period: Period | None) -> list[str]:
    """Name the losses with which windows of the period, or all, were delivered, by product.

    Each is a sentence. A window's final manifest counts, or else every other one.
    """
    by_window: dict[tuple[str, str, Window], list[Manifest]] = defaultdict(list)
    for each in manifests:
        window = Window.from_dict(each["window"])
        if period is None or touches(window, period):
            by_window[each["definition"], each["account_id"], window].append(each)
    by_product: dict[str, list[Manifest]] = defaultdict(list)
    for found in by_window.values():
        final = [each for each in found if each["revision"] == Revision.FINAL]
        lossy = [each for each in final or found if _losses(each)]
        if lossy:
            by_product[lossy[-1]["product"]].append(lossy[-1])
    return [_sentence(product, found) for product, found in sorted(by_product.items())]


def _losses(manifest: Manifest) -> list[tuple[str, int | None]]:
    """Return the kinds of losses, and the rows of each; None if the number is unknown."""
    accepted = manifest.get("accepted") or ()
    found = [(each["name"], each.get("rows")) for each in accepted if each.get("rows") != 0]
    if manifest.get("row_check") == "different" and not accepted:
        found.append((Acceptable.ROW_COUNT, None))
    return found


_KINDS: Mapping[str, str] = {
    Acceptable.ROW_COUNT: "more or fewer than Vonage counted",
    Acceptable.UNREADABLE_ROWS: "left out as unreadable",
    Acceptable.MISSING_COLUMNS: "without the columns of price, currency or time",
}


def _kind(name: str) -> str:
    # A later version may accept more.
    return _KINDS.get(name, f"accepted as {name}")


def _sentence(product: str, manifests: Sequence[Manifest]) -> str:
    rows: dict[str, int] = defaultdict(int)
    unknown: dict[str, None] = {}
    for manifest in manifests:
        for name, number in _losses(manifest):
            rows[name] += number or 0
            if number is None:
                unknown[name] = None
    said = [
        f"{number:,} {'row' if number == 1 else 'rows'} {_kind(name)}"
        for name, number in rows.items()
        if number
    ]
    said += [f"an unknown number of rows {_kind(name)}" for name in unknown]
    windows = sorted(
        (each["definition"], each["account_id"], str(Window.from_dict(each["window"]).first_date))
        for each in manifests
    )
    named = ["; ".join(", ".join(each) for each in windows[:_MOST_NAMED])]
    if len(windows) > _MOST_NAMED:
        named.append(f"and {len(windows) - _MOST_NAMED:,} more")
    is_one = len(windows) == 1
    return (
        f"{product}: {len(windows):,} {'window was' if is_one else 'windows were'} delivered "
        f"with losses ({' '.join(named)}): {'; '.join(said)}."
    )
