"""`query`: SQL on the delivered records."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import duckdb

from vonage_reports_cli.errors import BadInput, Exit
from vonage_reports_cli.rows import json_value, lines_of, target_of, write_csv, written
from vonage_reports_cli.session import Session, verb
from vonage_reports_cli.sql.damage import damage_in
from vonage_reports_cli.sql.dataset import open_dataset, source_of
from vonage_reports_cli.sql.named_queries import named_queries, values_of

MOST_ROWS = 1000
"""How many rows of a statement are printed at most. --csv and --json have all rows."""

_COMMENT = re.compile(r"--[^\s=]*\s")
"""The begin of a comment. No option has a blank in its name."""

_SOURCE = "source"
_SAVED = ("billing", "reconciliation", "customers", "reports_bill")
_HELP = """Run SQL (DuckDB) on the delivered records. Times are UTC.

The view `usage` has the records of all products but REPORTS-USAGE, each record once. There is also
a table for each product (sms, voice_call, ...), and the table `manifests`. `query "SHOW TABLES"`
lists them, and `query "DESCRIBE usage"` shows the columns. A query on `usage` reads every file, and
a saved query those of its period.

The SQL may read and write your own files, so run only SQL that you trust.
"""


class _Command(click.Command):
    """Takes SQL that begins with a comment for SQL, and not for an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put a blank before a comment."""
        return super().parse_args(
            ctx, [f" {each}" if _COMMENT.match(each) else each for each in args]
        )


@verb(help=_HELP, cls=_Command)
@click.argument("sql", required=False, metavar="SQL")
@click.option("-f", "--file", metavar="FILE", help="Read the SQL from a file; - is standard input.")
@click.option("--saved", type=click.Choice(_SAVED), help="Run a saved query.")
@click.option("--since", metavar="DATE", help="The first day of a saved query, like 2026-11-01.")
@click.option("--until", metavar="DATE", help="The first day after a saved query's period.")
@click.option(
    "--currency", metavar="CODE", help="The currency of records without one, for --saved."
)
@click.option("--invoice", metavar="FILE", help="A CSV file for the table `invoice`.")
@click.option(
    "--csv", "target", metavar="FILE", help="Write the rows of the last statement to a file."
)
@click.option("--exact", is_flag=True, help="Leave text unchanged in the CSV file, also formulas.")
def query(
    session: Session,
    sql: str | None,
    *,
    file: str | None,
    saved: str | None,
    since: str | None,
    until: str | None,
    currency: str | None,
    invoice: str | None,
    target: str | None,
    exact: bool,
) -> Exit:
    """Run each statement, and print or write its rows."""
    if saved is None and (since, until, currency) != (None, None, None):
        raise BadInput("--since, --until and --currency belong to --saved; write them as SQL")
    period = None
    if saved is None:
        text = _text(sql, file)
    elif sql is not None or file is not None:
        raise BadInput("give one of SQL, -f FILE and --saved")
    elif saved == "reconciliation" and invoice is None:
        raise BadInput("--saved reconciliation needs --invoice FILE; `reconcile` reads any invoice")
    else:
        values = values_of(saved, since=since, until=until, currency=currency)
        text = named_queries()[saved].render(values)
        period = named_queries()[saved].period(values)
    inputs = [Path(each) for each in (file, invoice) if each is not None]
    path = None if target is None else target_of(target, inputs=inputs)
    try:
        with open_dataset(
            source_of(session, period),
            with_manifests="manifests" in text.lower(),
            invoice=None if invoice is None else Path(invoice),
        ) as connection:
            statements = connection.extract_statements(text)
            if not statements:
                raise BadInput("the SQL has no statement, only blanks or comments")
            session.screen.say(session.target.source)
            _Answer(session, path, is_exact=exact).run(connection, statements)
    except duckdb.Error as error:
        damage = damage_in(error)
        if damage is not None:
            raise damage from error
        # The lines below the first one show hints and the place in the SQL.
        first, *more = str(error).rstrip().split("\n")
        session.screen.complain(first, *more)
        return Exit.BAD_INPUT
    return Exit.DONE


def _text(sql: str | None, file: str | None) -> str:
    if (sql is None) == (file is None):
        raise BadInput(
            "give one of SQL, -f FILE and --saved, such as "
            "query 'SELECT product, count(*) FROM usage GROUP BY ALL'"
        )
    if sql is not None:
        return sql
    assert file is not None
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise BadInput(f"-f {file} cannot be read: {error}") from error


class _Result:
    """The rows of a statement, which is executed once. Times are UTC, without a zone.

    duckdb needs the package pytz for times with a zone. It is not installed, so such columns are
    cast.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> None:
        self._relation = _without_zones(connection, statement)
        if self._relation is None:
            self._executed = connection.execute(statement)
            self.columns = [each[0] for each in self._executed.description or ()]
        else:
            self.columns = self._relation.columns

    def rows(self, most: int | None = None) -> list[tuple[Any, ...]]:
        """Return the rows, at most `most`."""
        if self._relation is not None:
            relation = self._relation if most is None else self._relation.limit(most)
            return relation.fetchall()
        return self._executed.fetchall() if most is None else self._executed.fetchmany(most)


