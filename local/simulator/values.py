"""The values of a synthetic record, column by column.

Each column has a function that turns a `Draw` (the 64 random bytes of one record) into the text in
the CSV. A product overrides the columns that have another meaning there.
"""

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeVar

from .countries import COUNTRIES, OWN_NUMBERS, Country, Network
from .products import PRODUCTS

T = TypeVar("T")
Value = Callable[["Draw"], str]

# Byte positions in a draw. Bytes 0 to 31 decide choices. Bytes 32 to 63 form identifiers.
(COUNTRY, NETWORK, STATUS, KIND, SIZE, PRICE, NUMBER_HIGH, NUMBER_LOW, OWN, TEXT, REFERENCE,
 SETTLING) = range(12)  # fmt: skip

# Columns whose text may contain quotes, which the CSV doubles.
COLUMNS_WITH_QUOTES = frozenset({"message_body", "request_params"})


class Draw:
    """The randomness of one record and the facts that several columns share.

    Attributes:
        time: Second since the epoch that decides the record's window.
        raw: 64 bytes; `hex` is the same as text.
        is_settled: Whether status and price are final.
    """

    __slots__ = ("account", "country", "direction", "hex", "is_settled", "network", "raw", "time")

    def __init__(
        self, account: str, direction: str, time: int, raw: bytes, *, is_settled: bool
    ) -> None:
        self.account = account
        self.direction = direction
        self.time = time
        self.raw = raw
        self.is_settled = is_settled
        self.hex = raw.hex()
        self.country: Country = _COUNTRY_OF[raw[COUNTRY]]
        self.network: Network = self.country.networks[raw[NETWORK] % len(self.country.networks)]

    def uuid(self, offset: int) -> str:
        """Return a version 4 UUID made of the 32 hex digits at `offset`."""
        h = self.hex[offset : offset + 32]
        return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-a{h[17:20]}-{h[20:]}"


def seconds_to_settle(raw: bytes, hours: float) -> float:
    """Return the age at which status and price are final. Seven records in eight have age 0.

    Vonage states at most 72 hours (delivery receipts), and 48 for prices of RCS.
    """
    steps, is_quick = divmod(raw[SETTLING], 8)
    return 0 if is_quick else hours * 3600 * (steps + 1) / 32


def _weighted(shares: Sequence[tuple[T, int]]) -> tuple[T, ...]:
    """Return the choice for each of the 256 values of a byte, by the shares."""
    slots = tuple(choice for choice, share in shares for _ in range(share))
    if len(slots) != 256:  # noqa: PLR2004 - the values of a byte
        raise ValueError(f"shares add up to {len(slots)}, not to 256")
    return slots


def _decimal(millionths: int, scale: int) -> str:
    """Format money as Vonage does: plain decimals with a varying number of digits."""
    text = f"{millionths // 1_000_000}.{millionths % 1_000_000:06d}"
    if scale == 0:
        return text + "00"
    if scale == 1:
        return text
    return text.rstrip("0").rstrip(".")


@lru_cache(maxsize=1024)
def _date(days: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=days)).strftime("%Y-%m-%dT")


_MINUTES = tuple(f"{hour:02d}:{minute:02d}:" for hour in range(24) for minute in range(60))
_SECONDS = tuple(f"{second:02d}+00:00" for second in range(60))


