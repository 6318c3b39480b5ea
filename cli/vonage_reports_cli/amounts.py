"""Amounts as people write them: with brackets, signs, currencies and thousands."""

import re
from decimal import Decimal
from functools import cache

import pycountry

from vonage_reports_cli.money import EXACT

BLANKS = " \u00a0\u2009\u202f\t"

_DOLLARS = {
    "US$": "USD", "A$": "AUD", "AU$": "AUD", "C$": "CAD", "CA$": "CAD", "CAD$": "CAD",
    "NZ$": "NZD", "S$": "SGD", "SG$": "SGD", "HK$": "HKD", "NT$": "TWD", "MX$": "MXN", "R$": "BRL",
    "J$": "JMD", "TT$": "TTD", "BZ$": "BZD", "N$": "NAD", "FJ$": "FJD", "BB$": "BBD", "B$": "BND",
}  # fmt: skip
_SIGNS = {
    **{sign: (code,) for sign, code in _DOLLARS.items()},
    "$": ("USD", *sorted({*_DOLLARS.values(), "ARS", "CLP", "COP", "UYU"} - {"USD"})),
    "\u20ac": ("EUR",),
    "\u00a3": ("GBP", "EGP"),
    "\u00a5": ("JPY", "CNY"),
    "\u20b9": ("INR",),
}
"""The currencies that a sign may mean, the usual one first."""

_CURRENCY = re.compile(r"[A-Za-z]{0,3}\$|[\u20ac\u00a3\u00a5\u20b9]|[^\W\d_]+")
_THOUSANDS = "'\u2019" + BLANKS
_MINUS = str.maketrans({"\u2212": "-", "\u2013": "-"})
_MOST_DIGITS = 30
"""An amount with more digits is another number, and sums would not stay exact."""


def amount_of(cell: str, decimal: str) -> tuple[Decimal, tuple[str, ...]] | None:
    """Read an amount with the decimal sign `decimal`.

    Return the amount and the currencies that it may be in, as `currencies_in` does, or None if the
    cell is no amount. Brackets and a minus each make an amount negative, also together.
    """
    text = cell.translate(_MINUS)
    currencies = currencies_in(text)
    places = [each.span() for each in _CURRENCY.finditer(text)]
    if currencies is None or any(
        re.search("[0-9]", text[:start]) and re.search("[0-9]", text[end:]) for start, end in places
    ):
        return None
    found = _pattern(decimal).fullmatch(_CURRENCY.sub(" ", text))
    if found is None or bool(found["open"]) != bool(found["close"]):
        return None
    whole, fraction = re.sub("[^0-9]", "", found["whole"] or ""), found["fraction"] or ""
    signs = f"{found['before'] or ''}{found['behind'] or ''}"
    is_contradiction = len(signs) > 1 or (found["open"] and signs == "+")
    if is_contradiction or not 0 < len(whole + fraction) <= _MOST_DIGITS:
        return None
    number = Decimal(f"{whole or '0'}.{fraction or '0'}") if found["fraction"] else Decimal(whole)
    return (EXACT.minus(number) if found["open"] or signs == "-" else number), currencies


@cache
def _pattern(decimal: str) -> re.Pattern[str]:
    """Return the pattern of an amount without its currency."""
    other = "," if decimal == "." else "."
    thousands = (
        rf"[0-9]{{1,3}}(?P<sign>[{re.escape(other)}{_THOUSANDS}])[0-9]{{3}}(?:(?P=sign)[0-9]{{3}})*"
    )
    of_india = r"[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}" if decimal == "." else "(?!)"
    return re.compile(
        rf"\s*(?P<open>\()?\s*(?P<before>[-+])?\s*"
        rf"(?P<whole>[0-9]+|{thousands}|{of_india})?(?:{re.escape(decimal)}(?P<fraction>[0-9]*))?"
        rf"\s*(?P<behind>-)?\s*(?P<close>\))?\s*"
    )


def decimal_sign_in(cell: str) -> str | None:
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
    is_thousands = re.fullmatch("[0-9]{3}", fraction) and re.fullmatch("(?!0$)[0-9]{1,3}", whole)
    return "?" if is_thousands and not has_spaced_thousands else sign


def currencies_in(text: str) -> tuple[str, ...] | None:
    """Return the currencies that the signs and codes in a text may all mean, the usual one first.

    Return () without any sign, and None for letters that are no currency or a contradiction.
    """
    found: tuple[str, ...] = ()
    for sign in _CURRENCY.findall(text):
        both = common(found, _meanings(sign))
        if not both:
            return None
        found = both
    return found


def common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the currencies in both, None without any. An empty one stands for all currencies."""
    if not (one and other):
        return one or other
    return tuple(each for each in one if each in other) or None


def _meanings(sign: str) -> tuple[str, ...]:
    """Return the currencies of one sign or code, () for other letters."""
    upper = sign.upper()
    if upper in _SIGNS:
        return _SIGNS[upper]
    code = upper.removesuffix("$")
    return (code,) if pycountry.currencies.get(alpha_3=code) is not None else ()
