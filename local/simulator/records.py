"""The synthetic records: a pure function of seed, product, account, direction, hour and age.

Therefore two halves of a window contain exactly the records of the whole window, filters select
from the same records, and the same request returns the same CSV. Age changes only statuses and
prices, until they are settled, and lists the HLS records of VIDEO-API late.
"""

import hashlib
import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from operator import attrgetter, itemgetter

from .values import (
    Draw,
    Value,
    knows,
    seconds_late,
    seconds_to_settle,
    unknown,
    value_of,
)

SECONDS_PER_HOUR = 3600

# Distribution of a day's records over its hours (UTC): a quiet night, a busy working day.
_CURVE = (4, 3, 2, 2, 3, 5, 10, 20, 36, 46, 50, 50, 46, 48, 50, 48, 44, 40, 32, 26, 20, 14, 10, 6)
_BEFORE = (0, *accumulate(_CURVE))

# (second since the epoch, stream, hour since the epoch, sequence in that hour, the CSV's values)
Row = tuple[int, "Stream", int, int, list[str]]


@dataclass(frozen=True)
class Stream:
    """All records of one product, account and direction."""

    seed: int
    product: str
    account: str
    direction: str


@dataclass(frozen=True)
class Window:
    """Half-open range of seconds since the epoch. The times of records are whole seconds."""

    start: int
    end: int

    @classmethod
    def between(cls, start: datetime, end: datetime) -> "Window":
        """Return the window of the seconds t with start <= t < end."""
        return cls(math.ceil(start.timestamp()), math.ceil(end.timestamp()))

    def hours_newest_first(self) -> range:
        """Return the hours since the epoch that the window overlaps."""
        first = self.start // SECONDS_PER_HOUR
        last = math.ceil(self.end / SECONDS_PER_HOUR)
        return range(last - 1, first - 1, -1)


def rows_in_hour(rows_per_day: int, hour: int) -> int:
    """Return how many records an hour has. The hours of a UTC day add up to `rows_per_day`."""
    of_day = hour % 24
    total = _BEFORE[-1]
    return rows_per_day * _BEFORE[of_day + 1] // total - rows_per_day * _BEFORE[of_day] // total


@dataclass(frozen=True)
class Job:
    """A report of the simulator, as a record of REPORTS-USAGE.

    Attributes:
        number: Position among all reports.
        time: Second since the epoch at which its POST arrived.
        cells: The columns and their texts.
    """

    number: int
    time: int
    cells: Mapping[str, str]


def rows_of_jobs(jobs: Sequence[Job], stream: Stream, query: "Query") -> Iterator[Row]:
    """Yield the jobs in the hours and the window of a query, newest first."""
    for job in sorted(jobs, key=attrgetter("time", "number"), reverse=True):
        hour = job.time // SECONDS_PER_HOUR
        if hour in query.hours and query.window.start <= job.time < query.window.end:
            values = [job.cells.get(name, unknown(stream.product, name)) for name in query.columns]
            yield job.time, stream, hour, job.number, values


@dataclass(frozen=True, kw_only=True)
class Query:
    """The records to select from each stream, and the columns to return.

    Attributes:
        hours: Hours since the epoch to search, newest first.
        window: Range of the records' times.
        rows_per_day: How many records each stream has per UTC day.
        columns: Columns of the CSV, in order.
        filters: Columns and the texts they must equal. A filter has no effect on a column that the
            records lack (`status` of CONVERSATION-EVENT).
        as_of: Time of the report, in seconds since the epoch. At this time, younger records may
            have unsettled statuses and prices, and some records of VIDEO-API are not listed yet.
        settling_hours: After how many hours the slowest record is settled.
    """

    hours: range
    window: Window
    rows_per_day: int
    columns: Sequence[str]
    filters: Mapping[str, str] = field(default_factory=dict)
    as_of: float = math.inf
    settling_hours: float = 72.0


def rows_of(streams: Sequence[Stream], query: Query) -> Iterator[Row]:
    """Return a lazy iterator over the rows of a report, newest first."""
    generators = [_rows_of_stream(stream, query) for stream in streams]
    if len(generators) == 1:
        return generators[0]
    return heapq.merge(*generators, key=itemgetter(0), reverse=True)


def _rows_of_stream(stream: Stream, query: Query) -> Iterator[Row]:
    values = [value_of(stream.product, column) for column in query.columns]
    wanted: list[tuple[Value, str]] = [
        (value_of(stream.product, column), text)
        for column, text in query.filters.items()
        if knows(column)
    ]
    start, end = query.window.start, query.window.end
    late = seconds_late(stream.product)
    for hour in query.hours:
        count = rows_in_hour(query.rows_per_day, hour)
        identity = f"{stream.seed}|{stream.product}|{stream.account}|{stream.direction}|{hour}"
        key = hashlib.blake2b(identity.encode(), digest_size=32).digest()
        of_hour = hashlib.blake2b(key=key)
        for sequence in range(count):
            of_record = of_hour.copy()
            of_record.update(sequence.to_bytes(4))
            raw = of_record.digest()
            # An hour has `count` equal slots. Each record has a random time in its own slot.
            slot = count - 1 - sequence + raw[-1] / 256
            time = hour * SECONDS_PER_HOUR + int(slot * SECONDS_PER_HOUR / count)
            if not start <= time < end:
                continue
            settled_at = time + seconds_to_settle(raw, query.settling_hours)
            is_settled = settled_at <= query.as_of
            draw = Draw(stream.account, stream.direction, time, raw, is_settled=is_settled)
            if late and time + late(draw) > query.as_of:
                continue
            if all(value(draw) == text for value, text in wanted):
                yield time, stream, hour, sequence, [value(draw) for value in values]
