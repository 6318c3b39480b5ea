"""The template's alarms and dashboard, read as data."""

import itertools
import re
from typing import Any

import pytest

from tests.support.alarms import (
    ALARMS,
    OURS,
    RESOURCES,
    STACK,
    TEMPLATE,
    Datum,
    dashboard,
    goes_off,
    resolved,
    series_of,
    widgets,
)
from vonage_reports.domain.metrics import (
    ALARMING_GAUGES,
    CHARTED_GAUGES,
    NAMESPACE,
    UNITS,
    worth_sending,
)
from vonage_reports.domain.settings import Settings

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
# https://docs.aws.amazon.com/step-functions/latest/dg/procedure-cw-metrics.html
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/metrics-dimensions.html
OF_AWS = {
    "AWS/SQS": ("QueueName", {"ApproximateNumberOfMessagesVisible"}),
    "AWS/Lambda": ("FunctionName", {"Errors", "Duration"}),
    "AWS/States": (
        "StateMachineArn",
        {"ExecutionsStarted", "ExecutionsFailed", "ExecutionsTimedOut"},
    ),
    "AWS/DynamoDB": ("TableName", {"ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits"}),
}
every_alarm = pytest.mark.parametrize("name", ALARMS)
METRIC_WIDGETS = [each for each in widgets() if each["type"] == "metric"]


def test_template_and_code_use_one_namespace() -> None:
    assert NAMESPACE == OURS


@every_alarm
def test_alarm_reads_an_emitted_metric_of_this_stack(name: str) -> None:
    alarm = ALARMS[name]
    (dimension,) = alarm["Dimensions"]

    if alarm["Namespace"] == OURS:
        assert alarm["MetricName"] in UNITS
        assert (dimension["Name"], resolved(dimension["Value"])) == ("stack", STACK)
    else:
        expected, metrics = OF_AWS[alarm["Namespace"]]
        assert dimension["Name"] == expected
        assert alarm["MetricName"] in metrics
        # The name of a resource of this stack.
        (target,) = dimension["Value"].values()
        assert (target[0] if isinstance(target, list) else target) in RESOURCES


@every_alarm
def test_alarm_names_the_first_step_and_its_help(name: str) -> None:
    description = ALARMS[name]["AlarmDescription"]
    text = description["Fn::Sub"] if isinstance(description, dict) else description

    assert "First:" in text
    # tests/unit/test_docs.py holds that the heading exists.
    assert text.endswith(f"Help: docs/operate.md#{name.lower()}alarm")
    # CloudWatch's limit is 1,024 characters, with all references resolved.
    assert len(text) < 900


@every_alarm
def test_alarm_notifies_the_alarm_topic_and_the_operators(name: str) -> None:
    yours = {"Fn::If": ["TellYourTopic", {"Ref": "AlarmTopicArn"}, {"Ref": "AWS::NoValue"}]}

    assert ALARMS[name]["AlarmActions"] == [{"Ref": "AlarmTopic"}, yours]
    assert ALARMS[name].get("OKActions") in (None, ALARMS[name]["AlarmActions"])
    # CloudWatch evaluates one day at most.
    assert ALARMS[name]["Period"] * ALARMS[name]["EvaluationPeriods"] <= 86_400


def test_only_alarms_about_events_send_no_all_clear() -> None:
    silent = {name for name, alarm in ALARMS.items() if "OKActions" not in alarm}

    assert silent == {"ReportFailed", "RescuedCells", "VolumeAnomaly"}


def test_missing_data_alarms_only_where_every_sweep_emits() -> None:
    loud = {name for name, each in ALARMS.items() if each["TreatMissingData"] == "breaching"}

    assert loud == {"DeliveryOverdue"}


def test_every_dead_letter_reaches_the_monitored_queue() -> None:
    function = RESOURCES["SubmitReportsFunction"]["Properties"]
    invoked = RESOURCES["SubmitReportsFunctionEventInvokeConfig"]["Properties"]
    asynchronous = invoked["DestinationConfig"]["OnFailure"]["Destination"]
    events = [each["Properties"]["DeadLetterConfig"]["Arn"] for each in function["Events"].values()]

    queue = {"Fn::GetAtt": ["UndeliveredEventsQueue", "Arn"]}
    assert [asynchronous, *events] == [queue] * 4
    # Retries absorb a throttled invocation.
    assert invoked["MaximumRetryAttempts"] > 0
    assert invoked["FunctionName"] == {"Ref": "SubmitReportsFunction"}
    assert ALARMS["UndeliveredEvents"]["Dimensions"] == [
        {"Name": "QueueName", "Value": {"Fn::GetAtt": ["UndeliveredEventsQueue", "QueueName"]}}
    ]


