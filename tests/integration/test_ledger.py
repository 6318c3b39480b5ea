"""The ledger against moto's DynamoDB."""

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from itertools import chain, repeat
from typing import Any

import boto3
import pytest
from boto3.dynamodb.conditions import Key
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mypy_boto3_dynamodb.service_resource import Table

from tests.integration.conftest import instead_of, refusal_of_aws
from tests.support.ledger_table import create_ledger_table
from tests.support.reports import make_report
from vonage_reports.aws import ledger as ledger_module
from vonage_reports.aws.ledger import (
    Change,
    Ledger,
    RequestAlreadyClaimed,
    SlotTaken,
    VersionConflict,
)
from vonage_reports.aws.ledger_items import OF_PERIODS, Calendar, OpenWork
from vonage_reports.domain.backfill import Backfill, Progress
from vonage_reports.domain.calendar import Relabelling
from vonage_reports.domain.catalogue import Registration
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.report import Priority, Report, Revision, State
from vonage_reports.domain.slots import SLOTS
from vonage_reports.domain.traffic_profile import TrafficProfile
from vonage_reports.domain.windows import Window, WindowLength

NOW = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)


ENDS = (State.STORED, State.DELIVERED, State.SUPERSEDED, State.FAILED, State.CANCELLED)


def a_report(number: int = 0, **changes: Any) -> Report:
    start = MIDNIGHT - timedelta(days=number)
    window = Window(start, start + timedelta(days=1), "UTC")
    return replace(make_report(window=window, planned_at=NOW), **changes)


@pytest.fixture
def table(aws: None, aws_session: boto3.Session) -> Iterator[Table]:  # noqa: ARG001 - aws: first
    resource = aws_session.resource("dynamodb")
    create_ledger_table(resource.meta.client, "ledger")
    table = resource.Table("ledger")
    yield table
    table.meta.client.close()


@pytest.fixture
def ledger(table: Table) -> Ledger:
    return Ledger(table)


def items(table: Table) -> list[dict[str, Any]]:
    """Return all items of the table, in a fixed order."""
    return sorted(table.scan()["Items"], key=lambda item: (str(item["pk"]), str(item["sk"])))


def planned(ledger: Ledger, number: int = 0, **changes: Any) -> Report:
    return ledger.write(None, a_report(number, **changes))


def submitted(ledger: Ledger, number: int = 0, slot: int = 1) -> Report:
    report = planned(ledger, number)
    taken = ledger.write(report, replace(report, state=State.SUBMITTING, slot=slot, owner="me"))
    return ledger.write(
        taken, replace(taken, state=State.SUBMITTED, request_id=f"request-{number}", attempt=1)
    )


def calls_to(table: Table) -> list[str]:
    """Return a list that collects the operations sent from now on."""
    seen: list[str] = []
    table.meta.client.meta.events.register(
        "before-call.dynamodb", lambda model, **_: seen.append(model.name)
    )
    return seen


def refuse_transaction(table: Table, *codes: str, after: int = 0) -> None:
    """Cancel a transaction, after `after` others, as DynamoDB does: one code per write."""
    reasons = [{"Code": code} for code in codes]
    refusal = refusal_of_aws(400, "TransactionCanceledException", CancellationReasons=reasons)
    answers = iter([*[None] * after, refusal])
    instead_of(table.meta.client, "TransactWriteItems", lambda **_: next(answers, None))


# Planning


def test_planned_report_is_open_work(ledger: Ledger) -> None:
    report = planned(ledger)
    assert report == a_report()
    work = ledger.open_work()
    assert work.reports == (report,)
    assert work.slots == {}
    assert work.announced == frozenset()
    assert ledger.open_reports() == (report,)


def test_empty_ledger_has_no_open_work(ledger: Ledger) -> None:
    assert ledger.open_work() == OpenWork((), {}, frozenset())
    assert ledger.calendar() == Calendar({}, {}, {}, {})


def test_planning_an_open_report_again_changes_nothing(ledger: Ledger, table: Table) -> None:
    submitted(ledger)
    before = items(table)
    with pytest.raises(VersionConflict):
        ledger.write(None, a_report(planned_at=NOW + timedelta(days=1)))
    assert items(table) == before


@pytest.mark.parametrize("end", ENDS)
def test_planning_a_finished_report_again_changes_nothing(
    end: State, ledger: Ledger, table: Table
) -> None:
    report = submitted(ledger)
    ledger.write(report, replace(report, state=end, slot=None))
    before = items(table)
    with pytest.raises(VersionConflict):
        ledger.write(None, a_report())
    assert items(table) == before
    assert ledger.open_reports() == ()


def test_conflicting_plan_raises_and_can_be_repeated(ledger: Ledger, table: Table) -> None:
    """TransactionConflict proves no stored report, so the window must not be skipped."""
    refuse_transaction(table, "TransactionConflict", "None")
    with pytest.raises(VersionConflict):
        ledger.write(None, a_report())
    assert ledger.report(a_report().report_id) is None
    planned(ledger)


# Writing


def test_write_returns_the_stored_report(ledger: Ledger) -> None:
    report = planned(ledger)
    written = ledger.write(report, replace(report, not_before=NOW))
    assert written == replace(report, not_before=NOW, version=1)
    assert ledger.open_reports() == (written,)


def test_write_of_a_changed_report_is_a_version_conflict(ledger: Ledger, table: Table) -> None:
    report = planned(ledger)
    ledger.write(report, replace(report, not_before=NOW))
    before = items(table)
    with pytest.raises(VersionConflict):
        ledger.write(
            report,
            replace(report, state=State.SUBMITTING, slot=3, request_id="request-1"),
        )
    assert items(table) == before
    assert ledger.report_served_by("request-1") is None


