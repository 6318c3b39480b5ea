"""The ledger against DynamoDB as moto has it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from boto3.dynamodb.conditions import Key
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mypy_boto3_dynamodb.service_resource import Table

from tests.integration.conftest import instead_of, refusal_of_aws
from tests.ledger_table import create_ledger_table
from vonage_reports.aws.ledger import (
    SLOTS,
    Cursor,
    Ledger,
    Outrun,
    RequestServesAnother,
    SlotTaken,
)
from vonage_reports.domain.reports import Priority, Report, Revision, State, report_id
from vonage_reports.domain.windows import Window

NOW = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)


def a_report(number: int = 0, **changes: Any) -> Report:
    start = MIDNIGHT - timedelta(days=number)
    window = Window(start, start + timedelta(days=1), "UTC")
    report = Report(
        report_id=report_id(
            definition="sms-outbound", account_id="abcd1234", window=window, delay_index=0
        ),
        definition="sms-outbound",
        product="SMS",
        account_id="abcd1234",
        include_subaccounts=False,
        filters={"direction": "outbound"},
        window=window,
        revision=Revision.FINAL,
        priority=Priority.CALENDAR,
        planned_at=NOW,
    )
    return replace(report, **changes)


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
    """Everything in the table, in a fixed order."""
    return sorted(table.scan()["Items"], key=lambda item: (str(item["pk"]), str(item["sk"])))


def planned(ledger: Ledger, number: int = 0, **changes: Any) -> Report:
    report = a_report(number, **changes)
    assert ledger.plan(report)
    return report


def submitted(ledger: Ledger, number: int = 0, slot: int = 1) -> Report:
    report = planned(ledger, number)
    taken = ledger.write(report, replace(report, state=State.SUBMITTING, slot=slot, owner="me"))
    return ledger.write(
        taken, replace(taken, state=State.SUBMITTED, request_id=f"request-{number}", attempt=1)
    )


def calls_to(table: Table) -> list[str]:
    """The operations that are sent from now on."""
    seen: list[str] = []
    table.meta.client.meta.events.register(
        "before-call.dynamodb", lambda model, **_: seen.append(model.name)
    )
    return seen


def refuse_next_transaction(table: Table, *codes: str) -> None:
    """Answer the next transaction as DynamoDB does when it cancels it, one code for each write."""
    reasons = [{"Code": code} for code in codes]
    refusals = iter(
        [refusal_of_aws(400, "TransactionCanceledException", CancellationReasons=reasons)]
    )
    instead_of(table.meta.client, "TransactWriteItems", lambda **_: next(refusals, None))


# Plan


def test_a_planned_report_is_open_work(ledger: Ledger) -> None:
    report = planned(ledger)
    work = ledger.open_work()
    assert work.reports == (report,)
    assert work.slots == {}
    assert work.notices == frozenset()
    assert ledger.open_reports() == (report,)


def test_an_empty_ledger_has_no_open_work(ledger: Ledger) -> None:
    assert ledger.open_work().reports == ()
    assert ledger.calendar().cursors == {}


def test_planning_an_open_report_again_changes_nothing(ledger: Ledger, table: Table) -> None:
    submitted(ledger)
    before = items(table)
    assert not ledger.plan(a_report(planned_at=NOW + timedelta(days=1)))
    assert items(table) == before


@pytest.mark.parametrize("end", [State.DELIVERED, State.FAILED])
def test_planning_a_finished_report_again_changes_nothing(
    end: State, ledger: Ledger, table: Table
) -> None:
    report = submitted(ledger)
    ledger.write(report, replace(report, state=end, slot=None))
    before = items(table)
    assert not ledger.plan(a_report())
    assert items(table) == before
    assert ledger.open_reports() == ()


def test_a_plan_that_ran_into_another_transaction_is_not_taken_for_an_old_one(
    ledger: Ledger, table: Table
) -> None:
    """TransactionConflict says nothing of what is there: the window must not be passed over.

    The cursor moves behind it next, so a window that was not put is never collected.
    """
    refuse_next_transaction(table, "TransactionConflict", "None")
    try:
        assert ledger.plan(a_report()) == bool(ledger.open_reports())
    except ClientError:
        return  # said aloud, and the cursor stays
    assert len(ledger.open_reports()) == 1


# Write


def test_a_write_returns_what_the_ledger_then_holds(ledger: Ledger) -> None:
    report = planned(ledger)
    written = ledger.write(report, replace(report, not_before=NOW))
    assert written == replace(report, not_before=NOW, version=1)
    assert ledger.open_reports() == (written,)


def test_who_writes_what_another_has_moved_is_outrun_and_writes_nothing(
    ledger: Ledger, table: Table
) -> None:
    report = planned(ledger)
    ledger.write(report, replace(report, not_before=NOW))
    before = items(table)
    with pytest.raises(Outrun):
        ledger.write(
            report,
            replace(report, state=State.SUBMITTING, slot=3, request_id="request-1"),
        )
    assert items(table) == before
    assert ledger.report_served_by("request-1") is None


@pytest.mark.parametrize("end", [State.DELIVERED, State.FAILED])
def test_who_ends_what_another_has_moved_is_outrun_and_writes_nothing(
    end: State, ledger: Ledger, table: Table
) -> None:
    report = submitted(ledger)
    ledger.write(report, replace(report, run=2))
    before = items(table)
    with pytest.raises(Outrun):
        ledger.write(report, replace(report, state=end, slot=None, rows=5))
    assert items(table) == before


def test_who_writes_what_another_has_ended_is_outrun_and_writes_nothing(
    ledger: Ledger, table: Table
) -> None:
    report = submitted(ledger)
    ledger.write(report, replace(report, state=State.DELIVERED, slot=None))
    before = items(table)
    for state in (State.SUBMITTED, State.FAILED):
        with pytest.raises(Outrun):
            ledger.write(report, replace(report, state=state, slot=None))
    assert items(table) == before


def test_a_transaction_that_ran_into_another_writes_nothing(ledger: Ledger, table: Table) -> None:
    report = planned(ledger)
    before = items(table)
    refuse_next_transaction(table, "TransactionConflict", "None")
    with pytest.raises(Outrun):
        ledger.write(report, replace(report, state=State.SUBMITTING, slot=1))
    assert items(table) == before


@pytest.mark.parametrize("code", ["ThrottlingError", "ValidationError", "ItemCollectionSizeLimit"])
def test_a_transaction_that_failed_for_another_reason_is_no_race(
    code: str, ledger: Ledger, table: Table
) -> None:
    report = planned(ledger)
    refuse_next_transaction(table, code, "ConditionalCheckFailed")
    with pytest.raises(ClientError):
        ledger.write(report, replace(report, state=State.SUBMITTING, slot=1))


def test_every_write_is_one_request(ledger: Ledger, table: Table) -> None:
    report = planned(ledger)
    calls = calls_to(table)
    taken = ledger.write(report, replace(report, state=State.SUBMITTING, slot=1))
    sent = ledger.write(taken, replace(taken, state=State.SUBMITTED, request_id="request-1"))
    ledger.write(sent, replace(sent, state=State.DELIVERED, slot=None, rows=3))
    assert calls == ["TransactWriteItems"] * 3


# Reopen


def test_a_finished_report_is_open_again(ledger: Ledger) -> None:
    report = planned(ledger)
    end = ledger.write(report, replace(report, state=State.DELIVERED))
    assert ledger.reopen(end, replace(end, state=State.PLANNED))
    assert ledger.finished_report(report.report_id) is None
    (found,) = ledger.open_reports()
    assert found == replace(end, state=State.PLANNED, version=end.version + 1)


def test_of_two_that_reopen_a_report_one_does(ledger: Ledger, table: Table) -> None:
    report = planned(ledger)
    end = ledger.write(report, replace(report, state=State.DELIVERED))
    assert ledger.reopen(end, replace(end, state=State.PLANNED))
    before = items(table)
    assert not ledger.reopen(end, replace(end, state=State.PLANNED))
    assert items(table) == before


def test_a_report_that_is_open_is_not_reopened(ledger: Ledger, table: Table) -> None:
    report = submitted(ledger)
    before = items(table)
    assert not ledger.reopen(report, replace(report, state=State.PLANNED))
    assert items(table) == before


# Slots


def test_a_slot_is_taken_with_the_report(ledger: Ledger) -> None:
    report = submitted(ledger, slot=4)
    assert ledger.open_work().slots == {4: report.report_id}


def test_of_two_reports_one_takes_the_slot(ledger: Ledger, table: Table) -> None:
    first, second = planned(ledger, 1), planned(ledger, 2)
    ledger.write(first, replace(first, state=State.SUBMITTING, slot=2))
    before = items(table)
    with pytest.raises(SlotTaken):
        ledger.write(second, replace(second, state=State.SUBMITTING, slot=2))
    assert items(table) == before
    assert ledger.open_work().slots == {2: first.report_id}


def test_of_two_that_submit_the_same_report_one_is_outrun(ledger: Ledger) -> None:
    report = planned(ledger)
    ledger.write(report, replace(report, state=State.SUBMITTING, slot=1, owner="first"))
    with pytest.raises(Outrun):
        ledger.write(report, replace(report, state=State.SUBMITTING, slot=2, owner="second"))
    assert ledger.open_work().slots == {1: report.report_id}


def test_racers_that_saw_all_slots_free_never_hold_more_than_five(ledger: Ledger) -> None:
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


def test_a_slot_is_freed_with_the_report(ledger: Ledger) -> None:
    report = submitted(ledger, slot=5)
    ledger.write(report, replace(report, state=State.PLANNED, slot=None))
    assert ledger.open_work().slots == {}


@pytest.mark.parametrize("end", [State.DELIVERED, State.FAILED])
def test_a_report_that_still_holds_a_slot_frees_it_at_its_end(end: State, ledger: Ledger) -> None:
    report = submitted(ledger, slot=5)
    ledger.write(report, replace(report, state=end, slot=None))
    assert ledger.open_work().slots == {}


def test_only_its_holder_frees_a_slot(ledger: Ledger, table: Table) -> None:
    holder, other = submitted(ledger, 1, slot=1), planned(ledger, 2)
    believes = replace(other, slot=1)
    before = items(table)
    with pytest.raises(Outrun):
        ledger.write(believes, replace(believes, slot=None))
    assert items(table) == before
    assert ledger.open_work().slots == {1: holder.report_id}


def test_a_report_may_change_its_slot(ledger: Ledger) -> None:
    report = submitted(ledger, slot=1)
    ledger.write(report, replace(report, slot=2))
    assert ledger.open_work().slots == {2: report.report_id}


# Requests


def test_a_request_serves_the_report_that_claimed_it(ledger: Ledger) -> None:
    report = submitted(ledger, 1)
    assert ledger.report_served_by("request-1") == report.report_id
    assert ledger.report_served_by("request-2") is None


def test_no_request_serves_two_reports(ledger: Ledger, table: Table) -> None:
    submitted(ledger, 1)
    other = planned(ledger, 2)
    before = items(table)
    with pytest.raises(RequestServesAnother):
        ledger.write(other, replace(other, state=State.SUBMITTED, request_id="request-1"))
    assert items(table) == before


def test_a_request_is_claimed_once_and_written_often(ledger: Ledger) -> None:
    report = submitted(ledger, 1)
    for run in (2, 3):
        report = ledger.write(report, replace(report, run=run))
    assert ledger.report_served_by("request-1") == report.report_id


def test_a_request_of_an_earlier_attempt_still_serves_its_report(ledger: Ledger) -> None:
    report = submitted(ledger, 1)
    again = ledger.write(report, replace(report, state=State.PLANNED, slot=None, request_id=None))
    ledger.write(again, replace(again, state=State.SUBMITTED, request_id="another", attempt=2))
    assert ledger.report_served_by("request-1") == report.report_id
    assert ledger.report_served_by("another") == report.report_id


# The end


@pytest.mark.parametrize("end", [State.DELIVERED, State.FAILED])
def test_a_report_at_its_end_leaves_the_open_work(end: State, ledger: Ledger) -> None:
    report = submitted(ledger)
    assert ledger.finished_report(report.report_id) is None
    written = ledger.write(report, replace(report, state=end, slot=None, rows=7, reason="so"))
    assert ledger.open_reports() == ()
    assert ledger.finished_report(report.report_id) == written


def test_a_delivery_notes_how_many_rows_an_hour_has(ledger: Ledger) -> None:
    report = submitted(ledger)
    ledger.write(report, replace(report, state=State.DELIVERED, slot=None, rows=240_000))
    assert ledger.calendar().volumes == {("sms-outbound", "abcd1234"): 10_000}


def test_the_latest_delivery_counts_also_when_it_was_empty(ledger: Ledger) -> None:
    for number, rows in ((1, 24), (2, 0)):
        report = submitted(ledger, number)
        ledger.write(report, replace(report, state=State.DELIVERED, slot=None, rows=rows))
    assert ledger.calendar().volumes == {("sms-outbound", "abcd1234"): 0}


@pytest.mark.parametrize(
    ("end", "rows"), [(State.FAILED, 5), (State.FAILED, None), (State.DELIVERED, None)]
)
def test_rows_that_nobody_knows_are_not_noted(end: State, rows: int | None, ledger: Ledger) -> None:
    report = submitted(ledger)
    ledger.write(report, replace(report, state=end, slot=None, rows=rows))
    assert ledger.calendar().volumes == {}


# The round trip

instants = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - hypothesis adds the time zone
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001 - as above
    timezones=st.just(UTC),
)
seconds = instants.map(lambda instant: instant.replace(microsecond=0))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
counts = st.integers(0, 10**12)
json_values = st.one_of(texts, st.booleans(), st.integers(-(10**15), 10**15))
windows = st.builds(
    lambda start, hours, zone: Window(start, start + timedelta(hours=hours), zone),
    seconds,
    st.integers(1, 800),
    st.sampled_from(["UTC", "Europe/London", "Asia/Kathmandu"]),
)
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
    currency=st.none() | texts,
    state=st.sampled_from([state for state in State if not state.is_end]),
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
    request_id=st.none() | texts,
    run=counts,
    resumes=counts,
    execution_input=st.none() | texts,
    rows=st.none() | counts,
    error=st.none() | texts,
    reason=st.none() | texts,
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(report=reports)
def test_every_field_comes_back_as_it_was(report: Report, table: Table) -> None:
    for item in items(table):
        table.delete_item(Key={"pk": item["pk"], "sk": item["sk"]})
    ledger = Ledger(table)
    ledger.plan(report)
    (found,) = ledger.open_reports()
    assert found == report
    assert {name: type(value) for name, value in vars(found).items()} == {
        name: type(value) for name, value in vars(report).items()
    }


def test_filters_keep_their_types(ledger: Ledger) -> None:
    filters = {"include_message": False, "show_concatenated": True, "status": 200, "from": "1"}
    planned(ledger, filters=filters)
    (found,) = ledger.open_reports()
    assert json.dumps(found.filters, sort_keys=True) == json.dumps(filters, sort_keys=True)


def test_a_finished_report_comes_back_as_it_was(ledger: Ledger) -> None:
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


def until(end: datetime) -> Cursor:
    return Cursor(end, '{"product": "SMS"}')


def test_a_cursor_is_kept_for_each_definition_account_and_delay(ledger: Ledger) -> None:
    ledger.move_cursor("sms", "a", 0, until(NOW))
    ledger.move_cursor("sms", "a", 1, until(NOW - timedelta(days=3)))
    ledger.move_cursor("sms", "b", 0, until(NOW + timedelta(days=1)))
    assert ledger.calendar().cursors == {
        ("sms", "a", 0): until(NOW),
        ("sms", "a", 1): until(NOW - timedelta(days=3)),
        ("sms", "b", 0): until(NOW + timedelta(days=1)),
    }


def test_a_cursor_moves_forwards_and_never_back(ledger: Ledger) -> None:
    moves = [(0, 0), (5, 5), (3, 5), (5, 5), (6, 6), (-400, 6)]
    for move, expected in moves:
        ledger.move_cursor("sms", "a", 0, until(NOW + timedelta(hours=move)))
        assert ledger.calendar().cursors["sms", "a", 0] == until(NOW + timedelta(hours=expected))


@pytest.mark.parametrize(
    ("there", "then"),
    [
        ("2026-11-22T00:00:00+00:00", "2026-11-22T00:30:00.000001+00:00"),
        ("2026-11-22T00:00:00.000001+00:00", "2026-11-22T00:00:01+00:00"),
        ("2026-11-22T05:00:00+05:45", "2026-11-22T00:00:00+00:00"),
        ("2026-11-21T23:59:59.999999+00:00", "2026-11-22T00:00:00+00:00"),
    ],
)
def test_a_cursor_goes_by_the_instant_not_by_how_it_is_written(
    there: str, then: str, ledger: Ledger
) -> None:
    early, late = datetime.fromisoformat(there), datetime.fromisoformat(then)
    for end in (early, late, early):
        ledger.move_cursor("sms", "a", 0, until(end))
    assert ledger.calendar().cursors["sms", "a", 0] == until(late)


# Notices


def test_a_cause_is_noted_once(ledger: Ledger) -> None:
    assert ledger.note("refused#sms#filters#direction")
    assert not ledger.note("refused#sms#filters#direction")
    assert ledger.note("rejected#401")
    assert ledger.open_work().notices == {"refused#sms#filters#direction", "rejected#401"}


def test_a_note_that_ran_into_another_transaction_is_not_taken_for_an_old_one(
    ledger: Ledger, table: Table
) -> None:
    """Else what was never announced counts as announced."""
    refuse_next_transaction(table, "TransactionConflict")
    try:
        assert ledger.note("rejected#401") == bool(ledger.open_work().notices)
    except ClientError:
        return
    assert ledger.open_work().notices == {"rejected#401"}


def test_a_cause_that_was_forgotten_is_noted_again(ledger: Ledger) -> None:
    ledger.note("rejected#401")
    ledger.forget("rejected#401")
    assert ledger.open_work().notices == frozenset()
    assert ledger.note("rejected#401")
    ledger.forget("never noted")


# How much is read


def finished(table: Table, count: int) -> None:
    """As many finished reports as a year brings, put as they are written at their end."""
    one = a_report()
    ledger = Ledger(table)
    ledger.plan(one)
    ledger.write(one, replace(one, state=State.DELIVERED))
    (item,) = table.query(KeyConditionExpression=Key("pk").eq("finished#sms-outbound"))["Items"]
    with table.batch_writer() as batch:
        for number in range(count):
            batch.put_item(Item={**item, "sk": f"{item['sk']!s}-{number}"})


def test_open_work_is_one_query_whatever_is_finished(ledger: Ledger, table: Table) -> None:
    finished(table, 300)
    report = submitted(ledger, 1)
    ledger.note("rejected#401")
    calls = calls_to(table)
    work = ledger.open_work()
    assert calls == ["Query"]
    assert work.reports == (report,)
    assert work.slots == {1: report.report_id}
    assert work.notices == {"rejected#401"}


def test_the_calendar_is_one_query_whatever_is_finished(ledger: Ledger, table: Table) -> None:
    finished(table, 300)
    calls = calls_to(table)
    ledger.calendar()
    assert calls == ["Query"]


def test_what_is_open_is_read_consistently(ledger: Ledger, table: Table) -> None:
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


def test_open_work_of_several_pages_is_read_whole(ledger: Ledger, table: Table) -> None:
    long = "x" * 40_000  # so that a page, 1 MB, holds few
    ids = {planned(ledger, number, reason=long).report_id for number in range(60)}
    calls = calls_to(table)
    assert {report.report_id for report in ledger.open_reports()} == ids
    assert len(calls) > 2
