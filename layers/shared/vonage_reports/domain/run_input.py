"""The input of a run of the workflow: written by submit_reports, read by the other functions."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vonage_reports.domain.report import Entry, Report
from vonage_reports.domain.waits import first_wait
from vonage_reports.domain.windows import Window, format_instant


@dataclass(frozen=True)
class RunInput:
    """The report that a run is about, as the workflow's input names it."""

    report_id: str
    request_id: str | None
    """None where there was no request: the window was split before it was asked for."""
    attempt: int
    run: int
    entry: Entry
    definition: str
    product: str
    account_id: str
    include_subaccounts: bool
    filters: Mapping[str, Any]
    window: Window
    revision: str
    delay_days: int
    """How long after its end the window was collected: the rank of its revision."""
    planned: str | None
    currency: str | None = None
    """What an empty currency means, as the definition says."""

    @classmethod
    def from_input(cls, value: Mapping[str, Any]) -> "RunInput":
        """Read the workflow's input. Raises KeyError, naming what is missing."""
        definition = value["definition"]
        return cls(
            report_id=value["report_id"],
            request_id=value["request_id"],
            attempt=value["attempt"],
            run=value["run"],
            entry=Entry(value["entry"]),
            definition=definition["name"],
            product=definition["product"],
            account_id=definition["account_id"],
            include_subaccounts=definition["include_subaccounts"],
            filters=definition["filters"],
            window=Window.from_dict(value["window"]),
            revision=value["revision"],
            delay_days=value["delay_days"],
            planned=value.get("planned"),
            currency=definition.get("currency"),
        )

    @property
    def execution_name(self) -> str:
        """The name of the run, as the ledger gives it."""
        return f"{self.report_id}-r{self.run}"


def execution_input(report: Report, entry: Entry) -> str:
    """Return what a run of the workflow starts with, as JSON."""
    return json.dumps(
        {
            "report_id": report.report_id,
            "run": report.run,
            "attempt": report.attempt,
            "entry": entry,
            "request_id": report.request_id,
            "definition": {
                "name": report.definition,
                "product": report.product,
                "account_id": report.account_id,
                "include_subaccounts": report.include_subaccounts,
                "filters": dict(report.filters),
                "currency": report.currency,
            },
            "window": report.window.to_dict(),
            "revision": report.revision,
            "delay_days": report.delay_days,
            "expected_rows": report.expected_rows,
            "first_wait": first_wait(report.expected_rows),
            "planned": format_instant(report.planned_at),
            "receipts": list(report.receipts),
            "announce": not report.is_half,
        },
        sort_keys=True,
    )
