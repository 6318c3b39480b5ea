"""The simulator's settings, which may change at its start and while it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace

from .imperfections import IMPERFECTIONS
from .products import PRODUCTS

CHOICES = {
    "jobs_policy": ("refuse", "queue"),
    "empty_report": ("header_only", "zero_bytes", "no_link"),
    "imperfect": IMPERFECTIONS,
}

LEAST = {"jobs_limit": 1, "zip_members": 1}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Volume, speed, policies and formats. A report keeps the settings of its creation.

    Attributes:
        seed: Selects one of many sets of records.
        rows_per_day: Records per UTC day for each product, account and direction.
        rows_per_day_by_product: Exceptions from `rows_per_day`, by product.
        settling_hours: How long statuses and prices may change. Vonage states 72 hours.
        seconds_per_report: The shortest simulated time from the POST to SUCCESS, in seconds.
        rows_per_second: Rows rendered per simulated second. 0 means no limit. Vonage states 5 to 10
            minutes per million rows, about 2,000 rows a second.
        requests_per_second: How many requests Vonage accepts in any one second. 0 means no limit.
        jobs_limit: How many reports may be PENDING or PROCESSING at once.
        jobs_policy: Behaviour above `jobs_limit`, which Vonage does not document. `refuse` answers
            429. `queue` keeps the report PENDING until another report has ended.
        retry_after: The value of this header in every 429, in seconds.
        max_records: A report with more records is TRUNCATED to its newest records. Vonage states 7
            million as the capacity of a 1 GB archive.
        secrets: The key's valid secrets. Vonage allows two during a rotation. If empty, the
            secret given at the simulator's start is valid.
        unprovisioned_products: Products that answer the 401 "not enabled for the account".
        created_accounts: Sub-accounts beside those of the start, with the time of their creation.
        suspended_accounts: Sub-accounts that the list of the Subaccounts API shows as suspended.
        closed_accounts: Sub-accounts that this list shows no more. Whether Vonage lists a closed
            account is unknown.
        forbidden_accounts: Accounts for which a POST answers 403.
        subaccounts_api: Whether the key may use the Subaccounts API. If not, it answers 403.
        callbacks_to: The address (host:port) that gets every callback, instead of the host in its
            URL. If empty, the simulator makes no callback.
        callbacks_trust: A file with the authorities that callbacks over https trust.
        empty_report: The form of a report without rows.
        extra_columns: Columns added at the end, as Vonage might add them.
        inserted_column: A column added in the middle, as Vonage might add it.
        crlf: End lines with CR LF instead of LF.
        final_newline: End the last line too.
        zip_members: How many CSV files an archive has. Each file has a share of the rows.
        zip_stored: Leave the members uncompressed.
        zip64: Write ZIP64 records at any size.
        imperfect: The imperfections of every report, see `imperfections.py`.
    """

    seed: int = 1
    rows_per_day: int = 3000
    rows_per_day_by_product: Mapping[str, int] = field(default_factory=dict)
    settling_hours: float = 72.0
    seconds_per_report: float = 1.0
    rows_per_second: float = 20_000.0
    requests_per_second: int = 5
    jobs_limit: int = 5
    jobs_policy: str = "refuse"
    retry_after: int = 1
    max_records: int = 7_000_000
    secrets: tuple[str, ...] = ()
    unprovisioned_products: tuple[str, ...] = ()
    created_accounts: Mapping[str, str] = field(default_factory=dict)
    suspended_accounts: tuple[str, ...] = ()
    closed_accounts: tuple[str, ...] = ()
    forbidden_accounts: tuple[str, ...] = ()
    subaccounts_api: bool = True
    callbacks_to: str = ""
    callbacks_trust: str = ""
    empty_report: str = "header_only"
    extra_columns: tuple[str, ...] = ()
    inserted_column: str = ""
    crlf: bool = False
    final_newline: bool = True
    zip_members: int = 1
    zip_stored: bool = False
    zip64: bool = False
    imperfect: tuple[str, ...] = ()

    def rows_per_day_of(self, product: str) -> int:
        """Return how many records a product has per UTC day, account and direction."""
        return self.rows_per_day_by_product.get(product, self.rows_per_day)

    def changed(self, changes: Mapping[str, object]) -> "Settings":
        """Return a copy with `changes`, which are JSON values.

        Raises:
            ValueError: A setting does not exist or does not accept its value.
        """
        defaults = {f.name: getattr(Settings(), f.name) for f in fields(Settings)}
        unknown = changes.keys() - defaults.keys()
        if unknown:
            raise ValueError(f"no such setting: {', '.join(sorted(unknown))}")
        checked = {name: _checked(name, defaults[name], value) for name, value in changes.items()}
        return replace(self, **checked)  # type: ignore[arg-type]  # _checked checked the types


_ENTRIES: Mapping[str, Callable[[object, object], bool]] = {
    "rows_per_day_by_product": lambda product, rows: (
        product in PRODUCTS and isinstance(rows, int) and not isinstance(rows, bool) and rows >= 0
    ),
    "created_accounts": lambda _, created_at: isinstance(created_at, str),
}
"""The settings that are objects: what an entry may be."""


def _checked(name: str, default: object, value: object) -> object:
    if name in _ENTRIES:
        if isinstance(value, dict) and all(_ENTRIES[name](*entry) for entry in value.items()):
            return value
    elif isinstance(default, tuple):
        if isinstance(value, list | tuple) and all(
            isinstance(item, str) and item in CHOICES.get(name, (item,)) for item in value
        ):
            return tuple(value)
    elif isinstance(default, bool | str):
        if type(value) is type(default) and value in CHOICES.get(name, (value,)):
            return value
    elif (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and value >= LEAST.get(name, 0)
    ):
        if isinstance(default, float):
            return float(value)
        if isinstance(value, int):
            return value
    raise ValueError(f"setting {name} does not accept {value!r}")
