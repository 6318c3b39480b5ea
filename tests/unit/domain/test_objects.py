import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.reports import make_report
from vonage_reports.domain import notifications
from vonage_reports.domain.definitions import Refusal
from vonage_reports.domain.lifecycle import Fail, Hold
from vonage_reports.domain.notifications import delivered
from vonage_reports.domain.objects import (
    Archive,
    Member,
    Precedence,
    archive_key,
    counted_by_vonage,
    dataset_key,
    manifest,
    manifest_key,
    receipt,
    receipt_key,
)
from vonage_reports.domain.report import Entry, Report
from vonage_reports.domain.run_input import RunInput, execution_input
from vonage_reports.domain.windows import Window
from vonage_reports.submit_reports.requests import Recollection, Resolution, parse_event

PHONE_NUMBER = "447700900123"
RUN_INPUT = RunInput(
    report_id="sms-outbound-20261121T0000Z-0123456789ab",
    request_id="6c5506b7-f16a-44dc-af06-756bbf467488",
    attempt=2,
    run=1,
    entry=Entry.CHECK,
    definition="sms-outbound",
    product="SMS",
    account_id="abcd1234",
    include_subaccounts=False,
    filters={"direction": "outbound", "from": PHONE_NUMBER},
    window=Window(
        datetime(2026, 11, 21, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC), "Europe/London"
    ),
    revision="final",
    delay_days=3,
    planned="2026-11-25T02:15:00Z",
)
ARCHIVE = Archive(
    bytes=1234,
    sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    members=(Member("report_SMS_abcd1234.csv", 5678, "d87f7e0c"),),
)
TIMES = {
    "submitted": "2026-11-25T02:15:01Z",
    "ready": "2026-11-25T02:21:13Z",
    "stored": "2026-11-25T02:21:20Z",
}
DELIVERED = "2026-11-25T02:21:21Z"


CONTENT: dict[str, Any] = {
    "rows": 42,
    "columns": [{"name": "id", "type": "string"}],
    "schema_changed": True,
    "dataset": {"bucket": "reports", "key": dataset_key(RUN_INPUT), "version_id": "v1", "rows": 42},
    "totals": [{"currency": "EUR", "total_price": "1.5", "rows": 42, "rows_without_price": 0}],
    "rescued": {},
    "row_check": "equal",
    "catalogue": "registered",
}


def receipt_of(archive: Archive | None = ARCHIVE, items_count: int | None = 42) -> dict[str, Any]:
    made = receipt(RUN_INPUT, archive, items_count=items_count, times=TIMES)
    # In the form that the bucket returns.
    read: dict[str, Any] = json.loads(json.dumps(made))
    return read


def manifest_of(*receipts: dict[str, Any], **content: object) -> dict[str, Any]:
    return manifest(RUN_INPUT, receipts, CONTENT | content, bucket="reports", delivered=DELIVERED)


def notification_of(*receipts: dict[str, Any], **content: object) -> dict[str, Any]:
    made = manifest_of(*receipts, **content)
    return delivered(made, manifest_key=manifest_key(RUN_INPUT))


def test_keys_name_definition_account_date_and_report() -> None:
    folder = "sms-outbound/abcd1234/2026/11/21"
    report_id = "sms-outbound-20261121T0000Z-0123456789ab"
    request_id = "6c5506b7-f16a-44dc-af06-756bbf467488"

    assert archive_key(RUN_INPUT) == f"archives/{folder}/{report_id}/{request_id}.zip"
    assert receipt_key(RUN_INPUT) == f"archives/{folder}/{report_id}/{request_id}.json"
    assert manifest_key(RUN_INPUT) == f"manifests/{folder}/{report_id}.json"


