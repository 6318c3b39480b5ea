"""A report of one definition, account, window and revision, with its state in the ledger."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any

from vonage_reports.domain.definitions import DEFAULT_MAX_RECORDS
from vonage_reports.domain.errors import ReportFailed
from vonage_reports.domain.traffic_profile import TrafficProfile
from vonage_reports.domain.windows import Window, format_instant


class State(StrEnum):
    """The states of a report in the ledger. `lifecycle` has the transitions between states."""

    PLANNED = "PLANNED"
    SUBMITTING = "SUBMITTING"
    SUBMITTED = "SUBMITTED"
    HELD = "HELD"
    SPLIT = "SPLIT"
    """The window is too large for one report, so its halves are collected, or halves of a half."""
    CONVERTING = "CONVERTING"
    """A run converts stored archives, for a split window or a reconversion."""
    STORED = "STORED"
    """The archive of a half is stored. The window is converted as a whole."""
    DELIVERED = "DELIVERED"
    SUPERSEDED = "SUPERSEDED"
    """A preliminary revision was never requested, because a later revision was delivered first."""
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    """The operator withdrew the report. Or its backfill was cancelled, or another half failed,
    before the report was requested."""


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
        """Parse Vonage's value, only here. Raises ReportFailed for an undocumented value."""
        try:
            return cls(str(word))
        except ValueError:
            raise ReportFailed(
                f"Vonage answered with the request_status {word!r}, which Vonage does not "
                "document. Look at the report in Vonage's dashboard"
            ) from None

    @property
    def is_terminal(self) -> bool:
        """Whether Vonage has ended its work on the report."""
        return self not in (RequestStatus.PENDING, RequestStatus.PROCESSING)


class Revision(StrEnum):
    """Statuses and prices may change after a window's end. Only the last collection is final."""

    PRELIMINARY = "preliminary"
    FINAL = "final"


class Priority(IntEnum):
    """The order in which reports take slots, lowest number first."""

    HALF = 0
    CALENDAR = 1
    BACKFILL = 2


