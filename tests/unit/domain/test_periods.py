from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tests.support.contracts import check, check_notification
from tests.support.reports import make_report
from vonage_reports.domain import mail, notifications
from vonage_reports.domain.definitions import Refusal, ReportDefinition
from vonage_reports.domain.periods import (
    Blocker,
    Collecting,
    Examination,
    LocalPeriod,
    Unfinished,
    complete,
    entry_of,
    examine,
    final_days,
    periods_of,
    sentence,
)
from vonage_reports.domain.removal import DEFINITION_REMOVED, removed_lately
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.settings import PeriodLength
from vonage_reports.domain.spend import CAPPED
from vonage_reports.domain.subaccounts import ALWAYS, Followed, Span
from vonage_reports.domain.windows import Window, WindowLength, windows_within

NOVEMBER = LocalPeriod(date(2026, 11, 1), date(2026, 12, 1))
LIMIT_OF_SNS = 256 * 1024


def test_label_names_a_month_or_a_day() -> None:
    day = LocalPeriod(date(2026, 11, 5), date(2026, 11, 6))
    assert (NOVEMBER.label, NOVEMBER.key(2)) == ("2026-11", "periods/2026/11/2.json")
    assert (day.label, day.key(1)) == ("2026-11-05", "periods/2026/11-05/1.json")
    assert [LocalPeriod.parse(each.label) for each in (NOVEMBER, day)] == [NOVEMBER, day]
    with pytest.raises(ValueError, match="month"):
        LocalPeriod.parse("2026-13")


@pytest.mark.parametrize(
    ("start", "end", "zone", "months"),
    [
        ("2026-11-01T00:00", "2026-11-02T00:00", "UTC", ["2026-11"]),
        ("2026-10-26T00:00", "2026-11-02T00:00", "UTC", ["2026-10", "2026-11"]),
        # The same instants are of another month in another zone.
        ("2026-10-31T13:00", "2026-11-01T13:00", "UTC", ["2026-10", "2026-11"]),
        ("2026-10-31T13:00", "2026-11-01T13:00", "Australia/Sydney", ["2026-11"]),
    ],
)
def test_window_touches_the_months_of_its_own_zone(
    start: str, end: str, zone: str, months: list[str]
) -> None:
    window = Window(
        datetime.fromisoformat(f"{start}+00:00"), datetime.fromisoformat(f"{end}+00:00"), zone
    )
    found = periods_of(window, PeriodLength.MONTH)
    assert [each.label for each in found] == months
    assert all(each.touches(window) for each in found)
    assert periods_of(window, PeriodLength.NONE) == []


def test_week_touches_seven_days() -> None:
    window = Window(datetime(2026, 10, 26, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC), "UTC")
    labels = [each.label for each in periods_of(window, PeriodLength.DAY)]
    assert (len(labels), labels[0], labels[-1]) == (7, "2026-10-26", "2026-11-01")


def test_days_without_a_blocker_are_counted_once() -> None:
    blockers = [
        Blocker("a", date(2026, 10, 26), "PLANNED", until=date(2026, 11, 2)),
        Blocker("b", date(2026, 11, 1), "FAILED", until=date(2026, 11, 3)),
        Blocker("c", date(2026, 11, 29), "not planned yet"),
    ]
    assert final_days(NOVEMBER, blockers) == 26
    assert final_days(NOVEMBER, [Blocker("(all)", None, "(JSON) is refused")]) == 0


def test_sentence_names_three_blockers_and_counts_the_others() -> None:
    blockers = [Blocker(name, date(2026, 11, 1), "missing", "abcd1234") for name in "abcde"]
    assert sentence(blockers) == (
        "a abcd1234 2026-11-01 (missing); b abcd1234 2026-11-01 (missing); "
        "c abcd1234 2026-11-01 (missing); and 2 more"
    )


