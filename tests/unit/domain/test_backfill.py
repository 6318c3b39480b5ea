import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vonage_reports.domain.backfill import (
    Backfill,
    Progress,
    checked_backfill,
    closed_accounts,
    expected_records,
)
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.products import oldest_start
from vonage_reports.domain.report import definition_of
from vonage_reports.domain.subaccounts import Followed, Span
from vonage_reports.domain.windows import WindowLength, windows_within

NOW = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
DAILY = ReportDefinition(
    name="sms-outbound",
    product="SMS",
    account_ids=("abcd1234", "efgh5678"),
    include_subaccounts=False,
    filters={"direction": "outbound"},
    window=WindowLength.DAY,
    time_zone="UTC",
)
HOURLY = replace(DAILY, window=WindowLength.HOUR, delay_days=(0,))
NOVEMBER = (date(2026, 11, 1), date(2026, 11, 5))


def backfill(
    definition: ReportDefinition = DAILY, start: date = NOVEMBER[0], end: date = NOVEMBER[1]
) -> Backfill:
    return checked_backfill(definition, start, end, confirmed=False, now=NOW)


def left(of: Backfill) -> list[tuple[str, str]]:
    return [(str(window.first_date), account_id) for window, account_id in of.left()]


# The windows, and their order


def test_windows_come_newest_first_with_every_account() -> None:
    assert left(backfill()) == [
        ("2026-11-04", "abcd1234"),
        ("2026-11-04", "efgh5678"),
        ("2026-11-03", "abcd1234"),
        ("2026-11-03", "efgh5678"),
        ("2026-11-02", "abcd1234"),
        ("2026-11-02", "efgh5678"),
        ("2026-11-01", "abcd1234"),
        ("2026-11-01", "efgh5678"),
    ]


@pytest.mark.parametrize(
    ("delay_days", "newest"),
    [((3,), "2026-11-18"), ((0, 3), "2026-11-21"), ((0,), "2026-11-21"), ((10,), "2026-11-11")],
)
def test_windows_not_yet_due_are_left_to_the_calendar(
    delay_days: tuple[int, ...], newest: str
) -> None:
    definition = replace(DAILY, delay_days=delay_days)

    days = left(backfill(definition, end=date(2026, 11, 22)))

    assert days[0][0] == newest
    assert len(days) == 2 * int(newest[-2:])


def test_windows_that_become_due_later_are_not_added() -> None:
    begun = backfill(end=date(2026, 11, 22))

    read_a_week_later = Backfill.from_json(begun.to_json())

    assert read_a_week_later.windows == begun.windows


def test_each_account_adds_one_report_per_window() -> None:
    for count in (1, 2, 5):
        accounts = tuple(f"account{number}" for number in range(count))
        assert backfill(replace(DAILY, account_ids=accounts)).total == 4 * count


GONE = Span(((None, datetime(2026, 11, 3, 12, tzinfo=UTC)),))
FOLLOWS = replace(
    DAILY,
    account_ids=("abcd1234", "Gone0001"),
    followed=Followed({"gone0001": GONE, "gone0002": GONE}, known=("Gone0001", "Gone0002")),
)


@pytest.mark.parametrize("written", ["gone0001", "GONE0002"])
def test_named_account_may_be_closed(written: str) -> None:
    begun = checked_backfill(FOLLOWS, *NOVEMBER, confirmed=False, now=NOW, account_id=written)

    spelled = written.capitalize()
    assert begun.name == f"sms-outbound-20261101-20261105.{spelled}"
    assert definition_of(begun.name) == "sms-outbound"
    assert {account_id for _, account_id in begun.left()} == {spelled}
    assert Backfill.from_json(begun.to_json()) == begun
    assert closed_accounts(begun, FOLLOWS) == []


