import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from vonage_reports.domain.definitions import Refusal, ReportDefinition, change_of
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.subaccounts import (
    SubaccountList,
    Subaccounts,
    after_answer,
    after_failure,
)
from vonage_reports.domain.windows import WindowLength
from vonage_reports.submit_reports.read_definitions import (
    LoadedDefinitions,
    _Definition,
    parse_definitions,
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


def refusal_of(*entries: object) -> Refusal:
    _, refused = parsed(*entries)
    [only] = refused
    return only


def test_name_and_product_suffice() -> None:
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


def test_every_field_is_read() -> None:
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
def test_window_lengths(window: str) -> None:
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
def test_refusal_names_definition_and_field(field: str, value: object) -> None:
    refusal = refusal_of({**CALLS, field: value})

    assert (refusal.definition, refusal.field) == ("calls", field)
    assert refusal.reason


def test_only_names_of_iana_are_time_zones() -> None:
    tzdata = resources.files("tzdata")
    folder = Path(str(tzdata.joinpath("zoneinfo")))
    there = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    others = ["localtime", "posixrules", "posix/UTC", "right/UTC", "right/Europe/London", "/UTC"]
    zones = TypeAdapter(_Definition.__annotations__["time_zone"])

    def is_accepted(name: str) -> bool:
        try:
            zones.validate_python(name)
        except ValidationError:
            return False
        return True

    listed = tzdata.joinpath("zones").read_text().split()
    assert {name for name in [*there, *others] if is_accepted(name)} == {*listed} - {"Factory"}


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
def test_refusal_names_the_index_in_a_list(field: str, value: object, named: str) -> None:
    assert refusal_of({**CALLS, field: value}).field == named


@pytest.mark.parametrize("value", [1.5, None, ["GB", "DE"], {"not": "GB"}])
def test_refusal_names_the_filter(value: object) -> None:
    assert refusal_of({**CALLS, "filters": {"country": value}}).field == "filters.country"


@pytest.mark.parametrize("number", [2**53, -(2**53), 10**400])
def test_number_that_the_workflow_would_round_is_refused(number: int) -> None:
    assert accepted({**CALLS, "filters": {"orbit": 2**53 - 1}}).filters == {"orbit": 2**53 - 1}

    refusal = refusal_of({**CALLS, "filters": {"orbit": number}})

    assert refusal.field == "filters.orbit"
    assert "in quotes" in refusal.reason


@pytest.mark.parametrize(
    "name", ["", "SMS", "sms_outbound", "sms outbound", "sms/outbound", "x" * 31, "sms\n", 5]
)
def test_name_must_fit_into_keys(name: object) -> None:
    assert refusal_of({**CALLS, "name": name}).field == "name"


def test_definition_without_name_is_named_by_position() -> None:
    refusal = refusal_of(CALLS, {"product": "ASR"})

    assert (refusal.definition, refusal.field) == ("(entry 2)", "name")


def test_definition_without_product_is_refused() -> None:
    refusal = refusal_of({"name": "calls"})

    assert (refusal.definition, refusal.field) == ("calls", "product")


def test_refused_definition_does_not_stop_the_others() -> None:
    definitions, refused = parsed(
        SMS, {"name": "bad", "product": "SMS"}, 7, {**CALLS, "window": "year"}, CALLS
    )

    assert [definition.name for definition in definitions] == ["sms-outbound", "calls"]
    assert [refusal.definition for refusal in refused] == ["bad", "(entry 3)", "calls"]


@pytest.mark.parametrize("product", ["SMS", "MESSAGES"])
def test_messages_need_a_direction(product: str) -> None:
    refusal = refusal_of({"name": "texts", "product": product})

    assert refusal.field == "filters.direction"
    assert "inbound" in refusal.reason


@pytest.mark.parametrize("product", ["VOICE-TTS", "WEBSOCKET-CALL"])
def test_direction_is_refused_for_products_without_it(product: str) -> None:
    refusal = refusal_of({"name": "calls", "product": product, "filters": {"direction": "inbound"}})

    assert refusal.field == "filters.direction"
    assert product in refusal.reason


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            {"name": "Calls"},
            'name: takes 1 to 30 lower-case letters, digits and hyphens, not "Calls"',
        ),
        (
            {"product": None},
            (
                "product: takes Vonage's name for the product, in capitals, such as VOICE-CALL, "
                "not null"
            ),
        ),
        (
            {"account_ids": ["ab cd"]},
            (
                "account_ids.0: takes a list of account ids, such as "
                '["abcd1234"], or "subaccounts", not "ab cd"'
            ),
        ),
        ({"include_subaccounts": "yes"}, 'include_subaccounts: takes true or false, not "yes"'),
        ({"window": "year"}, 'window: takes hour, day, week or month, not "year"'),
        (
            {"time_zone": 1},
            "time_zone: takes an IANA time zone, such as Europe/London, not 1",
        ),
        (
            {"time_zone": "Mars/Olympus"},
            "time_zone: 'Mars/Olympus' is not an IANA time zone, such as Europe/London",
        ),
        (
            {"delay_days": "3"},
            'delay_days: takes a list of whole numbers from 0 to 999, such as [0, 3], not "3"',
        ),
        ({"currency": "eur"}, 'currency: takes three capital letters, such as EUR, not "eur"'),
        (
            {"colour": "red"},
            (
                "colour: no such field; the fields are name, product, account_ids, "
                "include_subaccounts, filters, window, time_zone, delay_days, max_records, currency"
            ),
        ),
    ],
)
def test_refusal_says_how_to_mend_the_field(wrong: dict[str, object], sentence: str) -> None:
    refusal = refusal_of({**CALLS, **wrong})

    assert f"{refusal.field}: {refusal.reason}" == sentence


