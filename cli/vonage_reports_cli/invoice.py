"""An invoice as a CSV file, in the form that its sender chose."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from vonage_reports_cli.amounts import BLANKS, amount_of, common, currencies_in, decimal_sign_in
from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.money import EXACT, total
from vonage_reports_cli.names import products_of

FIELDS = ("product", "amount", "country", "currency", "month")
"""The fields of a line. The first two are required."""

_NEEDED = ("product", "amount")
_PRICES = ("price", "cost", "preis", "kosten", "prix", "precio", "coste", "costo", "prezzo")
"""Names of an amount's column that may also mean the price of one unit."""

_HEADERS = {
    "product": (
        "product", "product name", "product type", "service", "service name", "item",
        "description", "produkt", "dienst", "leistung", "beschreibung", "produit", "producto",
        "prodotto", "servicio", "servizio",
    ),
    "amount": (
        "amount", "net amount", "amount net", "line amount", "line total", "total", "total amount",
        "total price", "total cost", "net", "net total", "charge", "charges",
        "betrag", "nettobetrag", "summe", "gesamt", "gesamtbetrag", "gesamtpreis", "montant",
        "prix total", "importe", "importe total", "precio total", "importo", *_PRICES,
    ),
    "country": (
        "country", "country code", "country name", "destination", "destination country", "land",
        "zielland", "pays", "pa\u00eds", "pais", "paese",
    ),
    "currency": (
        "currency", "currency code", "ccy", "w\u00e4hrung", "waehrung", "devise", "moneda",
        "divisa", "valuta",
    ),
    "month": (
        "month", "billing month", "invoice month", "period", "billing period", "monat", "zeitraum",
        "mois", "mes", "mese",
    ),
}  # fmt: skip
"""The names of each field's column in the form of `_heading`, the best first."""

_SUBTOTALS = frozenset(("subtotal", "sub total", "zwischensumme", "sous total"))
_TOTALS = frozenset((
    "total", "grand total", "net total", "total net", "total amount", "invoice total",
    "total invoice", "total due", "total amount due", "amount due", "total excl vat", "sum",
    "summe", "gesamt", "gesamtsumme", "gesamtbetrag", "nettosumme", "montant total", "total ht",
    "importe total", "totale",
))  # fmt: skip
"""The labels of an invoice's own totals in the form of `_heading`. No charge has such a name."""

_DELIMITERS = (",", ";", "\t", "|")
_TABS = ("tab", "\\t", "\t")
_HEADER_LINES = 50
"""A header is among the first lines of a file. Titles and addresses may be above it."""

_MOST_BYTES = 64 * 2**20
_IN_BRACKETS = re.compile(r"[(\[](.*?)[)\]]")
_MONTHS = "january february march april may june july august september october november december"
_MONTH_NAMES = {name: number for number, name in enumerate(_MONTHS.split(), start=1)} | {
    name[:3]: number for number, name in enumerate(_MONTHS.split(), start=1)
}
_MONTHS_OF_A_YEAR = 12


@dataclass(frozen=True)
class InvoiceLine:
    """One line: its number in the file, and its cells. `country` and `currency` may be empty."""

    number: int
    product: str
    country: str
    currency: str
    month: str | None
    amount: Decimal


@dataclass(frozen=True)
class OwnTotal:
    """A total that the invoice states in line `number`.

    `summed` is the sum of the invoice's lines that it is about, or None if they have several
    currencies. `currency` may be empty.
    """

    number: int
    currency: str
    amount: Decimal
    summed: Decimal | None

    @property
    def difference(self) -> Decimal | None:
        """The stated total less the sum of the lines."""
        return None if self.summed is None else EXACT.subtract(self.amount, self.summed)


@dataclass(frozen=True)
class Invoice:
    """The lines of an invoice, its own totals, and notes on how the file was read, as sentences.

    Of several totals of one currency and month, only the last one is in `totals`.
    """

    lines: Sequence[InvoiceLine]
    totals: Sequence[OwnTotal]
    notes: Sequence[str]
    has_countries: bool


@dataclass(frozen=True)
class _TotalLine:
    """A row with a total of the invoice's own."""

    number: int
    currency: str
    month: str | None
    amount: Decimal
    is_of_a_part: bool


