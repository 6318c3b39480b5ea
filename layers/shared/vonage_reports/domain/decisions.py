"""The decisions of submit_reports: an observation of a report in, a transition out.

Pure functions. The caller writes the transition over the report as it was observed, so that of two
invocations with the same observation only one succeeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from vonage_reports.domain.errors import (
    RateLimited,
    SubmissionUnknown,
    VonageRejected,
    VonageReportsError,
    VonageUnreachable,
)
from vonage_reports.domain.lifecycle import (
    Adopt,
    Convert,
    Deliver,
    Fail,
    Hold,
    LookUpAgain,
    PutBack,
    ReleaseSlot,
    Resubmit,
    Resume,
    Split,
    Store,
    Supersede,
    Transition,
)
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.report import Entry, Report, RequestStatus, State
from vonage_reports.domain.splitting import MAX_LEAVES, can_be_split
from vonage_reports.domain.traffic_profile import TrafficProfile
from vonage_reports.domain.waits import (
    DEADLINE,
    LIST_RELIABLE_FOR,
    MAX_ATTEMPTS,
    MAX_EQUAL_FAILURES,
    MAX_RESUMES,
    NOT_FOUND_PATIENCE,
    UNSCALED,
    Waits,
)


class ExecutionStatus(Enum):
    """The state of a report's present run."""

    MISSING = "not started"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed, timed out or aborted"


@dataclass(frozen=True)
class Execution:
    """A run as Step Functions describes it: `rows` if it succeeded, `error` if it failed."""

    status: ExecutionStatus
    rows: int | None = None
    error: str | None = None
    reason: str | None = None


class Gone(Enum):
    """Vonage does not know the report any more (404)."""

    GONE = "gone"


class Unreadable(Enum):
    """The reason why the report's state at Vonage is unknown."""

    UNAVAILABLE = "no answer, or Vonage asks to wait: the next invocation asks again"
    UNKNOWN_STATUS = "a request_status that Vonage does not document"
    REFUSED = "a refusal that is about this report, not about the API key"


AtVonage = RequestStatus | Gone | Unreadable


@dataclass(frozen=True)
class Found:
    """Vonage's list has the report that the unanswered POST created."""

    request_id: str


@dataclass(frozen=True)
class Unclear:
    """Vonage's list is unavailable, or has a report that may be ours: the operator decides."""

    reason: str
    request_id: str | None = None


class NoMatch(Enum):
    """Vonage's list shows no such report."""

    ABSENT = "a well-formed list without the report"
    NOT_NOW = "no answer, or Vonage asks to wait: the next invocation looks again"


LookupResult = Found | Unclear | NoMatch


@dataclass(frozen=True)
class Stay:
    """Do nothing now."""


@dataclass(frozen=True)
class Start:
    """Start the present run with its stored input."""


@dataclass(frozen=True)
class Cancel:
    """Ask Vonage to stop the report (DELETE), then decide again.

    200: Vonage stopped it, and `then` follows. 409: the report had ended already, so its status is
    read once more. If the new decision is Cancel again, `then` follows without another DELETE.
    """

    then: Resubmit | Fail


Decision = Transition | Stay | Start | Cancel

_UNREADABLE = "RowsUnreadable"

_FINAL_ERRORS = frozenset({"RowsMismatch", _UNREADABLE, "ArchiveCorrupt"})
"""The file contradicts Vonage's own statements about it. Another download or report repeats
that."""


_TRANSIENT = frozenset(
    {
        "VonageUnavailable",
        "VonageUnreachable",
        "VonageRejected",
        "RateLimited",
        "ReportExpired",
        "ReportFailed",
        # AWS refuses a resource of the stack: its administrator mends that.
        "ResourceUnusable",
        "States.TaskFailed",
        "Lambda.ServiceException",
        "Lambda.AWSLambdaException",
        "Lambda.SdkClientException",
        "Lambda.TooManyRequestsException",
        "Lambda.Unknown",
        "Runtime.ExitError",
        # A run that was stopped, or that waited until the file expired.
        "ABORTED",
        "TIMED_OUT",
    }
)
"""Errors that a later run may not meet. Any other error is a defect in our code, and every later
run meets it again."""


def is_leased(report: Report, now: datetime) -> bool:
    """Whether another invocation may still be at work on the report."""
    return report.look_after is not None and report.look_after > now


def is_unacknowledged(report: Report, now: datetime) -> bool:
    """Whether the invocation that sent the POST ended without recording the answer."""
    return report.state is State.SUBMITTING and not is_leased(report, now)


