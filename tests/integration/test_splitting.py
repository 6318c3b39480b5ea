"""Windows that are too large for one report: split, collected in parts, converted as one."""

import json
from typing import Any

import boto3
import pytest

from tests.support.stack import Stack, definition
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.profile import Profile
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.splitting import halves_of
from vonage_reports.submit_reports.reprocess import recollect, reconvert


def plan_a_day(stack: Stack, **entry: Any) -> str:
    (report_id,) = stack.plan(**entry)
    return report_id


def into_quarters(stack: Stack) -> str:
    """Have a day, and both its halves, cut short; return its report_id."""
    day = plan_a_day(stack)
    stack.collect("TRUNCATED")
    stack.collect("TRUNCATED", "TRUNCATED")
    return day


def deliver(stack: Stack, report_id: str, *, rows: int = 40) -> Report:
    """End the run that converts a window, and return the report as it is then."""
    converting = stack.known(report_id)
    assert converting.state is State.CONVERTING
    stack.runs.end(converting, rows=rows)
    assert stack.settle() == [report_id]
    return stack.known(report_id)


def receipts_of(*parts: Report) -> tuple[str, ...]:
    return tuple(receipt_key(part) for part in sorted(parts, key=lambda part: part.window.start))


def test_a_day_that_is_cut_short_twice_is_delivered_from_four_parts_in_order(stack: Stack) -> None:
    day = into_quarters(stack)
    assert [part.window.hours for part in stack.open() if part.is_half] == [6.0] * 4
    first, failed, third, fourth = stack.collect("SUCCESS", "FAILED", "SUCCESS", "SUCCESS")
    assert stack.known(day).state is State.SPLIT
    stack.later(minutes=1)
    (second,) = stack.collect("SUCCESS")
    converting = stack.known(day)
    assert second.report_id == failed.report_id
    assert converting.receipts == receipts_of(first, second, third, fourth)
    started = json.loads(stack.runs.started[converting.execution_name])
    assert (started["entry"], started["receipts"]) == ("convert", list(converting.receipts))
    assert deliver(stack, day).state is State.DELIVERED
    assert (stack.open(), stack.slots()) == ([], 0)
    assert len(stack.created()) == 1 + 2 + 4 + 1, "each part once, and the one that failed again"
    (told,) = stack.announced()
    assert (told["report_id"], told["run_again"]) == (failed.report_id, None)


def test_a_half_that_fits_is_not_split_with_the_other(stack: Stack) -> None:
    day = plan_a_day(stack)
    stack.collect("TRUNCATED")
    older, _ = stack.collect("SUCCESS", "TRUNCATED")
    third, fourth = stack.collect("SUCCESS", "SUCCESS")
    assert stack.known(day).receipts == receipts_of(older, third, fourth)
    deliver(stack, day)
    assert stack.announced() == []


def test_parts_are_not_announced_and_the_window_is(stack: Stack) -> None:
    day = plan_a_day(stack)
    stack.collect("TRUNCATED")
    parts = stack.collect("SUCCESS", "SUCCESS")
    inputs = [stack.runs.started[each.execution_name] for each in (*parts, stack.known(day))]
    assert [json.loads(each)["announce"] for each in inputs] == [False, False, True]


def test_what_an_hour_had_is_noted_of_the_whole_window_alone(stack: Stack) -> None:
    day = plan_a_day(stack)
    stack.collect("TRUNCATED")
    stack.collect("SUCCESS", "SUCCESS")
    assert stack.services.ledger.calendar().volumes == {}
    deliver(stack, day)
    assert stack.services.ledger.calendar().volumes == {("d0", "abcd1234"): round(40 / 24, 3)}


def fail_for_good(stack: Stack, *others: str) -> Report:
    """Have the oldest of the planned parts fail until nobody buys it any more."""
    failed, *_ = stack.collect("FAILED", *others)
    for _ in range(2):
        stack.later(hours=1)
        stack.collect("FAILED")
    assert stack.known(failed.report_id).state is State.FAILED
    return failed


