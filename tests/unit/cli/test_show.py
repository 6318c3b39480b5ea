import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from rich.console import Console

from tests.support.reports import make_report
from tests.support.unsafe_text import ANY_TEXT, unsafe_in
from vonage_reports.domain.acceptance import Acceptable, advice
from vonage_reports.domain.objects import manifest_key, receipt_key
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.splitting import halves_of
from vonage_reports_cli.objects import FolderObjects
from vonage_reports_cli.screen import Screen
from vonage_reports_cli.show.life import Life, Run, advice_on, life_of
from vonage_reports_cli.show.text import show_life

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Reports:
    """A ledger of these reports."""

    def __init__(self, *reports: Report) -> None:
        self._reports = {each.report_id: each for each in reports}

    def report(self, report_id: str) -> Report | None:
        return self._reports.get(report_id)


def at(time: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-25T{time}:00Z")


def report(state: State = State.DELIVERED, **changes: Any) -> Report:
    fields = {"attempt": 1, "run": 1, "request_id": "r1", "submitted_at": at("02:16"), **changes}
    return make_report(state=state, **fields)


def write(folder: Path, key: str, value: Mapping[str, Any]) -> None:
    file = folder / key
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value))


def receive(
    folder: Path, of: Report, *, hour: int, count: int | None = 1000, is_empty: bool = False
) -> None:
    """Write the receipt of the report's request, sent at this hour."""
    key = receipt_key(of)
    archive = {"key": key.replace(".json", ".zip"), "bytes": 500}
    write(
        folder,
        key,
        {
            "request_id": of.request_id,
            "archive": None if is_empty else archive,
            "items_count": count,
            "times": {
                "submitted": f"2026-11-25T{hour:02}:16:00Z",
                "ready": f"2026-11-25T{hour:02}:20:00Z",
                "stored": f"2026-11-25T{hour:02}:21:00Z",
            },
        },
    )


def deliver(folder: Path, of: Report, **more: object) -> None:
    """Write the manifest of the report."""
    totals = [{"currency": "EUR", "total_price": "12.5", "rows": 1000}]
    dataset = {"bucket": "reports", "key": "data/x.parquet"}
    times = {"delivered": "2026-11-25T02:30:00Z"}
    manifest = {"rows": 1000, "totals": totals, "dataset": dataset, "archives": [], "times": times}
    manifest |= more
    write(folder, manifest_key(of), manifest)


def life(folder: Path, of: Report, *others: Report) -> Life:
    return life_of(of, Reports(of, *others), FolderObjects(folder), run=None, now=NOW)


def printed(of: Life) -> str:
    file = StringIO()
    screen = Screen()
    screen.console = Console(file=file, emoji=False, width=200)
    show_life(of, advice_on(of, stack="prod"), "stack prod", screen)
    return file.getvalue()


def test_delivered_report_has_all_times_and_its_bill(tmp_path: Path) -> None:
    delivered = report()
    receive(tmp_path, delivered, hour=2)
    deliver(tmp_path, delivered)

    found = life(tmp_path, delivered)

    assert found.times == {
        "planned": delivered.planned_at,
        "requested": at("02:16"),
        "ready": at("02:20"),
        "stored": at("02:21"),
        "delivered": at("02:30"),
    }
    assert (found.billed_records, found.unexplained) == (1000, 0)
    text = printed(found)
    assert "Vonage billed 1,000 records, by the receipts of the archives." in text
    assert "delivered 1,000 rows, 12.5 EUR" in text
    assert text.endswith(
        "What to do: Nothing. To collect the window again, which Vonage bills:\n"
        f"  vonage-reports --stack prod recollect {delivered.report_id}\n"
    )


def test_accepted_imperfections_are_named(tmp_path: Path) -> None:
    accepted = [{"name": "row_count", "rows": 1}, {"name": "unreadable_rows", "rows": 20}]
    deliver(tmp_path, report(), accepted=accepted)

    assert "  accepted: row_count, unreadable_rows\n" in printed(life(tmp_path, report()))


def test_price_of_a_record_turns_the_bill_into_money(tmp_path: Path) -> None:
    delivered = report()
    receive(tmp_path, delivered, hour=2)

    found = replace(life(tmp_path, delivered), cost="0.40 EUR")

    assert "Vonage billed 1,000 records (0.40 EUR), by the receipts" in printed(found)
    assert found.to_dict(advice_on(found, stack=None))["cost"] == "0.40 EUR"


