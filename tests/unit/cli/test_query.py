"""The output and the errors of `query` on the last run."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cli import program_environment
from tests.support.delivered import Delivered
from tests.support.last_run import save_run
from tests.support.schemas import document_of
from tests.support.unsafe_text import ANY_TEXT, UNSAFE, unsafe_in
from vonage_reports_cli.main import main
from vonage_reports_cli.rows import lines_of

SOURCE = "the last make run, as of 2026-12-05 00:00:00 UTC"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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
    monkeypatch.chdir(save_run(tmp_path))
    monkeypatch.delenv("VONAGE_REPORTS_STACK", raising=False)
    return tmp_path


def query(*arguments: str | Path) -> int:
    return main(["--local", "query", *map(str, arguments)])


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    source, *lines = capsys.readouterr().out.splitlines()
    assert source == SOURCE
    return lines


def document(capsys: pytest.CaptureFixture[str]) -> Any:
    return document_of("query", capsys.readouterr().out)


@pytest.mark.usefixtures("run")
def test_rows_take_one_line_with_numbers_aligned_right(capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT message_body, total_price, network, date_received FROM messages ORDER BY id"

    assert query(sql) == 0
    assert printed(capsys) == [
        "message_body         total_price  network  date_received",
        r"two\nlines [bold]     0.00000001           2026-11-19 10:00:00",
        "🎉                 1234.50000000           2026-11-19 11:00:00",
    ]


def test_sql_file_is_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "x.sql").write_text("-- how many\nSELECT count(*) AS n FROM usage;\n")

    assert query("-f", run / "x.sql") == 0
    assert printed(capsys) == ["n", "2"]


@pytest.mark.usefixtures("run")
def test_sql_comes_from_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 1 AS n"))

    assert query("-f", "-") == 0
    assert printed(capsys) == ["n", "1"]


@pytest.mark.usefixtures("run")
def test_each_statement_shows_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    sql = "CREATE TABLE own AS SELECT 1 AS n; SELECT n FROM own; SELECT n + 1 AS m FROM own"

    assert query(sql) == 0
    assert printed(capsys) == ["Count", "    1", "", "n", "1", "", "m", "2"]


@pytest.mark.usefixtures("run")
def test_document_has_all_rows_of_each_statement(capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT total_price, date_received FROM messages ORDER BY id LIMIT 1; FROM range(1001)"

    assert query(sql, "--json") == 0
    found = document(capsys)
    assert found["source"] == SOURCE
    first, second = found["statements"]
    assert first["rows"] == [["0.00000001", "2026-11-19T10:00:00"]]
    assert second["columns"] == ["range"]
    assert len(second["rows"]) == 1001


@pytest.mark.usefixtures("run")
def test_numbers_that_json_lacks_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert query("SELECT 'nan'::DOUBLE, MAP {'a': 1.5}, [DATE '2026-11-01']", "--json") == 0
    [statement] = document(capsys)["statements"]
    assert statement["rows"] == [["nan", {"a": "1.5"}, ["2026-11-01"]]]


@pytest.mark.usefixtures("run")
def test_saved_query_takes_its_period(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--saved", "billing", "--since", "2026-11-19", "--until", "2026-11-20"]

    assert query(*asked) == 0
    assert printed(capsys)[1].split()[-6:] == [
        "1234.50000001", "1234.500000010000", "0", "0", "0", "0",
    ]  # fmt: skip
    assert query("--saved", "customers", "--since", "2026-11-20", "--until", "2026-11-21") == 0
    assert capsys.readouterr().err == "No rows.\n"


def test_csv_has_every_row_and_exact_values(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = run / "rows.csv"
    sql = "SELECT total_price, network FROM messages, range(1000) ORDER BY id"

    assert query(sql, "--csv", target) == 0
    assert printed(capsys) == [f"Wrote 2,000 rows to {target}."]
    header, *lines = csv_cells(target)
    assert header == ["total_price", "network"]
    assert len(lines) == 2000
    assert lines[0] == ["0.00000001", ""]


def test_facts_lie_beside_the_csv(run: Path) -> None:
    assert query("SELECT 1 AS n", "--csv", run / "n.csv") == 0
    assert json.loads((run / "n.csv.json").read_text()) == {
        "source": SOURCE, "simulated": False, "sql": "SELECT 1 AS n", "rows": 1, "period": None,
        "completeness": None,
    }  # fmt: skip


def test_document_has_the_rows_of_the_file_too(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert query("SELECT 1 AS n; SELECT 2 AS m", "--csv", run / "m.csv", "--json") == 0
    assert csv_cells(run / "m.csv") == [["m"], ["2"]]
    assert document(capsys)["statements"] == [
        {"columns": ["n"], "rows": [[1]]},
        {"columns": ["m"], "rows": [[2]]},
    ]


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("sql", ["-- how many\nSELECT 1 AS n", "--how many\nSELECT 1 AS n"])
def test_sql_may_begin_with_a_comment(capsys: pytest.CaptureFixture[str], sql: str) -> None:
    assert query(sql) == 0
    assert printed(capsys) == ["n", "1"]


def test_file_that_is_read_is_never_written_over(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    invoice, sql = run / "invoice.csv", run / "mine.sql.json"
    invoice.write_text("month,product,country,currency,amount\n")
    sql.write_text("SELECT 1 AS n")

    assert query("SELECT 1", "--invoice", invoice, "--csv", invoice) == 2
    assert query("-f", sql, "--csv", run / "mine.sql") == 2
    assert "would write over" in capsys.readouterr().err
    assert invoice.read_text() == "month,product,country,currency,amount\n"
    assert sql.read_text() == "SELECT 1 AS n"


def test_csv_that_fails_leaves_the_earlier_one(run: Path) -> None:
    target = run / "rows.csv"
    assert query("SELECT 1 AS n", "--csv", target) == 0
    target.chmod(0o600)
    (run / "link.csv").symlink_to(target)

    assert query("SELECT 2 AS n", "--csv", run / "link.csv") == 0
    assert query("SELECT 1 AS n; SELECT * FROM absent", "--csv", target) == 2
    assert csv_cells(target) == [["n"], ["2"]]
    assert target.stat().st_mode & 0o777 == 0o600
    assert (run / "link.csv").is_symlink()
    assert not list(run.glob(".*.partial"))


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("target", [".", "out", "/"])
def test_folder_is_no_csv_file(capsys: pytest.CaptureFixture[str], target: str) -> None:
    assert query("SELECT 1", "--csv", target) == 2
    assert capsys.readouterr().err == (
        f"vonage-reports: --csv {target} cannot be written: Is a directory\n"
    )


def test_device_gets_the_rows_and_nothing_beside_it(run: Path) -> None:
    with (run / "redirected.txt").open("w") as file:
        ended = subprocess.run(
            [sys.executable, "-m", "vonage_reports_cli", "--local", "query", "SELECT 7 AS n",
             "--csv", "/dev/stdout"],
            stdout=file, stderr=subprocess.PIPE, text=True, cwd=run, check=False,
            env=program_environment(None),
        )  # fmt: skip

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "n\n7\n" in (run / "redirected.txt").read_text()
    assert not Path("/dev/stdout.json").exists()


def test_simulated_rows_name_their_source(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_run(run, is_simulated=True)

    assert query("SELECT 1 AS n", "--csv", run / "n.csv") == 0
    assert csv_cells(run / "n.csv") == [["n", "source"], ["1", "SIMULATED: the last make run"]]
    assert capsys.readouterr().out.startswith("SIMULATED: the last make run, as of ")


@pytest.mark.usefixtures("run")
def test_only_first_rows_are_printed_with_a_notice(capsys: pytest.CaptureFixture[str]) -> None:
    assert query("SELECT * FROM range(1001)") == 0
    output = capsys.readouterr()
    assert output.out.splitlines()[-1] == "  999"
    assert output.err == "These are the first 1,000 rows. --csv FILE writes all.\n"


@pytest.mark.usefixtures("run")
def test_empty_result_says_no_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert query("SELECT id FROM sms") == 0
    output = capsys.readouterr()
    assert (output.out.splitlines()[1:], output.err) == (["id"], "No rows.\n")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ([], "give one of SQL, -f FILE and --saved"),
        ([""], "the SQL has no statement, only blanks or comments"),
        (["\n-- only this\n;"], "the SQL has no statement, only blanks or comments"),
        (["SELECT 1", "-f", "x.sql"], "give one of SQL, -f FILE and --saved"),
        (["SELECT 1", "--saved", "billing"], "give one of SQL, -f FILE and --saved"),
        (
            ["SELECT 1", "--since", "2026-11-01"],
            "--since, --until and --currency belong to --saved",
        ),
        (["--saved", "bill"], "Invalid value for '--saved': 'bill' is not one of 'billing', "),
        (["--saved", "reconciliation"], "--saved reconciliation needs --invoice FILE"),
        (["--saved", "billing", "--since", "May"], "--since is 'May'; use a date like "),
        (["-f", "/nowhere/x.sql"], "-f /nowhere/x.sql cannot be read: "),
        (["-f", "/nowhere/\x1b\n"], r"-f /nowhere/\u001b\n cannot be read: "),
        (["SELECT 1", "--csv", "."], "--csv . cannot be written: Is a directory"),
        (["SELECT 1", "--csv", ""], "--csv  cannot be written: "),
        (["SELECT 1", "--csv", "/nowhere/x.csv"], "--csv /nowhere/x.csv cannot be written: "),
        (["SELECT 1", "--invoice", "/nowhere/x"], "/nowhere/x cannot be read: "),
    ],
)
@pytest.mark.usefixtures("run")
def test_bad_query_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], asked: list[str], says: str
) -> None:
    assert query(*asked) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"vonage-reports: {says}")
    assert len(complaint.splitlines()) == 1
    assert not unsafe_in(complaint)


@pytest.mark.parametrize(
    ("sql", "lines"),
    [
        (
            "SELECT amoun FROM (SELECT 1 AS amount)",
            [
                'vonage-reports: Binder Error: Referenced column "amoun" not found in FROM clause!',
                'Candidate bindings: "amount"',
                "",
                "LINE 1: SELECT amoun FROM (SELECT 1 AS amount)",
                "               ^^^^^",
            ],
        ),
        (
            "SELECT * FROM usag",
            [
                "vonage-reports: Catalog Error: Table with name usag does not exist!",
                'Did you mean "usage"?',
                "",
                "LINE 1: SELECT * FROM usag",
                "                      ^^^^",
            ],
        ),
        (
            "SELECT \x1b[31m 'a\nb' FRM",
            None,
        ),
    ],
)
@pytest.mark.usefixtures("run")
def test_hints_of_the_engine_are_kept(
    capsys: pytest.CaptureFixture[str], sql: str, lines: list[str] | None
) -> None:
    assert query(sql) == 2
    complaint = capsys.readouterr().err
    assert not unsafe_in(complaint)
    if lines is not None:
        assert complaint.splitlines() == lines


@pytest.mark.usefixtures("run")
def test_earlier_statements_show_their_rows_before_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert query("SELECT 1 AS n; SELECT * FROM absent") == 2
    output = capsys.readouterr()
    assert output.out.splitlines()[1:3] == ["n", "1"]
    assert output.err.startswith("vonage-reports: Catalog Error: ")


def test_missing_dataset_error_names_make_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(save_run(tmp_path))

    assert query("SELECT 1") == 2
    assert capsys.readouterr().err == (
        "vonage-reports: out/ has no dataset yet; `make run` delivers one\n"
    )


@pytest.mark.usefixtures("run")
def test_time_with_a_zone_is_shown_in_utc(capsys: pytest.CaptureFixture[str]) -> None:
    sql = """
        SELECT '2026-11-19 10:00:00+02'::TIMESTAMPTZ AS t, [t] AS a, {'b': t} AS a, 1::HUGEINT AS n
    """
    assert query(sql) == 0
    header, row = printed(capsys)
    assert header.split() == ["t", "a", "a", "n"]
    assert row.startswith("2026-11-19 08:00:00")
    assert query(sql, "--json") == 0
    [statement] = document(capsys)["statements"]
    assert statement["rows"] == [
        ["2026-11-19T08:00:00", ["2026-11-19T08:00:00"], {"b": "2026-11-19T08:00:00"}, 1]
    ]


@pytest.mark.usefixtures("run")
def test_time_of_now_needs_no_other_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert query("SELECT now() AS n UNION ALL SELECT now() ORDER BY 1") == 0
    assert len(printed(capsys)) == 3


@pytest.mark.usefixtures("run")
def test_no_extension_is_fetched(capsys: pytest.CaptureFixture[str]) -> None:
    sql = """
        SELECT name, value FROM duckdb_settings()
        WHERE name IN ('autoinstall_known_extensions', 'autoload_known_extensions')
    """
    assert query(sql, "--json") == 0
    [statement] = document(capsys)["statements"]
    assert {value for _, value in statement["rows"]} == {"false"}


def test_damaged_file_is_named_with_verify(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [file] = (run / "out" / "data").rglob("*.parquet")
    file.write_bytes(b"no Parquet at all")

    assert query("SELECT count(*) FROM usage") == 1
    complaint = capsys.readouterr().err
    assert complaint.startswith("vonage-reports: a file of the dataset cannot be read: ")
    assert file.relative_to(run).as_posix() in complaint
    assert complaint.endswith("run the command again; `verify` names every damaged file\n")
    assert len(complaint.splitlines()) == 1


@pytest.mark.parametrize("change", [{"window": None}, {"definition": 1}, {"dataset": {}}])
def test_manifest_without_a_field_is_named_with_verify(
    run: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any]
) -> None:
    [file] = (run / "out" / "manifests").rglob("*.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    [name] = change

    assert query("SELECT * FROM manifests") == 1
    key = file.relative_to(run / "out").as_posix()
    assert capsys.readouterr().err == (
        f"vonage-reports: {key} is no manifest: its {name} is missing or unreadable; `verify` "
        "names every damaged object\n"
    )


def csv_cells(target: Path) -> list[list[str]]:
    with target.open(newline="") as file:
        return list(csv.reader(file))


SPREADSHEET = """
SELECT '=1+1' AS "=name", '+447700900123' AS phone, '-2.5' AS text_number, -2.5::DOUBLE AS number,
       '-inf'::DOUBLE AS infinite, -0.00000001::DECIMAL(18,8) AS price, '- hello' AS message,
       NULL AS nothing, INTERVAL '-1 day' AS span
