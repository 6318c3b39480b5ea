import json
from datetime import UTC, datetime
from typing import Any

import pytest

from vonage_reports.domain.definitions import Refusal, ReportDefinition
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.windows import WindowLength
from vonage_reports.inputs import (
    Resolution,
    ScheduledRun,
    Sweep,
    parse_definitions,
    parse_event,
)

API_KEY = "a1b2c3d4"
CALLS = {"name": "calls", "product": "VOICE-CALL"}
SMS = {"name": "sms-outbound", "product": "SMS", "filters": {"direction": "outbound"}}


def parsed(*entries: object) -> tuple[list[ReportDefinition], list[Refusal]]:
    return parse_definitions(json.dumps(entries), api_key=API_KEY)


def accepted(entry: object) -> ReportDefinition:
    definitions, refused = parsed(entry)
    assert refused == []
    [definition] = definitions
    return definition


def refusal(*entries: object) -> Refusal:
    _, refused = parsed(*entries)
    [only] = refused
    return only


def test_a_definition_needs_a_name_and_a_product_alone() -> None:
    assert accepted(CALLS) == ReportDefinition(
        name="calls",
        product="VOICE-CALL",
        account_ids=(API_KEY,),
        include_subaccounts=False,
        filters={},
        window=WindowLength.DAY,
        time_zone="UTC",
        delay_days=(3,),
        max_records=7_000_000,
        currency=None,
    )


def test_a_definition_may_say_everything() -> None:
    assert accepted(
        {
            "name": "sms-outbound",
            "product": "SMS",
            "account_ids": ["abcd1234", "EFGH5678"],
            "include_subaccounts": True,
            "filters": {"direction": "outbound", "include_message": False, "network": 23410},
            "window": "month",
            "time_zone": "Europe/London",
            "delay_days": [0, 3, 30],
            "max_records": 500_000,
            "currency": "EUR",
        }
    ) == ReportDefinition(
        name="sms-outbound",
        product="SMS",
        account_ids=("abcd1234", "EFGH5678"),
        include_subaccounts=True,
        filters={"direction": "outbound", "include_message": False, "network": 23410},
        window=WindowLength.MONTH,
        time_zone="Europe/London",
        delay_days=(0, 3, 30),
        max_records=500_000,
        currency="EUR",
    )


@pytest.mark.parametrize("window", ["hour", "day", "week", "month"])
def test_windows_are_hours_days_weeks_or_months(window: str) -> None:
    assert accepted({**CALLS, "window": window}).window.value == window


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("product", "voice-call"),
        ("product", ""),
        ("product", None),
        ("account_ids", []),
        ("account_ids", "abcd1234"),
        ("account_ids", ["abcd1234", "abcd1234"]),
        ("include_subaccounts", "yes"),
        ("include_subaccounts", 1),
        ("filters", ["direction"]),
        ("filters", "direction"),
        ("window", "year"),
        ("window", 24),
        ("time_zone", "Mars/Olympus"),
        ("time_zone", "europe/london"),
        ("time_zone", "Europe"),
        ("time_zone", "../../etc/passwd"),
        ("time_zone", "/etc/localtime"),
        ("time_zone", ""),
        ("time_zone", "+01:00"),
        ("time_zone", 1),
        ("delay_days", []),
        ("delay_days", 3),
        ("delay_days", [3, 0]),
        ("delay_days", [3, 3]),
        ("max_records", 0),
        ("max_records", "7000000"),
        ("currency", "eur"),
        ("currency", "EURO"),
        ("colour", "red"),
    ],
)
def test_a_refusal_names_the_definition_and_the_field(field: str, value: object) -> None:
    told = refusal({**CALLS, field: value})

    assert (told.definition, told.field) == ("calls", field)
    assert told.reason


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("account_ids", ["abcd1234", "ab cd"], "account_ids.1"),
        ("account_ids", [""], "account_ids.0"),
        ("account_ids", ["../other"], "account_ids.0"),
        ("delay_days", [0, 91], "delay_days.1"),
        ("delay_days", [-1], "delay_days.0"),
        ("delay_days", [0.5], "delay_days.0"),
        ("delay_days", [True], "delay_days.0"),
    ],
)
def test_a_refusal_names_the_place_in_a_list(field: str, value: object, named: str) -> None:
    assert refusal({**CALLS, field: value}).field == named


