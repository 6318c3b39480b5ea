"""The reports that a target's calendar is going to request, in lines for the operator."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from vonage_reports.aws.definitions_source import WrittenDefinitions
from vonage_reports.aws.ledger_items import Calendar, OpenWork
from vonage_reports.domain.commands import command_for
from vonage_reports.domain.notifications import backfill_event
from vonage_reports.domain.printable import printable
from vonage_reports.domain.windows import format_instant
from vonage_reports_cli.definitions import Checked, checked, known_api_key, told
from vonage_reports_cli.estimate import (
    Line,
    Price,
    Total,
    count,
    due,
    forecast,
    late,
    lines_of,
    words,
)
from vonage_reports_cli.schedule import Schedule, schedule_of
from vonage_reports_cli.stack import DeployedStack

if TYPE_CHECKING:
    from vonage_reports_cli.last_run import LastRunTarget

_MOST_SHOWN = 20


@dataclass(frozen=True)
class Outlook:
    """The calendar's requests at its next schedule, at the instant `at`, and in `days`.

    `late` has the windows that the calendar leaves to the operator. `open` is how many reports are
    open. They go on without the calendar.
    """

    schedule: Schedule | None
    now: datetime
    at: datetime
    checked: Checked
    next: Sequence[Line]
    period: Sequence[Line]
    late: Sequence[Line]
    open: int
    days: int
    price: Price | None
    has_collected: bool

    @property
    def when(self) -> str:
        """The time of the next schedule, in words."""
        return "now" if self.schedule is None else self.schedule.words(self.now)

    def next_lines(self) -> Iterator[str]:
        """Yield the reports of the next schedule, and their total, as text."""
        yield from described(self.next, self.price)
        total = Total.of(self.next).words(self.price)
        yield f"in all {total}" if self.next else "no report is due then"

    def late_lines(self) -> Iterator[str]:
        """Yield the windows that no schedule requests, as text."""
        return left_out(self.late)

    def refused_lines(self) -> Iterator[str]:
        """Yield the refused definitions, as text."""
        for each in self.checked.refusals:
            yield printable(f"refused: {told(each)}")

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "schedule": None
            if self.schedule is None
            else {
                "expression": self.schedule.expression,
                "time_zone": self.schedule.time_zone,
                "is_on": self.schedule.is_on,
            },
            "next": {"at": format_instant(self.at), **self._part(self.next)},
            "period": {"days": self.days, **self._part(self.period)},
            "late": [
                {
                    "definition": each.definition,
                    "account_id": each.account_id,
                    "windows": each.reports,
                    "from": format_instant(each.windows[0].start),
                }
                for each in self.late
            ],
            "open_reports": self.open,
            "refused": [each.to_dict() for each in self.checked.refusals],
        }

    def _part(self, lines: Sequence[Line]) -> dict[str, object]:
        return {
            "lines": [each.to_dict(self.price) for each in lines],
            "total": Total.of(lines).to_dict(self.price),
        }


def described(lines: Sequence[Line], price: Price | None) -> Iterator[str]:
    """Yield lines as text, the first of them if there are many."""
    for line in lines[:_MOST_SHOWN]:
        yield printable(
            f"{line.definition}: {line.product} of {line.account_id}, {_dates(line)}, "
            f"{words(line.records, price)}"
        )
    if len(lines) > _MOST_SHOWN:
        yield f"and {len(lines) - _MOST_SHOWN:,} more definitions or accounts"


def left_out(lines: Iterable[Line]) -> Iterator[str]:
    """Yield the windows that became due too long ago for the calendar, as text."""
    for line in lines:
        event = backfill_event(
            line.definition, line.windows[0], line.windows[-1], account_id=line.account_id
        )
        yield printable(
            f"{line.definition}, {line.account_id}: {count(line.reports, 'window')} from "
            f"{line.windows[0].first_date} on became due more than 7 days ago; only "
            f"`{command_for(event)}` collects them"
        )


def _dates(line: Line) -> str:
    """Name the windows of a line by their local dates, and their number if there are several."""
    first = min(each.first_date for each in line.windows)
    last = max(each.first_date for each in line.windows)
    number = "" if line.reports == 1 else f"{count(line.reports, 'report')}, "
    return f"{number}{first}" if first == last else f"{number}{first} to {last}"


def outlook_of(
    target: "DeployedStack | LastRunTarget",
    written: WrittenDefinitions,
    *,
    days: int = 30,
    api_key: str | None = None,
    ledger: tuple[OpenWork, Calendar] | None = None,
) -> Outlook:
    """Return the outlook of a target's calendar with these definitions.

    `api_key` is the account of definitions without account_ids, by default the one that the ledger
    has. `ledger` is the target's, if the caller has read it. A target without a schedule counts as
    if it ran now.
    """
    now = datetime.now(UTC)
    schedule = schedule_of(target) if isinstance(target, DeployedStack) else None
    at = (schedule and schedule.next_after(now)) or now
    work, calendar = ledger or (target.ledger.open_work(), target.ledger.calendar())
    found = checked(written, work, calendar, api_key=api_key or known_api_key(written, calendar))
    definitions = found.definitions
    until = now + timedelta(days=days)
    period = forecast(definitions, calendar, work, first=at, until=max(at, until), now=now)
    return Outlook(
        schedule=schedule,
        now=now,
        at=at,
        checked=found,
        next=lines_of(due(definitions, calendar, work, at=at, now=now)),
        period=lines_of(period),
        late=late(definitions, calendar, at=at, now=now),
        open=sum(not each.is_half for each in work.reports),
        days=days,
        price=target.price,
        has_collected=bool(calendar.cursors),
    )
