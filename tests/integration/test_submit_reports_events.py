"""The operator's events: the handler of submit_reports, with AWS in moto."""

import json
from datetime import timedelta
from typing import Any

import boto3
import pytest

from tests.support.handlers import Handler, load_handler, set_secret
from tests.support.stack import Stack
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.report import State

SMS = {"name": "sms", "product": "SMS", "filters": {"direction": "outbound"}}
VIDEO = {"name": "video", "product": "VIDEO-API"}
BROKEN = {"name": "broken", "product": "SMS"}


@pytest.fixture(autouse=True)
def definitions(handler: Handler) -> None:
    handler.define(SMS, VIDEO, BROKEN)


def backfill(stack: Stack, since: int, until: int, **more: Any) -> dict[str, Any]:
    """Return the event for a backfill of the days from `since` to `until` days ago."""
    start, end = stack.day(since).isoformat(), stack.day(until).isoformat()
    return {"backfill": {"definition": "sms", "start": start, "end": end, **more}}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"definition": "nope"}, "no report definition is named nope; .* sms, video"),
        ({"definition": "broken"}, r"broken, filters.direction: .*inbound"),
        ({"start": "2026-02-01", "end": "2026-01-01"}, "sms.*end 2026-01-01.*2026-02-01"),
        ({"start": "2026-02-01", "end": "2026-02-01"}, "sms.*not after start"),
        ({"end": "2099-01-01"}, "sms.*2099-01-01 is in the future"),
        ({"start": "2019-01-01"}, "sms.*2019-01-01"),
        ({"start": "2026-02-30"}, r"backfill\.start"),
        ({"start": "yesterday"}, r"backfill\.start.*date"),
        ({"end": 20260101}, r"backfill\.end.*date"),
        ({"end": "2026-1-1"}, r"backfill\.end.*date"),
        ({"end": None}, r"backfill\.end"),
        ({"confirm": "yes"}, r"backfill\.confirm"),
        ({"name": "sms"}, r"backfill\.name"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("dry_run", [False, True], ids=["", "dry"])
def test_invalid_backfill_is_refused_and_writes_nothing(
    stack: Stack, handler: Handler, given: dict[str, Any], says: str, *, dry_run: bool
) -> None:
    event = backfill(stack, 20, 4, **given)
    if dry_run:
        event["backfill"]["dry_run"] = True
    with pytest.raises(InvalidRequest, match=says):
        handler(event)
    assert stack.table() == []
    assert stack.simulator.state()["requests"]["total"] == 0


def test_backfill_of_video_reaches_back_90_days(stack: Stack, handler: Handler) -> None:
    with pytest.raises(InvalidRequest, match="VIDEO-API"):
        handler(backfill(stack, 100, 50, definition="video"))
    assert handler(backfill(stack, 80, 50, definition="video", dry_run=True))["dry_run"]


def test_backfill_without_a_due_window_is_refused(stack: Stack, handler: Handler) -> None:
    with pytest.raises(InvalidRequest, match="no whole day due; write earlier dates"):
        handler(backfill(stack, 2, 1))
    assert stack.table() == []


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"filters": {"direction": "inbound"}}, "filters"),
        ({"window": "month"}, "window"),
        ({"time_zone": "Europe/London"}, "time_zone"),
        ({"product": "MESSAGES"}, "product"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_backfill_of_a_changed_definition_is_refused(
    stack: Stack, handler: Handler, changed: dict[str, Any], field: str
) -> None:
    handler(backfill(stack, 6, 5))
    before = stack.table()
    handler.define({**SMS, **changed})
    for event in (backfill(stack, 70, 5), backfill(stack, 70, 5, dry_run=True)):
        with pytest.raises(InvalidRequest, match=rf"sms, {field}: changed .*or use a new name"):
            handler(event)
    assert stack.table() == before


@pytest.mark.parametrize("text", ["", "[", "{}", "null"])
def test_backfill_needs_readable_definitions(stack: Stack, handler: Handler, text: str) -> None:
    handler.define(text=text or " ")
    with pytest.raises(InvalidRequest, match="the report definitions"):
        handler(backfill(stack, 20, 4))
    assert stack.table() == []


UNKNOWN = "sms-20261118T0000Z-000000000000"


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({}, "exactly one key, this one has none"),
        ({"sweep": True, "cancel": {"backfill": "sms"}}, "one key, this one has cancel, sweep"),
        ({"sweep": False}, "sweep"),
        ({"backfil": {}}, "backfil"),
        ({"backfill": "sms"}, "backfill"),
        ({"backfill": None}, "backfill"),
        ({"cancel": {"backfill": "sms-20260101-20260201"}}, "no backfill sms-20260101-20260201"),
        ({"cancel": {}}, r"cancel\.backfill"),
        ({"recollect": {"report_id": UNKNOWN}}, f"no report {UNKNOWN}"),
        ({"recollect": {"report_id": UNKNOWN, "dry_run": True}}, f"no report {UNKNOWN}"),
        ({"recollect": {"report_id": UNKNOWN, "token": ""}}, r"recollect\.token"),
        ({"reconvert": {"report_id": UNKNOWN}}, f"no report {UNKNOWN}"),
        ({"reconvert": {"report_id": UNKNOWN, "dry_run": True}}, r"reconvert\.dry_run"),
        ({"recollect": {"report_id": UNKNOWN, "confirm": "yes"}}, r"recollect\.confirm"),
        ({"resolve": {"report_id": UNKNOWN, "request_id": None}}, "is not held"),
        ({"resolve": {"report_id": UNKNOWN, "request_id": None, "hold": "1"}}, r"resolve\.hold"),
        ({"withdraw": {"report_id": UNKNOWN}}, f"no report {UNKNOWN}"),
        ({"withdraw": {}}, r"withdraw\.report_id"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_invalid_event_is_refused_and_writes_nothing(
    stack: Stack, handler: Handler, event: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidRequest, match=says):
        handler(event)
    assert stack.table() == []
    assert stack.simulator.state()["requests"]["total"] == 0


def test_repeated_backfill_is_begun_once(stack: Stack, handler: Handler) -> None:
    answer = handler(backfill(stack, 20, 4))
    assert len(answer["planned"]) == len(answer["submitted"]) == 4
    (running,) = stack.services.ledger.open_work().backfills
    assert (running.name, running.seen_to) == (
        f"sms-{stack.day(20):%Y%m%d}-{stack.day(4):%Y%m%d}",
        4,
    )
    again = handler(backfill(stack, 20, 4))
    assert (again["planned"], again["submitted"]) == ([], [])
    handler({"cancel": {"backfill": running.name}})
    assert stack.services.ledger.open_work().backfills == ()
    assert len(stack.open()) == 4
    assert len(stack.created()) == 4


def test_dry_run_writes_and_requests_nothing(stack: Stack, handler: Handler) -> None:
    answer = handler(backfill(stack, 20, 4, dry_run=True))
    assert answer["dry_run"]["reports"] == len(answer["dry_run"]["windows"]) == 16
    assert answer["dry_run"]["expected_rows"] is None
    assert stack.table() == []
    assert stack.simulator.state()["requests"]["total"] == 0


def test_backfill_above_the_limit_needs_confirm(
    stack: Stack, handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler(backfill(stack, 5, 4))
    (report,) = stack.open()
    stack.runs.start(report)
    stack.runs.end(report, rows=2400)
    stack.settle()
    before = stack.table()
    with pytest.raises(InvalidRequest, match="the setting MaxBilledRecords"):
        handler(backfill(stack, 20, 4))
    assert stack.table() == before
    dry = handler(backfill(stack, 20, 4, dry_run=True))["dry_run"]
    assert (dry["skipped"], dry["expected_billed_records"]) == (1, 15 * 2400)
    assert dry["records_left_this_month"] is None
    monkeypatch.setenv("MAX_BILLED_RECORDS_MONTH", "4000")
    capped = handler(backfill(stack, 20, 4, dry_run=True))["dry_run"]
    assert capped["records_left_this_month"] == 4000 * 0.8 - 2400
    monkeypatch.delenv("MAX_BILLED_RECORDS_MONTH")
    assert len(handler(backfill(stack, 20, 4, confirm=True))["submitted"]) == 4


def test_retried_invocation_recollects_once(stack: Stack, handler: Handler) -> None:
    handler(backfill(stack, 5, 4))
    (report,) = stack.open()
    stack.runs.start(report)
    stack.runs.end(report)
    stack.settle()
    event: dict[str, Any] = {"recollect": {"report_id": report.report_id, "confirm": True}}
    assert (
        handler({"recollect": {**event["recollect"], "dry_run": True}})["dry_run"]["reports"] == 1
    )
    assert handler(event, "retried")["planned"] == [report.report_id]
    again = stack.known(report.report_id)
    assert (again.state, again.attempt) == (State.SUBMITTED, 2)
    stack.runs.start(again)
    stack.runs.end(again)
    stack.settle()
    repeated = handler(event, "retried")
    assert repeated["planned"] == []
    (said,) = repeated["faults"]
    assert "token retried was followed before" in said
    # Other errors must not make the event fail: sent again, it would be billed again.
    item = {"pk": "open", "sk": "report#of-tomorrow", "state": "SPLIT", "report_id": "of-tomorrow"}
    boto3.resource("dynamodb").Table("ledger").put_item(Item=item)
    set_secret("", "")
    without_secret = Handler(load_handler("submit_reports"))
    answer = without_secret(event, "another")
    assert answer["planned"] == [report.report_id]
    assert stack.known(report.report_id).state is State.PLANNED
    secret, of_tomorrow = answer["faults"]
    assert "both as non-empty strings" in secret
    assert "of-tomorrow" in of_tomorrow
    with pytest.raises(InvalidRequest, match="both as non-empty strings"):
        without_secret({"sweep": True})


def test_answer_names_the_withdrawn_report(stack: Stack, handler: Handler) -> None:
    handler(backfill(stack, 5, 4))
    (report,) = stack.open()
    answer = handler({"withdraw": {"report_id": report.report_id}})
    assert (answer["settled"], answer["faults"]) == ([report.report_id], [])
    assert (answer["planned"], answer["submitted"]) == ([], [])


def test_answer_says_that_a_report_cannot_be_withdrawn(stack: Stack, handler: Handler) -> None:
    handler(backfill(stack, 5, 4))
    (report,) = stack.open()
    stack.simulator.fault("cancel", "status", status=503, times=None)
    answer = handler({"withdraw": {"report_id": report.report_id}})
    (said,) = answer["faults"]
    assert f"withdraw: {report.report_id} is not ended" in said
    assert answer["settled"] == []


def test_undelivered_recollection_is_replayed_once(stack: Stack, handler: Handler) -> None:
    handler(backfill(stack, 5, 4))
    (report,) = stack.open()
    stack.runs.start(report)
    stack.runs.end(report)
    stack.settle()
    event = {"recollect": {"report_id": report.report_id, "confirm": True}}
    assert handler(event, "of its first invocation")["planned"] == [report.report_id]
    again = stack.known(report.report_id)
    stack.runs.start(again)
    stack.runs.end(again)
    stack.settle()
    record = {
        "requestContext": {"requestId": "of its first invocation"},
        "requestPayload": event,
    }
    assert handler(record, "a replay")["planned"] == []
    assert len(stack.created()) == 2


def test_reprocessing_uses_the_current_currency(stack: Stack, handler: Handler) -> None:
    handler(backfill(stack, 5, 4))
    (report,) = stack.open()

    def currency_after(event: str, *definitions: dict[str, Any]) -> str | None:
        delivered = stack.known(report.report_id)
        stack.services.bucket.write_json(receipt_key(delivered), {})
        stack.runs.start(delivered)
        stack.runs.end(delivered)
        stack.settle()
        handler.define(*definitions)
        confirm = {"confirm": True} if event == "recollect" else {}
        handler({event: {"report_id": report.report_id, **confirm}})
        started = json.loads(stack.known(report.report_id).execution_input or "")
        currency: str | None = started["definition"]["currency"]
        return currency

    assert report.currency is None
    assert currency_after("recollect", {**SMS, "currency": "EUR"}) == "EUR"
    assert currency_after("reconvert", {**SMS, "currency": "USD"}) == "USD"
    # Without its definition, a report keeps the currency that it has.
    assert currency_after("reconvert", VIDEO) == "USD"


def test_refused_definition_does_not_stop_the_others(stack: Stack, handler: Handler) -> None:
    at = (stack.now - timedelta(minutes=1)).isoformat()
    answer = handler({"scheduled_time": at})
    assert [each["definition"] for each in answer["refused"]] == ["broken"]
    assert len(answer["submitted"]) == 2


def test_answer_counts_the_reports_that_wait(stack: Stack, handler: Handler) -> None:
    stack.plan(8)
    handler.define(
        *(
            {"product": "VERIFY-V2", "name": f"d{n}", "filters": {"country": f"X{n}"}}
            for n in range(8)
        )
    )
    answer = handler({"sweep": True})
    assert (len(answer["submitted"]), answer["waiting"]) == (5, 3)


def test_pass_reads_the_open_partition_three_times(stack: Stack, handler: Handler) -> None:
    reads: list[str] = []

    def count(params: dict[str, Any], **_: object) -> None:
        query = json.loads(params["body"])
        if "BETWEEN" not in query["KeyConditionExpression"]:
            reads.extend(value["S"] for value in query["ExpressionAttributeValues"].values())

    session = boto3.DEFAULT_SESSION
    assert session is not None
    session.events.register("before-call.dynamodb.Query", count)
    try:
        handler({"scheduled_time": (stack.now - timedelta(minutes=1)).isoformat()})
    finally:
        session.events.unregister("before-call.dynamodb.Query", count)
    assert reads.count("open") == 3
