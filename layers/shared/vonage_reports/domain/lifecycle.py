"""The lifecycle of a report: its transitions as data, and `apply()` to carry out a transition.

`TRANSITIONS` lists every write of a report's state. `decisions` chooses a transition from an
observation. `docs/lifecycle.md` shows the table as a diagram, generated from this module.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from vonage_reports.domain.errors import IllegalTransition
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.report import Entry, Report, State
from vonage_reports.domain.run_input import execution_input
from vonage_reports.domain.traffic_profile import TrafficProfile


@dataclass(frozen=True)
class Plan:
    """A due window enters the ledger."""

    report: Report


@dataclass(frozen=True)
class Replan:
    """Collect a finished report once more. `token` identifies the operator's request."""

    token: str | None = None
    is_wanted: bool = False
    """Whether the operator's request concerns another part of the same window."""


@dataclass(frozen=True)
class Reopen:
    """Collect one part of a finished window once more. The window has `leaves` parts."""

    leaves: int


@dataclass(frozen=True)
class TakeSlot:
    """An invocation (`owner`) takes a slot, and a lease to send the POST.

    `callback` is the SHA-256 of the path that the POST gives Vonage; None without callbacks.
    """

    slot: int
    owner: str
    lease_until: datetime
    callback: str | None = None


@dataclass(frozen=True)
class Adopt:
    """Vonage has the report under this request_id."""

    request_id: str


@dataclass(frozen=True)
class PutBack:
    """Vonage has no such report. Nothing was billed, and no attempt counts.

    `unheard`: the POST got no answer, and Vonage's list does not show the report.
    `refused`: Vonage answered the POST with a refusal.
    `denied`: the refusal is about the account or the product. None: there was no such answer.
    """

    not_before: datetime
    error: str | None = None
    reason: str | None = None
    unheard: bool = False
    refused: bool = False
    denied: bool | None = None


@dataclass(frozen=True)
class LookUpAgain:
    """The first look-up found no report. Vonage's list may lag, so a second look-up decides."""

    look_after: datetime


@dataclass(frozen=True)
class Hold:
    """Only the operator can find out whether Vonage has the report, perhaps as `request_id`."""

    until: datetime
    reason: str
    request_id: str | None = None


@dataclass(frozen=True)
class ReleaseSlot:
    """A held report gives up its slot, because Vonage no longer works on the report."""


@dataclass(frozen=True)
class Resume:
    """Start a new run with the same request_id, to fetch the paid report and not buy another."""

    entry: Entry
    not_before: datetime
    frees_slot: bool
    error: str
    reason: str
    not_found: bool = False
    """Whether Vonage answered 404 for the report or its file."""


@dataclass(frozen=True)
class Resubmit:
    """Vonage ended the report, and has no file of it any more. Buy another report."""

    not_before: datetime
    error: str
    reason: str


@dataclass(frozen=True)
class Split:
    """The window is too large for one report, so its two parts are planned."""


@dataclass(frozen=True)
class Store:
    """The archive of a part is stored."""

    rows: int | None


@dataclass(frozen=True)
class Convert:
    """Start a run that converts the archives of these receipts, oldest first.

    `profile` has the number of rows of each archive. `relabels`: the archives were collected as the
    preliminary revision, which a change of the definition made final. `accept`: the imperfections
    that the operator accepts; the report forgets those of earlier conversions. `is_unregistered`:
    the run before wrote its manifest, and the catalogue does not have the partition yet.
    """

    receipts: tuple[str, ...]
    profile: TrafficProfile | None = None
    relabels: bool = False
    accept: tuple[str, ...] = ()
    is_unregistered: bool = False


@dataclass(frozen=True)
class Deliver:
    """The run succeeded. `rescued` counts price, currency and time cells that do not fit.

    `is_unregistered`: the catalogue does not have the window's partition yet. That is no matter of
    the report, so the ledger has an item of its own.
    """

    rows: int | None
    rescued: Mapping[str, int] | None = None
    is_unregistered: bool = False


@dataclass(frozen=True)
class Supersede:
    """A later revision of the window is already delivered."""


@dataclass(frozen=True)
class Withdraw:
    """The backfill was cancelled or another part failed, before this report was requested."""


@dataclass(frozen=True)
class GiveUp:
    """The operator withdraws the report, or has removed it from the report definitions.

    Until `slot_until`, Vonage may still work on it.
    """

    slot_until: datetime | None = None


@dataclass(frozen=True)
class Fail:
    """Only the operator can continue from here."""

    error: str
    reason: str
    part: str | None = None
    """For a split window: the report_id of the half to collect again."""
    part_failures: int | None = None
    """The number of times that this half failed; None if it did not fail."""
    is_stored: bool = False
    """Whether the archive is stored, so that another conversion costs nothing."""


