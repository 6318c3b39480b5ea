"""How far the reports of a run have come, read from the ledger and from what was delivered."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from local.output.delivery import Delivery
from local.output.progress_bar import Bar, bar_of
from local.status.model import Advance, advance_of
from vonage_reports.aws.ledger import Ledger
from vonage_reports.aws.ledger_items import OpenWork
from vonage_reports.domain import backfill as backfills
from vonage_reports.domain.backfill import Backfill
from vonage_reports.domain.notifications import EVERY_REPORT, causes_disproved_by
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.slots import is_backlogged, room_for_backfills

_REFUSALS = frozenset({"VonageRejected", "VonageUnreachable", "ReportExpired"})
"""Errors of a POST that somebody has to mend; a 429 goes by itself."""

_AT_WORK = (State.SUBMITTING, State.SUBMITTED, State.SPLIT, State.CONVERTING)

MOST_SHOWN = 20
"""More windows than a person reads one by one."""


@dataclass(frozen=True)
class Line:
    """One report: `name` for sentences, `seconds` since it was first seen, until its end.

    `label` stands in the table: the report_id, or of a part of a window what part it is; `root` is
    then the whole window's report_id.
    `refusal` is why Vonage does not take it, until somebody changes something; `reason` why it
    failed or is held; `retry` why it is tried again, and when.
    """

    report_id: str
    name: str
    label: str
    definition: str
    account_id: str
    first_date: date
    root: str | None
    backfill: str | None
    state: State
    seconds: float
    rows: int | None
    bytes: int
    error: str | None
    refusal: str | None
    reason: str | None
    retry: str | None
    concerns_every_report: bool
    is_at_end: bool

    @property
    def is_well(self) -> bool:
        """Whether it came to an end that somebody wanted: delivered, not needed, or cancelled."""
        return self.is_at_end and self.state is not State.FAILED

    @property
    def is_settled(self) -> bool:
        """Whether nothing more can be expected without a person."""
        return self.is_at_end or self.state is State.HELD or self.refusal is not None

    @property
    def trouble(self) -> str | None:
        """A sentence on what keeps it from being delivered."""
        return self.refusal or self.reason or self.retry


class Progress:
    """Follows reports from the moment they are open, or planned by the event, to their end."""

    def __init__(self, ledger: Ledger, delivery: Delivery) -> None:
        self._ledger = ledger
        self._delivery = delivery
        self._began: dict[str, float] = {}
        self._lines: dict[str, Line] = {}
        self._work = OpenWork((), {}, frozenset())
        self._backfills: dict[str, Backfill] = {}
        self._seen: dict[str, tuple[float, int]] = {}
        self._parts: dict[str, set[str]] = {}

    @property
    def lines(self) -> list[Line]:
        """The reports in the order in which they were first seen, the parts after the whole."""
        parts: dict[str, list[Line]] = {}
        for line in self._lines.values():
            if line.root is not None:
                parts.setdefault(line.root, []).append(line)
        return [
            each
            for line in self._lines.values()
            if line.root is None or line.root not in self._lines
            for each in (line, *sorted(parts.get(line.report_id, ()), key=_order))
        ]

    @property
    def windows(self) -> list[Line]:
        """The whole windows: what can be delivered."""
        return [line for line in self._lines.values() if line.root is None]

    @property
    def bars(self) -> list[Bar]:
        """How far the backfills are, and what else consists of too many windows to be shown."""
        bars = [bar_of(each, self._seconds_left(each)) for each in self._advances()]
        if self.is_crowded:
            others = [line for line in self.windows if line.backfill is None]
            over = sum(line.is_at_end for line in others)
            words = f"{over:,} of {len(others):,} windows"
            bars.append(Bar("all others" if bars else "reports", over, len(others), words))
        return bars

    @property
    def is_crowded(self) -> bool:
        """Whether there are, without those of backfills, too many windows to be shown."""
        return sum(line.backfill is None for line in self.windows) > MOST_SHOWN

    @property
    def stopped(self) -> list[Backfill]:
        """The backfills that were not allowed to go on."""
        return [
            each for each in self._backfills.values() if each.progress is backfills.Progress.STOPPED
        ]

    @property
    def is_settled(self) -> bool:
        """Whether every report that is followed has come to its end, or cannot without a person.

        A window that was split cannot, as long as one of its parts cannot. A backfill goes on as
        long as there is room for its reports.
        """
        stuck = {
            line.root for line in self._lines.values() if line.is_settled and not line.is_at_end
        }
        now = datetime.now(UTC)
        room = room_for_backfills(self._work.reports, in_use=len(self._work.slots), now=now)
        is_going_on = room > 0 and any(
            not is_backlogged(backfill.name, self._work.reports, now)
            for backfill in self._work.backfills
        )
        return (
            not is_going_on
            and len(self._lines) == len(self._began)
            and all(line.is_settled or line.report_id in stuck for line in self._lines.values())
        )

    @property
    def everything_is_refused(self) -> bool:
        """Whether Vonage takes no report at all, and what it took before has come to its end."""
        lines = self._lines.values()
        wait_for_parts = {line.root for line in lines if line.state is State.PLANNED}
        return (
            EVERY_REPORT in self._work.announced
            and any(line.refusal is not None for line in lines)
            and not any(
                line.state in _AT_WORK
                and not line.is_at_end
                and line.report_id not in wait_for_parts
                for line in lines
            )
        )

    def troubles(self) -> list[tuple[str, str]]:
        """Return the name of each report that somebody has to look after, and a sentence on it."""
        everything = self._refusal_of_everything()
        found = []
        for line in self._lines.values():
            if line.is_at_end and line.root is not None:
                # It is said with the window that it is a part of.
                continue
            sentence = line.trouble
            if everything is not None and line.state is State.PLANNED:
                waits_for_it = line.refusal is None or line.concerns_every_report
                sentence = everything if waits_for_it else sentence
            if sentence is not None and not line.is_well:
                found.append((line.name, sentence))
        return found

    def follow(self, report_ids: Iterable[str]) -> None:
        """Follow these reports as well."""
        for report_id in report_ids:
            self._began.setdefault(report_id, time.monotonic())

    def update(self) -> list[Line]:
        """Read again; return the lines that say something new."""
        self._work = self._ledger.open_work()
        self._follow_backfills()
        open_reports = {report.report_id: report for report in self._work.reports}
        self.follow(open_reports)
        news = []
        for report_id in self._began:
            before = self._lines.get(report_id)
            if before is not None and before.is_at_end and report_id not in open_reports:
                # The archive may have been copied after the ledger was read.
                self._lines[report_id] = replace(before, bytes=self._bytes(report_id))
                continue
            report = open_reports.get(report_id) or self._ledger.finished_report(report_id)
            if report is None:
                continue
            line = self._line(report)
            if before is None or (before.state, before.trouble) != (line.state, line.trouble):
                news.append(line)
            self._lines[report_id] = line
        return news

    def complete(self) -> None:
        """Add what a backfill planned and finished between two updates."""
        for backfill in self._backfills.values():
            oldest = backfill.windows[-1].start
            name = backfill.definition.name
            for report in self._ledger.finished_reports(name, since=oldest):
                is_new = report.report_id not in self._lines
                if is_new and _belongs_to(report, backfill):
                    self.follow([report.report_id])
                    self._lines[report.report_id] = self._line(report)

    def _follow_backfills(self) -> None:
        running = {backfill.name: backfill for backfill in self._work.backfills}
        ended = [name for name, each in self._backfills.items() if not each.is_over]
        if any(name not in running for name in ended):
            over = {backfill.name: backfill for backfill in self._ledger.ended_backfills()}
            self._backfills.update((name, over[name]) for name in ended if name in over)
        for name, backfill in running.items():
            # One that did not move knows its windows already.
            if self._backfills.get(name) != backfill:
                self._backfills[name] = backfill
        for advance in self._advances():
            self._seen.setdefault(advance.name, (time.monotonic(), advance.collected))

    def _advances(self) -> list[Advance]:
        return [advance_of(each, self._work.reports) for each in self._backfills.values()]

    def _seconds_left(self, advance: Advance) -> float | None:
        began, collected = self._seen[advance.name]
        return advance.seconds_left(time.monotonic() - began, collected_before=collected)

    def _line(self, report: Report) -> Line:
        stopped = report.is_at_end or report.state is State.HELD
        refusal = _refusal(report)
        causes = causes_disproved_by(report) & self._work.announced
        if report.root is not None:
            self._parts.setdefault(report.root, set()).add(report.report_id)
        return Line(
            report_id=report.report_id,
            name=f"{report.definition}, {report.window.first_date}",
            label=_part(report) if report.is_half else report.report_id,
            definition=report.definition,
            account_id=report.account_id,
            first_date=report.window.first_date,
            root=report.root,
            backfill=report.backfill,
            state=report.state,
            seconds=time.monotonic() - self._began[report.report_id],
            rows=self._rows(report),
            bytes=self._bytes(report.report_id),
            error=report.error,
            refusal=refusal,
            reason=report.reason if stopped else None,
            retry=None if stopped or refusal else _retry(report),
            concerns_every_report=refusal is not None and causes == {EVERY_REPORT},
            is_at_end=report.is_at_end,
        )

    def _bytes(self, report_id: str) -> int:
        """The size of the archives: of a window that was split, those of its parts."""
        ids = (report_id, *self._parts.get(report_id, ()))
        return sum(self._delivery.archive_bytes(each) for each in ids)

    def _rows(self, report: Report) -> int | None:
        key = self._delivery.manifest_key(report.report_id)
        if key is None:
            return report.rows
        rows: int = json.loads((self._delivery.folder / key).read_text())["rows"]
        return rows

    def _refusal_of_everything(self) -> str | None:
        """The sentence of the report that stands for all, and what a person can do here."""
        lines = self._lines.values()
        stands_for_all = next((line for line in lines if line.concerns_every_report), None)
        if stands_for_all is None:
            return None
        parts = [str(stands_for_all.refusal)]
        if stands_for_all.error == "VonageRejected":
            parts.append("here: VONAGE_API_KEY and VONAGE_API_SECRET")
        if all(line.state is State.PLANNED for line in lines):
            parts.append("nothing was asked for")
        return "; ".join(parts)


def _order(line: Line) -> str:
    return line.report_id


def _part(report: Report) -> str:
    return f"  part from {report.window.start:%Y-%m-%d %H:%M} UTC, {report.window.hours:g} h"


def _belongs_to(report: Report, backfill: Backfill) -> bool:
    return report.backfill == backfill.name and report.planned_at >= backfill.begun_at


def _refusal(report: Report) -> str | None:
    if report.state is not State.PLANNED or report.not_before is None:
        return None
    # What Vonage took and lost is bought again; only a 404 on the POST itself is a refusal.
    is_bought_again = report.error == "ReportExpired" and report.attempt > report.attempts_before
    if report.error not in _REFUSALS or is_bought_again:
        return None
    return report.reason or report.error


def _retry(report: Report) -> str | None:
    if report.reason is None:
        return None
    what = f"run {report.run}" if report.state is State.SUBMITTED else "tried again"
    when = "" if report.not_before is None else f" at {report.not_before:%H:%M:%S} UTC"
    return f"{what}{when}: {report.reason}"
