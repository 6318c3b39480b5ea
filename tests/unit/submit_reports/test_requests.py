import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vonage_reports.domain.definitions import Refusal, ReportDefinition
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.windows import WindowLength
from vonage_reports.submit_reports.requests import (
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
        ("account_ids", ["abcd1234", "ABCD1234"]),
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
        ("max_records", 10**30),
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
        ("delay_days", [0, 392], "delay_days.1"),
        ("delay_days", [-1], "delay_days.0"),
        ("delay_days", [10**4299], "delay_days.0"),
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


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            {"name": "Calls"},
            'name: it takes lower-case letters, digits and hyphens, 30 at most, not "Calls"',
        ),
        (
            {"product": None},
            (
                "product: it takes the product as Vonage names it, in capitals, "
                "such as VOICE-CALL, not null"
            ),
        ),
        (
            {"account_ids": ["ab cd"]},
            (
                "account_ids.0: it takes account ids in a list, one at least, "
                'such as ["abcd1234"], not "ab cd"'
            ),
        ),
        ({"include_subaccounts": "yes"}, 'include_subaccounts: it takes true or false, not "yes"'),
        ({"window": "year"}, 'window: it takes hour, day, week or month, not "year"'),
        (
            {"time_zone": 1},
            "time_zone: it takes the name of an IANA time zone, such as Europe/London, not 1",
        ),
        (
            {"time_zone": "Mars/Olympus"},
            "time_zone: 'Mars/Olympus' is no IANA time zone, such as Europe/London",
        ),
        (
            {"delay_days": "3"},
            'delay_days: it takes whole numbers from 0 to 999 in a list, such as [0, 3], not "3"',
        ),
        ({"currency": "eur"}, 'currency: it takes three capital letters, such as EUR, not "eur"'),
        (
            {"colour": "red"},
            (
                "colour: there is no such field: there are name, product, account_ids, "
                "include_subaccounts, filters, window, time_zone, delay_days, max_records, currency"
            ),
        ),
    ],
)
def test_a_refusal_is_a_sentence_that_says_what_the_field_takes(
    wrong: dict[str, object], sentence: str
) -> None:
    told = refusal({**CALLS, **wrong})

    assert f"{told.field}: {told.reason}" == sentence


def test_a_missing_field_is_said_to_be_missing_and_what_it_takes() -> None:
    assert refusal({"name": "calls"}).reason == (
        "it is missing; it takes the product as Vonage names it, in capitals, such as VOICE-CALL"
    )


def test_a_long_value_is_quoted_in_part() -> None:
    told = refusal({**CALLS, "window": "day" * 100})

    assert len(told.reason) < 120
    assert told.reason.endswith("...")


@pytest.mark.parametrize(
    "filters", [{"to": ["447700900123"]}, {"to": {"447700900123": 1}}, ["447700900123"]]
)
def test_what_stands_in_a_filter_is_not_quoted_for_it_may_be_a_phone_number(
    filters: object,
) -> None:
    assert "447700900123" not in str(refusal({**CALLS, "filters": filters}))


@pytest.mark.parametrize(
    "name", [{"is": "an object"}, ["calls"], 7, "ca\x00lls", "\ud800", "x" * 1000, "rufe-\u00e4"]
)
def test_a_name_that_cannot_be_shown_is_replaced_by_the_place(name: object) -> None:
    # The definition is an attribute of a notification, which takes no such text.
    told = refusal(CALLS, {**CALLS, "name": name})

    assert (told.definition, told.field) == ("(entry 2)", "name")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"filters": {"": "GB"}}, "filters."),
        ({"filters": {"coun try": "GB"}}, "filters.coun try"),
        ({"filters": {"country": "G\x00B"}}, "filters.country"),
        ({"filters": {"country": "\ud800"}}, "filters.country"),
        ({"\ud800": "red"}, "(JSON)"),
    ],
)
def test_what_is_no_printable_text_is_refused(wrong: dict[str, object], field: str) -> None:
    # It would be refused only when it is sent, and stop the other definitions with it.
    assert refusal({**CALLS, **wrong}).field == field


