import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tests.support.alarms import ALARMS
from vonage_reports.aws.ledger_items import Calendar, OpenWork, StoppedPlanning
from vonage_reports.domain.acceptance import Acceptable, advice
from vonage_reports.domain.backfill import Backfill, Progress
from vonage_reports.domain.calendar import report_for_window
from vonage_reports.domain.definitions import Refusal, ReportDefinition
from vonage_reports.domain.notifications import withdraw_windows
from vonage_reports.domain.removal import DEFINITION_REMOVED
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.splitting import halves_of
from vonage_reports.domain.subaccounts import Followed
from vonage_reports.domain.subaccounts import Span as Listed
from vonage_reports.domain.windows import Window, WindowLength, windows_within
from vonage_reports_cli.status.hearing import Unheard
from vonage_reports_cli.status.model import THE_API_KEY, Content, Row, Span, Standing
from vonage_reports_cli.status.problems import TOO_LONG, Problem
from vonage_reports_cli.status.summary import Status, status_of

NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)
DAILY = ReportDefinition(
    name="sms",
    product="SMS",
    account_ids=("abcd1234",),
    include_subaccounts=False,
    filters={},
    window=WindowLength.DAY,
    time_zone="UTC",
)


def day(text: str) -> date:
    return date.fromisoformat(text)


def windows(definition: ReportDefinition, start: str, end: str) -> list[Window]:
    return windows_within(day(start), day(end), definition.window, definition.time_zone)


def report(
    definition: ReportDefinition,
    window: Window,
    state: State = State.DELIVERED,
    *,
    account: str = "abcd1234",
    delay_index: int = 0,
    **changes: Any,
) -> Report:
    planned = report_for_window(
        definition, account, delay_index, window, rows_per_hour=None, now=window.end
    )
    return replace(planned, state=state, **changes)


def status(
    *reports: Report,
    definitions: Sequence[ReportDefinition] = (DAILY,),
    backfills: Sequence[Backfill] = (),
    **fields: Any,
) -> Status:
    """Return the status of these reports; `fields` replaces other fields of the content."""
    collects = {each.name: each.collects for each in definitions}
    finished: dict[str, list[Report]] = {}
    for each in reports:
        if each.is_at_end:
            finished.setdefault(each.definition, []).append(each)
    content = Content(
        as_of=NOW,
        definitions=definitions,
        refusals=(),
        work=OpenWork(
            tuple(each for each in reports if not each.is_at_end),
            {},
            frozenset(),
            backfills=tuple(backfills),
        ),
        calendar=Calendar({}, {}, collects),
        finished=finished,
    )
    return status_of(replace(content, **fields))


def row(result: Status) -> Row:
    (only,) = result.rows
    return only


def missing(result: Status) -> list[tuple[str, int, Any]]:
    return [(each.dates, each.windows, each.event) for each in result.problems]


def backfill_event(start: str, end: str, name: str = "sms") -> dict[str, Any]:
    return {"backfill": {"definition": name, "start": start, "end": end}}


def test_windows_are_counted_once_by_state() -> None:
    states = [
        State.DELIVERED,
        State.FAILED,
        State.SUBMITTING,
        State.SUBMITTED,
        State.CONVERTING,
        State.PLANNED,
        State.HELD,
    ]
    days = windows(DAILY, "2026-11-01", "2026-11-08")
    result = status(*(report(DAILY, *each) for each in zip(days, states, strict=True)))

    counted = row(result)
    assert (counted.delivered, counted.failed, counted.in_flight) == (1, 1, 3)
    assert (counted.waiting, counted.held, counted.missing) == (1, 1, 0)


def test_rescued_cells_of_the_last_revisions_are_named() -> None:
    twice = replace(DAILY, delay_days=(0, 3))
    first, second, third = windows(twice, "2026-11-01", "2026-11-04")
    result = status(
        report(twice, first, delay_index=0, rescued={"total_price": 7}),
        report(twice, first, delay_index=1, rescued={"total_price": 2}),
        report(twice, second, delay_index=1, rescued={"total_price": 1000, "date_received": 1}),
        report(twice, third, delay_index=0, rescued={"total_price": 9}),
        report(twice, third, delay_index=1),
        definitions=[twice],
    )

    (warning,) = [each for each in result.warnings if "_rescued" in each]
    assert warning == (
        "sms, abcd1234: cells in _rescued, because they do not fit: 1 of date_received, 1,002 of "
        "total_price; in 2 windows, the last on 2026-11-02"
    )


def test_last_delivered_is_newest_window_and_revision() -> None:
    twice = replace(DAILY, delay_days=(0, 3))
    older, newer = windows(twice, "2026-11-01", "2026-11-03")
    result = status(
        report(twice, newer, delay_index=0, rows=10),
        report(twice, newer, delay_index=1, rows=12),
        report(twice, older, delay_index=1, rows=99),
        definitions=[twice],
    )

    last = row(result).last_delivered
    assert last is not None
    assert (last.window, last.revision, last.rows) == (newer, "final", 12)
    assert row(result).delivered == 2


