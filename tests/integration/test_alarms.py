"""Each alarm's condition: the handlers write the metric that the template's alarm reads."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import boto3
import pytest
import time_machine

from tests.integration.conftest import as_moto_takes_it
from tests.support.alarms import (
    ALARMS,
    STACK,
    Datum,
    drawn_by,
    goes_off,
    metrics_in,
    series_of,
    widgets,
)
from tests.support.catalogue import make_catalogue
from tests.support.handlers import Context, Handler, load_handler, set_secret
from tests.support.stack import Stack, definition
from vonage_reports.aws.cloudwatch import Metrics
from vonage_reports.aws.ledger_items import finished_item
from vonage_reports.domain.calendar import report_for_window
from vonage_reports.domain.errors import InvalidRequest, VonageRejected
from vonage_reports.domain.metrics import ALARMING_GAUGES, CHARTED_GAUGES
from vonage_reports.domain.objects import manifest_key
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.volume import alike_before
from vonage_reports.domain.windows import Window

DAILY = {"name": "daily", "product": "VERIFY-V2"}
Period = Callable[[], list[Datum]]
OURS = {name: each for name, each in ALARMS.items() if each["Namespace"] == "VonageUsageReports"}


@dataclass
class Steps:
    """Checks and stores a report as the workflow would, with a cold function each time."""

    def check(self, report: Report) -> dict[str, Any]:
        event = {"report": _input(report), "waited_seconds": 20, "started": "2026-11-22T02:16:00Z"}
        return load_handler("check_report")(event, Context("check"))

    def store(self, report: Report) -> int:
        """Store a report that is ready; return its rows."""
        event = {"report": _input(report), "download": self.check(report)["download"]}
        return int(load_handler("store_report")(event, Context("store"))["rows"])


def _input(report: Report) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(report.execution_input or "")
    return value


@pytest.fixture
def steps(handler: Handler) -> Steps:
    assert handler, "the fixture sets the environment"
    assert boto3.DEFAULT_SESSION is not None
    boto3.DEFAULT_SESSION.events.register_first(
        "before-call.s3", as_moto_takes_it, unique_id="once for all tests"
    )
    return Steps()


@pytest.fixture
def period(handler: Handler, capsys: pytest.CaptureFixture[str]) -> Period:
    """Sweep, and return the metrics logged since the last sweep."""

    def end() -> list[Datum]:
        handler({"sweep": True})
        return metrics_in(capsys.readouterr().out)

    return end


def schedule(handler: Handler, stack: Stack, **ago: float) -> dict[str, Any]:
    """Let the schedule come, and its event with it, so long ago."""
    at = stack.now - timedelta(**ago)
    with time_machine.travel(at):
        return handler({"scheduled_time": at.isoformat()})


def deliver(stack: Stack, rows: Mapping[str, int] = MappingProxyType({})) -> None:
    """End the runs of all reports; `rows` are by definition, ten by default."""
    for report in stack.open():
        stack.runs.start(report)
        stack.runs.end(report, rows=rows.get(report.definition, 10))
    stack.settle()


def alarms_after(*periods: list[Datum]) -> set[str]:
    """Return our metrics' alarms that are in ALARM after these periods, the latest first."""
    return {name for name, alarm in OURS.items() if goes_off(alarm, *periods)}


def test_no_alarm_in_normal_operation(
    stack: Stack, handler: Handler, period: Period, steps: Steps
) -> None:
    handler.define(DAILY)
    stack.simulator.fault("create", "outcome", request_status="SUCCESS", seconds=0)
    schedule(handler, stack, minutes=1)
    (report,) = stack.open()
    rows = steps.store(report)
    stack.runs.start(report)
    stack.runs.end(report, rows=rows)
    seen = stack.services.ledger.open_work()
    for _ in ("one invocation", "another at the same moment"):
        stack.settle_seen(seen)
    healthy = period()

    assert alarms_after(healthy, healthy, healthy, healthy) == set()
    values = {each.name: each.value for each in healthy}
    assert values["ReportsRequested"] == 1
    assert [each.value for each in healthy if each.name == "Deliveries"] == [1, 1], (
        "one for the stack, one for its definition"
    )
    assert values["RowsDelivered"] == values["BilledRecords"] == rows > 0
    assert values["OldestUndeliveredHours"] == 0
    assert values["HoursToDelivery"] >= 72


