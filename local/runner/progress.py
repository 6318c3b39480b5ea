"""The progress of a run's reports, read from the ledger and from the delivered objects."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from local.output.delivery import Delivery
from vonage_reports.aws.ledger import Ledger
from vonage_reports.aws.ledger_items import OpenWork
from vonage_reports.domain import backfill as backfills
from vonage_reports.domain.backfill import Backfill
from vonage_reports.domain.notifications import EVERY_REPORT, causes_disproved_by
from vonage_reports.domain.removal import DEFINITION_REMOVED, removals_of
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.slots import is_backlogged, room_for_backfills
from vonage_reports_cli.progress_bar import Bar, bar_of
from vonage_reports_cli.status.model import Advance, advance_of

_REFUSALS = frozenset({"VonageRejected", "VonageUnreachable", "ReportExpired"})
"""Errors of a POST that only the operator can resolve. A 429 resolves itself."""

_UNDER_WAY = (State.SUBMITTING, State.SUBMITTED, State.SPLIT, State.CONVERTING)

MOST_SHOWN = 20
"""The largest number of windows that are shown one by one."""


@dataclass(frozen=True)
class Line:
    """One report.

    `name` names the report in sentences. `label` names it in the table: the report_id, or the
    interval of a part. `root` is the report_id of the window that a part belongs to. `seconds` is
    the time from the first update with the report to the report's end.

    `refusal` says why Vonage refuses the report until the operator acts. `reason` says why the
    report failed or is held. `retry` says why and when the report is retried.
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
        """Whether the report ended as intended: delivered, superseded or cancelled."""
        return self.is_at_end and self.state is not State.FAILED

    @property
    def is_settled(self) -> bool:
        """Whether the report has ended, or waits for the operator."""
        return self.is_at_end or self.state is State.HELD or self.refusal is not None

    @property
    def trouble(self) -> str | None:
        """Why the report is not delivered, as a sentence, or None."""
        return self.refusal or self.reason or self.retry


