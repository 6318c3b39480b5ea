"""Definitions that follow Vonage's list of sub-accounts, through the handler."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import boto3
import pytest
import time_machine

from tests.chaos.dynamodb import ConditionsFailed, Table
from tests.integration.conftest import answer_of_aws, refusal_of_aws
from tests.support.handlers import Handler, load_handler, set_secret
from tests.support.stack import Stack
from vonage_reports.domain.errors import InvalidRequest, ResourceUnusable
from vonage_reports.domain.lifecycle import Deliver, apply
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.slots import submission_order
from vonage_reports.domain.subaccounts import SubaccountList, after_answer
from vonage_reports.domain.windows import format_instant
from vonage_reports.submit_reports.read_definitions import load_currencies
from vonage_reports.vonage.client import VonageClient
from vonage_reports_cli.status.sources import content_of

ALL = {"name": "all", "product": "VERIFY-V2", "account_ids": "subaccounts", "delay_days": [0]}
OWN = {"name": "own", "product": "AMD"}
EVERY = ["abcd1234", "subacct1", "subacct2"]


@pytest.fixture(autouse=True)
def at_noon(stack: Stack) -> None:
    """Begin at noon: whole days before the present."""
    stack.now = stack.now.replace(hour=12, minute=0, second=0, microsecond=0)


def schedule(stack: Stack, handler: Handler, **later: float) -> dict[str, Any]:
    stack.later(**later)
    with time_machine.travel(stack.now, tick=False):
        return handler({"scheduled_time": format_instant(stack.now)})


def sweep(stack: Stack, handler: Handler, **later: float) -> dict[str, Any]:
    stack.later(**later)
    with time_machine.travel(stack.now, tick=False):
        return handler({"sweep": True})


def reports(stack: Stack) -> list[Report]:
    """Return every report of the ledger."""
    names = json.loads(stack.services.definitions.read().text)
    found = []
    for each in names:
        of_it, _ = stack.services.ledger.reports_between(
            each["name"], stack.now - timedelta(days=60), stack.now
        )
        found += of_it
    return found


def deliver_all(stack: Stack, handler: Handler) -> None:
    """Sweep, and deliver all requested reports, until no report and no backfill is open."""
    while (work := stack.services.ledger.open_work()).reports or work.backfills:
        deliver(stack)
        sweep(stack, handler, minutes=5)


def deliver(stack: Stack) -> None:
    """Deliver all requested reports."""
    for report in stack.open():
        if report.state is State.SUBMITTED:
            stack.services.ledger.write(report, apply(report, Deliver(10), now=stack.now))


def planned(stack: Stack, name: str = "all") -> Counter[str]:
    """Count the definition's reports by account."""
    return Counter(each.account_id for each in reports(stack) if each.definition == name)


def days_of(stack: Stack, account_id: str) -> list[int]:
    """Return how many days ago the windows of an account began, oldest first."""
    midnight = stack.now.replace(hour=0)
    starts = [each.window.start for each in reports(stack) if each.account_id == account_id]
    return [(midnight - start).days for start in sorted(starts)]


def events(stack: Stack, event: str) -> list[dict[str, Any]]:
    return [each for each in stack.announced() if each["event"] == event]


def asked(stack: Stack) -> int:
    count: int = stack.simulator.state()["requests"]["by_operation"]["subaccounts"]
    return count


def test_each_account_has_a_report_for_each_window(stack: Stack, handler: Handler) -> None:
    handler.define(ALL, OWN)
    answer = schedule(stack, handler)
    assert answer["refused"] == []
    assert planned(stack) == dict.fromkeys(EVERY, 1)
    schedule(stack, handler, days=1)
    assert planned(stack) == dict.fromkeys(EVERY, 2)
    assert events(stack, "subaccounts.changed") == [], "the first list is no change"


def test_suspended_account_has_no_report(stack: Stack, handler: Handler) -> None:
    stack.simulator.settings(suspended_accounts=["subacct2"])
    handler.define(ALL)
    schedule(stack, handler)
    assert planned(stack) == dict.fromkeys(EVERY[:2], 1)


