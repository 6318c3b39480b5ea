"""The cost of a pass with many open reports and accounts, and the limits of planning."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from typing import Any

import boto3
import pytest

from tests.support.stack import LIFETIME, SCHEDULED, Stack, definition
from vonage_reports.aws.ledger_items import StoppedPlanning, open_item
from vonage_reports.domain.calendar import report_for_window
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.lifecycle import Fail, Split, apply
from vonage_reports.domain.objects import DEFINITIONS_KEY
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.settings import Settings
from vonage_reports.domain.windows import windows_ending_after
from vonage_reports.submit_reports import plan as planning
from vonage_reports.submit_reports.context import Invocation, StepResult
from vonage_reports.submit_reports.execute import execute
from vonage_reports.submit_reports.plan import plan
from vonage_reports.submit_reports.reconcile import reconcile
from vonage_reports.submit_reports.requests import Sweep
from vonage_reports.submit_reports.submit import submit

DAY = timedelta(days=1)
OF = definition(name="d0", filters={"country": "X0"}, delay_days=[0, 3])


def put(*reports: Report) -> None:
    """Put open reports into the ledger, faster than by planning."""
    with boto3.resource("dynamodb").Table("ledger").batch_writer() as batch:
        for report in reports:
            batch.put_item(Item=open_item(report))


def waiting(stack: Stack, of: ReportDefinition = OF) -> Iterator[Report]:
    """Yield the preliminary reports of a definition, the oldest first."""
    for window in windows_ending_after(SCHEDULED - 300 * DAY, of.window, of.time_zone):
        yield report_for_window(of, "abcd1234", 0, window, rows_per_hour=None, now=stack.now)


def calls_to(stack: Stack) -> list[str]:
    """Return a list that gets the name of each call to DynamoDB from now on."""
    calls: list[str] = []

    def note(model: Any, **_: object) -> None:
        calls.append(model.name)

    stack.services.ledger._client.meta.events.register("before-call.dynamodb", note)
    return calls


def take_slots(stack: Stack, count: int) -> None:
    """Let reports of another definition take slots."""
    names = stack.plan_definitions(
        [definition(name=f"x{n}", filters={"country": f"Y{n}"}) for n in range(count)]
    )
    assert len(stack.submit().report_ids) == len(names) == count


@pytest.mark.parametrize(("taken", "looked_up"), [(5, 0), (3, 2)])
def test_later_revisions_are_read_only_for_free_slots(
    stack: Stack, taken: int, looked_up: int
) -> None:
    take_slots(stack, taken)
    put(*islice(waiting(stack), 20))
    calls = calls_to(stack)
    assert len(stack.submit().report_ids) == looked_up
    reads = [name for name in calls if name == "GetItem"]
    # Each slot costs a read of the later revision.
    assert len(reads) == looked_up


def test_no_later_revision_is_read_during_a_pause(stack: Stack) -> None:
    put(*islice(waiting(stack), 20))
    stack.services.ledger.pause(stack.now + DAY)
    calls = calls_to(stack)
    assert stack.submit().report_ids == []
    assert calls == ["Query"]


def test_preliminary_waits_for_an_open_later_revision_without_a_read(stack: Stack) -> None:
    preliminary = next(waiting(stack))
    final = report_for_window(
        OF, "abcd1234", 1, preliminary.window, rows_per_hour=None, now=stack.now
    )
    put(preliminary, replace(final, not_before=stack.now + DAY))
    calls = calls_to(stack)
    assert stack.submit().report_ids == []
    assert calls == ["Query"]


def test_superseding_stops_when_the_time_is_up(stack: Stack) -> None:
    some = list(islice(waiting(stack), 4))
    for each in some:
        final = report_for_window(OF, "abcd1234", 1, each.window, rows_per_hour=None, now=stack.now)
        delivered = stack.services.ledger.write(None, final)
        stack.services.ledger.write(delivered, replace(delivered, state=State.DELIVERED))
    put(*some)
    seconds = iter([LIFETIME, LIFETIME, 0.0])
    short = Invocation("one", lambda: next(seconds, 0.0))
    submit(stack.services, short, clock=lambda: stack.now)
    states = [stack.known(each.report_id).state for each in some]
    assert states == [State.SUPERSEDED] * 2 + [State.PLANNED] * 2


def test_waiting_split_windows_are_not_read(stack: Stack) -> None:
    (name,) = stack.plan()
    execute(stack.known(name), Split(), stack.services, now=stack.now)
    calls = calls_to(stack)
    stack.settle()
    assert calls == ["Query"]
    part = next(each for each in stack.open() if each.is_half)
    fail = Fail("ReportFailed", "it failed")
    stack.services.ledger.write(part, apply(part, fail, now=stack.now))
    assert stack.settle() == [name]


@pytest.fixture
def sweep(stack: Stack) -> Callable[[], list[str]]:
    """Sweep, and return the names of the calls to DynamoDB."""
    entry = {"name": "d0", "product": "VERIFY-V2", "delay_days": [0, 3]}
    boto3.client("s3").put_object(Bucket="reports", Key=DEFINITIONS_KEY, Body=json.dumps([entry]))
    calls = calls_to(stack)

    def run() -> list[str]:
        calls.clear()
        invocation = Invocation("one", lambda: LIFETIME)
        done = reconcile(Sweep(), stack.services, Settings(), invocation, clock=lambda: stack.now)
        assert done.errors == []
        return list(calls)

    return run


def test_reads_of_a_sweep_do_not_grow_with_open_reports(
    stack: Stack, sweep: Callable[[], list[str]]
) -> None:
    take_slots(stack, 5)
    sweep()  # Announces the overdue windows.
    assert sweep() == ["Query", "Query"]
    put(*islice(waiting(stack), 300))
    sweep()
    assert sweep() == ["Query", "Query"]


def accounts(count: int) -> ReportDefinition:
    return replace(OF, account_ids=tuple(f"sub{number:05}" for number in range(count)))


def test_accounts_of_a_window_are_read_together(stack: Stack) -> None:
    calls = calls_to(stack)
    assert len(stack.plan_definitions([accounts(10)])) == 20
    # The calendar, and the open and the finished reports of two windows.
    assert calls.count("Query") == 1 + 2 * 2
    assert stack.plan_definitions([accounts(10)]) == []


def plan_now(
    stack: Stack, definitions: list[ReportDefinition], *, days: int = 0, seconds: float = LIFETIME
) -> StepResult:
    """Let the schedule run, so many days after the first run and with so much time left."""
    at = SCHEDULED + days * DAY
    return plan(
        definitions,
        stack.services,
        at=at,
        now=max(at, stack.now),
        work=stack.services.ledger.open_work(),
        invocation=Invocation("one", lambda: seconds),
    )


def finish(stack: Stack) -> None:
    for report in stack.open():
        stack.services.ledger.write(report, replace(report, state=State.DELIVERED))


@pytest.fixture
def daily(monkeypatch: pytest.MonkeyPatch) -> list[ReportDefinition]:
    """Three definitions, and a ledger that may have two open reports."""
    monkeypatch.setattr(planning, "MOST_OPEN", 2)
    return [definition(name=f"d{n}", filters={"country": f"X{n}"}) for n in range(3)]


def test_planning_stops_at_the_limit_and_says_so_once(
    stack: Stack, daily: list[ReportDefinition]
) -> None:
    for days in range(2):
        done = plan_now(stack, daily, days=days)
        assert [(each.definition, each.field) for each in done.refusals] == [("(all)", "planning")]
    assert len(stack.open()) == 2
    assert [each["definition"] for each in stack.announced()] == ["(all)"]
    stopped = stack.services.ledger.open_work().planning_stopped
    assert stopped == StoppedPlanning(SCHEDULED, "d2")


def test_windows_are_not_late_after_planning_had_stopped(
    stack: Stack, daily: list[ReportDefinition]
) -> None:
    for each in daily:
        plan_now(stack, [each])
        finish(stack)
    for days in range(1, 21):
        plan_now(stack, daily, days=days)
    planned: list[Report] = []
    while stack.open():
        planned += stack.open()
        finish(stack)
        done = plan_now(stack, daily, days=21)
        assert [each.field for each in done.refusals] in ([], ["planning"])
    assert len(planned) == len({each.report_id for each in planned}) == 3 * 21
    assert stack.services.ledger.open_work().planning_stopped is None
    late = plan_now(stack, daily[:1], days=40)
    assert "12 windows" in late.refusals[0].reason, "7 days count again"


def test_new_definition_begins_while_planning_is_stopped(
    stack: Stack, daily: list[ReportDefinition]
) -> None:
    """Else its first windows would be skipped, and announced to none."""
    new = definition(name="new", filters={"country": "X9"})
    plan_now(stack, daily)
    plan_now(stack, [*daily, new], days=1)
    finish(stack)
    for _ in range(9):
        plan_now(stack, [*daily, new], days=5)
        finish(stack)
    windows = [name for name, _ in _finished(stack) if name == "new"]
    assert len(windows) == 5


def _finished(stack: Stack) -> list[tuple[str, str]]:
    keys = [(item["pk"], item["sk"]) for item in stack.table()]
    return [(pk.removeprefix("finished#"), sk) for pk, sk in keys if pk.startswith("finished#")]


def test_planning_goes_on_where_it_stopped(stack: Stack, daily: list[ReportDefinition]) -> None:
    planned = []
    for days in range(2):
        plan_now(stack, daily, days=days)
        planned.append(sorted(each.definition for each in stack.open()))
        finish(stack)
    # The second run begins with the two windows that are due of d2.
    assert planned == [["d0", "d1"], ["d2", "d2"]]


def test_planning_stops_when_the_time_is_up(stack: Stack) -> None:
    done = plan_now(stack, [OF], seconds=60)
    assert (done.report_ids, [each.field for each in done.refusals]) == ([], ["planning"])
    assert "time" in done.refusals[0].reason
    assert len(plan_now(stack, [OF], days=1).report_ids) == 2
    assert stack.services.ledger.open_work().planning_stopped is None


def test_refused_definition_stays_refused_after_planning_stopped(
    stack: Stack, daily: list[ReportDefinition]
) -> None:
    plan_now(stack, daily[:2])
    changed = replace(daily[0], time_zone="Europe/London")
    done = plan_now(stack, [daily[1], daily[2], changed])
    assert [each.field for each in done.refusals] == ["time_zone", "planning"]
