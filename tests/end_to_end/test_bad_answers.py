"""What Vonage may answer wrongly: one run of many definitions, each with a fault of its own."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.end_to_end.faults import WRONG_SECRET
from tests.end_to_end.permissions import idle
from vonage_reports.domain.report import Report, State

if TYPE_CHECKING:
    from tests.end_to_end.conftest import LocalStack


@dataclass(frozen=True)
class Case:
    """A definition, what goes wrong with it, and what becomes of its report.

    `error` and `says` are the failure's name and a part of its sentence; without them the report
    is delivered. `bought` counts the reports that Vonage made of it, `told` the announcements.
    """

    product: str
    faults: tuple[dict[str, Any], ...] = ()
    definition: tuple[tuple[str, Any], ...] = ()
    error: str = ""
    says: str = ""
    bought: int = 1
    told: int = 1
    stays_planned: bool = False


CASES = {
    "fine": Case("VOICE-TTS"),
    "unknown-status": Case(
        "VERIFY-V2",
        ({"operation": "create", "fault": "outcome", "request_status": "EXPLODED"},),
        error="ReportFailed",
        says="EXPLODED",
    ),
    "no-link": Case(
        "VOICE-CALL",
        ({"operation": "create", "fault": "no_link"},),
        error="RowsMismatch",
        says="no download link",
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
        says="is not yours",
        bought=0,
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
        says="404",
        bought=3,
        # Of each attempt: that it is stuck, and that it is given up.
        told=6,
    ),
    "file-late": Case(
        "WEBSOCKET-CALL",
        ({"operation": "download", "fault": "status", "status": 404, "times": 5},),
    ),
    "web-page": Case(
        "VIDEO-API",
        ({"operation": "download", "fault": "body", "how": "html", "times": None},),
        error="ArchiveCorrupt",
        says="does not begin as a ZIP",
    ),
    "short-file": Case(
        "SMS",
        ({"operation": "download", "fault": "body", "how": "short_no_error", "times": None},),
        definition=(("filters", {"direction": "inbound"}),),
        error="ArchiveCorrupt",
        says="cut off",
    ),
    "cut-download": Case(
        "SMS-TRAFFIC-CONTROL",
        ({"operation": "download", "fault": "body", "how": "truncated_with_length"},),
    ),
    "unknown-filter": Case(
        "VERIFY-API",
        definition=(("filters", {"colour": "blue"}),),
        error="VonageRejected",
        says="colour",
        bought=0,
    ),
    "foreign-account": Case(
        "REPORTS-USAGE",
        definition=(("account_ids", ["foreign1"]),),
        error="VonageRejected",
        says="403",
        bought=0,
        stays_planned=True,
    ),
    "not-enabled": Case(
        "NETWORK-API-EVENT",
        error="VonageRejected",
        says="enabled",
        bought=0,
        stays_planned=True,
    ),
}


NEVER_SEEN = {
    # Only a download of more than one part (8 MB) that breaks: tests/integration/test_upload.py.
    ("StoreReportFunction", "s3:AbortMultipartUpload"),
    # Lambda itself, with the function's role, for an event that failed three times.
    ("SubmitReportsFunction", "sqs:SendMessage"),
}
"""What a role allows and nothing here does."""


@dataclass(frozen=True)
class Outcome:
    reports: dict[str, Report]
    told: dict[str, list[dict[str, Any]]]
    objects: dict[str, bytes]
    bought: dict[str, int]


@pytest.fixture(scope="module")
def simulator_settings() -> dict[str, Any]:
    return {"unprovisioned_products": ["NETWORK-API-EVENT"], "rows_per_day": 200}


@pytest.fixture(scope="module")
def outcome(local_stack: "LocalStack") -> Outcome:
    """Collect one window of every case's definition."""
    for case in CASES.values():
        for fault in case.faults:
            local_stack.simulator.fault(**fault, product=case.product)
    ending = [name for name, case in CASES.items() if not case.stays_planned]
    reports = local_stack.until_ended(plan(local_stack, ending))
    told: dict[str, list[dict[str, Any]]] = {name: [] for name in CASES}

    def all_told() -> bool:
        for _, body in local_stack.notifications():
            told[body["definition"]].append(body)
        return all(told.values())

    # Those that stay planned are tried again and again: they come when the others are done.
    plan(local_stack, [name for name in CASES if name not in ending])
    local_stack.until(all_told, "a word of each")
    products = [each["product"] for each in local_stack.simulator.state()["reports"]]
    return Outcome(
        reports={report.definition: report for report in reports.values()},
        told=told,
        objects=local_stack.objects(""),
        bought={name: products.count(case.product) for name, case in CASES.items()},
    )


