"""The command line: `vonage-reports [--stack NAME | --local] VERB ...`.

A verb is loaded when it is used, because boto3, DuckDB and pyarrow are slow to load.
"""

import errno
import io
import os
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from vonage_reports_cli.errors import BadInput, CommandError, Exit
from vonage_reports_cli.screen import discard
from vonage_reports_cli.session import Session, common_options, target_options

_PACKAGE = "vonage_reports_cli.verbs"

VERBS: Mapping[str, Mapping[str, str]] = {
    "Look": {
        "status": "Show every problem with the command that solves it, and each definition.",
        "show": "Show the life of one report, and the command that helps.",
        "logs": "Show the logs of the functions.",
        "doctor": "Check the stack, and name the command that repairs each fault.",
        "verify": "Prove again what was delivered, from the bucket alone.",
    },
    "Cost": {
        "estimate": "Show what the schedule is going to request, and what it costs.",
    },
    "Act": {
        "collect": "Request the reports that are due now.",
        "backfill": "Collect a definition's windows between two dates. Vonage bills them.",
        "cancel": "Stop a backfill.",
        "recollect": "Collect windows again. Vonage bills them again.",
        "reconvert": "Make dataset and manifest again from the stored archives, for free.",
        "resolve": "Answer a held report: which request it has at Vonage, or none.",
        "withdraw": "End open and failed reports that are not needed any more.",
        "retry": "Retry what failed: convert again, for free, or collect again, billed.",
        "sweep": "Settle what ended, and request what waits, now.",
        "events": "List, send or delete the events that submit_reports failed to handle.",
    },
    "Set up": {
        "definitions": "Show, check and change the report definitions.",
        "settings": "Show and change the template's parameters.",
        "secret": "Write and check the Vonage credentials.",
        "pause": "Stop the schedule. Open reports are finished.",
        "resume": "Show what is going to be requested, and start the schedule.",
        "completion": "Print the script that completes commands in your shell.",
    },
    "Ask": {
        "query": "Run SQL on the delivered records.",
        "bill": "Add up what to charge for a month, with a mark-up.",
        "reconcile": "Compare an invoice of Vonage with the delivered records.",
        "cost": "Compare what Vonage charged for reports with the ledger's requests.",
        "page": "Write a page of usage and cost, for a browser.",
    },
}
"""The verbs by section, with their short helps. `verbs/<module>.py` has the function of the verb's
name, with `_` for `-`."""

_MODULES: Mapping[str, str] = {"cancel": "backfill", "resume": "pause"}
"""The module of each verb that shares one with others."""


_NAMES: Mapping[str, str] = {
    "REPORT_ID, ID": "A report, such as sms-20261121T0000Z-0123456789ab. `status DEFINITION`, the "
    "notifications and the manifests name reports.",
    "BACKFILL": "DEFINITION-FROM-UNTIL, such as sms-20261101-20261201. `status` names backfills.",
    "--at TIME": "The time of a schedule. `collect` requests the reports that were due then.",
}
"""The arguments of the verbs, and their places in the program's output."""

_EXITS: Mapping[Exit, str] = {
    Exit.DONE: "done",
    Exit.ATTENTION: "something asks for a person",
    Exit.BAD_INPUT: "wrong input",
    Exit.DECLINED: "you said no",
    Exit.NO_ACCESS: "no access to AWS or Vonage, or no answer from them",
    Exit.INTERRUPTED: "interrupted",
}


class Verbs(click.Group):
    """A group that loads each verb's module on use. The help needs no module."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """Return the verbs in the order of the help."""
        return [name for section in VERBS.values() for name in section]

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """Load a verb."""
        if name not in self.list_commands(_context):
            return None
        module = import_module(f"{_PACKAGE}.{_MODULES.get(name, name)}")
        command: click.Command = getattr(module, name.replace("-", "_"))
        return command

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete verbs without loading them."""
        helps = {name: text for section in VERBS.values() for name, text in section.items()}
        items = [
            CompletionItem(name, help=text)
            for name, text in helps.items()
            if name.startswith(incomplete)
        ]
        return [*items, *click.Command.shell_complete(self, context, incomplete)]

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections of the help."""
        for section, verbs in VERBS.items():
            with formatter.section(section):
                formatter.write_dl(list(verbs.items()))

    def format_epilog(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write where names come from, and the exit codes."""
        with formatter.section("Names"):
            formatter.write_dl(list(_NAMES.items()))
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), meaning) for code, meaning in _EXITS.items()])


def _program() -> Verbs:
    return Verbs(
        name="vonage-reports",
        help="Operate a stack of Vonage usage reports, and bill and reconcile its usage.\n\n"
        "The options of a verb go after the verb. `VERB --help` lists them.",
        params=[*target_options(), *common_options()],
        context_settings={"help_option_names": ["-h", "--help"]},
    )


_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""The errors of an output that takes no more bytes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    if sys.stderr is None:
        sys.stderr = io.StringIO()
    session = Session(stack=os.environ.get("VONAGE_REPORTS_STACK", "").strip() or None)
    if sys.stdout is None:
        return _complain(session, BadInput("standard output is closed"))
    code: int = Exit.DONE
    try:
        code = _run(session, arguments)
    except (BrokenPipeError, SystemExit):
        # A reader such as `head` has closed the pipe. click turns that into an exit with 1.
        discard(sys.stdout)
    except (KeyboardInterrupt, click.Abort):
        code = Exit.INTERRUPTED
    except Exception as error:
        if session.debug:
            raise
        code = _complain(session, error)
    return code


def _run(session: Session, arguments: Sequence[str] | None) -> int:
    try:
        code = _program().main(
            arguments, prog_name="vonage-reports", standalone_mode=False, obj=session
        )
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return Exit.BAD_INPUT
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        session.screen.cut(sys.stdout)
    return code or Exit.DONE


def _complain(session: Session, error: Exception) -> Exit:
    """Print the error as one sentence, and return the exit code that it leads to."""
    if isinstance(error, click.ClickException):
        sentence, code = f"{error.format_message()}{_hint(error)}", Exit.BAD_INPUT
    elif isinstance(error, OSError) and error.filename is None and error.errno in _UNWRITABLE:
        discard(sys.stdout)
        sentence, code = f"the output cannot be written: {error.strerror}", Exit.BAD_INPUT
    else:
        known = error if isinstance(error, CommandError) else _explained(error)
        sentence, code = str(known), known.code
    session.screen.complain(sentence)
    return code


def _hint(error: click.ClickException) -> str:
    """Return a hint at the right option for one that does not exist there, or nothing."""
    if not isinstance(error, click.NoSuchOption):
        return ""
    if error.ctx is not None and error.ctx.parent is None:
        return " Options of a verb go after the verb."
    if re.match("-[0-9.]", error.option_name):
        return " A value that begins with - goes after --."
    return ""


def _explained(error: Exception) -> CommandError:
    # Here, because botocore takes longer to load than the whole help.
    from vonage_reports_cli.access import explained  # noqa: PLC0415

    known = explained(error)
    if known is not None:
        return known
    # Here, because DuckDB takes longer to load than the whole help.
    from vonage_reports_cli.sql.damage import damage_of  # noqa: PLC0415

    return damage_of(error) or CommandError(
        f"{type(error).__name__}: {error}. This is a defect of the program. --debug shows the "
        "traceback."
    )
