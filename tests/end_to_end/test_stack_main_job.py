"""The main job: the nine default definitions, from the schedule to the notification."""

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.alarms import OURS, alarms_of_stack, metrics_in, series_of, widgets
from vonage_reports.domain.report import Report, State

if TYPE_CHECKING:
    from tests.end_to_end.conftest import LocalStack

DEFINITIONS = {
    "sms-outbound", "sms-inbound", "messages-outbound", "messages-inbound",
    "voice-calls", "voice-failed", "verify", "verify-legacy", "reports-usage",
}  # fmt: skip


@dataclass(frozen=True)
class MainJob:
    answer: dict[str, Any]
    reports: dict[str, Report]
    notifications: list[tuple[dict[str, str], dict[str, Any]]]
    archives: dict[str, bytes]
    manifests: dict[str, Any]
    at_vonage: dict[str, Any]


@pytest.fixture(scope="module")
def simulator_settings() -> dict[str, Any]:
    # Five reports take all slots before the first of them is ready.
    return {"seconds_per_report": 4.0}


@pytest.fixture(scope="module")
def main_job(local_stack: "LocalStack") -> MainJob:
    answer = local_stack.scheduled()
    reports = local_stack.until_finished(answer["planned"])
    return MainJob(
        answer=answer,
        reports=reports,
        notifications=local_stack.notifications(),
        archives=local_stack.objects("archives/"),
        manifests={
            key: json.loads(body) for key, body in local_stack.objects("manifests/").items()
        },
        at_vonage=local_stack.simulator.state(),
    )


def test_five_reports_are_submitted_and_four_wait(main_job: MainJob) -> None:
    assert {report.definition for report in main_job.reports.values()} == DEFINITIONS
    assert len(main_job.answer["submitted"]) == 5
    assert main_job.answer["waiting"] == 4


def test_every_report_is_delivered_in_one_attempt_and_one_run(main_job: MainJob) -> None:
    assert len(main_job.reports) == 9
    for report in main_job.reports.values():
        assert (report.state, report.attempt, report.run) == (State.DELIVERED, 1, 1)


def test_archives_equal_vonages_files_byte_for_byte(main_job: MainJob) -> None:
    generated = {each["request_id"]: each["sha256"] for each in main_job.at_vonage["reports"]}
    stored = {
        key.rsplit("/", 1)[1].removesuffix(".zip"): hashlib.sha256(content).hexdigest()
        for key, content in main_job.archives.items()
        if key.endswith(".zip")
    }
    assert len(stored) == 9
    assert stored == generated


def test_each_archive_has_a_receipt(main_job: MainJob) -> None:
    for key, content in main_job.archives.items():
        if key.endswith(".zip"):
            receipt = json.loads(main_job.archives[key.removesuffix(".zip") + ".json"])
            assert receipt["archive"]["key"] == key
            assert receipt["archive"]["bytes"] == len(content)
            assert receipt["archive"]["sha256"] == hashlib.sha256(content).hexdigest()


def test_manifests_have_vonages_row_counts(main_job: MainJob) -> None:
    counted = {each["request_id"]: each["items_count"] for each in main_job.at_vonage["reports"]}
    assert len(main_job.manifests) == 9
    for manifest in main_job.manifests.values():
        [archive] = manifest["archives"]
        assert archive["key"] in main_job.archives
        assert manifest["rows"] == archive["items_count"] == counted[archive["request_id"]] > 0


def test_each_delivery_is_announced_once_with_attributes(main_job: MainJob) -> None:
    announced = {
        body["report_id"]: (attributes, body) for attributes, body in main_job.notifications
    }
    assert len(main_job.notifications) == len(announced) == 9
    for report_id, report in main_job.reports.items():
        attributes, body = announced[report_id]
        assert attributes == {
            "event": "report.delivered",
            "definition": report.definition,
            "product": report.product,
            "account_id": report.account_id,
            "revision": "final",
        }
        assert main_job.manifests[body["manifest"]]["report_id"] == report_id


