import secrets
from hashlib import sha256

import pytest

from vonage_reports.domain.callbacks import digest_of, draw_path


def test_path_has_128_random_bits() -> None:
    asked: list[int] = []

    def random_bytes(count: int) -> bytes:
        asked.append(count)
        return bytes(range(count))

    assert draw_path(random_bytes) == "000102030405060708090a0b0c0d0e0f"
    assert asked == [128 / 8]


def test_digest_is_that_of_the_path() -> None:
    path = draw_path(secrets.token_bytes)
    assert digest_of(path) == sha256(path.encode()).hexdigest()


@pytest.mark.parametrize(
    "path",
    [
        "",
        "favicon.ico",
        "0" * 31,
        "0" * 33,
        "A" * 32,
        "0" * 31 + "/",
        "0" * 32 + "\n",
        "\u0660" * 32,
    ],
)
def test_path_that_was_never_drawn_has_no_digest(path: str) -> None:
    assert digest_of(path) is None
