"""The periods of a status: how many days are final, and what each period waits for."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from tests.support.reports import make_report
from vonage_reports.aws.ledger_items import BlockedPeriod, Calendar, OpenWork
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.removal import cause_of
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.windows import WindowLength, windows_within
from vonage_reports_cli.status.model import THE_API_KEY, Content
from vonage_reports_cli.status.summary import Status, status_of

NOW = datetime(2026, 12, 3, 6, tzinfo=UTC)
SMS = ReportDefinition(
    name="sms",
    product="SMS",
    account_ids=(THE_API_KEY,),
    include_subaccounts=False,
    filters={"direction": "outbound"},
    window=WindowLength.DAY,
    time_zone="UTC",
)
OTHER = replace(SMS, name="other")
PLANNED_TO = datetime(2026, 12, 1, tzinfo=UTC)


def delivered(start: date, until: date) -> list[Report]:
    return [
        make_report(definition="sms", window=window, delay_days=3, state=State.DELIVERED, rows=1)
        for window in windows_within(start, until, WindowLength.DAY, "UTC")
    ]


def content(
    finished: list[Report],
    *reports: Report,
    planned_to: datetime = PLANNED_TO,
    label: str = "2026-11",
    **work: Any,
) -> Content:
    open_work = OpenWork(reports, {}, frozenset(), marks={label: "change"})
    return Content(
        as_of=NOW,
        definitions=[SMS],
        refusals=[],
        work=replace(open_work, **work),
        calendar=Calendar({("sms", "abcd1234", 3): planned_to}, {}, {"sms": SMS.collects}),
        finished={"sms": finished},
        since=date(2026, 10, 29),
    )


def status(*arguments: Any, **more: Any) -> Status:
    return status_of(content(*arguments, **more))


def sentence(*arguments: Any, **more: Any) -> str:
    (period,) = status(*arguments, **more).periods
    return period.sentence


def test_open_window_is_named_and_its_day_is_not_final() -> None:
    *final, last = delivered(date(2026, 11, 1), date(2026, 12, 1))
    waiting = replace(last, state=State.SUBMITTED, rows=None)
    assert sentence(final, waiting) == (
        "2026-11: 29 of 30 days final; waits for sms abcd1234 2026-11-30 (SUBMITTED)"
    )


def test_days_after_the_cursor_are_not_final() -> None:
    final = delivered(date(2026, 11, 1), date(2026, 11, 20))
    assert sentence(final, planned_to=datetime(2026, 11, 20, tzinfo=UTC)) == (
        "2026-11: 19 of 30 days final; waits for sms abcd1234 2026-11-20 (not planned yet)"
    )


def test_gap_and_failure_are_named() -> None:
    final = delivered(date(2026, 11, 1), date(2026, 12, 1))
    final[4] = replace(final[4], state=State.FAILED, rows=None)
    del final[9]
    assert sentence(final) == (
        "2026-11: 28 of 30 days final; waits for sms abcd1234 2026-11-05 (FAILED); "
        "sms abcd1234 2026-11-10 (missing)"
    )


def test_complete_period_waits_for_the_next_sweep() -> None:
    final = delivered(date(2026, 11, 10), date(2026, 12, 1))
    assert sentence(final) == "2026-11: 30 of 30 days final; waits for the next sweep"


def test_period_before_the_status_shows_what_the_stack_found() -> None:
    blocked = BlockedPeriod("change", NOW, "sms abcd1234 2026-06-03 (missing)")
    assert sentence([], label="2026-06", blocked={"2026-06": blocked}) == (
        "2026-06: waits for sms abcd1234 2026-06-03 (missing)"
    )


def test_overdue_period_asks_for_attention() -> None:
    found = status([], announced=frozenset({"period-overdue#2026-11"}))
    assert found.attention == ["1 incomplete period"]
    assert status([]).attention == []


def test_removed_account_is_named_until_it_counts_as_removed() -> None:
    final = delivered(date(2026, 11, 1), date(2026, 11, 20))
    planned_to = datetime(2026, 11, 20, tzinfo=UTC)
    removal: dict[str, Any] = {"announced_at": {cause_of(("sms", "abcd1234")): NOW}}
    assert (
        "sms abcd1234 2026-11-20 (not in the report definitions since"
        in status_of(replace(content(final, planned_to=planned_to, **removal), definitions=[OTHER]))
        .periods[0]
        .sentence
    )


def test_month_that_waits_from_an_earlier_setting_is_no_period_of_days() -> None:
    found = status([], marks={"2026-11": "change", "2026-11-05": "change"}).periods
    assert [each.label for each in found] == ["2026-11-05"]
