"""Charts as SVG.

Lengths across are percentages, and texts are not scaled, so a chart is readable at each width.
"""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

from vonage_reports_cli.page.chart import Chart, Kind
from vonage_reports_cli.page.words import escaped

_HEIGHT = 220
"""Pixels between the lowest and the highest line of columns."""
_TOP, _BOTTOM = 10, 30
_ROW, _BAR_TOP, _BAR = 40, 20, 13
"""Pixels of a lying bar: with its label, from the label to the bar, and of the bar."""

_MOST_LABELS = 8
_MOST_CHARACTERS = 26
_CHARACTER = 7.5
"""Pixels of a digit, rounded up."""

_WIDE = ' class="wide"'

_STEPS = (1, 2, 5, 10)
_LEAST_LINES = 3


def drawn(chart: Chart, number: int) -> str:
    """Return the chart as an SVG element. `number` tells the charts of a page apart."""
    columns = chart.kind is Kind.COLUMNS
    height = _TOP + _HEIGHT + _BOTTOM if columns else _ROW * len(chart.categories)
    gutter, body = _columns(chart) if columns else (0, "".join(_bars(chart)))
    return (
        f'<svg role="img" aria-labelledby="t{number} d{number}" height="{height}" '
        f'style="margin-left:{gutter}px;width:calc(100% - {gutter}px)">'
        f'<title id="t{number}">{escaped(chart.title)}</title>'
        f'<desc id="d{number}">{escaped(chart.description)} The table below has the same '
        f"numbers.</desc>{body}</svg>"
    )


def _columns(chart: Chart) -> tuple[int, str]:
    """Return the width of the axis labels in pixels, and the elements."""
    lines = list(_lines(max(map(chart.size, chart.categories))))
    scale = Fraction(_HEIGHT) / Fraction(lines[-1])
    names = [_plain(line) for line in lines]
    gutter = round(max(map(len, names)) * _CHARACTER) + 10
    grid = "".join(
        f'<line x2="100%" y1="{y}" y2="{y}"/><text x="-8" y="{y + 4}">{name}</text>'
        for line, name in zip(lines, names, strict=True)
        for y in (round(_TOP + _HEIGHT - float(scale * Fraction(line)), 1),)
    )
    # Stretched to the width. The unit across is one column.
    bars = (
        f'<svg y="{_TOP}" width="100%" height="{_HEIGHT}" preserveAspectRatio="none" '
        f'viewBox="0 0 {len(chart.categories)} {_HEIGHT}">{"".join(_stacks(chart, scale))}</svg>'
    )
    return gutter, f'<g class="grid">{grid}</g>{bars}<g class="days">{_axis(chart)}</g>'


def _stacks(chart: Chart, scale: Fraction) -> Iterator[str]:
    heights: dict[str, Fraction] = dict.fromkeys(chart.categories, Fraction(0))
    # Few columns are narrow.
    width = min(0.8, 0.12 * len(chart.categories))
    for series in chart.series:
        path = ""
        for place, category in enumerate(chart.categories):
            value = series.values.get(category)
            if value is not None and value.size > 0:
                height = scale * Fraction(value.size)
                low = _HEIGHT - float(heights[category])
                path += f"M{place + 0.5 - width / 2:g} {low:.2f}v{-float(height):.2f}h{width:g}"
                path += f"v{float(height):.2f}z"
                heights[category] += height
        if path:
            yield f'<path class="{series.colour}" d="{path}"/>'
    for place, category in enumerate(chart.categories):
        if heights[category]:
            yield (
                f'<rect class="hit" x="{place}" width="1" height="{_HEIGHT}">'
                f"<title>{escaped(chart.words(category))}</title></rect>"
            )


def _axis(chart: Chart) -> str:
    """Return the labels below the columns. Narrow screens show every second one."""
    number = len(chart.categories)
    every = -(-number // _MOST_LABELS)
    shown = range(0, number, every)
    return "".join(
        f'<text x="{100 * (place + 0.5) / number:.2f}%" y="{_TOP + _HEIGHT + 20}"'
        f"{_anchor(place, number)}{_WIDE if position % 2 else ''}>"
        f"{escaped(chart.labels[chart.categories[place]])}</text>"
        for position, place in enumerate(shown)
    )


_HALF_A_LABEL = 0.08
"""Half the width of a label, as a part of a chart on a narrow screen."""


def _anchor(place: int, number: int) -> str:
    """Keep the first and the last label inside the chart."""
    middle = (place + 0.5) / number
    if middle < _HALF_A_LABEL:
        return ' style="text-anchor:start"'
    return ' style="text-anchor:end"' if middle > 1 - _HALF_A_LABEL else ""


def _bars(chart: Chart) -> Iterator[str]:
    longest = Fraction(max(map(chart.size, chart.categories)))
    if chart.kind is Kind.SHARES:
        # Rounded shares may add up to a little more.
        longest = max(Fraction(100), longest)
    for row, category in enumerate(chart.categories):
        top = row * _ROW
        x = Fraction(0)
        pieces = ""
        for series in chart.series:
            value = series.values.get(category)
            if value is not None and value.size > 0:
                width = 100 * Fraction(value.size) / longest
                pieces += (
                    f'<rect class="{series.colour}" x="{float(x):.3f}%" y="{top + _BAR_TOP}" '
                    f'width="{float(width):.3f}%" height="{_BAR}"/>'
                )
                x += width
        yield (
            f"<g><title>{escaped(chart.words(category))}</title>"
            f'<text y="{top + 14}">{escaped(_cut(chart.labels[category]))}</text>'
            f'<text class="note" x="100%" y="{top + 14}">'
            f"{escaped(chart.notes[category])}</text>{pieces}</g>"
        )


def _cut(label: str) -> str:
    return label if len(label) <= _MOST_CHARACTERS else f"{label[: _MOST_CHARACTERS - 1]}…"


def _lines(highest: Decimal) -> Iterator[Decimal]:
    """Yield the round values of the lines, from zero to `highest` or a little above it."""
    power = Decimal(1).scaleb(highest.adjusted() - 1)
    steps = (power * step * scale for scale in (1, 10) for step in _STEPS[:3])
    step = next(each for each in steps if highest / each <= _LEAST_LINES + 2)
    line = Decimal(0)
    yield line
    while line < highest:
        line += step
        yield line


def _plain(line: Decimal) -> str:
    places = max(0, -int(line.normalize().as_tuple().exponent))
    return f"{line:,.{places}f}"
