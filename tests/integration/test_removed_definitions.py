"""Definitions and accounts that the operator does not list any more, through the handler."""

from collections.abc import Mapping
from typing import Any

import boto3
import pytest
import time_machine

from tests.support.handlers import Handler, set_secret
from tests.support.stack import Stack, definition
from vonage_reports.domain.backfill import Progress
from vonage_reports.domain.errors import ResourceUnusable
from vonage_reports.domain.lifecycle import Fail, Split
from vonage_reports.domain.objects import DEFINITIONS_KEY
from vonage_reports.domain.report import Report, State
from vonage_reports.submit_reports.execute import execute

KEPT = {"name": "kept", "product": "VERIFY-V2"}
GONE = {"name": "gone", "product": "AMD"}
TWO_ACCOUNTS = {**GONE, "account_ids": ["subacct1", "abcd1234"]}


def plan(stack: Stack, *entries: Mapping[str, Any]) -> None:
    """Plan the latest window of each definition, and submit nothing."""
    stack.plan_definitions([definition(**each) for each in entries], at=stack.now)


def sweep(stack: Stack, handler: Handler, *entries: dict[str, Any], **later: float) -> None:
    """Sweep with these definitions, `later` than before."""
    stack.later(**later)
    handler.define(*entries)
    with time_machine.travel(stack.now, tick=False):
        handler({"sweep": True})


def removals(stack: Stack) -> list[tuple[str, str]]:
    """Return the removals announced since the last call."""
    return [
        (body["definition"], body["account_id"])
        for body in stack.announced()
        if body["event"] == "definition.removed"
    ]


def state_of(stack: Stack, report: Report) -> State:
    return stack.known(report.report_id).state


def the(stack: Stack, name: str) -> Report:
    """Return the only open report of a definition."""
    (report,) = [each for each in stack.open() if each.definition == name and not each.is_half]
    return report


def products(stack: Stack) -> list[str]:
    return [str(each["product"]) for each in stack.created()]


def test_name_removed_for_a_day_waits_and_is_submitted_once(stack: Stack, handler: Handler) -> None:
    plan(stack, KEPT, GONE)
    for _ in range(3):
        sweep(stack, handler, KEPT, hours=5)
    waiting = the(stack, "gone")
    assert (waiting.state, waiting.slot, products(stack)) == (State.PLANNED, None, ["VERIFY-V2"])
    assert "gone or its account abcd1234 is not in the" in (waiting.reason or "")
    assert removals(stack) == [("gone", "abcd1234")]

    for _ in range(2):
        sweep(stack, handler, KEPT, GONE, hours=5)
    again = the(stack, "gone")
    assert (again.state, again.reason) == (State.SUBMITTED, None)
    assert products(stack) == ["VERIFY-V2", "AMD"]

    sweep(stack, handler, KEPT)
    assert removals(stack) == [("gone", "abcd1234")], "a second removal is announced again"


def test_scheduled_run_announces_a_removed_account(stack: Stack, handler: Handler) -> None:
    plan(stack, KEPT, TWO_ACCOUNTS)
    # Account ids are case-insensitive.
    handler.define(KEPT, {**GONE, "account_ids": ["SubAcct1"]})
    stack.later(minutes=1)
    with time_machine.travel(stack.now, tick=False):
        handler({"scheduled_time": stack.now.isoformat()})
    assert removals(stack) == [("gone", "abcd1234")]
    states = {each.account_id: each.state for each in stack.open() if each.definition == "gone"}
    assert states == {"subacct1": State.SUBMITTED, "abcd1234": State.PLANNED}


