"""Which windows a period has, for every kind of definition."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vonage_reports.aws.ledger_items import Calendar
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.windows import Window, WindowLength, windows_within
from vonage_reports_cli.completeness import Collected, Completeness, Flaw, completeness_of
from vonage_reports_cli.period import Period, month_of
from vonage_reports_cli.status.model import THE_API_KEY

NOVEMBER = month_of("2026-11")
LATER = datetime(2026, 12, 20, tzinfo=UTC)


def definition(**changes: Any) -> ReportDefinition:
    fields: dict[str, Any] = {
        "name": "calls", "product": "VOICE-CALL", "account_ids": ("abcd1234",),
        "include_subaccounts": False, "filters": {}, "window": WindowLength.DAY, "time_zone": "UTC",
    }  # fmt: skip
    return ReportDefinition(**{**fields, **changes})


def calendar(**fields: Any) -> Calendar:
    empty: dict[str, Any] = {"cursors": {}, "volumes": {}, "collects": {}, "profiles": {},
                             "unreadable": (), "delays": {}}  # fmt: skip
    return Calendar(**{**empty, **fields})


def manifest(of: ReportDefinition, window: Window, **changes: Any) -> dict[str, Any]:
    return {
        "definition": of.name, "account_id": "abcd1234", "product": of.product,
        "window": window.to_dict(), "revision": "final", "dataset": None, **changes,
    }  # fmt: skip


def complete(
    of: ReportDefinition,
    windows: Sequence[Window],
    *,
    period: Period = NOVEMBER,
    known: Calendar | None = None,
    as_of: datetime = LATER,
    **changes: Any,
) -> Completeness:
    collected = Collected(as_of, [of], [], known or calendar(), [])
    manifests = [manifest(of, window, **changes) for window in windows]
    return completeness_of(period, collected, manifests, datasets=[])


def windows_of(of: ReportDefinition, first: str, last: str) -> list[Window]:
    start, end = (datetime.fromisoformat(day).date() for day in (first, last))
    return windows_within(start, end, of.window, of.time_zone)


@pytest.mark.parametrize(
    ("length", "first", "last", "windows"),
    [
        (WindowLength.HOUR, "2026-11-01", "2026-12-01", 720),
        (WindowLength.DAY, "2026-11-01", "2026-12-01", 30),
        (WindowLength.WEEK, "2026-10-26", "2026-12-07", 6),
        (WindowLength.MONTH, "2026-11-01", "2026-12-01", 1),
    ],
)
def test_windows_of_each_length_cover_the_month(
    length: WindowLength, first: str, last: str, windows: int
) -> None:
    of = definition(window=length)

    found = complete(of, windows_of(of, first, last))

    assert found.is_complete
    assert (found.windows, found.final) == (windows, windows)
    assert found.lines() == [
        f"2026-11-01 to 2026-11-30 (UTC) is complete: all {windows} windows are final."
    ]


def test_windows_of_another_zone_touch_the_month_at_both_ends() -> None:
    of = definition(time_zone="America/New_York")
    days = windows_of(of, "2026-10-31", "2026-12-01")

    assert complete(of, days).is_complete
    [incomplete] = complete(of, days[1:]).incomplete
    assert (incomplete.flaw, incomplete.ranges) == (Flaw.MISSING, ["2026-10-31"])


def test_missing_hours_are_one_range() -> None:
    of = definition(window=WindowLength.HOUR, time_zone="Europe/Berlin")
    hours = windows_of(of, "2026-11-01", "2026-12-02")

    [incomplete] = complete(of, [*hours[:30], *hours[33:]]).incomplete

    assert incomplete.ranges == ["2026-11-02 06:00 to 2026-11-02 09:00"]
    assert incomplete.event == {
        "backfill": {"definition": "calls", "start": "2026-11-02", "end": "2026-11-03"}
    }


def test_many_ranges_are_cut_short() -> None:
    of = definition()

    found = complete(of, windows_of(of, "2026-11-01", "2026-12-01")[1::2])

    assert found.lines()[1] == (
        "  missing      calls, abcd1234: 2026-11-01, 2026-11-03, 2026-11-05, 2026-11-07, "
        "and 11 more"
    )


def test_command_collects_all_that_is_missing() -> None:
    of = definition()

    found = complete(of, windows_of(of, "2026-11-01", "2026-12-01")[3:10])

    assert found.commands("prod") == [
        "vonage-reports --stack prod backfill calls --from 2026-11-01 --until 2026-12-01"
    ]


def test_definition_without_accounts_has_the_one_of_its_cursor() -> None:
    of = definition(account_ids=(THE_API_KEY,))
    days = windows_of(of, "2026-11-01", "2026-12-01")
    cursors = {
        ("calls", "old00000", 3): datetime(2026, 10, 1, tzinfo=UTC),
        ("calls", "abcd1234", 3): datetime(2026, 11, 30, tzinfo=UTC),
    }

    found = complete(of, days, known=calendar(cursors=cursors))

    assert found.is_complete


def test_new_definition_without_accounts_is_named() -> None:
    found = complete(definition(account_ids=(THE_API_KEY,)), [])

    [incomplete] = found.incomplete
    assert (incomplete.account_id, len(incomplete.windows)) == (THE_API_KEY, 30)


def test_period_without_definitions_is_not_complete() -> None:
    collected = Collected(LATER, [], [], calendar(), [])

    found = completeness_of(NOVEMBER, collected, [], datasets=[])

    assert not found.is_complete
    assert found.lines() == ["2026-11-01 to 2026-11-30 (UTC): no definition has a window here."]


def test_windows_of_earlier_rules_of_a_zone_count() -> None:
    of = definition()
    days = windows_of(of, "2026-11-01", "2026-12-01")
    hour = timedelta(hours=1)
    moved = [
        Window(days[4].start, days[4].end + hour, "UTC"),
        Window(days[5].start + hour, days[5].end, "UTC"),
    ]

    assert complete(of, [*days[:4], *moved, *days[6:]]).is_complete


def test_dataset_of_a_final_manifest_must_be_there() -> None:
    of = definition()
    [day, *_] = windows_of(of, "2026-11-01", "2026-12-01")
    period = Period(NOVEMBER.since, NOVEMBER.since + timedelta(days=1))

    found = complete(of, [day], period=period, dataset={"key": "data/x.parquet"})

    assert [each.flaw for each in found.incomplete] == [Flaw.LOST]
