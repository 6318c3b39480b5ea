"""Report definitions: what to collect, on which calendar."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vonage_reports.domain.windows import WindowLength

DEFAULT_DELAY_DAYS = (3,)
"""A final delivery status may take 72 hours (rarely), so a day is final three days later."""

DEFAULT_MAX_RECORDS = 7_000_000
"""Vonage recommends at most 7 million records in one asynchronous report (OpenAPI 3.1.4)."""


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
