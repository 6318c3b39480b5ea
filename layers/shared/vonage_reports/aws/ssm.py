"""The SSM parameter of the report definitions."""

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient


class DefinitionsParameter:
    """Reads the parameter."""

    def __init__(self, client: "SSMClient", name: str) -> None:
        self._client = client
        self._name = name

    def read(self) -> tuple[str, datetime]:
        """Return the current text and the time of its last change. Raises botocore's errors."""
        parameter = self._client.get_parameter(Name=self._name)["Parameter"]
        return parameter["Value"], parameter["LastModifiedDate"]
