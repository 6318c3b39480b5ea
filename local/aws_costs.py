"""Computes a stack's monthly costs at AWS for docs/deploy.md, from list prices and counted usage.

Free tiers are not subtracted. Each estimate of `Usage` says where it is from.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from local.stack.emulator import ROOT
from local.stack.template import read_template

PRICES_ARE = "list prices of eu-west-1 in USD, as published in 2025"

GB_SECOND = 0.0000133334  # Lambda, arm64
INVOCATION = 0.20 / 1e6
STATE_TRANSITION = 0.025 / 1e3  # Step Functions, standard workflows
WRITE_UNIT = 0.705 / 1e6  # DynamoDB, on demand
READ_UNIT = 0.1415 / 1e6
SECRET = 0.40
SECRET_READ = 0.05 / 1e4
METRIC = 0.30  # CloudWatch, prorated by the hours in which the metric has data
ALARM = 0.10
DASHBOARD = 3.00
LOG_GB = 0.57
TRACE = 5.00 / 1e6  # X-Ray
PUT = 0.005 / 1e3  # S3
GET = 0.0004 / 1e3
STORED_GB = 0.023

DAYS, HOURS = 30, 720
SWEEPS = DAYS * 24 * 12

GAUGES = 7
"""Metrics of each sweep."""
BY_DEFINITION = (
    *("BilledRecords", "Deliveries", "GenerationSeconds", "HoursToDelivery"),
    *("ReportsBoughtAgain", "ReportsRequested", "RescuedCells", "RowsDelivered"),
    "VolumeDeviation",
)
"""Metrics of each delivered report, by stack, and by stack and definition."""


@dataclass(frozen=True)
class Usage:
    """A stack that collects a million records a day, in equal reports."""

    definitions: int
    schedules: int
    """Schedules in a month. Each plans one window of each definition."""
    records: int = DAYS * 1_000_000

    @property
    def reports(self) -> int:
        """The reports of a month."""
        return self.definitions * self.schedules

    @property
    def invocations(self) -> int:
        """Sweeps, schedules, and for each report the end of its run, 2 polls, store, convert."""
        return SWEEPS + self.schedules + 5 * self.reports

    @property
    def gb_seconds(self) -> float:
        """Memory by the template; seconds rounded up from `make bench`, with 1 s for each call."""
        planning = 2 + 0.1 * self.definitions
        submit = 0.5 * (SWEEPS * 1 + self.schedules * planning + self.reports * 3)
        check = 0.25 * self.reports * 2 * 1
        megabytes, rows = self.records * 70 / 1e6, self.records
        store = 1.769 * (self.reports * 2 + megabytes / 50)
        convert = 1.769 * (self.reports * 3 + rows / 150_000)
        return submit + check + store + convert

    @property
    def metric_months(self) -> float:
        """Metrics of the stack. A metric without data in an hour costs nothing in that hour."""
        return GAUGES + len(BY_DEFINITION) * self.schedules / HOURS

    @property
    def detailed_metric_months(self) -> float:
        """Metrics by definition."""
        return len(BY_DEFINITION) * self.definitions * self.schedules / HOURS


USAGES: Mapping[str, Usage] = {
    "9 daily": Usage(9, DAYS),
    "9 hourly": Usage(9, HOURS),
    "83 hourly": Usage(83, HOURS),
}


def costs_of(usage: Usage) -> dict[str, float]:
    """Return the costs of a month by part, in USD, without the metrics by definition."""
    resources = read_template(ROOT / "template.yaml")["Resources"].values()
    alarms = sum(each["Type"] == "AWS::CloudWatch::Alarm" for each in resources)
    # `make bench PART=ledger`: 3 units for a sweep, 12 for a planned report. Settling and
    # submitting write about ten items in transactions, which count twice.
    read, written = 3 * usage.invocations, (12 + 30) * usage.reports
    return {
        "functions": usage.gb_seconds * GB_SECOND + usage.invocations * INVOCATION,
        # With two polls, a run enters 12 states.
        "workflow": 12 * usage.reports * STATE_TRANSITION,
        "table": read * READ_UNIT + written * WRITE_UNIT,
        "secret": SECRET + (SWEEPS + 3 * usage.reports) * SECRET_READ,
        # About ten writes for each report: parts, receipt, dataset, header, manifest.
        "requests to the bucket": usage.reports * (10 * PUT + 10 * GET),
        # Archive and dataset have about 130 bytes for each record.
        "each kept month of archives and dataset": usage.records * 130 / 1e9 * STORED_GB,
        "logs and traces": usage.invocations * (3e3 / 1e9 * LOG_GB + TRACE),
        f"{alarms} alarms": alarms * ALARM,
        "dashboard": DASHBOARD,
        "metrics of the stack": usage.metric_months * METRIC,
    }


def aws_costs() -> Iterator[str]:
    """Yield the table of costs."""
    columns = {name: costs_of(usage) for name, usage in USAGES.items()}
    yield f"| part | {' | '.join(USAGES)} |"
    yield f"|---|{'---|' * len(USAGES)}"
    for part in next(iter(columns.values())):
        yield _row(part, *(costs[part] for costs in columns.values()))
    yield _row("**total**", *(sum(costs.values()) for costs in columns.values()))
    yield _row(
        "metrics by definition, added to the total",
        *(usage.detailed_metric_months * METRIC for usage in USAGES.values()),
    )


def _row(name: str, *costs: float) -> str:
    return f"| {name} | {' | '.join(f'{cost:,.2f}' for cost in costs)} |"
