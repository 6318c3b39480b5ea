"""The style sheet of the page, in its light and its dark form.

The colours of the series are safe for red-green colour blindness: the palette of Okabe and Ito, and
two colours of Tol. In the dark, colours that would vanish are lighter.
"""

_LIGHT = {
    "paper": "#ffffff", "text": "#1f2328", "muted": "#565d66", "line": "#d9dde2",
    "alert": "#fff1cf", "alert-text": "#4d3500", "focus": "#0b5cad",
}  # fmt: skip
_DARK = {
    "paper": "#15181c", "text": "#e6e9ed", "muted": "#a7aeb8", "line": "#3a4048",
    "alert": "#3d2f05", "alert-text": "#ffe2a0", "focus": "#7ab8ff",
}  # fmt: skip

_SERIES = {
    "c": ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#882255", "#999933"),
    "good": ("#009E73", "#66C5AB", "#00614A", "#99D8C7", "#33B18F"),
    "other": ("#999999", "#C4C4C4", "#777777", "#DDDDDD"),
    "bad": ("#D55E00", "#F0A36B", "#882255", "#F2CDB2", "#AA4466", "#7A3600"),
    "step": (
        "#C6DBEF",
        "#9ECAE1",
        "#6BAED6",
        "#4292C6",
        "#2171B5",
        "#08519C",
        "#08306B",
        "#041A3D",
    ),
}
_SERIES_IN_THE_DARK = {
    "c": ("#2F8FCC", "#E69F00", "#14B58A", "#CC79A7", "#7CC8F2", "#EA7320", "#B75A8C", "#B5B54D"),
    "good": ("#14B58A", "#66C5AB", "#0B8A6A", "#99D8C7", "#33B18F"),
    "other": ("#999999", "#C4C4C4", "#777777", "#DDDDDD"),
    "bad": ("#EA7320", "#F0A36B", "#B75A8C", "#F2CDB2", "#CC6688", "#B0602A"),
    "step": (
        "#1F4E79",
        "#2A679E",
        "#3680C0",
        "#559AD4",
        "#7FB5E2",
        "#A9CEEE",
        "#CFE4F7",
        "#F2F8FE",
    ),
}


def _colours(series: dict[str, tuple[str, ...]]) -> str:
    return "\n".join(
        f".{name}{number} {{ fill: {colour}; }}"
        for name, colours in series.items()
        for number, colour in enumerate(colours)
    )


def _variables(colours: dict[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


STYLE = f"""\
:root {{ color-scheme: light dark; {_variables(_LIGHT)} }}
{_colours(_SERIES)}
@media (prefers-color-scheme: dark) {{
:root {{ {_variables(_DARK)} }}
{_colours(_SERIES_IN_THE_DARK)}
}}
* {{ box-sizing: border-box; }}
body {{ font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--paper);
  margin: 0; overflow-wrap: anywhere; }}
main {{ max-width: 1400px; margin: 0 auto; padding: 1.5em; }}
h1, h2 {{ font-weight: 600; line-height: 1.25; margin: 0 0 .5em; }}
h1 {{ font-size: 1.7em; }}
h2 {{ font-size: 1.15em; }}
p {{ margin: 0 0 .6em; max-width: 75ch; }}
section {{ min-width: 0; margin-top: 2.2em; }}
.source {{ color: var(--muted); font-size: .9em; margin-bottom: .3em; }}
header > p:last-child {{ margin-top: .9em; }}
.alert {{ background: var(--alert); color: var(--alert-text); border-left: 4px solid currentColor;
  padding: .5em .8em; }}
.sections {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 520px), 1fr));
  column-gap: 3em; align-items: start; }}
.scroll {{ overflow-x: auto; margin-bottom: .6em; max-width: max-content; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }}
th, td {{ padding: .25em 1em .25em 0; text-align: right; vertical-align: top;
  border-bottom: 1px solid var(--line); white-space: nowrap; }}
th:last-child, td:last-child {{ padding-right: 0; }}
thead th {{ color: var(--muted); font-weight: 600; vertical-align: bottom; }}
tbody th {{ font-weight: 400; }}
tr > :first-child {{ text-align: left; }}
ul {{ padding-left: 1.2em; }}
small {{ display: block; color: var(--muted); font-size: max(.85em, 12px); }}
summary {{ cursor: pointer; color: var(--muted); font-size: .9em; width: max-content; }}
details .scroll {{ margin-top: .4em; font-size: .95em; max-height: 26em; overflow-y: auto; }}
:focus-visible {{ outline: 2px solid var(--focus); outline-offset: 2px; }}
.legend {{ list-style: none; display: flex; flex-wrap: wrap; gap: .1em 1.1em; padding: 0;
  margin: .2em 0 .7em; font-size: .85em; }}
.key {{ width: 12px; height: 12px; margin-right: .45em; vertical-align: -1px; }}
.chart > svg {{ display: block; overflow: visible; font-size: 13px; margin-bottom: .5em; }}
.chart text {{ fill: var(--text); }}
.chart rect, .chart path {{ stroke: var(--paper); stroke-width: .75px;
  vector-effect: non-scaling-stroke; }}
.grid line {{ stroke: var(--line); }}
.chart .grid text, .chart .days text {{ fill: var(--muted); font-size: 12px; }}
.grid text, .note {{ text-anchor: end; }}
.days text {{ text-anchor: middle; }}
.chart .hit {{ fill: transparent; stroke: none; }}
@media (max-width: 600px) {{
  main {{ padding: 1em .9em; }}
  th, td {{ padding-right: .7em; }}
  table {{ font-size: .9em; }}
  .wide {{ display: none; }}
  section:not(.chart) tbody th {{ white-space: normal; min-width: 8em; }}
}}
@media (max-width: 430px) {{
  th, td {{ padding-right: .5em; }}
  table {{ font-size: max(.8em, 12px); }}
}}
"""