@pytest.mark.parametrize("value", [1.5, None, ["GB", "DE"], {"not": "GB"}])
def test_a_refusal_names_the_filter(value: object) -> None:
    assert refusal({**CALLS, "filters": {"country": value}}).field == "filters.country"


@pytest.mark.parametrize(
    "name", ["", "SMS", "sms_outbound", "sms outbound", "sms/outbound", "x" * 31, "sms\n", 5]
)
def test_a_name_is_short_and_fit_for_keys_and_names(name: object) -> None:
    assert refusal({**CALLS, "name": name}).field == "name"


def test_a_definition_without_a_name_is_named_by_its_place() -> None:
    told = refusal(CALLS, {"product": "ASR"})

    assert (told.definition, told.field) == ("(entry 2)", "name")


def test_a_definition_without_a_product_is_refused() -> None:
    told = refusal({"name": "calls"})

    assert (told.definition, told.field) == ("calls", "product")


def test_a_bad_definition_does_not_stop_the_others() -> None:
    definitions, refused = parsed(
        SMS, {"name": "bad", "product": "SMS"}, 7, {**CALLS, "window": "year"}, CALLS
    )

    assert [definition.name for definition in definitions] == ["sms-outbound", "calls"]
    assert [told.definition for told in refused] == ["bad", "(entry 3)", "calls"]


@pytest.mark.parametrize("product", ["SMS", "MESSAGES"])
def test_messages_need_a_direction(product: str) -> None:
    told = refusal({"name": "texts", "product": product})

    assert told.field == "filters.direction"
    assert "inbound" in told.reason


@pytest.mark.parametrize("product", ["VOICE-TTS", "WEBSOCKET-CALL"])
def test_a_direction_is_refused_where_vonage_was_seen_to_refuse_it(product: str) -> None:
    told = refusal({"name": "calls", "product": product, "filters": {"direction": "inbound"}})

    assert told.field == "filters.direction"
    assert product in told.reason


@pytest.mark.parametrize("product", ["VOICE-CALL", "VOICE-FAILED", "ASR"])
@pytest.mark.parametrize("filters", [{}, {"direction": "inbound"}, {"direction": "outbound"}])
def test_calls_may_say_a_direction(product: str, filters: dict[str, str]) -> None:
    assert accepted({"name": "calls", "product": product, "filters": filters}).filters == filters


@pytest.mark.parametrize("direction", ["sideways", "OUTBOUND", "", True])
def test_a_direction_is_inbound_or_outbound(direction: object) -> None:
    told = refusal({"name": "texts", "product": "SMS", "filters": {"direction": direction}})

    assert told.field == "filters.direction"


def test_a_product_and_a_filter_that_nobody_knows_yet_pass() -> None:
    entry = {"name": "new", "product": "SATELLITE-9", "filters": {"direction": "up", "orbit": 3}}

    assert accepted(entry).filters == {"direction": "up", "orbit": 3}
    assert accepted({**CALLS, "filters": {"orbit": 3}}).filters == {"orbit": 3}


def test_a_name_is_given_once() -> None:
    definitions, refused = parsed(SMS, {**SMS, "product": "MESSAGES"})

    assert [definition.product for definition in definitions] == ["SMS"]
    assert [(told.definition, told.field) for told in refused] == [("sms-outbound", "name")]


@pytest.mark.parametrize("twin", [SMS, {**SMS, "account_ids": [API_KEY]}, {**SMS, "window": "day"}])
def test_definitions_alike_in_all_but_the_name_would_be_billed_twice(
    twin: dict[str, object],
) -> None:
    definitions, refused = parsed(SMS, {**twin, "name": "texts"})

    assert [definition.name for definition in definitions] == ["sms-outbound"]
    [told] = refused
    assert told.definition == "texts"
    assert "sms-outbound" in told.reason


def test_accounts_in_another_order_are_alike_too() -> None:
    one = {**SMS, "account_ids": ["abcd1234", "efgh5678"]}
    other = {**SMS, "account_ids": ["efgh5678", "abcd1234"]}

    assert refusal(one, {**other, "name": "texts"}).definition == "texts"


