"""The calendar's schedule of a stack: when it runs next, and whether it is on."""

import re
from calendar import monthrange
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from vonage_reports_cli.errors import Attention

if TYPE_CHECKING:
    from vonage_reports_cli.stack import DeployedStack

LOGICAL_ID = "SubmitReportsFunctionCalendarSchedule"
"""The logical id of the schedule's resource. SAM derives it from function and event."""

GROUP = "ScheduleGroup"
"""The logical id of the group that has the stack's schedules."""

_ENABLED, _DISABLED = "ENABLED", "DISABLED"
_MOST_DAYS = 366 * 5
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FIELDS = ((0, 59, ()), (0, 23, ()), (1, 31, ()), (1, 12, _MONTHS), (1, 7, _DAYS), (1970, 2199, ()))
"""The lowest and highest value of each field of a cron expression, and its words."""
_DAY_OF_MONTH = 2
"""The place of the field in which `L` and `?` are possible."""


@dataclass(frozen=True)
class Schedule:
    """A schedule as EventBridge Scheduler has it."""

    name: str
    group: str
    expression: str
    time_zone: str
    is_on: bool

    def next_after(self, now: datetime) -> datetime | None:
        """Return when the schedule runs next, or None if this program cannot tell.

        It knows `cron(...)` and `at(...)`, without the letters W and # and weekdays with L. The
        runs of `rate(...)` depend on the time when the schedule was made.
        """
        kind, _, rest = self.expression.partition("(")
        zone, text = ZoneInfo(self.time_zone), rest.removesuffix(")")
        try:
            if kind == "at":
                at = datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)
                return at if at > now else None
            return next(_times(text, now, zone), None) if kind == "cron" else None
        except ValueError:
            return None

    def words(self, now: datetime) -> str:
        """Describe the next run, such as `2026-11-27 02:15 UTC, cron(15 2 * * ? *)`."""
        at = self.next_after(now)
        when = "" if at is None else f"{at:%Y-%m-%d %H:%M} UTC, "
        zone = "" if self.time_zone == "UTC" else f" in {self.time_zone}"
        return f"{when}{self.expression}{zone}"


def schedule_of(stack: "DeployedStack") -> Schedule:
    """Read the calendar's schedule. Raises Attention if the stack has none."""
    name, group = _physical_id(stack, LOGICAL_ID), _physical_id(stack, GROUP)
    found = stack.client("scheduler").get_schedule(Name=name, GroupName=group)
    return Schedule(
        name,
        group,
        found["ScheduleExpression"],
        found.get("ScheduleExpressionTimezone", "UTC"),
        is_on=found.get("State", _ENABLED) == _ENABLED,
    )


def _physical_id(stack: "DeployedStack", logical_id: str) -> str:
    resources = stack.client("cloudformation").describe_stack_resources(
        StackName=stack.name, LogicalResourceId=logical_id
    )["StackResources"]
    if not resources:
        raise Attention(f"the stack {stack.name!r} has no {logical_id}: deploy it again")
    return str(resources[0]["PhysicalResourceId"])


def switch(stack: "DeployedStack", schedule: Schedule, *, on: bool) -> None:
    """Switch the schedule itself. A deployment that changes the schedule undoes it."""
    scheduler: Any = stack.client("scheduler")
    found = scheduler.get_schedule(Name=schedule.name, GroupName=schedule.group)
    settable = scheduler.meta.service_model.operation_model("UpdateSchedule").input_shape
    same = {name: found[name] for name in settable.members if name in found}
    scheduler.update_schedule(**{**same, "State": state_of(on=on)})


def state_of(*, on: bool) -> str:
    """Return the value of the template's parameter ScheduleState."""
    return _ENABLED if on else _DISABLED


_RATE = re.compile(r"(?:1 (?:minute|hour|day)|(?!1 )[1-9][0-9]{0,8} (?:minutes|hours|days))")
_SPECIAL = (
    (2, re.compile(r"L|LW|(?:[1-9]|[12][0-9]|3[01])W")),
    (4, re.compile(r"L|(?:[1-7]|SUN|MON|TUE|WED|THU|FRI|SAT)(?:L|#[1-5])")),
)
"""The fields of a cron expression that take letters for the last day or the nearest weekday."""


