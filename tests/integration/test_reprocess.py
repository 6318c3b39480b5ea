"""Reprocessing on request: recollect a window, or reconvert it from its archives."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.support.stack import SCHEDULED, Stack, definition
from vonage_reports.domain.acceptance import advice
from vonage_reports.domain.backfill import Backfill
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.objects import Precedence, manifest_key, receipt_key
from vonage_reports.domain.report import Report, State
from vonage_reports.submit_reports import backfills
from vonage_reports.submit_reports.context import StepResult
from vonage_reports.submit_reports.reprocess import outlook, recollect, reconvert, resolve

UNKNOWN = "sms-20261118T0000Z-000000000000"


@pytest.fixture
def delivered(stack: Stack) -> Report:
    """A day that was delivered from one archive."""
    stack.plan()
    (report,) = stack.collect("SUCCESS")
    store(stack, report)
    return stack.known(report.report_id)


@pytest.fixture
def halves(stack: Stack) -> list[Report]:
    """The parts of a day that was delivered from two archives."""
    stack.plan()
    stack.collect("TRUNCATED")
    parts = stack.collect("SUCCESS", "SUCCESS")
    store(stack, *parts)
    stack.runs.end(stack.known(parts[0].root or ""))
    stack.settle()
    return parts


def store(stack: Stack, *reports: Report) -> None:
    """Write the receipts that the runs would write."""
    for report in reports:
        stack.services.bucket.write_json(receipt_key(report), {})


def test_reconversion_runs_from_the_receipt_unbilled(stack: Stack, delivered: Report) -> None:
    assert reconvert(delivered.report_id, stack.services, now=stack.now) == [delivered.report_id]
    converting = stack.known(delivered.report_id)
    started = json.loads(stack.runs.started[converting.execution_name])
    assert (started["entry"], started["receipts"]) == ("convert", [receipt_key(delivered)])
    assert (started["attempt"], started["run"]) == (delivered.attempt, delivered.run + 1)
    assert (converting.state, stack.slots()) == (State.CONVERTING, 0)
    stack.runs.end(converting)
    assert stack.settle() == [delivered.report_id]
    assert stack.known(delivered.report_id).state is State.DELIVERED
    assert len(stack.created()) == 1
    assert stack.announced() == []


def test_delivery_survives_a_failed_recollection(stack: Stack, delivered: Report) -> None:
    recollect(delivered.report_id, "token", stack.services, now=stack.now, confirmed=True)
    stack.simulator.fault("create", "outcome", request_status="SUCCESS", seconds=0)
    stack.submit()
    again = stack.known(delivered.report_id)
    stack.runs.end(again, "ArchiveCorrupt")
    stack.settle()
    assert stack.known(delivered.report_id).state is State.FAILED
    assert reconvert(delivered.report_id, stack.services, now=stack.now) == [delivered.report_id]
    converting = stack.known(delivered.report_id)
    assert converting.receipts == (receipt_key(delivered),)
    stack.runs.end(converting)
    stack.settle()
    assert stack.known(delivered.report_id).state is State.DELIVERED
    # A whole archive that only the row check refused takes precedence.
    recollect(delivered.report_id, "another", stack.services, now=stack.now, confirmed=True)
    stack.simulator.fault("create", "outcome", request_status="SUCCESS", seconds=0)
    stack.submit()
    newest = stack.known(delivered.report_id)
    store(stack, newest)
    stack.runs.end(newest, "RowsMismatch")
    stack.settle()
    reconvert(delivered.report_id, stack.services, now=stack.now)
    assert stack.known(delivered.report_id).receipts == (receipt_key(newest),)


def test_split_window_is_reconverted_from_all_archives(stack: Stack, halves: list[Report]) -> None:
    day = halves[0].root or ""
    assert reconvert(day, stack.services, now=stack.now) == [day]
    assert stack.known(day).receipts == tuple(receipt_key(part) for part in halves)


def test_reconverting_a_part_alone_is_refused(stack: Stack, halves: list[Report]) -> None:
    before = stack.table()
    with pytest.raises(InvalidRequest, match=f"Reconvert its window: {halves[0].root}"):
        reconvert(halves[0].report_id, stack.services, now=stack.now)
    assert stack.table() == before


def test_missing_receipt_refuses_a_reconversion(stack: Stack, halves: list[Report]) -> None:
    missing = receipt_key(halves[1])
    stack.services.bucket.client.delete_object(Bucket="reports", Key=missing)
    before = stack.table()
    with pytest.raises(InvalidRequest, match=missing):
        reconvert(halves[0].root or "", stack.services, now=stack.now)
    assert stack.table() == before


def test_second_reconversion_of_a_running_one_does_nothing(stack: Stack, delivered: Report) -> None:
    reconvert(delivered.report_id, stack.services, now=stack.now)
    before = stack.table()
    assert reconvert(delivered.report_id, stack.services, now=stack.now) == []
    assert (
        recollect(
            delivered.report_id, "token", stack.services, now=stack.now, confirmed=True
        ).report_ids
        == []
    )
    assert stack.table() == before


def test_failed_reconversion_is_announced_and_repeatable(stack: Stack, delivered: Report) -> None:
    reconvert(delivered.report_id, stack.services, now=stack.now)
    stack.runs.end(stack.known(delivered.report_id), "RowsMismatch")
    stack.settle()
    (notification,) = stack.announced()
    assert (notification["report_id"], notification["error"]) == (
        delivered.report_id,
        "RowsMismatch",
    )
    of_its_day = Backfill(
        definition(filters={"country": "X0"}),
        delivered.window.first_date,
        delivered.window.first_date + timedelta(days=1),
        begun_at=stack.now,
    )
    assert backfills.outlook(of_its_day, stack.services)["skipped"] == 1, (
        "its earlier delivery stays"
    )
    assert reconvert(delivered.report_id, stack.services, now=stack.now) == [delivered.report_id]


def test_accepted_imperfections_last_for_one_conversion(stack: Stack, delivered: Report) -> None:
    name = delivered.report_id

    def accepted() -> tuple[object, ...]:
        report = stack.known(name)
        return (*report.accept, *json.loads(stack.runs.started[report.execution_name])["accept"])

    reconvert(name, stack.services, now=stack.now, accept=["missing_columns", "row_count"])
    both = ("row_count", "missing_columns")
    assert accepted() == both * 2
    # A run that AWS stopped is repeated with the same input.
    stack.runs.end(stack.known(name), "ABORTED")
    stack.settle()
    stack.now += timedelta(hours=1)
    stack.settle()
    assert accepted() == both * 2
    stack.runs.end(stack.known(name))
    stack.settle()
    assert stack.known(name).accept == both
    reconvert(name, stack.services, now=stack.now)
    assert accepted() == ()
    stack.runs.end(stack.known(name))
    stack.settle()
    reconvert(name, stack.services, now=stack.now, accept=["row_count"])
    stack.runs.end(stack.known(name))
    stack.settle()
    recollect(name, "token", stack.services, now=stack.now, confirmed=True)
    assert stack.known(name).accept == ()


@pytest.mark.parametrize(
    ("error", "accept"), [("RowsMismatch", "row_count"), ("RowsUnreadable", "unreadable_rows")]
)
def test_event_of_a_failure_accepts_its_cause(
    error: str, accept: str, stack: Stack, delivered: Report
) -> None:
    reconvert(delivered.report_id, stack.services, now=stack.now)
    reason = f"as it is. {advice([accept])}"
    stack.runs.end(stack.known(delivered.report_id), error, reason=reason)
    stack.settle()
    (notification,) = stack.announced()
    assert notification["run_again"] == {
        "reconvert": {"report_id": delivered.report_id, "accept": [accept]}
    }


def test_reconversion_resumes_at_its_announcement(stack: Stack, delivered: Report) -> None:
    reconvert(delivered.report_id, stack.services, now=stack.now)
    converting = stack.known(delivered.report_id)
    this_run = Precedence(converting.delay_days, "", converting.attempt, converting.run)
    stack.services.bucket.replace_json(manifest_key(converting), {}, this_run)
    stack.runs.end(converting, "SNS.InternalError")
    stack.settle()
    resumed = json.loads(stack.known(delivered.report_id).execution_input or "")
    assert resumed["entry"] == "announce"


def test_manifest_of_an_earlier_run_does_not_skip_convert(stack: Stack, delivered: Report) -> None:
    earlier_run = Precedence(delivered.delay_days, "", delivered.attempt, delivered.run)
    stack.services.bucket.replace_json(manifest_key(delivered), {}, earlier_run)
    reconvert(delivered.report_id, stack.services, now=stack.now)
    stack.runs.end(stack.known(delivered.report_id), "ClientError")
    stack.settle()
    resumed = json.loads(stack.known(delivered.report_id).execution_input or "")
    assert resumed["entry"] == "convert"


def test_window_without_an_archive_is_not_reconverted(stack: Stack) -> None:
    stack.plan()
    (failed,) = stack.collect("EXPLODED")
    with pytest.raises(InvalidRequest, match=receipt_key(failed)):
        reconvert(failed.report_id, stack.services, now=stack.now)


def test_window_never_requested_is_not_reconverted(stack: Stack) -> None:
    asked = stack.backfill(definition(), stack.day(20), stack.day(4))
    stack.begin(asked)
    planned, *_ = stack.plan_backfills()
    backfills.cancel(asked.name, stack.services, now=stack.now)
    with pytest.raises(InvalidRequest, match="never requested"):
        reconvert(planned.report_id, stack.services, now=stack.now)


def test_reconverted_window_can_be_recollected(stack: Stack, delivered: Report) -> None:
    reconvert(delivered.report_id, stack.services, now=stack.now)
    stack.runs.end(stack.known(delivered.report_id))
    stack.settle()
    recollect(delivered.report_id, "token", stack.services, now=stack.now, confirmed=True)
    (again,) = stack.collect("SUCCESS")
    started = json.loads(stack.runs.started[again.execution_name])
    assert (started["entry"], started["receipts"], started["attempt"]) == ("check", [], 2)
    assert receipt_key(again) != receipt_key(delivered)


def test_recollection_keeps_the_earlier_archive(stack: Stack, delivered: Report) -> None:
    recollect(delivered.report_id, "token", stack.services, now=stack.now, confirmed=True)
    (again,) = stack.collect("SUCCESS")
    store(stack, again)
    assert stack.services.bucket.exists(receipt_key(delivered))
    reconvert(delivered.report_id, stack.services, now=stack.now)
    assert stack.known(delivered.report_id).receipts == (receipt_key(again),)


def test_unknown_reports_are_refused(stack: Stack) -> None:
    with pytest.raises(InvalidRequest, match=UNKNOWN):
        reconvert(UNKNOWN, stack.services, now=stack.now)
    with pytest.raises(InvalidRequest, match=UNKNOWN):
        outlook(UNKNOWN, stack.services)


def test_dry_run_of_recollect_returns_cost_and_writes_nothing(
    stack: Stack, delivered: Report
) -> None:
    before = stack.table()
    assert outlook(delivered.report_id, stack.services) == {
        "report_id": delivered.report_id,
        "windows": [delivered.window.interval],
        "reports": 1,
        "skipped": 0,
        "expected_rows": 10,
        "expected_billed_records": 10,
    }
    assert stack.table() == before
    recollect(delivered.report_id, "token", stack.services, now=stack.now, confirmed=True)
    again = outlook(delivered.report_id, stack.services)
    assert (again["reports"], again["skipped"], again["expected_rows"]) == (0, 1, 0)


def test_dry_run_of_a_split_window_counts_records_once(stack: Stack, halves: list[Report]) -> None:
    whole = outlook(halves[0].root or "", stack.services)
    part = outlook(halves[0].report_id, stack.services)
    assert (whole["expected_billed_records"], part["expected_billed_records"]) == (10, 10)


@pytest.fixture
def failed(stack: Stack) -> Report:
    """A day whose archive was corrupt."""
    stack.plan()
    (report,) = stack.open()
    stack.simulator.fault("create", "outcome", request_status="SUCCESS", seconds=0)
    stack.submit()
    stack.runs.end(stack.known(report.report_id), "ArchiveCorrupt")
    stack.settle()
    return stack.known(report.report_id)


def buy_again(stack: Stack, report: Report) -> None:
    """Submit the recollected report, which fails as before."""
    stack.simulator.fault("create", "outcome", request_status="SUCCESS", seconds=0)
    stack.submit()
    stack.runs.end(stack.known(report.report_id), "ArchiveCorrupt")
    stack.settle()


def say(result: StepResult) -> str:
    assert result.report_ids == []
    (error,) = result.errors
    return str(error)


def test_one_failure_is_bought_again_once(stack: Stack, failed: Report) -> None:
    (notification,) = stack.announced()
    event = notification["run_again"]["recollect"]
    assert event == {"report_id": failed.report_id, "token": "failure-1"}
    again = recollect(**event, services=stack.services, now=stack.now)
    assert (again.report_ids, again.errors) == ([failed.report_id], [])
    assert "failure-1 was followed before" in say(
        recollect(**event, services=stack.services, now=stack.now)
    )
    buy_again(stack, failed)
    assert len(stack.created()) == 2
    (notification,) = stack.announced()
    assert notification["run_again"]["recollect"]["token"] == "failure-2"
    assert "failure-1 was followed" in say(
        recollect(**event, services=stack.services, now=stack.now)
    )


def test_token_of_an_older_failure_does_nothing(stack: Stack, failed: Report) -> None:
    recollect(failed.report_id, "of the operator", stack.services, now=stack.now)
    buy_again(stack, failed)
    before = stack.table()
    for token in ("failure-1", "failure-3"):
        said = say(recollect(failed.report_id, token, stack.services, now=stack.now))
        assert f"{token} answers an earlier failure of {failed.report_id}" in said
    assert stack.table() == before
    newest = recollect(failed.report_id, "failure-2", stack.services, now=stack.now)
    assert newest.report_ids == [failed.report_id]


def test_token_of_a_failure_does_nothing_after_delivery(stack: Stack, failed: Report) -> None:
    recollect(failed.report_id, "of the operator", stack.services, now=stack.now)
    stack.collect("SUCCESS")
    said = say(recollect(failed.report_id, "failure-1", stack.services, now=stack.now))
    assert "which is DELIVERED after 1 failures" in said


def test_repeated_announcement_has_the_same_token(
    stack: Stack, failed: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    recollect(failed.report_id, "of the operator", stack.services, now=stack.now)
    stack.announced()
    write = type(stack.services.ledger).write

    def die(_: object, old: Report | None, new: Report, *more: Any, **named: Any) -> Report:
        if new.state is State.FAILED:
            raise ConnectionError("the function died")
        return write(stack.services.ledger, old, new, *more, **named)

    monkeypatch.setattr(type(stack.services.ledger), "write", die)
    with pytest.raises(AssertionError):
        buy_again(stack, failed)
    monkeypatch.undo()
    stack.later(minutes=2)
    stack.settle()
    tokens = [each["run_again"]["recollect"]["token"] for each in stack.announced()]
    assert tokens == ["failure-2", "failure-2"]


def test_delivered_window_is_bought_again_only_with_confirm(
    stack: Stack,
    delivered: Report,
) -> None:
    before = stack.table()
    with pytest.raises(InvalidRequest, match=r'is delivered.* "confirm": true'):
        recollect(delivered.report_id, "token", stack.services, now=stack.now)
    assert stack.table() == before
    again = recollect(delivered.report_id, "token", stack.services, now=stack.now, confirmed=True)
    assert again.report_ids == [delivered.report_id]


def test_part_of_a_delivered_window_needs_confirm(stack: Stack, halves: list[Report]) -> None:
    before = stack.table()
    with pytest.raises(InvalidRequest, match='"confirm": true'):
        recollect(halves[0].report_id, "token", stack.services, now=stack.now)
    assert stack.table() == before


def test_preliminary_with_a_delivered_final_says_so(stack: Stack) -> None:
    stack.plan_definitions([definition(delay_days=[0, 3])])
    stack.collect("SUCCESS", "SUCCESS")
    known, _ = stack.services.ledger.reports_between("d0", SCHEDULED - timedelta(days=9), SCHEDULED)
    (preliminary,) = (each for each in known if each.later_revisions)
    (last,) = preliminary.later_revisions
    final = replace(preliminary, report_id=last, delay_index=1, delay_days=3)
    planned = stack.services.ledger.write(
        None, replace(final, state=State.PLANNED, request_id=None)
    )
    stack.services.ledger.write(planned, replace(planned, state=State.DELIVERED))
    before = stack.table()
    for ask in (
        lambda: recollect(
            preliminary.report_id, "token", stack.services, now=stack.now, confirmed=True
        ),
        lambda: outlook(preliminary.report_id, stack.services),
    ):
        with pytest.raises(InvalidRequest, match=rf"later revision.* recollect {last}"):
            ask()
    assert stack.table() == before


def held_again(stack: Stack, delivered: Report) -> Report:
    """Return a delivered window whose second collection Vonage took without an answer."""
    stack.simulator.fault("create", "accept_then_cut")
    assert recollect(
        delivered.report_id, "token", stack.services, now=stack.now, confirmed=True
    ).report_ids
    stack.submit()
    stack.simulator.fault("list", "status", status=404, times=1)
    stack.later(minutes=10)
    assert stack.submit().held == [delivered.report_id]
    return stack.known(delivered.report_id)


def test_request_of_an_earlier_collection_does_not_resolve_a_hold(
    stack: Stack, delivered: Report
) -> None:
    report = held_again(stack, delivered)
    earlier, present = (each["request_id"] for each in stack.created())
    before = stack.table()

    with pytest.raises(InvalidRequest, match=f"{earlier} is an earlier request of"):
        resolve(report.report_id, earlier, stack.services, now=stack.now)
    assert stack.table() == before
    resolve(report.report_id, present, stack.services, now=stack.now)

    assert stack.known(report.report_id).request_id == present


def test_request_from_before_the_held_post_does_not_resolve_it(
    stack: Stack, delivered: Report
) -> None:
    report = held_again(stack, delivered)
    _, present = (each["request_id"] for each in stack.created())
    # Vonage received it two hours before this POST.
    late = replace(report, submitted_at=stack.now + timedelta(hours=2))
    report = stack.services.ledger.write(report, late)

    with pytest.raises(InvalidRequest, match=r"Vonage received .* before .* was requested at"):
        resolve(report.report_id, present, stack.services, now=stack.now)


@pytest.mark.parametrize("earlier", [{"unheard": True}, {"refused_since": SCHEDULED}])
def test_request_of_an_earlier_post_of_this_collection_resolves_a_hold(
    stack: Stack, delivered: Report, earlier: dict[str, Any]
) -> None:
    report = held_again(stack, delivered)
    _, present = (each["request_id"] for each in stack.created())
    since = {**earlier, "planned_at": SCHEDULED}
    late = replace(report, submitted_at=stack.now + timedelta(hours=2), **since)
    report = stack.services.ledger.write(report, late)

    resolve(report.report_id, present, stack.services, now=stack.now)

    assert stack.known(report.report_id).request_id == present


def test_resolve_of_another_hold_is_refused(stack: Stack) -> None:
    stack.plan()
    stack.simulator.fault("create", "accept_then_cut")
    stack.submit()
    stack.simulator.fault("list", "status", status=404, times=1)
    stack.later(minutes=10)
    (held,) = stack.submit().held
    assert stack.known(held).holds == 1
    before = stack.table()
    with pytest.raises(InvalidRequest, match=r"hold 2 of .* is over.* hold 1"):
        resolve(held, None, stack.services, now=stack.now, hold=2)
    assert stack.table() == before
    resolve(held, None, stack.services, now=stack.now, hold=1)
    assert stack.known(held).state is State.PLANNED
