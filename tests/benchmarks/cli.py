"""`vonage-reports`: the start of `--help`, and `status` of a ledger with 100,000 finished reports.

The table is the emulator's, which answers a Query more slowly than DynamoDB. So the status is
measured as a whole, in its own process, and without the table: of the saved ledger of a last run.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from boto3.dynamodb.types import TypeSerializer

from local.stack.emulator import Emulator
from tests.support.cli import Ended, run_program, stack_environment
from tests.support.ledger_table import create_ledger_table
from vonage_reports.aws.ledger_items import collects_item, finished_item
from vonage_reports.domain.calendar import report_for_window
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.windows import WindowLength, windows_ending_after

FINISHED = 100_000
MOST_SECONDS = {"--help": 0.3, "status": 3.0, "status --since": 20.0}
"""The goals for the start of the help, for the last 35 days, and for all reports."""

_DEFINITIONS = 12
_NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
_BEGUN = (_NOW - timedelta(hours=FINISHED // _DEFINITIONS)).date()
_STACK = "bench"


def _definitions() -> list[ReportDefinition]:
    return [
        ReportDefinition(
            name=f"d{number}",
            product="VERIFY-V2",
            account_ids=("abcd1234",),
            include_subaccounts=False,
            filters={"country": f"X{number}"},
            window=WindowLength.HOUR,
            time_zone="UTC",
        )
        for number in range(_DEFINITIONS)
    ]


def _written() -> str:
    fields = ("name", "product", "filters", "window")
    return json.dumps([{name: getattr(each, name) for name in fields} for each in _definitions()])


def _reports() -> Iterator[Report]:
    """Yield the delivered reports of every definition, hour by hour, up to three days ago."""
    of = _definitions()
    since = _NOW - timedelta(hours=FINISHED // _DEFINITIONS, days=3)
    for window in windows_ending_after(since, WindowLength.HOUR, "UTC"):
        for each in of:
            planned = report_for_window(
                each, "abcd1234", 0, window, rows_per_hour=10, now=window.end
            )
            # The input of the run makes up most of an item.
            yield replace(
                planned,
                state=State.DELIVERED,
                rows=10,
                attempt=1,
                request_id="r" * 36,
                execution_input="x" * 1000,
            )


def _items() -> Iterator[dict[str, Any]]:
    for each in _definitions():
        yield collects_item(each, dict.fromkeys(each.delay_days))
        # The schedule has planned everything.
        sk = f"cursor#{each.name}#abcd1234#{each.delay_days[-1]}"
        yield {"pk": "calendar", "sk": sk, "end": (_NOW - timedelta(days=3)).isoformat()}
    for report in islice(_reports(), FINISHED):
        yield finished_item(report)


def _timed(run: Callable[[], Ended], times: int = 1) -> tuple[float, Ended]:
    """Run a command, and return the median of its seconds and its last end."""
    seconds = []
    for _ in range(times):
        began = perf_counter()
        ended = run()
        seconds.append(perf_counter() - began)
        assert ended.code == 0, ended.err
    return median(seconds), ended


def _delivered(ended: Ended) -> int:
    return sum(row["delivered"] for row in json.loads(ended.out)["definitions"])


Rows = list[dict[str, Any]]


def _measure(where: str, run: Callable[..., Ended]) -> Rows:
    rows = []
    for name, words in (
        ("status", ["status", "--json"]),
        ("status --since", ["status", "--json", "--since", str(_BEGUN - timedelta(days=9))]),
    ):
        seconds, ended = _timed(lambda words=words: run(*words))  # type: ignore[misc]  # mypy infers no default of a lambda
        rows.append(
            {"command": name, "of": where, "reports": _delivered(ended), "seconds": seconds}
        )
    return rows


def _saved() -> Rows:
    """Measure with the file that `make run` leaves."""
    plain = TypeSerializer().serialize
    with TemporaryDirectory() as folder:
        root = Path(folder)
        (root / ".local").mkdir()
        document = {
            "as_of": _NOW.isoformat(),
            "source": "a benchmark",
            "is_simulated": True,
            "definitions": _written(),
            "items": [
                {name: plain(value) for name, value in item.items() if name != "execution_input"}
                for item in _items()
            ],
        }
        (root / ".local" / "last-run.json").write_text(json.dumps(document))
        return _measure(
            "the saved ledger", lambda *words: run_program("--local", *words, folder=root)
        )


_TEMPLATE = {
    "Resources": {"Alarms": {"Type": "AWS::SNS::Topic"}},
    "Outputs": {
        "TableName": {"Value": "ledger"},
        "BucketName": {"Value": "reports"},
        "SubmitReportsFunctionName": {"Value": "submit"},
        "DefinitionsParameterName": {"Value": "/definitions"},
        "AlarmTopicArn": {"Value": {"Ref": "Alarms"}},
    },
}


@contextmanager
def _emulated() -> Iterator[Mapping[str, str]]:
    """Yield the environment of a stack with the ledger in the emulator's table."""
    with TemporaryDirectory() as folder, Emulator(Path(folder)) as emulator:
        create_ledger_table(emulator.client("dynamodb"), "ledger")
        with emulator.table("ledger").batch_writer() as batch:
            for item in _items():
                batch.put_item(Item=item)
        s3 = emulator.client("s3")
        s3.create_bucket(
            Bucket="reports", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        s3.put_object(
            Bucket="reports", Key="definitions/report-definitions.json", Body=_written().encode()
        )
        cloudformation = emulator.client("cloudformation")
        cloudformation.create_stack(StackName=_STACK, TemplateBody=json.dumps(_TEMPLATE))
        cloudformation.get_waiter("stack_create_complete").wait(StackName=_STACK)
        yield stack_environment(emulator, _STACK)


def measure() -> Rows:
    """Return a row for each command."""
    seconds, _ = _timed(lambda: run_program("--help"), times=9)
    rows: Rows = [{"command": "--help", "of": "", "reports": 0, "seconds": seconds}]
    rows += _saved()
    with _emulated() as environment:
        rows += _measure(
            "the emulator's table", lambda *words: run_program(*words, environment=environment)
        )
    return rows


def main() -> Rows:
    """Print the table and return its rows."""
    rows = measure()
    print(f"cli: seconds of a process, {FINISHED:,} finished reports")
    print(f"{'command':<17}{'of':<23}{'reports':>10}{'seconds':>10}{'goal':>7}")
    for row in rows:
        goal = MOST_SECONDS[row["command"]]
        missed = "  MISSED" if row["seconds"] > goal else ""
        print(
            f"{row['command']:<17}{row['of']:<23}{row['reports']:>10,}{row['seconds']:>10.2f}"
            f"{goal:>7g}{missed}"
        )
    return rows
