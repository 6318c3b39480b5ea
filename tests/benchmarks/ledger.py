"""The ledger: what one run of submit_reports costs, whatever has been finished before it.

A run that settles five running reports and plans eight definitions is counted against a table with
10 and with 100,000 finished reports: DynamoDB requests, and the capacity that they consume, as the
emulator counts it. So is a run that plans windows of a backfill of 13 months of hours, at its
beginning and at its end.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from local.stack.emulator import Emulator
from tests.support.ledger_table import create_ledger_table
from vonage_reports.aws.cloudwatch import Metrics
from vonage_reports.aws.ledger import Ledger
from vonage_reports.aws.ledger_items import finished_item
from vonage_reports.domain.backfill import checked_backfill
from vonage_reports.domain.calendar import report_for_window
from vonage_reports.domain.decisions import Execution, ExecutionStatus
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.windows import WindowLength, windows_ending_after
from vonage_reports.submit_reports.backfills import plan_backfills
from vonage_reports.submit_reports.context import Invocation, Services
from vonage_reports.submit_reports.plan import plan
from vonage_reports.submit_reports.settle import settle

FINISHED = (10, 100_000)
NOW = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
INVOCATION = Invocation("one", lambda: 300.0)


class Running:
    """Runs that all go on."""

    def describe(self, report: Report) -> Execution:
        """Say that it runs."""
        del report
        return Execution(ExecutionStatus.RUNNING)


def definition(number: int) -> ReportDefinition:
    """Return one of eight definitions, each with windows of an hour."""
    return ReportDefinition(
        name=f"d{number}",
        product="VERIFY-V2",
        account_ids=("abcd1234",),
        include_subaccounts=False,
        filters={"country": f"X{number}"},
        window=WindowLength.HOUR,
        time_zone="UTC",
    )


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


@contextmanager
def counted(table: Any) -> Iterator[dict[str, float]]:
    """Count what is asked of DynamoDB meanwhile."""
    counts = {"requests": 0.0, "capacity": 0.0}
    events = table.meta.client.meta.events

    def ask_for_capacity(params: dict[str, Any], **_: Any) -> None:
        params["ReturnConsumedCapacity"] = "TOTAL"

    def add(parsed: dict[str, Any], **_: Any) -> None:
        counts["requests"] += 1
        consumed = parsed.get("ConsumedCapacity", [])
        for each in consumed if isinstance(consumed, list) else [consumed]:
            counts["capacity"] += each["CapacityUnits"]

    events.register("before-parameter-build.dynamodb", ask_for_capacity)
    events.register("after-call.dynamodb", add)
    yield counts
    events.unregister("before-parameter-build.dynamodb", ask_for_capacity)
    events.unregister("after-call.dynamodb", add)


def edges_to(table: Any) -> Services:
    """Return edges of which only the ledger is asked."""
    return Services(
        ledger=Ledger(table),
        definitions=None,  # type: ignore[arg-type]  # a fake of what is used
        vonage=None,  # type: ignore[arg-type]  # nothing is asked of these in such a run
        executions=Running(),  # type: ignore[arg-type]  # a fake of what is used
        topic=None,  # type: ignore[arg-type]  # a fake of what is used
        bucket=None,  # type: ignore[arg-type]  # a fake of what is used
        metrics=Metrics("benchmark"),
    )


def count(table: Any) -> dict[str, float]:
    """Run once and count."""
    services = edges_to(table)
    with counted(table) as counts:
        settle(services.ledger.open_work(), services, INVOCATION, clock=lambda: NOW)
        plan([definition(number) for number in range(8)], services, at=NOW, now=NOW)
        services.ledger.open_work()
    return counts


def count_backfill(table: Any, *, from_its_end: bool) -> dict[str, float]:
    """Plan what there is room for of a backfill of 13 months of hours, and count."""
    whole = checked_backfill(definition(0), date(2025, 10, 22), NOW.date(), confirmed=True, now=NOW)
    begun = replace(whole, seen_to=whole.total - 9 if from_its_end else 0)
    services = edges_to(table)
    services.ledger.write_all([], (None, begun))
    with counted(table) as counts:
        began = perf_counter()
        done = plan_backfills(services, INVOCATION, max_billed_records=0, clock=lambda: NOW)
        seconds = perf_counter() - began
    return {"seen_to": begun.seen_to, "planned": len(done.report_ids), **counts, "seconds": seconds}


def measure() -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Return a row for each number of finished reports, and one for each end of a backfill."""
    runs, backfills = [], []
    with TemporaryDirectory() as folder, Emulator(Path(folder)) as emulator:

        def empty_table(name: str) -> Any:
            create_ledger_table(emulator.client("dynamodb"), name)
            return emulator.table(name)

        for finished in FINISHED:
            table = empty_table(f"ledger-{finished}")
            fill(table, finished)
            runs.append({"finished": finished, **count(table)})
        for from_its_end in (False, True):
            table = empty_table(f"backfill-{from_its_end}")
            backfills.append(count_backfill(table, from_its_end=from_its_end))
    return runs, backfills


def main() -> dict[str, list[dict[str, float]]]:
    """Print the tables and return their rows."""
    runs, backfills = measure()
    print("ledger: DynamoDB in one run of submit_reports, five reports running, eight planned")
    print(f"{'finished reports':>17}{'requests':>10}{'capacity units':>16}")
    for row in runs:
        print(f"{row['finished']:>17,.0f}{row['requests']:>10.0f}{row['capacity']:>16.1f}")
    print("ledger: a run that plans windows of a backfill of 13 months of hours")
    print(f"{'seen to':>17}{'planned':>10}{'requests':>10}{'capacity units':>16}{'seconds':>10}")
    for row in backfills:
        print(
            f"{row['seen_to']:>17,.0f}{row['planned']:>10.0f}{row['requests']:>10.0f}"
            f"{row['capacity']:>16.1f}{row['seconds']:>10.2f}"
        )
    return {"runs": runs, "backfills": backfills}
