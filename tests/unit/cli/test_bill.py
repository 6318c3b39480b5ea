"""`bill` on the last run: exact amounts, completeness, and every wrong input."""

import csv
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.delivered import Delivered
from tests.support.last_run import save_run
from tests.support.reports import make_report
from tests.support.schemas import document_of
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.windows import Window, WindowLength
from vonage_reports_cli.main import main

WEEK = ("--from", "2026-11-16", "--until", "2026-11-23")
DAYS = [f"2026-11-{day}" for day in range(16, 23)]


def daily(name: str = "sms", product: str = "SMS", **changes: Any) -> ReportDefinition:
    fields: dict[str, Any] = {
        "name": name, "product": product, "account_ids": ("abcd1234",),
        "include_subaccounts": False, "window": WindowLength.DAY, "time_zone": "UTC",
        "filters": {"direction": "outbound"} if product == "SMS" else {}, "delay_days": (0, 3),
    }  # fmt: skip
    return ReportDefinition(**{**fields, **changes})


def report(day: str, state: State, *, definition: str = "sms", **changes: Any) -> Report:
    start = datetime.fromisoformat(f"{day}T00:00:00+00:00")
    window = Window(start, start + timedelta(days=1), "UTC")
    return make_report(definition=definition, window=window, state=state, delay_index=1,
                       delay_days=3, revisions=2, **changes)  # fmt: skip


def sms(id_: str, day: str, price: str = "0.10", **cells: str) -> dict[str, str]:
    return {
        "account_id": "abcd1234", "id": id_, "date_received": f"{day}T10:00:00+0000",
        "country": "GB", "status": "delivered", "currency": "EUR", "total_price": price, **cells,
    }  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Delivered:
    monkeypatch.chdir(save_run(tmp_path, definitions=[daily()]))
    monkeypatch.delenv("VONAGE_REPORTS_STACK", raising=False)
    return Delivered(tmp_path / "out")


def deliver_week(out: Delivered, *, but: tuple[str, ...] = ()) -> None:
    for number, day in enumerate(DAYS):
        if day not in but:
            out.deliver("SMS", [sms(f"r{number}", day)], definition="sms", day=day)


def bill(*arguments: str | Path) -> int:
    return main(["--local", "bill", *map(str, arguments)])


def billed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code = bill(*arguments, "--json")
    output = capsys.readouterr()
    assert code == 0, output.err
    return document_of("bill", output.out)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_complete_week_is_billed(run: Delivered, capsys: pytest.CaptureFixture[str]) -> None:
    deliver_week(run)

    assert bill(*WEEK) == 0
    output = capsys.readouterr()
    assert output.out.splitlines() == [
        "the last make run, as of 2026-12-05 00:00:00 UTC",
        "Bill of 2026-11-16 to 2026-11-22 (UTC)",
        "account   product  country  currency  records  amount",
        "abcd1234  SMS      GB       EUR             7    0.70",
        "Total 0.70 EUR for 7 records; exact 0.7, difference 0",
    ]
    assert output.err == ""


