import pytest
from hypothesis import given
from hypothesis import strategies as st

from vonage_reports.domain.traffic_profile import TrafficProfile

# A local day of 24 hours that was split into three parts.
EVENING = TrafficProfile(((12, 100), (6, 200), (6, 900)))
profiles = st.lists(
    st.tuples(st.floats(1, 24 * 31, allow_nan=False), st.floats(0, 7_000_000, allow_nan=False)),
    min_size=1,
    max_size=4,
).map(lambda parts: TrafficProfile(tuple(parts)))


def test_rows_are_the_sum_of_all_parts() -> None:
    assert EVENING.rows == 1200


def test_piece_has_the_rows_of_its_hours() -> None:
    assert EVENING.between(0.5, 1) == TrafficProfile(((6, 200), (6, 900)))
    assert EVENING.between(0.25, 0.625) == TrafficProfile(((6, 50), (3, 100)))


@given(profiles, st.floats(0.01, 0.99))
def test_two_pieces_have_the_hours_and_rows_of_the_whole(
    profile: TrafficProfile, cut: float
) -> None:
    pieces = (*profile.between(0, cut).parts, *profile.between(cut, 1).parts)

    for column in (0, 1):
        whole = sum(part[column] for part in profile.parts)
        assert sum(piece[column] for piece in pieces) == pytest.approx(whole, abs=1e-6)


def test_scaling_keeps_the_distribution() -> None:
    assert EVENING.scaled(600) == TrafficProfile(((12, 50), (6, 100), (6, 450)))


def test_scaling_an_empty_profile_adds_no_rows() -> None:
    assert TrafficProfile(((12, 0), (12, 0))).scaled(600).rows == 0


@given(profiles)
def test_json_round_trip(profile: TrafficProfile) -> None:
    assert TrafficProfile.from_json(profile.to_json()) == profile
