from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.output.delivery import Delivery
from local.output.table import merge_sentences, summary
from local.runner.progress import Progress
from tests.support.reports import make_report
from tests.support.unsafe_text import ANY_TEXT, unsafe_in
from vonage_reports.aws.ledger import Ledger
from vonage_reports.aws.ledger_items import OpenWork
from vonage_reports.domain.backfill import Backfill
from vonage_reports.domain.backfill import Progress as BackfillProgress
from vonage_reports.domain.calendar import report_for_window
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.notifications import EVERY_REPORT
from vonage_reports.domain.removal import DEFINITION_REMOVED
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.splitting import halves_of
from vonage_reports.domain.windows import Window, WindowLength

NOW = datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
PLANNED = make_report(
    report_id="verify-20261118T0000Z-0123456789ab",
    definition="verify",
    product="VERIFY-V2",
    filters={},
    window=Window(datetime(2026, 11, 18, tzinfo=UTC), datetime(2026, 11, 19, tzinfo=UTC), "UTC"),
    planned_at=NOW,
)
REFUSED = replace(PLANNED, not_before=NOW, error="VonageRejected", reason="401: no such key")
OTHER = replace(PLANNED, report_id="sms-20261118T0000Z-0123456789ab", definition="sms")


class FakeLedger:
    """A ledger with open and finished reports, and backfills."""

    def __init__(self, *reports: Report, announced: frozenset[str] = frozenset()) -> None:
        self.announced = announced
        self.backfills: tuple[Backfill, ...] = ()
        self.put(*reports)

    def put(self, *reports: Report) -> None:
        self.reports = reports

    def open_work(self) -> OpenWork:
        open_ = tuple(report for report in self.reports if not report.is_at_end)
        slots = {
            number: report.report_id
            for number, report in enumerate(open_, 1)
            if report.state in (State.SUBMITTED, State.HELD)
        }
        running = tuple(each for each in self.backfills if not each.is_over)
        return OpenWork(open_, slots, self.announced, backfills=running)

    def ended_backfills(self, unreadable: list[str]) -> tuple[Backfill, ...]:
        del unreadable
        return tuple(each for each in self.backfills if each.is_over)

    def finished_report(self, report_id: str) -> Report | None:
        finished = (report for report in self.reports if report.is_at_end)
        return next((each for each in finished if each.report_id == report_id), None)

    def finished_reports(
        self, definition: str, *, since: datetime, unreadable: list[str]
    ) -> list[Report]:
        del unreadable
        return [
            report
            for report in self.reports
            if report.is_at_end and report.definition == definition and report.window.start >= since
        ]


class FakeDelivery:
    folder = Path()

    def manifest_key(self, report_id: str) -> str | None:
        return f"manifests/{'x' * 200}/{report_id}.json"

    def archive_keys(self, report_id: str) -> list[str]:
        return [f"archives/{report_id}/a.zip"]

    def archive_bytes(self, _report_id: str) -> int:
        return 1_200_000


class NothingDelivered(FakeDelivery):
    def manifest_key(self, _report_id: str) -> str | None:
        return None


def following(ledger: FakeLedger) -> Progress:
    followed = Progress(cast("Ledger", ledger), cast("Delivery", NothingDelivered()))
    followed.update()
    return followed


def progress(*reports: Report, announced: frozenset[str] = frozenset()) -> Progress:
    return following(FakeLedger(*reports, announced=announced))


EVERY = frozenset({EVERY_REPORT})


@pytest.mark.parametrize("error", ["VonageRejected", "VonageUnreachable", "ReportExpired"])
def test_refused_post_ends_the_run_with_its_reason(error: str) -> None:
    followed = progress(replace(REFUSED, error=error))
    assert followed.is_settled
    assert followed.troubles() == [("verify, 2026-11-18", "401: no such key")]


