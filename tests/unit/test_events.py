"""Each file in events/ is an event for submit_reports or the input of a state of the workflow."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from local.stack.template import read_template
from tests.support.paths import ROOT
from tests.support.reports import make_report
from vonage_reports.check_report import check_report
from vonage_reports.domain.backfill import Backfill
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.report import Entry, RequestStatus, Revision
from vonage_reports.domain.run_input import RunInput, execution_input
from vonage_reports.domain.windows import WindowLength, parse_instant
from vonage_reports.submit_reports.requests import (
    REQUESTS,
    BackfillRequest,
    Cancellation,
    is_dry_run,
    parse_event,
)
from vonage_reports.vonage.answers import ReportRequest

EVENTS = {path.stem: json.loads(path.read_text()) for path in (ROOT / "events").glob("*.json")}
STATES = yaml.safe_load((ROOT / "functions/report_workflow.asl.yaml").read_text())["States"]
STATE_OF_EVENT = {name.lower().replace(" ", "_"): state for name, state in STATES.items()}

TO_SUBMIT_REPORTS = {
    name: event
    for name, event in EVENTS.items()
    if name not in STATE_OF_EVENT and name != "report_workflow"
}
FOR_STATES = {name: event for name, event in EVENTS.items() if name in STATE_OF_EVENT}
INPUTS = {
    "report_workflow": EVENTS["report_workflow"],
    **{name: event["report"] for name, event in FOR_STATES.items()},
}
NOW = datetime(2026, 11, 22, 2, 21, 13, tzinfo=UTC)


def shape(value: Any) -> Any:
    """Return the names of the fields at all levels."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return None


def test_folder_has_events_only() -> None:
    assert {path.suffix for path in (ROOT / "events").iterdir()} == {".json"}
    assert EVENTS


KEYS = {
    "schedule": "scheduled_time",
    "run_ended": "sweep",
    "dry_run": "backfill",
    "accept": "reconvert",
}
"""The keys of the events that are not named for their key."""


@pytest.mark.parametrize("name", TO_SUBMIT_REPORTS)
def test_event_is_the_request_of_its_name(name: str) -> None:
    request = parse_event(EVENTS[name])

    assert type(request) is REQUESTS[KEYS.get(name, name)]
    assert is_dry_run(request) == (name == "dry_run")


def test_every_request_has_an_event() -> None:
    assert {KEYS.get(name, name) for name in TO_SUBMIT_REPORTS} == set(REQUESTS)


def test_cancel_names_the_example_of_a_backfill() -> None:
    begun, cancelled = parse_event(EVENTS["backfill"]), parse_event(EVENTS["cancel"])
    assert isinstance(begun, BackfillRequest)
    assert isinstance(cancelled, Cancellation)
    definition = ReportDefinition(
        name=begun.definition,
        product="SMS",
        account_ids=("abcd1234",),
        include_subaccounts=False,
        filters={},
        window=WindowLength.DAY,
        time_zone="UTC",
    )

    assert Backfill(definition, begun.start, begun.end, NOW).name == cancelled.backfill


@pytest.mark.parametrize("name", INPUTS)
def test_run_input_equals_that_of_submit_reports(name: str) -> None:
    given = INPUTS[name]
    definition = given["definition"]
    report = make_report(
        definition=definition["name"],
        product=definition["product"],
        account_id=definition["account_id"],
        include_subaccounts=definition["include_subaccounts"],
        filters=definition["filters"],
        window=RunInput.from_input(given).window,
        revision=Revision(given["revision"]),
        planned_at=parse_instant(given["planned"]),
        delay_days=given["delay_days"],
        request_id=given["request_id"],
        attempt=given["attempt"],
        run=given["run"],
    )

    assert json.loads(execution_input(report, Entry(given["entry"]))) == given


@pytest.mark.parametrize("name", FOR_STATES)
def test_function_event_has_the_fields_of_its_state(name: str) -> None:
    assert set(FOR_STATES[name]) == set(STATE_OF_EVENT[name]["Arguments"]["Payload"])


def test_store_report_gets_the_result_of_check_report() -> None:
    answer = ReportRequest(
        request_id="6c5506b7-f16a-44dc-af06-756bbf467488",
        request_status=RequestStatus.SUCCESS,
        product="SMS",
        account_id="abcd1234",
        include_subaccounts=False,
        date_start=None,
        date_end=None,
        receive_time=None,
        items_count=14952,
        file_id="b003ed27-b4b2-4a7d-b4a5-6255ce08eea5",
        echo={},
    )
    result = check_report(answer, started=NOW, now=NOW)

    assert shape(EVENTS["store_report"]["download"]) == shape(result["download"])


def test_rule_matches_the_run_ended_event() -> None:
    template = read_template(ROOT / "template.yaml")
    function = template["Resources"]["SubmitReportsFunction"]["Properties"]
    pattern = function["Events"]["RunEnded"]["Properties"]["Pattern"]
    event = EVENTS["run_ended"]

    assert event["source"] in pattern["source"]
    assert event["detail-type"] in pattern["detail-type"]
    assert event["detail"]["status"] in pattern["detail"]["status"]
    assert pattern["detail"]["stateMachineArn"] == [{"Ref": "ReportWorkflow"}]


def test_run_ended_event_has_the_documented_fields() -> None:
    # https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html
    event = EVENTS["run_ended"]

    assert {"executionArn", "stateMachineArn", "name", "status", "startDate", "stopDate"} <= set(
        event["detail"]
    )
    assert event["resources"] == [event["detail"]["executionArn"]]
    assert event["detail"]["executionArn"].endswith(f":{event['detail']['name']}")
    # The name of a run: the report and the number of the run.
    assert re.fullmatch(r"[a-z0-9-]{1,30}-\d{8}T\d{4}Z-[0-9a-f]{12}-r\d+", event["detail"]["name"])
