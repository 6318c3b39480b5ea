"""What the Reports API is known to take and to refuse, per product.

Source: the OpenAPI text 3.1.4 and answers seen in production. A product that is not here passes:
Vonage adds products, and the API itself has the last word.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum


class Direction(Enum):
    """Whether a product's reports take the filter `direction`."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    REFUSED = "refused"


@dataclass(frozen=True)
class Product:
    """What one product takes: a direction or none, and which filters besides."""

    direction: Direction
    filters: frozenset[str]


def _product(direction: Direction, *filters: str) -> Product:
    return Product(direction, frozenset(filters))


PRODUCTS: dict[str, Product] = {
    "SMS": _product(
        Direction.REQUIRED, "status", "from", "to", "country", "network", "client_ref",
        "account_ref", "include_message", "show_concatenated",
    ),
    "SMS-TRAFFIC-CONTROL": _product(Direction.REFUSED),
    "MESSAGES": _product(
        Direction.REQUIRED, "status", "from", "to", "provider", "country", "include_message"
    ),
    "VOICE-CALL": _product(
        Direction.OPTIONAL, "from", "to", "country", "network", "status", "call_id"
    ),
    "VOICE-FAILED": _product(Direction.OPTIONAL, "from", "to", "country", "call_id"),
    "VOICE-TTS": _product(Direction.REFUSED, "call_id"),
    "ASR": _product(Direction.OPTIONAL, "from", "to", "call_id"),
    "AMD": _product(Direction.REFUSED, "call_id"),
    "IN-APP-VOICE": _product(Direction.REFUSED, "conversation_id", "status", "leg_id"),
    "WEBSOCKET-CALL": _product(Direction.REFUSED, "call_id"),
    "VERIFY-API": _product(Direction.REFUSED, "to", "network"),
    "VERIFY-V2": _product(
        Direction.REFUSED, "channel", "parent_request_id", "to", "locale", "network", "country",
        "status",
    ),
    "NUMBER-INSIGHT": _product(Direction.REFUSED, "number", "network"),
    "CONVERSATION-EVENT": _product(Direction.REFUSED, "conversation_id", "status"),
    "CONVERSATION-MESSAGE": _product(Direction.REFUSED, "conversation_id"),
    "NETWORK-API-EVENT": _product(
        Direction.REFUSED, "product_name", "request_type", "request_session_id", "product_path",
        "correlation_id",
    ),
    "VIDEO-API": _product(Direction.REFUSED, "session_id", "meeting_id"),
    "REPORTS-USAGE": _product(Direction.REFUSED),
}  # fmt: skip


EVERY_FILTER = frozenset({"direction"}).union(*(each.filters for each in PRODUCTS.values()))
"""The filters that are documented for any product."""


def direction_problem(product: str, direction: object) -> str | None:
    """Say what Vonage would refuse about `direction` (None: not given), or None if nothing."""
    known = PRODUCTS.get(product)
    if known is None:
        return None
    if known.direction is Direction.REFUSED and direction is not None:
        return f"{product} refuses a direction: take it out"
    if known.direction is Direction.REQUIRED and direction is None:
        return f'{product} needs a direction: "inbound" or "outbound"'
    if direction not in (None, "inbound", "outbound"):
        return f'direction is "inbound" or "outbound", not {direction!r}'
    return None


def known_filters(product: str) -> frozenset[str]:
    """Return the filters, besides the direction, that are documented for a product."""
    known = PRODUCTS.get(product)
    return known.filters if known else frozenset()


def oldest_start(product: str, now: datetime) -> datetime:
    """Return from when on Vonage has a product's records at the instant `now`."""
    return now - timedelta(days=90 if product == "VIDEO-API" else 396)