def timestamp(seconds: int) -> str:
    """Format seconds since the epoch as the CSV does."""
    days, rest = divmod(seconds, 86_400)
    return _date(days) + _MINUTES[rest // 60] + _SECONDS[rest % 60]


_COUNTRY_OF = _weighted([(country, country.share) for country in COUNTRIES])
_APPLICATIONS = tuple(
    str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.example.com")) for name in ("shop", "alerts", "app")
)
_SENDERS = ("ACME", "Orders", "Reminder", "")
_SMS_STATUS = _weighted(
    [("delivered", 226), ("failed", 10), ("expired", 6), ("rejected", 6), ("accepted", 4),
     ("unknown", 4)]
)  # fmt: skip
_SMS_ERRORS = {
    "delivered": ("0", "Delivered"),
    "failed": ("8", "Network Error"),
    "expired": ("2", "Absent Subscriber - Temporary"),
    "rejected": ("9", "Illegal Number"),
    "accepted": ("", ""),
    "unknown": ("1", "Unknown"),
    "submitted": ("", ""),
}
_MESSAGES_STATUS = _weighted(
    [("delivered", 150), ("read", 70), ("submitted", 20), ("undeliverable", 10), ("rejected", 6)]
)
_PROVIDER = _weighted(
    [("whatsapp", 120), ("sms", 80), ("rcs", 24), ("viber_service_msg", 12), ("messenger", 10),
     ("mms", 6), ("instagram", 4)]
)  # fmt: skip
_CHANNEL = _weighted([("v2", 176), ("silent_auth", 50), ("email", 30)])
_LOCALES = ("en-gb", "en-us", "de-de", "fr-fr")
_FEATURES = ("video-session", "archiving", "broadcast", "captions")
_FAILURES = (
    ("BUSY", "486", "Busy Here"),
    ("TIMEOUT", "480", "Temporarily Unavailable"),
    ("REJECTED", "603", "Decline"),
    ("FAILED", "404", "Not Found"),
)
TEXTS = (
    "Your code is {code}",
    "Your parcel arrives today, between 10:00 and 12:00. Reference {code}",
    'Reply "STOP" to end, "HELP" for help ({code})',
    "Line one\nline two\n\nlast line {code}",
    "Danke für deine Bestellung {code} 🎉",
    "=SUM(A1:A9) is no formula here, {code}",
    '"{code}"',
    "Réservation confirmée ✅, à bientôt; n° {code}",
    "CR LF inside:\r\nsecond line {code}",
    "10% off, only today! Use {code}\t(terms apply)",
    "  spaces around {code}  ",
    "予約番号は{code}です",
)
"""Message bodies with contents that CSV parsers often get wrong."""


def _handset(d: Draw) -> str:
    numbers = d.country.numbers
    offset = (d.raw[NUMBER_HIGH] << 8 | d.raw[NUMBER_LOW]) % numbers.size
    return str(numbers.first + offset)


def _own_number(d: Draw) -> str:
    return str(OWN_NUMBERS.first + d.raw[OWN] % 20)


def _sender(d: Draw) -> str:
    return _SENDERS[d.raw[OWN] & 3] or _own_number(d)


def _seconds_long(d: Draw) -> int:
    return 1 + (d.raw[SIZE] * d.raw[TEXT]) // 32


def _minute_price(d: Draw) -> str:
    return _decimal(d.country.minute_price, d.raw[PRICE] & 3)


def _call_price(d: Draw) -> str:
    price = d.country.minute_price * _seconds_long(d) // 60
    return _decimal(price, d.raw[PRICE] & 3)


def _message_price(d: Draw) -> str:
    return _decimal(d.country.message_price, d.raw[PRICE] & 3)


def _sms_status(d: Draw) -> str:
    return _SMS_STATUS[d.raw[STATUS]] if d.is_settled else "submitted"


def _sms_price(d: Draw) -> str:
    if d.direction == "inbound" or _sms_status(d) == "rejected":
        return "0"
    return _message_price(d)


def _messages_status(d: Draw) -> str:
    return _MESSAGES_STATUS[d.raw[STATUS]] if d.is_settled else "submitted"


def _messages_price(d: Draw) -> str:
    if not d.is_settled:
        return ""
    # WhatsApp prices conversations: the first message has the price, and later messages have 0.
    if d.direction == "inbound" or (_PROVIDER[d.raw[KIND]] == "whatsapp" and d.raw[PRICE] > 64):  # noqa: PLR2004 - a quarter of 256
        return "0"
    return _message_price(d)


def _verify_price(d: Draw) -> str:
    # A verification is billed when it ends.
    return _message_price(d) if d.is_settled else "0"


def _latency(d: Draw) -> int:
    """Return the milliseconds from receipt to the final state, up to about two minutes."""
    return 180 + d.raw[SIZE] * d.raw[TEXT] * 2


def _later(seconds: Callable[[Draw], int]) -> Value:
    return lambda d: timestamp(d.time + seconds(d))


def _once_settled(value: Value) -> Value:
    return lambda d: value(d) if d.is_settled else ""


def _verify_status(failed: str, done: str, under_way: str) -> Value:
    # 24 of 256 fail.
    return lambda d: (failed if d.raw[STATUS] < 24 else done) if d.is_settled else under_way  # noqa: PLR2004 - see above


def _constant(text: str) -> Value:
    return lambda _: text


def _from(d: Draw) -> str:
    return _handset(d) if d.direction == "inbound" else _sender(d)


def _to(d: Draw) -> str:
    return _own_number(d) if d.direction == "inbound" else _handset(d)


def _caller(d: Draw) -> str:
    return _handset(d) if d.direction == "inbound" else _own_number(d)


def _reference(d: Draw) -> str:
    return f"ref-{d.hex[20:28]}" if d.raw[REFERENCE] & 1 else ""


def _message_body(d: Draw) -> str:
    return TEXTS[d.raw[TEXT] % len(TEXTS)].format(code=d.hex[22:28])


def _failure(d: Draw) -> tuple[str, str, str]:
    return _FAILURES[d.raw[STATUS] & 3]


def _request_params(d: Draw) -> str:
    return json.dumps({"product": "SMS", "account_id": d.account, "direction": "outbound"})


_EMPTY = _constant("")
_ZERO = _constant("0")
_ONE = _constant("1")


def _now(d: Draw) -> str:
    return timestamp(d.time)


_DEFAULTS: Mapping[str, Value] = {
    "acc": lambda d: d.account,
    "account_id": lambda d: d.account,
    "account_ref": lambda d: ("", "finance", "marketing", "")[d.raw[REFERENCE] & 3],
    "amd_beep_detection_result": lambda d: "true" if d.raw[KIND] & 1 else "false",
    "amd_detection_result": lambda d: "machine" if d.raw[KIND] & 1 else "human",
    "amd_result_sent": _constant("true"),
    "amd_user_defined_beep_timeout": _constant("45"),
    "amd_user_defined_behavior": _constant("continue"),
    "amd_user_defined_mode": _constant("detect_beep"),
    "application_id": lambda d: _APPLICATIONS[d.raw[OWN] % len(_APPLICATIONS)],
    "archive_id": lambda d: d.uuid(30) if d.raw[KIND] & 3 == 1 else "",
    "asr_type": _constant("default"),
    "broadcast_id": lambda d: d.uuid(28) if d.raw[KIND] & 3 == 2 else "",  # noqa: PLR2004 - a feature
    "call_date_start": lambda d: timestamp(d.time - 5),
    "call_id": lambda d: d.uuid(96),
    "changed_from": _EMPTY,
    "channel": lambda d: _CHANNEL[d.raw[KIND]],
    "client_ref": _reference,
    "composer_id": _EMPTY,
    "concatenated": lambda d: "true" if d.raw[KIND] & 7 == 0 else "false",
    "conversation_id": lambda d: f"CON-{d.uuid(90)}",
    "correlation_id": lambda d: d.uuid(26),
    "country": lambda d: d.country.code,
    "country_code": lambda d: d.country.code,
    "country_name": lambda d: d.country.name,
    "creation_date": _now,
    "date_end": _later(_seconds_long),
    "date_finalized": _once_settled(_later(lambda d: _latency(d) // 1000)),
    "date_finished": _later(_seconds_long),
    "date_received": _now,
    "date_start": _now,
    "date_started": _later(lambda _: 2),
    "dcs": _ZERO,
    "direction": lambda d: d.direction,
    "duration": lambda d: str(_seconds_long(d)),
    "email_event_count": lambda d: "1" if _CHANNEL[d.raw[KIND]] == "email" else "0",
    "end_time": _later(_seconds_long),
    "error_code": lambda d: _SMS_ERRORS[_sms_status(d)][0],
    "error_code_description": lambda d: _SMS_ERRORS[_sms_status(d)][1],
    "estimated_price": _message_price,
    "event_time": _now,
    "feature_name": lambda d: _FEATURES[d.raw[KIND] & 3],
    "first_event_date": _later(lambda _: 1),
    "first_name": _EMPTY,
    "forced_from": _EMPTY,
    "from": _caller,
    "from_channel": _constant("app"),
    "from_member_id": lambda d: f"MEM-{d.uuid(84)}",
    "from_message_id": lambda d: str(d.raw[SIZE]),
    "from_user_id": lambda d: f"USR-{d.uuid(80)}",
    "hls_id": _EMPTY,
    "id": lambda d: d.uuid(64),
    "if_fraud_check": _constant("false"),
    "ip_address": lambda d: f"192.0.2.{d.raw[OWN]}",  # TEST-NET-1, RFC 5737
    "is_charged": _constant("true"),
    "items_written": lambda d: str(d.raw[SIZE] * d.raw[TEXT]),
    "job_type": _constant("ASYNC"),
    "language": lambda d: _LOCALES[d.raw[KIND] & 3],
    "last_event_date": _later(_seconds_long),
    "last_name": _EMPTY,
    "latency": _once_settled(lambda d: str(_latency(d))),
    "leg_id": lambda d: d.uuid(96),
    "length": lambda d: str(20 + d.raw[SIZE]),
    "locale": lambda d: _LOCALES[d.raw[KIND] & 3],
    "master_account_id": lambda d: d.account,
    "meeting_id": lambda d: d.uuid(88),
    "message_body": _message_body,
    "message_id": lambda d: d.uuid(64),
    "msisdn": _handset,
    "network": lambda d: d.network.code,
    "network_name": lambda d: d.network.name,
    "network_type": _constant("mobile"),
    "number": _handset,
    "number_type": _constant("MOBILE"),
    "other_ids": _EMPTY,
    "parent_request_id": lambda d: d.uuid(82) if d.raw[KIND] & 7 == 0 else "",
    "pin_length": lambda d: "6" if d.raw[KIND] & 1 else "4",
    "ported": lambda d: "ported" if d.raw[KIND] & 7 == 0 else "not_ported",
    "premium": _constant("false"),
    "price": _message_price,
    "pricing_model": _ZERO,
    "pricing_type": _constant("regular"),
    "product_name": lambda d: "camara-sim-swap" if d.raw[KIND] & 1 else "camara-number-verify",
    "product_path": lambda d: "/check" if d.raw[KIND] & 1 else "/verify",
    "product_type": _constant("HLR-LOOKUP"),
    "provider": lambda d: _PROVIDER[d.raw[KIND]],
    "provider_error_code": _EMPTY,
    "queue_duration": lambda d: str(_latency(d)),
    "queued_time": _now,
    "rcs_event_count": _ZERO,
    "reachable": lambda d: "reachable" if d.raw[STATUS] > 16 else "undeliverable",  # noqa: PLR2004 - of 256
    "record_creation_time": _now,
    "request_id": lambda d: d.uuid(96),
    "request_params": _request_params,
    "request_session_id": lambda d: d.uuid(86),
    "request_type": lambda d: "CHECK" if d.raw[KIND] & 1 else "VERIFY",
    "requested_product": _constant("SMS"),
    "response_code": _ZERO,
    "response_result": lambda d: "true" if d.raw[STATUS] & 1 else "false",
    "session_id": lambda d: d.uuid(92),
    "session_type": lambda d: "service" if d.raw[KIND] & 1 else "utility",
    "silentauth_event_count": lambda d: "1" if _CHANNEL[d.raw[KIND]] == "silent_auth" else "0",
    "size": lambda d: str(d.raw[SIZE] * 64),
    "sms_event_count": lambda d: "2" if d.raw[KIND] & 7 == 0 else "1",
    "sms_price": _message_price,
    "start_time": _now,
    "status": _constant("SUCCESS"),
    "status_code": _constant("200"),
    "status_description": _constant("OK"),
    "style": _ZERO,
    "subscriber_id": lambda d: d.uuid(94),
    "tier_volume": _constant("0-1000000_1000001-onwards"),
    "to": lambda d: _own_number(d) if d.direction == "inbound" else _handset(d),
    "total_price": _message_price,
    "trace_id": lambda d: d.hex[96:128],
    "tts_event_count": lambda d: "1" if d.raw[KIND] & 15 == 0 else "0",
    "tts_level": _constant("standard"),
    "tts_price": _ZERO,
    "tts_type": _constant("talk"),
    "udh": _EMPTY,
    "user_id": lambda d: f"USR-{d.uuid(78)}",
    "valid": _constant("valid"),
    "validity_period": _constant("259200000"),
    "whatsapp_event_count": _ZERO,
    "workflow_id": _EMPTY,
    "workflow_items_number": _EMPTY,
    "workflow_items_total": _EMPTY,
}

_CALL_PRICES: Mapping[str, Value] = {"price": _minute_price, "total_price": _call_price}

_OVERRIDES: Mapping[str, Mapping[str, Value]] = {
    "SMS": {"from": _from, "to": _to, "status": _sms_status, "total_price": _sms_price},
    "SMS-TRAFFIC-CONTROL": {"status": _constant("released")},
    "VOICE-CALL": {**_CALL_PRICES, "status": _constant("ANSWERED")},
    "VOICE-FAILED": {
        "date_end": _later(lambda d: d.raw[SIZE] & 31),
        "status": lambda d: _failure(d)[0],
        "status_code": lambda d: _failure(d)[1],
        "status_description": lambda d: _failure(d)[2],
    },
    "VOICE-TTS": {**_CALL_PRICES, "status": _constant("ok")},
    "IN-APP-VOICE": {**_CALL_PRICES, "status": _constant("200")},
    "WEBSOCKET-CALL": {**_CALL_PRICES, "status": _constant("200")},
    "ASR": {
        **_CALL_PRICES,
        "status": lambda d: "ok" if d.raw[STATUS] > 8 else "error",  # noqa: PLR2004 - of 256
        "status_description": _EMPTY,
    },
    "AMD": {"total_price": _call_price},
    "VERIFY-API": {
        "from": _constant("ACME"),
        "price": _verify_price,
        "status": _verify_status("FAILED", "SUCCESS", "IN PROGRESS"),
    },
    "VERIFY-V2": {
        "status": _verify_status("expired", "completed", "in_progress"),
        "total_price": _verify_price,
    },
    "NUMBER-INSIGHT": {"status": _constant("Success")},
    "MESSAGES": {
        "from": _from,
        "to": _to,
        "status": _messages_status,
        "error_code": lambda d: "1300" if _messages_status(d) == "rejected" else "",
        "total_price": _messages_price,
        "pricing_model": _constant("PMP"),
    },
    "VIDEO-API": {"total_price": _call_price, "tier_volume": _constant("500")},
    "NETWORK-API-EVENT": {"status": _constant("completed")},
    "REPORTS-USAGE": {
        "product_type": _constant("REPORTS-USAGE"),
        "price": _ZERO,
        "total_price": _ZERO,
    },
}


def value_of(product: str, column: str) -> Value:
    """Return the function of a product's column. An unknown column repeats its own name."""
    if column == "currency":
        return _constant(PRODUCTS[product].currency)
    overrides = _OVERRIDES.get(product, {})
    return overrides.get(column) or _DEFAULTS.get(column) or _constant(f"{column} of {product}")


def knows(column: str) -> bool:
    """Return whether records have this column."""
    return column == "currency" or column in _DEFAULTS
