from types import SimpleNamespace
from typing import cast

import pytest

from local.output.delivery import Delivery
from local.output.display import Display
from local.runner.options import Options
from local.runner.progress import Progress
from local.runner.results import Results
from local.runner.runner import ALL_DELIVERED, NOT_DELIVERED, _conclude

NO_REPORTS = SimpleNamespace(
    lines=[],
    windows=[],
    stopped=[],
    progress_bars=[],
    everything_is_refused=False,
    troubles=list,
)


@pytest.mark.parametrize(
    ("refusals", "code"), [([], ALL_DELIVERED), (["not copied: \x1b[31m\n"], NOT_DELIVERED)]
)
def test_object_that_was_not_copied_is_named_and_fails_the_run(
    capsys: pytest.CaptureFixture[str], refusals: list[str], code: int
) -> None:
    ended = _conclude(
        cast("Options", SimpleNamespace(definitions=None)),
        {},
        cast("Progress", NO_REPORTS),
        cast("Delivery", SimpleNamespace(refusals=refusals)),
        results=cast("Results", SimpleNamespace(are_taken=True)),
        display=Display(),
    )

    assert ended == code
    assert (r"make run: not copied: \u001b[31m\n" in capsys.readouterr().out) == bool(refusals)
