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
from jsonschema import Draft202012Validator

from tests.support.delivered import Delivered
from tests.support.last_run import save_run
from tests.support.paths import ROOT
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.windows import WindowLength
from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.invoice import read_invoice
from vonage_reports_cli.main import main
from vonage_reports_cli.names import country_of, product_of

SCHEMA = json.loads((ROOT / "docs/schemas/cli/reconcile.schema.json").read_text())
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
    found: dict[str, Any] = json.loads(output.out)
    Draft202012Validator(SCHEMA).validate(found)
    assert code == (1 if found["beyond"] else 0)
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
        "1 of 3 lines differ by more than 0.01.",
    ]
    assert output.err.splitlines() == [
        "Read 3 lines; delimiter ; and decimal sign ,; amount from the column 'Betrag (EUR)'.",
        "Totals are not compared: line 7.",
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
        "Numbers,GB,10\nMessages,FR,20\nSMS,Atlantis,0.5\n",
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
        {"currency": "EUR", "invoiced": "1268", "ours": "1237.5", "difference": "30.5"}
    ]
    assert found["beyond"] == 3


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


def test_own_total_of_the_invoice_is_checked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    invoice = written(tmp_path, "product,amount\nSMS,1234.75\nVoice,2.75\nTotal,1240.00\n")

    notes = compared(capsys, invoice, *MONTH)["notes"]

    assert "Line 4 says 1,240.00, and the lines add up to 1,237.50." in notes


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


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("gb", "GB"), ("GBR", "GB"), ("United Kingdom", "GB"), ("U.K.", "GB"),
        ("Côte d\u2019Ivoire", "CI"), ("Deutschland", "DE"), ("Allemagne", "DE"),
        ("Germany (Mobile)", "DE"), ("Germany - Mobile", "DE"), ("south korea", "KR"),
        ("Korea, Republic of", "KR"), ("CURACAO", "CW"), ("Russia", "RU"), ("NA", "NA"),
        ("Türkiye", "TR"), ("turkey", "TR"), ("Atlantis", None), ("", None),
    ],
)  # fmt: skip
def test_country_has_names_and_codes(text: str, code: str | None) -> None:
    assert country_of(text) == code


@pytest.mark.parametrize(
    ("word", "ours", "product"),
    [
        ("sms", (), "SMS"), ("SMS Outbound", (), "SMS"), ("Voice API", (), "VOICE-CALL"),
        ("Verify", {"VERIFY-V2"}, "VERIFY-V2"), ("Verify", {"VERIFY-API", "VERIFY-V2"}, None),
        ("verify api", (), "VERIFY-API"), ("Number Insight", (), "NUMBER-INSIGHT"),
        ("Messages API", (), "MESSAGES"), ("Video", (), "VIDEO-API"), ("Numbers", (), None),
        ("IN_APP VOICE", (), "IN-APP-VOICE"), ("new-api", {"NEW-API"}, "NEW-API"),
    ],
)  # fmt: skip
def test_product_has_words_in_any_case(
    word: str, ours: set[str] | tuple[()], product: str | None
) -> None:
    assert product_of(word, ours) == product
