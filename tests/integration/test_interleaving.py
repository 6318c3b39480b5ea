"""Any number of submit_reports at the same moment, each killed anywhere.

A deterministic scheduler stops every submitter before each of its calls (DynamoDB, Vonage, Step
Functions, SNS), and hypothesis chooses who goes on, and who dies there. DynamoDB's conditions are
moto's; Vonage and the runs are stand-ins that keep state.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from tests.ledger_table import create_ledger_table
from vonage_reports.aws.edges import Edges
from vonage_reports.aws.invocation import Invocation
from vonage_reports.aws.ledger import Ledger
from vonage_reports.aws.plan import plan
from vonage_reports.aws.settle import settle
from vonage_reports.aws.submit import resolve, submit
from vonage_reports.client import ReportRequest
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.errors import RateLimited, ReportExpired, SubmissionUnknown
from vonage_reports.domain.reports import Report, RequestStatus, State
from vonage_reports.domain.transitions import Run, RunStatus
from vonage_reports.domain.windows import Window, WindowLength

START = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
SUBMITTERS = 4
NUMBERS = count()
LIFETIME = 300.0
"""Seconds after which Lambda ends an invocation, wherever it is."""


class Killed(BaseException):
    """What a submitter sees when its process dies: nothing of ours may catch it."""


class Scheduler:
    """Lets one thread run at a time, from one call to the next; `random` chooses which.

    Time passes at every call, and who lives too long is killed, as Lambda does.
    """

    def __init__(self, random: Random, deaths: int) -> None:
        self.now = START
        self._random = random
        self._deaths = deaths
        self._turns: dict[threading.Thread, threading.Semaphore] = {}
        self._began = START
        self._doomed: set[threading.Thread] = set()
        self._ended: set[threading.Thread] = set()
        self._back = threading.Semaphore(0)
        self._errors: list[BaseException] = []
        self.time_passes = True

    def before_a_call(self) -> None:
        """Give the turn back; go on, or die, when it comes again."""
        thread = threading.current_thread()
        if thread not in self._turns:
            return
        self._back.release()
        self._turns[thread].acquire()
        if self.time_passes:
            self.now += timedelta(seconds=self._random.choice([0, 0, 0, 1, 10, 30]))
        if thread in self._doomed or self.seconds_left() <= 0:
            raise Killed

    def seconds_left(self) -> float:
        """Return how long the invocations of this round live yet."""
        return LIFETIME - (self.now - self._began).total_seconds()

    def run(self, *programs: Callable[[], object]) -> None:
        """Run programs side by side until each has ended or died."""
        self._began = self.now
        threads = [
            threading.Thread(target=self._guard, args=(each,), daemon=True) for each in programs
        ]
        self._turns = {thread: threading.Semaphore(0) for thread in threads}
        for thread in threads:
            thread.start()
        alive = list(threads)
        thread = threads[0]
        while alive:
            # Mostly the same one goes on, so that the others are stopped for long.
            if thread not in alive or self._random.random() < 0.15:
                thread = self._random.choice(alive)
            if self._deaths and self._random.random() < 0.08:
                self._deaths -= 1
                self._doomed.add(thread)
            self._turns[thread].release()
            self._back.acquire()
            # The last thing a thread does is to give its turn back; then it is over soon.
            if thread in self._ended:
                thread.join()
                alive.remove(thread)
        self._turns = {}
        if self._errors:
            raise self._errors[0]

    def _guard(self, program: Callable[[], object]) -> None:
        thread = threading.current_thread()
        self._turns[thread].acquire()
        try:
            if thread not in self._doomed:
                program()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread
            self._errors.append(error)
        finally:
            self._ended.add(thread)
            self._back.release()


def received(each: "AtVonage") -> datetime:
    assert each.request.receive_time is not None
    return each.request.receive_time


@dataclass
class AtVonage:
    """A report that was created, and that Vonage ends when it has been worked on twice."""

    request: ReportRequest
    status: RequestStatus = RequestStatus.PENDING
    work_left: int = 2


class Vonage:
    """The account: what was created is billed; answers to POST get lost as `random` says."""

    api_key = "abcd1234"

    def __init__(self, scheduler: Scheduler, random: Random) -> None:
        self._scheduler = scheduler
        self._random = random
        self.reports: dict[str, AtVonage] = {}
        self.most_at_work = 0
        self.troubles = True
        self._lag = timedelta(minutes=random.choice([0, 1, 4]))

    def create_report(
        self,
        *,
        product: str,
        account_id: str,
        window: Window,
        include_subaccounts: bool,
        filters: Mapping[str, Any],
    ) -> str:
        self._scheduler.before_a_call()
        fate = self._random.random() if self.troubles else 1.0
        if fate < 0.1:
            raise RateLimited("too many", retry_after=3)
        if fate < 0.2:
            raise SubmissionUnknown("lost on the way there")
        request_id = f"request-{len(self.reports) + 1}"
        request = ReportRequest(
            request_id=request_id,
            request_status="PENDING",
            product=product,
            account_id=account_id,
            include_subaccounts=include_subaccounts,
            date_start=window.start,
            date_end=window.end,
            receive_time=self._scheduler.now,
            items_count=None,
            file_id=None,
            echo=filters,
        )
        self.reports[request_id] = AtVonage(request)
        self.most_at_work = max(self.most_at_work, self.at_work())
        if fate < 0.4:
            raise SubmissionUnknown("lost on the way back")
        # The process may die with the answer in its hands.
        self._scheduler.before_a_call()
        return request_id

    def get_report(self, request_id: str) -> ReportRequest:
        self._scheduler.before_a_call()
        if request_id not in self.reports:
            raise ReportExpired("unknown")
        return self._shown(self.reports[request_id])

    def require_credentials(self) -> None:
        pass

    def list_reports(self, account_id: str) -> Sequence[ReportRequest]:
        self._scheduler.before_a_call()
        return [
            self._shown(each)
            for each in self.reports.values()
            if each.request.account_id == account_id
            and received(each) + self._lag <= self._scheduler.now
        ]

    def work(self) -> None:
        """Bring every report one step further; one in ten ends without a file."""
        for each in self.reports.values():
            if each.status.is_terminal:
                continue
            each.work_left -= 1
            each.status = RequestStatus.PROCESSING
            if each.work_left == 0:
                failed = self.troubles and self._random.random() < 0.1
                each.status = RequestStatus.FAILED if failed else RequestStatus.SUCCESS

    def at_work(self) -> int:
        return sum(not each.status.is_terminal for each in self.reports.values())

    @staticmethod
    def _shown(each: AtVonage) -> ReportRequest:
        return replace(each.request, request_status=each.status.value)


class Runs:
    """The workflow: a run ends when Vonage has ended its report; sometimes it fails on the way."""

    def __init__(self, scheduler: Scheduler, vonage: Vonage) -> None:
        self._scheduler = scheduler
        self._vonage = vonage
        self.started: dict[str, str] = {}

    def arn(self, report: Report) -> str:
        return report.execution_name

    def start(self, report: Report) -> None:
        self._scheduler.before_a_call()
        assert report.request_id is not None
        assert report.execution_input is not None
        before = self.started.setdefault(report.execution_name, report.execution_input)
        assert before == report.execution_input, "a run is started with one input only"

    def describe(self, report: Report) -> Run:
        self._scheduler.before_a_call()
        if report.execution_name not in self.started:
            return Run(RunStatus.MISSING)
        status = self._vonage.reports[report.request_id or ""].status
        if status is RequestStatus.SUCCESS:
            return Run(RunStatus.SUCCEEDED, rows=1)
        if status.is_terminal:
            return Run(RunStatus.FAILED, error="ReportFailed", reason="failed")
        return Run(RunStatus.RUNNING)


@dataclass
class Topic:
    """Keeps what was announced."""

    scheduler: Scheduler
    announced: list[Mapping[str, Any]] = field(default_factory=list)

    def announce(self, body: Mapping[str, Any]) -> None:
        self.scheduler.before_a_call()
        self.announced.append(body)


class EmptyBucket:
    """A bucket in which nothing was stored yet."""

    def exists(self, key: str) -> bool:
        del key
        return False

    def precedence(self, key: str) -> None:
        del key


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[Any]:
    patch = pytest.MonkeyPatch()
    patch.setenv("AWS_ACCESS_KEY_ID", "testing")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        yield boto3.resource("dynamodb", region_name="eu-west-1")
    patch.undo()


def definitions(count: int) -> list[ReportDefinition]:
    return [
        ReportDefinition(
            name=f"d{number}",
            product="VERIFY-V2",
            account_ids=("abcd1234",),
            include_subaccounts=False,
            filters={"country": f"X{number}"},
            window=WindowLength.DAY,
            time_zone="UTC",
        )
        for number in range(count)
    ]


def a_person_resolves(edges: Edges, vonage: Vonage, *, now: datetime) -> None:
    """Do for each held report what Vonage's dashboard shows: that request, or none."""
    reports = edges.ledger.open_reports()
    for held in (each for each in reports if each.state is State.HELD):
        shown = [
            request_id
            for request_id, each in vonage.reports.items()
            if each.request.echo == held.filters
            and edges.ledger.report_served_by(request_id) is None
        ]
        request_id = shown[0] if shown else None
        resolve(held.report_id, request_id, edges, now=now)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 2**32),
    reports=st.integers(1, 9),
    deaths=st.integers(0, 6),
    rounds=st.integers(1, 5),
)
def test_each_window_is_bought_once_whoever_runs_beside_whom_and_dies_where(
    dynamodb: Any, seed: int, reports: int, deaths: int, rounds: int
) -> None:
    # Drawn inside the threads: an example of hypothesis's own could end in the middle of one.
    random = Random(seed)
    scheduler = Scheduler(random, deaths)
    name = f"ledger-{next(NUMBERS)}"
    create_ledger_table(dynamodb.meta.client, name)
    table = dynamodb.Table(name)
    client = table.meta.client
    hook = "before-call.dynamodb"
    client.meta.events.register(hook, before_call := lambda **_: scheduler.before_a_call())
    vonage = Vonage(scheduler, random)
    topic = Topic(scheduler)
    edges = Edges(
        ledger=Ledger(table),
        vonage=vonage,  # type: ignore[arg-type]  # stand-ins that keep state
        executions=Runs(scheduler, vonage),  # type: ignore[arg-type]
        topic=topic,  # type: ignore[arg-type]
        bucket=EmptyBucket(),  # type: ignore[arg-type]
    )
    asked_for = definitions(reports)

    def submit_reports(owner: str) -> Callable[[], object]:
        def program() -> None:
            invocation = Invocation(owner, scheduler.seconds_left)
            _, faults = settle(
                edges.ledger.open_work(), edges, invocation, clock=lambda: scheduler.now
            )
            plan(asked_for, edges, at=START, now=scheduler.now)
            done = submit(edges, invocation, clock=lambda: scheduler.now)
            assert faults == done.faults == []

        return program

    try:
        for _ in range(rounds):
            scheduler.run(*(submit_reports(f"owner-{n}") for n in range(SUBMITTERS)))
            assert vonage.at_work() <= 5
            scheduler.now += timedelta(minutes=random.choice([1, 8]))
            vonage.work()

        vonage.troubles = scheduler.time_passes = False
        for _ in range(40):
            scheduler.run(submit_reports("the sweep"))
            a_person_resolves(edges, vonage, now=scheduler.now)
            vonage.work()
            scheduler.now += timedelta(minutes=5)
            open_work = edges.ledger.open_work()
            if not open_work.reports:
                break
    finally:
        client.meta.events.unregister(hook, before_call)
        table.delete()

    assert open_work.reports == (), "every report comes to its end"
    assert open_work.slots == {}, "no slot leaks"
    assert vonage.most_at_work <= 5
    bought = Counter(each.request.echo["country"] for each in vonage.reports.values())
    failed = Counter(
        each.request.echo["country"]
        for each in vonage.reports.values()
        if each.status is RequestStatus.FAILED
    )
    for definition in asked_for:
        country = definition.filters["country"]
        told = [body for body in topic.announced if body["definition"] == definition.name]
        assert bought[country] == min(1 + failed[country], 3)
        assert len(told) >= failed[country]
