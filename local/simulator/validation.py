"""Parse and validate the body of POST /v2/reports."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from .answers import (
    InvalidParameter,
    forbidden,
    invalid_filter,
    malformed_json,
    unprocessable,
    unprovisioned,
)
from .products import PRODUCTS, Direction, Product

# Records stay available for 13 months, and one report may span all 13.
RETENTION_MONTHS = 13
DEFAULT_WINDOW = timedelta(days=7)

_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)")
_BOOLEANS: Mapping[object, bool] = {True: True, False: False, "true": True, "false": False}
_EVERY_PRODUCT = frozenset(
    {"product", "account_id", "date_start", "date_end", "include_subaccounts", "callback_url"}
)


@dataclass(frozen=True, kw_only=True)
class ReportRequest:
    """The content of a valid POST.

    Attributes:
        start: Start of the range, inclusive.
        end: End of the range, exclusive.
        direction: Empty if the body has none.
        filters: Columns and the texts they must equal.
        switches_on: The boolean parameters with the value true. Each adds a column.
        echo: The product's parameters, which every later answer repeats.
        sent: The body as received.
    """

    product: Product
    account_id: str
    start: datetime
    end: datetime
    include_subaccounts: bool
    direction: str
    filters: Mapping[str, str]
    switches_on: frozenset[str]
    echo: Mapping[str, str | bool]
    sent: Mapping[str, object]


def parse_json_object(body: bytes) -> dict[str, object]:
    """Parse a request body.

    Raises:
        Problem: 400, the body is not a JSON object.
    """
    try:
        document = json.loads(body)
    except ValueError:
        raise malformed_json() from None
    if not isinstance(document, dict):
        raise malformed_json()
    return document


def parse_date(text: object) -> datetime | None:
    """Parse `yyyy-mm-ddThh:mm:ss[.sss]` with offset `Z`, `±hh:mm` or `±hhmm`, or return None."""
    if isinstance(text, str) and _DATE.fullmatch(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            return None
    return None


def parse_report_request(
    body: Mapping[str, object],
    *,
    now: datetime,
    accounts: Collection[str],
    unprovisioned_products: Collection[str] = (),
) -> ReportRequest:
    """Check a body against the rules of its product.

    Raises:
        Problem: 401 if the product is not enabled, 403 for a foreign account, else 422.
    """
    product = _product(body)
    account_id = _account(body)
    if account_id not in accounts:
        raise forbidden()
    if product.name in unprovisioned_products:
        raise unprovisioned()
    _refuse_unsupported(product, body)

    invalid: list[InvalidParameter] = []
    start, end = _window(product, body, now, invalid)
    direction = _direction(product, body, invalid)
    include_subaccounts = _boolean("include_subaccounts", body, invalid)
    switches = {name: _boolean(name, body, invalid) for name in product.switches}
    filters = _filters(product, body, invalid)
    callback = _callback(body, invalid)
    if invalid:
        raise unprocessable(*invalid)
    echo: dict[str, str | bool] = {"direction": direction} if direction else {}
    echo.update(filters)
    # Vonage echoes include_message even if the request lacks it.
    echo.update((s, on) for s, on in switches.items() if s in body or s == "include_message")
    echo.update(callback)
    return ReportRequest(
        product=product,
        account_id=account_id,
        start=start,
        end=end,
        include_subaccounts=include_subaccounts,
        direction=direction,
        filters=filters,
        switches_on=frozenset(name for name, on in switches.items() if on),
        echo=echo,
        sent=dict(body),
    )


def months_before(instant: datetime, months: int) -> datetime:
    """Subtract calendar months. The 31st becomes the last day of a shorter month."""
    month_number = instant.year * 12 + instant.month - 1 - months
    year, month = divmod(month_number, 12)
    first = instant.replace(year=year, month=month + 1, day=1)
    last_day = ((first + timedelta(days=31)).replace(day=1) - timedelta(days=1)).day
    return first.replace(day=min(instant.day, last_day))


def _product(body: Mapping[str, object]) -> Product:
    name = body.get("product")
    if name is None:
        raise unprocessable(InvalidParameter("product", "Missing required parameter"))
    if not isinstance(name, str) or name not in PRODUCTS:
        known = ", ".join(PRODUCTS)
        reason = f"Could not resolve product name. Please use one of the following values [{known}]"
        raise unprocessable(InvalidParameter("product", reason))
    return PRODUCTS[name]


def _account(body: Mapping[str, object]) -> str:
    account_id = body.get("account_id")
    if not isinstance(account_id, str) or not account_id:
        raise unprocessable(InvalidParameter("account_id", "Missing required parameter"))
    return account_id


def _refuse_unsupported(product: Product, body: Mapping[str, object]) -> None:
    supported = _EVERY_PRODUCT.union(product.filters, product.switches)
    if product.direction is not Direction.REFUSED:
        supported |= {"direction"}
    unsupported = tuple(name for name in body if name not in supported)
    if unsupported:
        raise invalid_filter(product.name, unsupported)


def _window(
    product: Product, body: Mapping[str, object], now: datetime, invalid: list[InvalidParameter]
) -> tuple[datetime, datetime]:
    dates = {"date_start": now - DEFAULT_WINDOW, "date_end": now}
    for name in dates:
        if name in body:
            parsed = parse_date(body[name])
            if parsed is None:
                invalid.append(InvalidParameter(name, "Could not parse date"))
            else:
                dates[name] = parsed
    start, end = dates["date_start"], dates["date_end"]
    if start >= now:
        # Vonage was seen to answer these words.
        invalid.append(InvalidParameter("date_start", "date_start must be in the past"))
    if end < start:
        invalid.append(InvalidParameter("date_end", "Must not be before date_start"))
    if product.retention_days is None:
        oldest, longest_start = (months_before(t, RETENTION_MONTHS) for t in (now, end))
        limit = f"{RETENTION_MONTHS} months"
    else:
        retention = timedelta(days=product.retention_days)
        oldest, longest_start = now - retention, end - retention
        limit = f"{product.retention_days} days"
    # Compare days, because a client computes the limit a moment before the simulator does.
    if start < oldest.replace(hour=0, minute=0, second=0, microsecond=0):
        invalid.append(InvalidParameter("date_start", f"Must not be older than {limit}"))
    if start < longest_start:
        invalid.append(InvalidParameter("date_start", f"Range must not be longer than {limit}"))
    return start, end


def _direction(
    product: Product, body: Mapping[str, object], invalid: list[InvalidParameter]
) -> str:
    direction = body.get("direction", "")
    if direction in ("inbound", "outbound"):
        return str(direction)
    if "direction" in body:
        invalid.append(InvalidParameter("direction", "Must be one of [inbound, outbound]"))
    elif product.direction is Direction.REQUIRED:
        invalid.append(InvalidParameter("direction", "Missing required parameter"))
    return ""


def _boolean(name: str, body: Mapping[str, object], invalid: list[InvalidParameter]) -> bool:
    # Vonage accepts the strings "true" and "false", and its own snippets send them.
    value = body.get(name, False)
    if isinstance(value, bool | str) and value in _BOOLEANS:
        return _BOOLEANS[value]
    invalid.append(InvalidParameter(name, "Must be true or false"))
    return False


def _filters(
    product: Product, body: Mapping[str, object], invalid: list[InvalidParameter]
) -> dict[str, str]:
    filters = {}
    for name, allowed in product.filters.items():
        if name not in body:
            continue
        value = body[name]
        if isinstance(value, str) and value and (not allowed or value in allowed):
            filters[name] = value
        else:
            expected = f"one of [{', '.join(allowed)}]" if allowed else "a text"
            invalid.append(InvalidParameter(name, f"Must be {expected}"))
    return filters


def _callback(body: Mapping[str, object], invalid: list[InvalidParameter]) -> dict[str, str]:
    if "callback_url" not in body:
        return {}
    url = body["callback_url"]
    if isinstance(url, str) and url.startswith(("http://", "https://")):
        return {"callback_url": url}
    invalid.append(InvalidParameter("callback_url", "Must be a URL"))
    return {}