@pytest.mark.parametrize("name", [name for name in ALARMS if ALARMS[name]["Namespace"] == OURS])
def test_alarm_needs_no_counter_of_zero(name: str) -> None:
    alarm = ALARMS[name]
    if alarm["MetricName"] in ALARMING_GAUGES:
        assert worth_sending({alarm["MetricName"]: 0}, is_detailed=False), "it ends the alarm"
        return
    breach = [Datum(series_of(alarm), float(resolved(alarm["Threshold"])), "Count")]
    zero = [Datum(series_of(alarm), 0, "Count")]
    assert worth_sending({alarm["MetricName"]: 0}, is_detailed=True) == {}
    for breaches in itertools.product([True, False], repeat=alarm["EvaluationPeriods"]):
        with_zeros = [breach if each else zero for each in breaches]
        without = [breach if each else [] for each in breaches]
        assert goes_off(alarm, *without) is goes_off(alarm, *with_zeros)


def test_gauges_without_an_alarm_are_those_of_the_charts() -> None:
    read = {each["MetricName"] for each in ALARMS.values() if each["Namespace"] == OURS}

    assert set(ALARMING_GAUGES) <= read
    assert not set(CHARTED_GAUGES) & read
    assert all(re.search(rf"\b{name}\b", str(METRIC_WIDGETS)) for name in CHARTED_GAUGES)


@pytest.mark.parametrize("name", [name for name in ALARMS if ALARMS[name]["Namespace"] != OURS])
def test_one_event_in_an_aws_metric_sets_off_the_alarm(name: str) -> None:
    # tests/integration/test_alarms.py sets off the other alarms. The emulator lacks these metrics.
    alarm = {**ALARMS[name], "Dimensions": []}
    periods = range(alarm["EvaluationPeriods"])

    assert goes_off(alarm, *([Datum(series_of(alarm), 1, "Count")] for _ in periods))
    assert not goes_off(alarm, *([Datum(series_of(alarm), 0, "Count")] for _ in periods))


def test_errors_alarm_watches_submit_reports_only() -> None:
    # The workflow handles the errors of the other functions.
    assert ALARMS["SubmitReportsErrors"]["Dimensions"] == [
        {"Name": "FunctionName", "Value": {"Ref": "SubmitReportsFunction"}}
    ]


def test_only_cloudwatch_of_this_account_publishes_alarms() -> None:
    policy = RESOURCES["AlarmTopicPolicy"]["Properties"]
    statements = policy["PolicyDocument"]["Statement"]
    (statement,) = [each for each in statements if each["Effect"] == "Allow"]

    assert policy["Topics"] == [{"Ref": "AlarmTopic"}]
    assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert statement["Action"] == "sns:Publish"
    assert statement["Condition"]["StringEquals"] == {
        "aws:SourceAccount": {"Ref": "AWS::AccountId"}
    }


@pytest.mark.parametrize(
    ("name", "topic"),
    [("AlarmEmailSubscription", "AlarmTopic"), ("ProblemEmailSubscription", "ReportsTopic")],
)
def test_emails_go_to_the_parameters_address_only(name: str, topic: str) -> None:
    subscription = RESOURCES[name]

    assert TEMPLATE["Parameters"]["AlarmEmail"]["Default"] == ""
    assert TEMPLATE["Conditions"][subscription["Condition"]] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "AlarmEmail"}, ""]}]
    }
    assert subscription["Properties"]["Endpoint"] == {"Ref": "AlarmEmail"}
    assert subscription["Properties"]["TopicArn"] == {"Ref": topic}


