"""The verbs of `vonage-reports` that act: the real submit_reports, with AWS in moto."""

import json
import os
import pty
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from tests.support.acting import HandledStack, Program, program_on, without_outlooks
from tests.support.handlers import Handler
from tests.support.schemas import document_of
from tests.support.stack import SCHEDULED, Stack, definition
from vonage_reports.aws.step_functions import Executions
from vonage_reports.domain.acceptance import Acceptable, advice
from vonage_reports.domain.decisions import Execution
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.report import Report, State
from vonage_reports_cli.status.sources import content_of
from vonage_reports_cli.status.summary import status_of

UNKNOWN = "d0-20261118T0000Z-000000000000"
DEFINITIONS = [
    {"name": f"d{number}", "product": "VERIFY-V2", "filters": {"country": f"X{number}"}}
    for number in range(3)
]


@pytest.fixture
def sent() -> list[dict[str, Any]]:
    """The events that the program sends."""
    return []


@pytest.fixture
def program(
    handler: Handler,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sent: list[dict[str, Any]],
) -> Program:
    handler.define(*DEFINITIONS)
    return program_on(handler, monkeypatch, capsys, sent, {"PricePerRecord": "0.04 EUR"})


def delivered(stack: Stack, count: int = 1) -> list[str]:
    """Return delivered windows, each with one stored archive."""
    stack.plan(count)
    reports = stack.collect(*["SUCCESS"] * count)
    for report in reports:
        stack.services.bucket.write_json(receipt_key(report), {})
    return sorted(report.report_id for report in reports)


def spoil(stack: Stack, name: str) -> None:
    """Make the item of a finished report unreadable."""
    table = boto3.resource("dynamodb").Table("ledger")
    (item,) = (each for each in stack.table() if each["sk"] == name)
    table.put_item(Item={**item, "state": "UNKNOWN"})


def failed(stack: Stack, error: str, reason: str | None = None) -> str:
    """Return a window whose run failed for good. Its archive is stored."""
    stack.plan()
    stack.simulator.fault("create", "outcome", request_status="SUCCESS", seconds=0)
    (name,) = stack.submit().report_ids
    report = stack.known(name)
    stack.until_vonage_has_ended(report)
    stack.services.bucket.write_json(receipt_key(report), {})
    stack.runs.end(report, error, reason=reason)
    assert stack.settle() == [name]
    assert stack.known(name).state is State.FAILED
    return name


def held(stack: Stack) -> str:
    """Return a window that is held for the first time."""
    stack.plan()
    stack.simulator.fault("create", "accept_then_cut")
    stack.submit()
    stack.simulator.fault("list", "status", status=404, times=1)
    stack.later(minutes=10)
    (name,) = stack.submit().held
    return name


def finish(stack: Stack, name: str) -> None:
    """Let the run of a submitted report end."""
    report = stack.known(name)
    stack.runs.start(report)
    stack.services.bucket.write_json(receipt_key(report), {})
    stack.runs.end(report)
    stack.settle()


def test_pasted_recollect_buys_once(stack: Stack, program: Program) -> None:
    (name,) = delivered(stack)

    first = program("recollect", name, "--yes")
    while_unfinished = program("recollect", name, "--yes")
    finish(stack, name)
    after_delivery = program("recollect", name, "--yes")

    assert (first.code, while_unfinished.code, after_delivery.code) == (0, 2, 2)
    assert "which is unfinished" in while_unfinished.err
    assert "add --again" in after_delivery.err
    assert len(stack.created()) == 2


def test_recollect_of_a_failure_needs_again_after_its_delivery(
    stack: Stack, program: Program
) -> None:
    name = failed(stack, "ArchiveCorrupt")

    assert program("recollect", name, "--yes").code == 0
    finish(stack, name)
    again = program("recollect", name, "--yes")

    assert (again.code, len(stack.created())) == (2, 2)
    assert "add --again" in again.err


def test_recollect_again_buys_once_more(stack: Stack, program: Program) -> None:
    (name,) = delivered(stack)
    program("recollect", name, "--yes")
    finish(stack, name)

    assert program("recollect", name, "--again", "--yes").code == 0
    assert program("recollect", name, "--again", "--yes").code == 2
    assert len(stack.created()) == 3


def test_recollect_after_a_withdrawal_is_followed(stack: Stack, program: Program) -> None:
    (name,) = delivered(stack)
    for _ in range(2):
        stack.simulator.jobs(5, 60)
        assert program("recollect", name, "--yes").code == 0
        assert stack.known(name).state is State.PLANNED
        assert program("withdraw", name, "--yes").code == 0


def test_preview_shows_the_bill_so_far_and_changes_nothing(
    stack: Stack, program: Program, sent: list[dict[str, Any]]
) -> None:
    first, second = delivered(stack, 2)
    day = stack.known(first).window.first_date
    before = stack.table()

    shown = program("recollect", first, second, first, "--dry-run")

    assert (shown.code, shown.err) == (0, "")
    source, effect, *lines = shown.out.splitlines()
    assert source.startswith("stack usage, account 123456789012, eu-west-1, as of ")
    assert effect.startswith("Requests these windows again.")
    assert [line.strip() for line in lines[:8:4]] == [first, second]
    assert lines[1].strip() == f"VERIFY-V2 of abcd1234, {day}, DELIVERED"
    assert lines[2].strip() == "billed so far: about 10 records (0.40 EUR), in 1 request"
    assert lines[3].strip() == "this is going to bill about 10 records (0.40 EUR)"
    assert lines[-1] == "In all, this is going to bill about 20 records (0.80 EUR)."
    assert without_outlooks(sent) == []
    assert stack.table() == before