def test_missing_field_is_described() -> None:
    assert refusal_of({"name": "calls"}).reason == (
        "missing; it takes Vonage's name for the product, in capitals, such as VOICE-CALL"
    )


def test_long_value_is_cut_in_the_refusal() -> None:
    refusal = refusal_of({**CALLS, "window": "day" * 100})

    assert len(refusal.reason) < 120
    assert refusal.reason.endswith("...")


@pytest.mark.parametrize(
    "filters", [{"to": ["447700900123"]}, {"to": {"447700900123": 1}}, ["447700900123"]]
)
def test_filter_is_never_quoted(
    filters: object,
) -> None:
    assert "447700900123" not in str(refusal_of({**CALLS, "filters": filters}))


@pytest.mark.parametrize(
    "name", [{"is": "an object"}, ["calls"], 7, "ca\x00lls", "\ud800", "x" * 1000, "rufe-\u00e4"]
)
def test_unprintable_name_is_replaced_by_position(name: object) -> None:
    # The name becomes an attribute of a notification, and SNS refuses such text.
    refusal = refusal_of(CALLS, {**CALLS, "name": name})

    assert (refusal.definition, refusal.field) == ("(entry 2)", "name")


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
def test_unprintable_text_is_refused(wrong: dict[str, object], field: str) -> None:
    # Vonage's client or SNS would refuse it later, and stop the other definitions with it.
    assert refusal_of({**CALLS, **wrong}).field == field


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
def test_repeated_field_is_refused(twice: str, field: str) -> None:
    definitions, refused = parse_definitions(f"[{{{twice}}}, {json.dumps(CALLS)}]", api_key=API_KEY)

    assert [definition.name for definition in definitions] == ["calls"]
    assert refused == [Refusal("ears", field, "given twice")]


@pytest.mark.parametrize(
    "name",
    [
        "product", "account_id", "include_subaccounts", "date_start", "date_end", "callback_url",
        "id",
    ],
)  # fmt: skip
@pytest.mark.parametrize("product", ["VOICE-CALL", "SATELLITE-9"])
def test_parameter_that_is_no_filter_is_refused(product: str, name: str) -> None:
    refusal = refusal_of({"name": "calls", "product": product, "filters": {name: "x"}})

    assert refusal.field == f"filters.{name}"
    assert "is not a filter" in refusal.reason


