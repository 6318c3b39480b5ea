from datetime import UTC, datetime
from typing import Any

import pytest

from vonage_reports_cli.errors import Attention
from vonage_reports_cli.schedule import GROUP, LOGICAL_ID, Schedule, schedule_of

NOW = datetime(2026, 11, 26, 11, 0, tzinfo=UTC)  # a Thursday


@pytest.mark.parametrize(
    ("expression", "zone", "at"),
    [
        ("cron(15 2 * * ? *)", "UTC", "2026-11-27T02:15"),
        ("cron(15 12 * * ? *)", "UTC", "2026-11-26T12:15"),
        ("cron(0 11 * * ? *)", "UTC", "2026-11-27T11:00"),
        ("cron(15 2 * * ? *)", "America/New_York", "2026-11-27T07:15"),
        ("cron(0/20 * * * ? *)", "UTC", "2026-11-26T11:20"),
        ("cron(0 6,18 * * ? *)", "UTC", "2026-11-26T18:00"),
        ("cron(0 2 ? * MON-FRI *)", "UTC", "2026-11-27T02:00"),
        ("cron(0 2 ? * SUN *)", "UTC", "2026-11-29T02:00"),
        ("cron(0 2 ? * 1 *)", "UTC", "2026-11-29T02:00"),
        ("cron(0 2 1 * ? *)", "UTC", "2026-12-01T02:00"),
        ("cron(0 2 L * ? *)", "UTC", "2026-11-30T02:00"),
        ("cron(0 2 1 JAN ? 2028)", "UTC", "2028-01-01T02:00"),
        ("at(2026-12-01T02:00:00)", "UTC", "2026-12-01T02:00"),
        # Clocks skip this hour on 28 March 2027, so the schedule skips that day.
        ("cron(30 2 28-29 3 ? 2027)", "Europe/Paris", "2027-03-29T00:30"),
    ],
)
def test_next_run_of_a_schedule(expression: str, zone: str, at: str) -> None:
    found = Schedule("s", "group", expression, zone, is_on=True).next_after(NOW)

    assert found == datetime.fromisoformat(f"{at}+00:00")


@pytest.mark.parametrize(
    "expression",
    [
        "rate(1 day)",
        "cron(0 2 ? * 6#3 *)",
        "cron(0 2 15W * ? *)",
        "cron(0 2 * * ? 2020)",
        "cron(0 2 * *)",
        "at(2020-01-01T00:00:00)",
        "",
    ],
)
def test_unknown_or_ended_schedule_has_no_next_run(expression: str) -> None:
    schedule = Schedule("s", "group", expression, "UTC", is_on=True)

    assert schedule.next_after(NOW) is None
    assert schedule.words(NOW) == expression


def test_schedule_in_words() -> None:
    schedule = Schedule("s", "group", "cron(15 2 * * ? *)", "Europe/Berlin", is_on=True)

    assert schedule.words(NOW) == "2026-11-27 01:15 UTC, cron(15 2 * * ? *) in Europe/Berlin"


class FakeStack:
    """A stack with some resources, whose schedules are in its group only."""

    name = "stack"

    def __init__(self, *logical_ids: str) -> None:
        self.logical_ids = logical_ids

    def client(self, _service: str) -> "FakeStack":
        return self

    def describe_stack_resources(self, **named: str) -> dict[str, Any]:
        found = [each for each in self.logical_ids if each == named["LogicalResourceId"]]
        return {"StackResources": [{"PhysicalResourceId": f"name-of-{each}"} for each in found]}

    def get_schedule(self, **named: str) -> dict[str, str]:
        assert named == {"Name": f"name-of-{LOGICAL_ID}", "GroupName": f"name-of-{GROUP}"}
        return {"ScheduleExpression": "rate(1 day)", "State": "DISABLED"}


def test_schedule_is_read_in_the_group_of_its_stack() -> None:
    stack: Any = FakeStack(LOGICAL_ID, GROUP)

    assert schedule_of(stack) == Schedule(
        f"name-of-{LOGICAL_ID}", f"name-of-{GROUP}", "rate(1 day)", "UTC", is_on=False
    )


@pytest.mark.parametrize("missing", [LOGICAL_ID, GROUP])
def test_stack_of_an_earlier_version_has_to_be_deployed_again(missing: str) -> None:
    stack: Any = FakeStack(*{LOGICAL_ID, GROUP} - {missing})

    with pytest.raises(Attention, match=f"'stack' has no {missing}: deploy it again"):
        schedule_of(stack)
