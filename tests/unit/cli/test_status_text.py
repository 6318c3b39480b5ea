import json
from dataclasses import replace
from datetime import UTC, date, datetime
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from rich.console import Console

from tests.support.schemas import document_of
from tests.support.unsafe_text import ANY_TEXT, UNSAFE, unsafe_in
from vonage_reports.domain.backfill import Progress
from vonage_reports.domain.catalogue import Registration
from vonage_reports.domain.definitions import Refusal
from vonage_reports.domain.report import Revision
from vonage_reports.domain.windows import Window, WindowLength
from vonage_reports_cli.screen import Screen
from vonage_reports_cli.status.hearing import Unheard
from vonage_reports_cli.status.model import Advance, Delivered, Row, Standing
from vonage_reports_cli.status.problems import Problem
from vonage_reports_cli.status.summary import Status
from vonage_reports_cli.status.text import Target, show_status
from vonage_reports_cli.status.unregistered import Unregistered

NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)
ROW = Row(
    definition="sms-outbound",
    account_id="abcd1234",
    length=WindowLength.DAY,
    time_zone="Europe/London",
    standing=Standing.COLLECTED,
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
    event={"backfill": {"definition": "sms-outbound", "start": "2026-11-03", "end": "2026-11-06"}},
)
PROD = Target("prod")
STATUS = Status(NOW, [ROW], [], [], [], since=date(2026, 10, 19))


def printed(
    status: Status,
    *,
    source: str = "stack prod",
    target: Target = PROD,
    width: int | None = None,
) -> str:
    """Return the text of a status, on a terminal of this width, or without a terminal."""
    file = StringIO()
    screen = Screen(no_color=True)
    screen.console = Console(
        file=file,
        emoji=False,
        width=width or 200,
        force_terminal=width is not None,
        no_color=True,
        legacy_windows=False,
        _environ={"TERM": "dumb"},
    )
    show_status(status, source, screen, target)
    return file.getvalue()


def shown(target: Target = PROD, **changes: Any) -> list[str]:
    text = printed(replace(STATUS, **changes), target=target)
    return [line.rstrip() for line in text.splitlines()]


def test_first_lines_name_source_span_and_verdict() -> None:
    source, span, verdict, *_ = shown()

    assert source == "stack prod"
    assert span == "Windows since 2026-10-19 and all open reports. --since DATE shows more windows."
    assert verdict == "No problems."
    assert shown(problems=[GAP])[2] == "Look at: 1 missing."


def test_definition_takes_one_line_without_empty_columns() -> None:
    *_, header, row = shown()

    assert " ".join(header.split()) == (
        "definition account windows last delivered delivered in flight missing"
    )
    assert " ".join(row.split()) == (
        "sms-outbound abcd1234 day, Europe/London 2026-11-18, final 1,200 1 3"
    )


def test_equal_columns_are_named_above_the_table() -> None:
    *_, alike, header, first, second = shown(rows=[ROW, replace(ROW, definition="sms", missing=0)])

    assert alike == (
        "Every row:  account: abcd1234  windows: day, Europe/London  "
        "last delivered: 2026-11-18, final  delivered: 1,200  in flight: 1"
    )
    assert header.split() == ["definition", "missing"]
    assert (first.split(), second.split()) == (["sms-outbound", "3"], ["sms"])


def test_narrow_terminal_breaks_no_name() -> None:
    long = replace(
        ROW, definition="messages-outbound-of-sub-accts", account_id="a" * 30, failed=10_000
    )
    text = printed(replace(STATUS, rows=[long, replace(ROW, held=1, missing=0)]), width=80)

    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-6:] == [
        "Every row:  windows: day, Europe/London  last delivered: 2026-11-18, final",
        "  delivered: 1,200  in flight: 1",
        "messages-outbound-of-sub-accts",
        f"  account: {'a' * 30}  failed: 10,000  missing: 3",
        "sms-outbound",
        "  account: abcd1234  held: 1",
    ]


def test_refused_definition_stands_first_with_its_command() -> None:
    refusal = Refusal("sms-x", "product", "takes Vonage's name for the product")

    _, _, verdict, _, heading, sentence, command, *_ = shown(refusals=[refusal], problems=[GAP])

    assert verdict == "Look at: 1 refused definition, 1 missing."
    assert heading == "refused definitions: not collected before you correct them"
    assert sentence == "  sms-x, product: takes Vonage's name for the product"
    assert command == "    vonage-reports --stack prod definitions edit"


@pytest.mark.parametrize("standing", [Standing.REMOVED, Standing.REFUSED])
def test_uncollected_definition_is_marked(standing: Standing) -> None:
    *_, row = shown(rows=[replace(ROW, standing=standing)])

    assert row.startswith(f"sms-outbound ({standing})")


def test_gap_is_printed_with_its_command() -> None:
    lines = shown(problems=[GAP])

    at = lines.index("missing")
    backfill = "backfill sms-outbound --from 2026-11-03 --until 2026-11-06"
    assert lines[at + 1 : at + 3] == [
        "  sms-outbound, abcd1234, 2026-11-03 to 2026-11-05 (3 windows)",
        f"    vonage-reports --stack prod {backfill}",
    ]


def test_hold_is_printed_with_both_commands() -> None:
    name = "sms-20261103T0000Z-0a1b2c3d4e5f"
    held = replace(GAP, kind="held", windows=1, event=None, report_id=name, hold=2)

    lines = shown(problems=[held])

    resolve = f"    vonage-reports --stack prod resolve {name}"
    assert f"{resolve} --found REQUEST_ID --hold 2" in lines
    assert f"{resolve} --not-there --hold 2" in lines


