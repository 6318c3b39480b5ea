"""The start of `bill`, `reconcile` and `cost`: is the source real, and is the period complete?"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from vonage_reports.domain.printable import printable
from vonage_reports.domain.products import OWN_REPORTS
from vonage_reports_cli.completeness import Completeness, read_completeness
from vonage_reports_cli.errors import BadInput, CommandError
from vonage_reports_cli.objects import objects_of
from vonage_reports_cli.period import Period
from vonage_reports_cli.session import Session


def require_real(session: Session, *, accepts_simulated: bool) -> None:
    """Raise BadInput for simulated records, unless the operator accepts them."""
    target = session.target
    if target.is_simulated and not accepts_simulated:
        raise BadInput(
            f"{target.label}: the records are simulated, no real usage; add --simulated for a trial"
        )


def checked_completeness(
    session: Session, period: Period, *, accepts_incomplete: bool, of_own_reports: bool = False
) -> tuple[Completeness, bool]:
    """Return the completeness of a period, and whether the command goes on.

    If not, print the windows that are not final. Print the cautions in any case. `of_own_reports`:
    only the windows of REPORTS-USAGE count. They count nowhere else.
    """
    completeness = read_completeness(
        session,
        objects_of(session),
        period,
        counts=lambda product: (product == OWN_REPORTS) is of_own_reports,
    )
    goes_on = completeness.is_complete or accepts_incomplete
    if completeness.announced is not None:
        session.screen.say(completeness.announced.sentence)
    session.screen.say(*map(printable, completeness.cautions))
    if not goes_on:
        session.screen.say(*map(printable, completeness.lines()))
        commands = [] if session.local else completeness.commands(session.stack)
        if commands:
            cost = "for free" if of_own_reports else "which Vonage bills"
            session.screen.say(f"To collect what is missing, {cost}:")
            session.screen.say(*(f"  {command}" for command in commands))
        session.screen.complain(
            "the period is incomplete; `status` shows all problems, and --incomplete goes on"
        )
    return completeness, goes_on


def require_unchanged(completeness: Completeness, datasets: Iterable[str]) -> None:
    """Raise CommandError if the datasets to add up are others than those of the completeness."""
    if set(datasets) != completeness.datasets:
        raise CommandError("a window was delivered while the command read; run it again")


def facts_of(session: Session, period: Period, completeness: Completeness) -> dict[str, object]:
    """Return the facts that lie beside a CSV file and in a JSON document."""
    target = session.target
    return {
        "source": target.source,
        "simulated": target.is_simulated,
        "period": period.to_dict(),
        "completeness": completeness.to_dict(),
    }


def made_at() -> Mapping[str, object]:
    """Return the time at which a file was made."""
    return {"made_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
