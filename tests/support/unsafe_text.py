"""Any text, and the characters in it that a terminal must not receive."""

import unicodedata

from hypothesis import strategies as st

UNSAFE = (
    "\x00", "\x07", "\t", "\n", "\r", "\x1b", "\x7f", "\x85", "\x9b", "\u061c", "\u200f", "\u2028",
    "\u202e", "\u2066", "\u2069", "\ud800", "\udcff",
)  # fmt: skip
"""Samples: control characters, line separators, bidi controls, lone surrogates."""

ANY_TEXT = st.text(st.characters(exclude_categories=()) | st.sampled_from([*UNSAFE, *"[]/:=+-@'"]))
"""Any text, lone surrogates included, with many unsafe characters and markup."""

BAD_KEYS = (
    "", ".", "..", "/", "/etc/passwd", "archives/../../x", "archives/../x", "archives/..", "../x",
    "archives//x", "archives/./x", "archives/", "archives/a\0b", "archives/\ud800", "x" * 256,
    "archives/" + "x" * 10_000, "archives/" + "x/" * 5_000 + "x",
)  # fmt: skip
"""Keys that name no file inside a folder."""

_BIDI_MARKS = "\u061c\u200e\u200f"
_BIDI_CLASSES = frozenset({"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"})


def unsafe_in(text: str) -> set[str]:
    """Return the unsafe characters of an output, whose lines may end in "\\n"."""
    return {character for character in text if character != "\n" and _is_unsafe(character)}


def _is_unsafe(character: str) -> bool:
    return (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(character) in _BIDI_CLASSES
        or character in _BIDI_MARKS
    )
