"""The deployed template on the emulator, with the simulator as Vonage: a pair for each test module.

Each xdist worker has an emulator of its own, on a port of its own.
"""

import json
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from local.simulator.process import Simulator
from local.stack.deployment import LOCAL_PACE, Stack, deploy
from local.stack.emulator import ROOT, Emulator
from local.stack.environment import forget_real_accounts
from tests.end_to_end.faults import WRONG_SECRET, Case
from tests.end_to_end.permissions import RECORDER, Permission, allowed, beyond, used
from tests.support.leaks import Forbidden
from vonage_reports.aws.ledger import Ledger
from vonage_reports.domain.report import Report, State

WAIT_SCALE = 0.001
_CALLS = "calls.jsonl"
_TICK_SECONDS = 0.1
_SWEEP_SECONDS = 3.0
_QUIET_WITHIN_SECONDS = 240.0


@pytest.fixture(scope="session", autouse=True)
def no_real_accounts() -> None:
    """Nothing here can reach a real AWS account, also without `make`."""
    forget_real_accounts()


class LocalStack:
    """What end-to-end tests look at: the deployed stack from outside, and Vonage's side of it."""

    def __init__(
        self,
        emulator: Emulator,
        stack: Stack,
        simulator: Simulator,
        *,
        keeps_pace: bool = True,
        queue: str = "notifications-of-tests",
    ) -> None:
        self.keeps_pace = keeps_pace
        self.emulator = emulator
        self.stack = stack
        self.simulator = simulator
        self.ledger = Ledger(emulator.table(stack.outputs["TableName"]))
        self._queue = stack.subscribe_queue(queue)
        self.announced: list[tuple[dict[str, str], dict[str, Any]]] = []

    def scheduled(self, time_: str = "2026-11-23T02:15:00Z") -> dict[str, Any]:
        """Send what the calendar's schedule sends at `time_`; return the answer."""
        event = self.stack.schedule_event("SubmitReportsFunctionCalendar", scheduled_time=time_)
        return self.stack.submit(event)

    def sweep(self) -> dict[str, Any]:
        """Send what the sweep's schedule sends; return the answer."""
        return self.stack.submit(self.stack.schedule_event("SubmitReportsFunctionSweep"))

    def until(
        self, is_so: Callable[[], bool], what: str, *, within: float = _QUIET_WITHIN_SECONDS
    ) -> None:
        """Sweep now and then, until `is_so`."""
        deadline = time.monotonic() + within
        next_sweep = time.monotonic() + _SWEEP_SECONDS
        while not is_so():
            assert time.monotonic() < deadline, f"not within {within:.0f} s: {what}"
            if time.monotonic() >= next_sweep:
                self.sweep()
                next_sweep = time.monotonic() + _SWEEP_SECONDS
            time.sleep(_TICK_SECONDS)

    def until_ended(self, report_ids: Iterable[str]) -> dict[str, Report]:
        """Wait until these reports have come to their end, and return them."""
        wanted = list(report_ids)
        ended: dict[str, Report] = {}

        def all_ended() -> bool:
            for report_id in wanted:
                report = ended.get(report_id) or self.ledger.finished_report(report_id)
                if report is not None:
                    ended[report_id] = report
            return len(ended) == len(wanted)

        self.until(all_ended, f"the end of {wanted}; open: {self.states()}")
        return ended

    def states(self) -> dict[str, State]:
        """The states of the open reports."""
        return {report.report_id: report.state for report in self.ledger.open_reports()}

    def notifications(self) -> list[tuple[dict[str, str], dict[str, Any]]]:
        """Take what was announced since the last time: the message attributes and the body."""
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
                taken.append((attributes, json.loads(message["Body"])))
                sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
        self.announced += taken
        return taken

    def undelivered(self) -> list[str]:
        """The events that submit_reports could not handle."""
        url = self.stack.outputs["UndeliveredEventsQueueUrl"]
        answer = self.emulator.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        return [message["Body"] for message in answer.get("Messages", [])]

    def objects(self, prefix: str, suffix: str = "") -> dict[str, bytes]:
        """The objects of the bucket whose keys begin and end like this, by key."""
        s3, bucket = self.emulator.client("s3"), self.stack.outputs["BucketName"]
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        found = [each["Key"] for page in pages for each in page.get("Contents", [])]
        keys = [key for key in found if key.endswith(suffix)]
        return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def histories(self) -> dict[str, list[Mapping[str, Any]]]:
        """Every execution's history, by its name."""
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
        """What the functions needed at AWS so far."""
        return used(self.stack, self.emulator.log.with_name(_CALLS))

    def allowed(self) -> set[Permission]:
        """What the roles of the functions allow."""
        return allowed(self.stack, self.emulator)

    def log_text(self) -> str:
        """What the functions logged, without the lines of Lambda's own."""
        own = ("START RequestId", "END RequestId", "REPORT RequestId")
        return "\n".join(
            line
            for group, lines in self.stack.logs().items()
            for line in [f"== {group}", *lines]
            if not line.startswith(own)
        )


