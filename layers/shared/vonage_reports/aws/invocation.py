"""The invocation that does the work, and the time that it has left."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from vonage_reports.client import HTTP_TIMEOUT
from vonage_reports.domain import waits

_TIME_TO_SUBMIT = 90.0
"""Seconds that settling leaves to planning and submitting."""


@dataclass(frozen=True)
class Invocation:
    """The invocation that submits: its name, and how many seconds it has left."""

    owner: str
    seconds_left: Callable[[], float]

    def has_time_to_settle(self) -> bool:
        """Whether one more report can be settled, and something be submitted after it."""
        return self.seconds_left() > _TIME_TO_SUBMIT + 4 * HTTP_TIMEOUT

    def has_time_for_a_request(self) -> bool:
        """Whether a request, and the one that follows a 401, can still be answered."""
        return self.seconds_left() > 2 * HTTP_TIMEOUT

    def over_by(self, now: datetime, scale: float) -> datetime:
        """When this invocation, and its last request, are over for sure: its lease ends."""
        lifetime = timedelta(seconds=self.seconds_left() + HTTP_TIMEOUT)
        return now + max(scale * (lifetime + waits.LOOK_MARGIN), waits.SHORTEST_LEASE)
