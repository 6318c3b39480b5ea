"""Faults on demand: what shall go wrong, for which request, and how often.

Two kinds. A REPORT fault changes what becomes of a report or what is said about it; an ANSWER
fault changes how a request is answered. One request meets every report fault that matches and
the first answer fault that does. Requests without credentials, above the rate limit or without
a JSON body where one belongs meet none.

Report faults, by the operations that they can be asked for:
    outcome (create): The report ends as `request_status`, any word, after `seconds` (default: its
        usual time); TRUNCATED keeps the newest `rows` (100).
    empty (create): The report has no rows; `how`: header_only, zero_bytes, no_link.
    items_count (create, get, list): Wrong by `delta` (1); asked for on create it stays wrong.
    no_link (create, get, list): SUCCESS without a download link.
    link_while_processing (create, get, list): A link, but no file yet, while PROCESSING.
    lag (list): Does not show reports younger than `seconds` (60).

Answer faults of every operation:
    status: Answers `status` (500) with `retry_after`, `body`, `content_type`, and does nothing.
    cut: Closes the connection, with RST or, if `reset` is false, with FIN, and does nothing.
    hang: Answers nothing for `seconds` (3600), closes then, and does nothing.
    accept_then_status, accept_then_cut, accept_then_hang: The same, but what was asked is done.
    not_json: It is done; the answer is a web page with status 200.
    malformed_json: It is done; the answer is the first half of the JSON.
Of get alone:
    list_form: The report comes in the form of the list.
Of download alone, where `n` (half of the archive) counts bytes:
    redirect: 302 to `location`.
    stall: Pauses `seconds` (3600) after `n`, then goes on.
    body: `how` the archive arrives: html, json, empty (no archive at all), truncated_with_length
        (breaks off after `n`), short_no_error (`n`, and Content-Length says so), longer (`n` more),
        no_length (until the connection closes), chunked, not_whole_chunked (breaks off after `n`),
        corrupt_byte_at (inverts byte `n`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .traffic import OPERATIONS

# Report faults, with the operations they can be asked for.
REPORT_FAULTS: Mapping[str, tuple[str, ...]] = {
    "outcome": ("create",),
    "empty": ("create",),
    "items_count": ("create", "get", "list"),
    "no_link": ("create", "get", "list"),
    "link_while_processing": ("create", "get", "list"),
    "lag": ("list",),
}
ANSWER_FAULTS: Mapping[str, tuple[str, ...]] = {
    "status": OPERATIONS,
    "cut": OPERATIONS,
    "hang": OPERATIONS,
    "accept_then_status": OPERATIONS,
    "accept_then_hang": OPERATIONS,
    "accept_then_cut": OPERATIONS,
    "not_json": OPERATIONS,
    "malformed_json": OPERATIONS,
    "list_form": ("get",),
    "body": ("download",),
    "redirect": ("download",),
    "stall": ("download",),
}
# These answer without doing what was asked.
BEFORE_ACTING = frozenset({"status", "cut", "hang"})
BODIES = (
    "html", "json", "empty", "truncated_with_length", "short_no_error", "longer", "no_length",
    "chunked", "not_whole_chunked", "corrupt_byte_at",
)  # fmt: skip
EMPTY_REPORTS = ("header_only", "zero_bytes", "no_link")

_PARAMETERS: Mapping[str, type | tuple[type, ...]] = {
    "status": int, "retry_after": int, "body": str, "content_type": str, "seconds": (int, float),
    "request_status": str, "how": str, "rows": int, "delta": int, "n": int, "location": str,
    "reset": bool,
}  # fmt: skip
_MATCHES = ("product", "direction", "request_id")


@dataclass
class Fault:
    """One fault that waits for its request.

    Attributes:
        times: How many requests it still hits; None for all.
        after: How many matching requests it still lets pass.
        match: What the request's report must be: product, direction, request_id.
        parameters: What the fault needs to know, by name.
    """

    operation: str
    fault: str
    times: int | None = 1
    after: int = 0
    match: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> "Fault":
        """Read what was posted to /control/faults.

        Raises:
            ValueError: It names no fault, or a parameter that is unknown or has the wrong type.
        """
        known = {**REPORT_FAULTS, **ANSWER_FAULTS}
        rest = dict(document)
        operation, fault = rest.pop("operation", None), rest.pop("fault", None)
        if not isinstance(fault, str) or not isinstance(operation, str):
            raise ValueError("a fault has an operation and a fault, both texts")  # noqa: TRY004 - the caller answers ValueError
        if operation not in known.get(fault, ()):
            raise ValueError(f"there is no fault {fault!r} for operation {operation!r}")
        times, after = rest.pop("times", 1), rest.pop("after", 0)
        if not (times is None or type(times) is int) or type(after) is not int:
            raise ValueError("times is a number or null, after a number")
        match = {name: str(rest.pop(name)) for name in _MATCHES if name in rest}
        for name, value in rest.items():
            if name not in _PARAMETERS or not isinstance(value, _PARAMETERS[name]):
                raise ValueError(f"fault parameter {name} cannot be {value!r}")
        choices = {"body": BODIES, "empty": EMPTY_REPORTS}.get(fault)
        if choices and rest.get("how") not in choices:
            raise ValueError(f"{fault} needs how, one of {', '.join(choices)}")
        return cls(operation, fault, times, after, match, rest)

    def to_json(self) -> dict[str, object]:
        """The same form as it was posted in, with what is left of `times` and `after`."""
        return {
            "operation": self.operation,
            "fault": self.fault,
            "times": self.times,
            "after": self.after,
            **self.match,
            **self.parameters,
        }

    def number(self, name: str, default: float) -> float:
        """A parameter that is a number."""
        value = self.parameters.get(name, default)
        return float(value) if isinstance(value, int | float) else default

    def text(self, name: str, default: str) -> str:
        """A parameter that is a text."""
        return str(self.parameters.get(name, default))


@dataclass(frozen=True)
class Hit:
    """The faults that one request meets."""

    answer: Fault | None = None
    report: tuple[Fault, ...] = ()


class FaultBook:
    """The faults that wait. Not safe for threads: the server's lock guards it."""

    def __init__(self) -> None:
        self.pending: list[Fault] = []

    def take(self, operation: str, facts: Mapping[str, str]) -> Hit:
        """Use up what hits this request; `facts` says which report it is about."""
        answer: Fault | None = None
        report: dict[str, Fault] = {}
        for fault in list(self.pending):
            if fault.operation != operation or any(
                facts.get(name) != value for name, value in fault.match.items()
            ):
                continue
            if fault.after > 0:
                fault.after -= 1
            elif fault.fault in REPORT_FAULTS:
                if fault.fault not in report:
                    report[fault.fault] = fault
                    self._use(fault)
            elif answer is None:
                answer = fault
                self._use(fault)
        return Hit(answer, tuple(report.values()))

    def _use(self, fault: Fault) -> None:
        if fault.times is not None:
            fault.times -= 1
            if fault.times <= 0:
                self.pending.remove(fault)
