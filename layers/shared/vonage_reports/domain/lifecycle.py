"""What moves a report: the transition table of the ledger, without a clock and without calls.

::

                 429, 401, 403, or twice not in Vonage's list
               ┌─────────────────────────────────────────────┐
               v                                             │
    ──plan──> PLANNED ──slot taken──> SUBMITTING ────────────┤
               ^ ^ │                  │   │  │ ^ no answer:  │
               │ │ │                  │   │  └─┘ look later  │
               │ │ │      no list: HELD   │                  │
               │ └─"there is none"──┘ │   └──400, 422──────> FAILED <──────────┐
               │   │  "it is this one"v                                        │
               │   │                 SUBMITTED ──the run succeeded──> DELIVERED│
               │   │                  │ │ ^ │       (a half: STORED)      ^     │
               │   │                  │ │ └─┘ the run failed: a new run,  │     │
               │   │                  │ │     the same request            │     │
               └───│─ended or gone at─┘ ├──nothing more to try────────────│─────┤
                   │  Vonage: bought    │                                 │     │
                   │  again             │ cut short                       │     │
                   ├──expected too large┴──> SPLIT ──every half STORED──> CONVERTING
                   │                         └──a half FAILED────────────────> FAILED
                   ├──a later revision is delivered──> SUPERSEDED
                   └──its backfill is cancelled, or
                      another half has FAILED────────> CANCELLED

A window that is SPLIT is CANCELLED with its backfill too, if Vonage was asked for no half of it.

An observation goes in (`before_post`, `after_post`, `after_look`, `decide`, `while_held`,
`while_split`), a move comes out, and
`moved` says what the report is then. Whoever carries a move out writes it over the report as it
was observed, so that of two who see the same one does it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from vonage_reports.domain import waits
from vonage_reports.domain.errors import (
    RateLimited,
    SubmissionUnknown,
    VonageRejected,
    VonageReportsError,
    VonageUnreachable,
)
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.report import Entry, Report, RequestStatus, State
from vonage_reports.domain.run_input import execution_input
from vonage_reports.domain.traffic_profile import TrafficProfile


class ExecutionStatus(Enum):
    """The state of a report's present run."""

    MISSING = "not started"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed, timed out or aborted"


@dataclass(frozen=True)
class Execution:
    """What Step Functions says of a run; `rows` where it succeeded, `error` where it failed."""

    status: ExecutionStatus
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
class Found:
    """Vonage's list has the report that a POST without an answer made."""

    request_id: str


@dataclass(frozen=True)
class Unclear:
    """Vonage's list cannot be had, or has what may be the report: only a person can find out."""

    reason: str
    request_id: str | None = None


class NoMatch(Enum):
    """What else a look into Vonage's list may show."""

    ABSENT = "a well-formed list without the report"
    NOT_NOW = "no answer, or not now: look again in the next run"


LookupResult = Found | Unclear | NoMatch


@dataclass(frozen=True)
class Stay:
    """Nothing to do now."""


@dataclass(frozen=True)
class Start:
    """Start the present run with its stored input."""


@dataclass(frozen=True)
class Adopt:
    """SUBMITTED: this request of Vonage's is the report's."""

    request_id: str


@dataclass(frozen=True)
class Deliver:
    """DELIVERED: the run succeeded."""

    rows: int | None


@dataclass(frozen=True)
class Resume:
    """A new run with the same request_id: what was paid for is fetched, not bought again."""

    entry: Entry
    not_before: datetime
    frees_slot: bool
    error: str
    reason: str
    not_found: bool = False
    """Whether Vonage said 404, of the report or of its file."""


@dataclass(frozen=True)
class PutBack:
    """PLANNED again: Vonage has no such report. Nothing was billed, no attempt counts.

    `unheard`: that was found by looking, for a POST that had no answer.
    """

    not_before: datetime
    error: str | None = None
    reason: str | None = None
    unheard: bool = False


