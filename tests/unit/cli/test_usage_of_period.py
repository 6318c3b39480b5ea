"""The saved queries read the files of their period only, and answer as `usage` does."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from string import Template
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyarrow.fs import LocalFileSystem
from sqlglot import exp, parse_one
from sqlglot.optimizer.pushdown_predicates import pushdown_predicates
from sqlglot.optimizer.qualify import qualify

from tests.support.last_run import save_run
from vonage_dataset.cells import arrow_schema
from vonage_dataset.tables import TABLES
from vonage_reports.domain.windows import Window, WindowLength, windows_ending_after
from vonage_reports_cli.main import main
from vonage_reports_cli.sql.dataset import Folder, files_of, open_dataset
from vonage_reports_cli.sql.named_queries import named_queries, values_of
from vonage_reports_cli.sql.usage_view import COLUMNS, usage_of_period

MIDNIGHT = datetime(2026, 11, 1, tzinfo=UTC)
QUERIES = tuple(named_queries())
ON_USAGE = tuple(name for name in QUERIES if name != "reports_bill")
OF_NOVEMBER = {"since": "2026-11-01", "until": "2026-12-01"}


class InMemory:
    """A dataset without files, whose tables are empty."""

    def relation(self, product: str, connection: duckdb.DuckDBPyConnection) -> None:
        """Say that a product has no rows."""
        del product, connection

    def manifests(self) -> Sequence[Any]:
        """Say that there are no manifests."""
        return ()

    def datasets(self) -> list[str]:
        """Say that there are no files."""
        return []


# The same answer

LENGTHS = st.sampled_from(list(WindowLength))
ZONES = st.sampled_from(["UTC", "Europe/London", "America/Los_Angeles", "Pacific/Kiritimati",
                         "Etc/GMT+12", "Australia/Lord_Howe"])  # fmt: skip
MINUTES = st.integers(-70 * 24 * 60, 100 * 24 * 60)
"""The time of a record, from 70 days before the first of November to the end of January."""


def window_at(instant: datetime, length: WindowLength, zone: str) -> Window:
    return next(windows_ending_after(instant, length, zone))


@st.composite
def copies(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Draw records, each with its copies: one row for each definition that collected it."""
    definitions = draw(st.lists(st.tuples(LENGTHS, ZONES), min_size=1, max_size=4))
    # Midnight is the border of windows and periods, so it is drawn more often.
    times = st.one_of(MINUTES, st.integers(-70, 100).map(lambda day: day * 24 * 60))
    rows = []
    for number, minutes in enumerate(draw(st.lists(times, min_size=1, max_size=20))):
        instant = MIDNIGHT + timedelta(minutes=minutes)
        recorded_at = draw(st.sampled_from([instant, None]))
        # Two records with one id are two records, because they have different times.
        shared = [] if recorded_at is None else ["shared"]
        record_id = draw(st.sampled_from([f"r{number}", None, *shared]))
        for place, (length, zone) in enumerate(definitions):
            window = window_at(instant, length, zone)
            collected_at = MIDNIGHT + timedelta(days=draw(st.integers(100, 102)))
            rows.append(
                (f"d{place}", "abcd1234", window.first_date, record_id, naive(recorded_at),
                 naive(window.start), naive(collected_at), number)
            )  # fmt: skip
    return rows


def naive(instant: datetime | None) -> datetime | None:
    return instant and instant.replace(tzinfo=None)


@pytest.fixture(scope="module")
def tables() -> Iterator[duckdb.DuckDBPyConnection]:
    """The views over a table of SMS that a test fills."""
    with open_dataset(InMemory()) as connection:
        connection.execute("CREATE TABLE filled AS FROM sms")
        connection.execute("CREATE OR REPLACE VIEW sms AS FROM filled")
        yield connection


TIME = pa.timestamp("us")
FILLED = pa.schema(
    [("definition", pa.string()), ("account", pa.string()), ("date", pa.date32()),
     ("id", pa.string()), ("date_received", TIME), ("_window_start", TIME),
     ("_collected_at", TIME), ("total_price", pa.int32())]
)  # fmt: skip


def fill(connection: duckdb.DuckDBPyConnection, rows: Sequence[tuple[Any, ...]]) -> None:
    connection.execute("DELETE FROM filled")
    made = pa.Table.from_pylist([dict(zip(FILLED.names, row, strict=True)) for row in rows], FILLED)
    connection.register("made", made)
    connection.execute("INSERT INTO filled BY NAME FROM made")


