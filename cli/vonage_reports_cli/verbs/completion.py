"""`completion`: the script that completes commands in a shell."""

import click
from click.shell_completion import get_completion_class

from vonage_reports.domain.commands import PROGRAM
from vonage_reports_cli.session import Session, verb

_VARIABLE = f"_{PROGRAM.upper().replace('-', '_')}_COMPLETE"
"""The variable with which the script asks for completions; click's default name."""


@verb(
    help="Print the script that completes commands in your shell.",
    epilog="""\b
bash, in ~/.bashrc: eval "$(vonage-reports completion bash)"
zsh, in ~/.zshrc:   eval "$(vonage-reports completion zsh)"
fish:               vonage-reports completion fish | source""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(_session: Session, shell: str) -> None:
    """Print the script of click."""
    script = get_completion_class(shell)
    assert script is not None
    program = click.get_current_context().find_root().command
    click.echo(script(program, {}, PROGRAM, _VARIABLE).source())
