"""How far the reports of a run have come, read from the ledger and from what was delivered."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from local.delivery import Delivery
from vonage_reports.aws.ledger import Ledger
from vonage_reports.domain.notifications import EVERY_REPORT, causes_gone_with
from vonage_reports.domain.reports import Report, State

_REFUSALS = frozenset({"VonageRejected", "VonageUnreachable", "ReportExpired"})
"""Errors of a POST that somebody has to mend; a 429 goes by itself."""

_AT_WORK = (State.SUBMITTING, State.SUBMITTED, State.SPLIT, State.CONVERTING)


@dataclass(frozen=True)
class Line:
    """One report: `name` for sentences, `seconds` since it was first seen, until its end.

    `refusal` is why Vonage does not take it, until somebody changes something; `reason` why it
    failed or is held; `retry` why it is tried again, and when.
    """

    report_id: str
    name: str
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
    def is_delivered(self) -> bool:
        """Whether all is well."""
        return self.is_at_end and self.state not in (State.FAILED, State.CANCELLED)

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
        self._notices: frozenset[str] = frozenset()

    @property
    def lines(self) -> list[Line]:
        """The reports in the order in which they were first seen."""
        return list(self._lines.values())

    @property
    def is_settled(self) -> bool:
        """Whether every report that is followed has come to its end, or cannot without a person."""
        return len(self._lines) == len(self._began) and all(
            line.is_settled for line in self._lines.values()
        )

    @property
    def everything_is_refused(self) -> bool:
        """Whether Vonage takes no report at all, and what it took before has come to its end."""
        return (
            EVERY_REPORT in self._notices
            and any(line.refusal is not None for line in self._lines.values())
            and not any(line.state in _AT_WORK for line in self._lines.values())
        )

    def troubles(self) -> list[tuple[str, str]]:
        """Return the name of each report that somebody has to look after, and a sentence on it."""
        everything = self._refusal_of_everything()
        found = []
        for line in self._lines.values():
            sentence = line.trouble
            if everything is not None and line.state is State.PLANNED:
                waits_for_it = line.refusal is None or line.concerns_every_report
                sentence = everything if waits_for_it else sentence
            if sentence is not None and not line.is_delivered:
                found.append((line.name, sentence))
        return found

    def follow(self, report_ids: Iterable[str]) -> None:
        """Follow these reports as well."""
        for report_id in report_ids:
            self._began.setdefault(report_id, time.monotonic())

    def update(self) -> list[Line]:
        """Read again; return the lines that say something new."""
        work = self._ledger.open_work()
        self._notices = work.notices
        open_reports = {report.report_id: report for report in work.reports}
        self.follow(open_reports)
        news = []
        for report_id in self._began:
            before = self._lines.get(report_id)
            if before is not None and before.is_at_end:
                # The archive may have been copied after the ledger was read.
                size = self._delivery.archive_bytes(report_id)
                self._lines[report_id] = replace(before, bytes=size)
                continue
            report = open_reports.get(report_id) or self._ledger.finished_report(report_id)
            if report is None:
                continue
            line = self._line(report)
            if before is None or (before.state, before.trouble) != (line.state, line.trouble):
                news.append(line)
            self._lines[report_id] = line
        return news

    def _line(self, report: Report) -> Line:
        stopped = report.is_at_end or report.state is State.HELD
        refusal = _refusal(report)
        causes = causes_gone_with(report) & self._notices
        return Line(
            report_id=report.report_id,
            name=f"{report.definition}, {report.window.first_date}",
            state=report.state,
            seconds=time.monotonic() - self._began[report.report_id],
            rows=self._rows(report),
            bytes=self._delivery.archive_bytes(report.report_id),
            error=report.error,
            refusal=refusal,
            reason=report.reason if stopped else None,
            retry=None if stopped or refusal else _retry(report),
            concerns_every_report=refusal is not None and causes == {EVERY_REPORT},
            is_at_end=report.is_at_end,
        )

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
