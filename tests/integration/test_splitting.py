"""Windows too large for one report are split, collected in parts, and converted as one."""

import json
from typing import Any

import boto3
import pytest

from tests.support.stack import Stack, definition
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.splitting import halves_of
from vonage_reports.domain.traffic_profile import TrafficProfile
from vonage_reports.submit_reports.reprocess import recollect, reconvert


def plan_a_day(stack: Stack, **entry: Any) -> str:
    (report_id,) = stack.plan(**entry)
    return report_id


def split_into_quarters(stack: Stack) -> str:
    """Truncate a day and both its halves; return the day's report_id."""
    day = plan_a_day(stack)
    stack.collect("TRUNCATED")
    stack.collect("TRUNCATED", "TRUNCATED")
    return day


def deliver(stack: Stack, report_id: str, *, rows: int = 40) -> Report:
    """End the run that converts a window, and return the settled report."""
    converting = stack.known(report_id)
    assert converting.state is State.CONVERTING
    stack.runs.end(converting, rows=rows)
    assert stack.settle() == [report_id]
    return stack.known(report_id)


def receipts_of(*parts: Report) -> tuple[str, ...]:
    return tuple(receipt_key(part) for part in sorted(parts, key=lambda part: part.window.start))


def test_day_truncated_twice_is_delivered_from_four_parts(stack: Stack) -> None:
    day = split_into_quarters(stack)
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
    assert len(stack.created()) == 1 + 2 + 4 + 1, "each part once, and the failed part again"
    (notification,) = stack.announced()
    assert (notification["report_id"], notification["run_again"]) == (failed.report_id, None)


def test_only_the_truncated_half_is_split_again(stack: Stack) -> None:
    day = plan_a_day(stack)
    stack.collect("TRUNCATED")
    older, _ = stack.collect("SUCCESS", "TRUNCATED")
    third, fourth = stack.collect("SUCCESS", "SUCCESS")
    assert stack.known(day).receipts == receipts_of(older, third, fourth)
    deliver(stack, day)
    assert stack.announced() == []


def test_only_the_whole_window_is_announced(stack: Stack) -> None:
    day = plan_a_day(stack)
    stack.collect("TRUNCATED")
    parts = stack.collect("SUCCESS", "SUCCESS")
    inputs = [stack.runs.started[each.execution_name] for each in (*parts, stack.known(day))]
    assert [json.loads(each)["announce"] for each in inputs] == [False, False, True]


def test_volume_is_recorded_for_the_whole_window_only(stack: Stack) -> None:
    day = plan_a_day(stack)
    stack.collect("TRUNCATED")
    stack.collect("SUCCESS", "SUCCESS")
    assert stack.services.ledger.calendar().volumes == {}
    deliver(stack, day)
    assert stack.services.ledger.calendar().volumes == {("d0", "abcd1234"): round(40 / 24, 3)}


def fail_for_good(stack: Stack, *others: str) -> Report:
    """Fail the oldest planned part at each of its attempts."""
    failed, *_ = stack.collect("FAILED", *others)
    for _ in range(2):
        stack.later(hours=1)
        stack.collect("FAILED")
    assert stack.known(failed.report_id).state is State.FAILED
    return failed


def test_failed_part_fails_the_window_after_the_other_parts(
    stack: Stack,
) -> None:
    day = split_into_quarters(stack)
    first = next(each for each in stack.open() if each.is_half)
    stack.simulator.settings(jobs_limit=9)
    stack.simulator.fault("create", "outcome", request_status="FAILED", seconds=0)
    still_running = [each for each in stack.submit().report_ids if each != first.report_id]
    for _ in range(3):
        stack.runs.end(stack.known(first.report_id), "ReportFailed")
        stack.settle()
        stack.later(hours=1)
        stack.simulator.fault("create", "outcome", request_status="FAILED", seconds=0)
        stack.submit()
    assert stack.known(first.report_id).state is State.FAILED
    assert stack.known(day).state is State.SPLIT, "the paid parts are still running"
    assert {notification["report_id"] for notification in stack.announced()} == {first.report_id}
    for report_id in still_running:
        stack.runs.end(stack.known(report_id))
    stack.settle()
    assert stack.known(day).state is State.FAILED
    (notification,) = stack.announced()
    assert notification["report_id"] == day
    again = {"recollect": {"report_id": first.report_id, "token": "failure-1"}}
    assert notification["run_again"] == again
    assert (stack.open(), stack.slots()) == ([], 0)


