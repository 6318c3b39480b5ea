"""From ready at Vonage to announced: large reports, one after the other, on the local stack.

The real template, functions and workflow run on the emulator, with the simulator as Vonage. The
first report warms the functions. The history of each run gives the times of its states.

The bytes' own time is measured after each run: a plain copy of the archive from the simulator to
the emulator's S3, a plain download of the archive, its conversion by the engine alone (`bare` of
the benchmark convert), and a plain upload of the dataset. The project adds the rest.
"""

import json
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import requests

from local.simulator.process import Simulator
from local.stack.deployment import Stack, deploy
from local.stack.emulator import Emulator
from tests.benchmarks.convert import run_apart
from tests.support.waiting import wait_until
from vonage_reports.aws.ledger import Ledger
from vonage_reports.domain.objects import archive_key, dataset_key
from vonage_reports.domain.report import Report, State

ROWS, RUNS = 1_000_000, 3
MOST_BESIDE_THE_BYTES = 5.0
"""The goal, in seconds."""

DEFINITION = {"name": "sms", "product": "SMS", "filters": {"direction": "outbound"}}
STEPS = ("Store Report", "Convert Report", "Announce Report")
_FIRST_DAY = datetime(2026, 11, 10, 2, 15, tzinfo=UTC)
_PATIENCE = 600


class LocalStack:
    """The deployed stack, with the simulator as Vonage."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._vonage = stack.enter_context(
            Simulator(rows_per_day=ROWS, rows_per_second=0, requests_per_second=0)
        )
        self._emulator = stack.enter_context(Emulator(folder / "emulator", wait_scale=0.001))
        self._stack: Stack = deploy(
            self._emulator, folder, vonage_base_url=self._vonage.url, wait_scale=0.001
        )
        self._stack.set_credentials(self._vonage.api_key, self._vonage.api_secret)
        self._stack.set_definitions(json.dumps([DEFINITION]))
        self._ledger = Ledger(self._emulator.table(self._stack.outputs["TableName"]))
        self._s3 = self._emulator.client("s3")
        self._bucket = self._stack.outputs["BucketName"]

    def deliver(self, day: int) -> dict[str, float]:
        """Collect the report of one day. Return the seconds of each step, and the bytes' own."""
        scheduled = f"{_FIRST_DAY + timedelta(days=day):%Y-%m-%dT%H:%M:%SZ}"
        calendar = "SubmitReportsFunctionCalendarSchedule"
        answer = self._stack.submit(self._stack.schedule_event(calendar, scheduled_time=scheduled))
        (report_id,) = answer["planned"]
        # Each look takes processor time from the functions that are measured, so look rarely.
        wait_until(
            lambda: self._ledger.finished_report(report_id) is not None, within=_PATIENCE, every=1
        )
        report = self._ledger.finished_report(report_id)
        assert report is not None
        assert (report.state, report.rows) == (State.DELIVERED, ROWS), report.reason
        return {**self._times(report), **self._own_times(report)}

    def _times(self, report: Report) -> dict[str, float]:
        machine = self._stack.outputs["StateMachineArn"].replace(":stateMachine:", ":execution:")
        history = self._emulator.client("stepfunctions").get_paginator("get_execution_history")
        pages = history.paginate(executionArn=f"{machine}:{report.execution_name}")
        entered: dict[str, datetime] = {}
        left: dict[str, datetime] = {}
        for event in (each for page in pages for each in page["events"]):
            for kind, times in (("Entered", entered), ("Exited", left)):
                details: Mapping[str, Any] = event.get(f"state{kind}EventDetails", {})
                if details:
                    times[details["name"]] = event["timestamp"]
        steps = {each: (left[each] - entered[each]).total_seconds() for each in STEPS}
        seen = left["Check Report"]
        return {**steps, "all": (left["Announce Report"] - seen).total_seconds()}

    def _own_times(self, report: Report) -> dict[str, float]:
        archive = self._folder / "archive.zip"
        url = f"{self._vonage.url}/v2/reports/{report.request_id}"
        credentials = (self._vonage.api_key, self._vonage.api_secret)
        link = requests.get(url, auth=credentials, timeout=60).json()["_links"]["download_report"]
        file_id = link["href"].rpartition("/")[2]
        start = time.monotonic()
        with requests.get(
            f"{self._vonage.url}/v3/media/{file_id}", auth=credentials, stream=True, timeout=60
        ) as answer:
            self._s3.upload_fileobj(answer.raw, self._bucket, "copies/archive.zip")
        copied = time.monotonic()
        self._s3.download_file(self._bucket, archive_key(report), str(archive))
        downloaded = time.monotonic()
        engine = run_apart("bare", archive)["seconds"]
        dataset = self._s3.get_object(Bucket=self._bucket, Key=dataset_key(report))["Body"].read()
        converted = time.monotonic()
        self._s3.put_object(Bucket=self._bucket, Key="copies/dataset.parquet", Body=dataset)
        uploaded = time.monotonic() - converted
        return {
            "MB": archive.stat().st_size / 1e6,
            "copy": copied - start,
            "engine": downloaded - copied + engine + uploaded,
        }


def main() -> list[dict[str, float]]:
    """Print the table, and whether the goal was reached. Return the rows."""
    with TemporaryDirectory() as folder, ExitStack() as resources:
        stack = LocalStack(Path(folder), resources)
        stack.deliver(0)
        rows = []
        for day in range(1, RUNS + 1):
            print(f"delivery: {day} of {RUNS}", file=sys.stderr)
            rows.append(stack.deliver(day))
    middle = {name: median(row[name] for row in rows) for name in rows[0]}
    rest = [row["all"] - row["copy"] - row["engine"] for row in rows]
    print(f"{ROWS:,} rows, {middle['MB']:.0f} MB: from seen ready to announced, medians of {RUNS}")
    print(f"{'':<18}{'seconds':>9}{'the bytes alone':>17}")
    own = {"Store Report": middle["copy"], "Convert Report": middle["engine"]}
    for name in (*STEPS, "all"):
        alone = sum(own.values()) if name == "all" else own.get(name, 0)
        print(f"{name:<18}{middle[name]:>9.1f}{alone:>17.1f}")
    spread = f"{median(rest):.1f} s beside the bytes ({min(rest):.1f} to {max(rest):.1f})"
    word = "reached" if median(rest) <= MOST_BESIDE_THE_BYTES else "MISSED"
    print(f"{word} {spread}, goal {MOST_BESIDE_THE_BYTES:.0f} s")
    return rows
