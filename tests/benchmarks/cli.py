"""`vonage-reports`: the start of `--help`, and `status` of a ledger with 100,000 finished reports.

The program runs in its own process, and reads the table of a stack. The emulator takes minutes for
100,000 reports, because each page of a Query sorts them again. So a small server answers the
Queries, in pages of a megabyte as DynamoDB does. The emulator has the rest of the stack.
"""

import json
import threading
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from boto3.dynamodb.types import TypeSerializer

from local.stack.emulator import Emulator
from tests.support.cli import Ended, run_program, stack_environment
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
_COLUMNS = {"reports": ",.0f", "seconds": ".2f", "cpu_seconds": ".2f"}
_STACK = "bench"
_PAGE_BYTES = 1_000_000
_LAST = "\uffff"
"""A sort key after all others."""


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


Rows = list[dict[str, Any]]


def _timed(
    name: str, words: list[str], environment: Mapping[str, str] | None = None, *, times: int = 1
) -> tuple[dict[str, Any], Ended]:
    """Run a command some times. Return its median seconds, and the mean of its CPU seconds."""
    seconds, before = [], _cpu_seconds()
    for _ in range(times):
        began = perf_counter()
        ended = run_program(*words, environment=environment)
        seconds.append(perf_counter() - began)
        assert ended.code == 0, ended.err
    cpu = (_cpu_seconds() - before) / times
    return {"command": name, "seconds": median(seconds), "cpu_seconds": cpu}, ended


def _cpu_seconds() -> float:
    """Return the CPU seconds of all ended child processes. The emulator has not ended."""
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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


class _Table:
    """Answers DynamoDB's Query of a partition, all of it or from a sort key to another."""

    def __init__(self, items: Iterable[Mapping[str, Any]]) -> None:
        self._partitions: dict[str, list[tuple[str, int, dict[str, Any]]]] = defaultdict(list)
        plain = TypeSerializer().serialize
        for item in items:
            value = {name: plain(each) for name, each in item.items()}
            size = len(json.dumps(value))
            self._partitions[item["pk"]].append((item["sk"], size, value))
        for partition in self._partitions.values():
            partition.sort(key=itemgetter(0))

    def query(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return a page."""
        values = [each["S"] for each in asked["ExpressionAttributeValues"].values()]
        missing = ("", "", _LAST)[len(values) :]
        pk, low, high = tuple(chain(values, missing))
        partition = self._partitions[pk]
        first = bisect_left(partition, low, key=itemgetter(0))
        found = partition[first : bisect_right(partition, high, key=itemgetter(0))]
        if not asked.get("ScanIndexForward", True):
            found.reverse()
        if "ExclusiveStartKey" in asked:
            after = asked["ExclusiveStartKey"]["sk"]["S"]
            found = found[bisect_right(found, after, key=itemgetter(0)) :]
        page, size = [], 0
        for _, item_bytes, value in islice(found, asked.get("Limit")):
            page.append(value)
            size += item_bytes
            if size >= _PAGE_BYTES:
                break
        rest = {} if len(page) == len(found) else {"LastEvaluatedKey": _key(pk, page[-1])}
        names = asked.get("ExpressionAttributeNames", {})
        wanted = [names.get(each, each) for each in _projection(asked)]
        if wanted:
            page = [{name: each[name] for name in wanted if name in each} for each in page]
        return {"Items": page, "Count": len(page), **rest}

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """Return the handler of the server."""
        query = self.query

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                assert self.headers["X-Amz-Target"].endswith(".Query"), self.headers
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps(query(asked)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Write no log."""

        return Handler


def _key(pk: str, item: Mapping[str, Any]) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": item["sk"]}


def _projection(asked: Mapping[str, Any]) -> list[str]:
    expression = asked.get("ProjectionExpression")
    return expression.split(", ") if expression else []


@contextmanager
def _emulated() -> Iterator[Mapping[str, str]]:
    """Yield the environment of a stack."""
    table = _Table(_items())
    with (
        TemporaryDirectory() as folder,
        Emulator(Path(folder)) as emulator,
        ThreadingHTTPServer(("127.0.0.1", 0), table.handler()) as server,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
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
        yield {
            **stack_environment(emulator, _STACK),
            "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{server.server_port}",
        }
        server.shutdown()


def measure() -> Rows:
    """Return a row for each command."""
    row, _ = _timed("--help", ["--help"], times=9)
    rows: Rows = [{**row, "reports": 0}]
    with _emulated() as environment:
        for name, words in (
            ("status", ["status", "--json"]),
            ("status --since", ["status", "--json", "--since", str(_BEGUN - timedelta(days=9))]),
        ):
            row, ended = _timed(name, words, environment)
            reports = sum(each["delivered"] for each in json.loads(ended.out)["definitions"])
            rows.append({**row, "reports": reports})
    return rows


def main() -> Rows:
    """Print the table and return its rows."""
    rows = measure()
    print(f"cli: seconds of a process, {FINISHED:,} finished reports")
    print("".join(f"{heading:>17}" for heading in ("command", *_COLUMNS)))
    for row in rows:
        goal = MOST_SECONDS[row["command"]]
        figures = "".join(f"{row[name]:>17{form}}" for name, form in _COLUMNS.items())
        missed = f"  MISSED: goal {goal:g}" if row["seconds"] > goal else ""
        print(f"{row['command']:>17}{figures}{missed}")
    return rows
