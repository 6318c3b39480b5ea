from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vonage_reports.aws.ledger_items import calendar_of, subaccounts_item
from vonage_reports.domain.calendar import due_reports, next_unplanned, where_finals_begin
from vonage_reports.domain.definitions import ReportDefinition, warnings_of
from vonage_reports.domain.subaccounts import (
    Followed,
    Span,
    SubaccountList,
    Subaccounts,
    after_answer,
    after_failure,
    news,
)
from vonage_reports.domain.windows import Window, WindowLength

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
DAY = timedelta(days=1)
AGAIN = timedelta(minutes=15)


def answer(*accounts: str, **created: datetime | None) -> SubaccountList:
    return SubaccountList("abcd1234", {**dict.fromkeys(accounts), **created})


def since_of(known: Subaccounts, account_id: str) -> datetime | None:
    assert known.accounts is not None
    return known.accounts[account_id][-1][0]


FIRST = after_answer(None, answer("sub1", "sub2"), NOW)


def test_first_list_has_no_beginnings_and_no_news() -> None:
    assert FIRST.accounts == {"sub1": ((None, None),), "sub2": ((None, None),)}
    assert FIRST.account_ids(DAY) == ("abcd1234", "sub1", "sub2")
    assert news(None, FIRST) == ([], [])


def test_new_account_is_listed_since_its_creation() -> None:
    later = NOW + 3 * DAY
    after = after_answer(FIRST, answer("sub1", "sub2", sub3=NOW + DAY), later)
    assert since_of(after, "sub3") == NOW + DAY
    assert news(FIRST, after) == (["sub3"], [])
    assert after.followed().spans == {"sub3": Span(((NOW + DAY, None),), is_new=True)}


def test_account_that_the_last_list_missed_is_listed_since_its_creation() -> None:
    created = NOW - timedelta(hours=3)
    after = after_answer(FIRST, answer("sub1", "sub2", sub3=created), NOW + DAY)
    assert since_of(after, "sub3") == created


@pytest.mark.parametrize("created", [None, NOW - 2 * DAY, NOW + 4 * DAY])
def test_creation_that_explains_nothing_gives_the_time_of_the_last_list(
    created: datetime | None,
) -> None:
    after = after_answer(FIRST, answer("sub1", "sub2", sub3=created), NOW + 3 * DAY)
    assert since_of(after, "sub3") == NOW


def test_account_that_is_gone_is_remembered_and_may_return() -> None:
    gone_at, back_at = NOW + DAY, NOW + 9 * DAY
    without = after_answer(FIRST, answer("sub1"), gone_at)
    assert (without.gone, news(FIRST, without)) == ({"sub2": gone_at}, ([], ["sub2"]))
    assert without.followed().spans == {"sub2": Span(((None, gone_at),))}
    still = after_answer(without, answer("sub1"), back_at - DAY)
    assert still.gone == {"sub2": gone_at}
    assert still.account_ids(7 * DAY) == ("abcd1234", "sub1", "sub2")
    assert still.account_ids(6 * DAY) == ("abcd1234", "sub1")
    again = after_answer(still, answer("sub1", "SUB2"), back_at)
    assert again.account_ids(DAY) == ("abcd1234", "sub1", "sub2"), "in the first spelling"
    both = ((None, gone_at), (back_at - DAY, None))
    assert again.followed().spans == {"sub2": Span(both, is_new=True)}
    assert (again.gone, news(still, again)) == ({}, (["sub2"], []))


def test_account_that_one_list_missed_has_no_gap() -> None:
    without = after_answer(FIRST, answer("sub1"), NOW + DAY)
    again = after_answer(without, answer("sub1", "sub2"), NOW + 2 * DAY)
    assert again.accounts == FIRST.accounts
    for days in range(3, 40, 2):
        gone = after_answer(again, answer("sub1"), NOW + days * DAY)
        gone = after_answer(gone, answer("sub1"), NOW + (days + 0.5) * DAY)
        again = after_answer(gone, answer("sub1", "sub2"), NOW + (days + 1) * DAY)
    assert again.accounts is not None
    assert len(again.accounts["sub2"]) == 4, "the oldest are forgotten"


def test_ledger_remembers_a_limited_number_of_former_accounts() -> None:
    many = after_answer(None, answer(*(f"a{each}" for each in range(2_000))), NOW)
    none = after_answer(many, answer(), NOW + DAY)
    more = after_answer(none, answer("b1", "b2"), NOW + 2 * DAY)
    left = after_answer(more, answer(), NOW + 3 * DAY)
    assert len(left.gone) == 2_000
    assert {"b1", "b2"} <= left.gone.keys()