def test_new_account_begins_with_its_first_window(stack: Stack, handler: Handler) -> None:
    both = {**ALL, "delay_days": [0, 2]}
    handler.define(both)
    schedule(stack, handler)
    stack.announced()
    created = stack.now + timedelta(hours=20)
    stack.simulator.settings(
        created_accounts={"newacct1": format_instant(created), "newacct2": "unreadable"}
    )
    # For three days, Vonage does not tell.
    stack.simulator.fault("subaccounts", "status", status=503)
    schedule(stack, handler, days=1)
    schedule(stack, handler, days=3)
    (told,) = events(stack, "subaccounts.changed")
    assert (told["added"], told["gone"]) == (["newacct1", "newacct2"], [])
    # Created three days ago; listed no earlier than four days ago.
    assert set(days_of(stack, "newacct1")) == {3, 2, 1}
    assert set(days_of(stack, "newacct2")) == {4, 3, 2, 1}
    schedule(stack, handler, days=1)
    finals = [
        each.window.start for each in reports(stack)
        if each.account_id == "newacct1" and each.delay_days == 2
    ]  # fmt: skip
    assert min(finals) == created.replace(hour=0), "no window is only preliminary"
    assert events(stack, "subaccounts.changed") == []
    assert events(stack, "definition.removed") == []


def test_gone_account_ends_with_its_last_window(stack: Stack, handler: Handler) -> None:
    handler.define(ALL)
    schedule(stack, handler)
    stack.announced()
    stack.simulator.settings(suspended_accounts=["subacct1"], closed_accounts=["subacct2"])
    for days in (1, 1, 5, 5):
        schedule(stack, handler, days=days)
    for account_id in ("subacct1", "subacct2"):
        # The last window is the day on which Vonage listed it no more.
        assert days_of(stack, account_id) == [13, 12, 11]
    assert len(days_of(stack, "abcd1234")) == 13
    heard = stack.announced()
    changes = [each for each in heard if each["event"] == "subaccounts.changed"]
    assert [(each["added"], each["gone"]) for each in changes] == [([], ["subacct1", "subacct2"])]
    assert not [each for each in heard if each["event"] == "definition.removed"]

    stack.simulator.settings(suspended_accounts=[])
    schedule(stack, handler, days=2)
    assert days_of(stack, "subacct1") == [15, 14, 13, 2, 1], "it continues with a gap"
    assert events(stack, "subaccounts.changed")[0]["added"] == ["subacct1"]


def test_closed_account_fails_alone(stack: Stack, handler: Handler) -> None:
    stack.simulator.settings(forbidden_accounts=["subacct1"])
    handler.define(ALL)
    schedule(stack, handler)
    for _ in range(4):
        sweep(stack, handler, days=2)
    states = {each.account_id: each.state for each in reports(stack)}
    assert states == {
        "abcd1234": State.SUBMITTED,
        "subacct1": State.FAILED,
        "subacct2": State.SUBMITTED,
    }
    (failed,) = events(stack, "report.failed")[-1:]
    assert failed["account_id"] == "subacct1"


@pytest.fixture
def many(stack: Stack, handler: Handler) -> Iterator[Handler]:
    """The handler, with a fake as DynamoDB: moto copies the whole table in each transaction."""
    table = Table()

    def answer(model: Any, params: Mapping[str, Any], **_: Any) -> Any:
        try:
            return answer_of_aws(200, table.answer(model.name, json.loads(params["body"])))
        except ConditionsFailed as failed:
            name = "TransactionCanceledException"
            return refusal_of_aws(400, name, CancellationReasons=failed.reasons)

    # The functions' clients inherit the session's events. The client of the test has its own.
    session = boto3.DEFAULT_SESSION
    assert session is not None
    events_of = [session.events, stack.services.ledger._client.meta.events]
    for each in events_of:
        each.register("before-call.dynamodb", answer)
    yield handler
    for each in events_of:
        each.unregister("before-call.dynamodb", answer)


