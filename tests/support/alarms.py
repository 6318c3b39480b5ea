"""The template's alarms and dashboard, evaluated on a function's log as CloudWatch does."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import Any

from local.aws_costs import resources_of
from local.stack.template import read_template
from tests.support.paths import ROOT

TEMPLATE = read_template(ROOT / "template.yaml")
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
ALARMS: dict[str, dict[str, Any]] = {
    name.removesuffix("Alarm"): resource["Properties"]
    for name, resource in RESOURCES.items()
    if resource["Type"] == "AWS::CloudWatch::Alarm"
}
STACK = "stack-of-tests"
OURS = "VonageUsageReports"

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": ge,
    "GreaterThanThreshold": gt,
    "LessThanOrEqualToThreshold": le,
    "LessThanThreshold": lt,
}
_STATISTICS: dict[str, Callable[[list[float]], float]] = {"Sum": sum, "Maximum": max}

Series = tuple[str, str, frozenset[tuple[str, str]]]
"""The identity of a metric in CloudWatch: namespace, name, dimensions."""


@dataclass(frozen=True)
class Datum:
    """One value of one metric."""

    series: Series
    value: float
    unit: str

    @property
    def name(self) -> str:
        return self.series[1]


def metrics_in(log: str) -> list[Datum]:
    """Read the lines in embedded metric format from a log, as CloudWatch does.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    return [datum for line in log.splitlines() if line.startswith("{") for datum in _data(line)]


def _data(line: str) -> Iterator[Datum]:
    document = json.loads(line)
    for directive in document.get("_aws", {}).get("CloudWatchMetrics", []):
        for names in directive["Dimensions"]:
            dimensions = frozenset((name, document[name]) for name in names)
            for metric in directive["Metrics"]:
                value = document[metric["Name"]]
                for each in value if isinstance(value, list) else [value]:
                    series = (directive["Namespace"], metric["Name"], dimensions)
                    yield Datum(series, each, metric["Unit"])


def resolved(value: Any) -> Any:
    """Resolve a reference to the stack's name, and to a parameter by its default."""
    if value == {"Ref": "AWS::StackName"}:
        return STACK
    if isinstance(value, dict) and value.get("Ref") in TEMPLATE["Parameters"]:
        return TEMPLATE["Parameters"][value["Ref"]]["Default"]
    return value


def alarms_of_stack(parameters: Mapping[str, str]) -> set[str]:
    """Return the names of the alarms that a stack with these parameters has, as in ALARMS."""
    found = resources_of(parameters)
    return {name for name in ALARMS if f"{name}Alarm" in found}


def series_of(alarm: Mapping[str, Any]) -> Series:
    dimensions = [(each["Name"], resolved(each["Value"])) for each in alarm["Dimensions"]]
    return alarm["Namespace"], alarm["MetricName"], frozenset(dimensions)


def goes_off(alarm: Mapping[str, Any], *periods: Sequence[Datum]) -> bool | None:
    """Return whether an alarm is in ALARM after these periods, the latest first; None: no change.

    CloudWatch looks further back than the periods to evaluate, and applies `TreatMissingData` only
    to datapoints that it does not find there. Its documentation gives the range in one example
    only: five periods for three.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
    """
    series, compare = series_of(alarm), _COMPARISONS[alarm["ComparisonOperator"]]
    evaluated = int(alarm["EvaluationPeriods"])
    breaching = []
    for period in periods[: evaluated + 2]:
        values = [each.value for each in period if each.series == series]
        if values:
            value = _STATISTICS[alarm["Statistic"]](values)
            breaching.append(compare(value, float(resolved(alarm["Threshold"]))))
    missing = alarm["TreatMissingData"]
    if not breaching and missing == "ignore":
        return None
    breaching = breaching[:evaluated]
    breaching += [missing == "breaching"] * (evaluated - len(breaching))
    return sum(breaching) >= int(alarm.get("DatapointsToAlarm", evaluated))


def dashboard(*, has_optional_alarms: bool = True) -> dict[str, Any]:
    """Return the dashboard, with references to resources as `Name` or `Name.Attribute`.

    `has_optional_alarms` says whether the conditions of the alarms hold.
    """
    text, variables = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    chosen = {
        name: then if has_optional_alarms else otherwise
        for name, each in variables.items()
        for _, then, otherwise in each.values()
    }
    known = {"AWS::StackName": STACK, "AWS::Region": "eu-west-1"}

    def substituted(text: str) -> str:
        return re.sub(r"\$\{([^}]+)\}", lambda reference: value_of(reference[1]), text)

    def value_of(name: str) -> str:
        if name in chosen:
            value = chosen[name]
            return substituted(value["Fn::Sub"]) if isinstance(value, dict) else str(value)
        return str(known.get(name) or TEMPLATE["Parameters"].get(name, {}).get("Default") or name)

    found: dict[str, Any] = json.loads(substituted(text))
    return found


def widgets() -> list[dict[str, Any]]:
    """Return the widgets of the dashboard."""
    found: list[dict[str, Any]] = dashboard()["widgets"]
    return found


def drawn_by(widget: Mapping[str, Any], data: Sequence[Datum]) -> dict[str, bool | None]:
    """Return whether each line of a widget has data, by metric; None for metrics of AWS."""
    drawn: dict[str, bool | None] = {}
    for line in widget["properties"]["metrics"]:
        first, *rest = line
        if isinstance(first, str) and first == OURS:
            name, *pairs = [each for each in rest if isinstance(each, str)]
            series = (OURS, name, frozenset(zip(pairs[::2], pairs[1::2], strict=True)))
            drawn[name] = any(each.series == series for each in data)
        elif isinstance(first, str):
            drawn[f"{first}/{rest[0]}"] = None
        elif first["expression"].startswith("SEARCH"):
            name, found = _search(first["expression"], data)
            drawn[name] = bool(found)
    return drawn


def _search(expression: str, data: Sequence[Datum]) -> tuple[str, list[Datum]]:
    """Evaluate SEARCH('{Namespace,dimension,...} MetricName="..." dimension="..."', ...).

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/search-expression-syntax.html
    """
    parts = re.fullmatch(
        r"SEARCH\('\{([^}]+)\} MetricName=\"(\w+)\" (\w+)=\"([^\"]+)\"', '\w+', \d+\)", expression
    )
    assert parts is not None, expression
    (namespace, *names), metric = parts[1].split(","), parts[2]
    return metric, [
        each
        for each in data
        if each.series[:2] == (namespace, metric)
        and {name for name, _ in each.series[2]} == set(names)
        and (parts[3], parts[4]) in each.series[2]
    ]
