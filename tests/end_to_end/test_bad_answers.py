"""Wrong answers of Vonage: one run of many definitions, each with a fault of its own."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.end_to_end import faults
from tests.end_to_end.conftest import TEN_TIMES_FASTER, LocalStack
from tests.end_to_end.faults import WRONG_SECRET
from tests.end_to_end.permissions import idle
from vonage_reports.domain.objects import DEFINITIONS_KEY, manifest_key, partition
from vonage_reports.domain.report import Report, State
from vonage_reports.submit_reports.take_over import CHECKED


@dataclass(frozen=True)
class Case:
    """A definition, its faults, and the expected end of its report.

    `error` and `message` are the failure's name and a part of its sentence. Without them the report
    is delivered. `created` counts the reports at Vonage, `announced` the notifications.
    """

    product: str
    faults: tuple[dict[str, Any], ...] = ()
    definition: tuple[tuple[str, Any], ...] = ()
    error: str = ""
    message: str = ""
    created: int = 1
    announced: int = 1
    stays_planned: bool = False


CASES = {
    "fine": Case("VOICE-TTS"),
    "unknown-status": Case(
        "VERIFY-V2",
        ({"operation": "create", "fault": "outcome", "request_status": "EXPLODED"},),
        error="ReportFailed",
        message="EXPLODED",
    ),
    "no-link": Case(
        "VOICE-CALL",
        ({"operation": "create", "fault": "no_link"},),
        error="RowsMismatch",
        message="no download link",
    ),
    "empty-without-file": Case(
        "AMD", ({"operation": "create", "fault": "empty", "how": "no_link"},)
    ),
    "empty-file": Case(
        "IN-APP-VOICE", ({"operation": "create", "fault": "empty", "how": "zero_bytes"},)
    ),
    "malformed-json": Case("ASR", ({"operation": "get", "fault": "malformed_json", "times": 2},)),
    "list-form": Case(
        "VOICE-FAILED",
        ({"operation": "get", "fault": "list_form", "times": None},),
        definition=(("filters", {"to": "447700900123"}),),
    ),
    "quoted-number": Case(
        "MESSAGES",
        (
            {
                "operation": "create",
                "fault": "status",
                "status": 422,
                "body": '{"title": "Invalid", "detail": "447700900123 is not yours"}',
            },
        ),
        definition=(("filters", {"direction": "outbound", "to": "447700900123"}),),
        error="VonageRejected",
        message="is not yours",
        created=0,
    ),
    "unreadable-answer-to-post": Case(
        "CONVERSATION-EVENT", ({"operation": "create", "fault": "not_json"},)
    ),
    "too-many-requests": Case(
        "CONVERSATION-MESSAGE",
        tuple(
            {"operation": operation, "fault": "status", "status": 429, "retry_after": 1}
            for operation in ("create", "get", "download")
        ),
    ),
    "file-gone": Case(
        "NUMBER-INSIGHT",
        ({"operation": "download", "fault": "status", "status": 404, "times": None},),
        error="ReportExpired",
        message="404",
        created=3,
        # Two per attempt: the run is stuck, then the attempt is given up.
        announced=6,
    ),
    "file-late": Case(
        "WEBSOCKET-CALL",
        ({"operation": "download", "fault": "status", "status": 404, "times": 5},),
    ),
    "web-page": Case(
        "VIDEO-API",
        ({"operation": "download", "fault": "body", "how": "html", "times": None},),
        error="ArchiveCorrupt",
        message="does not begin as a ZIP",
    ),
    "short-file": Case(
        "SMS",
        ({"operation": "download", "fault": "body", "how": "short_no_error", "times": None},),
        definition=(("filters", {"direction": "inbound"}),),
        error="ArchiveCorrupt",
        message="cut off",
    ),
    "cut-download": Case(
        "SMS-TRAFFIC-CONTROL",
        ({"operation": "download", "fault": "body", "how": "truncated_with_length"},),
    ),
    "unknown-filter": Case(
        "VERIFY-API",
        definition=(("filters", {"colour": "blue"}),),
        error="VonageRejected",
        message="colour",
        created=0,
    ),
    "foreign-account": Case(
        "REPORTS-USAGE",
        definition=(("account_ids", ["foreign1"]),),
        error="VonageRejected",
        message="403",
        created=0,
        stays_planned=True,
    ),
    "not-enabled": Case(
        "NETWORK-API-EVENT",
        error="VonageRejected",
        message="enabled",
        created=0,
        stays_planned=True,
    ),
}


NEVER_SEEN = {
    # Only for a broken download of more than one part (8 MB): test_multipart_upload.py.
    ("StoreReportFunction", "s3:AbortMultipartUpload"),
    # Only for unreadable rows that an operator accepts (unreadable/): test_convert_report.py.
    ("ConvertReportFunction", "s3:PutObject"),
    # Lambda itself sends an event that failed three times, with the function's role.
    ("SubmitReportsFunction", "sqs:SendMessage"),
}
"""Permissions that no test in this module uses."""


@dataclass(frozen=True)
class Outcome:
    reports: dict[str, Report]
    announced: dict[str, list[dict[str, Any]]]
    objects: dict[str, bytes]
    created: dict[str, int]


@pytest.fixture(scope="module")
def simulator_settings() -> dict[str, Any]:
    return {"unprovisioned_products": ["NETWORK-API-EVENT"], "rows_per_day": 200}


@pytest.fixture(scope="module")
def requests_per_second() -> int:
    return TEN_TIMES_FASTER


@pytest.fixture(scope="module")
def outcome(local_stack: LocalStack) -> Outcome:
    """Collect one window of every case's definition."""
    for case in CASES.values():
        for fault in case.faults:
            local_stack.simulator.fault(**fault, product=case.product)
    ending = [name for name, case in CASES.items() if not case.stays_planned]
    reports = local_stack.until_finished(plan(local_stack, ending))
    announced: dict[str, list[dict[str, Any]]] = {name: [] for name in CASES}

    def all_announced() -> bool:
        for _, body in local_stack.notifications():
            announced[body["definition"]].append(body)
        return all(announced.values())

    # Reports that stay planned are retried for ever, so they start after the others have finished.
    plan(local_stack, [name for name in CASES if name not in ending], beside=ending)
    local_stack.until(all_announced, "a notification of each")
    products = [each["product"] for each in local_stack.simulator.state()["reports"]]
    return Outcome(
        reports={report.definition: report for report in reports.values()},
        announced=announced,
        objects=local_stack.objects(""),
        created={name: products.count(case.product) for name, case in CASES.items()},
    )


