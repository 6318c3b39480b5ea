"""The SELECTs of the views `usage` and `usage_with_copies`: the records of all products.

They have the columns that the products share. Athena's views in template.yaml and DuckDB's views
both have these texts, which are pure functions of `vonage_dataset.tables.TABLES`.

If several definitions collect a record, `usage_with_copies` has each copy, and `usage` has only the
copy collected last. That takes a window function, which no condition on the window's date passes.
So a query on `usage` opens every file. A query on `usage_with_copies` opens only the files of the
dates that it asks for. `usage_of_period` builds `usage` on it.

The account's own reports (REPORTS-USAGE) are no usage, so the views lack them.
"""

from collections.abc import Iterator, Sequence
from string import Template

from vonage_dataset.tables import TABLES, Table
from vonage_reports.domain.catalogue import PARTITION_KEYS, table_name
from vonage_reports.domain.products import OWN_REPORTS
from vonage_reports_cli.period import SLACK

COLUMNS = [
    "occurred_at",
    "product",
    "account_id",
    "client_ref",
    "direction",
    "from",
    "to",
    "country",
    "network",
    "status",
    "cost",
    "currency",
    "duration",
    "latency",
    "record_id",
    "revision",
    "collected_at",
    "definition",
    "account",
    "date",
    "time_is_assumed",
    "pricing_model",
    "fee",
    "messages_and_calls",
    "cost_is_incomplete",
    "price_is_rescued",
]
"""The columns of `usage`, in their order."""

COLUMNS_WITH_COPIES = [*COLUMNS, "recorded_at", "window_start"]
"""The columns of `usage_with_copies`, in their order. The last two tell copies from each other."""

_COPIES_OF = "PARTITION BY product, record_id, recorded_at"
_LAST_FIRST = 'ORDER BY collected_at DESC NULLS LAST, definition, account, "date", window_start'
"""The ranking of the copies of a record, of which those with rank 1 count.

All rows of a file have the same rank. So copies exist between files, never inside one file. The
time of a record without a readable time is its window's start, which differs by file.
"""

_COUNTS = "copy = 1 OR record_id IS NULL"

_RECORD_COLUMNS = (
    "product definition account date account_id record_id recorded_at window_start direction from "
    "to country network status pricing_model cost fee messages_and_calls cost_is_incomplete "
    "price_is_rescued currency client_ref duration latency revision collected_at"
)
"""The columns of a product's SELECT, in their order."""

_SOURCES = {
    "record_id": "id",
    "to": "to number msisdn",
    "country": "country country_code",
    "currency": "_currency",
    "revision": "_revision",
    "collected_at": "_collected_at",
    "window_start": "_window_start",
}
"""Each column of the view has the value of the first source that the table has, or else NULL.

_COMPUTED has the columns that are no copies. Every other column without an entry is copied from the
table's column of the same name.
"""

_HIVE_TYPES = {
    "occurred_at": "timestamp",
    "cost": "decimal(19,8)",  # the sum of two prices has one more digit than a price
    "fee": "decimal(18,8)",
    "messages_and_calls": "decimal(18,8)",
    "time_is_assumed": "boolean",
    "cost_is_incomplete": "boolean",
    "price_is_rescued": "boolean",
    "duration": "bigint",
    "latency": "bigint",
    "collected_at": "timestamp",
    "date": "date",
    "recorded_at": "timestamp",
    "window_start": "timestamp",
}
"""The types of the views' columns. A column without an entry is a string."""


_USAGE = Template(
    "SELECT ${columns} FROM (SELECT *, rank() OVER (${copies_of} ${last_first}) AS copy "
    "FROM usage_with_copies) AS copies WHERE ${counts}"
)

# Athena leaves out files only by conditions without a subquery or a join. So the variables become
# columns, in whose place its planner puts their values.
_OF_PERIOD = Template("""\
all_records AS (
  -- Set the period here: its first day, and the first day after it.
  SELECT
    *,
    ${Since} AS since,
    ${Until} AS until
  FROM usage_with_copies
),
copies AS (
  SELECT
    *,
    rank() OVER (
      ${copies_of}
      ${last_first}
    ) AS copy
  FROM all_records
  -- Only the files of these dates are read: those of the period's records and of their copies.
  WHERE "date" >= CAST(${start} - ${slack} AS date)
    AND "date" <= CAST(${end} + ${slack} AS date)
),
usage_of_period AS (
  SELECT *
  FROM copies
  WHERE (${counts})
    AND occurred_at >= ${start}
    AND occurred_at < ${end}
)""")