def _hold_what_always_holds(running: LocalStack) -> None:
    """Hold of all that was done to a stack: nothing leaked, and nobody needed more rights."""
    running.notifications()
    forbidden = Forbidden.of(running.simulator, WRONG_SECRET)
    logs = running.stack.logs()
    said = {
        "logs": logs,
        "notifications": running.announced,
        "receipts": _texts(running.objects("archives/", ".json")),
        "headers": _texts(running.objects("headers/")),
    }
    beside_definitions = {
        # The event of a run's end has the run's input.
        "undelivered events": running.undelivered(),
        "histories": running.histories(),
        "ledger": running.stack.ledger_items(),
        "manifests": _texts(running.objects("manifests/")),
    }
    assert forbidden.within(said) + forbidden.beside_definitions(beside_definitions) == []
    assert any(logs.values()), "no log was read"
    assert running.used(), "no call was recorded"
    assert beyond(running.used(), running.allowed()) == []


def _texts(objects: Mapping[str, bytes]) -> dict[str, str]:
    return {key: body.decode() for key, body in objects.items()}


def copy_of_the_tree(tmp_path: Path) -> Path:
    """Copy what is deployed, so that a test may change it."""
    tree = tmp_path / "tree"
    for name in ("functions", "layers"):
        shutil.copytree(ROOT / name, tree / name)
    shutil.copy(ROOT / "template.yaml", tree)
    return tree


@contextmanager
def _running(
    folder: Path, settings: Mapping[str, Any], request_interval: float | None = None
) -> Iterator[LocalStack]:
    """Run a stack; with a `request_interval` the simulator does not limit requests.

    Hundreds of reports would otherwise take most of their time to keep Vonage's pace.
    """
    keeps_pace = request_interval is None
    limit = {} if keeps_pace else {"requests_per_second": 0}
    with (
        Simulator(**{"seconds_per_report": 0.5, **limit, **settings}) as simulator,
        Emulator(folder, wait_scale=WAIT_SCALE) as emulator,
    ):
        stack = deploy(
            emulator,
            folder,
            vonage_base_url=simulator.url,
            wait_scale=WAIT_SCALE,
            request_interval=LOCAL_PACE if request_interval is None else request_interval,
            environment={"PYTHONPATH": str(RECORDER), "CALLS_FILE": str(folder / _CALLS)},
        )
        stack.set_credentials(simulator.api_key, simulator.api_secret)
        running = LocalStack(emulator, stack, simulator, keeps_pace=keeps_pace)
        yield running
        _hold_what_always_holds(running)


@pytest.fixture(scope="module")
def simulator_settings() -> dict[str, Any]:
    """The simulator's settings for `local_stack`; a module may have its own."""
    return {}


@pytest.fixture(scope="module")
def request_interval() -> float | None:
    """Seconds between two requests to Vonage, None as on AWS; a module may have its own."""
    return None


@pytest.fixture(scope="module")
def local_stack(
    tmp_path_factory: pytest.TempPathFactory,
    simulator_settings: Mapping[str, Any],
    request_interval: float | None,
) -> Iterator[LocalStack]:
    """One stack for all tests of a module: what one does, the others see."""
    folder = tmp_path_factory.mktemp("stack")
    with _running(folder, simulator_settings, request_interval) as running:
        yield running


@pytest.fixture
def new_stack(tmp_path: Path) -> Iterator[Callable[..., LocalStack]]:
    """Make a stack for one test alone; keywords are its pace and the simulator's settings."""
    with ExitStack() as resources:

        def make(*, request_interval: float | None = None, **settings: Any) -> LocalStack:
            return resources.enter_context(_running(tmp_path, settings, request_interval))

        yield make


@pytest.fixture
def case(local_stack: LocalStack, request: pytest.FixtureRequest) -> Iterator[Case]:
    """Windows of this test alone, on the module's stack."""
    yield Case(local_stack, f"case{request.session.items.index(request.node)}")
    local_stack.simulator.clear_faults()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the functions logged."""
    report = yield
    if report.failed and report.when == "call":
        for value in item.funcargs.values():
            if isinstance(value, LocalStack):
                report.sections.append(("logs of the functions", value.log_text()))
    return report
