"""An invoice as a CSV file, in the form that its sender chose."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pycountry

from vonage_reports_cli.errors import BadInput

FIELDS = ("product", "amount", "country", "currency", "month")
"""The fields of a line. The first two are required."""

_NEEDED = ("product", "amount")
_HEADERS = {
    "product": (
        "product", "product name", "product type", "service", "service name", "item",
        "description", "produkt", "dienst", "leistung", "beschreibung",
    ),
    "amount": (
        "amount", "net amount", "amount net", "line amount", "line total", "total", "total amount",
        "total price", "total cost", "net", "net total", "cost", "charge", "charges", "price",
        "betrag", "nettobetrag", "summe", "gesamt", "gesamtbetrag", "montant", "importe",
    ),
    "country": (
        "country", "country code", "country name", "destination", "destination country", "land",
        "zielland", "pays",
    ),
    "currency": ("currency", "currency code", "ccy", "währung", "waehrung", "devise", "moneda"),
    "month": (
        "month", "billing month", "invoice month", "period", "billing period", "monat", "zeitraum",
    ),
}  # fmt: skip
"""The names of each field's column in the form of `_header`, the best first."""

_DELIMITERS = (",", ";", "\t", "|")
_TABS = ("tab", "\\t", "\t")
_HEADER_LINES = 50
"""A header is among the first lines of a file. Titles and addresses may be above it."""

_MOST_BYTES = 64 * 2**20
_SIGNS = {"US$": "USD", "€": "EUR", "£": "GBP", "$": "USD", "¥": "JPY", "₹": "INR"}
_BLANKS = " \u00a0\u2009\u202f\t"
_THOUSANDS = "'\u2019" + _BLANKS
_MINUS = str.maketrans({"\u2212": "-", "\u2013": "-"})
_CODE = re.compile(r"\b[A-Z]{3}\b")
_CODE_OF_A_COLUMN = re.compile(r"[(\[]\s*([A-Z]{3})\s*[)\]]|\s([A-Z]{3})$")
_TOTAL = re.compile(
    r"(grand |sub-?|net |invoice )?(total|sum|summe|gesamt\w*|zwischensumme)\b.*", re.IGNORECASE
)
_MONTHS = "january february march april may june july august september october november december"
_MONTH_NAMES = {name: number for number, name in enumerate(_MONTHS.split(), start=1)} | {
    name[:3]: number for number, name in enumerate(_MONTHS.split(), start=1)
}


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
class Invoice:
    """The lines of an invoice, and notes on how the file was read, as sentences."""

    lines: Sequence[InvoiceLine]
    notes: Sequence[str]
    has_countries: bool


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
        return row[place].strip(_BLANKS) if place is not None and place < len(row) else ""

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
    lines, totals = [], []
    for number, row in table.rows:
        line = _line(table, number, row, sign)
        if isinstance(line, InvoiceLine):
            lines.append(line)
        elif line is not None:
            totals.append((number, line))
    if not lines:
        raise BadInput(f"{path} has no line with an amount")
    return Invoice(lines, [*_notes(table, sign, lines, totals)], "country" in table.columns)


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
    return [(number, row) for number, row in rows if any(cell.strip(_BLANKS) for cell in row)]


def _columns(row: Sequence[str], given: Mapping[str, str]) -> dict[str, int]:
    """Return the place of each field whose column is in the row."""
    names = [_header(cell) for cell in row]
    exact = [cell.strip(_BLANKS) for cell in row]
    found = {}
    for field in FIELDS:
        if field in given:
            name = given[field]
            if name in exact:
                found[field] = exact.index(name)
            elif name and _header(name) in names:
                found[field] = names.index(_header(name))
            continue
        for name in _HEADERS[field]:
            if name in names:
                found[field] = names.index(name)
                break
    return found


def _header(cell: str) -> str:
    """Return a column's name without case, without brackets and their content, and in one line."""
    return " ".join(re.sub(r"[(\[].*?[)\]]", " ", cell).replace("_", " ").casefold().split())


