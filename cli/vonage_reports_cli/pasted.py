"""Names that an operator pastes, with the blanks and marks that came along."""

import re
from collections.abc import Iterable

from vonage_reports_cli.errors import BadInput

_BETWEEN = re.compile(r"[\s,;]+")
_AROUND = "\"'`\u2018\u2019\u201c\u201d"


def names(texts: Iterable[str]) -> list[str]:
    """Return the names in the texts, each once, in their order.

    Blanks, commas and semicolons separate names, and quotes around a name are no part of it.

    Raises BadInput if there is no name.
    """
    parts = (part.strip(_AROUND) for text in texts for part in _BETWEEN.split(text))
    found = list(dict.fromkeys(part for part in parts if part))
    if not found:
        raise BadInput("name at least one; the argument is empty")
    return found


def name(text: str) -> str:
    """Return the only name in a text. Raises BadInput for none or several."""
    found = names([text])
    if len(found) > 1:
        raise BadInput(f"takes one name, not {len(found)}: {', '.join(found)}")
    return found[0]
