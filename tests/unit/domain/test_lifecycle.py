"""The transition table, walked over the product of states and transitions."""

import re
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, get_args

import pytest

from local.generate_docs import DOCS
from tests.support.reports import make_report
from vonage_reports.domain.errors import IllegalTransition
from vonage_reports.domain.lifecycle import (
    TRANSITIONS,
    Adopt,
    Convert,
    Deliver,
    Fail,
    GiveUp,
    Hold,
    LookUpAgain,
    Plan,
    PutBack,
    ReleaseSlot,
    Reopen,
    Replan,
    Resubmit,
    Resume,
    Split,
    Store,
    Supersede,
    TakeSlot,
    Transition,
    Withdraw,
    apply,
)
from vonage_reports.domain.report import Entry, Report, State

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=6)
PLANNED = make_report(
    report_id="sms-outbound-20261121T0000Z-0123456789ab", planned_at=NOW - timedelta(hours=1)
)
# One report with every field set: a transition has to clear those that do not hold after it.
BUSY = replace(
    PLANNED,
    slot=3,
    owner="another",
    look_after=NOW - timedelta(minutes=1),
    not_before=NOW,
    attempt=2,
    submitted_at=NOW - timedelta(hours=1),
    absent_since=NOW,
    request_id="6c5506b7-f16a-44dc-af06-756bbf467488",
    run=4,
    resumes=2,
    not_found=1,
    failures=5,
    holds=6,
    leaves=2,
    rows=7,
    error="VonageUnavailable",
    reason="no answer",
)
EACH: tuple[Transition, ...] = (
    Plan(PLANNED),
    Replan(),
    Reopen(leaves=3),
    TakeSlot(1, "one", LATER),
    Adopt("request-2"),
    PutBack(LATER),
    LookUpAgain(LATER),
    Hold(LATER, "the list is gone"),
    ReleaseSlot(),
    Resume(Entry.CHECK, LATER, frees_slot=True, error="States.Timeout", reason="too late"),
    Resubmit(LATER, "ReportFailed", "Vonage ended it"),
    Split(),
    Store(12),
    Convert(("a.json",)),
    Deliver(12),
    Supersede(),
    Withdraw(),
    GiveUp(LATER),
    Fail("RowsMismatch", "11 of 12"),
)
PRODUCT = list(product((None, *State), EACH))
FINISHED = {
    State.STORED,
    State.DELIVERED,
    State.SUPERSEDED,
    State.FAILED,
    State.CANCELLED,
}


def report_in(state: State | None) -> Report | None:
    return None if state is None else replace(BUSY, state=state)


def named(value: Any) -> str:
    return type(value).__name__ if type(value) in get_args(Transition) else str(value)


def test_every_transition_and_every_state_is_walked() -> None:
    assert {type(each) for each in EACH} == set(get_args(Transition))
    assert set(TRANSITIONS) == {None, *State}


@pytest.mark.parametrize(("state", "transition"), PRODUCT, ids=named)
def test_transition_leads_where_the_table_says_or_is_refused(
    state: State | None, transition: Transition
) -> None:
    target = TRANSITIONS[state].get(type(transition))

    if target is None:
        with pytest.raises(IllegalTransition, match=type(transition).__name__):
            apply(report_in(state), transition, now=NOW)
    else:
        assert apply(report_in(state), transition, now=NOW).state is target


@pytest.mark.parametrize(
    ("state", "transition"),
    [
        (State.PLANNED, Deliver(3)),
        (State.FAILED, Adopt("request-2")),
        (State.DELIVERED, PutBack(NOW)),
        (State.SUBMITTED, TakeSlot(1, "one", LATER)),
        (State.CANCELLED, Resume(Entry.CHECK, NOW, frees_slot=False, error="x", reason="y")),
        (State.CONVERTING, Replan()),
        (State.SUBMITTED, Replan()),
        (State.SUBMITTING, Withdraw()),
    ],
    ids=named,
)
def test_transition_that_would_break_a_promise_is_refused(
    state: State, transition: Transition
) -> None:
    with pytest.raises(IllegalTransition, match=f"0123456789ab is {state}: "):
        apply(report_in(state), transition, now=NOW)


