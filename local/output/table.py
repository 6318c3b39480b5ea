"""The reports of a run as text: the live table, the summary and the problems."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from rich.console import Group
from rich.table import Table
from rich.text import Text

from local.output.delivery import Delivery
from local.runner.progress import MOST_SHOWN, Line
from vonage_reports.domain.printable import printable
from vonage_reports.domain.report import State
from vonage_reports_cli.progress_bar import Bar, drawn

_STYLES = {
    State.DELIVERED: "green",
    State.FAILED: "bold red",
    State.HELD: "bold red",
    State.SUBMITTED: "cyan",
}
_MOST_SENTENCES = 10


def live_table(lines: Sequence[Line], bars: Sequence[Bar] = ()) -> Group:
    """Return the reports as a table, with the progress bars and the problems below.

    With more than MOST_SHOWN reports, the table shows only the reports under way. The bars count
    the others.
    """
    shown = lines
    if len(lines) > MOST_SHOWN:
        active = [line for line in lines if not line.is_at_end and line.state is not State.PLANNED]
        shown = active[:MOST_SHOWN]
    table = Table(box=None, pad_edge=False, header_style="bold")
    # On a narrow terminal, only the report's id is cut.
    table.add_column("report", overflow="ellipsis")
    table.add_column("state", no_wrap=True)
    for column in ("elapsed", "rows", "size"):
        table.add_column(column, justify="right", no_wrap=True)
    for line in shown:
        table.add_row(
            # As Text, because rich must not read text from elsewhere as markup.
            Text(printable(line.label)),
            Text(line.state.value, style=_STYLES.get(line.state, "")),
            f"{line.seconds:.1f} s",
            _rows(line),
            _size(line.bytes),
        )
    troubles = [(line.name, line.trouble) for line in lines if line.trouble is not None]
    sentences = [
        Text(each) for each in merge_sentences([], troubles, rest="see the end of the run")
    ]
    return Group(*([table] if shown else []), *([drawn(bars)] if bars else []), *sentences)


def report_line(line: Line) -> str:
    """Return the state and the problem of a report as one line."""
    parts = [f"{line.state.value:<10}  {line.label}"]
    if line.state is State.DELIVERED:
        parts.append(f"{_rows(line)} rows, {_size(line.bytes)}")
    if line.trouble:
        parts.append(line.trouble)
    return printable("  ".join(parts))


def summary(lines: Sequence[Line], delivery: Delivery, *, with_keys: bool = False) -> str:
    """Return the state, rows and size of each window, on request with each key on its own line.

    With more than MOST_SHOWN windows, return one line per definition and account.
    """
    windows = [line for line in lines if line.root is None]
    if len(windows) > MOST_SHOWN:
        in_order = sorted(windows, key=_group)
        totals = [_total(list(each)) for _, each in groupby(in_order, _group)]
        return "\n".join([*map(printable, totals), ""])
    parts: dict[str | None, list[str]] = {}
    for line in lines:
        parts.setdefault(line.root or line.report_id, []).append(line.report_id)
    text = []
    for line in windows:
        facts = [line.state.value]
        if line.rows is not None:
            facts.append(f"{_rows(line)} rows")
        if line.bytes:
            facts.append(_size(line.bytes))
        text.append(f"{line.report_id}  {', '.join(facts)}")
        if with_keys:
            manifest = delivery.manifest_key(line.report_id)
            archives = [
                key for each in parts[line.report_id] for key in delivery.archive_keys(each)
            ]
            text += [f"  {key}" for key in (*archives, *([manifest] if manifest else []))]
    return "\n".join([*map(printable, text), ""])


def result(windows: Sequence[Line], seconds: float) -> str:
    """Return the delivered windows, rows and bytes of the run as one line."""
    delivered = [line for line in windows if line.state is State.DELIVERED]
    rows = sum(line.rows or 0 for line in delivered)
    parts = [
        f"{len(delivered):,} of {len(windows):,} delivered",
        f"{rows:,} {'row' if rows == 1 else 'rows'}" if delivered else "",
        _size(sum(line.bytes for line in delivered)),
        f"{seconds:,.0f} s",
    ]
    return ", ".join(filter(None, parts))


def _group(line: Line) -> tuple[str, str]:
    return line.definition, line.account_id


def _total(lines: Sequence[Line]) -> str:
    """Return one line about the windows of one definition and account."""
    counts = Counter(line.state.value for line in lines)
    parts = [f"{count:,} {state}" for state, count in counts.most_common()]
    parts.append(f"{sum(line.rows or 0 for line in lines):,} rows")
    parts.append(_size(sum(line.bytes for line in lines)))
    days = sorted(line.first_date for line in lines)
    group = ", ".join(_group(lines[0]))
    return f"{group}, {days[0]} to {days[-1]}: {', '.join(filter(None, parts))}"


def merge_sentences(
    refused: Sequence[str], troubles: Sequence[tuple[str, str]], *, rest: str
) -> list[str]:
    """Return the problems as sentences. Reports with the same problem share one sentence.

    `troubles` are pairs of a report's name and its problem. `rest` says where to find the sentences
    beyond the first ten.
    """
    names: dict[str, list[str]] = {}
    for name, sentence in troubles:
        names.setdefault(sentence, []).append(name)
    of_reports = [
        (f"{each[0]}: {sentence}" if len(each) == 1 else f"{len(each)} reports: {sentence}")
        for sentence, each in names.items()
    ]
    sentences = list(dict.fromkeys(map(printable, [*refused, *of_reports])))
    if len(sentences) <= _MOST_SENTENCES:
        return sentences
    more = f"and {len(sentences) - _MOST_SENTENCES} more: {rest}"
    return [*sentences[:_MOST_SENTENCES], more]


def _rows(line: Line) -> str:
    return "" if line.rows is None else f"{line.rows:,}"


def _size(size: int) -> str:
    if not size:
        return ""
    for factor, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size} B"