@pytest.mark.parametrize(
    ("window", "last_delay"), [("hour", 88), ("day", 88), ("week", 82), ("month", 58)]
)
def test_video_is_collected_before_its_records_expire(window: str, last_delay: int) -> None:
    # Vonage keeps its records for 90 days, and the schedule may run a day after a window is due.
    video = {"name": "video", "product": "VIDEO-API", "window": window}

    assert accepted({**video, "delay_days": [3, last_delay]}).delay_days == (3, last_delay)
    refusal = refusal_of({**video, "delay_days": [3, last_delay + 1]})
    assert refusal.field == "delay_days.1"
    assert refusal.reason == (
        "90 days is too late: Vonage keeps VIDEO-API records for 90 days; write fewer days"
    )


@pytest.mark.parametrize("product", ["VOICE-CALL", "SATELLITE-9"])
def test_other_products_are_collected_within_13_months(product: str) -> None:
    calls = {"name": "calls", "product": product, "window": "month"}

    assert accepted({**calls, "delay_days": [361]}).delay_days == (361,)
    refusal = refusal_of({**calls, "delay_days": [362]})
    assert refusal.field == "delay_days.0"
    assert refusal.reason.endswith("for 13 months; write fewer days")


@pytest.mark.parametrize("product", ["VOICE-CALL", "VOICE-FAILED", "ASR"])
@pytest.mark.parametrize("filters", [{}, {"direction": "inbound"}, {"direction": "outbound"}])
def test_calls_take_a_direction(product: str, filters: dict[str, str]) -> None:
    assert accepted({"name": "calls", "product": product, "filters": filters}).filters == filters


@pytest.mark.parametrize("direction", ["sideways", "OUTBOUND", "", True])
def test_direction_is_inbound_or_outbound(direction: object) -> None:
    refusal = refusal_of({"name": "texts", "product": "SMS", "filters": {"direction": direction}})

    assert refusal.field == "filters.direction"


def test_unknown_product_and_filter_pass() -> None:
    entry = {"name": "new", "product": "SATELLITE-9", "filters": {"direction": "up", "orbit": 3}}

    assert accepted(entry).filters == {"direction": "up", "orbit": 3}
    assert accepted({**CALLS, "filters": {"orbit": 3}}).filters == {"orbit": 3}


def test_second_definition_of_a_name_is_refused() -> None:
    definitions, refused = parsed(CALLS, SMS, {**SMS, "product": "MESSAGES"})

    assert [definition.product for definition in definitions] == ["VOICE-CALL", "SMS"]
    assert refused == [Refusal("sms-outbound", "name", "(entry 2), of SMS, already has this name")]


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
def test_definition_that_collects_the_same_is_refused(
    twin: dict[str, object],
) -> None:
    definitions, refused = parsed(SMS, {**twin, "name": "texts"})

    assert [definition.name for definition in definitions] == ["sms-outbound"]
    [refusal] = refused
    assert refusal.definition == "texts"
    assert "sms-outbound" in refusal.reason


def test_number_and_its_text_are_the_same_filter() -> None:
    plain, quoted = ({**CALLS, "filters": {"network": each}} for each in (5, "5"))

    assert refusal_of(plain, {**quoted, "name": "again"}).field == "name"
    assert refusal_of(quoted, {**plain, "name": "again"}).field == "name"


def test_order_of_accounts_makes_no_difference() -> None:
    one = {**SMS, "account_ids": ["abcd1234", "efgh5678"]}
    other = {**SMS, "account_ids": ["efgh5678", "abcd1234"]}

    assert refusal_of(one, {**other, "name": "texts"}).definition == "texts"


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
def test_definitions_that_differ_are_accepted(
    difference: dict[str, object],
) -> None:
    definitions, refused = parsed(SMS, {**SMS, **difference, "name": "texts"})

    assert (len(definitions), refused) == (2, [])


@pytest.mark.parametrize("text", ["", "{", "[{]", "definitions", "[1,]", "\ufeff[]"])
def test_parameter_that_is_not_json_is_refused(text: str) -> None:
    definitions, refused = parse_definitions(text, api_key=API_KEY)

    assert definitions == []
    assert "JSON" in refused[0].reason


