"""What the fault tests share: a test's own windows, and ways to break the stack around them."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vonage_reports.domain.report import Report, State

if TYPE_CHECKING:
    from tests.end_to_end.conftest import LocalStack

WRONG_SECRET = "not-the-secret"
SCHEDULED = "2026-11-22T02:15:00Z"


class Case:
    """One test's windows: definitions of its own, on the stack of the module."""

    def __init__(self, local_stack: "LocalStack", name: str) -> None:
        self.stack = local_stack
        self.simulator = local_stack.simulator
        self._name = name
        self._bought_before = len(self._reports_at_vonage())
        local_stack.notifications()

    def definitions(self, count: int = 1) -> list[dict[str, Any]]:
        """Set `count` definitions that only this test has."""
        entries = [
            # A filter of their own, so that no two tests ask for the same.
            {
                "name": f"{self._name}-{number}",
                "product": "VERIFY-V2",
                "filters": {"locale": f"{self._name}-{number}"},
            }
            for number in range(count)
        ]
        self.stack.stack.set_definitions(json.dumps(entries))
        return entries

    def collect(self, count: int = 1) -> list[str]:
        """Let the schedule plan and submit `count` windows."""
        self.definitions(count)
        planned: list[str] = self.stack.scheduled(SCHEDULED)["planned"]
        assert len(planned) == count
        return planned

    def only(self) -> Report | None:
        """Return this test's one open report, None when it has come to its end."""
        reports = self.stack.ledger.open_reports()
        return next((each for each in reports if each.definition.startswith(self._name)), None)

    def open(self) -> Report:
        """Return this test's one report, which must be open."""
        report = self.only()
        assert report is not None, "the report has come to its end"
        return report

    def state(self) -> State | None:
        """Return the state of this test's one open report, if it is open."""
        report = self.only()
        return None if report is None else report.state

    def bought(self) -> int:
        """Return how many reports Vonage made in this test."""
        return len(self._reports_at_vonage()) - self._bought_before

    def told(self) -> list[str]:
        """Take the events that were announced, in order."""
        return [body["event"] for _, body in self.stack.notifications()]

    def all_delivered(self, planned: list[str], *, bought: int | None = None) -> list[Report]:
        """Wait for the end of `planned`, and hold what must hold after every fault."""
        reports = list(self.stack.until_ended(planned).values())
        assert {report.state for report in reports} == {State.DELIVERED}
        self.at_rest(bought=len(planned) if bought is None else bought)
        return reports

    def at_rest(self, *, bought: int) -> None:
        """Hold that nothing is open, nothing was bought twice and no limit was passed."""
        work = self.stack.ledger.open_work()
        assert (work.reports, work.slots) == ((), {})
        assert self.bought() == bought
        state = self.simulator.state()
        assert state["bill"]["records_billed_more_than_once"] == 0
        assert state["max_in_flight"] <= 5
        assert not self.stack.keeps_pace or state["max_requests_per_second"] <= 5
        manifests = self.stack.objects("manifests/")
        assert all(json.loads(each)["archives"] for each in manifests.values())

    def _reports_at_vonage(self) -> list[dict[str, Any]]:
        reports = self.simulator.state()["reports"]
        return [each for each in reports if not each["foreign"]]


@contextmanager
def refused(case: Case, logical_role: str, action: str) -> Iterator[None]:
    """Let IAM refuse an action to a role for a while."""
    iam = case.stack.emulator.client("iam")
    role = case.stack.stack.physical_id(logical_role)
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Deny", "Action": action, "Resource": "*"}],
    }
    iam.put_role_policy(RoleName=role, PolicyName="fault", PolicyDocument=json.dumps(policy))
    try:
        yield
    finally:
        iam.delete_role_policy(RoleName=role, PolicyName="fault")


def kill_functions(case: Case) -> int:
    """Kill every running function of this emulator, as Lambda's host may die; return how many."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,command="], check=True, capture_output=True, text=True
    ).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    family = {case.stack.emulator.pid}
    while more := {int(pid) for pid, parent, *_ in rows if int(parent) in family} - family:
        family |= more
    functions = [
        int(pid)
        for pid, _, *command in rows
        if int(pid) in family and "awslambdaric" in str(command)
    ]
    for pid in functions:
        os.kill(pid, signal.SIGKILL)
    return len(functions)
