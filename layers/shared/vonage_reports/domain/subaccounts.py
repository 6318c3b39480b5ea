"""Vonage's list of sub-accounts, as the ledger keeps it.

A definition with `"account_ids": "subaccounts"` collects the primary account and every sub-account
that is not suspended. Only a whole answer of Vonage changes the list.
"""

from collections.abc import Mapping
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

UNKNOWN = "Vonage's list of sub-accounts is not known"
"""How the reason begins for which a definition has no accounts."""


@dataclass(frozen=True)
class Span:
    """The time in which an account is collected. None: no limit.

    `is_new`: the account was listed lately, so a definition that was planned before begins with
    the window of `since`, and not with its latest due window.
    """

    since: datetime | None = None
    until: datetime | None = None
    is_new: bool = False

    def has(self, window: Window) -> bool:
        """Whether a window has time of the span."""
        return (self.since is None or window.end > self.since) and (
            self.until is None or window.start < self.until
        )


ALWAYS = Span()


@dataclass(frozen=True)
class Followed:
    """The origin of the accounts of a definition that follows the sub-accounts.

    `spans` are by account in lower case: the accounts that were listed later than the others, and
    those that are not listed any more. Without `is_known`, the only account is the primary one.
    `doubt` says why the list may be out of date.
    """

    spans: Mapping[str, Span] = field(default_factory=dict)
    is_known: bool = True
    doubt: str = ""


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
        accounts: The sub-accounts of the last good list, and since when each is listed: None for
            those of the first list. None before the first list.
        gone: The accounts that are not listed any more, and since when.
        read_at: The time of the last good list.
        tried_at: The time of the last request.
        failing_since: The first failure since the last good list.
        not_before: The end of the wait that Vonage asked for with a 429.
        reason: Why the last request failed.
        is_expired: Whether requests have failed for 7 days, so that the list does not count.
    """

    primary: str
    tried_at: datetime
    accounts: Mapping[str, datetime | None] | None = None
    gone: Mapping[str, datetime] = field(default_factory=dict)
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

    def account_ids(self, remember: timedelta) -> tuple[str, ...]:
        """Return the accounts to collect. A former account stays for the time `remember`."""
        assert self.read_at is not None
        last = self.read_at - remember
        gone = (account_id for account_id, at in self.gone.items() if at >= last)
        return (self.primary, *(self.accounts or ()), *gone)

    def followed(self) -> Followed:
        """Return the spans of the accounts."""
        assert self.read_at is not None
        listed = {
            account_id.lower(): Span(since=since, is_new=since >= self.read_at - _NEW_FOR)
            for account_id, since in (self.accounts or {}).items()
            if since is not None
        }
        gone = {account_id.lower(): Span(until=at) for account_id, at in self.gone.items()}
        return Followed({**listed, **gone}, doubt=self.doubt)


def after_answer(before: Subaccounts | None, answer: SubaccountList, now: datetime) -> Subaccounts:
    """Return the list after a good answer.

    A new account is listed since its creation, or since the last good list if its creation is
    unknown, or more than a day before that list. So no record is missed, even if Vonage's list
    lags or its clock differs. An account that Vonage does not list any more is gone since `now`:
    until then, it may have had records.
    """
    known: Mapping[str, datetime | None] = {}
    gone: dict[str, datetime] = {}
    read_at = None
    if before is not None and before.accounts is not None:
        known, gone, read_at = before.accounts, dict(before.gone), before.read_at
    spelled = {account_id.lower(): account_id for account_id in (*gone, *known)}
    accounts: dict[str, datetime | None] = {}
    for listed, created in answer.created.items():
        # The ledger's reports have the first spelling.
        account_id = spelled.get(listed.lower(), listed)
        if account_id in known:
            accounts[account_id] = known[account_id]
        elif read_at is None:
            accounts[account_id] = None
        else:
            is_since = created is not None and read_at - _LAG < created <= now
            accounts[account_id] = created if is_since else read_at
    for account_id in known:
        if account_id not in accounts:
            gone[account_id] = now
    left = sorted((at, account_id) for account_id, at in gone.items() if account_id not in accounts)
    return Subaccounts(
        primary=answer.primary,
        accounts=accounts,
        gone={account_id: at for at, account_id in left[-MOST_GONE:]},
        read_at=now,
        tried_at=now,
    )


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
    added = sorted(after.accounts.keys() - before.accounts.keys())
    return added, sorted(before.accounts.keys() - after.accounts.keys())
