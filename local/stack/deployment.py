"""Deploy template.yaml to the emulator, and use the deployed stack."""

import json
import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from local.stack.emulator import ROOT, Emulator
from local.stack.environment import REGION
from local.stack.package import Package
from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.definitions_source import DefinitionsSource, replacing_metadata
from vonage_reports.aws.ssm import DefinitionsParameter
from vonage_reports.domain.objects import DEFINITIONS_KEY

STACK_NAME = "vonage-usage-reports-local"
_ARTIFACTS = "deployment-artifacts"
_TEMPLATE = "template.json"
_POLL_SECONDS = 0.05
_DEPLOYMENT_SECONDS = 120


class DeploymentFailed(RuntimeError):
    """CloudFormation refused the template. The message holds the reasons from the events."""


class InvocationFailed(RuntimeError):
    """A function raised an error. `kind` is the name of the error's class."""

    def __init__(self, payload: Mapping[str, Any]) -> None:
        self.kind = str(payload.get("errorType", ""))
        # Errors for the operator are sentences. Any other error is shown in full.
        is_sentence = self.kind in ("InvalidRequest", "ResourceUnusable")
        super().__init__(payload["errorMessage"] if is_sentence else json.dumps(payload, indent=2))


class Stack:
    """The deployed stack: its outputs by name, and the operations that `make run` needs."""

    def __init__(self, emulator: Emulator, name: str) -> None:
        self._emulator = emulator
        self.name = name
        cloudformation = emulator.client("cloudformation")
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        self.outputs: dict[str, str] = {
            output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]
        }
        resources = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
        self._resources: list[dict[str, str]] = resources

    def submit(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Invoke SubmitReportsFunction, and return its answer. Raises InvocationFailed."""
        response = self._emulator.client("lambda").invoke(
            FunctionName=self.outputs["SubmitReportsFunctionName"],
            Payload=json.dumps(event).encode(),
        )
        answer: dict[str, Any] = json.loads(response["Payload"].read())
        if "FunctionError" in response:
            raise InvocationFailed(answer)
        return answer

    def schedule_event(self, logical_id: str, *, scheduled_time: str = "") -> dict[str, Any]:
        """Return the event that EventBridge Scheduler would send for a schedule."""
        text = self._schedule(logical_id)["Target"]["Input"]
        event = json.loads(text.replace("<aws.scheduler.scheduled-time>", scheduled_time))
        assert isinstance(event, dict)
        return event

    def has(self, logical_id: str) -> bool:
        """Whether the stack has a resource, which may depend on a parameter."""
        return any(each["LogicalResourceId"] == logical_id for each in self._resources)

    def physical_id(self, logical_id: str) -> str:
        """Return the physical id of a resource: a name or an ARN."""
        return next(
            resource["PhysicalResourceId"]
            for resource in self._resources
            if resource["LogicalResourceId"] == logical_id
        )

    def logs(self) -> dict[str, list[str]]:
        """Return the log lines of the functions by log group."""
        client = self._emulator.client("logs")
        groups = [
            resource["PhysicalResourceId"]
            for resource in self._resources
            if resource["ResourceType"] == "AWS::Logs::LogGroup"
        ]
        return {
            group: [
                event["message"]
                for page in client.get_paginator("filter_log_events").paginate(logGroupName=group)
                for event in page["events"]
            ]
            for group in groups
        }

    def subscribe_queue(self, name: str) -> str:
        """Create an SQS queue, subscribe it to the topic, and return its URL."""
        topic = self.outputs["TopicArn"]
        sqs = self._emulator.client("sqs")
        url: str = sqs.create_queue(QueueName=name)["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        arn = attributes["Attributes"]["QueueArn"]
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
        self._emulator.client("sns").subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=arn,
            Attributes={"RawMessageDelivery": "true"},
        )
        return url

    def set_credentials(self, api_key: str, api_secret: str) -> None:
        """Write the Vonage credentials into the template's secret."""
        self._emulator.client("secretsmanager").put_secret_value(
            SecretId=self.outputs["SecretArn"],
            SecretString=json.dumps({"api_key": api_key, "api_secret": api_secret}),
        )

    def set_definitions(self, definitions: str) -> None:
        """Replace the report definitions without a deployment, as the operator does on AWS."""
        self._emulator.client("s3").put_object(
            Bucket=self.outputs["BucketName"],
            Key=DEFINITIONS_KEY,
            Body=definitions.encode(),
            Metadata=replacing_metadata(),
        )

    def definitions(self) -> str:
        """Return the current report definitions as JSON."""
        return (
            DefinitionsSource(
                Bucket(self._emulator.client("s3"), self.outputs["BucketName"]),
                DefinitionsParameter(
                    self._emulator.client("ssm"), self.outputs["DefinitionsParameterName"]
                ),
            )
            .read()
            .text
        )

    def ledger_items(self) -> list[dict[str, Any]]:
        """Return every item of the ledger, as returned by boto3's DynamoDB client."""
        scan = self._emulator.client("dynamodb").get_paginator("scan")
        pages = scan.paginate(TableName=self.outputs["TableName"], ConsistentRead=True)
        return [item for page in pages for item in page["Items"]]

    def stop_schedules(self) -> None:
        """Disable every schedule, because the caller sends the events itself."""
        for resource in self._resources:
            if resource["ResourceType"] == "AWS::Scheduler::Schedule":
                self.set_schedule(resource["LogicalResourceId"], "DISABLED")

    def set_schedule(self, logical_id: str, state: str) -> None:
        """Set the state of a schedule, beside CloudFormation."""
        scheduler = self._emulator.client("scheduler")
        schedule = self._schedule(logical_id)
        settable = scheduler.meta.service_model.operation_model("UpdateSchedule").input_shape
        same = {name: schedule[name] for name in settable.members if name in schedule}
        scheduler.update_schedule(**{**same, "State": state})

    def state_of_schedule(self, logical_id: str) -> str:
        """Return the state of a schedule, as EventBridge Scheduler has it."""
        return str(self._schedule(logical_id)["State"])

    def _schedule(self, logical_id: str) -> Mapping[str, Any]:
        schedule: Mapping[str, Any] = self._emulator.client("scheduler").get_schedule(
            Name=self.physical_id(logical_id), GroupName=self.physical_id("ScheduleGroup")
        )
        return schedule


LOCAL_PACE = 0.3
"""Seconds between requests. With AWS's interval, a slow machine could send six in one second."""


def deploy(
    emulator: Emulator,
    folder: Path,
    *,
    vonage_base_url: str,
    wait_scale: float,
    request_interval: float = LOCAL_PACE,
    root: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    parameters: Mapping[str, str] | None = None,
    name: str = STACK_NAME,
) -> Stack:
    """Deploy the template of `root`, or update the stack `name` if it exists.

    `folder` gets the file that paces the requests of all functions. `environment` adds variables to
    every function, and `parameters` sets parameters of the template. `request_interval` is the time
    between two requests, in seconds. The secret of a new stack is empty, and all schedules are
    disabled.

    Raises DeploymentFailed.
    """
    package = Package(
        root,
        bucket=_ARTIFACTS,
        environment={
            "AWS_ENDPOINT_URL": emulator.url,
            "AWS_CA_BUNDLE": str(emulator.ca_bundle),
            "WAIT_SCALE": str(wait_scale),
            # All functions share one pace. With separate paces, the scaled waits would send Vonage
            # more requests per second than on AWS, where polls are 20 s apart.
            "PACING_FILE": str(folder / "pace"),
            "REQUEST_INTERVAL": str(request_interval),
            **(environment or {}),
        },
    )
    s3 = emulator.client("s3")
    with suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(
            Bucket=_ARTIFACTS, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
    for key, content in package.artifacts.items():
        s3.put_object(Bucket=_ARTIFACTS, Key=key, Body=content)
    values = {
        "VonageBaseUrl": vonage_base_url,
        "Architecture": _architecture(),
        # No window may count as overdue, even if the scheduled time lies far in the past.
        "OverdueHours": "1000000",
        **(parameters or {}),
    }
    s3.put_object(Bucket=_ARTIFACTS, Key=_TEMPLATE, Body=json.dumps(package.template))
    _create_or_update(emulator, name, values)
    stack = Stack(emulator, name)
    stack.stop_schedules()
    return stack


def _architecture() -> str:
    return "arm64" if platform.machine().lower() in ("arm64", "aarch64") else "x86_64"


def _create_or_update(emulator: Emulator, name: str, parameters: Mapping[str, str]) -> None:
    cloudformation = emulator.client("cloudformation")
    found = _statuses(cloudformation)
    verb = "UPDATE" if name in found else "CREATE"
    send = cloudformation.update_stack if name in found else cloudformation.create_stack
    try:
        send(
            StackName=name,
            # As in `sam deploy`: a template above 51,200 bytes must come from S3.
            TemplateURL=f"{emulator.url}/{_ARTIFACTS}/{_TEMPLATE}",
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
        )
    except ClientError as error:
        raise DeploymentFailed(f"CloudFormation refused template.yaml: {error}") from error
    deadline = time.monotonic() + _DEPLOYMENT_SECONDS
    status = f"{verb}_IN_PROGRESS"
    while status.endswith("_IN_PROGRESS") and time.monotonic() < deadline:
        # CloudFormation sends no notification, so poll.
        time.sleep(_POLL_SECONDS)
        status = _statuses(cloudformation)[name]
    if status != f"{verb}_COMPLETE":
        events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
        reasons = [
            f"  {event['LogicalResourceId']}: {event['ResourceStatusReason']}"
            for event in reversed(events)
            if "FAILED" in event["ResourceStatus"] and event.get("ResourceStatusReason")
        ]
        raise DeploymentFailed("\n".join([f"the deployment ended in {status}", *reasons]))


def _statuses(cloudformation: Any) -> dict[str, str]:  # noqa: ANN401 - boto3's clients have no static type
    return {
        stack["StackName"]: stack["StackStatus"]
        for stack in cloudformation.describe_stacks()["Stacks"]
    }