def plan(local_stack: LocalStack, names: list[str], *, beside: Sequence[str] = ()) -> list[str]:
    """Let the schedule plan one window of each of these cases, beside those of earlier runs."""
    definitions = [
        {"name": name, "product": CASES[name].product, **dict(CASES[name].definition)}
        for name in [*beside, *names]
    ]
    local_stack.stack.set_definitions(json.dumps(definitions))
    planned: list[str] = local_stack.scheduled("2026-11-22T02:15:00Z")["planned"]
    assert len(planned) == len(names)
    return planned


DELIVERED = [name for name, case in CASES.items() if not case.error]
NOT_DELIVERED = [name for name, case in CASES.items() if case.error]


@pytest.mark.parametrize("name", DELIVERED)
def test_recoverable_fault_ends_in_delivery(outcome: Outcome, name: str) -> None:
    assert outcome.reports[name].state is State.DELIVERED
    assert [body["event"] for body in outcome.announced[name]] == ["report.delivered"]


@pytest.mark.parametrize("name", NOT_DELIVERED)
def test_unrecoverable_fault_is_announced_with_its_reason(outcome: Outcome, name: str) -> None:
    assert outcome.announced[name]
    for body in outcome.announced[name]:
        assert (body["event"], body["error"]) == ("report.failed", CASES[name].error)
        assert CASES[name].message in body["message"]
    assert len(outcome.announced[name]) == CASES[name].announced


@pytest.mark.parametrize("name", NOT_DELIVERED)
def test_failed_report_leaves_only_refused_bytes(outcome: Outcome, name: str) -> None:
    left = [key.partition("/")[0] for key in outcome.objects if f"/{name}/" in key]
    assert left == (["refused"] if CASES[name].error == "ArchiveCorrupt" else [])


@pytest.mark.parametrize("name", CASES)
def test_each_report_is_created_only_as_often_as_needed(outcome: Outcome, name: str) -> None:
    assert outcome.created[name] == CASES[name].created


@pytest.mark.parametrize("name", ["empty-without-file", "empty-file"])
def test_empty_report_is_delivered_with_no_rows(outcome: Outcome, name: str) -> None:
    assert outcome.announced[name][0]["rows"] == 0


def test_no_slot_and_no_upload_stays_open(outcome: Outcome, local_stack: LocalStack) -> None:
    assert outcome.reports
    # Reports that stay planned are retried for ever, and hold a slot for a moment each time.
    local_stack.until(lambda: local_stack.ledger.open_work().slots == {}, "five free slots")
    work = local_stack.ledger.open_work()
    assert {report.definition for report in work.reports} == {"foreign-account", "not-enabled"}
    uploads = local_stack.emulator.client("s3").list_multipart_uploads(
        Bucket=local_stack.stack.outputs["BucketName"]
    )
    assert uploads.get("Uploads", []) == []


def test_vonages_limits_are_kept(outcome: Outcome, local_stack: LocalStack) -> None:
    assert outcome.reports
    state = local_stack.simulator.state()
    assert state["max_in_flight"] <= 5
    assert state["max_requests_per_second"] <= TEN_TIMES_FASTER
    assert not any(state["violations"].values()), state["violations"]


