"""AWS in this process: fakes that keep state. Every call passes the fault plan first.

The fakes take botocore's requests just before they are sent, and return parsed answers. moto would
take most of a seed's time. test_fakes.py compares the fakes of DynamoDB and S3 with moto.
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

from tests.chaos import callbacks
from tests.chaos.dynamodb import ConditionsFailed, Table
from tests.chaos.fault_plan import FaultPlan, LedgerFaults
from tests.chaos.s3 import Objects, Refused
from tests.chaos.virtual_time import Invocation, VirtualTime
from tests.integration.conftest import answer_of_aws, refusal_of_aws
from vonage_reports.aws.definitions_source import replacing_metadata
from vonage_reports.aws.glue import READ_SECONDS
from vonage_reports.domain.objects import DEFINITIONS_KEY

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
    """A run of the workflow, as Step Functions describes it."""

    name: str
    input: str
    started: datetime
    status: str = "RUNNING"
    output: str | None = None
    error: str | None = None
    cause: str | None = None


@cache
def _session() -> boto3.Session:
    """Return one session for all runs, which reads the services' models once."""
    return boto3.Session("testing", "testing", region_name=REGION)


@dataclass
class FakeAws:
    """The contents of the account, and the faults of its calls."""

    virtual_time: VirtualTime
    fault_plan: FaultPlan
    latency: Callable[[], float]
    start: Callable[[Execution], None]
    trace: Callable[[str], None]
    ledger_faults: LedgerFaults
    secret: str = ""
    definitions: str = ""
    table: Table = field(default_factory=Table)
    objects: Objects = field(default_factory=Objects)
    partitions: set[tuple[str, ...]] = field(default_factory=set)
    messages: list[dict[str, Any]] = field(default_factory=list)
    executions: dict[str, Execution] = field(default_factory=dict)
    waiting: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The items of the runs that wait for a callback, by the SHA-256 of its path."""
    tasks: dict[str, tuple[Execution, Callable[[], None]]] = field(default_factory=dict)
    """The tasks that wait for their token: the run, and the function that ends the wait."""
    sent_at: list[datetime] = field(default_factory=list)
    """When each of `messages` was sent."""
    defined_at: datetime = field(init=False)
    """When the definitions were last written."""
    definitions_read: dict[int, str] = field(default_factory=dict)
    """The definitions that an invocation read last, by its number."""
    writes: int = 0
    """Calls that may have changed the ledger."""
    period_written: Callable[[str], None] | None = None
    """Called with the key of an object of a complete period, once it is written."""
    refused_aborts: int = 0
    """Uploads that S3 refused to abort."""

    def __post_init__(self) -> None:
        self.defined_at = self.virtual_time.now

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Connect every client that is created within the `with` block to this account."""
        session = _session()
        # A client copies its session's handlers when it is created.
        with patch.object(boto3, "DEFAULT_SESSION", session):
            session.events.register("before-call", self._before)
            session.events.register("after-call", self._after)
            try:
                yield
            finally:
                session.events.unregister("before-call", self._before)
                session.events.unregister("after-call", self._after)

    def publish(self, message: str, attributes: dict[str, Any]) -> None:
        """Publish a message of the workflow to the topic's subscribers."""
        body = json.loads(json.loads(message)["default"])
        assert attributes["event"]["StringValue"] == body["event"]
        self._deliver(body)

    def define(self, text: str) -> None:
        """Write the object of the definitions."""
        self.definitions, self.defined_at = text, self.virtual_time.now
        self.objects.add(DEFINITIONS_KEY, text.encode(), replacing_metadata())

    def _deliver(self, body: dict[str, Any]) -> None:
        self.messages.append(body)
        self.sent_at.append(self.virtual_time.now)

    def _before(self, model: Any, params: dict[str, Any], context: dict[str, Any], **_: Any) -> Any:
        service = model.service_model.service_id.hyphenize()
        invocation = self.virtual_time.current
        if invocation is not None and invocation.is_here():
            refusal = self._with_fault(service, model.name, params, context, invocation)
            if refusal is not None:
                return refusal
        elif invocation is not None:
            # Threads of the invocation upload the parts. They take no turns and have no order.
            how = self.fault_plan.over_part(
                f"{model.name} {params['query_string']}", self.virtual_time.now
            )
            if how in _REFUSALS_OF_S3:
                return refusal_of_aws(*_REFUSALS_OF_S3[how])
        return self._answer(service, model.name, params)

    def _with_fault(
        self,
        service: str,
        operation: str,
        params: dict[str, Any],
        context: dict[str, Any],
        invocation: Invocation,
    ) -> Any:
        invocation.spend(self.latency())
        how = self.fault_plan.over_aws(service, operation, self.virtual_time.now)
        self.trace(f"{invocation.number} {service} {operation} {how or ''}")
        self.refused_aborts += operation == "AbortMultipartUpload" and how in _NOT_DONE
        refusals = _REFUSALS_OF_S3 if service == "s3" else _REFUSALS
        if how in refusals:
            return refusal_of_aws(*refusals[how])
        if service == "dynamodb" and how in (None, "conflict"):
            refusal = self._refusal_of_ledger(operation, json.loads(params["body"]), how)
            if refusal is not None:
                self.trace(f"{invocation.number} {refusal[1]['Error']['Code']}")
                return refusal
        if how == "unreachable":
            raise EndpointConnectionError(endpoint_url="https://aws")
        # Glue's client waits for less time than the others.
        patience = READ_SECONDS if service == "glue" else 60
        if how == "slow":
            invocation.spend(min(40, patience))
        context["lost"] = patience if how == "lost" else 0
        return None

    def _refusal_of_ledger(
        self, operation: str, request: dict[str, Any], how: str | None
    ) -> Any | None:
        if request.get("TableName") == callbacks.TABLE:
            return None
        partitions = _partitions(request)
        if how == "conflict":
            # One item of the transaction, as DynamoDB reports it.
            codes = [*["None"] * (len(partitions) - 1), "TransactionConflict"]
        else:
            found = self.ledger_faults.over(operation, partitions, self.virtual_time.now)
            if found is None:
                return None
            codes = found
        if not operation.startswith("Transact"):
            return refusal_of_aws(400, "ProvisionedThroughputExceededException")
        reasons = [{"Code": code} for code in codes]
        return refusal_of_aws(400, "TransactionCanceledException", CancellationReasons=reasons)

    def _after(self, context: dict[str, Any], **_: Any) -> None:
        if context.get("lost") and self.virtual_time.current is not None:
            self.definitions_read.pop(self.virtual_time.current.number, None)
            self.virtual_time.current.spend(context["lost"])
            raise ReadTimeoutError(endpoint_url="https://aws")

    def _answer(self, service: str, operation: str, params: dict[str, Any]) -> Any:
        try:
            if service == "s3":
                return answer_of_aws(200, self._of_s3(operation, params))
            if service == "sns":
                return answer_of_aws(200, self._published(params["body"]))
            request = json.loads(params["body"])
            if service == "dynamodb":
                return answer_of_aws(200, self._of_dynamodb(operation, request))
            return answer_of_aws(200, _OPERATIONS[operation](self, request))
        except Refused as refused:
            return refusal_of_aws(refused.status, refused.code)
        except ConditionsFailed as failed:
            name = "TransactionCanceledException"
            return refusal_of_aws(400, name, CancellationReasons=failed.reasons)

    def _of_dynamodb(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("TableName") != callbacks.TABLE:
            self.writes += operation in ("TransactWriteItems", "DeleteItem")
            return self.table.answer(operation, request)
        callback = request["Key"]["callback"]["S"]
        if operation == "DeleteItem":
            self.waiting.pop(callback, None)
            return {}
        assert operation == "GetItem"
        return {"Item": self.waiting[callback]} if callback in self.waiting else {}

    def _send_task_success(self, request: dict[str, Any]) -> dict[str, Any]:
        execution, ends = self.tasks.pop(request["taskToken"], (None, None))
        if execution is None or ends is None or execution.status != "RUNNING":
            raise Refused(400, "TaskTimedOut")
        self.virtual_time.after(0.05, ends)
        return {}

    def _published(self, request: dict[str, Any]) -> dict[str, Any]:
        assert request["TopicArn"] == TOPIC
        assert "event" in [value for name, value in request.items() if name.endswith(".Name")]
        self._deliver(json.loads(json.loads(request["Message"])["default"]))
        return {"MessageId": str(len(self.messages))}

    def _secret_value(self, request: dict[str, Any]) -> dict[str, Any]:
        assert request["SecretId"] == SECRET
        return {"SecretString": self.secret}

    def _of_s3(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        answer = self.objects.answer(operation, params)
        key = params["url_path"].partition("?")[0].lstrip("/")
        if operation == "PutObject" and key.startswith("periods/") and self.period_written:
            self.period_written(key)
        if operation == "GetObject" and params["url_path"].endswith(DEFINITIONS_KEY):
            answer["LastModified"] = self.defined_at
            if self.virtual_time.current is not None:
                self.definitions_read[self.virtual_time.current.number] = self.definitions
        return answer

    def _create_partition(self, request: dict[str, Any]) -> dict[str, Any]:
        partition = (request["TableName"], *request["PartitionInput"]["Values"])
        if partition in self.partitions:
            raise Refused(400, "AlreadyExistsException")
        self.partitions.add(partition)
        return {}

    def _start_execution(self, request: dict[str, Any]) -> dict[str, Any]:
        known = self.executions.get(request["name"])
        if known is None:
            execution = Execution(request["name"], request["input"], self.virtual_time.now)
            self.executions[execution.name] = execution
            self.start(execution)
        elif known.status != "RUNNING" or known.input != request["input"]:
            raise Refused(400, "ExecutionAlreadyExists")
        return {"startDate": self.virtual_time.now}

    def _describe_execution(self, request: dict[str, Any]) -> dict[str, Any]:
        found = self.executions.get(request["executionArn"].rpartition(":")[2])
        if found is None:
            raise Refused(400, "ExecutionDoesNotExist")
        fields = {"output": found.output, "error": found.error, "cause": found.cause}
        return {
            "status": found.status,
            **{name: value for name, value in fields.items() if value is not None},
        }


def _partitions(request: dict[str, Any]) -> list[str]:
    """Return the partition of each item that a request to DynamoDB reads or writes."""
    if "TransactItems" in request:
        items = [next(iter(each.values())) for each in request["TransactItems"]]
        return [(each.get("Item") or each["Key"])["pk"]["S"] for each in items]
    if "Key" in request:
        return [request["Key"]["pk"]["S"]]
    if "RequestItems" in request:
        return [key["pk"]["S"] for each in request["RequestItems"].values() for key in each["Keys"]]
    texts = [value["S"] for value in request["ExpressionAttributeValues"].values()]
    return texts[:1]


_OPERATIONS: dict[str, Callable[[FakeAws, dict[str, Any]], dict[str, Any]]] = {
    "GetSecretValue": FakeAws._secret_value,
    "CreatePartition": FakeAws._create_partition,
    "StartExecution": FakeAws._start_execution,
    "DescribeExecution": FakeAws._describe_execution,
    "SendTaskSuccess": FakeAws._send_task_success,
}
