"""The costs of docs/deploy.md, against the template and the prices."""

import re

import pytest

from local.aws_costs import (
    ALARM,
    METRIC,
    USAGES,
    Usage,
    Watched,
    _holds,
    costs_of,
    everything_off,
    resources_of,
)
from tests.support.paths import ROOT
from vonage_reports.domain.metrics import ALARMING_GAUGES, CHARTED_GAUGES

DAILY = USAGES["9 daily"]
LARGEST = USAGES["83 hourly"]


def test_everything_off_names_every_switch_of_the_template() -> None:
    switches = re.findall(r'AllowedValues: \["on", "off"\]', (ROOT / "template.yaml").read_text())

    assert len(everything_off()) == len(switches)
    assert {"WorkflowLog", "DetailedMetrics", "UsageDashboard"} <= everything_off().keys()


def test_parts_that_are_off_cost_nothing() -> None:
    costs, on = costs_of(DAILY, everything_off()), costs_of(DAILY)

    assert (costs["dashboard"], on["dashboard"]) == (0, 3)
    assert costs["counters by definition"] == 0
    assert on["counters by definition"] == pytest.approx(9 * 7 * METRIC / 24)
    left_out = {*CHARTED_GAUGES, "CatalogueWaiting"}
    assert on["gauges"] - costs["gauges"] == pytest.approx(len(left_out) * METRIC)
    assert {"Dashboard", "WorkflowLogs"}.isdisjoint(resources_of(everything_off()))


def test_no_switch_leaves_an_alarm_without_its_gauge() -> None:
    off = resources_of(everything_off())
    alarms = [each for each in off.values() if each["Type"] == "AWS::CloudWatch::Alarm"]
    read = {each["Properties"]["MetricName"] for each in alarms} & {*ALARMING_GAUGES}
    watched = Watched.of(DAILY, everything_off())

    assert (watched.alarms, watched.gauges) == (len(alarms), len(read))
    # The floor, below which no setting goes: a secret, the alarms, and the gauges that they read.
    floor = 0.40 + len(alarms) * ALARM + len(read) * METRIC
    assert 2 < floor < sum(costs_of(DAILY, everything_off()).values()) < floor + 0.60


@pytest.mark.parametrize(
    ("parameters", "alarms", "gauges"),
    [
        ({"MaxBilledRecordsMonth": "1000000"}, 1, 0),
        ({"Catalogue": "off"}, -1, -1),
    ],
)
def test_alarm_without_a_use_costs_nothing(
    parameters: dict[str, str], alarms: int, gauges: int
) -> None:
    default, found = Watched.of(DAILY, {}), Watched.of(DAILY, parameters)

    assert found.alarms - default.alarms == alarms
    assert found.gauges - default.gauges == gauges


def test_definitions_cost_most_of_a_large_stack() -> None:
    costs = costs_of(LARGEST)

    assert costs["counters by definition"] / sum(costs.values()) == pytest.approx(0.8, abs=0.02)
    assert sum(costs_of(LARGEST, everything_off()).values()) < sum(costs.values()) / 5


def test_metric_costs_only_hours_with_data() -> None:
    hourly = Usage(definitions=1, schedules=720)
    daily = Usage(definitions=1, schedules=30)

    assert Watched.of(hourly, {}).counters == pytest.approx(24 * Watched.of(daily, {}).counters)


def test_unknown_function_in_a_condition_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a condition of template.yaml has Fn::Or"):
        _holds({"Fn::Or": []}, {})
