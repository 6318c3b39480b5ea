"""Validation of report requests by the simulated API, product by product."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import pytest

from local.simulator.answers import Problem
from local.simulator.products import PRODUCTS, Direction, Product
from local.simulator.validation import (
    ReportRequest,
    months_before,
    parse_date,
    parse_json_object,
    parse_report_request,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
WINDOW = {"date_start": "2026-11-21T00:00:00Z", "date_end": "2026-11-22T00:00:00Z"}
SMS = {"product": "SMS", "account_id": "abcd1234", "direction": "outbound"}

every_product = pytest.mark.parametrize("product", PRODUCTS.values(), ids=lambda p: p.name)


def parse(body: Mapping[str, object]) -> ReportRequest:
    return parse_report_request(body, now=NOW, accounts=("abcd1234",))


def refusal(body: Mapping[str, object]) -> Problem:
    with pytest.raises(Problem) as refused:
        parse(body)
    return refused.value


def invalid_parameters(body: Mapping[str, object]) -> list[str]:
    problem = refusal(body)
    assert problem.status == HTTPStatus.UNPROCESSABLE_ENTITY
    entries = problem.document["invalid_parameters"]
    assert isinstance(entries, list)
    return [entry["name"] for entry in entries]


def minimal(product: Product) -> dict[str, object]:
    required = product.direction is Direction.REQUIRED
    body: dict[str, object] = {"product": product.name, "account_id": "abcd1234"}
    return {**body, "direction": "inbound"} if required else body


@every_product
def test_minimal_request_covers_last_seven_days(product: Product) -> None:
    request = parse(minimal(product))
    assert (request.start, request.end) == (NOW - timedelta(days=7), NOW)
    assert not request.include_subaccounts


@every_product
def test_direction_is_required_optional_or_refused(product: Product) -> None:
    without = {"product": product.name, "account_id": "abcd1234"}
    if product.direction is Direction.REQUIRED:
        assert invalid_parameters(without) == ["direction"]
    if product.direction is Direction.REFUSED:
        assert invalid_parameters({**without, "direction": "outbound"}) == ["direction"]
    else:
        assert parse({**without, "direction": "outbound"}).direction == "outbound"
        assert invalid_parameters({**without, "direction": "sideways"}) == ["direction"]


@every_product
def test_filter_of_another_product_is_refused(product: Product) -> None:
    every_filter = {name for other in PRODUCTS.values() for name in other.filters}
    for name in every_filter - set(product.filters):
        assert invalid_parameters({**minimal(product), name: "x"}) == [name]


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"product": None}, ["product"]),
        ({"product": "FAX"}, ["product"]),
        ({"account_id": None}, ["account_id"]),
        ({"date_start": "yesterday"}, ["date_start"]),
        ({"date_start": "2026-11-21"}, ["date_start"]),
        ({"date_end": "2026-02-30T00:00:00Z"}, ["date_end"]),
        ({"date_end": "2026-11-20T23:59:59Z"}, ["date_end"]),
        ({"date_start": "2025-10-22T23:59:59Z"}, ["date_start"]),
        (
            {"date_start": "2026-11-23T12:00:00Z", "date_end": "2026-11-24T00:00:00Z"},
            ["date_start"],
        ),
        (
            {"date_start": "2025-10-22T00:00:00Z", "date_end": "2026-11-23T00:00:00Z"},
            ["date_start", "date_start"],
        ),
        ({"status": "DELIVERED"}, ["status"]),
        ({"from": 447700900000}, ["from"]),
        ({"id": "aaaaaaaa-bbbb-cccc-dddd-0123456789ab"}, ["id"]),
        ({"include_message": "yes"}, ["include_message"]),
        ({"callback_url": "nowhere"}, ["callback_url"]),
        ({"status": "nope", "include_message": 1.5}, ["include_message", "status"]),
    ],
)
def test_refusal_names_invalid_parameters(changes: dict[str, object], names: list[str]) -> None:
    assert invalid_parameters({**SMS, **WINDOW, **changes}) == names


def test_video_records_reach_back_90_days() -> None:
    body = {"product": "VIDEO-API", "account_id": "abcd1234", "date_end": "2026-11-01T00:00:00Z"}
    assert parse({**body, "date_start": "2026-08-25T00:00:00Z"})
    assert invalid_parameters({**body, "date_start": "2026-08-24T23:59:59Z"})


def test_range_of_thirteen_months_is_allowed() -> None:
    assert parse({**SMS, "date_start": "2025-10-23T00:00:00Z", "date_end": "2026-11-23T00:00:00Z"})


def test_window_may_reach_into_the_future_but_not_begin_there() -> None:
    assert parse({**SMS, "date_start": "2026-11-23T11:59:59Z", "date_end": "2026-11-25T00:00:00Z"})
    future = {"date_start": "2026-11-24T00:00:00Z", "date_end": "2026-11-25T00:00:00Z"}
    assert refusal({**SMS, **future}).document["invalid_parameters"] == [
        {"name": "date_start", "reason": "date_start must be in the past"}
    ]


def test_foreign_account_is_forbidden() -> None:
    assert refusal({**SMS, "account_id": "zzzz9999"}).status == HTTPStatus.FORBIDDEN


def test_unprovisioned_product_answers_401() -> None:
    with pytest.raises(Problem) as refused:
        parse_report_request(SMS, now=NOW, accounts=("abcd1234",), unprovisioned_products=("SMS",))
    assert refused.value.status == HTTPStatus.UNAUTHORIZED
    assert "unprovisioned" in str(refused.value.document["type"])


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"SMS"', b"\xff"])
def test_body_without_json_object_answers_400(body: bytes) -> None:
    with pytest.raises(Problem) as refused:
        parse_json_object(body)
    assert refused.value.status == HTTPStatus.BAD_REQUEST


def test_parameters_are_echoed_and_booleans_may_be_strings() -> None:
    request = parse({**SMS, "status": "delivered", "show_concatenated": "true"})
    assert request.echo == {
        "direction": "outbound",
        "status": "delivered",
        "include_message": False,
        "show_concatenated": True,
    }
    assert request.switches_on == {"show_concatenated"}


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T01:00:00+01:00",
        "2026-11-21T01:00:00+0100",
        "2026-11-21T00:00:00Z",
        "2026-11-21T00:00:00.000Z",
    ],
)
def test_documented_date_forms_are_parsed(text: str) -> None:
    assert parse_date(text) == datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2026-11-21T00:00:00", "2026-11-21 00:00:00Z", 20261121, None])
def test_other_date_forms_are_not_parsed(text: object) -> None:
    assert parse_date(text) is None


def test_months_before_clamps_to_last_day_of_month() -> None:
    assert months_before(datetime(2026, 3, 31, tzinfo=UTC), 13) == datetime(2025, 2, 28, tzinfo=UTC)
