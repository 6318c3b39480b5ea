"""The JSON Schemas in docs/schemas/ describe what the code reads and writes."""

import copy
import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

from local.generate_schemas import DIALECT, generated, written
from local.stack.template import read_template
from tests.support.contracts import CHECKER, FOLDER, check, check_notification, schema
from tests.support.delivered import Delivered
from tests.support.paths import ROOT
from tests.support.reports import make_report
from vonage_reports.domain import notifications
from vonage_reports.domain.definitions import Refusal
from vonage_reports.domain.errors import InvalidRequest, VonageUnavailable
from vonage_reports.domain.lifecycle import Fail, Hold, Resubmit, Resume
from vonage_reports.domain.report import Entry
from vonage_reports.domain.spend import Budget
from vonage_reports.submit_reports.read_definitions import parse_definitions
from vonage_reports.submit_reports.requests import parse_event

NAMES = sorted(path.name.removesuffix(".schema.json") for path in FOLDER.glob("*.schema.json"))
NOW = datetime(2026, 11, 25, 2, 15, tzinfo=UTC)
REPORT = make_report(attempt=1)


@cache
def published(name: str) -> Draft202012Validator:
    return Draft202012Validator(schema(name), format_checker=CHECKER)


def accepts(name: str, document: Any) -> bool:
    return published(name).is_valid(document)


@pytest.mark.parametrize("name", NAMES)
def test_schema_is_versioned_and_valid(name: str) -> None:
    assert schema(name)["$schema"] == DIALECT
    assert schema(name)["$id"] == f"urn:vonage-usage-reports:schema:{name}:1"
    Draft202012Validator.check_schema(schema(name))


@pytest.mark.parametrize("name", generated())
def test_generated_schema_is_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text() == written(generated()[name])


# The files that are inputs of the workflow and of its functions.
OTHERS = {"report_workflow", "check_report", "store_report", "convert_report"}
EVENTS = {
    path.stem: json.loads(path.read_text())
    for path in (ROOT / "events").glob("*.json")
    if path.stem not in OTHERS
}


@pytest.mark.parametrize("name", EVENTS)
def test_example_event_fits_the_schema(name: str) -> None:
    check("events", EVENTS[name])


def test_undelivered_event_fits_the_schema() -> None:
    record = {"version": "1.0", "requestContext": {}, "requestPayload": EVENTS["recollect"]}

    check("events", record)


WRONG: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    "",
    "..",
    "2026-02-30",
    "2026-01-01",
    [],
    ["row_count"],
    {},
)


@pytest.mark.parametrize("name", [name for name in EVENTS if name != "run_ended"])
@given(data=st.data())
def test_schema_and_function_accept_the_same_events(name: str, data: st.DataObject) -> None:
    event = copy.deepcopy(EVENTS[name])
    (key,) = event
    target = event[key] if isinstance(event[key], dict) else event
    field = data.draw(st.sampled_from([*target, "confirm", "dry_run", "accept", "token", "hold"]))
    if data.draw(st.booleans()):
        target.pop(field, None)
    else:
        target[field] = data.draw(st.sampled_from(WRONG))
    try:
        parse_event(event)
        is_accepted = True
    except InvalidRequest:
        is_accepted = False

    # The schema does not know that a request_id becomes a segment of a path.
    if target.get("request_id") in ("", ".."):
        assert not is_accepted
    else:
        assert accepts("events", event) == is_accepted


DEFINITION = {
    "name": "sms-outbound", "product": "SMS", "account_ids": ["abcd1234"],
    "include_subaccounts": False, "filters": {"direction": "outbound", "include_message": False},
    "window": "day", "time_zone": "Europe/London", "delay_days": [0, 3], "max_records": 1000,
    "currency": "EUR",
}  # fmt: skip


def test_definitions_of_the_template_fit_the_schema() -> None:
    template = read_template(ROOT / "template.yaml")

    check("definitions", json.loads(template["Parameters"]["ReportDefinitions"]["Default"]))


