import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import product

import pytest

from tests.support.reports import make_report
from vonage_reports.check_report import readiness
from vonage_reports.domain import errors, waits
from vonage_reports.domain.lifecycle import (
    MAX_LEAVES,
    Adopt,
    AtVonage,
    Cancel,
    Convert,
    Deliver,
    Execution,
    ExecutionStatus,
    Fail,
    Found,
    Gone,
    Hold,
    LookUpAgain,
    NoMatch,
    PutBack,
    Resubmit,
    Resume,
    Split,
    Start,
    Stay,
    Store,
    Supersede,
    Transition,
    Unclear,
    Unreadable,
    Withdraw,
    after_lookup,
    after_post,
    apply,
    before_post,
    decide,
    is_unacknowledged,
    needs_vonage,
    resolved,
    taken,
    while_held,
    while_split,
)
from vonage_reports.domain.profile import Profile
from vonage_reports.domain.report import (
    Entry,
    Priority,
    Report,
    RequestStatus,
    State,
    halves_of,
    replanned,
)
from vonage_reports.domain.slots import may_be_submitted
from vonage_reports.vonage.answers import ReportRequest

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
WORKING = (RequestStatus.PENDING, RequestStatus.PROCESSING)
ENDED_WITHOUT_FILE = (RequestStatus.FAILED, RequestStatus.ABORTED, Gone.GONE)
ENDED = (RequestStatus.SUCCESS, RequestStatus.TRUNCATED, *ENDED_WITHOUT_FILE)
OUR_ERRORS = tuple(
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.VonageReportsError)
)
RUN_ERRORS = (
    None,
    *OUR_ERRORS,
    "States.Timeout",
    "Lambda.Unknown",
    "Runtime.ExitError",
    "KeyError",
)
# Retrieving it again does not mend it, and it was paid for: a person has to look.
BROKEN_FOR_GOOD = ("RowsMismatch", "RowsUnreadable", "ArchiveCorrupt")

REPORT = make_report(
    planned_at=NOW - timedelta(hours=1),
    state=State.SUBMITTED,
    slot=3,
    attempt=1,
    submitted_at=NOW - timedelta(hours=1),
    request_id="6c5506b7-f16a-44dc-af06-756bbf467488",
    run=1,
)


HALF, OTHER_HALF = halves_of(REPORT, now=NOW)
HALF = replace(
    HALF,
    state=State.SUBMITTED,
    slot=4,
    attempt=1,
    submitted_at=NOW - timedelta(hours=1),
    request_id="ri3p58f-half",
    run=1,
)
CONVERTING = apply(
    replace(REPORT, state=State.SPLIT, slot=None, leaves=2),
    Convert(("older.json", "younger.json")),
    now=NOW,
)


@dataclass(frozen=True)
class Case:
    """A run that ended badly, and all that may bear on what comes next."""

    report: Report
    entry: Entry
    error: str | None
    at_vonage: AtVonage | None
    attempt: int
    hours: int
    """Since the POST."""
    resumes: int

    @property
    def overdue(self) -> bool:
        return self.hours > 48

    @property
    def is_stored(self) -> bool:
        return self.entry is not Entry.CHECK

    @cached_property
    def transition(self) -> Transition:
        report = replace(
            self.report,
            attempt=self.attempt,
            resumes=self.resumes,
            not_found=self.resumes,
            submitted_at=NOW - timedelta(hours=self.hours),
        )
        run = Execution(
            ExecutionStatus.FAILED, error=self.error, reason=self.error and "it went wrong"
        )
        return decide(report, run, self.at_vonage, entry=self.entry, now=NOW)

    @property
    def last_word(self) -> Transition:
        """The move, or what it becomes once Vonage agreed to stop."""
        return self.transition.then if isinstance(self.transition, Cancel) else self.transition


CASES = [
    Case(report, entry, *each)
    # A part is not announced.
    for report, entries in ((REPORT, Entry), (HALF, (Entry.CHECK, Entry.CONVERT)))
    for entry in entries
    for each in product(
        RUN_ERRORS, [None, *RequestStatus, *Gone, *Unreadable], [1, 2, 3], [1, 49], [0, 3, 4]
    )
]


def failed_run(error: str) -> Execution:
    return Execution(ExecutionStatus.FAILED, error=error, reason="it went wrong")


def told(cases: Iterable[Case]) -> list[tuple[Case, Transition]]:
    return [(case, case.transition) for case in cases]


def test_a_running_report_is_left_alone_whatever_else_is_said() -> None:
    run = Execution(ExecutionStatus.RUNNING)
    for at_vonage, entry, report in product(
        [None, *RequestStatus, *Gone, *Unreadable], Entry, [REPORT, HALF, CONVERTING]
    ):
        assert decide(report, run, at_vonage, entry=entry, now=NOW) == Stay()


@pytest.mark.parametrize(
    ("report", "transition", "state"),
    [
        (REPORT, Deliver(1200), State.DELIVERED),
        (CONVERTING, Deliver(1200), State.DELIVERED),
        (HALF, Store(1200), State.STORED),
    ],
    ids=["a window", "a window in parts", "a part"],
)
def test_a_run_that_succeeded_delivers_a_window_and_stores_a_part(
    report: Report, transition: Transition, state: State
) -> None:
    run = Execution(ExecutionStatus.SUCCEEDED, rows=1200)

    assert decide(report, run, None, entry=Entry.CHECK, now=NOW) == transition
    after = apply(report, transition, now=NOW)
    assert (after.state, after.rows, after.slot, after.error) == (state, 1200, None, None)
    assert after.is_at_end


