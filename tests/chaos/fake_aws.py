"""AWS in this process: stand-ins that keep state, and every call passes the weather first.

They take botocore's requests, as they are about to be sent, and give what it would have read. moto
would do, but takes most of a seed's time; the two whose rules matter a test compares with it.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any
from unittest.mock import patch

import boto3
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from tests.chaos.dynamodb import ConditionsFailed, Table
from tests.chaos.fault_plan import FaultPlan
from tests.chaos.s3 import Objects, Refused
from tests.chaos.virtual_time import Invocation, VirtualTime
from tests.integration.conftest import answer_of_aws, refusal_of_aws

REGION = "eu-west-1"
BUCKET, TABLE, DATABASE = "reports", "ledger", "usage"
PARAMETER = "/definitions"
SECRET = "vonage"
TOPIC = f"arn:aws:sns:{REGION}:123456789012:reports"
MACHINE = f"arn:aws:states:{REGION}:123456789012:stateMachine:report-workflow"

_REFUSALS = {
    "throttled": (400, "ThrottlingException"),
    "unavailable": (500, "InternalServerError"),
    "denied": (403, "AccessDeniedException"),
}
_REFUSALS_OF_S3 = {
    "throttled": (503, "SlowDown"),
    "unavailable": (500, "InternalError"),
    "denied": (403, "AccessDenied"),
}

_NOT_DONE = (*_REFUSALS, "unreachable")


@dataclass
class Execution:
    """A run of the workflow, as Step Functions tells of it."""

    name: str
    input: str
    started: datetime
    status: str = "RUNNING"
    output: str | None = None
    error: str | None = None
    cause: str | None = None


@cache
def _session() -> boto3.Session:
    """One for all runs: it reads the services' models once."""
    return boto3.Session("testing", "testing", region_name=REGION)