def test_missing_sweeps_alarm_after_25_minutes(
    stack: Stack, handler: Handler, period: Period
) -> None:
    handler.define(DAILY)
    schedule(handler, stack, minutes=1)
    well = period()

    assert alarms_after([], well, well) == alarms_after([], [], [], [], well) == set()
    assert alarms_after([], [], [], [], [], well) == {"DeliveryOverdue"}


def test_stopped_calendar_is_overdue_without_open_reports(
    stack: Stack, handler: Handler, period: Period
) -> None:
    handler.define(DAILY)
    schedule(handler, stack, days=4)
    deliver(stack)
    stack.announced()

    late = period()

    assert stack.open() == []
    assert alarms_after(late, late, late) == {"DeliveryOverdue"}
    (notification,) = stack.announced()
    assert (notification["event"], notification["definition"]) == ("report.overdue", "daily")
    assert "the calendar has not planned it yet" in notification["message"]
    schedule(handler, stack, minutes=1)
    deliver(stack)
    well = period()
    assert alarms_after(well, late, late) == set()
    # The announcement is cleared, so a recurrence is announced again, once.
    assert not [each for each in stack.services.ledger.open_work().announced if "overdue" in each]


def test_undelivered_report_is_overdue_and_announced_once(
    stack: Stack, handler: Handler, period: Period
) -> None:
    handler.define(DAILY)
    schedule(handler, stack, days=2)
    schedule(handler, stack, minutes=1)

    late = [period() for _ in range(3)]

    # The report was requested two days ago.
    assert alarms_after(*late) == {"DeliveryOverdue", "RunTooLong"}
    (notification,) = stack.announced()
    assert (notification["event"], notification["definition"]) == ("report.overdue", "daily")
    oldest = min(stack.open(), key=lambda each: each.window.end)
    assert notification["report_id"] == oldest.report_id
    assert notification["message"].endswith("not delivered: the report is SUBMITTED")


def test_overdue_account_is_announced_daily_until_it_is_delivered(
    stack: Stack, handler: Handler
) -> None:
    handler.define({**DAILY, "account_ids": ["abcd1234", "subacct1"]})
    ledger = stack.services.ledger
    # An earlier version announced one account for its whole definition.
    ledger.mark_announced("overdue#daily")
    schedule(handler, stack, days=2)

    def overdue(**later: float) -> list[str]:
        """Sweep `later`, and return the accounts that are announced."""
        with time_machine.travel(stack.now + timedelta(**later), tick=False):
            handler({"sweep": True})
        return sorted(
            each["account_id"] for each in stack.announced() if each["event"] == "report.overdue"
        )

    def overdue_causes() -> set[str]:
        return {each for each in ledger.open_work().announced if each.startswith("overdue#")}

    both = ["abcd1234", "subacct1"]
    assert [overdue(), overdue(hours=23), overdue(hours=24)] == [both, [], both]
    assert overdue_causes() == {"overdue#daily#abcd1234", "overdue#daily#subacct1"}

    schedule(handler, stack, minutes=1)
    # The simulator works on reports whose runs have ended here.
    stack.simulator.settings(jobs_policy="queue")
    for _ in range(3):
        for report in stack.open():
            if report.account_id == "abcd1234" and report.execution_input:
                stack.runs.start(report)
                stack.runs.end(report)
        stack.settle()
        stack.submit()
    assert overdue(hours=25) == []
    assert overdue_causes() == {"overdue#daily#subacct1"}


