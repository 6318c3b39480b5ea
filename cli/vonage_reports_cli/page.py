"""`out/usage.html`: charts of usage and cost on one page, which needs no network."""

import html
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vonage_reports_cli.errors import BadInput

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NAME = "usage.html"

_MOST_COUNTRIES = 15
_MOST_STATUSES = 6
"""How many statuses are shown per product."""

_OTHERS = "other products"
_NO_CURRENCY = "account's currency"
_BUCKETS_MS = (500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000)
"""The limits between the bars of the latency chart."""

_BUCKETS = ("< 0.5 s", "0.5 to 1 s", "1 to 2 s", "2 to 5 s", "5 to 10 s", "10 to 30 s",
            "30 to 60 s", "> 60 s")  # fmt: skip

# Safe for red-green colour blindness: the palette of Okabe and Ito, and two colours of Tol.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#882255", "#999933")
_GOOD = frozenset(
    {"delivered", "read", "completed", "success", "answered", "ok", "200", "released"}
)
_BAD = frozenset({
    "failed", "rejected", "undeliverable", "expired", "error", "busy", "timeout", "deleted",
    "cancelled",
})  # fmt: skip
_GREENS = ("#009E73", "#66C5AB", "#00614A", "#99D8C7", "#33B18F")
_GREYS = ("#999999", "#C4C4C4", "#777777", "#DDDDDD")
_REDS = ("#D55E00", "#F0A36B", "#882255", "#F2CDB2", "#AA4466", "#7A3600")


_LEGEND = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"}
_AMOUNTS = ",~f"


@dataclass(frozen=True)
class _Chart:
    """A title, and the figure as plotly's JSON."""

    title: str
    figure: Mapping[str, Any]


def write_page(folder: Path) -> Path | None:
    """Write the page of a folder's dataset into the folder. Return None without a dataset."""
    from vonage_reports_cli.sql.dataset import Folder, open_dataset  # noqa: PLC0415 - slow import, needed only at the end

    try:
        source = Folder(folder)
    except BadInput:
        return None
    with open_dataset(source, with_manifests=False) as connection:
        # Only the columns of the charts, so the page holds no phone numbers.
        connection.execute(
            "CREATE TABLE records AS "
            "SELECT product, occurred_at, country, status, cost, currency, latency, revision "
            "FROM usage"
        )
        page = _page(connection)
    target = folder / NAME
    target.write_text(page, encoding="utf-8")
    return target


def _page(connection: "DuckDBPyConnection") -> str:
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - slow import, needed only at the end

    charts = [
        *_by_day(connection),
        *_by_country(connection),
        *_statuses(connection),
        *_latency(connection),
    ]
    # A "<" in the data could end the script element.
    data = json.dumps([chart.figure for chart in charts]).replace("<", "\\u003c")
    places = "".join(
        f'<section><h2>{html.escape(chart.title)}</h2><div class="chart"></div></section>'
        for chart in charts
    )
    return _HTML.format(
        period=_period(connection), totals=_totals(connection), places=places, data=data,
        script=get_plotlyjs(),
    )  # fmt: skip


def _period(connection: "DuckDBPyConnection") -> str:
    [(first, last, records, preliminary)] = _rows(
        connection,
        "SELECT CAST(min(occurred_at) AS date), CAST(max(occurred_at) AS date), count(*), "
        "count(*) FILTER (WHERE revision = 'preliminary') FROM records",
    )
    if not records:
        return "No records were delivered."
    days = " to ".join(dict.fromkeys(_day(each) for each in (first, last) if each is not None))
    note = (
        f" {preliminary:,} are preliminary: their prices may still change." if preliminary else ""
    )
    return f"{records:,} records, {days or 'without a time'} (UTC). Each record counts once.{note}"


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _totals(connection: "DuckDBPyConnection") -> str:
    rows = _rows(
        connection,
        f"SELECT product, CASE WHEN count(cost) > 0 THEN {_CURRENCY} ELSE '' END, count(*), "  # noqa: S608 - `_CURRENCY` is a constant
        f"sum(cost) FROM records GROUP BY product, currency ORDER BY 4 DESC NULLS LAST, 1",
    )
    # All costs get the decimal places of the most precise cost, so that the decimal points align.
    places = max([2, *(len(_exact(cost).partition(".")[2]) for *_, cost in rows)])
    lines = "".join(
        f"<tr><td>{html.escape(product)}</td><td>{html.escape(currency)}</td>"
        f"<td>{records:,}</td><td>{'' if cost is None else f'{cost:,.{places}f}'}</td></tr>"
        for product, currency, records, cost in rows
    )
    return lines or '<tr><td colspan="4">none</td></tr>'