def test_adjacent_missing_windows_share_a_backfill() -> None:
    days = windows(DAILY, "2026-11-01", "2026-11-10")
    there = [window for window in days if window.first_date.day not in (3, 4, 5, 8)]

    result = status(*(report(DAILY, window) for window in there))

    assert row(result).missing == 4
    assert missing(result) == [
        ("2026-11-03 to 2026-11-05", 3, backfill_event("2026-11-03", "2026-11-06")),
        ("2026-11-08", 1, backfill_event("2026-11-08", "2026-11-09")),
    ]


@pytest.mark.parametrize(
    ("length", "zone", "start", "end"),
    [
        (WindowLength.HOUR, "Asia/Kathmandu", "2026-10-03", "2026-10-04"),
        (WindowLength.HOUR, "Australia/Lord_Howe", "2026-10-03", "2026-10-06"),
        (WindowLength.DAY, "America/New_York", "2026-10-31", "2026-11-03"),
        (WindowLength.DAY, "Africa/Cairo", "2026-04-23", "2026-04-26"),
        (WindowLength.WEEK, "Europe/London", "2026-10-19", "2026-11-02"),
        (WindowLength.MONTH, "Pacific/Apia", "2026-03-01", "2026-06-01"),
    ],
)
def test_suggested_backfill_has_exactly_missing_windows(
    length: WindowLength, zone: str, start: str, end: str
) -> None:
    definition = replace(DAILY, window=length, time_zone=zone)
    everything = windows(definition, "2026-02-01", "2026-12-01")
    lost = windows(definition, start, end)

    result = status(
        *(report(definition, window) for window in everything if window not in lost),
        definitions=[definition],
    )

    (problem,) = result.problems
    assert problem.windows == row(result).missing == len(lost)
    assert problem.event == backfill_event(start, end)
    assert problem.event is not None
    asked = problem.event["backfill"]
    assert windows(definition, asked["start"], asked["end"]) == lost


def test_missing_hours_of_one_date_share_a_backfill() -> None:
    hourly = replace(DAILY, window=WindowLength.HOUR)
    hours = windows(hourly, "2026-11-01", "2026-11-04")
    there = [window for window in hours if window.start.hour not in (2, 20)]

    result = status(*(report(hourly, window) for window in there), definitions=[hourly])

    assert missing(result) == [
        (
            f"2026-11-0{date} 02:00 to 2026-11-0{date} 20:00",
            2,
            backfill_event(f"2026-11-0{date}", f"2026-11-0{date + 1}"),
        )
        for date in (1, 2, 3)
    ]


def test_failed_window_has_reason_and_recollect_event() -> None:
    (window,) = windows(DAILY, "2026-11-01", "2026-11-02")
    failed = report(
        DAILY,
        window,
        State.FAILED,
        failures=3,
        error="RowsMismatch",
        reason="3 rows are not 4",
    )

    (problem,) = status(failed).problems

    assert (problem.kind, problem.reason) == ("failed", "RowsMismatch: 3 rows are not 4")
    again = {"report_id": failed.report_id, "token": "failure-3"}
    assert problem.event == {"recollect": again}


def test_later_delivery_ends_a_failed_revision() -> None:
    twice = replace(DAILY, delay_days=(0, 3))
    (window,) = windows(twice, "2026-11-01", "2026-11-02")
    preliminary = report(twice, window, State.FAILED)
    final = report(twice, window, delay_index=1)

    assert status(preliminary, final, definitions=[twice]).problems == []
    swapped = status(
        replace(preliminary, state=State.DELIVERED),
        replace(final, state=State.FAILED),
        definitions=[twice],
    )
    assert [problem.report_id for problem in swapped.problems] == [final.report_id]


def test_superseded_revision_is_not_missing() -> None:
    twice = replace(DAILY, delay_days=(0, 3))
    (window,) = windows(twice, "2026-11-01", "2026-11-02")

    result = status(
        report(twice, window, State.SUPERSEDED),
        report(twice, window, delay_index=1),
        definitions=[twice],
    )

    assert result.problems == []
    assert row(result).delivered == 1


def test_only_final_revision_skipped_by_calendar_is_missing() -> None:
    twice = replace(DAILY, delay_days=(0, 3))
    days = windows(twice, "2026-11-01", "2026-11-04")
    cursors = {("sms", "abcd1234", 3): days[1].end}

    result = status(
        report(twice, days[0]),
        report(twice, days[1]),
        report(twice, days[1], delay_index=1),
        report(twice, days[2]),
        definitions=[twice],
        calendar=Calendar(cursors, {}, {"sms": twice.collects}),
    )

    (problem,) = [each for each in result.problems if each.kind == "missing"]
    assert problem.reason == "only the preliminary revision is delivered"
    assert problem.event == backfill_event("2026-11-01", "2026-11-02")


def test_cancelled_window_is_missing_and_has_backfill() -> None:
    days = windows(DAILY, "2026-11-01", "2026-11-04")
    states = (State.DELIVERED, State.CANCELLED, State.DELIVERED)

    result = status(*(report(DAILY, *each) for each in zip(days, states, strict=True)))

    (problem,) = result.problems
    assert problem.reason == "cancelled"
    assert problem.event == backfill_event("2026-11-02", "2026-11-03")


