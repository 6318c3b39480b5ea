import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.reports import DAY, make_report
from vonage_reports.domain.errors import ReportFailed
from vonage_reports.domain.lifecycle import Replan, apply
from vonage_reports.domain.report import (
    Entry,
    Priority,
    Report,
    RequestStatus,
    Revision,
    State,
    definition_of,
    report_id,
)
from vonage_reports.domain.run_input import execution_input
from vonage_reports.domain.splitting import halves_of
from vonage_reports.domain.traffic_profile import TrafficProfile
from vonage_reports.domain.windows import Window

LATER = datetime(2026, 11, 25, 3, tzinfo=UTC)
REPORT = make_report(
    report_id="sms-outbound-20261121T0000Z-0123456789ab",
    delay_days=3,
    expected_rows=1200,
    attempt=1,
    request_id="ri3p58f-6c5506b7-f16a-44dc-af06-756bbf467488",
    run=2,
)

names = st.from_regex(r"[a-z0-9-]{1,30}", fullmatch=True)
accounts = st.from_regex(r"[A-Za-z0-9]{1,40}", fullmatch=True)
minutes = st.integers(0, 60 * 24 * 365 * 35)
windows = st.builds(
    lambda start, length: Window(start, start + length, "UTC"),
    minutes.map(lambda count: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(minutes=count)),
    st.sampled_from([timedelta(hours=1), timedelta(days=1), timedelta(days=7)]),
)
identities = st.tuples(
    names, accounts, windows, st.integers(0, 9), st.sampled_from(["", "0", "01"])
)


def identify(identity: tuple[str, str, Window, int, str]) -> str:
    name, account_id, window, delay_index, split_path = identity
    return report_id(
        definition=name,
        account_id=account_id,
        window=window,
        delay_index=delay_index,
        split_path=split_path,
    )


def test_report_id_never_changes() -> None:
    # If an id changed, every window paid for so far would be bought again.
    hashed = b"sms-outbound\nabcd1234\n2026-11-21T00:00:00Z\n2026-11-22T00:00:00Z\n0\n"
    digest = hashlib.sha256(hashed).hexdigest()[:12]

    identity = ("sms-outbound", "abcd1234", DAY, 0, "")

    assert identify(identity) == f"sms-outbound-20261121T0000Z-{digest}"
    assert identify(identity) == "sms-outbound-20261121T0000Z-b8655f943b68"


@given(identities, identities)
def test_different_reports_have_different_ids(
    one: tuple[str, str, Window, int, str], other: tuple[str, str, Window, int, str]
) -> None:
    assert (identify(one) == identify(other)) == (one == other)


@pytest.mark.parametrize(
    "change",
    [
        {"definition": "sms-inbound"},
        {"account_id": "abcd1235"},
        {"window": Window(DAY.start, DAY.end + timedelta(hours=1), DAY.time_zone)},
        {"window": Window(DAY.start + timedelta(hours=1), DAY.end, DAY.time_zone)},
        {"delay_index": 1},
        {"split_path": "0"},
    ],
)
def test_each_identifying_field_changes_the_id(change: dict[str, object]) -> None:
    same = {
        "definition": "sms-outbound",
        "account_id": "abcd1234",
        "window": DAY,
        "delay_index": 0,
        "split_path": "",
    }

    assert report_id(**same) != report_id(**(same | change))  # type: ignore[arg-type]  # keywords of several types


@given(identities)
def test_id_contains_its_definition(identity: tuple[str, str, Window, int, str]) -> None:
    assert definition_of(identify(identity)) == identity[0]


@given(identities, st.integers(1, 99_999))
def test_id_is_valid_as_execution_name(
    identity: tuple[str, str, Window, int, str], run: int
) -> None:
    name = identify(identity)

    assert len(name) <= 64
    # Step Functions accepts 1 to 80 characters, and logs only runs with these.
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,80}", f"{name}-r{run}")


def test_execution_name_ends_with_the_run() -> None:
    assert REPORT.execution_name == "sms-outbound-20261121T0000Z-0123456789ab-r2"


def test_execution_input_holds_all_workflow_fields() -> None:
    report = replace(REPORT, callback="0f" * 32)
    assert json.loads(execution_input(report, Entry.CHECK)) == {
        "report_id": "sms-outbound-20261121T0000Z-0123456789ab",
        "run": 2,
        "attempt": 1,
        "entry": "check",
        "request_id": "ri3p58f-6c5506b7-f16a-44dc-af06-756bbf467488",
        "definition": {
            "name": "sms-outbound",
            "product": "SMS",
            "account_id": "abcd1234",
            "include_subaccounts": False,
            "filters": {"direction": "outbound"},
            "currency": None,
        },
        "window": {
            "start": "2026-11-21T00:00:00Z",
            "end": "2026-11-22T00:00:00Z",
            "time_zone": "Europe/London",
            "date": "2026-11-21",
        },
        "revision": "final",
        "delay_days": 3,
        "expected_rows": 1200,
        "first_wait": 20,
        "callback": "0f" * 32,
        "planned": "2026-11-25T02:15:00Z",
        "receipts": [],
        "announce": True,
        "relabelled": False,
        "accept": [],
    }


