"""Settings of all tests: hypothesis, and the distribution over xdist's workers."""

from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# Machines are shared, so the duration of an example proves nothing.
settings.register_profile("without-deadline", deadline=None)
settings.load_profile("without-deadline")

INDEPENDENT = frozenset(
    f"tests/{name}.py"
    for name in (
        "chaos/test_campaign",
        "end_to_end/test_faults_running",
        "end_to_end/test_faults_submitting",
        "end_to_end/test_stack_make_run",
        "end_to_end/test_stack_splitting",
        "integration/test_alarms",
        "integration/test_backfills",
        "integration/test_cli_act",
        "integration/test_revisions",
        "integration/test_splitting",
    )
)
"""Long modules whose tests leave no expensive fixture to each other."""


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives a module to one worker, which makes its fixtures once.

    A test of an INDEPENDENT module goes to any worker.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return nodeid if module in INDEPENDENT else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduling | None:
    """Schedule for `--dist loadscope`; leave every other value to xdist."""
    return _Scheduling(config, log) if config.option.dist == "loadscope" else None