def before_post(report: Report, *, leaves: int, later: State | None) -> Decision | None:
    """Decide whether a PLANNED report is requested at all; None: request it.

    A report that Vonage would truncate is split before it is paid for, as far as earlier
    deliveries predict its size.

    Args:
        report: The report.
        leaves: The number of parts of its whole window.
        later: The state of the window's later revision; None if there is none.
    """
    if later is State.DELIVERED:
        return Supersede()
    if later not in (None, State.FAILED, State.CANCELLED, State.SUPERSEDED):
        return Stay()
    is_too_large = report.expected_rows is not None and report.expected_rows > report.max_records
    # A report that cannot be split further is still requested, because its size is only an
    # estimate.
    return Split() if is_too_large and can_be_split(report, leaves) else None


def after_post(
    answer: str | VonageReportsError, *, now: datetime, waits: Waits = UNSCALED
) -> Decision:
    """Decide for a SUBMITTING report, from the request_id or the error that its POST led to."""
    if isinstance(answer, str):
        return Adopt(answer)
    if isinstance(answer, SubmissionUnknown):
        return Stay()
    error, reason = type(answer).__name__, str(answer)
    if isinstance(answer, VonageUnreachable):
        return PutBack(now + waits.rate_limit, error, reason)
    if isinstance(answer, RateLimited):
        asked = answer.retry_after
        wait = waits.rate_limit if asked is None else timedelta(seconds=asked)
        return PutBack(now + wait, error, reason)
    if isinstance(answer, VonageRejected) and answer.is_final:
        return Fail(error, reason)
    return PutBack(now + waits.refused, error, reason, refused=True)


def after_lookup(
    report: Report, seen: LookupResult, *, now: datetime, waits: Waits = UNSCALED
) -> Decision:
    """Decide for a SUBMITTING report without an answer, from a look-up in Vonage's list.

    An absence counts if two look-ups, some time apart and soon after the POST, agree: the list may
    lag, and it forgets. An absence counts only once per attempt. Otherwise we would resubmit
    without end if the list never showed our reports. Without proof a report is held, never
    resubmitted.
    """
    if isinstance(seen, Found):
        return Adopt(seen.request_id)
    if isinstance(seen, Unclear):
        return _hold(report, seen.reason, seen.request_id, now=now, waits=waits)
    if seen is NoMatch.NOT_NOW:
        return Stay()
    if report.absent_since is None:
        return LookUpAgain(now + waits.second_look_up)
    if report.unheard:
        reason = "a second POST got no answer either, and Vonage's list shows neither report"
        return _hold(report, reason, None, now=now, waits=waits)
    return PutBack(now, unheard=True)


def past_the_list(report: Report, *, now: datetime, waits: Waits = UNSCALED) -> Hold | None:
    """Hold a SUBMITTING report that is too old for a look-up; None for any other.

    A list that is unreadable until now may stay so, and the operator can only resolve a report that
    is held.
    """
    if report.submitted_at is not None and now - report.submitted_at <= LIST_RELIABLE_FOR:
        return None
    reason = "Vonage's list does not reach back to the POST"
    return _hold(report, reason, None, now=now, waits=waits)


def _hold(
    report: Report, reason: str, request_id: str | None, *, now: datetime, waits: Waits
) -> Hold:
    return Hold(waits.held_slot_until(now, report.submitted_at), reason, request_id)


def while_held(report: Report, *, now: datetime) -> Decision:
    """Decide for a HELD report: it keeps its slot for a limited time."""
    return Stay() if report.slot is None or is_leased(report, now) else ReleaseSlot()


def resolved(request_id: str | None, *, now: datetime) -> Transition:
    """Return the transition of a HELD report after the operator's answer; None: no such report."""
    return PutBack(now) if request_id is None else Adopt(request_id)


def while_split(leaves: Sequence[Report]) -> Decision:
    """Decide for a SPLIT window, from its parts, oldest first.

    The window waits for every part under way, even if another part failed: each is paid for, and
    is used when the operator has the failed part collected again.
    """
    if not all(leaf.is_at_end for leaf in leaves):
        return Stay()
    # A part that was withdrawn because another one failed is not the cause: look at it last.
    for leaf in sorted(leaves, key=lambda leaf: leaf.state is State.CANCELLED):
        if leaf.state is not State.STORED:
            reason = f"part {leaf.report_id} of the window failed: {leaf.reason}"
            return Fail(leaf.error or leaf.state, reason, leaf.report_id)
    rows = [(leaf.window.hours, leaf.rows) for leaf in leaves if leaf.rows is not None]
    profile = TrafficProfile(tuple(rows)) if len(rows) == len(leaves) else None
    return Convert(tuple(receipt_key(leaf) for leaf in leaves), profile)


def needs_vonage(report: Report, execution: Execution) -> bool:
    """Whether `decide` needs the report's status at Vonage."""
    return execution.status is ExecutionStatus.FAILED and report.state is State.SUBMITTED


