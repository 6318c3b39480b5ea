"""The ledger: the DynamoDB requests, capacity, CPU and memory of one run of submit_reports.

- A run that settles five running reports and plans eight definitions, beside 10 and 100,000
  finished reports.
- A run that plans windows of a backfill of 13 months of hours, at its beginning and at its end.
- A whole sweep with 5, 500 and 5,000 open reports, of which five run and hold all slots.
- A planning run with 8, 80 and 800 definitions, with 8 definitions of 100 accounts each, and with
  one definition of 301 accounts and three delays.

The capacity of a Query is computed from its items, because the emulator counts one unit for each
Query. CPU is the time of this process only, so it excludes the emulator. The memory is traced in a
run of its own, because tracing takes time. So does counting the large answers of a sweep.
"""

import gc
import io
import json
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

from local.stack.emulator import Emulator
from tests.support.ledger_table import create_ledger_table
from vonage_reports.aws.cloudwatch import Metrics
from vonage_reports.aws.definitions_source import WrittenDefinitions
from vonage_reports.aws.ledger import Ledger
from vonage_reports.aws.ledger_items import finished_item, open_item
from vonage_reports.domain.backfill import checked_backfill
from vonage_reports.domain.calendar import report_for_window
from vonage_reports.domain.decisions import Execution, ExecutionStatus
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.lifecycle import Adopt, TakeSlot, apply
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.settings import Settings
from vonage_reports.domain.windows import WindowLength, windows_ending_after
from vonage_reports.submit_reports.backfills import plan_backfills
from vonage_reports.submit_reports.context import Invocation, Services
from vonage_reports.submit_reports.plan import plan
from vonage_reports.submit_reports.reconcile import reconcile
from vonage_reports.submit_reports.requests import Sweep
from vonage_reports.submit_reports.settle import settle
from vonage_reports.submit_reports.take_over import CHECKED

FINISHED = (10, 100_000)
OPEN = (5, 500, 5_000)
PLANNED = (
    (8, 1, (3,)),
    (80, 1, (3,)),
    (800, 1, (3,)),
    (8, 100, (3,)),
    (1, 301, (0, 1, 3)),
)
"""The numbers of definitions, and of the accounts of each, and their delays."""

MOST_READS, MOST_CPU_SECONDS = 25, 1.5
"""The goals for a sweep at 5,000 open reports, the CPU on one core of a current server."""

NOW = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
INVOCATION = Invocation("one", lambda: 300.0)


class Running:
    """Runs that all go on."""

    def describe(self, report: Report) -> Execution:
        """Say that it runs."""
        del report
        return Execution(ExecutionStatus.RUNNING)


def definition(number: int, accounts: int = 1, **changes: Any) -> ReportDefinition:
    """Return one of many definitions, by default with windows of an hour."""
    standard = ReportDefinition(
        name=f"d{number}",
        product="VERIFY-V2",
        account_ids=("abcd1234", *(f"sub{each:05}" for each in range(1, accounts))),
        include_subaccounts=False,
        filters={"country": f"X{number}"},
        window=WindowLength.HOUR,
        time_zone="UTC",
    )
    return replace(standard, **changes)


def reports(since: datetime) -> Iterator[Report]:
    """Yield reports of all definitions, hour by hour."""
    for window in windows_ending_after(since, WindowLength.HOUR, "UTC"):
        for number in range(8):
            yield report_for_window(
                definition(number), "abcd1234", 0, window, rows_per_hour=10, now=NOW
            )


def fill(table: Any, finished: int) -> None:
    """Put finished reports of the last years, and five that run."""
    with table.batch_writer() as batch:
        for report in islice(reports(NOW - timedelta(days=600)), finished):
            batch.put_item(Item=finished_item(replace(report, state=State.DELIVERED)))
    ledger = Ledger(table)
    for slot, report in enumerate(islice(reports(NOW), 5), 1):
        running = replace(report, state=State.SUBMITTED, run=1, request_id=f"r{slot}", slot=slot)
        ledger.write(None, running)


_READS = frozenset({"Query", "GetItem", "BatchGetItem", "TransactGetItems"})