def test_refused_id_does_not_stop_the_others(stack: Stack, program: Program) -> None:
    (name,) = delivered(stack)

    ended = program("recollect", UNKNOWN, name, "--yes")

    assert ended.code == 2
    assert f"{UNKNOWN}: the stack usage has no such report" in ended.err
    assert f"{name}: requested from Vonage" in ended.out
    assert f"Next: vonage-reports --stack usage show {name}" in ended.err
    assert len(stack.created()) == 2


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["", "json"])
def test_nothing_is_sent_without_an_answer(
    stack: Stack, program: Program, sent: list[dict[str, Any]], options: list[str]
) -> None:
    (name,) = delivered(stack)

    ended = program("recollect", name, *options)

    assert ended.code == 2
    assert "add --yes" in ended.err
    assert without_outlooks(sent) == []


def test_unreachable_aws_stops_the_others(
    stack: Stack, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = delivered(stack, 2)

    def refuse(*_: object) -> None:
        raise EndpointConnectionError(endpoint_url="https://lambda.eu-west-1.amazonaws.com")

    monkeypatch.setattr(HandledStack, "send", refuse)
    ended = program("reconvert", *names, "--yes")

    assert ended.code == 4
    assert "AWS cannot be reached" in ended.err
    assert "may have been carried out all the same" in ended.err
    assert "1 more events were not sent" in ended.err


@pytest.mark.parametrize(("status", "is_doubtful"), [(400, False), (500, True)])
def test_error_of_lambda_may_hide_a_purchase(
    stack: Stack,
    program: Program,
    monkeypatch: pytest.MonkeyPatch,
    *,
    status: int,
    is_doubtful: bool,
) -> None:
    (name,) = delivered(stack)

    def refuse(*_: object) -> None:
        answer: Any = {
            "Error": {"Code": "ServiceException", "Message": "x"},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }
        raise ClientError(answer, "Invoke")

    monkeypatch.setattr(HandledStack, "send", refuse)
    ended = program("reconvert", name, "--yes")

    assert ("may have been carried out all the same" in ended.err) is is_doubtful
    # Only recollect has this option.
    assert "--again" not in ended.err


def test_unreadable_report_does_not_stop_the_others(stack: Stack, program: Program) -> None:
    name, spoiled = delivered(stack, 2)
    spoil(stack, spoiled)

    ended = program("recollect", spoiled, name, "--yes")
    resolved = program("resolve", spoiled, "--not-there", "--yes")

    assert (ended.code, "defect" in ended.err) == (1, False)
    assert f"{name}: requested from Vonage" in ended.out
    assert (resolved.code, "cannot be read" in resolved.err) == (1, True)


def test_object_with_a_byte_order_mark_is_read(program: Program, tmp_path: Path) -> None:
    text = json.dumps([{"name": "verify", "product": "VERIFY-V2"}], indent=2)
    key = "definitions/report-definitions.json"
    boto3.client("s3").put_object(Bucket="reports", Key=key, Body=f"\ufeff{text}".encode())
    (tmp_path / "d.json").write_text(text)

    ended = program("definitions", "diff", str(tmp_path / "d.json"))

    assert (ended.code, ended.err) == (0, "")


def test_error_of_another_report_is_a_note(stack: Stack, program: Program) -> None:
    (name,) = delivered(stack)
    garbled = {"pk": "open", "sk": f"report#{UNKNOWN}", "state": "garbled"}
    boto3.resource("dynamodb").Table("ledger").put_item(Item=garbled)

    ended = program("reconvert", name, "--yes")

    assert ended.code == 0
    assert "beside this, of another report: " in ended.err


def test_reconvert_is_free_and_accepts(
    stack: Stack, program: Program, sent: list[dict[str, Any]]
) -> None:
    (name,) = delivered(stack)

    ended = program("reconvert", name, "--accept", "missing_columns, row_count", "--yes")

    assert ended.code == 0
    assert "This is free" in ended.out
    assert "these imperfections: row_count, missing_columns" in ended.out
    accept = ["row_count", "missing_columns"]
    assert sent == [{"reconvert": {"report_id": name, "accept": accept}}]
    assert stack.known(name).state is State.CONVERTING
    assert len(stack.created()) == 1


def test_unfinished_report_is_not_converted(stack: Stack, program: Program) -> None:
    (name,) = delivered(stack)
    program("reconvert", name, "--yes")

    ended = program("reconvert", name, "--yes")

    assert (ended.code, "CONVERTING, which is unfinished" in ended.err) == (2, True)


def test_range_is_converted_with_what_was_accepted(
    stack: Stack, program: Program, sent: list[dict[str, Any]]
) -> None:
    (name,) = delivered(stack)
    report = stack.known(name)
    ledger = stack.services.ledger
    ledger.write(report, replace(report, accept=(Acceptable.UNREADABLE_ROWS,)))
    first = report.window.first_date
    dates = ["--from", str(first), "--until", str(report.window.end.date())]

    ended = program("reconvert", "d0", *dates, "--accept", "row_count", "--yes")

    assert ended.code == 0
    accept = ["row_count", "unreadable_rows"]
    assert sent == [{"reconvert": {"report_id": name, "accept": accept}}]


def test_range_leaves_out_windows_without_archives(stack: Stack, program: Program) -> None:
    name = failed(stack, "ArchiveCorrupt")
    window = stack.known(name).window
    dates = ["--from", str(window.first_date), "--until", str(window.end.date())]
    stored = program("reconvert", "d0", *dates, "--dry-run")
    key = receipt_key(stack.known(name))
    stack.services.bucket.client.delete_object(Bucket="reports", Key=key)

    missing = program("reconvert", "d0", *dates, "--dry-run")

    assert (stored.code, name in stored.out) == (0, True)
    assert (missing.code, "d0 has no delivered or stored window" in missing.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["nope", "--from", "2026-11-01", "--until", "2026-11-02"],
            "no such definition; it has d0",
        ),
        (["d0", "d1", "--from", "2026-11-01", "--until", "2026-11-02"], "take one DEFINITION"),
        (["d0", "--from", "2026-11-02", "--until", "2026-11-02"], "is not after --from"),
        (["d0", "--from", "2026-11-02"], "--from and --until belong together"),
        (["d0", "--from", "2.11.2026", "--until", "2026-11-03"], "is no date"),
        (["d0"], "no such report"),
        (["d0", "--accept", "rows"], "not 'rows'"),
    ],
)
def test_wrong_reconvert_is_one_sentence(
    stack: Stack, program: Program, arguments: list[str], says: str
) -> None:
    delivered(stack)

    ended = program("reconvert", *arguments, "--yes")

    assert ended.code == 2
    assert says in ended.err
    assert len(ended.err.splitlines()) == 1


