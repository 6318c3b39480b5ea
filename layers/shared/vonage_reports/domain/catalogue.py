"""The Glue catalogue: its tables and partitions, and deliveries that wait for their partition."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

PARTITION_KEYS = {"definition": "string", "account": "string", "date": "date"}
"""The partition columns and their types, in the order of the folders `<name>=<value>/`."""


class CatalogueState(StrEnum):
    """Whether the catalogue had a delivery's partition when its manifest was written."""

    REGISTERED = "registered"
    PENDING = "pending"
    """Glue refused the partition or did not answer. Each sweep tries again."""
    OFF = "off"
    """The stack has no catalogue, or the catalogue has no table of the product."""


@dataclass(frozen=True)
class Registration:
    """A delivery whose partition the catalogue does not have yet.

    `partition` has the values of PARTITION_KEYS. `manifest` is the key of the manifest, which has
    the columns.
    """

    report_id: str
    product: str
    partition: Mapping[str, str]
    manifest: str
    since: datetime

    @property
    def definition(self) -> str:
        """The name of the report's definition."""
        return self.partition["definition"]


def table_name(product: str) -> str:
    """Return a table name that SQL need not quote: `voice_call` for `VOICE-CALL`."""
    return product.lower().replace("-", "_")


def table_location(product: str, bucket: str) -> str:
    """Return the folder of a product's data."""
    return f"s3://{bucket}/data/product={product}/"


def partition_location(product: str, partition: Mapping[str, str], bucket: str) -> str:
    """Return the folder of a partition."""
    folder = "".join(f"{name}={partition[name]}/" for name in PARTITION_KEYS)
    return table_location(product, bucket) + folder
