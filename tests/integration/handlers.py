"""The handlers as Lambda calls them, in this process, with AWS in moto and the simulator."""

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.integration.stack import Stack

FUNCTIONS = Path(__file__).parents[2] / "functions"
DEFINITIONS_PARAMETER = "/definitions"
DATABASE = "usage"


@dataclass
class Context:
    """What Lambda gives a handler beside the event."""

    aws_request_id: str
    function_name: str = "function"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:function"

    def get_remaining_time_in_millis(self) -> int:
        return 300_000


@dataclass
class Handler:
    """Invokes one handler; `define` is what the operator does to the parameter."""

    invoke: Callable[[dict[str, Any], Context], dict[str, Any]]
    requests: "count[int]" = field(default_factory=count)

    def __call__(self, event: dict[str, Any], request_id: str | None = None) -> dict[str, Any]:
        return self.invoke(event, Context(request_id or f"request-{next(self.requests)}"))

    def define(self, *definitions: dict[str, Any], text: str | None = None) -> None:
        value = json.dumps(definitions) if text is None else text
        boto3.client("ssm").put_parameter(
            Name=DEFINITIONS_PARAMETER, Value=value, Type="String", Overwrite=True
        )


class Handlers:
    """The handlers of one stack, warm from their first invocation on, and what they are told."""

    def __init__(self, stack: Stack, monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
        machine = boto3.client("stepfunctions").create_state_machine(
            name="report-workflow",
            definition='{"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}',
            roleArn="arn:aws:iam::123456789012:role/workflow",
        )
        self.secret_arn: str = boto3.client("secretsmanager").create_secret(Name="vonage")["ARN"]
        self.api_key = stack.simulator.api_key
        self.put_secret(stack.simulator.api_secret)
        self.environment = {
            "VONAGE_BASE_URL": stack.simulator.url,
            "VONAGE_SECRET_ARN": self.secret_arn,
            "TABLE_NAME": "ledger",
            "BUCKET_NAME": "reports",
            "TOPIC_ARN": boto3.client("sns").list_topics()["Topics"][0]["TopicArn"],
            "STATE_MACHINE_ARN": machine["stateMachineArn"],
            "DEFINITIONS_PARAMETER": DEFINITIONS_PARAMETER,
            "DATABASE_NAME": DATABASE,
            "MAX_BILLED_RECORDS": "10000",
            "REQUEST_INTERVAL": "0",
            **settings,
        }
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        self.start_cold()

    def start_cold(self) -> None:
        """Forget what warm functions keep: credentials, connections, what they read before."""
        self.submit_reports = self.cold("submit_reports")
        self.check_report = self.cold("check_report")
        self.store_report = self.cold("store_report")

    def put_secret(self, api_secret: str) -> None:
        """Put a pair into the secret, as a person does it."""
        pair = {"api_key": self.api_key, "api_secret": api_secret}
        boto3.client("secretsmanager").put_secret_value(
            SecretId=self.secret_arn, SecretString=json.dumps(pair)
        )

    @staticmethod
    def cold(name: str) -> Handler:
        """Load a function as a cold start does: nothing is kept of another one's."""
        spec = importlib.util.spec_from_file_location(f"{name}_app", FUNCTIONS / name / "app.py")
        assert spec is not None
        assert spec.loader is not None
        app = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(app)
        return Handler(app.lambda_handler)
