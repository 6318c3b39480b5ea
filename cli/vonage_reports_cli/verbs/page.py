"""`page`: usage and cost, with the windows they rest on, as one page for a browser."""

from datetime import UTC, datetime
from pathlib import Path

import click

from vonage_reports.domain.printable import printable
from vonage_reports_cli.errors import BadInput, Exit
from vonage_reports_cli.objects import expires_before
from vonage_reports_cli.page import NAME, Page, make_page
from vonage_reports_cli.page.document import Origin
from vonage_reports_cli.page.windows import STATES
from vonage_reports_cli.page.words import records_in_words
from vonage_reports_cli.period import month_of
from vonage_reports_cli.session import Session, verb
from vonage_reports_cli.sql.dataset import source_of
from vonage_reports_cli.stack import DeployedStack
from vonage_reports_cli.status.model import Content
from vonage_reports_cli.status.sources import content_of

_BEGIN = b"<!DOCTYPE HTML>"


@verb(help="Write a page of usage and cost, for a browser.")
@click.option("--month", metavar="MONTH", help="Only this month of UTC, such as 2026-11.")
@click.option(
    "-o", "--output", metavar="FILE", default=NAME, show_default=True, help="The file to write."
)
def page(session: Session, *, month: str | None, output: str) -> Exit:
    """Write the page, and say what it rests on."""
    period = None if month is None else month_of(month)
    _require_page(Path(output))
    target, screen = session.target, session.screen
    origin = Origin(target.source, target.is_simulated, datetime.now(UTC))
    made = make_page(
        source_of(session, period),
        origin,
        content=_content_of(session),
        month=period,
        expire_before=expires_before(session).get("data/"),
    )
    made.write(Path(output))
    if screen.as_json:
        screen.document(_document(made, origin, month, output))
        return Exit.DONE
    screen.say(printable(origin.source))
    of = "" if month is None else f" of {month}"
    records = records_in_words(made.numbers.records)
    screen.say(printable(f"{output}: {records}{of}; {made.words}"))
    screen.say(*map(printable, made.cautions))
    return Exit.DONE


def _require_page(path: Path) -> None:
    """Raise BadInput for another file in the page's place, such as an invoice."""
    if not path.is_file():
        return  # A folder fails with a reason when the page is written.
    with path.open("rb") as file:
        begin = file.read(len(_BEGIN))
    if begin and begin.upper() != _BEGIN:
        raise BadInput(f"-o {path} is a file and no page; name another file, or remove it")


def _content_of(session: Session) -> Content:
    target = session.target
    if isinstance(target, DeployedStack):
        return content_of(target.ledger, target.definitions.read(), as_of=datetime.now(UTC))
    saved = target.ledger
    return content_of(saved, saved.definitions, as_of=saved.as_of)


def _document(made: Page, origin: Origin, month: str | None, output: str) -> dict[str, object]:
    return {
        "source": origin.source,
        "is_simulated": origin.is_simulated,
        "month": month,
        "page": output,
        "bytes": len(made.html.encode()),
        "records": made.numbers.records,
        "preliminary_records": made.numbers.preliminary,
        "totals": [
            {
                "product": each.product,
                "currency": each.currency or None,
                "records": each.records,
                "cost": None if each.cost is None else f"{each.cost:f}",
            }
            for each in made.numbers.totals
        ],
        "windows": [
            {
                "definition": each.definition,
                "account_id": each.account_id,
                "delivered": each.delivered,
                "preliminary": each.preliminary,
                **{state.replace(" ", "_"): each.count(state) for state in STATES},
            }
            for each in made.windows
        ],
        "cautions": list(made.cautions),
    }