@dataclass(frozen=True)
class Resubmit:
    """PLANNED again: Vonage ended the report without a file that could still be fetched."""

    not_before: datetime
    error: str
    reason: str


@dataclass(frozen=True)
class LookUpAgain:
    """One look found nothing; a list may lag, so a second one decides."""

    look_after: datetime


@dataclass(frozen=True)
class Hold:
    """HELD: a person has to say whether Vonage took the report; perhaps as `request_id`."""

    until: datetime
    reason: str
    request_id: str | None = None


@dataclass(frozen=True)
class LetSlotGo:
    """HELD for so long that Vonage cannot be working on it any more."""


@dataclass(frozen=True)
class Fail:
    """FAILED: only a person can go on from here."""

    error: str
    reason: str
    part: str | None = None
    """Of a window that was split: the report_id of the part that has to be collected again."""
    is_stored: bool = False
    """Whether the archive is there: then to convert it once more costs nothing."""


@dataclass(frozen=True)
class Split:
    """SPLIT: too large for one report; its halves are planned."""


@dataclass(frozen=True)
class Store:
    """STORED: the archive of a half is there."""

    rows: int | None


@dataclass(frozen=True)
class Convert:
    """CONVERTING: a run that begins with these receipts, oldest first.

    `profile` says how many rows are in the archive of each.
    """

    receipts: tuple[str, ...]
    profile: TrafficProfile | None = None


@dataclass(frozen=True)
class Supersede:
    """SUPERSEDED: a later revision is delivered already."""


@dataclass(frozen=True)
class Withdraw:
    """CANCELLED before Vonage was asked: its backfill was, or another part cannot be had."""


@dataclass(frozen=True)
class Cancel:
    """Ask Vonage to stop (DELETE). It did (200): `then`. It had ended by itself (409): look again.

    A second look that ends here again is answered with `then` as well: 409 was Vonage's word that
    it works on the report no more.
    """

    then: "Resubmit | Fail"


Transition = (
    Stay | Start | Adopt | Deliver | Resume | PutBack | Resubmit | LookUpAgain | Hold | LetSlotGo
    | Fail | Split | Store | Convert | Supersede | Withdraw | Cancel
)  # fmt: skip

_UNREADABLE = "RowsUnreadable"

_FINAL_ERRORS = frozenset({"RowsMismatch", _UNREADABLE, "ArchiveCorrupt"})
"""What Vonage generated is not what it says: neither fetching nor buying it again mends that."""


MAX_LEAVES = 4
"""Into so many parts a window is split at most: beyond it a shorter window is the better way."""


def is_leased(report: Report, now: datetime) -> bool:
    """Whether an invocation that may still be at work has the report to itself."""
    return report.look_after is not None and report.look_after > now


def is_unacknowledged(report: Report, now: datetime) -> bool:
    """Whether the sender of a POST is over and did not say what became of it."""
    return report.state is State.SUBMITTING and not is_leased(report, now)


def before_post(report: Report, *, leaves: int, later: State | None) -> Transition | None:
    """Decide whether a PLANNED report is to be asked for at all; None: nothing is in its way.

    `leaves` are the parts that its whole window is split into, `later` is the state of its
    window's later revision, None where there is none. What Vonage would cut short is split before
    it is paid for, as far as earlier deliveries let one expect it.
    """
    if later is State.DELIVERED:
        return Supersede()
    if later not in (None, State.FAILED, State.CANCELLED, State.SUPERSEDED):
        return Stay()
    if report.expected_rows is not None and report.expected_rows > report.max_records:
        # What can be split no further is asked for all the same: Vonage knows, we only expect.
        return Split() if _can_be_split(report, leaves) else None
    return None


def _can_be_split(report: Report, leaves: int) -> bool:
    return leaves < MAX_LEAVES and report.window.can_be_halved