def split(window: Window, *states: State, root: State) -> list[Report]:
    """Return a split window and its two parts, in these states."""
    whole = report(DAILY, window, root, leaves=2, error="ReportFailed")
    halves = halves_of(whole, now=NOW)
    parts = [
        replace(half, state=state, error="ReportFailed", reason="three times")
        for half, state in zip(halves, states, strict=True)
    ]
    failed = ", ".join(part.report_id for part in parts if part.state is State.FAILED)
    return [replace(whole, reason=f"a part of the window, {failed}, could not be had"), *parts]


def test_split_window_counts_once_in_flight() -> None:
    (window,) = windows(DAILY, "2026-11-19", "2026-11-20")

    result = status(*split(window, State.STORED, State.SUBMITTED, root=State.SPLIT))

    assert (row(result).in_flight, row(result).waiting, row(result).delivered) == (1, 0, 0)
    assert result.problems == []


def test_failed_split_window_recollects_only_failed_part() -> None:
    (window,) = windows(DAILY, "2026-11-01", "2026-11-02")
    reports = split(window, State.STORED, State.FAILED, root=State.FAILED)

    result = status(*reports)

    (problem,) = result.problems
    again = {"report_id": reports[2].report_id, "token": "failure-0"}
    assert problem.event == {"recollect": again}
    assert problem.dates == "2026-11-01, a part of 12 h"
    assert row(result).failed == 1


def test_failed_part_of_earlier_split_is_ignored() -> None:
    (window,) = windows(DAILY, "2026-11-01", "2026-11-02")
    whole, *parts = split(window, State.STORED, State.FAILED, root=State.FAILED)

    (problem,) = status(replace(whole, reason="3 rows are not 4"), *parts).problems

    again = {"report_id": whole.report_id, "token": "failure-0"}
    assert problem.event == {"recollect": again}


def test_expired_windows_are_missing_without_event() -> None:
    video = replace(DAILY, product="VIDEO-API")
    days = windows(video, "2026-08-20", "2026-08-30")

    result = status(report(video, days[0]), report(video, days[-1]), definitions=[video])

    assert missing(result) == [
        ("2026-08-21 to 2026-08-24", 4, None),
        ("2026-08-25 to 2026-08-28", 4, backfill_event("2026-08-25", "2026-08-29")),
    ]
    assert result.problems[0].reason == "Vonage has VIDEO-API records only since 2026-08-25"


def test_truncated_report_has_no_event() -> None:
    (window,) = windows(DAILY, "2026-11-01", "2026-11-02")
    failed = report(DAILY, window, State.FAILED, error="ReportTruncated", reason="too large")

    (problem,) = status(failed).problems

    assert problem.event is None


def test_unreadable_rows_are_reconverted_not_recollected() -> None:
    (window,) = windows(DAILY, "2026-11-01", "2026-11-02")
    failed = report(DAILY, window, State.FAILED, error="RowsUnreadable", reason="a.csv, line 2")

    (problem,) = status(failed).problems

    assert problem.event == {"reconvert": {"report_id": failed.report_id}}


def test_accepted_imperfections_are_named() -> None:
    first, second = windows(DAILY, "2026-11-01", "2026-11-03")

    result = status(report(DAILY, first, accept=("row_count",)), report(DAILY, second))

    (warning,) = [each for each in result.warnings if "accepted" in each]
    assert warning == (
        "sms, abcd1234: delivered with row_count accepted: 1 window, the last on 2026-11-01; see "
        "accepted in the manifest"
    )


def test_event_of_a_failure_accepts_its_cause() -> None:
    (window,) = windows(DAILY, "2026-11-01", "2026-11-02")
    reason = f"3 rows of 4. {advice([Acceptable.ROW_COUNT])}"
    failed = report(
        DAILY, window, State.FAILED, error="RowsMismatch", reason=reason, receipts=("a.json",)
    )

    (problem,) = status(failed).problems

    accepting = {"report_id": failed.report_id, "accept": ["row_count"]}
    assert problem.choices[0] == {"reconvert": accepting}


@pytest.mark.parametrize(
    ("error", "event"),
    [("KeyError", "reconvert"), ("RowsMismatch", "reconvert"), ("ArchiveCorrupt", "recollect")],
)
def test_stored_archive_is_converted_again_for_free(error: str, event: str) -> None:
    (window,) = windows(DAILY, "2026-11-01", "2026-11-02")
    failed = report(
        DAILY, window, State.FAILED, error=error, reason="it failed", receipts=("a.json",)
    )

    (problem,) = status(failed).problems

    assert problem.event is not None
    assert set(problem.event) == {event}


def test_held_part_needs_the_operator() -> None:
    (window,) = windows(DAILY, "2026-11-19", "2026-11-20")
    reports = split(window, State.STORED, State.HELD, root=State.SPLIT)

    result = status(*reports)

    assert row(result).held == 1
    (problem,) = result.problems
    assert (problem.kind, problem.report_id) == ("held", reports[2].report_id)
    # The operator must find out which command is right: creating a report is billed.
    assert problem.event is None
    resolve = f"vonage-reports --stack prod resolve {problem.report_id}"
    assert problem.commands("prod") == [
        f"{resolve} --found REQUEST_ID --hold 0",
        f"{resolve} --not-there --hold 0",
    ]