@dataclass(frozen=True)
class _Table:
    """The rows of a file, with their line numbers, and the columns of the fields."""

    path: Path
    delimiter: str
    header: Sequence[str]
    columns: Mapping[str, int]
    rows: Sequence[tuple[int, list[str]]]

    def cell(self, row: Sequence[str], field: str) -> str:
        """Return the cell of a field, "" without one."""
        place = self.columns.get(field)
        return row[place].strip(BLANKS) if place is not None and place < len(row) else ""

    def bad(self, number: int, field: str, reason: str) -> BadInput:
        """Return the error about a cell."""
        name = self.header[self.columns[field]]
        return BadInput(f"{self.path}: line {number}, column {name!r}: {reason}")


def read_invoice(
    path: Path,
    *,
    delimiter: str | None = None,
    decimal: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Invoice:
    """Read an invoice.

    `delimiter` and `decimal` are found in the file, if not given. `columns` has the names of the
    columns of some fields; an empty name leaves a field out. Raises BadInput, which names the line
    and the cell.
    """
    given = _delimiter(delimiter)
    if decimal not in (None, ",", "."):
        raise BadInput(f"--decimal is {decimal!r}; use , or .")
    table = _table(path, _text(path), given, columns or {})
    _check_columns(table, columns or {})
    sign = decimal or _decimal_sign(table)
    lines, totals, footers = [], [], []
    ends = _ends(table)
    for number, row in table.rows:
        if number > ends and _is_text_alone(row):
            footers.append(number)
            continue
        line = _line(table, number, row, sign)
        if isinstance(line, InvoiceLine):
            lines.append(line)
        elif line is not None:
            totals.append(line)
    if not lines:
        raise BadInput(f"{path} has no line with an amount")
    return Invoice(
        lines,
        _own_totals(lines, totals),
        [*_notes(table, sign, lines, totals, footers)],
        "country" in table.columns,
    )


def mapping_of(texts: Sequence[str]) -> dict[str, str]:
    """Read `--map FIELD=COLUMN`. Raises BadInput."""
    found = {}
    for text in texts:
        field, equals, column = text.partition("=")
        if not equals or field.strip() not in FIELDS:
            raise BadInput(
                f"--map is {text!r}; use FIELD=COLUMN, such as amount='Total (EUR)'; the fields "
                f"are {', '.join(FIELDS)}"
            )
        found[field.strip()] = column.strip().strip("'\"")
    return found


def _delimiter(text: str | None) -> str | None:
    if text is None:
        return None
    if text in _TABS:
        return "\t"
    if len(text) != 1 or text in '"\r\n':
        raise BadInput(f"--delimiter is {text!r}; use one character, such as ; or tab")
    return text


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()[: _MOST_BYTES + 1]
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise BadInput(f"{path} is larger than 64 MB; an invoice has one line for each product")
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"%PDF")):
        raise BadInput(f"{path} is no CSV file; export the invoice or save the spreadsheet as CSV")
    for encoding in (
        ("utf-16",)
        if content.startswith((b"\xff\xfe", b"\xfe\xff"))
        else (
            "utf-8-sig",
            "cp1252",  # spreadsheets on Windows
        )
    ):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise BadInput(f"{path} is no text in UTF-8, UTF-16 or Windows-1252; save it as CSV in UTF-8")


def _table(path: Path, text: str, given: str | None, columns: Mapping[str, str]) -> _Table:
    """Find the delimiter and the header: the first line that has the columns."""
    found = re.match(r'"?sep=(.)"?\r?\n', text)
    if found and given is None:
        given = found[1]
    tables = []
    problems: list[str] = []
    for delimiter in _DELIMITERS if given is None else (given,):
        try:
            rows = _rows(text, delimiter)
        except csv.Error as error:
            problems.append(f"{path} cannot be read: {error}")
            continue
        for place, (_, row) in enumerate(rows[:_HEADER_LINES]):
            names = _columns(row, columns)
            if all(name in names for name in _NEEDED) and len(row) > 1:
                tables.append(_Table(path, delimiter, row, names, rows[place + 1 :]))
                break
    if tables:
        return max(tables, key=lambda table: len(table.header))
    raise BadInput(_without_header(path, text, given, columns) if not problems else problems[0])


