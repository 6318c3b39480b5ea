"""`bill`: what to charge for the records of a period."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from vonage_reports.domain.printable import printable
from vonage_reports_cli.bill import (
    UNPRICED,
    Group,
    Line,
    Total,
    cautions_of,
    joined,
    keys_of,
    lines_of,
    read_groups,
    read_outside,
    require_currency,
    totals_of,
    unpriced_of,
)
from vonage_reports_cli.completeness import Completeness
from vonage_reports_cli.errors import Exit
from vonage_reports_cli.files import file_to_write
from vonage_reports_cli.finance import (
    checked_completeness,
    facts_of,
    made_at,
    require_real,
    require_unchanged,
)
from vonage_reports_cli.money import (
    checked_currency,
    grouped,
    mark_up_of,
    plain,
    rounding_of,
    shortened,
)
from vonage_reports_cli.period import Period, period_of
from vonage_reports_cli.rows import json_value, split_common, write_csv, written
from vonage_reports_cli.rows import lines_of as printed
from vonage_reports_cli.session import Session, verb
from vonage_reports_cli.sql.dataset import open_dataset, source_of

_BY = "account,product,country"
_HELP = """Add up what to charge for a month, in lines, with a mark-up.

Each line is rounded to its currency's digits, and the total is the sum of the rounded lines. Days
and months are UTC. The records of your own reports (REPORTS-USAGE) are no part of a bill.

