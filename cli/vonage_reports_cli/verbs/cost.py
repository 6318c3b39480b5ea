"""`cost`: what Vonage charged for reports, beside the ledger's own requests."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import click

from vonage_reports.aws.ledger_items import UnreadableItem
from vonage_reports.domain.objects import receipt_key
from vonage_reports.domain.printable import printable
from vonage_reports.domain.products import OWN_REPORTS
from vonage_reports.domain.report import Report, State
from vonage_reports.domain.windows import format_instant
from vonage_reports_cli.completeness import Completeness
from vonage_reports_cli.cost import (
    Comparison,
    Line,
    Listed,
    Lists,
    Own,
    Pair,
    Total,
    compare,
    is_near,
    read_listed,
    totals_of,
    within,
)
from vonage_reports_cli.errors import Exit
from vonage_reports_cli.finance import checked_completeness, facts_of, require_unchanged
from vonage_reports_cli.money import grouped, plain
from vonage_reports_cli.objects import Objects, objects_of
from vonage_reports_cli.period import Period, period_of
from vonage_reports_cli.rows import lines_of
from vonage_reports_cli.session import Session, verb
from vonage_reports_cli.sql.dataset import open_dataset, source_of

_OLDEST = timedelta(days=31 * 14)
"""Vonage keeps records for 13 months. So a window begins at most 14 before its request."""

_CONNECTIONS = 16
_MOST_NAMED = 10

_HELP = """Compare what Vonage charged for reports with the requests of the ledger.

Vonage lists every request of the API key in REPORTS-USAGE, which is free; the template's definition
`reports-usage` collects it. Our records are those of the receipts. Requests that the ledger does
not know come from other tools or from Vonage's dashboard. Days and months are UTC.

The exit code is 1 if Vonage's records differ from ours, if Vonage's list lacks one of our requests,
or if an item of the ledger cannot be read.

If a day of REPORTS-USAGE is not delivered, nothing is compared: the days are listed, and the exit
code is 1. --incomplete goes on.
"""


@verb(help=_HELP)
@click.option("--month", metavar="MONTH", help="The month, like 2026-11.")
@click.option("--from", "since", metavar="DATE", help="The first day, instead of --month.")
@click.option("--until", metavar="DATE", help="The first day after the period.")
@click.option("--incomplete", is_flag=True, help="Compare although days are not delivered.")
def cost(
    session: Session,
    *,
    month: str | None,
    since: str | None,
    until: str | None,
    incomplete: bool,
) -> Exit:
    """Print Vonage's requests and records beside ours, after the check of completeness."""
    period = period_of(month, since, until)
    session.screen.say(session.target.source)
    completeness, goes_on = checked_completeness(
        session, period, accepts_incomplete=incomplete, of_own_reports=True
    )
    answer = _Answer(session, period, completeness)
    if not goes_on:
        return answer.refuse()
    source = source_of(session, period)
    require_unchanged(completeness, source.datasets())
    with open_dataset(source, with_manifests=False) as connection:
        listed = read_listed(connection)
    reports, unreadable = _reports(session, period)
    unanswered = sum(each.state in (State.HELD, State.SUBMITTING) for each in reports.values())
    owners, sent = _own_requests(session, period, listed, reports)
    lists = Lists(reports.values())
    found = compare(listed, period, owners=owners, sent=sent, lists=lists)
    return answer.show(found, unanswered, unreadable)


def _reports(session: Session, period: Period) -> tuple[dict[str, Report], list[str]]:
    """Read the reports that may have been requested in the period, by report_id.

    Also return the names of the ledger's items that this code cannot read.
    """
    ledger = session.target.ledger
    # Read open work first: a report that finishes meanwhile is then read twice, not missed.
    work, calendar = ledger.open_work(), ledger.calendar()
    reports = {each.report_id: each for each in work.reports}
    unreadable = [*work.unreadable, *calendar.unreadable]
    oldest = period.start - _OLDEST
    for name in calendar.collects:
        for report in ledger.finished_reports(name, since=oldest, unreadable=unreadable):
            reports[report.report_id] = report
    return reports, unreadable


