"""Writes the generated parts of the pages in docs/, from the code and the template.

`make fmt` runs `python -m local.generate_docs`.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import get_args

from local import generate_columns, generate_schemas
from local.aws_costs import aws_costs
from local.command_reference import command_reference, shared_options
from local.settings_table import environment_settings, template_settings
from local.stack.emulator import ROOT
from vonage_reports.domain.lifecycle import TRANSITIONS, Transition
from vonage_reports.domain.report import State

DOCS = ROOT / "docs"
_END = "<!-- end of the generated part -->\n"


def with_generated_parts(page: str, parts: Mapping[str, Callable[[], Iterator[str]]]) -> str:
    """Return the page with new generated parts, by their source. Raises ValueError."""
    for source, lines in parts.items():
        begin = f"<!-- generated from {source} by `make fmt` -->\n"
        if begin not in page:
            raise ValueError(f"the page has no line {begin.strip()!r}")
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(_END)
        page = before + begin + "\n".join(lines()) + "\n" + _END + after
    return page


def _transitions() -> Iterator[str]:
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


PARTS: Mapping[str, Mapping[str, Callable[[], Iterator[str]]]] = {
    "commands.md": {"session.py": shared_options, "the verbs": command_reference},
    "deploy.md": {"local/aws_costs.py": aws_costs},
    "lifecycle.md": {"domain/lifecycle.py": _transitions},
    "settings.md": {
        "template.yaml": template_settings,
        "domain/settings.py": environment_settings,
    },
}
"""The generated parts of each page, by the source that the page's comment names."""


def main() -> None:
    """Write the pages, the columns and the schemas."""
    for name, parts in PARTS.items():
        page = DOCS / name
        page.write_text(with_generated_parts(page.read_text(), parts))
    generate_columns.main()
    generate_schemas.main()


if __name__ == "__main__":
    main()
