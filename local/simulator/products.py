"""The 18 products of the Reports API as data: columns, filters, direction, retention.

Source: OpenAPI 3.1.4 (archived 2026-10-08). Columns have the order of its schemas, which is also
their order in real archives. Vonage was seen to refuse `direction` (422) for VOICE-TTS and
WEBSOCKET-CALL. The schemas imply the same refusal for the other products.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Direction(Enum):
    """How a product treats the parameter `direction`."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True)
class Product:
    """One product: its parameters and its CSV.

    Attributes:
        name: The API's name.
        columns: All columns of the CSV, in order.
        inbound_columns: The columns of inbound records, if they differ.
        date_column: The column by which `date_start` and `date_end` select records.
        direction: Whether the parameter `direction` is required, optional or refused.
        filters: Filter names with their allowed values. An empty tuple allows any text.
        switches: Boolean parameters, each of which adds a column to the CSV.
        retention_days: How many days a record stays available. None means 13 months.
        currency: Value of the column `currency`.
        free: Whether reports cost nothing.
    """

    name: str
    columns: tuple[str, ...]
    inbound_columns: tuple[str, ...] = ()
    date_column: str
    direction: Direction = Direction.REFUSED
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    switches: tuple[str, ...] = ()
    retention_days: int | None = None
    currency: str = "EUR"
    free: bool = False

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions of the product's records, or one empty string without directions."""
        return ("",) if self.direction is Direction.REFUSED else ("outbound", "inbound")

    def columns_for(self, direction: str, switches_on: frozenset[str]) -> tuple[str, ...]:
        """Return the columns of a report with this direction and these switches."""
        inbound = direction == "inbound" and self.inbound_columns
        hidden = {SWITCHED_COLUMNS[s] for s in self.switches if s not in switches_on}
        return tuple(
            column
            for column in (self.inbound_columns if inbound else self.columns)
            if column not in hidden
        )


# The column that each boolean parameter adds. Real archives made with include_message=false lack
# the column message_body.
SWITCHED_COLUMNS = {"include_message": "message_body", "show_concatenated": "concatenated"}

ANY: tuple[str, ...] = ()

SMS_STATUSES = (
    "delivered", "expired", "accepted", "deleted", "unknown", "submitted", "failed", "rejected",
    "buffered",
)  # fmt: skip
MESSAGES_STATUSES = ("submitted", "delivered", "read", "rejected", "undeliverable")
MESSAGES_PROVIDERS = (
    "whatsapp", "sms", "mms", "messenger", "viber_service_msg", "instagram", "rcs", "email",
)  # fmt: skip


def _columns(names: str) -> tuple[str, ...]:
    return tuple(names.split())


