"""The parameters that the Reports API is known to accept and to refuse, per product.

Sources: the OpenAPI text 3.1.4, Vonage's technical details, and answers seen in production. An
unknown product, filter or value passes with a warning, because Vonage may have added it.
The columns of a product are in `vonage_dataset/tables.py`.
"""

from calendar import monthrange
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

RETENTION_MONTHS = 13
"""How many months Vonage keeps records, unless a product has its own period (technical details)."""

_FEWEST_DAYS_OF_13_MONTHS = 365 + 28

_HOUR_SETTLES = timedelta(hours=1)
_VIDEO_HOUR_SETTLES = timedelta(hours=3)


def hour_settles(product: str) -> timedelta:
    """Return how long after its end an hour's window is due at the earliest.

    VIDEO-API has records of HLS up to 2.5 hours late, the only delay that Vonage states. Source:
    https://developer.vonage.com/en/video/developer-tools/video-reports
    """
    return _VIDEO_HOUR_SETTLES if product == "VIDEO-API" else _HOUR_SETTLES


Values = frozenset[str]
"""The documented values of a filter. An empty set means any text."""

ANY_TEXT = Values()
# Vonage's own snippets send these values as booleans and as text.
SWITCH: Values = frozenset({"true", "false"})
SMS_STATUS: Values = frozenset({
    "delivered", "expired", "accepted", "deleted", "unknown", "submitted", "failed", "rejected",
    "buffered",
})  # fmt: skip
MESSAGES_STATUS: Values = frozenset({
    "submitted", "delivered", "read", "rejected", "undeliverable",
})  # fmt: skip
MESSAGES_PROVIDER: Values = frozenset({
    "whatsapp", "sms", "mms", "messenger", "viber_service_msg", "instagram", "rcs", "email",
})  # fmt: skip