@pytest.mark.parametrize(
    ("not_before", "transition"),
    [
        (None, Start()),
        (NOW - timedelta(minutes=1), Start()),
        (NOW, Start()),
        (NOW + timedelta(seconds=1), Stay()),
    ],
)
def test_a_run_that_is_missing_is_started_after_its_cool_down(
    not_before: datetime | None, transition: Transition
) -> None:
    report = replace(REPORT, not_before=not_before)

    assert (
        decide(report, Execution(ExecutionStatus.MISSING), None, entry=Entry.CHECK, now=NOW)
        == transition
    )


def test_vonage_is_asked_only_about_its_own_reports_whose_runs_failed() -> None:
    asked = [status for status in ExecutionStatus if needs_vonage(REPORT, Execution(status))]

    assert asked == [ExecutionStatus.FAILED]
    assert [
        status for status in ExecutionStatus if needs_vonage(CONVERTING, Execution(status))
    ] == []


def test_nothing_is_decided_while_vonage_cannot_be_asked() -> None:
    unknown = [case for case in CASES if case.at_vonage in (None, Unreadable.UNAVAILABLE)]

    assert {case.transition for case in unknown} == {Stay()}


def test_whatever_vonage_says_of_a_failed_run_something_moves_the_report() -> None:
    known = [case for case in CASES if case.at_vonage not in (None, Unreadable.UNAVAILABLE)]

    assert [case for case in known if isinstance(case.transition, Stay | Start | Deliver)] == []


def test_a_third_attempt_is_the_last() -> None:
    bought = [case for case in CASES if isinstance(case.last_word, Resubmit)]

    assert {case.attempt for case in bought} == {1, 2}


def test_what_is_stored_is_never_bought_again_nor_cancelled() -> None:
    stored = [case for case in CASES if case.is_stored]

    assert [case for case in stored if isinstance(case.transition, Resubmit | Split | Cancel)] == []


def test_a_file_that_can_be_fetched_is_never_bought_again() -> None:
    paid = [case for case in CASES if case.at_vonage is RequestStatus.SUCCESS]
    again = [case for case in paid if isinstance(case.last_word, Resubmit)]

    assert {(case.error, case.resumes) for case in again} == {("ReportExpired", 4)}


def test_nothing_is_bought_while_vonage_may_still_deliver_it() -> None:
    at_work = [case for case in CASES if case.at_vonage in (*WORKING, *Unreadable)]

    assert [case for case in at_work if isinstance(case.transition, Resubmit | Fail | Split)] == []


def test_a_report_that_vonage_works_on_is_awaited_until_its_deadline() -> None:
    until_deadline = [
        case
        for case in CASES
        if case.at_vonage in WORKING and not case.overdue and not case.is_stored
    ]

    for case, transition in told(until_deadline):
        assert isinstance(transition, Resume), case
        assert (transition.entry, transition.frees_slot) == (Entry.CHECK, False), case


def test_a_report_that_vonage_works_on_after_48_hours_is_cancelled_first() -> None:
    late = [
        case for case in CASES if case.at_vonage in WORKING and case.overdue and not case.is_stored
    ]

    for case, transition in told(late):
        assert isinstance(transition, Cancel), case
        assert isinstance(transition.then, Fail if case.attempt == 3 else Resubmit), case


def test_exactly_48_hours_are_not_too_late() -> None:
    report = replace(REPORT, submitted_at=NOW - timedelta(hours=48))
    run = failed_run("States.Timeout")

    transition = decide(report, run, RequestStatus.PROCESSING, entry=Entry.CHECK, now=NOW)

    assert isinstance(transition, Resume)


def test_a_report_with_a_status_that_nobody_knows_is_cancelled_and_not_bought_again() -> None:
    unknown = [
        case for case in CASES if case.at_vonage is Unreadable.UNKNOWN_STATUS and not case.is_stored
    ]

    for case, transition in told(unknown):
        assert isinstance(transition, Cancel), case
        assert isinstance(transition.then, Fail), case


def test_a_slot_is_kept_while_vonage_works() -> None:
    at_work = [case for case in CASES if case.at_vonage in WORKING]

    for case, transition in told(at_work):
        assert isinstance(transition, Resume | Cancel), case
        assert not (isinstance(transition, Resume) and transition.frees_slot), case


def test_a_404_ends_a_report_only_when_it_lasts() -> None:
    early = [
        case
        for case in CASES
        if case.at_vonage is Gone.GONE
        and case.resumes < 4
        and not case.is_stored
        and case.error not in BROKEN_FOR_GOOD
    ]

    for case, transition in told(early):
        # Vonage may work on it: what it says is "does not exist, or you do not have access".
        assert isinstance(transition, Resume), case
        assert not transition.frees_slot, case


