"""Concurrent invocations of submit_reports, each killed at any call.

A deterministic scheduler stops every submitter before each of its calls (DynamoDB, Vonage, Step
Functions, SNS). Hypothesis chooses which submitter continues and which dies. DynamoDB, Vonage and
the runs are fakes that keep state; tests/chaos/test_stand_ins.py compares the DynamoDB fake with
moto.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from random import Random
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chaos.dynamodb import ConditionsFailed, Table
from tests.integration.conftest import answer_of_aws, refusal_of_aws
from vonage_reports.aws.cloudwatch import Metrics
from vonage_reports.aws.ledger import Ledger
from vonage_reports.domain.backfill import checked_backfill
from vonage_reports.domain.decisions import Execution, ExecutionStatus
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.errors import RateLimited, ReportExpired, SubmissionUnknown
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.report import Report, RequestStatus, State
from vonage_reports.domain.windows import Window, WindowLength
from vonage_reports.submit_reports import backfills
from vonage_reports.submit_reports.context import Invocation, Services
from vonage_reports.submit_reports.plan import plan
from vonage_reports.submit_reports.reprocess import recollect, resolve
from vonage_reports.submit_reports.settle import settle
from vonage_reports.submit_reports.submit import submit
from vonage_reports.vonage.answers import ReportList, ReportRequest

START = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
SUBMITTERS = 4
LIFETIME = 300.0
"""Seconds after which Lambda ends an invocation, at any call."""


class Killed(BaseException):
    """Raised in a submitter whose process dies; the code under test must not catch it."""


class Scheduler:
    """Lets one thread run at a time, from one call to the next; `random` chooses the thread.

    Time passes at every call. A thread that exceeds its lifetime is killed, as Lambda does.
    """

    def __init__(self, random: Random, deaths: int, restlessness: float) -> None:
        self.now = START
        self._restlessness = restlessness
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
        """Yield to the scheduler; continue, or die, at the next turn."""
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
        """Return the remaining lifetime of this round's invocations."""
        return LIFETIME - (self.now - self._began).total_seconds()

    def run(self, *programs: Callable[[], object]) -> None:
        """Run programs concurrently until each has ended or died."""
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
            if thread not in alive or self._random.random() < self._restlessness:
                thread = self._random.choice(alive)
            if self._deaths and self._random.random() < 0.08:
                self._deaths -= 1
                self._doomed.add(thread)
            self._turns[thread].release()
            self._back.acquire()
            # A thread's last act is to release its turn, so the join is short.
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
    """A created report; Vonage finishes it after two steps of work."""

    request: ReportRequest
    status: RequestStatus = RequestStatus.PENDING
    work_left: int = 2


class Vonage:
    """The account, with every created (billed) report; `random` loses some answers to POST."""

    api_key = "abcd1234"

    def __init__(self, scheduler: Scheduler, random: Random) -> None:
        self._scheduler = scheduler
        self._random = random
        self.reports: dict[str, AtVonage] = {}
        self.most_at_work = 0
        self.troubles = True
        self.most_hours: dict[str, float] = {}
        """The longest window, by country, that is not truncated."""
        self._lag = timedelta(minutes=random.choice([0, 1, 4]))

    def create_report(
        self,
        *,
        product: str,
        account_id: str,
        window: Window,
        include_subaccounts: bool,
        filters: Mapping[str, Any],
        callback_url: str | None,
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
            echo={**filters, "callback_url": callback_url},
        )
        self.reports[request_id] = AtVonage(request)
        self.most_at_work = max(self.most_at_work, self.at_work())
        if fate < 0.4:
            raise SubmissionUnknown("lost on the way back")
        # The process may die after receiving the answer.
        self._scheduler.before_a_call()
        return request_id

    def get_report(self, request_id: str) -> ReportRequest:
        self._scheduler.before_a_call()
        if request_id not in self.reports:
            raise ReportExpired("unknown")
        return self._shown(self.reports[request_id])

    def require_credentials(self) -> None:
        pass

    def list_reports(self, account_id: str) -> ReportList:
        self._scheduler.before_a_call()
        listed = [
            self._shown(each)
            for each in self.reports.values()
            if each.request.account_id == account_id
            and received(each) + self._lag <= self._scheduler.now
        ]
        return ReportList(listed, is_complete=True)

    def work(self) -> None:
        """Advance every report by one step; one in ten ends without a file."""
        for each in self.reports.values():
            if each.status.is_terminal:
                continue
            each.work_left -= 1
            each.status = RequestStatus.PROCESSING
            if each.work_left == 0:
                failed = self.troubles and self._random.random() < 0.1
                each.status = RequestStatus.FAILED if failed else self._whole_or_not(each)

    def _whole_or_not(self, each: AtVonage) -> RequestStatus:
        start, end = each.request.date_start, each.request.date_end
        assert start is not None
        assert end is not None
        most = self.most_hours.get(str(each.request.echo["country"]), 24.0)
        is_whole = end - start <= timedelta(hours=most)
        return RequestStatus.SUCCESS if is_whole else RequestStatus.TRUNCATED

    def at_work(self) -> int:
        return sum(not each.status.is_terminal for each in self.reports.values())

    @staticmethod
    def _shown(each: AtVonage) -> ReportRequest:
        return replace(each.request, request_status=each.status.value)