Transition = (
    Plan | Replan | Reopen | TakeSlot | Adopt | PutBack | LookUpAgain | Hold | ReleaseSlot | Resume
    | Resubmit | Split | Store | Convert | Deliver | Supersede | Withdraw | GiveUp | Fail
)  # fmt: skip

TRANSITIONS: Mapping[State | None, Mapping[type[Transition], State]] = {
    None: {Plan: State.PLANNED},
    State.PLANNED: {
        TakeSlot: State.SUBMITTING,
        Split: State.SPLIT,
        Supersede: State.SUPERSEDED,
        Withdraw: State.CANCELLED,
        GiveUp: State.CANCELLED,
        # If Vonage refuses a report's parameters, the report is first put back, and then fails.
        Fail: State.FAILED,
    },
    State.SUBMITTING: {
        Adopt: State.SUBMITTED,
        PutBack: State.PLANNED,
        LookUpAgain: State.SUBMITTING,
        Hold: State.HELD,
        GiveUp: State.CANCELLED,
    },
    State.HELD: {
        Adopt: State.SUBMITTED,
        PutBack: State.PLANNED,
        ReleaseSlot: State.HELD,
        GiveUp: State.CANCELLED,
    },
    State.SUBMITTED: {
        Deliver: State.DELIVERED,
        # A preliminary revision became final while its run was at work.
        Convert: State.CONVERTING,
        Store: State.STORED,
        Resume: State.SUBMITTED,
        Resubmit: State.PLANNED,
        Split: State.SPLIT,
        # Vonage still refuses to show the report after 48 hours.
        Hold: State.HELD,
        GiveUp: State.CANCELLED,
        Fail: State.FAILED,
    },
    State.SPLIT: {
        Convert: State.CONVERTING,
        Fail: State.FAILED,
        Withdraw: State.CANCELLED,
        GiveUp: State.CANCELLED,
        # This state is final for a half that was split itself.
        Replan: State.PLANNED,
    },
    State.CONVERTING: {
        Deliver: State.DELIVERED,
        Convert: State.CONVERTING,
        Resume: State.CONVERTING,
        Fail: State.FAILED,
    },
    State.STORED: {Replan: State.PLANNED},
    State.DELIVERED: {
        Replan: State.PLANNED,
        Reopen: State.SPLIT,
        Convert: State.CONVERTING,
    },
    State.SUPERSEDED: {
        Replan: State.PLANNED,
        # An earlier collection of the window may have been delivered.
        Convert: State.CONVERTING,
    },
    State.FAILED: {
        Replan: State.PLANNED,
        Reopen: State.SPLIT,
        Convert: State.CONVERTING,
        GiveUp: State.CANCELLED,
    },
    State.CANCELLED: {
        Replan: State.PLANNED,
        Reopen: State.SPLIT,
        Convert: State.CONVERTING,
    },
}
"""The allowed transitions of each state, with the state that follows. The state None means that the
ledger does not have the report yet."""


def apply(report: Report | None, transition: Transition, *, now: datetime) -> Report:
    """Return the report after `transition`. The old lease ends, and a new lease may begin.

    Raises IllegalTransition if the report's state does not allow the transition in `TRANSITIONS`.
    """
    state = None if report is None else report.state
    target = TRANSITIONS[state].get(type(transition))
    if target is None:
        name = "an unknown report" if report is None else f"{report.report_id} is {state}:"
        raise IllegalTransition(f"{name} {type(transition).__name__} is not possible from there")
    if isinstance(transition, Plan):
        return replace(transition.report, state=target)
    assert report is not None
    changes = {"look_after": None, **_changes(report, transition, now)}
    changed = replace(report, state=target, **changes)
    if isinstance(transition, Adopt | Convert | Resume):
        changed = replace(changed, run=report.run + 1)
        entry = _entry_of(transition)
        changed = replace(changed, execution_input=execution_input(changed, entry))
    return changed


def _entry_of(transition: Adopt | Convert | Resume) -> Entry:
    if isinstance(transition, Resume):
        return transition.entry
    return Entry.CHECK if isinstance(transition, Adopt) else Entry.CONVERT


_NO_ERROR: Mapping[str, Any] = {
    "error": None,
    "reason": None,
    # A report that is collected or delivered is not withdrawn any more.
    "withdrawn_at": None,
    "slot_until": None,
}
_NEW_RUNS: Mapping[str, Any] = {
    "resumes": 0,
    "not_found": 0,
    "equal_failures": 0,
    "not_before": None,
    **_NO_ERROR,
}


