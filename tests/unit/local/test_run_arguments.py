"""An argument of `python -m local.run` starts nothing."""

import pytest

from local.run import main

HELP = "make run has variables instead of arguments; make help lists them\n"


@pytest.mark.parametrize(
    ("arguments", "code", "printed"),
    [
        (["--help"], 0, HELP),
        (["-h"], 0, HELP),
        (
            ["EVENT=x"],
            2,
            f"make run: 'EVENT=x' is an argument: {HELP}",
        ),
    ],
)
def test_argument_starts_nothing(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, printed: str
) -> None:
    assert main(arguments) == code
    assert capsys.readouterr().out == printed