@pytest.mark.parametrize(
    ("report", "shown"),
    [
        (
            replace(REFUSED, error="RateLimited", reason="429"),
            "retry at 02:15:00 UTC: 429",
        ),
        (
            replace(REFUSED, error="ReportExpired", reason="Vonage deleted it", attempt=1),
            "retry at 02:15:00 UTC: Vonage deleted it",
        ),
        (
            replace(REFUSED, state=State.SUBMITTED, run=3, reason="download cut"),
            "run 3 at 02:15:00 UTC: download cut",
        ),
        (PLANNED, None),
        # The report is being requested again, and still has the reason of the last refusal.
        (replace(REFUSED, state=State.SUBMITTING), None),
    ],
)
def test_retried_report_says_why_and_continues(report: Report, shown: str | None) -> None:
    followed = progress(report)
    assert [line.trouble for line in followed.lines] == [shown]
    assert not followed.is_settled


def test_report_of_a_removed_definition_ends_the_run_with_its_reason() -> None:
    followed = progress(replace(PLANNED, error=DEFINITION_REMOVED, reason="it is not listed"))

    assert followed.is_settled
    assert followed.lines[0].trouble == "it is not listed"


def test_wrong_credentials_are_reported_once() -> None:
    followed = progress(REFUSED, OTHER, announced=EVERY)
    assert followed.everything_is_refused
    (sentence,) = merge_sentences([], followed.troubles(), rest="")
    assert sentence == (
        "2 reports: 401: no such key; for make run, correct VONAGE_API_KEY and VONAGE_API_SECRET; "
        "no report was requested"
    )


def test_refused_credentials_do_not_end_a_report_under_way() -> None:
    at_work = replace(OTHER, state=State.SUBMITTED)
    followed = progress(REFUSED, at_work, announced=EVERY)
    assert not followed.everything_is_refused
    assert followed.troubles() == [
        (
            "verify, 2026-11-18",
            "401: no such key; for make run, correct VONAGE_API_KEY and VONAGE_API_SECRET",
        )
    ]


def test_unreachable_vonage_does_not_blame_credentials() -> None:
    unreachable = replace(REFUSED, error="VonageUnreachable", reason="Vonage cannot be reached")
    followed = progress(unreachable, announced=EVERY)
    assert followed.everything_is_refused
    assert followed.troubles() == [
        ("verify, 2026-11-18", "Vonage cannot be reached; no report was requested")
    ]


def test_refused_account_does_not_refuse_everything() -> None:
    own = frozenset({"rejected#abcd1234#VERIFY-V2"})
    followed = progress(replace(REFUSED, reason="403"), OTHER, announced=own)
    assert not followed.everything_is_refused
    assert followed.troubles() == [("verify, 2026-11-18", "403")]


def test_announced_refusal_without_a_refused_report_is_ignored() -> None:
    assert not progress(PLANNED, announced=EVERY).everything_is_refused


def test_at_most_ten_problems_are_listed() -> None:
    troubles = [(f"verify, {number}", f"reason {number}") for number in range(200)]
    sentences = merge_sentences([], troubles, rest="out/notifications.jsonl")
    assert sentences[0] == "verify, 0: reason 0"
    assert len(sentences) == 11
    assert sentences[-1] == "and 190 more: out/notifications.jsonl"


def test_summary_has_keys_on_request_each_on_its_own_line() -> None:
    lines = [replace(line, rows=14_952) for line in progress(PLANNED).lines]
    delivery = cast("Delivery", FakeDelivery())
    assert summary(lines, delivery).splitlines() == [
        f"{PLANNED.report_id}  PLANNED, 14,952 rows, 1.2 MB"
    ]
    assert summary(lines, delivery, with_keys=True).splitlines() == [
        f"{PLANNED.report_id}  PLANNED, 14,952 rows, 1.2 MB",
        f"  archives/{PLANNED.report_id}/a.zip",
        f"  manifests/{'x' * 200}/{PLANNED.report_id}.json",
    ]


