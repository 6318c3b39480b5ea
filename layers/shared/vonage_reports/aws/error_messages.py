"""Explains AWS's errors: names the resource, its setting, and the command that restores it.

botocore's errors name an operation and sometimes a resource, but never the setting.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from vonage_reports.domain.errors import ResourceUnusable


@dataclass(frozen=True)
class Resource:
    """A resource of the stack, named by an environment variable of a function.

    Attributes:
        logical_id: The resource's name in the template.
        operations: The AWS operations that the functions call on the resource.
        if_missing: The command that restores the resource. `{name}` stands for its name or ARN,
            and `{last}` for the last part of the ARN.
        if_forbidden: The place of the permission that is missing.
    """

    variable: str
    kind: str
    logical_id: str
    operations: frozenset[str]
    if_missing: str
    if_forbidden: str


def _resource(
    variable: str,
    kind: str,
    logical_id: str,
    operations: str,
    if_missing: str,
    *,
    if_forbidden: str = ("Allow the access in the function's role and in the resource's policy"),
) -> Resource:
    names = frozenset(operations.split())
    return Resource(variable, kind, logical_id, names, if_missing, if_forbidden)


_REVERT_DRIFT = (
    "Create it again with aws cloudformation create-change-set --deployment-mode REVERT_DRIFT, "
    "then execute-change-set (see Restore in the documentation)"
)

RESOURCES = (
    _resource(
        "TABLE_NAME",
        "the table",
        "LedgerTable",
        "Query GetItem BatchGetItem DeleteItem TransactGetItems TransactWriteItems",
        "Restore its backup (aws dynamodb list-backups --backup-type SYSTEM): "
        "aws dynamodb restore-table-from-backup --target-table-name {name} --backup-arn ...",
    ),
    _resource(
        "BUCKET_NAME",
        "the bucket",
        "ReportsBucket",
        "CopyObject GetObject HeadObject PutObject CreateMultipartUpload UploadPart "
        "CompleteMultipartUpload AbortMultipartUpload",
        "Create it again: aws s3 mb s3://{name}",
    ),
    _resource(
        "TOPIC_ARN",
        "the topic",
        "ReportsTopic",
        "Publish",
        "Create it again: aws sns create-topic --name {last}",
    ),
    _resource(
        "STATE_MACHINE_ARN",
        "the workflow",
        "ReportWorkflow",
        "StartExecution DescribeExecution",
        _REVERT_DRIFT,
    ),
    _resource(
        "DEFINITIONS_PARAMETER",
        "the parameter of the report definitions",
        "DefinitionsParameter",
        "GetParameter GetParameterHistory",
        "Write your definitions as the object definitions/report-definitions.json of the bucket, "
        "and create the parameter again: aws ssm put-parameter --name {name} --type String "
        "--value file://definitions.json",
    ),
    _resource(
        "VONAGE_SECRET_ARN",
        "the secret",
        "VonageSecret, or its parameter VonageSecretArn",
        "GetSecretValue",
        "Restore it: aws secretsmanager restore-secret --secret-id {name}",
    ),
    _resource(
        "DATABASE_NAME",
        "the Glue database",
        "UsageDatabase",
        "CreatePartition",
        _REVERT_DRIFT,
        if_forbidden="If Lake Formation governs the account, grant the access there: the commands "
        "are in docs/operate.md#cataloguewaitingalarm",
    ),
)

VARIABLES = frozenset(
    {
        *("VONAGE_BASE_URL", "STACK_NAME", "CALLBACK_URL", "CALLBACK_TABLE_NAME"),
        *(each.variable for each in RESOURCES),
    }
)
"""The environment variables that the template sets."""

_FORBIDDEN = ("AccessDenied", "AuthorizationError", "Forbidden", "403")
_MISSING = ("NotFound", "NoSuchBucket", "DoesNotExist", "404")
_OF_A_KEY = ("kms", "decryptionfailure")


@contextmanager
def named_resources(environment: Mapping[str, str]) -> Iterator[None]:
    """Translate AWS's errors into ResourceUnusable, whose text names the remedy.

    Wrap a whole handler, because the code inside must still see botocore's errors. A variable that
    is missing in `environment` raises ResourceUnusable too.
    """
    try:
        yield
    except KeyError as error:
        name = str(error.args[0]) if error.args else ""
        if name not in VARIABLES or name in environment:
            raise
        raise ResourceUnusable(
            f"the function has no environment variable {name}: run sam deploy, which sets it"
        ) from error
    except (ClientError, BotoCoreError) as error:
        raise ResourceUnusable(explain(error, environment)) from error


def explain(error: ClientError | BotoCoreError, environment: Mapping[str, str]) -> str:
    """Say which resource of the stack AWS refused, and the remedy.

    `environment` has the names of the resources, by the variable of the functions.
    """
    if isinstance(error, BotoCoreError):
        # botocore's text names the cause: no connection, no credentials or an invalid name.
        return f"the call to AWS failed: {error}"
    operation = error.operation_name
    resource = next((each for each in RESOURCES if operation in each.operations), None)
    said = f"AWS refused {operation} with {_said(error)}"
    if resource is None:
        return said
    name = environment.get(resource.variable, "")
    named = f"{resource.kind} {name} ({resource.variable}; in the template {resource.logical_id})"
    return f"{said}: {named} {_meaning(error, resource, name)}"


def _said(error: ClientError) -> str:
    answer = error.response["Error"]
    reasons = [
        reason["Code"]
        for reason in error.response.get("CancellationReasons", ())
        if reason.get("Code") not in (None, "None")
    ]
    parts = (answer.get("Message"), ", ".join(reasons))
    return " ".join([answer["Code"], *(f"({part})" for part in parts if part)])


def _meaning(error: ClientError, resource: Resource, name: str) -> str:
    """Return a resource's problem and the remedy, derived from the words in AWS's answer."""
    code, said = error.response["Error"]["Code"], json.dumps(error.response["Error"]).lower()
    if any(word in said for word in _OF_A_KEY):
        return (
            "is encrypted with a KMS key that is disabled, or that this function may not use. "
            "Enable the key, and allow the function's role to use it"
        )
    if any(word in code for word in _FORBIDDEN):
        return f"refuses this function. {resource.if_forbidden}"
    # AWS first marks a secret for deletion, and deletes it some days later.
    if any(word in code for word in _MISSING) or "marked" in said:
        last = name.rpartition(":")[2]
        return f"does not exist. {resource.if_missing.format(name=name, last=last)}"
    return "cannot be used now. Schedules and the workflow retry it"
