"""The services of submit_reports, the current invocation, and the result of a step."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from vonage_reports.aws.bucket import Bucket
from vonage_reports.aws.cloudwatch import Metrics
from vonage_reports.aws.definitions_source import DefinitionsSource
from vonage_reports.aws.glue import Catalogue
from vonage_reports.aws.ledger import Ledger
from vonage_reports.aws.sns import Topic
from vonage_reports.aws.step_functions import Executions
from vonage_reports.domain.definitions import Refusal
from vonage_reports.domain.waits import UNSCALED, Waits
from vonage_reports.vonage.client import HTTP_TIMEOUT, VonageClient


@dataclass(frozen=True)
class Services:
    """Vonage and the stack's resources. `catalogue` is None if the stack has none.

    Vonage calls a path below `callback_url` when a report ends; None without callbacks.
    """

    ledger: Ledger
    definitions: DefinitionsSource
    vonage: VonageClient
    executions: Executions
    topic: Topic
    bucket: Bucket
    metrics: Metrics
    waits: Waits = UNSCALED
    catalogue: Catalogue | None = None
    callback_url: str | None = None
    random_bytes: Callable[[int], bytes] = secrets.token_bytes


_TIME_TO_SUBMIT = 90.0
"""How many seconds settling leaves for planning and submitting."""

_TIME_TO_PLAN = 15.0
"""How many seconds the requests for one window may take, with the retries of the AWS SDK."""


_TIME_TO_MONITOR = 60.0
"""How many seconds registering leaves for the end of the sweep."""


@dataclass(frozen=True)
class Invocation:
    """The current invocation. `owner` is its request id, which is stored in leases."""

    owner: str
    seconds_left: Callable[[], float]

    def has_time_to_settle(self) -> bool:
        """Whether there is time to settle one more report and then to submit."""
        return self.seconds_left() > _TIME_TO_SUBMIT + 4 * HTTP_TIMEOUT

    def has_time_to_plan(self) -> bool:
        """Whether there is time to plan one more window and then to submit a report."""
        return self.seconds_left() > 2 * HTTP_TIMEOUT + _TIME_TO_PLAN

    def has_time_for_a_request(self) -> bool:
        """Whether there is time for a request to Vonage and a retry after a 401."""
        return self.seconds_left() > 2 * HTTP_TIMEOUT

    def has_time_to_register(self) -> bool:
        """Whether there is time to register one more partition and then to emit the gauges."""
        return self.seconds_left() > _TIME_TO_MONITOR

    def lease_end(self, now: datetime, waits: Waits) -> datetime:
        """Return when this invocation's lease ends, certainly after its last request."""
        return now + waits.submit_lease(self.seconds_left() + HTTP_TIMEOUT)


@dataclass
class StepResult:
    """The result of one step of a pass."""

    report_ids: list[str] = field(default_factory=list)
    """The reports that the step finished, planned or submitted."""
    ended: list[str] = field(default_factory=list)
    """Reports that the operator's request ended."""
    held: list[str] = field(default_factory=list)
    """Reports that may exist at Vonage, and that the operator has to resolve."""
    refusals: list[Refusal] = field(default_factory=list)
    """Definitions and windows that the step left out."""
    errors: list[Exception] = field(default_factory=list)
    """Errors that did not stop the step. The next pass retries their reports."""

    def add(self, other: "StepResult") -> None:
        """Append the contents of another result."""
        self.report_ids += other.report_ids
        self.ended += other.ended
        self.held += other.held
        self.refusals += other.refusals
        self.errors += other.errors