_ALL = (
    Product(
        name="SMS",
        columns=_columns(
            "account_id message_id account_ref client_ref direction from to forced_from "
            "changed_from concatenated message_body network network_name country country_name "
            "date_received date_finalized latency status error_code error_code_description "
            "currency total_price id dcs validity_period ip_address udh workflow_id tier_volume"
        ),
        inbound_columns=_columns(
            "account_id message_id direction from to network network_name country country_name "
            "date_received currency total_price id message_body tier_volume"
        ),
        date_column="date_received",
        direction=Direction.REQUIRED,
        filters={
            "status": SMS_STATUSES,
            "from": ANY,
            "to": ANY,
            "country": ANY,
            "network": ANY,
            "client_ref": ANY,
            "account_ref": ANY,
        },
        switches=("include_message", "show_concatenated"),
        currency="",
    ),
    Product(
        name="SMS-TRAFFIC-CONTROL",
        columns=_columns("account_id queued_time message_id status queue_duration id"),
        date_column="queued_time",
    ),
    Product(
        name="VOICE-CALL",
        columns=_columns(
            "account_id call_id direction from to forced_from network network_name country "
            "country_name date_start date_end duration status status_description status_code "
            "currency price total_price id tier_volume"
        ),
        date_column="date_start",
        direction=Direction.OPTIONAL,
        filters={
            "from": ANY,
            "to": ANY,
            "country": ANY,
            "network": ANY,
            "status": ("ANSWERED", "MACHINE", "ERROR"),
            "call_id": ANY,
        },
    ),
    Product(
        name="VOICE-FAILED",
        columns=_columns(
            "account_id call_id direction from to network network_name country country_name "
            "date_start date_end status status_code status_description id"
        ),
        date_column="date_start",
        direction=Direction.OPTIONAL,
        filters={"from": ANY, "to": ANY, "country": ANY, "call_id": ANY},
    ),
    Product(
        name="VOICE-TTS",
        columns=_columns(
            "account_id from to status trace_id premium language style length size start_time "
            "end_time duration currency price total_price tts_type tts_level call_id "
            "conversation_id creation_date id"
        ),
        date_column="creation_date",
        filters={"call_id": ANY},
    ),
    Product(
        name="IN-APP-VOICE",
        columns=_columns(
            "account_id request_id application_id conversation_id user_id leg_id client_ref "
            "date_start date_end duration status currency price total_price id"
        ),
        date_column="date_start",
        filters={"conversation_id": ANY, "status": ANY, "leg_id": ANY},
    ),
    Product(
        name="WEBSOCKET-CALL",
        columns=_columns(
            "account_id call_id date_start date_end duration status currency price total_price id"
        ),
        date_column="date_start",
        filters={"call_id": ANY},
    ),
    Product(
        name="ASR",
        columns=_columns(
            "account_id call_id direction from to call_date_start date_start date_end duration "
            "status status_description currency price total_price asr_type id"
        ),
        date_column="date_start",
        direction=Direction.OPTIONAL,
        filters={"from": ANY, "to": ANY, "call_id": ANY},
    ),
    Product(
        name="AMD",
        columns=_columns(
            "account_id start_time end_time amd_result_sent amd_detection_result "
            "amd_beep_detection_result amd_user_defined_beep_timeout amd_user_defined_behavior "
            "amd_user_defined_mode total_price currency call_id id"
        ),
        date_column="start_time",
        filters={"call_id": ANY},
    ),
    Product(
        name="VERIFY-API",
        columns=_columns(
            "account_id request_id from to locale number_type network network_name country "
            "country_name date_received date_finalized first_event_date last_event_date status "
            "sms_event_count tts_event_count currency pricing_model price estimated_price "
            "sms_price tts_price id"
        ),
        date_column="date_received",
        filters={"to": ANY, "network": ANY},
        currency="",
    ),
    Product(
        name="VERIFY-V2",
        columns=_columns(
            "account_id request_id parent_request_id channel to locale network network_name "
            "country status client_ref date_received sms_event_count tts_event_count "
            "whatsapp_event_count email_event_count silentauth_event_count rcs_event_count "
            "if_fraud_check pin_length currency total_price id"
        ),
        date_column="date_received",
        filters={
            "channel": ("v2", "email", "silent_auth"),
            "parent_request_id": ANY,
            "to": ANY,
            "locale": ANY,
            "network": ANY,
            "country": ANY,
            "status": ANY,
        },
    ),
    Product(
        name="NUMBER-INSIGHT",
        columns=_columns(
            "account_id request_id product_type number date_received status response_code network "
            "network_name network_type country country_name valid ported reachable first_name "
            "last_name currency total_price id"
        ),
        date_column="date_received",
        filters={"number": ANY, "network": ANY},
        currency="",
    ),
    Product(
        name="CONVERSATION-EVENT",
        columns=_columns(
            "account_id request_id application_id conversation_id user_id client_ref "
            "creation_date currency price total_price id"
        ),
        date_column="creation_date",
        filters={"conversation_id": ANY, "status": ANY},
    ),
    Product(
        name="CONVERSATION-MESSAGE",
        columns=_columns(
            "account_id trace_id application_id conversation_id other_ids from_member_id "
            "from_user_id from_channel from_message_id client_ref creation_date currency price "
            "total_price id"
        ),
        date_column="creation_date",
        filters={"conversation_id": ANY},
    ),
    Product(
        name="MESSAGES",
        columns=_columns(
            "account_id message_id client_ref direction from to message_body country country_name "
            "provider provider_error_code network network_name session_type session_id "
            "date_received date_finalized latency status error_code currency estimated_price "
            "total_price workflow_id workflow_items_number workflow_items_total pricing_model "
            "pricing_type id tier_volume"
        ),
        inbound_columns=_columns(
            "account_id message_id direction from to message_body provider network network_name "
            "date_received currency total_price id tier_volume"
        ),
        date_column="date_received",
        direction=Direction.REQUIRED,
        filters={
            "status": MESSAGES_STATUSES,
            "from": ANY,
            "to": ANY,
            "provider": MESSAGES_PROVIDERS,
            "country": ANY,
        },
        switches=("include_message",),
    ),
    Product(
        name="VIDEO-API",
        columns=_columns(
            "account_id feature_name session_id meeting_id subscriber_id archive_id broadcast_id "
            "hls_id composer_id application_id duration date_start date_end total_price currency "
            "id tier_volume"
        ),
        date_column="date_start",
        filters={"session_id": ANY, "meeting_id": ANY},
        retention_days=90,
    ),
    Product(
        name="NETWORK-API-EVENT",
        columns=_columns(
            "account_id application_id record_creation_time product_name status network "
            "country_code msisdn event_time currency total_price id request_type response_result "
            "request_session_id product_path correlation_id"
        ),
        date_column="record_creation_time",
        filters={
            "product_name": ANY,
            "request_type": ANY,
            "request_session_id": ANY,
            "product_path": ANY,
            "correlation_id": ANY,
        },
    ),
    Product(
        name="REPORTS-USAGE",
        columns=_columns(
            "acc product_type date_received date_started date_finished status account_id "
            "master_account_id is_charged request_params job_type requested_product items_written "
            "price currency total_price id tier_volume"
        ),
        date_column="date_received",
        free=True,
    ),
)

PRODUCTS: Mapping[str, Product] = {product.name: product for product in _ALL}
