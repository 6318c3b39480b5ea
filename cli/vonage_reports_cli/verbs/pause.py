"""`pause` and `resume`: the state of the calendar's schedule. Sweeps always go on."""

from vonage_reports.domain.printable import printable
from vonage_reports_cli.errors import Exit
from vonage_reports_cli.outlook import outlook_of
from vonage_reports_cli.schedule import Schedule, schedule_of, state_of, switch
from vonage_reports_cli.session import Session, verb
from vonage_reports_cli.settings import SCHEDULE_STATE, update

_LATER = (
    "A later sam deploy keeps this, unless its parameter_overrides name ScheduleState, as dev's "
    "in samconfig.toml do."
)


@verb(acts=True, help="Stop the schedule. Reports that are open already are finished.")
def pause(session: Session) -> Exit:
    """Set the template's ScheduleState to DISABLED."""
    schedule = schedule_of(session.deployed)
    session.screen.say(printable(session.deployed.source))
    if not _is_set(session, schedule, on=False):
        session.screen.say(
            "  No schedule requests due windows any more. Open reports are finished, because the "
            "sweeps go on.",
            "  Windows that become due meanwhile are requested after `resume`, for 7 days. Older "
            "ones need `backfill`.",
        )
    return _set(session, schedule, on=False, question="Pause the schedule? [y/N]")


@verb(acts=True, help="Show what is going to be requested, and start the schedule.")
def resume(session: Session) -> Exit:
    """Set the template's ScheduleState to ENABLED, after a preview of the next schedule."""
    stack = session.deployed
    outlook = outlook_of(stack, stack.definitions.read())
    schedule = outlook.schedule
    assert schedule is not None
    screen = session.screen
    screen.say(printable(stack.source))
    screen.say(f"next schedule: {printable(outlook.when)}")
    screen.say(*(f"  {line}" for line in (*outlook.next_lines(), *outlook.late_lines())))
    screen.say(*(f"  {line}" for line in outlook.refused_lines()), style="red")
    return _set(
        session,
        schedule,
        on=True,
        question="Start the schedule? Vonage bills these reports. [y/N]",
        outlook=outlook.to_dict(),
    )


def set_state(session: Session, schedule: Schedule, *, on: bool) -> None:
    """Set the state as a parameter of the stack, so that later deployments keep it."""
    stack, state = session.deployed, state_of(on=on)
    if stack.parameters.get(SCHEDULE_STATE) != state:
        update(session, {SCHEDULE_STATE: state})
    if schedule_of(stack).is_on is not on:
        # The parameter was right already, but the schedule had been changed beside CloudFormation.
        switch(stack, schedule, on=on)


def _is_set(session: Session, schedule: Schedule, *, on: bool) -> bool:
    parameter = session.deployed.parameters.get(SCHEDULE_STATE)
    return schedule.is_on is on and parameter == state_of(on=on)


def _set(
    session: Session,
    schedule: Schedule,
    *,
    on: bool,
    question: str,
    outlook: dict[str, object] | None = None,
) -> Exit:
    screen, word = session.screen, "on" if on else "paused"
    is_set = _is_set(session, schedule, on=on)
    if is_set:
        screen.say(f"The schedule is {word} already.")
    elif not session.dry_run:
        screen.confirm(question, yes=session.yes)
        set_state(session, schedule, on=on)
        screen.say(f"The schedule is {word}.")
        screen.note(_LATER)
    if screen.as_json:
        screen.document(
            {
                "source": session.deployed.source,
                "dry_run": session.dry_run,
                "schedule": word if is_set or not session.dry_run else None,
                "changed": not is_set and not session.dry_run,
                **({} if outlook is None else {"outlook": outlook}),
            }
        )
    return Exit.DONE
