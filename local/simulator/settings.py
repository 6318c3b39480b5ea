"""Everything about the simulator that can be set, at its start and while it runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from .products import PRODUCTS

CHOICES = {
    "jobs_policy": ("refuse", "queue"),
    "empty_report": ("header_only", "zero_bytes", "no_link"),
}

LEAST = {"jobs_limit": 1, "zip_members": 1}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Volume, speed, policy and shape. A report keeps the settings it was created under.

    Attributes:
        seed: Selects one world of records out of many.
        rows_per_day: Records per UTC day of each product, account and direction.
        rows_per_day_by_product: The same for single products.
        settling_hours: For how long statuses and prices of records may move; Vonage names 72.
        seconds_per_report: Simulated seconds from the POST to SUCCESS, at least.
        rows_per_second: Rows that a report gains per simulated second; 0 sets no limit. Vonage
            names 5 to 10 minutes per million, about 2,000 a second.
        requests_per_second: Above this many in any one second the answer is 429; 0 sets no limit.
        jobs_limit: Reports that may be PENDING or PROCESSING at the same time.
        jobs_policy: What happens above that, which Vonage does not say: `refuse` answers 429,
            `queue` accepts and leaves the report PENDING until another has ended.
        retry_after: The header of every 429, in seconds.
        max_records: A report with more becomes TRUNCATED and holds the newest. Vonage names 7
            million as what an archive of 1 GB has room for.
        secrets: Those that are valid for the key, of which Vonage allows two at once while they are
            rotated. None: the one that the simulator was started with.
        unprovisioned_products: Answered with the 401 that means "not enabled for the account".
        empty_report: How a report without rows looks.
        extra_columns: Columns that Vonage might add at the end.
        inserted_column: A column that Vonage might add in the middle.
        crlf: Ends lines with CR LF instead of LF.
        final_newline: Ends the last line.
        zip_members: CSV files per archive; the rows are spread over them.
        zip_stored: Leaves the members uncompressed.
        zip64: Writes ZIP64 records whatever the size.
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
    empty_report: str = "header_only"
    extra_columns: tuple[str, ...] = ()
    inserted_column: str = ""
    crlf: bool = False
    final_newline: bool = True
    zip_members: int = 1
    zip_stored: bool = False
    zip64: bool = False

    def rows_per_day_of(self, product: str) -> int:
        """Records per UTC day, account and direction of one product."""
        return self.rows_per_day_by_product.get(product, self.rows_per_day)

    def changed(self, changes: Mapping[str, object]) -> "Settings":
        """Return a copy with `changes` (JSON values) made.

        Raises:
            ValueError: A setting does not exist or its value has the wrong type.
        """
        defaults = {f.name: getattr(Settings(), f.name) for f in fields(Settings)}
        unknown = changes.keys() - defaults.keys()
        if unknown:
            raise ValueError(f"no such setting: {', '.join(sorted(unknown))}")
        checked = {name: _checked(name, defaults[name], value) for name, value in changes.items()}
        return replace(self, **checked)  # type: ignore[arg-type]  # _checked has seen to the types


def _checked(name: str, default: object, value: object) -> object:
    if name == "rows_per_day_by_product":
        if isinstance(value, dict) and all(
            product in PRODUCTS and type(rows) is int and rows >= 0
            for product, rows in value.items()
        ):
            return value
    elif isinstance(default, tuple):
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
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
    raise ValueError(f"setting {name} cannot be {value!r}")