def both_answers(
    connection: duckdb.DuckDBPyConnection, since: date, until: date
) -> tuple[list[Any], list[Any]]:
    """Return the records of a period, from all files and from the period's files."""
    columns = ", ".join(f'"{name}"' for name in COLUMNS)
    of_period = Template(usage_of_period("since", "until")).substitute(
        Since=f"DATE '{since}'", Until=f"DATE '{until}'"
    )
    everything = connection.execute(
        f"SELECT {columns} FROM usage WHERE occurred_at >= ? AND occurred_at < ? ORDER BY ALL",
        [since, until],
    )
    found = everything.fetchall()
    pruned = connection.execute(
        f"WITH {of_period} SELECT {columns} FROM usage_of_period ORDER BY ALL"
    )
    return found, pruned.fetchall()


# Shrinking would take minutes: each step plans the union of all products.
@settings(max_examples=25, deadline=None, phases=set(Phase) - {Phase.shrink})
@given(rows=copies(), first=st.integers(0, 30), days=st.integers(1, 62))
def test_records_are_those_of_the_view(
    tables: duckdb.DuckDBPyConnection, rows: list[tuple[Any, ...]], first: int, days: int
) -> None:
    fill(tables, rows)
    since = MIDNIGHT.date() + timedelta(days=first)

    everything, pruned = both_answers(tables, since, since + timedelta(days=days))

    assert pruned == everything


@pytest.mark.parametrize("last_is", ["month", "day"])
def test_copy_in_a_window_a_month_away_decides(
    tables: duckdb.DuckDBPyConnection, last_is: str
) -> None:
    # The record has no readable time, so each copy has the time of its window.
    instant = datetime(2026, 10, 31, 20, tzinfo=UTC)
    rows = []
    for length in ("month", "day"):
        window = window_at(instant, WindowLength(length), "UTC")
        collected_at = MIDNIGHT + timedelta(days=3 + (length == last_is))
        rows.append((length, "abcd1234", window.first_date, "r1", None, naive(window.start),
                     naive(collected_at), 1))  # fmt: skip
    fill(tables, rows)

    for day, is_of in ((date(2026, 10, 1), "month"), (date(2026, 10, 31), "day")):
        everything, pruned = both_answers(tables, day, day + timedelta(days=1))
        expected = [last_is] if last_is == is_of else []
        assert [row[COLUMNS.index("definition")] for row in pruned] == expected
        assert pruned == everything


# The files

FILES = 3_000
FIRST_DATE = date(2019, 1, 1)
OLDEST, NEWEST = date(2026, 9, 30), date(2027, 1, 2)
"""The dates of the files that a query on November reads."""


@pytest.fixture(scope="module")
def years(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for each of 3,000 days, each with a record. Only those of November are readable."""
    root = tmp_path_factory.mktemp("years") / "out"
    for number in range(FILES):
        day = FIRST_DATE + timedelta(days=number)
        file = root / f"data/product=SMS/definition=x/account=abcd1234/date={day}/x.parquet"
        file.parent.mkdir(parents=True)
        if OLDEST <= day <= NEWEST:
            write(file, day)
        else:
            file.write_bytes(b"not opened")
    return root


def write(file: Path, day: date) -> None:
    at = datetime.combine(day, datetime.min.time())
    row = {"id": str(day), "date_received": at, "_window_start": at, "total_price": 1,
           "account_id": "abcd1234", "_collected_at": at, "_currency": "EUR"}  # fmt: skip
    pq.write_table(pa.Table.from_pylist([row], arrow_schema(TABLES["SMS"])), file)


class AllFiles(InMemory):
    """All files of a folder, as a catalogue has them: nothing is opened to know the columns."""

    def __init__(self, root: Path) -> None:
        files = sorted(root.rglob("*.parquet"), key=lambda file: f"date={OLDEST}" not in str(file))
        self.files = [str(file) for file in files]

    def relation(self, product: str, connection: duckdb.DuckDBPyConnection) -> Any:
        """Read the files of SMS. The first one gives the columns."""
        del connection
        if product != "SMS":
            return None
        return f"read_parquet({self.files}, hive_partitioning = true, hive_types_autocast = false)"


def as_planned(name: str, values: dict[str, str]) -> Any:
    """Return a saved query after sqlglot moved its conditions down, as Trino's planner does."""
    with open_dataset(InMemory()) as connection:
        schema: dict[str, object] = {
            view: dict(connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE {view})")
                       .fetchall())
            for view in ("usage_with_copies", "reports_usage", "invoice")
        }  # fmt: skip
    parsed = parse_one(named_queries()[name].render(values), read="athena")
    return pushdown_predicates(qualify(parsed, schema=schema, dialect="trino"), dialect="trino")