@contextmanager
def counted(table: Any) -> Iterator[dict[str, float]]:
    """Count the requests to DynamoDB meanwhile, the reads among them, and their capacity units."""
    counts = {"requests": 0.0, "reads": 0.0, "capacity": 0.0}
    events = table.meta.client.meta.events

    def ask_for_capacity(params: dict[str, Any], **_: Any) -> None:
        params["ReturnConsumedCapacity"] = "TOTAL"

    def add(http_response: Any, model: Any, **_: Any) -> None:
        # The body as it was sent, because the client's own parsing is under test.
        answer = json.loads(http_response.content or b"{}")
        counts["requests"] += 1
        counts["reads"] += model.name in _READS
        if model.name == "Query":
            size = sum(map(item_bytes, answer["Items"]))
            counts["capacity"] += max(1, -(-size // 4096))
            return
        consumed = answer.get("ConsumedCapacity", [])
        for each in consumed if isinstance(consumed, list) else [consumed]:
            counts["capacity"] += each["CapacityUnits"]

    events.register("before-parameter-build.dynamodb", ask_for_capacity)
    events.register("after-call.dynamodb", add)
    yield counts
    events.unregister("before-parameter-build.dynamodb", ask_for_capacity)
    events.unregister("after-call.dynamodb", add)


def item_bytes(item: Mapping[str, Any]) -> int:
    """Return an item's size in bytes, by DynamoDB's rules: names and values, in UTF-8.

    Source:
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    if kind == "M":
        return 3 + len(content) + item_bytes(content)
    if kind == "L":
        return 3 + len(content) + sum(map(_value_bytes, content))
    if kind == "N":
        return len(content) // 2 + 1
    return len(content.encode()) if kind == "S" else 1


def open_reports(count: int) -> Iterator[Report]:
    """Yield waiting reports of eight definitions: preliminaries, and a final for each fifth."""
    of = [definition(number, delay_days=(0, 3)) for number in range(8)]
    windows = windows_ending_after(NOW - timedelta(days=400), WindowLength.HOUR, "UTC")
    number = 0
    for window in windows:
        for each in of:
            is_final = number % 6 == 5
            for delay_index in (0, 1) if is_final else (0,):
                yield report_for_window(
                    each, "abcd1234", delay_index, window, rows_per_hour=10, now=NOW
                )
                number += 1
                if number >= count:
                    return


def fill_open(table: Any, count: int) -> None:
    """Put open reports, of which five run and hold all slots."""
    ledger = Ledger(table)
    waiting = open_reports(count)
    for slot, report in enumerate(islice(waiting, 5), 1):
        planned = ledger.write(None, report)
        taken = ledger.write(planned, apply(planned, TakeSlot(slot, "one", NOW), now=NOW))
        ledger.write(taken, apply(taken, Adopt(f"r{slot}"), now=NOW))
    with table.batch_writer() as batch:
        for report in waiting:
            batch.put_item(Item=open_item(report))


class Definitions:
    """The definitions that `open_reports` has."""

    def read(self) -> WrittenDefinitions:
        """Return the object."""
        entries = [
            {
                "name": f"d{number}",
                "product": "VERIFY-V2",
                "delay_days": [0, 3],
                "filters": {"country": f"X{number}"},
                "window": "hour",
            }
            for number in range(8)
        ]
        return WrittenDefinitions(json.dumps(entries), NOW, "the object", is_object=True)


class Vonage:
    """A Vonage that no request reaches, because no slot is free."""

    api_key = "abcd1234"

    def require_credentials(self) -> None:
        """Accept the credentials."""


class Nothing:
    """A topic and a bucket that take everything and have nothing."""

    def announce(self, body: Mapping[str, Any]) -> None:
        """Take a notification."""

    def exists(self, key: str) -> bool:
        """Have no object."""
        del key
        return False


def measured(
    table: Any, run: Callable[[], object], *, is_timed_apart: bool = True
) -> dict[str, float]:
    """Run a function counted, then timed, then with its memory traced."""
    with redirect_stdout(io.StringIO()):
        gc.collect()
        began = process_time()
        with counted(table) as counts:
            run()
        if is_timed_apart:
            gc.collect()
            began = process_time()
            run()
        seconds = process_time() - began
        gc.collect()
        tracemalloc.start()
        run()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return {**counts, "cpu_seconds": seconds, "peak_mb": peak / 1e6}


def measure_sweep(table: Any) -> dict[str, float]:
    """Measure one whole sweep. A sweep that finds all slots taken changes nothing."""
    services = services_of(table)

    def sweep() -> None:
        result = reconcile(Sweep(), services, Settings(), INVOCATION, clock=lambda: NOW)
        assert result.errors == []
        assert result.answer["submitted"] == []

    with redirect_stdout(io.StringIO()):
        sweep()  # The first sweep announces the overdue windows.
    return measured(table, sweep)


def measure_planning(
    empty_table: Callable[[str], Any], definitions: int, accounts: int, delays: Sequence[int]
) -> dict[str, float]:
    """Measure a run that plans one window of each account and delay, a day after the first run."""
    wanted = [
        definition(number, accounts, window=WindowLength.DAY, delay_days=delays)
        for number in range(definitions)
    ]
    table = empty_table(f"planned-{definitions}-{accounts}")
    services = services_of(table)
    with table.batch_writer() as batch:
        for each in wanted:
            key = {"pk": "calendar", "sk": f"collects#{each.name}"}
            batch.put_item(Item={**key, "collects": each.collects})
            for account_id, delay in product(each.account_ids, delays):
                sk = f"cursor#{each.name}#{account_id}#{delay}"
                end = (NOW - timedelta(days=delay)).replace(hour=0, minute=0).isoformat()
                batch.put_item(Item={"pk": "calendar", "sk": sk, "end": end})
    days = iter(NOW + timedelta(days=day) for day in range(1, 3))

    def planning() -> None:
        at = next(days)
        done = plan(wanted, services, at=at, now=at)
        count = definitions * accounts * len(delays)
        assert (len(done.report_ids), done.errors) == (count, [])

    # To count a small answer takes no time worth a run of its own.
    return measured(table, planning, is_timed_apart=False)


def services_of(table: Any) -> Services:
    """Return services of which only the ledger is real."""
    fakes: Any = {
        "definitions": Definitions(),
        "vonage": Vonage(),
        "executions": Running(),
        "topic": Nothing(),
        "bucket": Nothing(),
    }
    return Services(ledger=Ledger(table), metrics=Metrics("benchmark"), **fakes)


def count(table: Any) -> dict[str, float]:
    """Run once and count."""
    services = services_of(table)
    services.ledger.mark_announced(CHECKED)
    with counted(table) as counts:
        settle(services.ledger.open_work(), services, INVOCATION, clock=lambda: NOW)
        plan([definition(number) for number in range(8)], services, at=NOW, now=NOW)
        services.ledger.open_work()
    return counts


def count_backfill(table: Any, *, from_its_end: bool) -> dict[str, float]:
    """Plan what there is room for of a backfill of 13 months of hours, and count."""
    whole = checked_backfill(definition(0), date(2025, 10, 22), NOW.date(), confirmed=True, now=NOW)
    begun = replace(whole, seen_to=whole.total - 9 if from_its_end else 0)
    services = services_of(table)
    services.ledger.write_all([], (None, begun))
    with counted(table) as counts:
        began = perf_counter()
        done = plan_backfills(services, INVOCATION, max_billed_records=0, clock=lambda: NOW)
        seconds = perf_counter() - began
    return {"seen_to": begun.seen_to, "planned": len(done.report_ids), **counts, "seconds": seconds}


Rows = list[dict[str, float]]


def measure() -> dict[str, Rows]:
    """Return the rows of each table, by the table's name."""
    found: dict[str, Rows] = {"runs": [], "backfills": [], "sweeps": [], "planning": []}
    with TemporaryDirectory() as folder, Emulator(Path(folder)) as emulator:

        def empty_table(name: str) -> Any:
            create_ledger_table(emulator.client("dynamodb"), name)
            return emulator.table(name)

        for count_open in OPEN:
            table = empty_table(f"open-{count_open}")
            fill_open(table, count_open)
            found["sweeps"].append({"open": count_open, **measure_sweep(table)})
        for definitions, accounts, delays in PLANNED:
            row = {"definitions": definitions, "accounts": accounts, "delays": len(delays)}
            planning = measure_planning(empty_table, definitions, accounts, delays)
            found["planning"].append({**row, **planning})
        for finished in FINISHED:
            table = empty_table(f"ledger-{finished}")
            fill(table, finished)
            found["runs"].append({"finished": finished, **count(table)})
        for from_its_end in (False, True):
            table = empty_table(f"backfill-{from_its_end}")
            found["backfills"].append(count_backfill(table, from_its_end=from_its_end))
    return found


_COLUMNS: Mapping[str, tuple[str, str]] = {
    "finished": ("finished reports", ",.0f"),
    "seen_to": ("seen to", ",.0f"),
    "open": ("open reports", ",.0f"),
    "definitions": ("definitions", ",.0f"),
    "accounts": ("accounts each", ",.0f"),
    "delays": ("delays", ",.0f"),
    "planned": ("planned", ".0f"),
    "requests": ("requests", ",.0f"),
    "reads": ("reads", ",.0f"),
    "capacity": ("capacity units", ",.1f"),
    "cpu_seconds": ("CPU seconds", ".2f"),
    "peak_mb": ("peak MB", ".1f"),
    "seconds": ("seconds", ".2f"),
}
"""The heading and the format of each column."""


def show(title: str, rows: Rows) -> None:
    """Print a table."""
    print(f"ledger: {title}")
    columns = {name: column for name, column in _COLUMNS.items() if name in rows[0]}
    print("".join(f"{heading:>17}" for heading, _ in columns.values()))
    for row in rows:
        print("".join(f"{row[name]:>17{form}}" for name, (_, form) in columns.items()))


def show_missed(sweep: Mapping[str, float]) -> None:
    """Print a line for each goal that a sweep missed."""
    for name, goal in (("reads", MOST_READS), ("cpu_seconds", MOST_CPU_SECONDS)):
        if sweep[name] > goal:
            heading, form = _COLUMNS[name]
            figure = f"{sweep[name]:{form}} {heading}"
            print(f"MISSED: a sweep at {sweep['open']:,.0f} open reports: {figure}, goal {goal:g}")


def main() -> dict[str, Rows]:
    """Print the tables and return their rows."""
    found = measure()
    show("one run of submit_reports, five reports running, eight planned", found["runs"])
    show("a run that plans windows of a backfill of 13 months of hours", found["backfills"])
    show("a whole sweep, all slots taken", found["sweeps"])
    show("a run that plans one window of each account", found["planning"])
    show_missed(found["sweeps"][-1])
    return found
