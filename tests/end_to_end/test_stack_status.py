"""`STACK=name make status` against a deployed stack, with AWS settings from the environment."""

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

    code, output, errors = local_stack.status()

    assert (code, errors) == (0, "")
    document = json.loads(output)
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
    _, output, _ = local_stack.status()
    assert json.loads(output)["problems"] == []


def test_unknown_stack_is_one_sentence(local_stack: LocalStack) -> None:
    code, output, errors = local_stack.status("absent")

    assert (code, output) == (2, "")
    assert errors.startswith("make status: STACK=absent: ")
    assert len(errors.splitlines()) == 1
