"""A backfill in virtual time: the real submit_reports, check_report and workflow, without faults.

Vonage generates each report in a drawn time. Storing and converting take the time of their bytes
and rows, because the model has no archives.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any
from unittest.mock import patch

import boto3

from local.simulator.settings import Settings
from local.simulator.simulation import Account
from tests.chaos.answers import StrangeAnswers
from tests.chaos.campaign import API_KEY, FUNCTIONS, Campaign, campaign
from tests.chaos.fake_aws import BUCKET, TABLE
from tests.chaos.virtual_time import Invocation
from tests.chaos.vonage import Vonage
from tests.chaos.workflow import Call, StateError
from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.ledger import Ledger
from vonage_reports.domain import waits
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.run_input import RunInput
from vonage_reports.domain.slots import LEFT_TO_THE_CALENDAR, SLOTS

BYTES_PER_ROW, BYTES_PER_SECOND, ROWS_PER_SECOND = 143, 75e6, 330_000
"""The size of an archive, and the speeds of the link and of convert_report (performance.md)."""

_LONGEST = timedelta(days=60)
_COLD_CALL = 0.3
"""The seconds of a call of a function beside its work."""


@dataclass(frozen=True)
class Shape:
    """A backfill: daily windows of several definitions, and the rows of each."""

    definitions: int
    days: int
    rows: int


@dataclass(frozen=True)
class Result:
    """The result of a backfill, in seconds. `busy` is the time that its slots worked at Vonage."""

    length: float
    busy: float
    reports: int
    late: float
    """The mean time from ready to seen."""
    delivering: float
    """The mean time from seen to the end of the run."""

    @property
    def idle(self) -> float:
        """The mean time for each report in which its slot waited."""
        slots = len(SLOTS) - LEFT_TO_THE_CALENDAR
        return (slots * self.length - self.busy) / self.reports


@dataclass
class BackfillStack(Campaign):
    """A stack that collects one backfill."""

    shape: Shape = Shape(1, 1, 1)
    generation: Callable[[], float] = float
    """Returns the seconds that Vonage needs for the next report."""
    waited: Callable[[float], float] | None = None
    """The wait after the last wait, in place of check_report's."""
    late: list[float] = field(default_factory=list)
    delivering: list[float] = field(default_factory=list)
    _seen: dict[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.faults_end = self.fault_plan.end = start = self.virtual_time.now
        self.fault_plan._lag = 0
        self.aws.ledger_faults._end = start
        # Other filters make other definitions.
        self.definitions = [
            {"name": f"d{number}", "product": "VERIFY-V2", "filters": {"country": country}}
            for number, country in zip(
                range(self.shape.definitions), ("GB", "DE", "FR"), strict=False
            )
        ]
        self.vonage = Vonage(
            Account(api_key=API_KEY, api_secret=self.secrets[0], others=()),
            Settings(rows_per_day=0, requests_per_second=0, empty_report="no_link"),
            self.folder,
            virtual_time=self.virtual_time,
            fault_plan=self.fault_plan,
            random=Random(f"{self.seed} vonage"),
            strange=StrangeAnswers(Random(self.seed), start),
        )

    def measure(self) -> Result:
        """Send the backfills, and wait for their end."""
        self.aws.define(json.dumps(self.definitions))
        self._put_secret(self.secrets[0])
        self.ledger = Ledger(boto3.resource("dynamodb").Table(TABLE))
        for function in FUNCTIONS:
            self._start_cold(function)
        begun = self.virtual_time.now
        end = begun.date() - timedelta(days=5)
        for each in self.definitions:
            asked = {
                "definition": each["name"],
                "start": str(end - timedelta(days=self.shape.days)),
                "end": str(end),
                "confirm": True,
            }
            self._submit({"backfill": asked}, over=self._begun)
        self.virtual_time.after(300, self._sweep)
        while len(self.delivering) < self.shape.definitions * self.shape.days:
            assert self.virtual_time.now < begun + _LONGEST
            self.virtual_time.step()
        busy = sum(each.lasts or 0 for each in self.vonage.reports.values())
        return Result(
            (self.virtual_time.now - begun).total_seconds(),
            busy,
            len(self.delivering),
            mean(self.late),
            mean(self.delivering),
        )

    def _begun(self, *, good: bool) -> None:
        assert good
        assert self._ended.error is None

    def _sweep(self) -> None:
        self._submit({"sweep": True}, over=_succeeded, retries=0)
        self.virtual_time.after(300, self._sweep)

    def _invoke(
        self,
        function: str,
        event: dict[str, Any],
        then: Callable[[Invocation], None],
        *,
        request_id: str = "",
    ) -> None:
        def ended(invocation: Invocation) -> None:
            # Let Vonage work for the drawn time on each report that the invocation has created.
            for report in self.vonage.reports.values():
                if report.lasts is None:
                    report.lasts = self.generation()
            then(invocation)

        super()._invoke(function, event, ended, request_id=request_id)

    def _call(
        self, call: Call, then: Callable[[Any], None], fails: Callable[[StateError], None]
    ) -> None:
        rows, payload = self.shape.rows, call.arguments.get("Payload", {})
        match call.arguments.get("FunctionName"):
            case "check_report":
                super()._call(call, lambda answer: then(self._checked(payload, answer)), fails)
            case "store_report":
                # The ledger learns from the receipt when the report was seen ready.
                key = receipt_key(RunInput.from_input(payload["report"]))
                receipt = {"times": {"ready": payload["download"]["ready"]}}
                Bucket(boto3.client("s3"), BUCKET).write_json(key, receipt)
                answer = {"stored": True, "wait_seconds": 0, "rows": rows, "receipt": key}
                seconds = rows * BYTES_PER_ROW / BYTES_PER_SECOND
                self.virtual_time.after(_COLD_CALL + seconds, lambda: then({"Payload": answer}))
            case "convert_report":
                names = ("event", "definition", "product", "account_id", "revision")
                notification = dict.fromkeys(names, "x")
                mail = {
                    "subject": "s",
                    "message": json.dumps({"default": json.dumps(notification)}),
                }
                answer = {"rows": rows, "notification": notification, "mail": mail}
                seconds = rows / ROWS_PER_SECOND
                self.virtual_time.after(_COLD_CALL + seconds, lambda: then({"Payload": answer}))
            case _:
                super()._call(call, then, fails)

    def _checked(self, payload: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        result, name = answer["Payload"], payload["report"]["report_id"]
        if result["ready"]:
            report = self.vonage.reports[payload["report"]["request_id"]]
            ready = report.ended()
            assert ready is not None
            self.late.append(self.vonage.simulation.world.clock.elapsed() - ready)
            self._seen[name] = self.virtual_time.now
        elif self.waited is not None:
            result["wait_seconds"] = round(self.waited(payload["waited_seconds"]))
        return answer

    def _end(self, execution: Any, status: str) -> None:
        if execution.status == "RUNNING":
            seen = self._seen[json.loads(execution.input)["report_id"]]
            self.delivering.append((self.virtual_time.now - seen).total_seconds())
        super()._end(execution, status)


def _succeeded(*, good: bool) -> None:
    assert good


def collect(
    shape: Shape,
    generation: Callable[[], float],
    *,
    first: Callable[[int | None, int | None], float] = waits.first_wait,
    waited: Callable[[float], float] | None = None,
) -> Result:
    """Collect a backfill, with the rules of the code or with those given."""

    def stack(seed: int, folder: Path) -> BackfillStack:
        return BackfillStack(seed, folder, shape=shape, generation=generation, waited=waited)

    with (
        patch("vonage_reports.domain.run_input.first_wait", first),
        campaign(1, stack) as made,
    ):
        assert isinstance(made, BackfillStack)
        return made.measure()
