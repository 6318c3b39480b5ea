"""Definitions and accounts that the operator does not list any more: their open reports wait."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from vonage_reports.domain.definitions import GIVEN_TWICE, Refusal, ReportDefinition
from vonage_reports.domain.report import Report, State

WITHDRAWN_AFTER = timedelta(days=7)
"""How long the reports wait. A name that is missing by mistake is listed again by then."""

DEFINITION_REMOVED = "DefinitionRemoved"
"""The `error` of a report that waits because it is not listed."""

CAUSE = "removed#"
"""How the causes of the announcements begin."""

_NAME = re.compile(r"[a-z0-9-]{1,30}")
_TWICE = ("name", GIVEN_TWICE)

Pair = tuple[str, str]
"""A definition and an account. Account ids are case-insensitive, so the account is lower-case."""


def pair_of(definition: str, account_id: str) -> Pair:
    """Return the pair of a definition and an account."""
    return definition, account_id.lower()


def cause_of(pair: Pair) -> str:
    """Return the cause under which a removal is announced."""
    return CAUSE + "#".join(pair)


def withdrawn_at(since: datetime) -> datetime:
    """Return when the reports are withdrawn that wait since `since`."""
    return since + WITHDRAWN_AFTER


def is_name(text: str) -> bool:
    """Whether a refusal's definition is a name, and not the number of an entry."""
    return _NAME.fullmatch(text) is not None


@dataclass(frozen=True)
class Listing:
    """The definitions that the operator lists: their accounts, or None for all accounts."""

    accounts: Mapping[str, Collection[str] | None]

    def has(self, pair: Pair) -> bool:
        """Whether the definition lists the account."""
        name, account_id = pair
        accounts = self.accounts.get(name, ())
        return accounts is None or account_id in accounts

    def removed(self, known: Iterable[Pair]) -> list[Pair]:
        """Return the pairs that are not listed any more, in order."""
        return [pair for pair in sorted(set(known)) if not self.has(pair)]


def listing_of(
    definitions: Sequence[ReportDefinition], refusals: Sequence[Refusal]
) -> Listing | None:
    """Return the names and accounts of the report definitions, or None if they are unknown.

    They are unknown if the list is empty or unreadable, and if an entry has no readable name. A
    refused definition counts as listed, with every account. So does a sub-account that is gone:
    it ends by itself, and its planned reports are still collected.
    """
    refused = {each.definition for each in refusals}
    is_named = all(
        is_name(each.definition) and (each.field, each.reason) != _TWICE for each in refusals
    )
    if not is_named or not (definitions or refusals):
        return None
    accounts = {each.name: _accounts_of(each) for each in definitions}
    return Listing({**accounts, **dict.fromkeys(refused)})


def _accounts_of(definition: ReportDefinition) -> Collection[str] | None:
    listed = {account_id.lower() for account_id in definition.account_ids}
    if definition.followed is None:
        return listed
    return listed.union(definition.followed.spans) if definition.followed.is_known else None


@dataclass(frozen=True)
class Removals:
    """The definitions and accounts that are not listed any more, and since when."""

    since: Mapping[Pair, datetime] = field(default_factory=dict)

    def of(self, definition: str, account_ids: Iterable[str]) -> datetime | None:
        """Return since when a definition, or one of these accounts of it, is not listed."""
        found = (self.since.get(pair_of(definition, each)) for each in account_ids)
        return min(filter(None, found), default=None)

    def since_of(self, report: Report) -> datetime:
        """Return since when the definition or the account of a waiting report is not listed."""
        return self.since[pair_of(report.definition, report.account_id)]

    def waiting(self, reports: Sequence[Report]) -> list[Report]:
        """Return the reports among all open reports that wait to be listed again.

        Only PLANNED reports wait: all others may be paid for. A window that the operator asked for
        does not wait, and neither do its parts, because the operator asked for that window.
        """
        if not self.since:
            return []
        wanted = {report.report_id for report in reports if report.is_wanted}
        return [
            report
            for report in reports
            if report.state is State.PLANNED
            and wanted.isdisjoint({report.report_id, report.root})
            and pair_of(report.definition, report.account_id) in self.since
        ]

    def without_waiting(self, reports: Sequence[Report]) -> tuple[Report, ...]:
        """Return the open reports that do not wait to be listed again."""
        waiting = {report.report_id for report in self.waiting(reports)}
        return tuple(report for report in reports if report.report_id not in waiting)


NONE_REMOVED = Removals()


def removals_of(announced_at: Mapping[str, datetime]) -> Removals:
    """Return the removals that were announced, by the times of their notices."""
    found: dict[Pair, datetime] = {}
    for cause, at in announced_at.items():
        name, _, account_id = cause.removeprefix(CAUSE).partition("#")
        if cause.startswith(CAUSE):
            found[name, account_id] = at
    return Removals(found)


@dataclass(frozen=True)
class Removed:
    """A planned account of a definition that is not listed since `since`, perhaps by mistake."""

    definition: str
    account_id: str
    since: datetime


def removed_lately(
    cursors: Iterable[tuple[str, str, int]], since: Mapping[Pair, datetime], now: datetime
) -> list[Removed]:
    """Return the removed accounts that the calendar has planned, and that may be listed again.

    `since` are the times of the removals. Account ids are spelled as in `cursors`.
    """
    planned = {pair_of(name, account_id): account_id for name, account_id, _ in cursors}
    return [
        Removed(pair[0], planned[pair], since[pair])
        for pair in sorted(planned.keys() & since.keys())
        if withdrawn_at(since[pair]) > now
    ]


def reason_to_wait(report: Report, since: datetime) -> str:
    """Return why a report waits, and until when."""
    return (
        f"{report.definition} or its account {report.account_id} is not in the report definitions "
        f"since {since:%Y-%m-%d}. List it again by {withdrawn_at(since):%Y-%m-%d}, or the report "
        "is withdrawn"
    )