@pytest.mark.parametrize("end", ENDS)
def test_finish_of_a_changed_report_is_a_version_conflict(
    end: State, ledger: Ledger, table: Table
) -> None:
    report = submitted(ledger)
    ledger.write(report, replace(report, run=2))
    before = items(table)
    with pytest.raises(VersionConflict):
        ledger.write(report, replace(report, state=end, slot=None, rows=5))
    assert items(table) == before


def test_write_of_a_finished_report_is_a_version_conflict(ledger: Ledger, table: Table) -> None:
    report = submitted(ledger)
    ledger.write(report, replace(report, state=State.DELIVERED, slot=None))
    before = items(table)
    for state in (State.SUBMITTED, State.FAILED):
        with pytest.raises(VersionConflict):
            ledger.write(report, replace(report, state=state, slot=None))
    assert items(table) == before


def test_conflicting_transaction_writes_nothing(ledger: Ledger, table: Table) -> None:
    report = planned(ledger)
    before = items(table)
    refuse_transaction(table, "TransactionConflict", "None")
    with pytest.raises(VersionConflict):
        ledger.write(report, replace(report, state=State.SUBMITTING, slot=1))
    assert items(table) == before


# Marks of periods


def test_finished_window_marks_its_period_in_its_transaction(ledger: Ledger, table: Table) -> None:
    report = submitted(ledger)
    assert ledger.open_work().marks == {}
    done = ledger.write(report, replace(report, state=State.DELIVERED, slot=None))
    assert ledger.open_work().marks == {"2026-11": f"{done.report_id}#{done.version}"}
    before = items(table)
    refuse_transaction(table, "ConditionalCheckFailed", "None", "None")
    with pytest.raises(VersionConflict):
        ledger.write(done, replace(done, state=State.FAILED))
    assert items(table) == before


def test_part_marks_no_period(ledger: Ledger) -> None:
    whole = submitted(ledger)
    ledger.write(whole, replace(whole, state=State.STORED, root="whole", slot=None))
    assert ledger.open_work().marks == {}


def test_conflict_of_marks_alone_is_repeated_in_place(ledger: Ledger, table: Table) -> None:
    report = submitted(ledger)
    # The report leaves the open partition, its slot is freed, and the last write is the mark.
    refuse_transaction(table, "None", "None", "None", "TransactionConflict")
    done = ledger.write(report, replace(report, state=State.DELIVERED, slot=None))
    assert ledger.report(report.report_id) == done
    assert set(ledger.open_work().marks) == {"2026-11"}


def test_mark_stays_if_the_period_changed_again(ledger: Ledger) -> None:
    report = submitted(ledger)
    done = ledger.write(report, replace(report, state=State.DELIVERED, slot=None))
    change = ledger.open_work().marks["2026-11"]
    ledger.write(done, replace(done, state=State.FAILED))
    ledger.clear_mark("2026-11", change)
    after = ledger.open_work().marks["2026-11"]
    assert after != change
    assert not ledger.lease_period("2026-11", change, NOW, NOW + timedelta(minutes=1))
    assert ledger.lease_period("2026-11", after, NOW, NOW + timedelta(minutes=1))
    assert not ledger.lease_period("2026-11", after, NOW, NOW + timedelta(minutes=2))
    ledger.clear_mark("2026-11", after)
    assert ledger.open_work().marks == {}


@pytest.mark.parametrize("code", ["ThrottlingError", "ValidationError", "ItemCollectionSizeLimit"])
def test_transaction_that_failed_otherwise_is_no_conflict(
    code: str, ledger: Ledger, table: Table
) -> None:
    report = planned(ledger)
    refuse_transaction(table, code, "ConditionalCheckFailed")
    with pytest.raises(ClientError):
        ledger.write(report, replace(report, state=State.SUBMITTING, slot=1))


def test_every_write_is_one_request(ledger: Ledger, table: Table) -> None:
    report = planned(ledger)
    calls = calls_to(table)
    taken = ledger.write(report, replace(report, state=State.SUBMITTING, slot=1))
    sent = ledger.write(taken, replace(taken, state=State.SUBMITTED, request_id="request-1"))
    ledger.write(sent, replace(sent, state=State.FAILED, slot=None))
    assert calls == ["TransactWriteItems"] * 3


# Finishing and reopening


@pytest.mark.parametrize("end", ENDS)
def test_finished_report_is_known_but_not_open(end: State, ledger: Ledger) -> None:
    report = submitted(ledger)
    assert ledger.finished_report(report.report_id) is None
    assert ledger.report(report.report_id) == report
    ended = ledger.write(report, replace(report, state=end, slot=None))
    assert ledger.open_reports() == ()
    assert ledger.finished_report(report.report_id) == ended
    assert ledger.report(report.report_id) == ended


def test_split_window_is_open_and_a_split_half_is_finished(ledger: Ledger) -> None:
    window, half = planned(ledger, 1), planned(ledger, 2, root="the window")
    for report in (window, half):
        ledger.write(report, replace(report, state=State.SPLIT))
    (still_open,) = ledger.open_reports()
    assert still_open.report_id == window.report_id
    finished = ledger.finished_report(half.report_id)
    assert finished is not None
    assert finished.state is State.SPLIT


def test_unplanned_report_is_unknown(ledger: Ledger) -> None:
    planned(ledger, 1)
    assert ledger.report(a_report(2).report_id) is None