def test_failed_windows_event_recollects_only_the_failed_part(stack: Stack) -> None:
    day = split_into_quarters(stack)
    failed = fail_for_good(stack, "SUCCESS", "SUCCESS", "SUCCESS")
    notification = stack.announced()[-1]
    assert (notification["report_id"], stack.known(day).state) == (day, State.FAILED)
    bought = len(stack.created())
    again = notification["run_again"]["recollect"]["report_id"]
    assert recollect(again, "token", stack.services, now=stack.now, confirmed=True).report_ids == [
        failed.report_id
    ]
    (recollected,) = stack.collect("SUCCESS")
    assert recollected.report_id == failed.report_id
    receipts = stack.known(day).receipts
    assert len(receipts) == 4
    assert receipts[0] == receipt_key(recollected)
    assert deliver(stack, day).state is State.DELIVERED
    assert len(stack.created()) == bought + 1
    assert stack.announced() == []


def test_remaining_parts_of_a_failed_window_are_not_bought(stack: Stack) -> None:
    day = split_into_quarters(stack)
    stack.simulator.fault("create", "status", status=422)
    stack.simulator.fault("create", "status", status=429)
    stack.submit()
    bought = len(stack.created())
    stack.settle()
    assert (stack.known(day).state, stack.open()) == (State.FAILED, [])
    (notification,) = stack.announced()
    stack.later(minutes=2)
    assert stack.submit().report_ids == []
    again = notification["run_again"]["recollect"]["report_id"]
    assert stack.known(again).state is State.FAILED
    assert recollect(again, "token", stack.services, now=stack.now, confirmed=True).report_ids == [
        again
    ]
    stack.collect(*["SUCCESS"] * 4)
    assert len(stack.known(day).receipts) == 4
    assert deliver(stack, day).state is State.DELIVERED
    assert len(stack.created()) == bought + 4


def test_recollected_half_is_not_bought_in_quarters_too(stack: Stack) -> None:
    day = split_into_quarters(stack)
    stack.simulator.fault("create", "status", status=422)
    stack.simulator.fault("create", "status", status=429)
    stack.submit()
    stack.settle()
    assert stack.known(day).state is State.FAILED
    stack.later(minutes=2)
    (half,) = [each for each in halves(stack, day) if each.split_path == "0"]
    recollect(half.report_id, "token", stack.services, now=stack.now, confirmed=True)
    whole, third, fourth = stack.collect("SUCCESS", "SUCCESS", "SUCCESS")
    assert whole.report_id == half.report_id
    assert stack.known(day).receipts == receipts_of(whole, third, fourth)


def test_window_above_four_parts_fails_with_the_remedy(stack: Stack) -> None:
    day = split_into_quarters(stack)
    stack.collect("TRUNCATED", "SUCCESS", "SUCCESS", "SUCCESS")
    assert stack.known(day).state is State.FAILED
    (notification,) = stack.announced()
    assert (notification["report_id"], notification["error"]) == (day, "ReportTruncated")
    assert "shorter window" in notification["message"]
    assert notification["run_again"] is None, "the report would be truncated, and billed, again"
    assert len(stack.created()) == 1 + 2 + 4


def test_hour_is_not_split(stack: Stack) -> None:
    hour = plan_a_day(stack, window="hour")
    stack.collect("TRUNCATED")
    assert stack.known(hour).state is State.FAILED
    (notification,) = stack.announced()
    assert notification["error"] == "ReportTruncated"
    assert (stack.open(), stack.slots(), len(stack.created())) == ([], 0, 1)


def test_of_two_parts_truncated_at_once_one_is_split(stack: Stack) -> None:
    day = plan_a_day(stack)
    stack.collect("TRUNCATED")
    stack.collect("TRUNCATED", "SUCCESS")
    for _ in range(2):
        stack.simulator.fault("create", "outcome", request_status="TRUNCATED", seconds=0)
    for report_id in stack.submit().report_ids:
        stack.runs.end(stack.known(report_id), "ReportFailed")
    # There are three parts; splitting either truncated part makes four, the maximum.
    stack.settle_seen(stack.services.ledger.open_work())
    assert stack.known(day).leaves == 4
    stack.settle()
    assert stack.known(day).state is State.FAILED
    assert stack.submit().report_ids == [], "the planned parts would be bought for nothing"
    assert len(stack.created()) == 1 + 2 + 2
    (notification,) = stack.announced()
    assert notification["error"] == "ReportTruncated"


def test_concurrent_submitters_split_a_report_once(stack: Stack) -> None:
    plan_a_day(stack)
    stack.simulator.fault("create", "outcome", request_status="TRUNCATED", seconds=0)
    stack.submit()
    stack.runs.end(stack.open()[0], "ReportFailed")
    seen = stack.services.ledger.open_work()
    for _ in range(2):
        stack.settle_seen(seen)
    assert [each.state for each in stack.open() if each.is_half] == [State.PLANNED] * 2


