"""query, bill, reconcile, verify and cost, as processes, on a deployed stack."""

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import UNLIMITED, LocalStack
from tests.support.cli import Ended, run_program, stack_environment
from tests.support.schemas import document_of

pytestmark = pytest.mark.slow

DEFINITIONS: list[dict[str, Any]] = [
    {"name": "sms", "product": "SMS", "filters": {"direction": "outbound"}, "currency": "EUR"},
    {"name": "verify", "product": "VERIFY-V2", "currency": "EUR"},
]
PRICE_OF_A_RECORD = Decimal("0.0004")
"""The simulator's, in euros."""
DAYS = ("--from", "2026-10-05", "--until", "2026-10-08")
BEHIND = timedelta(days=3)

Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def simulator_settings() -> dict[str, Any]:
    return {
        "rows_per_day": 40,
        "seconds_per_report": 0.1,
        # Only the simulator's own reports are in REPORTS-USAGE.
        "rows_per_day_by_product": {"REPORTS-USAGE": 0},
        # The days on which it receives the requests are over, so the calendar may list them.
        "seconds_behind": BEHIND.total_seconds(),
    }


@pytest.fixture(scope="module")
def requests_per_second() -> int:
    return UNLIMITED


@pytest.fixture(scope="module")
def program(local_stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the program on a stack that has three days of two products."""
    local_stack.stack.set_definitions(json.dumps(DEFINITIONS))
    for each in DEFINITIONS:
        local_stack.stack.submit(
            {"backfill": {"definition": each["name"], "start": "2026-10-05", "end": "2026-10-08"}}
        )
    local_stack.until(
        lambda: not local_stack.ledger.open_work().backfills and not local_stack.states(),
        "the end of the backfills",
    )
    environment = stack_environment(local_stack.emulator, local_stack.stack.name)
    folder = tmp_path_factory.mktemp("finance")

    def run(*arguments: str, typed: str | None = None) -> Ended:
        return run_program(*arguments, folder=folder, environment=environment, typed=typed)

    return run


def document(ended: Ended, verb: str) -> dict[str, Any]:
    found = document_of(verb, ended.out)
    assert found["source"].startswith("SIMULATED: stack "), found["source"]
    return found


def test_answers_agree_with_the_manifests(local_stack: LocalStack, program: Run) -> None:
    manifests = [json.loads(body) for body in local_stack.objects("manifests/").values()]
    totals = [total for manifest in manifests for total in manifest["totals"]]
    cost = sum(Decimal(total["total_price"]) for total in totals)
    rows = sum(manifest["rows"] for manifest in manifests)
    assert len(manifests) == 6

    sql = "SELECT count(*), sum(cost) FROM usage; SELECT sum(rows) FROM manifests"
    asked = program("query", sql, "--json")
    billed = program(
        "bill", "--simulated", *DAYS, "--by", "product,day", "--round", "none", "--json"
    )
    proved = program("verify", "--month", "2026-10", "--json")

    assert (asked.code, billed.code, proved.code) == (0, 0, 0), (asked, billed, proved)
    usage, counted = document(asked, "query")["statements"]
    assert usage["rows"][0][0] == rows
    assert counted["rows"] == [[rows]]
    assert Decimal(usage["rows"][0][1]) == cost
    bill = document(billed, "bill")
    assert bill["completeness"]["is_complete"] is True
    assert [Decimal(each["amount"]) for each in bill["totals"]] == [cost]
    assert {each["day"] for each in bill["lines"]} == {"2026-10-05", "2026-10-06", "2026-10-07"}
    proof = document(proved, "verify")
    assert (proof["windows"], proof["archives"], proof["rows"]) == (6, 6, rows)
    assert [Decimal(each["total_price"]) for each in proof["totals"]] == [cost]
    assert proof["differences"] == []


def test_stack_on_the_simulator_is_billed_on_request_only(program: Run) -> None:
    ended = program("bill", *DAYS)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("vonage-reports: SIMULATED: stack ")
    assert "the records are simulated, no real usage; add --simulated for a trial" in ended.err


def test_month_with_holes_is_not_billed(local_stack: LocalStack, program: Run) -> None:
    ended = program("bill", "--month", "2026-10", "--simulated")

    assert ended.code == 1
    source, *lines = ended.out.splitlines()
    assert source.startswith("SIMULATED: stack ")
    assert lines == [
        "2026-10-01 to 2026-10-31 (UTC) is incomplete: 6 of 62 windows are delivered and final.",
        *(
            f"  missing      {name}, {account}: 2026-10-01 to 2026-10-04, 2026-10-08 to 2026-10-31"
            for name, account in (("sms", "abcd1234"), ("verify", "abcd1234"))
        ),
        "To collect what is missing, which Vonage bills:",
        *(
            f"  vonage-reports --stack {local_stack.stack.name} backfill {name} "
            "--from 2026-10-01 --until 2026-11-01"
            for name in ("sms", "verify")
        ),
    ]
    assert ended.err.startswith("vonage-reports: the period is incomplete; ")


def test_invoice_of_the_stack_is_reconciled(program: Run, tmp_path: Path) -> None:
    ended = program("bill", "--month", "2026-10", "--by", "product,country", "--round", "none",
                    "--incomplete", "--simulated", "--csv", str(tmp_path / "bill.csv"))  # fmt: skip
    assert ended.code == 0, ended
    with (tmp_path / "bill.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    rows = [[each["product"].title(), each["country"].lower(), each["amount"].replace(".", ",")]
            for each in lines]  # fmt: skip
    text = io.StringIO()
    csv.writer(text, delimiter=";").writerows([["Produkt", "Land", "Betrag (EUR)"], *rows])
    invoice = tmp_path / "invoice.csv"
    invoice.write_text(text.getvalue(), encoding="utf-8-sig")
    asked = (
        "reconcile",
        str(invoice),
        "--month",
        "2026-10",
        "--incomplete",
        "--simulated",
        "--json",
    )

    equal = program(*asked)
    assert equal.code == 0, equal.err
    assert document(equal, "reconcile")["beyond"] == 0

    invoice.write_text(text.getvalue() + "Fax;de;17,20\n", encoding="utf-8-sig")
    different = program(*asked)
    assert different.code == 1
    first = document(different, "reconcile")["lines"][0]
    assert (first["product"], first["difference"]) == ("Fax", "17.2")


def test_flipped_byte_in_the_bucket_is_found(local_stack: LocalStack, program: Run) -> None:
    s3, bucket = local_stack.emulator.client("s3"), local_stack.stack.outputs["BucketName"]
    key, content = next(iter(local_stack.objects("archives/sms/", ".zip").items()))
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    s3.put_object(Bucket=bucket, Key=key, Body=bytes(flipped))
    try:
        ended = program("verify")
    finally:
        s3.put_object(Bucket=bucket, Key=key, Body=content)

    assert ended.code == 1
    assert f"{key}: its SHA-256 is " in ended.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("query", "SELECT amoun FROM usage"), "Binder Error: Referenced column "),
        (("query", " -- nothing"), "the SQL has no statement, only blanks or comments"),
        (("bill",), "name the period: --month 2026-11, or --from and --until"),
        (("reconcile", "absent.csv", "--month", "2026-10"), "absent.csv cannot be read: "),
        (("verify", "--month", "soon"), "--month is 'soon'; use a month like 2026-11"),
        (("--stack", "absent", "verify"), "there is no stack 'absent' in eu-west-1"),
    ],
)
def test_wrong_input_ends_with_two(program: Run, arguments: tuple[str, ...], says: str) -> None:
    ended = program(*arguments)

    assert (ended.code, ended.out.count("Traceback")) == (2, 0)
    assert ended.err.startswith(f"vonage-reports: {says}")


def test_refused_credentials_end_with_four(local_stack: LocalStack, tmp_path: Path) -> None:
    environment = stack_environment(local_stack.emulator, local_stack.stack.name)

    ended = run_program(
        "bill", *DAYS, folder=tmp_path,
        environment={**environment, "AWS_ENDPOINT_URL": "https://127.0.0.1:1"},
    )  # fmt: skip

    assert ended.code == 4, ended


def test_cost_of_the_reports_equals_the_ledgers_and_names_a_foreign_request(
    local_stack: LocalStack, program: Run
) -> None:
    simulator = local_stack.simulator
    simulator.jobs(1, 0.1, {"product": "SMS", "direction": "outbound",
                            "date_start": "2026-10-05T00:00:00Z",
                            "date_end": "2026-10-05T12:00:00Z"})  # fmt: skip
    local_stack.until(lambda: not simulator.state()["in_flight"], "the end of the foreign report")
    state = simulator.state()
    [foreign] = [each for each in state["reports"] if each["foreign"]]
    simulator.advance(BEHIND.total_seconds())
    # Around midnight, the requests are of two days.
    first = (datetime.now(UTC) - BEHIND - timedelta(minutes=10)).date()
    days = (str(first), str(first + timedelta(days=2)))
    listing = {"name": "reports-usage", "product": "REPORTS-USAGE", "delay_days": [1]}
    local_stack.stack.set_definitions(json.dumps([*DEFINITIONS, listing]))
    local_stack.stack.submit(
        {"backfill": {"definition": "reports-usage", "start": days[0], "end": days[1]}}
    )
    local_stack.until(
        lambda: not local_stack.ledger.open_work().backfills and not local_stack.states(),
        "the end of the backfill",
    )

    ended = program("cost", "--from", days[0], "--until", days[1], "--json")
    asked = program("query", "--saved", "reports_bill", "--since", days[0], "--until", days[1],
                    "--json")  # fmt: skip

    assert (ended.code, asked.code) == (0, 0), (ended, asked)
    found = document(ended, "cost")
    assert (found["differences"], found["missing"], found["notes"]) == ([], [], [])
    assert [(each["definition"], each["requests"]) for each in found["lines"]] == [
        ("sms", 3), ("verify", 3),
    ]  # fmt: skip
    billed = state["bill"]["records_total"]
    for name in ("records", "charged_records", "our_records"):
        assert sum(each[name] for each in found["lines"]) == billed > 0
    [total] = found["totals"]
    assert Decimal(total["cost"]) == billed * PRICE_OF_A_RECORD
    [other] = found["others"]
    assert (other["requester"], other["product"], other["requests"]) == ("abcd1234", "SMS", 1)
    assert other["records"] == foreign["items_count"] > 0
    [statement] = document(asked, "query")["statements"]
    columns = statement["columns"]
    sums = [dict(zip(columns, row, strict=True)) for row in statement["rows"]]
    assert sum(each["requests"] for each in sums) == 7
    assert sum(Decimal(each["cost"]) for each in sums) == Decimal(total["cost"]) + Decimal(
        other["cost"]
    )
