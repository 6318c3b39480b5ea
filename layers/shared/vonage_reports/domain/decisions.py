"""The decisions of submit_reports: pure functions from an observed report to a transition.

The caller writes the transition only if the report is still as observed. So if two invocations
observe the same state, only one invocation succeeds.
"""

from collections.abc import Mapping, Sequence
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
from vonage_reports.domain.run_input import became_final
from vonage_reports.domain.splitting import MAX_LEAVES, can_be_split
from vonage_reports.domain.traffic_profile import TrafficProfile
from vonage_reports.domain.waits import (
    DEADLINE,
    DENIED_FOR,
    LIST_RELIABLE_FOR,
    MAX_ATTEMPTS,
    MAX_EQUAL_FAILURES,
    MAX_RESUMES,
    NOT_FOUND_PATIENCE,
    REPORT_KEPT,
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
    """A run as Step Functions describes it, with `rows` after success or `error` after failure.

    `rescued` is that of the run's notification. `is_unregistered`: the catalogue does not have the
    window's partition yet.
    """

    status: ExecutionStatus
    rows: int | None = None
    error: str | None = None
    reason: str | None = None
    rescued: Mapping[str, int] | None = None
    is_unregistered: bool = False


class Gone(Enum):
    """Vonage does not know the report any more (404)."""

    GONE = "gone"


class Unreadable(Enum):
    """Why the report's state at Vonage is unknown."""

    UNAVAILABLE = "Vonage asks to wait, or refuses the API key; the next invocation asks again"
    NO_ANSWER = "no answer, or a 5xx, which may last for this report alone"
    UNKNOWN_STATUS = "a request_status that Vonage does not document"
    REFUSED = "a refusal of this report, but not of the API key"


AtVonage = RequestStatus | Gone | Unreadable


@dataclass(frozen=True)
class Found:
    """Vonage's list has the report that the unanswered POST created."""

    request_id: str


@dataclass(frozen=True)
class Unclear:
    """Vonage's list is unavailable, or has a report that may be ours. The operator decides."""

    reason: str
    request_id: str | None = None


class NoMatch(Enum):
    """The look-up found no report."""

    ABSENT = "a well-formed list without the report"
    NOT_NOW = "no answer, or Vonage asks to wait; the next invocation looks again"
    DENIED = "Vonage refuses the account's list; the next invocation looks again"


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

    After 200, Vonage has stopped the report, and `then` follows. After 409, the report had ended
    already, so its status is read again. If the new decision is Cancel too, `then` follows without
    another DELETE.
    """

    then: Resubmit | Fail


Decision = Transition | Stay | Start | Cancel

_UNREADABLE = "RowsUnreadable"

_FINAL_ERRORS = frozenset({"RowsMismatch", _UNREADABLE, "ArchiveCorrupt"})
"""Errors of a file that contradicts Vonage's own statements. Another download or report would
repeat the contradiction."""


_TRANSIENT = frozenset(
    {
        "VonageUnavailable",
        "VonageUnreachable",
        "VonageRejected",
        "RateLimited",
        "ReportExpired",
        "ReportFailed",
        # AWS refuses a resource of the stack. An administrator can mend that.
        "ResourceUnusable",
        "States.TaskFailed",
        # Lambda's answer got lost: a slow function ends a minute earlier, as Sandbox.Timedout.
        "States.Timeout",
        # The run was stopped, or waited until the file expired.
        "ABORTED",
        "TIMED_OUT",
    }
)
"""Errors that may be gone in a later run. Any other error is a defect in our code, and recurs in
every later run."""

_OF_AWS = ("Lambda.", "Runtime.", "SNS.")
"""How the names of errors begin that AWS's services and Lambda's runtime raise. An administrator or
the next deployment can mend these too."""


def is_leased(report: Report, now: datetime) -> bool:
    """Whether another invocation may still be at work on the report."""
    return report.look_after is not None and report.look_after > now


def is_unacknowledged(report: Report, now: datetime) -> bool:
    """Whether the invocation that sent the POST ended before it recorded the answer."""
    return report.state is State.SUBMITTING and not is_leased(report, now)


def before_post(report: Report, *, leaves: int, later: State | None) -> Decision | None:
    """Decide about a PLANNED report before its POST. Return None to send the POST.

    If earlier deliveries predict that Vonage would truncate the report, split it before we pay.

    Args:
        report: The report.
        leaves: How many parts its whole window has.
        later: The state of the window's later revision, if any.
    """
    if later is State.DELIVERED:
        return Supersede()
    if later not in (None, State.FAILED, State.CANCELLED, State.SUPERSEDED):
        return Stay()
    is_too_large = report.expected_rows is not None and report.expected_rows > report.max_records
    # If a report cannot be split further, request it anyway, because its size is only an estimate.
    return Split() if is_too_large and can_be_split(report, leaves) else None


_WRONG_DEFINITION = (
    "If the definition is wrong, add it under a new name with `definitions edit`, and end this "
    "report with `withdraw`"
)
"""The way out of a refusal of the parameters: a definition never changes under its name."""


def after_post(
    answer: str | VonageReportsError, *, now: datetime, waits: Waits = UNSCALED
) -> Decision:
    """Decide about a SUBMITTING report, from the request_id or the error after its POST."""
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
        return Fail(error, f"{reason}. {_WRONG_DEFINITION}")
    # Vonage checks the key before anything else: a refusal of the key created nothing.
    is_of_the_key = isinstance(answer, VonageRejected) and answer.refuses_the_key
    is_denied = isinstance(answer, VonageRejected) and not answer.concerns_every_report
    later = now + waits.refused
    return PutBack(later, error, reason, refused=not is_of_the_key, denied=is_denied)


def after_denial(report: Report, *, now: datetime, reason: str | None = None) -> Fail | None:
    """Return a Fail if Vonage has refused the account or the product for 7 days, else None.

    `reason` is the present refusal, by default the one that the ledger has.
    """
    if report.denied_since is None or now - report.denied_since < DENIED_FOR:
        return None
    refused = f"account {report.account_id} or product {report.product}"
    days = f"{DENIED_FOR.days} days"
    said = reason or report.reason
    return Fail(
        "VonageRejected", f"Vonage has refused {refused} for {days}" + (f": {said}" if said else "")
    )


def after_lookup(
    report: Report, seen: LookupResult, *, now: datetime, waits: Waits = UNSCALED
) -> Decision:
    """Decide about a SUBMITTING report without an answer, from a look-up in Vonage's list.

    The list may lag, and drops old reports. So a report counts as absent only after two look-ups,
    some time apart and soon after the POST. An absence counts only once per attempt. Otherwise we
    would resubmit without end if the list never showed our reports. Without proof, hold the report
    and never resubmit it.
    """
    if isinstance(seen, Found):
        return Adopt(seen.request_id)
    if isinstance(seen, Unclear):
        return _hold(report, seen.reason, seen.request_id, now=now, waits=waits)
    if seen in (NoMatch.NOT_NOW, NoMatch.DENIED):
        return Stay()
    if report.absent_since is None:
        return LookUpAgain(now + waits.second_look_up)
    if report.unheard:
        reason = "two POSTs got no answer, and Vonage's list has no report of them"
        return _hold(report, reason, None, now=now, waits=waits)
    return PutBack(now, unheard=True)


def past_the_list(report: Report, *, now: datetime, waits: Waits = UNSCALED) -> Hold | None:
    """Return a Hold for a SUBMITTING report that is too old for a look-up, else None.

    The list may stay unreadable for ever, and the operator can resolve only held reports.
    """
    sent = report.refused_since or report.submitted_at
    if sent is not None and now - sent <= LIST_RELIABLE_FOR:
        return None
    reason = "Vonage's list does not reach back to the POST"
    return _hold(report, reason, None, now=now, waits=waits)


def _hold(
    report: Report, reason: str, request_id: str | None, *, now: datetime, waits: Waits
) -> Hold:
    return Hold(waits.held_slot_until(now, report.submitted_at), reason, request_id)


def while_held(report: Report, *, now: datetime) -> Decision:
    """Decide about a HELD report, which keeps its slot for a limited time."""
    return Stay() if report.slot is None or is_leased(report, now) else ReleaseSlot()


def resolved(request_id: str | None, *, now: datetime) -> Transition:
    """Return the transition of a HELD report. `request_id` is None if Vonage has no such report."""
    return PutBack(now) if request_id is None else Adopt(request_id)


def while_split(leaves: Sequence[Report]) -> Decision:
    """Decide about a SPLIT window, from its parts, oldest first.

    Wait for every part under way, even if another part failed. The parts under way are paid for,
    and are used once the operator recollects the failed part.
    """
    if not all(leaf.is_at_end for leaf in leaves):
        return Stay()
    # A part that was withdrawn after another part's failure is not the cause, so it comes last.
    for leaf in sorted(leaves, key=lambda leaf: leaf.state is State.CANCELLED):
        if leaf.state is not State.STORED:
            reason = f"part {leaf.report_id} of the window failed: {leaf.reason}"
            failures = leaf.failures if leaf.state is State.FAILED else None
            return Fail(leaf.error or leaf.state, reason, leaf.report_id, failures)
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
    """Decide about a report that has a run (SUBMITTED or CONVERTING).

    Args:
        report: The report.
        execution: The report's present run.
        at_vonage: The report's status at Vonage; None if Vonage was not asked.
        entry: Where a new run would begin. From CONVERT on, the archive is stored and verified.
        leaves: How many parts its whole window has.
        now: The time of the observation.
        waits: The cool-downs.
    """
    if execution.status is ExecutionStatus.RUNNING:
        return Stay()
    if execution.status is ExecutionStatus.SUCCEEDED:
        if report.is_half:
            return Store(execution.rows)
        if became_final(report):
            receipts = report.receipts or (receipt_key(report),)
            return Convert(
                receipts,
                report.profile,
                relabels=True,
                accept=report.accept,
                is_unregistered=execution.is_unregistered,
            )
        return Deliver(execution.rows, execution.rescued, execution.is_unregistered)
    if execution.status is ExecutionStatus.MISSING:
        due = report.not_before is None or report.not_before <= now
        return Start() if due else Stay()
    error, reason = execution.error or "unknown", execution.reason or "the run gave no reason"
    later = now + waits.cool_down(report.resumes + 1)
    if report.state is State.CONVERTING:
        # InvalidRequest: the bucket lacks an object that only a new collection restores.
        if error in _FINAL_ERRORS or error == "InvalidRequest":
            return Fail(error, reason, is_stored=_is_readable_again(error, entry))
        if _is_hopeless(report, entry, error):
            return Fail(error, reason, is_stored=True)
        return Resume(entry, later, frees_slot=False, error=error, reason=reason)
    if at_vonage is None or at_vonage is Unreadable.UNAVAILABLE:
        return Stay()
    if at_vonage is Unreadable.NO_ANSWER and entry is Entry.CHECK:
        if report.submitted_at is None or now - report.submitted_at <= DEADLINE + REPORT_KEPT:
            return Stay()
        gone = "Vonage has not answered about the report, and has deleted it by now"
        return _hold(report, gone, report.request_id, now=now, waits=waits)
    working = at_vonage in (RequestStatus.PENDING, RequestStatus.PROCESSING)
    if error in _FINAL_ERRORS and at_vonage in (RequestStatus.SUCCESS, Gone.GONE):
        return Fail(error, reason, is_stored=_is_readable_again(error, entry))
    if entry is not Entry.CHECK:
        if report.is_half and not working:
            return Store(execution.rows)
        if _is_hopeless(report, entry, error) and not working:
            return Fail(error, reason, is_stored=True)
        return Resume(entry, later, frees_slot=not working, error=error, reason=reason)
    if at_vonage is Unreadable.REFUSED:
        if report.submitted_at is None or now - report.submitted_at <= DEADLINE:
            return Stay()
        if error not in ("VonageRejected", "VonageUnavailable"):
            # The run failed for another reason. One refusal proves little: let a run ask again.
            return Resume(Entry.CHECK, later, frees_slot=False, error=error, reason=reason)
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


def _is_readable_again(error: str, entry: Entry) -> bool:
    """Whether the failure is about rows of a stored archive, which a reconversion reads again."""
    return error == _UNREADABLE or (error == "RowsMismatch" and entry is not Entry.CHECK)


def _is_hopeless(report: Report, entry: Entry, error: str) -> bool:
    """Whether conversion failed so often that only the operator can help."""
    if entry is not Entry.CONVERT:
        return False
    is_repeated = error == report.error and report.equal_failures + 1 >= MAX_EQUAL_FAILURES
    is_ours = error not in _TRANSIENT and not error.startswith(_OF_AWS)
    return (is_repeated and is_ours) or report.resumes >= MAX_RESUMES


def _buy_again(
    report: Report, error: str, reason: str, now: datetime, waits: Waits
) -> Resubmit | Fail:
    attempts = report.attempt - report.attempts_before
    if attempts < MAX_ATTEMPTS:
        return Resubmit(now + waits.cool_down(attempts), error, reason)
    return Fail(error, reason)
