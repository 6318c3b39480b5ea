"""Amounts as text with all their digits, and text as HTML."""

import html
from collections.abc import Iterable
from decimal import Decimal

from vonage_reports.domain.printable import printable

_LEAST_PLACES = 2


def escaped(text: str) -> str:
    """Return text from elsewhere as HTML, with control characters as visible escapes."""
    return html.escape(printable(text))


def records_in_words(number: int) -> str:
    """Return a number of records with its noun."""
    return f"{number:,} {'record' if number == 1 else 'records'}"


def exact(amount: Decimal) -> str:
    """Return an amount with all its digits, and at least two decimal places."""
    return f"{amount:,.{_places(amount)}f}"


def aligned(amounts: Iterable[Decimal]) -> list[str]:
    """Return amounts with the decimal places of the most precise one."""
    known = list(amounts)
    places = max(map(_places, known), default=_LEAST_PLACES)
    return [f"{amount:,.{places}f}" for amount in known]


def _places(amount: Decimal) -> int:
    return max(_LEAST_PLACES, -int(amount.normalize().as_tuple().exponent))
