"""`out/usage.html`: the page of a run's deliveries."""

from datetime import UTC, datetime

from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.last_run import LastRunTarget
from vonage_reports_cli.page import NAME, make_page
from vonage_reports_cli.page.document import Origin
from vonage_reports_cli.sql.dataset import Folder
from vonage_reports_cli.status.sources import content_of


def write_usage_page(run: LastRunTarget) -> bool:
    """Write the page into `out/`, and return whether there is a dataset to show."""
    try:
        dataset = Folder(run.out)
    except BadInput:
        return False
    saved = run.ledger
    content = content_of(saved, saved.definitions, as_of=saved.as_of)
    origin = Origin(run.source, run.is_simulated, datetime.now(UTC))
    make_page(dataset, origin, content=content).write(run.out / NAME)
    return True
