import pytest

from vonage_reports import __version__
from vonage_reports_cli.checks import Fault, Verdict, exit_of, same_version
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


def test_stack_of_another_version_is_a_fault() -> None:
    assert same_version(__version__) == f"program and stack are {__version__}"
    # A stack of an earlier version has no such output.
    assert same_version(None).endswith("the stack does not say its version")

    with pytest.raises(Fault, match=r"the stack is 9\.9\.9") as fault:
        same_version("9.9.9")

    assert fault.value.command == "sam build && sam deploy"
