"""Each kind of fault has the effect that its name promises. One without effect proves nothing."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
import requests
from urllib3.util import parse_url

from local.simulator.answers import Answer
from local.simulator.faults import Fault
from tests.chaos import answers, callbacks, refusals
from tests.chaos.answers import DrippingBody, StrangeAnswers, documents_of_others
from tests.chaos.callbacks import Callbacks
from tests.chaos.campaign import (
    API_KEY,
    NEW_ACCOUNT,
    OTHER_KEY,
    SUBACCOUNT,
    Campaign,
    SeedKind,
    _absent,
    _longer,
    _shorter,
    _undelivered,
    _wider,
    _with_token,
    campaign,
)
from tests.chaos.fault_plan import LedgerFaults
from tests.chaos.refusals import Refusal
from vonage_reports.domain.callbacks import digest_of
from vonage_reports.domain.definitions import SUBACCOUNTS
from vonage_reports.submit_reports.requests import Recollection, parse_event

START = datetime(2026, 11, 3, tzinfo=UTC)
BODY = {
    "product": "SMS",
    "account_id": API_KEY,
    "direction": "outbound",
    "date_start": "2026-11-01T00:00:00Z",
    "date_end": "2026-11-02T00:00:00Z",
}
EVENT = {"recollect": {"report_id": "sms-1"}}


@pytest.fixture(scope="module")
def running() -> Iterator[Campaign]:
    with campaign(5) as made:
        for day in ("2026-10-30", "2026-10-31", "2026-11-01"):
            body = {**BODY, "date_start": f"{day}T00:00:00Z"}
            made.vonage.simulation.create(json.dumps(body).encode(), ())
        yield made


def document_for(running: Campaign, operation: str) -> Answer:
    """Return the answer of an operation as the simulator makes it."""
    simulation = running.vonage.simulation
    first = next(iter(simulation.world.reports))
    if operation == "list":
        return simulation.list(f"account_id={API_KEY}&status=PENDING,PROCESSING,SUCCESS", ())
    if operation == "subaccounts":
        return simulation.subaccounts(API_KEY, ())
    return simulation.get(first, ())


@pytest.mark.parametrize(
    ("operation", "kind"),
    [(name, kind) for name, kinds in answers._KINDS.items() for kind in dict.fromkeys(kinds)],
)
def test_strange_answer_differs(running: Campaign, operation: str, kind: str) -> None:
    answer = document_for(running, operation)
    reports, clock = running.vonage.simulation.world.reports, running.vonage.simulation.world.clock
    first = next(iter(reports))
    for seed in range(20):
        strange = StrangeAnswers(Random(seed), START)
        made = strange.made(
            kind,
            answer,
            subject=first,
            others=lambda: documents_of_others(reports, first, clock),
        )
        assert made is not None
        assert made.answer != answer or made.seconds_per_read


def test_redirect_elsewhere_tells_whether_credentials_follow(running: Campaign) -> None:
    vonage = running.vonage
    report = next(iter(vonage.simulation.world.reports.values()))
    for url, headers, is_told in (
        (f"https://{answers.OTHER_HOST}/{report.file_id}", {}, False),
        (f"http://{answers.OTHER_HOST}/{report.file_id}", {}, True),
        (f"https://{answers.OTHER_HOST}/{report.file_id}", {"Authorization": "Basic x"}, True),
    ):
        vonage.followed.clear()
        request = requests.Request("GET", url, headers=headers).prepare()
        vonage._elsewhere(request, parse_url(url))
        assert bool(vonage.followed) is is_told


def test_dripping_body_takes_time_for_each_byte() -> None:
    times: list[int] = []
    body = DrippingBody(b"abc", lambda: times.append(1))
    assert [body.read1(100) for _ in range(4)] == [b"a", b"b", b"c", b""]
    assert len(times) == 4


def test_refusal_hits_its_account_until_it_heals() -> None:
    closed = Refusal(START, START + timedelta(days=1), SUBACCOUNT, None, refusals.EVERYWHERE)
    assert closed.hits("get", SUBACCOUNT, "SMS", START)
    assert not closed.hits("get", API_KEY, "SMS", START)
    assert not closed.hits("get", SUBACCOUNT, "SMS", START + timedelta(days=1))
    for_good = Refusal(START, None, product="SMS")
    assert for_good.hits("create", API_KEY, "SMS", START + timedelta(days=99))
    assert not for_good.hits("list", API_KEY, "SMS", START)
    assert (closed.answer.status, for_good.answer.status) == (403, 401)


def test_refusals_outlive_the_calm() -> None:
    end = START + timedelta(days=8)
    drawn = [
        each
        for seed in range(60)
        for each in refusals.draw(
            Random(seed), start=START, end=end, accounts=[API_KEY], products=["SMS"]
        )
    ]
    assert {each.end is None or each.end > end for each in drawn} == {True, False}


def test_conflicts_and_throttling_hit_single_items() -> None:
    found = []
    for seed in range(60):
        faults = LedgerFaults(Random(seed), START, START + timedelta(days=8))
        for hour in range(8 * 24):
            now = START + timedelta(hours=hour)
            found.append(faults.over("TransactWriteItems", ["open", "finished#sms"], now))
    codes = {code for each in found if each for code in each}
    assert codes == {"None", "TransactionConflict", "ThrottlingError"}
    assert all("None" in each for each in found if each), "both items are refused"


def test_definitions_change_in_each_way() -> None:
    before: dict[str, Any] = {"name": "sms", "delay_days": [0, 3]}
    assert _longer(before)["delay_days"] == [0, 4]
    assert _shorter(before)["delay_days"] == [0]
    wider = _wider(before)
    assert wider["account_ids"] == [API_KEY, SUBACCOUNT]
    assert _wider(wider)["account_ids"] == [API_KEY]
    listed = _wider({**before, "account_ids": SUBACCOUNTS})["account_ids"]
    assert listed == [API_KEY, SUBACCOUNT, NEW_ACCOUNT]
    assert _absent(before) is None


def test_record_of_an_undelivered_event_has_one_token() -> None:
    record = _undelivered(EVENT, "request-7")
    assert _undelivered(record, "request-8") == record
    assert _with_token(record, "request-8") == _with_token(EVENT, "request-7")
    parsed = parse_event(record)
    assert isinstance(parsed, Recollection)
    assert parsed.token == "request-7"


@pytest.mark.parametrize("fault", [None, *callbacks.FAULTS], ids=str)
def test_callback_comes_as_its_fault_says(fault: dict[str, Any] | None) -> None:
    # Seed 24 is called back. Its own faults and events are left out.
    with campaign(24) as made:
        calls: list[float] = []
        vonage, begins = made.vonage, made.virtual_time.seconds()
        assert vonage.callbacks is not None

        def called(_path: str, over: Callable[[], None]) -> None:
            calls.append(made.virtual_time.seconds() - begins)
            over()

        vonage.callbacks._call = called
        faults = [] if fault is None else [Fault("create", "callback", parameters=fault)]
        body = {**BODY, "callback_url": f"{callbacks.URL}{'0f' * 16}"}
        vonage.simulation.create(json.dumps(body).encode(), faults)
        vonage.callbacks.created()
        while made.virtual_time.step():
            pass
    given = fault or {}
    lasts = 0 if given.get("early") else vonage.simulation.world.settings.seconds_per_report
    first = lasts + given.get("seconds", 0)
    expected = [first + 0.5 * number for number in range(given.get("calls", 1))]
    assert calls == pytest.approx(expected, abs=0.1)


def test_call_during_another_call_is_lost(running: Campaign) -> None:
    made: list[str] = []
    overs: list[Callable[[], None]] = []

    def call(path: str, over: Callable[[], None]) -> None:
        made.append(path)
        overs.append(over)

    calls = Callbacks(running.vonage.simulation, running.virtual_time, Random(1), call)
    calls.made("first")
    calls.made("second")
    overs[0]()
    calls.made("third")
    assert (made, calls.throttled) == (["first", "third"], 1)


def test_strangers_know_some_paths(running: Campaign) -> None:
    made: list[str] = []

    def call(path: str, over: Callable[[], None]) -> None:
        made.append(path)
        over()

    calls = Callbacks(running.vonage.simulation, running.virtual_time, Random(1), call)
    calls.paths.append("0f" * 16)
    for _ in range(20):
        calls.stranger()
    assert 0 < made.count("0f" * 16) < 20
    assert all(digest_of(path) for path in made)


def test_wrong_secrets_are_of_three_kinds(running: Campaign) -> None:
    made = {}
    for kind in ("mistyped", "mistyped_key", "other_key"):
        running.kind = replace(running.kind, wrong_secret=kind)
        made[kind] = json.loads(running._wrong_secret())
    right = {"api_key": API_KEY, "api_secret": running.secrets[-1]}
    assert all(each != right for each in made.values())
    assert made["other_key"]["api_key"] == OTHER_KEY
    assert made["mistyped"]["api_key"] == API_KEY


def test_each_kind_of_seed_is_drawn() -> None:
    drawn = [SeedKind.of(Random(f"{seed} kind")) for seed in range(1, 201)]
    assert {each.crowd for each in drawn} == {(), (API_KEY,), (API_KEY, SUBACCOUNT)}
    assert {each.wrong_secret for each in drawn} == {None, "mistyped", "mistyped_key", "other_key"}
    errors = [each.clock_error for each in drawn]
    assert {each.calls_back for each in drawn} == {True, False}
    assert timedelta(hours=-1) <= min(errors) < timedelta() < max(errors) <= timedelta(hours=1)
