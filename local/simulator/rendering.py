"""Render a report as CSV into its archive, in one pass and in constant memory.

The CSV has the form of real archives: UTF-8 without a BOM, LF, every field and header in double
quotes, an empty value as "", newest rows first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from threading import Event

from .archives import ArchiveWriter, MemberWriter
from .billing import Selection
from .imperfections import IN_CSV, ImperfectCsv, other_members
from .records import Job, Query, Row, Stream, Window, rows_of, rows_of_jobs
from .settings import Settings
from .validation import ReportRequest
from .values import COLUMNS_WITH_QUOTES

_ROWS_PER_WRITE = 500


class RenderingStopped(Exception):
    """The report is no longer needed."""


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """An archive on disk.

    Attributes:
        rows: How many rows all members have together.
        truncated: Whether rows were left out.
        selection: The records in the archive.
    """

    path: Path
    bytes: int
    sha256: str
    rows: int
    truncated: bool
    selection: Selection


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """The input of one rendering.

    Attributes:
        accounts: The accounts whose records the report has.
        created: The archive's generation time. Later records are left out. Statuses and prices
            are the values at this time.
        max_rows: Maximum number of rows.
        empty: The form of a report without rows, or None for a report with rows.
        imperfections: Names of `imperfections.IMPERFECTIONS`.
        jobs: The reports that REPORTS-USAGE lists since `jobs_since`.
        jobs_since: Where the generated history of REPORTS-USAGE ends.
    """

    request: ReportRequest
    settings: Settings
    accounts: Sequence[str]
    created: datetime
    max_rows: int
    empty: str | None
    imperfections: frozenset[str] = frozenset()
    jobs: Sequence[Job] = ()
    jobs_since: datetime | None = None

    def run(self, path: Path, stop: Event) -> Rendered:
        """Write the archive to `path`.

        Raises:
            RenderingStopped: `stop` was set, and the partial archive was deleted.
        """
        selection = Selection()
        truncated = False
        csv = self._csv()
        try:
            with ArchiveWriter(
                path,
                created=self.created,
                stored=(self.settings.zip_stored or "stored_with_descriptor" in self.imperfections),
                zip64=self.settings.zip64,
            ) as archive:
                for name, hours in self._members():
                    with archive.member(name) as member:
                        rows = self._rows(hours)
                        room = self.max_rows - selection.records
                        self._write_csv(csv, member, islice(rows, room), selection, stop)
                        truncated = truncated or next(rows, None) is not None
                for name, content in other_members(self.imperfections, self._name()).items():
                    with archive.member(name) as member:
                        member.write(content)
        except RenderingStopped:
            path.unlink()
            raise
        return Rendered(
            path=path,
            bytes=archive.bytes,
            sha256=archive.sha256,
            rows=selection.records,
            truncated=truncated,
            selection=selection,
        )

    def columns(self) -> tuple[str, ...]:
        """Return the CSV's columns, including the columns that the settings add."""
        columns = self.request.product.columns_for(self.request.direction, self.request.switches_on)
        if self.settings.inserted_column:
            middle = len(columns) // 2
            columns = (*columns[:middle], self.settings.inserted_column, *columns[middle:])
        return columns + self.settings.extra_columns

    def _window(self) -> Window:
        # No records exist after the time of the report.
        return Window.between(self.request.start, min(self.request.end, self.created))

    def _name(self) -> str:
        request = self.request
        return f"report_{request.product.name}_{request.account_id}_{self.created:%Y%m%d}.csv"

    def _members(self) -> Iterator[tuple[str, range]]:
        name = self._name()
        hours = self._window().hours_newest_first()
        count = 0 if "no_members" in self.imperfections else self.settings.zip_members
        for number in range(count):
            part = hours[len(hours) * number // count : len(hours) * (number + 1) // count]
            yield (name if number == 0 else f"{name[:-4]}_{number + 1}.csv"), part

    def _csv(self) -> "PlainCsv | ImperfectCsv":
        if self.imperfections.isdisjoint(IN_CSV):
            return PlainCsv(self.columns())
        return ImperfectCsv(self.columns(), self.imperfections)

    def _rows(self, hours: range) -> Iterator[Row]:
        if self.empty:
            return iter(())
        product = self.request.product
        directions = [self.request.direction] if self.request.direction else product.directions
        query = Query(
            hours=hours,
            window=self._window(),
            rows_per_day=self.settings.rows_per_day_of(product.name),
            columns=self.columns(),
            filters=self.request.filters,
            as_of=self.created.timestamp(),
            settling_hours=self.settings.settling_hours,
        )
        streams = [
            Stream(self.settings.seed, product.name, account, direction)
            for account in self.accounts
            for direction in directions
        ]
        if self.jobs_since is None:
            return rows_of(streams, query)
        history = Window.between(self.request.start, min(self.request.end, self.jobs_since))
        return chain(
            rows_of_jobs(self.jobs, replace(streams[0], direction="jobs"), query),
            rows_of(streams, replace(query, window=history)),
        )

    def _write_csv(
        self,
        csv: "PlainCsv | ImperfectCsv",
        member: MemberWriter,
        rows: Iterator[Row],
        selection: Selection,
        stop: Event,
    ) -> None:
        newline = "\r\n" if self.settings.crlf else "\n"
        batch = list(islice(rows, _ROWS_PER_WRITE))
        if not batch and (self.empty or self.settings.empty_report) == "zero_bytes":
            return
        member.write(csv.header().encode())
        while batch:
            if stop.is_set():
                raise RenderingStopped
            lines = [""]
            for _, stream, hour, sequence, values in batch:
                selection.add(stream, hour, sequence)
                lines.append(csv.record(values))
            member.write(newline.join(lines).encode())
            batch = list(islice(rows, _ROWS_PER_WRITE))
        if self.settings.final_newline:
            member.write(newline.encode())


class PlainCsv:
    """Encodes the header and the records of one report."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._quoted = [i for i, column in enumerate(columns) if column in COLUMNS_WITH_QUOTES]

    def header(self) -> str:
        """Return the header's line, without its end."""
        return _line(self._columns)

    def record(self, values: list[str]) -> str:
        """Return a record's line, without its end. Changes `values`."""
        for i in self._quoted:
            values[i] = values[i].replace('"', '""')
        return _line(values)


def _line(values: Sequence[str]) -> str:
    return '"' + '","'.join(values) + '"'
