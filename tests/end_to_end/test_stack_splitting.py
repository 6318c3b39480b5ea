"""A day that exceeds one report, on the deployed stack."""

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.end_to_end.faults import SCHEDULED, Case
from vonage_reports.domain.report import State

pytestmark = pytest.mark.slow

ROWS_PER_DAY = 3000
MAX_RECORDS = 1200
"""Fewer than a day or half a day has, more than a quarter has."""


@pytest.fixture(scope="module")
def simulator_settings() -> dict[str, Any]:
    return {"rows_per_day": ROWS_PER_DAY, "max_records": MAX_RECORDS, "seconds_per_report": 1.0}


def define(case: Case, product: str, **fields: object) -> None:
    """Define all records of a product that no other test on the stack collects unfiltered."""
    definition = {"name": product.lower(), "product": product, **fields}
    case.stack.stack.set_definitions(json.dumps([definition]))


def ids_of(archive: bytes) -> Iterator[str]:
    with zipfile.ZipFile(io.BytesIO(archive)) as whole:
        for name in whole.namelist():
            with whole.open(name) as member:
                yield from (row["id"] for row in csv.DictReader(io.TextIOWrapper(member)))


def ids_in_dataset(case: Case, product: str) -> list[str]:
    """Return the ids in the dataset of a product, which must be one file, in file order."""
    prefix = f"data/product={product}/definition={product.lower()}/"
    [content] = case.stack.objects(prefix).values()
    ids: list[str] = pq.read_table(io.BytesIO(content))["id"].to_pylist()
    return ids


def test_day_truncated_twice_is_one_delivery_of_four_archives(case: Case) -> None:
    define(case, "VERIFY-V2")
    [root] = case.stack.scheduled(SCHEDULED)["planned"]
    case.stack.until(lambda: case.created() >= 3, "the requests for the day and its halves")
    case.simulator.fault("create", "outcome", request_status="FAILED")

    [report] = case.stack.until_finished([root]).values()

    assert report.state is State.DELIVERED
    [(_, failed), (_, delivered)] = case.stack.notifications()
    assert (failed["event"], failed["error"]) == ("report.failed", "ReportFailed")
    assert (delivered["event"], delivered["report_id"]) == ("report.delivered", root)
    [manifest] = [
        json.loads(body) for key, body in case.stack.objects("manifests/").items() if root in key
    ]
    assert manifest["rows"] == delivered["rows"] == report.rows == ROWS_PER_DAY
    keys = [archive["key"] for archive in manifest["archives"]]
    assert len(keys) == 4
    archives = case.stack.objects("archives/")
    ids = [each for key in keys for each in ids_of(archives[key])]
    assert len(ids) == len(set(ids)) == ROWS_PER_DAY
    assert ids_in_dataset(case, "VERIFY-V2") == ids
    work = case.stack.ledger.open_work()
    assert (work.reports, work.slots) == ((), {})


def test_bill_of_a_split_day_is_exact(case: Case) -> None:
    before = case.stack.simulator.state()["bill"]
    define(case, "VOICE-TTS")
    [root] = case.stack.scheduled(SCHEDULED)["planned"]
    [report] = case.stack.until_finished([root]).values()
    after = case.stack.simulator.state()["bill"]

    assert report.rows == ROWS_PER_DAY
    # Vonage bills the truncated reports too: the day and two of its parts.
    assert after["records_total"] - before["records_total"] == 3 * MAX_RECORDS + ROWS_PER_DAY
    assert case.created() == 3 + 4


def test_next_day_is_split_before_its_first_request(case: Case) -> None:
    define(case, "AMD", max_records=MAX_RECORDS)
    [first] = case.stack.scheduled("2026-11-20T02:15:00Z")["planned"]
    case.stack.until_finished([first])
    before = case.stack.simulator.state()["bill"]
    created = case.created()

    [second] = case.stack.scheduled("2026-11-21T02:15:00Z")["planned"]
    [report] = case.stack.until_finished([second]).values()

    after = case.stack.simulator.state()["bill"]
    assert (report.state, report.rows) == (State.DELIVERED, ROWS_PER_DAY)
    assert case.created() - created == 4
    assert after["records_total"] - before["records_total"] == ROWS_PER_DAY
    assert after["records_billed_more_than_once"] == before["records_billed_more_than_once"]


def test_split_window_is_reconverted_and_recollected(case: Case) -> None:
    define(case, "NUMBER-INSIGHT")
    [root] = case.stack.scheduled(SCHEDULED)["planned"]
    case.stack.until_finished([root])
    case.stack.notifications()
    created = case.created()

    case.stack.stack.submit({"reconvert": {"report_id": root}})
    case.stack.until(lambda: not case.stack.ledger.open_reports(), "the conversion")
    [(_, again)] = case.stack.notifications()
    assert (again["report_id"], again["attempt"], again["rows"]) == (root, 1, ROWS_PER_DAY)
    assert case.created() == created
    ids = ids_in_dataset(case, "NUMBER-INSIGHT")
    assert len(ids) == len(set(ids)) == ROWS_PER_DAY

    case.stack.stack.submit({"recollect": {"report_id": root, "token": "because", "confirm": True}})
    case.stack.until(lambda: not case.stack.ledger.open_reports(), "the second collection")
    [(_, anew)] = case.stack.notifications()
    assert (anew["report_id"], anew["attempt"], anew["rows"]) == (root, 2, ROWS_PER_DAY)
    assert len(anew["archives"]) == len(again["archives"])
    assert set(anew["archives"]).isdisjoint(again["archives"])
    assert again["dataset"] == anew["dataset"]
    assert ids_in_dataset(case, "NUMBER-INSIGHT") == ids
    assert set(case.stack.objects("archives/number-insight/")) >= {
        *anew["archives"],
        *again["archives"],
    }
