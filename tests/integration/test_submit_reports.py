"""Settle, plan and submit against the simulator over HTTP, with DynamoDB and SNS in moto."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.support.handlers import Context, Handler, load_handler, set_environment
from tests.support.stack import LIFETIME, SCHEDULED, Stack, definition
from vonage_reports.aws.ledger_items import UnreadableItem
from vonage_reports.aws.sns import Topic
from vonage_reports.domain.decisions import Execution
from vonage_reports.domain.definitions import Refusal
from vonage_reports.domain.errors import IllegalTransition, InvalidRequest, VonageUnavailable
from vonage_reports.domain.lifecycle import Deliver, Fail, Withdraw
from vonage_reports.domain.objects import Precedence, manifest_key, receipt_key
from vonage_reports.domain.report import Entry, Report, State
from vonage_reports.domain.run_input import execution_input
from vonage_reports.domain.windows import format_instant
from vonage_reports.submit_reports.context import Invocation
from vonage_reports.submit_reports.execute import collect_errors, execute
from vonage_reports.submit_reports.plan import announce_refusals, clear_resolved_refusals, plan
from vonage_reports.submit_reports.read_definitions import parse_definitions
from vonage_reports.submit_reports.reprocess import recollect, resolve
from vonage_reports.submit_reports.settle import settle
from vonage_reports.submit_reports.submit import submit
from vonage_reports.vonage.answers import ReportRequest
from vonage_reports.vonage.client import HTTP_TIMEOUT, Credentials, VonageClient
from vonage_reports.vonage.pacing import Pacer


def the_report(stack: Stack) -> Report:
    (report,) = stack.open()
    return report


def test_five_reports_are_submitted_and_the_rest_wait(stack: Stack) -> None:
    # Relying on Vonage's refusals alone would send a sixth report.
    stack.simulator.settings(jobs_policy="queue")
    stack.plan(8)
    done = stack.submit()
    assert len(done.report_ids) == 5
    assert [each.state for each in stack.open()].count(State.PLANNED) == 3
    assert stack.slots() == 5
    assert len(stack.created()) == 5
    assert len(stack.runs.started) == 5


def test_ended_report_frees_its_slot(stack: Stack) -> None:
    stack.plan(6)
    first = stack.submit().report_ids
    report = next(each for each in stack.open() if each.report_id == first[0])
    stack.runs.end(report)
    assert stack.settle() == [first[0]]
    stack.simulator.settings(jobs_policy="queue")
    assert len(stack.submit().report_ids) == 1
    assert stack.slots() == 5


def test_repeated_schedule_plans_nothing_twice(stack: Stack) -> None:
    assert len(stack.plan(3)) == 3
    assert stack.plan(3) == []
    stack.submit()
    for report in stack.open():
        stack.runs.end(report)
    stack.settle()
    assert stack.plan(3) == []
    assert stack.open() == []


def test_run_starts_with_the_ledgers_input_and_request_id(stack: Stack) -> None:
    stack.plan()
    stack.submit()
    report = the_report(stack)
    (sent,) = stack.simulator.state()["reports"]
    assert stack.runs.started[report.execution_name] == report.execution_input
    value = json.loads(report.execution_input or "")
    assert value["request_id"] == sent["request_id"] == report.request_id
    assert (value["attempt"], value["run"], value["entry"]) == (1, 1, "check")


def test_lost_start_is_repeated_with_the_same_input(stack: Stack) -> None:
    stack.plan()
    stack.submit()
    report = the_report(stack)
    stack.runs.started.clear()
    stack.settle()
    assert stack.runs.started == {report.execution_name: report.execution_input}


def test_delivery_sets_the_expected_volume(stack: Stack) -> None:
    stack.plan()
    stack.submit()
    stack.runs.end(the_report(stack), rows=2400)
    stack.settle()
    calendar = stack.services.ledger.calendar()
    assert calendar.volumes == {("d0", "abcd1234"): 100.0}


def test_first_poll_fits_the_definitions_last_reports(stack: Stack) -> None:
    # Vonage takes two minutes for each million rows of this definition.
    for day in range(4):
        stack.now = at = SCHEDULED + timedelta(days=day)
        stack.plan(at=at)
        stack.submit()
        report = the_report(stack)
        first_wait = json.loads(report.execution_input or "")["first_wait"]
        assert report.submitted_at == stack.now
        ready = format_instant(stack.now + timedelta(minutes=6))
        stack.services.bucket.write_json(receipt_key(report), {"times": {"ready": ready}})
        stack.runs.end(report, rows=3_000_000)
        stack.settle()
        # On the first day, the number of rows is unknown.
        assert first_wait == [20, 1080, 1080, 324][day]


def test_429_delays_the_report_by_retry_after(stack: Stack) -> None:
    stack.plan(2)
    stack.simulator.fault("create", "status", status=429, retry_after=17, times=1)
    assert stack.submit().report_ids == []
    put_back = [report for report in stack.open() if report.not_before is not None]
    assert [report.not_before for report in put_back] == [stack.now + timedelta(seconds=17)]
    assert [report.attempt for report in put_back] == [0]
    assert stack.slots() == 0
    stack.later(seconds=18)
    assert len(stack.submit().report_ids) == 2
    assert stack.announced() == []


def test_wrong_credentials_are_announced_once_and_recover(stack: Stack) -> None:
    stack.plan(3)
    right = stack.credentials[0]
    stack.credentials[0] = Credentials("abcd1234", "wrong", right.source)
    stack.submit()
    stack.later(minutes=20)
    stack.submit()
    (notification,) = stack.announced()
    assert notification["event"] == "report.failed"
    assert "arn:aws:vonage" in notification["message"]
    assert "wrong" not in json.dumps(notification)
    assert stack.slots() == 0
    stack.credentials[0] = right
    stack.later(minutes=20)
    assert len(stack.submit().report_ids) == 3
    stack.credentials[0] = Credentials("abcd1234", "wrong", right.source)
    stack.plan_definitions(parse_definitions('[{"name": "new", "product": "AMD"}]', api_key="a")[0])
    stack.submit()
    assert len(stack.announced()) == 1, "a cleared cause is announced when it recurs"


def test_unannounced_refusal_takes_no_slot_and_is_retried(
    stack: Stack,
) -> None:
    foreign = definition(name="d0", account_ids=["foreign1"])
    invalid = definition(name="d1", product="NEW-PRODUCT")
    stack.plan_definitions([foreign, invalid])
    without_topic = replace(stack.services, topic=RefusingTopic())
    done = submit(without_topic, Invocation("one", lambda: 300.0), clock=lambda: stack.now)
    assert len(done.errors) == 2
    assert {each.state for each in stack.open()} == {State.PLANNED}
    assert stack.slots() == 0
    stack.later(minutes=15)
    stack.submit()
    assert {notification["definition"] for notification in stack.announced()} == {"d0", "d1"}
    assert the_report(stack).definition == "d0", "the report of d1 has failed"


def test_refused_account_does_not_stop_other_accounts(stack: Stack) -> None:
    stack.plan(1, account_ids=["foreign1", "abcd1234"])
    done = stack.submit()
    assert len(done.report_ids) == 1
    (notification,) = stack.announced()
    assert notification["account_id"] == "foreign1"
    assert stack.slots() == 1


def test_invalid_parameter_fails_with_definition_and_field(stack: Stack) -> None:
    stack.plan(1, filters={"direction": "outbound"}, product="NEW-PRODUCT")
    stack.plan_definitions(
        parse_definitions('[{"name": "fine", "product": "AMD"}]', api_key="abcd1234")[0]
    )
    done = stack.submit()
    assert len(done.report_ids) == 1
    (notification,) = stack.announced()
    assert (notification["event"], notification["error"]) == ("report.failed", "VonageRejected")
    assert notification["message"].startswith("d0, 2026-11-18: ")
    assert "product" in notification["message"]
    failed = stack.services.ledger.finished_report(notification["report_id"])
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
def test_unacknowledged_report_is_found_not_bought_again(
    stack: Stack, fault: dict[str, Any]
) -> None:
    stack.plan()
    stack.simulator.fault("create", **fault)
    assert stack.submit().report_ids == []
    assert the_report(stack).state is State.SUBMITTING
    assert stack.submit().report_ids == [], "the lease of the sender is not over yet"
    stack.later(minutes=10)
    assert len(stack.submit().report_ids) == 1
    (at_vonage,) = stack.simulator.state()["reports"]
    report = the_report(stack)
    assert (report.request_id, report.attempt) == (at_vonage["request_id"], 1)
    assert stack.slots() == 1


def test_absent_report_is_resubmitted_after_two_lookups(stack: Stack) -> None:
    stack.plan()
    stack.simulator.fault("create", "cut")
    stack.submit()
    stack.later(minutes=10)
    stack.submit()
    assert len(stack.created()) == 0, "one look-up does not prove an absence"
    stack.later(minutes=3)
    assert len(stack.submit().report_ids) == 1
    assert len(stack.created()) == 1


def test_unreadable_list_is_read_again_later(stack: Stack) -> None:
    stack.plan()
    stack.simulator.fault("create", "accept_then_cut")
    stack.submit()
    for status in (500, 429, 403):
        stack.simulator.fault("list", "status", status=status)
        stack.later(minutes=10)
        assert stack.submit().report_ids == []
    stack.later(minutes=10)
    assert len(stack.submit().report_ids) == 1
    assert len(stack.created()) == 1


LIKE_OURS = {
    "product": "VERIFY-V2",
    "account_id": "abcd1234",
    "date_start": "2026-11-18T00:00:00Z",
    "date_end": "2026-11-19T00:00:00Z",
}


@pytest.mark.parametrize("other", [{"country": "X1"}, {"date_end": "2026-11-20T00:00:00Z"}])
def test_another_tools_report_is_not_adopted(stack: Stack, other: dict[str, Any]) -> None:
    stack.plan()
    stack.simulator.fault("create", "cut")
    stack.submit()
    stack.simulator.jobs(1, 3600, {**LIKE_OURS, "country": "X0", **other})
    for _ in range(2):
        stack.later(minutes=10)
        stack.submit()
    ours = [each for each in stack.simulator.state()["reports"] if not each["foreign"]]
    assert [each["request_id"] for each in ours] == [the_report(stack).request_id]


def test_ambiguous_match_is_held_with_its_request_id(stack: Stack) -> None:
    # Either another tool requested this channel, or Vonage shows its default.
    stack.plan()
    stack.simulator.fault("create", "cut")
    stack.submit()
    (foreign,) = stack.simulator.jobs(1, 3600, {**LIKE_OURS, "country": "X0", "channel": "v2"})
    stack.later(minutes=10)
    assert len(stack.submit().held) == 1
    (notification,) = stack.announced()
    assert notification["run_again"]["resolve"]["request_id"] == foreign
    assert len(stack.created()) == 1, "the other tool's report, and none of ours"


def test_second_unlisted_post_is_held(stack: Stack) -> None:
    stack.plan()
    stack.simulator.fault("create", "accept_then_cut", times=None)
    stack.simulator.fault("list", "lag", seconds=10**6, times=None)
    for _ in range(20):
        stack.submit()
        stack.later(minutes=10)
    assert len(stack.created()) == 2
    assert the_report(stack).state is State.HELD


def test_list_may_lag_by_a_minute(stack: Stack) -> None:
    stack.plan()
    stack.simulator.fault("create", "accept_then_cut")
    stack.submit()
    stack.simulator.fault("list", "lag", seconds=60, times=None)
    stack.later(minutes=10)
    stack.submit()
    assert the_report(stack).state is State.SUBMITTING
    stack.simulator.advance(120)
    stack.later(minutes=3)
    assert len(stack.submit().report_ids) == 1
    assert len(stack.created()) == 1


def test_lease_protects_a_report_from_other_submitters(stack: Stack) -> None:
    stack.plan()
    stack.simulator.fault("create", "accept_then_cut")
    stack.submit()
    listed = stack.simulator.state()["requests"]["by_operation"]["list"]
    # 300 s of the invocation, 35 s of its last request, and a minute.
    stack.later(seconds=394)
    stack.submit("two")
    assert stack.simulator.state()["requests"]["by_operation"]["list"] == listed
    stack.later(seconds=2)
    assert len(stack.submit("two").report_ids) == 1


def test_invocation_without_time_for_the_answer_sends_nothing(stack: Stack) -> None:
    stack.plan()
    # A 401 may be followed by a second request.
    invocation = Invocation("one", lambda: 2 * HTTP_TIMEOUT)
    done = submit(stack.services, invocation, clock=lambda: stack.now)
    assert (done.report_ids, stack.slots(), stack.created()) == ([], 0, [])
    assert the_report(stack).state is State.PLANNED


def test_ended_attempt_is_not_adopted_for_a_lost_attempt(stack: Stack) -> None:
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


def test_unusable_secret_submits_nothing(stack: Stack) -> None:
    stack.plan(3)

    def no_credentials(_fresh: bool) -> Credentials:  # noqa: FBT001 - the client passes it by position
        raise InvalidRequest("the secret has no value yet")

    vonage = VonageClient(stack.simulator.url, no_credentials, pacer=Pacer(0))
    services = replace(stack.services, vonage=vonage)
    with pytest.raises(InvalidRequest, match="secret"):
        submit(services, Invocation("one", lambda: 300.0), clock=lambda: stack.now)
    assert {report.state for report in stack.open()} == {State.PLANNED}
    assert stack.slots() == 0


def test_unreachable_server_is_announced_once_without_lookup(stack: Stack) -> None:
    stack.plan(3)
    vonage = VonageClient("http://127.0.0.1:9", lambda _: stack.credentials[0], pacer=Pacer(0))
    services = replace(stack.services, vonage=vonage)
    for _ in range(2):
        submit(services, Invocation("one", lambda: 300.0), clock=lambda: stack.now)
        stack.later(minutes=5)
    assert {report.state for report in stack.open()} == {State.PLANNED}
    (notification,) = stack.announced()
    assert notification["error"] == "VonageUnreachable"
    assert len(stack.submit().report_ids) == 3


def test_refused_key_is_announced_with_all_slots_taken(stack: Stack) -> None:
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


@pytest.mark.parametrize(
    "changes", [{"request_id": "another"}, {"product": "SMS"}, {"request_status": None}]
)
def test_report_that_vonage_never_shows_is_held_after_48_hours(
    stack: Stack, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.plan()
    stack.submit()
    stack.runs.end(the_report(stack), "VonageUnavailable")
    ask = VonageClient._json

    def answer(self: VonageClient, method: str, path: str, **more: Any) -> dict[str, Any]:
        return {**ask(self, method, path, **more), **changes}

    monkeypatch.setattr(VonageClient, "_json", answer)
    stack.later(hours=47)
    stack.settle()
    assert the_report(stack).state is State.SUBMITTED
    stack.later(hours=2)
    stack.settle()
    assert the_report(stack).state is State.HELD
    assert len(stack.created()) == 1


def test_run_never_delivers_another_reports_file(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.plan(2)
    stack.submit()
    first, second = stack.open()
    set_environment(stack, monkeypatch)
    check = load_handler("check_report")
    run_input = json.loads(execution_input(first, Entry.CHECK))
    event = {"report": run_input, "waited_seconds": 20, "started": format_instant(stack.now)}
    assert check(event, Context("one"))["ready"] is False
    event["report"] = {**run_input, "request_id": second.request_id}
    with pytest.raises(VonageUnavailable, match="other parameters"):
        check(event, Context("two"))


def test_throttled_poll_says_that_no_callback_may_end_the_wait(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.plan()
    stack.submit()
    set_environment(stack, monkeypatch)
    run_input = json.loads(the_report(stack).execution_input or "")
    event = {"report": run_input, "waited_seconds": 20, "started": format_instant(stack.now)}
    stack.simulator.fault("get", "status", status=429, retry_after=90)
    check = load_handler("check_report")
    wait = {"ready": False, "wait_seconds": 90, "download": None}
    assert check(event, Context("one")) == {**wait, "throttled": True}
    assert "throttled" not in check(event, Context("two"))


def test_retry_after_applies_to_the_whole_key(stack: Stack) -> None:
    stack.plan(2)
    stack.simulator.fault("create", "status", status=429, retry_after=3600)
    stack.submit()
    stack.later(minutes=30)
    total = stack.simulator.state()["requests"]["total"]
    assert stack.submit().report_ids == []
    assert stack.simulator.state()["requests"]["total"] == total
    stack.later(minutes=31)
    assert len(stack.submit().report_ids) == 2


@pytest.mark.parametrize("status", [302, 303, 402, 403, 404, 405, 409, 415, 425])
def test_report_that_was_taken_and_then_refused_is_bought_once(stack: Stack, status: int) -> None:
    stack.plan()
    stack.simulator.fault("create", "accept_then_status", status=status, body="<html>", times=None)
    for _ in range(4):
        stack.submit()
        stack.later(minutes=15)
    (at_vonage,) = stack.created()
    assert the_report(stack).request_id == at_vonage["request_id"]


@pytest.mark.parametrize("status", [302, 404, 409])
def test_report_that_was_refused_without_proof_is_looked_up_first(
    stack: Stack, status: int
) -> None:
    stack.plan()
    stack.simulator.fault("create", "status", status=status)
    stack.submit()
    for _ in range(3):
        stack.later(minutes=15)
        stack.submit()
    assert the_report(stack).state is State.SUBMITTED
    assert len(stack.created()) == 1


def test_refusal_is_announced_once_while_the_list_does_not_answer(stack: Stack) -> None:
    """Vonage takes other reports of the account meanwhile, which disproves the refusal."""
    stack.plan()
    stack.simulator.fault("create", "status", status=403)
    stack.submit()
    assert len(stack.announced()) == 1
    stack.simulator.fault("list", "status", status=503, times=None)
    for number in range(3):
        stack.later(minutes=20)
        stack.plan_definitions([definition(name=f"other-{number}")])
        stack.submit()
    assert len(stack.created()) == 3
    assert stack.announced() == []


def test_report_failing_to_fetch_is_announced_once(stack: Stack) -> None:
    end_at_vonage(stack, "SUCCESS")
    for _ in range(5):
        stack.runs.end(the_report(stack), "ClientError")
        stack.settle()
        stack.later(hours=2)
        stack.settle()
    (notification,) = stack.announced()
    assert (notification["error"], notification["run_again"]) == ("ClientError", None)
    assert the_report(stack).resumes == 5


@pytest.mark.parametrize(
    "item",
    [
        {"pk": "open", "sk": "report#of-tomorrow", "state": "SPLIT", "report_id": "of-tomorrow"},
        {"pk": "open", "sk": "backfill#of-tomorrow", "backfill": "[]"},
        {"pk": "open", "sk": "slot#5", "until": "tomorrow"},
        {"pk": "open", "sk": "pause#"},
        {"pk": "calendar", "sk": "cursor#d9#abcd1234"},
        {"pk": "calendar", "sk": "volume#d0#abcd1234", "rows_per_hour": "many"},
        {"pk": "calendar", "sk": "collects#d9", "collects": "[]"},
    ],
    ids=lambda item: item["sk"],
)
def test_unreadable_item_is_named_and_blocks_no_report(
    item: dict[str, Any], stack: Stack, handler: Handler
) -> None:
    stack.plan(2)
    boto3.resource("dynamodb").Table("ledger").put_item(Item=item)
    handler.define({"name": "d0", "product": "VERIFY-V2"}, {"name": "d1", "product": "AMD"})
    with pytest.raises(UnreadableItem, match=re.escape(item["sk"])):
        handler({"sweep": True})
    assert len(stack.created()) == 2
    assert item in stack.table()


def test_slot_of_an_unreadable_item_is_taken(stack: Stack) -> None:
    stack.plan(5)
    item = {"pk": "open", "sk": "slot#5", "until": "tomorrow"}
    boto3.resource("dynamodb").Table("ledger").put_item(Item=item)
    stack.submit()
    assert len(stack.created()) == 4


@pytest.mark.parametrize(
    "item",
    [{"sk": "cursor#d0#abcd1234#3", "end": "yesterday"}, {"sk": "collects#d0", "collects": "[]"}],
    ids=lambda item: item["sk"],
)
def test_unreadable_item_stops_the_plan_of_its_definition_alone(
    item: dict[str, str], stack: Stack
) -> None:
    """Without its cursor, a definition would begin anew, and skip the windows since."""
    item["pk"] = "calendar"
    boto3.resource("dynamodb").Table("ledger").put_item(Item=item)
    definitions = [
        definition(filters={"country": f"X{n}"}, name=name) for n, name in enumerate(("d0", "d00"))
    ]
    done = plan(definitions, stack.services, at=SCHEDULED, now=stack.now)
    assert [type(error) for error in done.errors] == [UnreadableItem]
    assert [name[:4] for name in done.report_ids] == ["d00-"]


def test_window_of_an_unreadable_report_is_not_planned_again(stack: Stack) -> None:
    name, other = stack.plan(2)
    table = boto3.resource("dynamodb").Table("ledger")
    for pk, sk in (("open", f"report#{name}"), ("finished#d1", other)):
        table.put_item(Item={"pk": pk, "sk": sk, "report_id": sk, "state": "UNHEARD_OF"})
    table.delete_item(Key={"pk": "open", "sk": f"report#{other}"})
    for item in stack.table():
        if item["sk"].startswith("cursor#"):
            table.delete_item(Key={"pk": item["pk"], "sk": item["sk"]})
    assert [report_id[:3] for report_id in stack.plan(3)] == ["d2-"]
    assert stack.services.ledger.calendar().cursors.keys() == {
        (f"d{number}", "abcd1234", 3) for number in range(3)
    }


def test_changed_definition_is_refused_by_field(stack: Stack) -> None:
    stack.plan(1, window="day")
    (changed,), _ = parse_definitions(
        '[{"name": "d0", "product": "VERIFY-V2", "filters": {"country": "X0"}, "window": "month"}]',
        api_key="abcd1234",
    )
    done = plan([changed], stack.services, at=SCHEDULED, now=stack.now)
    assert done.report_ids == []
    assert [(each.definition, each.field) for each in done.refusals] == [("d0", "window")]


@pytest.mark.parametrize(
    ("at", "says"),
    [(datetime(1, 1, 1, tzinfo=UTC), "13 months"), (datetime(2099, 1, 1, tzinfo=UTC), "future")],
)
def test_schedule_time_without_records_is_refused(stack: Stack, at: datetime, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        plan([], stack.services, at=at, now=stack.now)


class RefusingTopic(Topic):
    """A topic that refuses every publication."""

    def __init__(self) -> None:
        pass

    def announce(self, body: Mapping[str, Any]) -> None:  # noqa: ARG002 - the topic's signature
        raise ClientError({"Error": {"Code": "AuthorizationError"}}, "Publish")


def test_windows_due_long_ago_are_announced_not_bought(stack: Stack) -> None:
    stack.plan()
    definitions, _ = parse_definitions(
        '[{"name": "d0", "product": "VERIFY-V2", "filters": {"country": "X0"}}]',
        api_key="abcd1234",
    )
    later = SCHEDULED + timedelta(days=200)
    done = plan(definitions, stack.services, at=later, now=later)
    assert len(done.report_ids) == 7
    assert [(each.definition, each.field) for each in done.refusals] == [("d0", "window")]
    assert "193 windows from 2026-11-19" in done.refusals[0].reason
    assert [body["field"] for body in stack.announced()] == ["window"]


def test_late_windows_are_announced_before_the_cursor_moves(stack: Stack) -> None:
    stack.plan()
    definitions, _ = parse_definitions(
        '[{"name": "d0", "product": "VERIFY-V2", "filters": {"country": "X0"}}]',
        api_key="abcd1234",
    )
    later = SCHEDULED + timedelta(days=200)
    refused = plan(definitions, replace(stack.services, topic=RefusingTopic()), at=later, now=later)
    assert (len(refused.errors), refused.report_ids) == (1, [])
    done = plan(definitions, stack.services, at=later, now=later)
    assert [(each.definition, each.field) for each in done.refusals] == [("d0", "window")]
    assert len(done.report_ids) == 7


@pytest.mark.parametrize("minutes", [2, 30, 59])
def test_entry_by_a_slow_clock_of_vonage_holds_the_report(stack: Stack, minutes: int) -> None:
    stack.plan()
    # Our clock, from now on ahead of Vonage's.
    stack.later(minutes=minutes)
    stack.simulator.fault("create", "accept_then_cut")
    stack.submit()
    for _ in range(2):
        stack.later(minutes=10)
        stack.submit()

    report = the_report(stack)
    (at_vonage,) = stack.simulator.state()["reports"]
    assert report.state is State.HELD
    assert at_vonage["request_id"] in (report.reason or "")


@pytest.mark.parametrize("status", [400, 403, 409, 422])
def test_report_that_vonage_refuses_to_show_is_held_after_48_hours(
    stack: Stack, status: int
) -> None:
    stack.plan()
    stack.submit()
    stack.runs.end(the_report(stack), "VonageRejected")
    stack.simulator.fault("get", "status", status=status, times=None)
    stack.later(hours=47)
    stack.settle()
    assert the_report(stack).state is State.SUBMITTED
    stack.later(hours=2)
    stack.settle()

    report = the_report(stack)
    assert (report.state, report.slot) == (State.HELD, 1)
    held = [body for body in stack.announced() if body["event"] == "report.held"]
    assert [body["run_again"]["resolve"]["request_id"] for body in held] == [report.request_id]
    # The slot is not kept for ever, and the operator can go on.
    stack.later(hours=25)
    stack.settle()
    assert stack.slots() == 0
    stack.simulator.reset()
    resolve(report.report_id, None, stack.services, now=stack.now)
    assert the_report(stack).state is State.PLANNED


def test_taken_report_that_was_refused_is_adopted_and_not_bought_again(stack: Stack) -> None:
    stack.plan()
    # A gateway answers in the place of Vonage, which took the report.
    stack.simulator.fault("create", "accept_then_status", status=403)
    stack.submit()
    for _ in range(3):
        stack.later(minutes=15)
        stack.submit()

    (at_vonage,) = stack.created()
    report = the_report(stack)
    assert (report.state, report.request_id) == (State.SUBMITTED, at_vonage["request_id"])
    assert (report.attempt, report.refused_since) == (1, None)


def test_refused_key_is_no_reason_to_doubt_that_nothing_was_created(stack: Stack) -> None:
    stack.plan()
    stack.credentials[0] = Credentials("abcd1234", "wrong", "the secret")
    stack.submit()
    assert (the_report(stack).state, the_report(stack).refused_since) == (State.PLANNED, None)


def test_operator_may_create_a_refused_report_although_the_list_is_gone(stack: Stack) -> None:
    stack.plan()
    stack.simulator.fault("create", "status", status=403)
    stack.submit()
    stack.simulator.fault("list", "status", status=404, times=None)
    stack.later(minutes=15)
    stack.submit()
    held = the_report(stack)
    assert (held.state, stack.created()) == (State.HELD, [])
    resolve(held.report_id, None, stack.services, now=stack.now)
    stack.submit()
    assert the_report(stack).state is State.SUBMITTED
    assert len(stack.created()) == 1


def test_refused_report_waits_while_the_list_does_not_answer(stack: Stack) -> None:
    stack.plan()
    stack.simulator.fault("create", "accept_then_status", status=403)
    stack.submit()
    stack.simulator.fault("list", "status", status=503, times=None)
    for _ in range(6):
        stack.later(hours=23)
        stack.submit()
        assert (the_report(stack).state, stack.slots()) == (State.PLANNED, 0)

    assert len(stack.created()) == 1, "nothing is bought without proof"


def test_refused_report_is_requested_once_the_lists_show_that_it_is_absent(stack: Stack) -> None:
    stack.plan()
    stack.simulator.fault("create", "status", status=403)
    stack.submit()
    refused = the_report(stack)
    assert (refused.state, refused.refused_since) == (State.PLANNED, refused.submitted_at)
    stack.simulator.fault("list", "status", status=503, times=None)
    stack.later(minutes=15)
    stack.submit()
    assert (the_report(stack).state, stack.created()) == (State.PLANNED, [])
    stack.simulator.reset()
    stack.later(minutes=15)
    stack.submit()
    assert the_report(stack).state is State.SUBMITTED
    assert len(stack.created()) == 1


def test_recollected_report_is_looked_up_if_its_post_was_refused(stack: Stack) -> None:
    planned = stack.plan()
    stack.simulator.fault("create", "accept_then_status", status=422)
    stack.submit()
    (report_id,) = planned
    assert stack.known(report_id).state is State.FAILED
    recollect(report_id, "once", stack.services, now=stack.now)
    stack.later(minutes=15)
    stack.submit()
    assert len(stack.created()) == 1
    assert the_report(stack).request_id == stack.created()[0]["request_id"]


def test_refused_transition_is_the_error_of_its_report_alone(stack: Stack) -> None:
    first, second = (stack.known(report_id) for report_id in stack.plan(2))
    failure = Fail("RowsMismatch", "11 of 12")
    errors: list[Exception] = []
    for report, decision in ((first, Deliver(3)), (second, Withdraw())):
        with collect_errors(errors):
            execute(report, decision, stack.services, now=stack.now)
    # Nothing is announced for a transition that is then refused.
    cancelled = stack.known(second.report_id)
    with collect_errors(errors):
        execute(cancelled, failure, stack.services, now=stack.now)

    assert [type(error) for error in errors] == [IllegalTransition, IllegalTransition]
    assert (stack.known(first.report_id), cancelled.state) == (first, State.CANCELLED)
    assert stack.announced() == []


def test_refused_reports_do_not_keep_the_others_from_the_slots(stack: Stack) -> None:
    stack.plan(6, account_ids=["foreign1"])
    for _ in range(2):
        stack.submit()
    (healthy,) = stack.plan_definitions([definition(name="healthy")])
    stack.later(minutes=15)

    assert stack.submit().report_ids == [healthy]


def test_reports_of_other_tools_take_slots(stack: Stack) -> None:
    stack.plan(5)
    others = stack.simulator.jobs(3, 3600)
    assert len(stack.submit().report_ids) == 2
    assert stack.simulator.state()["max_in_flight"] == 5
    for request_id in others:
        stack.services.vonage.cancel_report(request_id)
    assert len(stack.submit().report_ids) == 3


def test_unavailable_list_leaves_only_slots_to_count(stack: Stack) -> None:
    stack.plan(2)
    stack.simulator.fault("list", "status", status=404, times=None)
    assert len(stack.submit().report_ids) == 2


@pytest.fixture
def held(stack: Stack) -> Report:
    """A report that Vonage accepted without an answer, while Vonage's list is gone."""
    stack.plan()
    stack.simulator.fault("create", "accept_then_cut")
    stack.submit()
    stack.simulator.fault("list", "status", status=404, times=1)
    stack.later(minutes=10)
    assert len(stack.submit().held) == 1
    report = the_report(stack)
    assert report.state is State.HELD
    return report


