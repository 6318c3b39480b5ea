import base64
import json
from datetime import UTC, datetime, timedelta

import pytest

from local.simulator.countries import COUNTRIES, OWN_NUMBERS
from local.simulator.records import Query, Stream, Window, rows_of
from local.simulator.values import TEXTS
from tests.support.leaks import Forbidden

SECRET = "s3cr3t-of-a-test"
TOKEN = base64.b64encode(f"abcd1234:{SECRET}".encode()).decode()
FOREIGN_TOKEN = base64.b64encode(b"efgh5678:another").decode()
FORBIDDEN = Forbidden(
    api_key="abcd1234",
    secrets=[SECRET],
    ranges=[
        {"country": "GB", "first": "447700900000", "last": "447700900999"},
        {"country": "SE", "first": "46701740605", "last": "46701740699"},
    ],
    texts=TEXTS,
)


def kinds(found: list[str]) -> list[str]:
    return [each.split(" in ")[0] for each in found]


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        (f"refused for {SECRET}", "the secret"),
        (f"Authorization: Basic {TOKEN}", "a Basic token"),
        (f"https://api.nexmo.com/?auth={TOKEN}", "a Basic token"),
        (f"Authorization: Basic {FOREIGN_TOKEN}", "a Basic token"),
        ("Credentials(api_key='abcd1234')", "the key as a credential"),
        ({"api_key": "abcd1234"}, "the key as a credential"),
        (json.dumps({"api_key": "abcd1234"}), "the key as a credential"),
        ({"rows": [{"to": "447700900123"}]}, "a phone number"),
        ("to must not be +447700900123", "a phone number"),
        ("to must not be +44 (7700) 900-123", "a phone number"),
        ("to=%2B44%207700%20900123", "a phone number"),
        ("to=%34%34%37%37%30%30%39%30%30%31%32%33", "a phone number"),
        ({"name": "to[447700900123]"}, "a phone number"),
        (json.dumps({"input": json.dumps({"to": 46701740611})}), "a phone number"),
        ({"filters": {"to": "447700900123"}}, "a phone number"),
        (["Your code is 123abc"], "the text of a message"),
        (json.dumps({"row": TEXTS[1].format(code="123abc")}), "the text of a message"),
    ],
)
def test_leak_is_found_at_any_depth(output: object, kind: str) -> None:
    assert kinds(FORBIDDEN.within({"logs": output})) == [kind]
    planted = {"logs": [{"level": "INFO"}, {"report": {"deep": [output]}}]}
    assert kinds(FORBIDDEN.within(planted)) == [kind]


@pytest.mark.parametrize(
    "output",
    [
        "archives/sms/abcd1234/2026/11/21/sms-20261121T0000Z-0123456789ab/ri3p58f-4477.zip",
        {"account_id": "abcd1234", "rows": 447700900, "bytes": 228495},
        'the secret arn:x must be {"api_key": "...", "api_secret": "..."}',
        "Basic authentication is refused",
    ],
)
def test_contract_fields_of_a_delivery_are_no_leak(output: object) -> None:
    assert FORBIDDEN.within({"logs": output}) == []


def test_only_filters_of_definitions_may_contain_numbers() -> None:
    definition = {"name": "sms", "filters": {"to": "447700900123"}}
    history = [{"details": {"input": json.dumps({"definition": definition})}}]
    cause = {"details": {"cause": json.dumps({"errorMessage": "no 447700900123"})}}

    assert FORBIDDEN.beside_definitions({"histories": history}) == []
    assert kinds(FORBIDDEN.beside_definitions({"histories": [*history, cause]})) == [
        "a phone number"
    ]


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
def test_simulated_records_are_found_by_their_numbers(direction: str) -> None:
    ranges = [each.numbers for each in COUNTRIES] + [OWN_NUMBERS]
    all_ranges = Forbidden(
        api_key="abcd1234",
        secrets=[SECRET],
        ranges=[{"first": str(each.first), "last": str(each.last)} for each in ranges],
        texts=(),
    )
    day = datetime(2026, 11, 17, tzinfo=UTC)
    window = Window.between(day, day + timedelta(days=1))
    query = Query(
        hours=window.hours_newest_first(),
        window=window,
        rows_per_day=500,
        columns=("from", "to", "country"),
    )
    stream = Stream(1, "SMS", "abcd1234", direction)
    rows = [cells for *_, cells in rows_of([stream], query)]

    assert len({country for *_, country in rows}) == len(COUNTRIES)
    for row in rows:
        assert kinds(all_ranges.within({"logs": row})) == ["a phone number"]
        assert kinds(all_ranges.within({"logs": json.dumps(row[:2])})) == ["a phone number"]


def test_most_simulated_texts_are_found() -> None:
    known = [
        text for text in TEXTS if FORBIDDEN.within({"logs": json.dumps(text.format(code="a1b2c3"))})
    ]

    assert len(known) >= len(TEXTS) * 3 / 4
