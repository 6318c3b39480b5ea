"""The tables of the dataset: the columns of each product, and their types.

The single source for the converter, the catalogue and SQL. Imports the standard library only.

The OpenAPI text 3.1.4 gives names and order. One table holds both directions of a product, because
outbound records have all columns of inbound records. The OpenAPI text 2.1.17 gives types that 3.1.4
dropped (`latency`, `duration`, `concatenated`, counts of events). A column is text unless one of
the two texts calls it a number, a boolean or a time. So ids, phone numbers, MCC-MNC and codes are
text. A cell that does not fit its column's type goes to `RESCUED`.
"""

import unicodedata
from dataclasses import dataclass
from enum import Enum

SCHEMA_VERSION = 2
"""The version of the schema. Parquet files have it in their metadata, as SCHEMA_VERSION_KEY.

Version 2 types four more columns and adds `_window_start`. Send reconvert for older files.
"""

SCHEMA_VERSION_KEY = "vonage_usage_reports.schema_version"


class Type(Enum):
    """The types of columns. The values are the types' names in Athena and in the catalogue."""

    TEXT = "string"
    MONEY = "decimal(18,8)"
    INTEGER = "bigint"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"  # microseconds, UTC
    RESCUED = "map<string,string>"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table. An empty cell is NULL in every column."""

    name: str
    type: Type


CURRENCY = Column("_currency", Type.TEXT)
"""The price's currency, from the record, else from the definition, else from ACCOUNT_CURRENCY."""

REVISION = Column("_revision", Type.TEXT)
"""`final` or `preliminary`. In a preliminary row, price and status may still change."""

COLLECTED_AT = Column("_collected_at", Type.TIMESTAMP)
"""When Vonage received the request. If a record has two copies, prefer the later copy."""

WINDOW_START = Column("_window_start", Type.TIMESTAMP)
"""The start of the window. It dates a record that has no readable time."""

RESCUED = Column("_rescued", Type.RESCUED)
"""The text of cells that have no column, or do not fit its type.

The keys are the names in the CSV's header. A row without such cells has NULL.
"""

OURS = (CURRENCY, REVISION, COLLECTED_AT, WINDOW_START, RESCUED)
"""Our own columns, at the end of every table. None of Vonage's names begins with `_`."""


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of a product, without OURS, and the names of its price columns.

    A record's cost is the sum of its prices. `price` is None if the records have no price because
    they are free or billed elsewhere. `added_prices` are charged on top of `price`.
    `service_accounts` says whether `account_id` may name a service of Vonage, with a hyphen, in
    place of an account. Such a record belongs to the account of its window.
    """

    columns: tuple[Column, ...]
    price: str | None = None
    added_prices: tuple[str, ...] = ()
    service_accounts: bool = False

    @property
    def prices(self) -> tuple[str, ...]:
        """The price columns whose sum is a record's cost."""
        return () if self.price is None else (self.price, *self.added_prices)

    @property
    def times(self) -> tuple[str, ...]:
        """The time columns. The first is the one by which Vonage selects records."""
        names = [column.name for column in self.columns if column.type is Type.TIMESTAMP]
        return tuple(sorted(names, key=_rank_of_time))  # stable: the others keep their order

    @property
    def time(self) -> str | None:
        """The column by which Vonage selects records, or None."""
        return next(iter(self.times), None)

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """The columns of a Parquet file and of the catalogue's table."""
        return (*self.columns, *OURS)


_TYPES = {
    Type.MONEY: "price total_price estimated_price sms_price tts_price",
    Type.INTEGER: (
        "latency duration items_written amd_user_defined_beep_timeout sms_event_count "
        "tts_event_count whatsapp_event_count email_event_count silentauth_event_count "
        "rcs_event_count queue_duration"
    ),
    Type.BOOLEAN: (
        "concatenated amd_result_sent amd_beep_detection_result if_fraud_check is_charged"
    ),
    Type.TIMESTAMP: (
        "date_received date_finalized date_start date_end date_started date_finished "
        "call_date_start start_time end_time creation_date first_event_date last_event_date "
        "queued_time record_creation_time event_time"
    ),
}
# A name has the same meaning in every product.
_TYPE_OF = {name: type_ for type_, names in _TYPES.items() for name in names.split()}

# Vonage selects the records of a product by the first of these columns that the product has.
_SELECTED_BY = (
    *("date_received", "date_start", "creation_date", "start_time", "queued_time"),
    "record_creation_time",
)


def _rank_of_time(name: str) -> int:
    return _SELECTED_BY.index(name) if name in _SELECTED_BY else len(_SELECTED_BY)


def _table(
    columns: str,
    *,
    price: str | None = "total_price",
    added_prices: tuple[str, ...] = (),
    service_accounts: bool = False,
) -> Table:
    return Table(
        tuple(Column(name, _TYPE_OF.get(name, Type.TEXT)) for name in columns.split()),
        price,
        added_prices,
        service_accounts,
    )


