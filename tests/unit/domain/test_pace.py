from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.reports import make_report
from vonage_reports.aws.ledger_items import calendar_of, paces_of
from vonage_reports.domain import waits
from vonage_reports.domain.pace import (
    FASTEST,
    LEAST,
    LEAST_ROWS,
    REMEMBERED,
    SLOWEST,
    learnt_pace,
    observed_pace,
    remembered,
    teaches_pace,
)
from vonage_reports.domain.report import Report
from vonage_reports.domain.splitting import halves_of
from vonage_reports.domain.windows import format_instant

SENT = datetime(2026, 11, 25, 2, 15, tzinfo=UTC)

rows = st.integers(LEAST_ROWS, 20_000_000)
paces = st.integers(FASTEST, SLOWEST)
histories = st.lists(paces, max_size=20)


def sent(**changes: Any) -> Report:
    return make_report(**{"submitted_at": SENT, "rows": 1_000_000, **changes})


def after(seconds: float) -> str:
    return format_instant(SENT + timedelta(seconds=seconds))


def learn(history: Sequence[int]) -> tuple[int, ...]:
    known: tuple[int, ...] = ()
    for each in history:
        known = remembered(known, each)
    return known


@given(rows, st.integers(-(10**6), 10**6) | st.integers(0, 7200))
def test_pace_is_bounded_whatever_was_seen(count: int, seconds: int) -> None:
    pace = observed_pace(sent(rows=count), after(seconds))
    assert pace is None or FASTEST <= pace <= SLOWEST
    assert (pace is None) == (seconds < waits.SHORTEST_POLL)


@pytest.mark.parametrize("ready", [None, 7, "", "soon", "2026-11-25T02:30:00", {}, "9" * 5_000])
def test_unreadable_time_teaches_nothing(ready: object) -> None:
    assert observed_pace(sent(), ready) is None


def test_pace_counts_from_our_post() -> None:
    assert observed_pace(sent(rows=2_000_000), after(960)) == 480


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": None},
        {"rows": LEAST_ROWS - 1},
        # A later run saw the report long after its end.
        {"resumes": 1},
        # An earlier POST may have created the report.
        {"unheard": True},
    ],
)
def test_report_of_unknown_duration_teaches_no_pace(changes: dict[str, Any]) -> None:
    assert teaches_pace(sent())
    assert not teaches_pace(sent(**changes))


@given(st.lists(paces, max_size=LEAST - 1))
def test_few_paces_leave_the_documented_one(history: list[int]) -> None:
    assert learnt_pace(learn(history)) is None
    assert waits.first_wait(1_000_000, learnt_pace(learn(history))) == 360


@given(histories, paces)
def test_one_late_report_never_delays_the_first_poll(history: list[int], late: int) -> None:
    known = learn(history)
    slower = remembered(known, max(late, *known, FASTEST))
    if len(known) == REMEMBERED:
        # The newest replaces the oldest one, which was perhaps the fastest.
        known = known[1:]
    before, now = learnt_pace(known), learnt_pace(slower)
    assert before is None or before == now


@given(histories, st.none() | st.integers(0, 20_000_000))
def test_first_wait_is_between_20_seconds_and_half_an_hour(
    history: list[int], expected: int | None
) -> None:
    assert 20 <= waits.first_wait(expected, learnt_pace(learn(history))) <= 1800


@given(st.integers(FASTEST, SLOWEST), rows)
def test_first_poll_comes_soon_after_a_steady_end(true_pace: int, count: int) -> None:
    generation = true_pace * count / 1e6
    known: tuple[int, ...] = ()
    for _ in range(40):
        age: float = waits.first_wait(count, learnt_pace(known))
        polls = 1
        while age < generation:
            age += waits.next_poll(timedelta(seconds=age))
            polls += 1
        seen = observed_pace(sent(rows=count), after(age))
        if seen is not None:
            known = remembered(known, seen)
    # Above half an hour, the first wait is at its limit.
    if generation < 1800:
        assert age <= max(1.25 * generation, generation + waits.SHORTEST_POLL)
        assert polls <= 4


def test_halves_have_the_pace_of_their_window() -> None:
    report = sent(expected_rows=8_000_000, pace=120)
    assert [half.pace for half in halves_of(report, now=SENT)] == [120, 120]


@given(histories)
def test_paces_come_back_from_the_ledger(history: list[int]) -> None:
    known = learn(history)
    item = {"pk": "calendar", "sk": "pace#sms#abcd1234", "paces": list(known)}
    assert paces_of(item) == known
    assert calendar_of([item]).paces.get(("sms", "abcd1234")) == learnt_pace(known)


@pytest.mark.parametrize("paces", [None, 7, "many", ["1e3"] * 3, [{}] * 3, [None] * 3, {"a": 1}])
def test_malformed_paces_count_as_none(paces: object) -> None:
    item = {"pk": "calendar", "sk": "pace#sms#abcd1234", "paces": paces}
    assert paces_of(item) == ()
    calendar = calendar_of([item])
    assert (calendar.paces, calendar.unreadable) == ({("sms", "abcd1234"): None}, ())
    assert paces_of({}) == ()


def test_paces_out_of_bounds_are_bounded() -> None:
    assert learnt_pace([10**12] * LEAST) == SLOWEST
    assert learnt_pace([-(10**12)] * LEAST) == FASTEST
