"""`reconcile`: an invoice of Vonage beside the delivered records."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import click

from vonage_reports.domain.printable import printable
from vonage_reports_cli.bill import UNPRICED, read_groups, read_outside, require_currency
from vonage_reports_cli.completeness import Completeness
from vonage_reports_cli.errors import Exit
from vonage_reports_cli.finance import (
    checked_completeness,
    facts_of,
    made_at,
    require_real,
    require_unchanged,
)
from vonage_reports_cli.invoice import OwnTotal, mapping_of, read_invoice
from vonage_reports_cli.money import checked_currency, padded, plain
from vonage_reports_cli.period import Period, month_of
from vonage_reports_cli.reconcile import (
    Comparison,
    Sum,
    compare,
    currency_of_invoice,
    keys_of,
    of_month,
    of_usage,
    renamed_of,
    shown,
    sums_of,
    tolerance_of,
    without_currency,
)
from vonage_reports_cli.rows import lines_of, split_common, target_of, write_csv, written
from vonage_reports_cli.session import Session, verb
from vonage_reports_cli.sql.dataset import open_dataset, source_of

_HELP = """Compare an invoice of Vonage, a CSV file, with the delivered records of its month.

The delimiter, the decimal sign and the columns are found in the file. Products are matched in any
case, countries by name or code. The largest difference comes first.

The exit code is 1 if a difference is larger than the tolerance: of a line, of the sum of a currency
without what the rounding of lines explains, or between the invoice's own total and its lines.