def plan(local_stack: "LocalStack", names: list[str]) -> list[str]:
    """Let the schedule plan one window of each of these cases."""
    definitions = [
        {"name": name, "product": CASES[name].product, **dict(CASES[name].definition)}
        for name in names
    ]
    local_stack.stack.set_definitions(json.dumps(definitions))
    planned: list[str] = local_stack.scheduled("2026-11-22T02:15:00Z")["planned"]
    assert len(planned) == len(names)
    return planned


DELIVERED = [name for name, case in CASES.items() if not case.error]
NOT_DELIVERED = [name for name, case in CASES.items() if case.error]


@pytest.mark.parametrize("name", DELIVERED)
def test_what_heals_is_delivered(outcome: Outcome, name: str) -> None:
    assert outcome.reports[name].state is State.DELIVERED
    assert [body["event"] for body in outcome.told[name]] == ["report.delivered"]


@pytest.mark.parametrize("name", NOT_DELIVERED)
def test_what_does_not_heal_is_announced_with_a_sentence(outcome: Outcome, name: str) -> None:
    assert outcome.told[name]
    for body in outcome.told[name]:
        assert (body["event"], body["error"]) == ("report.failed", CASES[name].error)
        assert CASES[name].says in body["message"]
    assert len(outcome.told[name]) == CASES[name].told


@pytest.mark.parametrize("name", NOT_DELIVERED)
def test_nothing_of_a_failed_report_is_visible(outcome: Outcome, name: str) -> None:
    assert [key for key in outcome.objects if f"/{name}/" in key] == []


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_bought_more_often_than_it_must(outcome: Outcome, name: str) -> None:
    assert outcome.bought[name] == CASES[name].bought


@pytest.mark.parametrize("name", ["empty-without-file", "empty-file"])
def test_an_empty_report_is_a_delivery_without_rows(outcome: Outcome, name: str) -> None:
    assert outcome.told[name][0]["rows"] == 0


def test_no_slot_and_no_upload_is_left_open(outcome: Outcome, local_stack: "LocalStack") -> None:
    assert outcome.reports
    # Those that stay are tried again and again, each time with a slot for a moment.
    local_stack.until(lambda: local_stack.ledger.open_work().slots == {}, "five free slots")
    work = local_stack.ledger.open_work()
    assert {report.definition for report in work.reports} == {"foreign-account", "not-enabled"}
    uploads = local_stack.emulator.client("s3").list_multipart_uploads(
        Bucket=local_stack.stack.outputs["BucketName"]
    )
    assert uploads.get("Uploads", []) == []


def test_vonage_saw_no_more_than_it_allows(outcome: Outcome, local_stack: "LocalStack") -> None:
    assert outcome.reports
    state = local_stack.simulator.state()
    assert state["max_in_flight"] <= 5
    assert state["max_requests_per_second"] <= 5
    assert not any(state["violations"].values()), state["violations"]


def test_no_role_allows_what_its_function_never_does(
    outcome: Outcome, local_stack: "LocalStack"
) -> None:
    # Of all modules this one brings its functions into the most places.
    assert outcome.reports
    unused = idle(local_stack.used(), local_stack.allowed())
    assert {(each.function, each.action) for each in unused} == NEVER_SEEN


def test_wrong_credentials_name_the_secret_and_heal(local_stack: "LocalStack") -> None:
    simulator = local_stack.simulator
    local_stack.stack.set_definitions('[{"name": "healed", "product": "VOICE-TTS"}]')
    local_stack.notifications()
    # The warm functions' secret is refused, and so is the one that they fetch again.
    local_stack.stack.set_credentials(simulator.api_key, WRONG_SECRET)
    simulator.fault("create", "status", status=401, times=None)
    planned = local_stack.scheduled("2026-11-23T02:15:00Z")["planned"]
    told = [body for _, body in local_stack.notifications()]
    assert {body["event"] for body in told} == {"report.failed"}
    assert local_stack.stack.outputs["SecretArn"] in told[0]["message"]
    local_stack.stack.set_credentials(simulator.api_key, simulator.api_secret)
    simulator.clear_faults()
    (report,) = local_stack.until_ended(planned).values()
    assert report.state is State.DELIVERED
