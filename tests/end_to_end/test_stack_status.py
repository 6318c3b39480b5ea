"""`vonage-reports status` of a deployed stack, with AWS settings from the environment."""

import json
from typing import Any

import pytest

from tests.end_to_end.conftest import UNLIMITED, LocalStack

pytestmark = pytest.mark.slow

DEFINITIONS = [
    {"name": "verify", "product": "VERIFY-V2"},
    {"name": "sms", "product": "SMS", "filters": {"direction": "inbound"}},
]


def backfill(start: str, end: str) -> dict[str, Any]:
    return {"backfill": {"definition": "verify", "start": start, "end": end}}


@pytest.fixture(scope="module")
def simulator_settings() -> dict[str, Any]:
    return {"rows_per_day": 10}


@pytest.fixture(scope="module")
def requests_per_second() -> int:
    return UNLIMITED


def test_gap_is_shown_with_the_event_that_closes_it(local_stack: LocalStack) -> None:
    local_stack.stack.set_definitions(json.dumps(DEFINITIONS))
    for start, end in (("2026-10-01", "2026-10-03"), ("2026-10-06", "2026-10-07")):
        local_stack.stack.submit(backfill(start, end))
        local_stack.until(
            lambda: not local_stack.ledger.open_work().backfills and not local_stack.states(),
            "the end of the backfill",
        )
    before = local_stack.stack.ledger_items()

    status = local_stack.program("status", "--json")

    assert (status.code, status.err) == (0, "")
    document = json.loads(status.out)
    verify, sms = document["definitions"]
    assert (verify["account_id"], verify["delivered"], verify["missing"]) == ("abcd1234", 3, 3)
    assert verify["last_delivered"]["start"] == "2026-10-06T00:00:00Z"
    assert (sms["account_id"], sms["last_delivered"]) == ("(the API key)", None)
    (gap,) = document["problems"]
    assert gap["event"] == backfill("2026-10-03", "2026-10-06")
    assert local_stack.stack.ledger_items() == before

    local_stack.stack.submit(gap["event"])
    local_stack.until(lambda: not local_stack.ledger.open_work().backfills, "the plan of the gap")
    local_stack.until(lambda: not local_stack.states(), "the deliveries of the gap")
    assert json.loads(local_stack.program("status", "--json").out)["problems"] == []


def test_unknown_stack_is_one_sentence(local_stack: LocalStack) -> None:
    status = local_stack.program("status", stack="absent")

    assert (status.code, status.out) == (2, "")
    assert status.err.startswith("vonage-reports: there is no stack 'absent' in eu-west-1")
    assert len(status.err.splitlines()) == 1