def test_operator_resolves_a_held_report_with_a_request(stack: Stack, held: Report) -> None:
    (notification,) = stack.announced()
    assert notification["event"] == "report.held"
    assert notification["run_again"] is None, "an event copied unread must not buy a report twice"
    (at_vonage,) = stack.simulator.state()["reports"]
    resolve(held.report_id, at_vonage["request_id"], stack.services, now=stack.now)
    assert the_report(stack).request_id == at_vonage["request_id"]
    assert the_report(stack).execution_name in stack.runs.started
    assert len(stack.created()) == 1


def test_unknown_or_foreign_request_is_not_adopted(stack: Stack, held: Report) -> None:
    with pytest.raises(InvalidRequest, match="Vonage has no"):
        resolve(held.report_id, "a-typing-error", stack.services, now=stack.now)
    (foreign,) = stack.simulator.jobs(1, 3600)
    with pytest.raises(InvalidRequest, match="has other parameters"):
        resolve(held.report_id, foreign, stack.services, now=stack.now)
    assert the_report(stack) == held


def test_request_with_other_filters_is_not_adopted(stack: Stack, held: Report) -> None:
    (foreign,) = stack.simulator.jobs(1, 3600, {**LIKE_OURS, "country": "X1"})
    with pytest.raises(InvalidRequest, match="has other parameters"):
        resolve(held.report_id, foreign, stack.services, now=stack.now)
    assert the_report(stack) == held