TABLES: dict[str, Table] = {
    "SMS": _table(
        "account_id message_id account_ref client_ref direction from to forced_from changed_from "
        "concatenated message_body network network_name country country_name date_received "
        "date_finalized latency status error_code error_code_description currency total_price id "
        "dcs validity_period ip_address udh workflow_id tier_volume"
    ),
    "SMS-TRAFFIC-CONTROL": _table(
        "account_id queued_time message_id status queue_duration id", price=None
    ),
    "MESSAGES": _table(
        "account_id message_id client_ref direction from to message_body country country_name "
        "provider provider_error_code network network_name session_type session_id date_received "
        "date_finalized latency status error_code currency estimated_price total_price workflow_id "
        "workflow_items_number workflow_items_total pricing_model pricing_type id tier_volume"
    ),
    "VOICE-CALL": _table(
        "account_id call_id direction from to forced_from network network_name country "
        "country_name date_start date_end duration status status_description status_code currency "
        "price total_price id tier_volume"
    ),
    "VOICE-FAILED": _table(
        "account_id call_id direction from to network network_name country country_name "
        "date_start date_end status status_code status_description id",
        price=None,
    ),
    "VOICE-TTS": _table(
        "account_id from to status trace_id premium language style length size start_time end_time "
        "duration currency price total_price tts_type tts_level call_id conversation_id "
        "creation_date id"
    ),
    "IN-APP-VOICE": _table(
        "account_id request_id application_id conversation_id user_id leg_id client_ref date_start "
        "date_end duration status currency price total_price id"
    ),
    "WEBSOCKET-CALL": _table(
        "account_id call_id date_start date_end duration status currency price total_price id"
    ),
    "ASR": _table(
        "account_id call_id direction from to call_date_start date_start date_end duration status "
        "status_description currency price total_price asr_type id"
    ),
    "AMD": _table(
        "account_id start_time end_time amd_result_sent amd_detection_result "
        "amd_beep_detection_result amd_user_defined_beep_timeout amd_user_defined_behavior "
        "amd_user_defined_mode total_price currency call_id id",
        # The OpenAPI text 3.1.4 has the example nexmo-vapi-us-east-1.
        service_accounts=True,
    ),
    # VERIFY-API has no total_price. A verification costs its fee, `price`, plus its messages and
    # calls, `estimated_price`, whose parts are sms_price and tts_price. A pricing model without
    # messages has 0 there.
    # Known: both amounts exist, and the customer pays both (Vonage's SDKs: Java CheckResponse and
    # VerifyDetails, .NET VerifyCheckResponse; knowledge base 360038161032: "software fee,
    # messaging fees, and call fees").
    # Inferred: the report's `estimated_price` is the SDKs' "estimated price of messages sent". In
    # MESSAGES, a column of this name is an estimate of total_price, and not added.
    "VERIFY-API": _table(
        "account_id request_id from to locale number_type network network_name country "
        "country_name date_received date_finalized first_event_date last_event_date status "
        "sms_event_count tts_event_count currency pricing_model price estimated_price sms_price "
        "tts_price id",
        price="price",
        added_prices=("estimated_price",),
    ),
    "VERIFY-V2": _table(
        "account_id request_id parent_request_id channel to locale network network_name country "
        "status client_ref date_received sms_event_count tts_event_count whatsapp_event_count "
        "email_event_count silentauth_event_count rcs_event_count if_fraud_check pin_length "
        "currency total_price id"
    ),
    "NUMBER-INSIGHT": _table(
        "account_id request_id product_type number date_received status response_code network "
        "network_name network_type country country_name valid ported reachable first_name "
        "last_name currency total_price id"
    ),
    # Not among the products of the OpenAPI text 3.1.4, but among its schemas.
    "NUMBER-INSIGHT-V2": _table(
        "account_id request_id request_type date_received status response_code "
        "response_description network_type network_name risk risk_score swapped "
        "no_sim_change_period currency total_price id"
    ),
    "CONVERSATION-EVENT": _table(
        "account_id request_id application_id conversation_id user_id client_ref creation_date "
        "currency price total_price id"
    ),
    "CONVERSATION-MESSAGE": _table(
        "account_id trace_id application_id conversation_id other_ids from_member_id from_user_id "
        "from_channel from_message_id client_ref creation_date currency price total_price id",
        # The OpenAPI text 3.1.4 has the example nexmo-cs-us-west-2.
        service_accounts=True,
    ),
    "NETWORK-API-EVENT": _table(
        "account_id application_id record_creation_time product_name status network country_code "
        "msisdn event_time currency total_price id request_type response_result "
        "request_session_id product_path correlation_id"
    ),
    "VIDEO-API": _table(
        "account_id feature_name session_id meeting_id subscriber_id archive_id broadcast_id "
        "hls_id composer_id application_id duration date_start date_end total_price currency id "
        "tier_volume"
    ),
    "REPORTS-USAGE": _table(
        "acc product_type date_received date_started date_finished status account_id "
        "master_account_id is_charged request_params job_type requested_product items_written "
        "price currency total_price id tier_volume"
    ),
}
"""The table of each product in the specification."""


def column_name(name: str) -> str:
    """Return the name of the column for a name in a header.

    Case, blanks around the name and invisible characters (Unicode's category Cf, such as a
    zero-width space) make no difference.
    """
    visible = "".join(each for each in name if unicodedata.category(each) != "Cf")
    return visible.strip().casefold()


def table_as_it_comes(names: tuple[str, ...]) -> Table:
    """Return the table of a product that is not in TABLES, from the names in its first header.

    `names` are names of columns, as `column_name` returns them.

    Columns are text, since any type would be a guess. Only `total_price` is money, because it has
    the same meaning in every product, and the totals need it. The catalogue never has such a table,
    because another file may have other names.
    """
    return Table(
        tuple(
            Column(name, Type.MONEY if name == "total_price" else Type.TEXT)
            for name in names
            if name not in {ours.name for ours in OURS}
        ),
        "total_price" if "total_price" in names else None,
    )