def test_a_part_that_failed_for_good_fails_the_window_when_the_others_have_ended(
    stack: Stack,
) -> None:
    day = into_quarters(stack)
    first = next(each for each in stack.open() if each.is_half)
    stack.simulator.settings(jobs_limit=9)
    stack.simulator.fault("create", "outcome", request_status="FAILED", seconds=0)
    still_running = [each for each in stack.submit().submitted if each != first.report_id]
    for _ in range(3):
        stack.runs.end(stack.known(first.report_id), "ReportFailed")
        stack.settle()
        stack.later(hours=1)
        stack.simulator.fault("create", "outcome", request_status="FAILED", seconds=0)
        stack.submit()
    assert stack.known(first.report_id).state is State.FAILED
    assert stack.known(day).state is State.SPLIT, "what is paid for is waited for"
    assert {told["report_id"] for told in stack.announced()} == {first.report_id}
    for report_id in still_running:
        stack.runs.end(stack.known(report_id))
    stack.settle()
    assert stack.known(day).state is State.FAILED
    (told,) = stack.announced()
    assert told["report_id"] == day
    assert told["run_again"] == {"recollect": {"report_id": first.report_id}}
    assert (stack.open(), stack.slots()) == ([], 0)


def test_the_event_of_a_window_that_failed_buys_the_part_that_failed_alone(stack: Stack) -> None:
    day = into_quarters(stack)
    failed = fail_for_good(stack, "SUCCESS", "SUCCESS", "SUCCESS")
    told = stack.announced()[-1]
    assert (told["report_id"], stack.known(day).state) == (day, State.FAILED)
    bought = len(stack.created())
    again = told["run_again"]["recollect"]["report_id"]
    assert recollect(again, "token", stack.services, now=stack.now) == [failed.report_id]
    (mended,) = stack.collect("SUCCESS")
    assert mended.report_id == failed.report_id
    receipts = stack.known(day).receipts
    assert len(receipts) == 4
    assert receipts[0] == receipt_key(mended)
    assert deliver(stack, day).state is State.DELIVERED
    assert len(stack.created()) == bought + 1
    assert stack.announced() == []


def test_what_is_left_of_a_window_that_cannot_be_had_is_not_bought(stack: Stack) -> None:
    day = into_quarters(stack)
    stack.simulator.fault("create", "status", status=422)
    stack.simulator.fault("create", "status", status=429)
    stack.submit()
    bought = len(stack.created())
    stack.settle()
    assert (stack.known(day).state, stack.open()) == (State.FAILED, [])
    (told,) = stack.announced()
    stack.later(minutes=2)
    assert stack.submit().submitted == []
    again = told["run_again"]["recollect"]["report_id"]
    assert stack.known(again).state is State.FAILED
    assert recollect(again, "token", stack.services, now=stack.now) == [again]
    stack.collect(*["SUCCESS"] * 4)
    assert len(stack.known(day).receipts) == 4
    assert deliver(stack, day).state is State.DELIVERED
    assert len(stack.created()) == bought + 4


def test_a_half_that_is_collected_again_is_not_bought_in_its_quarters_too(stack: Stack) -> None:
    day = into_quarters(stack)
    stack.simulator.fault("create", "status", status=422)
    stack.simulator.fault("create", "status", status=429)
    stack.submit()
    stack.settle()
    assert stack.known(day).state is State.FAILED
    stack.later(minutes=2)
    (half,) = [each for each in halves(stack, day) if each.split_path == "0"]
    recollect(half.report_id, "token", stack.services, now=stack.now)
    whole, third, fourth = stack.collect("SUCCESS", "SUCCESS", "SUCCESS")
    assert whole.report_id == half.report_id
    assert stack.known(day).receipts == receipts_of(whole, third, fourth)


