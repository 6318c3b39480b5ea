import json
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from rich.console import Console

from tests.support.unsafe_text import ANY_TEXT, UNSAFE, unsafe_in
from vonage_reports.domain.backfill import Progress
from vonage_reports.domain.report import Revision
from vonage_reports.domain.windows import Window, WindowLength
from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.status import __main__ as command
from vonage_reports_cli.status.model import Advance, Delivered, Row
from vonage_reports_cli.status.problems import Problem
from vonage_reports_cli.status.summary import Status
from vonage_reports_cli.status.text import show_status

NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)
ROW = Row(
    definition="sms-outbound",
    account_id="abcd1234",
    length=WindowLength.DAY,
    time_zone="Europe/London",
    is_collected=True,
    last_delivered=Delivered(
        Window(datetime(2026, 11, 18, tzinfo=UTC), datetime(2026, 11, 19, tzinfo=UTC), "UTC"),
        Revision.FINAL,
        3000,
    ),
    delivered=1200,
    in_flight=1,
    waiting=0,
    held=0,
    failed=0,
    missing=3,
)
GAP = Problem(
    kind="missing",
    definition="sms-outbound",
    account_id="abcd1234",
    start=NOW,
    end=NOW,
    dates="2026-11-03 to 2026-11-05",
    windows=3,
    event={"backfill": {"definition": "sms-outbound"}},
)
STATUS = Status(NOW, [ROW], [], [], [])


def shown(**changes: Any) -> list[str]:
    file = StringIO()
    show_status(replace(STATUS, **changes), "the last make run", Console(file=file, emoji=False))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_definition_takes_one_line_with_blanks_for_zero() -> None:
    title, _, header, row = shown()

    assert title == "the last make run, as of 2026-11-23 06:00:00 UTC"
    assert " ".join(header.split()) == (
        "definition account windows last delivered delivered in flight waiting held failed missing"
    )
    assert " ".join(row.split()) == (
        "sms-outbound abcd1234 day, Europe/London 2026-11-18, final 1,200 1 3"
    )


def test_gap_is_printed_with_its_event() -> None:
    *_, heading, gap, event = shown(problems=[GAP])

    assert heading == "missing"
    assert gap == "  sms-outbound, abcd1234, 2026-11-03 to 2026-11-05 (3 windows)"
    assert event == '    {"backfill": {"definition": "sms-outbound"}}'


def test_problem_without_event_is_printed_with_report_id() -> None:
    held = replace(
        GAP, kind="held", windows=1, event=None, report_id="sms-20261103T0000Z-0a1b2c3d4e5f"
    )

    assert shown(problems=[held])[-1] == "    sms-20261103T0000Z-0a1b2c3d4e5f"


def test_only_ten_problems_are_printed_with_a_notice() -> None:
    failed = replace(GAP, kind="failed", windows=1, event=None, reason="[RowsMismatch] :secret:")

    *_, tenth, more = shown(problems=[failed] * 300)

    # Printed literally: rich would take the one for markup and the other for an emoji.
    assert tenth.endswith(": [RowsMismatch] :secret:")
    assert more == "  and 290 more; `make status JSON=1` has all"
    assert len(shown(problems=[failed] * 300)) < 20


def test_running_backfill_is_a_bar_with_estimate() -> None:
    advance = Advance("sms-x", Progress.RUNNING, total=400, over=100, skipped=20, under_way=4)

    *_, bar = shown(backfills=[(advance, 240.0)])

    assert bar.startswith("backfill sms-x  ")
    assert bar.endswith("100 of 400 windows, 20 skipped, about 4 min left")


def test_removed_definition_is_marked() -> None:
    *_, row = shown(rows=[replace(ROW, is_collected=False)])

    assert row.startswith("sms-outbound (removed)")


@pytest.mark.parametrize("text", ["[red]x[/red]", "[/]", ":bomb:"])
def test_table_prints_markup_literally(text: str) -> None:
    *_, row = shown(rows=[replace(ROW, definition=text, account_id=text, time_zone=text)])

    assert " ".join(row.split()).startswith(f"{text} {text} day, {text} ")


@given(ANY_TEXT)
def test_no_text_leaves_its_place(text: str) -> None:
    advance = Advance(text, Progress.RUNNING, total=400, over=100, skipped=20, under_way=4)
    failed = replace(
        GAP, kind="failed", definition=text, account_id=text, dates=text, reason=text,
        report_id=text, event={"recollect": {"report_id": text}},
    )  # fmt: skip
    file = StringIO()
    console = Console(file=file, emoji=False)
    status = replace(
        STATUS,
        rows=[replace(ROW, definition=text, is_collected=False)],
        backfills=[(advance, None)],
        problems=[failed, replace(failed, event=None)],
        warnings=[text],
    )

    show_status(status, text, console)

    printed = file.getvalue()
    assert not unsafe_in(printed)
    # A long name is folded in its column of the table, and nowhere else.
    _, _, after_table = printed.partition("\n\nfailed\n")
    assert after_table.count("\n") == 7


def test_json_has_exact_text_in_escapes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    warning = " ".join(UNSAFE)
    status = replace(STATUS, warnings=[warning])
    monkeypatch.setattr(command, "_local_status", lambda: (status, "the last make run"))

    assert command.show({"JSON": "1"}) == command.SHOWN
    output = capsys.readouterr().out
    assert not unsafe_in(output)
    assert json.loads(output)["warnings"] == [warning]


def test_error_is_printed_with_escapes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise BadInput("no \x1b[31mledger\n\u202e")

    monkeypatch.setattr(command, "_local_status", refuse)

    assert command.show({}) == command.BAD_INPUT
    assert capsys.readouterr().err == "make status: no \\u001b[31mledger\\n\\u202e\n"
