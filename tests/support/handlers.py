"""The functions' handlers in process, with AWS in moto and the simulator as Vonage."""

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import boto3
import pytest

from tests.support.alarms import STACK
from tests.support.catalogue import DATABASE
from tests.support.paths import ROOT
from tests.support.stack import Stack
from vonage_reports.aws.definitions_source import replacing_metadata
from vonage_reports.domain.objects import DEFINITIONS_KEY

FUNCTIONS = ROOT / "functions"

Invoke = Callable[[dict[str, Any], "Context"], dict[str, Any]]


@dataclass
class Context:
    """Lambda's context of an invocation."""

    aws_request_id: str
    function_name: str = "submit_reports"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:submit_reports"

    def get_remaining_time_in_millis(self) -> int:
        return 300_000


@dataclass
class Handler:
    """Invokes the handler; `define` writes the object of the report definitions."""

    invoke: Invoke
    requests: "count[int]" = field(default_factory=count)

    def __call__(self, event: dict[str, Any], request_id: str | None = None) -> dict[str, Any]:
        return self.invoke(event, Context(request_id or f"request-{next(self.requests)}"))

    def define(
        self, *definitions: dict[str, Any], text: str | bytes | None = None, replaces: bool = True
    ) -> None:
        boto3.client("s3").put_object(
            Bucket="reports",
            Key=DEFINITIONS_KEY,
            Body=json.dumps(definitions) if text is None else text,
            Metadata=replacing_metadata() if replaces else {},
        )


def set_secret(api_key: str, api_secret: str) -> None:
    """Save the credentials of the functions."""
    value = json.dumps({"api_key": api_key, "api_secret": api_secret})
    boto3.client("secretsmanager").put_secret_value(SecretId="vonage", SecretString=value)


def set_environment(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment variables that the template sets."""
    machine = boto3.client("stepfunctions").create_state_machine(
        name="report-workflow",
        definition='{"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}',
        roleArn="arn:aws:iam::123456789012:role/workflow",
    )
    secret = boto3.client("secretsmanager").create_secret(Name="vonage")
    set_secret(stack.simulator.api_key, stack.simulator.api_secret)
    environment = {
        "VONAGE_BASE_URL": stack.simulator.url,
        "VONAGE_SECRET_ARN": secret["ARN"],
        "TABLE_NAME": "ledger",
        "BUCKET_NAME": "reports",
        "TOPIC_ARN": boto3.client("sns").list_topics()["Topics"][0]["TopicArn"],
        "STATE_MACHINE_ARN": machine["stateMachineArn"],
        "DEFINITIONS_PARAMETER": "/definitions",
        "MAX_BILLED_RECORDS": "10000",
        "REQUEST_INTERVAL": "0",
        "STACK_NAME": STACK,
        "DATABASE_NAME": DATABASE,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def load_handler(function: str) -> Invoke:
    """Load a handler as a cold start does, with caches of its own."""
    path = FUNCTIONS / function / "app.py"
    spec = importlib.util.spec_from_file_location(f"{function}_app", path)
    assert spec is not None
    assert spec.loader is not None
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    invoke: Invoke = app.lambda_handler
    return invoke
