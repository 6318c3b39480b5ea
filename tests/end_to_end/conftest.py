"""The deployed template on the emulator, with the simulator as Vonage.

`shared_stack` serves every test of an xdist worker that keeps to windows of its own, `local_stack`
the tests of one module. Each has its own emulator and simulator, on free ports.
"""

import json
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from local.simulator.process import Simulator
from local.stack.deployment import LOCAL_PACE, STACK_NAME, Stack, deploy
from local.stack.emulator import ROOT, Emulator
from local.stack.environment import forget_real_accounts
from tests.end_to_end.faults import WRONG_SECRET, Case
from tests.end_to_end.permissions import RECORDER, Permission, allowed, beyond, used
from tests.support.cli import Ended, run_program, stack_environment
from tests.support.contracts import check, check_notification
from tests.support.leaks import Forbidden
from vonage_reports.aws.ledger import Ledger
from vonage_reports.domain.report import Report, State

WAIT_SCALE = 0.001
VONAGES_LIMIT = 5
"""Requests that Vonage answers per second."""
TEN_TIMES_FASTER = 10 * VONAGES_LIMIT
"""With a limit of 50, a stack sends its requests ten times faster: same ratio, less waiting."""
UNLIMITED = 0
BEING_COMPILED = shutil.ignore_patterns("*.pyc.*")
"""Python's temporary files, which another worker may be writing."""
_CALLS = "calls.jsonl"
SHARED_SETTINGS: Mapping[str, Any] = {
    "rows_per_day": 50,
    "max_records": 7_000_000,
    "seconds_per_report": 0.5,
}
"""The simulator's settings at the beginning of each test on the shared stack."""
_TICK_SECONDS = 0.1
_SWEEP_SECONDS = 1.0
_PATIENCE_SECONDS = 240.0


@pytest.fixture(scope="session", autouse=True)
def no_real_accounts() -> None:
    """Keep the tests away from real AWS accounts, also without `make`."""
    forget_real_accounts()


