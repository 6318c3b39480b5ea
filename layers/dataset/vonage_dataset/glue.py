"""The Glue catalogue: describes the tables and partitions of products, and registers partitions.

`local.generate_template` writes these tables into the template. convert_report registers the
partitions. With a crawler, or a partition projection with fixed values, the data of a definition
that was added today would stay hidden.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vonage_dataset.tables import TABLES

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_glue.type_defs import StorageDescriptorTypeDef

PARTITION_KEYS = {"definition": "string", "account": "string", "date": "date"}
"""The partition columns and their types, in the order of the folders `<name>=<value>/`."""

_PARQUET = "org.apache.hadoop.hive.ql.io.parquet"


def table_name(product: str) -> str:
    """Return a table name that SQL need not quote: `voice_call` for `VOICE-CALL`."""
    return product.lower().replace("-", "_")


def table_location(product: str, bucket: str) -> str:
    """Return the folder of a product's data."""
    return f"s3://{bucket}/data/product={product}/"


def storage(product: str, location: str) -> "StorageDescriptorTypeDef":
    """Return Glue's StorageDescriptor for the folder of a table or of a partition.

    Readers match the columns of the files by name.
    """
    return {
        "Location": location,
        "InputFormat": f"{_PARQUET}.MapredParquetInputFormat",
        "OutputFormat": f"{_PARQUET}.MapredParquetOutputFormat",
        "SerdeInfo": {"SerializationLibrary": f"{_PARQUET}.serde.ParquetHiveSerDe"},
        "Columns": [
            {"Name": column.name, "Type": column.type.value}
            for column in TABLES[product].all_columns
        ],
    }


@dataclass(frozen=True)
class Catalogue:
    """The Glue database of a stack."""

    client: "GlueClient"
    database: str

    def register(self, product: str, values: Mapping[str, str], bucket: str) -> None:
        """Add a partition with these `values` of PARTITION_KEYS to a product's table.

        An existing partition stays unchanged. Does nothing for a product without a table.
        """
        if product not in TABLES:
            return
        folder = "".join(f"{name}={values[name]}/" for name in PARTITION_KEYS)
        location = table_location(product, bucket) + folder
        try:
            self.client.create_partition(
                DatabaseName=self.database,
                TableName=table_name(product),
                PartitionInput={
                    "Values": [values[name] for name in PARTITION_KEYS],
                    "StorageDescriptor": storage(product, location),
                },
            )
        except self.client.exceptions.AlreadyExistsException:
            return
