"""The cap on the month's billed records, with the simulator and the ledger in moto."""

from datetime import UTC, datetime

import pytest

from tests.support.stack import LIFETIME, Stack, definition
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.slots import room_for_backfills
from vonage_reports.domain.spend import month_of
from vonage_reports.submit_reports.context import Invocation, StepResult
from vonage_reports.submit_reports.reprocess import recollect
from vonage_reports.submit_reports.submit import submit
from vonage_reports.submit_reports.withdraw import withdraw


def submit_below(stack: Stack, cap: int) -> StepResult:
    done = submit(
        stack.services, Invocation("one", lambda: LIFETIME), clock=lambda: stack.now, cap=cap
    )
    assert done.errors == []
    return done


def counted(stack: Stack) -> int:
    return stack.services.ledger.counted_records(month_of(stack.now))


def deliver(stack: Stack, rows: int) -> list[Report]:
    """End the runs of all requested reports."""
    requested = [each for each in stack.open() if each.state is State.SUBMITTED]
    for report in requested:
        stack.runs.end(report, rows=rows)
    stack.settle()
    return requested


def next_day(stack: Stack, count: int) -> None:
    """Plan the next window of each definition, whose rows are known from the last one."""
    at = datetime(2026, 11, 23, 2, 15, tzinfo=UTC)
    stack.now = max(stack.now, at)
    wanted = [definition(name=f"d{n}", filters={"country": f"X{n}"}) for n in range(count)]
    stack.plan_definitions(wanted, at)


def collect_a_day_of_100(stack: Stack) -> None:
    """Deliver 100 records, and plan the next day, which is expected to have 100 too."""
    stack.plan(1)
    submit_below(stack, 0)
    deliver(stack, 100)
    next_day(stack, 1)


def test_delivered_records_count_once(stack: Stack) -> None:
    stack.plan(2)
    submit_below(stack, 0)
    seen = stack.services.ledger.open_work()
    (first, second) = deliver(stack, 10)
    stack.settle_seen(seen)

    assert counted(stack) == 20
    assert stack.known(first.report_id).counted == first.request_id
    assert second.request_id != first.request_id


def test_truncated_and_failed_requests_count_with_vonages_count(stack: Stack) -> None:
    stack.plan(filters={})
    stack.collect("TRUNCATED")
    (request,) = stack.created()

    assert counted(stack) == request["items_count"] > 0


def test_reports_above_the_cap_wait_with_the_reason_and_are_announced_once(stack: Stack) -> None:
    stack.plan(3)
    submit_below(stack, 0)
    deliver(stack, 100)
    stack.announced()
    next_day(stack, 3)

    done = submit_below(stack, 500)

    assert len(done.report_ids) == 2
    (capped,) = [each for each in stack.open() if each.state is State.PLANNED]
    assert capped.error == "SpendCapped"
    assert "MaxBilledRecordsMonth" in str(capped.reason)
    (told,) = stack.announced()
    assert (told["event"], told["cap"], told["records"]) == ("spend.capped", 500, 500)
    submit_below(stack, 500)
    assert stack.announced() == []


def test_raised_cap_lets_the_reports_go_on(stack: Stack) -> None:
    collect_a_day_of_100(stack)
    assert submit_below(stack, 150).report_ids == []

    assert len(submit_below(stack, 200).report_ids) == 1

    (report,) = stack.open()
    assert (report.error, report.reason) == (None, None)


def test_next_month_lets_the_reports_go_on(stack: Stack) -> None:
    collect_a_day_of_100(stack)
    assert submit_below(stack, 100).report_ids == []

    stack.later(days=31)

    assert len(submit_below(stack, 100).report_ids) == 1
    assert not [each for each in stack.services.ledger.open_work().announced if "spend" in each]


def test_free_reports_pass_a_used_up_cap(stack: Stack) -> None:
    stack.plan(1)
    submit_below(stack, 0)
    deliver(stack, 100)
    stack.plan_definitions([definition(name="usage", product="REPORTS-USAGE")])

    assert len(submit_below(stack, 100).report_ids) == 1


def test_capped_report_that_vonage_may_have_taken_is_adopted(stack: Stack) -> None:
    collect_a_day_of_100(stack)
    stack.simulator.fault("create", "accept_then_status", status=403)
    submit_below(stack, 0)
    (refused,) = stack.open()
    assert refused.refused_since is not None

    stack.later(minutes=16)
    submit_below(stack, 100)

    (adopted,) = stack.open()
    assert (adopted.state, adopted.attempt) == (State.SUBMITTED, 1)
    assert len(stack.created()) == 2


