"""A definition that follows Vonage's list of sub-accounts, on the deployed stack."""

import json
import shlex
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.end_to_end.faults import Case
from vonage_reports.domain.report import State
from vonage_reports.domain.windows import format_instant, parse_instant

pytestmark = pytest.mark.slow

NAME = "every-account"
DEFINITION = {
    "name": NAME,
    "product": "VERIFY-V2",
    "account_ids": "subaccounts",
    "filters": {"locale": NAME},
    "window": "hour",
    "delay_days": [0],
}
LISTED = dict.fromkeys(("subacct1", "subacct2"), "2025-01-01T00:00:00Z")
HOUR = timedelta(hours=1)


@pytest.fixture
def accounts(case: Case) -> Iterator[Case]:
    """Let Vonage list two sub-accounts and refuse one, and restore the list at the end."""
    case.simulator.settings(
        seconds_per_report=0.1, created_accounts=LISTED, forbidden_accounts=["subacct1"]
    )
    yield case
    case.simulator.settings(forbidden_accounts=[], closed_accounts=[], created_accounts={})


def test_refused_closed_and_new_accounts_are_kept_apart(accounts: Case) -> None:
    case, stack = accounts, accounts.stack
    now = datetime.now(UTC)
    stack.forget_calendar()
    stack.stack.set_definitions(json.dumps([DEFINITION]))
    assert len(stack.scheduled(format_instant(now - 2 * HOUR))["planned"]) == 3

    created = now - 2 * HOUR
    case.simulator.settings(
        closed_accounts=["subacct2"],
        created_accounts={**LISTED, "newacct1": format_instant(created)},
    )
    stack.scheduled(format_instant(now))
    stack.until(lambda: _are_refused(case), "the end of all reports that Vonage takes")

    heard = [body for _, body in stack.notifications()]
    (changed,) = [each for each in heard if each["event"] == "subaccounts.changed"]
    assert (changed["added"], changed["gone"]) == (["newacct1"], ["subacct2"])
    failed = [each for each in heard if each["event"] == "report.failed"]
    assert {each["account_id"] for each in failed} == {"subacct1"}
    delivered = _hours(heard)
    assert delivered.keys() == {"abcd1234", "subacct2", "newacct1"}
    # The closed account is collected up to the list that lacks it.
    assert len(delivered["abcd1234"]) == len(delivered["subacct2"]) == 3
    first = min(delivered["newacct1"])
    assert first <= created < first + HOUR

    problems = json.loads(stack.program("status", NAME, "--json").out)["problems"]
    (refused,) = [each for each in problems if each["kind"] == "refused"]
    (command,) = refused["commands"]
    ended = stack.program(*shlex.split(command)[3:], "--yes")
    assert ended.code == 0, ended.err
    assert "3 reports ended as CANCELLED" in ended.out
    case.at_rest(created=sum(map(len, delivered.values())))

    # A later window of the closed account can still be collected.
    day = (now - timedelta(days=1)).date()
    dates = ("--from", f"{day}", "--until", f"{now.date()}", "--dry-run")
    without = stack.program("backfill", NAME, *dates)
    assert "leaves out subacct2, which is closed or suspended" in without.out, without.err
    named = stack.program("backfill", NAME, *dates, "--account", "subacct2")
    assert ".subacct2: 24 windows" in named.out, named.err


def _are_refused(case: Case) -> bool:
    """Whether Vonage has refused every open report."""
    reports = case.stack.ledger.open_reports()
    return bool(reports) and all(
        each.state is State.PLANNED and each.denied_since is not None for each in reports
    )


def _hours(heard: list[dict[str, Any]]) -> dict[str, list[datetime]]:
    """Return the starts of the delivered windows, by account."""
    found: dict[str, list[datetime]] = defaultdict(list)
    for each in heard:
        if each["event"] == "report.delivered":
            found[each["account_id"]].append(parse_instant(each["window"]["start"]))
    return dict(found)