@pytest.mark.parametrize(
    ("time_zone", "start", "folder"),
    [
        # Local midnight is the evening before in UTC, or the morning after.
        ("Asia/Kathmandu", datetime(2025, 12, 31, 18, 15, tzinfo=UTC), "2026/01/01"),
        ("Australia/Lord_Howe", datetime(2026, 6, 30, 13, 30, tzinfo=UTC), "2026/07/01"),
        ("America/New_York", datetime(2026, 1, 1, 5, tzinfo=UTC), "2026/01/01"),
        ("UTC", datetime(2026, 3, 4, tzinfo=UTC), "2026/03/04"),
    ],
)
def test_dates_in_keys_follow_the_definitions_time_zone(
    time_zone: str, start: datetime, folder: str
) -> None:
    run_input = replace(RUN_INPUT, window=Window(start, start + timedelta(days=1), time_zone))

    assert f"/{folder}/" in archive_key(run_input)
    assert f"/{folder}/" in receipt_key(run_input)
    assert f"/{folder}/" in manifest_key(run_input)


def test_each_attempt_has_its_own_archive_and_one_manifest() -> None:
    again = replace(RUN_INPUT, request_id="ri3p58f-42d57cfd-1234-5678-9abc-67580d95f54a", attempt=3)

    assert archive_key(again) != archive_key(RUN_INPUT)
    assert receipt_key(again) != receipt_key(RUN_INPUT)
    assert manifest_key(again) == manifest_key(RUN_INPUT)


def test_run_input_round_trip() -> None:
    report = make_report(
        report_id=RUN_INPUT.report_id,
        filters=RUN_INPUT.filters,
        planned_at=DUE,
        delay_days=RUN_INPUT.delay_days,
        request_id=RUN_INPUT.request_id,
        attempt=RUN_INPUT.attempt,
        run=RUN_INPUT.run,
    )

    assert RunInput.from_input(json.loads(execution_input(report, Entry.CHECK))) == RUN_INPUT


def test_incomplete_run_input_is_refused() -> None:
    with pytest.raises(KeyError, match="definition"):
        RunInput.from_input({"report_id": RUN_INPUT.report_id})


def test_receipt_holds_the_verified_archive() -> None:
    assert receipt_of() == {
        "schema_version": 1,
        "report_id": RUN_INPUT.report_id,
        "request_id": RUN_INPUT.request_id,
        "archive": {
            "key": archive_key(RUN_INPUT),
            "bytes": 1234,
            "sha256": ARCHIVE.sha256,
            "members": [{"name": "report_SMS_abcd1234.csv", "bytes": 5678, "crc32": "d87f7e0c"}],
        },
        "items_count": 42,
        "times": TIMES,
    }


def test_manifest_describes_the_whole_delivery() -> None:
    assert manifest_of(receipt_of()) == {
        "schema_version": 1,
        "report_id": "sms-outbound-20261121T0000Z-0123456789ab",
        "definition": "sms-outbound",
        "product": "SMS",
        "account_id": "abcd1234",
        "include_subaccounts": False,
        "filters": {"direction": "outbound", "from": PHONE_NUMBER},
        "window": {
            "start": "2026-11-21T00:00:00Z",
            "end": "2026-11-22T00:00:00Z",
            "time_zone": "Europe/London",
        },
        "revision": "final",
        "relabelled": False,
        "attempt": 2,
        "rows": 42,
        "columns": [{"name": "id", "type": "string"}],
        "schema_changed": True,
        "archives": [
            {
                "bucket": "reports",
                "key": archive_key(RUN_INPUT),
                "bytes": 1234,
                "sha256": ARCHIVE.sha256,
                "request_id": "6c5506b7-f16a-44dc-af06-756bbf467488",
                "items_count": 42,
                "members": [
                    {"name": "report_SMS_abcd1234.csv", "bytes": 5678, "crc32": "d87f7e0c"}
                ],
            }
        ],
        "dataset": CONTENT["dataset"],
        "totals": CONTENT["totals"],
        "rescued": {},
        "row_check": "equal",
        "accepted": [],
        "other_members": [],
        "catalogue": "registered",
        "times": {
            "planned": "2026-11-25T02:15:00Z",
            "submitted": "2026-11-25T02:15:01Z",
            "ready": "2026-11-25T02:21:13Z",
            "stored": "2026-11-25T02:21:20Z",
            "delivered": "2026-11-25T02:21:21Z",
        },
    }


