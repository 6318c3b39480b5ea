"""Amounts of money: currencies, their digits, mark-ups, and rounding."""

import re
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Context, Decimal

import pycountry

from vonage_reports_cli.errors import BadInput

EXACT = Context(prec=60)
"""Sums and products of prices are exact in these digits."""

MOST_DIGITS = 8
"""The decimal places of Vonage's prices."""

# ISO 4217, list one. Every other currency has two digits.
_WITHOUT_DIGITS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_WITH_THREE = "BHD IQD JOD KWD LYD OMR TND"
_WITH_FOUR = "CLF UYW"
_DIGITS = {
    code: digits
    for digits, codes in ((0, _WITHOUT_DIGITS), (3, _WITH_THREE), (4, _WITH_FOUR))
    for code in codes.split()
}
_USUAL_DIGITS = 2
_MARK_UP = re.compile(r"([+-]?[0-9]{1,6}(?:\.[0-9]{1,4})?) *%")
_HUNDRED = Decimal(100)


def checked_currency(code: str | None) -> str | None:
    """Return a currency's code in capitals. Raises BadInput for an unknown one."""
    if code is None:
        return None
    if pycountry.currencies.get(alpha_3=code.upper()) is None:
        raise BadInput(f"--currency is {code!r}; use a code of ISO 4217, like EUR")
    return code.upper()


def digits_of(currency: str | None) -> int:
    """Return the decimal places of a currency's amounts. The code is in any case."""
    return _DIGITS.get((currency or "").upper(), _USUAL_DIGITS)


def mark_up_of(text: str | None, *, is_confirmed: bool) -> Decimal:
    """Read a mark-up such as 15% as a fraction. A negative one is a discount. Raises BadInput."""
    if text is None:
        return Decimal(0)
    found = _MARK_UP.fullmatch(text.strip())
    if found is None:
        raise BadInput(f"--mark-up is {text!r}; use a percentage like 15% or 12.5%")
    percent = Decimal(found[1])
    if percent <= -_HUNDRED:
        raise BadInput(f"--mark-up is {text}, and a discount is less than 100 %")
    if percent > _HUNDRED and not is_confirmed:
        raise BadInput(
            f"--mark-up is {text}, which more than doubles the cost; add --large-mark-up if that "
            "is right"
        )
    return percent / _HUNDRED


def rounding_of(text: str | None) -> int | None:
    """Read the decimal places of `--round`; None for those of the currency, -1 for no rounding.

    Raises BadInput.
    """
    if text is None:
        return None
    if text == "none":
        return -1
    if not (text.isascii() and text.isdigit() and int(text) <= MOST_DIGITS):
        raise BadInput(f"--round is {text!r}; use 0 to {MOST_DIGITS} decimal places, or none")
    return int(text)


def rounded(amount: Decimal, currency: str | None, rounding: int | None) -> Decimal:
    """Round half up, as invoices do. See `rounding_of`."""
    digits = digits_of(currency) if rounding is None else rounding
    if digits < 0:
        return amount
    found = amount.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, context=EXACT)
    return EXACT.plus(found)  # makes 0 of -0


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Add amounts exactly."""
    found = Decimal(0)
    for amount in amounts:
        found = EXACT.add(found, amount)
    return found


def shortened(amount: Decimal) -> Decimal:
    """Return an amount without trailing zeros of its fraction."""
    return Decimal(plain(amount))


def plain(amount: Decimal) -> str:
    """Return an amount with every digit, without trailing zeros of its fraction."""
    text = f"{amount:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def padded(amount: Decimal, currency: str | None) -> str:
    """Return an amount with every digit, and at least those of its currency."""
    digits = max(-int(shortened(amount).as_tuple().exponent), digits_of(currency))
    return f"{amount.quantize(Decimal(1).scaleb(-digits), context=EXACT):f}"


def grouped(amount: Decimal) -> str:
    """Return an amount with commas between thousands."""
    return f"{amount:,f}"