_CURRENCY = f"coalesce(currency, '{_NO_CURRENCY.replace(chr(39), chr(39) * 2)}')"


def _by_day(connection: "DuckDBPyConnection") -> Iterable[_Chart]:
    for currency, costs in _costs(connection, "CAST(occurred_at AS date)"):
        known = [day for _, day in costs if day is not None]
        days = [min(known) + timedelta(n) for n in range((max(known) - min(known)).days + 1)]
        bars = [
            {
                "type": "bar", "name": product, "marker": {"color": colour},
                "x": [f"{day:%Y-%m-%d}" for day in days],
                "y": [_number(costs.get((product, day))) for day in days],
                "customdata": [_exact(costs.get((product, day))) for day in days],
                "hovertemplate": f"%{{x}}<br>{product}: %{{customdata}} {currency}<extra></extra>",
            }
            for product, colour in _coloured(connection)
            if any(name == product for name, _ in costs)
        ]  # fmt: skip
        yield _chart(
            f"Cost by day, {currency}", bars, barmode="stack",
            # Few days get narrow bars.
            bargap=max(0.2, 1 - 0.15 * len(days)),
            xaxis=_days_axis(days),
            yaxis={"title": {"text": currency}, "rangemode": "tozero", "gridcolor": "#e5e5e5",
                   "tickformat": _AMOUNTS},
        )  # fmt: skip


def _by_country(connection: "DuckDBPyConnection") -> Iterable[_Chart]:
    for currency, costs in _costs(
        connection,
        "coalesce(country, 'none given')",
        # Products without countries would form one long bar.
        where="product IN (SELECT product FROM records WHERE country IS NOT NULL)",
    ):
        sums: dict[str, Decimal] = defaultdict(Decimal)
        for (_, country), cost in costs.items():
            sums[country] += cost
        costly = (country for country, cost in sums.items() if cost)
        ranked = sorted(costly, key=lambda country: (-sums[country], country))
        shown, others = ranked[:_MOST_COUNTRIES], ranked[_MOST_COUNTRIES:]
        merged: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        rest = f"{len(others)} others"
        for (product, country), cost in costs.items():
            if sums[country]:
                merged[product, country if country in shown else rest] += cost
        names = [*shown, rest] if others else shown
        bars = [
            {
                "type": "bar", "name": product, "orientation": "h", "marker": {"color": colour},
                "x": [_number(merged.get((product, name))) for name in names], "y": names,
                "customdata": [_exact(merged.get((product, name))) for name in names],
                "hovertemplate": f"%{{y}}<br>{product}: %{{customdata}} {currency}<extra></extra>",
            }
            for product, colour in _coloured(connection)
            if any(name == product for name, _ in merged)
        ]  # fmt: skip
        yield _chart(
            f"Cost by country, {currency}", bars, barmode="stack",
            xaxis={"title": {"text": currency, "standoff": 8}, "rangemode": "tozero",
                   "gridcolor": "#e5e5e5", "tickformat": _AMOUNTS},
            yaxis={"type": "category", "autorange": "reversed", "dtick": 1, "automargin": True},
        )  # fmt: skip


