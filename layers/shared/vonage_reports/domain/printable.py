"""Make text from other sources safe to show: on a terminal, and in a spreadsheet.

A terminal obeys escape sequences, and bidi controls reorder a line. A spreadsheet evaluates a cell
that begins like a formula.
"""

import re

# Control characters (C0, DEL, C1), line separators, bidi controls, surrogates.
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ud800-\udfff]"
)
_SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}
_FORMULA = re.compile(r"[=+\-@\t\r]")
# Only numbers with a sign, because only those begin like a formula. `+` and digits are a phone
# number.
_NUMBER = re.compile(r"[+-]([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def printable(text: str) -> str:
    r"""Return the text on one line, with each unsafe character as an escape such as `\u001b`.

    The escapes are those of JSON, so a JSON document keeps its meaning. Escaping twice changes
    nothing more.
    """
    return _UNSAFE.sub(lambda found: _SHORT.get(found[0]) or f"\\u{ord(found[0]):04x}", text)


def printable_lines(text: str) -> str:
    """Return the text with each of its lines `printable`. Only a line feed ends a line."""
    return "\n".join(map(printable, text.split("\n")))


def without_formula(text: str) -> str:
    """Return the text, with an apostrophe before it if a spreadsheet might evaluate it.

    A number is not changed, nor is `+` followed by digits.
    """
    is_formula = _FORMULA.match(text) and not _NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text