class Direction(Enum):
    """Whether a product's reports take the filter `direction`."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    REFUSED = "refused"


@dataclass(frozen=True)
class Product:
    """The direction, other filters and retention of one product.

    A `retention_days` of None means 13 months.
    """

    direction: Direction
    filters: Mapping[str, Values]
    retention_days: int | None = None


def _product(
    direction: Direction, *texts: str, retention_days: int | None = None, **chosen: Values
) -> Product:
    """Return a product. `texts` are filters of any text, `chosen` are filters with known values."""
    return Product(direction, dict.fromkeys(texts, ANY_TEXT) | chosen, retention_days)


PRODUCTS: dict[str, Product] = {
    "SMS": _product(
        Direction.REQUIRED, "from", "to", "country", "network", "client_ref", "account_ref",
        status=SMS_STATUS, include_message=SWITCH, show_concatenated=SWITCH,
    ),
    "SMS-TRAFFIC-CONTROL": _product(Direction.REFUSED),
    "MESSAGES": _product(
        Direction.REQUIRED, "from", "to", "country",
        status=MESSAGES_STATUS, provider=MESSAGES_PROVIDER, include_message=SWITCH,
    ),
    "VOICE-CALL": _product(
        Direction.OPTIONAL, "from", "to", "country", "network", "call_id",
        status=frozenset({"ANSWERED", "MACHINE", "ERROR"}),
    ),
    "VOICE-FAILED": _product(Direction.OPTIONAL, "from", "to", "country", "call_id"),
    "VOICE-TTS": _product(Direction.REFUSED, "call_id"),
    "ASR": _product(Direction.OPTIONAL, "from", "to", "call_id"),
    "AMD": _product(Direction.REFUSED, "call_id"),
    "IN-APP-VOICE": _product(Direction.REFUSED, "conversation_id", "status", "leg_id"),
    "WEBSOCKET-CALL": _product(Direction.REFUSED, "call_id"),
    "VERIFY-API": _product(Direction.REFUSED, "to", "network"),
    "VERIFY-V2": _product(
        Direction.REFUSED, "parent_request_id", "to", "locale", "network", "country", "status",
        channel=frozenset({"v2", "email", "silent_auth"}),
    ),
    "NUMBER-INSIGHT": _product(Direction.REFUSED, "number", "network"),
    "CONVERSATION-EVENT": _product(Direction.REFUSED, "conversation_id", "status"),
    "CONVERSATION-MESSAGE": _product(Direction.REFUSED, "conversation_id"),
    "NETWORK-API-EVENT": _product(
        Direction.REFUSED, "product_name", "request_type", "request_session_id", "product_path",
        "correlation_id",
    ),
    "VIDEO-API": _product(Direction.REFUSED, "session_id", "meeting_id", retention_days=90),
    "REPORTS-USAGE": _product(Direction.REFUSED),
}  # fmt: skip


OWN_REPORTS = "REPORTS-USAGE"
"""The product whose records are the reports of the API key, those of other tools included."""

FREE = frozenset({OWN_REPORTS})
"""The products whose records Vonage does not bill (its knowledge base, article 4408147718036)."""

EVERY_FILTER = frozenset({"direction"}).union(*(each.filters for each in PRODUCTS.values()))
"""Every filter that is documented for some product."""

SHOWING_FILTERS = frozenset({"include_message", "show_concatenated"})
"""The filters that change how records are shown, but select no records."""

NO_FILTERS = {
    "product": "write it as a field of the definition",
    "account_id": "write account_ids in the definition",
    "include_subaccounts": "write it as a field of the definition",
    "date_start": "remove it, the definition's window sets it",
    "date_end": "remove it, the definition's window sets it",
    "callback_url": "remove it, Vonage is polled and calls nothing back",
    "id": "remove it, Vonage takes single ids in synchronous reports only",
}
"""Parameters of a report that are no filters, with the correction for the operator."""


def filter_problem(product: str, filters: Mapping[str, object]) -> tuple[str, str] | None:
    """Return a filter that Vonage is known to refuse, with a sentence, or None."""
    for name, correction in NO_FILTERS.items():
        if name in filters:
            return name, f"{name} is not a filter; {correction}"
    direction = filters.get("direction")
    known = PRODUCTS.get(product)
    if known is None:
        return None
    if known.direction is Direction.REFUSED and direction is not None:
        return "direction", f"{product} takes no direction; remove it"
    if known.direction is Direction.REQUIRED and direction is None:
        return "direction", f'{product} needs a direction; write "inbound" or "outbound"'
    if direction not in (None, "inbound", "outbound"):
        return "direction", f'{direction!r} is not a direction; write "inbound" or "outbound"'
    return None


def doubts(product: str, filters: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the fields that Vonage does not document, each with a sentence.

    A sentence never quotes the value of a text filter, which may be a phone number.
    """
    known = PRODUCTS.get(product)
    if known is None:
        yield "product", f"{product} is not documented, so Vonage may refuse it; check spelling"
        return
    for name, value in filters.items():
        field = f"filters.{name}"
        values = known.filters.get(name)
        if name == "direction":
            continue
        if values is None:
            yield field, f"not documented for {product}, so Vonage may refuse it; check spelling"
        elif values is SWITCH:
            if str(value).lower() not in values:
                yield field, "the value is not documented; write true or false"
        elif not isinstance(value, str):
            yield field, "the documented value is a text; write it in quotation marks"
        elif values and value not in values:
            listed = ", ".join(sorted(values))
            yield field, f"{value!r} is not documented for {product}; write one of {listed}"


def billed_records(product: str, records: int | None) -> int | None:
    """Return how many of a report's records Vonage bills; None if that is unknown."""
    return 0 if product in FREE else records


def known_filters(product: str) -> frozenset[str]:
    """Return the documented filters of a product, except the direction."""
    known = PRODUCTS.get(product)
    return frozenset(known.filters) if known else frozenset()


def oldest_start(product: str, now: datetime) -> datetime:
    """Return the UTC midnight since which Vonage has a product's records at the instant `now`.

    The 13 months are calendar months. If a day does not exist, the month's last day counts.
    """
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = _retention_days(product)
    if days is not None:
        return midnight - timedelta(days=days)
    year, month = divmod(midnight.year * 12 + midnight.month - 1 - RETENTION_MONTHS, 12)
    last_day = monthrange(year, month + 1)[1]
    return midnight.replace(year=year, month=month + 1, day=min(midnight.day, last_day))


def retention_problem(product: str, days: int) -> str | None:
    """Return a sentence if Vonage has deleted records that are `days` old, else None.

    The last day of the retention does not count, because the schedule may run a day late.
    """
    kept = _retention_days(product)
    if days < (_FEWEST_DAYS_OF_13_MONTHS if kept is None else kept):
        return None
    limit = f"{RETENTION_MONTHS} months" if kept is None else f"{kept} days"
    return f"{days} days is too late: Vonage keeps {product} records for {limit}; write fewer days"


def _retention_days(product: str) -> int | None:
    known = PRODUCTS.get(product)
    return known.retention_days if known else None
