"""The page's windows: the manifests tell what is delivered, the ledger what else there is."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from tests.support.reports import DAILY, make_report
from vonage_reports.aws.ledger_items import Calendar, OpenWork
from vonage_reports.domain.report import Report, Revision, State
from vonage_reports.domain.windows import Window, WindowLength, windows_within
from vonage_reports_cli.page.windows import Windows, windows_of, words_of
from vonage_reports_cli.period import month_of
from vonage_reports_cli.status.model import Content

NOW = datetime(2026, 11, 26, tzinfo=UTC)
DAYS = windows_within(date(2026, 11, 1), date(2026, 11, 11), WindowLength.DAY, "UTC")


def manifest(window: Window, revision: str = "final") -> dict[str, Any]:
    return {
        "definition": DAILY.name,
        "account_id": "abcd1234",
        "window": window.to_dict(),
        "revision": revision,
    }


def content(*reports: Report) -> Content:
    return Content(
        as_of=NOW,
        definitions=(DAILY,),
        refusals=(),
        work=OpenWork(tuple(each for each in reports if not each.is_at_end), {}, frozenset()),
        calendar=Calendar({}, {}, {DAILY.name: DAILY.collects}),
        finished={DAILY.name: [each for each in reports if each.is_at_end]},
    )


def report(window: Window, state: State, **changes: Any) -> Report:
    return make_report(window=window, state=state, **changes)


def shown(windows: Windows) -> list[tuple[str, str, int, str | None]]:
    return [(each.state, each.dates, each.windows, each.reason) for each in windows.undelivered]


def only(found: Sequence[Windows]) -> Windows:
    (windows,) = found
    return windows


def test_ledger_knows_why_a_window_has_no_delivery() -> None:
    delivered = [DAYS[0], DAYS[9]]
    ledger = content(
        *(report(each, State.DELIVERED) for each in delivered),
        report(DAYS[1], State.FAILED, reason="Vonage sent a broken archive"),
        report(DAYS[2], State.FAILED, reason="Vonage sent a broken archive"),
        report(DAYS[3], State.HELD, reason="the POST was not answered"),
        report(DAYS[4], State.SUBMITTED),
        report(DAYS[5], State.PLANNED),
        report(DAYS[6], State.CANCELLED),
    )

    found = windows_of([manifest(each) for each in delivered], ledger, None)

    assert shown(only(found)) == [
        ("failed", "2026-11-02 to 2026-11-03", 2, "Vonage sent a broken archive"),
        ("held", "2026-11-04", 1, "the POST was not answered"),
        ("missing", "2026-11-07", 1, "cancelled"),
        ("missing", "2026-11-08 to 2026-11-09", 2, None),
        ("waiting", "2026-11-05 to 2026-11-06", 2, None),
    ]
    assert words_of(found) == (
        "windows: 2 delivered, 0 of them preliminary; 2 waiting; 1 held; 2 failed; 3 missing"
    )


def test_gap_is_found_without_a_ledger() -> None:
    found = windows_of([manifest(DAYS[0]), manifest(DAYS[3])], None, None)

    assert shown(only(found)) == [("missing", "2026-11-02 to 2026-11-03", 2, None)]


def test_window_that_nothing_ever_asked_for_is_no_gap() -> None:
    found = windows_of([manifest(DAYS[3]), manifest(DAYS[4])], None, month_of("2026-11"))

    assert shown(only(found)) == []
    assert (only(found).first, only(found).last) == (date(2026, 11, 4), date(2026, 11, 5))


def test_final_revision_counts_and_a_failed_one_leaves_the_window_preliminary() -> None:
    manifests = [
        manifest(DAYS[0], "preliminary"), manifest(DAYS[0]), manifest(DAYS[1], "preliminary"),
    ]  # fmt: skip
    ledger = content(
        report(DAYS[0], State.DELIVERED),
        report(DAYS[1], State.DELIVERED, revision=Revision.PRELIMINARY),
        report(DAYS[1], State.FAILED, delay_index=1, delay_days=3, reason="no answer"),
    )

    windows = only(windows_of(manifests, ledger, None))

    assert (windows.delivered, windows.preliminary) == (2, 1)
    assert shown(windows) == [("failed", "2026-11-02", 1, "no answer")]


def test_month_has_the_windows_that_overlap_it() -> None:
    zone = "America/New_York"
    days = windows_within(date(2026, 10, 30), date(2026, 11, 3), WindowLength.DAY, zone)

    found = windows_of([manifest(each) for each in days], None, month_of("2026-11"))

    # 31 October of New York ends on 1 November, 04:00 UTC.
    assert (only(found).first, only(found).delivered) == (date(2026, 10, 31), 3)


def test_missing_hours_are_named_in_their_time_zone() -> None:
    hours = windows_within(date(2026, 11, 2), date(2026, 11, 4), WindowLength.HOUR, "Europe/Berlin")

    found = windows_of([manifest(hours[0]), manifest(hours[3])], None, None)
    assert shown(only(found)) == [("missing", "2026-11-02 01:00 to 03:00", 2, None)]
    found = windows_of([manifest(hours[0]), manifest(hours[-1])], None, None)
    assert shown(only(found)) == [("missing", "2026-11-02 01:00 to 2026-11-03 23:00", 46, None)]


def test_day_of_a_clock_change_is_one_missing_window() -> None:
    days = windows_within(date(2026, 10, 24), date(2026, 10, 27), WindowLength.DAY, "Europe/London")

    found = windows_of([manifest(days[0]), manifest(days[2])], None, None)

    assert shown(only(found)) == [("missing", "2026-10-25", 1, None)]


def test_delivered_window_of_another_account_fills_no_gap() -> None:
    other = {**manifest(DAYS[1]), "account_id": "other123"}

    first, second = windows_of([manifest(DAYS[0]), other, manifest(DAYS[2])], None, None)

    assert shown(first) == [("missing", "2026-11-02", 1, None)]
    assert (second.account_id, shown(second)) == ("other123", [])


def test_removed_definition_keeps_its_delivered_windows() -> None:
    removed = replace(content(), definitions=(), calendar=Calendar({}, {}, {}))

    assert only(windows_of([manifest(DAYS[0])], removed, None)).delivered == 1