def allowed() -> list[tuple[State | None, Transition]]:
    return [(state, each) for state, each in PRODUCT if type(each) in TRANSITIONS[state]]


@pytest.mark.parametrize(("state", "transition"), allowed(), ids=named)
def test_no_lease_survives_a_transition(state: State | None, transition: Transition) -> None:
    after = apply(report_in(state), transition, now=NOW)

    # A lease that ended before the transition, or none: never the old one.
    assert after.look_after in (None, LATER)


@pytest.mark.parametrize(("state", "transition"), allowed(), ids=named)
def test_slots_belong_to_reports_in_flight(state: State | None, transition: Transition) -> None:
    before = report_in(state)
    if before is not None and (state in FINISHED or state in (State.PLANNED, State.SPLIT)):
        before = replace(before, slot=None)
    after = apply(before, transition, now=NOW)

    if after.state not in (State.SUBMITTING, State.SUBMITTED, State.HELD, State.CONVERTING):
        assert after.slot is None


@pytest.mark.parametrize(("state", "transition"), allowed(), ids=named)
def test_failures_and_holds_are_counted(state: State | None, transition: Transition) -> None:
    before = report_in(state)
    after = apply(before, transition, now=NOW)

    known = before or PLANNED
    assert after.failures == known.failures + (after.state is State.FAILED)
    assert after.holds == known.holds + isinstance(transition, Hold)


@pytest.mark.parametrize(("state", "transition"), allowed(), ids=named)
def test_a_new_run_has_a_new_input(state: State | None, transition: Transition) -> None:
    before = report_in(state)
    after = apply(before, transition, now=NOW)

    if isinstance(transition, Adopt | Convert | Resume):
        assert after.run == BUSY.run + 1
        assert after.execution_input is not None
        assert f'"run": {after.run}' in after.execution_input
    elif before is not None:
        assert (after.run, after.execution_input) == (before.run, before.execution_input)


@pytest.mark.parametrize(("state", "transition"), allowed(), ids=named)
def test_identity_of_a_report_never_changes(state: State | None, transition: Transition) -> None:
    after = apply(report_in(state), transition, now=NOW)

    identity = ("report_id", "definition", "product", "account_id", "filters", "window", "root")
    assert [getattr(after, name) for name in identity] == [
        getattr(PLANNED, name) for name in identity
    ]
    assert {each.name for each in fields(Report)} >= set(identity)


def test_from_every_state_the_table_leads_to_an_end() -> None:
    ending: set[State | None] = set(FINISHED)
    while (
        more := {state for state, ways in TRANSITIONS.items() if ending & set(ways.values())}
        - ending
    ):
        ending |= more

    assert ending == {None, *State}


def test_the_operator_ends_each_failure_and_every_open_state_or_its_run_does() -> None:
    for state in State:
        if state in FINISHED - {State.FAILED}:
            continue
        ways = TRANSITIONS[state]
        if state is State.CONVERTING:
            # Its archives are stored: the run costs nothing, and fails after MAX_RESUMES.
            assert {ways[Deliver], ways[Fail]} <= FINISHED
        else:
            assert ways[GiveUp] is State.CANCELLED


def test_every_state_is_reached_from_the_first_plan() -> None:
    reached: set[State] = set()
    found = set(TRANSITIONS[None].values())
    while found:
        reached |= found
        found = {target for state in found for target in TRANSITIONS[state].values()} - reached

    assert reached == set(State)


def test_the_documentation_shows_this_table() -> None:
    page = (DOCS / "lifecycle.md").read_text()

    for state, ways in TRANSITIONS.items():
        for transition, target in ways.items():
            (line,) = re.findall(
                rf"^    {re.escape(state or '[*]')} --> {target}: (.*)$", page, re.MULTILINE
            )
            assert transition.__name__ in line.split(", ")