def _without_header(path: Path, text: str, given: str | None, columns: Mapping[str, str]) -> str:
    """Return the sentence about a file without the columns."""
    rows = [_rows(text, each) for each in ((given,) if given else _DELIMITERS)]
    best = max((each[0] for each in rows if each), key=lambda row: len(row[1]), default=(1, []))
    number, header = best
    if not header:
        return f"{path} is empty"
    there = _columns(header, columns)
    missing = [name for name in _NEEDED if name not in there]
    said = " and ".join(missing) or "amount"
    listed = ", ".join(repr(cell.strip(_BLANKS)) for cell in header)
    return (
        f"{path}: line {number} has no column for {said}; its columns are {listed}; name the "
        f"column with --map {missing[0] if missing else 'amount'}='...'"
    )


def _check_columns(table: _Table, given: Mapping[str, str]) -> None:
    """Raise BadInput for a given column that is absent, or two columns that one field may mean."""
    for field, name in given.items():
        if name and field not in table.columns:
            listed = ", ".join(repr(cell.strip(_BLANKS)) for cell in table.header)
            raise BadInput(f"{table.path} has no column {name!r}; its columns are {listed}")
    names = [_header(cell) for cell in table.header]
    for field, place in table.columns.items():
        same = [table.header[n] for n, name in enumerate(names) if name == names[place]]
        if len(same) > 1 and field not in given:
            raise BadInput(
                f"{table.path}: {' and '.join(map(repr, same))} may each be the {field}; choose "
                f"one with --map {field}='...'"
            )


def _decimal_sign(table: _Table) -> str:
    """Find the decimal sign in the amounts. Raises BadInput if they contradict each other."""
    votes: dict[str, tuple[int, str]] = {}
    unclear: tuple[int, str] | None = None
    for number, row in table.rows:
        cell = table.cell(row, "amount")
        sign = _sign_in(cell)
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


def _sign_in(cell: str) -> str | None:
    """Return the decimal sign that a cell shows, "?" for an unclear one, None without any."""
    digits = re.sub(r"[^0-9.,]", "", cell)
    has_spaced_thousands = re.search(rf"[0-9][{_THOUSANDS}][0-9]", cell) is not None
    dot, comma = digits.rfind("."), digits.rfind(",")
    if dot < 0 and comma < 0:
        return None
    if dot >= 0 and comma >= 0:
        return "." if dot > comma else ","
    sign = "." if dot >= 0 else ","
    whole, _, fraction = digits.partition(sign)
    if sign in fraction:
        return "," if sign == "." else "."
    is_thousands = len(fraction) == 3 and 1 <= len(whole) <= 3 and whole != "0"  # noqa: PLR2004 - thousands have three digits
    return "?" if is_thousands and not has_spaced_thousands else sign


def _line(table: _Table, number: int, row: list[str], decimal: str) -> InvoiceLine | Decimal | None:
    """Return a line, or the amount of a line of totals, or None for a line without an amount."""
    if any(cell.strip(_BLANKS) for cell in row[len(table.header) :]):
        raise BadInput(
            f"{table.path}: line {number} has {len(row)} cells, and the header has "
            f"{len(table.header)}; put a cell with the delimiter into quotation marks"
        )
    product, cell = table.cell(row, "product"), table.cell(row, "amount")
    is_total = any(_TOTAL.fullmatch(each.strip(_BLANKS)) for each in row)
    if not cell:
        if is_total or not product:
            return None
        raise table.bad(number, "amount", "empty; write the amount, or remove the line")
    amount = _amount(cell, decimal)
    if amount is None:
        raise table.bad(number, "amount", f"{cell!r} is no amount with the decimal sign {decimal}")
    if is_total:
        return amount
    if not product:
        raise table.bad(number, "product", "empty beside an amount; write the product")
    return InvoiceLine(
        number,
        product,
        table.cell(row, "country"),
        _currency(table, number, row, cell),
        _month(table, number, row),
        amount,
    )


