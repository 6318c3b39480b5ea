"""Settle, plan and submit, against the simulator over HTTP and DynamoDB and SNS in moto."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.support.handlers import Handler
from tests.support.stack import LIFETIME, SCHEDULED, Stack, definition
from vonage_reports.aws.sns import Topic
from vonage_reports.domain.decisions import Execution
from vonage_reports.domain.definitions import Refusal
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.objects import Precedence, manifest_key, receipt_key
from vonage_reports.domain.report import Report, State
from vonage_reports.submit_reports.context import Invocation
from vonage_reports.submit_reports.plan import announce_refusals, clear_resolved_refusals, plan
from vonage_reports.submit_reports.reprocess import recollect
from vonage_reports.submit_reports.requests import parse_definitions
from vonage_reports.submit_reports.settle import settle
from vonage_reports.submit_reports.submit import resolve, submit
from vonage_reports.vonage.answers import ReportRequest
from vonage_reports.vonage.client import HTTP_TIMEOUT, Credentials, VonageClient
from vonage_reports.vonage.pacing import Pacer


def the_report(stack: Stack) -> Report:
    (report,) = stack.open()
    return report


def test_five_reports_are_submitted_and_the_others_wait(stack: Stack) -> None:
    # Who goes by Vonage's refusals alone would send a sixth.
    stack.simulator.settings(jobs_policy="queue")
    stack.plan(8)
    done = stack.submit()
    assert (len(done.submitted), done.waiting) == (5, 3)
    assert stack.slots() == 5
    assert len(stack.created()) == 5
    assert len(stack.runs.started) == 5


def test_a_report_that_ended_makes_room_for_the_next(stack: Stack) -> None:
    stack.plan(6)
    first = stack.submit().submitted
    report = next(each for each in stack.open() if each.report_id == first[0])
    stack.runs.end(report)
    assert stack.settle() == [first[0]]
    stack.simulator.settings(jobs_policy="queue")
    assert len(stack.submit().submitted) == 1
    assert stack.slots() == 5


def test_planning_again_plans_nothing_twice(stack: Stack) -> None:
    assert len(stack.plan(3)) == 3
    assert stack.plan(3) == []
    stack.submit()
    for report in stack.open():
        stack.runs.end(report)
    stack.settle()
    assert stack.plan(3) == []
    assert stack.open() == []


def test_a_run_starts_with_what_the_ledger_keeps_and_knows_the_request(stack: Stack) -> None:
    stack.plan()
    stack.submit()
    report = the_report(stack)
    (sent,) = stack.simulator.state()["reports"]
    assert stack.runs.started[report.execution_name] == report.execution_input
    value = json.loads(report.execution_input or "")
    assert value["request_id"] == sent["request_id"] == report.request_id
    assert (value["attempt"], value["run"], value["entry"]) == (1, 1, "check")


def test_a_start_that_was_lost_is_made_good_with_the_same_input(stack: Stack) -> None:
    stack.plan()
    stack.submit()
    report = the_report(stack)
    stack.runs.started.clear()
    stack.settle()
    assert stack.runs.started == {report.execution_name: report.execution_input}


def test_a_delivery_tells_the_next_plan_what_to_expect(stack: Stack) -> None:
    stack.plan()
    stack.submit()
    stack.runs.end(the_report(stack), rows=2400)
    stack.settle()
    calendar = stack.services.ledger.calendar()
    assert calendar.volumes == {("d0", "abcd1234"): 100.0}


def test_429_puts_the_report_back_until_vonage_will_have_it(stack: Stack) -> None:
    stack.plan(2)
    stack.simulator.fault("create", "status", status=429, retry_after=17, times=1)
    assert stack.submit().submitted == []
    put_back = [report for report in stack.open() if report.not_before is not None]
    assert [report.not_before for report in put_back] == [stack.now + timedelta(seconds=17)]
    assert [report.attempt for report in put_back] == [0]
    assert stack.slots() == 0
    stack.later(seconds=18)
    assert len(stack.submit().submitted) == 2
    assert stack.announced() == []


def test_wrong_credentials_are_announced_once_and_heal(stack: Stack) -> None:
    stack.plan(3)
    right = stack.credentials[0]
    stack.credentials[0] = Credentials("abcd1234", "wrong", right.source)
    stack.submit()
    stack.later(minutes=20)
    stack.submit()
    (told,) = stack.announced()
    assert told["event"] == "report.failed"
    assert "arn:aws:vonage" in told["message"]
    assert "wrong" not in json.dumps(told)
    assert stack.slots() == 0
    stack.credentials[0] = right
    stack.later(minutes=20)
    assert len(stack.submit().submitted) == 3
    stack.credentials[0] = Credentials("abcd1234", "wrong", right.source)
    stack.plan_definitions(parse_definitions('[{"name": "new", "product": "AMD"}]', api_key="a")[0])
    stack.submit()
    assert len(stack.announced()) == 1, "a cause that was mended is announced when it comes back"


def test_a_refusal_that_cannot_be_announced_now_takes_no_slot_and_is_announced_later(
    stack: Stack,
) -> None:
    foreign = definition(name="d0", account_ids=["foreign1"])
    invalid = definition(name="d1", product="NEW-PRODUCT")
    stack.plan_definitions([foreign, invalid])
    deaf = replace(stack.services, topic=DeafTopic())
    done = submit(deaf, Invocation("one", lambda: 300.0), clock=lambda: stack.now)
    assert len(done.faults) == 2
    assert {each.state for each in stack.open()} == {State.PLANNED}
    assert stack.slots() == 0
    stack.later(minutes=15)
    stack.submit()
    assert {told["definition"] for told in stack.announced()} == {"d0", "d1"}
    assert the_report(stack).definition == "d0", "the other one is given up"


def test_a_foreign_account_does_not_stop_the_others(stack: Stack) -> None:
    stack.plan(1, account_ids=["foreign1", "abcd1234"])
    done = stack.submit()
    assert len(done.submitted) == 1
    (told,) = stack.announced()
    assert told["account_id"] == "foreign1"
    assert stack.slots() == 1


def test_what_vonage_finds_invalid_fails_by_definition_and_field(stack: Stack) -> None:
    stack.plan(1, filters={"direction": "outbound"}, product="NEW-PRODUCT")
    stack.plan_definitions(
        parse_definitions('[{"name": "fine", "product": "AMD"}]', api_key="abcd1234")[0]
    )
    done = stack.submit()
    assert len(done.submitted) == 1
    (told,) = stack.announced()
    assert (told["event"], told["error"]) == ("report.failed", "VonageRejected")
    assert told["message"].startswith("d0, 2026-11-18: ")
    assert "product" in told["message"]
    failed = stack.services.ledger.finished_report(told["report_id"])
    assert failed is not None
    assert failed.state is State.FAILED
    assert stack.slots() == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "accept_then_cut"},
        {"fault": "accept_then_status", "status": 500},
        {"fault": "accept_then_hang", "seconds": 3},
        {"fault": "not_json"},
    ],
    ids=lambda fault: fault["fault"],
)
def test_a_report_that_vonage_took_unheard_is_found_and_not_bought_again(
    stack: Stack, fault: dict[str, Any]
) -> None:
    stack.plan()
    stack.simulator.fault("create", **fault)
    assert stack.submit().submitted == []
    assert the_report(stack).state is State.SUBMITTING
    assert stack.submit().submitted == [], "the lease of the sender is not over yet"
    stack.later(minutes=10)
    assert len(stack.submit().submitted) == 1
    (at_vonage,) = stack.simulator.state()["reports"]
    report = the_report(stack)
    assert (report.request_id, report.attempt) == (at_vonage["request_id"], 1)
    assert stack.slots() == 1


def test_a_report_that_vonage_never_got_is_sent_again_after_two_looks(stack: Stack) -> None:
    stack.plan()
    stack.simulator.fault("create", "cut")
    stack.submit()
    stack.later(minutes=10)
    stack.submit()
    assert len(stack.created()) == 0, "one look does not prove an absence"
    stack.later(minutes=3)
    assert len(stack.submit().submitted) == 1
    assert len(stack.created()) == 1


def test_a_list_that_cannot_be_read_now_is_read_again_later(stack: Stack) -> None:
    stack.plan()
    stack.simulator.fault("create", "accept_then_cut")
    stack.submit()
    for status in (500, 429, 403):
        stack.simulator.fault("list", "status", status=status)
        stack.later(minutes=10)
        assert stack.submit().submitted == []
    stack.later(minutes=10)
    assert len(stack.submit().submitted) == 1
    assert len(stack.created()) == 1


LIKE_OURS = {
    "product": "VERIFY-V2",
    "account_id": "abcd1234",
    "date_start": "2026-11-18T00:00:00Z",
    "date_end": "2026-11-19T00:00:00Z",
}


@pytest.mark.parametrize("other", [{"country": "X1"}, {"date_end": "2026-11-20T00:00:00Z"}])
def test_another_tools_report_is_not_taken_for_ours(stack: Stack, other: dict[str, Any]) -> None:
    stack.plan()
    stack.simulator.fault("create", "cut")
    stack.submit()
    stack.simulator.jobs(1, 3600, {**LIKE_OURS, "country": "X0", **other})
    for _ in range(2):
        stack.later(minutes=10)
        stack.submit()
    ours = [each for each in stack.simulator.state()["reports"] if not each["foreign"]]
    assert [each["request_id"] for each in ours] == [the_report(stack).request_id]


def test_what_cannot_be_told_from_ours_is_held_with_its_id(stack: Stack) -> None:
    # Did another tool ask for one channel, or does Vonage name its default?
    stack.plan()
    stack.simulator.fault("create", "cut")
    stack.submit()
    (foreign,) = stack.simulator.jobs(1, 3600, {**LIKE_OURS, "country": "X0", "channel": "v2"})
    stack.later(minutes=10)
    assert len(stack.submit().held) == 1
    (told,) = stack.announced()
    assert told["run_again"]["resolve"]["request_id"] == foreign
    assert len(stack.created()) == 1, "the other tool's, and none of ours"


def test_a_second_post_that_the_list_never_shows_is_held(stack: Stack) -> None:
    stack.plan()
    stack.simulator.fault("create", "accept_then_cut", times=None)
    stack.simulator.fault("list", "lag", seconds=10**6, times=None)
    for _ in range(20):
        stack.submit()
        stack.later(minutes=10)
    assert len(stack.created()) == 2
    assert the_report(stack).state is State.HELD


def test_a_list_may_lag_by_a_minute(stack: Stack) -> None:
    stack.plan()
    stack.simulator.fault("create", "accept_then_cut")
    stack.submit()
    stack.simulator.fault("list", "lag", seconds=60, times=None)
    stack.later(minutes=10)
    stack.submit()
    assert the_report(stack).state is State.SUBMITTING
    stack.simulator.advance(120)
    stack.later(minutes=3)
    assert len(stack.submit().submitted) == 1
    assert len(stack.created()) == 1


def test_nobody_touches_a_report_before_its_sender_is_over_for_sure(stack: Stack) -> None:
    stack.plan()
    stack.simulator.fault("create", "accept_then_cut")
    stack.submit()
    listed = stack.simulator.state()["requests"]["by_operation"]["list"]
    # 300 s of the invocation, 35 s of its last request, and a minute.
    stack.later(seconds=394)
    stack.submit("two")
    assert stack.simulator.state()["requests"]["by_operation"]["list"] == listed
    stack.later(seconds=2)
    assert len(stack.submit("two").submitted) == 1


def test_who_would_be_over_before_the_answer_sends_nothing(stack: Stack) -> None:
    stack.plan()
    # A second request may follow a 401.
    invocation = Invocation("one", lambda: 2 * HTTP_TIMEOUT)
    done = submit(stack.services, invocation, clock=lambda: stack.now)
    assert (done.submitted, done.waiting, stack.slots(), stack.created()) == ([], 1, 0, [])


def test_an_attempt_that_ended_is_not_taken_for_the_one_that_got_lost(stack: Stack) -> None:
    first = end_at_vonage(stack, "FAILED")
    stack.settle()
    stack.later(minutes=5)
    stack.simulator.fault("create", "cut")
    stack.submit()
    for _ in range(2):
        stack.later(minutes=10)
        stack.submit()
    assert the_report(stack).request_id not in (None, first.request_id)
    assert len(stack.created()) == 2


def test_without_a_usable_secret_nothing_is_begun(stack: Stack) -> None:
    stack.plan(3)

    def no_credentials(_fresh: bool) -> Credentials:  # noqa: FBT001 - the client calls it by place
        raise InvalidRequest("the secret has no value yet")

    vonage = VonageClient(stack.simulator.url, no_credentials, pacer=Pacer(0))
    services = replace(stack.services, vonage=vonage)
    with pytest.raises(InvalidRequest, match="secret"):
        submit(services, Invocation("one", lambda: 300.0), clock=lambda: stack.now)
    assert {report.state for report in stack.open()} == {State.PLANNED}
    assert stack.slots() == 0


def test_a_server_that_cannot_be_reached_is_announced_once_and_costs_no_look(stack: Stack) -> None:
    stack.plan(3)
    vonage = VonageClient("http://127.0.0.1:9", lambda _: stack.credentials[0], pacer=Pacer(0))
    services = replace(stack.services, vonage=vonage)
    for _ in range(2):
        submit(services, Invocation("one", lambda: 300.0), clock=lambda: stack.now)
        stack.later(minutes=5)
    assert {report.state for report in stack.open()} == {State.PLANNED}
    (told,) = stack.announced()
    assert told["error"] == "VonageUnreachable"
    assert len(stack.submit().submitted) == 3


def test_a_key_that_is_refused_with_all_slots_taken_is_announced_too(stack: Stack) -> None:
    stack.plan(5)
    stack.submit()
    for report in stack.open():
        stack.runs.end(report, "VonageRejected")
    stack.simulator.fault("get", "status", status=401, times=None)
    stack.settle()
    assert {body["error"] for body in stack.announced()} == {"VonageRejected"}
    stack.settle()
    assert stack.announced() == []
    assert stack.slots() == 5


def test_retry_after_holds_for_the_whole_key(stack: Stack) -> None:
    stack.plan(2)
    stack.simulator.fault("create", "status", status=429, retry_after=3600)
    stack.submit()
    stack.later(minutes=30)
    total = stack.simulator.state()["requests"]["total"]
    assert stack.submit().submitted == []
    assert stack.simulator.state()["requests"]["total"] == total
    stack.later(minutes=31)
    assert len(stack.submit().submitted) == 2


@pytest.mark.parametrize("status", [402, 404, 405, 415])
def test_a_refusal_that_is_not_about_the_report_is_tried_again(stack: Stack, status: int) -> None:
    stack.plan()
    stack.simulator.fault("create", "status", status=status)
    stack.submit()
    assert the_report(stack).state is State.PLANNED
    assert len(stack.announced()) == 1
    stack.later(minutes=15)
    assert len(stack.submit().submitted) == 1


def test_who_cannot_be_fetched_for_long_is_announced_once(stack: Stack) -> None:
    end_at_vonage(stack, "SUCCESS")
    for _ in range(5):
        stack.runs.end(the_report(stack), "ClientError")
        stack.settle()
        stack.later(hours=2)
        stack.settle()
    (told,) = stack.announced()
    assert (told["error"], told["run_again"]) == ("ClientError", None)
    assert the_report(stack).resumes == 5


def test_a_report_of_another_version_is_left_alone_and_named(
    stack: Stack, handler: Handler
) -> None:
    stack.plan(2)
    table = boto3.resource("dynamodb").Table("ledger")
    item = {"pk": "open", "sk": "report#of-tomorrow", "state": "SPLIT", "report_id": "of-tomorrow"}
    table.put_item(Item=item)
    with pytest.raises(InvalidRequest, match="of another version: of-tomorrow"):
        handler({"sweep": True})
    assert len(stack.created()) == 2


def test_a_definition_that_collects_something_else_is_refused_by_field(stack: Stack) -> None:
    stack.plan(1, window="day")
    (changed,), _ = parse_definitions(
        '[{"name": "d0", "product": "VERIFY-V2", "filters": {"country": "X0"}, "window": "month"}]',
        api_key="abcd1234",
    )
    done = plan([changed], stack.services, at=SCHEDULED, now=stack.now)
    assert done.planned == []
    assert [(each.definition, each.field) for each in done.left_out] == [("d0", "window")]


@pytest.mark.parametrize(
    ("at", "says"),
    [(datetime(1, 1, 1, tzinfo=UTC), "13 months"), (datetime(2099, 1, 1, tzinfo=UTC), "future")],
)
def test_a_time_of_which_there_are_no_records_is_refused(
    stack: Stack, at: datetime, says: str
) -> None:
    with pytest.raises(InvalidRequest, match=says):
        plan([], stack.services, at=at, now=stack.now)


class DeafTopic(Topic):
    """A topic that SNS does not let anybody publish to."""

    def __init__(self) -> None:
        pass

    def announce(self, body: Mapping[str, Any]) -> None:  # noqa: ARG002 - the topic's signature
        raise ClientError({"Error": {"Code": "AuthorizationError"}}, "Publish")


def test_windows_that_became_due_long_ago_are_told_and_not_bought(stack: Stack) -> None:
    stack.plan()
    definitions, _ = parse_definitions(
        '[{"name": "d0", "product": "VERIFY-V2", "filters": {"country": "X0"}}]',
        api_key="abcd1234",
    )
    later = SCHEDULED + timedelta(days=200)
    done = plan(definitions, stack.services, at=later, now=later)
    assert len(done.planned) == 7
    assert [(each.definition, each.field) for each in done.left_out] == [("d0", "window")]
    assert "193 windows from 2026-11-19" in done.left_out[0].reason
    assert [body["field"] for body in stack.announced()] == ["window"]


def test_windows_that_are_late_are_told_before_anything_counts_them_as_seen(stack: Stack) -> None:
    stack.plan()
    definitions, _ = parse_definitions(
        '[{"name": "d0", "product": "VERIFY-V2", "filters": {"country": "X0"}}]',
        api_key="abcd1234",
    )
    later = SCHEDULED + timedelta(days=200)
    refused = plan(definitions, replace(stack.services, topic=DeafTopic()), at=later, now=later)
    assert (len(refused.faults), refused.planned) == (1, [])
    done = plan(definitions, stack.services, at=later, now=later)
    assert [(each.definition, each.field) for each in done.left_out] == [("d0", "window")]
    assert len(done.planned) == 7


def test_reports_of_other_tools_take_slots_too(stack: Stack) -> None:
    stack.plan(5)
    others = stack.simulator.jobs(3, 3600)
    assert len(stack.submit().submitted) == 2
    assert stack.simulator.state()["max_in_flight"] == 5
    for request_id in others:
        stack.services.vonage.cancel_report(request_id)
    assert len(stack.submit().submitted) == 3


def test_without_a_list_the_slots_alone_count(stack: Stack) -> None:
    stack.plan(2)
    stack.simulator.fault("list", "status", status=404, times=None)
    assert len(stack.submit().submitted) == 2


@pytest.fixture
def held(stack: Stack) -> Report:
    """A report that Vonage took, and whose list is gone."""
    stack.plan()
    stack.simulator.fault("create", "accept_then_cut")
    stack.submit()
    stack.simulator.fault("list", "status", status=404, times=1)
    stack.later(minutes=10)
    assert len(stack.submit().held) == 1
    report = the_report(stack)
    assert report.state is State.HELD
    return report


def test_without_a_list_a_person_says_which_request_it_is(stack: Stack, held: Report) -> None:
    (told,) = stack.announced()
    assert told["event"] == "report.held"
    assert told["run_again"] is None, "what is copied unread must not buy a report twice"
    (at_vonage,) = stack.simulator.state()["reports"]
    resolve(held.report_id, at_vonage["request_id"], stack.services, now=stack.now)
    assert the_report(stack).request_id == at_vonage["request_id"]
    assert the_report(stack).execution_name in stack.runs.started
    assert len(stack.created()) == 1


def test_a_request_that_vonage_does_not_have_is_not_adopted(stack: Stack, held: Report) -> None:
    with pytest.raises(InvalidRequest, match="Vonage has no"):
        resolve(held.report_id, "a-typing-error", stack.services, now=stack.now)
    (foreign,) = stack.simulator.jobs(1, 3600)
    with pytest.raises(InvalidRequest, match="another report's"):
        resolve(held.report_id, foreign, stack.services, now=stack.now)
    assert the_report(stack) == held


def test_a_request_that_has_other_filters_is_not_adopted_on_a_persons_word(
    stack: Stack, held: Report
) -> None:
    (foreign,) = stack.simulator.jobs(1, 3600, {**LIKE_OURS, "country": "X1"})
    with pytest.raises(InvalidRequest, match="another report's"):
        resolve(held.report_id, foreign, stack.services, now=stack.now)
    assert the_report(stack) == held


def test_what_a_report_is_held_for_may_be_adopted_whatever_vonage_leaves_unsaid(
    stack: Stack, held: Report
) -> None:
    (at_vonage,) = stack.simulator.state()["reports"]

    class Vonage:
        def get_report(self, request_id: str) -> ReportRequest:
            said = stack.services.vonage.get_report(request_id)
            return replace(said, account_id="ABCD1234", date_start=None)

    services = replace(stack.services, vonage=Vonage())  # type: ignore[arg-type]  # all that is asked
    resolve(held.report_id, at_vonage["request_id"], services, now=stack.now)
    assert the_report(stack).state is State.SUBMITTED


def test_without_a_list_a_person_may_say_that_there_is_none(stack: Stack, held: Report) -> None:
    resolve(held.report_id, None, stack.services, now=stack.now)
    assert stack.slots() == 0
    assert len(stack.submit().submitted) == 1
    assert len(stack.created()) == 2


def test_a_held_report_keeps_its_slot_for_a_day(stack: Stack, held: Report) -> None:
    stack.later(hours=23)
    stack.settle()
    assert stack.slots() == 1
    stack.later(hours=2)
    stack.settle()
    assert stack.slots() == 0
    assert the_report(stack).state is State.HELD
    (at_vonage,) = stack.simulator.state()["reports"]
    resolve(held.report_id, at_vonage["request_id"], stack.services, now=stack.now)
    assert the_report(stack).state is State.SUBMITTED


def test_resolving_what_is_not_held_changes_nothing(stack: Stack) -> None:
    stack.plan()
    (report,) = stack.open()
    for report_id in (report.report_id, "nobody-20261118T0000Z-000000000000"):
        with pytest.raises(InvalidRequest, match="is not held"):
            resolve(report_id, None, stack.services, now=stack.now)
    assert stack.open() == [report]


def test_a_request_that_serves_another_report_is_refused(stack: Stack, held: Report) -> None:
    stack.plan_definitions([definition(name="d9", filters={"country": "X0"})])
    stack.submit()
    other = next(each for each in stack.open() if each.report_id != held.report_id)
    assert other.request_id is not None
    with pytest.raises(InvalidRequest, match="serves another report"):
        resolve(held.report_id, other.request_id, stack.services, now=stack.now)


def end_at_vonage(stack: Stack, status: str) -> Report:
    """Submit one report that Vonage ends at once with `status`, and whose run failed."""
    if not stack.open():
        stack.plan()
    stack.simulator.fault("create", "outcome", request_status=status, seconds=0)
    assert len(stack.submit().submitted) == 1
    report = the_report(stack)
    stack.runs.end(report, "ReportFailed")
    return report


def test_a_report_that_failed_at_vonage_is_bought_three_times_at_most(stack: Stack) -> None:
    for attempt in (1, 2, 3):
        assert end_at_vonage(stack, "FAILED").attempt == attempt
        ended = stack.settle()
        assert stack.slots() == 0
        (told,) = stack.announced()
        assert (told["event"], told["attempt"]) == ("report.failed", attempt)
        stack.later(hours=1)
    assert len(ended) == 1
    assert told["run_again"] == {"recollect": {"report_id": ended[0]}}
    assert stack.open() == []
    assert len(stack.created()) == 3


def deliver(stack: Stack) -> str:
    """Bring one report to its delivery and return its id."""
    stack.plan()
    stack.submit()
    report = the_report(stack)
    stack.runs.end(report)
    stack.settle()
    return report.report_id


def test_a_window_is_collected_again_on_purpose_once_for_each_token(stack: Stack) -> None:
    report_id = deliver(stack)
    stack.simulator.settings(jobs_limit=9)
    assert recollect(report_id, "monday", stack.services, now=stack.now) == [report_id]
    assert recollect(report_id, "tuesday", stack.services, now=stack.now) == [], "it is unfinished"
    stack.submit()
    again = the_report(stack)
    assert (again.attempt, again.run) == (2, 2)
    stack.runs.end(again)
    stack.settle()
    assert recollect(report_id, "monday", stack.services, now=stack.now) == []
    assert recollect(report_id, "tuesday", stack.services, now=stack.now) == [report_id]


def test_a_failed_window_that_is_asked_for_again_has_three_attempts_again(stack: Stack) -> None:
    for _ in range(3):
        report = end_at_vonage(stack, "FAILED")
        stack.settle()
        stack.later(hours=1)
    assert recollect(report.report_id, "again", stack.services, now=stack.now)
    assert end_at_vonage(stack, "FAILED").attempt == 4
    assert stack.settle() == []
    assert the_report(stack).state is State.PLANNED


def test_collecting_an_unknown_report_again_is_refused(stack: Stack) -> None:
    with pytest.raises(InvalidRequest, match="no report sms-20261118T0000Z-000000000000"):
        recollect("sms-20261118T0000Z-000000000000", "x", stack.services, now=stack.now)


def test_nothing_is_bought_again_before_the_cool_down(stack: Stack) -> None:
    end_at_vonage(stack, "FAILED")
    stack.settle()
    assert stack.submit().submitted == []
    stack.later(minutes=1)
    assert len(stack.submit().submitted) == 1


def test_what_buying_again_does_not_mend_fails_at_once(stack: Stack) -> None:
    end_at_vonage(stack, "EXPLODED")
    assert len(stack.settle()) == 1
    (told,) = stack.announced()
    assert told["error"] == "ReportFailed"
    assert (stack.slots(), stack.open()) == (0, [])


def test_a_paid_report_is_fetched_by_a_new_run_and_gives_its_slot_back(stack: Stack) -> None:
    stack.plan()
    stack.simulator.fault("create", "outcome", request_status="SUCCESS", seconds=0)
    stack.submit()
    stack.runs.end(the_report(stack), "VonageUnavailable")
    stack.settle()
    resumed = the_report(stack)
    assert (resumed.state, resumed.run, resumed.attempt) == (State.SUBMITTED, 2, 1)
    assert stack.slots() == 0
    stack.settle()
    assert resumed.execution_name not in stack.runs.started, "the cool-down is not over yet"
    stack.later(minutes=1)
    stack.settle()
    assert resumed.execution_name in stack.runs.started
    assert len(stack.created()) == 1
    assert stack.announced() == []


def test_a_run_that_a_person_aborted_goes_on_while_vonage_works(stack: Stack) -> None:
    stack.plan()
    stack.submit()
    stack.runs.end(the_report(stack), "ABORTED")
    stack.settle()
    resumed = the_report(stack)
    assert (resumed.run, resumed.slot) == (2, 1)
    assert len(stack.created()) == 1


def test_a_report_still_at_work_after_two_days_is_cancelled_and_bought_again(stack: Stack) -> None:
    stack.plan()
    stack.submit()
    stack.later(hours=49)
    stack.runs.end(the_report(stack), "ReportFailed")
    stack.settle()
    (at_vonage,) = stack.simulator.state()["reports"]
    assert at_vonage["request_status"] == "ABORTED"
    assert the_report(stack).state is State.PLANNED
    assert stack.slots() == 0


def test_while_vonage_does_not_answer_nothing_is_decided(stack: Stack) -> None:
    report = end_at_vonage(stack, "FAILED")
    for status in (500, 401, 403, 429):
        stack.simulator.fault("get", "status", status=status, times=2)
        stack.settle()
        assert the_report(stack).state is State.SUBMITTED
        stack.simulator.clear_faults()
    assert the_report(stack).slot == report.slot
    stack.settle()
    assert the_report(stack).state is State.PLANNED


def test_reports_that_nobody_foresaw_are_not_in_the_way_of_the_others(stack: Stack) -> None:
    stack.plan(3)
    stack.submit()
    *poisonous, fine = stack.open()
    stack.runs.end(fine)

    class Runs:
        def describe(self, report: Report) -> Execution:
            if report in poisonous:
                raise KeyError("rows")
            return stack.runs.describe(report)

    services = replace(stack.services, executions=Runs())  # type: ignore[arg-type]  # all that is asked
    ended: list[str] = []
    troubles: list[Exception] = []
    for _ in range(3):
        # There is time for one of them.
        invocation = Invocation("one", iter([LIFETIME, 0, 0]).__next__)
        work = stack.services.ledger.open_work()
        settled, faults = settle(work, services, invocation, clock=lambda: stack.now)
        ended += settled
        troubles += faults
        stack.later(minutes=5)
    assert ended == [fine.report_id]
    assert [type(each) for each in troubles] == [KeyError, KeyError]


def test_a_report_that_vonage_forgot_is_bought_again_after_patience(stack: Stack) -> None:
    end_at_vonage(stack, "SUCCESS")
    stack.simulator.advance(5 * 86400)
    for _ in range(5):
        assert the_report(stack).state is State.SUBMITTED
        stack.runs.end(the_report(stack), "ReportExpired")
        stack.settle()
        stack.later(hours=2)
        stack.settle()
    assert the_report(stack).state is State.PLANNED
    assert {body["error"] for body in stack.announced()} == {"ReportExpired"}


@pytest.mark.parametrize(
    ("is_converted", "entry"), [(False, "convert"), (True, "announce")], ids=["stored", "converted"]
)
def test_a_run_that_failed_after_the_archive_was_stored_goes_on_from_there(
    stack: Stack, *, is_converted: bool, entry: str
) -> None:
    report = end_at_vonage(stack, "SUCCESS")
    stack.runs.end(report, "SNS.InternalError")
    stack.services.bucket.write_json(receipt_key(report), {})
    if is_converted:
        of_this_run = Precedence(report.delay_days, "", report.attempt, report.run)
        stack.services.bucket.replace_json(manifest_key(report), {}, of_this_run)
    stack.simulator.advance(5 * 86400)
    stack.settle()
    resumed = json.loads(the_report(stack).execution_input or "")
    assert (resumed["entry"], resumed["receipts"]) == (entry, [receipt_key(report)])
    assert len(stack.created()) == 1


def test_of_two_that_see_a_failure_at_the_same_moment_one_announces_it(stack: Stack) -> None:
    end_at_vonage(stack, "EXPLODED")
    seen = stack.services.ledger.open_work()
    for _ in range(2):
        stack.settle_seen(seen)
    assert len(stack.announced()) == 1


def test_who_dies_announcing_leaves_it_to_the_next(stack: Stack) -> None:
    end_at_vonage(stack, "EXPLODED")
    (seen,) = stack.open()
    lease = stack.now + timedelta(seconds=60)
    stack.services.ledger.write(seen, replace(seen, look_after=lease))
    assert stack.settle() == []
    stack.later(seconds=61)
    assert stack.settle() == [seen.report_id]
    assert len(stack.announced()) == 1


@pytest.mark.parametrize("runs_of", ["settle", "submit"])
def test_of_two_at_the_same_moment_one_does_it(stack: Stack, runs_of: str) -> None:
    stack.plan(5)
    seen_before = stack.open()
    stack.submit()
    if runs_of == "submit":
        assert stack.submit("two").submitted == []
    else:
        seen = stack.services.ledger.open_work()
        for report in seen.reports:
            stack.runs.end(report)
        assert len(stack.settle_seen(seen)) == 5
        assert stack.settle_seen(seen) == []
    assert len(seen_before) == len(stack.created()) == 5


def test_a_refused_definition_is_announced_once_until_it_is_mended(stack: Stack) -> None:
    refusal = Refusal("sms", "filters.direction", "SMS needs a direction")

    def announce(refusals: list[Refusal]) -> list[str]:
        announced = stack.services.ledger.open_work().announced
        announce_refusals(refusals, announced, stack.services)
        clear_resolved_refusals(refusals, announced, stack.services)
        return [each["definition"] for each in stack.announced()]

    assert announce([refusal]) == ["sms"]
    assert announce([refusal]) == []
    assert announce([]) == []
    assert announce([refusal]) == ["sms"]
