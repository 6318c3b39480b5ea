from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vonage_reports.domain import waits
from vonage_reports.domain.errors import RateLimited
from vonage_reports.domain.waits import UNSCALED, Waits

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def limited(retry_after: int | None) -> RateLimited:
    return RateLimited("Vonage answered 429", retry_after=retry_after)


@pytest.mark.parametrize(
    ("minutes", "seconds"),
    [(0, 20), (2, 20), (8, 60), (32, 240), (239, 240), (240, 900), (2880, 900)],
)
def test_polls_are_an_eighth_of_the_runs_age_apart(minutes: int, seconds: int) -> None:
    assert waits.next_poll(timedelta(minutes=minutes)) == seconds


@given(st.timedeltas(timedelta(), waits.DEADLINE))
def test_poll_interval_stays_within_its_bounds(age: timedelta) -> None:
    assert 20 <= waits.next_poll(age) <= 15 * 60


@given(st.timedeltas(-waits.DEADLINE, timedelta()))
def test_clock_that_went_back_polls_no_faster(age: timedelta) -> None:
    assert waits.next_poll(age) == 20


def test_retry_after_is_honoured() -> None:
    assert waits.after_429(limited(120)) == 120


def test_429_without_retry_after_waits_a_minute() -> None:
    assert waits.after_429(limited(None)) == 60


@pytest.mark.parametrize("retry_after", [0, 1, 15])
def test_polls_after_429_are_20_seconds_apart(retry_after: int) -> None:
    # 15 is Vonage's own example. A wait of 0 s would fill a run's history of 25,000 events.
    assert waits.after_429(limited(retry_after)) >= 20


def test_cool_down_grows_to_an_hour() -> None:
    minutes = [UNSCALED.cool_down(times).total_seconds() / 60 for times in (1, 2, 3, 4, 5, 100)]

    assert minutes == [1, 5, 15, 60, 60, 60]


@pytest.mark.parametrize(
    ("rows", "seconds"),
    [(None, 20), (0, 20), (47_000, 20), (100_000, 36), (1_000_000, 360), (7_000_000, 1800)],
)
def test_first_wait_follows_the_expected_rows(rows: int | None, seconds: int) -> None:
    assert waits.first_wait(rows) == seconds


def test_scale_shortens_waits_but_no_lease_below_five_seconds() -> None:
    hurried = Waits(0)

    assert {
        hurried.rate_limit,
        hurried.refused,
        hurried.held_slot_until(NOW, NOW) - NOW,
        hurried.cool_down(3),
    } == {timedelta()}
    assert hurried.announce_lease == hurried.submit_lease(900) == timedelta(seconds=5)
    assert UNSCALED.submit_lease(900) == timedelta(seconds=960)