If a window of the month is missing, failed, held, preliminary or not due, nothing is compared: the
windows are listed, and the exit code is 1. --incomplete goes on.
"""


@verb(help=_HELP)
@click.argument("invoice", metavar="INVOICE.csv")
@click.option("--month", required=True, metavar="MONTH", help="The month, like 2026-11.")
@click.option(
    "--by", default="product,country", show_default=True, metavar="KEYS", help="Or: product."
)
@click.option(
    "--tolerance",
    default="0.01",
    show_default=True,
    metavar="AMOUNT",
    help="The most that a line or sum may differ.",
)
@click.option("--delimiter", metavar="CHAR", help="The delimiter of cells, such as ; or tab.")
@click.option("--decimal", metavar="SIGN", help="The decimal sign of amounts: , or .")
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="FIELD=COLUMN",
    help="The column of product, amount, country, currency or month; amount='Total (EUR)'.",
)
@click.option(
    "--product",
    "products",
    multiple=True,
    metavar="WORD=PRODUCT",
    help="The product that a word of the invoice means.",
)
@click.option("--currency", metavar="CODE", help="The currency of lines and records without one.")
@click.option("--incomplete", is_flag=True, help="Compare although windows are not final.")
@click.option("--simulated", is_flag=True, help="Accept simulated records, for a trial.")
@click.option("--csv", "target", metavar="FILE", help="Write the lines to a file, not the screen.")
def reconcile(
    session: Session,
    invoice: str,
    *,
    month: str,
    by: str,
    tolerance: str,
    delimiter: str | None,
    decimal: str | None,
    mapping: tuple[str, ...],
    products: tuple[str, ...],
    currency: str | None,
    incomplete: bool,
    simulated: bool,
    target: str | None,
) -> Exit:
    """Print each difference, or write them as CSV, after the check of completeness."""
    period, keys, most = month_of(month), keys_of(by), tolerance_of(tolerance)
    given, renamed = checked_currency(currency), renamed_of(products)
    read = read_invoice(
        Path(invoice), delimiter=delimiter, decimal=decimal, columns=mapping_of(mapping)
    )
    path = None if target is None else target_of(target, inputs=[Path(invoice)])
    all_lines, of_others = of_month(read, month)
    lines, of_reports = of_usage(all_lines, renamed)
    require_real(session, accepts_simulated=simulated)
    notes = [*read.notes, *filter(None, [of_others, of_reports])]
    if "country" in keys and not read.has_countries:
        keys = ["product"]
        notes.append("The invoice has no column for the country: compared by product.")
    session.screen.say(session.target.source)
    completeness, goes_on = checked_completeness(session, period, accepts_incomplete=incomplete)
    answer = _Answer(session, period, keys, most, completeness)
    if not goes_on:
        return answer.refuse()
    source = source_of(session, period)
    require_unchanged(completeness, source.datasets())
    with open_dataset(source, with_manifests=False) as connection:
        found = read_groups(connection, period, ["product", "country"], currency=given)
        outside = read_outside(connection, period, source.datasets())
    groups = [each for each in found if each.product not in UNPRICED]
    require_currency(groups)
    of_invoice = currency_of_invoice(lines, groups, given)
    comparisons = compare(groups, lines, by=keys, currency=of_invoice, renamed=renamed)
    without = without_currency(groups)
    totals = [replace(each, currency=each.currency or of_invoice) for each in read.totals]
    notes += [*([without] if without else []), *outside]
    return answer.show(comparisons, totals, notes, path)


@dataclass(frozen=True)
class _Answer:
    """Shows a comparison: on the screen, as a CSV file or as JSON."""

    session: Session
    period: Period
    keys: Sequence[str]
    tolerance: Decimal
    completeness: Completeness

    def refuse(self) -> Exit:
        """Show that nothing is compared."""
        if self.session.as_json:
            self.session.screen.document(
                {
                    **self._facts(),
                    "lines": None,
                    "totals": None,
                    "invoice_totals": None,
                    "beyond": None,
                    "notes": [],
                }
            )
        return Exit.ATTENTION

    def show(
        self,
        comparisons: Sequence[Comparison],
        own: Sequence[OwnTotal],
        notes: Sequence[str],
        path: Path | None,
    ) -> Exit:
        """Show the lines, or write them to the file `path`, the totals and the invoice's own."""
        screen = self.session.screen
        beyond = [each for each in comparisons if self._is_beyond(each.difference)]
        totals = sums_of(comparisons)
        if screen.as_json:
            screen.document(
                {
                    **self._facts(),
                    "lines": [self._line(each) for each in comparisons],
                    **self._totals(totals, own),
                    "beyond": len(beyond),
                    "notes": list(notes),
                }
            )
        screen.note(*map(printable, notes))
        if path is not None:
            self._write(path, comparisons, self._totals(totals, own), notes)
        else:
            self._table(comparisons)
        for each in totals:
            screen.say(
                f"Total {each.currency}: invoice {padded(each.invoiced, each.currency)}, our total "
                f"{padded(each.ours, each.currency)}, difference "
                f"{padded(each.difference, each.currency)}"
            )
        screen.say(*(printable(_own_in_words(each)) for each in own))
        self._causes([each for each in comparisons if each in beyond or each.is_unmatched])
        screen.say(*self._verdict(comparisons, beyond, totals, own))
        if not self.completeness.is_complete:
            screen.say(*map(printable, self.completeness.lines()))
        is_equal = not beyond and not any(
            map(self._is_beyond, (*(each.unexplained for each in totals), *_differences(own)))
        )
        return Exit.DONE if is_equal else Exit.ATTENTION

    def _verdict(
        self,
        comparisons: Sequence[Comparison],
        beyond: Sequence[Comparison],
        totals: Sequence[Sum],
        own: Sequence[OwnTotal],
    ) -> Iterator[str]:
        """Yield a sentence on the lines, and one on each sum and own total that differs."""
        more = f"by more than {plain(self.tolerance)}"
        of = "line differs" if len(comparisons) == 1 else "lines differ"
        yield f"{len(beyond):,} of {len(comparisons):,} {of} {more}."
        for each in totals:
            if self._is_beyond(each.unexplained):
                besides = ", besides the rounding of lines" if each.rounding else ""
                yield f"The sum of {each.currency} differs {more}{besides}."
        for total, difference in zip(own, _differences(own), strict=True):
            if difference is None:
                yield (
                    f"The invoice's total in line {total.number} names none of the lines' "
                    "currencies, so it is not compared; write the currency beside it."
                )
            elif self._is_beyond(difference):
                yield f"The invoice's total in line {total.number} differs from its lines {more}."

    def _is_beyond(self, difference: Decimal | None) -> bool:
        """Tell whether a difference is larger than the tolerance, or unknown."""
        return difference is None or abs(difference) > self.tolerance

    def _totals(self, totals: Sequence[Sum], own: Sequence[OwnTotal]) -> dict[str, object]:
        """Return the totals and the invoice's own, for JSON."""
        return {
            "totals": [
                {
                    "currency": each.currency,
                    "invoiced": plain(each.invoiced),
                    "ours": plain(each.ours),
                    "difference": plain(each.difference),
                    "rounding": plain(each.rounding),
                    "is_beyond": self._is_beyond(each.unexplained),
                }
                for each in totals
            ],
            "invoice_totals": [
                {
                    "line": each.number,
                    "currency": each.currency,
                    "amount": plain(each.amount),
                    "lines": None if each.summed is None else plain(each.summed),
                    "difference": None if each.difference is None else plain(each.difference),
                    "is_beyond": self._is_beyond(each.difference),
                }
                for each in own
            ],
        }

    def _facts(self) -> dict[str, object]:
        return {
            **facts_of(self.session, self.period, self.completeness),
            "by": list(self.keys),
            "tolerance": plain(self.tolerance),
        }

    def _line(self, comparison: Comparison) -> dict[str, object]:
        is_beyond = self._is_beyond(comparison.difference)
        return {
            **dict(zip(self.keys, comparison.key, strict=True)),
            "currency": comparison.currency,
            "invoiced": None if comparison.invoiced is None else plain(comparison.invoiced),
            "ours": None if comparison.ours is None else plain(comparison.ours),
            "difference": plain(comparison.difference),
            "is_beyond": is_beyond,
            "records": comparison.count("records"),
            "records_without_price": comparison.count("without_price"),
            "records_without_time": comparison.count("without_time"),
            "preliminary_records": comparison.count("preliminary"),
            "invoice_lines": [each.number for each in comparison.invoiced_lines],
            "causes": comparison.causes() if is_beyond or comparison.is_unmatched else [],
        }

    def _table(self, comparisons: Sequence[Comparison]) -> None:
        columns = [*self.keys, "currency", *_AMOUNTS]
        rows = [
            [*each.key, each.currency, *(shown(amount, each.currency) for amount in _amounts(each))]
            for each in comparisons
        ]  # fmt: skip
        common, columns, cells = split_common(columns, rows, of=[*self.keys, "currency"])
        screen = self.session.screen
        if common:
            said = ", ".join(f"{name} {value or '(none)'}" for name, value in common.items())
            screen.say(printable(f"In every line: {said}"))
        screen.say(*lines_of(columns, cells, right=_AMOUNTS))

    def _causes(self, named: Sequence[Comparison]) -> None:
        explained = [(each, each.causes()) for each in named]
        if any(causes for _, causes in explained):
            self.session.screen.say("Possible causes:")
        for each, causes in explained:
            if causes:
                name = " ".join(filter(None, (*each.key, each.currency)))
                self.session.screen.say(printable(f"  {name}: {'; '.join(causes)}"))

    def _write(
        self,
        path: Path,
        comparisons: Sequence[Comparison],
        totals: Mapping[str, object],
        notes: Sequence[str],
    ) -> None:
        label = self.session.target.label
        lines = [self._line(each) for each in comparisons]
        columns = [*self.keys, *_COLUMNS, "source"]
        rows = [
            [
                *(line[name] for name in (*self.keys, *_COLUMNS[:-2])),
                " ".join(map(str, (one.number for one in each.invoiced_lines))),
                "; ".join(each.causes()) if line["causes"] else "",
                label,
            ]
            for each, line in zip(comparisons, lines, strict=True)
        ]
        facts = {**self._facts(), **made_at(), **totals, "notes": list(notes)}
        write_csv(path, columns, rows, facts)
        self.session.screen.say(written(path, len(rows)))


_AMOUNTS = ("invoice", "our total", "difference")
"""The columns of a table with amounts."""


def _amounts(comparison: Comparison) -> tuple[Decimal | None, ...]:
    """Return the values of _AMOUNTS."""
    return (comparison.invoiced, comparison.ours, comparison.difference)


_COLUMNS = (
    *("currency", "invoiced", "ours", "difference", "is_beyond", "records"),
    *("records_without_price", "records_without_time", "preliminary_records"),
    *("invoice_lines", "causes"),
)
"""The columns of a CSV file after the keys."""


def _differences(own: Sequence[OwnTotal]) -> list[Decimal | None]:
    return [each.difference for each in own]


def _own_in_words(own: OwnTotal) -> str:
    """Return the line about a total of the invoice's own."""
    of = f" {own.currency}" if own.currency else ""
    said = f"The invoice's own total{of} (line {own.number}): {padded(own.amount, own.currency)}"
    if own.summed is None or own.difference is None:
        return said
    return (
        f"{said}, its lines {padded(own.summed, own.currency)}, difference "
        f"{padded(own.difference, own.currency)}"
    )