def test_request_with_missing_fields_can_be_adopted(stack: Stack, held: Report) -> None:
    (at_vonage,) = stack.simulator.state()["reports"]

    class Vonage:
        def get_report(self, request_id: str) -> ReportRequest:
            answer = stack.services.vonage.get_report(request_id)
            return replace(answer, account_id="ABCD1234", date_start=None)

    services = replace(stack.services, vonage=Vonage())  # type: ignore[arg-type]  # the used method
    resolve(held.report_id, at_vonage["request_id"], services, now=stack.now)
    assert the_report(stack).state is State.SUBMITTED


def test_operator_resolves_a_held_report_without_a_request(stack: Stack, held: Report) -> None:
    resolve(held.report_id, None, stack.services, now=stack.now)
    assert stack.slots() == 0
    assert len(stack.submit().report_ids) == 1
    assert len(stack.created()) == 2


def test_held_report_keeps_its_slot_for_two_days(stack: Stack, held: Report) -> None:
    stack.later(hours=47)
    stack.settle()
    assert stack.slots() == 1
    stack.later(hours=2)
    stack.settle()
    assert stack.slots() == 0
    assert the_report(stack).state is State.HELD
    (at_vonage,) = stack.simulator.state()["reports"]
    resolve(held.report_id, at_vonage["request_id"], stack.services, now=stack.now)
    assert the_report(stack).state is State.SUBMITTED