def test_vonages_limits_are_kept(main_job: MainJob) -> None:
    assert main_job.at_vonage["max_in_flight"] == 5
    assert main_job.at_vonage["max_requests_per_second"] <= 5
    assert not any(main_job.at_vonage["violations"].values()), main_job.at_vonage["violations"]
    assert main_job.at_vonage["bill"]["records_billed_more_than_once"] == 0


def test_repeated_schedule_requests_nothing_twice(
    local_stack: "LocalStack", main_job: MainJob
) -> None:
    answer = local_stack.scheduled()
    assert (answer["planned"], answer["submitted"]) == ([], [])
    assert local_stack.simulator.state()["bill"] == main_job.at_vonage["bill"]


def test_metrics_of_a_delivery_are_logged_once(
    local_stack: "LocalStack", main_job: MainJob
) -> None:
    local_stack.sweep()
    found = metrics_in(local_stack.log_text())
    stack = ("stack", local_stack.stack.name)

    def total(name: str, *dimensions: tuple[str, str]) -> float:
        series = (OURS, name, frozenset({stack, *dimensions}))
        return sum(each.value for each in found if each.series == series)

    rows = {each["definition"]: each["rows"] for each in main_job.manifests.values()}
    for definition, count in rows.items():
        billed = 0 if definition == "reports-usage" else count
        of_definition = ("definition", definition)
        assert total("Deliveries", of_definition) == total("ReportsRequested", of_definition) == 1
        assert total("RowsDelivered", of_definition) == count
        assert total("BilledRecords", of_definition) == billed
        assert total("GenerationSeconds", of_definition) > 0
    assert total("Deliveries") == 9
    gauges = [each for each in found if each.name == "OldestUndeliveredHours"]
    assert {each.series[2] for each in gauges} == {frozenset({stack})}
    assert max(each.value for each in found if each.name == "SlotsInUse") > 0


def test_alarms_read_only_this_stacks_metrics(local_stack: "LocalStack", main_job: MainJob) -> None:
    assert main_job.reports
    cloudwatch = local_stack.emulator.client("cloudwatch")
    alarms = cloudwatch.describe_alarms(MaxRecords=100)["MetricAlarms"]
    assert len(alarms) == len(alarms_of_stack({}))
    topic = local_stack.stack.outputs["AlarmTopicArn"]
    for alarm in alarms:
        assert alarm["AlarmActions"] == [topic]
    ours = {series_of(alarm)[2] for alarm in alarms if alarm["Namespace"] == OURS}
    assert ours == {frozenset({("stack", local_stack.stack.name)})}
    (dashboard,) = cloudwatch.list_dashboards()["DashboardEntries"]
    body = cloudwatch.get_dashboard(DashboardName=dashboard["DashboardName"])["DashboardBody"]
    shown = json.loads(body)["widgets"]
    assert len(shown) == len(widgets())
    (states,) = [each for each in shown if each["type"] == "alarm"]
    assert set(states["properties"]["alarms"]) == {each["AlarmArn"] for each in alarms}
    assert "${" not in body


def test_each_log_line_names_its_report(local_stack: "LocalStack", main_job: MainJob) -> None:
    lines = [
        json.loads(line) for line in local_stack.log_text().splitlines() if line.startswith("{")
    ]
    of_reports = [line for line in lines if line.get("service") != "submit_reports"]
    gauges = [line for line in of_reports if "SlotsInUse" in line]
    messages = {line.get("message") for line in of_reports}
    assert messages == {"checked", "stored", "converted", None}, "None: metrics"
    for line in of_reports:
        if line not in gauges:
            report = main_job.reports[line["report_id"]]
            assert line["definition"] == report.definition
            assert line["request_id"] == report.request_id
            assert line["execution"] == report.execution_name


def test_no_event_is_undelivered(local_stack: "LocalStack", main_job: MainJob) -> None:
    assert main_job.reports
    assert local_stack.undelivered() == []