def test_absent_report_of_a_refused_post_waits_for_the_cap(stack: Stack) -> None:
    collect_a_day_of_100(stack)
    stack.simulator.fault("create", "status", status=403, times=1)
    submit_below(stack, 0)

    stack.later(minutes=16)
    submit_below(stack, 100)

    (report,) = stack.open()
    assert (report.state, report.slot) == (State.PLANNED, None)
    assert "MaxBilledRecordsMonth" in str(report.reason)
    assert len(stack.created()) == 1
    stack.later(minutes=16)
    assert len(submit_below(stack, 0).report_ids) == 1


def test_window_that_was_truncated_counts_its_requests_alone(stack: Stack) -> None:
    stack.plan(filters={})
    stack.collect("TRUNCATED")
    (truncated,) = [each["items_count"] for each in stack.created()]
    submit_below(stack, 0)
    deliver(stack, 50)
    assert counted(stack) == truncated + 2 * 50

    stack.settle()
    (root,) = stack.open()
    assert root.state is State.CONVERTING
    stack.runs.end(root, rows=100)
    stack.settle()

    assert counted(stack) == truncated + 2 * 50


def test_capped_calendar_leaves_room_for_backfills(stack: Stack) -> None:
    stack.plan(4)
    submit_below(stack, 0)
    deliver(stack, 100)
    next_day(stack, 4)
    submit_below(stack, 400)
    capped = stack.open()
    assert {each.error for each in capped} == {"SpendCapped"}

    assert room_for_backfills(capped, in_use=0, now=stack.now) == 4


def test_report_that_no_month_has_room_for_says_so(stack: Stack) -> None:
    collect_a_day_of_100(stack)

    submit_below(stack, 50)

    (report,) = stack.open()
    assert "raise the setting, or withdraw the report" in str(report.reason)


def test_cap_is_announced_once_in_a_month_even_if_nothing_waited_meanwhile(stack: Stack) -> None:
    collect_a_day_of_100(stack)
    submit_below(stack, 100)
    assert [each["event"] for each in stack.announced()] == ["spend.capped"]
    (report,) = stack.open()
    withdraw(report.report_id, stack.services, now=stack.now)
    stack.plan_definitions([definition(name="usage", product="REPORTS-USAGE")])
    submit_below(stack, 100)

    recollect(report.report_id, "again", stack.services, now=stack.now)
    submit_below(stack, 100)

    assert stack.known(report.report_id).error == "SpendCapped"
    assert stack.announced() == []


def test_cap_that_some_reports_pass_is_announced_once(stack: Stack) -> None:
    stack.plan(4)
    submit_below(stack, 0)
    deliver(stack, 100)
    next_day(stack, 4)
    submit_below(stack, 450)
    stack.announced()

    done = [submit_below(stack, 550).report_ids for _ in range(3)]

    assert [len(each) for each in done] == [1, 0, 0]
    assert [each["cap"] for each in stack.announced()] == [550]


def test_withdrawn_report_that_had_ended_counts(stack: Stack) -> None:
    stack.plan(filters={})
    stack.simulator.fault("create", "outcome", request_status="TRUNCATED", seconds=0)
    submit_below(stack, 0)
    (report,) = stack.open()
    stack.until_vonage_has_ended(report)

    withdraw(report.report_id, stack.services, now=stack.now)

    assert stack.known(report.report_id).state is State.CANCELLED
    assert counted(stack) == stack.created()[0]["items_count"] > 0


def test_backfill_stops_at_its_share_of_the_cap_and_goes_on_once_it_is_raised(
    stack: Stack,
) -> None:
    stack.simulator.settings(jobs_policy="queue")
    of = definition()
    stack.plan_definitions([of])
    submit_below(stack, 0)
    deliver(stack, 100)
    stack.begin(stack.backfill(of, stack.day(30), stack.day(20)))

    def go_on(cap: int) -> int:
        """Plan, submit and deliver until nothing changes. Return the delivered windows."""
        delivered = 0
        while True:
            stack.plan_backfills()
            submit_below(stack, cap)
            ended = deliver(stack, 100)
            if not ended:
                return delivered
            delivered += len(ended)

    # 80 % of 1,000 are 800, of which the first window of the calendar has 100.
    assert (go_on(1_000), counted(stack)) == (7, 800)
    assert [each["event"] for each in stack.announced()] == ["spend.capped"]

    assert (go_on(2_000), counted(stack)) == (3, 1_100)
    work = stack.services.ledger.open_work()
    assert (work.backfills, work.reports) == ((), ())


def store(stack: Stack, report: Report, items_count: int | None) -> None:
    """Write the receipt of a report's archive."""
    receipt: dict[str, object] = {"archive": {}, "items_count": items_count}
    stack.services.bucket.write_json(receipt_key(report), receipt)


