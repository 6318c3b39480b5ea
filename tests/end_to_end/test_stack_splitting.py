"""A day that does not fit one report, on the deployed stack."""

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from tests.end_to_end.faults import SCHEDULED, Case
from vonage_reports.domain.report import State

if TYPE_CHECKING:
    from tests.end_to_end.conftest import LocalStack

ROWS_PER_DAY = 3000
MAX_RECORDS = 1200
"""Too few for a day and for half a day, enough for a quarter."""


@pytest.fixture(scope="module")
def simulator_settings() -> dict[str, Any]:
    return {"rows_per_day": ROWS_PER_DAY, "max_records": MAX_RECORDS, "seconds_per_report": 1.0}


def define(local_stack: "LocalStack", product: str, **fields: object) -> None:
    """Let each test collect a product of its own, all records of it."""
    definition = {"name": product.lower(), "product": product, **fields}
    local_stack.stack.set_definitions(json.dumps([definition]))


def ids_of(archive: bytes) -> Iterator[str]:
    with zipfile.ZipFile(io.BytesIO(archive)) as whole:
        for name in whole.namelist():
            with whole.open(name) as member:
                yield from (row["id"] for row in csv.DictReader(io.TextIOWrapper(member)))


def ids_that_readers_see(local_stack: "LocalStack", product: str) -> list[str]:
    """The ids in the dataset of a product, which must be one file, in its order."""
    [content] = local_stack.objects(f"data/product={product}/").values()
    ids: list[str] = pq.read_table(io.BytesIO(content))["id"].to_pylist()
    return ids


def test_a_day_that_vonage_cuts_short_twice_is_one_delivery_of_four_archives(
    case: Case, local_stack: "LocalStack"
) -> None:
    define(local_stack, "VERIFY-V2")
    [root] = local_stack.scheduled(SCHEDULED)["planned"]
    local_stack.until(lambda: case.bought() == 3, "the day and its halves are asked for")
    case.simulator.fault("create", "outcome", request_status="FAILED")

    [report] = local_stack.until_ended([root]).values()

    assert report.state is State.DELIVERED
    [(_, lost), (_, told)] = local_stack.notifications()
    assert (lost["event"], lost["error"]) == ("report.failed", "ReportFailed")
    assert (told["event"], told["report_id"]) == ("report.delivered", root)
    [manifest] = [
        json.loads(body) for key, body in local_stack.objects("manifests/").items() if root in key
    ]
    assert manifest["rows"] == told["rows"] == report.rows == ROWS_PER_DAY
    keys = [archive["key"] for archive in manifest["archives"]]
    assert len(keys) == 4
    archives = local_stack.objects("archives/")
    ids = [each for key in keys for each in ids_of(archives[key])]
    assert len(ids) == len(set(ids)) == ROWS_PER_DAY
    assert ids_that_readers_see(local_stack, "VERIFY-V2") == ids
    work = local_stack.ledger.open_work()
    assert (work.reports, work.slots) == ((), {})


def test_the_bill_of_a_day_that_was_split_is_explained_to_the_last_record(
    case: Case, local_stack: "LocalStack"
) -> None:
    before = local_stack.simulator.state()["bill"]
    define(local_stack, "VOICE-TTS")
    [root] = local_stack.scheduled(SCHEDULED)["planned"]
    [report] = local_stack.until_ended([root]).values()
    after = local_stack.simulator.state()["bill"]

    assert report.rows == ROWS_PER_DAY
    # What was cut short is paid for as well: the day, and two of its parts.
    assert after["records_total"] - before["records_total"] == 3 * MAX_RECORDS + ROWS_PER_DAY
    assert case.bought() == 3 + 4


def test_the_next_day_is_split_before_anything_is_paid_twice(
    case: Case, local_stack: "LocalStack"
) -> None:
    define(local_stack, "AMD", max_records=MAX_RECORDS)
    [first] = local_stack.scheduled("2026-11-20T02:15:00Z")["planned"]
    local_stack.until_ended([first])
    before = local_stack.simulator.state()["bill"]
    bought = case.bought()

    [second] = local_stack.scheduled("2026-11-21T02:15:00Z")["planned"]
    [report] = local_stack.until_ended([second]).values()

    after = local_stack.simulator.state()["bill"]
    assert (report.state, report.rows) == (State.DELIVERED, ROWS_PER_DAY)
    assert case.bought() - bought == 4
    assert after["records_total"] - before["records_total"] == ROWS_PER_DAY
    assert after["records_billed_more_than_once"] == before["records_billed_more_than_once"]


def test_a_window_that_was_split_is_made_again_from_its_archives_and_collected_again_anew(
    case: Case, local_stack: "LocalStack"
) -> None:
    define(local_stack, "NUMBER-INSIGHT")
    [root] = local_stack.scheduled(SCHEDULED)["planned"]
    local_stack.until_ended([root])
    local_stack.notifications()
    bought = case.bought()

    local_stack.stack.submit({"reconvert": {"report_id": root}})
    local_stack.until(lambda: not local_stack.ledger.open_reports(), "it is converted")
    [(_, again)] = local_stack.notifications()
    assert (again["report_id"], again["attempt"], again["rows"]) == (root, 1, ROWS_PER_DAY)
    assert case.bought() == bought
    ids = ids_that_readers_see(local_stack, "NUMBER-INSIGHT")
    assert len(ids) == len(set(ids)) == ROWS_PER_DAY

    local_stack.stack.submit(
        {"recollect": {"report_id": root, "token": "because", "confirm": True}}
    )
    local_stack.until(lambda: not local_stack.ledger.open_reports(), "it is collected")
    [(_, anew)] = local_stack.notifications()
    assert (anew["report_id"], anew["attempt"], anew["rows"]) == (root, 2, ROWS_PER_DAY)
    assert len(anew["archives"]) == len(again["archives"])
    assert set(anew["archives"]).isdisjoint(again["archives"])
    assert again["dataset"] == anew["dataset"]
    assert ids_that_readers_see(local_stack, "NUMBER-INSIGHT") == ids
    assert set(local_stack.objects("archives/number-insight/")) >= {
        *anew["archives"],
        *again["archives"],
    }