def test_late_reports_are_listed_with_their_reasons() -> None:
    days = windows(DAILY, "2026-11-18", "2026-11-20")
    stuck = report(DAILY, days[0], State.PLANNED, reason="401: no such key")
    # Allowed: an hour and 30 minutes for a million rows. 4.5 hours are three times that.
    slow = report(
        DAILY,
        days[1],
        State.SUBMITTED,
        submitted_at=NOW - timedelta(hours=4, minutes=30),
        expected_rows=1_000_000,
    )
    usual = report(DAILY, days[1], State.SUBMITTED, submitted_at=NOW - timedelta(hours=4))

    result = status(stuck, slow, definitions=[DAILY])

    assert [(each.kind, each.report_id, each.event) for each in result.problems] == [
        ("late", stuck.report_id, None),
        ("late", slow.report_id, None),
    ]
    assert [each.reason for each in result.problems] == [
        "PLANNED, due since 2026-11-22T00:00:00Z: 401: no such key",
        "SUBMITTED, at Vonage since 2026-11-23T01:30:00Z",
    ]
    assert status(usual).problems == []


def refused(window: Window, state: State, **changes: Any) -> Report:
    """Return a report of a window that Vonage refuses."""
    since = NOW - timedelta(days=2)
    error = {"error": "VonageRejected", "reason": "403: no", "denied_since": since}
    return report(DAILY, window, state, **{**error, **changes})


def test_refused_reports_of_an_account_are_ended_by_one_command() -> None:
    days = windows(DAILY, "2026-11-10", "2026-11-18")
    failed = [refused(each, State.FAILED) for each in days[:3]]
    waiting = [refused(each, State.PLANNED) for each in days[4:]]

    result = status(*failed, report(DAILY, days[3]), *waiting)

    assert [each.kind for each in result.problems] == ["failed", "failed", "failed", "refused"]
    together = result.problems[-1]
    assert (together.dates, together.windows) == ("2026-11-10 to 2026-11-17", 7)
    assert "3 of 7 reports failed" in (together.reason or "")
    (command,) = together.commands("s")
    assert command == (
        "vonage-reports --stack s withdraw sms --account abcd1234 --from 2026-11-10 "
        "--until 2026-11-18"
    )


@pytest.mark.parametrize("state", [State.SUBMITTED, State.HELD, State.FAILED])
def test_command_for_refused_reports_ends_no_other_report(state: State) -> None:
    days = windows(DAILY, "2026-11-10", "2026-11-15")
    other = report(DAILY, days[2], state, error="RowsMismatch", reason="10 rows", holds=1)
    waiting = [refused(each, State.PLANNED) for each in (*days[:2], *days[3:])]

    result = status(other, *waiting)

    ends = [each.event for each in result.problems if each.kind == "refused"]
    assert ends == [
        withdraw_windows("sms", "abcd1234", *days[:2]),
        withdraw_windows("sms", "abcd1234", *days[3:]),
    ]


def test_refused_hours_of_a_day_with_another_report_are_ended_one_by_one() -> None:
    hourly = replace(DAILY, window=WindowLength.HOUR, delay_days=(0,))
    first, second, third = windows(hourly, "2026-11-10", "2026-11-11")[:3]
    waiting = [replace(refused(each, State.PLANNED), delay_days=0) for each in (first, second)]

    result = status(*waiting, report(hourly, third, State.SUBMITTED), definitions=[hourly])

    ends = [each.event for each in result.problems if each.kind == "refused"]
    assert ends == [{"withdraw": {"report_id": each.report_id}} for each in waiting]


def test_failed_report_without_access_is_ended_by_its_own_command() -> None:
    (day_,) = windows(DAILY, "2026-11-10", "2026-11-11")
    (failed, ended) = status(refused(day_, State.FAILED)).problems
    assert (failed.kind, ended.kind) == ("failed", "refused")
    assert ended.event == {"withdraw": {"report_id": failed.report_id}}
    assert "403: no. It failed. " in (ended.reason or "")


def test_waiting_reports_are_listed_with_the_event_that_ends_them() -> None:
    removed, denied = windows(DAILY, "2026-11-18", "2026-11-20")
    since = NOW - timedelta(days=2)
    waiting = report(
        DAILY, removed, State.PLANNED, error=DEFINITION_REMOVED, reason="it is not listed"
    )
    refused = report(
        DAILY, denied, State.PLANNED, account="efgh5678", reason="403: no", denied_since=since
    )
    both = replace(DAILY, account_ids=("efgh5678",))
    work = OpenWork(
        (waiting, refused), {}, frozenset(), announced_at={"removed#sms#abcd1234": since}
    )

    result = status(waiting, refused, definitions=[both], work=work)

    assert [(each.kind, each.event) for each in result.problems] == [
        ("refused", {"withdraw": {"report_id": refused.report_id}}),
        ("removed", {"withdraw": {"report_id": waiting.report_id}}),
    ]
    assert "It fails in 5.0 days" in (result.problems[0].reason or "")
    (warning,) = [each for each in result.warnings if "not in the report definitions" in each]
    assert "sms, abcd1234: " in warning
    assert "1 report is withdrawn on 2026-11-28 06:00 UTC" in warning