def test_resolving_a_report_that_is_not_held_is_refused(stack: Stack) -> None:
    stack.plan()
    (report,) = stack.open()
    for report_id in (report.report_id, "unknown-20261118T0000Z-000000000000"):
        with pytest.raises(InvalidRequest, match="is not held"):
            resolve(report_id, None, stack.services, now=stack.now)
    assert stack.open() == [report]


def test_request_claimed_by_another_report_is_refused(stack: Stack, held: Report) -> None:
    stack.plan_definitions([definition(name="d9", filters={"country": "X0"})])
    stack.submit()
    other = next(each for each in stack.open() if each.report_id != held.report_id)
    assert other.request_id is not None
    with pytest.raises(InvalidRequest, match="belongs to another report"):
        resolve(held.report_id, other.request_id, stack.services, now=stack.now)


def end_at_vonage(stack: Stack, status: str) -> Report:
    """Submit one report that Vonage ends at once with `status`, and fail its run."""
    if not stack.open():
        stack.plan()
    stack.simulator.fault("create", "outcome", request_status=status, seconds=0)
    assert len(stack.submit().report_ids) == 1
    report = the_report(stack)
    stack.runs.end(report, "ReportFailed")
    return report


def test_report_failed_at_vonage_is_bought_at_most_three_times(stack: Stack) -> None:
    for attempt in (1, 2, 3):
        assert end_at_vonage(stack, "FAILED").attempt == attempt
        ended = stack.settle()
        assert stack.slots() == 0
        (notification,) = stack.announced()
        assert (notification["event"], notification["attempt"]) == ("report.failed", attempt)
        stack.later(hours=1)
    assert len(ended) == 1
    again = {"recollect": {"report_id": ended[0], "token": "failure-1"}}
    assert notification["run_again"] == again
    assert stack.open() == []
    assert len(stack.created()) == 3


