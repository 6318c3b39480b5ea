"""AWS in this process: moto keeps what is stored, and every call passes the weather first.

Three services are stand-ins that keep state: DynamoDB (see there), Step Functions, whose executions
are the campaign's, and SNS, of which a topic's messages are all that anybody sees.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any
from unittest.mock import patch

import boto3
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from tests.chaos.dynamodb import ConditionsFailed, Table
from tests.chaos.loop import Loop
from tests.chaos.weather import Weather
from tests.integration.conftest import answer_of_aws, as_moto_takes_it, refusal_of_aws

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

    @property
    def arn(self) -> str:
        return f"{MACHINE.replace(':stateMachine:', ':execution:')}:{self.name}"


@cache
def _session() -> boto3.Session:
    return boto3.Session(region_name=REGION)


@dataclass
class Amazon:
    """What the account holds, and how its calls go."""

    loop: Loop
    weather: Weather
    latency: Callable[[], float]
    start: Callable[[Execution], None]
    trace: Callable[[str], None]
    messages: list[dict[str, Any]] = field(default_factory=list)
    executions: dict[str, Execution] = field(default_factory=dict)
    writes: int = 0
    table: Table = field(default_factory=Table)

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Let every client that is made meanwhile pass the weather."""
        session = _session()
        # boto3 offers no way to have one session, whose models are read once, for many runs.
        with patch.object(boto3, "DEFAULT_SESSION", session):
            session.events.register("before-call", self._before)
            session.events.register("after-call", self._after)
            try:
                yield
            finally:
                session.events.unregister("before-call", self._before)
                session.events.unregister("after-call", self._after)

    def fill(self, definitions: list[dict[str, Any]], secret: Mapping[str, str]) -> None:
        """Make what the template makes."""
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        boto3.client("secretsmanager").create_secret(Name=SECRET, SecretString=json.dumps(secret))
        boto3.client("ssm").put_parameter(
            Name=PARAMETER, Value=json.dumps(definitions), Type="String"
        )
        glue = boto3.client("glue")
        glue.create_database(DatabaseInput={"Name": DATABASE})
        for product in sorted({each["product"] for each in definitions}):
            name = product.lower().replace("-", "_")
            glue.create_table(DatabaseName=DATABASE, TableInput={"Name": name})

    def publish(self, message: str, attributes: Mapping[str, Any]) -> None:
        """Keep what the topic's subscribers get."""
        assert attributes["event"]["StringValue"]
        self.messages.append(json.loads(message))

    def _before(
        self, model: Any, params: dict[str, Any], context: dict[str, Any], **_: Any
    ) -> Any:
        service = model.service_model.service_id.hyphenize()
        as_moto_takes_it(params)
        invocation = self.loop.current
        if invocation is None:
            # The campaign looks at its own world.
            return self._stood_in_for(service, model.name, params)
        invocation.spend(self.latency())
        how = self.weather.over_aws(service, model.name, self.loop.now)
        self.trace(f"{invocation.number} {service} {model.name} {how or ''}")
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
        if model.name.startswith(("Transact", "Delete")):
            self.writes += 1
        return self._stood_in_for(service, model.name, params)

    def _after(self, context: dict[str, Any], **_: Any) -> None:
        if context.get("lost") and self.loop.current is not None:
            self.loop.current.spend(60)
            raise ReadTimeoutError(endpoint_url="https://aws")

    def _stood_in_for(self, service: str, operation: str, params: dict[str, Any]) -> Any:
        if service == "dynamodb":
            try:
                return answer_of_aws(200, self.table.answer(operation, json.loads(params["body"])))
            except ConditionsFailed as failed:
                name = "TransactionCanceledException"
                return refusal_of_aws(400, name, CancellationReasons=failed.reasons)
        if service == "sfn":
            return self._executions(operation, json.loads(params["body"]))
        if service == "sns":
            body = params["body"]
            assert body["TopicArn"] == TOPIC
            names = [value for name, value in body.items() if name.endswith(".Name")]
            assert "event" in names
            self.messages.append(json.loads(body["Message"]))
            return answer_of_aws(200, {"MessageId": str(len(self.messages))})
        return None

    def _executions(self, operation: str, asked: dict[str, Any]) -> Any:
        if operation == "StartExecution":
            known = self.executions.get(asked["name"])
            if known is None:
                execution = Execution(asked["name"], asked["input"], self.loop.now)
                self.executions[execution.name] = execution
                self.start(execution)
            elif known.status != "RUNNING" or known.input != asked["input"]:
                return refusal_of_aws(400, "ExecutionAlreadyExists")
            return answer_of_aws(200, {"executionArn": "", "startDate": self.loop.now})
        found = self.executions.get(asked["executionArn"].rpartition(":")[2])
        if found is None:
            return refusal_of_aws(400, "ExecutionDoesNotExist")
        said = {
            "executionArn": found.arn, "status": found.status, "output": found.output,
            "error": found.error, "cause": found.cause,
        }  # fmt: skip
        return answer_of_aws(200, {name: each for name, each in said.items() if each is not None})
