"""Windows that are collected more than once, and definitions whose delay_days change."""

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.conftest import refusal_of_aws
from tests.support.stack import SCHEDULED, Stack, definition
from vonage_reports.domain.lifecycle import Withdraw
from vonage_reports.domain.report import Report, Revision, State
from vonage_reports.submit_reports.execute import execute
from vonage_reports.submit_reports.plan import plan

DAY = timedelta(days=1)


def plan_at(stack: Stack, delay_days: list[int], *, at: datetime = SCHEDULED) -> list[Report]:
    """Plan the due windows of a definition with these delays."""
    planned = stack.plan_definitions([definition(delay_days=delay_days)], at=at)
    return [stack.known(report_id) for report_id in planned]


def collect_all(stack: Stack) -> list[Report]:
    """Deliver all planned reports, at most five at a time."""
    stack.simulator.settings(seconds_per_report=0)
    collected: list[Report] = []
    while submitted := stack.submit().report_ids:
        collected += map(stack.known, submitted)
        for report_id in submitted:
            stack.runs.end(stack.known(report_id))
        stack.settle()
    assert stack.open() == []
    return collected


def days_and_revisions(reports: list[Report]) -> list[tuple[int, Revision]]:
    """Return the day of the month and the revision of each report, sorted."""
    return sorted((each.window.start.day, each.revision) for each in reports)


PRELIMINARY, FINAL = Revision.PRELIMINARY, Revision.FINAL


@pytest.fixture
def both(stack: Stack) -> tuple[Report, Report]:
    """The preliminary and final revision of one day, both due after an outage."""
    plan_at(stack, [0, 3])
    collect_all(stack)
    planned = plan_at(stack, [0, 3], at=SCHEDULED + 4 * DAY)
    preliminary, final = (
        next(each for each in planned if each.window.start.day == 22 and each.revision is revision)
        for revision in (PRELIMINARY, FINAL)
    )
    for report in planned:
        if report not in (preliminary, final):
            execute(report, Withdraw(), stack.services, now=stack.now)
    return preliminary, final


def test_delivered_final_supersedes_the_waiting_preliminary(
    stack: Stack, both: tuple[Report, Report]
) -> None:
    preliminary, final = both
    assert stack.submit().report_ids == [final.report_id]
    assert stack.known(preliminary.report_id).state is State.PLANNED
    stack.runs.end(stack.known(final.report_id))
    stack.settle()
    assert stack.submit().report_ids == []
    assert stack.known(preliminary.report_id).state is State.SUPERSEDED
    assert stack.open() == []
    assert stack.announced() == []


def test_preliminary_is_submitted_when_the_final_fails(
    stack: Stack, both: tuple[Report, Report]
) -> None:
    preliminary, final = both
    stack.collect("EXPLODED")
    assert stack.known(final.report_id).state is State.FAILED
    (collected,) = stack.collect("SUCCESS")
    assert collected.report_id == preliminary.report_id


def test_planning_the_final_keeps_a_submitted_preliminary(stack: Stack) -> None:
    (preliminary,) = (each for each in plan_at(stack, [0, 3]) if each.revision is PRELIMINARY)
    stack.submit()
    planned = plan_at(stack, [0, 3], at=SCHEDULED + 3 * DAY)
    assert preliminary.window in [each.window for each in planned if each.revision is FINAL]
    stack.settle()
    assert stack.known(preliminary.report_id).state is State.SUBMITTED


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([3], [0, 3]),
        ([0], [0, 3]),
        ([0, 3], [3]),
        ([0, 1, 3], [0, 3]),
        ([0, 3], [0, 1, 3]),
        ([3], [1]),
        ([3], [5]),
        ([0, 3], [0, 1]),
    ],
    ids=str,
)
def test_changed_delays_lose_no_final_and_buy_nothing_twice(
    stack: Stack, before: list[int], after: list[int]
) -> None:
    asked_for: list[tuple[datetime, int]] = []
    finals: list[int] = []
    for days, delays in enumerate([before] * 2 + [after] * 5):
        at = SCHEDULED + days * DAY
        plan_at(stack, delays, at=at)
        collected = collect_all(stack)
        asked_for += [(each.window.start, each.delay_days) for each in collected]
        finals += [each.window.start.day for each in collected if each.revision is FINAL]
    assert len(set(asked_for)) == len(asked_for), "no window is bought twice as one revision"
    assert len(stack.created()) == len(asked_for)
    due_last = (at - after[-1] * DAY).day - 1
    assert sorted(finals) == list(range(21 - before[-1], due_last + 1))


def test_interrupted_first_run_loses_no_final(stack: Stack) -> None:
    for calls in range(13):
        of = definition(name=f"d{calls}", filters={"country": f"X{calls}"}, delay_days=[0, 3])
        seen = count()

        def fail_one_call(seen: Iterator[int] = seen, calls: int = calls, **_: Any) -> Any:
            return refusal_of_aws(500, "InternalServerError") if next(seen) == calls else None

        client = stack.services.ledger._client
        client.meta.events.register("before-call.dynamodb", fail_one_call)
        with contextlib.suppress(ClientError):
            plan([of], stack.services, at=SCHEDULED, now=stack.now)
        client.meta.events.unregister("before-call.dynamodb", fail_one_call)
        for days in (0, 4):
            stack.plan_definitions([of], at=SCHEDULED + days * DAY)
        finals = [
            each.window.start.day
            for each in stack.open()
            if each.definition == of.name and each.revision is FINAL
        ]
        assert sorted(finals) == list(range(18, 23))
    assert next(seen) < calls, "the last run did not break off"


def test_final_waits_for_an_open_preliminary_of_the_same_id(
    stack: Stack,
) -> None:
    plan_at(stack, [0, 3])
    stack.submit()
    at = SCHEDULED + 3 * DAY
    assert days_and_revisions(plan_at(stack, [3], at=at)) == [(19, FINAL), (20, FINAL)]
    for report in stack.open():
        if report.state is State.SUBMITTED:
            stack.runs.end(report)
    stack.settle()
    (waited,) = plan_at(stack, [3], at=at)
    assert days_and_revisions([waited]) == [(21, FINAL)]
    assert waited.state is State.PLANNED
    collect_all(stack)
    assert stack.known(waited.report_id).attempt == 2
