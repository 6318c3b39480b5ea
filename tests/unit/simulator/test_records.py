"""The simulator's synthetic records: deterministic, splittable, fictional, in the API's columns."""

import math
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from local.simulator.countries import COUNTRIES, OWN_NUMBERS
from local.simulator.products import PRODUCTS, Direction, Product
from local.simulator.records import Query, Row, Stream, Window, rows_in_hour, rows_of
from local.simulator.values import knows
from tests.support.paths import ROOT

DAY = datetime(2026, 3, 29, tzinfo=UTC)
DIGEST = ROOT.parent / "shared" / "spec" / "reports-3.1.4.digest.yml"

SERVICES = {"AMD": "nexmo-vapi-us-east-1", "CONVERSATION-MESSAGE": "nexmo-cs-us-west-2"}
LENGTH_OF_MESSENGER_IDS = 16

needs_digest = pytest.mark.skipif(not DIGEST.exists(), reason="needs the OpenAPI digest")
every_stream = pytest.mark.parametrize(
    ("product", "direction"),
    [(product, direction) for product in PRODUCTS.values() for direction in product.directions],
    ids=lambda value: getattr(value, "name", value),
)


def rows_between(
    start: datetime,
    end: datetime,
    *,
    product: str = "SMS",
    directions: tuple[str, ...] = ("outbound",),
    accounts: tuple[str, ...] = ("abcd1234",),
    rows_per_day: int = 500,
    seed: int = 1,
    filters: dict[str, str] | None = None,
    as_of: datetime | None = None,
) -> list[Row]:
    window = Window.between(start, end)
    definition = PRODUCTS[product]
    query = Query(
        hours=window.hours_newest_first(),
        window=window,
        rows_per_day=rows_per_day,
        columns=definition.columns_for(directions[0], frozenset(definition.switches)),
        filters=filters or {},
        as_of=as_of.timestamp() if as_of else math.inf,
    )
    streams = [Stream(seed, product, account, d) for account in accounts for d in directions]
    return list(rows_of(streams, query))


def instant_of(text: str) -> datetime:
    date, time = re.split("[T ]", text)
    year, month, day = date.split("-")
    return datetime.fromisoformat(f"{year}-{month:0>2}-{day:0>2}T{time}")


def records_of(
    product: Product, direction: str, *, rows_per_day: int = 500
) -> list[dict[str, str]]:
    columns = product.columns_for(direction, frozenset(product.switches))
    rows = rows_between(
        DAY,
        DAY + timedelta(days=1),
        product=product.name,
        directions=(direction,),
        rows_per_day=rows_per_day,
    )
    return [dict(zip(columns, row[4], strict=True)) for row in rows]


def test_same_request_returns_same_records() -> None:
    assert rows_between(DAY, DAY + timedelta(days=1)) == rows_between(DAY, DAY + timedelta(days=1))


def test_another_seed_returns_other_records() -> None:
    end = DAY + timedelta(hours=2)
    ids = {row[4][0] + row[4][1] for row in rows_between(DAY, end)}
    assert ids.isdisjoint(row[4][0] + row[4][1] for row in rows_between(DAY, end, seed=2))


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 2 * 86_400), max_size=4), micros=st.integers(0, 999_999))
def test_parts_of_a_window_add_up_to_the_whole(cuts: list[int], micros: int) -> None:
    end = DAY + timedelta(days=2)
    instants = [DAY + timedelta(seconds=cut, microseconds=micros) for cut in sorted(cuts)]
    boundaries = [DAY, *(instant for instant in instants if instant < end), end]
    parts = [rows_between(*pair, rows_per_day=150) for pair in pairwise(boundaries)]
    whole = rows_between(DAY, end, rows_per_day=150)
    assert [row for part in reversed(parts) for row in part] == whole


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(0, 86_400))
def test_parts_add_up_for_merged_streams(cut: int) -> None:
    middle, end = DAY + timedelta(seconds=cut), DAY + timedelta(days=1)
    directions, accounts = ("outbound", "inbound"), ("abcd1234", "sub00001")

    def rows(start: datetime, stop: datetime) -> list[Row]:
        return rows_between(
            start,
            stop,
            product="VOICE-CALL",
            directions=directions,
            accounts=accounts,
            rows_per_day=150,
        )

    assert rows(middle, end) + rows(DAY, middle) == rows(DAY, end)


