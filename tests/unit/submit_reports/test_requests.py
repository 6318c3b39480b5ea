import json
from datetime import UTC, date, datetime
from typing import Any

import pytest

from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.submit_reports.requests import (
    REQUESTS,
    BackfillRequest,
    Recollection,
    Reconversion,
    Resolution,
    ScheduledRun,
    Sweep,
    is_dry_run,
    parse_event,
)

BACKFILL = {"definition": "calls", "start": "2026-01-01", "end": "2026-02-01"}


def test_scheduled_run_takes_the_time_of_the_schedule() -> None:
    event = parse_event({"scheduled_time": "2026-11-22T03:15:00+01:00"})

    assert isinstance(event, ScheduledRun)
    assert event.scheduled_time == datetime(2026, 11, 22, 2, 15, tzinfo=UTC)


def test_sweep_takes_true() -> None:
    assert isinstance(parse_event({"sweep": True}), Sweep)


@pytest.mark.parametrize("request_id", ["ri3p58f-6c5506b7-f16a-44dc-af06-756bbf467488", None])
def test_resolution_adopts_a_request_or_none(request_id: str | None) -> None:
    event = parse_event({"resolve": {"report_id": "calls-x", "request_id": request_id}})

    assert isinstance(event, Resolution)
    assert (event.report_id, event.request_id) == ("calls-x", request_id)


def test_reconversion_accepts_nothing_unless_told() -> None:
    name = {"report_id": "calls-x"}
    plain = parse_event({"reconvert": name})
    lenient = parse_event({"reconvert": {**name, "accept": ["row_count", "missing_columns"]}})

    assert isinstance(plain, Reconversion)
    assert isinstance(lenient, Reconversion)
    assert (plain.accept, lenient.accept) == ([], ["row_count", "missing_columns"])


def test_backfill_takes_local_dates() -> None:
    event = parse_event({"backfill": BACKFILL})

    assert isinstance(event, BackfillRequest)
    assert (event.start, event.end) == (date(2026, 1, 1), date(2026, 2, 1))


def test_end_of_a_run_is_a_sweep_with_any_content() -> None:
    # EventBridge delivers late, twice or out of order.
    event = {"source": "aws.states", "detail": {"status": "NEW"}, "scheduled_time": "never"}

    assert isinstance(parse_event(event), Sweep)


RECOLLECT = {"recollect": {"report_id": "calls-x"}}


def undelivered(event: dict[str, Any], **context: Any) -> dict[str, Any]:
    """Return the record of a failed event, as Lambda puts it into the dead-letter queue."""
    return {
        "version": "1.0",
        "timestamp": "2026-11-22T02:20:00.000Z",
        "requestContext": {"condition": "RetriesExhausted", **context},
        "requestPayload": event,
        "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
        "responsePayload": {"errorType": "ClientError"},
    }


def test_undelivered_recollection_keeps_its_invocation_as_token() -> None:
    event = parse_event(undelivered(RECOLLECT, requestId="an-invocation"))

    assert isinstance(event, Recollection)
    assert (event.report_id, event.token) == ("calls-x", "an-invocation")


@pytest.mark.parametrize("context", [{}, {"requestId": None}, {"requestId": "another"}])
def test_undelivered_event_keeps_its_own_token(context: dict[str, Any]) -> None:
    given = {"recollect": {**RECOLLECT["recollect"], "token": "monday"}}

    assert parse_event(undelivered(given, **context)) == parse_event(given)
    assert parse_event(undelivered({"sweep": True}, **context)) == Sweep()


def test_undelivered_replay_keeps_the_first_invocation_as_token() -> None:
    first = undelivered(RECOLLECT, requestId="the first")

    event = parse_event(undelivered(first, requestId="a replay"))

    assert isinstance(event, Recollection)
    assert event.token == "the first"


def test_undelivered_event_without_an_id_or_payload_is_read_as_it_is() -> None:
    assert parse_event({"requestPayload": RECOLLECT}) == parse_event(RECOLLECT)
    with pytest.raises(InvalidRequest, match="JSON object"):
        parse_event({"requestPayload": "sweep"})


@pytest.mark.parametrize("model", REQUESTS.values())
def test_every_field_is_described(model: Any) -> None:
    assert all(field.description for field in model.model_fields.values())


@pytest.mark.parametrize("model", REQUESTS.values())
def test_requests_with_a_dry_run_have_an_outlook(model: Any) -> None:
    takes_dry_run = "dry_run" in model.model_fields

    assert takes_dry_run == ("outlook" in vars(model))


