"""The simulator's counters (billed records, request rate, violations), settings and clock."""

from collections import Counter
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.simulator.billing import Bill, Selection
from local.simulator.clock import Clock
from local.simulator.records import Stream
from local.simulator.settings import Settings
from local.simulator.traffic import Traffic

STREAMS = [Stream(1, "SMS", "abcd1234", direction) for direction in ("outbound", "inbound")]
records = st.sets(st.tuples(st.sampled_from(STREAMS), st.integers(0, 2), st.integers(0, 40)))


@given(reports=st.lists(records, max_size=5))
def test_bill_counts_records_and_repeated_records(
    reports: list[set[tuple[Stream, int, int]]],
) -> None:
    bill = Bill()
    times_billed: Counter[tuple[Stream, int, int]] = Counter()
    for number, report in enumerate(reports):
        selection = Selection()
        for record in report:
            selection.add(*record)
        bill.charge(str(number), selection)
        times_billed.update(report)
    assert bill.records_total == times_billed.total()
    assert bill.records_billed_more_than_once == sum(n > 1 for n in times_billed.values())
    assert list(bill.records_by_report.values()) == [len(report) for report in reports]


def headers(**values: str) -> Message:
    message = Message()
    for name, value in values.items():
        message[name.replace("_", "-")] = value
    return message


@given(gaps=st.lists(st.floats(0, 1.5), max_size=40))
def test_rate_limit_holds_in_every_second(gaps: list[float]) -> None:
    now = 0.0
    traffic = Traffic(lambda: now)
    admitted: list[float] = []
    arrived: list[float] = []
    most = 0
    for gap in gaps:
        now += gap
        traffic.arrived("get", "/v2/reports/x", headers())
        arrived.append(now)
        most = max(most, sum(time > now - 1 for time in arrived))
        expected = sum(time > now - 1 for time in admitted) < 5
        assert traffic.admit(5) is expected
        if expected:
            admitted.append(now)
    assert traffic.max_requests_per_second == most
    assert traffic.total == traffic.by_operation["get"] == len(gaps)


@pytest.mark.parametrize(
    ("target", "sent", "violations"),
    [
        ("/v2/reports", headers(User_Agent="ours/1", Authorization="Basic x"), set()),
        ("/v2/reports?api_key=a", headers(User_Agent="ours/1", Authorization="Basic x"),
         {"credentials_in_url"}),
        ("http://a:b@127.0.0.1/v2/reports", headers(User_Agent="ours/1", Authorization="Basic x"),
         {"credentials_in_url"}),
        ("/v2/reports", headers(User_Agent="python-requests/2.32", Authorization="Basic x"),
         {"missing_user_agent"}),
        ("/v2/reports", headers(User_Agent="Python-urllib/3.11", Authorization="Basic x"),
         {"missing_user_agent"}),
        ("/v2/reports", headers(Authorization="Bearer x"),
         {"missing_user_agent", "basic_auth_missing"}),
    ],
)  # fmt: skip
def test_violations_are_counted(target: str, sent: Message, violations: set[str]) -> None:
    traffic = Traffic()
    traffic.arrived("list", target, sent)
    assert {name for name, count in traffic.violations.items() if count} == violations


@pytest.mark.parametrize(
    "changes",
    [
        {"colour": "red"},
        {"seed": "1"},
        {"seed": True},
        {"rows_per_day": -1},
        {"rows_per_day": 1.5},
        {"jobs_policy": "panic"},
        {"jobs_limit": 0},
        {"zip_members": 0},
        {"crlf": 1},
        {"extra_columns": "one"},
        {"rows_per_day_by_product": {"FAX": 1}},
    ],
)
def test_settings_refuse_unknown_names_and_bad_values(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        Settings().changed(changes)


def test_product_setting_takes_precedence() -> None:
    settings = Settings().changed({"rows_per_day": 7, "rows_per_day_by_product": {"AMD": 1}})
    assert (settings.rows_per_day_of("AMD"), settings.rows_per_day_of("SMS")) == (1, 7)


def test_clock_advances_but_never_goes_back() -> None:
    clock = Clock()
    before = clock.now()
    clock.advance(3600)
    assert (clock.now() - before).total_seconds() >= 3600
    with pytest.raises(ValueError, match="negative"):
        clock.advance(-1)
