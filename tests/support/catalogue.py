"""The Glue database of a stack in moto, with the tables of some products."""

from typing import Any

import boto3
from mypy_boto3_glue import GlueClient

from vonage_reports.domain.catalogue import PARTITION_KEYS, table_name

DATABASE = "usage"


def make_catalogue(*products: str) -> GlueClient:
    """Create the database and its tables, which have no columns but their partition keys."""
    client = boto3.client("glue")
    client.create_database(DatabaseInput={"Name": DATABASE})
    keys = [{"Name": name} for name in PARTITION_KEYS]
    for product in products:
        table: Any = {"Name": table_name(product), "PartitionKeys": keys}
        client.create_table(DatabaseName=DATABASE, TableInput=table)
    return client