def test_every_request_of_a_recollected_window_is_counted(tmp_path: Path) -> None:
    now = report(attempt=3, request_id="r3", submitted_at=at("09:16"))
    receive(tmp_path, replace(now, request_id="r1"), hour=2)
    receive(tmp_path, now, hour=9, count=1001)

    found = life(tmp_path, now)

    assert [each.request_id for each in found.requests] == ["r1", "r3"]
    assert found.billed_records == 2001
    # The second request failed at Vonage, which left nothing.
    assert found.unexplained == 1
    assert "1 more request left no archive" in printed(found)


def test_new_collection_has_no_times_of_the_one_before(tmp_path: Path) -> None:
    before = report()
    receive(tmp_path, before, hour=2)
    deliver(tmp_path, before)
    again: dict[str, Any] = {
        "delivered_from": (receipt_key(before),),
        "planned_at": at("09:00"),
    }

    waiting = replace(before, state=State.PLANNED, request_id=None, **again)
    asked = replace(
        before, state=State.SUBMITTED, request_id="r2", attempt=2, submitted_at=at("09:16"), **again
    )
    failed = replace(asked, state=State.FAILED)

    assert life(tmp_path, waiting).times == {
        "planned": at("09:00"),
        "requested": None,
        "ready": None,
        "stored": None,
        "delivered": None,
    }
    for each in (asked, failed):
        times = life(tmp_path, each).times
        assert times["requested"] == at("09:16")
        assert (times["ready"], times["stored"], times["delivered"]) == (None, None, None)
    # The delivery itself is told.
    assert "delivered before this collection: 1,000 rows" in printed(life(tmp_path, failed))


def test_time_within_the_second_of_the_request_counts(tmp_path: Path) -> None:
    # A receipt has no microseconds.
    asked = report(submitted_at=at("02:16").replace(microsecond=300_000))
    receive(tmp_path, asked, hour=2)

    assert life(tmp_path, asked).times["stored"] == at("02:21")


def test_request_without_an_answer_may_be_billed(tmp_path: Path) -> None:
    # The operator answered --not-there, but Vonage had the request.
    resolved = report(holds=1, attempt=1)
    receive(tmp_path, resolved, hour=2)
    repeated = report(State.SUBMITTED, unheard=True, holds=1, account_id="efgh5678")

    once, twice = life(tmp_path, resolved), life(tmp_path, repeated)

    assert (once.unanswered, twice.unanswered) == (1, 2)
    assert once.to_dict(advice_on(once, stack=None))["requests_without_answer"] == 1
    assert "Perhaps Vonage billed one more request, because Vonage did not" in printed(once)
    assert "Perhaps Vonage billed 2 more requests" in printed(twice)
    assert "Perhaps" not in printed(life(tmp_path, report()))


def test_withdrawn_recollection_keeps_its_delivery(tmp_path: Path) -> None:
    withdrawn = report(
        State.CANCELLED, withdrawn_at=at("10:00"), delivered_from=("receipts/r1.json",)
    )
    deliver(tmp_path, withdrawn)

    text = printed(life(tmp_path, withdrawn))

    assert "What to do: Nothing is collected again. The earlier delivery stays." in text
    assert "delivered before this collection" in text


def test_rows_that_do_not_add_up_leave_the_choice(tmp_path: Path) -> None:
    reason = f"1,000 counted, 999 found. {advice([Acceptable.ROW_COUNT])}"
    failed = report(State.FAILED, error="RowsMismatch", reason=reason, failures=1)

    told = advice_on(life(tmp_path, failed), stack="prod")

    # The free way is first.
    assert told.commands == [
        f"vonage-reports --stack prod reconvert {failed.report_id} --accept row_count",
        f"vonage-reports --stack prod recollect {failed.report_id}",
    ]
    assert told.sentence == "Deliver the window as it is, or collect it again."
    assert "for free and on the record" in (told.offer or "")
    assert "Vonage bills it" in (told.offer or "")


def test_request_under_way_has_an_unknown_bill(tmp_path: Path) -> None:
    found = life(tmp_path, report(State.SUBMITTED))

    (only,) = found.requests
    assert (only.request_id, only.requested, only.records) == ("r1", at("02:16"), None)
    assert found.unexplained == 0
    assert "For 1 of these requests, the number is unknown." in printed(found)


def test_unreadable_count_is_unknown_but_no_file_is_no_record(tmp_path: Path) -> None:
    without_count, without_file = report(), report(account_id="efgh5678")
    receive(tmp_path, without_count, hour=2, count=None)
    receive(tmp_path, without_file, hour=2, count=None, is_empty=True)

    counts = [life(tmp_path, each).requests[0].records for each in (without_count, without_file)]

    assert counts == [None, 0]


