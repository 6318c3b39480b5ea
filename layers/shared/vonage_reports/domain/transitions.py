"""What moves a report: the transition table of the ledger, without a clock and without calls.

::

    PLANNED ──take a slot──> SUBMITTING ──request_id──> SUBMITTED ──run succeeded──> DELIVERED
       ^                       │  │                      │ │ ^ │
       ├──429, 401, 403────────┘  └──400, 422──> FAILED  │ │ └─┘ resumed: same request_id, new run
       └──FAILED, ABORTED or expired at Vonage───────────┘ └──nothing more to try──> FAILED

`decide` answers for a SUBMITTED report. What Vonage says of it is asked only when `needs_vonage`.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from vonage_reports.domain import waits
from vonage_reports.domain.reports import Entry, Report, RequestStatus


class RunStatus(Enum):
    """The state of a report's present run."""

    MISSING = "not started"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed, timed out or aborted"


@dataclass(frozen=True)
class Run:
    """What Step Functions says of a run; `rows` where it succeeded, `error` where it failed."""

    status: RunStatus
    rows: int | None = None
    error: str | None = None
    reason: str | None = None


class Gone(Enum):
    """Vonage knows the report no more (404)."""

    GONE = "gone"


class Unreadable(Enum):
    """What keeps us from knowing how a report stands at Vonage."""

    UNAVAILABLE = "no answer, or not now: ask again in the next run"
    UNKNOWN_STATUS = "a request_status that nobody knows"


AtVonage = RequestStatus | Gone | Unreadable


@dataclass(frozen=True)
class Stay:
    """Nothing to do now."""


@dataclass(frozen=True)
class Start:
    """Start the present run with its stored input."""


@dataclass(frozen=True)
class Deliver:
    """The run succeeded: DELIVERED."""

    rows: int | None


@dataclass(frozen=True)
class Resume:
    """A new run with the same request_id: what was paid for is fetched, not bought again."""

    entry: Entry
    not_before: datetime
    frees_slot: bool


@dataclass(frozen=True)
class Again:
    """PLANNED again: Vonage ended the report without a file that could still be fetched."""

    not_before: datetime
    error: str
    reason: str


@dataclass(frozen=True)
class Fail:
    """FAILED: only a person can go on from here."""

    error: str
    reason: str


@dataclass(frozen=True)
class Cancel:
    """Ask Vonage to stop (DELETE). It did (200): `then`. It had ended by itself (409): look again.

    A second look that ends here again is answered with `then` as well: 409 was Vonage's word that
    it works on the report no more.
    """

    then: "Again | Fail"


Move = Stay | Start | Deliver | Resume | Again | Fail | Cancel

_FINAL_ERRORS = frozenset({"RowsMismatch", "ArchiveCorrupt", "ReportFailed"})
"""A file that Vonage has, and that fetching again does not mend."""


def needs_vonage(run: Run) -> bool:
    """Whether `decide` must be told how the report stands at Vonage."""
    return run.status is RunStatus.FAILED


def decide(
    report: Report,
    run: Run,
    at_vonage: AtVonage | None,
    *,
    stored: bool,
    now: datetime,
    scale: float = 1,
) -> Move:
    """Decide what comes next for a SUBMITTED report.

    `at_vonage` is None where nobody asked; `stored` says that the archive is in S3, proved, so
    that Vonage is not needed any more.
    """
    if run.status is RunStatus.RUNNING:
        return Stay()
    if run.status is RunStatus.SUCCEEDED:
        return Deliver(run.rows)
    if run.status is RunStatus.MISSING:
        due = report.not_before is None or report.not_before <= now
        return Start() if due else Stay()
    return _after_a_failed_run(report, run, at_vonage, stored=stored, now=now, scale=scale)


def _after_a_failed_run(
    report: Report,
    run: Run,
    at_vonage: AtVonage | None,
    *,
    stored: bool,
    now: datetime,
    scale: float,
) -> Move:
    error, reason = run.error or "unknown", run.reason or "the run ended without a word"
    later = now + scale * waits.cool_down(report.resumes + 1)
    working = at_vonage in (RequestStatus.PENDING, RequestStatus.PROCESSING)

    if at_vonage is None or at_vonage is Unreadable.UNAVAILABLE:
        return Stay()
    if stored:
        return Resume(Entry.ANNOUNCE, later, frees_slot=not working)
    if at_vonage is Unreadable.UNKNOWN_STATUS:
        return Cancel(then=Fail("ReportFailed", reason))
    if working:
        overdue = report.submitted_at is not None and now - report.submitted_at > waits.DEADLINE
        if overdue:
            return Cancel(
                then=_buy_again(report, "ReportFailed", "not ready in 48 hours", now, scale)
            )
        return Resume(Entry.CHECK, later, frees_slot=False)
    if at_vonage is RequestStatus.TRUNCATED:
        return Fail("ReportTruncated", "Vonage cut the report short: use a shorter window")
    if at_vonage is RequestStatus.SUCCESS:
        if error in _FINAL_ERRORS:
            return Fail(error, reason)
        if error != "ReportExpired":
            return Resume(Entry.CHECK, later, frees_slot=True)
        return _buy_again(report, error, reason, now, scale)
    if at_vonage is Gone.GONE:
        reason = "Vonage deleted the report before it was stored"
        return _buy_again(report, "ReportExpired", reason, now, scale)
    return _buy_again(
        report, "ReportFailed", f"Vonage ended the report as {at_vonage.value}", now, scale
    )


def _buy_again(
    report: Report, error: str, reason: str, now: datetime, scale: float
) -> Again | Fail:
    attempts = report.attempt - report.attempts_before
    if attempts < waits.MAX_ATTEMPTS:
        return Again(now + scale * waits.cool_down(attempts), error, reason)
    return Fail(error, reason)
