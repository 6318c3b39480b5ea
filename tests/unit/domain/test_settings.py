import pytest
from hypothesis import given
from hypothesis import strategies as st

from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.settings import Settings
from vonage_reports.vonage.pacing import Pacer


@pytest.mark.parametrize("environment", [{}, {"WAIT_SCALE": "", "PACING_FILE": ""}, {"HOME": "/"}])
def test_defaults_suit_vonage(environment: dict[str, str]) -> None:
    assert Settings.from_environment(environment) == Settings(
        wait_scale=1, request_interval=0.25, max_billed_records=10_000_000, pacing_file=None
    )


@given(st.floats(0, 1), st.floats(0, 60), st.integers(0, 10**12))
def test_numbers_within_bounds_are_accepted(scale: float, interval: float, records: int) -> None:
    settings = Settings.from_environment(
        {
            "WAIT_SCALE": repr(scale),
            "REQUEST_INTERVAL": repr(interval),
            "MAX_BILLED_RECORDS": repr(records),
            "PACING_FILE": "pace",
        }
    )

    assert settings == Settings(scale, interval, records, pacing_file="pace")


@pytest.mark.parametrize("name", ["WAIT_SCALE", "REQUEST_INTERVAL"])
@pytest.mark.parametrize("text", ["-0.1", "61", "nan", "inf", "-inf", "fast", "0,5", "1e9", "0x1"])
def test_number_out_of_bounds_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{name}.*{text}"):
        Settings.from_environment({name: text})


def test_scale_above_one_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="from 0 to 1"):
        Settings.from_environment({"WAIT_SCALE": "1.5"})


@pytest.mark.parametrize("text", ["-1", "1000000000001", "nan", "inf", "none", "10.000.000"])
def test_invalid_limit_of_billed_records_is_refused(text: str) -> None:
    # A limit read as another number would cost money.
    with pytest.raises(InvalidRequest, match=f"MAX_BILLED_RECORDS.*{text}"):
        Settings.from_environment({"MAX_BILLED_RECORDS": text})


def test_limit_of_zero_is_kept() -> None:
    assert Settings.from_environment({"MAX_BILLED_RECORDS": "0"}).max_billed_records == 0


@pytest.mark.parametrize("text", ["enforce", "warn"])
def test_row_check_accepts_enforce_and_warn(text: str) -> None:
    assert Settings.from_environment({"ROW_CHECK": text}).row_check == text


def test_row_check_defaults_to_enforce() -> None:
    assert Settings.from_environment({"ROW_CHECK": ""}).row_check == "enforce"


@pytest.mark.parametrize("text", ["ENFORCE", "off", "warn "])
def test_refusal_lists_the_accepted_words(text: str) -> None:
    with pytest.raises(InvalidRequest, match=f"ROW_CHECK.*{text}.*enforce or warn"):
        Settings.from_environment({"ROW_CHECK": text})


@pytest.mark.parametrize(("text", "currency"), [("EUR", "EUR"), ("", None)])
def test_empty_account_currency_is_none(text: str, currency: str | None) -> None:
    assert Settings.from_environment({"ACCOUNT_CURRENCY": text}).account_currency == currency


def test_pacer_keeps_the_interval_of_the_settings() -> None:
    moments = [0.0]

    def sleep(seconds: float) -> None:
        moments.append(moments[-1] + seconds)

    settings = Settings.from_environment({"REQUEST_INTERVAL": "2.5"})
    assert settings.request_interval == 2.5
    pacer = Pacer(settings.request_interval, clock=lambda: moments[-1], sleep=sleep)
    for _ in range(3):
        pacer.wait()

    assert moments == [0, 2.5, 5]
