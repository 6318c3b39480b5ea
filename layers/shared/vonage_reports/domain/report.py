"""A report: one definition, account, window and revision, and its state in the ledger."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any

from vonage_reports.domain.definitions import DEFAULT_MAX_RECORDS
from vonage_reports.domain.errors import ReportFailed
from vonage_reports.domain.traffic_profile import TrafficProfile
from vonage_reports.domain.windows import Window, format_instant


class State(StrEnum):
    """The states of a report in the ledger; `lifecycle` has the transitions between them."""

    PLANNED = "PLANNED"
    SUBMITTING = "SUBMITTING"
    SUBMITTED = "SUBMITTED"
    HELD = "HELD"
    SPLIT = "SPLIT"
    """Too large for one report: its halves are collected, or the halves of a half."""
    CONVERTING = "CONVERTING"
    """A run converts stored archives: those of a split window, or those of a reconversion."""
    STORED = "STORED"
    """The archive of a half is stored. The window is converted as a whole."""
    DELIVERED = "DELIVERED"
    SUPERSEDED = "SUPERSEDED"
    """A preliminary revision that was never requested: a later one was delivered first."""
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    """Never requested: its backfill was cancelled, or another half of its window failed."""


class RequestStatus(StrEnum):
    """The values of Vonage's field `request_status`."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    SUCCESS = "SUCCESS"
    TRUNCATED = "TRUNCATED"
    FAILED = "FAILED"
    ABORTED = "ABORTED"

    @classmethod
    def parse(cls, word: object) -> "RequestStatus":
        """Parse Vonage's value; no other code does. Raises ReportFailed for an undocumented one."""
        try:
            return cls(str(word))
        except ValueError:
            raise ReportFailed(
                f"Vonage answered with the request_status {word!r}, which its documents do not "
                "have. Look at the report in Vonage's dashboard"
            ) from None

    @property
    def is_terminal(self) -> bool:
        """Whether Vonage has ended its work on the report."""
        return self not in (RequestStatus.PENDING, RequestStatus.PROCESSING)


class Revision(StrEnum):
    """Statuses and prices still change after a window ends: the last collection is final."""

    PRELIMINARY = "preliminary"
    FINAL = "final"


class Priority(IntEnum):
    """The order in which reports take slots: the lowest number first."""

    HALF = 0
    CALENDAR = 1
    BACKFILL = 2


_ENDS = frozenset({State.STORED, State.DELIVERED, State.SUPERSEDED, State.FAILED, State.CANCELLED})


class Entry(StrEnum):
    """Where a run of the workflow begins."""

    CHECK = "check"
    CONVERT = "convert"
    ANNOUNCE = "announce"


@dataclass(frozen=True)
class Report:
    """A report in the ledger. All times are instants in UTC."""

    report_id: str
    definition: str
    product: str
    account_id: str
    include_subaccounts: bool
    filters: Mapping[str, Any]
    window: Window
    revision: Revision
    priority: Priority
    planned_at: datetime
    delay_index: int = 0
    delay_days: int = 0
    """Days from the window's end to its collection: entry `delay_index` of the definition."""
    revisions: int = 1
    """The number of times that the definition collects a window."""
    expected_rows: int | None = None
    profile: TrafficProfile | None = None
    """The distribution of the expected rows over the window; None: unknown, taken as even."""
    max_records: int = DEFAULT_MAX_RECORDS
    """A report that is expected to have more rows is split before it is requested."""
    currency: str | None = None
    backfill: str | None = None
    """The name of the backfill that planned the window."""
    root: str | None = None
    """For a part: the report_id of its whole window."""
    split_path: str = ""
    """The part: "0" is the older half, "01" its younger half; empty: the whole window."""
    leaves: int = 1
    """The number of parts of the whole window."""

    state: State = State.PLANNED
    version: int = 0
    """The number of writes. A write based on an older version is refused."""
    not_before: datetime | None = None
    """PLANNED: the earliest time of the POST. SUBMITTED: that of the next run."""
    slot: int | None = None
    owner: str | None = None
    """SUBMITTING: the invocation that sends the POST."""
    look_after: datetime | None = None
    """The end of an invocation's lease: no other invocation touches the report before."""
    attempt: int = 0
    """Reports that Vonage accepted for this window and revision, with the present one."""
    attempts_before: int = 0
    """The value of `attempt` when the window was last planned again."""
    tokens: tuple[str, ...] = ()
    """Tokens of the recollect events that were followed."""
    submitted_at: datetime | None = None
    """The time just before the POST of the present attempt."""
    refused_since: datetime | None = None
    """The time just before the first POST that Vonage refused since a request was last adopted."""
    absent_since: datetime | None = None
    """SUBMITTING: the time of the first look-up that found no report."""
    unheard: bool = False
    """Whether a POST of this attempt got no answer and was repeated."""
    request_id: str | None = None
    run: int = 0
    resumes: int = 0
    """Failed runs since the present attempt began."""
    not_found: int = 0
    """How many of these runs, counted back from the latest without a gap, found a 404."""
    equal_failures: int = 0
    """How many of these runs, counted back from the latest without a gap, had the same error."""
    execution_input: str | None = None
    """The exact input of the present run, as bytes of JSON."""
    receipts: tuple[str, ...] = ()
    """Keys of the receipts that the present run converts, oldest first."""
    delivered_from: tuple[str, ...] = ()
    """Keys of the receipts of the last delivery, also while a later collection is under way."""
    rows: int | None = None
    error: str | None = None
    """The name of the last error; `reason` is its sentence."""
    reason: str | None = None

    @property
    def execution_name(self) -> str:
        """The name of the present run. Step Functions gives a name to one execution only."""
        return f"{self.report_id}-r{self.run}"

    @property
    def is_half(self) -> bool:
        """Whether this is a part of a window. Only whole windows are delivered."""
        return self.root is not None

    @property
    def is_asked_for(self) -> bool:
        """Whether the operator requested the report; otherwise the calendar planned it."""
        return bool(self.backfill or self.tokens or self.attempts_before)

    @property
    def is_at_end(self) -> bool:
        """Whether the report is finished: only an operator or a later revision moves it.

        A half that is split itself is finished: its own halves take its place.
        """
        return self.state in _ENDS or (self.state is State.SPLIT and self.is_half)

    @property
    def later_revisions(self) -> tuple[str, ...]:
        """The report_ids of the window's later revisions."""
        return tuple(
            report_id(
                definition=self.definition,
                account_id=self.account_id,
                window=self.window,
                delay_index=index,
            )
            for index in range(self.delay_index + 1, self.revisions)
        )


def report_id(
    *, definition: str, account_id: str, window: Window, delay_index: int, split_path: str = ""
) -> str:
    """Derive the idempotency key of a report; `split_path` is empty for a whole window.

    Example: `sms-outbound-20261121T0000Z-0123456789ab`. It has at most 64 characters, so that an
    execution's name (80 at most) has room for the run.
    """
    identity = (
        definition,
        account_id,
        format_instant(window.start),
        format_instant(window.end),
        str(delay_index),
        split_path,
    )
    digest = hashlib.sha256("\n".join(identity).encode()).hexdigest()[:12]
    return f"{report_ids_from(definition, window.start)}-{digest}"


def report_ids_from(definition: str, start: datetime) -> str:
    """Return a lower bound for the report_ids of windows that start at or after `start`."""
    return f"{definition}-{start.astimezone(UTC):%Y%m%dT%H%MZ}"


def definition_of(report_id: str) -> str:
    """Return the name of the definition that a `report_id` was derived from."""
    return report_id.rsplit("-", 2)[0]
