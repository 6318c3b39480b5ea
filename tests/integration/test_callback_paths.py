"""The path that Vonage calls is drawn at each POST. Only its SHA-256 stays here."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.support.handlers import Handler, load_handler, set_environment
from tests.support.stack import Stack
from vonage_reports.domain.callbacks import digest_of
from vonage_reports.domain.report import Report, State
from vonage_reports.submit_reports.reprocess import resolve

URL = "https://x1y2.lambda-url.eu-west-1.on.aws/"


@pytest.fixture
def calling(stack: Stack) -> Stack:
    """A stack with callbacks."""
    stack.services = replace(stack.services, callback_url=URL)
    return stack


def the_report(stack: Stack) -> Report:
    (report,) = stack.open()
    return report


def paths(stack: Stack) -> list[str]:
    """Return the path of each report at Vonage, in the order of the POSTs."""
    urls = [str(each["request"]["callback_url"]) for each in stack.created()]
    assert all(url.startswith(URL) for url in urls)
    return [url.removeprefix(URL) for url in urls]


def expected_by_run(stack: Stack, report: Report) -> str | None:
    value: str | None = json.loads(stack.runs.started[report.execution_name])["callback"]
    return value


def test_ledger_and_run_have_the_digest_alone(calling: Stack) -> None:
    calling.plan(2)
    calling.submit()

    drawn = paths(calling)
    reports = {each.request_id: each for each in calling.open()}
    for path, at_vonage in zip(drawn, calling.created(), strict=True):
        report = reports[at_vonage["request_id"]]
        assert report.callback == digest_of(path)
        assert expected_by_run(calling, report) == report.callback
    assert len(set(drawn)) == 2
    kept = f"{calling.table()} {calling.runs.started} {calling.announced()}"
    assert not [path for path in drawn if path in kept]


def test_stack_without_callbacks_gives_vonage_no_url(stack: Stack) -> None:
    stack.plan()
    stack.submit()

    (at_vonage,) = stack.created()
    assert "callback_url" not in at_vonage["request"]
    assert expected_by_run(stack, the_report(stack)) is None
    assert "callback" not in json.dumps(stack.table(), default=str).replace('\\"callback\\"', "")


@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "status", "status": 429},
        {"fault": "status", "status": 503},
        {"fault": "status", "status": 403, "body": '{"title": "Forbidden"}'},
        {"fault": "cut"},
    ],
    ids=str,
)
def test_each_post_draws_another_path(calling: Stack, fault: dict[str, Any]) -> None:
    calling.plan()
    calling.simulator.fault("create", **fault)
    calling.submit()
    first = the_report(calling).callback
    for _ in range(3):
        calling.later(minutes=16)
        calling.submit()

    (path,) = paths(calling)
    report = the_report(calling)
    assert report.state is State.SUBMITTED
    assert report.callback == digest_of(path)
    assert first not in (None, report.callback)


def test_adopted_report_is_called_at_the_path_of_its_post(calling: Stack) -> None:
    # The invocation may also die between the answer and the ledger: the next one sees the same.
    calling.plan()
    calling.simulator.fault("create", "accept_then_cut")
    calling.submit()
    calling.later(minutes=10)
    assert len(calling.submit().report_ids) == 1

    (path,) = paths(calling)
    report = the_report(calling)
    assert report.state is State.SUBMITTED
    assert expected_by_run(calling, report) == digest_of(path)


def test_report_of_an_earlier_post_is_adopted_and_polled(calling: Stack) -> None:
    """A gateway refused the first POST, which Vonage took. The second POST is never sent."""
    calling.plan()
    calling.simulator.fault("create", "accept_then_status", status=403)
    calling.submit()
    for _ in range(3):
        calling.later(minutes=15)
        calling.submit()

    (path,) = paths(calling)
    report = the_report(calling)
    assert report.state is State.SUBMITTED
    # The call is lost, and the run asks Vonage at its usual times.
    assert report.callback not in (None, digest_of(path))


def test_operator_resolves_a_report_with_a_callback(calling: Stack) -> None:
    calling.plan()
    calling.simulator.fault("create", "accept_then_cut")
    calling.submit()
    calling.simulator.fault("list", "status", status=404)
    calling.later(minutes=10)
    assert len(calling.submit().held) == 1
    (at_vonage,) = calling.created()
    held = the_report(calling)
    resolve(held.report_id, at_vonage["request_id"], calling.services, now=calling.now)

    (path,) = paths(calling)
    assert expected_by_run(calling, the_report(calling)) == digest_of(path)


def test_halves_of_a_truncated_report_have_paths_of_their_own(calling: Stack) -> None:
    calling.plan()
    calling.collect("TRUNCATED")
    calling.submit()

    whole, *halves = paths(calling)
    reports = [each for each in calling.open() if each.is_half]
    assert len({whole, *halves}) == 3
    assert {each.callback for each in reports} == {digest_of(path) for path in halves}


def test_resumed_run_expects_no_second_call(calling: Stack) -> None:
    calling.plan()
    calling.submit()
    assert the_report(calling).callback is not None
    calling.runs.end(the_report(calling), "VonageUnavailable")
    calling.settle()
    calling.later(minutes=1)
    calling.settle()

    resumed = the_report(calling)
    assert resumed.run == 2
    assert expected_by_run(calling, resumed) is None


@pytest.mark.parametrize("setting", ["off", "function-url"])
def test_setting_turns_callbacks_on(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    set_environment(stack, monkeypatch)
    monkeypatch.setenv("CALLBACK", setting)
    if setting == "function-url":
        monkeypatch.setenv("CALLBACK_URL", URL)
    handler = Handler(load_handler("submit_reports"))
    handler.define({"name": "verify", "product": "VERIFY-V2"})
    handler({"scheduled_time": "2026-11-22T02:15:00Z"})

    (at_vonage,) = stack.created()
    assert ("callback_url" in at_vonage["request"]) is (setting == "function-url")


@pytest.fixture
def refused(stack: Stack) -> Stack:
    """A stack with callbacks whose URL Vonage refuses."""
    stack.services = replace(stack.services, callback_url="refused://x1y2.example/")
    return stack


def test_refused_url_fails_no_report(refused: Stack) -> None:
    """A callback is only a hint, so the requests go on without it."""
    refused.plan(3)
    before = refused.open()
    refused.submit()

    assert (refused.created(), refused.slots()) == ([], 0)
    waiting = refused.open()
    assert {each.state for each in waiting} == {State.PLANNED}
    assert [each.attempt for each in waiting] == [each.attempt for each in before]
    (told,) = refused.announced()
    assert (told["event"], told["error"], told["run_again"]) == (
        "report.failed",
        "VonageRejected",
        None,
    )
    assert "callback_url: Must be a URL" in told["message"]
    assert "sent again without the URL" in told["message"]

    assert len(refused.submit().report_ids) == 3
    assert not any("callback_url" in each["request"] for each in refused.created())
    for report in refused.open():
        assert (report.state, report.callback, report.error) == (State.SUBMITTED, None, None)
        assert expected_by_run(refused, report) is None
    assert (refused.announced(), refused.slots()) == ([], 3)


def test_new_url_is_tried_after_a_refusal(refused: Stack) -> None:
    refused.plan(2)
    refused.submit()
    refused.submit()
    refused.services = replace(refused.services, callback_url=URL)
    refused.plan(1, at=refused.now + timedelta(days=1))
    refused.later(hours=36)
    refused.submit()

    first, second, *later = refused.created()
    assert not any("callback_url" in each["request"] for each in (first, second))
    assert len(later) == 3
    assert all(str(each["request"]["callback_url"]).startswith(URL) for each in later)


def test_requests_go_on_without_the_url_if_the_refusal_cannot_be_told(
    refused: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise ConnectionError("no topic")

    monkeypatch.setattr(refused.services.topic, "announce", fail)
    refused.plan(2)
    assert [str(each) for each in refused.submit().errors] == ["no topic"]
    refused.submit()

    assert {each.state for each in refused.open()} == {State.SUBMITTED}


def test_refusal_of_other_parameters_still_fails_the_report(refused: Stack) -> None:
    problem = {
        "title": "Unprocessable entity",
        "invalid_parameters": [
            {"name": "callback_url", "reason": "Must be a URL"},
            {"name": "country", "reason": "Must be a country"},
        ],
    }
    refused.simulator.fault("create", "status", status=422, body=json.dumps(problem), times=2)
    refused.plan()
    refused.submit()
    assert the_report(refused).state is State.PLANNED
    refused.submit()

    assert refused.open() == []
    assert "recollect" in refused.announced()[-1]["run_again"]
