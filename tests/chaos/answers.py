"""Answers that Vonage's documents do not promise, but that gateways and new versions produce.

Each is recognisable: a field that lies plausibly is nothing that a client could find out.
"""

import io
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random
from typing import Any

from local.simulator.answers import Answer
from local.simulator.reports import LINK_HOST, Report

UNREADABLE: tuple[Any, ...] = (None, 7.5, [], {}, [{"a": None}], "", "9" * 10_000)
"""Values that no field of an identity can have."""
ODD_IDS: tuple[Any, ...] = ("../../../x", "a/b", "..", "x" * 10_000, "\ud800", "", 7, None, "a\nb")
OTHER_HOST = "media.example.com"

_IDENTITY = ("product", "account_id", "include_subaccounts", "direction")
_TIMES = ("date_start", "date_end", "receive_time", "start_time")
_FOREIGN: Mapping[str, tuple[Any, ...]] = {
    **dict.fromkeys(_IDENTITY, (None, [], {}, "")),
    **dict.fromkeys(_TIMES, (*UNREADABLE, "soon", "\ud800", 1e300, "0000-00-00T00:00:00Z")),
    "request_status": (*UNREADABLE, "\x1b[31m", True),
    "items_count": (*UNREADABLE, "5", -1, True, 1e300, 10**30),
    "_links": (*UNREADABLE, {"download_report": 5}, {"download_report": {"href": ["x"]}}),
    "request_id": ODD_IDS,
}
_KINDS: Mapping[str, tuple[str, ...]] = {
    "create": ("foreign", "missing", "huge", "drip"),
    "get": ("foreign", "missing", "odd_file", "another", "another", "huge", "drip", "gzip", "bomb"),
    "list": (
        *("foreign", "missing", "foreign_entry", "partial", "uncounted", "paged", "huge", "drip"),
        *("gzip", "bomb"),
    ),
    "cancel": ("foreign", "another", "no_content"),
    "subaccounts": (
        *("foreign", "missing", "foreign_entry", "paged", "huge", "drip", "gzip", "bomb"),
    ),
    "download": ("within", "elsewhere", "plain_http", "drip"),
}
_BOMB = zlib.compress(b" " * 60_000_000)
_HUGE = 8_000_001
_PER_SEED = 3
"""How many answers of a seed are huge: each costs some milliseconds."""


@dataclass(frozen=True)
class Strange:
    """An answer as it is sent; it may take `seconds_per_byte`."""

    answer: Answer
    kind: str
    seconds_per_read: float = 0


