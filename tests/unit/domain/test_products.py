from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.simulator.products import PRODUCTS as SIMULATED
from vonage_reports.domain.products import (
    NO_FILTERS,
    PRODUCTS,
    SWITCH,
    doubts,
    oldest_start,
    retention_problem,
)


def test_products_match_the_simulators() -> None:
    # Both were written from the specification, independently.
    assert {
        name: (product.direction.value, dict(product.filters), product.retention_days)
        for name, product in PRODUCTS.items()
    } == {
        name: (
            product.direction.value,
            {filter_: frozenset(values) for filter_, values in product.filters.items()}
            | dict.fromkeys(product.switches, SWITCH),
            product.retention_days,
        )
        for name, product in SIMULATED.items()
    }


def test_no_report_parameter_is_listed_as_a_filter() -> None:
    assert not NO_FILTERS.keys() & {name for each in PRODUCTS.values() for name in each.filters}


@pytest.mark.parametrize(
    ("product", "filters"),
    [
        ("SMS", {"direction": "outbound", "status": "delivered", "include_message": False}),
        ("SMS", {"direction": "outbound", "include_message": "true", "show_concatenated": True}),
        ("MESSAGES", {"direction": "inbound", "provider": "whatsapp"}),
        ("VERIFY-V2", {"channel": "silent_auth", "status": "anything"}),
        ("VOICE-CALL", {"status": "ANSWERED", "to": "447700900123"}),
        ("REPORTS-USAGE", {}),
    ],
)
def test_documented_filters_raise_no_doubt(product: str, filters: dict[str, object]) -> None:
    assert list(doubts(product, filters)) == []


@pytest.mark.parametrize(
    ("product", "filters", "field"),
    [
        ("SATELLITE-9", {"orbit": 3}, "product"),
        ("VOICE-CALL", {"orbit": "low"}, "filters.orbit"),
        ("MESSAGES", {"network": "23410"}, "filters.network"),
        ("SMS", {"status": "sent"}, "filters.status"),
        ("SMS", {"status": "DELIVERED"}, "filters.status"),
        ("VOICE-CALL", {"status": "delivered"}, "filters.status"),
        ("MESSAGES", {"provider": "pigeon"}, "filters.provider"),
        ("VERIFY-V2", {"channel": "sms"}, "filters.channel"),
        ("SMS", {"include_message": "yes"}, "filters.include_message"),
        ("SMS", {"include_message": 1}, "filters.include_message"),
        ("SMS", {"network": 23410}, "filters.network"),
    ],
)
def test_undocumented_field_is_named(product: str, filters: dict[str, object], field: str) -> None:
    [(named, reason)] = doubts(product, filters)

    assert named == field
    assert reason


@pytest.mark.parametrize("product", ["VOICE-CALL", "SATELLITE-9"])
def test_doubt_never_quotes_a_phone_number(product: str) -> None:
    filters = {"to": 447700900123, "from": True, "whom": "447700900123"}

    assert "447700900123" not in str(list(doubts(product, filters)))


@pytest.mark.parametrize(
    ("product", "now", "oldest"),
    [
        ("SMS", "2026-11-23", "2025-10-23"),
        ("SMS", "2026-01-15", "2024-12-15"),
        ("SMS", "2026-02-28", "2025-01-28"),
        ("SMS", "2026-03-31", "2025-02-28"),
        ("SMS", "2025-03-31", "2024-02-29"),
        ("SATELLITE-9", "2026-11-23", "2025-10-23"),
        ("VIDEO-API", "2026-11-23", "2026-08-25"),
    ],
)
def test_retention_is_13_months_and_90_days_for_video(product: str, now: str, oldest: str) -> None:
    afternoon = datetime.fromisoformat(f"{now}T15:30:00+00:00")

    assert oldest_start(product, afternoon) == datetime.fromisoformat(f"{oldest}T00:00:00+00:00")


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds the zone
    st.sampled_from(sorted(PRODUCTS)),
    st.integers(0, 500),
)
def test_accepted_delay_lies_within_the_retention(now: datetime, product: str, days: int) -> None:
    if retention_problem(product, days) is None:
        assert now - timedelta(days=days) >= oldest_start(product, now)
