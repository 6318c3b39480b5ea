"""The report and the report definition that the tests share."""

from datetime import UTC, datetime
from typing import Any

from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.report import Priority, Report, Revision, report_id
from vonage_reports.domain.windows import Window, WindowLength

DAY = Window(
    datetime(2026, 11, 21, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC), "Europe/London"
)

DAILY = ReportDefinition(
    name="sms-outbound",
    product="SMS",
    account_ids=("abcd1234",),
    include_subaccounts=True,
    filters={"direction": "outbound"},
    window=WindowLength.DAY,
    time_zone="UTC",
    currency="EUR",
)


def make_report(**changes: Any) -> Report:
    """Return the report of one day of SMS, planned by the calendar.

    `changes` replace fields. Without a `report_id`, derive it from the fields as the planner does.
    """
    fields: dict[str, Any] = {
        "definition": "sms-outbound",
        "product": "SMS",
        "account_id": "abcd1234",
        "include_subaccounts": False,
        "filters": {"direction": "outbound"},
        "window": DAY,
        "revision": Revision.FINAL,
        "priority": Priority.CALENDAR,
        "planned_at": datetime(2026, 11, 25, 2, 15, tzinfo=UTC),
        **changes,
    }
    derived = report_id(
        definition=fields["definition"],
        account_id=fields["account_id"],
        window=fields["window"],
        delay_index=fields.get("delay_index", 0),
        split_path=fields.get("split_path", ""),
    )
    return Report(**{"report_id": derived, **fields})
