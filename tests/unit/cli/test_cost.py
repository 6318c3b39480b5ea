"""`cost` on the last run: Vonage's list of requests beside the ledger's."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.support.delivered import Delivered
from tests.support.last_run import save_run
from tests.support.paths import ROOT
from tests.support.reports import make_report
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.windows import Window, WindowLength
from vonage_reports_cli.main import main
from vonage_reports_cli.status.sources import LastRun

SCHEMA = json.loads((ROOT / "docs/schemas/cli/cost.schema.json").read_text())
DAY = ("--from", "2026-11-20", "--until", "2026-11-21")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def definition(name: str, product: str) -> ReportDefinition:
    return ReportDefinition(
        name=name, product=product, account_ids=("abcd1234",), include_subaccounts=False,
        filters={"direction": "outbound"} if product == "SMS" else {},
        window=WindowLength.DAY, time_zone="UTC", delay_days=(1,),
    )  # fmt: skip


LISTS, SMS = definition("reports-usage", "REPORTS-USAGE"), definition("sms", "SMS")


class Month:
    """A run with requests of SMS, and Vonage's list of the requests of 20 November."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.out = Delivered(root / "out")
        self.reports: list[Report] = []
        self.rows: list[dict[str, str]] = []

    def request(
        self, request_id: str | None, records: int | None, *, day: int = 16, **changes: Any
    ) -> Report:
        """Add a request of ours, with a receipt of its `records`."""
        start = datetime(2026, 11, day, tzinfo=UTC)
        fields = {
            "window": Window(start, start + timedelta(days=1), "UTC"), "definition": "sms",
            "state": State.DELIVERED, "request_id": request_id, "submitted_at": NOON, "attempt": 1,
            **changes,
        }  # fmt: skip
        report = make_report(**fields)
        self.reports.append(report)
        if records is not None:
            receipt = self.root / "out" / receipt_key(report)
            receipt.parent.mkdir(parents=True, exist_ok=True)
            receipt.write_text(json.dumps({"archive": {}, "items_count": records}))
        return report

    def list(self, request_id: str, records: int, **cells: str) -> None:
        """Add a row to Vonage's list."""
        self.rows.append(
            {
                "acc": "abcd1234", "id": request_id, "date_received": "2026-11-20T12:00:01Z",
                "status": "SUCCESS", "account_id": "abcd1234", "is_charged": "TRUE",
                "requested_product": "SMS", "items_written": str(records), "currency": "EUR",
                "price": "0.0004", "total_price": f"{0.0004 * records:.4f}", **cells,
            }
        )  # fmt: skip

    def deliver_list(self, day: int, **changes: Any) -> None:
        """Add a delivered list of Vonage to the ledger."""
        start = datetime(2026, 11, day, tzinfo=UTC)
        fields = {
            "window": Window(start, start + timedelta(days=1), "UTC"), "rows": 1,
            "definition": "reports-usage", "product": "REPORTS-USAGE", "state": State.DELIVERED,
            "request_id": None, **changes,
        }  # fmt: skip
        self.reports.append(make_report(**fields))

    def save(self, *, is_listed: bool = True, definitions: Sequence[ReportDefinition] = ()) -> None:
        if is_listed:
            self.deliver_list(20)
            self.out.deliver("REPORTS-USAGE", self.rows, definition="reports-usage",
                             day="2026-11-20", collected_at=NOON)  # fmt: skip
        save_run(self.root, definitions=definitions or [LISTS, SMS], reports=self.reports)


