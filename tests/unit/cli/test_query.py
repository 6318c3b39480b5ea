"""The output and the errors of `make query`."""

import csv
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vonage_reports_cli.sql.__main__ import answer, print_rows

from tests.support.delivered import Delivered
from tests.support.unsafe_text import ANY_TEXT, UNSAFE, unsafe_in


@pytest.fixture
def out(tmp_path: Path) -> Path:
    delivered = Delivered(tmp_path / "out")
    delivered.deliver(
        "MESSAGES",
        [
            {"id": "r1", "message_body": "two\nlines [bold]", "currency": "EUR",
             "date_received": "2026-11-19T10:00:00Z", "total_price": "0.00000001"},
            {"id": "r2", "message_body": "🎉", "currency": "EUR",
             "date_received": "2026-11-19T11:00:00Z", "total_price": "1234.5"},
        ],
        definition="x",
    )  # fmt: skip
    return delivered.root


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_rows_take_one_line_with_numbers_aligned_right(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sql = "SELECT message_body, total_price, network, date_received FROM messages ORDER BY id"

    assert answer({"SQL": sql}, out) == 0
    assert printed(capsys) == [
        "message_body         total_price  network  date_received",
        r"two\nlines [bold]     0.00000001           2026-11-19 10:00:00",
        "🎉                 1234.50000000           2026-11-19 11:00:00",
    ]


def test_sql_file_is_run(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.sql").write_text("-- how many\nSELECT count(*) AS n FROM usage;\n")

    assert answer({"FILE": str(tmp_path / "x.sql")}, out) == 0
    assert printed(capsys) == ["n", "2"]


def test_named_query_reads_parameters_from_environment(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"NAMED": "billing", "SINCE": "2026-11-19", "UNTIL": "2026-11-20", "MARK_UP": "1"}

    assert answer(asked, out) == 0
    assert printed(capsys)[1].split()[-6:] == [
        "1234.50000001", "2469.000000020000", "0", "0", "0", "0",
    ]  # fmt: skip


def test_csv_has_every_row_and_exact_values(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "rows.csv"
    sql = "SELECT total_price, network FROM messages, range(1000) ORDER BY id"

    assert answer({"SQL": sql, "CSV": str(target)}, out) == 0
    assert printed(capsys) == [f"Wrote 2,000 rows to {target}."]
    with target.open(newline="") as file:
        header, *lines = csv.reader(file)
    assert header == ["total_price", "network"]
    assert len(lines) == 2000
    assert lines[0] == ["0.00000001", ""]


def test_only_first_rows_are_printed_with_a_notice(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer({"SQL": "SELECT * FROM range(1001)"}, out) == 0
    assert printed(capsys)[-2:] == [
        "  999",
        "These are the first 1,000 rows. CSV=file.csv writes all.",
    ]


def test_empty_result_says_no_rows(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer({"SQL": "SELECT id FROM sms"}, out) == 0
    assert printed(capsys) == ["id", "No rows."]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"SQL": "SELEC 1"}, 'Parser Error: syntax error at or near "SELEC"'),
        ({"SQL": "SELECT * FROM smss"}, "Catalog Error: Table with name smss does not exist"),
        ({}, "give one of SQL='SELECT ...', FILE=query.sql and NAMED=query; the named queries"),
        ({"SQL": "SELECT 1", "NAMED": "billing"}, "give one of SQL='SELECT ...', "),
        (
            {"NAMED": "bill"},
            "NAMED=bill is unknown; the named queries are billing, reconciliation, customers",
        ),
        ({"NAMED": "reconciliation"}, "NAMED=reconciliation needs an invoice; add INVOICE="),
        ({"FILE": "/nowhere/x.sql"}, "FILE=/nowhere/x.sql cannot be read: "),
        ({"NAMED": "billing", "MARK_UP": "ten"}, "MARK_UP is 'ten'; "),
        ({"SQL": "SELECT 1", "CSV": "/nowhere/x.csv"}, "CSV=/nowhere/x.csv cannot be written: "),
        ({"SQL": "SELECT 1", "CSV": "x.csv", "CSV_TEXT": "yes"}, "CSV_TEXT is 'yes'; use exact, "),
        ({"SQL": "SELECT \x1b[31m"}, r"Parser Error: syntax error at or near "),
        ({"NAMED": "\x1b[31m\n\u202e"}, r"NAMED=\u001b[31m\n\u202e is unknown; "),
        ({"FILE": "/nowhere/\x1b\n"}, r"FILE=/nowhere/\u001b\n cannot be read: "),
        ({"SQL": "SELECT 1", "INVOICE": "/nowhere/x"}, "INVOICE=/nowhere/x cannot be read: "),
    ],
)
def test_bad_query_is_refused_in_one_line(
    out: Path, capsys: pytest.CaptureFixture[str], asked: dict[str, str], says: str
) -> None:
    assert answer(asked, out) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"make query: {says}")
    assert len(complaint.splitlines()) == 1
    assert not unsafe_in(complaint)


