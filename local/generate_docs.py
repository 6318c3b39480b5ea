"""Writes the diagram and the table of transitions into docs/lifecycle.md, from the code.

`make fmt` runs `python -m local.generate_docs`.
"""

import inspect
from collections.abc import Iterator
from typing import get_args

from local import generate_columns, generate_schemas
from local.stack.emulator import ROOT
from vonage_reports.domain.lifecycle import TRANSITIONS, Transition
from vonage_reports.domain.report import State

PAGE = ROOT / "docs" / "lifecycle.md"
BEGIN = "<!-- generated from domain/lifecycle.py by `make fmt` -->\n"
END = "<!-- end of the generated part -->\n"


def with_transitions(page: str) -> str:
    """Return the page with a new generated part."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n".join(_generated()) + "\n" + END + after


def _generated() -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    for state, ways in TRANSITIONS.items():
        by_target: dict[State, list[str]] = {}
        for transition, target in ways.items():
            by_target.setdefault(target, []).append(transition.__name__)
        for target, names in by_target.items():
            yield f"    {state or '[*]'} --> {target}: {', '.join(names)}"
    yield "```"
    yield ""
    yield "| transition | from | to | meaning |"
    yield "|---|---|---|---|"
    for transition in get_args(Transition):
        pairs = {
            state: ways[transition] for state, ways in TRANSITIONS.items() if transition in ways
        }
        sources = ", ".join(str(state or "(new)") for state in pairs)
        targets = ", ".join(sorted(set(pairs.values())))
        meaning = (inspect.getdoc(transition) or "").partition("\n")[0]
        yield f"| `{transition.__name__}` | {sources} | {targets} | {meaning} |"


def main() -> None:
    """Write the page, the columns and the schemas."""
    PAGE.write_text(with_transitions(PAGE.read_text()))
    generate_columns.main()
    generate_schemas.main()


if __name__ == "__main__":
    main()
