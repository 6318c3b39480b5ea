"""The optional settings and their defaults, read from the environment.

docs/settings.md lists the settings. Required variables are not settings. They are read where they
are needed, with `os.environ[...]`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from vonage_reports.domain.errors import InvalidRequest


class PeriodLength(StrEnum):
    """The length of the periods that are announced as complete."""

    MONTH = "month"
    DAY = "day"
    NONE = "none"


@dataclass(frozen=True)
class Settings:
    """The values that the operator may change without changing code."""

    wait_scale: float = 1.0
    """`WAIT_SCALE`: a factor from 0 to 1 for every wait and lease of `submit_reports`."""
    request_interval: float = 0.25
    """`REQUEST_INTERVAL`: how many seconds lie between two requests. Vonage allows 5 a second."""
    max_billed_records: int = 10_000_000
    """`MAX_BILLED_RECORDS`: how many records a backfill may bill without a confirmation."""
    max_billed_records_month: int = 0
    """`MAX_BILLED_RECORDS_MONTH`: how many records Vonage may bill in a month (UTC). 0: no cap."""
    overdue_hours: float = 30.0
    """`OVERDUE_HOURS`: how many hours a due window may be undelivered before it is announced."""
    period_length: PeriodLength = PeriodLength.MONTH
    """`PERIOD_LENGTH`: announce each complete `month` or `day`, or `none`."""
    row_check: str = "enforce"
    """`ROW_CHECK`: if Vonage counted another number of rows, `enforce` fails the report, and `warn`
    notes the difference in the manifest."""
    detailed_metrics: bool = True
    """`DETAILED_METRICS`: whether the metrics of a definition also have the dimension `definition`.
    `off` also leaves out the gauges that no alarm reads."""
    account_currency: str | None = None
    """`ACCOUNT_CURRENCY`: the default currency of rows, if their definition has no currency."""
    catalogue: str = "on"
    """`CATALOGUE`: `off` if the stack has no Glue database."""
    callback: str = "off"
    """`CALLBACK`: `function-url` if Vonage calls the stack when a report ends."""
    pacing_file: str | None = None
    """`PACING_FILE`: a file through which processes of one machine share `REQUEST_INTERVAL`."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings. An empty value counts as unset. Raises InvalidRequest."""
        return cls(
            wait_scale=_number(environment, "WAIT_SCALE", cls.wait_scale, 0, 1),
            request_interval=_number(environment, "REQUEST_INTERVAL", cls.request_interval, 0, 60),
            max_billed_records=int(
                _number(environment, "MAX_BILLED_RECORDS", cls.max_billed_records, 0, 10**12)
            ),
            max_billed_records_month=int(
                _number(environment, "MAX_BILLED_RECORDS_MONTH", 0, 0, 10**12)
            ),
            overdue_hours=_number(environment, "OVERDUE_HOURS", cls.overdue_hours, 0, 10**6),
            period_length=PeriodLength(_choice(environment, "PERIOD_LENGTH", tuple(PeriodLength))),
            row_check=_choice(environment, "ROW_CHECK", ("enforce", "warn")),
            detailed_metrics=_choice(environment, "DETAILED_METRICS", ("on", "off")) == "on",
            account_currency=environment.get("ACCOUNT_CURRENCY") or None,
            catalogue=_choice(environment, "CATALOGUE", ("on", "off")),
            callback=_choice(environment, "CALLBACK", ("off", "function-url")),
            pacing_file=environment.get("PACING_FILE") or None,
        )


def _number(
    environment: Mapping[str, str], name: str, default: float, low: float, high: float
) -> float:
    text = environment.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise InvalidRequest(f"{name} is {text!r}; write a number from {low:g} to {high:g}")
    return value


def _choice(environment: Mapping[str, str], name: str, choices: Sequence[str]) -> str:
    """Read one of several words. The first word is the default."""
    text = environment.get(name) or choices[0]
    if text not in choices:
        raise InvalidRequest(f"{name} is {text!r}; write {' or '.join(choices)}")
    return text