If a window of the period is not delivered and final, there is no bill: the windows are listed with
their flaws, and the exit code is 1. With --incomplete, both are printed, and the exit code is 0.
"""


@verb(help=_HELP)
@click.option("--month", metavar="MONTH", help="The month, like 2026-11.")
@click.option("--from", "since", metavar="DATE", help="The first day, instead of --month.")
@click.option("--until", metavar="DATE", help="The first day after the period.")
@click.option(
    "--by",
    default=_BY,
    show_default=True,
    metavar="KEYS",
    help="The keys of a line: account, client_ref, product, country, day.",
)
@click.option("--mark-up", metavar="PERCENT", help="Add a percentage, like 15%.")
@click.option("--large-mark-up", is_flag=True, help="Accept a mark-up above 100 %.")
@click.option("--currency", metavar="CODE", help="The currency of records without one.")
@click.option(
    "--round", "rounding", metavar="PLACES", help="Decimal places of a line, or none: exact lines."
)
@click.option("--incomplete", is_flag=True, help="Bill the period although windows are not final.")
@click.option("--simulated", is_flag=True, help="Accept simulated records, for a trial.")
@click.option("--csv", "target", metavar="FILE", help="Write the lines to a file, not the screen.")
def bill(
    session: Session,
    *,
    month: str | None,
    since: str | None,
    until: str | None,
    by: str,
    mark_up: str | None,
    large_mark_up: bool,
    currency: str | None,
    rounding: str | None,
    incomplete: bool,
    simulated: bool,
    target: str | None,
) -> Exit:
    """Print the bill, or write it as CSV, after the check of completeness."""
    period = period_of(month, since, until)
    keys = keys_of(by)
    fraction = mark_up_of(mark_up, is_confirmed=large_mark_up)
    places = rounding_of(rounding)
    path = None if target is None else file_to_write("--csv", target)
    of_others = checked_currency(currency)
    require_real(session, accepts_simulated=simulated)
    session.screen.say(session.target.source)
    completeness, goes_on = checked_completeness(session, period, accepts_incomplete=incomplete)
    answer = _Answer(session, period, keys, fraction, completeness)
    if not goes_on:
        answer.refuse()
        return Exit.ATTENTION
    source = source_of(session, period)
    require_unchanged(completeness, source.datasets())
    with open_dataset(source, with_manifests=False) as connection:
        found = read_groups(connection, period, keys, currency=of_others)
        outside = read_outside(connection, period, source.datasets())
    groups = [each for each in found if each.product not in UNPRICED]
    require_currency(groups)
    by_line = joined(_with_currency(groups), lambda each: (each.key, each.currency))
    lines = list(lines_of(by_line, mark_up=fraction, rounding=places))
    answer.show(lines, [*cautions_of(groups), *unpriced_of(found), *outside], path)
    return Exit.DONE


def _with_currency(groups: Sequence[Group]) -> Iterator[Group]:
    """Give records without a price and a currency that of their line, or else the bill's only one.

    Leave them out if there are several. They cost nothing, and the cautions count them.
    """
    of_all = {each.currency for each in groups} - {None}
    of_key: dict[object, set[str | None]] = defaultdict(set)
    for group in groups:
        of_key[group.key].add(group.currency)
    for group in groups:
        of_line = of_key[group.key] - {None}
        found = of_line if len(of_line) == 1 else of_all
        if group.currency is not None:
            yield group
        elif len(found) == 1:
            yield replace(group, currency=next(iter(found)))


@dataclass(frozen=True)
class _Answer:
    """Shows a bill: on the screen, as a CSV file or as JSON."""

    session: Session
    period: Period
    keys: Sequence[str]
    mark_up: Decimal
    completeness: Completeness

    def refuse(self) -> None:
        """Show that there is no bill."""
        if self.session.as_json:
            self.session.screen.document(
                {**self._facts(), "lines": None, "totals": None, "cautions": []}
            )

    def show(
        self,
        lines: Sequence[Line],
        cautions: Sequence[str],
        target: Path | None,
    ) -> None:
        """Show the lines, or write them to the file `target`, and the totals."""
        screen = self.session.screen
        totals = totals_of(lines)
        if screen.as_json:
            screen.document(
                {
                    **self._facts(),
                    "lines": [self._line(each) for each in lines],
                    "totals": [_total(each) for each in totals],
                    "cautions": list(cautions),
                }
            )
        else:
            percent = f", mark-up {plain(self.mark_up * 100)} %" if self.mark_up else ""
            screen.say(f"Bill of {self.period.label}{percent}")
        if target is not None:
            self._write(target, lines, totals, list(cautions))
        elif lines:
            self._table(lines)
        for each in totals:
            of = f" {each.currency}" if each.currency else ""
            noun = "record" if each.records == 1 else "records"
            screen.say(
                f"Total {grouped(each.amount)}{of} for {each.records:,} {noun}; exact "
                f"{grouped(shortened(each.exact))}, difference {plain(each.difference)}"
            )
        if not lines:
            screen.say("No record has a price." if cautions else "No records.")
        screen.say(*map(printable, cautions))
        if not self.completeness.is_complete:
            screen.say(*map(printable, self.completeness.lines()))

    def _facts(self) -> dict[str, object]:
        return {
            **facts_of(self.session, self.period, self.completeness),
            "by": list(self.keys),
            "mark_up": plain(self.mark_up),
        }

    def _line(self, line: Line) -> dict[str, object]:
        keys = zip(self.keys, line.group.key, strict=True)
        cells = (*keys, *zip(_COLUMNS, _cells(line), strict=True))
        return {name: json_value(value) for name, value in cells}

    def _table(self, lines: Sequence[Line]) -> None:
        columns = [*self.keys, "currency", "records", "amount"]
        rows = [
            [*each.group.key, each.group.currency, f"{each.group.records:,}", grouped(each.amount)]
            for each in lines
        ]
        of = [*self.keys, "currency"]
        common, columns, cells = split_common(columns, rows, of=of)
        screen = self.session.screen
        if common:
            said = ", ".join(f"{name} {value or '(none)'}" for name, value in common.items())
            screen.say(printable(f"In every line: {said}"))
        screen.say(*printed(columns, cells, right=("records", "amount")))

    def _write(
        self,
        path: Path,
        lines: Sequence[Line],
        totals: Sequence[Total],
        cautions: Sequence[str],
    ) -> None:
        target = self.session.target
        rows = [[*each.group.key, *_cells(each), target.label] for each in lines]
        facts: Mapping[str, Any] = {
            **self._facts(),
            **made_at(),
            "totals": [_total(each) for each in totals],
            "cautions": list(cautions),
        }
        write_csv(path, [*self.keys, *_COLUMNS, "source"], rows, facts)
        self.session.screen.say(written(path, len(rows)))


_COLUMNS = (
    *("currency", "records", "seconds", "cost", "exact", "amount", "records_without_price"),
    *("records_with_rescued_price", "records_without_time", "preliminary_records"),
)
"""The columns of a CSV file and the fields of JSON, after the keys."""


def _cells(line: Line) -> tuple[object, ...]:
    """Return the values of _COLUMNS."""
    group = line.group
    return (
        *(group.currency, group.records, group.seconds, group.cost, line.exact, line.amount),
        *(group.without_price, group.with_rescued_price, group.without_time, group.preliminary),
    )


def _total(total: Total) -> dict[str, object]:
    return {
        "currency": total.currency,
        "records": total.records,
        "amount": plain(total.amount),
        "exact": plain(total.exact),
        "difference": plain(total.difference),
    }