def _own_requests(
    session: Session, period: Period, listed: Sequence[Listed], reports: Mapping[str, Report]
) -> tuple[dict[str, Own], list[Own]]:
    """Return our requests among the listed ones, and those that the ledger sent near the period.

    Only these requests, and the listed ones of the period, have the records of their receipts.
    """
    ledger = session.target.ledger
    served = ledger.reports_served_by(each.request_id for each in listed if each.request_id)
    owners = {
        each.request_id: Own(
            each.request_id, served[each.request_id], each.product, each.account_id, None
        )
        for each in listed
        if each.request_id in served
    }
    sent = [
        Own(str(each.request_id), each.report_id, each.product, each.account_id, each.submitted_at)
        for each in reports.values()
        if each.request_id is not None
        and each.submitted_at is not None
        and is_near(each.submitted_at, period)
    ]
    of_period = {each.request_id for each in within(listed, period)}
    asked = [each for each in owners.values() if each.request_id in of_period]
    found = _records_of((*asked, *sent), reports, objects_of(session))
    owners.update(
        {each.request_id: replace(each, records=found.get(each.request_id)) for each in asked}
    )
    return owners, [replace(each, records=found.get(each.request_id)) for each in sent]


def _records_of(
    requests: Iterable[Own], reports: Mapping[str, Report], objects: Objects
) -> dict[str, int | None]:
    """Return the records of requests by their receipts, or by the ledger if those have expired."""
    wanted = {each.request_id: reports.get(each.report_id) for each in requests}
    of = {
        request_id: replace(report, request_id=request_id)
        for request_id, report in wanted.items()
        if report is not None
    }
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        receipts = pool.map(objects.read_json, map(receipt_key, of.values()))
        return {
            request_id: _records(reports[each.report_id], request_id, receipt)
            for (request_id, each), receipt in zip(of.items(), receipts, strict=True)
        }


def _records(report: Report, request_id: str, receipt: Mapping[str, Any] | None) -> int | None:
    if receipt is None:
        return report.rows if report.request_id == request_id and report.leaves == 1 else None
    if receipt["archive"] is None:
        # Vonage makes no file for a report without records.
        return 0
    count: int | None = receipt["items_count"]
    return count


@dataclass(frozen=True)
class _Answer:
    """Shows a comparison: on the screen, or as JSON."""

    session: Session
    period: Period
    completeness: Completeness

    def refuse(self) -> Exit:
        """Show that nothing is compared."""
        screen = self.session.screen
        if self.completeness.windows == 0:
            screen.say(
                "Vonage's list of reports is free. To collect it, add to the definitions: "
                f'{{"name": "reports-usage", "product": "{OWN_REPORTS}", "delay_days": [1]}}'
            )
        if screen.as_json:
            screen.document(
                {
                    **facts_of(self.session, self.period, self.completeness),
                    **dict.fromkeys(("lines", "others", "totals", "differences", "missing")),
                    "notes": [],
                }
            )
        return Exit.ATTENTION

    def show(self, found: Comparison, unanswered: int, unreadable: Sequence[str]) -> Exit:
        """Show the lines, the totals, and each difference.

        `unanswered` is how many reports wait to learn whether Vonage has their request.
        `unreadable` names the ledger's items that this code cannot read.
        """
        screen = self.session.screen
        totals, notes = totals_of(found), list(_notes(found, unanswered, unreadable))
        if screen.as_json:
            screen.document(
                {
                    **facts_of(self.session, self.period, self.completeness),
                    "lines": [_own_line(each) for each in found.own],
                    "others": [_other_line(each) for each in found.others],
                    "totals": [_total(each) for each in totals],
                    "differences": [_difference(each) for each in found.different],
                    "missing": [_missing(each) for each in found.missing],
                    "notes": notes,
                }
            )
        screen.note(*map(printable, notes))
        screen.say(f"Reports of {self.period.label}")
        if found.own:
            rows = [
                [each.name, each.product, *map(_grouped, _own_counts(each)), _money(each)]
                for each in found.own
            ]
            screen.say(*lines_of(_OWN, rows, right=_OWN[2:]))
        if found.others:
            screen.say("Not ours: other tools with this key, and Vonage's dashboard:")
            rows = [
                [each.name, each.product, *map(_grouped, _counts(each)), _money(each)]
                for each in found.others
            ]
            screen.say(*lines_of(_OTHERS, rows, right=_OTHERS[2:]))
        screen.say(*map(_total_in_words, totals))
        screen.say(*map(printable, _verdict(found)))
        if not self.completeness.is_complete:
            screen.say(*map(printable, self.completeness.lines()))
        return Exit.DONE if found.is_equal and not unreadable else Exit.ATTENTION


_OWN = ("definition", "product", "requests", "records", "charged", "our records", "difference",
        "cost")  # fmt: skip
_OTHERS = ("requester", "product", "requests", "records", "charged", "cost")


def _counts(line: Line) -> tuple[int, ...]:
    return line.requests, line.records, line.charged


def _own_counts(line: Line) -> tuple[int, ...]:
    return *_counts(line), line.own_records, line.difference