def test_free_product_bills_nothing(tmp_path: Path) -> None:
    free = report(product="REPORTS-USAGE")
    receive(tmp_path, free, hour=2)

    assert life(tmp_path, free).billed_records == 0
    assert "To collect the window again, which is free:" in printed(life(tmp_path, free))
    failed = replace(free, state=State.FAILED, error="ReportFailed", reason="3 times")
    assert "Then send the report again; this is free:" in printed(life(tmp_path, failed))
    held = replace(free, state=State.HELD, reason="no answer")
    assert "create it, which is free:" in printed(life(tmp_path, held))


def test_parts_of_a_split_window_are_listed_with_their_requests(tmp_path: Path) -> None:
    whole = report(State.FAILED, leaves=2, request_id="r0", error="ReportFailed")
    older, younger = halves_of(whole, now=NOW)
    stored = replace(older, state=State.STORED, attempt=1, request_id="r1")
    failed = replace(
        younger, state=State.FAILED, attempt=3, failures=1, error="ReportFailed", reason="3 times"
    )
    whole = replace(whole, reason=f"a part of the window, {failed.report_id}, could not be had")
    receive(tmp_path, stored, hour=3)

    found = life(tmp_path, whole, stored, failed)

    assert [each.report_id for each in found.parts] == [stored.report_id, failed.report_id]
    assert {each.report_id: each.records for each in found.requests} == {
        whole.report_id: None,
        stored.report_id: 1000,
    }
    assert found.unexplained == 3
    told = advice_on(found, stack="prod")
    assert told.commands == [f"vonage-reports --stack prod recollect {failed.report_id}"]
    assert f"{failed.report_id}, {failed.window.interval}, FAILED: ReportFailed: 3 times" in (
        printed(found)
    )


@pytest.mark.parametrize(
    ("error", "reason", "command", "cost"),
    [
        ("ReportFailed", "three times", "recollect", "Vonage bills it"),
        ("RowsUnreadable", "line 2", "reconvert", "nothing is requested from Vonage"),
        (
            "RowsUnreadable",
            f"line 2. {advice([Acceptable.UNREADABLE_ROWS])}",
            "reconvert",
            "nothing is requested from Vonage",
        ),
    ],
)
def test_failure_is_mended_by_its_command(
    error: str, reason: str, command: str, cost: str, tmp_path: Path
) -> None:
    failed = report(State.FAILED, error=error, reason=reason, failures=1)

    told = advice_on(life(tmp_path, failed), stack="prod")

    (line,) = told.commands
    accepting = " --accept unreadable_rows" if Acceptable.UNREADABLE_ROWS in reason else ""
    assert line == f"vonage-reports --stack prod {command} {failed.report_id}{accepting}"
    assert told.offer == f"Then send the report again; {cost}:"


def test_failure_that_repeats_itself_has_no_command(tmp_path: Path) -> None:
    failed = report(State.FAILED, error="ReportTruncated", reason="too large", failures=1)

    told = advice_on(life(tmp_path, failed), stack="prod")

    assert told.commands == ()
    assert told.sentence == "A new report would fail again. Remove the cause first."


def test_hold_has_both_commands(tmp_path: Path) -> None:
    held = report(State.HELD, holds=2, reason="Vonage did not answer")

    told = advice_on(life(tmp_path, held), stack="prod")

    resolve = f"vonage-reports --stack prod resolve {held.report_id}"
    assert told.commands == [
        f"{resolve} --found REQUEST_ID --hold 2",
        f"{resolve} --not-there --hold 2",
    ]


def test_refused_report_can_be_withdrawn(tmp_path: Path) -> None:
    waiting = report(State.PLANNED, reason="403: no", denied_since=at("02:16"), request_id=None)

    told = advice_on(life(tmp_path, waiting), stack="prod")

    assert told.commands == [f"vonage-reports --stack prod withdraw {waiting.report_id}"]


@pytest.mark.parametrize("state", State)
def test_every_state_has_advice(state: State, tmp_path: Path) -> None:
    assert advice_on(life(tmp_path, report(state)), stack=None).sentence


@given(ANY_TEXT)
def test_no_text_of_a_report_leaves_its_place(text: str) -> None:
    failed = replace(
        report(State.FAILED), definition=text, account_id=text, error=text, reason=text
    )
    run = Run(1, text, text)
    found = Life(failed, [], [failed], None, run)

    assert not unsafe_in(printed(found))
    assert printed(found).count("\n") == printed(replace(found, run=Run(1, "x", "y"))).count("\n")