@pytest.mark.parametrize("at_vonage", [RequestStatus.SUCCESS, Gone.GONE])
def test_a_404_after_an_outage_is_awaited_as_long_as_any_other(at_vonage: AtVonage) -> None:
    report = replace(REPORT, resumes=30)
    for _ in range(waits.NOT_FOUND_PATIENCE):
        transition = decide(
            report, failed_run("ReportExpired"), at_vonage, entry=Entry.CHECK, now=NOW
        )
        assert isinstance(transition, Resume)
        report = apply(report, transition, now=NOW)
    transition = decide(report, failed_run("ReportExpired"), at_vonage, entry=Entry.CHECK, now=NOW)
    assert isinstance(transition, Resubmit)
    # It was only hidden.
    found = decide(
        report, failed_run("VonageUnavailable"), RequestStatus.SUCCESS, entry=Entry.CHECK, now=NOW
    )
    assert apply(report, found, now=NOW).not_found == 0


def test_a_slot_is_freed_once_vonage_showed_an_end() -> None:
    over = [
        case
        for case in CASES
        if case.at_vonage in ENDED and (case.at_vonage is not Gone.GONE or case.resumes >= 4)
    ]

    for case, transition in told(over):
        # Buying again, splitting, storing and failing free it too.
        assert isinstance(transition, Resubmit | Fail | Split | Store | Resume), case
        assert not isinstance(transition, Resume) or transition.frees_slot, case


def test_what_is_stored_goes_on_from_there() -> None:
    fit = [
        case
        for case in CASES
        if case.is_stored
        and case.error not in BROKEN_FOR_GOOD
        and case.at_vonage not in (None, Unreadable.UNAVAILABLE)
    ]

    for case, transition in told(fit):
        if case.report is HALF and case.at_vonage not in WORKING:
            # There is nothing to do after it: the run that failed had done its work.
            assert transition == Store(None), case
        else:
            assert isinstance(transition, Resume), case
            assert transition.entry is case.entry, case


@pytest.mark.parametrize(
    "error", ["VonageUnavailable", "VonageRejected", "States.Timeout", "Lambda.Unknown", "KeyError"]
)
def test_a_run_that_an_outage_ended_is_resumed_with_the_report_that_was_paid_for(
    error: str,
) -> None:
    transition = decide(
        REPORT, failed_run(error), RequestStatus.SUCCESS, entry=Entry.CHECK, now=NOW
    )

    assert isinstance(transition, Resume)
    assert (transition.entry, transition.frees_slot) == (Entry.CHECK, True)
    assert transition.not_before == NOW + timedelta(minutes=1)
    assert (transition.error, transition.reason) == (error, "it went wrong")


@pytest.mark.parametrize("report", [REPORT, HALF, CONVERTING], ids=lambda report: report.state)
@pytest.mark.parametrize("entry", Entry)
@pytest.mark.parametrize("error", BROKEN_FOR_GOOD)
def test_a_file_that_does_not_add_up_fails_at_once(
    error: str, entry: Entry, report: Report
) -> None:
    # Its receipt is there: what was paid for stays, and no run could make it add up.
    transition = decide(report, failed_run(error), RequestStatus.SUCCESS, entry=entry, now=NOW)

    # To read it once more is free, and to buy it once more would give the same rows to read.
    assert transition == Fail(error, "it went wrong", is_stored=error == "RowsUnreadable")


def how_check_report_fails(
    request_status: RequestStatus, *, items_count: int | None = None, hours: int = 1
) -> Execution:
    """The run that ends because check_report raised."""
    answer = ReportRequest(
        request_id="6c5506b7-f16a-44dc-af06-756bbf467488",
        request_status=request_status,
        product="SMS",
        account_id="abcd1234",
        include_subaccounts=False,
        date_start=None,
        date_end=None,
        receive_time=None,
        items_count=items_count,
        file_id=None,
        echo={},
    )
    with pytest.raises(errors.VonageReportsError) as raised:
        readiness(answer, waited=20, started=NOW - timedelta(hours=hours), now=NOW)
    return Execution(
        ExecutionStatus.FAILED, error=type(raised.value).__name__, reason=str(raised.value)
    )


def test_a_report_that_succeeded_right_after_its_deadline_is_fetched() -> None:
    # check_report gave up on PROCESSING; DELETE was answered with 409: it had just succeeded.
    late = replace(REPORT, submitted_at=NOW - timedelta(hours=49))
    run = how_check_report_fails(RequestStatus.PROCESSING, hours=49)

    transition = decide(late, run, RequestStatus.SUCCESS, entry=Entry.CHECK, now=NOW)

    assert isinstance(transition, Resume)
    assert transition.entry is Entry.CHECK


def test_a_success_whose_link_is_missing_fails_and_is_not_bought_again() -> None:
    run = how_check_report_fails(RequestStatus.SUCCESS, items_count=14952)

    transition = decide(REPORT, run, RequestStatus.SUCCESS, entry=Entry.CHECK, now=NOW)

    assert isinstance(transition, Fail)


@pytest.mark.parametrize("report", [REPORT, HALF], ids=["a window", "a part"])
def test_a_report_that_was_cut_short_is_split(report: Report) -> None:
    run = how_check_report_fails(RequestStatus.TRUNCATED)

    for leaves in range(1, MAX_LEAVES):
        transition = decide(
            report, run, RequestStatus.TRUNCATED, entry=Entry.CHECK, leaves=leaves, now=NOW
        )
        assert transition == Split()


