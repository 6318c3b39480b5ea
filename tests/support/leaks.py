"""What a stack may say nowhere: credentials, phone numbers, the text of messages.

It may say an account's id, although the key of the account is the same word: keys of objects,
manifests and notifications name it. And what a person wrote into the filters of a definition
stands wherever the definition itself does: in the ledger, in the input of a run, in the manifest.
Archives and dataset hold the records, and nothing else does.
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

# "Basic" and what may be base64 of a pair; of a word it has no more than a capital at its start.
_BASIC = r"Basic\s+(?=[A-Za-z][a-z]*[A-Z0-9])[A-Za-z0-9+/]{8,}={0,2}"


class Forbidden:
    """What the account of a stack must not leak.

    `ranges` are those of phone numbers, as the simulator tells them, and `texts` what its messages
    are made of.
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
        """Return what belongs to the account of a simulator, and its records."""
        return cls(
            api_key=simulator.api_key,
            secrets=(simulator.api_secret, *more_secrets),
            ranges=simulator.numbers(),
            texts=TEXTS,
        )

    def within(self, said: Mapping[str, object]) -> list[str]:
        """Return what leaked, and around what; `said` is text or JSON, by where it was said."""
        return [
            f"{kind} in {where}: ...{text[max(0, match.start() - 60) : match.end() + 20]}..."
            for where, value in said.items()
            for text in [json.dumps(value, ensure_ascii=False, default=str)]
            for kind, pattern in self._patterns.items()
            if (match := re.search(pattern, text))
        ]

    def beside_definitions(self, said: Mapping[str, object]) -> list[str]:
        """Return the same of what holds definitions: their filters may name numbers."""
        return self.within({where: _without_filters(value) for where, value in said.items()})


def _number(first: str, last: str) -> str:
    *_, shared = "", *takewhile(first.startswith, accumulate(last))
    return rf"{shared}\d{{{len(first) - len(shared)}}}"


def _pieces(texts: Iterable[str]) -> list[str]:
    """Return of each text what no JSON writes in another way, if that is enough to know it by."""
    pieces = (max(re.findall(r"[ !#-\[\]-z]+", text), key=len) for text in texts)
    return [piece for piece in pieces if len(piece) >= _ENOUGH]


def _without_filters(value: Any) -> Any:
    """Open JSON that stands in JSON as text, and leave out what a person asked for."""
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