def test_slow_part_is_late_but_held_report_is_not() -> None:
    (window,) = windows(DAILY, "2026-11-19", "2026-11-20")
    whole, stored, slow = split(window, State.STORED, State.SUBMITTED, root=State.SPLIT)
    slow = replace(slow, submitted_at=NOW - timedelta(hours=15), reason=None)
    held = report(DAILY, windows(DAILY, "2026-11-18", "2026-11-19")[0], State.HELD)

    result = status(replace(whole, reason=None), stored, slow, held)

    assert [(each.kind, each.report_id) for each in result.problems] == [
        ("held", held.report_id),
        ("late", slow.report_id),
    ]


def test_too_long_equals_threshold_of_alarm() -> None:
    assert ALARMS["RunTooLong"]["Threshold"] == TOO_LONG


def test_accounts_do_not_fill_each_others_gaps() -> None:
    both = replace(DAILY, account_ids=("abcd1234", "efgh5678"))
    days = windows(both, "2026-11-01", "2026-11-04")
    reports = [report(both, window) for window in days]
    reports += [report(both, window, account="efgh5678") for window in (days[0], days[2])]

    result = status(*reports, definitions=[both])

    assert [(each.account_id, each.missing) for each in result.rows] == [
        ("abcd1234", 0),
        ("efgh5678", 1),
    ]
    (problem,) = result.problems
    assert problem.account_id == "efgh5678"
    assert problem.event == backfill_event("2026-11-02", "2026-11-03")


def removed_gap(**changes: Any) -> tuple[Status, Problem]:
    days = windows(DAILY, "2026-11-01", "2026-11-04")
    result = status(report(DAILY, days[0]), report(DAILY, days[2]), **changes)
    (problem,) = result.problems
    return result, problem


def test_removed_definition_is_listed_without_backfill() -> None:
    result, problem = removed_gap(
        definitions=[], calendar=Calendar({}, {}, {DAILY.name: DAILY.collects})
    )

    assert not row(result).is_collected
    assert (problem.dates, problem.event) == ("2026-11-02", None)
    assert problem.reason == "sms was removed from the definitions"


def test_removed_account_is_listed_without_backfill() -> None:
    other = replace(DAILY, account_ids=("efgh5678",))
    days = windows(DAILY, "2026-11-01", "2026-11-04")

    result = status(report(DAILY, days[0]), report(DAILY, days[2]), definitions=[other])

    assert [(each.account_id, each.is_collected) for each in result.rows] == [
        ("efgh5678", True),
        ("abcd1234", False),
    ]
    (problem,) = result.problems
    assert problem.event is None
    assert problem.reason == "abcd1234 was removed from the accounts of sms; list it again first"


def test_sub_account_misses_no_window_while_it_is_not_listed() -> None:
    days = windows(DAILY, "2026-11-01", "2026-11-07")
    back = days[3].start + timedelta(hours=9)
    of = replace(
        DAILY, followed=Followed({"abcd1234": Listed(((None, days[1].start), (back, None)))})
    )
    assert missing(status(report(of, days[0]), report(of, days[3]), definitions=[of])) == []
    (later,) = missing(status(report(of, days[0]), report(of, days[5]), definitions=[of]))
    assert later[:2] == ("2026-11-04 to 2026-11-05", 2)


def test_backfill_names_a_closed_sub_account() -> None:
    days = windows(DAILY, "2026-11-01", "2026-11-04")
    of = replace(DAILY, followed=Followed({"abcd1234": Listed(((None, days[2].end),))}))
    result = status(report(of, days[0]), report(of, days[2]), definitions=[of])
    assert row(result).standing is Standing.REMOVED
    (problem,) = result.problems
    event = {"definition": "sms", "start": "2026-11-02", "end": "2026-11-03"}
    assert problem.event == {"backfill": {**event, "account_id": "abcd1234"}}
    (command,) = problem.commands("s")
    assert command.endswith(" --from 2026-11-02 --until 2026-11-03 --account abcd1234")


def test_last_windows_of_a_closed_sub_account_are_missing_once_planning_passed_them() -> None:
    days = windows(DAILY, "2026-11-01", "2026-11-08")
    until = days[3].start + timedelta(hours=9)
    of = replace(DAILY, account_ids=("abcd1234", "gone0001"), followed=Followed(
        {"gone0001": Listed(((None, until),))}, known=("gone0001",)
    ))  # fmt: skip
    reports = [report(of, each) for each in days]
    reports.append(report(of, days[1], account="gone0001"))
    cursors = {("sms", "gone0001", 3): days[3].end}
    calendar = Calendar(cursors, {}, {"sms": of.collects})

    (gap,) = missing(status(*reports, definitions=[of], calendar=calendar))

    event = {"definition": "sms", "start": "2026-11-03", "end": "2026-11-05"}
    assert gap == (
        "2026-11-03 to 2026-11-04", 2, {"backfill": {**event, "account_id": "gone0001"}}
    )  # fmt: skip