def test_reports_of_removed_definitions_do_not_stop_planning(
    stack: Stack, handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(stack, KEPT, TWO_ACCOUNTS)
    sweep(stack, handler, KEPT)
    monkeypatch.setattr("vonage_reports.submit_reports.plan.MOST_OPEN", 2)
    stack.later(days=1)
    with time_machine.travel(stack.now, tick=False):
        answer = handler({"scheduled_time": stack.now.isoformat()})
    assert [name.split("-")[0] for name in answer["planned"]] == ["kept"]
    assert answer["refused"] == []


def test_name_removed_for_seven_days_is_withdrawn(stack: Stack, handler: Handler) -> None:
    plan(
        stack,
        KEPT,
        GONE,
        {**GONE, "name": "split", "product": "SMS", "filters": {"direction": "inbound"}},
    )
    halved = the(stack, "split")
    execute(halved, Split(), stack.services, now=stack.now)
    waiting = the(stack, "gone")
    wanted = stack.backfill(definition(**GONE), stack.day(20), stack.day(10))
    stack.begin(wanted)

    sweep(stack, handler, KEPT)
    assert [each.backfill for each in stack.open() if each.backfill] == []
    sweep(stack, handler, KEPT, days=6, hours=23)
    assert state_of(stack, waiting) is State.PLANNED
    sweep(stack, handler, KEPT, hours=1)

    for report in (waiting, halved):
        ended = stack.known(report.report_id)
        assert (ended.state, ended.withdrawn_at) == (State.CANCELLED, stack.now)
    assert {each.definition for each in stack.open()} == {"kept"}
    (stopped,) = stack.services.ledger.ended_backfills([])
    assert stopped.progress is Progress.STOPPED
    assert products(stack) == ["VERIFY-V2"]

    # Only the operator collects the window again.
    handler.define(KEPT, GONE)
    plan(stack, GONE)
    assert state_of(stack, waiting) is State.CANCELLED


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '[{"name": "another", "product": "AMD"}]',
        '[{"product": "AMD"}, {"name": "kept", "product": "VERIFY-V2"}]',
        '[{"name": "Gone", "product": "AMD"}, {"name": "kept", "product": "VERIFY-V2"}]',
        '[{"name": "gone", "product": 3}, {"name": "kept", "product": "VERIFY-V2"}]',
    ],
)
def test_nothing_is_removed_by_a_list_that_may_lack_it(
    stack: Stack, handler: Handler, text: str
) -> None:
    plan(stack, KEPT, GONE)
    handler.define(text=text, replaces=False)
    with time_machine.travel(stack.now, tick=False):
        handler({"sweep": True})
    assert removals(stack) == []
    assert sorted(products(stack)) == ["AMD", "VERIFY-V2"]


def test_waiting_report_waits_on_while_the_list_is_unknown(stack: Stack, handler: Handler) -> None:
    plan(stack, KEPT, GONE)
    sweep(stack, handler, KEPT)
    handler.define(text="{")
    stack.later(days=8)
    with time_machine.travel(stack.now, tick=False):
        handler({"sweep": True})
    boto3.client("s3").delete_object(Bucket="reports", Key=DEFINITIONS_KEY)
    with time_machine.travel(stack.now, tick=False), pytest.raises(ResourceUnusable):
        handler({"sweep": True})
    assert (the(stack, "gone").state, products(stack)) == (State.PLANNED, ["VERIFY-V2"])


def test_recollected_window_of_a_removed_definition_is_collected(
    stack: Stack, handler: Handler
) -> None:
    plan(stack, KEPT, GONE)
    report = the(stack, "gone")
    execute(report, Fail("RowsMismatch", "11 of 12"), stack.services, now=stack.now)
    handler.define(KEPT)
    with time_machine.travel(stack.now, tick=False):
        handler({"recollect": {"report_id": report.report_id}})
    assert removals(stack) == [("gone", "abcd1234")]
    assert state_of(stack, report) is State.SUBMITTED


def test_mistyped_key_withdraws_nothing(stack: Stack, handler: Handler) -> None:
    plan(stack, KEPT, GONE)
    set_secret("mistyped", stack.simulator.api_secret)
    for _ in range(2):
        sweep(stack, handler, KEPT, GONE, days=8)
    # The default account is the secret's API key, so all names lacked their accounts.
    assert len(removals(stack)) == 2
    set_secret(stack.simulator.api_key, stack.simulator.api_secret)
    for _ in ("the client reads the secret again", "the accounts are listed"):
        sweep(stack, handler, KEPT, GONE, hours=1)
    assert sorted(products(stack)) == ["AMD", "VERIFY-V2"]