@pytest.mark.parametrize("end", ENDS)
def test_finished_report_can_be_reopened(end: State, ledger: Ledger) -> None:
    report = planned(ledger)
    ended = ledger.write(report, replace(report, state=end))
    again = ledger.write(ended, replace(ended, state=State.PLANNED))
    assert again == replace(ended, state=State.PLANNED, version=ended.version + 1)
    assert ledger.finished_report(report.report_id) is None
    assert ledger.open_reports() == (again,)


def test_only_one_of_two_writers_reopens_a_report(ledger: Ledger, table: Table) -> None:
    report = planned(ledger)
    end = ledger.write(report, replace(report, state=State.DELIVERED))
    ledger.write(end, replace(end, state=State.PLANNED))
    before = items(table)
    with pytest.raises(VersionConflict):
        ledger.write(end, replace(end, state=State.PLANNED))
    assert items(table) == before


def test_reopening_a_changed_report_is_a_version_conflict(ledger: Ledger, table: Table) -> None:
    report = planned(ledger)
    seen = ledger.write(report, replace(report, state=State.FAILED))
    again = ledger.write(seen, replace(seen, state=State.PLANNED))
    ledger.write(again, replace(again, state=State.DELIVERED))
    before = items(table)
    with pytest.raises(VersionConflict):
        ledger.write(seen, replace(seen, state=State.PLANNED))
    assert items(table) == before


# Several changes in one transaction


def split_in_two(ledger: Ledger) -> tuple[Change, Change, Change]:
    """Return the changes of a split: the window, a new half, and a half that existed before."""
    window, known = submitted(ledger, 1), planned(ledger, 2)
    ended = ledger.write(known, replace(known, state=State.FAILED))
    return (
        (window, replace(window, state=State.SPLIT, slot=None)),
        (None, a_report(3)),
        (ended, replace(ended, state=State.PLANNED)),
    )


def test_changes_are_written_together_and_returned_as_written(ledger: Ledger, table: Table) -> None:
    changes = split_in_two(ledger)
    calls = calls_to(table)
    written = ledger.write_all(changes)
    assert calls == ["TransactWriteItems"]
    assert [report.version for report in written] == [3, 0, 2]
    assert [replace(report, version=0) for report in written] == [
        replace(new, version=0) for _, new in changes
    ]
    assert {report.report_id: report for report in ledger.open_reports()} == {
        report.report_id: report for report in written
    }
    assert ledger.open_work().slots == {}


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_one_version_conflict_refuses_all_changes(moved: int, ledger: Ledger, table: Table) -> None:
    changes = split_in_two(ledger)
    old, new = changes[moved]
    ledger.write(old, replace(new, owner="somebody else", state=State.PLANNED))
    before = items(table)
    with pytest.raises(VersionConflict):
        ledger.write_all(changes)
    assert items(table) == before


def test_one_taken_slot_refuses_all_changes(ledger: Ledger, table: Table) -> None:
    submitted(ledger, 1, slot=1)
    other = planned(ledger, 2)
    before = items(table)
    with pytest.raises(SlotTaken):
        ledger.write_all(
            [(None, a_report(3)), (other, replace(other, state=State.SUBMITTING, slot=1))]
        )
    assert items(table) == before


# Slots


def test_slot_is_taken_with_the_report(ledger: Ledger) -> None:
    report = submitted(ledger, slot=4)
    assert ledger.open_work().slots == {4: report.report_id}


def test_only_one_of_two_reports_takes_a_slot(ledger: Ledger, table: Table) -> None:
    first, second = planned(ledger, 1), planned(ledger, 2)
    ledger.write(first, replace(first, state=State.SUBMITTING, slot=2))
    before = items(table)
    with pytest.raises(SlotTaken):
        ledger.write(second, replace(second, state=State.SUBMITTING, slot=2))
    assert items(table) == before
    assert ledger.open_work().slots == {2: first.report_id}


def test_only_one_of_two_writers_submits_a_report(ledger: Ledger) -> None:
    report = planned(ledger)
    ledger.write(report, replace(report, state=State.SUBMITTING, slot=1, owner="first"))
    with pytest.raises(VersionConflict):
        ledger.write(report, replace(report, state=State.SUBMITTING, slot=2, owner="second"))
    assert ledger.open_work().slots == {1: report.report_id}


def test_concurrent_writers_never_hold_more_than_five_slots(ledger: Ledger) -> None:
    holders: dict[int, str] = {}
    for number in range(12):
        report = planned(ledger, number)
        for slot in SLOTS:
            try:
                ledger.write(report, replace(report, state=State.SUBMITTING, slot=slot))
            except SlotTaken:
                continue
            holders[slot] = report.report_id
            break
    work = ledger.open_work()
    assert work.slots == holders
    assert sorted(holders) == list(SLOTS)
    assert sum(report.state is State.PLANNED for report in work.reports) == 12 - 5


def test_slot_is_freed_with_the_report(ledger: Ledger) -> None:
    report = submitted(ledger, slot=5)
    ledger.write(report, replace(report, state=State.PLANNED, slot=None))
    assert ledger.open_work().slots == {}


@pytest.mark.parametrize("end", ENDS)
def test_finished_report_frees_its_slot(end: State, ledger: Ledger) -> None:
    report = submitted(ledger, slot=5)
    ledger.write(report, replace(report, state=end, slot=None))
    assert ledger.open_work().slots == {}


def test_slot_is_freed_only_by_its_holder(ledger: Ledger, table: Table) -> None:
    holder, other = submitted(ledger, 1, slot=1), planned(ledger, 2)
    believes = replace(other, slot=1)
    before = items(table)
    with pytest.raises(VersionConflict):
        ledger.write(believes, replace(believes, slot=None))
    assert items(table) == before
    assert ledger.open_work().slots == {1: holder.report_id}


