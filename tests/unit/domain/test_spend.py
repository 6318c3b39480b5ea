from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.reports import make_report
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.spend import (
    Budget,
    Spending,
    expected_in_flight,
    month_of,
    spending_of,
)

SENT = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)


def requested(**changes: Any) -> Report:
    standard: dict[str, Any] = {
        "state": State.SUBMITTED,
        "request_id": "r1",
        "submitted_at": SENT,
        "slot": 1,
    }
    return replace(make_report(), **{**standard, **changes})


def waiting(rows: int | None, *, backfill: str | None = None, product: str = "SMS") -> Report:
    return replace(make_report(), expected_rows=rows, backfill=backfill, product=product)


def test_request_counts_in_the_utc_month_in_which_it_was_sent() -> None:
    assert month_of(SENT.astimezone(timezone(timedelta(hours=9)))) == "2026-11"
    assert month_of(SENT + timedelta(minutes=30)) == "2026-12"
    assert spending_of(requested(), 7) == Spending("2026-11", 7)


@pytest.mark.parametrize(
    "changes", [{"counted": "r1"}, {"request_id": None}, {"product": "REPORTS-USAGE"}]
)
def test_request_that_is_counted_missing_or_free_counts_for_nothing(
    changes: dict[str, Any],
) -> None:
    assert spending_of(requested(**changes), 7) is None


def test_unknown_count_is_no_spending() -> None:
    assert spending_of(requested(), None) is None
    assert spending_of(requested(), 0) == Spending("2026-11", 0)


@pytest.mark.parametrize(
    ("used", "report", "is_refused"),
    [
        (90, waiting(10), False),
        (90, waiting(11), True),
        (99, waiting(None), False),
        (100, waiting(None), True),
        (100, waiting(0), True),
        (79, waiting(1, backfill="b"), False),
        (80, waiting(1, backfill="b"), True),
        (80, waiting(None, backfill="b"), True),
        (500, waiting(9, product="REPORTS-USAGE"), False),
    ],
)
def test_cap_of_100_records(used: int, report: Report, *, is_refused: bool) -> None:
    assert (Budget("2026-11", 100, used).refusal(report) is not None) is is_refused


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_cap_of_zero_refuses_nothing(used: int, rows: int) -> None:
    assert Budget("2026-11", 0, used).refusal(waiting(rows)) is None


@given(st.integers(1, 10**6), st.lists(st.integers(0, 10**6), max_size=20))
def test_requested_reports_stay_below_the_cap_if_the_expectation_is_right(
    cap: int, rows: list[int]
) -> None:
    budget = Budget("2026-11", cap)
    for each in map(waiting, rows):
        if budget.refusal(each) is None:
            budget = budget.plus(each)

    assert budget.used <= cap


def test_request_in_flight_counts_with_its_expected_rows_until_it_is_counted() -> None:
    reports = [
        requested(expected_rows=5),
        requested(expected_rows=None),
        requested(expected_rows=7, counted="r1"),
        requested(expected_rows=11, submitted_at=SENT + timedelta(hours=1)),
        requested(expected_rows=13, product="REPORTS-USAGE"),
        requested(expected_rows=17, state=State.SUBMITTING, request_id=None),
        requested(expected_rows=23, state=State.HELD, request_id=None, slot=None),
        waiting(19),
    ]

    assert expected_in_flight(reports, "2026-11") == 5 + 17 + 23
