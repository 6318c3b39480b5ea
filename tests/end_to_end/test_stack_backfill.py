"""Backfills on the deployed stack."""

import json
import os
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.end_to_end.faults import Case, kill_functions
from vonage_reports.domain.report import State

if TYPE_CHECKING:
    from tests.end_to_end.conftest import LocalStack

DAYS = int(os.environ.get("BACKFILL_DAYS", "8"))
"""With 370, a year and more, it takes some ten minutes."""
END = date(2026, 11, 1)
START = END - timedelta(days=DAYS)
SCHEDULED = "2026-11-20T02:15:00Z"
PRODUCTS = ("VERIFY-V2", "VOICE-TTS", "AMD")


@pytest.fixture(scope="module")
def simulator_settings() -> dict[str, Any]:
    return {"rows_per_day": 100, "seconds_per_report": 0.3}


@pytest.fixture(scope="module")
def request_interval() -> float:
    return 0.0


def define(local_stack: "LocalStack", *names: str) -> None:
    """Define one report for each product; `names` come before the product's."""
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
    asked = {"definition": definition, "start": str(start), "end": str(end), **more}
    return {"backfill": asked}


def days_asked_for(case: Case, product: str) -> list[str]:
    """The first instants of the windows that Vonage was asked for, in order."""
    return [
        each["request"]["date_start"]
        for each in case.simulator.state()["reports"]
        if each["request"]["product"] == product
    ]


def test_a_backfill_of_three_definitions_ends_newest_first_and_a_daily_run_overtakes_it(
    case: Case, local_stack: "LocalStack"
) -> None:
    define(local_stack)
    for product in PRODUCTS:
        local_stack.stack.submit(backfill(product.lower()))
    local_stack.until(lambda: case.bought() >= 6, "the backfills are on their way")
    assert local_stack.simulator.state()["max_in_flight"] <= 4

    daily = local_stack.scheduled(SCHEDULED)["planned"]
    bought = len(case.simulator.state()["reports"])
    local_stack.until_ended(daily)

    asked = [each["request"]["date_start"] for each in case.simulator.state()["reports"]]
    are_daily = [start > END.isoformat() for start in asked[bought:]]
    while are_daily and not are_daily[-1]:
        are_daily.pop()
    # Whatever slot becomes free is the calendar's: at most one report of a backfill was faster.
    assert are_daily.count(False) <= 1
    kill_functions(case)
    local_stack.until(
        lambda: not local_stack.ledger.open_work().backfills, "all is planned", within=3600
    )
    local_stack.until(lambda: not local_stack.ledger.open_reports(), "all is delivered")
    case.at_rest(bought=len(PRODUCTS) * (DAYS + 1))
    for product in PRODUCTS:
        asked = [day for day in days_asked_for(case, product) if day < END.isoformat()]
        # Of reports that are sent at the same moment either may arrive first.
        newest_first = sorted(asked, reverse=True)
        assert all(abs(newest_first.index(day) - at) < 4 for at, day in enumerate(asked))
        assert len(asked) == DAYS
    told = [body["event"] for _, body in local_stack.notifications()]
    assert told.count("report.delivered") == len(PRODUCTS) * (DAYS + 1)


def test_what_is_there_is_skipped_and_what_was_cancelled_is_collected_by_the_next(
    case: Case, local_stack: "LocalStack"
) -> None:
    define(local_stack, "again")
    name = "again-amd"
    local_stack.stack.submit(backfill(name))
    local_stack.until(lambda: case.bought() >= 2, "some of it is asked for")
    asked = f"{name}-{START:%Y%m%d}-{END:%Y%m%d}"
    local_stack.stack.submit({"cancel": {"backfill": asked}})
    local_stack.until(
        lambda: not local_stack.ledger.open_reports(), "what is in flight is finished"
    )
    bought = case.bought()
    assert bought < DAYS

    told = local_stack.stack.submit(backfill(name, dry_run=True))["dry_run"]
    assert (told["reports"], told["skipped"]) == (DAYS - bought, bought)
    assert len(told["windows"]) == DAYS
    assert told["expected_billed_records"] == pytest.approx((DAYS - bought) * 100, rel=0.05)
    assert case.bought() == bought
    assert not local_stack.ledger.open_work().backfills

    local_stack.stack.submit(backfill(name))
    local_stack.until(
        lambda: not local_stack.ledger.open_work().backfills, "all is planned", within=3600
    )
    local_stack.until(lambda: not local_stack.ledger.open_reports(), "all is delivered")
    assert case.bought() == DAYS
    manifests = local_stack.objects(f"manifests/{name}/")
    assert len(manifests) == DAYS
    states = {
        report.state
        for key in manifests
        if (report := local_stack.ledger.report(key.rpartition("/")[2].removesuffix(".json")))
    }
    assert states == {State.DELIVERED}