class Runs:
    """The workflow: a run ends with its report at Vonage, in success or failure."""

    def __init__(self, scheduler: Scheduler, vonage: Vonage) -> None:
        self._scheduler = scheduler
        self._vonage = vonage
        self.started: dict[str, str] = {}

    def arn(self, report: Report) -> str:
        return report.execution_name

    def start(self, report: Report) -> None:
        self._scheduler.before_a_call()
        assert report.execution_input is not None
        before = self.started.setdefault(report.execution_name, report.execution_input)
        assert before == report.execution_input, "a run is started with one input only"

    def describe(self, report: Report) -> Execution:
        self._scheduler.before_a_call()
        if report.execution_name not in self.started:
            return Execution(ExecutionStatus.MISSING)
        if json.loads(self.started[report.execution_name])["entry"] == "convert":
            return Execution(ExecutionStatus.SUCCEEDED, rows=1)
        status = self._vonage.reports[report.request_id or ""].status
        if status is RequestStatus.SUCCESS:
            return Execution(ExecutionStatus.SUCCEEDED, rows=1)
        if status.is_terminal:
            return Execution(ExecutionStatus.FAILED, error="ReportFailed", reason="failed")
        return Execution(ExecutionStatus.RUNNING)


@dataclass
class Topic:
    """Records the announcements."""

    scheduler: Scheduler
    announced: list[Mapping[str, Any]] = field(default_factory=list)

    def announce(self, body: Mapping[str, Any]) -> None:
        self.scheduler.before_a_call()
        self.announced.append(body)


class EmptyBucket:
    """A bucket without any objects."""

    def exists(self, key: str) -> bool:
        del key
        return False

    def precedence(self, key: str) -> None:
        del key


@pytest.fixture(scope="module")
def dynamodb() -> Any:
    """One client for all examples, because creating it takes longer than most examples."""
    session = boto3.Session("testing", "testing", region_name="eu-west-1")
    return session.resource("dynamodb").Table("ledger")


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


def resolve_held_reports(services: Services, vonage: Vonage, *, now: datetime) -> None:
    """Resolve each held report with the request that Vonage's dashboard shows, or with none."""
    reports = services.ledger.open_reports()
    for held in (each for each in reports if each.state is State.HELD):
        shown = [
            request_id
            for request_id, each in vonage.reports.items()
            if each.request.echo == held.filters
            and services.ledger.report_served_by(request_id) is None
        ]
        request_id = shown[0] if shown else None
        resolve(held.report_id, request_id, services, now=now)


