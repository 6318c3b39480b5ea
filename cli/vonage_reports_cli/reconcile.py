"""The lines of an invoice beside the records of its month."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from vonage_dataset.tables import TABLES
from vonage_reports.domain.products import OWN_REPORTS
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
    """The words of the invoice that match no product or country, as phrases."""

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

    @property
    def is_unmatched(self) -> bool:
        """Tell whether an amount of one side has no counterpart, or a word is unknown."""
        is_alone = self.difference != 0 and not (self.groups and self.invoiced_lines)
        return bool(self.unknown) or is_alone

    @property
    def is_rounding(self) -> bool:
        """Tell whether the invoice's rounding of its lines explains the whole difference."""
        if not (self.groups and self.invoiced_lines):
            return False
        most = total(_most_of_rounding(each.amount, self.currency) for each in self.invoiced_lines)
        return 0 < abs(self.difference) <= most

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
        if self.is_rounding:
            found.append("the rounding of the invoice's lines")
        return found


@dataclass(frozen=True)
class Sum:
    """All lines of one currency. `rounding` is what rounding explains of the difference."""

    currency: str
    ours: Decimal
    invoiced: Decimal
    rounding: Decimal

    @property
    def difference(self) -> Decimal:
        """The invoice's sum less ours."""
        return EXACT.subtract(self.invoiced, self.ours)

    @property
    def unexplained(self) -> Decimal:
        """The difference without the lines whose rounding explains theirs."""
        return EXACT.subtract(self.difference, self.rounding)


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
    others = [each.month for each in invoice.lines if each.month not in (None, month)]
    named = ", ".join(sorted({each for each in others if each}))
    note = f"Lines of other months are not compared: {len(others):,} ({named})." if others else None
    return lines, note


def of_usage(
    lines: Sequence[InvoiceLine], renamed: Mapping[str, str]
) -> tuple[list[InvoiceLine], str | None]:
    """Leave out the price of your own reports, and return a note on it."""
    usage = [each for each in lines if _meant(each, renamed, ()) != OWN_REPORTS]
    number = len(lines) - len(usage)
    noun = "line" if number == 1 else "lines"
    note = f"Left out: {number:,} {noun} on your own reports, which `cost` compares."
    return usage, note if number else None


def _meant(line: InvoiceLine, renamed: Mapping[str, str], ours: Collection[str]) -> str | None:
    """Return the product that an invoice's line means, or None."""
    return renamed.get(_folded(line.product)) or product_of(line.product, ours)


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

    def key_of(product: str, country: str) -> tuple[str, ...]:
        return tuple({"product": product, "country": country}[name] for name in by)

    def comparison(key: tuple[str, ...], of: str) -> Comparison:
        return found.setdefault((key, of), Comparison(key, of))

    ours = {group.product for group in groups if group.with_price}
    for group in groups:
        if group.currency:
            comparison(key_of(*_place(group)), group.currency.upper()).groups.append(group)
    for line in lines:
        matched = _meant(line, renamed, ours)
        place = country_of(line.country) if line.country else ""
        key = key_of(matched or line.product, line.country if place is None else place)
        at = comparison(key, line.currency or currency)
        at.invoiced_lines.append(line)
        if matched is None:
            at.unknown.append(f"unknown product word {line.product!r} (--product names it)")
        if place is None and "country" in by:
            at.unknown.append(f"unknown country {line.country!r}")
    for group in groups:
        if not group.currency:
            _explain(group, key_of(*_place(group)), found.values())
    return sorted(found.values(), key=lambda each: (-abs(each.difference), each.key, each.currency))


def _place(group: Group) -> tuple[str, str]:
    """Return the product and the country of a group's line."""
    country = str(group.key[1] or "")
    return group.product, (country_of(country) if country else None) or country


def _explain(group: Group, key: tuple[str, ...], comparisons: Iterable[Comparison]) -> None:
    """Add records without a currency, and so without a price, to the line that lacks them."""
    of_key = next((each for each in comparisons if each.key == key), None)
    if of_key is not None:
        of_key.groups.append(group)


def without_currency(groups: Iterable[Group]) -> str | None:
    """Return a sentence about the records that have no price and no currency, None without any."""
    found = [each for each in groups if not each.currency]
    if not found:
        return None
    products = ", ".join(dict.fromkeys(each.product for each in found))
    records = sum(each.records for each in found)
    noun = "record counts" if records == 1 else "records count"
    return f"Without a price and a currency, {records:,} {noun} as 0 ({products})."


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
            total(each.difference for each in found if each.is_rounding),
        )
        for currency, found in sorted(by_currency.items())
    ]


def _most_of_rounding(amount: Decimal, currency: str) -> Decimal:
    """Return the most that rounding can have changed in an amount: half of its last digit."""
    digits = max(digits_of(currency), -int(amount.as_tuple().exponent))
    return Decimal(5).scaleb(-digits - 1)


def shown(amount: Decimal | None, currency: str) -> str:
    """Return an amount with every digit, and "-" for a missing one."""
    return "-" if amount is None else padded(amount, currency)


def _folded(word: str) -> str:
    return " ".join(word.casefold().split())
