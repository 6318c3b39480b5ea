from io import StringIO

from rich.console import Console

from local.display import live_table
from local.progress import Line
from vonage_reports.domain.reports import State

LINE = Line(
    report_id="sms-outbound-20261118T0000Z-0123456789ab",
    name="sms-outbound, 2026-11-18",
    state=State.SUBMITTED,
    seconds=12.3,
    rows=14_952,
    bytes=1_200_000,
    error="VonageUnavailable",
    refusal=None,
    reason=None,
    retry="run 3 at 02:15:00 UTC: [download] cut",
    concerns_every_report=False,
)


def shown(*lines: Line, width: int) -> list[str]:
    console = Console(width=width, file=StringIO())
    console.print(live_table(lines))
    file = console.file
    assert isinstance(file, StringIO)
    return file.getvalue().splitlines()


def test_the_live_table_says_why_a_report_is_tried_again() -> None:
    header, row, why = shown(LINE, width=100)
    assert header.split() == ["report", "state", "elapsed", "rows", "size"]
    assert row.split() == [LINE.report_id, "SUBMITTED", "12.3", "s", "14,952", "1.2", "MB"]
    assert why.strip() == "sms-outbound, 2026-11-18: run 3 at 02:15:00 UTC: [download] cut"


def test_a_narrow_live_table_keeps_a_report_on_one_line() -> None:
    _, row, *_ = shown(LINE, width=60)
    assert row.startswith("sms-outbound-20261118")
    assert row.split()[1:] == ["SUBMITTED", "12.3", "s", "14,952", "1.2", "MB"]
