import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.unsafe_text import ANY_TEXT, UNSAFE, unsafe_in
from vonage_reports.domain.printable import printable, printable_lines, without_formula


@pytest.mark.parametrize("character", UNSAFE)
def test_unsafe_character_becomes_an_escape_of_json(character: str) -> None:
    shown = printable(f"a{character}b")

    assert shown.isprintable()
    assert json.loads(f'"{shown}"') == f"a{character}b"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        r"C:\n",
        "[bold]",
        "Zoë 北京 ﷽",
        "👩\u200d👩\u200d👧",
        "\u0645\u06cc\u200c\u062e",
    ],
)
def test_safe_text_is_not_changed(text: str) -> None:
    assert printable(text) == text


@given(ANY_TEXT)
def test_no_text_prints_an_unsafe_character(text: str) -> None:
    assert not unsafe_in(printable(text))
    assert "\n" not in printable(text)
    assert printable(printable(text)) == printable(text)


@given(ANY_TEXT)
def test_lines_stay_lines(text: str) -> None:
    shown = printable_lines(text)

    assert not unsafe_in(shown)
    assert shown.count("\n") == text.count("\n")


@given(st.recursive(ANY_TEXT, lambda part: st.lists(part) | st.dictionaries(ANY_TEXT, part)))
def test_json_keeps_its_meaning(value: object) -> None:
    document = json.dumps(value, indent=1)

    assert json.loads(printable_lines(document)) == json.loads(document)


@pytest.mark.parametrize(
    "text",
    [
        "=1+1", "=HYPERLINK(A1)", "+1+1", "-2+3+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1",
        "=", "+", "-", "@", "+-1", "--1", "-1\n", "+44 20 7946", "-1e", "-.", "-\u0661", "-inf",
        "- hello",
    ],
)  # fmt: skip
def test_formula_becomes_text(text: str) -> None:
    assert without_formula(text) == f"'{text}"


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "1", "-1", "+447700900123", "-1.50", "+1.", "-.5", "-1e-07", "+1E5", "1-2", " =1",
        "'=1", "a=b",
    ],
)  # fmt: skip
def test_number_and_other_text_are_not_changed(text: str) -> None:
    assert without_formula(text) == text


@given(ANY_TEXT)
def test_formula_check_adds_at_most_an_apostrophe(text: str) -> None:
    assert without_formula(text) in (text, f"'{text}")
    assert without_formula(without_formula(text)) == without_formula(text)


DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@given(DECIMALS.map("{:f}".format) | FLOATS.map(str) | st.integers().map(str))
def test_no_number_is_changed(number: str) -> None:
    assert without_formula(number) == number
