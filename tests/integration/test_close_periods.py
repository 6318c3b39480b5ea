"""The sweeps that announce complete periods, against moto's DynamoDB, S3 and SNS."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import boto3
import pytest

from tests.support.contracts import check
from tests.support.stack import Stack, definition
from vonage_reports.aws.ledger import Ledger
from vonage_reports.aws.ledger_items import finished_item, marks_of
from vonage_reports.domain.backfill import Backfill, Progress
from vonage_reports.domain.definitions import Refusal, ReportDefinition
from vonage_reports.domain.lifecycle import Fail, Plan, apply
from vonage_reports.domain.objects import manifest_key
from vonage_reports.domain.removal import cause_of
from vonage_reports.domain.report import Priority, Report, Revision, State, report_id
from vonage_reports.domain.settings import PeriodLength
from vonage_reports.domain.windows import Window, WindowLength, windows_within
from vonage_reports.submit_reports import close_periods as step
from vonage_reports.submit_reports.close_periods import close_periods
from vonage_reports.submit_reports.context import Invocation
from vonage_reports.submit_reports.read_definitions import LoadedDefinitions

NOVEMBER = (date(2026, 11, 25), date(2026, 12, 1))
"""The six days of November that are collected. The fewer they are, the faster is moto."""
DECEMBER_5 = datetime(2026, 12, 5, 3, tzinfo=UTC)

DAILY = definition(name="daily", product="VERIFY-V2", delay_days=[3])
WEEKLY = definition(
    name="weekly", product="SMS", filters={"direction": "outbound"}, window="week",
    time_zone="Europe/London", delay_days=[1],
)  # fmt: skip


@dataclass
class Books:
    """The ledger and the bucket of a stack, with the deliveries that a test writes."""

    stack: Stack
    definitions: list[ReportDefinition]
    length: PeriodLength = PeriodLength.MONTH
    refusals: tuple[Refusal, ...] = ()
    now: datetime = DECEMBER_5

    def __post_init__(self) -> None:
        boto3.client("s3").put_bucket_versioning(
            Bucket="reports", VersioningConfiguration={"Status": "Enabled"}
        )
        ledger = Ledger(boto3.resource("dynamodb").Table("ledger"), periods=self.length)
        self.services = replace(self.stack.services, ledger=ledger)
        self.ledger = ledger

    def plan_to(self, until: datetime, *definitions: ReportDefinition) -> None:
        """Record that the calendar has planned every window before an instant."""
        for each in definitions or self.definitions:
            self.ledger.record_collects(each)
            for account_id in each.account_ids:
                self.ledger.move_cursor(each.name, account_id, each.delay_days[-1], until)

    def report(
        self, of: ReportDefinition, window: Window, account_id: str = "abcd1234", **changes: Any
    ) -> Report:
        """Return a planned report."""
        name = report_id(definition=of.name, account_id=account_id, window=window, delay_index=0)
        fields: dict[str, Any] = {
            "report_id": name, "definition": of.name, "product": of.product,
            "account_id": account_id, "include_subaccounts": False, "filters": of.filters,
            "window": window, "revision": Revision.FINAL, "priority": Priority.CALENDAR,
            "planned_at": self.now, "delay_days": of.delay_days[-1], **changes,
        }  # fmt: skip
        return Report(**fields)

    def begin(self, report: Report) -> Report:
        return self.ledger.write(None, apply(None, Plan(report), now=self.now))

    def end(self, report: Report, price: str = "1.10", **changes: Any) -> Report:
        """Deliver an open report, or end it as `changes` say."""
        fields = {"state": State.DELIVERED, "rows": 10, "delivered_from": ("r.json",), **changes}
        if fields["state"] is State.DELIVERED:
            self.put_manifest(report, price)
        return self.ledger.write(report, replace(report, **fields))

    def put_manifest(self, report: Report, price: str) -> None:
        total = {
            "currency": "EUR", "total_price": price, "rows": 10, "rows_without_price": 1,
            "rows_without_time": 2,
        }  # fmt: skip
        self.services.bucket.write_json(
            manifest_key(report),
            {"report_id": report.report_id, "revision": report.revision, "rows": 10,
             "totals": [total]},
        )  # fmt: skip

    def deliver(
        self, of: ReportDefinition, start: date, until: date, account_id: str = "abcd1234"
    ) -> list[Report]:
        """Deliver the windows between two local dates, without the transactions of moto."""
        reports = [
            replace(
                self.report(of, window, account_id),
                state=State.DELIVERED, rows=10, delivered_from=("r.json",), version=3,
            )
            for window in windows_within(start, until, of.window, of.time_zone)
        ]  # fmt: skip
        with boto3.resource("dynamodb").Table("ledger").batch_writer() as batch:
            for item in (*map(finished_item, reports), *marks_of(reports, self.length)):
                batch.put_item(Item=item)
        for report in reports:
            self.put_manifest(report, "1.10")
        return reports

    def recollect(self, report: Report, price: str) -> Report:
        """Deliver a window again."""
        return self.end(self.reopen(report), price)

    def reopen(self, report: Report) -> Report:
        return self.ledger.write(
            report, replace(report, state=State.PLANNED, rows=None, attempts_before=1)
        )

    def sweep(self, seconds: Callable[[], float] = lambda: 300.0, **later: float) -> list[Any]:
        """Close periods, and return the notifications."""
        self.now += timedelta(**later)
        errors: list[Exception] = []
        loaded = LoadedDefinitions(self.definitions, self.refusals, self.now)
        close_periods(
            self.ledger.open_work(), loaded, self.ledger.calendar(), self.services,
            Invocation("one", seconds), length=self.length, overdue_after=timedelta(hours=30),
            errors=errors, now=self.now,
        )  # fmt: skip
        if errors:
            raise errors[0]
        return self.stack.announced()

    def object(self, key: str) -> dict[str, Any]:
        value = self.services.bucket.read_json(key)
        assert value is not None
        check("period", value)
        return value

    def keys(self) -> list[str]:
        found = boto3.client("s3").list_objects_v2(Bucket="reports", Prefix="periods/")
        return [each["Key"] for each in found.get("Contents", [])]

    def reason(self) -> str:
        """Return why the only marked period is not complete."""
        (blocked,) = self.ledger.open_work().blocked.values()
        return blocked.reason


@pytest.fixture
def november(stack: Stack) -> Books:
    """All of November is planned; nothing is delivered."""
    books = Books(stack, [DAILY])
    books.plan_to(datetime(2026, 12, 2, tzinfo=UTC))
    return books


def test_month_is_announced_once_when_its_last_window_is_delivered(november: Books) -> None:
    first, *_, last = windows_within(*NOVEMBER, WindowLength.DAY, "UTC")
    november.deliver(DAILY, NOVEMBER[0], date(2026, 11, 30))
    waiting = november.begin(november.report(DAILY, last))
    assert november.sweep() == []

    november.end(waiting)
    (told,) = november.sweep()
    assert november.sweep() == []
    assert november.keys() == ["periods/2026/11/1.json"]

    value = november.object("periods/2026/11/1.json")
    (of_daily,) = value["definitions"]
    assert (told["event"], told["period"], told["number"]) == ("period.complete", "2026-11", 1)
    assert told["definitions"] == [of_daily]
    assert told["manifests"] == 6
    assert (of_daily["windows"], of_daily["rows"]) == (6, 60)
    assert of_daily["first_window"] == first.to_dict()["start"]
    assert of_daily["crosses_the_edge"] is False
    assert of_daily["totals"] == [
        {
            "account_id": "abcd1234", "currency": "EUR", "total_price": "6.6", "rows": 60,
            "rows_without_price": 6, "records_without_time": 12,
        }
    ]  # fmt: skip
    assert len(value["manifests"]) == len(value["changed"]) == 6
    assert november.ledger.open_work().marks == {}, "December has no delivery"


def test_manifest_of_an_earlier_version_counts_no_times(november: Books) -> None:
    reports = november.deliver(DAILY, *NOVEMBER)
    manifest = november.services.bucket.read_json(manifest_key(reports[0]))
    assert manifest is not None
    del manifest["totals"][0]["rows_without_time"]
    november.services.bucket.write_json(manifest_key(reports[0]), manifest)
    (told,) = november.sweep()
    assert told["definitions"][0]["totals"][0]["records_without_time"] is None


def test_named_version_is_the_manifest_that_was_counted(november: Books) -> None:
    (report,) = november.deliver(DAILY, date(2026, 11, 30), NOVEMBER[1])
    november.sweep()
    (named,) = november.object("periods/2026/11/1.json")["manifests"]
    november.put_manifest(report, "99")
    found = boto3.client("s3").get_object(
        Bucket="reports", Key=named["key"], VersionId=named["version_id"]
    )
    assert json.load(found["Body"])["totals"][0]["total_price"] == "1.10"


def test_recollection_is_announced_with_the_next_number(november: Books) -> None:
    reports = november.deliver(DAILY, *NOVEMBER)
    november.sweep()
    again = november.reopen(reports[3])
    assert november.sweep() == []
    november.end(again, "2.10")
    (told,) = november.sweep()
    assert (told["number"], told["changed"]) == (2, [reports[3].report_id])
    second = november.object("periods/2026/11/2.json")
    assert second["definitions"][0]["totals"][0]["total_price"] == "7.6"
    assert len(second["manifests"]) == 6
    assert november.sweep() == []


def test_windows_before_the_first_one_are_named(november: Books) -> None:
    november.deliver(DAILY, date(2026, 11, 28), NOVEMBER[1])
    (told,) = november.sweep()
    assert told["definitions"][0]["not_collected"] == [
        {
            "account_id": "abcd1234",
            "start": "2026-11-01T00:00:00Z",
            "end": "2026-11-28T00:00:00Z",
        }
    ]


def test_gap_keeps_a_month_open(november: Books) -> None:
    november.deliver(DAILY, NOVEMBER[0], date(2026, 11, 27))
    november.deliver(DAILY, date(2026, 11, 28), NOVEMBER[1])
    assert november.sweep() == []
    assert november.reason() == "daily abcd1234 2026-11-27 (missing)"
    november.deliver(DAILY, date(2026, 11, 27), date(2026, 11, 28))
    assert [each["number"] for each in november.sweep()] == [1]


def test_gap_at_the_beginning_is_one_if_earlier_months_are_collected(november: Books) -> None:
    november.deliver(DAILY, date(2026, 9, 1), date(2026, 9, 2))
    november.deliver(DAILY, date(2026, 11, 28), NOVEMBER[1])
    told = november.sweep()
    assert [each["period"] for each in told] == []
    assert november.ledger.open_work().blocked["2026-11"].reason == (
        "daily abcd1234 2026-11-01 (missing); daily abcd1234 2026-11-02 (missing); "
        "daily abcd1234 2026-11-03 (missing); and 24 more"
    )


def test_failed_window_keeps_a_month_open_until_it_is_mended(november: Books) -> None:
    november.deliver(DAILY, NOVEMBER[0], date(2026, 11, 30))
    (last,) = windows_within(date(2026, 11, 30), NOVEMBER[1], WindowLength.DAY, "UTC")
    failed = november.begin(november.report(DAILY, last))
    failed = november.ledger.write(
        failed, replace(failed, state=State.FAILED, error="RowsMismatch", reason="short")
    )
    assert november.sweep() == []
    assert november.reason() == "daily abcd1234 2026-11-30 (FAILED)"
    november.recollect(failed, "1.10")
    assert [each["number"] for each in november.sweep()] == [1]


def test_month_is_not_examined_again_until_it_changes(
    november: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    november.deliver(DAILY, NOVEMBER[0], date(2026, 11, 27))
    november.deliver(DAILY, date(2026, 11, 28), NOVEMBER[1])
    november.sweep()
    looked = []
    monkeypatch.setattr(step, "_examined", lambda *_: looked.append(1))
    november.sweep(minutes=5)
    assert looked == []


def test_withdrawn_window_is_listed_and_keeps_no_month_open(november: Books) -> None:
    november.deliver(DAILY, NOVEMBER[0], date(2026, 11, 30))
    (last,) = windows_within(date(2026, 11, 30), NOVEMBER[1], WindowLength.DAY, "UTC")
    report = november.begin(november.report(DAILY, last))
    november.end(report, state=State.CANCELLED, withdrawn_at=november.now, rows=None,
                 delivered_from=())  # fmt: skip
    (told,) = november.sweep()
    assert told["definitions"][0]["withdrawn"] == [report.report_id]
    assert (told["definitions"][0]["windows"], told["manifests"]) == (6, 5)


def test_withdrawn_recollection_counts_the_earlier_delivery(november: Books) -> None:
    reports = november.deliver(DAILY, *NOVEMBER)
    november.sweep()
    again = november.reopen(reports[0])
    november.end(again, state=State.CANCELLED, withdrawn_at=november.now, rows=None)
    (told,) = november.sweep()
    assert told["number"] == 2
    assert (told["changed"], told["manifests"]) == ([reports[0].report_id], 6)


def test_cancelled_backfill_collects_no_window(november: Books) -> None:
    november.deliver(DAILY, date(2026, 11, 28), NOVEMBER[1])
    (early,) = windows_within(date(2026, 11, 3), date(2026, 11, 4), WindowLength.DAY, "UTC")
    planned = november.begin(november.report(DAILY, early, backfill="b"))
    november.end(planned, state=State.CANCELLED, rows=None, delivered_from=())
    assert [each["number"] for each in november.sweep()] == [1]


def test_calendar_that_has_not_planned_the_end_keeps_a_month_open(stack: Stack) -> None:
    books = Books(stack, [DAILY])
    books.plan_to(datetime(2026, 11, 30, tzinfo=UTC))
    books.deliver(DAILY, NOVEMBER[0], date(2026, 11, 30))
    assert books.sweep() == []
    books.deliver(DAILY, date(2026, 11, 30), NOVEMBER[1])
    assert books.sweep() == [], "the cursor decides, as another account may lack a window"
    books.plan_to(datetime(2026, 12, 1, tzinfo=UTC))
    assert [each["period"] for each in books.sweep()] == ["2026-11"]


def test_running_backfill_keeps_a_month_open(november: Books) -> None:
    november.deliver(DAILY, date(2026, 11, 28), NOVEMBER[1])
    running = Backfill(DAILY, date(2026, 11, 25), date(2026, 11, 28), begun_at=november.now)
    november.ledger.write_all([], backfill=(None, running))
    assert november.sweep() == []
    assert november.sweep(days=9) == [], "the operator asked for it late"
    november.deliver(DAILY, NOVEMBER[0], date(2026, 11, 28))
    november.ledger.write_all([], (running, replace(running, progress=Progress.PLANNED)))
    (told,) = november.sweep()
    assert told["definitions"][0]["not_collected"][0]["end"] == "2026-11-25T00:00:00Z"


def test_refused_definition_keeps_a_month_open(november: Books) -> None:
    november.deliver(DAILY, *NOVEMBER)
    november.ledger.record_collects(WEEKLY)
    november.refusals = (Refusal("weekly", "product", "is missing"),)
    assert november.sweep() == []
    november.refusals = ()
    assert [each["number"] for each in november.sweep()] == [1]


def test_month_is_local_to_each_definition(stack: Stack) -> None:
    sydney = definition(name="sydney", product="AMD", time_zone="Australia/Sydney")
    books = Books(stack, [DAILY, sydney, WEEKLY])
    books.plan_to(datetime(2026, 12, 7, tzinfo=UTC))
    books.deliver(DAILY, NOVEMBER[0], date(2026, 12, 2))
    books.deliver(sydney, *NOVEMBER)
    # The weeks of 26 October and of 30 November reach out of November.
    books.deliver(WEEKLY, date(2026, 10, 26), date(2026, 12, 7))
    told = {each["period"]: each for each in books.sweep()}
    assert set(told) == {"2026-10", "2026-11"}, "December lacks windows"
    (of_october,) = told["2026-10"]["definitions"]
    assert (of_october["definition"], of_october["windows"]) == ("weekly", 1)
    found = {each["definition"]: each for each in told["2026-11"]["definitions"]}
    assert {name: each["windows"] for name, each in found.items()} == {
        "daily": 6, "sydney": 6, "weekly": 6,
    }  # fmt: skip
    assert found["sydney"]["start"] == "2026-10-31T13:00:00Z"
    assert found["sydney"]["end"] == "2026-11-30T13:00:00Z"
    crossing = {name: each["crosses_the_edge"] for name, each in found.items()}
    assert crossing == {"daily": False, "sydney": False, "weekly": True}


def test_every_account_has_a_first_window_of_its_own(stack: Stack) -> None:
    both = definition(name="both", product="AMD", account_ids=["abcd1234", "Subacct1"])
    books = Books(stack, [both])
    books.plan_to(datetime(2026, 12, 2, tzinfo=UTC))
    books.deliver(both, date(2026, 11, 24), NOVEMBER[1])
    books.deliver(both, date(2026, 11, 29), NOVEMBER[1], "subacct1")
    told = {each["period"]: each for each in books.sweep()}
    (found,) = told["2026-11"]["definitions"]
    assert found["windows"] == 9
    assert [(each["account_id"], each["end"][:10]) for each in found["not_collected"]] == [
        ("abcd1234", "2026-11-24"), ("Subacct1", "2026-11-29"),
    ]  # fmt: skip
    assert [each["account_id"] for each in found["totals"]] == ["abcd1234", "Subacct1"]


def test_removed_definition_counts_with_the_windows_that_it_has(stack: Stack) -> None:
    gone = definition(name="gone", product="AMD")
    books = Books(stack, [DAILY, gone])
    books.plan_to(datetime(2026, 12, 2, tzinfo=UTC))
    books.deliver(DAILY, *NOVEMBER)
    books.deliver(gone, NOVEMBER[0], date(2026, 11, 27))
    books.definitions = [DAILY]
    assert books.sweep() == [], "it may be missing by mistake"
    books.ledger.mark_announced(cause_of(("gone", "abcd1234")), books.now)
    assert [each["event"] for each in books.sweep(days=6)] == ["period.overdue"]
    (told,) = books.sweep(days=1)
    books.object(told["key"])
    assert [each["windows"] for each in told["definitions"]] == [6, 2]
    of_gone = told["definitions"][1]["not_collected"]
    assert [(each["start"][:10], each["end"][:10]) for each in of_gone] == [
        ("2026-11-01", "2026-11-25"), ("2026-11-27", "2026-12-01"),
    ]  # fmt: skip


def test_preliminary_revision_is_not_enough(november: Books) -> None:
    november.deliver(DAILY, NOVEMBER[0], date(2026, 11, 30))
    (last,) = windows_within(date(2026, 11, 30), NOVEMBER[1], WindowLength.DAY, "UTC")
    report = november.report(DAILY, last, revision=Revision.PRELIMINARY, delay_days=0)
    november.end(november.begin(report))
    assert november.sweep() == []
    assert "only the preliminary revision" in november.reason()


def test_days_are_announced_one_by_one(stack: Stack) -> None:
    books = Books(stack, [DAILY], PeriodLength.DAY)
    books.plan_to(datetime(2026, 12, 2, tzinfo=UTC))
    reports = books.deliver(DAILY, date(2026, 11, 29), date(2026, 12, 1))
    told = books.sweep()
    assert [each["period"] for each in told] == ["2026-11-29", "2026-11-30"]
    assert books.keys() == ["periods/2026/11-29/1.json", "periods/2026/11-30/1.json"]
    books.recollect(reports[1], "2")
    assert [(each["period"], each["number"]) for each in books.sweep()] == [("2026-11-30", 2)]


def test_marks_of_days_are_deleted_when_months_are_announced(stack: Stack) -> None:
    books = Books(stack, [DAILY], PeriodLength.DAY)
    books.plan_to(datetime(2026, 12, 2, tzinfo=UTC))
    books.deliver(DAILY, date(2026, 11, 29), date(2026, 12, 1))
    books.length = PeriodLength.MONTH
    assert books.sweep() == []
    assert books.ledger.open_work().marks == {}


@pytest.mark.parametrize("meanwhile", [PeriodLength.DAY, PeriodLength.NONE])
def test_month_is_announced_once_the_setting_is_month_again(
    november: Books, meanwhile: PeriodLength
) -> None:
    november.deliver(DAILY, *NOVEMBER)
    november.length = meanwhile
    assert november.sweep() == []
    november.length = PeriodLength.MONTH
    assert [each["period"] for each in november.sweep()] == ["2026-11"]


def test_without_periods_nothing_is_marked(stack: Stack) -> None:
    books = Books(stack, [DAILY], PeriodLength.NONE)
    books.plan_to(datetime(2026, 12, 2, tzinfo=UTC))
    books.deliver(DAILY, *NOVEMBER)
    assert books.ledger.open_work().marks == {}
    assert books.sweep() == []


class Killed(BaseException):
    """The process died."""


@pytest.mark.parametrize(
    ("service", "call", "told"),
    [("topic", "announce", 1), ("ledger", "record_period", 2), ("ledger", "clear_mark", 1)],
)
def test_crash_at_any_point_announces_the_same_object(
    november: Books, monkeypatch: pytest.MonkeyPatch, service: str, call: str, told: int
) -> None:
    november.deliver(DAILY, *NOVEMBER)

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(getattr(november.services, service), call, die)
        with pytest.raises(Killed):
            november.sweep()
    found = november.stack.announced()
    # Another sweep takes over once the lease of the dead one is over.
    for minutes in (0, 5, 5):
        found += november.sweep(minutes=minutes)
    assert [(each["event"], each["number"]) for each in found] == [("period.complete", 1)] * told
    assert november.keys() == ["periods/2026/11/1.json"]
    assert november.ledger.period_number("2026-11") == 1
    assert november.ledger.open_work().marks == {}


def test_object_of_a_dead_sweep_is_announced_as_it_stands(
    november: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = november.deliver(DAILY, *NOVEMBER)

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(november.services.topic, "announce", die)
        with pytest.raises(Killed):
            november.sweep()
    november.recollect(reports[0], "2.10")
    first, second = [each for _ in range(3) for each in november.sweep(minutes=5)]
    assert (first["number"], first["definitions"][0]["totals"][0]["total_price"]) == (1, "6.6")
    assert (second["number"], second["changed"]) == (2, [reports[0].report_id])
    assert second["definitions"][0]["totals"][0]["total_price"] == "7.6"
    assert november.sweep() == []


def test_two_sweeps_at_once_announce_a_month_once(
    november: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    november.deliver(DAILY, *NOVEMBER)
    told: list[Any] = []
    close = step._close

    def close_after_another(*arguments: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(step, "_close", close)
            told.extend(november.sweep())
        close(*arguments)

    monkeypatch.setattr(step, "_close", close_after_another)
    told += november.sweep()
    assert [each["number"] for each in told] == [1]
    assert not any(each["sk"].startswith("closing#") for each in november.stack.table())


def test_report_that_begins_meanwhile_stops_the_announcement(
    november: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = november.deliver(DAILY, *NOVEMBER)
    read = november.services.bucket.read_version

    def read_and_reopen(key: str) -> Any:
        if key == manifest_key(reports[4]):
            november.reopen(reports[4])
        return read(key)

    with monkeypatch.context() as patch:
        patch.setattr(november.services.bucket, "read_version", read_and_reopen)
        assert november.sweep() == []
    assert november.keys() == []


def test_manifests_are_read_in_several_sweeps_and_none_twice(
    november: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "_BATCH", 2)
    november.deliver(DAILY, *NOVEMBER)
    read: list[str] = []
    original = november.services.bucket.read_version

    def counted(key: str) -> Any:
        read.append(key)
        return original(key)

    monkeypatch.setattr(november.services.bucket, "read_version", counted)

    def one_batch() -> Callable[[], float]:
        """The examination takes all of the sweep's time, and none of the spare time."""
        left = iter([300.0, 300.0])
        return lambda: next(left, 100.0)

    sweeps = [november.sweep(one_batch()) for _ in range(3)]
    assert [len(told) for told in sweeps] == [0, 0, 1]
    manifests = [key for key in read if key.startswith("manifests/")]
    assert len(manifests) == len(set(manifests)) == 6