def test_rows_are_newest_first_in_half_open_window() -> None:
    start, end = DAY + timedelta(minutes=59), DAY + timedelta(hours=1, seconds=1)
    # At this volume every second has a record.
    times = [row[0] for row in rows_between(start, end, rows_per_day=2_000_000)]
    assert times == sorted(times, reverse=True)
    assert (times[-1], times[0]) == (start.timestamp(), end.timestamp() - 1)


@given(rows_per_day=st.integers(0, 10_000_000), day=st.integers(0, 30_000))
def test_hours_add_up_to_rows_per_day(rows_per_day: int, day: int) -> None:
    assert sum(rows_in_hour(rows_per_day, day * 24 + h) for h in range(24)) == rows_per_day


def test_noon_is_busier_than_night() -> None:
    assert rows_in_hour(3000, 12) > 10 * rows_in_hour(3000, 3)


@pytest.mark.parametrize(
    ("name", "text"), [("status", "failed"), ("country", "NA"), ("network", "23415")]
)
def test_filter_selects_from_the_same_records(name: str, text: str) -> None:
    end = DAY + timedelta(days=4)
    column = PRODUCTS["SMS"].columns.index(name)
    everything = rows_between(DAY, end)
    selected = rows_between(DAY, end, filters={name: text})
    assert selected
    assert selected == [row for row in everything if row[4][column] == text]


@pytest.mark.parametrize(
    ("product", "changing"),
    [
        ("SMS", {"status", "error_code", "error_code_description", "date_finalized", "latency",
                 "total_price"}),
        ("MESSAGES", {"country", "country_name", "currency", "date_finalized", "error_code",
                      "estimated_price", "latency", "session_id", "session_type", "status",
                      "total_price"}),
        ("VERIFY-API", {"status", "date_finalized", "price"}),
        ("VERIFY-V2", {"status", "total_price"}),
        ("VOICE-CALL", set()),
    ],
)  # fmt: skip
def test_only_statuses_and_prices_change_for_72_hours(product: str, changing: set[str]) -> None:
    direction = PRODUCTS[product].directions[0]
    columns = PRODUCTS[product].columns_for(direction, frozenset(PRODUCTS[product].switches))
    end = DAY + timedelta(days=1)

    def rows_at(as_of: datetime | None) -> list[Row]:
        return rows_between(DAY, end, product=product, directions=(direction,), as_of=as_of, seed=2)

    early, late = rows_at(end), rows_at(None)

    changes = {
        name
        for before, after in zip(early, late, strict=True)
        for name, a, b in zip(columns, before[4], after[4], strict=True)
        if a != b
    }
    assert changes == changing
    assert [row[:4] for row in early] == [row[:4] for row in late]
    assert rows_at(end + timedelta(hours=72)) == late


def test_hls_records_of_video_come_up_to_two_and_a_half_hours_late() -> None:
    end = DAY + timedelta(hours=12)

    def features(later: timedelta) -> Counter[str]:
        as_of = end + later
        rows = rows_between(DAY, end, product="VIDEO-API", directions=("",), rows_per_day=5000,
                            as_of=as_of)  # fmt: skip
        return Counter(cells[1] for *_, cells in rows)

    early, later, late = (features(timedelta(hours=hours)) for hours in (0, 1, 2.5))

    assert early["HLS"] < later["HLS"] < late["HLS"]
    assert late == features(timedelta(days=3))
    assert {**early, "HLS": 0} == {**late, "HLS": 0}


def test_filter_uses_status_at_request_time() -> None:
    end = DAY + timedelta(days=1)
    status = PRODUCTS["SMS"].columns.index("status")
    everything = rows_between(DAY, end, as_of=end)

    selected = rows_between(DAY, end, as_of=end, filters={"status": "submitted"})

    assert selected
    assert selected == [row for row in everything if row[4][status] == "submitted"]