def test_account_that_vonage_never_listed_has_no_backfill() -> None:
    days = windows(DAILY, "2026-11-01", "2026-11-04")
    of = replace(DAILY, account_ids=(), followed=Followed())
    (problem,) = status(report(of, days[0]), report(of, days[2]), definitions=[of]).problems
    assert problem.event is None
    assert problem.reason == (
        "Vonage does not list abcd1234; name it in account_ids of a definition"
    )


def test_changed_definition_counts_its_original_windows() -> None:
    changed = replace(DAILY, window=WindowLength.MONTH)
    result, problem = removed_gap(
        definitions=[changed], calendar=Calendar({}, {}, {DAILY.name: DAILY.collects})
    )

    assert row(result).length is WindowLength.DAY
    assert (problem.windows, problem.event) == (1, None)
    assert row(result).standing is Standing.REFUSED
    changed_window = "changed under the same name; restore 'day', or use a new name"
    assert result.refusals == [Refusal("sms", "window", changed_window)]


def test_definition_without_accounts_has_the_ledgers_accounts() -> None:
    of_the_key = replace(DAILY, account_ids=(THE_API_KEY,))
    days = windows(DAILY, "2026-11-01", "2026-11-04")

    result = status(report(DAILY, days[0]), report(DAILY, days[2]), definitions=[of_the_key])

    assert (row(result).account_id, row(result).is_collected) == ("abcd1234", True)
    assert missing(result) == [("2026-11-02", 1, backfill_event("2026-11-02", "2026-11-03"))]
    new = status(definitions=[of_the_key])
    assert row(new).account_id == THE_API_KEY
    assert new.warnings == ["nothing planned yet for sms"]


def test_definition_that_was_planned_before_the_span_is_no_new_one() -> None:
    cursor = {(DAILY.name, "abcd1234", 3): NOW}
    calendar = Calendar(cursor, {}, {DAILY.name: DAILY.collects})
    span = Span(NOW, frozenset({"abcd1234"}))

    assert status(calendar=calendar).warnings == []
    assert status(spans={DAILY.name: span}).warnings == []
    assert status(spans={DAILY.name: Span(NOW)}).warnings == ["nothing planned yet for sms"]


@pytest.mark.parametrize("state", [State.PLANNED, State.SUBMITTED, State.CANCELLED])
def test_earlier_delivery_counts_while_and_after_a_recollection(state: State) -> None:
    (day_,) = windows(DAILY, "2026-11-01", "2026-11-02")
    again = report(DAILY, day_, state, delivered_from=("receipts/r1.json",))

    result = status(again)

    counted = row(result)
    assert (counted.delivered, counted.missing, counted.failed) == (1, 0, 0)
    assert counted.last_delivered is not None
    assert not [each for each in result.problems if each.kind == "missing"]


def test_latest_windows_are_named_newest_first() -> None:
    days = windows(DAILY, "2026-11-01", "2026-11-21")
    reports = [report(DAILY, each) for each in days]

    result = status(*reports)

    newest = [each.report_id for each in reversed(reports)][:10]
    assert [each.report_id for each in result.latest] == newest
    told: Any = result.to_dict()["latest"]
    assert told[0]["report_id"] == newest[0]


def test_rows_that_do_not_add_up_leave_the_choice() -> None:
    (day_,) = windows(DAILY, "2026-11-01", "2026-11-02")
    reason = f"1,000 counted, 999 found. {advice([Acceptable.ROW_COUNT])}"
    failed = report(DAILY, day_, State.FAILED, error="RowsMismatch", reason=reason, failures=1)

    (problem,) = status(failed).problems

    # `retry` sends the event of a problem, and must neither accept nor buy unasked.
    assert problem.event is None
    assert problem.commands("prod") == [
        f"vonage-reports --stack prod reconvert {failed.report_id} --accept row_count",
        f"vonage-reports --stack prod recollect {failed.report_id}",
    ]
    assert "for free and on the record" in (problem.reason or "")


def a_backfill(**changes: Any) -> Backfill:
    begun = Backfill(DAILY, day("2026-11-01"), day("2026-11-11"), NOW - timedelta(minutes=10))
    return replace(begun, **changes)


def test_windows_of_running_backfill_are_not_missing() -> None:
    days = windows(DAILY, "2026-11-01", "2026-11-11")
    backfill = a_backfill(seen_to=5, skipped=1)
    under_way = report(
        DAILY, days[5], State.SUBMITTED, backfill=backfill.name, planned_at=backfill.begun_at
    )
    before = report(DAILY, windows(DAILY, "2026-10-31", "2026-11-01")[0])
    done = [report(DAILY, window, backfill=backfill.name) for window in days[6:]]

    result = status(before, under_way, *done, backfills=[backfill])

    assert result.problems == []
    ((advance, seconds),) = result.backfills
    assert (advance.total, advance.over, advance.skipped, advance.under_way) == (10, 4, 1, 1)
    # Three reports finished in ten minutes, and six are left.
    assert seconds == 20 * 60