def an_hour_of(report: Report) -> Report:
    """The same of a window that is a minute too short to be halved."""
    end = report.window.start + timedelta(minutes=119)
    return replace(report, window=replace(report.window, end=end))


@pytest.mark.parametrize(
    ("report", "leaves"),
    [(HALF, MAX_LEAVES), (an_hour_of(REPORT), 1), (an_hour_of(HALF), 2)],
    ids=["a fifth part", "an hour", "a part of an hour"],
)
def test_a_report_that_is_cut_short_and_cannot_be_split_fails_and_is_not_bought_again(
    report: Report, leaves: int
) -> None:
    run = how_check_report_fails(RequestStatus.TRUNCATED)

    transition = decide(
        report, run, RequestStatus.TRUNCATED, entry=Entry.CHECK, leaves=leaves, now=NOW
    )

    assert isinstance(transition, Fail)
    assert transition.error == "ReportTruncated"
    assert transition.reason.startswith("Vonage cut the report short, and 4 reports")
    assert "shorter window" in transition.reason


@pytest.mark.parametrize("at_vonage", ENDED_WITHOUT_FILE)
def test_a_report_that_vonage_ended_without_a_file_is_bought_three_times_at_most(
    at_vonage: AtVonage,
) -> None:
    run = failed_run("ReportFailed")
    moves = [
        decide(
            replace(REPORT, attempt=attempt, resumes=4, not_found=4),
            run,
            at_vonage,
            entry=Entry.CHECK,
            now=NOW,
        )
        for attempt in (1, 2, 3)
    ]

    assert [type(transition) for transition in moves] == [Resubmit, Resubmit, Fail]


def test_a_report_whose_file_expired_is_bought_three_times_at_most() -> None:
    run = failed_run("ReportExpired")
    moves = [
        decide(
            replace(REPORT, attempt=attempt, resumes=4, not_found=4),
            run,
            RequestStatus.SUCCESS,
            entry=Entry.CHECK,
            now=NOW,
        )
        for attempt in (1, 2, 3)
    ]

    assert [type(transition) for transition in moves] == [Resubmit, Resubmit, Fail]


def test_runs_are_resumed_at_ever_longer_distances_up_to_an_hour() -> None:
    run = failed_run("VonageUnavailable")
    waits = []
    for resumes in range(6):
        report = replace(REPORT, resumes=resumes)
        transition = decide(report, run, RequestStatus.SUCCESS, entry=Entry.CHECK, now=NOW)
        assert isinstance(transition, Resume)
        waits.append((transition.not_before - NOW) / timedelta(minutes=1))

    assert waits == [1, 5, 15, 60, 60, 60]


def test_a_report_is_not_bought_again_in_the_same_minute() -> None:
    run = failed_run("ReportFailed")

    transition = decide(REPORT, run, RequestStatus.FAILED, entry=Entry.CHECK, now=NOW)

    assert isinstance(transition, Resubmit)
    assert transition.not_before >= NOW + timedelta(minutes=1)


@pytest.mark.parametrize("at_vonage", [RequestStatus.SUCCESS, RequestStatus.FAILED])
def test_a_scale_of_nothing_waits_for_nothing(at_vonage: AtVonage) -> None:
    run = failed_run("VonageUnavailable")

    transition = decide(REPORT, run, at_vonage, entry=Entry.CHECK, now=NOW, scale=0)

    assert isinstance(transition, Resume | Resubmit)
    assert transition.not_before == NOW


def test_whoever_is_told_of_a_failure_reads_an_error_and_a_sentence() -> None:
    last_words = [case.last_word for case in CASES]

    assert any(isinstance(transition, Fail) for transition in last_words)
    for transition in last_words:
        if isinstance(transition, Fail | Resubmit):
            assert transition.error in OUR_ERRORS
            assert transition.reason


SUBMITTING = replace(
    REPORT,
    state=State.SUBMITTING,
    attempt=0,
    run=0,
    request_id=None,
    owner="invocation",
    look_after=NOW,
    submitted_at=NOW - timedelta(minutes=10),
)
NOT_TAKEN = [
    errors.RateLimited("429", retry_after=90),
    errors.RateLimited("429", retry_after=None),
    errors.VonageRejected("401", status=401),
    errors.VonageRejected("403", status=403),
]


def test_a_report_that_vonage_took_counts_as_an_attempt_and_keeps_its_slot() -> None:
    report = apply(SUBMITTING, after_post("ri3p58f-1", now=NOW), now=NOW)

    assert (report.state, report.request_id) == (State.SUBMITTED, "ri3p58f-1")
    assert (report.attempt, report.run, report.slot) == (1, 1, 3)


@pytest.mark.parametrize("answer", NOT_TAKEN, ids=str)
def test_a_report_that_vonage_did_not_take_costs_neither_attempt_nor_slot(
    answer: errors.VonageRejected,
) -> None:
    report = apply(SUBMITTING, after_post(answer, now=NOW), now=NOW)

    assert (report.state, report.attempt, report.slot) == (State.PLANNED, 0, None)
    assert report.not_before is not None
    assert report.not_before > NOW