@given(field=st.sampled_from([*DEFINITION, "windows"]), value=st.sampled_from(WRONG))
def test_schema_refuses_no_definition_that_the_stack_accepts(field: str, value: object) -> None:
    definitions = [{**DEFINITION, field: value}]
    accepted, _ = parse_definitions(json.dumps(definitions), api_key="abcd1234")

    assert accepts("definitions", definitions) or not accepted


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "SMS"), ("product", "sms"), ("account_ids", []), ("filters", {"a": []}),
        ("window", "year"), ("delay_days", []), ("max_records", 0), ("currency", "euro"),
        ("windows", "day"),
    ],
)  # fmt: skip
def test_wrong_definition_does_not_fit_the_schema(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        check("definitions", [{**DEFINITION, field: value}])


NOVEMBER = {
    "period": "2026-11", "from": "2026-11-01", "until": "2026-12-01", "number": 1, "changed": [],
    "definitions": [], "manifests": [],
}  # fmt: skip
STORED = Fail("RowsMismatch", 'send reconvert with "accept": ["row_count"].', is_stored=True)
KINDS = [
    notifications.failed(REPORT, STORED, execution="arn:aws:states:x"),
    notifications.failed(REPORT, Fail("ReportFailed", "Vonage failed"), execution=None),
    notifications.failed(REPORT, Fail("ReportTruncated", "too large"), execution=None),
    notifications.resubmitted(REPORT, Resubmit(NOW, "ReportExpired", "it is gone"), execution=None),
    notifications.resumed(
        REPORT,
        Resume(Entry.CHECK, NOW, frees_slot=False, error="States.Timeout", reason="too long"),
        execution=None,
    ),
    notifications.refused_by_vonage(REPORT, VonageUnavailable("no answer")),
    notifications.duplicate(REPORT, "6c5506b7-f16a-44dc-af06-756bbf467488"),
    notifications.held(REPORT, Hold(NOW, "no answer", "6c5506b7")),
    notifications.held(REPORT, Hold(NOW, "no answer")),
    notifications.overdue(REPORT, since=NOW, is_planned=False),
    notifications.refused(Refusal("(all)", "(JSON)", "must be a list, in [ ]")),
    notifications.removed("sms-outbound", "abcd1234", since=NOW),
    notifications.spend_capped(Budget("2026-11", 5_000_000, 4_999_000), 2),
    notifications.subaccounts_changed("abcd1234", ["subacct1"], []),
    notifications.taken_over("7", "s3://bucket/definitions/report-definitions.json"),
    notifications.period_complete(NOVEMBER, key="periods/2026/11/1.json"),
    notifications.period_overdue("2026-11", "sms 2026-11-29 (FAILED)", since=NOW),
]


@pytest.mark.parametrize("body", KINDS, ids=lambda body: body["event"])
def test_notification_fits_the_schema_of_its_kind(body: dict[str, Any]) -> None:
    check_notification(body)


def test_every_kind_of_notification_has_a_schema() -> None:
    kinds = {each["$ref"].rpartition("/")[2] for each in schema("notification")["oneOf"]}

    assert kinds == {"report.delivered", *(body["event"] for body in KINDS)}


def delivery(folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Deliver a window; return its manifest, receipt and notification."""
    row = {"id": "1", "total_price": "0.05", "currency": "EUR", "date_received": "x"}
    Delivered(folder).deliver("SMS", [row], definition="sms")
    (path,) = (folder / "manifests").rglob("*.json")
    (beside,) = (folder / "archives").rglob("*.json")
    manifest = json.loads(path.read_text())
    body = notifications.delivered(manifest, manifest_key=str(path.relative_to(folder)))
    return manifest, json.loads(beside.read_text()), body


def test_delivery_fits_the_schemas(tmp_path: Path) -> None:
    manifest, receipt, body = delivery(tmp_path)

    check("manifest", manifest)
    check("receipt", receipt)
    check_notification(body)


def test_new_field_needs_a_line_in_the_schema_but_readers_accept_it(tmp_path: Path) -> None:
    manifest, _, _ = delivery(tmp_path)
    manifest["dataset"]["rows_of_tomorrow"] = 1

    assert accepts("manifest", manifest)
    with pytest.raises(ValidationError, match="rows_of_tomorrow"):
        check("manifest", manifest)


def test_notification_of_another_kind_does_not_fit(tmp_path: Path) -> None:
    _, _, body = delivery(tmp_path)

    assert not accepts("notification", {**body, "event": "report.failed"})