@dataclass
class FakeAws:
    """What the account holds, and how its calls go."""

    loop: VirtualTime
    fault_plan: FaultPlan
    latency: Callable[[], float]
    start: Callable[[Execution], None]
    trace: Callable[[str], None]
    secret: str = ""
    definitions: str = ""
    table: Table = field(default_factory=Table)
    objects: Objects = field(default_factory=Objects)
    partitions: set[tuple[str, ...]] = field(default_factory=set)
    messages: list[dict[str, Any]] = field(default_factory=list)
    executions: dict[str, Execution] = field(default_factory=dict)
    defined_at: datetime = field(init=False)
    """When the definitions came to be."""
    writes: int = 0
    """Calls that may have changed the ledger."""
    refused_aborts: int = 0
    """Uploads that S3 did not let go."""

    def __post_init__(self) -> None:
        self.defined_at = self.loop.now

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Let every client that is made meanwhile talk to this account."""
        session = _session()
        # A client takes its session's handlers along when it is made.
        with patch.object(boto3, "DEFAULT_SESSION", session):
            session.events.register("before-call", self._before)
            session.events.register("after-call", self._after)
            try:
                yield
            finally:
                session.events.unregister("before-call", self._before)
                session.events.unregister("after-call", self._after)

    def publish(self, message: str, attributes: dict[str, Any]) -> None:
        """Keep what the topic's subscribers get, of a workflow's own."""
        body = json.loads(message)
        assert attributes["event"]["StringValue"] == body["event"]
        self.messages.append(body)

    def _before(self, model: Any, params: dict[str, Any], context: dict[str, Any], **_: Any) -> Any:
        service = model.service_model.service_id.hyphenize()
        invocation = self.loop.current
        if invocation is not None and invocation.is_here():
            refusal = self._weathered(service, model.name, context, invocation)
            if refusal is not None:
                return refusal
        elif invocation is not None:
            # Its own threads send the parts of an upload: they take no turns, and have no order.
            how = self.fault_plan.over_part(f"{model.name} {params['query_string']}", self.loop.now)
            if how in _REFUSALS_OF_S3:
                return refusal_of_aws(*_REFUSALS_OF_S3[how])
        return self._answer(service, model.name, params)

    def _weathered(
        self, service: str, operation: str, context: dict[str, Any], invocation: Invocation
    ) -> Any:
        invocation.spend(self.latency())
        how = self.fault_plan.over_aws(service, operation, self.loop.now)
        self.trace(f"{invocation.number} {service} {operation} {how or ''}")
        self.refused_aborts += operation == "AbortMultipartUpload" and how in _NOT_DONE
        refusals = _REFUSALS_OF_S3 if service == "s3" else _REFUSALS
        if how in refusals:
            return refusal_of_aws(*refusals[how])
        if how == "conflict":
            reasons = [{"Code": "TransactionConflict"}]
            name = "TransactionCanceledException"
            return refusal_of_aws(400, name, CancellationReasons=reasons)
        if how == "unreachable":
            raise EndpointConnectionError(endpoint_url="https://aws")
        if how == "slow":
            invocation.spend(40)
        context["lost"] = how == "lost"
        return None

    def _after(self, context: dict[str, Any], **_: Any) -> None:
        if context.get("lost") and self.loop.current is not None:
            self.loop.current.spend(60)
            raise ReadTimeoutError(endpoint_url="https://aws")

    def _answer(self, service: str, operation: str, params: dict[str, Any]) -> Any:
        try:
            if service == "s3":
                return answer_of_aws(200, self.objects.answer(operation, params))
            if service == "sns":
                return answer_of_aws(200, self._published(params["body"]))
            asked = json.loads(params["body"])
            if service == "dynamodb":
                self.writes += operation in ("TransactWriteItems", "DeleteItem")
                return answer_of_aws(200, self.table.answer(operation, asked))
            return answer_of_aws(200, _OPERATIONS[operation](self, asked))
        except Refused as refused:
            return refusal_of_aws(refused.status, refused.code)
        except ConditionsFailed as failed:
            name = "TransactionCanceledException"
            return refusal_of_aws(400, name, CancellationReasons=failed.reasons)

    def _published(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert asked["TopicArn"] == TOPIC
        assert "event" in [value for name, value in asked.items() if name.endswith(".Name")]
        self.messages.append(json.loads(asked["Message"]))
        return {"MessageId": str(len(self.messages))}

    def _secret_value(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert asked["SecretId"] == SECRET
        return {"SecretString": self.secret}

    def _parameter(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert asked["Name"] == PARAMETER
        return {"Parameter": {"Value": self.definitions, "LastModifiedDate": self.defined_at}}

    def _create_partition(self, asked: dict[str, Any]) -> dict[str, Any]:
        partition = (asked["TableName"], *asked["PartitionInput"]["Values"])
        if partition in self.partitions:
            raise Refused(400, "AlreadyExistsException")
        self.partitions.add(partition)
        return {}

    def _start_execution(self, asked: dict[str, Any]) -> dict[str, Any]:
        known = self.executions.get(asked["name"])
        if known is None:
            execution = Execution(asked["name"], asked["input"], self.loop.now)
            self.executions[execution.name] = execution
            self.start(execution)
        elif known.status != "RUNNING" or known.input != asked["input"]:
            raise Refused(400, "ExecutionAlreadyExists")
        return {"startDate": self.loop.now}

    def _describe_execution(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = self.executions.get(asked["executionArn"].rpartition(":")[2])
        if found is None:
            raise Refused(400, "ExecutionDoesNotExist")
        said = {"output": found.output, "error": found.error, "cause": found.cause}
        return {
            "status": found.status,
            **{name: value for name, value in said.items() if value is not None},
        }


_OPERATIONS: dict[str, Callable[[FakeAws, dict[str, Any]], dict[str, Any]]] = {
    "GetSecretValue": FakeAws._secret_value,
    "GetParameter": FakeAws._parameter,
    "CreatePartition": FakeAws._create_partition,
    "StartExecution": FakeAws._start_execution,
    "DescribeExecution": FakeAws._describe_execution,
}
