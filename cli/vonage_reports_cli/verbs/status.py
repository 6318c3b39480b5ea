"""`status`: each definition, and every problem with the command that mends it."""

from datetime import UTC, datetime

from vonage_reports_cli.session import Session, verb
from vonage_reports_cli.stack import DeployedStack
from vonage_reports_cli.status.sources import content_of
from vonage_reports_cli.status.summary import Status, status_of
from vonage_reports_cli.status.text import show_status


@verb(help="Show each definition, and every problem with the command that mends it.")
def status(session: Session) -> int | None:
    """Print the status of the target."""
    found = _status_of(session)
    if session.as_json:
        session.screen.document({"source": session.target.source, **found.to_dict()})
    else:
        show_status(found, session.target.source, session.screen, stack=session.stack)
    return None


def _status_of(session: Session) -> Status:
    target = session.target
    if isinstance(target, DeployedStack):
        content = content_of(target.ledger, target.definitions.read(), as_of=datetime.now(UTC))
    else:
        saved = target.ledger
        content = content_of(saved, saved.definitions, as_of=saved.as_of)
    return status_of(content)