def split(*states: State) -> tuple[Report, list[Report]]:
    """Return a split window, and its halves in these states."""
    whole = replace(PLANNED, state=State.SPLIT, leaves=2)
    halves = zip(halves_of(whole, now=NOW), states, strict=True)
    return whole, [replace(half, state=state) for half, state in halves]


def test_parts_are_listed_below_their_window() -> None:
    whole, parts = split(State.SUBMITTED, State.PLANNED)

    followed = progress(parts[1], OTHER, whole, parts[0])

    assert [line.label for line in followed.lines] == [
        OTHER.report_id,
        whole.report_id,
        "  part from 2026-11-18 00:00 UTC, 12 h",
        "  part from 2026-11-18 12:00 UTC, 12 h",
    ]
    assert [line.report_id for line in followed.windows] == [OTHER.report_id, whole.report_id]


def test_split_window_waits_while_its_parts_make_progress() -> None:
    whole, parts = split(State.STORED, State.SUBMITTED)
    assert not progress(whole, *parts).is_settled

    whole, parts = split(State.STORED, State.STORED)
    # The conversion comes next.
    assert not progress(whole, *parts).is_settled

    whole, parts = split(State.STORED, State.HELD)
    assert progress(whole, *parts).is_settled

    whole, parts = split(State.SUBMITTED, State.HELD)
    assert not progress(whole, *parts).is_settled


def test_split_window_with_refused_parts_does_not_delay_the_end() -> None:
    whole, (older, younger) = split(State.PLANNED, State.STORED)
    refused = replace(older, not_before=NOW, error="VonageRejected", reason="401: no such key")

    assert progress(whole, refused, younger, announced=EVERY).everything_is_refused


def test_failed_part_is_reported_with_its_window() -> None:
    whole, (older, younger) = split(State.FAILED, State.STORED)
    ledger = FakeLedger(whole, replace(older, state=State.SUBMITTED), younger)
    followed = following(ledger)
    reason = f"a part of the window, {older.report_id}, could not be had"
    ledger.put(replace(whole, state=State.FAILED, reason=reason), older, younger)
    followed.update()

    assert followed.troubles() == [("verify, 2026-11-18", reason)]
    assert [line.is_well for line in followed.windows] == [False]


@pytest.mark.parametrize("state", [State.DELIVERED, State.SUPERSEDED, State.CANCELLED])
def test_intended_end_is_no_failure(state: State) -> None:
    ledger = FakeLedger(PLANNED)
    followed = following(ledger)
    ledger.put(replace(PLANNED, state=state))
    followed.update()

    assert followed.is_settled
    assert [line.is_well for line in followed.windows] == [True]


def test_report_planned_again_is_followed_again() -> None:
    ledger = FakeLedger(PLANNED)
    followed = following(ledger)
    ledger.put(replace(PLANNED, state=State.CANCELLED))
    followed.update()
    ledger.put(PLANNED)
    followed.update()

    assert not followed.is_settled
    assert [line.state for line in followed.lines] == [State.PLANNED]


VERIFY = ReportDefinition(
    name="verify",
    product="VERIFY-V2",
    account_ids=("abcd1234",),
    include_subaccounts=False,
    filters={},
    window=WindowLength.DAY,
    time_zone="UTC",
)
TEN_DAYS = Backfill(VERIFY, date(2026, 11, 1), date(2026, 11, 11), begun_at=NOW)


def of_backfill(number: int, state: State, **changes: object) -> Report:
    planned = report_for_window(
        VERIFY,
        "abcd1234",
        0,
        TEN_DAYS.windows[number],
        rows_per_hour=None,
        now=NOW,
        backfill=TEN_DAYS.name,
    )
    return replace(planned, state=state, **changes)  # type: ignore[arg-type]  # of Report's fields