@every_stream
def test_every_product_has_a_value_for_every_column(product: Product, direction: str) -> None:
    columns = product.columns_for(direction, frozenset(product.switches))
    assert [column for column in columns if not knows(column)] == []
    assert product.date_column in columns
    assert set(product.filters) - set(product.columns) <= {"status"}


@every_stream
def test_ids_dates_and_prices_are_well_formed(product: Product, direction: str) -> None:
    records = records_of(product, direction)
    assert len({record["id"] for record in records}) == len(records) == 500
    for record in records:
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", record["id"])
        assert record.get("currency") in {product.currency, None}
        assert record.get("account_id") in {"abcd1234", SERVICES.get(product.name)}
        for column, value in record.items():
            if column == product.date_column:
                assert DAY <= instant_of(value) < DAY + timedelta(days=1)
                assert value.endswith(("+00:00", "Z"))
            if column.endswith("price") and value:
                assert Decimal(value) >= 0


VALUES = {
    "SMS": {"concatenated": "TRUE|FALSE"},
    "AMD": {
        "account_id": "abcd1234|nexmo-vapi-us-east-1",
        "amd_result_sent": "true|false|TRUE|FALSE",
        "amd_detection_result": "MACHINE|HUMAN",
        "amd_beep_detection_result": "true|false|TRUE|FALSE",
        "amd_user_defined_mode": "default|detect|detect_beep",
        "amd_user_defined_behavior": "hangup|continue",
    },
    "SMS-TRAFFIC-CONTROL": {"status": "queued|dequeued"},
    "VOICE-CALL": {"status": "ANSWERED", "status_code": "200"},
    "VOICE-FAILED": {"status": "FAILED", "status_code": "486|487|480|404|502"},
    "VOICE-TTS": {
        "status": "completed",
        "tts_type": "standard|premium|premier",
        "tts_level": "leg|conversation",
    },
    "ASR": {"status": "ok", "asr_type": "standard|premier"},
    "IN-APP-VOICE": {"status": "200"},
    "WEBSOCKET-CALL": {"status": "completed"},
    "VIDEO-API": {
        "feature_name": "Video Session|Subscriber minutes|Archiving|Broadcasting|HLS|"
        "Experience composer|SIP_Interconnect|Audio_Connector|Live_Captions",
        "tier_volume": "|500",
    },
    "NETWORK-API-EVENT": {
        "status": "SUCCESS|FAILED",
        "product_name": "camara-device-status|camara-device-location|"
        "camara-number-verification|camara-sim-swap",
        "request_type": "|check|retrieve-date",
    },
    "NUMBER-INSIGHT": {
        "product_type": "PRODUCT_HLR_LOOKUP_FORMAT|HLR-LOOKUP-LIGHT|HLR-LOOKUP",
        "reachable": "present",
        "first_name": "unknown",
        "last_name": "unknown",
    },
    "VERIFY-V2": {"channel": "v2|email|silent_auth", "if_fraud_check": "TRUE|FALSE"},
    "VERIFY-API": {"status": "SUCCESS|FAILED|EXPIRED|CANCELLED", "pricing_model": "0|1"},
    "MESSAGES": {"pricing_model": "single message", "pricing_type": "|standard"},
    "REPORTS-USAGE": {
        "product_type": "reports",
        "job_type": "SYNC_JOB_FROM_ID|SYNC_JOB_FROM_DATES|ASYNC_JOB",
        "is_charged": "TRUE|FALSE",
        "price": "0.0004",
    },
}


@pytest.mark.parametrize("product", VALUES)
def test_values_are_those_that_vonage_documents(product: str) -> None:
    records = records_of(PRODUCTS[product], PRODUCTS[product].directions[0])

    found = {name: {record[name] for record in records} for name in VALUES[product]}
    assert found == {name: set(words.split("|")) for name, words in VALUES[product].items()}


