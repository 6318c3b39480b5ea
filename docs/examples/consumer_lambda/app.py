"""Copies each delivered dataset into a bucket of your own, and notes which copy counts.

A copy has the version of the dataset in its name, and is never changed. The table has one item for
each window, with the copy that counts. Duplicate, late and reordered messages change nothing.

Executed by the project's tests: the handler, with real notifications, against moto (S3 with
versions, SNS with the filter policy of template.yaml, SQS, DynamoDB). Not executed: a deployment on
AWS, and SQS's own retries.
"""

import json
import logging
import os
from typing import Any

import boto3
from botocore.exceptions import ClientError

LOG = logging.getLogger(__name__)


def lambda_handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Handle a batch of SQS messages; return those that SQS has to deliver again."""
    failures = []
    for record in event["Records"]:
        try:
            consume(json.loads(record["body"]))
        except Exception:
            LOG.exception("message %s is tried again", record["messageId"])
            failures.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failures}


def consume(notification: dict[str, Any]) -> None:
    """Copy the dataset of a `report.delivered`, unless a later delivery has replaced it."""
    s3 = boto3.client("s3")
    bucket = os.environ["REPORTS_BUCKET"]
    # Trust the manifest, not the message: the message may be old.
    body = s3.get_object(Bucket=bucket, Key=notification["manifest"])["Body"].read()
    manifest = json.loads(body)
    dataset = manifest["dataset"]
    if dataset is None:
        LOG.info("a later revision was there before %s", manifest["report_id"])
        return
    present = s3.head_object(Bucket=bucket, Key=dataset["key"])["VersionId"]
    if present != dataset["version_id"]:
        LOG.info("the notification of version %s follows", present)
        return
    copy = f"{dataset['key'].removesuffix('.parquet')}/{present}.parquet"
    s3.copy_object(
        CopySource={"Bucket": bucket, "Key": dataset["key"], "VersionId": present},
        Bucket=os.environ["COPIES_BUCKET"],
        Key=copy,
    )
    _note(manifest, copy)


def _note(manifest: dict[str, Any], copy: str) -> None:
    """Note the copy that counts for a window, unless a later delivery is noted."""
    item = {
        "window": manifest["dataset"]["key"],
        "copy": copy,
        "revision": manifest["revision"],
        "rows": manifest["rows"],
        "totals": json.dumps(manifest["totals"]),
        "delivered": manifest["times"]["delivered"],
    }
    try:
        boto3.resource("dynamodb").Table(os.environ["WINDOWS_TABLE"]).put_item(
            Item=item,
            ConditionExpression="attribute_not_exists(delivered) OR delivered < :delivered",
            ExpressionAttributeValues={":delivered": item["delivered"]},
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        LOG.info("%s is noted already", copy)