def test_definitions_of_an_edited_parameter_are_taken_over(
    outcome: Outcome, local_stack: LocalStack
) -> None:
    assert outcome.reports
    s3, bucket = local_stack.emulator.client("s3"), local_stack.stack.outputs["BucketName"]
    mine = local_stack.stack.definitions()
    parameter = local_stack.stack.outputs["DefinitionsParameterName"]
    ssm = local_stack.emulator.client("ssm")
    of_template = ssm.get_parameter(Name=parameter)["Parameter"]["Value"]
    s3.delete_object(Bucket=bucket, Key=DEFINITIONS_KEY)
    local_stack.stack.submit({"sweep": True})
    # As an earlier version left the stack: no object, and a deployment overwrote the parameter.
    local_stack.ledger.clear_announced(CHECKED)
    for text in (mine, of_template):
        ssm.put_parameter(Name=parameter, Value=text, Overwrite=True)
    local_stack.stack.submit({"sweep": True})

    assert local_stack.objects(DEFINITIONS_KEY) == {DEFINITIONS_KEY: mine.encode()}
    told = [body["event"] for _, body in local_stack.notifications()]
    assert told == ["definition.refused", "definitions.taken_over"]


def announce_a_month_twice(local_stack: LocalStack) -> None:
    """Deliver the last day of October, and collect it again."""
    definition = {"name": "closing", "product": "VOICE-TTS", "delay_days": [0]}
    local_stack.stack.set_definitions(json.dumps([definition]))
    [planned] = local_stack.scheduled("2026-11-01T02:15:00Z")["planned"]

    def is_told(number: int) -> bool:
        local_stack.notifications()
        return [each["number"] for each in local_stack.periods] == [*range(1, number + 1)]

    local_stack.until(lambda: is_told(1), "October is complete")
    local_stack.stack.submit({"recollect": {"report_id": planned, "confirm": True}})
    local_stack.until(lambda: is_told(2), "October is complete again")


def test_refusal_by_glue_hinders_no_delivery_and_a_sweep_registers_it(
    outcome: Outcome, local_stack: LocalStack
) -> None:
    assert outcome.reports
    case = faults.Case(local_stack, "of-glue")
    with (
        faults.refused(case, "ConvertReportFunctionRole", "glue:CreatePartition"),
        faults.refused(case, "SubmitReportsFunctionRole", "glue:CreatePartition"),
    ):
        (report,) = local_stack.until_finished(case.collect()).values()
        local_stack.sweep()
        (waiting,) = local_stack.ledger.open_work().registrations
    assert (report.state, report.run, waiting.report_id) == (State.DELIVERED, 1, report.report_id)
    manifest = local_stack.objects("manifests/of-glue-0/")[manifest_key(report)]
    assert json.loads(manifest)["catalogue"] == "pending"
    local_stack.until(
        lambda: not local_stack.ledger.open_work().registrations, "the registered partition"
    )
    found = local_stack.emulator.client("glue").get_partitions(
        DatabaseName=local_stack.stack.outputs["DatabaseName"], TableName="verify_v2"
    )["Partitions"]
    assert list(partition(report).values()) in [each["Values"] for each in found]
    assert local_stack.objects("manifests/of-glue-0/") == {manifest_key(report): manifest}
    delivered = [
        body for _, body in local_stack.notifications() if body["event"] == "report.delivered"
    ]
    assert [body["catalogue"] for body in delivered] == ["pending"]


def test_no_role_allows_an_unused_action(outcome: Outcome, local_stack: LocalStack) -> None:
    # The functions of this module reach more code than those of any other.
    assert outcome.reports
    announce_a_month_twice(local_stack)
    unused = idle(local_stack.used(), local_stack.allowed())
    assert {(each.function, each.action) for each in unused} == NEVER_SEEN


def test_wrong_credentials_name_the_secret_and_recover(local_stack: LocalStack) -> None:
    simulator = local_stack.simulator
    local_stack.stack.set_definitions('[{"name": "recovered", "product": "VOICE-TTS"}]')
    local_stack.notifications()
    # Vonage refuses the secret of warm functions, and the one that they fetch again.
    local_stack.stack.set_credentials(simulator.api_key, WRONG_SECRET)
    simulator.fault("create", "status", status=401, times=None)
    planned = local_stack.scheduled("2026-11-23T02:15:00Z")["planned"]
    announced = [body for _, body in local_stack.notifications()]
    assert {body["event"] for body in announced} == {"report.failed"}
    assert local_stack.stack.outputs["SecretArn"] in announced[0]["message"]
    local_stack.stack.set_credentials(simulator.api_key, simulator.api_secret)
    simulator.clear_faults()
    (report,) = local_stack.until_finished(planned).values()
    assert report.state is State.DELIVERED
