"""The path that Vonage calls when a report ends (POST to `callback_url`).

Vonage documents neither a signature nor the senders, so a call is only a hint to ask Vonage. Vonage
knows the path. The ledger and the runs have its SHA-256 alone.
"""

import re
from collections.abc import Callable
from hashlib import sha256

_BYTES = 16


def draw_path(random_bytes: Callable[[int], bytes]) -> str:
    """Return a path of 32 random hexadecimal digits, which cannot be guessed."""
    return random_bytes(_BYTES).hex()


def digest_of(path: str) -> str | None:
    """Return the SHA-256 of a path, or None if `draw_path` never returns such a path."""
    if re.fullmatch(rf"[0-9a-f]{{{2 * _BYTES}}}", path) is None:
        return None
    return sha256(path.encode()).hexdigest()
