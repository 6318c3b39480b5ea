"""Faults on demand, with the requests that they hit.

A REPORT fault changes a report, or the API's description of it. An ANSWER fault changes how a
request is answered. A request meets every matching report fault and the first matching answer
fault. A request meets no fault if it lacks credentials, exceeds the rate limit, or lacks a JSON
body that its operation needs.

Defaults are in parentheses after each parameter. Report faults, with their operations:
    outcome (create): The report ends after `seconds` (its usual time) as `request_status`, which
        may be any word. TRUNCATED keeps the newest `rows` (100).
    empty (create): The report has no rows. `how`: header_only, zero_bytes, no_link.
    imperfect (create): The report has an imperfection. `how`: a name of `imperfections.py`.
    items_count (create, get, list): The count is wrong by `delta` (1). On create, it stays wrong.
    no_link (create, get, list): SUCCESS has no download link.
    link_while_processing (create, get, list): PROCESSING has a link, but there is no file yet.
    callback (create): The callback comes `calls` (1) times, `seconds` (0) after the end of the
        report, or after the POST if it is `early` (false).
    lag (list): The list omits reports younger than `seconds` (60).
    distorted (subaccounts): The list is not as documented. `how`: null_list, null_entry,
        text_for_suspended, number_for_key, odd_key, twice, another_primary, pages (half of the
        list, and a link to the next page), many (10,000 more accounts).

Answer faults of every operation; "acting" means to perform the requested operation:
    status: Answer `status` (500) with `retry_after`, `body`, `content_type`, without acting.
    cut: Close the connection without acting, with RST or, if `reset` is false, with FIN.
    hang: Answer nothing for `seconds` (3600), then close the connection, without acting.
    accept_then_status, accept_then_cut, accept_then_hang: The same, after acting.
    not_json: Act, then answer a web page with status 200.
    malformed_json: Act, then answer the first half of the JSON.
Answer fault of get only:
    list_form: Answer the report in the form of the list.
Answer faults of download only; `n` (half of the archive) counts bytes:
    redirect: Answer 302 to `location`.
    stall: Pause `seconds` (3600) after `n`, then continue.
    body: Send the body as `how`: html, json, empty (no archive at all), truncated_with_length
        (break off after `n`), short_no_error (`n`, with a matching Content-Length), longer (`n`
        more), no_length (until the connection closes), chunked, not_whole_chunked (break off
        after `n`), corrupt_byte_at (invert byte `n`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .imperfections import IMPERFECTIONS
from .traffic import OPERATIONS

# Faults, with the operations that accept them.
REPORT_FAULTS: Mapping[str, tuple[str, ...]] = {
    "outcome": ("create",),
    "empty": ("create",),
    "imperfect": ("create",),
    "items_count": ("create", "get", "list"),
    "no_link": ("create", "get", "list"),
    "link_while_processing": ("create", "get", "list"),
    "callback": ("create",),
    "lag": ("list",),
    "distorted": ("subaccounts",),
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
# These faults answer without acting.
BEFORE_ACTING = frozenset({"status", "cut", "hang"})
BODIES = (
    "html", "json", "empty", "truncated_with_length", "short_no_error", "longer", "no_length",
    "chunked", "not_whole_chunked", "corrupt_byte_at",
)  # fmt: skip
EMPTY_REPORTS = ("header_only", "zero_bytes", "no_link")
DISTORTED_LISTS = (
    "null_list", "null_entry", "text_for_suspended", "number_for_key", "odd_key", "twice",
    "another_primary", "pages", "many",
)  # fmt: skip
_HOW: Mapping[str, tuple[str, ...]] = {
    "body": BODIES,
    "empty": EMPTY_REPORTS,
    "imperfect": IMPERFECTIONS,
    "distorted": DISTORTED_LISTS,
}

_PARAMETERS: Mapping[str, type | tuple[type, ...]] = {
    "status": int, "retry_after": int, "body": str, "content_type": str, "seconds": (int, float),
    "request_status": str, "how": str, "rows": int, "delta": int, "n": int, "location": str,
    "reset": bool, "calls": int, "early": bool,
}  # fmt: skip
_MATCHES = ("product", "direction", "request_id")


@dataclass
class Fault:
    """A pending fault.

    Attributes:
        times: How many more requests the fault hits. None means all.
        after: How many matching requests still pass before the first hit.
        match: The product, direction or request_id that the request's report must have.
        parameters: The fault's other parameters, by name.
    """

    operation: str
    fault: str
    times: int | None = 1
    after: int = 0
    match: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> "Fault":
        """Parse the body of POST /control/faults.

        Raises:
            ValueError: The fault is unknown, or a parameter is unknown or has the wrong type.
        """
        known = {**REPORT_FAULTS, **ANSWER_FAULTS}
        rest = dict(document)
        operation, fault = rest.pop("operation", None), rest.pop("fault", None)
        if not isinstance(fault, str) or not isinstance(operation, str):
            raise ValueError("operation and fault must be texts")  # noqa: TRY004 - the caller answers ValueError
        if operation not in known.get(fault, ()):
            raise ValueError(f"operation {operation!r} has no fault {fault!r}")
        times, after = rest.pop("times", 1), rest.pop("after", 0)
        if not (times is None or type(times) is int) or type(after) is not int:
            raise ValueError("times must be an integer or null, and after must be an integer")
        match = {name: str(rest.pop(name)) for name in _MATCHES if name in rest}
        for name, value in rest.items():
            if name not in _PARAMETERS or not isinstance(value, _PARAMETERS[name]):
                raise ValueError(f"fault parameter {name} does not accept {value!r}")
        choices = _HOW.get(fault)
        if choices and rest.get("how") not in choices:
            raise ValueError(f"fault {fault} needs `how`: one of {', '.join(choices)}")
        return cls(operation, fault, times, after, match, rest)

    def to_json(self) -> dict[str, object]:
        """Return the posted form, with the remaining `times` and `after`."""
        return {
            "operation": self.operation,
            "fault": self.fault,
            "times": self.times,
            "after": self.after,
            **self.match,
            **self.parameters,
        }

    def number(self, name: str, default: float) -> float:
        """Return a numeric parameter."""
        value = self.parameters.get(name, default)
        return float(value) if isinstance(value, int | float) else default

    def text(self, name: str, default: str) -> str:
        """Return a text parameter."""
        return str(self.parameters.get(name, default))


@dataclass(frozen=True)
class Hit:
    """The faults that one request meets."""

    answer: Fault | None = None
    report: tuple[Fault, ...] = ()


class FaultBook:
    """The pending faults. Not thread-safe: the server's lock guards it."""

    def __init__(self) -> None:
        self.pending: list[Fault] = []

    def take(self, operation: str, facts: Mapping[str, str]) -> Hit:
        """Return the faults that hit a request, and count each fault as used.

        `facts` describes the request's report.
        """
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