def deliver(stack: Stack) -> str:
    """Deliver one report and return its id."""
    stack.plan()
    stack.submit()
    report = the_report(stack)
    stack.runs.end(report)
    stack.settle()
    return report.report_id


def test_window_is_recollected_once_per_token(stack: Stack) -> None:
    report_id = deliver(stack)
    stack.simulator.settings(jobs_limit=9)
    assert recollect(
        report_id, "monday", stack.services, now=stack.now, confirmed=True
    ).report_ids == [report_id]
    assert (
        recollect(report_id, "tuesday", stack.services, now=stack.now, confirmed=True).report_ids
        == []
    ), "unfinished"
    stack.submit()
    again = the_report(stack)
    assert (again.attempt, again.run) == (2, 2)
    stack.runs.end(again)
    stack.settle()
    assert (
        recollect(report_id, "monday", stack.services, now=stack.now, confirmed=True).report_ids
        == []
    )
    assert recollect(
        report_id, "tuesday", stack.services, now=stack.now, confirmed=True
    ).report_ids == [report_id]


def test_recollected_failed_window_has_three_new_attempts(stack: Stack) -> None:
    for _ in range(3):
        report = end_at_vonage(stack, "FAILED")
        stack.settle()
        stack.later(hours=1)
    assert recollect(
        report.report_id, "again", stack.services, now=stack.now, confirmed=True
    ).report_ids
    assert end_at_vonage(stack, "FAILED").attempt == 4
    assert stack.settle() == []
    assert the_report(stack).state is State.PLANNED