class Progress:
    """Follows all open reports, and the reports that the event planned, until they end."""

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
        """The reports in the order in which they were first seen, parts after their window."""
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
        """The reports of whole windows, without the parts of split windows."""
        return [line for line in self._lines.values() if line.root is None]

    @property
    def progress_bars(self) -> list[Bar]:
        """One bar per backfill, and one for the other windows if there are too many to show."""
        bars = [bar_of(each, self._seconds_left(each)) for each in self._advances()]
        if self.is_crowded:
            others = [line for line in self.windows if line.backfill is None]
            finished = sum(line.is_at_end for line in others)
            words = f"{finished:,} of {len(others):,} windows"
            name = "other reports" if bars else "reports"
            bars.append(Bar(name, finished, len(others), words))
        return bars

    @property
    def is_crowded(self) -> bool:
        """Whether there are too many windows outside backfills to show them one by one."""
        return sum(line.backfill is None for line in self.windows) > MOST_SHOWN

    @property
    def stopped(self) -> list[Backfill]:
        """The backfills that submit_reports stopped."""
        return [
            each for each in self._backfills.values() if each.progress is backfills.Progress.STOPPED
        ]

    @property
    def is_settled(self) -> bool:
        """Whether every report has ended, or waits for the operator.

        A split window waits if one of its parts waits. A backfill has not ended while there is room
        to plan more of its reports, and its definition is listed.
        """
        removals = removals_of(self._work.announced_at)
        waiting = {
            line.root for line in self._lines.values() if line.is_settled and not line.is_at_end
        }
        now = datetime.now(UTC)
        room = room_for_backfills(self._work.reports, in_use=len(self._work.slots), now=now)
        is_backfilling = room > 0 and any(
            not is_backlogged(backfill.name, self._work.reports, now)
            and removals.of(backfill.definition.name, backfill.definition.account_ids) is None
            for backfill in self._work.backfills
        )
        return (
            not is_backfilling
            and len(self._lines) == len(self._began)
            and all(line.is_settled or line.report_id in waiting for line in self._lines.values())
        )

    @property
    def everything_is_refused(self) -> bool:
        """Whether Vonage refuses every report, and no accepted report is still under way."""
        lines = self._lines.values()
        wait_for_parts = {line.root for line in lines if line.state is State.PLANNED}
        return (
            EVERY_REPORT in self._work.announced
            and any(line.refusal is not None for line in lines)
            and not any(
                line.state in _UNDER_WAY
                and not line.is_at_end
                and line.report_id not in wait_for_parts
                for line in lines
            )
        )

    def troubles(self) -> list[tuple[str, str]]:
        """Return the name of each report that has a problem, and a sentence about the problem."""
        everything = self._refusal_of_everything()
        found = []
        for line in self._lines.values():
            if line.is_at_end and line.root is not None:
                # The window of this part reports the problem.
                continue
            sentence = line.trouble
            if everything is not None and line.state is State.PLANNED:
                is_concerned = line.refusal is None or line.concerns_every_report
                sentence = everything if is_concerned else sentence
            if sentence is not None and not line.is_well:
                found.append((line.name, sentence))
        return found

    def follow(self, report_ids: Iterable[str]) -> None:
        """Follow these reports too."""
        for report_id in report_ids:
            self._began.setdefault(report_id, time.monotonic())

    def update(self) -> list[Line]:
        """Read the ledger again, and return the lines whose state or trouble changed."""
        self._work = self._ledger.open_work()
        self._follow_backfills()
        open_reports = {report.report_id: report for report in self._work.reports}
        self.follow(open_reports)
        news = []
        for report_id in self._began:
            before = self._lines.get(report_id)
            if before is not None and before.is_at_end and report_id not in open_reports:
                # The archive may have been copied since the last update.
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
        """Add the reports that a backfill planned and finished between two updates."""
        for backfill in self._backfills.values():
            oldest = backfill.windows[-1].start
            name = backfill.definition.name
            for report in self._ledger.finished_reports(name, since=oldest, unreadable=[]):
                is_new = report.report_id not in self._lines
                if is_new and _belongs_to(report, backfill):
                    self.follow([report.report_id])
                    self._lines[report.report_id] = self._line(report)

    def _follow_backfills(self) -> None:
        running = {backfill.name: backfill for backfill in self._work.backfills}
        followed = [name for name, each in self._backfills.items() if not each.is_over]
        if any(name not in running for name in followed):
            ended = {backfill.name: backfill for backfill in self._ledger.ended_backfills([])}
            self._backfills.update((name, ended[name]) for name in followed if name in ended)
        for name, backfill in running.items():
            # Keep the object of an unchanged backfill, because the object caches the windows.
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
        """Return the size of a report's archives. A split window has the archives of its parts."""
        ids = (report_id, *self._parts.get(report_id, ()))
        return sum(self._delivery.archive_bytes(each) for each in ids)

    def _rows(self, report: Report) -> int | None:
        key = self._delivery.manifest_key(report.report_id)
        if key is None:
            return report.rows
        rows: int = json.loads((self._delivery.folder / key).read_text())["rows"]
        return rows

    def _refusal_of_everything(self) -> str | None:
        """Return the refusal that concerns every report, and the remedy for a local run."""
        lines = self._lines.values()
        refused = next((line for line in lines if line.concerns_every_report), None)
        if refused is None:
            return None
        parts = [str(refused.refusal)]
        if refused.error == "VonageRejected":
            parts.append("for make run, correct VONAGE_API_KEY and VONAGE_API_SECRET")
        if all(line.state is State.PLANNED for line in lines):
            parts.append("no report was requested")
        return "; ".join(parts)


def _order(line: Line) -> str:
    return line.report_id


def _part(report: Report) -> str:
    return f"  part from {report.window.start:%Y-%m-%d %H:%M} UTC, {report.window.hours:g} h"


def _belongs_to(report: Report, backfill: Backfill) -> bool:
    return report.backfill == backfill.name and report.planned_at >= backfill.begun_at


def _refusal(report: Report) -> str | None:
    if report.state is State.PLANNED and report.error == DEFINITION_REMOVED:
        return report.reason
    if report.state is not State.PLANNED or report.not_before is None:
        return None
    # A report that Vonage accepted and then lost is requested again. Only a 404 on the POST itself
    # is a refusal.
    is_requested_again = report.error == "ReportExpired" and report.attempt > report.attempts_before
    if report.error not in _REFUSALS or is_requested_again:
        return None
    return report.reason or report.error


def _retry(report: Report) -> str | None:
    is_requested_again = report.state is State.SUBMITTING and report.error in _REFUSALS
    if report.reason is None or is_requested_again:
        return None
    action = f"run {report.run}" if report.state is State.SUBMITTED else "retry"
    time_of_day = "" if report.not_before is None else f" at {report.not_before:%H:%M:%S} UTC"
    return f"{action}{time_of_day}: {report.reason}"
