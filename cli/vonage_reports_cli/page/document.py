"""The page as HTML: no script, nothing from elsewhere, readable in the light and in the dark."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from vonage_reports_cli.page import svg
from vonage_reports_cli.page.basis import Basis
from vonage_reports_cli.page.chart import Chart, Kind
from vonage_reports_cli.page.numbers import Numbers
from vonage_reports_cli.page.style import STYLE
from vonage_reports_cli.page.windows import STATES, Undelivered, Windows
from vonage_reports_cli.page.words import aligned, escaped, records_in_words
from vonage_reports_cli.period import Period

_MOST_UNDELIVERED = 25


@dataclass(frozen=True)
class Origin:
    """Where the numbers are from. `source` is the first line of the program's answers."""

    source: str
    is_simulated: bool
    made_at: datetime


def page_of(numbers: Numbers, basis: Basis, origin: Origin, month: Period | None) -> str:
    """Return the page."""
    title = "Vonage usage" if month is None else f"Vonage usage, {month.since:%B %Y}"
    simulated = "SIMULATED: " if origin.is_simulated else ""
    body = "\n".join(
        (
            *_head(numbers, origin, title, month),
            '<div class="sections">',
            *_windows(basis),
            *_totals(numbers),
            *(_chart(each, number) for number, each in enumerate(numbers.charts)),
            "</div>",
        )
    )
    # The policy makes the browser block every script and every network request.
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escaped(simulated + title)}</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def _head(numbers: Numbers, origin: Origin, title: str, month: Period | None) -> Iterator[str]:
    yield f"<header>\n<h1>{escaped(title)}</h1>"
    if origin.is_simulated:
        yield (
            '<p class="alert"><strong>SIMULATED.</strong> The simulator made these records. '
            "Vonage has billed nothing.</p>"
        )
    yield f'<p class="source">Source: {escaped(origin.source)}</p>'
    made = origin.made_at.astimezone(UTC)
    yield (
        f'<p class="source">Made <time datetime="{made:%Y-%m-%dT%H:%M:%SZ}">{_day(made.date())}, '
        f"{made:%H:%M} UTC</time></p>"
    )
    yield f"<p>{escaped(_period(numbers, month))}</p>\n</header>"


def _period(numbers: Numbers, month: Period | None) -> str:
    if not numbers.records:
        of = "" if month is None else f" of {month.since:%B %Y}"
        return f"No records{of} were delivered."
    days = " to ".join(
        dict.fromkeys(_day(each) for each in (numbers.first, numbers.last) if each is not None)
    )
    note = (
        f" Preliminary: {records_in_words(numbers.preliminary)}, whose prices may still change."
        if numbers.preliminary
        else ""
    )
    return (
        f"{records_in_words(numbers.records)}, {days or 'without a time'} (UTC). "
        f"Each record counts once.{note}"
    )


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _windows(basis: Basis) -> Iterator[str]:
    windows = basis.windows
    yield '<section>\n<h2 id="windows">Windows</h2>'
    lacking = {state for state in STATES if any(each.count(state) for each in windows)}
    css = ' class="alert"' if lacking - {"waiting", "not due"} else ""
    yield f"<p{css}>{escaped(basis.words.capitalize())}.</p>"
    yield from (f'<p class="alert">{escaped(each)}</p>' for each in basis.cautions)
    states = [state for state in STATES if state in lacking or state == "missing"]
    if windows:
        heads = ("definition, account", "delivered", "preliminary", *states)
        rows = (
            (
                _named(each.definition, _scope(each)),
                *(
                    f"{number:,}"
                    for number in (
                        each.delivered,
                        each.preliminary,
                        *(each.count(state) for state in states),
                    )
                ),
            )
            for each in windows
        )
        yield _table(heads, rows, "windows")
    undelivered = [each for of in windows for each in of.undelivered]
    if undelivered:
        yield "<ul>"
        yield from (_undelivered(each) for each in undelivered[:_MOST_UNDELIVERED])
        if len(undelivered) > _MOST_UNDELIVERED:
            yield f"<li>and {len(undelivered) - _MOST_UNDELIVERED:,} more</li>"
        yield "</ul>"
    yield "</section>"


