"""The services of submit_reports: the simulator over HTTP; DynamoDB, SNS, S3, SSM in moto."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import boto3
import pytest
from moto import mock_aws
from mypy_boto3_sqs import SQSClient

from local.simulator.process import Simulator
from tests.support.alarms import STACK
from tests.support.contracts import check_notification
from tests.support.ledger_table import create_ledger_table
from tests.support.waiting import wait_until
from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.cloudwatch import Metrics
from vonage_reports.aws.definitions_source import DefinitionsSource
from vonage_reports.aws.ledger import Ledger
from vonage_reports.aws.ledger_items import OpenWork
from vonage_reports.aws.sns import Topic
from vonage_reports.aws.ssm import DefinitionsParameter
from vonage_reports.domain.backfill import Backfill, checked_backfill
from vonage_reports.domain.decisions import Execution, ExecutionStatus
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.report import Report
from vonage_reports.submit_reports import backfills
from vonage_reports.submit_reports.context import Invocation, Services, StepResult
from vonage_reports.submit_reports.plan import plan
from vonage_reports.submit_reports.read_definitions import parse_definitions
from vonage_reports.submit_reports.settle import settle
from vonage_reports.submit_reports.submit import submit
from vonage_reports.vonage.client import Credentials, VonageClient
from vonage_reports.vonage.pacing import Pacer

SCHEDULED = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
LIFETIME = 300.0
"""Seconds that an invocation has."""


class Runs:
    """A fake Step Functions: it keeps the inputs of started runs; the test sets their states."""

    def __init__(self) -> None:
        self.started: dict[str, str] = {}
        self.states: dict[str, Execution] = {}

    def arn(self, report: Report) -> str:
        return f"arn:aws:states:eu-west-1:123456789012:execution:m:{report.execution_name}"

    def start(self, report: Report) -> None:
        assert report.execution_input is not None
        self.started.setdefault(report.execution_name, report.execution_input)

    def describe(self, report: Report) -> Execution:
        if report.execution_name not in self.started:
            return Execution(ExecutionStatus.MISSING)
        return self.states.get(report.execution_name, Execution(ExecutionStatus.RUNNING))

    def end(
        self,
        report: Report,
        error: str | None = None,
        rows: int = 10,
        rescued: Mapping[str, int] | None = None,
        reason: str | None = None,
        *,
        is_unregistered: bool = False,
    ) -> None:
        self.states[report.execution_name] = (
            Execution(
                ExecutionStatus.SUCCEEDED,
                rows=rows,
                rescued=rescued,
                is_unregistered=is_unregistered,
            )
            if error is None
            else Execution(
                ExecutionStatus.FAILED, error=error, reason=reason or f"because of {error}"
            )
        )


def definition(**entry: Any) -> ReportDefinition:
    """Return a definition, by default d0 of the product VERIFY-V2."""
    text = json.dumps([{"name": "d0", "product": "VERIFY-V2", **entry}])
    (made,), refused = parse_definitions(text, api_key="abcd1234")
    assert refused == []
    return made


@dataclass
class Stack:
    """The services, and a clock that the test moves."""

    services: Services
    runs: Runs
    simulator: Simulator
    credentials: list[Credentials]
    sqs: SQSClient
    queue_url: str
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def plan(self, count: int = 1, *, at: datetime = SCHEDULED, **entry: Any) -> list[str]:
        """Plan one window for each of `count` definitions of the product VERIFY-V2."""
        return self.plan_definitions(
            [
                definition(**{"filters": {"country": f"X{n}"}, **entry, "name": f"d{n}"})
                for n in range(count)
            ],
            at,
        )

    def plan_definitions(
        self, definitions: Sequence[ReportDefinition], at: datetime = SCHEDULED
    ) -> list[str]:
        done = plan(definitions, self.services, at=at, now=max(self.now, at))
        assert (done.refusals, done.errors) == ([], [])
        return done.report_ids

    def submit(self, owner: str = "one") -> StepResult:
        return submit(self.services, Invocation(owner, lambda: LIFETIME), clock=lambda: self.now)

    def settle_seen(self, work: OpenWork) -> list[str]:
        """Settle open work that was read before."""
        invocation = Invocation("one", lambda: LIFETIME)
        done = settle(work, self.services, invocation, clock=lambda: self.now)
        assert done.errors == []
        return done.report_ids

    def settle(self) -> list[str]:
        return self.settle_seen(self.services.ledger.open_work())

    def collect(self, *outcomes: str) -> list[Report]:
        """Submit one report per outcome; Vonage ends each at once with its outcome.

        Return the reports in the order of their requests, as they were before they ended.
        """
        for outcome in outcomes:
            self.simulator.fault("create", "outcome", request_status=outcome, seconds=0)
        done = self.submit()
        assert done.errors == []
        reports = [self.known(report_id) for report_id in done.report_ids]
        assert len(reports) == len(outcomes)
        self.until_vonage_has_ended(*reports)
        for report, outcome in zip(reports, outcomes, strict=True):
            self.runs.end(report, None if outcome == "SUCCESS" else "ReportFailed")
        self.settle()
        return reports

    def until_vonage_has_ended(self, *reports: Report) -> None:
        """Wait for the simulator, which writes archives in the background."""
        requested = {report.request_id for report in reports}
        wait_until(lambda: not self._at_work_at_vonage() & requested, within=60, every=0.002)

    def _at_work_at_vonage(self) -> set[str]:
        return {
            each["request_id"]
            for each in self.simulator.state()["reports"]
            if each["request_status"] in ("PENDING", "PROCESSING")
        }

    def known(self, report_id: str) -> Report:
        report = self.services.ledger.report(report_id)
        assert report is not None
        return report

    def open(self) -> list[Report]:
        return list(self.services.ledger.open_reports())

    def later(self, **delta: float) -> None:
        self.now += timedelta(**delta)

    def slots(self) -> int:
        return len(self.services.ledger.open_work().slots)

    def created(self) -> list[dict[str, Any]]:
        """Return the requests at Vonage, which bills them, in their order."""
        reports: list[dict[str, Any]] = self.simulator.state()["reports"]
        return reports

    def announced(self) -> list[dict[str, Any]]:
        """Return the notifications since the last call."""
        bodies = []
        while messages := self.sqs.receive_message(
            QueueUrl=self.queue_url, MaxNumberOfMessages=10
        ).get("Messages"):
            for message in messages:
                bodies.append(json.loads(json.loads(message["Body"])["Message"]))
                check_notification(bodies[-1])
                self.sqs.delete_message(
                    QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"]
                )
        return bodies

    def day(self, ago: int) -> date:
        """Return the UTC date so many days ago."""
        return (self.now - timedelta(days=ago)).date()

    def backfill(
        self, of: ReportDefinition, start: date, end: date, *, confirmed: bool = False
    ) -> Backfill:
        return checked_backfill(of, start, end, confirmed=confirmed, now=self.now)

    def begin(self, *wanted: Backfill, limit: int = 10_000_000) -> None:
        for each in wanted:
            backfills.begin(each, self.services, max_billed_records=limit)

    def plan_backfills(self, limit: int = 10_000_000) -> list[Report]:
        """Plan as many windows of the running backfills as there is room for."""
        invocation = Invocation("one", lambda: LIFETIME)
        done = backfills.plan_backfills(
            self.services, invocation, max_billed_records=limit, clock=lambda: self.now
        )
        return [self.known(report_id) for report_id in done.report_ids]

    def table(self) -> list[dict[str, Any]]:
        """Return all items of the ledger."""
        items: list[dict[str, Any]] = boto3.resource("dynamodb").Table("ledger").scan()["Items"]
        return sorted(items, key=lambda item: (item["pk"], item["sk"]))


@cache
def _session() -> boto3.Session:
    """Return one session for all tests: it reads the services' models once."""
    return boto3.Session("testing", "testing", region_name="eu-west-1")


