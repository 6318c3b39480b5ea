"""A stack on AWS: its outputs, its clients, its ledger, and events for its submit_reports."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, NoRegionError

from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.definitions_source import DefinitionsSource
from vonage_reports.aws.ledger import Ledger
from vonage_reports.aws.ssm import DefinitionsParameter
from vonage_reports_cli.errors import Attention, BadInput
from vonage_reports_cli.estimate import Price

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CONNECT_SECONDS = 10
_READ_SECONDS = 60.0
_LONGEST_PASS = 310
"""Seconds. The function's time-out is 300. A client that gives up earlier sends the event again."""

_OF_VONAGE = "https://api.nexmo.com"
_DOMAINS = ("nexmo.com", "vonage.com")

_NEEDED = frozenset({"TableName", "BucketName", "SubmitReportsFunctionName"})


class DeployedStack:
    """A stack of this template. Reads nothing before the first use.

    Raises BadInput for a stack that is absent or of another template, and botocore's errors, which
    `access.explained` turns into sentences.
    """

    def __init__(self, name: str, *, profile: str | None = None, region: str | None = None) -> None:
        self.name = name
        self.session = boto3.Session(profile_name=profile, region_name=region)
        if not self.session.region_name:
            # An empty region would become part of a host name.
            raise NoRegionError
        self.region: str = self.session.region_name

    # boto3's stubs have an overload for each literal name of a service, and none for a variable.
    def client(self, service: Any, *, read_seconds: float = _READ_SECONDS) -> Any:  # noqa: ANN401
        """Return a client of an AWS service."""
        # A long call once, because the SDK would send an event again.
        attempts = 1 if read_seconds > _READ_SECONDS else 5
        return self.session.client(
            service,
            config=Config(
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=read_seconds,
                retries={"mode": "standard", "total_max_attempts": attempts},
            ),
        )

    @cached_property
    def description(self) -> Mapping[str, Any]:
        """The stack as CloudFormation describes it: parameters, outputs, status, tags."""
        try:
            found = self.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "ValidationError":
                raise BadInput(
                    f"there is no stack {self.name!r} in {self.region} of this AWS account; "
                    "--region and --profile choose others"
                ) from error
            raise
        stack: Mapping[str, Any] = found[0]
        return stack

    def forget(self) -> None:
        """Read parameters and outputs again at the next use, because an update changed them."""
        for name in ("description", "outputs", "parameters", "price"):
            self.__dict__.pop(name, None)

    @cached_property
    def outputs(self) -> Mapping[str, str]:
        """The outputs of the template."""
        outputs = {e["OutputKey"]: e["OutputValue"] for e in self.description.get("Outputs", [])}
        if not outputs.keys() >= _NEEDED:
            raise BadInput(f"the stack {self.name!r} is none of this template: it has no ledger")
        return outputs

    @cached_property
    def parameters(self) -> Mapping[str, str]:
        """The values of the template's parameters."""
        return {
            each["ParameterKey"]: each.get("ResolvedValue", each["ParameterValue"])
            for each in self.description.get("Parameters", [])
        }

    def physical_id(self, logical_id: str) -> str:
        """Return the physical id of a resource of the template: a name or an ARN."""
        # Raises BadInput for an absent stack, and for one of another template.
        _ = self.outputs
        found = self.client("cloudformation").describe_stack_resource(
            StackName=self.name, LogicalResourceId=logical_id
        )
        return str(found["StackResourceDetail"]["PhysicalResourceId"])

    @cached_property
    def price(self) -> Price | None:
        """The price of a record, if the operator set PricePerRecord."""
        return Price.parse(self.outputs.get("PricePerRecord", ""))

    @cached_property
    def account(self) -> str:
        """The id of the AWS account, from the stack's ARN."""
        return str(self.description["StackId"]).split(":")[4]

    @cached_property
    def source(self) -> str:
        """The first line of each answer: where it is from, and when it was read."""
        return f"{self.label}, as of {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"

    @property
    def label(self) -> str:
        """Stack, account and region, with a word for simulated records."""
        simulated = "SIMULATED: " if self.is_simulated else ""
        return f"{simulated}stack {self.name}, account {self.account}, {self.region}"

    @property
    def is_simulated(self) -> bool:
        """Whether the stack asks another host than Vonage's, such as the simulator."""
        url = self.parameters.get("VonageBaseUrl", _OF_VONAGE)
        try:
            host = (urlsplit(url).hostname or "").rstrip(".")
        except ValueError:
            # Vonage has no such host.
            return True
        return not any(host == domain or host.endswith(f".{domain}") for domain in _DOMAINS)

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, read with the caller's rights."""
        config = Config(connect_timeout=_CONNECT_SECONDS, retries={"mode": "standard"})
        table = self.session.resource("dynamodb", config=config).Table(self.outputs["TableName"])
        return Ledger(table)

    @cached_property
    def s3(self) -> "S3Client":
        """The client of S3."""
        client: S3Client = self.client("s3")
        return client

    @cached_property
    def bucket(self) -> Bucket:
        """The bucket of archives, dataset, manifests and definitions."""
        return Bucket(self.s3, self.outputs["BucketName"])

    @cached_property
    def definitions(self) -> DefinitionsSource:
        """The report definitions: the bucket's object, or the template's parameter."""
        parameter = DefinitionsParameter(
            self.client("ssm"), self.outputs["DefinitionsParameterName"]
        )
        return DefinitionsSource(self.bucket, parameter)

    def send(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Send an event to submit_reports, once, and return its answer.

        Raises BadInput if submit_reports refuses the event, and Attention if the pass failed.
        """
        answer = self.client("lambda", read_seconds=_LONGEST_PASS).invoke(
            FunctionName=self.outputs["SubmitReportsFunctionName"],
            Payload=json.dumps(event).encode(),
        )
        payload = json.loads(answer["Payload"].read() or b"null")
        if "FunctionError" not in answer:
            result: dict[str, Any] = payload
            return result
        kind = payload.get("errorType", "an error") if isinstance(payload, dict) else "an error"
        said = payload.get("errorMessage", "") if isinstance(payload, dict) else ""
        if kind == "InvalidRequest":
            raise BadInput(said)
        raise Attention(f"submit_reports ended with {kind}: {said}. `logs submit` shows more.")