@pytest.mark.slow
def test_refused_account_among_300_stops_no_other(stack: Stack, many: Handler) -> None:
    created = format_instant(stack.now - timedelta(days=400))
    accounts = [f"acct{number:04}" for number in range(1, 299)]
    stack.simulator.settings(created_accounts=dict.fromkeys(accounts, created), jobs_policy="queue")
    many.define(ALL)
    # One invocation plans all of them, and no limit stops it.
    answer = schedule(stack, many)
    assert answer["refused"] == []
    work = stack.services.ledger.open_work()
    assert sorted(each.account_id for each in work.reports) == sorted([*EVERY, *accounts])
    assert (work.planning_stopped, len(answer["submitted"])) == (None, 5)

    waiting = [each for each in work.reports if each.state is State.PLANNED]
    refused = submission_order(waiting, stack.now)[0]
    stack.simulator.settings(forbidden_accounts=[refused.account_id])
    while len(stack.open()) > 1:
        deliver(stack)
        sweep(stack, many, minutes=5)
    (left,) = stack.open()
    assert (left.report_id, left.state) == (refused.report_id, State.PLANNED)
    assert left.denied_since is not None
    assert len(stack.created()) == 300
    told = events(stack, "report.failed")
    assert [each["account_id"] for each in told] == [refused.account_id]


@pytest.mark.parametrize("status", [401, 404])
def test_refusal_at_first_sight_refuses_the_definition(
    stack: Stack, handler: Handler, status: int
) -> None:
    stack.simulator.fault("subaccounts", "status", times=None, status=status)
    handler.define(ALL, OWN)
    answer = schedule(stack, handler)
    (refused,) = answer["refused"]
    assert (refused["definition"], refused["field"]) == ("all", "account_ids")
    assert f"Vonage answered {status} to GET" in refused["reason"]
    assert (planned(stack), planned(stack, "own")) == ({}, {"abcd1234": 1})
    for _ in range(3):
        sweep(stack, handler, minutes=5)
    assert len(events(stack, "definition.refused")) == 1

    # Vonage opened the API. The next sweep asks once more, 15 minutes after the refusal.
    stack.simulator.clear_faults()
    sweep(stack, handler, minutes=5)
    schedule(stack, handler, hours=1)
    assert planned(stack) == dict.fromkeys(EVERY, 1)


def test_key_without_the_api_is_refused_with_vonages_words(stack: Stack, handler: Handler) -> None:
    stack.simulator.settings(subaccounts_api=False)
    handler.define(ALL)
    (refused,) = schedule(stack, handler)["refused"]
    assert "is not provisioned to access Subaccount Provisioning API" in refused["reason"]


BROKEN: Sequence[dict[str, Any]] = [
    {"fault": "status", "status": 403},
    {"fault": "distorted", "how": "pages"},
]


@pytest.mark.parametrize("fault", BROKEN, ids=["403", "pages"])
def test_last_good_list_counts_for_seven_days(
    stack: Stack, handler: Handler, fault: dict[str, Any]
) -> None:
    handler.define(ALL)
    schedule(stack, handler)
    stack.simulator.fault("subaccounts", **fault, times=None)
    schedule(stack, handler, days=1)
    assert schedule(stack, handler, days=7)["refused"] == []
    assert planned(stack) == dict.fromkeys(EVERY, 9), "never half a list"
    assert [each for each in stack.announced() if each["event"] != "report.overdue"] == []

    (refused,) = schedule(stack, handler, days=1)["refused"]
    assert refused["reason"].startswith("Vonage's list of sub-accounts is not known: the last good")
    assert planned(stack) == dict.fromkeys(EVERY, 9)
    assert len(events(stack, "definition.refused")) == 1

    stack.simulator.clear_faults()
    assert schedule(stack, handler, days=1)["refused"] == []
    # The calendar catches up.
    assert planned(stack) == dict.fromkeys(EVERY, 11)
    assert events(stack, "definition.removed") == []