def test_video_record_has_the_id_of_its_feature_only() -> None:
    ids = {"meeting_id", "subscriber_id", "archive_id", "broadcast_id", "hls_id", "composer_id"}
    found = {
        (record["feature_name"], *(name for name in ids if record[name]))
        for record in records_of(PRODUCTS["VIDEO-API"], "")
    }

    assert found == {
        ("Video Session", "meeting_id"),
        ("Subscriber minutes", "subscriber_id"),
        ("Archiving", "archive_id"),
        ("Broadcasting", "broadcast_id"),
        ("HLS", "hls_id"),
        ("Experience composer", "composer_id"),
        ("SIP_Interconnect", "subscriber_id"),
        ("Audio_Connector", "subscriber_id"),
        ("Live_Captions", "subscriber_id"),
    }


def test_cells_are_empty_where_they_do_not_apply() -> None:
    for record in records_of(PRODUCTS["VERIFY-V2"], ""):
        counts = {record[name] != "" for name in record if name.endswith("_event_count")}
        assert counts == {record["locale"] != ""} == {record["channel"] == "v2"}
        assert (record["parent_request_id"] != "") == (record["channel"] != "v2")
        assert (record["network"] == "") == (record["channel"] == "email")
        assert ("@" in record["to"]) == (record["channel"] == "email")
    for record in records_of(PRODUCTS["MESSAGES"], "outbound"):
        is_whatsapp = record["provider"] == "whatsapp"
        in_session = is_whatsapp and record["status"] in ("delivered", "read")
        assert (record["session_id"] != "") == (record["session_type"] != "") == in_session
        assert (record["network"] != "") == (record["provider"] in ("sms", "mms"))
        assert (record["estimated_price"] == "") == (record["pricing_type"] != "") == is_whatsapp
        assert (len(record["to"]) == LENGTH_OF_MESSENGER_IDS) == (record["provider"] == "messenger")
    for record in records_of(PRODUCTS["REPORTS-USAGE"], ""):
        assert (record["date_started"] == "") == record["job_type"].startswith("SYNC")
    legs = {
        (record["tts_level"], record["conversation_id"] != "")
        for record in records_of(PRODUCTS["VOICE-TTS"], "")
    }
    assert legs == {("conversation", True), ("leg", True), ("leg", False)}


def test_message_that_is_not_final_has_empty_cells() -> None:
    columns = PRODUCTS["MESSAGES"].columns_for("outbound", frozenset({"include_message"}))
    end = DAY + timedelta(hours=1)
    rows = rows_between(DAY, end, product="MESSAGES", rows_per_day=9_000, as_of=end)
    unsettled = [dict(zip(columns, cells, strict=True)) for *_, cells in rows]
    empty = ("status", "country", "country_name", "session_type", "session_id", "date_finalized",
             "latency", "currency", "estimated_price", "total_price")  # fmt: skip

    early = [record for record in unsettled if not record["date_finalized"]]
    assert early
    assert {record[name] for record in early for name in empty} == {""}


def test_parts_of_a_verification_add_up() -> None:
    records = records_of(PRODUCTS["VERIFY-API"], "")

    for record in records:
        parts = Decimal(record["sms_price"]) + Decimal(record["tts_price"])
        assert Decimal(record["estimated_price"]) == parts
        assert (parts == 0) == (record["pricing_model"] == "0")
    assert any(Decimal(record["tts_price"]) for record in records)


def test_report_costs_its_records_unless_it_is_free() -> None:
    for record in records_of(PRODUCTS["REPORTS-USAGE"], ""):
        is_free = record["requested_product"] == "REPORTS-USAGE"
        assert record["is_charged"] == str(not is_free).upper()
        cost = 0 if is_free else Decimal("0.0004") * int(record["items_written"])
        assert Decimal(record["total_price"]) == cost


