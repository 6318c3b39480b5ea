"""Compatibility with version 0.1: runs in flight and the ledger stay readable.

A run that began before a deployment continues with the old workflow. It calls the new functions
with the input stored at its start. Never change the constants below, which version 0.1 wrote. A new
field needs a default, and no field may be removed.
"""

import ast
import json
from typing import Any

import pytest

from tests.support.paths import ROOT
from vonage_reports.aws.ledger_items import open_work_of, report_of
from vonage_reports.domain.objects import archive_key, dataset_key, manifest_key, receipt_key
from vonage_reports.domain.run_input import RunInput

REPORT_ID = "sms-outbound-20261118T0000Z-5f4b1bd31d45"
REQUEST_ID = "6c5506b7-f16a-44dc-af06-756bbf467488"
RUN_INPUT = (
    '{"announce": true, "attempt": 1, "definition": {"account_id": "abcd1234", "currency": null, '
    '"filters": {"direction": "outbound"}, "include_subaccounts": false, "name": "sms-outbound", '
    '"product": "SMS"}, "delay_days": 3, "entry": "check", "expected_rows": null, "planned": '
    f'"2026-11-22T02:15:00Z", "receipts": [], "report_id": "{REPORT_ID}", "request_id": '
    f'"{REQUEST_ID}", "revision": "final", "run": 1, "window": {{"end": "2026-11-19T00:00:00Z", '
    '"start": "2026-11-18T00:00:00Z", "time_zone": "UTC"}}'
)
ITEM: dict[str, Any] = {
    "pk": "open",
    "sk": f"report#{REPORT_ID}",
    "report_id": REPORT_ID,
    "definition": "sms-outbound",
    "product": "SMS",
    "account_id": "abcd1234",
    "include_subaccounts": False,
    "filters": '{"direction": "outbound"}',
    "window": {"start": "2026-11-18T00:00:00Z", "end": "2026-11-19T00:00:00Z", "time_zone": "UTC"},
    "revision": "final",
    "priority": 1,
    "planned_at": "2026-11-22T02:15:00+00:00",
    "delay_index": 0,
    "delay_days": 3,
    "revisions": 1,
    "max_records": 7000000,
    "split_path": "",
    "leaves": 1,
    "state": "SUBMITTED",
    "version": 2,
    "slot": 1,
    "owner": "an-invocation",
    "attempt": 1,
    "attempts_before": 0,
    "tokens": [],
    "submitted_at": "2026-11-22T02:15:00+00:00",
    "unheard": False,
    "request_id": REQUEST_ID,
    "run": 1,
    "resumes": 0,
    "execution_input": RUN_INPUT,
    "receipts": [],
}
PAYLOADS = {
    "check_report": {"report", "waited_seconds", "started"},
    "store_report": {"report", "download"},
    "convert_report": {"report", "receipts"},
}


def test_report_in_flight_is_read_with_its_run() -> None:
    work = open_work_of([ITEM])
    assert work.unreadable == ()
    (report,) = work.reports
    assert report == report_of(ITEM)
    assert report.execution_name == f"{REPORT_ID}-r1"
    # The run may have been started with this input, so its bytes must not change.
    assert report.execution_input == RUN_INPUT


def test_run_in_flight_finds_its_stored_objects() -> None:
    run_input = RunInput.from_input(json.loads(RUN_INPUT))
    assert run_input.accept == ()
    folder = f"sms-outbound/abcd1234/2026/11/18/{REPORT_ID}"
    assert archive_key(run_input) == f"archives/{folder}/{REQUEST_ID}.zip"
    assert receipt_key(run_input) == f"archives/{folder}/{REQUEST_ID}.json"
    assert manifest_key(run_input) == f"manifests/{folder}.json"
    assert dataset_key(run_input) == (
        "data/product=SMS/definition=sms-outbound/account=abcd1234/date=2026-11-18/"
        "20261118T000000Z_20261119T000000Z.parquet"
    )


def test_fields_of_a_later_version_are_ignored() -> None:
    """During a deployment, and after its rollback, the old code meets what the new code wrote."""
    run_input = json.loads(RUN_INPUT)
    later = {
        **run_input,
        "later": 1,
        "definition": {**run_input["definition"], "later": 1},
        "window": {**run_input["window"], "later": 1},
    }
    assert RunInput.from_input(later) == RunInput.from_input(run_input)
    assert report_of({**ITEM, "later": 1}) == report_of(ITEM)


@pytest.mark.parametrize("function", PAYLOADS)
def test_functions_need_only_fields_of_runs_in_flight(function: str) -> None:
    module = ast.parse((ROOT / "functions" / function / "app.py").read_text())
    needed = {
        ast.literal_eval(node.slice)
        for node in ast.walk(module)
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "event"
    }
    assert needed
    assert needed <= PAYLOADS[function]