def problem_of_expression(text: str) -> str | None:
    """Return a sentence about the fault of a schedule expression, or None for a right one.

    Source: https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
    """
    kind, _, rest = text.partition("(")
    inner = rest.removesuffix(")")
    if kind not in ("cron", "rate", "at") or rest != f"{inner})":
        return "takes an expression such as cron(15 2 * * ? *)"
    if kind == "rate":
        fits = _RATE.fullmatch(inner) is not None
        return None if fits else "takes a rate such as rate(1 day) or rate(12 hours)"
    if kind == "at":
        return None if _is_instant(inner) else "takes a time such as at(2026-11-27T02:15:00)"
    return _problem_of_cron(inner)


def _problem_of_cron(text: str) -> str | None:
    fields = text.split()
    if len(fields) != len(_FIELDS):
        return (
            "takes six fields in cron(...), minutes, hours, day of the month, month, day of the "
            "week and year, such as cron(15 2 * * ? *)"
        )
    special = dict(_SPECIAL)
    for number, (field, (low, high, names)) in enumerate(zip(fields, _FIELDS, strict=True)):
        if number in special and (field == "?" or special[number].fullmatch(field)):
            continue
        try:
            fits = _is_within(field, low, high, names)
        except ValueError:
            fits = False
        if not fits:
            what = ("minutes", "hours", "days of the month", "months", "days of the week", "years")
            return f"takes {what[number]} from {low} to {high} in cron(...)"
    if (fields[2] == "?") is (fields[4] == "?"):
        return "takes ? for exactly one of day of the month and day of the week in cron(...)"
    return None


def _is_within(field: str, low: int, high: int, names: Collection[str]) -> bool:
    """Return whether all numbers of a field of a cron expression are in range.

    Raises ValueError for a text that is no field.
    """
    if not re.fullmatch(r"[0-9A-Za-z*,/-]+", field):
        return False
    found = _values(field, low, high, names)
    # A step of 0, or a range from a higher to a lower number, has no value.
    return bool(found) and min(found) >= low and max(found) <= high


def _is_instant(text: str) -> bool:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}", text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _times(text: str, now: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Yield the runs of a cron expression after `now`, in UTC. Raises ValueError if unknown.

    Scheduler skips a local time that does not exist, and runs once if it occurs twice.
    """
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(text)
    is_last_day = fields[_DAY_OF_MONTH] == "L"
    if fields[_DAY_OF_MONTH] in ("L", "?"):
        fields[_DAY_OF_MONTH] = "*"
    minutes, hours, days, months, weekdays, years = (
        _values(field, *range_of) for field, range_of in zip(fields, _FIELDS, strict=True)
    )
    today = now.astimezone(zone).date()
    for day in (today + timedelta(days=number) for number in range(_MOST_DAYS)):
        is_day = _is_last(day) if is_last_day else day.day in days
        weekday = day.isoweekday() % 7 + 1
        if is_day and day.month in months and weekday in weekdays and day.year in years:
            for hour in sorted(hours):
                for minute in sorted(minutes):
                    at = datetime.combine(day, time(hour, minute), zone).astimezone(UTC)
                    exists = at.astimezone(zone).replace(tzinfo=None) == datetime.combine(
                        day, time(hour, minute)
                    )
                    if at > now and exists:
                        yield at


def _is_last(day: date) -> bool:
    return day.day == monthrange(day.year, day.month)[1]


def _values(field: str, low: int, high: int, names: Collection[str]) -> set[int]:
    """Return the values of one field of a cron expression. Raises ValueError."""
    numbers = {name: number for number, name in enumerate(names, low)}

    def value(text: str) -> int:
        found = numbers.get(text.upper())
        return int(text) if found is None else found

    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        begin = low if first in ("*", "?") else value(first)
        end = value(last) if last else high if first in ("*", "?") or step else begin
        found |= set(islice(range(begin, end + 1), 0, None, int(step or 1)))
    return found