def test_requested_old_window_is_not_overdue(
    stack: Stack, handler: Handler, period: Period
) -> None:
    handler.define(DAILY)
    days = {"start": stack.day(20).isoformat(), "end": stack.day(19).isoformat()}
    handler({"backfill": {"definition": "daily", **days}})
    (report,) = stack.open()
    asked = period()
    assert alarms_after(asked, asked, asked) == set()
    deliver(stack)

    handler({"recollect": {"report_id": report.report_id, "confirm": True}})
    again = period()
    assert len(stack.open()) == 1
    assert alarms_after(again, again, again) == set()


def test_removed_definition_is_not_overdue(stack: Stack, handler: Handler, period: Period) -> None:
    handler.define(DAILY)
    schedule(handler, stack, days=4)
    deliver(stack)
    stack.plan_definitions([definition(**DAILY)], at=stack.now - timedelta(days=3))
    handler.define({**DAILY, "name": "another"})
    schedule(handler, stack, minutes=1)
    stack.announced()
    well = period()

    assert alarms_after(well, well, well) == set()
    assert [each["event"] for each in stack.announced()] == []
    assert {each.definition: each.state for each in stack.open()}["daily"] is State.PLANNED


def test_unmeasurable_sweep_alarms_by_missing_data(
    stack: Stack, handler: Handler, period: Period
) -> None:
    handler.define(DAILY)
    set_secret("", "")
    without_secret = period()
    set_secret(stack.simulator.api_key, stack.simulator.api_secret)
    handler.define(text='{"name": "daily"}')
    unreadable = period()
    handler.define(DAILY)
    well = period()

    missing = [
        {each.name for each in well} - {each.name for each in silent}
        for silent in (unreadable, without_secret)
    ]
    assert missing == [
        {"OldestUndeliveredHours"},
        {"OldestUndeliveredHours", "DefinitionsRefused"},
    ]
    both = {"DeliveryOverdue", "DefinitionRefused"}
    assert alarms_after(unreadable, unreadable, without_secret) == both
    assert alarms_after(well, without_secret, without_secret) == set()
    assert [each["event"] for each in stack.announced()] == ["definition.refused"]


def test_refused_definition_alarms_before_it_is_planned(
    stack: Stack, handler: Handler, period: Period
) -> None:
    handler.define(DAILY)
    schedule(handler, stack, minutes=1)
    deliver(stack)
    assert alarms_after(period()) == set()

    impossible, changed = {"window": "decade"}, {"time_zone": "Europe/London"}
    for refused in (impossible, changed):
        handler.define({**DAILY, **refused})
        assert alarms_after(period()) == alarms_after(period()) == {"DefinitionRefused"}
        (notification,) = stack.announced()
        assert (notification["event"], notification["definition"]) == (
            "definition.refused",
            "daily",
        )
    handler.define(DAILY)
    assert alarms_after(period()) == set()


def test_failed_sweep_still_writes_gauges(
    stack: Stack, handler: Handler, capsys: pytest.CaptureFixture[str]
) -> None:
    handler.define(DAILY)
    stack.simulator.fault("create", "status", status=429, retry_after=0, times=1)
    schedule(handler, stack, minutes=1)
    set_secret("", "")
    with pytest.raises(InvalidRequest, match="the secret"):
        load_handler("submit_reports")({"sweep": True}, Context("cold"))
    values = {each.name: each.value for each in metrics_in(capsys.readouterr().out)}
    assert values["ReportsWaiting"] == 1


def test_failed_report_alarms_and_is_no_longer_overdue(
    stack: Stack, handler: Handler, period: Period
) -> None:
    handler.define({**DAILY, "product": "NEW-PRODUCT"})
    schedule(handler, stack, days=2)
    schedule(handler, stack, minutes=1)
    assert alarms_after(period()) == {"ReportFailed"}

    after = period()
    assert alarms_after(after, after, after) == set()


