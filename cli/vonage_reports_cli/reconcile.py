"""The lines of an invoice beside the records of its month."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from vonage_dataset.tables import TABLES
from vonage_reports_cli.bill import Group
from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.invoice import Invoice, InvoiceLine
from vonage_reports_cli.money import EXACT, digits_of, padded, total
from vonage_reports_cli.names import country_of, product_of

KEYS = ("product", "country")


@dataclass
class Comparison:
    """The records and the invoice's lines of one key and currency."""

    key: tuple[str, ...]
    currency: str
    groups: list[Group] = field(default_factory=list)
    invoiced_lines: list[InvoiceLine] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """What of the invoice's lines matches nothing that we know, as phrases."""

    @property
    def ours(self) -> Decimal | None:
        """The exact sum of our records, or None without any."""
        return total(each.cost for each in self.groups) if self.groups else None

    @property
    def invoiced(self) -> Decimal | None:
        """The sum of the invoice's lines, or None without any."""
        lines = self.invoiced_lines
        return total(each.amount for each in lines) if lines else None

    @property
    def difference(self) -> Decimal:
        """The invoice's sum less ours; a missing one counts as 0."""
        return EXACT.subtract(self.invoiced or Decimal(0), self.ours or Decimal(0))

    def count(self, name: str) -> int:
        """Add up one of the counts of the groups."""
        return sum(getattr(each, name) for each in self.groups)

    def causes(self) -> list[str]:
        """Return the possible causes of a difference, as phrases."""
        found = [*dict.fromkeys(self.unknown)]
        if not self.groups and not self.unknown:
            found.append("no records: is a definition missing?")
        if not self.invoiced_lines and self.groups:
            found.append("not on the invoice")
        for name, text in (
            ("without_price", "without a price or a part of it"),
            ("without_time", "without a readable time"),
            ("preliminary", "with preliminary prices"),
        ):
            count = self.count(name)
            if count:
                found.append(f"{count:,} of {self.count('records'):,} records {text}")
        half = Decimal(5).scaleb(-digits_of(self.currency) - 1)
        if self.groups and 0 < abs(self.difference) <= half * len(self.invoiced_lines):
            found.append("the rounding of the invoice's lines")
        return found


@dataclass(frozen=True)
class Sum:
    """All lines of one currency."""

    currency: str
    ours: Decimal
    invoiced: Decimal

    @property
    def difference(self) -> Decimal:
        """The invoice's sum less ours."""
        return EXACT.subtract(self.invoiced, self.ours)


def keys_of(text: str) -> list[str]:
    """Read the keys of `--by`. Raises BadInput."""
    keys = [each.strip() for each in text.split(",")]
    for key in keys:
        if key not in KEYS:
            raise BadInput(f"--by has {key!r}; use product, or product,country")
    return [key for key in KEYS if key in keys]


def renamed_of(texts: Sequence[str]) -> dict[str, str]:
    """Read `--product WORD=PRODUCT`. Raises BadInput."""
    found = {}
    for text in texts:
        word, _, product = text.rpartition("=")
        if not word or product.strip().upper() not in TABLES:
            raise BadInput(
                f"--product is {text!r}; use WORD=PRODUCT, such as 'Two-factor'=VERIFY-V2; the "
                f"products are {', '.join(TABLES)}"
            )
        found[_folded(word)] = product.strip().upper()
    return found


def tolerance_of(text: str) -> Decimal:
    """Read `--tolerance`. Raises BadInput."""
    is_number = text.replace(".", "", 1).isdigit() and text.isascii()
    if not is_number:
        raise BadInput(f"--tolerance is {text!r}; use an amount like 0.01")
    return Decimal(text)


def of_month(invoice: Invoice, month: str) -> tuple[list[InvoiceLine], str | None]:
    """Return the lines of a month, and a note on the others. Raises BadInput without any line."""
    lines = [each for each in invoice.lines if each.month in (None, month)]
    if not lines:
        months = sorted({each.month for each in invoice.lines if each.month})
        raise BadInput(f"no line of the invoice is of {month}; it has {', '.join(months)}")
    others = len(invoice.lines) - len(lines)
    return lines, f"Lines of other months are not compared: {others:,}." if others else None


def currency_of_invoice(
    lines: Iterable[InvoiceLine], groups: Iterable[Group], given: str | None
) -> str:
    """Return the currency of the lines that name none.

    It is the `given` one, or the only one of our records. Raises BadInput if there are several.
    """
    if given is not None or all(each.currency for each in lines):
        return given or ""
    ours = sorted({each.currency for each in groups if each.currency and each.with_price})
    if len(ours) != 1:
        listed = ", ".join(ours) or "none"
        raise BadInput(
            f"the invoice names no currency, and the records' currencies are {listed}; add "
            "--currency"
        )
    return ours[0]


def compare(
    groups: Sequence[Group],
    lines: Sequence[InvoiceLine],
    *,
    by: Sequence[str],
    currency: str,
    renamed: Mapping[str, str],
) -> list[Comparison]:
    """Match groups, whose keys are product and country, with the lines of an invoice.

    Return the largest difference first. `currency` is that of lines without one, and `renamed` has
    the products of words, as `renamed_of` returns them.
    """
    found: dict[tuple[tuple[str, ...], str], Comparison] = {}

    def comparison(product: str, country: str, of: str) -> Comparison:
        key = tuple({"product": product, "country": country}[name] for name in by)
        return found.setdefault((key, of), Comparison(key, of))

    ours = {group.product for group in groups if group.with_price}
    for group in groups:
        country = str(group.key[1] or "")
        place = country_of(country) if country else ""
        # The records of one group may lack a price and so a currency. They are no other line.
        comparison(group.product, place or country, group.currency or currency).groups.append(group)
    for line in lines:
        matched = renamed.get(_folded(line.product)) or product_of(line.product, ours)
        place = country_of(line.country) if line.country else ""
        at = comparison(
            matched or line.product, line.country if place is None else place,
            line.currency or currency,
        )  # fmt: skip
        at.invoiced_lines.append(line)
        if matched is None:
            at.unknown.append(f"unknown product word {line.product!r} (--product names it)")
        if place is None and "country" in by:
            at.unknown.append(f"unknown country {line.country!r}")
    return sorted(found.values(), key=lambda each: (-abs(each.difference), each.key, each.currency))


def sums_of(comparisons: Sequence[Comparison]) -> list[Sum]:
    """Add up the comparisons of each currency."""
    by_currency: dict[str, list[Comparison]] = defaultdict(list)
    for each in comparisons:
        by_currency[each.currency].append(each)
    return [
        Sum(
            currency,
            total(each.ours or Decimal(0) for each in found),
            total(each.invoiced or Decimal(0) for each in found),
        )
        for currency, found in sorted(by_currency.items())
    ]


def shown(amount: Decimal | None, currency: str) -> str:
    """Return an amount with every digit, and "-" for a missing one."""
    return "-" if amount is None else padded(amount, currency)


def _folded(word: str) -> str:
    return " ".join(word.casefold().split())
