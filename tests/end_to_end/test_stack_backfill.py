"""Backfills on the deployed stack."""

import json
import os
from datetime import date, timedelta
from typing import Any

import pytest

from tests.end_to_end.conftest import UNLIMITED, LocalStack
from tests.end_to_end.faults import Case, kill_functions
from vonage_reports.domain.report import State

pytestmark = pytest.mark.slow

DAYS = int(os.environ.get("BACKFILL_DAYS", "8"))
"""370 days take about ten minutes."""
END = date(2026, 11, 1)
START = END - timedelta(days=DAYS)
SCHEDULED = "2026-11-20T02:15:00Z"
PRODUCTS = ("VERIFY-V2", "VOICE-TTS", "AMD")


@pytest.fixture(scope="module")
def simulator_settings() -> dict[str, Any]:
    return {"rows_per_day": 100, "seconds_per_report": 0.3}


@pytest.fixture(scope="module")
def requests_per_second() -> int:
    return UNLIMITED


@pytest.fixture
def case(local_stack: LocalStack) -> Case:
    """Return the windows of one test, on the module's stack."""
    return Case(local_stack, "backfill")


def define(local_stack: LocalStack, *names: str) -> None:
    """Define one report for each product; `names` precede the product's name."""
    local_stack.stack.set_definitions(
        json.dumps(
            [
                {"name": "-".join([*names, product.lower()]), "product": product}
                for product in PRODUCTS
            ]
        )
    )


def backfill(
    definition: str, start: date = START, end: date = END, **more: object
) -> dict[str, Any]:
    fields = {"definition": definition, "start": str(start), "end": str(end), **more}
    return {"backfill": fields}


def days_requested(case: Case, product: str) -> list[str]:
    """Return the starts of the windows that Vonage received, in order."""
    return [
        each["request"]["date_start"]
        for each in case.simulator.state()["reports"]
        if each["request"]["product"] == product
    ]


def test_backfill_runs_newest_first_and_the_calendar_overtakes_it(
    case: Case, local_stack: LocalStack
) -> None:
    define(local_stack)
    for product in PRODUCTS:
        local_stack.stack.submit(backfill(product.lower()))
    local_stack.until(lambda: case.created() >= 6, "six reports of the backfills")
    assert local_stack.simulator.state()["max_in_flight"] <= 4

    daily = local_stack.scheduled(SCHEDULED)["planned"]
    before = len(case.simulator.state()["reports"])
    local_stack.until_finished(daily)

    starts = [each["request"]["date_start"] for each in case.simulator.state()["reports"]]
    are_daily = [start > END.isoformat() for start in starts[before:]]
    while are_daily and not are_daily[-1]:
        are_daily.pop()
    # The calendar gets each free slot. At most one report of a backfill was faster.
    assert are_daily.count(False) <= 1
    kill_functions(case)
    local_stack.until(
        lambda: not local_stack.ledger.open_work().backfills, "the end of planning", within=3600
    )
    local_stack.until(lambda: not local_stack.ledger.open_reports(), "the last delivery")
    case.at_rest(created=len(PRODUCTS) * (DAYS + 1))
    for product in PRODUCTS:
        days = [day for day in days_requested(case, product) if day < END.isoformat()]
        # Reports sent at the same moment may arrive in either order.
        newest_first = sorted(days, reverse=True)
        assert all(abs(newest_first.index(day) - at) < 4 for at, day in enumerate(days))
        assert len(days) == DAYS
    events = [body["event"] for _, body in local_stack.notifications()]
    assert events.count("report.delivered") == len(PRODUCTS) * (DAYS + 1)


def test_next_backfill_collects_only_the_missing_windows(
    case: Case, local_stack: LocalStack
) -> None:
    define(local_stack, "again")
    name = "again-amd"
    local_stack.stack.submit(backfill(name))
    local_stack.until(lambda: case.created() >= 2, "two reports of the backfill")
    local_stack.stack.submit({"cancel": {"backfill": f"{name}-{START:%Y%m%d}-{END:%Y%m%d}"}})
    local_stack.until(
        lambda: not local_stack.ledger.open_reports(), "the end of the reports in flight"
    )
    created = case.created()
    assert created < DAYS

    estimate = local_stack.stack.submit(backfill(name, dry_run=True))["dry_run"]
    assert (estimate["reports"], estimate["skipped"]) == (DAYS - created, created)
    assert len(estimate["windows"]) == DAYS
    assert estimate["expected_billed_records"] == pytest.approx((DAYS - created) * 100, rel=0.05)
    assert case.created() == created
    assert not local_stack.ledger.open_work().backfills

    local_stack.stack.submit(backfill(name))
    local_stack.until(
        lambda: not local_stack.ledger.open_work().backfills, "the end of planning", within=3600
    )
    local_stack.until(lambda: not local_stack.ledger.open_reports(), "the last delivery")
    assert case.created() == DAYS
    manifests = local_stack.objects(f"manifests/{name}/")
    assert len(manifests) == DAYS
    states = {
        report.state
        for key in manifests
        if (report := local_stack.ledger.report(key.rpartition("/")[2].removesuffix(".json")))
    }
    assert states == {State.DELIVERED}