@pytest.mark.parametrize(
    "difference",
    [
        {"filters": {"direction": "inbound"}},
        {"account_ids": ["abcd1234"]},
        {"window": "hour"},
        {"time_zone": "Europe/London"},
        {"include_subaccounts": True},
    ],
)
def test_definitions_that_collect_something_else_stand_side_by_side(
    difference: dict[str, object],
) -> None:
    definitions, refused = parsed(SMS, {**SMS, **difference, "name": "texts"})

    assert (len(definitions), refused) == (2, [])


@pytest.mark.parametrize("text", ["", "{", "[{]", "definitions", "[1,]", "\ufeff[]"])
def test_a_parameter_that_is_no_json_is_refused_as_a_whole(text: str) -> None:
    definitions, refused = parse_definitions(text, api_key=API_KEY)

    assert definitions == []
    assert "JSON" in refused[0].reason


@pytest.mark.parametrize("text", ["{}", "null", '"sms"', "7", json.dumps(SMS)])
def test_a_parameter_that_is_no_list_is_refused_as_a_whole(text: str) -> None:
    definitions, refused = parse_definitions(text, api_key=API_KEY)

    assert definitions == []
    assert "list" in refused[0].reason


def test_an_empty_list_collects_nothing_and_refuses_nothing() -> None:
    assert parsed() == ([], [])


def test_the_calendar_runs_at_the_time_that_the_scheduler_says() -> None:
    event = parse_event({"scheduled_time": "2026-11-22T03:15:00+01:00"})

    assert isinstance(event, ScheduledRun)
    assert event.scheduled_time == datetime(2026, 11, 22, 2, 15, tzinfo=UTC)


def test_a_sweep_is_a_sweep() -> None:
    assert isinstance(parse_event({"sweep": True}), Sweep)


@pytest.mark.parametrize("request_id", ["ri3p58f-6c5506b7-f16a-44dc-af06-756bbf467488", None])
def test_a_resolution_adopts_an_id_or_says_that_there_is_none(request_id: str | None) -> None:
    event = parse_event({"resolve": {"report_id": "calls-x", "request_id": request_id}})

    assert isinstance(event, Resolution)
    assert (event.report_id, event.request_id) == ("calls-x", request_id)


def test_the_end_of_a_run_is_a_wake_up_whatever_it_says() -> None:
    # Late, twice, out of order: EventBridge promises nothing, so nothing is read.
    event = {"source": "aws.states", "detail": {"status": "NEW"}, "scheduled_time": "never"}

    assert isinstance(parse_event(event), Sweep)


@pytest.mark.parametrize(
    ("event", "named"),
    [
        ({"scheduled_time": "tomorrow"}, "scheduled_time"),
        ({"scheduled_time": "2026-11-22T02:15:00"}, "scheduled_time"),
        ({"scheduled_time": "<aws.scheduler.scheduled-time>"}, "scheduled_time"),
        ({"sweep": "perhaps"}, "sweep"),
        ({"resolve": {"report_id": "calls-x"}}, "resolve.request_id"),
        ({"resolve": {"request_id": None}}, "resolve.report_id"),
        ({"resolve": {"report_id": "calls-x", "request_id": None, "by": "me"}}, "resolve.by"),
        ({"resolve": "calls-x"}, "resolve"),
        ({"schedule_time": "2026-11-22T02:15:00Z"}, "schedule_time"),
        ({"source": "aws.ec2"}, "source"),
    ],
)
def test_a_bad_event_is_refused_by_the_field_to_mend(event: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        parse_event(event)


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"sweep": True, "scheduled_time": "2026-11-22T02:15:00Z"},
        {"sweep": True, "resolve": {"report_id": "calls-x", "request_id": None}},
    ],
)
def test_an_event_says_one_thing(event: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="one thing"):
        parse_event(event)


@pytest.mark.parametrize("field", ["scheduled_time", "resolve", "sweep"])
def test_an_event_that_says_nothing_of_what_it_names_is_refused(field: str) -> None:
    # {"scheduled_time": null} must not pass for a sweep: the calendar would stand still unnoticed.
    with pytest.raises(InvalidRequest, match=field):
        parse_event({field: None})


@pytest.mark.parametrize("event", [[], "sweep", None, 7])
def test_an_event_that_is_no_object_is_refused(event: Any) -> None:
    with pytest.raises(InvalidRequest):
        parse_event(event)


def test_an_empty_request_id_is_none_to_adopt() -> None:
    with pytest.raises(InvalidRequest, match="request_id"):
        parse_event({"resolve": {"report_id": "calls-x", "request_id": ""}})
