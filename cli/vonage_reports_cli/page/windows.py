"""The windows of the page: delivered, preliminary, waiting, held, failed and missing."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from vonage_reports.domain.report import Report, Revision, State
from vonage_reports.domain.windows import HOUR, Window, WindowLength, windows_ending_after
from vonage_reports_cli.completeness import Completeness, Flaw
from vonage_reports_cli.deliveries import strays_of
from vonage_reports_cli.period import Period
from vonage_reports_cli.status.model import Content, histories_of

_LENGTHS = (
    (HOUR, WindowLength.HOUR),
    (25 * HOUR, WindowLength.DAY),
    (169 * HOUR, WindowLength.WEEK),
)
"""The longest window of each length, clock changes included. A longer window is a month."""


STATES = (
    *("waiting", "not due", "held", "failed", "missing"),
    *("withdrawn", "lost", "expired", "without manifest"),
)
"""The states of a window without a delivery of its last revision, or without its dataset."""


@dataclass(frozen=True)
class Undelivered:
    """Windows in a row that have no delivery, only an earlier revision, or no dataset.

    `state` is one of STATES. `dates` names the windows in their time zone.
    """

    definition: str
    account_id: str
    state: str
    dates: str
    windows: int
    reason: str | None


@dataclass(frozen=True)
class Windows:
    """The windows of one definition and account.

    `delivered` counts each window once, `preliminary` those without a final revision. `first` and
    `last` are the first and the last date with a delivery.
    """

    definition: str
    account_id: str
    first: date | None
    last: date | None
    delivered: int
    preliminary: int
    undelivered: Sequence[Undelivered]

    def count(self, state: str) -> int:
        """Count the undelivered windows in a state."""
        return sum(each.windows for each in self.undelivered if each.state == state)


@dataclass(frozen=True)
class Doubtful:
    """A window whose dataset or manifest lacks. `state` is one of STATES."""

    definition: str
    account_id: str
    window: Window
    state: str


def windows_of(
    manifests: Iterable[Mapping[str, Any]],
    content: Content | None,
    month: Period | None,
    *,
    completeness: Completeness | None = None,
    doubtful: Iterable[Doubtful] = (),
) -> list[Windows]:
    """Return the windows that overlap the month, or all, by definition and account.

    The manifests name the delivered windows, and the `completeness` of the month names the others.
    Without it, the manifests show the windows that are missing between two deliveries. The ledger,
    if there is one, names those that wait, are held, failed, or are missing otherwise. `doubtful`
    has the windows that lack their dataset or their manifest.
    """
    delivered: dict[tuple[str, str], dict[Window, bool]] = defaultdict(dict)
    for each in manifests:
        windows = delivered[each["definition"], each["account_id"]]
        window = Window.from_dict(each["window"])
        windows[window] = windows.get(window, False) or each["revision"] == Revision.FINAL
    known = _of_ledger(content)
    if completeness is not None:
        known = _of_completeness(completeness, known)
    for doubt in doubtful:
        known[doubt.definition, doubt.account_id].append(_Known(doubt.window, doubt.state, None))
    return [
        _windows(
            *key,
            delivered.get(key, {}),
            known.get(key, []),
            month,
            has_gaps=completeness is None,
        )
        for key in sorted(delivered.keys() | {key for key, windows in known.items() if windows})
    ]


@dataclass(frozen=True)
class _Known:
    """A window that the ledger knows as undelivered."""

    window: Window
    state: str
    reason: str | None


def doubtful_of(
    manifests: Sequence[Mapping[str, Any]],
    datasets: Sequence[str],
    expire_before: datetime | None,
) -> Iterator[Doubtful]:
    """Yield the windows of all time without their dataset, or whose dataset has no manifest."""
    there = frozenset(datasets)
    for each in manifests:
        if each["dataset"] is not None and each["dataset"]["key"] not in there:
            window = Window.from_dict(each["window"])
            is_old = expire_before is not None and window.end < expire_before
            state = Flaw.EXPIRED if is_old else Flaw.LOST
            yield Doubtful(each["definition"], each["account_id"], window, state.value)
    for stray in strays_of(datasets, manifests, None):
        if stray.window is not None:
            state = Flaw.WITHOUT_MANIFEST
            yield Doubtful(stray.definition, stray.account_id, stray.window, state.value)


def _of_completeness(
    completeness: Completeness, ledger: Mapping[tuple[str, str], Sequence[_Known]]
) -> dict[tuple[str, str], list[_Known]]:
    """Return the windows of a month that are not delivered, with the reasons of the ledger."""
    known: dict[tuple[str, str], list[_Known]] = defaultdict(list)
    for each in completeness.incomplete:
        if each.flaw is Flaw.PRELIMINARY:
            continue
        of = each.definition, each.account_id
        state = "waiting" if each.flaw is Flaw.UNDER_WAY else each.flaw.value
        reasons = {one.window.start: one.reason for one in ledger.get(of, ()) if one.state == state}
        known[of] += [_Known(one, state, reasons.get(one.start)) for one in each.windows]
    return known


def _windows(
    definition: str,
    account_id: str,
    delivered: Mapping[Window, bool],
    known: Sequence[_Known],
    month: Period | None,
    *,
    has_gaps: bool,
) -> Windows:
    # A gap between two deliveries may begin before the month, so gaps are found among all of them.
    have = {each.window.start for each in known}
    found = _gaps(delivered) if has_gaps else ()
    gaps = [_Known(each, "missing", None) for each in found if each.start not in have]
    counted = {each: final for each, final in delivered.items() if _is_within(each, month)}
    dates = [each.first_date for each in counted]
    undelivered = [
        each
        for each in (*known, *gaps)
        if _is_within(each.window, month)
        # The ledger also lists windows that lack only their final revision.
        and not (each.state == "missing" and each.window in delivered)
    ]
    return Windows(
        definition,
        account_id,
        min(dates, default=None),
        max(dates, default=None),
        len(counted),
        sum(not final for final in counted.values()),
        list(_runs(definition, account_id, undelivered)),
    )


def _is_within(window: Window, month: Period | None) -> bool:
    return month is None or (window.start < month.end and window.end > month.start)


def _gaps(delivered: Iterable[Window]) -> Iterator[Window]:
    """Yield the windows between the first and the last delivery that nothing covers."""
    covered_to: datetime | None = None
    for window in sorted(delivered, key=lambda each: (each.start, each.end)):
        if covered_to is not None and window.start > covered_to:
            for missing in windows_ending_after(covered_to, _length(window), window.time_zone):
                if missing.start >= window.start:
                    break
                start, end = max(missing.start, covered_to), min(missing.end, window.start)
                yield Window(start, end, missing.time_zone)
        covered_to = max(covered_to or window.end, window.end)


def _length(window: Window) -> WindowLength:
    duration = window.end - window.start
    return next((name for most, name in _LENGTHS if duration <= most), WindowLength.MONTH)


def _of_ledger(content: Content | None) -> dict[tuple[str, str], list[_Known]]:
    known: dict[tuple[str, str], list[_Known]] = defaultdict(list)
    for history in () if content is None else histories_of(content):
        for account in history.accounts:
            found = known[history.name, account.account_id]
            found += [_Known(each.window, _state(each), each.reason) for each in account.whole
                      if not each.is_at_end]  # fmt: skip
            found += [_Known(each.window, "failed", each.reason) for each in account.failed]
            found += [
                _Known(each.window, "missing", each.reason) for each in history.missing(account)
            ]
    return known


def _state(report: Report) -> str:
    return "held" if report.state is State.HELD else "waiting"


def _runs(definition: str, account_id: str, undelivered: Iterable[_Known]) -> Iterator[Undelivered]:
    """Merge windows that follow each other and share state and reason."""
    run: list[_Known] = []
    for each in sorted(undelivered, key=lambda each: (each.state, each.window.start)):
        if run and not (
            (run[-1].state, run[-1].reason) == (each.state, each.reason)
            and each.window.start <= run[-1].window.end
        ):
            yield _merged(definition, account_id, run)
            run = []
        run.append(each)
    if run:
        yield _merged(definition, account_id, run)


def _merged(definition: str, account_id: str, run: Sequence[_Known]) -> Undelivered:
    first, last = run[0].window, run[-1].window
    return Undelivered(
        definition,
        account_id,
        run[0].state,
        _dates(first, last),
        len({each.window.start for each in run}),
        run[0].reason,
    )


def _dates(first: Window, last: Window) -> str:
    zone = ZoneInfo(first.time_zone)
    if _length(first) is WindowLength.HOUR:
        start, end = first.start.astimezone(zone), last.end.astimezone(zone)
        form = "%H:%M" if start.date() == end.date() else "%Y-%m-%d %H:%M"
        times = f"{start:%Y-%m-%d %H:%M}", end.strftime(form)
    else:
        last_instant = last.end - timedelta(microseconds=1)
        times = first.first_date.isoformat(), last_instant.astimezone(zone).date().isoformat()
    return " to ".join(dict.fromkeys(times))


def words_of(windows: Sequence[Windows], completeness: Completeness | None = None) -> str:
    """Return the sums of the windows as one line. `completeness` is that of the page's month."""
    preliminary = sum(each.preliminary for each in windows)
    counts = {state: sum(each.count(state) for each in windows) for state in STATES}
    lacking = [f"{number:,} {state}" for state, number in counts.items() if number]
    if completeness is not None:
        whole, final = completeness.windows, completeness.final
        if whole and final == whole:
            return f"windows: all {whole:,} final"
        return "; ".join(
            (f"windows: {final:,} of {whole:,} final, {preliminary:,} preliminary", *lacking)
        )
    delivered = sum(each.delivered for each in windows)
    # Without a month, the time before the first delivery and after the last one is unknown.
    none = ["none known to be missing"] if delivered and not lacking else []
    return "; ".join(
        (f"windows: {delivered:,} delivered, {preliminary:,} of them preliminary", *lacking, *none)
    )