def hourly(accounts: int) -> tuple[Collecting, list[Report]]:
    """Return a definition with hourly windows in November, and all of their reports."""
    ids = [f"acct{number:04}" for number in range(accounts)]
    windows = windows_within(NOVEMBER.start, NOVEMBER.end, WindowLength.HOUR, "UTC")
    report = make_report(definition="hourly", state=State.DELIVERED, rows=7)
    reports = [
        replace(report, report_id=f"{number}-{account_id}", window=window, account_id=account_id)
        for account_id in ids
        for number, window in enumerate(windows)
    ]
    return Collecting("hourly", "SMS", WindowLength.HOUR, "UTC", ids), reports


def examined(
    collecting: Collecting, reports: list[Report], before: Collection[str] = ()
) -> Examination:
    found = Examination()
    examine(collecting, NOVEMBER, reports, collected_before=lambda _: before, into=found)
    return found


def manifest(currencies: int = 1) -> dict[str, Any]:
    totals = [
        {
            "currency": f"C{number}", "total_price": "0.10000001", "rows": 7,
            "rows_without_price": 1, "rows_without_time": 0,
        }
        for number in range(currencies)
    ]  # fmt: skip
    return {"revision": "final", "rows": 7, "totals": totals}


def test_ten_thousand_windows_add_up_exactly() -> None:
    collecting, reports = hourly(14)
    found = examined(collecting, reports)
    facts = {each.report_id: entry_of(each, manifest(), "v") for each in reports}
    value = complete(NOVEMBER, 1, found, facts, [])
    assert found.blockers == []
    assert len(value["manifests"]) == value["definitions"][0]["windows"] == 14 * 720
    assert [each["total_price"] for each in value["definitions"][0]["totals"]] == [
        "72.0000072"
    ] * 14


def test_window_without_a_report_is_missing_only_after_the_first_one() -> None:
    collecting, reports = hourly(1)
    late = reports[100:]
    assert examined(collecting, late).blockers == []
    assert len(examined(collecting, late, before=["acct0000"]).blockers) == 100
    assert len(examined(collecting, [*late[:5], *late[6:]]).blockers) == 1


def test_unlisted_account_has_the_windows_that_it_has() -> None:
    collecting, reports = hourly(1)
    some = [*reports[10:20], *reports[30:40]]
    found = examined(replace(collecting, accounts=()), some)
    ((_, (part,)),) = found.parts
    begin, end = NOVEMBER.interval("UTC")
    assert (len(part.windows), found.blockers) == (20, [])
    assert part.not_collected == (
        (begin, some[0].window.start),
        (some[9].window.end, some[10].window.start),
        (some[-1].window.end, end),
    )
    facts = {each.report_id: entry_of(each, manifest(), "v") for each in some}
    value = complete(NOVEMBER, 1, found, facts, [])
    assert len(value["definitions"][0]["not_collected"]) == 3


def test_unlisted_sub_account_lacks_nothing_outside_its_time() -> None:
    collecting, reports = hourly(1)
    span = Span(((reports[10].window.start, reports[19].window.end),))
    unlisted = replace(collecting, accounts=(), span_of=lambda _: span)
    ((_, (part,)),) = examined(unlisted, reports[10:20]).parts
    assert part.not_collected == ()


def test_damaged_manifest_is_refused() -> None:
    (report,) = hourly(1)[1][:1]
    damages: list[dict[str, Any]] = [
        {"totals": [{}]},
        {"rows": None},
        {"totals": [{"total_price": "x"}]},
    ]
    for damage in damages:
        with pytest.raises(ValueError, match="is damaged"):
            entry_of(report, {**manifest(), **damage}, "v")