def test_retry_after_is_obeyed_and_the_last_good_list_used(stack: Stack, handler: Handler) -> None:
    handler.define(ALL)
    schedule(stack, handler)
    stack.simulator.fault("subaccounts", "status", status=429, retry_after=7200)
    schedule(stack, handler, days=1)
    before = asked(stack)
    schedule(stack, handler, minutes=119)
    assert asked(stack) == before
    sweep(stack, handler, minutes=1)
    assert asked(stack) == before + 1
    assert planned(stack) == dict.fromkeys(EVERY, 2)


def test_sweeps_ask_only_at_first_sight_and_after_a_failure(stack: Stack, handler: Handler) -> None:
    handler.define(OWN)
    sweep(stack, handler)
    schedule(stack, handler, minutes=5)
    assert asked(stack) == 0, "no definition follows the list"
    handler.define(OWN, ALL)
    for _ in range(3):
        sweep(stack, handler, minutes=5)
    assert asked(stack) == 1
    stack.simulator.fault("subaccounts", "status", status=500)
    schedule(stack, handler, minutes=5)
    for _ in range(6):
        sweep(stack, handler, minutes=5)
    assert asked(stack) == 3, "the failed one, and one 15 minutes later"


def test_list_of_another_key_does_not_count(stack: Stack, handler: Handler) -> None:
    handler.define(ALL)
    schedule(stack, handler)
    set_secret("other999", "another5ecret")
    handler.invoke = load_handler("submit_reports")
    (refused,) = schedule(stack, handler, days=1)["refused"]
    assert refused["field"] == "account_ids"
    assert planned(stack) == dict.fromkeys(EVERY, 1)

    # Meanwhile, an account was created.
    stack.simulator.settings(created_accounts={"newacct1": format_instant(stack.now)})
    set_secret(stack.simulator.api_key, stack.simulator.api_secret)
    handler.invoke = load_handler("submit_reports")
    schedule(stack, handler, days=2)
    assert planned(stack) == {**dict.fromkeys(EVERY, 4), "newacct1": 2}


ONE = {**ALL, "name": "one", "account_ids": ["SUBACCT1"]}


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("established", [ALL, ONE], ids=["follower", "namer"])
def test_new_definition_of_a_collected_account_is_refused_and_announced_once(
    stack: Stack, handler: Handler, established: dict[str, Any], place: str
) -> None:
    handler.define(established)
    schedule(stack, handler)
    name, before = established["name"], planned(stack, established["name"])
    new: dict[str, Any] = ONE if established is ALL else ALL
    both = (new, established) if place == "before" else (established, new)
    handler.define(*both)
    stack.announced()
    for _ in range(2):
        (refused,) = schedule(stack, handler, days=1)["refused"]
        sweep(stack, handler, minutes=5)

    assert planned(stack, name) == dict.fromkeys(before, 3)
    assert planned(stack, new["name"]) == {}
    (told,) = events(stack, "definition.refused")
    assert (told["definition"], told["field"]) == (new["name"], "account_ids")
    assert f"{name} collects the same of subacct1, and Vonage" in told["message"]
    assert refused["definition"] == new["name"]
    shown = content_of(stack.services.ledger, stack.services.definitions, as_of=stack.now)
    assert [each.to_dict() for each in shown.refusals] == [refused], "status says the same"


def test_established_definition_keeps_a_running_backfill_and_its_closed_accounts(
    stack: Stack, handler: Handler
) -> None:
    handler.define(ALL)
    schedule(stack, handler)
    stack.simulator.settings(closed_accounts=["subacct1"])
    handler.define(ONE, ALL)
    (refused,) = schedule(stack, handler, days=1)["refused"]
    assert refused["definition"] == "one", "also of an account that is closed"
    event = {"start": f"{stack.day(30)}", "end": f"{stack.day(28)}", "account_id": "subacct1"}
    with time_machine.travel(stack.now, tick=False):
        with pytest.raises(InvalidRequest, match="one, account_ids: all collects the same"):
            handler({"backfill": {"definition": "one", **event}})
        found = handler({"backfill": {"definition": "all", **event, "dry_run": True}})
    assert found["dry_run"]["reports"] == 2