"""


def test_csv_makes_formulas_harmless_but_no_number(run: Path) -> None:
    target = run / "rows.csv"

    assert query(SPREADSHEET, "--csv", target) == 0
    header, row = csv_cells(target)
    assert header[:2] == ["'=name", "phone"]
    assert row == [
        "'=1+1", "+447700900123", "-2.5", "-2.5", "-inf", "-0.00000001", "'- hello", "",
        "'-1 day, 0:00:00",
    ]  # fmt: skip


def test_csv_has_exact_text_on_request(run: Path) -> None:
    target = run / "rows.csv"

    assert query(SPREADSHEET, "--csv", target, "--exact") == 0
    header, row = csv_cells(target)
    assert (header[0], row[0], row[6]) == ("=name", "=1+1", "- hello")


@pytest.mark.parametrize("character", [each for each in UNSAFE if each.isascii() and each != "\0"])
@pytest.mark.usefixtures("run")
def test_control_character_is_printed_as_escape(
    capsys: pytest.CaptureFixture[str], character: str
) -> None:
    sql = f"SELECT 'a' || chr({ord(character)}) || '[31mb' AS \"n{character}\""

    assert query(sql) == 0
    output = capsys.readouterr().out
    assert len(output.splitlines()) == 3
    assert not unsafe_in(output)


def test_target_of_csv_is_printed_with_escapes(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = run / "\x1b[31m\udcff.csv"

    assert query("SELECT 1", "--csv", target) == 0
    assert printed(capsys) == [rf"Wrote 1 row to {run}/\u001b[31m\udcff.csv."]


@given(st.lists(ANY_TEXT, min_size=1))
def test_no_cell_leaves_its_place(cells: list[str]) -> None:
    lines = lines_of(cells, [cells, cells])

    assert len(lines) == 3
    assert not unsafe_in("".join(lines))
    assert "\n" not in "".join(lines)
