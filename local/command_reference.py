"""The reference of the program in docs/commands.md, from the verbs' own help."""

import inspect
import re
import textwrap
from collections.abc import Iterator

import click

from vonage_reports_cli.main import VERBS, Verbs
from vonage_reports_cli.session import act_options, common_options, target_options

_WIDTH = 130

_SHARED = {
    option
    for each in (*act_options(), *common_options(), *target_options())
    for option in each.opts
}


def command_reference() -> Iterator[str]:
    """Yield a section for each section of the help, and in it each verb with its own options."""
    program = Verbs("vonage-reports")
    context = click.Context(program, info_name="vonage-reports")
    for section, verbs in VERBS.items():
        yield f"## {section}"
        yield ""
        for name in verbs:
            command = program.get_command(context, name)
            assert command is not None
            yield from _command(command, click.Context(command, context, name))


def shared_options() -> Iterator[str]:
    """Yield the table of the options that every verb has, and those of the verbs that act."""
    yield from _table(
        [*target_options(), *common_options(), *act_options()], click.Context(Verbs(""))
    )


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    name = context.command_path.removeprefix("vonage-reports ")
    arguments = " ".join(
        each.make_metavar(context) for each in command.params if isinstance(each, click.Argument)
    )
    yield f"### `{' '.join(filter(None, (name, arguments)))}`"
    yield ""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(command.help or "")):
        yield from textwrap.wrap(_text(paragraph), _WIDTH, break_on_hyphens=False)
        yield ""
    options = [
        each
        for each in command.params
        if isinstance(each, click.Option) and not set(each.opts) & _SHARED
    ]
    if options:
        yield from _table(options, context)
        yield ""
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            assert found is not None
            yield from _command(found, click.Context(found, context, each))


def _table(options: list[click.Option], context: click.Context) -> Iterator[str]:
    yield "| option | meaning |"
    yield "|---|---|"
    for option in options:
        record = option.get_help_record(context)
        assert record is not None
        names, meaning = record
        yield f"| `{names.replace('|', '&#124;')}` | {_text(meaning)} |"


def _text(text: str) -> str:
    """Return a help text as one line of Markdown."""
    plain = " ".join(text.replace("\b", "").split())
    # Placeholders in angle brackets or braces would be markup.
    return re.sub(r"[|<>*_]", lambda match: f"\\{match[0]}", plain)