def test_closed_accounts_of_the_range_are_named() -> None:
    begun = backfill(FOLLOWS)

    assert begun.name == "sms-outbound-20261101-20261105"
    assert {account_id for _, account_id in begun.left()} == {"abcd1234"}
    assert closed_accounts(begun, FOLLOWS) == ["Gone0001", "Gone0002"]
    assert closed_accounts(backfill(FOLLOWS, start=date(2026, 11, 4)), FOLLOWS) == []


def test_backfill_of_an_earlier_version_has_no_named_account() -> None:
    begun = backfill()
    earlier = json.loads(begun.to_json())
    del earlier["account_id"]

    assert Backfill.from_json(json.dumps(earlier)) == begun


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        (DAILY, "other0001 is not an account of this definition. Add the account to"),
        (FOLLOWS, "was never on Vonage's list of sub-accounts. Name the account in"),
    ],
)
def test_account_of_others_is_refused(definition: ReportDefinition, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        checked_backfill(definition, *NOVEMBER, confirmed=False, now=NOW, account_id="other0001")


# Every window of the latest range, which ends on 18 November, is due in every time zone used here.
ranges = st.tuples(st.dates(date(2025, 11, 1), date(2026, 9, 1)), st.integers(40, 78)).map(
    lambda drawn: (drawn[0], drawn[0] + timedelta(days=drawn[1]))
)
definitions = st.builds(
    lambda length, zone, accounts: replace(
        DAILY, window=length, time_zone=zone, account_ids=tuple(accounts)
    ),
    st.sampled_from([WindowLength.DAY, WindowLength.WEEK]),
    st.sampled_from(["UTC", "Asia/Kathmandu", "America/New_York"]),
    st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3, unique=True),
)


@settings(deadline=None)
@given(definitions, ranges, st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=6))
def test_each_report_is_yielded_once_in_any_step_sizes(
    definition: ReportDefinition, days: tuple[date, date], steps: list[tuple[int, int]]
) -> None:
    begun = backfill(definition, *days)
    whole = list(begun.left())
    advanced, yielded = begun, 0
    for skipped, planned in steps:
        rest = list(advanced.left())
        skips = min(skipped, len(rest))
        plans = min(planned, len(rest) - skips)
        advanced = advanced.after(skipped=skips, planned=plans)
        yielded += skips + plans

        assert list(advanced.left()) == whole[yielded:]
        assert advanced.is_over == (yielded == advanced.total)


@settings(deadline=None)
@given(definitions, ranges)
def test_backfill_covers_each_window_for_each_account(
    definition: ReportDefinition, days: tuple[date, date]
) -> None:
    begun = backfill(definition, *days)

    windows = windows_within(*days, definition.window, definition.time_zone)
    assert set(begun.left()) == set(product(windows, definition.account_ids))
    assert begun.total == len(windows) * len(definition.account_ids)


def test_skipped_reports_are_counted() -> None:
    advanced = backfill().after(skipped=2, planned=1).after(skipped=3)

    assert (advanced.seen_to, advanced.skipped, advanced.total) == (6, 5, 8)
    assert advanced.progress is Progress.RUNNING


def test_backfill_is_over_after_its_last_report() -> None:
    last = backfill().after(planned=7)
    assert not last.is_over

    for over in (last.after(planned=1), last.after(skipped=1)):
        assert (over.progress, over.is_over) == (Progress.PLANNED, True)
        assert list(over.left()) == []
        assert over.hours_left() == {}


@pytest.mark.parametrize("progress", [Progress.CANCELLED, Progress.STOPPED, Progress.PLANNED])
def test_only_running_backfill_is_not_over(progress: Progress) -> None:
    assert replace(backfill(), progress=progress).is_over


def test_remaining_hours_follow_local_days() -> None:
    # London put its clocks back on 25 October: that day had 25 hours.
    london = replace(DAILY, time_zone="Europe/London", account_ids=("abcd1234",))
    begun = backfill(london, date(2026, 10, 24), date(2026, 10, 27))

    hours = [begun.after(planned=planned).hours_left() for planned in range(4)]
    assert hours == [{"abcd1234": 73}, {"abcd1234": 49}, {"abcd1234": 24}, {}]