@pytest.mark.parametrize("dry_run", [True, False])
def test_dry_run_is_recognised(*, dry_run: bool) -> None:
    assert is_dry_run(parse_event({"backfill": {**BACKFILL, "dry_run": dry_run}})) is dry_run


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (
            {"scheduled_time": "tomorrow"},
            (
                "scheduled_time: takes a time with its offset from UTC, such as "
                '2026-11-22T02:15:00Z, not "tomorrow"'
            ),
        ),
        (
            {"scheduled_time": 1763777700},
            "scheduled_time: takes a time with its offset from UTC, such as 2026-11-22T02:15:00Z",
        ),
        ({"sweep": False}, "sweep: takes true, not false"),
        (
            {"backfill": {**BACKFILL, "start": "yesterday"}},
            "backfill.start: takes a date, such as 2026-01-31",
        ),
        ({"backfill": {**BACKFILL, "confirm": 1}}, "backfill.confirm: takes true or false, not 1"),
        (
            {"backfill": {**BACKFILL, "name": "calls"}},
            (
                "backfill.name: no such field; the fields are definition, start, end, account_id, "
                "confirm, dry_run"
            ),
        ),
        ({"cancel": {}}, "cancel.backfill: missing; it takes the name of a backfill"),
        ({"cancel": None}, "cancel: takes an object with backfill"),
        (
            {"resolve": {"report_id": "calls-x", "request_id": ".."}},
            "resolve.request_id: takes the request_id that Vonage's dashboard shows, or null",
        ),
        (
            {"recollect": {"report_id": "calls-x", "token": ""}},
            'recollect.token: takes a string of 1 to 100 characters, not ""',
        ),
        (
            {"reconvert": {"report_id": "calls-x", "accept": ["rows"]}},
            (
                "reconvert.accept.0: takes a list of row_count, unreadable_rows, missing_columns, "
                'not "rows"'
            ),
        ),
        (
            {"backfil": BACKFILL},
            (
                "backfil: no such event; the events are scheduled_time, sweep, resolve, recollect, "
                "reconvert, withdraw, withdraw_windows, backfill, cancel"
            ),
        ),
        ({}, "an event takes exactly one key, this one has none: see events/"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_error_names_the_field_and_its_values(event: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_event(event)
    assert str(raised.value) == says


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"scheduled_time": "2026-11-22T02:15:00"}, "scheduled_time"),
        ({"scheduled_time": "<aws.scheduler.scheduled-time>"}, "scheduled_time"),
        ({"sweep": "perhaps"}, "sweep"),
        ({"resolve": {"report_id": "calls-x"}}, "resolve.request_id"),
        ({"resolve": {"request_id": None}}, "resolve.report_id"),
        ({"resolve": {"report_id": "calls-x", "request_id": ""}}, "resolve.request_id"),
        ({"resolve": {"report_id": "calls-x", "request_id": None, "by": "me"}}, "resolve.by"),
        ({"resolve": "calls-x"}, "resolve"),
        ({"cancel": '{"backfill": "calls"}'}, "cancel"),
        ({"backfill": {**BACKFILL, "end": "2026-02-30"}}, "backfill.end"),
        ({"backfill": {**BACKFILL, "end": 20260201}}, "backfill.end"),
        ({"schedule_time": "2026-11-22T02:15:00Z"}, "schedule_time"),
        ({"source": "aws.ec2"}, "source"),
    ],
)
def test_invalid_field_is_named(event: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{field}: "):
        parse_event(event)


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"sweep": True, "scheduled_time": "2026-11-22T02:15:00Z"},
        {"sweep": True, "resolve": {"report_id": "calls-x", "request_id": None}},
        {"sweep": True, "resolve": None},
    ],
)
def test_event_has_exactly_one_key(event: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="exactly one key"):
        parse_event(event)


@pytest.mark.parametrize("key", REQUESTS)
def test_null_is_no_value(key: str) -> None:
    # {"scheduled_time": null} must not pass for a sweep: the calendar would stop unnoticed.
    with pytest.raises(InvalidRequest, match=key):
        parse_event({key: None})


@pytest.mark.parametrize("event", [[], "sweep", None, 7])
def test_event_must_be_an_object(event: Any) -> None:
    with pytest.raises(InvalidRequest, match="JSON object"):
        parse_event(event)