def test_recollecting_an_unknown_report_is_refused(stack: Stack) -> None:
    with pytest.raises(InvalidRequest, match="no report sms-20261118T0000Z-000000000000"):
        recollect(
            "sms-20261118T0000Z-000000000000", "x", stack.services, now=stack.now, confirmed=True
        )


def test_no_resubmission_before_the_cool_down(stack: Stack) -> None:
    end_at_vonage(stack, "FAILED")
    stack.settle()
    assert stack.submit().report_ids == []
    stack.later(minutes=1)
    assert len(stack.submit().report_ids) == 1


def test_failure_that_no_retry_fixes_fails_at_once(stack: Stack) -> None:
    end_at_vonage(stack, "EXPLODED")
    assert len(stack.settle()) == 1
    (notification,) = stack.announced()
    assert notification["error"] == "ReportFailed"
    assert (stack.slots(), stack.open()) == (0, [])


def test_paid_report_is_resumed_by_a_new_run_without_a_slot(stack: Stack) -> None:
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


def test_aborted_run_is_resumed_while_vonage_works(stack: Stack) -> None:
    stack.plan()
    stack.submit()
    stack.runs.end(the_report(stack), "ABORTED")
    stack.settle()
    resumed = the_report(stack)
    assert (resumed.run, resumed.slot) == (2, 1)
    assert len(stack.created()) == 1