def test_a_window_that_fits_no_four_reports_fails_and_says_what_to_change(stack: Stack) -> None:
    day = into_quarters(stack)
    stack.collect("TRUNCATED", "SUCCESS", "SUCCESS", "SUCCESS")
    assert stack.known(day).state is State.FAILED
    (told,) = stack.announced()
    assert (told["report_id"], told["error"]) == (day, "ReportTruncated")
    assert "shorter window" in told["message"]
    assert told["run_again"] is None, "it would be cut short again, and billed"
    assert len(stack.created()) == 1 + 2 + 4


def test_an_hour_is_not_split(stack: Stack) -> None:
    hour = plan_a_day(stack, window="hour")
    stack.collect("TRUNCATED")
    assert stack.known(hour).state is State.FAILED
    (told,) = stack.announced()
    assert told["error"] == "ReportTruncated"
    assert (stack.open(), stack.slots(), len(stack.created())) == ([], 0, 1)


def test_of_two_parts_that_are_cut_short_at_the_same_moment_one_is_split(stack: Stack) -> None:
    day = plan_a_day(stack)
    stack.collect("TRUNCATED")
    stack.collect("TRUNCATED", "SUCCESS")
    for _ in range(2):
        stack.simulator.fault("create", "outcome", request_status="TRUNCATED", seconds=0)
    for report_id in stack.submit().submitted:
        stack.runs.end(stack.known(report_id), "ReportFailed")
    # Three parts, of which two are about to make it four.
    stack.settle_seen(stack.services.ledger.open_work())
    assert stack.known(day).leaves == 4
    stack.settle()
    assert stack.known(day).state is State.FAILED
    assert stack.submit().submitted == [], "the parts of the one would be bought for nothing"
    assert len(stack.created()) == 1 + 2 + 2
    (told,) = stack.announced()
    assert told["error"] == "ReportTruncated"


def test_two_submitters_that_see_one_truncated_report_split_it_once(stack: Stack) -> None:
    plan_a_day(stack)
    stack.simulator.fault("create", "outcome", request_status="TRUNCATED", seconds=0)
    stack.submit()
    stack.runs.end(stack.open()[0], "ReportFailed")
    seen = stack.services.ledger.open_work()
    for _ in range(2):
        stack.settle_seen(seen)
    assert [each.state for each in stack.open() if each.is_half] == [State.PLANNED] * 2


def after_a_day_of(stack: Stack, rows: int, **entry: Any) -> str:
    """Deliver a day of so many rows; plan the day after it and return its report_id."""
    of = definition(**entry)
    stack.plan_definitions([of])
    stack.simulator.fault("create", "outcome", request_status="SUCCESS", seconds=0)
    (report_id,) = stack.submit().submitted
    first = stack.known(report_id)
    stack.runs.end(first, rows=rows)
    stack.settle()
    due = first.window.end.replace(hour=2) + (first.window.end - first.window.start) * 4
    (planned,) = stack.plan_definitions([of], at=due)
    return planned


def test_what_is_expected_to_be_too_large_is_split_before_it_is_paid_for(stack: Stack) -> None:
    day = after_a_day_of(stack, 2400, max_records=1000)
    parts = stack.collect("SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS")
    assert [part.expected_rows for part in parts] == [600] * 4
    assert len(stack.created()) == 1 + 4
    converting = stack.known(day)
    assert (converting.attempt, converting.request_id) == (1, None)
    assert converting.receipts == receipts_of(*parts)
    assert deliver(stack, day).state is State.DELIVERED


def test_one_large_day_does_not_keep_the_days_after_it_from_being_collected(stack: Stack) -> None:
    day = after_a_day_of(stack, 24_000, max_records=1000)
    stack.collect("SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS")
    assert deliver(stack, day).state is State.DELIVERED
    assert len(stack.created()) == 1 + 4


def test_a_window_that_was_split_is_collected_again_as_a_whole(stack: Stack) -> None:
    day = into_quarters(stack)
    stack.collect("SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS")
    before = deliver(stack, day)
    recollect(day, "token", stack.services, now=stack.now)
    (whole,) = stack.collect("SUCCESS")
    assert (whole.report_id, whole.attempt) == (day, before.attempt + 1)
    assert json.loads(stack.runs.started[whole.execution_name])["receipts"] == []
    assert stack.known(day).state is State.DELIVERED
    assert stack.open() == []


