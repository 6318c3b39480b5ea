from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.reports import make_report
from vonage_reports.domain.lifecycle import (
    Adopt,
    Deliver,
    Fail,
    Replan,
    Resume,
    TakeSlot,
    Transition,
    apply,
)
from vonage_reports.domain.metrics import (
    UNITS,
    expires_soon,
    of_archive,
    of_open_work,
    of_transition,
)
from vonage_reports.domain.report import Entry, Report, State
from vonage_reports.domain.windows import HOUR

LATER = datetime(2026, 11, 25, 3, tzinfo=UTC)
PLANNED = make_report(delay_days=3, expected_rows=1200)
SUBMITTING = apply(PLANNED, TakeSlot(1, "one", LATER), now=LATER)
SUBMITTED = apply(SUBMITTING, Adopt("r1"), now=LATER)
DELIVERED = apply(SUBMITTED, Deliver(700), now=LATER)
RECEIPT = {
    "items_count": 700,
    "times": {"submitted": "2026-11-25T02:15:00Z", "ready": "2026-11-25T02:22:00Z"},
}


def after(report: Report, transition: Transition) -> dict[str, float]:
    return of_transition(report, apply(report, transition, now=LATER), now=LATER)


def gauges(*reports: Report, hours: float = 0) -> dict[str, float]:
    return of_open_work(reports, slots=0, expiring=0, now=LATER + hours * HOUR)


def test_requested_reports_are_counted_repeats_separately() -> None:
    assert after(SUBMITTING, Adopt("r1")) == {"ReportsRequested": 1, "ReportsBoughtAgain": 0}
    again = replace(SUBMITTING, attempt=1)
    assert after(again, Adopt("r2")) == {"ReportsRequested": 1, "ReportsBoughtAgain": 1}
    # The operator requested this report.
    asked = replace(apply(DELIVERED, Replan(), now=LATER), state=State.SUBMITTING)
    assert after(asked, Adopt("r2")) == {"ReportsRequested": 1, "ReportsBoughtAgain": 0}


def test_delivery_counts_rows_and_hours_since_windows_end() -> None:
    assert after(SUBMITTED, Deliver(700)) == {
        "Deliveries": 1,
        "RowsDelivered": 700,
        "HoursToDelivery": 75,
        "RescuedCells": 0,
    }


def test_backfill_delivery_counts_no_hours() -> None:
    assert after(replace(SUBMITTED, backfill="all"), Deliver(0)) == {
        "Deliveries": 1,
        "RowsDelivered": 0,
        "RescuedCells": 0,
    }


def test_reconversion_is_no_delivery() -> None:
    assert after(replace(DELIVERED, state=State.CONVERTING), Deliver(700)) == {}


def test_rescued_cells_count_once_for_each_conversion_that_changes_them() -> None:
    rescued = {"total_price": 2, "date_received": 1}
    converting = replace(DELIVERED, state=State.CONVERTING)

    assert after(SUBMITTED, Deliver(700, rescued))["RescuedCells"] == 3
    assert after(converting, Deliver(700, rescued)) == {"RescuedCells": 3}
    assert after(replace(converting, rescued=rescued), Deliver(700, rescued)) == {}
    assert after(replace(converting, rescued=rescued), Deliver(700)) == {"RescuedCells": 0}


def test_resumed_run_adds_nothing() -> None:
    resume = Resume(Entry.CHECK, LATER, frees_slot=False, error="E", reason="because")
    assert after(SUBMITTED, resume) == {}


def test_failed_part_does_not_count_as_failed_window() -> None:
    assert after(SUBMITTED, Fail("E", "because")) == {"ReportsFailed": 1}
    assert after(replace(SUBMITTED, root="whole"), Fail("E", "because")) == {}


@given(st.sampled_from(State), st.sampled_from(State))
def test_every_metric_has_a_unit(before: State, later: State) -> None:
    found = of_transition(replace(PLANNED, state=before), replace(PLANNED, state=later), now=LATER)
    assert set(found) | set(gauges()) <= set(UNITS)


@pytest.mark.parametrize(
    ("expected_rows", "hours"),
    [(0, 1), (2_000_000, 2), (None, 4.5)],
    ids=["few", "many", "unknown"],
)
def test_run_has_an_hour_plus_half_an_hour_per_million_rows(
    expected_rows: int | None, hours: float
) -> None:
    report = replace(SUBMITTED, expected_rows=expected_rows)
    assert gauges(report, hours=hours)["LongestRunRatio"] == pytest.approx(1)
    assert gauges(report, SUBMITTED, hours=3 * hours)["LongestRunRatio"] >= 3


def test_report_without_a_run_has_ratio_zero() -> None:
    for state in (State.PLANNED, State.SUBMITTING, State.HELD, State.SPLIT):
        assert gauges(replace(SUBMITTED, state=state), hours=99)["LongestRunRatio"] == 0


def test_waiting_and_held_reports_are_counted() -> None:
    found = gauges(PLANNED, PLANNED, SUBMITTED, replace(SUBMITTED, state=State.HELD))
    assert (found["ReportsWaiting"], found["ReportsHeld"]) == (2, 1)


def test_file_expires_soon_60_hours_after_the_post() -> None:
    assert not expires_soon(SUBMITTED, LATER + timedelta(hours=59.9))
    assert expires_soon(SUBMITTED, LATER + timedelta(hours=60))
    stored = replace(SUBMITTED, receipts=("archives/r1.json",))
    assert not expires_soon(stored, LATER + timedelta(hours=60))
    assert not expires_soon(replace(SUBMITTED, state=State.HELD), LATER + timedelta(hours=60))


def test_archive_counts_billed_records_and_generation_time() -> None:
    assert of_archive("SMS", RECEIPT) == {"BilledRecords": 700, "GenerationSeconds": 420}
    unknown = {**RECEIPT, "times": {**RECEIPT["times"], "submitted": None}}  # type: ignore[dict-item]  # a JSON object
    assert of_archive("SMS", unknown) == {"BilledRecords": 700}


def test_report_on_reports_is_not_billed() -> None:
    assert of_archive("REPORTS-USAGE", RECEIPT)["BilledRecords"] == 0


def test_archive_without_record_count_adds_nothing() -> None:
    assert of_archive("SMS", {**RECEIPT, "items_count": None}) == {}
