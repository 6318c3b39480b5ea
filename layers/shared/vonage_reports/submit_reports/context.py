"""The services that submit_reports calls, and the invocation that calls them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.cloudwatch import Metrics
from vonage_reports.aws.ledger import Ledger
from vonage_reports.aws.sns import Topic
from vonage_reports.aws.step_functions import Executions
from vonage_reports.domain.waits import UNSCALED, Waits
from vonage_reports.vonage.client import HTTP_TIMEOUT, VonageClient


@dataclass(frozen=True)
class Services:
    """The table, Vonage, the workflow's runs, the topic, the bucket and the metrics."""

    ledger: Ledger
    vonage: VonageClient
    executions: Executions
    topic: Topic
    bucket: Bucket
    metrics: Metrics
    waits: Waits = UNSCALED


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

    def lease_end(self, now: datetime, waits: Waits) -> datetime:
        """Return the end of this invocation's lease: its last request is certainly over then."""
        return now + waits.submit_lease(self.seconds_left() + HTTP_TIMEOUT)
