"""The options that every verb shares, and the target that they name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import click

from vonage_reports import __version__
from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.screen import Screen

if TYPE_CHECKING:
    from vonage_reports_cli.last_run import LastRunTarget
    from vonage_reports_cli.stack import DeployedStack


@dataclass
class Session:
    """One command: its target, its screen and its common options."""

    stack: str | None = None
    local: bool = False
    profile: str | None = None
    region: str | None = None
    as_json: bool = False
    quiet: bool = False
    no_color: bool = False
    debug: bool = False
    dry_run: bool = False
    yes: bool = False

    @cached_property
    def screen(self) -> Screen:
        """The terminal. First used after all options are read."""
        return Screen(as_json=self.as_json, quiet=self.quiet, no_color=self.no_color)

    @cached_property
    def target(self) -> "DeployedStack | LastRunTarget":
        """The stack on AWS, or the last `make run`. Raises BadInput without a target."""
        return self.last_run if self.local else self.deployed

    @cached_property
    def deployed(self) -> "DeployedStack":
        """The stack on AWS. Raises BadInput with `--local`, and NoAccess."""
        # Here, because boto3 takes longer to load than the whole help.
        from vonage_reports_cli.stack import DeployedStack  # noqa: PLC0415

        if self.local:
            _, _, verb = click.get_current_context().command_path.partition(" ")
            raise BadInput(
                f"{verb} needs a stack on AWS; on this machine, make run EVENT=... sends an event"
            )
        if self.stack is None:
            raise BadInput(
                "name a stack with --stack NAME or VONAGE_REPORTS_STACK, or use --local for the "
                "last make run"
            )
        return DeployedStack(self.stack, profile=self.profile, region=self.region)

    @property
    def last_run(self) -> "LastRunTarget":
        """The last `make run` in this folder or above it. Raises BadInput if there is none."""
        # Here, because its module loads boto3, as above.
        from vonage_reports_cli.last_run import LastRunTarget  # noqa: PLC0415

        return LastRunTarget.find()


def _stored(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def store(context: click.Context, _parameter: click.Parameter, value: object) -> None:
        # The group and the verb both take these options. A default never replaces a given value.
        if isinstance(value, str) and not value.strip():
            raise BadInput(f"--{name} needs a name, not an empty text")
        if value not in (None, False):
            setattr(context.ensure_object(Session), name, value)

    return store


class _OptionAttributes(TypedDict, total=False):
    """The attributes of click's options that are used here."""

    help: str
    is_flag: bool
    metavar: str


class _VerbAttributes(TypedDict, total=False):
    """The attributes of click's commands that the verbs use."""

    name: str
    help: str
    epilog: str
    short_help: str


def _option(name: str, *declarations: str, **attributes: Unpack[_OptionAttributes]) -> click.Option:
    return click.Option([*declarations], expose_value=False, callback=_stored(name), **attributes)


def target_options() -> list[click.Option]:
    """Return new options that choose the target."""
    return [
        _option(
            "stack", "--stack", metavar="NAME", help="The stack on AWS. Also VONAGE_REPORTS_STACK."
        ),
        _option("local", "--local", is_flag=True, help="The results of the last `make run`."),
        _option("profile", "--profile", metavar="P", help="A profile of the AWS configuration."),
        _option("region", "--region", metavar="R", help="An AWS region."),
    ]


def common_options() -> list[click.Option]:
    """Return new options of every verb."""
    return [
        _option("as_json", "--json", is_flag=True, help="Print one JSON document."),
        _option("quiet", "--quiet", is_flag=True, help="Print results and errors only."),
        _option("no_color", "--no-color", is_flag=True, help="Print without colours."),
        _option("debug", "--debug", is_flag=True, help="Show the traceback of an error."),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Print the version.",
        ),
    ]


def _print_version(context: click.Context, _parameter: click.Parameter, value: object) -> None:
    if value:
        click.echo(f"vonage-reports {__version__}")
        context.exit()


def act_options() -> list[click.Option]:
    """Return new options of the verbs that change something."""
    return [
        _option("dry_run", "-n", "--dry-run", is_flag=True, help="Stop after the preview."),
        _option("yes", "-y", "--yes", is_flag=True, help="Do not ask."),
    ]


def verb(
    *,
    acts: bool = False,
    cls: type[click.Command] = click.Command,
    **attributes: Unpack[_VerbAttributes],
) -> Callable[..., click.Command]:
    """Declare a verb. Its function takes the Session first and returns an exit code or None.

    `acts`: the verb changes something, so that it has --dry-run and --yes. `cls` reads its
    arguments.
    """

    def declare(function: Callable[..., int | None]) -> click.Command:
        @wraps(function)
        def with_session(*arguments: object, **options: object) -> int | None:
            session = click.get_current_context().ensure_object(Session)
            return function(session, *arguments, **options)

        command = click.command(
            cls=cls,
            context_settings={"help_option_names": ["-h", "--help"]},
            **attributes,
        )(with_session)
        extra = act_options() if acts else []
        command.params += [*extra, *target_options(), *common_options()]
        return command

    return declare
