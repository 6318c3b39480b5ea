"""The values that `settings set` takes, and what it says before an update."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.paths import ROOT
from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.settings import (
    consequences,
    named,
    require_settable,
    require_topic_beside,
    settings_in,
)

_WHOLE = settings_in((ROOT / "template.yaml").read_text(), {})
TEMPLATE = {"Parameters": {name: each.declared for name, each in _WHOLE.items()}}


def require(name: str, value: str, **values: str) -> None:
    settings = settings_in(TEMPLATE, values)
    require_settable(settings, named(settings, name), value)


@pytest.mark.parametrize("name", settings_in(TEMPLATE, {}))
def test_every_default_but_those_of_other_commands_is_taken(name: str) -> None:
    default = settings_in(TEMPLATE, {})[name].default
    assert default is not None

    if name in ("ReportDefinitions", "Architecture"):
        with pytest.raises(BadInput):
            require(name, default)
    else:
        require(name, default)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ScheduleExpression", "cron(0/20 2-4 ? JAN,FEB MON-FRI 2026/2)"),
        ("ScheduleExpression", "cron(0 2 ? * 6#3 *)"),
        ("ScheduleExpression", "cron(0 2 ? * 6L *)"),
        ("ScheduleExpression", "cron(0 2 15W * ? *)"),
        ("ScheduleExpression", "cron(0 2 LW * ? *)"),
        ("ScheduleExpression", "rate(1 day)"),
        ("ScheduleExpression", "rate(12 hours)"),
        ("ScheduleExpression", "at(2026-11-27T02:15:00)"),
        ("ScheduleTimeZone", "Europe/London"),
        ("VonageBaseUrl", "https://api-eu.vonage.example"),
        ("VonageBaseUrl", "http://127.0.0.1:8080"),
        ("VolumeFactor", "1.5"),
        ("ArchiveExpiryDays", "91"),
        ("ArchiveExpiryDays", "0"),
    ],
)
def test_fit_value_is_taken(name: str, value: str) -> None:
    require(name, value)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("ScheduleExpression", "", "an expression such as cron(15 2 * * ? *)"),
        ("ScheduleExpression", "daily", "an expression such as cron(15 2 * * ? *)"),
        ("ScheduleExpression", "cron(15 2 * * ? *", "an expression such as cron(15 2 * * ? *)"),
        ("ScheduleExpression", "cron(61 2 * * ? *)", "minutes from 0 to 59"),
        ("ScheduleExpression", "cron(15 24 * * ? *)", "hours from 0 to 23"),
        ("ScheduleExpression", "cron(15 2 ? * FUN *)", "days of the week from 1 to 7"),
        ("ScheduleExpression", "cron(0/0 2 * * ? *)", "minutes from 0 to 59"),
        ("ScheduleExpression", "cron(30-10 2 * * ? *)", "minutes from 0 to 59"),
        ("ScheduleExpression", "cron(15 2 * *)", "six fields"),
        ("ScheduleExpression", "cron(15 2 * * * *)", "? for exactly one of"),
        ("ScheduleExpression", "cron(15 2 ? * ? *)", "? for exactly one of"),
        ("ScheduleExpression", "rate(1 days)", "such as rate(1 day)"),
        ("ScheduleExpression", "rate(0 days)", "such as rate(1 day)"),
        ("ScheduleExpression", "at(2026-11-31T02:15:00)", "such as at(2026-11-27T02:15:00)"),
        ("ScheduleTimeZone", "Europe/Londn", "did you mean Europe/London?"),
        ("ScheduleTimeZone", "", "such as Europe/London"),
        ("ScheduleTimeZone", "../etc/passwd", "such as Europe/London"),
        ("VonageBaseUrl", "http://evil.example", "set an https URL, or http on a loopback"),
        ("VonageBaseUrl", "https://a.example/v2", "Base URL of the Reports API"),
        ("ArchiveExpiryDays", "30", "must be greater than ArchiveColdDays 90"),
        ("ArchiveExpiryDays", "90", "must be greater than ArchiveColdDays 90"),
        ("ArchiveExpiryDays", "100.5", "takes a whole number of at least 0"),
        ("MaxBilledRecords", "1e3", "takes a whole number of at least 0"),
        ("VolumeFactor", "1", "takes a number of at least 1.1"),
        ("PricePerRecord", "1", "such as 0.0004 EUR"),
        ("AlarmEmail", "nobody", "E-mail address for alarms"),
        ("AlarmTopicArn", "pager", "ARN of an SNS topic of yours"),
        ("AlarmTopicArn", "arn:aws:sns:eu-west-1:123456789012:a.fifo", "ARN of an SNS topic"),
        ("DetailedMetrics", "no", "takes on or off"),
    ],
)
def test_unfit_value_is_refused_without_a_pattern(name: str, value: str, sentence: str) -> None:
    with pytest.raises(BadInput) as refusal:
        require(name, value)

    assert sentence in str(refusal.value)
    assert repr(value) in str(refusal.value) or value in str(refusal.value).split(":")[0]
    assert "^" not in str(refusal.value)


def test_settings_of_one_lifecycle_are_checked_together() -> None:
    with pytest.raises(BadInput, match="ArchiveExpiryDays 100 must be greater than"):
        require("ArchiveColdDays", "120", ArchiveExpiryDays="100")
    with pytest.raises(BadInput, match="STANDARD_IA needs ArchiveColdDays of at least 30"):
        require("ArchiveColdClass", "STANDARD_IA", ArchiveColdDays="10")
    require("ArchiveExpiryDays", "30", ArchiveColdDays="0")


@pytest.mark.parametrize(
    ("name", "before", "after", "told"),
    [
        ("ArchiveExpiryDays", "0", "100", "deletes each archive 100 days after"),
        ("ArchiveExpiryDays", "200", "100", "deletes each archive 100 days after"),
        ("ArchiveExpiryDays", "100", "200", ""),
        ("ArchiveExpiryDays", "100", "0", ""),
        ("ArchiveExpiryDays", "100", "100", ""),
        ("DatasetExpiryDays", "0", "400", "deletes each file of the dataset 400 days"),
        ("OldVersionDays", "90", "30", "replaced and deleted objects after 30 days"),
        ("LogRetentionDays", "90", "7", "deletes logs after 7 days"),
        ("VonageBaseUrl", "https://a.example", "https://b.example", "goes to https://b.example"),
        ("OverdueHours", "30", "20", ""),
        ("WorkflowLog", "on", "off", "deletes the log group of the workflow"),
        ("WorkflowLog", "off", "on", ""),
        ("WorkflowLog", "off", "off", ""),
        ("UsageDashboard", "on", "off", ""),
        ("Callback", "off", "function-url", "a public URL, which anyone may call"),
        ("Callback", "function-url", "off", "deletes the public URL"),
        ("Callback", "off", "off", ""),
    ],
)
def test_deletion_is_told_before_the_update(name: str, before: str, after: str, told: str) -> None:
    setting = settings_in(TEMPLATE, {name: before})[name]

    found = consequences(setting, after)

    assert told in "".join(found)
    assert bool(found) is bool(told)


OWN_TOPIC = "arn:aws:sns:eu-west-1:123456789012:usage-AlarmTopic"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("AlarmTopicArn", OWN_TOPIC, "this is the stack's own topic"),
        ("AlarmTopicArn", "arn:aws:sns:us-east-1:123456789012:pager", "the topic is in us-east-1"),
        ("AlarmTopicArn", "arn:aws:sns:eu-west-1:123456789012:pager", None),
        ("AlarmTopicArn", "", None),
        ("AlarmEmail", OWN_TOPIC, None),
    ],
)
def test_topic_for_alarms_is_another_one_of_the_region(
    name: str, value: str, sentence: str | None
) -> None:
    stack: Any = SimpleNamespace(outputs={"AlarmTopicArn": OWN_TOPIC}, region="eu-west-1")
    setting = settings_in(TEMPLATE, {})[name]
    expectation = nullcontext() if sentence is None else pytest.raises(BadInput, match=sentence)

    with expectation:
        require_topic_beside(stack, setting, value)