def test_report_may_change_its_slot(ledger: Ledger) -> None:
    report = submitted(ledger, slot=1)
    ledger.write(report, replace(report, slot=2))
    assert ledger.open_work().slots == {2: report.report_id}


# Requests


def test_request_serves_the_report_that_claimed_it(ledger: Ledger) -> None:
    report = submitted(ledger, 1)
    assert ledger.report_served_by("request-1") == report.report_id
    assert ledger.report_served_by("request-2") is None


def test_no_request_serves_two_reports(ledger: Ledger, table: Table) -> None:
    submitted(ledger, 1)
    other = planned(ledger, 2)
    before = items(table)
    with pytest.raises(RequestAlreadyClaimed):
        ledger.write(other, replace(other, state=State.SUBMITTED, request_id="request-1"))
    assert items(table) == before


def test_request_is_claimed_once_and_written_repeatedly(ledger: Ledger) -> None:
    report = submitted(ledger, 1)
    for run in (2, 3):
        report = ledger.write(report, replace(report, run=run))
    assert ledger.report_served_by("request-1") == report.report_id


def test_request_of_an_earlier_attempt_still_serves_its_report(ledger: Ledger) -> None:
    report = submitted(ledger, 1)
    again = ledger.write(report, replace(report, state=State.PLANNED, slot=None, request_id=None))
    ledger.write(again, replace(again, state=State.SUBMITTED, request_id="another", attempt=2))
    assert ledger.report_served_by("request-1") == report.report_id
    assert ledger.report_served_by("another") == report.report_id


def test_many_requests_are_looked_up_in_batches(ledger: Ledger, table: Table) -> None:
    report = submitted(ledger, 1)
    again = ledger.write(report, replace(report, state=State.PLANNED, slot=None, request_id=None))
    ledger.write(again, replace(again, state=State.SUBMITTED, request_id="request-2", attempt=2))
    ids = ["request-1", *(f"of-others-{number}" for number in range(150)), "request-2"]

    asked = []
    table.meta.client.meta.events.register(
        "before-call.dynamodb.BatchGetItem", lambda **call: asked.append(call)
    )
    found = ledger.reports_served_by(ids)

    assert found == dict.fromkeys(("request-1", "request-2"), report.report_id)
    assert len(asked) == 2


def test_keys_that_dynamodb_leaves_out_are_read_again(ledger: Ledger, table: Table) -> None:
    report = submitted(ledger, 1)
    answers: list[Any] = []

    def leave_out(parsed: dict[str, Any], **_: object) -> None:
        if not answers:
            parsed["Responses"] = {}
            parsed["UnprocessedKeys"] = {
                table.name: {"Keys": [{"pk": {"S": "request#request-1"}, "sk": {"S": "request"}}]}
            }
        answers.append(parsed)

    table.meta.client.meta.events.register_first("after-call.dynamodb.BatchGetItem", leave_out)

    assert ledger.reports_served_by(["request-1"]) == {"request-1": report.report_id}
    assert len(answers) == 2


# Deliveries


def test_delivery_records_rows_per_hour(ledger: Ledger) -> None:
    report = submitted(ledger)
    ledger.write(report, replace(report, state=State.DELIVERED, slot=None, rows=240_000))
    assert ledger.calendar().volumes == {("sms-outbound", "abcd1234"): 10_000}


def deliver(ledger: Ledger, number: int, rows: int, **changes: Any) -> None:
    """Deliver the window of an earlier day; a second call collects the window again."""
    report = ledger.finished_report(a_report(number).report_id) or planned(ledger, number)
    if report.is_at_end:
        report = ledger.write(report, replace(report, state=State.PLANNED))
    ledger.write(report, replace(report, state=State.DELIVERED, rows=rows, **changes))


def test_volume_of_the_newest_window_counts_in_any_order(ledger: Ledger) -> None:
    # A backfill delivers older windows later.
    for number, rows, per_hour in ((5, 48, 2), (9, 240, 2), (4, 24, 1), (5, 480, 1)):
        deliver(ledger, number, rows)
        assert ledger.calendar().volumes == {("sms-outbound", "abcd1234"): per_hour}


def test_newest_window_counts_if_empty_or_collected_again(
    ledger: Ledger,
) -> None:
    deliver(ledger, 2, 24)
    for rows in (0, 48):
        deliver(ledger, 1, rows)
        assert ledger.calendar().volumes == {("sms-outbound", "abcd1234"): rows / 24}


def test_where_the_rows_lay_is_noted_with_how_many_there_were(ledger: Ledger) -> None:
    evening = TrafficProfile(((12, 10), (12, 90)))
    deliver(ledger, 3, 100, profile=evening)
    assert ledger.calendar().profiles == {("sms-outbound", "abcd1234"): evening}
    deliver(ledger, 2, 10)
    assert ledger.calendar().profiles == {}, "the newest window was not split"


def test_conflicting_volume_does_not_undo_a_delivery(ledger: Ledger, table: Table) -> None:
    report = submitted(ledger)
    refuse_transaction(table, "TransactionConflict", after=1)
    delivered = ledger.write(report, replace(report, state=State.DELIVERED, slot=None, rows=24))
    assert ledger.report(report.report_id) == delivered
    assert ledger.calendar().volumes == {}