def test_found_request_resolves_a_hold_for_free(
    stack: Stack, program: Program, sent: list[dict[str, Any]]
) -> None:
    name = held(stack)
    (request,) = stack.created()

    shown = program("resolve", name, "--found", request["request_id"], "--yes")

    assert shown.code == 0
    assert "held for the 1st time: " in shown.out
    assert "this is free" in shown.out
    answer = {"report_id": name, "request_id": request["request_id"], "hold": 1}
    assert sent == [{"resolve": answer}]
    assert stack.known(name).state is State.SUBMITTED
    assert len(stack.created()) == 1


def test_absent_request_is_bought_once(stack: Stack, program: Program) -> None:
    name = held(stack)

    first = program("resolve", name, "--not-there", "--yes")
    second = program("resolve", name, "--not-there", "--yes")

    assert (first.code, second.code) == (0, 2)
    assert "If Vonage has the held request after all, it bills both" in first.out
    assert "not held. There is nothing to answer" in second.err


def test_answer_to_an_earlier_hold_is_refused(stack: Stack, program: Program) -> None:
    name = held(stack)

    ended = program("resolve", name, "--not-there", "--hold", "2", "--yes")

    assert ended.code == 2
    assert f"hold 2 of {name} is over" in ended.err
    assert stack.known(name).state is State.HELD


@pytest.mark.parametrize(
    "options", [[], ["--found", "r", "--not-there"], ["--found", ""], ["--found", "..", "-y"]]
)
def test_resolve_takes_one_answer(
    stack: Stack, program: Program, sent: list[dict[str, Any]], options: list[str]
) -> None:
    name = held(stack)

    ended = program("resolve", name, *options)

    assert (ended.code, len(ended.err.splitlines()), sent) == (2, 1, [])


def test_request_of_another_window_is_refused(stack: Stack, program: Program) -> None:
    name = held(stack)

    ended = program("resolve", name, "--found", "no-such-request", "--yes")

    assert ended.code == 2
    assert "Vonage has no request no-such-request" in ended.err


def planned(stack: Stack) -> str:
    (name,) = stack.plan()
    return name


def submitted(stack: Stack) -> str:
    stack.plan()
    stack.simulator.fault("create", "outcome", request_status="SUCCESS", seconds=3600)
    (name,) = stack.submit().report_ids
    return name


def refused(stack: Stack) -> str:
    """Return a window whose product Vonage does not know, so that it failed."""
    (name,) = stack.plan()
    stack.simulator.fault("create", "status", status=422)
    stack.submit()
    return name


def test_refusal_of_a_definition_names_the_way_out(stack: Stack, program: Program) -> None:
    name = refused(stack)

    shown = program("retry", "--dry-run")
    (told,) = (each for each in stack.announced() if each["event"] == "report.failed")

    assert f"  {name}\n" in shown.out
    for said in (shown.out, json.dumps(told)):
        assert "`definitions edit`" in said
        assert "under a new name" in said
        assert "`withdraw`" in said


def test_failed_recollection_is_withdrawn_and_its_earlier_delivery_stays(
    stack: Stack, program: Program
) -> None:
    (name,) = delivered(stack)
    stack.simulator.fault("create", "status", status=422)
    program("recollect", name, "--yes")
    assert stack.known(name).state is State.FAILED

    ended = program("withdraw", name, "--yes")

    assert ended.code == 0
    assert "the earlier delivery stays" in ended.out
    assert stack.known(name).delivered_from


@pytest.mark.parametrize(
    ("make", "consequence"),
    [
        (planned, "ends now, and Vonage is not asked for it"),
        (refused, "counts as failed no more, and its window not as missing"),
        (submitted, "Vonage is asked to stop it"),
        (held, "If Vonage has the request, it has billed it"),
    ],
)
def test_withdrawal_says_its_consequence_and_ends(
    stack: Stack, program: Program, make: Callable[[Stack], str], consequence: str
) -> None:
    name = make(stack)

    first = program("withdraw", name, "--yes")
    second = program("withdraw", name, "--yes")

    assert (first.code, second.code) == (0, 0)
    assert consequence in first.out
    assert f"{name}: ended as CANCELLED" in first.out
    assert "is withdrawn already" in second.out
    assert stack.known(name).state is State.CANCELLED