def test_the_wait_after_a_refusal_is_vonages_own_or_a_minute_or_a_quarter_of_an_hour() -> None:
    waits = []
    for answer in NOT_TAKEN:
        transition = after_post(answer, now=NOW)
        assert isinstance(transition, PutBack)
        waits.append((transition.not_before - NOW).total_seconds())

    assert waits == [90, 60, 900, 900]


@pytest.mark.parametrize("status", [400, 422])
def test_a_report_that_vonage_will_never_take_fails_and_frees_its_slot(status: int) -> None:
    answer = errors.VonageRejected("date_end: missing", status=status)

    report = apply(SUBMITTING, after_post(answer, now=NOW), now=NOW)

    assert (report.state, report.slot) == (State.FAILED, None)
    assert report.reason == "date_end: missing"


def test_nothing_is_sent_again_while_nobody_knows_whether_vonage_took_it() -> None:
    assert after_post(errors.SubmissionUnknown("cut"), now=NOW) == Stay()
    assert after_lookup(SUBMITTING, NoMatch.NOT_NOW, now=NOW) == Stay()


def test_a_report_that_the_list_has_is_adopted() -> None:
    assert after_lookup(SUBMITTING, Found("ri3p58f-1"), now=NOW) == Adopt("ri3p58f-1")


def test_only_two_looks_two_minutes_apart_prove_an_absence() -> None:
    first = after_lookup(SUBMITTING, NoMatch.ABSENT, now=NOW)
    assert first == LookUpAgain(NOW + timedelta(minutes=2))
    seen_once = apply(SUBMITTING, first, now=NOW)
    assert (seen_once.state, seen_once.slot) == (State.SUBMITTING, 3)

    later = NOW + timedelta(minutes=2)
    twice = apply(seen_once, after_lookup(seen_once, NoMatch.ABSENT, now=later), now=later)
    assert (twice.state, twice.slot, twice.attempt) == (State.PLANNED, None, 0)


def test_an_absence_proves_nothing_once_the_list_may_have_forgotten() -> None:
    old = replace(SUBMITTING, submitted_at=NOW - timedelta(days=3, seconds=1), absent_since=NOW)

    assert isinstance(after_lookup(old, NoMatch.ABSENT, now=NOW), Hold)


def test_a_list_that_cannot_be_read_for_three_days_is_a_matter_for_a_person() -> None:
    # Only a held report can be resolved: else it would keep its slot for ever.
    until_deadline = replace(SUBMITTING, submitted_at=NOW - timedelta(days=3))
    too_late = replace(SUBMITTING, submitted_at=NOW - timedelta(days=3, seconds=1))

    assert after_lookup(until_deadline, NoMatch.NOT_NOW, now=NOW) == Stay()
    assert isinstance(after_lookup(too_late, NoMatch.NOT_NOW, now=NOW), Hold)


def test_a_report_is_held_with_its_slot_for_a_day_at_most() -> None:
    held = apply(SUBMITTING, after_lookup(SUBMITTING, Unclear("404"), now=NOW), now=NOW)
    assert (held.state, held.slot) == (State.HELD, 3)

    assert while_held(held, now=NOW + timedelta(hours=23, minutes=59)) == Stay()
    tomorrow = NOW + timedelta(hours=24, seconds=1)
    let_go = apply(held, while_held(held, now=tomorrow), now=tomorrow)
    assert (let_go.state, let_go.slot) == (State.HELD, None)
    assert while_held(let_go, now=tomorrow) == Stay()


@pytest.mark.parametrize(
    ("request_id", "state"), [("ri3p58f-1", State.SUBMITTED), (None, State.PLANNED)]
)
def test_a_person_moves_a_held_report_on(request_id: str | None, state: State) -> None:
    held = replace(SUBMITTING, state=State.HELD, slot=None)

    report = apply(held, resolved(request_id, now=NOW), now=NOW)

    assert (report.state, report.request_id) == (state, request_id)


def test_an_attempt_counts_anew_after_a_person_asked_for_the_window_again() -> None:
    asked_again = replace(REPORT, attempt=4, attempts_before=3)

    run = failed_run("ReportFailed")

    transition = decide(asked_again, run, RequestStatus.FAILED, entry=Entry.CHECK, now=NOW)

    assert isinstance(transition, Resubmit)


# Before a POST

PLANNED = replace(
    REPORT, state=State.PLANNED, slot=None, attempt=0, submitted_at=None, request_id=None, run=0
)
TOO_LARGE = replace(PLANNED, expected_rows=7_000_001)


@pytest.mark.parametrize("expected_rows", [None, 0, 7_000_000])
@pytest.mark.parametrize("leaves", [1, MAX_LEAVES])
def test_what_fits_into_one_report_is_asked_for_as_it_is(
    expected_rows: int | None, leaves: int
) -> None:
    report = replace(PLANNED, expected_rows=expected_rows)

    assert before_post(report, leaves=leaves, later=None) is None


def test_what_is_expected_to_be_too_large_is_split_before_it_is_paid_for() -> None:
    assert before_post(TOO_LARGE, leaves=1, later=None) == Split()
    assert before_post(replace(TOO_LARGE, max_records=7_000_001), leaves=1, later=None) is None


