"""The run input in the tests of store_report and convert_report."""

from datetime import UTC, datetime, timedelta

from vonage_reports.domain.report import Entry
from vonage_reports.domain.run_input import RunInput
from vonage_reports.domain.windows import Window

NOW = datetime(2026, 11, 22, 2, 20, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 20, 13, tzinfo=UTC)  # in Auckland
DAY = timedelta(days=1)
REPORT_ID = "sms-outbound-20261120T1300Z-0123456789ab"
RUN_INPUT = RunInput(
    report_id=REPORT_ID,
    request_id="request-1",
    attempt=1,
    run=1,
    entry=Entry.CHECK,
    definition="sms-outbound",
    product="SMS",
    account_id="abcd1234",
    include_subaccounts=False,
    filters={"direction": "outbound", "include_message": False},
    window=Window(MIDNIGHT, MIDNIGHT + DAY, "Pacific/Auckland"),
    revision="final",
    delay_days=3,
    planned="2026-11-22T02:15:00Z",
)
