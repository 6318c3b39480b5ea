"""The imperfections that an operator may accept in one window: names, and the advice in errors.

Accepted imperfections are on the record: in the ledger, the manifest and the notification.
"""

import json
import re
from collections.abc import Iterable
from enum import StrEnum


class Acceptable(StrEnum):
    """An imperfection that fails a conversion unless `reconvert` accepts it."""

    ROW_COUNT = "row_count"
    UNREADABLE_ROWS = "unreadable_rows"
    MISSING_COLUMNS = "missing_columns"


_ADVICE = re.compile(r'"accept": (\[[a-z_", ]*\])')


def in_order(names: Iterable[str]) -> tuple[Acceptable, ...]:
    """Return the known names among `names`, each once, in the order of Acceptable."""
    given = set(names)
    return tuple(each for each in Acceptable if each in given)


def advice(names: Iterable[str]) -> str:
    """Return the sentence of an error that only these imperfections cause."""
    return (
        "To deliver the window as it is, on the record and at no cost, send reconvert with "
        f'"accept": {json.dumps(in_order(names))}.'
    )


def advised(reason: str | None) -> tuple[Acceptable, ...]:
    """Return the names in the advice of an error's text; () without an advice."""
    found = _ADVICE.findall(reason or "")
    return in_order(json.loads(found[-1])) if found else ()