def test_account_that_vonage_refuses_is_withdrawn_by_the_command_of_status(
    stack: Stack, program: Program
) -> None:
    stack.simulator.settings(forbidden_accounts=["foreign1"])
    stack.now = stack.now.replace(hour=12, minute=0, second=0, microsecond=0)
    of = definition(account_ids=["foreign1", "abcd1234"], delay_days=[0])
    for days in (4, 3, 2):
        stack.plan_definitions([of], stack.now - timedelta(days=days))
    while len({each.state for each in stack.open()}) < 2 or any(
        each.denied_since is None for each in stack.open() if each.account_id == "foreign1"
    ):
        stack.submit()
    refused = [each for each in stack.open() if each.account_id == "foreign1"]
    others = [each for each in stack.open() if each.account_id != "foreign1"]
    assert len(refused) == 3
    services = stack.services
    content = content_of(services.ledger, services.definitions, as_of=stack.now)
    (problem,) = [each for each in status_of(content).problems if each.kind == "refused"]
    (command,) = problem.commands("usage")
    arguments = shlex.split(command)[3:]

    previewed = program(*arguments, "--dry-run")
    ended = program(*arguments, "--yes")
    again = program(*arguments, "--yes")

    assert "d0, foreign1: 3 reports of windows from" in previewed.out
    assert "3 PLANNED, for each: ends now, and Vonage is not asked for it" in previewed.out
    assert [each.code for each in (previewed, ended, again)] == [0, 0, 0]
    assert "d0, foreign1: 3 reports ended as CANCELLED" in ended.out
    assert "no open or failed report" in again.out
    assert {stack.known(each.report_id).state for each in refused} == {State.CANCELLED}
    assert all(stack.known(each.report_id).withdrawn_at for each in refused)
    assert {stack.known(each.report_id).withdrawn_at for each in others} == {None}


@pytest.mark.parametrize(
    "arguments",
    [
        ["d0", "--account", "foreign1"],
        ["d0", "--from", "2026-11-01", "--until", "2026-11-02"],
        ["d0", "d1", "--account", "a", "--from", "2026-11-01", "--until", "2026-11-02"],
        ["d0", "--account", "a", "--from", "2026-11-02", "--until", "2026-11-02"],
        ["unknown", "--account", "a", "--from", "2026-11-01", "--until", "2026-11-02"],
    ],
)
def test_wrong_range_to_withdraw_is_one_sentence(
    program: Program, sent: list[dict[str, Any]], arguments: list[str]
) -> None:
    ended = program("withdraw", *arguments, "--yes")

    assert (ended.code, ended.err.count("\n"), sent) == (2, 1, [])


def test_withdrawal_that_vonage_does_not_confirm_asks_for_a_person(
    stack: Stack, program: Program
) -> None:
    name = submitted(stack)
    stack.simulator.fault("cancel", "status", status=503, times=None)

    ended = program("withdraw", name, "--yes")

    assert ended.code == 1
    assert f"withdraw: {name} is not ended" in ended.err


def test_withdrawal_of_windows_says_how_many_it_ended(
    stack: Stack, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.now = stack.now.replace(hour=12, minute=0, second=0, microsecond=0)
    for days in (4, 3, 2):
        stack.plan_definitions([definition(delay_days=[0])], stack.now - timedelta(days=days))
    stack.submit()
    names = sorted(each.report_id for each in stack.open())
    describe = Executions.describe
    throttled: Any = {"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}
    unknown: list[str] = list(names)

    def throttle(self: Executions, report: Report) -> Execution:
        if report.report_id in unknown:
            raise ClientError(throttled, "DescribeExecution")
        return describe(self, report)

    monkeypatch.setattr(Executions, "describe", throttle)
    since, until = (str(stack.now.date() - timedelta(days=each)) for each in (9, 0))
    arguments = ("d0", "--account", "abcd1234", "--from", since, "--until", until, "--yes")

    none = program("withdraw", *arguments)
    del unknown[0]
    one = program("withdraw", *arguments)

    assert (none.code, one.code) == (1, 1)
    assert "d0, abcd1234: 0 reports ended as CANCELLED" in none.out
    for name in names:
        assert f"withdraw: {name} is not ended: " in none.err
    assert "d0, abcd1234: 1 report ended as CANCELLED" in one.out
    assert names[0] not in one.err
    assert stack.known(names[0]).state is State.CANCELLED
    assert stack.known(names[1]).state is State.SUBMITTED


def test_withdrawal_of_windows_names_what_it_cannot_read(stack: Stack, program: Program) -> None:
    (name,) = delivered(stack)
    spoil(stack, name)
    arguments = ("d0", "--account", "abcd1234", "--from", "2026-11-01", "--until", "2026-12-01")

    alone = program("withdraw", *arguments, "--dry-run")
    stack.plan(at=SCHEDULED + timedelta(days=1))
    beside = program("withdraw", *arguments, "--dry-run")

    assert (alone.code, beside.code) == (1, 0)
    assert f"cannot be read: {name}" in alone.err
    assert f"cannot be read: {name}" in beside.out


def test_finished_report_is_not_withdrawn(stack: Stack, program: Program) -> None:
    (name,) = delivered(stack)

    ended = program("withdraw", name, "--yes")

    assert (ended.code, "DELIVERED, which is finished" in ended.err) == (2, True)


def days(stack: Stack, since: int, until: int) -> list[str]:
    return ["--from", str(stack.day(since)), "--until", str(stack.day(until))]


def test_backfill_is_previewed_and_begins_once(
    stack: Stack, program: Program, sent: list[dict[str, Any]]
) -> None:
    arguments = ["backfill", "d1", *days(stack, 30, 10)]

    shown = program(*arguments, "--dry-run")
    begun = program(*arguments, "--yes")
    again = program(*arguments, "--yes")

    assert (shown.code, begun.code, again.code) == (0, 0, 0)
    assert ": 20 windows, from " in shown.out
    assert "requests 20 reports from Vonage" in shown.out
    assert "billed so far: nothing\n    this is going to bill an unknown number" in shown.out
    assert "planned: d1-" in begun.out
    assert "runs already. 0 of 20 windows are over" in again.out
    assert len(without_outlooks(sent)) == 1


def test_delivered_windows_are_left_out_of_a_backfill(stack: Stack, program: Program) -> None:
    (name,) = delivered(stack)
    window = stack.known(name).window
    dates = ["--from", str(window.first_date), "--until", str(window.end.date())]

    ended = program("backfill", "d0", *dates)

    assert ended.code == 0
    assert "all of its 1 window are delivered or under way" in ended.out


def test_expensive_backfill_needs_a_second_yes(
    stack: Stack, program: Program, sent: list[dict[str, Any]]
) -> None:
    (name,) = delivered(stack)
    report = stack.known(name)
    # MaxBilledRecords is 10,000.
    stack.services.ledger.write(report, replace(report, rows=50_000))
    arguments = ["backfill", "d0", *days(stack, 60, 30), "--yes"]

    refused = program(*arguments)
    confirmed = program(*arguments, "--confirm-cost")

    assert (refused.code, confirmed.code) == (2, 0)
    assert "add --confirm-cost" in refused.err
    assert "send the event again" not in refused.err
    *_, last = without_outlooks(sent)
    assert last["backfill"]["confirm"] is True
    assert stack.services.ledger.open_work().backfills


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["d0", "--from", "2026-02-02", "--until", "2026-02-01"], "is not after --from"),
        (["d0", "--from", "2026-02-30", "--until", "2026-03-01"], "is no date"),
        (["d0", "--from", "2026-02-01"], "Missing option '--until'"),
        (["nope", "--from", "2026-10-01", "--until", "2026-10-02"], "named nope"),
        (["d0", "--from", "2019-01-01", "--until", "2019-01-02"], "2019-01-01 is too early"),
        (["d0", "--from", "2026-10-01", "--until", "2099-01-01"], "is in the future"),
    ],
)
def test_wrong_backfill_is_one_sentence(
    program: Program, sent: list[dict[str, Any]], arguments: list[str], says: str
) -> None:
    ended = program("backfill", *arguments, "--yes")

    assert ended.code == 2
    assert says in ended.err
    assert len(ended.err.splitlines()) == 1
    assert without_outlooks(sent) == []


