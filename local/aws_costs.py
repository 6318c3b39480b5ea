"""Computes a stack's monthly costs at AWS for docs/deploy.md, from list prices and counted usage.

Free tiers are not subtracted. Each estimate of `Usage` says where it is from.
"""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from local.stack.emulator import ROOT
from local.stack.template import read_template
from vonage_reports.domain.metrics import ALARMING_GAUGES, CHARTED_GAUGES

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

COUNTERS = (
    *("BilledRecords", "Deliveries", "GenerationSeconds", "HoursToDelivery"),
    *("ReportsRequested", "RowsDelivered", "VolumeDeviation"),
)
"""Metrics of each delivered report, by stack, and by stack and definition.

ReportsBoughtAgain, ReportsFailed and RescuedCells are 0 for a usual report, so they are not sent.
"""

FREE_ALARMS, FREE_METRICS = 10, 10
"""CloudWatch's free tier for an account, in all its regions together."""


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


USAGES: Mapping[str, Usage] = {
    "9 daily": Usage(9, DAYS),
    "9 hourly": Usage(9, HOURS),
    "83 hourly": Usage(83, HOURS),
}


@cache
def _template() -> Mapping[str, Any]:
    return read_template(ROOT / "template.yaml")


def everything_off() -> dict[str, str]:
    """Return the parameters that turn every optional part of the template off."""
    declared = _template()["Parameters"].items()
    return {name: "off" for name, each in declared if each.get("AllowedValues") == ["on", "off"]}


def resources_of(parameters: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
    """Return the template's resources that a stack with these parameters has, by logical id."""
    template = _template()
    defaults = {name: each["Default"] for name, each in template["Parameters"].items()}
    values = {**defaults, **parameters}
    holds = {name: _holds(each, values) for name, each in template["Conditions"].items()}
    return {
        name: each
        for name, each in template["Resources"].items()
        if "Condition" not in each or holds[each["Condition"]]
    }


def _holds(condition: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Evaluate a condition of the template, made of Not, Equals and Ref. Raises ValueError."""
    ((name, arguments),) = condition.items()
    if name == "Fn::Not":
        return not _holds(arguments[0], values)
    if name != "Fn::Equals":
        raise ValueError(f"a condition of template.yaml has {name}, which this module cannot read")
    first, second = (
        str(values[each["Ref"]]) if isinstance(each, Mapping) else str(each) for each in arguments
    )
    return first == second


@dataclass(frozen=True)
class Watched:
    """How many alarms and dashboards a stack has, and how many metrics in a month."""

    alarms: int
    dashboards: int
    gauges: int
    counters: float
    by_definition: float

    @classmethod
    def of(cls, usage: Usage, parameters: Mapping[str, str]) -> "Watched":
        """Count what a stack with these parameters has."""
        found = resources_of(parameters).values()
        alarms = [each["Properties"] for each in found if each["Type"] == "AWS::CloudWatch::Alarm"]
        read = {each["MetricName"] for each in alarms} & {*ALARMING_GAUGES}
        is_detailed = parameters.get("DetailedMetrics") != "off"
        # CloudWatch does not bill a metric in an hour without data.
        counters = len(COUNTERS) * usage.schedules / HOURS
        return cls(
            alarms=len(alarms),
            dashboards=sum(each["Type"] == "AWS::CloudWatch::Dashboard" for each in found),
            gauges=len(read) + (len(CHARTED_GAUGES) if is_detailed else 0),
            counters=counters,
            by_definition=usage.definitions * counters if is_detailed else 0,
        )


def costs_of(usage: Usage, parameters: Mapping[str, str] | None = None) -> dict[str, float]:
    """Return the costs of a month by part, in USD, with parameters of the template."""
    watched = Watched.of(usage, parameters or {})
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
        "alarms": watched.alarms * ALARM,
        "gauges": watched.gauges * METRIC,
        "counters of the stack": watched.counters * METRIC,
        "counters by definition": watched.by_definition * METRIC,
        "dashboard": watched.dashboards * DASHBOARD,
    }


def aws_costs() -> Iterator[str]:
    """Yield the table of costs, and the sum of a stack with everything optional off."""
    off = everything_off()
    columns = {name: costs_of(usage) for name, usage in USAGES.items()}
    for name in ("9 daily", "83 hourly"):
        columns[f"{name}, all off"] = costs_of(USAGES[name], off)
    yield f"| part | {' | '.join(columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for part in next(iter(columns.values())):
        yield _row(part, *(costs[part] for costs in columns.values()))
    yield _row("**total**", *(sum(costs.values()) for costs in columns.values()))
    yield ""
    yield from textwrap.wrap(_further_stack(USAGES["9 daily"], off), _WIDTH)


_WIDTH = 128


def _row(name: str, *costs: float) -> str:
    return f"| {name} | {' | '.join(f'{cost:,.2f}' for cost in costs)} |"


def _further_stack(usage: Usage, off: Mapping[str, str]) -> str:
    costs, watched = costs_of(usage, off), Watched.of(usage, off)
    total = sum(costs.values())
    settings = ", ".join(f"`{name}`" for name in off)
    fixed = sum(costs[part] for part in ("alarms", "gauges", "secret"))
    free = min(watched.alarms, FREE_ALARMS) * ALARM
    free += min(watched.gauges + watched.counters, FREE_METRICS) * METRIC
    return (
        f"**All off** means `off` for {settings}. A further stack with all off and 9 daily "
        f"definitions costs {total:.2f} USD a month. Of these, {fixed:.2f} USD do "
        f"not depend on its reports: {watched.alarms} alarms ({costs['alarms']:.2f}), the "
        f"{watched.gauges} gauges that they read ({costs['gauges']:.2f}), and the secret with its "
        f"reads ({costs['secret']:.2f}). **At list prices, no stack costs below 2 USD "
        "a month, because of the alarms and their gauges.** Two alarms exist only where they have "
        "a use: `CatalogueWaitingAlarm` with `Catalogue` `on`, and `SpendCappedAlarm` with a cap "
        "in `MaxBilledRecordsMonth`. No setting turns off another. In an account with an "
        f"unused free tier of CloudWatch, the same stack costs {total - free:.2f} USD."
    )
