"""Reports whose account, product or API key Vonage refuses for days."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.integration.conftest import Connect, Keys
from tests.support.stack import SCHEDULED, Stack, definition
from vonage_reports.domain.errors import VonageRejected
from vonage_reports.domain.report import Report, State
from vonage_reports.submit_reports.reprocess import recollect
from vonage_reports.vonage.client import Credentials

REFUSAL = {"content_type": "application/json", "body": json.dumps({"title": "Forbidden"})}
OWN = {"name": "own", "product": "VERIFY-V2"}
FOREIGN = {"name": "foreign", "product": "AMD", "account_ids": ["foreign1"]}
UNPROVISIONED = {"name": "unprovisioned", "product": "NUMBER-INSIGHT"}


def plan(stack: Stack, *entries: Mapping[str, Any]) -> dict[str, Report]:
    """Plan one report for each definition."""
    planned = stack.plan_definitions([definition(**each) for each in entries], at=SCHEDULED)
    return {(report := stack.known(each)).definition: report for each in planned}


def submit_for(stack: Stack, days: float) -> None:
    """Submit now, and then every six hours."""
    for _ in range(round(days * 4)):
        stack.submit()
        stack.later(hours=6)


def state_of(stack: Stack, report: Report) -> State:
    return stack.known(report.report_id).state


def refuse_everything(stack: Stack, status: int) -> None:
    for operation in ("create", "list", "get"):
        stack.simulator.fault(operation, "status", status=status, times=None, **REFUSAL)


@pytest.mark.parametrize("refused", [FOREIGN, UNPROVISIONED], ids=["403", "unprovisioned"])
def test_report_of_a_refused_account_fails_after_seven_days(
    stack: Stack, refused: dict[str, Any]
) -> None:
    stack.simulator.settings(unprovisioned_products=["NUMBER-INSIGHT"])
    plan(stack, OWN)
    (denied,) = plan(stack, refused).values()
    submit_for(stack, 7)
    assert state_of(stack, denied) is State.PLANNED
    stack.announced()
    submit_for(stack, 0.5)

    (failed,) = stack.announced()
    assert (failed["event"], failed["error"]) == ("report.failed", "VonageRejected")
    assert "7 days" in failed["message"]
    of_account = f"withdraw {denied.definition} --account {denied.account_id} --from "
    assert f"`vonage-reports {of_account}{denied.window.first_date} " in failed["message"]
    event = failed["run_again"]["recollect"]
    assert event == {"report_id": denied.report_id, "token": "failure-1"}
    assert state_of(stack, denied) is State.FAILED
    assert [each["product"] for each in stack.created()] == ["VERIFY-V2"]

    recollect(event["report_id"], event["token"], stack.services, now=stack.now)
    assert stack.known(denied.report_id).denied_since is None


def test_refused_hour_is_ended_alone(stack: Stack) -> None:
    """The dates of an hour would also end the other hours of its day."""
    (denied,) = plan(stack, {**FOREIGN, "window": "hour"}).values()
    submit_for(stack, 7.5)

    (failed,) = (each for each in stack.announced() if "7 days" in each["message"])
    assert f"`vonage-reports withdraw {denied.report_id}`" in failed["message"]
    assert "--account" not in failed["message"]
    assert "Change the dates" not in failed["message"]


@pytest.mark.parametrize("list_status", [503, 429])
def test_refused_report_waits_without_a_slot_while_the_list_does_not_answer(
    stack: Stack, list_status: int
) -> None:
    stack.simulator.settings(unprovisioned_products=["NUMBER-INSIGHT"])
    (denied,) = plan(stack, UNPROVISIONED).values()
    stack.submit()
    stack.simulator.fault("list", "status", status=list_status, times=None)
    for _ in range(27):
        stack.submit()
        assert (state_of(stack, denied), stack.slots()) == (State.PLANNED, 0)
        stack.later(hours=6)
    stack.simulator.reset()
    stack.simulator.settings(unprovisioned_products=["NUMBER-INSIGHT"])
    submit_for(stack, 0.5)
    assert state_of(stack, denied) is State.FAILED


def test_report_that_waited_for_its_final_after_refusals_fails_at_once(stack: Stack) -> None:
    """A hold would ask the operator about a report whose account Vonage has refused for long."""
    stack.simulator.settings(unprovisioned_products=["NUMBER-INSIGHT"])
    (denied,) = plan(stack, UNPROVISIONED).values()
    stack.submit()
    stack.later(days=14)
    stack.submit()
    assert state_of(stack, denied) is State.FAILED


@pytest.mark.parametrize("days", [2, 4, 6.5])
def test_account_that_is_opened_in_time_needs_no_operator(stack: Stack, days: float) -> None:
    """Complete lists prove that no report exists, or Vonage has deleted it by the seventh day."""
    refusing = {"status": 403, "times": None, **REFUSAL}
    (denied,) = plan(stack, UNPROVISIONED).values()
    stack.simulator.fault("create", "status", **refusing)
    stack.simulator.fault("list", "status", **refusing)
    stack.submit()
    stack.simulator.reset()
    stack.plan_definitions([definition(**OWN)])
    stack.submit()
    stack.simulator.fault("create", "status", **refusing)
    stack.simulator.fault("list", "status", **refusing)
    submit_for(stack, days)
    stack.simulator.reset()
    submit_for(stack, max(6.5 - days, 0.25))
    assert state_of(stack, denied) is State.SUBMITTED
    assert State.HELD not in {each.state for each in stack.open()}


def test_recollected_report_is_requested_once_the_account_is_open(stack: Stack) -> None:
    stack.simulator.settings(unprovisioned_products=["NUMBER-INSIGHT"])
    (denied,) = plan(stack, UNPROVISIONED).values()
    submit_for(stack, 7.5)
    assert state_of(stack, denied) is State.FAILED
    stack.simulator.settings(unprovisioned_products=[])
    recollect(denied.report_id, "failure-1", stack.services, now=stack.now)
    stack.submit()
    assert state_of(stack, denied) is State.SUBMITTED


@pytest.mark.parametrize(("status", "days"), [(401, 9), (403, 2), (403, 9)])
def test_refused_key_fails_no_report(stack: Stack, status: int, days: int) -> None:
    planned = plan(stack, OWN, UNPROVISIONED)
    refuse_everything(stack, status)
    stack.submit()
    refused = [each for each in stack.open() if each.error == "VonageRejected"]
    assert len(refused) == 1, "the first refusal stops the others in this pass"
    submit_for(stack, days)
    states = {state_of(stack, report) for report in planned.values()}
    assert State.FAILED not in states
    assert {body["event"] for body in stack.announced()} <= {"report.failed"}
    stack.simulator.reset()
    submit_for(stack, 0.5)
    assert {state_of(stack, report) for report in planned.values()} == {State.SUBMITTED}


def test_mistyped_secret_for_ten_days_heals(stack: Stack) -> None:
    planned = plan(stack, OWN, FOREIGN)
    right = stack.credentials[0]
    stack.credentials[0] = Credentials(right.api_key, "mistyped", right.source)
    submit_for(stack, 10)
    assert {state_of(stack, report) for report in planned.values()} == {State.PLANNED}
    stack.credentials[0] = right
    stack.submit()
    assert state_of(stack, planned["own"]) is State.SUBMITTED
    assert state_of(stack, planned["foreign"]) is State.PLANNED, "seven days of its own begin"


def test_client_tells_a_refused_key_from_a_refused_product(stack: Stack, connect: Connect) -> None:
    stack.simulator.settings(unprovisioned_products=["NUMBER-INSIGHT"])
    report = plan(stack, UNPROVISIONED)["unprovisioned"]
    seen = []
    for secret in (stack.simulator.api_secret, "mistyped"):
        client = connect(stack.simulator.url, Keys([(stack.simulator.api_key, secret)]))
        with pytest.raises(VonageRejected) as refusal:
            client.create_report(
                product=report.product,
                account_id=report.account_id,
                window=report.window,
                include_subaccounts=False,
                filters={},
            )
        seen.append(refusal.value.concerns_every_report)
    assert seen == [False, True]