def files_read(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    [(_, plan)] = connection.execute(f"EXPLAIN ANALYZE {sql}").fetchall()
    [number] = re.findall(r"Total Files Read: (\d+)", plan)
    return int(number)


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("given_period", [OF_NOVEMBER, {}])
def test_condition_on_the_date_reaches_the_view(name: str, given_period: dict[str, str]) -> None:
    planned = as_planned(name, values_of(name, **given_period))

    [scan] = [
        each
        for each in planned.find_all(exp.Select)
        if each.args["from_"].this.name in ("usage_with_copies", "reports_usage")
    ]
    conditions = list(scan.args["where"].this.flatten())
    # Each compares the partition's column with a value that no other column has a part in.
    assert sorted(type(each).__name__ for each in conditions) == ["GTE", "LTE"]
    for each in conditions:
        assert [column.name for column in each.find_all(exp.Column)] == ["date"]
        assert each.find(exp.Subquery, exp.Join) is None


@pytest.mark.parametrize("name", ON_USAGE)
def test_saved_query_opens_the_files_of_its_period(years: Path, name: str) -> None:
    planned = as_planned(name, values_of(name, **OF_NOVEMBER)).sql(dialect="duckdb")

    with open_dataset(AllFiles(years)) as connection:
        found = connection.execute(planned)
        names = [each[0] for each in found.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        assert files_read(connection, planned) == (NEWEST - OLDEST).days + 1 == 95
        # The view's ranking lets no condition pass.
        with pytest.raises(duckdb.Error, match=r"x\.parquet"):
            connection.execute("SELECT count(*) FROM usage WHERE \"date\" = DATE '2026-11-01'")

    assert sum(row["records"] for row in rows) == 30


@pytest.mark.parametrize("name", ON_USAGE)
def test_program_opens_the_files_of_a_saved_querys_period(years: Path, name: str) -> None:
    query, values = named_queries()[name], values_of(name, **OF_NOVEMBER)
    source = Folder(years, query.period(values))

    with open_dataset(source) as connection:
        found = connection.execute(query.render(values)).fetchall()

    assert len(source.datasets()) == 95
    assert len(found) == 1


class Opened(AllFiles):
    """All files of a folder, read as the program reads a bucket."""

    def relation(self, product: str, connection: duckdb.DuckDBPyConnection) -> Any:
        """Register the files of SMS."""
        if product != "SMS":
            return None
        connection.register("files_of_sms", files_of(product, self.files, LocalFileSystem()))
        return "files_of_sms"


@pytest.mark.parametrize("table", ["sms", "usage_with_copies"])
def test_condition_on_the_date_decides_the_opened_files(years: Path, table: str) -> None:
    counted = f"SELECT count(*) FROM {table}"
    november = "\"date\" >= DATE '2026-11-01' AND \"date\" < DATE '2026-12-01'"

    with open_dataset(Opened(years)) as connection:
        found = connection.execute(f"{counted} WHERE {november}").fetchall()
        with pytest.raises(duckdb.Error, match=r"x\.parquet"):
            connection.execute(counted).fetchall()

    assert found == [(30,)]


def test_query_reads_no_file_of_another_period(
    years: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(save_run(tmp_path))
    monkeypatch.delenv("VONAGE_REPORTS_STACK", raising=False)
    (tmp_path / "out").symlink_to(years)
    november = ("--since", "2026-11-01", "--until", "2026-12-01")

    assert main(["--local", "query", "--saved", "billing", *november]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[:3] == [
        "2026-11-01", "abcd1234", "SMS",
    ]  # fmt: skip
    assert main(["--local", "query", "SELECT count(*) FROM usage"]) == 1


@pytest.mark.parametrize(
    ("name", "period"),
    [("billing", ("2026-10-01", "2026-11-27")), ("reconciliation", ("2026-10-01", "2026-12-01"))],
)
def test_period_of_an_invoice_has_whole_months(name: str, period: tuple[str, str]) -> None:
    values = {"Since": "DATE '2026-10-01'", "Until": "DATE '2026-11-27'"}

    found = named_queries()[name].period(values)

    assert (str(found.since), str(found.until)) == period