def test_failure_keeps_the_list_for_seven_days() -> None:
    failed = after_failure(FIRST, "abcd1234", "no answer", NOW + DAY)
    assert (failed.problem, failed.accounts) == (None, FIRST.accounts)
    assert failed.doubt == (
        "the list of sub-accounts is of 2026-11-26T12:00:00Z, and counts until "
        "2026-12-04T12:00:00Z. no answer"
    )
    last = after_failure(failed, "abcd1234", "no answer", NOW + 8 * DAY)
    assert last.problem is None
    over = after_failure(last, "abcd1234", "no answer", NOW + 8 * DAY + timedelta(seconds=1))
    assert over.problem == (
        "Vonage's list of sub-accounts is not known: the last good one is of "
        "2026-11-26T12:00:00Z, more than 7 days ago. no answer"
    )
    assert after_answer(over, answer("sub1", "sub2"), NOW + 9 * DAY).problem is None


def test_failure_at_first_sight_is_a_problem() -> None:
    failed = after_failure(None, "abcd1234", "Vonage answered 403", NOW)
    assert failed.problem == "Vonage's list of sub-accounts is not known: Vonage answered 403"


@pytest.mark.parametrize(
    ("known", "later", "is_scheduled", "is_due"),
    [
        (FIRST, DAY, True, True),
        (FIRST, DAY, False, False),
        (after_failure(FIRST, "abcd1234", "", NOW), AGAIN, False, True),
        (after_failure(FIRST, "abcd1234", "", NOW), AGAIN / 2, False, False),
        (after_failure(FIRST, "abcd1234", "", NOW), AGAIN / 2, True, True),
        (after_failure(FIRST, "abcd1234", "", NOW, not_before=NOW + DAY), AGAIN, True, False),
        (after_failure(FIRST, "abcd1234", "", NOW, not_before=NOW + DAY), DAY, False, True),
    ],
)
def test_vonage_is_asked_at_schedules_and_after_failures(
    known: Subaccounts, later: timedelta, *, is_scheduled: bool, is_due: bool
) -> None:
    asks = known.is_due(NOW + later, is_scheduled=is_scheduled, again_after=AGAIN)
    assert asks is is_due


KEYS = st.text("abcdef0123456789", min_size=1, max_size=8)
TIMES = st.none() | st.integers(-100, 100).map(lambda hours: NOW + timedelta(hours=hours))


@given(st.lists(st.dictionaries(KEYS, TIMES) | st.none(), max_size=6))
def test_list_survives_the_ledger(lists: list[dict[str, datetime | None] | None]) -> None:
    known = None
    for number, created in enumerate(lists):
        at = NOW + number * DAY
        if created is None:
            known = after_failure(known, "abcd1234", "no answer", at, not_before=at)
        else:
            known = after_answer(known, SubaccountList("abcd1234", created), at)
        assert calendar_of([subaccounts_item(known)]).subaccounts == {"abcd1234": known}
        if known.accounts is not None:
            assert {*known.listed, *known.gone} == known.accounts.keys()


def test_unreadable_item_of_the_list_is_named() -> None:
    found = calendar_of([{**subaccounts_item(FIRST), "accounts": "[1]"}])
    assert (found.latest_subaccounts, found.unreadable) == (None, ("subaccounts#abcd1234",))


DAILY = ReportDefinition(
    name="all",
    product="VERIFY-V2",
    account_ids=("abcd1234", "sub1"),
    include_subaccounts=False,
    filters={},
    window=WindowLength.DAY,
    time_zone="UTC",
    delay_days=(0, 3),
)
MIDNIGHT = NOW.replace(hour=0)


def following(**spans: Span) -> ReportDefinition:
    return replace(DAILY, followed=Followed(spans))


def ends(account_id: str, at: datetime) -> dict[tuple[str, str, int], datetime]:
    return {("all", account_id, 0): at, ("all", account_id, 3): at - 3 * DAY}


def due(
    of: ReportDefinition, cursors: dict[tuple[str, str, int], datetime], at: datetime = NOW
) -> dict[tuple[str, int], list[int]]:
    """Return the days of November of the windows that are due."""
    found = due_reports(of, cursors=cursors, volumes={}, profiles={}, at=at, now=at)
    return {
        (each.account_id, each.delay_days): [report.window.start.day for report in each.reports]
        for each in found
        if each.reports
    }