def test_cancel_says_what_stays_uncollected(stack: Stack, program: Program) -> None:
    program("backfill", "d1", *days(stack, 30, 10), "--yes")
    (running,) = stack.services.ledger.open_work().backfills

    cancelled = program("cancel", running.name, "--yes")
    unknown = program("cancel", "d1-20200101-20200201", "--yes")

    assert (cancelled.code, unknown.code) == (0, 2)
    assert "16 windows are not planned any more" in cancelled.out
    assert "4 reports in flight are finished" in cancelled.out
    assert "there is no backfill 'd1-20200101-20200201'. Running backfills: none" in unknown.err
    assert stack.services.ledger.open_work().backfills == ()


def test_retry_mends_each_failure_by_its_own_way(
    stack: Stack, program: Program, sent: list[dict[str, Any]]
) -> None:
    reason = f"the archive has unreadable rows. {advice(['row_count'])}"
    name = failed(stack, "RowsUnreadable", reason)

    ended = program("retry", "--yes")

    assert ended.code == 0
    assert "failed: RowsUnreadable: the archive has unreadable" in ended.out
    assert sent == [{"reconvert": {"report_id": name, "accept": ["row_count"]}}]


def test_retry_buys_what_has_no_archive(
    stack: Stack, program: Program, sent: list[dict[str, Any]]
) -> None:
    name = failed(stack, "ArchiveCorrupt")

    ended = program("retry", "--yes")

    assert ended.code == 0
    assert without_outlooks(sent) == [{"recollect": {"report_id": name, "token": "failure-1"}}]
    assert len(stack.created()) == 2


def test_retry_leaves_what_would_fail_again(
    stack: Stack, program: Program, sent: list[dict[str, Any]]
) -> None:
    failed(stack, "ArchiveCorrupt", "its bytes are in refused/d0/x.zip")

    ended = program("retry", "--yes")

    assert (ended.code, sent) == (1, [])
    assert "would fail again, so look into it first" in ended.err


def test_retry_without_failures_sends_nothing(program: Program, sent: list[dict[str, Any]]) -> None:
    ended = program("retry", "--yes")

    assert (ended.code, sent) == (0, [])
    assert "nothing failed" in ended.out


def test_sweep_shows_what_it_requests(stack: Stack, program: Program) -> None:
    stack.plan(3)

    ended = program("sweep", "--yes")

    assert ended.code == 0
    assert "3 reports open, 3 waiting, 5 slots free" in ended.out
    assert "requests 3 reports, as the next sweep would" in ended.out
    assert "requested from Vonage: d0-" in ended.out
    assert len(stack.created()) == 3


def undelivered(event: object, request_id: str = "of its first invocation") -> str:
    """Return the record that Lambda writes of an event that it gave up."""
    return json.dumps(
        {
            "version": "1.0",
            "timestamp": "2026-11-22T02:18:13.123Z",
            "requestContext": {"requestId": request_id, "condition": "RetriesExhausted"},
            "requestPayload": event,
            "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
            "responsePayload": {
                "errorType": "ResourceUnusable",
                "errorMessage": "no table",
            },
        }
    )


