"""Windows that are collected more than once, and definitions whose delay_days change."""

import contextlib
import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from itertools import count, pairwise
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.integration.conftest import refusal_of_aws
from tests.support.stack import LIFETIME, SCHEDULED, Stack, definition
from vonage_reports.aws.definitions_source import WrittenDefinitions
from vonage_reports.aws.ledger import VersionConflict
from vonage_reports.domain.lifecycle import Convert, Withdraw
from vonage_reports.domain.objects import Precedence, dataset_key, manifest_key, receipt_key
from vonage_reports.domain.report import Report, Revision, State
from vonage_reports.domain.report import report_id as derived_id
from vonage_reports.domain.windows import Window
from vonage_reports.submit_reports.backfills import outlook
from vonage_reports.submit_reports.context import Invocation
from vonage_reports.submit_reports.execute import execute
from vonage_reports.submit_reports.plan import plan
from vonage_reports.submit_reports.relabel import relabel
from vonage_reports.submit_reports.reprocess import recollect
from vonage_reports_cli.status.model import histories_of
from vonage_reports_cli.status.sources import content_of

DAY = timedelta(days=1)


def plan_at(
    stack: Stack, delay_days: list[int], *, at: datetime = SCHEDULED, time_zone: str = "UTC"
) -> list[Report]:
    """Plan the due windows of a definition with these delays."""
    of = definition(delay_days=delay_days, time_zone=time_zone)
    planned = stack.plan_definitions([of], at=at)
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


@pytest.mark.parametrize(("before", "after"), [([0], [0, 3]), ([3], [3, 7])], ids=str)
def test_interrupted_run_that_sees_longer_delays_loses_no_final(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, before: list[int], after: list[int]
) -> None:
    plan_at(stack, before)
    collect_all(stack)

    def refuse(*_: object, **__: object) -> None:
        raise VersionConflict("another invocation was faster")

    with monkeypatch.context() as patch:
        patch.setattr(stack.services.ledger, "record_delays", refuse)
        plan_at(stack, after, at=SCHEDULED + DAY)
    collect_all(stack)
    stack.simulator.advance(12 * DAY.total_seconds())  # Vonage refuses windows in the future
    for days in range(2, 12):
        plan_at(stack, after, at=SCHEDULED + days * DAY)
        collect_all(stack)
    finals = sorted(each.window.start for each in finished(stack) if each.revision is FINAL)
    assert finals == [finals[0] + number * DAY for number in range(len(finals))]
    assert finals[-1] == SCHEDULED.replace(hour=0, minute=0) + (11 - after[-1] - 1) * DAY


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


def relabel_once(stack: Stack) -> None:
    done = relabel(
        stack.services.ledger.open_work(),
        stack.services,
        Invocation("one", lambda: LIFETIME),
        clock=lambda: stack.now,
    )
    assert done.errors == []


def make_final(stack: Stack) -> list[dict[str, Any]]:
    """Relabel until nothing is left, and end the runs. Return the inputs of the runs."""
    inputs = []
    while stack.services.ledger.open_work().relabellings:
        relabel_once(stack)
        converting = [each for each in stack.open() if each.state is State.CONVERTING]
        inputs += [json.loads(each.execution_input or "") for each in converting]
        for report in converting:
            stack.runs.end(report)
        stack.settle()
    return inputs


def finished(stack: Stack) -> list[Report]:
    """Return all reports, which are delivered."""
    reports, _ = stack.services.ledger.reports_between(
        "d0", SCHEDULED - 60 * DAY, SCHEDULED + 9 * DAY
    )
    assert {each.state for each in reports} == {State.DELIVERED}
    return reports


def collect_daily(stack: Stack, *delay_days: list[int], since: datetime = SCHEDULED) -> None:
    """Plan and collect on successive days, each day with its delays."""
    for days, delays in enumerate(delay_days):
        plan_at(stack, delays, at=since + days * DAY)
        collect_all(stack)


@pytest.mark.parametrize(
    ("before", "after", "days"),
    [([0, 3], [0], [21, 22]), ([0, 1, 3], [0, 1], [20, 21]), ([0, 5], [0], [21, 22])],
    ids=str,
)
def test_shortened_delays_make_the_last_deliveries_final(
    stack: Stack, before: list[int], after: list[int], days: list[int]
) -> None:
    collect_daily(stack, before, before)
    collected = {each.window for each in finished(stack)}
    planned = plan_at(stack, after, at=SCHEDULED + DAY)
    assert collected.isdisjoint(each.window for each in planned)
    collect_all(stack)
    bought = len(stack.created())

    inputs = make_final(stack)

    converted = [(int(each["window"]["start"][8:10]), each["revision"]) for each in inputs]
    assert sorted(converted) == [(day, "final") for day in days]
    assert {(each["entry"], each["relabelled"], each["announce"]) for each in inputs} == {
        ("convert", True, True)
    }
    assert len(stack.created()) == bought
    finals = {each.window for each in finished(stack) if each.revision is FINAL}
    # A window whose last revision is not due yet stays preliminary.
    assert {each.start.day for each in collected - finals} == ({22} if after == [0, 1] else set())


