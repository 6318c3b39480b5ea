"""The faults of a run, drawn from its seed: outages, and faults of single calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from random import Random
from typing import Any

from local.simulator.faults import DISTORTED_LISTS, Fault

AWS = ("dynamodb", "s3", "secrets-manager", "ssm", "sns", "sfn", "glue")

_OF_AWS = ("throttled", "unavailable", "denied", "unreachable")
"""Refusals of a call to AWS, after botocore's own retries."""

_OF_THE_WIRE: Sequence[Mapping[str, Any]] = (
    {"fault": "status", "status": 429},
    {"fault": "status", "status": 429, "retry_after": 90},
    {"fault": "status", "status": 401},
    {"fault": "status", "status": 403},
    {"fault": "status", "status": 500},
    {"fault": "status", "status": 503},
    {"fault": "unreachable"},
    {"fault": "cut"},
    {"fault": "hang"},
)
_AFTER_THE_EFFECT: Sequence[Mapping[str, Any]] = (
    {"fault": "accept_then_cut"},
    {"fault": "accept_then_hang"},
    {"fault": "accept_then_status", "status": 502},
    # A gateway that answers in Vonage's place proves nothing.
    {"fault": "accept_then_status", "status": 303, "body": "See Other"},
    {"fault": "accept_then_status", "status": 403, "body": "Forbidden"},
    {"fault": "accept_then_status", "status": 409, "body": "{}"},
    {"fault": "not_json"},
    {"fault": "malformed_json"},
)
_OF_OPERATIONS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "create": (
        *_AFTER_THE_EFFECT,
        *_AFTER_THE_EFFECT,
        {"fault": "outcome", "request_status": "FAILED"},
        {"fault": "outcome", "request_status": "FAILED"},
        {"fault": "outcome", "request_status": "ABORTED"},
        {"fault": "outcome", "request_status": "TRUNCATED", "rows": 5},
        {"fault": "outcome", "request_status": "TRUNCATED", "rows": 5},
        {"fault": "outcome", "request_status": "BEWILDERED"},
        {"fault": "outcome", "request_status": "SUCCESS", "seconds": 60 * 3600},
        {"fault": "outcome", "request_status": "SUCCESS", "seconds": 5 * 3600},
        {"fault": "empty", "how": "header_only"},
        {"fault": "empty", "how": "zero_bytes"},
        {"fault": "empty", "how": "no_link"},
        {"fault": "items_count", "delta": 1},
        {"fault": "no_link"},
        {"fault": "status", "status": 422},
    ),
    "get": (
        *_AFTER_THE_EFFECT,
        {"fault": "list_form"},
        {"fault": "no_link"},
        {"fault": "link_while_processing"},
        {"fault": "status", "status": 404},
    ),
    "list": (
        *_AFTER_THE_EFFECT,
        {"fault": "lag", "seconds": 60},
        {"fault": "lag", "seconds": 240},
        {"fault": "status", "status": 404},
        {"fault": "status", "status": 400},
    ),
    "cancel": _AFTER_THE_EFFECT,
    "subaccounts": (
        *_AFTER_THE_EFFECT,
        {"fault": "status", "status": 404},
        *({"fault": "distorted", "how": how} for how in DISTORTED_LISTS),
    ),
    "download": (
        {"fault": "status", "status": 404},
        {"fault": "stall"},
        *(
            {"fault": "body", "how": how}
            for how in (
                *("html", "json", "empty", "truncated_with_length", "short_no_error"),
                *("longer", "corrupt_byte_at"),
            )
        ),
    ),
}


@dataclass(frozen=True)
class Outage:
    """An outage of one service, or only of its `operation`."""

    service: str
    how: Any
    start: datetime
    end: datetime
    operation: str | None = None

    def hits(self, service: str, operation: str, now: datetime) -> bool:
        """Whether a call falls into the outage."""
        return (
            self.service == service
            and self.start <= now < self.end
            and self.operation in (None, operation)
        )


_PARTITIONS = ("open", "calendar", "finished#", "request#", "backfills")


class LedgerFaults:
    """Throttling of single partitions of the ledger, and conflicts of single items."""

    def __init__(self, random: Random, start: datetime, end: datetime) -> None:
        self._random = random
        self._end = end
        self._conflicts = random.choice([0, 0, 0.01, 0.04])
        self._throttled = []
        for _ in range(random.choice([0, 0, 1, 2])):
            begins = start + (end - start) * random.random()
            ends = begins + timedelta(hours=random.choice([0.1, 1, 6]))
            share = random.choice([0.3, 1])
            self._throttled.append((random.choice(_PARTITIONS), share, begins, min(ends, end)))

    def over(self, operation: str, partitions: Sequence[str], now: datetime) -> list[str] | None:
        """Return a refused call's code for each item, "None" for an allowed one.

        `partitions` has the partition of each item of the call.
        """
        if now >= self._end:
            return None
        for prefix, share, begins, ends in self._throttled:
            hit = [each.startswith(prefix) for each in partitions]
            if begins <= now < ends and any(hit) and self._random.random() < share:
                return ["ThrottlingError" if each else "None" for each in hit]
        if operation.startswith("Transact") and self._random.random() < self._conflicts:
            return conflict(self._random, len(partitions))
        return None


