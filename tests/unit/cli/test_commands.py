"""The command of an event, as status and notifications print it, sends that event."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import pytest

from tests.support.paths import ROOT
from tests.support.reports import DAILY, make_report
from vonage_reports.aws.definitions_source import WrittenDefinitions
from vonage_reports.aws.ledger_items import Calendar, OpenWork
from vonage_reports.domain.backfill import Backfill
from vonage_reports.domain.commands import PROGRAM, command_for
from vonage_reports.domain.notifications import recollect, reconvert
from vonage_reports.domain.report import Report, State
from vonage_reports.submit_reports.requests import REQUESTS
from vonage_reports_cli.main import main
from vonage_reports_cli.session import Session

ID = make_report().report_id
STACK = "usage"

EVENTS: list[dict[str, Any]] = [
    *(
        json.loads((ROOT / "events" / f"{name}.json").read_text())
        for name in ("schedule", "accept", "dry_run", *sorted(REQUESTS.keys() - {"scheduled_time"}))
    ),
    recollect(ID, 2),
    recollect("-hyphens-first-20261121T0000Z-0123456789ab", 2),
    reconvert(ID),
    reconvert(ID, ["row_count", "unreadable_rows"]),
    {"resolve": {"report_id": ID, "request_id": "6c5506b7-f16a-44dc", "hold": 2}},
    {"resolve": {"report_id": ID, "request_id": "-6c55", "hold": 1}},
    {"resolve": {"report_id": ID, "request_id": None, "hold": 2}},
    {
        "backfill": {
            "definition": "sms-outbound",
            "start": "2026-10-01",
            "end": "2026-11-01",
            "confirm": True,
            "account_id": "abcd1234",
        }
    },
]

_STATES = {
    "recollect": State.FAILED,
    "reconvert": State.DELIVERED,
    "resolve": State.HELD,
    "withdraw": State.SUBMITTED,
}


@dataclass
class _Ledger:
    """A ledger that has the report and the backfill of an event."""

    event: Mapping[str, Any]

    def report(self, name: str) -> Report | None:
        ((key, value),) = self.event.items()
        return make_report(
            report_id=name,
            state=_STATES[key],
            failures=2,
            holds=value.get("hold", 1),
            request_id="of-the-last-attempt",
            attempt=1,
            rows=10,
        )

    def open_work(self) -> OpenWork:
        return OpenWork(
            reports=(),
            slots={},
            announced=frozenset(),
            backfills=(Backfill(DAILY, date(2026, 10, 1), date(2026, 11, 1), datetime.now(UTC)),),
        )

    def calendar(self) -> Calendar:
        return Calendar(cursors={}, volumes={}, collects={"sms-outbound": '{"time_zone": "UTC"}'})

    def reports_between(self, *_: object) -> tuple[list[Report], frozenset[str]]:
        found = [make_report(state=State.PLANNED)] if "withdraw_windows" in self.event else []
        return found, frozenset()


@dataclass
class _Stack:
    """A stack that keeps the events that the program sends."""

    event: Mapping[str, Any]
    sent: list[Mapping[str, Any]] = field(default_factory=list)
    name = STACK
    source = "a stack of this test"
    price = None

    @property
    def definitions(self) -> "_Stack":
        return self

    def read(self) -> WrittenDefinitions:
        return WrittenDefinitions("[]", datetime.now(UTC), "no place")

    @property
    def ledger(self) -> _Ledger:
        return _Ledger(self.event)

    def send(self, event: Mapping[str, Any]) -> dict[str, Any]:
        self.sent.append(event)
        ((key, value),) = event.items()
        if isinstance(value, dict) and value.get("dry_run"):
            window = "2026-10-01T00:00:00Z/2026-10-02T00:00:00Z"
            outlook = {"windows": [window], "reports": 1, "skipped": 0}
            return {"dry_run": {**outlook, "backfill": "new", "expected_billed_records": 10}}
        return {"settled": [value.get("report_id")] if key == "withdraw" else [], "faults": []}


def without_token(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an event without the token of a recollection, which the program finds itself."""
    if "recollect" not in event:
        return event
    return {"recollect": {key: each for key, each in event["recollect"].items() if key != "token"}}


def pinned(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an event with the present hold, which the program adds to a resolution without one."""
    if "resolve" not in event:
        return event
    return {"resolve": {"hold": 1, **event["resolve"]}}


@pytest.mark.parametrize("event", EVENTS, ids=json.dumps)
def test_command_sends_its_event(event: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    stack = _Stack(event)
    monkeypatch.setattr(Session, "deployed", stack)
    command = command_for(event, stack=STACK)
    assert command is not None

    program, *target, verb = shlex.split(command)[:4]
    # With --yes, a dry run stops after its preview all the same.
    code = main([*target, verb, "--yes", *shlex.split(command)[4:]])

    assert (program, code) == (PROGRAM, 0)
    assert without_token(stack.sent[-1]) == without_token(pinned(event))


@pytest.mark.parametrize("key", REQUESTS)
def test_each_event_of_an_operator_has_a_command(key: str) -> None:
    assert any(key in event for event in EVENTS)


def test_failure_is_answered_with_its_own_token(monkeypatch: pytest.MonkeyPatch) -> None:
    event = recollect(ID, 2)
    stack = _Stack(event)
    monkeypatch.setattr(Session, "deployed", stack)

    assert main(["--stack", STACK, "recollect", ID, "--yes"]) == 0
    assert stack.sent[-1] == event


def test_event_of_another_program_has_no_command() -> None:
    assert command_for({"unknown": {"report_id": ID}}) is None
