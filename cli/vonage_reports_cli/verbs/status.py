"""`status`: every problem with the command that mends it, and each definition."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

import click
from botocore.exceptions import ClientError

from vonage_reports.domain.report import definition_of
from vonage_reports_cli.access import explained
from vonage_reports_cli.errors import Attention, BadInput, Exit, NoAccess
from vonage_reports_cli.schedule import schedule_of
from vonage_reports_cli.session import Session, verb
from vonage_reports_cli.stack import DeployedStack
from vonage_reports_cli.status.hearing import why_unheard
from vonage_reports_cli.status.sources import content_of
from vonage_reports_cli.status.summary import Status, status_of
from vonage_reports_cli.status.text import Target, show_status

USUAL_DAYS = 35
"""How far back the status goes: a month, and some days to close it."""

_Found = TypeVar("_Found")

_SECONDS = 5
"""Between two drawings of `--watch`."""


@verb(
    help="Show every problem with the command that solves it, and each definition. With a "
    "DEFINITION, also the report_ids of its latest windows."
)
@click.argument("definition", required=False)
@click.option(
    "--check",
    is_flag=True,
    help="Exit 1 if anything asks for a person. With --quiet, for cron, print nothing otherwise.",
)
@click.option(
    "--since", metavar="DATE", help=f"Count windows from a date on (default: {USUAL_DAYS} days)."
)
@click.option("--watch", is_flag=True, help=f"Draw again every {_SECONDS} s until Ctrl-C.")
def status(
    session: Session, definition: str | None, *, check: bool, since: str | None, watch: bool
) -> Exit:
    """Print the status of the target."""
    first = None if since is None else _date(since)
    if watch:
        _watch(session, definition, first)
    found = _status_of(session, definition, first, is_check=check)
    code = Exit.ATTENTION if check and found.attention else Exit.DONE
    if session.as_json:
        source = session.target.source
        session.screen.document({"source": source, **found.to_dict(session.stack)})
    elif not (check and session.quiet and code is Exit.DONE):
        _show(session, found, definition)
    return code


def _watch(session: Session, definition: str | None, since: date | None) -> None:
    """Draw the status until Ctrl-C, which raises KeyboardInterrupt."""
    console = session.screen.console
    if session.as_json or not console.is_terminal:
        raise BadInput("--watch needs a terminal, and no --json")
    while True:
        found = _status_of(session, definition, since)
        console.clear()
        _show(session, found, definition)
        session.screen.note("", f"Drawn again every {_SECONDS} s. Ctrl-C ends it.")
        time.sleep(_SECONDS)


def _show(session: Session, found: Status, definition: str | None) -> None:
    target = session.target
    show_status(
        found,
        target.source,
        session.screen,
        Target(session.stack, is_local=session.local, is_kept=not target.is_simulated),
        definition=definition,
    )


def _date(text: str) -> date:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise BadInput(f"--since takes a date such as 2026-11-01, not {text!r}") from None
    if found > datetime.now(UTC).date():
        raise BadInput(f"--since {found} is in the future")
    return found


def _status_of(
    session: Session, definition: str | None, since: date | None, *, is_check: bool = False
) -> Status:
    target = session.target
    with _without_garbage_collection():
        if isinstance(target, DeployedStack):
            as_of = datetime.now(UTC)
            first = since or as_of.date() - timedelta(days=USUAL_DAYS)
            content = content_of(target.ledger, target.definitions, as_of=as_of, since=first)
        else:
            saved = target.ledger
            first = since or saved.as_of.date() - timedelta(days=USUAL_DAYS)
            content = content_of(saved, saved.definitions, as_of=saved.as_of, since=first)
        found = status_of(content)
    if isinstance(target, DeployedStack):
        found = replace(
            found,
            unheard=_looked_up(
                session,
                "The subscriptions of the alarms are unknown",
                lambda: why_unheard(target),
                is_check=is_check,
            ),
            is_paused=_looked_up(
                session,
                "The state of the schedule is unknown",
                lambda: not schedule_of(target).is_on,
                is_check=is_check,
            ),
        )
    return found if definition is None else _only(found, definition)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Read a ledger in half the time: the collector would look at every report again and again."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _looked_up(
    session: Session, unknown: str, look: Callable[[], _Found], *, is_check: bool
) -> _Found | None:
    """Return the finding of a look at the stack. Without a check, a refused look is a note."""
    try:
        return look()
    except (ClientError, Attention) as error:
        # Attention: a stack of another version of the template may lack the schedule.
        refusal = error if isinstance(error, Attention) else explained(error)
        if is_check or not isinstance(refusal, Attention | NoAccess):
            raise
        session.screen.note(f"{unknown}: {refusal}")
        return None


def _only(found: Status, definition: str) -> Status:
    """Return the part of a status about one definition. Raises BadInput for an unknown one."""
    names = {row.definition for row in found.rows} | {each.definition for each in found.refusals}
    if definition not in names:
        known = ", ".join(sorted(names)) or "none"
        raise BadInput(f"there is no definition {definition!r}; the definitions are {known}")
    about = (f"{definition}, ", f"{definition}: ", f"backfill {definition}-")
    return replace(
        found,
        rows=[each for each in found.rows if each.definition == definition],
        problems=[each for each in found.problems if each.definition == definition],
        backfills=[each for each in found.backfills if definition_of(each[0].name) == definition],
        warnings=[each for each in found.warnings if each.startswith(about)],
        refusals=[each for each in found.refusals if each.definition in (definition, "(all)")],
        unreadable=0,
        latest=[each for each in found.latest if each.definition == definition],
        unregistered=found.unregistered and found.unregistered.of(definition),
        periods=(),
    )