@pytest.mark.parametrize(
    ("end", "rows"),
    [(State.FAILED, 5), (State.STORED, 5), (State.SUPERSEDED, None), (State.DELIVERED, None)],
)
def test_only_deliveries_with_rows_record_a_volume(
    end: State, rows: int | None, ledger: Ledger
) -> None:
    report = submitted(ledger)
    ledger.write(report, replace(report, state=end, slot=None, rows=rows))
    assert ledger.calendar().volumes == {}


# The round trip

instants = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - hypothesis adds the time zone
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    timezones=st.just(UTC),
)
seconds = instants.map(lambda instant: instant.replace(microsecond=0))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
counts = st.integers(0, 10**12)
json_values = st.one_of(texts, st.booleans(), st.integers(-(10**15), 10**15))
columns = st.from_regex(r"[a-z][a-z_]{0,9}", fullmatch=True)
windows = st.builds(
    lambda start, hours, zone: Window(start, start + timedelta(hours=hours), zone),
    seconds,
    st.integers(1, 800),
    st.sampled_from(["UTC", "Europe/London", "Asia/Kathmandu"]),
)
profiles = st.lists(
    st.tuples(st.floats(0.1, 800), st.floats(0, 10**9)), min_size=1, max_size=4
).map(lambda parts: TrafficProfile(tuple(parts)))
reports = st.builds(
    Report,
    report_id=st.from_regex(r"[a-z0-9-]{1,30}-20261121T0000Z-[0-9a-f]{12}", fullmatch=True),
    definition=texts,
    product=texts,
    account_id=texts,
    include_subaccounts=st.booleans(),
    filters=st.dictionaries(texts, json_values, max_size=5),
    window=windows,
    revision=st.sampled_from(Revision),
    priority=st.sampled_from(Priority),
    planned_at=instants,
    expected_rows=st.none() | counts,
    pace=st.none() | counts,
    currency=st.none() | texts,
    delay_index=st.integers(0, 9),
    delay_days=st.integers(0, 60),
    revisions=st.integers(1, 9),
    profile=st.none() | profiles,
    max_records=st.integers(1, 10**9),
    backfill=st.none() | texts,
    # A split half is finished.
    root=st.none() | texts,
    split_path=st.text("01", max_size=2),
    leaves=st.integers(1, 4),
    state=st.sampled_from([state for state in State if state not in {*ENDS, State.SPLIT}]),
    version=counts,
    not_before=st.none() | instants,
    slot=st.none() | st.sampled_from(SLOTS),
    owner=st.none() | texts,
    look_after=st.none() | instants,
    attempt=counts,
    attempts_before=counts,
    tokens=st.lists(texts, max_size=3).map(tuple),
    submitted_at=st.none() | instants,
    absent_since=st.none() | instants,
    unheard=st.booleans(),
    request_id=st.none() | texts,
    run=counts,
    resumes=counts,
    execution_input=st.none() | texts,
    receipts=st.lists(texts, max_size=4).map(tuple),
    rows=st.none() | counts,
    rescued=st.none() | st.dictionaries(columns, counts, min_size=1, max_size=3),
    error=st.none() | texts,
    reason=st.none() | texts,
)


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(report=reports)
def test_every_field_comes_back_unchanged(report: Report, table: Table) -> None:
    for item in items(table):
        table.delete_item(Key={"pk": item["pk"], "sk": item["sk"]})
    ledger = Ledger(table)
    ledger.write(None, report)
    (found,) = ledger.open_reports()
    assert ledger.report(report.report_id) == found
    assert found == replace(report, version=0)
    assert {name: type(value) for name, value in vars(found).items()} == {
        name: type(value) for name, value in vars(report).items()
    }


def test_filters_keep_their_types(ledger: Ledger) -> None:
    filters = {"include_message": False, "show_concatenated": True, "status": 200, "from": "1"}
    planned(ledger, filters=filters)
    (found,) = ledger.open_reports()
    assert json.dumps(found.filters, sort_keys=True) == json.dumps(filters, sort_keys=True)


def test_finished_report_comes_back_unchanged(ledger: Ledger) -> None:
    report = planned(ledger, filters={"include_message": False, "status": 200})
    end = replace(
        report,
        state=State.FAILED,
        not_before=NOW,
        look_after=NOW,
        submitted_at=NOW,
        absent_since=NOW,
        attempt=3,
        run=7,
        resumes=4,
        execution_input='{"a": 1}',
        error="ReportFailed",
        reason="Vonage ended the report",
    )
    assert ledger.write(report, end) == ledger.finished_report(report.report_id)


# The calendar


def test_each_definition_account_and_delay_has_a_cursor(ledger: Ledger) -> None:
    ledger.move_cursor("sms", "a", 0, NOW)
    ledger.move_cursor("sms", "a", 3, NOW - timedelta(days=3))
    ledger.move_cursor("sms", "b", 0, NOW + timedelta(days=1))
    assert ledger.calendar().cursors == {
        ("sms", "a", 0): NOW,
        ("sms", "a", 3): NOW - timedelta(days=3),
        ("sms", "b", 0): NOW + timedelta(days=1),
    }


def test_cursor_never_moves_back(ledger: Ledger) -> None:
    moves = [(0, 0), (5, 5), (3, 5), (5, 5), (6, 6), (-400, 6)]
    for transition, expected in moves:
        ledger.move_cursor("sms", "a", 0, NOW + timedelta(hours=transition))
        assert ledger.calendar().cursors["sms", "a", 0] == NOW + timedelta(hours=expected)


