from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vonage_reports.domain.volume import LEAST_HISTORY, WEEKS, alike_before, deviation
from vonage_reports.domain.windows import WindowLength, latest_window_ending_by

rows = st.integers(0, 10_000_000)
histories = st.lists(rows, min_size=LEAST_HISTORY, max_size=WEEKS)


def instant(text: str, zone: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


@pytest.mark.parametrize("zone", ["UTC", "Europe/London", "America/New_York"])
@pytest.mark.parametrize("length", WindowLength)
def test_comparable_windows_are_of_the_same_kind(length: WindowLength, zone: str) -> None:
    # Across the end of summer time.
    window = latest_window_ending_by(instant("2026-11-18T12:00", zone), length, zone)
    own = window.start.astimezone(ZoneInfo(zone))
    for before in alike_before(window):
        # A collected window, not an arbitrary interval.
        assert latest_window_ending_by(before.end, length, zone) == before
        assert before.end <= window.start
        local = before.start.astimezone(ZoneInfo(zone))
        assert local.time() == own.time()
        if length is WindowLength.MONTH:
            assert local.day == 1
        else:
            assert local.weekday() == own.weekday()


def test_comparable_windows_are_the_last_eight_weeks() -> None:
    window = latest_window_ending_by(instant("2026-11-18T12:00", "UTC"), WindowLength.DAY, "UTC")
    weeks = [(window.start - each.start) / timedelta(days=7) for each in alike_before(window)]
    assert weeks == list(range(1, WEEKS + 1))


@given(rows, st.lists(rows, max_size=LEAST_HISTORY - 1))
def test_too_little_history_gives_no_deviation(count: int, history: list[int]) -> None:
    assert deviation(count, history) is None


@given(rows, histories)
def test_deviation_is_one_or_more(count: int, history: list[int]) -> None:
    found = deviation(count, history)
    assert found is not None
    assert found >= 1
    assert deviation(count, [count] * LEAST_HISTORY) == 1


def test_odd_days_do_not_move_the_median() -> None:
    assert deviation(3000, [3000, 3000, 0, 3000, 90_000]) == 1


@pytest.mark.parametrize(
    ("count", "usual", "is_far_off"),
    [
        (0, 3000, True),
        (900, 3000, True),
        (1000, 3000, False),
        (9000, 3000, False),
        (9500, 3000, True),
        (0, 20, False),
        (150, 0, False),
        (250, 0, True),
    ],
)
def test_small_numbers_of_rows_deviate_little(count: int, usual: int, *, is_far_off: bool) -> None:
    found = deviation(count, [usual] * 4)
    assert found is not None
    assert (found >= 3) is is_far_off