@pytest.fixture
def month(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Month:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VONAGE_REPORTS_STACK", raising=False)
    return Month(tmp_path)


def cost(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> dict[str, Any]:
    capsys.readouterr()
    ended = main(["--local", "cost", *(arguments or DAY), "--json"])
    output = capsys.readouterr()
    assert ended == code, output.err
    found: dict[str, Any] = json.loads(output.out)
    Draft202012Validator(SCHEMA).validate(found)
    return found


def test_equal_requests_have_no_difference_and_vonages_price(
    month: Month, capsys: pytest.CaptureFixture[str]
) -> None:
    month.request("a", 1000)
    month.request("b", 500, day=17)
    month.list("a", 1000)
    month.list("b", 500)
    month.save()

    found = cost(capsys, code=0)

    assert found["lines"] == [
        {
            "definition": "sms", "product": "SMS", "currency": "EUR", "requests": 2,
            "records": 1500, "charged_records": 1500, "cost": "0.6", "requests_without_price": 0,
            "records_without_archive": 0, "our_records": 1500, "difference": 0,
        }
    ]  # fmt: skip
    assert (found["others"], found["differences"], found["missing"]) == ([], [], [])


def test_requests_of_others_are_named_by_requester_and_product(
    month: Month, capsys: pytest.CaptureFixture[str]
) -> None:
    month.request("a", 10)
    month.list("a", 10)
    month.list("x", 7, requested_product="MESSAGES", acc="efgh5678")
    month.list("y", 5, requested_product="REPORTS-USAGE", is_charged="FALSE", total_price="0")
    month.save()

    found = cost(capsys, code=0)

    assert [
        (each["requester"], each["product"], each["records"], each["charged_records"], each["cost"])
        for each in found["others"]
    ] == [("abcd1234", "REPORTS-USAGE", 5, 0, "0"), ("efgh5678", "MESSAGES", 7, 7, "0.0028")]
    [total] = found["totals"]
    assert (total["requests"], total["other_requests"], total["other_cost"]) == (1, 2, "0.0028")


def test_other_records_and_unlisted_requests_are_differences(
    month: Month, capsys: pytest.CaptureFixture[str]
) -> None:
    more = month.request("a", 10)
    lost = month.request("b", None, day=17, rows=None)
    unlisted = month.request("c", 3, day=18)
    month.list("a", 12)
    month.list("b", 5)
    month.save()

    found = cost(capsys, code=1)

    assert found["differences"] == [
        {"report_id": more.report_id, "request_id": "a", "status": "SUCCESS", "records": 12,
         "our_records": 10},
        {"report_id": lost.report_id, "request_id": "b", "status": "SUCCESS", "records": 5,
         "our_records": None},
    ]  # fmt: skip
    assert found["lines"][0]["difference"] == 7
    assert [each["report_id"] for each in found["missing"]] == [unlisted.report_id]
    assert main(["--local", "cost", *DAY]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-5:] == [
        "Difference: 7 records in 2 requests.",
        f"  {more.report_id}, request a: Vonage 12, ours 10",
        f"  {lost.report_id}, request b: Vonage 5, ours no receipt",
        "Vonage does not list 1 of our requests:",
        f"  {unlisted.report_id}, request c",
    ]


def test_truncated_request_has_no_archive_and_no_difference(
    month: Month, capsys: pytest.CaptureFixture[str]
) -> None:
    month.request("a", None, state=State.SPLIT, root="whole")
    month.list("a", 7, status="TRUNCATED")
    month.save()

    found = cost(capsys, code=0)

    [line] = found["lines"]
    assert (line["records"], line["records_without_archive"], line["difference"]) == (7, 7, 0)
    assert found["notes"] == ["Requests of ours that Vonage ended without success have 7 records."]


def test_expired_receipt_leaves_the_rows_of_the_ledger(
    month: Month, capsys: pytest.CaptureFixture[str]
) -> None:
    month.request("a", None, rows=9)
    month.list("a", 9)
    month.save()

    assert cost(capsys, code=0)["lines"][0]["our_records"] == 9


def test_request_listed_on_another_day_is_not_missing(
    month: Month, capsys: pytest.CaptureFixture[str]
) -> None:
    month.request("a", 4, submitted_at=datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC))
    month.out.deliver(
        "REPORTS-USAGE",
        [{"id": "a", "date_received": "2026-11-21T00:00:00Z", "items_written": "4"}],
        definition="reports-usage",
        day="2026-11-21",
    )
    month.save()

    found = cost(capsys, code=0)

    assert (found["lines"], found["missing"]) == ([], [])


JUST_BEFORE_MIDNIGHT = datetime(2026, 11, 20, 23, 59, 59, 900000, tzinfo=UTC)


def test_request_near_midnight_is_missing_only_after_the_next_day_is_delivered(
    month: Month, capsys: pytest.CaptureFixture[str]
) -> None:
    month.request("a", 4, submitted_at=JUST_BEFORE_MIDNIGHT)
    month.save()

    found = cost(capsys, code=0)
    assert (found["missing"], found["notes"]) == (
        [],
        [
            (
                "Vonage's list may have 1 request of ours on a day that is not delivered yet. "
                "Run the command again later."
            )
        ],
    )

    month.deliver_list(21)
    month.save(is_listed=False)
    found = cost(capsys, code=1)
    assert ([each["request_id"] for each in found["missing"]], found["notes"]) == (["a"], [])


def test_request_that_vonage_dates_after_midnight_is_ours_by_likeness(
    month: Month, capsys: pytest.CaptureFixture[str]
) -> None:
    month.request("a", 4, submitted_at=JUST_BEFORE_MIDNIGHT)
    row = {"id": "row", "date_received": "2026-11-21T00:00:00Z", "requested_product": "SMS",
           "account_id": "abcd1234", "items_written": "4"}  # fmt: skip
    month.out.deliver("REPORTS-USAGE", [row], definition="reports-usage", day="2026-11-21")
    month.deliver_list(21)
    month.save()

    found = cost(capsys, code=0)
    assert (found["lines"], found["missing"]) == ([], [])

    next_day = ("--from", "2026-11-21", "--until", "2026-11-22")
    found = cost(capsys, *next_day, code=0)
    assert ([each["requests"] for each in found["lines"]], found["others"]) == ([1], [])


def test_request_of_an_account_without_list_is_not_missing(
    month: Month, capsys: pytest.CaptureFixture[str]
) -> None:
    month.request("a", 4, account_id="efgh5678")
    month.save()

    found = cost(capsys, code=0)

    assert (found["missing"], found["notes"]) == (
        [],
        [
            (
                "No definition of REPORTS-USAGE collects the list of efgh5678, which would have 1 "
                'request of ours. They are not compared. Add "account_ids": "subaccounts" to '
                "`reports-usage`."
            )
        ],
    )


def test_list_with_sub_accounts_lacks_a_request_of_a_sub_account(
    month: Month, capsys: pytest.CaptureFixture[str]
) -> None:
    month.request("a", 4, account_id="efgh5678")
    month.deliver_list(19, include_subaccounts=True)
    month.save()

    assert [each["request_id"] for each in cost(capsys, code=1)["missing"]] == ["a"]


def test_unreadable_item_of_the_ledger_is_named(
    month: Month, capsys: pytest.CaptureFixture[str]
) -> None:
    report = month.request("a", 10)
    month.save()
    saved = month.root / ".local" / LastRun.NAME
    text = saved.read_text()
    assert text.count(f'"{State.DELIVERED}"') == 2
    first, _, rest = text.partition(report.report_id)
    saved.write_text(first + report.report_id + rest.replace('"DELIVERED"', '"LATER"', 1))

    found = cost(capsys, "--incomplete", *DAY, code=1)

    assert (found["differences"], found["missing"]) == ([], [])
    [note] = found["notes"]
    assert note.startswith(f"the ledger has items that cannot be read: {report.report_id}.")


def test_request_that_two_files_list_counts_once(
    month: Month, capsys: pytest.CaptureFixture[str]
) -> None:
    month.request("a", 10)
    month.list("a", 10)
    month.out.deliver("REPORTS-USAGE", month.rows, definition="again", day="2026-11-20")
    month.save()

    assert cost(capsys, code=0)["lines"][0]["requests"] == 1


def test_ids_of_another_kind_are_matched_by_likeness(
    month: Month, capsys: pytest.CaptureFixture[str]
) -> None:
    month.request("a", 10)
    month.request("b", 20, day=17)
    month.list("row-1", 20)
    month.list("row-2", 10)
    month.list("row-3", 10)
    month.save()

    found = cost(capsys, code=0)

    assert found["lines"][0]["requests"] == 2
    assert [each["requests"] for each in found["others"]] == [1]
    assert found["notes"] == [
        (
            "Vonage's ids are no request ids: the requests are matched by product, account, time "
            "and records."
        )
    ]


def test_request_without_an_answer_may_be_one_that_is_not_ours(
    month: Month, capsys: pytest.CaptureFixture[str]
) -> None:
    month.request(None, None, state=State.HELD, reason="no answer")
    month.list("x", 7)
    month.save()

    assert cost(capsys, code=0)["notes"] == [
        (
            "1 report has a request without an answer, which may be among those that are not "
            "ours; `status` names them."
        )
    ]


def test_undelivered_day_is_named_and_nothing_is_compared(
    month: Month, capsys: pytest.CaptureFixture[str]
) -> None:
    month.list("a", 1)
    month.save()

    found = cost(capsys, "--from", "2026-11-20", "--until", "2026-11-22", code=1)

    assert (found["lines"], found["missing"]) == (None, None)
    [incomplete] = found["completeness"]["incomplete"]
    assert (incomplete["definition"], incomplete["flaw"]) == ("reports-usage", "missing")
    assert [each["start"][:10] for each in incomplete["windows"]] == ["2026-11-21"]
    assert cost(capsys, "--from", "2026-11-20", "--until", "2026-11-22", "--incomplete", code=0)[
        "others"
    ]


def test_stack_without_the_list_is_told_how_to_collect_it(
    month: Month, capsys: pytest.CaptureFixture[str]
) -> None:
    month.out.deliver("SMS", [{"id": "s"}], definition="sms", day="2026-11-20")
    month.save(is_listed=False, definitions=[SMS])

    assert main(["--local", "cost", *DAY]) == 1
    *_, hint = capsys.readouterr().out.splitlines()
    assert hint.endswith('{"name": "reports-usage", "product": "REPORTS-USAGE", "delay_days": [1]}')


def test_period_is_needed(month: Month, capsys: pytest.CaptureFixture[str]) -> None:
    month.save()

    assert main(["--local", "cost"]) == 2
    assert "name the period: --month 2026-11" in capsys.readouterr().err
