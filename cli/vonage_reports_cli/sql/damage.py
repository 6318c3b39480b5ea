"""Files of the dataset that cannot be read, in a sentence that the operator can act on."""

import duckdb
import pyarrow as pa

from vonage_reports_cli.errors import CommandError

_OTHERS = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.ParserException,
    duckdb.ResourceInUseException,
    duckdb.OutOfMemoryException,
    duckdb.InterruptException,
)
"""Errors with another cause than a file's content. For some damage, the engine raises the base
class of all its errors."""

_OF_THE_DATASET = ("data/product=", "files_of_")
"""A message has one of them: the key of a file, or the name of the stream of a product's files."""


def damage_of(error: Exception) -> CommandError | None:
    """Return an error on the content of a file, in our own SQL, as the end of a command.

    Return None for any other error.
    """
    if isinstance(error, _OTHERS) or not isinstance(error, (duckdb.Error, pa.ArrowException)):
        return None
    # The lines below the first one show the SQL.
    first = str(error).split("\n")[0].rstrip(".")
    return CommandError(
        f"a file of the dataset cannot be read: {first}; if a delivery has just replaced it, run "
        "the command again; `verify` names every damaged file"
    )


def damage_in(error: duckdb.Error) -> CommandError | None:
    """Return an error in the operator's SQL if a file of the dataset is its cause, or None."""
    is_of_dataset = any(word in str(error) for word in _OF_THE_DATASET)
    return damage_of(error) if is_of_dataset else None