def test_what_was_split_in_a_backfill_and_is_collected_again_is_nothing_of_it_any_more(
    stack: Stack,
) -> None:
    stack.begin(stack.backfill(definition(), stack.day(5), stack.day(4)))
    (planned,) = stack.plan_backfills()
    stack.collect("TRUNCATED")
    stack.collect("SUCCESS", "SUCCESS")
    deliver(stack, planned.report_id)
    recollect(planned.report_id, "token", stack.services, now=stack.now)
    stack.collect("TRUNCATED")
    assert [each.backfill for each in stack.open()] == [None] * 3


def test_collected_again_and_cut_short_again_its_parts_are_bought_anew(stack: Stack) -> None:
    day = into_quarters(stack)
    old = stack.collect("SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS")
    before = deliver(stack, day)
    recollect(day, "token", stack.services, now=stack.now)
    stack.collect("TRUNCATED")
    # This time one half fits: the quarters that it once had are no parts any more.
    older, _ = stack.collect("SUCCESS", "TRUNCATED")
    third, fourth = stack.collect("SUCCESS", "SUCCESS")
    converting = stack.known(day)
    assert converting.receipts == receipts_of(older, third, fourth)
    assert not {*converting.receipts} & {receipt_key(part) for part in old}
    after = deliver(stack, day)
    assert after.attempt == before.attempt + 1
    assert after.run > before.run


def test_a_window_split_unpaid_precedes_its_earlier_self_when_it_is_collected_again(
    stack: Stack,
) -> None:
    day = after_a_day_of(stack, 2400, max_records=1200)
    stack.collect("SUCCESS", "SUCCESS")
    first = deliver(stack, day, rows=2400)
    recollect(day, "token", stack.services, now=stack.now)
    parts = stack.collect("SUCCESS", "SUCCESS")
    converting = stack.known(day)
    assert (first.attempt, converting.attempt) == (1, 2)
    assert [part.attempt for part in parts] == [2, 2]
    assert converting.execution_name != first.execution_name
    started = json.loads(stack.runs.started[converting.execution_name])
    assert (started["attempt"], started["request_id"]) == (2, None)


@pytest.fixture
def quarters(stack: Stack) -> tuple[Report, ...]:
    """The parts of a day that is delivered from four."""
    day = into_quarters(stack)
    parts = stack.collect("SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS")
    deliver(stack, day)
    return tuple(parts)


def test_a_part_that_is_collected_again_makes_the_window_anew(
    stack: Stack, quarters: tuple[Report, ...]
) -> None:
    first, second, third, fourth = quarters
    bought = len(stack.created())
    assert recollect(third.report_id, "token", stack.services, now=stack.now) == [third.report_id]
    (again,) = stack.collect("SUCCESS")
    root = stack.known(third.root or "")
    assert root.receipts == receipts_of(first, second, again, fourth)
    assert root.attempt == 2, "the window that is made of it takes the place of the one before"
    assert len(stack.created()) == bought + 1
    deliver(stack, root.report_id)
    assert recollect(third.report_id, "token", stack.services, now=stack.now) == []


def test_a_half_that_was_split_is_collected_again_and_may_be_split_again(
    stack: Stack, quarters: tuple[Report, ...]
) -> None:
    day = quarters[0].root or ""
    (half,) = [each for each in halves(stack, day) if each.split_path == "0"]
    recollect(half.report_id, "token", stack.services, now=stack.now)
    stack.collect("TRUNCATED")
    first, second = stack.collect("SUCCESS", "SUCCESS")
    assert stack.known(day).receipts == receipts_of(first, second, *quarters[2:])


def test_a_half_that_was_split_may_fit_when_it_is_collected_again(
    stack: Stack, quarters: tuple[Report, ...]
) -> None:
    day = quarters[0].root or ""
    (half,) = [each for each in halves(stack, day) if each.split_path == "0"]
    recollect(half.report_id, "token", stack.services, now=stack.now)
    (fits,) = stack.collect("SUCCESS")
    assert stack.known(day).receipts == receipts_of(fits, *quarters[2:])


