"""The windows of one test on a shared stack, and ways to break the stack around them."""

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
    """The windows of one test: definitions of its own, on a stack that it shares with others."""

    def __init__(self, local_stack: "LocalStack", name: str) -> None:
        self.stack = local_stack
        self.simulator = local_stack.simulator
        self._name = f"{name}-"
        self._created_before = len(self._reports_at_vonage())
        self._billed_again_before = self._records_billed_again()
        local_stack.notifications()

    def definitions(self, count: int = 1) -> list[dict[str, Any]]:
        """Set `count` definitions that no other test has.

        The calendar forgets the others, or their removal would be announced.
        """
        self.stack.forget_calendar()
        entries = [
            {
                "name": f"{self._name}{number}",
                "product": "VERIFY-V2",
                # With filters of its own, no test asks for the report of another.
                "filters": {"locale": f"{self._name}{number}"},
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

    def find_open(self) -> Report | None:
        """Return this test's open report, None if it is finished."""
        reports = self.stack.ledger.open_reports()
        return next((each for each in reports if each.definition.startswith(self._name)), None)

    def open(self) -> Report:
        """Return this test's report, which must be open."""
        report = self.find_open()
        assert report is not None, "the report is finished"
        return report

    def state(self) -> State | None:
        """Return the state of this test's open report, None if it is finished."""
        report = self.find_open()
        return None if report is None else report.state

    def created(self) -> int:
        """Return how many reports Vonage created for this test."""
        return len(self._reports_at_vonage()) - self._created_before

    def events(self) -> list[str]:
        """Take the events of the notifications since the last call, in order."""
        return [body["event"] for _, body in self.stack.notifications()]

    def all_delivered(self, planned: list[str], *, created: int | None = None) -> list[Report]:
        """Wait for the end of `planned`, and check what must hold after every fault."""
        reports = list(self.stack.until_finished(planned).values())
        assert {report.state for report in reports} == {State.DELIVERED}
        self.at_rest(created=len(planned) if created is None else created)
        return reports

    def at_rest(self, *, created: int) -> None:
        """Check that nothing is open, nothing was requested twice and no limit was exceeded."""
        work = self.stack.ledger.open_work()
        assert (work.reports, work.slots) == ((), {})
        assert self.created() == created
        assert self._records_billed_again() == self._billed_again_before
        state = self.simulator.state()
        assert state["max_in_flight"] <= 5
        limit = self.stack.requests_per_second
        assert not limit or state["max_requests_per_second"] <= limit
        manifests = self.stack.objects("manifests/")
        assert all(json.loads(each)["archives"] for each in manifests.values())

    def log_text(self) -> str:
        """Return the lines of the functions' logs that name this test's definitions."""
        return "\n".join(line for line in self.stack.log_text().splitlines() if self._name in line)

    def _reports_at_vonage(self) -> list[dict[str, Any]]:
        reports = self.simulator.state()["reports"]
        return [each for each in reports if not each["foreign"]]

    def _records_billed_again(self) -> int:
        return int(self.simulator.state()["bill"]["records_billed_more_than_once"])


@contextmanager
def refused(case: Case, logical_role: str, action: str) -> Iterator[None]:
    """Let IAM refuse an action to a role, within the `with` block."""
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
    """Kill every running function of this emulator, as if Lambda's host died; return how many."""
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
