"""The periods that changed and are not complete: what each of them waits for. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.notifications import told_overdue
from vonage_reports.domain.periods import (
    Blocker,
    Examination,
    LocalPeriod,
    Unfinished,
    collecting_of,
    examine,
    final_days,
    sentence,
)
from vonage_reports.domain.removal import Removed, removals_of, removed_lately
from vonage_reports.domain.settings import PeriodLength
from vonage_reports_cli.status.model import Content, DefinitionHistory

MOST_PERIODS = 12
"""How many periods a status examines. A backfill of a year by days has hundreds."""

_NEXT_SWEEP = "the next sweep"


@dataclass(frozen=True)
class PeriodStatus:
    """A period that is not announced as it is now.

    `final_days` is None if the status has not read all windows of the period.
    """

    label: str
    days: int
    final_days: int | None
    waits_for: str
    is_overdue: bool

    @property
    def sentence(self) -> str:
        """Say how far the period is."""
        of_days = (
            "" if self.final_days is None else f"{self.final_days} of {self.days} days final; "
        )
        return f"{self.label}: {of_days}waits for {self.waits_for}"

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "period": self.label,
            "days": self.days,
            "final_days": self.final_days,
            "waits_for": self.waits_for,
            "is_overdue": self.is_overdue,
        }


def periods_of(content: Content, histories: Sequence[DefinitionHistory]) -> list[PeriodStatus]:
    """Return the marked periods, oldest first. Leaves out the newest if they are too many.

    Marked days show that the stack announces days. Then it announces no month.
    """
    marked = sorted(map(LocalPeriod.parse, content.work.marks))
    if not marked:
        return []
    days = [each for each in marked if each.length is PeriodLength.DAY]
    periods = (days or marked)[:MOST_PERIODS]
    definitions = [
        # The program does not know the API key, which is the account of some definitions.
        replace(each.definition, account_ids=each.scheduled_accounts)
        for each in histories
        if each.definition is not None
    ]
    since = removals_of(content.work.announced_at).since
    removed = removed_lately(content.calendar.cursors, since, content.as_of)
    unfinished = Unfinished(
        reports=content.work.reports,
        backfills=content.work.backfills,
        definitions=definitions,
        refusals=[*content.refusals, *(each.change for each in histories if each.change)],
        cursors=content.calendar.cursors,
        delays=content.calendar.delays,
        collects=content.calendar.collects,
        removed=removed,
        now=content.as_of,
        length=periods[0].length,
    )
    found = []
    for period in periods:
        blockers = unfinished.of(period)
        number = None
        if content.since is None or period.start >= content.since:
            gaps = _examined(period, definitions, removed, content)
            number = final_days(period, [*blockers, *gaps])
            blockers = blockers or gaps
        blocked = content.work.blocked.get(period.label)
        reason = sentence(blockers) if blockers else blocked.reason if blocked else _NEXT_SWEEP
        found.append(
            PeriodStatus(
                period.label,
                (period.end - period.start).days,
                number,
                reason,
                is_overdue=told_overdue(period.label) in content.work.announced,
            )
        )
    return found


def _examined(
    period: LocalPeriod,
    definitions: Sequence[ReportDefinition],
    removed: Sequence[Removed],
    content: Content,
) -> list[Blocker]:
    found = Examination()
    for each in collecting_of(definitions, content.calendar.collects, removed):
        start, _ = period.interval(each.time_zone)
        reports = content.finished.get(each.name, ())
        span = content.spans.get(each.name)
        earlier = {
            report.account_id.lower() for report in reports if report.window.start < start
        } | (span.collected_before if span is not None else frozenset())

        def collected_before(
            accounts: Collection[str], earlier: Collection[str] = frozenset(earlier)
        ) -> set[str]:
            return {account for account in accounts if account in earlier}

        # The open reports of the period are no gaps.
        open_reports = [report for report in content.work.reports if report.definition == each.name]
        examine(
            each,
            period,
            [*reports, *open_reports],
            collected_before=collected_before,
            into=found,
        )
    return found.blockers
