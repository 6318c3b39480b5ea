"""How far the reports of a run have come, read from the ledger and from what was delivered."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from local.delivery import Delivery
from vonage_reports.aws.ledger import Ledger
from vonage_reports.domain.notifications import THE_KEY, causes_gone_with
from vonage_reports.domain.reports import Report, State

_REFUSED = "Vonage refuses this report; its announcement, report.failed, says why"


@dataclass(frozen=True)
class Line:
    """One report: `seconds` since it was first seen, until its end.

    `refusal` is why Vonage does not take it, until somebody changes something; `reason` why it
    failed or is held.
    """

    report_id: str
    state: State
    seconds: float
    rows: int | None
    bytes: int
    refusal: str | None
    reason: str | None

    @property
    def is_delivered(self) -> bool:
        """Whether all is well."""
        return self.state is State.DELIVERED

    @property
    def is_settled(self) -> bool:
        """Whether nothing more can be expected without a person."""
        return self.state.is_end or self.state is State.HELD or self.refusal is not None

    @property
    def trouble(self) -> str | None:
        """A sentence on what keeps it from being delivered."""
        return self.refusal or self.reason


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

    def refused_credentials(self) -> bool:
        """Whether Vonage refuses the API key, and what it took before has come to its end."""
        at_work = (State.SUBMITTING, State.SUBMITTED)
        return THE_KEY in self._notices and not any(
            line.state in at_work for line in self._lines.values()
        )

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
            if before is not None and before.state.is_end:
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
        stopped = report.state.is_end or report.state is State.HELD
        return Line(
            report_id=report.report_id,
            state=report.state,
            seconds=time.monotonic() - self._began[report.report_id],
            rows=self._rows(report),
            bytes=self._delivery.archive_bytes(report.report_id),
            refusal=self._refusal(report),
            reason=report.reason if stopped else None,
        )

    def _rows(self, report: Report) -> int | None:
        key = self._delivery.manifest_key(report.report_id)
        if key is None:
            return report.rows
        rows: int = json.loads((self._delivery.folder / key).read_text())["rows"]
        return rows

    def _refusal(self, report: Report) -> str | None:
        """The sentence with which Vonage's refusal was announced, once for each cause."""
        causes = causes_gone_with(report) & self._notices
        if report.state is not State.PLANNED or report.not_before is None or not causes:
            return None
        for notification in reversed(self._delivery.notifications):
            alike = all(
                notification.get(name) == getattr(report, name)
                for name in ("account_id", "product")
            )
            if notification.get("error") == "VonageRejected" and (alike or THE_KEY in causes):
                return str(notification["message"])
        return _REFUSED
