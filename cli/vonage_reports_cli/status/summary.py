"""The status of a ledger: rows, problems, backfills and warnings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from vonage_reports.domain.windows import format_instant
from vonage_reports_cli.status.model import Advance, Content, Row, advance_of, histories_of
from vonage_reports_cli.status.problems import Problem, problems_of, warnings_about


@dataclass(frozen=True)
class Status:
    """The status of a ledger at an instant. Each backfill has the estimated seconds left."""

    as_of: datetime
    rows: Sequence[Row]
    problems: Sequence[Problem]
    backfills: Sequence[tuple[Advance, float | None]]
    warnings: Sequence[str]

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "as_of": format_instant(self.as_of),
            "definitions": [row.to_dict() for row in self.rows],
            "problems": [problem.to_dict() for problem in self.problems],
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
            "warnings": list(self.warnings),
        }


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
    warnings = list(warnings_about(content, histories))
    return Status(content.as_of, rows, problems, list(_running(content)), warnings)


def _running(content: Content) -> Iterator[tuple[Advance, float | None]]:
    for backfill in content.backfills:
        advance = advance_of(backfill, content.work.reports)
        if advance.is_running:
            seconds = (content.as_of - backfill.begun_at).total_seconds()
            yield advance, advance.seconds_left(seconds)