def forget(stack: Stack, cancel: int = 404) -> None:
    """Let Vonage answer 404 about every report, and `cancel` to a DELETE."""
    stack.simulator.fault("get", "status", status=404, times=None)
    stack.simulator.fault("cancel", "status", status=cancel, times=None)


@pytest.mark.parametrize(
    ("error", "stored", "expected"),
    [
        ("RowsMismatch", 70, 70),
        ("RowsUnreadable", 70, 70),
        # Vonage gave no count that can be read.
        ("RowsMismatch", None, 100),
        # Vonage gave a count without a file.
        ("RowsMismatch", "nothing", 100),
    ],
)
def test_failed_report_counts_even_if_vonage_has_forgotten_it(
    stack: Stack, error: str, stored: int | str | None, expected: int
) -> None:
    collect_a_day_of_100(stack)
    submit_below(stack, 0)
    (report,) = stack.open()
    if not isinstance(stored, str):
        store(stack, report, stored)
    forget(stack)
    stack.runs.end(report, error)
    stack.settle()

    assert stack.known(report.report_id).state is State.FAILED
    assert counted(stack) == 100 + expected
    stack.settle()
    assert counted(stack) == 100 + expected


def test_report_that_vonage_deleted_counts_as_expected_before_the_next_request(
    stack: Stack,
) -> None:
    collect_a_day_of_100(stack)
    submit_below(stack, 0)
    forget(stack)
    while (report := stack.open()[0]).state is State.SUBMITTED:
        assert counted(stack) == 100, "Vonage may still show it"
        stack.runs.end(report, "ReportExpired")
        stack.settle()
        stack.later(hours=2)

    assert report.state is State.PLANNED
    assert counted(stack) == 200


@pytest.mark.parametrize("cancel", [404, 409, 403])
def test_withdrawn_report_counts_with_its_receipt_if_vonage_does_not_show_it(
    stack: Stack, cancel: int
) -> None:
    stack.plan(1)
    submit_below(stack, 0)
    (report,) = stack.open()
    store(stack, report, 70)
    forget(stack, cancel)
    stack.runs.end(report, "RowsMismatch")

    withdraw(report.report_id, stack.services, now=stack.now)

    assert stack.known(report.report_id).state is State.CANCELLED
    assert counted(stack) == 70


def in_flight(stack: Stack) -> Report:
    """Return a request for an expected 100 records, beside the 100 of the day before."""
    collect_a_day_of_100(stack)
    stack.simulator.fault("create", "outcome", request_status="SUCCESS", seconds=999_999)
    submit_below(stack, 0)
    (report,) = stack.open()
    return report


def counted_with(stack: Stack, report: Report) -> int:
    """Return the counted records of the month in which a report was requested."""
    assert report.submitted_at is not None
    return stack.services.ledger.counted_records(month_of(report.submitted_at))


@pytest.mark.parametrize("cancel", [404, 409, 403])
def test_withdrawn_report_without_a_receipt_counts_as_expected(stack: Stack, cancel: int) -> None:
    report = in_flight(stack)
    forget(stack, cancel)
    stack.runs.end(report, "ReportExpired")

    withdraw(report.report_id, stack.services, now=stack.now)

    assert stack.known(report.report_id).state is State.CANCELLED
    assert counted_with(stack, report) == 200


def test_withdrawn_report_whose_cancellation_is_never_answered_counts(stack: Stack) -> None:
    report = in_flight(stack)
    stack.simulator.fault("cancel", "status", status=503, times=None)
    withdraw(report.report_id, stack.services, now=stack.now)
    stack.runs.end(report, "VonageUnavailable")
    stack.settle()
    assert counted_with(stack, report) == 100, "Vonage may still stop it"
    stack.later(hours=49)
    stack.settle()

    assert stack.known(report.report_id).state is State.CANCELLED
    assert counted_with(stack, report) == 200


@pytest.mark.parametrize("cancel", [404, 409])
def test_request_that_vonage_forgets_at_its_deadline_counts_before_the_next_one(
    stack: Stack, cancel: int
) -> None:
    report = in_flight(stack)
    stack.later(hours=49)
    stack.simulator.fault("get", "status", status=404, times=None, after=1)
    stack.simulator.fault("cancel", "status", status=cancel, times=None)
    stack.runs.end(report, "VonageUnavailable")
    while stack.known(report.report_id).request_id == report.request_id:
        stack.settle()
        stack.later(hours=2)
        stack.runs.end(stack.known(report.report_id), "ReportExpired")

    assert stack.known(report.report_id).state is State.PLANNED
    assert counted_with(stack, report) == 200
