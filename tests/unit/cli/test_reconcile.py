"""`reconcile` on the last run: invoices as people send them."""

import csv
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.delivered import Delivered
from tests.support.last_run import save_run
from tests.support.schemas import document_of
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.windows import WindowLength
from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.invoice import read_invoice
from vonage_reports_cli.main import main

MONTH = ("--month", "2026-11")


def monthly(name: str, product: str) -> ReportDefinition:
    filters = {"direction": "outbound"} if product in ("SMS", "MESSAGES") else {}
    return ReportDefinition(
        name,
        product,
        ("abcd1234",),
        include_subaccounts=False,
        filters=filters,
        window=WindowLength.MONTH,
        time_zone="UTC",
    )


def record(id_: str, price: str, country: str, **cells: str) -> dict[str, str]:
    return {
        "account_id": "abcd1234", "id": id_, "country": country, "total_price": price,
        "currency": "EUR", "date_received": "2026-11-19T10:00:00Z",
        "date_start": "2026-11-19T10:00:00Z", **cells,
    }  # fmt: skip


PRODUCTS = {"sms": "SMS", "calls": "VOICE-CALL"}


def deliver(out: Delivered, records: Mapping[str, list[dict[str, str]]]) -> None:
    for name, product in PRODUCTS.items():
        out.deliver(product, records.get(name, []), definition=name, day="2026-11-01", days=30)


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Delivered:
    definitions = [monthly(name, product) for name, product in PRODUCTS.items()]
    monkeypatch.chdir(save_run(tmp_path, definitions=definitions))
    monkeypatch.delenv("VONAGE_REPORTS_STACK", raising=False)
    out = Delivered(tmp_path / "out")
    deliver(out, {
        "sms": [record("s1", "1234.5", "GB"), record("s2", "0.25", "DE")],
        "calls": [record("c1", "2.75", "DE")],
    })  # fmt: skip
    return out


def reconcile(*arguments: str | Path) -> int:
    return main(["--local", "reconcile", *map(str, arguments)])


def compared(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    code = reconcile(*arguments, "--json")
    output = capsys.readouterr()
    assert code in (0, 1), output.err
    found = document_of("reconcile", output.out)
    sums = [*found["totals"], *found["invoice_totals"]]
    assert code == (1 if found["beyond"] or any(each["is_beyond"] for each in sums) else 0)
    return found


def differences(found: Mapping[str, Any]) -> dict[tuple[str, ...], str]:
    keys = found["by"]
    return {tuple(each[key] for key in keys): each["difference"] for each in found["lines"]}


def written(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "invoice.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_invoice_with_semicolons_and_decimal_commas(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    invoice = written(
        tmp_path,
        "Rechnung Nr. 17;;;\r\n"
        "\r\n"
        "Produkt;Land;Menge;Betrag (EUR)\r\n"
        "sms;Vereinigtes Königreich;1;1.234,50 €\r\n"
        "Voice Call;DE;1;2,75\r\n"
        "SMS;Germany;1;0,20\r\n"
        "Gesamt;;3;1.237,45\r\n",
        "utf-8-sig",
    )

    assert reconcile(invoice, *MONTH) == 1
    output = capsys.readouterr()
    assert output.out.splitlines() == [
        "the last make run, as of 2026-12-05 00:00:00 UTC",
        "In every line: currency EUR",
        "product     country  invoice  our total  difference",
        "SMS         DE          0.20       0.25       -0.05",
        "SMS         GB       1234.50    1234.50        0.00",
        "VOICE-CALL  DE          2.75       2.75        0.00",
        "Total EUR: invoice 1237.45, our total 1237.50, difference -0.05",
        "The invoice's own total EUR (line 7): 1237.45, its lines 1237.45, difference 0.00",
        "1 of 3 lines differ by more than 0.01.",
        "The sum of EUR differs by more than 0.01.",
    ]
    assert output.err.splitlines() == [
        "Read 3 lines; delimiter ; and decimal sign ,; amount from the column 'Betrag (EUR)'.",
        "Totals are no charges: line 7.",
    ]


EQUAL = {("SMS", "GB"): "0", ("SMS", "DE"): "0", ("VOICE-CALL", "DE"): "0"}


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (
            (
                "product,country,currency,amount\n"
                'sms,UK,EUR,"1,234.50"\nSms,deu,EUR,.25\nvoice,germany,EUR,2.75\n'
            ),
            "utf-8",
        ),
        (
            (
                "Service\tDestination\tTotal (EUR)\n"
                "SMS API\tUnited Kingdom\tEUR 1'234.50\nSMS (outbound)\tGermany\t€0.25\n"
                "Voice API\tGERMANY\t2.750\n"
            ),
            "utf-16",
        ),
        (
            (
                "sep=;\nProduct;Country;Price;Currency;Month\n"
                "SMS;GB;1 234,50;eur;2026-11\nSMS;DE;0,25;€;11/2026\n"
                "VOICE_CALL;DE;2,75;EUR;Nov 2026\n"
                "SMS;DE;99,00;EUR;October 2026\n"
            ),
            "cp1252",
        ),
        (
            (
                "product|country|amount\nSMS|GB|1.234,50 €\nSMS|DE|(0,25)\nSMS|DE|0,75\n"
                "SMS|DE|0,25-\nVOICE-CALL|DE|2,75\n"
            ),
            "utf-8",
        ),
    ],
)
def test_form_of_the_invoice_is_found(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, encoding: str
) -> None:
    found = compared(capsys, written(tmp_path, text, encoding), *MONTH)

    assert differences(found) == EQUAL
    assert {each["currency"] for each in found["lines"]} == {"EUR"}