def test_manifest_times_span_all_archives() -> None:
    early = {**receipt_of(), "times": {**TIMES, "submitted": "2026-11-25T01:00:00Z"}}
    late = {**receipt_of(), "times": {**TIMES, "stored": "2026-11-25T03:00:00Z"}}
    unknown = {**receipt_of(), "times": dict.fromkeys(TIMES)}

    made = manifest_of(early, late, unknown)

    assert len(made["archives"]) == 3
    assert made["times"] == {
        "planned": "2026-11-25T02:15:00Z",
        "submitted": "2026-11-25T01:00:00Z",
        "ready": "2026-11-25T02:21:13Z",
        "stored": "2026-11-25T03:00:00Z",
        "delivered": "2026-11-25T02:21:21Z",
    }


@pytest.mark.parametrize(
    ("receipts", "counted"),
    [
        ([receipt_of(items_count=40), receipt_of(items_count=2)], 42),
        ([receipt_of(items_count=40), receipt_of(None, items_count=None)], 40),
        ([receipt_of(None, items_count=None)], 0),
        ([receipt_of(items_count=40), receipt_of(items_count=None)], None),
    ],
)
def test_vonages_count_needs_a_count_for_every_file(
    receipts: list[dict[str, Any]], counted: int | None
) -> None:
    assert counted_by_vonage(receipts) == counted


def test_report_without_a_file_has_no_archive() -> None:
    empty = receipt_of(archive=None, items_count=0)

    assert empty["archive"] is None
    assert manifest_of(empty)["archives"] == []
    notification = notification_of(empty)
    assert (notification["bytes"], notification["archives"]) == (0, [])


def test_delivery_without_own_dataset_names_none() -> None:
    assert notification_of(receipt_of(), dataset=None)["dataset"] is None


@pytest.mark.parametrize("product", ["SMS", "VOICE-CALL"])
def test_all_attempts_and_revisions_share_one_dataset_key(product: str) -> None:
    run_input = replace(RUN_INPUT, product=product)
    others = (
        replace(run_input, attempt=7, run=9, request_id=None),
        replace(run_input, revision="preliminary", delay_days=0, report_id="another"),
    )

    assert dataset_key(run_input) == (
        f"data/product={product}/definition=sms-outbound/account=abcd1234/date=2026-11-21/"
        "20261121T000000Z_20261122T000000Z.parquet"
    )
    assert {dataset_key(other) for other in others} == {dataset_key(run_input)}


def test_hours_of_one_day_share_a_folder() -> None:
    hour = timedelta(hours=1)
    start = RUN_INPUT.window.start
    keys = [
        dataset_key(replace(RUN_INPUT, window=Window(at, at + hour, "Europe/London")))
        for at in (start, start + hour)
    ]

    assert len(set(keys)) == 2
    assert len({key.rpartition("/")[0] for key in keys}) == 1


RECEIVED = ["2026-11-25T02:15:01Z", "2026-11-25T02:20:00Z"]
IN_ORDER = [
    Precedence.from_metadata({}),
    Precedence(0, RECEIVED[0], 1, 1),
    Precedence(0, RECEIVED[1], 1, 1),
    Precedence(3, "", 1, 1),
    Precedence(3, RECEIVED[0], 1, 1),
    Precedence(3, RECEIVED[0], 1, 2),
    Precedence(3, RECEIVED[0], 2, 1),
    Precedence(3, RECEIVED[1], 1, 1),
    Precedence(30, RECEIVED[0], 1, 1),
]


def test_precedence_orders_revision_then_collection_then_run() -> None:
    assert sorted(set(IN_ORDER)) == IN_ORDER


