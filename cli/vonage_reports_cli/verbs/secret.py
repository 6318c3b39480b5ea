"""`secret`: write the Vonage credentials, and check them. The API secret is never printed."""

import json
import shlex
import sys

import click

from vonage_reports.aws.secrets import cached_credentials, credentials_of
from vonage_reports.domain.commands import PROGRAM
from vonage_reports.domain.errors import (
    InvalidRequest,
    RateLimited,
    ReportExpired,
    VonageRejected,
    VonageReportsError,
    VonageUnavailable,
)
from vonage_reports.domain.printable import printable
from vonage_reports.vonage.client import Credentials, VonageClient
from vonage_reports.vonage.pacing import Pacer
from vonage_reports_cli.definitions import known_api_key
from vonage_reports_cli.errors import Attention, BadInput, CommandError, Exit, NoAccess
from vonage_reports_cli.outlook import Outlook, outlook_of
from vonage_reports_cli.session import Session, verb
from vonage_reports_cli.status.model import THE_API_KEY
from vonage_reports_cli.verbs.pause import set_state

_FORM = 'a JSON object {"api_key": "...", "api_secret": "..."}'

secret = click.Group(
    "secret",
    help="Write and check the Vonage credentials.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@verb(name="check", help="Ask Vonage, for free, whether it accepts the stack's credentials.")
def check(session: Session) -> Exit:
    """List the account's reports with the credentials of the stack's secret."""
    stack = session.deployed
    read = cached_credentials(stack.client("secretsmanager"), stack.outputs["SecretArn"])
    try:
        # The type of `read`, a Callable, has no name for its argument.
        credentials = read(False)  # noqa: FBT003
    except InvalidRequest as error:
        named = f"{PROGRAM} {shlex.join(['--stack', stack.name])} secret put"
        raise Attention(str(error).replace(f"{PROGRAM} secret put", named)) from error
    problem, reports = _ask_vonage(session, credentials)
    if problem is not None:
        raise problem
    if session.as_json:
        session.screen.document(
            {"source": stack.source, "api_key": credentials.api_key, "reports": reports}
        )
        return Exit.DONE
    session.screen.say(
        printable(stack.source),
        printable(
            f"Vonage accepts the API key {credentials.api_key}. It lists {reports:,} reports of "
            "the last 4 days."
        ),
    )
    return Exit.DONE


@verb(
    name="put",
    acts=True,
    short_help="Write the credentials: typed, or from standard input.",
    help=f"Write the credentials: typed, or on standard input as {_FORM}. On a stack that has "
    "never collected, show what the next schedule is going to request, and ask whether it stays "
    "on. With --yes, it does.",
)
def put(session: Session) -> Exit:
    """Read the credentials, ask Vonage about them, and write them as the stack's secret.

    On a stack that has never collected, show what the next schedule is going to request, and ask
    whether it stays on. To pause it, do so before the secret is written.
    """
    stack, screen = session.deployed, session.screen
    credentials = (
        _typed() if sys.stdin.isatty() else _credentials(sys.stdin.read(), "standard input")
    )
    problem, _ = _ask_vonage(session, credentials)
    if isinstance(problem, NoAccess) and not isinstance(problem, _Unknown):
        raise problem
    screen.say(printable(stack.source))
    if problem is None:
        screen.say(printable(f"  Vonage accepts the API key {credentials.api_key}."))
    else:
        screen.say(printable(f"  The credentials could not be checked: {problem}"), style="yellow")
    written, ledger = stack.definitions.read(), (stack.ledger.open_work(), stack.ledger.calendar())
    outlook = outlook_of(stack, written, api_key=credentials.api_key, ledger=ledger)
    former = known_api_key(written, ledger[1])
    if not outlook.has_collected:
        _show_first_night(session, outlook)
    elif former not in (THE_API_KEY, credentials.api_key):
        screen.say(
            printable(
                f"  The stack collected {former} so far. Definitions without account_ids are going "
                f"to collect {credentials.api_key}, from their latest window on."
            ),
            style="yellow",
        )
    is_paused = False
    if not session.dry_run:
        screen.confirm("Write the secret? [y/N]", yes=session.yes)
        schedule = outlook.schedule
        if not outlook.has_collected and schedule is not None and schedule.is_on:
            is_paused = not screen.choose("Does the schedule stay on? [Y/n]", yes=session.yes)
            if is_paused:
                set_state(session, schedule, on=False)
                screen.say("The schedule is paused. `resume` starts it.")
        stack.client("secretsmanager").put_secret_value(
            SecretId=stack.outputs["SecretArn"],
            SecretString=json.dumps(
                {"api_key": credentials.api_key, "api_secret": credentials.api_secret}
            ),
        )
        screen.say("The secret is written. The functions use it within 5 minutes.")
    if screen.as_json:
        screen.document(
            {
                "source": stack.source,
                "dry_run": session.dry_run,
                "api_key": credentials.api_key,
                "is_accepted": None if problem is not None else True,
                "written": not session.dry_run,
                "paused": is_paused,
                "outlook": None if outlook.has_collected else outlook.to_dict(),
            }
        )
    return Exit.DONE


secret.add_command(put)
secret.add_command(check)


class _Unknown(NoAccess):
    """Vonage has not said whether it accepts the credentials."""


def _typed() -> Credentials:
    # The prompts go to standard error, because standard output has the result.
    api_key = click.prompt("Vonage API key", err=True)
    api_secret = click.prompt("Vonage API secret (not shown)", hide_input=True, err=True)
    text = json.dumps({"api_key": api_key, "api_secret": api_secret})
    return _credentials(text, "the input")


def _credentials(text: str, source: str) -> Credentials:
    try:
        return credentials_of(text, source)
    except ValueError as error:
        raise BadInput(f"{source} {error}; it takes {_FORM}") from None


def _ask_vonage(session: Session, credentials: Credentials) -> tuple[CommandError | None, int]:
    """List the key's own reports, which is free. Return the problem or None, and their number."""
    url = session.deployed.parameters["VonageBaseUrl"]
    try:
        client = VonageClient(url, lambda _fresh: credentials, pacer=Pacer(0))
        return None, len(client.list_reports(credentials.api_key).reports)
    except RateLimited as error:
        return _Unknown(f"{error}; try again later"), 0
    except VonageRejected as error:
        return (NoAccess if error.refuses_the_key else _Unknown)(str(error)), 0
    except ReportExpired:
        return _Unknown(f"{url} has no list of reports, so the key cannot be checked for free"), 0
    except VonageUnavailable as error:
        return _Unknown(f"Vonage cannot be reached: {error}"), 0
    except VonageReportsError as error:
        return CommandError(str(error)), 0


def _show_first_night(session: Session, outlook: Outlook) -> None:
    screen, schedule = session.screen, outlook.schedule
    paused = "" if schedule is None or schedule.is_on else " (paused)"
    screen.say(
        printable(f"  This stack has never collected. Next schedule{paused}: {outlook.when}")
    )
    screen.say(*(f"    {line}" for line in outlook.next_lines()))
    screen.say(*(f"    {line}" for line in outlook.refused_lines()), style="red")
