"""Report definitions: the reports to collect, and their calendar."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vonage_reports.domain.products import SHOWING_FILTERS, doubts
from vonage_reports.domain.subaccounts import ALWAYS, Followed, Span
from vonage_reports.domain.windows import WindowLength

DEFAULT_DELAY_DAYS = (3,)
"""A delivery status may change for 72 hours (rarely), so a window is final after three days."""

DEFAULT_MAX_RECORDS = 7_000_000
"""How many records Vonage recommends at most per asynchronous report (OpenAPI 3.1.4)."""


SUBACCOUNTS = "subaccounts"
"""The value of `account_ids` for the primary account and all its sub-accounts."""

MOST_SUBACCOUNTS_AT_ONCE = 10
"""How many sub-accounts one report may include, by Vonage's best practices."""


@dataclass(frozen=True)
class ReportDefinition:
    """A valid entry of the report definitions, with every default filled in.

    `account_ids` are the accounts to collect, wherever they come from. `followed` is None if the
    entry lists them. Otherwise they are those of Vonage's list of sub-accounts.
    """

    name: str
    product: str
    account_ids: Sequence[str]
    include_subaccounts: bool
    filters: Mapping[str, Any]
    window: WindowLength
    time_zone: str
    delay_days: Sequence[int] = DEFAULT_DELAY_DAYS
    max_records: int = DEFAULT_MAX_RECORDS
    currency: str | None = None
    followed: Followed | None = None

    def span_of(self, account_id: str) -> Span:
        """Return the time in which the calendar collects an account."""
        if self.followed is None:
            return ALWAYS
        return self.followed.spans.get(account_id.lower(), ALWAYS)

    def has_closed(self, account_id: str) -> bool:
        """Whether Vonage lists a sub-account no more, or as suspended. It may be listed again."""
        return self.span_of(account_id).until is not None

    @property
    def collects(self) -> str:
        """The fields that may not change, as JSON. A change would overlap or skip windows."""
        return json.dumps(
            {
                "product": self.product,
                "filters": dict(self.filters),
                "window": self.window,
                "time_zone": self.time_zone,
            },
            sort_keys=True,
        )


GIVEN_TWICE = "given twice"
"""The reason of a refusal for a field that an entry has twice. It is unknown which value counts."""


@dataclass(frozen=True)
class Refusal:
    """Why a definition is not collected. `field` is the field to correct."""

    definition: str
    field: str
    reason: str

    def to_dict(self) -> dict[str, str]:
        """Return the entry for the function's answer."""
        return {"definition": self.definition, "field": self.field, "reason": self.reason}


def change_of(definition: ReportDefinition, collected: str | None) -> Refusal | None:
    """Return a refusal if a definition's `collects` has changed, else None.

    `collected` is the first value of `collects`, or None for a new definition.
    """
    before = json.loads(collected or definition.collects)
    for field, value in json.loads(definition.collects).items():
        if in_quotes(before.get(field)) != in_quotes(value):
            # Never quote a filter's value, because it may be a phone number.
            old = "the old filters" if field == "filters" else repr(before.get(field))
            reason = f"changed under the same name; restore {old}, or use a new name"
            return Refusal(definition.name, field, reason)
    return None


def in_quotes(value: object) -> object:
    """Return a field of `collects`, with each whole number of the filters as text.

    A filter's whole number and the same number in quotes select the same records.
    """
    if isinstance(value, dict):
        return {name: in_quotes(each) for name, each in value.items()}
    # True and False are of the type int too.
    return str(value) if type(value) is int else value


def warnings_of(definitions: Sequence[ReportDefinition]) -> list[str]:
    """Return warnings, as sentences, about reports that Vonage may refuse, delay or bill twice."""
    accounts = {account.lower() for each in definitions for account in each.account_ids}
    earlier: dict[str, list[_Requested]] = defaultdict(list)
    warnings = []
    for definition in definitions:
        requested = _Requested(definition)
        found = (
            *doubts(definition.product, definition.filters),
            *_doubts_of_accounts(definition),
            *_slowness(definition, len(accounts)),
            *_overlaps(requested, earlier[definition.product]),
        )
        warnings += [f"{definition.name}, {field}: {reason}" for field, reason in found]
        earlier[definition.product].append(requested)
    return warnings


class _Requested:
    """The part of a definition that overlaps depend on, because each pair is compared."""

    def __init__(self, definition: ReportDefinition) -> None:
        self.name = definition.name
        self.accounts = {account.lower() for account in definition.account_ids}
        self.include_subaccounts = definition.include_subaccounts
        self.filters = {
            name: in_quotes(value)
            for name, value in definition.filters.items()
            if name not in SHOWING_FILTERS
        }

    def shares_records_with(self, other: "_Requested") -> bool:
        """Whether two definitions of a product request the same records, in any windows."""
        # One API key can request only a primary account and its sub-accounts.
        has_subaccounts = self.include_subaccounts or other.include_subaccounts
        if not has_subaccounts and self.accounts.isdisjoint(other.accounts):
            return False
        return all(
            name not in other.filters or other.filters[name] == value
            for name, value in self.filters.items()
        )


def _overlaps(definition: _Requested, earlier: Sequence[_Requested]) -> Iterator[tuple[str, str]]:
    """Yield the fields that request records twice, regardless of the windows."""
    if definition.include_subaccounts and len(definition.accounts) > 1:
        reason = (
            "a primary account's report includes its sub-accounts, so a sub-account listed here is "
            "billed twice; remove it, or set include_subaccounts to false"
        )
        yield "account_ids", reason
    for other in earlier:
        if definition.shares_records_with(other):
            reason = f"shares records with {other.name}, billed twice; narrow filters or accounts"
            yield "name", reason


def _slowness(definition: ReportDefinition, accounts: int) -> Iterator[tuple[str, str]]:
    if definition.include_subaccounts and accounts > MOST_SUBACCOUNTS_AT_ONCE:
        reason = (
            f"the definitions name {accounts} accounts. For more than "
            f"{MOST_SUBACCOUNTS_AT_ONCE}, Vonage advises one report for each account: set "
            f'account_ids to "{SUBACCOUNTS}" and include_subaccounts to false'
        )
        yield "include_subaccounts", reason


def _doubts_of_accounts(definition: ReportDefinition) -> Iterator[tuple[str, str]]:
    followed = definition.followed
    if followed is None:
        return
    if not followed.is_known:
        reason = (
            "only the primary account is counted here, because Vonage's list of sub-accounts is "
            "not read yet; the next pass of submit_reports reads it"
        )
        yield "account_ids", reason
    elif followed.doubt:
        yield "account_ids", followed.doubt