@pytest.mark.parametrize(
    ("report", "leaves"), [(TOO_LARGE, MAX_LEAVES), (an_hour_of(TOO_LARGE), 1)]
)
def test_what_can_be_split_no_further_is_asked_for_whatever_is_expected(
    report: Report, leaves: int
) -> None:
    # An expectation that is wrong would keep every later window from being collected.
    assert before_post(report, leaves=leaves, later=None) is None


THE_LATER_REVISION_ENDED_WITHOUT_DATA = (State.FAILED, State.CANCELLED, State.SUPERSEDED)


@pytest.mark.parametrize("later", State)
@pytest.mark.parametrize("report", [PLANNED, TOO_LARGE], ids=["fits", "too large"])
def test_a_preliminary_goes_by_what_became_of_the_later_revision(
    report: Report, later: State
) -> None:
    transition = before_post(report, leaves=1, later=later)

    if later is State.DELIVERED:
        assert transition == Supersede()
    elif later in THE_LATER_REVISION_ENDED_WITHOUT_DATA:
        assert transition == before_post(report, leaves=1, later=None)
    else:
        # The later one may be delivered at any moment: then this one is not paid for.
        assert transition == Stay()


# The parts of a window


def parts(*states: State, rows: Sequence[int | None] = (10, 20, 30, 40)) -> list[Report]:
    """Parts of one window in these states, oldest first, of 1, 2, 3 ... hours."""
    start = REPORT.window.start
    return [
        replace(
            HALF,
            report_id=f"sms-outbound-20261121T0000Z-part{number}",
            window=replace(REPORT.window, start=start, end=start + timedelta(hours=number + 1)),
            state=state,
            request_id=f"request-{number}",
            rows=rows[number],
            error="ReportFailed" if state is State.FAILED else None,
            reason="Vonage ended it" if state is State.FAILED else None,
        )
        for number, state in enumerate(states)
    ]


STATES_OF_PARTS = [state for state in State if state is not State.SPLIT]
"""A part that is split is no part any more: its halves are."""


def test_a_window_in_parts_waits_until_each_of_them_has_ended() -> None:
    for states in (
        *product(STATES_OF_PARTS, repeat=2),
        *product((State.STORED, State.FAILED, State.SUBMITTED, State.HELD), repeat=MAX_LEAVES),
    ):
        leaves = parts(*states)
        transition = while_split(leaves)
        if not all(leaf.is_at_end for leaf in leaves):
            assert transition == Stay(), states
        elif set(states) == {State.STORED}:
            assert isinstance(transition, Convert), states
        else:
            assert isinstance(transition, Fail), states


def test_a_window_in_parts_is_converted_from_their_receipts_oldest_first() -> None:
    transition = while_split(parts(*[State.STORED] * 4))

    assert isinstance(transition, Convert)
    assert [key.rpartition("/")[2] for key in transition.receipts] == [
        "request-0.json",
        "request-1.json",
        "request-2.json",
        "request-3.json",
    ]


def test_where_the_rows_lay_is_kept_for_the_windows_to_come() -> None:
    known = while_split(parts(State.STORED, State.STORED))
    assert isinstance(known, Convert)
    assert known.profile == Profile(((1, 10), (2, 20)))

    partly_known = while_split(parts(State.STORED, State.STORED, rows=(10, None)))
    assert isinstance(partly_known, Convert)
    assert partly_known.profile is None


def test_a_part_that_failed_fails_the_window_in_its_name() -> None:
    leaves = parts(State.STORED, State.FAILED, State.STORED, State.FAILED)

    transition = while_split(leaves)

    assert isinstance(transition, Fail)
    assert (transition.error, transition.part) == ("ReportFailed", leaves[1].report_id)
    assert leaves[1].report_id in transition.reason
    assert "Vonage ended it" in transition.reason


@pytest.mark.parametrize(
    ("report", "attempt"), [(PLANNED, 1), (REPORT, 1), (replace(PLANNED, attempt=1), 2)]
)
def test_a_window_that_is_split_counts_as_collected_once_paid_for_or_not(
    report: Report, attempt: int
) -> None:
    # Else it could not precede what was delivered of the same window before.
    split = apply(report, Split(), now=NOW)

    assert (split.state, split.slot, split.leaves) == (State.SPLIT, None, 2)
    assert (split.attempt, split.request_id) == (attempt, report.request_id)


def test_a_conversion_is_a_run_of_its_own_that_begins_at_the_receipts() -> None:
    profile = Profile(((12, 5), (12, 7)))
    split = replace(apply(REPORT, Split(), now=NOW), resumes=3, not_before=NOW)

    converting = apply(split, Convert(("older.json", "younger.json"), profile), now=NOW)

    assert converting.state is State.CONVERTING
    assert (converting.run, converting.resumes, converting.not_before) == (2, 0, None)
    assert (converting.attempt, converting.profile) == (split.attempt, profile)
    assert converting.execution_input is not None
    sent = json.loads(converting.execution_input)
    assert (sent["entry"], sent["run"], sent["announce"]) == ("convert", 2, True)
    assert sent["receipts"] == ["older.json", "younger.json"]


