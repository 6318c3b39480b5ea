"""Backfills: the windows of a range of dates, planned as slots become free."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import boto3
import pytest

from tests.support.stack import Stack, definition
from vonage_reports.aws.ledger_items import finished_item
from vonage_reports.domain.backfill import Backfill, Progress
from vonage_reports.domain.calendar import report_for_window
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.report import Priority, Report, State
from vonage_reports.submit_reports import backfills, reprocess
from vonage_reports.submit_reports.context import Invocation
from vonage_reports.submit_reports.reprocess import recollect
from vonage_reports.submit_reports.submit import submit
from vonage_reports.vonage.answers import ReportList
from vonage_reports.vonage.client import VonageClient

LIMIT = 10_000_000


def last_days(stack: Stack, days: int, *, of: ReportDefinition | None = None) -> Backfill:
    """Return a backfill of `days` days. The newest ended four days ago and is final."""
    return stack.backfill(of or definition(), stack.day(days + 4), stack.day(4))


def sweep(stack: Stack, *, limit: int = LIMIT) -> list[Report]:
    """Settle, plan and submit as one invocation does; return the submitted reports."""
    stack.settle()
    stack.plan_backfills(limit)
    done = stack.submit()
    assert done.errors == []
    return [stack.known(report_id) for report_id in done.report_ids]


def end(stack: Stack, *reports: Report, rows: int = 10) -> None:
    """End reports at Vonage at once, and let their runs succeed."""
    stack.simulator.advance(3600)
    for report in reports:
        stack.runs.end(report, rows=rows)


def finish(stack: Stack) -> list[Report]:
    """Sweep until nothing is open; return the submitted reports in order."""
    collected: list[Report] = []
    while submitted := sweep(stack):
        collected += submitted
        end(stack, *submitted)
    work = stack.services.ledger.open_work()
    assert (work.reports, work.slots, work.backfills) == ((), {}, ())
    return collected


def ended(name: str) -> Backfill:
    """Return a backfill that is over."""
    key = {"pk": "backfills", "sk": name}
    item: Any = boto3.resource("dynamodb").Table("ledger").get_item(Key=key)["Item"]
    return Backfill.from_json(item["backfill"])


def days_ago(stack: Stack, reports: list[Report]) -> list[int]:
    return [(stack.now.date() - each.window.first_date).days for each in reports]


def test_newest_windows_first_and_none_left_out(stack: Stack) -> None:
    asked = last_days(stack, 11)
    stack.begin(asked)
    collected = finish(stack)
    assert days_ago(stack, collected) == list(range(5, 16))
    assert {each.priority for each in collected} == {Priority.BACKFILL}
    assert len(stack.created()) == 11
    assert ended(asked.name).progress is Progress.PLANNED
    assert ended(asked.name).skipped == 0


def test_several_definitions_take_turns_newest_first(stack: Stack) -> None:
    first, second = (definition(name=name, filters={"country": name[-1:]}) for name in ("d0", "d1"))
    stack.begin(last_days(stack, 4, of=first), last_days(stack, 6, of=second))
    collected = finish(stack)
    assert days_ago(stack, collected) == [5, 5, 6, 6, 7, 7, 8, 8, 9, 10]


def test_all_accounts_of_a_window_come_before_the_next_window(stack: Stack) -> None:
    of = definition(account_ids=["abcd1234", "subacct1", "subacct2"])
    stack.begin(last_days(stack, 3, of=of))
    collected = finish(stack)
    assert days_ago(stack, collected) == [5, 5, 5, 6, 6, 6, 7, 7, 7]
    assert sorted(each.account_id for each in collected) == sorted([*of.account_ids] * 3)


def test_sweep_plans_no_more_than_it_can_submit(stack: Stack) -> None:
    stack.begin(last_days(stack, 300))
    assert len(sweep(stack)) == 4
    assert len(stack.open()) == 4
    assert sweep(stack) == []
    assert len(stack.open()) == 4


def test_fifth_slot_is_reserved_for_the_calendar(stack: Stack) -> None:
    stack.begin(last_days(stack, 9))
    assert len(sweep(stack)) == 4
    (due,) = stack.plan_definitions([definition(name="d1", filters={"country": "X1"})])
    assert [each.report_id for each in sweep(stack)] == [due]
    assert stack.slots() == 5
    assert sweep(stack) == []


class VonageWithListHook:
    """A Vonage client that runs an action at its first call of `list_reports`."""

    def __init__(self, vonage: VonageClient, action: Callable[[], object]) -> None:
        self._vonage = vonage
        self._actions = iter([action])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vonage, name)

    def list_reports(self, account_id: str) -> ReportList:
        for action in self._actions:
            action()
        return self._vonage.list_reports(account_id)


def test_stale_view_of_slots_leaves_the_fifth_free(stack: Stack) -> None:
    stack.plan(2)
    stack.submit()
    stack.begin(last_days(stack, 9, of=definition(name="d9")))
    assert len(stack.plan_backfills()) == 2

    def calendar_submits_first() -> None:
        stack.plan_definitions([definition(name="d3", filters={"country": "X3"})])
        assert len(stack.submit("two").report_ids) == 2

    vonage: Any = VonageWithListHook(stack.services.vonage, calendar_submits_first)
    services = replace(stack.services, vonage=vonage)
    submit(services, Invocation("one", lambda: 300.0), clock=lambda: stack.now)
    assert stack.slots() == 4


def test_halves_of_a_backfill_leave_the_fifth_slot_free(stack: Stack) -> None:
    stack.begin(last_days(stack, 4))
    for _ in range(4):
        stack.simulator.fault("create", "outcome", request_status="TRUNCATED", seconds=0)
    for report in sweep(stack):
        stack.runs.end(report, "ReportFailed")
    halves = sweep(stack)
    assert [each.is_half for each in halves] == [True] * 4
    assert stack.slots() == 4
    assert len([each for each in stack.open() if each.state is State.PLANNED]) == 4
    for half in halves:
        end(stack, half)
        assert len(sweep(stack)) == 1
        assert stack.slots() == 4


def test_calendar_overtakes_a_backfill(stack: Stack) -> None:
    stack.begin(last_days(stack, 20))
    in_flight = sweep(stack)
    due = stack.plan_definitions(
        [definition(name=name, filters={"country": name}) for name in ("d1", "d2", "d3")]
    )
    overtaking = sweep(stack)
    for report in in_flight[:2]:
        end(stack, report)
        overtaking += sweep(stack)
    assert [each.report_id for each in overtaking] == due
    end(stack, *in_flight, *overtaking)
    assert {each.backfill for each in sweep(stack)} == {last_days(stack, 20).name}


def test_delivered_or_open_windows_are_skipped(stack: Stack) -> None:
    of = definition()
    stack.plan_definitions([of], at=stack.now - timedelta(days=3))
    (delivered,) = stack.collect("SUCCESS")
    stack.plan_definitions([of], at=stack.now - timedelta(days=1))
    under_way = [stack.known(report_id) for report_id in stack.submit().report_ids]
    asked = last_days(stack, 6)
    stack.begin(asked)
    (outlook := backfills.outlook(asked, stack.services)).pop("windows")
    assert (outlook["reports"], outlook["skipped"]) == (3, 3)
    end(stack, *under_way)
    collected = finish(stack)
    assert not {each.window for each in collected} & {delivered.window}
    assert sorted(days_ago(stack, [delivered, *under_way, *collected])) == list(range(5, 11))
    assert ended(asked.name).skipped == 3
    assert len(stack.created()) == 6


def test_failed_or_cancelled_windows_are_collected_again(stack: Stack) -> None:
    stack.begin(last_days(stack, 2))
    stack.plan_backfills()
    failed, _ = stack.collect("EXPLODED", "SUCCESS")
    assert stack.known(failed.report_id).state is State.FAILED
    stack.begin(asked := last_days(stack, 6))
    assert days_ago(stack, stack.plan_backfills()) == [5, 7, 8, 9]
    backfills.cancel(asked.name, stack.services, now=stack.now)
    assert stack.open() == []
    stack.begin(asked)
    assert days_ago(stack, finish(stack)) == [5, 7, 8, 9, 10]


def test_cancelling_withdraws_unsubmitted_reports(stack: Stack) -> None:
    asked = last_days(stack, 9)
    stack.begin(asked)
    submitted = sweep(stack)
    end(stack, submitted[0])
    stack.settle()
    stack.plan_backfills()
    backfills.cancel(asked.name, stack.services, now=stack.now)
    left = stack.open()
    assert {each.report_id for each in left} == {each.report_id for each in submitted[1:]}
    assert ended(asked.name).progress is Progress.CANCELLED
    end(stack, *left)
    assert finish(stack) == []
    assert len(stack.created()) == 4


def test_cancelling_keeps_paid_reports(stack: Stack) -> None:
    asked = last_days(stack, 9)
    stack.begin(asked)
    stack.plan_backfills()
    failed, truncated, *_ = stack.collect("FAILED", "TRUNCATED", "SUCCESS", "SUCCESS")
    stack.simulator.jobs(3, 3600)
    (half,) = stack.submit().report_ids
    backfills.cancel(asked.name, stack.services, now=stack.now)
    states = {each.report_id: each.state for each in stack.open()}
    assert states.pop(failed.report_id) is State.PLANNED
    assert states.pop(truncated.report_id) is State.SPLIT
    assert states.pop(half) is State.SUBMITTED
    assert [*states.values()] == [State.PLANNED], (
        "the other half, without which the paid half is worthless"
    )


def test_cancelling_withdraws_split_but_unsubmitted_windows(
    stack: Stack,
) -> None:
    of = definition(max_records=1500)
    stack.begin(last_days(stack, 1, of=of))
    end(stack, *sweep(stack), rows=2400)
    stack.settle()
    asked = last_days(stack, 4, of=of)
    stack.begin(asked)
    stack.simulator.fault("create", "status", status=429)
    sweep(stack)
    assert {each.state for each in stack.open() if not each.is_half} == {State.SPLIT}
    backfills.cancel(asked.name, stack.services, now=stack.now)
    assert stack.open() == []
    stack.later(minutes=2)
    assert sweep(stack) == []
    stack.begin(asked)
    assert {each.split_path for each in sweep(stack)} == {"0", "1"}


def test_fully_planned_backfill_can_be_cancelled(stack: Stack) -> None:
    stack.begin(asked := last_days(stack, 3))
    assert len(stack.plan_backfills()) == 3
    assert ended(asked.name).progress is Progress.PLANNED
    backfills.cancel(asked.name, stack.services, now=stack.now)
    assert stack.open() == []


def test_cancelling_withdraws_a_window_that_failed_before(
    stack: Stack,
) -> None:
    stack.begin(last_days(stack, 1))
    stack.plan_backfills()
    (failed,) = stack.collect("EXPLODED")
    stack.begin(asked := last_days(stack, 9))
    stack.plan_backfills()
    assert stack.known(failed.report_id).state is State.PLANNED
    backfills.cancel(asked.name, stack.services, now=stack.now)
    assert stack.open() == []
    assert stack.submit().report_ids == []


def test_cancelling_an_unknown_backfill_is_refused(stack: Stack) -> None:
    stack.begin(last_days(stack, 3))
    before = stack.table()
    with pytest.raises(InvalidRequest, match=f"no backfill d9.*{last_days(stack, 3).name}"):
        backfills.cancel("d9", stack.services, now=stack.now)
    assert stack.table() == before


def test_repeated_backfill_event_changes_nothing(stack: Stack) -> None:
    stack.begin(last_days(stack, 9))
    sweep(stack)
    before = stack.table()
    stack.later(minutes=1)
    stack.begin(last_days(stack, 9))
    assert stack.table() == before
    assert sweep(stack) == []


def test_repeating_a_finished_backfill_buys_nothing(stack: Stack) -> None:
    stack.begin(last_days(stack, 3))
    finish(stack)
    stack.begin(last_days(stack, 3))
    assert finish(stack) == []
    assert ended(last_days(stack, 3).name).skipped == 3
    assert len(stack.created()) == 3


def test_backfill_above_the_limit_is_refused_unwritten(stack: Stack) -> None:
    stack.begin(last_days(stack, 1))
    end(stack, *sweep(stack), rows=2400)
    stack.settle()
    before = stack.table()
    asked = last_days(stack, 10)
    with pytest.raises(InvalidRequest, match=r'24,000 records.*20,000.*"confirm": true'):
        stack.begin(asked, limit=20_000)
    assert stack.table() == before
    stack.begin(replace(asked, confirmed=True), limit=20_000)
    assert len(sweep(stack, limit=20_000)) == 4


def test_backfill_stops_when_first_windows_exceed_the_limit(stack: Stack) -> None:
    asked = last_days(stack, 10)
    stack.begin(asked, limit=10_000)
    first = sweep(stack, limit=10_000)
    end(stack, first[0], rows=2400)
    assert sweep(stack, limit=10_000) == []
    (notification,) = stack.announced()
    assert (notification["event"], notification["definition"]) == ("definition.refused", "d0")
    assert "14,400 records" in notification["message"]
    assert ended(asked.name).progress is Progress.STOPPED
    end(stack, *first[1:], rows=2400)
    stack.settle()
    stack.begin(replace(last_days(stack, 10), confirmed=True), limit=10_000)
    while submitted := sweep(stack, limit=10_000):
        end(stack, *submitted)
    assert len(stack.created()) == 10
    assert stack.announced() == []


def test_backfill_stops_at_records_deleted_by_vonage(stack: Stack) -> None:
    asked = stack.backfill(definition(product="VIDEO-API"), stack.day(85), stack.day(80))
    stack.begin(asked)
    first = sweep(stack)
    stack.later(days=9)
    end(stack, *first)
    assert sweep(stack) == []
    (notification,) = stack.announced()
    assert "has deleted the VIDEO-API records" in notification["message"]
    assert ended(asked.name).progress is Progress.STOPPED


def test_dry_run_returns_the_outlook_and_writes_nothing(stack: Stack) -> None:
    stack.begin(last_days(stack, 1))
    end(stack, *sweep(stack), rows=2400)
    stack.settle()
    before = stack.table()
    asked = last_days(stack, 3)
    outlook = backfills.outlook(asked, stack.services)
    assert stack.table() == before
    newest = asked.windows[0].interval
    assert outlook == {
        "backfill": asked.name,
        "windows": [newest, *(each.interval for each in asked.windows[1:])],
        "reports": 2,
        "skipped": 1,
        "expected_rows": 4800,
        "expected_billed_records": 4800,
    }
    assert len(stack.created()) == 1


def test_free_records_are_expected_but_not_billed(stack: Stack) -> None:
    of = definition(product="REPORTS-USAGE", filters={})
    stack.begin(last_days(stack, 1, of=of))
    (report,) = sweep(stack)
    end(stack, report, rows=2400)
    stack.settle()
    outlook = backfills.outlook(last_days(stack, 3, of=of), stack.services)
    assert (outlook["expected_rows"], outlook["expected_billed_records"]) == (4800, 0)
    again = reprocess.outlook(report.report_id, stack.services)
    assert (again["expected_rows"], again["expected_billed_records"]) == (2400, 0)


def test_dry_run_without_history_expects_null_rows(
    stack: Stack,
) -> None:
    stack.begin(last_days(stack, 1))
    end(stack, *sweep(stack), rows=2400)
    stack.settle()
    of = definition(account_ids=["abcd1234", "subacct1"])
    outlook = backfills.outlook(last_days(stack, 2, of=of), stack.services)
    assert (outlook["reports"], outlook["expected_rows"]) == (3, None)


def test_large_backfill_window_is_split_before_it_is_bought(
    stack: Stack,
) -> None:
    of = definition(max_records=1500)
    stack.begin(last_days(stack, 1, of=of))
    end(stack, *sweep(stack), rows=2400)
    stack.settle()
    stack.begin(last_days(stack, 2, of=of))
    halves = sweep(stack)
    assert [each.split_path for each in halves] == ["1", "0"]
    assert len(stack.created()) == 1 + 2


def test_recollected_window_leaves_its_backfill(stack: Stack) -> None:
    stack.begin(last_days(stack, 1))
    (collected,) = finish(stack)
    recollect(collected.report_id, "token", stack.services, now=stack.now, confirmed=True)
    again = stack.known(collected.report_id)
    assert (again.priority, again.backfill) == (Priority.CALENDAR, None)


@pytest.mark.parametrize(
    ("before", "after"), [([3], [0, 3]), ([0, 1, 3], [3]), ([0, 3], [3]), ([0, 3], [0, 1, 3])]
)
@pytest.mark.parametrize("is_under_way", [False, True], ids=["delivered", "under way"])
def test_final_is_not_bought_again_after_a_delay_change(
    stack: Stack, before: list[int], after: list[int], *, is_under_way: bool
) -> None:
    stack.begin(last_days(stack, 3, of=definition(delay_days=before)))
    if is_under_way:
        sweep(stack)
    else:
        finish(stack)
    stack.begin(last_days(stack, 4, of=definition(delay_days=after)))
    assert days_ago(stack, sweep(stack)) == [8]
    assert len(stack.created()) == 4


def test_planning_without_time_is_left_to_the_next_sweep(stack: Stack) -> None:
    seconds: Callable[[], float] = iter([300.0, 300.0, *[1.0] * 99]).__next__
    stack.begin(last_days(stack, 9))
    done = backfills.plan_backfills(
        stack.services,
        Invocation("one", seconds),
        max_billed_records=LIMIT,
        clock=lambda: stack.now,
    )
    assert len(done.report_ids) == 1
    assert days_ago(stack, finish(stack)) == list(range(5, 14))


def test_delivered_range_is_skipped_in_few_reads(stack: Stack) -> None:
    asked = last_days(stack, 380)
    table = boto3.resource("dynamodb").Table("ledger")
    with table.batch_writer() as batch:
        for window in asked.windows:
            planned = report_for_window(
                asked.definition, "abcd1234", 0, window, rows_per_hour=None, now=stack.now
            )
            batch.put_item(Item=finished_item(replace(planned, state=State.DELIVERED)))
    calls: list[str] = []
    stack.services.ledger._client.meta.events.register(
        "before-call.dynamodb", lambda model, **_: calls.append(model.name)
    )
    assert backfills.outlook(asked, stack.services)["skipped"] == 380
    stack.begin(asked)
    assert sweep(stack) == []
    assert ended(asked.name).skipped == 380
    assert len(calls) < 30
    assert stack.created() == []


def test_definitions_with_a_common_prefix_are_kept_apart(stack: Stack) -> None:
    start = stack.day(7)
    alike = definition(name=f"d0-{start:%Y%m%d}", filters={"country": "X1"})
    stack.begin(last_days(stack, 3, of=alike))
    finish(stack)
    stack.begin(last_days(stack, 3))
    assert days_ago(stack, finish(stack)) == [5, 6, 7]


# Backfills beside other reports


def test_throttled_reports_do_not_block_a_backfill(stack: Stack) -> None:
    stack.plan(4)
    for report in stack.open():
        stack.services.ledger.write(
            report, replace(report, not_before=stack.now + timedelta(hours=1))
        )
    stack.begin(last_days(stack, 3, of=definition(name="other", filters={"country": "X9"})))
    assert len(stack.plan_backfills()) == 3


def test_throttled_backfill_neither_grows_nor_blocks_others(stack: Stack) -> None:
    stack.begin(last_days(stack, 12))
    for _ in range(3):
        stack.plan_backfills()
        for report in stack.open():
            later = stack.now + timedelta(hours=1)
            stack.services.ledger.write(report, replace(report, not_before=later))
    assert len(stack.open()) == 4
    stack.begin(last_days(stack, 2, of=definition(name="other", filters={"country": "X9"})))
    assert len(stack.plan_backfills()) == 2


def test_halves_of_a_backfill_wait_for_the_calendar(stack: Stack) -> None:
    of = definition(max_records=1500)
    stack.begin(last_days(stack, 1, of=of))
    end(stack, *sweep(stack), rows=2400)
    stack.settle()
    stack.begin(last_days(stack, 3, of=of))
    stack.plan_backfills()
    daily_one = definition(name="daily", filters={"country": "X8"})
    (daily,) = stack.plan_definitions([daily_one])
    assert stack.submit().report_ids[0] == daily


def test_calendar_adopts_a_window_planned_by_a_backfill(
    stack: Stack,
) -> None:
    wanted = last_days(stack, 9)
    stack.begin(wanted)
    stack.plan_backfills()
    before = max(stack.open(), key=lambda each: each.window.start)
    window_end = before.window.end + timedelta(days=3, hours=2)
    assert stack.plan_definitions([wanted.definition], at=window_end) == [before.report_id]
    backfills.cancel(wanted.name, stack.services, now=stack.now)
    (kept,) = stack.open()
    assert (kept.state, kept.priority, kept.backfill) == (State.PLANNED, Priority.CALENDAR, None)


def test_calendar_adopts_a_window_split_by_a_backfill(
    stack: Stack,
) -> None:
    of = definition(max_records=1500)
    stack.begin(last_days(stack, 1, of=of))
    end(stack, *sweep(stack), rows=2400)
    stack.settle()
    stack.begin(asked := last_days(stack, 2, of=of))
    stack.simulator.fault("create", "status", status=429)
    sweep(stack)
    (split,) = (each for each in stack.open() if each.state is State.SPLIT)
    due = split.window.end + timedelta(days=3, hours=2)
    assert stack.plan_definitions([of], at=due) == [split.report_id]
    backfills.cancel(asked.name, stack.services, now=stack.now)
    assert stack.known(split.report_id).state is State.SPLIT
    assert len(stack.open()) == 3


def test_calendar_collects_a_window_of_a_cancelled_backfill(stack: Stack) -> None:
    wanted = last_days(stack, 9)
    stack.begin(wanted)
    stack.plan_backfills()
    before = max(stack.open(), key=lambda each: each.window.start)
    backfills.cancel(wanted.name, stack.services, now=stack.now)
    assert stack.known(before.report_id).state is State.CANCELLED
    window_end = before.window.end + timedelta(days=3, hours=2)
    assert stack.plan_definitions([wanted.definition], at=window_end) == [before.report_id]
    assert stack.known(before.report_id).state is State.PLANNED


def test_repeated_cancellation_changes_nothing(stack: Stack) -> None:
    wanted = last_days(stack, 9)
    stack.begin(wanted)
    stack.plan_backfills()
    backfills.cancel(wanted.name, stack.services, now=stack.now)
    backfills.cancel(wanted.name, stack.services, now=stack.now)
    assert stack.open() == []


def test_running_backfill_can_be_confirmed(stack: Stack) -> None:
    wanted = last_days(stack, 9)
    stack.begin(wanted)
    stack.begin(replace(wanted, confirmed=True))
    (running,) = stack.services.ledger.open_work().backfills
    assert (running.confirmed, running.total) == (True, 9)