def test_report_running_for_two_days_is_cancelled_and_replanned(stack: Stack) -> None:
    stack.plan()
    stack.submit()
    stack.later(hours=49)
    stack.runs.end(the_report(stack), "ReportFailed")
    stack.settle()
    (at_vonage,) = stack.simulator.state()["reports"]
    assert at_vonage["request_status"] == "ABORTED"
    assert the_report(stack).state is State.PLANNED
    assert stack.slots() == 0


def test_nothing_is_decided_while_vonage_does_not_answer(stack: Stack) -> None:
    report = end_at_vonage(stack, "FAILED")
    for status in (500, 401, 403, 429):
        stack.simulator.fault("get", "status", status=status, times=2)
        stack.settle()
        assert the_report(stack).state is State.SUBMITTED
        stack.simulator.clear_faults()
    assert the_report(stack).slot == report.slot
    stack.settle()
    assert the_report(stack).state is State.PLANNED


def test_unexpected_errors_do_not_block_other_reports(stack: Stack) -> None:
    stack.plan(3)
    stack.submit()
    *poisonous, fine = stack.open()
    stack.runs.end(fine)

    class Runs:
        def describe(self, report: Report) -> Execution:
            if report in poisonous:
                raise KeyError("rows")
            return stack.runs.describe(report)

    services = replace(stack.services, executions=Runs())  # type: ignore[arg-type]  # the used method
    ended: list[str] = []
    errors: list[Exception] = []
    for _ in range(3):
        # There is time for one report.
        invocation = Invocation("one", iter([LIFETIME, 0, 0]).__next__)
        work = stack.services.ledger.open_work()
        settled = settle(work, services, invocation, clock=lambda: stack.now)
        ended += settled.report_ids
        errors += settled.errors
        stack.later(minutes=5)
    assert ended == [fine.report_id]
    assert [type(each) for each in errors] == [KeyError, KeyError]