def test_new_account_is_due_from_the_window_of_its_creation() -> None:
    of = following(sub1=Span(((MIDNIGHT - 2 * DAY + timedelta(hours=9), None),), is_new=True))
    begun = ends("abcd1234", MIDNIGHT)
    assert due(of, begun) == {("sub1", 0): [24, 25]}
    assert due(of, begun, NOW + 2 * DAY)["sub1", 3] == [24]
    begins = [*where_finals_begin(of, begun, NOW)]
    assert begins == [("sub1", 0, MIDNIGHT - 2 * DAY), ("sub1", 3, MIDNIGHT - 2 * DAY)]


def test_new_definition_begins_with_the_latest_due_window_of_an_old_account() -> None:
    old = following(sub1=Span(((NOW - 90 * DAY, None),)))
    assert due(old, {}) == {
        (account_id, days): [25 - days] for account_id in DAILY.account_ids for days in (0, 3)
    }


def test_window_before_a_new_account_is_not_due() -> None:
    new = following(sub1=Span(((MIDNIGHT - DAY, None),), is_new=True))
    assert due(new, {}) == {("abcd1234", 0): [25], ("abcd1234", 3): [22], ("sub1", 0): [25]}


def test_gone_account_is_due_up_to_the_list_without_it() -> None:
    of = following(sub1=Span(((None, MIDNIGHT - 3 * DAY + timedelta(hours=9)),)))
    cursors = {**ends("abcd1234", MIDNIGHT), **ends("sub1", MIDNIGHT - 4 * DAY)}
    assert due(of, cursors)["sub1", 0] == [22, 23]
    over = {**ends("abcd1234", MIDNIGHT), ("all", "sub1", 0): MIDNIGHT - 2 * DAY,
            ("all", "sub1", 3): MIDNIGHT - 2 * DAY}  # fmt: skip
    assert ("sub1", 0) not in due(of, over, NOW + 30 * DAY)
    late = next_unplanned(of, cursors=over, defined_at=NOW - 30 * DAY, now=NOW + 300 * DAY)
    assert {report.account_id for report, _ in late} == {"abcd1234"}


def test_account_that_returns_is_due_but_for_the_gap() -> None:
    intervals = (None, MIDNIGHT - 4.5 * DAY), (MIDNIGHT - 1.5 * DAY, None)
    of = following(sub1=Span(intervals, is_new=True))
    cursors = {**ends("abcd1234", MIDNIGHT), ("all", "sub1", 0): MIDNIGHT - 4 * DAY,
               ("all", "sub1", 3): MIDNIGHT - 6 * DAY}  # fmt: skip
    # The list had no such account from the 21st to the 24th.
    assert due(of, cursors) == {("sub1", 0): [24, 25], ("sub1", 3): [20, 21]}
    assert due(of, cursors, NOW + 2 * DAY)["sub1", 3] == [20, 21, 24]
    back = following(sub1=Span(((None, NOW - 90 * DAY), intervals[1])))
    assert due(back, {**cursors, **ends("sub1", MIDNIGHT - 92 * DAY)})["sub1", 0] == [24, 25]


def test_new_account_is_overdue_only_after_its_first_window() -> None:
    of = following(sub1=Span(((NOW - timedelta(hours=13), None),), is_new=True))
    begun = ends("abcd1234", MIDNIGHT)
    assert [*next_unplanned(of, cursors=begun, defined_at=NOW - 90 * DAY, now=MIDNIGHT)] != []
    found = {
        report.account_id: since
        for report, since in next_unplanned(of, cursors=begun, defined_at=NOW - 90 * DAY, now=NOW)
    }
    assert found == {"sub1": MIDNIGHT}


def test_span_has_the_windows_that_it_touches() -> None:
    window = Window(MIDNIGHT, MIDNIGHT + DAY, "UTC")
    assert Span(((NOW, None),)).has(window)
    assert Span(((None, NOW),)).has(window)
    assert not Span(((MIDNIGHT + DAY, None),)).has(window)
    assert not Span(((None, MIDNIGHT),)).has(window)


def test_old_or_unknown_list_raises_a_warning() -> None:
    failed = after_failure(FIRST, "abcd1234", "no answer", NOW + DAY)
    (old,) = warnings_of([replace(DAILY, followed=failed.followed())])
    assert old.startswith("all, account_ids: the list of sub-accounts is of 2026-11-26T12:00:00Z")
    (unknown,) = warnings_of([replace(DAILY, followed=Followed(is_known=False))])
    assert unknown.startswith("all, account_ids: only the primary account is counted here")
    assert warnings_of([replace(DAILY, followed=FIRST.followed())]) == []