def usage() -> str:
    """Return the SELECT of the view `usage`."""
    return _USAGE.substitute(
        columns=", ".join(map(_quoted, COLUMNS)),
        copies_of=_COPIES_OF,
        last_first=_LAST_FIRST,
        counts=_COUNTS,
    )


def usage_with_copies() -> str:
    """Return the SELECT of the view `usage_with_copies`."""
    return " ".join(_parts())


def usage_of_period(start: str, end: str) -> str:
    """Return CTEs, the last of which is `usage_of_period`: `usage` between two times.

    The CTEs have the variables `${Since}` and `${Until}` for two dates or timestamps, and name them
    `since` and `until`. `start` and `end` are SQL for the times, of these two.
    """
    # The variables of the period stay, for the caller.
    return _OF_PERIOD.safe_substitute(
        copies_of=_COPIES_OF,
        last_first=_LAST_FIRST,
        counts=_COUNTS,
        slack=f"INTERVAL '{SLACK.days}' DAY",
        start=start,
        end=end,
    )


def _parts() -> Iterator[str]:
    """Yield the parts of the SELECT, which spaces join."""
    yield "SELECT " + ", ".join(
        f"CAST({name} AS {trino_type(name)}) AS {name}"
        if name in ("product", "cost")
        else _quoted(name)
        for name in COLUMNS_WITH_COPIES
    )
    # Files of before the column _window_start have the window's first date only.
    yield (
        "FROM (SELECT *, recorded_at IS NULL AS time_is_assumed, coalesce(recorded_at, "
        'window_start, CAST("date" AS timestamp)) AS occurred_at FROM ('
    )
    first, *others = (product for product in TABLES if product != OWN_REPORTS)
    yield _records(first, named=True)
    yield from ("UNION ALL " + _records(product) for product in others)
    yield ") AS records) AS dated"


def _records(product: str, *, named: bool = False) -> str:
    """Select the records of a product. `named` gives each column its name and its type."""
    table = TABLES[product]
    known = {*PARTITION_KEYS, *(column.name for column in table.all_columns)}
    computed = {"product": f"'{product}'", **_computed(table)}
    selected = []
    for name in _RECORD_COLUMNS.split():
        sources = _SOURCES.get(name, name).split()
        column = computed.get(name) or next((_quoted(e) for e in sources if e in known), "NULL")
        if named and column != _quoted(name):
            typed = f"CAST(NULL AS {trino_type(name)})" if column == "NULL" else column
            column = f"{typed} AS {_quoted(name)}"
        selected.append(column)
    return " ".join(["SELECT", ", ".join(selected), "FROM", table_name(product)])


def _computed(table: Table) -> dict[str, str]:
    """Return the SQL of the columns that are no copies, by name."""
    fee, *added = table.prices or ("NULL",)
    has_rescued = " OR ".join(f"contains(map_keys(_rescued), '{name}')" for name in table.prices)
    computed = {
        "recorded_at": _first_of(table.times),
        "cost": _sum_of(table.prices) if added else fee,
        "fee": fee if added else "NULL",
        "messages_and_calls": " + ".join(added) or "NULL",
        "price_is_rescued": f"coalesce({has_rescued}, false)" if has_rescued else "false",
        "cost_is_incomplete": " OR ".join(f"{each} IS NULL" for each in table.prices) or "true",
    }
    if has_rescued and added:
        computed["cost_is_incomplete"] += f" OR {computed['price_is_rescued']}"
    if table.service_accounts:
        computed["account_id"] = "CASE WHEN account_id LIKE '%-%' THEN account ELSE account_id END"
    return computed


def _sum_of(prices: Sequence[str]) -> str:
    """Add up the prices that a record has. Without any, the sum is NULL."""
    total = " + ".join(f"coalesce({price}, 0)" for price in prices)
    return f"CASE WHEN {_first_of(prices)} IS NOT NULL THEN {total} END"


def _first_of(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"coalesce({', '.join(values)})"


def _quoted(name: str) -> str:
    return f'"{name}"' if name in ("from", "to", "date") else name


def hive_type(name: str) -> str:
    """Return the type of a column in the Glue catalogue."""
    return _HIVE_TYPES.get(name, "string")


def trino_type(name: str) -> str:
    """Return the type of a column in Athena's SQL."""
    hive = hive_type(name)
    return {"string": "varchar", "timestamp": "timestamp(3)"}.get(hive, hive)