def conflict(random: Random, items: int) -> list[str]:
    """Return the codes of a transaction of which another one holds an item."""
    first = random.randrange(items)
    return ["TransactionConflict" if n == first else "None" for n in range(items)]


class FaultPlan:
    """Faults until `end`, and none afterwards, so that every report can finish."""

    def __init__(self, random: Random, start: datetime, end: datetime) -> None:
        self._random = random
        self._name = random.getrandbits(64)
        self.end = end
        self._per_call = random.choice([0, 0.003, 0.01, 0.03])
        self._of_vonage = random.choice([0.02, 0.05, 0.12])
        # Below the shortest lease plus the two minutes between two lookups: 285 s.
        self._lag = random.choice([0, 0, 60, 270])
        self._deaths = random.choice([0, 0.02, 0.05])
        self.of_downloads = 0.0
        """The share of downloads that break besides: few seeds upload archives in parts."""
        self.outages = [_outage(random, start, end) for _ in range(random.randrange(1, 6))]

    def over_aws(self, service: str, operation: str, now: datetime) -> str | None:
        """Return the fault of a call to AWS; "lost": the call was executed without an answer."""
        if now >= self.end:
            return None
        for outage in self.outages:
            if outage.hits(service, operation, now):
                return str(outage.how)
        if self._random.random() >= self._per_call:
            return None
        if operation == "TransactWriteItems" and self._random.random() < 0.3:
            return "conflict"
        return self._random.choice([*_OF_AWS, "lost", "lost", "slow"])

    def over_part(self, call: str, now: datetime) -> str | None:
        """Return the fault of a part's upload, from the call alone: threads have no order."""
        random = Random(f"{self._name} {call} {now}")
        if now >= self.end or random.random() >= 4 * self._per_call:
            return None
        return random.choice(_OF_AWS)

    def over_vonage(self, operation: str, now: datetime) -> Fault | None:
        """Return the fault of a request to Vonage; the sender raises "unreachable" itself."""
        if now >= self.end:
            return self._lagging(operation)
        for outage in self.outages:
            if outage.hits("vonage", operation, now):
                return _fault(operation, outage.how)
        if operation == "download" and 0 < self.of_downloads > self._random.random():
            return _fault(operation, self._random.choice(_OF_OPERATIONS[operation]))
        if self._random.random() >= self._of_vonage:
            return self._lagging(operation)
        faults = (*_OF_THE_WIRE, *_OF_OPERATIONS[operation], *_OF_OPERATIONS[operation])
        return _fault(operation, self._random.choice(faults))

    def _lagging(self, operation: str) -> Fault | None:
        """Let Vonage's list lag during the whole campaign: Vonage promises no delay."""
        if operation != "list" or not self._lag:
            return None
        return Fault("list", "lag", parameters={"seconds": self._lag})

    def over_lambda(self, now: datetime) -> str | None:
        """Return the fault of the workflow's call of a function, beside the function's errors."""
        if now >= self.end or self._random.random() >= self._per_call:
            return None
        return self._random.choice(
            ["Lambda.TooManyRequestsException", "Lambda.ServiceException", "lost"]
        )

    def death(self, now: datetime) -> int | None:
        """Return the number of the call at which an invocation is killed, or None."""
        if now >= self.end or self._random.random() >= self._deaths:
            return None
        return self._random.randrange(1, 25)


def _outage(random: Random, start: datetime, end: datetime) -> Outage:
    begins = start + (end - start) * random.random()
    hours = random.choice([0.1, 0.5, 2, 8, 30])
    ends = begins + timedelta(hours=hours)
    if random.random() < 0.5:
        operation, how = None, random.choice(_OF_THE_WIRE)
        if random.random() < 0.3:
            operation = random.choice(["create", "list", "get", "download"])
        if random.random() < 0.2:
            # Each POST may create a report, and takes half a minute of an invocation.
            operation, how = "create", random.choice(_AFTER_THE_EFFECT[:3])
        elif random.random() < 0.2:
            # The file expires during the outage, or Vonage answers 404 for an existing file.
            operation, hours = "download", random.choice([3, 80])
            how = random.choice([how, {"fault": "status", "status": 404}])
            if how.get("status") == HTTPStatus.TOO_MANY_REQUESTS:
                # A run asks again each minute, and a seed would last a minute too.
                hours = 3
            ends = begins + timedelta(hours=hours)
        return Outage("vonage", how, begins, min(ends, end), operation)
    refusal = random.choice([*_OF_AWS, "lost"])
    operation = None
    service = random.choice(AWS)
    if refusal == "lost":
        operation = {
            "dynamodb": "TransactWriteItems", "s3": "PutObject", "sns": "Publish",
            "sfn": "StartExecution", "glue": "CreatePartition",
        }.get(service)  # fmt: skip
    return Outage(service, refusal, begins, min(ends, end), operation)


def _fault(operation: str, fault: Mapping[str, Any]) -> Fault:
    parameters = {name: value for name, value in fault.items() if name != "fault"}
    return Fault(operation, str(fault["fault"]), parameters=parameters)
