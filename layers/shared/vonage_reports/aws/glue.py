"""Glue: registers the partitions of the dataset in the catalogue.

convert_report registers a partition once, before the manifest. If Glue refuses, the delivery goes
on, and each sweep of submit_reports tries again. With a crawler, or a partition projection with
fixed values, the data of a definition that was added today would stay hidden.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from vonage_reports.aws.error_messages import explain
from vonage_reports.domain.catalogue import PARTITION_KEYS, partition_location, table_name

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_glue.type_defs import StorageDescriptorTypeDef

CONNECT_SECONDS, READ_SECONDS = 2, 5
"""The patience of Glue's client: a delivery waits for the catalogue for less than 10 seconds.

The handshake of TLS has the time of a connection too.
"""

ONE_TRY = Config(
    connect_timeout=CONNECT_SECONDS,
    read_timeout=READ_SECONDS,
    retries={"total_max_attempts": 1},
)
"""The settings of Glue's client. No retries: the next sweep tries again."""

_PARQUET = "org.apache.hadoop.hive.ql.io.parquet"


def storage(location: str, columns: Iterable[tuple[str, str]]) -> "StorageDescriptorTypeDef":
    """Return Glue's StorageDescriptor for the folder of a table or of a partition.

    `columns` are names and types. Readers match the columns of the files by name.
    """
    return {
        "Location": location,
        "InputFormat": f"{_PARQUET}.MapredParquetInputFormat",
        "OutputFormat": f"{_PARQUET}.MapredParquetOutputFormat",
        "SerdeInfo": {"SerializationLibrary": f"{_PARQUET}.serde.ParquetHiveSerDe"},
        "Columns": [{"Name": name, "Type": type_} for name, type_ in columns],
    }


class Catalogue:
    """The Glue database of a stack.

    `connect` makes the client, with ONE_TRY, at the first registration. `warn` takes the sentence
    of each refusal.
    """

    def __init__(
        self, connect: Callable[[], "GlueClient"], database: str, *, warn: Callable[[str], None]
    ) -> None:
        self._connect = connect
        self._database = database
        self._warn = warn

    @cached_property
    def _client(self) -> "GlueClient":
        return self._connect()

    def register(
        self,
        product: str,
        partition: Mapping[str, str],
        columns: Iterable[tuple[str, str]],
        *,
        bucket: str,
    ) -> bool:
        """Add a partition to a product's table. Return False if Glue refuses or does not answer.

        An existing partition stays unchanged, and counts as registered.
        """
        location = partition_location(product, partition, bucket)
        try:
            self._client.create_partition(
                DatabaseName=self._database,
                TableName=table_name(product),
                PartitionInput={
                    "Values": [partition[name] for name in PARTITION_KEYS],
                    "StorageDescriptor": storage(location, columns),
                },
            )
        except self._client.exceptions.AlreadyExistsException:
            return True
        except (ClientError, BotoCoreError) as error:
            self._warn(explain(error, {"DATABASE_NAME": self._database}))
            return False
        return True