@pytest.mark.parametrize("precedence", IN_ORDER)
def test_precedence_metadata_round_trip(precedence: Precedence) -> None:
    metadata = precedence.to_metadata()

    assert Precedence.from_metadata(metadata) == precedence
    # S3 sends metadata as headers.
    assert all(re.fullmatch(r"[a-z-]+", name) for name in metadata)


def test_precedence_uses_the_newest_archive() -> None:
    early = {**receipt_of(), "times": {**TIMES, "submitted": RECEIVED[0]}}
    late = {**receipt_of(), "times": {**TIMES, "submitted": RECEIVED[1]}}
    unknown = {**receipt_of(), "times": {**TIMES, "submitted": None}}

    assert Precedence.of(RUN_INPUT, [late, early]) == Precedence(3, RECEIVED[1], 2, 1)
    # Vonage may omit the time of receipt; the time of completion is always known.
    assert Precedence.of(RUN_INPUT, [unknown]) == Precedence(3, TIMES["ready"], 2, 1)


def test_delivery_notification_has_keys_rows_and_bytes() -> None:
    notification = notification_of(receipt_of())

    assert (
        notification.items()
        >= {
            "event": "report.delivered",
            "report_id": "sms-outbound-20261121T0000Z-0123456789ab",
            "attempt": 2,
            "definition": "sms-outbound",
            "product": "SMS",
            "account_id": "abcd1234",
            "revision": "final",
            "window": manifest_of(receipt_of())["window"],
            "rows": 42,
            "bytes": 1234,
            "totals": CONTENT["totals"],
            "schema_changed": True,
            "catalogue": "registered",
            "manifest": manifest_key(RUN_INPUT),
            "archives": [archive_key(RUN_INPUT)],
            "dataset": dataset_key(RUN_INPUT),
        }.items()
    )


def test_delivery_names_rescued_prices_and_times() -> None:
    columns = {
        "id": "string", "total_price": "decimal(18,8)", "date_received": "timestamp",
        "latency": "bigint", "_collected_at": "timestamp",
    }  # fmt: skip
    rescued = {"total_price": 2, "date_received": 1, "latency": 9, "new": 42, "_collected_at": 1}
    content = {
        "columns": [{"name": name, "type": kind} for name, kind in columns.items()],
        "rescued": rescued,
    }

    assert manifest_of(receipt_of(), **content)["rescued"] == rescued
    told = notification_of(receipt_of(), **content)["rescued"]
    assert told == {"total_price": 2, "date_received": 1}


def test_manifest_of_version_0_1_is_announced() -> None:
    made = manifest_of(receipt_of())
    del made["rescued"]

    assert delivered(made, manifest_key="manifests/a.json")["rescued"] == {}


def total(currency: str | None, price: str, rows: int, incomplete: int = 0) -> dict[str, Any]:
    return {"currency": currency, "total_price": price, "rows": rows,
            "rows_without_price": incomplete}  # fmt: skip


def test_delivery_names_fifty_currencies_and_adds_up_the_others() -> None:
    few = [total(f"A{number:02}", "0.1", 1, incomplete=1) for number in range(7)]
    many = [total(f"B{number:02}", "1", 2 + number) for number in range(49)]
    garbled = total("x" * 21, "9999999999999999999999999999.00000001", 10**6)

    all_totals = [total(None, "5", 3), *few, *many, garbled]
    told = notification_of(receipt_of(), totals=all_totals)["totals"]

    assert told[:-1] == [total(None, "5", 3), *many]
    assert told[-1] == {
        "currency": "other",
        "total_price": "9999999999999999999999999999.70000001",
        "rows": 10**6 + 7,
        "rows_without_price": 7,
        "message": "8 more currencies, added up; the manifest has each of them",
    }
    assert manifest_of(receipt_of(), totals=all_totals)["totals"] == all_totals


DUE = datetime(2026, 11, 25, 2, 15, tzinfo=UTC)


def failed_report() -> Report:
    return make_report(
        report_id=RUN_INPUT.report_id,
        filters=RUN_INPUT.filters,
        planned_at=DUE,
        attempt=3,
        request_id=RUN_INPUT.request_id,
    )


