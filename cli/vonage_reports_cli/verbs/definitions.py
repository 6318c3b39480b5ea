"""`definitions`: show, check and change the report definitions."""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import click

from vonage_reports.aws.definitions_source import WrittenDefinitions
from vonage_reports.domain.printable import printable, printable_lines
from vonage_reports.domain.windows import format_instant
from vonage_reports.submit_reports.read_definitions import definitions_schema
from vonage_reports_cli.definitions import (
    Change,
    Checked,
    Live,
    changes,
    checked,
    count_of,
    known_api_key,
    line_diff,
    read_live,
    read_version,
    told,
    versions,
    write,
)
from vonage_reports_cli.errors import Attention, BadInput, Exit
from vonage_reports_cli.estimate import Total, count
from vonage_reports_cli.files import read_definitions
from vonage_reports_cli.outlook import Outlook, described, outlook_of
from vonage_reports_cli.session import Session, verb
from vonage_reports_cli.stack import DeployedStack

_FILE = click.argument("file", metavar="FILE", type=click.Path(path_type=Path, allow_dash=True))
_NONE = "none"
"""The version of a stack without the object, for --if-version."""

definitions = click.Group(
    "definitions",
    help="Show, check and change the report definitions.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@verb(name="get", help="Print the definitions that count now, or a version.")
@click.option("--version-id", metavar="V", help="A version that `definitions history` lists.")
def get(session: Session, version_id: str | None) -> None:
    """Print the text, unchanged, so that `put` takes it again."""
    stack, screen = session.deployed, session.screen
    live = read_live(stack) if version_id is None else read_version(stack, version_id)
    if screen.as_json:
        screen.document({"source": stack.source, **_document(live), "text": live.written.text})
        return
    screen.note(printable(stack.source), printable(_place(live)))
    click.echo(printable_lines(live.written.text.rstrip("\n")))


@verb(name="history", help="List the versions of the definitions, newest first.")
@click.option(
    "--most",
    metavar="N",
    type=click.IntRange(1, 1_000),
    default=20,
    show_default=True,
    help="List at most so many versions.",
)
def history(session: Session, most: int) -> None:
    """Print time, version and number of definitions of each version of the object."""
    stack, screen = session.deployed, session.screen
    found = list(versions(stack, most=most))
    if screen.as_json:
        screen.document({"source": stack.source, "versions": [each.to_dict() for each in found]})
        return
    screen.say(printable(stack.source), "")
    if not found:
        screen.say(printable(_place(read_live(stack))))
    for each in found:
        number = "unreadable" if each.count is None else count(each.count, "definition")
        mark = "*" if each.is_current else " "
        at = f"{each.changed_at:%Y-%m-%d %H:%M} UTC"
        screen.say(printable(f"{mark} {at}  {each.version_id}  {number}"))
    if found:
        screen.note("* counts now. `definitions get --version-id V` prints a version.")


@verb(name="schema", help="Print the JSON Schema of the definitions, for your editor.")
def schema(_session: Session) -> None:
    """Print the JSON Schema."""
    click.echo(json.dumps(definitions_schema(), indent=2))


@verb(name="check", help="Check a file, or the stack's own definitions.")
@click.argument(
    "file", metavar="[FILE]", required=False, type=click.Path(path_type=Path, allow_dash=True)
)
def check(session: Session, file: Path | None) -> Exit:
    """Print each refused definition, with its field, and the warnings.

    With a stack or --local, also check against the definitions that were collected.
    """
    has_target = session.local or session.stack is not None
    written = _of_target(session) if file is None else read_definitions(file)
    source = session.target.source if has_target else written.place
    found = _checked(session, written) if has_target else checked(written)
    screen = session.screen
    if has_target:
        screen.say(printable(source))
    else:
        screen.note("Checked alone. With --stack or --local, also against what was collected.")
    _complain(session, found)
    if screen.as_json:
        screen.document({"source": source, "place": written.place, **_findings(written, found)})
    if not found.refusals:
        number = count(len(found.definitions), "definition")
        screen.say(printable(f"{written.place}: {number}, all valid"))
        screen.say(*_warnings(found), style="yellow")
        if found.needs_replace_all:
            screen.say(_REPLACES, style="yellow")
        return Exit.DONE
    return Exit.ATTENTION if file is None else Exit.BAD_INPUT


@verb(name="diff", help="Show how a file differs from the stack's definitions. Exit 1 if it does.")
@_FILE
def diff(session: Session, file: Path) -> Exit:
    """Print the differences in words, and the lines that differ."""
    stack, screen = session.deployed, session.screen
    live, text = read_live(stack).written, read_definitions(file).text
    found = changes(live.text, text, established=stack.ledger.calendar().collects)
    lines = line_diff(live.text, text)
    screen.say(printable(stack.source))
    _show_changes(session, found, lines)
    if screen.as_json:
        screen.document({"source": stack.source, "changes": [each.to_dict() for each in found]})
    return Exit.ATTENTION if lines else Exit.DONE


_Function = TypeVar("_Function", bound=Callable[..., int | None])


def _put_options(command: _Function) -> _Function:
    replace_all = click.option(
        "--replace-all",
        is_flag=True,
        help="Also put a list that has none of the collected definitions.",
    )
    if_version = click.option(
        "--if-version",
        metavar="V",
        help="Put only over this version, as `definitions get --json` names it, or none.",
    )
    return if_version(replace_all(command))


@verb(name="put", acts=True, help="Check a file, show what it changes, and make it count.")
@_FILE
@_put_options
def put(session: Session, file: Path, if_version: str | None, *, replace_all: bool) -> Exit:
    """Validate, show the difference and the requests to come, ask, and write the object."""
    live = read_live(session.deployed)
    return _put(session, read_definitions(file), live, if_version, replace_all=replace_all)


@verb(name="edit", acts=True, help="Change the definitions in $EDITOR, then go on as put does.")
@_put_options
def edit(session: Session, if_version: str | None, *, replace_all: bool) -> Exit:
    """Open the live definitions in the editor. A text that is not written is kept."""
    stack = session.deployed
    if not (os.environ.get("VISUAL") or os.environ.get("EDITOR") or sys.stdin.isatty()):
        raise BadInput(
            "definitions edit needs a terminal, or the command of an editor in VISUAL or EDITOR; "
            "definitions put takes a file"
        )
    live = read_live(stack)
    handle, name = tempfile.mkstemp(prefix="report-definitions-", suffix=".json")
    path = Path(name)
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as opened:
        opened.write(live.written.text)
    try:
        # The operator's own editor. click finds it in $VISUAL and $EDITOR.
        click.edit(filename=str(path))
        written = read_definitions(path)
        if written.text.rstrip() == live.written.text.rstrip():
            path.unlink()
            session.screen.say(printable(session.deployed.source), "Nothing was changed.")
            return Exit.DONE
        code = _put(session, written, live, if_version, replace_all=replace_all)
    except BaseException:
        # Also Ctrl-C, and an expired login.
        session.screen.note(f"Your text is kept in {path}")
        raise
    if code is Exit.DONE and not session.dry_run:
        path.unlink()
    else:
        session.screen.note(f"Your text is kept in {path}")
    return code


for each in (get, check, diff, edit, put, history, schema):
    definitions.add_command(each)

_REPLACES = (
    "This list has none of the definitions that were collected so far. They all end: their open "
    "reports wait for 7 days and are then withdrawn."
)


def _put(
    session: Session,
    written: WrittenDefinitions,
    live: Live,
    if_version: str | None,
    *,
    replace_all: bool,
) -> Exit:
    stack, screen = session.deployed, session.screen
    version = live.version_id or _NONE
    if if_version not in (None, version):
        raise Attention(
            f"the definitions that count now are version {version}, not {if_version}, so nothing "
            "was written; `definitions diff` shows the difference"
        )
    ledger = stack.ledger.open_work(), stack.ledger.calendar()
    outlook = outlook_of(
        stack,
        written,
        api_key=known_api_key(written, ledger[1]),
        ledger=ledger,
    )
    found = outlook.checked
    differences = changes(live.written.text, written.text, established=ledger[1].collects)

    def document(version_id: str | None, *, is_written: bool) -> None:
        if screen.as_json:
            screen.document(
                {
                    "source": stack.source,
                    "dry_run": session.dry_run,
                    "changes": [each.to_dict() for each in differences],
                    "refused": [each.to_dict() for each in found.refusals],
                    "warnings": list(found.warnings),
                    "outlook": outlook.to_dict(),
                    "written": is_written,
                    "version_id": version_id,
                }
            )

    if found.refusals:
        _complain(session, found)
        document(live.version_id, is_written=False)
        return Exit.BAD_INPUT
    if found.needs_replace_all and session.yes and not replace_all:
        raise BadInput(
            f"{written.place} has none of the definitions that were collected so far; add "
            "--replace-all to end them all"
        )
    is_same = live.written.is_object and live.written.text.strip() == written.text.strip()
    screen.say(printable(stack.source))
    version_id = live.version_id
    if is_same:
        screen.say("The same definitions count already.")
    else:
        before = outlook_of(stack, live.written, ledger=ledger)
        _show_put(session, outlook, before, differences, live=live, text=written.text)
        if not session.dry_run:
            version_id = _confirm_and_write(session, written, live, found, replace_all=replace_all)
    document(version_id, is_written=not is_same and not session.dry_run)
    return Exit.DONE


def _confirm_and_write(
    session: Session,
    written: WrittenDefinitions,
    live: Live,
    found: Checked,
    *,
    replace_all: bool,
) -> str:
    screen = session.screen
    if found.needs_replace_all and not replace_all:
        screen.say(_REPLACES, style="red")
        screen.confirm("Does it replace them all? [y/N]", yes=False)
    screen.confirm("Write these definitions? [y/N]", yes=session.yes)
    version_id = write(session.deployed, written.text, live, replaces_all=found.needs_replace_all)
    screen.say(printable(f"Written as version {version_id}. The next schedule takes it."))
    return version_id


def _show_put(
    session: Session,
    outlook: Outlook,
    before: Outlook,
    differences: list[Change],
    *,
    live: Live,
    text: str,
) -> None:
    screen, price = session.screen, outlook.price
    screen.say(printable(_place(live)))
    _show_changes(session, differences, line_diff(live.written.text, text))
    names = {each.name for each in differences if each.kind != "removed"}
    lines = [each for each in outlook.next if each.definition in names]
    screen.say("", printable(f"next schedule: {outlook.when}"))
    screen.say(*(f"  {line}" for line in described(lines, price)))
    for label, new, old in (
        ("next schedule", outlook.next, before.next),
        (count(outlook.days, "day"), outlook.period, before.period),
    ):
        now, then = Total.of(new).words(price), Total.of(old).words(price)
        screen.say(f"  {label}: {now}" + (f" (before: {then})" if now != then else ""))
    screen.say(*_warnings(outlook.checked), style="yellow")


def _show_changes(session: Session, found: list[Change], lines: list[str]) -> None:
    screen = session.screen
    styles = {"added": "green", "removed": "red", "changed": "yellow"}
    if not found:
        screen.say("  no definition differs" + (", only the text" if lines else ""))
    for each in found:
        screen.say(
            printable(f"  {each.kind:8} {each.name}: {each.details}"), style=styles[each.kind]
        )
    if lines:
        screen.say("")
    for line in lines:
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        screen.say(printable(f"  {line}"), style=style)


def _of_target(session: Session) -> WrittenDefinitions:
    target = session.target
    if isinstance(target, DeployedStack):
        return target.definitions.read()
    return target.ledger.definitions


def _checked(session: Session, written: WrittenDefinitions) -> Checked:
    ledger = session.target.ledger
    work, calendar = ledger.open_work(), ledger.calendar()
    return checked(written, work, calendar, api_key=known_api_key(written, calendar))


def _complain(session: Session, found: Checked) -> None:
    for each in found.refusals:
        session.screen.complain(told(each))


def _warnings(found: Checked) -> list[str]:
    return [printable(f"  warning: {each}") for each in found.warnings]


def _findings(written: WrittenDefinitions, found: Checked) -> Mapping[str, object]:
    return {
        "definitions": count_of(written.text),
        "refused": [each.to_dict() for each in found.refusals],
        "warnings": list(found.warnings),
        "replaces_all": found.needs_replace_all,
    }


def _place(live: Live) -> str:
    if not live.written.is_object:
        return (
            f"{live.written.place} counts, with the template's definitions, because there is no "
            "object yet; `definitions put` writes it"
        )
    at = live.written.changed_at
    return f"{live.written.place}, version {live.version_id}, of {at:%Y-%m-%d %H:%M} UTC"


def _document(live: Live) -> Mapping[str, object]:
    return {
        "place": live.written.place,
        "is_object": live.written.is_object,
        "version_id": live.version_id,
        "changed_at": format_instant(live.written.changed_at),
    }