def test_planned_backfill_runs_until_last_report_ends() -> None:
    days = windows(DAILY, "2026-11-01", "2026-11-11")
    backfill = a_backfill(seen_to=10, progress=Progress.PLANNED)
    last = report(DAILY, days[0], State.SUBMITTED, backfill=backfill.name)

    during = status(last, ended_backfills=[backfill])
    after = status(replace(last, state=State.DELIVERED), ended_backfills=[backfill])

    assert [advance.over for advance, _ in during.backfills] == [9]
    assert after.backfills == []


def test_stopped_backfill_warns_until_sent_again() -> None:
    stopped = a_backfill(seen_to=4, progress=Progress.STOPPED)

    (_, warning) = status(ended_backfills=[stopped]).warnings
    assert warning == (
        "backfill sms-20261101-20261111 stopped with 6 of 10 windows left: it would bill more "
        "records than the setting "
        "MaxBilledRecords; send it again with --confirm-cost"
    )
    again = status(ended_backfills=[stopped], backfills=[a_backfill(confirmed=True)])
    assert again.warnings == ["nothing planned yet for sms"]


def test_backfill_stopped_without_windows_left_warns() -> None:
    # Earlier rules of its time zone had one window more.
    stopped = a_backfill(seen_to=11, progress=Progress.STOPPED)

    (_, warning) = status(ended_backfills=[stopped]).warnings

    assert warning == (
        "backfill sms-20261101-20261111 stopped with 0 of 10 windows left: the rules of its time "
        "zone have changed; send it again"
    )


def test_window_that_the_schedule_did_not_plan_is_late() -> None:
    days = windows(DAILY, "2026-11-14", "2026-11-20")
    calendar = Calendar({("sms", "abcd1234", 3): days[0].end}, {}, {DAILY.name: DAILY.collects})

    (late,) = status(report(DAILY, days[0]), calendar=calendar).problems

    # The 19th became due at the last midnight: today's schedule may still plan it.
    assert (late.kind, late.windows, late.dates) == ("late", 4, "2026-11-15 to 2026-11-18")
    assert late.reason == "due and not planned; check that the schedule is enabled: doctor"
    assert late.commands("prod") == [
        "vonage-reports --stack prod collect --at 2026-11-23T06:00:00Z"
    ]


def test_window_of_the_api_key_that_was_not_planned_is_late() -> None:
    of_the_key = replace(DAILY, account_ids=(THE_API_KEY,))
    days = windows(DAILY, "2026-11-14", "2026-11-20")
    # The stack had another API key before.
    cursors = {("sms", "old00000", 3): days[0].start, ("sms", "abcd1234", 3): days[0].end}

    result = status(
        report(DAILY, days[0]),
        definitions=[of_the_key],
        calendar=Calendar(cursors, {}, {DAILY.name: DAILY.collects}),
    )

    (late,) = result.problems
    assert (late.account_id, late.windows) == ("abcd1234", 4)


def test_reason_shared_by_many_reports_warns_once() -> None:
    days = windows(DAILY, "2026-11-01", "2026-11-04")
    refused = [report(DAILY, window, State.PLANNED, reason="401: no such key") for window in days]

    assert status(*refused).warnings == ["sms: retrying 3 reports: 401: no such key"]


def test_pause_warns() -> None:
    work = OpenWork((), {}, frozenset(), paused_until=NOW + timedelta(minutes=1))

    (pause, _) = status(work=work).warnings

    assert pause == "Vonage asked to pause all requests until 2026-11-23T06:01:00Z"


@pytest.mark.parametrize("refused", ["sms", "(entry 2)", "(all)"])
def test_refused_definition_is_not_called_removed(refused: str) -> None:
    refusal = Refusal(refused, "product", "it is missing")

    result, problem = removed_gap(
        definitions=[],
        refusals=[refusal],
        calendar=Calendar({}, {}, {DAILY.name: DAILY.collects}),
    )

    assert row(result).standing is Standing.REFUSED
    assert result.refusals == [refusal]
    assert problem.reason == "sms is refused; correct the report definitions first"


def test_definition_beside_a_refused_one_is_removed() -> None:
    result, _ = removed_gap(
        definitions=[],
        refusals=[Refusal("verify", "product", "it is missing")],
        calendar=Calendar({}, {}, {DAILY.name: DAILY.collects}),
    )

    assert row(result).standing is Standing.REMOVED


def test_accepted_definition_stays_collected_beside_its_refused_copy() -> None:
    copy = Refusal("sms", "name", "(entry 1), of SMS, already has this name")

    assert row(status(refusals=[copy])).standing is Standing.COLLECTED