def _statuses(connection: "DuckDBPyConnection") -> Iterable[_Chart]:
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for product, status, count in _rows(
        connection,
        "SELECT product, status, count(*) FROM records WHERE status IS NOT NULL "
        "GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2",
    ):
        of_product = counts[product]
        name = status if len(of_product) < _MOST_STATUSES else "other"
        of_product[name] = of_product.get(name, 0) + count
    if not counts:
        return
    products = sorted(counts)
    statuses = sorted(
        {status for each in counts.values() for status in each},
        key=lambda status: (
            _class_of(status),
            -sum(each.get(status, 0) for each in counts.values()),
        ),
    )
    totals = {product: sum(counts[product].values()) for product in products}
    bars = []
    shades = [_cycled(colours) for colours in (_GREENS, _GREYS, _REDS)]
    for status in statuses:
        having = [product for product in products if status in counts[product]]
        bars.append({
            "type": "bar", "name": status, "orientation": "h",
            "marker": {"color": next(shades[_class_of(status)]),
                       "line": {"color": "white", "width": 1}},
            "x": [round(100 * counts[product][status] / totals[product], 2) for product in having],
            "y": having,
            "customdata": [counts[product][status] for product in having],
            "hovertemplate": f"%{{y}}<br>{html.escape(status)}: %{{x}} %, %{{customdata:,}} records"
                             "<extra></extra>",
        })  # fmt: skip
    yield _chart(
        "Delivery status, share of records", bars, barmode="stack",
        # Small and in columns, because a long legend would fill the screen of a phone.
        legend=_LEGEND | {"entrywidth": 70, "font": {"size": 11}},
        xaxis={"title": {"text": "% of the product's records", "standoff": 8}, "range": [0, 100],
               "gridcolor": "#e5e5e5"},
        yaxis={"type": "category", "categoryorder": "array", "categoryarray": products[::-1],
               "dtick": 1, "automargin": True},
    )  # fmt: skip


def _latency(connection: "DuckDBPyConnection") -> Iterable[_Chart]:
    shares: dict[str, list[int]] = defaultdict(lambda: [0] * len(_BUCKETS))
    colours = dict(_coloured(connection))
    bucket = " + ".join(f"CAST(latency >= {limit} AS integer)" for limit in _BUCKETS_MS)
    for product, number, count in _rows(
        connection,
        f"SELECT product, {bucket}, count(*) FROM records WHERE latency >= 0 GROUP BY 1, 2",  # noqa: S608 - numbers of ours
    ):
        shares[product][number] = count
    if not shares:
        return
    bars = [
        {
            "type": "bar", "name": product, "marker": {"color": colour}, "x": list(_BUCKETS),
            "y": [round(100 * count / sum(shares[product]), 2) for count in shares[product]],
            "customdata": shares[product],
            "hovertemplate": f"%{{x}}<br>{product}: %{{y}} %, %{{customdata:,}} records"
                             "<extra></extra>",
        }
        for product, colour in ((each, colours.get(each, _GREYS[0])) for each in sorted(shares))
    ]  # fmt: skip
    yield _chart(
        "Latency, share of records", bars, barmode="group",
        xaxis={"type": "category"},
        yaxis={"title": {"text": "% of the product's records"}, "rangemode": "tozero",
               "gridcolor": "#e5e5e5"},
    )  # fmt: skip


def _chart(title: str, bars: Sequence[Mapping[str, Any]], **layout: object) -> _Chart:
    # Built by plotly, which validates every name and value.
    from plotly.graph_objects import Figure  # noqa: PLC0415 - slow import, needed only at the end

    figure = Figure(
        data=bars,
        layout={
            "template": "none",
            "font": {"family": "system-ui, sans-serif", "size": 13},
            "margin": {"l": 75, "r": 25, "t": 10, "b": 60},
            "legend": _LEGEND,
            "showlegend": True,
            **layout,
        },
    )  # fmt: skip
    return _Chart(title, json.loads(figure.to_json()))