@pytest.mark.parametrize(
    ("there", "then"),
    [
        ("2026-11-22T00:00:00+00:00", "2026-11-22T00:30:00.000001+00:00"),
        ("2026-11-22T00:00:00.000001+00:00", "2026-11-22T00:00:01+00:00"),
        ("2026-11-22T05:00:00+05:45", "2026-11-22T00:00:00+00:00"),
        ("2026-11-21T23:59:59.999999+00:00", "2026-11-22T00:00:00+00:00"),
    ],
)
def test_cursor_compares_instants_in_any_time_zone(there: str, then: str, ledger: Ledger) -> None:
    early, late = datetime.fromisoformat(there), datetime.fromisoformat(then)
    for end in (early, late, early):
        ledger.move_cursor("sms", "a", 0, end)
    assert ledger.calendar().cursors["sms", "a", 0] == late


def test_conflicting_cursor_is_not_taken_for_a_later_one(ledger: Ledger, table: Table) -> None:
    """Without its first cursor, a definition would begin at a later window."""
    refuse_transaction(table, "TransactionConflict")
    with pytest.raises(ClientError):
        ledger.move_cursor("sms", "a", 0, NOW)
    ledger.move_cursor("sms", "a", 0, NOW)
    assert set(ledger.calendar().cursors) == {("sms", "a", 0)}


def test_conflicting_definition_is_not_taken_for_recorded(ledger: Ledger, table: Table) -> None:
    refuse_transaction(table, "TransactionConflict")
    with pytest.raises(ClientError):
        ledger.record_collects(definition())
    ledger.record_collects(definition())
    assert set(ledger.calendar().collects) == {definition().name}


def test_longer_pause_wins(ledger: Ledger) -> None:
    for minutes, expected in ((60, 60), (1, 60), (90, 90)):
        ledger.pause(NOW + timedelta(minutes=minutes))
        assert ledger.open_work().paused_until == NOW + timedelta(minutes=expected)


def definition(**changes: Any) -> ReportDefinition:
    made = ReportDefinition(
        name="sms-outbound",
        product="SMS",
        account_ids=("abcd1234",),
        include_subaccounts=False,
        filters={"direction": "outbound"},
        window=WindowLength.DAY,
        time_zone="UTC",
    )
    return replace(made, **changes)


def test_first_recorded_fields_of_a_definition_stay(ledger: Ledger) -> None:
    first, changed = definition(), definition(filters={"direction": "inbound"})
    for each in (first, changed, definition(name="other")):
        ledger.record_collects(each)
    assert ledger.calendar().collects == {
        "sms-outbound": first.collects,
        "other": first.collects,
    }


def test_changed_delays_are_recorded_with_their_relabelling(ledger: Ledger) -> None:
    of = definition(delay_days=(0, 3))
    ledger.record_collects(of)
    assert ledger.calendar().delays == {"sms-outbound": {0: None, 3: None}}
    relabelling = Relabelling("sms-outbound", 0, NOW, "sms-outbound-20261122T0000Z")

    ledger.record_delays(of, {0: NOW}, relabelling, collected=of.collects)

    assert ledger.calendar().collects == {"sms-outbound": of.collects}
    assert ledger.calendar().delays == {"sms-outbound": {0: NOW}}
    assert ledger.open_work().relabellings == (relabelling,)


def test_changed_delays_keep_the_first_recorded_fields(ledger: Ledger) -> None:
    first, quoted = definition(filters={"network": 5}), definition(filters={"network": "5"})
    ledger.record_collects(first)

    ledger.record_delays(quoted, {0: NOW}, None, collected=first.collects)

    assert ledger.calendar().collects == {"sms-outbound": first.collects}
    assert ledger.calendar().delays == {"sms-outbound": {0: NOW}}


def test_relabelling_advances_from_its_last_position_only(ledger: Ledger) -> None:
    of = definition()
    first = Relabelling(of.name, 0, NOW, "sms-outbound-20261122T0000Z")
    second = replace(first, before="sms-outbound-20261121T0000Z", again=True)
    ledger.record_collects(of)
    ledger.record_delays(of, {0: None}, first, collected=of.collects)
    for then in (second, None):
        ledger.advance_relabelling(first, then)
        assert ledger.open_work().relabellings == (second,)
    ledger.advance_relabelling(second, None)
    assert ledger.open_work().relabellings == ()


# Deliveries that wait for the catalogue


def waiting(report: Report) -> Registration:
    values = {"definition": report.definition, "account": "abcd1234", "date": "2026-11-21"}
    return Registration(report.report_id, "SMS", values, f"manifests/{report.report_id}.json", NOW)


def test_delivery_and_its_missing_registration_are_written_together(ledger: Ledger) -> None:
    report = submitted(ledger)
    registration = waiting(report)
    delivered = replace(report, state=State.DELIVERED, slot=None)
    with pytest.raises(VersionConflict):
        ledger.write(replace(report, version=7), delivered, registration)
    assert ledger.open_work().registrations == ()
    ledger.write(report, delivered, registration)
    assert ledger.open_work().registrations == (registration,)
    assert ledger.open_work().reports == ()
    ledger.forget_registration(registration)
    assert ledger.open_work().registrations == ()


def test_unreadable_registration_is_named(ledger: Ledger, table: Table) -> None:
    report = planned(ledger)
    ledger.write(report, replace(report, state=State.DELIVERED), waiting(report))
    key = {"pk": "open", "sk": f"catalogue#{report.report_id}"}
    item = table.get_item(Key=key)["Item"]
    for name, value in (("partition", {"definition": "sms"}), ("since", "today")):
        table.put_item(Item={**item, name: value})
        assert ledger.open_work().unreadable == (key["sk"],)


# Backfills


