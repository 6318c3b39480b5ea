"""A report: one definition x account x window x revision, and how far it has come."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any

from vonage_reports.domain.definitions import DEFAULT_MAX_RECORDS
from vonage_reports.domain.errors import ReportFailed
from vonage_reports.domain.profile import Profile
from vonage_reports.domain.windows import Window, format_instant


class State(StrEnum):
    """The states of a report in the ledger; `transitions` says what moves each of them."""

    PLANNED = "PLANNED"
    SUBMITTING = "SUBMITTING"
    SUBMITTED = "SUBMITTED"
    HELD = "HELD"
    SPLIT = "SPLIT"
    """Too large for one report: its halves are collected, and a half's halves."""
    CONVERTING = "CONVERTING"
    """The archives are there: those of a window that was split, or those of long ago."""
    STORED = "STORED"
    """A half whose archive is there; the window as a whole is converted."""
    DELIVERED = "DELIVERED"
    SUPERSEDED = "SUPERSEDED"
    """A preliminary revision that was not asked for: a later one had been delivered before."""
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    """Of a backfill that was cancelled before this window's turn came; or a part of a window that
    cannot be had whole."""


class RequestStatus(StrEnum):
    """Vonage's own words for the state of a report request: its field `request_status`."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    SUCCESS = "SUCCESS"
    TRUNCATED = "TRUNCATED"
    FAILED = "FAILED"
    ABORTED = "ABORTED"

    @classmethod
    def parse(cls, word: object) -> "RequestStatus":
        """Map Vonage's word, here and nowhere else. Raises ReportFailed for one nobody knows."""
        try:
            return cls(str(word))
        except ValueError:
            raise ReportFailed(
                f"Vonage answered with the request_status {word!r}, which is none that its "
                "documents name: look at the report in Vonage's dashboard"
            ) from None

    @property
    def is_terminal(self) -> bool:
        """Whether Vonage works on the report no more."""
        return self not in (RequestStatus.PENDING, RequestStatus.PROCESSING)


class Revision(StrEnum):
    """Statuses and prices still move after a window's end; the last collection is final."""

    PRELIMINARY = "preliminary"
    FINAL = "final"


class Priority(IntEnum):
    """Who takes the next slot: the lower number."""

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
    """One thing to ask Vonage for, as the ledger knows it. All times are instants in UTC."""

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
    """How long after its end the window is collected: the entry of `delay_days` at that index."""
    revisions: int = 1
    """How often the definition collects a window."""
    expected_rows: int | None = None
    profile: Profile | None = None
    """How the expected rows lie in the window; None: evenly, as far as anybody knows."""
    max_records: int = DEFAULT_MAX_RECORDS
    """More rows than this are not expected of one report: the window is split before."""
    currency: str | None = None
    backfill: str | None = None
    """The backfill that the window was planned by."""
    root: str | None = None
    """The report_id of the whole window that this is a part of."""
    split_path: str = ""
    """Which part: "0" the older half, "01" the younger half of that; empty: the whole."""
    leaves: int = 1
    """Into how many parts the whole window is split."""

    state: State = State.PLANNED
    version: int = 0
    """Counts the writes: a write is refused when somebody else wrote in between."""
    not_before: datetime | None = None
    """PLANNED: no POST before. SUBMITTED: the next run does not start before."""
    slot: int | None = None
    owner: str | None = None
    """SUBMITTING: the invocation that sends the POST."""
    look_after: datetime | None = None
    """The end of somebody's lease: nobody else touches the report before."""
    attempt: int = 0
    """Reports that Vonage took for this window and revision, the present one included."""
    attempts_before: int = 0
    """Those that were made before a person asked to collect the window again."""
    tokens: tuple[str, ...] = ()
    """The requests to collect it again that were followed."""
    submitted_at: datetime | None = None
    """When the POST of the present attempt was begun."""
    absent_since: datetime | None = None
    """SUBMITTING: when Vonage's list was first seen without the report."""
    unheard: bool = False
    """Whether a POST of this attempt had no answer, and was sent again."""
    request_id: str | None = None
    run: int = 0
    resumes: int = 0
    """Runs that failed since the present attempt began."""
    not_found: int = 0
    """Those of them, the last in a row, after which Vonage did not know the report or its file."""
    execution_input: str | None = None
    """What the present run is started with, to the byte."""
    receipts: tuple[str, ...] = ()
    """CONVERTING: the keys of the receipts, oldest first."""
    delivered_from: tuple[str, ...] = ()
    """Those of what was delivered last, whatever became of a later collection."""
    rows: int | None = None
    error: str | None = None
    """The name of the last error, and below its sentence."""
    reason: str | None = None

    @property
    def execution_name(self) -> str:
        """The name of the present run; one execution only can bear it."""
        return f"{self.report_id}-r{self.run}"

    @property
    def is_half(self) -> bool:
        """Whether this is a part of a window; only the window as a whole is delivered."""
        return self.root is not None

    @property
    def is_asked_for(self) -> bool:
        """Whether a person wants it now, by a backfill or once more; else the calendar does."""
        return bool(self.backfill or self.tokens or self.attempts_before)

    @property
    def is_at_end(self) -> bool:
        """Whether nothing moves the report any more, but a person.

        A half that is split itself has nothing left to do: the whole window counts the parts.
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

    `sms-outbound-20261121T0000Z-0123456789ab`: 64 characters at most, so that an execution's
    name (80 at most) has room for the run.
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
    """Return what no report_id of a window that begins at `start`, or later, sorts before."""
    return f"{definition}-{start.astimezone(UTC):%Y%m%dT%H%MZ}"


def definition_of(report_id: str) -> str:
    """Return the name of the definition that a `report_id` was derived from."""
    return report_id.rsplit("-", 2)[0]