@pytest.mark.parametrize("text", ["{}", "null", '"sms"', "7", json.dumps(SMS)])
def test_parameter_that_is_not_a_list_is_refused(text: str) -> None:
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
def test_every_entry_is_accepted_or_refused(
    written: list[Any],
) -> None:
    text = json.dumps(written)
    definitions, refused = parse_definitions(text, api_key=API_KEY)

    assert len(definitions) + len(refused) == len(written)
    for refusal in refused:
        assert refusal.definition.isprintable()
        assert refusal.reason
        # Lambda answers and logs in UTF-8.
        json.dumps(refusal.to_dict(), ensure_ascii=False).encode()


def test_list_of_more_than_a_megabyte_is_refused() -> None:
    text = json.dumps([CALLS]).ljust(1_000_000)
    assert parse_definitions(text, api_key=API_KEY)[1] == []
    reason = "the report definitions have more than 1,000,000 bytes"
    assert parse_definitions(text + " ", api_key=API_KEY) == (
        [],
        [Refusal("(all)", "(JSON)", reason)],
    )


def test_list_of_more_than_2000_definitions_is_refused() -> None:
    many = [{**CALLS, "name": f"d{n}", "filters": {"country": f"C{n}"}} for n in range(2001)]
    definitions, refused = parsed(*many[:2000])
    assert (len(definitions), refused) == (2000, [])
    reason = "there are 2,001 report definitions, and at most 2,000 are possible"
    assert parsed(*many) == ([], [Refusal("(all)", "(JSON)", reason)])


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    text = b'[{"name": "calls\xff"}]'.decode(errors="surrogateescape")
    reason = "the report definitions are not text in UTF-8"
    assert parse_definitions(text, api_key=API_KEY) == ([], [Refusal("(all)", "(JSON)", reason)])


def test_empty_list_is_accepted() -> None:
    assert parsed() == ([], [])


def test_definition_is_found_by_name() -> None:
    definitions, refusals = parsed(CALLS, {"name": "bad", "product": "SMS"})
    loaded = LoadedDefinitions(definitions, refusals, datetime(2026, 11, 22, tzinfo=UTC))

    assert loaded.named("calls") is definitions[0]
    with pytest.raises(InvalidRequest, match=r"bad, filters\.direction: .*inbound"):
        loaded.named("bad")
    with pytest.raises(InvalidRequest, match=r"no report definition is named texts; .*calls"):
        loaded.named("texts")


def test_unreadable_parameter_refuses_every_name() -> None:
    definitions, refusals = parse_definitions("[", api_key=API_KEY)
    loaded = LoadedDefinitions(definitions, refusals, datetime(2026, 11, 22, tzinfo=UTC))

    assert not loaded.is_readable
    with pytest.raises(InvalidRequest, match="the report definitions are not valid JSON"):
        loaded.named("calls")


COLLECTS = accepted(SMS).collects
FOLLOWS = {**SMS, "account_ids": "subaccounts"}
READ_AT = datetime(2026, 11, 22, tzinfo=UTC)
LISTED = after_answer(None, SubaccountList(API_KEY, {"sub1": None, "sub2": None}), READ_AT)


def following(
    *entries: object,
    subaccounts: Subaccounts | None = LISTED,
    established: Collection[str] = (),
) -> tuple[list[ReportDefinition], list[Refusal]]:
    return parse_definitions(
        json.dumps(entries),
        api_key=API_KEY,
        subaccounts=subaccounts,
        established=dict.fromkeys(established, COLLECTS),
    )


def test_definition_follows_the_list_of_sub_accounts() -> None:
    (found,), refused = following(FOLLOWS)
    assert refused == []
    assert found.account_ids == (API_KEY, "sub1", "sub2")
    assert found.followed == LISTED.followed()


def test_unknown_list_leaves_the_primary_account() -> None:
    (found,), refused = following(FOLLOWS, subaccounts=None)
    assert refused == []
    assert found.account_ids == (API_KEY,)
    assert found.followed is not None
    assert not found.followed.is_known