def a_backfill(**changes: Any) -> Backfill:
    made = Backfill(definition(), date(2026, 11, 1), date(2026, 11, 5), begun_at=NOW)
    return replace(made, **changes)


def begun(ledger: Ledger) -> Backfill:
    ledger.write_all([], (None, a_backfill()))
    (backfill,) = ledger.open_work().backfills
    return backfill


def test_started_backfill_is_open_work(ledger: Ledger) -> None:
    assert begun(ledger) == a_backfill()
    assert ledger.open_work().reports == ()


def test_running_backfill_is_not_started_again(ledger: Ledger, table: Table) -> None:
    begun(ledger)
    before = items(table)
    with pytest.raises(VersionConflict):
        ledger.write_all([], (None, a_backfill(confirmed=True)))
    assert items(table) == before


def test_backfill_is_written_with_the_report_that_it_plans(ledger: Ledger, table: Table) -> None:
    backfill = begun(ledger)
    after = backfill.after(skipped=1, planned=1)
    calls = calls_to(table)
    (report,) = ledger.write_all([(None, a_report(backfill=backfill.name))], (backfill, after))
    assert calls == ["TransactWriteItems"]
    work = ledger.open_work()
    assert work.reports == (report,)
    assert work.backfills == (replace(after, version=1),)


def test_version_conflict_of_a_backfill_plans_no_report(ledger: Ledger, table: Table) -> None:
    backfill = begun(ledger)
    ledger.write_all([], (backfill, backfill.after(planned=1)))
    before = items(table)
    with pytest.raises(VersionConflict):
        ledger.write_all([(None, a_report())], (backfill, backfill.after(planned=1)))
    assert items(table) == before


def test_version_conflict_of_a_report_leaves_its_backfill(ledger: Ledger, table: Table) -> None:
    backfill = begun(ledger)
    planned(ledger)
    before = items(table)
    with pytest.raises(VersionConflict):
        ledger.write_all([(None, a_report())], (backfill, backfill.after(planned=1)))
    assert items(table) == before


@pytest.mark.parametrize("progress", [Progress.PLANNED, Progress.CANCELLED, Progress.STOPPED])
def test_finished_backfill_is_not_open_and_may_restart(
    progress: Progress, ledger: Ledger, table: Table
) -> None:
    backfill = begun(ledger)
    over = replace(backfill, progress=progress, seen_to=2)
    ledger.write_all([], (backfill, over))
    assert ledger.open_work().backfills == ()
    (item,) = table.query(KeyConditionExpression=Key("pk").eq("backfills"))["Items"]
    assert item["sk"] == backfill.name
    assert Backfill.from_json(str(item["backfill"])) == replace(over, version=1)
    with pytest.raises(VersionConflict):
        ledger.write_all([], (backfill, backfill.after(planned=1)))
    assert begun(ledger) == a_backfill()


def test_finish_of_a_changed_backfill_is_a_version_conflict(ledger: Ledger, table: Table) -> None:
    """A cancellation withdraws the planned reports, and must not miss one planned since."""
    backfill = begun(ledger)
    ledger.write_all([], (backfill, backfill.after(planned=1)))
    before = items(table)
    with pytest.raises(VersionConflict):
        ledger.write_all([], (backfill, replace(backfill, progress=Progress.CANCELLED)))
    assert items(table) == before


def test_backfill_of_another_version_stays_unchanged(ledger: Ledger, table: Table) -> None:
    report = planned(ledger)
    table.put_item(Item={"pk": "open", "sk": "backfill#sms-1", "backfill": '{"start": 1}'})
    work = ledger.open_work()
    assert (work.reports, work.backfills, work.unreadable) == ((report,), (), ("backfill#sms-1",))


# Notices


def test_cause_is_marked_announced_once(ledger: Ledger) -> None:
    assert ledger.mark_announced("refused#sms#filters#direction")
    assert not ledger.mark_announced("refused#sms#filters#direction")
    assert ledger.mark_announced("rejected#401")
    assert ledger.open_work().announced == {"refused#sms#filters#direction", "rejected#401"}


def test_conflicting_mark_is_not_taken_for_an_earlier_one(ledger: Ledger, table: Table) -> None:
    """Otherwise a cause counts as announced though it never was."""
    refuse_transaction(table, "TransactionConflict")
    try:
        assert ledger.mark_announced("rejected#401") == bool(ledger.open_work().announced)
    except ClientError:
        return
    assert ledger.open_work().announced == {"rejected#401"}


def test_cleared_cause_is_marked_again(ledger: Ledger) -> None:
    ledger.mark_announced("rejected#401")
    ledger.clear_announced("rejected#401")
    assert ledger.open_work().announced == frozenset()
    assert ledger.mark_announced("rejected#401")
    ledger.clear_announced("never noted")


# The cost of reads


def finished(table: Table, count: int) -> None:
    """Store a year's finished reports, in the form in which they are written."""
    one = a_report()
    ledger = Ledger(table)
    ledger.write(ledger.write(None, one), replace(one, state=State.DELIVERED))
    (item,) = table.query(KeyConditionExpression=Key("pk").eq("finished#sms-outbound"))["Items"]
    with table.batch_writer() as batch:
        for number in range(count):
            batch.put_item(Item={**item, "sk": f"{item['sk']!s}-{number}"})


def test_open_work_is_one_query_beside_finished_reports(ledger: Ledger, table: Table) -> None:
    finished(table, 300)
    report = submitted(ledger, 1)
    ledger.mark_announced("rejected#401")
    calls = calls_to(table)
    work = ledger.open_work()
    assert calls == ["Query"]
    assert work.reports == (report,)
    assert work.slots == {1: report.report_id}
    assert work.announced == {"rejected#401"}