def failure() -> dict[str, Any]:
    return notifications.failed(
        failed_report(),
        Fail("ReportFailed", "Vonage ended the report as FAILED"),
        execution="arn:aws:states:eu-west-1:012345678912:execution:ReportWorkflow:x-r1",
    )


def test_failure_notification_tells_the_operator_the_remedy() -> None:
    assert failure() == {
        "schema_version": 1,
        "event": "report.failed",
        "report_id": "sms-outbound-20261121T0000Z-0123456789ab",
        "attempt": 3,
        "definition": "sms-outbound",
        "product": "SMS",
        "account_id": "abcd1234",
        "revision": "final",
        "window": manifest_of(receipt_of())["window"],
        "error": "ReportFailed",
        "message": "sms-outbound, 2026-11-21: Vonage ended the report as FAILED",
        "execution": "arn:aws:states:eu-west-1:012345678912:execution:ReportWorkflow:x-r1",
        "run_again": {"recollect": {"report_id": RUN_INPUT.report_id, "token": "failure-1"}},
    }


def test_refused_archive_is_not_bought_again() -> None:
    kept = Fail("ArchiveCorrupt", "it is cut off. The bytes are kept for 30 days as refused/a.zip")
    lost = Fail("ArchiveCorrupt", "the stored archive is corrupt")

    sent = [notifications.failed(failed_report(), each, execution=None) for each in (kept, lost)]

    assert sent[0]["run_again"] is None
    assert "refused/a.zip" in sent[0]["message"]
    assert "recollect" in sent[1]["run_again"]


def test_held_notification_contains_the_resolve_event() -> None:
    notification = notifications.held(
        failed_report(), Hold(DUE, "Vonage's list has request-1", "request-1")
    )

    assert (notification["event"], notification["error"]) == ("report.held", "SubmissionUnknown")
    event = parse_event(notification["run_again"])
    assert isinstance(event, Resolution)
    assert (event.report_id, event.request_id) == (RUN_INPUT.report_id, "request-1")
    assert event.hold == 1


def test_event_that_may_buy_twice_is_only_in_the_message() -> None:
    notification = notifications.held(failed_report(), Hold(DUE, "Vonage's list is gone"))

    assert notification["run_again"] is None
    (event,) = re.findall(r"{.*}", notification["message"])
    read = parse_event(json.loads(event))
    assert isinstance(read, Resolution)
    assert (read.report_id, read.request_id, read.hold) == (RUN_INPUT.report_id, None, 1)


def test_failure_notifications_event_is_valid() -> None:
    event = parse_event(failure()["run_again"])

    assert isinstance(event, Recollection)
    assert event.report_id == RUN_INPUT.report_id


def test_refusal_names_definition_and_field() -> None:
    notification = notifications.refused(
        Refusal("calls", "window", "write hour, day, week or month")
    )

    assert (notification["event"], notification["definition"]) == ("definition.refused", "calls")
    assert notification["message"] == "calls, window: write hour, day, week or month"


@pytest.mark.parametrize("notification", [notification_of(receipt_of()), failure()])
def test_attributes_let_subscribers_filter_notifications(
    notification: dict[str, Any],
) -> None:
    assert notifications.attributes(notification) == {
        "event": notification["event"],
        "definition": "sms-outbound",
        "product": "SMS",
        "account_id": "abcd1234",
        "revision": "final",
    }


def test_unknown_values_are_no_attributes() -> None:
    # SNS refuses attributes that are empty.
    notification = notifications.refused(
        Refusal("calls", "window", "write hour, day, week or month")
    )

    assert notifications.attributes(notification) == {
        "event": "definition.refused",
        "definition": "calls",
    }


@pytest.mark.parametrize("notification", [notification_of(receipt_of()), failure()])
def test_notification_contains_no_phone_number(notification: dict[str, Any]) -> None:
    assert PHONE_NUMBER not in json.dumps(notification)