@pytest.fixture
def queue(stack: Stack) -> str:
    """The URL of the dead-letter queue."""
    return stack.sqs.create_queue(QueueName="undelivered")["QueueUrl"]


def put(queue: str, *bodies: str, **attributes: str) -> None:
    for body in bodies:
        boto3.client("sqs").send_message(
            QueueUrl=queue,
            MessageBody=body,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in attributes.items()
            },
        )


def left(queue: str) -> int:
    """Return how many events of the queue the program could receive now."""
    answer = boto3.client("sqs").get_queue_attributes(
        QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessages"]
    )
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])


def test_events_are_listed_and_stay(program: Program, queue: str) -> None:
    put(queue, *[undelivered({"sweep": True})] * 12)
    put(queue, '{"scheduled_time": "2026-11-22T02:15:00Z"}', ERROR_CODE="SDK.X", ERROR_MESSAGE="no")

    text, document = program("events", "list"), program("events", "list", "--json")

    assert (text.code, document.code, left(queue)) == (0, 0, 13)
    assert '2026-11-22 02:18:13 UTC (12 times since)  {"sweep": true}' in text.out
    assert "  ResourceUnusable: no table" in text.out
    found = document_of("events-list", document.out)
    assert len(found["events"]) == 13
    assert found["events"][-1]["error"] == "SDK.X: no"


def test_replay_deletes_what_succeeds(
    stack: Stack, program: Program, queue: str, sent: list[dict[str, Any]]
) -> None:
    (name,) = delivered(stack)
    put(queue, undelivered({"sweep": True}), undelivered({"source": "aws.states", "detail": {}}))
    put(queue, undelivered({"recollect": {"report_id": name, "confirm": True}}, "the-first"))
    put(queue, undelivered({"withdraw": {"report_id": UNKNOWN}}), undelivered({"resolve": {}}))
    put(queue, "no event")

    ended = program("events", "replay", "--yes")

    assert ended.code == 2
    assert "2026-11-22 02:18:13 UTC and 1 more: ResourceUnusable" in ended.out
    assert ended.err.count("stays in the queue") == 3
    assert left(queue) == 3
    recollection, sweep = without_outlooks(sent)
    assert recollection["requestContext"] == {"requestId": "the-first"}
    assert sweep == {"sweep": True}
    assert stack.known(name).tokens == ("the-first",)


def test_replay_of_a_followed_recollection_buys_nothing(
    stack: Stack, handler: Handler, program: Program, queue: str
) -> None:
    (name,) = delivered(stack)
    event = {"recollect": {"report_id": name, "confirm": True}}
    handler(event, "the-first")
    finish(stack, name)
    put(queue, undelivered(event, "the-first"))

    ended = program("events", "replay", "--yes")

    assert (ended.code, left(queue), len(stack.created())) == (0, 0, 2)
    assert "this was carried out already, and buys nothing more" in ended.out