@dataclass
class World:
    """The state that the submitters of one example share."""

    scheduler: Scheduler
    random: Random
    vonage: Vonage
    topic: Topic
    services: Services
    items: Table

    def settle(self, invocation: Invocation) -> None:
        done = settle(
            self.services.ledger.open_work(),
            self.services,
            invocation,
            clock=lambda: self.scheduler.now,
        )
        assert done.errors == []

    def submit(self, invocation: Invocation) -> None:
        done = submit(self.services, invocation, clock=lambda: self.scheduler.now)
        assert done.errors == []

    def time_passes(self, minutes: int) -> None:
        self.vonage.work()
        self.scheduler.now += timedelta(minutes=minutes)

    def until_all_is_done(self, submitter: Callable[[str], Callable[[], object]]) -> None:
        """Sweep without further troubles until nothing is open."""
        self.vonage.troubles = self.scheduler.time_passes = False
        for _ in range(300):
            self.scheduler.run(submitter("the sweep"))
            resolve_held_reports(self.services, self.vonage, now=self.scheduler.now)
            self.time_passes(minutes=5)
            work = self.services.ledger.open_work()
            if not work.reports and not work.backfills:
                break
        assert work.reports == (), "every report finishes"
        assert work.backfills == ()
        assert work.slots == {}, "no slot leaks"
        assert self.vonage.most_at_work <= 5

    def finished(self) -> list[Report]:
        names = [sk for pk, sk in self.items.items if pk.startswith("finished#")]
        reports = [self.services.ledger.finished_report(name) for name in names]
        return [report for report in reports if report is not None]


@contextmanager
def a_world(
    dynamodb: Any, seed: int, *, deaths: int, restlessness: float = 0.15
) -> Iterator[World]:
    """Yield a world; low restlessness keeps one submitter running and stops the others for long."""
    # Own random numbers: hypothesis could end an example while a thread draws from it.
    random = Random(seed)
    scheduler = Scheduler(random, deaths, restlessness)
    items = Table()

    def answer(model: Any, params: Any, **_: Any) -> Any:
        scheduler.before_a_call()
        try:
            return answer_of_aws(200, items.answer(model.name, json.loads(params["body"])))
        except ConditionsFailed as failed:
            name = "TransactionCanceledException"
            return refusal_of_aws(400, name, CancellationReasons=failed.reasons)

    events = dynamodb.meta.client.meta.events
    events.register("before-call.dynamodb", answer)
    vonage = Vonage(scheduler, random)
    topic = Topic(scheduler)
    services = Services(
        ledger=Ledger(dynamodb),
        definitions=None,  # type: ignore[arg-type]  # not used in this run
        vonage=vonage,  # type: ignore[arg-type]  # implements the used methods
        executions=Runs(scheduler, vonage),  # type: ignore[arg-type]  # implements the used methods
        topic=topic,  # type: ignore[arg-type]  # implements the used methods
        bucket=EmptyBucket(),  # type: ignore[arg-type]  # implements the used methods
        metrics=Metrics("stack-of-tests"),
        callback_url="https://x1y2.lambda-url.eu-west-1.on.aws/",
    )
    try:
        yield World(scheduler, random, vonage, topic, services, items)
    finally:
        events.unregister("before-call.dynamodb", answer)