def test_held_report_alarms_until_it_is_resolved(
    stack: Stack, handler: Handler, period: Period
) -> None:
    handler.define(DAILY)
    stack.now -= timedelta(minutes=11)
    stack.simulator.fault("create", "accept_then_cut")
    stack.plan_definitions([definition(**DAILY)], at=stack.now)
    stack.submit()
    stack.simulator.fault("list", "status", status=404, times=1)
    stack.later(minutes=10)
    (held,) = stack.submit().held

    assert alarms_after(period()) == {"ReportHeld"}
    # A failed sweep leaves this alarm without data.
    assert goes_off(OURS["ReportHeld"], []) is None
    (at_vonage,) = stack.created()
    handler({"resolve": {"report_id": held, "request_id": at_vonage["request_id"]}})
    assert alarms_after(period()) == set()


def in_flight_since(stack: Stack, *, hours: float, **entry: Any) -> Report:
    """Return a report that was submitted `hours` ago."""
    now = stack.now
    stack.now -= timedelta(hours=hours)
    stack.plan_definitions([definition(**{**DAILY, **entry})], at=stack.now)
    (name,) = stack.submit().report_ids
    stack.now = now
    return stack.known(name)


def test_expiring_archive_alarms_until_it_is_stored(
    stack: Stack, handler: Handler, period: Period, steps: Steps
) -> None:
    handler.define(DAILY)
    in_flight_since(stack, hours=59)
    assert "ArchiveExpiring" not in alarms_after(period())
    stack.simulator.fault("create", "outcome", request_status="SUCCESS", seconds=0)
    report = in_flight_since(stack, hours=61, name="another")
    assert "ArchiveExpiring" in alarms_after(period())

    # The run is not over, and the ledger has no receipt yet.
    steps.store(report)
    assert "ArchiveExpiring" not in alarms_after(period())


def test_run_far_longer_than_expected_alarms(
    stack: Stack, handler: Handler, period: Period
) -> None:
    # Unknown size counts as 7 million rows: half an hour per million plus an hour, times 3.
    handler.define(DAILY)
    in_flight_since(stack, hours=13)
    assert "RunTooLong" not in alarms_after(period())
    in_flight_since(stack, hours=14, name="another")
    assert "RunTooLong" in alarms_after(period())


def test_refused_access_alarms_in_every_function(
    stack: Stack, handler: Handler, period: Period, steps: Steps
) -> None:
    handler.define(DAILY)
    set_secret(stack.simulator.api_key, "wrong")
    schedule(handler, stack, minutes=1)
    assert alarms_after(period()) == {"AccessRefused"}
    assert alarms_after(period()) == set()

    stack.simulator.fault("create", "outcome", request_status="SUCCESS", seconds=0)
    report = in_flight_since(stack, hours=1, name="another")
    with pytest.raises(VonageRejected):
        steps.check(report)
    assert alarms_after(period()) == {"AccessRefused"}

    set_secret(stack.simulator.api_key, stack.simulator.api_secret)
    stack.simulator.fault("get", "status", status=403, times=1)
    with pytest.raises(VonageRejected):
        steps.check(report)
    assert alarms_after(period()) == {"AccessRefused"}
    stack.simulator.fault("download", "status", status=403, times=1)
    with pytest.raises(VonageRejected):
        steps.store(report)
    assert alarms_after(period()) == {"AccessRefused"}


def test_rotated_secret_is_no_alarm(stack: Stack, handler: Handler, period: Period) -> None:
    handler.define(DAILY)
    set_secret(stack.simulator.api_key, "of-yesterday")
    period()
    set_secret(stack.simulator.api_key, stack.simulator.api_secret)
    assert len(schedule(handler, stack, minutes=1)["submitted"]) == 1
    assert alarms_after(period()) == set()


def test_lasting_429_alarms(stack: Stack, handler: Handler, period: Period, steps: Steps) -> None:
    handler.define(DAILY)
    report = in_flight_since(stack, hours=1, name="another")
    well = period()
    stack.simulator.fault("create", "status", status=429, times=1)
    schedule(handler, stack, minutes=1)
    posting = period()
    stack.simulator.fault("get", "status", status=429, times=1)
    assert not steps.check(report)["ready"]
    polling = period()

    assert alarms_after(posting, well, well, well) == set()
    assert alarms_after(polling, posting, well, well) == set()
    assert alarms_after(polling, well, posting, polling) == {"Throttled"}