def test_remaining_hours_are_counted_per_account() -> None:
    begun = backfill(replace(DAILY, account_ids=("abcd1234", "subacct1"))).after(planned=1)

    assert begun.hours_left() == {"abcd1234": 72, "subacct1": 96}


def test_name_contains_definition_and_range() -> None:
    assert backfill().name == "sms-outbound-20261101-20261105"


def test_thirteen_months_of_hours_fit_one_ledger_item() -> None:
    # Every run of submit_reports does this while a backfill runs: 19,000 reports, about 0.05 s.
    begun = backfill(HOURLY, date(2025, 10, 22), date(2026, 11, 22))
    assert begun.total == 2 * 24 * 396

    advanced = begun.after(planned=begun.total - 1)

    assert expected_records(begun, {("sms-outbound", a): 10 for a in DAILY.account_ids}) == (
        begun.total * 10
    )
    [(window, account_id)] = advanced.left()
    assert (window.start, account_id) == (datetime(2025, 10, 22, tzinfo=UTC), "efgh5678")
    # One item of the ledger, for any number of windows.
    assert len(advanced.to_json()) == len(begun.to_json()) + len(str(advanced.seen_to)) - 1


# Refused ranges


@pytest.mark.parametrize(
    ("definition", "start", "end", "sentence"),
    [
        (
            DAILY,
            "2026-11-05",
            "2026-11-04",
            "end 2026-11-04 is not after start 2026-11-05; write a later end (exclusive)",
        ),
        (
            DAILY,
            "2026-11-05",
            "2026-11-05",
            "end 2026-11-05 is not after start 2026-11-05; write a later end (exclusive)",
        ),
        (
            DAILY,
            "2026-11-05",
            "2026-11-23",
            "end 2026-11-23 is in the future; write 2026-11-22 (exclusive) or earlier",
        ),
        (
            # In New York it is still the 21st.
            replace(DAILY, time_zone="America/New_York"),
            "2026-11-05",
            "2026-11-22",
            "end 2026-11-22 is in the future; write 2026-11-21 (exclusive) or earlier",
        ),
        (
            DAILY,
            "2024-01-01",
            "2026-11-05",
            (
                "start 2024-01-01 is too early; write 2025-10-22 or later. "
                "Vonage has no older SMS records"
            ),
        ),
        (
            replace(DAILY, product="VIDEO-API"),
            "2026-08-01",
            "2026-11-05",
            (
                "start 2026-08-01 is too early; write 2026-08-24 or later. "
                "Vonage has no older VIDEO-API records"
            ),
        ),
        (
            replace(DAILY, window=WindowLength.MONTH),
            "2026-10-02",
            "2026-11-20",
            "2026-10-02 to 2026-11-20 has no whole month due; write earlier dates",
        ),
        (
            DAILY,
            "2026-11-19",
            "2026-11-22",
            "2026-11-19 to 2026-11-22 has no whole day due; write earlier dates",
        ),
    ],
    ids=[
        "end before start",
        "empty range",
        "future",
        "future in its time zone",
        "before 13 months",
        "before 90 days",
        "no whole window",
        "none due",
    ],
)
def test_range_without_collectable_windows_is_refused(
    definition: ReportDefinition, start: str, end: str, sentence: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        backfill(definition, date.fromisoformat(start), date.fromisoformat(end))

    assert str(refused.value) == f"backfill of sms-outbound: {sentence}"


@pytest.mark.parametrize(
    ("time_zone", "today"),
    [("UTC", "2026-11-22"), ("Asia/Kathmandu", "2026-11-22"), ("America/New_York", "2026-11-21")],
)
def test_yesterday_is_the_last_day_accepted(time_zone: str, today: str) -> None:
    undelayed = replace(DAILY, time_zone=time_zone, delay_days=(0,))

    days = left(backfill(undelayed, end=date.fromisoformat(today)))

    assert days[0][0] == str(date.fromisoformat(today) - timedelta(days=1))


@pytest.mark.parametrize("time_zone", ["UTC", "Asia/Kathmandu", "America/New_York"])
def test_refusal_names_the_oldest_date_accepted(time_zone: str) -> None:
    # Otherwise the backfill would begin, and stop at its last window.
    definition = replace(DAILY, time_zone=time_zone)
    with pytest.raises(InvalidRequest, match="no older SMS records") as refused:
        backfill(definition, date(2024, 1, 1))
    (oldest_text,) = re.findall(r"write ([0-9-]{10}) or later", str(refused.value))
    oldest = date.fromisoformat(oldest_text)

    accepted = backfill(definition, oldest)

    kept_from = oldest_start("SMS", NOW)
    assert accepted.windows[-1].first_date == oldest
    assert accepted.windows[-1].start >= kept_from
    assert accepted.windows[-1].start - timedelta(days=1) < kept_from
    with pytest.raises(InvalidRequest, match="no older SMS records"):
        backfill(definition, oldest - timedelta(days=1))


# The expected cost


def test_expected_records_use_each_accounts_volume() -> None:
    volumes = {("sms-outbound", "abcd1234"): 100, ("sms-outbound", "efgh5678"): 0.5}

    assert expected_records(backfill(), volumes) == 4 * 24 * 100 + 4 * 12
    assert expected_records(backfill().after(skipped=7), volumes) == 12
    assert expected_records(backfill().after(skipped=8), volumes) == 0


def test_free_records_count_as_zero() -> None:
    of = replace(DAILY, name="usage", product="REPORTS-USAGE", filters={})

    assert expected_records(backfill(of), {("usage", "abcd1234"): 10**9}) == 0


def test_account_without_history_counts_as_zero() -> None:
    known = {("sms-outbound", "abcd1234"): 100, ("sms-inbound", "efgh5678"): 100}

    assert expected_records(backfill(), known) == 4 * 24 * 100
    assert expected_records(backfill(), {}) == 0
    alone = replace(DAILY, account_ids=("efgh5678", "abcd1234"))
    assert expected_records(backfill(alone).after(planned=7), known) == 2400


# The JSON for the ledger

texts = st.text(max_size=20)
backfills = st.builds(
    Backfill,
    definition=st.builds(
        ReportDefinition,
        name=texts,
        product=texts,
        account_ids=st.lists(texts, min_size=1, max_size=3).map(tuple),
        include_subaccounts=st.booleans(),
        filters=st.dictionaries(texts, texts | st.booleans() | st.integers(), max_size=3),
        window=st.sampled_from(WindowLength),
        time_zone=st.sampled_from(["UTC", "Australia/Lord_Howe"]),
        delay_days=st.lists(st.integers(0, 60), min_size=1, max_size=3).map(tuple),
        max_records=st.integers(1, 10**9),
        currency=st.none() | texts,
    ),
    start=st.dates(),
    end=st.dates(),
    begun_at=st.datetimes(timezones=st.sampled_from([UTC, ZoneInfo("Asia/Kathmandu")])),
    confirmed=st.booleans(),
    progress=st.sampled_from(Progress),
    seen_to=st.integers(0, 10**6),
    skipped=st.integers(0, 10**6),
    version=st.integers(0, 10**6),
)


@given(backfills)
def test_json_round_trip(before: Backfill) -> None:
    after = Backfill.from_json(before.to_json())

    assert after == before
    assert isinstance(after.progress, Progress)
    assert isinstance(after.definition.window, WindowLength)
    assert after.to_json() == before.to_json()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"definition": {"name": "sms"}}'])
def test_unknown_json_is_not_read_as_a_backfill(text: str) -> None:
    # The ledger leaves such items alone.
    with pytest.raises((KeyError, TypeError, ValueError)):
        Backfill.from_json(text)
