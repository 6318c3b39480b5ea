"""Withdraw: the operator's event that ends an open report, in every state."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.stack import LIFETIME, SCHEDULED, Stack, definition
from vonage_reports.domain.decisions import Execution
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.lifecycle import TRANSITIONS
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.report import Report, State
from vonage_reports.submit_reports.context import Invocation, StepResult
from vonage_reports.submit_reports.reprocess import recollect, reconvert
from vonage_reports.submit_reports.split_windows import parts_of
from vonage_reports.submit_reports.withdraw import withdraw, withdraw_windows

ENDLESS = Invocation("one", lambda: LIFETIME)


def ask(stack: Stack, report: Report) -> StepResult:
    return withdraw(report.report_id, stack.services, now=stack.now)


def the_window(stack: Stack) -> Report:
    """Return the only whole window of the ledger, open or finished."""
    (report,), _ = stack.services.ledger.reports_between(
        "d0", SCHEDULED - timedelta(days=9), SCHEDULED
    )
    return report


def planned(stack: Stack) -> Report:
    stack.plan()
    return the_window(stack)


def submitting(stack: Stack) -> Report:
    """Return a report that Vonage took without an answer."""
    stack.plan()
    stack.simulator.fault("create", "accept_then_cut")
    stack.submit()
    return the_window(stack)


def held(stack: Stack) -> Report:
    submitting(stack)
    stack.simulator.fault("list", "status", status=404, times=1)
    stack.later(minutes=10)
    stack.submit()
    stack.announced()
    return the_window(stack)


def submitted(stack: Stack) -> Report:
    """Return a report that Vonage works on."""
    stack.plan()
    stack.simulator.fault("create", "outcome", request_status="SUCCESS", seconds=3600)
    stack.submit()
    return the_window(stack)


def split(stack: Stack) -> Report:
    """Return a window of which one half is stored, and one is with Vonage."""
    stack.plan()
    stack.collect("TRUNCATED")
    stack.simulator.fault("create", "outcome", request_status="SUCCESS", seconds=3600, times=2)
    stack.submit()
    first, _ = sorted(
        (each for each in stack.open() if each.is_half), key=lambda each: each.window.start
    )
    stack.runs.end(first)
    stack.settle()
    return the_window(stack)


def converting(stack: Stack) -> Report:
    stack.plan()
    (report,) = stack.collect("SUCCESS")
    stack.services.bucket.write_json(receipt_key(report), {})
    reconvert(report.report_id, stack.services, now=stack.now)
    return the_window(stack)


def is_stopped_at_vonage(stack: Stack) -> bool:
    return str(stack.created()[-1]["request_status"]) == "ABORTED"


def ended(stack: Stack, result: StepResult) -> Report:
    report = the_window(stack)
    assert (result.ended, result.errors) == ([report.report_id], [])
    assert (report.state, report.withdrawn_at, report.slot) == (State.CANCELLED, stack.now, None)
    assert stack.open() == []
    return report


def said(result: StepResult) -> str:
    assert result.ended == []
    (error,) = result.errors
    return str(error)


def test_planned_report_is_withdrawn_and_never_requested(stack: Stack) -> None:
    ended(stack, ask(stack, planned(stack)))
    stack.submit()
    assert stack.created() == []


def test_withdrawing_twice_does_nothing(stack: Stack) -> None:
    report = planned(stack)
    ask(stack, report)
    before = stack.table()
    assert ask(stack, report) == StepResult()
    assert stack.table() == before


def test_submitted_report_is_stopped_and_frees_its_slot(stack: Stack) -> None:
    ended(stack, ask(stack, submitted(stack)))
    assert (stack.slots(), is_stopped_at_vonage(stack)) == (0, True)
    for _ in range(3):
        stack.later(hours=2)
        stack.settle()
        stack.submit()
    assert len(stack.created()) == 1
    assert stack.announced() == []


def finish_at_vonage(stack: Stack) -> None:
    stack.simulator.advance(4000)
    stack.until_vonage_has_ended(*stack.open())


def test_report_that_vonage_finished_is_delivered_as_ever(stack: Stack) -> None:
    report = submitted(stack)
    finish_at_vonage(stack)
    assert "delivered as ever" in said(ask(stack, report))
    stack.settle()
    assert the_window(stack).state is State.SUBMITTED
    stack.runs.end(the_window(stack))
    stack.settle()
    delivered = the_window(stack)
    assert (delivered.state, delivered.withdrawn_at) == (State.DELIVERED, None)
    assert stack.slots() == 0


def test_finished_report_is_fetched_after_a_failed_run(stack: Stack) -> None:
    report = submitted(stack)
    finish_at_vonage(stack)
    ask(stack, report)
    stack.runs.end(report, "VonageUnavailable")
    stack.settle()
    resumed = the_window(stack)
    assert (resumed.state, resumed.run) == (State.SUBMITTED, 2)
    # The file expires before it is stored: the report is not bought again.
    for _ in range(6):
        stack.later(hours=2)
        stack.settle()
        stack.runs.end(the_window(stack), "ReportExpired")
        stack.settle()
        stack.submit()
    assert the_window(stack).state is State.CANCELLED
    assert (len(stack.created()), stack.slots()) == (1, 0)


def test_run_that_had_succeeded_is_delivered(stack: Stack) -> None:
    report = submitted(stack)
    stack.runs.end(report)
    stack.simulator.fault("cancel", "status", status=404, times=None)
    assert "delivered as ever" in said(ask(stack, report))
    stack.settle()
    assert the_window(stack).state is State.DELIVERED


@pytest.mark.parametrize("status", [404, 403, 400])
def test_report_that_vonage_does_not_stop_ends_with_its_run(stack: Stack, status: int) -> None:
    """The run may be storing the report: a cancelled report must not be delivered."""
    report = submitted(stack)
    stack.simulator.fault("cancel", "status", status=status, times=None)
    assert "until its run has ended" in said(ask(stack, report))
    assert stack.settle() == []
    stack.runs.end(report)
    assert stack.settle() == [report.report_id]
    assert (the_window(stack).state, stack.slots()) == (State.DELIVERED, 0)


@pytest.mark.parametrize("status", [404, 403, 400])
def test_slot_of_a_report_that_may_live_is_freed_later(stack: Stack, status: int) -> None:
    report = submitted(stack)
    stack.simulator.fault("cancel", "status", status=status, times=None)
    stack.runs.end(report, "VonageUnavailable")
    ended(stack, ask(stack, report))
    assert stack.slots() == 1
    stack.later(hours=47)
    stack.settle()
    assert stack.slots() == 1
    stack.later(hours=2)
    stack.settle()
    assert stack.slots() == 0


def test_other_reports_do_not_use_a_slot_that_is_left(stack: Stack) -> None:
    report = submitted(stack)
    stack.simulator.fault("cancel", "status", status=403)
    stack.runs.end(report, "VonageUnavailable")
    ask(stack, report)
    stack.plan(6)
    assert len(stack.submit().report_ids) == 4
    assert stack.simulator.state()["max_in_flight"] == 5


@pytest.mark.parametrize("fault", ["cut", "accept_then_cut"])
def test_unanswered_cancellation_is_repeated_by_the_sweep(stack: Stack, fault: str) -> None:
    report = submitted(stack)
    stack.simulator.fault("cancel", fault)
    assert "Each sweep asks again" in said(ask(stack, report))
    assert the_window(stack).withdrawn_at == stack.now
    stack.settle()
    assert the_window(stack).state is State.CANCELLED
    assert (stack.slots(), is_stopped_at_vonage(stack)) == (0, True)
    stack.later(hours=5)
    stack.submit()
    assert len(stack.created()) == 1


def test_cancellation_that_is_never_answered_ends_after_48_hours(stack: Stack) -> None:
    report = submitted(stack)
    stack.simulator.fault("cancel", "status", status=503, times=None)
    ask(stack, report)
    stack.runs.end(report, "VonageUnavailable")
    stack.later(hours=47)
    assert stack.settle() == []
    stack.later(hours=2)
    assert stack.settle() == [report.report_id]
    assert (the_window(stack).state, stack.slots()) == (State.CANCELLED, 1)
    stack.later(hours=25)
    stack.settle()
    assert stack.slots() == 0


@pytest.mark.parametrize("state", [submitting, held])
def test_slot_of_an_unknown_post_is_freed_later(
    stack: Stack, state: Callable[[Stack], Report]
) -> None:
    report = state(stack)
    ended(stack, ask(stack, report))
    assert stack.slots() == 1
    stack.later(hours=47)
    stack.settle()
    assert stack.slots() == 1
    stack.later(hours=2)
    stack.settle()
    assert stack.slots() == 0
    stack.submit()
    assert len(stack.created()) == 1


def test_report_held_for_long_leaves_no_slot(stack: Stack) -> None:
    report = held(stack)
    stack.later(hours=50)
    stack.settle()
    ended(stack, ask(stack, report))
    assert stack.slots() == 0


def test_split_window_is_withdrawn_with_its_parts(stack: Stack) -> None:
    ended(stack, ask(stack, split(stack)))
    assert (stack.slots(), is_stopped_at_vonage(stack)) == (0, True)
    stack.later(hours=5)
    stack.submit()
    assert len(stack.created()) == 3


def test_split_window_waits_for_the_end_of_its_parts(stack: Stack) -> None:
    window = split(stack)
    stack.simulator.fault("cancel", "cut")
    assert "Each sweep asks again" in said(ask(stack, window))
    assert the_window(stack).state is State.SPLIT
    stack.settle()
    assert the_window(stack).state is State.CANCELLED
    assert stack.open() == []


def test_planned_part_of_a_withdrawn_window_is_not_requested(stack: Stack) -> None:
    stack.plan()
    stack.collect("TRUNCATED")
    ended(stack, ask(stack, the_window(stack)))
    stack.submit()
    assert len(stack.created()) == 1


def test_lost_part_of_a_withdrawn_window_leaves_its_slot(stack: Stack) -> None:
    stack.plan()
    stack.collect("TRUNCATED")
    stack.simulator.fault("create", "accept_then_cut", times=2)
    stack.submit()
    assert stack.slots() == 2
    ended(stack, ask(stack, the_window(stack)))
    assert stack.slots() == 2
    stack.later(hours=49)
    stack.settle()
    assert stack.slots() == 0


def test_part_is_not_recollected_while_its_window_is_withdrawn(stack: Stack) -> None:
    window = split(stack)
    stack.simulator.fault("cancel", "cut")
    ask(stack, window)
    (stored,) = (
        each
        for each in parts_of(window, stack.services.ledger, now=stack.now) or []
        if each.state is State.STORED
    )
    again = recollect(stored.report_id, "token", stack.services, now=stack.now)
    assert "is being withdrawn" in said(again)


def test_withdrawn_report_is_written_as_marked_before_vonage_is_asked(stack: Stack) -> None:
    report = submitted(stack)
    seen: list[bool] = []
    cancel = stack.services.vonage.cancel_report

    def die(request_id: str) -> bool:
        seen.append(the_window(stack).withdrawn_at is not None)
        cancel(request_id)
        raise ConnectionError("the function died")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stack.services.vonage, "cancel_report", die)
        with pytest.raises(ConnectionError):
            ask(stack, report)
    assert seen == [True]
    stack.runs.end(report, "ReportFailed")
    assert stack.settle() == [report.report_id]
    assert (the_window(stack).state, len(stack.created())) == (State.CANCELLED, 1)


def test_withdrawn_split_window_can_be_recollected(stack: Stack) -> None:
    window = split(stack)
    ask(stack, window)
    again = recollect(window.report_id, "token", stack.services, now=stack.now)
    assert again.report_ids == [window.report_id]
    stack.collect("SUCCESS")
    assert the_window(stack).state is State.DELIVERED


def test_stored_archives_are_not_withdrawn(stack: Stack) -> None:
    window = converting(stack)
    before = stack.table()
    with pytest.raises(InvalidRequest, match=r"archives of .* are stored"):
        ask(stack, window)
    assert stack.table() == before


def test_part_of_a_window_is_not_withdrawn_alone(stack: Stack) -> None:
    window = split(stack)
    (part,) = (each for each in stack.open() if each.is_half)
    before = stack.table()
    with pytest.raises(InvalidRequest, match=f"Withdraw its window: {window.report_id}"):
        ask(stack, part)
    assert stack.table() == before


def test_finished_or_unknown_report_is_not_withdrawn(stack: Stack) -> None:
    stack.plan()
    (report,) = stack.collect("SUCCESS")
    before = stack.table()
    with pytest.raises(InvalidRequest, match="is DELIVERED, which is finished"):
        ask(stack, report)
    with pytest.raises(InvalidRequest, match="no report d0-x"):
        withdraw("d0-x-y", stack.services, now=stack.now)
    assert stack.table() == before


def test_calendar_and_backfill_leave_a_withdrawn_window_alone(stack: Stack) -> None:
    report = planned(stack)
    ask(stack, report)
    cursor = {"pk": "calendar", "sk": f"cursor#d0#{report.account_id}#{report.delay_days}"}
    stack.services.ledger._table.delete_item(Key=cursor)
    assert stack.plan() == []
    day = report.window.first_date
    stack.begin(stack.backfill(definition(filters={"country": "X0"}), day, day + timedelta(days=1)))
    assert stack.plan_backfills() == []
    assert the_window(stack).state is State.CANCELLED
    again = recollect(report.report_id, "token", stack.services, now=stack.now)
    assert again.report_ids == [report.report_id]
    assert the_window(stack).withdrawn_at is None


def test_recollection_takes_another_slot_than_the_one_left(stack: Stack) -> None:
    report = held(stack)
    ask(stack, report)
    recollect(report.report_id, "token", stack.services, now=stack.now)
    stack.submit()
    assert (the_window(stack).state, the_window(stack).slot) == (State.SUBMITTED, 2)
    stack.later(hours=49)
    stack.settle()
    assert set(stack.services.ledger.open_work().slots) == {2}


def refused(stack: Stack) -> Report:
    """Return a report whose product Vonage does not know, so that it failed."""
    stack.plan()
    stack.simulator.fault("create", "status", status=422)
    stack.submit()
    return the_window(stack)


def test_refused_report_is_withdrawn_and_requested_no_more(stack: Stack) -> None:
    report = refused(stack)
    assert (report.state, stack.created()) == (State.FAILED, [])
    (told,) = (each for each in stack.announced() if each["event"] == "report.failed")

    result = ask(stack, report)

    after = ended(stack, result)
    assert ask(stack, after) == StepResult()
    day = report.window.first_date
    stack.begin(stack.backfill(definition(filters={"country": "X0"}), day, day + timedelta(days=1)))
    assert stack.plan_backfills() == []
    late = recollect(
        report.report_id, told["run_again"]["recollect"]["token"], stack.services, now=stack.now
    )
    assert late.report_ids == []
    again = recollect(report.report_id, "token", stack.services, now=stack.now)
    assert again.report_ids == [report.report_id]


def test_failure_of_a_split_window_is_withdrawn_with_its_parts(stack: Stack) -> None:
    stack.plan()
    stack.collect("TRUNCATED")
    stack.collect("SUCCESS", "FAILED")
    for _ in range(3):
        stack.later(hours=1)
        if the_window(stack).state is State.FAILED:
            break
        stack.collect("FAILED")
    window = the_window(stack)
    assert window.state is State.FAILED

    ended(stack, ask(stack, window))


OPEN: dict[State, Callable[[Stack], Report]] = {
    State.PLANNED: planned,
    State.SUBMITTING: submitting,
    State.SUBMITTED: submitted,
    State.HELD: held,
    State.SPLIT: split,
    State.CONVERTING: converting,
}
ENDS = {State.STORED, State.DELIVERED, State.SUPERSEDED, State.FAILED, State.CANCELLED}


@pytest.mark.parametrize("state", [each for each in TRANSITIONS if each not in {None, *ENDS}])
def test_every_open_state_has_an_event_that_ends_it(stack: Stack, state: State) -> None:
    report = OPEN[state](stack)
    assert report.state is state
    assert not report.is_at_end
    if state is State.CONVERTING:
        # Nothing is asked of Vonage. Its run ends, and the event of a sweep settles it.
        stack.runs.end(report)
        stack.settle()
    else:
        ended(stack, ask(stack, report))
    assert the_window(stack).is_at_end


def test_recollected_report_that_was_withdrawn_during_its_post_is_adopted(stack: Stack) -> None:
    report = submitting(stack)
    ask(stack, report)
    assert the_window(stack).state is State.CANCELLED
    stack.later(minutes=15)
    recollect(report.report_id, "again", stack.services, now=stack.now)
    stack.submit()

    (at_vonage,) = stack.created()
    assert the_window(stack).state is State.SUBMITTED
    assert the_window(stack).request_id == at_vonage["request_id"]


def test_windows_of_an_account_are_withdrawn_together(stack: Stack) -> None:
    """The reports that cannot end now do not stop the others."""
    stack.now = stack.now.replace(hour=12, minute=0, second=0, microsecond=0)
    of = definition(account_ids=["one00001", "two00002"], delay_days=[0])
    other = definition(name="d0-more", filters={"country": "GB"}, delay_days=[0])
    for days in range(6, 0, -1):
        stack.plan_definitions([of, other], stack.now - timedelta(days=days))
    own = sorted(
        (each for each in stack.open() if each.account_id == "one00001"),
        key=lambda each: each.window.start,
    )
    ledger = stack.services.ledger
    converting = ledger.write(own[1], replace(own[1], state=State.CONVERTING))
    failed = ledger.write(own[2], replace(own[2], state=State.FAILED, error="VonageRejected"))
    delivered = ledger.write(own[3], replace(own[3], state=State.DELIVERED, rows=1))
    dates = own[0].window.first_date, own[5].window.first_date

    done = withdraw_windows("d0", "ONE00001", dates, stack.services, ENDLESS, now=stack.now)

    assert done.ended == [each.report_id for each in (own[0], failed, own[4])]
    assert done.errors == []
    assert {stack.known(each).state for each in done.ended} == {State.CANCELLED}
    assert stack.known(converting.report_id).state is State.CONVERTING
    assert stack.known(delivered.report_id).state is State.DELIVERED
    left = [each for each in stack.open() if each.report_id != converting.report_id]
    assert len(left) == 1 + 6 + 6


def test_withdrawal_of_many_windows_ends_with_the_time(stack: Stack) -> None:
    stack.plan(2)
    first = stack.open()[0]
    dates = first.window.first_date, first.window.last_date + timedelta(days=1)
    over = Invocation("one", lambda: 1)

    done = withdraw_windows("d0", "abcd1234", dates, stack.services, over, now=stack.now)

    assert done.ended == []
    (error,) = done.errors
    assert str(error) == (
        "withdraw: the invocation ran out of time. Reports of d0, abcd1234 that are left: 1. "
        "Send the event again"
    )


def test_withdrawal_of_an_unknown_definition_is_refused(stack: Stack) -> None:
    dates = stack.day(3), stack.day(2)
    with pytest.raises(InvalidRequest, match="no definition d9"):
        withdraw_windows("d9", "abcd1234", dates, stack.services, ENDLESS, now=stack.now)


def spoil(stack: Stack, report: Report) -> None:
    """Make the item of a report unreadable."""
    (item,) = (each for each in stack.table() if report.report_id in each["sk"])
    stack.services.ledger._table.put_item(Item={**item, "state": "UNKNOWN"})


def two_windows(stack: Stack) -> tuple[list[Report], tuple[date, date]]:
    """Return two submitted windows of d0, and the dates of a range that has both."""
    stack.now = stack.now.replace(hour=12, minute=0, second=0, microsecond=0)
    for days in (3, 2):
        stack.plan_definitions([definition(delay_days=[0])], stack.now - timedelta(days=days))
    stack.submit()
    reports = sorted(stack.open(), key=lambda each: each.window.start)
    first, last = reports
    return reports, (first.window.first_date, last.window.last_date + timedelta(days=1))


def test_error_of_aws_is_the_reason_why_a_report_is_not_ended(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, last), dates = two_windows(stack)
    describe = stack.runs.describe
    throttled: Any = {"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}

    def throttle(report: Report) -> Execution:
        if report.report_id == first.report_id:
            raise ClientError(throttled, "DescribeExecution")
        return describe(report)

    monkeypatch.setattr(stack.runs, "describe", throttle)
    done = withdraw_windows("d0", "abcd1234", dates, stack.services, ENDLESS, now=stack.now)

    assert done.ended == [last.report_id]
    (error,) = done.errors
    assert str(error).startswith(f"withdraw: {first.report_id} is not ended: ")
    assert "ThrottlingException" in str(error)


def test_withdrawal_of_windows_names_a_report_that_cannot_be_read(stack: Stack) -> None:
    (first, last), dates = two_windows(stack)
    spoil(stack, first)

    done = withdraw_windows("d0", "abcd1234", dates, stack.services, ENDLESS, now=stack.now)

    assert done.ended == [last.report_id]
    (error,) = done.errors
    assert str(error).startswith("withdraw: the ledger has items that cannot be read: ")
    assert first.report_id in str(error)


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        ("2026-11-02", "2026-11-02", "end 2026-11-02 is not after start 2026-11-02"),
        ("2026-11-03", "2026-11-02", "end 2026-11-02 is not after start 2026-11-03"),
        ("0001-01-01", "2026-11-02", "write dates from 2000-01-01 to 9998-12-31"),
        ("0999-01-01", "2026-11-02", "write dates from 2000-01-01 to 9998-12-31"),
        ("2026-11-01", "9999-12-31", "write dates from 2000-01-01 to 9998-12-31"),
    ],
)
@pytest.mark.parametrize("time_zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_withdrawal_of_dates_that_are_no_range_is_refused(
    stack: Stack, start: str, end: str, reason: str, time_zone: str
) -> None:
    stack.plan(time_zone=time_zone)
    dates = date.fromisoformat(start), date.fromisoformat(end)
    with pytest.raises(InvalidRequest, match=f"withdraw: .*{reason}"):
        withdraw_windows("d0", "abcd1234", dates, stack.services, ENDLESS, now=stack.now)


def test_withdrawal_of_an_account_without_reports_is_refused(stack: Stack) -> None:
    """A mistyped account must not look like an account that has nothing to end."""
    stack.plan()
    dates = date(2000, 1, 1), date(9998, 12, 31)
    with pytest.raises(InvalidRequest, match="the calendar never planned abcd1235 of d0"):
        withdraw_windows("d0", "abcd1235", dates, stack.services, ENDLESS, now=stack.now)


def test_withdrawal_ends_a_report_of_an_account_without_a_cursor(stack: Stack) -> None:
    """A backfill collects accounts that the calendar never planned."""
    report = planned(stack)
    cursor = {"pk": "calendar", "sk": f"cursor#d0#{report.account_id}#{report.delay_days}"}
    stack.services.ledger._table.delete_item(Key=cursor)
    dates = report.window.first_date, report.window.last_date + timedelta(days=1)

    done = withdraw_windows("d0", "abcd1234", dates, stack.services, ENDLESS, now=stack.now)

    assert (done.ended, done.errors) == ([report.report_id], [])