def test_examination_stops_when_the_time_is_up(
    november: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    november.deliver(DAILY, *NOVEMBER)
    looked = []
    monkeypatch.setattr(step, "examine", lambda *_, **__: looked.append(1))
    left = iter([300.0, 300.0])
    assert november.sweep(lambda: next(left, 0.0)) == []
    assert (looked, november.ledger.open_work().blocked) == ([], {})


@pytest.mark.parametrize(("of", "first"), [(DAILY, "2026-10-30"), (WEEKLY, "2026-10-24")])
def test_reads_begin_one_window_before_the_month(
    of: ReportDefinition, first: str, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = Books(stack, [of])
    books.plan_to(datetime(2026, 12, 9, tzinfo=UTC))
    books.deliver(of, date(2026, 11, 23), date(2026, 11, 30))
    starts = []
    read = Ledger.finished_between

    def noted(ledger: Ledger, name: str, start: datetime, *others: Any) -> Any:
        starts.append(f"{start:%Y-%m-%d}")
        return read(ledger, name, start, *others)

    monkeypatch.setattr(Ledger, "finished_between", noted)
    books.sweep()
    assert starts == [first]


def test_missing_or_damaged_manifest_keeps_a_month_open(november: Books) -> None:
    reports = november.deliver(DAILY, *NOVEMBER)
    november.services.bucket.write_json(manifest_key(reports[4]), {"rows": 10})
    assert november.sweep() == []
    assert november.reason() == "daily abcd1234 2026-11-29 (its manifest is missing or damaged)"
    november.put_manifest(reports[4], "1.10")
    assert [each["number"] for each in november.sweep(hours=1)] == [1]


def test_month_that_stays_open_is_announced_once(november: Books) -> None:
    november.deliver(DAILY, NOVEMBER[0], date(2026, 11, 30))
    (last,) = windows_within(date(2026, 11, 30), NOVEMBER[1], WindowLength.DAY, "UTC")
    waiting = november.begin(november.report(DAILY, last))
    assert november.sweep() == []
    (told,) = november.sweep(hours=30)
    assert told["event"] == "period.overdue"
    assert "daily abcd1234 2026-11-30 (PLANNED)" in told["message"]
    assert november.sweep(hours=30) == []
    november.end(waiting)
    assert [each["event"] for each in november.sweep()] == ["period.complete"]
    assert november.ledger.open_work().announced == frozenset()


def test_month_that_is_as_announced_forgets_that_it_was_overdue(november: Books) -> None:
    reports = november.deliver(DAILY, *NOVEMBER)
    november.sweep()
    failed = replace(reports[0], state=State.FAILED, error="x", reason="y")
    failed = november.ledger.write(november.reopen(reports[0]), failed)
    november.sweep()
    assert [each["event"] for each in november.sweep(hours=30)] == ["period.overdue"]
    november.ledger.write(november.reopen(failed), reports[0])
    november.sweep()
    assert november.ledger.open_work().marks == {}
    assert november.ledger.open_work().announced == frozenset()


def test_month_is_not_overdue_before_its_last_window_is_due(november: Books) -> None:
    november.now = datetime(2026, 12, 3, 23, tzinfo=UTC)
    november.deliver(DAILY, NOVEMBER[0], date(2026, 11, 30))
    (last,) = windows_within(date(2026, 11, 30), NOVEMBER[1], WindowLength.DAY, "UTC")
    november.begin(november.report(DAILY, last))
    november.sweep()
    assert november.ledger.open_work().announced == frozenset()


def test_failure_of_one_period_does_not_stop_the_next(stack: Stack) -> None:
    books = Books(stack, [DAILY], PeriodLength.DAY)
    books.plan_to(datetime(2026, 12, 2, tzinfo=UTC))
    books.deliver(DAILY, date(2026, 11, 29), date(2026, 12, 1))
    # The number before the next one cannot be read.
    books.ledger.record_period("2026-11-29", 1, books.now)
    books.services.bucket.client.put_object(
        Bucket="reports", Key="periods/2026/11-29/1.json", Body=b"{"
    )
    with pytest.raises(ValueError, match="Expecting property name"):
        books.sweep()
    assert [each["period"] for each in stack.announced()] == ["2026-11-30"]


def test_fail_of_a_report_marks_its_month(november: Books) -> None:
    (last,) = windows_within(date(2026, 11, 30), NOVEMBER[1], WindowLength.DAY, "UTC")
    report = november.begin(november.report(DAILY, last))
    assert november.ledger.open_work().marks == {}
    november.ledger.write(report, apply(report, Fail("x", "y"), now=november.now))
    assert set(november.ledger.open_work().marks) == {"2026-11"}