def test_bill_of_an_announced_month_names_the_number(
    run: Delivered, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver_week(run)
    folder = run.root / "periods" / "2026" / "11"
    folder.mkdir(parents=True)
    for name in ("1.json", "2.json", "10.json", "x.json"):
        (folder / name).write_text("{}")
    month = ("--month", "2026-11", "--incomplete")

    assert bill(*month) == 0
    assert "2026-11 is written as complete: number 10.\n" in capsys.readouterr().out
    found = billed(capsys, *month)["completeness"]["announced"]
    assert found == {"period": "2026-11", "number": 10, "is_changed": False}
    assert billed(capsys, *WEEK)["completeness"]["announced"] is None


def test_lines_are_rounded_and_the_total_adds_them_up(
    run: Delivered, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver_week(run, but=("2026-11-16",))
    records = [
        sms("a", "2026-11-16", "0.004", account_id="aaaa1111", client_ref="shop"),
        sms("b", "2026-11-16", "0.004", account_id="bbbb2222"),
        sms("c", "2026-11-16", "0.5", account_id="bbbb2222", currency="JPY"),
    ]
    run.deliver("SMS", records, definition="sms", day="2026-11-16")

    found = billed(capsys, *WEEK, "--mark-up", "12.5%", "--by", "account")

    lines = {(each["account"], each["currency"]): each for each in found["lines"]}
    assert {key: each["amount"] for key, each in lines.items()} == {
        ("aaaa1111", "EUR"): "0.00", ("bbbb2222", "EUR"): "0.00", ("bbbb2222", "JPY"): "1",
        ("abcd1234", "EUR"): "0.68",
    }  # fmt: skip
    eur, jpy = found["totals"]
    assert eur == {
        "currency": "EUR", "records": 8, "amount": "0.68", "exact": "0.684", "difference": "-0.004",
    }  # fmt: skip
    assert (jpy["amount"], jpy["exact"]) == ("1", "0.5625")
    assert found["mark_up"] == "0.125"


@pytest.mark.parametrize(
    ("places", "amount"), [("none", "0.700000000"), ("0", "1"), ("3", "0.700")]
)
def test_rounding_can_be_chosen(
    run: Delivered, capsys: pytest.CaptureFixture[str], places: str, amount: str
) -> None:
    deliver_week(run)

    [line] = billed(capsys, *WEEK, "--round", places)["lines"]

    assert Decimal(line["amount"]) == Decimal(amount)
    assert len(line["amount"].partition(".")[2]) <= 8


def test_keys_decide_the_lines(run: Delivered, capsys: pytest.CaptureFixture[str]) -> None:
    deliver_week(run)

    found = billed(capsys, *WEEK, "--by", "day, client_ref")

    assert [each["day"] for each in found["lines"]] == DAYS
    assert found["by"] == ["day", "client_ref"]
    assert {each["client_ref"] for each in found["lines"]} == {None}


def test_values_common_to_all_lines_are_said_once(
    run: Delivered, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver_week(run)

    assert bill(*WEEK, "--by", "account,product,day") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "In every line: account abcd1234, product SMS, currency EUR"
    assert lines[3].split() == ["day", "records", "amount"]
    assert max(map(len, lines)) <= 80


# Completeness


def test_month_with_a_hole_is_listed_and_not_billed(
    run: Delivered, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    deliver_week(run, but=("2026-11-18", "2026-11-19", "2026-11-22"))

    assert bill(*WEEK, "--csv", tmp_path / "bill.csv") == 1
    output = capsys.readouterr()
    assert output.out.splitlines()[1:] == [
        "2026-11-16 to 2026-11-22 (UTC) is incomplete: 4 of 7 windows are delivered and final.",
        "  missing      sms, abcd1234: 2026-11-18 to 2026-11-19, 2026-11-22",
    ]
    assert output.err == (
        "vonage-reports: the period is incomplete; `status` shows all problems, and --incomplete "
        "goes on\n"
    )
    assert not (tmp_path / "bill.csv").exists()


def test_complete_period_in_utc_does_not_replace_the_check_of_the_windows(
    run: Delivered, capsys: pytest.CaptureFixture[str]
) -> None:
    """The windows that a complete period names in `not_collected` are missing in a bill."""
    deliver_week(run, but=tuple(DAYS[:-1]))
    folder = run.root / "periods" / "2026" / "11"
    folder.mkdir(parents=True)
    not_collected = {
        "account_id": "abcd1234", "start": "2026-11-01T00:00:00Z", "end": "2026-11-22T00:00:00Z",
    }  # fmt: skip
    of = {"definition": "sms", "time_zone": "UTC", "not_collected": [not_collected]}
    (folder / "1.json").write_text(json.dumps({"period": "2026-11", "definitions": [of]}))

    assert bill("--month", "2026-11") == 1
    lines = capsys.readouterr().out.splitlines()
    assert "2026-11 is written as complete: number 1." in lines
    assert "  missing      sms, abcd1234: 2026-11-01 to 2026-11-21, 2026-11-23 to 2026-11-30" in (
        lines
    )


def test_incomplete_period_is_billed_on_request(
    run: Delivered, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver_week(run, but=("2026-11-18",))

    assert bill(*WEEK, "--incomplete") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "Total 0.60 EUR for 6 records; exact 0.6, difference 0" in lines
    assert lines[-1] == "  missing      sms, abcd1234: 2026-11-18"


def test_each_flaw_has_its_name(
    run: Delivered, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    failed, held, preliminary, lost, gone, missing, open_ = DAYS
    run.deliver("SMS", [sms("p", failed)], definition="sms", day=failed, revision="preliminary")
    run.deliver("SMS", [sms("q", preliminary)], definition="sms", day=preliminary,
                revision="preliminary")  # fmt: skip
    run.deliver("SMS", [sms("r", gone)], definition="sms", day=gone)
    for file in (tmp_path / "out" / "data").rglob(f"date={gone}/*.parquet"):
        file.unlink()
    reports = [
        report(failed, State.FAILED),
        report(held, State.HELD),
        report(lost, State.DELIVERED),
        report(open_, State.SUBMITTED),
    ]
    save_run(tmp_path, definitions=[daily()], reports=reports)

    assert bill(*WEEK, "--json") == 1
    found = document_of("bill", capsys.readouterr().out)
    assert found["lines"] is None
    flaws = {
        window["start"][:10]: each["flaw"]
        for each in found["completeness"]["incomplete"]
        for window in each["windows"]
    }
    assert flaws == {
        failed: "failed", held: "held", preliminary: "preliminary", lost: "lost", gone: "lost",
        missing: "missing", open_: "under way",
    }  # fmt: skip
    assert found["completeness"]["final"] == 0


def test_window_that_is_collected_later_is_not_due(
    run: Delivered, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    deliver_week(run, but=("2026-11-21", "2026-11-22"))
    # The last revision of the 21st is due on the 25th.
    save_run(tmp_path, definitions=[daily()], as_of=datetime(2026, 11, 25, tzinfo=UTC))

    assert bill(*WEEK) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == [
        "  missing      sms, abcd1234: 2026-11-21",
        "  not due      sms, abcd1234: 2026-11-22",
    ]


def test_failed_part_of_a_split_window_is_a_failure(
    run: Delivered, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    deliver_week(run, but=("2026-11-18",))
    whole = report("2026-11-18", State.SPLIT, leaves=2)
    part = report("2026-11-18", State.FAILED, root=whole.report_id, split_path="0")
    save_run(tmp_path, definitions=[daily()], reports=[whole, part])

    assert bill(*WEEK) == 1
    assert "  failed       sms, abcd1234: 2026-11-18" in capsys.readouterr().out.splitlines()


def test_definition_without_any_window_is_missing(
    run: Delivered, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    deliver_week(run)
    save_run(
        tmp_path, definitions=[daily(), daily("calls", "VOICE-CALL", account_ids=("efgh5678",))]
    )

    assert bill(*WEEK) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == ["  missing      calls, efgh5678: 2026-11-16 to 2026-11-22"]


def test_removed_definition_is_complete_between_its_windows(
    run: Delivered, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver_week(run)
    deliver = partial(run.deliver, "SMS", definition="old", account="efgh5678")
    for day in ("2026-11-17", "2026-11-19"):
        deliver([sms(day, day)], day=day)

    assert bill(*WEEK) == 1
    _, caution, *lines = capsys.readouterr().out.splitlines()
    assert caution == (
        "old, efgh5678: not in the report definitions any more; the last window is of 2026-11-19, "
        "and later usage is not collected."
    )
    assert lines[1:] == ["  missing      old, efgh5678: 2026-11-18"]
    deliver([], day="2026-11-18")
    assert bill(*WEEK) == 0


def test_unknown_product_is_named(run: Delivered, capsys: pytest.CaptureFixture[str]) -> None:
    deliver_week(run)
    for day in DAYS:
        run.deliver("NEW-API", [{"id": "n"}], definition="new", day=day)

    assert bill(*WEEK) == 1
    [_, _, line] = capsys.readouterr().out.splitlines()
    assert line == "  no table     new: the product is unknown, so these lines lack it"


def test_refused_definition_is_named(
    run: Delivered, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    deliver_week(run)
    save_run(tmp_path, definitions=[daily(), daily("bad", filters={})])

    assert bill(*WEEK) == 1
    assert "  refused      bad, filters.direction: " in capsys.readouterr().out


def test_windows_of_a_zone_reach_into_the_period(
    run: Delivered, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    definition = daily(time_zone="Pacific/Auckland", window=WindowLength.WEEK)
    save_run(tmp_path, definitions=[definition])
    run.deliver("SMS", [sms("r", "2026-11-18")], definition="other", day="2026-11-16", days=7)

    assert bill(*WEEK) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "  missing      sms, abcd1234: week of 2026-11-16 to 2026-11-23"


def test_dataset_without_a_manifest_is_not_billed_in_silence(
    run: Delivered, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    deliver_week(run)
    for file in (tmp_path / "out" / "manifests").rglob("2026/11/18/*.json"):
        file.unlink()

    assert bill(*WEEK) == 1
    assert capsys.readouterr().out.splitlines()[2:] == [
        "  without manifest  sms, abcd1234: 2026-11-18"
    ]


def test_accepted_losses_are_named_beside_the_bill(
    run: Delivered, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    deliver_week(run)
    [file] = (tmp_path / "out" / "manifests").rglob("2026/11/18/*.json")
    manifest = json.loads(file.read_text())
    accepted = [{"name": "unreadable_rows", "rows": 2}]
    file.write_text(json.dumps({**manifest, "accepted": accepted, "row_check": "different"}))
    sentence = (
        "SMS: 1 window was delivered with losses (sms, abcd1234, 2026-11-18): 2 rows left out as "
        "unreadable."
    )

    assert bill(*WEEK) == 0
    assert capsys.readouterr().out.splitlines()[1] == sentence
    assert billed(capsys, *WEEK)["completeness"]["cautions"] == [sentence]


@pytest.mark.parametrize("damage", ["data", "manifests"])
def test_damaged_object_is_one_sentence(
    run: Delivered, capsys: pytest.CaptureFixture[str], tmp_path: Path, damage: str
) -> None:
    deliver_week(run)
    file = next(path for path in (tmp_path / "out" / damage).rglob("*2026*18*") if path.is_file())
    file.write_text("{}")

    assert bill(*WEEK) == 1
    complaint = capsys.readouterr().err
    assert file.name in complaint
    assert "`verify` names every damaged " in complaint
    assert len(complaint.splitlines()) == 1


def test_damage_inside_a_file_is_one_sentence(
    run: Delivered, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    deliver_week(run)
    file = next((tmp_path / "out" / "data").rglob("*.parquet"))
    content = bytearray(file.read_bytes())
    content[4:400] = b"\xff" * 396
    file.write_bytes(content)

    assert bill(*WEEK) == 1
    complaint = capsys.readouterr().err
    assert complaint.startswith("vonage-reports: a file of the dataset cannot be read: ")
    assert complaint.endswith("run the command again; `verify` names every damaged file\n")


def test_changed_definition_is_refused(
    run: Delivered, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    deliver_week(run)
    save_run(tmp_path, definitions=[daily(time_zone="Asia/Tokyo")], planned=[daily()])

    assert bill(*WEEK) == 1
    assert "  refused      sms, time_zone: changed under the same name; " in capsys.readouterr().out


# Imperfect records, and the source


def test_records_without_price_or_time_are_counted(
    run: Delivered, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver_week(run, but=("2026-11-16",))
    records = [
        sms("a", "2026-11-16", ""),
        sms("b", "2026-11-16", "0.060000000000000005"),
        sms("c", "2026-11-16", "1", date_received=""),
    ]
    run.deliver("SMS", records, definition="sms", day="2026-11-16")
    failed = {"id": "f", "date_start": "2026-11-19T10:00:00Z", "account_id": "abcd1234"}
    run.deliver("VOICE-FAILED", [failed], definition="failed", day="2026-11-19")

    assert bill(*WEEK) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-4:] == [
        "Total 1.60 EUR for 9 records; exact 1.6, difference 0",
        (
            "SMS: no price, or only a part of it, in 2 of 9 records (1 with a price that does not "
            "fit its type)."
        ),
        "SMS: no readable time in 1 of 9 records, which count at the start of their window.",
        (
            "VOICE-FAILED: no price in 1 of its records, which Vonage bills as another product, "
            "or not at all."
        ),
    ]


def test_records_dated_outside_their_window_and_the_period_are_counted(
    run: Delivered, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver_week(run, but=("2026-11-16", "2026-11-22"))
    first = [
        sms("a", "2026-11-16"),
        sms("early", "2025-03-01"),
        sms("before", "2026-11-15"),
        # In the period, though not in its window: this bill has it.
        sms("later", "2026-11-20"),
        sms("none", "2026-11-16", date_received=""),
    ]
    run.deliver("SMS", first, definition="sms", day="2026-11-16")
    run.deliver("SMS", first, definition="copy", day="2026-11-16")
    run.deliver("SMS", [sms("b", "2026-11-22")], definition="sms", day="2026-11-22")
    # Its window begins before the period, and it is in that window.
    run.deliver("SMS", [sms("c", "2026-11-13")], definition="weekly", day="2026-11-12", days=7)
    call = {"id": "v", "date_start": "2024-01-01T10:00:00Z", "total_price": "1", "currency": "EUR"}
    run.deliver("VOICE-CALL", [call], definition="calls", day="2026-11-18")
    # The window is of another period.
    run.deliver("SMS", [sms("d", "2026-12-24")], definition="copy", day="2026-11-15")

    found = billed(capsys, *WEEK, "--incomplete")

    assert found["totals"][0]["records"] == 9
    sentence = "a time outside both window and period in {} of these windows' records, so that "
    assert found["cautions"][-2:] == [
        f"SMS: {sentence.format(2)}no line has them.",
        f"VOICE-CALL: {sentence.format(1)}no line has them.",
    ]


def test_records_without_currency_need_one(
    run: Delivered, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver_week(run, but=("2026-11-16",))
    run.deliver("SMS", [sms("a", "2026-11-16", currency="")], definition="sms", day="2026-11-16")

    assert bill(*WEEK) == 2
    assert capsys.readouterr().err == (
        "vonage-reports: 1 of the priced records have no currency (SMS); add --currency EUR, or "
        "the currency of your account at Vonage\n"
    )
    [total] = billed(capsys, *WEEK, "--currency", "eur")["totals"]
    assert (total["currency"], total["records"]) == ("EUR", 7)


def test_own_reports_are_no_part_of_a_bill_and_of_its_completeness(
    run: Delivered, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    save_run(tmp_path, definitions=[daily(), daily("own", "REPORTS-USAGE")])
    deliver_week(run)
    own = {
        "id": "o",
        "date_received": "2026-11-19T10:00:00Z",
        "total_price": "5",
        "currency": "EUR",
    }
    run.deliver("REPORTS-USAGE", [own], definition="own", day="2026-11-19")

    found = billed(capsys, *WEEK)
    assert [each["product"] for each in found["lines"]] == ["SMS"]
    assert (found["completeness"]["is_complete"], found["completeness"]["windows"]) == (True, 7)


def test_files_of_other_months_are_not_read(run: Delivered, tmp_path: Path) -> None:
    deliver_week(run)
    run.deliver("SMS", [sms("x", "2026-08-19")], definition="sms", day="2026-08-19")
    for file in (tmp_path / "out" / "data").rglob("date=2026-08-19/*.parquet"):
        file.write_bytes(b"no Parquet")

    assert bill(*WEEK) == 0


def test_simulated_records_need_a_word(
    run: Delivered, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    deliver_week(run)
    save_run(tmp_path, definitions=[daily()], is_simulated=True)

    assert bill(*WEEK) == 2
    assert capsys.readouterr().err == (
        "vonage-reports: SIMULATED: the last make run: the records are simulated, no real usage; "
        "add --simulated for a trial\n"
    )
    assert bill(*WEEK, "--simulated", "--csv", tmp_path / "bill.csv") == 0
    assert capsys.readouterr().out.startswith("SIMULATED: the last make run, as of ")
    [row] = rows_of(tmp_path / "bill.csv")
    assert row["source"] == "SIMULATED: the last make run"


def test_csv_has_its_facts_beside_it(
    run: Delivered, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    deliver_week(run, but=("2026-11-18",))

    assert bill(*WEEK, "--incomplete", "--mark-up", "15%", "--csv", tmp_path / "bill.csv") == 0
    [row] = rows_of(tmp_path / "bill.csv")
    assert row == {
        "account": "abcd1234", "product": "SMS", "country": "GB", "currency": "EUR",
        "records": "6", "seconds": "", "cost": "0.60000000", "exact": "0.6900000000",
        "amount": "0.69", "records_without_price": "0", "records_with_rescued_price": "0",
        "records_without_time": "0", "preliminary_records": "0", "source": "the last make run",
    }  # fmt: skip
    facts = json.loads((tmp_path / "bill.csv.json").read_text())
    assert facts["period"] == {"from": "2026-11-16", "until": "2026-11-23"}
    assert facts["source"].startswith("the last make run, as of ")
    assert (facts["completeness"]["is_complete"], facts["completeness"]["final"]) == (False, 6)
    assert facts["totals"][0]["amount"] == "0.69"
    assert f"Wrote 1 row to {tmp_path}/bill.csv." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ([], "name the period: --month 2026-11, or --from and --until"),
        (["--month", "2026-13"], "--month is '2026-13'; use a month like 2026-11"),
        (["--month", "2026-11", "--from", "2026-11-01"], "give --month, or --from and --until"),
        (
            ["--from", "2026-11-30", "--until", "2026-11-01"],
            "--from 2026-11-30 is not before --until 2026-11-01",
        ),
        (["--from", "1.11.2026", "--until", "2026-12-01"], "--from is '1.11.2026'; use a date"),
        ([*WEEK, "--by", "customer"], "--by has 'customer'; use account, client_ref, product, "),
        ([*WEEK, "--mark-up", "0.15"], "--mark-up is '0.15'; use a percentage like 15%"),
        ([*WEEK, "--mark-up", "150%"], "--mark-up is 150%, which more than doubles the cost"),
        ([*WEEK, "--mark-up", "-100%"], "--mark-up is -100%, and a discount is less than 100 %"),
        ([*WEEK, "--currency", "EURO"], "--currency is 'EURO'; use a code of ISO 4217, like EUR"),
        ([*WEEK, "--round", "9"], "--round is '9'; use 0 to 8 decimal places, or none"),
        ([*WEEK, "--csv", "."], "--csv . cannot be written: Is a directory"),
        ([*WEEK, "--csv", "/nowhere/x.csv"], "--csv /nowhere/x.csv cannot be written: "),
        ([*WEEK, "--markup", "15%"], "No such option '--markup'"),
    ],
)
def test_wrong_input_is_one_sentence(
    run: Delivered, capsys: pytest.CaptureFixture[str], asked: list[str], says: str
) -> None:
    deliver_week(run)

    assert bill(*asked) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"vonage-reports: {says}")
    assert len(complaint.splitlines()) == 1


def test_large_mark_up_needs_a_second_word(
    run: Delivered, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver_week(run)

    [total] = billed(capsys, *WEEK, "--mark-up", "150 %", "--large-mark-up")["totals"]

    assert total["amount"] == "1.75"


def without_price(id_: str, country: str) -> dict[str, str]:
    return sms(id_, DAYS[0], "", currency="", country=country)


@pytest.mark.parametrize(
    ("others", "lines"),
    [
        # The currency of their line, then the only one of the bill, then no line.
        ([("GB", "EUR"), ("US", "USD")], [("GB", "EUR", 2), ("US", "USD", 1)]),
        ([("GB", "EUR")], [("FR", "EUR", 1), ("GB", "EUR", 2)]),
        ([], []),
    ],
)
def test_record_without_price_and_currency_is_no_line_of_its_own(
    run: Delivered,
    capsys: pytest.CaptureFixture[str],
    others: list[tuple[str, str]],
    lines: list[tuple[str, str, int]],
) -> None:
    deliver_week(run, but=tuple(DAYS))
    records = [without_price("z1", "GB"), without_price("z2", "FR")]
    records += [
        sms(country, DAYS[0], currency=currency, country=country) for country, currency in others
    ]
    run.deliver("SMS", records, definition="sms", day=DAYS[0])
    asked = ("--from", DAYS[0], "--until", DAYS[1], "--by", "country")

    found = billed(capsys, *asked)
    assert bill(*asked) == 0

    assert [
        (each["country"], each["currency"], each["records"]) for each in found["lines"]
    ] == lines
    assert all(each["currency"] for each in found["totals"])
    output = capsys.readouterr().out.splitlines()
    assert f"SMS: no price, or only a part of it, in 2 of {len(records)} records." in output
    assert ("No record has a price." in output) == (not others)
    assert "No records." not in output


def test_rounding_makes_no_negative_zero(
    run: Delivered, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver_week(run, but=tuple(DAYS))
    run.deliver("SMS", [sms("n", DAYS[0], "-0.3")], definition="sms", day=DAYS[0])

    assert bill("--from", DAYS[0], "--until", DAYS[1], "--round", "0", "--by", "product") == 0
    output = capsys.readouterr().out.splitlines()
    assert output[3].split() == ["SMS", "EUR", "1", "0"]
    assert output[4].startswith("Total 0 EUR for 1 record;")


def test_code_in_lower_case_has_the_digits_of_its_currency(
    run: Delivered, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver_week(run, but=tuple(DAYS))
    run.deliver("SMS", [sms("j", DAYS[0], "12.4", currency="jpy")], definition="sms", day=DAYS[0])

    found = billed(capsys, "--from", DAYS[0], "--until", DAYS[1])

    assert [each["amount"] for each in found["totals"]] == ["12"]
