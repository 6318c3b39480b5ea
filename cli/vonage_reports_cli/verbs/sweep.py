"""`sweep`: settle what ended, and request what waits, now."""

from vonage_reports_cli.acting import carry_out
from vonage_reports_cli.errors import Exit
from vonage_reports_cli.previews import step_for
from vonage_reports_cli.session import Session, verb


@verb(
    acts=True,
    help="Settle what ended, and request what waits, now. The stack does the same every 5 "
    "minutes, so this requests nothing that it would not.",
)
def sweep(session: Session) -> Exit:
    """Preview the open reports, ask, and send a sweep."""
    return carry_out(
        session,
        [step_for(session.deployed, {"sweep": True})],
        question="Sweep now? [y/N]",
        following="status",
    )
