"""The SSM parameters of the report definitions. CloudFormation writes both."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

_MOST_IN_A_PAGE = 50

OF_TEMPLATE = "-of-template"
"""The end of the name of the parameter that keeps the template's value. No operator edits it."""


class DefinitionsParameter:
    """Reads the parameter, which operators used to edit, and its history."""

    def __init__(self, client: "SSMClient", name: str) -> None:
        self._client = client
        self.name = name

    def read(self) -> tuple[str, datetime]:
        """Return the current text and the time of its last change. Raises botocore's errors."""
        parameter = self._client.get_parameter(Name=self.name)["Parameter"]
        return parameter["Value"], parameter["LastModifiedDate"]

    def of_template(self) -> str:
        """Return the value that the template gave the parameter. Raises botocore's errors."""
        return self._client.get_parameter(Name=f"{self.name}{OF_TEMPLATE}")["Parameter"]["Value"]

    def versions(self) -> list[tuple[int, str]]:
        """Return the numbers and texts of all versions, newest first. Raises botocore's errors."""
        found: list[tuple[int, str]] = []
        token: dict[str, Any] = {}
        while True:
            page = self._client.get_parameter_history(
                Name=self.name, MaxResults=_MOST_IN_A_PAGE, **token
            )
            found += [(each["Version"], each["Value"]) for each in page["Parameters"]]
            if not page.get("NextToken"):
                return sorted(found, reverse=True)
            token = {"NextToken": page["NextToken"]}