def test_report_missing_at_vonage_is_replanned_after_retries(stack: Stack) -> None:
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
def test_failed_run_resumes_after_its_stored_archive(
    stack: Stack, *, is_converted: bool, entry: str
) -> None:
    report = end_at_vonage(stack, "SUCCESS")
    stack.runs.end(report, "SNS.InternalError")
    stack.services.bucket.write_json(receipt_key(report), {})
    if is_converted:
        this_run = Precedence(report.delay_days, "", report.attempt, report.run)
        stack.services.bucket.replace_json(manifest_key(report), {}, this_run)
    stack.simulator.advance(5 * 86400)
    stack.settle()
    resumed = json.loads(the_report(stack).execution_input or "")
    assert (resumed["entry"], resumed["receipts"]) == (entry, [receipt_key(report)])
    assert len(stack.created()) == 1


def test_concurrent_settlers_announce_a_failure_once(stack: Stack) -> None:
    end_at_vonage(stack, "EXPLODED")
    seen = stack.services.ledger.open_work()
    for _ in range(2):
        stack.settle_seen(seen)
    assert len(stack.announced()) == 1


def test_announcement_of_a_dead_invocation_is_taken_over(stack: Stack) -> None:
    end_at_vonage(stack, "EXPLODED")
    (seen,) = stack.open()
    lease = stack.now + timedelta(seconds=60)
    stack.services.ledger.write(seen, replace(seen, look_after=lease))
    assert stack.settle() == []
    stack.later(seconds=61)
    assert stack.settle() == [seen.report_id]
    assert len(stack.announced()) == 1


@pytest.mark.parametrize("runs_of", ["settle", "submit"])
def test_concurrent_invocations_act_once(stack: Stack, runs_of: str) -> None:
    stack.plan(5)
    seen_before = stack.open()
    stack.submit()
    if runs_of == "submit":
        assert stack.submit("two").report_ids == []
    else:
        seen = stack.services.ledger.open_work()
        for report in seen.reports:
            stack.runs.end(report)
        assert len(stack.settle_seen(seen)) == 5
        assert stack.settle_seen(seen) == []
    assert len(seen_before) == len(stack.created()) == 5


def test_refused_definition_is_announced_once_until_corrected(stack: Stack) -> None:
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