@pytest.mark.parametrize("entry", [Entry.CONVERT, Entry.ANNOUNCE])
def test_run_that_asks_vonage_nothing_expects_no_callback(entry: Entry) -> None:
    report = replace(REPORT, callback="0f" * 32)
    assert json.loads(execution_input(report, entry))["callback"] is None


def test_execution_input_is_byte_identical_for_one_run() -> None:
    # StartExecution is idempotent only for a byte-identical input.
    one = replace(REPORT, filters={"direction": "outbound", "country": "GB"})
    read_again = replace(REPORT, filters={"country": "GB", "direction": "outbound"})

    assert execution_input(one, Entry.CHECK) == execution_input(read_again, Entry.CHECK)


@pytest.mark.parametrize(
    "word", ["PENDING", "PROCESSING", "SUCCESS", "TRUNCATED", "FAILED", "ABORTED"]
)
def test_every_documented_status_is_known(word: str) -> None:
    assert RequestStatus.parse(word).value == word


def test_only_pending_and_processing_are_not_terminal() -> None:
    assert {status.value for status in RequestStatus if not status.is_terminal} == {
        "PENDING",
        "PROCESSING",
    }


@pytest.mark.parametrize("word", ["success", "COMPLETED", "delivered", "", None, 7, ["SUCCESS"]])
def test_unknown_status_raises_and_is_quoted(word: object) -> None:
    with pytest.raises(ReportFailed, match=re.escape(repr(word))):
        RequestStatus.parse(word)


ENDS = {State.STORED, State.DELIVERED, State.SUPERSEDED, State.FAILED, State.CANCELLED}


@pytest.mark.parametrize("state", State)
def test_end_states_include_split_only_for_halves(
    state: State,
) -> None:
    report = replace(REPORT, state=state)
    half = replace(report, root=REPORT.report_id, split_path="1")

    assert report.is_at_end == (state in ENDS)
    # The whole window waits for the halves of its halves as well.
    assert half.is_at_end == (state in ENDS | {State.SPLIT})


@pytest.mark.parametrize(
    ("delay_index", "revisions", "later"), [(0, 1, []), (0, 3, [1, 2]), (1, 3, [2]), (2, 3, [])]
)
def test_report_knows_its_later_revisions(
    delay_index: int, revisions: int, later: list[int]
) -> None:
    report = replace(REPORT, delay_index=delay_index, revisions=revisions)

    assert list(report.later_revisions) == [
        identify(("sms-outbound", "abcd1234", DAY, index, "")) for index in later
    ]


# Halves


def parts_of(report: Report, splits: list[int]) -> list[Report]:
    """Return the parts, oldest first, after splitting the parts with these numbers in turn."""
    parts = [report]
    for number in splits:
        index = number % len(parts)
        if parts[index].window.can_be_halved:
            parts[index : index + 1] = halves_of(parts[index], now=LATER)
    return parts


splits = st.lists(st.integers(0, 20), max_size=8)
profiles = st.lists(
    st.tuples(st.integers(1, 24), st.integers(0, 10**7)), min_size=1, max_size=4
).map(lambda parts: TrafficProfile(tuple(parts)))


@given(windows, splits)
def test_parts_tile_their_window(window: Window, splits: list[int]) -> None:
    parts = parts_of(replace(REPORT, window=window), splits)

    assert (parts[0].window.start, parts[-1].window.end) == (window.start, window.end)
    for one, other in pairwise(parts):
        assert one.window.end == other.window.start
        assert one.split_path < other.split_path
    assert {part.window.time_zone for part in parts} == {window.time_zone}


@given(windows, splits, st.integers(0, 2))
def test_each_part_of_each_revision_has_a_stable_id(
    window: Window, splits: list[int], delay_index: int
) -> None:
    name = identify(("sms-outbound", "abcd1234", window, delay_index, ""))
    report = replace(REPORT, report_id=name, window=window, delay_index=delay_index)
    parts = parts_of(report, splits)

    # The window and its parts are separate Vonage requests, so the window's id differs too.
    ids = {report.report_id, *(part.report_id for part in parts)}
    assert len(ids) == len(parts) + (len(parts) > 1)
    grown = replace(report, expected_rows=9, run=7, attempt=3, state=State.SPLIT)
    found_again = [part.report_id for part in parts_of(grown, splits)]
    assert found_again == [part.report_id for part in parts]
    other_revision = replace(report, delay_index=delay_index + 1)
    for part in parts_of(other_revision, splits):
        assert part is other_revision or part.report_id not in ids


