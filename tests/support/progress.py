"""A line and a progress bar of `make run`'s display."""

from datetime import date

from local.runner.progress import Line
from vonage_reports.domain.report import State
from vonage_reports_cli.progress_bar import Bar

LINE = Line(
    report_id="sms-outbound-20261118T0000Z-0123456789ab",
    name="sms-outbound, 2026-11-18",
    label="sms-outbound-20261118T0000Z-0123456789ab",
    definition="sms-outbound",
    account_id="abcd1234",
    first_date=date(2026, 11, 18),
    root=None,
    backfill=None,
    state=State.SUBMITTED,
    seconds=12.3,
    rows=14_952,
    bytes=1_200_000,
    error="VonageUnavailable",
    refusal=None,
    reason=None,
    retry="run 3 at 02:15:00 UTC: [download] cut",
    concerns_every_report=False,
    is_at_end=False,
)
BAR = Bar("backfill sms-20250101-20260201", 99, 396, "99 of 396 windows, about 3 min left")