def halves(stack: Stack, root: str) -> list[Report]:
    items = (item for item in stack.table() if item.get("root") == root)
    return [stack.known(str(item["report_id"])) for item in items if len(item["split_path"]) == 1]


def test_what_is_a_part_no_more_is_not_bought_again(
    stack: Stack, quarters: tuple[Report, ...]
) -> None:
    day = quarters[0].root or ""
    recollect(day, "whole", stack.services, now=stack.now)
    stack.collect("SUCCESS")
    before = stack.table()
    with pytest.raises(InvalidRequest, match=f"part.*{day}"):
        recollect(quarters[0].report_id, "part", stack.services, now=stack.now)
    assert stack.table() == before


def test_a_quarter_of_a_half_that_fitted_later_is_not_bought_again(
    stack: Stack, quarters: tuple[Report, ...]
) -> None:
    day = quarters[0].root or ""
    (half,) = [each for each in halves(stack, day) if each.split_path == "0"]
    recollect(half.report_id, "half", stack.services, now=stack.now)
    stack.collect("SUCCESS")
    deliver(stack, day)
    before = stack.table()
    with pytest.raises(InvalidRequest, match=f"part.*{day}"):
        recollect(quarters[0].report_id, "part", stack.services, now=stack.now)
    assert stack.table() == before


def test_a_part_is_not_bought_again_while_its_window_is_being_made(stack: Stack) -> None:
    day = plan_a_day(stack)
    stack.collect("TRUNCATED")
    older, younger = stack.collect("SUCCESS", "SUCCESS")
    assert stack.known(day).state is State.CONVERTING
    assert recollect(older.report_id, "early", stack.services, now=stack.now) == []
    deliver(stack, day)
    assert recollect(older.report_id, "later", stack.services, now=stack.now) == [older.report_id]
    (again,) = stack.collect("SUCCESS")
    assert stack.known(day).receipts == receipts_of(again, younger)


def test_a_run_that_failed_to_convert_is_made_good_without_buying_anything(stack: Stack) -> None:
    day = plan_a_day(stack)
    stack.collect("TRUNCATED")
    stack.collect("SUCCESS", "SUCCESS")
    converting = stack.known(day)
    stack.runs.end(converting, "ClientError")
    stack.settle()
    stack.later(minutes=1)
    stack.settle()
    resumed = stack.known(day)
    assert (resumed.state, resumed.run) == (State.CONVERTING, converting.run + 1)
    assert resumed.receipts == converting.receipts
    deliver(stack, day)
    assert len(stack.created()) == 3


def test_a_window_that_is_converted_again_still_says_where_its_rows_lay(stack: Stack) -> None:
    day = into_quarters(stack)
    stack.collect("SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS")
    for key in deliver(stack, day).receipts:
        boto3.client("s3").put_object(Bucket="reports", Key=key, Body=b"{}")
    before = stack.services.ledger.calendar().profiles
    assert reconvert(day, stack.services, now=stack.now) == [day]
    deliver(stack, day)
    assert list(before.values()) == [Profile(((6, 10),) * 4)]
    assert stack.services.ledger.calendar().profiles == before


def test_halves_come_before_the_calendar(stack: Stack) -> None:
    plan_a_day(stack)
    stack.collect("TRUNCATED")
    stack.plan(9)
    halves_first = stack.submit().submitted[:2]
    assert [stack.known(each).split_path for each in halves_first] == ["0", "1"]
    assert stack.slots() == 5


def test_a_half_is_not_collected_again_while_its_own_halves_are_under_way(stack: Stack) -> None:
    day = into_quarters(stack)
    (older, _) = halves_of(stack.known(day), now=stack.now)
    assert stack.known(older.report_id).state is State.SPLIT
    before = stack.table()
    assert recollect(older.report_id, "token", stack.services, now=stack.now) == []
    assert stack.table() == before