@pytest.mark.parametrize("definitions", [1, 150, 2_000])
def test_notification_fits_sns_whatever_the_size(definitions: int) -> None:
    collecting, reports = hourly(1)
    ((of_one, parts),) = examined(collecting, reports[:3]).parts
    found = Examination(
        [(replace(of_one, name=f"hourly-{number}"), parts) for number in range(definitions)]
    )
    facts = {each.report_id: entry_of(each, manifest(5), "v") for each in reports}
    changed = [make_report().report_id] * 10_000
    value = complete(NOVEMBER, 2, found, facts, changed)
    body = notifications.period_complete(value, key=NOVEMBER.key(2))

    check_notification(body)
    assert len(mail.message(body, stack="prod").encode()) < LIMIT_OF_SNS
    assert (body["changed_reports"], len(body["changed"])) == (10_000, 100)
    assert bool(body["definitions"]) is (definitions < 2_000)
    assert ("totals" in {**body, **dict(*body["definitions"][:1])}) is (definitions == 1)


def test_mail_names_the_bill_of_the_month() -> None:
    collecting, reports = hourly(1)
    reports = [make_report(window=reports[-1].window, state=State.DELIVERED, rows=7)]
    facts = {each.report_id: entry_of(each, manifest(), "v") for each in reports}
    found = examined(collecting, reports)
    value = complete(NOVEMBER, 1, found, facts, [reports[0].report_id])
    check("period", value)
    body = notifications.period_complete(value, key=NOVEMBER.key(1))
    assert mail.subject(body) == "[complete] 2026-11 is complete: number 1, 7 rows of 1 definition"
    assert "vonage-reports --stack prod bill --from 2026-11-01 --until 2026-12-01" in (
        mail.mail_text(body, stack="prod")
    )


def test_sub_account_that_is_gone_has_the_windows_of_its_time() -> None:
    collecting, reports = hourly(2)
    until = NOVEMBER.interval("UTC")[0] + timedelta(hours=5)
    gone = replace(
        collecting,
        span_of=lambda account: Span(((None, until),)) if account == "acct0001" else ALWAYS,
    )
    left = [each for each in reports if each.account_id != "acct0001" or each.window.start < until]

    assert examined(gone, left).blockers == []
    assert examined(collecting, left).blockers != []


DAILY = ReportDefinition(
    name="daily",
    product="SMS",
    account_ids=("abcd1234",),
    include_subaccounts=False,
    filters={},
    window=WindowLength.DAY,
    time_zone="UTC",
    delay_days=(3,),
)
DECEMBER_5 = datetime(2026, 12, 5, 3, tzinfo=UTC)


def blockers(
    of: ReportDefinition, cursors: Mapping[tuple[str, str, int], datetime], **others: Any
) -> list[Blocker]:
    fields: dict[str, Any] = {
        "reports": (), "backfills": (), "definitions": [of], "refusals": (), "cursors": cursors,
        "delays": {}, "collects": {of.name: of.collects}, "removed": (),
        "length": PeriodLength.MONTH, "now": DECEMBER_5, **others,
    }  # fmt: skip
    return Unfinished(**fields).of(NOVEMBER)


def test_planning_that_ended_with_a_sub_account_blocks_no_period() -> None:
    begin, end = NOVEMBER.interval("UTC")
    until = begin + timedelta(days=5)
    definition = replace(DAILY, account_ids=("abcd1234", "acct0001"))
    spans = {"acct0001": Span(((None, until),))}
    gone = replace(definition, followed=Followed(spans, read_at=end))
    cursors = {("daily", "abcd1234", 3): end, ("daily", "acct0001", 3): until}

    assert [each.account_id for each in blockers(definition, cursors)] == ["acct0001"]
    assert blockers(gone, cursors) == []
    earlier = {**cursors, ("daily", "acct0001", 3): until - timedelta(days=1)}
    assert [each.account_id for each in blockers(gone, earlier)] == ["acct0001"]


