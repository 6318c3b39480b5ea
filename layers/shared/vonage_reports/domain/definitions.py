"""Report definitions: what to collect, on which calendar."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vonage_reports.domain.products import SHOWING_FILTERS, doubts
from vonage_reports.domain.windows import WindowLength

DEFAULT_DELAY_DAYS = (3,)
"""A final delivery status may take 72 hours (rarely), so a day is final three days later."""

DEFAULT_MAX_RECORDS = 7_000_000
"""Vonage recommends at most 7 million records in one asynchronous report (OpenAPI 3.1.4)."""


MOST_SUBACCOUNTS_AT_ONCE = 10
"""With more sub-accounts Vonage advises one report for each (its best practices)."""


@dataclass(frozen=True)
class ReportDefinition:
    """One entry of the definitions parameter, valid and with every default filled in."""

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

    @property
    def collects(self) -> str:
        """What never changes under one name, as JSON: else windows would overlap or be missing."""
        return json.dumps(
            {
                "product": self.product,
                "filters": dict(self.filters),
                "window": self.window,
                "time_zone": self.time_zone,
            },
            sort_keys=True,
        )


@dataclass(frozen=True)
class Refusal:
    """Why a definition is left out: `field` is the one to mend."""

    definition: str
    field: str
    reason: str

    def to_dict(self) -> dict[str, str]:
        """The form of the function's answer."""
        return {"definition": self.definition, "field": self.field, "reason": self.reason}


def change_of(definition: ReportDefinition, collected: str | None) -> Refusal | None:
    """Return why a definition is refused that collects something else than before, else None.

    `collected` is the `collects` of its first sight; None: this is the first.
    """
    before = json.loads(collected or definition.collects)
    for field, value in json.loads(definition.collects).items():
        if before.get(field) != value:
            reason = "it collects something else now: give it a new name"
            return Refusal(definition.name, field, reason)
    return None


def warnings_of(definitions: Sequence[ReportDefinition]) -> list[str]:
    """Say, as sentences, what is carried out although Vonage may refuse it or be slow."""
    return [
        f"{definition.name}, {field}: {reason}"
        for number, definition in enumerate(definitions)
        for field, reason in (
            *doubts(definition.product, definition.filters),
            *_slowness(definition, definitions),
            *_overlaps(definition, definitions[:number]),
        )
    ]


def _overlaps(
    definition: ReportDefinition, others: Sequence[ReportDefinition]
) -> Iterator[tuple[str, str]]:
    """Yield which records are asked for twice, whenever and in whatever windows they are."""
    if definition.include_subaccounts and len(definition.account_ids) > 1:
        reason = (
            "the report of a primary account has its sub-accounts' records: of one that stands "
            "here too they are billed twice"
        )
        yield "account_ids", reason
    for other in others:
        accounts = [{name.lower() for name in each.account_ids} for each in (definition, other)]
        # The accounts that one key may ask for are one primary account and its sub-accounts.
        has_subaccounts = definition.include_subaccounts or other.include_subaccounts
        shared = (definition.filters.keys() & other.filters.keys()) - SHOWING_FILTERS
        if (
            definition.product == other.product
            and (accounts[0] & accounts[1] or has_subaccounts)
            and all(definition.filters[name] == other.filters[name] for name in shared)
        ):
            reason = f"it asks for records that {other.name} asks for: they are billed twice"
            yield "name", reason


def _slowness(
    definition: ReportDefinition, definitions: Sequence[ReportDefinition]
) -> Iterator[tuple[str, str]]:
    accounts = {account.lower() for each in definitions for account in each.account_ids}
    if definition.include_subaccounts and len(accounts) > MOST_SUBACCOUNTS_AT_ONCE:
        reason = (
            f"the definitions know {len(accounts)} accounts: with more than "
            f"{MOST_SUBACCOUNTS_AT_ONCE} Vonage advises one report for each, as account_ids makes"
        )
        yield "include_subaccounts", reason