def test_message_that_sqs_keeps_is_not_taken_for_deleted(
    program: Program, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(queue, undelivered({"sweep": True}))
    client = HandledStack.client

    def refusing(self: HandledStack, service: Any, **more: Any) -> Any:
        made = client(self, service, **more)
        if service == "sqs":
            failed = {"Id": "0", "Code": "InternalError", "SenderFault": False}
            monkeypatch.setattr(made, "delete_message_batch", lambda **_: {"Failed": [failed]})
        return made

    monkeypatch.setattr(HandledStack, "client", refusing)
    ended = program("events", "purge", "--yes")

    assert (ended.code, left(queue)) == (1, 1)
    assert "SQS did not delete 1 event" in ended.err


def test_failed_replay_leaves_the_event(
    program: Program, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(queue, undelivered({"sweep": True}))
    monkeypatch.setenv("TABLE_NAME", "absent")

    ended = program("events", "replay", "--yes")

    assert (ended.code, left(queue)) == (1, 1)
    assert "submit_reports ended with" in ended.err


def test_purge_deletes_what_it_showed(
    program: Program, queue: str, sent: list[dict[str, Any]]
) -> None:
    put(queue, *[undelivered({"sweep": True})] * 11, "no event")

    unanswered = program("events", "purge")
    before = left(queue)
    ended = program("events", "purge", "--yes")

    assert (unanswered.code, before) == (2, 12)
    assert (ended.code, left(queue), sent) == (0, 0, [])
    assert "no event" in ended.out


@pytest.mark.parametrize("option", ["--dry-run", "--yes"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["recollect", "{delivered}", UNKNOWN],
        ["reconvert", "{delivered}", UNKNOWN],
        ["withdraw", "{delivered}"],
        ["resolve", "{delivered}", "--not-there"],
        ["backfill", "d1", "--from", "{start}", "--until", "{end}"],
        ["cancel", "d1-20261001-20261002"],
        ["retry"],
        ["sweep"],
        ["events", "replay"],
        ["events", "purge"],
    ],
    ids=" ".join,
)
def test_document_follows_its_schema(
    stack: Stack, program: Program, queue: str, arguments: list[str], option: str
) -> None:
    (name,) = delivered(stack)
    put(queue, undelivered({"sweep": True}))
    known = {"delivered": name, "start": stack.day(30), "end": stack.day(20)}

    ended = program(*(each.format(**known) for each in arguments), option, "--json")

    verb = "-".join(arguments[:2]) if arguments[0] == "events" else arguments[0]
    document = document_of(verb, ended.out)
    assert document["dry_run"] is (option == "--dry-run")
    for cost in (document, *document["actions"]):
        records = cost["expected_billed_records"]
        # PricePerRecord is 0.04 EUR.
        money = None if records is None else Decimal(records) * Decimal("0.04")
        assert (cost["expected_cost"] and Decimal(cost["expected_cost"])) == money
        assert cost["currency"] == "EUR"
    assert bool(document["answers"]) is (bool(document["actions"]) and not document["dry_run"])
    assert ended.code == max([0, *(each["exit_code"] for each in document["refused"])])


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Type answers on a terminal that is the standard input."""
    controller, terminal = pty.openpty()
    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)

        def type_(text: str) -> None:
            os.write(controller, text.encode())

        yield type_
    os.close(controller)


@pytest.mark.parametrize(("answers", "code"), [("y\ny\n", 0), ("y\nn\n", 3), ("n\n", 3)])
def test_terminal_confirms_an_expensive_backfill(
    stack: Stack,
    program: Program,
    typed: Callable[[str], None],
    answers: str,
    code: int,
) -> None:
    (name,) = delivered(stack)
    report = stack.known(name)
    stack.services.ledger.write(report, replace(report, rows=50_000))
    typed(answers)

    ended = program("backfill", "d0", *days(stack, 60, 30))

    assert ended.code == code
    assert ("more than the setting MaxBilledRecords (10,000)" in ended.err) is (answers != "n\n")
    assert bool(stack.services.ledger.open_work().backfills) is (code == 0)


@pytest.fixture
def part(stack: Stack) -> Report:
    """A part of a window that was delivered from two archives."""
    stack.plan()
    stack.collect("TRUNCATED")
    parts = stack.collect("SUCCESS", "SUCCESS")
    for each in parts:
        stack.services.bucket.write_json(receipt_key(each), {})
    stack.runs.end(stack.known(parts[0].root or ""))
    stack.settle()
    return parts[0]


def test_part_of_a_delivered_window_is_collected_once(
    stack: Stack, program: Program, part: Report
) -> None:
    first = program("recollect", part.report_id, "--yes")
    second = program("recollect", part.report_id, "--yes")

    assert (first.code, second.code) == (0, 2)
    assert "a part of 12 h" in first.out
    assert len(stack.created()) == 4


@pytest.mark.parametrize("verb", ["reconvert", "withdraw"])
def test_part_names_its_window(program: Program, part: Report, verb: str) -> None:
    ended = program(verb, part.report_id, "--yes")

    assert ended.code == 2
    assert f"is a part. {verb.title()} its window, {part.root}" in ended.err


def test_bill_so_far_has_the_parts(stack: Stack, program: Program, part: Report) -> None:
    ended = program("reconvert", part.root or "", "--dry-run")

    assert ended.code == 0
    assert "billed so far: about 30 records (1.20 EUR), in 3 requests" in ended.out
    assert len(stack.created()) == 3


@pytest.mark.parametrize("command", [["collect", "--at", "{at}"], ["events", "replay"]])
def test_schedule_is_previewed_with_windows_and_cost(
    stack: Stack, program: Program, queue: str, command: list[str]
) -> None:
    delivered(stack)
    at = f"{stack.now:%Y-%m-%dT%H:%M:%SZ}"
    put(queue, undelivered({"scheduled_time": at}))

    shown = program(*(each.format(at=at) for each in command), "--dry-run")

    lines = [line.strip() for line in shown.out.splitlines()]
    (due,) = (line for line in lines if line.startswith("d0: VERIFY-V2 of abcd1234, "))
    assert due.endswith(" EUR)")
    assert any(line.startswith("in all ") and "about " in line for line in lines)


@pytest.mark.parametrize("command", [["collect", "--at", "{at}"], ["events", "replay"]])
def test_preview_of_a_schedule_that_died_after_planning_shows_what_waits(
    stack: Stack, program: Program, queue: str, command: list[str]
) -> None:
    stack.plan(3, at=stack.now)
    at = f"{stack.now:%Y-%m-%dT%H:%M:%SZ}"
    put(queue, undelivered({"scheduled_time": at}))

    shown = program(*(each.format(at=at) for each in command), "--dry-run")

    assert "no report is due\n" in shown.out
    assert "besides, requests 3 reports that wait already, as the next sweep would" in shown.out
    assert "they bill an unknown number of records" in shown.out


@pytest.mark.parametrize(
    ("at", "says"),
    [("2030-01-01T00:00:00Z", "is in the future"), ("2019-01-01T00:00:00Z", "is too old")],
)
def test_time_that_no_schedule_may_have_is_refused_in_the_preview(
    program: Program, queue: str, at: str, says: str
) -> None:
    put(queue, undelivered({"scheduled_time": at}))

    collected = program("collect", "--at", at, "--dry-run")
    replayed = program("events", "replay", "--dry-run")

    for ended in (collected, replayed):
        assert (ended.code, says in ended.err, len(ended.err.splitlines())) == (2, True, 1)


@pytest.mark.parametrize("during", [False, True])
def test_interruption_names_what_was_sent(
    stack: Stack, program: Program, monkeypatch: pytest.MonkeyPatch, *, during: bool
) -> None:
    first, second, third = delivered(stack, 3)
    send = HandledStack.send

    def interrupted(self: HandledStack, event: dict[str, Any]) -> dict[str, Any]:
        asked = event["recollect"]
        is_second = asked["report_id"] == second and "dry_run" not in asked
        answer = send(self, event) if during or not is_second else {}
        if is_second:
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(HandledStack, "send", interrupted)
    ended = program("recollect", first, second, third, "--again", "--yes")

    assert ended.code == 130
    assert f"{first}: requested from Vonage" in ended.out
    assert f"interrupted. Sent: {first}." in ended.err
    assert f"Perhaps carried out: {second}." in ended.err
    assert f"Not sent: {third}." in ended.err
    assert "With --again, the same command buys the sent ones once more." in ended.err


def test_retry_leaves_the_choice_between_an_imperfection_and_a_purchase(
    stack: Stack, program: Program, sent: list[dict[str, Any]]
) -> None:
    reason = f"10 rows, but Vonage counted 11. {advice(['row_count'])}"
    name = failed(stack, "RowsMismatch", reason)

    unasked = program("retry", "--yes")
    after, wrong = list(sent), program("retry", "--accept", "rows", "--yes")
    asked = program("retry", "--accept", "row_count", "--yes")

    assert (unasked.code, after, wrong.code, asked.code) == (1, [], 2, 0)
    free = unasked.err.index(f"vonage-reports --stack usage reconvert {name} --accept row_count")
    assert free < unasked.err.index(f"vonage-reports --stack usage recollect {name}")
    assert "collects it again, and Vonage bills an unknown number of records (" in unasked.err
    assert sent == [{"reconvert": {"report_id": name, "accept": ["row_count"]}}]
    assert len(stack.created()) == 1


@pytest.mark.parametrize(
    "paste", ["{0},{1}", " {0}\n{1} ", "'{0}' \"{1}\"", "`{0}`, {1},", "{0}; {1}"]
)
def test_pasted_ids_are_split_and_cleaned(
    stack: Stack, program: Program, sent: list[dict[str, Any]], paste: str
) -> None:
    first, second = delivered(stack, 2)

    ended = program("reconvert", paste.format(first, second), "--yes")

    assert ended.code == 0
    assert [each["reconvert"]["report_id"] for each in sent] == [first, second]


@pytest.mark.parametrize("verb", ["recollect", "withdraw", "reconvert", "show", "resolve"])
def test_empty_id_is_refused(program: Program, verb: str) -> None:
    more = ["--not-there"] if verb == "resolve" else []

    ended = program(verb, " ", *more)

    assert (ended.code, "the argument is empty" in ended.err) == (2, True)
    assert len(ended.err.splitlines()) == 1


def test_pasted_request_is_cleaned(
    stack: Stack, program: Program, sent: list[dict[str, Any]]
) -> None:
    name = held(stack)
    (request,) = stack.created()

    ended = program("resolve", f" {name}\n", "--found", f"'{request['request_id']}' ", "--yes")

    assert ended.code == 0
    (event,) = sent
    assert event["resolve"]["request_id"] == request["request_id"]


def test_preview_of_a_hold_says_which_report_to_look_for(stack: Stack, program: Program) -> None:
    name = held(stack)
    report = stack.known(name)
    (told,) = (each for each in stack.announced() if each["event"] == "report.held")

    shown = program("resolve", name, "--not-there", "--dry-run")

    window = f"{report.window.start:%Y-%m-%dT%H:%M:%SZ} to {report.window.end:%Y-%m-%dT%H:%M:%SZ}"
    assert report.submitted_at is not None
    sent_at = f"requested at {report.submitted_at:%Y-%m-%dT%H:%M:%SZ}"
    for said in (shown.out, json.dumps(told)):
        assert f"VERIFY-V2 of account abcd1234, {window}, {sent_at}" in said


def test_pause_is_named_instead_of_a_free_slot(stack: Stack, program: Program) -> None:
    (name,) = delivered(stack)
    stack.plan(2)
    until = stack.now + timedelta(minutes=10)
    stack.services.ledger.pause(until)
    at = f"{until:%Y-%m-%dT%H:%M:%SZ}"

    swept = program("sweep", "--yes")
    again = program("recollect", name, "--yes")

    assert f"requests nothing before {at}: Vonage asked to pause all requests" in swept.out
    assert "this is going to bill no records" in swept.out
    assert "nothing was settled or requested; 1 report waits" in swept.out
    assert f"{name}: planned, waits until {at}: Vonage asked to pause all requests" in again.out


def test_sweep_names_the_time_of_a_report_that_was_put_back(stack: Stack, program: Program) -> None:
    stack.plan()
    stack.simulator.fault("create", "status", status=403)
    stack.submit()
    (report,) = stack.open()
    assert report.not_before is not None

    shown = program("sweep", "--dry-run")

    at = f"{report.not_before:%Y-%m-%dT%H:%M:%SZ}"
    assert "1 report open, 0 waiting" in shown.out
    assert f"1 other report waits at least until {at}" in shown.out


def test_cancelled_backfill_whose_windows_are_requested_is_not_over(
    stack: Stack, program: Program
) -> None:
    program("backfill", "d1", *days(stack, 30, 28), "--yes")
    stack.simulator.fault("create", "outcome", request_status="SUCCESS", seconds=3600, times=None)
    while stack.services.ledger.open_work().backfills:
        program("sweep", "--yes")
    (name,) = {each.backfill for each in stack.open()}

    ended = program("cancel", name or "", "--yes")

    assert ended.code == 0
    assert "all of its windows are requested, and 2 reports still in flight" in ended.out
    assert "`withdraw ID` ends one of them" in ended.out


def test_recollection_of_another_operator_is_named(
    stack: Stack, handler: Handler, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = delivered(stack)
    send = HandledStack.send

    def after_another(self: HandledStack, event: dict[str, Any]) -> dict[str, Any]:
        if "dry_run" not in event["recollect"]:
            handler(event, "of-another")
        return send(self, event)

    monkeypatch.setattr(HandledStack, "send", after_another)
    ended = program("recollect", name, "--yes")

    assert ended.code == 2
    assert f"{name}: another operator has just collected it again" in ended.err
    assert "token" not in ended.err
    assert len(stack.created()) == 2
