"""Vonage's list of sub-accounts, as the ledger keeps it.

A definition with `"account_ids": "subaccounts"` collects the primary account and every sub-account
that is not suspended. Only a whole answer of Vonage changes the list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from vonage_reports.domain.windows import Window, format_instant

KEEP_FOR = timedelta(days=7)
"""How long the last good list counts while Vonage gives no other."""

_LAG = timedelta(days=1)
_NEW_FOR = timedelta(days=35)
"""How long an account counts as new. A schedule that runs once a month has planned it by then."""

MOST_GONE = 2_000
"""How many former accounts the ledger remembers. An item of DynamoDB has at most 400 KB."""

_MOST_INTERVALS = 4
"""How many times an account is remembered to have been listed. Only its last windows are open."""

UNKNOWN = "Vonage's list of sub-accounts is not known"
"""How the reason begins for which a definition has no accounts."""

Interval = tuple[datetime | None, datetime | None]
"""The time from one list with an account to the next list without it. None: no limit."""


@dataclass(frozen=True)
class Span:
    """The time in which an account is collected: intervals, the oldest first.

    `is_new`: the account was listed lately, so a definition that was planned before begins with
    the window of `since`, and not with its latest due window.
    """

    intervals: Sequence[Interval] = ((None, None),)
    is_new: bool = False

    @property
    def since(self) -> datetime | None:
        """The begin of the last interval."""
        return self.intervals[-1][0]

    @property
    def until(self) -> datetime | None:
        """The end of the last interval, None while the account is listed."""
        return self.intervals[-1][1]

    def has(self, window: Window) -> bool:
        """Whether a window has time of the span."""
        return any(
            (since is None or window.end > since) and (until is None or window.start < until)
            for since, until in self.intervals
        )


ALWAYS = Span()


@dataclass(frozen=True)
class Followed:
    """The origin of the accounts of a definition that follows the sub-accounts.

    `spans` are by account in lower case: the accounts that were listed later than the others, and
    those that are not listed any more. Without `is_known`, the only account is the primary one.
    `doubt` says why the list may be out of date. `read_at` is the time of the list.
    `known` are the sub-accounts that were ever listed, as the ledger spells them.
    """

    spans: Mapping[str, Span] = field(default_factory=dict)
    is_known: bool = True
    doubt: str = ""
    read_at: datetime | None = None
    known: Sequence[str] = ()


@dataclass(frozen=True)
class SubaccountList:
    """An answer of Vonage: the accounts that are not suspended, and their times of creation.

    `primary` is the API key, whose account belongs to the list too. An unreadable time is None.
    """

    primary: str
    created: Mapping[str, datetime | None]


@dataclass(frozen=True)
class Subaccounts:
    """The last good list, and the result of the last request for another one.

    Attributes:
        primary: The API key whose sub-accounts these are.
        accounts: The intervals in which each sub-account was listed. The last interval of an
            account on the last good list has no end. None before the first list.
        read_at: The time of the last good list.
        tried_at: The time of the last request.
        failing_since: The first failure since the last good list.
        not_before: The end of the wait that Vonage asked for with a 429.
        reason: Why the last request failed.
        is_expired: Whether requests have failed for 7 days, so that the list does not count.
    """

    primary: str
    tried_at: datetime
    accounts: Mapping[str, Sequence[Interval]] | None = None
    read_at: datetime | None = None
    failing_since: datetime | None = None
    not_before: datetime | None = None
    reason: str = ""
    is_expired: bool = False

    @property
    def problem(self) -> str | None:
        """Why the list does not count, or None if it counts."""
        if self.accounts is None:
            return f"{UNKNOWN}: {self.reason}"
        if self.is_expired and self.read_at is not None:
            return (
                f"{UNKNOWN}: the last good one is of {format_instant(self.read_at)}, more than "
                f"{KEEP_FOR.days} days ago. {self.reason}"
            )
        return None

    @property
    def doubt(self) -> str:
        """Why a list that counts may be out of date, or an empty text."""
        if self.failing_since is None or self.read_at is None:
            return ""
        return (
            f"the list of sub-accounts is of {format_instant(self.read_at)}, and counts until "
            f"{format_instant(self.failing_since + KEEP_FOR)}. {self.reason}"
        )

    def is_due(self, now: datetime, *, is_scheduled: bool, again_after: timedelta) -> bool:
        """Whether to ask Vonage: at each schedule, and in sweeps `again_after` a failure."""
        if self.not_before is not None and now < self.not_before:
            return False
        has_failed = self.failing_since is not None
        return is_scheduled or (has_failed and now >= self.tried_at + again_after)

    @property
    def listed(self) -> list[str]:
        """The sub-accounts of the last good list."""
        return [name for name, intervals in (self.accounts or {}).items() if not intervals[-1][1]]

    @property
    def gone(self) -> dict[str, datetime]:
        """The sub-accounts that are not listed any more, and since when."""
        known = (self.accounts or {}).items()
        return {name: until for name, intervals in known if (until := intervals[-1][1])}

    def account_ids(self, remember: timedelta) -> tuple[str, ...]:
        """Return the accounts to collect. A former account stays for the time `remember`."""
        assert self.read_at is not None
        last = self.read_at - remember
        gone = (account_id for account_id, at in self.gone.items() if at >= last)
        return (self.primary, *self.listed, *gone)

    def followed(self) -> Followed:
        """Return the spans of the accounts."""
        assert self.read_at is not None
        spans = {
            account_id.lower(): Span(intervals, is_new=_is_new(intervals[-1], self.read_at))
            for account_id, intervals in (self.accounts or {}).items()
            if intervals != ALWAYS.intervals
        }
        known = tuple(self.accounts or ())
        return Followed(spans, doubt=self.doubt, read_at=self.read_at, known=known)


def _is_new(last: Interval, read_at: datetime) -> bool:
    since, until = last
    return since is not None and until is None and since >= read_at - _NEW_FOR


def after_answer(before: Subaccounts | None, answer: SubaccountList, now: datetime) -> Subaccounts:
    """Return the list after a good answer.

    A new account is listed since its creation, or since the last good list if its creation is
    unknown, or more than a day before that list. So no record is missed, even if Vonage's list
    lags or its clock differs. An account that Vonage does not list any more is gone since `now`:
    until then, it may have had records.
    """
    known: Mapping[str, Sequence[Interval]] = {}
    read_at = None
    if before is not None and before.accounts is not None:
        known, read_at = before.accounts, before.read_at
    spelled = {account_id.lower(): account_id for account_id in known}
    listed: dict[str, Sequence[Interval]] = {}
    for found, created in answer.created.items():
        # The ledger's reports have the first spelling.
        account_id = spelled.get(found.lower(), found)
        listed[account_id] = _listed(known.get(account_id, ()), created, read_at, now)
    gone = {
        account_id: intervals if intervals[-1][1] else (*intervals[:-1], (intervals[-1][0], now))
        for account_id, intervals in known.items()
        if account_id not in listed
    }
    latest = sorted(gone, key=lambda account_id: (gone[account_id][-1][1] or now, account_id))
    return Subaccounts(
        primary=answer.primary,
        accounts={**listed, **{each: gone[each] for each in latest[-MOST_GONE:]}},
        read_at=now,
        tried_at=now,
    )


def _listed(
    before: Sequence[Interval], created: datetime | None, read_at: datetime | None, now: datetime
) -> Sequence[Interval]:
    """Return the intervals of an account that is on the list now."""
    if before and before[-1][1] is None:
        return before
    if read_at is None:
        return ALWAYS.intervals
    is_told = created is not None and read_at - _LAG < created <= now
    since = created if is_told and created is not None else read_at
    if before and before[-1][1] is not None and since <= before[-1][1]:
        # Only the list in between did not have it.
        return (*before[:-1], (before[-1][0], None))
    return (*before, (since, None))[-_MOST_INTERVALS:]


def after_failure(
    before: Subaccounts | None,
    primary: str,
    reason: str,
    now: datetime,
    *,
    not_before: datetime | None = None,
) -> Subaccounts:
    """Return the list after a request without a good answer. The last good list is kept."""
    before = before or Subaccounts(primary, now)
    since = before.failing_since or now
    return replace(
        before,
        tried_at=now,
        failing_since=since,
        not_before=not_before,
        reason=reason,
        is_expired=now - since > KEEP_FOR,
    )


def news(before: Subaccounts | None, after: Subaccounts) -> tuple[list[str], list[str]]:
    """Return the accounts that are new in a list, and those that are gone; none at first sight."""
    if before is None or before.accounts is None or after.accounts is None:
        return [], []
    earlier, now = set(before.listed), set(after.listed)
    return sorted(now - earlier), sorted(earlier - now)
