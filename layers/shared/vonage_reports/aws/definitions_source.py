"""The report definitions as they are written: an object in the bucket, or the SSM parameter.

CloudFormation writes the template's value into the SSM parameter at any update of its resource,
such as a changed tag. So an operator's definitions are an object, which CloudFormation never
writes.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from vonage_reports.domain.objects import DEFINITIONS_KEY

if TYPE_CHECKING:
    from vonage_reports.aws.bucket import Bucket
    from vonage_reports.aws.ssm import DefinitionsParameter

MOST_BYTES = 1_000_000
"""How large the report definitions may be."""

_REPLACE_ALL = "replace-all"
_TAKEN_OVER = "taken-over"


@dataclass(frozen=True)
class WrittenDefinitions:
    """The text of the report definitions.

    Attributes:
        text: The text. Text larger than MOST_BYTES is cut after the next byte. Bytes that are not
            UTF-8 are surrogates.
        changed_at: The time of the last change.
        place: The object or the parameter, for sentences.
        is_object: Whether the text is an object. If not, it is the template's parameter.
        replaces_all: Whether the operator says that no earlier definition is in the list.
        taken_over: The version of the parameter that the text was taken from, if it was.
    """

    text: str
    changed_at: datetime
    place: str
    is_object: bool = False
    replaces_all: bool = False
    taken_over: str | None = None


def text_of(body: bytes) -> str:
    """Decode definitions. Drop a byte order mark, which Windows' editors write."""
    return body.decode("utf-8-sig", errors="surrogateescape")


def replacing_metadata() -> dict[str, str]:
    """Return the metadata of an object that may lack every earlier definition."""
    return {_REPLACE_ALL: "true"}


class DefinitionsSource:
    """Reads the definitions. The object counts as soon as it exists, and then nothing else."""

    def __init__(self, bucket: "Bucket", parameter: "DefinitionsParameter") -> None:
        self._bucket = bucket
        self.parameter = parameter

    @property
    def uri(self) -> str:
        """The address of the object."""
        return f"s3://{self._bucket.name}/{DEFINITIONS_KEY}"

    def read(self) -> WrittenDefinitions:
        """Read the object, or the parameter if there is no object. Raises botocore's errors."""
        written = self.read_object()
        if written is not None:
            return written
        text, changed_at = self.parameter.read()
        return WrittenDefinitions(text, changed_at, f"the parameter {self.parameter.name}")

    def read_object(self) -> WrittenDefinitions | None:
        """Read the object, or return None without one. Raises botocore's errors."""
        found = self._bucket.read(DEFINITIONS_KEY, most=MOST_BYTES + 1)
        if found is None:
            return None
        return WrittenDefinitions(
            text_of(found.body),
            found.changed_at,
            f"the object {self.uri}",
            is_object=True,
            replaces_all=found.metadata.get(_REPLACE_ALL, "").strip().lower() == "true",
            taken_over=found.metadata.get(_TAKEN_OVER),
        )

    def take_over(self, text: str, version: int) -> None:
        """Write a version of the parameter as the object, unless there is an object.

        Raises botocore's errors.
        """
        metadata = {_TAKEN_OVER: str(version)}
        self._bucket.create(DEFINITIONS_KEY, text.encode(), metadata)