class StrangeAnswers:
    """Draws strange answers until `end`; a strange list may outlive it."""

    def __init__(self, random: Random, end: datetime) -> None:
        self._random = random
        self._end = end
        self.share = random.choice([0, 0.01, 0.04])
        self.list_for_good = random.choice([*[None] * 11, "uncounted"])
        self._large = 0

    def of(
        self,
        operation: str,
        answer: Answer,
        *,
        subject: str,
        others: Callable[[], list[dict[str, Any]]],
        now: datetime,
    ) -> Strange | None:
        """Return a strange form of an answer, or None to leave it.

        `subject` is the id in the path. `others` are documents of other reports.
        """
        if answer.status != 200 or (answer.file is None) != (operation != "download"):
            return None
        kind = self.list_for_good if operation == "list" else None
        if now < self._end and self._random.random() < self.share:
            kind = self._random.choice(_KINDS[operation])
        if kind in ("huge", "bomb"):
            self._large += 1
            kind = kind if self._large <= _PER_SEED else "foreign"
        if kind is None:
            return None
        return self.made(kind, answer, subject=subject, others=others)

    def made(
        self,
        kind: str,
        answer: Answer,
        *,
        subject: str = "",
        others: Callable[[], list[dict[str, Any]]] = list,
    ) -> Strange | None:
        """Return the strange answer of a kind; None if the answer cannot have it."""
        if kind in _BODIES:
            return Strange(_BODIES[kind](answer), kind)
        if kind in _LOCATIONS:
            head = {"Location": _LOCATIONS[kind].format(subject)}
            return Strange(Answer(status=302, content_type="text/plain", headers=head), kind)
        if kind == "drip":
            return Strange(answer, kind, seconds_per_read=25)
        document = json.loads(answer.body)
        if kind == "another":
            found = others()
            if not found:
                return None
            changed = self._another(document, self._random.choice(found))
        elif "reports" in document:
            changed = self._list(kind, document)
        elif "_embedded" in document:
            changed = self._accounts(kind, document)
        else:
            changed = self._report(kind, document)
        return Strange(replace(answer, body=json.dumps(changed).encode()), kind)

    def _another(self, document: dict[str, Any], another: dict[str, Any]) -> dict[str, Any]:
        if self._random.random() < 0.5:
            # As from a cache that answers for another report, under this one's id.
            return {
                **another,
                **{each: document[each] for each in ("request_id",) if each in document},
            }
        return another

    def _report(self, kind: str, document: dict[str, Any]) -> dict[str, Any]:
        if kind == "odd_file":
            odd = self._random.choice([each for each in ODD_IDS if isinstance(each, str)])
            links = {"download_report": {"href": f"{LINK_HOST}/v3/media/{odd}"}}
            return {**document, "_links": {**document.get("_links", {}), **links}}
        return self._field(kind, document)

    def _list(self, kind: str, document: dict[str, Any]) -> dict[str, Any]:
        listed = document["reports"]
        match kind:
            case "uncounted":
                rest = _without(document, "items_count")
                count = self._random.choice(["absent", *UNREADABLE])
                return rest if count == "absent" else {**rest, "items_count": count}
            case "partial":
                # The count tells that at least one is missing.
                count = max(1, len(listed))
                return {**document, "reports": self._some_of(listed), "items_count": count}
            case "paged":
                page = self._some_of(listed)
                links = {"next": {"href": f"{LINK_HOST}/v2/reports?cursor=2"}}
                return {**document, "reports": page, "items_count": len(page), "_links": links}
            case "foreign_entry":
                odd: Any = self._random.choice([None, 5, [], "x", {}])
                return {**document, "reports": [*listed, odd], "items_count": len(listed) + 1}
        if not listed or self._random.random() < 0.3:
            return {**document, "reports": self._random.choice([None, {}, 5, "x"])}
        number = self._random.randrange(len(listed))
        entry = self._field(kind, listed[number])
        return {**document, "reports": [*listed[:number], entry, *listed[number + 1 :]]}

    def _accounts(self, kind: str, document: dict[str, Any]) -> dict[str, Any]:
        embedded = document["_embedded"]
        listed = embedded["subaccounts"]
        if kind == "paged":
            links = {"next": {"href": f"{LINK_HOST}/accounts/subaccounts?page=2"}}
            return {**document, "_links": links,
                    "_embedded": {**embedded, "subaccounts": listed[:1]}}  # fmt: skip
        name = self._random.choice(["api_key", "suspended"])
        odd: Any = self._random.choice([None, 5, [], "x", {}])
        if kind != "foreign_entry" and listed:
            rest = _without(listed[0], name)
            value = self._random.choice([*UNREADABLE, "../x", "a\nb"])
            odd = rest if kind == "missing" else {**rest, name: value}
        return {**document, "_embedded": {**embedded, "subaccounts": [*listed[1:], odd]}}

    def _field(self, kind: str, entry: dict[str, Any]) -> dict[str, Any]:
        name = self._random.choice([each for each in _FOREIGN if each in entry])
        if kind == "missing":
            return _without(entry, name)
        return {**entry, name: self._random.choice(_FOREIGN[name])}

    def _some_of(self, entries: list[Any]) -> list[Any]:
        return [each for each in entries if self._random.random() < 0.5][: max(0, len(entries) - 1)]


def documents_of_others(reports: Mapping[str, Report], request_id: str, clock: Any) -> list[Any]:
    """Return the documents of reports with other parameters than one report has."""
    asked = reports.get(request_id)
    if asked is None:
        return []
    return [
        each.document(clock, each.distortion)
        for each in reports.values()
        if _parameters(each) != _parameters(asked)
    ]


def _parameters(report: Report) -> tuple[Any, ...]:
    request = report.request
    return request.product, request.account_id, request.start, request.end


def _without(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


def _encoded(answer: Answer, body: bytes, encoding: str) -> Answer:
    return replace(answer, body=body, headers={**answer.headers, "Content-Encoding": encoding})


_BODIES: Mapping[str, Callable[[Answer], Answer]] = {
    "huge": lambda answer: replace(answer, body=answer.body + b" " * _HUGE),
    "bomb": lambda answer: _encoded(answer, _BOMB, "deflate"),
    "gzip": lambda answer: _encoded(answer, zlib.compress(answer.body, wbits=31), "gzip"),
    "no_content": lambda answer: replace(answer, status=204, body=b""),
}
_LOCATIONS: Mapping[str, str] = {
    "within": f"{LINK_HOST}/v3/media/{{}}?signature=1",
    "elsewhere": f"https://{OTHER_HOST}/{{}}",
    "plain_http": f"http://{OTHER_HOST}/{{}}",
}


class DrippingBody(io.BytesIO):
    """A body of which each read gives one byte, after `spend`."""

    def __init__(self, body: bytes, spend: Callable[[], None]) -> None:
        super().__init__(body)
        self._spend = spend

    def read1(self, _: int | None = -1, /) -> bytes:
        self._spend()
        return super().read(1)
