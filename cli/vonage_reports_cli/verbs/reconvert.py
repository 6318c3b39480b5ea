"""`reconvert`: make dataset and manifest again from the stored archives, at no cost."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import click

from vonage_reports.domain.acceptance import Acceptable, in_order
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.report import Report, State
from vonage_reports_cli.acting import FREE, Action, Step, carry_out
from vonage_reports_cli.dates import Date, require_order
from vonage_reports_cli.errors import BadInput, Exit
from vonage_reports_cli.estimate import count
from vonage_reports_cli.pasted import name as one_name
from vonage_reports_cli.pasted import names
from vonage_reports_cli.previews import billed, reconversion, step_for
from vonage_reports_cli.session import Session, verb
from vonage_reports_cli.stack import DeployedStack


@verb(
    acts=True,
    help="Make dataset and manifest again from the stored archives. This is free. TARGET is "
    "report IDs, or one definition with --from and --until: the last revision of each delivered or "
    "stored window.",
)
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option("--from", "start", type=Date(), help="The first local date of a definition.")
@click.option("--until", "end", type=Date(), help="The local date after the last one.")
@click.option(
    "--accept",
    metavar="NAMES",
    default="",
    help="Deliver with these imperfections, on the record: row_count, unreadable_rows, "
    "missing_columns; separated by commas. With --from, a window keeps what was accepted before.",
)
def reconvert(
    session: Session, targets: tuple[str, ...], start: date | None, end: date | None, accept: str
) -> Exit:
    """Preview the windows, ask, and send a reconvert event for each."""
    accepted = accepted_names(accept)
    stack = session.deployed
    if (start is None) != (end is None):
        raise BadInput("--from and --until belong together: give both, or none")
    steps: list[Step]
    if start is None or end is None:
        steps = [step_for(stack, {"reconvert": _value(each, accepted)}) for each in names(targets)]
    else:
        require_order(start, end)
        steps = list(_steps_of_range(session, targets, start, end, accepted))
    number = sum(isinstance(each, Action) for each in steps)
    return carry_out(
        session,
        steps,
        effect=f"Converts the stored archives again. {FREE}",
        question=f"Convert {count(number, 'window')} again? [y/N]",
    )


def accepted_names(text: str) -> tuple[Acceptable, ...]:
    """Parse the names of imperfections, separated by commas. Raises BadInput."""
    names = [each.strip() for each in text.split(",") if each.strip()]
    unknown = [each for each in names if each not in set(Acceptable)]
    if unknown:
        raise BadInput(
            f"--accept takes {', '.join(Acceptable)}, separated by commas, not {unknown[0]!r}"
        )
    return in_order(names)


def _value(name: str, accept: Sequence[Acceptable]) -> dict[str, object]:
    accepting = {"accept": [each.value for each in accept]} if accept else {}
    return {"report_id": name, **accepting}


def _steps_of_range(
    session: Session, targets: Sequence[str], start: date, end: date, accept: Sequence[Acceptable]
) -> Iterator[Step]:
    """Yield the reconversions of a definition's windows that start in [`start`, `end`)."""
    stack = session.deployed
    if len(targets) != 1:
        raise BadInput("--from and --until take one DEFINITION, without report IDs")
    name = one_name(targets[0])
    known = stack.ledger.calendar().collects
    if name not in known:
        raise BadInput(
            f"{name}: the stack {stack.name} has no such definition; it has "
            f"{', '.join(sorted(known)) or 'none'}"
        )
    zone = ZoneInfo(json.loads(known[name])["time_zone"])
    first, last = (datetime.combine(day, time.min, zone).astimezone(UTC) for day in (start, end))
    reports, unreadable = stack.ledger.reports_between(name, first, last)
    if unreadable:
        session.screen.complain(f"cannot be read, and left out: {', '.join(sorted(unreadable))}")
    found = list(_last_stored(stack, reports))
    if not found:
        raise BadInput(f"{name} has no delivered or stored window from {start} until {end}")
    for report in found:
        before = report.accept if report.state is State.DELIVERED else ()
        value = _value(report.report_id, in_order([*before, *accept]))
        yield reconversion(report, value, so_far=billed(stack, [report]))


def _last_stored(stack: DeployedStack, reports: Iterable[Report]) -> Iterator[Report]:
    """Yield, oldest first, the last revision of each window that is finished and has archives."""
    last: dict[tuple[datetime, str], Report] = {}
    for each in sorted(reports, key=lambda report: report.delay_days):
        if each.state is State.DELIVERED or (
            each.state is State.FAILED and _has_archives(stack, each)
        ):
            last[each.window.start, each.account_id] = each
    yield from (last[key] for key in sorted(last))


def _has_archives(stack: DeployedStack, report: Report) -> bool:
    if report.delivered_from:
        return True
    receipts = report.receipts or ((receipt_key(report),) if report.request_id else ())
    return bool(receipts) and all(stack.bucket.read_json(each) is not None for each in receipts)
