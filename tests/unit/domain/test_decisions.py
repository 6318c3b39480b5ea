import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import product

import pytest

from tests.support.reports import make_report
from vonage_reports.check_report import check_report
from vonage_reports.domain import errors, waits
from vonage_reports.domain.decisions import (
    AtVonage,
    Cancel,
    Decision,
    Execution,
    ExecutionStatus,
    Found,
    Gone,
    NoMatch,
    Start,
    Stay,
    Unclear,
    Unreadable,
    after_lookup,
    after_post,
    before_post,
    decide,
    is_unacknowledged,
    needs_vonage,
    past_the_list,
    resolved,
    while_held,
    while_split,
)
from vonage_reports.domain.lifecycle import (
    Adopt,
    Convert,
    Deliver,
    Fail,
    Hold,
    LookUpAgain,
    PutBack,
    Replan,
    Resubmit,
    Resume,
    Split,
    Store,
    Supersede,
    TakeSlot,
    Withdraw,
    apply,
)
from vonage_reports.domain.report import (
    Entry,
    Priority,
    Report,
    RequestStatus,
    State,
)
from vonage_reports.domain.slots import may_be_submitted
from vonage_reports.domain.splitting import MAX_LEAVES, halves_of
from vonage_reports.domain.traffic_profile import TrafficProfile
from vonage_reports.domain.waits import Waits
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