def test_span_counts_gap_at_its_beginning_of_a_known_account() -> None:
    both = replace(DAILY, account_ids=("abcd1234", "efgh5678"))
    days = windows(both, "2026-11-01", "2026-11-08")
    there = (days[3], days[4])
    span = Span(days[1].start, frozenset({"abcd1234"}))

    result = status(
        *(report(both, window, account=each) for window in there for each in both.account_ids),
        definitions=[both],
        spans={"sms": span},
    )

    # The other account is new: its first window is the beginning of its history.
    assert [(each.account_id, each.missing) for each in result.rows] == [
        ("abcd1234", 2),
        ("efgh5678", 0),
    ]
    assert missing(result) == [
        ("2026-11-02 to 2026-11-03", 2, backfill_event("2026-11-02", "2026-11-04"))
    ]


def test_open_report_before_the_span_opens_no_gap() -> None:
    (old,) = windows(DAILY, "2026-03-01", "2026-03-02")
    days = windows(DAILY, "2026-11-01", "2026-11-04")

    result = status(
        report(DAILY, old, State.HELD, reason="Vonage did not answer"),
        report(DAILY, days[0]),
        report(DAILY, days[2]),
        spans={"sms": Span(days[0].start, frozenset({"abcd1234"}))},
    )

    assert [(each.kind, each.dates) for each in result.problems] == [
        ("held", "2026-03-01"),
        ("missing", "2026-11-02"),
    ]


def test_everything_that_asks_for_a_person_is_named() -> None:
    days = windows(DAILY, "2026-11-01", "2026-11-05")
    states = (State.DELIVERED, State.FAILED, State.HELD)

    result = status(
        *(report(DAILY, *each) for each in zip(days, states, strict=False)),
        report(DAILY, days[3]),
        refusals=[Refusal("x", "product", "it is missing")],
        unreadable=["report#sms-x"],
    )

    assert replace(result, unheard=Unheard("no subscription", "aws")).attention == [
        "1 refused definition",
        "1 held",
        "1 failed",
        "1 unreadable item of the ledger",
        "no alarm has a reader",
    ]
    assert replace(result, is_paused=True).attention[-1] == "the schedule is paused"
    assert status(report(DAILY, days[0])).attention == []


def test_stopped_planning_warns_and_no_window_is_late_meanwhile() -> None:
    stopped = StoppedPlanning(NOW - timedelta(days=20), "sms")
    work = OpenWork((), {}, frozenset(), planning_stopped=stopped)
    cursor = {(DAILY.name, DAILY.account_ids[0], 3): NOW - timedelta(days=24)}
    calendar = Calendar(cursor, {}, {DAILY.name: DAILY.collects})

    result = status(
        report(DAILY, windows(DAILY, "2026-10-29", "2026-10-30")[0]), work=work, calendar=calendar
    )

    (stop,), (unplanned,) = result.warnings, result.problems
    assert stop.startswith("planning has been stopped since 2026-11-03T06:00:00Z")
    assert stop.endswith("goes on at sms")
    assert unplanned.reason == (
        "due and not planned; planning has stopped, and the next scheduled run goes on"
    )


def test_status_is_json_serializable() -> None:
    days = windows(DAILY, "2026-11-01", "2026-11-04")
    result = status(
        report(DAILY, days[0], rows=7), report(DAILY, days[2]), backfills=[a_backfill()]
    )

    document = json.loads(json.dumps(result.to_dict()))

    assert document["definitions"][0]["last_delivered"]["start"] == "2026-11-03T00:00:00Z"
    assert document["as_of"] == "2026-11-23T06:00:00Z"
    assert document["backfills"][0]["windows"] == 10


def test_withdrawn_window_is_not_missing() -> None:
    twice = replace(DAILY, delay_days=(0, 3))
    days = windows(twice, "2026-11-01", "2026-11-04")

    result = status(
        report(twice, days[0], delay_index=1),
        report(twice, days[1]),
        report(twice, days[1], delay_index=1, state=State.CANCELLED, withdrawn_at=NOW),
        report(twice, days[2], delay_index=1),
        definitions=[twice],
        calendar=Calendar({("sms", "abcd1234", 3): days[2].end}, {}, {"sms": twice.collects}),
    )

    assert "missing" not in {each.kind for each in result.problems}
    assert row(result).missing == 0


def test_window_withdrawn_only_as_preliminary_is_missing() -> None:
    twice = replace(DAILY, delay_days=(0, 3))
    days = windows(twice, "2026-11-01", "2026-11-04")

    result = status(
        report(twice, days[0], delay_index=1),
        report(twice, days[1], State.CANCELLED, withdrawn_at=NOW),
        report(twice, days[1], State.CANCELLED, delay_index=1),
        report(twice, days[2], delay_index=1),
        definitions=[twice],
    )

    assert [each.reason for each in result.problems] == ["cancelled"]


def test_reports_that_wait_for_the_cap_are_named() -> None:
    (window,) = windows(DAILY, "2026-11-20", "2026-11-21")
    reason = "MaxBilledRecordsMonth is 5,000,000"

    result = status(report(DAILY, window, State.PLANNED, error="SpendCapped", reason=reason))

    assert (
        f"reports wait for MaxBilledRecordsMonth: 1, such as sms 2026-11-20, because {reason}"
        in result.warnings
    )