def test_missing_dataset_error_names_make_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer({"SQL": "SELECT 1"}, tmp_path / "out") == 2
    assert capsys.readouterr().err == (
        "make query: out/ has no dataset yet; `make run` delivers one\n"
    )


def csv_cells(target: Path) -> list[list[str]]:
    with target.open(newline="") as file:
        return list(csv.reader(file))


SPREADSHEET = """
SELECT '=1+1' AS "=name", '+447700900123' AS phone, '-2.5' AS text_number, -2.5::DOUBLE AS number,
       '-inf'::DOUBLE AS infinite, -0.00000001::DECIMAL(18,8) AS price, '- hello' AS message,
       NULL AS nothing, INTERVAL '-1 day' AS span
"""


def test_csv_makes_formulas_harmless_but_no_number(out: Path, tmp_path: Path) -> None:
    target = tmp_path / "rows.csv"

    assert answer({"SQL": SPREADSHEET, "CSV": str(target)}, out) == 0
    header, row = csv_cells(target)
    assert header[:2] == ["'=name", "phone"]
    assert row == [
        "'=1+1", "+447700900123", "-2.5", "-2.5", "-inf", "-0.00000001", "'- hello", "",
        "'-1 day, 0:00:00",
    ]  # fmt: skip


def test_csv_has_exact_text_on_request(out: Path, tmp_path: Path) -> None:
    target = tmp_path / "rows.csv"

    assert answer({"SQL": SPREADSHEET, "CSV": str(target), "CSV_TEXT": "exact"}, out) == 0
    header, row = csv_cells(target)
    assert (header[0], row[0], row[6]) == ("=name", "=1+1", "- hello")


@pytest.mark.parametrize("character", [each for each in UNSAFE if each.isascii() and each != "\0"])
def test_control_character_is_printed_as_escape(
    out: Path, capsys: pytest.CaptureFixture[str], character: str
) -> None:
    sql = f"SELECT 'a' || chr({ord(character)}) || '[31mb' AS \"n{character}\""

    assert answer({"SQL": sql}, out) == 0
    output = capsys.readouterr().out
    assert len(output.splitlines()) == 2
    assert not unsafe_in(output)


def test_target_of_csv_is_printed_with_escapes(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "\x1b[31m\udcff.csv"

    assert answer({"SQL": "SELECT 1", "CSV": str(target)}, out) == 0
    assert printed(capsys) == [rf"Wrote 1 rows to {tmp_path}/\u001b[31m\udcff.csv."]


@given(st.lists(ANY_TEXT, min_size=1))
def test_no_cell_leaves_its_place(cells: list[str]) -> None:
    output = StringIO()
    with redirect_stdout(output):
        print_rows(cells, [cells, cells])

    assert output.getvalue().count("\n") == 3
    assert not unsafe_in(output.getvalue())