def test_backfill_continues_between_its_reports() -> None:
    ledger = FakeLedger()
    ledger.backfills = (TEN_DAYS,)
    followed = following(ledger)
    assert not followed.is_settled

    ledger.put(*(of_backfill(number, State.DELIVERED) for number in range(10)))
    ledger.backfills = (replace(TEN_DAYS, seen_to=10, progress=BackfillProgress.PLANNED),)
    followed.update()

    assert followed.is_settled
    (bar,) = followed.progress_bars
    assert (bar.finished, bar.total, bar.words) == (10, 10, "10 of 10 windows")


def test_backfill_without_room_ends_the_run() -> None:
    refused = {"not_before": NOW, "error": "VonageRejected", "reason": "403"}
    ledger = FakeLedger(*(of_backfill(each, State.PLANNED, **refused) for each in range(3)))
    ledger.backfills = (replace(TEN_DAYS, seen_to=4),)
    followed = following(ledger)
    # One more report fits, perhaps of another account.
    assert not followed.is_settled

    ledger.put(*ledger.reports, of_backfill(3, State.HELD, reason="unknown"))
    followed.update()

    assert followed.is_settled


def test_report_finished_between_updates_is_added_at_the_end() -> None:
    ledger = FakeLedger()
    ledger.backfills = (TEN_DAYS,)
    followed = following(ledger)
    unseen = of_backfill(0, State.FAILED, reason="three times")
    of_an_earlier_run = replace(
        of_backfill(1, State.FAILED), planned_at=datetime(2026, 11, 20, tzinfo=UTC)
    )
    ledger.put(unseen, of_an_earlier_run)
    followed.update()
    followed.complete()

    assert [line.report_id for line in followed.windows] == [unseen.report_id]


def test_stopped_backfill_is_listed_as_stopped() -> None:
    ledger = FakeLedger()
    ledger.backfills = (TEN_DAYS,)
    followed = following(ledger)
    ledger.backfills = (replace(TEN_DAYS, seen_to=4, progress=BackfillProgress.STOPPED),)
    followed.update()

    assert [each.name for each in followed.stopped] == [TEN_DAYS.name]
    assert followed.is_settled


def test_many_calendar_reports_share_one_bar() -> None:
    ledger = FakeLedger(*(replace(PLANNED, report_id=f"verify-{each}") for each in range(21)))
    followed = following(ledger)

    (bar,) = followed.progress_bars
    assert (bar.name, bar.words) == ("reports", "0 of 21 windows")


def test_summary_of_many_windows_has_one_line_per_account() -> None:
    reports = [of_backfill(number, State.PLANNED) for number in range(10)]
    ledger = FakeLedger(*reports, *(replace(OTHER, report_id=f"sms-{each}") for each in range(11)))
    lines = [replace(line, rows=1000) for line in following(ledger).lines]

    assert summary(lines, cast("Delivery", FakeDelivery())).splitlines() == [
        "sms, abcd1234, 2026-11-18 to 2026-11-18: 11 PLANNED, 11,000 rows, 13.2 MB",
        "verify, abcd1234, 2026-11-01 to 2026-11-10: 10 PLANNED, 10,000 rows, 12.0 MB",
    ]


def test_summary_names_the_archives_of_all_parts() -> None:
    whole, parts = split(State.SUBMITTED, State.SUBMITTED)
    lines = progress(whole, *parts).lines

    delivery = cast("Delivery", FakeDelivery())
    _, *archives, _ = summary(lines, delivery, with_keys=True).splitlines()

    assert archives == [f"  archives/{each.report_id}/a.zip" for each in (whole, *parts)]


@given(ANY_TEXT, st.sampled_from([1, 21]))
def test_no_text_leaves_its_line_in_the_summary(text: str, windows: int) -> None:
    (line,) = progress(PLANNED).lines
    lines = [replace(line, report_id=text, definition=text, account_id=text)] * windows

    printed = summary(lines, cast("Delivery", FakeDelivery()), with_keys=True)

    assert printed.count("\n") == (3 if windows == 1 else 1)
    assert not unsafe_in(printed)
