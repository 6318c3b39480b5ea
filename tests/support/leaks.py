"""Searches a stack's output for leaks: credentials, phone numbers, texts of messages.

Only archives and the dataset may contain records. Two exceptions are by contract. An account's id
equals its API key, and object keys, manifests and notifications name the id. The filters of a
definition may contain phone numbers, and they are stored with the definition in the ledger, in the
input of a run and in the manifest.
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, takewhile
from typing import Any, Self

from local.simulator.process import Simulator
from local.simulator.values import TEXTS

_ENOUGH = 8

# "Basic" and the base64 of a pair. A plain word has no capital or digit after its first letter.
_BASIC = r"Basic\s+(?=[A-Za-z][a-z]*[A-Z0-9])[A-Za-z0-9+/]{8,}={0,2}"


# A number may be written in groups, or percent-encoded.
_BETWEEN = r"(?:[ ().\-/]|%2[0-9A-Fa-f]){0,3}"


class Forbidden:
    """The data of a stack's account that must not leak.

    `ranges` are the simulator's ranges of phone numbers; `texts` are the templates of its messages.
    """

    def __init__(
        self,
        *,
        api_key: str,
        secrets: Sequence[str],
        ranges: Iterable[Mapping[str, str]],
        texts: Iterable[str],
    ) -> None:
        pairs = (f"{api_key}:{secret}".encode() for secret in secrets)
        tokens = [base64.b64encode(pair).decode().rstrip("=") for pair in pairs]
        numbers = (_number(each["first"], each["last"]) for each in ranges)
        self._patterns = {
            "the secret": "|".join(map(re.escape, secrets)),
            "a Basic token": "|".join([_BASIC, *map(re.escape, tokens)]),
            "the key as a credential": rf"api_key\W{{1,12}}{re.escape(api_key)}",
            "a phone number": "|".join(numbers),
            "the text of a message": "|".join(map(re.escape, _pieces(texts))) or r"(?!)",
        }

    @classmethod
    def of(cls, simulator: Simulator, *more_secrets: str) -> Self:
        """Return the forbidden data of a simulator's account and records."""
        return cls(
            api_key=simulator.api_key,
            secrets=(simulator.api_secret, *more_secrets),
            ranges=simulator.numbers(),
            texts=TEXTS,
        )

    def within(self, output: Mapping[str, object]) -> list[str]:
        """Return the leaks with their context; `output` is text or JSON, by its place."""
        return [
            f"{kind} in {where}: ...{text[max(0, match.start() - 60) : match.end() + 20]}..."
            for where, value in output.items()
            for text in [json.dumps(value, ensure_ascii=False, default=str)]
            for kind, pattern in self._patterns.items()
            if (match := re.search(pattern, text))
        ]

    def beside_definitions(self, output: Mapping[str, object]) -> list[str]:
        """Return the leaks outside the filters of definitions, which may contain numbers."""
        return self.within({where: _without_filters(value) for where, value in output.items()})


def _number(first: str, last: str) -> str:
    *_, shared = "", *takewhile(first.startswith, accumulate(last))
    digits = [*shared, *[r"\d"] * (len(first) - len(shared))]
    return _BETWEEN.join(f"(?:%3)?{digit}" for digit in digits)


def _pieces(texts: Iterable[str]) -> list[str]:
    """Return the longest part of each text that JSON does not escape, if it is distinctive."""
    pieces = (max(re.findall(r"[ !#-\[\]-z]+", text), key=len) for text in texts)
    return [piece for piece in pieces if len(piece) >= _ENOUGH]


def _without_filters(value: Any) -> Any:
    """Decode JSON inside JSON strings, and remove the filters of definitions."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        try:
            return _without_filters(json.loads(value))
        except ValueError:
            return value
    if isinstance(value, Mapping):
        return {name: _without_filters(each) for name, each in value.items() if name != "filters"}
    if isinstance(value, list | tuple):
        return [_without_filters(each) for each in value]
    return value
