from collections.abc import Sequence
from dataclasses import replace
from io import StringIO

import pytest
from hypothesis import given
from rich.console import Console

from local.output.table import live_table, merge_sentences, report_line, result
from local.runner.progress import Line
from tests.support.progress import BAR, LINE
from tests.support.unsafe_text import ANY_TEXT, unsafe_in
from vonage_reports.domain.backfill import Progress
from vonage_reports.domain.report import State
from vonage_reports_cli.progress_bar import Bar, bar_of, duration
from vonage_reports_cli.status.model import Advance


def shown(*lines: Line, width: int, bars: Sequence[Bar] = ()) -> list[str]:
    console = Console(width=width, file=StringIO())
    console.print(live_table(lines, bars))
    file = console.file
    assert isinstance(file, StringIO)
    return file.getvalue().splitlines()


def test_live_table_says_why_a_report_is_retried() -> None:
    header, row, reason = shown(LINE, width=100)
    assert header.split() == ["report", "state", "elapsed", "rows", "size"]
    assert row.split() == [LINE.report_id, "SUBMITTED", "12.3", "s", "14,952", "1.2", "MB"]
    assert reason.strip() == "sms-outbound, 2026-11-18: run 3 at 02:15:00 UTC: [download] cut"


def test_narrow_live_table_keeps_a_report_on_one_line() -> None:
    _, row, *_ = shown(LINE, width=60)
    assert row.startswith("sms-outbound-20261118")
    assert row.split()[1:] == ["SUBMITTED", "12.3", "s", "14,952", "1.2", "MB"]


def test_live_table_of_many_reports_shows_those_under_way_and_a_bar() -> None:
    plain = replace(LINE, retry=None)
    waiting = replace(plain, state=State.PLANNED)
    delivered = replace(plain, state=State.DELIVERED, is_at_end=True)

    _, *rows, bar = shown(plain, *[waiting] * 200, *[delivered] * 300, width=120, bars=[BAR])

    assert [row.split()[1] for row in rows] == ["SUBMITTED"]
    assert bar.startswith(BAR.name)
    assert bar.rstrip().endswith(BAR.words)


def test_result_counts_the_delivered_windows() -> None:
    delivered = replace(LINE, state=State.DELIVERED, rows=15_000, bytes=1_200_000)
    failed = replace(LINE, state=State.FAILED, rows=7, bytes=5)

    assert result([delivered, delivered], 11.4) == "2 of 2 delivered, 30,000 rows, 2.4 MB, 11 s"
    assert result([delivered, failed], 1) == "1 of 2 delivered, 15,000 rows, 1.2 MB, 1 s"
    assert result([failed], 1) == "0 of 1 delivered, 1 s"
    empty = replace(delivered, rows=1, bytes=0)
    assert result([empty], 0) == "1 of 1 delivered, 1 row, 0 s"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "about 0 s"),
        (119, "about 119 s"),
        (120, "about 2 min"),
        (7200, "about 2 h"),
        (20 * 86_400, "about 20 days"),
    ],
)
def test_estimate_has_one_unit(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize("text", ["[red]x[/red]", "[/]", "[link=file:///etc]x[/link]", ":bomb:"])
def test_live_table_prints_markup_literally(text: str) -> None:
    advance = Advance(text, Progress.RUNNING, total=4, over=1, skipped=0, under_way=1)
    line = replace(LINE, label=text, retry=text)

    _, row, bar, sentence = shown(line, width=120, bars=[bar_of(advance, None)])

    assert row.startswith(f"{text} ")
    assert bar.startswith(f"backfill {text} ")
    assert sentence.strip() == f"sms-outbound, 2026-11-18: {text}"


@given(ANY_TEXT)
def test_no_text_leaves_its_place_in_the_live_table(text: str) -> None:
    advance = Advance(text, Progress.RUNNING, total=4, over=1, skipped=0, under_way=1)
    line = replace(LINE, label=text, name=text, retry=f"x{text}")

    lines = shown(line, width=100_000, bars=[bar_of(advance, None)])

    assert len(lines) == 4
    assert not unsafe_in("".join(lines))


@given(ANY_TEXT)
def test_no_text_leaves_its_line(text: str) -> None:
    line = replace(LINE, label=text, name=text, retry=f"x{text}")

    for printed in (report_line(line), *merge_sentences([text], [(text, text)], rest="")):
        assert "\n" not in printed
        assert not unsafe_in(printed)
