"""The input of a run of the workflow: written by submit_reports, read by the other functions."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vonage_reports.domain.acceptance import Acceptable, in_order
from vonage_reports.domain.report import Entry, Report, Revision
from vonage_reports.domain.waits import first_wait
from vonage_reports.domain.windows import Window, format_instant


@dataclass(frozen=True)
class RunInput:
    """The report of a run, as the workflow's input describes it."""

    report_id: str
    request_id: str | None
    """None if the window was split before its first request."""
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
    """How many days after its end the window is collected. Ranks the revisions."""
    planned: str | None
    currency: str | None = None
    """The definition's currency, for rows without a currency."""
    relabelled: bool = False
    """Whether the report was collected as preliminary, and is final now."""
    accept: tuple[Acceptable, ...] = ()
    """The imperfections that the operator accepts in this conversion."""

    @classmethod
    def from_input(cls, value: Mapping[str, Any]) -> "RunInput":
        """Parse the workflow's input. Raises KeyError with the name of a missing field."""
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
            relabelled=value.get("relabelled", False),
            accept=in_order(value.get("accept", ())),
        )

    @property
    def log_keys(self) -> dict[str, str | None]:
        """The fields by which to find a run's lines in every function's log."""
        return {
            "report_id": self.report_id,
            "definition": self.definition,
            "request_id": self.request_id,
            "execution": self.execution_name,
        }

    @property
    def execution_name(self) -> str:
        """The name of the run's execution."""
        return f"{self.report_id}-r{self.run}"


def execution_input(report: Report, entry: Entry) -> str:
    """Return the input of the report's present run, as JSON."""
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
            "window": report.window.to_dated_dict(),
            "revision": report.revision,
            "delay_days": report.delay_days,
            "expected_rows": report.expected_rows,
            "first_wait": first_wait(report.expected_rows, report.pace),
            "callback": report.callback if entry is Entry.CHECK else None,
            "planned": format_instant(report.planned_at),
            "receipts": list(report.receipts),
            "announce": not report.is_half,
            "relabelled": report.relabelled,
            "accept": list(report.accept),
        },
        sort_keys=True,
    )


def became_final(report: Report) -> bool:
    """Whether a final report's last run was started when the report was still preliminary."""
    started: Mapping[str, Any] = json.loads(report.execution_input or "{}")
    was_preliminary = started.get("revision") == Revision.PRELIMINARY
    return report.revision is Revision.FINAL and was_preliminary