def test_established_definition_keeps_its_currency(stack: Stack, handler: Handler) -> None:
    own = {"name": "own", "product": ALL["product"], "delay_days": [0], "currency": "EUR"}
    handler.define(own)
    schedule(stack, handler)
    handler.define(ALL, own)
    assert load_currencies(stack.services) == {"own": "EUR"}


def test_backfill_collects_the_present_list(stack: Stack, handler: Handler) -> None:
    handler.define(ALL)
    schedule(stack, handler)
    stack.simulator.settings(suspended_accounts=["subacct1"])
    schedule(stack, handler, days=1)
    start, end = stack.day(30), stack.day(28)
    with time_machine.travel(stack.now, tick=False):
        found = handler(
            {"backfill": {"definition": "all", "start": f"{start}", "end": f"{end}",
                          "dry_run": True}}
        )["dry_run"]  # fmt: skip
    assert found["reports"] == 4, "two days of the two accounts that are listed now"
    assert found["closed_accounts"] == ["subacct1"]


def test_late_windows_of_a_closed_account_are_mended_as_announced(
    stack: Stack, many: Handler
) -> None:
    handler = many
    handler.define(ALL)
    schedule(stack, handler)
    stack.simulator.settings(closed_accounts=["subacct2"])
    sweep(stack, handler, days=1)
    stack.announced()
    # The list is read before the account's last windows are planned, and these are late by then.
    schedule(stack, handler, days=11)
    told = [each["message"] for each in events(stack, "definition.refused")]
    (of_it,) = [each for each in told if "subacct2" in each]
    command = re.findall("`(.*?)`", of_it)[0].split()
    start, end = command[command.index("--from") + 1], command[command.index("--until") + 1]
    assert command[-2:] == ["--account", "subacct2"]

    assert days_of(stack, "subacct2") == [13, *range(7, 0, -1)]
    event = {"definition": "all", "start": start, "end": end, "account_id": "SUBACCT2"}
    with time_machine.travel(stack.now, tick=False):
        outlook = handler({"backfill": {**event, "dry_run": True}})["dry_run"]
        handler({"backfill": event})
    assert (outlook["reports"], outlook["closed_accounts"]) == (len(outlook["windows"]), [])
    deliver_all(stack, handler)
    assert days_of(stack, "subacct2") == list(range(13, 0, -1))


def test_account_of_the_former_list_is_announced_as_removed(stack: Stack, handler: Handler) -> None:
    handler.define({**ALL, "account_ids": ["abcd1234", "foreign1"]})
    schedule(stack, handler)
    handler.define(ALL)
    schedule(stack, handler, minutes=5)
    (removed,) = events(stack, "definition.removed")
    assert removed["account_id"] == "foreign1"


def test_pass_that_asked_at_the_same_time_follows_the_other_list(
    stack: Stack, handler: Handler
) -> None:
    handler.define(ALL)
    ledger = stack.services.ledger
    other = SubaccountList("abcd1234", {"subacct9": None})
    ask = VonageClient.list_subaccounts

    def ask_too(client: VonageClient, account_id: str) -> SubaccountList:
        ledger.write_subaccounts(None, after_answer(None, other, stack.now))
        return ask(client, account_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VonageClient, "list_subaccounts", ask_too)
        schedule(stack, handler)
    assert planned(stack) == {"abcd1234": 1, "subacct9": 1}


def test_change_that_is_not_announced_is_not_followed(stack: Stack, handler: Handler) -> None:
    handler.define(ALL, OWN)
    schedule(stack, handler)
    stack.simulator.settings(created_accounts={"newacct1": format_instant(stack.now)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOPIC_ARN", "arn:aws:sns:eu-west-1:123456789012:gone")
        broken = Handler(load_handler("submit_reports"))
        with pytest.raises(ResourceUnusable):
            schedule(stack, broken, days=1)
    assert (planned(stack), planned(stack, "own")) == (dict.fromkeys(EVERY, 2), {"abcd1234": 2})
    assert events(stack, "subaccounts.changed") == []
    schedule(stack, handler, days=1)
    (told,) = events(stack, "subaccounts.changed")
    assert told["added"] == ["newacct1"]
    assert planned(stack)["newacct1"] == 2
