"""The stack's resources by the variables that name them, and what AWS's refusals mean.

botocore's errors name an operation, some a resource, none the setting behind it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from vonage_reports.domain.errors import ResourceUnusable


@dataclass(frozen=True)
class Resource:
    """What a variable of a function names.

    `logical_id` is what the template calls it, `operations` are those that the functions ask of it,
    `if_missing` is the command that brings it back; `{name}` in it is the resource's.
    """

    variable: str
    kind: str
    logical_id: str
    operations: frozenset[str]
    if_missing: str


def _resource(
    variable: str, kind: str, logical_id: str, operations: str, if_missing: str
) -> Resource:
    return Resource(variable, kind, logical_id, frozenset(operations.split()), if_missing)


RESOURCES = (
    _resource(
        "TABLE_NAME",
        "the table",
        "LedgerTable",
        "Query GetItem BatchGetItem DeleteItem TransactGetItems TransactWriteItems",
        "restore the backup that DynamoDB made of it: aws dynamodb restore-table-from-backup "
        "--target-table-name {name}",
    ),
    _resource(
        "BUCKET_NAME",
        "the bucket",
        "ReportsBucket",
        "GetObject HeadObject PutObject CreateMultipartUpload UploadPart CompleteMultipartUpload "
        "AbortMultipartUpload",
        "make it again under its name: aws s3 mb s3://{name}",
    ),
    _resource(
        "TOPIC_ARN",
        "the topic",
        "ReportsTopic",
        "Publish",
        "make it again under its name, the last part of the ARN: aws sns create-topic",
    ),
    _resource(
        "STATE_MACHINE_ARN",
        "the workflow",
        "ReportWorkflow",
        "StartExecution DescribeExecution",
        "deploy the stack with a change set of the mode REVERT_DRIFT",
    ),
    _resource(
        "DEFINITIONS_PARAMETER",
        "the parameter of the report definitions",
        "DefinitionsParameter",
        "GetParameter",
        "put it there again: aws ssm put-parameter --name {name} --type String",
    ),
    _resource(
        "VONAGE_SECRET_ARN",
        "the secret",
        "VonageSecret, or its parameter VonageSecretArn",
        "GetSecretValue",
        "aws secretsmanager restore-secret --secret-id {name}",
    ),
    _resource(
        "DATABASE_NAME",
        "the Glue database",
        "UsageDatabase",
        "CreatePartition",
        "deploy the stack with a change set of the mode REVERT_DRIFT",
    ),
)

VARIABLES = frozenset({"VONAGE_BASE_URL", "STACK_NAME", *(each.variable for each in RESOURCES)})
"""What the template gives the functions that need it, and nobody else."""

_FORBIDDEN = ("AccessDenied", "AuthorizationError", "Forbidden", "403")
_MISSING = ("NotFound", "NoSuchBucket", "DoesNotExist", "404")
_OF_A_KEY = ("kms", "decryptionfailure")


@contextmanager
def named_resources(environment: Mapping[str, str]) -> Iterator[None]:
    """Say of what AWS refuses which resource it is, which setting names it and what mends it.

    Around a whole handler: within, what AWS answers is still botocore's, and decided upon.
    Raises ResourceUnusable in its place, and for a variable of `environment` that is not set.
    """
    try:
        yield
    except KeyError as error:
        name = str(error.args[0]) if error.args else ""
        if name not in VARIABLES or name in environment:
            raise
        raise ResourceUnusable(
            f"the function has no environment variable {name}: deploy the template, which sets it"
        ) from error
    except ClientError as error:
        raise ResourceUnusable(_sentence(error, environment)) from error
    except BotoCoreError as error:
        # No connection, no credentials, a name that cannot be one: it says so itself.
        raise ResourceUnusable(f"AWS could not be asked: {error}") from error


def _sentence(error: ClientError, environment: Mapping[str, str]) -> str:
    operation = error.operation_name
    resource = next((each for each in RESOURCES if operation in each.operations), None)
    said = f"AWS answered {_said(error)} to {operation}"
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
    """Tell what is wrong with a resource from the words that AWS's services have for it."""
    code, said = error.response["Error"]["Code"], json.dumps(error.response["Error"]).lower()
    if any(word in said for word in _OF_A_KEY):
        return "is encrypted with a key that this function may not use, or that is disabled"
    if any(word in code for word in _FORBIDDEN):
        return "is not open to this function: see its role, and the resource's own policy"
    # A secret that is deleted is only marked, for some days.
    if any(word in code for word in _MISSING) or "marked" in said:
        return f"is not there; {resource.if_missing.format(name=name)}"
    return "cannot be used now"