def test_removed_account_keeps_a_month_open_until_it_is_withdrawn() -> None:
    _, end = NOVEMBER.interval("UTC")
    cursors = {
        ("daily", "abcd1234", 3): end,
        ("daily", "Acct0001", 0): end,
        ("daily", "Acct0001", 3): end - timedelta(days=2),
        ("done", "abcd1234", 3): end,
        ("gone", "abcd1234", 3): end - timedelta(days=1),
    }
    pairs = (("daily", "acct0001"), ("done", "abcd1234"), ("gone", "abcd1234"))
    since = dict.fromkeys(pairs, end)
    collects = dict.fromkeys(("daily", "done", "gone"), DAILY.collects)

    def found(now: datetime) -> list[str]:
        removed = removed_lately(cursors, since, now)
        return [f"{each}" for each in blockers(DAILY, cursors, collects=collects, removed=removed)]

    reason = (
        "(not in the report definitions since 2026-12-01, counts as removed from 2026-12-08 on)"
    )
    assert found(DECEMBER_5) == [
        f"daily Acct0001 2026-11-29 {reason}", f"gone abcd1234 2026-11-30 {reason}",
    ]  # fmt: skip
    assert found(end + timedelta(days=7)) == []


def test_account_that_is_never_planned_keeps_the_month_open_in_which_it_begins() -> None:
    begin, end = NOVEMBER.interval("UTC")
    listed = {("daily", "abcd1234", 3): end}
    both = replace(DAILY, account_ids=("abcd1234", "acct0001"))

    def since(created: datetime) -> ReportDefinition:
        span = Span(((created, None),), is_new=True)
        return replace(both, followed=Followed({"acct0001": span}, read_at=DECEMBER_5))

    (new,) = blockers(since(begin + timedelta(days=9, hours=5)), listed)
    assert f"{new}" == "daily acct0001 2026-11-10 (not planned yet)"
    assert blockers(since(end), listed) == []
    # Collecting begins with the latest due window.
    (late,) = blockers(both, listed, now=end + timedelta(days=3))
    assert f"{late}" == "daily acct0001 2026-11-30 (not planned yet)"
    assert blockers(both, listed, now=end + timedelta(days=4)) == []
    assert len(blockers(DAILY, {}, now=end + timedelta(days=3))) == 1


def test_list_of_sub_accounts_is_read_after_the_month() -> None:
    local = replace(DAILY, time_zone="America/New_York")
    _, end = NOVEMBER.interval(local.time_zone)
    cursors = {("daily", "abcd1234", 3): end}

    def found(read_at: datetime | None) -> list[str]:
        of = replace(local, followed=Followed(read_at=read_at))
        return [f"{each}" for each in blockers(of, cursors)]

    before = end - timedelta(seconds=1)
    assert found(before) == [
        "daily 2026-11-30 (the list of sub-accounts is of 2026-12-01T04:59:59Z)"
    ]
    assert found(end - timedelta(days=40)) == [
        "daily 2026-11-01 (the list of sub-accounts is of 2026-10-22T05:00:00Z)"
    ]
    assert found(None) == ["daily (the list of sub-accounts is not read yet)"]
    assert found(end) == []


def test_refusal_of_a_definition_that_never_collected_keeps_no_month_open() -> None:
    _, end = NOVEMBER.interval("UTC")
    cursors = {("daily", "abcd1234", 3): end}
    refusals = [Refusal(each, "product", "is missing") for each in ("daily", "new", "entry 3")]
    found = blockers(DAILY, cursors, refusals=refusals)
    assert [each.definition for each in found] == ["daily", "entry 3"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "PLANNED"),
        ({"error": CAPPED}, "waits for MaxBilledRecordsMonth"),
        ({"error": DEFINITION_REMOVED}, "not in the report definitions"),
        ({"denied_since": DECEMBER_5}, "Vonage refuses the account or the product"),
        ({"error": CAPPED, "state": State.FAILED}, "FAILED"),
    ],
)
def test_open_window_says_why_it_waits(fields: dict[str, Any], reason: str) -> None:
    _, end = NOVEMBER.interval("UTC")
    window = Window(end - timedelta(days=1), end, "UTC")
    report = replace(make_report(window=window, state=State.PLANNED), **fields)
    (found,) = blockers(DAILY, {("daily", "abcd1234", 3): end}, reports=[report])
    assert found.reason == reason