def after_a_day_of(stack: Stack, rows: int, **entry: Any) -> str:
    """Deliver a day of `rows` rows, plan the next day and return the next day's report_id."""
    of = definition(**entry)
    stack.plan_definitions([of])
    stack.simulator.fault("create", "outcome", request_status="SUCCESS", seconds=0)
    (report_id,) = stack.submit().report_ids
    first = stack.known(report_id)
    stack.runs.end(first, rows=rows)
    stack.settle()
    due = first.window.end.replace(hour=2) + (first.window.end - first.window.start) * 4
    (planned,) = stack.plan_definitions([of], at=due)
    return planned


def test_window_expected_too_large_is_split_before_it_is_bought(stack: Stack) -> None:
    day = after_a_day_of(stack, 2400, max_records=1000)
    parts = stack.collect("SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS")
    assert [part.expected_rows for part in parts] == [600] * 4
    assert len(stack.created()) == 1 + 4
    converting = stack.known(day)
    assert (converting.attempt, converting.request_id) == (1, None)
    assert converting.receipts == receipts_of(*parts)
    assert deliver(stack, day).state is State.DELIVERED


def test_large_day_does_not_block_the_next_day(stack: Stack) -> None:
    day = after_a_day_of(stack, 24_000, max_records=1000)
    stack.collect("SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS")
    assert deliver(stack, day).state is State.DELIVERED
    assert len(stack.created()) == 1 + 4


def test_split_window_is_recollected_as_a_whole(stack: Stack) -> None:
    day = split_into_quarters(stack)
    stack.collect("SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS")
    before = deliver(stack, day)
    recollect(day, "token", stack.services, now=stack.now, confirmed=True)
    (whole,) = stack.collect("SUCCESS")
    assert (whole.report_id, whole.attempt) == (day, before.attempt + 1)
    assert json.loads(stack.runs.started[whole.execution_name])["receipts"] == []
    assert stack.known(day).state is State.DELIVERED
    assert stack.open() == []


def test_recollected_split_window_leaves_its_backfill(
    stack: Stack,
) -> None:
    stack.begin(stack.backfill(definition(), stack.day(5), stack.day(4)))
    (planned,) = stack.plan_backfills()
    stack.collect("TRUNCATED")
    stack.collect("SUCCESS", "SUCCESS")
    deliver(stack, planned.report_id)
    recollect(planned.report_id, "token", stack.services, now=stack.now, confirmed=True)
    stack.collect("TRUNCATED")
    assert [each.backfill for each in stack.open()] == [None] * 3


def test_recollection_truncated_again_buys_new_parts(stack: Stack) -> None:
    day = split_into_quarters(stack)
    old = stack.collect("SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS")
    before = deliver(stack, day)
    recollect(day, "token", stack.services, now=stack.now, confirmed=True)
    stack.collect("TRUNCATED")
    # One half fits this time, so its former quarters are no longer parts.
    older, _ = stack.collect("SUCCESS", "TRUNCATED")
    third, fourth = stack.collect("SUCCESS", "SUCCESS")
    converting = stack.known(day)
    assert converting.receipts == receipts_of(older, third, fourth)
    assert not {*converting.receipts} & {receipt_key(part) for part in old}
    after = deliver(stack, day)
    assert after.attempt == before.attempt + 1
    assert after.run > before.run


def test_recollected_presplit_window_has_a_higher_attempt(
    stack: Stack,
) -> None:
    day = after_a_day_of(stack, 2400, max_records=1200)
    stack.collect("SUCCESS", "SUCCESS")
    first = deliver(stack, day, rows=2400)
    recollect(day, "token", stack.services, now=stack.now, confirmed=True)
    parts = stack.collect("SUCCESS", "SUCCESS")
    converting = stack.known(day)
    assert (first.attempt, converting.attempt) == (1, 2)
    assert [part.attempt for part in parts] == [2, 2]
    assert converting.execution_name != first.execution_name
    started = json.loads(stack.runs.started[converting.execution_name])
    assert (started["attempt"], started["request_id"]) == (2, None)


@pytest.fixture
def quarters(stack: Stack) -> tuple[Report, ...]:
    """The four parts of a delivered day."""
    day = split_into_quarters(stack)
    parts = stack.collect("SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS")
    deliver(stack, day)
    return tuple(parts)


def test_recollected_part_reconverts_the_window(stack: Stack, quarters: tuple[Report, ...]) -> None:
    first, second, third, fourth = quarters
    bought = len(stack.created())
    assert recollect(
        third.report_id, "token", stack.services, now=stack.now, confirmed=True
    ).report_ids == [third.report_id]
    (again,) = stack.collect("SUCCESS")
    root = stack.known(third.root or "")
    assert root.receipts == receipts_of(first, second, again, fourth)
    assert root.attempt == 2, "the new delivery replaces the earlier delivery"
    assert len(stack.created()) == bought + 1
    deliver(stack, root.report_id)
    assert (
        recollect(
            third.report_id, "token", stack.services, now=stack.now, confirmed=True
        ).report_ids
        == []
    )