def _named(name: str, detail: str) -> str:
    """Return the first cell of a row: a name, with a detail below it."""
    return f"{escaped(name)} <small>{escaped(detail)}</small>" if detail else escaped(name)


def _scope(windows: Windows) -> str:
    dates = dict.fromkeys(f"{day}" for day in (windows.first, windows.last) if day is not None)
    return ", ".join((windows.account_id, *([" to ".join(dates)] if dates else [])))


def _undelivered(each: Undelivered) -> str:
    number = f" ({each.windows:,} windows)" if each.windows > 1 else ""
    reason = f": {each.reason}" if each.reason else ""
    return (
        f"<li><strong>{each.state}:</strong> "
        f"{escaped(f'{each.definition}, {each.account_id}, {each.dates}{number}{reason}')}</li>"
    )


def _totals(numbers: Numbers) -> Iterator[str]:
    totals = numbers.totals
    yield '<section>\n<h2 id="totals">Totals</h2>'
    if totals:
        texts = iter(aligned(each.cost for each in totals if each.cost is not None))
        rows = (
            (
                _named(each.product, each.currency),
                f"{each.records:,}",
                "" if each.cost is None else next(texts),
            )
            for each in totals
        )
        yield _table(("product, currency", "records", "cost"), rows, "totals")
    yield (
        '<p class="source">Vonage names no currency for some products (SMS, VERIFY-API, '
        "NUMBER-INSIGHT). Their costs are in your account's currency, unless the definition names "
        "a currency. Products without a cost have no price per record.</p>"
    )
    drawn = {each.unit for each in numbers.charts}
    others = sorted({each.currency for each in totals if each.currency} - drawn)
    if others:
        yield (
            f'<p class="source">Without charts, because other currencies have more records: '
            f"{escaped(', '.join(others))}.</p>"
        )
    yield "</section>"


def _chart(chart: Chart, number: int) -> str:
    has_totals = len(chart.series) > 1 and chart.kind is not Kind.SHARES
    table = _table(
        (
            escaped(chart.heading),
            *(escaped(each.name) for each in chart.series),
            *(["total"] if has_totals else []),
        ),
        (
            (
                escaped(category),
                *(
                    escaped(each.values[category].text) if category in each.values else ""
                    for each in chart.series
                ),
                *([escaped(chart.notes[category])] if has_totals else []),
            )
            for category in chart.categories
            if any(category in each.values for each in chart.series)
        ),
        f"c{number}",
    )
    shown = table
    if chart.has_bars_to_compare:
        shown = (
            f"{_legend(chart)}{svg.drawn(chart, number)}\n"
            f"<details><summary>Numbers</summary>{table}</details>"
        )
    return (
        f'<section class="chart">\n<h2 id="c{number}">{escaped(chart.title)}</h2>\n'
        f"{shown}\n</section>"
    )


def _legend(chart: Chart) -> str:
    if len(chart.series) == 1 and chart.kind is not Kind.SHARES:
        return f'<p class="source">{escaped(chart.series[0].name)}</p>'
    keys = "".join(
        f'<li><svg class="key" aria-hidden="true"><rect class="{each.colour}" width="12" '
        f'height="12"/></svg>{escaped(each.name)}</li>'
        for each in chart.series
    )
    return f'<ul class="legend">{keys}</ul>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], label: str) -> str:
    """Return a table of HTML texts, a name and numbers in each row.

    `label` is the id of the heading above. A table that is too wide scrolls by itself, also by
    keyboard.
    """
    head = "".join(f'<th scope="col">{each}</th>' for each in heads)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{each}</td>" for each in rest)}</tr>'
        for first, *rest in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{label}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
