import pytest

from vonage_reports_cli.checks import Verdict, exit_of
from vonage_reports_cli.errors import Exit


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([], Exit.DONE),
        ([Verdict.OK], Exit.DONE),
        ([Verdict.OK, Verdict.UNKNOWN], Exit.NO_ACCESS),
        ([Verdict.UNKNOWN, Verdict.PROBLEM, Verdict.OK], Exit.ATTENTION),
    ],
)
def test_problem_outranks_a_refused_look(verdicts: list[Verdict], code: Exit) -> None:
    assert exit_of(verdicts) is code