def test_problem_without_event_is_printed_with_report_id() -> None:
    late = replace(
        GAP, kind="late", windows=1, event=None, report_id="sms-20261103T0000Z-0a1b2c3d4e5f"
    )

    assert "    sms-20261103T0000Z-0a1b2c3d4e5f" in shown(problems=[late])


def test_local_ledger_has_the_event_only_if_the_next_run_keeps_it() -> None:
    kept = shown(Target(is_local=True), problems=[GAP])
    anew = shown(Target(is_local=True, is_kept=False), problems=[GAP])

    assert f"    make run EVENT=event.json   with {json.dumps(GAP.event)} in event.json" in kept
    assert not any("make run" in line or "vonage-reports" in line for line in anew)


def test_only_ten_problems_are_printed_with_a_notice() -> None:
    failed = replace(GAP, kind="failed", windows=1, event=None, reason="[RowsMismatch] :secret:")

    lines = shown(problems=[failed] * 300)

    at = lines.index("  and 290 more; --json has all")
    # Printed literally: rich would take the one for markup and the other for an emoji.
    assert lines[at - 1].endswith(": [RowsMismatch] :secret:")
    assert len(lines) < 20


def test_running_backfill_is_a_bar_with_estimate() -> None:
    advance = Advance("sms-x", Progress.RUNNING, total=400, over=100, skipped=20, under_way=4)

    *_, bar = shown(backfills=[(advance, 240.0)])

    assert bar.startswith("backfill sms-x  ")
    assert bar.endswith("100 of 400 windows, 20 skipped, about 4 min left")


@pytest.mark.parametrize("text", ["[red]x[/red]", "[/]", ":bomb:"])
def test_table_prints_markup_literally(text: str) -> None:
    *_, row = shown(rows=[replace(ROW, definition=text, account_id=text, time_zone=text)])

    assert " ".join(row.split()).startswith(f"{text} {text} day, {text} ")


def registration(definition: str, hour: int = 3) -> Registration:
    values = {"definition": definition, "account": "abcd1234", "date": "2026-11-21"}
    since = datetime(2026, 11, 22, hour, tzinfo=UTC)
    return Registration(f"{definition}-{hour}", "SMS", values, "manifests/m.json", since)


def test_deliveries_that_glue_refuses_are_told_with_the_help() -> None:
    waits = [registration("voice", 5), registration("sms"), registration("sms", 4)]

    text = printed(replace(STATUS, unregistered=Unregistered(waits)))

    assert "Look at: 3 not in the catalogue." in text
    assert "3 delivered windows of sms, voice since 2026-11-22T03:00:00Z" in text
    assert "Lake Formation lacks a grant: docs/operate.md#cataloguewaitingalarm" in text
    assert "    vonage-reports --stack prod logs submit\n" in text
    document = replace(STATUS, unregistered=Unregistered(waits)).to_dict("prod")
    told = document_of("status", json.dumps({"source": "stack prod", **document}))["unregistered"]
    assert (told["windows"], told["definitions"]) == (3, ["sms", "voice"])
    assert told["command"] == "vonage-reports --stack prod logs submit"
    of_voice = Unregistered(waits).of("voice")
    assert of_voice is not None
    assert of_voice.reason.startswith("1 delivered window of voice since 2026-11-22T05")
    assert Unregistered(waits).of("verify") is None


@given(ANY_TEXT)
def test_no_text_leaves_its_place(text: str) -> None:
    advance = Advance(text, Progress.RUNNING, total=400, over=100, skipped=20, under_way=4)
    failed = replace(
        GAP, kind="failed", definition=text, account_id=text, dates=text, reason=text,
        report_id=text, event={"recollect": {"report_id": text}},
    )  # fmt: skip
    status = replace(
        STATUS,
        rows=[replace(ROW, definition=text, standing=Standing.REMOVED)],
        backfills=[(advance, None)],
        problems=[failed, replace(failed, event=None)],
        refusals=[Refusal(text, text, text)],
        unheard=Unheard(text, text),
        unregistered=Unregistered([registration(text)]),
        warnings=[text],
    )

    everything = printed(status, source=text)

    assert not unsafe_in(everything)
    sections = {
        "failed": 6,
        "not in the catalogue": 4,
        "refused": 4,
        "no alarm has a reader": 4,
        "warnings": 3,
        "table": 3,
        "bars": 2,
    }
    assert everything.count("\n") == 3 + sum(sections.values())


def test_json_has_exact_text_in_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    warning = " ".join(UNSAFE)

    Screen(as_json=True).document(replace(STATUS, warnings=[warning]).to_dict())

    output = capsys.readouterr().out
    assert not unsafe_in(output)
    assert json.loads(output)["warnings"] == [warning]


def test_error_is_printed_with_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().complain("no \x1b[31mledger\n\u202e")

    assert capsys.readouterr().err == "vonage-reports: no \\u001b[31mledger\\n\\u202e\n"


def test_paused_schedule_is_told_with_its_command() -> None:
    text = printed(replace(STATUS, is_paused=True))

    assert "Look at: the schedule is paused." in text
    assert "    vonage-reports --stack prod resume\n" in text
    assert "paused" not in printed(replace(STATUS, is_paused=False))


def test_choice_has_the_events_of_the_last_make_run() -> None:
    choices = ({"reconvert": {"report_id": "x"}}, {"recollect": {"report_id": "x"}})
    choice = replace(GAP, event=None, choices=choices)

    lines = Target(None, is_local=True).commands(choice)

    assert [each.partition("with ")[2].partition(" in")[0] for each in lines] == [
        json.dumps(each) for each in choices
    ]
