"""The status of a ledger: rows, problems, backfills and warnings."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from vonage_reports.domain.definitions import Refusal
from vonage_reports.domain.report import Report
from vonage_reports.domain.windows import format_instant
from vonage_reports_cli.status.hearing import Unheard
from vonage_reports_cli.status.model import Advance, Content, Row, advance_of, histories_of
from vonage_reports_cli.status.periods import PeriodStatus, periods_of
from vonage_reports_cli.status.problems import (
    Problem,
    problems_of,
    unplanned,
    warnings_about,
)
from vonage_reports_cli.status.unregistered import Unregistered, unregistered


@dataclass(frozen=True)
class Status:
    """The status of a ledger at an instant. Each backfill has the estimated seconds left.

    `rows` count windows from `since` on, of all time if None. `unheard` says why an alarm would
    have no reader, or is None.
    """

    as_of: datetime
    rows: Sequence[Row]
    problems: Sequence[Problem]
    backfills: Sequence[tuple[Advance, float | None]]
    warnings: Sequence[str]
    refusals: Sequence[Refusal] = ()
    since: date | None = None
    unheard: Unheard | None = None
    unreadable: int = 0
    """How many items of the ledger this code cannot read. Each may be a problem."""
    is_paused: bool | None = None
    """Whether the stack's schedule is paused, None if unknown."""
    latest: Sequence[Report] = ()
    """The reports of each definition's latest windows, newest first."""
    unregistered: Unregistered | None = None
    """The deliveries that wait for Glue's catalogue."""
    periods: Sequence[PeriodStatus] = ()
    """The periods that changed and are not announced as complete since, oldest first."""

    @property
    def attention(self) -> list[str]:
        """Name everything that asks for a person, in a few words each."""
        counts = Counter(each.kind for each in self.problems)
        found = []
        if self.refusals:
            found.append(_counted(len(self.refusals), "refused definition"))
        found += [f"{counts[kind]:,} {kind}" for kind in KINDS if counts[kind]]
        overdue = sum(each.is_overdue for each in self.periods)
        if overdue:
            found.append(_counted(overdue, "incomplete period"))
        if self.unreadable:
            found.append(_counted(self.unreadable, "unreadable item") + " of the ledger")
        if self.unregistered:
            found.append(f"{len(self.unregistered.registrations):,} not in the catalogue")
        if self.unheard:
            found.append("no alarm has a reader")
        if self.is_paused:
            found.append("the schedule is paused")
        return found

    def to_dict(self, stack: str | None = None) -> dict[str, object]:
        """Return the JSON form, with the commands for a stack."""
        return {
            "as_of": format_instant(self.as_of),
            "since": None if self.since is None else self.since.isoformat(),
            "attention": self.attention,
            "refusals": [each.to_dict() for each in self.refusals],
            "is_paused": self.is_paused,
            "unheard": None if self.unheard is None else self.unheard.to_dict(),
            "unregistered": None if self.unregistered is None else self.unregistered.to_dict(stack),
            "problems": [problem.to_dict(stack) for problem in self.problems],
            "definitions": [row.to_dict() for row in self.rows],
            "latest": [
                {
                    **{name: getattr(each, name) for name in ("report_id", "definition")},
                    "account_id": each.account_id,
                    "window": each.window.to_dict(),
                    **{name: getattr(each, name) for name in ("revision", "state", "rows")},
                }
                for each in self.latest
            ],
            "backfills": [
                {
                    "backfill": advance.name,
                    "windows": advance.total,
                    "over": advance.over,
                    "skipped": advance.skipped,
                    "under_way": advance.under_way,
                    "seconds_left": None if seconds is None else round(seconds),
                }
                for advance, seconds in self.backfills
            ],
            "periods": [each.to_dict() for each in self.periods],
            "warnings": list(self.warnings),
        }


KINDS = ("held", "failed", "removed", "refused", "late", "missing")
"""The kinds of problems, the most urgent first."""


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' if count > 1 else ''}"


def status_of(content: Content) -> Status:
    """Return the status of a ledger."""
    rows: list[Row] = []
    problems: list[Problem] = []
    histories = list(histories_of(content))
    for history in histories:
        for account in history.accounts:
            missing = history.missing(account)
            rows.append(history.row(account, missing))
            problems += problems_of(history, account, missing)
        problems += unplanned(history, content)
    pending = [] if content.pending is None else [content.pending]
    return Status(
        content.as_of,
        rows,
        problems,
        list(_running(content)),
        [*pending, *warnings_about(content, histories)],
        refusals=[*content.refusals, *(each.change for each in histories if each.change)],
        since=content.since,
        unreadable=len(content.unreadable),
        latest=[each for history in histories for each in history.latest],
        unregistered=unregistered(content.work.registrations),
        periods=periods_of(content, histories),
    )


def _running(content: Content) -> Iterator[tuple[Advance, float | None]]:
    for backfill in content.backfills:
        advance = advance_of(backfill, content.work.reports)
        if advance.is_running:
            seconds = (content.as_of - backfill.begun_at).total_seconds()
            yield advance, advance.seconds_left(seconds)