@pytest.mark.parametrize(
    ("twice", "field"),
    [
        ('"name": "calls", "name": "ears", "product": "ASR"', "name"),
        ('"name": "ears", "product": "ASR", "delay_days": [0], "delay_days": [3]', "delay_days"),
        (
            '"name": "ears", "product": "ASR", "filters": {"to": "1", "to": "2"}',
            "filters.to",
        ),
    ],
)
def test_a_field_that_is_given_twice_is_refused_for_json_would_take_either(
    twice: str, field: str
) -> None:
    definitions, refused = parse_definitions(f"[{{{twice}}}, {json.dumps(CALLS)}]", api_key=API_KEY)

    assert [definition.name for definition in definitions] == ["calls"]
    assert refused == [Refusal("ears", field, "it is given twice")]


@pytest.mark.parametrize(
    "name",
    [
        "product", "account_id", "include_subaccounts", "date_start", "date_end", "callback_url",
        "id",
    ],
)  # fmt: skip
@pytest.mark.parametrize("product", ["VOICE-CALL", "SATELLITE-9"])
def test_what_is_a_parameter_but_no_filter_is_refused(product: str, name: str) -> None:
    told = refusal({"name": "calls", "product": product, "filters": {name: "x"}})

    assert told.field == f"filters.{name}"
    assert f"{name} is not a filter" in told.reason


@pytest.mark.parametrize(
    ("window", "last_delay"), [("hour", 88), ("day", 88), ("week", 82), ("month", 58)]
)
def test_video_is_collected_before_its_records_are_gone_or_refused(
    window: str, last_delay: int
) -> None:
    # Its records are kept for 90 days, and the schedule may come a day after a window is due.
    video = {"name": "video", "product": "VIDEO-API", "window": window}

    assert accepted({**video, "delay_days": [3, last_delay]}).delay_days == (3, last_delay)
    told = refusal({**video, "delay_days": [3, last_delay + 1]})
    assert told.field == "delay_days.1"
    assert told.reason == (
        "records get 90 days old, but Vonage keeps VIDEO-API for 90 days; write fewer days"
    )


@pytest.mark.parametrize("product", ["VOICE-CALL", "SATELLITE-9"])
def test_other_products_are_collected_within_13_months(product: str) -> None:
    calls = {"name": "calls", "product": product, "window": "month"}

    assert accepted({**calls, "delay_days": [361]}).delay_days == (361,)
    told = refusal({**calls, "delay_days": [362]})
    assert told.field == "delay_days.0"
    assert told.reason.endswith("13 months; write fewer days")


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


def test_a_name_is_given_once_and_the_refusal_says_who_has_it() -> None:
    definitions, refused = parsed(CALLS, SMS, {**SMS, "product": "MESSAGES"})

    assert [definition.product for definition in definitions] == ["VOICE-CALL", "SMS"]
    assert refused == [Refusal("sms-outbound", "name", "(entry 2), of SMS, has this name already")]


@pytest.mark.parametrize(
    "twin",
    [
        SMS,
        {**SMS, "account_ids": [API_KEY]},
        {**SMS, "account_ids": [API_KEY.upper()]},
        {**SMS, "window": "day"},
        {**SMS, "max_records": 500_000},
        {**SMS, "currency": "EUR"},
    ],
)
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
        {"delay_days": [0]},
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


texts = st.text(st.characters(exclude_categories=())) | st.sampled_from(["sms", "day", "UTC"])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from([*ReportDefinition.__dataclass_fields__]) | texts
entries = st.builds(
    lambda changes, valid: {**valid, **changes},
    st.dictionaries(fields, anything, max_size=3),
    st.sampled_from([{}, CALLS, SMS]),
)


@settings(deadline=None)
@given(st.lists(entries | anything, max_size=3))
def test_whatever_is_written_each_entry_is_accepted_or_refused_in_a_sentence(
    written: list[Any],
) -> None:
    text = json.dumps(written)
    definitions, refused = parse_definitions(text, api_key=API_KEY)

    if len(text) <= 8192:
        assert len(definitions) + len(refused) == len(written)
    for told in refused:
        assert told.definition.isprintable()
        assert told.reason
        # Lambda answers and logs in UTF-8.
        json.dumps(told.to_dict(), ensure_ascii=False).encode()


def padded(size: int) -> str:
    return json.dumps([CALLS]).ljust(size)


def test_a_parameter_larger_than_ssm_holds_is_refused_as_a_whole() -> None:
    assert parse_definitions(padded(8192), api_key=API_KEY)[1] == []
    assert parse_definitions(padded(8193), api_key=API_KEY) == (
        [],
        [
            Refusal(
                "(all)",
                "(JSON)",
                "the parameter is too large: it has 8,193 bytes, and SSM holds 8,192 at most",
            )
        ],
    )


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