def test_relabelling_accepts_what_the_delivery_accepted(stack: Stack) -> None:
    collect_daily(stack, [0, 3], [0, 3])
    *_, last = finished(stack)
    accepting = Convert((receipt_key(last),), accept=("row_count",))
    stack.runs.end(execute(last, accepting, stack.services, now=stack.now))
    stack.settle()
    plan_at(stack, [0], at=SCHEDULED + DAY)
    collect_all(stack)

    inputs = make_final(stack)

    accepted = {each["report_id"]: each["accept"] for each in inputs}
    assert accepted.pop(last.report_id) == ["row_count"]
    assert set(map(tuple, accepted.values())) == {()}


def test_conflict_does_not_end_a_relabelling(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The window would stay preliminary for ever."""
    collect_daily(stack, [0, 3], [0])

    def refuse(*_: object, **__: object) -> None:
        raise VersionConflict("another invocation was faster")

    with monkeypatch.context() as patch:
        patch.setattr("vonage_reports.submit_reports.relabel.execute", refuse)
        for _ in range(3):
            relabel_once(stack)
    assert [each["window"]["start"][8:10] for each in make_final(stack)] == ["21"]


def test_restored_delays_buy_no_relabelled_window_again(stack: Stack) -> None:
    collect_daily(stack, [0, 3], [0, 3], [0], [0])
    make_final(stack)
    stack.simulator.advance(9 * DAY.total_seconds())  # Vonage refuses windows in the future
    collect_daily(stack, *[[0, 3]] * 5, since=SCHEDULED + 4 * DAY)
    assert make_final(stack) == []
    by_delay = {
        (days, revision): sorted(
            each.window.start.day
            for each in finished(stack)
            if (each.delay_days, each.revision) == (days, revision)
        )
        for days, revision in ((0, FINAL), (0, PRELIMINARY), (3, FINAL))
    }
    # From the 22nd to the 25th, delay 0 was final.
    assert by_delay == {
        (0, FINAL): [20, 21, 22, 23, 24],
        (0, PRELIMINARY): [25, 26, 27, 28, 29],
        (3, FINAL): [18, 19, 25, 26],
    }


def test_delays_that_an_earlier_version_planned_are_shortened_too(stack: Stack) -> None:
    collect_daily(stack, [0, 3], [0])
    # Version 0.1 recorded no delays.
    table = boto3.resource("dynamodb").Table("ledger")
    for item in table.scan()["Items"]:
        if "delays" in item:
            del item["delays"]
            table.put_item(Item=item)
        elif str(item["sk"]).startswith("relabelling#"):
            table.delete_item(Key={"pk": item["pk"], "sk": item["sk"]})

    plan_at(stack, [0], at=SCHEDULED + DAY)

    assert [each["window"]["start"][8:10] for each in make_final(stack)] == ["21"]


def test_delays_restored_at_once_still_make_deliveries_final(stack: Stack) -> None:
    collect_daily(stack, [0, 3], [0, 3], [0], [0, 3], [0, 3])
    assert {each["window"]["start"][8:10] for each in make_final(stack)} == {"21", "22"}


@pytest.mark.parametrize("is_submitted", [True, False], ids=["submitted", "planned"])
def test_open_preliminary_is_delivered_as_final(stack: Stack, *, is_submitted: bool) -> None:
    collect_daily(stack, [0, 3])
    planned = plan_at(stack, [0, 3], at=SCHEDULED + DAY)
    if is_submitted:
        stack.submit()
    plan_at(stack, [0], at=SCHEDULED + DAY)
    relabel_once(stack)
    marked = [stack.known(each.report_id) for each in planned]
    assert [each.revision for each in marked] == [FINAL, FINAL]
    # The run of a submitted report was started as preliminary, so it is converted once more.
    for _ in range(3):
        stack.submit()
        for report in stack.open():
            stack.runs.end(report)
        stack.settle()
    assert [each.revision for each in finished(stack)] == [FINAL] * len(finished(stack))
    relabelled = {each.window.start.day for each in finished(stack) if each.relabelled}
    assert relabelled == ({21, 22} if is_submitted else {21})
    assert len(stack.created()) == len(finished(stack))


def test_manifest_of_a_preliminary_run_is_not_announced_as_final(stack: Stack) -> None:
    collect_daily(stack, [0, 3])
    planned = plan_at(stack, [0, 3], at=SCHEDULED + DAY)
    stack.submit()
    plan_at(stack, [0], at=SCHEDULED + DAY)
    relabel_once(stack)
    (report,) = (stack.known(each.report_id) for each in planned if each.delay_days == 0)
    # Its run died between its manifest and its notification.
    bucket = stack.services.bucket
    bucket.write_json(receipt_key(report), {})
    bucket.replace_json(manifest_key(report), {}, Precedence(0, "", 1, report.run))
    stack.runs.end(report, "States.TaskFailed")
    stack.settle()

    resumed = json.loads(stack.known(report.report_id).execution_input or "")

    assert (resumed["entry"], resumed["revision"]) == ("convert", "final")


@pytest.mark.parametrize("error", [None, "RowsMismatch"], ids=["delivered", "failed"])
def test_final_that_was_planned_before_stays_the_final(stack: Stack, error: str | None) -> None:
    collect_daily(stack, [0, 3], [0, 3], [0, 3])
    planned = plan_at(stack, [0, 3], at=SCHEDULED + 3 * DAY)
    (final,) = (each for each in planned if each.revision is FINAL)
    plan_at(stack, [0], at=SCHEDULED + 3 * DAY)
    relabel_once(stack)
    name = derived_id(
        definition="d0", account_id=final.account_id, window=final.window, delay_index=0
    )
    assert stack.known(name).state is State.DELIVERED, "the final may be delivered"
    stack.submit()
    for report in stack.open():
        stack.runs.end(report, error if report.report_id == final.report_id else None)
    stack.settle()
    make_final(stack)
    # Only the last revision of a window is final.
    assert stack.known(name).revision is (PRELIMINARY if error is None else FINAL)
    assert len(stack.created()) == 3 * 2 + 2


def test_failed_preliminary_is_collected_again_as_final(stack: Stack) -> None:
    collect_daily(stack, [0, 3])
    planned = plan_at(stack, [0, 3], at=SCHEDULED + DAY)
    (failed,) = (each for each in planned if each.revision is PRELIMINARY)
    stack.submit()
    for report in stack.open():
        stack.runs.end(report, "RowsMismatch" if report.report_id == failed.report_id else None)
    stack.settle()
    collect_daily(stack, [0], since=SCHEDULED + 2 * DAY)
    make_final(stack)
    recollect(failed.report_id, "failure-1", stack.services, now=stack.now)
    collect_all(stack)
    assert {each.revision for each in finished(stack)} == {FINAL}


def test_relabelling_is_done_in_small_steps(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vonage_reports.submit_reports.relabel.AT_ONCE", 2)
    monkeypatch.setattr("vonage_reports.submit_reports.relabel._EXAMINED_AT_ONCE", 3)
    collect_daily(stack, *[[0, 5]] * 5)
    plan_at(stack, [0], at=SCHEDULED + 4 * DAY)
    steps = 0
    while stack.services.ledger.open_work().relabellings:
        relabel_once(stack)
        relabel_once(stack)
        converting = [each for each in stack.open() if each.state is State.CONVERTING]
        assert len(converting) <= 2
        for report in converting:
            stack.runs.end(report)
        stack.settle()
        steps += 1
    assert steps == 4


@pytest.mark.parametrize("hours", [-1, 1], ids="{:+}h".format)
def test_nothing_is_bought_twice_when_local_midnight_moves(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    def rules(offset: int) -> None:
        zone = timezone(timedelta(hours=offset))
        monkeypatch.setattr("vonage_reports.domain.windows.ZoneInfo", lambda _: zone)

    planned: list[Report] = []
    keys: dict[tuple[Revision, Window], str] = {}
    for days in range(9):
        rules(0 if days < 2 else hours)
        at = SCHEDULED + days * DAY
        new = plan_at(stack, [0, 3], at=at, time_zone="Europe/London")
        keys |= {(each.revision, each.window): dataset_key(each) for each in new}
        planned += new
    by_revision = {
        revision: sorted(
            (each.window for each in planned if each.revision is revision),
            key=lambda window: window.start,
        )
        for revision in (PRELIMINARY, FINAL)
    }
    for windows in by_revision.values():
        assert all(one.end == following.start for one, following in pairwise(windows))
    begin = by_revision[PRELIMINARY][0].start
    finals = [window for window in by_revision[FINAL] if window.start >= begin]
    assert finals == by_revision[PRELIMINARY][: len(finals)]
    assert len(finals) >= 3, "among them are the windows around the change"
    assert all(keys[FINAL, window] == keys[PRELIMINARY, window] for window in finals)

    stack.now = SCHEDULED + 9 * DAY
    of = definition(delay_days=[0, 3], time_zone="Europe/London")
    asked = stack.backfill(of, date(2026, 11, 21), date(2026, 11, 25))
    assert outlook(asked, stack.services)["reports"] == 0
    (status,) = histories_of(
        content_of(
            stack.services.ledger,
            WrittenDefinitions(
                json.dumps(
                    [
                        {
                            "name": "d0",
                            "product": "VERIFY-V2",
                            "time_zone": "Europe/London",
                            "delay_days": [0, 3],
                        }
                    ]
                ),
                stack.now,
                "the parameter",
            ),
            as_of=stack.now,
        )
    )
    assert [status.missing(account) for account in status.accounts] == [[]]