_ZONED = "TIMESTAMP WITH TIME ZONE"


def _without_zones(
    connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement
) -> duckdb.DuckDBPyRelation | None:
    """Return a query with its times cast, or None if it has none with a zone."""
    if statement.type is not duckdb.StatementType.SELECT:
        return None
    try:
        found = connection.sql(statement)
    except duckdb.Error:
        # The execution raises it again, with the place in the SQL.
        return None
    types = [str(each) for each in found.types]
    if not any(_ZONED in each for each in types):
        return None
    return found.project(
        ", ".join(
            f"CAST(#{place} AS {kind.replace(_ZONED, 'TIMESTAMP')}) AS {_quoted(name)}"
            for place, (name, kind) in enumerate(zip(found.columns, types, strict=True), 1)
        )
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class _Answer:
    """Shows the rows of statements. The last statement's rows may go to a CSV file."""

    def __init__(self, session: Session, path: Path | None, *, is_exact: bool) -> None:
        self._session = session
        self._path = path
        self._is_exact = is_exact

    def run(
        self, connection: duckdb.DuckDBPyConnection, statements: Sequence[duckdb.Statement]
    ) -> None:
        screen = self._session.screen
        found = []
        for number, statement in enumerate(statements):
            result = _Result(connection, statement)
            columns = result.columns
            is_written = self._path is not None and number == len(statements) - 1
            if is_written or screen.as_json:
                rows = result.rows()
                cells = (
                    [[json_value(each) for each in row] for row in rows] if screen.as_json else []
                )
                found.append({"columns": columns, "rows": cells})
                if is_written:
                    self._write(columns, rows, statement.query)
            else:
                if number:
                    screen.say("")
                self._show(columns, result.rows(MOST_ROWS + 1))
        if screen.as_json:
            screen.document({"source": self._session.target.source, "statements": found})

    def _show(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        screen = self._session.screen
        screen.say(*lines_of(columns, rows[:MOST_ROWS]))
        if len(rows) > MOST_ROWS:
            screen.note(f"These are the first {MOST_ROWS:,} rows. --csv FILE writes all.")
        elif not rows:
            screen.note("No rows.")

    def _write(self, columns: list[str], rows: list[tuple[Any, ...]], sql: str) -> None:
        assert self._path is not None
        target = self._session.target
        facts = {"source": target.source, "simulated": target.is_simulated, "sql": sql.strip(),
                 "rows": len(rows), "period": None, "completeness": None}  # fmt: skip
        cells: Sequence[Sequence[Any]] = rows
        if target.is_simulated:
            columns, cells = [*columns, _SOURCE], [(*row, target.label) for row in rows]
        write_csv(self._path, columns, cells, facts, is_exact=self._is_exact)
        self._session.screen.say(written(self._path, len(rows)))