def test_columns_and_words_can_be_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    invoice = written(
        tmp_path,
        "Was;Wo;Total (EUR);Total (GBP)\nNachricht;GB;1234.50;1000\nNachricht;DE;0.25;1\n"
        "Anruf;DE;2.75;1\n",
    )
    named = ("--map", "product=Was", "--map", "country=Wo", "--map", "amount='Total (EUR)'",
             "--product", "nachricht=SMS", "--product", "Anruf=voice-call")  # fmt: skip

    assert differences(compared(capsys, invoice, *MONTH, *named)) == EQUAL


def test_product_totals_need_no_country(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    invoice = written(tmp_path, "Product,Amount\nSMS,1234.75\nVoice,2.70\n")

    found = compared(capsys, invoice, *MONTH)

    assert differences(found) == {("VOICE-CALL",): "-0.05", ("SMS",): "0"}
    assert "The invoice has no column for the country: compared by product." in found["notes"]
    assert differences(compared(capsys, invoice, *MONTH, "--by", "product")) == differences(found)


def test_unmatched_lines_are_named_largest_first(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    invoice = written(
        tmp_path,
        "product,country,amount\nSMS,GB,1234.50\nSMS,DE,0.25\nVOICE,DE,2.75\n"
        "Numbers,GB,10\nMessages,FR,20\nSMS,Atlantis,0.5\nReports,GB,7\n",
    )

    found = compared(capsys, invoice, *MONTH)

    assert [(each["product"], each["difference"], each["causes"]) for each in found["lines"]] == [
        ("MESSAGES", "20", ["no records: is a definition missing?"]),
        ("Numbers", "10", ["unknown product word 'Numbers' (--product names it)"]),
        ("SMS", "0.5", ["unknown country 'Atlantis'"]),
        ("SMS", "0", []),
        ("SMS", "0", []),
        ("VOICE-CALL", "0", []),
    ]
    assert found["totals"] == [
        {"currency": "EUR", "invoiced": "1268", "ours": "1237.5", "difference": "30.5",
         "rounding": "0", "is_beyond": True}
    ]  # fmt: skip
    assert found["beyond"] == 3
    assert found["notes"][1:] == ["Left out: 1 line on your own reports, which `cost` compares."]


@pytest.mark.parametrize(("tolerance", "beyond"), [("0.04", 1), ("0.05", 0), ("0", 1)])
def test_tolerance_decides_the_exit_code(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tolerance: str,
    beyond: int,
) -> None:
    invoice = written(tmp_path, "product,amount\nSMS,1234.75\nVoice,2.70\n")

    found = compared(capsys, invoice, *MONTH, "--tolerance", tolerance)

    assert found["beyond"] == beyond


def test_records_without_price_or_time_are_causes(
    run: Delivered, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    deliver(run, {
        "sms": [record("s1", "", "GB"), record("s2", "1", "GB", date_received="")],
    })  # fmt: skip
    invoice = written(tmp_path, "product,country,amount\nSMS,GB,2.00\n")

    [line] = compared(capsys, invoice, *MONTH)["lines"]

    assert line["causes"] == [
        "1 of 2 records without a price or a part of it",
        "1 of 2 records without a readable time",
    ]


def test_month_with_a_hole_is_not_compared(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for file in (tmp_path / "out" / "manifests" / "calls").rglob("*.json"):
        file.unlink()
    invoice = written(tmp_path, "product,amount\nSMS,1234.75\n")

    assert reconcile(invoice, *MONTH) == 1
    output = capsys.readouterr()
    assert "  without manifest  calls, abcd1234: month of 2026-11-01" in output.out.splitlines()
    assert "Total" not in output.out
    found = compared(capsys, invoice, *MONTH, "--incomplete")
    assert found["completeness"]["final"] == 1
    assert found["lines"]


TWO_LINES = "product,amount\nSMS,1234.75\nVoice,2.75\n"


def test_own_total_of_the_invoice_is_checked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    invoice = written(tmp_path, f"{TWO_LINES}Total EUR,1240.00\n")

    assert reconcile(invoice, *MONTH) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == [
        "The invoice's own total EUR (line 4): 1240.00, its lines 1237.50, difference 2.50",
        "0 of 2 lines differ by more than 0.01.",
        "The invoice's total in line 4 differs from its lines by more than 0.01.",
    ]
    assert compared(capsys, invoice, *MONTH)["invoice_totals"] == [
        {"line": 4, "currency": "EUR", "amount": "1240", "lines": "1237.5", "difference": "2.5",
         "is_beyond": True}
    ]  # fmt: skip
    assert reconcile(invoice, *MONTH, "--tolerance", "2.5") == 0


@pytest.mark.parametrize(
    ("rows", "differences"),
    [
        ("Total,1237.50", {"5": "0"}),
        ("Subtotal,1000\nGrand Total:,1237.50", {"6": "0"}),
        ("Gesamt (EUR),1237.50", {"5": "0"}),
        ("Subtotal,1238.50", {"5": "1"}),
        ("Sub-total,1237.50\nVAT,0.50\nTOTAL,1238.00", {"7": "0"}),
        ("Subtotal,1237.50\nVAT,0.50\nSubtotal,0.50", {"7": "0"}),
        ("Net total,1237.50\nVAT,0.50", {"5": "0"}),
        ("Total,", {}),
    ],
)
def test_last_total_is_about_the_lines_above_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, rows: str, differences: dict[str, str]
) -> None:
    lines = "product,amount\nSMS,1000\nSMS,234.75\nVoice,2.75\n"
    invoice = written(tmp_path, lines + rows)

    found = compared(capsys, invoice, *MONTH)

    totals = {str(each["line"]): each["difference"] for each in found["invoice_totals"]}
    assert totals == differences
    assert "Total" not in {each["product"].title() for each in found["lines"]}


def test_totals_of_two_currencies_are_checked_each(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = "product,currency,amount\nSMS,EUR,5\nSMS,USD,7\n"

    found = compared(capsys, written(tmp_path, f"{lines}Total,EUR,5\nTotal,USD,8\n"), *MONTH)
    assert [each["difference"] for each in found["invoice_totals"]] == ["0", "1"]
    unclear = compared(capsys, written(tmp_path, f"{lines}Total,,12\n"), *MONTH)
    assert unclear["invoice_totals"][0]["is_beyond"] is True
    assert unclear["invoice_totals"][0]["difference"] is None


@pytest.mark.parametrize(
    ("product", "country"),
    [
        ("Total surcharge", "GB"), ("Total surcharge", ""), ("Sum of fees", ""), ("Total", "GB"),
        ("Net total correction", ""), ("Summe der Gebuehren", ""), ("SMS Total", ""),
        ("Gesamtgebuehr", ""), ("Total 2", ""),
    ],
)  # fmt: skip
def test_charge_that_is_named_like_a_total_is_compared(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, product: str, country: str
) -> None:
    invoice = written(
        tmp_path,
        f"product,country,amount\nSMS,GB,1234.50\nSMS,DE,0.25\nVoice,DE,2.75\n"
        f"{product},{country},50.00\nTotal,,1287.50\n",
    )

    found = compared(capsys, invoice, *MONTH)

    assert (found["lines"][0]["product"], found["lines"][0]["difference"]) == (product, "50")
    assert found["invoice_totals"][0]["difference"] == "0"


def test_small_differences_add_up(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    invoice = written(
        tmp_path, "product,country,amount\nSMS,GB,1234.51\nSMS,DE,0.26\nVoice,DE,2.75"
    )

    assert reconcile(invoice, *MONTH) == 1
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "Total EUR: invoice 1237.52, our total 1237.50, difference 0.02",
        "0 of 3 lines differ by more than 0.01.",
        "The sum of EUR differs by more than 0.01.",
    ]


def test_rounding_of_lines_is_no_difference_of_the_sum(
    run: Delivered, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    countries = ("GB", "DE", "FR", "ES", "IT")
    deliver(run, {"sms": [record(each, "0.0054", each) for each in countries]})
    rows = "".join(f"SMS,{each},0.01\n" for each in countries)

    rounded = compared(capsys, written(tmp_path, f"product,country,amount\n{rows}"), *MONTH)
    exact = rows.replace("0.01", "0.0100")
    not_rounded = compared(capsys, written(tmp_path, f"product,country,amount\n{exact}"), *MONTH)

    assert [each["beyond"] for each in (rounded, not_rounded)] == [0, 0]
    [one], [other] = rounded["totals"], not_rounded["totals"]
    assert (one["difference"], one["rounding"], one["is_beyond"]) == ("0.023", "0.023", False)
    assert (other["difference"], other["rounding"], other["is_beyond"]) == ("0.023", "0", True)


def test_unknown_word_is_named_within_the_tolerance(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    invoice = written(tmp_path, f"{TWO_LINES}Rental,0.00\nMessages,0.01\n")

    assert reconcile(invoice, *MONTH) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-4:] == [
        "Possible causes:",
        "  MESSAGES EUR: no records: is a definition missing?",
        "  Rental EUR: unknown product word 'Rental' (--product names it)",
        "0 of 4 lines differ by more than 0.01.",
    ]


def test_records_without_price_and_currency_are_no_line(
    run: Delivered, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    deliver(run, {
        "sms": [record("s1", "1", "GB"), record("s2", "", "GB", currency=""),
                record("s3", "", "FR", currency="")],
    })  # fmt: skip
    invoice = written(tmp_path, "product,country,currency,amount\nSMS,GB,EUR,2.00\n")

    found = compared(capsys, invoice, *MONTH)

    [line] = found["lines"]
    assert (line["currency"], line["records"]) == ("EUR", 2)
    assert line["causes"] == ["1 of 2 records without a price or a part of it"]
    assert "Without a price and a currency, 2 records count as 0 (SMS)." in found["notes"]
    assert [each["currency"] for each in found["totals"]] == ["EUR"]


@pytest.mark.parametrize(
    ("header", "column", "currency"),
    [
        ("Product,Country,Price,Total EUR", "Total EUR", "EUR"),
        ("Product,Country,Unit,Amount EUR", "Amount EUR", "EUR"),
        ("Product,Country,Unit,Amount in EUR", "Amount in EUR", "EUR"),
        ("Product,Country,Unit,EUR amount", "EUR amount", "EUR"),
        ("Product,Country,Unit,amount_eur", "amount_eur", "EUR"),
        ("Product,Country,Unit,Amount (A$)", "Amount (A$)", "AUD"),
        ("Product,Country,Unit,Amount $", "Amount $", "USD"),
        ("Produkt,Land,Einzelpreis,Gesamtpreis", "Gesamtpreis", ""),
        ("Producto,Pa\u00eds,Precio,Importe", "Importe", ""),
        ("Product,Country,Unit,Line Total:", "Line Total:", ""),
    ],
)
def test_amount_is_that_of_the_line(
    tmp_path: Path, header: str, column: str, currency: str
) -> None:
    read = read_invoice(written(tmp_path, f"{header}\nSMS,GB,10,300\n"))

    [line] = read.lines
    assert (line.amount, line.currency) == (Decimal(300), currency)
    assert f"amount from the column {column!r}" in read.notes[0]


def test_text_below_the_lines_is_left_out(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    invoice = written(tmp_path, f"{TWO_LINES}Total,1237.50\nThank you\n Page 1 of 1,\n")

    found = compared(capsys, invoice, *MONTH)

    assert found["beyond"] == 0
    assert "Text below the charges is left out: line 5, 6." in found["notes"]


@pytest.mark.parametrize(
    ("text", "month"),
    [
        ("2026-11", "2026-11"), ("2026-11-01", "2026-11"), ("11/2026", "2026-11"),
        ("30/11/2026", "2026-11"), ("11/30/2026", "2026-11"), ("11/11/2026", "2026-11"),
        ("01.11.2026", "2026-11"), ("Nov 2026", "2026-11"), ("November 2026", "2026-11"),
    ],
)  # fmt: skip
def test_month_has_many_forms(tmp_path: Path, text: str, month: str) -> None:
    [line] = read_invoice(written(tmp_path, f"product,month,amount\nSMS,{text},1\n")).lines

    assert line.month == month


def test_months_that_are_left_out_are_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    invoice = written(
        tmp_path,
        "product,month,amount\nSMS,2026-11,1234.75\nVoice,2026-11,2.75\n"
        "SMS,2026-10,1\nSMS,2026-09,1\nSMS,2026-10,1\nTotal,,1240.50\n",
    )

    found = compared(capsys, invoice, *MONTH)

    assert "Lines of other months are not compared: 3 (2026-09, 2026-10)." in found["notes"]
    assert found["invoice_totals"][0]["is_beyond"] is False


@pytest.mark.parametrize("target", ["invoice.csv", "out/../invoice.csv", "link.csv", "hard.csv"])
def test_invoice_is_never_written_over(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, target: str
) -> None:
    invoice = written(tmp_path, TWO_LINES)
    (tmp_path / "link.csv").symlink_to(invoice)
    (tmp_path / "hard.csv").hardlink_to(invoice)

    assert reconcile(invoice, *MONTH, "--csv", target) == 2
    assert capsys.readouterr().err == (
        f"vonage-reports: --csv {target} would write over {invoice}, which the command reads; name "
        "another file\n"
    )
    assert invoice.read_text() == TWO_LINES


def test_invoice_is_never_written_over_by_the_facts(tmp_path: Path) -> None:
    invoice = written(tmp_path, TWO_LINES).rename(tmp_path / "result.csv.json")

    assert reconcile(invoice, *MONTH, "--csv", "result.csv") == 2
    assert invoice.read_text() == TWO_LINES


def test_csv_has_causes_and_facts(tmp_path: Path) -> None:
    invoice = written(tmp_path, "product,amount\nSMS,1234.75\n")

    assert reconcile(invoice, *MONTH, "--csv", tmp_path / "result.csv") == 1
    with (tmp_path / "result.csv").open(newline="") as file:
        calls, sms = csv.DictReader(file)
    assert (calls["product"], calls["difference"], calls["causes"], calls["source"]) == (
        "VOICE-CALL", "-2.75", "not on the invoice", "the last make run",
    )  # fmt: skip
    assert (sms["invoice_lines"], sms["is_beyond"]) == ("2", "False")
    facts = json.loads((tmp_path / "result.csv.json").read_text())
    assert facts["totals"][0]["difference"] == "-2.75"
    assert facts["completeness"]["is_complete"] is True


def test_simulated_records_need_a_word(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    definitions = [monthly(name, product) for name, product in PRODUCTS.items()]
    save_run(tmp_path, definitions=definitions, is_simulated=True)
    invoice = written(tmp_path, "product,amount\nSMS,1234.75\nVoice,2.75\n")

    assert reconcile(invoice, *MONTH) == 2
    assert "the records are simulated" in capsys.readouterr().err
    assert reconcile(invoice, *MONTH, "--simulated") == 0


@pytest.mark.parametrize(
    ("text", "asked", "says"),
    [
        ("product,amount\nSMS,1.234\n", [],
         "line 2, column 'amount': '1.234' has thousands or three decimal places"),
        ("product,amount\nSMS,1.50\nSMS,abc\n", [],
         "line 3, column 'amount': 'abc' is no amount with the decimal sign ."),
        ('product,amount\nSMS,1.50\nSMS,"2,50"\n', [],
         "line 3, column 'amount': '2,50' has another decimal sign than line 2, '1.50'"),
        ("product,amount\nSMS,1.50\nSMS,\n", [], "line 3, column 'amount': empty"),
        ("product,amount\n,1.50\n", [], "line 2, column 'product': empty beside an amount"),
        ("product,amount\nSMS,1,234.50\n", [], "line 2 has 3 cells, and the header has 2"),
        ("product,currency,amount\nSMS,Euro,1\n", [], "line 2, column 'currency': 'EURO' is no"),
        ("product,month,amount\nSMS,soon,1\n", [], "line 2, column 'month': 'soon' is no month"),
        ("a,b\n1,2\n", [], "line 1 has no column for product and amount; its columns are 'a', 'b'"),
        ("product,amount\n", [], "has no line with an amount"),
        ("", [], "is empty"),
        ('product,amount\n"SMS,1\n', [], "cannot be read: "),
        ("PK\x03\x04", [], "is no CSV file; export the invoice"),
        ("product,amount\nSMS,1\n", ["--map", "country=Wo"], "has no column 'Wo'"),
        ("product,amount\nSMS,(5.00\n", [], "line 2, column 'amount': '(5.00' is no amount"),
        ("product,currency,amount\nSMS,EUR,$5\n", [],
         "line 2, column 'amount': '$5' is in another currency than its line or its column's"),
        ("product,currency,Amount (EUR)\nSMS,USD,5\n", [],
         "line 2, column 'Amount (EUR)': '5' is in another currency than its line"),
        ("product,month,amount\nSMS,11/01/2026,1\n", [],
         "'11/01/2026' may be in November or in January; write 2026-11 or 2026-01, or leave"),
        ("product,Quantity,Price\nSMS,30,10\n", [],
         "'Price' may be the price of one unit, because there are numbers in 'Quantity' too"),
        ("product,Amount (USD),Total (EUR)\nSMS,33,30\n", [],
         "'Amount (USD)' and 'Total (EUR)' may each be the amount; choose one with --map"),
        ("product,amount\nSMS,1\n", ["--map", "amount=Sum"],
         "line 1 has no column 'Sum'; its columns are 'product', 'amount'"),
        ("product,Price,Charged\nSMS,10,300\n", [],
         "choose the column of the line's amount with --map amount='...'"),
        ("product,amount\nThank you,\nSMS,1.50\n", [], "line 2, column 'amount': empty"),
        ("product,amount,Amount (net)\nSMS,1,2\n", [],
         "'amount' and 'Amount (net)' may each be the amount"),
    ],
)  # fmt: skip
def test_unreadable_invoice_names_line_and_cell(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str,
    asked: list[str], says: str,
) -> None:  # fmt: skip
    assert reconcile(written(tmp_path, text), *MONTH, *asked) == 2
    complaint = capsys.readouterr().err
    assert says in complaint
    assert complaint.startswith("vonage-reports: ")
    assert len(complaint.splitlines()) == 1


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["--month", "11/2026"], "--month is '11/2026'; use a month like 2026-11"),
        (["--month", "2026-10"], "no line of the invoice is of 2026-10; it has 2026-11"),
        ([*MONTH, "--by", "account"], "--by has 'account'; use product, or product,country"),
        ([*MONTH, "--tolerance", "1%"], "--tolerance is '1%'; use an amount like 0.01"),
        ([*MONTH, "--delimiter", ";;"], "--delimiter is ';;'; use one character"),
        ([*MONTH, "--decimal", ":"], "--decimal is ':'; use , or ."),
        ([*MONTH, "--map", "total=X"], "--map is 'total=X'; use FIELD=COLUMN"),
        ([*MONTH, "--product", "Numbers"], "--product is 'Numbers'; use WORD=PRODUCT"),
        ([*MONTH, "--currency", "EURO"], "--currency is 'EURO'; use a code"),
        ([], "Missing option '--month'"),
    ],
)
def test_wrong_input_is_one_sentence(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    asked: list[str],
    says: str,
) -> None:
    invoice = written(tmp_path, "product,month,amount\nSMS,2026-11,1\n")

    assert reconcile(invoice, *asked) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"vonage-reports: {says}")
    assert len(complaint.splitlines()) == 1


def test_absent_invoice_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert reconcile("/nowhere/invoice.csv", *MONTH) == 2
    assert capsys.readouterr().err == (
        "vonage-reports: /nowhere/invoice.csv cannot be read: No such file or directory\n"
    )


def test_given_signs_decide_unclear_amounts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    invoice = written(tmp_path, "product;amount\nSMS;1.234\n")
    asked = (invoice, *MONTH, "--by", "product", "--delimiter", ";")

    as_thousands = compared(capsys, *asked, "--decimal", ",")
    as_decimals = compared(capsys, *asked, "--decimal", ".")

    sums = [each["totals"][0]["invoiced"] for each in (as_thousands, as_decimals)]
    assert sums == ["1234", "1.234"]


def formatted(amount: Decimal, decimal: str, thousands: str, form: str) -> str:
    plain = f"{abs(amount):,f}".replace(".", "D").replace(",", thousands)
    number = plain.replace("D", decimal)
    return (form if amount < 0 else form.translate({ord(each): None for each in "-()"})).replace(
        "N", number
    )


@pytest.fixture(scope="module")
def invoice_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("invoices") / "invoice.csv"


@given(
    amounts=st.lists(st.decimals(-(10**9), 10**9, places=3), min_size=1, max_size=6),
    places=st.integers(0, 3),
    signs=st.sampled_from([(",", "."), (".", ","), (",", " "), (".", "'"), (",", ""), (".", "")]),
    form=st.sampled_from(["-N", "N-", "-N €", "(N)", "EUR -N", "-£N"]),
    delimiter=st.sampled_from([";", "\t", "|"]),
)
def test_no_amount_is_read_wrong(
    invoice_file: Path,
    *,
    amounts: list[Decimal],
    places: int,
    signs: tuple[str, str],
    form: str,
    delimiter: str,
) -> None:
    exact = [amount.quantize(Decimal(1).scaleb(-places)) for amount in amounts]
    rows = [f"SMS{delimiter}{formatted(amount, *signs, form)}" for amount in exact]
    invoice_file.write_text("\n".join([f"product{delimiter}amount", *rows]), encoding="utf-8")

    found = amounts_found(invoice_file)

    assert amounts_found(invoice_file, decimal=signs[0]) == exact
    # Without a given sign, amounts like 1.234 may be unclear.
    assert found == exact or (found is None and places in (0, 3))


def amounts_found(path: Path, decimal: str | None = None) -> list[Decimal] | None:
    """Return the amounts of an invoice, or None if its decimal sign is unclear."""
    try:
        return [line.amount for line in read_invoice(path, decimal=decimal).lines]
    except BadInput as error:
        if "add --decimal" not in str(error):
            raise
        return None
