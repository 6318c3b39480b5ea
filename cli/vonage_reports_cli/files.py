"""Files that the operator names."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from vonage_reports.aws.definitions_source import MOST_BYTES, WrittenDefinitions, text_of
from vonage_reports_cli.errors import BadInput

_STANDARD_INPUT = Path("-")


def file_to_write(option: str, text: str) -> Path:
    """Return the path of a file that an option names. Raises BadInput for a folder."""
    path = Path(text)
    if not path.name or path.is_dir():
        raise BadInput(f"{option} {text} cannot be written: Is a directory")
    return path


def read_definitions(file: Path) -> WrittenDefinitions:
    """Read report definitions from a file, or from standard input if it is `-`.

    Raises BadInput if the file cannot be read.
    """
    try:
        if file == _STANDARD_INPUT:
            content = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with file.open("rb") as opened:
                content = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}") from error
    place = "standard input" if file == _STANDARD_INPUT else str(file)
    return WrittenDefinitions(text_of(content), datetime.now(UTC), place, is_object=True)