def test_partition_that_glue_refuses_alarms_until_it_is_registered(
    stack: Stack, handler: Handler, period: Period
) -> None:
    handler.define(DAILY)
    schedule(handler, stack, minutes=1)
    (report,) = stack.open()
    stack.runs.start(report)
    stack.runs.end(report, is_unregistered=True)
    stack.settle()
    stack.services.bucket.write_json(manifest_key(report), {"columns": []})
    refused = period()
    assert alarms_after(refused, []) == set()
    assert alarms_after(refused, refused, refused) == {"CatalogueWaiting"}

    make_catalogue("VERIFY-V2")
    registered = period()
    assert alarms_after(registered, refused, refused) == set()
    assert [each.value for each in registered if each.name == "CatalogueWaiting"] == [0]


def test_unusual_rows_alarm_if_history_suffices(
    stack: Stack, handler: Handler, period: Period
) -> None:
    known = {"usual": 2000, "more": 9000, "fewer": 500}
    handler.define(
        *(
            {**DAILY, "name": name, "filters": {"country": name[:2].upper()}}
            for name in [*known, "new"]
        )
    )
    schedule(handler, stack, minutes=1)
    for report in stack.open():
        record_history(stack, report, [2400, 2300, 2500][: 2 if report.definition == "new" else 3])
    period()
    deliver(stack, known)

    found = period()
    deviations = {
        name: each.value
        for each in found
        if each.name == "VolumeDeviation"
        for key, name in each.series[2]
        if key == "definition"
    }
    assert set(deviations) == set(known)
    assert {name for name, value in deviations.items() if value >= 3} == {"fewer", "more"}
    assert alarms_after(found) == {"VolumeAnomaly"}


def record_history(stack: Stack, report: Report, history: list[int]) -> None:
    """Put deliveries of the previous weeks into the ledger, with a decoy on each following day."""
    of = definition(**{**DAILY, "name": report.definition})
    for window, rows in zip(alike_before(report.window), history, strict=False):
        next_day = Window(window.end, window.end + timedelta(days=1), "UTC")
        for each, delivered in ((window, rows), (next_day, 10**6)):
            past = report_for_window(
                of, report.account_id, 0, each, rows_per_hour=None, now=stack.now
            )
            item = finished_item(replace(past, state=State.DELIVERED, rows=delivered))
            boto3.resource("dynamodb").Table("ledger").put_item(Item=item)


def test_rescued_cells_alarm_once(stack: Stack, handler: Handler, period: Period) -> None:
    handler.define(DAILY)
    schedule(handler, stack, minutes=1)
    (report,) = stack.open()
    stack.runs.start(report)
    stack.runs.end(report, rescued={"total_price": 2, "date_received": 1})
    stack.settle()
    told, later = period(), period()

    assert sum(each.value for each in told if each.name == "RescuedCells") == 6, (
        "three for the stack, three for its definition"
    )
    assert alarms_after(told) == {"RescuedCells"}
    assert alarms_after(later, later, later, told) == set()
    assert stack.known(report.report_id).rescued == {"total_price": 2, "date_received": 1}