def test_recollected_half_may_be_split_again(stack: Stack, quarters: tuple[Report, ...]) -> None:
    day = quarters[0].root or ""
    (half,) = [each for each in halves(stack, day) if each.split_path == "0"]
    recollect(half.report_id, "token", stack.services, now=stack.now, confirmed=True)
    stack.collect("TRUNCATED")
    first, second = stack.collect("SUCCESS", "SUCCESS")
    assert stack.known(day).receipts == receipts_of(first, second, *quarters[2:])


def test_recollected_half_may_fit_unsplit(stack: Stack, quarters: tuple[Report, ...]) -> None:
    day = quarters[0].root or ""
    (half,) = [each for each in halves(stack, day) if each.split_path == "0"]
    recollect(half.report_id, "token", stack.services, now=stack.now, confirmed=True)
    (fits,) = stack.collect("SUCCESS")
    assert stack.known(day).receipts == receipts_of(fits, *quarters[2:])


def halves(stack: Stack, root: str) -> list[Report]:
    items = (item for item in stack.table() if item.get("root") == root)
    return [stack.known(str(item["report_id"])) for item in items if len(item["split_path"]) == 1]


def test_former_part_of_a_whole_window_is_not_bought_again(
    stack: Stack, quarters: tuple[Report, ...]
) -> None:
    day = quarters[0].root or ""
    recollect(day, "whole", stack.services, now=stack.now, confirmed=True)
    stack.collect("SUCCESS")
    before = stack.table()
    with pytest.raises(InvalidRequest, match=f"part.*{day}"):
        recollect(quarters[0].report_id, "part", stack.services, now=stack.now, confirmed=True)
    assert stack.table() == before


def test_former_quarter_of_a_half_is_not_bought_again(
    stack: Stack, quarters: tuple[Report, ...]
) -> None:
    day = quarters[0].root or ""
    (half,) = [each for each in halves(stack, day) if each.split_path == "0"]
    recollect(half.report_id, "half", stack.services, now=stack.now, confirmed=True)
    stack.collect("SUCCESS")
    deliver(stack, day)
    before = stack.table()
    with pytest.raises(InvalidRequest, match=f"part.*{day}"):
        recollect(quarters[0].report_id, "part", stack.services, now=stack.now, confirmed=True)
    assert stack.table() == before


def test_part_is_not_recollected_while_its_window_converts(stack: Stack) -> None:
    day = plan_a_day(stack)
    stack.collect("TRUNCATED")
    older, younger = stack.collect("SUCCESS", "SUCCESS")
    assert stack.known(day).state is State.CONVERTING
    assert (
        recollect(
            older.report_id, "early", stack.services, now=stack.now, confirmed=True
        ).report_ids
        == []
    )
    deliver(stack, day)
    assert recollect(
        older.report_id, "later", stack.services, now=stack.now, confirmed=True
    ).report_ids == [older.report_id]
    (again,) = stack.collect("SUCCESS")
    assert stack.known(day).receipts == receipts_of(again, younger)


def test_failed_conversion_is_resumed_without_buying(stack: Stack) -> None:
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


def test_reconversion_keeps_the_traffic_profile(stack: Stack) -> None:
    day = split_into_quarters(stack)
    stack.collect("SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS")
    for key in deliver(stack, day).receipts:
        boto3.client("s3").put_object(Bucket="reports", Key=key, Body=b"{}")
    before = stack.services.ledger.calendar().profiles
    assert reconvert(day, stack.services, now=stack.now) == [day]
    deliver(stack, day)
    assert list(before.values()) == [TrafficProfile(((6, 10),) * 4)]
    assert stack.services.ledger.calendar().profiles == before


def test_halves_come_before_the_calendar(stack: Stack) -> None:
    plan_a_day(stack)
    stack.collect("TRUNCATED")
    stack.plan(9)
    halves_first = stack.submit().report_ids[:2]
    assert [stack.known(each).split_path for each in halves_first] == ["0", "1"]
    assert stack.slots() == 5


def test_half_is_not_recollected_while_its_halves_are_open(stack: Stack) -> None:
    day = split_into_quarters(stack)
    (older, _) = halves_of(stack.known(day), now=stack.now)
    assert stack.known(older.report_id).state is State.SPLIT
    before = stack.table()
    assert (
        recollect(
            older.report_id, "token", stack.services, now=stack.now, confirmed=True
        ).report_ids
        == []
    )
    assert stack.table() == before