def test_list_that_does_not_count_refuses_the_definitions_that_follow_it() -> None:
    failed = after_failure(None, API_KEY, "Vonage answered 403", READ_AT)
    (calls,), (refusal,) = following(FOLLOWS, CALLS, subaccounts=failed)
    assert calls.name == "calls"
    assert refusal == Refusal("sms-outbound", "account_ids", str(failed.problem))


def test_sub_accounts_in_two_ways_are_refused() -> None:
    _, (refusal,) = following({**FOLLOWS, "include_subaccounts": True})
    assert refusal.field == "include_subaccounts"
    assert "bill its records twice" in refusal.reason


ONE = {**SMS, "name": "one", "account_ids": ["SUB2"]}
BOTH = ("one", "sms-outbound")
KNOWN = ["(the API key)", API_KEY]
"""The program does not know the API key, but the list names it."""


@pytest.mark.parametrize("first", BOTH)
@pytest.mark.parametrize(
    "established",
    [(), ("one",), ("sms-outbound",), BOTH],
    ids=["none", "namer", "follower", "both"],
)
def test_one_definition_has_an_account_and_the_other_one_is_refused(
    established: tuple[str, ...], first: str
) -> None:
    order = (ONE, FOLLOWS) if first == "one" else (FOLLOWS, ONE)
    (left,), (refusal,) = following(*order, established=established)
    assert left.name == (established[0] if len(established) == 1 else first)
    assert (refusal.definition, refusal.field) == (
        next(each for each in BOTH if each != left.name),
        "account_ids",
    )
    assert refusal.reason == (
        f"{left.name} collects the same of sub2, and Vonage would bill each record twice. Remove "
        "sms-outbound or one, or list only other accounts in account_ids of one"
    )
    accounts = (API_KEY, "sub1", "sub2") if left.name == "sms-outbound" else ("SUB2",)
    assert left.account_ids == accounts


def test_established_definitions_stay_before_new_ones_that_conflict_with_each_other() -> None:
    two = {**ONE, "name": "two", "account_ids": ["sub1"]}
    found, refused = following(two, FOLLOWS, ONE, established=["one"])
    assert [each.name for each in found] == ["two", "one"], "in the order of the list"
    assert [each.definition for each in refused] == ["sms-outbound"]

    found, refused = following(two, ONE, FOLLOWS, established=["sms-outbound"])
    assert [each.name for each in found] == ["sms-outbound"]
    assert [each.definition for each in refused] == ["two", "one"]


def test_established_definition_stays_before_a_new_one_with_the_same_accounts() -> None:
    found, (refusal,) = following({**ONE, "name": "new"}, ONE, established=["one"])
    assert [each.name for each in found] == ["one"]
    assert (refusal.definition, refusal.field) == ("new", "name")


@pytest.mark.parametrize("order", [(ONE, FOLLOWS), (FOLLOWS, ONE)], ids=["before", "after"])
def test_other_requests_of_an_account_are_no_conflict(order: tuple[dict[str, Any], ...]) -> None:
    later = [{**each, "delay_days": [4]} if each is ONE else each for each in order]
    assert following(*later)[1] == []


@pytest.mark.parametrize("gone_for", [timedelta(1), timedelta(400)], ids=["lately", "long ago"])
def test_gone_account_stays_with_the_definition_that_follows_the_list(gone_for: timedelta) -> None:
    """It may return, and a backfill may name it."""
    gone = after_answer(LISTED, SubaccountList(API_KEY, {"sub1": None}), READ_AT)
    later = after_answer(gone, SubaccountList(API_KEY, {"sub1": None}), READ_AT + gone_for)
    (found,), (refusal,) = following(ONE, FOLLOWS, subaccounts=later, established=["sms-outbound"])
    assert found.name == "sms-outbound"
    assert (refusal.definition, refusal.field) == ("one", "account_ids")