def wait_for_the_cap(report: Report, handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a delivered report be collected again, above the month's cap."""
    monkeypatch.setenv("MAX_BILLED_RECORDS_MONTH", "1")
    handler({"recollect": {"report_id": report.report_id, "confirm": True}})


def emit_every_metric(
    stack: Stack, handler: Handler, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> int:
    """Let everything happen that a metric of a delivery or of a refusal counts. Return the rows."""
    handler.define(DAILY, {"name": "unknown", "product": "NEW-PRODUCT"})
    stack.simulator.fault("create", "outcome", request_status="SUCCESS", seconds=0, times=None)
    stack.simulator.fault("create", "status", status=429, retry_after=0, times=1)
    for minutes in (2, 1):
        schedule(handler, stack, minutes=minutes)
    report = next(each for each in stack.open() if each.definition == "daily")
    record_history(stack, report, [10, 10, 10])
    stack.runs.start(report)
    # Vonage needs a second at least, because a generation of 0 seconds is not sent.
    with time_machine.travel(stack.now + timedelta(minutes=1)):
        rows = steps.store(report)
    stack.runs.end(report, rows=rows, rescued={"total_price": 2})
    stack.settle()
    wait_for_the_cap(report, handler, monkeypatch)
    set_secret(stack.simulator.api_key, "wrong")
    with pytest.raises(VonageRejected):
        steps.check(report)
    return rows


def test_every_dashboard_line_can_have_data(
    stack: Stack,
    handler: Handler,
    period: Period,
    steps: Steps,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stack.now -= timedelta(hours=3)
    stack.plan()
    stack.collect("FAILED")
    stack.later(hours=3)
    (bought_again,) = stack.submit().report_ids
    assert stack.known(bought_again).attempt == 2
    emit_every_metric(stack, handler, steps, monkeypatch)

    data = period()
    drawn = {
        metric: has_data
        for widget in widgets()
        if widget["type"] == "metric"
        for metric, has_data in drawn_by(widget, data).items()
    }
    assert [metric for metric, has_data in drawn.items() if has_data is False] == []
    assert sum(has_data is None for has_data in drawn.values()) == 8, "AWS's own metrics"
    assert {each.unit for each in data} == {"Count", "Seconds", "None"}


# Fewer metrics


@pytest.fixture
def without_details(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn off the optional metrics of the handlers and of the steps that the test calls."""
    monkeypatch.setenv("DETAILED_METRICS", "off")
    stack.services = replace(stack.services, metrics=Metrics(STACK, is_detailed=False))


@pytest.mark.usefixtures("without_details")
def test_every_alarm_has_its_metric_without_details(
    stack: Stack,
    handler: Handler,
    period: Period,
    steps: Steps,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = emit_every_metric(stack, handler, steps, monkeypatch)
    data = period()

    sent = {each.series for each in data}
    assert {name for name, alarm in OURS.items() if series_of(alarm) not in sent} == set()
    assert {dimensions for _, _, dimensions in sent} == {frozenset({("stack", STACK)})}
    values = {each.name: each.value for each in data}
    assert values["RowsDelivered"] == values["BilledRecords"] == rows
    assert not values.keys() & set(CHARTED_GAUGES)


def names_of_zeros(data: list[Datum]) -> set[str]:
    assert {each.value for each in data} == {0}
    return {each.name for each in data}


def test_idle_sweep_sends_all_gauges_and_no_counter(
    stack: Stack, handler: Handler, period: Period
) -> None:
    handler.define(DAILY)
    schedule(handler, stack, minutes=1)
    deliver(stack)
    period()

    assert names_of_zeros(period()) == {*ALARMING_GAUGES, *CHARTED_GAUGES}


@pytest.mark.usefixtures("without_details")
def test_idle_sweep_with_everything_off_sends_what_alarms_read(
    stack: Stack, handler: Handler, period: Period, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATALOGUE", "off")
    handler.define(DAILY)
    schedule(handler, stack, minutes=1)
    deliver(stack)
    period()

    assert names_of_zeros(period()) == {*ALARMING_GAUGES} - {"CatalogueWaiting"}


def test_log_names_the_definition_without_details(capsys: pytest.CaptureFixture[str]) -> None:
    values = {"Deliveries": 1, "RescuedCells": 0}
    Metrics(STACK, is_detailed=False).emit(values, definition="daily", report_id="daily-1")

    (line,) = capsys.readouterr().out.splitlines()
    document = json.loads(line)
    assert (document["definition"], document["report_id"]) == ("daily", "daily-1")
    assert [(each.name, each.series[2]) for each in metrics_in(line)] == [
        ("Deliveries", frozenset({("stack", STACK)}))
    ]
    assert "RescuedCells" not in document


def test_counters_of_zero_write_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    Metrics(STACK).emit({"RescuedCells": 0}, definition="daily")

    assert capsys.readouterr().out == ""