def test_calendar_is_one_query_beside_finished_reports(ledger: Ledger, table: Table) -> None:
    finished(table, 300)
    calls = calls_to(table)
    ledger.calendar()
    assert calls == ["Query"]


def test_open_work_is_read_consistently(ledger: Ledger, table: Table) -> None:
    seen: list[object] = []

    def see(params: dict[str, Any], **_: object) -> None:
        seen.append(json.loads(params["body"]).get("ConsistentRead"))

    for operation in ("Query", "GetItem"):
        instead_of(table.meta.client, operation, see)
    ledger.open_work()
    ledger.calendar()
    ledger.report_served_by("x")
    ledger.finished_report("sms-20261121T0000Z-0123456789ab")
    assert seen == [True] * 4


def test_open_work_of_several_pages_is_complete(ledger: Ledger, table: Table) -> None:
    long = "x" * 40_000  # a page of 1 MB holds few of these
    ids = {planned(ledger, number, reason=long).report_id for number in range(60)}
    calls = calls_to(table)
    assert {report.report_id for report in ledger.open_reports()} == ids
    assert len(calls) > 2


def test_period_reads_only_the_attributes_that_judge_it(ledger: Ledger) -> None:
    deliver(ledger, 0, 10, execution_input="x" * 1_000, delivered_from=("r.json",))
    whole = ledger.finished_report(a_report(0).report_id)
    assert whole is not None
    assert whole.execution_input is not None
    start = whole.window.start
    (report,) = ledger.finished_between("sms-outbound", start, start + timedelta(days=1), [])
    others = {each.name for each in fields(Report)} - {*OF_PERIODS}
    assert report == replace(whole, **{name: getattr(report, name) for name in others})
    assert report.execution_input is None


def test_accounts_that_were_collected_before_are_found_newest_first(
    ledger: Ledger, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "_PAGE", 1)
    for number in range(4):
        deliver(ledger, number, 10)
    after = max(each.window.start for each in map(a_report, range(4))) + timedelta(days=1)
    calls = calls_to(table)
    assert ledger.collected_before("sms-outbound", after, {"abcd1234"}) == {"abcd1234"}
    assert len(calls) == 1
    assert ledger.collected_before("sms-outbound", after, {"abcd1234", "new00001"}) == {"abcd1234"}


def read_everything(ledger: Ledger) -> list[object]:
    """Return the result of each Query of the ledger."""
    return [
        ledger.open_work(),
        ledger.calendar(),
        ledger.ended_backfills([]),
        ledger.reports_between("sms-outbound", NOW - timedelta(days=99), NOW + timedelta(days=99)),
        list(
            ledger.finished_reports("sms-outbound", since=NOW - timedelta(days=99), unreadable=[])
        ),
    ]


def test_every_query_reads_all_pages(ledger: Ledger, table: Table) -> None:
    for number in range(3):
        planned(ledger, number)
        deliver(ledger, number + 3, 10)
        ledger.move_cursor("sms", "a", number, NOW)
        ledger.write_all([], (None, a_backfill(start=date(2026, 10, number + 1))))
        (running,) = ledger.open_work().backfills
        ledger.write_all([], (running, replace(running, progress=Progress.CANCELLED)))
    whole = read_everything(ledger)
    calls = calls_to(table)
    read_everything(ledger)
    in_one_page = len(calls)

    def one_item_a_page(params: dict[str, Any], **_: object) -> None:
        params["Limit"] = 1

    events = table.meta.client.meta.events
    events.register("before-parameter-build.dynamodb.Query", one_item_a_page)
    assert read_everything(ledger) == whole
    # The open and the finished reports between two times are two queries.
    assert in_one_page == 6
    assert len(calls) - in_one_page >= 3 * in_one_page


def test_item_of_a_later_version_of_the_code_is_ignored(ledger: Ledger, table: Table) -> None:
    before = ledger.open_work(), ledger.calendar()
    for pk in ("open", "calendar"):
        table.put_item(Item={"pk": pk, "sk": "tomorrow#sms#a", "since": "x"})
    assert (ledger.open_work(), ledger.calendar()) == before


def test_open_work_is_read_again_only_after_a_write(ledger: Ledger, table: Table) -> None:
    calls = calls_to(table)
    work = ledger.open_work()
    assert ledger.reread(work) is work
    report = planned(ledger)
    read = ledger.reread(work)
    assert read.reports == (report,)
    ledger.clear_announced("rejected#401")
    ledger.reread(read)
    assert calls.count("Query") == 3


def test_read_retries_during_a_transaction(table: Table, ledger: Ledger) -> None:
    report = submitted(ledger)
    reasons = [{"Code": "TransactionConflict"}, {"Code": "None"}]
    conflict = refusal_of_aws(400, "TransactionCanceledException", CancellationReasons=reasons)
    answers = chain([conflict, conflict], repeat(None))
    instead_of(table.meta.client, "TransactGetItems", lambda **_: next(answers))
    assert ledger.report(report.report_id) == report


def test_read_that_always_conflicts_raises(table: Table, ledger: Ledger) -> None:
    reasons = [{"Code": "TransactionConflict"}, {"Code": "None"}]
    conflict = refusal_of_aws(400, "TransactionCanceledException", CancellationReasons=reasons)
    instead_of(table.meta.client, "TransactGetItems", lambda **_: conflict)
    with pytest.raises(ClientError, match="TransactionCanceled"):
        ledger.report(a_report().report_id)
