"""The Glue catalogue: how a product's table and its partitions are described, and registering one.

The template makes the tables from what stands here (`local.generate_template` writes
them into it), and
convert_report the partitions: a crawler, or a projection with fixed values, would hide what a
definition that was added today delivers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vonage_dataset.tables import TABLES

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_glue.type_defs import StorageDescriptorTypeDef

PARTITION_KEYS = {"definition": "string", "account": "string", "date": "date"}
"""What a key below a table's location has, `<name>=<value>/`, in this order; and the types."""

_PARQUET = "org.apache.hadoop.hive.ql.io.parquet"


def table_name(product: str) -> str:
    """Name a product's table, so that no SQL has to quote it: `VOICE-CALL` is `voice_call`."""
    return product.lower().replace("-", "_")


def table_location(product: str, bucket: str) -> str:
    """Return the folder of a product."""
    return f"s3://{bucket}/data/product={product}/"


def storage(product: str, location: str) -> "StorageDescriptorTypeDef":
    """Describe what is in a folder, as Glue's StorageDescriptor, the same for table and partition.

    Readers find the columns in the files by their names.
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
    """The database of a stack."""

    client: "GlueClient"
    database: str

    def register(self, product: str, values: Mapping[str, str], bucket: str) -> None:
        """Let readers of a product's table see a partition; `values` are those of its keys.

        One that is there stays as it is. A product without a table has none.
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