EXAMPLES = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@EXAMPLES
@given(
    seed=st.integers(0, 2**32),
    reports=st.integers(1, 6),
    days=st.integers(0, 3),
    deaths=st.integers(0, 6),
    rounds=st.integers(1, 5),
)
def test_concurrent_dying_submitters_buy_each_window_once(
    dynamodb: Any, *, seed: int, reports: int, days: int, deaths: int, rounds: int
) -> None:
    asked_for = definitions(reports)
    # The calendar plans the newest of these windows, too.
    ranges = [
        checked_backfill(
            definition,
            date(2026, 11, 19) - timedelta(days=days),
            date(2026, 11, 19),
            confirmed=False,
            now=START,
        )
        for definition in asked_for[: 2 if days else 0]
    ]
    with a_world(dynamodb, seed, deaths=deaths) as world:
        world.vonage.most_hours = {
            definition.filters["country"]: world.random.choice([24, 24, 12, 6])
            for definition in asked_for
        }

        def submit_reports(owner: str) -> Callable[[], object]:
            def program() -> None:
                invocation = Invocation(owner, world.scheduler.seconds_left)
                for each in ranges if owner != "the sweep" else ():
                    backfills.begin(each, world.services, max_billed_records=10**9)
                world.settle(invocation)
                plan(asked_for, world.services, at=START, now=world.scheduler.now)
                backfills.plan_backfills(
                    world.services,
                    invocation,
                    max_billed_records=10**9,
                    clock=lambda: world.scheduler.now,
                )
                world.submit(invocation)

            return program

        for _ in range(rounds):
            world.scheduler.run(*(submit_reports(f"owner-{n}") for n in range(SUBMITTERS)))
            assert world.vonage.at_work() <= 5
            in_slots = [
                each for each in world.services.ledger.open_reports() if each.slot is not None
            ]
            assert len([each for each in in_slots if each.backfill is not None]) <= 4
            world.time_passes(minutes=world.random.choice([1, 8]))
        begun = world.services.ledger.open_work().backfills
        world.until_all_is_done(submit_reports)
        finished = {each.report_id: each for each in world.finished()}
        vonage, topic = world.vonage, world.topic

    def part(each: AtVonage) -> tuple[object, ...]:
        return each.request.echo["country"], each.request.date_start, each.request.date_end

    bought = Counter(map(part, vonage.reports.values()))
    ended = [each for each in vonage.reports.values() if each.status is RequestStatus.FAILED]
    failed = Counter(map(part, ended))
    for window, times in bought.items():
        assert times == min(1 + failed[window], 3)
    for each in finished.values():
        sent = [body for body in topic.announced if body["report_id"] == each.report_id]
        assert len(sent) >= failed[each.filters["country"], each.window.start, each.window.end]
        assert not each.is_half or finished[each.root or ""].is_at_end
    whole = [each for each in finished.values() if not each.is_half]
    assert {each.state for each in whole} <= {State.DELIVERED, State.FAILED}
    planned = {(each.definition, each.window.first_date) for each in whole}
    assert {(each.name, date(2026, 11, 18)) for each in asked_for} <= planned
    for asked in begun:
        assert {(asked.definition.name, window.first_date) for window in asked.windows} <= planned


@EXAMPLES
@given(seed=st.integers(0, 2**32), deaths=st.integers(0, 3), rounds=st.integers(1, 4))
def test_recollected_part_is_delivered_at_any_interleaving(
    dynamodb: Any, seed: int, deaths: int, rounds: int
) -> None:
    (asked_for,) = definitions(1)
    with a_world(dynamodb, seed, deaths=deaths, restlessness=0.4) as world:
        world.vonage.most_hours = {"X0": 12}
        world.vonage.troubles = False
        (day,) = plan([asked_for], world.services, at=START, now=START).report_ids
        tokens = count()

        def submit_reports(owner: str) -> Callable[[], object]:
            def program() -> None:
                invocation = Invocation(owner, world.scheduler.seconds_left)
                world.settle(invocation)
                world.submit(invocation)

            return program

        def recollect_stored_part() -> None:
            """Recollect the first stored part."""
            stored: list[Report] = []
            for _ in range(20):
                stored = stored or [each for each in world.finished() if each.is_half]
            for each in stored[:1]:
                token = f"token-{next(tokens)}"
                recollect(
                    each.report_id, token, world.services, now=world.scheduler.now, confirmed=True
                )

        # Both halves have ended at Vonage, and no submitter has settled them yet.
        for _ in range(4):
            world.scheduler.run(submit_reports("the first"))
            world.time_passes(minutes=5)
        for _ in range(rounds):
            world.scheduler.run(submit_reports("one"), recollect_stored_part, submit_reports("two"))
            world.time_passes(minutes=5)
        world.until_all_is_done(submit_reports)
        halves = [each for each in world.finished() if each.is_half]
        (root,) = [each for each in world.finished() if not each.is_half]
    halves.sort(key=lambda each: each.window.start)
    assert (root.report_id, root.state) == (day, State.DELIVERED)
    assert root.receipts == tuple(receipt_key(each) for each in halves)
