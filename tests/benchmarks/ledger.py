"""The ledger: what one run of submit_reports costs, whatever has been finished before it.

A run that settles five running reports and plans eight definitions is counted against a table with
10 and with 100,000 finished reports: DynamoDB requests, and the capacity that they consume, as the
emulator counts it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from local.emulator import Emulator
from tests.ledger_table import create_ledger_table
from vonage_reports.aws.edges import Edges
from vonage_reports.aws.invocation import Invocation
from vonage_reports.aws.ledger import Ledger, finished_item
from vonage_reports.aws.plan import plan
from vonage_reports.aws.settle import settle
from vonage_reports.domain.calendar import planned_report
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.reports import Report, State
from vonage_reports.domain.transitions import Run, RunStatus
from vonage_reports.domain.windows import WindowLength, windows_ending_after

FINISHED = (10, 100_000)
NOW = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)


class Running:
    """Runs that all go on."""

    def describe(self, report: Report) -> Run:
        """Say that it runs."""
        del report
        return Run(RunStatus.RUNNING)


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
            yield planned_report(
                definition(number), "abcd1234", 0, window, rows_per_hour=10, now=NOW
            )


def fill(table: Any, finished: int) -> None:
    """Put finished reports of the last years, and five that run."""
    with table.batch_writer() as batch:
        for report in islice(reports(NOW - timedelta(days=600)), finished):
            batch.put_item(Item=finished_item(replace(report, state=State.DELIVERED)))
    ledger = Ledger(table)
    for slot, report in enumerate(islice(reports(NOW), 5), 1):
        report = ledger.write(None, report)
        running = replace(report, state=State.SUBMITTED, run=1, request_id=f"r{slot}", slot=slot)
        ledger.write(report, running)


def count(table: Any) -> dict[str, float]:
    """Run once and count."""
    requests: Counter[str] = Counter()
    capacity = 0.0
    events = table.meta.client.meta.events

    def ask_for_capacity(params: dict[str, Any], **_: Any) -> None:
        params["ReturnConsumedCapacity"] = "TOTAL"

    def add(parsed: dict[str, Any], model: Any, **_: Any) -> None:
        nonlocal capacity
        requests[model.name] += 1
        consumed = parsed.get("ConsumedCapacity", [])
        for each in consumed if isinstance(consumed, list) else [consumed]:
            capacity += each["CapacityUnits"]

    events.register("before-parameter-build.dynamodb", ask_for_capacity)
    events.register("after-call.dynamodb", add)
    edges = Edges(
        ledger=Ledger(table),
        vonage=None,  # type: ignore[arg-type]  # nothing is asked of these in such a run
        executions=Running(),  # type: ignore[arg-type]
        topic=None,  # type: ignore[arg-type]
        bucket=None,  # type: ignore[arg-type]
    )
    settle(edges.ledger.open_work(), edges, Invocation("one", lambda: 300.0), clock=lambda: NOW)
    plan([definition(number) for number in range(8)], edges, at=NOW, now=NOW)
    edges.ledger.open_work()
    events.unregister("before-parameter-build.dynamodb", ask_for_capacity)
    events.unregister("after-call.dynamodb", add)
    return {"requests": sum(requests.values()), "capacity": capacity}


def measure() -> list[dict[str, float]]:
    """Return a row for each number of finished reports."""
    rows = []
    with TemporaryDirectory() as folder, Emulator(Path(folder)) as emulator:
        client = emulator.client("dynamodb")
        for finished in FINISHED:
            name = f"ledger-{finished}"
            create_ledger_table(client, name)
            fill(emulator.table(name), finished)
            rows.append({"finished": finished, **count(emulator.table(name))})
    return rows


def main() -> list[dict[str, float]]:
    """Print the table and return its rows."""
    rows = measure()
    print("ledger: DynamoDB in one run of submit_reports, five reports running, eight planned")
    print(f"{'finished reports':>17}{'requests':>10}{'capacity units':>16}")
    for row in rows:
        print(f"{row['finished']:>17,.0f}{row['requests']:>10.0f}{row['capacity']:>16.1f}")
    return rows