def decide(
    report: Report,
    execution: Execution,
    at_vonage: AtVonage | None,
    *,
    entry: Entry,
    leaves: int = 1,
    now: datetime,
    waits: Waits = UNSCALED,
) -> Decision:
    """Decide for a report that has a run: SUBMITTED or CONVERTING.

    Args:
        report: The report.
        execution: Its present run.
        at_vonage: Its status at Vonage; None if Vonage was not asked.
        entry: Where a new run would begin. From CONVERT on, the archive is stored and verified.
        leaves: The number of parts of its whole window.
        now: The time of the observation.
        waits: The cool-downs.
    """
    if execution.status is ExecutionStatus.RUNNING:
        return Stay()
    if execution.status is ExecutionStatus.SUCCEEDED:
        return Store(execution.rows) if report.is_half else Deliver(execution.rows)
    if execution.status is ExecutionStatus.MISSING:
        due = report.not_before is None or report.not_before <= now
        return Start() if due else Stay()
    error, reason = execution.error or "unknown", execution.reason or "the run gave no reason"
    later = now + waits.cool_down(report.resumes + 1)
    if report.state is State.CONVERTING:
        # InvalidRequest: an object is missing in the bucket, and only a new collection restores it.
        if error in _FINAL_ERRORS or error == "InvalidRequest":
            return Fail(error, reason, is_stored=error == _UNREADABLE)
        if _is_hopeless(report, entry, error):
            return Fail(error, reason, is_stored=True)
        return Resume(entry, later, frees_slot=False, error=error, reason=reason)
    if at_vonage is None or at_vonage is Unreadable.UNAVAILABLE:
        return Stay()
    working = at_vonage in (RequestStatus.PENDING, RequestStatus.PROCESSING)
    if error in _FINAL_ERRORS and at_vonage in (RequestStatus.SUCCESS, Gone.GONE):
        return Fail(error, reason, is_stored=error == _UNREADABLE)
    if entry is not Entry.CHECK:
        if report.is_half and not working:
            return Store(execution.rows)
        if _is_hopeless(report, entry, error) and not working:
            return Fail(error, reason, is_stored=True)
        return Resume(entry, later, frees_slot=not working, error=error, reason=reason)
    if at_vonage is Unreadable.REFUSED:
        if report.submitted_at is None or now - report.submitted_at <= DEADLINE:
            return Stay()
        refused = f"Vonage refuses to show the report: {reason}"
        return _hold(report, refused, report.request_id, now=now, waits=waits)
    if at_vonage is Unreadable.UNKNOWN_STATUS:
        return Cancel(then=Fail("ReportFailed", reason))
    if working:
        if report.submitted_at is not None and now - report.submitted_at > DEADLINE:
            late = "Vonage had not finished the report after 48 hours"
            return Cancel(then=_buy_again(report, "ReportFailed", late, now, waits))
        return Resume(Entry.CHECK, later, frees_slot=False, error=error, reason=reason)
    if at_vonage is RequestStatus.TRUNCATED:
        if can_be_split(report, leaves):
            return Split()
        return Fail(
            "ReportTruncated",
            "Vonage truncated the report, and the window cannot be split further: "
            f"{MAX_LEAVES} parts or one hour are the limit. Add a definition with a new name and "
            "a shorter window",
        )
    if at_vonage is RequestStatus.SUCCESS:
        if error != "ReportExpired":
            return Resume(Entry.CHECK, later, frees_slot=True, error=error, reason=reason)
        if report.not_found < NOT_FOUND_PATIENCE:
            return Resume(
                Entry.CHECK, later, frees_slot=True, error=error, reason=reason, not_found=True
            )
        return _buy_again(report, error, reason, now, waits)
    if at_vonage is Gone.GONE:
        if report.not_found < NOT_FOUND_PATIENCE:
            return Resume(
                Entry.CHECK, later, frees_slot=False, error=error, reason=reason, not_found=True
            )
        reason = "Vonage deleted the report before it was stored"
        return _buy_again(report, "ReportExpired", reason, now, waits)
    ended = f"Vonage ended the report as {at_vonage.value}"
    return _buy_again(report, "ReportFailed", ended, now, waits)


def _is_hopeless(report: Report, entry: Entry, error: str) -> bool:
    """Whether a stored archive was converted in vain so often that the operator has to act."""
    is_repeated = error == report.error and report.equal_failures + 1 >= MAX_EQUAL_FAILURES
    if is_repeated and error not in _TRANSIENT:
        return True
    return entry is Entry.CONVERT and report.resumes >= MAX_RESUMES


def _buy_again(
    report: Report, error: str, reason: str, now: datetime, waits: Waits
) -> Resubmit | Fail:
    attempts = report.attempt - report.attempts_before
    if attempts < MAX_ATTEMPTS:
        return Resubmit(now + waits.cool_down(attempts), error, reason)
    return Fail(error, reason)
