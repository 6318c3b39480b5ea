from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from typing import cast

import pytest
from hypothesis import given

from local.output.display import Display
from local.runner.progress import Progress
from tests.support.progress import BAR, LINE
from tests.support.unsafe_text import ANY_TEXT, UNSAFE, unsafe_in
from vonage_reports.domain.report import State


class FakeProgress:
    """A few reports, one of them in trouble, and a progress bar."""

    is_crowded = False
    progress_bars = (BAR,)


def printed(text: str) -> str:
    """Return everything that a display prints about a text."""
    output = StringIO()
    with redirect_stdout(output):
        display = Display()
        display.print(text)
        display.say(text)
        display.error(text)
        line = replace(LINE, label=text, retry=text)
        display.show([line], cast("Progress", FakeProgress()))
    return output.getvalue()


def test_reason_of_a_refusal_is_left_to_the_end_of_the_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused = replace(LINE, state=State.PLANNED, retry=None, refusal="401: no such key")

    Display().show([refused], cast("Progress", FakeProgress()))

    first, *_ = capsys.readouterr().out.splitlines()
    assert first.endswith(f"  PLANNED     {LINE.label}  not requested")


@pytest.mark.parametrize("character", UNSAFE)
def test_unsafe_character_is_printed_as_escape(character: str) -> None:
    assert not unsafe_in(printed(f"a{character}b"))


def test_markup_and_line_breaks_of_ours_are_printed_as_they_are() -> None:
    first, second, *_ = printed("[red]a[/] :bomb:\nb").splitlines()

    assert (first, second) == ("[red]a[/] :bomb:", "b")


@given(ANY_TEXT)
def test_no_text_prints_an_unsafe_character(text: str) -> None:
    assert not unsafe_in(printed(text))