@contextmanager
def a_stack(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """Yield a fresh stack."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    simulator.reset()
    with mock_aws():
        # moto removes the default session before each test.
        boto3.DEFAULT_SESSION = _session()
        # One client per service: to create one takes longer than most of its calls.
        dynamodb = boto3.resource("dynamodb")
        create_ledger_table(dynamodb.meta.client, "ledger")
        table = dynamodb.Table("ledger")
        s3, sns, sqs = boto3.client("s3"), boto3.client("sns"), boto3.client("sqs")
        s3.create_bucket(
            Bucket="reports", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        topic_arn = sns.create_topic(Name="reports")["TopicArn"]
        queue_url = sqs.create_queue(QueueName="hears")["QueueUrl"]
        queue_arn = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])[
            "Attributes"
        ]["QueueArn"]
        sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=queue_arn)
        credentials = [
            Credentials(simulator.api_key, simulator.api_secret, "the secret arn:aws:vonage")
        ]
        runs = Runs()
        services = Services(
            ledger=Ledger(table),
            definitions=DefinitionsSource(
                Bucket(s3, "reports"), DefinitionsParameter(boto3.client("ssm"), "/definitions")
            ),
            vonage=VonageClient(
                simulator.url, lambda _fresh: credentials[0], pacer=Pacer(0), timeout=(1, 1)
            ),
            executions=runs,  # type: ignore[arg-type]  # a fake that keeps state
            topic=Topic(sns, topic_arn, stack=STACK),
            bucket=Bucket(s3, "reports"),
            metrics=Metrics(STACK),
        )
        yield Stack(services, runs, simulator, credentials, sqs, queue_url)