def _grouped(number: int) -> str:
    return f"{number:,}"


def _money(line: Line) -> str:
    return "-" if line.cost is None else f"{grouped(line.cost)} {line.currency}".strip()


def _total_in_words(total: Total) -> str:
    def said(line: Line) -> str:
        requests = "request" if line.requests == 1 else "requests"
        records = "record" if line.records == 1 else "records"
        return f"{line.requests:,} {requests}, {line.records:,} {records}, {_money(line)}"

    return f"Total: ours {said(total.own)}; not ours {said(total.others)}"


def _notes(found: Comparison, unanswered: int, unreadable: Sequence[str]) -> Iterator[str]:
    if unreadable:
        yield f"{UnreadableItem(_named(unreadable))}."
    if found.unlisted:
        accounts = sorted({each.account_id.lower() for each in found.unlisted})
        yield (
            f"No definition of {OWN_REPORTS} collects the list of {_named(accounts)}, which would "
            f"have {_requests(found.unlisted)} of ours. They are not compared. Add "
            '"account_ids": "subaccounts" to `reports-usage`.'
        )
    if found.waiting:
        yield (
            f"Vonage's list may have {_requests(found.waiting)} of ours on a day that is not "
            "delivered yet. Run the command again later."
        )
    if unanswered and found.others:
        reports = "1 report has" if unanswered == 1 else f"{unanswered:,} reports have"
        yield (
            f"{reports} a request without an answer, which may be among those that are not ours; "
            "`status` names them."
        )
    if found.is_by_likeness:
        yield (
            "Vonage's ids are no request ids: the requests are matched by product, account, time "
            "and records."
        )
    without = sum(each.without_price for each in (*found.own, *found.others))
    if without:
        yield f"Vonage states no price for {without:,} of the charged requests."
    lost = [each for each in found.own if each.without_archive]
    if lost:
        records = sum(each.without_archive for each in lost)
        yield f"Requests of ours that Vonage ended without success have {records:,} records."


def _named(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join([*names[:_MOST_NAMED], *([f"and {more:,} more"] if more > 0 else [])])


def _requests(requests: Sequence[Own]) -> str:
    return "1 request" if len(requests) == 1 else f"{len(requests):,} requests"


def _verdict(found: Comparison) -> Iterator[str]:
    """Yield whether Vonage's records are ours, and the first requests that differ."""
    difference = sum(each.difference for each in found.own)
    yield f"Difference: {difference:,} records in {len(found.different):,} requests."
    for each in found.different[:_MOST_NAMED]:
        ours = "no receipt" if each.own_records is None else f"{each.own_records:,}"
        assert each.own is not None
        yield (
            f"  {each.own.report_id}, request {each.listed.request_id}: Vonage "
            f"{each.listed.records:,}, ours {ours}"
        )
    if found.missing:
        yield f"Vonage does not list {len(found.missing):,} of our requests:"
        for request in found.missing[:_MOST_NAMED]:
            yield f"  {request.report_id}, request {request.request_id}"


def _line(line: Line) -> dict[str, object]:
    return {
        "product": line.product,
        "currency": line.currency or None,
        "requests": line.requests,
        "records": line.records,
        "charged_records": line.charged,
        "cost": _plain(line.cost),
        "requests_without_price": line.without_price,
    }


def _own_line(line: Line) -> dict[str, object]:
    return {
        "definition": line.name,
        **_line(line),
        "records_without_archive": line.without_archive,
        "our_records": line.own_records,
        "difference": line.difference,
    }


def _other_line(line: Line) -> dict[str, object]:
    return {"requester": line.name or None, **_line(line)}


def _total(total: Total) -> dict[str, object]:
    own, others = total.own, total.others
    return {
        "currency": own.currency or None,
        "requests": own.requests,
        "records": own.records,
        "our_records": own.own_records,
        "difference": own.difference,
        "cost": _plain(own.cost),
        "other_requests": others.requests,
        "other_records": others.records,
        "other_cost": _plain(others.cost),
    }


def _difference(pair: Pair) -> dict[str, object]:
    assert pair.own is not None
    return {
        "report_id": pair.own.report_id,
        "request_id": pair.listed.request_id,
        "status": pair.listed.status,
        "records": pair.listed.records,
        "our_records": pair.own_records,
    }


def _missing(own: Own) -> dict[str, object]:
    return {
        "report_id": own.report_id,
        "request_id": own.request_id,
        "sent": None if own.sent is None else format_instant(own.sent),
    }


def _plain(amount: Decimal | None) -> str | None:
    return None if amount is None else plain(amount)