@pytest.mark.parametrize("entry", [Entry.CONVERT, Entry.ANNOUNCE])
def test_a_conversion_that_failed_is_tried_again_without_vonage(entry: Entry) -> None:
    for_good = {*BROKEN_FOR_GOOD, "InvalidRequest"}
    for error, resumes in product(set(RUN_ERRORS) - for_good, range(7)):
        report = replace(CONVERTING, resumes=resumes)
        run = Execution(ExecutionStatus.FAILED, error=error)

        transition = decide(report, run, None, entry=entry, now=NOW)
        assert isinstance(transition, Resume), error
        after = apply(report, transition, now=NOW)
        assert after.state is State.CONVERTING, error
        assert after.execution_input is not None
        sent = json.loads(after.execution_input)
        assert (sent["entry"], sent["run"]) == (entry.value, report.run + 1), error
        assert sent["receipts"] == ["older.json", "younger.json"], error


@pytest.mark.parametrize("report", [REPORT, CONVERTING], ids=lambda report: report.state)
def test_an_archive_that_cannot_be_converted_for_three_days_is_left_to_a_person(
    report: Report,
) -> None:
    tried = replace(report, resumes=waits.MAX_RESUMES)
    run = failed_run("MemoryError")

    transition = decide(tried, run, RequestStatus.SUCCESS, entry=Entry.CONVERT, now=NOW)
    assert transition == Fail("MemoryError", "it went wrong", is_stored=True)
    # What is converted has only to be announced: that goes on.
    transition = decide(tried, run, RequestStatus.SUCCESS, entry=Entry.ANNOUNCE, now=NOW)
    assert isinstance(transition, Resume)


def test_a_conversion_of_what_is_not_in_the_bucket_any_more_fails() -> None:
    run = Execution(
        ExecutionStatus.FAILED, error="InvalidRequest", reason="older.json is not there"
    )

    transition = decide(CONVERTING, run, None, entry=Entry.CONVERT, now=NOW)

    assert transition == Fail("InvalidRequest", "older.json is not there")


def test_a_run_that_resumes_behind_the_archive_is_given_its_receipt() -> None:
    run = failed_run("VonageUnavailable")

    transition = decide(REPORT, run, RequestStatus.SUCCESS, entry=Entry.CONVERT, now=NOW)
    resumed = apply(REPORT, transition, now=NOW)

    assert resumed.execution_input is not None
    sent = json.loads(resumed.execution_input)
    assert sent["receipts"] == list(resumed.receipts)
    [receipt] = resumed.receipts
    assert receipt.endswith(f"/{REPORT.report_id}/{REPORT.request_id}.json")


def test_a_new_request_has_no_receipts_of_an_earlier_one() -> None:
    collected = replace(CONVERTING, state=State.DELIVERED, profile=Profile(((24, 9),)))
    planned = replanned(collected, now=NOW)

    adopted = apply(planned, Adopt("request-2"), now=NOW)

    assert (adopted.receipts, adopted.profile) == ((), None)
    assert adopted.execution_input is not None
    assert json.loads(adopted.execution_input)["receipts"] == []


def test_what_is_not_asked_for_any_more_is_at_its_end_and_cost_nothing() -> None:
    waiting = replace(PLANNED, not_before=NOW + timedelta(hours=1))
    for transition, state in ((Supersede(), State.SUPERSEDED), (Withdraw(), State.CANCELLED)):
        after = apply(waiting, transition, now=NOW)
        assert after == replace(waiting, state=state, not_before=None)
        assert after.is_at_end


@pytest.mark.parametrize(
    "transition", [Stay(), Start(), Cancel(then=Fail("error", "reason"))], ids=repr
)
def test_a_move_that_changes_nothing_cannot_be_written(transition: Transition) -> None:
    with pytest.raises(TypeError, match="changes nothing"):
        apply(REPORT, transition, now=NOW)


# The whole table: every state, under everything that may be seen of it, at every moment


def seen_before_the_post(report: Report, now: datetime) -> Iterator[tuple[str, Transition]]:
    if report.backfill is not None and not report.is_half:
        yield "its backfill was cancelled", Withdraw()
    for later, leaves in product((None, *State), (1, MAX_LEAVES)):
        transition = before_post(report, leaves=leaves, later=None if report.is_half else later)
        if transition is not None:
            yield f"the later revision: {later}, of {leaves} parts", transition
            continue
        for answer in (
            "request-1",
            errors.SubmissionUnknown("no answer"),
            errors.RateLimited("429", retry_after=None),
            errors.VonageRejected("403", status=403),
            errors.VonageRejected("422", status=422),
        ):
            yield f"POST: {answer}", after_post(answer, now=now)


def seen_of_the_run(report: Report, now: datetime) -> Iterator[tuple[str, Transition]]:
    entries = [Entry.CONVERT] if report.receipts else [Entry.CHECK, Entry.CONVERT]
    if not report.is_half:
        entries.append(Entry.ANNOUNCE)
    for status, error, at_vonage, entry, leaves in product(
        ExecutionStatus,
        RUN_ERRORS,
        [*RequestStatus, *Gone, *Unreadable],
        entries,
        (1, MAX_LEAVES),
    ):
        run = Execution(status, error=error)
        transition = decide(report, run, at_vonage, entry=entry, leaves=leaves, now=now)
        last = transition.then if isinstance(transition, Cancel) else transition
        yield f"{status.name}, {error}, {at_vonage}, {entry}, of {leaves} parts", last