def after_post(answer: str | VonageReportsError, *, now: datetime, scale: float = 1) -> Transition:
    """Decide for a SUBMITTING report what the answer to its POST means.

    `answer` is the request_id, or the error that was raised; `scale` is a factor on waits of ours.
    """
    if isinstance(answer, str):
        return Adopt(answer)
    if isinstance(answer, SubmissionUnknown):
        return Stay()
    error, reason = type(answer).__name__, str(answer)
    if isinstance(answer, VonageUnreachable):
        return PutBack(now + scale * waits.RATE_LIMIT_WAIT, error, reason)
    if isinstance(answer, RateLimited):
        asked = answer.retry_after
        wait = scale * waits.RATE_LIMIT_WAIT if asked is None else timedelta(seconds=asked)
        return PutBack(now + wait, error, reason)
    if isinstance(answer, VonageRejected) and answer.is_final:
        return Fail(error, reason)
    return PutBack(now + scale * waits.REFUSED_WAIT, error, reason)


def after_lookup(
    report: Report, seen: LookupResult, *, now: datetime, scale: float = 1
) -> Transition:
    """Decide for a SUBMITTING report whose POST had no answer, from Vonage's list.

    Absent counts only when it was seen twice, some time apart, and soon enough: a list may lag,
    and forgets. It counts once: a list that never shows what was sent would have it bought for
    ever. What cannot be known is never sent again by itself.
    """
    if isinstance(seen, Found):
        return Adopt(seen.request_id)
    if isinstance(seen, Unclear):
        return Hold(now + scale * waits.HELD_SLOT, seen.reason, seen.request_id)
    if report.submitted_at is None or now - report.submitted_at > waits.LOOK_UNTIL:
        # A list that cannot be read by now may be so for ever: only what is held can be resolved.
        reason = "Vonage's list reaches back too little to tell"
        return Hold(now + scale * waits.HELD_SLOT, reason)
    if seen is NoMatch.NOT_NOW:
        return Stay()
    if report.absent_since is None:
        return LookUpAgain(now + scale * waits.LOOK_AGAIN)
    if report.unheard:
        reason = "a second POST had no answer either, and Vonage's list shows neither"
        return Hold(now + scale * waits.HELD_SLOT, reason)
    return PutBack(now, unheard=True)


def while_held(report: Report, *, now: datetime) -> Transition:
    """Decide for a HELD report: it keeps its slot for a day at most."""
    return Stay() if report.slot is None or is_leased(report, now) else LetSlotGo()


def resolved(request_id: str | None, *, now: datetime) -> Transition:
    """Decide for a HELD report by a person's word: it is that request, or (None) there is none."""
    return PutBack(now) if request_id is None else Adopt(request_id)


def while_split(leaves: Sequence[Report]) -> Transition:
    """Decide for a whole window that is SPLIT, from its parts, oldest first.

    What is under way is waited for, also when a part has failed: it is paid for, and is used when
    a person has that part collected again.
    """
    if not all(leaf.is_at_end for leaf in leaves):
        return Stay()
    # What was withdrawn because another part cannot be had is not the reason.
    for leaf in sorted(leaves, key=lambda leaf: leaf.state is State.CANCELLED):
        if leaf.state is not State.STORED:
            reason = f"a part of the window, {leaf.report_id}, could not be had: {leaf.reason}"
            return Fail(leaf.error or leaf.state, reason, leaf.report_id)
    rows = [(leaf.window.hours, leaf.rows) for leaf in leaves if leaf.rows is not None]
    profile = TrafficProfile(tuple(rows)) if len(rows) == len(leaves) else None
    return Convert(tuple(receipt_key(leaf) for leaf in leaves), profile)


def needs_vonage(report: Report, run: Execution) -> bool:
    """Whether `decide` must be told how the report stands at Vonage."""
    return run.status is ExecutionStatus.FAILED and report.state is State.SUBMITTED


