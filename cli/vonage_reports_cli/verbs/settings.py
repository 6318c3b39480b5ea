"""`settings`: show and change the parameters of the template."""

import click

from vonage_reports.domain.printable import printable
from vonage_reports_cli.errors import Exit
from vonage_reports_cli.outlook import outlook_of
from vonage_reports_cli.schedule import state_of
from vonage_reports_cli.session import Session, verb
from vonage_reports_cli.settings import (
    SCHEDULE_STATE,
    Setting,
    consequences,
    named,
    require_settable,
    require_topic_beside,
    settings_of,
    update,
)

_LATER = "A later sam deploy keeps this, unless its parameter_overrides name {}."

settings = click.Group(
    "settings",
    help="Show and change the template's parameters, without a deployment.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@verb(name="get", help="Show all settings, or one.")
@click.argument("name", required=False)
def get(session: Session, name: str | None) -> None:
    """Print the values, and the template's defaults where they differ."""
    stack, screen = session.deployed, session.screen
    found = settings_of(stack)
    chosen = list(found.values()) if name is None else [named(found, name)]
    if screen.as_json:
        screen.document({"source": stack.source, "settings": [_document(each) for each in chosen]})
        return
    screen.say(printable(stack.source), "")
    width = max((len(each.name) for each in chosen), default=0)
    for each in chosen:
        is_default = each.value == each.default
        shown = _short(each.value) if name is None else each.value
        default = "" if is_default else f"   (default: {_short(each.default or '') or 'empty'})"
        screen.say(
            printable(f"{each.name:{width}}  {shown or 'empty'}{default}"),
            style=None if is_default else "bold",
        )
        if name is not None:
            screen.say(printable(f"{'':{width}}  {each.description}"))


@verb(
    name="set",
    acts=True,
    help="Change one setting, such as PricePerRecord '0.0004 EUR'. The preview names what the "
    "change deletes. `settings get NAME` describes the values.",
)
@click.argument("name")
@click.argument("value")
def set_(session: Session, name: str, value: str) -> Exit:
    """Show the value before and after, ask, update the stack, and wait."""
    stack, screen = session.deployed, session.screen
    known = settings_of(stack)
    setting = named(known, name)
    require_settable(known, setting, value)
    require_topic_beside(stack, setting, value)
    told = consequences(setting, value)
    screen.say(printable(stack.source))
    outlook = None
    if name == SCHEDULE_STATE and value == state_of(on=True):
        outlook = outlook_of(stack, stack.definitions.read())
        screen.say(f"next schedule: {printable(outlook.when)}")
        screen.say(*(f"  {line}" for line in outlook.next_lines()))
    before, is_set = setting.value or "empty", setting.value == value
    if is_set:
        screen.say(printable(f"  {name} is {before} already."))
    else:
        screen.say(printable(f"  {name}: {before} -> {value or 'empty'}"))
        screen.say(*(f"  {printable(each)}" for each in told), style="red")
        if not session.dry_run:
            screen.confirm("Update the stack? [y/N]", yes=session.yes)
            update(session, {name: value})
            screen.say(printable(f"{name} is {value or 'empty'}."))
            screen.note(_LATER.format(name))
    if screen.as_json:
        screen.document(
            {
                "source": stack.source,
                "dry_run": session.dry_run,
                "name": name,
                "before": setting.value,
                "after": value,
                "consequences": told,
                "outlook": None if outlook is None else outlook.to_dict(),
                "changed": not is_set and not session.dry_run,
            }
        )
    return Exit.DONE


settings.add_command(get)
settings.add_command(set_)


def _short(value: str) -> str:
    line = " ".join(value.split())
    most = 60
    return line if len(line) <= most else f"{line[:most]}..."


def _document(each: Setting) -> dict[str, object]:
    return {
        "name": each.name,
        "value": each.value,
        "default": each.default,
        "description": each.description,
    }