def _amount(cell: str, decimal: str) -> Decimal | None:
    """Read an amount with currency signs, thousands and a sign before or behind it."""
    text = cell.translate(_MINUS)
    is_negative = text.startswith("(") and text.endswith(")")
    text = text.strip("()")
    for sign in _SIGNS:
        text = text.replace(sign, "")
    text = _CODE.sub("", text, count=1).strip(_BLANKS)
    if text.endswith("-"):
        text = f"-{text[:-1]}"
    if text[:1] in ("-", "+"):
        is_negative ^= text[0] == "-"
        text = text[1:].strip(_BLANKS)
    other = "," if decimal == "." else "."
    found = re.fullmatch(
        rf"(?:([0-9]+)|([0-9]{{1,3}}(?:[{re.escape(other)}{_THOUSANDS}][0-9]{{3}})+))?"
        rf"(?:{re.escape(decimal)}([0-9]*))?",
        text,
    )
    whole = found and (found[1] or found[2] or "")
    if found is None or not (whole or found[3]):
        return None
    number = Decimal(f"{re.sub(r'[^0-9]', '', whole or '') or '0'}.{found[3] or '0'}")
    return -number if is_negative else number


def _currency(table: _Table, number: int, row: list[str], amount: str) -> str:
    """Return the currency of a line: its own column, the amount's sign, or the column's name."""
    own = table.cell(row, "currency").upper()
    if own:
        code = _SIGNS.get(own, own)
        if not _is_currency(code):
            raise table.bad(number, "currency", f"{own!r} is no code like EUR")
        return code
    header = table.header[table.columns["amount"]]
    found = [*_CODE.findall(amount), *(one or other for one, other in _of_a_column(header))]
    signs = [code for text in (amount, header) for sign, code in _SIGNS.items() if sign in text]
    return next(filter(_is_currency, [*found, *signs]), "")


def _of_a_column(header: str) -> list[tuple[str, str]]:
    """Return the codes in a column's name, such as EUR in "Total (EUR)" and "Amount EUR"."""
    return _CODE_OF_A_COLUMN.findall(header.strip(_BLANKS))


def _is_currency(code: str) -> bool:
    return pycountry.currencies.get(alpha_3=code) is not None


def _month(table: _Table, number: int, row: list[str]) -> str | None:
    text = table.cell(row, "month")
    if not text:
        return None
    iso = re.fullmatch(r"(\d{4})[-/.](\d{1,2})([-/.]\d{1,2})?", text)
    local = re.fullmatch(r"(?:\d{1,2}[-/.])?(\d{1,2})[-/.](\d{4})", text)
    named = re.fullmatch(r"([A-Za-z]+)\.?[ -]+(\d{4})", text)
    year, month = "", 0
    if iso:
        year, month = iso[1], int(iso[2])
    elif local:
        year, month = local[2], int(local[1])
    elif named:
        year, month = named[2], _MONTH_NAMES.get(named[1].lower(), 0)
    if not 1 <= month <= 12:  # noqa: PLR2004 - months
        raise table.bad(
            number, "month", f"{text!r} is no month like 2026-11; --map month= leaves it out"
        )
    return f"{year}-{month:02}"


def _notes(
    table: _Table,
    decimal: str,
    lines: Sequence[InvoiceLine],
    totals: Sequence[tuple[int, Decimal]],
) -> Iterator[str]:
    delimiter = "tabs" if table.delimiter == "\t" else table.delimiter
    yield (
        f"Read {len(lines):,} lines; delimiter {delimiter} and decimal sign {decimal}; amount from "
        f"the column {table.header[table.columns['amount']]!r}."
    )
    if totals:
        listed = ", ".join(str(number) for number, _ in totals)
        yield f"Totals are not compared: line {listed}."
    if len(totals) == 1:
        (number, said), summed = totals[0], sum(each.amount for each in lines)
        if said != summed:
            yield f"Line {number} says {said:,f}, and the lines add up to {summed:,f}."
