"""Amounts as people write them."""

import re
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vonage_reports_cli.amounts import amount_of, currencies_in

FORMS = [
    *("-N", "N-", "(N)", "- N", "( N )", "(-N)", "(N-)", "\u2212N", "\u2013 N"),
    *(
        "-N \u20ac",
        "EUR -N",
        "-\u00a3N",
        "\u00a3-N",
        "-NEUR",
        "-EURN",
        "-N eur",
        "$(N)",
        "\u20ac(N)",
    ),
    *("(N) EUR", "(N EUR)", "(EUR N)", "(-$N)", "US$ -N", "A$(N)", "-$N AUD", "CAD$ -N"),
]
SIGNS = [(",", "."), (".", ","), (" ", ","), ("'", "."), ("\u202f", ","), ("", "."), ("", ",")]


def grouped(number: Decimal, thousands: str, decimal: str, *, is_indian: bool) -> str:
    whole, _, fraction = f"{number:f}".partition(".")
    if is_indian and len(whole) > 3:
        pairs = re.sub(r"(?<=\d)(?=(\d\d)+$)", ",", whole[:-3])
        whole = f"{pairs},{whole[-3:]}"
    else:
        whole = f"{int(whole):,}".replace(",", thousands)
    return whole + (decimal + fraction if fraction else "")


@given(
    number=st.decimals(0, 10**12, places=4),
    places=st.integers(0, 4),
    signs=st.sampled_from(SIGNS),
    form=st.sampled_from(FORMS),
    is_indian=st.booleans(),
    is_negative=st.booleans(),
)
def test_no_form_of_an_amount_is_read_wrong(
    *,
    number: Decimal,
    places: int,
    signs: tuple[str, str],
    form: str,
    is_indian: bool,
    is_negative: bool,
) -> None:
    exact = number.quantize(Decimal(1).scaleb(-places))
    thousands, decimal = signs
    if not is_negative:
        form = re.sub("[-()\u2212\u2013]", "", form)
    written = form.replace(
        "N", grouped(exact, thousands, decimal, is_indian=is_indian and decimal == ".")
    )

    found = amount_of(written, decimal)

    assert found is not None, written
    assert found[0] == (-exact if is_negative else exact), written


@given(
    st.text(st.sampled_from("0123456789.,'()-+ \u00a0\u2212$\u20acEURSD"), max_size=14),
    st.sampled_from([".", ","]),
)
@example("(5.00", ".")
@example("5.00)", ".")
@example("(-5.00)", ".")
@example("5$00", ".")
@example("5\u20ac000", ".")
@example("--5", ".")
@example("-(5)", ".")
@example("(+5)", ".")
@example("1,234'567", ".")
@example("\u0661", ".")
def test_amount_keeps_each_digit_and_sign_of_its_text(text: str, decimal: str) -> None:
    found = amount_of(text, decimal)

    if found is None:
        return
    amount, _ = found
    assert text.count("(") == text.count(")") <= 1
    minuses = len(re.findall("[-\u2212]", text))
    assert minuses + text.count("+") <= 1
    assert (amount < 0) == (amount != 0 and (minuses > 0 or "(" in text))
    whole, _, fraction = text.partition(decimal)
    digits = [re.sub("[^0-9]", "", each) for each in (whole, fraction)]
    assert abs(amount) == Decimal(f"{digits[0] or 0}.{digits[1] or 0}")


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("3.00EUR", "EUR"), ("EUR5.00", "EUR"), ("5.00 eur", "EUR"), ("$(5.00)", "USD"),
        ("\u20ac(5.00)", "EUR"), ("(5.00) EUR", "EUR"), ("A$5", "AUD"), ("5 AU$", "AUD"),
        ("$5.00 AUD", "AUD"), ("US$5 USD", "USD"), ("USD$5", "USD"), ("\u00a5500", "JPY"),
        ("CNY \u00a55", "CNY"), ("hk$1", "HKD"), ("5", ""),
    ],
)  # fmt: skip
def test_amount_has_the_currency_beside_it(text: str, currency: str) -> None:
    found = amount_of(text, ".")

    assert found is not None
    assert (*found[1], "")[0] == currency


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "-", "()", "EUR", "5.00 XYZ", "5 EUR USD", "\u20ac5 USD", "$5 EUR", "X$5", "1 2",
        "1,2,3", "1,23,45", "5.00 CR", "5%", "1e5", "5.0.0", "12,3456", "1" * 31,
    ],
)  # fmt: skip
def test_other_text_is_no_amount(text: str) -> None:
    assert amount_of(text, ".") is None


def test_signs_that_contradict_have_no_currency() -> None:
    assert currencies_in("\u20ac EUR") == ("EUR",)
    assert currencies_in("\u20ac USD") is None