class LocalStack:
    """The deployed stack from outside, and Vonage's side of it."""

    def __init__(
        self,
        emulator: Emulator,
        stack: Stack,
        simulator: Simulator,
        *,
        requests_per_second: int = VONAGES_LIMIT,
        queue: str = "notifications-of-tests",
    ) -> None:
        self.requests_per_second = requests_per_second
        self.emulator = emulator
        self.stack = stack
        self.simulator = simulator
        self.ledger = Ledger(emulator.table(stack.outputs["TableName"]))
        self._queue = stack.subscribe_queue(queue)
        self.announced: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.periods: list[dict[str, Any]] = []
        """The notifications of periods, which `notifications` leaves out."""

    def scheduled(self, time_: str = "2026-11-23T02:15:00Z") -> dict[str, Any]:
        """Send the event of the calendar's schedule at `time_`; return the answer."""
        event = self.stack.schedule_event(
            "SubmitReportsFunctionCalendarSchedule", scheduled_time=time_
        )
        return self.stack.submit(event)

    def sweep(self) -> dict[str, Any]:
        """Send the event of the sweep's schedule; return the answer."""
        return self.stack.submit(self.stack.schedule_event("SubmitReportsFunctionSweepSchedule"))

    def until(
        self, is_so: Callable[[], bool], goal: str, *, within: float = _PATIENCE_SECONDS
    ) -> None:
        """Send sweeps until `is_so`; fail with `goal` after `within` seconds."""
        deadline = time.monotonic() + within
        next_sweep = time.monotonic() + _SWEEP_SECONDS
        while not is_so():
            assert time.monotonic() < deadline, f"not within {within:.0f} s: {goal}"
            if time.monotonic() >= next_sweep:
                self.sweep()
                next_sweep = time.monotonic() + _SWEEP_SECONDS
            time.sleep(_TICK_SECONDS)

    def until_finished(self, report_ids: Iterable[str]) -> dict[str, Report]:
        """Wait until these reports are finished; return them."""
        wanted = list(report_ids)
        finished: dict[str, Report] = {}

        def all_finished() -> bool:
            for report_id in wanted:
                report = finished.get(report_id) or self.ledger.finished_report(report_id)
                if report is not None:
                    finished[report_id] = report
            return len(finished) == len(wanted)

        self.until(all_finished, f"the end of {wanted}; open: {self.states()}")
        return finished

    def states(self) -> dict[str, State]:
        """Return the states of the open reports."""
        return {report.report_id: report.state for report in self.ledger.open_reports()}

    def forget_calendar(self) -> None:
        """Delete the calendar of the ledger, as if nothing had been planned."""
        table = self.emulator.table(self.stack.outputs["TableName"])
        for item in self.stack.ledger_items():
            key = {name: item[name]["S"] for name in ("pk", "sk")}
            if key["pk"] == "calendar":
                table.delete_item(Key=key)

    def notifications(self) -> list[tuple[dict[str, str], dict[str, Any]]]:
        """Take the notifications since the last call: message attributes and body.

        Leave out the removals: each test replaces the definitions of the stack that it shares.
        For the same reason, leave out the periods, which are complete after some tests.
        """
        sqs = self.emulator.client("sqs")
        taken = []
        while messages := sqs.receive_message(
            QueueUrl=self._queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            for message in messages:
                attributes = {
                    name: value["StringValue"]
                    for name, value in message.get("MessageAttributes", {}).items()
                }
                if attributes["event"].startswith("period."):
                    self.periods.append(json.loads(message["Body"]))
                elif attributes["event"] != "definition.removed":
                    taken.append((attributes, json.loads(message["Body"])))
                sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
        self.announced += taken
        return taken

    def undelivered(self) -> list[str]:
        """Return the events that submit_reports failed to handle."""
        url = self.stack.outputs["UndeliveredEventsQueueUrl"]
        answer = self.emulator.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        return [message["Body"] for message in answer.get("Messages", [])]

    def objects(self, prefix: str, suffix: str = "") -> dict[str, bytes]:
        """Return the objects whose keys have this prefix and suffix, by key."""
        s3, bucket = self.emulator.client("s3"), self.stack.outputs["BucketName"]
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        found = [each["Key"] for page in pages for each in page.get("Contents", [])]
        keys = [key for key in found if key.endswith(suffix)]
        return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def copy_dataset(self, folder: Path) -> None:
        """Copy the dataset and the manifests to `folder`, under their keys."""
        for prefix in ("data/", "manifests/"):
            for key, content in self.objects(prefix).items():
                (folder / key).parent.mkdir(parents=True, exist_ok=True)
                (folder / key).write_bytes(content)

    def program(self, *arguments: str, stack: str = STACK_NAME, typed: str | None = None) -> Ended:
        """Run `vonage-reports` on this stack in a process."""
        return run_program(
            *arguments, environment=stack_environment(self.emulator, stack), typed=typed
        )

    def histories(self) -> dict[str, list[Mapping[str, Any]]]:
        """Return the history of every execution, by its name."""
        client = self.emulator.client("stepfunctions")
        machine = self.stack.outputs["StateMachineArn"]
        pages = client.get_paginator("list_executions").paginate(stateMachineArn=machine)
        return {
            execution["name"]: [
                event
                for page in client.get_paginator("get_execution_history").paginate(
                    executionArn=execution["executionArn"]
                )
                for event in page["events"]
            ]
            for executions in pages
            for execution in executions["executions"]
        }

    def used(self) -> set[Permission]:
        """Return the permissions that the functions have needed so far."""
        return used(self.stack, self.emulator.log.with_name(_CALLS))

    def allowed(self) -> set[Permission]:
        """Return the permissions of the functions' roles."""
        return allowed(self.stack, self.emulator)

    def log_text(self) -> str:
        """Return the functions' logs without Lambda's own lines."""
        lambdas_own = ("START RequestId", "END RequestId", "REPORT RequestId")
        return "\n".join(
            line
            for group, lines in self.stack.logs().items()
            for line in [f"== {group}", *lines]
            if not line.startswith(lambdas_own)
        )


def _check_leaks_and_permissions(running: LocalStack) -> None:
    """Check that nothing leaked, and that no function needed more than its role allows."""
    running.notifications()
    _check_schemas(running)
    forbidden = Forbidden.of(running.simulator, WRONG_SECRET)
    logs = running.stack.logs()
    texts = {
        "logs": logs,
        "notifications": running.announced,
        "receipts": _texts(running.objects("archives/", ".json")),
        "headers": _texts(running.objects("headers/")),
    }
    texts_with_definitions = {
        # The event of a run's end contains the run's input.
        "undelivered events": running.undelivered(),
        "histories": running.histories(),
        "ledger": running.stack.ledger_items(),
        "manifests": _texts(running.objects("manifests/")),
    }
    assert forbidden.within(texts) == []
    assert forbidden.beside_definitions(texts_with_definitions) == []
    assert any(logs.values()), "no log was read"
    assert running.used(), "no call was recorded"
    assert beyond(running.used(), running.allowed()) == []


def _check_schemas(running: LocalStack) -> None:
    """Check every notification, manifest and receipt that the tests made."""
    for _, body in running.announced:
        check_notification(body)
    for name, prefix in (("manifest", "manifests/"), ("receipt", "archives/")):
        for content in running.objects(prefix, ".json").values():
            check(name, json.loads(content))


def _texts(objects: Mapping[str, bytes]) -> dict[str, str]:
    return {key: body.decode() for key, body in objects.items()}


def copy_of_the_tree(tmp_path: Path) -> Path:
    """Copy the deployed files, so that a test may change them."""
    tree = tmp_path / "tree"
    for name in ("functions", "layers"):
        shutil.copytree(ROOT / name, tree / name, ignore=BEING_COMPILED)
    shutil.copy(ROOT / "template.yaml", tree)
    return tree


@contextmanager
def _running(
    folder: Path,
    settings: Mapping[str, Any],
    requests_per_second: int,
    parameters: Mapping[str, str] | None = None,
) -> Iterator[LocalStack]:
    """Run a stack whose requests stay below `requests_per_second`, the simulator's limit."""
    defaults = {"seconds_per_report": 0.5, "requests_per_second": requests_per_second}
    interval = LOCAL_PACE * VONAGES_LIMIT / requests_per_second if requests_per_second else 0
    with (
        Simulator(**{**defaults, **settings}) as simulator,
        Emulator(folder, wait_scale=WAIT_SCALE) as emulator,
    ):
        stack = deploy(
            emulator,
            folder,
            vonage_base_url=simulator.url,
            wait_scale=WAIT_SCALE,
            request_interval=interval,
            environment={"PYTHONPATH": str(RECORDER), "CALLS_FILE": str(folder / _CALLS)},
            parameters=parameters,
        )
        stack.set_credentials(simulator.api_key, simulator.api_secret)
        running = LocalStack(emulator, stack, simulator, requests_per_second=requests_per_second)
        yield running
        _check_leaks_and_permissions(running)


@pytest.fixture(scope="module")
def simulator_settings() -> dict[str, Any]:
    """Return the simulator's settings; a module may override them."""
    return {}


@pytest.fixture(scope="module")
def requests_per_second() -> int:
    """Return the simulator's limit of requests; a module may override it."""
    return VONAGES_LIMIT


@pytest.fixture(scope="module")
def parameters() -> dict[str, str]:
    """Return the template's parameters; a module may override them."""
    return {}


@pytest.fixture(scope="module")
def local_stack(
    tmp_path_factory: pytest.TempPathFactory,
    simulator_settings: Mapping[str, Any],
    requests_per_second: int,
    parameters: Mapping[str, str],
) -> Iterator[LocalStack]:
    """Run one stack for all tests of a module; each test sees the effects of the others."""
    folder = tmp_path_factory.mktemp("stack")
    with _running(folder, simulator_settings, requests_per_second, parameters) as running:
        yield running


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Run one stack for all tests of a worker that keep to windows of their own."""
    folder = tmp_path_factory.mktemp("shared")
    with _running(folder, SHARED_SETTINGS, TEN_TIMES_FASTER) as running:
        yield running


@pytest.fixture
def case(
    shared_stack: LocalStack,
    simulator_settings: Mapping[str, Any],
    request: pytest.FixtureRequest,
) -> Iterator[Case]:
    """Return windows for one test alone, on the stack that it shares with others."""
    shared_stack.simulator.settings(**{**SHARED_SETTINGS, **simulator_settings})
    yield Case(shared_stack, f"case{request.session.items.index(request.node)}")
    shared_stack.simulator.clear_faults()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the functions' logs to the report of a failed test."""
    report = yield
    if report.failed and report.when == "call":
        for value in item.funcargs.values():
            if isinstance(value, LocalStack | Case):
                report.sections.append(("logs of the functions", value.log_text()))
    return report