def test_forms_of_times_and_texts_are_vonages() -> None:
    amd, event, message = (
        records_of(PRODUCTS[name], "")[0]
        for name in ("AMD", "NETWORK-API-EVENT", "CONVERSATION-MESSAGE")
    )

    assert re.fullmatch(r"2026-3-29 \d\d:\d\d:\d\d\+00:00", amd["start_time"])
    assert re.fullmatch(r"2026-03-29T[\d:]{8}\.\d{3}Z", event["record_creation_time"])
    assert re.fullmatch(
        r"\{requestId=[0-9a-f-]{36}, conversationEventId=\d+, messageSequenceNumber=1\}",
        message["other_ids"],
    )


def test_odd_countries_networks_tiers_and_prices_occur() -> None:
    outbound, inbound = (
        records_of(PRODUCTS["SMS"], direction, rows_per_day=3000)
        for direction in ("outbound", "inbound")
    )

    assert {"US-FIXED", "US-UNKNOWN"} <= {record["network"] for record in outbound}
    assert "UNKNOWN" in {record["country_name"] for record in outbound}
    assert "" in {record["tier_volume"] for record in outbound}
    assert {Decimal(record["total_price"]) for record in inbound} == {0, Decimal("0.036")}


def test_prices_vary_in_scale() -> None:
    prices = [record["total_price"] for record in records_of(PRODUCTS["MESSAGES"], "outbound")]
    assert len({len(price.partition(".")[2]) for price in prices}) > 2


@every_stream
def test_every_phone_number_is_fictional(product: Product, direction: str) -> None:
    ranges = [country.numbers for country in COUNTRIES] + [OWN_NUMBERS]
    for record in records_of(product, direction):
        for column in ("from", "to", "number", "msisdn"):
            value = record.get(column, "")
            if "@" in value:
                assert value.endswith("@example.com")
            elif value.isdigit() and len(value) < LENGTH_OF_MESSENGER_IDS:
                assert any(r.first <= int(value) <= r.last for r in ranges), (column, value)


def test_country_network_and_number_match() -> None:
    by_code = {country.code: country for country in COUNTRIES}
    records = records_of(PRODUCTS["SMS"], "outbound", rows_per_day=3000)
    assert {record["country"] for record in records} == set(by_code)
    for record in records:
        country = by_code[record["country"]]
        assert record["country_name"] == country.name
        assert (record["network"], record["network_name"]) in {
            (network.code, network.name) for network in country.networks
        }
        assert country.numbers.first <= int(record["to"]) <= country.numbers.last


def test_bodies_contain_characters_hard_for_csv_parsers() -> None:
    text = "".join(record["message_body"] for record in records_of(PRODUCTS["SMS"], "outbound"))
    assert all(part in text for part in ('"', ",", "\n", "\r\n", "🎉"))


@needs_digest
def test_products_columns_and_filters_match_specification() -> None:
    digest = yaml.safe_load(DIGEST.read_text())
    assert set(PRODUCTS) == set(digest["products"])
    parameters = digest["async_request"]["per_product"]
    empty_currency = digest["formats"]["currency_always_empty"]
    for name, product in PRODUCTS.items():
        for direction in product.directions:
            key = f"{name} {direction}" if f"{name} {direction}" in digest["records"] else name
            columns = [column.split(" ")[0] for column in digest["records"][key]]
            assert list(product.columns_for(direction, frozenset(product.switches))) == columns
            assert (product.currency == "") == (key in empty_currency)
        expected = dict(parameters[name])
        direction_rule = expected.pop("direction", None)
        rule = {None: Direction.REFUSED, "optional": Direction.OPTIONAL}
        assert product.direction is rule.get(direction_rule, Direction.REQUIRED)
        booleans = {key for key, value in expected.items() if value == "bool"}
        assert set(product.switches) == booleans
        assert set(product.filters) == set(expected) - booleans
        for key, allowed in product.filters.items():
            assert list(allowed) == (expected[key] if isinstance(expected[key], list) else [])


def test_country_shares_add_up_and_codes_are_unique() -> None:
    assert sum(country.share for country in COUNTRIES) == 256
    assert max(Counter(country.code for country in COUNTRIES).values()) == 1