def _changes(report: Report, transition: Transition, now: datetime) -> Mapping[str, Any]:
    """Return the fields that a transition changes, besides state, run and the run's input."""
    match transition:
        case Replan(token, is_wanted):
            tokens = report.tokens if token is None else (*report.tokens, token)
            return {
                **_collected_anew(report, now),
                "tokens": tokens,
                "is_wanted": is_wanted or token is not None,
            }
        case Reopen(leaves):
            # The higher attempt gives the new manifest precedence over the old manifest.
            attempt = report.attempt + 1
            return {
                **_collected_anew(report, now),
                "leaves": leaves,
                "attempt": attempt,
                "is_wanted": True,
            }
        case TakeSlot(slot, owner, lease_until, callback):
            return {
                "slot": slot,
                "owner": owner,
                "callback": callback,
                "look_after": lease_until,
                "submitted_at": now,
                "absent_since": None,
                "not_before": None,
            }
        case Adopt(request_id):
            return {
                **_NEW_RUNS,
                "request_id": request_id,
                # A held report may have had this request before.
                "attempt": report.attempt + (request_id != report.request_id),
                "receipts": (),
                "profile": None,
                "unheard": False,
                "refused_since": None,
                "denied_since": None,
                "absent_since": None,
            }
        case PutBack(not_before, error, reason) | Resubmit(not_before, error, reason):
            put_back = transition if isinstance(transition, PutBack) else PutBack(not_before)
            # The operator, who resolves a held report, has looked for the request.
            is_resolved = report.state is State.HELD
            earlier = None if is_resolved else report.refused_since
            refused_since = earlier or (report.submitted_at if put_back.refused else None)
            denied_since = report.denied_since
            if put_back.denied is not None:
                denied_since = (denied_since or report.submitted_at) if put_back.denied else None
            return {
                **_NEW_RUNS,
                "refused_since": refused_since,
                "denied_since": denied_since,
                "is_wanted": report.is_wanted or is_resolved,
                "slot": None,
                "request_id": None,
                "not_before": not_before,
                "absent_since": None,
                "unheard": report.unheard or put_back.unheard,
                "error": error,
                "reason": reason,
            }
        case LookUpAgain(look_after):
            return {"absent_since": now, "look_after": look_after}
        case Hold(until=until, reason=reason):
            return {
                "look_after": until,
                "error": "SubmissionUnknown",
                "reason": reason,
                "holds": report.holds + 1,
            }
        case ReleaseSlot():
            return {"slot": None}
        case Resume(entry, not_before, frees_slot, error, reason, not_found):
            own = () if entry is Entry.CHECK else (receipt_key(report),)
            return {
                "receipts": report.receipts or own,
                "resumes": report.resumes + 1,
                "not_found": report.not_found + 1 if not_found else 0,
                "equal_failures": report.equal_failures + 1 if error == report.error else 1,
                "not_before": not_before,
                "callback": None,
                "slot": None if frees_slot else report.slot,
                "error": error,
                "reason": reason,
            }
        case Split():
            # The window counts as one attempt even if it was split before its first request.
            attempt = report.attempt + (report.request_id is None)
            return {
                **_NO_ERROR,
                "slot": None,
                "attempt": attempt,
                "leaves": 2,
                "not_before": None,
            }
        case Store(rows):
            return {**_NO_ERROR, "slot": None, "rows": rows}
        case Convert(receipts, profile, relabels, accept):
            now_is = report.as_final() if relabels else report
            return {
                **_NEW_RUNS,
                "slot": None,
                "receipts": receipts,
                "profile": profile,
                "revision": now_is.revision,
                "revisions": now_is.revisions,
                "relabelled": report.relabelled or relabels,
                "accept": accept,
            }
        case Deliver(rows, rescued):
            return {
                **_NO_ERROR,
                "slot": None,
                "rows": rows,
                "rescued": rescued or None,
                "delivered_from": report.receipts or (receipt_key(report),),
            }
        case Fail(error, reason):
            failures = report.failures + 1
            return {"slot": None, "error": error, "reason": reason, "failures": failures}
        case GiveUp(slot_until):
            return {
                "slot": None,
                "slot_until": slot_until,
                "not_before": None,
                "withdrawn_at": report.withdrawn_at or now,
                # A later collection first looks for the report that this POST may have created.
                "refused_since": report.refused_since
                or (report.submitted_at if report.state is State.SUBMITTING else None),
            }
        case Supersede() | Withdraw():
            return {"not_before": None}
    raise TypeError(f"{transition!r} has no changes")


def _collected_anew(report: Report, now: datetime) -> Mapping[str, Any]:
    return {
        **_NO_ERROR,
        "planned_at": now,
        "denied_since": None,
        "not_before": None,
        "request_id": None,
        "leaves": 1,
        "receipts": (),
        "accept": (),
        "attempts_before": report.attempt,
        "expected_rows": report.expected_rows if report.rows is None else report.rows,
        "rows": None,
        "relabelled": False,
        "rescued": None,
    }