def test_alarm_recipient_gets_the_notifications_too() -> None:
    descriptions = str([each["AlarmDescription"] for each in ALARMS.values()])
    named = set(re.findall(r"(?:report|definition)\.\w+", descriptions))
    left_out = RESOURCES["ProblemEmailSubscription"]["Properties"]["FilterPolicy"]

    assert named >= {"report.failed", "report.held", "report.overdue", "definition.refused"}
    (without,) = left_out["event"]
    assert without["anything-but"][0] == "report.delivered"
    # A complete month is worth a mail, a complete day is not.
    assert without["anything-but"][1:] == [
        {"Fn::If": ["ClosesDays", "period.complete", {"Ref": "AWS::NoValue"}]}
    ]


def test_function_closes_the_periods_of_the_setting() -> None:
    variables = RESOURCES["SubmitReportsFunction"]["Properties"]["Environment"]["Variables"]

    assert resolved(variables["PERIOD_LENGTH"]) == Settings().period_length


def test_function_and_alarm_share_the_overdue_hours() -> None:
    variables = RESOURCES["SubmitReportsFunction"]["Properties"]["Environment"]["Variables"]

    assert variables["OVERDUE_HOURS"] == ALARMS["DeliveryOverdue"]["Threshold"]
    assert resolved(variables["OVERDUE_HOURS"]) == Settings().overdue_hours


def test_dashboard_shows_every_alarm() -> None:
    (states,) = [each for each in widgets() if each["type"] == "alarm"]

    assert states["properties"]["alarms"] == [f"{name}Alarm.Arn" for name in ALARMS]


def test_dashboard_without_optional_alarms_names_none_of_them() -> None:
    (states,) = [
        each for each in dashboard(has_optional_alarms=False)["widgets"] if each["type"] == "alarm"
    ]

    # A reference to an alarm that the stack does not have would fail the deployment.
    always = [name for name in ALARMS if "Condition" not in RESOURCES[f"{name}Alarm"]]
    assert ALARMS.keys() - set(always) == {"SpendCapped", "CatalogueWaiting"}
    assert states["properties"]["alarms"] == [f"{name}Alarm.Arn" for name in always]


def test_dashboard_refers_to_an_optional_alarm_under_its_condition() -> None:
    _, variables = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]

    for each in variables.values():
        condition, shown, otherwise = each["Fn::If"]
        (alarm,) = re.findall(r"\$\{(\w+)\.Arn\}", shown["Fn::Sub"])
        assert (RESOURCES[alarm]["Condition"], otherwise) == (condition, "")


def metrics_of(widget: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (line[0], line[1], line[2])
        for line in widget["properties"]["metrics"]
        if isinstance(line[0], str)
    ]


@pytest.mark.parametrize("widget", METRIC_WIDGETS, ids=lambda each: each["properties"]["title"])
def test_widgets_draw_known_metrics(widget: dict[str, Any]) -> None:
    for namespace, metric, dimension in metrics_of(widget):
        if namespace == OURS:
            assert metric in UNITS
        else:
            expected, known = OF_AWS[namespace]
            assert dimension == expected
            assert metric in known
    searched = re.findall(r'MetricName="(\w+)"', str(widget["properties"]["metrics"]))
    assert set(searched) <= set(UNITS)


def test_every_metric_is_on_dashboard() -> None:
    text = str(METRIC_WIDGETS)

    assert [name for name in UNITS if not re.search(rf"\b{name}\b", text)] == []


def test_each_stack_has_its_own_dashboard() -> None:
    name = RESOURCES["Dashboard"]["Properties"]["DashboardName"]["Fn::Sub"]

    assert {"${AWS::StackName}", "${AWS::Region}"} <= set(re.findall(r"\$\{[^}]+\}", name))


def test_dashboard_shows_at_least_seven_daily_periods() -> None:
    # By default the console shows three hours, in periods of its own choice. Daily metrics would
    # not appear.
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
    assert dashboard()["periodOverride"] == "inherit"
    days = re.fullmatch(r"-P(\d+)D", dashboard()["start"])
    assert days is not None
    longest = max(each["properties"]["period"] for each in METRIC_WIDGETS)
    assert int(days[1]) * 86_400 >= 7 * longest == 7 * 86_400


def test_widgets_fill_a_grid_of_24_columns() -> None:
    assert {each["width"] for each in METRIC_WIDGETS} == {8}
    assert len(METRIC_WIDGETS) % 3 == 0