def _rows(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """Return the rows that have a cell, with the numbers of their last lines."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = [(reader.line_num, row) for row in reader]
    return [(number, row) for number, row in rows if any(cell.strip(BLANKS) for cell in row)]


def _columns(row: Sequence[str], given: Mapping[str, str]) -> dict[str, int]:
    """Return the place of each field whose column is in the row."""
    names = [_heading(cell) for cell in row]
    exact = [cell.strip(BLANKS) for cell in row]
    found = {}
    for field in FIELDS:
        if field in given:
            name = given[field]
            if name in exact:
                found[field] = exact.index(name)
            elif name and _heading(name) in names:
                found[field] = names.index(_heading(name))
            continue
        for name in _HEADERS[field]:
            if name in names:
                found[field] = names.index(name)
                break
    return found


def _heading(cell: str) -> str:
    """Return a label in lower case and one line, without brackets, currencies and punctuation."""
    words = re.sub(r"[_:/-]", " ", _IN_BRACKETS.sub(" ", cell)).replace(".", "").split()
    while len(words) > 1 and currencies_in(words[-1]):
        words.pop()
        if len(words) > 1 and words[-1].casefold() == "in":
            words.pop()
    while len(words) > 1 and currencies_in(words[0]):
        words = words[1:]
    return " ".join(words).casefold()


def _currencies_of(label: str) -> tuple[str, ...]:
    """Return the currencies that a label names, as `currencies_in` does, () without any."""
    bare = _IN_BRACKETS.sub(" ", label).replace("_", " ").split()
    inside = " ".join(_IN_BRACKETS.findall(label)).split()
    edges = [bare[0], bare[-1]] if len(bare) > 1 else [each for each in bare if "$" in each]
    found = (currencies_in(each) for each in (*inside, *edges))
    return next(filter(None, found), ())


def _without_header(path: Path, text: str, given: str | None, columns: Mapping[str, str]) -> str:
    """Return the sentence about a file without the columns."""
    rows = [_rows(text, each) for each in ((given,) if given else _DELIMITERS)]
    best = max((each[0] for each in rows if each), key=lambda row: len(row[1]), default=(1, []))
    number, header = best
    if not header:
        return f"{path} is empty"
    there = _columns(header, columns)
    listed = ", ".join(repr(cell.strip(BLANKS)) for cell in header)
    for field, name in columns.items():
        if name and field not in there:
            return f"{path}: line {number} has no column {name!r}; its columns are {listed}"
    missing = [name for name in _NEEDED if name not in there]
    said = " and ".join(missing) or "amount"
    return (
        f"{path}: line {number} has no column for {said}; its columns are {listed}; name the "
        f"column with --map {missing[0] if missing else 'amount'}='...'"
    )


def _check_columns(table: _Table, given: Mapping[str, str]) -> None:
    """Raise BadInput for a given column that is absent, or two columns that one field may mean."""
    for field, name in given.items():
        if name and field not in table.columns:
            listed = ", ".join(repr(cell.strip(BLANKS)) for cell in table.header)
            raise BadInput(f"{table.path} has no column {name!r}; its columns are {listed}")
    names = [_heading(cell) for cell in table.header]
    for field, place in table.columns.items():
        same = [table.header[n] for n, name in enumerate(names) if name == names[place]]
        if len(same) > 1 and field not in given:
            raise BadInput(
                f"{table.path}: {' and '.join(map(repr, same))} may each be the {field}; choose "
                f"one with --map {field}='...'"
            )
    if "amount" not in given:
        _require_one_currency(table)
        if names[table.columns["amount"]] in _PRICES:
            _require_no_other_numbers(table)


def _require_one_currency(table: _Table) -> None:
    """Raise BadInput if the amount is there in two currencies."""
    amount = table.header[table.columns["amount"]]
    for name in table.header:
        if _heading(name) in _HEADERS["amount"] and (
            common(_currencies_of(amount), _currencies_of(name)) is None
        ):
            raise BadInput(
                f"{table.path}: {amount!r} and {name!r} may each be the amount; choose one with "
                "--map amount='...'"
            )


def _require_no_other_numbers(table: _Table) -> None:
    """Raise BadInput if the prices in the amount's column may be those of one unit."""
    others = [
        name
        for place, name in enumerate(table.header)
        if place not in table.columns.values()
        and any(
            place < len(row) and any(amount_of(row[place], decimal) for decimal in ".,")
            for _, row in table.rows
        )
    ]
    if others:
        price = table.header[table.columns["amount"]]
        raise BadInput(
            f"{table.path}: the column {price!r} may be the price of one unit, because there are "
            f"numbers in {' and '.join(map(repr, others))} too; choose the column of the line's "
            "amount with --map amount='...'"
        )


def _decimal_sign(table: _Table) -> str:
    """Find the decimal sign in the amounts. Raises BadInput if they contradict each other."""
    votes: dict[str, tuple[int, str]] = {}
    unclear: tuple[int, str] | None = None
    for number, row in table.rows:
        cell = table.cell(row, "amount")
        sign = decimal_sign_in(cell)
        if sign in (",", "."):
            votes.setdefault(sign, (number, cell))
        elif sign == "?" and unclear is None:
            unclear = (number, cell)
    if len(votes) > 1:
        (first, one), (number, other) = sorted(votes.values())
        raise table.bad(
            number,
            "amount",
            f"{other!r} has another decimal sign than line {first}, {one!r}; correct one of them, "
            "or add --decimal",
        )
    if votes:
        return next(iter(votes))
    if unclear is not None:
        number, cell = unclear
        raise table.bad(
            number,
            "amount",
            f"{cell!r} has thousands or three decimal places; add --decimal . or --decimal ,",
        )
    return "."


def _ends(table: _Table) -> int:
    """Return the number of the last line with an amount, 0 without any."""
    return max((number for number, row in table.rows if table.cell(row, "amount")), default=0)


def _is_text_alone(row: Sequence[str]) -> bool:
    """Tell whether a row has one cell only, and that names no product."""
    cells = [cell for cell in row if cell.strip(BLANKS)]
    return len(cells) == 1 and not products_of(cells[0])


def _line(
    table: _Table, number: int, row: list[str], decimal: str
) -> InvoiceLine | _TotalLine | None:
    """Return a line, or a total of the invoice's own, or None for a line without an amount."""
    if any(cell.strip(BLANKS) for cell in row[len(table.header) :]):
        raise BadInput(
            f"{table.path}: line {number} has {len(row)} cells, and the header has "
            f"{len(table.header)}; put a cell with the delimiter into quotation marks"
        )
    product, cell = table.cell(row, "product"), table.cell(row, "amount")
    label = _label_of_total(table, row)
    if not cell:
        if label or not product:
            return None
        raise table.bad(number, "amount", "empty; write the amount, or remove the line")
    read = amount_of(cell, decimal)
    if read is None:
        raise table.bad(number, "amount", f"{cell!r} is no amount with the decimal sign {decimal}")
    amount, beside = read
    month = _month(table, number, row)
    if label:
        currency = _currency(table, number, row, common(beside, _currencies_of(label)))
        return _TotalLine(number, currency, month, amount, _heading(label) in _SUBTOTALS)
    if not product:
        raise table.bad(number, "product", "empty beside an amount; write the product")
    currency = _currency(table, number, row, beside)
    return InvoiceLine(number, product, table.cell(row, "country"), currency, month, amount)


def _label_of_total(table: _Table, row: Sequence[str]) -> str:
    """Return the label of a total of the invoice's own, or "" for another row.

    A row of a country is a charge, and so is one whose product has more words than a total's name.
    """
    if table.cell(row, "country"):
        return ""
    cells = [cell.strip(BLANKS) for cell in row]
    label = table.cell(row, "product") or next(filter(None, cells), "")
    return label if _heading(label) in _TOTALS | _SUBTOTALS else ""


def _currency(
    table: _Table, number: int, row: Sequence[str], beside: tuple[str, ...] | None
) -> str:
    """Return the currency of a line: its own column's, that beside the amount, or the column's."""
    own = table.cell(row, "currency").upper()
    written = currencies_in(own) if own else ()
    if own and not written:
        raise table.bad(number, "currency", f"{own!r} is no code like EUR")
    agreed: tuple[str, ...] | None = _currencies_of(table.header[table.columns["amount"]])
    for each in (beside, written):
        agreed = None if agreed is None or each is None else common(each, agreed)
    if agreed is None:
        raise table.bad(
            number,
            "amount",
            f"{table.cell(row, 'amount')!r} is in another currency than its line or its column's "
            "name says; correct one of them, or leave a column out, such as with --map currency=",
        )
    return (*agreed, "")[0]


def _month(table: _Table, number: int, row: Sequence[str]) -> str | None:
    text = table.cell(row, "month")
    if not text:
        return None
    iso = re.fullmatch(r"([0-9]{4})[-/.]([0-9]{1,2})([-/.][0-9]{1,2})?", text)
    local = re.fullmatch(r"([0-9]{1,2})[-/.]([0-9]{4})", text)
    day = re.fullmatch(r"([0-9]{1,2})([-/.])([0-9]{1,2})\2([0-9]{4})", text)
    named = re.fullmatch(r"([A-Za-z]+)\.?[ -]+([0-9]{4})", text)
    year, month = "", 0
    if iso:
        year, month = iso[1], int(iso[2])
    elif local:
        year, month = local[2], int(local[1])
    elif day:
        year, month = day[4], _month_of_day(table, number, text, day)
    elif named:
        year, month = named[2], _MONTH_NAMES.get(named[1].lower(), 0)
    if not 1 <= month <= _MONTHS_OF_A_YEAR:
        raise table.bad(
            number, "month", f"{text!r} is no month like 2026-11; --map month= leaves it out"
        )
    return f"{year}-{month:02}"


def _month_of_day(table: _Table, number: int, text: str, day: re.Match[str]) -> int:
    """Return the month of a date with the year at its end. Raises BadInput if two are possible."""
    first, second = int(day[1]), int(day[3])
    # With dots, the day is first everywhere.
    if day[2] == "." or first == second or first > _MONTHS_OF_A_YEAR:
        return second
    if second > _MONTHS_OF_A_YEAR:
        return first
    raise table.bad(
        number,
        "month",
        f"{text!r} may be in {_MONTHS.split()[first - 1].title()} or in "
        f"{_MONTHS.split()[second - 1].title()}; write {day[4]}-{first:02} or "
        f"{day[4]}-{second:02}, or leave the column out with --map month=",
    )


def _own_totals(lines: Sequence[InvoiceLine], totals: Sequence[_TotalLine]) -> list[OwnTotal]:
    """Return the last total of each currency and month, beside the sum of its lines.

    A total of the whole invoice goes before those of its parts.
    """
    last: dict[tuple[str, str | None], _TotalLine] = {}
    for each in sorted(totals, key=lambda each: (not each.is_of_a_part, each.number)):
        last[each.currency, each.month] = each
    return [
        _own_total(each, lines, totals)
        for each in sorted(last.values(), key=lambda each: each.number)
    ]


def _own_total(
    of: _TotalLine, lines: Sequence[InvoiceLine], totals: Sequence[_TotalLine]
) -> OwnTotal:
    """Add up the lines above a total, or all lines if there are none above it.

    A subtotal may also be about the lines since the total above it.
    """
    above = [each for each in lines if each.number < of.number] or lines
    about = [
        each
        for each in above
        if (not of.currency or each.currency in ("", of.currency))
        and (of.month is None or each.month == of.month)
    ]
    currencies = {each.currency for each in about}
    if not of.currency and len(currencies) > 1:
        return OwnTotal(of.number, "", of.amount, None)
    before = max((each.number for each in totals if each.number < of.number), default=0)
    since = [each for each in about if each.number > before]
    summed, of_part = (total(each.amount for each in found) for found in (about, since))
    if of.is_of_a_part and of_part == of.amount:
        summed = of_part
    return OwnTotal(of.number, of.currency or "".join(currencies), of.amount, summed)


def _notes(
    table: _Table,
    decimal: str,
    lines: Sequence[InvoiceLine],
    totals: Sequence[_TotalLine],
    footers: Sequence[int],
) -> Iterator[str]:
    delimiter = "tabs" if table.delimiter == "\t" else table.delimiter
    noun = "line" if len(lines) == 1 else "lines"
    yield (
        f"Read {len(lines):,} {noun}; delimiter {delimiter} and decimal sign {decimal}; amount "
        f"from the column {table.header[table.columns['amount']]!r}."
    )
    for numbers, text in (
        ([each.number for each in totals], "Totals are no charges"),
        (footers, "Text below the charges is left out"),
    ):
        if numbers:
            yield f"{text}: line {', '.join(map(str, numbers))}."
