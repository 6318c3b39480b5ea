"""The permissions that the functions used at AWS, beside those that their roles allow."""

import json
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.stack.emulator import ROOT
from local.stack.template import read_template

if TYPE_CHECKING:
    from local.stack.deployment import Stack
    from local.stack.emulator import Emulator

RECORDER = Path(__file__).parent / "recorder"

_FUNCTIONS = tuple(
    name
    for name, resource in read_template(ROOT / "template.yaml")["Resources"].items()
    if resource["Type"] == "AWS::Serverless::Function"
)

_S3_OBJECT = {
    "GetObject": "GetObject",
    "HeadObject": "GetObject",
    "PutObject": "PutObject",
    # The source has to be read too. The archive's proof has read it before.
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "AbortMultipartUpload": "AbortMultipartUpload",
}
_MAY_BE_MISSING = frozenset({"GetObject", "HeadObject"})

# IAM authorizes a transaction by the actions of its parts, a batch by its own action.
_PARTS = {
    "BatchGetItem": "BatchGetItem",
    "Get": "GetItem",
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}

_NAMED_BY_ARN = {
    "secretsmanager:GetSecretValue": ("secretsmanager:GetSecretValue", "SecretId"),
    "sns:Publish": ("sns:Publish", "TopicArn"),
    "stepfunctions:StartExecution": ("states:StartExecution", "stateMachineArn"),
    "stepfunctions:DescribeExecution": ("states:DescribeExecution", "executionArn"),
}

_WITHOUT_RESOURCE = {"stepfunctions:SendTaskSuccess": "states:SendTaskSuccess"}
"""Actions that support no resource-level permissions."""


@dataclass(frozen=True, order=True)
class Permission:
    """One action of a function on one resource; a policy's resource may have wildcards."""

    function: str
    action: str
    resource: str

    def covers(self, other: "Permission") -> bool:
        """Return whether this permission of a policy allows the other one."""
        return (self.function, self.action) == (other.function, other.action) and fnmatchcase(
            other.resource, self.resource
        )


def needed(call: Mapping[str, Any], *, function: str, scope: str) -> Iterator[Permission]:
    """Yield the permissions that IAM requires for a recorded call; `scope` is `<region>:<account>`.

    Source: the service authorization reference of AWS. An unknown operation raises KeyError: look
    it up there.
    """
    service, _, operation = call["call"].partition(":")
    named = call["named"]
    if service == "s3":
        bucket = f"arn:aws:s3:::{named['Bucket']}"
        yield Permission(function, f"s3:{_S3_OBJECT[operation]}", f"{bucket}/{named['Key']}")
        if operation in _MAY_BE_MISSING:
            # Without it S3 answers 403 for a missing object.
            yield Permission(function, "s3:ListBucket", bucket)
    elif service == "dynamodb":
        table = f"arn:aws:dynamodb:{scope}:table"
        for item in call["items"]:
            action = f"dynamodb:{_PARTS[item['kind']]}"
            yield Permission(function, action, f"{table}/{item['TableName']}")
        if not call["items"]:
            yield Permission(function, f"dynamodb:{operation}", f"{table}/{named['TableName']}")
    elif service == "glue":
        database, name = named["DatabaseName"], named["TableName"]
        for resource in ("catalog", f"database/{database}", f"table/{database}/{name}"):
            yield Permission(function, f"glue:{operation}", f"arn:aws:glue:{scope}:{resource}")
    elif service == "ssm":
        parameter = f"arn:aws:ssm:{scope}:parameter{named['Name']}"
        yield Permission(function, f"ssm:{operation}", parameter)
    elif call["call"] in _WITHOUT_RESOURCE:
        yield Permission(function, _WITHOUT_RESOURCE[call["call"]], "*")
    else:
        action, name = _NAMED_BY_ARN[call["call"]]
        yield Permission(function, action, named[name])


def used(stack: "Stack", calls_file: Path) -> set[Permission]:
    """Read the permissions that the functions of a stack have needed so far."""
    function_of = {stack.physical_id(name): name for name in _functions(stack)}
    scope = ":".join(stack.outputs["TopicArn"].split(":")[3:5])
    lines = set(calls_file.read_text().splitlines()) if calls_file.exists() else set()
    return {
        permission
        for call in map(json.loads, lines)
        for permission in needed(call, function=function_of[call["function"]], scope=scope)
    }


def _functions(stack: "Stack") -> list[str]:
    """Return the functions of the template that the stack has: some depend on a setting."""
    return [name for name in _FUNCTIONS if stack.has(name)]


def allowed(stack: "Stack", emulator: "Emulator") -> set[Permission]:
    """Read the permissions that the roles of a stack's functions allow, intrinsics resolved.

    Skips the managed policies that SAM attaches: the template narrows one of them, and the other
    (X-Ray) supports no resource-level permissions.
    """
    iam, functions = emulator.client("iam"), emulator.client("lambda")
    found = set()
    for function in _functions(stack):
        configuration = functions.get_function_configuration(
            FunctionName=stack.physical_id(function)
        )
        role = configuration["Role"].rpartition("/")[2]
        for document in _documents(iam, role):
            found |= set(_permissions(function, document))
    return found


def _documents(iam: Any, role: str) -> Iterator[Mapping[str, Any]]:
    """Yield the policies of a role: the inline ones and the stack's own managed ones."""
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        yield iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    for policy in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        arn = policy["PolicyArn"]
        if not arn.startswith("arn:aws:iam::aws:"):
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            found = iam.get_policy_version(PolicyArn=arn, VersionId=version)
            yield found["PolicyVersion"]["Document"]


def _permissions(function: str, document: Mapping[str, Any]) -> Iterator[Permission]:
    for statement in document["Statement"]:
        if statement["Effect"] == "Allow":
            for action in _many(statement["Action"]):
                for resource in _many(statement["Resource"]):
                    yield Permission(function, action, resource)


def _many(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def beyond(use: Iterable[Permission], policies: AbstractSet[Permission]) -> list[Permission]:
    """Return the used permissions that no policy allows."""
    return sorted(each for each in use if not any(policy.covers(each) for policy in policies))


def idle(use: AbstractSet[Permission], policies: Iterable[Permission]) -> list[Permission]:
    """Return the allowed permissions that no function used."""
    return sorted(policy for policy in policies if not any(policy.covers(each) for each in use))