def _days_axis(days: Sequence[date]) -> dict[str, Any]:
    """Return an axis with days as categories. A time axis would label a single day in hours."""
    every = max(1, -(-len(days) // 8))
    shown = days[::every]
    return {
        "type": "category",
        "tickmode": "array",
        "tickvals": [f"{day:%Y-%m-%d}" for day in shown],
        "ticktext": [f"{day.day} {day:%b %Y}" for day in shown],
        "automargin": True,
    }


def _costs(
    connection: "DuckDBPyConnection", key: str, *, where: str = "true"
) -> Iterable[tuple[str, dict[tuple[str, Any], Decimal]]]:
    """Return the costs by product and `key` for each currency. Merge the cheapest products."""
    by_currency: dict[str, dict[tuple[str, Any], Decimal]] = defaultdict(dict)
    names = dict(_coloured(connection))
    for currency, product, value, cost in _rows(
        connection,
        f"SELECT {_CURRENCY}, product, {key}, sum(cost) FROM records "  # noqa: S608 - `_CURRENCY` is a constant
        f"WHERE cost IS NOT NULL AND occurred_at IS NOT NULL AND {where} "
        "GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    ):
        costs = by_currency[currency]
        name = product if product in names else _OTHERS
        costs[name, value] = costs.get((name, value), Decimal(0)) + cost
    return by_currency.items()


def _coloured(connection: "DuckDBPyConnection") -> Iterable[tuple[str, str]]:
    """Return the most expensive products with their colours, which all charts share."""
    ranked = _rows(
        connection, "SELECT product FROM records GROUP BY 1 ORDER BY sum(cost) DESC NULLS LAST, 1"
    )
    names = [product for (product,) in ranked]
    shown = names if len(names) <= len(_COLOURS) else names[: len(_COLOURS) - 1]
    return [*zip(shown, _COLOURS, strict=False), (_OTHERS, _GREYS[0])]


def _cycled(colours: Sequence[str]) -> Iterator[str]:
    while True:
        yield from colours


def _class_of(status: str) -> int:
    """Return 0 for success, 2 for failure, and 1 for any other status."""
    word = status.lower()
    return 0 if word in _GOOD else 2 if word in _BAD else 1


def _number(cost: Decimal | None) -> str | None:
    # Sent as text so that no digit is lost. JavaScript converts the text to a number.
    return None if cost is None else _exact(cost)


def _exact(cost: Decimal | None) -> str:
    return "" if cost is None else f"{cost.normalize():f}"


def _rows(connection: "DuckDBPyConnection", sql: str) -> list[tuple[Any, ...]]:
    return connection.execute(sql).fetchall()


# The content security policy makes the browser block every network request.
_HTML = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:">
<title>Vonage usage</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1400px; margin: 2em auto;
  padding: 0 1.5em; }}
h1, h2 {{ font-weight: 600; margin-bottom: 0; }}
h2 {{ font-size: 1.1em; }}
table {{ border-collapse: collapse; margin: 1em 0; }}
th, td {{ padding: .2em 1em; text-align: left; border-bottom: 1px solid #ddd; }}
th:nth-child(n+3), td:nth-child(n+3) {{ text-align: right; font-variant-numeric: tabular-nums; }}
main {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 560px), 1fr));
  gap: 1em 2em; }}
section {{ min-width: 0; }}
.chart {{ height: 430px; }}
.note {{ color: #666; }}
@media (max-width: 600px) {{
  body {{ margin: 1em auto; padding: 0 .8em; }}
  table {{ font-size: .85em; }}
  th, td {{ padding: .2em .3em; }}
}}
</style>
</head>
<body>
<h1>Vonage usage</h1>
<p>{period}</p>
<table>
<thead><tr><th>product</th><th>currency</th><th>records</th><th>cost</th></tr></thead>
<tbody>{totals}</tbody>
</table>
<p class="note">Vonage names no currency for some products (SMS, VERIFY-API, NUMBER-INSIGHT). Their
costs are in your account's currency, unless the definition names a currency. Products without a
cost have no price per record.</p>
<main>{places}</main>
<script>{script}</script>
<script type="application/json" id="figures">{data}</script>
<script>
const figures = JSON.parse(document.getElementById("figures").textContent);
const options = {{ responsive: true, displaylogo: false, displayModeBar: false }};
document.querySelectorAll(".chart").forEach((place, number) =>
  Plotly.newPlot(place, figures[number].data, figures[number].layout, options));
</script>
</body>
</html>
"""
