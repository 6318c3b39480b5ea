import contextlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.answers import ANSWER, any_json
from tests.support.run_input import RUN_INPUT
from tests.support.unsafe_text import unsafe_in
from vonage_reports.domain.errors import VonageReportsError, VonageUnavailable
from vonage_reports.vonage.answers import report_list, report_request
from vonage_reports.vonage.comparison import Match, compare, require_answer_to

COMPARED = (
    "product",
    "account_id",
    "include_subaccounts",
    "direction",
    "include_message",
    "date_start",
    "date_end",
)


def test_whole_answer_is_the_same_report() -> None:
    assert compare(report_request(ANSWER), RUN_INPUT) is Match.SAME


@pytest.mark.parametrize(
    "changes",
    [
        {"product": "sms", "account_id": "ABCD1234"},
        {"include_subaccounts": "false", "include_message": "False"},
        {"include_subaccounts": None, "include_message": None},
    ],
)
def test_other_spelling_is_the_same_report(changes: dict[str, object]) -> None:
    assert compare(report_request({**ANSWER, **changes}), RUN_INPUT) is Match.SAME


@pytest.mark.parametrize("url", ["https://example.com/0f", "", None, 1, ["https://example.com"]])
def test_echoed_callback_url_is_not_compared(url: object) -> None:
    assert compare(report_request({**ANSWER, "callback_url": url}), RUN_INPUT) is Match.SAME


def test_order_of_a_filters_values_does_not_matter() -> None:
    asked = replace(RUN_INPUT, filters={"direction": "outbound", "status": "failed,delivered"})
    said = report_request({**ANSWER, "status": "delivered, failed"})
    assert compare(said, asked) is Match.SAME


@pytest.mark.parametrize(
    "changes",
    [
        {"product": "MESSAGES"},
        {"account_id": "other999"},
        {"include_subaccounts": True},
        {"include_subaccounts": "true"},
        {"direction": "inbound"},
        {"include_message": "true"},
        {"date_start": "2026-11-19T13:00:00Z"},
        {"date_end": "2026-11-21T12:59:59Z"},
    ],
)
def test_one_readable_field_that_differs_is_another_report(changes: dict[str, object]) -> None:
    said = report_request({**{name: ["unreadable"] for name in COMPARED}, **changes})
    assert compare(said, RUN_INPUT) is Match.OTHER
    with pytest.raises(VonageUnavailable, match="other parameters") as unavailable:
        require_answer_to(RUN_INPUT, report_request({**ANSWER, **changes}))
    assert unavailable.value.is_unusable_answer


@pytest.mark.parametrize("name", COMPARED)
@pytest.mark.parametrize("value", [5.5, [], ["SMS"], {}, {"a": 1}])
def test_unreadable_field_is_unclear(name: str, value: object) -> None:
    said = report_request({**ANSWER, name: value})
    is_filter_of_ours = name in RUN_INPUT.filters and isinstance(value, float)
    assert compare(said, RUN_INPUT) is (Match.OTHER if is_filter_of_ours else Match.UNCLEAR)


@pytest.mark.parametrize("name", ["product", "account_id", "direction", "date_start", "date_end"])
def test_missing_field_contradicts_nothing(name: str) -> None:
    said = report_request({key: value for key, value in ANSWER.items() if key != name})
    assert compare(said, RUN_INPUT) is Match.UNCLEAR
    assert require_answer_to(RUN_INPUT, said) is said


def test_filter_that_was_not_sent_is_unclear() -> None:
    said = report_request({**ANSWER, "country": "GB"})
    assert compare(said, RUN_INPUT) is Match.UNCLEAR


@given(st.sampled_from(sorted(ANSWER)), any_json)
def test_any_json_in_any_field_raises_only_our_errors(name: str, value: object) -> None:
    answer = {**ANSWER, name: value}
    for said in (report_request(answer), *report_list({"reports": [answer]}).reports):
        compare(said, RUN_INPUT)
        with contextlib.suppress(VonageReportsError):
            _ = require_answer_to(RUN_INPUT, said).state
        assert not unsafe_in(said.request_status or "")


@given(st.dictionaries(st.sampled_from(["reports", "items_count", "_links"]), any_json))
def test_any_json_as_a_list_raises_only_our_errors(answer: dict[str, Any]) -> None:
    try:
        listed = report_list(answer)
    except VonageUnavailable:
        return
    assert len(listed.reports) == len(answer["reports"])