def test_half_inherits_the_request_and_nothing_else() -> None:
    whole = replace(
        REPORT,
        include_subaccounts=True,
        revision=Revision.PRELIMINARY,
        priority=Priority.BACKFILL,
        delay_index=1,
        delay_days=2,
        revisions=4,
        max_records=1000,
        currency="EUR",
        backfill="sms-outbound-20261101-20261201",
        state=State.SUBMITTED,
        slot=2,
        owner="one",
        look_after=LATER,
        not_before=LATER,
        tokens=("token",),
        receipts=("receipt.json",),
        rows=1200,
        error="ReportTruncated",
        reason="Vonage truncated the report",
    )

    older, younger = halves_of(whole, now=LATER)

    for half, digit in ((older, "0"), (younger, "1")):
        middle = DAY.start + timedelta(hours=12)
        window = replace(DAY, end=middle) if half is older else replace(DAY, start=middle)
        assert half == make_report(
            include_subaccounts=True,
            window=window,
            revision=Revision.PRELIMINARY,
            priority=Priority.HALF,
            planned_at=LATER,
            delay_index=1,
            delay_days=2,
            revisions=4,
            expected_rows=600,
            max_records=1000,
            currency="EUR",
            backfill="sms-outbound-20261101-20261201",
            root=whole.report_id,
            split_path=digit,
        )


def test_half_of_a_half_belongs_to_the_whole_window() -> None:
    _, younger = halves_of(REPORT, now=LATER)

    older_quarter, younger_quarter = halves_of(younger, now=LATER)

    assert [part.split_path for part in (older_quarter, younger_quarter)] == ["10", "11"]
    assert {part.root for part in (older_quarter, younger_quarter)} == {REPORT.report_id}


@given(windows.filter(lambda window: window.can_be_halved), st.none() | profiles, st.data())
def test_halves_share_the_windows_expected_rows(
    window: Window, profile: TrafficProfile | None, data: st.DataObject
) -> None:
    expected = profile.rows if profile else data.draw(st.none() | st.integers(0, 10**8))
    report = replace(REPORT, window=window, expected_rows=expected, profile=profile)

    older, younger = halves_of(report, now=LATER)

    if expected is None:
        assert (older.expected_rows, younger.expected_rows) == (None, None)
    else:
        assert older.expected_rows is not None
        assert younger.expected_rows is not None
        # Each half is rounded separately.
        assert abs(older.expected_rows + younger.expected_rows - expected) <= 1
    assert (older.profile is None) == (younger.profile is None) == (profile is None)


def test_profile_distributes_expected_rows_to_halves() -> None:
    evening = replace(REPORT, expected_rows=100, profile=TrafficProfile(((18, 10), (6, 90))))

    older, younger = halves_of(evening, now=LATER)
    parts = [older, *halves_of(younger, now=LATER)]

    assert [part.expected_rows for part in parts] == [7, 3, 90]


# Replanned reports


def test_replanned_report_restarts_its_attempts() -> None:
    ended = replace(
        REPORT,
        state=State.DELIVERED,
        attempt=3,
        attempts_before=1,
        resumes=2,
        not_before=LATER,
        leaves=4,
        receipts=("a.json", "b.json"),
        rows=1500,
        tokens=("first",),
        error="ReportFailed",
        reason="Vonage ended the report",
    )

    again = apply(ended, Replan("second"), now=LATER)

    assert again == replace(
        ended,
        state=State.PLANNED,
        planned_at=LATER,
        not_before=None,
        request_id=None,
        leaves=1,
        receipts=(),
        attempts_before=3,
        tokens=("first", "second"),
        is_wanted=True,
        expected_rows=1500,
        rows=None,
        error=None,
        reason=None,
    )


def test_replanning_without_token_keeps_the_estimate() -> None:
    failed = replace(REPORT, state=State.FAILED, tokens=("first",), rows=None)

    again = apply(failed, Replan(), now=LATER)

    assert (again.tokens, again.expected_rows) == (("first",), 1200)


def test_replanned_part_stays_a_part() -> None:
    half, _ = halves_of(REPORT, now=LATER)

    again = apply(replace(half, state=State.FAILED), Replan(), now=LATER)

    assert (again.root, again.split_path, again.priority) == (REPORT.report_id, "0", Priority.HALF)


def test_run_of_a_part_announces_nothing() -> None:
    half, _ = halves_of(REPORT, now=LATER)

    assert json.loads(execution_input(half, Entry.CHECK))["announce"] is False


def test_converting_run_receives_its_receipts() -> None:
    converting = replace(REPORT, receipts=("older.json", "younger.json"))

    sent = json.loads(execution_input(converting, Entry.CONVERT))

    assert (sent["entry"], sent["receipts"]) == ("convert", ["older.json", "younger.json"])


def test_priority_is_halves_then_calendar_then_backfill() -> None:
    assert sorted(Priority) == [Priority.HALF, Priority.CALENDAR, Priority.BACKFILL]