@pytest.mark.parametrize("api_key", KNOWN)
@pytest.mark.parametrize("subaccounts", [LISTED, None], ids=["known", "unknown"])
def test_primary_account_of_another_definition_is_a_conflict(
    api_key: str, subaccounts: Subaccounts | None
) -> None:
    text = json.dumps([{**SMS, "name": "own"}, FOLLOWS])
    (found,), (refusal,) = parse_definitions(
        text, api_key=api_key, subaccounts=subaccounts, established={"sms-outbound": COLLECTS}
    )
    assert found.name == "sms-outbound"
    assert (refusal.definition, refusal.field) == ("own", "account_ids")
    primary = api_key if subaccounts is None else API_KEY
    assert f"sms-outbound collects the same of {primary}," in refusal.reason


@pytest.mark.parametrize(
    ("established", "follower_keeps"), [((), False), (("sms-outbound",), True), (BOTH, True)]
)
def test_list_that_does_not_count_gives_no_account_of_an_established_definition_away(
    established: tuple[str, ...], *, follower_keeps: bool
) -> None:
    failed = after_failure(LISTED, API_KEY, "Vonage answered 403", READ_AT)
    expired = after_failure(failed, API_KEY, failed.reason, READ_AT + timedelta(days=8))
    found, refused = following(FOLLOWS, ONE, subaccounts=expired, established=established)
    reasons = {each.definition: each.reason for each in refused}
    assert reasons.pop("sms-outbound") == expired.problem
    assert [each.name for each in found] == ([] if follower_keeps else ["one"])
    assert list(reasons) == (["one"] if follower_keeps else [])


@pytest.mark.parametrize("of_before", [(ONE, FOLLOWS), (FOLLOWS, ONE)], ids=["namer", "follower"])
@pytest.mark.parametrize("both_change", [True, False])
def test_changed_definition_keeps_its_accounts(
    of_before: tuple[dict[str, Any], dict[str, Any]], *, both_change: bool
) -> None:
    """It is refused for its change, and the new one for the conflict. Neither buys a record."""
    established, new = of_before
    change = {"time_zone": "Europe/Paris"}
    changed = {**established, **change}
    other = {**new, **change} if both_change else new
    for order in ((changed, other), (other, changed)):
        (left,), (refusal,) = following(*order, established=[established["name"]])
        assert left.name == established["name"]
        assert change_of(left, COLLECTS) is not None
        assert (refusal.definition, refusal.field) == (new["name"], "account_ids")


def test_refused_definition_of_before_excludes_no_other_one_of_before() -> None:
    two = {**ONE, "name": "two", "account_ids": ["sub1"]}
    found, refused = following(ONE, FOLLOWS, two, established=["one", "two", "sms-outbound"])
    assert [each.name for each in found] == ["one", "two"]
    assert [each.definition for each in refused] == ["sms-outbound"]

    # A new definition of an account of the refused one waits until the operator decides.
    found, refused = following(ONE, FOLLOWS, two, established=["one", "sms-outbound"])
    assert [each.name for each in found] == ["one"]
    assert [each.definition for each in refused] == ["sms-outbound", "two"]


def test_two_definitions_that_follow_the_list_collect_the_same() -> None:
    _, (refusal,) = following(FOLLOWS, {**FOLLOWS, "name": "again"})
    assert (refusal.definition, refusal.field) == ("again", "name")


def test_many_accounts_of_a_conflict_are_counted() -> None:
    listed = [f"sub{number}" for number in range(30)]
    known = after_answer(None, SubaccountList(API_KEY, dict.fromkeys(listed)), READ_AT)
    _, (refusal,) = following({**ONE, "account_ids": listed}, FOLLOWS, subaccounts=known)
    assert "one collects the same of sub0, sub1, " in refusal.reason
    assert ", sub26 and 10 more, and Vonage would bill" in refusal.reason


@pytest.mark.parametrize("value", ["SUBACCOUNTS", "subaccount", ["subaccounts", "sub1"][:0], 7])
def test_other_words_for_the_sub_accounts_are_refused(value: object) -> None:
    assert refusal_of({**SMS, "account_ids": value}).field == "account_ids"