def decide(
    report: Report,
    run: Execution,
    at_vonage: AtVonage | None,
    *,
    entry: Entry,
    leaves: int = 1,
    now: datetime,
    scale: float = 1,
) -> Transition:
    """Decide what comes next for a report that has a run: SUBMITTED or CONVERTING.

    `at_vonage` is None where nobody asked; `entry` is where a run that begins now would begin: at
    CONVERT the archive is in S3, proved, so that Vonage is not needed any more; `leaves` are the
    parts that the whole window is split into; `scale` is a factor on every cool-down.
    """
    if run.status is ExecutionStatus.RUNNING:
        return Stay()
    if run.status is ExecutionStatus.SUCCEEDED:
        return Store(run.rows) if report.is_half else Deliver(run.rows)
    if run.status is ExecutionStatus.MISSING:
        due = report.not_before is None or report.not_before <= now
        return Start() if due else Stay()
    error, reason = run.error or "unknown", run.reason or "the run ended without a word"
    later = now + scale * waits.cool_down(report.resumes + 1)
    if report.state is State.CONVERTING:
        # What is missing in the bucket does not come back: a person has to collect it again.
        if error in _FINAL_ERRORS or error == "InvalidRequest":
            return Fail(error, reason, is_stored=error == _UNREADABLE)
        if _is_hopeless(report, entry):
            return Fail(error, reason, is_stored=True)
        return Resume(entry, later, frees_slot=False, error=error, reason=reason)
    if at_vonage is None or at_vonage is Unreadable.UNAVAILABLE:
        return Stay()
    working = at_vonage in (RequestStatus.PENDING, RequestStatus.PROCESSING)
    if error in _FINAL_ERRORS and at_vonage in (RequestStatus.SUCCESS, Gone.GONE):
        return Fail(error, reason, is_stored=error == _UNREADABLE)
    if entry is not Entry.CHECK:
        if report.is_half and not working:
            return Store(run.rows)
        if _is_hopeless(report, entry) and not working:
            return Fail(error, reason, is_stored=True)
        return Resume(entry, later, frees_slot=not working, error=error, reason=reason)
    if at_vonage is Unreadable.UNKNOWN_STATUS:
        return Cancel(then=Fail("ReportFailed", reason))
    if working:
        overdue = report.submitted_at is not None and now - report.submitted_at > waits.DEADLINE
        if overdue:
            late = "Vonage had not finished it after 48 hours"
            return Cancel(then=_buy_again(report, "ReportFailed", late, now, scale))
        return Resume(Entry.CHECK, later, frees_slot=False, error=error, reason=reason)
    if at_vonage is RequestStatus.TRUNCATED:
        if _can_be_split(report, leaves):
            return Split()
        return Fail(
            "ReportTruncated",
            f"Vonage cut the report short, and {MAX_LEAVES} reports, or one of an hour, are the "
            "most for one window: use a definition of a new name with a shorter window",
        )
    if at_vonage is RequestStatus.SUCCESS:
        if error != "ReportExpired":
            return Resume(Entry.CHECK, later, frees_slot=True, error=error, reason=reason)
        if report.not_found < waits.NOT_FOUND_PATIENCE:
            return Resume(
                Entry.CHECK, later, frees_slot=True, error=error, reason=reason, not_found=True
            )
        return _buy_again(report, error, reason, now, scale)
    if at_vonage is Gone.GONE:
        if report.not_found < waits.NOT_FOUND_PATIENCE:
            return Resume(
                Entry.CHECK, later, frees_slot=False, error=error, reason=reason, not_found=True
            )
        reason = "Vonage deleted the report before it was stored"
        return _buy_again(report, "ReportExpired", reason, now, scale)
    ended = f"Vonage ended the report as {at_vonage.value}"
    return _buy_again(report, "ReportFailed", ended, now, scale)


def _is_hopeless(report: Report, entry: Entry) -> bool:
    """Whether a stored archive was converted in vain for so long that a person has to look."""
    return entry is Entry.CONVERT and report.resumes >= waits.MAX_RESUMES