_FAILURE = "failure-"
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
    """How many days after its end the window is collected: `delay_days[delay_index]`."""
    revisions: int = 1
    """How many times the definition collects a window."""
    expected_rows: int | None = None
    pace: int | None = None
    """How many seconds Vonage takes for a million rows of the definition, as learnt when the report
    was planned."""
    profile: TrafficProfile | None = None
    """The distribution of the expected rows over the window. If None, assume even rows."""
    max_records: int = DEFAULT_MAX_RECORDS
    """How many rows a report may have. If more are expected, split before the request."""
    currency: str | None = None
    backfill: str | None = None
    """The name of the backfill that planned the window."""
    root: str | None = None
    """For a part: the report_id of its whole window."""
    split_path: str = ""
    """The part: "0" is the older half, and "01" its younger half. Empty for the whole window."""
    leaves: int = 1
    """How many parts the whole window has."""

    state: State = State.PLANNED
    version: int = 0
    """How often the report was written. A write based on an older version is refused."""
    not_before: datetime | None = None
    """The earliest time of the POST (PLANNED) or of the next run (SUBMITTED)."""
    slot: int | None = None
    owner: str | None = None
    """The invocation that sends the POST (SUBMITTING)."""
    callback: str | None = None
    """The SHA-256 of the path that Vonage calls when the report of the last POST ends. None without
    callbacks, and in resumed runs: a path causes one early poll at most."""
    look_after: datetime | None = None
    """When an invocation's lease ends. Until then, no other invocation touches the report."""
    attempt: int = 0
    """How many reports Vonage accepted for this window and revision, including the present one."""
    attempts_before: int = 0
    """The value that `attempt` had when the window was last planned again."""
    tokens: tuple[str, ...] = ()
    """The tokens of the recollect events that were carried out."""
    is_wanted: bool = False
    """Whether the operator asked for the present collection (`recollect`, `resolve`). It goes on
    even if its definition is not listed any more."""
    failures: int = 0
    """How often the report became FAILED; `failure_token` names one of these failures."""
    holds: int = 0
    """How often the report became HELD; `resolve` may name one of these holds."""
    submitted_at: datetime | None = None
    """When the POST of the present attempt was about to be sent."""
    refused_since: datetime | None = None
    """When the first POST was sent that Vonage refused since a request was last adopted."""
    denied_since: datetime | None = None
    """When the first POST was sent since which Vonage refuses the account or the product."""
    absent_since: datetime | None = None
    """When the first look-up found no report (SUBMITTING)."""
    unheard: bool = False
    """Whether a POST of this attempt got no answer and was repeated."""
    request_id: str | None = None
    counted: str | None = None
    """The request whose records count already in the month's sum of billed records."""
    run: int = 0
    resumes: int = 0
    """How many runs failed since the present attempt began."""
    not_found: int = 0
    """How many of the latest failed runs in a row found a 404."""
    equal_failures: int = 0
    """How many of the latest failed runs in a row had the same error."""
    execution_input: str | None = None
    """The exact input of the present run, as JSON."""
    receipts: tuple[str, ...] = ()
    """The keys of the receipts that the present run converts, oldest first."""
    withdrawn_at: datetime | None = None
    """When the operator withdrew the report; only `recollect` plans it again."""
    slot_until: datetime | None = None
    """CANCELLED: when the slot is freed that the report left taken, as Vonage may work on it."""
    delivered_from: tuple[str, ...] = ()
    """The keys of the last delivery's receipts. They stay during a later collection."""
    rows: int | None = None
    accept: tuple[str, ...] = ()
    """The imperfections that the operator accepted for the last conversion."""
    relabelled: bool = False
    """Whether the report was collected as preliminary, and a shorter `delay_days` made it final."""
    rescued: Mapping[str, int] | None = None
    """The price, currency and time cells that did not fit at the last delivery, by column."""
    error: str | None = None
    """The name of the last error. `reason` is its sentence."""
    reason: str | None = None

    @property
    def execution_name(self) -> str:
        """The name of the present run. Step Functions accepts the name for only one execution."""
        return f"{self.report_id}-r{self.run}"

    @property
    def is_half(self) -> bool:
        """Whether this is a part of a window. Only whole windows are delivered."""
        return self.root is not None

    @property
    def is_asked_for(self) -> bool:
        """Whether the operator requested the report. If not, the calendar planned it."""
        return bool(self.backfill or self.tokens or self.attempts_before)

    @property
    def is_at_end(self) -> bool:
        """Whether the report is finished, so that only the operator or a later revision changes it.

        A half that is split itself is finished, because its own halves take its place.
        """
        return self.state in _ENDS or (self.state is State.SPLIT and self.is_half)

    def as_final(self) -> "Report":
        """Return the report as the final revision of its window."""
        return replace(self, revision=Revision.FINAL, revisions=self.delay_index + 1)

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
    """Derive the idempotency key of a report. `split_path` is empty for a whole window.

    Example: `sms-outbound-20261121T0000Z-0123456789ab`. A key has at most 64 characters. So the
    name of an execution (at most 80 characters) has room for the run's number.
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


def failure_token(failures: int) -> str:
    """Return the token of the recollect event that answers a report's n-th failure."""
    return f"{_FAILURE}{failures}"


def is_failure_token(token: str) -> bool:
    """Whether a token answers a failure, and is followed only while that failure lasts."""
    return re.fullmatch(rf"{_FAILURE}\d+", token) is not None


def report_ids_from(definition: str, start: datetime) -> str:
    """Return a lower bound for the report_ids of windows that start at or after `start`."""
    return f"{definition}-{start.astimezone(UTC):%Y%m%dT%H%MZ}"


def definition_of(report_id: str) -> str:
    """Return the name of the definition from which a `report_id` was derived."""
    return report_id.rsplit("-", 2)[0]
