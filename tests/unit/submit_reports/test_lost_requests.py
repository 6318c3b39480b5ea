from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.answers import ANSWER, any_json
from vonage_reports.domain.decisions import Found, LookupResult, NoMatch, Unclear
from vonage_reports.domain.errors import ReportExpired, VonageRejected, VonageUnavailable
from vonage_reports.domain.report import Priority, Report, Revision, State
from vonage_reports.domain.windows import Window
from vonage_reports.submit_reports.context import Services
from vonage_reports.submit_reports.lost_requests import find_request
from vonage_reports.vonage.answers import ReportList, report_list

SENT = datetime(2026, 11, 22, 2, 20, tzinfo=UTC)
START = datetime(2026, 11, 20, 13, tzinfo=UTC)
LOST = Report(
    report_id="sms-outbound-20261120T1300Z-0123456789ab",
    definition="sms-outbound",
    product="SMS",
    account_id="abcd1234",
    include_subaccounts=False,
    filters={"direction": "outbound", "include_message": False},
    window=Window(START, START + timedelta(days=1), "UTC"),
    revision=Revision.FINAL,
    priority=Priority.CALENDAR,
    planned_at=SENT,
    state=State.SUBMITTING,
    submitted_at=SENT,
)


@dataclass
class Vonage:
    """Answers each look-up with a list of its own, or with an error."""

    lists: dict[str, ReportList | Exception]
    api_key: str = "primary1"
    claimed: Mapping[str, str] = field(default_factory=dict)

    def list_reports(self, account_id: str) -> ReportList:
        listed = self.lists[account_id]
        if isinstance(listed, Exception):
            raise listed
        return listed

    def report_served_by(self, request_id: str) -> str | None:
        return self.claimed.get(request_id)


def list_of(*entries: object, count: object = ..., **more: object) -> ReportList:
    said = len(entries) if count is ... else count
    return report_list({"reports": list(entries), "items_count": said, **more})


EMPTY = list_of()


def look_up(
    of_account: ReportList | Exception,
    of_key: ReportList | Exception = EMPTY,
    claimed: Mapping[str, str] = {},
) -> LookupResult:
    vonage = Vonage({"abcd1234": of_account, "primary1": of_key}, claimed=claimed)
    services = cast("Services", SimpleNamespace(vonage=vonage, ledger=vonage))
    return find_request(LOST, services)[0]


OTHERS: tuple[dict[str, Any], ...] = (
    {"account_id": 12345678, "product": "MESSAGES"},
    {"date_start": "2026-11-01T00:00:00Z"},
    {"request_id": "a/b", "product": "MESSAGES"},
)
ODD: tuple[object, ...] = ("x", None, {}, {**ANSWER, "request_id": "a/b"})


def test_matching_entry_is_adopted_beside_unreadable_ones() -> None:
    assert look_up(list_of(*ODD, *OTHERS, ANSWER, count=None)) == Found("request-1")


@pytest.mark.parametrize("other", OTHERS)
def test_readable_field_that_differs_makes_an_entry_anothers(other: dict[str, Any]) -> None:
    assert look_up(list_of(other)) is NoMatch.ABSENT


@pytest.mark.parametrize("odd", ODD)
def test_unreadable_entry_is_unclear(odd: object) -> None:
    assert isinstance(look_up(list_of(*OTHERS, odd)), Unclear)


@pytest.mark.parametrize(
    "incomplete",
    [
        list_of(count=None),
        list_of(count=1),
        list_of(count="0"),
        list_of(_links={"next": {"href": "x"}}),
    ],
)
def test_incomplete_list_proves_no_absence(incomplete: ReportList) -> None:
    assert look_up(incomplete) is NoMatch.NOT_NOW
    assert look_up(EMPTY, incomplete) is NoMatch.NOT_NOW
    assert look_up(EMPTY) is NoMatch.ABSENT


@pytest.mark.parametrize(
    "error",
    [VonageUnavailable("500"), VonageRejected("403", status=403), ReportExpired("410")],
)
def test_match_in_one_list_is_adopted_though_the_other_is_refused(error: Exception) -> None:
    assert look_up(list_of(ANSWER), error) == Found("request-1")
    assert look_up(error, list_of(ANSWER)) == Found("request-1")
    assert look_up(EMPTY, error) is not NoMatch.ABSENT


def test_match_counts_though_another_entry_with_its_id_differs() -> None:
    other = {**ANSWER, "product": "MESSAGES"}
    assert look_up(list_of(ANSWER, other)) == Found("request-1")
    assert look_up(list_of(other), list_of(ANSWER)) == Found("request-1")
    assert look_up(list_of(ANSWER), list_of(other)) == Found("request-1")


def test_claimed_match_is_anothers() -> None:
    claimed = {"request-1": "another-report"}
    assert look_up(list_of(ANSWER), claimed=claimed) is NoMatch.ABSENT


@given(st.sampled_from(sorted(ANSWER)), any_json)
def test_any_json_in_a_field_never_has_a_lost_report_bought_again(name: str, value: object) -> None:
    result = look_up(list_of({**ANSWER, name: value}))
    # A readable value may name another report.
    is_switch = name in (*LOST.filters, "include_subaccounts")
    if not isinstance(value, str | bool | int | float if is_switch else str):
        assert result is not NoMatch.ABSENT


@given(st.sampled_from(["items_count", "_links", "self_link"]), any_json)
def test_any_json_beside_the_list_never_has_a_lost_report_bought_again(
    name: str, value: object
) -> None:
    assert look_up(report_list({"reports": [ANSWER], name: value})) == Found("request-1")


@given(any_json)
def test_any_json_as_an_entry_never_has_a_lost_report_bought_again(entry: object) -> None:
    assert look_up(list_of(entry)) is not NoMatch.ABSENT
    assert look_up(list_of(entry, ANSWER)) == Found("request-1")