def _buy_again(
    report: Report, error: str, reason: str, now: datetime, scale: float
) -> Resubmit | Fail:
    attempts = report.attempt - report.attempts_before
    if attempts < waits.MAX_ATTEMPTS:
        return Resubmit(now + scale * waits.cool_down(attempts), error, reason)
    return Fail(error, reason)


def taken(report: Report, *, slot: int, owner: str, lease_until: datetime, now: datetime) -> Report:
    """Return a PLANNED report as it is when its POST is about to be sent."""
    return replace(
        report,
        state=State.SUBMITTING,
        slot=slot,
        owner=owner,
        look_after=lease_until,
        submitted_at=now,
        absent_since=None,
        not_before=None,
    )


def apply(report: Report, transition: Transition, *, now: datetime) -> Report:
    """Return the report as it is after `move`; every lease is over with it."""
    report = replace(report, look_after=None)
    match transition:
        case Adopt(request_id):
            adopted = replace(
                report,
                state=State.SUBMITTED,
                request_id=request_id,
                attempt=report.attempt + 1,
                run=report.run + 1,
                resumes=0,
                not_found=0,
                receipts=(),
                profile=None,
                unheard=False,
                not_before=None,
                absent_since=None,
                error=None,
                reason=None,
            )
            return replace(adopted, execution_input=execution_input(adopted, Entry.CHECK))
        case Convert(receipts, profile):
            converting = replace(
                report,
                state=State.CONVERTING,
                slot=None,
                receipts=receipts,
                profile=profile,
                run=report.run + 1,
                resumes=0,
                not_found=0,
                not_before=None,
                error=None,
                reason=None,
            )
            return replace(converting, execution_input=execution_input(converting, Entry.CONVERT))
        case Resume(entry, not_before, frees_slot, error, reason, not_found):
            own = () if entry is Entry.CHECK else (receipt_key(report),)
            resumed = replace(
                report,
                receipts=report.receipts or own,
                run=report.run + 1,
                resumes=report.resumes + 1,
                not_found=report.not_found + 1 if not_found else 0,
                not_before=not_before,
                slot=None if frees_slot else report.slot,
                error=error,
                reason=reason,
            )
            return replace(resumed, execution_input=execution_input(resumed, entry))
        case PutBack(not_before, error, reason) | Resubmit(not_before, error, reason):
            return replace(
                report,
                state=State.PLANNED,
                slot=None,
                request_id=None,
                not_before=not_before,
                absent_since=None,
                unheard=report.unheard or (isinstance(transition, PutBack) and transition.unheard),
                resumes=0,
                not_found=0,
                error=error,
                reason=reason,
            )
        case LookUpAgain(look_after):
            return replace(report, absent_since=now, look_after=look_after)
        case Hold(until=until, reason=reason):
            return replace(
                report,
                state=State.HELD,
                look_after=until,
                error="SubmissionUnknown",
                reason=reason,
            )
        case LetSlotGo():
            return replace(report, slot=None)
        case Deliver(rows):
            return replace(
                report,
                state=State.DELIVERED,
                slot=None,
                rows=rows,
                delivered_from=report.receipts or (receipt_key(report),),
                error=None,
                reason=None,
            )
        case Fail(error, reason):
            return replace(report, state=State.FAILED, slot=None, error=error, reason=reason)
        case Split():
            # A window that is split before it was asked for is collected once all the same.
            return replace(
                report,
                state=State.SPLIT,
                slot=None,
                attempt=report.attempt + (report.request_id is None),
                leaves=2,
                not_before=None,
                error=None,
                reason=None,
            )
        case Store(rows):
            return replace(
                report, state=State.STORED, slot=None, rows=rows, error=None, reason=None
            )
        case Supersede():
            return replace(report, state=State.SUPERSEDED, not_before=None)
        case Withdraw():
            return replace(report, state=State.CANCELLED, not_before=None)
    raise TypeError(f"{transition} changes nothing in the ledger")