def applied(report: Report, decision: Decision, *, now: datetime) -> Report:
    """The report after a decision that is a transition."""
    assert not isinstance(decision, Stay | Start | Cancel)
    return apply(report, decision, now=now)


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
CONVERTING = applied(
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

    @property
    def waits_for_vonage(self) -> bool:
        is_silent = self.at_vonage is Unreadable.NO_ANSWER and not self.is_stored
        return is_silent or self.at_vonage in (None, Unreadable.UNAVAILABLE)

    @cached_property
    def decision(self) -> Decision:
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
    def last_word(self) -> Decision:
        """The move, or what it becomes once Vonage agreed to stop."""
        return self.decision.then if isinstance(self.decision, Cancel) else self.decision


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


def told(cases: Iterable[Case]) -> list[tuple[Case, Decision]]:
    return [(case, case.decision) for case in cases]


def test_running_run_changes_nothing() -> None:
    run = Execution(ExecutionStatus.RUNNING)
    for at_vonage, entry, report in product(
        [None, *RequestStatus, *Gone, *Unreadable], Entry, [REPORT, HALF, CONVERTING]
    ):
        assert decide(report, run, at_vonage, entry=entry, now=NOW) == Stay()


@pytest.mark.parametrize(
    ("report", "decision", "state"),
    [
        (REPORT, Deliver(1200), State.DELIVERED),
        (CONVERTING, Deliver(1200), State.DELIVERED),
        (HALF, Store(1200), State.STORED),
    ],
    ids=["a window", "a window in parts", "a part"],
)
def test_successful_run_delivers_window_or_stores_half(
    report: Report, decision: Decision, state: State
) -> None:
    run = Execution(ExecutionStatus.SUCCEEDED, rows=1200)

    assert decide(report, run, None, entry=Entry.CHECK, now=NOW) == decision
    after = applied(report, decision, now=NOW)
    assert (after.state, after.rows, after.slot, after.error) == (state, 1200, None, None)
    assert after.is_at_end


@pytest.mark.parametrize("is_unregistered", [True, False])
def test_missing_registration_goes_on_with_the_decision(*, is_unregistered: bool) -> None:
    run = Execution(ExecutionStatus.SUCCEEDED, rows=1200, is_unregistered=is_unregistered)
    started = json.dumps({"revision": "preliminary"})
    became_final = replace(REPORT, execution_input=started)

    delivered = decide(REPORT, run, None, entry=Entry.CHECK, now=NOW)
    again = decide(became_final, run, None, entry=Entry.CHECK, now=NOW)

    assert (type(delivered), type(again)) == (Deliver, Convert)
    for each in (delivered, again):
        assert isinstance(each, Deliver | Convert)
        assert each.is_unregistered is is_unregistered


@pytest.mark.parametrize(
    ("not_before", "decision"),
    [
        (None, Start()),
        (NOW - timedelta(minutes=1), Start()),
        (NOW, Start()),
        (NOW + timedelta(seconds=1), Stay()),
    ],
)
def test_missing_run_starts_after_its_cool_down(
    not_before: datetime | None, decision: Decision
) -> None:
    report = replace(REPORT, not_before=not_before)

    assert (
        decide(report, Execution(ExecutionStatus.MISSING), None, entry=Entry.CHECK, now=NOW)
        == decision
    )


def test_vonage_is_asked_only_after_a_failed_run() -> None:
    asked = [status for status in ExecutionStatus if needs_vonage(REPORT, Execution(status))]

    assert asked == [ExecutionStatus.FAILED]
    assert [
        status for status in ExecutionStatus if needs_vonage(CONVERTING, Execution(status))
    ] == []


def test_no_decision_while_vonage_is_unavailable() -> None:
    unknown = [case for case in CASES if case.waits_for_vonage]

    assert {case.decision for case in unknown} == {Stay()}


def test_report_that_is_never_answered_is_held_once_vonage_has_deleted_it() -> None:
    """A GET that fails for good must not keep its slot for ever."""
    run = failed_run("VonageUnavailable")
    for days, is_held in ((6, False), (6.01, True)):
        report = replace(REPORT, submitted_at=NOW - timedelta(days=days))
        decision = decide(report, run, Unreadable.NO_ANSWER, entry=Entry.CHECK, now=NOW)
        assert isinstance(decision, Hold) == is_held
        assert isinstance(decision, Stay) != is_held
    # A refused key heals.
    refused = decide(report, run, Unreadable.UNAVAILABLE, entry=Entry.CHECK, now=NOW)
    assert refused == Stay()


def test_every_answer_of_vonage_moves_a_failed_run() -> None:
    known = [
        case
        for case in CASES
        if not case.waits_for_vonage
        and (case.at_vonage is not Unreadable.REFUSED or case.overdue or case.is_stored)
    ]

    assert [case for case in known if isinstance(case.decision, Stay | Start | Deliver)] == []


def test_third_attempt_is_the_last() -> None:
    bought = [case for case in CASES if isinstance(case.last_word, Resubmit)]

    assert {case.attempt for case in bought} == {1, 2}


def test_stored_archive_is_never_bought_again_or_cancelled() -> None:
    stored = [case for case in CASES if case.is_stored]

    assert [case for case in stored if isinstance(case.decision, Resubmit | Split | Cancel)] == []


def test_available_file_is_never_bought_again() -> None:
    paid = [case for case in CASES if case.at_vonage is RequestStatus.SUCCESS]
    again = [case for case in paid if isinstance(case.last_word, Resubmit)]

    assert {(case.error, case.resumes) for case in again} == {("ReportExpired", 4)}


def test_nothing_is_bought_while_vonage_may_deliver() -> None:
    at_work = [case for case in CASES if case.at_vonage in (*WORKING, *Unreadable)]

    assert [case for case in at_work if isinstance(case.decision, Resubmit | Fail | Split)] == []


def test_working_report_is_awaited_until_its_deadline() -> None:
    until_deadline = [
        case
        for case in CASES
        if case.at_vonage in WORKING and not case.overdue and not case.is_stored
    ]

    for case, decision in told(until_deadline):
        assert isinstance(decision, Resume), case
        assert (decision.entry, decision.frees_slot) == (Entry.CHECK, False), case


def test_working_report_is_cancelled_after_48_hours() -> None:
    late = [
        case for case in CASES if case.at_vonage in WORKING and case.overdue and not case.is_stored
    ]

    for case, decision in told(late):
        assert isinstance(decision, Cancel), case
        assert isinstance(decision.then, Fail if case.attempt == 3 else Resubmit), case


def test_exactly_48_hours_are_within_the_deadline() -> None:
    report = replace(REPORT, submitted_at=NOW - timedelta(hours=48))
    run = failed_run("States.Timeout")

    decision = decide(report, run, RequestStatus.PROCESSING, entry=Entry.CHECK, now=NOW)

    assert isinstance(decision, Resume)


def test_undocumented_status_cancels_and_buys_nothing() -> None:
    unknown = [
        case for case in CASES if case.at_vonage is Unreadable.UNKNOWN_STATUS and not case.is_stored
    ]

    for case, decision in told(unknown):
        assert isinstance(decision, Cancel), case
        assert isinstance(decision.then, Fail), case


def test_refused_report_waits_for_its_deadline_then_is_held() -> None:
    refused = [
        case for case in CASES if case.at_vonage is Unreadable.REFUSED and not case.is_stored
    ]

    for case, decision in told(refused):
        if not case.overdue:
            assert decision == Stay(), case
        elif case.error in ("VonageRejected", "VonageUnavailable"):
            # The hold names the request, and keeps the slot for a day more.
            assert isinstance(decision, Hold), case
            assert decision.request_id == case.report.request_id, case
            assert decision.until == NOW + timedelta(hours=24), case
        else:
            # A new run asks once more, since one refusal may pass.
            assert isinstance(decision, Resume), case
            assert (decision.entry, decision.frees_slot) == (Entry.CHECK, False), case


@pytest.mark.parametrize(
    "error", ["SNS.KmsDisabledException", "Lambda.KMSDisabledException", "ResourceUnusable"]
)
@pytest.mark.parametrize("entry", [Entry.CONVERT, Entry.ANNOUNCE])
def test_refusal_of_aws_is_retried_and_never_fails_a_report_soon(error: str, entry: Entry) -> None:
    report = CONVERTING
    for _ in range(20):
        decision = decide(report, failed_run(error), None, entry=entry, now=NOW)
        assert isinstance(decision, Resume)
        report = applied(report, decision, now=NOW)


def test_delivered_window_is_announced_until_that_succeeds() -> None:
    report = CONVERTING
    for _ in range(5):
        decision = decide(report, failed_run("KeyError"), None, entry=Entry.ANNOUNCE, now=NOW)
        assert isinstance(decision, Resume)
        report = applied(report, decision, now=NOW)


def test_held_slot_lasts_48_hours_from_the_post() -> None:
    sent = replace(SUBMITTING, submitted_at=NOW - timedelta(hours=1))

    hold = after_lookup(sent, Unclear("404"), now=NOW)

    assert isinstance(hold, Hold)
    assert hold.until == NOW + timedelta(hours=47)


def test_request_adopted_again_counts_no_second_attempt() -> None:
    held = replace(REPORT, state=State.HELD)
    assert REPORT.request_id is not None

    same = apply(held, resolved(REPORT.request_id, now=NOW), now=NOW)
    other = apply(held, resolved("request-2", now=NOW), now=NOW)

    assert (same.attempt, other.attempt) == (REPORT.attempt, REPORT.attempt + 1)


OURS = ("KeyError", "MemoryError", "Sandbox.Timedout")
# Lambda's answer got lost, a deployment is incomplete, or a resource or a service refuses.
NOT_OURS = ("States.Timeout", "Runtime.ImportModuleError", "ResourceUnusable", "Lambda.Unknown")


@pytest.mark.parametrize("report", [REPORT, CONVERTING], ids=lambda report: report.state)
@pytest.mark.parametrize("error", [*OURS, *NOT_OURS])
def test_third_equal_error_of_our_own_code_fails_the_report(error: str, report: Report) -> None:
    seen = []
    for _ in range(4):
        decision = decide(
            report, failed_run(error), RequestStatus.SUCCESS, entry=Entry.CONVERT, now=NOW
        )
        seen.append(type(decision))
        if isinstance(decision, Fail):
            assert decision.is_stored
            break
        report = applied(report, decision, now=NOW)

    assert seen == ([Resume, Resume, Fail] if error in OURS else [Resume] * 4)


def test_other_error_in_between_starts_the_count_again() -> None:
    report = CONVERTING
    for error in ("KeyError", "KeyError", "TypeError", "KeyError", "KeyError"):
        decision = decide(report, failed_run(error), None, entry=Entry.CONVERT, now=NOW)
        assert isinstance(decision, Resume), error
        report = applied(report, decision, now=NOW)


def test_slot_is_kept_while_vonage_works() -> None:
    at_work = [case for case in CASES if case.at_vonage in WORKING]

    for case, decision in told(at_work):
        assert isinstance(decision, Resume | Cancel), case
        assert not (isinstance(decision, Resume) and decision.frees_slot), case


def test_first_404_does_not_end_a_report() -> None:
    early = [
        case
        for case in CASES
        if case.at_vonage is Gone.GONE
        and case.resumes < 4
        and not case.is_stored
        and case.error not in BROKEN_FOR_GOOD
    ]

    for case, decision in told(early):
        # Vonage may work on it: what it says is "does not exist, or you do not have access".
        assert isinstance(decision, Resume), case
        assert not decision.frees_slot, case


@pytest.mark.parametrize("at_vonage", [RequestStatus.SUCCESS, Gone.GONE])
def test_404_after_an_outage_has_the_usual_patience(at_vonage: AtVonage) -> None:
    report = replace(REPORT, resumes=30)
    for _ in range(waits.NOT_FOUND_PATIENCE):
        decision = decide(
            report, failed_run("ReportExpired"), at_vonage, entry=Entry.CHECK, now=NOW
        )
        assert isinstance(decision, Resume)
        report = applied(report, decision, now=NOW)
    decision = decide(report, failed_run("ReportExpired"), at_vonage, entry=Entry.CHECK, now=NOW)
    assert isinstance(decision, Resubmit)
    # It was only hidden.
    found = decide(
        report, failed_run("VonageUnavailable"), RequestStatus.SUCCESS, entry=Entry.CHECK, now=NOW
    )
    assert applied(report, found, now=NOW).not_found == 0


def test_slot_is_freed_at_a_terminal_status() -> None:
    over = [
        case
        for case in CASES
        if case.at_vonage in ENDED and (case.at_vonage is not Gone.GONE or case.resumes >= 4)
    ]

    for case, decision in told(over):
        # Buying again, splitting, storing and failing free it too.
        assert isinstance(decision, Resubmit | Fail | Split | Store | Resume), case
        assert not isinstance(decision, Resume) or decision.frees_slot, case


def test_stored_archive_resumes_at_its_entry() -> None:
    fit = [
        case
        for case in CASES
        if case.is_stored and case.error not in BROKEN_FOR_GOOD and not case.waits_for_vonage
    ]

    for case, decision in told(fit):
        if case.report is HALF and case.at_vonage not in WORKING:
            # There is nothing to do after it: the run that failed had done its work.
            assert decision == Store(None), case
        else:
            assert isinstance(decision, Resume), case
            assert decision.entry is case.entry, case


@pytest.mark.parametrize(
    "error", ["VonageUnavailable", "VonageRejected", "States.Timeout", "Lambda.Unknown", "KeyError"]
)
def test_outage_resumes_the_paid_report(
    error: str,
) -> None:
    decision = decide(REPORT, failed_run(error), RequestStatus.SUCCESS, entry=Entry.CHECK, now=NOW)

    assert isinstance(decision, Resume)
    assert (decision.entry, decision.frees_slot) == (Entry.CHECK, True)
    assert decision.not_before == NOW + timedelta(minutes=1)
    assert (decision.error, decision.reason) == (error, "it went wrong")


@pytest.mark.parametrize("report", [REPORT, HALF, CONVERTING], ids=lambda report: report.state)
@pytest.mark.parametrize("entry", Entry)
@pytest.mark.parametrize("error", BROKEN_FOR_GOOD)
def test_wrong_file_fails_at_once(error: str, entry: Entry, report: Report) -> None:
    # Its receipt is there: what was paid for stays, and no run could make it add up.
    decision = decide(report, failed_run(error), RequestStatus.SUCCESS, entry=entry, now=NOW)

    # To read it once more is free, and to buy it once more would give the same rows to read.
    is_read_again = error == "RowsUnreadable" or (
        error == "RowsMismatch" and entry is not Entry.CHECK
    )
    assert decision == Fail(error, "it went wrong", is_stored=is_read_again)


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
        check_report(answer, started=NOW - timedelta(hours=hours), now=NOW)
    return Execution(
        ExecutionStatus.FAILED, error=type(raised.value).__name__, reason=str(raised.value)
    )


def test_success_right_after_the_deadline_is_fetched() -> None:
    # check_report gave up on PROCESSING; DELETE was answered with 409: it had just succeeded.
    late = replace(REPORT, submitted_at=NOW - timedelta(hours=49))
    run = how_check_report_fails(RequestStatus.PROCESSING, hours=49)

    decision = decide(late, run, RequestStatus.SUCCESS, entry=Entry.CHECK, now=NOW)

    assert isinstance(decision, Resume)
    assert decision.entry is Entry.CHECK


def test_success_without_a_link_fails() -> None:
    run = how_check_report_fails(RequestStatus.SUCCESS, items_count=14952)

    decision = decide(REPORT, run, RequestStatus.SUCCESS, entry=Entry.CHECK, now=NOW)

    assert isinstance(decision, Fail)


@pytest.mark.parametrize("report", [REPORT, HALF], ids=["a window", "a part"])
def test_truncated_report_is_split(report: Report) -> None:
    run = how_check_report_fails(RequestStatus.TRUNCATED)

    for leaves in range(1, MAX_LEAVES):
        decision = decide(
            report, run, RequestStatus.TRUNCATED, entry=Entry.CHECK, leaves=leaves, now=NOW
        )
        assert decision == Split()


def an_hour_of(report: Report) -> Report:
    """The same of a window that is a minute too short to be halved."""
    end = report.window.start + timedelta(minutes=119)
    return replace(report, window=replace(report.window, end=end))


@pytest.mark.parametrize(
    ("report", "leaves"),
    [(HALF, MAX_LEAVES), (an_hour_of(REPORT), 1), (an_hour_of(HALF), 2)],
    ids=["a fifth part", "an hour", "a part of an hour"],
)
def test_truncated_report_that_cannot_be_split_fails(report: Report, leaves: int) -> None:
    run = how_check_report_fails(RequestStatus.TRUNCATED)

    decision = decide(
        report, run, RequestStatus.TRUNCATED, entry=Entry.CHECK, leaves=leaves, now=NOW
    )

    assert isinstance(decision, Fail)
    assert decision.error == "ReportTruncated"
    assert "4 parts or one hour" in decision.reason
    assert "shorter window" in decision.reason


@pytest.mark.parametrize("at_vonage", ENDED_WITHOUT_FILE)
def test_report_without_a_file_is_bought_three_times(
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

    assert [type(decision) for decision in moves] == [Resubmit, Resubmit, Fail]


def test_expired_report_is_bought_three_times() -> None:
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

    assert [type(decision) for decision in moves] == [Resubmit, Resubmit, Fail]


def test_cool_down_between_runs_grows_to_an_hour() -> None:
    run = failed_run("VonageUnavailable")
    waits = []
    for resumes in range(6):
        report = replace(REPORT, resumes=resumes)
        decision = decide(report, run, RequestStatus.SUCCESS, entry=Entry.CHECK, now=NOW)
        assert isinstance(decision, Resume)
        waits.append((decision.not_before - NOW) / timedelta(minutes=1))

    assert waits == [1, 5, 15, 60, 60, 60]


def test_resubmission_has_a_cool_down() -> None:
    run = failed_run("ReportFailed")

    decision = decide(REPORT, run, RequestStatus.FAILED, entry=Entry.CHECK, now=NOW)

    assert isinstance(decision, Resubmit)
    assert decision.not_before >= NOW + timedelta(minutes=1)


@pytest.mark.parametrize("at_vonage", [RequestStatus.SUCCESS, RequestStatus.FAILED])
def test_scale_zero_waits_for_nothing(at_vonage: AtVonage) -> None:
    run = failed_run("VonageUnavailable")

    decision = decide(REPORT, run, at_vonage, entry=Entry.CHECK, now=NOW, waits=Waits(0))

    assert isinstance(decision, Resume | Resubmit)
    assert decision.not_before == NOW


def test_every_announced_failure_has_error_and_reason() -> None:
    last_words = [case.last_word for case in CASES]

    assert any(isinstance(decision, Fail) for decision in last_words)
    for decision in last_words:
        if isinstance(decision, Fail | Resubmit):
            assert decision.error in OUR_ERRORS
            assert decision.reason


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


def test_accepted_post_counts_as_attempt_and_keeps_slot() -> None:
    report = applied(SUBMITTING, after_post("ri3p58f-1", now=NOW), now=NOW)

    assert (report.state, report.request_id) == (State.SUBMITTED, "ri3p58f-1")
    assert (report.attempt, report.run, report.slot) == (1, 1, 3)


@pytest.mark.parametrize("answer", NOT_TAKEN, ids=str)
def test_refused_post_costs_no_attempt_and_no_slot(
    answer: errors.VonageRejected,
) -> None:
    report = applied(SUBMITTING, after_post(answer, now=NOW), now=NOW)

    assert (report.state, report.attempt, report.slot) == (State.PLANNED, 0, None)
    assert report.not_before is not None
    assert report.not_before > NOW


def test_wait_after_each_refusal() -> None:
    waits = []
    for answer in NOT_TAKEN:
        decision = after_post(answer, now=NOW)
        assert isinstance(decision, PutBack)
        waits.append((decision.not_before - NOW).total_seconds())

    assert waits == [90, 60, 900, 900]


@pytest.mark.parametrize("status", [400, 422])
def test_invalid_parameters_fail_the_report(status: int) -> None:
    answer = errors.VonageRejected("date_end: missing", status=status)

    failure = after_post(answer, now=NOW)

    assert isinstance(failure, Fail)
    assert failure.error == "VonageRejected"
    assert failure.reason.startswith("date_end: missing. If the definition is wrong, ")


def test_unknown_outcome_is_never_resubmitted() -> None:
    assert after_post(errors.SubmissionUnknown("cut"), now=NOW) == Stay()
    assert after_lookup(SUBMITTING, NoMatch.NOT_NOW, now=NOW) == Stay()


def test_listed_report_is_adopted() -> None:
    assert after_lookup(SUBMITTING, Found("ri3p58f-1"), now=NOW) == Adopt("ri3p58f-1")


def test_two_look_ups_prove_an_absence() -> None:
    first = after_lookup(SUBMITTING, NoMatch.ABSENT, now=NOW)
    assert first == LookUpAgain(NOW + timedelta(minutes=2))
    seen_once = applied(SUBMITTING, first, now=NOW)
    assert (seen_once.state, seen_once.slot) == (State.SUBMITTING, 3)

    later = NOW + timedelta(minutes=2)
    twice = applied(seen_once, after_lookup(seen_once, NoMatch.ABSENT, now=later), now=later)
    assert (twice.state, twice.slot, twice.attempt) == (State.PLANNED, None, 0)


def test_report_is_held_once_the_list_proves_nothing() -> None:
    in_time = replace(SUBMITTING, submitted_at=NOW - timedelta(days=3))
    too_late = replace(SUBMITTING, submitted_at=NOW - timedelta(days=3, seconds=1))

    assert past_the_list(in_time, now=NOW) is None
    assert isinstance(past_the_list(too_late, now=NOW), Hold)


def test_held_report_releases_its_slot_in_time() -> None:
    sent = replace(SUBMITTING, submitted_at=NOW)
    held = applied(sent, after_lookup(sent, Unclear("404"), now=NOW), now=NOW)
    assert (held.state, held.slot) == (State.HELD, 3)

    assert while_held(held, now=NOW + timedelta(hours=47, minutes=59)) == Stay()
    after = NOW + timedelta(hours=48, seconds=1)
    released = applied(held, while_held(held, now=after), now=after)
    assert (released.state, released.slot) == (State.HELD, None)
    assert while_held(released, now=after) == Stay()


@pytest.mark.parametrize(
    ("request_id", "state"), [("ri3p58f-1", State.SUBMITTED), (None, State.PLANNED)]
)
def test_operator_resolves_a_held_report(request_id: str | None, state: State) -> None:
    held = replace(SUBMITTING, state=State.HELD, slot=None)

    report = applied(held, resolved(request_id, now=NOW), now=NOW)

    assert (report.state, report.request_id) == (state, request_id)


def test_attempts_count_anew_after_a_recollect() -> None:
    asked_again = replace(REPORT, attempt=4, attempts_before=3)

    run = failed_run("ReportFailed")

    decision = decide(asked_again, run, RequestStatus.FAILED, entry=Entry.CHECK, now=NOW)

    assert isinstance(decision, Resubmit)


# Before a POST

PLANNED = replace(
    REPORT, state=State.PLANNED, slot=None, attempt=0, submitted_at=None, request_id=None, run=0
)
TOO_LARGE = replace(PLANNED, expected_rows=7_000_001)


@pytest.mark.parametrize("expected_rows", [None, 0, 7_000_000])
@pytest.mark.parametrize("leaves", [1, MAX_LEAVES])
def test_report_within_the_limit_is_requested(expected_rows: int | None, leaves: int) -> None:
    report = replace(PLANNED, expected_rows=expected_rows)

    assert before_post(report, leaves=leaves, later=None) is None


def test_report_expected_too_large_is_split_first() -> None:
    assert before_post(TOO_LARGE, leaves=1, later=None) == Split()
    assert before_post(replace(TOO_LARGE, max_records=7_000_001), leaves=1, later=None) is None


@pytest.mark.parametrize(
    ("report", "leaves"), [(TOO_LARGE, MAX_LEAVES), (an_hour_of(TOO_LARGE), 1)]
)
def test_unsplittable_report_is_requested_all_the_same(report: Report, leaves: int) -> None:
    # An expectation that is wrong would keep every later window from being collected.
    assert before_post(report, leaves=leaves, later=None) is None


THE_LATER_REVISION_ENDED_WITHOUT_DATA = (State.FAILED, State.CANCELLED, State.SUPERSEDED)


@pytest.mark.parametrize("later", State)
@pytest.mark.parametrize("report", [PLANNED, TOO_LARGE], ids=["fits", "too large"])
def test_preliminary_depends_on_the_later_revision(report: Report, later: State) -> None:
    decision = before_post(report, leaves=1, later=later)

    if later is State.DELIVERED:
        assert decision == Supersede()
    elif later in THE_LATER_REVISION_ENDED_WITHOUT_DATA:
        assert decision == before_post(report, leaves=1, later=None)
    else:
        # The later one may be delivered at any moment: then this one is not paid for.
        assert decision == Stay()


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


def test_split_window_waits_for_every_part() -> None:
    for states in (
        *product(STATES_OF_PARTS, repeat=2),
        *product((State.STORED, State.FAILED, State.SUBMITTED, State.HELD), repeat=MAX_LEAVES),
    ):
        leaves = parts(*states)
        decision = while_split(leaves)
        if not all(leaf.is_at_end for leaf in leaves):
            assert decision == Stay(), states
        elif set(states) == {State.STORED}:
            assert isinstance(decision, Convert), states
        else:
            assert isinstance(decision, Fail), states


def test_split_window_converts_receipts_oldest_first() -> None:
    decision = while_split(parts(*[State.STORED] * 4))

    assert isinstance(decision, Convert)
    assert [key.rpartition("/")[2] for key in decision.receipts] == [
        "request-0.json",
        "request-1.json",
        "request-2.json",
        "request-3.json",
    ]


def test_split_window_records_its_traffic_profile() -> None:
    known = while_split(parts(State.STORED, State.STORED))
    assert isinstance(known, Convert)
    assert known.profile == TrafficProfile(((1, 10), (2, 20)))

    partly_known = while_split(parts(State.STORED, State.STORED, rows=(10, None)))
    assert isinstance(partly_known, Convert)
    assert partly_known.profile is None


def test_failed_part_fails_the_window() -> None:
    leaves = parts(State.STORED, State.FAILED, State.STORED, State.FAILED)

    decision = while_split(leaves)

    assert isinstance(decision, Fail)
    assert (decision.error, decision.part) == ("ReportFailed", leaves[1].report_id)
    assert leaves[1].report_id in decision.reason
    assert "Vonage ended it" in decision.reason


@pytest.mark.parametrize(
    ("report", "attempt"), [(PLANNED, 1), (REPORT, 1), (replace(PLANNED, attempt=1), 2)]
)
def test_split_window_counts_one_attempt(report: Report, attempt: int) -> None:
    # Else it could not precede what was delivered of the same window before.
    split = applied(report, Split(), now=NOW)

    assert (split.state, split.slot, split.leaves) == (State.SPLIT, None, 2)
    assert (split.attempt, split.request_id) == (attempt, report.request_id)


def test_conversion_is_a_run_that_begins_at_convert() -> None:
    profile = TrafficProfile(((12, 5), (12, 7)))
    split = replace(applied(REPORT, Split(), now=NOW), resumes=3, not_before=NOW)

    converting = applied(split, Convert(("older.json", "younger.json"), profile), now=NOW)

    assert converting.state is State.CONVERTING
    assert (converting.run, converting.resumes, converting.not_before) == (2, 0, None)
    assert (converting.attempt, converting.profile) == (split.attempt, profile)
    assert converting.execution_input is not None
    sent = json.loads(converting.execution_input)
    assert (sent["entry"], sent["run"], sent["announce"]) == ("convert", 2, True)
    assert sent["receipts"] == ["older.json", "younger.json"]


@pytest.mark.parametrize("entry", [Entry.CONVERT, Entry.ANNOUNCE])
def test_failed_conversion_is_retried_without_vonage(entry: Entry) -> None:
    for_good = {*BROKEN_FOR_GOOD, "InvalidRequest"}
    for error, resumes in product(set(RUN_ERRORS) - for_good, range(7)):
        report = replace(CONVERTING, resumes=resumes)
        run = Execution(ExecutionStatus.FAILED, error=error)

        decision = decide(report, run, None, entry=entry, now=NOW)
        assert isinstance(decision, Resume), error
        after = applied(report, decision, now=NOW)
        assert after.state is State.CONVERTING, error
        assert after.execution_input is not None
        sent = json.loads(after.execution_input)
        assert (sent["entry"], sent["run"]) == (entry.value, report.run + 1), error
        assert sent["receipts"] == ["older.json", "younger.json"], error


@pytest.mark.parametrize("report", [REPORT, CONVERTING], ids=lambda report: report.state)
def test_conversion_failing_for_three_days_fails_the_report(
    report: Report,
) -> None:
    tried = replace(report, resumes=waits.MAX_RESUMES)
    run = failed_run("MemoryError")

    decision = decide(tried, run, RequestStatus.SUCCESS, entry=Entry.CONVERT, now=NOW)
    assert decision == Fail("MemoryError", "it went wrong", is_stored=True)
    # A converted report only has to be announced, so it goes on.
    decision = decide(tried, run, RequestStatus.SUCCESS, entry=Entry.ANNOUNCE, now=NOW)
    assert isinstance(decision, Resume)


def test_conversion_of_a_missing_object_fails() -> None:
    run = Execution(
        ExecutionStatus.FAILED, error="InvalidRequest", reason="older.json is not there"
    )

    decision = decide(CONVERTING, run, None, entry=Entry.CONVERT, now=NOW)

    assert decision == Fail("InvalidRequest", "older.json is not there")


def test_run_resumed_at_convert_gets_the_receipt() -> None:
    run = failed_run("VonageUnavailable")

    decision = decide(REPORT, run, RequestStatus.SUCCESS, entry=Entry.CONVERT, now=NOW)
    resumed = applied(REPORT, decision, now=NOW)

    assert resumed.execution_input is not None
    sent = json.loads(resumed.execution_input)
    assert sent["receipts"] == list(resumed.receipts)
    [receipt] = resumed.receipts
    assert receipt.endswith(f"/{REPORT.report_id}/{REPORT.request_id}.json")


def test_new_request_drops_earlier_receipts() -> None:
    collected = replace(CONVERTING, state=State.DELIVERED, profile=TrafficProfile(((24, 9),)))
    planned = applied(collected, Replan(), now=NOW)
    submitting = applied(planned, TakeSlot(1, "one", NOW), now=NOW)

    adopted = applied(submitting, Adopt("request-2"), now=NOW)

    assert (adopted.receipts, adopted.profile) == ((), None)
    assert adopted.execution_input is not None
    assert json.loads(adopted.execution_input)["receipts"] == []


def test_superseded_and_withdrawn_reports_are_finished() -> None:
    waiting = replace(PLANNED, not_before=NOW + timedelta(hours=1))
    for decision, state in ((Supersede(), State.SUPERSEDED), (Withdraw(), State.CANCELLED)):
        after = applied(waiting, decision, now=NOW)
        assert after == replace(waiting, state=state, not_before=None)
        assert after.is_at_end


# The whole table: every state, under everything that may be seen of it, at every moment


def seen_before_the_post(report: Report, now: datetime) -> Iterator[tuple[str, Decision]]:
    if report.backfill is not None and not report.is_half:
        yield "its backfill was cancelled", Withdraw()
    for later, leaves in product((None, *State), (1, MAX_LEAVES)):
        decision = before_post(report, leaves=leaves, later=None if report.is_half else later)
        if decision is not None:
            yield f"the later revision: {later}, of {leaves} parts", decision
            continue
        for answer in (
            "request-1",
            errors.SubmissionUnknown("no answer"),
            errors.RateLimited("429", retry_after=None),
            errors.VonageRejected("403", status=403),
            errors.VonageRejected("422", status=422),
        ):
            yield f"POST: {answer}", after_post(answer, now=now)


def seen_of_the_run(report: Report, now: datetime) -> Iterator[tuple[str, Decision]]:
    entries = [Entry.CONVERT] if report.receipts else [Entry.CHECK, Entry.CONVERT]
    if not report.is_half:
        entries.append(Entry.ANNOUNCE)
    # Formatted once: there are thousands of combinations of both loops.
    rest = [
        (f"{at_vonage}, {entry}, of {leaves} parts", at_vonage, entry, leaves)
        for at_vonage, entry, leaves in product(
            [*RequestStatus, *Gone, *Unreadable], entries, (1, MAX_LEAVES)
        )
    ]
    for status, error in product(ExecutionStatus, RUN_ERRORS):
        run, seen = Execution(status, error=error), f"{status.name}, {error}, "
        for text, at_vonage, entry, leaves in rest:
            decision = decide(report, run, at_vonage, entry=entry, leaves=leaves, now=now)
            last = decision.then if isinstance(decision, Cancel) else decision
            yield seen + text, last


def seen_of(report: Report, now: datetime) -> Iterator[tuple[str, Decision]]:
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


def step(report: Report, decision: Decision, now: datetime) -> Report | None:
    """The report in the ledger after a decision; None if the decision changes nothing."""
    if isinstance(decision, Stay | Start):
        return None
    if report.state is State.PLANNED and not isinstance(
        decision, Split | Supersede | Withdraw | Fail
    ):
        lease = now + timedelta(minutes=6)
        report = applied(report, TakeSlot(1, "one", lease), now=now)
    return applied(report, decision, now=now)


Shape = tuple[State, int, tuple[bool, ...]]


def shape(report: Report) -> Shape:
    """Return the fields that decide the next moves of a report, without counters and dates."""
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
    # The operator may resolve a held report any number of times.
    return report.state, min(report.attempt, waits.MAX_ATTEMPTS + 1), attributes


def test_every_reachable_state_leads_to_an_end() -> None:
    # No move leads to the state that a killed sender leaves.
    lost = applied(PLANNED, TakeSlot(1, "one", NOW), now=NOW)
    halves = halves_of(TOO_LARGE, now=NOW)
    of_a_backfill = replace(PLANNED, priority=Priority.BACKFILL, backfill="sms-outbound-1")
    # A window that is delivered may be converted once more.
    again = applied(replace(REPORT, state=State.DELIVERED), Convert(("a.json",)), now=NOW)
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
            for decision in {decision for _, decision in seen_of(report, now)}:
                after = step(report, decision, now)
                if after is not None:
                    # A report that waits goes on later, so treat the wait as over.
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
def test_finished_report_has_no_slot_and_no_lease(report: Report) -> None:
    ends = set()
    for hours in (0, 49):
        now = NOW + timedelta(hours=hours)
        for seen, decision in seen_of(report, now):
            after = step(report, decision, now)
            if after is not None and after.is_at_end:
                ends.add(after.state)
                assert (after.slot, after.look_after) == (None, None), seen
    assert State.FAILED in ends


def test_split_window_has_no_slot_and_no_lease() -> None:
    for report in (PLANNED, REPORT, HALF):
        split = applied(replace(report, look_after=NOW), Split(), now=NOW)
        assert (split.slot, split.look_after, split.not_before) == (None, None, None)


@pytest.mark.parametrize("report", [REPORT, HALF], ids=["a window", "a part"])
def test_submitted_report_stays_only_while_running_or_unavailable(
    report: Report,
) -> None:
    for seen, decision in seen_of(report, NOW):
        if isinstance(decision, Stay):
            waits_for_vonage = any(
                each.name in seen
                for each in (Unreadable.UNAVAILABLE, Unreadable.NO_ANSWER, Unreadable.REFUSED)
            )
            assert seen.startswith("RUNNING") or waits_for_vonage, seen


def test_converting_report_stays_only_while_running() -> None:
    for seen, decision in seen_of(CONVERTING, NOW):
        if isinstance(decision, Stay):
            assert seen.startswith("RUNNING"), seen