def seen_of(report: Report, now: datetime) -> Iterator[tuple[str, Transition]]:
    """Every move that an observation of `report` may lead to at `now`."""
    if may_be_submitted(report, now):
        yield from seen_before_the_post(report, now)
    if is_unacknowledged(report, now):
        for seen in (Found("request-1"), Unclear("gone"), *NoMatch):
            yield f"list: {seen}", after_lookup(report, seen, now=now)
    if report.state is State.HELD:
        yield "a day went by", while_held(report, now=now)
        yield "a person: it is this one", resolved("request-1", now=now)
        yield "a person: there is none", resolved(None, now=now)
    if report.state is State.SPLIT and not report.is_half:
        for states in product(STATES_OF_PARTS, repeat=2):
            yield f"parts: {states}", while_split(parts(*states))
    if report.state in (State.SUBMITTED, State.CONVERTING):
        yield from seen_of_the_run(report, now)


def step(report: Report, transition: Transition, now: datetime) -> Report | None:
    """What the ledger has after `move`; None where it has what it had."""
    if isinstance(transition, Stay | Start):
        return None
    if report.state is State.PLANNED and not isinstance(transition, Split | Supersede | Withdraw):
        lease = now + timedelta(minutes=6)
        report = taken(report, slot=1, owner="one", lease_until=lease, now=now)
    return apply(report, transition, now=now)


Shape = tuple[State, int, tuple[bool, ...]]


def shape(report: Report) -> Shape:
    """What of a report decides where it can go; not what only counts or dates it."""
    attributes = (
        report.slot is not None,
        report.request_id is not None,
        report.submitted_at is not None,
        report.absent_since is not None,
        report.not_before is not None,
        report.look_after is not None,
        report.unheard,
        report.backfill is not None,
        report.is_half,
        report.receipts != (),
        report.expected_rows is not None,
    )
    return report.state, report.attempt, attributes


def test_from_every_state_that_can_be_reached_something_leads_to_an_end() -> None:
    # What a killed sender leaves has no move that leads to it.
    lost = taken(PLANNED, slot=1, owner="one", lease_until=NOW, now=NOW)
    halves = halves_of(TOO_LARGE, now=NOW)
    of_a_backfill = replace(PLANNED, priority=Priority.BACKFILL, backfill="sms-outbound-1")
    # A window that is delivered may be converted once more.
    again = apply(replace(REPORT, state=State.DELIVERED), Convert(("a.json",)), now=NOW)
    ways: dict[Shape, set[Shape]] = {}
    is_end: dict[Shape, bool] = {}
    to_do = [PLANNED, TOO_LARGE, *halves, of_a_backfill, lost, again]
    while to_do:
        report = to_do.pop()
        here = shape(report)
        if here in ways:
            continue
        ways[here] = set()
        is_end[here] = report.is_at_end
        if report.is_at_end:
            continue
        for hours in (0, 1, 25, 49, 73):
            now = NOW + timedelta(hours=hours)
            for transition in {transition for _, transition in seen_of(report, now)}:
                after = step(report, transition, now)
                if after is not None:
                    # Whatever waits, waits until a moment that comes.
                    after = replace(after, not_before=None)
                    if shape(after) not in ways[here]:
                        ways[here].add(shape(after))
                        to_do.append(after)

    assert {state for state, *_ in ways} == set(State)
    ending = {each for each in ways if is_end[each]}
    while more := {each for each, after in ways.items() if after & ending} - ending:
        ending |= more
    assert set(ways) - ending == set()


@pytest.mark.parametrize("report", [REPORT, HALF, CONVERTING], ids=["window", "half", "converting"])
def test_at_an_end_nothing_is_held_and_nobody_is_waited_for(report: Report) -> None:
    ends = set()
    for hours in (0, 49):
        now = NOW + timedelta(hours=hours)
        for seen, transition in seen_of(report, now):
            after = step(report, transition, now)
            if after is not None and after.is_at_end:
                ends.add(after.state)
                assert (after.slot, after.look_after) == (None, None), seen
    assert State.FAILED in ends


def test_a_window_that_is_split_holds_no_slot_and_nobody_is_waited_for() -> None:
    for report in (PLANNED, REPORT, HALF):
        split = apply(replace(report, look_after=NOW), Split(), now=NOW)
        assert (split.slot, split.look_after, split.not_before) == (None, None, None)


@pytest.mark.parametrize("report", [REPORT, HALF], ids=["a window", "a part"])
def test_only_a_run_at_work_or_a_silent_vonage_leaves_a_submitted_report_as_it_is(
    report: Report,
) -> None:
    for seen, transition in seen_of(report, NOW):
        if isinstance(transition, Stay):
            assert seen.startswith("RUNNING") or "UNAVAILABLE" in seen, seen


def test_only_a_run_at_work_leaves_a_window_that_is_converted_as_it_is() -> None:
    for seen, transition in seen_of(CONVERTING, NOW):
        if isinstance(transition, Stay):
            assert seen.startswith("RUNNING"), seen
